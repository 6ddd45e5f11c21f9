"""The first journeys in a real browser, in both languages, at phone and desktop width, without script; axe-core finds nothing."""

import os
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from renkei.gateway import subscription_store
from tests.browser import JOURNEY, sign_in, sound, tab_to, violations
from tests.world import Running, until

pytestmark = JOURNEY


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("journey") / "nation", residents=60)
    running.ask()
    running.ask(item="disability")
    for _ in range(2):  # the first report of an access leaves the other kind only
        running.ask(persona=2)
    until(lambda: int(running.http("portal", "/health", token="")[1]["records"]) >= 4)
    yield running
    running.stop()


def test_a_resident_sees_who_asked_and_that_it_is_genuine(nation, page):
    sign_in(page, nation.url("portal"), "#secret", nation.plan.personas[0].secret)
    sound(page)
    assert page.locator(".card").count() >= 2
    page.locator(".card a").last.click()
    sound(page)
    text = page.inner_text("main")
    assert ("74の項" if page.lang == "ja" else "row 74") in text
    assert ("はい。" if page.lang == "ja" else "Yes.") in text
    with page.expect_download() as download:
        page.locator("a[download]").click()
    assert Path(download.value.path()).read_text().startswith("c2sp.org/tlog-proof@v1")


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_browser_itself_verifies_the_proof_and_notices_a_wrong_one(nation, browser, lang):
    """WebCrypto against the two public keys; then with one bit of the file, of the leaf, or of a key changed on the way."""
    context = browser.new_context(locale=lang)
    page = context.new_page()
    page.lang = lang
    sign_in(page, nation.url("portal"), "#secret", nation.plan.personas[0].secret)
    page.wait_for_url("**/records*")
    page.goto(nation.url("portal") + page.locator(".card a").first.get_attribute("href"))

    def verdict():
        page.locator("#check").click()
        page.wait_for_selector("#proof:not([hidden])")
        page.wait_for_selector("#check:not([disabled])")
        return page.locator("#proof").get_attribute("class"), page.inner_text("#proof")

    kind, text = verdict()
    assert (kind, page.locator("#proof .hash").count()) == ("notice", 2), text
    sound(page)

    def flipped(at):
        def change(route):
            answer = route.fetch()
            lines, headers = answer.text().split("\n"), dict(answer.headers)
            if at == "leaf":
                headers["renkei-leaf"] = b64encode(bytes(32)).decode()
            else:
                raw = bytearray(b64decode(lines[at].split(" ")[-1]))
                raw[-1] ^= 1
                lines[at] = " ".join([*lines[at].split(" ")[:-1], b64encode(raw).decode()])
            route.fulfill(status=200, headers=headers, body="\n".join(lines))

        return change

    length = len(
        page.evaluate(f"fetch('/records/{page.url.rpartition('/')[2]}/proof').then(r => r.text())").split("\n")
    )
    signatures = length - 3, length - 2
    for at in (1, 3, *signatures, "leaf"):
        page.route("**/proof", flipped(at))
        kind, text = verdict()
        assert kind == "notice bad", (at, text)
        page.unroute("**/proof")
    page.evaluate("document.getElementById('proof').dataset.keys = 'x'")
    page.reload()
    assert verdict()[0] == "notice"
    context.close()


