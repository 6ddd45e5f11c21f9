"""Adversary: My Portal, with its own good keys.

Claims it tries to break: it learns the code of nobody but whom a recorded inquiry is about, however it asks for conversions; it is given
no more of them than its rate allows; what it asks changes nothing for anyone else; nobody's own information is shown to it, stolen or not,
without that person's card; nothing that the law wants signed is granted but to whom signed it, as they signed it, once.
"""

import datetime as dt
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import msgspec
import pytest
import sqlalchemy as sa
from cryptography import x509

from renkei.card.client import AUTHENTICATION, SIGNATURE, CardClient
from renkei.card.virtual import CardFile
from renkei.codes import Ciphertext, Domain, decrypt, encrypt
from renkei.errors import Malformed
from renkei.institution import applying, subjects
from renkei.institution.relying import attributes_of, authentication_message, number_message, own_message
from renkei.institution.settings import system_clock
from renkei.messages.signing import SealKey, own_document
from renkei.messages.wire import (
    Applied,
    CodeByCard,
    DomainRef,
    Failed,
    Filed,
    FileHalf,
    GetFiled,
    GetTail,
    Inquiry,
    Outcomes,
    OwnAsked,
    OwnProof,
    Tail,
    decode_as,
)
from renkei.record.entries import InquiryLeaf, decode_entry
from renkei.record.state import ref_of
from tests.attacks.changes import changes, plain
from tests.attacks.measures import entries, quiet, recorded, size
from tests.attacks.rogue import Rogue, some_code
from tests.attacks.test_correspondent import deliver
from tests.cards import Carded
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
    with ThreadPoolExecutor(8) as at_once:
        replies = list(at_once.map(lambda _: portal.call("commission", question), range(8)))
    assert any(getattr(r, "code", "") == "rate" for r in replies)
    assert portal.nation.ask()[1]["state"] == "answered"
    until(lambda: isinstance(portal.finish(index, portal.leaves[index].half), Filed))
    portal.leave()
    unharmed()


# ------------------------------------------------------------------ what residents are shown of themselves

OWN = {"affair": "own-information", "purpose": "own-information", "item": "local-tax"}
PIN, SIGNATURE_PIN = "1234", "ABC123"


@pytest.fixture(scope="module")
def carded(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("portal") / "nation")
    until(lambda: running.code("portal", 0))
    until(lambda: running.code("portal", 1))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def thief(carded):
    """Whoever has stolen the portal, all of it; and two residents with their cards, who do not know."""
    codes = [carded.code("portal", persona).code for persona in range(2)]
    origin = carded.url("portal")
    bad = Rogue(carded, "portal")
    bad.codes, bad.origin, bad.person = codes, origin, codes[0]
    bad.cards = [CardClient(CardFile(carded.card(persona)).chip().transmit) for persona in range(2)]
    return bad


def asks(thief, persona, **changed):
    """The stolen portal asks for somebody's own information, to be sealed to a key of the thief's; the envelope and the key."""
    key = SealKey()
    cipher = encrypt(thief.codes[persona], thief.key).to_bytes()
    envelope = thief.submit(thief.inquiry(**OWN, ciphertext=cipher, reply_key=key.public, **changed))
    until(lambda: recorded(thief.nation, envelope))
    return envelope, key


def proof(thief, envelope, key, *, by, message=None, audience="", item="local-tax", signed_key=None, day=""):
    """What goes to the provider: signed by the card of ``by``, as ``message`` or as it should be."""
    audience = audience or thief.origin
    document = own_document("tax-union", day or today(thief), [("local-tax", signed_key or key.public)])
    made = message or own_message(audience, sha256(document).digest())
    card = thief.cards[by]
    said = card.certificate(AUTHENTICATION), card.sign(AUTHENTICATION, PIN, made)
    return OwnProof([OwnAsked(envelope.id, item, key.public)], day or today(thief), audience, *said)


def today(thief, days=0):
    pack = thief.nation.world.institutions["tax-union"].member.pack
    return (pack.day(system_clock()) + dt.timedelta(days=days)).isoformat()


