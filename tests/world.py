"""A nation for tests: real NATS, real databases, every body, on a loop of its own in a thread; driven through public entrances."""

from __future__ import annotations

import asyncio
import csv
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from renkei.institution import subjects
from renkei.institution.settings import Clock, system_clock
from renkei.nation.plan import Plan, free_ports, lay_out
from renkei.nation.world import ROLES, World
from tests.conftest import PACK


class Running:
    """A started nation."""

    def __init__(
        self,
        folder: Path,
        *,
        residents: int = 120,
        database: Callable[[str], str] | None = None,
        bus_nodes: int = 1,
        pack: Path = PACK,
        prepare: Callable[[Plan], None] = lambda _: None,
        world: Callable[[Path], World] = World,
    ) -> None:
        self.folder = folder
        template = "sqlite:///{home}/{body}.db"
        if database:
            template = _Urls(database)  # type: ignore[assignment]
        self.plan: Plan = lay_out(folder, pack, residents=residents, database=template, bus_nodes=bus_nodes)
        prepare(self.plan)
        self.world = world(folder)
        self.plan = self.world.plan
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.do(self.world.start(), 60)
        self.do(self.world.until_linked(), 90)

    def do(self, work: Any, timeout: float = 30) -> Any:
        """Run a coroutine on the nation's loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def stop(self) -> None:
        """Stop everything; a second time does nothing."""
        if not self._thread.is_alive():
            return
        self.do(self.world.stop(), 60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def stop_body(self, body: str) -> None:
        self.do(self.world.institutions.pop(body).stop())

    def start_body(self, body: str, clock: Clock = system_clock) -> None:
        async def start() -> None:
            institution = ROLES[self.plan.place(body).role](self.folder / body, clock=clock)
            self.world.institutions[body] = institution
            await institution.start()

        self.do(start())
        until(lambda: self.do(self.world.health(self.plan.place(body))))

    def url(self, body: str) -> str:
        return self.plan.place(body).url

    def local_id(self, body: str, persona: int = 0) -> str:
        return self.plan.personas[persona].local_ids[body]

    def number(self, persona: int = 0) -> str:
        """A persona's number, from the roll, which begins with the personas."""
        with (self.folder / "roll.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))[persona]["number"]

    def code(self, body: str, persona: int = 0) -> Any:
        """The linkage code (with its epoch) of a persona at a gateway, ``None`` if it has none."""
        local_id = self.local_id(body, persona)
        found = self.world.institutions[body].database.read_now(lambda c: subjects.by_local_id(c, [local_id]))
        return found[local_id].code if local_id in found else None

    def register_anew(self, body: str, persona: int = 0) -> None:
        """Have a gateway forget a persona and register it again."""
        local_id = self.local_id(body, persona)
        forget = subjects.subjects.delete().where(subjects.subjects.c.local_id == local_id)
        self.do(self.world.institutions[body].database.write(lambda c: c.execute(forget)))
        status, _ = self.http(body, "/subjects", {"subjects": [{"local_id": local_id, "number": self.number(persona)}]})
        assert status < 300

    def http(
        self, body: str, path: str, data: Any = None, *, method: str = "", token: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Call a body's web interface; status and JSON (or text)."""
        token = self.plan.place(body).token if token is None else token
        raw = data if isinstance(data, bytes) or data is None else json.dumps(data).encode()
        head = {k.replace("_", "-"): v for k, v in headers.items()}
        if token:
            head.setdefault("Authorization", f"Bearer {token}")
        if raw is not None:
            head.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(
            self.url(body) + path, raw, head, method=method or ("GET" if raw is None else "POST")
        )
        try:
            with urllib.request.urlopen(request, timeout=40) as response:
                status, text, kind = response.status, response.read(), response.headers.get("content-type", "")
        except urllib.error.HTTPError as error:
            status, text, kind = error.code, error.read(), error.headers.get("content-type", "")
        return status, json.loads(text) if "json" in kind and "ndjson" not in kind else text.decode()

    def counter(self, body: str, name: str) -> int:
        """The body's counter ``renkei_<name>_total``; 0 before anything was counted."""
        for line in self.http(body, "/metrics", token="")[1].splitlines():
            if line.startswith(f"renkei_{name}_total "):
                return int(float(line.split()[1]))
        return 0

    def ask(
        self, requester: str = "ohashi-city", *, wait: int = 10, persona: int = 0, **changes: Any
    ) -> tuple[int, Any]:
        """A lawful inquiry, with changes."""
        data = {
            "local_id": self.local_id(requester, persona),
            "provider": "tax-union",
            "affair": "child-allowance",
            "item": "local-tax",
            "purpose": "assess-amount",
            **changes,
        }
        return self.http(requester, "/inquiries", data, **({"Prefer": f"wait={wait}"} if wait else {}))


class _Urls(str):
    """A template whose ``format`` makes a fresh PostgreSQL database for each body."""

    _make: Callable[[str], str]

    def __new__(cls, make: Callable[[str], str]) -> _Urls:
        made = super().__new__(cls, "postgresql")
        made._make = make
        return made

    def format(self, *_: Any, **values: Any) -> str:
        return self._make(values["body"])


def until(check: Callable[[], Any], seconds: float = 40) -> Any:
    """Wait for something that must come true; its value. Looked for ever less often: looking costs those who are to make it true."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while True:
        if value := check():
            return value
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(pause)
        pause = min(0.2, pause * 1.25)


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    return free_ports(1)[0]
