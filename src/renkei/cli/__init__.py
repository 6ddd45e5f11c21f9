"""The one command. Composition root: it reads settings, builds services and prints; it decides nothing.

Every command takes ``--json`` where it prints something; failures print code, sentence and remedy. Exit codes: 0 done, 1 the answer is
no (refused, invalid, faults), 2 wrong use, 3 something is missing or unavailable.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from renkei import __version__
from renkei.errors import RenkeiError, SetupError, Unavailable

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, help="Linkage platform of a national-number system."
)
number_app = typer.Typer(no_args_is_help=True, help="Numbers and their check digits.")
law_app = typer.Typer(no_args_is_help=True, help="The law as data: check a pack, explain a linkage.")
nation_app = typer.Typer(no_args_is_help=True, help="A whole nation on this machine.")
authority_app = typer.Typer(no_args_is_help=True, help="The numbering authority.")
commission_app = typer.Typer(no_args_is_help=True, help="The commission.")
for name, sub in (
    ("number", number_app),
    ("law", law_app),
    ("nation", nation_app),
    ("authority", authority_app),
    ("commission", commission_app),
):
    app.add_typer(sub, name=name)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
PackFolder = Annotated[Path, typer.Option("--pack", help="Folder of the jurisdiction pack.")]
Folder = Annotated[Path, typer.Option("--nation", help="Folder of the running nation.")]
DEFAULT_PACK = Path("packs/japan")
DEFAULT_NATION = Path("var/demo")
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def language() -> str:
    """The reader's language, from the environment's locale."""
    return "ja" if os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("ja") else "en"


def show(value: Any) -> None:
    """Print a value as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def fail(error: RenkeiError) -> NoReturn:
    """Print an error the way every command does, and exit."""
    problem = error.problem(language())
    if "--json" in sys.argv:
        show(problem)
    else:
        err.print(f"[bold]{error.code}[/bold]: {problem['detail']}", markup=True)
        err.print(problem["remedy"], markup=False)
    raise SystemExit(3 if isinstance(error, SetupError | Unavailable) else 1)


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


# ---------------------------------------------------------------------- numbers


@number_app.command("check")
def number_check(
    digits: Annotated[str, typer.Argument(help="The number as written; - reads standard input.")],
    format: Annotated[
        str, typer.Option(help="jp-individual, jp-corporate, jp-resident-record or jp-local-government.")
    ] = "",
    json: Json = False,
) -> None:
    """Check a number's form and check digit. Exit 0 if it is valid."""
    from renkei.numbers import FORMATS, number_format, recognise

    text = sys.stdin.readline() if digits == "-" else digits
    text = text.strip()
    if format:
        number_format(format).parse(text)
    found = [number_format(format)] if format else recognise(text)
    if not found:
        sized = [f for f in FORMATS.values() if f.length == sum(c.isdigit() for c in text)]
        if len(sized) == 1:
            sized[0].parse(text)
        raise SystemExit(_no_number(json))
    if json:
        show({"valid": True, "formats": [f.key for f in found], "masked": found[0].mask(text)})
    else:
        for f in found:
            out.print(f"{f.mask(text)}  {f.name} ({f.name_ja})")


def _no_number(json: bool) -> int:
    if json:
        show({"valid": False, "formats": []})
    else:
        err.print("This is no valid number of any known format.\nCheck the digits, or name a format with --format.")
    return 1


# ---------------------------------------------------------------------- law


@law_app.command("check")
def law_check(pack: Annotated[Path, typer.Argument(help="Folder of a pack.")], json: Json = False) -> None:
    """Report every fault of a pack with file, line and remedy. Exit 0 if there is none."""
    from renkei.law import PackFaults, check, read_folder

    try:
        found, faults = check(read_folder(pack))
    except PackFaults as error:
        found, faults = None, error.faults
    if json:
        show(
            {
                "ok": not faults,
                "pack": found.reference if found else None,
                "faults": [f._asdict() for f in faults],
            }
        )
    elif faults:
        for f in faults:
            out.print(f"{f.file}:{f.line or ''}: {f.sentence}\n    {f.remedy}", markup=False)
        err.print(f"{len(faults)} fault(s).")
    elif found:
        rows = len({r.row for r in found.linkages})
        out.print(f"{found.reference}: no fault. {rows} rows, {len(found.linkages)} linkages.")
        out.print(
            f"{len(found.kinds)} kinds, {len(found.affairs)} affairs, {len(found.items)} items, "
            f"{len(found.specifications)} data specifications, {len(found.terms)} terms."
        )
    raise SystemExit(1 if faults else 0)


