"""Persons, every number ever issued, whose each card's certificate is; and corporations.

Invariants: ``numbers`` only grows; ``persons.number`` is the one in use; ``persons.id`` never changes and leaves this database only
through the PRF that mints codes, so that another number changes no code.
"""

from __future__ import annotations

import secrets
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
    sa.Column("replaced", sa.String(16)),
    sa.Column("replaced_at", sa.BigInteger),
)
"""``replaced``: why another took its place (``REPLACED``), and when (ms); nothing while it is in use."""
certificates = sa.Table(
    "card_certificates",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("person", sa.LargeBinary(16), nullable=False),
)
"""Whose a card's authentication certificate is, by its SHA-256."""
corporations = sa.Table(
    "corporations",
    metadata,
    sa.Column("number", sa.String(20), primary_key=True),
    sa.Column("id", sa.LargeBinary(16), nullable=False, unique=True),
)
"""Corporations have linkage codes, too: what a body writes to one of them is nobody else's business, though its number is public."""
REPLACED = ("leaked", "misused")
"""Why a number is replaced: it is feared to be, or is, used by another (Number Act art. 7)."""


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
    """The internal id of each person with one of these numbers, current or retired, and of each corporation."""
    rows = connection.execute(sa.select(numbers).where(numbers.c.number.in_(list(among))))
    found = {r.number: bytes(r.person) for r in rows}
    if left := [n for n in among if n not in found]:
        rows = connection.execute(sa.select(corporations).where(corporations.c.number.in_(left)))
        found |= {r.number: bytes(r.id) for r in rows}
    return found


def add_corporations(connection: sa.Connection, given: Sequence[str]) -> int:
    """Take in corporations by number; how many are new."""
    c = corporations.c.number
    known = set(connection.execute(sa.select(c).where(c.in_(list(given)))).scalars())
    fresh = [{"number": n, "id": secrets.token_bytes(16)} for n in dict.fromkeys(given) if n not in known]
    if fresh:
        connection.execute(corporations.insert(), fresh)
    return len(fresh)


def number_of(connection: sa.Connection, person: bytes) -> str:
    """The number in use."""
    return str(connection.execute(sa.select(persons.c.number).where(persons.c.id == person)).scalar_one())


def replace(connection: sa.Connection, person: bytes, old: str, new: str, reason: str, now: int) -> bool:
    """Give a person another number; ``False`` if ``old`` is not theirs any more. No code changes, for none comes from the number."""
    mine = persons.c.id == person, persons.c.number == old
    if not connection.execute(persons.update().where(*mine).values(number=new)).rowcount:
        return False
    was = numbers.c.number == old
    connection.execute(numbers.update().where(was).values(replaced=reason, replaced_at=now))
    connection.execute(numbers.insert(), [{"number": new, "person": person}])
    return True


def replacements(connection: sa.Connection) -> list[tuple[str, int]]:
    """Of every number replaced: why and when, oldest first."""
    n = numbers.c
    query = sa.select(n.replaced, n.replaced_at).where(n.replaced.is_not(None)).order_by(n.replaced_at)
    return [(str(r.replaced), int(r.replaced_at)) for r in connection.execute(query)]


def certify(connection: sa.Connection, digest: bytes, person: bytes) -> bool:
    """Note whose a certificate is; ``False`` if it is another's."""
    whose = holder_of(connection, digest)
    if whose is None:
        connection.execute(certificates.insert(), [{"digest": digest, "person": person}])
    return whose in (None, person)


def holder_of(connection: sa.Connection, digest: bytes) -> bytes | None:
    """Whose certificate this is."""
    return connection.execute(sa.select(certificates.c.person).where(certificates.c.digest == digest)).scalar()


def count(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(persons)).scalar_one()
