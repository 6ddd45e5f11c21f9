"""Change notices on a running nation: subscribed with an inquiry, told when the answer is another, ended, and in the person's records."""

import asyncio
import contextlib
import datetime as dt

import pytest
import sqlalchemy as sa

from renkei.gateway import subscription_store
from renkei.institution import subjects
from renkei.portal import store as records
from tests.world import until

OURS, THEIRS = "ohashi-city", "tax-union"


def days(count):
    return (dt.datetime.now(dt.timezone(dt.timedelta(hours=9))).date() + dt.timedelta(days=count)).isoformat()


@contextlib.contextmanager
def source(nation, persona=0):
    """The income in the provider's own database can be set; it is put back afterwards."""
    engine = sa.create_engine(f"sqlite:///{nation.folder / THEIRS / 'source.db'}")
    local_id = nation.local_id(THEIRS, persona)
    columns = [c["name"] for c in sa.inspect(engine).get_columns("T_LOCAL_TAX")]

    def write(values):
        sets = ", ".join(f"{c} = :{c}" for c in values)
        with engine.begin() as connection:
            connection.execute(
                sa.text(f"UPDATE T_LOCAL_TAX SET {sets} WHERE ATENA_NO = :who"), values | {"who": local_id}
            )

    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT * FROM T_LOCAL_TAX WHERE ATENA_NO = :who"), {"who": local_id})
        was = [dict(r._mapping) for r in found]
    assert was, columns
    try:
        yield lambda income: write({"INCOME_TOTAL": income})
    finally:
        write({"INCOME_TOTAL": was[0]["INCOME_TOTAL"]})
        engine.dispose()


def subscribe(nation, until_=None, **changes):
    status, told = nation.ask(changes_until=until_ or days(300), case="R8-77", **changes)
    assert (status, told["state"]) == (200, "answered"), told
    return told


def look(nation):
    """The provider looks for changes; how many it tells."""
    return nation.do(nation.world.institutions[THEIRS].subscribers.check())


def changes(nation):
    return nation.http(OURS, "/changes")[1]


def in_file(nation, persona=0):
    """What stands in a resident's file, newest first."""
    portal = nation.world.institutions["portal"]
    code = nation.code("portal", persona).code
    return portal.database.read_now(lambda c: records.records_of(c, [code], below=None, limit=50))


def filed(nation, inquiry):
    return next((r for r in in_file(nation) if r.id.hex() == inquiry), None)


@pytest.fixture(autouse=True)
def nothing_stands(nation):
    yield
    for row in nation.http(OURS, "/subscriptions")[1]:
        nation.http(OURS, f"/subscriptions/{row['inquiry']}/end", {})
    theirs = nation.world.institutions[THEIRS]
    nation.do(theirs.database.write(lambda c: c.execute(subscription_store.subscribers.delete())))


def test_told_once_of_a_change_and_what_it_is_when_asked(nation):
    with source(nation) as set_income:
        set_income(1_000_000)
        asked = subscribe(nation)
        assert look(nation) == 0
        set_income(2_500_000)
        assert look(nation) == 1
        (notice,) = until(lambda: changes(nation))
        assert (notice["inquiry"], notice["case"]) == (asked["id"], "R8-77")
        assert "2500000" not in str(notice)
        until(lambda: look(nation) == 0 and not theirs_under_way(nation))
        assert look(nation) == 0, "a change was told twice"
        status, again = nation.http(OURS, f"/changes/{notice['id']}/ask", {}, Prefer="wait=10")
        assert (status, again["state"]) == (202, "answered")
        assert again["records"][0]["income_total"] == 2_500_000
        assert changes(nation) == []
        same = nation.http(OURS, f"/changes/{notice['id']}/ask", {})[1]
        assert same["id"] == again["id"]
        set_income(2_600_000)
        until(lambda: look(nation) == 1)  # the subscription stands on
        until(lambda: changes(nation))


def theirs_under_way(nation):
    return nation.world.institutions[THEIRS].database.read_now(subscription_store.under_way)


