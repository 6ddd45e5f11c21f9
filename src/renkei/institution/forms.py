"""A form from a data specification: what to ask, in the reader's language, and what was filled in as a record. Pure.

Whoever asks a person for something that a specification describes makes no form of their own: titles, hints, codes, units and what must
be there are the pack's, and what comes out is a record as an answer would hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from renkei.institution.wording import UNITS
from renkei.law import Pack
from renkei.law.tables import Title, value_fault
from renkei.law.vocabulary import Field, Specification, Term

MOST = 10_000
"""Characters of one value."""
KINDS = {
    "integer": "number",
    "date": "date",
    "year-month": "month",
    "boolean": "truth",
    "code": "choice",
    "image": "image",
}
FAULTS: dict[str, Title] = {
    "missing": Title("入力してください。", "This must be filled in."),
    "integer": Title("整数で入力してください。", "Write a whole number."),
    "date": Title("年月日を入力してください。", "Write a day."),
    "year-month": Title("年月を入力してください（例: 2026-04）。", "Write a month, e.g. 2026-04."),
    "boolean": Title("選択してください。", "Choose one."),
    "code": Title("選択してください。", "Choose one."),
    "image": Title("PNG画像（base64）を入力してください。", "Give a PNG image in base64."),
    "text": Title("使えない文字があるか、長すぎます。", "It is too long, or holds a character that cannot be kept."),
}


class Blank(NamedTuple):
    """One question of a form."""

    name: str
    kind: str
    """text, number, date, month, truth, choice or image."""
    title: str
    hint: str
    unit: str
    required: bool
    choices: tuple[tuple[str, str], ...]
    """Codes and what they mean."""
    value: str
    fault: str
    """What is wrong with ``value``, in words; empty: nothing."""


class Filled(NamedTuple):
    """A form that was filled in: the record, and what is wrong (by field), of which nothing is in the record."""

    record: dict[str, str | int | bool]
    faults: dict[str, Title]


def blanks(
    pack: Pack,
    specification: Specification,
    language: str,
    given: Mapping[str, str] = {},
    faults: Mapping[str, Title] = {},
) -> list[Blank]:
    """The questions of a specification, in its order; fields that are to go are not asked any more."""
    return [
        _blank(pack, field, language, given.get(field.name, ""), faults.get(field.name))
        for field in specification.fields
        if not field.until
    ]


def _blank(pack: Pack, field: Field, language: str, value: str, fault: Title | None) -> Blank:
    term, ja = pack.terms[field.term], language == "ja"
    choices: tuple[tuple[str, str], ...] = ()
    if term.type == "code":
        choices = tuple((code, title.text(language)) for code, title in pack.codelists[term.codes].items())
    if term.type == "boolean":
        choices = (("true", "はい" if ja else "yes"), ("false", "いいえ" if ja else "no"))
    return Blank(
        field.name,
        KINDS.get(term.type, "text"),
        field.title.text(language),
        term.definition.text(language),
        UNITS.get(term.unit, (term.unit,) * 2)[ja] if term.unit else "",
        field.required,
        choices,
        value,
        fault.text(language) if fault else "",
    )


def read(pack: Pack, specification: Specification, data: Mapping[str, str]) -> Filled:
    """What was filled in, as a record of the specification; what is empty and may be missing is left out."""
    record: dict[str, str | int | bool] = {}
    faults: dict[str, Title] = {}
    for field in specification.fields:
        term, text = pack.terms[field.term], data.get(field.name, "").strip()
        if not text:
            if field.required and not field.until:
                faults[field.name] = FAULTS["missing"]
            continue
        if _is_wrong(pack, term, text):
            faults[field.name] = FAULTS[term.type]
        else:
            record[field.name] = (
                int(text) if term.type == "integer" else text == "true" if term.type == "boolean" else text
            )
    return Filled(record, faults)


def _is_wrong(pack: Pack, term: Term, text: str) -> bool:
    if term.type != "image" and len(text) > MOST:
        return True
    if term.type == "text" and not all(c.isprintable() or c in "\n\t\u3000" for c in text):
        return True
    if term.type == "integer" and (not text.isascii() or len(text) > 18):
        return True
    return value_fault(term.type, text, pack.codelists.get(term.codes, {})) is not None
