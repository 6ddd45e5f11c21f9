"""Numbers at the counter: somebody takes one and waits, a clerk calls the next, a screen shows who is called where.

A number says nothing of anybody: the page that gives it and the screen that shows it are open to whoever stands there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.errors import Malformed, Unavailable
from renkei.gateway.visit_store import PLACE_MOST, last_number, tickets
from renkei.institution.database import Database
from renkei.institution.member import Member
from renkei.institution.settings import Clock

WAITING_MOST = 300
A_MINUTE_MOST = 30
SHOWN = 8


class Standing(NamedTuple):
    """How the queue stands: how many wait, who was called last (newest first), minutes waited (median of today's; none yet: ``None``)."""

    waiting: int
    called: list[Any]
    minutes: int | None


class Queue:
    """The numbers of one counter."""

    def __init__(self, member: Member, database: Database, clock: Clock) -> None:
        self._member, self._database, self._clock = member, database, clock

    @property
    def today(self) -> str:
        return self._member.pack.day(self._clock()).isoformat()

    async def take(self, event: str) -> int:
        """A number for ``event``; ``Unavailable`` if too many wait, or were taken within a minute."""
        if event not in self._member.pack.events:
            raise Malformed("There is no such event.", ja="この手続のきっかけはありません。", code="event")
        day, now = self.today, self._clock()

        def commit(connection: sa.Connection) -> int:
            t = tickets.c
            waiting = _count(connection, t.day == day, t.called.is_(None))
            if waiting >= WAITING_MOST or _count(connection, t.day == day, t.taken > now - 60_000) >= A_MINUTE_MOST:
                raise Unavailable(
                    "No more numbers are given just now.",
                    ja="ただいま番号札を発行できません。",
                    code="queue-full",
                    remedy="Please ask at the counter.",
                    remedy_ja="窓口の職員にお声がけください。",
                )
            number = last_number(connection, day) + 1
            connection.execute(tickets.insert().values(day=day, number=number, event=event, taken=now))
            return number

        return await self._database.write(commit)

    async def call(self, clerk: str, place: str) -> Any:
        """Call who waits longest to a window; their ticket, or ``None`` if nobody waits."""
        place = " ".join(place.split())
        if not place or len(place) > PLACE_MOST or not place.isprintable():
            raise Malformed(
                f"Name your window in {PLACE_MOST} characters.",
                ja=f"窓口名を{PLACE_MOST}文字以内で入力してください。",
                code="window",
                field="place",
            )
        day, now, t = self.today, self._clock(), tickets.c

        def commit(connection: sa.Connection) -> Any:
            waits = sa.select(tickets).where(t.day == day, t.called.is_(None)).order_by(t.number).limit(1)
            row = connection.execute(waits).one_or_none()
            if row is not None:
                called = tickets.update().where(t.id == row.id)
                connection.execute(called.values(called=now, place=place, clerk=clerk))
            return row

        return await self._database.write(commit)

    async def before(self, number: int) -> int:
        """How many of today's wait with a lower number."""
        t = tickets.c
        where = t.day == self.today, t.called.is_(None), t.number < number
        return await self._database.read(lambda c: _count(c, *where))

    async def standing(self) -> Standing:
        """Today's queue."""
        day, t = self.today, tickets.c

        def read(connection: sa.Connection) -> Standing:
            waiting = _count(connection, t.day == day, t.called.is_(None))
            query = sa.select(tickets).where(t.day == day, t.called.is_not(None)).order_by(t.called.desc(), t.id.desc())
            rows = list(connection.execute(query.limit(200)))
            return Standing(waiting, rows[:SHOWN], _median([r.called - r.taken for r in rows]))

        return await self._database.read(read)


def _count(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(tickets).where(*where)).scalar_one()


def _median(waited: Sequence[int]) -> int | None:
    return round(sorted(waited)[len(waited) // 2] / 60_000) if waited else None
