"""What a resident waits for at My Portal: first byte and weight of its pages, with fifty residents at once; beside the floor of a page
that looks nothing up.

``python -m bench.portal`` writes ``bench/results/portal.json``. Each of fifty users opens a page, reads for a second, and opens the next.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from tests.world import Running, until

USERS = 50
READS = 1.0
"""Seconds between an answer and the next question of one user."""
TURNS = 12
ASKED = 40
"""Accesses in each user's file."""
PAGES = ("/records", "/records?q=tax", "/records/{first}", "/account", "/signin")


async def signed_in(nation: Running, persona: int) -> httpx.AsyncClient:
    client = httpx.AsyncClient(base_url=nation.url("portal"), timeout=20)
    page = (await client.get("/signin")).text
    token = re.search(r'name="_csrf_token" value="([^"]*)"', page)
    assert token
    secret = nation.plan.personas[persona % len(nation.plan.personas)].secret
    answer = await client.post("/signin", data={"_csrf_token": token[1], "secret": secret})
    assert answer.status_code == 303, answer.status_code
    return client


async def first_byte(client: httpx.AsyncClient, path: str) -> float:
    began = time.perf_counter()
    async with client.stream("GET", path) as answer:
        async for _ in answer.aiter_raw():
            took = time.perf_counter() - began
            break
        assert answer.status_code == 200, (path, answer.status_code)
    return took * 1000


async def user(client: httpx.AsyncClient, path: str, late: float) -> list[float]:
    await asyncio.sleep(late)
    took = []
    for _ in range(TURNS):
        took.append(await first_byte(client, path))
        await asyncio.sleep(READS)
    return took


def told(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    at = lambda share: round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)  # noqa: E731
    return {"median_ms": round(statistics.median(ordered), 1), "p95_ms": at(0.95), "most_ms": at(1.0)}


async def weights(client: httpx.AsyncClient, path: str) -> int:
    """Bytes of a page with everything it loads, as they are sent."""
    page = await client.get(path)
    total = len(page.content)
    for name in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)):
        total += len((await client.get(name)).content)
    return total


async def measure(nation: Running) -> dict[str, Any]:
    clients = [await signed_in(nation, n) for n in range(USERS)]
    first = re.search(r'href="(/records/\d+)"', (await clients[0].get("/records")).text)
    assert first
    own = {c: re.search(r"/records/(\d+)", (await c.get("/records")).text) for c in clients}
    found: dict[str, Any] = {}
    for path in PAGES:
        spread = [
            user(c, path.format(first=m[1] if m else 0), n * READS / USERS) for n, (c, m) in enumerate(own.items())
        ]
        took = [t for times in await asyncio.gather(*spread) for t in times]
        weight = await weights(clients[0], path.format(first=first[1].rpartition("/")[2]))
        found[path] = {**told(took), "kilobytes": round(weight / 1000, 1)}
    floor = [
        t
        for times in await asyncio.gather(*(user(c, "/static/mark.svg", n / USERS) for n, c in enumerate(clients)))
        for t in times
    ]
    for client in clients:
        await client.aclose()
    return {"users": USERS, "pages": found, "floor": told(floor)}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        nation = Running(Path(folder) / "nation", residents=60)
        try:
            personas = len(nation.plan.personas)
            for n in range(ASKED * personas):
                nation.ask(persona=n % personas, wait=0)
            until(lambda: int(nation.http("portal", "/health", token="")[1]["records"]) >= ASKED * personas, 120)
            found = asyncio.run(measure(nation))
        finally:
            nation.stop()
    Path("bench/results/portal.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
