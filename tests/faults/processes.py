"""A nation of one process per body, which the suites in this folder kill, tell to stop and freeze, and the inquiries it accepted."""

import asyncio
import time

from renkei.errors import RenkeiError
from renkei.nation.plan import lay_out
from renkei.nation.web import call
from renkei.nation.world import World
from tests.conftest import PACK
from tests.faults.checker import OPEN, examine, mailboxes


class Processes:
    """The world under test. ``accepted`` are the inquiries of the suite that is at work; the next one begins with ``anew``."""

    def __init__(self, folder):
        self.plan = lay_out(folder, PACK, residents=60)
        self.folder, self.world = folder, World(folder, processes=True)
        self.accepted: list[str] = []

    async def start(self):
        await self.world.start()
        await self.world.until_linked()

    def anew(self):
        self.accepted = []
        return self

    async def ask(self, count):
        place, face = self.plan.place("ohashi-city"), self.plan.personas[0]
        data = {"local_id": face.local_ids["ohashi-city"], "provider": "tax-union", "affair": "child-allowance"}
        data |= {"item": "local-tax", "purpose": "collect"}
        for _ in range(count):
            try:
                self.accepted.append((await call(f"{place.url}/inquiries", place.token, data))["id"])
            except RenkeiError:
                await asyncio.sleep(0.1)  # not accepted, so not owed

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
