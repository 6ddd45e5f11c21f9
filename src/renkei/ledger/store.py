"""A log in a database: leaf hashes, entries, full tiles and checkpoints.

Who writes: the one writer thread of the log's keeper, inside the keeper's transaction. What a crash leaves: whole rounds
only, since a round's leaves, tiles and checkpoint are one transaction; the tree in memory is rebuilt from them.
Every function works on the connection it is given. Entries and salts may be NULL (erased, or never held here).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.errors import NotFound
from renkei.ledger.merkle import TILE_WIDTH, Tree, commitment, leaf_hash
from renkei.rows import Rows

metadata = sa.MetaData()

leaves = sa.Table(
    "ledger_leaves",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary(32), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("salt", sa.LargeBinary(16)),
    sa.Column("entry", sa.LargeBinary),
)
tiles = sa.Table(
    "ledger_tiles",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True),
    sa.Column("hashes", sa.LargeBinary, nullable=False),
)
checkpoints = sa.Table(
    "ledger_checkpoints",
    metadata,
    sa.Column("size", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("previous", sa.BigInteger, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
sa.Index("ledger_leaves_kind", leaves.c.kind, leaves.c.position)

_ADD_LEAVES = Rows(leaves.insert())
_ADD_TILES = Rows(tiles.insert())
_ADD_CHECKPOINTS = Rows(checkpoints.insert())


class Leaf(NamedTuple):
    """One leaf to append: its kind, and the salted entry it commits to (or only the hash, for a follower)."""

    kind: str
    salt: bytes | None
    entry: bytes | None
    hash: bytes

    @classmethod
    def of(cls, kind: str, salt: bytes, entry: bytes) -> Leaf:
        return cls(kind, salt, entry, leaf_hash(commitment(salt, entry)))


class Head(NamedTuple):
    """The newest checkpoint held: its size, the size before its round, its round time (ms), the signed note."""

    size: int
    previous: int
    time: int
    note: str


def open_tree(connection: sa.Connection, read: sa.Engine) -> Tree:
    """The tree of a stored log, ready to append to. ``read`` serves tiles that fell out of the cache."""

    def read_tile(level: int, index: int) -> bytes:
        with read.connect() as c:
            found = c.execute(
                sa.select(tiles.c.hashes).where(tiles.c.level == level, tiles.c.position == index)
            ).scalar()
        if found is None:
            raise NotFound(f"Tile {level}/{index} of the log is missing.", code="ledger-damaged")
        return bytes(found)

    size = connection.execute(sa.select(sa.func.coalesce(sa.func.max(leaves.c.position) + 1, 0))).scalar_one()
    start = size - size % TILE_WIDTH
    tail = connection.execute(
        sa.select(leaves.c.hash).where(leaves.c.position >= start).order_by(leaves.c.position)
    ).scalars()
    tree = Tree(read_tile)
    tree.restore(size, [bytes(h) for h in tail])
    return tree


def append(
    connection: sa.Connection, first: int, new: Sequence[Leaf], filled: Sequence[tuple[int, int, bytes]]
) -> None:
    """Store leaves from position ``first`` on, and the tiles they filled (what ``Tree.append`` answered)."""
    rows = [
        {"position": first + i, "hash": leaf.hash, "kind": leaf.kind, "salt": leaf.salt, "entry": leaf.entry}
        for i, leaf in enumerate(new)
    ]
    _ADD_LEAVES(connection, rows)
    _ADD_TILES(connection, [{"level": lv, "position": n, "hashes": h} for lv, n, h in filled])


def put_checkpoint(connection: sa.Connection, head: Head) -> None:
    _ADD_CHECKPOINTS(connection, [head._asdict()])


def newest(connection: sa.Connection) -> Head | None:
    """The newest checkpoint, or ``None`` for a log without one."""
    row = connection.execute(sa.select(checkpoints).order_by(checkpoints.c.size.desc()).limit(1)).one_or_none()
    return Head(row.size, row.previous, row.time, row.note) if row else None


def heads_after(connection: sa.Connection, size: int, limit: int) -> list[Head]:
    """The rounds that follow the checkpoint of ``size``, oldest first."""
    rows = connection.execute(
        sa.select(checkpoints).where(checkpoints.c.size > size).order_by(checkpoints.c.size).limit(limit)
    )
    return [Head(r.size, r.previous, r.time, r.note) for r in rows]


def read(connection: sa.Connection, first: int, end: int) -> list[Leaf]:
    """Leaves ``first`` … ``end`` (exclusive), in order."""
    rows = connection.execute(
        sa.select(leaves).where(leaves.c.position >= first, leaves.c.position < end).order_by(leaves.c.position)
    )
    return [_leaf(r) for r in rows]


def at(connection: sa.Connection, positions: Sequence[int]) -> dict[int, Leaf]:
    """The leaves at these positions, those there are."""
    rows = connection.execute(sa.select(leaves).where(leaves.c.position.in_(positions)))
    return {r.position: _leaf(r) for r in rows}


def _leaf(row: sa.Row[Any]) -> Leaf:
    return Leaf(row.kind, row.salt and bytes(row.salt), row.entry and bytes(row.entry), bytes(row.hash))


def size_at(connection: sa.Connection, time: int) -> int:
    """The size of the newest head that is not younger than ``time`` (ms); 0 if there is none."""
    query = sa.select(sa.func.coalesce(sa.func.max(checkpoints.c.size), 0)).where(checkpoints.c.time <= time)
    return int(connection.execute(query).scalar_one())


def erase(connection: sa.Connection, kinds: Sequence[str], first: int, end: int) -> int:
    """Forget salts and entries of the leaves of ``kinds`` from ``first`` to before ``end``; how many. Hashes and proofs stay."""
    where = leaves.c.position >= first, leaves.c.position < end, leaves.c.kind.in_(kinds), leaves.c.entry.is_not(None)
    return connection.execute(leaves.update().where(*where).values(salt=None, entry=None)).rowcount


def replay(connection: sa.Connection, kind: str, *, first: int = 0, batch: int = 512) -> Iterator[tuple[int, Leaf]]:
    """Every leaf of ``kind`` from position ``first`` on, with its position: governance state is a fold over these."""
    while True:
        rows = connection.execute(
            sa.select(leaves)
            .where(leaves.c.kind == kind, leaves.c.position >= first)
            .order_by(leaves.c.position)
            .limit(batch)
        ).all()
        for r in rows:
            yield r.position, _leaf(r)
        if len(rows) < batch:
            return
        first = rows[-1].position + 1
