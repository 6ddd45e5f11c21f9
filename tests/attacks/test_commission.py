"""Adversary: the commission, with all its keys.

Claims it tries to break: it alone enrols nobody and replaces nobody; a converter does not change the keys of a domain; what contradicts
itself in the record stops nobody; a wrong conversion of its own is found.
"""

import os

import pytest

from renkei.codes import Converter, Domain
from renkei.errors import NotGenuine
from renkei.messages.signing import Identity, SealKey
from renkei.messages.wire import DomainKeys, Enrol, Enrolment
from renkei.record.entries import ActLeaf
from renkei.record.state import ref_of
from tests.attacks.liar import is_caught
from tests.unit.record.conftest import NOW, Net, bus_key


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


@pytest.mark.usefixtures("audited")
def test_it_is_caught_converting_to_another_person(nation):
    """The requester gets another person's data and cannot know; the hub and the provider can."""
    is_caught(nation, "commission", "hub")
