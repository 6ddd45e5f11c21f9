"""What is unusual: alarms from a stream of inquiries, each subject against its own history. Pure.

A subject is a body, a body with an affair, or a clerk of a body. Its inquiries are counted by the law's day; as soon as a day's count is
more than the days before explain, an alarm says so, once for that day. The bound is the subject's usual count plus ``WIDE`` times the
larger of its own spread and that of chance (Poisson), plus a floor below which nothing is worth a person's time. So busy subjects need a
burst, quiet ones a handful, and what grows slowly is usual after a while: that much a patient abuser can have, and no more.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

DAYS = 20
"""Days with any use that count as a subject's history."""
KNOWN_AFTER = 5
"""Days of history before which a subject is judged by ``NEWCOMER`` instead."""
WIDE = 5.0
SAMPLE = 50
"""Leaves an alarm links to."""
CLOCK_OFF = 30_000
"""Milliseconds by which all of a body's inquiries of a day are early or late before its clock is to blame."""
CLOCK_FROM = 5

FLOORS = {"volume": 15, "hours": 6, "refused": 8, "empty": 15, "unknown": 5}
"""By kind, what is let pass above the bound whatever the history."""
NEWCOMER = {"volume": 120, "hours": 12, "refused": 12, "empty": 40, "unknown": 5}
NEW_BODY = 2_000
"""For a body as a whole, whose size is not known yet; each of its clerks is judged as a newcomer."""
KINDS: dict[str, tuple[str, str]] = {
    "volume": ("Many inquiries", "照会の急増"),
    "hours": ("Use out of hours", "時間外の利用"),
    "refused": ("Many refusals", "不許可の急増"),
    "empty": ("Many answers without data", "データなし回答の急増"),
    "unknown": ("Codes My Portal does not know", "マイ・ポータルにない符号"),
    "clock": ("A clock that is wrong", "時計のずれ"),
    "audit": ("A conversion failed its audit", "変換の監査不合格"),
    "fork": ("Two histories of the record", "記録の分岐"),
}


class Seen(NamedTuple):
    """One thing the commission saw happen: an inquiry, or (``what``) what came of it."""

    what: str
    """``inquiry``, ``nothing`` (its answer was empty) or ``unknown`` (the portal does not know its code)."""
    position: int
    time: int
    """Milliseconds."""
    day: dt.date
    hour: int
    """In the law's country."""
    requester: str
    clerk: bytes
    affair: str
    allowed: bool = True
    late: int = 0
    """Milliseconds from when it was made to when it was recorded."""


class Alarm(NamedTuple):
    """Something unusual, with what explains it. ``usual`` is the subject's usual count of a day."""

    kind: str
    body: str
    clerk: bytes
    affair: str
    at: int
    since: int
    """When the day's count began (ms)."""
    seen: int
    usual: float
    leaves: tuple[int, ...]

    @property
    def subject(self) -> str:
        return "/".join(p for p in (self.body, self.affair, self.clerk.hex()) if p)


class _Subject:
    """A subject's count of today and of the days before."""

    __slots__ = ("alarmed", "count", "day", "history", "leaves", "since")

    def __init__(self) -> None:
        self.history: deque[int] = deque(maxlen=DAYS)
        self.day = dt.date.min
        self.count, self.since = 0, 0
        self.alarmed = 0
        """The count at which today's alarm was raised; 0 for none."""
        self.leaves: deque[int] = deque(maxlen=SAMPLE)

    def add(self, day: dt.date, time: int, position: int) -> None:
        if day != self.day:
            if (
                self.count
            ):  # a day of alarm counts as the most that would have been usual, lest the next one hide behind it
                self.history.append(min(self.count, self.alarmed) if self.alarmed else self.count)
            self.day, self.count, self.since, self.alarmed = day, 0, time, 0
            self.leaves.clear()
        self.count += 1
        self.leaves.append(position)

    def bound(self, kind: str, new: int) -> tuple[float, float]:
        """The count above which today is unusual (``new`` without a history), and the usual count."""
        if len(self.history) < KNOWN_AFTER:
            return float(new), sum(self.history) / max(1, len(self.history))
        mean = sum(self.history) / len(self.history)
        spread = sum((c - mean) ** 2 for c in self.history) / len(self.history)
        return mean + WIDE * math.sqrt(max(spread, mean, 1.0)) + FLOORS[kind], mean


class Watch:
    """The fold. O(1) for each thing seen, memory O(subjects)."""

    def __init__(self, office_from: int, office_to: int) -> None:
        self._hours = range(office_from, office_to)
        self._subjects: dict[tuple[str, str, bytes, str], _Subject] = {}
        self._clocks: dict[str, tuple[dt.date, int, int, int]] = {}
        """Of each body: the day, how many inquiries, the least and the most they were late."""

    def see(self, seen: Iterable[Seen]) -> list[Alarm]:
        """Alarms that these raise, in order."""
        return [alarm for one in seen for alarm in self._one(one)]

    def _one(self, s: Seen) -> Iterator[Alarm]:
        for kind, clerk, affair in self._counts(s):
            subject = self._subjects.setdefault((kind, s.requester, clerk, affair), _Subject())
            subject.add(s.day, s.time, s.position)
            new = NEWCOMER[kind] if clerk or kind != "volume" else NEW_BODY
            bound, usual = subject.bound(kind, new)
            if subject.count > bound and not subject.alarmed:
                subject.alarmed = subject.count
                leaves = tuple(subject.leaves)
                yield Alarm(kind, s.requester, clerk, affair, s.time, subject.since, subject.count, usual, leaves)
        if s.what == "inquiry":
            yield from self._clock(s)

    def _counts(self, s: Seen) -> Iterator[tuple[str, bytes, str]]:
        """The counts this goes into: kind, clerk and affair of the subject."""
        if s.what == "unknown":
            yield "unknown", b"", ""
            return
        if s.what == "nothing":
            yield "empty", s.clerk, ""
            return
        yield "volume", b"", ""
        yield "volume", b"", s.affair
        if s.clerk:
            yield "volume", s.clerk, ""
        if s.hour not in self._hours or s.day.weekday() >= 5:
            yield "hours", s.clerk, ""
        if not s.allowed:
            yield "refused", s.clerk, ""

    def _clock(self, s: Seen) -> Iterator[Alarm]:
        day, count, least, most = self._clocks.get(s.requester, (s.day, 0, s.late, s.late))
        if day != s.day:
            count, least, most = 0, s.late, s.late
        count, least, most = count + 1, min(least, s.late), max(most, s.late)
        self._clocks[s.requester] = s.day, count, least, most
        if count == CLOCK_FROM and (least > CLOCK_OFF or most < -CLOCK_OFF):
            off = least if least > 0 else most
            yield Alarm("clock", s.requester, b"", "", s.time, s.time, abs(off) // 1000, 0.0, (s.position,))
