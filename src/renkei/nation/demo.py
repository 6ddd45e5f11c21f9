"""What people run: the demo, the smoke test, one inquiry with its steps."""

from __future__ import annotations

import asyncio
import datetime as dt
import http.cookies
import math
import signal
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from renkei.catalogue.service import Catalogue
from renkei.errors import RenkeiError, SetupError
from renkei.institution import wording
from renkei.institution.settings import system_clock
from renkei.institution.tasks import end
from renkei.law import Pack, decide
from renkei.ledger.notes import Verifier
from renkei.nation import cards as personas
from renkei.nation import day, opened
from renkei.nation.plan import Place, Plan, lay_out
from renkei.nation.population import Demography
from renkei.nation.web import call, fetch
from renkei.nation.world import World
from renkei.record.permit import Notary, from_file


class Question(NamedTuple):
    """What ``renkei inquire`` asks."""

    requester: str
    affair: str
    provider: str
    item: str
    purpose: str
    resident: str
    local_id: str
    issued_at: int | None = None
    """Milliseconds; ``None`` for now."""


# ---------------------------------------------------------------------- one inquiry


async def inquire_once(folder: Path, question: Question, wait: float, language: str = "en") -> dict[str, Any]:
    """Ask on the running nation and wait for the end; every step with its milliseconds since the question was put."""
    plan = Plan.read(folder)
    pack = Pack.load(Path(plan.pack))
    place = plan.place(question.requester)
    if place.role != "gateway":
        raise SetupError(
            f"{place.body} asks nothing.",
            ja=f"{place.body} は照会をする機関ではありません。",
            code="no-body",
            remedy="Choose a gateway: `renkei nation status` lists them.",
            remedy_ja="照会する機関を `renkei nation status` で確認してください。",
        )
    steps: list[dict[str, Any]] = []
    began = time.time() * 1000

    def step(what: str, at: float, **more: Any) -> None:
        steps.append({"step": what, "ms": round(at - began, 1), **more})

    asker = pack.bodies[question.requester].kinds
    holder = pack.bodies[question.provider].kinds if question.provider in pack.bodies else ()
    expected = decide(pack, asker, question.affair, holder, question.item, pack.day(system_clock()))
    step("law", time.time() * 1000, allowed=expected.allowed, rows=list(expected.rows))
    data: dict[str, Any] = {
        "local_id": question.local_id or _local_id(plan, question),
        "provider": question.provider,
        "affair": question.affair,
        "item": question.item,
        "purpose": question.purpose,
        **({"issued_at": question.issued_at} if question.issued_at is not None else {}),
    }
    told = await _until_ended(place, data, wait, language)
    received = time.time() * 1000
    if question.issued_at is None:
        step("signed", told["issued_at"], id=told["id"][:16])
    if told["recorded_at"] is not None:
        step("recorded", told["recorded_at"], leaf=told["leaf"], rows=told["rows"])
    if told["finished_at"] is not None:
        step(told["state"], told["finished_at"], reason=told["reason"], by=told["refused_by"])
        step("received", received)
    permit = ""
    if told["leaf"] is not None:
        permit = str(await call(f"{place.url}/inquiries/{told['id']}/permit", place.token, language=language))
        verifiers = (folder / "verifiers.txt").read_text("utf-8").split()
        Notary([Verifier.from_text(v) for v in verifiers]).open(from_file(permit))
        step("verified", time.time() * 1000)
    return {
        "id": told["id"],
        "state": told["state"],
        "reason": told["reason"],
        "rows": told["rows"],
        "citation": {lang: pack.cite(", ".join(told["rows"]), lang) if told["rows"] else "" for lang in ("ja", "en")},
        "records": told["records"],
        "leaf": told["leaf"],
        "steps": steps,
        "permit": permit,
    }


async def _until_ended(place: Place, data: dict[str, Any], wait: float, language: str) -> dict[str, Any]:
    """Ask, and look again until it has ended or ``wait`` seconds are over: a gateway waits only so long at a time."""
    until = time.monotonic() + wait
    told: dict[str, Any] = {}
    while True:
        left = max(0, math.ceil(until - time.monotonic()))
        where = f"{place.url}{told['status_url']}" if told else f"{place.url}/inquiries"
        told = await call(where, place.token, None if told else data, prefer=f"wait={left}", language=language)
        if told["state"] in ("answered", "refused", "expired") or time.monotonic() >= until:
            return told


