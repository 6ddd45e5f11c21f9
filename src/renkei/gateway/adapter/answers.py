"""Answering items from the body's own data: from its database at each inquiry, or from the local copy, as the mapping declares."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.errors import NotFound, SetupError
from renkei.gateway.adapter import reading
from renkei.gateway.adapter.copies import RECORDS_MOST, Copies, Lineage, Loaded, Told
from renkei.gateway.adapter.mapping import ItemMapping, Mapping, filled, plain, wrong
from renkei.gateway.adapter.reading import Rows
from renkei.gateway.adapter.translation import Record, RowFault, Translator
from renkei.gateway.adapter.values import Value
from renkei.institution.settings import Clock, system_clock
from renkei.law import Pack
from renkei.law.tables import value_fault

Progress = Callable[[int, int], None]


class SourceFault(Exception):
    """The source cannot answer now, by ``reason``; says which field, never which value.

    ``source-fault``: it holds what its specification does not allow · ``source-unavailable``: it does not respond ·
    ``as-of``: it cannot say what held on an earlier day.
    """

    def __init__(self, sentence: str, reason: str = "source-fault") -> None:
        super().__init__(sentence)
        self.reason = reason


class Measured(NamedTuple):
    """What was counted over all rows of an item, and when (ms; 0: there was nothing to count)."""

    at: int
    rows: int
    wrong: int
    persons: int
    filled: dict[str, int]


class Live(NamedTuple):
    """How one item is read from the database at each inquiry: query, and column of local ids."""

    query: sa.Select[Any]
    key: sa.ColumnElement[Any]


class Adapter:
    """Answers items from a source, and makes their local copies. Of the source it only ever reads."""

    def __init__(
        self,
        url: str,
        mapping: Mapping,
        pack: Callable[[], Pack],
        copies: Path,
        *,
        clock: Clock = system_clock,
    ) -> None:
        """``pack`` answers the law in force; ``copies`` is the folder of the local copies; ``url`` may be empty if no table is mapped.

        ``SetupError`` if the mapping does not fit. A source that is away is waited for; so is the law that specifies an item.
        """
        self._url, self._engines = url, dict[str, sa.Engine]()
        self.mapping, self._pack_now, self._clock = mapping, pack, clock
        self.copies = Copies(copies)
        self._pack = pack()
        self._lock, self._opening = threading.Lock(), threading.Lock()
        self._translators: dict[str, Translator] = {}
        self._live: dict[str, Live] = {}
        for item, declared in mapping.items.items():
            if item not in self._pack.specifications:
                continue
            self.translator(item)
            if not declared.copied:
                with contextlib.suppress(sa.exc.OperationalError):
                    self._live_source(item, self.translator(item))
        for source in {m.source for m in (mapping.people, *mapping.items.values()) if m and m.table}:
            self._database(source)

    @property
    def items(self) -> list[str]:
        """The items this body can answer."""
        return sorted(self.mapping.items)

    @property
    def pack(self) -> Pack:
        """The law in force."""
        return self._pack_now()

    def translator(self, item: str) -> Translator:
        """How rows of ``item`` become records under the law in force."""
        with self._lock:
            if self._pack is not (pack := self._pack_now()):
                self._pack, self._translators, self._live = pack, {}, {}
            if item not in self._translators:
                self._translators[item] = Translator(self._pack, item, self._declared(item))
            return self._translators[item]

    def _declared(self, item: str) -> ItemMapping:
        try:
            return self.mapping.items[item]
        except KeyError:
            raise NotFound(
                f"The mapping has no item {item!r}.", ja=f"対応付けに {item} がありません。", code="no-item"
            ) from None

    # ------------------------------------------------------------------ answering

    def look_up(self, item: str, as_of: str, local_ids: Sequence[str]) -> dict[str, list[Record]]:
        """The records of ``item`` for each local id, in the specification's fields. Raises ``SourceFault``.

        ``as_of``: those that held on a day. Empty: all of them; of an item with one record a person, the one that holds today.
        """
        if item not in self.mapping.items:
            return {}
        try:
            translator = self.translator(item)
            if as_of and not translator.spans:
                raise SourceFault(f"{item} keeps no earlier states", "as-of")
            one = translator.specification.records == "one"
            day = as_of or (translator.day(self._clock()) if one and translator.spans else "")
            if self.mapping.items[item].copied:
                found = self._from_copy(item, day, local_ids)
            else:
                found = self._from_source(item, translator, day, local_ids)
            if one and any(len(records) > 1 for records in found.values()):
                raise SourceFault(f"{item}: several rows say what holds of one person")
            return found
        except (sa.exc.SQLAlchemyError, SetupError, OSError) as error:
            raise SourceFault(type(error).__name__, "source-unavailable") from error

    def _from_copy(self, item: str, day: str, local_ids: Sequence[str]) -> dict[str, list[Record]]:
        try:
            found, held = self.copies.look_up(item, local_ids, day)
        except FileNotFoundError:
            raise SourceFault(f"{item}: nothing was loaded yet", "source-unavailable") from None
        if held:
            raise SourceFault(f"{item}: rows of this person do not fit")
        for records in found.values():
            if fault := content_fault(self._pack, item, records):  # the law may have changed since it was loaded
                raise SourceFault(f"{item} {fault}")
        return found

    def _from_source(
        self, item: str, translator: Translator, day: str, local_ids: Sequence[str]
    ) -> dict[str, list[Record]]:
        live = self._live_source(item, translator)
        wanted = set(local_ids)
        query = live.query.where(live.key.in_(sorted(_as_written(wanted, self.mapping.items[item].digits))))
        found: dict[str, list[Record]] = defaultdict(list)
        with self._database(self.mapping.items[item].source).connect() as connection:
            for row in connection.execute(query):
                values = dict(zip(translator.columns, row, strict=True))
                if (who := translator.local_id(values)) not in wanted:
                    continue
                since, until, faults = translator.bounds(values)
                if day and not faults and ((since and since > day) or (until and until < day)):
                    continue
                record, unfit = translator.record(values)
                if faults or unfit:
                    fault = (faults + unfit)[0]
                    raise SourceFault(f"{item}.{fault.field or fault.column}: {fault.said.en}")
                records = found[who]
                records.append(record)
                if len(records) > RECORDS_MOST:
                    raise SourceFault(f"{item}: there are more records of this person than it has room for")
        return found

    def _live_source(self, item: str, translator: Translator) -> Live:
        """How a table is read; looked up in the database once."""
        with self._lock:
            if item not in self._live:
                mapping = self.mapping.items[item]
                table = reading.source_table(self._database(mapping.source), mapping.table)
                columns = translator.columns
                query = reading.select_of(table, mapping.table, columns, mapping.keep)
                if mapping.order:
                    query = query.order_by(table.c[mapping.order])
                key = table.c[mapping.key]
                exact = isinstance(key.type, sa.String) and not isinstance(key.type, sa.CHAR)
                self._live[item] = Live(query, key if exact else sa.func.trim(sa.cast(key, sa.String)))
            return self._live[item]

    def _database(self, source: str) -> sa.Engine:
        """The database whose URL is in the file ``source``; the body's own if empty. Opened once."""
        with self._opening:
            if source not in self._engines:
                try:
                    url = Path(source).read_text("utf-8").strip() if source else self._url
                except (OSError, UnicodeDecodeError) as error:
                    raise wrong(
                        f"`source`: {source} cannot be read ({type(error).__name__}).",
                        f"source: {source} を読めません。",
                    ) from None
                if not url:
                    raise wrong(
                        "The mapping names tables, and no `source` is set.",
                        "表を読む対応付けですが、source が設定されていません。",
                    )
                self._engines[source] = reading.open_database(url)
            return self._engines[source]

    # ------------------------------------------------------------------ the local copy

    def rows(self, item: str, file: Path | None = None, progress: Progress = lambda a, b: None) -> Rows:
        """The rows of an item as its source gives them; ``file`` for one that is declared as files."""
        declared, columns = self._declared(item), self.translator(item).columns
        if declared.file is not None:
            if file is None:
                raise wrong(
                    f"{item} is read from files: name one.",
                    f"{item} はファイルから読みます。ファイルを指定してください。",
                )
            return reading.steady(reading.read_file(declared.file, file, columns, progress), file)
        if file is not None:
            raise wrong(f"{item} is not read from files.", f"{item} はファイルから読みません。")
        return self.read(declared, columns, progress)

    def read(self, declared: ItemMapping, columns: Sequence[str], progress: Progress = lambda a, b: None) -> Rows:
        """The rows of a table or web interface, declared as an item's or about to be."""
        if declared.rest is not None:
            return reading.read_rest(declared.rest, columns, progress)
        return reading.read_table(self._database(declared.source), declared, columns, progress)

    def declare(self, mapping: Mapping) -> None:
        """Go by another declaration from now on."""
        with self._lock:
            self.mapping, self._translators, self._live = mapping, {}, {}

    def load(
        self,
        item: str,
        file: Path | None = None,
        *,
        keep: bool = True,
        leave_out: bool = False,
        accept_removals: bool = False,
        tell: Told = lambda _: None,
        progress: Progress = lambda a, b: None,
    ) -> Loaded:
        """Make the copy of an item anew (``keep`` false: only say what would become of it). Raises ``NotLoaded``, ``Unreadable``."""
        declared, translator = self._declared(item), self.translator(item)
        digest = ""
        if file is not None:
            with file.open("rb") as raw:
                digest = hashlib.file_digest(raw, "sha256").hexdigest()
        origin = file.name if file else declared.table or (declared.rest.url if declared.rest else "")
        lineage = Lineage(item, origin, digest, translator.specification.version, self._clock(), 0, 0, 0, 0, 0, 0)
        return self.copies.load(
            translator,
            self.rows(item, file, progress),
            lineage,
            changes=declared.file is not None and declared.file.changes,
            accept_removals=accept_removals,
            leave_out=leave_out,
            removals_most=declared.removals_most,
            keep=keep,
            tell=tell,
        )

    def measure(self, item: str) -> Measured:
        """How much of the source fits: of a copy when it was made, of a table by reading all of it. Time grows with its rows."""
        declared, translator = self._declared(item), self.translator(item)
        if declared.copied:
            lineage = self.copies.lineage(item)
            return Measured(lineage.loaded_at, *_counts(lineage)) if lineage else Measured(0, 0, 0, 0, {})
        rows = wrong = 0
        filled: Counter[str] = Counter()
        for number, row in self.rows(item):
            rows += 1
            record, faults = ({}, [row]) if isinstance(row, RowFault) else translator.record(row, number)
            wrong += bool(faults)
            filled.update(record.keys())
        persons = reading.count_distinct(self._database(declared.source), declared)
        return Measured(self._clock(), rows, wrong, persons, dict(filled))

    def probe(self, item: str) -> str:
        """Look up the synthetic persons as an inquiry would: the reason of a ``SourceFault``, ``no-data``, or nothing if all is well."""
        probes = self._declared(item).probes
        try:
            found = self.look_up(item, "", probes)
        except SourceFault as fault:
            return fault.reason
        return "" if all(found.get(p) for p in probes) else "no-data"

    def people(self) -> Iterator[tuple[str, str]]:
        """Local id and number of everyone the body knows, as its database has them."""
        declared = self.mapping.people
        if declared is None:
            return
        as_item = ItemMapping(declared.key, {}, table=declared.table, keep=declared.keep)
        database, columns = self._database(declared.source), [declared.key, declared.number]
        for _, row in reading.read_table(database, as_item, columns, lambda a, b: None):
            if isinstance(row, dict):
                local_id, number = filled(plain(row[declared.key]), declared.digits), plain(row[declared.number])
                if local_id and number:
                    yield local_id, number

    def close(self) -> None:
        self.copies.close()
        for engine in self._engines.values():
            engine.dispose()


