"""``make bench``: whole inquiries per second with every role on this machine, beside the floor of their cryptography.

Writes ``bench/results/latest.json`` and prints a table. Loopback only; bounded in time.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table

from bench import primitives
from bench.ledger import appends_per_second
from renkei.law import Pack
from renkei.nation import day
from renkei.nation.plan import lay_out
from renkei.nation.population import Demography
from renkei.nation.web import call, fetch
from renkei.nation.world import World

PACK = Path("packs/japan")
RESIDENTS = int(os.environ.get("BENCH_RESIDENTS", "4000"))
BULK = int(os.environ.get("BENCH_INQUIRIES", "45000"))
PACED_SECONDS = 15
TOGETHER = 200
"""Single requests that may wait at once."""
out = Console(stderr=True)


async def main() -> dict[str, Any]:
    """Everything measured, as one dictionary."""
    report: dict[str, Any] = {"machine": machine(), "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds")}
    out.print("primitives …")
    primitive = primitives.measure()
    report["primitives_us"] = {k: round(v, 1) for k, v in primitive.items()}
    report["crypto_floor_us"] = round(primitives.floor_us(primitive), 1)
    busy = primitives.measure_busy(os.cpu_count() or 1)
    report["crypto_floor_busy_us"] = round(primitives.floor_us(busy), 1)
    report["conversions_per_second_per_core"] = round(1e6 / primitive["convert"])
    out.print("ledger …")
    report["ledger_appends_per_second"] = round(appends_per_second())
    with tempfile.TemporaryDirectory(prefix="renkei-bench-") as name:
        folder = Path(name) / "nation"
        out.print(f"a nation of {RESIDENTS} residents, one process per role …")
        lay_out(folder, PACK, residents=RESIDENTS)
        world = World(folder, processes=True)
        try:
            began = time.monotonic()
            await world.start()
            await world.until_linked()
            report["ready_s"] = round(time.monotonic() - began, 2)
            report["codes_issued_per_second"] = await issue_all(world)
            report |= await whole_inquiries(world, folder)
        finally:
            await world.stop()
    report["cpu_over_floor"] = round(report["cpu_us_per_inquiry"] / report["crypto_floor_us"], 2)
    report["cpu_over_floor_busy"] = round(report["cpu_us_per_inquiry"] / report["crypto_floor_busy_us"], 2)
    return report


async def issue_all(world: World) -> float:
    """Linkage codes issued per second, while they are all issued in the background."""
    first, _ = await world.codes()
    began = time.monotonic()
    while True:
        have, want = await world.codes()
        if have == want:
            return round((have - first) / max(time.monotonic() - began, 0.001), 1)
        await asyncio.sleep(0.3)


async def whole_inquiries(world: World, folder: Path) -> dict[str, Any]:
    """Bulk throughput through batch files of all requesters at once, then latency at 70 % of it through single requests."""
    pack, demography = Pack.load(PACK), Demography.read(PACK)
    asked = day.sample(folder, world.plan, pack, demography, BULK, 7, dt.datetime.now(dt.UTC).date())
    files: dict[str, list[str]] = {}
    for question in asked:
        d = question.data
        line = f"{d['local_id']},{d['provider']},{d['affair']},{d['item']},{d['purpose']}"
        files.setdefault(question.requester, []).append(line)
    out.print(f"{BULK} inquiries as batch files of {len(files)} requesters …")
    before, began, stored = cpu_seconds(world), time.monotonic(), hub_bytes(folder)
    uploads = await asyncio.gather(*(upload(world, body, lines) for body, lines in files.items()))
    while True:
        states = [await status(world, body, id_) for body, id_ in uploads]
        if all(s["done"] for s in states):
            break
        await asyncio.sleep(0.5)  # asking costs the gateways something too
    seconds = time.monotonic() - began
    await until_filed(world)
    after = cpu_seconds(world)
    answered = sum(s["states"].get("answered", 0) for s in states)
    bulk_rate = BULK / seconds
    used = {name: round((after[name] - before.get(name, 0.0)) / BULK * 1e6) for name in after}
    out.print(f"{bulk_rate:.0f}/s; now {PACED_SECONDS} s at 70 % of it, single requests …")
    alone, _ = await at_a_pace(world, folder, pack, demography, 5, 1)
    latencies, paced = await at_a_pace(world, folder, pack, demography, bulk_rate * 0.7)
    filing = await until_filed(world)
    return {
        "inquiries_per_second": round(bulk_rate, 1),
        "inquiries": BULK,
        "answered": answered,
        "hub_bytes_per_inquiry": round((hub_bytes(folder) - stored) / BULK),
        "cpu_us_per_inquiry": round(sum(used.values())),
        "cpu_us_per_inquiry_by_process": used,
        "latency_alone_ms": quantiles(alone),
        "latency_ms": quantiles(latencies),
        "latency_rate_per_second": round(paced, 1),
        "filed_at_portal_s_after": filing,
    }


def hub_bytes(folder: Path) -> int:
    """Bytes of the hub's database, with what is still in its write-ahead log."""
    return sum(path.stat().st_size for path in (folder / "hub").glob("hub.db*"))


