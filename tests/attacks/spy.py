"""Someone who sees every message on the bus of a running nation: contents, subjects and times."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any, NamedTuple

import nats
import nkeys

from renkei.institution.bus import BusServer, BusUser
from renkei.institution.keys import Keys
from renkei.institution.settings import Home
from tests.world import Running


class Seen(NamedTuple):
    """One message: when (ms), from whom to whom, and its bytes."""

    at: float
    subject: str
    data: bytes


def watch(running: Running) -> list[Seen]:
    """From now on every message on the bus is in the list this answers."""
    seen: list[Seen] = []
    seed = nkeys.encode_seed(b"s" * 32, nkeys.PREFIX_BYTE_USER)
    spy = nkeys.from_seed(bytearray(seed)).public_key.decode()
    users = [BusUser(p.body, Keys.load(Home(running.folder / p.body), p.body).bus_public) for p in running.plan.places]
    operator = nkeys.from_seed(bytearray(running.plan.operator.encode())).public_key.decode()
    bus: BusServer = running.world.bus
    bus.configure(users, operator)
    path = bus.folder / "server.json"
    entry = f'"users": [{{"nkey": "{spy}", "permissions": {{"subscribe": [">"]}}}},'
    path.write_text(path.read_text().replace('"users": [', entry, 1))

    async def listen() -> None:
        assert bus.pid
        os.kill(bus.pid, signal.SIGHUP)
        await asyncio.sleep(0.5)
        client = await nats.connect(bus.url, nkeys_seed_str=seed.decode())

        async def keep(message: Any) -> None:
            seen.append(Seen(time.time() * 1000, message.subject, message.data))

        await client.subscribe(">", cb=keep)

    running.do(listen())
    return seen
