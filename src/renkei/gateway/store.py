"""Inquiries asked, provisions made, batch files.

Invariants: an inquiry's reply key is here, locked, until a terminal state and then erased; a provision's sealed answer is stored in the
transaction that sends it, so a repeated permit gets the same bytes; a batch row is an inquiry or a fault, never both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.rows import Rows

metadata = sa.MetaData()

TERMINAL = ("refused", "answered", "expired")

inquiries = sa.Table(
    "inquiries",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("idempotency", sa.String(200), unique=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("local_id", sa.String(64), nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("affair", sa.String(80), nullable=False),
    sa.Column("item", sa.String(80), nullable=False),
    sa.Column("purpose", sa.String(80), nullable=False),
    sa.Column("clerk", sa.String(80), nullable=False),
    sa.Column("case_number", sa.Text, nullable=False),
    sa.Column("reason_text", sa.Text, nullable=False),
    sa.Column("salt", sa.LargeBinary(16), nullable=False),
    sa.Column("reply_key", sa.LargeBinary),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(40), nullable=False),
    sa.Column("rows", sa.Text, nullable=False),
    sa.Column("refused_by", sa.String(16), nullable=False),
    sa.Column("leaf", sa.BigInteger),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("deadline", sa.BigInteger, nullable=False),
    sa.Column("result", sa.LargeBinary),
    sa.Column("batch", sa.String(32)),
    sa.Column("batch_line", sa.BigInteger),
)
sa.Index("inquiries_issued", inquiries.c.issued_at)
sa.Index("inquiries_state", inquiries.c.state, inquiries.c.deadline)
sa.Index("inquiries_batch", inquiries.c.batch, inquiries.c.batch_line)

provisions = sa.Table(
    "provisions",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("requester", sa.String(64), nullable=False),
    sa.Column("affair", sa.String(80), nullable=False),
    sa.Column("item", sa.String(80), nullable=False),
    sa.Column("purpose", sa.String(80), nullable=False),
    sa.Column("row", sa.String(16), nullable=False),
    sa.Column("local_id", sa.String(64)),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(40), nullable=False),
    sa.Column("leaf", sa.BigInteger, nullable=False),
    sa.Column("permit", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("settled_by", sa.String(64)),
)
sa.Index("provisions_state", provisions.c.state, provisions.c.expires)

documents = sa.Table(
    "documents_issued",
    metadata,
    sa.Column("number", sa.String(32), primary_key=True),
    sa.Column("document", sa.String(64), nullable=False),
    sa.Column("local_id", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Certificates printed for residents."""

