"""A kept copy of the record: tree, governance state and index. Hub and commission each have one.

A round is stored whole or not at all. ``stage`` computes what a round would make of the log, ``store`` writes it in the caller's
transaction, ``settle`` takes it over in memory after the commit. If a commit fails, ``reload`` goes back to what is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import sqlalchemy as sa

from renkei.errors import NotFound, NotGenuine, Refused, SetupError
from renkei.institution.database import Database
from renkei.institution.settings import Clock, Home
from renkei.law import Pack
from renkei.ledger import store as log
from renkei.ledger.notes import Checkpoint, split_note
from renkei.messages.wire import Envelope, HeadIs, Inquiry, Outcomes, Permit, RoundCopy, decode_as, encode
from renkei.record import store as index
from renkei.record.entries import (
    ActLeaf,
    Entry,
    InquiryLeaf,
    OutcomeLeaf,
    PersonalLeaf,
    decode_entry,
    envelope_of,
    kind_of,
    said,
)
from renkei.record.oversight import Linked
from renkei.record.state import CONVERTERS, Enrolled, State, Trust


@lru_cache(maxsize=8)
def _load_pack(archive: bytes) -> Pack:
    return Pack.load(archive)


def law_library(home: Home) -> Callable[[bytes], Pack]:
    """Packs by hash from the home's ``law`` folder; content-addressed, so the hash is checked on loading."""

    def fetch(hash_: bytes) -> Pack:
        path = home / "law" / f"{hash_.hex()}.pack"
        if not path.exists():
            raise NotFound("This version of the law is not here.", code="no-pack", remedy="Follow the record again.")
        pack = _load_pack(path.read_bytes())
        if pack.hash != hash_:
            raise NotFound("The stored law does not have the hash it is named by.", code="no-pack")
        return pack

    return fetch


def keep_pack(home: Home, pack: Pack) -> None:
    """Put a pack into the home's library, as the newest."""
    folder = home / "law"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{pack.hash.hex()}.pack"
    if not path.exists():
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(pack.archive)
        unfinished.replace(path)
    came = _order(home)
    if came[-1:] != [path.stem]:
        with (home / ORDER).open("a", encoding="ascii") as file:
            file.write(f"{path.stem}\n")


def _order(home: Home) -> list[str]:
    """Hashes of the packs in the order in which they came, some more than once."""
    try:
        return (home / ORDER).read_text("ascii").split()
    except FileNotFoundError:
        return []


ORDER = "law/order"
NEXT_LAW = "next-law"
"""In the hub's home: the hash of the pack that is to take effect."""


def announce_law(home: Home, pack: Pack) -> None:
    """Have the hub make ``pack``, which is in its library, the law. It takes effect when the commission has it, too."""
    unfinished = home / f"{NEXT_LAW}.part"  # the hub may look at any moment
    unfinished.write_text(pack.hash.hex(), "ascii")
    unfinished.replace(home / NEXT_LAW)


def laws(home: Home) -> list[bytes]:
    """The archive of every law that came to the home, the last one last: by the order noted, for a copied file has another time."""
    at = {hash_: place for place, hash_ in enumerate(_order(home))}
    files = (home / "law").glob("*.pack")
    return [p.read_bytes() for p in sorted(files, key=lambda p: (at.get(p.stem, -1), p.stat().st_mtime_ns))]


def library(home: Home) -> list[Pack]:
    """Every law that came to the home, the last one last."""
    return [_load_pack(archive) for archive in laws(home)]


def newest_law(home: Home) -> Pack:
    """The law that came to the home's library last; ``SetupError`` if there is none."""
    found = laws(home)
    if not found:
        raise SetupError(
            f"{home.folder} has no law yet.",
            ja=f"{home.folder} にはまだ法令データがありません。",
            code="no-pack",
            remedy="Let the institution run once: it fetches the law in force.",
            remedy_ja="一度起動してください。施行中の法令データを取得します。",
        )
    return _load_pack(found[-1])


YEAR = 366 * 86_400_000
"""Milliseconds, rounded up: nothing is erased too early."""
RETAIN_EVERY = 3600.0
ERASED_AT_ONCE = 4096
ERASABLE = ("inquiry", "change", "letter", "end", "outcome", "issuance")


class Staged(NamedTuple):
    """A round that is in the tree but not stored yet."""

    first: int
    time: int
    leaves: list[log.Leaf]
    entries: list[Entry]
    """The leaves' entries."""
    filled: list[tuple[int, int, bytes]]
    checkpoint: Checkpoint


