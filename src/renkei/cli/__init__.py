"""The one command. Composition root: it reads settings, builds services and prints; it decides nothing.

Every command takes ``--json`` where it prints something; failures print code, sentence and remedy. Exit codes: 0 done, 1 the answer is
no (refused, invalid, faults), 2 wrong use, 3 something is missing or does not answer.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from renkei import __version__
from renkei.cli import (
    bodies,
    card,
    certification,
    clinic,
    joining,
    law,
    nation,
    numbers,
    permits,
    reports,
    witness,
)
from renkei.cli.shell import fail, misused, out
from renkei.errors import RenkeiError, SetupError

LATER = {"source": "renkei.cli.source", "open": "renkei.cli.opened"}
"""Groups whose modules take long to load: only who asks for them waits."""


class Groups(TyperGroup):
    """The groups of the command, some of them loaded when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *LATER]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in LATER:
            return super().get_command(ctx, cmd_name)
        found = typer.main.get_command(importlib.import_module(LATER[cmd_name]).app)
        found.name = cmd_name
        return found


app = typer.Typer(
    cls=Groups,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Linkage platform of a national-number system.",
)
for name, sub in (
    ("number", numbers.app),
    ("law", law.app),
    ("nation", nation.app),
    ("authority", bodies.authority),
    ("commission", bodies.commission),
    ("witness", witness.app),
    ("card", card.app),
    ("certification", certification.app),
    ("clinic", clinic.app),
    ("body", joining.body),
):
    app.add_typer(sub, name=name)
app.command()(permits.verify)
app.command()(permits.evidence)
app.command()(bodies.run)
app.command()(bodies.rotate)
app.command()(bodies.backup)
app.command()(bodies.restore)
app.command()(nation.inquire)
app.command()(reports.report)


def _version(value: bool) -> None:
    if value:
        out.print(f"renkei {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Linkage platform of a national-number system."""


def entry() -> None:
    """Run the command; every expected failure ends in one form."""
    json = "--json" in sys.argv
    try:
        sys.exit(app(standalone_mode=not json))
    except RenkeiError as error:
        fail(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        said = error.strerror or type(error).__name__
        fail(
            SetupError(
                f"{where}{said}.",
                ja=f"{where}ファイルを読み書きできません（{said}）。",
                code="file",
                remedy="Check the path and who may use it.",
                remedy_ja="パスと権限を確認してください。",
            )
        )
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not json or not hasattr(error, "format_message"):
            raise
        misused(error.format_message())
