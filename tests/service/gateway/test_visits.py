"""The counter from inside: who may open a visit, what it may fetch, what is kept and how, and what cannot be done twice."""

import html
import re

import pytest

from renkei.errors import RenkeiError
from renkei.gateway import store, visit_store
from renkei.gateway.visits import Person
from tests.console import Browser
from tests.world import until

CITY = "ohashi-city"


@pytest.fixture
def city(nation):
    return nation.world.institutions[CITY]


@pytest.fixture
def open_visit(nation, city):
    def make(*, confirmed=("passport",), children=(1,), event="moving-in", former="kiriyama-town", **more):
        people = [
            Person(nation.local_id(CITY), "applicant"),
            *(Person(nation.local_id(CITY, c), "child") for c in children),
        ]
        return nation.do(city.visits.open("職員A", event, more.get("people", people), confirmed, former))

    return make


def refused(nation, work):
    with pytest.raises(RenkeiError) as error:
        nation.do(work)
    return error.value.code


@pytest.mark.parametrize("confirmed", [(), ("health-card",), ("nonsense",), ("",)])
def test_nobody_s_data_is_fetched_before_it_is_known_who_they_are(nation, city, open_visit, confirmed):
    with pytest.raises(RenkeiError) as error:
        open_visit(confirmed=confirmed)
    assert error.value.code == "not-confirmed"


def test_who_may_be_part_of_a_visit(nation, city, open_visit):
    me, child = nation.local_id(CITY), nation.local_id(CITY, 1)
    for people, code in (
        ([], "people"),
        ([Person(me, "child")], "people"),
        ([Person(me, "applicant"), Person(me, "child")], "people"),
        ([Person(me, "applicant"), Person(child, "neighbour")], "people"),
        ([Person(me, "applicant"), Person("no-such-person", "child")], "no-subject"),
        ([Person(me, "applicant")] + [Person(str(n), "child") for n in range(30)], "people"),
    ):
        with pytest.raises(RenkeiError) as error:
            open_visit(people=people)
        assert error.value.code == code
    with pytest.raises(RenkeiError) as error:
        open_visit(event="no-such-event")
    assert error.value.code == "event"


def test_pressing_twice_asks_once(nation, city, open_visit):
    id_ = open_visit(children=())
    before = city.database.read_now(lambda c: dict(store.tally(c)))
    choices = {"local-tax": "tax-union", "pension-benefits": "pension-service", "medical-benefits": "health-insurer"}

    async def twice():
        import asyncio

        return await asyncio.gather(*(city.visits.fetch(id_, "職員A", choices) for _ in range(3)))

    assert nation.do(twice()) == [[], [], []]
    visit = nation.do(city.visits.get(id_))
    assert all(f.inquiry is not None for f in visit.fetches)
    after = city.database.read_now(lambda c: dict(store.tally(c)))
    assert sum(after.values()) - sum(before.values()) == len(visit.fetches)
    assert {f.inquiry.clerk for f in visit.fetches} == {"職員A"}
    until(lambda: all(f.state == "answered" for f in nation.do(city.visits.get(id_)).fetches))
    assert {f.procedure.affair for f in visit.fetches} == {f.inquiry.affair for f in visit.fetches}


def test_what_is_told_is_locked_and_what_was_fetched_is_not_told(nation, city, open_visit):
    id_ = open_visit()
    name = f"full-name@{nation.local_id(CITY)}"
    assert (
        nation.do(city.visits.tell(id_, {"account": "ひみつ銀行 7654321", "moved-on": "2026-11-20", name: "連携 花子"}))
        == {}
    )
    row = city.database.read_now(lambda c: visit_store.get_visit(c, id_))
    for secret in ("ひみつ銀行", "7654321", "連携"):
        assert secret.encode() not in bytes(row.told)
    told = {b.name: b.value for b in nation.do(city.visits.get(id_)).blanks}
    assert (told["account"], told["moved-on"], told[name]) == ("ひみつ銀行 7654321", "2026-11-20", "連携 花子")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("moved-on", "tomorrow"),
        ("moved-on", "2026-13-01"),
        ("account", "x" * 501),
        ("account", "a\x00b"),
        ("account", "\u202eabc"),
    ],
)
def test_what_does_not_fit_is_told_and_the_rest_is_kept(nation, city, open_visit, field, value):
    id_ = open_visit(children=())
    assert set(nation.do(city.visits.tell(id_, {field: value, "new-address": "本町1"}))) == {field}
    told = {b.name: b.value for b in nation.do(city.visits.get(id_)).blanks}
    assert (told["new-address"], told[field]) == ("本町1", "")


