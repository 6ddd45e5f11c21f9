"""Adversary: My Portal, with its own good keys.

Claims it tries to break: it learns the code of nobody but whom a recorded inquiry is about, however it asks for conversions; it is given
no more of them than its rate allows; what it asks changes nothing for anyone else.
"""

import itertools

import pytest
import sqlalchemy as sa

from renkei.codes import Ciphertext, Domain, decrypt, encrypt
from renkei.errors import Malformed
from renkei.institution import subjects
from renkei.messages.wire import Failed, Filed, FileHalf, GetFiled, GetTail, Inquiry, Tail, decode_as
from renkei.record.entries import InquiryLeaf, decode_entry
from renkei.record.state import ref_of
from tests.attacks.changes import changes, plain
from tests.attacks.measures import quiet, size
from tests.attacks.rogue import Rogue, some_code
from tests.world import until


class RoguePortal(Rogue):
    """The portal gone bad, with the record as the hub has told it, and its table of codes."""

    def __init__(self, nation):
        portal = nation.world.institutions["portal"]
        query = sa.select(subjects.subjects.c.code)
        self.codes = {bytes(c) for c in portal.database.read_now(lambda c: c.execute(query).scalars().all()) if c}
        super().__init__(nation, "portal")
        self.leaves = self.call("hub", GetTail(0)).leaves
        self.inquiries = {i: decode_entry(leaf.entry) for i, leaf in enumerate(self.leaves) if is_inquiry(leaf)}

    def finish(self, index, half):
        """What the commission makes of a half conversion of this leaf."""
        return self.call("commission", GetFiled(ref_of(self.domain), [FileHalf(index, half)]))

    def person(self, reply):
        """Whom a finished conversion leads to, if to anyone the portal knows."""
        try:
            code = decrypt(Ciphertext.from_bytes(reply.converted[0]), self.key)
        except Malformed:
            return None
        return code if code in self.codes else None


def is_inquiry(leaf):
    return bool(leaf.entry) and isinstance(decode_entry(leaf.entry), InquiryLeaf)


@pytest.fixture(scope="module")
def portal(nation):
    """After inquiries by two bodies, one of them refused."""
    for persona in range(2):
        assert nation.ask(persona=persona)[1]["state"] == "answered"
    assert nation.ask(
        "kiriyama-town", provider="pension-service", item="pension-benefits", affair="child-rearing-allowance"
    )
    until(lambda: nation.http("portal", "/health", token="")[1]["codes_awaited"] == "0")
    quiet(nation)
    bad = RoguePortal(nation)
    yield bad
    if "portal" not in nation.world.institutions:
        bad.leave()


def test_what_the_hub_gave_it_is_finished(portal):
    """The control: the recorded halves lead to people it knows."""
    found = {i: portal.person(portal.finish(i, portal.leaves[i].half)) for i in portal.inquiries}
    assert len(found) >= 3
    assert None not in found.values()


def test_nothing_is_finished_that_is_no_inquiry(portal):
    """Acts, codes on their way, outcomes, and leaves that are not there."""
    half = portal.leaves[next(iter(portal.inquiries))].half
    others = [i for i in range(len(portal.leaves)) if i not in portal.inquiries]
    assert len(others) > 20
    for index in [*others, len(portal.leaves), 2**52]:
        assert portal.finish(index, half).code == "no-leaf"


def test_ciphertexts_that_are_no_recorded_half_lead_to_nobody(portal):
    """The signed ciphertext, the conversions towards the provider, halves of another body's leaf, sums and swaps of their parts."""
    known = {i: portal.leaves[i].half for i in portal.inquiries}
    for index, entry in portal.inquiries.items():
        signed = decode_as(entry.inquiry.payload, Inquiry)
        foreign = [h for i, h in known.items() if portal.inquiries[i].inquiry.sender != entry.inquiry.sender]
        own = [h for i, h in known.items() if i != index and portal.inquiries[i].inquiry.sender == entry.inquiry.sender]
        tried = [signed.ciphertext, entry.half, entry.converted, *foreign, known[index][32:] + known[index][:32]]
        tried += [known[index][:32] + h[32:] for h in own]
        for half in filter(None, tried):
            assert portal.person(portal.finish(index, half)) is None
        for half in (bytes(64), b"\xff" * 64, known[index][:32] + bytes(32)):
            assert isinstance(portal.finish(index, half), Failed)


def test_with_a_town_it_converts_nobody_that_was_not_asked_about(portal, nation):
    """The town encrypts a person of its table to itself, without an inquiry: the first converter's part is missing."""
    town = nation.world.institutions["ohashi-city"]
    index = next(i for i, e in portal.inquiries.items() if e.inquiry.sender == "ohashi-city")
    code, domain = town.database.read_now(some_code), town.member.domain
    for half in (encrypt(code, town.member.key(domain)), encrypt(code, portal.key)):
        assert portal.person(portal.finish(index, half.to_bytes())) is None


def test_no_changed_question_of_its_own_brings_more(portal, nation):
    """Every field of what the portal alone may ask: conversions of what is recorded and its leaves, or a refusal."""
    index, other = itertools.islice(portal.inquiries, 2)
    asked = [GetFiled(ref_of(portal.domain), [FileHalf(i, portal.leaves[i].half)]) for i in (index, other)]
    before = size(nation)
    told = {portal.person(portal.finish(i, portal.leaves[i].half)) for i in portal.inquiries}
    for where, question in changes(plain(asked[0]), plain(asked[1])):
        reply = portal.call("commission", question)
        assert isinstance(reply, Failed | Filed), where
        assert getattr(reply, "code", "") != "internal", where
        if isinstance(reply, Filed) and reply.converted:
            assert portal.person(reply) in {None, *told}, where
    for where, question in changes(plain(GetTail(1))):
        assert isinstance(portal.call("hub", question), Failed | Tail), where
    assert size(nation) == before


def test_domains_of_others_are_not_its_to_convert_to(portal, nation):
    """It follows the record and finishes conversions towards itself only: whatever it asks for, nobody else's key opens the result."""
    index = next(i for i, e in portal.inquiries.items() if e.ruling.allowed)
    made = portal.finish(index, portal.leaves[index].half).converted[0]
    for body in ("tax-union", "ohashi-city", "pension-service"):
        other = nation.world.institutions[body]
        code = decrypt(Ciphertext.from_bytes(made), other.member.key(other.member.domain))
        coded = subjects.Coded(code, 1)
        assert not other.database.read_now(lambda c, m=other.member, coded=coded: subjects.by_code(c, m, [coded]))
        asked = GetFiled(ref_of(Domain(body)), [FileHalf(index, portal.leaves[index].half)])
        assert portal.call("commission", asked).code == "no-domain"


def test_beyond_its_rate_it_is_refused_and_holds_up_nobody(portal, unharmed):
    """Thousands of conversions at once: the commission stops giving them, and goes on signing rounds; after it, the portal works."""
    index = next(iter(portal.inquiries))
    question = GetFiled(ref_of(portal.domain), [FileHalf(index, portal.leaves[index].half)] * 1024)
    replies = [portal.call("commission", question) for _ in range(6)]
    assert any(getattr(r, "code", "") == "rate" for r in replies)
    assert portal.nation.ask()[1]["state"] == "answered"
    until(lambda: isinstance(portal.finish(index, portal.leaves[index].half), Filed))
    portal.leave()
    unharmed()
