"""Representatives on a running nation: what was left to them, listed for both, ended at once; and guardians, by a town's record."""

import contextlib
import datetime as dt
import os
import re

import pytest
import sqlalchemy as sa

from renkei.institution import subjects
from renkei.institution.letters import Arrived, letters
from renkei.institution.subjects import Coded
from renkei.messages.wire import Told
from renkei.portal import proxy_store
from renkei.portal.proxies import INVITED_FOR
from tests.console import Browser
from tests.world import until

CITY = "ohashi-city"
SOON = (dt.datetime.now(dt.UTC) + dt.timedelta(days=30)).date().isoformat()


def come(nation, persona):
    browser = Browser(nation.url("portal"))
    assert browser.form("/signin", secret=nation.plan.personas[persona].secret)[0] == 200
    return browser


def invited(browser, *, until_=SOON, **scopes):
    given = {"theirs": "my neighbour", "mine": "Hanako", "until": until_, **{f"scope-{s}": "yes" for s in scopes}}
    status, text = browser.form("/proxies", "/proxies/invite", **given)
    assert status == 200, text
    return re.search(r'class="key">([0-9a-f-]+)<', text)[1]


def accepted(agent, code):
    return agent.form("/proxies", "/proxies/accept", code=code)


def grant_ids(browser):
    return re.findall(r'action="/proxies/([0-9a-f]{32})/act"', browser.get("/proxies")[1])


@pytest.fixture
def pair(nation):
    """Kenji may read and apply for Hanako; both browsers, and the grant."""
    hanako, kenji = come(nation, 0), come(nation, 1)
    before = set(grant_ids(kenji))
    assert accepted(kenji, invited(hanako, read=True, apply=True))[0] == 200
    (grant,) = set(grant_ids(kenji)) - before
    yield hanako, kenji, grant
    hanako.form("/proxies", f"/proxies/{grant}/end")


def act(browser, grant):
    return browser.form("/proxies", f"/proxies/{grant}/act")


def test_an_agent_acts_within_what_was_left_and_both_see_what_was_done(nation, pair):
    hanako, kenji, grant = pair
    told = nation.http(
        CITY, "/letters", {"notice": "care-renewal", "local_id": nation.local_id(CITY), "values": {"day": "2027-01-31"}}
    )[1]["id"]
    until(lambda: told in hanako.get("/inbox")[1])
    assert told not in kenji.get("/inbox")[1]
    status, text = act(kenji, grant)
    assert status == 200
    assert "You act for: Hanako" in text
    assert told in kenji.get("/inbox")[1]
    assert kenji.get(f"/inbox/{told}")[0] == 200
    assert kenji.get("/records")[0] == 200
    assert kenji.form("/apply", event="care")[0] == 200
    case = kenji.at
    form = {"chosen": "care-certification", "place-home": CITY}
    assert kenji.form(f"{case}?step=choose", f"{case}/choose", **form)[0] == 200
    filled = {
        "full-name@applicant": "大橋 花子",
        "date-of-birth@applicant": "1991-05-14",
        "home-address": "大橋市",
        "care-kind": "first",
    }
    assert kenji.form(f"{case}?step=form", f"{case}/form", act="check", **filled)[0] == 200
    assert kenji.form(f"{case}?step=send", f"{case}/send")[0] == 200
    views = lambda: [nation.http(CITY, f"/applications/{a['id']}")[1] for a in nation.http(CITY, "/applications")[1]]  # noqa: E731
    (mine,) = until(lambda: [v for v in views() if v["by"]])
    assert mine["by"] == "attorney"
    assert mine["local_id"] == nation.local_id(CITY)
    assert hanako.get(f"{case}?step=send")[0] == 200
    for browser in (hanako, kenji):
        assert "Certification of the need for care" in browser.get("/proxies")[1]
    assert "Your representative" in hanako.get(f"{case}?step=send")[1]


@pytest.mark.parametrize("path", ["/own", "/account", "/sites"])
def test_what_is_never_left_to_anybody(pair, path):
    _, kenji, grant = pair
    act(kenji, grant)
    assert kenji.get(path)[0] == 403
    assert kenji.form("/inbox", "/inbox/preference", way="paper")[0] == 403
    assert kenji.form("/proxies", "/proxies/stop")[0] == 200
    assert kenji.get(path)[0] == 200


