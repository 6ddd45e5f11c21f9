"""The scheme: codes convert, in either order, to the same code; nobody alone can; every conversion can be proved."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.codes import (
    Ciphertext,
    Converter,
    Domain,
    combine_shares,
    decrypt,
    encrypt,
    group,
    mint,
    open_key,
    prove_conversion,
    prove_rotation,
    prove_share,
    rotate_code,
    verify_conversion,
    verify_rotation,
    verify_share,
)
from renkei.errors import Malformed, NotGenuine

N, X, Z = Domain("authority"), Domain("city"), Domain("pension")
PRF = os.urandom(32)


def key_of(converters, domain):
    return combine_shares(*(open_key(c.key_share(domain), c.public_share(domain)) for c in converters))


def converted(converters, source, target, ciphertext):
    for c in converters:
        ciphertext = c.convert(source, target, ciphertext)
    return ciphertext


def code_at(converters, person, domain):
    code = mint(PRF, person)
    return decrypt(converted(converters, N, domain, encrypt(code, key_of(converters, N))), key_of(converters, domain))


@given(st.binary(min_size=1, max_size=16))
def test_an_inquiry_reaches_the_provider_s_own_code(converters, person):
    """X encrypts its code; after both converters, in either order, Z decrypts exactly the code it was issued."""
    ciphertext = encrypt(code_at(converters, person, X), key_of(converters, X))
    there = converted(converters, X, Z, ciphertext)
    back = converted(converters[::-1], X, Z, ciphertext)
    assert there == back
    assert decrypt(there, key_of(converters, Z)) == code_at(converters, person, Z)


def test_codes_of_two_institutions_have_nothing_in_common(converters):
    """Joining two institutions' tables finds no overlap."""
    people = [os.urandom(8) for _ in range(20)]
    assert not {code_at(converters, p, X) for p in people} & {code_at(converters, p, Z) for p in people}


def test_two_inquiries_about_one_person_share_no_bytes(converters):
    """Fresh encryptions: both halves differ, before and after each conversion."""
    code, key = code_at(converters, b"one", X), key_of(converters, X)
    first, second = encrypt(code, key), encrypt(code, key)
    halves = [converters[0].convert(X, Z, c) for c in (first, second)]
    assert len({first.b, first.c, second.b, second.c}) == 4
    assert len({halves[0].b, halves[0].c, halves[1].b, halves[1].c}) == 4


def test_one_converter_alone_converts_to_nothing(converters):
    """Half a conversion decrypts to no code that anyone holds."""
    ciphertext = encrypt(code_at(converters, b"p", X), key_of(converters, X))
    for c in converters:
        half = decrypt(c.convert(X, Z, ciphertext), key_of(converters, Z))
        assert half != code_at(converters, b"p", Z)


def test_the_identity_and_bad_points_are_no_ciphertext(converters):
    """Wherever a ciphertext arrives, both halves are checked."""
    good = encrypt(code_at(converters, b"p", X), key_of(converters, X)).to_bytes()
    for bad in (good[:63], good + b"\0", bytes(32) + good[32:], good[:32] + bytes(32), b"\xff" * 64, "x" * 64):
        with pytest.raises(Malformed):
            Ciphertext.from_bytes(bad)


def test_a_wrong_key_share_is_noticed(converters):
    """x·G = X and x·U = S are checked against the directory before a share is used."""
    with pytest.raises(NotGenuine):
        open_key(converters[0].key_share(Z), converters[0].public_share(X))


def test_directory_entries_are_proved(converters):
    """The proof binds all three elements and the domain."""
    hub = converters[0]
    share, proof = hub.public_share(X), prove_share(hub, X)
    assert verify_share(X, share, proof)
    assert not verify_share(Z, share, proof)
    assert not verify_share(X, share._replace(u=hub.public_share(Z).u), proof)
    assert not verify_share(X, share, proof[:-1] + bytes([proof[-1] ^ 1]))


def test_a_conversion_to_the_wrong_person_fails_its_proof(converters):
    """A lying converter is caught by 96 bytes."""
    hub = converters[0]
    shares = hub.public_share(X), hub.public_share(Z)
    given_, other = (encrypt(code_at(converters, p, X), key_of(converters, X)) for p in (b"a", b"b"))
    honest = hub.convert(X, Z, given_)
    proof = prove_conversion(hub, X, Z, given_, honest)
    assert len(proof) == 96
    assert verify_conversion(X, Z, shares, given_, honest, proof)
    lie = hub.convert(X, Z, other)
    assert not verify_conversion(X, Z, shares, given_, lie, prove_conversion(hub, X, Z, given_, lie))
    assert not verify_conversion(X, Z, shares, given_, lie, proof)


@given(st.integers(0, 95), st.integers(0, 7))
def test_every_bit_of_a_proof_matters(converters, byte, bit):
    hub = converters[0]
    c = encrypt(group.multiply_base((7).to_bytes(32, "little")), hub.key_share(X))
    made = hub.convert(X, Z, c)
    proof = bytearray(prove_conversion(hub, X, Z, c, made))
    proof[byte] ^= 1 << bit
    assert not verify_conversion(X, Z, (hub.public_share(X), hub.public_share(Z)), c, made, bytes(proof))


def test_rotation_carries_stored_codes_to_the_next_epoch(converters):
    """X multiplies once; what it then holds is what it would be issued in the new epoch, and δ is provable."""
    new = X._replace(code_epoch=2)
    deltas = [c.rotation(X, new) for c in converters]
    assert rotate_code(code_at(converters, b"p", X), *deltas) == code_at(converters, b"p", new)
    shares = converters[0].public_share(X), converters[0].public_share(new)
    proof = prove_rotation(converters[0], X, new)
    assert verify_rotation(X, new, shares, proof)
    assert not verify_rotation(X, new, shares[::-1], proof)


def test_key_epochs_rotate_apart_from_codes(converters):
    """A new key epoch changes the key, not the codes."""
    new = X._replace(key_epoch=2)
    assert key_of(converters, new) != key_of(converters, X)
    assert code_at(converters, b"p", new) == code_at(converters, b"p", X)


def test_a_master_says_nothing_in_its_representation():
    """No secret in a log line or traceback."""
    assert repr(Converter(b"s" * 64)) == "Converter(generation=1)"
    with pytest.raises(Malformed):
        Converter(b"short")


def test_a_reissued_number_does_not_change_the_code():
    """Codes are minted from the internal id, under a key."""
    assert mint(PRF, b"id-1") == mint(PRF, b"id-1")
    assert mint(PRF, b"id-1") != mint(os.urandom(32), b"id-1")
