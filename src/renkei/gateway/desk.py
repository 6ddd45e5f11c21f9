"""Asking: from a clerk's request to a signed inquiry, and from receipt and answer to its end."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.codes import encrypt
from renkei.errors import Conflict, Malformed, NotFound, NotGenuine, RenkeiError, Unavailable
from renkei.gateway import store, subscription_store
from renkei.gateway.adapter import content_fault
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.institution.subjects import Coded
from renkei.messages.signing import SealKey, open_answer
from renkei.messages.wire import (
    Answer,
    Content,
    GetPermit,
    Inquiry,
    Message,
    Permitted,
    Receipt,
    Remind,
    Submit,
    context_hash,
    decode_as,
    encode,
)
from renkei.record.admission import DAY
from renkei.record.entries import InquiryLeaf, receipt_of
from renkei.record.state import ref_of

GRACE = 120_000
RULED_WITHIN = 3_600_000
"""Milliseconds for which the keepers may take to rule, however early an inquiry's own end is: their refusal is what ends it."""
"""Milliseconds after ``expires`` in which a late answer is still taken."""
LATE = 60_000
"""Milliseconds after which it is asked what became of an open inquiry; then after twice as long each time."""
PURSUED_AT_ONCE = 200
LENGTHS = {"case": 200, "reason": 2000, "local_id": 64}


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a clerk or system asks. Codes are the pack's; ``case`` and ``reason`` stay at this institution."""

    local_id: str
    provider: str
    affair: str
    item: str
    purpose: str
    case: str = ""
    reason: str = ""
    as_of: str = ""
    withheld: bool = False
    changes_until: str = ""
    """The last day (ISO) on which the provider also tells of changes, where the law lets it; empty: it does not."""
    expires_days: int | None = None
    issued_at: int | None = None
    """Milliseconds; for diagnosis. The law refuses anything but the present."""


class Made(NamedTuple):
    """A signed inquiry ready to be stored and sent."""

    id: bytes
    message: Submit
    row: dict[str, Any]
    line: int
    """Of its file, or its place among those that were made together."""
    subscription: dict[str, Any] | None = None
    """A row, if changes are to be told."""


