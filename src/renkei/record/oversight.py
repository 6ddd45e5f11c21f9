"""What the commission has decided, as far as the data path must know: officers, orders, exceptional permits, assessments.

A pure part of the governance fold. No decision counts without its officers' own signatures, which are checked here, by everyone: who
holds the commission's server and its keys, but no officer's, can neither stop anything nor permit anything. Two officers sign what
stops or permits (four eyes), one of them a commissioner.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from renkei.errors import NotGenuine
from renkei.law import Pack
from renkei.law import assessment as law
from renkei.law.pack import EXCEPTION
from renkei.messages import signing
from renkei.messages.wire import (
    Appoint,
    Assessment,
    Confirm,
    Decision,
    ExceptionalPermit,
    Inquiry,
    Letter,
    Lift,
    Measure,
    Officer,
    Order,
    Personal,
    Scope,
    Trail,
)

ROLES = ("reader", "inspector", "commissioner")
"""Of officers: looks · conducts cases and proposes decisions · decides too."""
MEASURES = ("explanation", "inspection", "advice", "guidance", "recommendation", "closing")
"""Steps of supervision short of an order (Act art. 33–35): a request for explanation, an on-site inspection, … , the end of a case."""
HOUR = 3_600_000
DAY = 24 * HOUR
FOUR_EYES = 2


class Standing(NamedTuple):
    """An order or exceptional permit in the record: since when, at which leaf, and when it was lifted (0: not)."""

    decision: Order | ExceptionalPermit
    since: int
    leaf: int
    lifted: int = 0
    confirmed: int = 0


class Linked(NamedTuple):
    """Who learns what from whom, and for which affair: the same of an inquiry and of a notice that its answer is another now. A letter
    is about no item."""

    requester: str
    provider: str
    affair: str
    item: str

    @classmethod
    def by(cls, sender: str, said: Personal) -> Linked:
        """What ``sender`` says."""
        if isinstance(said, Inquiry):
            return cls(sender, said.provider, said.affair, said.item)
        if isinstance(said, Letter):
            return cls(said.receiver, sender, said.affair, "")
        return cls(said.requester, sender, said.affair, said.item)


class Oversight:
    """The fold of the commission's decisions. Change it only by ``apply``."""

    def __init__(self, officers: Sequence[Officer]) -> None:
        self.officers = {o.name: o for o in officers if o.role in ROLES}
        self.decisions: dict[str, Standing] = {}
        """Orders and exceptional permits by number, ended ones too."""
        self.orders: list[str] = []
        """Numbers of orders that were not lifted."""
        self.exceptions: dict[tuple[str, str], list[str]] = {}
        """Numbers of exceptional permits that were not lifted, by affair and item."""
        self.assessments: dict[str, dict[str, Assessment]] = {}
        """Of each body the newest assessment of each name."""
        self.superseded: list[Assessment] = []
        self.measures: list[tuple[int, int, Measure]] = []
        """Time, leaf and act of each step of supervision."""
        self.trail = Trail(0, bytes(32))

    # ------------------------------------------------------------------ what holds

    def against(self, linked: Linked, now: int, clerk: bytes = b"") -> str:
        """The number of an order that stops this now, or nothing. O(standing orders)."""
        for number in self.orders:
            order = self.decisions[number].decision
            assert isinstance(order, Order)
            if (not order.until or now < order.until) and covers(order.scope, linked, clerk):
                return number
        return ""

    def excepting(self, pack: Pack, linked: Linked, now: int) -> str:
        """The number of an exceptional permit that allows this now, or nothing."""
        for number in self.exceptions.get((linked.affair, linked.item), ()):
            standing = self.decisions[number]
            if self.holds(standing, pack, now) and _concerns(standing.decision, linked.requester, linked.provider):
                return number
        return ""

    def holds(self, standing: Standing, pack: Pack, now: int) -> bool:
        """Whether an order or exceptional permit has effect at ``now``."""
        decision = standing.decision
        if standing.lifted:
            return False
        if isinstance(decision, Order):
            return not decision.until or now < decision.until
        if not decision.start <= now < decision.end:
            return False
        hours = pack.header.oversight.confirm_hours
        return not decision.emergency or bool(standing.confirmed) or now < standing.since + hours * HOUR

    def assessed(self, body: str, affair: str, item: str, on: dt.date) -> bool:
        """Whether an assessment published by and not lapsed on that day covers the body's affair as requester, or item as provider."""
        return any(_covers(a, affair, item) and _in_force(a, on) for a in self.assessments.get(body, {}).values())

    # ------------------------------------------------------------------ what may become so

    def check(self, act: Decision | Assessment | Trail, pack: Pack, bodies: Collection[str], now: int) -> None:
        """``NotGenuine`` if the commission may not decide this now, by those who signed. Changes nothing."""
        match act:
            case Appoint():
                self._check_appointment(act)
            case Order():
                self._check_number(act.number)
                if act.scope == Scope() or (act.scope.clerk and act.scope.requester == "*"):
                    raise NotGenuine("An order names what it stops, and whose clerk.", code="order-scope")
                if act.until and act.until <= now:
                    raise NotGenuine("The order would be over already.", code="order-time")
                self._demand(act, commissioners=1)
            case ExceptionalPermit():
                self._check_exception(act, pack, now)
            case Lift():
                standing = self.decisions.get(act.number)
                if standing is None or standing.lifted:
                    raise NotGenuine("There is no such order or permit to lift.", code="not-standing")
                self._demand(act, commissioners=1)
            case Confirm():
                self._check_confirmation(act, pack, now)
            case Measure():
                if act.kind not in MEASURES or act.body not in bodies:
                    raise NotGenuine("There is no such measure, or no such body.", code="measure")
                if (act.first or act.end) and not (act.kind == "inspection" and act.first < act.end):
                    raise NotGenuine("Only an inspection is of leaves of the record, and of some.", code="measure")
                self._demand(act, officers=1)
            case Assessment():
                check_assessment(act, pack)
            case Trail():
                if act.size <= self.trail.size:
                    raise NotGenuine("A trail only grows.", code="trail")

    def apply(self, act: Decision | Assessment | Trail, leaf: int, now: int) -> None:
        """Fold a decision that was checked."""
        match act:
            case Appoint():
                self.officers.pop(act.officer.name, None)
                if act.officer.role:
                    self.officers[act.officer.name] = act.officer
            case Order():
                self.decisions[act.number] = Standing(act, now, leaf)
                self.orders.append(act.number)
            case ExceptionalPermit():
                self.decisions[act.number] = Standing(act, now, leaf)
                self.exceptions.setdefault((act.affair, act.item), []).append(act.number)
            case Lift():
                standing = self.decisions[act.number]
                self.decisions[act.number] = standing._replace(lifted=now)
                decision = standing.decision
                among = self.orders if isinstance(decision, Order) else self.exceptions[decision.affair, decision.item]
                among.remove(act.number)
            case Confirm():
                self.decisions[act.number] = self.decisions[act.number]._replace(confirmed=now)
            case Measure():
                self.measures.append((now, leaf, act))
            case Assessment():
                before = self.assessments.setdefault(act.body, {}).get(act.name)
                self.superseded += [before] if before else []
                self.assessments[act.body][act.name] = act
            case Trail():
                self.trail = act

    # ------------------------------------------------------------------ signatures

    def signers(self, decision: Decision) -> list[Officer]:
        """The officers whose signature under ``decision`` is good; ``NotGenuine`` if one is not, or signs twice."""
        message = signing.decision_bytes(decision)
        found: dict[str, Officer] = {}
        for approval in decision.approvals:
            officer = self.officers.get(approval.officer)
            if officer is None or officer.name in found:
                raise NotGenuine("A decision is signed by officers, each once.", code="officer")
            if not signing.is_signed(message, approval.signature, officer.key):
                raise NotGenuine("An officer's signature is wrong.", code="officer-signature")
            found[officer.name] = officer
        return list(found.values())

    def _demand(self, decision: Decision, *, officers: int = FOUR_EYES, commissioners: int = 0) -> list[Officer]:
        signers = [o for o in self.signers(decision) if o.role != "reader"]
        if len(signers) < officers or sum(o.role == "commissioner" for o in signers) < commissioners:
            raise NotGenuine("Too few officers have signed this decision.", code="four-eyes")
        return signers

    def _check_number(self, number: str) -> None:
        if number in self.decisions:
            raise NotGenuine("There is a decision of this number.", code="repeated")

    def _check_appointment(self, act: Appoint) -> None:
        self._demand(act, commissioners=1)
        officer, keys = act.officer, {o.key for o in self.officers.values() if o.name != act.officer.name}
        if officer.role not in ("", *ROLES) or officer.key in keys:
            raise NotGenuine("An officer has one of the roles, and a key of its own.", code="officer")
        after = [o.role for o in self.officers.values() if o.name != officer.name] + [officer.role]
        if sum(r in ("inspector", "commissioner") for r in after) < FOUR_EYES or "commissioner" not in after:
            raise NotGenuine("Nobody could decide anything any more.", code="officer")

    def _check_exception(self, act: ExceptionalPermit, pack: Pack, now: int) -> None:
        self._check_number(act.number)
        if act.affair not in pack.affairs or act.item not in pack.items:
            raise NotGenuine("An exceptional permit is for an affair and an item of the law's pack.", code="exception")
        longest = pack.header.oversight.exception_days_max * DAY
        if not now - DAY <= act.start < act.end <= act.start + longest or act.end <= now:
            raise NotGenuine("An exceptional permit begins, and ends within the time the law allows.", code="exception")
        if {act.requester, act.provider} == {"*"} and not act.area:
            raise NotGenuine("An exceptional permit says for whom, or where.", code="exception")
        self._demand(act, officers=1 if act.emergency else FOUR_EYES, commissioners=1)

    def _check_confirmation(self, act: Confirm, pack: Pack, now: int) -> None:
        standing = self.decisions.get(act.number)
        if standing is None or not isinstance(standing.decision, ExceptionalPermit) or not standing.decision.emergency:
            raise NotGenuine("There is no such emergency permit.", code="not-standing")
        if standing.confirmed or not self.holds(
            standing._replace(confirmed=0), pack, max(now, standing.decision.start)
        ):
            raise NotGenuine("The time to confirm is over.", code="not-standing")
        before = {a.officer for a in standing.decision.approvals}
        if any(o.name in before for o in self._demand(act, officers=1)):
            raise NotGenuine("Another officer confirms.", code="four-eyes")


