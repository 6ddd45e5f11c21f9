"""The life of one institution: open the database, join the bus, serve, and stop in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from renkei.institution.bus import Bus
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.observe import Observer
from renkei.institution.settings import Clock, Home, Settings, system_clock


class Institution:
    """Base of every service: what all of them open, and background work that ends with them.

    A service implements ``start`` and may extend ``stop``. ``clock`` is passed in, so that tests can turn it.
    """

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
        self._background: list[asyncio.Task[Any]] = []

    async def start(self) -> None:
        """Join the network and serve; returns when serving has begun."""
        raise AssertionError(f"{type(self).__name__} does not start")

    def run(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run ``work`` until the institution stops. If it fails, that is logged and it ends."""
        task = asyncio.get_running_loop().create_task(self._guard(work, name), name=f"{self.settings.body} {name}")
        self._background.append(task)
        return task

    async def _guard(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            self.observe.failure(name)

    async def stop(self) -> None:
        """Stop background work, leave the bus, close the database."""
        for task in reversed(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.bus.close()
        with contextlib.suppress(Exception):
            await asyncio.to_thread(self.database.close)
