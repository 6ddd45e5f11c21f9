"""A batch file as it grows, through the gateway of a nation with one process per role.

First the whole way, to the complete result file. Then with everyone else away, and the gateway not waiting for rows to end
(``bench.unpaced``): receiving, checking, signing and storing alone, so that a million rows take minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.progress import Progress

from bench.grow import Measure, forget_peak, peak_mb, seconds
from renkei.gateway import store
from renkei.gateway.batches import UNDER_WAY
from renkei.institution.database import Database
from renkei.institution.settings import Home
from renkei.law import Pack
from renkei.nation import day
from renkei.nation.plan import lay_out, local_ids
from renkei.nation.population import Demography
from renkei.nation.web import fetch
from renkei.nation.world import World

PACK = Path("packs/japan")
RESIDENTS = 300
WHOLE_SHORT, WHOLE_LONG = 10**4, 10**5
"""Rows of the longest file that goes the whole way."""
LOOKS = 5
MEASURES = (
    Measure("upload_s", "receiving and counting, s per 1,000 rows", "flat"),
    Measure("upload_peak_mb", "most memory of the gateway meanwhile, MB", "flat"),
    Measure("submit_s", "checking, signing, storing, s per 1,000 rows", "floor 0.19 of cryptography, flat"),
    Measure("submit_late", "its last tenth over its first", "1"),
    Measure("submit_peak_mb", "most memory of the gateway meanwhile, MB", "flat: at most 16 MB owed, and page caches"),
    Measure("room_ms", "looking for room once all but 2,048 rows have ended, ms (every 64 rows)", "flat"),
    Measure("status_ms", "asking how far the file is, ms", "O(rows), small"),
    Measure("health_ms", "/health, ms", "O(inquiries ever made), small"),
    Measure("whole_s", "the whole way to answers, s per 1,000 rows", "flat"),
    Measure("whole_late", "its last tenth over its first", "1"),
    Measure("whole_peak_mb", "most memory of the gateway meanwhile, MB", "flat"),
    Measure("result_s", "fetching the result file, s per 1,000 rows", "flat"),
)


def run(sizes: list[int], long: bool, progress: Progress) -> list[dict[str, Any]]:
    """The section's rows."""
    return asyncio.run(_run(sizes, WHOLE_LONG if long else WHOLE_SHORT, progress))


async def _run(sizes: list[int], whole_most: int, progress: Progress) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="renkei-growth-") as name:
        folder = Path(name) / "nation"
        async with nation(folder, progress) as world:
            desk = Desk(world, folder)
            rows: dict[int, dict[str, Any]] = {size: {"n": size} for size in sizes}
            for size in sizes:
                if size <= whole_most:
                    task = progress.add_task(f"{size:,} rows, the whole way", total=size)
                    rows[size] |= await desk.whole(size, lambda n, t=task: progress.update(t, completed=n))  # type: ignore[misc]
            desk.alone()
            for size in sizes:
                task = progress.add_task(f"{size:,} rows, into the outbox", total=size)
                rows[size] |= await desk.staged(size, lambda n, t=task: progress.update(t, completed=n))  # type: ignore[misc]
            return list(rows.values())


@contextlib.asynccontextmanager
async def nation(folder: Path, progress: Progress) -> AsyncIterator[World]:
    """A small nation in which everyone is linked."""
    lay_out(folder, PACK, residents=RESIDENTS)
    world = World(folder, processes=True)
    task = progress.add_task("a nation, linked", total=None)
    try:
        await world.start()
        await world.until_linked()
        have, want = 0, 1
        while have < want:
            await asyncio.sleep(0.5)
            have, want = await world.codes()
            progress.update(task, completed=have, total=want)
        yield world
    finally:
        await world.stop()


