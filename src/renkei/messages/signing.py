"""Identity signatures (Ed25519) over envelopes, and HPKE sealing to an institution or to a reply key."""

from __future__ import annotations

import hmac
import os
from base64 import b64encode
from collections.abc import Callable, Iterable
from functools import lru_cache

import msgspec
import nacl.bindings
import nacl.exceptions
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from renkei.codes.group import transcript
from renkei.errors import Malformed, NotGenuine
from renkei.messages.wire import Approval, Decision, Envelope, encode, signed_bytes

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
PADDED_SIZES = (2048, 8192, 32768, 131072, 524288)
"""Answers are padded up to one of these, bytes, so that their size says next to nothing."""


class Identity:
    """An institution's signing identity: its code and its Ed25519 key. Signs envelopes and frames, nothing else."""

    def __init__(self, body: str, seed: bytes) -> None:
        self.body = body
        self.public, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)

    def sign(self, body: msgspec.Struct) -> Envelope:
        """``body`` in a signed envelope."""
        payload = encode(body)
        return Envelope(self.body, payload, self.signature(signed_bytes(self.body, payload)))

    def signature(self, message: bytes) -> bytes:
        """64 bytes over ``message``, which must carry its own tag."""
        return nacl.bindings.crypto_sign(message, self._secret)[:64]


def verify(envelope: Envelope, public: bytes) -> None:
    """Raise ``NotGenuine`` unless ``public`` signed this envelope."""
    if not is_signed(envelope.signed_bytes(), envelope.signature, public):
        raise NotGenuine("The signature on the message is wrong.", code="signature-wrong")


def is_signed(message: bytes, signature: bytes, public: bytes) -> bool:
    """Whether ``signature`` over ``message`` is by ``public`` (RFC 8032, strict)."""
    if len(signature) != 64 or len(public) != 32:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except (nacl.exceptions.BadSignatureError, ValueError):
        return False
    return True


def decision_bytes(decision: Decision) -> bytes:
    """What officers sign: the decision without their signatures."""
    bare = msgspec.structs.replace(decision, approvals=[])
    return b"renkei/v1/approve" + transcript(encode(bare))


def approve(decision: Decision, officer: str, seed: bytes) -> Decision:
    """``decision`` with this officer's signature (Ed25519, a 32-byte seed) added."""
    _, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
    signature = nacl.bindings.crypto_sign(decision_bytes(decision), secret)[:64]
    return msgspec.structs.replace(decision, approvals=[*decision.approvals, Approval(officer, signature)])


class SealKey:
    """An HPKE private key (X25519); ``public`` is what others seal to."""

    def __init__(self, private: bytes | None = None) -> None:
        if private is None:
            private = os.urandom(32)
        self.private = private
        self._key = X25519PrivateKey.from_private_bytes(private)
        self.public = self._key.public_key().public_bytes_raw()

    def open(self, sealed: bytes, *context: bytes) -> bytes:
        """What ``seal`` sealed to this key under the same context; ``NotGenuine`` otherwise."""
        try:
            return bytes(_SUITE.decrypt(sealed, self._key, transcript(*context)))
        except (InvalidTag, ValueError):
            raise NotGenuine("The seal does not open: it is damaged or for someone else.", code="seal-wrong") from None

    def agree(self, public: bytes) -> bytes:
        """32 bytes that only the holders of this key and of ``public`` can work out (X25519, RFC 7748)."""
        try:
            shared = self._key.exchange(_public(public))
        except ValueError:
            raise Malformed("This sealing key cannot be used.", code="bad-key") from None
        ends = sorted((self.public, public))
        return hmac.digest(shared, b"renkei/v1/agree" + transcript(*ends), "sha256")


PSEUDONYM_SIZE = 8


def hide(pseudonym: bytes, shared: bytes, nonce: bytes) -> bytes:
    """A clerk's pseudonym (8 bytes) as only the other end of ``shared`` (``SealKey.agree``) can read it, and as different each time as
    ``nonce``: an inquiry's reply key. Applied twice it is the pseudonym again. Its authenticity is the inquiry's signature. 2 µs."""
    stream = hmac.digest(shared, b"renkei/v1/clerk" + nonce, "sha256")
    return bytes(a ^ b for a, b in zip(pseudonym, stream, strict=False))


Unveil = Callable[[str, bytes, bytes], bytes]
"""``unveil(requester, hidden, reply key)``: the pseudonym, at the commission; nothing for anyone else."""


def unseen(_requester: str, _hidden: bytes, _nonce: bytes) -> bytes:
    """``Unveil`` of whoever cannot."""
    return b""


