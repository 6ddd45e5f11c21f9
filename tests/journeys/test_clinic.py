"""A patient at a clinic's terminal, in a browser."""

import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from renkei.clinic.service import Settings
from renkei.institution.settings import Home
from renkei.nation.plan import free_ports
from tests.browser import JOURNEY, sound, violations
from tests.cards import RENKEI, Carded, _answers
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.service.gateway.test_eligibility import INSURER, insure, nation_clerk
from tests.world import until

pytestmark = [*JOURNEY, NEEDS_TOKEN]


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("clinic") / "nation")
    insure(running, 0)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def terminal(nation, tmp_path_factory):
    home, port = tmp_path_factory.mktemp("terminal"), free_ports(1)[0]
    settings = Settings(
        name=nation_clerk(nation),
        insurer=nation.url(INSURER),
        time_zone="Asia/Tokyo",
        token=nation.plan.place(INSURER).token,
        authority=str(nation.folder / "certification" / "authentication-ca.pem"),
        port=port,
    )
    Home(home).write_toml("clinic.toml", settings)
    assert sys.executable
    with subprocess.Popen(
        [RENKEI, "clinic", "serve", home, "--card", nation.card()], stdout=subprocess.PIPE
    ) as program:
        address = f"http://127.0.0.1:{port}"
        until(lambda: _answers(address))
        yield address
        program.terminate()


def comes(page, terminal, *, consent=False, pin="1234"):
    page.goto(f"{terminal}/?lang={page.lang}")
    sound(page)
    if consent:
        page.check("input[name=consent]")
    page.fill("#pin", pin)
    page.locator("button.touch").click()


@pytest.mark.parametrize("page", [("ja", 320), ("en", 1280)], indirect=True, ids=["ja-320", "en-1280"])
def test_a_patient_is_received_with_and_without_consent(page, terminal):
    comes(page, terminal)
    page.wait_for_selector("dl.facts")
    sound(page)
    assert page.locator("table").count() == 0
    assert ("自己負担割合" if page.lang == "ja" else "Share to pay") in page.inner_text("dl.facts")
    comes(page, terminal, consent=True)
    page.wait_for_selector("table, h2")
    sound(page)
    assert ("過去の診療" if page.lang == "ja" else "Treated before") in page.inner_text("main")
    assert page.locator("td.amount").first.evaluate("cell => getComputedStyle(cell).textAlign") == "end"
    comes(page, terminal, consent=True, pin="0000")
    assert page.locator("[role=alert]").count() == 1
    assert page.is_checked("input[name=consent]")
    comes(page, terminal)


@pytest.mark.parametrize("page", [("en", 1280)], indirect=True, ids=["en-1280"])
def test_the_network_is_down_and_comes_back(nation, page, terminal):
    comes(page, terminal)
    page.wait_for_selector("dl.facts")
    nation.stop_body(INSURER)
    try:
        comes(page, terminal)
        page.wait_for_selector("[role=status]")
        assert "network is down" in page.inner_text("main")
        assert "Share to pay" in page.inner_text("dl.facts")
    finally:
        nation.start_body(INSURER)
    page.goto(f"{terminal}/visits")
    sound(page)
    assert re.match(r"\d+ [A-Z][a-z]+ \d{4}, \d\d:\d\d", page.locator("main li .number").first.inner_text())
    page.locator("main form button").click()
    page.wait_for_selector("text=confirmed")


def test_axe_finds_nothing(browser, terminal):
    for scheme, rules in (("light", ()), ("dark", ("color-contrast",))):
        context = browser.new_context(locale="en", bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        page.lang = "en"
        page.goto(terminal)
        assert violations(page, *rules) == []
        comes(page, terminal, consent=True)
        page.wait_for_selector("dl.facts")
        assert violations(page, *rules) == []
        page.goto(f"{terminal}/visits")
        assert violations(page, *rules) == []
        context.close()


def test_another_name_does_not_lead_to_the_terminal(terminal):
    """DNS rebinding: a page that was opened on the clinic's machine neither reads it nor tries PINs."""
    for path, data in (("/", None), ("/visits", None), ("/visit", b"pin=0000")):
        request = urllib.request.Request(terminal + path, data, {"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request, timeout=10)
        assert refusal.value.code in (403, 404)
