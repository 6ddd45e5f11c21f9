"""The checker's part for what the commission decides: console, record, bodies and portal must tell one story, whatever has happened.

Reads the databases themselves. The decisions in force are folded anew; what an order stopped is worked out here, by leaf order alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from renkei.institution.keeper import law_library
from renkei.institution.settings import Home
from renkei.messages.wire import (
    Appoint,
    Assessment,
    Confirm,
    ExceptionalPermit,
    Inquiry,
    Lift,
    Measure,
    Order,
    Trail,
    decode_as,
    decode_signed,
    encode,
)
from renkei.nation.plan import Plan
from renkei.record.entries import ActLeaf, InquiryLeaf
from renkei.record.state import State
from tests.oracle import log as oracle

Rows = Callable[[str, str], list[Any]]
"""``rows(body, query)``: what a body's database answers."""
NUMBERED = (Order, ExceptionalPermit, Lift, Appoint, Confirm)
OVERSEEN = (*NUMBERED, Measure, Assessment, Trail)
BEFORE_ORDERS = ("", "requester-assessment", "provider-assessment")
"""Reasons that an inquiry under an order never has: it was not refused, or is by something ruled on later."""


class Recorded(NamedTuple):
    """An act of the commission in the record."""

    leaf: int
    payload: bytes
    act: Any


def examine(
    folder: Path, plan: Plan, leaves: dict[int, Any], provided: dict[bytes, tuple[str, str]], rows: Rows
) -> list[str]:
    """What is wrong with what was decided, done about it and told of it."""
    state = State(Home(folder / "commission").trust(), law_library(Home(folder / "commission")))
    acts, wrong = [], []
    for at, leaf in leaves.items():
        if isinstance(leaf, ActLeaf):
            before, act = state.void, decode_signed(leaf.act.payload)
            state.apply(at, leaf)
            if isinstance(act, OVERSEEN):
                acts.append(Recorded(at, leaf.act.payload, act))
                if state.void > before:
                    wrong.append(f"the {type(act).__name__} at leaf {at} is void")
    ends = [size for (size,) in rows("commission", "select size from ledger_checkpoints order by size")]
    gateways = [p.body for p in plan.places if p.role == "gateway"]
    wrong += _followed(plan, leaves, rows)
    wrong += _decided(acts, rows)
    wrong += _supervised(acts, gateways, rows)
    wrong += _published(acts, rows)
    wrong += _reported(rows)
    wrong += _trailed(acts, rows)
    wrong += stopped(leaves, ends, provided)
    return wrong


def _followed(plan: Plan, leaves: dict[int, Any], rows: Rows) -> Iterator[str]:
    """Every member holds the acts of the record, and these alone: the fold is pure, so the same is in force everywhere."""
    recorded = [(at, encode(leaf)) for at, leaf in leaves.items() if isinstance(leaf, ActLeaf)]
    for place in plan.places:
        if place.role not in ("hub", "commission"):
            found = rows(place.body, "select position, entry from followed_acts order by position")
            if found != recorded:
                yield f"{place.body} follows {len(found)} acts of {len(recorded)}"


def _decided(acts: list[Recorded], rows: Rows) -> Iterator[str]:
    """What was signed by enough officers is in the record, once, to the byte; what was not, or withdrawn, is not."""
    recorded = Counter(r.payload for r in acts if isinstance(r.act, NUMBERED))
    for number, decision, state in rows("commission", "select number, decision, state from proposals"):
        count = recorded.pop(decision, 0)
        if count != (state == "submitted"):
            yield f"the decision {number} ({state}) is in the record {count} times"
    yield from (f"{decode_signed(payload)!r:.60} is in the record and nobody proposed it" for payload in recorded)


