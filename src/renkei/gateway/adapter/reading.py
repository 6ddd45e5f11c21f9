"""Rows as bodies' systems give them away: text files in the encodings Japan uses, Excel, pages of a web interface, tables.

Each reader answers ``(number, row)`` one after the other, in constant memory; a row that cannot be read is a ``RowFault`` in its place.
``Unreadable`` is raised where nothing after it could be trusted.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import httpx
import msgspec
import sqlalchemy as sa

from renkei.errors import RenkeiError, SetupError, Unavailable
from renkei.gateway.adapter.mapping import File, ItemMapping, Rest, wrong
from renkei.gateway.adapter.translation import RowFault
from renkei.law.tables import Title

Rows = Iterator[tuple[int, Mapping[str, Any] | RowFault]]
CHUNK = 1 << 20
AT_ONCE = 5_000
"""Rows fetched from a database at a time."""
UNPACKED_MOST = 4 << 30
"""Bytes that an Excel file may unpack to …"""
PART_MOST = 128 << 20
"""… and that any part of it may that is no sheet: those are read whole."""
PACKED_MOST = 100
"""Times its size that anybody's data unpacks to."""
SHEET_ROWS = 1 << 20
"""Rows that Excel's sheets have."""
LINE_MOST = 1 << 20
"""Characters of a line: longer ones are no table's, and would fill the memory."""
PAGES_MOST = 100_000
PAGE_BYTES_MOST = 64 << 20
TOP = 20
"""Lines among which the header is looked for."""
NAME_MOST = 60
VALUE = re.compile(r"^[-+\d.,/]+$|\d{7}")
"""What no column is called: a number, or something with a long one in it."""
END_MARK = "\x1a"
"""What systems of old put at the end of a file."""


class Unreadable(RenkeiError):
    """A file or source cannot be read to its end, so nothing of it is used."""

    code = "unreadable"
    remedy = "Correct the file or its declaration, and load it again; the copy is as it was."
    remedy_ja = "ファイルか対応付けを直して、もう一度読み込んでください。副本は元のままです。"


def read_file(file: File, path: Path, needed: Sequence[str], progress: Callable[[int, int], None]) -> Rows:
    """The rows of a file. ``progress`` is told bytes read, and bytes in all."""
    if file.format == "excel":
        yield from _with_header(_excel(file, path, progress), file, needed)
    elif file.format == "fixed":
        yield from _fixed(file, path, needed, progress)
    else:
        yield from _with_header(_csv(file, path, progress), file, needed)


def encoding_of(path: Path) -> str:
    """UTF-8 (or what its byte order mark says) if the whole file is that; otherwise cp932, which Windows calls Shift_JIS."""
    with path.open("rb") as raw:
        start = raw.read(4)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        try:
            decoder.decode(start)
            while chunk := raw.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp932"
    return "utf-8-sig"


def _encoding(file: File, path: Path) -> str:
    name = file.encoding or encoding_of(path)
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise wrong(f"There is no encoding {name!r}.", f"文字コード {name} はありません。") from None


def _csv(file: File, path: Path, progress: Callable[[int, int], None]) -> Iterator[tuple[int, list[Any]]]:
    total = path.stat().st_size
    with path.open("rb") as raw:
        text = io.TextIOWrapper(raw, _encoding(file, path), errors="surrogateescape", newline="")
        try:
            for _ in range(file.skip):
                text.readline(LINE_MOST)
        except UnicodeError as error:
            raise _broken(file.skip, error) from None
        reader = csv.reader(_lines(text), delimiter="\t" if file.format == "tsv" else ",", strict=True)
        line = file.skip + 1
        try:
            for cells in reader:
                if cells and cells != [END_MARK]:
                    yield line, cells
                line = file.skip + reader.line_num + 1
                if line % 1024 == 0:
                    progress(raw.tell(), total)
        except (csv.Error, UnicodeError) as error:
            raise _broken(line, error) from None
    progress(total, total)


def _lines(text: io.TextIOWrapper) -> Iterator[str]:
    while line := text.readline(LINE_MOST):
        if len(line) == LINE_MOST and line[-1] not in "\r\n":
            raise Unreadable("A line has no end.", ja="行が長すぎます。")
        yield line


