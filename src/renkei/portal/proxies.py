"""Representatives: a person lets another act for them, for some things and until a day; a guardian acts for a child, and an officer for a
corporation, as a body says; an officer lets staff act.

What always holds: an agent never has the account, only a way into some of its pages, and never its own information, sign-ins or sites; each
thing done is listed for both; either ends it at once; what is sent says that a representative sent it.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.errors import Conflict, Malformed, NotFound, RenkeiError
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.letters import Arrived
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.institution.subjects import Coded
from renkei.messages.wire import Told
from renkei.numbers import number_format
from renkei.portal import proxy_store as store

READ, APPLY = SCOPES = ("read", "apply")
STAFF = "staff"
"""To let others act for a corporation."""
ATTORNEY, GUARDIAN, OFFICER, SHIELD = "attorney", "guardian", "officer", "shield"
"""Kinds, besides ``STAFF``: whom an officer lets act."""
AGENT, PRINCIPAL = "agent", "of"
CORPORATION = "corp-"
"""How the account of a corporation begins; its number follows."""
DAYS_MOST = 366
INVITED_FOR = 7 * 86_400_000
PAIR = re.compile(r"[0-9a-f]{1,64}")
UNKNOWN_FOR = 366 * 86_400_000
"""Milliseconds for which what a body says of somebody waits until they are known here."""
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

    def __init__(
        self, keys: Keys, member: Member, database: Database, post: Post, observe: Observer, clock: Clock
    ) -> None:
        self._keys, self._member, self._database, self._post = keys, member, database, post
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

    async def invite(
        self, principal: str, mine: str, theirs: str, scopes: Sequence[str], until: str, officer: Grant | None = None
    ) -> str:
        """Let whoever is given the code that is answered act for ``principal``, for these things, until a day (ISO). ``officer``: as
        staff, for as long as that grant stands."""
        names = [" ".join(n.split()) for n in (mine, theirs)]
        if not all(0 < len(n) <= NAME_MOST and n.isprintable() for n in names):
            raise Malformed(
                "Say who you are to them, and who they are.", ja="双方の呼び名を入力してください。", code="name"
            )
        wanted = [s for s in SCOPES if s in scopes]
        if not wanted:
            raise Malformed("Choose what they may do.", ja="任せることを選んでください。", code="scopes")
        ahead = (dt.date.fromisoformat(until) - dt.date.fromisoformat(self._today)).days if _is_day(until) else -1
        if not 0 <= ahead <= DAYS_MOST:
            raise Malformed("Choose a last day within a year.", ja="1年以内の期限を指定してください。", code="until")
        code = secrets.token_hex(10)
        kind, through = (STAFF, officer.row.id) if officer else (ATTORNEY, "")
        if officer:
            until = min(until, officer.row.until)
        row = self._row(principal, kind, Named(*names), wanted, until, invitation=_digest(code), through=through)

        def commit(connection: sa.Connection) -> None:
            live = [g for g in store.of(connection, principal) if g.principal == principal and g.ended is None]
            if len(live) >= GRANTS_MOST:
                raise Conflict(
                    "There are too many already.",
                    ja="登録できる代理人の数を超えています。",
                    remedy="End one of them first.",
                    remedy_ja="先に、不要な代理人を終了してください。",
                    code="too-many",
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
                raise Conflict(
                    "You cannot act for yourself.",
                    ja="自分の代理人にはなれません。",
                    remedy="Give the code to whom you want to act for you.",
                    remedy_ja="代理人になる方にコードを渡してください。",
                    code="oneself",
                )
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
        if not subject and now - self._seen.get(key, -SEEN_EVERY) < SEEN_EVERY:
            return
        await self._database.write(lambda c: store.note(c, grant.row.id, what, subject, now))
        self._seen = {k: at for k, at in self._seen.items() if now - at < SEEN_EVERY}
        self._seen[key] = now

    def note_in(self, connection: sa.Connection, grant: Grant, what: str, subject: str) -> None:
        """The same, in the transaction in which it is done."""
        store.note(connection, grant.row.id, what, subject, self._clock())

    # ------------------------------------------------------------------ by what a body says

    def arrived(self, connection: sa.Connection, one: Arrived, account: str | None) -> None:
        """A letter that says who acts for whom: of two, one to either. With both there, and both known here, it is so."""
        law, said = self._member.pack.header.letters, one.said
        sides = {law.guardian: (GUARDIAN, AGENT), law.guarded: (GUARDIAN, PRINCIPAL)}
        sides |= {law.officer: (OFFICER, AGENT), law.officered: (OFFICER, PRINCIPAL)}
        if not isinstance(said, Told) or not one.topic or one.topic not in sides:
            return
        kind, side = sides[one.topic]
        values = {name: str(said.values.get(name, "")) for name in ("pair", "until", "number", "name")}
        if one.topic == law.guarded and not values["pair"]:
            if account is not None:
                self._shield(connection, account, one.sender, one.at)
                return
            kind, values["pair"], values["until"] = SHIELD, one.id.hex(), self._today
        number = values["number"] if kind == OFFICER else ""
        is_form = PAIR.fullmatch(values["pair"]) and _is_day(values["until"])
        if not is_form or (kind == OFFICER and not self._ask_for(connection, number)):
            self._observe.count("pairings_unknown")
            return
        row = {
            "token": values["pair"],
            "sender": one.sender,
            "side": side,
            "kind": kind,
            "account": account or "",
            **one.code._asdict(),
            "until": values["until"],
            "number": number,
            "named": self._keys.lock(values["name"].encode()),
            "at": one.at,
        }
        store.put_pairing(connection, row)
        self._complete(connection, values["pair"], one.sender)

    def _shield(self, connection: sa.Connection, account: str, sender: str, at: int) -> None:
        """A body protects somebody: nobody is their guardian any more, and none is made so before this body says so again."""
        store.end_until(connection, account, GUARDIAN, at)
        if not store.has_said_since(connection, account, GUARDIAN, sender, at):
            store.block(connection, account, sender, at)

    def _ask_for(self, connection: sa.Connection, number: str) -> bool:
        """Ask the authority for a corporation's code, if we have none; ``False`` if that is no number of one."""
        try:
            given = number_format(self._member.pack.header.corporate_number).parse(number)
        except RenkeiError:
            return False
        if given != number:
            return False
        subjects.request_codes(connection, self._post, self._member, [(CORPORATION + given, given)])
        return True

    def resolve(self, connection: sa.Connection, came: Sequence[Coded]) -> None:
        """Codes have come: perhaps of those whom letters wait for, that came sooner. What was said first is so first."""
        waiting = store.epochs_waiting(connection)
        codes = {self._member.carry(*code, epoch) for code in came for epoch in waiting}
        for row in store.unresolved(connection, codes):
            code = Coded(bytes(row.code), row.epoch)
            if (known := subjects.by_code(connection, self._member, [code]).get(code)) is not None:
                store.resolve(connection, row, known.local_id)
                if row.kind == SHIELD:
                    store.forget_pairing(connection, row.token, row.sender)
                    self._shield(connection, known.local_id, row.sender, row.at)
                else:
                    self._complete(connection, row.token, row.sender)

    def _complete(self, connection: sa.Connection, token: str, sender: str) -> None:
        both = store.pairing(connection, token, sender)
        agent, principal = both.get(AGENT), both.get(PRINCIPAL)
        if agent is None or principal is None or not (agent.account and principal.account):
            return
        store.forget_pairing(connection, token, sender)
        of, kind, until = principal.account, agent.kind, min(agent.until, principal.until)
        alike = (agent.kind, agent.number) == (principal.kind, principal.number) and of != agent.account
        # of a person nobody is made an officer, whatever a letter says: the code is that of the number's corporation
        if (
            not alike
            or of.startswith(CORPORATION) != (kind == OFFICER)
            or (kind == OFFICER and of != CORPORATION + agent.number)
        ):
            self._observe.count("pairings_refused")
            return
        at = max(agent.at, principal.at)
        blocked = store.blocked_by(connection, of) if kind == GUARDIAN else {}
        if any(body != sender or since >= at for body, since in blocked.items()):
            self._observe.count("pairings_refused")
            return
        if store.last_said(connection, of, agent.account, kind) > at:  # something newer was said before this came
            return
        store.end_said(connection, of, agent.account, kind, at)
        over = (
            until < self._today
        )  # a day that is past ends it; that it was said is kept, for what was said before may come later
        name = self._keys.unlock(bytes(agent.named)).decode() if kind == OFFICER else ""
        scopes = (*SCOPES, STAFF) if kind == OFFICER else SCOPES
        made = self._row(of, kind, Named(f"{name} ({agent.number})" if name else ""), scopes, until, by=sender)
        if not over:
            store.unblock(connection, of, sender)
        store.add(connection, {**made, "agent": agent.account, "since": at, "ended": at if over else None})

    async def forget(self) -> None:
        """Pairs whose other half never came, or whose persons never became known here."""
        half, unknown = self._clock() - INVITED_FOR, self._clock() - UNKNOWN_FOR
        await self._database.write(lambda c: store.forget_old_pairings(c, half, unknown))


def _digest(code: str) -> bytes:
    return sha256(b"renkei/v1/proxy" + code.encode()).digest()


def _is_day(text: str) -> bool:
    """Whether this is a day as days are compared: YYYY-MM-DD, and no other form of ISO 8601."""
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
