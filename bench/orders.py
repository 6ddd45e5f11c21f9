"""``python -m bench.orders``: how long an order takes from its last signature in the console to the inquiries it stops.

A nation of one process per role, asked without pause by several clerks; orders are signed and lifted in the console again and again.
The time is from sending the second officer's signature to when the first inquiry is refused by the order, and to the last one that was
still permitted. Writes ``bench/results/orders.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.console import Console

from renkei.nation.plan import Plan, lay_out
from renkei.nation.web import call
from renkei.nation.world import World

PACK = Path("packs/japan")
RESULT = Path("bench/results/orders.json")
ASKERS = 4


class Live:
    """What ``Console`` needs of a nation."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def url(self, body: str) -> str:
        return self.plan.place(body).url


async def measure(orders: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="renkei-orders-") as name:
        folder = Path(name) / "nation"
        lay_out(folder, PACK, residents=200)
        world = World(folder, processes=True)
        await world.start()
        try:
            await world.until_linked()
            return await _measure(world, orders)
        finally:
            await world.stop()


async def _measure(world: World, orders: int) -> dict[str, Any]:
    ended: list[tuple[float, float, str]] = []
    stop = asyncio.Event()
    askers = [asyncio.create_task(_ask(world.plan, ended, stop)) for _ in range(ASKERS)]
    live = Live(world.plan)
    officers = await asyncio.to_thread(lambda: [Console(live, n) for n in ("kujo", "mikami")])  # type: ignore[arg-type]
    found = []
    for _ in range(orders):
        found.append(await _one(ended, *officers))
    stop.set()
    await asyncio.gather(*askers)
    idle = [b - a for a, b, state in ended if state == "answered"]
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": f"python -m bench.orders --orders {orders}",
        "orders": orders,
        "inquiries": len(ended),
        "inquiry_ms_p50": round(1000 * statistics.median(idle), 1),
        "signed_to_refused_ms_p50": round(1000 * statistics.median(f[0] for f in found)),
        "signed_to_refused_ms_max": round(1000 * max(f[0] for f in found)),
        "signed_to_last_permitted_ms_max": round(1000 * max(f[1] for f in found)),
        "console_ms_p50": round(1000 * statistics.median(f[2] for f in found)),
    }


async def _one(ended: list[tuple[float, float, str]], proposer: Console, signer: Console) -> tuple[float, float, float]:
    """From the second signature: to the first refusal, to when the last permitted inquiry was made, to the console's answer."""
    await asyncio.to_thread(lambda: proposer.form("/decisions/order", text="Measured.", body="tax-union"))
    path, mark = proposer.at, len(ended)
    began = time.perf_counter()
    await asyncio.to_thread(lambda: signer.form(path, act="sign"))
    console = time.perf_counter() - began
    while not any(s == "order" for _, _, s in ended[mark:]):  # noqa: ASYNC110 - looked at for a moment
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.5)
    fresh = ended[mark:]
    first = min(b for _, b, s in fresh if s == "order") - began
    last = max((a - began for a, _, s in fresh if s == "answered"), default=0.0)
    await asyncio.to_thread(lambda: proposer.form(path, act="lift", text="Measured."))
    await asyncio.to_thread(lambda: signer.form(proposer.at, act="sign"))
    mark = len(ended)
    while not any(s == "answered" for _, _, s in ended[mark:]):  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.02)
    return first, max(0.0, last), console


async def _ask(plan: Plan, ended: list[tuple[float, float, str]], stop: asyncio.Event) -> None:
    place = plan.place("ohashi-city")
    data = {
        "local_id": plan.personas[0].local_ids["ohashi-city"],
        "provider": "tax-union",
        "affair": "child-allowance",
        "item": "local-tax",
        "purpose": "assess-amount",
    }
    while not stop.is_set():
        began = time.perf_counter()
        told = await call(f"{place.url}/inquiries", place.token, data, prefer="wait=10")
        ended.append((began, time.perf_counter(), told["reason"] or told["state"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=20)
    given = parser.parse_args()
    found = asyncio.run(measure(given.orders))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
