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
import sqlalchemy as sa
from tests.world import Running, until

from renkei.institution.letters import DELIVERED, letters

USERS = 50
READS = 1.0
"""Seconds between an answer and the next question of one user."""
TURNS = 12
ASKED = 40
"""Accesses in each user's file."""
TOLD = 20
"""Letters in each inbox."""
CITY = "ohashi-city"
PAGES = (
    "/records",
    "/records?q=tax",
    "/records/{access}",
    "/inbox",
    "/inbox/{letter}",
    "/apply",
    "/apply/{case}?step=choose",
    "/apply/{case}?step=form",
    "/apply/{case}?step=send",
    "/own?of=" + CITY,
    "/proxies",
    "/account",
    "/signin",
)


async def signed_in(nation: Running, persona: int) -> httpx.AsyncClient:
    client = httpx.AsyncClient(base_url=nation.url("portal"), timeout=20)
    page = (await client.get("/signin")).text
    token = re.search(r'name="_csrf_token" value="([^"]*)"', page)
    assert token
    secret = nation.plan.personas[persona % len(nation.plan.personas)].secret
    answer = await client.post("/signin", data={"_csrf_token": token[1], "secret": secret})
    assert answer.status_code == 303, answer.status_code
    return client


async def own(client: httpx.AsyncClient) -> dict[str, str]:
    """What is this user's alone: an access, a letter, an application that was filled in."""

    async def found(path: str, what: str) -> str:
        at = re.search(what, (await client.get(path)).text)
        assert at, path
        return at[1]

    async def post(path: str, **data: Any) -> str:
        token = await found("/apply", r'name="_csrf_token" value="([^"]*)"')
        answer = await client.post(path, data={"_csrf_token": token, **data})
        assert answer.status_code == 303, (path, answer.status_code)
        return answer.headers["location"]

    case = (await post("/apply", event="disaster")).rpartition("/")[2]
    await post(f"/apply/{case}/choose", chosen=["damage-certificate"], **{"place-home": CITY})
    return {
        "access": await found("/records", r'href="/records/(\d+)"'),
        "letter": await found("/inbox", r'href="/inbox/([0-9a-f]{64})"'),
        "case": case,
    }


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


def letters_here(connection: sa.Connection) -> int:
    here = sa.select(sa.func.count()).select_from(letters).where(letters.c.state == DELIVERED)
    return int(connection.execute(here).scalar_one())


def told(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1)

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
    theirs = {c: await own(c) for c in clients}
    found: dict[str, Any] = {}
    for path in PAGES:
        spread = [user(c, path.format(**ids), n * READS / USERS) for n, (c, ids) in enumerate(theirs.items())]
        took = [t for times in await asyncio.gather(*spread) for t in times]
        weight = await weights(clients[0], path.format(**theirs[clients[0]]))
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
            renewal = {"notice": "care-renewal", "values": {"day": "2027-01-31"}}
            for n in range(TOLD * personas):
                assert (
                    nation.http(CITY, "/letters", renewal | {"local_id": nation.local_id(CITY, n % personas)})[0] == 202
                )
            until(lambda: nation.world.institutions["portal"].database.read_now(letters_here) >= TOLD * personas, 120)
            until(lambda: int(nation.http("portal", "/health", token="")[1]["records"]) >= ASKED * personas, 120)
            found = asyncio.run(measure(nation))
        finally:
            nation.stop()
    Path("bench/results/portal.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