def provision(thief, envelope):
    return next(
        (p for p in thief.nation.http("tax-union", "/provisions?limit=200")[1] if p["id"] == envelope.id.hex()), None
    )


def told_of(thief, envelope):
    """What the provider has put into the record about it: of somebody without data it is the same as of somebody withheld."""
    outcomes = [o for e in entries(thief.nation, "outcome") for o in decode_as(e.outcomes.payload, Outcomes).outcomes]
    return next((o.result for o in outcomes if o.inquiry == envelope.id), None)


def test_whoever_has_stolen_the_portal_reads_nothing_without_a_card(carded, thief):
    """Its inquiry is in the record and held; no clerk can release it, nor see it among what is to be released."""
    envelope, _ = asks(thief, 0)
    row = until(lambda: provision(thief, envelope))
    assert (row["state"], row["reason"]) == ("held", "own-proof")
    for act in ("release", "decline"):
        status, problem = carded.http("tax-union", f"/provisions/{row['id']}/{act}", {})
        assert (status, problem["title"]) == (409, "own-proof")
    carded.do(carded.world.institutions["tax-union"].answering.retry())
    assert provision(thief, envelope)["state"] == "held"


def test_of_whom_nobody_knows_it_is_held_as_well(thief):
    """Otherwise the portal, which asks without a proof, would learn who is known where."""
    key = SealKey()
    envelope = thief.submit(thief.inquiry(**OWN, ciphertext=thief.nobody(), reply_key=key.public))
    row = until(lambda: provision(thief, envelope))
    assert (row["state"], row["reason"]) == ("held", "own-proof")
    thief.send("tax-union", proof(thief, envelope, key, by=1))  # a genuine card, somebody else's
    until(lambda: told_of(thief, envelope) == "nothing")  # as of whom it knows


def test_another_s_card_opens_nothing(carded, thief):
    """The thief has a card of its own, which is genuine."""
    before = carded.counter("tax-union", "own_of_others")
    envelope, key = asks(thief, 0)
    thief.send("tax-union", proof(thief, envelope, key, by=1))
    until(lambda: told_of(thief, envelope) == "nothing")
    assert carded.counter("tax-union", "own_of_others") == before + 1


@pytest.mark.parametrize("what", ["a sign-in", "another address", "nobody's signature", "a number read", "last week"])
def test_what_a_card_signed_for_something_else_opens_nothing(carded, thief, what):
    """A sign-in at the portal, above all, which a resident makes every day."""
    envelope, key = asks(thief, 0)
    digest = sha256(own_document("tax-union", today(thief), [("local-tax", key.public)])).digest()
    refused = carded.counter("tax-union", "own_proofs_refused")
    sent = {
        "a sign-in": lambda: proof(thief, envelope, key, by=0, message=authentication_message(thief.origin, digest)),
        "another address": lambda: proof(thief, envelope, key, by=0, audience="https://shop.example"),
        "last week": lambda: proof(thief, envelope, key, by=0, day=today(thief, -7)),
        "nobody's signature": lambda: msgspec.structs.replace(proof(thief, envelope, key, by=0), signature=bytes(256)),
        "a number read": lambda: proof(
            thief, envelope, key, by=0, message=number_message(thief.origin, digest, "123456789018")
        ),
    }[what]()
    thief.send("tax-union", sent)
    until(lambda: carded.counter("tax-union", "own_proofs_refused") > refused)
    assert provision(thief, envelope)["state"] == "held"


def test_what_a_resident_signed_leads_to_no_other_key(carded, thief):
    """They sign for the key of their browser; the thief asks with its own, and shows what they signed."""
    envelope, key = asks(thief, 0)
    theirs = SealKey()
    made = proof(thief, envelope, key, by=0, signed_key=theirs.public)
    refused = carded.counter("tax-union", "own_proofs_refused")
    thief.send("tax-union", made)
    until(lambda: carded.counter("tax-union", "own_proofs_refused") > refused)
    honest = msgspec.structs.replace(made, asked=[OwnAsked(envelope.id, "local-tax", theirs.public)])
    thief.send("tax-union", honest)  # as it was signed, for an inquiry that has the thief's key
    until(lambda: told_of(thief, envelope) == "nothing")


