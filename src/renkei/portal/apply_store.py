"""Tables of the inbox's preferences, and of what residents apply for.

Invariants: a case belongs to one account; what was filled in, and what was attached, is locked; a part that was sent has its letter, and
what it says does not change any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from renkei.portal.store import metadata

preferences = sa.Table(
    "preferences",
    metadata,
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("paper", sa.Boolean, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
)
"""Of whoever has been here: whether they want letters on paper all the same."""
mails = sa.Table(
    "mails",
    metadata,
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("address", sa.LargeBinary, nullable=False),
    sa.Column("code", sa.LargeBinary, nullable=False),
    sa.Column("asked", sa.BigInteger, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("confirmed", sa.BigInteger),
    sa.Column("told", sa.BigInteger, nullable=False),
    sa.Column("lang", sa.String(2), nullable=False),
)
"""Where to write that something is new; address and code are locked; ``told``: when it was written last."""
sa.Index("mails_told", mails.c.told)
cases = sa.Table(
    "apply_cases",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("event", sa.String(80), nullable=False),
    sa.Column("draft", sa.LargeBinary, nullable=False),
    sa.Column("made", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
)
"""A life event, with all that follows from it."""
sa.Index("apply_cases_account", cases.c.account, cases.c.changed)
sa.Index("apply_cases_changed", cases.c.changed)
parts = sa.Table(
    "apply_parts",
    metadata,
    sa.Column("letter", sa.LargeBinary(32), primary_key=True),
    sa.Column("case_id", sa.String(32), nullable=False),
    sa.Column("procedure", sa.String(80), nullable=False),
    sa.Column("body", sa.String(64), nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("case_id", "procedure"),
)
"""What was sent, to whom, and what became of it: sent, or as the body says."""
attachments = sa.Table(
    "apply_attachments",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("case_id", sa.String(32), nullable=False),
    sa.Column("kind", sa.String(80), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("type", sa.String(40), nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""Papers of a case that is being filled in; what was sent is in its letter."""
sa.Index("apply_attachments_case", attachments.c.case_id)


def preference(connection: sa.Connection, account: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(preferences).where(preferences.c.account == account)).one_or_none()


def prefers_paper(connection: sa.Connection, accounts: Sequence[str]) -> set[str]:
    """Those of these accounts whose letters go on paper: who wants it, and who never was here."""
    p = preferences.c
    shown = sa.select(p.account).where(p.account.in_(list(accounts)), p.paper.is_(False))
    return set(accounts) - set(connection.execute(shown).scalars())


def put_preference(connection: sa.Connection, account: str, paper: bool, now: int) -> None:
    connection.execute(preferences.delete().where(preferences.c.account == account))
    connection.execute(preferences.insert(), [{"account": account, "paper": paper, "since": now}])


def mail(connection: sa.Connection, account: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(mails).where(mails.c.account == account)).one_or_none()


def put_mail(connection: sa.Connection, row: dict[str, Any]) -> None:
    drop_mail(connection, row["account"])
    connection.execute(mails.insert(), [row])


def drop_mail(connection: sa.Connection, account: str) -> None:
    connection.execute(mails.delete().where(mails.c.account == account))


def tried(connection: sa.Connection, account: str) -> None:
    connection.execute(mails.update().where(mails.c.account == account).values(tries=mails.c.tries + 1))


def confirm_mail(connection: sa.Connection, account: str, at: int) -> None:
    m = mails.c
    connection.execute(mails.update().where(m.account == account, m.confirmed.is_(None)).values(confirmed=at))


def mails_due(connection: sa.Connection, before: int, last: str, limit: int) -> list[sa.Row[Any]]:
    """Confirmed addresses that were not written to since, by account after ``last``."""
    m = mails.c
    where = m.confirmed.is_not(None), m.told < before, m.account > last
    return list(connection.execute(sa.select(mails).where(*where).order_by(m.account).limit(limit)))


def mailed(connection: sa.Connection, account: str, at: int) -> None:
    connection.execute(mails.update().where(mails.c.account == account).values(told=at))


def add_case(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(cases.insert(), [row])


def cases_of(connection: sa.Connection, account: str, limit: int = 50) -> list[sa.Row[Any]]:
    """A resident's cases, last changed first."""
    query = sa.select(cases).where(cases.c.account == account).order_by(cases.c.changed.desc()).limit(limit)
    return list(connection.execute(query))


def case(connection: sa.Connection, account: str, id_: str) -> sa.Row[Any] | None:
    """A case, if it is this resident's."""
    return connection.execute(sa.select(cases).where(cases.c.id == id_, cases.c.account == account)).one_or_none()


def put_draft(connection: sa.Connection, id_: str, draft: bytes, now: int) -> None:
    connection.execute(cases.update().where(cases.c.id == id_).values(draft=draft, changed=now))


def drop_case(connection: sa.Connection, id_: str) -> None:
    """Throw away a case of which nothing was sent."""
    for table in (attachments, parts):
        connection.execute(table.delete().where(table.c.case_id == id_))
    connection.execute(cases.delete().where(cases.c.id == id_))


def stale(connection: sa.Connection, before: int, limit: int) -> list[str]:
    """Cases not touched since, of which nothing was sent."""
    sent = sa.select(parts.c.case_id).where(parts.c.case_id == cases.c.id).exists()
    query = sa.select(cases.c.id).where(cases.c.changed < before, ~sent).limit(limit)
    return list(connection.execute(query).scalars())


def parts_of(connection: sa.Connection, case_ids: Sequence[str]) -> list[sa.Row[Any]]:
    query = sa.select(parts).where(parts.c.case_id.in_(list(case_ids))).order_by(parts.c.sent)
    return list(connection.execute(query))


def part(connection: sa.Connection, letter: bytes) -> sa.Row[Any] | None:
    return connection.execute(sa.select(parts).where(parts.c.letter == letter)).one_or_none()


def add_part(connection: sa.Connection, row: dict[str, Any]) -> bool:
    """Note what was sent; ``False`` if this procedure of the case was sent before."""
    same = parts.c.case_id == row["case_id"], parts.c.procedure == row["procedure"]
    if connection.execute(sa.select(parts.c.letter).where(*same)).first() is not None:
        return False
    connection.execute(parts.insert(), [row])
    return True


def move_part(connection: sa.Connection, letter: bytes, state: str, now: int, *, of: Sequence[str]) -> bool:
    where = parts.c.letter == letter, parts.c.state.in_(list(of))
    return bool(connection.execute(parts.update().where(*where).values(state=state, changed=now)).rowcount)


def attached(connection: sa.Connection, case_id: str) -> list[sa.Row[Any]]:
    return list(connection.execute(sa.select(attachments).where(attachments.c.case_id == case_id)))


def attach(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(attachments.insert(), [row])


def detach(connection: sa.Connection, case_id: str, id_: str) -> None:
    a = attachments.c
    connection.execute(attachments.delete().where(a.case_id == case_id, a.id == id_))
