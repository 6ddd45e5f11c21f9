"""``renkei number``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from renkei.cli.shell import Json, fail, language, out, show, t
from renkei.errors import Malformed, RenkeiError
from renkei.numbers import FORMATS, NumberFormat, number_format, recognise

app = typer.Typer(no_args_is_help=True, help="Numbers and their check digits.")
KINDS = "jp-individual, jp-corporate, jp-resident-record or jp-local-government"


@app.callback()
def numbers() -> None:
    """Numbers and their check digits."""


@app.command("check")
def check(
    digits: Annotated[str, typer.Argument(help="The number as written; - reads standard input.")],
    format: Annotated[str, typer.Option(help=f"{KINDS}.")] = "",
    json: Json = False,
) -> None:
    """Check a number's form and check digit. Exit 0 if it is valid."""
    if format and format not in FORMATS:
        raise typer.BadParameter(f"{t('Choose one of', '次のいずれかです')}: {', '.join(FORMATS)}.")
    text = (sys.stdin.readline() if digits == "-" else digits).strip()
    try:
        found = _formats(text, format)
    except RenkeiError as error:
        fail(error, valid=False, formats=[])
    if json:
        show({"valid": True, "formats": [f.key for f in found], "masked": found[0].mask(text)})
    else:
        for f in found:
            out.print(f"{f.mask(text)}  {f.name_ja if language() == 'ja' else f.name}")


def _formats(text: str, named: str) -> list[type[NumberFormat]]:
    """The formats ``text`` is a number of; ``Malformed`` if there is none."""
    if named:
        number_format(named).parse(text)
        return [number_format(named)]
    found = recognise(text)
    if not found:
        sized = [f for f in FORMATS.values() if f.length == sum(c.isdigit() for c in text)]
        if len(sized) == 1:
            sized[0].parse(text)
        raise Malformed(
            "This is no valid number of any known format.",
            ja="どの番号としても正しくありません。",
            remedy=f"Check the digits, or name the format with --format: {KINDS}.",
            remedy_ja="数字を確認するか、--format で番号の種類を指定してください。",
            code="number",
        )
    return found
