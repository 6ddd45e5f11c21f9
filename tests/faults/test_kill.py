"""Claim: any one process may be killed at any moment; every accepted inquiry still ends, once. Short form of the fault suite.

One process per role, kill −9 of each role and of the bus while inquiries are under way, then a check of the whole world.
"""

import asyncio
import random
import time

import pytest

from renkei.errors import RenkeiError
from renkei.nation.plan import lay_out
from renkei.nation.web import call
from renkei.nation.world import World
from tests.conftest import PACK
from tests.faults.checker import OPEN, examine, mailboxes

VICTIMS = ["hub", "commission", "numbering-authority", "tax-union", "ohashi-city", "portal", "bus"]


class Killed:
    """The world under test and the inquiries it accepted."""

    def __init__(self, folder):
        self.plan = lay_out(folder, PACK, residents=60)
        self.folder, self.world = folder, World(folder, processes=True)
        self.accepted: list[str] = []

    async def ask(self, count):
        place, face = self.plan.place("ohashi-city"), self.plan.personas[0]
        data = {"local_id": face.local_ids["ohashi-city"], "provider": "tax-union", "affair": "child-allowance"}
        data |= {"item": "local-tax", "purpose": "collect"}
        for _ in range(count):
            try:
                self.accepted.append((await call(f"{place.url}/inquiries", place.token, data))["id"])
            except RenkeiError:
                await asyncio.sleep(0.1)  # not accepted, so not owed

    async def kill(self, victim, rng):
        await asyncio.sleep(rng.random() * 0.15)
        if victim == "bus":
            self.world.bus.stop(kill=True)
            await asyncio.sleep(0.3)
            await self.world.bus.start()
        else:
            self.world.kill(victim)
            await asyncio.sleep(0.3)
            self.world.spawn(victim)

    async def all_ended(self, seconds):
        place = self.plan.place("ohashi-city")
        deadline = time.monotonic() + seconds
        states = {}
        while time.monotonic() < deadline:
            try:
                states = {i: (await call(f"{place.url}/inquiries/{i}", place.token))["state"] for i in self.accepted}
            except RenkeiError:
                states = {"": "submitted"}
            if not any(s in OPEN for s in states.values()):
                return states
            await asyncio.sleep(0.3)
        return states

    async def until_settled(self, seconds):
        """Until nothing is under way any more; what the mailboxes hold then."""
        deadline = time.monotonic() + seconds
        while True:
            left = await mailboxes(self.plan)
            if (not left and not examine(self.folder, self.plan).wrong) or time.monotonic() > deadline:
                return left
            await asyncio.sleep(1)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    killed = Killed(tmp_path_factory.mktemp("kill") / "nation")
    rng = random.Random(7)

    async def run():
        try:
            await killed.world.start()
            await killed.world.until_linked()
            for victim in VICTIMS:
                await asyncio.gather(killed.ask(12), killed.kill(victim, rng))
            states = await killed.all_ended(90)
            return states, await killed.until_settled(100)
        finally:
            await killed.world.stop()

    return killed, *asyncio.run(run())


def test_every_accepted_inquiry_was_answered(outcome):
    killed, states, _ = outcome
    assert len(killed.accepted) >= 25
    assert set(states.values()) == {"answered"}


def test_the_world_is_whole(outcome):
    """Copies equal, every disclosure on an earlier leaf, nothing twice, nothing owed, no mailbox left over."""
    killed, _, left = outcome
    world = examine(killed.folder, killed.plan)
    assert world.wrong == []
    assert set(killed.accepted) <= set(world.inquiries)  # a reply cut off by the kill is owed all the same
    assert set(world.inquiries.values()) == {"answered"}
    assert world.disclosed == len(world.inquiries)
    assert left == {}
