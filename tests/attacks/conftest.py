"""The nation that the adversaries attack, and one institution of it gone bad."""

from __future__ import annotations

import msgspec
import pytest

from renkei.institution.settings import Home
from tests.attacks.rogue import Rogue
from tests.world import Running, until


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    """The whole nation, small."""
    running = Running(tmp_path_factory.mktemp("attacked") / "nation", residents=60)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def rogue(nation):
    """A town whose operator attacks the others with the town's own keys."""
    bad = Rogue(nation, "kiriyama-town")
    yield bad
    nation.do(bad.bus.close())


@pytest.fixture
def unharmed(nation):
    """Checks that everyone still works: an inquiry is answered, and its record reaches the resident's file."""

    def check():
        before = int(nation.http("portal", "/health", token="")[1]["records"])
        told = nation.ask()[1]
        # a question lost with a process that was restarted is asked again after RECOVER_WITHIN
        until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered", 40)
        until(lambda: int(nation.http("portal", "/health", token="")[1]["records"]) > before)
        for body in ("hub", "commission", "portal", "numbering-authority", "tax-union", "ohashi-city"):
            until(lambda b=body: nation.http(b, "/health", token="")[0] == 200)

    return check


@pytest.fixture(scope="module")
def audited(nation):
    """Both keepers audit everything."""
    for keeper in ("hub", "commission"):
        home = Home(nation.folder / keeper)
        settings = msgspec.structs.replace(home.settings(), audit_share=1.0)
        nation.stop_body(keeper)
        home.write_toml("settings.toml", msgspec.to_builtins(settings))
        nation.start_body(keeper)
        # a question that the other keeper lost with its process is asked again after RECOVER_WITHIN
        until(lambda: nation.ask()[1]["state"] == "answered", 40)
