"""Certificates and what became of them. Written only in the transaction that puts the same into the log.

Invariants: a serial number is issued once, and so is a key certified; a revoked certificate stays revoked; only a suspension can be undone.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()

certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("serial", sa.String(40), primary_key=True),
    sa.Column("purpose", sa.String(16), nullable=False),
    sa.Column("card", sa.String(32), nullable=False),
    sa.Column("key", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("der", sa.LargeBinary, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("answered_at", sa.BigInteger),
)
"""``key`` is the SHA-256 of the public key: one key, one certificate. ``state`` is good, suspended or revoked, ``since`` when; ``answer``
is the OCSP answer signed ahead."""
sa.Index("certificates_card", certificates.c.card)
sa.Index("certificates_state", certificates.c.purpose, certificates.c.state)

GOOD, SUSPENDED, REVOKED = "good", "suspended", "revoked"


def add(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(certificates.insert(), [row])


def get(connection: sa.Connection, serial: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(certificates).where(certificates.c.serial == serial)).one_or_none()


def by_key(connection: sa.Connection, key: bytes) -> sa.Row[Any] | None:
    """The certificate over this key."""
    return connection.execute(sa.select(certificates).where(certificates.c.key == key)).one_or_none()


def is_certified(connection: sa.Connection, key: bytes) -> bool:
    """Whether there is a certificate over this key."""
    return connection.execute(sa.select(certificates.c.serial).where(certificates.c.key == key)).first() is not None


def of_card(connection: sa.Connection, card: str) -> list[sa.Row[Any]]:
    """A card's certificates, oldest first."""
    query = sa.select(certificates).where(certificates.c.card == card)
    return list(connection.execute(query.order_by(certificates.c.since, certificates.c.serial)))


def move(connection: sa.Connection, serial: str, before: tuple[str, ...], after: str, reason: str, now: int) -> bool:
    """Another state, if it is in one of ``before``; the answer that was signed ahead is void."""
    changed = connection.execute(
        certificates.update()
        .where(certificates.c.serial == serial, certificates.c.state.in_(before))
        .values(state=after, reason=reason, since=now, answer=None, answered_at=None)
    )
    return bool(changed.rowcount)


def keep_answer(connection: sa.Connection, serial: str, state: str, answer: bytes, now: int) -> None:
    """Keep an answer signed ahead, if the certificate is still as it says."""
    same = certificates.c.serial == serial, certificates.c.state == state
    connection.execute(certificates.update().where(*same).values(answer=answer, answered_at=now))


def not_good(connection: sa.Connection, purpose: str, after: int) -> list[sa.Row[Any]]:
    """What the revocation list names: certificates of ``purpose`` that are not good and whose time was not over ``after`` (ms)."""
    columns = certificates.c.serial, certificates.c.state, certificates.c.reason, certificates.c.since
    where = certificates.c.purpose == purpose, certificates.c.state != GOOD, certificates.c.last >= after
    return list(connection.execute(sa.select(*columns).where(*where).order_by(certificates.c.since)))
