"""What an attack is measured by: the record's size, what is in it, and what each body holds."""

from __future__ import annotations

import time
from typing import Any

from renkei.record.entries import Entry, decode_entry
from tests.world import Running, until

BIG = 2**64 - 1


def size(nation: Running) -> int:
    """Leaves in the record."""
    return int(nation.http("hub", "/health", token="")[1]["log_size"])


def quiet(nation: Running) -> int:
    """The log's size once it has stopped growing: outcomes of what went before may still be on their way, on a busy machine for long."""

    def same() -> int:
        before = size(nation)
        for _ in range(2):
            time.sleep(0.5)
            if size(nation) != before:
                return 0
        return before

    return int(until(same))


def recorded(nation: Running, envelope: Any) -> bool:
    """Whether the envelope has a leaf."""
    return bool(nation.world.institutions["hub"].keeper.entered([envelope.id]) == {envelope.id})


def entries(nation: Running, kind: str, *, after: int = 0) -> list[Entry]:
    """The record's entries of one kind, oldest first, in rounds after a size."""
    keeper = nation.world.institutions["commission"].keeper
    copies = keeper.rounds_after(after, limit=10_000, most=10**9)
    return [decode_entry(leaf[2]) for copy in copies for leaf in copy.leaves if leaf[0] == kind]
