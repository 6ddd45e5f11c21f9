"""At the clinic: whether the patient whose card is there is insured, told in the time it takes to say good morning; more only with the
patient's consent; and a token for the day on which the network is down.

A clinic asks with its token (duty ``clinic``). What it is told is about whoever proved to be there, and nobody else. The consent is a
second signature of the card, over the clinic's name and what it may see.
"""

from __future__ import annotations

import asyncio
import calendar
import datetime as dt
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from litestar import Request, Router, get, post
from litestar.params import JSONBody

from renkei.errors import NotFound, Refused, Unavailable
from renkei.gateway.adapter import Adapter, SourceFault
from renkei.gateway.seal import Seal
from renkei.institution import subjects
from renkei.institution.clerks import duty, token_guard
from renkei.institution.database import Database
from renkei.institution.entry import Entry, no_answer
from renkei.institution.relying import Presented, consent_purpose
from renkei.institution.settings import Clerk, Clock, Settings
from renkei.institution.signed_text import COVER
from renkei.institution.web import json_body, language
from renkei.institution.wording import PackWords
from renkei.law import Pack

FIRST_WITHIN = 8.0
"""Seconds for which a card's first visit waits until it is known whose it is."""
HISTORY_MOST = 50
VISITS_MOST = 200
AnyRequest = Request[Any, Any, Any]
Base64 = Annotated[str, msgspec.Meta(max_length=8_000)]


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a card shows and signed (base64): the certificate in DER, a challenge of ours, and the signature of it."""

    certificate: Base64
    challenge: Annotated[str, msgspec.Meta(max_length=200)]
    signature: Base64


class Told(msgspec.Struct, frozen=True):
    """What a clinic is told: whether the patient is insured today, what of the cover, and a token for when it cannot ask."""

    insured: bool
    cover: dict[str, str]
    token: str


class Column(msgspec.Struct, frozen=True):
    """A column of a history: what it tells, and whether that is an amount."""

    title: str
    amount: bool


class History(msgspec.Struct, frozen=True):
    """What a patient has had, newest first. Every row has a value for every column; an empty one, if nothing is recorded."""

    columns: list[Column]
    rows: list[list[str]]


class Visit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A visit while the network was down: the token that was relied on, and when (ms)."""

    token: Annotated[str, msgspec.Meta(max_length=4_000)]
    at: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class Visits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Visits to be looked at afterwards."""

    visits: Annotated[list[Visit], msgspec.Meta(min_length=1, max_length=VISITS_MOST)]


class Eligibility:
    """An insurer's answers to clinics."""

    def __init__(
        self,
        settings: Settings,
        entry: Entry,
        pack: Callable[[], Pack],
        adapter: Adapter,
        database: Database,
        seal: Seal,
        clock: Clock,
    ) -> None:
        self._settings, self.entry, self._pack, self._adapter = settings, entry, pack, adapter
        self._database, self._seal, self._clock = database, seal, clock

    async def ask(self, card: Card, lang: str = "") -> Told:
        """Whether whoever's card this is is insured today; told in a language, our own if there is none."""
        shown, challenge = _presented(card)
        key = (await self.entry.admit(shown, challenge)).key
        local_id = await self._patient(key)
        record = self._covered(await self._records(local_id), self._today())
        if record is None:
            return Told(False, {}, "")
        return Told(True, self._in_words(record, self._rules.shown, lang), self._token(key, record))

    async def history(self, card: Card, clinic: str, lang: str = "") -> History:
        """What the patient has had, newest first, by their consent: a signature for this clinic and this purpose."""
        shown, challenge = _presented(card)
        await self.entry.proven(shown, challenge, consent_purpose(clinic))
        patient = await self._patient(sha256(shown.certificate).hexdigest())
        found = (await self._database.read(lambda c: subjects.by_local_id(c, [patient]))).get(patient)
        if found is None or found.manual or found.withheld:
            raise Refused(
                "The insurer tells this patient's history to themselves alone.",
                ja="この方の診療情報は、本人からの申出により提供できません。",
                remedy="Ask the patient.",
                remedy_ja="患者ご本人に確認してください。",
                code="protected",
            )
        records = await self._records(patient)
        rules = self._rules
        kept = [r for r in records if any(f in r for f in rules.history)]
        kept.sort(key=lambda r: str(r.get(rules.history_order, "")), reverse=True)
        words, item = self._words(lang), rules.item
        told = [f for f in rules.history if any(f in r for r in kept)]
        terms = {f: words.term(item, f) for f in told}
        return History(
            [Column(words.field(item, f), bool((term := terms[f]) and term.unit)) for f in told],
            [[words.value(item, f, r[f]) if f in r else "" for f in told] for r in kept[:HISTORY_MOST]],
        )

    async def reconcile(self, visits: list[Visit]) -> list[str]:
        """Of each visit without network: ``confirmed``, ``differs`` (not insured on that day, or otherwise), or ``strange`` (no token of
        ours that was good then)."""
        return [await self._looked_at(visit) for visit in visits]

    async def _looked_at(self, visit: Visit) -> str:
        claims = self._seal.read(COVER, visit.token)
        if claims is None or not claims.get("iat", 0) <= visit.at // 1000 <= claims.get("exp", 0):
            return "strange"
        holder = await self._database.read(lambda c: subjects.holder_of(c, bytes.fromhex(claims["sub"])))
        if not holder:
            return "differs"
        record = self._covered(await self._records(holder), self._pack().day(visit.at))
        return "confirmed" if record and self._for_every_reader(record) == claims["cover"] else "differs"

    @property
    def _rules(self) -> Any:
        return self._pack().header.cards.insurance

    def _today(self) -> dt.date:
        return self._pack().day(self._clock())

    async def _patient(self, key: str) -> str:
        """Whose the card is. At its first time the answer is on its way for a moment."""
        deadline = time.monotonic() + FIRST_WITHIN
        while True:
            holder = await self._database.read(lambda c: subjects.holder_of(c, bytes.fromhex(key)))
            if not holder:
                raise NotFound(
                    "Nobody insured here has this card.",
                    ja="この保険者の加入者ではありません。",
                    remedy="Ask for another proof of insurance.",
                    remedy_ja="資格確認書などの提示を求めてください。",
                    code="not-insured",
                )
            if not holder.startswith(subjects.BY_CARD):
                return holder
            if time.monotonic() > deadline:
                raise Unavailable("It is not known yet whose card this is.", ja="確認中です。", code="awaited")
            await asyncio.sleep(0.1)

    async def _records(self, local_id: str) -> list[dict[str, Any]]:
        try:
            found = await asyncio.to_thread(self._adapter.look_up, self._rules.item, "", [local_id])
        except SourceFault as error:
            raise Unavailable(
                "The register does not answer.", ja="台帳システムが応答しません。", code=error.reason
            ) from error
        return found.get(local_id, [])

    def _covered(self, records: list[dict[str, Any]], day: dt.date) -> dict[str, Any] | None:
        """The record by which somebody is insured on a day."""
        since, until, on = self._rules.since, self._rules.until, day.isoformat()
        covered = [r for r in records if str(r.get(since, "")) <= on and (not r.get(until) or on < str(r[until]))]
        return max(covered, key=lambda r: str(r.get(since, "")), default=None)

    def _in_words(self, record: dict[str, Any], fields: tuple[str, ...], lang: str = "") -> dict[str, str]:
        words, item = self._words(lang), self._rules.item
        return {words.field(item, f): words.value(item, f, record[f]) for f in fields if f in record}

    def _words(self, lang: str) -> PackWords:
        return PackWords(self._pack(), lang or self._settings.language)

    def _for_every_reader(self, record: dict[str, Any]) -> dict[str, dict[str, str]]:
        """What a clinic is told of a cover, by language: whoever reads a token reads it where nobody can be asked."""
        return {lang: self._in_words(record, self._rules.shown, lang) for lang in ("ja", "en")}

    def _token(self, key: str, record: dict[str, Any]) -> str:
        """Good to the end of the month, as a cover mostly is."""
        now, today = self._clock() // 1000, self._today()
        last = today.replace(day=calendar.monthrange(today.year, today.month)[1])
        end = self._pack().midnight(last + dt.timedelta(days=1)) // 1000 - 1
        cover = self._for_every_reader(record)
        return self._seal.text(
            COVER, {"iss": self._settings.origin, "sub": key, "iat": now, "exp": end, "cover": cover}
        )


