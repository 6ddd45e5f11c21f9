"""The life of a card, state by state: what may be done in each and what not; interruptions; documents that are enough; what is kept."""

import asyncio
import datetime as dt
import os
from pathlib import Path

import pytest

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.certification import store
from renkei.certification.applications import Applications, Person
from renkei.certification.production import Pins, Producer
from renkei.errors import Conflict, Malformed, NotFound, RenkeiError
from renkei.law.header import Paper, Proofing
from tests.service.certification.conftest import NEEDS_TOKEN

cv2 = pytest.importorskip("cv2")
pytestmark = NEEDS_TOKEN
PHOTO = (Path(__file__).parents[2] / "photos" / "good.jpg").read_bytes()
PINS = Pins("1234", "ABC123", "9876")
OFFICE, OTHER = "ohashi-city", "kiriyama-town"
WHO = Person("123456789018", "連携 花子", "大橋市本町1", dt.date(1999, 4, 1), "2")


class Desk:
    """An office with its applications, and what it registered at the numbering authority."""

    def __init__(self, bureau, folder):
        self.bureau, self.registered, self.away = bureau, [], False
        producer = Producer(bureau.office, os.urandom(32))
        parts = bureau.office, producer, bureau.database, os.urandom(32), folder / "cards", bureau.pack
        self.all = Applications(*parts, self.register, bureau.clock)
        self.folder = folder / "cards"

    async def register(self, number, certificate):
        if self.away:
            raise Conflict("away", code="no-answer")
        self.registered.append((number, certificate))

    def do(self, work):
        return asyncio.run(work)

    def state(self, code):
        return self.do(self.all.get(code, OFFICE)).state

    def refused(self, work):
        with pytest.raises(RenkeiError) as refusal:
            self.do(work)
        return refusal.value.code

    def reach(self, state):
        """A new application in this state."""
        code = self.do(self.all.invite(OFFICE, WHO, "A"))
        steps = {
            "invited": [],
            "applied": [self.apply],
            "made": [self.apply, self.produce],
            "announced": [self.apply, self.produce, self.announce],
            "handed": [self.apply, self.produce, self.hand_over],
            "suspended": [self.apply, self.produce, self.hand_over, self.suspend],
            "ended": [self.apply, self.produce, self.hand_over, self.end],
        }
        for step in steps[state]:
            self.do(step(code))
        assert self.state(code) == state
        return code

    def apply(self, code, channel="counter"):
        return self.all.apply(code, PHOTO, channel, "A")

    def produce(self, code):
        return self.all.produce("A")

    def announce(self, code):
        return self.all.announce(code, OFFICE, "A")

    def hand_over(self, code, office=OFFICE, shown=("passport",), pins=PINS):
        return self.all.hand_over(code, office, shown, pins, "A")

    def suspend(self, code, office=OFFICE):
        return self.all.suspend(code, office, "A")

    def release(self, code, office=OFFICE):
        return self.all.release(code, office, "A")

    def end(self, code, office=OFFICE, reason="returned"):
        return self.all.end(code, office, reason, "A")

    def rewrite(self, code, office=OFFICE):
        return self.all.rewrite(code, office, {"address": "新しい町2", "pin": "ABC123"}, "moved", "A")

    def certificates(self, code):
        card = self.do(self.all.get(code, OFFICE)).card
        rows = self.bureau.database.read_now(lambda c: store.of_card(c, card))
        return {(r.purpose, r.state) for r in rows}


@pytest.fixture(scope="module")
def desk(bureau, tmp_path_factory):
    return Desk(bureau, tmp_path_factory.mktemp("counter"))


ALLOWED = {
    "invited": {"apply"},
    "applied": {"apply"},
    "made": {"announce", "hand_over"},
    "announced": {"announce", "hand_over"},
    "handed": {"suspend", "end", "rewrite"},
    "suspended": {"release", "end"},
    "ended": set(),
}
AFTER = {
    "apply": "applied",
    "announce": "announced",
    "hand_over": "handed",
    "suspend": "suspended",
    "release": "handed",
    "end": "ended",
    "rewrite": "handed",
}


