"""Answering: from a permit to a sealed answer, from the body's own database. No proof, no data.

Every permit is verified alone, here, against two public keys. Then the same steps are taken whoever the person is: decrypt the code, look
up the local id, read the source, seal. Unknown, withheld and without data differ in nothing that leaves this institution.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.codes import decrypt
from renkei.errors import Conflict, Malformed, NotFound, RenkeiError, Unavailable
from renkei.gateway import store
from renkei.gateway.adapter import Adapter, SourceFault
from renkei.gateway.subscriptions import Answered, Subscribers
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.institution.subjects import Coded
from renkei.messages.signing import seal_answer
from renkei.messages.wire import (
    MAX_BATCH,
    Answer,
    Content,
    Inquiry,
    Message,
    Outcome,
    Outcomes,
    Permit,
    Submit,
    decode_as,
    encode,
)
from renkei.record.oversight import Linked
from renkei.record.permit import Authorised, authorise

NOBODY = os.urandom(16).hex()
"""The local id that is looked up for an unknown code, so that the path is the same; nobody's, and an ordinary one to any database."""
Wanted = tuple[str, str, str]
"""Item, day (or empty), local id."""
STOPPED = "order"
OWN = "own-proof"
"""Held until the person's card has signed for it: whoever it is, known here or not."""
RETRIED = ("source-unavailable", STOPPED)


class Provided(NamedTuple):
    """What a permit led to, before it is stored."""

    authorised: Authorised
    permit: Permit
    local_id: str | None
    state: str
    reason: str
    answer: bytes | None
    provided: bool
    subscriber: Answered | None = None
    """Who is to be told of changes, if that was asked for."""


