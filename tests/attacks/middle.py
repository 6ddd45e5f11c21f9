"""Someone who holds the bus: a relay before some bodies that reads, drops, repeats, delays, reorders and swaps what it likes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from renkei.institution.settings import Home
from tests.world import Running


class Carried(NamedTuple):
    """One message on its way to the body: the subject it says, the subscription it is for, where a reply goes, and its bytes."""

    subject: str
    subscription: str
    reply: str
    data: bytes

    def line(self) -> bytes:
        head = f"MSG {self.subject} {self.subscription} {self.reply + ' ' if self.reply else ''}{len(self.data)}\r\n"
        return head.encode() + self.data + b"\r\n"


Meddle = Callable[[Carried], list[tuple[float, Carried]]]
"""What the body gets instead of a message, each after so many seconds."""


def honestly(message: Carried) -> list[tuple[float, Carried]]:
    return [(0.0, message)]


class Middle:
    """Stands before ``bodies`` of a running nation from now on; ``meddle`` may be changed at any time."""

    def __init__(self, nation: Running, bodies: list[str]) -> None:
        self.nation, self.bodies, self.meddle = nation, bodies, honestly
        self.seen: list[Carried] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        nation.do(self._listen())
        self._move(f"nats://127.0.0.1:{self.port}")

    def leave(self) -> None:
        """The bodies speak to the bus itself again."""
        self._move(self.nation.plan.bus)
        self.nation.do(self._close())

    def _move(self, url: str) -> None:
        for body in self.bodies:
            home = Home(self.nation.folder / body)
            settings = msgspec.structs.replace(home.settings(), bus=url)
            self.nation.stop_body(body)
            home.write_toml("settings.toml", msgspec.to_builtins(settings))
            self.nation.start_body(body)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0, limit=2**24)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        for writer in self._writers:
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_server = await asyncio.open_connection("127.0.0.1", self.nation.world.bus.node.port, limit=2**24)
        self._writers += [writer, to_server]
        for work in (self._up(reader, to_server), self._down(there, writer)):
            task = asyncio.ensure_future(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _up(self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                to_server.write(data)
                await to_server.drain()
        to_server.close()

    async def _down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := await there.readline():
                if not line.startswith((b"MSG ", b"HMSG ")):
                    writer.write(line)
                    continue
                words = line.split()
                data = (await there.readexactly(int(words[-1]) + 2))[:-2]
                if line.startswith(b"HMSG "):  # the server's own word about a mailbox
                    writer.write(line + data + b"\r\n")
                    continue
                reply = words[3].decode() if len(words) == 5 else ""
                message = Carried(words[1].decode(), words[2].decode(), reply, data)
                self.seen.append(message)
                for after, instead in self.meddle(message):
                    asyncio.get_running_loop().call_later(after, self._put, writer, instead)
        writer.close()

    def _put(self, writer: asyncio.StreamWriter, message: Carried) -> None:
        if not writer.is_closing():
            writer.write(message.line())