@law_app.command("explain")
def law_explain(
    requester: Annotated[str, typer.Option(help="Body or kind that asks.")],
    affair: Annotated[str, typer.Option(help="Affair it asks for.")],
    provider: Annotated[str, typer.Option(help="Body or kind that is asked.")],
    item: Annotated[str, typer.Option(help="Item that is asked for.")],
    on: Annotated[str, typer.Option(help="Day, YYYY-MM-DD; today by default.")] = "",
    pack: PackFolder = DEFAULT_PACK,
    json: Json = False,
) -> None:
    """Who may ask whom for what, and why not, citing the row. Exit 0 if it is allowed."""
    from renkei.law import Pack, explain

    day = _day(on)
    loaded, lang = Pack.load(pack), language()
    found = explain(loaded, requester, affair, provider, item, day, lang)
    if json:
        show(
            {
                **found.decision._asdict(),
                "on": day.isoformat(),
                "citation": found.citation,
                "sentence": found.sentence,
                "alternatives": [_linkage(r) for r in found.alternatives],
            }
        )
    else:
        out.print(("[bold]Yes.[/bold] " if found.decision.allowed else "[bold]No.[/bold] ") + found.sentence)
        out.print(f"{loaded.affairs[affair].title.text(lang)} · {loaded.items[item].title.text(lang)}", markup=False)
        if found.citation:
            out.print(("Basis: " if found.decision.allowed else "It would need: ") + found.citation, markup=False)
        for row in found.alternatives:
            asker = " / ".join(loaded.kinds[k].title.text(lang) for k in row.requester)
            holder = " / ".join(loaded.kinds[k].title.text(lang) for k in row.provider)
            title, what = loaded.affairs[row.affair].title.text(lang), loaded.items[row.item].title.text(lang)
            out.print(f"  row {row.row}: {asker} → {holder}; {title}; {what}", markup=False)
    raise SystemExit(0 if found.decision.allowed else 1)


def _linkage(row: Any) -> dict[str, Any]:
    return {**row._asdict(), "start": row.start.isoformat(), "end": row.end and row.end.isoformat()}


def _day(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text) if text else dt.datetime.now(dt.UTC).date()
    except ValueError:
        raise typer.BadParameter("Write the day as YYYY-MM-DD.") from None


@law_app.command("list")
def law_list(
    what: Annotated[str, typer.Argument(help="bodies, kinds, affairs, items, purposes or rows.")],
    pack: PackFolder = DEFAULT_PACK,
    json: Json = False,
) -> None:
    """List the codes of a pack."""
    from renkei.law import Pack

    loaded, lang = Pack.load(pack), language()
    tables: dict[str, dict[str, str]] = {
        "bodies": {c: b.title.text(lang) for c, b in loaded.bodies.items()},
        "kinds": {c: k.title.text(lang) for c, k in loaded.kinds.items()},
        "affairs": {c: a.title.text(lang) for c, a in loaded.affairs.items()},
        "items": {c: i.title.text(lang) for c, i in loaded.items.items()},
        "purposes": {c: t.text(lang) for c, t in loaded.purposes.items()},
        "rows": {r.row: loaded.affairs[r.affair].title.text(lang) for r in loaded.linkages},
    }
    if what not in tables:
        raise typer.BadParameter(f"Choose one of: {', '.join(tables)}.")
    if json:
        show(tables[what])
        return
    table = Table(box=None)
    table.add_column("code")
    table.add_column("title")
    for code, title in tables[what].items():
        table.add_row(code, title)
    out.print(table)


# ---------------------------------------------------------------------- verify


@app.command()
def verify(
    permit: Annotated[Path, typer.Argument(help="A permit (tlog-proof file).")],
    keys: Annotated[Path, typer.Option(help="File with the two public keys, one vkey a line.")],
    json: Json = False,
) -> None:
    """Verify a permit with nothing but two public keys: no network, no database. Exit 0 if it is genuine."""
    from renkei.ledger.notes import Verifier
    from renkei.messages.wire import Inquiry, decode_signed
    from renkei.record.entries import InquiryLeaf, kind_of
    from renkei.record.permit import Notary, from_file

    verifiers = [Verifier.from_text(line) for line in _read(keys).splitlines() if line.strip()]
    notary = Notary(verifiers)
    found = from_file(_read(permit))
    leaf = notary.open(found)
    told: dict[str, Any] = {"genuine": True, "log": notary.origin, "leaf": found.index, "kind": kind_of(leaf)}
    told |= {"size": notary.checkpoint(found.checkpoint).size, "signed_by": [v.name for v in verifiers]}
    if isinstance(leaf, InquiryLeaf):
        inquiry = decode_signed(leaf.inquiry.payload)
        assert isinstance(inquiry, Inquiry)
        told |= {
            "allowed": leaf.ruling.allowed,
            "reason": leaf.ruling.reason,
            "row": leaf.ruling.row,
            "rows": leaf.ruling.rows,
            "requester": leaf.inquiry.sender,
            "provider": inquiry.provider,
            "affair": inquiry.affair,
            "item": inquiry.item,
            "time": dt.datetime.fromtimestamp(leaf.time / 1000, dt.UTC).isoformat(),
        }
    if json:
        show(told)
        return
    out.print("[bold]Genuine.[/bold] This entry is in the log, signed by both keepers.")
    table = Table(box=None, show_header=False)
    for key, value in told.items():
        table.add_row(key, ", ".join(value) if isinstance(value, list) else str(value))
    out.print(table)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        raise SetupError(f"{path} cannot be read as text.", code="file", remedy="Check the path.") from None


