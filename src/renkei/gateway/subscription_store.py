"""Tables of subscriptions: what we asked to be told of, what we were told, and whom we tell.

Invariants: a subscriber's row exists only for a person whom we knew and did not withhold when the inquiry was answered; ``digest`` is of
the records that were answered last, or that a change notice in the record was about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.gateway.store import inquiries, metadata

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("inquiry", sa.LargeBinary(32), primary_key=True),
    sa.Column("local_id", sa.String(64), nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("affair", sa.String(80), nullable=False),
    sa.Column("item", sa.String(80), nullable=False),
    sa.Column("until", sa.String(10), nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("ended_by", sa.String(80)),
)
"""Ours, by the inquiry that made them."""
sa.Index("subscriptions_person", subscriptions.c.local_id, subscriptions.c.until)
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("inquiry", sa.LargeBinary(32), nullable=False),
    sa.Column("leaf", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("settled_at", sa.BigInteger),
    sa.Column("settled_by", sa.String(80)),
    sa.Column("asked", sa.LargeBinary(32)),
)
"""Change notices we were sent; ``asked``: the inquiry that followed."""
sa.Index("changes_settled", changes.c.settled_at, changes.c.at)
sa.Index("changes_inquiry", changes.c.inquiry)
subscribers = sa.Table(
    "subscribers",
    metadata,
    sa.Column("inquiry", sa.LargeBinary(32), primary_key=True),
    sa.Column("requester", sa.String(64), nullable=False),
    sa.Column("local_id", sa.String(64), nullable=False),
    sa.Column("affair", sa.String(80), nullable=False),
    sa.Column("item", sa.String(80), nullable=False),
    sa.Column("purpose", sa.String(80), nullable=False),
    sa.Column("until", sa.String(10), nullable=False),
    sa.Column("specification", sa.Integer, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("told", sa.LargeBinary(32)),
    sa.Column("told_digest", sa.LargeBinary(32)),
    sa.Column("told_at", sa.BigInteger),
)
"""Whom we tell, by the inquiry that asked for it; ``told``: the notice that is on its way into the record, or was refused there, since
``told_at``."""
sa.Index("subscribers_person", subscribers.c.local_id, subscribers.c.requester)
sa.Index("subscribers_told", subscribers.c.told)
sa.Index("subscribers_until", subscribers.c.until)

subscriber_ends = sa.Table(
    "subscriber_ends",
    metadata,
    sa.Column("inquiry", sa.LargeBinary(32), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Subscriptions that were ended before their inquiry was answered: whoever answers it late takes nobody in."""

LISTED = 200


class Told(NamedTuple):
    """A change notice, received: its id, between whom and about what, its leaf and the round's time (ms)."""

    id: bytes
    local_id: str
    provider: str
    affair: str
    item: str
    leaf: int
    at: int
    day: str
    """The law's day of ``at``."""


# ------------------------------------------------------------------ as requester