def _supervised(acts: list[Recorded], gateways: list[str], rows: Rows) -> Iterator[str]:
    """Measures in the record, papers at the commission and demands at the bodies are the same; so are answers and their papers."""
    recorded = Counter(
        (m.case, m.kind, m.body, m.document, m.due) for m in (r.act for r in acts) if isinstance(m, Measure)
    )
    papers = rows(
        "commission",
        "select p.number, p.kind, coalesce(nullif(c.body, ''), 'commission'), p.document, coalesce(p.due, 0), p.text"
        " from case_papers p join cases c on c.number = p.number where p.document is not null",
    )
    if recorded != Counter(p[:5] for p in papers):
        yield f"{recorded.total()} measures are in the record and {len(papers)} among the papers, or not the same"
    sent = Counter(p for p in papers if p[2] != "commission")
    held = Counter(
        (case, kind, body, document, due, text)
        for body in gateways
        for case, kind, document, due, text in rows(body, "select case_number, kind, document, due, text from demands")
    )
    yield from (f"{body} has not what was demanded in {case} ({kind})" for case, kind, body, *_ in (sent - held))
    yield from (f"{body} has a demand in {case} ({kind}) that nobody made" for case, kind, body, *_ in (held - sent))
    answers = Counter(
        (case, body, document, text)
        for body in gateways
        for case, document, text in rows(
            body, "select case_number, document, answer from demands where answer is not null"
        )
    )
    kept = Counter(rows("commission", "select number, author, answers, text from case_papers where kind = 'answer'"))
    yield from (f"{body}'s answer in {case} is no paper" for case, body, *_ in (answers - kept))
    yield from (f"{body}'s answer in {case} is a paper too often" for case, body, *_ in (kept - answers))


def _published(acts: list[Recorded], rows: Rows) -> Iterator[str]:
    """Every draft the register calls published is in the record, and its text is kept; no named assessment came another way."""
    recorded = Counter(
        (a.body, a.name, a.document) for a in (r.act for r in acts) if isinstance(a, Assessment) and a.name
    )
    texts = {digest for (digest,) in rows("commission", "select digest from assessment_texts")}
    drafts = Counter(
        (body, name)
        for body, name in rows("commission", "select body, name from assessment_drafts where state = 'published'")
    )
    if drafts != Counter((body, name) for body, name, _ in recorded.elements()):
        yield f"{drafts.total()} drafts are published and {recorded.total()} assessments in the record, or not the same"
    yield from (f"the text of {body}/{name} is lost" for body, name, digest in recorded if digest not in texts)


def _reported(rows: Rows) -> Iterator[str]:
    """Every report of a resident is in one case, with its paper, and the resident sees how the case stands."""
    cases = rows(
        "commission",
        "select l.reference, l.position, c.origin, c.number, c.closed_at from case_leaves l join cases c on c.number = l.number",
    )
    papers = Counter(n for (n,) in rows("commission", "select number from case_papers where kind = 'report'"))
    reports = {r: (at, kind) for r, at, kind in rows("portal", "select reference, position, kind from reports")}
    found = Counter(c[0] for c in cases if c[0])
    for reference, (at, kind) in reports.items():
        if found[reference] != 1:
            yield f"the report of leaf {at} ({kind}) is in {found[reference]} cases"
    marks = {
        (at, number): state for at, number, state in rows("portal", "select position, case_number, state from marks")
    }
    for reference, at, origin, number, closed in cases:
        if reference and reports.get(reference) != (at, origin):
            yield f"{number} is about a report that nobody made"
        if papers[number] != bool(reference):
            yield f"{number} has {papers[number]} reports"
        if marks.pop((at, number), "") != ("examined" if closed is None else "closed"):
            yield f"whoever leaf {at} concerns does not see how {number} stands"
    yield from (f"leaf {at} is marked for {number}, which is not about it" for at, number in marks)


