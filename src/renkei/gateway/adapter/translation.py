"""From a row of the source to a record of the specification: each value as its term has it, or what is wrong with it. Pure."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from renkei.errors import SetupError
from renkei.gateway.adapter.mapping import ItemMapping, Written, plain, wrong
from renkei.gateway.adapter.values import NUMBERED, STRANGE, YEAR, Unfit, Value, Values
from renkei.law import Pack
from renkei.law.tables import Title
from renkei.law.vocabulary import Specification

Record = dict[str, Value]
NO_FIRST = re.compile(r"[0\s./-]+")
NO_LAST = re.compile(r"[0\s./-]+|[9\s./-]+")
"""What systems write into a column of days for no bound: zeros, and for the last day nines."""


class RowFault(NamedTuple):
    """What is wrong with one row: where it stands, which field, what to do."""

    row: int
    """Counted from 1, the header included in files."""
    field: str
    """Empty if the whole row is meant."""
    column: str
    said: Title
    remedy: Title
    local_id: str = ""
    """Whose row it is, for the body's own report: rows of a table have no place to be found by."""


class Row(NamedTuple):
    """A row that fits: whom it is about, what it says, and when it held (ISO 8601; empty: no bound)."""

    local_id: str
    record: Record
    since: str
    until: str
    order: str | int


class Translator:
    """Makes the records of one item. ``SetupError`` if mapping and specification do not fit."""

    def __init__(self, pack: Pack, item: str, mapping: ItemMapping) -> None:
        specification = pack.specifications.get(item)
        if specification is None:
            raise wrong(
                f"The mapping names {item!r}, which has no data specification.",
                f"対応付けにある {item} にはデータ仕様がありません。",
            )
        self.specification: Specification = specification
        self._mapping, self._pack = mapping, pack
        written = mapping.written()
        _check(pack, specification, mapping, written)
        self._keep = {c: frozenset(v) for c, v in mapping.keep.items()}
        values = Values(pack, {chr(int(code, 16)): sign for code, sign in mapping.gaiji.items()})
        self._fields = [
            (f.name, written[f.name], values.of(pack.terms[f.term], written[f.name]), f.required)
            for f in specification.fields
            if f.name in written
        ]
        self._day = values.day(Written(date=mapping.dates), month=False)
        self.columns = mapping.columns()
        """The columns a row must have."""
        self.key = mapping.key
        self.spans = bool(mapping.since)
        """Whether rows say when they held."""

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether the mapping wants this row at all."""
        return all(plain(row[column]) in wanted for column, wanted in self._keep.items())

    def day(self, moment: int) -> str:
        """The law's day at a moment (ms), ISO 8601."""
        return self._pack.day(moment).isoformat()

    def local_id(self, row: Mapping[str, Any]) -> str:
        """Whom a row is about."""
        return self._mapping.local_id(row[self.key])

    def is_gone(self, row: Mapping[str, Any]) -> bool:
        """Whether this row says that the person has no records any more."""
        return any(plain(row[column]) in wanted for column, wanted in self._mapping.gone.items())

    def record(self, row: Mapping[str, Any], number: int = 0) -> tuple[Record, list[RowFault]]:
        """The fields of a row, and what is wrong with it."""
        record: Record = {}
        faults: list[RowFault] = []
        for name, written, make, required in self._fields:
            try:
                value = make(self._raw(written, row))
            except Unfit as unfit:
                faults.append(RowFault(number, name, " ".join(written.sources()), unfit.said, unfit.remedy))
                continue
            if value is not None:
                record[name] = value
            elif required:
                faults.append(RowFault(number, name, " ".join(written.sources()), EMPTY, FILL))
        return record, faults

    def row(self, row: Mapping[str, Any], number: int) -> tuple[Row | None, list[RowFault]]:
        """Everything of a row for the local copy; no row if anything is wrong with it."""
        record, faults = self.record(row, number)
        m = self._mapping
        local_id = self.local_id(row)
        if not local_id or len(local_id) > 64 or STRANGE.search(local_id):
            faults.append(RowFault(number, "", m.key, NO_KEY, FILL))
        since, until, unfit = self.bounds(row, number)
        faults += unfit
        if faults:
            return None, faults
        return Row(local_id, record, since, until, _place(row[m.order]) if m.order else number), []

    def bounds(self, row: Mapping[str, Any], number: int = 0) -> tuple[str, str, list[RowFault]]:
        """First and last day for which a row says something (empty: no bound), and what is wrong with them."""
        found, faults = ["", ""], []
        for at, (column, none) in enumerate(((self._mapping.since, NO_FIRST), (self._mapping.until, NO_LAST))):
            try:
                found[at] = self._bound(row[column], none) if column else ""
            except Unfit as unfit:
                faults.append(RowFault(number, "", column, unfit.said, CORRECT_BOUND))
        return found[0], found[1], faults

    def _bound(self, raw: Any, none: re.Pattern[str]) -> str:
        if not isinstance(raw, dt.date) and none.fullmatch(unicodedata.normalize("NFKC", plain(raw))):
            return ""
        return self._day(raw) or ""

    def _raw(self, written: Written, row: Mapping[str, Any]) -> Any:
        if written.value:
            return written.value
        if written.add:
            return [row[c] for c in written.add]
        if written.columns:
            parts = [plain(row[c]) for c in written.columns]
            return written.join.join(p for p in parts if p)
        return row[written.column]


