"""Adversary: the commission, with all its keys.

Claims it tries to break: it alone enrols nobody and replaces nobody; without its officers' own keys it decides nothing; a converter does
not change the keys of a domain; what contradicts itself in the record stops nobody; a wrong conversion of its own is found.
"""

import os
import re

import msgspec
import pytest
from msgspec.structs import replace

from renkei.codes import Converter, Domain
from renkei.errors import NotGenuine, RenkeiError
from renkei.hub.sequencer import Halted
from renkei.messages.signing import Identity, SealKey, approve, decision_bytes
from renkei.messages.wire import (
    Appoint,
    Confirm,
    Cosigned,
    DomainKeys,
    Enrol,
    Enrolment,
    Envelope,
    ExceptionalPermit,
    Filed,
    Fill,
    HeadIs,
    Lift,
    Measure,
    NotSigned,
    Officer,
    Order,
    RoundCopy,
    Scope,
    Submit,
    Trail,
    signed_bytes,
)
from renkei.record.entries import ActLeaf
from renkei.record.oversight import DAY
from renkei.record.state import ref_of
from tests.attacks.changes import changes, parts, plain
from tests.attacks.liar import answering, is_caught
from tests.attacks.measures import entries, quiet
from tests.unit.record.conftest import NOW, Net, bus_key
from tests.world import until


@pytest.fixture
def net(pack, converters):
    return Net(pack, converters)


def enrol(net, body, role, kinds, identity=None):
    identity = identity or Identity(body, os.urandom(32))
    enrolment = Enrolment(body, role, kinds, identity.public, bus_key(), SealKey().public)
    return net.identities["commission"].sign(Enrol(identity.sign(enrolment)))


@pytest.mark.parametrize(
    ("body", "role", "kinds"),
    [
        ("ghost", "portal", []),
        ("ghost", "gateway", ["municipality-mayor"]),
        ("ohashi-city", "portal", []),
        ("employment-office", "gateway", ["municipality-mayor"]),
        ("employment-office", "authority", []),
        ("ohashi-city", "gateway", None),
        ("hub", "hub", None),
        ("commission", "commission", None),
        ("portal", "portal", None),
    ],
)
def test_a_commission_alone_can_enrol_no_ghost_and_replace_no_one(net, body, role, kinds):
    """A second portal would be handed every inquiry; a new key for an old body would take its place."""
    known = net.pack.bodies.get(body)
    kinds = list(known.kinds) if kinds is None else kinds
    with pytest.raises(NotGenuine):
        net.state.check(enrol(net, body, role, kinds), NOW)


def test_a_converter_cannot_change_the_keys_of_a_domain(net):
    other, domain = Converter(os.urandom(64)), Domain("tax-union")
    from renkei.codes import prove_share

    again = DomainKeys(ref_of(domain), "hub", 1, *other.public_share(domain), prove_share(other, domain))
    with pytest.raises(NotGenuine):
        net.state.check(net.identities["hub"].sign(again), NOW)
    net.state.check(net.identities["hub"].sign(net.domain_keys("hub", domain)), NOW)  # the same once more is harmless


def test_acts_that_contradict_each_other_stop_nobody(net):
    """Both pass the check against the round before; once recorded, the second is void for everyone, and the fold goes on."""
    one = Identity("employment-office", os.urandom(32))
    kinds = {b: list(net.pack.bodies[b].kinds) for b in ("employment-office", "health-insurer")}
    first = enrol(net, "employment-office", "gateway", kinds["employment-office"], one)
    twin = Identity("health-insurer", one._secret[:32])
    second = enrol(net, "health-insurer", "gateway", kinds["health-insurer"], twin)
    for act in (first, second):
        net.state.check(act, NOW)
    at = net.state.next_index
    for offset, act in enumerate((first, second)):
        net.state.apply(at + offset, ActLeaf(NOW, act))
    assert "employment-office" in net.state.bodies
    assert "health-insurer" not in net.state.bodies
    assert (net.state.void, net.state.next_index) == (1, at + 2)


def _published(state):
    return {body: list(domains) for body, domains in state.published.items()}


