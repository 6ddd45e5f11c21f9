"""A first mapping for an engineer to correct: which column may be which field, and why, from names, types and samples.

A guess is only as good as it looks: each comes with its reason and its doubts, and what was not found is left as a line to fill in. A
required field without a column is never given one by force.
"""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from renkei.gateway.adapter.mapping import ItemMapping, Written
from renkei.gateway.adapter.values import NUMBERED, YEAR, Unfit, Values
from renkei.law import Pack
from renkei.law.vocabulary import Field, Term

SAMPLES = 200
"""Rows that are looked at."""
ENOUGH = 0.38
"""How alike a name must be to be proposed."""
HINTS = "hints/columns.csv"
"""In the pack's folder: words that names of columns are made of, and what they mean; ``key`` for those that hold local ids."""
KEY = "key"
NEAR = 0.25
"""By how much less a column may look like local ids to be named beside the one that does most."""
CODE_MOST = 12
CODES_MOST = 20
"""Codes of which a column may hold so many: what holds more are no codes."""


class Guess(NamedTuple):
    """A column proposed for a field."""

    field: str
    column: str
    """Empty if none looks like it."""
    written: Written
    sure: float
    """From 0 to 1: how alike the names are, made less by samples that do not fit."""
    unfit: int
    """Samples that do not fit."""
    unmapped: tuple[str, ...]
    """Codes among the samples of which nobody said what they mean."""


class Proposal(NamedTuple):
    """What was found for one item."""

    item: str
    key: str
    guesses: tuple[Guess, ...]
    spare: tuple[str, ...]
    """Columns that nothing was proposed for."""
    keys: tuple[str, ...] = ()
    """Other columns that may hold the local ids, the likeliest first: of a payee or of a child, nobody but the engineer knows."""


class Hints:
    """What the words mean of which a country's systems make names of columns."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = {w.upper(): m for w, m in words.items() if m != KEY}
        self._keys = [w for w, m in words.items() if m == KEY]

    @classmethod
    def read(cls, pack_folder: Path) -> Hints:
        """Those of a pack; none if it has none."""
        path = pack_folder / HINTS
        if not path.is_file():
            return cls({})
        with path.open(encoding="utf-8", newline="") as file:
            return cls({row["word"]: row["means"] for row in csv.DictReader(file)})

    def key_likeness(self, column: str) -> float:
        """How much a column looks like the one with local ids."""
        return max((self.alike(column, key) for key in self._keys), default=0.0)

    def alike(self, column: str, label: str) -> float:
        """How alike two names are, from 0 to 1, whatever their alphabet, case and width."""
        one, other = self._plain(column), self._plain(label)
        if one == other:
            return 1.0
        if len(min(one, other, key=len)) > 1 and (one in other or other in one):
            return 0.8
        return SequenceMatcher(None, one, other).ratio()

    def _plain(self, name: str) -> str:
        text = unicodedata.normalize("NFKC", name)
        if text.isascii():
            words = [self._words.get(word, word) for word in re.split(r"[^A-Z0-9]+", text.upper()) if word]
            text = "".join(words)
        return re.sub(r"[\s_\-・の]+", "", text).casefold()


def propose(
    pack: Pack, item: str, columns: Sequence[str], samples: Sequence[Mapping[str, Any]], hints: Hints
) -> Proposal:
    """The best column for each field of ``item``, each column once, the surest first. Time grows with fields × columns × samples."""
    specification = pack.specifications[item]
    key = max(columns, key=hints.key_likeness, default="")
    scored = []
    for field in specification.fields:
        for column in columns:
            if column == key:
                continue
            name = max(hints.alike(column, label) for label in _labels(pack, field))
            if name < ENOUGH:
                continue
            written, unfit, unmapped, kinds = _try(pack, pack.terms[field.term], column, samples)
            if samples and unfit == len(samples) and not 0 < kinds <= CODES_MOST:
                continue  # whatever it is called, it is something else
            scored.append(
                (
                    name * (1 - 0.5 * unfit / max(1, len(samples))),
                    Guess(field.name, column, written, name, unfit, unmapped),
                )
            )
    taken: dict[str, Guess] = {}
    for sure, guess in sorted(scored, key=lambda one: -one[0]):
        if guess.field not in taken and guess.column not in {g.column for g in taken.values()}:
            taken[guess.field] = guess._replace(sure=round(sure, 2))
    none = {f.name: Guess(f.name, "", Written(), 0.0, 0, ()) for f in specification.fields}
    guesses = tuple(taken.get(f.name, none[f.name]) for f in specification.fields)
    used = {key, *(g.column for g in guesses)}
    spare = tuple(c for c in columns if c not in used)
    alike = sorted(((hints.key_likeness(c), c) for c in spare), reverse=True)
    near = hints.key_likeness(key) - NEAR if key else 1.0
    return Proposal(item, key, guesses, spare, tuple(c for like, c in alike if like >= max(near, ENOUGH)))


def _labels(pack: Pack, field: Field) -> Iterable[str]:
    term = pack.terms[field.term]
    return {field.name, field.ja, field.en, term.code, term.title.ja, term.title.en}


def _try(
    pack: Pack, term: Term, column: str, samples: Sequence[Mapping[str, Any]]
) -> tuple[Written, int, tuple[str, ...], int]:
    """The way of reading a column that fits most samples; how many do not, which codes are not known, and of how many kinds they are."""
    ways = [Written(column=column)]
    if term.type in ("date", "year-month"):
        ways.append(Written(column=column, date="numbered"))
    if term.unit == YEAR:
        eras = pack.header.calendar.eras
        ways += [Written(column=column, date=sign) for sign in (NUMBERED, *(e.signs[0] for e in eras[-1:]))]
    if term.type == "code":
        ways.append(Written(column=column, codes=_codes(pack, term, column, samples)))
    if term.type == "boolean":
        ways.append(Written(column=column, codes={"1": "true", "0": "false"}))
    counted = [(len(unfit := _unfit(pack, term, way, samples)), n, way, unfit) for n, way in enumerate(ways)]
    _, _, best, unfit = min(counted, key=lambda one: one[:2])
    kinds = set(unfit) if term.type == "code" else set[str]()
    unmapped = sorted(u for u in kinds if len(u) <= CODE_MOST) if len(kinds) <= CODES_MOST else []
    return best, len(unfit), tuple(unmapped), len(kinds)


def _codes(pack: Pack, term: Term, column: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The source's codes that are words of the code list: its labels in either language, or the codes themselves."""
    found: dict[str, str] = {}
    values = {str(s.get(column) or "").strip() for s in samples} - {""}
    for value in sorted(values):
        for code, title in pack.codelists[term.codes].items():
            if value.casefold() in (code, title.ja.casefold(), title.en.casefold()):
                found[value] = code
    return found


