"""Representatives: a person lets another act for them, for some things and until a day; a guardian acts for a child, as a body says.

What always holds: an agent never has the account, only a way into some of its pages, and never its own information, sign-ins or sites; each
thing done is listed for both; either ends it at once; what is sent says that a representative sent it.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.errors import Conflict, Malformed, NotFound
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.letters import Arrived
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.settings import Clock
from renkei.messages.wire import Told
from renkei.portal import proxy_store as store

READ, APPLY = SCOPES = ("read", "apply")
ATTORNEY, GUARDIAN = "attorney", "guardian"
DAYS_MOST = 366
INVITED_FOR = 7 * 86_400_000
NAME_MOST = 40
GRANTS_MOST = 20
SEEN_EVERY = 600_000
"""Milliseconds after which the same thing, looked at again, is listed again."""


class Named(msgspec.Struct, frozen=True):
    """What each calls the other: the portal knows no names."""

    principal: str = ""
    agent: str = ""


class Grant(NamedTuple):
    """Who may act for whom."""

    row: Any
    named: Named

    @property
    def scopes(self) -> list[str]:
        return str(self.row.scopes).split()


class Proxies:
    """The portal's part."""

    def __init__(self, keys: Keys, member: Member, database: Database, observe: Observer, clock: Clock) -> None:
        self._keys, self._member, self._database = keys, member, database
        self._observe, self._clock = observe, clock
        self._seen: dict[tuple[str, str], int] = {}

    @property
    def _today(self) -> str:
        return self._member.pack.day(self._clock()).isoformat()

    def stands(self, grant: Grant) -> bool:
        """Whether the agent may act by it now."""
        row = grant.row
        return row.agent is not None and row.ended is None and bool(self._today <= row.until)

    # ------------------------------------------------------------------ by oneself

    async def invite(self, principal: str, mine: str, theirs: str, scopes: Sequence[str], until: str) -> str:
        """Let whoever is given the code that is answered act for ``principal``, for these things, until a day (ISO)."""
        names = [" ".join(n.split()) for n in (mine, theirs)]
        if not all(0 < len(n) <= NAME_MOST and n.isprintable() for n in names):
            raise Malformed(
                "Say who you are to them, and who they are.", ja="双方の呼び名を入力してください。", code="name"
            )
        wanted = [s for s in SCOPES if s in scopes]
        if not wanted:
            raise Malformed("Choose what they may do.", ja="任せることを選んでください。", code="scopes")
        try:
            ahead = (dt.date.fromisoformat(until) - dt.date.fromisoformat(self._today)).days
        except ValueError:
            ahead = -1
        if not 0 <= ahead <= DAYS_MOST:
            raise Malformed("Choose a last day within a year.", ja="1年以内の期限を指定してください。", code="until")
        code = secrets.token_hex(10)
        row = self._row(principal, ATTORNEY, Named(*names), wanted, until, invitation=_digest(code))

        def commit(connection: sa.Connection) -> None:
            live = [g for g in store.of(connection, principal) if g.principal == principal and g.ended is None]
            if len(live) >= GRANTS_MOST:
                raise Conflict(
                    "There are too many already.", ja="登録できる代理人の数を超えています。", code="too-many"
                )
            store.add(connection, row)

        await self._database.write(commit)
        return "-".join(code[i : i + 5] for i in range(0, len(code), 5))

    def _row(
        self, principal: str, kind: str, named: Named, scopes: Sequence[str], until: str, **more: Any
    ) -> dict[str, Any]:
        locked = self._keys.lock(msgspec.json.encode(named))
        shared = {"id": os.urandom(16).hex(), "principal": principal, "kind": kind, "named": locked, "until": until}
        return {**shared, "scopes": " ".join(scopes), "made": self._clock(), **more}

    async def accept(self, agent: str, code: str) -> Grant:
        """Take up an invitation. ``NotFound`` for one that is none, is old, or was taken up."""
        digest, now = _digest("".join(c for c in code.lower() if c.isalnum())), self._clock()

        def commit(connection: sa.Connection) -> str:
            row = store.invited(connection, digest)
            if row is None or now - row.made > INVITED_FOR or self._today > row.until:
                raise NotFound(
                    "There is no such invitation (any more).",
                    ja="この代理人コードは使えません。",
                    remedy="Ask for a new one.",
                    remedy_ja="新しいコードを発行してもらってください。",
                    code="invitation",
                )
            if row.principal == agent:
                raise Conflict("You cannot act for yourself.", ja="自分の代理人にはなれません。", code="oneself")
            store.accept(connection, row.id, agent, now)
            return str(row.id)

        id_ = await self._database.write(commit)
        return await self.get(id_)

    async def get(self, id_: str) -> Grant:
        row = await self._database.read(lambda c: store.get(c, id_))
        if row is None:
            raise NotFound("There is no such representation.", ja="この代理は登録されていません。")
        return self._grant(row)

    def _grant(self, row: Any) -> Grant:
        return Grant(row, msgspec.json.decode(self._keys.unlock(bytes(row.named)), type=Named))

    async def listed(self, account: str) -> list[Grant]:
        """All of a person's, as either, newest first."""
        return [self._grant(r) for r in await self._database.read(lambda c: store.of(c, account))]

    async def acts(self, grants: Sequence[Grant]) -> list[Any]:
        ids = [g.row.id for g in grants]
        return await self._database.read(lambda c: store.acts_of(c, ids)) if ids else []

    async def end(self, account: str, id_: str) -> None:
        if not await self._database.write(lambda c: store.end(c, id_, account, self._clock())):
            raise NotFound("There is no such representation.", ja="この代理は登録されていません。")

    # ------------------------------------------------------------------ acting

    async def acting(self, session: Mapping[str, Any], account: str) -> Grant | None:
        """By which grant whoever is signed in acts for somebody else; ``None``: for themselves, or it stands no more."""
        id_ = session.get("acting", "")
        row = await self._database.read(lambda c: store.get(c, id_)) if id_ else None
        grant = self._grant(row) if row is not None and row.agent == account else None
        return grant if grant is not None and self.stands(grant) else None

    async def note(self, grant: Grant, what: str, subject: str = "") -> None:
        """List what was done. Pages looked at again soon are listed once."""
        now, key = self._clock(), (grant.row.id, what)
        if not subject:
            if now - self._seen.get(key, -SEEN_EVERY) < SEEN_EVERY:
                return
            self._seen = {k: at for k, at in self._seen.items() if now - at < SEEN_EVERY}
            self._seen[key] = now
        await self._database.write(lambda c: store.note(c, grant.row.id, what, subject, now))

    # ------------------------------------------------------------------ by what a body says

    def arrived(self, connection: sa.Connection, one: Arrived, account: str | None) -> None:
        """A letter that says whose guardian somebody is: of two, one to either. With both there, and both known here, it is so."""
        letters, said = self._member.pack.header.letters, one.said
        if not isinstance(said, Told) or one.topic not in (letters.guardian, letters.guarded):
            return
        side = GUARDIAN if one.topic == letters.guardian else "child"
        token, until = str(said.values.get("pair", "")), str(said.values.get("until", ""))
        if account is None or not token or len(token) > 64 or not _is_day(until):
            self._observe.count("pairings_unknown")
            return
        row = {"token": token, "sender": one.sender, "side": side, "account": account, "until": until, "at": one.at}
        other = store.pair(connection, row, "child" if side == GUARDIAN else GUARDIAN)
        if other is None:
            return
        child, guardian = (other.account, account) if side == GUARDIAN else (account, other.account)
        if child == guardian:
            return
        if (standing := store.guards(connection, child, guardian)) is not None:
            store.end(connection, standing.id, child, one.at)
        if min(until, other.until) >= self._today:  # a day that is past ends it
            made = self._row(child, GUARDIAN, Named(), SCOPES, min(until, other.until), by=one.sender)
            store.add(connection, {**made, "agent": guardian, "since": one.at})


def _digest(code: str) -> bytes:
    return sha256(b"renkei/v1/proxy" + code.encode()).digest()


def _is_day(text: str) -> bool:
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return False
    return len(text) == 10
