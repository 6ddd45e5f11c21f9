"""What a resident is shown of who learnt what about them: filed accesses, as late and as much as the law lets them be shown.

What is not shown is not searched either: a filter looks at what the resident would see, never at what is kept.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from renkei.errors import Malformed
from renkei.institution.database import Database
from renkei.institution.wording import PackWords
from renkei.law import Pack
from renkei.law.disclosure import PARTS
from renkei.law.tables import Title
from renkei.portal import store

AT_ONCE = 500
DAY = 86_400_000
FIRST, LAST = dt.date(1970, 1, 2), dt.date(9998, 12, 31)
HIDDEN = ""
"""What stands in place of a part that is not shown."""


class Access(NamedTuple):
    """One access as its person sees it; a part that is not shown is empty, and ``why`` says so."""

    position: int
    time: int
    kind: str
    requester: str
    provider: str
    affair: str
    item: str
    purpose: str
    allowed: bool
    reason: str
    rows: str
    outcome: str | None
    outcome_time: int | None
    changes_until: str
    changes_ended: int | None
    why: Title | None
    """Why parts are not shown; ``None``: all are."""
    late: Title | None
    """Why it was withheld before; ``None``: it was not."""

    @property
    def whole(self) -> bool:
        return self.why is None


class Wanted(NamedTuple):
    """What is looked for. Days are the law's, both included."""

    text: str = ""
    since: dt.date | None = None
    until: dt.date | None = None
    refused: bool = False

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Wanted:
        """From a form: ``q``, ``from``, ``to``, ``refused``; ``Malformed`` for what is no day, or an end before the start."""
        since, until = _day(query, "from"), _day(query, "to")
        if since and until and until < since:
            raise Malformed(
                "The last day is before the first.", ja="終了日が開始日より前です。", code="days", field="to"
            )
        return cls(" ".join(query.get("q", "").split())[:200], since, until, query.get("refused") == "yes")

    @property
    def everything(self) -> bool:
        return self == Wanted()


class Withheld(NamedTuple):
    """That accesses are withheld for now, where the law has the person told so."""

    why: Title
    until: dt.date | None
    """By this day all of them are shown; ``None``: never."""


class Accesses:
    """The accesses of residents."""

    def __init__(self, database: Database, now: int, pack: Pack) -> None:
        self._database, self._now, self._pack = database, now, pack

    @property
    def _due(self) -> dict[str, int]:
        """Of each purpose by which accesses are withheld and once shown: those recorded before (ms) are."""
        delays = self._pack.disclosure.delays
        return {p: self._now - d.days * DAY for p, d in delays.items() if d.days is not None}

    async def page(
        self, codes: Sequence[bytes], wanted: Wanted, words: PackWords, *, below: int | None, limit: int
    ) -> list[Access]:
        """The newest that are wanted, at most ``limit``, below a position."""
        found: list[Access] = []
        async for access in self.all(codes, wanted, words, below=below):
            found.append(access)
            if len(found) == limit:
                break
        return found

    async def all(
        self, codes: Sequence[bytes], wanted: Wanted, words: PackWords, *, below: int | None = None
    ) -> AsyncIterator[Access]:
        """All that are wanted, newest first; a few hundred in memory at a time."""
        span = self._span(wanted)
        while True:
            rows = await self._rows(codes, below, span)
            for row in rows:
                access = self.shown(row)
                if _fits(access, wanted, words):
                    yield access
            if len(rows) < AT_ONCE:
                return
            below = rows[-1].position

    async def _rows(self, codes: Sequence[bytes], below: int | None, span: tuple[int, int]) -> list[Any]:
        due = self._due
        return await self._database.read(
            lambda c: store.records_of(c, codes, below=below, limit=AT_ONCE, due=due, span=span)
        )

    async def one(self, codes: Sequence[bytes], position: int) -> Access | None:
        """One access, if it is this person's and may be shown."""
        if not 0 <= position < 2**53:
            return None
        row = await self._database.read(lambda c: store.record(c, codes, position, due=self._due))
        return self.shown(row) if row is not None else None

    async def withheld(self, codes: Sequence[bytes]) -> list[Withheld]:
        """What the person is told of accesses that they are not shown yet."""
        found = []
        for purpose, delay in self._pack.disclosure.delays.items():
            if not delay.told:
                continue
            after = self._due.get(purpose, 0)
            newest = await self._database.read(lambda c, p=purpose, a=after: store.newest_withheld(c, codes, p, a))  # type: ignore[misc]
            if newest is not None:
                until = None if delay.days is None else _end_of_month(self._pack.day(newest + delay.days * DAY))
                found.append(Withheld(delay.why, until))
        return found

    def shown(self, row: Any) -> Access:
        """A row as its person sees it."""
        hides, why = self._pack.disclosure.redacted(row.affair, row.item)
        parts = {p: HIDDEN if p in hides else getattr(row, p) for p in PARTS}
        delay = self._pack.disclosure.delays.get(row.purpose) if row.withheld else None
        return Access(
            position=row.position,
            time=row.time,
            kind=row.kind,
            **parts,
            allowed=bool(row.allowed),
            reason=row.reason,
            rows=HIDDEN if "affair" in hides or "item" in hides else row.rows,  # a row of the table names both
            outcome=row.outcome,
            outcome_time=row.outcome_time,
            changes_until=row.changes_until,
            changes_ended=row.changes_ended,
            why=why,
            late=delay.why if delay else None,
        )

    def _span(self, wanted: Wanted) -> tuple[int, int]:
        start = self._pack.midnight(wanted.since) if wanted.since else 0
        end = self._pack.midnight(wanted.until + dt.timedelta(days=1)) if wanted.until else 2**53
        return start, end


def said(access: Access, words: PackWords) -> dict[str, Any]:
    """One access for a file that a resident takes along: codes, and what they mean."""
    names = {
        "requester": words.body,
        "provider": words.body,
        "affair": words.affair,
        "item": words.item,
        "purpose": words.purpose,
    }
    told = {p: getattr(access, p) for p in PARTS}
    titles = {f"{p}_title": say(told[p]) if told[p] else "" for p, say in names.items()}
    when = dt.datetime.fromtimestamp(access.time / 1000, words.pack.zone).isoformat(timespec="seconds")
    return {
        "entry": access.position,
        "time": when,
        "kind": access.kind,
        **told,
        **titles,
        "allowed": access.allowed,
        "reason": "" if access.allowed else access.reason,
        "law": words.cite(access.rows) if access.allowed and access.rows else "",
        "outcome": access.outcome or "",
        "not_shown": access.why.text(words.lang) if access.why else "",
    }


def _end_of_month(day: dt.date) -> dt.date:
    """Not the day itself: it would say when something happened."""
    return (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1) - dt.timedelta(days=1)


def _fits(access: Access, wanted: Wanted, words: PackWords) -> bool:
    if wanted.refused and access.allowed:
        return False
    if not wanted.text:
        return True
    seen = (
        words.body(access.requester),
        words.body(access.provider),
        words.affair(access.affair),
        words.item(access.item),
        words.purpose(access.purpose),
    )
    text = " ".join(seen).casefold()
    return all(word in text for word in wanted.text.casefold().split())


def _day(query: Mapping[str, str], field: str) -> dt.date | None:
    text = query.get(field, "").strip()
    try:
        day = dt.date.fromisoformat(text) if text else None
        if day is None or FIRST <= day <= LAST:
            return day
        raise ValueError
    except ValueError:
        raise Malformed("This is not a day.", ja="日付の形式が正しくありません。", code="days", field=field) from None
