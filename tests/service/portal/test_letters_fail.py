"""Letters when something goes wrong: come too late, refused by the record, a write that fails, two at once, signed twice."""

import asyncio
import contextlib
import os

import pytest
import sqlalchemy as sa

from renkei.institution import letters as desk
from renkei.institution.letters import letters
from renkei.messages.wire import Applied, Attached
from renkei.portal import apply_store
from tests.service.portal.test_letters import (
    CARE,
    CITY,
    applications,
    applied,
    begin,
    choose,
    fill,
    letters_in,
    page,
    tell,
)
from tests.service.portal.test_letters import resident as resident  # a fixture
from tests.world import until

STEP = "?step=send"


@contextlib.contextmanager
def late(desk_, letters_=1):
    """The next letters of this desk are as old as if they came to the record too late."""
    write, clock, left = desk_.write, desk_._clock, [letters_]

    def aged(*what):
        if not left[0]:
            return write(*what)
        left[0] -= 1
        desk_._clock = lambda: clock() - 200_000
        try:
            return write(*what)
        finally:
            desk_._clock = clock

    desk_.write = aged
    try:
        yield
    finally:
        desk_.write = write


@pytest.fixture
def given_up(monkeypatch):
    """What the record refuses is not written anew."""
    monkeypatch.setattr(desk, "AGAIN", ())


def rows(nation, body="portal"):
    return nation.world.institutions[body].database.read_now(lambda c: c.execute(sa.select(letters)).all())


def care(nation, resident):
    """An application at the city, taken in: the case and its id there."""
    before = {a["id"] for a in applications(nation)}
    case = applied(resident, "care", CARE[0], **{"place-home": CITY})
    (mine,) = until(lambda: [a["id"] for a in applications(nation) if a["id"] not in before])
    until(lambda: "Received" in page(resident, f"/apply/{case}{STEP}"))
    return case, mine


def say(nation, mine, state, words="なぜですか。"):
    return nation.http(CITY, f"/applications/{mine}", {"state": state, "words": words})


def account(nation, case):
    query = sa.select(apply_store.cases.c.account).where(apply_store.cases.c.id == case)
    return nation.world.institutions["portal"].database.read_now(lambda c: c.execute(query).scalar_one())


# ------------------------------------------------------------------ what the record refuses


def test_what_comes_too_late_is_written_anew(nation, resident):
    """An outage of the keepers: application, answer and decision arrive all the same, under other ids."""
    portal, city = (nation.world.institutions[b].letters for b in ("portal", CITY))
    with late(portal):
        case, mine = care(nation, resident)
    with late(city):
        assert say(nation, mine, "asked")[0] == 200
    until(lambda: "A question for you" in page(resident, f"/apply/{case}{STEP}"))
    with late(portal):
        at = f"/apply/{case}"
        assert resident.form(f"{at}{STEP}", f"{at}/answer/{CARE[0]}", words="訪問介護です。")[0] == 200
    until(lambda: nation.http(CITY, f"/applications/{mine}")[1]["state"] == "answered")
    with late(city):
        assert say(nation, mine, "granted")[0] == 200
    until(lambda: "Granted" in page(resident, f"/apply/{case}{STEP}"))
    assert not [r for r in rows(nation) if r.mine and r.state == "refused"]
    with late(city):
        told = tell(nation)[1]["id"]
    arrived = until(lambda: [i for i in letters_in(resident) if "Renewal" in page(resident, f"/inbox/{i}")])
    assert told not in arrived  # its id is another, and the body knows it by that
    assert bytes.fromhex(told) not in {bytes(r.id) for r in rows(nation, CITY)}


@pytest.mark.usefixtures("given_up")
def test_an_application_that_is_turned_away_can_be_sent_again(nation, resident):
    with late(nation.world.institutions["portal"].letters):
        case = applied(resident, "care", CARE[0], **{"place-home": CITY})
    until(lambda: "did not take it" in page(resident, f"/apply/{case}{STEP}"))
    before = len(applications(nation))
    assert resident.form(f"/apply/{case}{STEP}", f"/apply/{case}/send")[0] == 200
    until(lambda: len(applications(nation)) == before + 1)
    until(lambda: "Received" in page(resident, f"/apply/{case}{STEP}"))


@pytest.mark.usefixtures("given_up")
def test_an_answer_and_a_withdrawal_that_are_turned_away_were_none(nation, resident):
    case, mine = care(nation, resident)
    say(nation, mine, "asked")
    until(lambda: "A question for you" in page(resident, f"/apply/{case}{STEP}"))
    portal = nation.world.institutions["portal"].letters
    for act in (f"answer/{CARE[0]}", f"withdraw/{CARE[0]}"):
        turned = len([r for r in rows(nation) if r.mine and r.state == "refused"])
        with late(portal):
            assert resident.form(f"/apply/{case}{STEP}", f"/apply/{case}/{act}", words="はい。")[0] == 200
        until(lambda n=turned: len([r for r in rows(nation) if r.mine and r.state == "refused"]) > n)
        until(lambda: "A question for you" in page(resident, f"/apply/{case}{STEP}"))
        assert "did not arrive" in page(resident, f"/apply/{case}{STEP}")
    assert nation.http(CITY, f"/applications/{mine}")[1]["state"] == "asked"
    assert resident.form(f"/apply/{case}{STEP}", f"/apply/{case}/answer/{CARE[0]}", words="はい。")[0] == 200
    until(lambda: nation.http(CITY, f"/applications/{mine}")[1]["state"] == "answered")


