"""Merkle tree of RFC 6962 §2.1, kept as tiles of 256 hashes (C2SP tlog-tiles). Pure.

Only complete subtrees are kept: node ``(level, i)`` covers leaves ``[i·2^level, (i+1)·2^level)``. Appending a leaf costs
two hashes amortised, a proof about 2·log₂ n look-ups; memory is the right edge plus a bounded cache of tiles.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Concatenate, ParamSpec, TypeVar

from renkei.errors import Malformed, NotGenuine

P = ParamSpec("P")
T = TypeVar("T")
HASH_SIZE = 32
TILE_HEIGHT = 8
TILE_WIDTH = 256
EMPTY_ROOT = sha256(b"").digest()

ReadTile = Callable[[int, int], bytes]
"""``read_tile(level, index)`` answers the 256 hashes of a full tile, 8,192 bytes."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def commitment(salt: bytes, entry: bytes) -> bytes:
    """What an entry contributes to the log: SHA-256("renkei/v1/leaf" ‖ salt ‖ entry). Hides the entry once the salt is gone."""
    return sha256(b"renkei/v1/leaf" + salt + entry).digest()


class Tile:
    """Up to 256 hashes of one tile level and the complete subtrees over them: ``rows[r][i]``."""

    __slots__ = ("rows",)

    def __init__(self, hashes: bytes = b"") -> None:
        self.rows: list[list[bytes]] = [[] for _ in range(TILE_HEIGHT)]
        for at in range(0, len(hashes), HASH_SIZE):
            self.push(hashes[at : at + HASH_SIZE])

    def push(self, node: bytes) -> bytes | None:
        """Add a hash; the tile's root when this filled it, else ``None``."""
        for row in self.rows:
            row.append(node)
            if len(row) & 1:
                return None
            node = node_hash(row[-2], node)
        return node

    def to_bytes(self) -> bytes:
        return b"".join(self.rows[0])


