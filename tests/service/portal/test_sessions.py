"""Sessions of residents: listed, ended one by one or all, and what was copied from one is worth nothing afterwards."""

import base64
import http.cookiejar
import json
import re
import urllib.request

import pytest

from renkei.portal.sessions import FRESH_SECONDS, SESSION_SECONDS, browser_of
from tests.console import Browser
from tests.world import Running, until

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("sessions") / "nation", residents=60)
    until(lambda: running.code("portal"))
    yield running
    running.stop()


class Resident(Browser):
    """A browser whose cookies can be copied."""

    def __init__(self, world, persona=0):
        super().__init__(world.url("portal"))
        self.jar = http.cookiejar.CookieJar()
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        self._open.addheaders = [("User-Agent", FIREFOX)]
        status, _ = self.form("/signin", secret=world.plan.personas[persona].secret)
        assert (status, self.at) == (200, "/records")

    def copied(self):
        """A thief with this browser's cookies."""
        thief = Browser(self.url)
        jar = http.cookiejar.CookieJar()
        for cookie in self.jar:
            jar.set_cookie(cookie)
        thief._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        return thief

    def inside(self):
        status, _ = self.get("/account")
        return status == 200 and self.at == "/account"


def is_in(browser):
    status, _ = browser.get("/records")
    return status == 200 and browser.at == "/records"


def test_a_copy_of_the_cookie_ends_with_the_session(world):
    for how in ("signed out", "ended elsewhere", "all ended elsewhere"):
        owner = Resident(world)
        thief = owner.copied()
        assert is_in(thief)
        if how == "signed out":
            owner.form("/account", "/signout")
        else:
            other = Resident(world)
            _, page = other.get("/account")
            marks = re.findall(r"/account/sessions/([0-9a-f]{64})/end", page)
            assert marks
            if how == "all ended elsewhere":
                other.form("/account", "/account/sessions/end")
            for mark in marks if how == "ended elsewhere" else ():
                other.form("/account", f"/account/sessions/{mark}/end")
            assert is_in(other), "the session that did it stands"
        assert not is_in(thief), how
        assert not is_in(owner)


def test_a_cookie_that_was_never_used_is_ended_too(world):
    """The session is known by what the cookie holds, and not by what came with its first use."""
    owner = Resident(world)
    thief = owner.copied()
    owner.form("/account", "/signout")
    assert not is_in(thief)


def test_it_is_listed_with_no_more_than_its_owner_needs(world):
    owner = Resident(world, 1)
    _, page = owner.get("/account")
    assert "Firefox · Linux" in page
    assert "rv:140" not in page
    assert "127.0.0.1" not in re.sub(r'(href|action)="[^"]*"', "", page)
    assert page.count("this one") == 1


def test_nobody_ends_or_sees_another_s(world):
    owner, other = Resident(world, 1), Resident(world, 2)
    portal = world.world.institutions["portal"]
    rows = world.do(portal.sessions.listed(world.local_id("portal", 1)))
    mark = bytes(next(r.mark for r in rows if portal.sessions.stands(r))).hex()
    assert mark not in other.get("/account")[1]
    assert other.form("/account", f"/account/sessions/{mark}/end")[0] == 404
    other.form("/account", "/account/sessions/end")
    assert owner.inside()


def test_sessions_are_short(world):
    owner, portal = Resident(world), world.world.institutions["portal"]
    right = portal.clock
    try:
        portal.clock = lambda: right() + SESSION_SECONDS * 1000
        assert not is_in(owner)
    finally:
        portal.clock = right
    assert is_in(owner)


def test_what_opens_the_door_for_later_wants_a_proof_of_now(world):
    portal = world.world.institutions["portal"]
    now = portal.clock()
    for session, fresh in (
        ({"since": now - 1000, "amr": "sc"}, True),
        ({"since": now - 1000, "amr": "otp"}, True),
        ({"since": now - 1000, "amr": "hwk"}, False),
        ({"since": now - FRESH_SECONDS * 1000 - 1000, "amr": "sc"}, False),
        ({"since": now + 60_000, "amr": "sc"}, False),
        ({}, False),
    ):
        assert portal.sessions.is_fresh(session) == fresh, session


@pytest.mark.parametrize(
    "answer",
    ["", "{}", "null", "[]", "x" * 30_000, '{"rawId": 7, "response": {}}', '{"response": {"clientDataJSON": "e30"}}'],
)
def test_a_made_up_passkey_opens_nothing(world, answer):
    browser = Browser(world.url("portal"))
    status, page = browser.form("/signin", "/signin/passkey", credential=answer)
    assert status == 403
    assert 'role="alert"' in page
    assert not is_in(browser)


def test_who_sends_rubbish_uses_up_nobody_s_challenges(world):
    """Else anybody could keep everybody from signing in with a passkey."""
    sessions = world.world.institutions["portal"].sessions
    challenge = json.loads(sessions.asking())["challenge"]
    client = base64.urlsafe_b64encode(json.dumps({"challenge": challenge}).encode()).decode()
    answer = json.dumps({"rawId": "AAAA", "response": {"clientDataJSON": client}})
    browser = Browser(world.url("portal"))
    for _ in range(3):
        assert browser.form("/signin", "/signin/passkey", credential=answer)[0] == 403
    assert sessions._challenges._used == {}


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        (FIREFOX, "Firefox · Linux"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile/15E148 Safari/604.1",
            "Safari · iPhone",
        ),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0", "Edge · Windows"),
        ("curl/8", ""),
        ("<script>", ""),
    ],
)
def test_a_browser_is_named_as_its_user_knows_it(agent, said):
    assert browser_of(agent) == said
