"""Adversaries: the hub alone, the commission alone.

Claims they try to break: neither keeper alone decides what is allowed, what is refused, or who takes part; what contradicts itself in
the record stops nobody.
"""

import os

import msgspec
import pytest

from renkei.codes import Converter, Domain
from renkei.errors import NotGenuine
from renkei.messages.signing import Identity, SealKey
from renkei.messages.wire import DomainKeys, Enrol, Enrolment
from renkei.record import rounds
from renkei.record.entries import ActLeaf
from renkei.record.state import ref_of
from tests.unit.record.conftest import NOW, Net, bus_key


@pytest.fixture
def net(pack, converters):
    return Net(pack, converters)


def nothing(_):
    return {}


def test_a_hub_cannot_refuse_what_is_lawful_nor_blame_the_commission(net):
    lawful = rounds.draft(net.state, net.converters["hub"], nothing, net.signed(), NOW).entry
    for ruling in (
        msgspec.structs.replace(lawful.ruling, allowed=False),
        msgspec.structs.replace(lawful.ruling, allowed=False, reason="no-row", by="commission", rows=[]),
        msgspec.structs.replace(lawful.ruling, reason="because"),
        msgspec.structs.replace(lawful.ruling, row="75"),
        msgspec.structs.replace(lawful.ruling, pack=bytes(32)),
    ):
        entry = msgspec.structs.replace(lawful, ruling=ruling, target=lawful.target if ruling.allowed else None)
        with pytest.raises(NotGenuine):
            rounds.fill(net.state, net.converters["commission"], nothing, entry, NOW)


def test_a_hub_cannot_dress_up_a_refusal(net):
    refused = rounds.draft(net.state, net.converters["hub"], nothing, net.signed(item="disability"), NOW).entry
    lawful = rounds.draft(net.state, net.converters["hub"], nothing, net.signed(), NOW).entry
    for changes in (
        {"ruling": msgspec.structs.replace(refused.ruling, by="commission")},
        {"ruling": msgspec.structs.replace(refused.ruling, reason="no-row")},
        {"ruling": msgspec.structs.replace(refused.ruling, rows=["1"])},
        {"half": lawful.half},
        {"target": lawful.target},
        {"converted": lawful.half},
    ):
        with pytest.raises(NotGenuine):
            entry = msgspec.structs.replace(refused, **changes)
            rounds.fill(net.state, net.converters["commission"], nothing, entry, NOW)


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
        net.state.check(enrol(net, body, role, kinds))


def test_a_converter_cannot_change_the_keys_of_a_domain(net):
    other, domain = Converter(os.urandom(64)), Domain("tax-union")
    from renkei.codes import prove_share

    again = DomainKeys(ref_of(domain), "hub", 1, *other.public_share(domain), prove_share(other, domain))
    with pytest.raises(NotGenuine):
        net.state.check(net.identities["hub"].sign(again))
    net.state.check(net.identities["hub"].sign(net.domain_keys("hub", domain)))  # the same once more is harmless


def test_acts_that_contradict_each_other_stop_nobody(net):
    """Both pass the check against the round before; once recorded, the second is void for everyone, and the fold goes on."""
    one = Identity("employment-office", os.urandom(32))
    kinds = {b: list(net.pack.bodies[b].kinds) for b in ("employment-office", "health-insurer")}
    first = enrol(net, "employment-office", "gateway", kinds["employment-office"], one)
    twin = Identity("health-insurer", one._secret[:32])
    second = enrol(net, "health-insurer", "gateway", kinds["health-insurer"], twin)
    for act in (first, second):
        net.state.check(act)
    at = net.state.next_index
    for offset, act in enumerate((first, second)):
        net.state.apply(at + offset, ActLeaf(NOW, act))
    assert "employment-office" in net.state.bodies
    assert "health-insurer" not in net.state.bodies
    assert (net.state.void, net.state.next_index) == (1, at + 2)
