"""Somebody acts for somebody else, and for a corporation: without script, in both languages, on a phone; both see what was done."""

import datetime as dt
import os

import pytest

from renkei.nation import day
from renkei.nation.population import Demography
from tests.browser import JOURNEY, sign_in, sound, tab_to, violations
from tests.conftest import PACK
from tests.world import Running, until

pytestmark = JOURNEY
VIEWS, IDS = [("ja", 320), ("en", 1280)], ["ja-320", "en-1280"]
UNTIL = (dt.datetime.now(dt.UTC) + dt.timedelta(days=90)).date().isoformat()


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("proxies") / "nation")
    demography = Demography.read(PACK)
    running.do(day.appoint(running.plan, demography, dt.date.fromisoformat(running.plan.created)), 60)
    yield running
    running.stop()


def come(nation, page, persona):
    sign_in(page, nation.url("portal"), "#secret", nation.plan.personas[persona].secret)
    page.wait_for_url("**/records*")
    until(lambda: page.reload() and page.locator("main .card, main .notice").count())


def go(nation, page, path):
    page.goto(nation.url("portal") + path)
    sound(page)


def shot(page, name):
    if shots := os.environ.get("SHOTS"):
        page.screenshot(path=f"{shots}/{name}-{page.lang}-{page.viewport_size['width']}.png", full_page=True)


def invites(page, form="/proxies/invite", theirs="隣の健二", mine="花子"):
    """Fills in the form; the code that is shown once."""
    at = page.locator(f"form[action='{form}']")
    at.locator("[name=theirs]").fill(theirs)
    if at.locator("[name=mine]").count():
        at.locator("[name=mine]").fill(mine)
    for scope in ("read", "apply"):
        at.locator(f"[name=scope-{scope}]").check()
    at.locator("[name=until]").fill(UNTIL)
    at.locator("button").click()
    sound(page)
    return page.inner_text(".key")


def takes_up(nation, page, code):
    go(nation, page, "/proxies")
    page.fill("#code", code)
    page.press("#code", "Enter")
    sound(page)


@pytest.mark.parametrize("page", VIEWS, indirect=True, ids=IDS)
def test_a_neighbour_acts_and_it_ends(nation, page, opened):
    ja = page.lang == "ja"
    come(nation, page, 0)
    go(nation, page, "/proxies")
    shot(page, "proxies-empty")
    code = invites(page)
    shot(page, "proxies-code")
    helper = opened(page.lang, page.viewport_size["width"])
    come(nation, helper, 1)
    takes_up(nation, helper, code.upper())
    shot(helper, "proxies-for")
    helper.locator("form[action$='/act'] button").first.click()
    sound(helper)
    banner = helper.locator("form.acting")
    assert ("代理中: 花子" if ja else "You act for: 花子") in banner.inner_text()
    shot(helper, "proxies-acting")
    for path in ("/records", "/apply"):
        go(nation, helper, path)
        assert helper.locator("form.acting").count() == 1
    helper.goto(nation.url("portal") + "/own")  # never left to anybody
    assert ("この機能は任されていないか" if ja else "This was not left to you") in helper.inner_text("main")
    sound(helper)
    shot(helper, "proxies-refused")
    helper.goto(nation.url("portal") + "/apply")
    helper.locator("form.acting button").click()
    sound(helper)
    assert helper.locator("form.acting").count() == 0
    go(nation, page, "/proxies")
    card = page.locator("li.card", has_text="隣の健二").first
    card.locator("summary").click()
    assert card.locator("ol.timeline li").count()
    shot(page, "proxies-done")
    card.locator("form[action$='/end'] button").click()
    sound(page)
    go(nation, helper, "/proxies")
    assert helper.locator("form[action$='/act']").count() == 0
    assert ("終了" if ja else "over") in helper.inner_text("main")


@pytest.mark.parametrize("page", VIEWS, indirect=True, ids=IDS)
def test_an_officer_acts_for_the_corporation_and_lets_staff(nation, page, opened):
    come(nation, page, 0)
    until(lambda: page.goto(nation.url("portal") + "/proxies") and page.locator("form[action$='/act']").count())
    sound(page)
    page.locator("form[action$='/act'] button").first.click()
    sound(page)
    go(nation, page, "/company")
    shot(page, "company")
    code = invites(page, "/company/invite", "渚（経理）")
    shot(page, "company-code")
    clerk = opened(page.lang, page.viewport_size["width"])
    come(nation, clerk, 2)
    takes_up(nation, clerk, code)
    clerk.locator("form[action$='/act'] button").last.click()
    sound(clerk)
    go(nation, clerk, "/apply")
    assert clerk.locator("button[value=hiring]").count() == 1
    assert clerk.locator("button[value=birth]").count() == 0
    shot(clerk, "company-apply")
    clerk.locator("button[value=hiring]").click()
    sound(clerk)
    shot(clerk, "company-choose")
    go(nation, page, "/company")
    page.locator("li", has_text="渚").locator("details summary").first.click()
    assert page.locator("li", has_text="渚").locator("ol.timeline li").count()
    page.locator("form[action$='/end'] button").last.click()
    sound(page)
    clerk.goto(nation.url("portal") + "/apply")
    assert ("終了しました" if page.lang == "ja" else "not act for them any more") in clerk.inner_text("main")
    sound(clerk)
    shot(clerk, "company-over")


def test_with_the_keyboard_alone(nation, opened):
    page = opened("en", 1280)
    come(nation, page, 0)
    go(nation, page, "/proxies")
    for selector, typed in (("#theirs", "Kenji"), ("#mine", "Hanako")):
        tab_to(page, selector)
        page.keyboard.type(typed)
    tab_to(page, "[name=scope-read]")
    page.keyboard.press("Space")
    tab_to(page, "#until")
    page.fill("#until", UNTIL)  # how dates are typed is the browser's affair
    tab_to(page, "form[action='/proxies/invite'] button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".key")


def test_axe_finds_nothing(nation, browser):
    for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
        context = browser.new_context(locale="en", bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.lang = "en"
        come(nation, page, 0)
        go(nation, page, "/proxies")
        assert violations(page, *rules) == []
        invites(page)
        assert violations(page, *rules) == []
        page.locator("form[action$='/act'] button").first.click()
        page.wait_for_selector("form.acting")
        assert violations(page, *rules) == []
        go(nation, page, "/company")
        assert violations(page, *rules) == []
        page.goto(nation.url("portal") + "/own")
        assert violations(page, *rules) == []
        context.close()