def test_only_what_was_left(nation):
    hanako, kenji = come(nation, 0), come(nation, 1)
    before = set(grant_ids(kenji))
    accepted(kenji, invited(hanako, apply=True))
    (grant,) = set(grant_ids(kenji)) - before
    act(kenji, grant)
    assert kenji.get("/apply")[0] == 200
    for path in ("/records", "/records.csv", "/inbox"):
        assert kenji.get(path)[0] == 403, path
    assert hanako.form("/proxies", f"/proxies/{grant}/end")[0] == 200


def test_an_end_is_at_once_and_nothing_is_done_as_oneself_by_mistake(pair):
    hanako, kenji, grant = pair
    act(kenji, grant)
    assert hanako.form("/proxies", f"/proxies/{grant}/end")[0] == 200
    status, text = kenji.get("/apply")
    assert status == 403
    assert "You do not act for them any more" in text
    assert kenji.form("/proxies", "/apply", event="care")[0] == 403
    assert act(kenji, grant)[0] == 404
    kenji.form("/proxies", "/proxies/stop")
    assert kenji.get("/apply")[0] == 200


def test_it_ends_by_itself(nation, pair):
    _, kenji, grant = pair
    act(kenji, grant)
    portal = nation.world.institutions["portal"]
    clock = portal.proxies._clock
    try:
        portal.proxies._clock = lambda: clock() + 32 * 86_400_000
        assert kenji.get("/inbox")[0] == 403
    finally:
        portal.proxies._clock = clock
    assert kenji.get("/inbox")[0] == 200


def test_an_invitation_is_taken_up_once_in_time_and_not_by_oneself(nation):
    hanako, kenji, nagisa = (come(nation, n) for n in range(3))
    code = invited(hanako, read=True)
    status, text = accepted(hanako, code)
    assert status == 409
    assert accepted(nagisa, code.upper())[0] == 200
    assert accepted(kenji, code)[0] == 404
    late = invited(hanako, read=True)
    portal = nation.world.institutions["portal"]
    clock = portal.proxies._clock
    try:
        portal.proxies._clock = lambda: clock() + INVITED_FOR + 1
        assert accepted(kenji, late)[0] == 404
    finally:
        portal.proxies._clock = clock
    for wrong in ("", "0" * 20, "' OR 1=1", "x" * 40):
        assert accepted(kenji, wrong)[0] in (400, 404), wrong
    ended = invited(hanako, read=True)
    for id_ in re.findall(r'action="/proxies/([0-9a-f]{32})/end"', hanako.get("/proxies")[1]):
        hanako.form("/proxies", f"/proxies/{id_}/end")
    assert accepted(kenji, ended)[0] == 404
    kept = b"".join(p.read_bytes() for p in (nation.folder / "portal").glob("portal.db*"))
    assert ended.replace("-", "").encode() not in kept
    assert b"my neighbour" not in kept
    del text


def test_another_s_grant_is_nobody_s_to_use_or_end(nation, pair):
    _, _, grant = pair
    nagisa = come(nation, 2)
    assert act(nagisa, grant)[0] == 404
    assert nagisa.form("/proxies", f"/proxies/{grant}/end")[0] == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"until": "2020-01-01"}, "within a year"),
        ({"until": "2099-01-01"}, "within a year"),
        ({"until": "soon"}, "within a year"),
        ({"theirs": ""}, "who they are"),
        ({"mine": "x" * 41}, "who they are"),
        ({"scope-read": ""}, "Choose what they may do"),
    ],
)
def test_what_cannot_be_left_is_told(nation, change, said):
    hanako = come(nation, 0)
    given = {"theirs": "a", "mine": "b", "until": SOON, "scope-read": "yes", **change}
    status, text = hanako.form("/proxies", "/proxies/invite", **given)
    assert status == 400
    assert said in text


# ------------------------------------------------------------------ guardians


def local_ids(nation, young):
    """Persons of the city, by its own data: of age or not, without another date of birth, with a code and an account."""
    city, portal = nation.world.institutions[CITY], nation.world.institutions["portal"]
    known = city.database.read_now(lambda c: [r.local_id for r in c.execute(sa.select(subjects.subjects)).all()])
    of_age = city.representation._of_age(known)
    today = dt.datetime.now(dt.UTC).date()
    assert portal
    return [i for i in known if i in of_age and (of_age[i] > today) == young]


