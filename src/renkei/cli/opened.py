"""``renkei open``: open a table to everybody, or see why not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from renkei.catalogue import corporations
from renkei.catalogue.opened import read_about
from renkei.catalogue.privacy import Finding
from renkei.catalogue.publication import NotPublished, Publication
from renkei.catalogue.service import Catalogue
from renkei.cli.shell import DEFAULT_PACK, Json, PackFolder, err, language, out, setup, show, t
from renkei.institution.database import Database
from renkei.institution.keeper import newest_law
from renkei.institution.settings import Home, system_clock

app = typer.Typer(no_args_is_help=True, help="Open a table to everybody: check it, publish it, withdraw it.")
About = Annotated[Path, typer.Argument(help="about.toml: what the table is.")]
Table = Annotated[Path, typer.Argument(help="The table, CSV.")]
HomeFolder = Annotated[Path, typer.Option(help="Home folder of the catalogue, running or not.")]


def _publication(home: Path) -> Publication:
    settings = Home(home).settings()
    if settings.role != "catalogue":
        raise setup(f"{home} is not the catalogue's.", f"{home} はカタログのフォルダーではありません。", code="role")
    pack = newest_law(Home(home))
    database = Database(settings.database, packages=Catalogue.packages)
    return Publication(home / "open", database, lambda: pack, system_clock)


@app.command("check")
def check(about: About, table: Table, home: HomeFolder, json: Json = False) -> None:
    """What stands against opening the table, and what its readers should know. Exit 0 if nothing stands against it."""
    _files(table)
    found = _publication(home).check(read_about(about), table)
    refused = any(f.weight == "refused" for f in found)
    if json:
        show({"ok": not refused, "findings": [_told(f) for f in found]})
    else:
        _print(found)
        no = t("It may not be opened as it is.", "このままでは公開できません。")
        err.print(no if refused else t("It may be opened.", "公開できます。"))
    raise SystemExit(1 if refused else 0)


@app.command("gallery")
def gallery(
    file: Annotated[Path, typer.Argument(help="applications.toml: what was made with the opened data.")],
    home: HomeFolder,
    json: Json = False,
) -> None:
    """Show what people have made with the opened data: the whole list, in place of the one before."""
    _files(file)
    publication = _publication(home)
    found = publication.gallery.replace(file.read_bytes(), publication.ids())
    if json:
        show({"applications": len(found)})
    else:
        out.print(t(f"{len(found)} applications are shown.", f"{len(found)}件を掲載しました。"))


@app.command("publish")
def publish(
    about: About,
    table: Table,
    home: HomeFolder,
    suppress: Annotated[
        bool, typer.Option("--suppress", help="Blank small counts, and what would give them back.")
    ] = False,
    json: Json = False,
) -> None:
    """Publish a version of a dataset; nothing is published if anything stands against it."""
    _files(table)
    publication = _publication(home)
    try:
        made = publication.publish(read_about(about), table, suppress=suppress)
    except NotPublished as error:
        if json:
            show({**error.problem(language()), "findings": [_told(f) for f in error.findings]})
        else:
            _print(error.findings)
            problem = error.problem(language())
            err.print(f"{problem['detail']} {problem['remedy']}")
        raise SystemExit(1) from None
    if json:
        show(
            {
                "id": made.about.id,
                "version": made.version,
                "rows": made.rows,
                "suppressed": made.suppressed,
                "sha256": made.digest,
            }
        )
        return
    _print(made.findings)
    blanked = t(f", {made.suppressed} counts blanked", f"、秘匿 {made.suppressed} か所") if made.suppressed else ""
    en = f"{made.about.id}, version {made.version}: {made.rows:,} rows{blanked}."
    out.print(t(en, f"{made.about.id} 第{made.version}版: {made.rows:,} 行{blanked}。"))


@app.command("withdraw")
def withdraw(id: Annotated[str, typer.Argument(help="The dataset.")], home: HomeFolder, json: Json = False) -> None:
    """Take a dataset away. Copies that others made stay theirs: what is open once cannot be taken back."""
    _publication(home).withdraw(id)
    if json:
        show({"withdrawn": id})
    else:
        out.print(t(f"{id} is withdrawn.", f"{id} の公開を終了しました。"))


@app.command("register")
def register(
    file: Annotated[
        Path, typer.Argument(help="The register of corporations, or the changes of some days; CSV of thirty columns.")
    ],
    home: HomeFolder,
    changes: Annotated[
        bool, typer.Option("--changes", help="The file has changes; otherwise it is the whole register.")
    ] = False,
    pack: PackFolder = DEFAULT_PACK,
    json: Json = False,
) -> None:
    """Load the register of corporations: all of the file, or nothing and the line that is wrong."""
    _files(file)
    if Home(home).settings().role != "catalogue":
        raise setup(f"{home} is not the catalogue's.", f"{home} はカタログのフォルダーではありません。", code="role")
    names = home / "names" / corporations.NAMES
    names.parent.mkdir(parents=True, exist_ok=True)
    if (pack / corporations.NAMES).is_file() and not changes:
        shutil.copyfile(pack / corporations.NAMES, names)
    held = corporations.register_of(home)
    with Progress(console=err, disable=json, transient=True) as progress:
        bar = progress.add_task(t("reading", "読み込み中"), total=None)
        count = (
            held.apply(file)
            if changes
            else held.load(file, lambda done, total: progress.update(bar, completed=done, total=total))
        )
    if json:
        show({"entries": count, "size": held.size()})
    else:
        out.print(
            t(
                f"{count:,} entries taken in; {held.size():,} in all.",
                f"{count:,} 件を読み込みました（全 {held.size():,} 件）。",
            )
        )


def _files(table: Path) -> None:
    if not table.is_file():
        raise setup(f"{table} is not a file.", f"{table} はファイルではありません。")


def _print(findings: Any) -> None:
    lang = language()
    words = {"refused": t("refused", "公開不可"), "warning": t("warning", "注意")}
    for f in findings:
        out.print(
            f"{words[f.weight]}  {f.column}{': ' if f.column else ''}{f.said.text(lang)} {f.remedy.text(lang)}",
            soft_wrap=True,
        )


def _told(finding: Finding) -> dict[str, Any]:
    return {**finding._asdict(), "said": finding.said._asdict(), "remedy": finding.remedy._asdict()}
