"""The inbox: what bodies tell residents, and what becomes of what they applied for.

A notice counts as delivered at the time of its round in the record. Its sender is told whether it is shown here or is to go on paper, which
says nothing of whether it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.errors import NotFound
from renkei.institution import letters, subjects
from renkei.institution.database import Database
from renkei.institution.letters import Arrived, Letters
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.law.letters import Notice
from renkei.messages.wire import Received, Told
from renkei.portal import apply_store as store

PAGE = 20
OPEN = ("sent", "received", "asked", "answered")
MOVES = {"asked": OPEN, "granted": (*OPEN, store.WITHDRAWING), "refused": (*OPEN, store.WITHDRAWING)}
"""What a body may say of an application, and after what: what is decided already is not withdrawn."""


class Shown(NamedTuple):
    """A letter in the inbox."""

    row: Any
    said: Told
    notice: Notice | None
    """Of today's pack; ``None`` for what is said of an application, or if the pack has it no more."""


class Inbox:
    """The portal's part."""

    def __init__(self, member: Member, database: Database, post: Post, observe: Observer, clock: Clock) -> None:
        self._member, self._database, self._post = member, database, post
        self._observe, self._clock = observe, clock
        self.letters: Letters
        """Set by who makes both."""
        self.follow: Callable[[sa.Connection, Arrived, str | None], None] = lambda *_: None
        """What else follows from a letter to an account (``None``: to nobody known here)."""

    def arrived(self, connection: sa.Connection, came: Sequence[Arrived]) -> None:
        """Letters that were received: an application goes on with what is said of it; the senders of notices learn how they go."""
        known = subjects.by_code(connection, self._member, [one.code for one in came])
        paper = store.prefers_paper(connection, [s.local_id for s in known.values()])
        ways: dict[tuple[str, bool], list[bytes]] = {}
        for one in came:
            self.follow(connection, one, known[one.code].local_id if one.code in known else None)
            if not isinstance(one.said, Told):
                self._observe.count("letters_unexpected")
                continue
            if one.about and one.said.state in MOVES:
                store.move_part(connection, one.about, one.said.state, one.at, of=MOVES[one.said.state])
            person = known.get(one.code)
            ways.setdefault((one.sender, person is None or person.local_id in paper), []).append(one.id)
        for (sender, on_paper), ids in ways.items():
            self._post.put(connection, sender, [Received(ids, on_paper)], later=True)

    def received(self, connection: sa.Connection, sender: str, message: Received) -> None:
        """A body has taken in letters of ours: applications, or that one is taken back."""
        store.received(connection, sender, message.letters, self._clock())

    def refused(self, connection: sa.Connection, row: Any) -> None:
        """The record has not taken a letter of ours."""
        store.undo(connection, bytes(row.id), row.about and bytes(row.about), self._clock())

    def replaced(self, connection: sa.Connection, old: bytes, new: bytes) -> None:
        store.rename(connection, old, new)

    async def listed(self, codes: Sequence[bytes], below: int | None) -> list[Shown]:
        """A person's letters, newest first."""
        rows = await self._database.read(lambda c: letters.received(c, codes, below=below, limit=PAGE))
        return [self._shown(r) for r in rows]

    async def unread(self, codes: Sequence[bytes]) -> int:
        return await self._database.read(lambda c: letters.unread(c, codes))

    async def open(self, codes: Sequence[bytes], id_: bytes, *, mine: bool = True) -> Shown:
        """One letter, which counts as read from now on if it is ``mine``; ``NotFound`` unless it is this person's."""
        row = await self._mine(codes, id_)
        if mine and row.read_at is None:
            await self._database.write(lambda c: letters.read(c, id_, self._clock()))
        return self._shown(row)

    async def unopen(self, codes: Sequence[bytes], id_: bytes) -> None:
        """It counts as unread again."""
        await self._mine(codes, id_)
        await self._database.write(lambda c: letters.read(c, id_, None))

    async def _mine(self, codes: Sequence[bytes], id_: bytes) -> Any:
        row = await self._database.read(lambda c: letters.get(c, id_))
        if row is None or row.mine or row.state != letters.DELIVERED or bytes(row.code) not in codes:
            raise NotFound("There is no such letter.", ja="このお知らせはありません。")
        return row

    def _shown(self, row: Any) -> Shown:
        said = self.letters.said(row)
        assert isinstance(said, Told)
        return Shown(row, said, self._member.pack.notices.get(row.topic))

    # ------------------------------------------------------------------ preferences

    async def came(self, account: str) -> None:
        """Whoever was here once reads letters here, unless they want them on paper."""
        if account and await self._database.read(lambda c: store.preference(c, account)) is None:
            now = self._clock()

            def commit(connection: sa.Connection) -> None:
                if store.preference(connection, account) is None:
                    store.put_preference(connection, account, False, now)

            await self._database.write(commit)

    async def prefers_paper(self, account: str) -> bool:
        row = await self._database.read(lambda c: store.preference(c, account))
        return row is not None and bool(row.paper)

    async def prefer(self, account: str, paper: bool) -> None:
        now = self._clock()
        await self._database.write(lambda c: store.put_preference(c, account, paper, now))
