"""The local copy (副本): what the gateway answers from when the body's own system is not asked at each inquiry.

One SQLite file an item, built beside the one in use and put into its place when all of it is good: a file that is bad, cut off, or read
by a process that dies changes nothing, and readers see the old copy or the new one, never a mixture. The copy is no state of its own: it
can be made again from its source at any time, and no backup holds it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from renkei.errors import RenkeiError
from renkei.gateway.adapter.reading import Rows
from renkei.gateway.adapter.translation import Record, Row, RowFault, Translator
from renkei.institution.settings import occupy, sync
from renkei.law.tables import Title

SHOWN = 1_000
"""Faults that are kept; all are counted, and told one by one to whoever listens."""
TOGETHER = 2_000
SOME = 500
RECORDS_MOST = 500
"""Records of one person in an item."""
TABLES = """
CREATE TABLE records(local_id TEXT NOT NULL, digest BLOB NOT NULL, since TEXT NOT NULL, until TEXT NOT NULL,
  place, row INTEGER NOT NULL, record BLOB NOT NULL);
CREATE TABLE held(local_id TEXT PRIMARY KEY);
CREATE TABLE lineage(said BLOB NOT NULL);
"""
Told = Callable[[RowFault], None]


class Lineage(msgspec.Struct, frozen=True):
    """Where a copy comes from, what is in it, and what it changed."""

    item: str
    origin: str
    """The file's name, the table, or the address; nothing personal."""
    digest: str
    """SHA-256 of the file, in hexadecimal; empty for other sources."""
    version: int
    """Of the data specification."""
    loaded_at: int
    """Milliseconds since 1970 UTC."""
    rows: int
    """Rows read."""
    records: int
    """Records kept."""
    persons: int
    added: int
    """Persons who were not in the copy before …"""
    changed: int
    """… of whom it says something else …"""
    removed: int
    """… and who are not in it any more."""
    held: int = 0
    """Persons of whom nothing is answered until their rows are mended."""
    wrong: int = 0
    """Rows that do not fit."""
    filled: dict[str, int] = {}
    """Records in which each field has a value."""


class Loaded(msgspec.Struct, frozen=True):
    """What became of a load."""

    lineage: Lineage
    faults: tuple[RowFault, ...]
    """The first things that were wrong."""
    some: tuple[str, ...] = ()
    """Some of the persons it has records of, to see whether they are known here. Nothing of it is kept."""

    @property
    def wrong(self) -> int:
        """How many rows do not fit."""
        return self.lineage.wrong


class NotLoaded(RenkeiError):
    """Rows do not fit, or too many persons would go: the copy is as it was. ``loaded`` says what was found."""

    code = "not-loaded"
    remedy = "Mend the rows that are listed, or leave those persons out on purpose; the copy is as it was."
    remedy_ja = "一覧の行を直すか、その人を除くことを明示してください。副本は元のままです。"

    def __init__(self, sentence: str, ja: str, loaded: Loaded, **more: Any) -> None:
        super().__init__(sentence, ja=ja, **more)
        self.loaded = loaded