def _local_id(plan: Plan, question: Question) -> str:
    for face in plan.personas:
        if face.id == question.resident and question.requester in face.local_ids:
            return face.local_ids[question.requester]
    names = ", ".join(f.id for f in plan.personas)
    raise SetupError(
        f"The demo has no persona {question.resident!r}.",
        ja=f"デモに {question.resident!r} という人はいません。",
        code="persona",
        remedy=f"Use one of: {names}.",
        remedy_ja=f"次のいずれかを指定してください: {names}。",
    )


STEPS: dict[str, tuple[str, str]] = {
    "law": ("the law was looked up", "法律の別表を確認"),
    "signed": ("signed and sent by the requester", "照会者が署名して送信"),
    "recorded": ("in the record of hub and commission", "ハブと委員会の記録に登録"),
    "answered": ("answer opened by the requester", "照会者が回答を開封"),
    "refused": ("refused", "不許可"),
    "expired": ("nobody answered in time", "期限切れ"),
    "received": ("result received", "結果を受信"),
    "verified": ("permit verified with two public keys", "2つの公開鍵で許可証を検証"),
}


def print_steps(out: Console, told: dict[str, Any], language: str) -> None:
    """Print what ``inquire_once`` told, for people."""
    ja = language == "ja"
    table = Table(box=None, show_header=False)
    table.add_column(justify="right")
    for s in told["steps"]:
        details = " ".join(
            f"{k}={','.join(v) if isinstance(v, list) else v}" for k, v in s.items() if k not in ("step", "ms") and v
        )
        table.add_row(f"{s['ms']:.0f} ms", STEPS.get(s["step"], (s["step"],) * 2)[ja], details)
    out.print(table)
    if told["reason"]:
        out.print(wording.reason(told["reason"], language))
    if told["state"] == "refused" and told["citation"][language]:
        out.print(f"{'必要な根拠' if ja else 'It would need'}: {told['citation'][language]}")
    for record in told["records"] or ():
        out.print(record)
    if told["records"] == []:
        out.print("提供する情報はありません。" if ja else "The provider has nothing to provide about this person.")
    if told["state"] not in ("answered", "refused", "expired"):
        out.print(
            f"まだ回答がありません。照会は続いています: GET /inquiries/{told['id']}"
            if ja
            else f"No answer yet. The inquiry goes on; look again at GET /inquiries/{told['id']}",
            soft_wrap=True,
        )


# ---------------------------------------------------------------------- the demo


