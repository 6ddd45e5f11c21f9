"""Workers of hub and commission: they do what the keeper would have done, and nothing depends on their being there."""

from __future__ import annotations

import os
import shutil

import msgspec
import pytest

from renkei.errors import Unavailable
from renkei.institution import workers
from renkei.institution.settings import Home
from renkei.institution.workers import Worker
from renkei.messages import frames
from renkei.messages.frames import CallFrame
from renkei.messages.wire import Failed, Work, decode_reply, encode
from tests.service.hub.test_proofs import configure
from tests.world import Running, until


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    """Two workers for each keeper, which hand out whatever there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "AT_LEAST", 1)
        running = Running(tmp_path_factory.mktemp("worked") / "nation", residents=60)
        running.workers = []
        for keeper in ("hub", "commission"):
            running.workers += [start_worker(running, keeper, n) for n in (1, 2)]
            configure(running, keeper, workers=2)
        yield running
        for worker in running.workers:
            running.do(worker.stop())
        running.stop()


def start_worker(nation, keeper, number):
    """A worker's home has the keeper's keys and the genesis; its database is its own and holds only governance."""
    home = Home(nation.folder / f"{keeper}-worker-{number}")
    home.folder.mkdir()
    for name in ("keys.toml", "genesis.bin"):
        shutil.copy(nation.folder / keeper / name, home.folder)
    shutil.copytree(nation.folder / keeper / "law", home / "law")
    settings = Home(nation.folder / keeper).settings()
    settings = msgspec.structs.replace(settings, role="worker", port=0, database=f"sqlite:///{home.folder}/worker.db")
    home.write_toml("settings.toml", msgspec.to_builtins(settings))
    worker = Worker(home.folder)
    nation.do(worker.start())
    state = nation.world.institutions[keeper].keeper.state
    until(lambda: worker.member.state.next_index == state.next_index)
    return worker


def worked(worker):
    found = worker.observe.registry.get_sample_value("renkei_worked_total")
    return int(found or 0)


def of(nation, keeper):
    return [w for w in nation.workers if w.keys.body == keeper]


def test_the_work_of_both_keepers_is_done_by_their_workers(nation):
    """Allowed and refused alike; the record is verified by everyone as if the keepers had done it."""
    before = {k: sum(map(worked, of(nation, k))) for k in ("hub", "commission")}
    assert [nation.ask()[1]["state"] for _ in range(4)] == ["answered"] * 4
    assert nation.ask(item="disability")[1]["state"] == "refused"
    for keeper, count in before.items():
        assert sum(map(worked, of(nation, keeper))) >= count + 5
    sizes = [nation.world.institutions[k].keeper for k in ("hub", "commission")]
    until(lambda: sizes[0].tree.size == sizes[1].tree.size)
    assert sizes[0].tree.root() == sizes[1].tree.root()


def test_without_its_workers_a_keeper_works_alone(nation):
    """Both of the hub's are gone at once, in the middle of the day."""
    gone = of(nation, "hub")
    for worker in gone:
        nation.do(worker.stop())
        nation.workers.remove(worker)
    assert nation.ask()[1]["state"] == "answered"
    for number in (3, 4):
        nation.workers.append(start_worker(nation, "hub", number))
    before = sum(map(worked, of(nation, "hub")))
    assert nation.ask()[1]["state"] == "answered"
    assert sum(map(worked, of(nation, "hub"))) > before


def test_a_worker_answers_by_the_governance_it_was_asked_for_or_not_at_all(nation):
    """One that is behind, or ahead, would rule by another law: it says so, and the keeper does the work."""
    worker = of(nation, "hub")[0]
    now = worker.member.state.next_index
    for governance in (now - 1, now + 1000):
        reply = ask(nation, worker.keys, Work(governance, 0))
        assert isinstance(reply, Failed)
        assert reply.code == "behind"


def ask(nation, keys, work, recipient="hub"):
    async def question():
        frame = CallFrame(keys.body, recipient, os.urandom(16), encode(work))
        bus = nation.world.institutions[keys.body].bus
        data = frames.close(frame, keys.identity, nation.world.institutions["hub"].keys.seal.public)
        raw = await bus.request(f"mail.{recipient}.{keys.body}.work", data, 2)
        return frames.open_frame(
            raw, recipient, nation.world.institutions["hub"].keys.identity.public, keys.body, keys.seal
        )

    return decode_reply(nation.do(question()).body)


def test_nobody_else_gives_work(nation):
    """A body that asks under its own name is not heard: workers listen to their keeper's subject alone."""
    before = [worked(w) for w in nation.workers]
    town = nation.world.institutions["ohashi-city"].keys
    with pytest.raises(Unavailable):
        ask(nation, town, Work(1, 0))
    assert [worked(w) for w in nation.workers] == before
