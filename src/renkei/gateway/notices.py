"""Push notices: what this body tells residents of itself, by a clerk's hand or by the pack's rules over its own data (ADR 47).

A rule is looked at inside the body, over what it holds anyway: nobody else is asked, and nobody else learns whom it looked at. What leaves
is a letter to the portal by code, once for each person and occasion.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.errors import Conflict, Malformed, NotFound, RenkeiError, Unavailable
from renkei.gateway import notice_store as store
from renkei.gateway.adapter import SourceFault
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.letters import Letters, Written
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.institution.subjects import Subject
from renkei.law.letters import Notice, Rule, meets
from renkei.law.tables import value_fault
from renkei.messages.wire import Told

AT_ONCE = 500
TEXT_MOST = 500
BY_RULE = "rule/"

LookUp = Callable[[str, Sequence[str]], Mapping[str, Any]]
"""``look_up(item, local ids)``: records of each, or a ``SourceFault``."""


class Run(NamedTuple):
    """What a look by all rules came to: persons looked at, and by rule how many were told."""

    people: int
    told: dict[str, int]


class Notices:
    """The notices of one body."""

    def __init__(
        self,
        body: str,
        items: Sequence[str],
        letters: Letters,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        clock: Clock,
        look_up: LookUp,
        every_minutes: int,
    ) -> None:
        self._body, self._items, self._letters, self._member = body, frozenset(items), letters, member
        self._database, self._post, self._observe, self._clock = database, post, observe, clock
        self._look_up, self._every = look_up, every_minutes * 60.0
        self._looking = asyncio.Lock()

    def ours(self) -> list[Notice]:
        """What this body may tell, by the pack."""
        known = self._member.state.bodies.get(self._body)
        standing = self._member.pack.standing(known.kinds) if known else frozenset()
        law, every = self._member.pack.header.letters, self._member.pack.notices.values()
        apart = (
            law.guardian,
            law.guarded,
            law.officer,
            law.officered,
        )  # by ``representation`` alone, which looks at who it is
        return [n for n in every if not standing.isdisjoint(n.sender) and n.code not in apart]

    def rules(self) -> list[Rule]:
        """The rules this body can look by: it may tell their notices, and holds what they ask for."""
        may = {n.code for n in self.ours()}
        return [
            r
            for r in self._member.pack.rules.values()
            if r.notice in may and r.item in self._items and (not r.lacks or r.lacks in self._items)
        ]

    # ------------------------------------------------------------------ by hand

    async def tell(
        self, clerk: str, code: str, local_id: str, values: Mapping[str, str], idempotency: str | None = None
    ) -> bytes:
        """Send a notice of the pack to one person; its id. The same key with the same content gives the same letter, else ``Conflict``."""
        notice = next((n for n in self.ours() if n.code == code), None)
        if notice is None:
            raise Malformed(
                "This body does not tell that.",
                ja="この機関が送るお知らせではありません。",
                code="notice",
                field="notice",
            )
        said = Told(values=filled(notice, values))
        digest = sha256(msgspec.json.encode([clerk, code, local_id, said.values], order="deterministic")).digest()
        key = f"{clerk}/{idempotency}" if idempotency else None
        if key and (earlier := await self._database.read(lambda c: store.by_idempotency(c, key))):
            return _same(earlier, digest)
        known = (await self._database.read(lambda c: subjects.by_local_id(c, [local_id]))).get(local_id)
        if known is None or known.code is None:
            raise NotFound(
                "Nobody with this local id has a linkage code here.",
                ja="この宛名番号の符号がありません。",
                code="no-subject",
                remedy="Check the local id, or register the person first.",
                remedy_ja="宛名番号を確認するか、先に登録してください。",
            )
        portal, person = self._portal(), known.code
        written = await asyncio.to_thread(lambda: self._letters.write(portal, notice.affair, code, person, said))

        def commit(connection: sa.Connection) -> None:
            self._letters.send(connection, [written])
            row = self._row(written, local_id, clerk)
            store.add_notices(connection, [{**row, "idempotency": key, "digest": digest if key else None}])

        try:
            await self._database.write(commit)
        except sa.exc.IntegrityError:
            if key and (earlier := await self._database.read(lambda c: store.by_idempotency(c, key))):
                return _same(earlier, digest)
            raise
        self._observe.count("notices_sent")
        return written.id

    def _portal(self) -> str:
        try:
            return self._member.state.of_role("portal")
        except RenkeiError:
            raise Unavailable(
                "There is no portal in the record yet.", ja="ポータルがまだありません。", code="no-portal"
            ) from None

    @staticmethod
    def _row(written: Written, local_id: str, by: str) -> dict[str, Any]:
        return {"letter": written.id, "local_id": local_id, "by": by, "made": written.row["made"]}

    # ------------------------------------------------------------------ by rule

    async def run(self) -> None:
        """Look by all rules every so often, for ever."""
        await self._member.until_ready()
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.check()
            except (RenkeiError, sa.exc.SQLAlchemyError) as error:
                self._observe.log.warning("notices.retry", reason=getattr(error, "code", "") or "database")

    async def check(self) -> Run:
        """Tell everybody a rule speaks of and has not told yet. O(persons × items) look-ups, memory for a few hundred persons."""
        async with self._looking:
            await self._member.follow()
            rules, today = self.rules(), self._member.pack.day(self._clock())
            last, people, told = "", 0, dict.fromkeys((r.code for r in rules), 0)
            while rules and (rows := await self._database.read(lambda c: _after(c, last))):  # noqa: B023  # read at once
                last, people = rows[-1].local_id, people + len(rows)
                while await self._letters.is_crowded():  # noqa: ASYNC110 - the count is in the database
                    await asyncio.sleep(0.2)
                made = await asyncio.to_thread(self._meeting, rules, rows, today)
                if made:
                    await self._database.write(lambda c: self._send(c, made))  # noqa: B023  # written at once
                for rule, *_ in made:
                    told[rule.code] += 1
            self._observe.count("notices_sent", sum(told.values()))
            return Run(people, told)

    def _send(self, connection: sa.Connection, made: Sequence[tuple[Rule, str, str, Written]]) -> None:
        self._letters.send(connection, [w for *_, w in made], later=True)
        store.add_notices(connection, [self._row(w, local_id, BY_RULE + r.code) for r, local_id, _, w in made])
        now = self._clock()
        store.tell(
            connection,
            [{"rule": r.code, "local_id": i, "occasion": o, "letter": w.id, "at": now} for r, i, o, w in made],
        )

    def _meeting(
        self, rules: Sequence[Rule], people: Sequence[Subject], today: dt.date
    ) -> list[tuple[Rule, str, str, Written]]:
        """Of these persons whom to tell what. Runs on a thread."""
        by_id = {p.local_id: p for p in people}
        ids = sorted(by_id)
        wanted = {r.item for r in rules} | {r.lacks for r in rules if r.lacks}
        held = {item: self._look_up(item, ids) for item in wanted}
        portal, found = self._portal(), []
        for rule in rules:
            notice = self._member.pack.notices[rule.notice]
            met = {i: m for i in ids if (m := self._met(rule, notice, held, i, today))}
            done = self._database.read_now(lambda c, r=rule, m=met: store.told_before(c, r.code, list(m)))  # type: ignore[misc]
            for local_id, occasions in met.items():
                for occasion, values in occasions.items():
                    code = by_id[local_id].code
                    if (local_id, occasion) not in done and code is not None:
                        written = self._letters.write(portal, notice.affair, notice.code, code, Told(values=values))
                        found.append((rule, local_id, occasion, written))
        return found

    @staticmethod
    def _met(
        rule: Rule, notice: Notice, held: Mapping[str, Mapping[str, Any]], local_id: str, today: dt.date
    ) -> dict[str, dict[str, str | int]]:
        """The occasions on which the rule is met by what is held about a person, with the values to tell."""
        records = held[rule.item].get(local_id, ())
        lacked = held[rule.lacks].get(local_id, ()) if rule.lacks else ()
        if isinstance(records, SourceFault) or lacked:  # a fault of either is no reason to tell anybody anything
            return {}
        met = (meets(rule, notice, record, today) for record in records)
        return {m.occasion: m.values for m in met if m is not None}


def _after(connection: sa.Connection, last: str) -> list[Subject]:
    s = subjects.subjects.c
    where = s.local_id > last, s.code.is_not(None)
    rows = connection.execute(sa.select(subjects.subjects).where(*where).order_by(s.local_id).limit(AT_ONCE))
    return [subjects.subject_of(r) for r in rows]


def filled(notice: Notice, values: Mapping[str, str]) -> dict[str, str | int]:
    """The values of a notice, as what they are; ``Malformed`` for what is missing or is none."""
    found: dict[str, str | int] = {}
    for name, kind in notice.fields.items():
        text = values.get(name, "").strip()
        if len(text) > TEXT_MOST or not text.isprintable() or value_fault(kind, text, ()) is not None:
            raise Malformed(
                f"`{name}` is missing, or not of type {kind}.",
                ja=f"「{name}」を正しく入力してください。",
                code="value",
                field=name,
            )
        found[name] = int(text) if kind == "integer" else text
    return found


def _same(row: Any, digest: bytes) -> bytes:
    if bytes(row.digest) != digest:
        raise Conflict(
            "This idempotency key was used for another letter.", ja="この冪等キーは別のお知らせに使われています。"
        )
    return bytes(row.letter)