@pytest.fixture(scope="module")
def family(nation):
    """Two children, and Hanako, who by the city's data lives with them: the invented persona has been given none of her own."""
    children, mother = local_ids(nation, True)[:2], nation.local_id(CITY)
    source = sa.create_engine(f"sqlite:///{nation.folder / CITY / 'source.db'}")
    table = sa.Table("T_RESIDENT_RECORD", sa.MetaData(), autoload_with=source)
    with source.begin() as connection:
        (home,) = set(
            connection.execute(sa.select(table.c.HOUSEHOLD_NUMBER).where(table.c.atena_no == mother)).scalars()
        )
        connection.execute(table.update().where(table.c.atena_no.in_(children)).values(HOUSEHOLD_NUMBER=home))
    source.dispose()
    return children, mother


def guards(nation):
    portal = nation.world.institutions["portal"].database
    return portal.read_now(
        lambda c: c.execute(sa.select(proxy_store.grants).where(proxy_store.grants.c.kind == "guardian")).all()
    )


def say(nation, child, guardian, **more):
    return nation.http(CITY, "/letters/guardians", {"child": child, "guardian": guardian, **more})


def test_a_town_says_who_is_whose_guardian_and_takes_it_back(nation, family):
    (child, _), guardian = family
    status, told = say(nation, child, guardian)
    assert status == 202, told
    (row,) = until(lambda: [r for r in guards(nation) if r.ended is None])
    assert (row.by, row.until, row.ended) == (CITY, told["until"], None)
    hanako = come(nation, 0)
    text = hanako.get("/proxies")[1]
    assert "A child in your care" in text
    assert act(hanako, row.id)[0] == 200
    assert "a child in your care" in hanako.get("/inbox")[1]
    assert "A guardian acts for you" in hanako.get("/inbox")[1]
    assert say(nation, child, guardian, over=True)[0] == 202
    until(lambda: all(r.ended for r in guards(nation)))
    assert hanako.get("/inbox")[0] == 403


def test_not_of_whom_it_is_not_so(nation, family):
    (child, other), guardian = family
    adult = local_ids(nation, False)[-1]
    assert say(nation, adult, guardian)[1]["title"] == "of-age"
    assert say(nation, child, other)[1]["title"] == "of-age"
    assert say(nation, child, child)[1]["title"] == "no-subject"
    assert say(nation, child, "nobody")[1]["title"] == "no-subject"
    assert say(nation, child, adult)[1]["title"] == "household"  # of age, and of another home


def test_not_of_whom_the_town_protects(nation, family):
    """A parent whom a child hides from has no clerk open the child's inbox."""
    (_, child), guardian = family
    for flags in ({"manual": True, "withheld": False}, {"manual": False, "withheld": True}):
        assert nation.http(CITY, "/flags", {"local_id": child, **flags})[0] == 200
        assert say(nation, child, guardian)[1]["title"] == "protected"
    assert nation.http(CITY, "/flags", {"local_id": child, "manual": False, "withheld": False})[0] == 200


def test_protection_that_comes_later_ends_it_and_no_other_body_brings_it_back(nation, family):
    (child, _), guardian = family
    assert say(nation, child, guardian)[0] == 202
    until(lambda: [r for r in guards(nation) if r.ended is None])
    hanako = come(nation, 0)
    (standing,) = [r for r in guards(nation) if r.ended is None]
    assert act(hanako, standing.id)[0] == 200
    assert nation.http(CITY, "/flags", {"local_id": child, "manual": True, "withheld": False})[0] == 200
    until(lambda: all(r.ended for r in guards(nation)))
    assert hanako.get("/inbox")[0] == 403
    # what another town says of the child now changes nothing
    portal = nation.world.institutions["portal"]
    assert portal.database.read_now(lambda c: proxy_store.blocked_by(c, standing.principal)).keys() == {CITY}
    assert nation.http(CITY, "/flags", {"local_id": child, "manual": False, "withheld": False})[0] == 200
    assert say(nation, child, guardian)[0] == 202
    until(lambda: [r for r in guards(nation) if r.ended is None])
    assert portal.database.read_now(lambda c: proxy_store.blocked_by(c, standing.principal)) == {}
    assert say(nation, child, guardian, over=True)[0] == 202
    until(lambda: all(r.ended for r in guards(nation)))


