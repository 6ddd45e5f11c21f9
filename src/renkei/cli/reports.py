"""``renkei report`` and ``renkei commission export``: the record as a file, and the year's report from it alone."""

from __future__ import annotations

import locale
import os
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from renkei.cli.shell import Json, err, out, setup, show, t
from renkei.institution.settings import Home


def report(
    year: Annotated[int, typer.Argument(min=1900, max=9999, help="Year of the law's country.")],
    log: Annotated[Path, typer.Option(help="The record as a file (`renkei commission export`).")],
    to: Annotated[Path, typer.Option(help="Folder for the report.")] = Path(),
    pdf: Annotated[bool, typer.Option(help="Also as PDF.")] = True,
    json: Json = False,
) -> None:
    """Write the commission's report on one year, in Japanese and English, from the record alone: the same bytes for everyone."""
    from renkei.commission.annual import report as write
    from renkei.commission.archive import Archive
    from renkei.institution.paper import pdf as print_

    if not log.is_file():
        raise setup(f"{log} is not a file.", f"{log} はファイルではありません。")
    if not to.is_dir():
        raise setup(f"There is no folder {to}.", f"フォルダー {to} がありません。")
    archive = Archive(log)
    told = {}
    # Pango chooses glyphs by the machine's locale: the same for everyone, or the bytes differ.
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ.pop("PANGO_LANGUAGE", None)
    locale.setlocale(locale.LC_ALL, "C.UTF-8")
    for lang in ("ja", "en"):
        html = write(archive, year, lang)
        made = {f"report-{year}-{lang}.html": html.encode()}
        if pdf:
            with err.status(t("printing", "PDF を作成中")):
                made[f"report-{year}-{lang}.pdf"] = print_(html)
        for name, data in made.items():
            (to / name).write_bytes(data)
            told[name] = sha256(data).hexdigest()
    if json:
        show({"year": year, "entries": archive.size, "files": told})
        return
    for name, digest in told.items():
        out.print(f"{digest}  {to / name}", soft_wrap=True)


def export(
    file: Annotated[Path, typer.Argument(help="File to write.")],
    home: Annotated[Path, typer.Option(help="Home folder of the commission.")],
    json: Json = False,
) -> None:
    """Write the whole record into a file that anyone can check, also while the commission runs."""
    from renkei.commission.archive import write
    from renkei.institution.database import Database
    from renkei.institution.keeper import Keeper

    home_ = Home(home)
    settings = home_.settings()
    if settings.role not in ("commission", "hub"):
        raise setup(f"{home} is no keeper's.", f"{home} は記録を保持する機関のものではありません。")
    if not file.absolute().parent.is_dir():
        raise setup(f"There is no folder {file.parent}.", f"フォルダー {file.parent} がありません。")
    also = ("commission",) if settings.role == "commission" else ()
    database = Database(settings.database, packages=("institution", "ledger", "record", *also))
    unfinished = file.with_name(file.name + ".part")
    try:
        with unfinished.open("wb") as target, err.status(t("writing the record", "記録を書き出し中")):
            size = write(Keeper(home_, database), database.engine, target)
        unfinished.replace(file)
    finally:
        database.close()
        unfinished.unlink(missing_ok=True)
    if json:
        show({"file": str(file), "entries": size})
    else:
        out.print(t(f"{size:,} entries: {file}", f"{size:,}件: {file}"), soft_wrap=True)
