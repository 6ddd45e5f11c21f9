"""The hub's life: agree on heads with the commission, sequence, answer calls; or stand by while another process of the hub does.

One process sequences. Any other with the same keys (and a database of its own) finds it at work, follows the commission's copy, and
takes over when it has fallen silent. Two who both believe they are it harm nothing but each other's time: the commission signs one round
on one head. Whoever finds rounds it did not propose stops, and stands by when it is started again.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from litestar import MediaType, get
from litestar.params import QueryParameter

from renkei.codes import Ciphertext
from renkei.errors import NotFound, NotGenuine, RenkeiError, Unavailable
from renkei.hub.sequencer import Halted, Sequencer
from renkei.hub.witnesses import Witnesses
from renkei.institution.auditor import Auditor
from renkei.institution.keeper import NEXT_LAW, Keeper, law_library
from renkei.institution.keyholder import Keyholder
from renkei.institution.post import Post
from renkei.institution.runtime import Institution
from renkei.institution.settings import Clock, system_clock
from renkei.institution.web import Health, serve
from renkei.institution.workers import Workers
from renkei.ledger import store as log
from renkei.ledger.notes import NOTE, Checkpoint, split_note, verify_note
from renkei.messages.wire import (
    Acts,
    Blob,
    Call,
    Envelope,
    GetActs,
    GetBlob,
    GetHead,
    GetPermit,
    GetProofs,
    GetRounds,
    GetShare,
    GetTail,
    HeadIs,
    LawVersion,
    Permit,
    Permitted,
    Reply,
    RoundCopy,
    Rounds,
    Tail,
    TailLeaf,
)
from renkei.record import store as index
from renkei.record.entries import PersonalLeaf, decode_entry, envelope_of, receiver_of, said
from renkei.record.state import domain_of, ref_of

ACTS_AT_ONCE = 64
TAIL_AT_ONCE = 256
FILED = ("inquiry", "change", "end", "outcome")
"""Kinds of leaves that the portal is sent and not only told the hash of."""
Size = Annotated[int, QueryParameter(ge=0, lt=2**53)]

RECOVER_WITHIN = 10.0
"""Seconds after which a question of recovery is asked again: who was asked may have been restarted meanwhile."""
PULSE = 2.0
"""Seconds between two looks whether the commission is there."""
APART_MOST = 1000
"""Milliseconds by which the keepers' clocks may differ before ``/health`` says so: from 2 s on the commission signs nothing."""
LOOK_EVERY = 0.5
LAW_AGAIN = 3.0
"""Seconds after which the law that is to take effect is submitted again."""
SILENT_LOOKS = 4
"""Looks in a row that find no hub at work, after which the standby takes over."""
DELIVERED_AGAIN = 600_000
"""Milliseconds of the record from which the standby delivers again what has no outcome; for what is older, requesters remind."""


