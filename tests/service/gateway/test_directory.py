"""Clerks of the body's own directory: a provider of OpenID Connect that tells the truth, and one that does not."""

import http.server
import json
import threading
import time
import urllib.parse
from hashlib import sha256

import msgspec
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from renkei.institution.settings import DirectorySettings, Home
from tests.console import Browser
from tests.world import Running, free_port, until

CITY = "ohashi-city"
CLIENT = "desk"
GROUPS = {"窓口": ("ask", "register"), "管理者": ("ask", "release", "protect")}


class Provider:
    """A directory. ``lies`` change what its next token says; ``answers`` what it answers at a path."""

    def __init__(self, port):
        self.issuer = f"http://127.0.0.1:{port}"
        self.key, self.other = ECKey.generate_key("P-256", {"kid": "1"}), ECKey.generate_key("P-256", {"kid": "1"})
        self.lies, self.answers, self.header, self.sign_with = {}, {}, {"alg": "ES256", "kid": "1"}, self.key
        self.asked, self.verified = {}, []
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.say(provider.get(self.path))

            def do_POST(self):
                form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
                self.say(provider.token(form))

            def say(self, told):
                status, body = told
                raw = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def get(self, path):
        if path in self.answers:
            return self.answers[path]
        if path.startswith("/authorize?"):
            self.asked = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(path).query))
            return 200, {}
        if path == "/keys":
            return 200, {"keys": [self.key.as_dict(private=False)]}
        return 200, {"issuer": self.issuer, **{k: f"{self.issuer}/{v}" for k, v in (
            ("authorization_endpoint", "authorize"), ("token_endpoint", "token"), ("jwks_uri", "keys"))}}  # fmt: skip

    def token(self, form):
        if "/token" in self.answers:
            return self.answers["/token"]
        proof = self.asked["code_challenge"]
        import base64

        made = base64.urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if made != proof or form["code"] != "good" or form["client_id"] != CLIENT:
            return 400, {"error": "invalid_grant"}
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": "s-1", "nonce": self.asked["nonce"], "exp": int(time.time()) + 60,
                  "preferred_username": "連携 太郎", "groups": ["窓口", "other"], **self.lies}  # fmt: skip
        claims = {k: v for k, v in claims.items() if v is not None}
        return 200, {"id_token": jwt.encode(self.header, claims, self.sign_with, algorithms=[self.header["alg"]])}


@pytest.fixture(scope="module")
def provider():
    made = Provider(free_port())
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def nation(tmp_path_factory, provider):
    def prepare(plan):
        home = Home(plan_folder / CITY)
        directory = DirectorySettings(provider.issuer, CLIENT, GROUPS)
        home.write_toml("settings.toml", msgspec.structs.replace(home.settings(), directory=directory))

    plan_folder = tmp_path_factory.mktemp("directory") / "nation"
    running = Running(plan_folder, residents=60, prepare=prepare)
    until(lambda: running.do(running.world.health(running.plan.place(CITY))))
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def honest(provider):
    yield
    provider.lies, provider.answers, provider.header, provider.sign_with = (
        {},
        {},
        {"alg": "ES256", "kid": "1"},
        provider.key,
    )


def begun(nation, provider):
    """A browser that was sent to the directory; what it is to bring back."""
    browser = Browser(nation.url(CITY))
    browser.get("/signin/directory")
    return browser


def back(provider, browser, **changed):
    query = {"code": "good", "state": provider.asked["state"], **changed}
    return browser.get(
        "/signin/directory/back?" + urllib.parse.urlencode({k: v for k, v in query.items() if v is not None})
    )


def test_a_clerk_signs_in_by_the_directory_with_the_duties_of_their_groups(nation, provider):
    browser = begun(nation, provider)
    assert provider.asked["client_id"] == CLIENT
    assert provider.asked["redirect_uri"] == f"{nation.url(CITY)}/signin/directory/back"
    assert back(provider, browser)[0] == 200
    status, page = browser.get("/desk")
    assert (status, "連携 太郎" in page) == (200, True)
    status, page = browser.form(
        "/desk/new?affair=child-allowance", "/desk/new", affair="child-allowance", what="local-tax@tax-union",
        local_id=nation.local_id(CITY), purpose="assess-amount",
    )  # fmt: skip
    assert (status, "連携 太郎" in page) == (200, True)  # in the body's own record, by the name the directory gives
    assert browser.get("/desk/held")[0] == 200
    assert "connection" not in page


@pytest.mark.parametrize(
    "lies",
    [
        {"aud": "other"}, {"iss": "http://127.0.0.1:1"}, {"nonce": "x"}, {"nonce": None}, {"exp": 1}, {"exp": None}, {"sub": None},
        {"groups": ["other"]}, {"groups": None}, {"groups": 7}, {"preferred_username": None}, {"preferred_username": ""},
        {"preferred_username": "a\nb"}, {"preferred_username": "x" * 65}, {"preferred_username": ["a"]},
    ],
)  # fmt: skip
def test_a_token_that_says_something_else_lets_nobody_in(nation, provider, lies):
    browser = begun(nation, provider)
    provider.lies = lies
    status, page = back(provider, browser)
    assert status in (400, 403)
    assert 'role="alert"' in page
    assert browser.get("/desk")[0] == 401


def test_a_token_of_another_key_or_of_none_lets_nobody_in(nation, provider):
    for header, key in (
        ({"alg": "ES256", "kid": "1"}, provider.other),
        ({"alg": "HS256"}, OctKey.import_key(b"x" * 32)),
    ):
        browser = begun(nation, provider)
        provider.header, provider.sign_with = header, key
        assert back(provider, browser)[0] in (400, 403)
        assert browser.get("/desk")[0] == 401


@pytest.mark.parametrize(
    "changed", [{"state": "x"}, {"state": None}, {"code": None}, {"code": "bad"}, {"iss": "http://evil.example"}]
)
def test_what_was_not_begun_here_is_not_finished_here(nation, provider, changed):
    """A link that somebody else made, a code of another sign-in, an answer of another provider."""
    browser = begun(nation, provider)
    assert back(provider, browser, **changed)[0] in (400, 403)
    assert browser.get("/desk")[0] == 401
    stranger = Browser(nation.url(CITY))
    assert back(provider, stranger)[0] in (400, 403)
    browser = begun(nation, provider)
    assert back(provider, browser)[0] == 200
    assert back(provider, browser)[0] in (400, 403)  # once


@pytest.mark.parametrize("answer", [(500, b""), (200, b"{"), (200, b"[]"), (200, b" " * (1 << 21)), (200, {})])
def test_a_directory_that_does_not_answer_is_told_apart(nation, provider, answer):
    browser = begun(nation, provider)
    provider.answers = {"/token": answer}
    status, _ = back(provider, browser)
    assert status in (400, 403, 503)
    assert browser.get("/desk")[0] == 401


def test_who_is_removed_is_out_when_the_hour_is_over_and_a_group_at_once(nation, provider):
    browser = begun(nation, provider)
    back(provider, browser)
    gateway = nation.world.institutions[CITY]
    session = {"clerk": "x", "duties": ["ask", "release"], "since": gateway.clock()}
    assert gateway.clerk_in(session).duties == ("ask", "release")
    assert gateway.clerk_in({**session, "since": gateway.clock() - 3_600_000}) is None
    assert gateway.clerk_in({**session, "duties": ["renumber"]}) is None  # no group here may do that
    assert gateway.clerk_in({"clerk": "職員A", "since": gateway.clock()}) is None  # neither token nor directory
