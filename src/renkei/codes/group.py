"""ristretto255 (RFC 9496) through libsodium: the only module that imports ``pysodium``.

Elements and scalars are plain ``bytes`` of 32. Everything that enters is checked, everything that leaves is checked:
exact type and length, canonical encoding, never the identity; scalars canonical and ``0 < x < ℓ``. libsodium itself
masks or ignores several of these (docs/adr/0004), so nothing here relies on it to refuse.
Secret scalar arithmetic stays inside libsodium, which is constant-time.
"""

from __future__ import annotations

import hashlib
import hmac

try:
    import pysodium
except (ImportError, OSError, TypeError, ValueError) as missing:  # the binding fails in any of these ways
    from renkei.errors import SetupError

    raise SetupError(
        "The cryptographic library libsodium was not found on this machine.",
        ja="暗号ライブラリ libsodium が見つかりません。",
        code="libsodium-missing",
        remedy="Install it: `apt-get install libsodium23` (Debian, Ubuntu), then try again.",
        remedy_ja="`apt-get install libsodium23`（Debian、Ubuntu）で入れてから、もう一度お試しください。",
    ) from missing

from renkei.errors import Malformed, SetupError

if pysodium.sodium.sodium_init() < 0:  # the binding never calls it; without it the generator may be unseeded
    raise SetupError("libsodium could not be initialised.", code="libsodium-broken")
if not pysodium.sodium_version_check(1, 0, 18):
    raise SetupError(
        "libsodium is too old: ristretto255 needs 1.0.18.",
        code="libsodium-old",
        remedy="Install libsodium 1.0.18 or newer.",
    )

ELEMENT_SIZE = 32
SCALAR_SIZE = 32
ORDER = 2**252 + 27742317777372353535851937790883648493
"""ℓ, the order of the group (RFC 9496 §4)."""

_IDENTITY = bytes(32)
_ORDER_LE = ORDER.to_bytes(32, "little")


class BadElement(Malformed):
    """Bytes that are not the canonical encoding of an element, or are the identity."""

    code = "bad-element"


class BadScalar(Malformed):
    """Bytes that are not a canonical scalar with 0 < x < ℓ."""

    code = "bad-scalar"


def element(data: bytes) -> bytes:
    """``data`` if it is a canonical element other than the identity; else ``BadElement`` (RFC 9496 §4.3.1)."""
    if type(data) is not bytes or len(data) != ELEMENT_SIZE:
        raise BadElement("A group element is 32 bytes.")
    if data == _IDENTITY:
        raise BadElement("The identity is not accepted as a group element.")
    if not pysodium.crypto_core_ristretto255_is_valid_point(data):
        raise BadElement("These 32 bytes are not a canonical ristretto255 element.")
    return data


def scalar(data: bytes) -> bytes:
    """``data`` if it is 32 bytes little-endian with 0 < x < ℓ; else ``BadScalar``."""
    if type(data) is not bytes or len(data) != SCALAR_SIZE:
        raise BadScalar("A scalar is 32 bytes.")
    if data == _IDENTITY or data[::-1] >= _ORDER_LE[::-1]:
        raise BadScalar("A scalar must be between 1 and the group order, exclusive.")
    return data


def _result(data: bytes) -> bytes:
    if data == _IDENTITY:
        raise BadElement("The result is the identity.")
    return data


def multiply(x: bytes, p: bytes) -> bytes:
    """x·P. 68 µs on the machine of the design note; the unit every cost here is counted in."""
    scalar(x)
    if type(p) is not bytes or len(p) != ELEMENT_SIZE or p == _IDENTITY:
        raise BadElement("A group element is 32 bytes and not the identity.")
    try:
        return _result(bytes(pysodium.crypto_scalarmult_ristretto255(x, p)))
    except ValueError:  # libsodium decodes P canonically and refuses here
        raise BadElement("These 32 bytes are not a canonical ristretto255 element.") from None


def multiply_base(x: bytes) -> bytes:
    """x·G."""
    return _result(bytes(pysodium.crypto_scalarmult_ristretto255_base(scalar(x))))


def add(p: bytes, q: bytes) -> bytes:
    """P + Q. The library answers zeros *and* an error code for a bad operand; both are refused here."""
    return _combine(pysodium.crypto_core_ristretto255_add, p, q)


