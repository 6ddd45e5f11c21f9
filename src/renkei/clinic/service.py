"""The terminal, from its folder: ``clinic.toml`` says who it is and whom it asks, ``visits.db`` holds tokens and visits without network."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import sqlite3
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.errors import NotGenuine, RenkeiError, SetupError, Unavailable
from renkei.institution.observe import Observer
from renkei.institution.outside import fetch_bytes
from renkei.institution.relying import Presented, authentication_message, consent_purpose, signed
from renkei.institution.settings import Clock, Home, system_clock
from renkei.institution.settings import Settings as Shell
from renkei.institution.signed_text import COVER, opened
from renkei.institution.web import Health, Pages, cookie_session, here, language, serve
from renkei.institution.wording import moment_in_words

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
AnyRequest = Request[Any, Any, Any]
OpenCard = Callable[[], AbstractContextManager[CardClient]]
WITHIN = 12.0
AT_ONCE = 100
SETTLED_KEPT = 90 * 86_400_000
"""Milliseconds for which settled visits are shown."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``clinic.toml``."""

    name: str
    """As the insurer knows the clinic: it stands in what a patient consents to."""
    insurer: str
    """The insurer's address, as patients' cards sign it."""
    token: str
    authority: str
    """The certificate (PEM file) of the authority that issues authentication certificates."""
    port: int = 8493
    language: str = "ja"
    time_zone: str = ""
    """By which visits are dated: the law's, as ``pack.toml`` names it; this machine's own, if empty."""


class Column(msgspec.Struct, frozen=True):
    """A column of what a patient has had; amounts stand one below the other."""

    title: str
    amount: bool


class History(msgspec.Struct, frozen=True):
    """What a patient has had, as the insurer tells it: by row, a value for every column."""

    columns: list[Column]
    rows: list[list[str]]


class Answer(NamedTuple):
    """What the screen says."""

    insured: bool
    cover: dict[str, str]
    offline: bool
    history: History | None
    milliseconds: int


