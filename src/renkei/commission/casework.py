"""Casework: cases, measures and decisions of the commission's officers, from the console to the record.

What has effect goes into the record, signed by the officers themselves; the words of a measure go to the body alone, and the record has
their salted hash. Everything an officer does is kept in the trail, in the transaction that does it; the trail's root is in the record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.commission import store
from renkei.commission.inspection import CONCERNED_MOST
from renkei.errors import Conflict, NotFound, NotGenuine, Refused, RenkeiError, Unavailable
from renkei.institution.database import Database
from renkei.institution.keeper import Keeper
from renkei.institution.keys import Keys
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.ledger import merkle
from renkei.messages.signing import approve
from renkei.messages.wire import (
    Appoint,
    Assessment,
    Confirm,
    Decision,
    Demand,
    ExceptionalPermit,
    Explanation,
    Lift,
    Measure,
    Officer,
    Order,
    Progress,
    Records,
    Report,
    Submit,
    Trail,
    decode_as,
    decode_signed,
    document_hash,
    encode,
)
from renkei.record.entries import ActLeaf, Entry
from renkei.record.oversight import DAY, MEASURES, Oversight, Standing, row_of

REPORTS = ("unrecognised", "paper")
"""What residents report: an access they do not recognise · paper was asked for that the network could have brought."""
RECORDS_MOST = 2 * CONCERNED_MOST
"""Of one body for one inspection: asked and given."""
USES_MOST = 10_000
"""Uses of an exceptional permit that one review lists."""
PREFIXES: dict[type[Any], str] = {Order: "o", ExceptionalPermit: "x", Lift: "l", Appoint: "a"}


class Signed(NamedTuple):
    """An officer with the seed that signs for them, unlocked for one act."""

    officer: Officer
    seed: bytes


class Casework:
    """The desk of the commission's officers."""

    def __init__(
        self, keys: Keys, keeper: Keeper, database: Database, post: Post, observe: Observer, clock: Clock
    ) -> None:
        self._keys, self._keeper, self._database = keys, keeper, database
        self._post, self._observe, self._clock = post, observe, clock

    @property
    def oversight(self) -> Oversight:
        return self._keeper.state.oversight

    # ------------------------------------------------------------------ cases

    async def open(self, officer: Officer, title: str, body: str, leaves: Sequence[int] = ()) -> str:
        """An inspector opens a case; its number."""
        demand_inspector(officer)
        if body and body not in self._keeper.state.bodies:
            raise NotFound("No such body is enrolled.", ja="この機関は登録されていません。", code="not-enrolled")
        now = self._clock()

        def commit(connection: sa.Connection) -> str:
            found = [(at, b"") for at in dict.fromkeys(leaves)]
            number = self._open(connection, "inspector", title, body, officer.name, now, found)
            self.note(connection, officer.name, "open", number)
            return number

        return await self._database.write(commit)

    async def review(self, officer: Officer, number: str) -> str:
        """The review that is due when an exceptional permit has ended: a case about every use of it; its number."""
        demand_inspector(officer)
        now = self._clock()

        def commit(connection: sa.Connection) -> str:
            if number not in [s.decision.number for s in self.due_for_review(connection, now)]:
                raise Conflict("No review of this is due.", ja="点検の時期ではないか、点検済みです。", code="no-review")
            leaves = [(u.position, b"") for u in store.uses(connection, row_of(number), USES_MOST)]
            case = self._open(connection, "review", number, "", officer.name, now, leaves)
            self.note(connection, officer.name, "open", case)
            return case

        return await self._database.write(commit)

    def due_for_review(self, connection: sa.Connection, now: int) -> list[Standing]:
        """Exceptional permits that have ended, and whose uses nobody has reviewed."""
        oversight, done = self.oversight, store.reviewed(connection)
        pack = self._keeper.state.pack
        return [
            s
            for s in oversight.decisions.values()
            if isinstance(s.decision, ExceptionalPermit)
            and s.decision.number not in done
            and now >= s.decision.start
            and not oversight.holds(s, pack, now)
        ]

    def _open(
        self,
        connection: sa.Connection,
        origin: str,
        title: str,
        body: str,
        by: str,
        now: int,
        leaves: Sequence[tuple[int, bytes]],
    ) -> str:
        number = store.next_number(connection, f"c-{self._year(now)}")
        row = {"number": number, "origin": origin, "title": title, "body": body, "opened_at": now, "opened_by": by}
        store.open_case(connection, {**row, "closed_at": None}, leaves)
        self._tell_portal(connection, number, "examined", leaves)
        return number

    def alarmed(self, connection: sa.Connection, title: str, body: str, leaves: Sequence[int], now: int) -> str:
        """An alarm opens a case, in the transaction that keeps the alarm."""
        return self._open(connection, "alarm", title, body, "alarm", now, [(at, b"") for at in leaves])

    def _tell_portal(
        self, connection: sa.Connection, number: str, state: str, leaves: Sequence[tuple[int, bytes]]
    ) -> None:
        """Residents concerned see that the commission looks into an access, and when it has."""
        portals = [b.body for b in self._keeper.state.bodies.values() if b.role == "portal"]
        for portal in portals if leaves else ():
            self._post.put(connection, portal, [Progress(at, number, state, ref) for at, ref in leaves])

    async def measure(
        self, signed: Signed, number: str, kind: str, text: str, days: int, leaves: tuple[int, int] = (0, 0)
    ) -> None:
        """A step of supervision: into the record, and once it is there its words to the body. ``closing`` ends the case.

        An inspection is of the ``leaves`` (first, end) whose inquiries the body is to hand its own records of.
        """
        demand_inspector(signed.officer)
        case = await self._case(number)
        if case.closed_at is not None:
            raise _closed()
        if not case.body and kind != "closing":
            raise Conflict("The case names no body.", ja="この事案には対象機関がありません。", code="no-body")
        if kind not in MEASURES:
            raise NotFound("There is no such measure.", ja="この措置はありません。", code="measure")
        now, salt = self._clock(), os.urandom(16)
        due = now + days * DAY if days and kind in ("explanation", "inspection", "recommendation") else 0
        document = document_hash(salt, text)
        first, end = leaves if kind == "inspection" else (0, 0)
        bare = Measure(number, kind, case.body or self._keys.body, document, due, first, end)
        act = self._complete(approve(bare, signed.officer.name, signed.seed), now)

        def commit(connection: sa.Connection) -> None:
            if store.is_closed(connection, number):  # by somebody else, meanwhile
                raise _closed()
            paper = {"number": number, "kind": kind, "author": signed.officer.name, "at": now, "text": text}
            store.add_paper(
                connection, {**paper, "document": document, "salt": salt, "due": due or None, "answers": None}
            )
            self.submit(connection, act)
            if kind == "closing":
                store.close_case(connection, number, now)
                leaves = [(r.position, bytes(r.reference)) for r in store.leaves_of(connection, number)]
                self._tell_portal(connection, number, "closed", leaves)
            self.note(connection, signed.officer.name, kind, number)

        await self._database.write(commit)

    def recorded(self, connection: sa.Connection, entries: Sequence[Entry]) -> None:
        """In the transaction of a round: send the words of the measures that are in the record now, to the bodies they are for."""
        for entry in entries:
            act = decode_signed(entry.act.payload) if isinstance(entry, ActLeaf) else None
            if isinstance(act, Measure) and act.body != self._keys.body:
                paper = store.paper_of(connection, act.document)
                if paper is not None:
                    demand = Demand(act.case, act.kind, bytes(paper.salt), paper.text, act.due)
                    self._post.put(connection, act.body, [demand])

    async def note_down(self, officer: Officer, number: str, text: str) -> None:
        """A note of an officer's own, which goes nowhere."""
        demand_inspector(officer)
        await self._case(number)
        now = self._clock()

        def commit(connection: sa.Connection) -> None:
            paper = {"number": number, "kind": "note", "author": officer.name, "at": now, "text": text}
            store.add_paper(connection, {**paper, "document": None, "due": None, "answers": None})
            self.note(connection, officer.name, "note", number)

        await self._database.write(commit)

    async def _case(self, number: str) -> Any:
        case = await self._database.read(lambda c: store.case(c, number))
        if case is None:
            raise NotFound("There is no such case.", ja="この事案はありません。")
        return case

    # ------------------------------------------------------------------ decisions

    async def propose(self, signed: Signed, make: Callable[[str], Decision]) -> str:
        """A decision that ``make`` makes of its number, with this officer's signature; its number. In force if that suffices."""
        demand_inspector(signed.officer)
        now = self._clock()
        while True:
            prefix = f"{PREFIXES[type(make('x-0'))]}-{self._year(now)}"
            number = await self._database.read(lambda c, prefix=prefix: store.next_number(c, prefix))  # type: ignore[misc]
            decision = approve(make(number), signed.officer.name, signed.seed)
            ready = self._ready(decision, now)
            row = {"number": number, "decision": encode(decision), "proposed_by": signed.officer.name, "at": now}

            def commit(
                connection: sa.Connection, row: dict[str, Any] = row, made: Decision = decision, ready: bool = ready
            ) -> None:
                store.put_proposal(connection, {**row, "state": "submitted" if ready else "proposed"})
                if ready:
                    self.submit(connection, made)
                self.note(connection, signed.officer.name, "propose", row["number"])

            try:
                await self._database.write(commit)
                return number
            except sa.exc.IntegrityError:  # another officer was quicker with this number
                continue

    async def sign(self, signed: Signed, number: str) -> bool:
        """Another officer signs a proposal; whether it goes into the record by that."""
        demand_inspector(signed.officer)
        proposal = await self.proposal(number)
        before, now = encode(proposal), self._clock()
        if signed.officer.name in {a.officer for a in proposal.approvals}:
            raise Conflict(
                "You have signed this already; somebody else decides with you.",
                ja="すでに署名しています。決定には、ほかの職員の署名が必要です。",
                code="four-eyes",
                remedy="Ask a colleague to sign.",
                remedy_ja="ほかの職員に署名を依頼してください。",
            )
        decision = approve(proposal, signed.officer.name, signed.seed)
        ready = self._ready(decision, now)

        def commit(connection: sa.Connection) -> None:
            state = "submitted" if ready else "proposed"
            if ready and isinstance(decision, Lift):
                self._demand_sole(connection, decision)
            if not store.sign_proposal(connection, number, before, encode(decision), state):
                raise _moved_on()
            if ready:
                self.submit(connection, decision)
            self.note(connection, signed.officer.name, "sign", number)

        await self._database.write(commit)
        return ready

    def _demand_sole(self, connection: sa.Connection, lift: Lift) -> None:
        """``Conflict`` if another lift of the same decision is signed and, perhaps, still on its way into the record: one counts."""
        for signed in store.submitted(connection, PREFIXES[Lift]):
            if decode_as(signed, Lift).number == lift.number:
                raise Conflict(
                    "It is being lifted already.",
                    ja="すでに解除の決定に署名されています。",
                    code="moved-on",
                    remedy="Withdraw this one.",
                    remedy_ja="この案を取り下げてください。",
                )

    async def withdraw(self, officer: Officer, number: str) -> None:
        """A proposal that shall not be decided."""
        demand_inspector(officer)
        proposal = encode(await self.proposal(number))

        def commit(connection: sa.Connection) -> None:
            if not store.sign_proposal(connection, number, proposal, proposal, "withdrawn"):
                raise _moved_on()
            self.note(connection, officer.name, "withdraw", number)

        await self._database.write(commit)

    async def confirm(self, signed: Signed, number: str) -> None:
        """A second officer confirms an exceptional permit that was issued in an emergency."""
        demand_inspector(signed.officer)
        now = self._clock()
        act = self._complete(approve(Confirm(number), signed.officer.name, signed.seed), now)
        name = f"k-{number}"
        row = {"number": name, "decision": encode(act), "proposed_by": signed.officer.name, "at": now}

        def commit(connection: sa.Connection) -> None:
            if store.proposal(connection, name) is not None:  # on its way into the record, by somebody else
                raise _moved_on()
            store.put_proposal(connection, {**row, "state": "submitted"})
            self.submit(connection, act)
            self.note(connection, signed.officer.name, "confirm", number)

        await self._database.write(commit)

    async def proposal(self, number: str) -> Decision:
        """A proposal that waits for signatures; ``NotFound`` if there is none."""
        row = await self._database.read(lambda c: store.proposal(c, number))
        if row is None or row.state != "proposed":
            raise NotFound("No such proposal waits for a signature.", ja="署名を待つ案はありません。")
        return decision_of(row)

    def _ready(self, decision: Decision, now: int) -> bool:
        """Whether enough officers have signed. Raises what else is wrong with it."""
        try:
            self._complete(decision, now)
        except NotGenuine as error:
            if error.code != "four-eyes":
                raise
            return False
        return True

    def _complete(self, decision: Decision, now: int) -> Decision:
        """The decision, once the record would take it."""
        state = self._keeper.state
        try:
            self.oversight.check(decision, state.pack, state.bodies, now)
        except NotGenuine as error:
            if error.code == "four-eyes":
                raise
            raise Refused(
                error.sentence,
                ja=f"この内容では決定できません（{error.code}）。",
                remedy="Correct the form and sign again.",
                remedy_ja="内容を直して、もう一度署名してください。",
                code=error.code,
            ) from error
        return decision

    def submit(self, connection: sa.Connection, act: Decision | Assessment | Trail) -> None:
        self._post.put(connection, "hub", [Submit(self._keys.identity.sign(act))])

    # ------------------------------------------------------------------ what comes in

    def take(
        self, messages: Sequence[tuple[str, Any]], unknown: Callable[[sa.Connection, Report, int], None]
    ) -> Callable[[sa.Connection], None]:
        """Work for the writer: what bodies answer, what residents report through the portal; ``unknown`` are accesses it knows nobody for.

        Anything may come twice (ADR 9): a report is known by its reference, an answer by what it answers.
        """
        now = self._clock()

        def commit(connection: sa.Connection) -> None:
            for sender, message in messages:
                match message:
                    case Explanation():
                        self._explained(connection, sender, message, now)
                    case Records():
                        self._handed(connection, sender, message)
                    case Report(kind="unknown") if self._is_portal(sender):
                        unknown(connection, message, now)
                    case Report() if self._is_portal(sender):
                        self._reported(connection, sender, message, now)
                    case _:
                        self._observe.count("messages_unexpected")

        return commit

    def _is_portal(self, sender: str) -> bool:
        return self._keeper.state.body(sender).role == "portal"

    def _explained(self, connection: sa.Connection, sender: str, told: Explanation, now: int) -> None:
        if not self._awaits(connection, sender, told):
            return
        paper = {"number": told.case, "kind": "answer", "author": sender, "at": now, "text": told.text}
        store.add_paper(connection, {**paper, "document": None, "due": None, "answers": told.document})

    def _awaits(self, connection: sa.Connection, sender: str, told: Explanation | Records) -> bool:
        """Whether this body was asked what it tells, and has not answered yet."""
        case, paper = store.case(connection, told.case), store.paper_of(connection, told.document)
        if case is None or case.body != sender or paper is None or paper.number != told.case:
            self._observe.count("messages_unexpected")
            return False
        if store.is_answered(connection, told.case, told.document):
            self._observe.count("messages_repeated")
            return False
        return True

    def _handed(self, connection: sa.Connection, sender: str, told: Records) -> None:
        """A body's own records, for an inspection; what it hands over once stays as it was handed over."""
        if not self._awaits(connection, sender, told):
            return
        if not store.hand_over(connection, told.document, told.asked, told.given, RECORDS_MOST):
            self._observe.count("messages_unexpected")

    def _reported(self, connection: sa.Connection, portal: str, report: Report, now: int) -> None:
        """One case gathers what residents report of one access; the body it concerns is the one that asked, or that told."""
        if report.kind not in REPORTS:
            self._observe.count("messages_unexpected")
            return
        if report.index >= self._keeper.tree.size:  # we were restored: the hub has it, and gives it back
            raise Unavailable("The record here does not reach to this leaf yet.", code="behind")
        if store.is_reported(connection, report.index, report.reference):
            self._observe.count("messages_repeated")
            return
        parties = self._keeper.parties(connection, [report.index]).get(report.index)
        number = store.case_at(connection, report.index, report.kind)
        if number is None:
            body = parties[0] if parties else ""
            number = self._open(
                connection, report.kind, report.kind, body, portal, now, [(report.index, report.reference)]
            )
        else:
            self._post.put(connection, portal, [Progress(report.index, number, "examined", report.reference)])
        paper = {"number": number, "kind": "report", "author": portal, "at": now, "text": report.text}
        store.add_paper(connection, {**paper, "document": None, "due": None, "answers": report.reference})

    # ------------------------------------------------------------------ the trail

    def note(self, connection: sa.Connection, officer: str, act: str, about: str) -> None:
        """Put down what an officer did, in the transaction that does it."""
        entry = {"at": self._clock(), "officer": officer, "act": act, "about": about}
        store.add_trail(connection, msgspec.json.encode(entry, order="sorted"))

    async def look(self, officer: Officer, what: str, about: str) -> None:
        """An officer has looked at something that is not public."""
        await self._database.write(lambda c: self.note(c, officer.name, what, about))

    async def publish_trail(self) -> None:
        """Put the trail's root into the record, if it has grown."""
        entries = await self._database.read(store.trail_entries)
        if len(entries) > self.oversight.trail.size:
            act = Trail(len(entries), trail_root(entries))
            await self._database.write(lambda c: self.submit(c, act))

    def _year(self, now: int) -> int:
        return self._keeper.state.pack.day(now).year