class Keeper:
    """The log as one keeper holds it."""

    def __init__(self, home: Home, database: Database) -> None:
        self._home, self._database = home, database
        self._trust = home.trust()
        self._purged = False
        """Whether the database's journal is surely without what was erased; at a start we do not know."""
        database.write_now(self._begin)
        self.reload()

    def reload(self) -> None:
        """Build everything in memory from what is stored. O(governance leaves)."""
        state = State(self._trust, law_library(self._home))
        with self._database.engine.connect() as connection:
            tree, head = log.open_tree(connection, self._database.engine), log.newest(connection)
            for position, leaf in log.replay(connection, "act"):
                if leaf.entry is not None:
                    state.apply(position, decode_as(leaf.entry, ActLeaf))
        self.state, self.tree, self.head, self._stale = state, tree, head, False

    def abandon(self) -> None:
        """What was staged last is not stored. Until ``settled`` has been awaited nothing new may be staged."""
        self._stale = True

    async def settled(self) -> None:
        """Return once memory is what is stored: after an abandoned round it is read again. Raises while the database is away."""
        if self._stale:
            await asyncio.to_thread(self.reload)

    def _begin(self, connection: sa.Connection) -> None:
        if log.read(connection, 0, 1):
            return
        first = log.Leaf.of("genesis", self._trust.salt, self._trust.entry)
        log.append(connection, 0, [first], [])

    def directory(self, body: str) -> Enrolled | None:
        """Who is enrolled as ``body`` now: what ``Post`` goes by."""
        return self.state.bodies.get(body)

    @property
    def trust(self) -> Trust:
        """The genesis leaf, as it was checked out of band."""
        return self._trust

    def law(self, hash_: bytes) -> Pack:
        """A version of the law by its hash; ``NotFound`` if it is not here."""
        return law_library(self._home)(hash_)

    @property
    def origin(self) -> str:
        return self.state.genesis.origin

    def head_is(self, now: int) -> HeadIs:
        """The head as stored, whatever is under way in memory; ``now`` by our clock."""
        head = self.head
        if head is None:
            return HeadIs(1, self.tree.root(1), "", now)
        checkpoint = Checkpoint.from_text(split_note(head.note)[0])
        return HeadIs(head.size, checkpoint.root, head.note, now)

    def stage(self, time: int, entries: Sequence[Entry], salts: Sequence[bytes]) -> Staged:
        """Append entries to the tree in memory; the checkpoint that results is still unsigned."""
        return self._stage(time, entries, [encode(entry) for entry in entries], salts)

    def stage_copy(self, copy: RoundCopy) -> Staged:
        """The same for a round as the other keeper holds it, byte for byte."""
        written = [entry for _, _, entry in copy.leaves]
        return self._stage(copy.time, [decode_entry(e) for e in written], written, [salt for _, salt, _ in copy.leaves])

    def _stage(self, time: int, entries: Sequence[Entry], written: Sequence[bytes], salts: Sequence[bytes]) -> Staged:
        # A round's time is beside the tree and is what retention goes by: it must be its entries', wherever it comes from.
        if any(entry.time != time for entry in entries):
            raise NotGenuine("An entry's time is not its round's.", code="round-time")
        leaves = [
            log.Leaf.of(kind_of(entry), salt, data) for entry, data, salt in zip(entries, written, salts, strict=True)
        ]
        first = self.tree.size
        filled = self.tree.append(leaf.hash for leaf in leaves)
        head = Checkpoint(self.origin, self.tree.size, self.tree.root())
        return Staged(first, time, leaves, list(entries), filled, head)

    def store(self, connection: sa.Connection, staged: Staged, note: str) -> log.Head:
        """Write a staged round and its index, in the caller's transaction."""
        head = log.Head(staged.checkpoint.size, staged.first, staged.time, note)
        log.append(connection, staged.first, staged.leaves, staged.filled)
        log.put_checkpoint(connection, head)
        known: list[index.Known] = []
        settled: list[tuple[bytes, int]] = []
        envelopes: list[tuple[bytes, int]] = []
        for position, entry in enumerate(staged.entries, start=staged.first):
            envelope = envelope_of(entry)
            id_ = envelope.id
            if not isinstance(entry, InquiryLeaf):
                envelopes.append((id_, position))
            match entry:
                case InquiryLeaf():
                    inquiry = decode_as(envelope.payload, Inquiry)
                    allowed = entry.ruling.allowed
                    known.append(
                        index.Known(id_, position, envelope.sender, inquiry.provider, allowed, inquiry.expires)
                    )
                case OutcomeLeaf():
                    settled += [(o.inquiry, position) for o in decode_as(envelope.payload, Outcomes).outcomes]
        index.enter(connection, envelopes)
        index.add(connection, known)
        index.settle(connection, settled)
        return head

    def settle(self, staged: Staged, head: log.Head) -> list[Envelope]:
        """After the commit: governance takes effect. Answers the acts of this round."""
        self.head = head
        acts = []
        for position, entry in enumerate(staged.entries, start=staged.first):
            if isinstance(entry, ActLeaf):
                self.state.apply(position, entry)
                acts.append(entry.act)
        return acts

    async def retain(self, clock: Clock) -> None:
        """For ever: erase what the law's time of retention is over for (art. 23; ``retention_years`` of the pack)."""
        while True:
            await self.erase(clock() - self.state.pack.header.limits.retention_years * YEAR)
            await asyncio.sleep(RETAIN_EVERY)

    async def erase(self, before: int) -> int:
        """Erase the contents of inquiries, outcomes and issuance recorded by ``before`` (ms), in steps; how many leaves.

        Their hashes stay, so every proof and permit made of them still holds. Governance acts and the genesis are never erased.
        When nothing is left to erase, what was is also gone from the database's files; if readers hold that up, with the next time.
        """
        erased = 0
        while True:
            first = int(await self._database.read(lambda c: index.flag(c, "erased")) or 0)
            end = min(await self._database.read(lambda c: log.size_at(c, before)), first + ERASED_AT_ONCE)
            if first >= end:
                self._purged = self._purged or await asyncio.to_thread(self._database.purge)
                return erased

            def commit(connection: sa.Connection, first: int = first, end: int = end) -> int:
                index.erase(connection, end)
                index.set_flag(connection, "erased", str(end))
                return log.erase(connection, ERASABLE, first, end)

            self._purged = False
            erased += await self._database.write(commit)

    def permits(self, positions: Iterable[int], leaves: Iterable[log.Leaf], note: str) -> list[Permit]:
        """The leaves with proofs to the current head."""
        return [
            Permit(p, leaf.salt or b"", leaf.entry or b"", self.tree.inclusion(p), note)
            for p, leaf in zip(positions, leaves, strict=True)
        ]

    def permitted(self, inquiries: list[bytes]) -> dict[bytes, tuple[str, str]]:
        """Requester and provider of each of these that the record permits (``rounds.Permitted``)."""
        found = self._database.read_now(lambda c: index.known(c, inquiries))
        return {i: (k.requester, k.provider) for i, k in found.items() if k.allowed}

    def entered(self, ids: list[bytes]) -> set[bytes]:
        """Those of these envelopes that have a leaf."""
        return self._database.read_now(lambda c: index.entered(c, ids))

    def parties(self, connection: sa.Connection, positions: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Who said something about a person to whom, of the leaves at ``positions`` that do and were not erased."""
        found = {}
        for position, leaf in log.at(connection, positions).items():
            entry = decode_entry(leaf.entry) if leaf.entry is not None else None
            if isinstance(entry, PersonalLeaf):
                sender = envelope_of(entry).sender
                linked = Linked.by(sender, said(entry))
                found[position] = sender, linked.provider if sender == linked.requester else linked.requester
        return found

    def may_challenge(self, sender: str, positions: Sequence[int]) -> None:
        """Whether ``sender`` may have the conversions in these leaves proven: the other keeper, the portal, and parties. ``Refused``."""
        if sender in CONVERTERS or self.state.body(sender).role == "portal":
            return
        with self._database.engine.connect() as connection:
            parties = self.parties(connection, positions)
        if any(sender not in parties.get(p, ()) for p in positions):
            raise Refused("Only its parties may challenge a leaf.", code="not-entitled")

    def rounds_after(self, size: int, *, limit: int = 16, most: int = 2_000_000) -> list[RoundCopy]:
        """Whole stored rounds after ``size``, for a keeper that is behind."""
        copies: list[RoundCopy] = []
        total = 0
        with self._database.engine.connect() as connection:
            for head in log.heads_after(connection, size, limit):
                leaves = log.read(connection, head.previous, head.size)
                total += sum(len(leaf.entry or b"") for leaf in leaves)
                if copies and total > most:
                    break
                rows = [(leaf.kind, leaf.salt or b"", leaf.entry or b"") for leaf in leaves]
                copies.append(RoundCopy(head.time, rows, head.note))
        return copies
