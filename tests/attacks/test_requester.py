"""Adversary: whoever asks: an enrolled institution with its own good keys.

Claims it tries to break: nobody enters what is not well formed into the record; nobody stops or slows another institution; one bad
inquiry harms nobody else's; nothing that another has signed has effect twice; no change to what one signed or says discloses anything.
"""

import csv
import datetime as dt
import itertools
import sqlite3
import typing

import msgspec
import pytest
import sqlalchemy as sa

from renkei.commission import store as commission_store
from renkei.gateway import store as gateway_store
from renkei.gateway import subscription_store
from renkei.messages.wire import (
    Acts,
    AskedRecord,
    Blob,
    Call,
    CodeRequest,
    Demand,
    DomainRef,
    EndChanges,
    Explanation,
    Failed,
    FileHalf,
    GetActs,
    GetBlob,
    GetFiled,
    GetHead,
    GetPermit,
    GetProofs,
    GetRounds,
    GetShare,
    GetTail,
    GivenRecord,
    HeadIs,
    KeyShare,
    Progress,
    Proofs,
    Proposal,
    Records,
    Remind,
    Report,
    Retire,
    Rotate,
    RoundCopy,
    Rounds,
    Submit,
    Work,
    decode_as,
    decode_signed,
)
from renkei.portal import store as portal_store
from renkei.record.entries import ActLeaf, decode_entry
from tests.attacks.changes import changes, plain
from tests.attacks.measures import BIG, entries, quiet, recorded, size
from tests.attacks.rogue import Rogue
from tests.world import until


@pytest.mark.parametrize(
    "changes",
    [
        {"ciphertext": b"\1" * 3_000},
        {"ciphertext": b""},
        {"reply_key": b"\1" * 400_000},
        {"context": "name: 山田花子".encode()},
        {"expires": BIG},
        {"issued_at": -1},
        {"as_of": "2026-13"},
        {"as_of": "山" * 10},
        {"provider": "x" * 65},
        {"provider": "tax-union\0"},
        {"affair": "a\nb"},
        {"item": ""},
        {"purpose": "p" * 100_000},
        {"source": ["kiriyama-town", BIG, 1]},
        {"source": ["kiriyama-town", 0, 1]},
        {"withheld": 1},
        {"extra": "field"},
        {"type": "inquiry/2"},
        {"provider": 7},
        {"ciphertext": "text"},
    ],
    ids=lambda c: "-".join(c),
)
def test_what_is_not_well_formed_is_not_recorded(nation, rogue, changes):
    rejected = nation.counter("hub", "submissions_rejected")
    envelope = rogue.submit(rogue.inquiry(**changes))
    until(lambda: nation.counter("hub", "submissions_rejected") == rejected + 1)
    assert not recorded(nation, envelope)


def test_after_all_that_everyone_works(unharmed):
    unharmed()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ciphertext": bytes(64)}, "ciphertext"),
        ({"ciphertext": b"\xff" * 64}, "ciphertext"),
        ({"reply_key": bytes(32)}, "reply-key"),
        ({"withheld": True}, "withheld"),
        ({"provider": "portal"}, "provider"),
        ({"source": ["ohashi-city", 1, 1]}, "source"),
        ({"source": ["kiriyama-town", 2, 1]}, "source"),
        ({"issued_at": 1_500_000_000_000}, "issued-at"),
    ],
)
def test_what_is_well_formed_and_wrong_is_recorded_as_refused(nation, rogue, unharmed, changes, reason):
    before = quiet(nation)
    envelope = rogue.submit(rogue.inquiry(**changes))
    until(lambda: recorded(nation, envelope))
    hub = nation.world.institutions["hub"]
    leaf = decode_entry(hub.keeper.rounds_after(before)[0].leaves[0][2])
    assert (leaf.ruling.allowed, leaf.ruling.reason, leaf.converted) == (False, reason, b"")
    if reason == "ciphertext":
        unharmed()


