"""The declaration by which a body's own data answers items: ``mapping.toml``.

::

    [local-tax]                             # an item of the pack
    table = "T_KAZEI"                       # a table or view of the body's database …
    key = "ATENA_NO"                        # … and its column with the local subject id
    keep = { SAKUJO_FLG = ["0"] }           # only rows with one of these values
    order = "NENDO"                         # records of a person are sorted by it
    since = "YUKO_KAISHI"                   # together: first and last day for which a row says something,
    until = "YUKO_SHURYO"                   # so that inquiries *as of* a day can be answered (empty: no bound)

    [local-tax.fields]                      # field of the specification = where it is found
    tax_year = "NENDO"
    tax_status = { column = "KAZEI_KBN", codes = { 1 = "taxed", 2 = "exempt", 9 = "" } }
    income_total = { column = "SHOTOKU_SEN", times = 1000 }

    [resident-record]
    key = "宛名番号"
    file = { name = "juki_*.csv", encoding = "cp932" }     # files that are put into the folder ``drop``, kept as a local copy (副本)
    gaiji = { E000 = "𠮷" }                                 # the body's own characters

    [resident-record.fields]
    date_of_birth = { column = "生年月日", date = "numbered", empty = ["0000000"] }
    name = { column = "氏名", width = "full" }

    [people]                                # whose codes are asked for: local id and number
    table = "T_ATENA"
    key = "ATENA_NO"
    number = "KOJIN_NO"

What a value may look like follows from the field's term; ``Written`` says what else it is made from.
"""

from __future__ import annotations

import decimal
import math
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from renkei.errors import SetupError

PEOPLE = "people"
BLANK = " \t\u3000"
FORMATS = ("csv", "tsv", "fixed", "excel")


class Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one field is found in a row of the source."""

    column: str = ""
    columns: tuple[str, ...] = ()
    """Several columns, put together with ``join`` between them."""
    join: str = ""
    value: str = ""
    """The same for every row; no column then."""
    codes: dict[str, str] = {}
    """The source's code for each of the vocabulary's (or true and false); ``""`` for one that means nothing is known."""
    date: str = ""
    """``numbered``: the era is a digit before the year (``3580715``). Or a sign of an era (``R``) that is not written: ``080715``."""
    add: tuple[str, ...] = ()
    """Several columns with numbers, whose sum it is."""
    times: int = 1
    """What a number is multiplied with: 1000 where the source counts thousands."""
    width: Literal["", "half", "full"] = ""
    """Letters and digits are made half or full width; half-width kana are made full."""
    empty: tuple[str, ...] = ()
    """Values that stand for none."""

    def sources(self) -> tuple[str, ...]:
        """The columns it is made from."""
        return self.columns or self.add or ((self.column,) if self.column else ())


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files that are loaded into the local copy."""

    name: str
    """Of the files in the folder ``drop``; ``*`` stands for anything."""
    format: Literal["csv", "tsv", "fixed", "excel"] = "csv"
    encoding: str = ""
    """Python's name of it; empty: UTF-8 if the file is that, otherwise what Windows calls Shift_JIS (cp932)."""
    columns: tuple[str, ...] = ()
    """Names of the columns, if the file has no line with them."""
    widths: tuple[int, ...] = ()
    """``fixed``: bytes of each column."""
    skip: int = 0
    """Lines above the header."""
    sheet: str = ""
    """``excel``: its sheet; the first one if empty."""
    changes: bool = False
    """It holds only persons whose records changed (all records of each); otherwise it holds everybody."""


class Rest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A web interface that answers pages of JSON objects."""

    url: str
    records: str = ""
    """Where in the answer the list is, by full stops (``data.items``); the answer itself if empty."""
    next: str = ""
    """Where in the answer the address of the next page is."""
    token: str = ""
    """Path of a file with a bearer token."""


class ItemMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one item is found: in a ``table``, read at each inquiry or (``copy``) kept as a copy; in files; or at a web interface."""

    key: str
    fields: dict[str, str | Written]
    table: str = ""
    source: str = ""
    """Path of a file with the URL of the database the table is in, if it is another than the body's ``source``."""
    file: File | None = None
    rest: Rest | None = None
    copy: bool = False
    """A table is read now and then, and inquiries are answered from the local copy."""
    every_hours: int = 24
    """How often a copy of a table or a web interface is made anew by itself."""
    digits: int = 0
    """Local ids are filled up with zeros to so many digits: Excel, for one, forgets them."""
    keep: dict[str, tuple[str, ...]] = {}
    gone: dict[str, tuple[str, ...]] = {}
    """Rows with one of these values say, in a file of changes, that the person has no records any more."""
    order: str = ""
    since: str = ""
    until: str = ""
    dates: str = ""
    """How ``since`` and ``until`` are written, as in a field."""
    gaiji: dict[str, str] = {}
    """Characters of the body's own (code point in hexadecimal) and what they are in Unicode, variation selectors included."""
    probes: tuple[str, ...] = ()
    """Local ids of synthetic persons the body keeps for trying: they are looked up every night, and the catalogue says how it went."""
    removals_most: float = 0.1
    """A copy is not replaced by one that lacks more than this share of its persons, unless that is said to be right."""

    def local_id(self, raw: object) -> str:
        """The local id in a row's column ``key``."""
        return filled(plain(raw), self.digits)

    @property
    def copied(self) -> bool:
        """Whether inquiries are answered from a local copy."""
        return self.copy or self.file is not None or self.rest is not None

    def written(self) -> dict[str, Written]:
        """How each field is found."""
        return {f: Written(column=w) if isinstance(w, str) else w for f, w in self.fields.items()}

    def columns(self) -> list[str]:
        """Every column that is read, each once."""
        named = [self.key, self.order, self.since, self.until, *self.keep, *self.gone]
        named += [c for w in self.written().values() for c in w.sources()]
        return [c for c in dict.fromkeys(named) if c]


class PeopleMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the body keeps whom it knows: a table of its database with local ids and numbers."""

    table: str
    key: str
    number: str
    keep: dict[str, tuple[str, ...]] = {}
    digits: int = 0
    source: str = ""
    """Both as in an item."""


class Mapping(msgspec.Struct, frozen=True):
    """The whole declaration."""

    items: dict[str, ItemMapping]
    people: PeopleMapping | None = None


def plain(raw: Any) -> str:
    """A value of a database or file as text, without blanks around it."""
    if isinstance(raw, str):
        return raw.strip(BLANK)
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
    return str(raw)


def filled(local_id: str, digits: int) -> str:
    """A local id with the zeros in front that it has lost."""
    return local_id.rjust(digits, "0") if local_id.isdecimal() else local_id


def read(path: Path) -> Mapping:
    """The declaration in a file; ``SetupError`` says what is wrong with it."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
        people = tables.pop(PEOPLE, None)
        return Mapping(
            msgspec.convert(tables, dict[str, ItemMapping]),
            None if people is None else msgspec.convert(people, PeopleMapping),
        )
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise wrong(f"{path}: {error}.", f"対応付け {path} に誤りがあります: {error}") from None


def wrong(en: str, ja: str) -> SetupError:
    """The error for a declaration that cannot be used."""
    return SetupError(
        en,
        ja=ja,
        code="mapping",
        remedy="Correct mapping.toml; `renkei source propose` writes a first one, docs/adapters.md explains each word.",
        remedy_ja="mapping.toml を直してください。`renkei source propose` で下書きを作れます。説明は docs/adapters.md にあります。",
    )