class Desk:
    """The requester's side of one institution."""

    def __init__(
        self,
        keys: Keys,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        clock: Clock,
        backlog_most: int,
    ) -> None:
        self._keys, self._member, self._database = keys, member, database
        self._post, self._observe, self._clock, self._most = post, observe, clock, backlog_most
        self._waiting: dict[bytes, list[asyncio.Event]] = {}
        self._closing = False
        self._asked: list[tuple[Ask, str, asyncio.Future[Made]]] = []
        self._maker: asyncio.Task[None] | None = None
        self._pursued: dict[bytes, int] = {}
        """How often it was asked about each open inquiry that is late."""

    # ------------------------------------------------------------------ asking

    async def ask(self, ask: Ask, clerk: str, idempotency: str | None = None, *, wait: float = 0.0) -> bytes:
        """Submit one inquiry and wait for its end, at most ``wait`` seconds; its id.

        The same key with the same content gives the same inquiry, else ``Conflict``.
        """
        digest = sha256(msgspec.json.encode([clerk, ask])).digest()
        key = f"{clerk}/{idempotency}" if idempotency else None
        if key and (earlier := await self._database.read(lambda c: store.by_idempotency(c, key))):
            await self.wait(_same(earlier, digest), wait)
            return bytes(earlier.id)
        self._demand_room()
        made = await self._make_soon(ask, clerk)
        row = {**made.row, "idempotency": key, "digest": digest}
        with self._listen(made.id) as ended:
            try:
                await self._database.write(lambda c: self._store(c, [row], [made]))
            except sa.exc.IntegrityError:
                if key and (earlier := await self._database.read(lambda c: store.by_idempotency(c, key))):
                    return _same(earlier, digest)
                raise
            if wait:
                await self._until(ended, wait)
        return made.id

    async def _make_soon(self, ask: Ask, clerk: str) -> Made:
        """``make`` for one; those that come while others are being made are made together, on one thread."""
        made: asyncio.Future[Made] = asyncio.get_running_loop().create_future()
        self._asked.append((ask, clerk, made))
        if self._maker is None or self._maker.done():
            self._maker = asyncio.create_task(self._make_asked())  # of its own: whoever asked may go away
        return await made

    async def _make_asked(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, []
            await self._make_together(asked)

    async def _make_together(self, asked: list[tuple[Ask, str, asyncio.Future[Made]]]) -> None:
        try:
            many = [(ask, clerk, at) for at, (ask, clerk, _) in enumerate(asked)]
            made, faults = await asyncio.to_thread(self.make, many)
        except Exception as error:
            for _, _, future in asked:
                if not future.done():
                    future.set_exception(error)
            return
        ended: dict[int, Made | RenkeiError] = {m.line: m for m in made} | dict(faults)
        for at, (_, _, future) in enumerate(asked):
            if future.done():  # whoever asked has gone
                continue
            if isinstance(end := ended[at], RenkeiError):
                future.set_exception(end)
            else:
                future.set_result(end)

    def _demand_room(self) -> None:
        if self._closing:
            raise Unavailable(
                "This gateway is being stopped.",
                ja="このゲートウェイは停止するところです。",
                code="closing",
                remedy="Send it again when it is back; nothing was accepted.",
                remedy_ja="再開後に送り直してください（受け付けていません）。",
            )
        self._demand_backlog()

    def _demand_backlog(self) -> None:
        """Turn a single inquiry away while the hub is far behind: what was accepted is kept, and memory and disk stay bounded."""
        if self._post.backlog("hub") >= self._most:
            self._observe.count("inquiries_turned_away")
            raise Unavailable(
                "Too many inquiries are waiting for the network.",
                ja="ネットワークの処理を待つ照会が多すぎます。",
                code="busy",
                remedy="Send it again in a while; nothing was accepted. Many at once go into a file for /batches.",
                remedy_ja="しばらくしてから送り直してください（受け付けていません）。多数の照会は /batches にファイルで送れます。",
            )

    async def ask_many(
        self, asks: Sequence[tuple[Ask, int]], clerk: str, batch: str, also: Any
    ) -> list[tuple[int, RenkeiError]]:
        """Submit rows of a batch (ask, line) in one transaction with ``also(connection, faults)``; the faulty rows."""
        made, faults = await asyncio.to_thread(self.make, [(ask, clerk, line) for ask, line in asks])
        rows = [{**m.row, "batch": batch, "batch_line": m.line} for m in made]

        def commit(connection: sa.Connection) -> None:
            if rows:
                self._store(connection, rows, made)
            also(connection, faults)

        await self._database.write(commit)
        return faults

    def _store(self, connection: sa.Connection, rows: list[dict[str, Any]], made: list[Made]) -> None:
        store.add_inquiries(connection, rows)
        subscription_store.subscribe(connection, [m.subscription for m in made if m.subscription])
        self._post.put(connection, "hub", [m.message for m in made])

    def make(self, asks: Sequence[tuple[Ask, str, int]]) -> tuple[list[Made], list[tuple[int, RenkeiError]]]:
        """Sign inquiries (ask, clerk, line); those made, and by line what is wrong with the others.

        Runs on a thread. 190 µs each: a key pair, two multiplications, a signature.
        """
        self._member.demand_ready()
        faults: list[tuple[int, RenkeiError]] = []
        sound: list[tuple[Ask, str, int]] = []
        for ask, clerk, line in asks:
            try:
                self._check(ask)
                sound.append((ask, clerk, line))
            except RenkeiError as error:
                faults.append((line, error))
        known = self._database.read_now(lambda c: subjects.by_local_id(c, [a.local_id for a, _, _ in sound]))
        made: list[Made] = []
        for ask, clerk, line in sound:
            try:
                subject = known.get(ask.local_id)
                if subject is None or subject.code is None:
                    raise NotFound(
                        "There is no linkage code for this local subject id.",
                        ja="この宛名番号には符号がありません。",
                        remedy="Register the person with POST /subjects and wait for the code.",
                        remedy_ja="POST /subjects で登録し、符号の発行を待ってください。",
                        code="no-code",
                    )
                made.append(self._make_one(ask, clerk, subject.code, line))
            except RenkeiError as error:
                faults.append((line, error))
        return made, faults

    def _make_one(self, ask: Ask, clerk: str, code: Coded, line: int) -> Made:
        limits = self._member.pack.header.limits
        domain = self._member.domain_of_codes(code.epoch)
        issued_at = self._clock() if ask.issued_at is None else ask.issued_at
        expires = issued_at + (limits.expires_days if ask.expires_days is None else ask.expires_days) * DAY
        salt, reply = os.urandom(16), SealKey()
        inquiry = Inquiry(
            source=ref_of(domain),
            provider=ask.provider,
            affair=ask.affair,
            item=ask.item,
            purpose=ask.purpose,
            ciphertext=encrypt(code.code, self._member.key(domain)).to_bytes(),
            reply_key=reply.public,
            context=context_hash(salt, clerk, ask.case, ask.reason),
            issued_at=issued_at,
            expires=expires,
            as_of=ask.as_of,
            withheld=ask.withheld,
            clerk=self._keys.hide(
                self._keys.pseudonym(clerk), self._member.state.body("commission").seal, reply.public
            ),
            changes_until=ask.changes_until,
        )
        envelope = self._keys.identity.sign(inquiry)
        row = {
            "id": envelope.id,
            "idempotency": None,
            "digest": bytes(32),
            "local_id": ask.local_id,
            "provider": ask.provider,
            "affair": ask.affair,
            "item": ask.item,
            "purpose": ask.purpose,
            "clerk": clerk,
            "case_number": ask.case,
            "reason_text": ask.reason,
            "salt": salt,
            "reply_key": self._keys.lock(reply.private),
            "state": "submitted",
            "reason": "",
            "rows": "",
            "refused_by": "",
            "issued_at": issued_at,
            "deadline": max(expires, self._clock() + RULED_WITHIN),
            "expires": expires,
            "batch": None,
            "batch_line": None,
        }
        return Made(envelope.id, Submit(envelope), row, line, _subscription(envelope.id, ask))

    def _check(self, ask: Ask) -> None:
        """Codes must exist; whether the law links them is for hub and commission to say."""
        pack = self._member.pack
        for field, table, where in (
            ("affair", pack.affairs, "affairs"),
            ("item", pack.items, "items"),
            ("purpose", pack.purposes, "purposes"),
            ("provider", self._member.state.bodies, "bodies"),
        ):
            if getattr(ask, field) not in table:
                raise Malformed(
                    f"`{field}` is not a code of the law in force.",
                    ja=f"`{field}` は現在のパックにないコードです。",
                    remedy=f"`renkei law list {where}` shows the codes.",
                    remedy_ja=f"`renkei law list {where}` で一覧を確認してください。",
                    code=f"unknown-{field}",
                    field=field,
                )
        for field, most in LENGTHS.items():
            value = getattr(ask, field)
            if len(value) > most:
                raise Malformed(
                    f"`{field}` has more than {most} characters.",
                    ja=f"`{field}` は {most} 文字までです。",
                    code="too-long",
                    field=field,
                )
            if "\0" in value:
                raise Malformed(
                    f"`{field}` holds a character that cannot be kept.",
                    ja=f"`{field}` に使えない文字があります。",
                    code="character",
                    field=field,
                )
        if ask.expires_days is not None and not -400 <= ask.expires_days <= 400:
            raise Malformed(
                "`expires_days` is out of range.",
                ja="`expires_days` が範囲外です。",
                code="expires-days",
                field="expires_days",
            )
        if ask.issued_at is not None and not 0 <= ask.issued_at <= self._clock() + 400 * DAY:
            raise Malformed(
                "`issued_at` is out of range.", ja="`issued_at` が範囲外です。", code="issued-at", field="issued_at"
            )
        for field in ("as_of", "changes_until"):
            if value := getattr(ask, field):
                _check_date(field, value)

    # ------------------------------------------------------------------ what comes back

    def take(self, receipts: Sequence[Receipt], answers: Sequence[tuple[str, Answer]]) -> Any:
        """Work for the writer: the effects of receipts and answers. Runs on a thread; opens every seal first."""
        ids = [a.inquiry for _, a in answers]
        waiting = self._database.read_now(lambda c: store.open_inquiries(c, ids)) if ids else {}
        ends = [end for sender, a in answers if (end := self._open(sender, a, waiting.get(a.inquiry))) is not None]
        permitted = [
            {"inquiry": r.inquiry, "leaf_index": r.index, "at": r.time, "needed": " ".join(r.rows)}
            for r in receipts
            if r.allowed
        ]
        refused = [
            {
                "inquiry": r.inquiry,
                "leaf_index": r.index,
                "at": r.time,
                "why": r.reason,
                "needed": " ".join(r.rows),
                "who": r.by,
            }
            for r in receipts
            if not r.allowed
        ]

        if any(r["why"] == "order" for r in refused):
            self._member.want()  # its reasons are in the record

        def commit(connection: sa.Connection) -> None:
            if permitted:
                store.recorded(connection, permitted)
            if refused:
                store.refuse(connection, refused)
            store.finish(connection, ends)

        return commit, [r.inquiry for r in receipts if not r.allowed] + [e.id for e in ends]

    def _open(self, sender: str, answer: Answer, row: Any) -> store.Finish | None:
        now = self._clock()
        if row is None or row.provider != sender or now > row.expires + GRACE:
            self._observe.count("answers_dropped")
            return None
        try:
            key = SealKey(self._keys.unlock(bytes(row.reply_key)))
            data = open_answer(answer.sealed, key, answer.inquiry)
            content = decode_as(data, Content)
            if content.item != row.item or (fault := content_fault(self._member.pack, row.item, content.records)):
                raise Malformed(f"The answer {fault if content.item == row.item else 'is about another item'}.")
        except RenkeiError as error:
            self._observe.count("answers_refused")
            self._observe.log.warning("answer.refused", peer=sender, reason=error.code)
            return None
        return store.Finish(answer.inquiry, "answered", "", now, self._keys.lock(encode(content)))

    def result(self, row: Any) -> Content | None:
        """The answer's content, or ``None`` if there is none (yet)."""
        return decode_as(self._keys.unlock(bytes(row.result)), Content) if row.result is not None else None

    async def expire(self) -> None:
        """End what nobody answered in time."""
        now = self._clock()
        ids = await self._database.read(lambda c: store.overdue(c, now - GRACE))
        if ids:
            ends = [store.Finish(i, "expired", "no-answer", now) for i in ids]
            await self._database.write(lambda c: store.finish(c, ends))
            self.tell(ids)

    async def pursue(self) -> None:
        """Ask what became of inquiries that are late, should someone who was restored have lost what we were owed.

        The keepers are asked for the leaf of one that has no receipt, the provider is reminded of one that has no answer: whoever
        was only away or waits for a clerk changes nothing by it.
        """
        now = self._clock()
        rows = await self._database.read(lambda c: store.late(c, now - LATE, PURSUED_AT_ONCE + len(self._pursued)))
        self._pursued = {bytes(r.id): self._pursued.get(bytes(r.id), 0) for r in rows}
        remind: dict[str, list[Message]] = {}
        for row in rows:
            id_ = bytes(row.id)
            to = "hub" if row.state == "submitted" else row.provider
            if now - row.issued_at < LATE << self._pursued[id_] or (to not in remind and self._post.backlog(to)):
                continue  # not due, or who is asked has not heard of what we said before
            self._pursued[id_] += 1
            if row.state == "permitted":
                remind.setdefault(to, []).append(Remind(id_))
                continue
            try:
                await self._find_leaf(id_)
            except RenkeiError as error:
                self._observe.log.info("pursuit.in-vain", reason=error.code)
        for provider, reminders in remind.items():
            await self._post.send(provider, reminders)

    async def _find_leaf(self, id_: bytes) -> None:
        """Take the leaf of an inquiry, as the hub has it, for its receipt."""
        reply = await self._post.call("hub", GetPermit(id_))
        if not isinstance(reply, Permitted):
            raise NotGenuine("The hub answered something else.", code="round-reply")
        leaf = self._member.notary.open(reply.permit)
        if not isinstance(leaf, InquiryLeaf) or leaf.inquiry.id != id_:
            raise NotGenuine("The hub sent another leaf.", code="other-leaf")
        commit, told = self.take([receipt_of(reply.permit.index, leaf)], [])
        await self._database.write(commit)
        self.tell(told)

    # ------------------------------------------------------------------ waiting

    async def wait(self, id_: bytes, seconds: float) -> None:
        """Wait until the inquiry has ended, at most ``seconds``."""
        with self._listen(id_) as ended:
            row = await self._database.read(lambda c: store.get_inquiry(c, id_))
            if row is not None and row.state not in store.TERMINAL:
                await self._until(ended, seconds)

    async def _until(self, ended: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            async with asyncio.timeout(seconds):
                await ended.wait()

    @contextlib.contextmanager
    def _listen(self, id_: bytes) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        if self._closing:
            event.set()
        self._waiting.setdefault(id_, []).append(event)
        try:
            yield event
        finally:
            self._waiting[id_].remove(event)
            if not self._waiting[id_]:
                del self._waiting[id_]

    @property
    def closing(self) -> bool:
        """Whether nothing new is accepted any more."""
        return self._closing

    def let_go(self) -> None:
        """We are stopping: whoever waits is told how far it is."""
        self._closing = True
        self.tell(list(self._waiting))

    def tell(self, ids: Sequence[bytes]) -> None:
        """These inquiries have ended."""
        for id_ in ids:
            for event in self._waiting.get(id_, ()):
                event.set()


def _same(row: Any, digest: bytes) -> bytes:
    if bytes(row.digest) != digest:
        raise Conflict(
            "This idempotency key was used for another inquiry.",
            ja="この冪等キーは別の照会に使われています。",
        )
    return bytes(row.id)


def _subscription(inquiry: bytes, ask: Ask) -> dict[str, Any] | None:
    if not ask.changes_until:
        return None
    same = {name: getattr(ask, name) for name in ("local_id", "provider", "affair", "item")}
    return {"inquiry": inquiry, **same, "until": ask.changes_until}


def _check_date(field: str, text: str) -> None:
    try:
        if dt.date.fromisoformat(text).isoformat() == text:  # the wire knows this form alone
            return
    except ValueError:
        pass
    raise Malformed(
        f"`{field}` is not a date YYYY-MM-DD.",
        ja=f"`{field}` は YYYY-MM-DD の日付で書いてください。",
        code=field.replace("_", "-"),
        field=field,
    )
