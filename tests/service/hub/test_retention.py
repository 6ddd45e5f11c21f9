"""After the law's time the contents of the record are erased; the record itself stays whole."""

import time

import sqlalchemy as sa

from renkei.institution.keeper import YEAR
from renkei.ledger import store as log
from renkei.record import store as index
from renkei.record.permit import from_file
from tests.world import until


def contents(keeper):
    """How many leaves of each kind still have their entry."""
    query = sa.select(log.leaves.c.kind, sa.func.count(log.leaves.c.entry)).group_by(log.leaves.c.kind)
    return keeper._database.read_now(lambda c: dict(c.execute(query).all()))


def settled(nation):
    sizes = {int(nation.http(b, "/health", token="")[1]["log_size"]) for b in ("hub", "commission", "portal")}
    return len(sizes) == 1


def test_what_is_old_is_erased_and_every_proof_still_holds(nation):
    told = nation.ask()[1]
    assert told["state"] == "answered"
    permit = nation.http("ohashi-city", f"/inquiries/{told['id']}/permit")[1]
    until(lambda: settled(nation))
    keepers = [nation.world.institutions[b].keeper for b in ("hub", "commission")]
    before = contents(keepers[0])
    assert nation.do(keepers[0].erase(time.time_ns() // 1_000_000 - 7 * YEAR)) == 0  # nothing is that old
    assert contents(keepers[0]) == before
    size = keepers[0].tree.size
    root = keepers[0].tree.root(size)
    for keeper in keepers:
        assert nation.do(keeper.erase(time.time_ns() // 1_000_000 + 1000)) > 0
        left = contents(keeper)
        assert {left.get(k, 0) for k in ("inquiry", "outcome", "issuance")} == {0}
        assert left["act"] == before["act"]
        assert keeper._database.read_now(lambda c: c.execute(sa.select(index.inquiries)).all()) == []
    for body in ("hub", "commission"):
        nation.stop_body(body)
        nation.start_body(body)
    assert nation.world.institutions["hub"].keeper.tree.root(size) == root
    nation.world.institutions["ohashi-city"].member.notary.open(from_file(permit))  # taken along earlier, still good
    assert until(lambda: nation.ask(wait=20)[1]["state"] == "answered", 30)
    until(lambda: settled(nation))


def test_what_was_erased_is_gone_from_the_file(nation):
    """Not only from the table: no page of the database or of its journal still holds a salt or an entry, while the hub runs."""
    told = nation.ask()[1]
    until(lambda: settled(nation))
    hub = nation.world.institutions["hub"]
    owed = sa.text("SELECT count(*) FROM post_outbox")
    until(
        lambda: hub.database.read_now(lambda c: c.execute(owed).scalar_one()) == 0
    )  # a permit on its way holds its leaf
    leaf = hub.database.read_now(lambda c: log.read(c, told["leaf"], told["leaf"] + 1))[0]
    nation.do(hub.keeper.erase(time.time_ns() // 1_000_000 + 1000))
    if hub.database.engine.url.get_backend_name() != "sqlite":
        return  # PostgreSQL's vacuum is its operator's
    data = b"".join(p.read_bytes() for p in (nation.folder / "hub").glob("hub.db*"))
    assert leaf.hash in data
    assert leaf.salt not in data
    assert leaf.entry[:64] not in data
