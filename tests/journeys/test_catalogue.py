"""An engineer looks up what data there is, before building anything: in both languages, at phone and desktop width, without script."""

import datetime as dt
from pathlib import Path

import pytest

from renkei.nation import opened
from tests.browser import JOURNEY, sound, violations
from tests.world import Running, until

pytestmark = JOURNEY
PAGES = ("/", "/?q=所得", "/?q=nothing-like-it", "/items/local-tax", "/items/resident-record", "/items/resident-record/try",
         "/items/seal-registration", "/terms",
         "/terms/sex", "/terms/full-name", "/bodies/ohashi-city", "/bodies/hub", "/datasets", "/datasets?q=none-such",
         "/datasets/shelters", "/applications",
         "/datasets/population-by-age", "/corporations", "/corporations?q=大橋", "/corporations?q=none",
         "/corporations/8700110005901")  # fmt: skip

LINE = "1,8700110005901,{},0,2026-10-30,{},{},,399,縁県,大橋市,本町1,,48,201,,,,{},,,,2015-10-05,{},Ohashi Bank,,,,オオハシ,0\n"
REGISTER = LINE.format("12", "2024-04-01", "大橋信用金庫", "2025-03-31", "1") + LINE.format(
    "01", "2015-10-05", "旧大橋信用組合", "", "0"
)


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("catalogue") / "nation", residents=60)
    until(lambda: running.do(running.world.health(running.plan.place("catalogue"))).get("offers", "0") != "0")
    gateway = running.world.institutions["tax-union"]
    gateway.offering.measure("local-tax")
    running.do(gateway.offering.tell())
    url = "/items.json?q=local-tax"
    until(lambda: running.http("catalogue", url, token="")[1][0]["providers"][0]["measured"])
    here = running.world.institutions["catalogue"]
    opened.publish(
        here.publication,
        here.member.pack,
        running.folder / "roll.csv",
        dt.date.fromisoformat(running.plan.created),
        running.folder,
    )
    example = (
        (Path(__file__).parents[2] / "docs/open-data.md").read_text("utf-8").split("```toml\n")[-1].split("```")[0]
    )
    here.publication.gallery.replace(example.encode(), here.publication.ids())
    (running.folder / "register.csv").write_text(REGISTER, "utf-8")
    here.corporations.load(running.folder / "register.csv")
    yield running
    running.stop()


def test_a_record_is_tried_in_the_form_of_its_specification(nation, page):
    page.goto(f"{nation.url('catalogue')}/items/child-allowance/try?lang={page.lang}")
    sound(page)
    terms, specification = nation.world.institutions["catalogue"].member.pack.terms, "child-allowance"
    fields = nation.world.institutions["catalogue"].member.pack.specifications[specification].fields
    for field in fields:
        term, where = terms[field.term], f"#{field.name}"
        if page.locator(where).evaluate("e => e.tagName") == "SELECT":
            page.select_option(where, term.example)
        else:
            page.fill(where, term.example)
    page.locator("form[action$='/try'] button").click()
    sound(page)
    assert page.locator("[role=status]").count() == 1
    assert fields[0].name in page.inner_text("pre.document")


def test_from_a_word_to_who_holds_it_and_how_good_it_is(nation, page):
    page.goto(f"{nation.url('catalogue')}/?lang={page.lang}")
    sound(page)
    page.fill("#q", "所得割")
    page.press("#q", "Enter")
    sound(page)
    page.locator("tbody a").first.click()
    sound(page)
    text = page.inner_text("main")
    assert ("全件適合" if page.lang == "ja" else "all rows fit") in text
    page.locator("#income_levy a").click()
    sound(page)
    assert ("所得割額" if page.lang == "ja" else "Income levy") in page.inner_text("h1")


def test_from_a_word_to_the_whole_file(nation, page):
    page.goto(f"{nation.url('catalogue')}/datasets?lang={page.lang}")
    page.fill("#q", "避難")
    page.press("#q", "Enter")
    page.locator(".card a").first.click()
    sound(page)
    assert page.locator("svg.map circle").count() == 60
    with page.expect_download() as download:
        page.locator("a[download]").first.click()
    assert Path(download.value.path()).read_text("utf-8").startswith("name,municipality,")


def test_every_page_fits(nation, page):
    for path in PAGES:
        answer = page.goto(f"{nation.url('catalogue')}{path}{'&' if '?' in path else '?'}lang={page.lang}")
        assert answer.status == 200, path
        sound(page)


def test_axe_finds_nothing(nation, browser):
    context = browser.new_context(bypass_csp=True, locale="en")
    page = context.new_page()
    for path in PAGES:
        page.goto(nation.url("catalogue") + path)
        assert violations(page) == [], path
    context.close()
