"""What bodies tell residents of themselves, and what residents apply for: notices, and the rules by which a body looks for whom to tell.

``notices.csv`` says who may tell residents what, in words the reader's language has; ``push.csv`` by which of a body's own data it is told
without being asked. An application (``procedures.csv``) and what is said of it are letters of the same kind. Pure.
"""

from __future__ import annotations

import datetime as dt
import re
import string
from collections.abc import Container, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from renkei.law.tables import Title

NOTICES, PUSH = SHEETS = ("notices.csv", "push.csv")
FIELD_TYPES = ("date", "integer", "year-month", "text")
DAYS_MOST = 3650
DAY = "day"
"""The field of a notice that holds the day a rule's condition on a date was met by."""
OCCASION_MOST = 64
PERSON, VALUE = ONCE = ("person", "value")
Record = Mapping[str, Any]


class Letters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[letters]``: by which law bodies write to residents, and residents to bodies, through the portal."""

    kind: str = ""
    """The kind of body residents are written to through; empty: there is no such law."""
    cite: Title = Title("", "")
    guardian: str = ""
    """The notice by which a body tells somebody that they are a child's guardian; empty: no body says so."""
    guarded: str = ""
    """The notice by which it tells the child. Both have the fields ``pair`` and ``until``."""
    officer: str = ""
    """The notice by which a body tells somebody that they act for a corporation; empty: no body says so."""
    officered: str = ""
    """The notice by which it tells the corporation. Both have the fields ``pair``, ``until`` and ``number``, and ``name``."""
    household: str = ""
    """Item and field by which the body knows who lives together, ``item.field``: a guardian is of the child's household."""
    born: str = ""
    """Item and field with the day of birth, ``item.field``, by which the body knows who is a child."""


class Notice(NamedTuple):
    """Something bodies tell residents."""

    code: str
    sender: tuple[str, ...]
    """Kinds of bodies that may."""
    affair: str
    title: Title
    text: Title
    """With ``{field}`` where a value goes."""
    fields: Mapping[str, str]
    """Name and type of each."""
    act: str
    """The life event that its button begins; empty: none."""
    days: int
    """Days within which to act, from the day it is delivered; 0: no end."""


class Condition(NamedTuple):
    """One part of a rule: ``field``, a verb of ``VERBS``, and its words."""

    field: str
    verb: str
    words: tuple[str, ...]


class Rule(NamedTuple):
    """Of whom a notice is told without being asked."""

    code: str
    notice: str
    item: str
    when: tuple[Condition, ...]
    lacks: str
    """An item of the same body of which nothing is held about them; empty: whatever is held."""
    once: str
    """Told once to a ``person``, or once for each ``value`` of the first condition's field."""


def _years_after(day: dt.date, years: int) -> dt.date:
    try:
        return day.replace(year=day.year + years)
    except ValueError:  # 29 February
        return dt.date(day.year + years, 3, 1)


