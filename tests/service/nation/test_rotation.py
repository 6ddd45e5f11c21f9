"""Codes and keys rotate while inquiries go on: none is lost or refused, the table's codes are new, what is older is refused after."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from renkei.cli import app
from renkei.codes import Domain
from renkei.institution import rotation, subjects
from renkei.messages.wire import Retire, Rotate, Submit
from renkei.record.state import ref_of
from tests.world import Running, until

BODIES = ("ohashi-city", "tax-union", "portal", "numbering-authority")


@pytest.fixture(scope="module")
def nation(tmp_path_factory, monkeymodule):
    monkeymodule.setattr(rotation, "SETTLE", 1.0)
    running = Running(tmp_path_factory.mktemp("rotating") / "nation", residents=150)
    until(lambda: all(health(running, b)["codes_awaited"] == "0" for b in ("ohashi-city", "tax-union", "portal")), 60)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def monkeymodule():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def health(nation, body):
    return nation.http(body, "/health", token="")[1]


def table(nation, body):
    """Local id → (code, epoch)."""
    rows = sa.select(subjects.subjects.c.local_id, subjects.subjects.c.code, subjects.subjects.c.epoch)
    found = nation.world.institutions[body].database.read_now(lambda c: c.execute(rows).all())
    return {r[0]: (bytes(r[1]), r[2]) for r in found}


def records(nation):
    return int(health(nation, "portal")["records"])


def order(nation, body, *what):
    done = CliRunner().invoke(app, ["rotate", str(nation.folder / body), *what])
    assert done.exit_code == 0, done.output


def retired(nation, body):
    return nation.world.institutions["hub"].keeper.state.retired.get(body)


class Asking:
    """Somebody who asks without pause, and keeps what came of it."""

    def __init__(self, nation):
        self.nation, self.told, self._stop = nation, [], threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self):
        at = 0
        while not self._stop.is_set():
            status, told = self.nation.ask(persona=at % 3, wait=20)
            self.told.append((status, told.get("state"), told.get("records")))
            at += 1

    def stop(self):
        self._stop.set()
        self._thread.join()
        return self.told


def test_everything_goes_on_while_four_bodies_rotate_codes_and_keys_twice(nation):
    """Requester, provider, portal and authority at once: every inquiry made meanwhile is answered with the same data as before."""
    before = {body: table(nation, body) for body in BODIES[:3]}
    same = [nation.ask(persona=p)[1]["records"] for p in range(3)]
    assert all(same)
    asking = Asking(nation)
    for step, what in ((1, ("--codes", "--key")), (2, ("--codes",))):
        for body in BODIES:
            order(nation, body, *what)
        for body in BODIES:
            wanted = Domain(body, step + 1, 2)
            until(lambda body=body, wanted=wanted: retired(nation, body) == wanted, 40)
    told = asking.stop()
    assert len(told) > 5
    assert {(status, state) for status, state, _ in told} == {(200, "answered")}
    assert [t[2] for t in told[:3]] == same
    for body in BODIES[:3]:
        after = table(nation, body)
        assert after.keys() == before[body].keys()
        assert {epoch for _, epoch in after.values()} == {3}
        assert not {code for code, _ in after.values()} & {code for code, _ in before[body].values()}


def test_a_resident_still_finds_what_was_filed_before(nation):
    """The records themselves went over: from before, during and after the rotation, all are under the resident's code."""
    portal = nation.world.institutions["portal"]
    code = table(nation, "portal")[nation.local_id("portal")][0]
    until(lambda: records(nation) == _inquiries(nation))
    mine = "SELECT count(*), min(epoch), max(epoch) FROM access_records WHERE code = :code"
    count, first, last = portal.database.read_now(lambda c: c.execute(sa.text(mine), {"code": code}).one())
    assert count >= 3
    assert (first, last) == (3, 3)


def _inquiries(nation):
    hub = nation.world.institutions["hub"]
    return hub.database.read_now(lambda c: c.execute(sa.text("SELECT count(*) FROM record_inquiries")).scalar_one())


def test_new_codes_are_issued_between_rotated_domains(nation):
    """A body that loses a subject and registers it again gets the very code it had: the authority's codes went over alike."""
    tax = nation.world.institutions["tax-union"]
    local_id = nation.local_id("tax-union")
    had = table(nation, "tax-union")[local_id]
    number = _number(nation)
    nation.do(
        tax.database.write(lambda c: c.execute(sa.text("DELETE FROM subjects WHERE local_id = :i"), {"i": local_id}))
    )
    assert nation.http("tax-union", "/subjects", {"subjects": [{"local_id": local_id, "number": number}]})[0] < 300
    until(lambda: table(nation, "tax-union").get(local_id) == had)


def _number(nation):
    """The number of the first persona, from the roll the authority loaded: its row order is the residents' order."""
    authority = nation.world.institutions["numbering-authority"]
    with authority.database.engine.connect() as c:
        return c.execute(sa.text("SELECT number FROM numbers ORDER BY rowid LIMIT 1")).scalar_one()


def test_what_was_retired_is_refused(nation):
    """Whoever stole the old table and key, and even the town's signing key, asks with the old code in vain."""
    desk = nation.world.institutions["ohashi-city"].desk
    here = table(nation, "ohashi-city")[nation.local_id("ohashi-city")]
    old = subjects.Coded(desk._member.carry(*here, 1), 1)
    honest = desk._make_one
    desk._make_one = lambda ask, clerk, _, line: honest(ask, clerk, old, line)
    try:
        status, told = nation.ask()
    finally:
        del desk._make_one
    assert (status, told["state"], told["reason"]) == (200, "refused", "source")


def test_nobody_orders_or_retires_for_another(nation):
    """Nor skips an epoch, nor retires what is in use: the hub counts it and nothing enters the record."""
    tax, hub = nation.world.institutions["tax-union"], nation.world.institutions["hub"]
    size = hub.keeper.tree.size
    now = hub.keeper.state.domain("tax-union")
    bad = [
        Rotate(ref_of(Domain("ohashi-city", 4, 2))),
        Retire(ref_of(hub.keeper.state.domain("ohashi-city"))),
        Rotate(ref_of(now)),
        Rotate(ref_of(now._replace(code_epoch=now.code_epoch + 2))),
        Rotate(ref_of(now._replace(key_epoch=now.key_epoch - 1))),
        Retire(ref_of(now._replace(key_epoch=now.key_epoch + 1))),
    ]
    nation.do(tax.post.send("hub", [Submit(tax.keys.identity.sign(act)) for act in bad]))
    assert nation.ask()[1]["state"] == "answered"
    state = hub.keeper.state
    assert (state.domain("tax-union"), state.wanted("ohashi-city")) == (now, Domain("ohashi-city", 3, 2))
    until(lambda: hub.keeper.tree.size > size)
