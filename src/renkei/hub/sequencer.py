"""The way of a round at the hub: receive → prepare → propose → commit → deliver.

Everything costly (signatures, rulings, conversions) happens in ``prepare``, on a thread or at workers, before anything enters the record.
While a round waits for the commission the next one is prepared.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from renkei.codes import Converter
from renkei.errors import NotGenuine, RenkeiError, Unavailable
from renkei.hub.witnesses import AheadOfUs, Witnesses
from renkei.institution.keeper import Keeper, Staged
from renkei.institution.observe import Observer
from renkei.institution.post import Parcel, Post
from renkei.institution.tasks import end
from renkei.institution.workers import Workers, costly
from renkei.ledger import store as log
from renkei.ledger.notes import Signer, Verifier, verify_note
from renkei.ledger.store import Leaf
from renkei.messages.wire import (
    Cosigned,
    Envelope,
    Message,
    NotSigned,
    Permit,
    Proposal,
    RoundCopy,
    Submit,
    Work,
    decode_as,
    encode,
)
from renkei.record import rounds
from renkei.record import store as index
from renkei.record.entries import (
    Entry,
    InquiryLeaf,
    PersonalLeaf,
    decode_entry,
    envelope_of,
    receipt_of,
    receiver_of,
)
from renkei.record.permit import SALT_SIZE
from renkei.record.rounds import Draft

STALE_AFTER = 1500
"""Milliseconds after which a prepared round is prepared anew: the commission accepts 2 s."""
LATE_MOST = 3
"""Proposals out of time in a row after which the clocks, and not a busy machine, are to blame: then it is tried at leisure."""
REPLY_TIMEOUT = 3.0
BATCH_BYTES = 65_536
"""Bytes of batches (codes to issue, outcomes) in one round: a batch is as much work as many inquiries, which wait for the round."""
ROUND_EVERY = 0.04
"""Seconds for which a round gathers while others follow closely: one costs each keeper some 3 ms whatever it holds."""
BATCH_FROM = 2048
"""Bytes from which a submission is a batch; an inquiry has a quarter of that."""


class Prepared(NamedTuple):
    """A round ready to be proposed."""

    time: int
    governance: int
    """The governance leaf up to which the rulings look; a round under way may bring more."""
    drafts: list[Draft]
    ids: list[bytes]
    """Of the drafts' envelopes."""
    repeats: list[bytes]
    parcels: list[Parcel]
    own: list[Envelope]


class Halted(Exception):
    """The two copies of the record disagree: stop and raise an alarm."""


