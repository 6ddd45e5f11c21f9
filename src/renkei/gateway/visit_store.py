"""Tables of the integrated counter: visits, who is concerned, what was fetched for them, and what back offices are to do.

What a person told is locked with the body's vault key; codes of procedures and questions stand beside it in the clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from renkei.gateway.store import inquiries, metadata

visits = sa.Table(
    "counter_visits",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("day", sa.String(10), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("event", sa.String(64), nullable=False),
    sa.Column("confirmed", sa.Text, nullable=False),
    sa.Column("former", sa.String(64), nullable=False, server_default=""),
    sa.Column("clerk", sa.String(64), nullable=False),
    sa.Column("opened", sa.BigInteger, nullable=False),
    sa.Column("closed", sa.BigInteger),
    sa.Column("told", sa.LargeBinary),
    sa.Column("spared", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("day", "number"),
)
"""``confirmed``: how the clerk saw who it is · ``told``: the answers, locked · ``spared``: seconds."""
people = sa.Table(
    "counter_people",
    metadata,
    sa.Column("visit", sa.Integer, sa.ForeignKey("counter_visits.id"), primary_key=True),
    sa.Column("local_id", sa.String(64), primary_key=True),
    sa.Column("role", sa.String(64), nullable=False),
    sa.Column("place", sa.Integer, nullable=False),
)
fetched = sa.Table(
    "counter_inquiries",
    metadata,
    sa.Column("visit", sa.Integer, sa.ForeignKey("counter_visits.id"), primary_key=True),
    sa.Column("procedure", sa.String(64), primary_key=True),
    sa.Column("local_id", sa.String(64), primary_key=True),
    sa.Column("item", sa.String(200), primary_key=True),
    sa.Column("inquiry", sa.LargeBinary(32), nullable=False),
)
tasks = sa.Table(
    "counter_tasks",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("visit", sa.Integer, sa.ForeignKey("counter_visits.id"), nullable=False),
    sa.Column("procedure", sa.String(64), nullable=False),
    sa.Column("office", sa.String(64), nullable=False),
    sa.Column("done_by", sa.String(64)),
    sa.Column("done_at", sa.BigInteger),
    sa.Index("counter_tasks_office", "office", "done_at"),
)
PLACE_MOST = 20
tickets = sa.Table(
    "counter_tickets",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("day", sa.String(10), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("event", sa.String(64), nullable=False),
    sa.Column("taken", sa.BigInteger, nullable=False),
    sa.Column("called", sa.BigInteger),
    sa.Column("place", sa.String(PLACE_MOST), nullable=False, server_default=""),
    sa.Column("clerk", sa.String(64), nullable=False, server_default=""),
    sa.UniqueConstraint("day", "number"),
)
"""``place``: the window, as it is written above it."""
sa.Index("counter_tickets_waiting", tickets.c.day, tickets.c.called)


def last_number(connection: sa.Connection, day: str) -> int:
    """The highest number given that day, with a ticket or without one."""
    found = (connection.scalar(sa.select(sa.func.max(t.c.number)).where(t.c.day == day)) for t in (visits, tickets))
    return max(n or 0 for n in found)


def open_visit(
    connection: sa.Connection, row: dict[str, Any], persons: Sequence[tuple[str, str]], number: int | None = None
) -> int:
    """A new visit; its id. ``persons``: local id and role, the applicant first; ``number``: a called ticket's, else the day's next."""
    day = row["day"]
    ours = sa.select(visits.c.id).where(visits.c.day == day, visits.c.number == number)
    called = sa.select(tickets.c.id).where(
        tickets.c.day == day, tickets.c.number == number, tickets.c.called.is_not(None)
    )
    if number is None or connection.execute(ours).first() or not connection.execute(called).first():
        number = last_number(connection, day) + 1
    made = connection.execute(visits.insert().values(**row, number=number)).inserted_primary_key
    id_ = int(made[0]) if made else 0
    put_people(connection, id_, persons)
    return id_


def put_people(connection: sa.Connection, visit: int, persons: Sequence[tuple[str, str]]) -> None:
    """Who is concerned, in this order."""
    connection.execute(people.delete().where(people.c.visit == visit))
    rows = [{"visit": visit, "local_id": i, "role": r, "place": n} for n, (i, r) in enumerate(persons)]
    connection.execute(people.insert(), rows)


def get_visit(connection: sa.Connection, id_: int) -> sa.Row[Any] | None:
    return connection.execute(sa.select(visits).where(visits.c.id == id_)).one_or_none()


def people_of(connection: sa.Connection, id_: int) -> list[tuple[str, str]]:
    """Local id and role, the applicant first."""
    query = sa.select(people.c.local_id, people.c.role).where(people.c.visit == id_).order_by(people.c.place)
    return [(r.local_id, r.role) for r in connection.execute(query)]


def open_visits(connection: sa.Connection, day: str) -> list[sa.Row[Any]]:
    """Visits that are not closed, and those of the day, the newest first."""
    query = sa.select(visits).where(sa.or_(visits.c.closed.is_(None), visits.c.day == day))
    return list(connection.execute(query.order_by(visits.c.opened.desc()).limit(200)))


def change_visit(connection: sa.Connection, id_: int, **values: Any) -> bool:
    """Change a visit that is still open; whether it was."""
    query = visits.update().where(visits.c.id == id_, visits.c.closed.is_(None)).values(**values)
    return connection.execute(query).rowcount > 0


def note_fetched(
    connection: sa.Connection, visit: int, procedure: str, local_id: str, item: str, inquiry: bytes
) -> None:
    """Which inquiry fetched an item for a procedure; a later one in place of an earlier."""
    key = {"visit": visit, "procedure": procedure, "local_id": local_id, "item": item}
    connection.execute(fetched.delete().where(*(fetched.c[k] == v for k, v in key.items())))
    connection.execute(fetched.insert().values(**key, inquiry=inquiry))


def fetched_of(connection: sa.Connection, visit: int) -> list[tuple[sa.Row[Any], sa.Row[Any]]]:
    """What was fetched for a visit, each with its inquiry."""
    ours = {bytes(r.inquiry): r for r in connection.execute(sa.select(fetched).where(fetched.c.visit == visit))}
    found = connection.execute(sa.select(inquiries).where(inquiries.c.id.in_(list(ours))))
    by_id = {bytes(r.id): r for r in found}
    return [(r, by_id[i]) for i, r in ours.items() if i in by_id]


def add_tasks(connection: sa.Connection, visit: int, made: Sequence[tuple[str, str]]) -> None:
    """Procedure and office."""
    if made:
        connection.execute(tasks.insert(), [{"visit": visit, "procedure": p, "office": o} for p, o in made])


def list_tasks(connection: sa.Connection, office: str) -> list[sa.Row[Any]]:
    """What an office (all if empty) has to do, the oldest first."""
    query = (
        sa.select(tasks, visits.c.day, visits.c.number)
        .join(visits, visits.c.id == tasks.c.visit)
        .where(tasks.c.done_at.is_(None))
    )
    if office:
        query = query.where(tasks.c.office == office)
    return list(connection.execute(query.order_by(tasks.c.id).limit(500)))


def get_task(connection: sa.Connection, id_: int) -> sa.Row[Any] | None:
    return connection.execute(sa.select(tasks).where(tasks.c.id == id_)).one_or_none()


def finish_task(connection: sa.Connection, id_: int, by: str, at: int) -> bool:
    """Whether it was still to do."""
    query = tasks.update().where(tasks.c.id == id_, tasks.c.done_at.is_(None)).values(done_by=by, done_at=at)
    return connection.execute(query).rowcount > 0
