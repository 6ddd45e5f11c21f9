"""Signing in by card: over the reader program and over OpenSC; who is let in, to whose file, and who is not."""

import pytest

from tests.cards import Carded, Resident
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
