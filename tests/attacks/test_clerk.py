"""Adversaries: a clerk who wants more than the work needs, and whoever gets hold of a clerk's or resident's browser.

Claims they try to break: a withheld person cannot be told from an unknown one; each duty is given by name, and what is done under it
names who did it; a session ends; no address leads to a failure or to another site.
"""

import http.client
import re
import sqlite3
import threading
import urllib.parse
from hashlib import sha256

import msgspec
import pytest

from renkei.institution.settings import Clerk, Home
from tests.world import until

TOKENS = {"asker": "asker-token-1", "releaser": "releaser-token-2", "registrar": "registrar-token-3"}


@pytest.fixture(scope="module", autouse=True)
def clerks(nation):
    """Clerks of tax-union with one duty each, beside the one with all."""
    duties = {"asker": ("ask",), "releaser": ("release",), "registrar": ("register", "protect")}
    home = Home(nation.folder / "tax-union")
    settings = home.settings()
    more = tuple(Clerk(n, sha256(t.encode()).hexdigest(), duties[n]) for n, t in TOKENS.items())
    nation.stop_body("tax-union")
    given = msgspec.to_builtins(msgspec.structs.replace(settings, clerks=settings.clerks + more))
    home.write_toml("settings.toml", given)
    nation.start_body("tax-union")


