"""Life events, at the counter and on the portal: which procedures follow, what each asks, and what it may fetch instead of asking. Pure.

``events.csv``, ``procedures.csv`` and ``questions.csv`` are the pack's. A question stands once, whichever procedures ask it; what ``fills``
it is looked up, so that nobody types what a body holds already.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from renkei.law.tables import TYPES, Title

SHEETS = ("events.csv", "procedures.csv", "questions.csv")
"""A pack may be without them: then there is no counter."""
APPLICANT = "applicant"
EVERYONE = "everyone"
CASE = ""
CORPORATION = "corporation"
DAYS_MOST = 3650


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[counter]``: by what the time is told that a visit was spared."""

    certificate_minutes: int = 0
    """What it costs a person to bring a certificate from another body."""
    field_seconds: int = 0
    """What it costs to fill in a field by hand."""


class Event(NamedTuple):
    """A life event, and who besides the applicant may be concerned."""

    code: str
    title: Title
    roles: tuple[str, ...]
    party: str = ""
    """``corporation``: it happens to corporations; empty: to people."""


class Procedure(NamedTuple):
    """What follows from an event."""

    code: str
    event: str
    title: Title
    who: str
    """Whom it is for: ``applicant``, ``everyone``, or each person of a role."""
    affair: str
    """For which it fetches; empty if it fetches nothing."""
    purpose: str
    items: tuple[str, ...]
    """What it fetches about each of these persons."""
    asks: tuple[str, ...]
    office: str
    """The back office that decides it."""
    signed: bool
    """Whether the law wants a signature: on paper at the counter, the card's signature certificate on the portal."""
    to: tuple[str, ...] = ()
    """Kinds of bodies that take it in from the portal; empty: it is done at the counter alone."""
    place: str = ""
    """Which of these bodies, where there are several: a code of list ``place``. Empty: the resident names it."""
    days: int = 0
    """Days after the event within which it is to be done; 0: no end."""
    attaches: tuple[str, ...] = ()
    """Papers that may be sent along, of list ``attachment``."""


class Question(NamedTuple):
    """Something that must be known, asked once."""

    code: str
    title: Title
    hint: Title
    type: str
    codes: str
    each: str
    """Of whom it is asked: of the case as a whole (empty), of ``everyone``, or of each person of a role."""
    required: bool
    fills: tuple[tuple[str, str], ...]
    """Items and fields that answer it, the best first."""


def read(sheet: Any, files: Container[str], parts: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The three sheets, if the pack has them."""
    found: dict[str, dict[str, Any]] = {"events": {}, "procedures": {}, "questions": {}}
    if not any(name in files for name in SHEETS):
        return found
    roles = {APPLICANT, EVERYONE}
    for r in sheet("events.csv", "event ja en roles party", key="event"):
        r.one_of("party", ("", CORPORATION))
        r.refers("roles", parts["codelists"].get("role", {}), "list role of codelists.csv", empty=True)
        roles |= set(r.words("roles"))
        found["events"][r["event"]] = Event(r["event"], r.title(), r.words("roles"), r["party"])
    for r in sheet("questions.csv", "question ja en hint_ja hint_en type codes each required fills", key="question"):
        r.one_of("type", [t for t in TYPES if t != "image"])
        r.one_of("each", [CASE, *sorted(roles)])
        r.one_of("required", ("yes", ""))
        if r["type"] == "code":
            r.refers("codes", parts["codelists"], "codelists.csv")
        hint = Title(r["hint_ja"], r["hint_en"])
        fills = tuple(_fills(r, parts))
        found["questions"][r["question"]] = Question(
            r["question"], r.title(), hint, r["type"], r["codes"], r["each"], r["required"] == "yes", fills
        )
    columns = "procedure event ja en who affair purpose items asks office signed to place days attaches"
    for r in sheet("procedures.csv", columns, key="procedure"):
        r.one("event", found["events"], "events.csv")
        r.one_of("who", sorted(roles))
        r.one_of("signed", ("yes", ""))
        r.refers("affair", parts["affairs"], "affairs.csv", empty=not r["items"])
        r.refers("purpose", parts["purposes"], "purposes.csv", empty=not r["items"])
        r.refers("items", parts["specifications"], "specifications/", empty=True)
        r.refers("asks", found["questions"], "questions.csv", empty=True)
        r.refers("office", parts["codelists"].get("office", {}), "list office of codelists.csv")
        r.refers("to", parts["kinds"], "kinds.csv", empty=True)
        r.refers("place", parts["codelists"].get("place", {}), "list place of codelists.csv", empty=True)
        r.refers("attaches", parts["codelists"].get("attachment", {}), "list attachment of codelists.csv", empty=True)
        if r["to"] and not r["affair"]:
            r.fault("A procedure that is sent to a body needs its affair.", "Name it, from affairs.csv.")
        days = r["days"] or "0"
        if not (days.isascii() and days.isdigit() and int(days) <= DAYS_MOST):
            r.fault("`days` is no number of days.", f"Write a whole number up to {DAYS_MOST}; nothing for no end.")
            days = "0"
        found["procedures"][r["procedure"]] = Procedure(
            r["procedure"], r["event"], r.title(), r["who"], r["affair"], r["purpose"], r.words("items"), r.words("asks"),
            r["office"], r["signed"] == "yes", r.words("to"), r["place"], int(days), r.words("attaches"),
        )  # fmt: skip
    return found


def _fills(r: Any, parts: Mapping[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for word in r.words("fills"):
        item, _, name = word.partition(".")
        specification = parts["specifications"].get(item)
        if specification is None or specification.field(name) is None:
            r.fault(f"`fills` names {word!r}.", "Write item.field, as the item's specification has it.")
        else:
            yield item, name