@lru_cache(maxsize=4096)
def _public(key: bytes) -> X25519PublicKey:
    try:
        return X25519PublicKey.from_public_bytes(key)
    except ValueError:
        raise Malformed("A sealing key is 32 bytes.", code="bad-key") from None


_P = 2**255 - 19
_LOW_ORDER = frozenset(
    u.to_bytes(32, "little")
    for u in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        _P - 1,
        _P,
        _P + 1,
    )
)
"""The u-coordinates with which X25519 agrees on nothing secret (Curve25519 has these seven, non-canonical forms included)."""


def sealable(public: bytes) -> bool:
    """Whether something can be sealed to this X25519 public key (RFC 7748 §6.1)."""
    return len(public) == 32 and public[:31] + bytes([public[31] & 0x7F]) not in _LOW_ORDER


def seal(data: bytes, public: bytes, *context: bytes) -> bytes:
    """``data`` sealed to ``public`` (HPKE base mode, RFC 9180), bound to ``context``. 140 µs."""
    try:
        return bytes(_SUITE.encrypt(data, _public(public), transcript(*context)))
    except ValueError:  # a low-order public key
        raise Malformed("This sealing key cannot be used.", code="bad-key") from None


def pad(data: bytes) -> bytes:
    """``data`` behind its length, filled up to the next of ``PADDED_SIZES``."""
    size = next((s for s in PADDED_SIZES if len(data) + 4 <= s), None)
    if size is None:
        raise Malformed("The answer is too large.", code="answer-too-large", status=413)
    return (len(data).to_bytes(4, "big") + data).ljust(size, b"\0")


def unpad(padded: bytes) -> bytes:
    """What ``pad`` padded; ``Malformed`` for any other form."""
    length = int.from_bytes(padded[:4], "big")
    if len(padded) not in PADDED_SIZES or length + 4 > len(padded) or any(padded[4 + length :]):
        raise Malformed("The answer is not padded as agreed.", code="answer-padding")
    return padded[4 : 4 + length]


OWN = "renkei-own/1"


def own_document(provider: str, day: str, asked: Iterable[tuple[str, bytes]]) -> bytes:
    """What a card signs so that a body answers its holder: a text that names the body, the day (ISO), and each item with the key (base64)
    its answer is to be sealed to. ``asked`` are these pairs, in any order."""
    lines = [f"{item} {b64encode(key).decode()}" for item, key in sorted(set(asked))]
    return "\n".join([OWN, provider, day, *lines, ""]).encode()


def own_of(document: bytes) -> tuple[str, str]:
    """Which body a document of that kind names, and which day; ``Malformed`` if it is none."""
    head, provider, day, *rest = [*document.decode("utf-8", "replace").split("\n"), "", "", ""]
    if head != OWN or not any(rest):
        raise Malformed("This is no wish to see one's own information.", code="own-document")
    return provider, day


LETTER = b"renkei/v1/letter"
LETTER_STEP = 262_144
"""Bytes, of which letters with papers are a multiple."""
ANSWER = b"renkei/v1/answer"


def seal_answer(content: msgspec.Struct, reply_key: bytes, inquiry: bytes) -> bytes:
    """An answer sealed to the inquiry's reply key and bound to the inquiry."""
    return seal(pad(encode(content)), reply_key, ANSWER, inquiry)


def open_answer(sealed: bytes, key: SealKey, inquiry: bytes) -> bytes:
    """The content bytes of an answer; ``NotGenuine`` if it is for another inquiry or damaged."""
    return unpad(key.open(sealed, ANSWER, inquiry))


def seal_letter(content: bytes, public: bytes, letter: bytes) -> bytes:
    """What a letter says, sealed to its receiver and bound to the letter; filled up, so that its size says little of it."""
    size = next((s for s in PADDED_SIZES if len(content) + 4 <= s), -(-(len(content) + 4) // LETTER_STEP) * LETTER_STEP)
    return seal((len(content).to_bytes(4, "big") + content).ljust(size, b"\0"), public, LETTER, letter)


def open_letter(sealed: bytes, key: SealKey, letter: bytes) -> bytes:
    """The content of a letter; ``NotGenuine`` if it is of another, for somebody else, or damaged."""
    padded = key.open(sealed, LETTER, letter)
    length = int.from_bytes(padded[:4], "big")
    if length + 4 > len(padded):
        raise Malformed("The letter is not padded as agreed.", code="letter-padding")
    return padded[4 : 4 + length]
