"""Adversary: whoever provides: a gateway that answers, the authority that issues codes; each with its own good keys.

Claims it tries to break: an outcome is told only of what one was permitted to answer; only who was asked may challenge, and a challenge
is about what was signed.
"""

import datetime as dt
import re
import sqlite3
import time

import msgspec
import pytest

from renkei.catalogue.store import all_offers
from renkei.codes import Ciphertext, encrypt
from renkei.institution.bus import BusUser
from renkei.institution.keys import Keys
from renkei.institution.settings import Home
from renkei.messages.signing import seal_answer
from renkei.messages.wire import Answer, Changed, Inquiry, IssuanceBatch, Offer, Offers, Outcome, Outcomes, decode_as
from renkei.record import rounds
from renkei.record.entries import decode_entry
from renkei.record.state import ref_of
from tests.attacks.changes import changes, plain
from tests.attacks.liar import challenge
from tests.attacks.measures import BIG, entries, quiet, size
from tests.attacks.rogue import Rogue, nkey_of
from tests.world import until


@pytest.mark.usefixtures("audited")
def test_honest_converters_prove_everything(nation, unharmed):
    before = [nation.counter(k, "audits") for k in ("hub", "commission")]
    told = nation.ask()[1]
    assert told["state"] == "answered"
    until(lambda: all(nation.counter(k, "audits") > b for k, b in zip(("hub", "commission"), before, strict=True)))
    assert challenge(nation, told) == (200, {"hub": True, "commission": True})
    unharmed()


def test_a_challenge_is_for_who_was_asked(nation):
    told = nation.ask()[1]
    assert challenge(nation, told, by="pension-service")[0] == 404
    assert challenge(nation, told, by="ohashi-city")[0] == 404


def test_ciphertexts_are_what_was_signed(nation):
    """A proof starts from the requester's signed ciphertext, not from whatever the hub says it was given."""
    copies = nation.world.institutions["hub"].keeper.rounds_after(0, limit=10_000, most=10**9)
    entries = [decode_entry(leaf[2]) for copy in copies for leaf in copy.leaves if leaf[0] == "inquiry"]
    allowed = [e for e in entries if e.ruling.allowed]
    assert allowed
    for entry in allowed:
        (by_hub,), (by_commission,) = rounds.conversions(entry, "hub"), rounds.conversions(entry, "commission")
        signed = msgspec.msgpack.decode(entry.inquiry.payload)["ciphertext"]
        assert by_hub.given == Ciphertext.from_bytes(signed)
        assert by_hub.made == by_commission.given


