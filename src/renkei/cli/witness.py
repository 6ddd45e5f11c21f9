"""``renkei witness``: an independent cosigner of logs that finds split views.

The service is imported by the command that needs it, so that the others start at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.table import Table

from renkei.cli.shell import Json, fail, language, out, read, setup, show, t
from renkei.errors import Malformed, RenkeiError
from renkei.institution.settings import Home
from renkei.ledger.notes import COSIGNATURE, NOTE
from renkei.witness import rules
from renkei.witness.settings import (
    LogSettings,
    PeerSettings,
    Settings,
    create,
    load_settings,
    load_signer,
    read_address,
    read_key,
)

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, help="A witness: cosigns logs, and finds one that shows a split view.")
HomeFolder = Annotated[Path, typer.Argument(help="Home folder of the witness.")]


@app.command("init")
def init(
    home: HomeFolder,
    name: Annotated[
        str, typer.Option(help="Name in its cosignatures: an address without scheme, without spaces or +.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port it listens on.")],
    host: Annotated[str, typer.Option(help="Address it listens on.")] = "127.0.0.1",
    json: Json = False,
) -> None:
    """Make a witness: a folder with a new key and settings. Prints its public key, for logs and peers."""
    if name.split() != [name] or "+" in name or not name.isprintable():
        raise typer.BadParameter(t("A name has no spaces and no +.", "名前に空白と + は使えません。"))
    key = create(home, Settings(name=name, host=host, port=port)).to_text()
    show({"home": str(home), "name": name, "key": key}) if json else out.print(key, soft_wrap=True)


@app.command("log")
def log(
    home: HomeFolder,
    key: Annotated[str, typer.Argument(help="The log's key (vkey), e.g. the first line of verifiers.txt.")],
    origin: Annotated[str, typer.Option(help="Origin of its checkpoints, if it is not the key's name.")] = "",
    proofs: Annotated[str, typer.Option(help="Address that answers ?old=N&new=M with the lines of a proof.")] = "",
    json: Json = False,
) -> None:
    """Watch a log, or give one that is watched another key or address. Takes effect at the next start."""
    found = _given(lambda: read_key(key, NOTE))
    if proofs:
        _given(lambda: read_address(proofs))
    new = LogSettings(origin or found.name, key, proofs)
    settings = load_settings(Home(home))
    logs = (*(x for x in settings.logs if x.origin != new.origin), new)
    _change(home, msgspec.structs.replace(settings, logs=logs), {"log": new.origin}, json)


@app.command("peer")
def peer(
    home: HomeFolder,
    url: Annotated[str, typer.Argument(help="Address of the other witness.")],
    key: Annotated[str, typer.Argument(help="Its key (vkey), as its `init` printed it.")],
    json: Json = False,
) -> None:
    """Compare with another witness. Takes effect at the next start."""
    found = _given(lambda: read_key(key, COSIGNATURE))
    new = PeerSettings(key, _given(lambda: read_address(url)))
    settings = load_settings(Home(home))
    others = (x for x in settings.peers if read_key(x.key, COSIGNATURE).name != found.name)
    _change(home, msgspec.structs.replace(settings, peers=(*others, new)), {"peer": found.name}, json)


@app.command("run")
def run(home: HomeFolder) -> None:
    """Serve and compare until told to stop."""
    import uvloop

    from renkei.witness.service import run as run_witness

    uvloop.run(run_witness(home))


@app.command("status")
def status(home: HomeFolder, json: Json = False) -> None:
    """Per log: size, time, alarms, from the running witness. Exit 0, 1 if a split view was found, 3 if it does not answer."""
    settings = load_settings(Home(home))
    told = asyncio.run(_ask(settings))
    split = any(a["kind"] == "split" for a in told["alarms"])
    if json:
        show(told)
        raise SystemExit(split)
    table = Table(box=None)
    for column in (t("log", "台帳"), t("size", "サイズ"), t("signed", "署名日時"), t("alarms", "警報")):
        table.add_column(column)
    for x in told["logs"]:
        size = "–" if x["size"] is None else str(x["size"])
        table.add_row(x["origin"], size, x["time"] or "–", ", ".join(map(_alarm, x["alarms"])) or "–")
    out.print(table if told["logs"] else t("No log is watched yet.", "まだ台帳が登録されていません。"))
    for x in told["peers"]:
        last = x["trouble"] or x["heard"] or "–"
        out.print(t(f"peer {x['name']}: {last}", f"照合相手 {x['name']}: {last}"), soft_wrap=True)
    raise SystemExit(split)


@app.command("verify-evidence")
def verify_evidence(
    file: Annotated[Path, typer.Argument(help="An evidence file of a witness.")],
    key: Annotated[str, typer.Argument(help="The log's key (vkey).")],
    json: Json = False,
) -> None:
    """Check an evidence file with nothing but the log's key: exit 0 if it proves a split view, 1 if it does not."""
    found = _given(lambda: read_key(key, NOTE))
    try:
        one, other = rules.prove_split(read(file), found)
    except RenkeiError as error:
        if error.code == "file":
            raise
        fail(error, split=False)
    roots = [one.root.hex(), other.root.hex()]
    if json:
        show({"split": True, "log": one.origin, "size": one.size, "roots": roots})
        return
    out.print(
        t(
            f"Split view proven: {one.origin} signed two different roots for size {one.size}.",
            f"分裂の証明です。{one.origin} はサイズ {one.size} に対して異なる2つのルートに署名しました。",
        ),
        style="bold",
        soft_wrap=True,
    )
    for root in roots:
        out.print(root)


def _alarm(kind: str) -> str:
    return {"split": t("split view", "分裂"), "unproven": t("not proven to fit", "整合性が未確認")}[kind]


def _given(read_: Callable[[], T]) -> T:
    """What the user gave, or wrong use (exit 2)."""
    try:
        return read_()
    except Malformed as error:
        raise typer.BadParameter(error.problem(language())["detail"]) from None


def _change(home: Path, settings: Settings, told: dict[str, str], json: bool) -> None:
    load_signer(Home(home), settings)  # a folder that is no whole witness is not written to
    Home(home).write_toml("settings.toml", settings)
    if json:
        show(told)
    else:
        what = next(iter(told.values()))
        out.print(
            t(f"{what} is added; it takes effect at the next start.", f"{what} を登録しました。次の起動から有効です。"),
            soft_wrap=True,
        )


async def _ask(settings: Settings) -> dict[str, Any]:
    """What the running witness says of itself; ``SetupError`` if it does not answer."""
    from renkei.institution.outside import fetch

    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104  # asked, not listened on
    status, text = await fetch(f"http://{host}:{settings.port}/status", within=10)
    try:
        found: dict[str, Any] = msgspec.json.decode(text)
        if status == 200 and found["witness"] == settings.name:
            return found
    except (msgspec.DecodeError, KeyError, TypeError):
        pass
    raise setup(
        f"What answers at port {settings.port} is not this witness.",
        f"ポート {settings.port} で応答しているのは、この立会人ではありません。",
        code="no-answer",
        remedy="Start it with `renkei witness run`.",
        remedy_ja="`renkei witness run` で起動してください。",
    )