@contextlib.contextmanager
def unknown(nation, *accounts):
    """Their codes are not here yet when bodies write of them; then they come."""
    portal, table = nation.world.institutions["portal"], subjects.subjects
    theirs = table.c.local_id.in_(accounts)
    rows = portal.database.read_now(lambda c: [r._asdict() for r in c.execute(sa.select(table).where(theirs))])
    assert len(rows) == len(accounts)
    nation.do(portal.database.write(lambda c: c.execute(table.delete().where(theirs))))
    yield

    def come_(connection):
        connection.execute(table.insert(), rows)
        portal.proxies.resolve(connection, [Coded(bytes(r["code"]), r["epoch"]) for r in rows])

    nation.do(portal.database.write(come_))


def waiting(nation):
    return nation.world.institutions["portal"].database.read_now(proxy_store.unresolved)


def test_what_is_said_before_they_are_known_here_waits_for_them(nation, family):
    (_, child), guardian = family
    assert say(nation, child, guardian)[0] == 202
    (first,) = until(lambda: [r for r in guards(nation) if r.ended is None])
    assert say(nation, child, guardian, over=True)[0] == 202
    until(lambda: all(r.ended for r in guards(nation)))
    with unknown(nation, first.principal, first.agent):
        assert say(nation, child, guardian)[0] == 202
        until(lambda: len(waiting(nation)) == 2)
        nation.do(nation.world.institutions["portal"].proxies.forget())
    (again,) = until(lambda: [r for r in guards(nation) if r.ended is None])
    assert (again.principal, again.agent) == (first.principal, first.agent)
    with unknown(nation, first.principal):
        assert nation.http(CITY, "/flags", {"local_id": child, "manual": True, "withheld": False})[0] == 200
        until(lambda: waiting(nation))
        assert [r for r in guards(nation) if r.ended is None]
    until(lambda: all(r.ended for r in guards(nation)))
    portal = nation.world.institutions["portal"]
    assert portal.database.read_now(lambda c: proxy_store.blocked_by(c, first.principal)).keys() == {CITY}
    assert waiting(nation) == []
    assert nation.http(CITY, "/flags", {"local_id": child, "manual": False, "withheld": False})[0] == 200


def since_forgotten(nation, family):
    """The second child and Hanako as the portal knows them, with nothing said of them; nothing stands."""
    (_, child), guardian = family
    assert say(nation, child, guardian)[0] == 202
    (known,) = until(lambda: [r for r in guards(nation) if r.ended is None])
    portal = nation.world.institutions["portal"].database

    def forget(connection):
        for table in (proxy_store.grants, proxy_store.blocks, proxy_store.pairings):
            connection.execute(table.delete())

    nation.do(portal.write(forget))
    return child, guardian, known


def settled(nation, count):
    """So many waiting letters are here."""
    until(lambda: len(waiting(nation)) == count)


def test_what_was_said_before_does_not_undo_what_was_said_after(nation, family):
    """Said, and taken back, or protected, while the guardian was unknown here: in whatever order it is looked at, the last word counts."""
    child, guardian, known = since_forgotten(nation, family)
    with unknown(nation, known.agent):
        assert say(nation, child, guardian)[0] == 202
        settled(nation, 1)
        assert say(nation, child, guardian, over=True)[0] == 202
        settled(nation, 2)
    assert [r for r in guards(nation) if r.ended is None] == []
    assert waiting(nation) == []
    child, guardian, known = since_forgotten(nation, family)
    with unknown(nation, known.agent):
        assert say(nation, child, guardian)[0] == 202
        settled(nation, 1)
        assert nation.http(CITY, "/flags", {"local_id": child, "manual": True, "withheld": False})[0] == 200
        until(lambda: blocked(nation, known.principal))
    assert [r for r in guards(nation) if r.ended is None] == []
    assert nation.http(CITY, "/flags", {"local_id": child, "manual": False, "withheld": False})[0] == 200
    child, guardian, known = since_forgotten(nation, family)
    with unknown(nation, known.principal):  # protection waits, and a newer word does too
        assert nation.http(CITY, "/flags", {"local_id": child, "manual": True, "withheld": False})[0] == 200
        settled(nation, 1)
        assert nation.http(CITY, "/flags", {"local_id": child, "manual": False, "withheld": False})[0] == 200
        assert say(nation, child, guardian)[0] == 202
        settled(nation, 2)
    assert len([r for r in guards(nation) if r.ended is None]) == 1
    assert blocked(nation, known.principal) == {}
    assert say(nation, child, guardian, over=True)[0] == 202
    until(lambda: all(r.ended for r in guards(nation)))


def blocked(nation, account):
    return nation.world.institutions["portal"].database.read_now(lambda c: proxy_store.blocked_by(c, account))


