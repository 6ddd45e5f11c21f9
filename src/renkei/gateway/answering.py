"""Answering: from a permit to a sealed answer, from the body's own database. No proof, no data.

Every permit is verified alone, here, against two public keys. Then the same steps are taken whoever the person is: decrypt the code, look
up the local id, read the source, seal. Unknown, withheld and without data differ in nothing that leaves this institution.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.codes import decrypt
from renkei.errors import Conflict, NotFound, RenkeiError, Unavailable
from renkei.gateway import store
from renkei.gateway.adapter import Adapter, SourceFault
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.messages.signing import seal_answer
from renkei.messages.wire import (
    Answer,
    Content,
    Message,
    Outcome,
    Outcomes,
    Permit,
    Submit,
    decode_as,
    encode,
)
from renkei.record.permit import Authorised, authorise

NOBODY = "\x00nobody"
"""The local id that is looked up for an unknown code, so that the path is the same."""


class Provided(NamedTuple):
    """What a permit led to, before it is stored."""

    authorised: Authorised
    permit: Permit
    local_id: str | None
    state: str
    reason: str
    answer: bytes | None
    provided: bool


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
    ) -> None:
        self._keys, self._member, self._database = keys, member, database
        self._post, self._observe, self._clock, self._adapter = post, observe, clock, adapter

    def take(self, permits: Sequence[Permit]) -> Callable[[sa.Connection], None]:
        """Verify permits and prepare answers, on a thread; answers work for the writer."""
        now = self._clock()
        checked, expired = self._authorise(permits, now)
        done = self._database.read_now(lambda c: store.provisions_of(c, [a.id for a, _ in checked]))
        repeats = [done[a.id] for a, _ in checked if a.id in done]
        fresh = list({a.id: (a, p) for a, p in checked if a.id not in done}.values())
        made = self._provide(fresh)

        def commit(connection: sa.Connection) -> None:
            store.add_provisions(connection, [_row(m, now) for m in made])
            self._send(connection, made, now)
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
                authorised = authorise(permit, self._member.notary, self._member.state, self._keys.body, 0)
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

    def _provide(self, fresh: Sequence[tuple[Authorised, Permit]]) -> list[Provided]:
        codes = [decrypt(a.ciphertext, self._member.key(a.target)) for a, _ in fresh]
        known = self._database.read_now(lambda c: subjects.by_code(c, codes)) if codes else {}
        people = [known.get(code) for code in codes]
        records = self._look_up(
            [(a.inquiry.item, p.local_id if p else NOBODY) for (a, _), p in zip(fresh, people, strict=True)]
        )
        made = []
        for (authorised, permit), person in zip(fresh, people, strict=True):
            local_id = person.local_id if person else None
            found = records.get((authorised.inquiry.item, local_id or NOBODY), [])
            if isinstance(found, SourceFault):
                self._observe.count("source_faults")
                self._observe.log.error("source.fault", fault=str(found))
                made.append(Provided(authorised, permit, local_id, "held", "source-fault", None, False))
            elif person and person.manual and not person.withheld:
                made.append(Provided(authorised, permit, local_id, "held", "manual-release", None, False))
            else:
                shown = [] if person is None or person.withheld else found
                made.append(self._answered(authorised, permit, local_id, shown))
        return made

    def _answered(
        self, authorised: Authorised, permit: Permit, local_id: str | None, records: list[dict[str, Any]]
    ) -> Provided:
        inquiry = authorised.inquiry
        specification = self._member.pack.specifications.get(inquiry.item)
        content = Content(inquiry.item, specification.version if specification else 0, records)
        sealed = seal_answer(content, inquiry.reply_key, authorised.id)
        return Provided(authorised, permit, local_id, "answered", "", sealed, bool(records))

    def _look_up(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Any]:
        """Records by (item, local id); a ``SourceFault`` in place of records that may not be sent."""
        by_item: dict[str, set[str]] = defaultdict(set)
        for item, local_id in wanted:
            by_item[item].add(local_id)
        found: dict[tuple[str, str], Any] = {}
        if self._adapter is None:
            return found
        for item, local_ids in by_item.items():
            for one in _each(self._adapter, item, sorted(local_ids)):
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
        if outcomes:
            act = Submit(self._keys.identity.sign(Outcomes(outcomes)))
            self._post.put(connection, "hub", [act], later=True)

    # ------------------------------------------------------------------ manual release

    async def release(self, id_: bytes) -> None:
        """A clerk releases a held answer."""
        await self._settle(id_, withheld=False)

    async def decline(self, id_: bytes) -> None:
        """A clerk withholds a held answer: it goes out as if there were no data."""
        await self._settle(id_, withheld=True)

    async def _settle(self, id_: bytes, *, withheld: bool) -> None:
        row = (await self._database.read(lambda c: store.provisions_of(c, [id_]))).get(id_)
        if row is None:
            raise NotFound("There is no such request here.", ja="この照会は届いていません。")
        if row.state != "held":
            raise Conflict(
                "This request is settled already.",
                ja="この照会は処理済みです。",
                remedy="Nothing needs doing.",
            )
        permit = decode_as(bytes(row.permit), Permit)
        now = self._clock()
        authorised = authorise(permit, self._member.notary, self._member.state, self._keys.body, now)
        item, local_id = authorised.inquiry.item, row.local_id or NOBODY
        found = self._look_up([(item, local_id)]).get((item, local_id), [])
        if isinstance(found, SourceFault) and not withheld:
            raise Conflict(
                f"The source still does not fit the specification: {found}.",
                remedy="Correct it, then release.",
            )
        made = self._answered(authorised, permit, row.local_id, [] if withheld else found)

        def commit(connection: sa.Connection) -> None:
            store.close_provision(connection, id_, state="answered", answer=made.answer, at=now)
            self._send(connection, [made], now)

        await self._database.write(commit)

    async def expire(self) -> None:
        """Held requests whose time is over end as expired, and the record says so."""
        now = self._clock()
        ids = await self._database.read(lambda c: store.held_overdue(c, now))
        if not ids:
            return

        def commit(connection: sa.Connection) -> None:
            for id_ in ids:
                store.close_provision(connection, id_, state="expired", answer=None, at=now)
            self._tell(connection, [Outcome(i, "expired", now) for i in ids])

        await self._database.write(commit)


def _each(adapter: Adapter, item: str, local_ids: list[str]) -> Iterable[dict[tuple[str, str], Any]]:
    """Look up together; if the source has a fault, one by one, so that only the faulty person is held."""
    try:
        yield {(item, i): r for i, r in adapter.look_up(item, local_ids).items()}
    except SourceFault as fault:
        if len(local_ids) == 1:
            yield {(item, local_ids[0]): fault}
            return
        for local_id in local_ids:
            yield from _each(adapter, item, [local_id])


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
