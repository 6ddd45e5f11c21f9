"""At a body's counter: number and identity in one step, for an affair that lets it have numbers; and only at a counter that was set up."""

import base64
import sqlite3

import pytest

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.card.virtual import CardFile
from renkei.gateway import store
from renkei.institution import subjects
from renkei.institution.relying import number_message
from tests.cards import Carded, Resident, fields_of
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = NEEDS_TOKEN
CITY = "ohashi-city"


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("register") / "nation")
    yield running
    running.stop()


@pytest.fixture
def reader(nation):
    with nation.reading(nation.card(), nation.url(CITY), elsewhere=True) as address:
        yield address


@pytest.fixture
def clerk(nation):
    found = Resident(nation, CITY)
    assert found.form("/signin", token=nation.plan.place(CITY).token)[0] == 200
    return found


def card_page(clerk, local_id="new-1", affair="child-allowance"):
    return clerk.form("/desk/register", local_id=local_id, affair=affair)


def main_fields(page):
    """The hidden fields of the form that is the page's own."""
    return fields_of(page.partition("<main")[2])


def at_reader(clerk, reader, page, printed="9876", pin="1234"):
    _, page = clerk.post(f"{reader}/ask", clerk.url, **main_fields(page))
    return clerk.post(
        f"{reader}/answer", reader, token=main_fields(page)["token"], pin=pin, printed=printed, act="confirm"
    )


def finish(clerk, page):
    _, page = clerk.post(f"{clerk.url}/desk/register/card", "", **main_fields(page))
    return clerk.post(f"{clerk.url}/desk/register/finish", clerk.url, **main_fields(page))


def forget(nation):
    city = nation.world.institutions[CITY]
    gone = subjects.subjects.delete().where(subjects.subjects.c.local_id == nation.local_id(CITY))
    nation.do(city.database.write(lambda c: c.execute(gone)))


def test_a_person_is_registered_with_the_card_alone(nation, reader, clerk):
    """The code comes, the reading is noted, and the number is nowhere."""
    code = nation.code(CITY)
    forget(nation)
    status, page = card_page(clerk)
    assert status == 200, page
    status, page = finish(clerk, at_reader(clerk, reader, page)[1])
    assert (status, "new-1" in page) == (200, True), page
    city = nation.world.institutions[CITY]
    find = lambda: city.database.read_now(lambda c: subjects.by_local_id(c, ["new-1"]))  # noqa: E731
    until(lambda: find().get("new-1"))
    assert find()["new-1"].code == code
    status, page = card_page(clerk)  # told before anybody gives a PIN, and what was chosen stays
    assert (status, 'value="child-allowance" selected' in page) == (409, True)
    row = city.database.read_now(lambda c: c.execute(store.readings.select()).one())
    assert (row.local_id, row.affair) == ("new-1", "child-allowance")
    until(
        lambda: city.database.purge() and nation.number().encode() not in files(nation)
    )  # on its way it was in the outbox


def files(nation):
    return b"".join(p.read_bytes() for p in (nation.folder / CITY).glob("ohashi_city.db*"))


def test_an_affair_that_gives_no_number_is_refused(nation, clerk):
    for affair in ("no-such-affair", "", "seamens-insurance"):
        status, page = card_page(clerk, affair=affair)
        assert (status, 'kind" value="number"' in page) == (403, False)
    status, page = card_page(clerk, local_id="")
    assert status == 400


def test_another_number_than_the_card_s_is_refused(nation, reader, clerk):
    """The clerk, or whoever is between, puts in another's: what the card signed says which."""
    _, page = card_page(clerk, "new-2")
    _, page = at_reader(clerk, reader, page)
    given = main_fields(page)
    assert given["number"] == nation.number()
    status, page = clerk.post(f"{clerk.url}/desk/register/finish", clerk.url, **{**given, "number": nation.number(1)})
    assert (status, "signature is wrong" in page) == (403, True)


def test_a_card_that_was_made_to_sign_another_s_number_registers_nobody(nation, clerk):
    """Another's digits put before a genuine card: it signs them, and the authority knows that they are not its holder's."""
    city = nation.world.institutions[CITY]
    refused = nation.counter("hub", "codes_issued")
    card_page(clerk, "new-5")
    page = card_page(clerk, "new-5")[1]
    challenge, number = base64.b64decode(main_fields(page)["challenge"]), nation.number(1)
    card = CardClient(CardFile(nation.card()).chip().transmit)
    signature = card.sign(AUTHENTICATION, "1234", number_message(clerk.url, challenge, number))
    parts = {"certificate": card.certificate(AUTHENTICATION), "signature": signature}
    given = {n: base64.b64encode(v).decode() for n, v in parts.items()} | {"number": number}
    assert clerk.post(f"{clerk.url}/desk/register/finish", clerk.url, **given)[0] == 200
    until(lambda: city.database.read_now(lambda c: c.execute(subjects.wanted.select()).all()) == [])
    assert city.database.read_now(lambda c: subjects.by_local_id(c, ["new-5"])) == {}
    assert nation.counter("hub", "codes_issued") == refused


def test_no_file_is_called_as_a_card_is(nation, clerk):
    assert card_page(clerk, "card-0011223344556677")[0] == 400
    data = {"subjects": [{"local_id": "card-1", "number": nation.number(1)}]}
    assert nation.http(CITY, "/subjects", data)[0] == 400


def test_the_program_gives_the_number_to_counters_that_were_set_up_alone(nation, clerk):
    """No web page gets it, whatever it says it is for."""
    _, page = card_page(clerk, "new-3")
    with nation.reading(nation.card(), elsewhere=True) as anybody:
        status, page = clerk.post(f"{anybody}/ask", clerk.url, **main_fields(page))
        assert (status, "counters alone" in page) == (403, True)
        assert "tell the clerk" in page
        assert "--site" not in page
        assert f'href="{clerk.url}"' in page
        assert "this machine alone" in page.partition("<footer>")[2]
        fields = {"kind": "number", "challenge": "AAAA", "back": "/x", "title": "Free prize"}
        assert clerk.post(f"{anybody}/ask", "https://shop.example", **fields)[0] == 403
    with nation.reading(nation.card(), clerk.url, elsewhere=True) as counter:
        assert clerk.post(f"{counter}/ask", "https://shop.example", **fields)[0] == 403


def test_both_pins_are_needed(nation, reader, clerk):
    _, page = card_page(clerk, "new-4")
    status, page = at_reader(clerk, reader, page, printed="0000")
    assert (status, "number" in main_fields(page)) == (403, False)
    assert "<strong>PIN for what is printed" in page
    _, page = card_page(clerk, "new-4")
    status, page = at_reader(clerk, reader, page, pin="0000")
    assert (status, "number" in main_fields(page)) == (403, False)
    assert "<strong>PIN for signing in" in page
    _, page = card_page(clerk, "new-4")
    assert "number" in main_fields(at_reader(clerk, reader, page)[1])


def test_a_clerk_without_the_duty_or_a_session_registers_nobody(nation):
    nobody = Resident(nation, CITY)
    assert nobody.get("/desk/register")[0] == 401
    assert (
        nobody.post(f"{nobody.url}/desk/register/finish", nobody.url, certificate="AAAA", signature="AAAA", number="1")[
            0
        ]
        == 401
    )
    with sqlite3.connect(nation.folder / CITY / "ohashi_city.db") as kept:
        assert kept.execute("select count(*) from numbers_read where local_id not like 'new-%'").fetchone()[0] == 0
