"""Claim: any one process may be killed at any moment; every accepted inquiry still ends, once. Short form of the fault suite.

One process per role, kill −9 of each role and of the bus while inquiries are under way, then a check of the whole world.
"""

import asyncio
import random

import pytest

from tests.faults.checker import examine

VICTIMS = ["hub", "commission", "numbering-authority", "tax-union", "ohashi-city", "portal", "bus"]


async def kill(world, victim, rng):
    await asyncio.sleep(rng.random() * 0.15)
    if victim == "bus":
        world.bus.stop(kill=True)
        await asyncio.sleep(0.3)
        await world.bus.start()
    else:
        world.kill(victim)
        await asyncio.sleep(0.3)
        world.spawn(victim)


@pytest.fixture(scope="module")
def outcome(processes):
    killed, rng = processes.anew(), random.Random(7)

    async def run():
        for victim in VICTIMS:
            await asyncio.gather(killed.ask(12), kill(killed.world, victim, rng))
        states = await killed.all_ended(90)
        return states, await killed.until_settled(100)

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
