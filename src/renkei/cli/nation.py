"""``renkei nation`` and ``renkei inquire``: a whole nation on this machine, and one inquiry on it.

Services are imported by the command that needs them, so that the others start at once.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from renkei.cli.joining import admit
from renkei.cli.shell import DEFAULT_NATION, DEFAULT_PACK, Folder, Json, PackFolder, day, language, out, setup, show, t

app = typer.Typer(no_args_is_help=True, help="A whole nation on this machine.")
Residents = Annotated[int, typer.Option(min=20, max=5_000_000, help="Invented residents (first start only).")]


@app.command("up")
def nation_up(
    folder: Folder = DEFAULT_NATION,
    pack: PackFolder = DEFAULT_PACK,
    residents: Residents = 20_000,
    port: Annotated[
        int, typer.Option(min=0, max=65_000, help="First port; 0 takes free ones (first start only).")
    ] = 8600,
    processes: Annotated[bool, typer.Option(help="One process per role.")] = False,
    inquiries: Annotated[int, typer.Option(min=0, help="Inquiries of the first day.")] = 300,
    cards: Annotated[bool, typer.Option(help="Cards for the personas, if softhsm2 is installed.")] = True,
) -> None:
    """Raise the whole nation, or take up the one in the folder; Ctrl-C stops it."""
    import uvloop

    from renkei.nation.demo import up

    raised = up(
        folder,
        pack,
        residents=residents,
        port=port,
        processes=processes,
        inquiries=inquiries,
        cards=cards,
        out=out,
    )
    uvloop.run(raised)


@app.command("smoke")
def nation_smoke(
    pack: PackFolder = DEFAULT_PACK,
    residents: Residents = 500,
    processes: Annotated[bool, typer.Option(help="One process per role.")] = False,
) -> None:
    """Raise a small nation in a temporary folder, try the whole way, print one JSON line, stop."""
    import uvloop

    from renkei.nation.demo import smoke

    report = uvloop.run(smoke(pack, residents=residents, processes=processes))
    show(report)
    raise SystemExit(0 if report["ok"] else 1)


app.command("admit")(admit)


@app.command("sites", hidden=True)
def nation_sites(folder: Annotated[Path, typer.Argument(help="Their folder.")]) -> None:
    """Run the demo's other sites, the bank and the city's hall, until told to stop."""
    from renkei.institution.tasks import end, told_to_stop
    from renkei.nation.bank.service import Bank
    from renkei.nation.hall.service import Hall

    async def until_stopped() -> None:
        stop = told_to_stop()
        serving = [asyncio.create_task(site(folder).serve()) for site in (Bank, Hall)]
        await stop.wait()
        await end(serving)

    asyncio.run(until_stopped())


@app.command("status")
def nation_status(folder: Folder = DEFAULT_NATION, json: Json = False) -> None:
    """How every body of the running nation is. Exit 0 if all are well, 1 if one needs attention, 3 if one does not answer."""
    from renkei.nation.world import World

    world = World(folder)

    async def ask() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(world.health(p) for p in world.plan.places)))

    states = asyncio.run(ask())
    if json:
        show({p.body: s or {"status": "not running"} for p, s in zip(world.plan.places, states, strict=True)})
    else:
        table = Table(box=None)
        for column in (t("body", "機関"), t("address", "アドレス"), t("status", "状態"), t("details", "詳細")):
            table.add_column(column)
        for place, state in zip(world.plan.places, states, strict=True):
            details = {k: v for k, v in state.items() if k not in ("status", "body", "role") and v}
            text = " ".join(f"{k}={v}" for k, v in details.items())
            table.add_row(place.body, place.url, state.get("status") or t("not running", "停止中"), text)
        out.print(table)
    raise SystemExit(3 if not all(states) else 1 if any(s["status"] != "ok" for s in states) else 0)


def inquire(
    requester: Annotated[str, typer.Option(help="Body that asks.")] = "ohashi-city",
    affair: Annotated[str, typer.Option(help="Affair it asks for.")] = "child-allowance",
    provider: Annotated[str, typer.Option(help="Body that is asked.")] = "tax-union",
    item: Annotated[str, typer.Option(help="Item that is asked for.")] = "local-tax",
    purpose: Annotated[str, typer.Option(help="Coded purpose.")] = "assess-amount",
    resident: Annotated[str, typer.Option(help="A persona of the demo.")] = "hanako",
    local_id: Annotated[str, typer.Option(help="Instead: the requester's local subject id.")] = "",
    issued_at: Annotated[str, typer.Option(help="Pretend it was made on this day (YYYY-MM-DD): it is refused.")] = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 10.0,
    save: Annotated[Path | None, typer.Option(help="Write the permit to this file.")] = None,
    folder: Folder = DEFAULT_NATION,
    json: Json = False,
) -> None:
    """Ask one real row of the table on the running demo and print each step with its time.

    Exit 0 if answered, 1 if refused, 3 if there is no answer yet.
    """
    from renkei.nation.demo import Question, inquire_once, print_steps

    made = _midnight(day(issued_at)) if issued_at else None
    if not (math.isfinite(wait) and 0 <= wait <= 3600):
        raise typer.BadParameter(t("Wait between 0 and 3600 seconds.", "待ち時間は 0〜3600 秒です。"))
    if save and not save.absolute().parent.is_dir():
        raise setup(f"There is no folder {save.parent}.", f"フォルダー {save.parent} がありません。")
    question = Question(requester, affair, provider, item, purpose, resident, local_id, made)
    told = asyncio.run(inquire_once(folder, question, wait, language()))
    if json:
        show(told)
    else:
        print_steps(out, told, language())
    if save and told["permit"]:
        save.write_text(told["permit"], "utf-8")
        if not json:
            out.print(t(f"Permit saved: {save}", f"許可証を保存しました: {save}"), soft_wrap=True)
    raise SystemExit({"answered": 0, "refused": 1}.get(told["state"], 1 if told["state"] == "expired" else 3))


def _midnight(when: dt.date) -> int:
    return int(dt.datetime.combine(when, dt.time(), dt.UTC).timestamp() * 1000)
