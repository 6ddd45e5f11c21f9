"""One-stop applications: a life event once, sent to every body concerned (ADR 49).

A case is a draft until its parts are sent, each as a letter of its own to one body, which sees only its part. What was sent stays as it
is; what becomes of it is what the body says.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.errors import Conflict, Malformed, NotFound
from renkei.institution import applying, letters
from renkei.institution.applying import Asked
from renkei.institution.database import Database
from renkei.institution.entry import Entry
from renkei.institution.keys import Keys
from renkei.institution.letters import Letters, Written
from renkei.institution.member import Member
from renkei.institution.relying import Presented
from renkei.institution.settings import Clock
from renkei.law import Pack
from renkei.law.counter import APPLICANT, CORPORATION, Procedure
from renkei.law.tables import Title
from renkei.messages.wire import MAX_ATTACHED, Applied, Attached
from renkei.portal import apply_store as store
from renkei.portal.proxies import CORPORATION as ACCOUNT
from renkei.portal.store import code_of

DRAFTS_MOST = 50
"""Of one resident, at a time."""
TAKERS_KEPT = 10_000
"""Milliseconds for which it is remembered who takes in a procedure."""
DRAFT_KEPT = 30 * 86_400_000
"""Milliseconds for which a draft that nobody touches is kept."""
Also = Callable[[sa.Connection], None]
SENT = "sent"
OPEN = ("sent", "received", "asked", "answered")
WORDS_MOST = 2000


class Draft(msgspec.Struct, frozen=True):
    """What was chosen and filled in so far; ``places``: the body for each place, or for a procedure that names none."""

    chosen: list[str] = []
    people: dict[str, int] = {}
    places: dict[str, str] = {}
    form: dict[str, str] = {}


class Part(NamedTuple):
    """A procedure of a case: what it asks, whom it goes to, and what became of it."""

    procedure: Procedure
    body: str
    """Empty: still to be chosen."""
    asked: tuple[Asked, ...]
    row: Any
    """Of what was sent; ``None`` before."""
    refused: str
    """Why the record did not take it; empty: it did."""

    @property
    def state(self) -> str:
        return "draft" if self.row is None else str(self.row.state)

    @property
    def sent(self) -> bool:
        """Whether it was, and was not turned away."""
        return self.state not in ("draft", store.TURNED_AWAY)


class Case(NamedTuple):
    """A case as it stands."""

    row: Any
    draft: Draft
    parts: tuple[Part, ...]
    attached: tuple[Any, ...]
    faults: Mapping[str, Title]
    """What is missing or wrong of what is still to be sent, by name of the field."""

    @property
    def unsent(self) -> list[Part]:
        return [p for p in self.parts if not p.sent]

    @property
    def questions(self) -> list[Asked]:
        """Every question of what is still to be sent, once."""
        found = {a.name: a for p in self.unsent for a in p.asked}
        return list(found.values())


class Applications:
    """The portal's part."""

    def __init__(self, keys: Keys, member: Member, database: Database, entry: Entry, clock: Clock) -> None:
        self._keys, self._member, self._database, self._entry, self._clock = keys, member, database, entry, clock
        self.letters: Letters
        """Set by who makes both."""
        self._takers: dict[tuple[bytes, str], tuple[int, list[str]]] = {}

    @property
    def _pack(self) -> Pack:
        return self._member.pack

    def events(self, account: str) -> list[tuple[Any, list[Procedure]]]:
        """What happens to people, or to corporations, of which something can be sent, with its procedures."""
        party = CORPORATION if account.startswith(ACCOUNT) else ""
        found = ((e, applying.online(self._pack, e.code)) for e in self._pack.events.values() if e.party == party)
        return [(e, procedures) for e, procedures in found if procedures and self._pack.header.letters.kind]

    def takers(self, procedure: Procedure) -> list[str]:
        """Enrolled bodies that take in this procedure."""
        pack, state = self._pack, self._member.state
        key, now = (pack.hash, procedure.code), self._clock()
        if (known := self._takers.get(key)) is not None and now - known[0] < TAKERS_KEPT:
            return known[1]
        found = sorted(
            b.body
            for b in state.bodies.values()
            if b.role == "gateway" and not pack.standing(b.kinds).isdisjoint(procedure.to)
        )
        self._takers[key] = now, found
        return found

    # ------------------------------------------------------------------ drafts

    async def begin(self, account: str, event: str, given: Mapping[str, str] = {}) -> str:
        """A new case, with some answers ``given``; its id."""
        if event not in {e.code for e, _ in self.events(account)}:
            raise Malformed("Choose what has happened.", ja="出来事を選んでください。", code="event", field="event")
        now, id_ = self._clock(), os.urandom(16).hex()
        locked = self._keys.lock(msgspec.json.encode(Draft(form=dict(given))))
        row = {"id": id_, "account": account, "event": event, "draft": locked, "made": now, "changed": now}

        def commit(connection: sa.Connection) -> None:
            if store.count_drafts(connection, account) >= DRAFTS_MOST:
                raise Conflict(
                    "You have begun too many applications.",
                    ja="作成中の手続が多すぎます。",
                    code="too-many",
                    remedy="Throw away drafts you do not need.",
                    remedy_ja="不要な下書きを削除してください。",
                )
            store.add_case(connection, row)

        await self._database.write(commit)
        return id_

    async def get(self, account: str, id_: str) -> Case:
        """``NotFound`` unless it is this resident's."""
        row = await self._database.read(lambda c: store.case(c, account, id_))
        if row is None:
            raise NotFound("There is no such application.", ja="この手続はありません。")
        attached = await self._database.read(lambda c: store.attached(c, id_))
        (case,) = await self._cases([row])
        faults = {
            a.name: fault
            for a in case.questions
            if (fault := applying.fault_of(self._pack, a.question, case.draft.form.get(a.name, "")))
        }
        return case._replace(attached=tuple(attached), faults=faults)

    async def _cases(self, rows: Sequence[Any]) -> list[Case]:
        """Cases with their parts, but for what is attached and what is wrong."""

        def read(connection: sa.Connection) -> tuple[list[Any], Mapping[bytes, str]]:
            parts = store.parts_of(connection, [r.id for r in rows])
            return parts, letters.refused(connection, [bytes(p.letter) for p in parts])

        parts, refused = await self._database.read(read)
        found = []
        for row in rows:
            draft = msgspec.json.decode(self._keys.unlock(bytes(row.draft)), type=Draft)
            sent = {p.procedure: p for p in parts if p.case_id == row.id}
            offered = {p.code: p for p in applying.online(self._pack, row.event)}
            # what was sent stays, whatever the law's pack has since become
            codes = [c for c in (*offered, *(s for s in sent if s not in offered)) if c in draft.chosen or c in sent]
            shown = [(offered.get(c) or _gone(c, row.event), sent.get(c)) for c in codes]
            found.append(Case(row, draft, tuple(self._part(p, draft, s, refused) for p, s in shown), (), {}))
        return found

    def _part(self, procedure: Procedure, draft: Draft, row: Any, refused: Mapping[bytes, str]) -> Part:
        takers = self.takers(procedure) if row is None or row.state == store.TURNED_AWAY else []
        wanted = draft.places.get(procedure.place or procedure.code, "")
        body = (
            row.body
            if row is not None and row.state != store.TURNED_AWAY
            else wanted
            if wanted in takers
            else takers[0]
            if len(takers) == 1
            else ""
        )
        asked = tuple(applying.asked(self._pack, [procedure], draft.people))
        reason = refused.get(bytes(row.letter), "") if row is not None else ""
        return Part(procedure, body, asked, row, reason)

    async def listed(self, account: str) -> list[Case]:
        """A resident's cases, last changed first."""
        return await self._cases(await self._database.read(lambda c: store.cases_of(c, account)))

    async def choose(
        self, account: str, id_: str, chosen: Sequence[str], people: Mapping[str, str], places: Mapping[str, str]
    ) -> Case:
        """Which procedures, how many people of each role, and which bodies."""
        case = await self.get(account, id_)
        offered = applying.online(self._pack, case.row.event)
        known = {p.code for p in offered}
        roles = applying.roles_asked(self._pack, offered)
        counted = {r: int(people[r]) for r in roles if people.get(r, "").isdecimal() and len(people[r]) < 3}
        counted = {r: min(n, applying.OF_ROLE_MOST) for r, n in counted.items() if n}
        takers = {p.place or p.code: self.takers(p) for p in offered}
        placed = {k: v for k, v in places.items() if v in takers.get(k, ())}
        draft = msgspec.structs.replace(
            case.draft, chosen=[c for c in chosen if c in known], people=counted, places=placed
        )
        if not draft.chosen:
            raise Malformed("Choose what you want to do.", ja="手続を選んでください。", code="chosen", field="chosen")
        await self._keep(id_, draft)
        return await self.get(account, id_)

    async def fill(self, account: str, id_: str, form: Mapping[str, str]) -> Case:
        """Keep what was filled in, wrong or not: nothing that was typed is lost."""
        case = await self.get(account, id_)
        kept = dict(case.draft.form)
        for one in case.questions:
            if one.name in form:
                kept[one.name] = applying.tidy(one.question, form[one.name])[: applying.ANSWER_MOST * 2]
        await self._keep(id_, msgspec.structs.replace(case.draft, form=kept))
        return await self.get(account, id_)

    async def _keep(self, id_: str, draft: Draft) -> None:
        locked = self._keys.lock(msgspec.json.encode(draft))
        await self._database.write(lambda c: store.put_draft(c, id_, locked, self._clock()))

    @staticmethod
    def fills(case: Case) -> dict[str, dict[str, list[Asked]]]:
        """What is held about the applicant that answers questions of the case: by item and field, the questions."""
        found: dict[str, dict[str, list[Asked]]] = {}
        for one in case.questions:
            for item, field in one.question.fills if one.who in ("", APPLICANT) else ():
                found.setdefault(item, {}).setdefault(field, []).append(one)
        return found

    async def discard(self, account: str, id_: str) -> None:
        """Throw a draft away. ``Conflict`` if something of it was sent."""
        await self.get(account, id_)
        if not await self._database.write(lambda c: store.drop_case(c, id_)):
            raise Conflict(
                "Something of it was sent.",
                ja="送信済みの手続があるため削除できません。",
                remedy="Look at it again.",
                remedy_ja="画面を開き直して、状況をご確認ください。",
                code="moved-on",
            )

    async def forget(self) -> None:
        """Drafts that nobody has touched for long."""
        before = self._clock() - DRAFT_KEPT

        def commit(connection: sa.Connection) -> None:
            for id_ in store.stale(connection, before, 100):
                store.drop_case(connection, id_)

        await self._database.write(commit)

    # ------------------------------------------------------------------ papers

    async def attach(self, account: str, id_: str, kind: str, name: str, data: bytes) -> None:
        """Keep a paper to be sent along; ``Malformed`` for what may not be."""
        case = await self.get(account, id_)
        kinds = {k for p in case.unsent for k in p.procedure.attaches}
        media = applying.media_type(data)
        name = "".join(c for c in name.rsplit("/")[-1].rsplit("\\")[-1] if c.isprintable() and c not in '"<>')[-100:]
        if kind not in kinds or not media or not name:
            raise Malformed(
                "Attach PDF, PNG or JPEG.", ja="添付できるのはPDF・PNG・JPEGです。", code="attachment", field="file"
            )
        row = {"id": os.urandom(16).hex(), "case_id": id_, "kind": kind, "name": name, "type": media, "size": len(data)}
        locked = await asyncio.to_thread(self._keys.lock, data)
        most = applying.ATTACHED_MOST, MAX_ATTACHED
        if not await self._database.write(lambda c: store.attach(c, {**row, "data": locked}, *most)):
            raise Malformed(
                "Too much is attached: 2 MB together, and ten papers, at most.",
                ja="添付は合計2MB、10件までです。",
                code="attachment-size",
                field="file",
                status=413,
            )

    async def detach(self, account: str, id_: str, attachment: str) -> None:
        await self.get(account, id_)
        await self._database.write(lambda c: store.detach(c, id_, attachment))

    async def _papers(self, id_: str, procedure: Procedure) -> list[Attached]:
        rows = await self._database.read(lambda c: store.papers(c, id_, procedure.attaches))
        return await asyncio.to_thread(
            lambda: [Attached(a.kind, a.name, a.type, self._keys.unlock(bytes(a.data))) for a in rows]
        )

    # ------------------------------------------------------------------ sending

    async def _ready(self, case: Case, code: str) -> tuple[Part, dict[str, str | int], list[Attached]]:
        """The part to be sent, its form and papers; ``Malformed`` while something is missing."""
        part = next((p for p in case.unsent if p.procedure.code == code), None)
        if part is None:
            raise Conflict(
                "This was sent before.",
                ja="送信済みです。",
                remedy="Look at it again.",
                remedy_ja="画面を開き直して、状況をご確認ください。",
                code="moved-on",
            )
        if not part.body:
            raise Malformed("Choose where to send it.", ja="提出先を選んでください。", code="place", field="place")
        names = {a.name: a.question for a in part.asked}
        if any(n in case.faults for n in names):
            raise Malformed("Something is missing.", ja="記入が足りません。", code="incomplete")
        filled = {n: case.draft.form[n] for n in names if case.draft.form.get(n)}
        form = {n: int(v) if names[n].type == "integer" else v for n, v in filled.items()}
        return part, form, await self._papers(case.row.id, part.procedure)

    async def statement(self, account: str, id_: str, code: str, by: str = "") -> bytes:
        """What the card is to sign of one procedure."""
        case = await self.get(account, id_)
        part, form, papers = await self._ready(case, code)
        return self._statement(case, part, form, papers, by)

    async def send(
        self,
        account: str,
        id_: str,
        code: str,
        shown: Presented | None = None,
        by: str = "",
        also: Also = lambda _: None,
    ) -> None:
        """Send one procedure's part; signed by the card where the law wants it. ``by``: as what somebody else sends it; ``also``: what to
        do in the same transaction. ``NotGenuine`` if the signature is not good."""
        case = await self.get(account, id_)
        part, form, papers = await self._ready(case, code)
        procedure = part.procedure
        said = Applied(form=form, attached=papers, by=by)
        if procedure.signed:
            statement = self._statement(case, part, form, papers, by)
            verifier = self._entry.signatures()
            if shown is None or verifier is None:
                raise Malformed(
                    "This must be signed with your card.", ja="カードによる署名が必要です。", code="unsigned"
                )
            await verifier.checked(shown, "signature", statement)
            said = msgspec.structs.replace(
                said, statement=statement, certificate=shown.certificate, signature=shown.signature
            )
        written, now = await self._written(account, part.body, procedure, said), self._clock()
        row = {"letter": written.id, "case_id": id_, "procedure": code, "body": part.body, "state": SENT, "by": by}
        left = {k for p in case.unsent if p is not part for k in p.procedure.attaches}

        def commit(connection: sa.Connection) -> None:
            if not store.add_part(connection, {**row, "sent": now, "changed": now}):
                raise Conflict(
                    "This was sent before.",
                    ja="送信済みです。",
                    remedy="Look at it again.",
                    remedy_ja="画面を開き直して、状況をご確認ください。",
                    code="moved-on",
                )
            store.drop_papers(connection, id_, sorted(left))
            self.letters.send(connection, [written])
            also(connection)

        await self._database.write(commit)

    def _statement(self, case: Case, part: Part, form: applying.Form, papers: Sequence[Attached], by: str) -> bytes:
        """For this case, today: signed once, it is good once."""
        day = self._pack.day(self._clock()).isoformat()
        mark = applying.Mark(day, case.row.id, by)
        return applying.statement(self._pack, part.procedure, part.body, form, papers, mark)

    async def _written(self, account: str, body: str, procedure: Procedure, said: Applied) -> Written:
        code = await code_of(self._database, account)
        return await asyncio.to_thread(lambda: self.letters.write(body, procedure.affair, procedure.code, code, said))

    async def _sent(self, account: str, id_: str, code: str) -> Part:
        case = await self.get(account, id_)
        part = next((p for p in case.parts if p.procedure.code == code and p.sent), None)
        if part is None:
            raise NotFound("This was not sent.", ja="この手続は送信されていません。")
        return part

    async def answer(
        self, account: str, id_: str, code: str, words: str, by: str = "", also: Also = lambda _: None
    ) -> None:
        """Answer what the body has asked."""
        part, words = await self._sent(account, id_, code), words.strip()
        if not 0 < len(words) <= WORDS_MOST:
            raise Malformed("Write an answer.", ja="回答を入力してください。", code="words", field="words")
        letter, now = bytes(part.row.letter), self._clock()
        written = await self._written(account, part.body, part.procedure, Applied(about=letter, words=words, by=by))

        def commit(connection: sa.Connection) -> None:
            if not store.move_part(connection, letter, "answered", now, of=("asked",)):
                raise Conflict(
                    "Nothing is asked any more.",
                    ja="この質問は終了しています。",
                    remedy="Look at it again.",
                    remedy_ja="画面を開き直して、状況をご確認ください。",
                    code="moved-on",
                )
            self.letters.send(connection, [written])
            also(connection)

        await self._database.write(commit)

    async def withdraw(self, account: str, id_: str, code: str, by: str = "", also: Also = lambda _: None) -> None:
        """Take back what was not decided yet. The body confirms it."""
        part, now = await self._sent(account, id_, code), self._clock()
        letter = bytes(part.row.letter)
        written = await self._written(account, part.body, part.procedure, Applied(about=letter, withdrawn=True, by=by))

        def commit(connection: sa.Connection) -> None:
            if not store.begin_withdrawal(connection, letter, written.id, now, OPEN):
                raise Conflict(
                    "It is decided, or being taken back.",
                    ja="この手続は終了しています。",
                    remedy="Look at it again.",
                    remedy_ja="画面を開き直して、状況をご確認ください。",
                    code="moved-on",
                )
            self.letters.send(connection, [written])
            also(connection)

        await self._database.write(commit)

    async def steps(self, part: Part) -> list[tuple[Any, Any]]:
        """What followed an application that was sent: letters, and what they say."""
        rows = await self._database.read(lambda c: letters.followed(c, bytes(part.row.letter)))
        return [(r, self.letters.said(r)) for r in rows]


def _gone(code: str, event: str) -> Procedure:
    """A procedure that the pack has no more."""
    return Procedure(code, event, Title(code, code), APPLICANT, "", "", (), (), "", False)
