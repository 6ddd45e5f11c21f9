"""The record as it grows: one database that is filled to each size and measured there.

What fills it are leaves of which only the hash is kept (as after retention), and as many index entries under evenly spread ids. What is
measured are whole leaves, written as a keeper writes them.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from rich.progress import Progress

from bench.grow import Measure, apart, cpu_seconds, median_us, resident_mb
from bench.ledger import ROUND
from renkei.institution.database import Database
from renkei.ledger import store as log
from renkei.ledger.merkle import Tree
from renkei.ledger.notes import NOTE, Checkpoint, Signer
from renkei.record import store as index

SECONDS = 2.5
AT_ONCE = 1 << 16
PROOFS = 200
BODIES = 200
EXPIRES = 1_800_000_000_000
MEASURES = (
    Measure("append_per_s", "durable appends per second, rounds of 64, SQLite FULL", "flat"),
    Measure("round_per_s", "the same with the keeper's index of inquiries", "floor: a page per random id, then flat"),
    Measure("open_ms", "opening the tree at start, ms", "O(256 · log n) tiles: whole ones are read"),
    Measure("proof_cold_us", "inclusion proof, tree just opened, µs", "O(log n), a few tiles of 256 hashes"),
    Measure("proof_us", "inclusion proof, tiles at hand, µs", "O(log n)"),
    Measure("proof_hashes", "hashes in a proof", "log₂ n"),
    Measure("tree_mb", "memory of the tree just opened, MB", "at most 255 tiles of 50 kB for every 8 bits of n"),
    Measure(
        "tree_full_mb",
        f"memory after {10 * PROOFS:,} proofs all over the log, MB",
        "at most 1,024 tiles of 50 kB, and a page cache",
    ),
    Measure("hash_bytes", "bytes on disk per leaf, hash and tile", "floor 64, flat"),
    Measure("index_bytes", "bytes on disk per inquiry in the index", "floor 80, flat"),
)


def run(sizes: list[int], long: bool, progress: Progress) -> list[dict[str, Any]]:
    """The section's rows."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="renkei-growth-") as folder:
        for size in sizes:
            task = progress.add_task(f"a log of {size:,} leaves", total=size)
            row = {"n": size} | fill(folder, size, lambda done, task=task: progress.update(task, completed=done))  # type: ignore[misc]
            row |= apart(proofs, folder) | {"tree_full_mb": apart(full_mb, folder)}
            rows.append(row | apart(appends, folder))
    return rows


def database(folder: str) -> Database:
    return Database(f"sqlite:///{folder}/log.db", packages=("institution", "ledger", "record"))


def open_tree(db: Database) -> Tree:
    with db.engine.connect() as connection:
        return log.open_tree(connection, db.engine)


def fill(folder: str, size: int, report: Callable[[int], None]) -> dict[str, float]:
    """Bring log and index to ``size``, not durably: bytes on disk per leaf and per inquiry."""
    db = database(folder)
    tree = open_tree(db)
    first, before = tree.size, pages(db)
    with db.engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA synchronous=OFF")
        for start in range(first, size, AT_ONCE):
            hashes = [os.urandom(32) for _ in range(min(AT_ONCE, size - start))]
            with connection.begin():
                log.append(connection, start, [log.Leaf("inquiry", None, None, h) for h in hashes], tree.append(hashes))
            report(start)
        between = pages(db)
        for start in range(first, size, AT_ONCE):
            with connection.begin():
                put_index(connection, first, start, min(start + AT_ONCE, size), size)
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    after = pages(db)
    report(size)
    db.close()
    added = size - first
    return {"hash_bytes": (between - before) / added, "index_bytes": (after - between) / added}


