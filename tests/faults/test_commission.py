"""Claim: whoever dies and whatever write fails, what the commission decided is whole: told, recorded, in force and obeyed alike.

Officers decide and lift, publish, ask and close, a body answers and a resident reports, all while inquiries go on. In the first form
one process per role, of which one after the other is killed −9, and the bus; in the second every kind of write of the commission, the
body and the portal fails both ways, then one write in sixteen of anybody's. Then the checker of the whole world, and whether anyone
was told what is not so.

``COMMISSION_ROUNDS`` says how often each process is killed, and how much longer the storm is (1).
"""

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest

from renkei.messages.wire import Lift, Order, Trail, decode_signed
from renkei.nation.world import World
from renkei.record.entries import ActLeaf, InquiryLeaf, decode_entry
from tests.faults import oversight
from tests.faults.bureau import BODY, DONE, UNSURE, Bureau
from tests.faults.checker import examine, mailboxes, rows
from tests.faults.inject import NOT_PERSISTED, PERSISTED, Faults
from tests.world import Running, until

ROUNDS = int(os.environ.get("COMMISSION_ROUNDS", "1"))
VICTIMS = ["commission", "hub", "portal", BODY, "bus", "commission"]
HASTY = """
from renkei.cli import entry
from renkei.commission import service
from renkei.institution import member
service.TRAIL_EVERY, member.FOLLOW_EVERY = 1.0, 2.0
entry()
"""
KINDS = ("order", "lift", "exception", "confirmation", "assessment", "case", "measure", "report", "answer")


class Hasty(World):
    """A nation of processes that follow the record, and put the trail's root into it, more often than they would."""

    def __init__(self, folder):
        super().__init__(folder, processes=True)

    def spawn(self, body):
        home = self.folder / body
        with (home / "log.jsonl").open("ab") as log:
            command = [sys.executable, "-c", HASTY, "run", str(home)]
            self.children[body] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def left(nation):
    return nation.do(mailboxes(nation.plan))


def settled(nation):
    with contextlib.suppress(AssertionError):  # then the tests say what is wrong
        until(lambda: not examine(nation.folder, nation.plan).wrong and not left(nation), 100)
    return left(nation)


# ---------------------------------------------------------------------- processes that die


def kill(nation, victim):
    if victim == "bus":
        nation.world.bus.stop(kill=True)
        time.sleep(0.3)
        nation.do(nation.world.bus.start())
    else:
        nation.world.kill(victim)
        time.sleep(0.3)
        nation.world.spawn(victim)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A nation whose processes died in the middle of everything; who worked in it, and what the mailboxes hold."""
    nation = Running(tmp_path_factory.mktemp("killed") / "nation", residents=60, world=Hasty)
    rng = random.Random(int(os.environ.get("STORM", "5")))
    try:
        bureau = Bureau(nation)

        def disturb():
            for victim in VICTIMS * ROUNDS:
                time.sleep(rng.uniform(1, 2.5))
                bureau.look_at_trail()
                kill(nation, victim)
            with contextlib.suppress(AssertionError):  # on a busy machine they get less done between two deaths
                until(lambda: much_was_done(bureau), 90)

        bureau.work(disturb)
        bureau.clear()
        yield nation, bureau, settled(nation)
    finally:
        nation.stop()


def much_was_done(bureau):
    return min(decided(bureau).values()) >= 1 and len(bureau.inquiries) >= 60


def decided(bureau):
    return {kind: Counter(bureau.summary(kind).values())[DONE] for kind in KINDS}


def test_much_was_decided_while_they_died(killed):
    _, bureau, _ = killed
    assert much_was_done(bureau), (decided(bureau), len(bureau.inquiries))


def test_the_world_is_whole_after_every_death(killed):
    nation, _, left_over = killed
    assert examine(nation.folder, nation.plan).wrong == []
    assert left_over == {}


def test_nobody_was_told_what_is_not_so(killed):
    _, bureau, _ = killed
    assert bureau.deceived() == []
    assert any(isinstance(act, Trail) for act in bureau._acts())


# ---------------------------------------------------------------------- writes that fail

WRITES = [
    ("commission", "INSERT INTO proposals"),
    ("commission", "UPDATE proposals"),
    ("commission", "INSERT INTO cases"),
    ("commission", "INSERT INTO case_papers"),
    ("commission", "UPDATE cases"),
    ("commission", "INSERT INTO assessment_drafts"),
    ("commission", "UPDATE assessment_drafts"),
    ("commission", "INSERT INTO trail"),
    ("commission", "INSERT INTO post_outbox"),
    ("commission", "INSERT INTO ledger_leaves"),
    ("hub", "INSERT INTO ledger_leaves"),
    (BODY, "INSERT INTO demands"),
    (BODY, "UPDATE demands"),
    (BODY, "INSERT INTO followed_acts"),
    ("portal", "INSERT INTO reports"),
    ("portal", "INSERT INTO marks"),
    ("portal", "UPDATE marks"),
]


def both_ways(bureau, faults):
    """Everything is done until each write has failed each way; how often nobody knew whether it had been done, by the way."""
    unsure = {}
    for kind in (NOT_PERSISTED, PERSISTED):
        before = bureau.said()[UNSURE]
        faults.aimed += [(*write, kind) for write in WRITES]
        bureau.work(lambda: until(lambda: not faults.aimed, 60))
        unsure[kind] = bureau.said()[UNSURE] - before
    return unsure


@pytest.fixture(scope="module")
def stormy(tmp_path_factory):
    """A nation after every write failed both ways and a storm; who worked in it, the injector, and what the mailboxes hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("renkei.commission.service.TRAIL_EVERY", 1.0)
        patch.setattr("renkei.institution.member.FOLLOW_EVERY", 2.0)
        faults = Faults(patch, seed=int(os.environ.get("STORM", "20")))
        faults.spared = {
            "mailbox receipt lost"
        }  # the bus brings such a message again only after a while: see test_writes
        nation = Running(tmp_path_factory.mktemp("stormy") / "nation", residents=60)
        try:
            bureau = Bureau(nation, pause=0.2)
            unsure = both_ways(bureau, faults)
            faults.rate = 0.06
            bureau.work(lambda: time.sleep(6 * ROUNDS))
            faults.rate = 0.0
            bureau.clear()
            yield nation, bureau, faults, unsure, settled(nation)
        finally:
            faults.rate = 0.0
            nation.stop()


