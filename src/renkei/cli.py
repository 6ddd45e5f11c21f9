"""The one command. Composition root: it reads settings, builds services and prints; it decides nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback()
def main() -> None:
    """Renkei."""


@app.command()
def run(home: Annotated[Path, typer.Argument(help="Home folder of one institution.")]) -> None:
    """Run one institution until it is told to stop."""
    from renkei.nation.world import run_one

    asyncio.run(run_one(home))


if __name__ == "__main__":
    app()