class Answering:
    """The provider's side of one institution."""

    def __init__(
        self,
        keys: Keys,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        clock: Clock,
        adapter: Adapter | None,
        *,
        prove: bool = False,
    ) -> None:
        self._keys, self._member, self._database = keys, member, database
        self._post, self._observe, self._clock, self._adapter = post, observe, clock, adapter
        self._prove = prove

    def take(self, permits: Sequence[Permit]) -> Callable[[sa.Connection], None]:
        """Verify permits and prepare answers, on a thread; answers work for the writer."""
        now = self._clock()
        checked, expired = self._authorise(permits, now)
        done = self._database.read_now(lambda c: store.provisions_of(c, [a.id for a, _ in checked]))
        repeats = [done[a.id] for a, _ in checked if a.id in done]
        fresh = list({a.id: (a, p) for a, p in checked if a.id not in done}.values())
        made = self._provide(fresh)

        def commit(connection: sa.Connection) -> None:
            known = store.provisions_of(
                connection, [m.authorised.id for m in made]
            )  # a permit may come two ways at once
            new = [m for m in made if m.authorised.id not in known]
            store.add_provisions(connection, [_row(m, now) for m in new])
            Subscribers.note(connection, [m.subscriber for m in new if m.subscriber])
            self._send(connection, new, now)
            for row in repeats:
                if row.answer is not None:
                    self._post.put(connection, row.requester, [Answer(bytes(row.id), bytes(row.answer))])
            self._tell(connection, [Outcome(i, "expired", now) for i in expired])

        return commit

    def _authorise(self, permits: Sequence[Permit], now: int) -> tuple[list[tuple[Authorised, Permit]], list[bytes]]:
        checked: list[tuple[Authorised, Permit]] = []
        expired: list[bytes] = []
        for permit in permits:
            try:
                authorised = self._authorise_one(permit, 0)
            except NotFound as error:  # a requester we have not heard of yet: follow the record, then try again
                self._member.want()
                raise Unavailable("The record must be followed first.", code="behind") from error
            except RenkeiError as error:
                self._observe.count("permits_refused")
                self._observe.log.warning("permit.refused", reason=error.code)
                continue
            if now >= authorised.inquiry.expires:
                expired.append(authorised.id)
            else:
                checked.append((authorised, permit))
        return checked, expired

    def _authorise_one(self, permit: Permit, now: int) -> Authorised:
        member = self._member
        return authorise(permit, member.notary, member.state, self._keys.body, now, prove=self._prove)

    def _provide(self, fresh: Sequence[tuple[Authorised, Permit]]) -> list[Provided]:
        codes = [self._code(a) for a, _ in fresh]
        known = self._database.read_now(lambda c: subjects.by_code(c, self._member, codes)) if codes else {}
        people = [known.get(code) for code in codes]
        records = self._look_up(
            [_wanted(a, p.local_id if p else None) for (a, _), p in zip(fresh, people, strict=True)]
        )
        return [
            self._one(
                authorised, permit, person, records.get(_wanted(authorised, person.local_id if person else None), [])
            )
            for (authorised, permit), person in zip(fresh, people, strict=True)
        ]

    def _code(self, authorised: Authorised) -> Coded:
        """The code of the person asked about. A requester can encrypt what is no code: that is nobody's."""
        epoch = authorised.target.code_epoch
        try:
            return Coded(decrypt(authorised.ciphertext, self._member.key(authorised.target)), epoch)
        except Malformed:
            self._observe.count("codes_unreadable")
            return Coded(b"", epoch)

    def _one(
        self,
        authorised: Authorised,
        permit: Permit,
        person: subjects.Subject | None,
        found: list[dict[str, Any]] | SourceFault,
    ) -> Provided:
        """The answer, or why it is held. Withheld comes first: it must look like unknown whatever else is the case."""
        local_id = person.local_id if person else None
        if authorised.inquiry.affair == (self._member.pack.header.own.affair or None):
            return Provided(authorised, permit, local_id, "held", OWN, None, False)
        if person is None or person.withheld:
            return self._answered(authorised, permit, local_id, [])
        if self._stopped(authorised):
            return Provided(authorised, permit, local_id, "held", STOPPED, None, False)
        if isinstance(found, SourceFault):
            self._observe.count("source_faults")
            self._observe.log.error("source.fault", reason=found.reason, fault=str(found))
            return Provided(authorised, permit, local_id, "held", found.reason, None, False)
        if person.manual:
            return Provided(authorised, permit, local_id, "held", "manual-release", None, False)
        return self._answered(authorised, permit, local_id, found, known=True)

    def _stopped(self, authorised: Authorised) -> bool:
        """Whether the commission has stopped such inquiries since this one was permitted."""
        linked = Linked.by(authorised.requester, authorised.inquiry)
        return bool(self._member.state.oversight.against(linked, self._clock()))

    def _answered(
        self,
        authorised: Authorised,
        permit: Permit,
        local_id: str | None,
        records: list[dict[str, Any]],
        *,
        known: bool = False,
    ) -> Provided:
        inquiry = authorised.inquiry
        specification = self._member.pack.specifications.get(inquiry.item)
        content = Content(inquiry.item, specification.version if specification else 0, records)
        subscriber = _subscriber(authorised, local_id, content) if known and local_id else None
        try:
            sealed = seal_answer(content, inquiry.reply_key, authorised.id)
        except Malformed as error:  # larger than an answer may be
            return Provided(authorised, permit, local_id, "held", error.code, None, False)
        return Provided(authorised, permit, local_id, "answered", "", sealed, bool(records), subscriber)

    def current(self, item: str, local_ids: Sequence[str]) -> dict[str, Any]:
        """What would be answered of these persons now: the records of each, or a ``SourceFault``. Runs on a thread."""
        return {i: found for (_, _, i), found in self._look_up((item, "", i) for i in local_ids).items()}

    def _look_up(self, wanted: Iterable[Wanted]) -> dict[Wanted, Any]:
        """Records of whom they are wanted; a ``SourceFault`` in place of records that may not be sent."""
        together: dict[tuple[str, str], set[str]] = defaultdict(set)
        for item, as_of, local_id in wanted:
            together[item, as_of].add(local_id)
        found: dict[Wanted, Any] = {}
        if self._adapter is None:
            return found
        for (item, as_of), local_ids in together.items():
            for one in _each(self._adapter, item, as_of, sorted(local_ids)):
                found.update(one)
        return found

    def _send(self, connection: sa.Connection, made: Sequence[Provided], now: int) -> None:
        owed: dict[str, list[Message]] = defaultdict(list)
        outcomes = []
        for m in made:
            if m.answer is not None:
                owed[m.authorised.requester].append(Answer(m.authorised.id, m.answer))
                outcomes.append(Outcome(m.authorised.id, "provided" if m.provided else "nothing", now))
        for recipient, messages in owed.items():
            self._post.put(connection, recipient, messages)
        self._tell(connection, outcomes)

    def _tell(self, connection: sa.Connection, outcomes: list[Outcome]) -> None:
        """What came of inquiries goes into the record, a little later: nobody waits for it, and several share an entry's round."""
        for at in range(0, len(outcomes), MAX_BATCH):
            act = Submit(self._keys.identity.sign(Outcomes(outcomes[at : at + MAX_BATCH])))
            self._post.put(connection, "hub", [act], later=True)

    # ------------------------------------------------------------------ manual release

    async def release(self, id_: bytes, clerk: str) -> None:
        """A clerk releases a held answer. It still says nothing if the person has been flagged as withheld meanwhile."""
        await self._settle(id_, clerk, withheld=False)

    async def decline(self, id_: bytes, clerk: str) -> None:
        """A clerk withholds a held answer: it goes out as if there were no data."""
        await self._settle(id_, clerk, withheld=True)

    def inquiry_of(self, row: Any) -> Inquiry:
        """What a request, as it is kept, asked for."""
        return self._authorise_one(decode_as(bytes(row.permit), Permit), self._clock()).inquiry

    async def settle_own(self, id_: bytes, *, proven: bool) -> None:
        """Answer a person's own inquiry: what there is if the card that signed is theirs, else as if there were nothing."""
        if proven and await self._database.write(lambda c: _left_to_a_clerk(c, id_)):
            return
        await self._settle(id_, "", withheld=not proven, own=True)

    async def retry(self) -> None:
        """Answer what is held only because the source did not respond, or an order stood that has been lifted."""
        for row in await self._database.read(lambda c: [r for why in RETRIED for r in store.held_for(c, why)]):
            with contextlib.suppress(Conflict):
                await self._settle(bytes(row.id), "", withheld=False)

    async def _settle(self, id_: bytes, clerk: str, *, withheld: bool, own: bool = False) -> None:
        row = (await self._database.read(lambda c: store.provisions_of(c, [id_]))).get(id_)
        if row is None:
            raise NotFound("There is no such request here.", ja="この照会は届いていません。")
        if row.state != "held":
            raise Conflict(
                "This request is settled already.",
                ja="この照会は処理済みです。",
                remedy="Nothing needs doing.",
                remedy_ja="対応は不要です。",
            )
        if (row.reason == OWN) != own:
            raise Conflict(
                "The person's own card settles this.",
                ja="この照会は、本人のカードによる確認後に回答されます。",
                code=OWN,
                remedy="Nothing needs doing.",
                remedy_ja="対応は不要です。",
            )
        permit = decode_as(bytes(row.permit), Permit)
        now = self._clock()
        authorised = self._authorise_one(permit, now)
        wanted = _wanted(authorised, row.local_id)
        if not withheld and self._stopped(authorised):
            raise Conflict(
                "The commission has stopped this.",
                ja="委員会の命令により停止されています。",
                code=STOPPED,
                remedy="It is answered when the order is lifted, or expires.",
                remedy_ja="命令が解除されると回答されます。",
            )

        def prepare() -> tuple[Provided, Provided]:
            nothing = self._answered(authorised, permit, row.local_id, [])
            found = [] if withheld else self._look_up([wanted]).get(wanted, [])
            if isinstance(found, SourceFault):
                raise Conflict(
                    f"The source cannot answer this now: {found}.",
                    ja=f"元データから回答できません: {found}",
                    remedy="Correct the source, then release; or decline.",
                    remedy_ja="元データを直してから承認するか、不開示にしてください。",
                    code=found.reason,
                )
            made = self._answered(authorised, permit, row.local_id, found, known=not withheld)
            if made.answer is None:
                raise Conflict(
                    "The answer is too large to be sent.",
                    ja="回答が大きすぎて送れません。",
                    remedy="Decline it, or correct the data.",
                    remedy_ja="データを直すか、提供しない旨を回答してください。",
                    code=made.reason,
                )
            return made, nothing

        made, nothing = await asyncio.to_thread(prepare)

        def commit(connection: sa.Connection) -> None:
            people = subjects.by_local_id(connection, [row.local_id]) if row.local_id else {}
            person = people.get(row.local_id)
            if not (clerk or own) and (
                person is None or person.manual
            ):  # it was only tried again, and must be released by someone
                raise Conflict("A clerk releases this person's answers.", ja="この方の回答は職員が確認して送ります。")
            answer = nothing if person is None or person.withheld else made
            changed = store.close_provision(connection, id_, state="answered", answer=answer.answer, at=now, by=clerk)
            if not changed:
                raise Conflict("This request is settled already.", ja="この照会は処理済みです。")
            Subscribers.note(connection, [answer.subscriber] if answer.subscriber else [])
            self._send(connection, [answer], now)

        await self._database.write(commit)

    async def expire(self) -> None:
        """Held requests whose time is over end as expired, and the record says so."""
        now = self._clock()
        ids = await self._database.read(lambda c: store.held_overdue(c, now))
        if not ids:
            return

        def commit(connection: sa.Connection) -> None:
            ended = [i for i in ids if store.close_provision(connection, i, state="expired", answer=None, at=now)]
            self._tell(connection, [Outcome(i, "expired", now) for i in ended])

        await self._database.write(commit)