class Terminal:
    """One terminal."""

    def __init__(self, folder: Path, open_card: OpenCard, *, clock: Clock = system_clock) -> None:
        home = Home(folder)
        self.settings, self._open, self._clock = home.read_toml("clinic.toml", Settings), open_card, clock
        self._zone = _zone(self.settings.time_zone)
        self._authority = x509.load_pem_x509_certificate(Path(self.settings.authority).read_bytes())
        self._kept = sqlite3.connect(folder / "visits.db", isolation_level=None, check_same_thread=False)
        self._kept.executescript(
            "CREATE TABLE IF NOT EXISTS tokens (certificate TEXT PRIMARY KEY, token TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS keys (at TEXT PRIMARY KEY, told TEXT NOT NULL);"
            "CREATE TABLE IF NOT EXISTS visits (id INTEGER PRIMARY KEY, token TEXT NOT NULL, at INTEGER NOT NULL, found TEXT)"
        )
        os.chmod(folder / "visits.db", 0o600)
        self._forget()
        self._card = threading.Lock()
        key = folder / "session.key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_bytes(os.urandom(32))
        self.key = key.read_bytes()

    def _forget(self) -> None:
        """What is of no more use: tokens past their time, visits settled long ago."""
        now = self._clock()
        keys = self._kept.execute("SELECT told FROM keys WHERE at = ?", [self.settings.insurer]).fetchone()
        for certificate, token in self._kept.execute("SELECT certificate, token FROM tokens").fetchall():
            claims = opened(token, msgspec.json.decode(keys[0]), COVER) if keys else None
            if claims is None or claims["exp"] < now // 1000:
                self._kept.execute("DELETE FROM tokens WHERE certificate = ?", [certificate])
        self._kept.execute("DELETE FROM visits WHERE found IS NOT NULL AND at < ?", [now - SETTLED_KEPT])

    async def visit(self, pin: str, *, consent: bool, lang: str = "") -> Answer:
        """Whether the patient whose card is in the reader is insured; with ``consent``, what they have had. Told in ``lang``, or the
        terminal's language; without network too."""
        began, lang = self._clock(), lang or self.settings.language
        try:
            challenge = b64decode((await self._get("challenge", lang))["challenge"])
        except Unavailable:
            return await self._without_network(pin, began, lang)
        s = self.settings
        shown = await asyncio.to_thread(self._sign, pin, authentication_message(s.insurer, challenge))
        self._kept.execute(
            "DELETE FROM tokens WHERE certificate = ?", [digest := sha256(shown.certificate).hexdigest()]
        )
        told = await self._post("", _card(shown, challenge), lang)  # what it said before is void, whatever it says now
        took = self._clock() - began
        if told["insured"]:
            await self._keep_keys()
            self._kept.execute("INSERT OR REPLACE INTO tokens VALUES (?, ?)", [digest, told["token"]])
        history = await self._history(pin, lang) if consent and told["insured"] else None
        return Answer(told["insured"], told["cover"], False, history, took)

    async def _history(self, pin: str, lang: str) -> History:
        challenge = b64decode((await self._get("challenge", lang))["challenge"])
        purpose = f"{self.settings.insurer}{consent_purpose(self.settings.name)}"
        shown = await asyncio.to_thread(self._sign, pin, authentication_message(purpose, challenge))
        return msgspec.convert(await self._post("/history", _card(shown, challenge), lang), History)

    async def _without_network(self, pin: str, began: int, lang: str) -> Answer:
        """By the card alone, and what the insurer signed at an earlier visit: not after its time, and of this card."""
        challenge = os.urandom(32)
        message = authentication_message(self.settings.insurer, challenge)
        shown = await asyncio.to_thread(self._sign, pin, message)
        certificate = signed(shown, message)
        try:
            certificate.verify_directly_issued_by(self._authority)
        except (ValueError, TypeError, InvalidSignature):
            raise NotGenuine(
                "The card is not genuine.",
                ja="カードが真正ではありません。",
                remedy="Ask for another proof of insurance.",
                remedy_ja="資格確認書などの提示を求めてください。",
                code="certificate-issuer",
            ) from None
        now, digest = self._clock(), sha256(shown.certificate).hexdigest()
        row = self._kept.execute("SELECT token FROM tokens WHERE certificate = ?", [digest]).fetchone()
        keys = self._kept.execute("SELECT told FROM keys WHERE at = ?", [self.settings.insurer]).fetchone()
        claims = opened(row[0], msgspec.json.decode(keys[0]), COVER) if row and keys else None
        fresh = claims is not None and claims["sub"] == digest and claims["iat"] <= now // 1000 <= claims["exp"]
        if claims is None or not fresh or now > certificate.not_valid_after_utc.timestamp() * 1000:
            raise Unavailable(
                "The network is down, and the insurer has left no word of this patient that is still good.",
                ja="通信できず、有効な確認済み情報もありません。",
                remedy="Ask for another proof of insurance, or try again later.",
                remedy_ja="資格確認書の提示を求めるか、後でもう一度お試しください。",
                code="no-token",
            )
        self._kept.execute("INSERT INTO visits (token, at) VALUES (?, ?)", [row[0], now])
        return Answer(True, claims["cover"][lang], True, None, now - began)

    async def reconcile(self) -> int:
        """Have the insurer look at visits without network; how many were."""
        rows = self._kept.execute("SELECT id, token, at FROM visits WHERE found IS NULL LIMIT ?", [AT_ONCE]).fetchall()
        if rows:
            told = await self._post("/visits", {"visits": [{"token": token, "at": at} for _, token, at in rows]})
            found = [(what, id_) for what, (id_, *_) in zip(told["visits"], rows, strict=True)]
            self._kept.executemany("UPDATE visits SET found = ? WHERE id = ?", found)
        return len(rows)

    def visits(self, lang: str = "") -> list[tuple[str, str]]:
        """Visits without network: when, as people write it, and what the insurer found (empty: not asked yet); newest first."""
        rows = self._kept.execute("SELECT at, coalesce(found, '') FROM visits ORDER BY id DESC LIMIT 200").fetchall()
        lang, times = (
            lang or self.settings.language,
            (dt.datetime.fromtimestamp(at / 1000, self._zone) for at, _ in rows),
        )
        return [(moment_in_words(time, lang), str(found)) for time, (_, found) in zip(times, rows, strict=True)]

    def _sign(self, pin: str, message: bytes) -> Presented:
        with self._card, self._open() as card:
            signature = card.sign(AUTHENTICATION, pin, message)
            return Presented(card.certificate(AUTHENTICATION), signature)

    async def _keep_keys(self) -> None:
        """The insurer's keys, while it can be asked for them."""
        try:
            _, raw = await fetch_bytes(f"{self.settings.insurer}/verify/keys", within=WITHIN)
            keys = msgspec.json.encode(msgspec.json.decode(raw)["keys"]).decode()
        except (Unavailable, msgspec.DecodeError, KeyError, TypeError):
            return  # those that are here may do; the patient need not wait for them
        self._kept.execute("INSERT OR REPLACE INTO keys VALUES (?, ?)", [self.settings.insurer, keys])

    async def _get(self, path: str, lang: str = "") -> Any:
        return await self._ask(f"/{path}", None, lang)

    async def _post(self, path: str, data: Any, lang: str = "") -> Any:
        return await self._ask(path or "/", data, lang)

    async def _ask(self, path: str, data: Any, lang: str) -> Any:
        s = self.settings
        body = None if data is None else msgspec.json.encode(data)
        kind = "" if body is None else "application/json"
        at = f"{s.insurer}/eligibility{path}"
        try:
            status, raw = await fetch_bytes(at, body, kind=kind, token=s.token, lang=lang, within=WITHIN)
        except Unavailable as error:
            raise Unavailable(
                "The insurer does not answer.",
                ja="保険者のシステムが応答しません。",
                remedy="Try again once the network is back.",
                remedy_ja="通信の回復後に、もう一度お試しください。",
                code=error.code,
            ) from None
        try:
            told = msgspec.json.decode(raw)
        except msgspec.DecodeError:
            told = {}
        if status >= 400:
            said = str(told.get("detail", "")) or f"The insurer answers {status}."
            family = Unavailable if status >= 500 else RenkeiError
            raise family(said, ja=said, remedy=told.get("remedy", ""), code=told.get("title", "insurer"), status=status)
        return told