class Desk:
    """The gateway that is given files, seen from outside."""

    def __init__(self, world: World, folder: Path) -> None:
        pack, demography = Pack.load(PACK), Demography.read(PACK)
        lawful = day.lawful(pack, demography, world.plan, dt.datetime.now(dt.UTC).date())
        self._world = world
        self.body = statistics.mode(requester for requester, *_ in lawful)
        self._choices = [rest for requester, *rest in lawful if requester == self.body]
        self._purposes = list(pack.purposes)
        self._people = local_ids(folder, self.body)
        self._place = world.plan.place(self.body)
        self._home = Home(folder / self.body)
        self._headers = {"Authorization": f"Bearer {self._place.token}", "Content-Type": "text/csv"}

    @property
    def pid(self) -> int:
        return self._world.children[self.body].pid

    def file(self, size: int) -> bytes:
        """Lawful inquiries, as CSV."""
        rng = random.Random(size)
        lines = ["local_id,provider,affair,item,purpose"]
        for _ in range(size):
            affair, provider, item = rng.choice(self._choices)
            lines.append(f"{rng.choice(self._people)},{provider},{affair},{item},{rng.choice(self._purposes)}")
        return ("\n".join(lines) + "\n").encode()

    async def whole(self, size: int, report: Callable[[int], None]) -> dict[str, float]:
        """A file to its complete result."""
        data = self.file(size)
        forget_peak(self.pid)
        began = time.monotonic()
        id_ = await self._upload(data)
        ended = await self._watch(self._ended, id_, size, report)
        took = time.monotonic() - began
        peak = peak_mb(self.pid)
        fetching = time.monotonic()
        _, _, result = await fetch(f"{self._place.url}/batches/{id_}/result", headers=self._headers, timeout=600)
        assert result.count(b"\n") == size + 1, "the result file has a line per row"
        return {
            "whole_s": took / size * 1e3,
            "whole_late": lateness(ended, size),
            "whole_peak_mb": peak,
            "result_s": (time.monotonic() - fetching) / size * 1e3,
        }

    def alone(self) -> None:
        """Everyone else goes; nothing leaves the outbox any more."""
        for child in self._world.children.values():
            child.terminate()
        for child in self._world.children.values():
            child.wait(20)

    async def staged(self, size: int, report: Callable[[int], None]) -> dict[str, float]:
        """A file into the outbox, in a fresh process; then what is asked about it once it has ended."""
        data = self.file(size)
        self._world.children[self.body] = start_unpaced(self._home.folder)
        while True:
            if (await self._world.health(self._place)).get("linked") == "true":
                break
            await asyncio.sleep(0.2)
        forget_peak(self.pid)
        began = time.monotonic()
        id_ = await self._upload(data)
        uploaded = time.monotonic()
        uploading = peak_mb(self.pid)
        forget_peak(self.pid)
        submitted = await self._watch(self._submitted, id_, size, report)
        found = {
            "upload_s": (uploaded - began) / size * 1e3,
            "submit_s": (time.monotonic() - uploaded) / size * 1e3,
            "submit_late": lateness(submitted, size),
            "upload_peak_mb": uploading,
            "submit_peak_mb": peak_mb(self.pid),
            "status_ms": await self._median_ms(f"/batches/{id_}"),
            "health_ms": await self._median_ms("/health"),
        }
        self.alone()
        return found | {"room_ms": await asyncio.to_thread(self._room_ms, id_)}

    def _room_ms(self, id_: str) -> float:
        """One look for room when all rows but the last UNDER_WAY have ended, as they do one after the other in life."""
        database = Database(self._home.settings().database, packages=("institution", "gateway"))
        table = store.inquiries
        mine = table.c.batch == id_
        newest = (
            sa.select(table.c.batch_line).where(mine).order_by(table.c.batch_line.desc()).offset(UNDER_WAY).limit(1)
        )

        def end(connection: sa.Connection) -> None:
            old = connection.execute(newest).scalar_one()
            connection.execute(table.update().where(mine, table.c.batch_line <= old).values(state="answered"))

        database.write_now(end)
        looks = [seconds(lambda: database.read_now(lambda c: store.open_rows(c, id_))) for _ in range(LOOKS)]
        database.write_now(lambda c: c.execute(table.update().where(mine).values(state="answered")))
        database.close()
        return statistics.median(looks) * 1e3

    async def _upload(self, data: bytes) -> str:
        _, _, raw = await fetch(
            f"{self._place.url}/batches", method="POST", body=data, headers=self._headers, timeout=600
        )
        return str(json.loads(raw)["id"])

    async def _watch(
        self, look: Callable[[str], int], id_: str, size: int, report: Callable[[int], None]
    ) -> list[tuple[float, int]]:
        """How far the file is, now and then until it is through. Looks into the database, so as not to be served meanwhile."""
        seen = [(time.monotonic(), 0)]
        while seen[-1][1] < size:
            await asyncio.sleep(0.2)
            seen.append((time.monotonic(), await asyncio.to_thread(look, id_)))
            report(seen[-1][1])
        return seen

    def _submitted(self, id_: str) -> int:
        return self._query("SELECT submitted FROM batches WHERE id = ?", id_)

    def _ended(self, id_: str) -> int:
        """Rows that are submitted and not open; open ones are counted over the index of states."""
        open_ = self._query("SELECT count(*) FROM inquiries WHERE state IN ('submitted', 'permitted')")
        return self._submitted(id_) - open_

    def _query(self, sql: str, *values: str) -> int:
        path = sa.make_url(self._home.settings().database).database
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return int(connection.execute(sql, values).fetchone()[0])

    async def _median_ms(self, path: str) -> float:
        took = []
        for _ in range(LOOKS):
            began = time.monotonic()
            await fetch(f"{self._place.url}{path}", headers=self._headers, timeout=120)
            took.append(time.monotonic() - began)
        return statistics.median(took) * 1e3


def start_unpaced(home: Path) -> subprocess.Popen[bytes]:
    """The gateway of ``home`` in a process of its own."""
    log = (home / "log.jsonl").open("ab")
    command = [sys.executable, "-m", "bench.unpaced", str(home)]
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def lateness(seen: list[tuple[float, int]], size: int) -> float:
    """The time the last tenth of the rows took, over that of the first."""

    def when(count: float) -> float:
        for (t0, n0), (t1, n1) in itertools.pairwise(seen):
            if n1 >= count:
                return t0 + (t1 - t0) * (count - n0) / max(n1 - n0, 1)
        return seen[-1][0]

    return (when(size) - when(0.9 * size)) / max(when(0.1 * size) - seen[0][0], 1e-9)