def test_questions_that_nobody_asked_are_not_kept(nation, city, open_visit):
    id_ = open_visit(children=())
    nation.do(city.visits.tell(id_, {"school-year@someone": "1", "x": "y", "request": "z", "error": "z", "self": "z"}))
    row = city.database.read_now(lambda c: visit_store.get_visit(c, id_))
    assert city.keys.unlock(bytes(row.told)) == b"{}"


def test_a_visit_is_closed_once_and_does_not_change_then(nation, city, open_visit):
    id_ = open_visit(children=())
    assert refused(nation, city.visits.close(id_)) == "missing"
    visit = nation.do(city.visits.get(id_))
    nation.do(
        city.visits.tell(
            id_, {b.name: {"date": "2026-11-01", "integer": "1"}.get(b.question.type, "x") for b in visit.missing}
        )
    )
    closed = nation.do(city.visits.close(id_))
    assert closed.row.closed
    for work in (
        city.visits.close(id_),
        city.visits.tell(id_, {"account": "y"}),
        city.visits.fetch(id_, "職員A", {}),
        city.visits.change_people(id_, [closed.people[0]]),
    ):
        assert refused(nation, work) == "closed"
    tasks = [t for t in nation.do(city.visits.tasks()) if t.visit == id_]
    assert {t.procedure for t in tasks} == {p.code for p, _ in closed.procedures}
    assert "school-transfer" not in {t.procedure for t in tasks}  # no child, no school
    nation.do(city.visits.done(tasks[0].id, "職員B"))
    assert refused(nation, city.visits.done(tasks[0].id, "職員C")) == "done"
    assert {t.office for t in nation.do(city.visits.tasks("children"))} <= {"children"}


def test_numbers_of_the_day_are_each_one_s(nation, city, open_visit):
    async def many():
        import asyncio

        one = [Person(nation.local_id(CITY), "applicant")]
        return await asyncio.gather(*(city.visits.open("職員A", "birth", one, ("passport",)) for _ in range(8)))

    ids = nation.do(many())
    rows = [city.database.read_now(lambda c, i=i: visit_store.get_visit(c, i)) for i in ids]
    assert len({(r.day, r.number) for r in rows}) == 8


def test_pages_are_for_clerks_and_bad_forms_are_told(nation, city, open_visit):
    id_ = open_visit(children=())
    stranger = Browser(nation.url(CITY))
    for path in (
        "/desk/counter",
        f"/desk/counter/{id_}",
        f"/desk/counter/{id_}/resident",
        f"/desk/counter/{id_}/paper.pdf",
        "/desk/tasks",
        "/desk/tasks/1",
    ):
        assert stranger.get(path)[0] == 401
    clerk = Browser(nation.url(CITY))
    clerk.form("/signin", token=nation.plan.place(CITY).token)
    status, page = clerk.form(
        "/desk/counter",
        local_id="x",
        event="moving-in",
        **{"seen-passport": "yes", "request": "a", "error": "b", "template": "c"},
    )
    assert (status, "no linkage code" in page) == (404, True)
    status, page = clerk.form(
        f"/desk/counter/{id_}",
        f"/desk/counter/{id_}/tell",
        **{"moved-on": "<script>", "status": "x", "problem": "y", "then": "close"},
    )
    assert status == 400
    assert "<script>" not in re.sub(r"<script src[^>]*>", "", page)
    assert html.escape("<script>") not in page  # what does not fit is not kept
    assert clerk.get("/desk/counter/999999")[0] == 404
    assert clerk.get("/desk/tasks/999999")[0] == 404
    status, paper = clerk.get(f"/desk/counter/{id_}/paper.pdf")
    assert (status, paper[:5]) == (200, b"%PDF-")