def covers(scope: Scope, linked: Linked, clerk: bytes = b"") -> bool:
    """Whether this is what ``scope`` means. ``clerk`` is the pseudonym of who asked, where it is known."""
    if scope.clerk and scope.clerk != clerk:
        return False
    if scope.body not in ("*", linked.requester, linked.provider):
        return False
    wanted = scope.requester, scope.provider, scope.affair, scope.item
    return all(one in ("*", is_) for one, is_ in zip(wanted, linked, strict=True))


def row_of(number: str) -> str:
    """What stands in a ruling in place of a row when an exceptional permit allows it."""
    return EXCEPTION + number


def check_assessment(act: Assessment, pack: Pack) -> None:
    """Its level must be one that is enough for what it says of the files. ``NotGenuine`` otherwise."""
    due, _ = law.due(pack.thresholds, pack.header.oversight, act.people, act.handlers, act.incident)
    if act.level not in pack.levels or pack.levels[act.level].rank < pack.levels[due].rank:
        raise NotGenuine("The assessment is of too low a level for its files.", code="assessment-level")
    for day in (act.published, act.review_due, act.lapses):
        try:
            dt.date.fromisoformat(day or act.published)
        except ValueError:
            raise NotGenuine("An assessment's days are days.", code="assessment-day") from None
    if act.follows and not act.lapses:
        raise NotGenuine("What stands in for an assessment has an end.", code="assessment-day")


def published(assessments: dict[str, dict[str, Assessment]]) -> Iterator[Assessment]:
    """All that were not superseded, by body and name."""
    for body in sorted(assessments):
        yield from (assessments[body][name] for name in sorted(assessments[body]))


def _covers(a: Assessment, affair: str, item: str) -> bool:
    if affair and ("*" in a.affairs or affair in a.affairs):
        return True
    return bool(item) and ("*" in a.items or item in a.items)


def _in_force(a: Assessment, on: dt.date) -> bool:
    day = on.isoformat()  # ISO days order as text
    return a.published <= day and (not a.lapses or day <= a.lapses)


def _concerns(decision: Order | ExceptionalPermit, requester: str, provider: str) -> bool:
    assert isinstance(decision, ExceptionalPermit)
    if decision.requester not in ("*", requester) or decision.provider not in ("*", provider):
        return False
    return not decision.area or requester in decision.area or provider in decision.area
