"""Claim: any one process may be killed at any moment; every accepted inquiry still ends, once. Short form of the fault suite.

One process per role, kill −9 of each role and of the bus while inquiries are under way, then a check of the whole world.
"""

import asyncio
import random
import sqlite3
import time

import pytest

from renkei.errors import RenkeiError
from renkei.nation.plan import lay_out
from renkei.nation.web import call
from renkei.nation.world import World
from tests.conftest import PACK

VICTIMS = ["hub", "commission", "numbering-authority", "tax-union", "ohashi-city", "portal", "bus"]
OPEN = ("submitted", "permitted")


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

    async def until_settled(self):
        """Until hub, commission and portal hold logs of one size."""
        for _ in range(100):
            places = [self.plan.place(b) for b in ("hub", "commission", "portal")]
            sizes = {(await self.world.health(p)).get("log_size") for p in places}
            if len(sizes) == 1 and sizes != {None}:
                return
            await asyncio.sleep(0.2)


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
            await killed.until_settled()
            return states
        finally:
            await killed.world.stop()

    return killed, asyncio.run(run())


def rows(killed, body, query):
    with sqlite3.connect(killed.folder / body / f"{body.replace('-', '_')}.db") as connection:
        return connection.execute(query).fetchall()


def test_every_accepted_inquiry_was_answered(outcome):
    killed, states = outcome
    assert len(killed.accepted) >= 25
    assert set(states.values()) == {"answered"}


def test_both_copies_of_the_log_are_equal(outcome):
    killed, _ = outcome
    hub, commission = (
        rows(killed, b, "select position, hash from ledger_leaves order by 1") for b in ("hub", "commission")
    )
    assert hub == commission
    assert [r[0] for r in hub] == list(range(len(hub)))


def test_nothing_was_recorded_or_answered_twice(outcome):
    """One leaf per inquiry, one provision per inquiry, and every provision after its leaf."""
    killed, _ = outcome
    leaves = rows(killed, "hub", "select hex(id), position from record_inquiries where allowed")
    provisions = rows(killed, "tax-union", "select hex(id), leaf, state from provisions")
    asked = rows(killed, "ohashi-city", "select hex(id), state from inquiries")
    assert {i.upper() for i in killed.accepted} <= {
        i for i, _ in asked
    }  # a reply cut off by the kill is owed all the same
    assert sorted(i for i, _ in leaves) == sorted(i for i, _ in asked)
    assert {state for _, state in asked} == {"answered"}
    assert {(i, leaf) for i, leaf, _ in provisions} == set(leaves)
    assert {state for *_, state in provisions} == {"answered"}


def test_nothing_is_owed_and_nothing_was_set_aside(outcome):
    """Every outbox is empty of inquiries' messages and no parcel had to be put aside."""
    killed, _ = outcome
    for body in ("ohashi-city", "tax-union", "hub", "commission", "portal"):
        assert rows(killed, body, "select count(*) from post_aside") == [(0,)]