def _broken(line: int, error: Exception) -> Unreadable:
    return Unreadable(
        f"From line {line} on, the file cannot be read: {error}.",
        ja=f"{line}行目から読めません。引用符や文字コードを確かめてください。",
    )


def _excel(file: File, path: Path, progress: Callable[[int, int], None]) -> Iterator[tuple[int, list[Any]]]:
    import openpyxl

    try:
        with zipfile.ZipFile(path) as packed:
            parts = packed.infolist()
            whole = max((p.file_size for p in parts if not p.filename.startswith("xl/worksheets/sheet")), default=0)
            most = min(UNPACKED_MOST, max(PART_MOST, path.stat().st_size * PACKED_MOST))
            if whole > PART_MOST or sum(p.file_size for p in parts) > most:
                raise Unreadable("The Excel file unpacks to too much.", ja="Excelファイルが大きすぎます。")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (RenkeiError, OSError):
        raise
    except Exception as error:  # whatever broken parts inside make the library raise
        raise Unreadable(
            "This is no Excel file (.xlsx).",
            ja="Excelファイル（.xlsx）ではありません。",
            remedy="Save it as .xlsx; the older .xls is not read.",
            remedy_ja=".xlsx 形式で保存し直してください。古い .xls は読めません。",
        ) from error
    try:
        if file.sheet and file.sheet not in book.sheetnames:
            raise Unreadable(f"There is no sheet {file.sheet!r}.", ja=f"シート {file.sheet} がありません。")
        sheet = book[file.sheet] if file.sheet else book.worksheets[0]
        total = sheet.max_row or 0
        sheet.reset_dimensions()  # what it says of its size need not be so
        for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
            if number > SHEET_ROWS:
                raise Unreadable("The Excel sheet has too many rows.", ja="Excelシートの行が多すぎます。")
            if number > file.skip and any(c is not None for c in cells):
                yield number, list(cells)
            if number % 1024 == 0:
                progress(number, max(number, total))
    except (RenkeiError, OSError):
        raise
    except Exception as error:  # as above
        raise Unreadable("The Excel file is damaged.", ja="Excelファイルが壊れています。") from error
    finally:
        book.close()


def _with_header(rows: Iterator[tuple[int, list[Any]]], file: File, needed: Sequence[str]) -> Rows:
    """Rows by the names of their columns."""
    names: list[str] = list(file.columns)
    if not names:
        _, header = next(rows, (0, []))
        names = ["" if c is None else str(c).strip(" \t\u3000") for c in header]
        while names and not names[-1]:
            names.pop()
    _demand(names, needed)
    width = len(names)
    for number, cells in rows:
        while len(cells) > width and cells[-1] in (None, ""):
            cells.pop()
        if file.format == "excel":
            cells += [None] * (width - len(cells))
        if len(cells) == width:
            yield number, dict(zip(names, cells, strict=True))
        else:
            said = Title(f"{width}列のはずが{len(cells)}列です。", f"There are {len(cells)} cells, not {width}.")
            remedy = Title("区切り文字と引用符を確かめてください。", "Check separators and quotes on this line.")
            yield number, RowFault(number, "", "", said, remedy)


def _demand(names: Sequence[str], needed: Sequence[str]) -> None:
    """``Unreadable`` unless the columns are there, each once."""
    if needed and not set(needed) & set(names):  # perhaps the first line is somebody's: it is not shown
        raise Unreadable(
            f"Line 1 has none of the columns: {', '.join(needed)}. It has {len(names)} cells.",
            ja=f"見出しの行に列が一つもありません: {'、'.join(needed)}。{len(names)}列あります。",
            remedy="If lines stand above the header, say `skip`; if there is no header, say `columns`. Is it the right file?",
            remedy_ja="見出しの上に行があれば skip を、見出しがなければ columns を書いてください。別のファイルではありませんか。",
        )
    if lost := [c for c in needed if c not in names]:
        if len(lost) == len(needed):  # not a header then, perhaps: it may say something about somebody
            en, ja = f"The line has {len(names)} cells, none of these.", f"その行は{len(names)}列で、どれもありません。"
        else:
            en, ja = f"It has: {', '.join(names)}.", f"ある列: {'、'.join(names)}。"
        raise Unreadable(
            f"The file lacks columns: {', '.join(lost)}. {en}", ja=f"列がありません: {'、'.join(lost)}。{ja}"
        )
    if twice := sorted({c for c in needed if names.count(c) > 1}):
        raise Unreadable(
            f"Columns stand twice: {', '.join(twice)}.", ja=f"同じ名前の列があります: {'、'.join(twice)}。"
        )


