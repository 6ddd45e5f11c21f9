"""The body's own data at the desk: what is answered from where, a mapping proposed, tried and published, files handed in.

For clerks with the duty ``adapt``: engineers of the body. What is shown of records is shown to them alone; a mapping is tried before it
is published, and the one before it is kept.
"""

from __future__ import annotations

import asyncio
import re
import time
import tomllib
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from renkei.errors import Malformed, NotFound, RenkeiError
from renkei.gateway.adapter import ItemMapping, RowFault, reading
from renkei.gateway.adapter import mapping as declarations
from renkei.gateway.adapter import proposal as proposals
from renkei.gateway.adapter.translation import Record, Translator
from renkei.gateway.upkeep import NAME_MOST
from renkei.institution.clerks import demand
from renkei.institution.entry import Form, Render
from renkei.institution.settings import Duty
from renkei.institution.web import language

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

Ask = Request[Any, Any, Any]
DUTY: Duty = "adapt"
TRIED = 2_000
"""Rows on which a mapping is tried before it is published; the rest is checked when it is loaded."""
SHOWN = 5
FAULTS_SHOWN = 20
NAME = re.compile(r"[^/\x00-\x1f\\]{1,120}")


class Tried(NamedTuple):
    """What became of the first rows under a mapping."""

    rows: int
    wrong: int
    faults: tuple[RowFault, ...]
    records: tuple[Record, ...]


