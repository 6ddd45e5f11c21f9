"""One round: drafted at the hub, filled at the commission, completed by both to the same bytes.

``draft`` verifies, rules and makes the hub's half conversion before anything enters; ``fill`` does all of it again at the
commission, converts or refuses; ``complete`` joins the two. Conversion is deterministic, so whoever holds an entry can check it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from renkei.codes import Ciphertext, Converter, Domain, prove_conversion, verify_conversion
from renkei.errors import Malformed, NotFound, NotGenuine
from renkei.messages import signing
from renkei.messages.signing import Unveil, unseen
from renkei.messages.wire import (
    Changed,
    EndChanges,
    Envelope,
    Fill,
    Inquiry,
    IssuanceBatch,
    Letter,
    Outcomes,
    Personal,
    decode_as,
    decode_signed,
)
from renkei.record.admission import rule
from renkei.record.entries import (
    ActLeaf,
    ChangeLeaf,
    EndLeaf,
    Entry,
    InquiryLeaf,
    IssuanceLeaf,
    LetterLeaf,
    OutcomeLeaf,
    PersonalLeaf,
    Ruling,
    envelope_of,
    said,
)
from renkei.record.oversight import Linked
from renkei.record.state import State, domain_of, ref_of

LEAVES: dict[type[Personal], type[PersonalLeaf]] = {Inquiry: InquiryLeaf, Changed: ChangeLeaf, Letter: LetterLeaf}
OUTCOMES = ("provided", "nothing", "expired")
OUTCOME_AHEAD = 120_000
"""Milliseconds by which a provider's clock may be ahead of the round's time."""

Permitted = Callable[[list[bytes]], dict[bytes, tuple[str, str]]]
"""``permitted(inquiry ids)`` answers requester and provider of each one that the record permits."""


class Draft(NamedTuple):
    """A verified entry that waits for the other converter, with the parsed body (for what is sent afterwards)."""

    entry: Entry
    body: object


def draft(
    state: State, converter: Converter, permitted: Permitted, envelope: Envelope, now: int, *, prove: bool = False
) -> Draft:
    """The hub's part for one envelope. ``NotGenuine``/``Malformed``: not a leaf, only counted. ``prove``: conversions come with proofs."""
    drafted = _draft(state, converter, permitted, envelope, now)
    if not prove or not (made := conversions(drafted.entry, "hub")):
        return drafted
    return drafted._replace(entry=msgspec.structs.replace(drafted.entry, half_proofs=prove_all(converter, made)))


def _draft(state: State, converter: Converter, permitted: Permitted, envelope: Envelope, now: int) -> Draft:
    body, sender = _open(state, envelope)
    match body:
        case Inquiry() | Changed() | Letter():
            kind = LEAVES[type(body)]
            ruling, target = rule(state, sender, body, now, by="hub")
            if target is None:
                return Draft(kind(now, envelope, ruling), body)
            half = converter.convert(domain_of(body.source), target, Ciphertext.split(body.ciphertext))
            return Draft(kind(now, envelope, ruling, ref_of(target), half.to_bytes()), body)
        case EndChanges():
            _end(permitted, sender, body)
            return Draft(EndLeaf(now, envelope), body)
        case IssuanceBatch():
            source, target = _issuance(state, sender, body)
            halves = [converter.convert(source, target, Ciphertext.split(c.ciphertext)) for c in body.codes]
            return Draft(IssuanceLeaf(now, envelope, [h.to_bytes() for h in halves]), body)
        case Outcomes():
            _outcomes(permitted, sender, body, now)
            return Draft(OutcomeLeaf(now, envelope), body)
        case _:
            state.check(envelope, now)
            return Draft(ActLeaf(now, envelope), body)


def fill(
    state: State,
    converter: Converter,
    permitted: Permitted,
    entry: Entry,
    now: int,
    *,
    prove: bool = False,
    unveil: Unveil = unseen,
) -> Fill:
    """The commission's part for one drafted entry. ``NotGenuine``: the hub proposed what may not be a leaf.

    ``prove``: both sides' conversions come with proofs; without the hub's, the draft is refused as ``unproven``. ``unveil`` reads the
    pseudonym of the clerk who asks.
    """
    demand_proofs(state, entry, "hub", always=prove)
    filled = _fill(state, converter, permitted, entry, now, unveil)
    if not prove or not filled.converted:
        return filled
    made = conversions(complete(entry, filled), "commission")
    return msgspec.structs.replace(filled, proofs=prove_all(converter, made))


