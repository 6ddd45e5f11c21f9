"""The post: messages between institutions, delivered in order, at least once, with effect once.

Sending: ``put`` numbers a parcel in the caller's transaction; it goes once that commits, and is resent until the receiver says it
*committed* it. Receiving: ``receive`` hands out parcels in order; the service calls ``committed`` in the transaction of their
effects, and once that commits they are acknowledged. Frames travel live to whoever is present; what stays unacknowledged for
``RESEND_AFTER`` seconds is also left in the receiver's mailbox.

Memory is bounded: a sender has at most ``WINDOW`` frames under way per peer, a receiver holds at most ``MAX_WAITING`` bytes, of one
sender ``MAX_OF_ONE``, and ignores more (they are resent). A parcel has at most ``PARCEL_MESSAGES`` messages and ``PARCEL_BYTES``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec
import nats.errors
import sqlalchemy as sa
from nats.aio.msg import Msg

from renkei.errors import NotGenuine, RenkeiError, Unavailable
from renkei.institution import store
from renkei.institution.bus import Bus
from renkei.institution.database import Database, gathered
from renkei.institution.keys import Keys
from renkei.institution.observe import Observer
from renkei.institution.tasks import end
from renkei.messages import frames
from renkei.messages.frames import CallFrame, Frame, Session
from renkei.messages.wire import (
    Call,
    Failed,
    Message,
    Reply,
    decode_call,
    decode_message,
    decode_reply,
    encode,
)
from renkei.record.state import Enrolled

RESEND_AFTER = 2.0
RESEND_MOST = 30.0
WINDOW = 32
FRAME_PARCELS = 64
FRAME_BYTES = 500_000
STREAM_AHEAD = 86_400_000
"""Milliseconds by which a sender's clock, which names its streams, may be ahead of ours."""
PARCEL_MESSAGES = 256
PARCEL_BYTES = 1_000_000
"""So that what a round or an answer makes of one parcel stays far below the bus's limit. A message alone may be as large."""
MAX_WAITING = 64_000_000
MAX_OF_ONE = 16_000_000
MAX_FRESH = 16_000_000
"""Bytes of new parcels kept in memory for one peer; what is owed beyond them is read from the database when its turn comes."""
LINGER = 0.004
LINGER_BUSY = 0.03
"""Seconds for which a receiver gathers more before it starts on what came: hardly when little comes, longer when much does, so that what
a transaction and a frame cost is then shared by many."""
BUSY_FROM = 20
"""Messages within a second from which a receiver is busy."""
GATHER = 0.03
"""Seconds between two frames to one peer: what is owed meanwhile goes together. The first after a pause goes at once."""
LATER = 0.15
"""Seconds by which messages nobody waits for are sent later, so that several share a frame."""
RETRY_AFTER = 0.3
RENEW_EVERY = 1.0
"""Seconds between two requests to one peer for a new session."""
TIDY_EVERY = 0.5
"""Seconds between acknowledgements to one peer, and between two times that what was acknowledged is forgotten."""
SILENT_AFTER = 3.0

_parcel = msgspec.msgpack.Decoder(list[bytes])
Directory = Callable[[str], Enrolled | None]
"""Answers the public keys of an enrolled institution."""
CallHandler = Callable[[str, Call], Awaitable[Reply]]


class Parcel(NamedTuple):
    """Messages of one transaction of ``sender``, with the place they have in its stream."""

    sender: str
    stream: bytes
    number: int
    messages: tuple[Message, ...]
    size: int = 0
    """Bytes."""


def _weightless(_: Parcel) -> int:
    return 0