def test_an_error_is_told_if_and_only_if_nothing_was_written(stormy):
    """Before the storm, when one write at a time failed."""
    *_, unsure, _ = stormy
    assert unsure[NOT_PERSISTED] >= 6
    assert unsure[PERSISTED] == 0


def test_the_storm_was_one(stormy):
    _, bureau, faults, *_ = stormy
    done = {kind: Counter(bureau.summary(kind).values())[DONE] for kind in KINDS}
    assert min(done.values()) >= 2, done
    assert sum(faults.met.values()) >= 60, faults.met


def test_the_world_is_whole_after_every_fault(stormy):
    nation, *_, left_over = stormy
    assert examine(nation.folder, nation.plan).wrong == []
    assert left_over == {}


def test_nobody_was_told_what_is_not_so_in_the_storm(stormy):
    _, bureau, *_ = stormy
    assert bureau.deceived() == []


def test_the_same_is_in_force_everywhere(stormy):
    """What each institution holds in memory, as it came by it under faults."""
    nation, *_ = stormy
    institutions = nation.world.institutions
    first = vars(institutions["hub"].keeper.state.oversight)
    assert len(first["decisions"]) >= 4
    for body, institution in institutions.items():
        state = (
            institution.keeper.state if body == "commission" else institution.member.state if body != "hub" else None
        )
        assert state is None or vars(state.oversight) == first, body


@pytest.mark.parametrize("missing", [Order, Lift])
def test_the_checker_reads_orders_by_their_leaves(stormy, missing):
    """With the orders left out of the record what they refused is wrong; without the lifts, what was allowed afterwards."""
    nation, *_ = stormy
    entries = rows(nation.folder, "hub", "select position, entry from ledger_leaves order by position")
    leaves = {at: decode_entry(entry) for at, entry in entries}
    ends = [size for (size,) in rows(nation.folder, "hub", "select size from ledger_checkpoints order by size")]
    assert list(oversight.stopped(leaves, ends, {})) == []
    met = [leaf for leaf in leaves.values() if isinstance(leaf, InquiryLeaf) and leaf.ruling.reason == "order"]
    if missing is Order and not met:
        pytest.skip("no inquiry met an order in this storm: there is nothing to read wrongly")
    left_out = {
        at: leaf
        for at, leaf in leaves.items()
        if not (isinstance(leaf, ActLeaf) and isinstance(decode_signed(leaf.act.payload), missing))
    }
    assert list(oversight.stopped(left_out, ends, {}))


HARMS = [
    ("commission", "update proposals set state = 'submitted' where state = 'withdrawn'"),
    (
        "commission",
        "delete from proposals where number = (select min(number) from proposals where state = 'submitted')",
    ),
    ("commission", "delete from case_papers where id = (select min(id) from case_papers where kind = 'explanation')"),
    ("commission", "delete from case_papers where id = (select min(id) from case_papers where kind = 'answer')"),
    ("commission", "delete from case_leaves where reference != x''"),
    ("commission", "delete from trail where position = 3"),
    ("commission", "update trail set entry = (select entry from trail where position = 4) where position = 3"),
    ("commission", "delete from assessment_texts"),
    ("commission", "update assessment_drafts set state = 'draft' where state = 'published'"),
    ("portal", "delete from marks where position = (select min(position) from marks)"),
    ("portal", "insert into reports values (x'00112233445566778899aabbccddeeff', 1, 'paper', 0)"),
    ("tax-union", "delete from followed_acts where position = (select max(position) from followed_acts)"),
    (BODY, "delete from demands where document = (select min(document) from demands)"),
    (BODY, "update demands set answer = 'x' where answer is not null"),
]
AGAIN = "insert into case_papers (number, kind, author, at, text, answers) select number, kind, author, at, text, answers from case_papers"
HARMS += [("commission", f"{AGAIN} where kind = '{kind}' limit 1") for kind in ("answer", "report")]


def test_the_checker_finds_what_is_wrong(stormy, tmp_path):
    """Each kind of harm to what was decided, demanded and told is named: otherwise the checker would prove nothing."""
    nation, *_ = stormy
    nation.stop()
    for number, (body, harm) in enumerate(HARMS):
        folder = tmp_path / str(number)
        shutil.copytree(nation.folder, folder)
        with sqlite3.connect(folder / body / f"{body.replace('-', '_')}.db") as connection:
            assert connection.execute(harm).rowcount >= 1, harm
        assert examine(folder, nation.plan).wrong, harm
