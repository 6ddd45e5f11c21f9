"""Impact assessments (特定個人情報保護評価): which level is due, and what a draft must pass. Pure; the rules are the pack's.

``assessment-levels.csv`` lists the levels from the lightest on, with the steps between draft and publication; the line of
``assessment-thresholds.csv`` with the largest ``people_from`` that is reached says which level is due (Act art. 28 and its guideline).
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from renkei.law.tables import Fault, Sheet, Title

STEPS = ("comment", "review", "approval")
"""What a draft may have to pass: public comment, review by a third party, the commission's approval."""
HIGHEST = 100_000_000


class Oversight(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[oversight]`` of ``pack.toml``: numbers the pack decides for the commission."""

    handlers_from: int
    """People handling the files from which the raised level is due, as after a serious incident."""
    review_months: int
    """After which a published assessment is due for review."""
    comment_days: int
    """For which a draft is open to public comment."""
    follow_days: int
    """Within which an assessment follows that a disaster did not leave time for."""
    confirm_hours: int
    """Within which another officer confirms an exceptional permit that was issued in an emergency."""
    exception_days_max: int
    """Longest time of an exceptional permit."""
    explain_days: int
    """Time a body has to explain, unless an inspector says otherwise."""
    small_count: int
    """Counts below this are not published."""
    office_from: int
    """Hour of a working day at which use becomes usual …"""
    office_to: int
    """… and from which it is unusual again."""
    local_kinds: tuple[str, ...] = ()
    """Kinds of bodies whose drafts take ``steps_local``."""


class Level(NamedTuple):
    """A level of assessment and the steps between its draft and its publication."""

    code: str
    rank: int
    title: Title
    steps_state: tuple[str, ...]
    steps_local: tuple[str, ...]


class Threshold(NamedTuple):
    """From ``people`` persons on, ``level`` is due; ``raised`` with many handlers or after a serious incident."""

    people: int
    level: str
    raised: str


def due(
    thresholds: Sequence[Threshold], oversight: Oversight, people: int, handlers: int, incident: bool
) -> tuple[str, str]:
    """The level that is due, and why: ``people``, ``handlers`` or ``incident``, whichever decided."""
    reached = [t for t in thresholds if t.people <= people][-1]
    if reached.level == reached.raised:
        return reached.level, "people"
    if incident:
        return reached.raised, "incident"
    if handlers >= oversight.handlers_from:
        return reached.raised, "handlers"
    return reached.level, "people"


def review_day(oversight: Oversight, published: dt.date) -> dt.date:
    """The day by which a published assessment is reviewed: ``review_months`` later, the last of the month at most."""
    year, month = divmod(published.month - 1 + oversight.review_months, 12)
    year, month = published.year + year, month + 1
    return published.replace(year=year, month=month, day=min(published.day, calendar.monthrange(year, month)[1]))


def steps(level: Level, oversight: Oversight, kinds: Iterable[str]) -> tuple[str, ...]:
    """What a draft of ``level`` by a body of ``kinds`` (with the classes these count as) must pass, in order."""
    return level.steps_state if set(kinds).isdisjoint(oversight.local_kinds) else level.steps_local


def read(sheet: Callable[..., Iterator[Sheet]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both tables; faults are kept by the sheets."""
    levels: dict[str, Level] = {}
    for r in sheet("assessment-levels.csv", "level ja en steps_state steps_local", key="level"):
        for column in ("steps_state", "steps_local"):
            r.refers(column, STEPS, "the steps: " + ", ".join(STEPS), empty=True)
        levels[r["level"]] = Level(r["level"], len(levels), r.title(), r.words("steps_state"), r.words("steps_local"))
    thresholds: dict[str, Threshold] = {}
    last = -1
    for r in sheet("assessment-thresholds.csv", "people_from level level_raised"):
        r.one("level", levels, "assessment-levels.csv")
        r.one("level_raised", levels, "assessment-levels.csv")
        text = r["people_from"]
        people = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if people < 0 or (last < 0) != (people == 0) or people <= last:
            r.fault("`people_from` does not go on from the line above.", "Begin with 0 and let each line have more.")
        if r["level"] in levels and r["level_raised"] in levels:
            if levels[r["level_raised"]].rank < levels[r["level"]].rank:
                r.fault("The raised level is lower.", "Let `level_raised` be at least `level`.")
            thresholds[text] = Threshold(people, r["level"], r["level_raised"])
        last = max(people, last)
    return levels, thresholds


def check(oversight: Oversight, kinds: Container[str], line: Callable[[str], int]) -> list[Fault]:
    """What ``[oversight]`` says must be usable."""
    faults = []
    for key, least, most in (
        ("handlers_from", 1, HIGHEST),
        ("review_months", 1, 120),
        ("comment_days", 1, 366),
        ("follow_days", 1, 3660),
        ("confirm_hours", 1, 24 * 31),
        ("exception_days_max", 1, 3660),
        ("explain_days", 1, 366),
        ("small_count", 1, 1000),
        ("office_from", 0, 23),
        ("office_to", 1, 24),
    ):
        value = getattr(oversight, key)
        if not least <= value <= most:
            sentence, remedy = f"`{key}` is {value}.", f"Choose a number from {least} to {most}."
            faults.append(Fault("pack.toml", line(f"{key} ="), sentence, remedy))
    for kind in oversight.local_kinds:
        if kind not in kinds:
            sentence, remedy = f"`local_kinds` names {kind!r}, which kinds.csv does not have.", "Correct it."
            faults.append(Fault("pack.toml", line("local_kinds"), sentence, remedy))
    return faults