def _fixed(file: File, path: Path, needed: Sequence[str], progress: Callable[[int, int], None]) -> Rows:
    """Rows of a host: every column so many bytes, with or without line ends."""
    if not file.widths or len(file.widths) != len(file.columns) or min(file.widths) < 1:
        raise wrong(
            "A fixed file has as many `widths` as `columns`.", "fixed では widths と columns の数を合わせてください。"
        )
    _demand(file.columns, needed)
    encoding, width, total = _encoding(file, path), sum(file.widths), path.stat().st_size
    starts = [sum(file.widths[:n]) for n in range(len(file.widths) + 1)]
    with path.open("rb") as raw:
        for _ in range(file.skip):
            raw.readline(LINE_MOST)
        at = raw.tell()
        lines = raw.read(width + 1)[width:] in (b"\r", b"\n", b"")
        raw.seek(at)
        number = file.skip
        while record := (raw.readline(width + 2) if lines else raw.read(width)):
            number += 1
            length = len(record.rstrip(b"\r\n") if lines else record)
            while lines and record[-1:] != b"\n" and (more := raw.readline(CHUNK)):  # longer than it should be
                length, record = length + len(more.rstrip(b"\r\n")), record[:width] + more[-1:]
            record = record[:-1].rstrip(b"\r") if lines and record[-1:] == b"\n" else record
            if number % 1024 == 0:
                progress(raw.tell(), total)
            if record in (b"", END_MARK.encode()):
                continue
            if length != width or (not lines and (b"\n" in record or b"\r" in record)):
                said = Title(f"{width}バイトのはずが{length}バイトです。", f"There are {length} bytes, not {width}.")
                if not lines and length == width:
                    said = Title("途中に改行があります。", "There is a line's end within it.")
                remedy = Title("`widths` と行の長さを確かめてください。", "Check `widths` against the line.")
                yield number, RowFault(number, "", "", said, remedy)
                continue
            cells = (record[a:b].decode(encoding, "surrogateescape") for a, b in pairwise(starts))
            yield number, dict(zip(file.columns, cells, strict=True))
    progress(total, total)


def read_rest(rest: Rest, needed: Sequence[str], progress: Callable[[int, int], None]) -> Rows:
    """The objects of a web interface, page after page."""
    token = Path(rest.token).read_text("utf-8").strip() if rest.token else ""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    number, url = 0, rest.url
    with httpx.Client(timeout=60, headers=headers) as client:
        for _ in range(PAGES_MOST):
            page = _page(client, url)
            records = _at(page, rest.records)
            if not isinstance(records, list):
                raise Unreadable(
                    "The answer has no list where `records` says.", ja="`records` の場所に一覧がありません。"
                )
            for record in records:
                number += 1
                if not isinstance(record, dict) or any(isinstance(record.get(c), dict | list) for c in needed):
                    said = Title("値の並びではありません。", "It is no object of plain values.")
                    yield (
                        number,
                        RowFault(number, "", "", said, Title("提供元に確認してください。", "Ask whoever provides it.")),
                    )
                else:
                    yield number, {c: record.get(c) for c in needed}
            progress(number, 0)
            following = _at(page, rest.next) if rest.next else None
            if not following:
                return
            url = str(httpx.URL(url).join(str(following)))
            if _server(url) != _server(rest.url):  # the token is for one server, and for nobody on the way
                raise Unreadable("The next page is on another host.", ja="次のページが別のホストにあります。")
    raise Unreadable("There is no end to its pages.", ja="ページが終わりません。")


