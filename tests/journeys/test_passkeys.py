"""A passkey is made after signing in, opens the portal later, and opens nothing once it is removed; with Chromium's own authenticator."""

import msgspec
import pytest
from msgspec.structs import replace

from renkei.institution.settings import Home
from tests.browser import JOURNEY, sign_in, sound, violations
from tests.world import Running, until

pytestmark = JOURNEY


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    """Browsers make passkeys for names, not for numbers: the portal is at localhost."""
    folder = tmp_path_factory.mktemp("passkeys") / "nation"

    def prepare(plan):
        home = Home(folder / "portal")
        address = f"http://localhost:{plan.port('portal')}"
        home.write_toml("settings.toml", msgspec.to_builtins(replace(home.settings(), address=address)))

    running = Running(folder, residents=60, prepare=prepare)
    until(lambda: running.code("portal"))
    yield running
    running.stop()


@pytest.fixture(params=["ja", "en"])
def page(request, browser):
    context = browser.new_context(viewport={"width": 320, "height": 800}, locale=request.param, bypass_csp=True)
    page = context.new_page()
    page.lang = request.param
    devtools = context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    more = {"isUserVerified": True, "automaticPresenceSimulation": True}
    page.authenticator = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {**options, **more}})
    page.devtools = devtools
    yield page
    context.close()


def test_made_used_and_removed(nation, page):
    portal = nation.url("portal").replace("127.0.0.1", "localhost")
    sign_in(page, portal, "#secret", nation.plan.personas[0].secret)
    page.wait_for_url("**/records*")
    page.goto(portal + "/account")
    sound(page)
    assert violations(page) == []
    page.fill("#name", "私の端末")
    page.locator("#make button").click()
    page.wait_for_selector("form[action$='/remove']")
    sound(page)
    page.locator("form[action='/signout'] button").click()
    page.wait_for_url("**/signin*")
    sound(page)
    assert violations(page) == []
    page.locator("#passkey button").click()
    page.wait_for_url("**/records*")
    page.goto(portal + "/account")
    assert ("パスキー" if page.lang == "ja" else "by passkey") in page.locator(".cards").first.inner_text()
    assert page.locator("#make").count() == 0, "a passkey must not make another"
    page.locator("form[action$='/remove'] button").click()
    page.wait_for_load_state()
    page.goto(portal + "/records")
    assert page.url.startswith(portal + "/signin") or page.locator(".cards").count() == 0
    page.goto(portal + "/signin")
    page.locator("#passkey button").click()
    page.wait_for_selector("[role=alert]")


def test_another_s_answer_and_one_s_own_of_before_open_nothing(nation, page):
    """What was sent once is sent again; and with the user not verified."""
    portal = nation.url("portal").replace("127.0.0.1", "localhost")
    sign_in(page, portal, "#secret", nation.plan.personas[1].secret)
    page.wait_for_url("**/records*")
    page.goto(portal + "/account")
    page.fill("#name", "x")
    page.locator("#make button").click()
    page.wait_for_selector("form[action$='/remove']")
    sent = []
    page.on("request", lambda r: sent.append(r.post_data) if r.url.endswith("/signin/passkey") else None)
    page.locator("form[action='/signout'] button").click()
    page.wait_for_url("**/signin*")
    page.locator("#passkey button").click()
    page.wait_for_url("**/records*")
    page.locator("form[action='/signout'] button").click()
    page.wait_for_url("**/signin*")
    again = sent[0]
    token = page.locator("#passkey input[name=_csrf_token]").input_value()
    fields = dict(part.split("=", 1) for part in again.split("&"))
    status = page.evaluate(
        """async ([token, credential]) => (await fetch("/signin/passkey", {method: "POST",
            headers: {"Content-Type": "application/x-www-form-urlencoded"},
            body: "_csrf_token=" + encodeURIComponent(token) + "&credential=" + credential})).status""",
        [token, fields["credential"]],
    )
    assert status == 403, "one answer opened twice"
    page.devtools.send(
        "WebAuthn.setUserVerified", {"authenticatorId": page.authenticator["authenticatorId"], "isUserVerified": False}
    )
    page.goto(portal + "/signin")
    page.locator("#passkey button").click()
    page.wait_for_selector("[role=alert]")
