"""Each role is lost with its disk, restored from a backup that is behind, and nothing that others know of is lost with it."""

from __future__ import annotations

import shutil
import tarfile

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from renkei.cli import app
from renkei.errors import SetupError
from renkei.gateway import desk, service
from renkei.institution.settings import Home
from tests.world import Running, until

BODIES = ("hub", "commission", "numbering-authority", "portal", "tax-union", "ohashi-city")


@pytest.fixture(scope="module", autouse=True)
def soon():
    """What is late is pursued within a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk, "LATE", 500)
        patch.setattr(service, "SWEEP_EVERY", 0.5)
        yield


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def nation(request, tmp_path_factory):
    make = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    running = Running(tmp_path_factory.mktemp("restored") / "nation", residents=60, database=make)
    running.make = make
    yield running
    running.stop()


@pytest.fixture
def files(nation, tmp_path):
    """A backup of everyone, taken while all are at work."""
    nation.ask()
    for body in BODIES:
        done = run("backup", nation.folder / body, tmp_path / f"{body}.tar")
        assert (tmp_path / f"{body}.tar").stat().st_mode & 0o077 == 0, "it holds private keys"
        assert "rows" in done
    return tmp_path


def run(*words):
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.output


def refusal(*words):
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert isinstance(done.exception, SetupError), (words, done.output)
    return done.exception.sentence


def lose_and_restore(nation, files, body):
    """The disk of ``body`` is gone, and with it what came after the backup; its own source database is another's care."""
    nation.stop_body(body)
    home, lost = nation.folder / body, nation.folder / f"{body}.lost"
    home.rename(lost)
    database = ["--database", nation.make(body.replace("-", "_"))] if nation.make else []
    run("restore", files / f"{body}.tar", home, *database)
    if (lost / "source.db").exists():
        shutil.copy(lost / "source.db", home)
    shutil.rmtree(lost)
    nation.start_body(body)


def ended(nation, told, body="ohashi-city"):
    return until(lambda: (s := nation.http(body, told["status_url"])[1])["state"] == "answered" and s, 40)


def records(nation):
    return int(nation.http("portal", "/health", token="")[1]["records"])


def test_a_provider_that_lost_what_it_held_is_reminded(nation, files):
    """Permits it had acknowledged are gone with its disk: one was held for a clerk. The requester's reminder brings it back."""
    local_id = nation.local_id("tax-union", 1)
    flags = {"local_id": local_id, "manual": True, "withheld": False}
    assert nation.http("tax-union", "/flags", flags)[0] < 300
    held = nation.ask(persona=1, wait=1)[1]
    until(lambda: nation.http("tax-union", "/provisions?status=held")[1])
    answered = nation.ask()[1]
    lose_and_restore(nation, files, "tax-union")  # the flag came after the backup, too: the clerk's care
    assert ended(nation, held)["records"]
    assert nation.http("ohashi-city", answered["status_url"])[1]["records"] == answered["records"]
    assert nation.ask()[1]["state"] == "answered"


def test_a_requester_gets_the_answers_it_lost(nation, tmp_path):
    """In its backup the inquiry is open, its answer came after: it asks what became of it, and has the key to open it."""
    nation.stop_body("tax-union")
    open_ = nation.ask(wait=0)[1]
    until(lambda: nation.http("ohashi-city", open_["status_url"])[1]["state"] == "permitted")
    run("backup", nation.folder / "ohashi-city", tmp_path / "ohashi-city.tar")
    nation.start_body("tax-union")
    assert ended(nation, open_)["records"]
    lose_and_restore(nation, tmp_path, "ohashi-city")
    assert ended(nation, open_)["records"]
    assert nation.ask()[1]["state"] == "answered"