def _server(url: str) -> tuple[str, str, int | None]:
    parsed = httpx.URL(url)
    return parsed.scheme, parsed.host, parsed.port


def _page(client: httpx.Client, url: str) -> Any:
    try:
        with client.stream("GET", url) as answer:
            if answer.status_code != 200:
                raise Unavailable(
                    f"The source answered {answer.status_code}.", ja=f"提供元が {answer.status_code} を返しました。"
                )
            body = bytearray()
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > PAGE_BYTES_MOST:
                    raise Unreadable("A page is too large.", ja="ページが大きすぎます。")
        return msgspec.json.decode(bytes(body))
    except (httpx.HTTPError, msgspec.DecodeError) as error:
        raise Unavailable(
            f"The source does not answer as it should ({type(error).__name__}).",
            ja="提供元が正しく応答しません。",
            code="source",
        ) from None


def _at(page: Any, path: str) -> Any:
    for key in path.split(".") if path else ():
        page = page.get(key) if isinstance(page, dict) else None
    return page


def source_table(engine: sa.Engine, name: str) -> sa.Table:
    """A table or view of the body's database, as it is; ``schema.name`` for one of another schema."""
    schema, _, table = name.rpartition(".")
    try:
        return sa.Table(table, sa.MetaData(), schema=schema or None, autoload_with=engine)
    except sa.exc.NoSuchTableError:
        raise wrong(f"The source database has no table {name!r}.", f"データベースに表 {name} がありません。") from None


def header(file: File, path: Path) -> tuple[int, list[str]]:
    """How many lines of a file stand above its header, and the names of its columns. ``Unreadable`` if it seems to have none.

    The header is the first of the lines at the top that is as wide as the widest of them.
    """
    rows = _excel(file, path, lambda a, b: None) if file.format == "excel" else _csv(file, path, lambda a, b: None)
    top = [(n, ["" if c is None else str(c).strip(" \t\u3000") for c in cells]) for n, cells in islice(rows, TOP)]
    width = max((sum(map(bool, cells)) for _, cells in top), default=0)
    line, names = next(((n, cells) for n, cells in top if sum(map(bool, cells)) * 10 >= width * 9), (0, []))
    if not width or any(len(name) > NAME_MOST or VALUE.search(name) for name in names):
        raise Unreadable(
            "The file has no line with the names of its columns.",
            ja="列名の行（見出し）がありません。",
            remedy='Declare its `columns` in mapping.toml (`format = "fixed"` with `widths` for files of a host).',
            remedy_ja='mapping.toml に columns を書いてください（ホストの固定長なら format = "fixed" と widths も）。',
        )
    while names and not names[-1]:
        names.pop()
    return line - 1, names


def tables_of(engine: sa.Engine) -> Iterator[tuple[str, list[str]]]:
    """The tables and views of a database, with their columns."""
    try:
        inspector = sa.inspect(engine)
        for name in [*inspector.get_table_names(), *inspector.get_view_names()]:
            yield name, [c["name"] for c in inspector.get_columns(name)]
    except sa.exc.SQLAlchemyError as error:
        raise _not_opened(error) from None


def _not_opened(error: sa.exc.SQLAlchemyError) -> Unavailable:
    """Why a database was not opened, as its driver has it: nothing was asked of it yet, so nothing in that is about a person."""
    said = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()[0][:300]
    return Unavailable(
        f"The source database was not opened: {said}",
        ja=f"データベースを開けません: {said}",
        code="source",
        remedy="Check host, name, user and password in the URL; signs such as @ / : in a password are written %40 %2F %3A.",
        remedy_ja="URLのホスト名、データベース名、利用者名、パスワードを確かめてください。パスワードの @ / : は %40 %2F %3A と書きます。",
    )


def first_rows(engine: sa.Engine, name: str, columns: Sequence[str], count: int) -> list[dict[str, Any]]:
    """Some rows of a table."""
    query = select_of(source_table(engine, name), name, columns, {}).limit(count)
    try:
        with engine.connect() as connection:
            return [dict(zip(columns, row, strict=True)) for row in connection.execute(query)]
    except sa.exc.SQLAlchemyError as error:
        raise _away(error) from None