def test_the_person_sees_subscription_notice_and_end(nation):
    with source(nation) as set_income:
        set_income(1_000_000)
        asked = subscribe(nation)
        set_income(3_000_000)
        assert look(nation) == 1
        until(lambda: changes(nation))
        inquiry = until(lambda: filed(nation, asked["id"]))
        told = until(
            lambda: next((r for r in in_file(nation) if r.kind == "change" and r.position > inquiry.position), None)
        )
        assert (told.requester, told.provider, told.item, told.allowed) == (OURS, THEIRS, "local-tax", True)
        assert told.rows == inquiry.rows == "74"
        assert (inquiry.changes_until, inquiry.changes_ended) == (days(300), None)
        assert nation.http(OURS, f"/subscriptions/{asked['id']}/end", {})[0] == 200
        until(lambda: filed(nation, asked["id"]).changes_ended)
        until(lambda: nation.world.institutions[THEIRS].database.read_now(subscription_store.count) == 0)
        set_income(4_000_000)
        assert look(nation) == 0
        assert (changes(nation), nation.http(OURS, "/subscriptions")[1]) == ([], [])
        status, problem = nation.http(OURS, f"/subscriptions/{asked['id']}/end", {})
        assert (status, problem["title"]) == (409, "moved-on")


def test_only_where_and_as_long_as_the_law_lets_it(nation):
    """Another affair, too long, the past, an earlier day: refused, with the reason, and in the record as any refusal."""
    for changed in (
        {"changes_until": days(401)},
        {"changes_until": days(-2)},
        {"changes_until": days(30), "as_of": "2026-04-01"},
        {"changes_until": days(30), "affair": "long-term-care-benefits-and-premiums"},
        {"changes_until": days(30), "withheld": True, "purpose": "investigation"},
    ):
        told = nation.ask(**changed)[1]
        assert (told["state"], told["reason"]) == ("refused", "subscription"), (changed, told)
    assert nation.http(OURS, "/subscriptions")[1] == []
    status, problem = nation.ask(changes_until="2026-02-30")
    assert (status, problem["title"]) == (400, "changes-until")
    assert nation.ask(changes_until="20270101")[0] == 400


def test_of_who_is_protected_nobody_is_told(nation):
    """Who looks for somebody in hiding learns nothing: not by being told, nor by an answer that differs."""
    provider = nation.world.institutions[THEIRS]
    who = nation.local_id(THEIRS)

    def protect(**flags):
        nation.do(provider.database.write(lambda c: subjects.set_flags(c, who, **flags, by="test")))

    with source(nation) as set_income:
        set_income(1_000_000)
        subscribe(nation)
        try:
            for flags in ({"manual": False, "withheld": True}, {"manual": True, "withheld": False}):
                protect(**flags)
                set_income(1_500_000)
                assert look(nation) == 0
            protect(manual=False, withheld=True)
            told = nation.ask(changes_until=days(300))[1]
            assert (told["state"], told["records"]) == ("answered", [])
        finally:
            protect(manual=False, withheld=False)
        assert look(nation) == 1, "who is protected no more is told of as before, by the subscription of before"
        until(lambda: changes(nation))


def test_of_a_subscription_that_is_renewed_there_is_one(nation):
    with source(nation) as set_income:
        set_income(1_000_000)
        subscribe(nation, days(10))
        newest = subscribe(nation, days(20))
        set_income(9_000_000)
        assert look(nation) == 1
        (notice,) = until(lambda: changes(nation))
        assert notice["inquiry"] == newest["id"]


def test_a_notice_the_record_never_took_is_made_anew(nation):
    """One that comes too late is refused, as a leaf; nobody was told, so it is told again, an hour later."""
    provider = nation.world.institutions[THEIRS]
    with source(nation) as set_income:
        set_income(1_000_000)
        subscribe(nation)
        set_income(2_000_000)
        right, provider.subscribers._clock = provider.subscribers._clock, lambda: right() - 200_000
        try:
            assert look(nation) == 1
        finally:
            provider.subscribers._clock = right
        until(lambda: not theirs_under_way(nation))
        until(lambda: in_file(nation)[0].reason == "issued-at")
        assert (look(nation), changes(nation)) == (0, []), "it is tried again at once"
        hour_ago = subscription_store.subscribers.update().values(told_at=right() - 3_600_000)
        nation.do(provider.database.write(lambda c: c.execute(hour_ago)))
        assert look(nation) == 1
        until(lambda: changes(nation))


def test_who_is_absent_is_told_on_return(nation):
    """The notice waits in the mailbox."""
    with source(nation) as set_income:
        set_income(1_000_000)
        asked = subscribe(nation)
        nation.stop_body(OURS)
        try:
            set_income(2_000_000)
            assert look(nation) == 1
            until(lambda: not theirs_under_way(nation))
        finally:
            nation.start_body(OURS)
        (notice,) = until(lambda: changes(nation))
        assert notice["inquiry"] == asked["id"]


