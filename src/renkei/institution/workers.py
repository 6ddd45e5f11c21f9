"""Workers of a keeper: processes, on any host, that verify, rule and convert for it. The keeper sequences, stores and signs alone.

A worker has the keeper's keys and a home of its own, where it follows governance like any body. Workers share a queue group on the bus,
so each question goes to one of them. A question names the governance it is to be answered by, and the keeper does itself what no worker
answers in time: workers can die, lag or be missing, and only speed is lost.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from nats.aio.msg import Msg

from renkei.errors import NotGenuine, RenkeiError, Unavailable
from renkei.institution.bus import Bus
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.runtime import Institution
from renkei.institution.settings import Clock, system_clock
from renkei.institution.web import Health, serve
from renkei.messages import frames
from renkei.messages.frames import CallFrame
from renkei.messages.wire import Failed, Fill, Work, Worked, decode_call, decode_reply, encode
from renkei.record import rounds
from renkei.record.entries import decode_entry
from renkei.record.state import CONVERTERS

QUEUE = "workers"
ANSWER_WITHIN = 1.0
AT_LEAST = 8
"""Entries in one question at least: fewer are quicker done than asked for."""
_WORKED = (b"inquiry", b"issuance", b"changed/", b"change-leaf/")
"""What begins the kinds that cost a worker's time: those with conversions."""


def costly(encoded: bytes) -> bool:
    """Whether an encoded body or entry is of a kind that is worth a worker's time."""
    return any(kind in encoded[:32] for kind in _WORKED)


class Workers:
    """The keeper's side: hands work out and takes it back."""

    def __init__(self, keys: Keys, bus: Bus, observe: Observer, count: int) -> None:
        self._keys, self._bus, self._observe, self.count = keys, bus, observe, count

    async def ask(self, work: Work) -> list[bytes]:
        """For each envelope or draft of ``work`` what a worker made of it; empty if the keeper must do it, or judge it, itself."""
        total = len(work.envelopes) + len(work.drafts)
        if not self.count or total < AT_LEAST:
            return [b""] * total
        size = max(AT_LEAST, -(-total // self.count))
        parts = [
            msgspec.structs.replace(work, envelopes=work.envelopes[at : at + size], drafts=work.drafts[at : at + size])
            for at in range(0, total, size)
        ]
        done = await asyncio.gather(*(self._ask(part) for part in parts))
        return [one for part in done for one in part]

    async def _ask(self, work: Work) -> list[bytes]:
        body, nonce = self._keys.body, os.urandom(16)
        nothing = [b""] * (len(work.envelopes) + len(work.drafts))
        frame = frames.close(CallFrame(body, body, nonce, encode(work)), self._keys.identity, self._keys.seal.public)
        try:
            raw = await self._bus.request(f"mail.{body}.{body}.work", frame, ANSWER_WITHIN)
            answer = frames.open_frame(raw, body, self._keys.identity.public, body, self._keys.seal)
            reply = decode_reply(answer.body) if isinstance(answer, CallFrame) and answer.nonce == nonce else None
        except RenkeiError as error:
            self._observe.count("work_unanswered")
            self._observe.log.info("workers.unanswered", reason=error.code)
            return nothing
        if not isinstance(reply, Worked) or len(reply.made) != len(nothing):
            self._observe.count("work_unanswered")
            return nothing
        self._observe.count("worked", len(nothing))
        return reply.made


class Worker(Institution):
    """A worker of hub or commission, by the ``body`` its settings name."""

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        super().__init__(folder, clock=clock)
        if self.settings.body not in CONVERTERS:
            raise NotGenuine("Only the keepers have workers.", code="role")
        self.converter = self.keys.converter()
        self.member = Member(self.home, self.keys, self.database, self.observe, clock)
        self.post = Post(self.keys, self.bus, self.database, self.member.directory, self.observe)
        self.member.post = self.post

    async def start(self) -> None:
        await self.join()
        self.keep(self.member.follow_always, "follow")
        await self.bus.subscribe(f"mail.{self.keys.body}.{self.keys.body}.work", self._on_work, queue=QUEUE)
        self.run(serve(self.settings, self.observe, [], self.health), "web")

    def report(self) -> Health:
        return Health(True, {"governance": str(self.member.state.next_index)})

    async def _on_work(self, message: Msg) -> None:
        own = self.keys.body
        try:
            question = frames.open_frame(message.data, own, self.keys.identity.public, own, self.keys.seal)
        except RenkeiError as error:
            self.observe.count("frames_refused")
            self.observe.log.info("worker.refused", reason=error.code)
            return
        if isinstance(question, CallFrame) and not question.reply:
            self.run(self._answer(message.reply, question), "work")

    async def _answer(self, to: str, question: CallFrame) -> None:
        reply: Worked | Failed
        try:
            work = decode_call(question.body)
            if not isinstance(work, Work):
                raise NotGenuine("This is not work.", code="misaddressed")
            if self.member.state.next_index < work.governance:
                await self.member.follow()
            if self.member.state.next_index != work.governance:
                raise Unavailable("The governance asked for is not the one here.", code="behind")
            reply = await asyncio.to_thread(self._work, work)
        except RenkeiError as error:
            reply = Failed(error.code, error.sentence)
        own = self.keys.body
        answer = CallFrame(own, own, question.nonce, encode(reply), reply=True)
        await self.bus.publish(to, frames.close(answer, self.keys.identity, self.keys.seal.public))

    def _work(self, work: Work) -> Worked:
        made = []
        for one in (*work.envelopes, *work.drafts):
            try:
                made.append(self._one(one, work))
            except RenkeiError:  # the keeper will see for itself
                made.append(b"")
        self.observe.count("worked", len(made))
        return Worked(made)

    def _one(self, one: object, work: Work) -> bytes:
        state, now = self.member.state, work.time
        if isinstance(one, bytes):
            unveil = rounds.unveil_with(self.keys.hide, state)
            filled: Fill = rounds.fill(
                state, self.converter, _none, decode_entry(one), now, prove=work.prove, unveil=unveil
            )
            return encode(filled)
        return encode(rounds.draft(state, self.converter, _none, one, now, prove=work.prove).entry)  # type: ignore[arg-type]


def _none(_: Sequence[bytes]) -> dict[bytes, tuple[str, str]]:
    """No record here: outcomes and ends are ruled by the keeper, which has it."""
    return {}
