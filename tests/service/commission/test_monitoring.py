"""Alarms and statistics from the commission's own copy: a clerk who browses is found, and shown to the residents concerned."""

import csv
import io
import json

import pytest
import sqlalchemy as sa

from renkei.codes import group
from renkei.commission import store, watch
from renkei.gateway.desk import Ask
from renkei.institution import subjects
from renkei.nation.plan import local_ids
from renkei.portal import service as portal_service
from renkei.portal import store as portal_store
from tests.console import Console
from tests.world import until

BROWSED = 14


@pytest.fixture(scope="module", autouse=True)
def soon():
    """A newcomer may ask ten times a day, and a code is a stranger's after a second: so that the test need not last for weeks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(watch.NEWCOMER, "volume", 10)
        patch.setitem(watch.NEWCOMER, "unknown", 1)
        patch.setattr(portal_service, "GRACE", 1000)
        patch.setattr(portal_service, "CHECK_EVERY", 0.3)
        yield


def commission(nation):
    return nation.world.institutions["commission"]


def alarms(nation, kind, clerk=None):
    found = commission(nation).database.read_now(lambda c: store.list_alarms(c, dealt_with=False))
    return [a for a in found if a.kind == kind and (clerk is None or bytes(a.clerk) == clerk)]


def ask(nation, clerk, local_id, **changes):
    """One inquiry by a clerk of the city; its leaf."""
    values = {"provider": "tax-union", "affair": "child-allowance", "item": "local-tax", "purpose": "assess-amount"}
    desk = nation.world.institutions["ohashi-city"].desk
    id_ = nation.do(desk.ask(Ask(local_id=local_id, **{**values, **changes}), clerk, wait=10))
    return nation.http("ohashi-city", f"/inquiries/{id_.hex()}")[1]["leaf"]


def known(nation, body):
    """Residents with a code at a body."""
    database = nation.world.institutions[body].database
    query = sa.select(subjects.subjects.c.local_id).where(subjects.subjects.c.code.is_not(None))
    return [
        i
        for i in local_ids(nation.folder, body)
        if i in set(database.read_now(lambda c: c.execute(query).scalars().all()))
    ]


def test_a_clerk_who_browses_neighbours_is_found_and_shown_to_the_residents_concerned(nation, inspector):
    """The alarm names the pseudonym, which only the commission can read, and links to the leaves; a case marks them at My Portal."""
    neighbours = until(lambda: (found := known(nation, "ohashi-city"))[BROWSED - 1 :] and found[:BROWSED])
    leaves = [ask(nation, "browser", local_id) for local_id in neighbours]
    pseudonym = nation.world.institutions["ohashi-city"].keys.pseudonym("browser")
    (alarm,) = until(lambda: alarms(nation, "volume", pseudonym))
    assert alarm.body == "ohashi-city"
    assert set(map(int, alarm.leaves.split())) <= set(leaves)
    assert len(alarm.leaves.split()) == 11
    status, page = inspector.get("/alarms")
    assert (status, pseudonym.hex() in page) == (200, True)
    status, page = inspector.form("/alarms", f"/alarms/{alarm.id}", act="case")
    assert status == 200, page
    number = inspector.at.rpartition("/")[2]
    portal = nation.world.institutions["portal"]
    marked = until(lambda: portal.database.read_now(lambda c: portal_store.marks_on(c, leaves)))
    assert {m.case_number for rows in marked.values() for m in rows} == {number}
    assert set(marked) == set(map(int, alarm.leaves.split()))
    assert alarms(nation, "volume", pseudonym) == []
    assert inspector.form("/alarms", f"/alarms/{alarm.id}", act="dismiss")[0] == 409
    assert Console(nation, "shirase").form("/alarms", f"/alarms/{alarm.id}", act="case")[0] == 403


def test_the_hub_cannot_tell_clerks_apart(nation):
    """What of a clerk is in the leaf is another each time; the hub's database has the pseudonym nowhere."""
    first = until(lambda: known(nation, "ohashi-city"))[0]
    for _ in range(2):
        ask(nation, "tidy", first)
    pseudonym = nation.world.institutions["ohashi-city"].keys.pseudonym("tidy")
    hub = nation.world.institutions["hub"]
    with hub.database.engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            for row in connection.execute(sa.text(f'select * from "{table}"')):
                assert not any(isinstance(v, bytes | memoryview) and pseudonym in bytes(v) for v in row), table


def test_a_code_the_portal_does_not_know_is_an_alarm(nation):
    """Someone who is nobody's resident was asked about, twice: it is told once the grace is over."""
    city = nation.world.institutions["ohashi-city"]
    rows = [
        {
            "local_id": f"made-up-{n}",
            "code": group.hash_to_element("test", bytes([n])),
            "epoch": 1,
            "manual": False,
            "withheld": False,
        }
        for n in range(2)
    ]
    nation.do(city.database.write(lambda c: c.execute(subjects.subjects.insert(), rows)))
    for row in rows:
        ask(nation, "inventor", row["local_id"])
    (alarm,) = until(lambda: alarms(nation, "unknown"), 30)
    assert (alarm.body, alarm.seen) == ("ohashi-city", 2)


def test_use_is_told_to_everyone_with_small_counts_left_out(nation):
    """As a page, CSV and JSON; the same figures in each."""
    public = Console(nation)
    until(lambda: commission(nation).database.read_now(lambda c: store.used_by_day(c, "2000-01-01", "2100-01-01")))
    status, page = public.get("/statistics")
    assert (status, "<svg" in page, "Nobody has asked" in page) == (200, True, True)
    status, raw = public.get("/statistics.csv")
    rows = list(csv.DictReader(io.StringIO(raw.decode())))
    told = json.loads(public.get("/statistics.json")[1])
    assert len(rows) == len(told["linkages"]) > 100
    assert {r["why"] for r in rows} >= {"no-inquiry"}
    assert all(r["asked"] == "" or int(r["asked"]) == 0 or int(r["asked"]) >= told["suppressed_below"] for r in rows)
    used = next(
        r
        for r in told["linkages"]
        if (r["requester"], r["affair"], r["item"]) == ("ohashi-city", "child-allowance", "local-tax")
    )
    assert used["why"] in ("used", "few")
    assert public.get("/statistics?first=never")[0] == 400
    assert public.get("/statistics?first=2026-01-01&last=2025-01-01")[0] == 400


def test_monitoring_misses_nothing_and_repeats_nothing_over_a_restart(nation):
    """Every inquiry of the record is one line, before and after."""
    first = until(lambda: known(nation, "ohashi-city"))[0]
    nation.stop_body("commission")
    nation.start_body("commission")
    ask(nation, "tidy", first)
    here = commission(nation)

    def lines():
        return here.database.read_now(lambda c: c.execute(sa.select(store.watched.c.position)).scalars().all())

    def inquiries():
        query = sa.text("select count(*) from record_inquiries")
        return here.database.read_now(lambda c: c.execute(query).scalar_one())

    until(lambda: len(lines()) == inquiries())
    assert len(set(lines())) == len(lines())
    asked = here.database.read_now(lambda c: sum(n for _, n in store.used_by_day(c, "2000-01-01", "2100-01-01")))
    assert asked == len(lines())
