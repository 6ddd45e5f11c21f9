"""``renkei source``: a body's own data — propose a mapping, check it, look at it, load the local copy."""

from __future__ import annotations

import csv
import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from renkei.cli.shell import DEFAULT_PACK, Json, PackFolder, err, language, out, setup, show, t
from renkei.errors import RenkeiError
from renkei.gateway import adapter as adapters
from renkei.gateway.adapter import Adapter, Lineage, Loaded, NotLoaded, RowFault, reading
from renkei.gateway.adapter import mapping as declarations
from renkei.gateway.adapter import proposal as proposals
from renkei.institution import subjects
from renkei.institution.keeper import newest_law
from renkei.institution.settings import Home
from renkei.law import Pack
from renkei.law.vocabulary import Specification
from renkei.numbers import number_format

app = typer.Typer(no_args_is_help=True, help="A body's own data: propose a mapping, check it, load the local copy.")
HomeArgument = Annotated[Path, typer.Argument(help="Home folder of a gateway.")]
Item = Annotated[str, typer.Argument(help="Item of the mapping.")]
SourceFile = Annotated[Path | None, typer.Argument(help="The file, for an item that is declared as files.")]
SHOWN = 20


@contextmanager
def _opened(home: Path) -> Iterator[Adapter]:
    """The adapter of a gateway's home, under the newest law it has."""
    settings = Home(home).settings()
    if not settings.mapping:
        raise setup(
            f"{home / 'settings.toml'} names no mapping.",
            f"{home / 'settings.toml'} に mapping がありません。",
            code="mapping",
        )
    pack = newest_law(Home(home))
    adapter = Adapter(settings.source, adapters.read(Path(settings.mapping)), lambda: pack, home / "copies")
    try:
        yield adapter
    finally:
        adapter.close()


@contextmanager
def _progress(json: bool) -> Iterator[Callable[[int, int], None]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, disable=json, transient=True) as progress:
        bar = progress.add_task(t("reading", "読み込み中"), total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total or None)


@app.command("list")
def list_sources(home: HomeArgument, json: Json = False) -> None:
    """What the body answers, from where, and how old its copies are."""
    with _opened(home) as adapter:
        found = [
            (item, m, adapter.copies.lineage(item) if m.copied else None) for item, m in adapter.mapping.items.items()
        ]
        zone = adapter.pack.zone
    if json:
        show([{"item": i, "copied": m.copied, "from": _where(m), "copy": lineage} for i, m, lineage in found])
        return
    table = Table(box=None)
    for head in (t("item", "項目"), t("from", "取得元"), t("persons", "人数"), t("copy of", "副本の日時")):
        table.add_column(head)
    for item, m, lineage in found:
        state = t("read at each inquiry", "照会のたびに読む") if not m.copied else t("none yet", "まだありません")
        when = _when(lineage, zone) if lineage else state
        table.add_row(item, _where(m), f"{lineage.persons:,}" if lineage else "", when)
    out.print(table)


@app.command("check")
def check(
    home: HomeArgument,
    item: Item,
    file: SourceFile = None,
    report: Annotated[Path | None, typer.Option(help="Write every fault into this CSV file.")] = None,
    json: Json = False,
) -> None:
    """Read all of it and change nothing: what does not fit, and what the copy would gain and lose. Exit 0 if everything fits."""
    _load(home, item, file, report, json, keep=False)


@app.command("load")
def load(
    home: HomeArgument,
    item: Item,
    file: SourceFile = None,
    report: Annotated[Path | None, typer.Option(help="Write every fault into this CSV file.")] = None,
    leave_out: Annotated[
        bool,
        typer.Option("--leave-out", help="Load it without persons whose rows do not fit; of them nothing is answered."),
    ] = False,
    accept_removals: Annotated[
        bool, typer.Option("--accept-removals", help="It is right that many persons are not in it any more.")
    ] = False,
    json: Json = False,
) -> None:
    """Make the local copy of an item anew: all of it, or nothing and every bad row. The gateway may be running."""
    _load(home, item, file, report, json, leave_out=leave_out, accept_removals=accept_removals)