def test_a_requester_that_lost_its_receipt_finds_its_leaf(nation):
    """As if the hub had been restored after it acknowledged and before the receipt went: the keepers are asked."""
    town = nation.world.institutions["ohashi-city"]
    told = nation.ask(item="disability", wait=20)[1]
    assert told["state"] == "refused"
    undo = "UPDATE inquiries SET state = 'submitted', finished_at = NULL, leaf = NULL WHERE id = :i"
    find = {"i": bytes.fromhex(told["id"])}
    nation.do(town.database.write(lambda c: c.execute(sa.text(undo), find)))
    again = until(lambda: (s := nation.http("ohashi-city", told["status_url"])[1])["state"] == "refused" and s, 20)
    assert (again["leaf"], again["reason"], again["rows"]) == (told["leaf"], told["reason"], told["rows"])


def test_a_hub_takes_from_the_commission_what_it_lost(nation, files):
    made = [nation.ask()[1] for _ in range(3)]
    size = nation.world.institutions["hub"].keeper.tree.size
    lose_and_restore(nation, files, "hub")
    assert nation.ask(wait=30)[1]["state"] == "answered"
    hub, commission = (nation.world.institutions[b].keeper for b in ("hub", "commission"))
    until(lambda: hub.tree.size == commission.tree.size > size)
    assert hub.tree.root() == commission.tree.root()
    assert [nation.http("ohashi-city", m["status_url"])[1]["state"] for m in made] == ["answered"] * 3


def test_a_commission_signs_nothing_until_its_head_is_confirmed(nation, files):
    newest = nation.ask()[1]["leaf"]
    lose_and_restore(nation, files, "commission")
    until(lambda: nation.http("commission", "/health", token="")[1].get("held"))
    waiting = nation.ask(wait=2)[1]
    assert waiting["state"] == "submitted"
    run("commission", "confirm", newest, "--home", nation.folder / "commission")
    assert ended(nation, waiting)["records"]


def test_a_portal_files_again_what_it_lost(nation, files):
    for _ in range(3):
        nation.ask()
    hub = nation.world.institutions["hub"]
    count = "SELECT count(*) FROM record_inquiries"
    until(lambda: records(nation) == hub.database.read_now(lambda c: c.execute(sa.text(count)).scalar()))
    before = records(nation)
    lose_and_restore(nation, files, "portal")
    until(lambda: records(nation) == before)


def test_the_authority_issues_the_codes_it_always_did(nation, files):
    """They come from its key and the person's internal id, both in the backup: what bodies hold stays good."""
    had = nation.code("tax-union")
    lose_and_restore(nation, files, "numbering-authority")
    nation.register_anew("tax-union")
    until(lambda: nation.code("tax-union") == had)


def test_a_backup_is_whole_or_refused(nation, files, tmp_path):
    """Never over something that is there, never from something else; and it holds no source data and no log."""
    there = tmp_path / "there"
    there.mkdir()
    (there / "letter").write_text("kept")
    assert "not empty" in refusal("restore", files / "hub.tar", there)
    assert (there / "letter").read_text() == "kept"
    assert "exists" in refusal("backup", nation.folder / "hub", files / "hub.tar")
    assert "not a backup" in refusal("restore", there / "letter", tmp_path / "new")
    with tarfile.open(files / "tax-union.tar") as tar:
        names = set(tar.getnames())
    assert {"about.toml", "database", "home/keys.toml", "home/settings.toml", "home/genesis.bin"} <= names
    assert not [n for n in names if n.endswith((".db", ".jsonl", ".lock"))]
    assert Home(nation.folder / "hub").settings().body == "hub"


def test_a_code_that_was_lost_on_its_way_is_asked_for_again(nation):
    """Whoever waits for a code in vain registers the person again: it is asked for under the same handle, and kept once."""
    body, local_id = "ohashi-city", nation.local_id("ohashi-city", 2)
    before = nation.code(body, 2)
    nation.stop_body("numbering-authority")
    try:
        nation.register_anew(body, 2)
        person = {"subjects": [{"local_id": local_id, "number": nation.number(2)}]}
        assert nation.http(body, "/subjects", person) == (202, {"requested": 1})
    finally:
        nation.start_body("numbering-authority")
    until(lambda: nation.code(body, 2))
    assert nation.code(body, 2) == before
    assert nation.http(body, "/subjects", person) == (202, {"requested": 0})