async def upload(world: World, body: str, lines: list[str]) -> tuple[str, str]:
    place = world.plan.place(body)
    text = "local_id,provider,affair,item,purpose\n" + "\n".join(lines) + "\n"
    headers = {"Authorization": f"Bearer {place.token}", "Content-Type": "text/csv"}
    _, _, raw = await fetch(f"{place.url}/batches", method="POST", body=text.encode(), headers=headers)
    return body, json.loads(raw)["id"]


async def status(world: World, body: str, id_: str) -> dict[str, Any]:
    place = world.plan.place(body)
    found: dict[str, Any] = await call(f"{place.url}/batches/{id_}", place.token)
    return found


async def at_a_pace(
    world: World, folder: Path, pack: Pack, demography: Demography, rate: float, together: int = TOGETHER
) -> tuple[list[float], float]:
    """Milliseconds from request to opened answer of single requests sent at ``rate`` a second, and the rate achieved."""
    count = max(30, int(rate * PACED_SECONDS)) if together > 1 else 30
    asked = day.sample(folder, world.plan, pack, demography, count, 8, dt.datetime.now(dt.UTC).date())
    latencies: list[float] = []
    gate = asyncio.Semaphore(together)

    async def one(client: aiohttp.ClientSession, question: day.Asked) -> None:
        place = world.plan.place(question.requester)
        headers = {"Authorization": f"Bearer {place.token}", "Prefer": "wait=20"}
        async with client.post(f"{place.url}/inquiries", json=question.data, headers=headers) as answer:
            told = await answer.json()
        if told["finished_at"] is not None:
            latencies.append(told["finished_at"] - told["issued_at"])
        gate.release()

    began = time.monotonic()
    tasks = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        for at, question in enumerate(asked):
            await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
            await gate.acquire()
            tasks.append(asyncio.create_task(one(client, question)))
        await asyncio.gather(*tasks)
    return latencies, count / (time.monotonic() - began)


async def until_filed(world: World) -> float:
    """Seconds until the portal has filed all that is in the record."""
    began = time.monotonic()
    portal = next(p for p in world.plan.places if p.role == "portal")
    hub = next(p for p in world.plan.places if p.role == "hub")
    while time.monotonic() - began < 120:
        sizes = [int((await world.health(p)).get("log_size", "0")) for p in (hub, portal)]
        if sizes[0] == sizes[1]:
            break
        await asyncio.sleep(0.2)
    return round(time.monotonic() - began, 1)


def cpu_seconds(world: World) -> dict[str, float]:
    """CPU seconds used so far by each process of the nation, the portal's filing included."""
    pids = {body: child.pid for body, child in world.children.items()} | {"bus": world.bus.pid or 0}
    used = {}
    for body, pid in pids.items():
        times = psutil.Process(pid).cpu_times()
        used[body] = times.user + times.system
    return used


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95th and 99th percentile and maximum."""
    cuts = statistics.quantiles(values, n=100)
    return {
        "p50": round(cuts[49], 1),
        "p95": round(cuts[94], 1),
        "p99": round(cuts[98], 1),
        "max": round(max(values), 1),
    }


def machine() -> dict[str, Any]:
    """What this ran on."""
    model = next(
        (x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x), "?"
    )
    packages = ("cryptography", "sqlalchemy", "nats-py", "litestar", "granian", "msgspec", "pynacl")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "versions": {p: version(p) for p in packages},
    }


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title="Renkei bench", title_justify="left", box=None)
    table.add_column("measure")
    table.add_column("figure", justify="right")
    table.add_column("beside")
    floor = report["crypto_floor_busy_us"]
    possible = report["machine"]["cores"] * 1e6 / floor
    rows = [
        (
            "whole inquiries per second",
            report["inquiries_per_second"],
            f"cryptography alone would allow {possible:.0f}",
        ),
        (
            "CPU per inquiry, µs",
            report["cpu_us_per_inquiry"],
            f"floor {floor} with all cores busy: {report['cpu_over_floor_busy']} ×",
        ),
        (
            "latency p50 / p99, ms",
            f"{report['latency_ms']['p50']} / {report['latency_ms']['p99']}",
            f"at {report['latency_rate_per_second']}/s",
        ),
        ("filed at the portal after, s", report["filed_at_portal_s_after"], "after the last answer"),
        ("conversions per second and core", report["conversions_per_second_per_core"], "two multiplications each"),
        ("durable ledger appends per second", report["ledger_appends_per_second"], "rounds of 64, SQLite FULL"),
        ("codes issued per second", report["codes_issued_per_second"], "7 multiplications each, all roles"),
    ]
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)


if __name__ == "__main__":
    found = asyncio.run(main())
    path = Path("bench/results/latest.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    show(found)
    out.print(f"written: {path}")
    sys.exit(0)
