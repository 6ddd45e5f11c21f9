"""The tree against the definition in RFC 6962, at every size, with proofs of any leaf and any two sizes."""

import random
import threading
import time
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.errors import NotGenuine, RenkeiError
from renkei.ledger import merkle
from renkei.ledger.merkle import Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion

SIZE = 700


def by_definition(leaves):
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return node_hash(by_definition(leaves[:split]), by_definition(leaves[split:]))


class Grown:
    """A tree grown to SIZE, with its tiles and every root on the way."""

    def __init__(self):
        self.tiles = {}
        self.tree = Tree(lambda level, index: self.tiles[level, index], cache=2)
        self.leaves = [leaf_hash(str(i).encode()) for i in range(SIZE)]
        self.roots = [self.tree.root()]
        for leaf in self.leaves:
            for level, index, hashes in self.tree.append([leaf]):
                self.tiles[level, index] = hashes
            self.roots.append(self.tree.root())


@pytest.fixture(scope="module")
def grown():
    return Grown()


def test_roots_are_those_of_the_definition(grown):
    for size in (*range(20), 255, 256, 257, 511, 512, 513, SIZE):
        assert grown.roots[size] == by_definition(grown.leaves[:size])
        assert grown.tree.root(size) == grown.roots[size]


@given(st.data())
def test_any_leaf_is_provable_in_any_size_and_in_no_other_place(grown, data):
    size = data.draw(st.integers(1, SIZE))
    index = data.draw(st.integers(0, size - 1))
    path = grown.tree.inclusion(index, size)
    verify_inclusion(grown.leaves[index], index, size, path, grown.roots[size])
    other = data.draw(st.integers(0, SIZE).filter(lambda i: i != index))
    with pytest.raises(NotGenuine):
        verify_inclusion(grown.leaves[index], other, size, path, grown.roots[size])
    with pytest.raises(NotGenuine):
        verify_inclusion(leaf_hash(b"other"), index, size, path, grown.roots[size])
    if path:
        with pytest.raises(NotGenuine):
            verify_inclusion(grown.leaves[index], index, size, path[:-1], grown.roots[size])


@given(st.integers(1, SIZE), st.integers(1, SIZE))
def test_any_two_sizes_are_provably_one_log(grown, a, b):
    old, new = min(a, b), max(a, b)
    path = grown.tree.consistency(old, new)
    verify_consistency(old, grown.roots[old], new, grown.roots[new], path)
    if old != new:
        with pytest.raises(NotGenuine):
            verify_consistency(old, leaf_hash(b"fork"), new, grown.roots[new], path)
        with pytest.raises(NotGenuine):
            verify_consistency(old, grown.roots[old], new, leaf_hash(b"fork"), path)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 511, 512, SIZE])
def test_a_tree_is_taken_up_from_its_tiles(grown, size):
    """After a restart, roots and proofs are the same and it goes on growing."""
    again = Tree(lambda level, index: grown.tiles[level, index])
    again.restore(size, grown.leaves[size - size % 256 : size])
    assert again.root() == grown.roots[size]
    again.append(grown.leaves[size:])
    assert again.root() == grown.roots[SIZE]


def test_there_is_no_proof_of_what_is_not_there(grown):
    for attempt in (
        lambda: grown.tree.inclusion(5, 5),
        lambda: grown.tree.root(SIZE + 1),
        lambda: grown.tree.consistency(0, 5),
        lambda: grown.tree.leaf(SIZE),
    ):
        with pytest.raises(RenkeiError):
            attempt()


def test_tile_paths_and_entry_bundles():
    """C2SP tlog-tiles: groups of three digits, partial widths, uint16 lengths."""
    assert merkle.tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert merkle.tile_path(1, 5, 12) == "tile/1/005.p/12"
    assert merkle.entry_bundle([b"ab", b""]) == b"\x00\x02ab\x00\x00"


def test_proofs_are_right_while_leaves_are_appended(monkeypatch):
    """Permits are made on threads of their own; a proof must never mix two sizes, nor meet a tile that is being replaced."""
    tiles: dict[tuple[int, int], bytes] = {}
    tree = Tree(lambda level, index: tiles[level, index], cache=64)
    hashes = [leaf_hash(i.to_bytes(4, "big")) for i in range(4000)]
    wrong, done = [], threading.Event()
    push = merkle.Tile.push

    def slowly(tile, node):
        time.sleep(1e-5)  # lets the other threads look in the middle of an append
        return push(tile, node)

    monkeypatch.setattr(merkle.Tile, "push", slowly)
    tree.append(hashes[:1])

    def prove():
        while not done.is_set():
            size = tree.size
            index = random.randrange(size)
            try:
                verify_inclusion(hashes[index], index, size, tree.inclusion(index, size), tree.root(size))
            except Exception as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=prove) for _ in range(3)]
    for thread in threads:
        thread.start()
    for at in range(1, len(hashes)):
        for level, index, data in tree.append(hashes[at : at + 1]):
            tiles[level, index] = data
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
