"""Adversaries: a clerk who wants more than the work needs, and whoever gets hold of a clerk's or resident's browser.

Claims they try to break: a withheld person cannot be told from an unknown one; each duty is given by name, and what is done under it
names who did it; a session ends; no address leads to a failure or to another site.
"""

import csv
import http.client
import re
import shutil
import sqlite3
import threading
import urllib.parse
from hashlib import sha256

import msgspec
import pytest

from renkei.gateway.visits import Person
from renkei.institution.settings import Clerk, Home
from renkei.messages.signing import seal_answer
from renkei.messages.wire import Answer, Content, Inquiry, Receipt, decode_as
from tests.attacks.measures import entries
from tests.attacks.rogue import Rogue
from tests.conftest import PACK
from tests.world import Running, until

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
        (f"/subscriptions/{'0' * 64}/end", "asker"): {},
        (f"/changes/{'0' * 64}/ask", "asker"): {},
        (f"/changes/{'0' * 64}/settle", "asker"): {},
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
    for act in ("ask", "settle", "end"):
        assert releaser.submit("/desk/held", f"/desk/changes/{'0' * 64}", act=act)[0].status == 403
        assert asker.submit("/desk/held", f"/desk/changes/{'0' * 64}", act=act)[0].status == 404


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
        (f"/desk/changes/{'0' * 64}", {"act": "end"}),
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
        "/desk/changes/" + "g" * 64,
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


# ------------------------------------------------------------------ script in everything a body can say


MARK = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
QUIET = "<img/src=x/onerror=alert(1)>"
"""The same for where a word may hold no spaces."""