def _alone(method: Callable[Concatenate[Tree, P], T]) -> Callable[Concatenate[Tree, P], T]:
    """One thread at a time: proofs are made while the next round is appended."""

    @functools.wraps(method)
    def locked(tree: Tree, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with tree._lock:
            return method(tree, *args, **kwargs)

    return locked


class Tree:
    """A log's tree: append leaf hashes, ask for roots and proofs of this or any earlier size. Thread-safe."""

    def __init__(self, read_tile: ReadTile, *, cache: int = 1024) -> None:
        self.size = 0
        self._edge: list[Tile] = [Tile()]
        self._read_tile = read_tile
        self._cache: OrderedDict[tuple[int, int], Tile] = OrderedDict()
        self._cache_size = cache
        self._ranges: dict[tuple[int, int], bytes] = {}
        self._lock = threading.RLock()

    @_alone
    def append(self, leaves: Iterable[bytes]) -> list[tuple[int, int, bytes]]:
        """Append leaf *hashes*; answers the tiles this filled, as (level, index, 8,192 bytes), to be stored."""
        filled: list[tuple[int, int, bytes]] = []
        for leaf in leaves:
            node: bytes | None = leaf
            level = 0
            while node is not None:
                if level == len(self._edge):
                    self._edge.append(Tile())
                tile = self._edge[level]
                node = tile.push(node)
                if node is not None:  # the tile is full: hand it over and begin the next
                    index = self.size >> (TILE_HEIGHT * (level + 1))
                    filled.append((level, index, tile.to_bytes()))
                    self._remember((level, index), tile)
                    self._edge[level] = Tile()
                    level += 1
            self.size += 1
        self._ranges.clear()
        return filled

    def _remember(self, key: tuple[int, int], tile: Tile) -> None:
        self._cache[key] = tile
        if len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    @_alone
    def restore(self, size: int, tail: Sequence[bytes]) -> None:
        """Take up a stored log: its size and the leaf hashes since its last full tile. O(256·log n) tile reads."""
        if len(tail) != size % TILE_WIDTH:
            raise Malformed("The leaf hashes since the last full tile are not all there.", code="ledger-damaged")
        self.size, self._edge = size, []
        below = Tile(b"".join(tail))
        level = 0
        while True:
            self._edge.append(below)
            full = size >> (TILE_HEIGHT * (level + 1))
            if not full:
                return
            first = full - full % TILE_WIDTH
            below = Tile()
            for index in range(first, full):
                below.push(self._tile_root(level, index))
            level += 1

    def _tile_root(self, level: int, index: int) -> bytes:
        top = self._tile(level, index).rows[-1]
        return node_hash(top[0], top[1])

    def _tile(self, level: int, index: int) -> Tile:
        if index == self.size >> (TILE_HEIGHT * (level + 1)):
            return self._edge[level]
        tile = self._cache.get((level, index))
        if tile is None:
            hashes = self._read_tile(level, index)
            if len(hashes) != TILE_WIDTH * HASH_SIZE:
                raise Malformed(f"Tile {level}/{index} of the log is damaged.", code="ledger-damaged")
            tile = Tile(hashes)
            self._remember((level, index), tile)
        else:
            self._cache.move_to_end((level, index))
        return tile

    def _node(self, level: int, index: int) -> bytes:
        tile_level, row = divmod(level, TILE_HEIGHT)
        shift = TILE_HEIGHT - row
        return self._tile(tile_level, index >> shift).rows[row][index & ((1 << shift) - 1)]

    def _range(self, low: int, high: int) -> bytes:
        """MTH(D[low:high]) for a range that occurs in the recursion of RFC 6962."""
        width = high - low
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self._node(level, low >> level)
        cached = self._ranges.get((low, high))
        if cached is None:
            split = low + (1 << ((width - 1).bit_length() - 1))
            cached = node_hash(self._range(low, split), self._range(split, high))
            self._ranges[low, high] = cached
        return cached

    @_alone
    def root(self, size: int | None = None) -> bytes:
        """The root of the first ``size`` leaves (all by default)."""
        size = self._within(self.size if size is None else size)
        return self._range(0, size) if size else EMPTY_ROOT

    @_alone
    def leaf(self, index: int) -> bytes:
        """The leaf hash at ``index``."""
        self._within(index + 1)
        return self._node(0, index)

    @_alone
    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """The path from leaf ``index`` to the root of size ``size``, leaf end first (RFC 6962 §2.1.1)."""
        high = self._within(self.size if size is None else size)
        if not 0 <= index < high:
            raise Malformed("The log has no such leaf yet.", code="ledger-range")
        low, path = 0, []
        while high - low > 1:
            split = low + (1 << ((high - low - 1).bit_length() - 1))
            if index < split:
                path.append(self._range(split, high))
                high = split
            else:
                path.append(self._range(low, split))
                low = split
        path.reverse()
        return path

    @_alone
    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """Proof that the first ``old`` leaves are a prefix of the first ``new`` (RFC 6962 §2.1.2)."""
        new = self._within(self.size if new is None else new)
        if not 0 < old <= new:
            raise Malformed("A consistency proof needs 0 < old ≤ new.", code="ledger-range")
        low, high, complete, path = 0, new, True, []
        while high != old:
            split = low + (1 << ((high - low - 1).bit_length() - 1))
            if old <= split:
                path.append(self._range(split, high))
                high = split
            else:
                path.append(self._range(low, split))
                low, complete = split, False
        if not complete:
            path.append(self._range(low, high))
        path.reverse()
        return path

    def _within(self, size: int) -> int:
        if not 0 <= size <= self.size:
            raise Malformed("The log is not that large.", code="ledger-range")
        return size


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raise ``NotGenuine`` unless ``path`` leads from ``leaf`` at ``index`` to ``root`` of ``size`` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        raise NotGenuine("The leaf's index is outside the checkpoint.", code="proof-range")
    node, at, last = leaf, index, size - 1
    for step in path:
        if len(step) != HASH_SIZE or last == 0:
            raise NotGenuine("The inclusion proof has the wrong form.", code="proof-wrong")
        if at & 1 or at == last:
            node = node_hash(step, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, step)
        at, last = at >> 1, last >> 1
    if last or node != root:
        raise NotGenuine("The inclusion proof does not lead to the checkpoint's root.", code="proof-wrong")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """Raise ``NotGenuine`` unless ``path`` shows the old log to be a prefix of the new (RFC 9162 §2.1.4.2)."""
    wrong = NotGenuine("The consistency proof does not connect the two checkpoints.", code="consistency-wrong")
    if old == new:
        if path or old_root != new_root:
            raise wrong
        return
    if not 0 < old < new or any(len(h) != HASH_SIZE for h in path):
        raise wrong
    steps = list(path) if old & (old - 1) else [old_root, *path]
    if not steps:
        raise wrong
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise wrong
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    if last or first != old_root or second != new_root:
        raise wrong


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile, e.g. ``tile/0/x001/x234/067.p/12`` (C2SP tlog-tiles)."""
    parts = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        parts.append(f"x{index % 1000:03d}")
    suffix = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(reversed(parts))}{suffix}"


def entry_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries each behind its length as uint16 big-endian (C2SP tlog-tiles)."""
    return b"".join(len(e).to_bytes(2, "big") + e for e in entries)