def subscribe(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(subscriptions.insert(), list(rows))


def receive(connection: sa.Connection, told: Told) -> bool:
    """Keep a change notice; ``False`` if nothing subscribed to it stands. One that nobody has dealt with yet says it all."""
    s = subscriptions.c
    same = s.local_id == told.local_id, s.provider == told.provider, s.affair == told.affair, s.item == told.item
    live = sa.select(s.inquiry).join(inquiries, inquiries.c.id == s.inquiry).where(*same, *_stands(told.day))
    inquiry = connection.execute(live.order_by(inquiries.c.issued_at.desc()).limit(1)).scalar()
    if inquiry is None:
        return False
    c = changes.c
    if connection.execute(sa.select(c.id).where(c.id == told.id)).first() is None:
        open_ = sa.select(c.id).where(c.inquiry == inquiry, c.settled_at.is_(None)).limit(1)
        covered = {} if connection.execute(open_).first() is None else {"settled_at": told.at, "settled_by": ""}
        row = {"id": told.id, "inquiry": inquiry, "leaf": told.leaf, "at": told.at}
        connection.execute(changes.insert(), [{**row, **covered}])
    return True


def open_changes(connection: sa.Connection) -> list[sa.Row[Any]]:
    """Change notices nobody has dealt with, newest first, each with its inquiry."""
    query = _with_inquiry(changes).where(changes.c.settled_at.is_(None))
    return list(connection.execute(query.order_by(changes.c.at.desc()).limit(LISTED)))


def count_open(connection: sa.Connection) -> int:
    query = sa.select(sa.func.count()).select_from(changes).where(changes.c.settled_at.is_(None))
    return connection.execute(query).scalar_one()


def change(connection: sa.Connection, id_: bytes) -> sa.Row[Any] | None:
    return connection.execute(_with_inquiry(changes).where(changes.c.id == id_)).one_or_none()


def settle_change(connection: sa.Connection, id_: bytes, by: str, at: int) -> bool:
    """Somebody deals with it; whether it was still open."""
    done = changes.update().where(changes.c.id == id_, changes.c.settled_at.is_(None))
    return bool(connection.execute(done.values(settled_at=at, settled_by=by)).rowcount)


def asked_after(connection: sa.Connection, id_: bytes, asked: bytes | None) -> None:
    """Which inquiry followed it; ``None``: none, after all, and it is open again."""
    same = changes.update().where(changes.c.id == id_)
    again = {"settled_at": None, "settled_by": None} if asked is None else {}
    connection.execute(same.values(asked=asked, **again))


def standing(connection: sa.Connection, day: str, limit: int = LISTED) -> list[sa.Row[Any]]:
    """Subscriptions of ours that have not ended, newest first, each with its inquiry."""
    query = _with_inquiry(subscriptions).where(*_stands(day)).order_by(inquiries.c.issued_at.desc())
    return list(connection.execute(query.limit(limit)))


def count_standing(connection: sa.Connection, day: str) -> int:
    s = subscriptions.c
    query = sa.select(sa.func.count()).select_from(subscriptions).join(inquiries, inquiries.c.id == s.inquiry)
    return connection.execute(query.where(*_stands(day))).scalar_one()


def subscription(connection: sa.Connection, inquiry: bytes) -> sa.Row[Any] | None:
    return connection.execute(_with_inquiry(subscriptions).where(subscriptions.c.inquiry == inquiry)).one_or_none()


def end(connection: sa.Connection, inquiry: bytes, by: str, at: int) -> bool:
    """End a subscription of ours, and what it told; whether it still stood."""
    stood = subscriptions.update().where(subscriptions.c.inquiry == inquiry, subscriptions.c.ended_at.is_(None))
    if not connection.execute(stood.values(ended_at=at, ended_by=by)).rowcount:
        return False
    open_ = changes.update().where(changes.c.inquiry == inquiry, changes.c.settled_at.is_(None))
    connection.execute(open_.values(settled_at=at, settled_by=by))
    return True


def _stands(day: str) -> tuple[sa.ColumnElement[bool], ...]:
    s = subscriptions.c
    return s.until >= day, s.ended_at.is_(None), inquiries.c.state.in_(("submitted", "permitted", "answered"))


def _with_inquiry(table: sa.Table) -> sa.Select[Any]:
    asked = [c for c in inquiries.c if c.name not in table.c]
    return sa.select(table, *asked).join(inquiries, inquiries.c.id == table.c.inquiry)


# ------------------------------------------------------------------ as provider


def note(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Take in subscribers. Of one requester, person, affair and item there is one: whose last day is the latest, for an inquiry that was
    held may be answered after a newer one. Who has ended it meanwhile is none."""
    s, e = subscribers.c, subscriber_ends.c
    for row in rows:
        same = [s[name] == row[name] for name in ("local_id", "requester", "affair", "item")]
        longer = sa.select(s.inquiry).where(*same, s.until > row["until"]).limit(1)
        over = sa.select(e.inquiry).where(e.inquiry == row["inquiry"])
        if connection.execute(longer).first() or connection.execute(over).first():
            continue
        connection.execute(subscribers.delete().where(*same))
        connection.execute(subscribers.insert(), [row])


def drop(connection: sa.Connection, inquiry: bytes, requester: str, at: int) -> None:
    """A requester wants no more; nor will it, if the inquiry is answered only later."""
    s, e = subscribers.c, subscriber_ends.c
    gone = connection.execute(subscribers.delete().where(s.inquiry == inquiry, s.requester == requester)).rowcount
    if not gone and connection.execute(sa.select(e.inquiry).where(e.inquiry == inquiry)).first() is None:
        connection.execute(subscriber_ends.insert(), [{"inquiry": inquiry, "at": at}])


def drop_ended(connection: sa.Connection, day: str, before: int) -> None:
    """Forget those whose last day was before ``day``, and ends from before (ms) that no inquiry can come after any more."""
    connection.execute(subscribers.delete().where(subscribers.c.until < day))
    connection.execute(subscriber_ends.delete().where(subscriber_ends.c.at < before))


def after(connection: sa.Connection, inquiry: bytes, limit: int) -> list[sa.Row[Any]]:
    """The next ``limit`` subscribers by their inquiry's id, which is in no order anybody could read anything from."""
    query = sa.select(subscribers).where(subscribers.c.inquiry > inquiry).order_by(subscribers.c.inquiry)
    return list(connection.execute(query.limit(limit)))


def telling(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Notices are on their way (keys ``at key notice said``)."""
    told = subscribers.update().where(subscribers.c.inquiry == sa.bindparam("key"))
    told = told.values(told=sa.bindparam("notice"), told_digest=sa.bindparam("said"), told_at=sa.bindparam("at"))
    if rows:
        connection.execute(told, list(rows))


def rebase(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Another specification is followed: what is answered by it now is no change (keys ``key said version``)."""
    same = subscribers.update().where(subscribers.c.inquiry == sa.bindparam("key"))
    if rows:
        connection.execute(same.values(digest=sa.bindparam("said"), specification=sa.bindparam("version")), list(rows))


def recorded(connection: sa.Connection, notices: Sequence[tuple[bytes, bool]]) -> None:
    """Notices are in the record, allowed or refused; of a refused one nobody was told."""
    s = subscribers.c
    for id_, allowed in notices:
        ours = subscribers.update().where(s.told == id_)
        connection.execute(
            ours.values(told=None, told_at=None, digest=s.told_digest) if allowed else ours.values(told=None)
        )


def under_way(connection: sa.Connection) -> set[bytes]:
    """Notices that the record was sent and has not answered."""
    rows = connection.execute(sa.select(subscribers.c.told).where(subscribers.c.told.is_not(None)))
    return {bytes(i) for i in rows.scalars()}


def count(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(subscribers)).scalar_one()
