"""What a leaf commits to. Encoded once, kept as bytes, erased after retention; the hash stays."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from renkei.errors import NotGenuine
from renkei.messages.wire import (
    Bytes32,
    Bytes64,
    Code,
    Count,
    DomainRef,
    Envelope,
    Moment,
    Small,
    Wire,
    Word,
    decode_as,
)


class Ruling(Wire, frozen=True, array_like=True):
    """The decision on one inquiry: allowed under a row, or refused and by whom; ``pack`` is the law's hash."""

    allowed: bool
    reason: Word
    by: Word
    row: Word
    line: Count
    rows: Annotated[list[Code], Meta(max_length=64)]
    pack: Bytes32


class InquiryLeaf(Wire, frozen=True, tag="inquiry-leaf/1"):
    """An inquiry with its ruling. Only what is allowed was converted.

    ``half`` and ``converted`` are the requester's ciphertext after the first and the second converter, so that a wrong
    conversion can be attributed; ``target`` is the provider's domain they lead to. The proofs are there if that converter proves
    always and not only on audit.
    """

    time: Moment
    inquiry: Envelope
    ruling: Ruling
    target: DomainRef | None = None
    half: Small = b""
    converted: Small = b""
    half_proofs: list[Small] = []
    proofs: list[Small] = []


class OutcomeLeaf(Wire, frozen=True, tag="outcome-leaf/1"):
    """A provider's outcomes: the statute's time of provision."""

    time: Moment
    outcomes: Envelope


class IssuanceLeaf(Wire, frozen=True, tag="issuance-leaf/1"):
    """A batch of codes on its way from the authority to one institution."""

    time: Moment
    batch: Envelope
    half: list[Bytes64] = []
    converted: list[Bytes64] = []
    half_proofs: list[Small] = []
    proofs: list[Small] = []


class ActLeaf(Wire, frozen=True, tag="act-leaf/1"):
    """A governance act. Never erased."""

    time: Moment
    act: Envelope


class GenesisLeaf(Wire, frozen=True, tag="genesis-leaf/1"):
    """Leaf 0: the encoded ``Genesis``, signed by both keepers."""

    time: Moment
    genesis: bytes
    hub_signature: bytes
    commission_signature: bytes


Entry = InquiryLeaf | OutcomeLeaf | IssuanceLeaf | ActLeaf | GenesisLeaf

KINDS: dict[type[Entry], str] = {
    InquiryLeaf: "inquiry",
    OutcomeLeaf: "outcome",
    IssuanceLeaf: "issuance",
    ActLeaf: "act",
    GenesisLeaf: "genesis",
}


def decode_entry(data: bytes) -> Entry:
    """The entry in ``data``; ``Malformed`` if it is none."""
    return decode_as(data, Entry)  # type: ignore[arg-type]  # a union is a type to msgspec


def envelope_of(entry: Entry) -> Envelope:
    """The signed envelope a leaf is about; ``NotGenuine`` for the genesis, which has none."""
    match entry:
        case InquiryLeaf():
            return entry.inquiry
        case IssuanceLeaf():
            return entry.batch
        case OutcomeLeaf():
            return entry.outcomes
        case ActLeaf():
            return entry.act
    raise NotGenuine("There is one genesis.", code="round-entry")


def kind_of(entry: Entry) -> str:
    """The short name under which a leaf is indexed."""
    return KINDS[type(entry)]
