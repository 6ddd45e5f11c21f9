"""Whether a table may be opened to everybody: direct identifiers, small groups, small counts.

The table stands in a DuckDB connection as ``data``, all of it text. What is found names columns and counts, never a value.

Three kinds are told apart. *reference*: facts about things (facilities, corporations). *microdata*: a row a person or household; the
columns by which somebody might be recognised (``group``) must leave nobody in a group of fewer than k, and a group whose members all have
the same in a ``sensitive`` column tells that of each. *aggregate*: counts of persons; a count below k (but 0) is as good as a name to
neighbours. k is the pack's (``small_count``).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import duckdb
import msgspec

from renkei.law.tables import Title
from renkei.numbers import FORMATS

MAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+"
CANDIDATES = 20_000
"""Distinct numbers that are tried for being somebody's."""


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A column of a published table."""

    name: str
    ja: str
    en: str
    type: Literal["text", "integer", "number", "date"] = "text"
    role: Literal["", "group", "count", "sensitive", "longitude", "latitude"] = ""
    term: str = ""
    """The vocabulary's term for it."""

    @property
    def title(self) -> Title:
        return Title(self.ja, self.en)


Weight = Literal["refused", "warning"]


class Finding(NamedTuple):
    """Something about the table: ``refused`` keeps it from being published, a ``warning`` is shown with it."""

    weight: Weight
    code: str
    column: str
    cases: int
    said: Title
    remedy: Title


def quoted(name: str) -> str:
    """A name of a column, for SQL."""
    return '"' + name.replace('"', '""') + '"'


def identifiers(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    columns: Sequence[Column],
    identifying: frozenset[str],
    person_number: str,
) -> list[Finding]:
    """Columns that say who somebody is: by their term, or because their values are numbers of persons or addresses of mail."""
    found = []
    for column in columns:
        if column.term in identifying and kind != "reference":
            said = Title("個人を特定する用語の列です。", "Its term says who somebody is.")
            found.append(Finding("refused", "identifying-term", column.name, 0, said, LEAVE_OUT))
        if column.type != "text":
            continue
        name, number = quoted(column.name), FORMATS[person_number]
        digits = rf"(?:^|[^0-9])([0-9](?:[ -]?[0-9]){{{number.length - 1}}})(?:[^0-9]|$)"
        rows = connection.execute(
            f"SELECT DISTINCT regexp_extract({name}, ?, 1) FROM data WHERE regexp_matches({name}, ?) LIMIT {CANDIDATES}",
            [digits, digits],
        ).fetchall()
        if valid := sum(number.is_valid(text) for (text,) in rows):
            # by chance one number in ten or so has the right check digit; where most have, they are numbers of persons
            said = Title("個人番号とみられる値があります。", "It holds what look like numbers of persons.")
            weight: Weight = "refused" if valid > len(rows) / 2 else "warning"
            found.append(Finding(weight, "person-number", column.name, valid, said, LEAVE_OUT))
        mails = _count(connection, f"SELECT count(*) FROM data WHERE regexp_matches({name}, ?)", MAIL)
        if mails:
            said = Title("メールアドレスがあります。", "It holds addresses of mail.")
            weight = "warning" if kind == "reference" else "refused"
            found.append(Finding(weight, "mail", column.name, mails, said, LEAVE_OUT))
    return found


def small_groups(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], k: int) -> list[Finding]:
    """Of microdata: rows in groups of fewer than ``k``, which column to coarsen first, and groups that give a sensitive value away."""
    groups = [c for c in columns if c.role == "group"]
    if not groups:
        said = Title(
            "個人が推測されうる列（group）の指定がありません。",
            "No column is named by which somebody might be recognised.",
        )
        return [Finding("refused", "no-groups", "", 0, said, NAME_THEM)]
    found = []
    if few := _in_small_groups(connection, groups, k):
        helps = {c: _in_small_groups(connection, [g for g in groups if g is not c], k) for c in groups}
        best = min(helps, key=lambda c: helps[c])
        said = Title(f"{k}人未満の組に入る行が{few}件あります。", f"{few} rows are in groups of fewer than {k}.")
        remedy = Title(
            f"区分を粗くしてください。「{best.ja}」を除くと{helps[best]}件になります。",
            f"Coarsen a column: without {best.en!r} there would be {helps[best]}.",
        )
        found.append(Finding("refused", "small-groups", best.name, few, said, remedy))
    by = ", ".join(quoted(g.name) for g in groups)
    for column in (c for c in columns if c.role == "sensitive"):
        name = quoted(column.name)
        same = _count(
            connection, f"SELECT count(*) FROM (SELECT 1 FROM data GROUP BY {by} HAVING count(DISTINCT {name}) = 1)"
        )
        if same:
            said = Title(
                f"全員が同じ値の組が{same}あり、その人の値が分かります。",
                f"In {same} groups all have the same, which tells it of each.",
            )
            found.append(Finding("warning", "same-in-group", column.name, same, said, COARSER))
    unique = _count(
        connection, f"SELECT count(*) FROM (SELECT 1 FROM data GROUP BY {_all(columns)} HAVING count(*) = 1)"
    )
    if unique:
        said = Title(
            f"全列で見ると一件しかない行が{unique}件あります。",
            f"{unique} rows are the only ones of their kind.",
        )
        found.append(Finding("warning", "unique-rows", "", unique, said, COARSER))
    return found


