"""Raising and stopping a nation: the bus, and every body either in this process or in one of its own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import msgspec

from renkei.authority.service import Authority
from renkei.catalogue.service import Catalogue
from renkei.commission.service import Commission
from renkei.errors import Malformed, Refused, SetupError, Unavailable
from renkei.gateway.service import Gateway
from renkei.hub.service import Hub
from renkei.institution.bus import BusServer, BusUser, demand_free, make_mailboxes
from renkei.institution.runtime import Institution
from renkei.institution.settings import Home, occupy
from renkei.institution.tasks import end
from renkei.institution.workers import Worker
from renkei.nation.plan import Place, Plan, bus_servers, bus_users, configure_bus, known_to, local_ids
from renkei.nation.web import fetch
from renkei.portal.service import Portal
from renkei.record.state import nkey_public

ROLES: dict[str, type[Institution]] = {
    "authority": Authority,
    "hub": Hub,
    "commission": Commission,
    "gateway": Gateway,
    "portal": Portal,
    "catalogue": Catalogue,
    "worker": Worker,
}
CERTIFICATION = "certification"
SITES = "sites"
"""The folders, in a nation, of its certification authorities, and of a private site."""
ORDER = ("hub", "commission", "authority", "portal", "catalogue", "gateway")
READY_WITHIN = 90.0


def settle_memory() -> None:
    """Take the packs and tables loaded at start out of the collector's sight: walking them took up to 40 % of a body's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def institution_of(home: Path) -> Institution:
    """The institution whose home folder this is; ``SetupError`` if it is none's."""
    role = Home(home).settings().role
    if role not in ROLES:
        raise SetupError(
            f"{home / 'settings.toml'}: there is no role {role!r}.",
            ja=f"{home / 'settings.toml'}: role {role!r} はありません。",
            code="settings-wrong",
            remedy=f"Use one of: {', '.join(ROLES)}.",
            remedy_ja=f"次のいずれかにしてください: {', '.join(ROLES)}。",
        )
    return ROLES[role](home)


TRY_AGAIN = 75
"""Exit status of an institution that ended by itself and is to be started again (``EX_TEMPFAIL`` of sysexits.h)."""


