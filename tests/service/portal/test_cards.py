"""Signing in by card: over the reader program and over OpenSC; who is let in, to whose file, and who is not."""

import base64
import re
import subprocess
import urllib.parse
import urllib.request
from hashlib import sha256

import pytest
from cryptography import x509
from litestar.middleware.session.client_side import ClientSideSessionBackend

from renkei.authority import store as roll
from renkei.card.client import AUTHENTICATION, CardClient
from renkei.card.virtual import CardFile
from renkei.institution import subjects
from renkei.institution.web import cookie_session
from renkei.nation.cards import PINS
from renkei.nation.plan import free_ports
from renkei.numbers import IndividualNumber
from renkei.portal import store
from tests.cards import RENKEI, Carded, Resident, _answers
from tests.service.card.conftest import NEEDS_READER
from tests.service.card.conftest import insert as insert
from tests.service.card.test_opensc import MODULE
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = NEEDS_TOKEN


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("carded") / "nation")
    yield running
    running.stop()


@pytest.fixture
def reader(nation):
    with nation.reading(nation.card()) as address:
        yield address


def seen(resident):
    """The records of whoever is signed in."""
    return until(lambda: (page := resident.get("/records")[1]) and "http-equiv" not in page and page)


def test_a_card_opens_the_account_there_is(nation, reader):
    """The same as another way in opens, for the code is the same: no number was told to the portal."""
    told = nation.ask()[1]
    until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered")
    resident = Resident(nation)
    status, page = resident.signs_in(reader)
    assert status == 200, page
    assert until(lambda: "Ohashi" in seen(resident))


def test_whoever_has_no_account_gets_one_and_their_own_file(nation):
    """At the first time the code is on its way, and the page says so and looks again by itself."""
    portal = nation.world.institutions["portal"]
    local_id, code = nation.local_id("portal", 1), nation.code("portal", 1)
    forget = subjects.subjects.delete().where(subjects.subjects.c.local_id == local_id)
    nation.do(portal.database.write(lambda c: c.execute(forget)))
    resident = Resident(nation)
    nation.stop_body("numbering-authority")
    try:
        with nation.reading(nation.card(1), elsewhere=True) as reader:
            status, page = resident.signs_in(reader)
        assert (status, "One moment" in page, 'http-equiv="refresh"' in page) == (200, True, True)
        assert 'action="/signout"' in page
    finally:
        nation.start_body("numbering-authority")
    seen(resident)
    find = portal.database.read_now(lambda c: subjects.by_code(c, portal.member, [code]))
    assert find[code].local_id.startswith("card-")
    with nation.reading(nation.card(1), elsewhere=True) as reader:
        again = Resident(nation)
        assert again.signs_in(reader)[0] == 200
        assert "http-equiv" not in again.get("/records")[1]


def test_a_card_whose_holder_nobody_knows_is_told_so(nation):
    """The certificate is good, and the numbering authority was never told whose it is."""
    authority = nation.world.institutions["numbering-authority"]
    kept = authority.database.read_now(lambda c: c.execute(roll.certificates.select()).all())
    nation.do(authority.database.write(lambda c: c.execute(roll.certificates.delete())))
    portal = nation.world.institutions["portal"]
    nation.do(portal.database.write(lambda c: c.execute(subjects.cards.delete())))
    forget = subjects.subjects.delete().where(subjects.subjects.c.local_id == nation.local_id("portal", 2))
    nation.do(portal.database.write(lambda c: c.execute(forget)))
    resident = Resident(nation)
    with nation.reading(nation.card(2), elsewhere=True) as reader:
        assert resident.signs_in(reader)[0] == 200
        until(lambda: resident.get("/records")[0] == 404)
        assert "knows nobody by this card" in resident.get("/records")[1]
        again = roll.certificates.insert()
        nation.do(authority.database.write(lambda c: c.execute(again, [r._asdict() for r in kept])))
        assert resident.signs_in(reader)[0] == 200
        seen(resident)


