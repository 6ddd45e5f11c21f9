"""The integrated counter (総合窓口): one visit for everything that follows from a life event.

A visit is opened for a person the clerk has seen to be who they are; the pack says which procedures follow, and what each may fetch from
other bodies. Fetching is inquiring, as anywhere: for the procedure's affair, in the clerk's name, in the record and shown to the person.
What came fills the questions, each of which stands once, whoever asks it. Closing hands every procedure to its back office.

What always holds: nothing is fetched before the identity was confirmed, nor of anybody who is not part of the visit; what was told is
locked in the database; a visit that is closed does not change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec

from renkei.errors import Conflict, Malformed, NotFound, Refused, RenkeiError
from renkei.gateway import visit_store
from renkei.gateway.desk import Ask, Desk
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.settings import Clock
from renkei.law import Pack, decide
from renkei.law.counter import APPLICANT, CASE, EVERYONE, Event, Procedure, Question
from renkei.law.tables import value_fault

BY_CARD = "card"
PEOPLE_MOST = 20
WAIT = 4.0
"""Seconds a clerk waits for answers before the page shows what is still on its way."""
ANSWER_MOST = 500
"""Characters."""


class Person(NamedTuple):
    """Somebody a visit is about."""

    local_id: str
    role: str


class Fetch(NamedTuple):
    """Something to fetch, or fetched: for which procedure, about whom, of whom, and what became of it (the row of its inquiry)."""

    procedure: Procedure
    person: Person
    item: str
    providers: tuple[str, ...]
    """Bodies that may be asked for it."""
    inquiry: Any

    @property
    def state(self) -> str:
        return "" if self.inquiry is None else str(self.inquiry.state)


class Blank(NamedTuple):
    """A question of somebody, or of the case: what is known, and from where."""

    question: Question
    person: Person | None
    value: str
    source: str
    """The item it was filled from; empty if it was told."""
    used: int
    """How many procedures need it."""

    @property
    def name(self) -> str:
        """Of its field in the form."""
        return f"{self.question.code}@{self.person.local_id}" if self.person else self.question.code


class Visit(NamedTuple):
    """A visit as it stands."""

    row: Any
    people: tuple[Person, ...]
    procedures: tuple[tuple[Procedure, tuple[Person, ...]], ...]
    fetches: tuple[Fetch, ...]
    blanks: tuple[Blank, ...]

    @property
    def spared(self) -> tuple[int, int]:
        """Certificates that nobody had to bring, and fields that nobody typed (again)."""
        certificates = sum(f.state == "answered" for f in self.fetches)
        return certificates, sum(b.used - 1 + (1 if b.source else 0) for b in self.blanks if b.value)

    @property
    def missing(self) -> list[Blank]:
        """What must be known and is not."""
        return [b for b in self.blanks if b.question.required and not b.value]


class Visits:
    """The counter of one body."""

    def __init__(self, body: str, keys: Keys, member: Member, database: Database, desk: Desk, clock: Clock) -> None:
        self._body, self._keys, self._member, self._database = body, keys, member, database
        self._desk, self._clock = desk, clock

    @property
    def _pack(self) -> Pack:
        return self._member.pack

    @property
    def today(self) -> str:
        return self._pack.day(self._clock()).isoformat()

    # ------------------------------------------------------------------ opening

    async def open(
        self,
        clerk: str,
        event: str,
        persons: Sequence[Person],
        confirmed: Sequence[str],
        former: str = "",
        number: int | None = None,
    ) -> int:
        """A new visit; its id. ``confirmed``: ``card``, or the documents seen; ``number``: of a ticket that was called.

        ``Refused`` if the documents do not prove who it is.
        """
        known = {e.code: e for e in self.events()}.get(event)
        if known is None:
            raise Malformed("There is no such event.", ja="この手続のきっかけはありません。", code="event")
        proofing = self._pack.header.cards.proofing
        if BY_CARD not in confirmed and not proofing.satisfied(list(confirmed)):
            raise Refused(
                "These documents do not prove who it is.",
                ja="この書類だけでは本人確認ができません。",
                code="not-confirmed",
                remedy="Ask for one with a photograph, or for a second one.",
                remedy_ja="顔写真付きの書類を1点、又は別の書類をもう1点確認してください。",
            )
        await self._demand(persons, known.roles)
        row = {
            "day": self.today,
            "event": event,
            "confirmed": " ".join(confirmed),
            "former": former if former in self._pack.bodies else "",
            "clerk": clerk,
            "opened": self._clock(),
        }
        return await self._database.write(lambda c: visit_store.open_visit(c, row, persons, number))

    async def _demand(self, persons: Sequence[Person], roles: Sequence[str]) -> None:
        """``Malformed`` unless these are persons of ours with codes, one applicant first, everybody once."""
        ids = [p.local_id for p in persons]
        fits = persons and persons[0].role == APPLICANT and all(p.role in roles for p in persons[1:])
        if not fits or len(set(ids)) != len(ids) or len(ids) > PEOPLE_MOST:
            raise Malformed(
                "Name the applicant first, and everybody once.",
                ja="届出人を先頭に、一人ずつ指定してください。",
                code="people",
            )
        found = await self._database.read(lambda c: subjects.by_local_id(c, ids))
        if lost := [i for i in ids if i not in found]:
            raise NotFound(
                f"{len(lost)} of these have no linkage code here.",
                ja=f"{len(lost)}人の符号がまだありません。",
                code="no-subject",
                remedy="Check the local ids, or register the person first.",
                remedy_ja="宛名番号を確認するか、先に登録してください。",
            )

    async def change_people(self, id_: int, persons: Sequence[Person]) -> None:
        """Somebody more, or less; the applicant stays."""
        visit = await self.get(id_)
        if not persons or persons[0] != visit.people[0]:
            raise Malformed("The applicant stays.", ja="届出人は変更できません。", code="people")
        await self._demand(persons, self._pack.events[visit.row.event].roles)
        self._demand_open(visit)
        await self._database.write(lambda c: visit_store.put_people(c, id_, persons))

    # ------------------------------------------------------------------ as it stands

    async def get(self, id_: int) -> Visit:
        """``NotFound`` if there is no such visit."""
        row, people, fetched = await self._database.read(
            lambda c: (visit_store.get_visit(c, id_), visit_store.people_of(c, id_), visit_store.fetched_of(c, id_))
        )
        if row is None or row.event not in self._pack.events:
            raise NotFound("There is no such visit.", ja="この受付はありません。")
        persons = tuple(Person(*p) for p in people)
        follow = self._following(row.event)
        procedures = tuple((p, tuple(self._whom(p.who, persons))) for p in follow)
        had = {(f.procedure, f.local_id, f.item): inquiry for f, inquiry in fetched}
        fetches = tuple(
            Fetch(p, person, item, self._providers(p, item), had.get((p.code, person.local_id, item)))
            for p, whom in procedures
            for person in whom
            for item in p.items
        )
        told: dict[str, str] = msgspec.json.decode(self._keys.unlock(bytes(row.told))) if row.told else {}
        blanks = tuple(self._blanks([(p, whom) for p, whom in procedures if whom], persons, fetches, told))
        return Visit(row, persons, tuple((p, w) for p, w in procedures if w), fetches, blanks)

    def events(self) -> list[Event]:
        """The life events of people from which something follows here."""
        return [e for e in self._pack.events.values() if not e.party and self._following(e.code)]

    def _following(self, event: str) -> list[Procedure]:
        """What follows from an event here: other bodies' procedures are theirs."""
        ours = self._member.state.bodies.get(self._body)
        standing = self._pack.standing(ours.kinds) if ours else frozenset()
        return [
            p
            for p in self._pack.procedures.values()
            if p.event == event and (not p.to or not standing.isdisjoint(p.to))
        ]

    @staticmethod
    def _whom(who: str, persons: Sequence[Person]) -> list[Person]:
        return [p for p in persons if who in (EVERYONE, p.role)]

    def _providers(self, procedure: Procedure, item: str) -> tuple[str, ...]:
        """Enrolled bodies of which the law lets us ask for the item, for this procedure's affair, today."""
        state, pack = self._member.state, self._pack
        ours, on = state.bodies.get(self._body), pack.day(self._clock())
        if ours is None:
            return ()
        found = []
        for other in state.bodies.values():
            if other.role == "gateway" and other.body != self._body:
                ruling = decide(pack, ours.kinds, procedure.affair, other.kinds, item, on)
                if ruling.allowed:
                    found.append(other.body)
        return tuple(sorted(found))

    def _blanks(
        self,
        procedures: Sequence[tuple[Procedure, Sequence[Person]]],
        persons: Sequence[Person],
        fetches: Sequence[Fetch],
        told: Mapping[str, str],
    ) -> list[Blank]:
        """Every question once, in the order in which procedures ask."""
        used: dict[str, int] = {}
        for procedure, _ in procedures:
            for code in procedure.asks:
                used[code] = used.get(code, 0) + 1
        found = []
        for code, count in used.items():
            question = self._pack.questions[code]
            for person in self._whom(question.each, persons) if question.each != CASE else [None]:
                blank = Blank(question, person, "", "", count)
                value, source = self._filled(question, person or persons[0], fetches)
                if blank.name in told and told[blank.name] != value:
                    value, source = told[blank.name], ""
                found.append(blank._replace(value=value, source=source))
        return found

    def _filled(self, question: Question, person: Person, fetches: Sequence[Fetch]) -> tuple[str, str]:
        """What was fetched about this person that answers the question, if all records say the same."""
        for item, field in question.fills:
            values: set[str] = set()
            for fetch in fetches:
                if fetch.item == item and fetch.person == person and fetch.state == "answered":
                    content = self._desk.result(fetch.inquiry)
                    values |= {_text(r[field]) for r in (content.records if content else []) if field in r}
            if len(values) == 1:
                return values.pop(), item
        return "", ""

    # ------------------------------------------------------------------ fetching, telling, closing

    async def fetch(self, id_: int, clerk: str, choices: Mapping[str, str]) -> list[RenkeiError]:
        """Ask for everything that was not asked for (or got nowhere), all at once; what could not be asked.

        ``choices``: for an item, the body to ask where several could be.
        """
        visit = await self.get(id_)
        self._demand_open(visit)
        trouble: list[RenkeiError] = []
        asked: list[bytes] = []
        for fetch in visit.fetches:
            provider = self._chosen(fetch, visit.row.former, choices)
            again = fetch.state in ("refused", "expired") or (
                fetch.inquiry is not None and fetch.inquiry.provider != provider
            )
            if provider is None or (fetch.inquiry is not None and not again):
                continue
            ask = Ask(
                local_id=fetch.person.local_id,
                provider=provider,
                affair=fetch.procedure.affair,
                item=fetch.item,
                purpose=fetch.procedure.purpose,
                case=f"{visit.row.day}/{visit.row.number}",
                reason=fetch.procedure.title.ja,
            )
            try:
                inquiry = await self._desk.ask(ask, clerk, self._once(id_, fetch, provider))
            except RenkeiError as error:
                trouble.append(error)
                continue
            asked.append(inquiry)
            key = (id_, fetch.procedure.code, fetch.person.local_id, fetch.item, inquiry)
            await self._database.write(lambda c, key=key: visit_store.note_fetched(c, *key))  # type: ignore[misc]
        await asyncio.gather(*(self._desk.wait(i, WAIT) for i in asked))
        return trouble

    @staticmethod
    def _once(id_: int, fetch: Fetch, provider: str) -> str:
        """A key under which the same is asked once, however often the button is pressed."""
        after = bytes(fetch.inquiry.id).hex() if fetch.inquiry is not None else ""
        said = msgspec.json.encode([id_, fetch.procedure.code, fetch.person.local_id, fetch.item, provider, after])
        return "visit/" + sha256(said).hexdigest()[:40]

    @staticmethod
    def _chosen(fetch: Fetch, former: str, choices: Mapping[str, str]) -> str | None:
        chosen = choices.get(fetch.item, "")
        if chosen in fetch.providers:
            return chosen
        if fetch.inquiry is not None:
            return str(fetch.inquiry.provider)
        if former in fetch.providers:
            return former
        return fetch.providers[0] if len(fetch.providers) == 1 else None

    async def tell(self, id_: int, form: Mapping[str, str]) -> dict[str, str]:
        """Keep what was told; by name of the field, what is wrong with some of it (which is not kept). What was fetched and left as it
        is counts as fetched."""
        visit = await self.get(id_)
        self._demand_open(visit)
        kept: dict[str, str] = {}
        faults: dict[str, str] = {}
        for blank in visit.blanks:
            value = form.get(blank.name, blank.value).strip()
            if value and (fault := self._fault(blank.question, value)):
                faults[blank.name] = fault
                value = blank.value if not blank.source else ""
            if value and not (blank.source and value == blank.value):
                kept[blank.name] = value
        locked = self._keys.lock(msgspec.json.encode(kept))
        if not await self._database.write(lambda c: visit_store.change_visit(c, id_, told=locked)):
            raise _closed()
        return faults

    def _fault(self, question: Question, value: str) -> str | None:
        if len(value) > ANSWER_MOST or not value.isprintable():
            return "is too long"
        return value_fault(question.type, value, self._pack.codelists.get(question.codes, {}))

    async def close(self, id_: int) -> Visit:
        """Hand every procedure to its back office. ``Conflict`` while something that must be known is not."""
        visit = await self.get(id_)
        self._demand_open(visit)
        if visit.missing:
            raise Conflict(
                f"{len(visit.missing)} answer(s) are missing.",
                ja=f"未記入の項目が{len(visit.missing)}件あります。",
                code="missing",
                remedy="Fill in the fields that are marked.",
                remedy_ja="印のある項目を記入してください。",
            )
        rules, (certificates, fields) = self._pack.header.counter, visit.spared
        spared = certificates * rules.certificate_minutes * 60 + fields * rules.field_seconds
        kept = {b.name: b.value for b in visit.blanks if b.value}
        locked, now = self._keys.lock(msgspec.json.encode(kept)), self._clock()

        def commit(connection: Any) -> bool:
            if not visit_store.change_visit(connection, id_, closed=now, told=locked, spared=spared):
                return False
            visit_store.add_tasks(connection, id_, [(p.code, p.office) for p, _ in visit.procedures])
            return True

        if not await self._database.write(commit):
            raise _closed()
        return await self.get(id_)

    @staticmethod
    def _demand_open(visit: Visit) -> None:
        if visit.row.closed is not None:
            raise _closed()

    # ------------------------------------------------------------------ back offices

    async def tasks(self, office: str = "") -> list[Any]:
        """What is to be done."""
        return await self._database.read(lambda c: visit_store.list_tasks(c, office))

    async def task(self, id_: int) -> tuple[Any, Visit, Procedure]:
        """A task, its visit, and its procedure."""
        row = await self._database.read(lambda c: visit_store.get_task(c, id_))
        if row is None or row.procedure not in self._pack.procedures:
            raise NotFound("There is no such task.", ja="この処理はありません。")
        return row, await self.get(row.visit), self._pack.procedures[row.procedure]

    async def done(self, id_: int, clerk: str) -> None:
        """``Conflict`` if somebody was quicker."""
        now = self._clock()
        if not await self._database.write(lambda c: visit_store.finish_task(c, id_, clerk, now)):
            raise Conflict("It is done already.", ja="処理済みです。", code="done")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _closed() -> Conflict:
    return Conflict(
        "This visit is closed.",
        ja="この受付は完了しています。",
        code="closed",
        remedy="Open a new one for what is still to do.",
        remedy_ja="残りの手続は新しい受付で行ってください。",
    )


def spoken(seconds: int) -> tuple[int, int]:
    """Hours and minutes."""
    return divmod(round(seconds / 60), 60)
