"""The vocabulary (共通データ用語辞書), and the data specifications (DRM) that are made of its terms.

``terms.csv`` has a line a term, ``codelists.csv`` the values that coded terms may have, ``specifications/ITEM.toml`` the fields an
item consists of, each with its term. ``changes`` says what becomes of those who use an item when any of them is altered.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from renkei.law import tables
from renkei.law.tables import Fault, Sheet, Title

FIELD = re.compile(r"[a-z][a-z0-9_]{0,63}")
PREFIX = re.compile(r"[a-z][a-z0-9]{0,15}")
SENSITIVITIES = ("identifying", "personal", "sensitive", "public")
"""It says who somebody is · it says something about them · the law asks for special care with it · it is nobody's."""
LABEL_MOST = 60
"""Characters of a label: it must fit a column's head."""


class Meaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[vocabulary]`` of ``pack.toml``: where the terms are published, and whose words they are compared with."""

    iri: str = "urn:renkei:vocabulary:"
    """What a term's code is put behind to name it in the whole world."""
    prefixes: dict[str, str] = {}
    """Public vocabularies: a short name for each, and what it stands for."""

    def full(self, short: str) -> str:
        """The address of ``prefix:name``."""
        prefix, _, name = short.partition(":")
        return self.prefixes[prefix] + name


class Term(NamedTuple):
    """A word of the vocabulary: what it means, how it is written, how carefully it is to be handled."""

    code: str
    type: str
    """One of ``tables.TYPES``."""
    unit: str
    codes: str
    """The code list its values are from, if its type is code."""
    title: Title
    definition: Title
    example: str
    sensitivity: str
    """One of ``SENSITIVITIES``."""
    same_as: tuple[str, ...]
    """Terms of public vocabularies that mean the same, ``prefix:name``."""


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One field of a data specification."""

    name: str
    term: str
    ja: str
    en: str
    required: bool = False
    until: str = ""
    """It is to go: the last day (ISO 8601) on which it must still be provided. Whoever asks for the item is told."""
    instead: str = ""
    """The field to be used in its place."""

    @property
    def title(self) -> Title:
        return Title(self.ja, self.en)


class Provenance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The register in which a provider keeps what it answers."""

    ja: str
    en: str


