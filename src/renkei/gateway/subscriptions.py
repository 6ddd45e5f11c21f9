"""Change notices: a body that may ask for an item is told when the answer would be another, for as long as the law lets it (ADR 43).

A subscription is part of an inquiry, so it has that inquiry's permit and stands in the resident's records. The provider looks at
whom it answered again, and tells *that* something changed, never what: each notice is an entry of its own in the record, ruled on and
converted like an inquiry, so that neither keeper can tell which inquiry it belongs to. Whoever wants to know what asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.codes import decrypt, encrypt
from renkei.errors import Conflict, NotFound, RenkeiError
from renkei.gateway import subscription_store as store
from renkei.gateway.adapter import SourceFault
from renkei.gateway.desk import Ask, Desk
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.institution.subjects import Coded
from renkei.messages.wire import Changed, EndChanges, Permit, Receipt, Submit, decode_as
from renkei.record.admission import DAY, rule
from renkei.record.entries import EndLeaf
from renkei.record.permit import authorise_change
from renkei.record.state import ref_of

AT_ONCE = 500
AGAIN_AFTER = 3_600_000
"""Milliseconds after which a notice that the record never took is made anew, or one it refused is tried again."""

LookUp = Callable[[str, Sequence[str]], Mapping[str, Any]]
"""``look_up(item, local ids)``: records of each, or a ``SourceFault``."""


class Subscriptions:
    """The requester's side: what we are told of, and what becomes of it."""

    def __init__(
        self,
        keys: Keys,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        clock: Clock,
        desk: Desk,
        *,
        prove: bool = False,
    ) -> None:
        self._keys, self._member, self._database, self._post = keys, member, database, post
        self._observe, self._clock, self._desk, self._prove = observe, clock, desk, prove

    @property
    def today(self) -> str:
        return self._member.pack.day(self._clock()).isoformat()

    def take(self, permits: Sequence[Permit]) -> Callable[[sa.Connection], None]:
        """Verify change notices, on a thread; answers work for the writer. Who sends one nobody subscribed to is told nothing."""
        told = [t for permit in permits if (t := self._open(permit)) is not None]

        def commit(connection: sa.Connection) -> None:
            for one in told:
                self._observe.count("changes_received" if store.receive(connection, one) else "changes_unfounded")

        return commit

    def _open(self, permit: Permit) -> store.Told | None:
        member = self._member
        try:
            found = authorise_change(permit, member.notary, member.state, self._keys.body, prove=self._prove)
            code = Coded(decrypt(found.ciphertext, member.key(found.target)), found.target.code_epoch)
        except RenkeiError as error:
            if error.code in ("no-key", "not-enrolled"):
                raise
            self._observe.count("changes_refused")
            self._observe.log.warning("change.refused", reason=error.code)
            return None
        person = self._database.read_now(lambda c: subjects.by_code(c, member, [code])).get(code)
        if person is None:
            self._observe.count("changes_unfounded")
            return None
        changed, day = found.changed, member.pack.day(found.time).isoformat()
        return store.Told(
            found.id, person.local_id, found.provider, changed.affair, changed.item, permit.index, found.time, day
        )

    async def end(self, inquiry: bytes, clerk: str) -> None:
        """End a subscription: the record says so, and the provider learns it from there."""
        row = await self._database.read(lambda c: store.subscription(c, inquiry))
        if row is None:
            raise NotFound("There is no such subscription.", ja="この変更通知の申込みはありません。")
        if row.state == "submitted":
            raise Conflict(
                "The inquiry is not in the record yet.",
                ja="照会がまだ記録されていません。",
                code="not-recorded",
                remedy="Try again in a moment.",
                remedy_ja="少し待ってからもう一度お試しください。",
            )
        message = Submit(self._keys.identity.sign(EndChanges(inquiry, row.provider)))

        def commit(connection: sa.Connection) -> None:
            if not store.end(connection, inquiry, clerk, self._clock()):
                raise Conflict("It has ended already.", ja="すでに終了しています。", code="moved-on")
            self._post.put(connection, "hub", [message])

        await self._database.write(commit)

    async def settle(self, change: bytes, clerk: str) -> None:
        """Nothing needs to be asked after this notice."""
        await self._known(change)
        if not await self._database.write(lambda c: store.settle_change(c, change, clerk, self._clock())):
            raise Conflict("Somebody has dealt with it.", ja="この通知は処理済みです。", code="moved-on")

    async def ask(self, change: bytes, clerk: str, *, wait: float = 0.0) -> bytes:
        """Ask what it is now, as it was asked before; the new inquiry's id. Twice for one notice gives the same inquiry."""
        row = await self._known(change)
        if row.asked is not None:
            return bytes(row.asked)
        await self.settle(change, clerk)  # nobody else asks meanwhile: what is asked is in the person's records
        ask = Ask(
            local_id=row.local_id,
            provider=row.provider,
            affair=row.affair,
            item=row.item,
            purpose=row.purpose,
            case=row.case_number,
            reason=row.reason_text,
        )
        try:
            id_ = await self._desk.ask(ask, clerk, f"change-{change.hex()}")
        except BaseException:
            await self._database.write(lambda c: store.asked_after(c, change, None))
            raise
        await self._database.write(lambda c: store.asked_after(c, change, id_))
        await self._desk.wait(id_, wait)
        return id_

    async def _known(self, change: bytes) -> Any:
        row = await self._database.read(lambda c: store.change(c, change))
        if row is None:
            raise NotFound("There is no such change notice.", ja="この変更通知はありません。")
        return row