def test_an_inquiry_about_no_one_stops_neither_provider_nor_portal(nation, rogue, unharmed):
    """The identity, encrypted to oneself, passes every check of form: nobody's code, at the provider and at the portal."""
    before = nation.counter("tax-union", "codes_unreadable")
    for _ in range(3):
        rogue.submit(rogue.inquiry(ciphertext=rogue.nobody()))
    until(lambda: nation.counter("tax-union", "codes_unreadable") == before + 3)
    until(lambda: nation.counter("portal", "records_unreadable") >= 3)
    unharmed()


@pytest.mark.parametrize(
    "frame",
    [
        {"first": 2**63, "oldest": 2**63},
        {"first": BIG},
        {"oldest": 0},
        {"parcels": [[]] * 65},
        {"parcels": [[b""] * 1000]},
        {"parcels": [[b"x" * 700_000, b"x" * 700_000]]},
        {"stream": b"\xff" * 9},
        {"stream": b"\x7f" * 8},
        {"acknowledges": BIG},
        {"sender": "ohashi-city"},
        {"recipient": "ohashi-city"},
        {"parcels": [["not bytes"]]},
        {"nonsense": 1},
    ],
    ids=lambda f: "-".join(f),
)
@pytest.mark.parametrize("to", ["hub", "tax-union", "portal", "numbering-authority", "commission"])
def test_no_frame_harms_who_receives_it(nation, rogue, to, frame):
    good = {"type": "frame/1", "sender": "kiriyama-town", "recipient": to, "stream": rogue.stream.to_bytes(8, "big")}
    before = nation.counter(to, "frames_refused")
    rogue.raw(to, {**good, "first": rogue.numbers.get(to, 0) + 1, "parcels": [[b"\xc0"]], "oldest": 1, **frame})
    until(lambda: nation.counter(to, "frames_refused") > before)


def test_after_all_those_frames_everyone_works(unharmed):
    unharmed()


def test_a_made_up_key_share_holds_up_only_its_sender(nation, rogue, unharmed):
    for to in ("tax-union", "ohashi-city", "portal", "numbering-authority"):
        rogue.send(to, KeyShare(DomainRef(to, 1, 1), rogue.body, b"\1" * 32))
        rogue.send(to, KeyShare(DomainRef(to, 7, 7), "hub", b"\1" * 32))
    until(lambda: nation.counter("tax-union", "shares_refused") >= 2)
    unharmed()


def test_what_others_signed_has_no_effect_twice(nation, rogue, unharmed):
    """Acts are public; inquiries of others may be seen by a thief of the record. Neither can be entered again, by anyone."""
    acts = rogue.call("hub", GetActs(1)).acts
    others = [decode_entry(p.entry) for p in acts]
    assert all(isinstance(leaf, ActLeaf) for leaf in others)
    assert len(others) > 20
    rounds = nation.world.institutions["hub"].keeper.rounds_after(0, limit=10_000, most=10**9)
    seen = [
        decode_entry(leaf[2])
        for copy in rounds
        for leaf in copy.leaves
        if leaf[0] in ("inquiry", "issuance", "outcome")
    ]
    envelopes = [leaf.act for leaf in others] + [
        getattr(s, "inquiry", None) or getattr(s, "batch", None) or s.outcomes for s in seen
    ]
    before, rejected = quiet(nation), nation.counter("hub", "submissions_rejected")
    foreign = [e for e in envelopes if e.sender != rogue.body]
    for envelope in foreign:
        rogue.send("hub", Submit(envelope))
    until(lambda: nation.counter("hub", "submissions_rejected") == rejected + len(foreign))
    assert size(nation) == before
    unharmed()


def test_one_s_own_inquiry_sent_again_is_one_leaf(nation, rogue):
    before, repeated = quiet(nation), nation.counter("hub", "inquiries_repeated")
    envelope = rogue.submit(rogue.inquiry())
    until(lambda: size(nation) >= before + 2)  # the inquiry and the provider's outcome
    after = size(nation)
    for _ in range(5):
        rogue.send("hub", Submit(envelope))
    rogue.send("hub", *[Submit(envelope)] * 20)
    until(lambda: nation.counter("hub", "inquiries_repeated") > repeated)
    assert size(nation) == after


def test_a_member_is_told_nothing_that_is_not_for_it(nation, rogue):
    for to, question in (("hub", GetRounds(0)), ("hub", GetTail(0)), ("commission", GetRounds(0))):
        assert rogue.call(to, question).code == "not-entitled"


