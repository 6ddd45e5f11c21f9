"""Adversary: whoever writes letters: a body with its own good keys (or whoever stole them), and one that takes applications in.

Claims it tries to break: a resident is told only what the law lets that body tell, in words that are the letter's own; nobody's
application is moved, answered or read by another body; one half of a letter is worth nothing.
"""

import os
import time

import pytest
import sqlalchemy as sa

from renkei.codes import encrypt
from renkei.gateway.notice_store import notices
from renkei.institution.letters import enclosures, letters
from renkei.messages.signing import seal_letter
from renkei.messages.wire import Applied, Enclosure, Letter, Received, Told, document_hash, encode
from renkei.record.state import ref_of
from tests.attacks.changes import changes, plain
from tests.attacks.measures import entries, quiet, recorded
from tests.console import Browser
from tests.world import until

TOWN, CITY = "kiriyama-town", "ohashi-city"
RENEWAL = "long-term-care-benefits-and-premiums", "care-renewal"


def letter(rogue, said, *, to="portal", topic=RENEWAL, code=None, **more):
    """A letter of the town, as plain values, and what it says, sealed to its receiver when its id is known."""
    salt, content = os.urandom(16), encode(said)
    cipher = encrypt(code or rogue.person, rogue.key).to_bytes()
    now = time.time_ns() // 1_000_000
    good = plain(Letter(ref_of(rogue.domain), to, *topic, cipher, document_hash(salt, content), now))
    return {**good, **more}, salt, content


def enclose(rogue, envelope, salt, content, to="portal"):
    sealed = seal_letter(content, rogue.state.bodies[to].seal, envelope.id)
    return Enclosure(envelope.id, salt, sealed)


def deliver(rogue, said, to="portal", **more):
    """Both halves, as an honest body sends them."""
    values, salt, content = letter(rogue, said, to=to, **more)
    envelope = rogue.submit(values)
    rogue.send(to, enclose(rogue, envelope, salt, content, to))
    return envelope


def rows(nation, body="portal"):
    database = nation.world.institutions[body].database
    return database.read_now(lambda c: {bytes(r.id): r for r in c.execute(sa.select(letters)).all()})


def delivered(nation, body="portal"):
    return {i for i, r in rows(nation, body).items() if r.state == "delivered" and not r.mine}


def handled(nation, rogue, to="portal"):
    for peer in {"hub", to} & rogue.numbers.keys():
        rogue.until_handled(peer)
    quiet(nation)


@pytest.fixture(scope="module")
def applied(nation):
    """Hanako has applied at the city for something that it has taken in; her browser, the case's page, the letter's id."""
    browser = Browser(nation.url("portal"))
    assert browser.form("/signin", secret=nation.plan.personas[0].secret)[0] == 200
    assert browser.form("/apply", event="care")[0] == 200
    case = browser.at
    form = {"chosen": ["care-certification"], "place-home": CITY}
    assert browser.form(f"{case}?step=choose", f"{case}/choose", **form)[0] == 200
    filled = {
        "full-name@applicant": "大橋 花子",
        "date-of-birth@applicant": "1991-05-14",
        "home-address": "大橋市",
        "care-kind": "first",
    }
    assert browser.form(f"{case}?step=form", f"{case}/form", act="check", **filled)[0] == 200
    assert browser.form(f"{case}?step=send", f"{case}/send")[0] == 200
    listed = lambda: nation.http(CITY, "/applications")[1]  # noqa: E731
    until(listed)
    id_ = listed()[0]["id"]
    until(lambda: "Received" in browser.get(f"{case}?step=send")[1])
    return browser, case, id_


def test_an_honest_letter_arrives_once_however_often_it_is_sent(nation, rogue):
    said = Told(values={"day": "2027-01-31"})
    values, salt, content = letter(rogue, said)
    envelope = rogue.submit(values)
    for _ in range(3):
        rogue.submit(values)
        rogue.send("portal", enclose(rogue, envelope, salt, content))
    until(lambda: envelope.id in delivered(nation))
    handled(nation, rogue)
    assert len([e for e in entries(nation, "letter") if e.letter.id == envelope.id]) == 1


