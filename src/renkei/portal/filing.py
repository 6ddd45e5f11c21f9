"""Filing: following the record leaf by leaf, and putting each inquiry, and each notice of a change, into the file of
the person it is about.

The tree is rebuilt here from the leaf hashes and compared with the cosigned checkpoint, so the hub can neither leave out a leaf nor show
us another log than it shows the providers. Codes are converted hub first, commission second; only we can read the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.codes import Ciphertext, decrypt
from renkei.errors import Malformed, NotGenuine
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.subjects import Coded
from renkei.ledger import merkle
from renkei.ledger import store as log
from renkei.messages.wire import (
    Changed,
    EndChanges,
    Filed,
    FileHalf,
    GetFiled,
    GetTail,
    Inquiry,
    Outcomes,
    Tail,
    TailLeaf,
    decode_as,
)
from renkei.portal import store
from renkei.record.entries import (
    ChangeLeaf,
    EndLeaf,
    Entry,
    InquiryLeaf,
    OutcomeLeaf,
    decode_entry,
    envelope_of,
    kind_of,
    said,
)
from renkei.record.oversight import Linked
from renkei.record.state import domain_of

Accessed = InquiryLeaf | ChangeLeaf
"""Somebody learnt something. Letters are in the inbox."""
IDLE = 0.4
FULL = 200
"""Leaves in one step from which on the next follows at once: residents see a record within a second, and few questions are asked."""


class Told(NamedTuple):
    """What some leaves say: rows of access records; outcomes (inquiry, result, ms); ended subscriptions (inquiry, ms)."""

    records: list[dict[str, Any]]
    outcomes: list[tuple[bytes, str, int]]
    ends: list[tuple[bytes, int]]


class Filing:
    """Follows the record on behalf of residents."""

    def __init__(self, member: Member, database: Database, post: Post, observe: Observer) -> None:
        self._member, self._database, self._post, self._observe = member, database, post, observe
        self.reload()

    def reload(self) -> None:
        """Go back to what is stored."""
        with self._database.engine.connect() as connection:
            self.tree = log.open_tree(connection, self._database.engine)
            self.head = log.newest(connection)

    async def run(self) -> None:
        """File, from what is stored, until an error: ``NotGenuine`` means the log is wrong, anything else passes."""
        await self._member.until_ready()
        await asyncio.to_thread(self.reload)
        while True:
            if await self.step() < FULL:
                await asyncio.sleep(IDLE)

    async def step(self) -> int:
        """File the next leaves; how many. Raises ``NotGenuine`` if they do not make up the cosigned log."""
        tail = await self._post.call("hub", GetTail(self.tree.size), timeout=10)
        if not isinstance(tail, Tail) or not tail.leaves:
            return 0
        entries = await asyncio.to_thread(self._read, tail.leaves)
        codes = await self._finish(tail, entries)
        await self._keep(tail, self._rows(entries, codes))
        return len(tail.leaves)

    def _read(self, leaves: Sequence[TailLeaf]) -> list[Entry | None]:
        """The entries that were sent, each checked against its leaf hash."""
        entries: list[Entry | None] = []
        for leaf in leaves:
            if not leaf.entry:
                entries.append(None)
                continue
            if merkle.leaf_hash(merkle.commitment(leaf.salt, leaf.entry)) != leaf.hash:
                raise NotGenuine("An entry does not belong to its leaf.", code="leaf-differs")
            entries.append(decode_entry(leaf.entry))
        return entries

    async def _finish(self, tail: Tail, entries: Sequence[Entry | None]) -> dict[int, Coded]:
        """The portal's code of the person each entry is about, by offset."""
        halves = [
            (at, FileHalf(self.tree.size + at, leaf.half))
            for at, (leaf, entry) in enumerate(zip(tail.leaves, entries, strict=True))
            if isinstance(entry, Accessed) and leaf.half
        ]
        if not halves or tail.target is None:
            return {}
        target = domain_of(tail.target)
        key = self._member.key(target)
        reply = await self._post.call("commission", GetFiled(tail.target, [h for _, h in halves]), timeout=10)
        if not isinstance(reply, Filed) or len(reply.converted) != len(halves):
            raise NotGenuine("The commission answered something else.", code="round-reply")

        def read() -> dict[int, Coded]:
            codes: dict[int, Coded] = {}
            for (at, _), converted in zip(halves, reply.converted, strict=True):
                try:
                    codes[at] = Coded(decrypt(Ciphertext.split(converted), key), target.code_epoch)
                except Malformed:  # a requester can encrypt what is no code: it concerns nobody, and stops nobody
                    self._observe.count("records_unreadable")
            return codes

        return await asyncio.to_thread(read)

    def _rows(self, entries: Sequence[Entry | None], codes: dict[int, Coded]) -> Told:
        rows = Told([], [], [])
        for at, entry in enumerate(entries):
            if isinstance(entry, Accessed):
                if at in codes:
                    rows.records.append({**codes[at]._asdict(), "position": self.tree.size + at, **_record(entry)})
            elif isinstance(entry, OutcomeLeaf):
                told = decode_as(entry.outcomes.payload, Outcomes)
                rows.outcomes.extend((o.inquiry, o.result, o.time) for o in told.outcomes)
            elif isinstance(entry, EndLeaf):
                rows.ends.append((decode_as(entry.end.payload, EndChanges).inquiry, entry.time))
        return rows

    async def _keep(self, tail: Tail, rows: Told) -> None:
        first = self.tree.size
        leaves = []
        for leaf in tail.leaves:
            kind = kind_of(decode_entry(leaf.entry)) if leaf.entry else "other"
            keep = kind in ("inquiry", "change")
            leaves.append(log.Leaf(kind, leaf.salt if keep else None, leaf.entry if keep else None, leaf.hash))
        checkpoint = self._member.notary.checkpoint(tail.checkpoint)
        filled = self.tree.append(leaf.hash for leaf in leaves)
        head = None
        if self.tree.size == checkpoint.size and (self.head is None or self.head.size < checkpoint.size):
            if self.tree.root() != checkpoint.root:
                raise NotGenuine("The leaves do not make up the log both keepers signed.", code="log-differs")
            head = log.Head(checkpoint.size, self.head.size if self.head else 0, 0, tail.checkpoint)
        codes = [Coded(r["code"], r["epoch"]) for r in rows.records]
        known = await self._database.read(lambda c: subjects.by_code(c, self._member, codes))
        strangers = sum(1 for c in codes if c not in known)

        def commit(connection: sa.Connection) -> None:
            log.append(connection, first, leaves, filled)
            if head:
                log.put_checkpoint(connection, head)
            store.add_records(connection, rows.records)
            store.settle(connection, rows.outcomes)
            store.end_changes(connection, rows.ends)

        await self._database.write(commit)
        self.head = head or self.head
        self._observe.count("records_filed", len(rows.records))
        if strangers:  # often a code that is still being issued, which is why this is counted and raises no alarm
            self._observe.count("records_of_unknown_codes", strangers)


def _record(leaf: Accessed) -> dict[str, Any]:
    """What a leaf says of who learnt what from whom."""
    body, ruling, envelope = said(leaf), leaf.ruling, envelope_of(leaf)
    assert isinstance(body, Inquiry | Changed)
    asked = body if isinstance(body, Inquiry) else None
    return {
        "id": envelope.id,
        "kind": kind_of(leaf),
        "time": leaf.time,
        **Linked.by(envelope.sender, body)._asdict(),
        "purpose": body.purpose,
        "allowed": ruling.allowed,
        "reason": ruling.reason,
        "rows": ruling.row if ruling.allowed else " ".join(ruling.rows),
        "withheld": asked is not None and asked.withheld,
        "changes_until": asked.changes_until if asked else "",
        "outcome": None,
        "outcome_time": None,
    }
