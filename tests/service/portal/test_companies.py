"""Corporations on a running nation: an officer by a body's record, the same inbox and procedures, staff that the officer lets act."""

import datetime as dt
import re

import pytest
import sqlalchemy as sa

from renkei.nation import day
from renkei.nation.population import Demography
from renkei.portal import proxy_store
from tests.conftest import PACK
from tests.console import Browser
from tests.world import until

TAX = "national-tax"
SOON = (dt.datetime.now(dt.UTC) + dt.timedelta(days=30)).date().isoformat()


def grants(nation):
    portal = nation.world.institutions["portal"].database
    return portal.read_now(
        lambda c: c.execute(sa.select(proxy_store.grants).where(proxy_store.grants.c.kind == "officer")).all()
    )


def every(nation):
    portal = nation.world.institutions["portal"].database
    return portal.read_now(lambda c: c.execute(sa.select(proxy_store.grants)).all())


def live(nation):
    return [g for g in grants(nation) if g.ended is None]


@pytest.fixture(scope="module")
def company(nation):
    demography = Demography.read(PACK)
    nation.do(day.appoint(nation.plan, demography, dt.date.fromisoformat(nation.plan.created)), 60)
    (grant,) = until(lambda: live(nation))
    known = demography.corporation[0]
    assert grant.principal == f"corp-{known.number}"
    return known, grant


def come(nation, persona):
    browser = Browser(nation.url("portal"))
    assert browser.form("/signin", secret=nation.plan.personas[persona].secret)[0] == 200
    return browser


def act(browser, grant):
    return browser.form("/proxies", f"/proxies/{grant.id}/act")


def test_the_same_inbox_and_procedures(nation, company):
    known, grant = company
    hanako = come(nation, 0)
    status, text = act(hanako, grant)
    assert status == 200
    assert known.name in text
    told = {"notice": "return-due", "local_id": f"C{known.number}", "values": {"day": "2027-03-15"}}
    status, sent = nation.http(TAX, "/letters", told)
    assert status == 202, sent
    until(lambda: sent["id"] in hanako.get("/inbox")[1])
    assert "15 March 2027" in hanako.get(f"/inbox/{sent['id']}")[1]
    text = hanako.get("/apply")[1]
    assert "Hiring somebody" in text
    assert "A child is born" not in text
    assert hanako.form("/apply", event="care")[0] == 400
    assert hanako.form("/apply", event="hiring")[0] == 200
    case = hanako.at
    chosen = ["hiring-pension", "hiring-insurance", "hiring-employment"]
    assert hanako.form(f"{case}?step=choose", f"{case}/choose", chosen=chosen)[0] == 200
    text = hanako.get(f"{case}?step=form")[1]
    assert f'value="{known.number}"' in text
    filled = {
        "company-name": known.name,
        "company-number": known.number,
        "employee-name": "波浦 渚",
        "employee-born": "2001-02-20",
        "since-day": "2026-11-01",
        "monthly-pay": "２１０，０００",
    }
    assert hanako.form(f"{case}?step=form", f"{case}/form", act="check", **filled)[0] == 200
    assert hanako.form(f"{case}?step=send", f"{case}/send")[0] == 200
    for body in ("pension-service", "health-insurer", "employment-office"):
        until(lambda b=body: [a for a in nation.http(b, "/applications")[1] if a["procedure"].startswith("hiring")])
    (one,) = [a for a in nation.http("pension-service", "/applications")[1] if a["procedure"] == "hiring-pension"]
    view = nation.http("pension-service", f"/applications/{one['id']}")[1]
    assert (view["by"], view["form"]["monthly-pay"], view["local_id"]) == ("officer", 210_000, "")
    assert nation.http("pension-service", f"/applications/{one['id']}", {"state": "granted", "words": ""})[0] == 200
    until(lambda: "Granted" in hanako.get(f"{case}?step=send")[1])
    hanako.form("/proxies", "/proxies/stop")
    assert sent["id"] not in hanako.get("/inbox")[1]
    assert hanako.get(case)[0] == 404


