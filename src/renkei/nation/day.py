"""A day's worth of inquiries: the personas' visits, and lawful inquiries about anyone, asked through the bodies' REST interfaces."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from renkei.errors import RenkeiError
from renkei.law import Pack, decide
from renkei.nation.plan import Plan, items_held, local_ids
from renkei.nation.population import Demography
from renkei.nation.web import call

TOGETHER = 24


class Asked(NamedTuple):
    """One inquiry to make: by whom, and the body of the request."""

    requester: str
    data: dict[str, Any]


def lawful(pack: Pack, demography: Demography, plan: Plan, on: dt.date) -> list[tuple[str, str, str, str]]:
    """Every (requester, affair, provider, item) of this nation that the law allows and a provider holds."""
    gateways = [p.body for p in plan.places if p.role == "gateway"]
    found = []
    for provider in gateways:
        for item in items_held(demography, provider):
            affairs = dict.fromkeys(r.affair for r in pack.linkages if r.item == item)
            for requester in gateways:
                if requester == provider:
                    continue
                for affair in affairs:
                    kinds = pack.bodies[requester].kinds, pack.bodies[provider].kinds
                    if decide(pack, kinds[0], affair, kinds[1], item, on).allowed:
                        found.append((requester, affair, provider, item))
    return found


def visits(plan: Plan, demography: Demography) -> list[Asked]:
    """The personas' inquiries of the first day."""
    faces = {f.id: f for f in plan.personas}
    return [
        Asked(
            v.requester,
            {
                "local_id": faces[v.persona].local_ids[v.requester],
                "provider": v.provider,
                "affair": v.affair,
                "item": v.item,
                "purpose": v.purpose,
                "case": "DEMO-1",
            },
        )
        for v in demography.visit
    ]


async def write_letters(plan: Plan, demography: Demography, on: dt.date) -> int:
    """The personas' notices of the first day; how many were sent."""
    faces = {f.id: f for f in plan.personas}
    for letter in demography.letter:
        place = plan.place(letter.body)
        day = {"day": (on + dt.timedelta(days=letter.in_days)).isoformat()} if letter.in_days else {}
        data = {
            "notice": letter.notice,
            "local_id": faces[letter.persona].local_ids[letter.body],
            "values": {**letter.values, **day},
        }
        await call(f"{place.url}/letters", place.token, data)
    return len(demography.letter)


async def appoint(plan: Plan, demography: Demography, on: dt.date) -> None:
    """A body knows of each corporation, and says which persona acts for it."""
    faces = {f.id: f for f in plan.personas}
    for c in demography.corporation:
        place, local_id = plan.place(c.body), f"C{c.number}"
        await call(f"{place.url}/subjects", place.token, {"subjects": [{"local_id": local_id, "number": c.number}]})
        data = {
            "corporation": local_id,
            "officer": faces[c.persona].local_ids[c.body],
            "number": c.number,
            "name": c.name,
            "until": (on + dt.timedelta(days=360)).isoformat(),
        }
        for _ in range(60):
            try:
                await call(f"{place.url}/letters/officers", place.token, data)
                break
            except RenkeiError as error:
                if error.code != "no-subject":  # its code is on the way
                    raise
                await asyncio.sleep(0.5)


async def push(plan: Plan) -> int:
    """Every body looks by the pack's rules whom to tell something; how many were told."""
    told = 0
    for place in plan.places:
        if place.role == "gateway":
            done = await call(f"{place.url}/letters/check", place.token, {})
            told += sum(done["told"].values())
    return told


def sample(
    folder: Path, plan: Plan, pack: Pack, demography: Demography, count: int, seed: int, on: dt.date
) -> list[Asked]:
    """``count`` lawful inquiries about persons whose codes the requester has asked for."""
    rng = random.Random(seed)
    choices = lawful(pack, demography, plan, on)
    people = {p.body: local_ids(folder, p.body) for p in plan.places if p.role == "gateway"}
    purposes = list(pack.purposes)
    asked = []
    for _ in range(count):
        requester, affair, provider, item = rng.choice(choices)
        data = {"provider": provider, "affair": affair, "item": item, "purpose": rng.choice(purposes)}
        asked.append(Asked(requester, {**data, "local_id": rng.choice(people[requester])}))
    return asked


async def ask_all(
    plan: Plan,
    asked: Sequence[Asked],
    *,
    name: str = "",
    wait: int = 10,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, int]:
    """Ask, some together; how many ended in which state (or with which error code).

    Asked again under the same ``name``, a question is the same inquiry.
    """
    ends: dict[str, int] = {}
    gate = asyncio.Semaphore(TOGETHER)

    async def one(at: int, question: Asked) -> None:
        place = plan.place(question.requester)
        async with gate:
            try:
                key = f"{name}-{at}" if name else ""
                told = await call(f"{place.url}/inquiries", place.token, question.data, prefer=f"wait={wait}", key=key)
                state = str(told["state"])
            except RenkeiError as error:
                state = error.code
        ends[state] = ends.get(state, 0) + 1
        report(state)

    await asyncio.gather(*(one(at, q) for at, q in enumerate(asked)))
    return ends
