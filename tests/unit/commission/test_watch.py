"""Alarms: what raises one, what does not, and that each explains itself."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.commission.watch import CLOCK_FROM, KNOWN_AFTER, NEWCOMER, SAMPLE, Seen, Watch

MONDAY = dt.date(2026, 4, 6)
CLERK, OTHER = b"clerk--1", b"clerk--2"


class Days:
    """A body's life, day by day."""

    def __init__(self):
        self.watch, self.at = Watch(7, 20), 0

    def use(self, day, count, *, hour=10, clerk=CLERK, what="inquiry", allowed=True, late=50, body="town"):
        date = MONDAY + dt.timedelta(days=day)
        time = int(dt.datetime.combine(date, dt.time(hour), dt.UTC).timestamp() * 1000)
        seen = []
        for _ in range(count):
            self.at += 1
            seen.append(Seen(what, self.at, time, date, hour, body, clerk, "tax", allowed, late))
        return self.watch.see(seen)

    def ordinary(self, weeks=3, count=10):
        assert [a for d in range(7 * weeks) if d % 7 < 5 for a in self.use(d, count)] == []
        return 7 * weeks


def test_an_ordinary_life_raises_nothing():
    Days().ordinary(weeks=20)


def test_a_burst_is_an_alarm_once_a_day_and_names_the_clerk_the_usual_and_the_leaves():
    days = Days()
    today = days.ordinary()
    alarms = days.use(today, 60)
    assert {(a.kind, a.clerk) for a in alarms} == {("volume", CLERK), ("volume", b"")}
    (one,) = [a for a in alarms if a.clerk]
    assert (one.body, one.usual, one.subject) == ("town", 10.0, f"town/{CLERK.hex()}")
    assert one.seen > 30
    assert len(one.leaves) == min(SAMPLE, one.seen)
    assert one.leaves[-1] - one.leaves[0] == len(one.leaves) - 1
    assert days.use(today, 60) == []
    assert [a.kind for a in days.use(today + 1, 100) if a.clerk] == ["volume"]


def test_a_clerk_who_browses_in_the_evening_is_found_among_busy_colleagues():
    """The body's own count hides it; the clerk's hours do not."""
    days = Days()
    for day in range(28):
        if day % 7 < 5:
            assert days.use(day, 100, clerk=OTHER) == []
            assert days.use(day, 10) == []
    alarms = days.use(28, 20, hour=22)
    assert [(a.kind, a.clerk) for a in alarms] == [("hours", CLERK)]


def test_weekends_are_out_of_hours():
    days = Days()
    days.ordinary()
    assert [a.kind for a in days.use(26, 15)] == ["hours"]  # a Saturday


@pytest.mark.parametrize(
    ("what", "allowed", "kind"),
    [("inquiry", False, "refused"), ("nothing", True, "empty"), ("unknown", True, "unknown")],
)
def test_fishing_is_found(what, allowed, kind):
    days = Days()
    today = days.ordinary()
    alarms = days.use(today, NEWCOMER[kind] + 1, what=what, allowed=allowed)
    assert kind in {a.kind for a in alarms}


def test_a_newcomer_is_judged_by_what_newcomers_do_not():
    """No history: an ordinary first week is no alarm, a script is."""
    days = Days()
    for day in range(KNOWN_AFTER):
        assert days.use(day, 40) == []
    assert Days().use(0, NEWCOMER["volume"] + 1)


def test_what_grows_slowly_is_usual_after_a_while():
    """Stated, not hidden: that much a patient abuser can have."""
    days = Days()
    count = 10.0
    for day in range(140):
        if day % 7 < 5:
            assert days.use(day, int(count)) == []
            count *= 1.01


@pytest.mark.parametrize(
    ("late", "alarm"), [(50, False), (29_000, False), (31_000, True), (-31_000, True), (119_000, True)]
)
def test_a_clock_that_is_wrong_is_told_once_a_day(late, alarm):
    days = Days()
    alarms = [a for a in days.use(0, CLOCK_FROM * 3, late=late) if a.kind == "clock"]
    assert len(alarms) == alarm
    assert all(a.seen == abs(late) // 1000 for a in alarms)


def test_one_slow_inquiry_is_no_wrong_clock():
    days = Days()
    assert days.use(0, 1, late=50) + days.use(0, 20, late=60_000) == []


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 25), st.integers(0, 23)), max_size=60))
def test_no_stream_breaks_it_and_no_subject_alarms_twice_a_day(uses):
    days = Days()
    alarms = [a for day, count, hour in sorted(uses) for a in days.use(day, count, hour=hour)]
    keys = [(a.kind, a.subject, a.since) for a in alarms]
    assert len(keys) == len(set(keys))