readings = sa.Table(
    "numbers_read",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("local_id", sa.String(64), nullable=False),
    sa.Column("affair", sa.String(80), nullable=False),
    sa.Column("clerk", sa.String(80), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""By whom and for which affair a number was read off a card; the number itself is nowhere."""

demands = sa.Table(
    "demands",
    metadata,
    sa.Column("document", sa.LargeBinary(32), primary_key=True),
    sa.Column("case_number", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("end", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("received_at", sa.BigInteger, nullable=False),
    sa.Column("answer", sa.Text),
    sa.Column("answered_at", sa.BigInteger),
    sa.Column("answered_by", sa.String(64)),
)
"""What the commission has asked of us, or told us; an inspection is of our records of the leaves ``first`` … ``end`` (exclusive)."""
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("format", sa.String(8), nullable=False),
    sa.Column("clerk", sa.String(80), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("submitted", sa.BigInteger, nullable=False),
    sa.Column("created", sa.BigInteger, nullable=False),
)
batch_faults = sa.Table(
    "batch_faults",
    metadata,
    sa.Column("batch", sa.String(32), primary_key=True),
    sa.Column("line", sa.BigInteger, primary_key=True),
    sa.Column("code", sa.String(40), nullable=False),
    sa.Column("sentence", sa.Text, nullable=False),
)


_ADD_INQUIRIES = Rows(inquiries.insert())
_RECORDED = Rows(
    inquiries.update()
    .where(inquiries.c.id == sa.bindparam("inquiry"))
    .values(
        leaf=sa.bindparam("leaf_index"),
        recorded_at=sa.bindparam("at"),
        rows=sa.bindparam("needed"),
        state=sa.case((inquiries.c.state == "submitted", "permitted"), else_=inquiries.c.state),
    )
)
_REFUSE = Rows(
    inquiries.update()
    .where(inquiries.c.id == sa.bindparam("inquiry"), inquiries.c.finished_at.is_(None))
    .values(
        leaf=sa.bindparam("leaf_index"),
        recorded_at=sa.bindparam("at"),
        finished_at=sa.bindparam("at"),
        state="refused",
        reason=sa.bindparam("why"),
        rows=sa.bindparam("needed"),
        refused_by=sa.bindparam("who"),
        reply_key=None,
    )
)
_FINISH = Rows(
    inquiries.update()
    .where(inquiries.c.id == sa.bindparam("inquiry"), inquiries.c.finished_at.is_(None))
    .values(
        state=sa.bindparam("new"),
        reason=sa.bindparam("why"),
        finished_at=sa.bindparam("at"),
        result=sa.bindparam("data"),
        reply_key=None,
    )
)
_ADD_PROVISIONS = Rows(provisions.insert())
_ADD_FAULTS = Rows(batch_faults.insert())


class Finish(NamedTuple):
    """A terminal state of an inquiry."""

    id: bytes
    state: str
    reason: str
    at: int
    result: bytes | None = None


def add_inquiries(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    _ADD_INQUIRIES(connection, rows)


def get_inquiry(connection: sa.Connection, id_: bytes) -> sa.Row[Any] | None:
    return connection.execute(sa.select(inquiries).where(inquiries.c.id == id_)).one_or_none()


def by_idempotency(connection: sa.Connection, key: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(inquiries).where(inquiries.c.idempotency == key)).one_or_none()


def open_inquiries(connection: sa.Connection, ids: Sequence[bytes]) -> dict[bytes, sa.Row[Any]]:
    """Those of ``ids`` that are not in a terminal state."""
    rows = connection.execute(
        sa.select(inquiries).where(inquiries.c.id.in_(list(ids)), inquiries.c.state.not_in(TERMINAL))
    )
    return {bytes(r.id): r for r in rows}


def recorded(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Note receipts (keys ``inquiry leaf_index at needed``); a permitted inquiry moves on from submitted."""
    _RECORDED(connection, rows)


def refuse(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """End inquiries as refused (keys ``inquiry leaf_index at why needed who``); the reply key goes."""
    _REFUSE(connection, rows)


def finish(connection: sa.Connection, ends: Sequence[Finish]) -> None:
    """End inquiries; the reply key goes. One that has ended already is left as it is."""
    rows = [{"inquiry": e.id, "new": e.state, "why": e.reason, "at": e.at, "data": e.result} for e in ends]
    _FINISH(connection, rows)


def overdue(connection: sa.Connection, before: int) -> list[bytes]:
    """Open inquiries whose deadline was before ``before``."""
    rows = connection.execute(
        sa.select(inquiries.c.id)
        .where(inquiries.c.state.in_(("submitted", "permitted")), inquiries.c.deadline < before)
        .limit(500)
    )
    return [bytes(i) for i in rows.scalars()]


def late(connection: sa.Connection, before: int, limit: int) -> list[sa.Row[Any]]:
    """Open inquiries issued before ``before``, oldest first: id, state, provider, issued_at."""
    columns = inquiries.c.id, inquiries.c.state, inquiries.c.provider, inquiries.c.issued_at
    query = sa.select(*columns).where(inquiries.c.state.in_(("submitted", "permitted")), inquiries.c.issued_at < before)
    return list(connection.execute(query.order_by(inquiries.c.issued_at).limit(limit)))


def list_inquiries(
    connection: sa.Connection, *, state: str | None, limit: int, before: int | None
) -> list[sa.Row[Any]]:
    """Inquiries, newest first; ``before`` pages by issue time."""
    query = sa.select(inquiries).order_by(inquiries.c.issued_at.desc()).limit(limit)
    if state:
        query = query.where(inquiries.c.state == state)
    if before is not None:
        query = query.where(inquiries.c.issued_at < before)
    return list(connection.execute(query))


def tally(connection: sa.Connection) -> dict[str, int]:
    """How many inquiries are in each state."""
    rows = connection.execute(sa.select(inquiries.c.state, sa.func.count()).group_by(inquiries.c.state))
    return {str(r[0]): int(r[1]) for r in rows}


def provisions_of(connection: sa.Connection, ids: Sequence[bytes]) -> dict[bytes, sa.Row[Any]]:
    rows = connection.execute(sa.select(provisions).where(provisions.c.id.in_(list(ids))))
    return {bytes(r.id): r for r in rows}


def add_provisions(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    _ADD_PROVISIONS(connection, rows)


def close_provision(
    connection: sa.Connection, id_: bytes, *, state: str, answer: bytes | None, at: int, by: str = ""
) -> bool:
    """End a held request, by a clerk or by itself; whether it was still held. Two who settle it at once do not both succeed."""
    changed = connection.execute(
        provisions.update()
        .where(provisions.c.id == id_, provisions.c.state == "held")
        .values(state=state, answer=answer, finished_at=at, settled_by=by)
    )
    return bool(changed.rowcount)


def hold_for(connection: sa.Connection, id_: bytes, reason: str) -> bool:
    """Hold a held request for another reason; whether it was still held."""
    held = provisions.update().where(provisions.c.id == id_, provisions.c.state == "held")
    return bool(connection.execute(held.values(reason=reason)).rowcount)


def held_for(connection: sa.Connection, reason: str) -> list[sa.Row[Any]]:
    """Requests held for ``reason``, oldest first, at most 500."""
    query = sa.select(provisions).where(provisions.c.state == "held", provisions.c.reason == reason)
    return list(connection.execute(query.order_by(provisions.c.received_at).limit(500)))


def list_provisions(connection: sa.Connection, *, state: str | None, limit: int, but: str = "") -> list[sa.Row[Any]]:
    """Requests, newest first; ``but`` those held for this reason."""
    query = sa.select(provisions).order_by(provisions.c.received_at.desc()).limit(limit)
    if but:
        query = query.where(provisions.c.reason != but)
    if state:
        query = query.where(provisions.c.state == state)
    return list(connection.execute(query))


def held_overdue(connection: sa.Connection, now: int) -> list[bytes]:
    rows = connection.execute(
        sa.select(provisions.c.id).where(provisions.c.state == "held", provisions.c.expires <= now).limit(500)
    )
    return [bytes(i) for i in rows.scalars()]


def asked_between(connection: sa.Connection, first: int, end: int) -> list[sa.Row[Any]]:
    """What is kept of the inquiries asked whose leaves are ``first`` … ``end`` (exclusive). Looks through all of them."""
    i = inquiries.c
    query = sa.select(i.id, i.salt, i.clerk, i.case_number, i.reason_text).where(i.leaf >= first, i.leaf < end)
    return list(connection.execute(query.order_by(i.leaf)))


def unsettled(connection: sa.Connection, before: int) -> bool:
    """Whether an inquiry asked before ``before`` may be in the record without our knowing where: its receipt is under way."""
    i = inquiries.c
    open_ = sa.select(i.id).where(i.leaf.is_(None), i.state != "expired", i.issued_at <= before)
    return connection.execute(open_.limit(1)).first() is not None


def given_between(connection: sa.Connection, first: int, end: int) -> list[sa.Row[Any]]:
    """The same of the inquiries answered, or to be answered."""
    p = provisions.c
    query = sa.select(p.id, p.state, p.settled_by, p.finished_at).where(p.leaf >= first, p.leaf < end)
    return list(connection.execute(query.order_by(p.leaf)))


def add_batch(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(batches.insert(), [row])


def update_batch(connection: sa.Connection, id_: str, **values: Any) -> None:
    connection.execute(batches.update().where(batches.c.id == id_).values(**values))


def get_batch(connection: sa.Connection, id_: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(batches).where(batches.c.id == id_)).one_or_none()


def list_batches(connection: sa.Connection, *, state: str | None = None) -> list[sa.Row[Any]]:
    query = sa.select(batches).order_by(batches.c.created.desc()).limit(200)
    if state:
        query = query.where(batches.c.state == state)
    return list(connection.execute(query))


def add_faults(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    _ADD_FAULTS(connection, rows)


def batch_tally(connection: sa.Connection, id_: str) -> dict[str, int]:
    """How many rows of a batch are in each state, ``fault`` included."""
    states = connection.execute(
        sa.select(inquiries.c.state, sa.func.count()).where(inquiries.c.batch == id_).group_by(inquiries.c.state)
    )
    tally = {str(r[0]): int(r[1]) for r in states}
    tally["fault"] = connection.execute(
        sa.select(sa.func.count()).select_from(batch_faults).where(batch_faults.c.batch == id_)
    ).scalar_one()
    return tally


def open_rows(connection: sa.Connection, id_: str) -> int:
    """Rows of a batch that have not ended.

    Over the index of states, which holds few open ones: by ``coalesce`` the engine cannot choose the index of batches, where it would
    go through every row of the file.
    """
    query = sa.select(sa.func.count()).select_from(inquiries)
    ours = sa.func.coalesce(inquiries.c.batch, "") == id_
    return connection.execute(query.where(inquiries.c.state.in_(("submitted", "permitted")), ours)).scalar_one()


def batch_page(connection: sa.Connection, id_: str, after: int, limit: int) -> list[tuple[int, Any, Any]]:
    """Rows of a batch after line ``after`` as (line, inquiry or None, fault or None), in line order."""
    asked = connection.execute(
        sa.select(inquiries)
        .where(inquiries.c.batch == id_, inquiries.c.batch_line > after)
        .order_by(inquiries.c.batch_line)
        .limit(limit)
    )
    wrong = connection.execute(
        sa.select(batch_faults)
        .where(batch_faults.c.batch == id_, batch_faults.c.line > after)
        .order_by(batch_faults.c.line)
        .limit(limit)
    )
    rows = [(r.batch_line, r, None) for r in asked] + [(r.line, None, r) for r in wrong]
    return sorted(rows, key=lambda r: int(r[0]))[:limit]


def note_reading(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(readings.insert(), [row])
