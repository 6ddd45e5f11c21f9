"""Claim: the bus may lose any one of its three servers, also the one that leads a mailbox, and nothing is lost.

Three real servers keep every mailbox thrice. While inquiries run and one provider is away, so that its permits go into its mailbox,
the server that leads this mailbox is killed; later it comes back. Then the checker looks at everything.
"""

import asyncio
import contextlib

import pytest

from renkei.errors import RenkeiError
from renkei.institution.bus import Bus, mailbox
from renkei.nation.web import call
from tests.faults.checker import examine, mailboxes
from tests.world import Running, until

pytestmark = pytest.mark.long

ABSENT = "pension-service"


@pytest.fixture(scope="module")
def bereft(tmp_path_factory):
    """A nation whose bus lost the leader of the absent provider's mailbox and got it back; the inquiries it accepted."""
    running = Running(tmp_path_factory.mktemp("cluster") / "nation", residents=60, bus_nodes=3)
    try:
        running.stop_body(ABSENT)
        accepted = ask(running, 10)
        until(lambda: running.do(mailboxes(running.plan)).get(ABSENT))  # what it is owed lies in its mailbox
        leader, copies = running.do(leader_of(running, ABSENT))
        assert copies == 3
        server = next(s for s in running.world.buses if s.node.name == leader)
        server.stop(kill=True)
        accepted += ask(running, 40)
        running.start_body(ABSENT)
        accepted += ask(running, 10)
        after, _ = running.do(leader_of(running, ABSENT))
        running.do(server.start())
        with contextlib.suppress(AssertionError):  # then the tests say what is wrong
            until(lambda: not examine(running.folder, running.plan).wrong and not left(running), 100)
        yield running, accepted, leader, after, left(running)
    finally:
        running.stop()


def left(running):
    return running.do(mailboxes(running.plan))


def ask(running, count):
    """Ask the absent provider and a present one, in turn."""
    place, local_id = running.plan.place("ohashi-city"), running.local_id("ohashi-city")
    common = {"local_id": local_id, "affair": "child-allowance", "purpose": "assess-amount"}
    pairs = [("tax-union", "local-tax"), (ABSENT, "pension-benefits")]

    async def one(number):
        provider, item = pairs[number % 2]
        for _ in range(50):
            try:
                return (
                    await call(f"{place.url}/inquiries", place.token, common | {"provider": provider, "item": item})
                )["id"]
            except RenkeiError as error:
                assert error.status == 503, error
                await asyncio.sleep(0.2)
        raise AssertionError("never accepted")

    async def all_of_them():
        return await asyncio.gather(*(one(n) for n in range(count)))

    return running.do(all_of_them(), 60)


async def leader_of(running, body):
    """Which server leads a mailbox, and how many keep it."""
    bus = Bus(running.plan.bus, "operator", running.plan.operator.encode())
    await bus.connect(15)
    try:
        for _ in range(100):
            with contextlib.suppress(Exception):  # there is none for a moment after a death
                info = await bus._client.jetstream().stream_info(mailbox(body))
                if info.cluster and info.cluster.leader:
                    return info.cluster.leader, 1 + len(info.cluster.replicas or [])
            await asyncio.sleep(0.2)
    finally:
        await bus.close()
    raise AssertionError("nobody leads")


def test_another_server_leads_now(bereft):
    _, _, before, after, _ = bereft
    assert before != after


def test_the_world_is_whole(bereft):
    running, accepted, _, _, left_over = bereft
    world = examine(running.folder, running.plan)
    assert world.wrong == []
    assert {world.inquiries[i] for i in accepted} == {"answered"}
    assert left_over == {}
