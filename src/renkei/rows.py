"""Many rows through one statement: compiled once for each engine, then run on plain tuples.

SQLAlchemy prepares every row of an ``executemany`` with some ten µs of its own, which is most of what storing a leaf costs. A statement
of ours that is run for many rows needs none of that: its parameters are bytes, numbers, texts and truths, which drivers take as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

_Tuple = Callable[[Mapping[str, Any]], tuple[Any, ...]]
_FORMAT: sa.Dialect = psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]


class Rows:
    """``statement`` (an insert, or an update or delete with bind parameters, none of them a list) for many rows."""

    def __init__(self, statement: sa.Insert | sa.Update | sa.Delete) -> None:
        self._statement = statement
        self._made: dict[tuple[str, tuple[str, ...]], tuple[str, _Tuple]] = {}

    def __call__(self, connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it for ``rows``, which all have the same keys; for none, do nothing."""
        if not rows:
            return
        key = connection.dialect.name, tuple(rows[0])
        sql, values = self._made.get(key) or self._make(connection.dialect, key)
        connection.exec_driver_sql(sql, [values(row) for row in rows])

    def _make(self, dialect: sa.Dialect, key: tuple[str, tuple[str, ...]]) -> tuple[str, _Tuple]:
        columns = list(key[1]) if isinstance(self._statement, sa.Insert) else None
        compiled: Any = self._statement.compile(
            dialect=_FORMAT if dialect.name == "postgresql" else dialect, column_keys=columns
        )
        fixed = compiled.params
        names = [(n, n in key[1]) for n in compiled.positiontup]

        def values(row: Mapping[str, Any]) -> tuple[Any, ...]:
            return tuple([row[name] if given else fixed[name] for name, given in names])

        self._made[key] = made = (str(compiled), values)
        return made
