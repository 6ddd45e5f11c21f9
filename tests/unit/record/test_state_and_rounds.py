"""Governance as a fold, and one round made by two keepers who believe each other nothing."""

import os

import pytest

from renkei.codes import Ciphertext, Domain, decrypt, encrypt
from renkei.errors import Malformed, NotFound, NotGenuine, Refused, RenkeiError
from renkei.ledger.merkle import EMPTY_ROOT, Tree, commitment, leaf_hash
from renkei.ledger.notes import Checkpoint
from renkei.messages.wire import (
    Assessment,
    Enrol,
    Envelope,
    IssuanceBatch,
    Issued,
    LawVersion,
    Outcome,
    Outcomes,
    Permit,
    Retire,
    Rotate,
    encode,
)
from renkei.record import rounds
from renkei.record.entries import ActLeaf, InquiryLeaf, IssuanceLeaf, OutcomeLeaf, decode_entry
from renkei.record.permit import Notary, authorise, from_file, to_file
from renkei.record.state import State, Trust, ref_of
from tests.unit.record.conftest import NOW, Net


def nothing(_):
    return {}


def through(net, envelope, now=NOW, permitted=nothing):
    """Draft at the hub, fill at the commission, complete: the final entry's bytes."""
    drafted = rounds.draft(net.state, net.converters["hub"], permitted, envelope, now)
    filled = rounds.fill(net.state, net.converters["commission"], permitted, drafted.entry, now)
    return encode(rounds.complete(drafted.entry, filled))


def permit_for(net, entry, others=3):
    salt, tree = os.urandom(16), Tree(lambda *_: b"")
    tree.append(leaf_hash(os.urandom(32)) for _ in range(others))
    tree.append([leaf_hash(commitment(salt, entry))])
    text = Checkpoint("log", tree.size, tree.root()).to_text()
    note = f"{text}\n{net.signers[0].sign(text)}{net.signers[1].sign(text, time=1)}"
    return Permit(others, salt, entry, tree.inclusion(others), note)


def test_a_round_converts_to_the_provider_s_code(net):
    """Both halves are in the entry; only the provider can read the result."""
    leaf = decode_entry(through(net, net.signed()))
    assert leaf.ruling.allowed
    assert decrypt(Ciphertext.from_bytes(leaf.converted), net.key("tax-union")) == net.code("tax-union")
    assert leaf.half not in (leaf.converted, net.inquiry().ciphertext)


def test_a_refused_inquiry_is_recorded_and_not_converted(net):
    leaf = decode_entry(through(net, net.signed(item="disability")))
    assert not leaf.ruling.allowed
    assert (leaf.half, leaf.converted, leaf.target) == (b"", b"", None)


def test_the_commission_refuses_what_the_hub_allowed(net):
    """It rules again itself: an inquiry the hub waved through ends refused by the commission, unconverted."""
    lawful = rounds.draft(net.state, net.converters["hub"], nothing, net.signed(), NOW).entry
    envelope = net.signed(item="disability")
    forged = InquiryLeaf(NOW, envelope, lawful.ruling, lawful.target, lawful.half)
    filled = rounds.fill(net.state, net.converters["commission"], nothing, forged, NOW)
    leaf = rounds.complete(forged, filled)
    assert (leaf.ruling.allowed, leaf.ruling.by, leaf.ruling.reason) == (False, "commission", "item-outside-row")
    assert leaf.converted == b""


def test_the_commission_signs_no_forged_or_crooked_draft(net):
    good = rounds.draft(net.state, net.converters["hub"], nothing, net.signed(), NOW).entry
    signature = good.inquiry.signature
    wrong = Envelope(good.inquiry.sender, good.inquiry.payload, bytes([signature[0] ^ 1]) + signature[1:])
    crooked = [
        InquiryLeaf(NOW, wrong, good.ruling, good.target, good.half),
        InquiryLeaf(NOW + 1, good.inquiry, good.ruling, good.target, good.half),
        InquiryLeaf(NOW, good.inquiry, good.ruling, ref_of(Domain("pension-service")), good.half),
        InquiryLeaf(NOW, good.inquiry, good.ruling, good.target, bytes(64)),
        InquiryLeaf(NOW, good.inquiry, good.ruling, good.target, good.half, good.half),
        OutcomeLeaf(NOW, good.inquiry),
        ActLeaf(NOW, good.inquiry),
    ]
    for entry in crooked:
        with pytest.raises(RenkeiError):
            rounds.fill(net.state, net.converters["commission"], nothing, entry, NOW)


