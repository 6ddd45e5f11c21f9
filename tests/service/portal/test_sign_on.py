"""Single sign-on: with a client no one here wrote; what a site learns, and what it cannot; who is refused, and how it is told."""

import base64
import html
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request

import httpx
import pytest
from authlib.common.errors import AuthlibBaseError

from renkei.portal import store
from tests.console import Browser
from tests.sites import SECRET, Site, register
from tests.world import Running


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signon") / "nation"
    running = Running(folder, residents=60, prepare=lambda _: register(folder / "portal"))
    yield running
    running.stop()


class Kept(urllib.request.HTTPRedirectHandler):
    """Follows within the portal; where else a browser would be sent is noted."""

    def __init__(self, url):
        self.url, self.left = url, ""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if not newurl.startswith(self.url):
            self.left = newurl
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Resident(Browser):
    """A resident's browser. ``left`` is where it was last sent away to."""

    def __init__(self, nation, persona=0, *, signed_in=True):
        super().__init__(nation.url("portal"))
        self._kept = Kept(self.url)
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._open = urllib.request.build_opener(jar, self._kept)
        self.secret = nation.plan.personas[persona].secret
        if signed_in:
            assert self.form("/signin", secret=self.secret)[0] == 200

    def goes(self, address):
        """To an address of the portal; status, page, and where it was sent away to."""
        self._kept.left = ""
        return self._went(urllib.request.Request(address))

    def _went(self, request):
        status, page = self._do(request)
        return status, page if isinstance(page, str) else page.decode(), self._kept.left

    def presses(self, page, **fields):
        """The first form of a page."""
        self._kept.left = ""
        form = re.search(r'<form method="post" action="([^"]+)">(.*?)</form>', page.partition("<main")[2], re.S)
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form[2]))
        data = {k: html.unescape(v) for k, v in hidden.items()} | fields
        return self._went(urllib.request.Request(self.url + form[1], urllib.parse.urlencode(data).encode()))

    def agrees(self, address):
        """Signs in if asked to, agrees if asked to; where it is sent."""
        _, page, left = self.goes(address)
        if 'name="secret"' in page:
            _, page, left = self.presses(page, secret=self.secret)
        if 'name="asked"' in page:
            _, page, left = self.presses(page, act="agree")
        return left


@pytest.fixture(scope="module")
def bank(nation):
    return Site(nation.url("portal"), "bank")


@pytest.fixture
def resident(nation):
    return Resident(nation)


def test_a_site_s_own_library_signs_a_resident_in(nation, bank):
    """From nothing: discovery, sign-in, agreement, code with PKCE, ID token validated, userinfo."""
    resident = Resident(nation, signed_in=False)
    address, state = bank.ask()
    left = resident.agrees(address)
    assert left.startswith(bank.redirect + "?")
    assert dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(left).query))["iss"] == nation.url("portal")
    tokens = bank.redeem(left, state)
    claims = bank.claims(tokens)
    assert set(claims) == {"iss", "sub", "aud", "iat", "exp", "auth_time", "amr", "nonce"}
    assert bank.userinfo(tokens["access_token"]).json() == {"sub": claims["sub"]}


def sub(nation, site, persona=0):
    address, state = site.ask()
    return site.claims(site.redeem(Resident(nation, persona).agrees(address), state))["sub"]


def test_no_two_sites_know_a_resident_by_one_name(nation, bank):
    """Sites of one sector do; a site knows the same resident again, and another as another. No name is any code or local id."""
    shop, app = Site(nation.url("portal"), "shop"), Site(nation.url("portal"), "shop-app")
    first = sub(nation, bank)
    assert sub(nation, bank) == first
    assert sub(nation, shop) not in (first, sub(nation, bank, 1))
    assert sub(nation, shop) == sub(nation, app)
    code = nation.code("portal").code
    for known in (
        nation.local_id("portal"),
        nation.number(),
        code.hex(),
        base64.urlsafe_b64encode(code).decode().rstrip("="),
    ):
        assert known not in first


