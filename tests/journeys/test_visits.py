"""Moving in with two children: one visit, everything fetched, nothing typed twice, and the back offices have it."""

import pytest

from renkei.gateway import visit_store
from tests.browser import JOURNEY, sign_in, sound, violations
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = [*JOURNEY, NEEDS_TOKEN]
CITY, FORMER = "ohashi-city", "kiriyama-town"
OF = {"local-tax": "tax-union", "pension-benefits": "pension-service", "medical-benefits": "health-insurer"}


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("visits") / "nation")
    yield running
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def reader(nation):
    with nation.reading(nation.card()) as address:
        yield address


def opened(nation, page):
    """A visit by card, with two children, opened; the page of it."""
    sign_in(page, nation.url(CITY), "#token", nation.plan.place(CITY).token)
    page.goto(f"{nation.url(CITY)}/desk/counter?lang={page.lang}")
    sound(page)
    page.locator("form[action='/desk/counter/card'] button").click()
    sound(page)
    page.locator("button.touch").click()
    page.fill("#pin", "1234")
    page.press("#pin", "Enter")
    for _ in range(2):
        page.locator("#continue button").click()
    assert nation.local_id(CITY) in page.locator("[role=status]").inner_text()
    page.select_option("#event", "moving-in")
    page.select_option("#former", FORMER)
    for n, child in ((1, 1), (2, 2)):
        page.fill(f"#person-{n}", nation.local_id(CITY, child))
    page.locator("form[action='/desk/counter'] button").click()
    sound(page)


def fetched(nation, page):
    for item, body in OF.items():
        if page.locator(f"#of-{item}").count():
            page.select_option(f"#of-{item}", body)
    page.locator("form[action$='/fetch'] button").click()
    url = page.url.partition("#")[0]

    def all_ended():
        page.goto(url)
        states = {s.inner_text() for s in page.locator("table.stack a[href^='/desk/inquiries/']").all()}
        return states and states <= {"Answered", "回答済み"}

    until(all_ended, 30)
    sound(page)


@pytest.mark.parametrize("page", [("ja", 1280), ("en", 320)], indirect=True, ids=["ja-1280", "en-320"])
def test_moving_in_with_two_children(nation, page):
    opened(nation, page)
    fetched(nation, page)
    fields = page.locator("form[action$='/tell'] :is(input:not([type=hidden]), select)")
    names = [f.get_attribute("name") for f in fields.all()]
    assert len(names) == len(set(names))  # every question stands once, whoever asks it
    filled = {n: f.input_value() for n, f in zip(names, fields.all(), strict=True)}
    me = nation.local_id(CITY)
    assert filled[f"full-name@{me}"] == nation.plan.personas[0].name  # fetched, not typed
    assert filled["former-address"]
    typed = {n: v for n, v in filled.items() if not v}
    answers = {"new-address": "大橋市本町2-2", "moved-on": "2026-11-20", "account": "大橋信用金庫 本店 1234567"}
    answers |= {n: "3" for n in typed if n.startswith("school-year@")}
    for name, value in answers.items():
        page.fill(f"[name='{name}']", value)
    page.locator("button[value=close]").click()
    sound(page)
    done = page.locator("[role=status]").inner_text()
    assert "証明書" in done if page.lang == "ja" else "certificates were not needed" in done
    assert len(answers) == 5  # all that was typed
    visit = page.url
    page.goto(visit + "/resident")
    sound(page)
    assert "大橋市本町2-2" in page.inner_text("main")
    page.goto(f"{nation.url(CITY)}/desk/tasks")
    sound(page)
    before = page.locator("tbody tr").count()
    assert before >= 4
    page.locator("tbody a").first.click()
    sound(page)
    page.locator("form[action^='/desk/tasks/'] button").click()
    assert page.locator("tbody tr").count() == before - 1


def test_the_inquiries_stand_in_the_record_for_their_affairs(nation):
    """The use of the network by the counter shows in the commission's own copy, and the resident sees each on the portal."""
    commission = nation.world.institutions["commission"]
    from renkei.messages.wire import Inquiry, decode_as
    from renkei.record.entries import InquiryLeaf, decode_entry

    copies = commission.keeper.rounds_after(0, limit=10_000, most=10**9)
    leaves = [decode_entry(leaf[2]) for copy in copies for leaf in copy.leaves if leaf[0] == "inquiry"]
    asked = [decode_as(e.inquiry.payload, Inquiry) for e in leaves if isinstance(e, InquiryLeaf)]
    counter = {i.affair for i in asked if i.purpose == "life-event-counter"}
    assert counter == {"child-welfare-costs", "child-allowance", "national-health-insurance-benefits-and-premiums"}


def test_axe_finds_nothing(nation, browser):
    context = browser.new_context(bypass_csp=True, locale="en")
    page = context.new_page()
    page.lang = "en"
    sign_in(page, nation.url(CITY), "#token", nation.plan.place(CITY).token)
    rows = nation.world.institutions[CITY].database.read_now(lambda c: visit_store.open_visits(c, ""))
    tasks = nation.world.institutions[CITY].database.read_now(lambda c: visit_store.list_tasks(c, ""))
    first = max([r.id for r in rows], default=1)
    for path in (
        "/desk/counter",
        f"/desk/counter/{first}",
        f"/desk/counter/{first}/resident",
        "/desk/tasks",
        f"/desk/tasks/{tasks[0].id}",
    ):
        page.goto(nation.url(CITY) + path)
        assert violations(page) == [], path
    context.close()
