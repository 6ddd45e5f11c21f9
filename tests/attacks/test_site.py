"""Adversary: a web page that a resident visits, with whatever a page can have their browser do.

Claims it tries to break: the reader program tells it nothing and signs nothing for it that its user did not see and confirm; what is signed
for it is good nowhere else; nobody is signed in as another; no other name leads to the program.
"""

import base64
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.card.virtual import CardFile
from renkei.errors import RenkeiError
from renkei.institution.relying import Challenges, Presented, authentication_message, signed
from tests.cards import Carded, Resident, fields_of
from tests.service.certification.conftest import NEEDS_TOKEN

pytestmark = NEEDS_TOKEN
SITE = "https://shop.example"


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("visited") / "nation")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def reader(nation):
    with nation.reading(nation.card()) as address:
        yield address


@pytest.fixture
def resident(nation):
    return Resident(nation)


def wanted(**changes):
    challenge = base64.b64encode(bytes(48)).decode()
    return {"kind": "authentication", "challenge": challenge, "back": "/in", **changes}


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "http://shop.example",
        "https://shop.example/",
        "https://shop.example@127.0.0.1",
        "file://",
        "x",
        "https://",
    ],
)
def test_a_page_that_cannot_be_named_may_not_ask(resident, reader, origin):
    """Nothing is shown to be confirmed, and nobody is led to what is no address; a page without TLS may not ask unless it is this
    machine's."""
    status, page = resident.post(f"{reader}/ask", origin, **wanted())
    assert (status, 'name="pin"' in page) == (403, False)
    assert (f'href="{origin}"' in page) == (origin == "http://shop.example")


def test_only_pages_that_were_named_may_ask(nation, resident):
    with nation.reading(nation.card(), "https://city.example", elsewhere=True) as reader:
        assert resident.post(f"{reader}/ask", SITE, **wanted())[0] == 403
        assert resident.post(f"{reader}/ask", "https://city.example", **wanted())[0] == 200


@pytest.mark.parametrize("back", ["", "x", "//evil.example/in", "/\\evil.example", "https://evil.example/"])
def test_nobody_is_sent_anywhere_but_to_who_asked(resident, reader, back):
    assert resident.post(f"{reader}/ask", SITE, **wanted(back=back))[0] == 400


@pytest.mark.parametrize("change", [{"kind": "x"}, {"challenge": ""}, {"challenge": "%"}, {"kind": "signature"}])
def test_what_is_not_understood_is_refused(resident, reader, change):
    assert resident.post(f"{reader}/ask", SITE, **wanted(**change))[0] == 400


def test_who_asks_stands_on_the_page_and_in_what_is_signed(nation, resident, reader):
    """It puts the portal's own challenge before the resident, as its own: what it gets does not let it in as them."""
    portal = Resident(nation)
    stolen = fields_of(portal.get("/signin")[1])
    status, page = resident.post(f"{reader}/ask", SITE, **{**stolen, "back": "/in"})
    assert (status, SITE in page, nation.url("portal") in page) == (200, True, False)
    token = fields_of(page)["token"]
    _, page = resident.post(f"{reader}/answer", reader, token=token, pin="1234", act="confirm")
    assert f'action="{SITE}/in"' in page
    given = fields_of(page)
    shown = Presented(*(base64.b64decode(given[n]) for n in ("certificate", "signature")))
    signed(shown, authentication_message(SITE, base64.b64decode(stolen["challenge"])))
    status, page = portal.post(f"{portal.url}/signin/card/finish", portal.url, **given)
    assert (status, "signature is wrong" in page) == (403, True)


def test_nobody_is_signed_in_by_another_s_card_unawares(nation, resident, reader):
    """The page has the visitor's browser finish a sign-in that the page's owner began: the browser never asked for that challenge."""
    owner = Resident(nation)
    _, page = owner.asks(reader)
    _, page = owner.post(f"{reader}/answer", reader, token=fields_of(page)["token"], pin="1234", act="confirm")
    given = fields_of(page)
    for path, answered in (("/signin/card", 200), ("/signin/card/finish", 403)):
        status, page = resident.post(f"{resident.url}{path}", SITE, **given)
        assert status == answered, page
        assert resident.get("/records")[0] in (401, 403)
    assert owner.returns(f"<form>{hidden(given)}</form>")[0] == 200


def hidden(fields):
    return "".join(f'<input type="hidden" name="{n}" value="{v}">' for n, v in fields.items())


def test_a_token_that_was_guessed_answers_nothing(resident, reader):
    for token in ("", "x", "../" * 9):
        assert resident.post(f"{reader}/answer", SITE, token=token, pin="1234", act="confirm")[0] == 404


