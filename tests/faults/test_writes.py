"""Claim: a write that fails though it took effect, or fails and did not, loses nothing and repeats nothing.

A whole nation in this process, on real databases and a real bus, while one in sixteen commits, messages, questions, replies and
mailbox writes meets a fault. Then the faults end, and the checker looks at everything.
"""

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3

import pytest

from renkei.errors import RenkeiError
from renkei.nation.web import call
from tests.faults.checker import examine, mailboxes
from tests.faults.inject import Faults
from tests.world import Running, until

ASKED, ROUND, MOST = 400, 100, 1200
"""Asked at least; more, a round at a time, until enough faults struck: the busier the machine, the more share a commit or a message."""
STRUCK = 60
KINDS = {
    "commit persisted",
    "commit not persisted",
    "message lost",
    "message doubled",
    "question lost",
    "reply lost",
}
ROUTES = [
    ("ohashi-city", "tax-union", "child-allowance", "local-tax", "assess-amount"),
    ("ohashi-city", "tax-union", "child-allowance", "disability", "assess-amount"),  # refused: no row
]


@pytest.fixture(scope="module")
def stormy(tmp_path_factory):
    """A nation after the storm, the injector, the ids it accepted, and what the mailboxes hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "renkei.institution.bus.HELD_FOR", 8.0
        )  # after which a message whose receipt was lost comes again
        faults = Faults(patch, seed=int(os.environ.get("STORM", "20")))
        running = Running(tmp_path_factory.mktemp("writes") / "nation", residents=60)
        try:
            faults.rate = 0.06
            accepted, told = running.do(storm(running, faults), 300)
            faults.rate = 0.0
            with contextlib.suppress(AssertionError):  # then the tests say what is wrong
                until(lambda: settled(running), 100)
            left = running.do(mailboxes(running.plan))
        finally:
            faults.rate = 0.0
            running.stop()
        yield running, faults, accepted, left, told


async def storm(running, faults):
    """Ask, some at a time; what was not accepted (an error came back) is asked again under its key, as a client would."""
    rng, gate, accepted, told = random.Random(3), asyncio.Semaphore(12), [], set()

    async def tells(number):
        """A letter to a resident, under its key."""
        place, local_id = running.plan.place("ohashi-city"), running.local_id("ohashi-city")
        data = {"notice": "care-renewal", "local_id": local_id, "values": {"day": "2027-01-31"}}
        async with gate:
            for _ in range(50):
                try:
                    told.add((await call(f"{place.url}/letters", place.token, data, key=f"letter-{number}"))["id"])
                    return
                except RenkeiError as error:
                    assert error.status == 503, error
                    await asyncio.sleep(0.1)
        raise AssertionError("never accepted")

    async def one(number):
        requester, provider, affair, item, purpose = rng.choice(ROUTES)
        place = running.plan.place(requester)
        data = {"provider": provider, "affair": affair, "item": item, "purpose": purpose}
        data["local_id"] = running.local_id(requester, rng.randrange(len(running.plan.personas[:1])))
        async with gate:
            for _ in range(50):
                try:
                    told = await call(f"{place.url}/inquiries", place.token, data, key=f"storm-{number}")
                    accepted.append(told["id"])
                    return
                except RenkeiError as error:
                    assert error.status == 503, error
                    await asyncio.sleep(0.1)
        raise AssertionError("never accepted")

    for first in range(0, MOST, ROUND):
        if first >= ASKED and set(faults.met) >= KINDS and sum(faults.met.values()) >= STRUCK:
            break
        await asyncio.gather(
            *(one(n) for n in range(first, first + ROUND)), *(tells(n) for n in range(first, first + ROUND // 5))
        )
    await asyncio.sleep(10)  # resending, filing and auditing go on in the storm
    return accepted, told


def letters_of(running, body):
    """By id: the state of each letter in the body's database."""
    with sqlite3.connect(running.folder / body / f"{body.replace('-', '_')}.db") as connection:
        return {bytes(i).hex(): state for i, state in connection.execute("SELECT id, state FROM letters")}


def settled(running):
    for institution in running.world.institutions.values():
        running.do(institution.post._forget())
    world = examine(running.folder, running.plan)
    whole = {*letters_of(running, "ohashi-city").values()} == {"recorded"}
    return not world.wrong and whole and not running.do(mailboxes(running.plan))


def test_the_storm_was_one(stormy):
    """Every kind of fault struck, most of them often."""
    _, faults, accepted, *_ = stormy
    assert len(set(accepted)) == len(accepted) >= ASKED
    assert set(faults.met) >= KINDS
    assert sum(faults.met.values()) >= STRUCK, faults.met


def test_the_world_is_whole(stormy):
    running, _, accepted, left, _ = stormy
    world = examine(running.folder, running.plan)
    assert world.wrong == []
    assert set(accepted) <= set(world.inquiries)
    assert {world.inquiries[i] for i in accepted} == {"answered", "refused"}
    assert left == {}


def test_every_letter_arrived_once(stormy):
    """What was accepted is in the record and with the portal, whole, under the same id; nothing else is."""
    running, *_, told = stormy
    assert len(told) >= ASKED // 5
    assert letters_of(running, "ohashi-city") == dict.fromkeys(told, "recorded")
    assert letters_of(running, "portal") == dict.fromkeys(told, "delivered")


def test_the_checker_finds_what_is_wrong(stormy, tmp_path):
    """Each kind of harm to the stored world is named: otherwise the checker would prove nothing."""
    running, *_ = stormy
    harms = [
        ("hub", "update ledger_leaves set entry = x'00' where position = (select max(position) from ledger_leaves)"),
        ("commission", "delete from ledger_leaves where position = (select max(position) from ledger_leaves)"),
        ("tax-union", "update provisions set leaf = leaf + 1 where id = (select min(id) from provisions)"),
        ("tax-union", "delete from provisions where id = (select min(id) from provisions where state = 'answered')"),
        ("ohashi-city", "update inquiries set state = 'submitted' where id = (select min(id) from inquiries)"),
        ("ohashi-city", "delete from inquiries where id = (select min(id) from inquiries)"),
        ("portal", "delete from access_records where id = (select min(id) from access_records)"),
        ("hub", "insert into post_outbox values ('tax-union', 999999, x'00')"),
    ]
    for number, (body, harm) in enumerate(harms):
        folder = tmp_path / str(number)
        shutil.copytree(running.folder, folder)
        with sqlite3.connect(folder / body / f"{body.replace('-', '_')}.db") as connection:
            assert connection.execute(harm).rowcount == 1
        with contextlib.suppress(RenkeiError):  # an entry that cannot even be read is found, too
            assert examine(folder, running.plan).wrong, harm
