"""The register of corporations (法人番号公表サイト): who has which Corporate Number, by number and by name, now and before.

The file is the national one: CSV without a header, thirty columns a line (``COLUMNS``), UTF-8 or cp932. ``load`` takes the whole register,
``apply`` the changes of a day; either whole or not at all. Names are compared without their legal form, width, case, spaces and old forms
of characters (the pack's ``hints/names.csv``): exact ones first, then those that begin with what is asked, then those that hold it.

Numbers of corporations are public, unlike those of persons: they may stand in addresses and logs.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from renkei.catalogue.search import match, pairs
from renkei.errors import Malformed
from renkei.institution.settings import sync
from renkei.numbers import CorporateNumber

COLUMNS = (
    "sequenceNumber", "corporateNumber", "process", "correct", "updateDate", "changeDate", "name", "nameImageId", "kind",
    "prefectureName", "cityName", "streetNumber", "addressImageId", "prefectureCode", "cityCode", "postCode", "addressOutside",
    "addressOutsideImageId", "closeDate", "closeCause", "successorCorporateNumber", "changeCause", "assignmentDate", "latest",
    "enName", "enPrefectureName", "enCityName", "enAddressOutside", "furigana", "hihyoji",
)  # fmt: skip
"""The register's own names of its columns, as its interface has them."""
AT = {name: place for place, name in enumerate(COLUMNS)}
DELETED = "99"
"""``process`` of a line that takes an entry away."""
TOGETHER = 20_000
COUNTED = 10_000
"""Matches are counted up to this: beyond it nobody reads on, and the count would cost more than the page."""
PAGE_MOST = 2_000
QUERY_SECONDS = 3.0
STEPS = 20_000
"""Of SQLite's machine, after which it is looked at the clock."""
NAMES = "hints/names.csv"
TABLES = """
CREATE TABLE entries(id INTEGER PRIMARY KEY, number TEXT NOT NULL, latest INTEGER NOT NULL, changed TEXT NOT NULL,
  updated TEXT NOT NULL, plain TEXT NOT NULL, english TEXT NOT NULL, place TEXT NOT NULL, kind TEXT NOT NULL, closed INTEGER NOT NULL,
  line TEXT NOT NULL);
CREATE VIRTUAL TABLE texts USING fts5(pairs, content='', columnsize=0, detail=full);
CREATE TABLE about(updated TEXT NOT NULL, lines INTEGER NOT NULL);
"""
INDEXES = """
CREATE INDEX by_number ON entries(number, changed);
CREATE INDEX by_update ON entries(updated);
CREATE INDEX by_name ON entries(plain) WHERE latest;
CREATE INDEX by_english ON entries(english) WHERE latest AND english <> '';
"""


class Entry(NamedTuple):
    """One line of the register, by column."""

    values: tuple[str, ...]

    def __getattr__(self, name: str) -> str:
        try:
            return self.values[AT[name]]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def address(self) -> str:
        """Where it is, in Japan or abroad."""
        return self.addressOutside or f"{self.prefectureName}{self.cityName}{self.streetNumber}"


class Found(NamedTuple):
    """A page of entries, how many there are (``COUNTED`` stands for that many or more), and the day of the register."""

    entries: list[Entry]
    total: int
    updated: str


class Names:
    """How names of corporations are compared."""

    def __init__(self, forms: Sequence[str] = (), variants: str = "", plain: str = "") -> None:
        self._forms = sorted((self._folded(f) for f in forms), key=len, reverse=True)
        self._variants = str.maketrans(variants, plain)

    @classmethod
    def read(cls, pack_folder: Path) -> Names:
        """Those of a pack's folder: words with an empty ``means`` are legal forms, single characters are variants."""
        path = pack_folder / NAMES
        if not path.is_file():
            return cls()
        with path.open(encoding="utf-8", newline="") as file:
            rows = [(r["word"], r["means"]) for r in csv.DictReader(file)]
        single = [(w, m) for w, m in rows if m]
        return cls([w for w, m in rows if not m], "".join(w for w, _ in single), "".join(m for _, m in single))

    @staticmethod
    def _folded(name: str) -> str:
        return "".join(c for c in unicodedata.normalize("NFKC", name).casefold() if c.isalnum())

    def plain(self, name: str) -> str:
        """The name without what people leave out or write otherwise."""
        text = self._folded(name).translate(self._variants)
        for form in self._forms:
            if text.startswith(form) and len(text) > len(form):
                return text[len(form) :]
            if text.endswith(form) and len(text) > len(form):
                return text[: -len(form)]
        return text


