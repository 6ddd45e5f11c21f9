"""Claim: a process that is told to stop finishes what is under way, leaves nothing owed behind, and accepts nothing it would not keep."""

import asyncio
import signal
import time

import pytest

from tests.faults.checker import examine, rows

pytestmark = pytest.mark.long

BODIES = ("ohashi-city", "tax-union", "hub")


async def tell(nation, body):
    """Tell a process to stop while it is at work; its exit status, how long it took, and what it left owed."""
    await asyncio.sleep(0.3)
    child, began = nation.world.children[body], time.monotonic()
    child.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(child.wait, 20)
    took = time.monotonic() - began
    owed = rows(nation.folder, body, "SELECT peer, count(*) FROM post_outbox GROUP BY peer")
    await asyncio.sleep(0.5)
    nation.world.spawn(body)
    return {"status": status, "took": took, "owed": owed}


@pytest.fixture(scope="module")
def outcome(processes):
    told = processes.anew()

    async def run():
        seen = {}
        for body in BODIES:
            _, seen[body] = await asyncio.gather(told.ask(40), tell(told, body))
            await told.all_ended(60)  # whoever was away is heard of again
            await asyncio.sleep(3)
        return seen, await told.all_ended(60), await told.until_settled(90)

    return told, *asyncio.run(run())


@pytest.mark.parametrize("body", BODIES)
def test_it_ends_well_in_time_and_owes_nothing(outcome, body):
    _, seen, _, _ = outcome
    assert seen[body]["status"] == 0
    assert seen[body]["took"] < 15
    assert seen[body]["owed"] == []


def test_what_was_accepted_was_answered(outcome):
    told, _, states, left = outcome
    assert len(told.accepted) >= 60
    assert set(states.values()) == {"answered"}
    assert examine(told.folder, told.plan).wrong == []
    assert left == {}