class Browser:
    """Cookies and forms, without a browser's kindness."""

    def __init__(self, nation, body):
        place = urllib.parse.urlsplit(nation.url(body))
        self.host, self.cookies = (place.hostname, place.port), {}

    def go(self, path, form=None, **headers):
        connection = http.client.HTTPConnection(*self.host, timeout=20)
        head = {"Accept": "text/html", "Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items()), **headers}
        body = None
        if form is not None:
            body, head["Content-Type"] = urllib.parse.urlencode(form), "application/x-www-form-urlencoded"
        connection.request("GET" if form is None else "POST", path, body, head)
        answer = connection.getresponse()
        text = answer.read().decode()
        for cookie in answer.headers.get_all("set-cookie") or []:
            name, _, rest = cookie.partition("=")
            self.cookies[name] = rest.split(";")[0]
        connection.close()
        return answer, text

    def submit(self, page, path, **form):
        """Fill the form of a page: its token is taken along."""
        _, text = self.go(page)
        token = re.search(r'name="_csrf_token" value="([^"]+)"', text).group(1)
        return self.go(path, {"_csrf_token": token, **form})

    def sign_in(self, **secret):
        answer, _ = self.submit("/signin", "/signin", **secret)
        assert answer.status == 303, answer.status
        return self


def clerk_of(nation, body, token=None):
    return Browser(nation, body).sign_in(token=token or nation.plan.place(body).token)


def test_duties_are_needed_one_by_one(nation):
    body = {"local_id": "1", "manual": False, "withheld": False}
    calls = {
        ("/inquiries", "asker"): {"local_id": "1", "provider": "x", "affair": "x", "item": "x", "purpose": "x"},
        ("/subjects", "registrar"): {"subjects": [{"local_id": "n", "number": "1"}]},
        ("/flags", "registrar"): body,
        (f"/provisions/{'0' * 64}/release", "releaser"): {},
        (f"/provisions/{'0' * 64}/decline", "releaser"): {},
    }
    for (path, entitled), data in calls.items():
        for name, token in TOKENS.items():
            status, told = nation.http("tax-union", path, data, token=token)
            assert (told.get("title") == "duty") == (name != entitled), (path, name, told)
            assert status == 403 or name == entitled
    asker = clerk_of(nation, "tax-union", TOKENS["asker"])
    assert asker.submit("/desk/held", f"/desk/held/{'0' * 64}", act="release")[0].status == 403
    releaser = clerk_of(nation, "tax-union", TOKENS["releaser"])
    assert releaser.submit("/desk/held", f"/desk/held/{'0' * 64}", act="release")[0].status == 404
    assert releaser.submit("/desk/held", "/desk/new", affair="child-allowance")[0].status == 403


def held(nation, **changes):
    told = nation.ask(wait=1, **changes)[1]
    row = until(lambda: [p for p in nation.http("tax-union", "/provisions?status=held")[1] if p["id"] == told["id"]])
    return told, row[0]


def flag(nation, **flags):
    person = nation.local_id("tax-union")
    nation.http("tax-union", "/flags", {"local_id": person, "manual": False, "withheld": False, **flags})


def finished(nation, told):
    return until(lambda: (r := nation.http("ohashi-city", told["status_url"])[1])["state"] == "answered" and r)


def test_release_tells_nothing_of_someone_flagged_meanwhile(nation):
    flag(nation, manual=True)
    try:
        told, _ = held(nation)
        flag(nation, manual=True, withheld=True)
        assert nation.http("tax-union", f"/provisions/{told['id']}/release", b"")[0] == 200
        assert finished(nation, told)["records"] == []
    finally:
        flag(nation)


def source_of(nation):
    return sqlite3.connect(Home(nation.folder / "tax-union").settings().source.removeprefix("sqlite:///"))


def test_withheld_stays_withheld_whatever_is_wrong_with_the_source(nation):
    """Fault and withholding together must not look different from withholding alone."""
    flag(nation, withheld=True)
    with source_of(nation) as source:
        source.execute("ALTER TABLE T_LOCAL_TAX RENAME TO away")
    try:
        told = nation.ask()[1]
        assert (told["state"], told["records"]) == ("answered", [])
    finally:
        with source_of(nation) as source:
            source.execute("ALTER TABLE away RENAME TO T_LOCAL_TAX")
        flag(nation)


def test_what_is_held_for_an_absent_source_goes_out_by_itself(nation):
    with source_of(nation) as source:
        source.execute("ALTER TABLE T_LOCAL_TAX RENAME TO away")
    try:
        told, row = held(nation)
        assert row["reason"] == "source-unavailable"
        status, refused = nation.http("tax-union", f"/provisions/{told['id']}/release", b"")
        assert (status, refused["title"]) == (409, "source-unavailable")
    finally:
        with source_of(nation) as source:
            source.execute("ALTER TABLE away RENAME TO T_LOCAL_TAX")
    assert finished(nation, told)["records"]


def test_two_who_settle_at_once_do_not_both_succeed(nation):
    flag(nation, manual=True)
    try:
        told, _ = held(nation)
        ends = []
        acts = ["release", "decline"] * 4
        threads = [
            threading.Thread(
                target=lambda act=act: ends.append(nation.http("tax-union", f"/provisions/{told['id']}/{act}", b"")[0])
            )
            for act in acts
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ends) == [200] + [409] * 7
    finally:
        flag(nation)


def test_what_a_clerk_does_names_the_clerk(nation):
    flag(nation, manual=True)
    told, _ = held(nation)
    nation.http("tax-union", f"/provisions/{told['id']}/release", b"", token=TOKENS["releaser"])
    flag(nation)
    with sqlite3.connect(nation.folder / "tax-union" / "tax_union.db") as database:
        by = database.execute("SELECT settled_by FROM provisions WHERE id = ?", [bytes.fromhex(told["id"])]).fetchone()
        flagged = database.execute("SELECT DISTINCT flagged_by FROM subjects WHERE flagged_by IS NOT NULL").fetchall()
    assert by == ("releaser",)
    assert flagged == [(nation.world.institutions["tax-union"].settings.clerks[0].name,)]


def test_an_inquiry_as_of_a_day_the_source_cannot_tell_is_held_not_guessed(nation):
    told, row = held(nation, as_of="2020-01-01")
    assert row["reason"] == "as-of"
    assert nation.http("tax-union", f"/provisions/{told['id']}/release", b"")[0] == 409
    assert nation.http("tax-union", f"/provisions/{told['id']}/decline", b"")[0] == 200
    assert finished(nation, told)["records"] == []


def test_a_session_ends_with_its_hours_its_token_and_its_clerk(nation):
    gateway = nation.world.institutions["tax-union"]
    browser = clerk_of(nation, "tax-union", TOKENS["asker"])
    assert browser.go("/desk")[0].status == 200
    clock, settings = gateway.clock, gateway.settings
    try:
        for _ in range(3):  # staying busy does not make it longer
            gateway.clock = lambda: clock() + 7 * 3_600_000
            assert browser.go("/desk")[0].status == 200
        gateway.clock = lambda: clock() + 9 * 3_600_000
        assert browser.go("/desk")[0].status == 401
        gateway.clock = clock
        gateway.settings = msgspec.structs.replace(settings, clerks=settings.clerks[:1])
        assert browser.go("/desk")[0].status == 401
        changed = Clerk("asker", sha256(b"another").hexdigest())
        gateway.settings = msgspec.structs.replace(settings, clerks=(changed,))
        assert browser.go("/desk")[0].status == 401
    finally:
        gateway.clock, gateway.settings = clock, settings
    assert browser.go("/desk")[0].status == 200


def test_a_resident_s_session_ends(nation):
    portal = nation.world.institutions["portal"]
    browser = Browser(nation, "portal").sign_in(secret=nation.plan.personas[0].secret)
    assert browser.go("/records")[0].status == 200
    clock = portal.clock
    try:
        portal.clock = lambda: clock() + 1_801_000
        assert browser.go("/records")[0].status == 401
    finally:
        portal.clock = clock


def test_a_session_cannot_be_planted_or_forged(nation):
    browser = clerk_of(nation, "tax-union")
    name = "session-tax-union"
    for forged in ("x", browser.cookies[name][:-4] + "AAAA", "", "=" * 5000):
        other = Browser(nation, "tax-union")
        other.cookies[name] = forged
        assert other.go("/desk")[0].status in (401, 431, 400), forged[:20]
    ours = Browser(nation, "ohashi-city")
    ours.cookies["session-ohashi-city"] = browser.cookies[name]
    assert ours.go("/desk")[0].status == 401


def test_forms_without_their_token_do_nothing(nation):
    browser = clerk_of(nation, "tax-union")
    for path, form in (
        ("/desk/new", {"affair": "x"}),
        (f"/desk/held/{'0' * 64}", {"act": "release"}),
        ("/signout", {}),
    ):
        for token in ({}, {"_csrf_token": ""}, {"_csrf_token": "forged"}):
            assert browser.go(path, {**form, **token})[0].status == 403, path


@pytest.mark.parametrize("body", ["tax-union", "portal", "hub"])
@pytest.mark.parametrize(
    "path",
    [
        "/inquiries?before=9223372036854775808",
        "/inquiries?limit=99999999999999999999",
        "/desk?before=99999999999999999999",
        "/records?below=-1",
        "/records?below=99999999999999999999",
        "/records/99999999999999999999",
        "/records/-1",
        "/records/1/proof/..",
        "//evil.example/x",
        "/\\evil.example",
        "/static/../settings.toml",
        "/static/%2e%2e/keys.toml",
        "/static/..%2f..%2fkeys.toml",
        "/%00",
        "/%ff%fe",
        "/" + "a" * 6000,
        "/desk/inquiries/" + "g" * 64,
        "/desk/inquiries/" + "0" * 63,
        "/?lang=<script>",
    ],
)
def test_no_address_fails_or_leads_astray(nation, body, path):
    browser = Browser(nation, body)
    if body == "portal":
        browser.sign_in(secret=nation.plan.personas[0].secret)
    elif body == "tax-union":
        browser = clerk_of(nation, body)
    for accept in ("text/html", "application/json"):
        answer, text = browser.go(path, Accept=accept, Authorization=f"Bearer {nation.plan.place(body).token}")
        assert answer.status < 500, text
        assert "private" not in text.lower()
        assert "Traceback" not in text
        assert 'href="//' not in text
        assert "<script>" not in text
        if answer.status not in (400, 414, 431) or text:  # the server itself refuses some before we see them
            assert answer.getheader("x-content-type-options") == "nosniff", path
            assert "default-src 'none'" in answer.getheader("content-security-policy")


@pytest.mark.parametrize("header", ["Accept-Language", "Cookie", "Prefer", "Idempotency-Key", "Content-Type", "Host"])
@pytest.mark.parametrize(
    "value", ["\xff", "=" * 4000, "a;b=c;;;", "'\"<script>", "-1", "wait=" + "9" * 400, "ja" * 500]
)
def test_no_header_fails(nation, header, value):
    browser = clerk_of(nation, "tax-union")
    token = {"Authorization": f"Bearer {nation.plan.place('tax-union').token}"}
    for path in ("/desk", "/inquiries", "/health"):
        answer, text = browser.go(path, **{header: value}, **token)
        assert answer.status < 500, text
        assert "<script>" not in text


def test_what_clerks_write_is_shown_as_text(nation):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    told = nation.ask(case=evil, reason=evil)[1]
    browser = clerk_of(nation, "ohashi-city")
    _, text = browser.go(f"/desk/inquiries/{told['id']}")
    assert "<script>" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;" in text


def test_a_double_click_asks_once(nation):
    browser = clerk_of(nation, "ohashi-city")
    _, page = browser.go("/desk/new?affair=child-allowance")
    fields = dict(re.findall(r'name="(_csrf_token|once|affair)" value="([^"]*)"', page))
    assert len(fields["once"]) > 10
    form = {**fields, "what": "local-tax@tax-union", "local_id": nation.local_id("ohashi-city"), "purpose": "collect"}
    places = {browser.go("/desk/new", form)[0].getheader("location") for _ in range(3)}
    assert len(places) == 1
