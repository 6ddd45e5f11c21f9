"""Rotation: a body goes over to new codes, a new key, or both, while everything goes on.

The body orders its next domain (``rotate/1`` in the record); both converters publish it and hand over their shares, and for new codes
their δ. From then on what others send leads to the new domain. The body's stored codes go over a few at a time, each row with its epoch
beside it: what comes in is looked for in both epochs, what goes out names the epoch of the row it came from. When no row is left
behind, the body retires what is older (``retire/1``), and both keepers refuse it. A crash at any point goes on where it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.codes import Domain
from renkei.errors import Malformed, RenkeiError
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Home
from renkei.messages.wire import Retire, Rotate, Submit
from renkei.record.state import ref_of
from renkei.rows import Rows

ORDER = "rotate"
"""Name of the file in the home folder by which an operator orders a rotation; it says ``codes``, ``key``, or both."""
AT_ONCE = 512
EVERY = 1.0
SETTLE = 5.0
"""Seconds from the last row's going over to the retirement: inquiries made from older rows are on their way until then."""
AGAIN_AFTER = 30.0
AWAIT_CODES = 3600.0
"""Seconds for which codes that were asked for, and may still come in the old domain, are waited for."""


class CodeTable(NamedTuple):
    """A table with codes of our own in columns ``code`` and ``epoch``, and its primary key."""

    table: sa.Table
    key: str


class Rotation:
    """Sees to one body's rotations."""

    def __init__(
        self,
        home: Home,
        keys: Keys,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        tables: Sequence[CodeTable],
    ) -> None:
        self._home, self._keys, self._member, self._database = home, keys, member, database
        self._post, self._observe = post, observe
        self._tables = [(t, _renewal(t)) for t in tables]
        self._submitted: dict[Domain, float] = {}
        self._done_at: dict[Domain, float] = {}
        self._left = 0

    async def run(self) -> None:
        """For ever."""
        await self._member.until_ready()
        while True:
            try:
                await self._order()
                domain = self._member.domain
                if domain != Domain(domain.body):
                    await self._renew(domain.code_epoch)
                    await self._retire(domain)
            except RenkeiError as error:
                self._observe.log.warning("rotation.waiting", reason=error.code)
            await asyncio.sleep(EVERY)

    def report(self) -> dict[str, str]:
        """For ``/health``: how many codes have yet to go over; nothing when none has."""
        return {"rotating": str(self._left)} if self._left else {}

    async def _order(self) -> None:
        """Take up what an operator ordered."""
        path = self._home / ORDER
        if not path.exists():
            return
        words = set(path.read_text("ascii", "replace").split())
        if not words or words - {"codes", "key"}:
            path.unlink()
            raise Malformed("`rotate` says `codes`, `key`, or both.", code="rotate")
        state, now = self._member.state, self._member.domain
        if now != state.wanted(now.body) or (now != Domain(now.body) and state.retired.get(now.body) != now):
            return  # one after the other
        wanted = Domain(now.body, now.code_epoch + ("codes" in words), now.key_epoch + ("key" in words))
        await self._post.send("hub", [Submit(self._keys.identity.sign(Rotate(ref_of(wanted))))])
        path.unlink()

    async def _renew(self, epoch: int) -> None:
        """Take every code of an earlier epoch over, one multiplication each. Memory is constant."""
        for (table, key), renewal in self._tables:
            columns: list[Any] = [table.c[key], table.c.code, table.c.epoch]
            old = sa.select(*columns).where(table.c.epoch < epoch).limit(AT_ONCE)
            behind = sa.select(sa.func.count()).select_from(table).where(table.c.epoch < epoch)
            self._left = await self._database.read(lambda c, behind=behind: c.execute(behind).scalar_one())  # type: ignore[misc]
            while rows := await self._database.read(lambda c, old=old: c.execute(old).all()):  # type: ignore[misc]
                renewed = await asyncio.to_thread(self._carry, rows, epoch)
                await self._database.write(lambda c, renewal=renewal, renewed=renewed: renewal(c, renewed))  # type: ignore[misc]
                self._left = max(0, self._left - len(rows))
                self._observe.count("codes_rotated", len(rows))

    def _carry(self, rows: Sequence[Any], epoch: int) -> list[dict[str, object]]:
        carry = self._member.carry
        return [{"at": r[0], "old": r[2], "new": epoch, "renewed": carry(bytes(r[1]), r[2], epoch)} for r in rows]

    async def _retire(self, domain: Domain) -> None:
        """Once no code is older than ``domain``, and nothing made from an older one is under way: retire what is."""
        now = time.monotonic()
        if domain != self._member.state.domain(domain.body) or self._member.state.retired.get(domain.body) == domain:
            return
        waited = now - self._done_at.setdefault(domain, now)
        if waited < SETTLE or (waited < AWAIT_CODES and (await self._database.read(subjects.counts))[1]):
            return
        if now - self._submitted.get(domain, -AGAIN_AFTER) >= AGAIN_AFTER:
            self._submitted[domain] = now
            await self._post.send("hub", [Submit(self._keys.identity.sign(Retire(ref_of(domain))))])
            self._member.want()


def _renewal(table: CodeTable) -> Rows:
    t = table.table
    where = t.c[table.key] == sa.bindparam("at"), t.c.epoch == sa.bindparam("old")
    return Rows(t.update().where(*where).values(code=sa.bindparam("renewed"), epoch=sa.bindparam("new")))
