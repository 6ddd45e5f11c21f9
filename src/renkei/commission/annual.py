"""The commission's annual report to parliament, from the record alone: whoever has the record can make it again, byte for byte.

Nothing enters but leaves: no clock, no database, no file of the commission's. Counts below the law's ``small_count`` are not told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from renkei.commission.archive import Archive
from renkei.commission.documents import render
from renkei.commission.officers import Officers
from renkei.commission.wordings import Words
from renkei.errors import Malformed
from renkei.messages.wire import (
    Changed,
    Enrol,
    Enrolment,
    ExceptionalPermit,
    Inquiry,
    LawVersion,
    Letter,
    Lift,
    Order,
    Outcomes,
    decode_as,
    decode_signed,
)
from renkei.record.entries import ActLeaf, ChangeLeaf, InquiryLeaf, LetterLeaf, OutcomeLeaf
from renkei.record.oversight import MEASURES, published
from renkei.record.state import State

MOST_ROWS = 40


@dataclass
class Year:
    """What the record says of one year."""

    year: int
    state: State
    """As it was at the end of the year."""
    asked: Counter[str] = field(default_factory=Counter)
    """Inquiries by requester."""
    answered_of: Counter[str] = field(default_factory=Counter)
    """Inquiries allowed, by provider."""
    affairs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """By reason."""
    results: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)
    """By what they are about: notices to residents, and what was written of each procedure."""
    """Change notices, by item."""
    exceptional: Counter[str] = field(default_factory=Counter)
    """Uses by exceptional permit."""
    measures: Counter[str] = field(default_factory=Counter)
    joined: list[str] = field(default_factory=list)
    laws: list[str] = field(default_factory=list)
    decisions: list[tuple[int, Any]] = field(default_factory=list)
    """Leaf and act of each order, exceptional permit and lift."""
    erased: int = 0


def fold(archive: Archive, year: int) -> Year:
    """The record's year, in one pass; years are those of the law's country. Memory O(bodies, affairs and acts)."""
    state = archive.state()
    told = Year(year, state)
    for position, entry in archive.entries():
        if entry is None:
            told.erased += 1
            continue
        at = state.pack.day(entry.time).year
        if at > year:
            break
        match entry:
            case ActLeaf():
                void = state.void
                state.apply(position, entry)
                if at == year and state.void == void:
                    _act(told, position, decode_signed(entry.act.payload))
            case InquiryLeaf() if at == year:
                _inquiry(told, entry)
            case ChangeLeaf() if at == year and entry.ruling.allowed:
                told.changes[decode_as(entry.change.payload, Changed).item] += 1
            case LetterLeaf() if at == year and entry.ruling.allowed:
                told.letters[decode_as(entry.letter.payload, Letter).topic] += 1
            case OutcomeLeaf() if at == year:
                told.results.update(o.result for o in decode_as(entry.outcomes.payload, Outcomes).outcomes)
    return told


def _inquiry(told: Year, leaf: InquiryLeaf) -> None:
    inquiry, ruling = decode_as(leaf.inquiry.payload, Inquiry), leaf.ruling
    told.asked[leaf.inquiry.sender] += 1
    told.affairs[inquiry.affair] += 1
    if not ruling.allowed:
        told.refused[ruling.reason] += 1
        return
    told.answered_of[inquiry.provider] += 1
    if ruling.row and not ruling.line:
        told.exceptional[ruling.row] += 1


def _act(told: Year, position: int, act: Any) -> None:
    match act:
        case Enrol():
            told.joined.append(decode_as(act.enrolment.payload, Enrolment).body)
        case LawVersion():
            told.laws.append(told.state.pack.reference)
        case Order() | ExceptionalPermit() | Lift():
            told.decisions.append((position, act))
        case _ if getattr(act, "kind", "") in MEASURES:
            told.measures[act.kind] += 1


def report(archive: Archive, year: int, language: str) -> str:
    """The report as HTML in one language; ``Malformed`` if the record has nothing of that year."""
    told = fold(archive, year)
    if not (told.asked or told.joined or told.decisions):
        raise Malformed(f"The record has nothing of {year}.", ja=f"記録に{year}年の内容はありません。", code="year")
    pack = told.state.pack
    words = Words(pack, language, Officers.none())
    small = pack.header.oversight.small_count

    def table(counts: Counter[str], say: Any) -> list[tuple[str, str]]:
        rows = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_ROWS]
        few = words.t((f"fewer than {small}", f"{small}未満"))
        return [(say(code), f"{n:,}" if n >= small else few) for code, n in rows]

    return render(
        "annual.html",
        told=told,
        words=words,
        lang=language,
        t=lambda en, ja: words.t((en, ja)),
        table=table,
        total=_told(sum(told.asked.values()), small, words),
        refusals=_told(sum(told.refused.values()), small, words),
        assessments=list(published(told.state.oversight.assessments)),
        archive=archive,
        root=sha256(archive.head.encode()).hexdigest(),
    )


def _told(count: int, small: int, words: Words) -> str:
    return words.t((f"fewer than {small}", f"{small}未満")) if 0 < count < small else f"{count:,}"