@pytest.mark.parametrize("width", [320, 1280])
def test_a_resident_does_all_of_it_with_the_keyboard(nation, browser, width):
    """Signs in, searches, opens an access, has it verified, tells the commission, ends other sessions, signs out."""
    context = browser.new_context(locale="en", viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto(f"{nation.url('portal')}/signin?lang=en")
    tab_to(page, "#secret")
    page.keyboard.type(nation.plan.personas[2].secret)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    tab_to(page, "summary")
    page.keyboard.press("Enter")
    tab_to(page, "#q")
    page.keyboard.type("tax")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    tab_to(page, ".card a")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_selector("#check:not([hidden])")
    tab_to(page, "#check")
    page.keyboard.press("Enter")
    page.wait_for_selector("#proof:not([hidden])")
    assert page.locator("#proof").get_attribute("class") == "notice"
    tab_to(page, "input[type=radio]")
    page.keyboard.press("Space")
    tab_to(page, "textarea")
    page.keyboard.type("I was not there.")
    tab_to(page, "form[action$='/report'] button")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.wait_for_selector("p[role=status]")
    page.keyboard.press("Home")
    tab_to(page, "a[href='/account']")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    tab_to(page, "form[action='/account/sessions/end'] button")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    tab_to(page, "form[action='/signout'] button")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    context.close()


def test_a_clerk_asks_and_reads_the_answer(nation, page):
    sign_in(page, nation.url("ohashi-city"), "#token", nation.plan.place("ohashi-city").token)
    sound(page)
    page.goto(nation.url("ohashi-city") + "/desk/new")
    page.select_option("#affair", "child-allowance")
    page.locator("form[method=get] button").click()
    sound(page)
    page.select_option("#what", "local-tax@tax-union")
    page.fill("#local_id", nation.local_id("ohashi-city"))
    page.fill("#case", "<script>alert(1)</script>")
    page.locator('form[action="/desk/new"][method=post] button').click()
    sound(page)
    assert page.locator("dl.facts").count() >= 2
    assert "<script>alert(1)</script>" in page.inner_text("main")


def test_a_clerk_is_told_of_a_change_and_asks_again(nation, page):
    """Asked with the box ticked; told; asked again from the notice; ended. The resident sees each of these."""
    city, persona = nation.url("ohashi-city"), 1
    sign_in(page, city, "#token", nation.plan.place("ohashi-city").token)
    page.goto(city + "/desk/new?affair=child-allowance")
    page.select_option("#what", "local-tax@tax-union")
    page.fill("#local_id", nation.local_id("ohashi-city", persona))
    page.check("#changes")
    page.locator('form[action="/desk/new"][method=post] button').click()
    sound(page)
    assert page.locator("button[value=end]").count() == 1
    tell_of_changes(nation)
    page.goto(city + "/desk")
    page.locator('main a[href="/desk/changes"]').click()
    sound(page)
    if shots := os.environ.get("SHOTS"):
        page.screenshot(path=f"{shots}/changes-{page.lang}-{page.viewport_size['width']}.png", full_page=True)
    page.locator("button[value=ask]").click()
    page.wait_for_url("**/desk/inquiries/*")
    sound(page)
    assert page.locator("dl.facts").count() >= 2
    page.goto(city + "/desk/changes")
    assert page.locator("button[value=ask]").count() == 0
    page.locator("button[value=end]").click()
    sound(page)
    assert page.locator("button[value=end]").count() == 0
    sign_in(page, nation.url("portal"), "#secret", nation.plan.personas[persona].secret)
    page.wait_for_url("**/records*")
    until(lambda: page.goto(nation.url("portal") + "/records") and page.locator(".card").count() % 3 == 0)
    sound(page)
    word = "変更を" if page.lang == "ja" else "of a change"
    page.locator(".card a", has_text=word).first.click()
    sound(page)
    assert page.locator("input[value=paper]").count() == 0
    if shots:
        page.screenshot(path=f"{shots}/told-{page.lang}-{page.viewport_size['width']}.png", full_page=True)


def tell_of_changes(nation):
    """The provider's answer is another than its subscribers had: it looks, and tells them."""
    provider = nation.world.institutions["tax-union"]
    other = subscription_store.subscribers.update().values(digest=bytes(32))
    nation.do(provider.database.write(lambda c: c.execute(other)))
    assert nation.do(provider.subscribers.check()) == 1
    until(lambda: nation.http("ohashi-city", "/changes")[1])


def test_a_number_is_taken_called_and_shown(nation, page):
    """The page that gives numbers, the clerk's call, the screen: with a keyboard alone."""
    city = nation.url("ohashi-city")
    page.goto(f"{city}/queue/ticket?lang={page.lang}")
    sound(page)
    page.locator("button[value=birth]").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**number=*")
    sound(page)
    number = page.locator("p.ticket").inner_text()
    if shots := os.environ.get("SHOTS"):
        page.screenshot(path=f"{shots}/ticket-{page.lang}-{page.viewport_size['width']}.png", full_page=True)
    sign_in(page, city, "#token", nation.plan.place("ohashi-city").token)
    page.goto(city + "/desk/counter")
    sound(page)
    page.fill("#place", "3番窓口")
    page.keyboard.press("Enter")
    page.wait_for_load_state()
    assert number in page.locator("[role=status]").first.inner_text()
    assert page.input_value("#event") == "birth"
    sound(page)
    page.goto(city + "/queue")
    sound(page)
    assert page.locator(".calls li").first.inner_text().split()[0] == number
    assert "3番窓口" in page.inner_text(".calls")
    if shots:
        page.screenshot(path=f"{shots}/queue-{page.lang}-{page.viewport_size['width']}.png", full_page=True)


def test_a_wrong_secret_is_told_kindly(nation, page):
    sign_in(page, nation.url("portal"), "#secret", "wrong")
    assert page.locator("[role=alert]").count() == 1
    sign_in(page, nation.url("ohashi-city"), "#token", "wrong")
    assert page.locator("[role=alert]").count() == 1


def test_accessibility_of_every_page(nation, browser):
    """axe-core, in light and dark, with the page's own policy set aside for the checker alone."""
    for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
        context = browser.new_context(locale="en", bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.lang = "en"
        sign_in(page, nation.url("portal"), "#secret", nation.plan.personas[0].secret)
        record = page.locator(".card a").first.get_attribute("href")
        city = nation.url("ohashi-city")
        sign_in(page, city, "#token", nation.plan.place("ohashi-city").token)
        inquiry = page.locator("table a").first.get_attribute("href")
        portal = nation.url("portal")
        addresses = [
            f"{portal}/records?q=tax&refused=yes",
            f"{portal}/signin",
            f"{portal}/records",
            portal + record,
            f"{portal}/nothing",
            f"{portal}/proxies",
            f"{portal}/inbox",
            f"{portal}/apply",
        ]
        addresses += [
            f"{city}/signin",
            f"{city}/desk",
            f"{city}/desk/new?affair=child-allowance",
            f"{city}/desk/held",
            f"{city}/desk/changes",
            f"{city}/desk/counter",
            f"{city}/queue",
            f"{city}/queue/ticket",
            city + inquiry,
        ]
        for address in addresses:
            page.goto(address)
            assert violations(page, *rules) == [], (scheme, address)
        context.close()


def test_the_reference_fits_the_screen(nation, page):
    """Engineers read it on phones too."""
    page.goto(nation.url("ohashi-city") + "/schema")
    assert page.locator("h1").count() == 1
    assert page.locator("section").count() > 20
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