def test_no_changed_proof_opens_anything(carded, thief):
    """Every field of one that would open it."""
    envelope, key = asks(thief, 0)
    until(lambda: provision(thief, envelope))
    good, other = proof(thief, envelope, key, by=0), proof(thief, envelope, key, by=1)
    sent = [
        c
        for where, c in changes(plain(good), plain(other))
        if "swapped" not in where and ".asked:repeated" not in where
    ]
    assert thief.send_each("tax-union", sent) > 60
    thief.until_handled("tax-union")
    until(lambda: not carded.world.institutions["tax-union"].own._under_way)
    assert told_of(thief, envelope) != "provided"


def test_one_that_is_refused_does_not_hold_up_the_others(carded, thief):
    """An item that the law refuses gets no permit; the other is answered."""
    envelope, key = asks(thief, 0)
    other = SealKey()
    pairs = [("local-tax", key.public), ("local-tax", other.public)]
    document = own_document("tax-union", today(thief), pairs)
    card = thief.cards[0]
    signature = card.sign(AUTHENTICATION, PIN, own_message(thief.origin, sha256(document).digest()))
    asked = [OwnAsked(bytes(32), "local-tax", other.public), OwnAsked(envelope.id, "local-tax", key.public)]
    thief.send("tax-union", OwnProof(asked, today(thief), thief.origin, card.certificate(AUTHENTICATION), signature))
    until(lambda: told_of(thief, envelope) == "provided", 15)


def test_whose_answers_are_released_by_hand_waits_for_a_clerk_then(carded, thief):
    """Not before the card has signed, and not for ever."""
    who = {"local_id": carded.local_id("tax-union"), "withheld": False}
    carded.http("tax-union", "/flags", {**who, "manual": True})
    try:
        envelope, key = asks(thief, 0)
        thief.send("tax-union", proof(thief, envelope, key, by=0))
        until(lambda: (provision(thief, envelope) or {}).get("reason") == "manual-release")
        assert carded.http("tax-union", f"/provisions/{envelope.id.hex()}/release", {})[0] == 200
        until(lambda: told_of(thief, envelope) == "provided")
    finally:
        carded.http("tax-union", "/flags", {**who, "manual": False})


def test_what_a_card_signed_for_one_body_names_its_holder_at_no_other(carded, thief):
    """Else two bodies could compare whom they have: the certificate would be a key to both."""
    authority = carded.world.institutions["numbering-authority"]
    made = proof(thief, *asks(thief, 0), by=0)
    document = own_document("tax-union", made.day, [(a.item, a.reply_key) for a in made.asked])
    domain = DomainRef("pension-service", 1, 1)

    def request(document):
        said = made.audience, b"", made.certificate, made.signature
        return CodeByCard(domain, bytes(16), bytes(32), *said, document=document)

    assert authority._proven("tax-union", request(document))
    assert not authority._proven("pension-service", request(document))
    for other in (document.replace(b"tax-union", b"pension-service"), b"", b"x", document + b"x"):
        assert not authority._proven("pension-service", request(other))
        assert not authority._proven("tax-union", request(other))
    right = authority.clock
    authority.clock = lambda: right() + 3 * 86_400_000
    try:
        assert not authority._proven("tax-union", request(document)), "it is good for ever"
    finally:
        authority.clock = right


def test_the_resident_s_own_card_opens_it(carded, thief):
    """The control: else nothing above would say anything."""
    envelope, key = asks(thief, 0)
    thief.send("tax-union", proof(thief, envelope, key, by=0))
    until(lambda: told_of(thief, envelope) == "provided")


# ------------------------------------------------------------------ what residents apply for

CITY, MOVING = "ohashi-city", "move-out-notice"


