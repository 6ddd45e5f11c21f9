"""Claim: the hub may be several processes; whichever sequences may die or freeze, another goes on, and the record is one.

A second home with the hub's keys and a database of its own stands by. The first is killed under load, comes back and stands by itself;
then the second is frozen long enough to be taken for dead, and thaws.
"""

import asyncio
import shutil
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from renkei.institution.settings import Home
from renkei.nation.plan import Place
from renkei.nation.world import TRY_AGAIN
from tests.faults.checker import examine
from tests.world import free_port

pytestmark = pytest.mark.long


class Twins:
    """A nation whose hub has a second process."""

    def __init__(self, nation):
        self.nation, self.world = nation.anew(), nation.world
        self.home = nation.folder / "hub-2"
        shutil.copytree(nation.folder / "hub", self.home, ignore=shutil.ignore_patterns("*.db*", "log.jsonl"))
        port = free_port()
        settings = msgspec.structs.replace(
            Home(self.home).settings(), database=f"sqlite:///{self.home.resolve()}/hub_2.db", port=port
        )
        Home(self.home).write_toml("settings.toml", msgspec.to_builtins(settings))
        self.second = Place("hub", "hub", f"http://127.0.0.1:{port}")
        self.first = nation.plan.place("hub")
        self.child = None

    def start_second(self):
        with (self.home / "log.jsonl").open("ab") as log:
            command = [sys.executable, "-m", "renkei.cli", "run", str(self.home)]
            self.child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    async def until_health(self, place, **wanted):
        for _ in range(200):
            health = await self.world.health(place)
            if health and all(health.get(k) == v for k, v in wanted.items()):
                return health
            await asyncio.sleep(0.1)
        raise AssertionError((place, wanted, await self.world.health(place)))

    async def gap(self):
        """Seconds until an inquiry that is asked now has ended."""
        began, before = time.monotonic(), len(self.nation.accepted)
        while len(self.nation.accepted) == before:
            await self.nation.ask(1)
        await self.nation.all_ended(60)
        return time.monotonic() - began


async def story(twins):
    """What happens, and what is seen of it."""
    nation, world, seen = twins.nation, twins.world, {}
    twins.start_second()
    await twins.until_health(twins.second, standby="true")
    await asyncio.gather(nation.ask(30), killed_soon(world))
    seen["after a kill"] = await twins.gap()
    seen["standby after the kill"] = (await twins.until_health(twins.second, halted="")).get("standby")
    world.spawn("hub")
    await twins.until_health(twins.first, standby="true")
    await nation.ask(5)
    twins.child.send_signal(signal.SIGSTOP)
    await twins.until_health(twins.first, standby=None)
    await nation.ask(10)
    await nation.all_ended(60)  # so that it surely has sequenced
    twins.child.send_signal(signal.SIGCONT)
    seen["after a freeze"] = await twins.gap()
    await asyncio.to_thread(twins.child.wait, 30)
    seen["the thawed one"] = twins.child.returncode
    seen["states"] = await nation.all_ended(90)
    seen["left"] = await nation.until_settled(100)
    return seen


async def killed_soon(world):
    await asyncio.sleep(0.1)
    world.kill("hub")


@pytest.fixture(scope="module")
def outcome(processes):
    twins = Twins(processes)

    async def run():
        try:
            return await story(twins)
        finally:
            if twins.child and twins.child.poll() is None:
                twins.child.send_signal(signal.SIGCONT)
                twins.child.terminate()
            await twins.world.stop()  # nobody needs it after this

    return processes, asyncio.run(run())


def test_the_standby_takes_over_and_every_inquiry_ends(outcome):
    _, seen = outcome
    assert seen["standby after the kill"] is None
    assert len(seen["states"]) >= 20
    assert set(seen["states"].values()) == {"answered"}


def test_who_thaws_and_finds_others_rounds_stops(outcome):
    """It ends with the status that asks its supervisor to start it again: then it stands by."""
    _, seen = outcome
    assert seen["the thawed one"] == TRY_AGAIN


def test_the_record_is_one(outcome):
    """After two changes of hand: copies equal, every disclosure on an earlier leaf, nothing twice, no mailbox left over."""
    nation, seen = outcome
    assert examine(nation.folder, nation.plan).wrong == []
    assert seen["left"] == {}
