"""The hub's costly part (verify, rule, convert) by worker processes: entries per second with 1, 2 and 4 of them, beside the hub alone.

Real workers on a real bus, on this one machine: they can only grow to its cores. The nation they belong to is otherwise idle.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import Progress

from bench.grow import Measure
from renkei.gateway.desk import Ask
from renkei.institution.bus import Bus
from renkei.institution.keys import Keys
from renkei.institution.observe import Observer
from renkei.institution.settings import Home, system_clock
from renkei.institution.workers import Workers
from renkei.messages.wire import Envelope, Work
from renkei.nation.plan import lay_out
from renkei.nation.world import World
from renkei.record import rounds

PACK = Path("packs/japan")
ROUND = 256
SECONDS = 5.0
MEASURES = (
    Measure("entries_per_second", "entries drafted per second by workers", "as the workers, up to the cores (2 here)"),
    Measure("alone_per_second", "by the hub alone, one thread", "floor: one core's cryptography"),
    Measure("keeper_us", "processor time left to the hub for each, µs", "flat, small"),
)


def run(sizes: list[int], long: bool, progress: Progress) -> list[dict[str, Any]]:
    """The section's rows."""
    return asyncio.run(_run(sizes, progress))


async def _run(sizes: list[int], progress: Progress) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="renkei-growth-") as name:
        folder = Path(name) / "nation"
        lay_out(folder, PACK, residents=60)
        world = World(folder)
        children: list[subprocess.Popen[bytes]] = []
        try:
            await world.start()
            await world.until_linked()
            await asyncio.sleep(3)  # what is still being issued
            task = progress.add_task("workers", total=len(sizes) + 1)
            alone = await asyncio.to_thread(_alone, world)
            progress.advance(task)
            rows = []
            for size in sizes:
                while len(children) < size:
                    children.append(_start(folder, len(children)))
                rows.append({"n": size, "alone_per_second": alone, **await _shared(world, folder, size)})
                progress.advance(task)
            return rows
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait(15)
            await world.stop()


def _start(folder: Path, number: int) -> subprocess.Popen[bytes]:
    home = Home(folder / f"worker-{number}")
    home.folder.mkdir()
    for file in ("keys.toml", "genesis.bin"):
        shutil.copy(folder / "hub" / file, home.folder)
    shutil.copytree(folder / "hub" / "law", home / "law")
    url = f"sqlite:///{home.folder.resolve()}/worker.db"
    settings = msgspec.structs.replace(Home(folder / "hub").settings(), role="worker", port=0, database=url)
    home.write_toml("settings.toml", msgspec.to_builtins(settings))
    log = (home / "log.jsonl").open("ab")
    return subprocess.Popen([sys.executable, "-m", "renkei.cli", "run", str(home.folder)], stdout=log, stderr=log)


def _inquiries(world: World) -> list[Envelope]:
    """A round of inquiries, fresh from a town's desk."""
    town: Any = world.institutions["ohashi-city"]
    local_id = world.plan.personas[0].local_ids["ohashi-city"]
    ask = Ask(
        local_id=local_id, provider="tax-union", affair="child-allowance", item="local-tax", purpose="assess-amount"
    )
    made, _ = town.desk.make([(ask, "bench", at) for at in range(ROUND)])
    return [m.message.envelope for m in made]


def _alone(world: World) -> float:
    hub: Any = world.institutions["hub"]
    envelopes, began = _inquiries(world), time.perf_counter()
    for envelope in envelopes:
        rounds.draft(hub.keeper.state, hub.converter, lambda _: {}, envelope, system_clock())
    return round(ROUND / (time.perf_counter() - began))


async def _shared(world: World, folder: Path, count: int) -> dict[str, float]:
    hub: Any = world.institutions["hub"]
    keys = Keys.load(Home(folder / "hub"), "hub")
    bus = Bus(world.plan.bus, "hub", keys.bus_seed)
    await bus.connect()
    workers = Workers(keys, bus, Observer("hub", "hub"), 2 * count)
    try:
        envelopes = await asyncio.to_thread(_inquiries, world)
        while not all(await workers.ask(_work(hub, envelopes))):  # noqa: ASYNC110 - until the new ones follow the record
            await asyncio.sleep(0.2)
        done, cpu, began = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            asked = [
                workers.ask(_work(hub, envelopes)) for _ in range(2)
            ]  # the next round is prepared while one is under way
            done += sum(1 for each in await asyncio.gather(*asked) for one in each if one)
        seconds = time.perf_counter() - began
        used = (time.process_time() - cpu) / done * 1e6
    finally:
        await bus.close()
    return {"entries_per_second": round(done / seconds), "keeper_us": round(used, 1)}


def _work(hub: Any, envelopes: list[Envelope]) -> Work:
    return Work(hub.keeper.state.next_index, system_clock(), envelopes=envelopes)