def test_who_is_signed_in_and_agreed_is_sent_back_at_once(nation, bank, resident):
    address, _ = bank.ask()
    resident.agrees(address)
    _, _, left = resident.goes(bank.ask()[0])
    assert "code=" in left
    _, page, left = resident.goes(bank.ask(prompt="consent")[0])
    assert left == ""
    assert "The bank" in page


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "profile"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none login"}, "invalid_request"),
        ({"max_age": "-1"}, "invalid_request"),
        ({"max_age": "²"}, "invalid_request"),
        ({"code_challenge": "é" * 43}, "invalid_request"),
        ({"request": "x.y.z"}, "request_not_supported"),
        ({"nonce": "n" * 2000}, "invalid_request"),
    ],
)
def test_what_is_asked_wrongly_is_told_to_the_site(bank, resident, change, code):
    address, state = bank.ask()
    parts = urllib.parse.urlsplit(address)
    query = {**dict(urllib.parse.parse_qsl(parts.query)), **change}
    query = urllib.parse.urlencode({k: v for k, v in query.items() if v is not None})
    _, _, left = resident.goes(parts._replace(query=query).geturl())
    told = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(left).query))
    assert (told["error"], told["state"]) == (code, state)


def test_without_a_session_or_an_agreement_nothing_is_told_silently(nation, bank):
    stranger, shop = Resident(nation, signed_in=False), Site(nation.url("portal"), "shop")
    _, _, left = stranger.goes(bank.ask(prompt="none")[0])
    assert "error=login_required" in left
    _, _, left = Resident(nation, 2).goes(shop.ask(prompt="none")[0])
    assert "error=consent_required" in left


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "nobody"},
        {"redirect_uri": "https://evil.example/in"},
        {"redirect_uri": "https://bank.example/in/.."},
    ],
)
def test_nobody_is_sent_to_an_address_that_was_not_registered(bank, resident, change):
    parts = urllib.parse.urlsplit(bank.ask()[0])
    query = {**dict(urllib.parse.parse_qsl(parts.query)), **change}
    status, page, left = resident.goes(parts._replace(query=urllib.parse.urlencode(query)).geturl())
    assert (status, left) == (400, "")
    assert "not registered" in page


def test_a_parameter_that_stands_twice_is_refused(bank, resident):
    status, _, left = resident.goes(bank.ask()[0] + "&client_id=shop")
    assert (status, left) == (400, "")


def test_a_code_is_good_once_and_for_who_asked(nation, bank, resident):
    """Used twice, its tokens are void; with another verifier, another address or another client it is worth nothing."""
    shop = Site(nation.url("portal"), "shop")
    address, state = bank.ask()
    left = resident.agrees(address)
    tokens = bank.redeem(left, state)
    assert bank.userinfo(tokens["access_token"]).status_code == 200
    with pytest.raises(AuthlibBaseError):
        bank.redeem(left, state)
    assert bank.userinfo(tokens["access_token"]).status_code == 401
    _, _, left = resident.goes(bank.ask()[0])
    for wrong in (
        {"code_verifier": "w" * 60},
        {"redirect_uri": "https://bank.example/"},
        {"client_id": "shop"},
        {"grant_type": "x"},
    ):
        _, _, left = resident.goes(bank.ask()[0])
        code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(left).query))["code"]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": bank.redirect,
            "code_verifier": "v" * 60,
        }
        form |= {"client_id": "bank", "client_secret": SECRET} | wrong
        if "client_id" in wrong:
            del form["client_secret"]
        answer = httpx.post(shop.about["token_endpoint"], data=form)
        assert answer.status_code == 400
        assert answer.json()["error"] in ("invalid_grant", "unsupported_grant_type")
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("auth", "form"),
    [
        (("bank", "guess"), {}),
        (None, {"client_id": "bank"}),
        (None, {"client_id": "bank", "client_secret": "guess"}),
        (("shop", "guess"), {}),
        (None, {}),
        (("nobody", SECRET), {}),
    ],
)
def test_who_does_not_prove_to_be_the_site_gets_nothing(bank, auth, form):
    answer = httpx.post(
        bank.about["token_endpoint"], data={"grant_type": "authorization_code", "code": "x", **form}, auth=auth
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert "www-authenticate" in answer.headers


def test_a_code_is_good_for_a_minute(nation, bank, resident):
    address, state = bank.ask()
    left = resident.agrees(address)
    provider = nation.world.institutions["portal"].sign_on
    clock = provider._clock
    try:
        provider._clock = lambda: clock() + 61_000
        with pytest.raises(AuthlibBaseError):
            bank.redeem(left, state)
    finally:
        provider._clock = clock


def test_a_resident_ends_it(nation, bank):
    """The site's tokens are void at once, and it must ask again; it then knows the resident by the same name."""
    resident = Resident(nation, 1)
    address, state = bank.ask()
    tokens = bank.redeem(resident.agrees(address), state)
    assert "The bank" in resident.get("/sites")[1]
    _, page = resident.form("/sites", "/sites/bank")
    assert "The access of The bank has ended." in page
    assert bank.userinfo(tokens["access_token"]).status_code == 401
    assert "The bank" not in resident.get("/sites")[1]
    _, page, left = resident.goes(bank.ask()[0])
    assert (left, "made up for it alone" in page) == ("", True)
    assert "https://bank.example</strong>" in page


def test_a_site_may_ask_that_the_resident_signs_in_anew(nation, bank, resident):
    resident.agrees(bank.ask()[0])
    for more in ({"prompt": "login"}, {"max_age": "0"}):
        _, page, left = resident.goes(bank.ask(**more)[0])
        assert 'name="secret"' in page
        assert left == ""
        _, page, left = resident.presses(page, secret=resident.secret)
        _, page, left = resident.presses(page, act="agree")
        assert "code=" in left


def test_a_resident_who_does_not_want_to_is_sent_back_with_nothing(nation, resident):
    shop = Site(nation.url("portal"), "shop")
    _, page, _ = resident.goes(shop.ask(prompt="consent")[0])
    _, _, left = resident.presses(page, act="refuse")
    assert "error=access_denied" in left
    assert "code=" not in left


def test_signing_out_leads_back_only_where_it_may(nation, bank, resident):
    address, state = bank.ask()
    tokens = bank.redeem(resident.agrees(address), state)
    end = bank.about["end_session_endpoint"]
    for to, expected in (("https://bank.example/", "https://bank.example/?state=s"), ("https://evil.example/", "")):
        query = urllib.parse.urlencode(
            {"id_token_hint": tokens["id_token"], "post_logout_redirect_uri": to, "state": "s"}
        )
        resident = Resident(nation)
        _, page, _ = resident.goes(f"{end}?{query}")
        _, _, left = resident.presses(page)
        assert left == expected
        assert resident.get("/records")[0] in (401, 403)


def test_a_site_s_page_cannot_agree_for_a_resident(nation, bank):
    """A form from elsewhere lacks the token; and the page that asks cannot be framed."""
    resident = Resident(nation, 2)
    _, page, _ = resident.goes(bank.ask()[0])
    asked = html.unescape(re.search(r'name="asked" value="([^"]*)"', page)[1])
    request = urllib.request.Request(
        resident.url + "/oidc/agree", urllib.parse.urlencode({"asked": asked, "act": "agree"}).encode()
    )
    resident._kept.left = ""
    status, _ = resident._do(request)
    assert (status, resident._kept.left) == (403, "")
    with urllib.request.urlopen(f"{resident.url}/signin") as response:
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]


