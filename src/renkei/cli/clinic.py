"""``renkei clinic``: the terminal of a clinic, which says whether the patient whose card is there is insured."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from renkei.cli.card import ReaderName, opener
from renkei.cli.shell import out, t

app = typer.Typer(no_args_is_help=True, help="A clinic's terminal: is the patient insured?")


@app.command("serve")
def serve(
    home: Annotated[Path, typer.Argument(help="The terminal's folder, with clinic.toml.")],
    card: Annotated[
        Path | None, typer.Option(help="The file of an emulated card, in place of a card in a reader.")
    ] = None,
    reader: ReaderName = "",
) -> None:
    """Answer the clinic's browser, on this machine alone, until Ctrl-C."""
    from renkei.clinic.service import Terminal, run
    from renkei.institution.bus import demand_free
    from renkei.institution.tasks import end, told_to_stop

    terminal = Terminal(home, opener(card, reader))
    demand_free([terminal.settings.port])

    async def until_stopped() -> None:
        stop = told_to_stop()
        serving = asyncio.create_task(run(terminal))
        await stop.wait()
        await end([serving])

    out.print(t("The terminal is at", "端末のアドレス:"), f"http://127.0.0.1:{terminal.settings.port}")
    asyncio.run(until_stopped())
