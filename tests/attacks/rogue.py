"""An enrolled institution gone bad: its real keys and its real place on the bus, and nothing between it and the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import nkeys

from renkei.codes import encrypt
from renkei.codes.conversion import Ciphertext
from renkei.codes.group import multiply_base, random_scalar, scalar_multiply
from renkei.institution.bus import Bus
from renkei.institution.keys import Keys
from renkei.institution.settings import Home
from renkei.messages import frames
from renkei.messages.frames import CallFrame, Frame, Sealed
from renkei.messages.signing import SealKey, seal
from renkei.messages.wire import Call, Envelope, Inquiry, Submit, decode_reply, encode, signed_bytes
from renkei.record.admission import DAY
from renkei.record.state import ref_of
from tests.attacks.changes import parts
from tests.world import Running, until

_encoder = msgspec.msgpack.Encoder()


class Rogue:
    """Acts as ``body`` of a running nation, whose own process is stopped meanwhile."""

    def __init__(self, nation: Running, body: str) -> None:
        self.nation, self.body = nation, body
        institution = nation.world.institutions[body]
        self.state, self.domain = institution.member.state, institution.member.domain
        self.key = institution.member.key(self.domain)
        if nation.plan.place(body).role == "gateway":
            self.person = institution.database.read_now(some_code)
        nation.stop_body(body)
        self.keys = Keys.load(Home(nation.folder / body), body)
        self.bus = Bus(nation.world.bus.url, body, self.keys.bus_seed)
        self.stream = time.time_ns() // 1_000_000 + 1
        self.numbers: dict[str, int] = {}
        nation.do(self.bus.connect())

    def leave(self) -> None:
        """Hand the place back to the body itself."""
        self.nation.do(self.bus.close())
        self.nation.start_body(self.body)

    # ------------------------------------------------------------------ what it can put on the wire

    def send(self, to: str, *messages: Any, **frame: Any) -> None:
        """One parcel, properly numbered, signed and sealed; messages may be wire types or any bytes or values at all."""
        number = self.numbers[to] = self.numbers.get(to, 0) + 1
        parcel = [m if isinstance(m, bytes) else _encoder.encode(m) for m in messages]
        values = {"first": number, "parcels": [parcel], "oldest": 1, **frame}
        self.raw(to, Frame(self.body, to, self.stream.to_bytes(8, "big"), **values))

    def send_each(self, to: str, messages: Iterable[Any]) -> int:
        """Each message, several in a parcel; how many there were."""
        count = 0
        for part in parts(messages):
            self.send(to, *part)
            count += len(part)
        return count

    def until_handled(self, to: str) -> None:
        """Wait until ``to`` has committed every parcel sent to it."""
        post = self.nation.world.institutions[to].post
        until(lambda: self.body in post._in and post._in[self.body].committed >= self.numbers[to])

    def raw(self, to: str, frame: Any, *, subject: str = "", reply: str = "") -> None:
        """A frame of any content at all, genuinely signed and sealed."""
        payload = _encoder.encode(frame)
        inner = encode(Sealed(payload, self.keys.identity.signature(frames._TAG + payload)))
        data = seal(inner, self.state.bodies[to].seal, frames._TAG, self.body.encode(), to.encode())
        self.nation.do(self.bus._client.publish(subject or f"mail.{to}.{self.body}.live", data, reply=reply))

    def call(self, to: str, question: Call) -> Any:
        """Ask, and open the reply."""

        async def ask() -> Any:
            frame = CallFrame(self.body, to, bytes(16), encode(question))
            data = frames.close(frame, self.keys.identity, self.state.bodies[to].seal)
            raw = await self.bus.request(f"mail.{to}.{self.body}.call", data, 5)
            return frames.open_frame(raw, to, self.state.bodies[to].identity, self.body, self.keys.seal)

        return decode_reply(self.nation.do(ask()).body)

    # ------------------------------------------------------------------ what it can sign

    def inquiry(self, **changes: Any) -> dict[str, Any]:
        """A lawful inquiry about a real person, as plain values, with changes (``None`` leaves a field out)."""
        now = time.time_ns() // 1_000_000
        good = Inquiry(
            ref_of(self.domain),
            "tax-union",
            "child-allowance",
            "local-tax",
            "assess-amount",
            encrypt(self.person, self.key).to_bytes(),
            SealKey().public,
            bytes(32),
            now,
            now + 7 * DAY,
        )
        return {**msgspec.msgpack.decode(encode(good)), **changes}

    def signed(self, body: Any) -> Envelope:
        """Any value at all in an envelope with a good signature."""
        payload = _encoder.encode(body)
        return Envelope(self.body, payload, self.keys.identity.signature(signed_bytes(self.body, payload)))

    def submit(self, body: Any) -> Envelope:
        """Send a signed body to the hub for the record."""
        envelope = self.signed(body)
        self.send("hub", Submit(envelope))
        return envelope

    def nobody(self) -> bytes:
        """A ciphertext of the identity under our own key: well formed, and the code of no one."""
        b = random_scalar()
        return Ciphertext(multiply_base(b), multiply_base(scalar_multiply(b, self.key))).to_bytes()


def some_code(connection: Any) -> bytes:
    import sqlalchemy as sa

    from renkei.institution.subjects import subjects

    return bytes(connection.execute(sa.select(subjects.c.code).where(subjects.c.code.is_not(None))).scalars().first())


def nkey_of(seed: bytes) -> str:
    """The public nkey of a seed."""
    return nkeys.from_seed(bytearray(seed)).public_key.decode()


def wait(seconds: float) -> None:
    """Let what was sent arrive."""
    asyncio.run(asyncio.sleep(seconds))
