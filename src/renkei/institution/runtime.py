"""The life of one institution: open the database, join the bus, serve, and stop in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import IO, Any

from renkei.institution.bus import Bus
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock, Home, Settings, system_clock
from renkei.institution.tasks import end
from renkei.institution.web import Health

AGAIN_AFTER = 1.0
AGAIN_MOST = 30.0
"""Seconds before work that failed is begun again."""


class Institution:
    """Base of every service: what all of them open, and background work that ends with them.

    A service implements ``start`` and may extend ``stop``. ``clock`` is passed in, so that tests can turn it.
    """

    post: Post
    """Made by the service, which knows whose keys it goes by."""
    packages: tuple[str, ...] = ("institution",)
    """Packages whose tables its database has."""

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        self.home = Home(folder)
        self.settings: Settings = self.home.settings()
        self.keys = Keys.load(self.home, self.settings.body)
        self.clock = clock
        self.observe = Observer(self.settings.body, self.settings.role, self.settings.log_level)
        self.database = Database(self.settings.database, packages=self.packages)
        self.bus = Bus(self.settings.bus, self.settings.body, self.keys.bus_seed)
        self._held: IO[bytes] | None = None
        self._background: list[asyncio.Task[Any]] = []
        self.over = asyncio.Event()
        """Set when this process should end, to be started again by whoever keeps it running."""
        self.failed: dict[str, str] = {}
        """Background work that ended by a failure, with the reference its log line has."""

    async def join(self) -> None:
        """Take possession of the home folder and join the bus: the first thing ``start`` does."""
        self._held = self.home.occupy()
        await self.bus.connect()

    async def start(self) -> None:
        """Join the network and serve; returns when serving has begun."""
        raise AssertionError(f"{type(self).__name__} does not start")

    def run(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` until the institution stops. If it fails, that is logged and ``/health`` says so from then on."""
        task = asyncio.get_running_loop().create_task(self._guard(work, name), name=f"{self.settings.body} {name}")
        self._background.append(task)
        task.add_done_callback(self._background.remove)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, Any]], name: str) -> None:
        """Run ``work`` until it returns; after a failure (logged, in ``/health`` meanwhile) again, at growing intervals."""
        self.run(self._keep_running(work, name), name)

    async def _keep_running(self, work: Callable[[], Coroutine[Any, Any, Any]], name: str) -> None:
        pause = AGAIN_AFTER
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await work()
                return
            except Exception:
                self.failed[name] = self.observe.failure(name)
            if asyncio.get_running_loop().time() - began > AGAIN_MOST:
                pause = AGAIN_AFTER
            await asyncio.sleep(pause)
            pause = min(pause * 2, AGAIN_MOST)
            del self.failed[name]

    async def _guard(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            self.failed[name] = self.observe.failure(name)

    def health(self) -> Health:
        """Whether this institution works: what the service says of itself, unless some of its work has failed."""
        state = self.report()
        failed = {f"failed_{name}": reference for name, reference in self.failed.items()}
        if not self.bus.connected:
            failed["bus"] = "away"
        failed |= self.post.silent()
        return Health(state.ok and not failed, {**state.details, **failed})

    def report(self) -> Health:
        """What the service says of itself."""
        return Health(True, {})

    async def drain(self) -> None:
        """Before a stop that has time: finish what is under way, at most ``drain_seconds``."""
        await self.post.drain(self.settings.drain_seconds)

    async def stop(self) -> None:
        """Stop background work, leave the bus, close the database."""
        await end(self._background)
        await self.bus.close()
        with contextlib.suppress(Exception):
            await asyncio.to_thread(self.database.close)
        if self._held:
            self._held.close()
