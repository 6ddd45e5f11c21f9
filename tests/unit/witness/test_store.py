"""The memory of a witness: one root per size, the newest never dropped, all of a transaction or nothing."""

import pytest

from renkei.errors import SetupError
from renkei.ledger.notes import Checkpoint
from renkei.witness.rules import Seen
from renkei.witness.store import RECENT, SPLIT, UNPROVEN, Alarm, Cosigned, Store


@pytest.fixture
def store(tmp_path):
    Store.create(tmp_path / "w.db")
    store = Store(tmp_path / "w.db")
    yield store
    store.close()


def made(size, root=b"r" * 32, time=1):
    return Cosigned(Seen(Checkpoint("log", size, root), f"note {size}"), time, "line\n")


def test_one_root_for_one_size(store):
    """The database itself refuses another, even if the rules failed."""
    with store.transaction() as kept:
        kept.keep(made(5))
    with pytest.raises(AssertionError), store.transaction() as kept:
        kept.keep(made(5, b"x" * 32))
    with store.transaction() as kept:
        assert kept.newest("log") == made(5)


def test_the_list_is_bounded_and_keeps_the_newest(store):
    with store.transaction() as kept:
        for size in range(RECENT + 10):
            kept.keep(made(size, time=100 + size))
        recent = kept.recent("log")
        assert [c.seen.checkpoint.size for c in recent] == list(range(RECENT + 9, 9, -1))
        assert kept.since("log") == 100


def test_a_transaction_that_fails_leaves_nothing(store):
    with pytest.raises(ZeroDivisionError), store.transaction() as kept:
        kept.keep(made(5))
        raise ZeroDivisionError
    with store.transaction() as kept:
        assert (kept.newest("log"), kept.since("log")) == (None, None)


def test_the_first_proof_of_a_split_view_is_the_last_alarm_of_that_log(store):
    def alarm(kind, peer=""):
        return Alarm(kind, "log", peer, 5, 1, "evidence")

    with store.transaction() as kept:
        assert [kept.raise_alarm(alarm(UNPROVEN, p)) for p in ("a", "b", "a")] == [True, True, False]
        kept.settle("log", "a")
        assert kept.alarms() == [alarm(UNPROVEN, "b")]
        assert [kept.raise_alarm(alarm(k, p)) for k, p in ((SPLIT, "a"), (SPLIT, "b"), (UNPROVEN, "c"))] == [
            True,
            False,
            False,
        ]
        assert kept.alarms() == [alarm(SPLIT, "a")]


def test_a_file_that_is_gone_is_not_made_anew(tmp_path):
    with pytest.raises(SetupError, match="forgotten"):
        Store(tmp_path / "none.db")
