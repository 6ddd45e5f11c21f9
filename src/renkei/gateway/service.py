"""The gateway's life: join, receive, answer, expire; and the web interface around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from renkei.errors import NotFound, NotGenuine, RenkeiError, Unavailable
from renkei.gateway import adapter, notice_store, store
from renkei.gateway.adapter import Adapter
from renkei.gateway.answering import Answering
from renkei.gateway.api import api
from renkei.gateway.applications import Applications
from renkei.gateway.batches import Batches
from renkei.gateway.desk import Desk
from renkei.gateway.document_pages import document_pages
from renkei.gateway.documents import Documents
from renkei.gateway.eligibility import Eligibility, eligibility_api
from renkei.gateway.letter_api import letter_api
from renkei.gateway.notices import Notices
from renkei.gateway.offering import Offering
from renkei.gateway.own import Own
from renkei.gateway.pages import SESSION_HOURS, desk_pages
from renkei.gateway.representation import Representation
from renkei.gateway.seal import Seal
from renkei.gateway.subscriptions import Subscribers, Subscriptions
from renkei.gateway.supervision import Supervision
from renkei.gateway.upkeep import Upkeep
from renkei.gateway.visits import Visits
from renkei.institution import entry, subjects
from renkei.institution.directory import HOURS as DIRECTORY_HOURS
from renkei.institution.directory import Directory
from renkei.institution.entry import Entry
from renkei.institution.letters import Letters, letters
from renkei.institution.member import Member
from renkei.institution.post import Parcel, Post
from renkei.institution.rotation import CodeTable, Rotation
from renkei.institution.runtime import Institution
from renkei.institution.settings import Clerk, Clock, Duty, system_clock
from renkei.institution.web import Health, serve
from renkei.messages.wire import (
    Answer,
    CodeRefused,
    Demand,
    Enclosure,
    GetPermit,
    GetProofs,
    KeyShare,
    Message,
    OwnProof,
    Permit,
    Permitted,
    Proofs,
    Receipt,
    Received,
    Remind,
    decode_as,
)
from renkei.record import rounds
from renkei.record.entries import ChangeLeaf, EndLeaf, InquiryLeaf, IssuanceLeaf, LetterLeaf, envelope_of
from renkei.record.state import CONVERTERS

if TYPE_CHECKING:
    from renkei.institution.ldap import Ldap

MESSAGES_AT_ONCE = 512
SWEEP_EVERY = 5.0
FETCHED_AT_ONCE = 16
REMINDERS_AT_ONCE = 64


class Gateway(Institution):
    """One institution's node."""

    packages = ("institution", "gateway")

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        super().__init__(folder, clock=clock)
        s = self.settings
        self.member = Member(self.home, self.keys, self.database, self.observe, clock)
        self.post = Post(self.keys, self.bus, self.database, self.member.directory, self.observe)
        self.member.post = self.post
        self.post.unknown_sender = self.member.want
        codes = [CodeTable(subjects.subjects, "local_id"), CodeTable(letters, "id")]
        self.rotation = Rotation(self.home, self.keys, self.member, self.database, self.post, self.observe, codes)
        self.adapter = self._open_adapter()
        self.upkeep = self._open_upkeep()
        self.offering = self._open_offering()
        self.desk = Desk(self.keys, self.member, self.database, self.post, self.observe, clock, s.backlog_most)
        self.answering = Answering(
            self.keys, self.member, self.database, self.post, self.observe, clock, self.adapter, prove=s.proves
        )
        self.subscriptions = Subscriptions(
            self.keys, self.member, self.database, self.post, self.observe, clock, self.desk, prove=s.proves
        )
        self.subscribers = Subscribers(
            self.keys,
            self.member,
            self.database,
            self.post,
            self.observe,
            clock,
            self.answering.current,
            s.changes_minutes,
        )
        self.supervision = Supervision(s.body, self.member, self.database, self.post, self.observe, clock)
        self._fetching: set[bytes] = set()
        """Inquiries whose permit is being fetched from the hub."""
        self.entry = Entry(s, self.member, self.database, self.post, clock)
        self.own = self._open_own()
        self.applications = Applications(
            self.member, self.database, self.post, self.observe, clock, self.entry.signatures, self.answering.current
        )
        self.letters = Letters(
            self.keys,
            self.member,
            self.database,
            self.post,
            self.observe,
            clock,
            self.applications,
            prove=s.proves,
        )
        self.applications.letters = self.letters
        self.notices = self._open_notices()
        self.representation = Representation(
            s.body, self.letters, self.member, self.database, clock, self.answering.current
        )
        self.documents = self._open_documents()
        back = f"{s.origin}/signin/directory/back"
        self.directory = Directory(s.directory, back) if s.directory is not None else None
        self.ldap = self._open_ldap()
        self.visits = Visits(s.body, self.keys, self.member, self.database, self.desk, clock)
        self.batches = Batches(self.home / "uploads", self.desk, self.database, self.observe, clock, s.max_upload_rows)

    def _open_own(self) -> Own | None:
        s = self.settings
        if not self.entry.open or not s.portal:
            return None
        return Own(s, self.entry, self.member, self.database, self.post, self.observe, self.answering, self.clock)

    def _open_notices(self) -> Notices:
        s = self.settings
        held = sorted(self.adapter.items) if self.adapter else []
        return Notices(
            s.body,
            held,
            self.letters,
            self.member,
            self.database,
            self.post,
            self.observe,
            self.clock,
            self.answering.current,
            s.notices_minutes,
        )

    def _open_ldap(self) -> Ldap | None:
        if self.settings.ldap is None:
            return None
        from renkei.institution.ldap import Ldap  # few have one, and its library is large

        return Ldap(self.settings.ldap, self.clock)

    def _open_adapter(self) -> Adapter | None:
        if not self.settings.mapping:
            return None
        declared = adapter.read(Path(self.settings.mapping))
        return Adapter(self.settings.source, declared, lambda: self.member.pack, self.home / "copies", clock=self.clock)

    def _open_upkeep(self) -> Upkeep | None:
        if self.adapter is None:
            return None
        language = self.settings.language
        return Upkeep(self.home / "drop", self.adapter, language, self.member, self.post, self.database, self.observe)

    def _open_offering(self) -> Offering | None:
        if self.adapter is None:
            return None
        return Offering(self.adapter, self.settings.contact, self.member, self.post, self.observe, self.clock)

    def _open_documents(self) -> Documents | None:
        if not self.adapter or not self.settings.dates or not (self.home / "seal").is_dir():
            return None
        seal = Seal(self.home / "seal", self.settings.dates)
        return Documents(self.settings, lambda: self.member.pack, self.adapter, self.database, seal, self.clock)

    def _open_eligibility(self) -> Eligibility | None:
        item = self.member.pack.header.cards.insurance.item
        if not self.adapter or item not in self.adapter.items or not (self.home / "seal").is_dir():
            return None
        seal = Seal(self.home / "seal", self.settings.dates)
        return Eligibility(
            self.settings, self.entry, lambda: self.member.pack, self.adapter, self.database, seal, self.clock
        )

    async def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        await self.join()
        await self.post.start()
        self.keep(self.member.follow_always, "follow")
        self.keep(lambda: self.post.consume(self._handle, MESSAGES_AT_ONCE), "worker")
        self.keep(self._sweep, "sweep")
        self.keep(self.rotation.run, "rotation")
        people = self.home / "people.csv"
        self.keep(lambda: subjects.register_file(people, self.post, self.member, self.database), "register")
        self.keep(self._submit_batches, "batches")
        if self.upkeep is not None:
            self.keep(self.upkeep.run, "upkeep")
        if self.offering is not None:
            self.keep(self.offering.run, "offering")
        if self.adapter is not None:
            self.keep(self.subscribers.run, "subscribers")
            self.keep(self.notices.run, "notices")
        self.keep(self.applications.run, "applications")
        handlers, options = desk_pages(self)
        if self.documents is not None:
            handlers += document_pages(self, self.documents)
        if (insurer := self._open_eligibility()) is not None:
            handlers.append(eligibility_api(insurer, self.settings.clerks))
        self.run(
            serve(self.settings, self.observe, [api(self), letter_api(self), *handlers], self.health, **options), "web"
        )

    async def drain(self) -> None:
        self.desk.let_go()
        await super().drain()

    async def stop(self) -> None:
        self.desk.let_go()
        await self.post.close()
        await super().stop()
        if self.adapter:
            self.adapter.close()

    async def _submit_batches(self) -> None:
        await self.member.until_ready()
        await self.batches.run()

    def clerk_in(self, session: Mapping[str, Any]) -> Clerk | None:
        """The clerk signed in by this session: until it is over, the clerk is removed, or the token is changed."""
        if not 0 <= self.clock() - session.get("since", 0) < SESSION_HOURS * 3_600_000:
            return None
        if "duties" in session:  # the directory said so, for a while; the groups of today decide what is left of it
            return self._from_directory(session)
        token = session.get("token")
        return next(
            (c for c in self.settings.clerks if c.name == session.get("clerk") and c.token_sha256 == token), None
        )

    def _from_directory(self, session: Mapping[str, Any]) -> Clerk | None:
        if self.clock() - session["since"] >= DIRECTORY_HOURS * 3_600_000:
            return None
        known = [k for k in (self.settings.directory, self.settings.ldap) if k is not None]
        allowed = {d for k in known for duties in k.groups.values() for d in duties}
        left: tuple[Duty, ...] = tuple(d for d in session["duties"] if d in allowed)
        return Clerk(session["clerk"], "", left) if left else None

    def report(self) -> Health:
        have, want = self.database.read_now(subjects.counts)
        tally = self.database.read_now(store.tally)
        details = {
            "subjects": str(have),
            "codes_awaited": str(want),
            "linked": str(self.member.ready).lower(),
        }
        details |= {f"inquiries_{state}": str(count) for state, count in tally.items()}
        trouble = self.member.clock_trouble()
        details |= self.upkeep.report() if self.upkeep else {}
        return Health(self.member.ready and not trouble, {**details, **self.rotation.report(), **trouble})

    async def request_codes(self, people: Sequence[tuple[str, str]]) -> int:
        """Ask the authority for the codes of ``(local id, number)``; how many were asked for."""
        await self.member.until_ready()
        return await self.database.write(
            lambda c: subjects.request_codes(c, self.post, self.member, people, again=True)
        )

    async def permit_of(self, id_: bytes) -> Permit:
        """The leaf of an inquiry of ours with a fresh proof, verified."""
        reply = await self.post.call("hub", GetPermit(id_))
        if not isinstance(reply, Permitted):
            raise RenkeiError("The hub answered something else.", code="round-reply")
        if envelope_of(self.member.notary.open(reply.permit)).id != id_:
            raise NotGenuine("The hub proves another leaf than the one asked for.", code="other-leaf")
        return reply.permit

    async def challenge(self, id_: bytes) -> dict[str, bool]:
        """Make both converters prove that the code we answered by was the requester's: which of them did. A provider's right."""
        row = (await self.database.read(lambda c: store.provisions_of(c, [id_]))).get(id_)
        if row is None:
            raise NotFound("There is no such request here.", ja="この照会は届いていません。")
        permit = decode_as(bytes(row.permit), Permit)
        entry = self.member.notary.open(permit)
        found = {}
        for keeper in CONVERTERS:
            reply = await self.post.call(keeper, GetProofs([permit.index]))
            proofs = reply.proofs[0] if isinstance(reply, Proofs) and reply.proofs else []
            conversions = rounds.conversions(entry, keeper)
            found[keeper] = await asyncio.to_thread(rounds.are_honest, self.member.state, keeper, conversions, proofs)
        if not all(found.values()):
            self.observe.log.error("challenge.failed", leaf=permit.index)
            self.observe.count("alarms")
        return found

    # ------------------------------------------------------------------ receiving

    async def _handle(self, parcels: list[Parcel]) -> None:
        """The effects of some parcels in one transaction."""
        by_type: dict[type[Message], list[tuple[str, Any]]] = {}
        for parcel in parcels:
            for message in parcel.messages:
                by_type.setdefault(type(message), []).append((parcel.sender, message))
        for sender, share in by_type.get(KeyShare, []):
            await self._accept_share(sender, share)
        if self.own is not None:
            for sender, proof in by_type.get(OwnProof, []):
                self.run(self.own.take(sender, proof), "own")
        works, told = await asyncio.to_thread(self._prepare, by_type)

        def commit(connection: sa.Connection) -> None:
            for work in works:
                work(connection)
            self.post.committed(connection, parcels)

        await self.database.write(commit)
        self.applications.committed()
        self.desk.tell(told)

    async def _accept_share(self, sender: str, share: KeyShare) -> None:
        try:
            await self.member.accept_share(sender, share)
        except Unavailable:  # its directory entry is on the way
            raise
        except RenkeiError as error:
            self.observe.log.error("share.refused", peer=sender, reason=error.code)
            self.observe.count("shares_refused")

    def _prepare(self, by_type: dict[type[Message], list[tuple[str, Any]]]) -> tuple[list[Any], list[bytes]]:
        """Everything costly, on a thread: verification, opening, looking up, sealing."""
        works: list[Any] = []
        told: list[bytes] = []
        receipts = [r for sender, r in by_type.get(Receipt, []) if sender == "hub"]
        answers = by_type.get(Answer, [])
        if receipts or answers:
            work, told = self.desk.take(receipts, answers)
            works.append(work)
        permits = [p for sender, p in by_type.get(Permit, []) if sender == "hub"]
        to_answer, changes, ends, delivered = [], [], [], []
        for permit in permits:
            try:
                leaf = self.member.notary.open(permit)
                if isinstance(leaf, IssuanceLeaf):
                    codes = subjects.opened(leaf, self.member, self.keys.body)
                    works.append(lambda c, codes=codes: subjects.keep_codes(c, self.member, codes))
                elif isinstance(leaf, InquiryLeaf):
                    to_answer.append(permit)
                elif isinstance(leaf, ChangeLeaf):
                    changes.append(permit)
                elif isinstance(leaf, EndLeaf):
                    ends.append(leaf)
                elif isinstance(leaf, LetterLeaf):
                    delivered.append(permit)
            except RenkeiError as error:
                if error.code in ("no-key", "not-enrolled"):
                    raise
                self.observe.count("permits_refused")
                self.observe.log.warning("permit.refused", reason=error.code)
        if to_answer:
            works.append(self.answering.take(to_answer))
        if changes:
            works.append(self.subscriptions.take(changes))
        if delivered or receipts or Enclosure in by_type:
            works.append(self.letters.take(delivered, by_type.get(Enclosure, []), receipts))
        works += [self._received(m) for sender, m in by_type.get(Received, []) if self._is_portal(sender)]
        if receipts or ends:  # an inquiry that came with the end of its subscription is answered first
            works.append(self.subscribers.take(receipts, ends))
        works += [self.supervision.take(d) for sender, d in by_type.get(Demand, []) if sender == "commission"]
        reminders = {(sender, remind.inquiry) for sender, remind in by_type.get(Remind, [])}
        works += [self._reminded(*one) for one in islice(reminders, REMINDERS_AT_ONCE)]  # who is left out reminds again
        for sender, refused in by_type.get(CodeRefused, []):
            if self.member.state.body(sender).role == "authority":
                works.append(lambda c, handles=refused.handles: entry.refused(c, handles))
        return works, told

    def _is_portal(self, sender: str) -> bool:
        return self.member.state.body(sender).role == "portal"

    @staticmethod
    def _received(told: Received) -> Callable[[sa.Connection], None]:
        return lambda c: notice_store.set_way(c, told.letters, "paper" if told.paper else "shown")

    def _reminded(self, requester: str, inquiry: bytes) -> Callable[[sa.Connection], None]:
        """Answer again what was answered, leave alone what is held; if we know nothing of it (we were restored), fetch its permit."""
        if (work := self.letters.reminded(requester, inquiry)) is not None:
            return work
        row = self.database.read_now(lambda c: store.provisions_of(c, [inquiry])).get(inquiry)
        if row is None:
            self.loop.call_soon_threadsafe(self._fetch_soon, inquiry)
        if row is None or row.answer is None or row.requester != requester or self.post.backlog(requester):
            return lambda _: None
        return lambda c: self.post.put(c, requester, [Answer(inquiry, bytes(row.answer))])

    def _fetch_soon(self, inquiry: bytes) -> None:
        """Few at a time: whoever is not served now reminds us again."""
        if inquiry not in self._fetching and len(self._fetching) < FETCHED_AT_ONCE:
            self._fetching.add(inquiry)
            self.run(self._fetch(inquiry), "fetch")

    async def _fetch(self, inquiry: bytes) -> None:
        try:
            work = await asyncio.to_thread(self.answering.take, [await self.permit_of(inquiry)])
            await self.database.write(work)
            self.observe.count("permits_fetched")
        except (RenkeiError, sa.exc.SQLAlchemyError) as error:  # whoever waits for it reminds us again
            self.observe.log.info("remind.ignored", reason=getattr(error, "code", "") or "database")
        finally:
            self._fetching.discard(inquiry)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            try:
                await self.desk.expire()
                await self.answering.expire()
                await self.answering.retry()
                await self.desk.pursue()
                await self.letters.forget()
                await self.letters.pursue()
            except (RenkeiError, sa.exc.SQLAlchemyError) as error:
                self.observe.log.warning("sweep.retry", reason=type(error).__name__)
