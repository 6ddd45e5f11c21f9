"""Reading the body's own database as a data specification asks, by declaration alone.

``mapping.toml``::

    [local-tax]                      # an item of the pack
    table = "tax_assessments"        # a table or view of the source database
    key = "resident_id"              # its column with the local subject id
    order = "year"                   # optional: column to sort records by
    [local-tax.fields]
    tax_year = "year"                # field of the specification = column

Values are checked against the specification's terms on the way out; a row that does not fit is a fault of the source, never sent.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from renkei.errors import SetupError
from renkei.law import Pack
from renkei.law.pack import Specification
from renkei.law.tables import value_fault

Value = str | int | bool
MAX_RECORDS = 500


class ItemMapping(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one item is found in the source database."""

    table: str
    key: str
    fields: dict[str, str]
    order: str = ""


class SourceFault(Exception):
    """The source holds something its specification does not allow; says which field, not which value."""


class Adapter:
    """Answers items from a source database. Only ever reads."""

    def __init__(self, url: str, mappings: Mapping[str, ItemMapping], pack: Pack) -> None:
        self._engine = sa.create_engine(url, pool_size=4, pool_pre_ping=True)
        self._pack = pack
        self._queries: dict[str, tuple[Specification, sa.Select[Any], sa.Column[Any]]] = {}
        tables: dict[str, sa.Table] = {}
        metadata = sa.MetaData()
        for item, mapping in mappings.items():
            specification = pack.specifications.get(item)
            if specification is None:
                raise SetupError(f"The mapping names {item!r}, which has no data specification.", code="mapping")
            try:
                table = tables.setdefault(mapping.table, sa.Table(mapping.table, metadata, autoload_with=self._engine))
            except sa.exc.NoSuchTableError:
                raise SetupError(f"The source database has no table {mapping.table!r}.", code="mapping") from None
            self._queries[item] = self._compile(specification, mapping, table)

    @property
    def items(self) -> list[str]:
        """The items this body can answer."""
        return sorted(self._queries)

    def _compile(
        self, specification: Specification, mapping: ItemMapping, table: sa.Table
    ) -> tuple[Specification, sa.Select[Any], sa.Column[Any]]:
        names = {f.name for f in specification.fields}
        unmapped = [f.name for f in specification.fields if f.required and f.name not in mapping.fields]
        missing = [c for c in [*mapping.fields.values(), mapping.key, mapping.order] if c and c not in table.c]
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
        return specification, query, key

    def look_up(self, item: str, local_ids: Sequence[str]) -> dict[str, list[dict[str, Value]]]:
        """The records of ``item`` for each local id, in the specification's fields. Raises ``SourceFault``."""
        if item not in self._queries:
            return {}
        specification, query, key = self._queries[item]
        found: dict[str, list[dict[str, Value]]] = defaultdict(list)
        with self._engine.connect() as connection:
            for row in connection.execute(query.where(key.in_(list(local_ids)))).mappings():
                records = found[str(row["subject"])]
                if len(records) < MAX_RECORDS:
                    records.append(self._record(specification, row))
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