def _unfit(pack: Pack, term: Term, written: Written, samples: Sequence[Mapping[str, Any]]) -> list[str]:
    """The samples that this way of reading cannot make a value of."""
    make = Values(pack, {}).of(term, written)
    found = []
    for sample in samples:
        raw = sample.get(written.column)
        try:
            make(raw)
        except Unfit:
            found.append(str(raw).strip())
    return found


def as_toml(pack: Pack, proposal: Proposal, source: str) -> str:
    """The proposal as a part of ``mapping.toml``, with what is doubtful said beside it. ``source`` is the line that says where from."""
    item, specification = proposal.item, pack.specifications[proposal.item]
    lines = [
        f"[{item}]  # {specification.ja} / {specification.en}",
        source,
        f"key = {_quoted(proposal.key)}"
        + (f"  # or: {', '.join(map(_in_line, proposal.keys))}" if proposal.keys else ""),
        "",
        f"[{item}.fields]",
    ]
    for guess in proposal.guesses:
        field = specification.field(guess.field)
        assert field is not None
        term = pack.terms[field.term]
        unit, need = f" {term.unit}" if term.unit else "", "required" if field.required else "optional"
        about = f"{field.ja} / {field.en}; {term.type}{unit}; {need}"
        if not guess.column:
            lines.append(f'# {guess.field} = ""  # {about}; nothing was found')
            continue
        doubt = f"; {guess.unfit} samples do not fit" if guess.unfit else ""
        if guess.unmapped:
            doubt = "; say what each code means"
        lines.append(f"{guess.field} = {_inline(guess, term, pack)}  # {about}; {guess.sure:.0%}{doubt}")
    if proposal.spare:
        lines += ["", f"# not used: {', '.join(map(_in_line, proposal.spare))}"]
    return "\n".join(lines) + "\n"


def _inline(guess: Guess, term: Term, pack: Pack) -> str:
    w = guess.written
    parts = [f"column = {_quoted(w.column)}"]
    if w.date:
        parts.append(f'date = "{w.date}"')
    if w.codes or guess.unmapped:
        codes = {**w.codes, **dict.fromkeys(guess.unmapped, "?")}
        parts.append("codes = { " + ", ".join(f"{_quoted(k)} = {_quoted(v)}" for k, v in codes.items()) + " }")
    if len(parts) == 1:
        return _quoted(w.column)
    choices = f"  # one of: {', '.join(pack.codelists[term.codes])}" if guess.unmapped else ""
    return "{ " + ", ".join(parts) + " }" + choices


def _in_line(name: str) -> str:
    return " ".join(name.split())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a string of TOML, too: Excel's headers have line ends


def declared(proposal: Proposal, **where: Any) -> ItemMapping:
    """The proposal as a mapping, of what was found."""
    fields: dict[str, str | Written] = {g.field: g.written for g in proposal.guesses if g.column}
    return ItemMapping(proposal.key, fields, **where)