def unveil_with(hide: Callable[[bytes, bytes, bytes], bytes], state: State) -> Unveil:
    """The commission's ``Unveil``: ``hide`` is its keys'."""

    def unveil(requester: str, hidden: bytes, nonce: bytes) -> bytes:
        return hide(hidden, state.body(requester).seal, nonce)

    return unveil


def _fill(
    state: State, converter: Converter, permitted: Permitted, entry: Entry, now: int, unveil: Unveil = unseen
) -> Fill:
    if entry.time != now:
        raise NotGenuine("An entry's time is not its round's.", code="round-time")
    envelope = envelope_of(entry)
    body, sender = _open(state, envelope)
    match entry, body:
        case InquiryLeaf(), Inquiry():
            return _fill_personal(state, converter, entry, body, now, unveil)
        case ChangeLeaf(), Changed():
            return _fill_personal(state, converter, entry, body, now, unveil)
        case LetterLeaf(), Letter():
            return _fill_personal(state, converter, entry, body, now, unveil)
        case IssuanceLeaf(), IssuanceBatch():
            source, target = _issuance(state, sender, body)
            if len(entry.half) != len(body.codes) or entry.converted or entry.proofs:
                raise NotGenuine("A batch and its conversions differ in length.", code="round-entry")
            return Fill([converter.convert(source, target, Ciphertext.split(h)).to_bytes() for h in entry.half])
        case OutcomeLeaf(), Outcomes():
            _outcomes(permitted, sender, body, now)
            return Fill([])
        case EndLeaf(), EndChanges():
            _end(permitted, sender, body)
            return Fill([])
        case ActLeaf(), _:
            state.check(envelope, now)
            return Fill([])
    raise NotGenuine("The entry's kind does not fit what it holds.", code="round-entry")


def _fill_personal(
    state: State, converter: Converter, entry: PersonalLeaf, body: Personal, now: int, unveil: Unveil
) -> Fill:
    sender = envelope_of(entry).sender
    ruling, target = rule(state, sender, body, now, by="commission")
    if entry.ruling.allowed and target is None:
        return Fill([], ruling.reason, ruling.rows)
    if entry.ruling != msgspec.structs.replace(ruling, by="hub"):
        raise NotGenuine("Hub and commission reached different rulings.", code="round-ruling")
    if (
        entry.converted
        or entry.proofs
        or entry.target != (ref_of(target) if target else None)
        or bool(entry.half) != bool(target)
    ):
        raise NotGenuine("A draft carries what it should not.", code="round-entry")
    if target is None:
        return Fill([])
    if isinstance(body, Inquiry) and body.clerk and state.oversight.orders:
        clerk = unveil(sender, body.clerk, body.reply_key)
        if number := state.oversight.against(Linked.by(sender, body), now, clerk):
            return Fill([], "order", [number])
    made = converter.convert(domain_of(body.source), target, Ciphertext.split(entry.half))
    return Fill([made.to_bytes()])


class Conversion(NamedTuple):
    """One step of one converter: what it was given and what it made of it."""

    source: Domain
    target: Domain
    given: Ciphertext
    made: Ciphertext


def conversions(entry: Entry, by: str) -> list[Conversion]:
    """The conversions a leaf (for the hub's also a draft) says ``by`` (hub or commission) has made."""
    match entry:
        case InquiryLeaf() | ChangeLeaf() | LetterLeaf() if entry.half and entry.target:
            body = said(entry)
            source, target = domain_of(body.source), domain_of(entry.target)
            given, half, made = [body.ciphertext], [entry.half], [entry.converted]
        case IssuanceLeaf():
            batch = decode_as(entry.batch.payload, IssuanceBatch)
            source, target = domain_of(batch.source), domain_of(batch.target)
            given, half, made = [c.ciphertext for c in batch.codes], entry.half, entry.converted
        case _:
            return []
    steps = zip(given, half, strict=True) if by == "hub" else zip(half, made, strict=True)
    return [Conversion(source, target, Ciphertext.from_bytes(a), Ciphertext.from_bytes(b)) for a, b in steps]


