"""The life of a card: applied for, its photograph judged, made, announced, handed over to whom it is for; lost, found, changed, returned.

::

    invited → applied → made → announced → handed → ended
                                              ⇅
                                           suspended

What always holds: a card is handed over only on documents that the law finds enough, and its PINs are its holder's; number, name and
photograph are encrypted while they are needed, and gone with the hand-over; every act names who did it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import sqlalchemy as sa
from cryptography import x509
from nacl.secret import SecretBox

from renkei.card.client import AUTHENTICATION, SIGNATURE, CardClient
from renkei.card.layout import Attributes
from renkei.card.virtual import CardFile
from renkei.certification import photos, profiles, store
from renkei.certification.office import Holder, Office
from renkei.certification.production import Pins, Producer
from renkei.errors import Conflict, Malformed, NotFound, Refused
from renkei.institution.database import Database
from renkei.institution.relying import attributes_of, visible
from renkei.institution.settings import Clock
from renkei.law import Pack
from renkei.numbers import number_format

CAUSES = ("first", "renewal", "lost", "renumbered", "damaged")
CHANNELS = ("counter", "web", "post")
"""How an application comes: its applicant stands at the counter, sends it from home, or posted the form, which a clerk takes in."""
LETTERS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
DAY = 86_400_000

Register = Callable[[str, bytes], Awaitable[None]]
"""``register(number, certificate)``: tell the numbering authority whose an authentication certificate is."""


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For whom a card is to be made."""

    number: Annotated[str, msgspec.Meta(max_length=40)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    address: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    birth: dt.date
    sex: Annotated[str, msgspec.Meta(pattern=r"^[129]\Z")]

    @property
    def attributes(self) -> Attributes:
        """What stands on the card and in its signature certificate."""
        return Attributes(self.name, self.address, f"{self.birth:%Y%m%d}", self.sex)


class Application(NamedTuple):
    """An application as an office sees it; ``person`` and ``photo`` are nothing once the card was handed over."""

    code: str
    office: str
    cause: str
    channel: str
    state: str
    card: str | None
    until: str
    person: Person | None
    photo: bytes | None
    acts: list[Any]

    @property
    def announced(self) -> dt.date | None:
        """The last day on which it can be collected, once its holder was told."""
        told = next((a.about for a in self.acts if a.what == "announced"), None)
        return dt.date.fromisoformat(told) if told else None


def _alone(act: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """An act on a card, after those before it have ended."""

    @wraps(act)
    async def done(self: Applications, *args: Any, **more: Any) -> None:
        async with self._acting:
            await act(self, *args, **more)

    return done


class Applications:
    """All applications. ``master`` (32 bytes) is what the key of what is kept comes from; ``folder`` holds the emulated cards."""

    def __init__(
        self,
        office: Office,
        producer: Producer,
        database: Database,
        master: bytes,
        folder: Path,
        pack: Pack,
        register: Register | None,
        clock: Clock,
    ) -> None:
        self._office, self._producer, self._database = office, producer, database
        self._box = SecretBox(hmac.digest(master, b"renkei/v1/card-applications", "sha256"))
        self._folder, self._pack, self._register, self._clock = folder, pack, register, clock
        self._producing, self._acting = asyncio.Lock(), asyncio.Lock()
        """Held while cards are made; while something is done to one that was: a card does one thing at a time, for one clerk."""

    # ------------------------------------------------------------------ read

    async def get(self, code: str, office: str) -> Application:
        """An office's own application; ``NotFound`` for another's too."""
        row = await self._database.read(lambda c: store.application(c, code))
        if row is None or row.office != office:
            raise _unknown()
        acts = await self._database.read(lambda c: store.acts_on(c, code))
        person = msgspec.json.decode(self._unlock(row.person), type=Person) if row.person else None
        photo = self._unlock(row.photo) if row.photo else None
        return Application(
            row.code, row.office, row.cause, row.channel, row.state, row.card, row.until, person, photo, acts
        )

    async def listed(self, office: str, state: str = "", limit: int = 100) -> list[sa.Row[Any]]:
        """An office's applications, the latest changed first."""
        return await self._database.read(lambda c: store.applications_of(c, office, state, limit))

    async def tally(self, office: str) -> dict[str, int]:
        """How many there are in each state."""
        return await self._database.read(lambda c: store.tally(c, office))

    async def channels(self, office: str) -> dict[str, int]:
        """How many came on each of ``CHANNELS``."""
        return await self._database.read(lambda c: store.channels(c, office))

    async def by_card(self, card: str, office: str) -> Application:
        """The application a card was made for, by the number on the card."""
        row = await self._database.read(lambda c: store.application_of(c, card))
        if row is None:
            raise _unknown()
        return await self.get(row.code, office)

    async def ending(self) -> list[sa.Row[Any]]:
        """Certificates whose holders are to be reminded that their time ends."""
        now = self._clock()
        last = now + self._pack.header.cards.remind_days * DAY
        return await self._database.read(lambda c: store.ending(c, now, last))

    # ------------------------------------------------------------------ until it is made

    async def invite(self, office: str, person: Person, by: str, cause: str = "first") -> str:
        """Let somebody apply: the code that stands on their form. ``Malformed`` if something about them cannot be."""
        number = number_format(self._pack.header.person_number).parse(person.number)
        today = self._pack.day(self._clock())
        if not dt.date(1880, 1, 1) <= person.birth <= today or cause not in CAUSES:
            raise Malformed(
                "The birthday is no such day.",
                ja="生年月日が正しくありません。",
                remedy="Correct it.",
                remedy_ja="生年月日を確認してください。",
                code="birth",
            )
        if not visible(person.name + person.address):
            raise Malformed("Name or address hold control characters.", ja="使えない文字があります。", code="person")
        code, now = "".join(secrets.choice(LETTERS) for _ in range(12)), self._clock()
        kept = msgspec.structs.replace(person, number=number)
        row = {
            "code": code,
            "office": office,
            "cause": cause,
            "channel": "",
            "state": "invited",
            "person": self._lock(msgspec.json.encode(kept)),
            "photo": None,
            "card": None,
            "until": "",
            "changed": now,
        }

        def commit(connection: sa.Connection) -> None:
            store.apply(connection, row)
            store.note(connection, code, "invited", cause, now, by)

        await self._database.write(commit)
        return code

    async def apply(self, code: str, photo: bytes, channel: str, by: str) -> None:
        """Apply with a photograph, on one of ``CHANNELS``; another one as long as the card is not being made. ``Unfit`` says what is
        wrong with it."""
        if channel not in CHANNELS:
            raise Malformed(
                "Say how the application came.",
                ja="申請の方法が正しくありません。",
                remedy="Choose one of those listed.",
                remedy_ja="一覧から選んでください。",
                code="channel",
            )
        row = await self._database.read(lambda c: store.application(c, code))
        if row is None:
            raise _unknown()
        if row.state not in ("invited", "applied"):
            raise Conflict(
                "Your card is being made already.",
                ja="カードは既に作成中です。",
                remedy="Wait for the notice.",
                remedy_ja="交付のお知らせをお待ちください。",
                code="moved-on",
            )
        kept = self._lock(await asyncio.to_thread(photos.check, photo))
        await self._step(
            code, ("invited", "applied"), "applied", channel, by, state="applied", photo=kept, channel=channel
        )

    async def produce(self, by: str, told: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Make every card that was applied for; how many. One that was interrupted is made anew; what was certified for it is revoked."""
        async with self._producing:
            codes = await self._database.read(lambda c: [*store.waiting(c, "making"), *store.waiting(c, "applied")])
            for done, code in enumerate(codes):
                told(done, len(codes))
                await self._make(code, by)
            told(len(codes), len(codes))
        return len(codes)

    async def _make(self, code: str, by: str) -> None:
        row = await self._database.read(lambda c: store.application(c, code))
        if row is None or row.person is None:
            return
        if row.card:
            await self._office.revoke_card(row.card, "reissued")
        person = msgspec.json.decode(self._unlock(row.person), type=Person)
        memory, now = self._producer.blank(), self._clock()
        serial = memory.serial
        await self._database.write(
            lambda c: store.advance(c, code, ("applied", "making"), now, state="making", card=serial)
        )
        last = profiles.card_expires(self._pack.header.cards, person.birth, self._pack.day(now))
        self._folder.mkdir(mode=0o700, exist_ok=True)
        file = self.file(serial)
        file.keep(memory)
        card = CardClient(file.chip().transmit)
        holder = Holder(serial, last, person.birth, person.attributes)
        await self._producer.personalise(card, holder, person.number)
        await self._step(code, ("making",), "made", "", by, state="made", until=last.isoformat())

    async def announce(self, code: str, office: str, by: str) -> dt.date:
        """Tell the applicant that the card is there; the last day on which it can be collected. Again is the same day."""
        application = await self.get(code, office)
        last = self._pack.day(self._clock()) + dt.timedelta(days=self._pack.header.cards.collect_days)
        if application.state == "made":
            await self._step(code, ("made",), "announced", last.isoformat(), by, state="announced")
            return last
        if application.announced is None:
            raise moved_on("The card is not made yet.", "カードはまだできていません。")
        return application.announced

    # ------------------------------------------------------------------ theirs

    @_alone
    async def hand_over(self, code: str, office: str, shown: Sequence[str], pins: Pins, by: str) -> None:
        """Hand the card over to whom it is for, who shows these documents and chooses these PINs.

        ``Refused`` (``proofing``) if the documents are not enough; ``Malformed`` if a PIN cannot be; ``Unavailable`` if the numbering
        authority, which must know whose the certificate is, does not answer. Nothing is done then.
        """
        application = await self.get(code, office)
        if application.state not in ("made", "announced") or application.person is None or not application.card:
            raise moved_on("There is no card to hand over.", "交付できるカードがありません。")
        rules = self._pack.header.cards.proofing
        if not rules.satisfied(shown):
            raise Refused(
                "These documents are not enough to know who they are.",
                ja="本人確認書類が足りません。",
                remedy=f"Ask for documents of these kinds together: {' or '.join(rules.enough)}.",
                remedy_ja=f"次の組合せの書類が必要です: {' または '.join(rules.enough)}",
                code="proofing",
            )
        card = CardClient(self.file(application.card).chip().transmit)
        self._producer.demand_fit(pins)
        if self._register is not None:
            await self._register(application.person.number, card.certificate(AUTHENTICATION))
        await asyncio.to_thread(self._producer.hand_over, card, pins)
        about = " ".join(d for d in sorted(set(shown)))
        await self._step(code, ("made", "announced"), "handed", about, by, state="handed", person=None, photo=None)

    @_alone
    async def suspend(self, code: str, office: str, by: str) -> None:
        """The holder says, by telephone at any hour, that the card is lost: nobody uses it until it is found."""
        application = await self._in_use(code, office)
        for serial in await self._certificates(application, store.GOOD):
            await self._office.suspend(serial)
        await self._step(code, ("handed",), "suspended", "", by, state="suspended")

    @_alone
    async def release(self, code: str, office: str, by: str) -> None:
        """It was found."""
        application = await self._in_use(code, office, "suspended")
        for serial in await self._certificates(application, store.SUSPENDED):
            await self._office.release(serial)
        await self._step(code, ("suspended",), "found", "", by, state="handed")

    @_alone
    async def end(self, code: str, office: str, reason: str, by: str) -> None:
        """The card is of no more use: lost, returned, died, left, reissued."""
        if reason not in profiles.REASONS or reason in (*profiles.ATTRIBUTE_BOUND, "suspended"):
            raise Malformed("This is no reason for a card to end.", ja="廃止の理由が正しくありません。", code="reason")
        application = await self._in_use(code, office)
        assert application.card
        await self._office.revoke_card(application.card, reason)
        await self._step(code, ("handed", "suspended"), "ended", reason, by, state="ended")

    @_alone
    async def rewrite(self, code: str, office: str, changed: dict[str, str], reason: str, by: str) -> None:
        """After a move or another name, at the counter with the card: what is printed and the signature certificate, anew.

        ``changed``: name, address, or both, and the signature PIN (``pin``), by which its holder shows the certificate.
        """
        if reason not in profiles.ATTRIBUTE_BOUND:
            raise Malformed(
                "Say whether they moved or are renamed.", ja="変更の理由が正しくありません。", code="reason"
            )
        application = await self._in_use(code, office, "handed")
        assert application.card
        card = CardClient(self.file(application.card).chip().transmit)
        old = x509.load_der_x509_certificate(card.certificate(SIGNATURE, changed.get("pin", "")))
        before = attributes_of(self._pack.header.cards, old)
        now = before._replace(name=changed.get("name") or before.name, address=changed.get("address") or before.address)
        if now == before or not visible(now.name + now.address):
            raise Malformed("Nothing changes.", ja="変更する内容がありません。", code="unchanged")
        birth = dt.datetime.strptime(before.birth, "%Y%m%d").replace(tzinfo=dt.UTC).date()
        holder = Holder(application.card, dt.date.fromisoformat(application.until), birth, now)
        await self._producer.rewrite(card, holder, reason)
        await self._step(code, ("handed",), "rewritten", reason, by)

    def file(self, card: str) -> CardFile:
        """An emulated card's file."""
        return CardFile(self._folder / f"{card}.json")

    async def _in_use(self, code: str, office: str, *states: str) -> Application:
        application = await self.get(code, office)
        if application.state not in (states or ("handed", "suspended")) or not application.card:
            raise moved_on("The card is not in use.", "カードは使用中ではありません。")
        return application

    async def _certificates(self, application: Application, state: str) -> list[str]:
        card = application.card or ""
        rows = await self._database.read(lambda c: store.of_card(c, card))
        return [r.serial for r in rows if r.state == state]

    async def _step(self, code: str, before: tuple[str, ...], what: str, about: str, by: str, **values: Any) -> None:
        """One step, if the application is still in one of the states ``before``; with its note, or not at all."""
        now = self._clock()

        def commit(connection: sa.Connection) -> None:
            if not store.advance(connection, code, before, now, **values):
                raise moved_on("Somebody else went on with it.", "先に処理が進みました。")
            store.note(connection, code, what, about, now, by)

        await self._database.write(commit)

    def _lock(self, data: bytes) -> bytes:
        return bytes(self._box.encrypt(data))

    def _unlock(self, data: bytes) -> bytes:
        return bytes(self._box.decrypt(bytes(data)))


def as_register(url: str, token: str) -> Register:
    """``Register`` over the numbering authority's interface."""
    from renkei.institution.outside import fetch_bytes

    async def register(number: str, certificate: bytes) -> None:
        body = msgspec.json.encode({"number": number, "certificate": b64encode(certificate).decode()})
        status, _raw = await fetch_bytes(
            f"{url.rstrip('/')}/certificates", body, kind="application/json", token=token, within=10.0
        )
        if status >= 300:
            raise Conflict(
                "The numbering authority does not take this certificate.",
                ja="付番機関が電子証明書を受け付けませんでした。",
                code="numbering",
                remedy="Compare the number with the resident record.",
                remedy_ja="個人番号を住民票と照合してください。",
            )

    return register


def moved_on(sentence: str, ja: str) -> Conflict:
    """The application is at another step than whoever acts on it thought."""
    return Conflict(
        sentence,
        ja=ja,
        remedy="Look at the application again.",
        remedy_ja="申請の状態をもう一度確認してください。",
        code="moved-on",
    )


def _unknown() -> NotFound:
    return NotFound(
        "There is no such application.",
        ja="この申請はありません。",
        remedy="Check the code.",
        remedy_ja="コードを確認してください。",
        code="no-application",
    )
