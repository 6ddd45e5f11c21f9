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

applications = sa.Table(
    "card_applications",
    metadata,
    sa.Column("code", sa.String(24), primary_key=True),
    sa.Column("office", sa.String(64), nullable=False),
    sa.Column("cause", sa.String(16), nullable=False),
    sa.Column("channel", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("person", sa.LargeBinary),
    sa.Column("photo", sa.LargeBinary),
    sa.Column("card", sa.String(32)),
    sa.Column("until", sa.String(10), nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
)
"""Who is to have a card, by the code on the form. ``person`` and ``photo`` are encrypted, and gone once the card is theirs."""
sa.Index("card_applications_card", applications.c.card)
sa.Index("card_applications_office", applications.c.office, applications.c.state)
acts = sa.Table(
    "card_acts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("code", sa.String(24), nullable=False),
    sa.Column("what", sa.String(16), nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("by", sa.String(64), nullable=False),
)
"""What was done about an application or its card, by whom. ``about`` names reasons and documents shown, never the person."""
sa.Index("card_acts_code", acts.c.code)

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


# ------------------------------------------------------------------ applications


def apply(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(applications.insert(), [row])


def application(connection: sa.Connection, code: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(applications).where(applications.c.code == code)).one_or_none()


def application_of(connection: sa.Connection, card: str) -> sa.Row[Any] | None:
    """The application that a card was made for."""
    return connection.execute(sa.select(applications).where(applications.c.card == card)).one_or_none()


def applications_of(connection: sa.Connection, office: str, state: str, limit: int) -> list[sa.Row[Any]]:
    """An office's applications in a state (any, if empty), the latest changed first."""
    query = sa.select(applications).where(applications.c.office == office).order_by(applications.c.changed.desc())
    return list(connection.execute((query.where(applications.c.state == state) if state else query).limit(limit)))


def waiting(connection: sa.Connection, state: str) -> list[str]:
    """The codes of all applications in a state, oldest first."""
    query = sa.select(applications.c.code).where(applications.c.state == state).order_by(applications.c.changed)
    return list(connection.execute(query).scalars())


def tally(connection: sa.Connection, office: str) -> dict[str, int]:
    """How many of an office's applications are in each state."""
    a = applications.c
    rows = connection.execute(sa.select(a.state, sa.func.count()).where(a.office == office).group_by(a.state))
    return {str(r[0]): int(r[1]) for r in rows}


def channels(connection: sa.Connection, office: str) -> dict[str, int]:
    """How many of an office's applications came on each way."""
    a = applications.c
    mine = a.office == office, a.channel != ""
    rows = connection.execute(sa.select(a.channel, sa.func.count()).where(*mine).group_by(a.channel))
    return {str(r[0]): int(r[1]) for r in rows}


def advance(connection: sa.Connection, code: str, before: tuple[str, ...], now: int, **values: Any) -> bool:
    """Change an application that is in one of the states ``before``; whether it was."""
    same = applications.c.code == code, applications.c.state.in_(before)
    return bool(connection.execute(applications.update().where(*same).values(changed=now, **values)).rowcount)


def note(connection: sa.Connection, code: str, what: str, about: str, now: int, by: str) -> None:
    connection.execute(acts.insert(), [{"code": code, "what": what, "about": about, "at": now, "by": by}])


def acts_on(connection: sa.Connection, code: str) -> list[sa.Row[Any]]:
    """What was done about an application, oldest first."""
    return list(connection.execute(sa.select(acts).where(acts.c.code == code).order_by(acts.c.id)))


def ending(connection: sa.Connection, first: int, last: int) -> list[sa.Row[Any]]:
    """Good authentication certificates whose time ends between two moments, with their cards' offices."""
    c, a = certificates.c, applications.c
    query = sa.select(c.serial, c.card, c.last, a.office, a.code).join(applications, a.card == c.card)
    where = c.purpose == "authentication", c.state == GOOD, c.last >= first, c.last < last
    return list(connection.execute(query.where(*where).order_by(c.last)))