async def run_one(home: Path) -> int:
    """Run the institution of one home folder until a signal says stop, or it is over; the exit status."""
    institution = institution_of(home)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await institution.start()
        settle_memory()
        ends = [asyncio.ensure_future(event.wait()) for event in (stop, institution.over)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await end(ends)
        if institution.over.is_set():  # it can finish nothing: what it holds is another's, or comes again
            return TRY_AGAIN
        await institution.drain()
        return 0
    finally:
        await institution.stop()


async def admit(folder: Path, plan: Plan, body: str, bus_public: str) -> None:
    """Let a body that joined use the bus: a user of its own, and a mailbox. A running server takes it up at once.

    ``Refused`` if the bus knows the body by another key: it would read, and lose, what is meant for that one. ``Malformed`` if it is no
    key: the servers would not start again.
    """
    if not nkey_public(bus_public):
        raise Malformed("Its key for the bus is none.", ja="バスの鍵が正しくありません。", code="bad-key")
    if any(user.body == body and user.nkey != bus_public for user in bus_users(folder, plan)):
        raise Refused(
            f"The bus knows {body!r} by another key.",
            ja=f"バスには {body} の別の鍵が登録されています。",
            code="key-reuse",
            remedy="Ask the body; if it lost its keys, take it out of bus/guests.toml first.",
            remedy_ja="機関に確認してください。鍵を失くした場合は、先に bus/guests.toml から除いてください。",
        )
    configure_bus(folder, plan, BusUser(body, bus_public))
    await make_mailboxes(plan.bus, plan.operator.encode(), [body])


class World:
    """A running nation. ``processes`` puts each role into a process of its own (bench, faults)."""

    def __init__(self, folder: Path, *, processes: bool = False) -> None:
        self.folder, self.processes = folder, processes
        self.plan = Plan.read(folder)
        self.buses = bus_servers(folder, self.plan)
        self._held: IO[bytes] | None = None
        self.institutions: dict[str, Institution] = {}
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def bus(self) -> BusServer:
        """The first server of the bus, which mostly is the only one."""
        return self.buses[0]

    async def start(self) -> None:
        """Start the bus and every body. Returns when all are started, not when all are linked (``until_linked``)."""
        self._held = occupy(self.folder / ".lock")
        demand_free([self.plan.port(p.body) for p in self.plan.places])
        for server in self.buses:
            await server.start()
        operator = self.plan.operator.encode()
        await make_mailboxes(self.plan.bus, operator, [p.body for p in self.plan.places])
        if self.plan.certification:
            self.spawn(CERTIFICATION, "certification", "run")
            self.spawn(SITES, "nation", "sites")
        places = sorted(self.plan.places, key=lambda p: ORDER.index(p.role))
        if self.processes:
            for place in places:
                self.spawn(place.body)
            return
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(48, "work"))
        for place in places:
            self.institutions[place.body] = ROLES[place.role](self.folder / place.body)
        for role in ORDER:  # who is spoken to first: what is said before it listens is said again only after a while
            bodies = [p.body for p in places if p.role == role]
            await asyncio.gather(*(self.institutions[body].start() for body in bodies))
        settle_memory()

    def spawn(self, body: str, *command: str) -> None:
        """Start the process of one body (again)."""
        home, run = self.folder / body, command or ("run",)
        log = (home / "log.jsonl").open("ab")
        self.children[body] = subprocess.Popen(
            [sys.executable, "-m", "renkei.cli", *run, str(home)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def kill(self, body: str) -> None:
        """Kill −9 the process of one body."""
        child = self.children[body]
        child.kill()
        child.wait()

    async def stop(self) -> None:
        """Stop every body, then the bus. Nothing is lost by it."""
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(child.wait, 15)
            if child.poll() is None:
                child.kill()
        try:
            for role in reversed(ORDER):
                bodies = [p.body for p in self.plan.places if p.role == role and p.body in self.institutions]
                await asyncio.gather(*(self.institutions[body].stop() for body in bodies))
        finally:
            for server in self.buses:
                await asyncio.to_thread(server.stop)
            if self._held:
                self._held.close()

    async def health(self, place: Place) -> dict[str, Any]:
        """What ``/health`` of a body says; empty if it does not answer."""
        try:
            _, _, body = await fetch(f"{place.url}/health", timeout=5)
            found: dict[str, Any] = msgspec.json.decode(body)
            return found
        except (Unavailable, msgspec.DecodeError):
            return {}

    async def until_linked(
        self, at_least: int | None = None, report: Callable[[int, int], None] = lambda a, b: None
    ) -> float:
        """Wait until every body knows ``at_least`` persons by code (the personas by default); the seconds it took."""
        began = time.monotonic()
        wanted = len(self.plan.personas) if at_least is None else at_least
        waiting = [p for p in self.plan.places if known_to(self.folder, p.body).exists()]
        total = len(waiting)
        while waiting:
            states = await asyncio.gather(*(self.health(p) for p in waiting))
            waiting = [p for p, s in zip(waiting, states, strict=True) if int(s.get("subjects", "0")) < wanted]
            report(total - len(waiting), total)
            self._check_alive()
            if time.monotonic() - began > READY_WITHIN:
                names = ", ".join(p.body for p in waiting)
                raise SetupError(
                    f"Not linked in time: {names}.",
                    code="not-linked",
                    remedy="See log.jsonl in their folders.",
                )
            if waiting:
                await asyncio.sleep(0.2)
        return time.monotonic() - began

    async def codes(self) -> tuple[int, int]:
        """Codes issued so far, and codes wanted in all, over the whole nation."""
        have = want = 0
        for place in self.plan.places:
            people = await asyncio.to_thread(local_ids, self.folder, place.body)
            if people:
                want += len(people)
                have += int((await self.health(place)).get("subjects", "0"))
        return have, want

    def _check_alive(self) -> None:
        for body, child in self.children.items():
            if child.poll() is not None:
                raise SetupError(
                    f"{body} stopped by itself.",
                    code="body-stopped",
                    remedy=f"See {self.folder / body / 'log.jsonl'}.",
                )