def application(thief, *, by=0, form=(), key=SIGNATURE, days=0, word="", said="", case=None, **more):
    """Somebody moves out, signed with the card of ``by``: ``form`` is sent otherwise than it was signed, ``said`` claims a representative
    whom the signature does not (``word``)."""
    pack = thief.nation.world.institutions[CITY].member.pack
    procedure, card, pin = pack.procedures[MOVING], thief.cards[by], PIN if key is AUTHENTICATION else SIGNATURE_PIN
    certificate = x509.load_der_x509_certificate(card.certificate(SIGNATURE, SIGNATURE_PIN))
    holder = attributes_of(pack.header.cards, certificate)
    born = dt.date.fromisoformat(holder.birth).isoformat()
    fit = {"full-name": holder.name, "date-of-birth": born, "moved-on": "2026-11-01"}
    filled = {a.name: fit.get(a.question.code, "大橋市中央一丁目") for a in applying.asked(pack, [procedure], {})}
    filled["telephone@applicant" if "telephone@applicant" in filled else "telephone"] = "0312345678"
    mark = applying.Mark(today(thief, days), case or os.urandom(16).hex(), word)
    signed = applying.statement(pack, procedure, CITY, filled, [], mark)
    proof = {"statement": signed, "certificate": card.certificate(key, pin), "signature": card.sign(key, pin, signed)}
    return Applied(form={**filled, **dict(form)}, by=said or word, **proof | more)


def applies(thief, applied, persona=0):
    """Sent to the city about this persona; how it stands there once its signature was looked at."""
    topic = thief.nation.world.institutions[CITY].member.pack.procedures[MOVING].affair, MOVING
    envelope = deliver(thief, applied, to=CITY, topic=topic, code=thief.codes[persona])
    return until(lambda: looked_at(thief, envelope.id.hex()))


def looked_at(thief, id_):
    status, told = thief.nation.http(CITY, f"/applications/{id_}")
    return told if status == 200 and (told["signed"] != "unchecked" or told["state"] != "received") else None


def grants(thief, told):
    return thief.nation.http(CITY, f"/applications/{told['id']}", {"state": "granted", "words": ""})[0]


def test_what_a_resident_signed_is_granted_to_them(thief):
    told = applies(thief, application(thief))
    assert (told["signed"], told["state"]) == ("good", "received")
    assert grants(thief, told) == 200


def test_what_was_signed_once_is_good_once(thief):
    """The portal keeps what a resident signed, and sends it again: for them, or for somebody else."""
    signed = application(thief)
    assert applies(thief, signed)["state"] == "received"
    for persona in (0, 1):
        told = applies(thief, signed, persona)
        assert told["state"] == "refused"
        assert grants(thief, told) == 409


def test_what_one_signed_is_not_another_s(thief):
    told = applies(thief, application(thief, by=1), persona=0)
    assert told["signed"] == "other"
    assert grants(thief, told) == 409


@pytest.mark.parametrize(
    "changed",
    [
        {"form": {"moved-on": "2026-11-02"}},
        {"said": "attorney"},
        {"days": -3},
        {"days": 3},
        {"key": AUTHENTICATION},
        {"statement": b""},
        {"signature": b"x" * 256},
        {"certificate": b"x"},
    ],
    ids=lambda c: next(iter(c)),
)
def test_what_was_not_signed_so_is_not_granted(thief, changed):
    told = applies(thief, application(thief, **changed))
    assert told["signed"] == "bad" or told["state"] == "refused"
    assert grants(thief, told) == 409


def test_a_representative_is_seen_to_be_one(thief):
    """The body sees whose card it was; only the portal vouches that it was left to them, and the clerk is told so."""
    told = applies(thief, application(thief, by=1, word="attorney"), persona=0)
    assert (told["signed"], told["by"]) == ("proxy", "attorney")


def test_no_other_body_asks_in_a_resident_s_name(carded):
    told = carded.ask(provider="tax-union", **OWN)[1]
    assert (told["state"], told["refused_by"]) == ("refused", "hub")
