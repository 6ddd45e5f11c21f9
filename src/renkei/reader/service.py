"""``renkei card serve``: pages on loopback by which other pages ask for a card.

A page sends the browser here with a form (``POST /ask``); its user sees who asks for what, gives the PIN, and is sent back to the page
with the certificate and the signature in another form. Fields of ``/ask``: ``kind`` (authentication, own, signature), ``back`` (a path at
the page's own origin); ``challenge`` (base64) for authentication, ``document`` (base64) and ``title`` for a signature.
Fields of what comes ``back``: ``certificate`` and ``signature`` (base64), or ``refused``.

``kind`` number (with ``challenge`` and, as ``title``, for which affair) is for counters alone: only pages named with ``--site`` may ask,
and ``number`` comes back, signed together with the challenge.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
import time
import urllib.parse
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body

from renkei.card.client import AUTHENTICATION, PURPOSES, SIGNATURE, CardClient
from renkei.errors import Malformed, NotFound, Refused, RenkeiError
from renkei.institution.observe import Observer
from renkei.institution.relying import authentication_message, number_message, own_message, readable
from renkei.institution.settings import Settings
from renkei.institution.web import LOOPBACK, Health, Pages, here, language, leading_to, serve
from renkei.messages import signing

PORT = 8491
NUMBER, OWN = "number", "own"
LINE = re.compile(r"[a-z0-9-]{1,64} [A-Za-z0-9+/]{43}=")
ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")
"""What a reader may be led back to."""
ASK_GOOD = 600.0
"""Seconds for which somebody who was asked may answer."""
ASKED_MOST = 100
DOCUMENT_MOST = 1_000_000
FOOT = "This program answers this machine alone.", "このプログラムは、このパソコンだけに応答します。"
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
OpenCard = Callable[[], AbstractContextManager[CardClient]]


class Ask(NamedTuple):
    """What a page wants of the card."""

    origin: str
    back: str
    kind: str
    message: bytes
    """What is to be signed."""
    title: str
    text: str
    """The document as it can be read, if it can."""
    at: float


class ReaderProgram:
    """The program. ``sites`` are the origins that may ask; any HTTPS or loopback one if there are none."""

    def __init__(self, open_card: OpenCard, *, port: int = PORT, sites: Sequence[str] = (), lang: str = "ja") -> None:
        self._open, self._port = open_card, port
        self.sites = tuple(s.rstrip("/") for s in sites)
        self._asks: dict[str, Ask] = {}
        self._card = threading.Lock()  # a card does one thing at a time
        self.settings = Settings(
            body="reader", role="reader", kinds=(), database="", bus="", port=port, language=lang, log_level="warning"
        )
        self.observe = Observer("reader", "reader", "warning")

    async def serve(self) -> None:
        """Answer until cancelled."""
        pages = Pages(Path(__file__).parent / "templates", self.settings, _title, foot=FOOT)
        handlers = [_home(self, pages), *_asking(self, pages)]
        await serve(self.settings, self.observe, handlers, lambda: Health(True, {}), pages=pages)

    def look(self) -> str:
        """The number of the card in the reader."""
        with self._card, self._open() as card:
            return card.serial()

    # ------------------------------------------------------------------ what is asked

    def take(self, origin: str, data: dict[str, str]) -> str:
        """Take in what a page asks; the token by which its user answers. ``Refused`` if this page may not ask."""
        if not self._may_ask(origin):
            raise Refused(
                "This page may not ask for your card.",
                ja="このページはカードの利用を求めることができません。",
                remedy="Nothing was sent to it. If you trust the page, tell whoever set up this program or runs the page.",
                remedy_ja="何も送信していません。信頼できるページの場合は、このプログラムの設定者かページの運営者にお知らせください。",
                code="site",
            )
        kind, back = data.get("kind", ""), data.get("back", "")
        if kind == NUMBER and origin not in self.sites:
            raise Refused(
                "Your number is given to counters alone, and this is none that was set up here.",
                ja="個人番号は、設定済みの窓口にだけ提供できます。",
                remedy="Nothing was sent. Do not give your number to a page; at a counter, tell the clerk that this machine is not set up.",
                remedy_ja="何も送信していません。窓口以外で個人番号を入力しないでください。窓口の場合は、この端末が未設定であることを職員にお伝えください。",
                code="site",
            )
        if kind not in (*PURPOSES, NUMBER, OWN) or not back.startswith("/") or back.startswith(("//", "/\\")):
            raise _not_understood()
        title, text = data.get("title", "")[:200], ""
        if kind == "authentication":
            message = authentication_message(origin, _data(data, "challenge", 64))
        elif kind == NUMBER:
            message = _data(data, "challenge", 64)
        elif kind == OWN:
            document = _data(data, "document", DOCUMENT_MOST)
            text = _own(document)
            message = own_message(origin, sha256(document).digest())
        else:
            message = _data(data, "document", DOCUMENT_MOST)
            text = readable(message)
        now = time.monotonic()
        self._asks = {k: a for k, a in self._asks.items() if now < a.at + ASK_GOOD}
        while len(self._asks) >= ASKED_MOST:
            del self._asks[next(iter(self._asks))]
        token = secrets.token_urlsafe(24)
        self._asks[token] = Ask(origin, back, kind, message, title, text, now)
        return token

    def _may_ask(self, origin: str) -> bool:
        parts = urllib.parse.urlsplit(origin)
        if not parts.hostname or origin != f"{parts.scheme}://{parts.netloc}" or "@" in parts.netloc:
            return False
        if self.sites:
            return origin in self.sites
        return parts.scheme == "https" or (parts.scheme == "http" and parts.netloc.split(":")[0] in LOOPBACK)

    def asked(self, token: str) -> Ask:
        """What was asked; ``NotFound`` if it was answered, or is too old."""
        ask = self._asks.get(token)
        if ask is None or time.monotonic() > ask.at + ASK_GOOD:
            raise NotFound(
                "Nothing is asked for here any more.",
                ja="この要求は終了しました。",
                remedy="Go back to the page that asked, and begin again.",
                remedy_ja="元のページに戻り、もう一度やり直してください。",
                code="ask-over",
            )
        return ask

    def sign(self, token: str, pin: str, printed: str = "") -> dict[str, bytes]:
        """The certificate and the signature that was asked for, and the number if it was (with the PIN ``printed``); the ask is over. A
        wrong PIN leaves it."""
        with self._card, self._open() as card:
            ask = self.asked(token)  # only now: pressed twice, it is answered once
            purpose, given, message = PURPOSES.get(ask.kind, AUTHENTICATION), {}, ask.message
            if ask.kind == NUMBER:
                try:
                    number = card.number(printed)
                except RenkeiError as error:
                    error.extra["field"] = "printed"  # of two PINs, the page says which
                    raise
                message, given["number"] = number_message(ask.origin, ask.message, number), number.encode()
            pin = pin.upper() if purpose is SIGNATURE else pin  # it has capitals only
            signature = card.sign(purpose, pin, message)
            certificate = card.certificate(purpose, pin if purpose is SIGNATURE else "")
        self._asks.pop(token, None)
        return {"certificate": certificate, "signature": signature, **given}

    def drop(self, token: str) -> None:
        """Its user does not want to."""
        self._asks.pop(token, None)


def _title(lang: str) -> str:
    return "カード読取プログラム" if lang == "ja" else "Card reader"


def _not_understood() -> Malformed:
    return Malformed(
        "What the page asks for is not understood.",
        ja="要求の内容が正しくありません。",
        remedy="Nothing was sent. Go back to the page and begin again; if it repeats, tell whoever runs the page.",
        remedy_ja="何も送信していません。元のページに戻り、やり直してください。続く場合は、ページの運営者にお知らせください。",
        code="ask",
    )


def _own(document: bytes) -> str:
    """What somebody who asks for their own information asks for, line by line as its codes stand there, without the keys."""
    head, *lines = readable(document).split("\n")
    if head != signing.OWN or len(lines) < 4 or lines.pop() or not all(LINE.fullmatch(line) for line in lines[2:]):
        raise _not_understood()
    return "\n".join([*lines[:2], *(line.partition(" ")[0] for line in lines[2:])])


def _data(data: dict[str, str], name: str, most: int) -> bytes:
    try:
        found = b64decode(data.get(name, ""), validate=True)
    except ValueError:
        found = b""
    if not 0 < len(found) <= most:
        raise _not_understood()
    return found


def _home(program: ReaderProgram, pages: Pages) -> Any:
    @get("/", guards=[here(program.settings.port)], include_in_schema=False)
    async def home(request: Request[Any, Any, Any]) -> Response[bytes]:
        serial, problem = "", None
        try:
            serial = await asyncio.to_thread(program.look)
        except RenkeiError as error:
            problem = error.problem(language(request, program.settings.language))
        return pages.render(request, "home.html", serial=serial, problem=problem, sites=program.sites)

    return home


def _asking(program: ReaderProgram, pages: Pages) -> list[Any]:
    def confirm(request: Request[Any, Any, Any], token: str, problem: Any = None, status: int = 200) -> Response[bytes]:
        ask = program.asked(token)
        digest = sha256(ask.message).hexdigest()
        return pages.render(
            request,
            "confirm.html",
            status=status,
            ask=ask,
            token=token,
            digest=digest,
            size=len(ask.message),
            problem=problem,
        )

    def back(request: Request[Any, Any, Any], ask: Ask, **fields: str) -> Response[bytes]:
        page = pages.render(request, "back.html", ask=ask, fields=fields)
        return leading_to(ask.origin, page)

    inside = [here(program.settings.port)]

    @post("/ask", guards=inside, include_in_schema=False, status_code=200)
    async def ask(request: Request[Any, Any, Any], data: Form) -> Response[bytes]:
        origin = request.headers.get("origin", "")
        try:
            return confirm(request, program.take(origin, data))
        except RenkeiError as error:
            if ORIGIN.fullmatch(origin):
                error.extra["back"] = origin
            raise

    @post("/answer", guards=inside, include_in_schema=False, status_code=200)
    async def answer(request: Request[Any, Any, Any], data: Form) -> Response[bytes]:
        token = data.get("token", "")
        asked = program.asked(token)
        if data.get("act") == "cancel":
            program.drop(token)
            return back(request, asked, refused="cancelled")
        try:
            given = await asyncio.to_thread(program.sign, token, data.get("pin", ""), data.get("printed", ""))
        except RenkeiError as error:
            problem = error.problem(language(request, program.settings.language))
            return confirm(request, token, problem, error.status)
        fields = {
            name: value.decode() if name == NUMBER else b64encode(value).decode() for name, value in given.items()
        }
        return back(request, asked, **fields)

    return [ask, answer]