def test_codes_and_tokens_are_kept_as_hashes(nation, bank, resident):
    address, state = bank.ask()
    left = resident.agrees(address)
    tokens = bank.redeem(left, state)
    code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(left).query))["code"]
    kept = (nation.folder / "portal" / "portal.db").read_bytes()
    wal = nation.folder / "portal" / "portal.db-wal"
    kept += wal.read_bytes() if wal.exists() else b""
    for secret in (code, tokens["access_token"], SECRET):
        assert secret.encode() not in kept
    portal = nation.world.institutions["portal"]
    assert portal.database.read_now(lambda c: store.consents_of(c, nation.local_id("portal")))


def test_junk_at_the_token_endpoint_is_told_so(bank):
    for content, kind in (
        (b"\xff", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
        (b"code=a&code=b", "application/x-www-form-urlencoded"),
        (b"x" * 30_000, "application/x-www-form-urlencoded"),
    ):
        answer = httpx.post(bank.about["token_endpoint"], content=content, headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert bank.userinfo("guess").status_code == 401
    assert httpx.get(bank.about["userinfo_endpoint"]).status_code == 401


def test_agreeing_from_an_old_session_is_no_signing_in_anew(bank, resident):
    """The page's form is sent by hand, for a question that wants its user to sign in for it."""
    resident.agrees(bank.ask()[0])
    _, page, _ = resident.goes(bank.ask(prompt="consent")[0])
    asked = urllib.parse.urlsplit(bank.ask(prompt="login")[0]).query
    _, _, left = resident.presses(
        re.sub(r'name="asked" value="[^"]*"', f'name="asked" value="{html.escape(asked)}"', page), act="agree"
    )
    assert "error=login_required" in left
    assert "code=" not in left


def test_a_hint_that_is_junk_leads_nowhere(bank, resident):
    header = base64.urlsafe_b64encode(b'{"alg":"ES256","crit":1}').decode().rstrip("=")
    for hint in (f"{header}.e30.AAAA", "x", "a.b.c", "é"):
        query = urllib.parse.urlencode({"id_token_hint": hint, "post_logout_redirect_uri": "https://bank.example/"})
        assert resident.goes(f"{bank.about['end_session_endpoint']}?{query}")[0] == 200
