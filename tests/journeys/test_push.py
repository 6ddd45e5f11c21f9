"""Notifications in a real browser: asked for with a button, shown by the worker in the resident's language, opened at the inbox.

The browser's own push service is out of reach here; what it would name is put in its place, and its message is delivered by the browser.
"""

import os

import msgspec
import pytest
from msgspec.structs import replace

from renkei.institution.settings import Home
from tests.browser import JOURNEY, sign_in, sound, violations
from tests.world import Running, until

pytestmark = JOURNEY
ENDPOINT = "https://push.example/send/abc"
GIVES = f"PushManager.prototype.subscribe = async () => ({{ endpoint: {ENDPOINT!r} }})"


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("push") / "nation"

    def prepare(_):
        home = Home(folder / "portal")
        home.write_toml(
            "settings.toml", msgspec.to_builtins(replace(home.settings(), push_services=("https://push.example",)))
        )

    running = Running(folder, prepare=prepare)
    yield running
    running.stop()


def inbox(nation, browser, lang, width, *, allowed=True, gives=True):
    context = browser.new_context(locale=lang, viewport={"width": width, "height": 800}, bypass_csp=True)
    if allowed:
        context.grant_permissions(["notifications"], origin=nation.url("portal"))
    if gives:
        context.add_init_script(GIVES)
    page = context.new_page()
    page.lang = lang
    sign_in(page, nation.url("portal"), "#secret", nation.plan.personas[0].secret)
    page.wait_for_url("**/records*")
    until(lambda: nation.code("portal"))
    page.goto(f"{nation.url('portal')}/inbox")
    sound(page)
    return context, page


def shown(page):
    """What the worker has shown."""
    return page.evaluate(
        """async () => (await (await navigator.serviceWorker.getRegistration('/static/')).getNotifications())
           .map((n) => [n.title, n.body, n.tag])"""
    )


def delivers(context, page, origin):
    """The browser hands its worker an empty message, as after one of its push service."""
    session = context.new_cdp_session(page)
    found = []
    session.on("ServiceWorker.workerRegistrationUpdated", lambda e: found.extend(e["registrations"]))
    session.send("ServiceWorker.enable")
    until(lambda: page.wait_for_timeout(50) or found)
    session.send(
        "ServiceWorker.deliverPushMessage", {"origin": origin, "registrationId": found[0]["registrationId"], "data": ""}
    )


@pytest.mark.parametrize(("lang", "width"), [("ja", 320), ("en", 1280)], ids=["ja-320", "en-1280"])
def test_a_device_is_notified(nation, browser, lang, width):
    context, page = inbox(nation, browser, lang, width)
    assert violations(page) == []
    if shots := os.environ.get("SHOTS"):
        page.screenshot(path=f"{shots}/push-{lang}-{width}.png", full_page=True)
    page.locator("#push-form button").click()
    page.wait_for_selector("#push button[value=end]")
    sound(page)
    assert len(nation.do(nation.world.institutions["portal"].webpush.devices(nation.local_id("portal")))) == 1
    delivers(context, page, nation.url("portal"))
    ((title, body, tag),) = until(lambda: page.wait_for_timeout(50) or shown(page))
    assert (title, tag) == ("マイ・ポータル" if lang == "ja" else "My Portal", "inbox")
    assert ("新しいお知らせ" if lang == "ja" else "Something new") in body
    page.locator("#push button[value=end]").click()
    page.wait_for_selector("#push-form:not([hidden])")
    assert page.locator("#push button[value=end]").count() == 0
    context.close()


def test_who_refuses_is_told_what_to_do(nation, browser):
    context, page = inbox(nation, browser, "en", 1280, allowed=False)
    page.locator("#push-form button").click()
    page.wait_for_selector("[role=alert]")
    assert "Allow them in the browser" in page.inner_text("[role=alert]")
    sound(page)
    context.close()


def test_a_browser_without_a_push_service_is_told_so(nation, browser):
    context, page = inbox(nation, browser, "en", 1280, gives=False)
    page.locator("#push-form button").click()
    page.wait_for_selector("[role=alert]")
    context.close()