def test_no_other_body_lifts_a_protection(nation, family):
    """It protects too, and says then that all is well: the first body's word stands."""
    child, _guardian, known = since_forgotten(nation, family)
    assert nation.http(CITY, "/flags", {"local_id": child, "manual": True, "withheld": False})[0] == 200
    until(lambda: blocked(nation, known.principal))
    portal, town = nation.world.institutions["portal"], "kiriyama-town"
    now = portal.clock()

    def tells(connection, topic, at, **values):
        law = portal.member.pack.header.letters
        account = known.agent if topic == law.guardian else known.principal
        code = subjects.by_local_id(connection, [account])[account].code
        said = Told(values=values)
        one = Arrived(os.urandom(32), town, "child-welfare", topic, code, 0, at, said, b"")
        portal.proxies.arrived(connection, one, account)

    def lies(connection):
        law = portal.member.pack.header.letters
        tells(connection, law.guarded, now)
        for topic in (law.guarded, law.guardian):
            tells(connection, topic, now + 1, pair="ab" * 16, until=SOON)

    nation.do(portal.database.write(lies))
    assert [r for r in guards(nation) if r.ended is None] == []
    assert CITY in blocked(nation, known.principal)
    assert nation.http(CITY, "/flags", {"local_id": child, "manual": False, "withheld": False})[0] == 200
    nation.do(portal.database.write(lambda c: c.execute(proxy_store.blocks.delete())))


@pytest.mark.parametrize(
    "values", [{"pair": "a\x00b"}, {"pair": "x" * 32}, {"pair": "a" * 65}, {"until": "2027-W01-1"}]
)
def test_a_letter_out_of_form_is_dropped_and_nothing_with_it(nation, family, values):
    """A database that minds would set aside all that came with it."""
    portal, law = nation.world.institutions["portal"], nation.world.institutions["portal"].member.pack.header.letters
    account = nation.local_id("portal")
    said = Told(values={"pair": "ab" * 16, "until": SOON, "number": "9" * 300, **values})

    def tells(connection):
        code = subjects.by_local_id(connection, [account])[account].code
        one = Arrived(os.urandom(32), "kiriyama-town", "child-welfare", law.guardian, code, 0, 1, said, b"")
        portal.proxies.arrived(connection, one, account)

    before = len(
        nation.world.institutions["portal"].database.read_now(
            lambda c: c.execute(sa.select(proxy_store.pairings)).all()
        )
    )
    nation.do(portal.database.write(tells))
    after = len(
        nation.world.institutions["portal"].database.read_now(
            lambda c: c.execute(sa.select(proxy_store.pairings)).all()
        )
    )
    assert after == before


def test_a_half_is_kept_while_the_other_waits_for_somebody(nation, family):
    child, guardian, known = since_forgotten(nation, family)
    portal = nation.world.institutions["portal"]
    with unknown(nation, known.agent):
        assert say(nation, child, guardian)[0] == 202
        settled(nation, 1)
        clock = portal.proxies._clock
        portal.proxies._clock = lambda: clock() + 30 * 86_400_000
        try:
            nation.do(portal.proxies.forget())
        finally:
            portal.proxies._clock = clock
    until(lambda: [r for r in guards(nation) if r.ended is None])
    assert say(nation, child, guardian, over=True)[0] == 202
    until(lambda: all(r.ended for r in guards(nation)))


def test_an_agent_reports_nothing_and_leaves_unread_what_is_unread(nation, pair):
    hanako, kenji, grant = pair
    told = nation.http(
        CITY, "/letters", {"notice": "care-renewal", "local_id": nation.local_id(CITY), "values": {"day": "2027-01-31"}}
    )[1]["id"]
    until(lambda: told in hanako.get("/inbox")[1])
    act(kenji, grant)
    assert kenji.get(f"/inbox/{told}")[0] == 200
    row = nation.world.institutions["portal"].database.read_now(
        lambda c: c.execute(sa.select(letters).where(letters.c.id == bytes.fromhex(told))).one()
    )
    assert row.read_at is None
    assert kenji.form("/inbox", "/records/1/report", kind="unrecognised")[0] == 403


def test_no_clerk_says_so_by_hand(nation):
    values = {"pair": "x", "until": SOON}
    for notice in ("guardian-of", "guarded-by"):
        told = {"notice": notice, "local_id": nation.local_id(CITY), "values": values}
        assert nation.http(CITY, "/letters", told)[1]["title"] == "notice"
