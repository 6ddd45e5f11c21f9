"""What a leaf commits to. Encoded once, kept as bytes, erased after retention; the hash stays."""

from __future__ import annotations

from renkei.messages.wire import DomainRef, Envelope, Wire, decode_as


class Ruling(Wire, frozen=True, array_like=True):
    """The decision on one inquiry: allowed under a row, or refused and by whom; ``pack`` is the law's hash."""

    allowed: bool
    reason: str
    by: str
    row: str
    line: int
    rows: list[str]
    pack: bytes


class InquiryLeaf(Wire, frozen=True, tag="inquiry-leaf/1"):
    """An inquiry, allowed or refused. A refused one is not converted.

    ``half`` and ``converted`` are the requester's ciphertext after the first and the second converter, so that a wrong
    conversion can be attributed; ``target`` is the provider's domain they lead to.
    """

    time: int
    inquiry: Envelope
    ruling: Ruling
    target: DomainRef | None = None
    half: bytes = b""
    converted: bytes = b""


class OutcomeLeaf(Wire, frozen=True, tag="outcome-leaf/1"):
    """A provider's outcomes: the statute's time of provision."""

    time: int
    outcomes: Envelope


class IssuanceLeaf(Wire, frozen=True, tag="issuance-leaf/1"):
    """A batch of codes on its way from the authority to one institution."""

    time: int
    batch: Envelope
    half: list[bytes] = []
    converted: list[bytes] = []


class ActLeaf(Wire, frozen=True, tag="act-leaf/1"):
    """A governance act. Never erased."""

    time: int
    act: Envelope


class GenesisLeaf(Wire, frozen=True, tag="genesis-leaf/1"):
    """Leaf 0: the encoded ``Genesis``, signed by both keepers."""

    time: int
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


def kind_of(entry: Entry) -> str:
    """The short name under which a leaf is indexed."""
    return KINDS[type(entry)]