@pytest.fixture(scope="module")
def scripted(tmp_path_factory):
    """A nation whose law's pack has script in every name, title and definition; a few inquiries are in its record."""
    folder = tmp_path_factory.mktemp("scripted")
    pack = folder / "pack"
    shutil.copytree(PACK, pack)
    for name in (
        "affairs",
        "bodies",
        "codelists",
        "items",
        "purposes",
        "terms",
        "events",
        "procedures",
        "questions",
        "withholding",
        "redactions",
    ):
        rows = list(csv.DictReader((pack / f"{name}.csv").open(encoding="utf-8")))
        for row in rows:
            row.update({k: _marked(name, k, v) for k, v in row.items() if k in TITLES and v})
        with (pack / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    for path in [pack / "pack.toml", *(pack / "specifications").glob("*.toml")]:
        text = re.sub(
            r'^(ja|en|cite_ja|cite_en) = "(.*)"$',
            r'\1 = "\2<script>alert(1)</script>"',
            path.read_text("utf-8"),
            flags=re.M,
        )
        path.write_text(text, "utf-8")
    running = Running(folder / "nation", residents=60, pack=pack)
    yield running
    running.stop()


TITLES = ("ja", "en", "definition_ja", "definition_en", "hint_ja", "hint_en", "act")


def _marked(sheet, column, text):
    """``text`` with script in it, within the naming rules of the vocabulary."""
    if column.startswith("definition"):
        return text[:-1] + MARK + text[-1]
    return text[:30] + "<script>alert(1)</script>" if sheet == "terms" else text + MARK


def is_text(page, what):
    """What was said stands on the page as text, and nothing of it as markup."""
    ours = re.sub(r'<script src="/static/[a-z]+\.js"( defer| type="module")?></script>', "", page)
    assert "<script" not in ours.lower(), what
    assert "<img/src" not in page, what
    assert "<img src=x" not in page, what
    assert not re.search(r'="[^"]*" onerror', page), what


def test_script_in_what_the_law_calls_things_is_shown_as_text(scripted):
    """Bodies, affairs, items, purposes, fields, codes and citations, on every page of clerks and residents, in both languages."""
    told = scripted.ask(case=MARK, reason=MARK)[1]
    scripted.ask(item="disability", case=MARK)
    assert told["state"] == "answered"
    until(lambda: int(scripted.http("portal", "/health", token="")[1]["records"]) >= 2)
    flag(scripted, manual=True)
    held(scripted)
    resident = Browser(scripted, "portal").sign_in(secret=scripted.plan.personas[0].secret)
    links = re.findall(r'href="(/records/\d+)"', resident.go("/records")[1])
    assert len(links) >= 2
    visits = scripted.world.institutions["ohashi-city"].visits
    person = Person(scripted.local_id("ohashi-city"), "applicant")
    visit = scripted.do(visits.open("職員A", "moving-in", [person], ("passport",), "kiriyama-town"))
    pages = {
        "portal": (resident, ["/", "/signin", "/records", *links, "/records/999999", "/nowhere"]),
        "ohashi-city": (
            clerk_of(scripted, "ohashi-city"),
            [
                "/desk",
                "/desk/new",
                f"/desk/new?affair={told['affair']}",
                f"/desk/inquiries/{told['id']}",
                "/signin",
                "/schema",
                "/desk/counter",
                f"/desk/counter/{visit}",
                f"/desk/counter/{visit}/resident",
                "/desk/tasks",
            ],
        ),
        "tax-union": (
            clerk_of(scripted, "tax-union"),
            [
                "/desk",
                "/desk/held",
                "/desk/changes",
                "/desk/new",
                "/desk/sources",
                "/desk/sources/local-tax?table=T_LOCAL_TAX",
            ],
        ),
        "catalogue": (
            Browser(scripted, "catalogue"),
            ["/", "/items/local-tax", "/terms", "/terms/sex", "/bodies/ohashi-city", "/datasets", "/corporations"],
        ),
    }
    shown = 0
    for browser, paths in pages.values():
        for path in paths:
            for lang in ("ja", "en"):
                answer, page = browser.go(f"{path}{'&' if '?' in path else '?'}lang={lang}")
                assert answer.status < 500
                is_text(page, (path, lang))
                shown += page.count("&lt;script&gt;")
    assert shown > 100


def test_script_in_what_the_hub_and_a_provider_send_is_shown_as_text(nation):
    """A receipt's reason, rows and who refused; an answer's texts: with the real keys of who sends them."""
    honest = nation.ask()[1]["records"][0]
    bad = Rogue(nation, "tax-union")
    told = nation.ask(wait=0)[1]
    leaf = until(lambda: next((e for e in entries(nation, "inquiry") if e.inquiry.id.hex() == told["id"]), None))
    inquiry = decode_as(leaf.inquiry.payload, Inquiry)
    pack = nation.world.institutions["ohashi-city"].member.pack
    free = [f.name for f in pack.specifications["local-tax"].fields if pack.terms[f.term].type == "text"]
    record = {**honest, **dict.fromkeys(free, MARK)}
    content = Content("local-tax", 1, [record])
    bad.send("ohashi-city", Answer(leaf.inquiry.id, seal_answer(content, inquiry.reply_key, leaf.inquiry.id)))
    clerk = clerk_of(nation, "ohashi-city")
    try:
        until(lambda: MARK[:8] in str(nation.http("ohashi-city", told["status_url"])[1]["records"]))
        page = clerk.go(f"/desk/inquiries/{told['id']}")[1]
        assert "&lt;script&gt;" in page
        is_text(page, "answer")
        waiting = nation.ask(wait=0)[1]
        hub = nation.world.institutions["hub"]
        lie = Receipt(bytes.fromhex(waiting["id"]), 5, False, told["issued_at"], QUIET, ["74"], QUIET)
        nation.do(hub.post.send("ohashi-city", [lie]))
        until(lambda: nation.http("ohashi-city", waiting["status_url"])[1]["state"] == "refused")
        page = clerk.go(f"/desk/inquiries/{waiting['id']}")[1]
        assert "&lt;img/src" in page
        is_text(page, "receipt")
    finally:
        bad.leave()


def test_script_in_what_is_typed_comes_back_as_text(nation):
    """Every field of the forms and every query, sent back with what was wrong with it."""
    clerk = clerk_of(nation, "ohashi-city")
    fields = ("what", "local_id", "purpose", "case", "reason", "once", "affair", "withheld")
    for field in fields:
        form = {
            "affair": "child-allowance",
            "what": "local-tax@tax-union",
            "local_id": "1",
            "purpose": "collect",
            field: MARK,
        }
        is_text(clerk.submit("/desk/new?affair=child-allowance", "/desk/new", **form)[1], field)
    for path in ("/desk/new?affair=", "/desk?before=", "/signin?lang=", "/desk/inquiries/", "/nowhere/"):
        is_text(clerk.go(path + urllib.parse.quote(MARK, safe=""))[1], path)
    is_text(Browser(nation, "ohashi-city").submit("/signin", "/signin", token=MARK)[1], "token")
    is_text(Browser(nation, "portal").submit("/signin", "/signin", secret=MARK)[1], "secret")


def test_batch_names_come_back_as_data(nation):
    """What a clerk calls a file is JSON, whatever it holds, and never a page."""
    body = b"local_id,provider,affair,item,purpose\n1,tax-union,child-allowance,local-tax,collect\n"
    name = urllib.parse.quote(MARK)
    status, told = nation.http("ohashi-city", f"/batches?name={name}", body, Content_Type="text/csv")
    assert (status, told["name"]) == (202, MARK)
    answer, _ = Browser(nation, "ohashi-city").go(
        "/batches", Authorization=f"Bearer {nation.plan.place('ohashi-city').token}"
    )
    assert answer.getheader("content-type").startswith("application/json")


# ------------------------------------------------------------------ forms, sessions, redirects


FORMS = {
    "tax-union": ("/signin", "/signout", "/desk/new", f"/desk/held/{'0' * 64}", f"/desk/changes/{'0' * 64}"),
    "portal": ("/signin", "/signout"),
}


@pytest.mark.parametrize("body", FORMS)
def test_a_form_of_another_site_does_nothing(nation, body):
    """No form is taken without the token of this browser's own page: none, another browser's, in the query, or under another kind."""
    signed_in = (
        clerk_of(nation, body)
        if body == "tax-union"
        else Browser(nation, body).sign_in(secret=nation.plan.personas[0].secret)
    )
    _, page = Browser(nation, body).go("/signin")
    foreign = re.search(r'name="_csrf_token" value="([^"]+)"', page).group(1)
    for path in FORMS[body]:
        for form, where in (({}, path), ({"_csrf_token": foreign}, path), ({}, f"{path}?_csrf_token={foreign}")):
            for origin in ({}, {"Origin": "https://evil.example"}, {"X-Requested-With": "XMLHttpRequest"}):
                assert signed_in.go(where, {"act": "release", **form}, **origin)[0].status == 403, where
    assert signed_in.go("/desk" if body == "tax-union" else "/records")[0].status == 200  # and nobody was signed out


@pytest.mark.parametrize("body", FORMS)
def test_signing_in_begins_a_session_of_its_own(nation, body):
    """A session that somebody planted before is not the one that is signed in; after signing out the browser has none."""
    mine = (
        {"token": nation.plan.place(body).token} if body == "tax-union" else {"secret": nation.plan.personas[0].secret}
    )
    inside, name = ("/desk" if body == "tax-union" else "/records"), f"session-{body}"
    attacker, victim = Browser(nation, body), Browser(nation, body)
    attacker.go("/signin")
    victim.cookies = dict(attacker.cookies)
    planted = victim.cookies.get(name)
    victim.sign_in(**mine)
    assert victim.cookies[name] != planted
    assert attacker.go(inside)[0].status == 401
    answer, _ = victim.submit(inside, "/signout")
    assert answer.status == 303
    assert victim.go(inside)[0].status == 401


@pytest.mark.parametrize("body", FORMS)
def test_every_redirect_stays_here(nation, body):
    """Whatever the request says of hosts and of where to go next."""
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Referer": "https://evil.example/"}
    browser = Browser(nation, body)
    browser.go("/signin")
    secret = (
        {"token": nation.plan.place(body).token} if body == "tax-union" else {"secret": nation.plan.personas[0].secret}
    )
    for path in (
        "/",
        "/?next=https://evil.example",
        "//evil.example",
        "/signin?next=//evil.example",
        "/\\evil.example",
    ):
        answer, _ = browser.go(path, **evil)
        assert "evil" not in (answer.getheader("location") or ""), path
    answer, _ = browser.submit("/signin", "/signin?next=https://evil.example", next="https://evil.example", **secret)
    assert answer.getheader("location") in ("/desk", "/records")