def test_no_changed_act_of_its_own_changes_who_takes_part(nation):
    """Every field of its enrolments, the body's part included, assessments and directory entries, signed anew and sent to the hub."""
    commission, hub = (nation.world.institutions[b] for b in ("commission", "hub"))
    acts = [e.act for e in entries(nation, "act") if e.act.sender == "commission"]
    by_kind = {k: [a for a in acts if msgspec.msgpack.decode(a.payload)["type"] == k] for k in KINDS}
    before = dict(hub.keeper.state.bodies), dict(hub.keeper.state.shares), _published(hub.keeper.state)
    tried = []
    for good, other in ((found[0], found[1]) for found in by_kind.values()):
        body, swap = (msgspec.msgpack.decode(a.payload) for a in (good, other))
        tried += [c for w, c in changes(body, swap) if w != ".enrolment:swapped"]
        if body["type"] == "enrol/1":  # what the body itself has signed, under its signature as it was
            enrolments = changes(
                msgspec.msgpack.decode(body["enrolment"][1]), msgspec.msgpack.decode(swap["enrolment"][1])
            )
            signer, _, signature = body["enrolment"]
            tried += [{**body, "enrolment": [signer, msgspec.msgpack.encode(e), signature]} for _, e in enrolments]
    assert len(tried) > 300
    for part in parts(tried):
        envelopes = [signed(commission.keys.identity, body) for body in part]
        nation.do(commission.post.send("hub", [Submit(e) for e in envelopes]))
    until(lambda: hub.post._in["commission"].committed >= commission.post.numbers["hub"])
    quiet(nation)
    state = hub.keeper.state
    assert (state.bodies, state.shares, _published(state)) == before
    assert all(e.act.sender in ("hub", "commission") for e in entries(nation, "act"))
    assert (nation.http("hub", "/health", token="")[0], nation.ask()[1]["state"]) == (200, "answered")


KINDS = ("enrol/1", "assessment/1", "keys/1")


DECISIONS = [
    (Order("o-1", Scope(body="tax-union"), "Stop.", NOW + DAY), ("sato", "tanaka")),
    (ExceptionalPermit("x-1", "*", "*", "child-allowance", "disability", ["ohashi-city"], NOW, NOW + DAY, "Flood."), ("sato", "tanaka")),
    (ExceptionalPermit("x-1", "ohashi-city", "*", "child-allowance", "disability", [], NOW, NOW + DAY, "Flood.", True), ("tanaka",)),
    (Appoint(Officer("kato", "commissioner", bytes(range(32)))), ("sato", "tanaka")),
    (Measure("c-1", "explanation", "tax-union", bytes(32), NOW + DAY), ("sato",)),
    (Measure("c-1", "inspection", "tax-union", bytes(32), NOW + DAY, 7, 9), ("sato",)),
]  # fmt: skip


@pytest.mark.parametrize(("decision", "officers"), DECISIONS, ids=lambda v: type(v).__name__)
def test_what_officers_have_signed_it_cannot_change(net, decision, officers):
    """Every field of every decision changed, cut, emptied or swapped for another's, its officers' signatures as they were."""
    good, other = decision, Order("o-9", Scope(requester="portal", item="local-tax"), "Other.", NOW + 2 * DAY)
    for officer in officers:
        good, other = (approve(d, officer, net.officers[officer]) for d in (good, other))
    net.state.check(net.identities["commission"].sign(good), NOW)
    tried = 0
    for where, changed in changes(plain(good), plain(other)):
        try:
            act = net.state.check(signed(net.identities["commission"], changed), NOW)
            if decision_bytes(act) == decision_bytes(good) and set(act.approvals) == set(good.approvals):
                continue  # it says the same, by the same officers
        except RenkeiError:
            tried += 1
        else:
            raise AssertionError(where)
    assert tried > 30


def test_no_decision_follows_from_another(net):
    """A lifted order does not come back by the same signatures, nor does a lift or a confirmation serve for a second one."""
    identity = net.identities["commission"]
    order = net.decide(Order("o-1", Scope(body="tax-union"), "Stop."), "sato", "tanaka")
    lift = net.decide(Lift("o-1", "Explained."), "sato", "tanaka")
    again = net.decide(Order("o-2", Scope(body="tax-union"), "Stop."), "sato", "tanaka")
    for old in (order, lift, again, replace(lift, number="o-2"), replace(order, number="o-3")):
        with pytest.raises(NotGenuine):
            net.state.check(identity.sign(old), NOW)
    urgent = ExceptionalPermit(
        "x-1", "*", "*", "child-allowance", "disability", ["ohashi-city"], NOW, NOW + DAY, "", True
    )
    for number in ("x-1", "x-2"):
        net.decide(replace(urgent, number=number), "tanaka")
    confirmed = net.decide(Confirm("x-1"), "sato")
    for old in (confirmed, replace(confirmed, number="x-2")):
        with pytest.raises(NotGenuine):
            net.state.check(identity.sign(old), NOW)


def test_it_cannot_take_back_what_its_trail_was(net):
    """A trail in the record is never replaced by a shorter one, or by another of the same length."""
    net.act("commission", Trail(5, b"\1" * 32))
    for trail in (Trail(5, b"\2" * 32), Trail(4, b"\1" * 32)):
        with pytest.raises(NotGenuine):
            net.state.check(net.identities["commission"].sign(trail), NOW)


def signed(identity, body):
    """Any value at all in an envelope with a good signature."""
    payload = msgspec.msgpack.encode(body)
    return Envelope(identity.body, payload, identity.signature(signed_bytes(identity.body, payload)))


def once(kind, change):
    """Changes the first reply of this kind, and no other."""
    left = [change]

    def lie(sender, question, reply):
        return left.pop()(reply) if isinstance(reply, kind) and left else reply

    return lie