def test_what_was_answered_is_over(resident, reader):
    _, page = resident.post(f"{reader}/ask", SITE, **wanted())
    token = fields_of(page)["token"]
    _, page = resident.post(f"{reader}/answer", reader, token=token, act="cancel")
    assert fields_of(page) == {"refused": "cancelled"}
    assert resident.post(f"{reader}/answer", reader, token=token, pin="1234", act="confirm")[0] == 404


def test_another_name_does_not_lead_to_the_program(reader):
    """DNS rebinding: the browser believes to be at the page's own host."""
    for path, data in (("/", None), ("/ask", b"kind=authentication"), ("/answer", b"token=x")):
        request = urllib.request.Request(reader + path, data, {"Host": "shop.example", "Origin": SITE})
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request, timeout=10)
        assert refusal.value.code == 404


def test_it_cannot_be_framed_or_read(resident, reader):
    """No page elsewhere reads what the program answers, or shows it inside of itself; nothing of it is kept by the browser."""
    request = urllib.request.Request(reader + "/", headers={"Origin": SITE})
    with urllib.request.urlopen(request, timeout=10) as response:
        headers = {k.lower(): v for k, v in response.headers.items()}
    assert "access-control-allow-origin" not in headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_what_it_wants_signed_is_shown_as_it_is(resident, reader):
    """Its text stays text; what cannot be shown is said to be such; the digest is that of what is signed."""
    for document, readable in (
        (b"<script>alert(1)</script> I owe you 5", True),
        (b"\x00\x01", False),
        ("a\u202eb".encode(), False),
    ):
        fields = wanted(kind="signature", document=base64.b64encode(document).decode(), title="<b>Loan</b>")
        status, page = resident.post(f"{reader}/ask", SITE, **fields)
        assert status == 200
        assert "<b>" not in page
        assert "<script>" not in page
        assert ("I owe you 5" in page) is readable
        assert ("no text that could be shown" in page) is not readable
        assert sha256(document).hexdigest() in re.sub(r"\s", "", page)


def test_a_wrong_pin_says_how_many_are_left_and_gives_nothing_away(nation, resident):
    with nation.reading(nation.card(1), elsewhere=True) as reader:
        _, page = resident.post(f"{reader}/ask", SITE, **wanted())
        token = fields_of(page)["token"]
        status, page = resident.post(f"{reader}/answer", reader, token=token, pin="0000", act="confirm")
        assert (status, "2 tries are left" in page, "certificate" in fields_of(page)) == (403, True, False)
        status, page = resident.post(f"{reader}/answer", reader, token=token, pin="1234", act="confirm")
        assert "certificate" in fields_of(page)


def test_it_cannot_fill_the_program_up(resident, reader):
    """The oldest of what nobody answered goes; whoever asks now is heard."""
    for _ in range(120):
        status, page = resident.post(f"{reader}/ask", SITE, **wanted())
        assert status == 200
    big = wanted(kind="signature", document=base64.b64encode(bytes(1_000_001)).decode())
    assert resident.post(f"{reader}/ask", SITE, **big)[0] == 400
    assert "certificate" in fields_of(
        resident.post(f"{reader}/answer", reader, token=fields_of(page)["token"], pin="1234", act="confirm")[1]
    )


def test_pressed_twice_it_is_signed_once(resident, reader):
    """Two at once: one answer, and of a wrong PIN one try."""
    _, page = resident.post(f"{reader}/ask", SITE, **wanted())
    token = fields_of(page)["token"]
    with ThreadPoolExecutor(2) as pool:
        press = lambda _: Resident.post(resident, f"{reader}/answer", reader, token=token, pin="1234", act="confirm")[0]  # noqa: E731
        assert sorted(pool.map(press, range(2))) == [200, 404]


def test_who_has_no_card_uses_up_no_challenge(nation):
    """Ten thousand junk answers leave room for those who sign."""
    entry = nation.world.institutions["portal"].entry
    before = dict(entry._challenges._used)
    for junk in (b"", b"junk", CardClient(CardFile(nation.card()).chip().transmit).certificate(AUTHENTICATION)):
        for _ in range(50):
            with pytest.raises(RenkeiError):
                nation.do(entry.admit(Presented(junk, bytes(256)), entry.challenge()))
    assert entry._challenges._used == before


def test_a_challenge_is_bound_to_who_gave_it():
    ours, theirs = Challenges(b"a" * 32, lambda: 0), Challenges(b"b" * 32, lambda: 0)
    assert not ours.is_fresh(theirs.new())
    assert ours.is_fresh(ours.new())