class _Out:
    """Sending side of one peer: parcels up to ``acked`` are settled, up to ``sent`` under way, up to ``newest`` owed."""

    def __init__(self, acked: int = 0, newest: int = 0) -> None:
        self.acked = self.sent = acked
        self.newest = newest
        self.fresh: deque[tuple[int, bytes]] = deque()
        """The parcels after ``sent``, as far as they need not be read from the database."""
        self.held = 0
        """Bytes of these."""
        self.backoff = RESEND_AFTER
        self.progress = time.monotonic()
        self.left = 0
        self.last = 0.0
        """When the newest frame went."""
        self.session = Session()
        self.joined = False
        """Whether the peer has acknowledged a frame that brought it the session's key."""
        self.event = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def owe(self, number: int, parcel: bytes) -> None:
        """A new parcel is durable."""
        last = self.fresh[-1][0] if self.fresh else self.sent
        room = len(self.fresh) < WINDOW * FRAME_PARCELS and self.held + len(parcel) <= MAX_FRESH
        if last == number - 1 and room:
            self.fresh.append((number, parcel))
            self.held += len(parcel)
        self.newest = number

    def at_hand(self) -> list[tuple[int, bytes]]:
        """The next parcels of a frame, if they are in memory."""
        while self.fresh and self.fresh[0][0] <= self.sent:
            self.held -= len(self.fresh.popleft()[1])
        if not self.fresh or self.fresh[0][0] != self.sent + 1:
            return []
        return list(islice(self.fresh, FRAME_PARCELS))


class _Gathered:
    """What one transaction sends and settles."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._numbers: dict[str, int] = {}
        self._owed: list[tuple[str, int, bytes]] = []
        self._at_once: set[str] = set()
        self._done: list[Parcel] = []

    def owe(self, peer: str, parcel: bytes, later: bool) -> None:
        number = self._numbers.get(peer) or self._post.numbers.get(peer, 0)
        self._numbers[peer] = number + 1
        self._owed.append((peer, number + 1, parcel))
        if not later:
            self._at_once.add(peer)

    def settle(self, parcels: Iterable[Parcel]) -> None:
        self._done += parcels

    def store(self, connection: sa.Connection) -> None:
        upto: dict[tuple[str, bytes], int] = {}
        for p in self._done:
            upto[p.sender, p.stream] = max(p.number, upto.get((p.sender, p.stream), 0))
        strangers = ({peer for peer, _ in upto} | self._numbers.keys()) - self._post.numbers.keys()
        if strangers:
            store.meet(connection, strangers)
            self._numbers = {**dict.fromkeys(strangers, 0), **self._numbers}
        if self._owed:
            store.put(connection, self._owed)
        if upto:
            store.received(connection, [(peer, stream, number) for (peer, stream), number in upto.items()])

    def stored(self) -> None:
        self._post.numbers.update(self._numbers)
        self._post.took_effect(self._owed, self._at_once, self._done)


class _Pace:
    """How many there were in the last full second."""

    def __init__(self) -> None:
        self._second, self._count, self._last = 0, 0, 0

    def add(self, count: int) -> None:
        self.last()
        self._count += count

    def last(self) -> int:
        now = int(time.monotonic())
        if now != self._second:
            self._last = self._count if now == self._second + 1 else 0
            self._second, self._count = now, 0
        return self._last


class _In:
    """Receiving side of one peer: the stream, what is queued and what is committed."""

    def __init__(self, stream: bytes | None, committed: int) -> None:
        self.stream = stream
        self.queued = self.committed = committed
        self.waiting = 0
        """Bytes of this sender that nobody has received yet."""
        self.ack_due = False
        self.session: Session | None = None
        """The sender's, under which its frames come and ours acknowledge them."""
        self.renewed = 0.0
        """When we last said that we do not know its session."""


