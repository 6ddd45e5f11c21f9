"""Tables of what this body told residents of itself, and of what they applied for.

Invariants: of one rule nobody is told twice on one occasion; an application's state moves with the letter that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from renkei.gateway.store import metadata
from renkei.institution.letters import letters

told = sa.Table(
    "notices_told",
    metadata,
    sa.Column("rule", sa.String(80), primary_key=True),
    sa.Column("local_id", sa.String(64), primary_key=True),
    sa.Column("occasion", sa.String(80), primary_key=True),
    sa.Column("letter", sa.LargeBinary(32), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Of whom a rule told what, and when."""
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("letter", sa.LargeBinary(32), primary_key=True),
    sa.Column("local_id", sa.String(64), nullable=False),
    sa.Column("by", sa.String(80), nullable=False),
    sa.Column("made", sa.BigInteger, nullable=False),
    sa.Column("way", sa.String(8), nullable=False, server_default=""),
    sa.Column("batch", sa.String(32)),
    sa.Column("printed", sa.BigInteger),
    sa.Column("idempotency", sa.String(200), unique=True),
    sa.Column("digest", sa.LargeBinary(32)),
)
"""Letters we wrote to residents: by which clerk (or rule); ``way``: shown or paper, as the portal says; in which file it is,
and when that was printed."""
sa.Index("notices_made", notices.c.made)
sa.Index("notices_way", notices.c.way, notices.c.printed)
applications = sa.Table(
    "applications",
    metadata,
    sa.Column("letter", sa.LargeBinary(32), primary_key=True),
    sa.Column("procedure", sa.String(80), nullable=False),
    sa.Column("office", sa.String(64), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("signed", sa.String(12), nullable=False),
    sa.Column("statement", sa.LargeBinary(32), unique=True),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("clerk", sa.String(80), nullable=False, server_default=""),
    sa.Column("changed", sa.BigInteger, nullable=False),
)
"""What residents apply for, by the letter that brought it; ``signed``: what became of its
signature; ``statement``: SHA-256 of what was signed, which is good once."""
sa.Index("applications_state", applications.c.state, applications.c.at)

OPEN = ("received", "asked", "answered")
CLOSED = ("granted", "refused", "withdrawn")


def told_before(connection: sa.Connection, rule: str, local_ids: Sequence[str]) -> set[tuple[str, str]]:
    """Local id and occasion of those of these who were told by ``rule``."""
    t = told.c
    rows = connection.execute(sa.select(t.local_id, t.occasion).where(t.rule == rule, t.local_id.in_(list(local_ids))))
    return {(r.local_id, r.occasion) for r in rows}


def tell(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(told.insert(), list(rows))


def add_notices(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(notices.insert(), list(rows))


def by_idempotency(connection: sa.Connection, key: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(notices).where(notices.c.idempotency == key)).one_or_none()


def set_way(connection: sa.Connection, ids: Sequence[bytes], way: str) -> None:
    connection.execute(notices.update().where(notices.c.letter.in_(list(ids))).values(way=way))


def recent(connection: sa.Connection, limit: int) -> list[sa.Row[Any]]:
    """What was told last, newest first, with what the record says of it."""
    n, c = notices.c, letters.c
    query = sa.select(notices, c.topic, c.state, c.reason, c.about).join(letters, c.id == n.letter)
    return list(connection.execute(query.order_by(n.made.desc()).limit(limit)))


def to_print(connection: sa.Connection, limit: int) -> list[sa.Row[Any]]:
    """Letters of whoever wants paper that are in no file yet, oldest first."""
    n = notices.c
    where = n.way == "paper", n.batch.is_(None), n.printed.is_(None)
    return list(connection.execute(sa.select(notices).where(*where).order_by(n.made).limit(limit)))


def put_together(connection: sa.Connection, ids: Sequence[bytes], batch: str) -> None:
    """These are in a file."""
    n = notices.c
    connection.execute(notices.update().where(n.letter.in_(list(ids)), n.batch.is_(None)).values(batch=batch))


def in_batch(connection: sa.Connection, batch: str) -> list[sa.Row[Any]]:
    query = sa.select(notices).where(notices.c.batch == batch).order_by(notices.c.made)
    return list(connection.execute(query))


def batches(connection: sa.Connection) -> list[sa.Row[Any]]:
    """Files that were not printed yet: name, how many letters."""
    n = notices.c
    query = sa.select(n.batch, sa.func.count().label("letters")).where(n.batch.is_not(None), n.printed.is_(None))
    return list(connection.execute(query.group_by(n.batch).order_by(sa.func.min(n.made))))


def printed(connection: sa.Connection, batch: str, at: int) -> None:
    n = notices.c
    connection.execute(notices.update().where(n.batch == batch, n.printed.is_(None)).values(printed=at))


def count_to_print(connection: sa.Connection) -> int:
    n = notices.c
    where = n.way == "paper", n.batch.is_(None), n.printed.is_(None)
    return connection.execute(sa.select(sa.func.count()).select_from(notices).where(*where)).scalar_one()


def untell(connection: sa.Connection, letter: bytes) -> None:
    """The record has not taken a letter: by its rule that person was not told."""
    connection.execute(told.delete().where(told.c.letter == letter))


def rename(connection: sa.Connection, old: bytes, new: bytes) -> None:
    """A letter was written anew, under another id."""
    for table in (told, notices):
        connection.execute(table.update().where(table.c.letter == old).values(letter=new))


def signed_before(connection: sa.Connection, statement: bytes) -> bool:
    return (
        connection.execute(sa.select(applications.c.letter).where(applications.c.statement == statement)).first()
        is not None
    )


def add_application(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(applications.insert(), [row])


def application(connection: sa.Connection, letter: bytes) -> sa.Row[Any] | None:
    return connection.execute(sa.select(applications).where(applications.c.letter == letter)).one_or_none()


def move(
    connection: sa.Connection, letter: bytes, state: str, at: int, *, clerk: str | None = None, of: Sequence[str] = OPEN
) -> bool:
    """An application goes on to ``state``, from one of ``of``; whether it did."""
    a = applications.c
    values = {"state": state, "changed": at, **({"clerk": clerk} if clerk is not None else {})}
    return bool(
        connection.execute(applications.update().where(a.letter == letter, a.state.in_(of)).values(values)).rowcount
    )


def set_signed(connection: sa.Connection, letter: bytes, signed: str) -> None:
    connection.execute(applications.update().where(applications.c.letter == letter).values(signed=signed))


def unchecked(connection: sa.Connection, limit: int) -> list[sa.Row[Any]]:
    """Applications whose signature is still to be looked at, oldest first."""
    a = applications.c
    where = a.signed == "unchecked", a.state.in_(OPEN)
    return list(connection.execute(sa.select(applications).where(*where).order_by(a.at).limit(limit)))


def listed(
    connection: sa.Connection, states: Sequence[str], office: str, limit: int, newest: bool = False
) -> list[sa.Row[Any]]:
    """Applications in one of ``states``, of one office (or all): oldest first, or ``newest``."""
    a = applications.c
    where: list[sa.ColumnElement[bool]] = [a.state.in_(states)]
    where += [a.office == office] if office else []
    order = a.changed.desc() if newest else a.at
    return list(connection.execute(sa.select(applications).where(*where).order_by(order).limit(limit)))


def count_open(connection: sa.Connection) -> int:
    """Applications that a clerk has to look at."""
    where = applications.c.state.in_(("received", "answered"))
    return connection.execute(sa.select(sa.func.count()).select_from(applications).where(where)).scalar_one()