class Specification(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A data specification (DRM): which fields an item consists of."""

    item: str
    version: int
    records: str
    """How many records there are of a person: one (or none), or many."""
    ja: str
    en: str
    fields: tuple[Field, ...]
    provenance: Provenance = Provenance("", "")

    @property
    def title(self) -> Title:
        return Title(self.ja, self.en)

    def field(self, name: str) -> Field | None:
        return next((f for f in self.fields if f.name == name), None)


def read_codelists(sheet: Any) -> dict[str, dict[str, Title]]:
    """``codelists.csv``: for each list its codes and what they mean."""
    found: dict[str, dict[str, Title]] = defaultdict(dict)
    for r in sheet("codelists.csv", "list code ja en"):
        if r["code"] in found[r["list"]]:
            r.fault(f"Code {r['code']!r} stands twice in list {r['list']!r}.", "Remove one of the two lines.")
        found[r["list"]][r["code"]] = r.title()
    return dict(found)


def read_terms(sheet: Any, codelists: Mapping[str, Mapping[str, Title]], prefixes: Container[str]) -> dict[str, Term]:
    """``terms.csv``, each line held against the naming rules."""
    found: dict[str, Term] = {}
    labels: dict[str, str] = {}
    columns = "term type unit codes ja en definition_ja definition_en example sensitivity same_as"
    for r in sheet("terms.csv", columns, key="term"):
        r.one_of("type", tables.TYPES)
        r.one_of("sensitivity", SENSITIVITIES)
        if r["type"] == "code":
            r.refers("codes", codelists, "codelists.csv")
        wrong = tables.value_fault(r["type"], r["example"], codelists.get(r["codes"], {}))
        if wrong:
            r.fault(f"The example {wrong}.", "Give an example that a real record could hold.")
        for short in r.words("same_as"):
            if short.partition(":")[0] not in prefixes or not short.partition(":")[2]:
                r.fault(f"`same_as` names {short!r}.", "Write prefix:name, with a prefix of [vocabulary] in pack.toml.")
        _lint(r, labels)
        found[r["term"]] = Term(
            r["term"],
            r["type"],
            r["unit"],
            r["codes"],
            r.title(),
            Title(r["definition_ja"], r["definition_en"]),
            r["example"],
            r["sensitivity"],
            r.words("same_as"),
        )
    return found


def _lint(r: Sheet, labels: dict[str, str]) -> None:
    """The naming rules: a label says one thing, once, and shortly; a definition is a sentence that says more than the label."""
    for column, end in (("ja", "。"), ("en", ".")):
        label, definition = r[column], r[f"definition_{column}"]
        if not definition.endswith(end):
            r.fault(f"`definition_{column}` is no sentence.", f"Write one, with {end} at its end.")
        if definition.rstrip(end) == label:
            r.fault(f"`definition_{column}` only repeats the label.", "Say what counts, and what does not.")
        if len(label) > LABEL_MOST or label.endswith(end):
            r.fault(f"`{column}` is no label.", f"At most {LABEL_MOST} characters, without {end} at the end.")
        if labels.setdefault(f"{column}/{label.casefold()}", r["term"]) != r["term"]:
            other = labels[f"{column}/{label.casefold()}"]
            r.fault(f"{other!r} has the label {label!r} already.", "Use that term, or tell the two apart.")
    if r["en"][:1].islower():
        r.fault("`en` begins with a small letter.", "Begin labels with a capital letter.")


def read_specifications(
    files: Mapping[str, bytes], items: Container[str], terms: Container[str], faults: list[Fault]
) -> dict[str, Specification]:
    """``specifications/*.toml``, by item."""
    found: dict[str, Specification] = {}
    for name in sorted(n for n in files if n.startswith("specifications/")):
        specification = tables.toml(files, name, Specification, faults)
        if specification is None:
            continue
        line = tables.line_finder(files[name])
        if specification.item in found:
            faults.append(Fault(name, line("item"), f"{specification.item!r} has two.", "Keep the newer."))
        for needle, sentence, remedy in _faults(specification, items, terms):
            faults.append(Fault(name, line(needle), sentence, remedy))
        found[specification.item] = specification
    return found


def _faults(spec: Specification, items: Container[str], terms: Container[str]) -> Iterator[tuple[str, str, str]]:
    """What is wrong with a specification: how its line begins, the fault, the remedy."""
    if spec.item not in items:
        yield "item", f"There is no item {spec.item!r}.", "Use a code from items.csv."
    if spec.records not in ("one", "many"):
        yield "records", "`records` is neither one nor many.", 'Write "one" or "many".'
    if not spec.fields:
        yield "fields", "The specification has no fields.", "Add at least one [[fields]]."
    if spec.version < 1:
        yield "version", "`version` is below 1.", "Count versions from 1."
    names: set[str] = set()
    for field in spec.fields:
        at = f'name = "{field.name}"'
        if not FIELD.fullmatch(field.name):
            yield at, f"{field.name!r} is not a field name.", "Use lower-case letters, digits and _."
        if field.term not in terms:
            yield at, f"There is no term {field.term!r}.", "Use a term from terms.csv or add it."
        if field.name in names:
            yield at, f"The field {field.name!r} stands twice.", "Rename one."
        names.add(field.name)
        if field.until and not _is_day(field.until):
            yield at, "`until` is no date.", "Write YYYY-MM-DD."
        if field.instead and (not field.until or field.instead == field.name or not spec.field(field.instead)):
            yield at, "`instead` does not help.", "Name another field of this specification, with `until`."


def _is_day(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return True