def test_what_the_law_does_not_let_a_body_tell_is_refused_in_the_record(nation, rogue):
    """Another body's notice, none at all, another's affair, to another body, an application in nobody's name."""
    before, said = delivered(nation), Told(values={"day": "2027-01-31"})
    strange = [
        deliver(rogue, said, topic=("health-insurance-benefits", "insurance-lost")),
        deliver(rogue, said, topic=("child-allowance", "care-renewal")),
        deliver(rogue, said, topic=("child-allowance", "nothing-of-the-kind")),
        deliver(rogue, said, to=CITY),
        deliver(rogue, Applied(), to=CITY, topic=("long-term-care-benefits-and-premiums", "care-certification")),
        deliver(rogue, said, to="hub"),
    ]
    until(lambda: all(recorded(nation, e) for e in strange))
    handled(nation, rogue)
    ids = {e.id for e in strange}
    rulings = [e.ruling for e in entries(nation, "letter") if e.letter.id in ids]
    assert len(rulings) == len(ids)
    assert not any(r.allowed for r in rulings)
    assert {r.reason for r in rulings} == {"topic", "receiver"}
    assert delivered(nation) == before
    assert not delivered(nation, CITY) & ids


def test_no_changed_letter_says_anything_but_what_its_sender_signed(nation, rogue):
    """Every field, signed anew, with the enclosure of the unchanged one: what arrives is whole, lawful, and the town's own."""
    said = Told(values={"day": "2027-01-31"})
    good, salt, content = letter(rogue, said)
    other, *_ = letter(rogue, said, topic=("child-allowance", "child-allowance-unclaimed"))
    sent = {}
    for where, changed in changes(good, other):
        try:
            envelope = rogue.submit(changed)
        except (TypeError, OverflowError):
            continue
        rogue.send("portal", enclose(rogue, envelope, salt, content))
        sent[envelope.id] = where
    handled(nation, rogue)
    arrived = {sent[i] for i in delivered(nation) if i in sent}
    known = {bytes(r.id): r for r in rows(nation).values()}
    for id_, where in sent.items():
        if where in arrived:
            assert known[id_].peer == TOWN
            assert (known[id_].affair, known[id_].topic) in {RENEWAL, ("child-allowance", "child-allowance-unclaimed")}
            assert bytes(known[id_].document) == document_hash(salt, content)
    assert len(sent) > 40
    assert all("document" not in where for where in arrived), arrived


def test_no_changed_enclosure_is_believed(nation, rogue):
    """Other words, another salt, sealed to another letter or body, cut, or what is no content at all; then the true one is."""
    values, salt, content = letter(rogue, Told(values={"day": "2027-01-31"}))
    envelope = rogue.submit(values)
    until(lambda: recorded(nation, envelope))
    lie = encode(Told(values={"day": "2026-12-01"}))
    good = enclose(rogue, envelope, salt, content)
    rogue.send("portal", enclose(rogue, envelope, salt, lie))
    handled(nation, rogue)
    assert envelope.id not in delivered(nation)
    wrong = [changed for where, changed in changes(plain(good)) if "repeated" not in where]
    rogue.send_each("portal", wrong)
    rogue.send("portal", enclose(rogue, envelope, salt, content, to=CITY))
    handled(nation, rogue)
    assert envelope.id not in delivered(nation)


def test_another_body_s_words_do_not_fill_its_letter(nation, rogue):
    """The city's letter waits for its words; the town, which knows its id, sends some."""
    told = nation.http(
        CITY, "/letters", {"notice": "care-renewal", "local_id": nation.local_id(CITY), "values": {"day": "2027-01-31"}}
    )[1]
    id_ = bytes.fromhex(told["id"])
    until(lambda: id_ in delivered(nation))
    said = encode(Told(values={"day": "2001-01-01"}))
    rogue.send("portal", Enclosure(id_, bytes(16), seal_letter(said, rogue.state.bodies["portal"].seal, id_)))
    handled(nation, rogue)
    assert nation.world.institutions["portal"].letters.said(rows(nation)[id_]).values == {"day": "2027-01-31"}