def small_counts(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], k: int) -> list[Finding]:
    """Of aggregates: counts of persons from 1 to ``k`` − 1."""
    found = []
    for column in (c for c in columns if c.role == "count"):
        if few := _count(connection, f"SELECT count(*) FROM data WHERE {_is_small(column, k)}"):
            said = Title(f"{k}未満の人数が{few}か所あります。", f"{few} counts of persons are below {k}.")
            remedy = Title(
                "区分をまとめるか、--suppress で秘匿してください。",
                "Put categories together, or publish with --suppress.",
            )
            found.append(Finding("refused", "small-counts", column.name, few, said, remedy))
    return found


def suppress(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], k: int) -> int:
    """Blank small counts, and with each that would stand alone among its neighbours the smallest of these, so that no difference to a
    total gives it back; how many were blanked. Ends because every step blanks something."""
    groups, blanked = [c for c in columns if c.role == "group"], 0
    for column in (c for c in columns if c.role == "count"):
        name = quoted(column.name)
        few = _count(connection, f"SELECT count(*) FROM data WHERE {_is_small(column, k)}")
        connection.execute("ALTER TABLE data ADD COLUMN blank BOOLEAN DEFAULT false")
        connection.execute(f"UPDATE data SET blank = true WHERE {_is_small(column, k)}")
        more = True
        while few and more:
            more = False
            for others in combinations(groups, max(0, len(groups) - 1)):
                by = ", ".join(quoted(g.name) for g in others) or "1"
                same = (
                    " AND ".join(f"d.{quoted(g.name)} IS NOT DISTINCT FROM a.{quoted(g.name)}" for g in others)
                    or "true"
                )
                keys = ", ".join(quoted(g.name) for g in others) + ("," if others else "")
                alone = f"SELECT {keys} 1 AS one FROM data GROUP BY {by} HAVING count(*) FILTER (blank) = 1 AND count(*) > 1"
                each = ", ".join(f"a.{quoted(g.name)}" for g in others) or "true"
                number = f"TRY_CAST(d.{name} AS BIGINT)"
                query = f"SELECT min_by(d.rowid, {number}) FROM data d, ({alone}) a"
                query += f" WHERE {same} AND NOT d.blank AND {number} > 0 GROUP BY {each}"
                rows = connection.execute(query).fetchall()
                for (row,) in rows:
                    connection.execute("UPDATE data SET blank = true WHERE rowid = ?", [row])
                    more = True
        blanked += _count(connection, "SELECT count(*) FROM data WHERE blank")
        connection.execute(f"UPDATE data SET {name} = NULL WHERE blank")
        connection.execute("ALTER TABLE data DROP COLUMN blank")
    return blanked


def _in_small_groups(connection: duckdb.DuckDBPyConnection, groups: Sequence[Column], k: int) -> int:
    if not groups:
        return 0
    by = ", ".join(quoted(g.name) for g in groups)
    return _count(
        connection, f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM data GROUP BY {by}) WHERE n < ?", k
    )


def _is_small(column: Column, k: int) -> str:
    return f"TRY_CAST({quoted(column.name)} AS BIGINT) BETWEEN 1 AND {k - 1}"


def _all(columns: Sequence[Column]) -> str:
    return ", ".join(quoted(c.name) for c in columns)


def _count(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> int:
    row = connection.execute(query, list(values)).fetchone()
    return int(row[0]) if row else 0


NAME_THEM = Title('該当する列に role = "group" を付けてください。', 'Give these columns role = "group".')
LEAVE_OUT = Title("この列を除いてください。", "Leave the column out.")
COARSER = Title("区分を粗くすることを検討してください。", "Consider coarser categories.")
