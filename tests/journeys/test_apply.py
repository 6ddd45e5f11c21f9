"""A life event once: chosen, filled in, signed with the card, sent to every body, asked back, decided; all of it without script."""

import os

import pytest

from tests.browser import JOURNEY, sound, tab_to, violations
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = [*JOURNEY, NEEDS_TOKEN]
PENSION, INSURER, CITY = "pension-service", "health-insurer", "ohashi-city"
BOTH = [("ja", 320), ("en", 1280)]
IDS = ["ja-320", "en-1280"]
RENEWAL = {"notice": "care-renewal", "values": {"day": "2027-01-31"}}


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("apply") / "nation")
    yield running
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def reader(nation):
    with nation.reading(nation.card()) as address:
        yield address


def shot(page, name):
    if shots := os.environ.get("SHOTS"):
        page.screenshot(path=f"{shots}/{name}-{page.lang}-{page.viewport_size['width']}.png", full_page=True)


def by_card(nation, page):
    page.goto(f"{nation.url('portal')}/signin?lang={page.lang}")
    page.locator("form[action$='/ask'] button").click()
    page.wait_for_selector("#pin")
    page.fill("#pin", "1234")
    page.press("#pin", "Enter")
    go_on(page)
    until(lambda: (page.reload(), page.locator("main .card, main .notice").count())[1], 20)


def go_on(page):
    """The pages that script would send on by itself."""
    while page.locator("form#continue").count():
        page.locator("form#continue button").click()


def clerk(nation, page, body):
    page.goto(f"{nation.url(body)}/signin?lang={page.lang}")
    page.fill("#token", nation.plan.place(body).token)
    page.press("#token", "Enter")


def filled(page):
    """Something fitting in every field of the form."""
    form = page.locator("main form[action$='/form']")
    for field in form.locator("input:not([type=hidden]), textarea").all():
        kind, name = field.get_attribute("type"), field.get_attribute("name")
        fit = {"full-name@applicant": "大橋 花子", "date-of-birth@applicant": "1991-05-14"}.get(name)
        field.fill(fit or ("2026-11-01" if kind == "date" else "12" if field.get_attribute("inputmode") else "見本"))
    for field in form.locator("select").all():
        field.select_option(index=1)
    form.locator("button[value=check]").click()


def reloaded(page, text):
    return until(lambda: page.reload() and text in page.inner_text("main"), 20)


@pytest.mark.parametrize("page", BOTH, indirect=True, ids=IDS)
def test_retiring_is_told_once_signed_where_it_must_be_and_decided(nation, page, opened):
    ja = page.lang == "ja"
    by_card(nation, page)
    page.goto(f"{nation.url('portal')}/apply")
    sound(page)
    shot(page, "apply-start")
    page.locator("button[value=retirement]").click()
    sound(page)
    shot(page, "apply-choose")
    for code in ("income-tax-refund", "resident-tax-payment"):
        page.uncheck(f"input[value={code}]")
    page.locator("main form[action$='/choose'] button").click()
    sound(page)
    assert page.locator("[role=alert]").count() == 0
    filled(page)
    sound(page)
    shot(page, "apply-send")
    page.locator("main > form button").click()  # what needs no signature
    sound(page)
    page.locator("main section a.button").click()  # what does
    sound(page)
    assert "大橋 花子" in page.inner_text("pre")
    shot(page, "apply-sign")
    page.locator("main form button").click()
    page.wait_for_selector("#pin")
    assert "大橋 花子" in page.inner_text("main")
    page.fill("#pin", "abc123")
    page.press("#pin", "Enter")
    go_on(page)
    sound(page)
    reloaded(page, "受付済み" if ja else "Received")
    mine = page.url

    desk = opened(page.lang, 1280)
    clerk(nation, desk, PENSION)
    desk.goto(f"{nation.url(PENSION)}/desk/applications")
    sound(desk)
    shot(desk, "desk-applications")
    desk.locator("tbody a").last.click()
    reloaded(desk, "署名者" if ja else "Signed with the card of")
    sound(desk)
    assert "大橋 花子" in desk.inner_text(".notice strong")
    desk.fill("#words", "年金手帳の番号を教えてください。")
    desk.locator("button[value=asked]").click()
    sound(desk)
    shot(desk, "desk-application")

    page.goto(f"{nation.url('portal')}/inbox")
    reloaded(page, "質問が届いています" if ja else "A question for you")
    sound(page)
    shot(page, "inbox")
    page.locator("main .card a").first.click()
    sound(page)
    shot(page, "letter")
    page.locator("main a.button").click()
    assert page.url.partition("?")[0] == mine.partition("?")[0]
    page.fill("textarea", "1234-567890 です。")
    page.locator("form[action*='/answer/'] button").click()
    sound(page)
    reloaded(desk, "1234-567890")
    desk.locator("button[value=granted]").click()
    reloaded(page, "認められました" if ja else "Granted")
    sound(page)
    shot(page, "apply-granted")


