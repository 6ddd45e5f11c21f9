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
MANY = 50
"""So many numbers that, were they not persons', at most one in four would have the right check digit."""
BETWEEN = "[ \u3000\u2010-\u2015\u2212\u30fb\u30fc-]{0,2}"
"""What may stand between two digits of a number: a space or stroke of any width (each was doubled)."""
WIDE = "０１２３４５６７８９＠．－"
NARROW = "0123456789@.-"
SUMS_MOST = 8
"""Columns of counts of which every sum is tried; of more, each is taken for one."""


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


PLACES = ("longitude", "latitude")
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
        if column.type == "date" or column.role in PLACES:
            continue
        name, number = f"translate({quoted(column.name)}, '{WIDE}', '{NARROW}')", FORMATS[person_number]
        apart = f"regexp_replace({name}, '([^0-9])', '\\1\\1', 'g')"  # so that what ends a number can begin the next
        digits = rf"(?:^|[^0-9])([0-9](?:{BETWEEN}[0-9]){{{number.length - 1}}})(?:[^0-9]|$)"
        rows = connection.execute(
            f"SELECT DISTINCT unnest(regexp_extract_all({apart}, ?, 1)) FROM data WHERE regexp_matches({apart}, ?) LIMIT {CANDIDATES}",
            [digits, digits],
        ).fetchall()
        if valid := sum(number.is_valid("".join(filter(str.isdigit, text))) for (text,) in rows):
            # by chance one number in ten or so has the right check digit; where more have, there are numbers of persons among them
            said = Title("個人番号とみられる値があります。", "It holds what look like numbers of persons.")
            most = valid > len(rows) / (2 if len(rows) < MANY else 4)
            weight: Weight = "refused" if most else "warning"
            found.append(Finding(weight, "person-number", column.name, valid, said, LEAVE_OUT))
        mails = _count(connection, f"SELECT count(*) FROM data WHERE regexp_matches({name}, ?)", MAIL)
        if mails:
            said = Title("メールアドレスがあります。", "It holds addresses of mail.")
            weight = "warning" if kind == "reference" else "refused"
            found.append(Finding(weight, "mail", column.name, mails, said, LEAVE_OUT))
    return found


def small_groups(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], k: int) -> list[Finding]:
    """Of microdata: rows in groups of fewer than ``k``, which column to coarsen first, and groups that give a sensitive value away."""
    groups = [c for c in columns if c.role in ("group", *PLACES)]
    if not groups:
        said = Title(
            "個人が推測されうる列（group）の指定がありません。",
            "No column is named by which somebody might be recognised.",
        )
        return [Finding("refused", "no-groups", "", 0, said, NAME_THEM)]
    found = [Finding("refused", "no-role", c.name, 0, NO_ROLE, SAY_ROLE) for c in columns if not c.role]
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
    """Of aggregates: counts of persons from 1 to ``k`` − 1, and columns by which such counts would pass unseen."""
    counts = [c for c in columns if c.role == "count"]
    found = [] if counts else [Finding("refused", "no-counts", "", 0, NO_COUNTS, NAME_COUNTS)]
    found += [
        Finding("refused", "no-role", c.name, 0, NO_ROLE_COUNT, SAY_COUNT)
        for c in columns
        if c.type == "integer" and not c.role
    ]
    found += [
        Finding("refused", "count-type", c.name, 0, NO_INTEGER, MAKE_INTEGER) for c in counts if c.type != "integer"
    ]
    for column in counts:
        if few := _count(connection, f"SELECT count(*) FROM data WHERE {_is_small(column, k)}"):
            said = Title(f"{k}未満の人数が{few}か所あります。", f"{few} counts of persons are below {k}.")
            remedy = Title(
                "区分をまとめるか、--suppress で秘匿してください。",
                "Put categories together, or publish with --suppress.",
            )
            found.append(Finding("refused", "small-counts", column.name, few, said, remedy))
        if below := _count(connection, f"SELECT count(*) FROM data WHERE {_number(column)} < 0"):
            said = Title(f"負の人数が{below}か所あります。", f"{below} counts of persons are below nothing.")
            found.append(Finding("refused", "negative-counts", column.name, below, said, CORRECT))
    return found


def suppress(connection: duckdb.DuckDBPyConnection, columns: Sequence[Column], k: int) -> int:
    """Blank small counts, and with them the smallest of their neighbours until what is blank in a line (along each group, and along
    columns of which one is the sum of others) is at least two counts and at least ``k`` persons: so no difference to a total gives any
    of them back. How many were blanked. Ends because every step blanks something."""
    counts = [c for c in columns if c.role == "count"]
    groups = [c for c in columns if c.role == "group"]
    sums = _sums(connection, counts)
    for n, column in enumerate(counts):
        connection.execute(f"ALTER TABLE data ADD COLUMN {_blank(n)} BOOLEAN DEFAULT false")
        connection.execute(f"UPDATE data SET {_blank(n)} = true WHERE {_is_small(column, k)}")
    more = True
    while more:
        along = [_along(connection, groups, column, _blank(n), k) for n, column in enumerate(counts)]
        across = [_across(connection, {n: counts[n] for n in together}, k) for together in sums]
        more = any(along) or any(across)
    blanked = 0
    for n, column in enumerate(counts):
        blanked += _count(connection, f"SELECT count(*) FROM data WHERE {_blank(n)}")
        connection.execute(f"UPDATE data SET {quoted(column.name)} = NULL WHERE {_blank(n)}")
        connection.execute(f"ALTER TABLE data DROP COLUMN {_blank(n)}")
    return blanked


