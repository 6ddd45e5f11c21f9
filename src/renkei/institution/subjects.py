"""The local-subject ↔ code table: whom an institution knows by which linkage code, and how it gets the codes.

A code arrives as an issuance leaf with its proof, addressed by a random handle that only we can tie to a local id. The number that
was sent to the authority is kept nowhere here.
"""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.codes import Ciphertext, decrypt
from renkei.errors import Malformed, NotGenuine
from renkei.institution.database import Database
from renkei.institution.member import Member
from renkei.institution.post import Post
from renkei.institution.store import metadata
from renkei.messages.wire import MAX_BATCH, CodeRequest, CodeWanted, IssuanceBatch, Message, decode_as
from renkei.record.entries import IssuanceLeaf
from renkei.record.state import domain_of, ref_of

subjects = sa.Table(
    "subjects",
    metadata,
    sa.Column("local_id", sa.String(64), primary_key=True),
    sa.Column("code", sa.LargeBinary(32), unique=True),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="1"),
    sa.Column("manual", sa.Boolean, nullable=False),
    sa.Column("withheld", sa.Boolean, nullable=False),
    sa.Column("flagged_by", sa.String(64)),
)
sa.Index("subjects_epoch", subjects.c.epoch)
wanted = sa.Table(
    "codes_wanted",
    metadata,
    sa.Column("handle", sa.LargeBinary(16), primary_key=True),
    sa.Column("local_id", sa.String(64), nullable=False, unique=True),
)


cards = sa.Table(
    "cards",
    metadata,
    sa.Column("certificate", sa.LargeBinary(32), primary_key=True),
    sa.Column("holder", sa.String(64), nullable=False),
)
"""Whose a card's authentication certificate (by its SHA-256) is here: the local id. A person's next certificate leads to the same, for
the code tells. Empty: the numbering authority knows nobody by it, or we do not know the person."""
sa.Index("cards_holder", cards.c.holder)
BY_CARD = "card-"
"""How a local id begins that was made up for a card until it is known whose it is."""


class Coded(NamedTuple):
    """A code of our own, and the epoch of codes it is of."""

    code: bytes
    epoch: int


class Subject(NamedTuple):
    """A person as this institution knows them. ``manual``: answer only after release; ``withheld``: as if unknown."""

    local_id: str
    code: Coded | None
    manual: bool
    withheld: bool


def demand_ours(local_ids: Iterable[str]) -> None:
    """``Malformed`` for a local id that could be taken for one made up for a card."""
    if any(i.startswith(BY_CARD) for i in local_ids):
        raise Malformed(
            f"No file's number begins with “{BY_CARD}”.", ja=f"「{BY_CARD}」で始まる番号は使えません。", code="local-id"
        )


def request_codes(
    connection: sa.Connection, post: Post, member: Member, people: Sequence[tuple[str, str]], *, again: bool = False
) -> int:
    """Ask the authority for codes of ``(local id, number)`` pairs that have none and were not asked for; how many.

    ``again``: also for those that are awaited, under the handle they have: the authority, or we, may have lost the question.
    """
    ids = [local_id for local_id, _ in people]
    demand_ours(ids)
    have = set(connection.execute(sa.select(subjects.c.local_id).where(subjects.c.local_id.in_(ids))).scalars())
    awaited = {
        r.local_id: bytes(r.handle) for r in connection.execute(sa.select(wanted).where(wanted.c.local_id.in_(ids)))
    }
    numbers = {i: n for i, n in people if i not in have and (again or i not in awaited)}
    if not numbers:
        return 0
    fresh = {local_id: os.urandom(16) for local_id in numbers if local_id not in awaited}
    if fresh:
        connection.execute(wanted.insert(), [{"handle": handle, "local_id": i} for i, handle in fresh.items()])
    handles = awaited | fresh
    asked = [CodeWanted(handles[i], number, _local_proof(handles[i], i)) for i, number in numbers.items()]
    authority = member.state.of_role("authority")
    for at in range(0, len(asked), MAX_BATCH):
        request = CodeRequest(ref_of(member.domain), asked[at : at + MAX_BATCH])
        post.put(connection, authority, [request])
    return len(asked)


