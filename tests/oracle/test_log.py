"""The independent verifier against our published bytes: it accepts what we make, and whatever byte is changed, both refuse."""

import json
import os
import random

import pytest

from renkei.errors import RenkeiError
from renkei.ledger.merkle import Tree, commitment, leaf_hash
from renkei.ledger.notes import COSIGNATURE, NOTE, Checkpoint, Proof, Signer, Verifier
from renkei.ledger.store import Leaf as OurLeaf
from renkei.record.permit import Notary
from tests.oracle import log as oracle
from tests.vectors.make import PATH

ORIGIN = "renkei.example/oracle"


@pytest.fixture(scope="module")
def vector():
    return json.loads(PATH.read_text("utf-8"))["permit"]


@pytest.fixture(scope="module")
def made():
    """A log of 70,000 leaves as we keep it: leaves, tiles of two levels, heads every 3,500, keys."""
    hub, witness = Signer(ORIGIN, NOTE, b"\x01" * 32), Signer(f"{ORIGIN}/commission", COSIGNATURE, b"\x02" * 32)
    tiles: dict[tuple[int, int], bytes] = {}
    tree = Tree(lambda level, index: tiles[level, index])
    leaves, notes = [], []
    for first in range(0, 70_000, 3_500):
        batch = [OurLeaf.of("inquiry", n.to_bytes(16, "big"), b"entry %d" % n) for n in range(first, first + 3_500)]
        tiles |= {(level, n): hashes for level, n, hashes in tree.append([leaf.hash for leaf in batch])}
        leaves += [oracle.Leaf(first + i, b.hash, b.salt, b.entry) for i, b in enumerate(batch)]
        text = Checkpoint(ORIGIN, tree.size, tree.root()).to_text()
        notes.append((tree.size, f"{text}\n{hub.sign(text)}{witness.sign(text, time=1_795_450_000 + first)}"))
    keys = oracle.read_keys(f"{hub.verifier.to_text()}\n{witness.verifier.to_text()}\n")
    return leaves, notes, tiles, keys


def test_it_accepts_the_published_permit(vector):
    keys = oracle.read_keys("\n".join(vector["keys"]))
    opened = oracle.read_permit(vector["file"], keys)
    assert (opened.index, opened.entry.hex()) == (2, vector["entry"])


def test_whatever_character_is_changed_both_refuse(vector):
    keys = oracle.read_keys("\n".join(vector["keys"]))
    notary = Notary([Verifier.from_text(k) for k in vector["keys"]])

    def ours(text):
        proof = Proof.from_text(text)
        proof.verify(leaf_hash(commitment(proof.extra[:16], proof.extra[16:])), notary.origin, notary.text)

    def accepted(text):
        found = []
        for check in (ours, lambda t: oracle.read_permit(t, keys)):
            try:
                check(text)
                found.append(True)
            except (RenkeiError, oracle.Wrong, ValueError):
                found.append(False)
        return found

    rng = random.Random(1)
    assert accepted(vector["file"]) == [True, True]
    for at, was in enumerate(vector["file"]):
        other = rng.choice([c for c in "AZaz09+/=\n x" if c != was])
        assert accepted(vector["file"][:at] + other + vector["file"][at + 1 :]) == [False, False], at
        assert accepted(vector["file"][:at]) == [False, False], at


def test_it_accepts_a_whole_log(made):
    assert [h.size for h in oracle.read_log(*made)] == list(range(3_500, 70_001, 3_500))


@pytest.mark.parametrize(
    "harm",
    [
        lambda lv, nt, ti: lv.pop(5_000),
        lambda lv, nt, ti: lv.__setitem__(5_000, lv[5_000]._replace(entry=b"rewritten")),
        lambda lv, nt, ti: lv.__setitem__(5_000, oracle.Leaf(5_000, os.urandom(32), None, None)),
        lambda lv, nt, ti: lv.__delitem__(slice(69_000, None)),
        lambda lv, nt, ti: nt.__setitem__(3, (nt[3][0], nt[2][1])),
        lambda lv, nt, ti: nt.__setitem__(3, (nt[3][0], nt[3][1].replace("\n— renkei.example/oracle ", "\n— x ", 1))),
        lambda lv, nt, ti: ti.__setitem__((0, 7), bytes(8192)),
        lambda lv, nt, ti: ti.pop((1, 0)),
        lambda lv, nt, ti: ti.__setitem__((1, 1), bytes(8192)),
    ],
    ids=["leaf-gone", "entry", "leaf", "cut", "old-head", "signature", "tile", "tile-gone", "tile-too-many"],
)
def test_it_finds_every_harm_to_a_log(made, harm):
    leaves, notes, tiles, keys = made
    leaves, notes, tiles = list(leaves), list(notes), dict(tiles)
    harm(leaves, notes, tiles)
    with pytest.raises(oracle.Wrong):
        list(oracle.read_log(leaves, notes, tiles, keys))


def test_a_head_that_goes_back_in_time_is_found(made):
    leaves, notes, tiles, keys = made
    witness = Signer(f"{ORIGIN}/commission", COSIGNATURE, b"\x02" * 32)
    text = notes[4][1].split("\n\n")[0] + "\n"
    ours = notes[4][1].split("\n\n")[1].split("\n")[0]
    older = (notes[4][0], f"{text}\n{ours}\n{witness.sign(text, time=1)}")
    with pytest.raises(oracle.Wrong, match="back in time"):
        list(oracle.read_log(leaves, [*notes[:4], older, *notes[5:]], tiles, keys))
