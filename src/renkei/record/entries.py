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
    EndChanges,
    Envelope,
    IssuanceBatch,
    Moment,
    Personal,
    Receipt,
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


class ChangeLeaf(Wire, frozen=True, tag="change-leaf/1"):
    """A change notice with its ruling: as an inquiry's, but from the provider to the subscriber."""

    time: Moment
    change: Envelope
    ruling: Ruling
    target: DomainRef | None = None
    half: Small = b""
    converted: Small = b""
    half_proofs: list[Small] = []
    proofs: list[Small] = []


class LetterLeaf(Wire, frozen=True, tag="letter-leaf/1"):
    """A letter between a body and a resident, with its ruling: as an inquiry's, from its sender to its receiver."""

    time: Moment
    letter: Envelope
    ruling: Ruling
    target: DomainRef | None = None
    half: Small = b""
    converted: Small = b""
    half_proofs: list[Small] = []
    proofs: list[Small] = []


PersonalLeaf = InquiryLeaf | ChangeLeaf | LetterLeaf
"""About one person: with a ruling, and conversions if it is allowed."""


class EndLeaf(Wire, frozen=True, tag="end-leaf/1"):
    """A requester's end of a subscription."""

    time: Moment
    end: Envelope


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


Entry = InquiryLeaf | ChangeLeaf | LetterLeaf | EndLeaf | OutcomeLeaf | IssuanceLeaf | ActLeaf | GenesisLeaf

KINDS: dict[type[Entry], str] = {
    InquiryLeaf: "inquiry",
    ChangeLeaf: "change",
    LetterLeaf: "letter",
    EndLeaf: "end",
    OutcomeLeaf: "outcome",
    IssuanceLeaf: "issuance",
    ActLeaf: "act",
    GenesisLeaf: "genesis",
}


def decode_entry(data: bytes) -> Entry:
    """The entry in ``data``; ``Malformed`` if it is none."""
    return decode_as(data, Entry)  # type: ignore[arg-type]  # a union is a type to msgspec


def said(leaf: PersonalLeaf) -> Personal:
    """What is said about the person."""
    return decode_as(envelope_of(leaf).payload, Personal)  # type: ignore[arg-type]  # a union is a type to msgspec


def receiver_of(entry: Entry) -> str:
    """To whom the leaf is a permit, or what it is to learn from the record: nobody (empty) if it is refused."""
    match entry:
        case InquiryLeaf() | ChangeLeaf() | LetterLeaf():
            return entry.target.body if entry.ruling.allowed and entry.target else ""
        case IssuanceLeaf():
            return decode_as(entry.batch.payload, IssuanceBatch).target.body
        case EndLeaf():
            return decode_as(entry.end.payload, EndChanges).provider
    return ""


def receipt_of(position: int, leaf: PersonalLeaf) -> Receipt:
    """What the sender is told of its leaf."""
    ruling = leaf.ruling
    rows = [ruling.row] if ruling.allowed else ruling.rows
    return Receipt(envelope_of(leaf).id, position, ruling.allowed, leaf.time, ruling.reason, rows, ruling.by)


def envelope_of(entry: Entry) -> Envelope:
    """The signed envelope a leaf is about; ``NotGenuine`` for the genesis, which has none."""
    match entry:
        case InquiryLeaf():
            return entry.inquiry
        case ChangeLeaf():
            return entry.change
        case LetterLeaf():
            return entry.letter
        case EndLeaf():
            return entry.end
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