def decision_of(proposal: Any) -> Decision:
    """The decision in a row of proposals."""
    return decode_as(bytes(proposal.decision), Decision)  # type: ignore[arg-type]  # a union is a type to msgspec


def trail_root(entries: Sequence[bytes]) -> bytes:
    """The root over the trail's entries (RFC 6962 §2.1)."""
    tiles: dict[tuple[int, int], bytes] = {}
    tree = merkle.Tree(lambda level, index: tiles[level, index])
    tiles.update({(level, index): tile for level, index, tile in tree.append(merkle.leaf_hash(e) for e in entries)})
    return tree.root()


def demand_inspector(officer: Officer) -> None:
    """``Refused`` for officers who only look."""
    if officer.role not in ("inspector", "commissioner"):
        raise Refused(
            "Readers look and do not decide.",
            ja="閲覧担当の職員は、手続を行えません。",
            remedy="Ask an inspector.",
            remedy_ja="検査担当の職員に依頼してください。",
            code="duty",
        )


def _closed() -> RenkeiError:
    return Conflict("The case is closed.", ja="この事案は終結しています。", code="closed")


def _moved_on() -> RenkeiError:
    return Conflict(
        "Somebody else signed or withdrew it meanwhile.",
        ja="ほかの職員が先に署名または取り下げました。",
        remedy="Look at it again.",
        remedy_ja="もう一度確認してください。",
        code="moved-on",
    )
