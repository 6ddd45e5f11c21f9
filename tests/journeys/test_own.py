"""What they hold: chosen in the portal, signed for with the card, opened in the browser; and whoever is in between reads nothing."""

import json
import os
import re

import pytest
import sqlalchemy as sa

from renkei.institution.subjects import cards, subjects
from tests.attacks.spy import watch
from tests.browser import JOURNEY, sound, tab_to, violations
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = [*JOURNEY, NEEDS_TOKEN]
BODY, ITEM = "tax-union", "local-tax"


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("own") / "nation")
    yield running
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def reader(nation):
    with nation.reading(nation.card()) as address:
        yield address


@pytest.fixture(params=[("ja", 320), ("en", 1280)], ids=["ja-320", "en-1280"])
def page(request, browser):
    lang, width = request.param
    context = browser.new_context(locale=lang, viewport={"width": width, "height": 800}, bypass_csp=True)
    page = context.new_page()
    page.lang = lang
    yield page
    context.close()


def held(nation, column):
    """What the provider's own database has of the persona."""
    engine = sa.create_engine(f"sqlite:///{nation.folder / BODY / 'source.db'}")
    with engine.connect() as connection:
        who = {"who": nation.local_id(BODY)}
        query = sa.text(f"SELECT {column} FROM T_LOCAL_TAX WHERE ATENA_NO = :who")
        found = connection.execute(query, who).scalars().first()
    engine.dispose()
    return found


def answers_card(page):
    """The reader program's page: confirmed with the PIN; then on by itself."""
    page.wait_for_selector("#pin")
    page.fill("#pin", "1234")
    page.press("#pin", "Enter")


def signed_in(nation, page):
    page.goto(f"{nation.url('portal')}/signin?lang={page.lang}")
    page.locator("form[action$='/ask'] button").click()
    answers_card(page)
    page.wait_for_url("**/records*")
    portal = nation.world.institutions["portal"].database
    holder = sa.select(subjects).join(cards, cards.c.holder == subjects.c.local_id).where(subjects.c.code.is_not(None))
    until(lambda: portal.read_now(lambda c: c.execute(holder).first()))  # whose card it is must be known by then


def test_a_resident_reads_what_only_their_browser_can(nation, page):
    seen = watch(nation)
    signed_in(nation, page)
    page.goto(f"{nation.url('portal')}/own")
    sound(page)
    page.select_option("#body", BODY)
    page.locator("form[action='/own'] button").click()
    page.wait_for_selector("#ask:not([hidden])")
    sound(page)
    assert violations(page) == []
    page.check(f"input[value={ITEM}]")
    page.locator("#ask button").click()
    page.wait_for_selector("#pin")
    asked = page.inner_text("pre.document")
    assert asked.split()[::2] == [BODY, ITEM]
    answers_card(page)
    page.wait_for_selector(".answer dl", timeout=30_000)
    sound(page)
    assert violations(page) == []
    text = page.inner_text("#answers")
    income = held(nation, "INCOME_TOTAL")
    assert f"{income:,}" in text
    assert ("所得" if page.lang == "ja" else "ncome") in text
    if shots := os.environ.get("SHOTS"):
        page.screenshot(path=f"{shots}/own-{page.lang}.png", full_page=True)
    # the portal had it sealed; another look has no key for it any more
    carried = page.evaluate("fetch(location.pathname + '/answers').then(r => r.text())")
    assert "sealed" in carried
    assert str(income) not in carried
    page.reload()
    page.wait_for_function("[...document.querySelectorAll('.answer')].every(a => !a.textContent.includes('…'))")
    assert f"{income:,}" not in page.inner_text("#answers")
    assert not any(str(income).encode() in m.data for m in list(seen))
    page.goto(f"{nation.url('portal')}/records")
    word = "本人による自己情報の確認" if page.lang == "ja" else "A person looks at what is held about them"
    until(lambda: page.reload() and word in page.inner_text("main"))


def test_with_the_keyboard_alone(nation, browser):
    context = browser.new_context(locale="en", viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.lang = "en"
    signed_in(nation, page)
    page.goto(f"{nation.url('portal')}/own")
    tab_to(page, "#body")
    page.keyboard.type("En")  # Enishi local tax union, or another that begins so
    chosen = page.locator("#body").input_value()
    tab_to(page, "form[action='/own'] button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#ask:not([hidden])")
    assert page.locator("#ask [name=body]").input_value() == chosen != ""
    tab_to(page, "#ask input[name=item]")
    page.keyboard.press("Space")
    tab_to(page, "#ask button")
    page.keyboard.press("Enter")
    answers_card(page)
    page.wait_for_selector("#answers .answer", timeout=30_000)
    until(lambda: page.wait_for_timeout(100) or "…" not in page.inner_text("#answers"))
    context.close()


def test_without_the_card_nothing_is_asked(nation, page):
    """Given up at the reader program: no inquiry is made."""
    signed_in(nation, page)
    before = int(nation.http("hub", "/health", token="")[1]["log_size"])
    page.goto(f"{nation.url('portal')}/own?of={BODY}")
    page.wait_for_selector("#ask:not([hidden])")
    page.check(f"input[value={ITEM}]")
    page.locator("#ask button").click()
    page.wait_for_selector("#pin")
    page.locator("button[value=cancel]").click()
    page.wait_for_url("**/own*")
    page.wait_for_timeout(800)
    assert int(nation.http("hub", "/health", token="")[1]["log_size"]) == before


def test_nothing_chosen_is_told_kindly(nation, page):
    signed_in(nation, page)
    page.goto(f"{nation.url('portal')}/own?of={BODY}")
    page.wait_for_selector("#ask:not([hidden])")
    page.locator("#ask button").click()
    page.wait_for_selector("#problem:not([hidden])")
    assert ("選んで" if page.lang == "ja" else "Choose") in page.inner_text("#problem")
    assert json.loads(page.evaluate("JSON.stringify(navigator.userAgent.length > 0)"))
    assert re.search(r"/own\?of=", page.url)