def put_index(connection: sa.Connection, first: int, start: int, end: int, size: int) -> None:
    """Index entries of leaves ``start`` to ``end``. Their ids rise and are spread over all there can be: quick to fill, then random."""
    known = []
    for at in range(start, end):
        id_ = ((at - first) * 2**64 // (size - first)).to_bytes(8, "big") + os.urandom(24)
        known.append(index.Known(id_, at, f"body-{at % BODIES}", f"body-{at % 7}", True, EXPIRES, at))
    index.enter(connection, [(k.id, k.position) for k in known])
    index.add(connection, known)


def pages(db: Database) -> int:
    """Bytes of the database."""
    with db.engine.connect() as connection:
        count = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(count * connection.exec_driver_sql("PRAGMA page_size").scalar_one())


def proofs(folder: str) -> dict[str, float]:
    """Opening and proving, and the memory it takes. In a process of its own."""
    db = database(folder)
    trees = [open_tree(db)]  # whatever opening loads once is loaded
    empty = resident_mb()
    opening = statistics.median(cpu_seconds(lambda: trees.append(open_tree(db))) for _ in range(PROOFS)) * 1e3
    opened = (resident_mb() - empty) / PROOFS
    rng = random.Random(1)
    size = trees[0].size
    at = [rng.randrange(size) for _ in trees]
    cold = median_us(lambda t=t, i=i: t.inclusion(i) for t, i in zip(trees, at, strict=True))  # type: ignore[misc]
    warm = median_us(lambda t=t, i=i: t.inclusion(i) for t, i in zip(trees, at, strict=True))  # type: ignore[misc]
    hashes = len(trees[0].inclusion(at[0]))
    db.close()
    return {
        "open_ms": opening,
        "tree_mb": opened,
        "proof_cold_us": cold,
        "proof_us": warm,
        "proof_hashes": hashes,
    }


def full_mb(folder: str) -> float:
    """Memory of one tree that was asked for proofs all over the log. In a process of its own."""
    db = database(folder)
    with db.engine.connect():  # whatever connecting loads once is loaded
        before = resident_mb()
    tree, rng = open_tree(db), random.Random(1)
    for _ in range(10 * PROOFS):
        tree.inclusion(rng.randrange(tree.size))
    found = resident_mb() - before
    db.close()
    return found


def appends(folder: str) -> dict[str, float]:
    """Durable rounds at this size, without and with the index, on a copy. In a process of its own."""
    signer, found = Signer("bench", NOTE, os.urandom(32)), {}
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        shutil.copy(f"{folder}/log.db", aside)
        db = database(aside)
        tree = open_tree(db)
        for key, indexed in (("append_per_s", False), ("round_per_s", True)):
            found[key] = rate(db, tree, signer, indexed=indexed)
        db.close()
    return found


def rate(db: Database, tree: Tree, signer: Signer, *, indexed: bool) -> float:
    """Median over slices of the leaves made durable per second."""
    rates: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        for _ in range(20):
            append_round(db, tree, signer, indexed)
        rates.append(20 * ROUND / (time.perf_counter() - start))
    return statistics.median(rates)


def append_round(db: Database, tree: Tree, signer: Signer, indexed: bool) -> None:
    """One round of 64 as a keeper makes it: leaves, tiles, checkpoint, and their index, in one commit."""
    leaves = [log.Leaf.of("inquiry", os.urandom(16), os.urandom(700)) for _ in range(ROUND)]
    first = tree.size
    filled = tree.append(leaf.hash for leaf in leaves)
    text = Checkpoint("bench", tree.size, tree.root()).to_text()
    head = log.Head(tree.size, first, 0, f"{text}\n{signer.sign(text)}")
    known = [index.Known(os.urandom(32), first + i, "body-1", "body-2", True, EXPIRES) for i in range(ROUND)]

    def commit(connection: sa.Connection) -> None:
        log.append(connection, first, leaves, filled)
        log.put_checkpoint(connection, head)
        if indexed:
            index.enter(connection, [(k.id, k.position) for k in known])
            index.add(connection, known)

    db.write_now(commit)