def test_an_officer_lets_staff_act_and_ends_it(nation, company):
    known, grant = company
    hanako, nagisa = come(nation, 0), come(nation, 2)
    assert nagisa.get("/company")[0] == 403
    act(hanako, grant)
    given = {"theirs": "Nagisa, accounts", "until": SOON, "scope-apply": "yes"}
    status, text = hanako.form("/company", "/company/invite", **given)
    assert status == 200
    code = re.search(r'class="key">([0-9a-f-]+)<', text)[1]
    status, text = nagisa.form("/proxies", "/proxies/accept", code=code)
    assert known.name in text
    (mine,) = re.findall(r'action="/proxies/([0-9a-f]{32})/act"', text)
    assert nagisa.form("/proxies", f"/proxies/{mine}/act")[0] == 200
    assert "Hiring somebody" in nagisa.get("/apply")[1]
    for path in ("/inbox", "/records", "/company", "/own"):
        assert nagisa.get(path)[0] == 403, path
    assert nagisa.form("/proxies", f"/company/{mine}/end")[0] == 403
    assert hanako.form("/company", f"/company/{grant.id}/end")[0] == 404  # an officer is the body's to end
    assert hanako.form("/company", f"/company/{mine}/end")[0] == 200
    assert nagisa.get("/apply")[0] == 403


def appointed(nation, **changes):
    place = nation.plan.personas[1].local_ids[TAX]
    given = {"corporation": "C1", "officer": place, "number": "1480101000001", "name": "x", "until": SOON, **changes}
    return nation.http(TAX, "/letters/officers", given)


def test_nobody_becomes_the_officer_of_a_person(nation, company):
    """A clerk gives a resident's local id as the corporation's: the code is not that of the number, and nothing comes of it."""
    known, grant = company
    victim = nation.plan.personas[2].local_ids[TAX]
    before = nation.counter("portal", "pairings_refused")
    status, _ = appointed(nation, corporation=victim, number=known.number)
    assert status == 202
    until(lambda: nation.counter("portal", "pairings_refused") > before)
    assert [g.id for g in live(nation)] == [grant.id]


@pytest.mark.parametrize(
    ("body", "changes", "code"),
    [
        (TAX, {"corporation": "C-none"}, "no-subject"),
        (TAX, {"until": "soon"}, "value"),
    ],
)
def test_what_cannot_be_said(nation, company, body, changes, code):
    known, _ = company
    given = {"corporation": f"C{known.number}", "number": known.number, **changes}
    status, told = appointed(nation, **given)
    assert 400 <= status < 500
    assert told["title"] == code
    del body


def test_another_body_appoints_nobody(nation, company):
    known, _ = company
    local_id = nation.local_id("ohashi-city")
    data = {"corporation": local_id, "officer": local_id, "number": known.number, "name": "x", "until": SOON}
    assert nation.http("ohashi-city", "/letters/officers", data)[1]["title"] == "no-officers"


def test_a_day_that_is_past_ends_it_and_all_staff_with_it(nation, company):
    """An officer who goes leaves nobody behind, not even themselves as their own staff."""
    known, grant = company
    hanako, nagisa = come(nation, 0), come(nation, 2)
    act(hanako, grant)
    for theirs, whom in (("Nagisa", nagisa), ("me", come(nation, 0))):
        given = {"theirs": theirs, "until": SOON, "scope-apply": "yes"}
        code = re.search(r'class="key">([0-9a-f-]+)<', hanako.form("/company", "/company/invite", **given)[1])[1]
        assert whom.form("/proxies", "/proxies/accept", code=code)[0] == 200
    staff = [s for s in every(nation) if s.kind == "staff" and s.ended is None]
    assert {s.through for s in staff} == {grant.id}
    mine = next(s.id for s in staff if s.agent == nation.local_id("portal", 2))
    assert nagisa.form("/proxies", f"/proxies/{mine}/act")[0] == 200
    assert nagisa.get("/apply")[0] == 200
    officer = nation.plan.personas[0].local_ids[TAX]
    status, _ = appointed(
        nation,
        corporation=f"C{known.number}",
        officer=officer,
        number=known.number,
        name=known.name,
        until="2026-01-01",
    )
    assert status == 202
    until(lambda: not live(nation))
    assert hanako.get("/inbox")[0] == 403
    assert nagisa.get("/apply")[0] == 403
    assert all(s.ended for s in every(nation) if s.kind == "staff")