def test_an_authority_is_not_overrun(nation, rogue, unharmed):
    wanted = [[b"\1" * 16, "1" * 12, b"\1" * 32]] * 5000
    rogue.send("numbering-authority", {"type": "code-request/1", "domain": ["kiriyama-town", 1, 1], "wanted": wanted})
    rogue.send("numbering-authority", CodeRequest(DomainRef("ohashi-city", 1, 1), []))
    until(lambda: nation.counter("numbering-authority", "messages_malformed") >= 2)
    unharmed()


def test_a_mailbox_subject_is_not_trusted(nation, rogue, unharmed):
    for last in ("²", "x", "-1", "9" * 40, "1"):
        rogue.nation.do(rogue.bus.leave(f"mail.tax-union.kiriyama-town.box.zz.{last}", b"garbage"))
    unharmed()


def test_a_busy_member_is_bounded_and_the_others_go_on(nation, rogue, unharmed):
    """Megabytes for a commission that takes no messages, and for a gateway that is not asked: refused or handled, never hoarded."""
    for _ in range(30):
        rogue.send("commission", b"\xc4" * 900_000)
        rogue.send("tax-union", b"\xc4" * 900_000)
    unharmed()
    assert nation.world.institutions["commission"].post._waiting == 0
    until(lambda: nation.world.institutions["tax-union"].post._waiting == 0)


def test_deep_and_broken_messages_are_counted(nation, rogue, unharmed):
    before = nation.counter("hub", "messages_malformed")
    rogue.send("hub", b"\x91" * 100_000, b"", b"\xc1", msgspec.msgpack.encode({"type": "submit/1"}))
    until(lambda: nation.counter("hub", "messages_malformed") == before + 4)
    unharmed()


def test_a_body_that_comes_back_is_not_taken_for_its_abuser(nation, unharmed):
    """A town whose operator was replaced: the town itself starts again and works, whatever numbers were used in its name."""
    bad = Rogue(nation, "namiura-village")
    for _ in range(5):
        bad.submit(bad.inquiry())
    bad.leave()
    until(lambda: nation.ask("namiura-village")[1].get("state") == "answered")
    unharmed()


def other_inquiry(rogue):
    """Another lawful inquiry of the same town."""
    return rogue.inquiry(provider="pension-service", item="pension-benefits", affair="child-rearing-allowance")


def test_nothing_changed_after_it_was_signed_is_recorded(nation, rogue, unharmed):
    """Every field of a submission and of the inquiry in it, under the signature of the inquiry as it was."""
    good, other = rogue.signed(rogue.inquiry()), rogue.signed(other_inquiry(rogue))
    before = quiet(nation)
    shells = [m for w, m in changes(plain(Submit(good)), plain(Submit(other))) if w != ".envelope:swapped"]
    bodies = changes(msgspec.msgpack.decode(good.payload), msgspec.msgpack.decode(other.payload))
    inside = [Submit(msgspec.structs.replace(good, payload=msgspec.msgpack.encode(b))) for _, b in bodies]
    assert rogue.send_each("hub", shells + inside) > 150
    rogue.until_handled("hub")
    assert size(nation) == before
    unharmed()


LAWFUL = ("ciphertext", "reply_key", "context", "issued_at", "expires", "as_of", "withheld")
"""Fields in which two lawful inquiries of one town to one provider may differ."""


