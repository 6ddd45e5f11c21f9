"""The two copies of the record find together again after either keeper was restored, as the protocol says (docs/protocol.md §5)."""

import shutil
import time

import pytest

from tests.world import Running, until


@pytest.fixture
def nation(tmp_path):
    running = Running(tmp_path / "nation", residents=60)
    yield running
    running.stop()


def snapshot(nation, body, to):
    """A copy of a stopped body's database."""
    shutil.copytree(nation.folder / body, to)


def restore(nation, body, source):
    for path in (nation.folder / body).glob("*.db*"):
        path.unlink()
    for path in source.glob("*.db*"):
        shutil.copy(path, nation.folder / body)


def roots(nation):
    keepers = [nation.world.institutions[b].keeper for b in ("hub", "commission")]
    return {(k.tree.size, k.tree.root()) for k in keepers}


def leaf_of(nation, told):
    return nation.http("ohashi-city", told["status_url"])[1]["leaf"]


def test_a_restored_hub_adopts_the_rounds_it_lost(nation, tmp_path):
    """Old database, newer commission: the hub adopts n rounds, verifying them, and goes on; nothing is answered twice."""
    nation.stop_body("hub")
    snapshot(nation, "hub", tmp_path / "old")
    nation.start_body("hub")
    told = [nation.ask()[1] for _ in range(4)]
    assert {t["state"] for t in told} == {"answered"}
    leaves = [until(lambda t=t: leaf_of(nation, t)) for t in told]  # its receipt may come after the answer
    nation.stop_body("hub")
    restore(nation, "hub", tmp_path / "old")
    nation.start_body("hub")
    for t in told:  # the leaves are where they were
        assert until(lambda t=t: nation.http("ohashi-city", f"/inquiries/{t['id']}/permit")[0] == 200, 30)
    again = nation.ask(wait=20)[1]
    assert again["state"] == "answered"
    assert until(lambda: leaf_of(nation, again)) > max(leaves)
    assert until(lambda: len(roots(nation)) == 1)
    provisions = nation.http("tax-union", "/provisions")[1]
    assert len({p["id"] for p in provisions}) == len(provisions) == 5


def test_a_restored_commission_signs_nothing_until_its_head_is_confirmed(nation, tmp_path):
    """It takes back what carries its own cosignature, then waits for its operator; inquiries wait with it, and are answered after."""
    nation.stop_body("commission")
    snapshot(nation, "commission", tmp_path / "old")
    nation.start_body("commission")
    assert nation.ask()[1]["state"] == "answered"
    nation.stop_body("commission")
    restore(nation, "commission", tmp_path / "old")
    nation.start_body("commission")
    told = nation.ask(wait=1)[1]
    health = until(lambda: (h := nation.http("commission", "/health", token=""))[0] == 503 and h[1])
    assert health["held"] == health["log_size"]
    assert nation.http("ohashi-city", told["status_url"])[1]["state"] == "submitted"
    (nation.folder / "commission" / "confirm").write_text(health["log_size"])
    assert until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered", 30)
    assert until(lambda: len(roots(nation)) == 1)


def test_two_different_histories_stop_both(nation, tmp_path):
    """A hub whose log is not the commission's does not go on, and says so."""
    hub = nation.world.institutions["hub"]
    nation.stop_body("commission")
    nation.ask(wait=0)
    nation.stop_body("hub")
    import sqlite3

    with sqlite3.connect(nation.folder / "hub" / "hub.db") as connection:
        last = connection.execute("select max(position) from ledger_leaves").fetchone()[0]
        connection.execute("update ledger_leaves set hash = ? where position = ?", (b"\1" * 32, last))
    nation.start_body("commission")
    nation.start_body("hub")
    # "different roots" if they are equally long; "root-differs" if the commission has a round that the hub had not stored yet
    words = ("equal size, different roots", "root-differs")
    until(lambda: nation.http("hub", "/health", token="")[1].get("halted") in words)
    assert nation.http("hub", "/health", token="")[0] == 503
    assert hub is not nation.world.institutions["hub"]


def test_health_says_that_the_commission_is_silent(nation):
    """Also when nobody asks anything: nothing can be recorded meanwhile, and an operator should know before a clerk does."""
    nation.stop_body("commission")
    _, health = until(lambda: (h := nation.http("hub", "/health", token=""))[0] == 503 and h)
    assert health["silent"] == "commission"
    nation.start_body("commission")
    until(lambda: nation.http("hub", "/health", token="")[0] == 200)
    assert nation.ask()[1]["state"] == "answered"


def test_what_is_out_of_date_is_refused_in_the_record_however_late_the_ruling_comes(nation):
    """Its own end is long past, but it ends by the keepers' refusal, not by the gateway's clock."""
    nation.stop_body("hub")
    _, told = nation.ask(issued_at=1_767_225_600_000, wait=0)
    time.sleep(4)
    assert nation.http("ohashi-city", told["status_url"])[1]["state"] == "submitted"
    nation.start_body("hub")
    ended = until(lambda: (t := nation.http("ohashi-city", told["status_url"])[1])["state"] != "submitted" and t)
    assert (ended["state"], ended["reason"], ended["rows"]) == ("refused", "issued-at", ["74"])
    assert ended["leaf"] is not None
