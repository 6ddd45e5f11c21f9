"""Claim: a process that is told to stop finishes what is under way, leaves nothing owed behind, and accepts nothing it would not keep."""

import asyncio
import signal
import time

import pytest

from tests.faults.checker import examine, rows
from tests.faults.test_kill import Killed

BODIES = ("ohashi-city", "tax-union", "hub")


class Told(Killed):
    async def tell(self, body):
        """Tell a process to stop while it is at work; its exit status, how long it took, and what it left owed."""
        await asyncio.sleep(0.3)
        child, began = self.world.children[body], time.monotonic()
        child.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(child.wait, 20)
        took = time.monotonic() - began
        owed = rows(self.folder, body, "SELECT peer, count(*) FROM post_outbox GROUP BY peer")
        await asyncio.sleep(0.5)
        self.world.spawn(body)
        return {"status": status, "took": took, "owed": owed}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    told = Told(tmp_path_factory.mktemp("told") / "nation")

    async def run():
        try:
            await told.world.start()
            await told.world.until_linked()
            seen = {}
            for body in BODIES:
                _, seen[body] = await asyncio.gather(told.ask(40), told.tell(body))
                await told.all_ended(60)  # whoever was away is heard of again
                await asyncio.sleep(3)
            return seen, await told.all_ended(60), await told.until_settled(90)
        finally:
            await told.world.stop()

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