def _trailed(acts: list[Recorded], rows: Rows) -> Iterator[str]:
    """The trail has every act in the transaction that did it, and grows only: each root in the record is over its beginning."""
    trail = rows("commission", "select position, entry from trail order by position")
    if [at for at, _ in trail] != list(range(len(trail))):
        yield "the trail has gaps"
    committed = {r.act.size: r.act.root for r in acts if isinstance(r.act, Trail)}
    roots = oracle.Roots()
    for _, entry in trail:
        roots.push(oracle.sha(b"\x00", entry))
        if committed.pop(roots.size, roots.root()) != roots.root():
            yield f"the trail's first {roots.size} entries are not those in the record"
    yield from (f"the record vouches for {size} entries of the trail, of {len(trail)}" for size in committed)
    done = Counter((e["act"], e["about"]) for e in (msgspec.json.decode(entry) for _, entry in trail))
    wanted: Counter[tuple[str, str]] = Counter()
    for number, decision, state in rows("commission", "select number, decision, state from proposals"):
        act = decode_signed(decision)
        if isinstance(act, Confirm):
            wanted["confirm", act.number] += 1
            continue
        signed = len(act.approvals)
        wanted += Counter(
            {("propose", number): 1, ("sign", number): signed - 1, ("withdraw", number): state == "withdrawn"}
        )
    wanted += Counter(
        rows("commission", "select kind, number from case_papers where document is not null or kind = 'note'")
    )
    wanted += Counter(("open", n) for (n,) in rows("commission", "select number from cases where origin = 'inspector'"))
    for act in (
        "propose",
        "sign",
        "withdraw",
        "confirm",
        "open",
        "note",
        "explanation",
        "inspection",
        "advice",
        "guidance",
        "closing",
    ):
        if {k: n for k, n in done.items() if k[0] == act} != {k: n for k, n in wanted.items() if k[0] == act}:
            yield f"the trail has another number of acts `{act}` than were done"


def stopped(leaves: dict[int, Any], ends: list[int], provided: dict[bytes, tuple[str, str]]) -> Iterator[str]:
    """Round by round: an inquiry recorded while an order stood is refused by it and answered by nobody; by no order else."""
    standing: dict[str, Order] = {}
    ahead = iter(ends)
    end, pending = next(ahead, 0), list[Any]()
    for at, leaf in leaves.items():
        while at >= end and end:  # a round is over: what it decided has effect
            for act in pending:
                if isinstance(act, Order):
                    standing[act.number] = act
                else:
                    standing.pop(act.number, None)
            end, pending = next(ahead, 0), []
        if isinstance(leaf, ActLeaf) and isinstance(act := decode_signed(leaf.act.payload), Order | Lift):
            pending.append(act)
        elif isinstance(leaf, InquiryLeaf):
            yield from _ruled(at, leaf, [n for n, o in standing.items() if _covers(o, leaf)], set(standing), provided)


def _ruled(
    at: int, leaf: InquiryLeaf, against: list[str], standing: set[str], provided: dict[bytes, tuple[str, str]]
) -> Iterator[str]:
    ruling = leaf.ruling
    reason = "" if ruling.allowed else ruling.reason
    if against and reason in BEFORE_ORDERS:
        yield f"the inquiry at leaf {at} was ruled on ({reason or 'allowed'}) as if {against[0]} did not stand"
    if against and provided.get(leaf.inquiry.id, ("", ""))[1] == "answered":
        yield f"the inquiry at leaf {at} was answered though {against[0]} stood"
    if reason == "order" and not (ruling.rows[0] == against[0] if against else ruling.rows[0] in standing):
        yield f"the inquiry at leaf {at} was stopped by {ruling.rows[0]}, which did not stand against it"


def _covers(order: Order, leaf: InquiryLeaf) -> bool:
    """Whether the order is meant, as far as it can be seen without the clerk's pseudonym."""
    inquiry, sender, scope = decode_as(leaf.inquiry.payload, Inquiry), leaf.inquiry.sender, order.scope
    parts = [
        (scope.requester, (sender,)),
        (scope.provider, (inquiry.provider,)),
        (scope.body, (sender, inquiry.provider)),
        (scope.affair, (inquiry.affair,)),
        (scope.item, (inquiry.item,)),
    ]
    in_time = not order.until or leaf.time < order.until
    return in_time and not scope.clerk and all(wanted == "*" or wanted in are for wanted, are in parts)
