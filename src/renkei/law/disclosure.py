"""What a resident's own record shows late, or not all of (Act art. 23(2)): data of the pack.

``withholding.csv``: for each purpose by which a requester may have an access withheld, after how many days it is shown (never, if
nothing stands there), and whether the person is told meanwhile that something is withheld. ``redactions.csv``: which parts of an access
for an affair are not shown, because they would tell of somebody else.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from renkei.law.tables import Title

WITHHOLDING, REDACTIONS = SHEETS = ("withholding.csv", "redactions.csv")
PARTS = ("requester", "provider", "affair", "item", "purpose")
DAYS_MOST = 36_500
EVERY = "*"


class Delay(NamedTuple):
    """When an access that was withheld for a purpose is shown."""

    days: int | None
    """After so many days; ``None``: never."""
    told: bool
    """Whether the person is told meanwhile that there is one."""
    why: Title


class Redaction(NamedTuple):
    """What is not shown of accesses for an affair."""

    item: str
    """Only of accesses to this item; ``*``: of all."""
    hides: frozenset[str]
    why: Title


class Disclosure(NamedTuple):
    """Both sheets: by purpose, and by affair."""

    delays: Mapping[str, Delay] = {}
    redactions: Mapping[str, tuple[Redaction, ...]] = {}

    def redacted(self, affair: str, item: str) -> tuple[frozenset[str], Title | None]:
        """The parts that are not shown, and why."""
        met = [r for r in self.redactions.get(affair, ()) if r.item in (EVERY, item)]
        return frozenset().union(*(r.hides for r in met)), met[0].why if met else None


def read(sheet: Any, files: Container[str], parts: Mapping[str, dict[str, Any]]) -> Disclosure:
    """The sheets the pack has."""
    delays: dict[str, Delay] = {}
    redactions: dict[str, tuple[Redaction, ...]] = {}
    if WITHHOLDING in files:
        for r in sheet(WITHHOLDING, "purpose days told ja en", key="purpose"):
            r.one("purpose", parts["withholding"], "the purposes of purposes.csv that withhold")
            r.one_of("told", ("yes", ""))
            if r["days"] and not (r["days"].isascii() and r["days"].isdigit() and 0 < int(r["days"]) <= DAYS_MOST):
                r.fault(
                    "`days` is no number of days.", f"Write a whole number from 1 to {DAYS_MOST}; nothing for never."
                )
                continue
            delays[r["purpose"]] = Delay(int(r["days"]) if r["days"] else None, r["told"] == "yes", r.title())
    if REDACTIONS in files:
        for r in sheet(REDACTIONS, "affair item hides ja en"):
            r.one("affair", parts["affairs"], "affairs.csv")
            if r["item"] != EVERY:
                r.one("item", parts["items"], "items.csv")
            r.refers("hides", PARTS, "the parts: " + ", ".join(PARTS))
            made = Redaction(r["item"], frozenset(r.words("hides")), r.title())
            redactions[r["affair"]] = (*redactions.get(r["affair"], ()), made)
    return Disclosure(delays, redactions)
