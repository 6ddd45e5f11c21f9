"""From a row of the source to a record of the specification: each value as its term has it, or what is wrong with it. Pure."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from renkei.errors import SetupError
from renkei.gateway.adapter.mapping import ItemMapping, Written, wrong
from renkei.law import Pack, calendar
from renkei.law.tables import Title, value_fault
from renkei.law.vocabulary import Specification, Term

Value = str | int | bool
Record = dict[str, Value]
BLANK = " \t\u3000"
STRANGE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ue000-\uf8ff\ufffd\udc80-\udcff\U000f0000-\U0010ffff]")
NUMBER = re.compile(r"([-−△▲]?)(\d{1,3}(?:,\d{3})+|\d{1,18})(?:\.0*)?")
KANA = re.compile("[ｦ-ﾟ｡-･]+")
TRUTHS = {"1": True, "true": True, "0": False, "false": False}
HALF = {0x3000: 0x20, **{full: full - 0xFEE0 for full in range(0xFF01, 0xFF5F)}}
FULL = {half: full for full, half in HALF.items()}


class Unfit(Exception):
    """A value does not fit its term. Says why and what to do, and never the value, which is somebody's."""

    def __init__(self, said: Title, remedy: Title) -> None:
        super().__init__(said.en)
        self.said, self.remedy = said, remedy


class RowFault(NamedTuple):
    """What is wrong with one row: where it stands, which field, what to do."""

    row: int
    """Counted from 1, the header included in files."""
    field: str
    """Empty if the whole row is meant."""
    column: str
    said: Title
    remedy: Title


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
        self._gaiji = {chr(int(code, 16)): sign for code, sign in mapping.gaiji.items()}
        self._fields = [
            (f.name, written[f.name], self._maker(pack.terms[f.term], written[f.name]), f.required)
            for f in specification.fields
            if f.name in written
        ]
        dates = Written(date=mapping.dates)
        self._day = self._date(dates, month=False)
        self.columns = mapping.columns()
        """The columns a row must have."""
        self.key = mapping.key
        self.spans = bool(mapping.since)
        """Whether rows say when they held."""

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether the mapping wants this row at all."""
        return all(_text(row[column]) in wanted for column, wanted in self._keep.items())

    def is_gone(self, row: Mapping[str, Any]) -> bool:
        """Whether this row says that the person has no records any more."""
        return any(_text(row[column]) in wanted for column, wanted in self._mapping.gone.items())

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
        local_id = _text(row[m.key])
        if not local_id or len(local_id) > 64 or STRANGE.search(local_id):
            faults.append(RowFault(number, "", m.key, NO_KEY, FILL))
        bounds = []
        for column in (m.since, m.until):
            try:
                bounds.append("" if not column else self._day(row[column]) or "")
            except Unfit as unfit:
                faults.append(RowFault(number, "", column, unfit.said, unfit.remedy))
        if faults:
            return None, faults
        order = row[m.order] if m.order else number
        return Row(local_id, record, bounds[0], bounds[1], order if isinstance(order, int) else _text(order)), []

    # ------------------------------------------------------------------ one value

    def _raw(self, written: Written, row: Mapping[str, Any]) -> Any:
        if written.value:
            return written.value
        if written.columns:
            parts = [_text(row[c]) for c in written.columns]
            return written.join.join(p for p in parts if p)
        return row[written.column]

    def _maker(self, term: Term, written: Written) -> Callable[[Any], Value | None]:
        codes = self._pack.codelists.get(term.codes, {})
        match term.type:
            case "integer":
                return self._number(written)
            case "date":
                return self._date(written, month=False)
            case "year-month":
                return self._date(written, month=True)
            case "boolean":
                return self._boolean(written)
            case "image":
                return self._image(written)
            case "code":
                return self._code(written, codes)
        return self._words(written)

    def _plain(self, written: Written, raw: Any) -> str:
        """The value as text; nothing if it stands for none."""
        text = _text(raw)
        return "" if text in written.empty else text

    def _words(self, written: Written) -> Callable[[Any], Value | None]:
        def words(raw: Any) -> Value | None:
            text = self._plain(written, raw)
            if not text:
                return None
            if STRANGE.search(text):
                text = self._known(text)
            if written.width:
                text = KANA.sub(lambda k: unicodedata.normalize("NFKC", k[0]), text)
                text = text.translate(HALF if written.width == "half" else FULL)
            return text

        return words

    def _known(self, text: str) -> str:
        """``text`` with the body's own characters put into Unicode. What cannot be is ``Unfit``, by code point: it is not dropped."""
        text = "".join(self._gaiji.get(sign, sign) for sign in text)
        if not (strange := STRANGE.search(text)):
            return text
        code = ord(strange[0])
        if 0xDC80 <= code <= 0xDCFF:
            byte = f"{code - 0xDC00:02X}"
            said = Title(
                f"バイト {byte} はこの文字コードにありません。", f"Byte {byte} is no character of this encoding."
            )
            raise Unfit(said, Title("`encoding` を確かめてください。", "Check `encoding`."))
        if code < 0x80 or code == 0xFFFD:
            raise Unfit(
                Title(
                    "制御文字か、壊れた文字があります。", "There is a control character, or one that was lost before."
                ),
                Title("元のデータを直してください。", "Correct the source."),
            )
        raise Unfit(
            Title(
                f"外字 U+{code:04X} の対応が決まっていません。", f"The body's own character U+{code:04X} is not known."
            ),
            Title(f"`gaiji` に {code:04X} を加えてください。", f"Say under `gaiji` what {code:04X} is."),
        )

    def _number(self, written: Written) -> Callable[[Any], Value | None]:
        def number(raw: Any) -> Value | None:
            if isinstance(raw, int) and not isinstance(raw, bool):
                return None if str(raw) in written.empty else raw * written.times
            text = self._plain(written, raw)
            if not text:
                return None
            found = NUMBER.fullmatch(unicodedata.normalize("NFKC", text))
            if not found:
                raise Unfit(NOT_WHOLE, CORRECT)
            size = int(found[2].replace(",", "")) * written.times
            return -size if found[1] else size

        return number

    def _date(self, written: Written, *, month: bool) -> Callable[[Any], str | None]:
        numbered, at = written.date == "numbered", self._pack.header.calendar

        def date(raw: Any) -> str | None:
            if isinstance(raw, dt.date):  # also a datetime: the day it falls on
                return raw.isoformat()[: 7 if month else 10]
            text = self._plain(written, raw)
            if not text:
                return None
            try:
                found = calendar.day(text, at, numbered=numbered)
            except ValueError:
                raise Unfit(NO_DAY, CORRECT_DAY) from None
            if len(found) == 7 and not month:
                raise Unfit(NO_DAY, CORRECT_DAY)
            return found[:7] if month else found

        return date

    def _boolean(self, written: Written) -> Callable[[Any], Value | None]:
        known = {k: TRUTHS.get(v) for k, v in written.codes.items()} or TRUTHS

        def boolean(raw: Any) -> Value | None:
            if isinstance(raw, bool):
                return raw
            text = self._plain(written, raw)
            if not text:
                return None
            if (found := text if text in known else text.lower()) not in known:
                raise _unmapped(text)
            return known[found]

        return boolean

    def _code(self, written: Written, codes: Mapping[str, Title]) -> Callable[[Any], Value | None]:
        known: dict[str, str | None] = {k: v or None for k, v in written.codes.items()} or {c: c for c in codes}

        def code(raw: Any) -> Value | None:
            text = self._plain(written, raw)
            if not text:
                return None
            if text not in known:
                raise _unmapped(text)
            return known[text]

        return code

    def _image(self, written: Written) -> Callable[[Any], Value | None]:
        def image(raw: Any) -> Value | None:
            if isinstance(raw, bytes | memoryview):
                raw = base64.b64encode(bytes(raw)).decode()
            text = self._plain(written, raw)
            if text and value_fault("image", text, ()):
                raise Unfit(NO_IMAGE, CORRECT)
            return text or None

        return image