@pytest.mark.parametrize("state", ALLOWED)
def test_what_may_be_done_in_each_state_and_what_not(desk, state):
    """Every act in every state: done, or refused with nothing changed."""
    code = desk.reach(state)
    for act in AFTER:
        if act in ALLOWED[state]:
            continue
        before = desk.do(desk.all.get(code, OFFICE))
        answer = desk.refused(getattr(desk, act)(code))
        if act == "announce" and state in ("handed", "suspended", "ended"):
            assert answer == "moved-on"
        assert desk.do(desk.all.get(code, OFFICE)) == before, act
    for act in ALLOWED[state] - {"end"}:
        desk.do(getattr(desk, act)(code if act != "hand_over" else desk.reach(state)))
        break


def test_another_office_does_nothing(desk):
    for state, act in (
        ("made", desk.hand_over),
        ("handed", desk.suspend),
        ("suspended", desk.release),
        ("handed", desk.end),
        ("handed", desk.rewrite),
    ):
        code = desk.reach(state)
        assert desk.refused(act(code, OTHER)) == "no-application"
        assert desk.state(code) == state
    with pytest.raises(NotFound):
        desk.do(desk.all.get("NOSUCHCODE12", OFFICE))


def test_the_certificates_follow_the_card(desk):
    both = {"authentication", "signature"}
    code = desk.reach("handed")
    assert desk.certificates(code) == {(p, "good") for p in both}
    desk.do(desk.suspend(code))
    assert desk.certificates(code) == {(p, "suspended") for p in both}
    desk.do(desk.release(code))
    desk.do(desk.rewrite(code))
    assert desk.certificates(code) == {("authentication", "good"), ("signature", "revoked"), ("signature", "good")}
    desk.do(desk.end(code, reason="died"))
    assert {s for _, s in desk.certificates(code)} == {"revoked"}


def test_who_and_the_photograph_are_gone_with_the_hand_over(desk):
    code = desk.reach("made")
    assert desk.do(desk.all.get(code, OFFICE)).person == WHO
    desk.registered.clear()
    desk.do(desk.hand_over(code))
    after = desk.do(desk.all.get(code, OFFICE))
    assert (after.person, after.photo) == (None, None)
    assert [n for n, _ in desk.registered] == [WHO.number]
    assert [a.what for a in after.acts] == ["invited", "applied", "made", "handed"]
    assert WHO.name not in str([tuple(a) for a in after.acts])


def test_documents_that_are_not_enough_and_pins_that_cannot_be_hand_nothing_over(desk):
    code = desk.reach("announced")
    desk.registered.clear()
    for shown in ((), ("health-insurance",), ("health-insurance", "health-insurance"), ("no-such-paper", "staff-card")):
        assert desk.refused(desk.hand_over(code, shown=shown)) == "proofing"
    for pins in (Pins("12345", "ABC123", "9876"), Pins("1234", "abc123", "9876"), Pins("1234", "ABC123", "")):
        assert desk.refused(desk.hand_over(code, pins=pins)) == "pin-form"
    assert (desk.state(code), desk.registered) == ("announced", [])
    desk.away = True
    try:
        assert desk.refused(desk.hand_over(code)) == "no-answer"
    finally:
        desk.away = False
    assert desk.state(code) == "announced"
    desk.do(desk.hand_over(code, shown=("health-insurance", "staff-card")))


@pytest.mark.parametrize(
    ("shown", "enough"),
    [
        ("", False),
        ("a", True),
        ("b", False),
        ("bb", True),
        ("ab", True),
        ("c", False),
        ("cc", False),
        ("bc", False),
        ("ccc", True),
        ("bcc", True),
        ("abc", True),
    ],
)
def test_better_documents_stand_for_lesser_ones(shown, enough):
    kinds = {"a": "A", "b": "B", "c": "C"}
    papers = tuple(Paper(f"{k}{n}", kind, "", "") for k, kind in kinds.items() for n in range(3))
    rules = Proofing(("A", "BB", "CCC"), papers)
    assert rules.satisfied([f"{k}{shown[:i].count(k)}" for i, k in enumerate(shown)]) is enough


