"""Loading a resident roll: CSV in, every bad row reported, and nothing loaded unless every row is good.

Two passes over the file, both streaming: the first checks, the second inserts in one transaction. Memory: the numbers named in the
file (one set), and at most ``MAX_FAULTS`` faults.
"""

from __future__ import annotations

import csv
import datetime as dt
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import randbelow
from typing import IO, NamedTuple

import sqlalchemy as sa

from renkei.authority import store
from renkei.errors import Malformed, RenkeiError
from renkei.institution.database import Database
from renkei.numbers import LocalGovernmentCode, NumberFormat

COLUMNS = ("name", "kana", "birth", "sex", "address", "municipality", "number")
MAX_FAULTS = 10_000
BATCH = 1000
LENGTHS = {"name": 200, "kana": 200, "address": 400}

Progress = Callable[[int, int], None]
"""Told (bytes read, bytes in all) now and then."""


class RowFault(NamedTuple):
    """One thing wrong with one row; the value itself is not repeated."""

    line: int
    column: str
    sentence: str


class RollFaults(RenkeiError):
    """The roll was not loaded; ``faults`` says why, row by row."""

    code = "roll-faults"
    remedy = "Correct every row listed and load the file again; nothing of it was kept."
    remedy_ja = "一覧の行をすべて直してから読み込み直してください。何も保存されていません。"

    def __init__(self, faults: list[RowFault], total: int) -> None:
        super().__init__(f"{total} fault(s) in the roll.", ja=f"名簿に{total}件の誤りがあります。")
        self.faults = faults


def load(
    database: Database,
    path: Path,
    number: type[NumberFormat],
    *,
    today: dt.date,
    below: Callable[[int], int] = randbelow,
    progress: Progress = lambda done, total: None,
) -> int:
    """Load the roll at ``path``; answers how many persons. ``RollFaults`` lists every bad row, and nothing is kept."""
    given = _check(database, path, number, today, progress)

    def insert(connection: sa.Connection) -> int:
        taken = store.issued(connection) | given
        batch: list[dict[str, object]] = []
        loaded = 0
        for _, row in _rows(path, lambda done, total: progress(total + done, 2 * total)):
            chosen = number.parse(row["number"]) if row["number"] else number.issue(taken, below=below)
            taken.add(chosen)
            person = {k: row[k] for k in ("name", "kana", "sex", "address")}
            batch.append(
                {
                    **person,
                    "id": os.urandom(16),
                    "number": chosen,
                    "birth": dt.date.fromisoformat(row["birth"]),
                    "municipality": LocalGovernmentCode.parse(row["municipality"]),
                }
            )
            if len(batch) == BATCH:
                store.add(connection, batch)
                loaded, batch = loaded + len(batch), []
        if batch:
            store.add(connection, batch)
        return loaded + len(batch)

    return database.write_now(insert)


def _check(database: Database, path: Path, number: type[NumberFormat], today: dt.date, progress: Progress) -> set[str]:
    faults: list[RowFault] = []
    total = 0
    given: dict[str, int] = {}

    def fault(line: int, column: str, sentence: str) -> None:
        nonlocal total
        total += 1
        if len(faults) < MAX_FAULTS:
            faults.append(RowFault(line, column, sentence))

    line = 1
    try:
        for line, row in _rows(path, lambda done, size: progress(done, 2 * size)):
            if None in row or None in row.values():
                fault(line, "", f"The row does not have {len(COLUMNS)} cells.")
                continue
            _check_row(line, row, number, today, fault, given)
    except UnicodeDecodeError:
        fault(_undecodable(path), "", "This line is not UTF-8; save the file as UTF-8.")
    except csv.Error:
        fault(line + 1, "", "From this line on it is no CSV: is a quote left open?")
    with database.engine.connect() as connection:
        numbers = list(given)
        for at in range(0, len(numbers), 500):
            for taken in store.issued(connection, numbers[at : at + 500]):
                fault(given[taken], "number", "The number was issued before.")
    if total:
        raise RollFaults(sorted(faults), total)
    return set(given)


def _check_row(
    line: int,
    row: dict[str, str],
    number: type[NumberFormat],
    today: dt.date,
    fault: Callable[[int, str, str], None],
    given: dict[str, int],
) -> None:
    for column, most in LENGTHS.items():
        if not row[column].strip():
            fault(line, column, "The cell is empty.")
        elif len(row[column]) > most or not row[column].isprintable():
            fault(line, column, f"The cell has control characters or more than {most} characters.")
    try:
        birth = dt.date.fromisoformat(row["birth"])
        if not dt.date(1880, 1, 1) <= birth <= today:
            fault(line, "birth", "The date is in the future or before 1880.")
    except ValueError:
        fault(line, "birth", "The date is not written YYYY-MM-DD.")
    if row["sex"] not in ("M", "F"):
        fault(line, "sex", "Sex is M or F.")
    if not LocalGovernmentCode.is_valid(row["municipality"]):
        fault(line, "municipality", "This is not a local-government code.")
    if row["number"]:
        try:
            parsed = number.parse(row["number"])
            if parsed in given:
                fault(line, "number", f"The number already stands on line {given[parsed]}.")
            given[parsed] = line
        except Malformed as error:
            fault(line, "number", error.sentence)


def _rows(path: Path, progress: Progress) -> Iterator[tuple[int, dict[str, str]]]:
    size = path.stat().st_size
    with path.open("r", encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise Malformed(
                f"The roll's header is not {','.join(COLUMNS)}.",
                ja="名簿の見出し行が正しくありません。",
                remedy_ja=f"1行目を {','.join(COLUMNS)} とし、番号を付番する行は number を空にしてください。",
                code="roll-header",
                remedy="Put exactly these column names, in this order, on the first line; leave `number` empty to have one issued.",
            )
        for count, row in enumerate(reader):
            if count % 2000 == 0:
                progress(min(_position(file), size), size)
            yield reader.line_num, row
    progress(size, size)


def _undecodable(path: Path) -> int:
    """The first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def _position(file: IO[str]) -> int:
    return file.buffer.tell()  # type: ignore[attr-defined, no-any-return]  # bytes, a buffer ahead at most
