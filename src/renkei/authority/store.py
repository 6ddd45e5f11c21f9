"""Persons and every number ever issued.

Invariants: ``numbers`` only grows; ``persons.number`` is the one in use; ``persons.id`` never changes and leaves this database only
through the PRF that mints codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

metadata = sa.MetaData()

persons = sa.Table(
    "persons",
    metadata,
    sa.Column("id", sa.LargeBinary(16), primary_key=True),
    sa.Column("number", sa.String(12), nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kana", sa.Text, nullable=False),
    sa.Column("birth", sa.Date, nullable=False),
    sa.Column("sex", sa.String(1), nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("municipality", sa.String(6), nullable=False),
)
numbers = sa.Table(
    "numbers",
    metadata,
    sa.Column("number", sa.String(12), primary_key=True),
    sa.Column("person", sa.LargeBinary(16), nullable=False),
)


def add(connection: sa.Connection, people: Sequence[dict[str, object]]) -> None:
    """Add persons (columns of ``persons``) and record their numbers as issued."""
    connection.execute(persons.insert(), list(people))
    connection.execute(numbers.insert(), [{"number": p["number"], "person": p["id"]} for p in people])


def issued(connection: sa.Connection, among: Iterable[str] | None = None) -> set[str]:
    """Numbers ever issued (among the given ones)."""
    query = sa.select(numbers.c.number)
    if among is not None:
        query = query.where(numbers.c.number.in_(list(among)))
    return set(connection.execute(query).scalars())


def ids_of(connection: sa.Connection, among: Sequence[str]) -> dict[str, bytes]:
    """The internal id of each person with one of these numbers, current or retired."""
    rows = connection.execute(sa.select(numbers).where(numbers.c.number.in_(list(among))))
    return {r.number: bytes(r.person) for r in rows}


def count(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(persons)).scalar_one()
