"""With a card, in a real browser: to the reader program and back, with script and without, by mouse and by keyboard alone."""

import base64

import pytest

from tests.browser import JOURNEY, VIEWS, sound, violations
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN

pytestmark = [*JOURNEY, NEEDS_TOKEN]


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("carded") / "nation")
    running.ask()
    yield running
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def reader(nation):
    with nation.reading(nation.card()) as address:
        yield address


def to_reader(nation, page):
    page.goto(f"{nation.url('portal')}/signin?lang={page.lang}")
    sound(page)
    page.locator("form[action$='/ask'] button").click()
    page.wait_for_selector("#pin")
    sound(page)


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_a_resident_signs_in_without_script(nation, page):
    """Four pages: the portal's, who asks and the PIN, two buttons to go on; what is shown is the resident's own."""
    to_reader(nation, page)
    assert nation.url("portal") in page.inner_text("main")
    page.fill("#pin", "1234")
    page.press("#pin", "Enter")
    for _ in range(2):
        page.wait_for_selector("#continue button")
        sound(page)
        page.locator("#continue button").click()
    page.wait_for_selector(".card", timeout=20_000)
    sound(page)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_with_script_nothing_is_pressed_after_the_pin(nation, browser, lang):
    """By keyboard alone: the way to the button, four digits, Enter."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale=lang)
    page = context.new_page()
    page.lang = lang
    failures = []
    page.on("console", lambda m: failures.append(m.text) if m.type == "error" else None)
    page.goto(f"{nation.url('portal')}/signin?lang={lang}")
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('form')?.action.endsWith('/ask') ?? false"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#pin:focus")
    page.keyboard.type("1234")
    page.keyboard.press("Enter")
    page.wait_for_selector(".card", timeout=20_000)
    assert page.url.startswith(nation.url("portal") + "/records")
    assert failures == []
    context.close()


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_a_wrong_pin_is_told_kindly_and_can_be_left(nation, page):
    to_reader(nation, page)
    page.fill("#pin", "9999")
    page.press("#pin", "Enter")
    page.wait_for_selector("[role=alert]")
    assert ("残り2回" if page.lang == "ja" else "2 tries are left") in page.inner_text("[role=alert]")
    sound(page)
    page.fill("#pin", "1234")
    page.press("#pin", "Enter")
    page.wait_for_selector("#continue")
    to_reader(nation, page)
    page.locator("button[value=cancel]").click()
    page.locator("#continue button").click()
    page.wait_for_selector("form[action$='/ask']")
    assert page.url.startswith(nation.url("portal") + "/signin")


SIGN = """<!doctype html><html lang="en"><title>Shop</title><meta name="referrer" content="origin"><main><h1>Shop</h1>
<form method="post" action="{reader}/ask"><input type="hidden" name="kind" value="signature"><input type="hidden" name="back" value="/in">
<input type="hidden" name="title" value="Lease of a flat"><input type="hidden" name="document" value="{document}">
<button>Sign</button></form></main>"""
TEXT = "I rent the flat at Ohashi 1-2-3 from 1 December 2026 for 80,000 yen a month.\n" * 12


def to_signature(page, reader):
    body = SIGN.format(reader=reader, document=base64.b64encode(TEXT.encode()).decode())
    page.route("https://shop.example/**", lambda r: r.fulfill(body=body, content_type="text/html"))
    page.goto("https://shop.example/")
    page.locator("button").click()
    page.wait_for_selector("#pin")


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_what_is_signed_is_read_first(page, reader):
    """Another site's document, as text; the PIN is that of signatures."""
    to_signature(page, reader)
    text = page.inner_text("main")
    assert "https://shop.example" in text
    assert "80,000 yen" in text
    page.fill("#pin", "abc123")
    page.press("#pin", "Enter")
    page.wait_for_selector("#continue input[name=signature]", state="attached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(nation, browser, reader, scheme):
    context = browser.new_context(locale="en", bypass_csp=True, color_scheme=scheme, java_script_enabled=True)
    page = context.new_page()
    page.lang = "en"
    page.goto(reader)
    assert violations(page) == []
    page.goto(nation.url("portal") + "/signin?lang=en")
    assert violations(page) == []
    to_reader(nation, page)
    page.fill("#pin", "9999")
    page.press("#pin", "Enter")
    page.wait_for_selector("[role=alert]")
    assert violations(page) == []
    page.fill("#pin", "1234")  # so that none is left wrong
    page.press("#pin", "Enter")
    page.wait_for_selector(".card", timeout=20_000)
    to_signature(page, reader)
    assert violations(page) == []
    context.close()


def test_every_page_of_the_program_fits(nation, browser, reader):
    for lang, width in VIEWS:
        context = browser.new_context(viewport={"width": width, "height": 800}, locale=lang, java_script_enabled=False)
        page = context.new_page()
        page.lang = lang
        page.goto(reader)
        sound(page)
        to_signature(page, reader)
        sound(page)
        context.close()