class Hub(Institution):
    """The linkage hub."""

    packages = ("institution", "ledger", "record")

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        super().__init__(folder, clock=clock)
        self.keeper = Keeper(self.home, self.database)
        self.converter = self.keys.converter()
        self.post = Post(self.keys, self.bus, self.database, self.keeper.directory, self.observe)
        self.witnesses = Witnesses(self.settings.witnesses, self.observe)
        self.sequencer = Sequencer(
            self.keeper,
            self.converter,
            self.keys.log_signer(self.keeper.origin, NOTE),
            self.post,
            self.observe,
            write=self.database.write,
            clock=clock,
            round_size=self.settings.round_size,
            prove=self.settings.proves,
            workers=Workers(self.keys, self.bus, self.observe, self.settings.workers),
            witnesses=self.witnesses,
            after=self._after_round,
        )
        self.keyholder = Keyholder("hub", self.converter, self.keys.identity, self.keeper, self.post)
        self.auditor = Auditor(
            "hub",
            "commission",
            self.keeper,
            self.converter,
            self.database,
            self.post,
            self.observe,
            self.settings.audit_share,
        )
        self.halted = ""
        self.standing_by = False
        self._announced = -LAW_AGAIN
        self._waiting_law = ""
        """What was announced and the commission has not taken yet."""
        self._apart = 0
        """Milliseconds by which the commission's clock is ahead of ours."""

    async def start(self) -> None:
        await self.join()
        self.run(serve(self.settings, self.observe, [self._consistency()], self.health), "web")
        if await self._at_work() == "nobody":
            await self._take_up()
        else:
            self.standing_by = True
            self.keep(self._stand_by, "standby")

    async def _take_up(self) -> None:
        await self.post.start(self.answer)
        self.keep(self._keep, "sequencer")
        self.keep(self._publish, "keys")
        self.keep(self.auditor.run, "audit")
        self.keep(lambda: self.keeper.retain(self.clock), "retention")
        self.keep(self._pulse, "pulse")
        if self.settings.witnesses:
            self.keep(self._show, "witnesses")

    async def stop(self) -> None:
        await self.post.close()
        await super().stop()

    def report(self) -> Health:
        details = {"log_size": str(self.keeper.tree.size), "halted": self.halted}
        if self.standing_by:
            return Health(True, {**details, "standby": "true"})
        wrong = self.auditor.report()
        if abs(self._apart) > APART_MOST:
            wrong["clock_apart_ms"] = str(self._apart)
        if self._waiting_law:
            details["law_waits_for_commission"] = self._waiting_law
        return Health(not self.halted and not wrong, {**details, **wrong})

    def _consistency(self) -> Any:
        """``GET /consistency?old=&new=``: for witnesses that compare notes, that one checkpoint's log is the beginning of another's."""

        @get("/consistency", media_type=MediaType.TEXT, summary="Proof that the record only grew", tags=["record"])
        async def consistency(old: Size, new: Size) -> str:
            if not 0 < old <= new <= self.keeper.tree.size:
                raise NotFound("The record has no such sizes.", ja="記録にその件数はありません。", code="no-size")
            path = await asyncio.to_thread(self.keeper.tree.consistency, old, new)
            return "".join(base64.b64encode(h).decode() + "\n" for h in path)

        return consistency

    # ------------------------------------------------------------------ standing by

    async def _at_work(self) -> str:
        """Which answer the hub's name gets: ``somebody``, ``silence``, or that there is ``nobody``."""
        try:
            await self.post.call("hub", GetHead(), timeout=LOOK_EVERY)
        except RenkeiError as error:
            if error.code == "nobody":
                return "nobody"
            return "silence" if isinstance(error, Unavailable) else "somebody"  # also a refusal is an answer
        return "somebody"

    async def _stand_by(self) -> None:
        """Follow the commission's copy until somebody has not been at work for some looks; then take over."""
        silent = 0
        while silent < SILENT_LOOKS:
            await asyncio.sleep(LOOK_EVERY)
            silent = 0 if await self._at_work() == "somebody" else silent + 1
            with contextlib.suppress(RenkeiError):  # the commission is away, or has nothing new
                await self.keeper.settled()
                while await self._adopt(self.keeper.tree.size, deliver=False):
                    pass
        self.observe.log.warning("hub.takes-over", size=self.keeper.tree.size)
        self.observe.count("takeovers")
        self.post.forget_silence("hub")
        self.standing_by = False
        await self._take_up()
        self.keep(self._deliver_again, "deliver")

    async def _deliver_again(self) -> None:
        """What the last minutes' leaves owe and has no outcome: whoever sequenced before us may not have delivered it."""
        first = await self.database.read(lambda c: log.size_at(c, self.clock() - DELIVERED_AGAIN))
        end = self.keeper.head.size if self.keeper.head else 0
        for at in range(first, end, TAIL_AT_ONCE):
            for recipient, permits in (await asyncio.to_thread(self._open_in, at, min(at + TAIL_AT_ONCE, end))).items():
                await self.post.send(recipient, permits)

    def _open_in(self, first: int, end: int) -> dict[str, list[Permit]]:
        """Permits of inquiries without an outcome, and of what has none, at these positions; by who is owed them."""
        head = self.keeper.head
        owed: dict[str, list[Permit]] = {}
        if head is None:
            return owed
        with self.database.engine.connect() as connection:
            open_ = {k.position for k in index.open_between(connection, first, end)}
            for position, leaf in enumerate(log.read(connection, first, end), start=first):
                if leaf.entry is None or (leaf.kind == "inquiry" and position not in open_):
                    continue
                if to := receiver_of(decode_entry(leaf.entry)):
                    path = self.keeper.tree.inclusion(position, head.size)
                    permit = Permit(position, leaf.salt or b"", leaf.entry, path, head.note)
                    owed.setdefault(to, []).append(permit)
        return owed

    async def _keep(self) -> None:
        """Agree on heads, then sequence; again after any interruption. Stops only if the copies disagree."""
        while not self.halted:
            try:
                await self._agree()
                await self.sequencer.run()
            except Halted as reason:
                self.halted = str(reason)
                self.observe.log.error("hub.halted", reason=self.halted)
                self.observe.count("alarms")
            except RenkeiError as error:
                self.observe.log.warning("hub.waiting", reason=error.code)
                await asyncio.sleep(0.5)
            except sa.exc.OperationalError:
                self.observe.log.warning("hub.waiting", reason="database")
                await asyncio.sleep(0.5)

    async def _show(self) -> None:
        """Show the witnesses the newest checkpoint, unless the law makes every round wait for them."""
        shown = 0
        while True:
            head = self.keeper.head
            if head and head.size > shown and not self.keeper.state.witnesses[0]:
                await self.witnesses.show_all(head.note, self.keeper.tree)
                shown = head.size
            await asyncio.sleep(1)

    async def _publish(self) -> None:
        while True:
            await self.keyholder.publish(self.sequencer.submit)
            self._publish_law()
            await asyncio.sleep(1)

    def _publish_law(self) -> None:
        """Submit the law that the operator announced, again and again until it is in force: the commission may not have it yet."""
        path = self.home / NEXT_LAW
        if not path.exists():
            return
        try:
            pack = law_library(self.home)(bytes.fromhex(path.read_text("ascii").strip()))
        except (RenkeiError, ValueError) as error:
            self.observe.log.error("law.unreadable", reason=getattr(error, "code", "") or "form")
            path.unlink()
            return
        if self.keeper.state.pack.hash == pack.hash:
            self.observe.log.info("law.in-force", pack=pack.reference)
            self._waiting_law = ""
            path.unlink()
        elif time.monotonic() - self._announced >= LAW_AGAIN:
            self._announced = time.monotonic()
            if self._waiting_law != pack.reference:
                self._waiting_law = pack.reference
                self.observe.log.info("law.announced", pack=pack.reference)
            act = LawVersion(pack.header.id, pack.header.version, pack.hash)
            self.sequencer.submit(self.keys.identity.sign(act))

    async def _pulse(self) -> None:
        """Without the commission nothing is recorded: notice it before somebody asks."""
        while True:
            await asyncio.sleep(PULSE)
            with contextlib.suppress(RenkeiError):
                before = self.clock()
                reply = await self.post.call("commission", GetHead(), timeout=PULSE)
                if isinstance(reply, HeadIs):
                    self._apart = reply.time - (before + self.clock()) // 2
                    self.observe.set("commission_clock_seconds", self._apart / 1000)

    def _after_round(self, acts: Sequence[Envelope]) -> None:
        if acts and not self.standing_by:
            self.run(self.keyholder.publish(self.sequencer.submit), "keys")

    # ------------------------------------------------------------------ recovery: heads are compared at start

    async def _agree(self) -> None:
        """Bring both copies to one head: adopt what only the commission has, hand over what only we have."""
        while True:
            head = await self._commission_head()
            await self.keeper.settled()
            tree = self.keeper.tree
            if head.size == tree.size:
                if head.root != tree.root():
                    raise Halted("equal size, different roots")
                if self.sequencer.undelivered:
                    await self._deliver_again()
                    self.sequencer.undelivered = False
                return
            if head.size < tree.size:
                if head.root != tree.root(head.size):
                    raise Halted("the commission's log is not a prefix of ours")
                rounds = await asyncio.to_thread(self.keeper.rounds_after, head.size)
                await self.post.call("commission", Rounds(rounds), timeout=RECOVER_WITHIN)
            else:
                await self._adopt(tree.size)
                if self.sequencer.superseded:
                    self.over.set()
                    raise Halted("another process of the hub sequences")

    async def _commission_head(self) -> HeadIs:
        while True:
            try:
                reply = await self.post.call("commission", GetHead())
            except Unavailable:
                await asyncio.sleep(0.2)
                continue
            if isinstance(reply, HeadIs):
                return reply
            raise NotGenuine("The commission answered something else.", code="round-reply")

    async def _adopt(self, size: int, *, deliver: bool = True) -> int:
        """Take over rounds that only the commission has; how many."""
        reply = await self.post.call("commission", GetRounds(size), timeout=RECOVER_WITHIN)
        if not isinstance(reply, Rounds) or (deliver and not reply.rounds):
            raise Halted("the commission is ahead but does not hand over its rounds")
        for copy in reply.rounds:
            await self._adopt_one(copy, deliver)
        self.observe.count("rounds_adopted", len(reply.rounds))
        return len(reply.rounds)

    async def _adopt_one(self, copy: RoundCopy, deliver: bool) -> None:
        try:
            text = verify_note(copy.checkpoint, [self.keeper.state.commission_key])
        except RenkeiError as error:
            raise Halted(error.code) from error
        line = next(
            s for s in split_note(copy.checkpoint)[1] if s.startswith(f"— {self.keeper.state.commission_key.name} ")
        )
        root = Checkpoint.from_text(text).root
        await self.sequencer.take(lambda: self.keeper.stage_copy(copy), root, line + "\n", deliver=deliver)
        self.sequencer.compare(copy)

    # ------------------------------------------------------------------ calls

    async def answer(self, sender: str, call: Call) -> Reply:
        """Answer another institution's question."""
        match call:
            case GetActs():
                return await asyncio.to_thread(self._acts, call.index)
            case GetBlob():
                return Blob(law_library(self.home)(call.hash).archive)
            case GetHead():
                return self.keeper.head_is(self.clock())
            case GetPermit():
                return await asyncio.to_thread(self._proof, sender, call.inquiry)
            case GetTail() if self.keeper.state.body(sender).role == "portal":
                return await asyncio.to_thread(self._tail, sender, call.index)
            case GetShare():
                return self.keyholder.share_for(sender, domain_of(call.domain))
            case GetProofs():
                await asyncio.to_thread(self.keeper.may_challenge, sender, call.indexes)
                return await asyncio.to_thread(self.auditor.prove, call.indexes)
            case GetRounds() if sender == "commission":
                return Rounds(await asyncio.to_thread(self.keeper.rounds_after, call.size))
        raise NotFound("The hub does not answer this to you.", code="not-entitled")

    def _acts(self, first: int) -> Acts:
        head = self.keeper.head
        if head is None:
            return Acts([], self.clock())
        found: list[tuple[int, log.Leaf]] = []
        with self.database.engine.connect() as connection:
            for position, leaf in log.replay(connection, "act", first=first, batch=ACTS_AT_ONCE):
                if position >= head.size or len(found) == ACTS_AT_ONCE:
                    break
                found.append((position, leaf))
        # Proofs lead to `head`, which a round finishing meanwhile may have passed: ask for that size.
        return Acts(
            [
                Permit(
                    p,
                    leaf.salt or b"",
                    leaf.entry or b"",
                    self.keeper.tree.inclusion(p, head.size),
                    head.note,
                )
                for p, leaf in found
            ],
            self.clock(),
        )

    def _proof(self, sender: str, inquiry: bytes) -> Permitted:
        """The leaf of an inquiry, for its two parties."""
        head = self.keeper.head
        with self.database.engine.connect() as connection:
            known = index.known(connection, [inquiry]).get(inquiry)
            leaves = log.read(connection, known.position, known.position + 1) if known else []
        if known is None or head is None or sender not in (known.requester, known.provider) or leaves[0].entry is None:
            raise NotFound("There is no such inquiry of yours in the record.", code="no-leaf")
        path = self.keeper.tree.inclusion(known.position, head.size)
        return Permitted(Permit(known.position, leaves[0].salt or b"", leaves[0].entry, path, head.note))

    def _tail(self, portal: str, first: int) -> Tail:
        """Leaves for the portal, what is about a person with our half of the conversion towards it."""
        head, target = self.keeper.head, self.keeper.state.domain(portal)
        if head is None or target is None:
            return Tail([], "")
        with self.database.engine.connect() as connection:
            leaves = log.read(connection, first, min(head.size, first + TAIL_AT_ONCE))
        rows = []
        for leaf in leaves:
            if leaf.entry is None or leaf.salt is None or leaf.kind not in FILED:
                rows.append(TailLeaf(leaf.hash))
                continue
            half = b""
            entry = decode_entry(leaf.entry)
            if isinstance(entry, PersonalLeaf):
                body = said(entry)
                source = domain_of(body.source)
                if source.body == envelope_of(entry).sender and self.keeper.state.has_domain(source):
                    try:
                        given = Ciphertext.split(body.ciphertext)
                        half = self.converter.convert(source, target, given).to_bytes()
                    except RenkeiError:  # an ill-formed code was refused and concerns nobody who could be told
                        half = b""
            rows.append(TailLeaf(leaf.hash, leaf.salt, leaf.entry, half))
        return Tail(rows, head.note, ref_of(target))