def test_only_enrolled_senders_enter_the_record(net):
    stranger = net.identities["ohashi-city"].sign(net.inquiry())
    with pytest.raises(NotGenuine):
        rounds.draft(
            net.state, net.converters["hub"], nothing, Envelope("x", stranger.payload, stranger.signature), NOW
        )
    with pytest.raises(NotGenuine):
        rounds.draft(net.state, net.converters["hub"], nothing, Envelope("tax-union", *_parts(stranger)), NOW)
    with pytest.raises(Malformed):
        rounds.draft(net.state, net.converters["hub"], nothing, net.signed(affair="x" * 500), NOW)


def _parts(envelope):
    return envelope.payload, envelope.signature


def test_an_outcome_counts_only_from_the_provider_that_was_permitted(net):
    inquiry = os.urandom(32)
    outcome = net.identities["tax-union"].sign(Outcomes([Outcome(inquiry, "provided", NOW)]))
    assert (
        decode_entry(through(net, outcome, permitted=lambda ids: {inquiry: ("ohashi-city", "tax-union")})).outcomes
        == outcome
    )
    for permitted in (nothing, lambda ids: {inquiry: ("ohashi-city", "pension-service")}):
        with pytest.raises(NotGenuine):
            through(net, outcome, permitted=permitted)
    for outcomes in ([], [Outcome(inquiry, "sold", NOW)], [Outcome(inquiry, "nothing", NOW)] * 2):
        with pytest.raises(RenkeiError):
            through(
                net,
                net.identities["tax-union"].sign(Outcomes(outcomes)),
                permitted=lambda ids: {inquiry: ("ohashi-city", "tax-union")},
            )


def test_codes_are_issued_by_the_authority_alone(net):
    source, target = Domain("numbering-authority"), Domain("tax-union")
    code = encrypt(net.code(source.body), net.key(source.body)).to_bytes()
    batch = IssuanceBatch(ref_of(source), ref_of(target), [Issued(bytes(16), code)], NOW)
    leaf = decode_entry(through(net, net.identities[source.body].sign(batch)))
    assert isinstance(leaf, IssuanceLeaf)
    assert decrypt(Ciphertext.from_bytes(leaf.converted[0]), net.key("tax-union")) == net.code("tax-union")
    with pytest.raises(NotGenuine):
        through(net, net.identities["tax-union"].sign(batch))
    big = IssuanceBatch(ref_of(source), ref_of(target), [Issued(bytes(16), code)] * 257, NOW)
    with pytest.raises(Malformed):
        through(net, net.identities[source.body].sign(big))


def test_governance_acts_need_their_author(pack, converters):
    """Enrolment and assessment are the commission's, law is the hub's, each converter speaks for itself."""
    net = Net(pack, converters)
    enrolment = net.identities["tax-union"].sign(net.enrolment("tax-union"))
    assessment = Assessment("tax-union", ["*"], ["*"], "full", "2026-04-01", "2027-04-01")
    for author, act in (
        ("hub", Enrol(enrolment)),
        ("tax-union", Enrol(enrolment)),
        ("hub", assessment),
        ("tax-union", assessment),
        ("commission", LawVersion("japan", "x", pack.hash)),
        ("commission", net.domain_keys("hub", Domain("tax-union", 2))),
        ("tax-union", net.domain_keys("hub", Domain("tax-union", 2))),
    ):
        with pytest.raises(NotGenuine):
            net.state.check(net.identities[author].sign(act), NOW)


