"""``renkei run``, ``authority``, ``commission``: one institution, by its home folder.

Services are imported by the command that needs them, so that the others start at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, TaskID

from renkei.cli.joining import enrol
from renkei.cli.reports import export
from renkei.cli.shell import Json, err, language, out, setup, show, t
from renkei.institution.settings import Home
from renkei.record.state import CONVERTERS

authority = typer.Typer(no_args_is_help=True, help="The numbering authority.")
commission = typer.Typer(no_args_is_help=True, help="The commission.")
HomeFolder = Annotated[Path, typer.Option(help="Home folder of the institution.")]


def run(home: Annotated[Path, typer.Argument(help="Home folder of one institution.")]) -> None:
    """Run one institution until it is told to stop."""
    import uvloop

    from renkei.nation.world import run_one

    raise SystemExit(uvloop.run(run_one(home)))


@authority.callback()
def of_authority() -> None:
    """The numbering authority."""


@commission.callback()
def of_commission() -> None:
    """The commission."""


@authority.command("load")
def load(
    roll: Annotated[Path, typer.Argument(help="Resident roll, CSV.")],
    home: HomeFolder,
    json: Json = False,
) -> None:
    """Load a resident roll: all of it, or nothing and every bad row."""
    from renkei.authority.roll import RollFaults
    from renkei.authority.service import Authority

    if not roll.is_file():
        raise setup(f"{roll} is not a file.", f"{roll} はファイルではありません。")
    _demand(home, "authority")
    service = Authority(home)
    try:
        with Progress(console=err, disable=json) as progress:
            bar = progress.add_task(t("reading", "読み込み中"), total=1)
            loaded = service.load_roll(
                roll, progress=lambda done, total: progress.update(bar, completed=done, total=max(total, 1))
            )
    except RollFaults as faults:
        if json:
            show({**faults.problem(language()), "faults": [f._asdict() for f in faults.faults]})
        else:
            for f in faults.faults:
                out.print(f"{roll.name}:{f.line}: {f.column}: {f.sentence}", soft_wrap=True)
            err.print(f"{faults.problem(language())['detail']} {t('Nothing was loaded.', '何も登録していません。')}")
        raise SystemExit(1) from None
    finally:
        service.database.close()
    if json:
        show({"loaded": loaded})
    else:
        out.print(t(f"{loaded} persons loaded.", f"{loaded} 人を登録しました。"))


def rotate(
    home: Annotated[Path, typer.Argument(help="Home folder of the institution.")],
    codes: Annotated[
        bool, typer.Option("--codes", help="New linkage codes (after a theft of the code table).")
    ] = False,
    key: Annotated[bool, typer.Option("--key", help="A new decryption key (regularly, or after a theft).")] = False,
    json: Json = False,
) -> None:
    """Let a running institution go over to new codes, a new key, or both. Inquiries go on meanwhile."""
    from renkei.institution.rotation import ORDER

    settings = Home(home).settings()
    wanted = [word for word, chosen in (("codes", codes), ("key", key)) if chosen]
    if settings.role in CONVERTERS:
        raise setup(f"{settings.body} holds no codes.", f"{settings.body} は符号を持ちません。", code="role")
    if not wanted:
        raise setup("Say --codes, --key, or both.", "--codes か --key（または両方）を指定してください。", code="rotate")
    (home / ORDER).write_text(" ".join(wanted), "ascii")
    if json:
        show({"ordered": wanted})
    else:
        out.print(
            t(
                "Ordered. It is done when the record has a `retire` act; `rotating` in /health counts down.",
                "受け付けました。完了すると記録に retire が載ります。残りの件数は /health の rotating に出ます。",
            )
        )


def backup(
    home: Annotated[Path, typer.Argument(help="Home folder of the institution, running or not.")],
    file: Annotated[Path, typer.Argument(help="New file to write. It will hold private keys.")],
    json: Json = False,
) -> None:
    """Back up one institution: settings, keys and database, as of one moment."""
    from renkei.institution import backup
    from renkei.nation.world import ROLES

    with Progress(console=err, disable=json) as progress:
        rows = backup.backup(Home(home), ROLES[Home(home).settings().role].packages, file, _by_table(progress))
    if json:
        show({"rows": rows, "file": str(file)})
    else:
        out.print(
            t(
                f"{rows} rows in {file}. It holds private keys.",
                f"{rows} 行を {file} に保存しました。秘密鍵を含みます。",
            )
        )


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `renkei backup` wrote.")],
    home: Annotated[Path, typer.Argument(help="Home folder to make; empty or new.")],
    database: Annotated[str, typer.Option(help="Database URL to restore into, empty; by default where it was.")] = "",
    json: Json = False,
) -> None:
    """Restore one institution. It gets from the others what came after its backup."""
    from renkei.institution import backup
    from renkei.nation.world import ROLES

    with Progress(console=err, disable=json) as progress:
        settings = backup.restore(
            file, home, lambda s: ROLES[s.role].packages, database=database, progress=_by_table(progress)
        )
    if json:
        show({"body": settings.body, "role": settings.role, "home": str(home)})
        return
    out.print(
        t(
            f"{settings.body} is restored; start it with `renkei run {home}`.",
            f"{settings.body} を復元しました。`renkei run {home}` で起動できます。",
        )
    )
    if settings.role == "commission":
        out.print(
            t(
                "It signs nothing until you confirm its head: `renkei commission confirm SIZE`, SIZE being the newest permit anyone holds.",
                "`renkei commission confirm SIZE` で最新の許可の番号を確認するまで、署名しません。",
            )
        )


def _by_table(progress: Progress) -> Callable[[str, int, int], None]:
    bars: dict[str, TaskID] = {}

    def told(table: str, done: int, total: int) -> None:
        if table not in bars:
            bars[table] = progress.add_task(table, total=total)
        progress.update(bars[table], completed=done)

    return told


@commission.command("confirm")
def confirm(
    size: Annotated[int, typer.Argument(min=1, help="Size of the newest permit that institutions hold.")],
    home: HomeFolder,
    json: Json = False,
) -> None:
    """After a restore: confirm the head, so that the commission signs again."""
    _demand(home, "commission")
    (home / "confirm").write_text(str(size), "ascii")
    if json:
        show({"confirmed": size})
    else:
        out.print(
            t(
                "The commission takes it up within a second if its log has at least that size.",
                "委員会のログがその大きさに達していれば、1秒以内に反映されます。",
            )
        )


def _demand(home: Path, role: str) -> None:
    """``SetupError`` unless this is the home folder of an institution of that role."""
    settings = Home(home).settings()
    if settings.role != role:
        raise setup(
            f"{home} is the home of {settings.body!r}, whose role is {settings.role!r}, not {role!r}.",
            f"{home} は {settings.body}（{settings.role}）のフォルダーで、{role} のものではありません。",
            code="role",
        )


commission.command("export")(export)
commission.command("enrol")(enrol)
