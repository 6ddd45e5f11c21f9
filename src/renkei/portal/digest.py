"""An e-mail now and then to whoever wants one: that something new is in the inbox, and how much; never what, from whom or to whom.

An address is written to only after its owner has given back the code that was sent there. It is locked in the database.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import re
import secrets
import smtplib
import ssl
import urllib.parse
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any

import sqlalchemy as sa

from renkei.errors import Conflict, Malformed, NotFound, Refused, RenkeiError, SetupError, Unavailable
from renkei.institution import letters, subjects
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.settings import Clock
from renkei.portal import apply_store as store

ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
ADDRESS = re.compile(rf"(?=.{{1,64}}@){ATOM}(?:\.{ATOM})*@[A-Za-z0-9](?:[A-Za-z0-9.-]{{0,250}}[A-Za-z0-9])?")
"""A dot-atom at a domain (RFC 5321 section 4.1.2): nothing that a mail program could take for two addresses."""
EVERY = 86_400_000
"""Milliseconds between two e-mails to one person, at least."""
TRIES_MOST = 5
"""Wrong codes, and codes asked for in a day: an address may be a stranger's, who wants none."""
CODE_GOOD = 3_600_000
ASK_EVERY = 60_000
AGAIN = 3_600_000
"""Milliseconds after which what could not be sent is tried again."""
LOOK_EVERY = 300.0
AT_ONCE = 200
WITHIN = 20.0
FAILURES_MOST = 5
"""E-mails in a row that could not be sent, after which a look ends: the mail server is away."""
FOR_GOOD = 500
"""From here on a reply of a mail server is for good (RFC 5321 section 4.2.1)."""