def _away(error: Exception) -> Unavailable:
    name = type(error).__name__
    return Unavailable(
        f"The source database does not answer ({name}).", ja="データベースが応答しません。", code="source"
    )


def select_of(table: sa.Table, name: str, columns: Sequence[str], keep: Mapping[str, Sequence[str]]) -> sa.Select[Any]:
    """The columns of the table's rows that are kept; ``SetupError`` names those it lacks."""
    if missing := [c for c in columns if c not in table.c]:
        raise wrong(
            f"The table {name!r} lacks columns: {', '.join(missing)}.",
            f"表 {name} に列がありません: {'、'.join(missing)}。",
        )
    query = sa.select(*(table.c[c].label(f"c{n}") for n, c in enumerate(columns)))
    for column, wanted in keep.items():
        query = query.where(sa.func.trim(sa.cast(table.c[column], sa.String)).in_(list(wanted)))
    return query


def read_table(
    engine: sa.Engine, mapping: ItemMapping, columns: Sequence[str], progress: Callable[[int, int], None]
) -> Rows:
    """All rows of a table that are kept."""
    try:
        table = source_table(engine, mapping.table)
        query = select_of(table, mapping.table, columns, mapping.keep)
        with engine.connect().execution_options(stream_results=True, yield_per=AT_ONCE) as connection:
            total = connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for number, row in enumerate(connection.execute(query), 1):
                yield number, dict(zip(columns, row, strict=True))
                if number % 1024 == 0:
                    progress(number, max(number, total))
    except sa.exc.SQLAlchemyError as error:
        raise _away(error) from None


def count_distinct(engine: sa.Engine, mapping: ItemMapping) -> int:
    """How many persons a table speaks of."""
    try:
        table = source_table(engine, mapping.table)
        kept = select_of(table, mapping.table, [mapping.key], mapping.keep).distinct().subquery()
        with engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(kept)) or 0
    except sa.exc.SQLAlchemyError as error:
        raise _away(error) from None


def open_database(url: str) -> sa.Engine:
    """The body's own database by its URL; ``SetupError`` if the URL is none, or its driver is not installed."""
    try:
        return sa.create_engine(url, pool_size=4, pool_pre_ping=True)
    except (
        sa.exc.ArgumentError,
        ModuleNotFoundError,
        ValueError,
    ) as error:  # `ValueError` would quote part of a password
        missing = getattr(error, "name", None)
        raise SetupError(
            f"The database cannot be opened: {f'the driver {missing!r} is not installed' if missing else 'its URL is not one'}.",
            ja=f"データベースを開けません。{f'ドライバー {missing} がありません' if missing else 'URLが正しくありません'}。",
            code="source",
            remedy="postgresql+psycopg://, mysql+pymysql://, mssql+pymssql://, oracle+oracledb:// or sqlite:///; "
            "pip install 'renkei[sources]' has the drivers.",
            remedy_ja="postgresql+psycopg://、mysql+pymysql://、mssql+pymssql://、oracle+oracledb://、sqlite:/// のどれかです。"
            "ドライバーは pip install 'renkei[sources]' で入ります。",
        ) from None


def is_settled(path: Path, seen: dict[Path, tuple[int, int]]) -> bool:
    """Whether a dropped file has not changed since it was looked at last (then kept in ``seen``)."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    now = (status.st_size, status.st_mtime_ns)
    was, seen[path] = seen.get(path), now
    return was == now


def steady(rows: Rows, path: Path) -> Rows:
    """The rows of a file; ``Unreadable`` at their end if it was written or replaced meanwhile: they are a mixture then."""
    before = os.stat(path)
    yield from rows
    after = os.stat(path)
    if (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns):
        raise Unreadable(
            "The file changed while it was read.",
            ja="読み込み中にファイルが変わりました。",
            code="changed",
            remedy="Write it under another name and rename it when it is whole.",
            remedy_ja="別の名前で書き、書き終えてから名前を変えてください。",
        )