def test_a_production_that_was_interrupted_is_made_anew(desk, monkeypatch):
    """The disk is full after the keys were certified: nothing of the first try is good, and the card is another."""
    code = desk.reach("applied")
    desk.folder.mkdir(exist_ok=True)
    real = desk.bureau.office.issue
    tries = []

    async def full_after_one(purpose, public, holder, **more):
        made = await real(purpose, public, holder, **more)
        tries.append(holder.card)
        if len(tries) == 1:
            raise OSError("no space left")
        return made

    monkeypatch.setattr(desk.bureau.office, "issue", full_after_one)
    with pytest.raises(OSError, match="space"):
        desk.do(desk.produce(code))
    assert desk.state(code) == "making"
    assert desk.refused(desk.apply(code)) == "moved-on"
    desk.do(desk.produce(code))
    assert desk.state(code) == "made"
    first, second = tries[0], desk.do(desk.all.get(code, OFFICE)).card
    assert first != second
    left = desk.bureau.database.read_now(lambda c: store.of_card(c, first))
    assert {r.state for r in left} == {"revoked"}
    assert desk.certificates(code) == {("authentication", "good"), ("signature", "good")}


def test_what_cannot_be_is_refused_at_the_form(desk):
    for change in (
        {"number": "123456789012"},
        {"birth": dt.date(2999, 1, 1)},
        {"birth": dt.date(1800, 1, 1)},
        {"name": "a\x07"},
    ):
        person = Person(**{f: change.get(f, getattr(WHO, f)) for f in Person.__struct_fields__})
        with pytest.raises(Malformed):
            desk.do(desk.all.invite(OFFICE, person, "A"))
    with pytest.raises(Malformed):
        desk.do(desk.all.invite(OFFICE, WHO, "A", "wish"))


def test_holders_are_reminded_before_the_end(desk):
    """Of certificates that end within the pack's days, and of no others; not of those that are not good."""
    clock, before = desk.bureau.clock, desk.bureau.clock.now
    code = desk.reach("handed")
    card = desk.do(desk.all.get(code, OFFICE)).card
    row = next(
        r for r in desk.bureau.database.read_now(lambda c: store.of_card(c, card)) if r.purpose == "authentication"
    )
    try:
        for days, told in ((200, False), (80, True), (1, True), (-1, False)):
            clock.now = dt.datetime.fromtimestamp(row.last / 1000, dt.UTC) - dt.timedelta(days=days)
            assert any(r.card == card for r in desk.do(desk.all.ending())) is told
        desk.do(desk.suspend(code))
        clock.now = dt.datetime.fromtimestamp(row.last / 1000, dt.UTC) - dt.timedelta(days=5)
        assert not any(r.card == card for r in desk.do(desk.all.ending()))
    finally:
        clock.now = before


def test_of_two_who_hand_over_at_once_one_does(desk):
    """The card has the PINs of who did, and the other is told."""
    code = desk.reach("made")
    first, second = Pins("1111", "AAAAAA", "1111"), Pins("2222", "BBBBBB", "2222")

    async def both():
        return await asyncio.gather(*(desk.hand_over(code, pins=p) for p in (first, second)), return_exceptions=True)

    ends = asyncio.run(both())
    assert [isinstance(e, Conflict) for e in ends] in ([False, True], [True, False])
    won = first if ends[0] is None else second
    card = CardClient(desk.all.file(desk.do(desk.all.get(code, OFFICE)).card).chip().transmit)
    card.sign(AUTHENTICATION, won.authentication, b"x")


def test_a_wide_space_in_a_name_is_a_space(desk):
    person = Person(**{f: {"name": "連携\u3000花子"}.get(f, getattr(WHO, f)) for f in Person.__struct_fields__})
    assert desk.do(desk.all.invite(OFFICE, person, "A"))


def test_each_way_to_apply_is_told_apart(desk):
    """At the counter, from home, by post; no other; the last counts."""
    before = desk.do(desk.all.channels(OFFICE))
    code = desk.do(desk.all.invite(OFFICE, WHO, "A"))
    assert desk.do(desk.all.channels(OFFICE)) == before
    assert desk.refused(desk.apply(code, "pigeon")) == "channel"
    for channel in ("web", "counter", "post"):
        desk.do(desk.apply(code, channel))
        assert desk.do(desk.all.get(code, OFFICE)).channel == channel
        counted = {c: n - before.get(c, 0) for c, n in desk.do(desk.all.channels(OFFICE)).items()}
        assert {c for c, n in counted.items() if n} == {channel}