async def up(
    folder: Path,
    pack_folder: Path,
    *,
    residents: int,
    port: int,
    processes: bool,
    inquiries: int,
    cards: bool,
    out: Console,
) -> None:
    """Raise the nation, show where to look, issue the remaining codes in the background, ask a day's inquiries."""
    began = time.monotonic()
    if not (folder / "nation.toml").exists():
        out.print(f"Laying out a nation of {residents:,} residents in {folder} …", soft_wrap=True)
        lay_out(folder, pack_folder, residents=residents, base_port=port)
    if cards and not Plan.read(folder).certification:
        if personas.possible():
            out.print("Making the certification authorities' keys and the personas' cards …")
            await asyncio.to_thread(personas.issue, folder)
        else:
            out.print("No cards: softhsm2 is not installed (`make card`).")
    world = World(folder, processes=processes)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())

    async def live() -> None:
        await world.start()
        await world.until_linked()
        show_addresses(out, folder, world.plan, time.monotonic() - began)
        await _day(world, pack_folder, inquiries, out)

    living = asyncio.create_task(live())
    try:
        await asyncio.wait({living, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if living.done():
            living.result()
            await stopped
    finally:
        await end([living])
        if stopped.done():
            out.print("Stopping …")
        await world.stop()
        if stopped.done():
            out.print("Stopped. The data stays; start again to go on.")


async def _day(world: World, pack_folder: Path, inquiries: int, out: Console) -> None:
    """The first day, once: what was interrupted is asked again under the same keys, so that nothing is asked twice."""
    demography, pack = Demography.read(pack_folder), Pack.load(pack_folder)
    visited, lived = world.folder / "visited", world.folder / "lived"
    if not visited.exists():
        ends = await day.ask_all(world.plan, day.visits(world.plan, demography), name="visit")
        out.print(f"The personas' inquiries: {_tally(ends)}")
        visited.touch()
    on = dt.date.fromisoformat(world.plan.created)
    told, pushed = world.folder / "told", world.folder / "pushed"
    if not told.exists():
        out.print(f"The personas' notices: {await day.write_letters(world.plan, demography, on)}")
        await day.appoint(world.plan, demography, on)
        told.touch()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    have, want = await world.codes()
    if have < want:
        with Progress(*columns, console=out, transient=True) as progress:
            bar = progress.add_task("issuing linkage codes", total=want, completed=have)
            while have < want:
                await asyncio.sleep(1)
                have, want = await world.codes()
                progress.update(bar, completed=have, total=want)
    out.print(f"All {want:,} linkage codes are issued.")
    await asyncio.to_thread(_open, world, pack)
    if inquiries and not lived.exists():
        asked = day.sample(world.folder, world.plan, pack, demography, inquiries, world.plan.seed, on)
        with Progress(*columns, console=out, transient=True) as progress:
            bar = progress.add_task("a day's inquiries", total=len(asked))
            ends = await day.ask_all(world.plan, asked, name="day", report=lambda _: progress.advance(bar))
        out.print(f"A day's inquiries: {_tally(ends)}")
        lived.touch()
    if not pushed.exists():
        out.print(f"Residents told of something without asking: {await day.push(world.plan):,}")
        pushed.touch()
    out.print("Ctrl-C stops. In another terminal: `renkei inquire`, `renkei nation status`.")


def _open(world: World, pack: Pack) -> None:
    """Open the demonstration's datasets, once."""
    here = next((i for i in world.institutions.values() if isinstance(i, Catalogue)), None)
    if here is not None and not here.publication.find("")[1]:
        created = dt.date.fromisoformat(world.plan.created)
        opened.publish(here.publication, pack, world.folder / "roll.csv", created, world.folder)


def _tally(ends: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(ends.items()))


def show_addresses(out: Console, folder: Path, plan: Plan, seconds: float) -> None:
    """Where to look, and as whom."""
    out.print(f"\nReady after {seconds:.1f} s.\n")
    portal = next(p for p in plan.places if p.role == "portal")
    table = Table(box=None, title="Residents: sign in at My Portal", title_justify="left")
    for column in ("who", "", "address", "sign-in code"):
        table.add_column(column)
    for face in plan.personas:
        table.add_row(face.name, face.ja, portal.url, face.secret)
    out.print(table)
    if plan.certification:
        pins = personas.PINS
        city = next(p for p in plan.places if (folder / p.body / "seal").is_dir())
        certificates = f"{city.url}/documents"
        out.print(f"\nOther sites: a bank {plan.bank} · the city's hall {plan.hall}")
        out.print(f"Certificates from a kiosk: {certificates}")
        out.print(f"\nWith a card (PIN {pins.authentication}, for signatures {pins.signature}), in another terminal:")
        out.print(f"  renkei card serve --card {plan.card(folder, plan.personas[0].id)}", soft_wrap=True)
    table = Table(box=None, title="\nClerks: sign in at the inquiry desk", title_justify="left")
    for column in ("institution", "address", "token"):
        table.add_column(column)
    for place in plan.places:
        if place.role == "gateway":
            table.add_row(place.body, place.url, place.token)
    out.print(table)
    commission = next(p for p in plan.places if p.role == "commission")
    table = Table(
        box=None, title=f"\nThe commission's officers: sign in at {commission.url}/signin", title_justify="left"
    )
    for column in ("officer", "role", "", "passphrase"):
        table.add_column(column)
    for officer in plan.officers:
        table.add_row(officer.name, officer.role, officer.ja, officer.passphrase)
    out.print(table)
    hub = next(p for p in plan.places if p.role == "hub")
    catalogue = next((p for p in plan.places if p.role == "catalogue"), None)
    if catalogue is not None:
        out.print(f"\nWhat data there is, and who holds it: {catalogue.url}")
    out.print(f"\nREST of a gateway: /schema · every body: /health, /metrics · hub {hub.url}\n")


# ---------------------------------------------------------------------- the smoke test


async def smoke(pack_folder: Path, *, residents: int, processes: bool) -> dict[str, Any]:
    """The whole way on a small nation in a temporary folder; a report with ``ok`` and timings in seconds."""
    report: dict[str, Any] = {
        "ok": False,
        "residents": residents,
        "mode": "processes" if processes else "single",
    }
    clock = time.monotonic
    with tempfile.TemporaryDirectory(prefix="renkei-smoke-") as name:
        folder, began = Path(name) / "nation", clock()
        lay_out(folder, pack_folder, residents=residents)
        report["lay_out_s"] = round(clock() - began, 3)
        world, began = World(folder, processes=processes), clock()
        try:
            await world.start()
            await world.until_linked()
            report["ready_s"], began = round(clock() - began, 3), clock()
            report |= await _try(world, folder)
            report["try_s"], began = round(clock() - began, 3), clock()
        finally:
            await world.stop()
            report["stop_s"] = round(clock() - began, 3)
    checks = (
        "lawful_answered",
        "unlawful_refused",
        "permit_verified",
        "tampered_permit_rejected",
        "record_at_portal",
    )
    report["ok"] = all(report.get(c) for c in checks)
    return report


async def _try(world: World, folder: Path) -> dict[str, Any]:
    lawful = Question("ohashi-city", "child-allowance", "tax-union", "local-tax", "assess-amount", "hanako", "")
    told = await inquire_once(folder, lawful, 15)
    unlawful = await inquire_once(folder, lawful._replace(item="pension-benefits"), 15)
    verified, rejected = _verify(folder, told["permit"]), not _verify(folder, _tampered(told["permit"]))
    shown = False
    for _ in range(100):
        shown = f"/records/{told['leaf']}" in (page := await portal_page(world.plan, "/records")) and (
            f"/records/{unlawful['leaf']}" in page
        )
        if shown:
            break
        await asyncio.sleep(0.2)
    return {
        "lawful_answered": told["state"] == "answered" and bool(told["records"]),
        "inquiry_ms": next(s["ms"] for s in told["steps"] if s["step"] == "received"),
        "unlawful_refused": unlawful["state"] == "refused",
        "refused_reason": unlawful["reason"],
        "row_needed": unlawful["rows"],
        "permit_verified": verified,
        "tampered_permit_rejected": rejected,
        "record_at_portal": shown,
    }


def _verify(folder: Path, permit: str) -> bool:
    verifiers = (folder / "verifiers.txt").read_text("utf-8").split()
    try:
        Notary([Verifier.from_text(v) for v in verifiers]).open(from_file(permit))
    except RenkeiError:
        return False
    return True


def _tampered(permit: str) -> str:
    at = len(permit) // 3
    return permit[:at] + ("A" if permit[at] != "A" else "B") + permit[at + 1 :]


async def portal_page(plan: Plan, path: str, persona: int = 0) -> str:
    """A page of the portal as a persona's browser gets it: sign-in form, cookies and all."""
    url = next(p.url for p in plan.places if p.role == "portal")
    jar: dict[str, str] = {}

    async def go(path: str, form: dict[str, str] | None = None) -> tuple[int, str]:
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in jar.items()), "Accept": "text/html"}
        body = urllib.parse.urlencode(form).encode() if form is not None else None
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        status, got, raw = await fetch(
            url + path, method="POST" if body is not None else "GET", body=body, headers=headers
        )
        for line in got.get("set-cookie", "").splitlines():
            jar.update({m.key: m.value for m in http.cookies.SimpleCookie(line).values()})
        return status, raw.decode("utf-8", "replace")

    _, page = await go("/signin?lang=en")
    token = page.partition('name="_csrf_token" value="')[2].partition('"')[0]
    await go("/signin", {"_csrf_token": token, "secret": plan.personas[persona].secret})
    return (await go(path))[1]