def prove_all(converter: Converter, made: Sequence[Conversion]) -> list[bytes]:
    """``converter``'s proofs that these are its conversions."""
    return [prove_conversion(converter, *conversion) for conversion in made]


def are_honest(state: State, by: str, made: Sequence[Conversion], proofs: Sequence[bytes]) -> bool:
    """Whether ``by`` has proven that these are its conversions, by the key directory."""
    if len(proofs) != len(made):
        return False
    for c, proof in zip(made, proofs, strict=True):
        shares = state.shares.get((by, c.source)), state.shares.get((by, c.target))
        if shares[0] is None or shares[1] is None:
            return False
        if not verify_conversion(c.source, c.target, (shares[0], shares[1]), c.given, c.made, proof):
            return False
    return True


def demand_proofs(state: State, entry: Entry, by: str, *, always: bool) -> None:
    """``NotGenuine`` if the proofs of ``by`` in ``entry`` are wrong, or (``always``) missing."""
    if not isinstance(entry, PersonalLeaf | IssuanceLeaf):
        return
    given = entry.half_proofs if by == "hub" else entry.proofs
    if (given or always) and not are_honest(state, by, conversions(entry, by), given):
        raise NotGenuine("A conversion is not proven to be honest.", code="unproven")


def complete(entry: Entry, filled: Fill) -> Entry:
    """The final entry: what both keepers encode and hash."""
    match entry:
        case InquiryLeaf() | ChangeLeaf() | LetterLeaf() if filled.refusal:
            ruling = entry.ruling
            refused = Ruling(False, filled.refusal, "commission", ruling.row, ruling.line, filled.rows, ruling.pack)
            return type(entry)(entry.time, envelope_of(entry), refused)
        case InquiryLeaf() | ChangeLeaf() | LetterLeaf() if entry.ruling.allowed:
            if len(filled.converted) != 1 or len(filled.converted[0]) != 64:
                raise Malformed("The commission's conversion is missing.", code="round-fill")
            return msgspec.structs.replace(entry, converted=filled.converted[0], proofs=filled.proofs)
        case IssuanceLeaf():
            if len(filled.converted) != len(entry.half):
                raise Malformed("The commission's conversions are missing.", code="round-fill")
            return msgspec.structs.replace(entry, converted=filled.converted, proofs=filled.proofs)
    return entry


def _open(state: State, envelope: Envelope) -> tuple[object, str]:
    """The body of an envelope whose signature by an enrolled sender is good."""
    sender = state.bodies.get(envelope.sender)
    if sender is None:
        raise NotGenuine("The sender is not enrolled.", code="not-enrolled")
    signing.verify(envelope, sender.identity)
    return decode_signed(envelope.payload), envelope.sender


def _issuance(state: State, sender: str, batch: IssuanceBatch) -> tuple[Domain, Domain]:
    source, target = domain_of(batch.source), domain_of(batch.target)
    if state.bodies[sender].role != "authority" or source.body != sender:
        raise NotGenuine("Only the numbering authority issues codes.", code="not-entitled")
    if not (state.is_valid(source) and state.is_valid(target)):
        raise NotFound("A domain of the batch has no keys, or is retired.", code="no-domain")
    return source, target


def _outcomes(permitted: Permitted, sender: str, body: Outcomes, now: int) -> None:
    if len({o.inquiry for o in body.outcomes}) != len(body.outcomes):
        raise Malformed("An outcome is repeated.", code="outcomes")
    parties = permitted([o.inquiry for o in body.outcomes])
    for outcome in body.outcomes:
        if parties.get(outcome.inquiry, ("", ""))[1] != sender:
            raise NotGenuine("An outcome is for an inquiry this body was not permitted to answer.", code="not-entitled")
        if outcome.result not in OUTCOMES:
            raise Malformed("An outcome's result is unknown.", code="outcomes")
        if outcome.time > now + OUTCOME_AHEAD:
            raise Malformed("An outcome's time is in the future.", code="outcomes")


def _end(permitted: Permitted, sender: str, body: EndChanges) -> None:
    if permitted([body.inquiry]).get(body.inquiry) != (sender, body.provider):
        raise NotGenuine("A subscription is ended by who made it.", code="not-entitled")
