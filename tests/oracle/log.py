"""A verifier of the log of its own, from RFC 6962 §2.1 and C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles, tlog-proof.

It shares no code with ``renkei`` and takes other ways where there are several: proofs are checked by folding the path as RFC 9162
§2.1.3.2 words it, roots come from a stack of complete subtrees. Everything wrong is a ``Wrong`` with one sentence.

    python -m tests.oracle.log PERMIT KEYS              a permit file
    python -m tests.oracle.log --log FOLDER KEYS        the log in a keeper's folder (its SQLite file), from leaf 0 to its newest head
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Wrong(Exception):
    """What does not hold."""


class Key(NamedTuple):
    """One line of the keys file (C2SP signed-note: name+id+base64)."""

    name: str
    id: bytes
    algorithm: int
    public: bytes


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def base64_of(text: str) -> bytes:
    data = base64.standard_b64decode(text)
    if base64.standard_b64encode(data).decode() != text:
        raise Wrong("base64 that is not canonical")
    return data


def read_keys(text: str) -> list[Key]:
    keys = []
    for line in filter(None, text.split("\n")):
        name, id_, data = line.split("+", 2)
        raw = base64_of(data)
        if sha(name.encode(), b"\n", raw)[:4].hex() != id_:
            raise Wrong(f"the id of {name} is not its key's")
        keys.append(Key(name, bytes.fromhex(id_), raw[0], raw[1:]))
    return keys


class Head(NamedTuple):
    origin: str
    size: int
    root: bytes
    times: dict[str, int]
    """Cosigners and the time (seconds) each signed at."""


def read_note(note: str, keys: Iterable[Key]) -> Head:
    """A checkpoint under the signatures of all ``keys``."""
    at = note.rindex("\n\n")
    text, lines = note[: at + 1], note[at + 2 :].split("\n")
    if lines.pop():
        raise Wrong("a note ends with its last signature's line")
    times = {}
    for key in keys:
        found = [line for line in lines if line.startswith(f"\u2014 {key.name} ")]
        matching = [raw for raw in (base64_of(line.rsplit(" ", 1)[1]) for line in found) if raw[:4] == key.id]
        if len(matching) != 1:
            raise Wrong(f"{len(matching)} signatures of {key.name}")
        signature, message = matching[0][4:], text.encode()
        if key.algorithm == 4:  # cosignature/v1: 8 bytes of time, then a signature over header, time and note
            times[key.name] = int.from_bytes(signature[:8], "big")
            message = f"cosignature/v1\ntime {times[key.name]}\n".encode() + message
            signature = signature[8:]
        elif key.algorithm != 1:
            raise Wrong(f"algorithm {key.algorithm} of {key.name}")
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
        except InvalidSignature:
            raise Wrong(f"the signature of {key.name}") from None
    origin, size, root = text.split("\n")[:3]
    return Head(origin, int(size), base64_of(root), times)


def inclusion_root(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162 §2.1.3.2, step by step."""
    if index >= size:
        raise Wrong("the leaf lies beyond the checkpoint")
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            raise Wrong("the path is too long")
        if fn & 1 or fn == sn:
            r = sha(b"\x01", p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = sha(b"\x01", r, p)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise Wrong("the path is too short")
    return r


def leaf_of(salt: bytes, entry: bytes) -> bytes:
    return sha(b"\x00", sha(b"renkei/v1/leaf", salt, entry))


class Opened(NamedTuple):
    """A permit that holds: its index, entry, and the head it is in."""

    index: int
    entry: bytes
    head: Head


def read_permit(text: str, keys: list[Key]) -> Opened:
    """A c2sp.org/tlog-proof@v1 file whose extra data is 16 bytes of salt and the entry."""
    lines, note = text.split("\n\n", 1)
    first, extra, index, *path = lines.split("\n")
    if first != "c2sp.org/tlog-proof@v1" or not extra.startswith("extra ") or not index.startswith("index "):
        raise Wrong("this is no tlog-proof with extra data")
    head, raw, at = read_note(note, keys), base64_of(extra[6:]), int(index[6:])
    root = inclusion_root(leaf_of(raw[:16], raw[16:]), at, head.size, [base64_of(p) for p in path])
    if root != head.root:
        raise Wrong("the leaf is not under the checkpoint's root")
    if [k.name for k in keys if k.algorithm == 1] != [head.origin]:
        raise Wrong("the checkpoint is of another log")
    return Opened(at, raw[16:], head)


class Roots:
    """The root after each leaf, from a stack of complete subtrees (size, hash)."""

    def __init__(self) -> None:
        self.stack: list[tuple[int, bytes]] = []
        self.size = 0

    def push(self, leaf: bytes) -> None:
        self.stack.append((1, leaf))
        self.size += 1
        while len(self.stack) > 1 and self.stack[-1][0] == self.stack[-2][0]:
            (n, right), (_, left) = self.stack.pop(), self.stack.pop()
            self.stack.append((2 * n, sha(b"\x01", left, right)))

    def root(self) -> bytes:
        if not self.stack:
            return sha()
        found = self.stack[-1][1]
        for _, left in reversed(self.stack[:-1]):
            found = sha(b"\x01", left, found)
        return found


class Leaf(NamedTuple):
    position: int
    hash: bytes
    salt: bytes | None
    entry: bytes | None


def read_log(
    leaves: Iterable[Leaf], notes: Iterable[tuple[int, str]], tiles: dict[tuple[int, int], bytes], keys: list[Key]
) -> Iterator[Head]:
    """Check a whole log; each head once everything up to it is found right.

    Every leaf in its place and committed to by what is stored of it, every head signed by all and over exactly the leaves before
    it, heads growing in size and never going back in time, every full tile holding the hashes of its level, none missing.
    Memory: the notes not reached yet and one row of hashes per tile level.
    """
    roots, ahead, last_time = Roots(), iter(notes), 0
    rows: list[Row] = [Row()]
    used: set[tuple[int, int]] = set()
    upcoming = next(ahead, None)
    for leaf in leaves:
        if leaf.position != roots.size:
            raise Wrong(f"leaf {roots.size} is missing")
        if leaf.salt is not None and leaf.entry is not None and leaf_of(leaf.salt, leaf.entry) != leaf.hash:
            raise Wrong(f"leaf {leaf.position} does not commit to its entry")
        roots.push(leaf.hash)
        _tile(rows, 0, leaf.hash, tiles, used)
        while upcoming is not None and upcoming[0] == roots.size:
            head = read_note(upcoming[1], keys)
            if (head.size, head.root) != (roots.size, roots.root()):
                raise Wrong(f"the head of size {head.size} is not over these leaves")
            if any(t < last_time for t in head.times.values()):
                raise Wrong(f"the head of size {head.size} goes back in time")
            last_time = max(head.times.values(), default=last_time)
            yield head
            upcoming = next(ahead, None)
    if upcoming is not None:
        raise Wrong(f"there is a head of size {upcoming[0]} and there are {roots.size} leaves")
    if used != set(tiles):
        raise Wrong("there are tiles of leaves that are not there")


class Row:
    """The hashes of the tile that is not full yet, and how many full ones came before it."""

    def __init__(self) -> None:
        self.full, self.hashes = 0, list[bytes]()


def _tile(
    rows: list[Row], level: int, node: bytes, tiles: dict[tuple[int, int], bytes], used: set[tuple[int, int]]
) -> None:
    """tlog-tiles: a full tile is 256 hashes; the next level's hash is the root over them."""
    if level == len(rows):
        rows.append(Row())
    row = rows[level]
    row.hashes.append(node)
    if len(row.hashes) < 256:
        return
    at = (level, row.full)
    if tiles.get(at) != b"".join(row.hashes):
        raise Wrong(f"tile {at[0]}/{at[1]} is missing or wrong")
    used.add(at)
    above = Roots()
    for one in row.hashes:
        above.push(one)
    row.full, row.hashes = row.full + 1, []
    _tile(rows, level + 1, above.root(), tiles, used)


def keeper_log(folder: Path, keys: list[Key]) -> list[Head]:
    """Check the log in a keeper's SQLite file."""
    with sqlite3.connect(f"file:{folder}/{folder.name.replace('-', '_')}.db?mode=ro", uri=True) as connection:
        leaves = connection.execute("select position, hash, salt, entry from ledger_leaves order by position")
        notes = connection.execute("select size, note from ledger_checkpoints order by size").fetchall()
        tiles = {(lv, n): h for lv, n, h in connection.execute("select level, position, hashes from ledger_tiles")}
        return list(read_log((Leaf(*row) for row in leaves), notes, tiles, keys))


def main(arguments: list[str]) -> int:
    whole = arguments[:1] == ["--log"]
    place, keys_file = arguments[1:] if whole else arguments
    keys = read_keys(Path(keys_file).read_text("utf-8"))
    try:
        if whole:
            heads = keeper_log(Path(place), keys)
            print(f"right: {heads[-1].size} leaves, {len(heads)} heads, newest root {heads[-1].root.hex()}")
        else:
            opened = read_permit(Path(place).read_text("utf-8"), keys)
            print(f"right: leaf {opened.index} of {opened.head.origin}, head of size {opened.head.size}")
    except (Wrong, ValueError) as error:
        print(f"wrong: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