def _load(home: Path, item: str, file: Path | None, report: Path | None, json: bool, **how: Any) -> None:
    if file is not None and not file.is_file():
        raise setup(f"{file} is not a file.", f"{file} はファイルではありません。")
    with _opened(home) as adapter, _reporting(report) as tell, _progress(json) as progress:
        try:
            loaded, refused = adapter.load(item, file, tell=tell, progress=progress, **how), None
        except NotLoaded as error:
            loaded, refused = error.loaded, error
        copied = adapter.mapping.items[item].copied
    if json:
        show({**_said(loaded), **(refused.problem(language()) if refused else {})})
    else:
        _print(loaded, refused, dry=not how.get("keep", True), copied=copied, report=report)
        _tell_known(home, loaded.some)
    raise SystemExit(1 if refused else 0)


@contextmanager
def _reporting(report: Path | None) -> Iterator[Callable[[RowFault], None]]:
    if report is None:
        yield lambda _: None
        return
    with report.open("w", encoding="utf-8-sig", newline="") as file:  # with a mark, for Excel
        writer, lang = csv.writer(file), language()
        writer.writerow(["row", "field", "column", "fault", "remedy", "local id"])
        yield lambda f: writer.writerow([f.row, f.field, f.column, f.said.text(lang), f.remedy.text(lang), f.local_id])


def _print(loaded: Loaded, refused: NotLoaded | None, *, dry: bool, copied: bool, report: Path | None) -> None:
    lang, made = language(), loaded.lineage
    for fault in loaded.faults[:SHOWN]:
        where = fault.field + (f" ({fault.column})" if fault.column and fault.column != fault.field else "")
        out.print(
            f"{t('row', '行')} {fault.row}: {where}: {fault.said.text(lang)} {fault.remedy.text(lang)}", soft_wrap=True
        )
    if (more := loaded.wrong - SHOWN) > 0:
        all_ = t("; --report FILE has all", "。--report FILE ですべて出力します") if report is None else ""
        out.print(f"  … {t(f'and {more} more', f'ほか {more} 行')}{all_}")
    en = f"{made.rows:,} rows, {made.records:,} records of {made.persons:,} persons"
    ja = f"{made.rows:,} 行、{made.persons:,} 人の {made.records:,} 件"
    if copied:
        en += f": {made.added:,} added, {made.changed:,} changed, {made.removed:,} removed"
        ja += f": 追加 {made.added:,} 人、変更 {made.changed:,} 人、削除 {made.removed:,} 人"
    held = t(f", {made.held:,} held back", f"、保留 {made.held:,} 人") if made.held else ""
    out.print(t(en, ja) + held, soft_wrap=True)
    if refused:
        problem = refused.problem(lang)
        err.print(f"{problem['detail']} {problem['remedy']}", soft_wrap=True)
    elif dry:
        err.print(t("All of it fits. Nothing was changed.", "すべて読めます。何も変更していません。"))
    else:
        err.print(t("It is the copy from which inquiries are answered now.", "以後の照会はこの副本から回答します。"))


@app.command("preview")
def preview(
    home: HomeArgument,
    item: Item,
    file: SourceFile = None,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many records.")] = 5,
    json: Json = False,
) -> None:
    """The first records as they would be answered. Shows what is held about persons: on your own screen only."""
    with _opened(home) as adapter:
        translator, found = adapter.translator(item), []
        for number, row in adapter.rows(item, file):
            if isinstance(row, RowFault) or not translator.keeps(row):
                continue
            found.append((number, *translator.record(row, number)))
            if len(found) == rows:
                break
        specification = translator.specification
    if json:
        show([{"row": n, "record": r, "faults": [_fault(f) for f in faults]} for n, r, faults in found])
        return
    lang = language()
    for number, record, faults in found:
        wrong = {f.field for f in faults}
        out.print(f"{t('row', '行')} {number}", style="bold")
        table = Table(box=None, show_header=False, pad_edge=False)
        for field in specification.fields:
            value = "✗" if field.name in wrong else str(record.get(field.name, ""))
            table.add_row(f"  {field.name}", field.title.text(lang), value)
        out.print(table)
        for fault in faults:
            out.print(
                f"{t('row', '行')} {number}: {fault.field}: {fault.said.text(lang)} {fault.remedy.text(lang)}",
                soft_wrap=True,
            )


