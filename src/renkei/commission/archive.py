"""The record as one file, for whoever wants to work out for themselves what it says: the annual report, an inspection, a researcher.

``renkei/v1/log`` and a newline, then frames (length, four bytes big-endian, and MessagePack): first the genesis (salt, entry), then the
packs it refers to, then every leaf in order (kind, salt, entry; of an erased one its hash), last the signed checkpoint.
Reading believes none of it: the leaves must make up the signed root.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.errors import Malformed, NotFound, NotGenuine
from renkei.institution.keeper import Keeper
from renkei.law import Pack
from renkei.ledger import merkle
from renkei.ledger import store as log
from renkei.ledger.notes import Checkpoint, verify_note
from renkei.messages.wire import LawVersion, decode_as, decode_signed
from renkei.record.entries import ActLeaf, Entry, decode_entry
from renkei.record.state import State, Trust

MAGIC = b"renkei/v1/log\n"
FRAME_MOST = 64_000_000
AT_ONCE = 512
Frame = tuple[str, Any]


class Known(NamedTuple):
    """An entry of the record with its place; ``None`` if its time was over and it was erased."""

    position: int
    entry: Entry | None


def write(keeper: Keeper, engine: sa.Engine, file: IO[bytes]) -> int:
    """Write the record up to its newest checkpoint; how many leaves. Memory is constant."""
    head = keeper.head
    if head is None:
        raise NotFound("There is no signed checkpoint yet.", ja="署名された記録がまだありません。", code="no-head")
    file.write(MAGIC)
    with engine.connect() as connection:
        for frame in _frames(connection, keeper, head):
            raw = msgspec.msgpack.encode(frame)
            file.write(struct.pack(">I", len(raw)) + raw)
    return head.size


def _frames(connection: sa.Connection, keeper: Keeper, head: log.Head) -> Iterator[Frame]:
    trust = keeper.trust
    yield "genesis", [trust.salt, trust.entry]
    for archive in {keeper.law(keeper.state.genesis.pack).archive, *_laws(connection, keeper)}:
        yield "pack", archive
    for first in range(0, head.size, AT_ONCE):
        for leaf in log.read(connection, first, min(first + AT_ONCE, head.size)):
            yield "leaf", [leaf.kind, leaf.salt, leaf.entry, b"" if leaf.entry is not None else leaf.hash]
    yield "checkpoint", head.note


def _laws(connection: sa.Connection, keeper: Keeper) -> Iterator[bytes]:
    """Every pack that was ever put in force, as its archive."""
    for _, leaf in log.replay(connection, "act"):
        act = decode_signed(decode_as(leaf.entry or b"", ActLeaf).act.payload)
        if isinstance(act, LawVersion):
            yield keeper.law(act.hash).archive


class Archive:
    """A file that ``write`` wrote."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._packs: dict[bytes, Pack] = {}
        self.trust = Trust(b"", b"")
        self.size = 0
        self.note = self.head = ""
        """The signed checkpoint, and its text, which is the same whoever signed."""
        self._check()

    def _check(self) -> None:
        """That the leaves make up the checkpoint the commission of this genesis signed; an error otherwise. One pass."""
        tiles: dict[tuple[int, int], bytes] = {}
        tree = merkle.Tree(lambda level, index: tiles[level, index])
        for kind, value in self._read():
            match kind:
                case "genesis":
                    self.trust = Trust(*value)
                case "pack":
                    pack = Pack.load(value)
                    self._packs[pack.hash] = pack
                case "leaf":
                    _, salt, entry, erased = value
                    hash_ = erased if entry is None else merkle.leaf_hash(merkle.commitment(salt, entry))
                    tiles.update({(level, at): tile for level, at, tile in tree.append([hash_])})
                case "checkpoint":
                    self.note = value
        state = self.state()
        self.head = verify_note(
            self.note, [state.commission_key]
        )  # the commission's copy is cosigned, the hub's signed besides
        checkpoint = Checkpoint.from_text(self.head)
        if checkpoint != Checkpoint(state.genesis.origin, tree.size, tree.root()):
            raise NotGenuine(
                "The file is not the record its checkpoint is of.",
                ja="ファイルの内容が、署名された記録と一致しません。",
                code="log-differs",
                remedy="Fetch the file again, from the commission or the hub.",
                remedy_ja="委員会またはハブから、ファイルを取り直してください。",
            )
        self.size = checkpoint.size

    def state(self) -> State:
        """Governance at the beginning, to be folded with the acts of ``entries``."""
        return State(self.trust, self.pack)

    def pack(self, hash_: bytes) -> Pack:
        if hash_ not in self._packs:
            raise NotFound("The file lacks a version of the law.", code="no-pack")
        return self._packs[hash_]

    def entries(self) -> Iterator[Known]:
        """Every leaf in order."""
        position = 0
        for kind, value in self._read():
            if kind == "leaf":
                yield Known(position, None if value[2] is None else decode_entry(value[2]))
                position += 1

    def _read(self) -> Iterator[Frame]:
        try:
            with self._path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise Malformed(
                        "This is no file of the record.", ja="台帳のファイルではありません。", code="log-file"
                    )
                while head := file.read(4):
                    (size,) = struct.unpack(">I", head)
                    if size > FRAME_MOST:
                        raise Malformed("A frame is too large.", code="log-file")
                    kind, value = msgspec.msgpack.decode(file.read(size))
                    yield kind, value
        except (struct.error, msgspec.DecodeError, ValueError, TypeError):
            raise Malformed("The file is damaged.", ja="ファイルが壊れています。", code="log-file") from None