def test_what_a_town_signs_otherwise_leads_to_no_other_person_provider_or_item(nation, rogue, unharmed):
    """Every field of an inquiry changed and signed anew: past and future, wrong epochs, identity and non-canonical elements among them."""
    before = quiet(nation)
    told = {p["id"]: p for p in nation.http("tax-union", "/provisions?limit=200")[1]}
    sent = {}
    for where, body in changes(rogue.inquiry(), {k: v for k, v in other_inquiry(rogue).items() if k in LAWFUL}):
        sent[rogue.submit(body).id] = where
    last = rogue.submit(rogue.inquiry())
    until(lambda: recorded(nation, last))
    found = {e.inquiry.id: e for e in entries(nation, "inquiry", after=before)}
    allowed = {sent[i] for i, e in found.items() if i in sent and e.ruling.allowed}
    assert allowed
    assert {w[1:].partition(":")[0] for w in allowed} <= set(LAWFUL), allowed
    assert not allowed & {".ciphertext:identity", ".ciphertext:noncanonical", ".reply_key:identity"}
    assert {w for w in allowed if "_at" in w or "expires" in w} <= {
        ".issued_at:plus1", ".issued_at:plus-1", ".issued_at:plus1000", ".expires:plus1", ".expires:plus-1",
        ".expires:plus1000", ".expires:swapped", ".issued_at:swapped",
    }  # fmt: skip
    until(lambda: {i.hex() for i in found if found[i].ruling.allowed} <= provided(nation))
    with sqlite3.connect(nation.folder / "tax-union" / "tax_union.db") as database:
        people = dict(database.execute("SELECT id, local_id FROM provisions"))
    own = people[last.id]
    for id_, where in sent.items():
        if id_.hex() not in told and id_ in people:
            assert (people[id_] is None) == where.startswith(".ciphertext:altered"), where
            assert people[id_] in (None, own)
    unharmed()


def provided(nation):
    with sqlite3.connect(nation.folder / "tax-union" / "tax_union.db") as database:
        return {i.hex() for (i,) in database.execute("SELECT id FROM provisions")}


def test_no_changed_request_for_codes_gives_anyone_another_s_code(nation, rogue, unharmed):
    """Every field of it; a town may ask for codes of its own only, of whoever has the number it names."""
    domain = ["kiriyama-town", 1, 1]
    numbers = roll(nation)
    wanted = [[bytes([i]) * 16, numbers[i], bytes(32)] for i in range(2)]
    other = [[bytes([9 - i]) * 16, numbers[9 - i], bytes(32)] for i in range(2)]
    good = {"type": "code-request/1", "domain": domain, "wanted": wanted}
    before = {b: subjects_of(nation, b) for b in ("ohashi-city", "tax-union", "pension-service", "portal")}
    rogue.send_each("numbering-authority", (m for _, m in changes(good, {**good, "wanted": other})))
    rogue.until_handled("numbering-authority")
    quiet(nation)
    for batch in entries(nation, "issuance"):
        issued = decode_signed(batch.batch.payload)
        assert issued.target.body == "kiriyama-town" or not {c.handle for c in issued.codes} & {w[0] for w in wanted}
    assert {b: subjects_of(nation, b) for b in before} == before
    unharmed()


def roll(nation):
    with (nation.folder / "roll.csv").open(encoding="utf-8") as file:
        return [row["number"] for row in csv.DictReader(file)]


def subjects_of(nation, body):
    return nation.http(body, "/health", token="")[1]["subjects"]


QUESTIONS = (
    GetHead(),
    GetActs(1),
    GetBlob(bytes(32)),
    GetRounds(1),
    GetTail(1),
    GetPermit(bytes(32)),
    GetFiled(DomainRef("portal", 1, 1), [FileHalf(1, bytes(64))]),
    GetProofs([1]),
    GetShare(DomainRef("ohashi-city", 1, 1)),
    Proposal(1, bytes(32), 1, [b"x"], [bytes(16)]),
    Work(1, 1, drafts=[b"x"]),
    Rounds([RoundCopy(1, [("act", bytes(16), b"x")], "x")]),
)


def test_no_question_however_changed_brings_up_what_is_not_the_asker_s(nation, rogue):
    """Every question there is, to both keepers: refused or public, and never an internal failure."""
    public, before = (Acts, Blob, HeadIs), quiet(nation)
    for question, to in itertools.product(QUESTIONS, ("hub", "commission")):
        for where, asked in [("", plain(question)), *changes(plain(question))]:
            reply = rogue.call(to, asked)
            assert isinstance(reply, (Failed, *public)) or reply == Proofs([]), (question, to, where)
            assert getattr(reply, "code", "") != "internal", (question, to, where)
    assert size(nation) == before


def test_every_question_is_tried():
    """A question that is added must be added above."""
    assert {type(q) for q in QUESTIONS} == set(typing.get_args(Call))


