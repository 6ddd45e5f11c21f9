"""The portal's life: follow governance and the record, receive codes, serve residents."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from renkei.errors import NotGenuine, RenkeiError
from renkei.institution import entry, subjects
from renkei.institution.entry import Entry
from renkei.institution.letters import Letters, letters
from renkei.institution.member import Member
from renkei.institution.post import Parcel, Post
from renkei.institution.rotation import CodeTable, Rotation
from renkei.institution.runtime import Institution
from renkei.institution.settings import Clock, system_clock
from renkei.institution.subjects import Coded
from renkei.institution.web import Health, serve
from renkei.messages.wire import (
    Answer,
    CodeRefused,
    Enclosure,
    KeyShare,
    Message,
    Permit,
    Progress,
    Receipt,
    Received,
    Remind,
    Report,
)
from renkei.portal import store
from renkei.portal.applications import Applications
from renkei.portal.digest import Digest
from renkei.portal.filing import Filing
from renkei.portal.inbox import Inbox
from renkei.portal.oidc import Provider
from renkei.portal.own import OwnInformation
from renkei.portal.pages import portal_pages
from renkei.portal.proxies import Proxies
from renkei.portal.sessions import LISTED_DAYS, SESSION_SECONDS, Sessions
from renkei.portal.webpush import WebPush
from renkei.record.entries import IssuanceLeaf, LetterLeaf

MESSAGES_AT_ONCE = 256
GRACE = 3_600_000
"""Milliseconds for which a code may still be on its way to us."""
CHECK_EVERY = 30.0
CHECKED_AT_ONCE = 500
REMINDERS_AT_ONCE = 32


class Ending(NamedTuple):
    """The last day of a certificate, and how many are left after today."""

    last: dt.date
    days: int

    @property
    def near(self) -> bool:
        """It is the last week."""
        return self.days <= 7


class Portal(Institution):
    """My Portal."""

    packages = ("institution", "ledger", "portal")

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        super().__init__(folder, clock=clock)
        self.member = Member(self.home, self.keys, self.database, self.observe, clock)
        self.post = Post(self.keys, self.bus, self.database, self.member.directory, self.observe)
        self.member.post = self.post
        self.post.unknown_sender = self.member.want
        codes = [CodeTable(subjects.subjects, "local_id"), CodeTable(store.records, "id"), CodeTable(letters, "id")]
        self.rotation = Rotation(self.home, self.keys, self.member, self.database, self.post, self.observe, codes)
        self.filing = Filing(self.member, self.database, self.post, self.observe)
        self.sign_on = Provider(self.home, self.settings.origin, self.database, clock)
        self.entry = Entry(self.settings, self.member, self.database, self.post, clock)
        self.own = OwnInformation(
            self.settings.origin, self.keys, self.member, self.database, self.post, self.entry, clock
        )
        self.inbox = Inbox(self.member, self.database, self.post, self.observe, clock)
        self.letters = Letters(
            self.keys,
            self.member,
            self.database,
            self.post,
            self.observe,
            clock,
            self.inbox,
            prove=self.settings.proves,
        )
        self.applications = Applications(self.keys, self.member, self.database, self.entry, clock)
        self.inbox.letters = self.applications.letters = self.letters
        self.proxies = Proxies(self.keys, self.member, self.database, self.post, self.observe, clock)
        self.inbox.follow = self.proxies.arrived
        s = self.settings
        self.digest = Digest(s.mail, s.mail_from, s.origin, self.keys, self.member, self.database, self.observe, clock)
        contact = f"mailto:{s.mail_from}" if s.mail_from else s.origin
        self.webpush = WebPush(
            self.home, s.push_services, contact, self.keys, self.member, self.database, self.observe, clock
        )
        self.sessions = Sessions(self.database, self.settings.origin, self.keys.derive("sessions"), clock)
        self.alarm = ""

    async def start(self) -> None:
        await self.join()
        await self.post.start()
        self.keep(self.member.follow_always, "follow")
        self.keep(lambda: self.post.consume(self._handle, MESSAGES_AT_ONCE), "worker")
        self.keep(self._file, "filing")
        self.keep(self.rotation.run, "rotation")
        self.keep(self._strangers, "strangers")
        if self.digest.open:
            self.keep(self.digest.run, "digest")
        if self.webpush.open:
            self.keep(self.webpush.run, "push")
        people = self.home / "people.csv"
        self.keep(lambda: subjects.register_file(people, self.post, self.member, self.database), "register")
        await self._open_accounts()
        handlers, options = portal_pages(self)
        self.run(serve(self.settings, self.observe, handlers, self.health, **options), "web")

    async def stop(self) -> None:
        await self.post.close()
        await super().stop()

    def report(self) -> Health:
        have, want = self.database.read_now(subjects.counts)
        size = self.filing.head.size if self.filing.head else 0
        details = {
            "subjects": str(have),
            "codes_awaited": str(want),
            "log_size": str(size),
            "records": str(self.database.read_now(store.count)),
            "alarm": self.alarm,
            **self.rotation.report(),
            **self.member.clock_trouble(),
        }
        return Health(self.member.ready and not self.alarm and "clock_off_ms" not in details, details)

    async def request_codes(self, people: Sequence[tuple[str, str]]) -> int:
        """Ask the authority for the portal's codes of ``(account, number)``; how many were asked for."""
        await self.member.until_ready()
        return await self.database.write(lambda c: subjects.request_codes(c, self.post, self.member, people))

    async def resident(self, session: Mapping[str, Any], agent: str) -> str | None:
        """Whose session this is: until it is over or was ended, or the key it was begun with opens nothing any more. Empty if a card is
        nobody's. ``agent``: what the browser says it is."""
        fresh = 0 <= self.clock() - session.get("since", 0) < SESSION_SECONDS * 1000
        account = self.account_of(session["key"]) if fresh and "key" in session else None
        if account is None or not await self.sessions.demand(session, account, agent):
            return None
        return account

    def ending(self, session: Mapping[str, Any]) -> Ending | None:
        """When the certificate that this session was begun with ends, if it is time to remind its holder of it."""
        pack, now, until = self.member.pack, self.clock(), session.get("until")
        if until is None or until - now >= pack.header.cards.remind_days * 86_400_000:
            return None
        last = pack.day(until)
        return Ending(last, max(0, (last - pack.day(now)).days))

    async def is_awaited(self, account: str) -> bool:
        """Whether the code of this account is still on its way."""
        return account not in await self.database.read(lambda c: subjects.by_local_id(c, [account]))

    def account_of(self, key: str) -> str | None:
        """Whose account a key opens, that of a card, a passkey or the hash of a secret; empty if a card is nobody's."""
        with self.database.engine.connect() as connection:
            found = store.account_of(connection, key)
            if found is None and (passkey := store.passkey(connection, key)) is not None:
                found = passkey.account
            return found if found is not None else subjects.holder_of(connection, bytes.fromhex(key))

    async def open_account(self, local_id: str, secret: str) -> None:
        """Let whoever has ``secret`` see the records of ``local_id`` (in place of the card)."""
        digest = sha256(secret.encode()).hexdigest()
        await self.database.write(lambda c: store.put_account(c, local_id, digest))

    async def _open_accounts(self) -> None:
        """Take in ``accounts.csv`` (``local_id,secret``), which the operator put there, and remove it."""
        path = self.home / "accounts.csv"
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    await self.open_account(row["local_id"], row["secret"])
            path.unlink()

    async def _file(self) -> None:
        while not self.alarm:
            try:
                await self.filing.run()
            except NotGenuine as error:
                self.alarm = error.code
                self.observe.log.error("portal.alarm", reason=error.code)
                self.observe.count("alarms")
            except RenkeiError as error:
                self.observe.log.info("filing.waiting", reason=error.code)
                await asyncio.sleep(0.5)

    async def _handle(self, parcels: list[Parcel]) -> None:
        codes: list[tuple[bytes, Coded]] = []
        refused: list[bytes] = []
        marks: list[Progress] = []
        permits: list[Permit] = []
        receipts: list[Receipt] = []
        enclosures: list[tuple[str, Enclosure]] = []
        received: list[tuple[str, Received]] = []
        reminded: list[Callable[[sa.Connection], None]] = []
        for parcel in parcels:
            for message in parcel.messages:
                if isinstance(message, KeyShare):  # first: what else came may need the key
                    await self.member.accept_share(parcel.sender, message)
        for parcel in parcels:
            for message in parcel.messages:
                match message:
                    case KeyShare():
                        continue
                    case Permit() if parcel.sender == "hub":
                        found = await asyncio.to_thread(self._opened, message)
                        codes += found or []
                        permits += [message] if found is None else []
                    case CodeRefused() if self.member.state.body(parcel.sender).role == "authority":
                        refused += message.handles
                    case Answer() | Receipt():
                        self.own.take(parcel.sender, message)
                        if isinstance(message, Receipt) and parcel.sender == "hub":
                            receipts.append(message)
                    case Enclosure():
                        enclosures.append((parcel.sender, message))
                    case Received():
                        received.append((parcel.sender, message))
                    case Remind():
                        if (
                            len(reminded) < REMINDERS_AT_ONCE
                            and (
                                again := await asyncio.to_thread(self.letters.reminded, parcel.sender, message.inquiry)
                            )
                            is not None
                        ):
                            reminded.append(again)
                    case Progress() if parcel.sender == "commission":
                        marks.append(message)
                    case _:
                        self.observe.count("messages_unexpected")

        letters_ = await asyncio.to_thread(self.letters.take, permits, enclosures, receipts)

        def commit(connection: sa.Connection) -> None:
            letters_(connection)
            for work in reminded:
                work(connection)
            for sender, told in received:
                self.inbox.received(connection, sender, told)
            subjects.keep_codes(connection, self.member, codes, strangers=True)
            if codes:
                self.proxies.resolve(connection, [code for _, code in codes])
            for mark in marks:
                store.put_mark(connection, mark.index, mark.case, mark.state)
            if refused:
                entry.refused(connection, refused)
            self.post.committed(connection, parcels)

        await self.database.write(commit)

    async def complain(self, position: int, kind: str, text: str) -> bool:
        """A resident reports an access of theirs to the commission; ``False`` if it was reported as that before."""
        reference, now = os.urandom(16), self.clock()

        def commit(connection: sa.Connection) -> bool:
            fresh = store.add_report(connection, reference, position, kind, now)
            if fresh:
                self.post.put(connection, "commission", [Report(reference, position, kind, text)])
            return fresh

        return await self.database.write(commit)

    async def _strangers(self) -> None:
        """Tell the commission of accesses that after ``GRACE`` still concern nobody known here: someone may be made up."""
        while True:
            await self.database.write(lambda c: store.forget_sessions(c, self.clock() - 2 * LISTED_DAYS * 86_400_000))
            await self.letters.forget()
            await self.letters.pursue()
            await self.applications.forget()
            await self.proxies.forget()
            rows = await self.database.read(lambda c: store.unchecked(c, self.clock() - GRACE, CHECKED_AT_ONCE))
            if rows:
                await self._check(rows)
            await asyncio.sleep(0.0 if len(rows) == CHECKED_AT_ONCE else CHECK_EVERY)

    async def _check(self, rows: Sequence[Any]) -> None:
        codes = {r.position: Coded(bytes(r.code), r.epoch) for r in rows}
        known = await self.database.read(lambda c: subjects.by_code(c, self.member, codes.values()))
        told: list[Message] = [Report(os.urandom(16), at, "unknown") for at, code in codes.items() if code not in known]

        def commit(connection: sa.Connection) -> None:
            if told:
                self.post.put(connection, "commission", told)
            store.checked(connection, rows[-1].position)

        await self.database.write(commit)

    def _opened(self, permit: Permit) -> list[tuple[bytes, Coded]] | None:
        """The codes that a permit brings; ``None`` if it brings a letter."""
        leaf = self.member.notary.open(permit)
        if isinstance(leaf, LetterLeaf):
            return None
        return subjects.opened(leaf, self.member, self.keys.body) if isinstance(leaf, IssuanceLeaf) else []