def test_one_key_serves_one_purpose_and_one_body(pack, converters):
    """A key seen in two roles, or at two bodies, is refused; possession is proved by the body's own signature."""
    net = Net(pack, converters)
    own = net.enrolment("tax-union")
    fields = {f: getattr(own, f) for f in own.__struct_fields__}
    stolen = type(own)(**{**fields, "identity": net.identities["pension-service"].public})
    doubled = type(own)(**{**fields, "seal": own.identity})
    for wrong in (
        net.identities["pension-service"].sign(stolen),
        net.identities["tax-union"].sign(doubled),
        net.identities["pension-service"].sign(own),
    ):
        with pytest.raises(NotGenuine):
            net.state.check(net.identities["commission"].sign(Enrol(wrong)), NOW)


def test_a_domain_is_in_use_once_both_converters_published(pack, converters):
    net = Net(pack, converters)
    later = Domain("tax-union", 2)
    net.act("hub", net.domain_keys("hub", later))
    assert net.state.void == 1  # nobody has ordered it
    net.act("tax-union", Rotate(ref_of(later)))
    net.act("hub", net.domain_keys("hub", later))
    assert net.state.domain("tax-union") == Domain("tax-union")
    net.act("commission", net.domain_keys("commission", later))
    assert net.state.domain("tax-union") == later
    assert net.state.is_valid(Domain("tax-union"))
    net.act("tax-union", Retire(ref_of(later)))
    assert net.state.is_valid(later)
    assert not net.state.is_valid(Domain("tax-union"))
    assert net.state.has_domain(Domain("tax-union"))  # what it did can still be proven


def test_the_genesis_needs_both_signatures(net):
    leaf = decode_entry(net.trust.entry)
    broken = type(leaf)(leaf.time, leaf.genesis, leaf.hub_signature, leaf.hub_signature)
    with pytest.raises(NotGenuine):
        State(Trust(bytes(16), encode(broken)), lambda _: net.pack)
    assert EMPTY_ROOT


def test_a_permit_authorises_its_provider_once_verified(net):
    notary = Notary([s.verifier for s in net.signers])
    permit = permit_for(net, through(net, net.signed()))
    found = authorise(permit, notary, net.state, "tax-union", NOW)
    assert (found.requester, found.row) == ("ohashi-city", "74")
    assert decrypt(found.ciphertext, net.key("tax-union")) == net.code("tax-union")
    assert from_file(to_file(permit)) == permit


def test_a_permit_is_worth_nothing_elsewhere_or_later(net):
    notary = Notary([s.verifier for s in net.signers])
    permit = permit_for(net, through(net, net.signed()))
    with pytest.raises(Refused):
        authorise(permit, notary, net.state, "pension-service", NOW)
    with pytest.raises(Refused):
        authorise(permit, notary, net.state, "tax-union", NOW + 8 * 86_400_000)
    refused = permit_for(net, through(net, net.signed(item="disability")))
    with pytest.raises(Refused):
        authorise(refused, notary, net.state, "tax-union", NOW)
    other = Net(net.pack, tuple(net.converters.values()))
    with pytest.raises(NotGenuine):
        authorise(permit, Notary([s.verifier for s in other.signers]), net.state, "tax-union", NOW)


def test_a_checkpoint_too_small_or_signed_once_is_no_permit(net):
    notary = Notary([s.verifier for s in net.signers])
    permit = permit_for(net, through(net, net.signed()))
    small = Checkpoint("log", permit.index, os.urandom(32)).to_text()
    note = f"{small}\n{net.signers[0].sign(small)}{net.signers[1].sign(small, time=1)}"
    once = permit.checkpoint.rsplit("— ", 1)[0]
    for checkpoint in (note, once):
        wrong = Permit(permit.index, permit.salt, permit.entry, permit.path, checkpoint)
        with pytest.raises(NotGenuine):
            notary.open(wrong)


def test_a_pack_unknown_here_stops_the_fold():
    def missing(_):
        raise NotFound("no pack")

    with pytest.raises(RenkeiError):
        State(Trust(bytes(16), b""), missing)