class Sequencer:
    """Sequences the record. Alone writes to the hub's log."""

    def __init__(
        self,
        keeper: Keeper,
        converter: Converter,
        signer: Signer,
        post: Post,
        observe: Observer,
        *,
        write: Callable[..., object],
        clock: Callable[[], int],
        round_size: int,
        prove: bool,
        workers: Workers,
        witnesses: Witnesses,
        after: Callable[[Sequence[Envelope]], object],
    ) -> None:
        self.keeper, self._converter, self._signer, self._post = keeper, converter, signer, post
        self._observe, self._write, self._clock, self._after = observe, write, clock, after
        self._size, self._prove, self._workers, self._witnesses = round_size, prove, workers, witnesses
        self.undelivered = False
        """Whether rounds were adopted whose permits have yet to leave."""
        self._own: list[Envelope] = []
        self._own_tried = False
        self._taken: list[Parcel] = []
        self._own_waiting = asyncio.Event()
        self._newest: set[bytes] = set()
        """The envelopes of the newest round: the next one was prepared while it was under way."""
        self._proposed: Proposal | None = None
        self._superseded = False
        self._late = 0
        """Proposals in a row that the commission took to be of another time."""

    @property
    def superseded(self) -> bool:
        """Whether rounds were adopted that somebody else has proposed since we began to sequence."""
        return self._superseded

    def compare(self, copy: RoundCopy) -> None:
        """Note whether an adopted round is one that we proposed (its salts are ours)."""
        if self._proposed is not None and [salt for _, salt, _ in copy.leaves] != self._proposed.salts:
            self._superseded = True

    def submit(self, act: Envelope) -> None:
        """Enter an act of the hub's own in the next round."""
        self._own.append(act)
        self._own_tried = False
        self._own_waiting.set()

    async def run(self) -> None:
        """Sequence until cancelled or interrupted; what was taken and is not committed then goes back."""
        upcoming = asyncio.create_task(self._next())
        try:
            while True:
                prepared = await upcoming
                upcoming = asyncio.create_task(self._next())
                await self._round(prepared)
        finally:
            await end([upcoming])
            self._post.retry(self._taken)
            self._taken = []

    async def _next(self) -> Prepared:
        parcels = await self._gather()
        self._taken += parcels
        return await self._prepare(parcels, list(self._own))

    async def _gather(self) -> list[Parcel]:
        """Parcels for a round; none if there are only acts of the hub's own."""
        if self._own and not self._own_tried:
            self._own_tried = True
            return []
        receive = asyncio.create_task(
            self._post.receive(self._size, weigh=_batches, weight=BATCH_BYTES, busy=ROUND_EVERY)
        )
        own = asyncio.create_task(self._own_waiting.wait())
        try:
            await asyncio.wait((receive, own), return_when=asyncio.FIRST_COMPLETED)
            return receive.result() if receive.done() else []
        except asyncio.CancelledError:
            if receive.done() and not receive.cancelled():
                self._post.retry(receive.result())
            raise
        finally:
            self._own_waiting.clear()
            for task in (receive, own):
                task.cancel()

    async def _prepare(self, parcels: list[Parcel], own: list[Envelope]) -> Prepared:
        """Verify, rule, convert. What is not well formed or not genuine is counted and goes no further."""
        began = time.perf_counter()
        now = max(self._clock(), self.keeper.head.time if self.keeper.head else 0)
        governance = self.keeper.state.next_index
        fresh, known = await asyncio.to_thread(self._fresh, parcels, own)
        hard = [e for e in fresh.values() if costly(e.payload)] if self._workers.count else []
        made = await self._workers.ask(Work(governance, now, envelopes=hard, prove=self._prove))
        worked = {e.id: m for e, m in zip(hard, made, strict=True)}
        drafts = await asyncio.to_thread(self._drafts, fresh, worked, now)
        self._observe.time("prepare", time.perf_counter() - began)
        return Prepared(now, governance, list(drafts.values()), list(drafts), sorted(known), parcels, own)

    def _fresh(self, parcels: list[Parcel], own: list[Envelope]) -> tuple[dict[bytes, Envelope], set[bytes]]:
        """What is to be entered, by id, and the ids of what is in the record already."""
        fresh = {e.id: e for e in own}
        for sender, envelope in [(p.sender, m.envelope) for p in parcels for m in p.messages if isinstance(m, Submit)]:
            if envelope.sender == sender:  # nobody submits what another has signed
                fresh[envelope.id] = envelope
            else:
                self._reject(sender, "misaddressed")
        known = self.keeper.entered(list(fresh))
        return {id_: e for id_, e in fresh.items() if id_ not in known}, known

    def _drafts(self, fresh: dict[bytes, Envelope], worked: Mapping[bytes, bytes], now: int) -> dict[bytes, Draft]:
        """The drafts by id: those the workers made, and what is left for us."""
        drafts: dict[bytes, Draft] = {}
        state, converter, permitted = self.keeper.state, self._converter, self.keeper.permitted
        for id_, envelope in fresh.items():
            try:
                drafts[id_] = _from_worker(worked.get(id_), envelope) or rounds.draft(
                    state, converter, permitted, envelope, now, prove=self._prove
                )
            except RenkeiError as error:
                self._reject(envelope.sender, error.code)
        return drafts

    def _reject(self, sender: str, reason: str) -> None:
        self._observe.count("submissions_rejected")
        self._observe.log.warning("submission.rejected", peer=sender, reason=reason)

    async def _round(self, prepared: Prepared) -> None:
        """Propose until the commission has it, then commit and deliver."""
        while True:
            if self._outdated(prepared):
                prepared = await self._prepare(prepared.parcels, prepared.own)
            if not prepared.drafts:
                await self._commit_nothing(prepared)
                return
            salts = [os.urandom(SALT_SIZE) for _ in prepared.drafts]
            proposal = Proposal(
                self.keeper.tree.size,
                self.keeper.tree.root(),
                prepared.time,
                [encode(d.entry) for d in prepared.drafts],
                salts,
            )
            self._proposed = proposal
            reply = await self._propose(proposal)
            if isinstance(reply, Cosigned):
                self._late = 0
                await self._commit(prepared, proposal, reply)
                return
            prepared = self._without_refused(prepared, reply)

    def _outdated(self, prepared: Prepared) -> bool:
        """Whether time, new governance or a round that took in one of these has overtaken the preparation."""
        if prepared.time < self._clock() - STALE_AFTER or prepared.governance != self.keeper.state.next_index:
            return True
        return not self._newest.isdisjoint(prepared.ids)

    async def _propose(self, proposal: Proposal) -> Cosigned | NotSigned:
        """The commission's reply; an unanswered proposal is sent again byte for byte."""
        while True:
            began = time.perf_counter()
            try:
                reply = await self._post.call("commission", proposal, timeout=REPLY_TIMEOUT)
            except Unavailable:
                self._observe.count("proposals_resent")
                await asyncio.sleep(0.2)
                continue
            self._observe.time("cosign", time.perf_counter() - began)
            if isinstance(reply, Cosigned | NotSigned):
                return reply
            raise NotGenuine("The commission answered something else.", code="round-reply")

    def _without_refused(self, prepared: Prepared, reply: NotSigned) -> Prepared:
        kind, _, at = reply.reason.partition(":")
        if kind == "entry" and at.isdigit() and int(at) < len(prepared.drafts):
            drafts, ids = prepared.drafts.copy(), prepared.ids.copy()
            del drafts[int(at)], ids[int(at)]
            self._observe.count("entries_refused_by_commission")
            self._observe.log.warning("round.not-signed", reason=reply.reason, size=reply.size)
            return prepared._replace(drafts=drafts, ids=ids)
        if (
            kind == "clock"
        ):  # a busy machine took too long over it, or the clocks differ: then it shows in how long rounds take
            self._observe.count("rounds_late")
            self._observe.log.info("round.late", size=reply.size)
            self._late += 1
            if self._late >= LATE_MOST:
                raise Unavailable("The keepers' clocks differ too much.", code="clock")
            return prepared._replace(time=0)
        if kind == "unproven":
            raise Unavailable("The commission takes only what is proven.", code="unproven")
        if kind == "held":
            raise Unavailable("The commission waits for its operator to confirm the head.", code="commission-held")
        raise Unavailable(f"The commission holds another head ({reply.size}).", code="heads-differ")  # agree anew

    async def _commit(self, prepared: Prepared, proposal: Proposal, reply: Cosigned) -> None:
        if len(reply.fills) != len(prepared.drafts):
            raise NotGenuine("The commission's fills are not of the number proposed.", code="round-reply")
        entries = [rounds.complete(d.entry, f) for d, f in zip(prepared.drafts, reply.fills, strict=True)]

        def stage() -> Staged:
            return self.keeper.stage(proposal.time, entries, proposal.salts)

        await self.take(stage, reply.root, reply.cosignature, prepared.parcels, prepared.repeats, always=self._prove)
        self._done(prepared)

    def _done(self, prepared: Prepared) -> None:
        self._newest = set(prepared.ids)
        self._own = [act for act in self._own if act not in prepared.own]
        self._taken = self._taken[len(prepared.parcels) :]

    async def take(
        self,
        stage: Callable[[], Staged],
        root: bytes,
        cosignature: str,
        parcels: Sequence[Parcel] = (),
        repeats: Sequence[bytes] = (),
        *,
        deliver: bool = True,
        always: bool = False,
    ) -> None:
        """Store one cosigned round and (``deliver``) owe everyone concerned what it means for them.

        ``always``: halt if the commission has not proven its conversions; an adopted round may be from before that was demanded.
        """
        need, keys = self.keeper.state.witnesses if deliver else (0, ())
        staged, note = await asyncio.to_thread(self._finish, stage, root, cosignature, always)
        if need:
            note, deliver = await self._witnessed(note, need, keys)
        deliveries = await asyncio.to_thread(self._deliveries, staged, note) if deliver else {}

        def commit(connection: sa.Connection) -> object:
            head = self.keeper.store(connection, staged, note)
            if not deliver:
                return head
            for recipient, messages in self._again(connection, repeats, deliveries).items():
                self._post.put(connection, recipient, messages)
            self._post.committed(connection, parcels)
            return head

        try:
            head = await self._write(commit)  # type: ignore[misc]
        except BaseException:
            self.keeper.abandon()
            raise
        acts = self.keeper.settle(staged, head)
        self._observe.count("leaves", len(staged.leaves))
        self._observe.count("rounds")
        self._observe.set("log_size", staged.checkpoint.size)
        self._after(acts)

    def _finish(self, stage: Callable[[], Staged], root: bytes, cosignature: str, always: bool) -> tuple[Staged, str]:
        try:
            staged = stage()
            text = staged.checkpoint.to_text()
            note = f"{text}\n{self._signer.sign(text)}{cosignature}"
            if staged.checkpoint.root != root:
                raise NotGenuine("Hub and commission reach different roots.", code="root-differs")
            verify_note(note, self.keeper.state.verifiers)
            for entry in staged.entries:  # nothing is delivered that is proven wrongly, or not though it must be
                rounds.demand_proofs(self.keeper.state, entry, "commission", always=always)
        except RenkeiError as error:
            self.keeper.abandon()
            raise Halted(error.code) from error
        return staged, note

    async def _witnessed(self, note: str, need: int, keys: Sequence[Verifier]) -> tuple[str, bool]:
        """The note with enough cosignatures, and whether its permits may leave: of an adopted round they leave with a later note."""
        try:
            return await self._witnesses.cosigned(note, self.keeper.tree, need, keys), True
        except AheadOfUs:
            self.undelivered = True
            return note, False
        except BaseException:
            self.keeper.abandon()
            raise

    def _deliveries(self, staged: Staged, note: str) -> dict[str, list[Message]]:
        """Who is owed what: the provider its permit, the requester its receipt, an institution its codes."""
        owed: dict[str, list[Message]] = defaultdict(list)
        for position, (leaf, entry) in enumerate(zip(staged.leaves, staged.entries, strict=True), start=staged.first):
            for recipient, message in self._owed(position, leaf, entry, note):
                owed[recipient].append(message)
        return owed

    def _owed(self, position: int, leaf: Leaf, entry: Entry, note: str) -> list[tuple[str, Message]]:
        owed: list[tuple[str, Message]] = []
        if isinstance(entry, PersonalLeaf):
            owed.append((envelope_of(entry).sender, receipt_of(position, entry)))
        if to := receiver_of(entry):
            owed.append((to, self._permit(position, leaf, note)))
        return owed

    def _permit(self, position: int, leaf: Leaf, note: str) -> Permit:
        return self.keeper.permits([position], [leaf], note)[0]

    def _again(
        self,
        connection: sa.Connection,
        repeats: Sequence[bytes],
        deliveries: dict[str, list[Message]],
    ) -> dict[str, list[Message]]:
        """The deliveries of this round, and for repeated inquiries the receipt they already have."""
        owed = {r: list(m) for r, m in deliveries.items()}
        for known in index.known(connection, repeats).values():
            for leaf in log.read(connection, known.position, known.position + 1):
                if leaf.entry is not None:
                    receipt = receipt_of(known.position, decode_as(leaf.entry, InquiryLeaf))
                    owed.setdefault(known.requester, []).append(receipt)
                    self._observe.count("inquiries_repeated")
        return owed

    async def _commit_nothing(self, prepared: Prepared) -> None:
        def commit(connection: sa.Connection) -> None:
            for recipient, messages in self._again(connection, prepared.repeats, {}).items():
                self._post.put(connection, recipient, messages)
            self._post.committed(connection, prepared.parcels)

        await self._write(commit)  # type: ignore[misc]
        self._done(prepared)


def _from_worker(made: bytes | None, envelope: Envelope) -> Draft | None:
    """A worker's draft, if it is one of this envelope. The commission checks it as it checks ours."""
    if not made:
        return None
    try:
        entry = decode_entry(made)
        return Draft(entry, None) if envelope_of(entry) == envelope else None
    except RenkeiError:
        return None


def _batches(parcel: Parcel) -> int:
    """Bytes of the batches in a parcel."""
    sizes = (len(m.envelope.payload) for m in parcel.messages if isinstance(m, Submit))
    return sum(size for size in sizes if size >= BATCH_FROM)
