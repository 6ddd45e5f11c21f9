"""Frames: how messages travel. Signed by the sender, sealed to the receiver, numbered for exactly-once effect.

A sender numbers its *parcels* (lists of messages born in one transaction) per receiver, 1, 2, 3 …, within a ``stream`` that
lives as long as its process. A frame carries consecutive parcels; the receiver commits them in order and acknowledges
cumulatively, so repeats and losses on the bus have no effect. Streams only ever grow: an older one is ignored. A new one begins
with the oldest parcel that is not acknowledged, so a sender whose database was restored is never taken for one that repeats itself,
and what is sent twice across a restart is recognised by its own id (an inquiry's, a handle's).
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

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