def test_nobody_moves_another_s_application(nation, rogue, applied):
    """The town writes of an application that is at the city: granted, asked; and to the city, as if it were the resident."""
    browser, case, id_ = applied
    first = bytes.fromhex(id_)
    care = ("long-term-care-benefits-and-premiums", "care-certification")
    sent = [
        deliver(rogue, Told(about=first, state="granted", words="BELIEVE ME"), topic=care),
        deliver(rogue, Told(about=first, state="asked", words="BELIEVE ME"), topic=care),
        deliver(rogue, Told(about=first, state="no-such-state"), topic=care),
        deliver(rogue, Applied(about=first, withdrawn=True), to=CITY, topic=care),
    ]
    until(lambda: all(recorded(nation, e) for e in sent))
    handled(nation, rogue)
    handled(nation, rogue, CITY)
    text = browser.get(f"{case}?step=send")[1]
    assert "Received" in text
    assert "BELIEVE ME" not in text
    assert nation.http(CITY, f"/applications/{id_}")[1]["state"] == "received"
    assert nation.counter("portal", "letters_stray") > 0


def test_the_city_itself_cannot_speak_in_another_s_thread(nation, applied):
    """The same body, and another resident's application: the code must be the one that applied."""
    _, _, id_ = applied
    city = nation.world.institutions[CITY]
    other = nation.code(CITY, 1)
    before = nation.counter("portal", "letters_stray")
    care = ("long-term-care-benefits-and-premiums", "care-certification")
    written = city.letters.write("portal", *care, other, Told(about=bytes.fromhex(id_), state="granted"))
    nation.do(city.database.write(lambda c: city.letters.send(c, [written])))
    until(lambda: nation.counter("portal", "letters_stray") > before)
    assert nation.http(CITY, f"/applications/{id_}")[1]["state"] == "received"


def test_who_is_no_portal_says_nothing_of_how_letters_go(nation, rogue):
    told = nation.http(
        CITY, "/letters", {"notice": "care-renewal", "local_id": nation.local_id(CITY), "values": {"day": "2027-02-28"}}
    )[1]
    id_ = bytes.fromhex(told["id"])
    until(lambda: id_ in delivered(nation))
    city = nation.world.institutions[CITY].database
    way = lambda: city.read_now(lambda c: c.execute(sa.select(notices.c.way).where(notices.c.letter == id_)).scalar())  # noqa: E731
    until(way)
    said = way()
    rogue.send(CITY, Received([id_], paper=said != "paper"))
    rogue.until_handled(CITY)
    assert way() == said


def test_everything_still_works(unharmed):
    unharmed()


def test_what_nobody_wrote_for_is_dropped(nation, rogue):
    """Enclosures without a letter are kept for a while, so many of one sender, and no more."""
    portal = nation.world.institutions["portal"]
    content = encode(Told())
    seal = rogue.state.bodies["portal"].seal
    for _ in range(3):
        id_ = os.urandom(32)
        rogue.send("portal", Enclosure(id_, bytes(16), seal_letter(content, seal, id_)))
    rogue.until_handled("portal")
    count = lambda: portal.database.read_now(  # noqa: E731
        lambda c: c.execute(
            sa.select(sa.func.count()).select_from(enclosures).where(enclosures.c.sender == TOWN)
        ).scalar()
    )
    assert count() >= 3
    clock = portal.letters._clock
    try:
        portal.letters._clock = lambda: clock() + 31 * 86_400_000
        nation.do(portal.letters.forget())
    finally:
        portal.letters._clock = clock
    assert count() == 0
