"""Stopping ends every task, also one whose cancellation met the end of what it waited for."""

import asyncio
import sys
from unittest.mock import AsyncMock, Mock

import pytest

from renkei.institution.post import Post, _Out
from renkei.institution.tasks import end


def test_a_task_that_swallows_a_cancellation_ends_too():
    async def stubborn():
        for _ in range(2):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue
        raise ValueError("it ended in a failure")

    async def scene():
        tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(60))]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await end(tasks)
        return [t.done() for t in tasks]

    assert asyncio.run(scene()) == [True, True]


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="wait_for was mended in 3.12")
def test_wait_for_does_swallow_one():
    """Why ``end`` asks again, and our own code waits with ``asyncio.timeout``."""

    async def scene():
        event = asyncio.Event()
        task = asyncio.create_task(asyncio.wait_for(event.wait(), 60))
        await asyncio.sleep(0.01)
        event.set()
        await asyncio.sleep(0)
        task.cancel()
        return await task

    assert asyncio.run(scene()) is True


def test_a_sender_that_is_woken_while_it_is_stopped_ends_at_once():
    async def scene():
        database = Mock(read=AsyncMock(return_value=[]), write=AsyncMock())
        post = Post(Mock(), Mock(), database, Mock(), Mock())
        out = _Out()
        out.sent, out.backoff = 1, 60  # one parcel is under way: it waits with a limit
        post._sender("hub", out)
        out.event.clear()
        await asyncio.sleep(0.01)
        out.event.set()
        await asyncio.sleep(0)
        out.task.cancel()
        await asyncio.wait([out.task], timeout=1)
        return out.task.cancelled()

    assert asyncio.run(scene())
