"""What every command shares: where it prints, in which language, and how it fails."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console

from renkei.errors import RenkeiError, SetupError, Unavailable

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PackFolder = Annotated[Path, typer.Option("--pack", help="Folder of the jurisdiction pack.")]
Folder = Annotated[Path, typer.Option("--nation", help="Folder of the running nation.")]
DEFAULT_PACK = Path("packs/japan")
DEFAULT_NATION = Path("var/demo")
out = Console(highlight=False, markup=False)
err = Console(stderr=True, highlight=False, markup=False)


def language() -> str:
    """The reader's language, from the environment's locale."""
    return "ja" if os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("ja") else "en"


def t(en: str, ja: str) -> str:
    """``en`` or ``ja``, whichever the reader's language is."""
    return ja if language() == "ja" else en


def show(value: Any) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def fail(error: RenkeiError, **more: Any) -> NoReturn:
    """Print an error the way every command does (``more`` only in JSON), and exit."""
    problem = error.problem(language())
    if "--json" in sys.argv:
        show({**more, **problem})
    else:
        err.print(f"{error.code}: {problem['detail']}", style="bold", soft_wrap=True)
        err.print(problem["remedy"], soft_wrap=True)
    raise SystemExit(3 if isinstance(error, SetupError | Unavailable) else 1)


def misused(sentence: str) -> NoReturn:
    """Wrong use, for programs: the form of every other failure, exit 2."""
    error = RenkeiError(sentence, code="usage", remedy="See --help.", remedy_ja="--help を参照してください。")
    show(error.problem(language()))
    raise SystemExit(2)


def day(text: str) -> dt.date:
    """A day of a command's option; today if empty."""
    try:
        return dt.date.fromisoformat(text) if text else dt.datetime.now(dt.UTC).date()
    except ValueError:
        raise typer.BadParameter(t("Write the day as YYYY-MM-DD.", "日付は YYYY-MM-DD で書いてください。")) from None


def setup(
    sentence: str, ja: str, *, code: str = "file", remedy: str = "Check the path.", remedy_ja: str = ""
) -> SetupError:
    """A ``SetupError`` in both languages."""
    return SetupError(sentence, ja=ja, code=code, remedy=remedy, remedy_ja=remedy_ja or "パスを確認してください。")


def read(path: Path) -> str:
    """A small text file the user named."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise setup(f"{path} cannot be read as text.", f"{path} をテキストとして読めません。") from None