COSIGNED = {
    "no conversion": lambda r: replace(r, fills=[]),
    "too many": lambda r: replace(r, fills=[*r.fills, *r.fills]),
    "cut": lambda r: replace(r, fills=[Fill([f.converted[0][:-1]]) for f in r.fills]),
    "not signed": lambda r: NotSigned("head", 1, bytes(32)),
    "held": lambda r: NotSigned("held", 1, bytes(32)),
    "an entry that is not there": lambda r: NotSigned("entry:99", 1, bytes(32)),
    "something else": lambda r: Filed([]),
    "refused": lambda r: replace(r, fills=[Fill([], "no-row", ["74"]) for _ in r.fills]),
    "another root": lambda r: replace(r, root=bytes(32)),
    "no signature": lambda r: replace(r, cosignature=""),
}


@pytest.mark.parametrize("how", COSIGNED)
def test_no_changed_cosignature_discloses_anything(nation, how):
    """The provider gets nothing on it; the hub halts or asks again, and what was truly signed is answered once."""
    before = len(nation.http("tax-union", "/provisions?limit=200")[1])
    with answering(nation, "commission", once(Cosigned, COSIGNED[how])):
        told = nation.ask(wait=0)[1]
        until(lambda: is_over(nation, told))
        halted = nation.http("hub", "/health", token="")[1]["halted"]
        if halted:
            assert nation.http("hub", "/health", token="")[0] == 503
            assert len(nation.http("tax-union", "/provisions?limit=200")[1]) == before
            nation.stop_body("hub")
            nation.start_body("hub")
    until_answered(nation, told)
    assert len(nation.http("tax-union", "/provisions?limit=200")[1]) == before + 1


def until_answered(nation, told):
    """Until it is answered, and the hub has said so to who asked: else it is slow to hear of a hub that was restarted since."""
    until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered")
    until(lambda: nation.world.institutions["ohashi-city"].post.backlog("hub") == 0)


def is_over(nation, told):
    """The hub has halted over it, or it was answered all the same."""
    halted = nation.http("hub", "/health", token="")[1]["halted"]
    return halted or nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered"


HEADS = {
    "behind, another root": lambda r: replace(r, size=r.size - 1, root=bytes(32)),
    "another root": lambda r: replace(r, root=bytes(32)),
}


@pytest.mark.parametrize("how", HEADS)
def test_a_head_that_contradicts_the_hub_s_stops_it(nation, how):
    """Two copies that differ are an alarm; nothing is recorded, and nothing disclosed, until they agree again."""
    nation.stop_body("hub")
    with answering(
        nation, "commission", lambda _, question, reply: HEADS[how](reply) if isinstance(reply, HeadIs) else reply
    ):
        nation.start_body("hub")
        until(lambda: nation.http("hub", "/health", token="")[1]["halted"])
        told = nation.ask(wait=0)[1]
        nation.stop_body("hub")
    assert nation.http("ohashi-city", told["status_url"])[1]["state"] == "submitted"
    nation.start_body("hub")
    until_answered(nation, told)


def test_rounds_it_did_not_sign_are_not_adopted(nation):
    """A hub that is behind takes over what carries the cosignature as a whole: a round changed in any field that counts halts it."""
    hub = nation.world.institutions["hub"]
    quiet(nation)
    nation.stop_body("commission")  # nothing is recorded meanwhile
    size = hub.keeper.tree.size
    good = plain(hub.keeper.rounds_after(hub.keeper.head.previous)[0])
    for where, changed in changes(good):
        if COUNTS.match(where):
            with pytest.raises((RenkeiError, Halted, msgspec.ValidationError)):
                nation.do(hub._adopt_one(msgspec.convert(changed, RoundCopy), True))
            nation.do(hub.keeper.settled())
            assert hub.keeper.tree.size == size
    nation.start_body("commission")
    assert nation.ask()[1]["state"] == "answered"


COUNTS = re.compile(r"\[0\]|\[1\]\[\d\]\[[12]\]|\[2\]")
"""A round's time, the salts and entries of its leaves, its checkpoint."""


def test_what_it_finishes_for_the_portal_is_of_the_number_asked(nation):
    """Fewer or more conversions than asked for are an alarm, and nothing is filed by them."""
    portal = nation.world.institutions["portal"]
    before = portal.filing.tree.size
    for change in (lambda r: replace(r, converted=[]), lambda r: replace(r, converted=r.converted * 2)):
        with answering(nation, "commission", once(Filed, change)):
            nation.ask()
            until(lambda: nation.http("portal", "/health", token="")[1]["alarm"])
        nation.stop_body("portal")
        nation.start_body("portal")
    until(lambda: nation.world.institutions["portal"].filing.tree.size >= before + 4)


@pytest.mark.usefixtures("audited")
def test_it_is_caught_converting_to_another_person(nation):
    """The requester gets another person's data and cannot know; the hub and the provider can."""
    is_caught(nation, "commission", "hub")