def _blank(n: int) -> str:
    return f"blank_{n}_"


def _along(connection: duckdb.DuckDBPyConnection, groups: Sequence[Column], column: Column, blank: str, k: int) -> bool:
    """Blank one more in each line of the table that gives a blank away; whether there was any."""
    more, number = False, f"TRY_CAST(d.{quoted(column.name)} AS BIGINT)"
    for others in combinations(groups, max(0, len(groups) - 1)):
        names = [quoted(g.name) for g in others]
        by, keys = ", ".join(names) or "1", "".join(f"{n}, " for n in names)
        same = " AND ".join(f"d.{n} IS NOT DISTINCT FROM a.{n}" for n in names) or "true"
        given = f"count(*) FILTER ({blank}) = 1 OR sum({_number(column)}) FILTER ({blank}) < {k}"
        lines = f"SELECT {keys}1 AS one FROM data GROUP BY {by} HAVING count(*) > 1 AND bool_or({blank}) AND ({given})"
        each = ", ".join(f"a.{n}" for n in names) or "true"
        query = f"SELECT min_by(d.rowid, {number}) FROM data d, ({lines}) a"
        query += f" WHERE {same} AND NOT d.{blank} AND {number} > 0 GROUP BY {each}"
        for row in connection.execute(query).fetchall():
            connection.execute(f"UPDATE data SET {blank} = true WHERE rowid = ?", row)
            more = True
    return more


def _across(connection: duckdb.DuckDBPyConnection, together: dict[int, Column], k: int) -> bool:
    """The same in each row, along columns that add up."""
    blanks = " + ".join(f"{_blank(n)}::INTEGER" for n in together)
    hidden = " + ".join(f"CASE WHEN {_blank(n)} THEN {_number(c)} ELSE 0 END" for n, c in together.items())
    shown = {n: f"CASE WHEN NOT {_blank(n)} AND {_number(c)} > 0 THEN {_number(c)} END" for n, c in together.items()}
    more = False
    for n in together:
        least = f"{shown[n]} = least({', '.join(shown.values())})"
        where = f"({blanks} = 1 OR ({blanks} > 1 AND {hidden} < {k})) AND {least}"
        more |= bool(_count(connection, f"UPDATE data SET {_blank(n)} = true WHERE {where}"))
    return more


def _sums(connection: duckdb.DuckDBPyConnection, counts: Sequence[Column]) -> list[tuple[int, ...]]:
    """Which columns (by place) belong together because, in every row, one of them is the sum of the others."""
    places = range(len(counts))
    if len(counts) > SUMS_MOST:
        return [tuple(places)]
    tried = [
        (t, p)
        for t in places
        for size in range(1, len(counts))
        for p in combinations([n for n in places if n != t], size)
    ]
    if not tried:
        return []
    sums = [" + ".join(_number(counts[n]) for n in parts) for _, parts in tried]
    each = (
        f"bool_and({_number(counts[t])} = {s})" for (t, _), s in zip(tried, sums, strict=True)
    )  # nothing if any is unknown
    held = connection.execute(f"SELECT {', '.join(each)} FROM data").fetchone() or ()
    return sorted({tuple(sorted((t, *parts))) for (t, parts), holds in zip(tried, held, strict=True) if holds})


def _in_small_groups(connection: duckdb.DuckDBPyConnection, groups: Sequence[Column], k: int) -> int:
    if not groups:
        return 0
    by = ", ".join(quoted(g.name) for g in groups)
    return _count(
        connection, f"SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM data GROUP BY {by}) WHERE n < ?", k
    )


def _number(column: Column) -> str:
    return f"TRY_CAST({quoted(column.name)} AS BIGINT)"


def _is_small(column: Column, k: int) -> str:
    return f"{_number(column)} BETWEEN 1 AND {k - 1}"


def _all(columns: Sequence[Column]) -> str:
    return ", ".join(quoted(c.name) for c in columns)


def _count(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> int:
    row = connection.execute(query, list(values)).fetchone()
    return int(row[0]) if row else 0


NO_ROLE = Title("役割（role）の指定がありません。", "It has no role.")
SAY_ROLE = Title(
    '個人が推測されうる列は role = "group"、その人についての値は role = "sensitive" としてください。',
    'Write role = "group" if somebody might be recognised by it, role = "sensitive" if it says something about them.',
)
NO_COUNTS = Title("人数の列（count）の指定がありません。", "No column is named that counts persons.")
NAME_COUNTS = Title('人数の列に role = "count" を付けてください。', 'Give the counts role = "count".')
NO_ROLE_COUNT = Title("整数の列に役割（role）の指定がありません。", "It holds whole numbers and has no role.")
SAY_COUNT = Title(
    '人数なら role = "count"、区分なら role = "group" としてください。',
    'Write role = "count" if it counts persons, role = "group" if it is a category.',
)
NO_INTEGER = Title("人数の列が整数ではありません。", "It counts persons and is not of whole numbers.")
MAKE_INTEGER = Title('type = "integer" としてください。', 'Write type = "integer".')
CORRECT = Title("値を直してください。", "Correct them.")
NAME_THEM = Title('該当する列に role = "group" を付けてください。', 'Give these columns role = "group".')
LEAVE_OUT = Title("この列を除いてください。", "Leave the column out.")
COARSER = Title("区分を粗くすることを検討してください。", "Consider coarser categories.")