def opened(leaf: IssuanceLeaf, member: Member, own: str) -> list[tuple[bytes, Coded]]:
    """The (handle, code) pairs of an issuance leaf that is addressed to us. One multiplication each."""
    batch = decode_as(leaf.batch.payload, IssuanceBatch)
    target = domain_of(batch.target)
    if target.body != own or len(leaf.converted) != len(batch.codes):
        raise NotGenuine("These codes are for another institution.", code="misaddressed")
    key = member.key(target)
    return [
        (issued.handle, Coded(decrypt(Ciphertext.split(converted), key), target.code_epoch))
        for issued, converted in zip(batch.codes, leaf.converted, strict=True)
    ]


def keep_codes(
    connection: sa.Connection, member: Member, codes: Iterable[tuple[bytes, Coded]], *, strangers: bool = False
) -> None:
    """Store codes by their handles; unknown handles (already kept, or never asked) change nothing.

    One person has one local id here: a code that another local id already has is not stored a second time, and the second local
    id stays without one, so that an answer can never be about the wrong of two; a card that asked under it leads to the first.
    Whoever comes by card and is not known here is taken in only with ``strangers``.
    """
    by_handle = dict(codes)
    asked = connection.execute(sa.select(wanted).where(wanted.c.handle.in_(by_handle))).all()
    taken = by_code(connection, member, list(by_handle.values()))
    rows, seen, same_as = [], dict[bytes, str](), dict[str, str]()
    newest = max((c.epoch for c in by_handle.values()), default=1)
    for row in asked:
        coded = by_handle[bytes(row.handle)]
        same = member.carry(coded.code, coded.epoch, newest)
        first = taken[coded].local_id if coded in taken else seen.setdefault(same, row.local_id)
        if first != row.local_id:
            same_as[row.local_id] = first
        elif strangers or not row.local_id.startswith(BY_CARD):
            rows.append(row)
        else:
            same_as[row.local_id] = ""
    if asked:
        connection.execute(wanted.delete().where(wanted.c.handle.in_([bytes(r.handle) for r in asked])))
    if rows:
        connection.execute(
            subjects.insert(),
            [
                {
                    "local_id": r.local_id,
                    **by_handle[bytes(r.handle)]._asdict(),
                    "manual": False,
                    "withheld": False,
                }
                for r in rows
            ],
        )
    lead(connection, same_as)


def holder_of(connection: sa.Connection, key: bytes) -> str | None:
    """Whose the card with this certificate (SHA-256) is; empty if nobody's, ``None`` if it never was here."""
    return connection.execute(sa.select(cards.c.holder).where(cards.c.certificate == key)).scalar()


def lead(connection: sa.Connection, same_as: Mapping[str, str]) -> None:
    """Local ids that turned out to be another's (second → first): cards of the second lead to the first."""
    for second, first in same_as.items():
        connection.execute(cards.update().where(cards.c.holder == second).values(holder=first))


def request_by_card(
    connection: sa.Connection, post: Post, member: Member, key: bytes, proof: Callable[[bytes, bytes], Message]
) -> None:
    """Ask the authority whose the card with certificate ``key`` is: ``proof(handle, local proof)`` is what to send. Does nothing if we
    know; asks again, under the handle it has, if the answer is awaited; asks anew if it was nobody's."""
    local_id = holder_of(connection, key)
    if not local_id:
        local_id = BY_CARD + os.urandom(8).hex()
        connection.execute(cards.delete().where(cards.c.certificate == key))
        connection.execute(cards.insert(), [{"certificate": key, "holder": local_id}])
    request_proven(connection, post, member, local_id, proof)


def request_proven(
    connection: sa.Connection, post: Post, member: Member, local_id: str, proof: Callable[[bytes, bytes], Message]
) -> bool:
    """Ask the authority for the code of whom ``proof(handle, local proof)`` is about, as ``local_id``; ``False`` if it has one. Asks
    again, under the handle it has, if the answer is awaited."""
    if by_local_id(connection, [local_id]):
        return False
    handle = connection.execute(sa.select(wanted.c.handle).where(wanted.c.local_id == local_id)).scalar()
    if handle is None:
        handle = os.urandom(16)
        connection.execute(wanted.insert(), [{"handle": handle, "local_id": local_id}])
    post.put(
        connection, member.state.of_role("authority"), [proof(bytes(handle), _local_proof(bytes(handle), local_id))]
    )
    return True