# ---------------------------------------------------------------------- institutions


@app.command()
def run(home: Annotated[Path, typer.Argument(help="Home folder of one institution.")]) -> None:
    """Run one institution until it is told to stop."""
    from renkei.nation.world import run_one

    _runner(run_one(home))


def _runner(work: Any) -> Any:
    import uvloop

    return uvloop.run(work)


@authority_app.command("load")
def authority_load(
    roll: Annotated[Path, typer.Argument(help="Resident roll, CSV.")],
    home: Annotated[Path, typer.Option(help="Home folder of the authority.")],
    json: Json = False,
) -> None:
    """Load a resident roll: all of it, or nothing and every bad row."""
    from rich.progress import Progress

    from renkei.authority.roll import RollFaults
    from renkei.authority.service import Authority

    if not roll.is_file():
        raise SetupError(f"{roll} is not a file.", code="file", remedy="Check the path.")
    authority = Authority(home)
    try:
        with Progress(console=err, disable=json) as progress:
            bar = progress.add_task("reading", total=1)
            loaded = authority.load_roll(
                roll, progress=lambda done, total: progress.update(bar, completed=done, total=max(total, 1))
            )
    except RollFaults as faults:
        if json:
            show({**faults.problem(language()), "faults": [f._asdict() for f in faults.faults]})
        else:
            for f in faults.faults:
                out.print(f"{roll.name}:{f.line}: {f.column}: {f.sentence}", markup=False)
            err.print(f"{faults.sentence} Nothing was loaded.")
        raise SystemExit(1) from None
    finally:
        authority.database.close()
    if json:
        show({"loaded": loaded})
    else:
        out.print(f"{loaded} persons loaded.")


@commission_app.command("confirm")
def commission_confirm(
    size: Annotated[int, typer.Argument(help="Size of the newest permit that institutions hold.")],
    home: Annotated[Path, typer.Option(help="Home folder of the commission.")],
) -> None:
    """After a restore: confirm the head, so that the commission signs again."""
    (home / "confirm").write_text(str(size), "ascii")
    out.print("The commission takes it up within a second if its log has at least that size.")


# ---------------------------------------------------------------------- the nation


@nation_app.command("up")
def nation_up(
    folder: Folder = DEFAULT_NATION,
    pack: PackFolder = DEFAULT_PACK,
    residents: Annotated[int, typer.Option(help="Invented residents (first start only).")] = 20_000,
    port: Annotated[int, typer.Option(help="First port; 0 takes free ones (first start only).")] = 8600,
    processes: Annotated[bool, typer.Option(help="One process per role.")] = False,
    inquiries: Annotated[int, typer.Option(help="Inquiries of the first day.")] = 300,
) -> None:
    """Raise the whole nation, or take up the one in the folder; Ctrl-C stops it."""
    from renkei.nation.demo import up

    _runner(up(folder, pack, residents=residents, port=port, processes=processes, inquiries=inquiries, out=out))


@nation_app.command("smoke")
def nation_smoke(
    pack: PackFolder = DEFAULT_PACK,
    residents: Annotated[int, typer.Option(help="Invented residents.")] = 500,
    processes: Annotated[bool, typer.Option(help="One process per role.")] = False,
) -> None:
    """Raise a small nation in a temporary folder, try the whole way, print one JSON line, stop."""
    from renkei.nation.demo import smoke

    report = _runner(smoke(pack, residents=residents, processes=processes))
    show(report)
    raise SystemExit(0 if report["ok"] else 1)


@nation_app.command("status")
def nation_status(folder: Folder = DEFAULT_NATION, json: Json = False) -> None:
    """How every body of the running nation is."""
    from renkei.nation.world import World

    world = World(folder)

    async def ask() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(world.health(p) for p in world.plan.places)))

    states = asyncio.run(ask())
    if json:
        show({p.body: s for p, s in zip(world.plan.places, states, strict=True)})
        return
    table = Table(box=None)
    for column in ("body", "address", "status", "details"):
        table.add_column(column)
    for place, state in zip(world.plan.places, states, strict=True):
        details = {k: v for k, v in state.items() if k not in ("status", "body", "role") and v}
        text = " ".join(f"{k}={v}" for k, v in details.items())
        table.add_row(place.body, place.url, state.get("status", "not running"), text)
    out.print(table)


@app.command()
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
    """Ask one real row of the table on the running demo and print each step with its time. Exit 0 if answered."""
    from renkei.nation.demo import Question, inquire_once, print_steps

    question = Question(requester, affair, provider, item, purpose, resident, local_id, issued_at)
    told = asyncio.run(inquire_once(folder, question, wait))
    if save and told["permit"]:
        save.write_text(told["permit"], "utf-8")
    if json:
        show(told)
    else:
        print_steps(out, told, language(), save)
    raise SystemExit(0 if told["state"] == "answered" else 1)


def entry() -> None:
    """Run the command; every expected failure ends in one form."""
    try:
        app()
    except RenkeiError as error:
        fail(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    entry()