class Copies:
    """The copies of one body."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._open: dict[str, tuple[tuple[int, int], sqlite3.Connection]] = {}

    # ------------------------------------------------------------------ answering

    def look_up(self, item: str, local_ids: Sequence[str], day: str) -> tuple[dict[str, list[Record]], set[str]]:
        """Records of each person (as of a day, all if empty), and the persons whose rows are not in order.

        ``FileNotFoundError`` while there is no copy.
        """
        with self._lock:
            connection = self._connection(item)
            marks = ",".join("?" * len(local_ids))
            query = f"SELECT local_id, record FROM records WHERE local_id IN ({marks})"
            if day:
                query += " AND (since = '' OR since <= ?) AND (until = '' OR until >= ?)"
            found: dict[str, list[Record]] = {}
            for local_id, record in connection.execute(
                f"{query} ORDER BY place, row", [*local_ids, *([day, day] if day else [])]
            ):
                found.setdefault(local_id, []).append(msgspec.msgpack.decode(record))
            held = connection.execute(f"SELECT local_id FROM held WHERE local_id IN ({marks})", local_ids)
            return found, {local_id for (local_id,) in held}

    def _connection(self, item: str) -> sqlite3.Connection:
        """The copy in use now, opened once."""
        path = self._path(item)
        status = path.stat()
        now = (status.st_ino, status.st_mtime_ns)
        if item in self._open and self._open[item][0] == now:
            return self._open[item][1]
        if item in self._open:
            self._open.pop(item)[1].close()
        address = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(address, uri=True, check_same_thread=False)
        self._open[item] = (now, connection)
        return connection

    def lineage(self, item: str) -> Lineage | None:
        """What the copy in use is; ``None`` while there is none."""
        try:
            with self._lock:
                (said,) = self._connection(item).execute("SELECT said FROM lineage").fetchone()
        except FileNotFoundError:
            return None
        return msgspec.msgpack.decode(said, type=Lineage)

    def close(self) -> None:
        with self._lock:
            for _, connection in self._open.values():
                connection.close()
            self._open.clear()

    def _path(self, item: str) -> Path:
        return self.folder / f"{item}.db"

    # ------------------------------------------------------------------ loading

    def load(
        self,
        translator: Translator,
        rows: Rows,
        lineage: Lineage,
        *,
        changes: bool = False,
        leave_out: bool = False,
        removals_most: float = 1.0,
        accept_removals: bool = False,
        keep: bool = True,
        tell: Told = lambda _: None,
    ) -> Loaded:
        """Make the copy anew from ``rows`` and put it into place; ``keep`` false only says what would become of it.

        ``changes``: the rows are those of persons whose records changed, and everybody else stays. ``leave_out``: persons with a row that
        does not fit are held back instead of refusing the load. ``lineage`` is filled in. Raises ``NotLoaded``. Time grows with the rows
        (sorting them: n log n), memory does not.
        """
        item = lineage.item
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        building = self.folder / f"{item}.building"
        with occupy(self.folder / f"{item}.lock"):
            building.unlink(missing_ok=True)
            building.touch(mode=0o600)
            try:
                build = _Build(building, translator, tell, lineage.loaded_at)
                with contextlib.closing(build.connection):
                    loaded = self._fill(build, rows, lineage, changes=changes)
                    most = 1.0 if accept_removals else removals_most
                    self._judge(loaded, build, leave_out=leave_out, removals_most=most)
                    if not changes and not loaded.lineage.rows and not accept_removals:
                        raise NotLoaded(
                            "There are no rows.",
                            "行がありません。",
                            loaded,
                            code="empty",
                            remedy=EMPTY[0],
                            remedy_ja=EMPTY[1],
                        )
                    build.finish(loaded.lineage)
                if keep:
                    _settle(building, self._path(item))
                return loaded
            finally:
                building.unlink(missing_ok=True)

    def _fill(self, build: _Build, rows: Rows, lineage: Lineage, *, changes: bool) -> Loaded:
        build.take(rows)
        before = self._path(lineage.item)
        build.attach(before if before.exists() else None)
        if changes:
            build.keep_others()
        return build.loaded(lineage)

    def _judge(self, loaded: Loaded, build: _Build, *, leave_out: bool, removals_most: float) -> None:
        """Whether the copy may be replaced by what was built."""
        if loaded.wrong and not leave_out:
            rows = loaded.lineage.rows
            ja = f"{rows}行のうち{loaded.wrong}行に誤りがあります。"
            raise NotLoaded(f"{loaded.wrong} of {rows} rows do not fit.", ja, loaded)
        if build.nobodys:
            raise NotLoaded(
                f"{build.nobodys} rows do not say whom they are about.",
                f"誰のものか分からない行が{build.nobodys}行あります。",
                loaded,
                code="nobodys-rows",
                remedy="Mend these rows: whoever they are about would be said to have nothing.",
                remedy_ja="その人に記録がないと回答することになるので、これらの行は直してください。",
            )
        were = build.persons_before
        if were and loaded.lineage.removed > were * removals_most:
            raise NotLoaded(
                f"{loaded.lineage.removed} of {were} persons would be removed.",
                f"{were}人のうち{loaded.lineage.removed}人が削除されます。",
                loaded,
                code="too-many-removed",
                remedy="See whether the source was cut off; if it is right, load it with --accept-removals.",
                remedy_ja="データが途中で切れていないか確かめてください。正しければ --accept-removals を付けて読み込んでください。",
            )


EMPTY = (
    "See whether the source was cut off, and whether `keep` is right; if there is nobody, load it with --accept-removals.",
    "データが途中で切れていないか、keep が正しいか確かめてください。対象者がいないなら --accept-removals を付けて読み込んでください。",
)


class _Build:
    """A copy being built. Not durable until it is settled: nobody misses it if it is lost."""

    def __init__(self, path: Path, translator: Translator, tell: Told, now: int) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN;{TABLES}CREATE TEMP TABLE gone(local_id TEXT, row INTEGER);"
            "CREATE TEMP TABLE spoken(local_id TEXT);"
        )
        self._translator, self._tell, self._today = translator, tell, translator.day(now)
        self._faults: list[RowFault] = []
        self._rows = self._wrong = 0
        self._filled: Counter[str] = Counter()
        self._took_over = False
        self.persons_before = 0
        self.nobodys = 0
        """Rows that do not fit and of which nobody knows whom they are about."""

    def take(self, rows: Rows) -> None:
        """Translate and keep everything that fits; whoever has a row that does not is held."""
        together: list[tuple[Any, ...]] = []
        for number, row in rows:
            self._rows += 1
            if isinstance(row, RowFault):
                self._fault([row], "")
                continue
            local_id = self._translator.local_id(row)
            if self._translator.is_gone(row):
                self.connection.execute("INSERT INTO temp.gone VALUES (?, ?)", [local_id, number])
                continue
            if not self._translator.keeps(row):
                self.connection.execute("INSERT INTO temp.spoken VALUES (?)", [local_id])
                continue
            made, faults = self._translator.row(row, number)
            if made is None:
                self._fault(faults, local_id)
                continue
            self._filled.update(made.record.keys())
            together.append(_line(made, number))
            if len(together) == TOGETHER:
                self._insert(together)
                together.clear()
        self._insert(together)
        self.connection.execute("CREATE INDEX by_person ON records(local_id)")
        earlier = "SELECT 1 FROM temp.gone g WHERE g.local_id = records.local_id AND g.row > records.row"
        self.connection.execute(f"DELETE FROM records WHERE EXISTS ({earlier})")
        self._count_records()
        self.connection.execute("DELETE FROM records WHERE local_id IN (SELECT local_id FROM held)")

    def _insert(self, together: Sequence[tuple[Any, ...]]) -> None:
        self.connection.executemany("INSERT INTO records VALUES (?,?,?,?,?,?,?)", together)

    def _fault(self, faults: Sequence[RowFault], local_id: str) -> None:
        self._wrong += 1
        faults = [fault._replace(local_id=local_id) for fault in faults]
        for fault in faults:
            self._tell(fault)
        self._faults += faults[: max(0, SHOWN - len(self._faults))]
        if local_id:
            self.connection.execute("INSERT OR IGNORE INTO held VALUES (?)", [local_id])
        else:
            self.nobodys += 1

    def _count_records(self) -> None:
        """Nobody may have more records than the specification (and an answer) has room for."""
        one = self._translator.specification.records == "one"
        most = 1 if one else RECORDS_MOST
        now = (
            "(since = '' OR since <= :day) AND (until = '' OR until >= :day)"
            if one and self._translator.spans
            else "true"
        )
        said = Title(
            f"一人に{most}件までのところ、それより多くあります。", f"There are more than {most} records of this person."
        )
        remedy = Title("`keep` か、正しい `key` を指定してください。", "Choose among them by `keep`, or correct `key`.")
        query = f"SELECT local_id, max(row) FROM records WHERE {now} GROUP BY local_id HAVING count(*) > :most"
        for local_id, row in self.connection.execute(query, {"day": self._today, "most": most}).fetchall():
            self._fault([RowFault(row, "", self._translator.key, said, remedy)], local_id)

    def attach(self, before: Path | None) -> None:
        """Set the copy in use beside the one that is built."""
        self.connection.execute("COMMIT")
        if before is None:
            self.connection.executescript(f"ATTACH ':memory:' AS old; {TABLES.replace('TABLE ', 'TABLE old.')}")
        else:
            self.connection.execute("ATTACH ? AS old", [str(before)])
        self.connection.execute("BEGIN")
        (self.persons_before,) = self.connection.execute("SELECT count(DISTINCT local_id) FROM old.records").fetchone()

    def keep_others(self) -> None:
        """Take over from the old copy whoever the new rows do not speak of, be it in rows that are not kept."""
        self._took_over = True
        here = ("main.records", "main.held", "temp.gone", "temp.spoken")
        spoken = " UNION ".join(f"SELECT local_id FROM {table}" for table in here)
        self.connection.execute(f"INSERT INTO main.held SELECT local_id FROM old.held WHERE local_id NOT IN ({spoken})")
        self.connection.execute(f"INSERT INTO main.records SELECT * FROM old.records WHERE local_id NOT IN ({spoken})")

    def loaded(self, lineage: Lineage) -> Loaded:
        def count(query: str) -> int:
            return int(self.connection.execute(query).fetchone()[0])

        new, old = "SELECT DISTINCT local_id FROM main.records", "SELECT DISTINCT local_id FROM old.records"
        added = count(f"SELECT count(*) FROM ({new} EXCEPT {old})")
        removed = count(f"SELECT count(*) FROM ({old} EXCEPT {new} EXCEPT SELECT local_id FROM main.held)")
        here, there = "SELECT local_id, digest FROM main.records", "SELECT local_id, digest FROM old.records"
        differ = f"SELECT local_id FROM ({here} EXCEPT {there}) UNION SELECT local_id FROM ({there} EXCEPT {here})"
        held = count("SELECT count(*) FROM main.held")
        if self._took_over or held:  # what was counted while reading is not what there is
            self._filled = Counter()
            for (record,) in self.connection.execute("SELECT record FROM main.records"):
                self._filled.update(msgspec.msgpack.decode(record).keys())
        both = f"SELECT count(*) FROM ({differ} INTERSECT {new} INTERSECT {old})"
        return Loaded(
            msgspec.structs.replace(
                lineage,
                rows=self._rows,
                records=count("SELECT count(*) FROM main.records"),
                persons=count(f"SELECT count(*) FROM ({new})"),
                added=added,
                changed=count(both),
                removed=removed,
                held=held,
                wrong=self._wrong,
                filled=dict(self._filled),
            ),
            tuple(self._faults),
            tuple(i for (i,) in self.connection.execute(f"{new} ORDER BY random() LIMIT {SOME}")),
        )

    def finish(self, lineage: Lineage) -> None:
        self.connection.execute("INSERT INTO main.lineage VALUES (?)", [msgspec.msgpack.encode(lineage)])
        self.connection.execute("COMMIT")
        self.connection.execute("DETACH old")


def _line(made: Row, number: int) -> tuple[Any, ...]:
    record = msgspec.msgpack.encode(made.record)
    digest = blake2b(b"\0".join((record, made.since.encode(), made.until.encode())), digest_size=16).digest()
    return made.local_id, digest, made.since, made.until, made.order, number, record


def _settle(building: Path, place: Path) -> None:
    """Put a finished file into its place, durably."""
    sync(building)
    building.replace(place)
    sync(place.parent)
