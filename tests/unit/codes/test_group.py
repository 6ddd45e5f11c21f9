"""The group wrapper: published vectors, and refusal of everything that is not a canonical element or scalar."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.codes import group
from renkei.codes.group import BadElement, BadScalar

# RFC 9496 appendix A.1: multiples of the generator 1 … 5
MULTIPLES = [
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
    "da80862773358b466ffadfe0b3293ab3d9fd53c5ea6c955358f568322daf6a57",
    "e882b131016b52c1d3337080187cf768423efccbb517bb495ab812c4160ff44e",
]
# RFC 9496 appendix A.2: encodings that must be rejected (non-canonical, negative, non-square, and the rest of each kind)
INVALID = [
    "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ed57ffd8c914fb201471d1c3d245ce3c746fcbe63a3679d51b6a516ebebe0e20",
    "c34c4e1826e5d403b78e246e88aa051c36ccf0aafebffe137d148a2bf9104562",
    "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
]
scalars = st.integers(1, group.ORDER - 1).map(lambda x: x.to_bytes(32, "little"))


def number(x: int) -> bytes:
    return x.to_bytes(32, "little")


def test_multiples_of_the_generator():
    """RFC 9496 A.1."""
    for i, encoded in enumerate(MULTIPLES, start=1):
        assert group.multiply_base(number(i)).hex() == encoded


@pytest.mark.parametrize("encoded", INVALID)
def test_bad_encodings_are_refused_everywhere(encoded):
    """RFC 9496 A.2: an operand that is no canonical element never enters any operation."""
    bad, good = bytes.fromhex(encoded), bytes.fromhex(MULTIPLES[0])
    for attempt in (
        lambda: group.element(bad),
        lambda: group.multiply(number(2), bad),
        lambda: group.add(good, bad),
        lambda: group.add(bad, good),
        lambda: group.subtract(good, bad),
    ):
        with pytest.raises(BadElement):
            attempt()


@pytest.mark.parametrize("value", [None, "x" * 32, bytearray(32), b"", bytes(31), bytes(33), bytes(32), 5])
def test_anything_but_32_good_bytes_is_refused(value):
    """None would crash the library, a str computes garbage, the identity passes its own check: none of it gets there."""
    for attempt in (
        lambda: group.element(value),
        lambda: group.multiply(number(1), value),
        lambda: group.add(value, value),
    ):
        with pytest.raises(BadElement):
            attempt()
    with pytest.raises(BadScalar):
        group.scalar(value)


@pytest.mark.parametrize("x", [0, group.ORDER, group.ORDER + 1, 2**256 - 1])
def test_scalars_outside_the_field_are_refused(x):
    """libsodium masks or answers 0 for these; we refuse (0 < x < ℓ)."""
    with pytest.raises(BadScalar):
        group.multiply_base(number(x))
    with pytest.raises(BadScalar):
        group.scalar_invert(number(x))


def test_the_identity_never_leaves_an_operation():
    """P − P and ℓ-cancelling sums are refused on output."""
    p = bytes.fromhex(MULTIPLES[2])
    with pytest.raises(BadElement):
        group.subtract(p, p)
    with pytest.raises(BadScalar):
        group.scalar_add(number(5), number(group.ORDER - 5))


@given(scalars, scalars)
def test_the_group_laws(x, y):
    """(x·y)·G = x·(y·G), (x+y)·G = x·G + y·G, x/y·y = x."""
    assert group.multiply(x, group.multiply_base(y)) == group.multiply_base(group.scalar_multiply(x, y))
    assert group.scalar_multiply(group.scalar_divide(x, y), y) == x
    if int.from_bytes(x, "little") + int.from_bytes(y, "little") != group.ORDER and x != y:
        assert group.add(group.multiply_base(x), group.multiply_base(y)) == group.multiply_base(group.scalar_add(x, y))


def test_hashing_to_the_group_as_in_rfc_9497():
    """RFC 9497 A.1.1, input 00: blinding the hashed element gives the published one, evaluating it too."""
    tag = b"HashToGroup-OPRFV1-\x00-ristretto255-SHA512"
    hashed = group.element_from_hash(group.expand_message(b"\x00", tag))
    blind = bytes.fromhex("64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706")
    blinded = group.multiply(blind, hashed)
    assert blinded.hex() == "609a0ae68c15a3cf6903766461307e5c8bb2f95e7e6550e1ffa2dc99e412803c"
    key = bytes.fromhex("5ebcea5ee37023ccb9fc2d2019f9d7737be85591ae8652ffa9ef0f4d37063b0e")
    evaluated = group.multiply(key, blinded)
    assert evaluated.hex() == "7ec6578ae5120958eb2db1745758ff379e77cb64fe77b0b2d8cc917ea0869c7e"


def test_expand_message_as_in_rfc_9380():
    """RFC 9380 K.3 (SHA-512), empty message, 32 bytes."""
    tag = b"QUUX-V01-CS02-with-expander-SHA512-256"
    expected = "6b9a7312411d92f921c6f68ca0b6380730a1a4d982c507211a90964c394179ba"
    assert group.expand_message(b"", tag, 32).hex() == expected


@given(st.lists(st.binary(max_size=20), max_size=4), st.lists(st.binary(max_size=20), max_size=4))
def test_transcripts_do_not_collide(a, b):
    """Two different lists of fields never give the same bytes."""
    assert (group.transcript(*a) == group.transcript(*b)) == (a == b)