def _counts(lineage: Lineage) -> tuple[int, int, int, dict[str, int]]:
    """Of the whole copy, also if the last file had only changes, or rows that are not kept."""
    return lineage.records + lineage.wrong, lineage.wrong, lineage.persons, lineage.filled


def _as_written(local_ids: Collection[str], digits: int) -> set[str]:
    """What a column may hold for these local ids, if it may have lost zeros in front."""
    return {i[n:] for i in local_ids for n in range(len(i) - len(i.lstrip("0")) + 1 if digits else 1)} - {""}


def field_fault(pack: Pack, term: str, value: Value) -> str | None:
    """What is wrong with ``value`` as ``term``, or ``None``."""
    definition = pack.terms[term]
    match definition.type:
        case "integer":
            return None if isinstance(value, int) and not isinstance(value, bool) else "is not a whole number"
        case "boolean":
            return None if isinstance(value, bool) else "is not a truth value"
    if not isinstance(value, str):
        return "is not text"
    return value_fault(definition.type, value, pack.codelists.get(definition.codes, {}))


def content_fault(pack: Pack, item: str, records: Sequence[Record]) -> str | None:
    """What is wrong with received records of ``item`` under its specification, or ``None``."""
    specification = pack.specifications.get(item)
    if specification is None:
        return None if not records else "has no data specification"
    fields = {f.name: f for f in specification.fields}
    for record in records:
        for name, value in record.items():
            if name not in fields:
                return f"has an unknown field {name!r}"
            if fault := field_fault(pack, fields[name].term, value):
                return f"field {name!r} {fault}"
        for field in specification.fields:
            if field.required and field.name not in record:
                return f"lacks the field {field.name!r}"
    return None