@app.command("people")
def people(
    home: HomeArgument,
    report: Annotated[Path | None, typer.Option(help="Write whom it concerns into this CSV file, by local id.")] = None,
    json: Json = False,
) -> None:
    """Read the body's table of persons: how many have their code here, and why others have none. Exit 0 if all have theirs."""
    coded, awaited = _known(home, subjects.subjects), _known(home, subjects.wanted)
    why: dict[str, str] = {}
    seen: dict[str, str] = {}
    have = set[str]()
    with _opened(home) as adapter:
        if adapter.mapping.people is None:
            raise setup("The mapping has no [people].", "対応付けに [people] がありません。", code="mapping")
        number = number_format(adapter.pack.header.person_number)
        for local_id, written in adapter.people():
            if local_id in coded:
                have.add(local_id)
            try:
                first = seen.setdefault(number.parse(written), local_id)
            except RenkeiError:
                first = ""
            if local_id not in coded:
                others = "awaited" if local_id in awaited else "unknown"
                why[local_id] = "no-number" if not first else "twice" if first != local_id else others
    counted = Counter(why.values())
    if report is not None:
        with report.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([("local id", "why"), *why.items()])
    if json:
        show({"persons": len(have) + len(why), "with_code": len(have), "without": counted})
    else:
        out.print(
            t(
                f"{len(have) + len(why):,} persons; {len(have):,} have a code.",
                f"{len(have) + len(why):,} 人のうち符号あり {len(have):,} 人。",
            )
        )
        for reason, count in counted.most_common():
            out.print(f"  {count:,} {t(*WITHOUT[reason])}", soft_wrap=True)
    raise SystemExit(1 if why else 0)


WITHOUT = {
    "no-number": (
        "have a number that is none: its length or check digit is wrong",
        "人: 番号ではありません（桁数か検査数字の誤り）",
    ),
    "twice": ("have the number of another local id", "人: 別の宛名番号の人と同じ番号です"),
    "awaited": ("wait for theirs: let the gateway run", "人: 符号の到着待ちです（ゲートウェイを動かしてください）"),
    "unknown": (
        "are not known to the numbering authority, or were not asked for yet (the gateway asks at its start and once a day)",
        "人: 付番機構が知らないか、まだ問い合わせていません（起動時と1日1回問い合わせます）",
    ),
}
"""Why a person has no code."""


def _known(home: Path, table: sa.Table, *, among: Sequence[str] | None = None, most: int | None = None) -> set[str]:
    """Local ids in a table of the gateway's own database, perhaps only some of them; none while it never ran."""
    query = sa.select(table.c.local_id).limit(most)
    if among is not None:
        query = query.where(table.c.local_id.in_(among))
    engine = sa.create_engine(Home(home).settings().database)
    try:
        with engine.connect() as connection:
            return set(connection.execute(query).scalars())
    except sa.exc.SQLAlchemyError:
        return set()
    finally:
        engine.dispose()


def _tell_known(home: Path, some: Sequence[str]) -> None:
    """Of the persons of an item, how many are known here: if nearly none, its key is not the one of the persons."""
    count = len(_known(home, subjects.subjects, among=some))
    if count * 2 >= len(some) or not _known(home, subjects.subjects, most=1):
        return
    en = f"Of {len(some):,} of its persons only {count:,} have a code here. Is `key` written as in [people] (`digits`)?"
    ja = (
        f"{len(some):,} 人を調べ、符号のある人は {count:,} 人だけです。key の書き方は [people] と同じですか（digits）。"
    )
    more = t(" See also `renkei source people`.", "`renkei source people` も参照してください。")
    err.print(t(en, ja) + more, soft_wrap=True)


@app.command("tables")
def tables(
    url: Annotated[str, typer.Argument(help="SQLAlchemy URL of a database, or a file.")],
    json: Json = False,
) -> None:
    """The tables and views of a database with their columns; the columns of a file."""
    found = dict(_columns(url))
    if json:
        show(found)
        return
    for name, columns in found.items():
        out.print(name, style="bold", end="  ")
        out.print(", ".join(columns), soft_wrap=True)