class Answered(NamedTuple):
    """An inquiry that subscribes, answered about a person we know: who asked for what until when, and what it was told."""

    inquiry: bytes
    requester: str
    local_id: str
    affair: str
    item: str
    purpose: str
    until: str
    specification: int
    records: Sequence[Mapping[str, Any]]


class Subscribers:
    """The provider's side: whom we tell, and of what we told them last."""

    def __init__(
        self,
        keys: Keys,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        clock: Clock,
        look_up: LookUp,
        every_minutes: int,
    ) -> None:
        self._keys, self._member, self._database, self._post = keys, member, database, post
        self._observe, self._clock, self._look_up, self._every = observe, clock, look_up, every_minutes * 60.0
        self._under_way: set[bytes] | None = None
        """Notices without a receipt: most receipts are inquiries', and cost nothing here."""

    @staticmethod
    def note(connection: sa.Connection, answered: Sequence[Answered]) -> None:
        """Remember who is to be told, in the transaction that answers them."""
        rows = [{**a._asdict(), "digest": digest(a.inquiry, a.records)} for a in answered]
        store.note(connection, [{k: v for k, v in row.items() if k != "records"} for row in rows])

    def take(self, receipts: Sequence[Receipt], ends: Sequence[EndLeaf]) -> Callable[[sa.Connection], None]:
        """What the record says of our notices, and of who wants no more: work for the writer."""
        if self._under_way is None:
            self._under_way = self._database.read_now(store.under_way)
        ours = [(r.inquiry, r.allowed) for r in receipts if r.inquiry in self._under_way]
        self._under_way.difference_update(i for i, _ in ours)
        over = [(decode_as(leaf.end.payload, EndChanges).inquiry, leaf.end.sender) for leaf in ends]

        def commit(connection: sa.Connection) -> None:
            store.recorded(connection, ours)
            for inquiry, requester in over:
                store.drop(connection, inquiry, requester, self._clock())

        return commit

    async def run(self) -> None:
        """Look for changes, for ever. All at once and not as they come: when something happened is nobody's business on the way."""
        await self._member.until_ready()
        while True:
            try:
                await self.check()
            except (RenkeiError, sa.exc.SQLAlchemyError) as error:
                self._observe.log.warning("changes.retry", reason=getattr(error, "code", "") or "database")
            await asyncio.sleep(self._every)

    async def check(self) -> int:
        """Tell every subscriber whose answer would be another now; how many. O(subscribers) look-ups, memory for a few hundred."""
        await self._member.follow()  # by the law and the orders of now, and not of a minute ago
        today = self._member.pack.day(self._clock()).isoformat()
        expired = self._clock() - self._member.pack.header.limits.expires_days_max * DAY
        await self._database.write(lambda c: store.drop_ended(c, today, expired))
        if self._under_way is None:  # before any is told: a receipt that comes meanwhile must find it here
            self._under_way = await self._database.read(store.under_way)
        last, told = b"", 0
        while True:
            rows = await self._database.read(lambda c: store.after(c, last, AT_ONCE))  # noqa: B023  # read at once
            if not rows:
                return told
            if self._post.backlog("hub") > AT_ONCE:  # inquiries, which somebody waits for, go before
                await asyncio.sleep(0.2)
                continue
            last = bytes(rows[-1].inquiry)
            telling, messages, rebased = await asyncio.to_thread(self._changed, rows)

            def commit(
                connection: sa.Connection,
                telling: Any = telling,
                messages: Any = messages,
                rebased: Any = rebased,
            ) -> None:
                store.rebase(connection, rebased)
                store.telling(connection, telling)
                if messages:
                    self._post.put(connection, "hub", messages, later=True)

            self._under_way.update(t["notice"] for t in telling)
            if telling or rebased:
                await self._database.write(commit)
            told += len(messages)
            self._observe.count("changes_told", len(messages))

    def _changed(self, rows: Sequence[Any]) -> tuple[list[dict[str, Any]], list[Submit], list[dict[str, Any]]]:
        """Of these subscribers whom to tell, by which messages; and whose specification is another. Runs on a thread."""
        now, state = self._clock(), self._member.state
        due = [r for r in rows if r.told_at is None or r.told_at <= now - AGAIN_AFTER]
        ids = sorted({r.local_id for r in due})
        people = self._database.read_now(lambda c: subjects.by_local_id(c, ids)) if ids else {}
        # Whoever is protected is never told of: it would be seen by who looks for them.
        open_ = [r for r in due if (p := people.get(r.local_id)) and p.code and not p.withheld and not p.manual]
        found = {
            item: self._look_up(item, sorted({r.local_id for r in open_ if r.item == item}))
            for item in {r.item for r in open_}
        }
        telling: list[dict[str, Any]] = []
        messages: list[Submit] = []
        rebased: list[dict[str, Any]] = []
        for row in open_:
            records = found[row.item].get(row.local_id, [])
            specification = self._member.pack.specifications.get(row.item)
            version = specification.version if specification else 0
            if isinstance(records, SourceFault):
                continue
            said = digest(bytes(row.inquiry), records)
            if version != row.specification:
                rebased.append({"key": bytes(row.inquiry), "said": said, "version": version})
            elif said != bytes(row.digest):
                code = people[row.local_id].code
                assert code is not None
                changed = self._make(row, code, now)
                if rule(state, self._keys.body, changed, now, by=self._keys.body)[1] is None:
                    continue  # an order stands, or the law is another: they learn of it when it is over, if it is
                envelope = self._keys.identity.sign(changed)
                messages.append(Submit(envelope))
                telling.append({"key": bytes(row.inquiry), "notice": envelope.id, "said": said, "at": now})
        return telling, messages, rebased

    def _make(self, row: Any, code: Coded, now: int) -> Changed:
        domain = self._member.domain_of_codes(code.epoch)
        ciphertext = encrypt(code.code, self._member.key(domain)).to_bytes()
        return Changed(ref_of(domain), row.requester, row.affair, row.item, row.purpose, ciphertext, now)


def digest(inquiry: bytes, records: Sequence[Mapping[str, Any]]) -> bytes:
    """By what it is seen that an answer is another: of the records, in any order, salted by the inquiry (32 bytes)."""
    said = sorted(msgspec.json.encode(r, order="deterministic") for r in records)
    return sha256(b"renkei/v1/answered" + inquiry + msgspec.json.encode([r.decode() for r in said])).digest()
