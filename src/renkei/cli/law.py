"""``renkei law``: check a pack, explain a linkage, list the codes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from renkei.cli.joining import publish
from renkei.cli.shell import DEFAULT_PACK, Json, PackFolder, day, err, language, out, setup, show, t
from renkei.institution.settings import system_clock
from renkei.law import Linkage, Pack, PackFaults, changes, explain, read_folder
from renkei.law import check as check_pack

app = typer.Typer(no_args_is_help=True, help="The law as data: check a pack, explain a linkage.")
SHOWN = 12


@app.command("check")
def check(pack: Annotated[Path, typer.Argument(help="Folder of a pack.")], json: Json = False) -> None:
    """Report every fault of a pack with file, line and remedy, and what breaks users of what was released. Exit 0 if there is none."""
    try:
        found, faults = check_pack(read_folder(pack))
    except PackFaults as error:
        found, faults = None, error.faults
    if found and (released := _released(pack)):
        faults = changes.faults(released, found, _today(found))
    if json:
        show(
            {
                "ok": not faults,
                "pack": found.reference if found else None,
                "faults": [f._asdict() for f in faults],
            }
        )
    elif faults:
        for f in faults:
            out.print(f"{f.file}:{f.line or ''}: {f.sentence}\n    {f.remedy}", soft_wrap=True)
        err.print(t(f"{len(faults)} fault(s).", f"{len(faults)} 件の誤りがあります。"))
    elif found:  # faultless
        rows = len({r.row for r in found.linkages})
        out.print(f"{found.reference}: no fault. {rows} rows, {len(found.linkages)} linkages.")
        out.print(
            f"{len(found.kinds)} kinds, {len(found.affairs)} affairs, {len(found.items)} items, "
            f"{len(found.specifications)} data specifications, {len(found.terms)} terms."
        )
    raise SystemExit(1 if faults else 0)


@app.command("diff")
def diff(
    old: Annotated[Path, typer.Argument(help="Folder of a pack, or the released.json of one.")],
    new: Annotated[Path, typer.Argument(help="Folder of the pack that is to follow it.")],
    on: Annotated[str, typer.Option(help="Day on which it is to take effect, YYYY-MM-DD; today by default.")] = "",
    json: Json = False,
) -> None:
    """What changes for whom between two versions of the data specifications. Exit 1 if a system that is right would be wrong."""
    pack = Pack.load(new)
    before = _surface(old) if old.suffix == ".json" else changes.Surface.of(Pack.load(old))
    found = changes.compare(before, changes.Surface.of(pack), day(on) if on else _today(pack))
    met = [changes.concerned(pack, c) for c in found]
    lang = language()
    if json:
        show(
            {
                "breaks": any(c.weight == "breaks" for c in found),
                "changes": [_change(c, m) for c, m in zip(found, met, strict=True)],
            }
        )
    else:
        words = {
            "breaks": t("breaks", "破壊的"),
            "notice": t("notice", "要確認"),
            "harmless": t("harmless", "影響なし"),
        }
        for change, who in zip(found, met, strict=True):
            name = change.item + (f".{change.field}" if change.field else "")
            out.print(f"{words[change.weight]}  {name}: {change.said.text(lang)}", soft_wrap=True)
            if who.kinds and change.weight != "harmless":
                titles = ", ".join(pack.kinds[k].title.text(lang) for k in who.kinds[:SHOWN])
                count = t(f"{len(who.affairs)} affairs", f"{len(who.affairs)}事務")
                out.print(f"    {t('concerns', '関係先')}: {titles} ({count})", soft_wrap=True)
                out.print(f"    {change.remedy.text(lang)}", soft_wrap=True)
        if not found:
            out.print(t("Nothing changes for anybody.", "誰にも影響はありません。"))
    raise SystemExit(1 if any(c.weight == "breaks" for c in found) else 0)


@app.command("release")
def release(
    pack: Annotated[Path, typer.Argument(help="Folder of a pack.")],
    json: Json = False,
) -> None:
    """Write down what the pack promises to programs (released.json): `check` holds later changes against it. Refused if it breaks."""
    loaded = Pack.load(pack)
    if (before := _released(pack)) and (faults := changes.faults(before, loaded, _today(loaded))):
        raise PackFaults(faults)
    (pack / changes.RELEASED).write_bytes(
        msgspec.json.format(msgspec.json.encode(changes.Surface.of(loaded)), indent=1) + b"\n"
    )
    if json:
        show({"released": loaded.reference})
    else:
        out.print(
            t(
                f"{loaded.reference} is what later versions are held against.",
                f"今後の版は {loaded.reference} と比べられます。",
            )
        )


def _released(pack: Path) -> changes.Surface | None:
    return _surface(pack / changes.RELEASED) if (pack / changes.RELEASED).is_file() else None


def _surface(file: Path) -> changes.Surface:
    try:
        return msgspec.json.decode(file.read_bytes(), type=changes.Surface)
    except msgspec.DecodeError:
        raise setup(
            f"{file} is not what `renkei law release` writes.", f"{file} は `renkei law release` の出力ではありません。"
        ) from None


def _today(pack: Pack) -> dt.date:
    return pack.day(system_clock())


def _change(change: changes.Change, met: changes.Concerned) -> dict[str, Any]:
    return {**change._asdict(), "said": change.said._asdict(), "remedy": change.remedy._asdict(), **met._asdict()}


@app.command("explain")
def explain_linkage(
    requester: Annotated[str, typer.Option(help="Body or kind that asks.")],
    affair: Annotated[str, typer.Option(help="Affair it asks for.")],
    provider: Annotated[str, typer.Option(help="Body or kind that is asked.")],
    item: Annotated[str, typer.Option(help="Item that is asked for.")],
    on: Annotated[str, typer.Option(help="Day, YYYY-MM-DD; today by default.")] = "",
    pack: PackFolder = DEFAULT_PACK,
    json: Json = False,
) -> None:
    """Who may ask whom for what, and why not, citing the row. Exit 0 if it is allowed."""
    when = day(on)
    loaded, lang = Pack.load(pack), language()
    found = explain(loaded, requester, affair, provider, item, when, lang)
    allowed = found.decision.allowed
    if json:
        show(
            {
                **found.decision._asdict(),
                "on": when.isoformat(),
                "citation": found.citation,
                "sentence": found.sentence,
                "alternatives": [_linkage(r) for r in found.alternatives],
            }
        )
        raise SystemExit(0 if allowed else 1)
    out.print(t("Yes.", "できます。") if allowed else t("No.", "できません。"), style="bold", end=" ")
    out.print(found.sentence)
    out.print(f"{loaded.affairs[affair].title.text(lang)} · {loaded.items[item].title.text(lang)}")
    if found.citation:
        out.print((t("Basis: ", "根拠: ") if allowed else t("It would need: ", "必要な根拠: ")) + found.citation)
    for row in found.alternatives[:SHOWN]:
        asker = " / ".join(loaded.kinds[k].title.text(lang) for k in row.requester)
        holder = " / ".join(loaded.kinds[k].title.text(lang) for k in row.provider)
        title, what = loaded.affairs[row.affair].title.text(lang), loaded.items[row.item].title.text(lang)
        out.print(f"  {t('row', '項')} {row.row}: {asker} → {holder}; {title}; {what}", soft_wrap=True)
    if (more := len(found.alternatives) - SHOWN) > 0:
        out.print(f"  … {t(f'and {more} more; --json shows all', f'ほか {more} 件。--json ですべて表示します')}")
    raise SystemExit(0 if allowed else 1)


def _linkage(row: Linkage) -> dict[str, Any]:
    return {**row._asdict(), "start": row.start.isoformat(), "end": row.end and row.end.isoformat()}


@app.command("list")
def list_codes(
    what: Annotated[str, typer.Argument(help="bodies, kinds, affairs, items, purposes or rows.")],
    pack: PackFolder = DEFAULT_PACK,
    json: Json = False,
) -> None:
    """List the codes of a pack."""
    loaded, lang = Pack.load(pack), language()
    tables: dict[str, dict[str, str]] = {
        "bodies": {c: b.title.text(lang) for c, b in loaded.bodies.items()},
        "kinds": {c: k.title.text(lang) for c, k in loaded.kinds.items()},
        "affairs": {c: a.title.text(lang) for c, a in loaded.affairs.items()},
        "items": {c: i.title.text(lang) for c, i in loaded.items.items()},
        "purposes": {c: p.text(lang) for c, p in loaded.purposes.items()},
        "rows": {r.row: loaded.affairs[r.affair].title.text(lang) for r in loaded.linkages},
    }
    if what not in tables:
        raise typer.BadParameter(f"{t('Choose one of', '次のいずれかです')}: {', '.join(tables)}.")
    if json:
        show(tables[what])
        return
    table = Table(box=None)
    table.add_column(t("code", "コード"))
    table.add_column(t("title", "名称"))
    for code, title in tables[what].items():
        table.add_row(code, title)
    out.print(table)


app.command("publish")(publish)
