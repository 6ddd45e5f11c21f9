"""Whole files of inquiries: CSV or JSON Lines in, a result file out.

The upload is streamed to disk, counted, then submitted 64 rows at a time; progress is in the database, so a restart goes on where it
stopped and no row is asked twice. Memory is constant whatever the file's length.
"""

from __future__ import annotations

import asyncio
import csv
import io
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from renkei.errors import Malformed, NotFound, RenkeiError
from renkei.gateway import store
from renkei.gateway.desk import Ask, Desk
from renkei.institution.database import Database
from renkei.institution.observe import Observer
from renkei.institution.settings import Clock

CHUNK = 64
COLUMNS = ("local_id", "provider", "affair", "item", "purpose", "case", "reason", "as_of", "changes_until")
REQUIRED = COLUMNS[:5]
UNDER_WAY = 2048
"""Rows of a batch that may be open at once: a long file does not starve the counter."""
LINE_MOST = 20_000
FORMATS = ("csv", "jsonl")


class Batches:
    """The batch files of one gateway."""

    def __init__(
        self, folder: Path, desk: Desk, database: Database, observe: Observer, clock: Clock, most_rows: int
    ) -> None:
        self._folder, self._desk, self._database = folder, desk, database
        self._observe, self._clock, self._most = observe, clock, most_rows
        self._new = asyncio.Event()

    async def receive(self, stream: AsyncIterator[bytes], *, name: str, format_: str, clerk: str) -> str:
        """Store an upload and queue it; its id. A file that cannot be read at all is refused whole."""
        if format_ not in FORMATS:
            raise Malformed(
                "A batch is CSV or JSON Lines.",
                ja="バッチは CSV か JSON Lines です。",
                remedy="Send it as text/csv or application/x-ndjson.",
                remedy_ja="text/csv または application/x-ndjson で送ってください。",
                code="batch-format",
                status=415,
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        id_ = os.urandom(8).hex()
        path = self._path(id_)
        try:
            with path.open("wb") as file:
                async for chunk in stream:
                    await asyncio.to_thread(file.write, chunk)
            total = await asyncio.to_thread(self._count, path, format_)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        row = {"id": id_, "name": name[:200], "format": format_, "clerk": clerk, "created": self._clock()}
        await self._database.write(
            lambda c: store.add_batch(c, {**row, "state": "submitting", "total": total, "submitted": 0})
        )
        self._new.set()
        return id_

    def _count(self, path: Path, format_: str) -> int:
        total = 0
        for _ in read_rows(path, format_):
            total += 1
            if total > self._most:
                raise Malformed(
                    f"A batch has at most {self._most} rows.",
                    ja=f"バッチは {self._most} 行までです。",
                    code="batch-too-long",
                    status=413,
                    remedy="Split the file.",
                    remedy_ja="ファイルを分割してください。",
                )
        if not total:
            raise Malformed("The file has no rows.", ja="ファイルに行がありません。", code="batch-empty")
        return total

    async def run(self) -> None:
        """Submit what is queued, until the desk closes; takes up unfinished files first."""
        while not self._desk.closing:
            self._new.clear()
            waiting = await self._database.read(lambda c: store.list_batches(c, state="submitting"))
            for row in reversed(waiting):
                await self._submit(row)
            if not waiting:
                await self._new.wait()

    async def _submit(self, batch: Any) -> None:
        if not self._path(batch.id).exists():  # a backup was made while it was being submitted
            self._observe.log.error("batch.file-missing", batch=batch.id)
            await self._database.write(lambda c: store.update_batch(c, batch.id, state="file-missing"))
            return
        rows = read_rows(self._path(batch.id), batch.format)
        await asyncio.to_thread(_skip, rows, batch.submitted)
        done = batch.submitted
        while chunk := await asyncio.to_thread(_take, rows, CHUNK):
            await self._pace(batch.id)
            if self._desk.closing:  # the rest after the next start
                return
            done += len(chunk)
            asks = [(ask, line) for line, ask in chunk if isinstance(ask, Ask)]
            bad = [(line, error) for line, error in chunk if isinstance(error, RenkeiError)]
            await self._desk.ask_many(asks, batch.clerk, batch.id, self._progress(batch.id, done, bad))
        await self._database.write(lambda c: store.update_batch(c, batch.id, state="submitted"))
        self._path(batch.id).unlink(missing_ok=True)

    def _progress(self, id_: str, done: int, bad: Sequence[tuple[int, RenkeiError]]) -> Any:
        def note(connection: sa.Connection, faults: Sequence[tuple[int, RenkeiError]]) -> None:
            rows = [{"batch": id_, "line": line, "code": e.code, "sentence": e.sentence} for line, e in [*bad, *faults]]
            store.add_faults(connection, rows)
            store.update_batch(connection, id_, submitted=done)

        return note

    async def _pace(self, id_: str) -> None:
        """Wait while too much of the file is open. Looks at open rows only, so the cost of a row does not grow with the file."""
        while await self._database.read(lambda c: store.open_rows(c, id_)) >= UNDER_WAY:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def status(self, id_: str) -> dict[str, Any]:
        """Progress of a batch: rows in all, submitted, and in each state."""
        row = await self._database.read(lambda c: store.get_batch(c, id_))
        if row is None:
            raise NotFound("There is no such batch.", ja="このバッチはありません。")
        tally = await self._database.read(lambda c: store.batch_tally(c, id_))
        ended = sum(tally.get(s, 0) for s in (*store.TERMINAL, "fault"))
        return {
            "id": row.id,
            "name": row.name,
            "clerk": row.clerk,
            "created": row.created,
            "total": row.total,
            "submitted": row.submitted,
            "ended": ended,
            "done": ended == row.total,
            "states": tally,
        }

    async def result(self, id_: str, format_: str) -> AsyncIterator[bytes]:
        """The result file, in line order: every row with its state, reason and records."""
        await self.status(id_)
        if format_ == "csv":
            yield b"line,local_id,state,reason,rows,leaf,records\r\n"
        after = -1
        while page := await self._database.read(lambda c, after=after: store.batch_page(c, id_, after, 500)):  # type: ignore[misc]
            after = page[-1][0]
            yield await asyncio.to_thread(self._render, page, format_)

    def _render(self, page: Sequence[tuple[int, Any, Any]], format_: str) -> bytes:
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        for line, inquiry, fault in page:
            if fault is not None:
                row = {
                    "line": line,
                    "local_id": "",
                    "state": "fault",
                    "reason": fault.code,
                    "rows": [],
                    "leaf": None,
                }
                records = None
            else:
                content = self._desk.result(inquiry)
                records = content.records if content else None
                row = {
                    "line": line,
                    "local_id": inquiry.local_id,
                    "state": inquiry.state,
                    "reason": inquiry.reason,
                    "rows": inquiry.rows.split(),
                    "leaf": inquiry.leaf,
                }
            if format_ == "csv":
                text = "" if records is None else msgspec.json.encode(records).decode()
                cells = [
                    line,
                    row["local_id"],
                    row["state"],
                    row["reason"],
                    " ".join(row["rows"]),
                    row["leaf"],
                    text,
                ]
                writer.writerow(cells)
            else:
                out.write(msgspec.json.encode({**row, "records": records}).decode() + "\n")
        return out.getvalue().encode()

    def _path(self, id_: str) -> Path:
        return self._folder / f"{id_}.upload"


def read_rows(path: Path, format_: str) -> Iterator[tuple[int, Ask | RenkeiError]]:
    """The rows of a file as (line, ask or what is wrong with the row). A wrong header or encoding is ``Malformed``."""
    try:
        with path.open("r", encoding="utf-8-sig", newline="") as file:
            yield from _read_csv(file) if format_ == "csv" else _read_jsonl(file)
    except UnicodeDecodeError:
        raise Malformed(
            "The file is not UTF-8.", ja="ファイルが UTF-8 ではありません。", code="batch-encoding"
        ) from None
    except csv.Error as error:
        raise Malformed(f"The CSV cannot be read: {error}.", ja="CSV として読めません。", code="batch-csv") from None


def _lines(file: Any) -> Iterator[str]:
    """The lines of a file, of which none is read further than a row can be long."""
    while line := file.readline(LINE_MOST + 1):
        if len(line) > LINE_MOST:
            raise Malformed(
                f"A line has more than {LINE_MOST} characters.",
                ja=f"1行が{LINE_MOST}文字を超えています。",
                code="batch-line",
                remedy="Is this the right file? Rows end with a newline.",
                remedy_ja="ファイルを確認してください。行の終わりは改行です。",
            )
        yield line


def _read_csv(file: Any) -> Iterator[tuple[int, Ask | RenkeiError]]:
    reader = csv.reader(_lines(file), strict=True)
    header = next(reader, [])
    unknown = [h for h in header if h not in COLUMNS]
    missing = [c for c in REQUIRED if c not in header]
    if unknown or missing or len(set(header)) != len(header):
        raise Malformed(
            f"The header is wrong (missing: {', '.join(missing) or 'none'}; unknown columns: {len(unknown)}).",
            ja=f"見出し行が正しくありません（不足: {', '.join(missing) or 'なし'}、不明な列: {len(unknown)}）。",
            code="batch-header",
            remedy=f"Use these columns: {', '.join(COLUMNS)}; the first five are required.",
            remedy_ja=f"使える列: {', '.join(COLUMNS)}。最初の5つは必須です。",
        )
    for cells in reader:
        if len(cells) != len(header):
            yield (
                reader.line_num,
                Malformed(
                    f"The row has {len(cells)} cells, not {len(header)}.",
                    ja=f"列の数が {len(header)} ではなく {len(cells)} です。",
                    code="row-cells",
                ),
            )
        elif too_long := next((h for h, c in zip(header, cells, strict=True) if len(c) > 2000), None):
            yield (
                reader.line_num,
                Malformed(f"`{too_long}` is too long.", ja=f"`{too_long}` が長すぎます。", code="too-long"),
            )
        else:
            yield reader.line_num, msgspec.convert(dict(zip(header, cells, strict=True)), Ask)


def _read_jsonl(file: Any) -> Iterator[tuple[int, Ask | RenkeiError]]:
    decoder = msgspec.json.Decoder(Ask)
    for number, line in enumerate(_lines(file), start=1):
        if not line.strip():
            continue
        try:
            yield number, decoder.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            yield (
                number,
                Malformed(f"The line is not an inquiry: {error}.", ja="照会として読めない行です。", code="row-form"),
            )


def _take(rows: Iterator[tuple[int, Ask | RenkeiError]], most: int) -> list[tuple[int, Ask | RenkeiError]]:
    chunk = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == most:
            break
    return chunk


def _skip(rows: Iterator[tuple[int, Ask | RenkeiError]], count: int) -> None:
    for _ in zip(range(count), rows, strict=False):
        pass
