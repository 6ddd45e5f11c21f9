"""Durable appends to the log as a keeper makes them: rounds of 64 leaves, tiles, checkpoint and signature, one commit each."""

from __future__ import annotations

import os
import statistics
import tempfile
import time

from renkei.institution.database import Database
from renkei.ledger import store as log
from renkei.ledger.merkle import Tree
from renkei.ledger.notes import NOTE, Checkpoint, Signer

ROUND = 64
SECONDS = 3.0


def appends_per_second() -> float:
    """Median over slices of the leaves made durable per second on SQLite with synchronous=FULL."""
    signer = Signer("bench", NOTE, os.urandom(32))
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/log.db", packages=("institution", "ledger"))
        tree = Tree(lambda *_: b"")
        rates: list[float] = []
        began = time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            start = time.perf_counter()
            for _ in range(20):
                leaves = [log.Leaf.of("inquiry", os.urandom(16), os.urandom(700)) for _ in range(ROUND)]
                first = tree.size
                filled = tree.append(leaf.hash for leaf in leaves)
                text = Checkpoint("bench", tree.size, tree.root()).to_text()
                head = log.Head(tree.size, first, 0, f"{text}\n{signer.sign(text)}")

                def commit(connection, first=first, leaves=leaves, filled=filled, head=head):  # type: ignore[no-untyped-def]
                    log.append(connection, first, leaves, filled)
                    log.put_checkpoint(connection, head)

                database.write_now(commit)
            rates.append(20 * ROUND / (time.perf_counter() - start))
        database.close()
    return statistics.median(rates)
