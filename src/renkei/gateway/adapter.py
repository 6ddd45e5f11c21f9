"""Reading the body's own database as a data specification asks, by declaration alone.

``mapping.toml``::

    [local-tax]                      # an item of the pack
    table = "tax_assessments"        # a table or view of the source database
    key = "resident_id"              # its column with the local subject id
    order = "year"                   # optional: column to sort records by
    since = "valid_from"             # optional, together: the first and the last day for which a row says something,
    until = "valid_to"               # so that inquiries *as of* a day can be answered (NULL: no bound)
    [local-tax.fields]
    tax_year = "year"                # field of the specification = column

Values are checked against the specification's terms on the way out; a row that does not fit is a fault of the source, never sent.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.errors import SetupError
from renkei.law import Pack
from renkei.law.tables import value_fault
from renkei.law.vocabulary import Specification

Value = str | int | bool
MAX_RECORDS = 500


class ItemMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one item is found in the source database."""

    table: str
    key: str
    fields: dict[str, str]
    order: str = ""
    since: str = ""
    until: str = ""


class SourceFault(Exception):
    """The source cannot answer now, by ``reason``; says which field, never which value.

    ``source-fault``: it holds what its specification does not allow · ``source-unavailable``: it does not respond ·
    ``as-of``: it cannot say what held on an earlier day.
    """

    def __init__(self, sentence: str, reason: str = "source-fault") -> None:
        super().__init__(sentence)
        self.reason = reason


class Source(NamedTuple):
    """How one item is read: its specification, the query, the column of local ids, the columns of validity if there are any."""

    specification: Specification
    query: sa.Select[Any]
    key: sa.Column[Any]
    span: tuple[sa.Column[Any], sa.Column[Any]] | None


def _on(query: sa.Select[Any], source: Source, day: dt.date) -> sa.Select[Any]:
    if source.span is None:
        raise SourceFault(f"{source.specification.item} keeps no earlier states", "as-of")
    since, until = source.span
    on: Any = day if isinstance(since.type, sa.Date | sa.DateTime) else day.isoformat()
    return query.where(sa.or_(since.is_(None), since <= on), sa.or_(until.is_(None), until >= on))


class Adapter:
    """Answers items from a source database. Only ever reads."""

    def __init__(self, url: str, mappings: Mapping[str, ItemMapping], pack: Callable[[], Pack]) -> None:
        """``pack`` answers the law in force. ``SetupError`` if the mapping does not fit; a source that is away is waited for."""
        self._engine = sa.create_engine(url, pool_size=4, pool_pre_ping=True)
        self._mappings, self._pack_now = mappings, pack
        self._pack = pack()
        self._lock = threading.Lock()
        self._sources: dict[str, Source] = {}
        with contextlib.suppress(sa.exc.OperationalError):
            for item in mappings:
                self._source(item)

    @property
    def items(self) -> list[str]:
        """The items this body can answer."""
        return sorted(self._mappings)

    def _source(self, item: str) -> Source:
        """How ``item`` is read under the law in force; looked up in the database once."""
        with self._lock:
            if self._pack is not (pack := self._pack_now()):
                self._pack, self._sources = pack, {}
            if item not in self._sources:
                mapping, specification = self._mappings[item], self._pack.specifications.get(item)
                if specification is None:
                    raise SetupError(f"The mapping names {item!r}, which has no data specification.", code="mapping")
                try:
                    table = sa.Table(mapping.table, sa.MetaData(), autoload_with=self._engine)
                except sa.exc.NoSuchTableError:
                    raise SetupError(f"The source database has no table {mapping.table!r}.", code="mapping") from None
                self._sources[item] = self._compile(specification, mapping, table)
            return self._sources[item]

    def _compile(self, specification: Specification, mapping: ItemMapping, table: sa.Table) -> Source:
        names = {f.name for f in specification.fields}
        unmapped = [f.name for f in specification.fields if f.required and f.name not in mapping.fields]
        columns_named = [*mapping.fields.values(), mapping.key, mapping.order, mapping.since, mapping.until]
        missing = [c for c in columns_named if c and c not in table.c]
        unknown = [n for n in mapping.fields if n not in names]
        for wrong, sentence in (
            (unmapped, "required fields are not mapped"),
            (missing, f"the table {mapping.table!r} lacks columns"),
            (unknown, "the specification lacks fields"),
        ):
            if wrong:
                raise SetupError(f"Mapping of {specification.item!r}: {sentence}: {', '.join(wrong)}.", code="mapping")
        key = table.c[mapping.key]
        columns = [table.c[column].label(f"f_{field}") for field, column in mapping.fields.items()]
        query = sa.select(key.label("subject"), *columns)
        if mapping.order:
            query = query.order_by(table.c[mapping.order])
        span = (table.c[mapping.since], table.c[mapping.until]) if mapping.since and mapping.until else None
        return Source(specification, query, key, span)

    def look_up(self, item: str, as_of: str, local_ids: Sequence[str]) -> dict[str, list[dict[str, Value]]]:
        """The records of ``item`` for each local id, in the specification's fields, as of a day (empty: all). Raises ``SourceFault``."""
        if item not in self._mappings:
            return {}
        try:
            source = self._source(item)
        except (sa.exc.SQLAlchemyError, SetupError) as error:
            raise SourceFault(type(error).__name__, "source-unavailable") from error
        query = source.query.where(source.key.in_(list(local_ids)))
        if as_of:
            query = _on(query, source, dt.date.fromisoformat(as_of))
        found: dict[str, list[dict[str, Value]]] = defaultdict(list)
        try:
            with self._engine.connect() as connection:
                for row in connection.execute(query).mappings():
                    records = found[str(row["subject"])]
                    if len(records) < MAX_RECORDS:
                        records.append(self._record(source.specification, row))
        except sa.exc.SQLAlchemyError as error:
            raise SourceFault(type(error).__name__, "source-unavailable") from error
        return found

    def _record(self, specification: Specification, row: Mapping[Any, Any]) -> dict[str, Value]:
        record: dict[str, Value] = {}
        for field in specification.fields:
            raw = row.get(f"f_{field.name}")
            if raw is None:
                if field.required:
                    raise SourceFault(f"{specification.item}.{field.name} is empty")
                continue
            record[field.name] = plain(raw)
            if fault := field_fault(self._pack, field.term, record[field.name]):
                raise SourceFault(f"{specification.item}.{field.name} {fault}")
        return record

    def close(self) -> None:
        self._engine.dispose()


def plain(raw: Any) -> Value:
    """A database value as it travels: text, whole number or truth value; dates in ISO 8601."""
    if isinstance(raw, bool | int | str):
        return raw
    if isinstance(raw, dt.datetime):
        return raw.date().isoformat()
    if isinstance(raw, dt.date):
        return raw.isoformat()
    return str(raw)


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


def content_fault(pack: Pack, item: str, records: Sequence[Mapping[str, Value]]) -> str | None:
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