def test_outcomes_of_others_inquiries_are_not_recorded(nation, rogue):
    leaf = next(
        decode_entry(leaf[2])
        for copy in nation.world.institutions["hub"].keeper.rounds_after(0, limit=10_000, most=10**9)
        for leaf in copy.leaves
        if leaf[0] == "inquiry" and decode_entry(leaf[2]).ruling.allowed
    )
    rejected, before = nation.counter("hub", "submissions_rejected"), quiet(nation)
    bad = [
        [Outcome(leaf.inquiry.id, "provided", 1)],
        [Outcome(b"\1" * 32, "nothing", 1)],
        [],
        [Outcome(b"\1" * 31, "nothing", 1)],
        [Outcome(leaf.inquiry.id, "provided", BIG)],
        [Outcome(bytes([i % 256, i // 256]) + bytes(30), "nothing", 1) for i in range(1000)],
    ]
    for outcomes in bad:
        rogue.submit(Outcomes(outcomes))
    until(lambda: nation.counter("hub", "submissions_rejected") == rejected + len(bad))
    assert size(nation) == before


@pytest.fixture(scope="module")
def provider(nation):
    """The tax union gone bad; it comes back for whoever asks for ``unharmed``."""
    assert nation.ask()[1]["state"] == "answered"
    bad = Rogue(nation, "tax-union")
    yield bad
    if "tax-union" not in nation.world.institutions:
        bad.leave()


def asked(nation, persona=0):
    """An inquiry that waits for the tax union: what its requester was told, and its leaf."""
    told = nation.ask(persona=persona, wait=0)[1]
    until(lambda: state_of(nation, told)["state"] == "permitted")
    leaf = next(e for e in entries(nation, "inquiry") if e.inquiry.id.hex() == told["id"])
    return told, leaf


def state_of(nation, told):
    return nation.http("ohashi-city", told["status_url"])[1]


def sealed(leaf, content):
    """An answer of the tax union to this leaf's inquiry that says exactly this, whatever MessagePack can say."""
    inquiry = decode_as(leaf.inquiry.payload, Inquiry)
    anything = msgspec.defstruct("Anything", [(field, object) for field in content])(**content)
    return Answer(leaf.inquiry.id, seal_answer(anything, inquiry.reply_key, leaf.inquiry.id))


def real_content(nation):
    """What the tax union answered when it was honest."""
    told = nation.http("ohashi-city", "/inquiries?status=answered")[1][-1]
    return {"type": "content/1", "item": told["item"], "specification": 1, "records": told["records"]}


def test_no_changed_answer_ends_an_inquiry(nation, provider):
    """Every field of it, the seal of another inquiry's answer among them; then the true one is taken, once."""
    (a, leaf_a), (b, leaf_b) = asked(nation), asked(nation, persona=1)
    said = real_content(nation)
    good, other = sealed(leaf_a, said), sealed(leaf_b, said)
    provider.send_each("ohashi-city", [m for _, m in changes(plain(good), plain(other))])
    provider.until_handled("ohashi-city")
    assert {state_of(nation, t)["state"] for t in (a, b)} == {"permitted"}
    provider.send("ohashi-city", good, good)
    provider.send("ohashi-city", sealed(leaf_a, {**said, "records": []}))
    provider.until_handled("ohashi-city")
    ended = state_of(nation, a)
    assert (ended["state"], ended["records"]) == ("answered", said["records"])
    provider.send("ohashi-city", other)
    until(lambda: state_of(nation, b)["state"] == "answered")


LAWFUL = re.compile(
    r"^\.specification|:(plus.*|zero|longest|long|negative|missing|repeated|reordered)$|^\.records:empty$"
)
"""What a provider says of a person is believed; that it is of the form the law's pack describes is not."""


def is_lawful(pack, where):
    """Whether this changes only what is said of the person: figures, which records there are, or what a free text says."""
    field = where.partition("].")[2].partition(":")[0]
    fields = {f.name: f for f in pack.specifications["local-tax"].fields}
    free = field in fields and pack.terms[fields[field].term].type == "text" and not where.endswith((":none", ":bytes"))
    missing = field in fields and fields[field].required and where.endswith(":missing")
    return (free and not missing) or (
        bool(LAWFUL.search(where)) and not missing and where[1:] not in ("item:missing", "type:missing")
    )


def test_no_content_is_taken_that_is_not_of_the_specification_s_form(nation, provider):
    """Every field of an answer's content, truly sealed: other items, unknown and missing fields, other kinds, depth and length."""
    told, leaf = asked(nation)
    real, pack = real_content(nation), nation.world.institutions["ohashi-city"].member.pack
    tried = 0
    for where, content in changes(real):
        if not is_lawful(pack, where):
            provider.send("ohashi-city", sealed(leaf, content))
            tried += 1
            provider.until_handled("ohashi-city")
            if state_of(nation, told)["state"] != "permitted":
                print("TAKEN", where, content)
                told, leaf = asked(nation)
    assert tried > 40
    provider.until_handled("ohashi-city")
    assert state_of(nation, told)["state"] == "permitted"
    provider.send("ohashi-city", sealed(leaf, real_content(nation)))
    until(lambda: state_of(nation, told)["state"] == "answered")


def test_nobody_but_who_was_asked_can_answer(nation, provider, rogue):
    """A town that knows the inquiry and seals to its reply key, as only the provider can know to, is not heard."""
    told, leaf = asked(nation)
    dropped = nation.counter("ohashi-city", "answers_dropped")
    rogue.send("ohashi-city", sealed(leaf, real_content(nation)))
    until(lambda: nation.counter("ohashi-city", "answers_dropped") > dropped)
    assert state_of(nation, told)["state"] == "permitted"
    provider.send("ohashi-city", sealed(leaf, real_content(nation)))
    until(lambda: state_of(nation, told)["state"] == "answered")


def test_no_changed_outcome_is_told_of_what_another_answers(nation, provider):
    """Every field of it, signed anew: whatever enters the record is about inquiries the provider was permitted to answer."""
    (_, a), (_, b) = asked(nation), asked(nation)
    before, now = quiet(nation), a.time
    good = {"type": "outcomes/1", "outcomes": [[a.inquiry.id, "nothing", now], [b.inquiry.id, "nothing", now]]}
    ids = {"a": a.inquiry.id, "b": b.inquiry.id}
    foreign = {
        "type": "outcomes/1",
        "outcomes": [[bytes([1]) * 32, "provided", now + 1], [b.inquiry.id, "expired", now]],
    }
    for _, changed in changes(good, foreign):
        provider.submit(changed)
    provider.until_handled("hub")
    told = [
        o for e in entries(nation, "outcome", after=before) for o in decode_as(e.outcomes.payload, Outcomes).outcomes
    ]
    assert {o.inquiry for o in told} <= set(ids.values())
    assert {o.result for o in told} <= set(rounds.OUTCOMES)
    assert max(o.time for o in told) < a.time + 300_000


def tomorrow():
    return (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=2)).isoformat()


def subscribed(nation, provider):
    """A subscription of the city's that waits for the tax union, and the notice that would be lawful, as plain values."""
    told = nation.ask(wait=0, changes_until=tomorrow())[1]
    until(lambda: state_of(nation, told)["state"] == "permitted")
    with sqlite3.connect(nation.folder / "tax-union" / "tax_union.db") as database:
        query = "SELECT code FROM subjects WHERE local_id = ?"
        (code,) = database.execute(query, [nation.local_id("tax-union")]).fetchone()
    cipher = encrypt(code, provider.key).to_bytes()
    values = "ohashi-city", "child-allowance", "local-tax", "assess-amount", cipher, time.time_ns() // 1_000_000
    return told, plain(Changed(ref_of(provider.domain), *values))


def test_nobody_believes_a_notice_it_did_not_subscribe_to(nation, provider):
    """Whoever provides may say of anybody that something changed; the record shows it to the person, and the requester lets it drop."""
    unfounded, before = nation.counter("ohashi-city", "changes_unfounded"), quiet(nation)
    told, good = subscribed(nation, provider)
    for strange in (
        {
            **good,
            "ciphertext": encrypt(provider.person, provider.key).to_bytes(),
        },  # another person, whom nobody asked about
        {**good, "item": "long-term-care", "affair": "child-allowance"},
        {**good, "ciphertext": provider.nobody()},
    ):
        provider.submit(strange)
    until(lambda: len(entries(nation, "change", after=before)) == 3)
    nation.http("ohashi-city", f"/subscriptions/{told['id']}/end", {})
    provider.submit(good)  # of what is over, too
    until(lambda: nation.counter("ohashi-city", "changes_unfounded") >= unfounded + 2)
    assert nation.http("ohashi-city", "/changes")[1] == []


def test_no_changed_notice_tells_of_another_person_or_item(nation, provider):
    """Every field of a notice, signed anew: what is believed is about the person and the item that were subscribed to, once."""
    told, good = subscribed(nation, provider)
    for _, changed in changes(good, {**good, "requester": "pension-service", "item": "pension-benefits"}):
        provider.submit(changed)
    provider.until_handled("hub")
    last = provider.submit(good)
    until(lambda: nation.world.institutions["hub"].keeper.entered([last.id]))
    (notice,) = until(lambda: nation.http("ohashi-city", "/changes")[1])
    assert (notice["inquiry"], notice["item"]) == (told["id"], "local-tax")
    assert nation.http("pension-service", "/changes")[1] == []
    nation.http("ohashi-city", f"/subscriptions/{told['id']}/end", {})


def test_no_changed_batch_of_codes_reaches_anyone_who_did_not_ask(nation, provider, unharmed):
    """The authority's batches and refusals, every field changed and signed anew: nobody has a code more or less."""
    provider.leave()
    holders = ("ohashi-city", "tax-union", "portal", "pension-service")
    until(lambda: all(nation.http(b, "/health", token="")[1]["codes_awaited"] == "0" for b in holders))
    before = {b: nation.http(b, "/health", token="")[1]["subjects"] for b in holders}
    bad = Rogue(nation, "numbering-authority")
    try:
        batches = [msgspec.msgpack.decode(e.batch.payload) for e in entries(nation, "issuance")]
        good, other = (next(b for b in batches if b["target"][0] == body) for body in ("ohashi-city", "tax-union"))
        size_before = quiet(nation)
        for _, changed in changes(good, other):
            bad.submit(changed)
        bad.until_handled("hub")
        for leaf in entries(nation, "issuance", after=size_before):
            batch = decode_as(leaf.batch.payload, IssuanceBatch)
            assert batch.source.body == "numbering-authority"
            assert (batch.target.code_epoch, batch.target.key_epoch) == (1, 1)
        refusals = {"type": "code-refused/1", "handles": [c[0] for c in good["codes"]][:3]}
        for body in holders:
            bad.send_each(body, [refusals, *(m for _, m in changes(refusals))])
            bad.until_handled(body)
    finally:
        bad.leave()
    assert {b: nation.http(b, "/health", token="")[1]["subjects"] for b in holders} == before
    unharmed()


def test_a_provider_that_is_killed_or_taken_off_the_bus_in_the_middle_answers_once(nation, unharmed):
    """Between permit and answer: shut out of the bus, let in again, stopped. Who asked is answered once, nobody else waits."""
    world, bus = nation.world, nation.world.bus
    users = [BusUser(p.body, Keys.load(Home(nation.folder / p.body), p.body).bus_public) for p in nation.plan.places]
    operator = nkey_of(nation.plan.operator.encode())
    bus.configure([u for u in users if u.body != "tax-union"], operator)
    try:
        until(lambda: not world.institutions["tax-union"].bus.connected)
        told = nation.ask(wait=0)[1]
        until(lambda: state_of(nation, told)["state"] == "permitted")
        other = nation.ask(provider="pension-service", item="pension-benefits", affair="child-rearing-allowance")[1]
        assert other["state"] in ("answered", "refused")
        assert nation.http("tax-union", "/health", token="")[1]["bus"] == "away"
    finally:
        bus.configure(users, operator)
    nation.stop_body("tax-union")
    nation.start_body("tax-union")
    until(lambda: state_of(nation, told)["state"] == "answered", 40)
    assert [p["id"] for p in nation.http("tax-union", "/provisions?limit=200")[1]].count(told["id"]) == 1
    unharmed()


def test_nobody_offers_for_another_nor_what_the_law_does_not_let_it_answer(nation, rogue):
    """``Offers``: a town lists as its own an item of the pension service, a made-up one, and markup as its contact; others' stay."""
    catalogue = nation.world.institutions["catalogue"]

    def listed(body):
        return {o.item: o for b, o, _ in catalogue.database.read_now(all_offers) if b == body}

    until(lambda: listed("tax-union"))
    before = listed("tax-union")
    lies = [Offer(item, 99, False, True, rows=1) for item in ("pension-benefits", "no-such-item", "resident-record")]
    rogue.send("catalogue", Offers(lies, "<script>alert(1)</script>"))
    until(lambda: (own := listed("kiriyama-town").get("resident-record")) and own.specification == 99)
    assert set(listed("kiriyama-town")) == {"resident-record"}
    assert listed("tax-union") == before
    page = nation.http("catalogue", "/bodies/kiriyama-town", token="", Accept="text/html")[1]
    assert "<script>alert" not in page