def test_no_changed_rotation_moves_anyone_else(nation, rogue, unharmed):
    """Whatever it orders or retires, genuinely signed: the domains of others are what they were, and who rotates nothing loses nothing."""
    hub = nation.world.institutions["hub"].keeper.state
    before = {b: (hub.domain(b), hub.wanted(b), hub.retired.get(b)) for b in hub.bodies if b != rogue.body}
    for act in (Rotate(DomainRef(rogue.body, 1, 3)), Retire(DomainRef(rogue.body, 9, 9))):
        for _, changed in changes(plain(act), plain(type(act)(DomainRef("tax-union", 1, 2)))):
            if not isinstance(changed.get("domain"), list) or changed["domain"][:1] != [rogue.body]:
                rogue.submit(changed)
    rogue.submit(Rotate(DomainRef(rogue.body, 3, 1)))  # an epoch that is not the next
    rogue.submit(Retire(DomainRef("ohashi-city", 1, 1)))
    rogue.until_handled("hub")
    quiet(nation)
    assert {b: (hub.domain(b), hub.wanted(b), hub.retired.get(b)) for b in before} == before
    assert hub.wanted(rogue.body) == rogue.domain
    unharmed()


def test_nobody_ends_another_s_subscription(nation, rogue, unharmed):
    """Every field of it: only one's own inquiry, and only towards the body that was asked."""
    until_ = (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=2)).isoformat()
    told = nation.ask(changes_until=until_)[1]
    assert told["state"] == "answered"
    before, sent = quiet(nation), 0
    foreign = plain(EndChanges(bytes.fromhex(told["id"]), "tax-union"))
    own = rogue.submit(rogue.inquiry(changes_until=until_))
    until(lambda: recorded(nation, own))
    mine = plain(EndChanges(own.id, "tax-union"))
    for changed in (foreign, *(c for _, c in changes(mine, foreign))):
        rogue.submit(changed)
        sent += 1
    assert sent > 20
    rogue.until_handled("hub")
    ended = {decode_as(e.end.payload, EndChanges).inquiry for e in entries(nation, "end", after=before)}
    assert ended <= {own.id}
    assert [s["inquiry"] for s in nation.http("ohashi-city", "/subscriptions")[1]] == [told["id"]]
    provider = nation.world.institutions["tax-union"]
    held = provider.database.read_now(lambda c: subscription_store.after(c, b"", 9))
    assert bytes.fromhex(told["id"]) in {bytes(r.inquiry) for r in held}
    nation.http("ohashi-city", f"/subscriptions/{told['id']}/end", {})
    unharmed()


def test_no_reminder_brings_an_answer_that_was_another_s(nation, rogue, unharmed):
    """By the id of a town's inquiry, which whoever reads the record may know: the provider sends nothing, however it is asked."""
    told = nation.ask()[1]
    provisions = nation.http("tax-union", "/provisions")[1]
    good = plain(Remind(bytes.fromhex(told["id"])))
    for _, changed in [("", good), *changes(good, plain(Remind(bytes(32))))]:
        rogue.send("tax-union", msgspec.msgpack.encode(changed))
    rogue.until_handled("tax-union")
    quiet(nation)
    owed = sa.text("SELECT parcel FROM post_outbox WHERE peer = 'kiriyama-town'")
    tax = nation.world.institutions["tax-union"].database
    parcels = [bytes(p) for p in tax.read_now(lambda c: c.execute(owed).scalars().all())]
    assert not [p for p in parcels if bytes.fromhex(told["id"]) in p], "nothing is owed to the asker about it"
    assert nation.http("tax-union", "/provisions")[1] == provisions
    unharmed()


def test_one_s_own_leaf_is_told_to_oneself_alone(nation, rogue):
    """By the id of another's inquiry, which whoever reads the log may know, nothing comes."""
    own, foreign = rogue.submit(rogue.inquiry()), bytes.fromhex(nation.ask()[1]["id"])
    until(lambda: recorded(nation, own))
    permit = rogue.call("hub", GetPermit(own.id)).permit
    assert decode_entry(permit.entry).inquiry == own
    assert rogue.call("hub", GetPermit(foreign)).code == "no-leaf"
    for to in ("hub", "commission"):
        assert rogue.call(to, GetProofs([permit.index])).proofs
        leaf = next(p["leaf"] for p in nation.http("tax-union", "/provisions")[1] if p["id"] == foreign.hex())
        assert rogue.call(to, GetProofs([permit.index, leaf])).code == "not-entitled"