def eligibility_api(eligibility: Eligibility, clerks: tuple[Clerk, ...]) -> Router:
    """The interface for clinics."""

    @get("/challenge")
    async def challenge() -> dict[str, str]:
        """What the patient's card is to sign."""
        return {"challenge": b64encode(eligibility.entry.challenge()).decode()}

    @post("/", guards=[json_body], status_code=200)
    async def ask(request: AnyRequest, data: JSONBody[Card]) -> Told:
        """Whether the patient is insured today."""
        return await eligibility.ask(data, language(request, ""))

    @post("/history", guards=[json_body], status_code=200)
    async def history(request: AnyRequest, data: JSONBody[Card]) -> History:
        """What the patient lets this clinic see."""
        return await eligibility.history(data, request.state.clerk.name, language(request, ""))

    @post("/visits", guards=[json_body], status_code=200)
    async def visits(data: JSONBody[Visits]) -> dict[str, list[str]]:
        """Visits while the network was down."""
        return {"visits": await eligibility.reconcile(data.visits)}

    return Router(
        "/eligibility",
        route_handlers=[challenge, ask, history, visits],
        guards=[token_guard(clerks), duty("clinic")],
        tags=["eligibility"],
        security=[{"token": []}],
    )


def _presented(card: Card) -> tuple[Presented, bytes]:
    try:
        parts = [b64decode(text, validate=True) for text in (card.certificate, card.signature, card.challenge)]
    except ValueError:
        raise no_answer() from None
    return Presented(parts[0], parts[1]), parts[2]
