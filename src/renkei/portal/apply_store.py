"""Tables of the inbox's preferences, and of what residents apply for.

Invariants: a case belongs to one account; what was filled in, and what was attached, is locked; a part that was sent has its letter, and
what it says does not change any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from renkei.portal.store import metadata

TURNED_AWAY, WITHDRAWING = "turned-away", "withdrawing"

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
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("sent", sa.Integer, nullable=False),
    sa.Column("confirmed", sa.BigInteger),
    sa.Column("told", sa.BigInteger, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
    sa.Column("lang", sa.String(2), nullable=False),
)
"""Where to write that something is new; address and code are locked, and empty once it is not wanted any more; ``told``: when it was
written last; ``due``: not again before; ``sent``: codes in the day from ``since``."""
sa.Index("mails_due", mails.c.due)
devices = sa.Table(
    "push_devices",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("endpoint", sa.LargeBinary, nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("told", sa.BigInteger, nullable=False),
    sa.Column("due", sa.BigInteger, nullable=False),
)
"""Devices that are notified, by the SHA-256 of what their push service calls them, which is locked; ``told``: when last; ``due``: not again
before."""
sa.Index("push_devices_due", devices.c.due)
sa.Index("push_devices_account", devices.c.account)
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
    sa.Column("before", sa.String(12), nullable=False, server_default=""),
    sa.Column("withdrawal", sa.LargeBinary(32), unique=True),
    sa.Column("by", sa.String(12), nullable=False, server_default=""),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("case_id", "procedure"),
)
"""What was sent, to whom, and what became of it: sent, turned-away by the record, withdrawing (``before`` that it was, and by which
letter), or as the body says; ``by``: as what somebody else sent it."""
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
    connection.execute(mails.delete().where(mails.c.account == row["account"]))
    connection.execute(mails.insert(), [row])


def drop_mail(connection: sa.Connection, account: str) -> None:
    """Forget the address; how often codes were asked for is still known."""
    connection.execute(mails.update().where(mails.c.account == account).values(address=b"", code=b"", confirmed=None))


def tried(connection: sa.Connection, account: str) -> None:
    connection.execute(mails.update().where(mails.c.account == account).values(tries=mails.c.tries + 1))


def confirm_mail(connection: sa.Connection, account: str, at: int) -> None:
    m = mails.c
    connection.execute(mails.update().where(m.account == account, m.confirmed.is_(None)).values(confirmed=at))


def mails_due(connection: sa.Connection, now: int, last: str, limit: int) -> list[sa.Row[Any]]:
    """Confirmed addresses that may be written to, by account after ``last``."""
    m = mails.c
    where = m.confirmed.is_not(None), m.due <= now, m.account > last
    return list(connection.execute(sa.select(mails).where(*where).order_by(m.account).limit(limit)))


def put_off_mail(connection: sa.Connection, account: str, asked: int, until: int, told: int | None = None) -> None:
    """Not again before ``until``, if it is still the address that was ``asked`` for then; ``told``: it was written to now."""
    values = {"due": until} | ({} if told is None else {"told": told})
    same = mails.c.account == account, mails.c.asked == asked
    connection.execute(mails.update().where(*same).values(values))


def put_device(connection: sa.Connection, row: dict[str, Any]) -> None:
    """Whose device it was before, it is now this account's."""
    connection.execute(devices.delete().where(devices.c.id == row["id"]))
    connection.execute(devices.insert(), [row])


def device(connection: sa.Connection, id_: bytes) -> sa.Row[Any] | None:
    return connection.execute(sa.select(devices).where(devices.c.id == id_)).one_or_none()


def devices_of(connection: sa.Connection, account: str) -> list[sa.Row[Any]]:
    """A resident's devices, newest first."""
    query = sa.select(devices).where(devices.c.account == account).order_by(devices.c.since.desc())
    return list(connection.execute(query))


def drop_device(connection: sa.Connection, account: str, id_: bytes) -> None:
    connection.execute(devices.delete().where(devices.c.id == id_, devices.c.account == account))


def devices_due(connection: sa.Connection, now: int, last: bytes, limit: int) -> list[sa.Row[Any]]:
    """Devices that may be notified, by id after ``last``."""
    d = devices.c
    query = sa.select(devices).where(d.due <= now, d.id > last).order_by(d.id).limit(limit)
    return list(connection.execute(query))


def put_off_device(connection: sa.Connection, row: Any, until: int, told: int | None = None) -> None:
    """The same of a device, if it is still that person's."""
    values = {"due": until} | ({} if told is None else {"told": told})
    same = devices.c.id == row.id, devices.c.account == row.account, devices.c.since == row.since
    connection.execute(devices.update().where(*same).values(values))