@pytest.mark.usefixtures("given_up")
def test_a_decision_and_a_rule_that_are_turned_away_are_open_again(nation, resident):
    case, mine = care(nation, resident)
    city = nation.world.institutions[CITY].letters
    with late(city):
        assert say(nation, mine, "granted")[0] == 200
    until(lambda: nation.http(CITY, f"/applications/{mine}")[1]["state"] == "received")
    assert say(nation, mine, "granted")[0] == 200
    until(lambda: "Granted" in page(resident, f"/apply/{case}{STEP}"))
    with late(city, 100_000):
        first = nation.http(CITY, "/letters/check", b"")[1]["told"]
    count = sum(first.values())
    until(lambda: len([r for r in rows(nation, CITY) if r.mine and r.state == "refused" and r.about is None]) >= count)
    assert nation.http(CITY, "/letters/check", b"")[1]["told"] == first
    assert sum(nation.http(CITY, "/letters/check", b"")[1]["told"].values()) == 0


# ------------------------------------------------------------------ writes that fail, halves that are lost


def test_a_receipt_is_not_lost_with_a_write_that_fails(nation, resident):
    portal = nation.world.institutions["portal"]
    taken, failed = portal.letters.take, []

    def take(permits, came, receipts):
        work = taken(permits, came, receipts)

        def commit(connection):
            work(connection)
            if [r for r in receipts if r.inquiry in portal.letters._ours] and not failed:
                failed.append(1)
                raise sa.exc.OperationalError("x", {}, Exception("database is locked"))

        return commit

    portal.letters.take = take
    try:
        known = {bytes(r.id) for r in rows(nation)}
        applied(resident, "illness", "cost-limit")
        until(lambda: failed)
        until(lambda: all(r.leaf is not None for r in rows(nation) if bytes(r.id) not in known and r.mine))
    finally:
        portal.letters.take = taken
    assert failed


def test_what_a_letter_says_is_asked_for_again(nation, resident):
    """The portal was restored, or turned it away: the permit is there and the words are not."""
    portal, city = nation.world.institutions["portal"], nation.world.institutions[CITY]
    keep, clock = portal.letters._keep_halves, portal.letters._clock
    portal.letters._keep_halves = lambda *_: None
    try:
        told = tell(nation)[1]["id"]
        until(lambda: [r for r in rows(nation) if bytes(r.id).hex() == told])
        until(lambda: city.post.backlog("portal") == 0)
    finally:
        portal.letters._keep_halves = keep
    assert told not in letters_in(resident)
    try:
        portal.letters._clock = lambda: clock() + 150_000
        nation.do(portal.letters.pursue())
        nation.do(portal.letters.pursue())  # not twice at once
    finally:
        portal.letters._clock = clock
    until(lambda: told in letters_in(resident))


def test_what_its_receiver_would_not_read_is_never_owed_to_it(nation):
    portal = nation.world.institutions["portal"].letters
    code = nation.code(CITY)
    care_ = "long-term-care-benefits-and-premiums", CARE[0]
    huge = [Attached("photograph", f"{n}.pdf", "application/pdf", b"%PDF-" + bytes(1_900_000)) for n in range(3)]
    for said in (Applied(attached=huge), Applied(form={"NO NAME": "x"}), Applied(words="x" * 3000)):
        with pytest.raises(Exception) as raised:
            portal.write(CITY, *care_, code, said)
        assert raised.value.code in ("message-too-large", "message-form")


# ------------------------------------------------------------------ two at once


def test_together_no_more_is_attached_than_one_after_the_other(nation, resident):
    case = begin(resident, "disaster")
    choose(resident, case, "damage-certificate", **{"place-home": CITY})
    portal, who = nation.world.institutions["portal"], account(nation, case)
    png = b"\x89PNG\r\n\x1a\n" + os.urandom(900_000)

    async def many():
        return await asyncio.gather(
            *(portal.applications.attach(who, case, "photograph", f"{n}.png", png) for n in range(6)),
            return_exceptions=True,
        )

    assert sum(r is None for r in nation.do(many())) == 2
    assert fill(resident, case)[0] == 200
    assert resident.form(f"/apply/{case}{STEP}", f"/apply/{case}/send")[0] == 200
    left = (
        sa.select(sa.func.count()).select_from(apply_store.attachments).where(apply_store.attachments.c.case_id == case)
    )
    assert portal.database.read_now(lambda c: c.execute(left).scalar()) == 0  # it is in the letter


def test_sent_taken_back_and_thrown_away_at_once(nation, resident):
    """Each once, whatever comes together; what was sent keeps its trace."""
    portal = nation.world.institutions["portal"].applications
    case = begin(resident, "illness")
    choose(resident, case, "cost-limit")
    fill(resident, case)
    who, before = account(nation, case), len(rows(nation))

    async def many(*works):
        return await asyncio.gather(*works, return_exceptions=True)

    got = nation.do(many(*(portal.send(who, case, "cost-limit") for _ in range(5)), portal.discard(who, case)))
    sent = [r for r in got[:5] if r is None]
    assert len(sent) == (0 if got[5] is None else 1)
    if not sent:
        return
    until(lambda: "Received" in page(resident, f"/apply/{case}{STEP}"))
    assert len([r for r in rows(nation) if r.mine]) >= 1
    got = nation.do(many(*(portal.withdraw(who, case, "cost-limit") for _ in range(20))))
    assert sum(r is None for r in got) == 1
    assert len(rows(nation)) == before + 2
    until(lambda: "Taken back" in page(resident, f"/apply/{case}{STEP}"))


def test_a_page_s_number_is_a_number(resident):
    for below in ("99999999999999999999", "-1", "x"):
        assert resident.get(f"/inbox?below={below}")[0] == 400
