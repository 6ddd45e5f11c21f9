"""The commission's desk: cases with their papers, decisions that wait for signatures, assessments on their way, what officers did.

Invariants: what has effect is in the record, never only here; a case's papers and the trail only grow; a proposed decision is kept as
the very bytes its officers sign.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.messages.wire import AskedRecord, GivenRecord, decode_as, encode
from renkei.rows import Rows

metadata = sa.MetaData()

cases = sa.Table(
    "cases",
    metadata,
    sa.Column("number", sa.String(32), primary_key=True),
    sa.Column("origin", sa.String(16), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.String(64), nullable=False),
    sa.Column("opened_at", sa.BigInteger, nullable=False),
    sa.Column("opened_by", sa.String(64), nullable=False),
    sa.Column("closed_at", sa.BigInteger),
)
case_leaves = sa.Table(
    "case_leaves",
    metadata,
    sa.Column("number", sa.String(32), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("reference", sa.LargeBinary(16), nullable=False),
)
sa.Index("case_leaves_position", case_leaves.c.position)
papers = sa.Table(
    "case_papers",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("number", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("author", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("document", sa.LargeBinary(32)),
    sa.Column("salt", sa.LargeBinary(16)),
    sa.Column("due", sa.BigInteger),
    sa.Column("answers", sa.LargeBinary(32)),
)
"""``answers``: of an answer the document it answers, of a report the portal's reference: what each is known by if it comes again."""
sa.Index("case_papers_number", papers.c.number)
handed_records = sa.Table(
    "handed_records",
    metadata,
    sa.Column("document", sa.LargeBinary(32), primary_key=True),
    sa.Column("side", sa.String(8), primary_key=True),
    sa.Column("inquiry", sa.LargeBinary(32), primary_key=True),
    sa.Column("record", sa.LargeBinary, nullable=False),
)
"""What a body handed over of its own for an inspection, by the hash of the inspection's words. ``side`` is asked or given."""
proposals = sa.Table(
    "proposals",
    metadata,
    sa.Column("number", sa.String(32), primary_key=True),
    sa.Column("decision", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("proposed_by", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
assessments = sa.Table(
    "assessment_drafts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("body", sa.String(64), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("affairs", sa.Text, nullable=False),
    sa.Column("items", sa.Text, nullable=False),
    sa.Column("people", sa.BigInteger, nullable=False),
    sa.Column("handlers", sa.BigInteger, nullable=False),
    sa.Column("incident", sa.Boolean, nullable=False),
    sa.Column("level", sa.String(64), nullable=False),
    sa.Column("follows", sa.Boolean, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
comments = sa.Table(
    "assessment_comments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("assessment", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
documents = sa.Table(
    "assessment_texts",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)
watched = sa.Table(
    "watched",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("late", sa.BigInteger, nullable=False),
    sa.Column("requester", sa.String(64), nullable=False),
    sa.Column("clerk", sa.LargeBinary(8), nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("affair", sa.String(64), nullable=False),
    sa.Column("item", sa.String(64), nullable=False),
    sa.Column("row", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("result", sa.String(16), nullable=False),
    sa.Column("provided_at", sa.BigInteger),
)
"""One line for each inquiry in the record, for alarms and statistics. ``reason`` is empty if it was allowed, ``clerk`` unveiled."""
sa.Index("watched_time", watched.c.time)
sa.Index("watched_row", watched.c.row, watched.c.position)
usage = sa.Table(
    "usage",
    metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("requester", sa.String(64), primary_key=True),
    sa.Column("provider", sa.String(64), primary_key=True),
    sa.Column("affair", sa.String(64), primary_key=True),
    sa.Column("item", sa.String(64), primary_key=True),
    sa.Column("asked", sa.BigInteger, nullable=False),
    sa.Column("refused", sa.BigInteger, nullable=False),
    sa.Column("provided", sa.BigInteger, nullable=False),
    sa.Column("empty", sa.BigInteger, nullable=False),
    sa.Column("waited", sa.BigInteger, nullable=False),
    sa.Column("told", sa.BigInteger, nullable=False, server_default="0"),
)
"""A day's counts of one use; ``waited`` is the sum of milliseconds until the answers, ``told`` of change notices."""
alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("seen", sa.Integer, nullable=False),
    sa.Column("usual", sa.Float, nullable=False),
    sa.Column("body", sa.String(64), nullable=False),
    sa.Column("clerk", sa.LargeBinary(8), nullable=False),
    sa.Column("leaves", sa.Text, nullable=False),
    sa.Column("case_number", sa.String(32)),
    sa.Column("dismissed_by", sa.String(64)),
    sa.UniqueConstraint("kind", "subject", "since"),
)
trail = sa.Table(
    "trail",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)


def next_number(connection: sa.Connection, prefix: str) -> str:
    """The next number ``prefix``-n: of cases and of decisions alike."""
    taken = 0
    for column in (cases.c.number, proposals.c.number):
        for number in connection.execute(sa.select(column).where(column.startswith(f"{prefix}-"))).scalars():
            rest = number.removeprefix(f"{prefix}-")
            taken = max(taken, int(rest) if rest.isdigit() else 0)
    return f"{prefix}-{taken + 1}"


# ---------------------------------------------------------------------- cases


def open_case(connection: sa.Connection, row: dict[str, Any], leaves: Sequence[tuple[int, bytes]] = ()) -> None:
    connection.execute(cases.insert(), [row])
    if leaves:
        rows = [{"number": row["number"], "position": at, "reference": reference} for at, reference in leaves]
        connection.execute(case_leaves.insert(), rows)


def add_leaves(connection: sa.Connection, number: str, leaves: Sequence[tuple[int, bytes]]) -> None:
    """Leaves that a case also is about; those it has stay."""
    have = set(connection.execute(sa.select(case_leaves.c.position).where(case_leaves.c.number == number)).scalars())
    fresh = [{"number": number, "position": at, "reference": ref} for at, ref in leaves if at not in have]
    if fresh:
        connection.execute(case_leaves.insert(), fresh)


def case(connection: sa.Connection, number: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(cases).where(cases.c.number == number)).one_or_none()


def case_at(connection: sa.Connection, position: int, origin: str) -> str | None:
    """The open case of this origin about the leaf at ``position``."""
    query = (
        sa.select(cases.c.number)
        .join(case_leaves, case_leaves.c.number == cases.c.number)
        .where(case_leaves.c.position == position, cases.c.origin == origin, cases.c.closed_at.is_(None))
    )
    return connection.execute(query.limit(1)).scalar()


def cases_about(connection: sa.Connection, position: int) -> list[sa.Row[Any]]:
    """Every case about the leaf at ``position``, newest first."""
    query = sa.select(cases).join(case_leaves, case_leaves.c.number == cases.c.number)
    return list(connection.execute(query.where(case_leaves.c.position == position).order_by(cases.c.opened_at.desc())))


def reviewed(connection: sa.Connection) -> set[str]:
    """The exceptional permits whose review was opened."""
    return set(connection.execute(sa.select(cases.c.title).where(cases.c.origin == "review")).scalars())


def list_cases(connection: sa.Connection, *, closed: bool, limit: int = 200) -> list[sa.Row[Any]]:
    ended = cases.c.closed_at.is_not(None) if closed else cases.c.closed_at.is_(None)
    query = sa.select(cases).where(ended).order_by(cases.c.opened_at.desc(), cases.c.number.desc()).limit(limit)
    return list(connection.execute(query))


def leaves_of(connection: sa.Connection, number: str) -> list[sa.Row[Any]]:
    return list(
        connection.execute(
            sa.select(case_leaves).where(case_leaves.c.number == number).order_by(case_leaves.c.position)
        )
    )


def add_paper(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(papers.insert(), [row])


def papers_of(connection: sa.Connection, number: str) -> list[sa.Row[Any]]:
    return list(connection.execute(sa.select(papers).where(papers.c.number == number).order_by(papers.c.id)))


def paper_of(connection: sa.Connection, document: bytes) -> sa.Row[Any] | None:
    """The measure whose words have this hash, if it can be sent."""
    return connection.execute(
        sa.select(papers).where(papers.c.document == document, papers.c.salt.is_not(None))
    ).one_or_none()


def hand_over(
    connection: sa.Connection, document: bytes, asked: Sequence[AskedRecord], given: Sequence[GivenRecord], most: int
) -> bool:
    """Keep records that a body handed over; those that are here stay as they are. ``False`` if it were more than ``most``."""
    ours = handed_records.c.document == document
    count = connection.execute(sa.select(sa.func.count()).select_from(handed_records).where(ours)).scalar_one()
    if count + len(asked) + len(given) > most:
        return False
    for side, records in (("asked", asked), ("given", given)):
        fresh = {r.inquiry: encode(r) for r in records}
        same = ours, handed_records.c.side == side, handed_records.c.inquiry.in_(list(fresh))
        have = {bytes(i) for i in connection.execute(sa.select(handed_records.c.inquiry).where(*same)).scalars()}
        rows = [
            {"document": document, "side": side, "inquiry": i, "record": record}
            for i, record in fresh.items()
            if i not in have
        ]
        if rows:
            connection.execute(handed_records.insert(), rows)
    return True


def handed(connection: sa.Connection, document: bytes) -> tuple[dict[bytes, AskedRecord], dict[bytes, GivenRecord]]:
    """What a body handed over for an inspection, by inquiry: of those it asked, and of those it was asked."""
    rows = connection.execute(sa.select(handed_records).where(handed_records.c.document == document)).all()
    asked = (decode_as(bytes(r.record), AskedRecord) for r in rows if r.side == "asked")
    given = (decode_as(bytes(r.record), GivenRecord) for r in rows if r.side == "given")
    return {a.inquiry: a for a in asked}, {g.inquiry: g for g in given}


def is_answered(connection: sa.Connection, number: str, document: bytes) -> bool:
    """Whether the case has an answer to this document."""
    where = papers.c.number == number, papers.c.kind == "answer", papers.c.answers == document
    return connection.execute(sa.select(papers.c.id).where(*where).limit(1)).first() is not None


def is_reported(connection: sa.Connection, position: int, reference: bytes) -> bool:
    """Whether a case about the leaf at ``position``, open or closed, has the report of this reference."""
    query = (
        sa.select(papers.c.id)
        .join(case_leaves, case_leaves.c.number == papers.c.number)
        .where(case_leaves.c.position == position, papers.c.kind == "report", papers.c.answers == reference)
    )
    return connection.execute(query.limit(1)).first() is not None


def is_closed(connection: sa.Connection, number: str) -> bool:
    return connection.execute(sa.select(cases.c.closed_at).where(cases.c.number == number)).scalar() is not None


def close_case(connection: sa.Connection, number: str, now: int) -> bool:
    changed = connection.execute(
        cases.update().where(cases.c.number == number, cases.c.closed_at.is_(None)).values(closed_at=now)
    )
    return bool(changed.rowcount)


def unanswered(connection: sa.Connection) -> list[sa.Row[Any]]:
    """Demands with a day that nobody has answered yet, most urgent first."""
    answered = sa.select(papers.c.answers).where(papers.c.answers.is_not(None))
    query = (
        sa.select(papers, cases.c.body)
        .join(cases, cases.c.number == papers.c.number)
        .where(papers.c.due.is_not(None), papers.c.document.not_in(answered), cases.c.closed_at.is_(None))
    )
    return list(connection.execute(query.order_by(papers.c.due)))


# ---------------------------------------------------------------------- decisions


def put_proposal(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(proposals.insert(), [row])


def proposal(connection: sa.Connection, number: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(proposals).where(proposals.c.number == number)).one_or_none()


def list_proposals(connection: sa.Connection) -> list[sa.Row[Any]]:
    """Those that wait for a signature, oldest first."""
    return list(
        connection.execute(sa.select(proposals).where(proposals.c.state == "proposed").order_by(proposals.c.at))
    )


def submitted(connection: sa.Connection, prefix: str) -> list[bytes]:
    """Decisions that went to the record, of those whose numbers begin with ``prefix``-."""
    where = proposals.c.state == "submitted", proposals.c.number.startswith(f"{prefix}-")
    return [bytes(d) for d in connection.execute(sa.select(proposals.c.decision).where(*where)).scalars()]


def sign_proposal(connection: sa.Connection, number: str, before: bytes, after: bytes, state: str) -> bool:
    """Replace a proposal by itself with one more signature, or withdraw it; whether it was still as ``before``."""
    where = proposals.c.number == number, proposals.c.decision == before, proposals.c.state == "proposed"
    return bool(connection.execute(proposals.update().where(*where).values(decision=after, state=state)).rowcount)


# ---------------------------------------------------------------------- assessments


def put_assessment(connection: sa.Connection, row: dict[str, Any]) -> int:
    result = connection.execute(assessments.insert().returning(assessments.c.id), row)
    return int(result.scalar_one())


def assessment(connection: sa.Connection, id_: int) -> sa.Row[Any] | None:
    return connection.execute(sa.select(assessments).where(assessments.c.id == id_)).one_or_none()


def list_assessments(connection: sa.Connection, *, states: Sequence[str] = ()) -> list[sa.Row[Any]]:
    query = sa.select(assessments).order_by(assessments.c.id.desc())
    return list(connection.execute(query.where(assessments.c.state.in_(states)) if states else query))


def move_assessment(connection: sa.Connection, id_: int, before: str, after: str, now: int, note: str) -> bool:
    where = assessments.c.id == id_, assessments.c.state == before
    return bool(
        connection.execute(assessments.update().where(*where).values(state=after, since=now, note=note)).rowcount
    )


def add_comment(connection: sa.Connection, id_: int, now: int, text: str) -> None:
    connection.execute(comments.insert(), [{"assessment": id_, "at": now, "text": text}])


def comments_on(connection: sa.Connection, id_: int) -> list[sa.Row[Any]]:
    return list(connection.execute(sa.select(comments).where(comments.c.assessment == id_).order_by(comments.c.id)))


def put_document(connection: sa.Connection, digest: bytes, title: str, text: str) -> None:
    connection.execute(documents.delete().where(documents.c.digest == digest))
    connection.execute(documents.insert(), [{"digest": digest, "title": title, "text": text}])


def document(connection: sa.Connection, digest: bytes) -> sa.Row[Any] | None:
    return connection.execute(sa.select(documents).where(documents.c.digest == digest)).one_or_none()


# ---------------------------------------------------------------------- what is watched


class Watched(NamedTuple):
    """A line of ``watched`` that has no outcome yet."""

    position: int
    id: bytes
    time: int
    late: int
    requester: str
    clerk: bytes
    provider: str
    affair: str
    item: str
    row: str
    reason: str
    result: str = ""


class Use(NamedTuple):
    """The key of a day's counts."""

    day: str
    requester: str
    provider: str
    affair: str
    item: str


_ADD = Rows(watched.insert())
_SETTLE = Rows(
    watched.update()
    .where(watched.c.id == sa.bindparam("inquiry"))
    .values(result=sa.bindparam("told"), provided_at=sa.bindparam("at"))
)
COUNTS = ("asked", "refused", "provided", "empty", "waited", "told")
_COUNT = Rows(
    usage.update()
    .where(*(usage.c[k] == sa.bindparam(f"of_{k}") for k in ("day", "requester", "provider", "affair", "item")))
    .values({c: usage.c[c] + sa.bindparam(f"more_{c}") for c in COUNTS})
)


def add_watched(connection: sa.Connection, lines: Sequence[Watched]) -> None:
    _ADD(connection, [{**line._asdict(), "provided_at": None} for line in lines])


def settle_watched(connection: sa.Connection, outcomes: Sequence[tuple[bytes, str, int]]) -> None:
    _SETTLE(connection, [{"inquiry": i, "told": result, "at": at} for i, result, at in outcomes])


def watched_of(connection: sa.Connection, ids: Sequence[bytes]) -> dict[bytes, Any]:
    if not ids:
        return {}
    rows = connection.execute(sa.select(watched).where(watched.c.id.in_(ids)))
    return {bytes(r.id): r for r in rows}


def watched_at(connection: sa.Connection, position: int) -> sa.Row[Any] | None:
    return connection.execute(sa.select(watched).where(watched.c.position == position)).one_or_none()


def watched_since(connection: sa.Connection, since: int) -> Iterator[Any]:
    """Lines from ``since`` (ms) on, in order; memory is constant."""
    query = sa.select(watched).where(watched.c.time >= since).order_by(watched.c.position)
    yield from connection.execution_options(yield_per=1000).execute(query)


def prune(connection: sa.Connection, before: int) -> None:
    connection.execute(watched.delete().where(watched.c.time < before))


def add_usage(connection: sa.Connection, uses: Mapping[Use, Mapping[str, int]], there: Container[Use] = ()) -> None:
    """Add to the counts of each use; one writer. ``there``: uses that are known to have a row, so that none is looked for."""
    for use in uses:
        if use not in there:
            same = [usage.c[k] == v for k, v in use._asdict().items()]
            if connection.execute(sa.select(usage.c.day).where(*same)).first() is None:
                connection.execute(usage.insert(), [{**use._asdict(), **dict.fromkeys(COUNTS, 0)}])
    keyed = ({f"of_{k}": v for k, v in use._asdict().items()} for use in uses)
    added = ({f"more_{c}": more.get(c, 0) for c in COUNTS} for more in uses.values())
    _COUNT(connection, [{**key, **more} for key, more in zip(keyed, added, strict=True)])


def used(connection: sa.Connection, first: str, last: str) -> list[sa.Row[Any]]:
    """The counts of each linkage (requester, provider, affair, item) between two days, both included."""
    key = usage.c.requester, usage.c.provider, usage.c.affair, usage.c.item
    sums = [sa.func.sum(usage.c[c]).cast(sa.BigInteger).label(c) for c in COUNTS]
    return list(connection.execute(sa.select(*key, *sums).where(usage.c.day.between(first, last)).group_by(*key)))


def used_by_day(connection: sa.Connection, first: str, last: str) -> list[tuple[str, int]]:
    total = sa.func.sum(usage.c.asked).cast(sa.BigInteger)
    query = sa.select(usage.c.day, total).where(usage.c.day.between(first, last)).group_by(usage.c.day)
    return [(r[0], int(r[1])) for r in connection.execute(query.order_by(usage.c.day))]


def paper_reports(connection: sa.Connection) -> dict[tuple[str, str, str, str], int]:
    """How often residents reported that paper was asked for, by linkage."""
    key = watched.c.requester, watched.c.provider, watched.c.affair, watched.c.item
    query = (
        sa.select(*key, sa.func.count())
        .join(case_leaves, case_leaves.c.position == watched.c.position)
        .join(cases, cases.c.number == case_leaves.c.number)
        .where(cases.c.origin == "paper")
        .group_by(*key)
    )
    return {(r[0], r[1], r[2], r[3]): int(r[4]) for r in connection.execute(query)}


def add_alarm(connection: sa.Connection, alarm: Any) -> bool:
    """Keep an alarm; ``False`` if there is one of this kind, subject and beginning."""
    same = alarms.c.kind == alarm.kind, alarms.c.subject == alarm.subject, alarms.c.since == alarm.since
    if connection.execute(sa.select(alarms.c.id).where(*same)).first() is not None:
        return False
    row = {k: getattr(alarm, k) for k in ("kind", "subject", "at", "since", "seen", "usual", "body", "clerk")}
    connection.execute(alarms.insert(), [{**row, "leaves": " ".join(map(str, alarm.leaves))}])
    return True


def list_alarms(connection: sa.Connection, *, dealt_with: bool, limit: int = 200) -> list[sa.Row[Any]]:
    ended = sa.or_(alarms.c.case_number.is_not(None), alarms.c.dismissed_by.is_not(None))
    query = sa.select(alarms).where(ended if dealt_with else sa.not_(ended))
    return list(connection.execute(query.order_by(alarms.c.id.desc()).limit(limit)))


def alarm(connection: sa.Connection, id_: int) -> sa.Row[Any] | None:
    return connection.execute(sa.select(alarms).where(alarms.c.id == id_)).one_or_none()


def end_alarm(connection: sa.Connection, id_: int, *, case: str | None = None, dismissed_by: str | None = None) -> None:
    values = {"case_number": case, "dismissed_by": dismissed_by}
    connection.execute(alarms.update().where(alarms.c.id == id_).values(values))


def uses(connection: sa.Connection, row: str, limit: int) -> list[sa.Row[Any]]:
    """Inquiries that were allowed under ``row`` (an exceptional permit's), newest first."""
    query = sa.select(watched).where(watched.c.row == row, watched.c.reason == "")
    return list(connection.execute(query.order_by(watched.c.position.desc()).limit(limit)))


# ---------------------------------------------------------------------- the trail


def add_trail(connection: sa.Connection, entry: bytes) -> None:
    last = connection.execute(sa.select(sa.func.max(trail.c.position))).scalar()
    connection.execute(trail.insert(), [{"position": 0 if last is None else last + 1, "entry": entry}])


def trail_entries(connection: sa.Connection, *, end: int | None = None) -> list[bytes]:
    query = sa.select(trail.c.entry).order_by(trail.c.position)
    return [bytes(e) for e in connection.execute(query if end is None else query.limit(end)).scalars()]


def trail_size(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(trail)).scalar_one()
