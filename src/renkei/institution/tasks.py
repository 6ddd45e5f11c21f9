"""Ending background work for certain."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from typing import Any

ASK_AGAIN_AFTER = 0.5


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return when all have ended; their results and failures are dropped.

    Asked again until they do: below Python 3.12 ``asyncio.wait_for``, which libraries use, swallows a cancellation that
    meets the end of what it waits for (CPython issue 86296), and the task would go on for ever.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=ASK_AGAIN_AFTER)
        for task in done:
            _ = task.cancelled() or task.exception()  # seen, so that nothing is said of it later


def told_to_stop() -> asyncio.Event:
    """Set by the first SIGINT or SIGTERM. Call it on the loop's thread."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
