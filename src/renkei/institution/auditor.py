"""Audit: each keeper makes the other prove a random share of its conversions, and remembers what it found.

A wrong conversion would lead an inquiry to another person, and nobody else could see it. Which leaves are audited is chosen by the other
keeper after they are in the record, so no converter can know in advance where it may lie. A proof costs about as much as five
conversions on either side; nothing of it is on an inquiry's way.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping, Sequence

from renkei.codes import Converter
from renkei.errors import NotFound, RenkeiError, Unavailable
from renkei.institution.database import Database
from renkei.institution.keeper import Keeper
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.ledger import store as log
from renkei.messages.wire import GetProofs, Proofs
from renkei.record import rounds
from renkei.record import store as index
from renkei.record.entries import decode_entry
from renkei.record.rounds import Conversion

EVERY = 1.0
AT_ONCE = 512
"""Leaves looked through in one step."""
ASKED_AT_ONCE = 32
"""Leaves in one question, however few conversions each holds."""
PROVEN_AT_ONCE = 1024
"""Conversions in one question: well under a second's work for who is asked, so that a short wait suffices."""
PATIENCE = 10
"""Times the other keeper may fail to prove before that is itself an alarm."""


class Auditor:
    """One keeper's audit of the other, and its own proofs for those who may ask."""

    def __init__(
        self,
        own: str,
        other: str,
        keeper: Keeper,
        converter: Converter,
        database: Database,
        post: Post,
        observe: Observer,
        share: float,
    ) -> None:
        self._own, self._other, self._keeper, self._converter = own, other, keeper, converter
        self._database, self._post, self._observe, self._share = database, post, observe, share
        self._tries = 0

    # ------------------------------------------------------------------ proving

    def prove(self, positions: Sequence[int]) -> Proofs:
        """Our proofs for the conversions of these leaves, in order. Runs on a thread. ``NotFound`` for a leaf that has none."""
        proofs = []
        for found in self._conversions(positions, self._own).values():
            if not found:
                raise NotFound("There is no conversion in this leaf.", code="no-leaf")
            proofs.append(rounds.prove_all(self._converter, found))
        return Proofs(proofs)

    def _conversions(self, positions: Sequence[int], by: str) -> dict[int, list[Conversion]]:
        leaves = self._database.read_now(lambda c: log.at(c, positions))
        found = {}
        for position in positions:
            leaf = leaves.get(position)
            found[position] = rounds.conversions(decode_entry(leaf.entry), by) if leaf and leaf.entry else []
        return found

    # ------------------------------------------------------------------ auditing

    async def run(self) -> None:
        """Audit for ever, behind the record. Where it stands is stored, so no leaf escapes by a restart."""
        while True:
            try:
                more = await self.step()
                self._tries = 0
            except Unavailable:
                more = False
            except RenkeiError as error:  # it answers, and not with proofs
                more = False
                self._tries += 1
                if self._tries >= PATIENCE:
                    await self._alarm(0, error.code)
                    self._tries = 0
            if not more:
                await asyncio.sleep(EVERY)

    async def step(self) -> bool:
        """Audit a share of the next leaves; whether there are more."""
        first = int(await self._database.read(lambda c: index.flag(c, "audited")) or 1)
        # The newest round may not be with the other keeper yet; what lies before it is, or there would be no newer one.
        end = min(self._keeper.head.previous if self._keeper.head else 0, first + AT_ONCE)
        if first >= end:
            return False
        chosen = [p for p in range(first, end) if secrets.randbelow(1_000_000) < self._share * 1_000_000]
        asked = {p: c for p, c in (await asyncio.to_thread(self._conversions, chosen, self._other)).items() if c}
        wrong: list[int] = []
        for part in _questions(asked):
            reply = await self._post.call(self._other, GetProofs(part), timeout=10)
            if not isinstance(reply, Proofs) or len(reply.proofs) != len(part):
                raise NotFound("The other keeper does not prove its conversions.", code="unproven")
            wrong += await asyncio.to_thread(self._wrong, {p: asked[p] for p in part}, reply)
        for position in wrong:
            await self._alarm(position, "conversion")
        await self._database.write(lambda c: index.set_flag(c, "audited", str(end)))
        self._observe.count("audits", len(asked))
        return True

    def _wrong(self, asked: Mapping[int, Sequence[Conversion]], reply: Proofs) -> list[int]:
        checked = zip(asked.items(), reply.proofs, strict=True)
        return [
            p for (p, made), proofs in checked if not rounds.are_honest(self._keeper.state, self._other, made, proofs)
        ]

    async def _alarm(self, position: int, reason: str) -> None:
        self._observe.log.error("audit.failed", keeper=self._other, leaf=position, reason=reason)
        self._observe.count("alarms")
        await self._database.write(lambda c: index.put_finding(c, position, self._other, reason))

    def report(self) -> dict[str, str]:
        """For ``/health``: how many leaves failed, and the first of them. Findings stay until an inspector has dealt with them."""

        found = self._database.read_now(index.findings)
        return {"audit_failed": str(len(found)), "audit_first": f"{found[0][1]} at leaf {found[0][0]}"} if found else {}


def _questions(asked: Mapping[int, Sequence[Conversion]]) -> Iterator[list[int]]:
    """The leaves to ask about, in parts that are quick to prove."""
    part: list[int] = []
    weight = 0
    for position, made in asked.items():
        if part and (len(part) >= ASKED_AT_ONCE or weight + len(made) > PROVEN_AT_ONCE):
            yield part
            part, weight = [], 0
        part.append(position)
        weight += len(made)
    if part:
        yield part