def _zone(name: str) -> ZoneInfo | None:
    """The time zone of this name; nothing, which is the machine's own, for none."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError):
        raise SetupError(
            f"clinic.toml: there is no time zone {name}.",
            ja=f"clinic.toml: タイムゾーン {name} はありません。",
            remedy="Name one as IANA does, such as Asia/Tokyo.",
            remedy_ja="Asia/Tokyo のような IANA の名称で指定してください。",
            code="settings-wrong",
        ) from None


def _card(shown: Presented, challenge: bytes) -> dict[str, str]:
    parts = {"certificate": shown.certificate, "signature": shown.signature, "challenge": challenge}
    return {name: b64encode(part).decode() for name, part in parts.items()}


async def run(terminal: Terminal) -> None:
    """Answer the clinic's browser until cancelled."""
    s = terminal.settings
    shell = Shell(body="clinic", role="clinic", kinds=(), database="", bus="", port=s.port, language=s.language)
    handlers, options = _pages(terminal, shell)
    await serve(shell, Observer("clinic", "clinic", "warning"), handlers, lambda: Health(True, {}), **options)


def _pages(terminal: Terminal, shell: Shell) -> tuple[list[Any], dict[str, Any]]:
    foot = "This terminal answers this machine alone.", "この端末は、このパソコンだけに応答します。"
    pages = Pages(Path(__file__).parent / "templates", shell, lambda _: terminal.settings.name, foot=foot)
    session = cookie_session(shell, terminal.key, 3600)

    def render(request: AnyRequest, template: str, **values: Any) -> Response[bytes]:
        waiting = sum(1 for _, found in terminal.visits() if not found)
        return pages.render(request, template, waiting=waiting, **values)

    def problem(request: AnyRequest, error: RenkeiError) -> Any:
        return error.problem(language(request, shell.language))

    def visits_for(request: AnyRequest) -> list[tuple[str, str]]:
        return terminal.visits(language(request, shell.language))

    inside = [here(terminal.settings.port)]

    @get("/", guards=inside, include_in_schema=False)
    async def start(request: AnyRequest) -> Response[bytes]:
        return render(request, "visit.html", problem=None, consent=False)

    @post("/visit", guards=inside, include_in_schema=False, status_code=200)
    async def visit(request: AnyRequest, data: Form) -> Response[bytes]:
        consent, lang = bool(data.get("consent")), language(request, shell.language)
        try:
            answer = await terminal.visit(data.get("pin", ""), consent=consent, lang=lang)
        except RenkeiError as error:
            told = problem(request, error)
            return render(request, "visit.html", status=error.status, problem=told, consent=consent)
        return render(request, "told.html", answer=answer, consent=consent)

    @get("/visits", guards=inside, include_in_schema=False)
    async def visits(request: AnyRequest) -> Response[bytes]:
        return render(request, "visits.html", visits=visits_for(request), problem=None)

    @post("/visits", guards=inside, include_in_schema=False)
    async def reconcile(request: AnyRequest) -> Response[Any]:
        try:
            await terminal.reconcile()
        except RenkeiError as error:
            told = problem(request, error)
            return render(request, "visits.html", status=error.status, visits=visits_for(request), problem=told)
        return Redirect("/visits", status_code=303)

    options = {
        "pages": pages,
        "csrf_secret": sha256(b"csrf" + terminal.key).hexdigest(),
        "middleware": [session.middleware],
    }
    return [start, visit, visits, reconcile], options