def test_two_clerks_at_once_make_one_inquiry(nation):
    with source(nation) as set_income:
        set_income(1_000_000)
        subscribe(nation)
        set_income(2_000_000)
        look(nation)
        (notice,) = until(lambda: changes(nation))
        ours = nation.world.institutions[OURS]

        async def both():
            asked = (ours.subscriptions.ask(bytes.fromhex(notice["id"]), clerk) for clerk in ("A", "B"))
            return await asyncio.gather(*asked, return_exceptions=True)

        answers = nation.do(both())
        ids = {a for a in answers if isinstance(a, bytes)}
        assert len(ids) == 1, answers
        assert all(isinstance(a, bytes) or a.code == "moved-on" for a in answers)
        assert nation.do(ours.subscriptions.ask(bytes.fromhex(notice["id"]), "C")) in ids


def test_what_is_not_recorded_yet_is_not_ended(nation):
    """The record would not know what was ended, and nobody would say so again."""
    nation.stop_body("hub")
    try:
        told = nation.ask(wait=0, changes_until=days(30))[1]
        status, problem = nation.http(OURS, f"/subscriptions/{told['id']}/end", {})
        assert (status, problem["title"]) == (409, "not-recorded")
    finally:
        nation.start_body("hub")
    until(lambda: nation.http(OURS, told["status_url"])[1]["state"] == "answered")
    assert nation.http(OURS, f"/subscriptions/{told['id']}/end", {})[0] == 200


def row_of(inquiry, until_):
    said = {"requester": OURS, "local_id": "p", "affair": "a", "item": "i", "purpose": "x"}
    return {**said, "inquiry": inquiry * 32, "until": until_, "specification": 1, "digest": bytes(32)}


def test_of_one_person_there_is_one_subscriber_and_none_that_was_ended(nation):
    """Whatever order held inquiries are released in."""
    database = nation.world.institutions[THEIRS].database
    store = subscription_store

    def kept():
        rows = database.read_now(lambda c: store.after(c, b"", 99))
        return [bytes(r.inquiry)[:1] for r in rows if r.local_id == "p"]

    def note(*rows):
        nation.do(database.write(lambda c: store.note(c, rows)))

    note(row_of(b"2", "2027-06-01"))
    note(row_of(b"1", "2026-12-01"))  # held for a while, and over sooner
    assert kept() == [b"2"]
    note(row_of(b"3", "2027-06-01"), row_of(b"4", "2027-06-01"))
    assert kept() == [b"4"]
    nation.do(database.write(lambda c: store.drop(c, b"4" * 32, "pension-service", 1)))
    assert kept() == [b"4"], "somebody else has ended it"
    nation.do(database.write(lambda c: store.drop(c, b"5" * 32, OURS, 1)))
    note(row_of(b"5", "2027-09-01"))  # ended while it was held
    assert kept() == [b"4"]
    nation.do(database.write(lambda c: store.drop_ended(c, "2027-07-01", 2)))
    assert kept() == []


def test_a_notice_that_comes_again_is_not_told_again(nation):
    with source(nation) as set_income:
        set_income(1_000_000)
        asked = subscribe(nation)
        database, who = nation.world.institutions[OURS].database, nation.local_id(OURS)

        def receive(id_):
            said = who, THEIRS, "child-allowance", "local-tax", 5, 7, days(0)
            return nation.do(
                database.write(lambda c: subscription_store.receive(c, subscription_store.Told(id_, *said)))
            )

        assert receive(b"a" * 32)
        assert receive(b"b" * 32), "one that is covered by an open one"
        (notice,) = changes(nation)
        assert notice["inquiry"] == asked["id"]
        nation.http(OURS, f"/changes/{notice['id']}/settle", {})
        assert receive(b"a" * 32)
        assert receive(b"b" * 32)
        assert changes(nation) == []


def test_settled_without_asking_it_is_gone(nation):
    with source(nation) as set_income:
        set_income(1_000_000)
        subscribe(nation)
        set_income(2_000_000)
        look(nation)
        (notice,) = until(lambda: changes(nation))
        assert nation.http(OURS, f"/changes/{notice['id']}/settle", {})[0] == 200
        assert changes(nation) == []
        assert nation.http(OURS, f"/changes/{notice['id']}/settle", {})[1]["title"] == "moved-on"
        assert nation.http(OURS, f"/changes/{notice['id']}/ask", {})[1]["title"] == "moved-on"
        assert nation.http(OURS, f"/changes/{'0' * 64}/ask", {})[0] == 404