def source_pages(gateway: Gateway, render: Render, inside: list[Any]) -> list[Any]:
    """The pages. ``inside`` guards what needs a clerk's session."""

    def problem(request: Ask, error: RenkeiError) -> dict[str, Any]:
        return error.problem(language(request, gateway.settings.language))

    def mapping_path() -> Path:
        if not gateway.settings.mapping or gateway.adapter is None:
            raise NotFound(
                "This body has no mapping yet.",
                ja="対応付けの設定がありません。",
                code="mapping",
                remedy="Name a file under `mapping` in settings.toml (it may be empty), and start again.",
                remedy_ja="settings.toml の mapping にファイル（空でも可）を指定し、起動し直してください。",
            )
        return Path(gateway.settings.mapping)

    @get("/desk/sources", guards=inside, include_in_schema=False)
    async def sources(request: Ask, handed: FromQuery[str] = "") -> Response[bytes]:
        demand(request.state.clerk, DUTY)
        mapping_path()
        adapter = gateway.adapter
        assert adapter is not None
        items = [
            (i, m, adapter.copies.lineage(i) if m.copied else None) for i, m in sorted(adapter.mapping.items.items())
        ]
        reports = sorted((gateway.home / "drop" / "refused").glob("*.report.csv"), reverse=True)[:20]
        waiting = [
            p.name for p in sorted((gateway.home / "drop").glob("*")) if p.is_file() and not p.name.startswith(".")
        ]
        free = sorted(set(adapter.pack.specifications) - set(adapter.mapping.items))
        return render(
            request, "sources.html", items=items, free=free, reports=[p.name for p in reports], waiting=waiting, handed=handed,
            files=any(m.file for _, m, _ in items),
        )  # fmt: skip

    @post("/desk/sources/files", guards=inside, include_in_schema=False)
    async def hand_in(request: Ask) -> Response[Any]:
        """A file for the drop folder: written under another name, and given its own when it is whole."""
        demand(request.state.clerk, DUTY)
        mapping_path()
        upload = (await request.form()).get("file")
        name = Path(upload.filename).name if isinstance(upload, UploadFile) else ""
        if not isinstance(upload, UploadFile) or not NAME.fullmatch(name) or name.startswith("."):
            raise Malformed("Choose a file.", ja="ファイルを選んでください。", code="file")
        if len(name.encode()) > NAME_MOST:
            raise Malformed("The file's name is too long.", ja="ファイル名が長すぎます。", code="file")
        target = gateway.home / "drop" / name
        unfinished = target.with_name(f".{time.time_ns()}.part")
        with unfinished.open("wb") as out:
            while chunk := await upload.read(1 << 20):
                await asyncio.to_thread(out.write, chunk)
        unfinished.replace(target)
        return Redirect("/desk/sources?handed=yes", status_code=303)

    @get("/desk/sources/reports/{name:str}", guards=inside, include_in_schema=False)
    async def report(request: Ask, name: FromPath[str]) -> Response[bytes]:
        """Why a file was refused, as a table."""
        demand(request.state.clerk, DUTY)
        known = {p.name: p for p in (gateway.home / "drop" / "refused").glob("*.report.csv")}
        if name not in known:
            raise NotFound("There is no such report.", ja="この報告はありません。")
        return Response(known[name].read_bytes(), media_type="text/csv; charset=utf-8")

    @get("/desk/sources/{item:str}", guards=inside, include_in_schema=False)
    async def one(request: Ask, item: FromPath[str], table: FromQuery[str] = "") -> Response[bytes]:
        """The mapping of an item: as it is, or proposed from a table of the body's database."""
        demand(request.state.clerk, DUTY)
        path = mapping_path()
        demand_item(item)
        text, told = "", None
        try:
            tables = await asyncio.to_thread(columns)
            text = (
                await asyncio.to_thread(section, path, item)
                if not table
                else await asyncio.to_thread(proposed, item, table)
            )
        except RenkeiError as error:
            tables, told = {}, problem(request, error)
        return render(
            request, "source.html", item=item, tables=tables, text=text, table=table, problem=told, tried=None, done=""
        )

    @post("/desk/sources/{item:str}", guards=inside, include_in_schema=False)
    async def change(request: Ask, item: FromPath[str], data: Form) -> Response[Any]:
        """Try a mapping on the first rows; publish it if that was asked for and nothing is wrong with the declaration itself."""
        demand(request.state.clerk, DUTY)
        path, text = mapping_path(), data.get("text", "").replace("\r\n", "\n")
        demand_item(item)
        told, tried, done = None, None, ""
        try:
            declared = parsed(text, item)
            tried = await asyncio.to_thread(attempt, item, declared)
            if data.get("then") == "publish":
                await asyncio.to_thread(put, path, item, text)
                gateway.observe.log.info("mapping.published", item=item)
                done = "yes"
        except RenkeiError as error:
            told = problem(request, error)
        tables = await asyncio.to_thread(columns)
        status = 400 if told else 200
        values = {
            "item": item,
            "tables": tables,
            "text": text,
            "table": "",
            "problem": told,
            "tried": tried,
            "done": done,
        }
        return render(request, "source.html", status=status, **values)

    # ------------------------------------------------------------------ what is behind them

    def demand_item(item: str) -> None:
        if item not in gateway.member.pack.specifications:
            raise NotFound(
                "This item has no data specification.", ja="この項目にはデータ仕様がありません。", code="no-item"
            )

    def columns() -> dict[str, list[str]]:
        """The tables of the body's database; none if it has none."""
        if not gateway.settings.source:
            return {}
        engine = reading.open_database(gateway.settings.source)
        try:
            return dict(reading.tables_of(engine))
        finally:
            engine.dispose()

    def proposed(item: str, table: str) -> str:
        known = columns()
        if table not in known:
            raise Malformed("There is no such table.", ja="この表はありません。", code="table")
        engine = reading.open_database(gateway.settings.source)
        try:
            samples = reading.first_rows(engine, table, known[table], proposals.SAMPLES)
        finally:
            engine.dispose()
        hints = proposals.Hints.read(gateway.home.folder)
        pack = gateway.member.pack
        made = proposals.propose(pack, item, known[table], samples, hints)
        return proposals.as_toml(pack, made, f'table = "{table}"')

    def parsed(text: str, item: str) -> ItemMapping:
        """The one declaration in a text."""
        try:
            found = tomllib.loads(text)
            if set(found) != {item}:
                raise Malformed(
                    f"The text declares [{item}], and nothing else.",
                    ja=f"[{item}] だけを書いてください。",
                    code="mapping",
                )
            declared = msgspec.convert(found[item], ItemMapping)
            demand_address(item, declared)
            return declared
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise declarations.wrong(f"{error}.", f"対応付けに誤りがあります: {error}") from None

    def demand_address(item: str, declared: ItemMapping) -> None:
        """Whom the gateway calls, and which file it shows there as its token, is for who runs it to say, in the file: a clerk's word
        would lead it to any server within its reach, with any secret it can read."""
        assert gateway.adapter is not None
        now = gateway.adapter.mapping.items.get(item)
        known = (now.rest.url, now.rest.token) if now and now.rest else None
        if declared.source and (now is None or declared.source != now.source):
            raise declarations.wrong(
                "`source` is written into mapping.toml by whoever runs the gateway.",
                "source は、運用者が mapping.toml に直接書きます。",
            )
        if declared.rest and (declared.rest.url, declared.rest.token) != known:
            raise declarations.wrong(
                "Address and token of a web interface are written into mapping.toml by whoever runs the gateway.",
                "rest の url と token は、運用者が mapping.toml に直接書きます。",
            )

    def attempt(item: str, declared: ItemMapping) -> Tried:
        adapter = gateway.adapter
        assert adapter is not None
        translator = Translator(gateway.member.pack, item, declared)
        if declared.file is not None:
            return Tried(0, 0, (), ())  # it is tried when a file comes
        rows = adapter.read(declared, translator.columns)
        count = wrong = 0
        faults: list[RowFault] = []
        records: list[Record] = []
        for number, row in islice(rows, TRIED):
            count += 1
            record, bad = ({}, [row]) if isinstance(row, RowFault) else translator.record(row, number)
            wrong += bool(bad)
            faults += bad[: max(0, FAULTS_SHOWN - len(faults))]
            if not bad and len(records) < SHOWN:
                records.append(record)
        return Tried(count, wrong, tuple(faults), tuple(records))

    def put(path: Path, item: str, text: str) -> None:
        """Put an item's declaration into the mapping; the file before is kept beside it. The adapter goes by the new one at once."""
        before = path.read_text("utf-8")
        kept = [part for part in split(before) if not owns(part, item)]
        whole = "\n\n".join(p.strip("\n") for p in [*kept, text]) + "\n"
        unfinished = path.with_suffix(".part")
        unfinished.write_text(whole, "utf-8")
        declared = declarations.read(unfinished)
        path.with_suffix(".before.toml").write_text(before, "utf-8")
        unfinished.replace(path)
        assert gateway.adapter is not None
        gateway.adapter.declare(declared)

    def section(path: Path, item: str) -> str:
        """What the mapping says of an item."""
        return "\n\n".join(p.strip("\n") for p in split(path.read_text("utf-8")) if owns(p, item))

    return [sources, hand_in, report, one, change]


def split(text: str) -> list[str]:
    """A mapping's tables, each with its head line (and what stands above the first)."""
    return [p for p in re.split(r"(?m)^(?=\[)", text) if p.strip()]


def owns(part: str, item: str) -> bool:
    """Whether a part is the item's."""
    return re.match(rf"\[{re.escape(item)}(\.[^\]]*)?\]", part) is not None