def _day_of(record: Record, field: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(str(record.get(field, "")))
    except ValueError:
        return None


def _turns(condition: Condition, record: Record, today: dt.date) -> dt.date | None:
    born = _day_of(record, condition.field)
    if born is None or born.year + int(condition.words[0]) > dt.MAXYEAR:
        return None
    turns = _years_after(born, int(condition.words[0]))
    return turns if 0 <= (turns - today).days <= int(condition.words[1]) else None


def _age(condition: Condition, record: Record, today: dt.date) -> int | None:
    born = _day_of(record, condition.field)
    return None if born is None else today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def _meets(condition: Condition, record: Record, today: dt.date) -> dt.date | bool | None:
    """Whether the record meets it; the day it is met by, if it is about one."""
    field, verb, words = condition
    match verb:
        case "turns":
            return _turns(condition, record, today)
        case "younger" | "older":
            age = _age(condition, record, today)
            return age is not None and (age < int(words[0]) if verb == "younger" else age >= int(words[0]))
        case "within" | "since":
            day = _day_of(record, field)
            ahead = (day - today).days if day else -1
            return day if day and 0 <= (ahead if verb == "within" else -ahead) <= int(words[0]) else None
        case "is":
            return str(record.get(field, "")) in words
        case "not":
            return str(record.get(field, "")) not in words
        case "at-least" | "at-most":
            value = record.get(field)
            if not isinstance(value, int):
                return False
            return value >= int(words[0]) if verb == "at-least" else value <= int(words[0])
        case "missing":
            return field not in record
    return field in record  # present


VERBS: Mapping[str, tuple[tuple[str, ...], int]] = {
    "turns": (("date",), 2),
    "younger": (("date",), 1),
    "older": (("date",), 1),
    "within": (("date",), 1),
    "since": (("date",), 1),
    "is": (("code", "text", "boolean"), -1),
    "not": (("code", "text", "boolean"), -1),
    "at-least": (("integer",), 1),
    "at-most": (("integer",), 1),
    "missing": ((), 0),
    "present": ((), 0),
}
"""Verbs of conditions: the types of fields each goes with (any, if none stands there), and how many words follow (-1: one or more).

``turns N D``: the N-th anniversary is today or within D days. ``younger N``, ``older N``: by age in years. ``within D``, ``since D``: today
or at most D days ahead, or back.
"""
NUMBERS = ("turns", "younger", "older", "within", "since", "at-least", "at-most")


class Met(NamedTuple):
    """A rule is met: by what it is told once, and the values of its notice."""

    occasion: str
    values: dict[str, str | int]


def meets(rule: Rule, notice: Notice, record: Record, today: dt.date) -> Met | None:
    """Whether this record of a person meets ``rule`` on ``today``. O(conditions)."""
    day: dt.date | None = None
    for condition in rule.when:
        met = _meets(condition, record, today)
        if not met:
            return None
        if day is None and isinstance(met, dt.date):
            day = met
    values: dict[str, str | int] = {}
    for name in notice.fields:
        if name == DAY and day is not None:
            values[name] = day.isoformat()
        elif (value := record.get(name)) is not None:
            values[name] = value if isinstance(value, int) and not isinstance(value, bool) else str(value)
    occasion = PERSON if rule.once == PERSON else str(record.get(rule.when[0].field, ""))
    if len(occasion) > OCCASION_MOST:
        occasion = sha256(occasion.encode()).hexdigest()
    return Met(occasion, values)


def read(sheet: Any, files: Container[str], parts: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The two sheets, if the pack has them."""
    found: dict[str, dict[str, Any]] = {"notices": {}, "rules": {}}
    if NOTICES in files:
        columns = "notice sender affair ja en text_ja text_en fields act days"
        for r in sheet(NOTICES, columns, key="notice"):
            found["notices"][r["notice"]] = _notice(r, parts)
    if PUSH in files:
        for r in sheet(PUSH, "rule notice item when lacks once", key="rule"):
            r.one("notice", found["notices"], NOTICES)
            r.one("item", parts["specifications"], "specifications/")
            r.refers("lacks", parts["items"], "items.csv", empty=True)
            r.one_of("once", ONCE)
            made = Rule(r["rule"], r["notice"], r["item"], tuple(_conditions(r, parts)), r["lacks"], r["once"])
            _check_values(r, made, found["notices"].get(made.notice), parts)
            if made.when:
                found["rules"][made.code] = made
    return found


def _notice(r: Any, parts: Mapping[str, dict[str, Any]]) -> Notice:
    r.refers("sender", parts["kinds"], "kinds.csv")
    r.one("affair", parts["affairs"], "affairs.csv")
    r.refers("act", parts["events"], "events.csv", empty=True)
    if r["notice"] in parts["procedures"]:
        r.fault("A procedure has this code.", "Rename one of the two.")
    days = r["days"] or "0"
    if not (days.isascii() and days.isdigit() and int(days) <= DAYS_MOST):
        r.fault("`days` is no number of days.", f"Write a whole number up to {DAYS_MOST}; nothing for no end.")
        days = "0"
    fields = {}
    for word in r.words("fields"):
        name, _, kind = word.partition(":")
        if kind not in FIELD_TYPES or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            r.fault(f"`fields` has {word!r}.", f"Write name:type, with one of: {', '.join(FIELD_TYPES)}.")
        fields[name] = kind
    text = Title(r["text_ja"], r["text_en"])
    for column, words in (("text_ja", text.ja), ("text_en", text.en)):
        if not words:
            r.fault(f"`{column}` is empty.", "Say it in both languages.")
        for name in sorted(placeholders(words)):
            if name not in fields:
                r.fault(f"`{column}` has {{{name}}}, which is no field.", "Add it to `fields`, or correct it.")
    return Notice(
        r["notice"], r.words("sender"), r["affair"], r.title(), text, fields, r["act"].strip(), int(days)
    )  # fmt: skip


def placeholders(text: str) -> set[str]:
    """What is to be filled in; anything that is no plain ``{name}`` is told as it stands."""
    try:
        found = [(name, spec, turn) for _, name, spec, turn in string.Formatter().parse(text) if name is not None]
    except ValueError:
        return {text}
    return {
        name if re.fullmatch(r"[a-z][a-z0-9_]*", name) and not spec and not turn else text for name, spec, turn in found
    }


def _conditions(r: Any, parts: Mapping[str, dict[str, Any]]) -> Iterator[Condition]:
    specification = parts["specifications"].get(r["item"])
    if not r["when"].strip():
        r.fault("`when` is empty.", "Write field, verb and words; several conditions with a semicolon between.")
    for text in filter(None, (part.split() for part in r["when"].split(";"))):
        name, verb, *words = (*text, "", "")[: max(2, len(text))]
        field = specification.field(name) if specification else None
        if specification and field is None:
            r.fault(f"`when` names {name!r}, which {r['item']} does not have.", "Use a field of its specification.")
            continue
        if verb not in VERBS:
            r.fault(f"`when` has the verb {verb!r}.", f"Use one of: {', '.join(VERBS)}.")
            continue
        types, count = VERBS[verb]
        term = parts["terms"].get(field.term) if field else None
        if types and term and term.type not in types:
            r.fault(f"{name!r} is of type {term.type}, to which {verb!r} does not apply.", "Use another verb.")
        if len(words) != count if count >= 0 else not words:
            r.fault(f"{verb!r} is followed by {len(words)} words.", "See docs/packs.md for what follows each verb.")
            continue
        if verb in NUMBERS and not all(w.isascii() and w.isdigit() and len(w) < 10 for w in words):
            r.fault(f"{verb!r} is followed by numbers.", "Write whole numbers.")
            continue
        if (
            term
            and term.type == "code"
            and (wrong := [w for w in words if w not in parts["codelists"].get(term.codes, {})])
        ):
            r.fault(f"{wrong[0]!r} is no code of {term.codes}.", "Use codes of the list.")
        yield Condition(name, verb, tuple(words))


def _check_values(r: Any, rule: Rule, notice: Notice | None, parts: Mapping[str, dict[str, Any]]) -> None:
    """Whatever the notice says must be known to who tells it."""
    specification = parts["specifications"].get(rule.item)
    if notice is None or specification is None:
        return
    dated = any(c.verb in ("turns", "within", "since") for c in rule.when)
    for name, kind in notice.fields.items():
        field = specification.field(name)
        term = parts["terms"].get(field.term) if field else None
        if name == DAY and kind == "date" and dated:
            continue
        if field is None or not field.required or (term and kind not in (term.type, "text")):
            r.fault(
                f"The notice says {{{name}}}, which this rule does not know.",
                f"Use a required field of {rule.item}, or {{day}} with a condition on a date.",
            )


def allows(
    letters: Letters,
    topic: Notice | Any | None,
    sender: Container[str],
    receiver: Container[str],
) -> bool:
    """Whether a body that counts as these kinds may write a letter on ``topic`` (a notice, or a procedure) to one of those kinds.

    A notice goes from who may tell it to the portal; what is said of a procedure goes both ways.
    """
    if not letters.kind or topic is None:
        return False
    if isinstance(topic, Notice):
        return letters.kind in receiver and _any(topic.sender, sender)
    to: Sequence[str] = topic.to
    return (letters.kind in sender and _any(to, receiver)) or (letters.kind in receiver and _any(to, sender))


def _any(kinds: Sequence[str], standing: Container[str]) -> bool:
    return any(k in standing for k in kinds)