EMPTY = Title("必須の項目に値がありません。", "It is empty, and is required.")
FILL = Title(
    "元のデータに値を入れるか、`keep` でこの行を除いてください。",
    "Fill it in the source, or leave the row out by `keep`.",
)
NO_KEY = Title("誰の記録か分かりません。", "It does not say whom it is about.")
NOT_WHOLE = Title("整数ではありません。", "It is no whole number.")
NO_DAY = Title("日付として読めません。", "It cannot be read as a day.")
NO_IMAGE = Title("PNG画像ではありません。", "It is no PNG image.")
CORRECT = Title(
    "元のデータを直すか、`empty` に加えてください。", "Correct the source, or name the value under `empty`."
)
CORRECT_DAY = Title(
    '元のデータを直すか、値がないことを表すなら `empty` に加え、元号が数字なら `date = "numbered"` としてください。',
    'Correct the source; name it under `empty` if it stands for none; write `date = "numbered"` if its first digit is the era.',
)


def _unmapped(text: str) -> Unfit:
    shown = text if len(text) <= 4 and text.isascii() and text.isalnum() else "…"
    return Unfit(
        Title(f"コード {shown} の対応が決まっていません。", f"Nobody said what code {shown} means."),
        Title("`codes` に加えてください。", "Add it under `codes`."),
    )


def _text(raw: Any) -> str:
    """A value of a database or file as text, without blanks around it."""
    if raw is None:
        return ""
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, bytes | memoryview):
        return bytes(raw).decode("utf-8", "surrogateescape").strip(BLANK)
    if isinstance(raw, float | decimal.Decimal):
        if math.isnan(raw):
            return ""
        return str(int(raw)) if math.isfinite(raw) and raw == int(raw) else str(raw)
    return str(raw).strip(BLANK)


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
        if sum(map(bool, (how.column, how.columns, how.value))) != 1:
            raise _unfit(
                item,
                f"{name}: name one of column, columns and value",
                f"{name}: column、columns、value の一つを書いてください",
            )
        known = {"true", "false"} if term.type == "boolean" else pack.codelists.get(term.codes, {})
        if wrong_codes := sorted(c for c in how.codes.values() if c and c not in known):
            raise _unfit(
                item,
                f"{name}: no such code: {', '.join(wrong_codes)}",
                f"{name}: コードがありません: {'、'.join(wrong_codes)}",
            )
    for code, sign in mapping.gaiji.items():
        if not re.fullmatch("[0-9A-Fa-f]{4,6}", code) or not sign or STRANGE.search(sign):
            raise _unfit(item, f"gaiji: {code} is no code point, or leads to none", f"gaiji: {code} が正しくありません")


def _unfit(item: str, en: str, ja: str) -> SetupError:
    return wrong(f"Mapping of {item!r}: {en}.", f"{item} の対応付け: {ja}。")
