"""Opening a table to everybody (公開情報データベース): what is declared about it, whether it may be opened, and the files it becomes.

``about.toml`` says what the table is; the data is CSV (UTF-8, or cp932). A version is published whole or not at all: its files are written
beside the earlier ones, and one row of the catalogue's database makes it the one in force. Time grows with the rows, memory does not.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from renkei.catalogue import privacy, store
from renkei.catalogue.gallery import Gallery
from renkei.catalogue.opened import About, Dataset
from renkei.catalogue.privacy import Finding, quoted
from renkei.catalogue.search import Index
from renkei.errors import Malformed, NotFound, RenkeiError, Unavailable
from renkei.institution.database import Database
from renkei.institution.settings import sync
from renkei.law import Pack
from renkei.law.tables import Title

CHUNK = 1 << 20
SQL_TYPES = {"text": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "date": "DATE"}
NOT_OF = {  # what the file says is what is published: nothing is rounded
    "integer": "(TRY_CAST({0} AS BIGINT) IS NULL OR NOT regexp_full_match({0}, '-?[0-9]+'))",
    "number": "(TRY_CAST({0} AS DOUBLE) IS NULL OR NOT isfinite(TRY_CAST({0} AS DOUBLE)))",
    "date": "TRY_CAST({0} AS DATE) IS NULL",
}
WRITTEN = {
    "parquet": "FORMAT parquet, COMPRESSION zstd",
    "csv": "FORMAT csv, HEADER",
    "json": "FORMAT json, ARRAY true",
}
STRICTLY = (
    "all_varchar=true, header=true, delim=',', quote='\"', escape='\"', strict_mode=true, null_padding=false, "
    "max_line_size=1000000, nullstr='', comment='', skip=0"
)
OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "has": "LIKE"}
PAGE_MOST = 1_000
CONDITIONS_MOST = 20
QUERY_SECONDS = 5.0
MEMORY = "256MB"
READERS = 2
"""Questions for rows that are answered at once …"""
WAITING_MOST = 32
"""… and that may wait."""
T = TypeVar("T")


class NotPublished(RenkeiError):
    """The table may not be opened as it is; nothing was published. ``findings`` says why."""

    code = "not-published"
    remedy = "Do what is said with each finding, and publish again."
    remedy_ja = "指摘ごとの対処をしてから、もう一度公開してください。"

    def __init__(self, findings: Sequence[Finding]) -> None:
        refused = [f for f in findings if f.weight == "refused"]
        super().__init__(f"{len(refused)} finding(s) forbid it.", ja=f"{len(refused)}件の指摘により公開できません。")
        self.findings = tuple(findings)


class Publication:
    """The datasets of a catalogue."""

    def __init__(self, folder: Path, database: Database, pack: Callable[[], Pack], clock: Callable[[], int]) -> None:
        self.folder, self._database, self._pack, self._clock = folder, database, pack, clock
        self.gallery = Gallery(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.index = Index(folder / "search.db")
        self._readers, self._waiting = ThreadPoolExecutor(READERS, "rows"), 0

    # ------------------------------------------------------------------ publishing

    def check(self, about: About, file: Path) -> list[Finding]:
        """What stands against opening the table, and what its readers should know."""
        with _staged(about, file) as connection:
            return self._judge(connection, about)

    def publish(self, about: About, file: Path, *, suppress: bool = False) -> Dataset:
        """Publish a version. ``suppress`` blanks small counts instead of refusing them. Raises ``NotPublished``, ``Malformed``."""
        if about.publisher not in self._pack().bodies:
            raise Malformed("The law knows no such publisher.", ja="publisher の機関がありません。", code="about")
        with _staged(about, file) as connection:
            k = self._pack().header.oversight.small_count
            blanked = privacy.suppress(connection, about.columns, k) if suppress and about.kind == "aggregate" else 0
            findings = self._judge(connection, about)
            if any(f.weight == "refused" for f in findings):
                raise NotPublished(findings)
            before = self._database.read_now(lambda c: store.dataset(c, about.id))
            version = self._database.read_now(lambda c: store.last_version(c, about.id)) + 1
            rows, digest = self._write(connection, about, version)
        now = self._clock()
        made = Dataset(about, version, rows, digest, before.issued if before else now, now, tuple(findings), blanked)
        self._database.write_now(lambda c: store.put_dataset(c, made))
        self.index.put([(about.id, _words(about))])
        return made

    def ids(self) -> set[str]:
        """Of the datasets in force."""
        return self._database.read_now(lambda c: {d.about.id for d in store.every_dataset(c)})

    def withdraw(self, id_: str) -> None:
        """Take a dataset away; its page says that it was there."""
        if not self._database.write_now(lambda c: store.withdraw_dataset(c, id_, self._clock())):
            raise NotFound("There is no such dataset.", ja="このデータセットはありません。")
        self.index.remove(id_)
        for path in self.folder.glob(f"{id_}.*.*"):
            path.unlink()

    def _judge(self, connection: duckdb.DuckDBPyConnection, about: About) -> list[Finding]:
        pack = self._pack()
        k = pack.header.oversight.small_count
        identifying = frozenset(t.code for t in pack.terms.values() if t.sensitivity == "identifying")
        found = _unfit(connection, about)
        found += privacy.identifiers(connection, about.kind, about.columns, identifying, pack.header.person_number)
        if about.kind == "microdata":
            found += privacy.small_groups(connection, about.columns, k)
        if about.kind == "aggregate":
            found += privacy.small_counts(connection, about.columns, k)
        return found

    def _write(self, connection: duckdb.DuckDBPyConnection, about: About, version: int) -> tuple[int, str]:
        """Write the version's files; rows, and the digest of the CSV."""
        columns = ", ".join(f"CAST({quoted(c.name)} AS {SQL_TYPES[c.type]}) AS {quoted(c.name)}" for c in about.columns)
        base = f"{about.id}.{version}"
        with tempfile.TemporaryDirectory(dir=self.folder) as temporary:
            for form, options in WRITTEN.items():
                target = str(Path(temporary) / form)
                connection.execute(f"COPY (SELECT {columns} FROM data ORDER BY rowid) TO '{target}' ({options})")
            if "geojson" in about.forms:
                _write_geojson(connection, about, Path(temporary) / "geojson")
            for form in about.forms:
                sync(Path(temporary) / form)
                (Path(temporary) / form).replace(self.folder / f"{base}.{form}")
        sync(self.folder)
        with (self.folder / f"{base}.csv").open("rb") as file:
            digest = sha256()
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        row = connection.execute("SELECT count(*) FROM data").fetchone()
        return int(row[0]) if row else 0, digest.hexdigest()

    # ------------------------------------------------------------------ reading

    def get(self, id_: str) -> Dataset:
        """The version in force; ``NotFound`` if there is none."""
        found = self._database.read_now(lambda c: store.dataset(c, id_))
        if found is None:
            raise NotFound("There is no such dataset.", ja="このデータセットはありません。")
        return found

    def file(self, dataset: Dataset, form: str) -> Path:
        """Its file in one of its forms; ``NotFound`` if it has none."""
        path = self.folder / f"{dataset.about.id}.{dataset.version}.{form}"
        if form not in dataset.about.forms or not path.is_file():
            raise NotFound("It is not offered in that form.", ja="この形式では提供していません。")
        return path

    def find(self, query: str, *, limit: int = 50, offset: int = 0) -> tuple[list[Dataset], int]:
        """Datasets that hold every word of ``query``, newest first, and how many there are."""
        keys, total = self.index.find(query, limit=limit, offset=offset)
        found = self._database.read_now(lambda c: store.datasets_of(c, keys))
        return [found[k] for k in keys if k in found], total

    def rows(
        self,
        dataset: Dataset,
        where: Sequence[tuple[str, str, str]] = (),
        order: str = "",
        *,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[dict[str, Any]], int]:
        """A page of rows that meet every condition (column, operator, value), and how many do. ``Malformed`` names what is wrong."""
        columns = {c.name: c for c in dataset.about.columns}
        if len(where) > CONDITIONS_MOST:
            raise Malformed(
                f"At most {CONDITIONS_MOST} conditions.", ja=f"条件は{CONDITIONS_MOST}件までです。", code="condition"
            )
        conditions, values = [], []
        for name, operator, value in where:
            if name not in columns or operator not in OPERATORS:
                raise Malformed(
                    f"A condition is column,operator,value; operators: {', '.join(OPERATORS)}.",
                    ja=f"条件は 列,演算子,値 です。演算子: {'、'.join(OPERATORS)}。",
                    code="condition",
                )
            if operator == "has":
                conditions.append(f"contains(CAST({quoted(name)} AS VARCHAR), ?)")
                values.append(value)
            else:
                conditions.append(f"{quoted(name)} {OPERATORS[operator]} CAST(? AS {SQL_TYPES[columns[name].type]})")
                values.append(value)
        descending = order.startswith("-")
        if order and order.lstrip("-") not in columns:
            raise Malformed("There is no such column to sort by.", ja="並べ替えの列がありません。", code="order")
        clause = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        by = f" ORDER BY {quoted(order.lstrip('-'))}{' DESC' if descending else ''} NULLS LAST" if order else ""
        path = str(self.file(dataset, "parquet"))
        with _reader(self.folder) as connection:
            total = connection.execute(f"SELECT count(*) FROM read_parquet(?){clause}", [path, *values]).fetchone()
            page = connection.execute(
                f"SELECT * FROM read_parquet(?){clause}{by} LIMIT ? OFFSET ?",
                [path, *values, min(limit, PAGE_MOST), offset],
            )
            names = [d[0] for d in page.description or ()]
            found = [dict(zip(names, row, strict=True)) for row in page.fetchall()]
        return found, int(total[0]) if total else 0

    async def apart(self, work: Callable[[], T]) -> T:
        """Read rows on a thread of those kept for that: whoever asks much holds up nobody but who asks the same. ``Unavailable``
        beyond ``WAITING_MOST``."""
        if self._waiting >= WAITING_MOST:
            raise Unavailable(
                "Too many are asking at once.",
                ja="アクセスが集中しています。",
                code="busy",
                remedy="Try again, or take the whole file.",
                remedy_ja="しばらくしてからもう一度試すか、ファイル全体を取得してください。",
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        finally:
            self._waiting -= 1

    def bars(self, dataset: Dataset, group: str, count: str, most: int) -> list[tuple[str, int]]:
        """The sums of ``count`` for each value of ``group``, the largest first."""
        query = (
            f"SELECT CAST({quoted(group)} AS VARCHAR), CAST(sum({quoted(count)}) AS BIGINT) AS n FROM read_parquet(?)"
        )
        query += " GROUP BY 1 HAVING n > 0 ORDER BY n DESC, 1 LIMIT ?"
        with _reader(self.folder) as connection:
            rows = connection.execute(query, [str(self.file(dataset, "parquet")), most]).fetchall()
        return [(str(name), int(n)) for name, n in rows if name is not None]

    def places(self, dataset: Dataset, longitude: str, latitude: str, most: int = 2_000) -> list[tuple[float, float]]:
        """Some of the places, spread over the whole."""
        east, north = quoted(longitude), quoted(latitude)
        query = f"SELECT {east}, {north} FROM read_parquet(?) WHERE {east} IS NOT NULL AND {north} IS NOT NULL"
        query += f" ORDER BY hash({east}, {north}) LIMIT ?"
        with _reader(self.folder) as connection:
            rows = connection.execute(query, [str(self.file(dataset, "parquet")), most]).fetchall()
        return [(float(e), float(n)) for e, n in rows]

    def every(self) -> list[Dataset]:
        """All that are in force."""
        return self._database.read_now(lambda c: list(store.every_dataset(c)))

    def close(self) -> None:
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.index.close()


def _words(about: About) -> str:
    said = [about.id, *about.title, about.description_ja, about.description_en, *about.keywords]
    return "\n".join(said + [w for c in about.columns for w in (c.name, c.ja, c.en)])


@contextlib.contextmanager
def _reader(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can read the datasets and nothing else, in bounded memory and time. ``Malformed`` if that is not enough, or a
    value is not of its column's type."""
    config: dict[str, Any] = {
        "memory_limit": MEMORY,
        "threads": "1",
        "temp_directory": "",
        "autoload_known_extensions": "false",
    }
    connection = duckdb.connect(":memory:", config=config)
    connection.execute(
        f"SET allowed_directories = ['{folder}/']; SET enable_external_access = false; SET lock_configuration = true"
    )
    done = threading.Event()

    def watch() -> None:
        done.wait(QUERY_SECONDS)
        while not done.wait(0.05):  # again: between two questions there is nothing to interrupt
            connection.interrupt()

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield connection
    except (duckdb.ConversionException, duckdb.InvalidInputException):
        raise Malformed(
            "A value does not fit its column.", ja="条件の値が列の型に合いません。", code="condition"
        ) from None
    except (duckdb.InterruptException, duckdb.OutOfMemoryException):
        raise Malformed(
            "That takes too long.", ja="時間がかかりすぎます。", code="too-long", remedy="Narrow it down, or take the whole file.",
            remedy_ja="条件を絞るか、ファイル全体を取得してください。",
        ) from None  # fmt: skip
    finally:
        done.set()
        watching.join()
        connection.close()


@contextlib.contextmanager
def _staged(about: About, file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The file as a table ``data``, all of it text; ``Malformed`` if it is not what ``about`` says."""
    with tempfile.TemporaryDirectory() as temporary:
        path = _as_utf8(file, Path(temporary) / "data.csv")
        options: dict[str, Any] = {"memory_limit": "1GB", "autoload_known_extensions": "false"}
        connection = duckdb.connect(str(Path(temporary) / "staged.db"), config=options)
        try:
            connection.execute(f"CREATE TABLE data AS SELECT * FROM read_csv(?, {STRICTLY})", [str(path)])
        except duckdb.Error as error:  # its words hold the line itself
            line = re.search(r"[Ll]ine:? (\d+)", str(error))
            raise Malformed(
                f"The file cannot be read as CSV{f' (line {line[1]})' if line else ''}.",
                ja=f"CSVとして読めません{f'（{line[1]}行目）' if line else ''}。",
                code="unreadable",
                remedy="Check separators and quotes.",
                remedy_ja="区切り文字と引用符を確かめてください。",
            ) from None
        try:
            names = [d[0] for d in connection.execute("SELECT * FROM data LIMIT 0").description or ()]
            declared = [c.name for c in about.columns]
            if sorted(names) != sorted(declared):
                lost, more = [c for c in declared if c not in names], [c for c in names if c not in declared]
                raise Malformed(
                    f"Its columns differ from about.toml: missing {lost or 'none'}, not declared {more or 'none'}.",
                    ja=f"列が about.toml と違います。ない列: {lost or 'なし'}、宣言のない列: {more or 'なし'}。",
                    code="columns",
                )
            yield connection
        finally:
            connection.close()


def _unfit(connection: duckdb.DuckDBPyConnection, about: About) -> list[Finding]:
    """Values that are not of their column's type, with the first row."""
    found = []
    for column in (c for c in about.columns if c.type != "text"):
        name = quoted(column.name)
        wrong = f"{name} IS NOT NULL AND {NOT_OF[column.type].format(name)}"
        row = connection.execute(f"SELECT count(*), min(rowid) FROM data WHERE {wrong}").fetchone()
        if row and row[0]:
            said = Title(
                f"型に合わない値があります（最初は{row[1] + 2}行目）。",
                f"Values are not of its type, first in row {row[1] + 2}.",
            )
            remedy = Title("値を直すか、列の type を変えてください。", "Correct them, or the column's type.")
            found.append(Finding("refused", "type", column.name, int(row[0]), said, remedy))
    return found


def _as_utf8(file: Path, target: Path) -> Path:
    """``file`` if it is UTF-8 without a mark; otherwise a copy that is. ``Malformed`` if it is neither UTF-8 nor cp932."""
    for encoding in ("utf-8-sig", "cp932"):
        decoder = codecs.getincrementaldecoder(encoding)("strict")
        try:
            with file.open("rb") as raw, target.open("w", encoding="utf-8", newline="") as out:
                while chunk := raw.read(CHUNK):
                    out.write(decoder.decode(chunk))
                out.write(decoder.decode(b"", final=True))
            return target
        except UnicodeDecodeError:
            continue
    raise Malformed(
        "The file is neither UTF-8 nor cp932.", ja="ファイルの文字コードが UTF-8 でも Shift_JIS（cp932）でもありません。", code="encoding",
        remedy="Save it as UTF-8.", remedy_ja="UTF-8 で保存してください。",
    )  # fmt: skip


def _write_geojson(connection: duckdb.DuckDBPyConnection, about: About, path: Path) -> None:
    """RFC 7946: a point a row; rows without a place are left out."""
    longitude, latitude = about.role("longitude"), about.role("latitude")
    if longitude is None or latitude is None:
        return
    others = [c for c in about.columns if c not in (longitude, latitude)]
    named = ", ".join(f"CAST({quoted(c.name)} AS {SQL_TYPES[c.type]})" for c in (longitude, latitude, *others))
    cursor = connection.execute(f"SELECT {named} FROM data ORDER BY rowid")
    with path.open("w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        first = True
        while rows := cursor.fetchmany(5_000):
            for east, north, *values in rows:
                if east is None or north is None:
                    continue
                properties = {c.name: _json(v) for c, v in zip(others, values, strict=True)}
                feature = {
                    "type": "Feature",
                    "geometry": {"type": "Point", "coordinates": [east, north]},
                    "properties": properties,
                }
                file.write(("" if first else ",\n") + json.dumps(feature, ensure_ascii=False))
                first = False
        file.write("]}\n")
        file.flush()
        os.fsync(file.fileno())


def _json(value: Any) -> str | int | float | None:
    return value if value is None or isinstance(value, str | int | float) else str(value)
