"""Days as a country's registers write them: in its eras (和暦), with its digits, or by the common calendar.

Pure; the eras are the pack's (``[calendar]``), so a new one is a line of data.
"""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec

COMMON = re.compile(r"(\d{4})[-/.年](\d{1,2})(?:[-/.月](\d{1,2})日?|月)?(?:[T ]00:00(?::00(?:\.0+)?)?)?")
SOLID = re.compile(r"(\d{4})(\d{2})(\d{2})?")
BY_NUMBER = re.compile(r"(\d)(\d{2})(\d{2})(\d{2})?")


class Era(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An era: its first day, and the signs by which registers write it."""

    start: str
    """Its first day, ISO 8601. It lasts until the next one's."""
    signs: tuple[str, ...]
    """Names and letters that stand before the year: 昭和, 昭, S."""
    number: int = 0
    """The digit that stands for it in columns without letters."""


class Calendar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[calendar]``: the eras, oldest first; ``first`` is written for the first year of one (元)."""

    eras: tuple[Era, ...] = ()
    first: str = ""

    def faults(self) -> Iterator[str]:
        """What is wrong with it."""
        starts = [e.start for e in self.eras]
        try:
            for start in starts:
                dt.date.fromisoformat(start)
        except ValueError:
            yield "`start` of an era is no date."
        signs = [s for e in self.eras for s in e.signs] + [str(e.number) for e in self.eras if e.number]
        if starts != sorted(starts) or len(set(signs)) != len(signs) or not all(signs):
            yield "The eras are not in order, or two have one sign."


@lru_cache(4096)
def day(text: str, calendar: Calendar, *, numbered: bool = False) -> str:
    """``text`` as an ISO 8601 day (``2019-05-01``), or as a month if it names none (``2019-05``).

    ``numbered``: the year's era is the first digit (``5010501``). ``ValueError`` if it is no day, or not one of the era it names.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if numbered and (found := BY_NUMBER.fullmatch(plain)):
        eras = [e for e in calendar.eras if e.number == int(found[1])]
        return _in_era(calendar, eras, int(found[2]), found[3], found[4])
    if not numbered and (found := COMMON.fullmatch(plain) or SOLID.fullmatch(plain)):
        return _iso(int(found[1]), found[2], found[3])
    for era in calendar.eras:
        for sign in era.signs:
            if plain.upper().startswith(sign.upper()):
                return _after_sign(plain[len(sign) :], calendar, era)
    raise ValueError(text)


def year(text: str, calendar: Calendar, *, numbered: bool = False) -> int:
    """``text`` as a year of the common calendar: four digits, or an era and its year (``R8``, ``令和8年度``; ``numbered``: ``508``).

    ``ValueError`` if it is none: of ``8`` alone nobody knows the era.
    """
    plain = re.sub(r"\s*年?度?$", "", unicodedata.normalize("NFKC", text).strip())
    if re.fullmatch(r"[12]\d{3}", plain):
        return int(plain)
    ends = [int(e.start[:4]) for e in calendar.eras[1:]] + [dt.MAXYEAR]
    for era, last in zip(calendar.eras, ends, strict=True):
        for sign in (str(era.number),) if numbered else era.signs:
            rest = plain[len(sign) :].strip(" .") if plain.upper().startswith(sign.upper()) else ""
            if rest and rest == calendar.first:
                rest = "1"
            if re.fullmatch(r"\d{2}" if numbered else r"\d{1,2}", rest):
                found = int(era.start[:4]) + int(rest) - 1
                if int(rest) and found <= last:
                    return found
    raise ValueError(text)


def _after_sign(rest: str, calendar: Calendar, era: Era) -> str:
    found = re.fullmatch(
        rf"\s*({re.escape(calendar.first) or '(?!)'}|\d{{1,2}})\s*[-/.年]\s*(\d{{1,2}})\s*(?:[-/.月]\s*(\d{{1,2}})\s*日?|月)?",
        rest,
    ) or re.fullmatch(r"(\d{2})(\d{2})(\d{2})?", rest)
    if not found:
        raise ValueError(rest)
    year = 1 if found[1] == calendar.first else int(found[1])
    return _in_era(calendar, [era], year, found[2], found[3])


def _in_era(calendar: Calendar, eras: Sequence[Era], year: int, month: str, day_: str | None) -> str:
    """The day of the common calendar; it must lie in the era."""
    if len(eras) != 1 or year < 1:
        raise ValueError("era")
    start = dt.date.fromisoformat(eras[0].start)
    iso = _iso(start.year + year - 1, month, day_)
    after = [e.start for e in calendar.eras if e.start > eras[0].start]
    if iso < eras[0].start[: len(iso)] or (after and f"{iso}-01"[:10] >= after[0]):
        raise ValueError("not in that era")
    return iso


def _iso(year: int, month: str, day_: str | None) -> str:
    if day_ is None:
        return dt.date(year, int(month), 1).isoformat()[:7]
    return dt.date(year, int(month), int(day_)).isoformat()