def _local_proof(handle: bytes, local_id: str) -> bytes:
    return sha256(b"renkei/v1/local" + handle + local_id.encode()).digest()


def refuse_codes(connection: sa.Connection, handles: Sequence[bytes]) -> list[str]:
    """The authority knows no such persons: forget the requests. Whom they were about."""
    asked = wanted.c.handle.in_(list(handles))
    about = list(connection.execute(sa.select(wanted.c.local_id).where(asked)).scalars())
    connection.execute(wanted.delete().where(asked))
    return about


def by_local_id(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Subject]:
    rows = connection.execute(sa.select(subjects).where(subjects.c.local_id.in_(list(ids))))
    return {r.local_id: subject_of(r) for r in rows}


def by_code(connection: sa.Connection, member: Member, codes: Iterable[Coded]) -> dict[Coded, Subject]:
    """Whose these codes are, of those we know. While the table goes over to a new epoch, a code is looked for in both."""
    wanted = [c for c in codes if c.code]
    if not wanted:
        return {}
    first = epochs(connection, subjects.c.epoch)[0]  # rows may go on to the newest epoch while we look
    held = range(first, max(member.domain.code_epoch, *(c.epoch for c in wanted), first) + 1)
    sought: dict[bytes, list[Coded]] = {}
    for c in wanted:
        for epoch in held:
            sought.setdefault(member.carry(c.code, c.epoch, epoch), []).append(c)
    rows = connection.execute(sa.select(subjects).where(subjects.c.code.in_(list(sought))))
    return {c: subject_of(r) for r in rows for c in sought[bytes(r.code)]}


def epochs(connection: sa.Connection, column: sa.Column[int]) -> range:
    """The epochs of a table's codes: one, but for the time in which they go over to the next. From the column's index."""
    ends = (sa.select(end(column)).scalar_subquery() for end in (sa.func.min, sa.func.max))
    first, last = connection.execute(sa.select(*ends)).one()
    return range(first or 1, (last or 1) + 1)


def subject_of(row: sa.Row[Any]) -> Subject:
    return Subject(row.local_id, row.code and Coded(bytes(row.code), row.epoch), row.manual, row.withheld)


def set_flags(connection: sa.Connection, local_id: str, *, manual: bool, withheld: bool, by: str) -> bool:
    """Set both flags of a subject, by a clerk; whether there is one."""
    flags = {"manual": manual, "withheld": withheld, "flagged_by": by}
    changed = connection.execute(subjects.update().where(subjects.c.local_id == local_id).values(flags))
    return bool(changed.rowcount)


def counts(connection: sa.Connection) -> tuple[int, int]:
    """Subjects with a code, and codes still awaited."""
    have = connection.execute(sa.select(sa.func.count()).select_from(subjects)).scalar_one()
    want = connection.execute(sa.select(sa.func.count()).select_from(wanted)).scalar_one()
    return have, want


FIRST = 8
AWAITED = 1024


async def register_file(path: Path, post: Post, member: Member, database: Database) -> None:
    """Ask for the codes of everyone in a file (``local_id,number``), the first few at once, the rest as answers come in.

    The file is removed once all were asked for: numbers do not stay. Idempotent until then: whoever has a code or was asked for is
    passed over, so it goes on at the next start. Memory is constant.
    """
    if not path.exists():
        return
    await member.until_ready()
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        next(rows, None)
        await register(((r[0], r[1]) for r in rows), post, member, database)
    path.unlink()


async def register(everyone: Iterator[tuple[str, str]], post: Post, member: Member, database: Database) -> int:
    """Ask for the codes of all these (local id, number), the first few at once, the rest as answers come in; how many were asked for.

    Whoever has a code or was asked for is passed over. ``everyone`` is read on a thread, a batch at a time: memory is constant.
    """
    size, asked = FIRST, 0
    while people := await asyncio.to_thread(list, islice(everyone, size)):
        while (await database.read(counts))[1] >= AWAITED:  # noqa: ASYNC110 - the count is in the database
            await asyncio.sleep(0.1)
        asked += await database.write(lambda c, people=people: request_codes(c, post, member, people))  # type: ignore[misc]
        if size == FIRST:
            while (await database.read(counts))[1]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        size = MAX_BATCH
    return asked