def add_case(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(cases.insert(), [row])


def count_drafts(connection: sa.Connection, account: str) -> int:
    """A resident's cases of which nothing was sent."""
    where = cases.c.account == account, ~_is_sent()
    return connection.execute(sa.select(sa.func.count()).select_from(cases).where(*where)).scalar_one()


def _is_sent() -> sa.ColumnElement[bool]:
    live = parts.c.case_id == cases.c.id, parts.c.state != TURNED_AWAY
    return sa.select(parts.c.case_id).where(*live).exists()


def cases_of(connection: sa.Connection, account: str, limit: int = 50) -> list[sa.Row[Any]]:
    """A resident's cases, last changed first."""
    query = sa.select(cases).where(cases.c.account == account).order_by(cases.c.changed.desc()).limit(limit)
    return list(connection.execute(query))


def case(connection: sa.Connection, account: str, id_: str) -> sa.Row[Any] | None:
    """A case, if it is this resident's."""
    return connection.execute(sa.select(cases).where(cases.c.id == id_, cases.c.account == account)).one_or_none()


def put_draft(connection: sa.Connection, id_: str, draft: bytes, now: int) -> None:
    connection.execute(cases.update().where(cases.c.id == id_).values(draft=draft, changed=now))


def drop_case(connection: sa.Connection, id_: str) -> bool:
    """Throw away a case, if nothing of it was sent."""
    if not connection.execute(cases.delete().where(cases.c.id == id_, ~_is_sent())).rowcount:
        return False
    for table in (attachments, parts):
        connection.execute(table.delete().where(table.c.case_id == id_))
    return True


def stale(connection: sa.Connection, before: int, limit: int) -> list[str]:
    """Cases not touched since, of which nothing was sent."""
    query = sa.select(cases.c.id).where(cases.c.changed < before, ~_is_sent()).limit(limit)
    return list(connection.execute(query).scalars())


def parts_of(connection: sa.Connection, case_ids: Sequence[str]) -> list[sa.Row[Any]]:
    query = sa.select(parts).where(parts.c.case_id.in_(list(case_ids))).order_by(parts.c.sent)
    return list(connection.execute(query))


def part(connection: sa.Connection, letter: bytes) -> sa.Row[Any] | None:
    return connection.execute(sa.select(parts).where(parts.c.letter == letter)).one_or_none()


def add_part(connection: sa.Connection, row: dict[str, Any]) -> bool:
    """Note what was sent; ``False`` if this procedure of the case was sent before, or the case is gone. What the record has turned away may
    be sent again."""
    same = parts.c.case_id == row["case_id"], parts.c.procedure == row["procedure"]
    connection.execute(parts.delete().where(*same, parts.c.state == TURNED_AWAY))
    there = sa.select(cases.c.id).where(cases.c.id == row["case_id"])
    if connection.execute(sa.select(parts.c.letter).where(*same)).first() or not connection.execute(there).first():
        return False
    connection.execute(parts.insert(), [row])
    return True


def move_part(connection: sa.Connection, letter: bytes, state: str, now: int, *, of: Sequence[str]) -> bool:
    where = parts.c.letter == letter, parts.c.state.in_(list(of))
    return bool(connection.execute(parts.update().where(*where).values(state=state, changed=now)).rowcount)


def begin_withdrawal(connection: sa.Connection, letter: bytes, withdrawal: bytes, now: int, of: Sequence[str]) -> bool:
    """An application is being taken back, by that letter; once."""
    p = parts.c
    values = {"before": p.state, "state": WITHDRAWING, "withdrawal": withdrawal, "changed": now}
    return bool(connection.execute(parts.update().where(p.letter == letter, p.state.in_(of)).values(values)).rowcount)


def received(connection: sa.Connection, body: str, ids: Sequence[bytes], now: int) -> None:
    """A body has taken in these: applications, or that one is taken back."""
    p = parts.c
    mine = parts.update().where(p.body == body)
    connection.execute(mine.where(p.letter.in_(ids), p.state == "sent").values(state="received", changed=now))
    connection.execute(mine.where(p.withdrawal.in_(ids), p.state == WITHDRAWING).values(state="withdrawn", changed=now))


def undo(connection: sa.Connection, letter: bytes, about: bytes | None, now: int) -> None:
    """The record has not taken a letter: an application is to be sent again, an answer and a withdrawal were none."""
    p = parts.c
    if about is None:
        connection.execute(parts.update().where(p.letter == letter).values(state=TURNED_AWAY, changed=now))
        return
    back = parts.update().where(p.withdrawal == letter, p.state == WITHDRAWING)
    if not connection.execute(back.values(state=p.before, withdrawal=None, changed=now)).rowcount:
        connection.execute(
            parts.update().where(p.letter == about, p.state == "answered").values(state="asked", changed=now)
        )


def rename(connection: sa.Connection, old: bytes, new: bytes) -> None:
    """A letter was written anew, under another id."""
    for column in (parts.c.letter, parts.c.withdrawal):
        connection.execute(parts.update().where(column == old).values({column: new}))


def attached(connection: sa.Connection, case_id: str) -> list[sa.Row[Any]]:
    """The papers of a case, without what is in them."""
    told = [c for c in attachments.c if c is not attachments.c.data]
    return list(connection.execute(sa.select(*told).where(attachments.c.case_id == case_id)))


def papers(connection: sa.Connection, case_id: str, kinds: Sequence[str]) -> list[sa.Row[Any]]:
    a = attachments.c
    return list(connection.execute(sa.select(attachments).where(a.case_id == case_id, a.kind.in_(list(kinds)))))


def attach(connection: sa.Connection, row: dict[str, Any], most: int, size_most: int) -> bool:
    """Keep a paper; ``False`` if there are too many, or they are too large together."""
    a = attachments.c
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(a.size), 0)).where(a.case_id == row["case_id"])
    count, size = connection.execute(query).one()
    if count >= most or size + row["size"] > size_most:
        return False
    connection.execute(attachments.insert(), [row])
    return True


def drop_papers(connection: sa.Connection, case_id: str, but: Sequence[str]) -> None:
    """Papers of kinds that nothing that is still to be sent needs: what was sent is in its letter."""
    a = attachments.c
    connection.execute(attachments.delete().where(a.case_id == case_id, a.kind.not_in(list(but))))


def detach(connection: sa.Connection, case_id: str, id_: str) -> None:
    a = attachments.c
    connection.execute(attachments.delete().where(a.case_id == case_id, a.id == id_))