@pytest.mark.parametrize(("lang", "width"), BOTH, ids=IDS)
def test_what_a_body_holds_need_not_be_written(nation, browser, lang, width):
    """Asked with the card, opened in the browser; the form is filled in with what the resident wants to use, and no more."""
    context = browser.new_context(locale=lang, viewport={"width": width, "height": 800}, bypass_csp=True)
    page = context.new_page()
    page.lang = lang
    page.goto(f"{nation.url('portal')}/signin?lang={lang}")
    page.locator("form[action$='/ask'] button").click()
    page.wait_for_selector("#pin")
    page.fill("#pin", "1234")
    page.press("#pin", "Enter")
    page.wait_for_url("**/records*")
    page.goto(f"{nation.url('portal')}/apply")
    page.locator("button[value=retirement]").click()
    page.wait_for_selector("form[action$='/choose']")
    for code in ("old-age-pension", "insurance-continued", "resident-tax-payment"):
        page.uncheck(f"input[value={code}]")
    page.locator("form[action$='/choose'] button").click()
    page.wait_for_selector("button[value=check]")
    assert page.input_value("[name='income-total@applicant']") == ""
    page.locator("section.notice a[href*='of=tax-union']").click()
    page.wait_for_selector("#ask:not([hidden])")
    sound(page)
    assert violations(page) == []
    page.locator("#ask button").click()
    page.wait_for_selector("#pin")
    page.fill("#pin", "1234")
    page.press("#pin", "Enter")
    page.wait_for_selector("#fill:not([hidden])", timeout=30_000)
    sound(page)
    assert violations(page) == []
    shot(page, "apply-fill")
    shown = page.inner_text("#fill")
    page.locator("#fill button").click()
    page.wait_for_selector("button[value=check]")
    income = page.input_value("[name='income-total@applicant']")
    assert f"{int(income):,}" in shown
    assert page.input_value("[name='full-name@applicant']") == ""
    sound(page)
    context.close()


@pytest.mark.parametrize("page", [("en", 320)], indirect=True, ids=["en-320"])
def test_a_notice_s_button_begins_what_it_asks_for(nation, page):
    by_card(nation, page)
    page.goto(f"{nation.url('portal')}/inbox")
    assert nation.http(CITY, "/letters", RENEWAL | {"local_id": nation.local_id(CITY)})[0] == 202
    reloaded(page, "Renewal of your care certification")
    page.locator("main .card a", has_text="Renewal").first.click()
    assert "31 January 2027" in page.inner_text("main")
    page.locator("main a.button").click()
    assert page.locator(".touch.chosen").get_attribute("value") == "care"
    sound(page)


@pytest.mark.parametrize("page", [("en", 1280)], indirect=True, ids=["en-1280"])
def test_with_the_keyboard_alone(nation, page):
    """From the start of the page to an application that is sent."""
    by_card(nation, page)
    page.goto(f"{nation.url('portal')}/apply")
    tab_to(page, "button[value=illness]")
    page.keyboard.press("Enter")
    page.wait_for_selector("form[action$='/choose']")
    for code in ("intractable-disease", "sickness-allowance"):
        tab_to(page, f"input[value={code}]")
        page.keyboard.press("Space")
    tab_to(page, "form[action$='/choose'] button")
    page.keyboard.press("Enter")
    page.wait_for_selector("button[value=check]")
    for name, text in (("full-name@applicant", "Hanako"), ("date-of-birth@applicant", "05141991"), ("sickness", "flu")):
        tab_to(page, f"[name='{name}']")
        page.keyboard.type(text)
    tab_to(page, "[name='since-when']")
    page.keyboard.type("11012026")
    tab_to(page, "button[value=check]")
    page.keyboard.press("Enter")
    page.wait_for_selector("section.card")
    tab_to(page, "main > form button")
    page.keyboard.press("Enter")
    page.wait_for_selector("ol.timeline")
    reloaded(page, "Received")


def test_axe_finds_nothing(nation, browser):
    for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
        context = browser.new_context(locale="en", bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.lang = "en"
        page.goto(f"{nation.url('portal')}/signin?lang=en")
        page.locator("summary").first.click()
        page.fill("#secret", nation.plan.personas[0].secret)
        page.press("#secret", "Enter")
        page.goto(f"{nation.url('portal')}/apply")
        assert violations(page, *rules) == []
        page.locator("button[value=disaster]").click()
        page.wait_for_selector("form[action$='/choose']")
        assert violations(page, *rules) == []
        page.select_option("select[name=place-home]", CITY)
        page.locator("form[action$='/choose'] button").click()
        page.wait_for_selector("form[action$='/form']")
        assert violations(page, *rules) == []
        page.locator("form[action$='/form']").evaluate("f => { f.noValidate = true }")
        page.locator("button[value=check]").click()
        page.wait_for_selector("[role=alert]")
        assert violations(page, *rules) == []
        filled(page)
        page.wait_for_selector("section.card")
        assert violations(page, *rules) == []
        page.locator("main > form button").click()
        page.wait_for_selector("ol.timeline")
        assert violations(page, *rules) == []
        page.locator("section a.button").first.click()
        page.wait_for_selector("pre")
        assert violations(page, *rules) == []
        assert nation.http(CITY, "/letters", RENEWAL | {"local_id": nation.local_id(CITY)})[0] == 202
        page.goto(f"{nation.url('portal')}/inbox")
        reloaded(page, "Renewal")
        assert violations(page, *rules) == []
        page.locator("main .card a").first.click()
        page.wait_for_selector("dl.facts")
        assert violations(page, *rules) == []
        clerk(nation, page, CITY)
        for address in ("/desk/applications?closed=yes", "/desk/notices?notice=care-renewal", "/desk/applications"):
            page.goto(nation.url(CITY) + address)
            assert violations(page, *rules) == [], address
        page.locator("tbody a").first.click()
        page.wait_for_selector("dl.facts")
        assert violations(page, *rules) == []
        context.close()
