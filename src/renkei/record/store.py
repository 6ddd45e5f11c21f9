"""The index a keeper holds beside its log: inquiries by id, the newest reply, operator flags.

Written only in the transaction that appends the leaves they describe, so index and log cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from renkei.rows import Rows

metadata = sa.MetaData()

inquiries = sa.Table(
    "record_inquiries",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("requester", sa.String(64), nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("outcome", sa.BigInteger),
)
sa.Index("record_inquiries_position", inquiries.c.position)
envelopes = sa.Table(
    "record_envelopes",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)
replies = sa.Table(
    "record_replies",
    metadata,
    sa.Column("previous", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("reply", sa.LargeBinary, nullable=False),
)
flags = sa.Table(
    "record_flags",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


audit_findings = sa.Table(
    "record_audit_findings",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("keeper", sa.String(16), primary_key=True),
    sa.Column("reason", sa.String(40), nullable=False),
)


_ENTER = Rows(envelopes.insert())
_ADD = Rows(inquiries.insert())
_SETTLE = Rows(
    inquiries.update()
    .where(inquiries.c.id == sa.bindparam("inquiry"), inquiries.c.outcome.is_(None))
    .values(outcome=sa.bindparam("at"))
)


class Known(NamedTuple):
    """An inquiry of the record: where its leaf is, between whom, and whether it has an outcome."""

    id: bytes
    position: int
    requester: str
    provider: str
    allowed: bool
    expires: int
    outcome: int | None = None


def enter(connection: sa.Connection, new: Iterable[tuple[bytes, int]]) -> None:
    """Note which envelopes other than inquiries (``add``) have a leaf, and where; the primary key refuses a second leaf."""
    _ENTER(connection, [{"id": id_, "position": at} for id_, at in new])


def entered(connection: sa.Connection, ids: Iterable[bytes]) -> set[bytes]:
    """Those of ``ids`` that have a leaf already."""
    wanted = list(ids)
    found = (connection.execute(sa.select(c).where(c.in_(wanted))).scalars() for c in (inquiries.c.id, envelopes.c.id))
    return {bytes(i) for each in found for i in each}


def add(connection: sa.Connection, new: Iterable[Known]) -> None:
    """Index new inquiries; the primary key refuses a repeated id."""
    _ADD(connection, [k._asdict() for k in new])


def settle(connection: sa.Connection, outcomes: Iterable[tuple[bytes, int]]) -> None:
    """Note the outcome leaf of each inquiry; a later one for the same inquiry changes nothing."""
    _SETTLE(connection, [{"inquiry": i, "at": at} for i, at in outcomes])


def known(connection: sa.Connection, ids: Iterable[bytes]) -> dict[bytes, Known]:
    """The inquiries among ``ids`` that are in the record."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = connection.execute(sa.select(inquiries).where(inquiries.c.id.in_(wanted)))
    return {
        bytes(r.id): Known(bytes(r.id), r.position, r.requester, r.provider, r.allowed, r.expires, r.outcome)
        for r in rows
    }


def open_between(connection: sa.Connection, first: int, end: int) -> list[Known]:
    """The permitted inquiries at positions ``first`` … ``end`` (exclusive) that have no outcome."""
    i = inquiries.c
    where = i.position >= first, i.position < end, i.allowed.is_(True), i.outcome.is_(None)
    rows = connection.execute(sa.select(inquiries).where(*where).order_by(i.position))
    return [Known(bytes(r.id), r.position, r.requester, r.provider, r.allowed, r.expires, r.outcome) for r in rows]


def of_body(connection: sa.Connection, body: str, first: int, end: int) -> list[Known]:
    """The inquiries at positions ``first`` … ``end`` (exclusive) that ``body`` asked or was asked, in order."""
    rows = connection.execute(sa.select(inquiries).where(*_of(body, first, end)).order_by(inquiries.c.position))
    return [Known(bytes(r.id), r.position, r.requester, r.provider, r.allowed, r.expires, r.outcome) for r in rows]


def outcomes(connection: sa.Connection, ids: Sequence[bytes]) -> list[int]:
    """Where the outcomes of these inquiries are, of those that have one."""
    found: list[int] = []
    for at in range(0, len(ids), 1000):
        where = inquiries.c.id.in_(ids[at : at + 1000]), inquiries.c.outcome.is_not(None)
        found += connection.execute(sa.select(inquiries.c.outcome).where(*where)).scalars()
    return found


def count_of(connection: sa.Connection, body: str, first: int, end: int) -> int:
    """How many there are of these."""
    return connection.execute(
        sa.select(sa.func.count()).select_from(inquiries).where(*_of(body, first, end))
    ).scalar_one()


def _of(body: str, first: int, end: int) -> tuple[sa.ColumnElement[bool], ...]:
    i = inquiries.c
    return i.position >= first, i.position < end, sa.or_(i.requester == body, i.provider == body)


def erase(connection: sa.Connection, end: int) -> None:
    """Forget between whom the inquiries before position ``end`` were. That their envelopes have a leaf stays known."""
    old = inquiries.c.position < end
    kept = sa.select(inquiries.c.id, inquiries.c.position).where(old)
    connection.execute(envelopes.insert().from_select(["id", "position"], kept))
    connection.execute(inquiries.delete().where(old))


def put_reply(connection: sa.Connection, previous: int, digest: bytes, reply: bytes) -> None:
    """The commission's reply to one proposal. Only the newest is kept: the hub has one round under way at a time."""
    connection.execute(replies.delete())
    connection.execute(replies.insert(), [{"previous": previous, "digest": digest, "reply": reply}])


def reply_to(connection: sa.Connection, previous: int, digest: bytes) -> bytes | None:
    """The stored reply to exactly this proposal."""
    found = connection.execute(
        sa.select(replies.c.reply).where(replies.c.previous == previous, replies.c.digest == digest)
    ).scalar()
    return None if found is None else bytes(found)


def put_finding(connection: sa.Connection, position: int, keeper: str, reason: str) -> None:
    """An audit found a conversion wrong (or, at 0, that nothing is proven any more). Kept once."""
    same = audit_findings.c.position == position, audit_findings.c.keeper == keeper
    connection.execute(audit_findings.delete().where(*same))
    connection.execute(audit_findings.insert(), [{"position": position, "keeper": keeper, "reason": reason}])


def findings(connection: sa.Connection) -> list[tuple[int, str]]:
    """Leaves that failed an audit, oldest first, each with the converter that failed."""
    query = sa.select(audit_findings.c.position, audit_findings.c.keeper).order_by(audit_findings.c.position)
    return [(r.position, r.keeper) for r in connection.execute(query)]


def set_flag(connection: sa.Connection, name: str, value: str | None) -> None:
    """Keep or (with ``None``) remove a flag of the keeper's operator."""
    connection.execute(flags.delete().where(flags.c.name == name))
    if value is not None:
        connection.execute(flags.insert(), [{"name": name, "value": value}])


def flag(connection: sa.Connection, name: str) -> str | None:
    return connection.execute(sa.select(flags.c.value).where(flags.c.name == name)).scalar()