def _left_to_a_clerk(connection: sa.Connection, id_: bytes) -> bool:
    """Whether a proven inquiry waits for a clerk from now on, because the person's answers are released by hand."""
    row = store.provisions_of(connection, [id_]).get(id_)
    people = subjects.by_local_id(connection, [row.local_id]) if row is not None and row.local_id else {}
    person = next(iter(people.values()), None)
    return (
        person is not None
        and person.manual
        and not person.withheld
        and store.hold_for(connection, id_, "manual-release")
    )


def _subscriber(authorised: Authorised, local_id: str, content: Content) -> Answered | None:
    inquiry = authorised.inquiry
    if not inquiry.changes_until:
        return None
    asked = authorised.id, authorised.requester, local_id, inquiry.affair, inquiry.item, inquiry.purpose
    return Answered(*asked, inquiry.changes_until, content.specification, content.records)


def _wanted(authorised: Authorised, local_id: str | None) -> Wanted:
    return authorised.inquiry.item, authorised.inquiry.as_of, local_id or NOBODY


def _each(adapter: Adapter, item: str, as_of: str, local_ids: list[str]) -> Iterable[dict[Wanted, Any]]:
    """Look up together; if a record has a fault, one by one, so that only the faulty person is held."""
    try:
        yield {(item, as_of, i): r for i, r in adapter.look_up(item, as_of, local_ids).items()}
    except SourceFault as fault:
        if len(local_ids) == 1 or fault.reason != "source-fault":
            yield dict.fromkeys(((item, as_of, i) for i in local_ids), fault)
            return
        for local_id in local_ids:
            yield from _each(adapter, item, as_of, [local_id])


def _row(made: Provided, now: int) -> dict[str, Any]:
    inquiry = made.authorised.inquiry
    return {
        "id": made.authorised.id,
        "requester": made.authorised.requester,
        "affair": inquiry.affair,
        "item": inquiry.item,
        "purpose": inquiry.purpose,
        "row": made.authorised.row,
        "local_id": made.local_id,
        "state": made.state,
        "reason": made.reason,
        "leaf": made.permit.index,
        "permit": encode(made.permit),
        "answer": made.answer,
        "received_at": now,
        "finished_at": now if made.answer is not None else None,
        "expires": inquiry.expires,
    }