class Digest:
    """The portal's e-mails."""

    def __init__(
        self,
        url: str,
        sender: str,
        origin: str,
        keys: Keys,
        member: Member,
        database: Database,
        observe: Observer,
        clock: Clock,
    ) -> None:
        self._url, self._sender, self._origin, self._keys = url, sender, origin, keys
        self._member, self._database, self._observe, self._clock = member, database, observe, clock
        parts = urllib.parse.urlsplit(url)
        if url and (parts.scheme not in ("smtp", "smtps") or "@" in parts.netloc or not ADDRESS.fullmatch(sender)):
            raise SetupError(
                "mail is smtp://host:port or smtps://host:port, and mail_from an address.",
                ja="mail は smtp://host:port か smtps://host:port、mail_from はアドレスで指定してください。",
                code="settings-wrong",
            )

    @property
    def open(self) -> bool:
        """Whether e-mails are sent here."""
        return bool(self._url)

    # ------------------------------------------------------------------ the address

    async def address(self, account: str) -> tuple[str, bool]:
        """The address of an account, and whether it was confirmed; empty: none."""
        row = await self._database.read(lambda c: store.mail(c, account))
        if row is None or not row.address:
            return "", False
        return self._keys.unlock(bytes(row.address)).decode(), row.confirmed is not None

    async def ask(self, account: str, address: str, lang: str) -> None:
        """Send a code to an address that is not written to before it comes back. ``Malformed`` for none; ``Conflict`` while another is
        written to: whoever has that one learns of its end."""
        address = address.strip()
        if not ADDRESS.fullmatch(address):
            raise Malformed(
                "This is no e-mail address.", ja="メールアドレスが正しくありません。", code="address", field="address"
            )
        code, now = f"{secrets.randbelow(10**8):08d}", self._clock()
        row = {
            "account": account,
            "address": self._keys.lock(address.encode()),
            "code": self._keys.lock(code.encode()),
            "asked": now,
            "tries": 0,
            "confirmed": None,
            "told": 0,
            "due": 0,
            "lang": lang,
        }

        def commit(connection: sa.Connection) -> bool:
            before = store.mail(connection, account)
            if before is not None and before.confirmed is not None:
                raise Conflict(
                    "Another address is written to.",
                    ja="別のアドレスが登録されています。",
                    remedy="End that first.",
                    remedy_ja="先に、登録済みの通知をやめてください。",
                    code="mail-other",
                )
            since, today = now, 0
            if before is not None and now - before.since < EVERY:
                since, today = before.since, before.sent
            if today >= TRIES_MOST or (before is not None and now - before.asked < ASK_EVERY):
                return False
            store.put_mail(connection, row | {"sent": today + 1, "since": since})
            return True

        if not await self._database.write(commit):
            raise Unavailable(
                "A code was sent just now, or too many today.",
                ja="確認コードは送信済みか、本日の上限に達しています。",
                remedy="Look into your mailbox, or come back tomorrow.",
                remedy_ja="受信箱を確認するか、明日もう一度お試しください。",
                code="mail-again",
                status=429,
            )
        ja = lang == "ja"
        await self._send(
            address,
            "マイ・ポータル 確認コード" if ja else "My Portal: your code",
            f"確認コード: {code}\n\n心当たりがない場合は、このメールを破棄してください。\n"
            if ja
            else f"Your code: {code}\n\nIf you did not ask for it, throw this away.\n",
        )

    async def confirm(self, account: str, code: str) -> None:
        """The code that was sent came back. ``NotFound`` if it is another, or too late."""

        def commit(connection: sa.Connection) -> bool:
            row = store.mail(connection, account)
            if row is None or not row.code or row.tries >= TRIES_MOST or self._clock() - row.asked > CODE_GOOD:
                return False
            store.tried(connection, account)
            good = hmac.compare_digest(self._keys.unlock(bytes(row.code)), code.strip().encode())
            if good:
                store.confirm_mail(connection, account, self._clock())
            return good

        if not await self._database.write(commit):
            raise NotFound(
                "This code is not the one that was sent.",
                ja="確認コードが正しくないか、期限が切れています。",
                remedy="Check it, or have another sent.",
                remedy_ja="コードを確認するか、もう一度送信してください。",
                code="mail-code",
            )

    async def drop(self, account: str) -> None:
        """Write no more. A confirmed address is told so: whoever is at another's open session does not silence it unnoticed."""
        row = await self._database.read(lambda c: store.mail(c, account))
        await self._database.write(lambda c: store.drop_mail(c, account))
        if row is None or row.confirmed is None:
            return
        ja, address = row.lang == "ja", self._keys.unlock(bytes(row.address)).decode()
        subject = "マイ・ポータルからのメール通知を停止しました" if ja else "No more e-mails from My Portal"
        text = (
            f"心当たりがない場合は、サインインしてサインインの一覧を確認してください。\n{self._origin}/account\n"
            if ja
            else f"If this was not you, sign in and look at where you are signed in:\n{self._origin}/account\n"
        )
        try:
            await self._send(address, subject, text)
        except RenkeiError:
            self._observe.log.info("digest.end-untold")

    # ------------------------------------------------------------------ what is told

    async def run(self) -> None:
        """Write to whoever has something new, for ever."""
        await self._member.until_ready()
        while True:
            try:
                await self.check()
            except (RenkeiError, sa.exc.SQLAlchemyError) as error:
                self._observe.log.warning("digest.retry", reason=getattr(error, "code", "") or "database")
            await asyncio.sleep(LOOK_EVERY)

    async def check(self) -> int:
        """Write to everybody who has letters that came since we wrote to them last, and were not read; to how many."""
        last, sent, failed, began = "", 0, 0, self._clock()
        while rows := await self._database.read(lambda c: store.mails_due(c, began, last, AT_ONCE)):  # noqa: B023  # read at once
            last = rows[-1].account
            for row in rows:
                try:
                    sent += await self._look(row.account)
                    failed = 0
                except Unavailable:  # perhaps of this address alone: others have their turn before it is tried again
                    failed += 1
                    if failed >= FAILURES_MOST:
                        raise
        return sent

    async def _look(self, account: str) -> bool:
        """Whether this one was written to. As it stands now: since the look began it may have been ended, or be another's."""
        now, row = self._clock(), await self._database.read(lambda c: store.mail(c, account))
        if row is None or row.confirmed is None or row.due > now:
            return False
        since = max(row.told, row.confirmed)
        count = await self._database.read(lambda c: new_since(c, self._member, account, since))
        if not count:
            return False
        try:
            told = await self._tell(row, count)
        except Unavailable:
            await self._database.write(lambda c: store.put_off_mail(c, account, row.asked, now + AGAIN))
            raise
        await self._database.write(lambda c: store.put_off_mail(c, account, row.asked, now + EVERY, now))
        return told

    async def _tell(self, row: Any, count: int) -> bool:
        """Whether it was sent: an address that is refused is tried again with the next letter, and keeps nobody else waiting."""
        ja, address = row.lang == "ja", self._keys.unlock(bytes(row.address)).decode()
        subject = "マイ・ポータルに新しいお知らせがあります" if ja else "Something new at My Portal"
        text = (
            f"新しいお知らせが{count}件あります。サインインしてご確認ください。\n{self._origin}/inbox\n\nこのメールの停止も同じ画面で行えます。\n"
            if ja
            else f"New in your inbox: {count}. Sign in to read.\n{self._origin}/inbox\n\nThe same page ends these e-mails.\n"
        )
        try:
            await self._send(address, subject, text)
        except Refused:
            return False
        self._observe.count("digests_sent")
        return True

    async def _send(self, address: str, subject: str, text: str) -> None:
        message, now = EmailMessage(), dt.datetime.fromtimestamp(self._clock() / 1000, dt.UTC)
        message["From"], message["To"], message["Subject"] = self._sender, address, subject
        message["Date"], message["Message-ID"] = format_datetime(now), make_msgid(domain=self._sender.partition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no reply from holidays
        message.set_content(text)
        try:
            await asyncio.to_thread(self._deliver, message)
        except (OSError, smtplib.SMTPException) as error:
            self._observe.count("mails_failed")
            if (
                isinstance(error, smtplib.SMTPRecipientsRefused)
                and max(c for c, _ in error.recipients.values()) >= FOR_GOOD
            ):
                raise Refused(
                    "The mail server does not take this address.",
                    ja="このアドレスには送信できませんでした。",
                    remedy="Check it for a slip.",
                    remedy_ja="入力に誤りがないか確認してください。",
                    code="address-refused",
                    field="address",
                ) from None
            raise Unavailable(
                "The e-mail could not be sent.",
                ja="メールを送信できませんでした。",
                remedy="Try again later.",
                remedy_ja="しばらくしてからもう一度お試しください。",
                code="mail",
            ) from None

    def _deliver(self, message: EmailMessage) -> None:
        parts = urllib.parse.urlsplit(self._url)
        host, secure = parts.hostname or "", parts.scheme == "smtps"
        context = ssl.create_default_context()
        with (
            smtplib.SMTP_SSL(host, parts.port or 465, timeout=WITHIN, context=context)
            if secure
            else smtplib.SMTP(host, parts.port or 25, timeout=WITHIN)
        ) as server:
            server.ehlo()
            if not secure and server.has_extn("starttls"):
                server.starttls(context=context)
            server.send_message(message, to_addrs=[message["To"]])


def new_since(connection: sa.Connection, member: Member, account: str, since: int) -> int:
    """How many letters came to somebody since then (ms), and were not read."""
    known = subjects.by_local_id(connection, [account]).get(account)
    if known is None or known.code is None:
        return 0
    codes = [member.carry(*known.code, epoch) for epoch in subjects.epochs(connection, letters.letters.c.epoch)]
    return letters.unread(connection, codes, since=since)