def subtract(p: bytes, q: bytes) -> bytes:
    """P − Q."""
    return _combine(pysodium.crypto_core_ristretto255_sub, p, q)


def _combine(operation: object, p: bytes, q: bytes) -> bytes:
    for operand in (p, q):
        if type(operand) is not bytes or len(operand) != ELEMENT_SIZE or operand == _IDENTITY:
            raise BadElement("A group element is 32 bytes and not the identity.")
    try:
        return _result(bytes(operation(p, q)))  # type: ignore[operator]  # the binding is untyped
    except ValueError:
        raise BadElement("These 32 bytes are not a canonical ristretto255 element.") from None


def random_scalar() -> bytes:
    """A uniform scalar with 0 < x < ℓ."""
    return bytes(pysodium.crypto_core_ristretto255_scalar_random())


def scalar_from_hash(digest: bytes) -> bytes:
    """64 uniform bytes reduced mod ℓ; zero (probability 2⁻²⁵²) is refused."""
    if type(digest) is not bytes or len(digest) != 64:
        raise BadScalar("A scalar is reduced from 64 bytes.")
    return scalar(bytes(pysodium.crypto_core_ristretto255_scalar_reduce(digest)))


def element_from_hash(digest: bytes) -> bytes:
    """The one-way map from 64 uniform bytes (RFC 9496 §4.3.4)."""
    if type(digest) is not bytes or len(digest) != 64:
        raise BadElement("An element is mapped from 64 bytes.")
    return _result(bytes(pysodium.crypto_core_ristretto255_from_hash(digest)))


def scalar_multiply(x: bytes, y: bytes) -> bytes:
    """x·y mod ℓ."""
    return scalar(bytes(pysodium.crypto_core_ristretto255_scalar_mul(scalar(x), scalar(y))))


def scalar_add(x: bytes, y: bytes) -> bytes:
    """x + y mod ℓ (a zero sum is refused)."""
    return scalar(bytes(pysodium.crypto_core_ristretto255_scalar_add(scalar(x), scalar(y))))


def scalar_invert(x: bytes) -> bytes:
    """1/x mod ℓ."""
    return scalar(bytes(pysodium.crypto_core_ristretto255_scalar_invert(scalar(x))))


def scalar_divide(x: bytes, y: bytes) -> bytes:
    """x/y mod ℓ."""
    return scalar_multiply(x, scalar_invert(y))


def expand_message(message: bytes, tag: bytes, length: int = 64) -> bytes:
    """``expand_message_xmd`` with SHA-512 (RFC 9380 §5.3.1)."""
    blocks = -(-length // 64)
    if blocks > 255 or len(tag) > 255:
        raise Malformed("expand_message_xmd: too long.")
    tail = tag + bytes([len(tag)])
    first = hashlib.sha512(bytes(128) + message + length.to_bytes(2, "big") + b"\0" + tail).digest()
    block = hashlib.sha512(first + b"\1" + tail).digest()
    out = block
    for i in range(2, blocks + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = hashlib.sha512(mixed + bytes([i]) + tail).digest()
        out += block
    return out[:length]


def hash_to_scalar(purpose: str, *fields: bytes) -> bytes:
    """A scalar from length-prefixed ``fields`` under the tag ``renkei/v1/<purpose>``."""
    return scalar_from_hash(expand_message(transcript(*fields), tag(purpose)))


def hash_to_element(purpose: str, *fields: bytes) -> bytes:
    """An element from length-prefixed ``fields`` under the tag ``renkei/v1/<purpose>``."""
    return element_from_hash(expand_message(transcript(*fields), tag(purpose)))


def keyed_scalar(key: bytes, purpose: str, *fields: bytes) -> bytes:
    """HMAC-SHA512 of the tagged, length-prefixed fields, reduced mod ℓ: how converters derive their scalars."""
    return scalar_from_hash(hmac.digest(key, transcript(tag(purpose), *fields), "sha512"))


def tag(purpose: str) -> bytes:
    """The domain-separation tag of ``purpose``."""
    return b"renkei/v1/" + purpose.encode("ascii")


def transcript(*fields: bytes) -> bytes:
    """The fields, each behind its length as 8 bytes big-endian, so that no two lists collide."""
    return b"".join(len(f).to_bytes(8, "big") + f for f in fields)
