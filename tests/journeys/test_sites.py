"""Other sites. A bank: a resident opens an account with their card, and it learns what they signed and nothing else. The city's hall: a
resident books rooms, and is known by a name that no other site can compare."""

import sqlite3
import urllib.error
import urllib.request

import pytest

from tests.browser import JOURNEY, sound, tab_to, violations
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = [*JOURNEY, NEEDS_TOKEN]


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("sites") / "nation")
    until(lambda: urllib.request.urlopen(running.plan.bank).status == 200)
    until(lambda: urllib.request.urlopen(running.plan.hall).status == 200)
    yield running
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def reader(nation):
    with nation.reading(nation.card()) as address:
        yield address


def goes_on(page, script):
    for _ in range(0 if script else 2):
        page.locator("#continue button").click()


def to_application(nation, page, *, script=False):
    """From the bank's front page over the portal to its form."""
    page.goto(f"{nation.plan.bank}/?lang={page.lang}")
    sound(page)
    page.locator("form[action='/open'] button").click()
    page.locator("a.button").click()
    site = "えにし銀行" if page.lang == "ja" else "Enishi Bank"
    assert page.locator("input[name=kind], dl.facts").count() or site in page.inner_text("h1")
    if page.locator("form[action$='/ask']").count():
        page.locator("form[action$='/ask'] button").click()
        page.fill("#pin", "1234")
        page.press("#pin", "Enter")
        goes_on(page, script)
    page.wait_for_selector("button[value=agree], input[name=kind], form[action='/account/check']", timeout=20_000)
    if page.locator("button[value=agree]").count():
        sound(page)
        page.locator("button[value=agree]").click()
    page.wait_for_selector("input[name=kind], form[action='/account/check']")


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_an_account_is_opened_and_the_address_is_asked_about(nation, page):
    """The first opens it; who comes again is known again."""
    to_application(nation, page)
    if page.locator("input[name=kind]").count():
        sound(page)
        page.locator("form[action='/apply'] button").click()
        sound(page)
        assert "renkei-consent/1" in page.inner_text("pre")
        assert ("記載の日まで" if page.lang == "ja" else "until the day it names") in page.inner_text(
            "main p:has(+ pre)"
        )
        hidden = page.locator("pre").evaluate("text => text.scrollHeight - text.clientHeight")
        assert page.viewport_size["width"] > 544 or hidden <= 0
        page.locator("form[action$='/ask'] button").click()
        page.fill("#pin", "ABC123")
        page.press("#pin", "Enter")
        goes_on(page, script=False)
        page.wait_for_selector("form[action='/account/check']")
    sound(page)
    assert "大橋 花子" in page.inner_text("main")
    page.locator("form[action='/account/check'] button").click()
    assert ("変わっていません" if page.lang == "ja" else "still as you signed") in page.inner_text("[role=status]")


def test_with_script_too_and_axe_finds_nothing(nation, browser):
    context = browser.new_context(locale="en", bypass_csp=True)
    page = context.new_page()
    page.lang = "en"
    page.goto(nation.plan.bank)
    assert violations(page) == []
    to_application(nation, page, script=True)
    assert violations(page) == []
    context.close()


def test_the_bank_knows_no_number_and_no_code(nation):
    """In all that it keeps."""
    kept = b"".join(p.read_bytes() for p in (nation.folder / "sites").iterdir() if p.is_file())
    code = nation.code("portal").code
    for secret in (nation.number().encode(), nation.local_id("portal").encode(), code, code.hex().encode()):
        assert secret not in kept


# ------------------------------------------------------------------ the city's hall


def to_rooms(nation, page, persona=0, checked=lambda _: None):
    """From the hall's front page over the portal and back."""
    sign_in_by_code(nation, page, persona)
    page.goto(f"{nation.plan.hall}/?lang={page.lang}")
    sound(page)
    checked(page)
    page.locator("form[action='/open'] button").click()
    sound(page)
    checked(page)
    page.locator("a.button").click()
    if page.locator("button[value=agree]").count():
        sound(page)
        checked(page)
        assert ("大橋市民ホール" if page.lang == "ja" else "Ohashi City Hall Rooms") in page.inner_text("h1")
        page.locator("button[value=agree]").click()
    page.wait_for_url("**/rooms")
    sound(page)


def sign_in_by_code(nation, page, persona):
    page.goto(f"{nation.url('portal')}/signin?lang={page.lang}")
    page.locator("summary").first.click()
    page.fill("#secret", nation.plan.personas[persona].secret)
    page.press("#secret", "Enter")
    page.wait_for_url("**/records*")


def names(nation):
    """By what the hall knows who booked."""
    with sqlite3.connect(nation.folder / "sites" / "rooms.db") as rooms:
        return {sub for (sub,) in rooms.execute("SELECT sub FROM bookings")}


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_a_resident_books_a_few_rooms_and_gives_them_back(nation, page):
    to_rooms(nation, page)
    for _ in range(3):
        page.locator("form[action='/rooms'] button").click()
        sound(page)
        if page.locator("[role=alert]").count():  # that day is taken: the next room
            page.select_option("#room", index=1)
            continue
        page.select_option("#day", index=page.locator("li.card").count()) if page.locator("#day").count() else None
    assert page.locator("li.card").count() >= 1
    assert len(names(nation)) == 1
    while page.locator("form[action='/rooms/back'] button").count():
        page.locator("form[action='/rooms/back'] button").first.click()
        sound(page)
    assert names(nation) == set()
    page.goto(f"{nation.url('portal')}/sites")
    sound(page)
    assert ("大橋市民ホール" if page.lang == "ja" else "Ohashi City Hall Rooms") in page.inner_text("main")


def test_two_residents_are_two_and_the_hall_knows_neither(nation, opened):
    for persona in (0, 1):
        page = opened("en", 1280)
        to_rooms(nation, page, persona)
        page.locator("form[action='/rooms'] button").click()
        if page.locator("[role=alert]").count():  # who came first has it
            assert "Somebody has booked this room" in page.inner_text("[role=alert]")
            page.select_option("#room", index=1)
            page.locator("form[action='/rooms'] button").click()
        assert page.locator("li.card").count() == 1
    assert len(names(nation)) == 2
    kept = b"".join(p.read_bytes() for p in (nation.folder / "sites").glob("rooms.db*"))
    for secret in (nation.number(), nation.local_id("portal"), nation.local_id("portal", 1), "花子", "健二"):
        assert secret.encode() not in kept


def test_rooms_are_booked_with_the_keyboard_alone(nation, opened):
    page = opened("en", 1280)
    sign_in_by_code(nation, page, 2)
    page.goto(nation.plan.hall)
    for selector in ("form[action='/open'] button", "a.button", "button[value=agree]"):
        page.wait_for_selector(selector)
        tab_to(page, selector)
        page.keyboard.press("Enter")
    page.wait_for_url("**/rooms")
    tab_to(page, "#room")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    tab_to(page, "form[action='/rooms'] button")
    page.keyboard.press("Enter")
    page.wait_for_selector("li.card")


def test_axe_finds_nothing_on_the_way_to_the_rooms(nation, browser):
    for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
        context = browser.new_context(locale="en", bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.lang = "en"

        def none(page, rules=rules):
            assert violations(page, *rules) == []

        to_rooms(nation, page, 2, none)
        none(page)
        page.goto(f"{nation.url('portal')}/sites")
        none(page)
        page.locator("form[action^='/sites/'] button").first.click()  # to be asked again in the other scheme
        none(page)
        page.goto(f"{nation.url('portal')}/oidc/logout")
        none(page)
        context.close()