@app.command("propose")
def propose(
    url: Annotated[str, typer.Argument(help="SQLAlchemy URL of a database, or a file as an example.")],
    item: Annotated[str, typer.Argument(help="Item that is to be answered from it.")],
    table: Annotated[str, typer.Option(help="Table or view; the one that fits best by default.")] = "",
    pack: PackFolder = DEFAULT_PACK,
    json: Json = False,
) -> None:
    """Write a first mapping for you to correct, with what is doubtful about it. Exit 1 if a required field was not found."""
    if not pack.is_dir():
        raise setup(
            f"There is no pack {pack}: say where with --pack.",
            f"パック {pack} がありません。--pack で指定してください。",
        )
    loaded = Pack.load(pack)
    if item not in loaded.specifications:
        raise setup(f"{item!r} has no data specification.", f"{item} にはデータ仕様がありません。", code="no-item")
    hints, specification = proposals.Hints.read(pack), loaded.specifications[item]
    candidates = {name: columns for name, columns in _columns(url) if not table or name == table}
    if not candidates:
        raise setup(f"There is no table {table!r}.", f"表 {table} がありません。", code="mapping")
    made = {n: proposals.propose(loaded, item, c, _samples(url, n, c), hints) for n, c in candidates.items()}
    best = max(made, key=lambda n: _worth(made[n], specification))
    lost = [g.field for g in made[best].guesses if not g.column and _required(specification, g.field)]
    if json:
        guesses = [{**g._asdict(), "written": g.written} for g in made[best].guesses]
        show({"table": best, "key": made[best].key, "guesses": guesses, "spare": made[best].spare, "missing": lost})
    else:
        where = (
            f'file = {{ name = "*{Path(url).suffix}"{_format(Path(url))} }}'
            if Path(url).is_file()
            else f'table = "{best}"'
        )
        out.print(proposals.as_toml(loaded, made[best], where), soft_wrap=True)
        if lost:
            err.print(
                t(f"Required, and not found: {', '.join(lost)}.", f"必須ですが見つかりません: {'、'.join(lost)}。")
            )
    raise SystemExit(1 if lost else 0)


def _worth(proposal: proposals.Proposal, specification: Specification) -> float:
    return sum(g.sure * (2 if _required(specification, g.field) else 1) for g in proposal.guesses)


def _required(specification: Specification, name: str) -> bool:
    field = specification.field(name)
    return field is not None and field.required


def _format(path: Path) -> str:
    kinds = {".tsv": ', format = "tsv"', ".txt": ', format = "tsv"', ".xlsx": ', format = "excel"'}
    skip, _ = reading.header(_as_file(str(path)), path)
    return kinds.get(path.suffix.lower(), "") + (f", skip = {skip}" if skip else "")


def _columns(url: str) -> Iterator[tuple[str, list[str]]]:
    """Names and columns of the tables there are."""
    if Path(url).is_file():
        yield Path(url).name, [c for c in reading.header(_as_file(url), Path(url))[1] if c]
        return
    if "://" not in url:
        raise setup(f"{url} is neither a file nor a URL.", f"{url} はファイルでも URL でもありません。")
    engine = reading.open_database(url)
    try:
        yield from reading.tables_of(engine)
    finally:
        engine.dispose()


def _as_file(url: str) -> declarations.File:
    kinds: dict[str, Any] = {".tsv": "tsv", ".txt": "tsv", ".xlsx": "excel"}
    return declarations.File("*", format=kinds.get(Path(url).suffix.lower(), "csv"))


def _samples(url: str, name: str, columns: list[str]) -> list[Any]:
    """The first rows, to try values on."""
    if Path(url).is_file():
        skip, _ = reading.header(_as_file(url), Path(url))
        declared = msgspec.structs.replace(_as_file(url), skip=skip)
        rows = reading.read_file(declared, Path(url), columns, lambda a, b: None)
        return [
            row for (_, row), _ in zip(rows, range(proposals.SAMPLES), strict=False) if not isinstance(row, RowFault)
        ]
    engine = reading.open_database(url)
    try:
        return reading.first_rows(engine, name, columns, proposals.SAMPLES)
    finally:
        engine.dispose()


def _where(m: adapters.ItemMapping) -> str:
    return m.table or (m.file.name if m.file else m.rest.url if m.rest else "")


def _when(lineage: Lineage, zone: dt.tzinfo) -> str:
    return dt.datetime.fromtimestamp(lineage.loaded_at / 1000, zone).strftime("%Y-%m-%d %H:%M")


def _fault(fault: RowFault) -> dict[str, Any]:
    told = {**fault._asdict(), "said": fault.said._asdict(), "remedy": fault.remedy._asdict()}
    return {name: value for name, value in told.items() if name != "local_id"}


def _said(loaded: Loaded) -> dict[str, Any]:
    return {"copy": loaded.lineage, "wrong": loaded.wrong, "faults": [_fault(f) for f in loaded.faults]}
