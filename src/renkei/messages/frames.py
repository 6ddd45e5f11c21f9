"""Frames: how messages travel. Signed by the sender, sealed to the receiver, numbered for exactly-once effect.

A sender numbers its *parcels* (lists of messages born in one transaction) per receiver, 1, 2, 3 …, within a ``stream`` that
lives as long as its process. A frame carries consecutive parcels; the receiver commits them in order and acknowledges
cumulatively, so repeats and losses on the bus have no effect. Streams only ever grow: an older one is ignored. A new one begins
with the oldest parcel that is not acknowledged, so a sender whose database was restored is never taken for one that repeats itself,
and what is sent twice across a restart is recognised by its own id (an inquiry's, a handle's).

A frame is signed and sealed as a whole (``close``), or, once its receiver has acknowledged one of those, closed under the ``Session``
that one brought: the same two can read and write it, for a fiftieth of the price. What cannot be opened is asked for again, sealed.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import Annotated

import nacl.bindings
import nacl.exceptions
from msgspec import Meta

from renkei.codes.group import transcript
from renkei.errors import NotGenuine
from renkei.messages import signing
from renkei.messages.signing import Identity, SealKey
from renkei.messages.wire import Bytes8, Bytes16, Code, Count, Wire, decode_as, encode


class Frame(Wire, frozen=True, tag="frame/1"):
    """Parcels ``first`` … of ``stream``; or a bare acknowledgement (no parcels)."""

    sender: Code
    recipient: Code
    stream: Bytes8
    first: Count = 0
    parcels: Annotated[list[list[bytes]], Meta(max_length=64)] = []
    oldest: Annotated[int, Meta(ge=1, lt=2**53)] = 1
    """The oldest parcel the sender still owes: a receiver that lost its place (a restored database) goes on from there."""
    acknowledges: Annotated[int, Meta(ge=-1, lt=2**53)] = -1
    """Every parcel of ``stream`` up to this number is committed (when this is an acknowledgement)."""
    session: Annotated[bytes, Meta(max_length=32)] = b""
    """In a sealed frame: the key of the session under which further frames of this stream, and their acknowledgements, may come."""
    renew: bool = False
    """In an acknowledgement: frames came under a session that is not known here (any more); begin again with a sealed one."""


class CallFrame(Wire, frozen=True, tag="call/1"):
    """A question that wants one reply; ``nonce`` ties them. ``body`` is an encoded Call or Reply."""

    sender: Code
    recipient: Code
    nonce: Bytes16
    body: bytes
    reply: bool = False


class Sealed(Wire, frozen=True, array_like=True):
    """A frame as signed, before sealing."""

    payload: bytes
    signature: bytes


_TAG = b"renkei/v1/frame"


def close(frame: Frame | CallFrame, identity: Identity, recipient_key: bytes) -> bytes:
    """Sign and seal a frame. 180 µs whatever it carries, plus its bytes."""
    payload = encode(frame)
    inner = encode(Sealed(payload, identity.signature(_TAG + payload)))
    return signing.seal(inner, recipient_key, _TAG, frame.sender.encode(), frame.recipient.encode())


def open_frame(data: bytes, sender: str, sender_key: bytes, own: str, key: SealKey) -> Frame | CallFrame:
    """The frame in ``data``, which the bus says ``sender`` sent; ``NotGenuine`` unless all of it agrees."""
    inner = decode_as(key.open(data, _TAG, sender.encode(), own.encode()), Sealed)
    if not signing.is_signed(_TAG + inner.payload, inner.signature, sender_key):
        raise NotGenuine("The frame's signature is wrong.", code="signature-wrong")
    frame = decode_as(inner.payload, Frame | CallFrame)  # type: ignore[arg-type]  # a union is a type to msgspec
    if frame.sender != sender or frame.recipient != own:
        raise NotGenuine("The frame is addressed to someone else.", code="misaddressed")
    return frame


class Session:
    """A key two institutions share while the process that chose it lives. Frames under it cost a few µs, sealed ones 180.

    The key came in a frame signed by one and sealed to the other, so a frame under it is by one of the two; sender and receiver are
    bound, so neither can be handed its own frames. XChaCha20-Poly1305 with random nonces (no counter to keep across threads).
    """

    def __init__(self, key: bytes = b"") -> None:
        self.key = key or os.urandom(32)
        if len(self.key) != 32:
            raise NotGenuine("A session key is 32 bytes.", code="session")
        self.id = sha256(b"renkei/v1/session" + self.key).digest()[:8]

    def close(self, frame: Frame) -> bytes:
        """The session's id ‖ nonce (24) ‖ the frame, encrypted and authenticated."""
        nonce = os.urandom(24)
        bound = _bound(frame.sender, frame.recipient)
        return self.id + nonce + _encrypt(encode(frame), bound, nonce, self.key)

    def open(self, data: bytes, sender: str, own: str) -> Frame:
        """The frame in ``data``; ``NotGenuine`` unless it was closed under this session by ``sender`` for ``own``."""
        try:
            payload = _decrypt(data[32:], _bound(sender, own), data[8:32], self.key)
        except (nacl.exceptions.CryptoError, ValueError):
            raise NotGenuine("The frame does not open under its session.", code="session") from None
        return decode_as(payload, Frame)


_encrypt = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt
_decrypt = nacl.bindings.crypto_aead_xchacha20poly1305_ietf_decrypt


def _bound(sender: str, recipient: str) -> bytes:
    return transcript(_TAG + b"/session", sender.encode(), recipient.encode())
