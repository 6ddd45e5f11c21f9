"""A private site: a resident opens an account with their card, and the bank learns what they signed and nothing else."""

import urllib.error
import urllib.request

import pytest

from tests.browser import JOURNEY, sound, violations
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = [*JOURNEY, NEEDS_TOKEN]


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("bank") / "nation")
    until(lambda: urllib.request.urlopen(running.plan.bank).status == 200)
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
