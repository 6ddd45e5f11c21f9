"""The authority's life: load the roll at the first start, then answer requests for codes."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import secrets
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from renkei.authority import roll, store
from renkei.codes import encrypt, mint
from renkei.institution.member import Member
from renkei.institution.post import Parcel, Post
from renkei.institution.rotation import Rotation
from renkei.institution.runtime import Institution
from renkei.institution.settings import Clock, system_clock
from renkei.institution.web import Health, serve
from renkei.messages.wire import (
    MAX_BATCH,
    CodeRefused,
    CodeRequest,
    IssuanceBatch,
    Issued,
    KeyShare,
    Message,
    Permit,
    Submit,
)
from renkei.numbers import number_format
from renkei.record.state import domain_of, ref_of

REQUESTS_AT_ONCE = 512
_shuffle = random.SystemRandom().shuffle


class Authority(Institution):
    """The numbering authority."""

    packages = ("institution", "authority")

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        super().__init__(folder, clock=clock)
        self.member = Member(self.home, self.keys, self.database, self.observe, clock)
        self.post = Post(self.keys, self.bus, self.database, self.member.directory, self.observe)
        self.member.post = self.post
        self.post.unknown_sender = self.member.want
        self.rotation = Rotation(self.home, self.keys, self.member, self.database, self.post, self.observe, [])
        self._prf = self.keys.derive("mint")

    async def start(self) -> None:
        if self.settings.roll and not await self.database.read(store.count):
            await asyncio.to_thread(self.load_roll, Path(self.settings.roll))
        await self.join()
        await self.post.start()
        self.keep(self.member.follow_always, "follow")
        self.keep(lambda: self.post.consume(self._handle, REQUESTS_AT_ONCE), "worker")
        self.keep(self.rotation.run, "rotation")
        self.run(serve(self.settings, self.observe, [], self.health), "web")

    async def stop(self) -> None:
        await self.post.close()
        await super().stop()

    def load_roll(self, path: Path, *, progress: roll.Progress = lambda done, total: None) -> int:
        """Load a resident roll (``roll.load``) under the pack's number format."""
        number = number_format(self.member.pack.header.person_number)
        today = dt.datetime.fromtimestamp(self.clock() / 1000, dt.UTC).date()
        return roll.load(self.database, path, number, today=today, below=secrets.randbelow, progress=progress)

    def report(self) -> Health:
        return Health(self.member.ready, {"persons": str(self.database.read_now(store.count))})

    async def _handle(self, parcels: list[Parcel]) -> None:
        requests: list[tuple[str, CodeRequest]] = []
        for parcel in parcels:
            for message in parcel.messages:
                if isinstance(message, KeyShare):
                    await self.member.accept_share(parcel.sender, message)
                elif isinstance(message, CodeRequest):
                    requests.append((parcel.sender, message))
                elif not isinstance(message, Permit):
                    self.observe.count("messages_unexpected")
        if any(self._is_behind(body, request) for body, request in requests):
            await self.member.follow()
        outgoing = await asyncio.to_thread(self._issue, requests) if requests else {}

        def commit(connection: sa.Connection) -> None:
            for recipient, messages in outgoing.items():
                for message in messages:
                    self.post.put(connection, recipient, [message])
            self.post.committed(connection, parcels)

        await self.database.write(commit)

    def _is_behind(self, body: str, request: CodeRequest) -> bool:
        """Whether the body speaks of a domain of its own that we have not heard of: then we must follow the record first."""
        known = self.member.state.domain(body)
        return known is None or known < domain_of(request.domain)

    def _code(self, internal_id: bytes, code_epoch: int) -> bytes:
        return self.member.carry(mint(self._prf, internal_id), 1, code_epoch)

    def _issue(self, requests: Sequence[tuple[str, CodeRequest]]) -> dict[str, list[Message]]:
        """Encrypted codes for everyone asked for, shuffled, in batches per institution; refusals for unknown numbers."""
        source, state = self.member.domain, self.member.state
        key = self.member.key(source)
        outgoing: dict[str, list[Message]] = defaultdict(list)
        for body, request in requests:
            target = state.domain(body)
            if domain_of(request.domain).body != body:
                self.observe.count("requests_refused")
                continue
            if target is None:
                self.observe.count("requests_refused")
                continue
            found = self.database.read_now(lambda c, r=request: store.ids_of(c, [w.number for w in r.wanted]))  # type: ignore[misc]
            codes = [
                Issued(w.handle, encrypt(self._code(found[w.number], source.code_epoch), key).to_bytes())
                for w in request.wanted
                if w.number in found
            ]
            _shuffle(codes)
            for at in range(0, len(codes), MAX_BATCH):
                batch = IssuanceBatch(ref_of(source), ref_of(target), codes[at : at + MAX_BATCH], self.clock())
                outgoing["hub"].append(Submit(self.keys.identity.sign(batch)))
            unknown = [w.handle for w in request.wanted if w.number not in found]
            if unknown:
                outgoing[body].append(CodeRefused(unknown))
            self.observe.count("codes_issued", len(codes))
        return outgoing