@pytest.mark.parametrize("kind", ["frame/1", "call/1"])
def test_no_changed_frame_has_effect(nation, rogue, unharmed, kind):
    """Every field of both kinds of frame, genuinely signed and sealed by who it is from."""
    head = {"sender": rogue.body, "recipient": "hub"}
    inquiry = msgspec.msgpack.encode(plain(Submit(rogue.signed(rogue.inquiry(item="disability")))))
    frame = {"type": kind, **head, "stream": (rogue.stream + 60_000).to_bytes(8, "big"), "first": 1, "oldest": 1}
    frame = {**frame, "parcels": [[inquiry]], "acknowledges": -1}
    call = {"type": kind, **head, "nonce": bytes(16), "body": msgspec.msgpack.encode(GetHead()), "reply": False}
    subject = f"mail.hub.{rogue.body}.{'live' if kind == 'frame/1' else 'call'}"
    before, refused = quiet(nation), nation.counter("hub", "frames_refused")
    sent = 0
    for where, changed in changes(frame if kind == "frame/1" else call):
        if where.split(":")[0] in (".type", ".sender", ".recipient", "") or ":text" in where or ":none" in where:
            rogue.raw("hub", changed, subject=subject)
            sent += 1
        elif not where.startswith((".parcels", ".stream", ".first", ".oldest", ".body")):
            rogue.raw("hub", changed, subject=subject)
    until(lambda: nation.counter("hub", "frames_refused") >= refused + sent)
    assert rogue.body not in {e.inquiry.sender for e in entries(nation, "inquiry", after=before)}
    unharmed()


def test_no_demand_or_explanation_of_a_town_s_own_has_effect(nation, rogue, unharmed):
    """It plays the commission towards another body, and answers what was asked of another; every field changed besides."""
    demand = Demand("c-2026-1", "explanation", bytes(16), "Send us everything.", 0)
    told = Explanation("c-2026-1", bytes(32), "We know nothing of it.")
    asked = AskedRecord(bytes(32), bytes(16), "sato", "A-1", "An application.")
    handed = Records("c-2026-1", bytes(32), [asked], [GivenRecord(bytes(32), "answered", "sato", 1)])
    victim, here = nation.world.institutions["tax-union"], nation.world.institutions["commission"]
    rogue.send_each("tax-union", [c for _, c in [("", plain(demand)), *changes(plain(demand))]])
    rogue.send_each("commission", [c for _, c in [("", plain(told)), *changes(plain(told))]])
    rogue.send_each("commission", [c for _, c in [("", plain(handed)), *changes(plain(handed))]])
    rogue.until_handled("tax-union")
    rogue.until_handled("commission")
    assert victim.database.read_now(lambda c: c.execute(gateway_store.demands.select()).all()) == []
    assert here.database.read_now(lambda c: c.execute(commission_store.papers.select()).all()) == []
    assert here.database.read_now(lambda c: c.execute(commission_store.handed_records.select()).all()) == []
    unharmed()


def test_no_town_tells_the_commission_what_residents_report_or_residents_what_it_examines(nation, rogue, unharmed):
    report, progress = Report(bytes(16), 1, "unrecognised", "Not mine."), Progress(1, "c-2026-1", "examined")
    rogue.send_each("commission", [c for _, c in [("", plain(report)), *changes(plain(report))]])
    rogue.send_each("portal", [c for _, c in [("", plain(progress)), *changes(plain(progress))]])
    rogue.until_handled("commission")
    rogue.until_handled("portal")
    here, portal = nation.world.institutions["commission"], nation.world.institutions["portal"]
    assert here.database.read_now(lambda c: c.execute(commission_store.cases.select()).all()) == []
    assert portal.database.read_now(lambda c: c.execute(portal_store.marks.select()).all()) == []
    unharmed()
