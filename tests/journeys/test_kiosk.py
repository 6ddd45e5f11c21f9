"""At a kiosk: come by card, touch a certificate, take it; and anybody verifies the paper in their own browser."""

import re
from pathlib import Path

import pytest

from tests.browser import JOURNEY, sound, violations
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.service.gateway.test_documents import CITY, NEEDS_QR, code_of

pytestmark = [*JOURNEY, NEEDS_TOKEN]


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("kiosk") / "nation")
    yield running
    running.stop()


@pytest.fixture(scope="module", autouse=True)
def reader(nation):
    with nation.reading(nation.card()) as address:
        yield address


def to_list(nation, page, *, script=False):
    page.goto(f"{nation.url(CITY)}/documents?lang={page.lang}")
    sound(page)
    page.locator("button.touch").click()
    page.fill("#pin", "1234")
    page.press("#pin", "Enter")
    for _ in range(0 if script else 2):
        page.locator("#continue button").click()
    page.wait_for_selector(".touches", timeout=20_000)
    sound(page)


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_a_resident_takes_a_certificate_and_leaves(nation, page):
    to_list(nation, page)
    assert ("徴収しません" if page.lang == "ja" else "nothing is charged") in page.inner_text("main")
    with page.expect_download() as download:
        page.locator(".touches button").first.click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF-")
    assert re.fullmatch(r"resident-record-copy-\d{4}-[0-9a-f]{10}\.pdf", download.value.suggested_filename)
    sound(page)
    assert ("証明書ができました" if page.lang == "ja" else "certificate is made") in page.inner_text("h1")
    page.locator("main a[href='/documents']").click()
    page.wait_for_selector("button:has-text('住民票')" if page.lang == "ja" else "button:has-text('residence')")
    with page.expect_download():
        page.locator(".touches button").first.click()
    page.locator(".touches button").click()
    page.wait_for_selector("form[action$='/ask']")


@pytest.fixture(scope="module")
def address(nation, browser, tmp_path_factory):
    """What a camera reads off a paper copy."""
    context = browser.new_context(locale="ja", java_script_enabled=False)
    page = context.new_page()
    page.lang = "ja"
    to_list(nation, page)
    folder = tmp_path_factory.mktemp("paper")
    with page.expect_download() as download:
        page.locator(".touches button").first.click()
    download.value.save_as(folder / "made.pdf")
    context.close()
    return code_of(folder / "made.pdf", folder)


def verdict(page, address):
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("#content table, #verdict.bad")
    return page.inner_text("#verdict"), page.inner_text("#content")


@NEEDS_QR
@pytest.mark.parametrize(("lang", "width"), [("ja", 320), ("en", 1280)])
def test_the_paper_is_verified_in_the_browser_and_nobody_learns_what(browser, address, lang, width):
    """What is printed is shown; whoever altered it is found out; nothing of it is in any request."""
    context = browser.new_context(viewport={"width": width, "height": 800}, locale=lang)
    page, sent = context.new_page(), []
    page.lang = lang
    page.on("request", lambda r: sent.append(r.url + (r.post_data or "")))
    said, content = verdict(page, address)
    assert ("真正です" if lang == "ja" else "Genuine.") in said
    assert "大橋 花子" in content
    assert "1991年5月14日" in content
    sound(page)
    signed = address.partition("#")[2]
    assert not [url for url in sent if signed[:40] in url.partition("#")[0] or signed in url.partition("#")[0]]
    header, payload, signature = signed.split(".")
    base = address.partition("#")[0]
    for altered in (
        f"{header}.{payload[:-6]}AAAAAA.{signature}",
        f"{header}.{payload}.{signature[:-6]}AAAAAA",
        f"{header[:-6]}AAAAAA.{payload}.{signature}",
        f"{header}.{payload}",
        "x.y.z",
        "<script>alert(1)</script>",
    ):
        said, content = verdict(page, f"{base}#{altered}")
        assert ("真正ではありません" if lang == "ja" else "Not genuine") in said
        assert content == ""
    context.close()


@NEEDS_QR
def test_another_s_key_proves_nothing(nation, browser, address):
    """What another body sealed is not the city's: the key is the site's own."""
    context = browser.new_context(locale="en")
    page = context.new_page()
    page.lang = "en"
    other = nation.url("tax-union")
    said, _ = verdict(page, f"{other}/verify#{address.partition('#')[2]}")
    assert "Not genuine" in said
    context.close()


@NEEDS_QR
def test_axe_finds_nothing(nation, browser, address):
    for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
        context = browser.new_context(locale="en", bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.lang = "en"
        page.goto(f"{nation.url(CITY)}/documents?lang=en")
        assert violations(page, *rules) == []
        to_list(nation, page, script=True)
        assert violations(page, *rules) == []
        with page.expect_download():
            page.locator(".touches button").first.click()
        assert violations(page, *rules) == []
        verdict(page, address)
        assert violations(page, *rules) == []
        context.close()
