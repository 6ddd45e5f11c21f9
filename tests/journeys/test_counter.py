"""The life of a card, from the form to its end, as clerks and residents live it: in a browser, at the authorities' counter."""

import base64
import re
from pathlib import Path

import pytest
from cryptography import x509

from renkei.card.client import AUTHENTICATION, SIGNATURE, CardClient
from renkei.card.virtual import CardFile
from renkei.institution.relying import attributes_of
from tests.browser import JOURNEY, sound, violations
from tests.cards import Carded, Resident
from tests.console import Browser
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

cv2 = pytest.importorskip("cv2")
pytestmark = [*JOURNEY, NEEDS_TOKEN]
PHOTOS = Path(__file__).parent.parent / "photos"
CITY = "ohashi-city"


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("counter") / "nation")
    yield running
    running.stop()


def enter(nation, page, body=CITY):
    page.goto(f"{nation.plan.certification}/counter/signin?lang={page.lang}")
    page.fill("#token", nation.plan.place(body).token)
    page.press("#token", "Enter")
    page.wait_for_selector("#wanted")


def invite(nation, page, persona=0, name="新田 一", birth="1985-02-03"):
    """A form for somebody; its code."""
    page.goto(f"{nation.plan.certification}/counter/new")
    sound(page)
    for field, value in (
        ("name", name),
        ("address", "縁県大橋市本町1丁目1番1号"),
        ("birth", birth),
        ("number", nation.number(persona)),
    ):
        page.fill(f"#{field}", value)
    page.locator("main form button").click()
    page.wait_for_selector("#photo")
    sound(page)
    return page.url.rpartition("/")[2]


def at_home(nation, browser, code, photo="good"):
    """The resident applies with the code; what the page says."""
    context = browser.new_context(viewport={"width": 390, "height": 800}, locale="ja")
    page = context.new_page()
    page.lang = "ja"
    page.goto(f"{nation.plan.certification}/apply")
    sound(page)
    page.fill("#code", code.lower())
    page.set_input_files("#photo", PHOTOS / f"{photo}.jpg")
    page.locator("main form button").click()
    said = page.inner_text("main")
    sound(page)
    context.close()
    return said


def made(nation, page, code):
    """All that was applied for is made."""
    page.goto(f"{nation.plan.certification}/counter")
    page.locator("form[action='/counter/produce'] button").click()
    address = f"{nation.plan.certification}/counter/{code}"
    until(lambda: page.goto(address) and page.locator("form[action$='/hand-over']").count(), 60)


def hand_over(page, *documents, pins=("4321", "XYZ789", "1357")):
    for document in documents:
        page.check(f"input[value='{document}']")
    for field, pin in zip(("authentication", "signature", "printed"), pins, strict=True):
        page.fill(f"#{field}", pin)
    page.locator("form[action$='/hand-over'] button").click()


def card_of(nation, page):
    serial = re.search(r"EN\d{10}", page.inner_text("main"))[0]
    return nation.folder / "certification" / "cards" / f"{serial}.json"


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_from_the_form_to_the_portal_and_to_the_end(nation, browser, page):
    """Applied for at home, made, announced, handed over on one visit, used at the portal; lost by telephone, found, and returned."""
    enter(nation, page)
    code = invite(nation, page)
    assert "無地" in at_home(nation, browser, code, "busy")
    assert "受け付けました" in at_home(nation, browser, code)
    made(nation, page, code)
    sound(page)
    page.locator("form[action$='/announce'] button").click()
    page.wait_for_selector("a[href$='letter.pdf']")
    for name, kind in (
        ("letter.pdf", b"%PDF-"),
        ("faces.pdf", b"%PDF-"),
        ("front.svg", b"<svg"),
        ("back.svg", b"<svg"),
    ):
        content = page.request.get(f"{page.url}/{name}").body()
        assert content.startswith(kind)
        shown = nation.number().encode() in content.replace(b" ", b"")
        assert shown is (name == "back.svg")
    page.reload()
    hand_over(page, "health-insurance")
    assert page.locator("[role=alert]").count() == 1
    hand_over(page, "health-insurance", "pension-book")
    page.wait_for_selector("form[action$='/suspend']")
    sound(page)
    assert nation.number() not in page.content()
    assert "新田" not in page.content()
    card = card_of(nation, page)
    with nation.reading(card, elsewhere=True) as reader:
        resident = Resident(nation)
        assert resident.signs_in(reader, "4321")[0] == 200
        assert until(lambda: resident.get("/records")[0] == 200)
        page.locator("form[action$='/suspend'] button").click()
        page.wait_for_selector("form[action$='/release']")
        assert "suspended" in Resident(nation).signs_in(reader, "4321")[1]
        page.locator("form[action$='/release'] button").click()
        page.wait_for_selector("form[action$='/suspend']")
        assert Resident(nation).signs_in(reader, "4321")[0] == 200
        page.select_option("#why", "returned")
        page.locator("form[action$='/end'] button").click()
        page.wait_for_selector(".state.bad")
        assert "revoked" in Resident(nation).signs_in(reader, "4321")[1]


