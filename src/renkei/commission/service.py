"""The commission's life: cosign rounds, finish the portal's conversions, author governance acts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import sqlalchemy as sa

from renkei.codes import Ciphertext, Domain
from renkei.commission.casework import Casework
from renkei.commission.console import console_pages
from renkei.commission.inspection import Inspections
from renkei.commission.monitoring import Monitor
from renkei.commission.officers import Officers
from renkei.commission.register import Register
from renkei.errors import Malformed, NotFound, NotGenuine, RenkeiError, Unavailable
from renkei.institution.auditor import Auditor
from renkei.institution.keeper import Keeper, Staged
from renkei.institution.keyholder import AGAIN_AFTER, Keyholder
from renkei.institution.post import Parcel, Post
from renkei.institution.runtime import Institution
from renkei.institution.settings import Clock, system_clock
from renkei.institution.web import Health, serve
from renkei.institution.workers import Workers, costly
from renkei.ledger import store as log
from renkei.ledger.notes import COSIGNATURE, Checkpoint, verify_note
from renkei.messages.wire import (
    Assessment,
    Call,
    Cosigned,
    Enrol,
    Enrolment,
    Envelope,
    Filed,
    FileHalf,
    Fill,
    GetFiled,
    GetHead,
    GetProofs,
    GetRounds,
    GetShare,
    HeadIs,
    NotSigned,
    Proposal,
    Reply,
    RoundCopy,
    Rounds,
    Submit,
    Work,
    decode_as,
    decode_reply,
    encode,
)
from renkei.record import rounds
from renkei.record import store as index
from renkei.record.entries import Entry, PersonalLeaf, decode_entry, envelope_of, said
from renkei.record.permit import SALT_SIZE
from renkei.record.state import domain_of

CLOCK_TOLERANCE = 2000
"""Milliseconds by which a round's time may differ from the commission's clock."""
LOOK_EVERY = 0.5
TRAIL_EVERY = 3600.0
"""Seconds between two entries of the trail's root into the record: each is an act for ever."""
MESSAGES_AT_ONCE = 64


class Seeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``assessments.toml``: impact assessments to publish (until the commission has its console)."""

    assessments: tuple[dict[str, str | list[str]], ...] = ()


class Commission(Institution):
    """The second keeper."""

    packages = ("institution", "ledger", "record", "commission")

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        super().__init__(folder, clock=clock)
        self.keeper = Keeper(self.home, self.database)
        self.converter = self.keys.converter()
        self.signer = self.keys.log_signer(self.keeper.state.commission_key.name, COSIGNATURE)
        self.post = Post(self.keys, self.bus, self.database, self.keeper.directory, self.observe)
        self.keyholder = Keyholder("commission", self.converter, self.keys.identity, self.keeper, self.post)
        self.auditor = Auditor(
            "commission",
            "hub",
            self.keeper,
            self.converter,
            self.database,
            self.post,
            self.observe,
            self.settings.audit_share,
        )
        self.workers = Workers(self.keys, self.bus, self.observe, self.settings.workers)
        self.officers = Officers(self.home)
        self.casework = Casework(self.keys, self.keeper, self.database, self.post, self.observe, clock)
        self.monitor = Monitor(self.keys, self.keeper, self.database, self.casework, self.observe, clock)
        self.inspections = Inspections(self.keys, self.keeper, self.database, self.post)
        self.register = Register(self.keeper, self.database, self.casework, clock)
        self._lock = asyncio.Lock()
        self._tokens = float(self.settings.file_rate)
        self._tokens_at = time.monotonic()
        self._seeded: dict[bytes, float] = {}

    async def start(self) -> None:
        await self.join()
        await self.post.start(self.answer)
        self.keep(lambda: self.post.consume(self._take, MESSAGES_AT_ONCE), "worker")
        handlers, options = console_pages(self)
        self.run(serve(self.settings, self.observe, handlers, self.health, **options), "web")
        self.keep(self._govern, "governance")
        self.keep(self.auditor.run, "audit")
        self.keep(lambda: self.keeper.retain(self.clock), "retention")
        self.keep(self._publish_trail, "trail")
        self.keep(self.monitor.run, "monitor")

    async def stop(self) -> None:
        await self.post.close()
        await super().stop()

    def report(self) -> Health:
        held = self.database.read_now(lambda c: index.flag(c, "held")) or ""
        audit = self.auditor.report()
        return Health(not held and not audit, {"log_size": str(self.keeper.tree.size), "held": held, **audit})

    async def answer(self, sender: str, call: Call) -> Reply:
        """Answer another institution's question."""
        match call:
            case Proposal() if sender == "hub":
                async with self._lock:
                    return await self._cosign(call)
            case Rounds() if sender == "hub":
                async with self._lock:
                    return await self._restore(call)
            case GetHead():
                return self.keeper.head_is(self.clock())
            case GetRounds() if sender == "hub":
                return Rounds(await asyncio.to_thread(self.keeper.rounds_after, call.size))
            case GetShare():
                return self.keyholder.share_for(sender, domain_of(call.domain))
            case GetProofs():
                await asyncio.to_thread(self.keeper.may_challenge, sender, call.indexes)
                return await asyncio.to_thread(self.auditor.prove, call.indexes)
            case GetFiled() if self.keeper.state.body(sender).role == "portal":
                return await asyncio.to_thread(self._finish_halves, sender, domain_of(call.target), call.halves)
        raise NotFound("The commission does not answer this to you.", code="not-entitled")

    # ------------------------------------------------------------------ rounds

    async def _cosign(self, proposal: Proposal) -> Reply:
        """Check, convert, store, then sign: the reply is durable before it is given."""
        digest = proposal.digest
        stored = await self.database.read(lambda c: index.reply_to(c, proposal.previous_size, digest))
        if stored is not None:
            return decode_reply(stored)
        await self.keeper.settled()
        tree = self.keeper.tree
        if await self.database.read(lambda c: index.flag(c, "held")):
            return NotSigned("held", tree.size, tree.root())
        if (proposal.previous_size, proposal.previous_root) != (tree.size, tree.root()):
            if proposal.previous_size == tree.size:  # one size, two histories
                await self.database.write(lambda c: index.set_flag(c, "fork", str(tree.size)))
            return NotSigned("head", tree.size, tree.root())
        last = self.keeper.head.time if self.keeper.head else 0
        if proposal.time < last or abs(proposal.time - self.clock()) > CLOCK_TOLERANCE:
            self.observe.count("rounds_out_of_time")
            return NotSigned("clock", tree.size, tree.root())
        began = time.perf_counter()
        try:
            entries, fills = await self._fill(proposal)
        except _BadEntry as bad:
            self.observe.log.warning("round.entry-refused", reason=bad.code)
            if bad.code != "no-pack":  # the hub announced a law that our operator has not given us: no alarm, a wait
                self.observe.count("alarms")
            reason = "unproven" if bad.code == "unproven" else f"entry:{bad.at}"
            return NotSigned(reason, tree.size, tree.root())
        reply = await self._store(proposal, entries, fills, digest)
        self.observe.time("round", time.perf_counter() - began)
        return reply

    async def _fill(self, proposal: Proposal) -> tuple[list[Entry], list[Fill]]:
        """Every entry decoded, and our part of it, made here or by workers."""
        entries = await asyncio.to_thread(self._open, proposal)
        hard = [at for at, d in enumerate(proposal.drafts) if costly(d)] if self.workers.count else []
        work = Work(self.keeper.state.next_index, proposal.time, drafts=[proposal.drafts[at] for at in hard])
        made = await self.workers.ask(msgspec.structs.replace(work, prove=self.settings.proves))
        worked = dict(zip(hard, made, strict=True))
        return entries, await asyncio.to_thread(self._fills, proposal, entries, worked)

    def _open(self, proposal: Proposal) -> list[Entry]:
        """The entries of a well-formed proposal, none of which is in the record."""
        if not proposal.drafts or len(proposal.drafts) != len(proposal.salts):
            raise NotGenuine("A round has as many salts as entries.", code="round-form")
        entries: list[Entry] = []
        ids: list[bytes] = []
        for at, draft in enumerate(proposal.drafts):
            try:
                entries.append(decode_entry(draft))
                if len(proposal.salts[at]) != SALT_SIZE:
                    raise NotGenuine("A salt is 16 bytes.", code="round-form")
                ids.append(envelope_of(entries[at]).id)
            except RenkeiError as error:
                raise _BadEntry(at, error.code) from error
        seen = self.database.read_now(lambda c: index.entered(c, ids))
        for at, id_ in enumerate(ids):
            if id_ in seen:  # one leaf per envelope
                raise _BadEntry(at, "repeated")
            seen.add(id_)
        return entries

    def _fills(self, proposal: Proposal, entries: list[Entry], worked: Mapping[int, bytes]) -> list[Fill]:
        fills = []
        keeper, prove = self.keeper, self.settings.proves
        for at, entry in enumerate(entries):
            try:
                fills.append(
                    _from_worker(worked.get(at), entry)
                    or rounds.fill(
                        keeper.state,
                        self.converter,
                        keeper.permitted,
                        entry,
                        proposal.time,
                        prove=prove,
                        unveil=rounds.unveil_with(self.keys.hide, keeper.state),
                    )
                )
            except RenkeiError as error:
                raise _BadEntry(at, error.code) from error
        return fills

    async def _store(self, proposal: Proposal, entries: list[Entry], fills: list[Fill], digest: bytes) -> Reply:
        def finish() -> tuple[Staged, str, str]:
            complete = [rounds.complete(e, f) for e, f in zip(entries, fills, strict=True)]
            staged = self.keeper.stage(proposal.time, complete, proposal.salts)
            text = staged.checkpoint.to_text()
            return staged, text, self.signer.sign(text, time=proposal.time // 1000)

        staged, text, line = await asyncio.to_thread(finish)
        reply = Cosigned(fills, staged.checkpoint.root, line)

        def commit(connection: sa.Connection) -> log.Head:
            index.put_reply(connection, proposal.previous_size, digest, encode(reply))
            self.casework.recorded(connection, staged.entries)
            return self.keeper.store(connection, staged, f"{text}\n{line}")

        try:
            head = await self.database.write(commit)
        except BaseException:
            self.keeper.abandon()
            raise
        acts = self.keeper.settle(staged, head)
        self.observe.set("log_size", self.keeper.tree.size)
        self._after(acts)
        return reply

    def _after(self, acts: Sequence[Envelope]) -> None:
        if acts:
            self.run(self.keyholder.publish(self._submit), "keys")

    async def _restore(self, given: Rounds) -> Reply:
        """The hub is ahead: this copy was restored. Take back what carries our own cosignature, and hold.

        Signing resumes when an operator confirms that no institution holds a permit beyond this head.
        """
        await self._hold()  # first, so that a crash in between leaves it held
        await self.keeper.settled()
        for copy in given.rounds:
            await self._restore_one(copy)
        await self._hold()
        self.observe.log.error("commission.held", size=self.keeper.tree.size)
        self.observe.count("alarms")
        return HeadIs(self.keeper.tree.size, self.keeper.tree.root(), "")

    async def _hold(self) -> None:
        size = str(self.keeper.tree.size)
        await self.database.write(lambda c: index.set_flag(c, "held", size))

    async def _restore_one(self, copy: RoundCopy) -> None:
        text = verify_note(copy.checkpoint, [self.keeper.state.commission_key])
        staged = self.keeper.stage_copy(copy)
        if Checkpoint.from_text(text) != staged.checkpoint:
            self.keeper.abandon()
            raise NotGenuine("The hub's round is not the one we signed.", code="root-differs")

        def commit(connection: sa.Connection) -> log.Head:
            self.casework.recorded(connection, staged.entries)
            return self.keeper.store(connection, staged, copy.checkpoint)

        try:
            head = await self.database.write(commit)
        except BaseException:
            self.keeper.abandon()
            raise
        self.keeper.settle(staged, head)

    async def confirm(self, size: int) -> None:
        """An operator confirms the restored head; signing resumes. ``Unavailable`` if the log is smaller than ``size``."""
        if self.keeper.tree.size < size:
            raise Unavailable(f"The log here has only {self.keeper.tree.size} leaves.", code="head-too-old")
        await self.database.write(lambda c: index.set_flag(c, "held", None))

    # ------------------------------------------------------------------ the citizen's copy

    def _finish_halves(self, portal: str, target: Domain, halves: list[FileHalf]) -> Reply:
        """Finish conversions towards the portal, only of leaves that are in the record and only so many a second."""
        now = time.monotonic()
        rate = float(self.settings.file_rate)
        self._tokens = min(rate, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < len(halves):
            raise Unavailable("The portal asks for more conversions than it may.", code="rate", status=429)
        self._tokens -= len(halves)
        if target.body != portal or not self.keeper.state.is_valid(target):
            raise NotFound("The portal has no such domain.", code="no-domain")
        leaves = self.database.read_now(lambda c: log.at(c, [h.index for h in halves]))
        converted = []
        for half in halves:
            leaf = leaves.get(half.index)
            entry = decode_entry(leaf.entry) if leaf is not None and leaf.entry is not None else None
            if not isinstance(entry, PersonalLeaf):
                raise NotFound("Nothing in the record there is about a person.", code="no-leaf")
            given = Ciphertext.split(half.half)
            converted.append(self.converter.convert(domain_of(said(entry).source), target, given).to_bytes())
        return Filed(converted)

    # ------------------------------------------------------------------ the officers' desk

    async def _take(self, parcels: list[Parcel]) -> None:
        work = self.casework.take([(p.sender, m) for p in parcels for m in p.messages], self.monitor.unknown)

        def commit(connection: sa.Connection) -> None:
            work(connection)
            self.post.committed(connection, parcels)

        await self.database.write(commit)

    async def _publish_trail(self) -> None:
        while True:
            await self.casework.publish_trail()
            await asyncio.sleep(TRAIL_EVERY)

    # ------------------------------------------------------------------ governance

    async def _govern(self) -> None:
        """Turn what operators put into the home folder into acts: ``enrolments/*.bin`` and ``assessments.toml``."""
        while True:
            await self.keyholder.publish(self._submit)
            for act in await asyncio.to_thread(self._seed_acts):
                await self.post.send("hub", [Submit(act)])
            await self._look_for_confirmation()
            await asyncio.sleep(LOOK_EVERY)

    async def _look_for_confirmation(self) -> None:
        """Take up what an operator wrote into ``confirm``; a wrong figure is logged, once, and changes nothing."""
        path = self.home / "confirm"
        if not path.exists():
            return
        text = path.read_text("ascii", "replace").strip()
        path.unlink()
        try:
            if not (text.isdecimal() and len(text) < 16):
                raise Malformed("`confirm` holds a log size.", code="confirm")
            await self.confirm(int(text))
        except RenkeiError as error:
            self.observe.log.error("commission.not-confirmed", reason=error.code)

    def _seed_acts(self) -> list[Envelope]:
        acts, state = [], self.keeper.state
        for path in sorted((self.home / "enrolments").glob("*.bin")):
            try:
                envelope = decode_as(path.read_bytes(), Envelope)
                enrolment = decode_as(envelope.payload, Enrolment)
            except RenkeiError as error:
                if self._due(path.name.encode()):
                    self.observe.log.error("enrolment.unreadable", file=path.name, reason=error.code)
                continue
            if enrolment.body not in state.bodies and self._due(envelope.id):
                acts.append(self.keys.identity.sign(Enrol(envelope)))
        if (self.home / "assessments.toml").exists():
            for seed in self.home.read_toml("assessments.toml", Seeds).assessments:
                assessment = msgspec.convert({"type": "assessment/1", **seed}, Assessment)
                published = assessment.name in state.oversight.assessments.get(assessment.body, {})
                if assessment.body in state.bodies and not published and self._due(encode(assessment)):
                    acts.append(self.keys.identity.sign(assessment))
        return acts

    def _due(self, name: bytes) -> bool:
        """Whether an act not yet in the record should be submitted (again) now."""
        now = time.monotonic()
        if now - self._seeded.get(name, -AGAIN_AFTER) < AGAIN_AFTER:
            return False
        self._seeded[name] = now
        return True

    def _submit(self, act: Envelope) -> None:
        self.run(self.post.send("hub", [Submit(act)]), "act")


def _from_worker(made: bytes | None, entry: Entry) -> Fill | None:
    """A worker's part of an entry, if it fits."""
    if not made:
        return None
    try:
        fill = decode_as(made, Fill)
        rounds.complete(entry, fill)
    except RenkeiError:
        return None
    return fill


class _BadEntry(NotGenuine):
    """The hub proposed an entry that may not be a leaf."""

    def __init__(self, at: int, code: str) -> None:
        super().__init__(f"Entry {at} of the proposal is refused.", code=code)
        self.at = at