class Corporations:
    """The register in one file. Read by many threads."""

    def __init__(self, path: Path, names: Names) -> None:
        self.path, self._names = path, names
        self._local = threading.local()

    # ------------------------------------------------------------------ loading

    def load(self, file: Path, progress: Callable[[int, int], None] = lambda a, b: None) -> int:
        """The whole register from a file, in place of what there is; how many entries. ``Malformed`` names the line."""
        building = self.path.with_suffix(".building")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        building.unlink(missing_ok=True)
        try:
            connection = sqlite3.connect(building, isolation_level=None)
            connection.executescript(
                f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-200000; BEGIN;{TABLES}"
            )
            count = self._insert(connection, read(file, progress))
            connection.executescript(INDEXES)
            connection.close()
            sync(building)
            building.replace(self.path)
            sync(self.path.parent)
            return count
        finally:
            building.unlink(missing_ok=True)

    def apply(self, file: Path) -> int:
        """The changes of some days: each line is the newest state of an entry, or takes it away. All of them, or none."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            count = 0
            for values in read(file, lambda a, b: None):
                self._supersede(connection, values)
                count += 1 if values[AT["process"]] == DELETED else self._insert(connection, iter([values]))
            connection.execute("COMMIT")
            return count
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        finally:
            connection.close()

    def _insert(self, connection: sqlite3.Connection, lines: Iterator[tuple[str, ...]]) -> int:
        (first,) = connection.execute("SELECT coalesce(max(id), 0) FROM entries").fetchone()
        count, newest = 0, ""
        rows: list[tuple[object, ...]] = []
        texts: list[tuple[int, str]] = []
        for values in lines:
            count += 1
            plain, english = self._names.plain(values[AT["name"]]), self._names.plain(values[AT["enName"]])
            latest = values[AT["latest"]] == "1"
            rows.append((
                first + count, values[AT["corporateNumber"]], latest, values[AT["changeDate"]], values[AT["updateDate"]], plain, english,
                values[AT["prefectureCode"]] + values[AT["cityCode"]], values[AT["kind"]], bool(values[AT["closeDate"]]),
                json.dumps(values, ensure_ascii=False, separators=(",", ":")),
            ))  # fmt: skip
            newest = max(newest, values[AT["updateDate"]])
            if latest:
                texts.append((first + count, self._text(values)))
            if len(rows) == TOGETHER:
                self._put(connection, rows, texts)
        self._put(connection, rows, texts)
        connection.execute("INSERT INTO about VALUES (?, ?)", [newest, count])
        return count

    @staticmethod
    def _put(connection: sqlite3.Connection, rows: list[tuple[object, ...]], texts: list[tuple[int, str]]) -> None:
        connection.executemany("INSERT INTO entries VALUES (?,?,?,?,?,?,?,?,?,?,?)", rows)
        connection.executemany("INSERT INTO texts(rowid, pairs) VALUES (?, ?)", texts)
        rows.clear()
        texts.clear()

    def _text(self, values: Sequence[str]) -> str:
        """What of an entry is searched: its name, its reading, its name in Latin letters."""
        return pairs(
            " ".join(self._names.plain(values[AT[c]]) for c in ("name", "furigana", "enName") if values[AT[c]])
        )

    def _supersede(self, connection: sqlite3.Connection, values: Sequence[str]) -> None:
        """The entries of this number are history now; those with the same day are replaced."""
        number, changed = values[AT["corporateNumber"]], values[AT["changeDate"]]
        for id_, latest, day, line in connection.execute(
            "SELECT id, latest, changed, line FROM entries WHERE number = ?", [number]
        ).fetchall():
            if latest:
                connection.execute(
                    "INSERT INTO texts(texts, rowid, pairs) VALUES ('delete', ?, ?)",
                    [id_, self._text(json.loads(line))],
                )
                connection.execute("UPDATE entries SET latest = 0 WHERE id = ?", [id_])
            if day == changed or values[AT["process"]] == DELETED:
                connection.execute("DELETE FROM entries WHERE id = ?", [id_])

    # ------------------------------------------------------------------ reading

    def _open(self) -> sqlite3.Connection | None:
        """This thread's connection to the register in use; ``None`` while there is none."""
        try:
            inode = self.path.stat().st_ino
        except FileNotFoundError:
            return None
        if getattr(self._local, "inode", None) != inode:
            self._local.connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, check_same_thread=False)
            self._local.inode = inode
        connection: sqlite3.Connection = self._local.connection
        return connection

    def by_number(self, numbers: Sequence[str], *, history: bool = False) -> Found:
        """The entries of these numbers, newest first; without ``history`` only what holds now. ``Malformed`` if one is no number."""
        numbers = [CorporateNumber.parse(n) for n in numbers]
        connection = self._open()
        if connection is None:
            return Found([], 0, "")
        marks = ",".join("?" * len(numbers))
        only = "" if history else " AND latest"
        rows = connection.execute(
            f"SELECT line FROM entries WHERE number IN ({marks}){only} ORDER BY number, changed DESC, id DESC",
            numbers,
        ).fetchall()
        found = [Entry(tuple(json.loads(line))) for (line,) in rows]
        return Found(found, len(found), self._updated(connection))

    @contextlib.contextmanager
    def _in_time(self, connection: sqlite3.Connection) -> Iterator[None]:
        """``Malformed`` if a question takes longer than ``QUERY_SECONDS``: anybody may ask, and whoever asks for all holds up the rest."""
        until = time.monotonic() + QUERY_SECONDS
        connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            raise Malformed(
                "That takes too long.", ja="時間がかかりすぎます。", code="too-long", remedy="Narrow it down.",
                remedy_ja="条件を絞ってください。",
            ) from None  # fmt: skip
        finally:
            connection.set_progress_handler(None, STEPS)

    def by_name(
        self,
        name: str,
        *,
        part: bool = True,
        english: bool = False,
        place: str = "",
        kinds: Sequence[str] = (),
        closed: bool = True,
        limit: int = 50,
        offset: int = 0,
    ) -> Found:
        """Entries whose name is, begins with, or (``part``) holds ``name``, in this order.

        ``place``: code of a prefecture or city. Cost follows the rarest pair of characters, never the size of the register.
        """
        connection, plain = self._open(), self._names.plain(name)
        if connection is None or not plain:
            return Found([], 0, self._updated(connection) if connection else "")
        conditions, values = ["latest"], []
        if place:
            conditions.append("place GLOB ?")
            values.append(place + "*")
        if kinds:
            conditions.append(f"kind IN ({','.join('?' * len(kinds))})")
            values += list(kinds)
        if not closed:
            conditions.append("NOT closed")
        more = " AND ".join(conditions)
        column = "english" if english else "plain"
        with self._in_time(connection):
            beginning = f"SELECT id, {column} <> ? AS later FROM entries WHERE {column} >= ? AND {column} < ? AND {more} LIMIT ?"
            ids = connection.execute(beginning, [plain, plain, plain + "\U0010ffff", *values, COUNTED]).fetchall()
            ranked = [id_ for id_, _ in sorted(ids, key=lambda one: (one[1], one[0]))]
            if part and len(ranked) < COUNTED:
                within = "SELECT rowid FROM texts WHERE texts MATCH ? LIMIT ?"  # only what holds now is there
                if values or not closed:
                    within = f"SELECT e.id FROM texts JOIN entries e ON e.id = texts.rowid WHERE texts MATCH ? AND {more} LIMIT ?"
                seen = set(ranked)
                ranked += [i for (i,) in connection.execute(within, [match(plain), *values, COUNTED]) if i not in seen]
        page = ranked[:COUNTED][offset : offset + min(limit, PAGE_MOST)]
        marks = ",".join("?" * len(page))
        lines = dict(connection.execute(f"SELECT id, line FROM entries WHERE id IN ({marks})", page))
        found = [Entry(tuple(json.loads(lines[i]))) for i in page if i in lines]
        return Found(found, min(len(ranked), COUNTED), self._updated(connection))

    def changed(self, since: str, to: str, limit: int, offset: int) -> Found:
        """The entries that the register brought up to date on these days (ISO 8601), in that order."""
        connection = self._open()
        if connection is None:
            return Found([], 0, "")
        within = "FROM entries WHERE updated BETWEEN ? AND ?"
        with self._in_time(connection):
            (total,) = connection.execute(f"SELECT count(*) {within}", [since, to]).fetchone()
            query = f"SELECT line {within} ORDER BY updated, id LIMIT ? OFFSET ?"
            lines = connection.execute(query, [since, to, min(limit, PAGE_MOST), offset]).fetchall()
        return Found([Entry(tuple(json.loads(line))) for (line,) in lines], total, self._updated(connection))

    @staticmethod
    def _updated(connection: sqlite3.Connection) -> str:
        return str(connection.execute("SELECT max(updated) FROM about").fetchone()[0])

    def size(self) -> int:
        """How many entries there are, history included."""
        connection = self._open()
        return int(connection.execute("SELECT count(*) FROM entries").fetchone()[0]) if connection else 0


