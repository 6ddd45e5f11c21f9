"""Monitoring: what the commission makes of its own copy of the record, off the way of any inquiry.

The record is followed leaf by leaf into one line for each inquiry (``watched``), a day's counts for each use (``usage``), and the alarms
that ``watch`` raises. Where it stopped is kept in the same transaction, so that a crash repeats nothing and misses nothing.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from renkei.commission import store
from renkei.commission.casework import Casework, demand_inspector
from renkei.commission.watch import Alarm, Seen, Watch
from renkei.errors import Conflict, NotFound
from renkei.institution.database import Database
from renkei.institution.keeper import Keeper
from renkei.institution.keys import Keys
from renkei.institution.observe import Observer
from renkei.institution.settings import Clock
from renkei.ledger import store as log
from renkei.messages.wire import Inquiry, Officer, Outcomes, Report, decode_as
from renkei.record import store as index
from renkei.record.entries import ChangeLeaf, Entry, InquiryLeaf, OutcomeLeaf, decode_entry, said
from renkei.record.oversight import DAY, Linked

AT_ONCE = 512
EVERY = 1.0
FLAG = "watched"
REPLAYED = 60
"""Days of lines from which the histories are made anew at a start."""
KEPT = 400
"""Days for which there is a line for each inquiry; counts and alarms stay."""


class Monitor:
    """Follows the record for alarms and statistics."""

    def __init__(
        self, keys: Keys, keeper: Keeper, database: Database, casework: Casework, observe: Observer, clock: Clock
    ) -> None:
        self._keys, self._keeper, self._database = keys, keeper, database
        self._casework, self._observe, self._clock = casework, observe, clock
        rules = keeper.state.pack.header.oversight
        self._watch = Watch(rules.office_from, rules.office_to)
        self._replayed = False
        self._counted = set[store.Use]()
        """Uses of the newest days that have a row: the record is about few, again and again."""

    async def run(self) -> None:
        """For ever: take in what is new, and now and then what audits found; forget lines that are too old."""
        pruned = 0
        while True:
            if not self._replayed:
                self._replayed = await asyncio.to_thread(self._replay)
            if await self.step() < AT_ONCE:
                await self._findings()
                if self._clock() - pruned > DAY:
                    pruned = self._clock()
                    await self._database.write(lambda c: store.prune(c, self._clock() - KEPT * DAY))
                await asyncio.sleep(EVERY)

    def _replay(self) -> bool:
        """Make the histories from the lines there are; alarms of that time were raised then."""
        since = self._clock() - REPLAYED * DAY
        with self._database.engine.connect() as connection:
            for row in store.watched_since(connection, since):
                self._watch.see([self._seen("inquiry", row)])
                if row.result == "nothing":
                    self._watch.see([self._seen("nothing", row)])
        return True

    def _seen(self, what: str, row: Any) -> Seen:
        at = dt.datetime.fromtimestamp(row.time / 1000, self._keeper.state.pack.zone)
        place = row.position, row.time, at.date(), at.hour
        return Seen(what, *place, row.requester, bytes(row.clerk), row.affair, not row.reason, row.late)

    async def step(self) -> int:
        """Take in the next leaves; how many."""
        first = int(await self._database.read(lambda c: index.flag(c, FLAG)) or 1)
        end = min(self._keeper.head.size if self._keeper.head else 1, first + AT_ONCE)
        if first >= end:
            return 0
        leaves = await self._database.read(lambda c: log.read(c, first, end))
        entries = await asyncio.to_thread(lambda: [decode_entry(e.entry) if e.entry else None for e in leaves])
        lines = [self._line(first + at, e) for at, e in enumerate(entries) if isinstance(e, InquiryLeaf)]
        outcomes = {o.inquiry: o for e in entries for o in _outcomes(e)}
        known = await self._database.read(lambda c: store.watched_of(c, list(outcomes)))
        for line in lines:
            known[line.id] = line
        settled = [(known[i], o) for i, o in outcomes.items() if i in known and not known[i].result]
        alarms = self._watch.see(self._seen("inquiry", line) for line in lines)
        alarms += self._watch.see(self._seen("nothing", line) for line, o in settled if o.result == "nothing")
        uses = self._usage(lines, settled)
        for change in (e for e in entries if isinstance(e, ChangeLeaf) and e.ruling.allowed):
            day = self._keeper.state.pack.day(change.time).isoformat()
            uses[store.Use(day, *Linked.by(change.change.sender, said(change)))]["told"] += 1

        def commit(connection: sa.Connection) -> None:
            store.add_watched(connection, lines)
            store.settle_watched(connection, [(o.inquiry, o.result, o.time) for _, o in settled])
            store.add_usage(connection, uses, self._counted)
            self._raise(connection, alarms)
            index.set_flag(connection, FLAG, str(end))

        await self._database.write(commit)
        self._counted = {u for u in self._counted if u.day >= min((u.day for u in uses), default="")} | set(uses)
        return end - first

    def _line(self, position: int, leaf: InquiryLeaf) -> store.Watched:
        inquiry, sender = decode_as(leaf.inquiry.payload, Inquiry), leaf.inquiry.sender
        seal = self._keeper.state.body(sender).seal
        clerk = self._keys.hide(inquiry.clerk, seal, inquiry.reply_key) if len(inquiry.clerk) == 8 else b""
        ruling = leaf.ruling
        return store.Watched(
            position,
            leaf.inquiry.id,
            leaf.time,
            leaf.time - inquiry.issued_at,
            sender,
            clerk,
            inquiry.provider,
            inquiry.affair,
            inquiry.item,
            ruling.row if ruling.allowed else "",
            "" if ruling.allowed else ruling.reason,
        )

    def _usage(
        self, lines: Iterable[store.Watched], settled: Iterable[tuple[Any, Any]]
    ) -> dict[store.Use, Counter[str]]:
        """What these add to the counts of each use."""
        found: dict[store.Use, Counter[str]] = defaultdict(Counter)
        for line in lines:
            found[self._use(line)].update({"asked": 1, "refused": 1 if line.reason else 0})
        for line, outcome in settled:
            if outcome.result in ("provided", "nothing"):
                what = "provided" if outcome.result == "provided" else "empty"
                found[self._use(line)].update({what: 1, "waited": max(0, outcome.time - line.time)})
        return found

    def _use(self, line: Any) -> store.Use:
        day = self._keeper.state.pack.day(line.time).isoformat()
        return store.Use(day, line.requester, line.provider, line.affair, line.item)

    def _raise(self, connection: sa.Connection, alarms: Sequence[Alarm]) -> None:
        for alarm in alarms:
            if store.add_alarm(connection, alarm):
                self._observe.count("alarms")
                self._observe.log.warning("alarm", kind=alarm.kind, body=alarm.body)

    async def _findings(self) -> None:
        """Conversions that failed an audit are alarms, too; so are rounds of another history."""
        found = await self._database.read(index.findings)
        fork = await self._database.read(lambda c: index.flag(c, "fork"))
        now = self._clock()
        alarms = [Alarm("audit", keeper, b"", "", now, at, 1, 0.0, (at,)) for at, keeper in found]
        if fork:
            alarms.append(Alarm("fork", "hub", b"", "", now, int(fork), 1, 0.0, (int(fork),)))
        if alarms:
            await self._database.write(lambda c: self._raise(c, alarms))

    def unknown(self, connection: sa.Connection, report: Report, now: int) -> None:
        """The portal does not know whom the access at ``report.index`` is about, long after; in the caller's transaction."""
        row = store.watched_at(connection, report.index)
        if row is not None:
            at = dt.datetime.fromtimestamp(now / 1000, self._keeper.state.pack.zone)
            seen = Seen("unknown", row.position, now, at.date(), at.hour, row.requester, b"", row.affair)
            self._raise(connection, self._watch.see([seen]))

    # ------------------------------------------------------------------ what officers do about it

    async def open_case(self, officer: Officer, id_: int, title: str) -> str:
        """A case of an alarm, about the leaves it links to; its number."""
        demand_inspector(officer)
        now = self._clock()

        def commit(connection: sa.Connection) -> str:
            alarm = _open_alarm(connection, id_)
            leaves = [int(p) for p in alarm.leaves.split()]
            body = alarm.body if alarm.body in self._keeper.state.bodies else ""
            number = self._casework.alarmed(connection, title, body, leaves, now)
            store.end_alarm(connection, id_, case=number)
            self._casework.note(connection, officer.name, "open", number)
            return number

        return await self._database.write(commit)

    async def dismiss(self, officer: Officer, id_: int) -> None:
        """An alarm that is no cause for a case."""
        demand_inspector(officer)

        def commit(connection: sa.Connection) -> None:
            _open_alarm(connection, id_)
            store.end_alarm(connection, id_, dismissed_by=officer.name)
            self._casework.note(connection, officer.name, "dismiss", str(id_))

        await self._database.write(commit)


def _open_alarm(connection: sa.Connection, id_: int) -> Any:
    alarm = store.alarm(connection, id_)
    if alarm is None:
        raise NotFound("There is no such alarm.", ja="この警報はありません。")
    if alarm.case_number or alarm.dismissed_by:
        raise Conflict("Somebody has dealt with it.", ja="この警報は処理済みです。", code="moved-on")
    return alarm


def _outcomes(entry: Entry | None) -> list[Any]:
    return decode_as(entry.outcomes.payload, Outcomes).outcomes if isinstance(entry, OutcomeLeaf) else []