class Post:
    """One institution's post office."""

    def __init__(self, keys: Keys, bus: Bus, database: Database, directory: Directory, observer: Observer) -> None:
        self._keys, self._bus, self._database, self._directory = keys, bus, database, directory
        self._observe = observer
        self._out: dict[str, _Out] = {}
        self._in: dict[str, _In] = {}
        self._inbox: dict[str, deque[Parcel]] = {}
        """What each sender's parcels are that nobody has received yet, in the order in which senders take their turns."""
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._pace = _Pace()
        self.numbers: dict[str, int] = {}
        """The newest parcel of each peer. The writer thread's."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._handler: CallHandler | None = None
        self._receives = True
        self._draining = False
        self._stream = b""
        self._dropped: dict[str, int] = {}
        self._silent: dict[str, tuple[float, float]] = {}
        """The first and the latest call each peer left unanswered since it last answered."""
        self.unknown_sender: Callable[[str], None] | None = None
        """Told when a frame comes from someone not in the directory, so that the record can be followed at once."""

    async def start(self, handler: CallHandler | None = None, *, receives: bool = True) -> None:
        """Take up where the database left off, subscribe, and send what is still owed. ``receives``: messages, not only calls."""
        self._handler, self._receives = handler, receives
        self._loop = asyncio.get_running_loop()
        self._stream = await self._database.write(lambda c: store.next_stream(c, time.time_ns() // 1_000_000))
        for peer in await self._database.read(store.load_peers):
            self.numbers[peer.peer] = peer.sent
            self._in[peer.peer] = _In(peer.stream, peer.received)
            if peer.sent:
                self._sender(peer.peer, _Out(peer.oldest - 1, peer.sent)).event.set()
        own = self._keys.body
        await self._bus.subscribe(f"mail.{own}.*.live", self._on_live)
        await self._bus.subscribe(f"mail.{own}.*.session", self._on_session)
        await self._bus.subscribe(f"mail.{own}.*.call", self._on_call)
        self._spawn(self._bus.collect(self._on_box))
        self._spawn(self._tidy())

    async def drain(self, seconds: float) -> None:
        """Take in nothing new; wait, at most ``seconds``, until what came is committed and what is owed to whoever answers has arrived."""
        self._draining = True
        deadline = time.monotonic() + seconds
        while self._under_way() and time.monotonic() < deadline:  # noqa: ASYNC110 - several conditions, looked at for a second
            await asyncio.sleep(0.05)

    def _under_way(self) -> bool:
        now = time.monotonic()
        if any(side.queued > side.committed or side.ack_due for side in self._in.values()):
            return True
        return any(o.newest > o.acked and now - o.progress < RESEND_AFTER for o in self._out.values())

    async def close(self) -> None:
        """Stop; nothing is lost, what is owed stays in the database."""
        await end([*self._tasks, *(o.task for o in self._out.values() if o.task)])
        with contextlib.suppress(RenkeiError):
            await self._forget()

    # ------------------------------------------------------------------ sending

    def put(
        self, connection: sa.Connection, recipient: str, messages: Sequence[Message], *, later: bool = False
    ) -> None:
        """Owe ``messages`` to ``recipient``, in the caller's transaction; ``later`` if nobody waits for them."""
        together = gathered(connection, self, lambda: _Gathered(self))
        for parcel in _parcels([encode(m) for m in messages]):
            together.owe(recipient, msgspec.msgpack.encode(parcel), later)

    def committed(self, connection: sa.Connection, parcels: Iterable[Parcel]) -> None:
        """In the transaction of their effects: these parcels, and all before them, are done."""
        gathered(connection, self, lambda: _Gathered(self)).settle(parcels)

    def backlog(self, peer: str) -> int:
        """Parcels ``peer`` is owed and has not acknowledged."""
        out = self._out.get(peer)
        return out.newest - out.acked if out else 0

    async def send(self, recipient: str, messages: Sequence[Message]) -> None:
        """Put in a transaction of its own."""
        await self._database.write(lambda c: self.put(c, recipient, messages))

    def took_effect(self, owed: list[tuple[str, int, bytes]], at_once: set[str], done: list[Parcel]) -> None:
        """From the writer thread, after a commit: send and acknowledge."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is gone; the database knows what is owed
                self._loop.call_soon_threadsafe(self._took_effect, owed, at_once, done)

    def _took_effect(self, owed: list[tuple[str, int, bytes]], at_once: set[str], done: list[Parcel]) -> None:
        for peer, number, parcel in owed:
            self._sender(peer).owe(number, parcel)
        for peer in {p for p, _, _ in owed}:
            event = self._sender(peer).event
            if peer in at_once:
                event.set()
            else:
                asyncio.get_running_loop().call_later(LATER, event.set)
        for p in done:
            side = self._in[p.sender]
            if side.stream == p.stream:
                side.committed = max(side.committed, p.number)
                side.ack_due = True

    def _sender(self, peer: str, out: _Out | None = None) -> _Out:
        found = self._out.get(peer)
        if found is None:
            found = self._out[peer] = out or _Out()
            found.task = asyncio.get_running_loop().create_task(self._send_loop(peer, found))
        return found

    async def _send_loop(self, peer: str, out: _Out) -> None:
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(out.backoff if out.sent > out.acked else None):
                    await out.event.wait()
            await asyncio.sleep(max(0.0, out.last + GATHER - time.monotonic()))
            out.event.clear()
            try:
                if out.sent > out.acked and time.monotonic() - out.progress >= out.backoff:
                    await self._resend(peer, out)
                while out.sent - out.acked < WINDOW * FRAME_PARCELS and await self._send_next(peer, out):
                    pass
            except RenkeiError as error:
                self._observe.log.info("post.delayed", peer=peer, reason=error.code)
                await asyncio.sleep(0.5)
                out.event.set()
            except Exception:  # a database that is away for a while must not silence us for ever
                self._observe.failure("send")
                await asyncio.sleep(RESEND_AFTER)
                out.event.set()

    async def _send_next(self, peer: str, out: _Out) -> bool:
        """Send one frame; whether there may be more."""
        out.sent = max(out.sent, out.acked)
        if out.sent >= out.newest:
            return False
        parcels = out.at_hand() or await self._database.read(lambda c: store.pending(c, peer, out.sent, FRAME_PARCELS))
        if not parcels:
            return False
        size, take = 0, 0
        for _, parcel in parcels:
            size += len(parcel)
            if take and size > FRAME_BYTES:
                break
            take += 1
        parcels = parcels[:take]
        frame = self._frame(peer, [p for _, p in parcels], parcels[0][0])
        if out.sent <= out.acked:
            out.progress = time.monotonic()
        out.sent = parcels[-1][0]
        out.last = time.monotonic()
        if out.joined:
            await self._bus.publish(f"mail.{peer}.{self._keys.body}.session", out.session.close(frame))
        else:
            await self._bus.publish(f"mail.{peer}.{self._keys.body}.live", self._seal(frame, out))
        self._observe.count("frames_sent")
        return out.sent < out.newest

    async def _resend(self, peer: str, out: _Out) -> None:
        """Nothing was acknowledged for a while: begin again from there, and leave a copy in the mailbox."""
        self._observe.count("frames_resent")
        acked = out.acked
        parcels = await self._database.read(lambda c: store.pending(c, peer, max(acked, out.left), FRAME_PARCELS))
        for number, parcel in parcels:
            data = self._seal(self._frame(peer, [parcel], number), out)
            if not await self._bus.leave(f"mail.{peer}.{self._keys.body}.box.{self._stream.hex()}.{number}", data):
                break
            out.left = number
        if parcels and out.left > acked:
            self._observe.count("mailbox_left")
        out.sent = min(out.sent, max(out.acked, acked))
        out.progress = time.monotonic()
        out.backoff = min(out.backoff * 2, RESEND_MOST)

    def _frame(self, peer: str, parcels: list[bytes], first: int) -> Frame:
        lists = [_parcel.decode(p) for p in parcels]
        oldest = self._sender(peer).acked + 1
        return Frame(self._keys.body, peer, self._stream, first, lists, oldest=min(oldest, first))

    def _seal(self, frame: Frame, out: _Out) -> bytes:
        """Signed, sealed, and with the key of the session that may follow."""
        frame = msgspec.structs.replace(frame, session=out.session.key)
        return frames.close(frame, self._keys.identity, self._known(frame.recipient).seal)

    def _known(self, peer: str) -> Enrolled:
        found = self._directory(peer)
        if found is None:
            if self.unknown_sender:
                self.unknown_sender(peer)
            raise Unavailable(f"The keys of {peer!r} are not known here yet.", code="not-enrolled")
        return found

    # ------------------------------------------------------------------ receiving

    async def receive(
        self,
        most: int,
        *,
        weigh: Callable[[Parcel], int] = _weightless,
        weight: int = 0,
        busy: float = LINGER_BUSY,
    ) -> list[Parcel]:
        """The next parcels, each sender's in order, senders in turn so that none waits behind another's backlog.

        At least one; together at most ``most`` messages, which ``weigh`` at most ``weight`` (a larger parcel comes alone). When much
        comes, more is waited for, ``busy`` seconds.
        """
        while not self._inbox:
            self._arrived.clear()
            await self._arrived.wait()
            await asyncio.sleep(busy if self._pace.last() >= BUSY_FROM else LINGER)
        taken: list[Parcel] = []
        count = heavy = 0
        while self._inbox:
            sender = next(iter(self._inbox))
            parcel = self._inbox[sender][0]
            count, heavy = count + len(parcel.messages), heavy + weigh(parcel)
            if taken and (count > most or heavy > weight):
                break
            queue = self._inbox.pop(sender)
            taken.append(queue.popleft())
            if queue:  # to the end of the line
                self._inbox[sender] = queue
            self._waiting -= parcel.size
            self._in[sender].waiting -= parcel.size
        self._pace.add(sum(len(p.messages) for p in taken))
        return taken

    def retry(self, parcels: Sequence[Parcel]) -> None:
        """The commit failed: put the parcels back, in order. Those of a stream that is over come again in the one that follows it."""
        for parcel in reversed(parcels):
            if parcel.stream != self._in[parcel.sender].stream:
                continue
            self._inbox.setdefault(parcel.sender, deque()).appendleft(parcel)
            self._waiting += parcel.size
            self._in[parcel.sender].waiting += parcel.size
        self._arrived.set()

    async def consume(self, handle: Callable[[list[Parcel]], Awaitable[None]], most: int) -> None:
        """Hand parcels to ``handle`` for ever. ``handle`` commits.

        What cannot be done *now* is tried again together with whatever has come since, which may be what it waits for, and holds up
        nobody but its own sender. A parcel that can never be handled holds up nothing: it is set aside, locked, with a reference to the
        log, and acknowledged.
        """
        patience = 1
        while True:
            left = await self._consume(await self.receive(most * patience), handle)
            patience = min(patience + 1, 64) if left else 1
            if left:
                self.retry(left)
                await asyncio.sleep(RETRY_AFTER)

    async def _consume(self, parcels: list[Parcel], handle: Callable[[list[Parcel]], Awaitable[None]]) -> list[Parcel]:
        """Handle all together, else sender by sender, else one by one; what must wait, in order."""
        try:
            await handle(parcels)
            return []
        except (Unavailable, sa.exc.OperationalError) as error:
            reason = error.code if isinstance(error, Unavailable) else "database"
            self._observe.log.info("worker.retry", reason=reason)
            if len(parcels) == 1:
                return parcels
        except Exception:
            if len(parcels) == 1:
                try:
                    await self._set_aside(parcels[0], self._observe.failure("worker"))
                except sa.exc.SQLAlchemyError:
                    return parcels
                return []
        senders = dict.fromkeys(p.sender for p in parcels)
        left: list[Parcel] = []
        if len(senders) > 1:
            for sender in senders:
                left += await self._consume([p for p in parcels if p.sender == sender], handle)
            return left
        for at, parcel in enumerate(parcels):
            if await self._consume([parcel], handle):
                return parcels[at:]
        return []

    async def _set_aside(self, parcel: Parcel, reference: str) -> None:
        row: dict[str, object] = {
            "peer": parcel.sender,
            "stream": parcel.stream,
            "number": parcel.number,
            "reference": reference,
            "locked": self._keys.lock(msgspec.msgpack.encode([encode(m) for m in parcel.messages])),
        }

        def commit(connection: sa.Connection) -> None:
            store.set_aside(connection, row)
            self.committed(connection, [parcel])

        await self._database.write(commit)
        self._observe.count("parcels_set_aside")

    async def _send_ack(self, sender: str, side: _In) -> None:
        side.ack_due = False
        if side.stream is None:
            return
        frame = Frame(self._keys.body, sender, side.stream, acknowledges=side.committed)
        if side.session is not None:
            await self._bus.publish(f"mail.{sender}.{self._keys.body}.session", side.session.close(frame))
        else:
            await self._send_sealed(frame)

    async def _send_sealed(self, frame: Frame) -> None:
        peer = self._directory(frame.recipient)
        if peer is not None:
            data = frames.close(frame, self._keys.identity, peer.seal)
            await self._bus.publish(f"mail.{frame.recipient}.{self._keys.body}.live", data)

    async def _on_live(self, message: Msg) -> None:
        self._take(message.subject.split(".")[2], message.data)

    async def _on_session(self, message: Msg) -> None:
        """A frame under the session its sender gave us, or an acknowledgement under the one we gave it."""
        sender, data = message.subject.split(".")[2], message.data
        if self._directory(sender) is None:
            return
        side, out = self._in.get(sender), self._out.get(sender)
        for session in (side and side.session, out and out.session):
            if session and data[:8] == session.id:
                self._take(sender, data, session)
                return
        self._observe.count("frames_unopened")
        side = side or self._in.setdefault(sender, _In(None, 0))
        if time.monotonic() - side.renewed > RENEW_EVERY:  # one of us was restarted
            side.renewed = time.monotonic()
            stream = side.stream or bytes(8)
            self._spawn(self._send_sealed(Frame(self._keys.body, sender, stream, acknowledges=0, renew=True)))

    async def _on_box(self, message: Msg) -> None:
        sender = message.subject.split(".")[2]
        stream, number = message.subject.split(".")[-2:]
        self._take(sender, message.data)
        settled = int(number) if number.isascii() and number.isdigit() and len(number) < 16 else 0
        self._spawn(self._settle_box(message, sender, bytes.fromhex(stream) if _is_stream(stream) else b"", settled))

    async def _settle_box(self, message: Msg, sender: str, stream: bytes, number: int) -> None:
        """A mailbox copy may go once its parcel is committed here, whichever way it came, or its stream is over."""
        side = self._in.get(sender)
        try:
            for _ in range(300):
                if not self._receives or (side is not None and (side.stream != stream or side.committed >= number)):
                    with contextlib.suppress(nats.errors.Error):  # then it comes again
                        await message.ack()
                    return
                await asyncio.sleep(0.1)
        except asyncio.CancelledError:
            with contextlib.suppress(nats.errors.Error):  # who takes our place has it soon: when we listen no more
                await message.nak(1)
            raise
        await message.nak(5)

    def _take(self, sender: str, data: bytes, session: Session | None = None) -> None:
        try:
            frame = session.open(data, sender, self._keys.body) if session else self._open(sender, data)
            if not isinstance(frame, Frame):
                raise NotGenuine("A call came where a frame was expected.", code="misaddressed")
            if frame.acknowledges >= 0:
                self._acknowledged(sender, frame)
                return
            self._check(frame)
        except RenkeiError as error:
            self._observe.count("frames_refused")
            self._observe.log.info("post.refused", peer=sender, reason=error.code)
            return
        if self._draining:  # it is sent again, to who comes after us
            return
        side = self._in.setdefault(sender, _In(frame.stream, frame.oldest - 1))
        if frame.stream < (side.stream or b""):  # from before the sender's restart: what matters of it comes again
            return
        if side.stream != frame.stream:  # it was restarted, and goes on with the oldest we have not acknowledged
            side.stream, side.queued, side.committed = frame.stream, frame.oldest - 1, frame.oldest - 1
            side.session = None
        elif frame.oldest > side.queued + 1:  # we were restored: what is missing was committed in a former life
            self._observe.count("parcels_skipped", frame.oldest - 1 - side.queued)
            side.queued = side.committed = frame.oldest - 1
        if frame.session and session is None and (side.session is None or side.session.key != frame.session):
            side.session = Session(frame.session)
        if frame.first > side.queued + 1 or self._waiting > MAX_WAITING or side.waiting > MAX_OF_ONE:
            self._observe.count("frames_ignored")
            return
        fresh = [
            Parcel(sender, frame.stream, number, self._decode(sender, raw), sum(map(len, raw)))
            for number, raw in enumerate(frame.parcels, start=frame.first)
            if number > side.queued
        ]
        if fresh:
            self._inbox.setdefault(sender, deque()).extend(fresh)
            side.queued = fresh[-1].number
            side.waiting += sum(p.size for p in fresh)
            self._waiting += sum(p.size for p in fresh)
            self._observe.count("frames_received")
            self._arrived.set()
        elif side.queued == side.committed:
            side.ack_due = True

    def _check(self, frame: Frame) -> None:
        """Refuse what no institution sends: whoever made it holds up nobody else."""
        if not self._receives:
            raise NotGenuine("This institution takes calls, not messages.", code="misaddressed")
        if int.from_bytes(frame.stream, "big") > time.time_ns() // 1_000_000 + STREAM_AHEAD:
            # whoever stole a key must not silence its owner for good
            raise NotGenuine("The stream is of another day.", code="stream")
        if frame.session and len(frame.session) != 32:
            raise NotGenuine("A session key is 32 bytes.", code="session")
        if any(len(p) > PARCEL_MESSAGES or (len(p) > 1 and sum(map(len, p)) > PARCEL_BYTES) for p in frame.parcels):
            raise NotGenuine("A parcel is too large.", code="parcel-size")

    def _decode(self, sender: str, raw: list[bytes]) -> tuple[Message, ...]:
        found = []
        for data in raw:
            try:
                found.append(decode_message(data))
            except RenkeiError as error:  # counted, never blocks the stream
                self._observe.count("messages_malformed")
                self._observe.log.warning("post.malformed", peer=sender, reason=error.code)
        return tuple(found)

    def _open(self, sender: str, data: bytes) -> Frame | CallFrame:
        return frames.open_frame(data, sender, self._known(sender).identity, self._keys.body, self._keys.seal)

    def _acknowledged(self, peer: str, frame: Frame) -> None:
        out = self._out.get(peer)
        if out is None:
            return
        if frame.renew and frame.stream in (
            self._stream,
            bytes(8),
        ):  # it lost the session's key: what is under way did not arrive
            out.joined, out.sent = False, min(out.sent, out.acked)
            out.event.set()
            return
        if frame.stream != self._stream:
            return
        out.joined = True
        out.progress, out.backoff = time.monotonic(), RESEND_AFTER  # present, even if still at work on what it holds
        if not out.acked < frame.acknowledges <= out.newest:
            return
        out.acked = frame.acknowledges
        self._dropped[peer] = out.acked
        if out.sent < out.newest:  # it waited for the window
            out.event.set()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_EVERY)
            for sender, side in list(self._in.items()):
                # also what is not committed yet: say that we are here and hold it, so that it is not sent again
                if side.ack_due or side.queued > side.committed:
                    try:
                        await self._send_ack(sender, side)
                    except Exception:  # one peer's trouble is not the others'
                        self._observe.failure("acknowledge")
            with contextlib.suppress(RenkeiError, sa.exc.SQLAlchemyError):
                await self._forget()

    async def _forget(self) -> None:
        if self._dropped:
            done, self._dropped = self._dropped, {}
            try:
                await self._database.write(lambda c: store.drop(c, done.items()))
            except BaseException:
                self._dropped = done | self._dropped
                raise

    # ------------------------------------------------------------------ calls

    def silent(self) -> dict[str, str]:
        """For ``/health``: whose silence has met calls for more than ``SILENT_AFTER`` seconds."""
        peers = [peer for peer, (first, last) in self._silent.items() if last - first > SILENT_AFTER]
        return {"silent": " ".join(sorted(peers))} if peers else {}

    def forget_silence(self, peer: str) -> None:
        """What ``peer`` left unanswered is no trouble any more."""
        self._silent.pop(peer, None)

    async def call(self, peer: str, body: Call, *, timeout: float = 5.0) -> Reply:
        """Ask ``peer`` and await its reply, both sealed. ``Unavailable`` if it is silent; its refusal is raised as an error."""
        nonce = os.urandom(16)
        to = self._known(peer)
        question = CallFrame(self._keys.body, peer, nonce, encode(body))
        data = frames.close(question, self._keys.identity, to.seal)
        try:
            raw = await self._bus.request(f"mail.{peer}.{self._keys.body}.call", data, timeout)
        except Unavailable:
            now = time.monotonic()
            self._silent[peer] = (self._silent.get(peer, (now, now))[0], now)
            raise
        self._silent.pop(peer, None)
        try:
            answer = self._open(peer, raw)
            if not isinstance(answer, CallFrame) or not answer.reply or answer.nonce != nonce:
                raise NotGenuine("The reply belongs to another question.", code="misaddressed")
        except RenkeiError as error:  # whoever said this, it was not the peer, which may still be asked again
            self._observe.count("frames_refused")
            self._observe.log.info("post.refused", peer=peer, reason=error.code)
            raise Unavailable("What came is no answer of the other institution.", code="no-answer") from error
        reply = decode_reply(answer.body)
        if isinstance(reply, Failed):
            raise RenkeiError(reply.sentence, code=reply.code)
        return reply

    async def _on_call(self, message: Msg) -> None:
        self._spawn(self._answer(message))

    async def _answer(self, message: Msg) -> None:
        sender = message.subject.split(".")[2]
        try:
            question = self._open(sender, message.data)
            if not isinstance(question, CallFrame) or question.reply or self._handler is None:
                raise NotGenuine("This is not a question.", code="misaddressed")
        except RenkeiError as error:
            self._observe.count("frames_refused")
            self._observe.log.info("post.refused", peer=sender, reason=error.code)
            return
        try:
            reply: Reply = await self._handler(sender, decode_call(question.body))
        except RenkeiError as error:
            reply = Failed(error.code, error.sentence)
        except Exception:
            reference = self._observe.failure("call")
            reply = Failed("internal", f"The other institution failed; its log has reference {reference}.")
        answer = CallFrame(self._keys.body, sender, question.nonce, encode(reply), reply=True)
        await self._bus.publish(message.reply, frames.close(answer, self._keys.identity, self._known(sender).seal))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.append(task)
        task.add_done_callback(lambda t: self._tasks.remove(t) if t in self._tasks else None)


def _is_stream(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)


def _parcels(messages: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Messages in parcels that keep to the limits; a message larger than a parcel comes alone."""
    parcel: list[bytes] = []
    size = 0
    for message in messages:
        if parcel and (len(parcel) == PARCEL_MESSAGES or size + len(message) > PARCEL_BYTES):
            yield parcel
            parcel, size = [], 0
        parcel.append(message)
        size += len(message)
    if parcel:
        yield parcel