def register_of(home: Path) -> Corporations:
    """The register in a catalogue's home, its names compared by what was given when it was loaded."""
    return Corporations(home / "corporations.db", Names.read(home / "names"))


def read(file: Path, progress: Callable[[int, int], None]) -> Iterator[tuple[str, ...]]:
    """The lines of a register's file. ``Malformed`` names the first that is wrong; nothing of the file is used then."""
    total = file.stat().st_size
    with file.open("rb") as raw:
        encoding = "utf-8-sig" if _is_utf8(file) else "cp932"
        reader = csv.reader(io.TextIOWrapper(raw, encoding, newline=""), strict=True)
        line = 1
        try:
            for values in reader:
                if len(values) != len(COLUMNS) or not CorporateNumber.is_valid(values[AT["corporateNumber"]]):
                    raise _wrong(line)
                yield tuple(values)
                line = reader.line_num + 1
                if line % 10_000 == 0:
                    progress(raw.tell(), total)
        except (csv.Error, UnicodeDecodeError):
            raise _wrong(line) from None


def _is_utf8(file: Path) -> bool:
    with file.open("rb") as raw:
        start = raw.read(1 << 20)
    try:
        start[: start.rfind(b"\n") + 1].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _wrong(line: int) -> Malformed:
    return Malformed(
        f"Line {line} is none of the register.",
        ja=f"{line}行目が法人番号の登録データの形式ではありません。",
        code="register",
        remedy=f"A line has {len(COLUMNS)} columns without a header, the second a Corporate Number.",
        remedy_ja=f"見出しのない{len(COLUMNS)}列のCSVで、2列目が法人番号です。",
    )