def _place(raw: Any) -> str | int:
    """What rows are sorted by: numbers as numbers also where a file has them as text, so that 10 comes after 9."""
    text = plain(raw)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else text


EMPTY = Title("必須の項目に値がありません。", "It is empty, and is required.")
FILL = Title(
    "元のデータに値を入れるか、`keep` でこの行を除いてください。",
    "Fill it in the source, or leave the row out by `keep`.",
)
CORRECT_BOUND = Title(
    '元のデータを直すか、元号が数字なら `dates = "numbered"` としてください。',
    'Correct the source, or write `dates = "numbered"` if its first digit is the era.',
)
NO_KEY = Title("誰の記録か分かりません。", "It does not say whom it is about.")


def _check(pack: Pack, specification: Specification, mapping: ItemMapping, written: Mapping[str, Written]) -> None:
    """Everything about a mapping that can be known without data."""
    item = specification.item
    places = [p for p in (mapping.table, mapping.file, mapping.rest) if p]
    if len(places) != 1:
        raise _unfit(item, "name one of table, file and rest", "table、file、rest のどれか一つを書いてください")
    fields = {f.name: f for f in specification.fields}
    if lost := [f.name for f in specification.fields if f.required and f.name not in written]:
        raise _unfit(
            item, f"required fields are not mapped: {', '.join(lost)}", f"必須の項目がありません: {'、'.join(lost)}"
        )
    if strange := [name for name in written if name not in fields]:
        raise _unfit(
            item, f"the specification lacks fields: {', '.join(strange)}", f"仕様にない項目です: {'、'.join(strange)}"
        )
    if bool(mapping.since) != bool(mapping.until):
        raise _unfit(item, "since and until go together", "since と until は両方書いてください")
    for name, how in written.items():
        term = pack.terms[fields[name].term]
        if sum(map(bool, (how.column, how.columns, how.add, how.value))) != 1:
            raise _unfit(
                item,
                f"{name}: name one of column, columns, add and value",
                f"{name}: column、columns、add、value の一つを書いてください",
            )
        if how.add and (term.type != "integer" or term.unit == YEAR):
            raise _unfit(item, f"{name}: add is for numbers", f"{name}: add は数のためのものです")
        _demand_era(pack, item, name, how.date)
        known = {"true", "false"} if term.type == "boolean" else pack.codelists.get(term.codes, {})
        if wrong_codes := sorted(c for c in how.codes.values() if c and c not in known):
            raise _unfit(
                item,
                f"{name}: no such code: {', '.join(wrong_codes)}",
                f"{name}: コードがありません: {'、'.join(wrong_codes)}",
            )
    _demand_era(pack, item, "dates", mapping.dates)
    for code, sign in mapping.gaiji.items():
        if not re.fullmatch("[0-9A-Fa-f]{4,6}", code) or not sign or STRANGE.search(sign):
            raise _unfit(item, f"gaiji: {code} is no code point, or leads to none", f"gaiji: {code} が正しくありません")


def _demand_era(pack: Pack, item: str, name: str, sign: str) -> None:
    """``SetupError`` unless days are said to be written in a way there is."""
    signs = [s for era in pack.header.calendar.eras for s in era.signs]
    if sign not in ("", NUMBERED, *signs):
        either = ", ".join((NUMBERED, *signs))
        raise _unfit(item, f"{name}: no era {sign!r}; one of: {either}", f"{name}: 元号 {sign} はありません: {either}")


def _unfit(item: str, en: str, ja: str) -> SetupError:
    return wrong(f"Mapping of {item!r}: {en}.", f"{item} の対応付け: {ja}。")