def test_the_next_certificate_of_a_person_opens_the_same_account(nation, tmp_path):
    """A second card: another certificate, told to the authority by a clerk; the portal learns from the code alone who it is."""
    nation.world.children.pop("certification").kill()
    face = nation.plan.personas[0]
    number, pins = tmp_path / "number", tmp_path / "pins"
    number.write_text(nation.number())
    pins.write_text("\n".join(PINS))
    home, card = nation.folder / "certification", tmp_path / "card.json"
    about = ["--name", face.ja, "--address", "大橋市", "--birth", "1990-01-01", "--sex", "2", "--number", str(number)]
    for command in (["produce", home, card, *about], ["hand-over", home, card, "--pins", pins]):
        subprocess.run([RENKEI, "certification", *map(str, command)], check=True, stdout=subprocess.PIPE)
    nation.world.spawn("certification", "certification", "run")
    until(lambda: nation.authorities("/checkpoint"))
    der = CardClient(CardFile(card).chip().transmit).certificate(AUTHENTICATION)
    told = {"number": nation.number(), "certificate": base64.b64encode(der).decode()}
    assert nation.http("numbering-authority", "/certificates", told)[0] == 204
    for which in (nation.card(), card):
        with nation.reading(which, elsewhere=True) as reader:
            resident = Resident(nation)
            assert resident.signs_in(reader)[0] == 200
            seen(resident)
    opened = {account_of(nation, which) for which in (nation.card(), card)}
    assert opened == {nation.local_id("portal")}


def account_of(nation, card):
    key = sha256(CardClient(CardFile(card).chip().transmit).certificate(AUTHENTICATION)).digest()
    return nation.world.institutions["portal"].database.read_now(lambda c: subjects.holder_of(c, key))


def test_a_number_that_leaked_is_replaced_and_every_code_stays(nation):
    """D.9: the person keeps every linkage; the old number leads to them still, for what was under way; it is given to nobody else."""
    old, codes = nation.number(2), {b: nation.code(b, 2) for b in ("tax-union", "ohashi-city")}
    status, told = nation.http("numbering-authority", "/numbers/replace", {"number": old, "reason": "leaked"})
    assert status == 201
    assert told["number"] != old
    IndividualNumber.parse(told["number"])
    for body in ("ohashi-city", "tax-union"):
        nation.register_anew(body, 2)
        until(lambda body=body: nation.code(body, 2) == codes[body])
    status, problem = nation.http("numbering-authority", "/numbers/replace", {"number": old, "reason": "leaked"})
    assert (status, problem["title"]) == (409, "replaced")
    for number, reason in ((old, "wish"), ("1", "leaked"), ("0" * 12, "leaked")):
        assert nation.http("numbering-authority", "/numbers/replace", {"number": number, "reason": reason})[0] in (
            400,
            404,
        )
    status, counted = nation.http("numbering-authority", "/numbers/statistics")
    assert (status, sum(m["leaked"] for m in counted["replaced"].values())) == (200, 1)
    assert old not in str(counted)


def test_only_whoever_has_the_duty_says_whose_a_certificate_is(nation):
    for path, data in (
        ("/certificates", {"number": "1", "certificate": ""}),
        ("/numbers/replace", {"number": "1", "reason": "x"}),
    ):
        assert nation.http("numbering-authority", path, data, token="")[0] == 401
        assert nation.http("numbering-authority", path, data, token="guess")[0] == 401
    der = CardClient(CardFile(nation.card()).chip().transmit).certificate(AUTHENTICATION)
    told = {"number": nation.number(1), "certificate": base64.b64encode(der).decode()}
    status, problem = nation.http("numbering-authority", "/certificates", told)
    assert (status, problem["title"]) == (409, "certified")
    assert nation.http("numbering-authority", "/certificates", {**told, "certificate": "AAAA"})[0] == 400


@NEEDS_READER
def test_an_unmodified_opensc_signs_the_portal_s_challenge(nation, insert, tmp_path):
    """No program of ours touches the card: the bytes are fetched, pkcs11-tool signs them, a form is sent."""
    resident = Resident(nation)
    message, signature, certificate = (tmp_path / n for n in ("message", "signature", "certificate"))
    message.write_bytes(resident.get("/signin/card/message")[1])
    with insert(nation.card()) as reader:
        tool = ["pkcs11-tool", "--module", MODULE, "--slot-index", "0"]
        sign = ["--sign", "--mechanism", "SHA256-RSA-PKCS", "--pin", "1234"]
        code, said = reader.run(*tool, *sign, "--input-file", message, "--output-file", signature)
        assert code == 0, said
        code, said = reader.run(*tool, "--read-object", "--type", "cert", "--id", "01", "--output-file", certificate)
        assert code == 0, said
    fields = {f.name: base64.b64encode(f.read_bytes()).decode() for f in (certificate, signature)}
    status, page = resident.post(f"{resident.url}/signin/card/finish", resident.url, **fields)
    assert status == 200, page
    seen(resident)