def test_who_moves_has_it_written_on_the_card(nation, browser):
    """The signature certificate is anew and the old one revoked; the authentication certificate stays."""
    context = browser.new_context(locale="en", java_script_enabled=False)
    page = context.new_page()
    page.lang = "en"
    enter(nation, page)
    code = invite(nation, page, 1)
    at_home(nation, browser, code)
    made(nation, page, code)
    hand_over(page, "passport")
    page.wait_for_selector("#address")
    card = CardClient(CardFile(card_of(nation, page)).chip().transmit)
    before = card.certificate(AUTHENTICATION), card.certificate(SIGNATURE, "XYZ789")
    for pin in ("WRONG1", "XYZ789"):
        page.fill("#address", "縁県霧山町中央2番2号")
        page.fill("#pin", pin)
        page.locator("form[action$='/rewrite'] button").click()
    card = CardClient(CardFile(card_of(nation, page)).chip().transmit)
    after = card.certificate(AUTHENTICATION), card.certificate(SIGNATURE, "XYZ789")
    assert before[0] == after[0]
    assert before[1] != after[1]
    rules = nation.world.institutions["portal"].member.pack.header.cards
    told = attributes_of(rules, x509.load_der_x509_certificate(after[1]))
    assert (told.name, told.address) == ("新田 一", "縁県霧山町中央2番2号")
    crl = x509.load_der_x509_crl(nation.authorities("/signature.crl"))
    assert crl.get_revoked_certificate_by_serial_number(x509.load_der_x509_certificate(before[1]).serial_number)
    context.close()


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_a_posted_form_is_taken_in_and_told_apart(nation, page):
    """From those that were applied for at home or at the counter: in the list, in what was done, and in the count."""
    enter(nation, page)
    code = invite(nation, page, 2)
    page.set_input_files("#photo", PHOTOS / "good.jpg")
    page.select_option("#channel", "post")
    page.locator("form[action$='/photo'] button").click()
    page.wait_for_selector("img")
    sound(page)
    by_post = "郵送" if page.lang == "ja" else "by post"
    assert f"({by_post})" in page.inner_text("main ol")
    page.goto(f"{nation.plan.certification}/counter")
    sound(page)
    assert by_post in page.inner_text(f"tr:has-text('{code}')")
    assert re.search(rf"{by_post} \d", page.inner_text("main p.small"))


@pytest.mark.parametrize("page", [("en", 1280)], indirect=True, ids=["en-1280"])
def test_each_office_sees_its_own_and_each_duty_its_part(nation, page):
    enter(nation, page)
    code = invite(nation, page, 2)
    town = Browser(nation.plan.certification)
    assert town.form("/counter/signin", token=nation.plan.place("kiriyama-town").token)[0] == 200
    for path in (f"/counter/{code}", f"/counter/{code}/photo.jpg", f"/counter/{code}/letter.pdf"):
        assert town.get(path)[0] == 404
    for act in ("suspend", "release", "end", "rewrite", "hand-over"):
        assert town.form("/counter", f"/counter/{code}/{act}", reason="lost")[0] == 404
    assert code not in town.get("/counter")[1]
    assert town.form("/counter", "/counter/find", wanted=code)[0] == 404
    nobody = Browser(nation.plan.certification)
    for path in ("/counter", f"/counter/{code}", "/counter/new"):
        assert nobody.get(path)[0] == 401
    assert nobody.form("/counter/signin", token="guess")[0] == 403


def test_bad_input_is_told_kindly_and_keeps_what_was_typed(nation):
    clerk = Browser(nation.plan.certification)
    clerk.form("/counter/signin", token=nation.plan.place(CITY).token)
    good = {
        "name": "新田 一",
        "address": "大橋市",
        "birth": "1985-02-03",
        "sex": "1",
        "number": nation.number(),
        "cause": "first",
    }
    for wrong in (
        {"number": "123"},
        {"birth": "yesterday"},
        {"birth": "2985-01-01"},
        {"sex": "7"},
        {"name": ""},
        {"name": "a\x00b"},
        {"cause": "wish"},
    ):
        status, page = clerk.form("/counter/new", **{**good, **wrong})
        assert (status, 'role="alert"' in page, "大橋市" in page) == (400, True, True), wrong
        assert nation.number() not in page
    assert clerk.get("/counter/NOSUCHCODE12")[0] == 404
    resident = Browser(nation.plan.certification)
    assert resident.get("/apply")[0] == 200


@pytest.mark.parametrize("page", [("en", 1280)], indirect=True, ids=["en-1280"])
def test_nothing_personal_is_kept_in_the_clear(nation, browser, page):
    """Neither number nor name nor photograph, while an application waits; and no key to them after the hand-over."""
    enter(nation, page)
    code = invite(nation, page, 2, name="秘密 見代")
    at_home(nation, browser, code)
    home = nation.folder / "certification"
    kept = b"".join(p.read_bytes() for p in home.glob("certificates.db*"))
    for secret in (nation.number(2).encode(), "秘密 見代".encode(), b"\xff\xd8\xff"):
        assert secret not in kept
    assert base64.b64encode(nation.number(2).encode()) not in kept


def test_axe_finds_nothing(nation, browser):
    for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
        context = browser.new_context(locale="en", bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.lang = "en"
        page.goto(f"{nation.plan.certification}/apply")
        assert violations(page, *rules) == []
        page.goto(f"{nation.plan.certification}/counter/signin?lang=en")
        assert violations(page, *rules) == []
        enter(nation, page)
        assert violations(page, *rules) == []
        code = invite(nation, page)
        assert violations(page, *rules) == []
        if scheme == "light":
            at_home(nation, browser, code)
            made(nation, page, code)
            assert violations(page, *rules) == []
            hand_over(page, "passport")
            page.wait_for_selector("form[action$='/suspend']")
            assert violations(page, *rules) == []
        context.close()