def test_whoever_s_certificate_ends_soon_is_reminded(nation, reader):
    """Within the pack's days before the end, at each sign-in; not before."""
    portal = nation.world.institutions["portal"]
    resident = Resident(nation)
    assert resident.signs_in(reader)[0] == 200
    assert "Have it renewed" not in seen(resident)
    der = CardClient(CardFile(nation.card()).chip().transmit).certificate(AUTHENTICATION)
    end = int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() * 1000)
    clock = portal.clock
    for days, told in (
        (100, None),
        (80, (80, False)),
        (8, (8, False)),
        (7, (7, True)),
        (0, (0, True)),
        (-1, (0, True)),
    ):
        try:
            portal.clock = lambda days=days: end - days * 86_400_000
            ends = portal.ending({"until": end})
            assert (ends and (ends.days, ends.near)) == told
        finally:
            portal.clock = clock
    assert portal.ending({}) is None


@pytest.mark.parametrize(
    ("days", "left", "style"), [(80, "80 days are left.", "notice"), (1, "One day is left.", "notice bad")]
)
def test_the_last_week_is_told_more_strongly(nation, reader, days, left, style):
    """A session as the sign-in of somebody with such a certificate leaves it."""
    portal = nation.world.institutions["portal"]
    assert Resident(nation).signs_in(reader)[0] == 200
    der = CardClient(CardFile(nation.card()).chip().transmit).certificate(AUTHENTICATION)
    now = portal.clock()
    session = {"key": sha256(der).hexdigest(), "since": now, "until": now + days * 86_400_000}
    config = cookie_session(portal.settings, portal.keys.derive("session"), 600)
    (sealed,) = ClientSideSessionBackend(config).dump_data(session)
    request = urllib.request.Request(f"{nation.url('portal')}/records?lang=en")
    request.add_header("Cookie", f"{config.key}={sealed.decode()}")
    request.add_header("Accept", "text/html")
    with urllib.request.urlopen(request) as response:
        page = response.read().decode()
    assert f'<p class="{style}" role="status"><strong>{left}</strong>' in page


def test_no_site_is_told_of_whoever_is_not_found_yet(nation):
    """While it is not known whose a card is, it has no name at any site: it would be another afterwards."""
    portal = nation.world.institutions["portal"]
    site = next(iter(portal.sign_on.clients.values()))
    nation.do(portal.database.write(lambda c: c.execute(subjects.cards.delete())))
    nation.stop_body("numbering-authority")
    try:
        resident = Resident(nation)
        with nation.reading(nation.card(), elsewhere=True) as reader:
            resident.signs_in(reader)
        query = {
            "response_type": "code",
            "client_id": site.id,
            "redirect_uri": site.redirect_uris[0],
            "scope": "openid",
            "code_challenge": "a" * 43,
            "code_challenge_method": "S256",
        }
        asked = urllib.parse.urlencode(query)
        assert "One moment" in resident.get(f"/oidc/authorize?{asked}")[1]
        token = re.search(r'name="_csrf_token" value="([^"]*)"', resident.get("/oidc/logout")[1])[1]
        resident.post(f"{resident.url}/oidc/agree", resident.url, _csrf_token=token, asked=asked, act="agree")
        names = portal.database.read_now(lambda c: c.execute(store.grants.select()).all())
        assert names == []
    finally:
        nation.start_body("numbering-authority")


def test_with_the_command(nation):
    """The reader program as residents start it: a process of its own."""
    port = free_ports(1)[0]
    command = [RENKEI, "card", "serve", "--card", nation.card(), "--port", str(port), "--site", nation.url("portal")]
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE) as program:
        until(lambda: _answers(f"http://127.0.0.1:{port}"))
        assert Resident(nation).signs_in(f"http://127.0.0.1:{port}")[0] == 200
        program.terminate()
        assert program.wait(10) == 0
