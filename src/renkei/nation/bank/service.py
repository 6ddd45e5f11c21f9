"""The demo's online bank: sign in with My Portal, sign the application with the card, and the account is open.

``bank.toml`` in its folder says where everybody is; ``accounts.db`` holds the customers.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import sqlite3
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

from renkei.certification.verifier import Consent
from renkei.errors import NotFound, NotGenuine, RenkeiError
from renkei.institution.observe import Observer
from renkei.institution.settings import Home
from renkei.institution.settings import Settings as Shell
from renkei.institution.web import Health, Pages, cookie_session, language, leading_to, serve
from renkei.institution.wording import day_in_words
from renkei.nation.sign_on import SignOn, session_key, sign_on_pages
from renkei.nation.web import call

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
AnyRequest = Request[Any, Any, Any]
SESSION_SECONDS = 1800
CONSENT_DAYS = 365


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``bank.toml``."""

    id: str
    """By which the portal and the authorities know it."""
    ja: str
    en: str
    port: int
    portal: str
    """The OpenID provider."""
    client_secret: str
    verifier: str
    """The certification authorities."""
    verifier_token: str
    reader: str = "http://127.0.0.1:8491"
    time_zone: str = "UTC"
    """By which it dates what its customers sign."""

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Bank:
    """The bank, from its folder."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder)
        self.settings = home.read_toml("bank.toml", Settings)
        self._accounts = sqlite3.connect(folder / "accounts.db", isolation_level=None, check_same_thread=False)
        self._accounts.execute(
            "CREATE TABLE IF NOT EXISTS accounts (sub TEXT PRIMARY KEY, number TEXT, name TEXT, address TEXT, document BLOB,"
            " signature BLOB, certificate BLOB, opened TEXT)"
        )
        self.key = session_key(folder, self.settings.id)
        s = self.settings
        self.sign_on = SignOn(s.id, s.origin, s.portal, s.client_secret)
        self.shell = Shell(
            body=self.settings.id, role="bank", kinds=(), database="", bus="", port=self.settings.port, language="ja"
        )

    async def serve(self) -> None:
        """Answer until cancelled."""
        handlers, options = bank_pages(self)
        await serve(self.shell, Observer("bank", "bank", "warning"), handlers, lambda: Health(True, {}), **options)

    # ------------------------------------------------------------------ accounts

    def today(self) -> dt.date:
        """The day it is at the bank."""
        return dt.datetime.now(ZoneInfo(self.settings.time_zone)).date()

    def application(self, kind: str, number: str, today: dt.date) -> str:
        """What a customer signs: the application, and the consent, in words and in the line that the authorities read."""
        until = today + dt.timedelta(days=CONSENT_DAYS)
        line = Consent(self.settings.id, until).line()
        return (
            f"口座開設申込書 / Application for an account\n{self.settings.ja} / {self.settings.en}\n\n"
            f"口座の種類 / Kind of account: {kind}\n申込番号 / Application: {number}\n日付 / Date: {today}\n\n"
            f"{self.settings.ja}が、氏名・住所の変更の有無を {until} まで照会することに同意します。\n"
            f"I agree that {self.settings.en} may ask, until {until}, whether my name or address has changed.\n{line}\n"
        )

    async def open(self, sub: str, document: str, certificate: bytes, signature: bytes) -> None:
        """Open an account on a signed application; ``NotGenuine`` with the reason if the authorities do not find it good."""
        data = document.encode()
        told = await self._ask("signatures", data, certificate, signature, attributes=True)
        if not told["good"]:
            raise NotGenuine(
                "The signature is not good.",
                ja="署名を確認できませんでした。",
                remedy="Begin again with your own, valid card.",
                remedy_ja="ご本人の有効なカードで、もう一度お申し込みください。",
                code=told["reason"],
            )
        who, number = told["attributes"], f"{secrets.randbelow(10**7):07d}"
        row = (sub, number, who["name"], who["address"], data, signature, certificate, self.today().isoformat())
        self._accounts.execute("INSERT OR IGNORE INTO accounts VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def account(self, sub: str) -> dict[str, Any] | None:
        """A customer's account."""
        row = self._accounts.execute(
            "SELECT number, name, address, opened FROM accounts WHERE sub = ?", [sub]
        ).fetchone()
        return dict(zip(("number", "name", "address", "opened"), row, strict=True)) if row else None

    async def has_changed(self, sub: str) -> bool | None:
        """Whether the customer moved or has another name since they opened the account, as the authorities say on their consent."""
        row = self._accounts.execute(
            "SELECT document, certificate, signature FROM accounts WHERE sub = ?", [sub]
        ).fetchone()
        if row is None:
            raise NotFound("There is no account.", ja="口座がありません。", code="no-account")
        told = await self._ask("changes", *row)
        return None if told["changed"] is None else bool(told["changed"])

    async def _ask(
        self, what: str, document: bytes, certificate: bytes, signature: bytes, **more: bool
    ) -> dict[str, Any]:
        parts = {"document": document, "certificate": certificate, "signature": signature}
        data = {name: b64encode(value).decode() for name, value in parts.items()} | more
        told: dict[str, Any] = await call(
            f"{self.settings.verifier}/verifier/{what}", self.settings.verifier_token, data
        )
        return told


def bank_pages(bank: Bank) -> tuple[list[Any], dict[str, Any]]:
    """The bank's pages, and the options of the web shell they need."""
    s = bank.settings
    pages = Pages(Path(__file__).parent / "templates", bank.shell, lambda lang: s.ja if lang == "ja" else s.en)
    session = cookie_session(bank.shell, bank.key, SESSION_SECONDS)

    def render(request: AnyRequest, template: str, **values: Any) -> Response[bytes]:
        return pages.render(request, template, **values)

    def problem(request: AnyRequest, error: RenkeiError) -> Response[bytes]:
        told = error.problem(language(request, "ja"))
        return render(request, "problem.html", status=error.status, problem=told)

    def shown(request: AnyRequest, account: dict[str, Any], changed: str = "") -> Response[bytes]:
        opened, lang = dt.date.fromisoformat(account["opened"]), language(request, "ja")
        new = opened == bank.today() and not changed
        day = day_in_words(opened, lang)
        return render(request, "account.html", account=account, opened=day, new=new, changed=changed)

    @get("/", include_in_schema=False)
    async def start(request: AnyRequest) -> Response[bytes]:
        return render(request, "start.html")

    @get("/apply", include_in_schema=False)
    async def apply(request: AnyRequest) -> Response[Any]:
        return render(request, "apply.html") if request.session.get("sub") else Redirect("/")

    @post("/apply", include_in_schema=False)
    async def sign(request: AnyRequest, data: Form) -> Response[Any]:
        sub = request.session.get("sub")
        kinds = {"ordinary": "普通預金 / ordinary", "savings": "貯蓄預金 / savings"}
        if not sub or data.get("kind") not in kinds:
            return Redirect("/", status_code=303)
        document = bank.application(kinds[data["kind"]], secrets.token_hex(6), bank.today())
        request.set_session({"sub": sub, "document": document})
        page = render(
            request, "sign.html", reader=s.reader, document=b64encode(document.encode()).decode(), text=document
        )
        return leading_to(s.reader, page)

    @post("/signed", include_in_schema=False)
    async def from_reader(request: AnyRequest, data: Form) -> Response[Any]:
        if data.get("refused"):
            return Redirect("/apply", status_code=303)
        shown = {name: data.get(name, "")[:12_000] for name in ("certificate", "signature")}
        return render(request, "signed.html", finish="/signed/finish", **shown)

    @post("/signed/finish", include_in_schema=False)
    async def finish(request: AnyRequest, data: Form) -> Response[Any]:
        sub, document = request.session.get("sub"), request.session.get("document")
        if not sub or not document:
            return Redirect("/", status_code=303)
        try:
            certificate, signature = (b64decode(data.get(n, ""), validate=True) for n in ("certificate", "signature"))
            await bank.open(sub, document, certificate, signature)
        except ValueError:
            return Redirect("/apply", status_code=303)
        except RenkeiError as error:
            return problem(request, error)
        request.set_session({"sub": sub})
        return Redirect("/account", status_code=303)

    @get("/account", include_in_schema=False)
    async def account(request: AnyRequest) -> Response[Any]:
        found = await asyncio.to_thread(bank.account, request.session.get("sub", ""))
        return shown(request, found) if found else Redirect("/")

    @post("/account/check", include_in_schema=False, status_code=200)
    async def check(request: AnyRequest) -> Response[Any]:
        sub = request.session.get("sub", "")
        found = await asyncio.to_thread(bank.account, sub)
        if found is None:
            return Redirect("/", status_code=303)
        try:
            changed = {True: "yes", False: "no", None: "unknown"}[await bank.has_changed(sub)]
        except RenkeiError as error:
            return problem(request, error)
        return shown(request, found, changed)

    options = {
        "pages": pages,
        "csrf_secret": sha256(b"csrf" + bank.key).hexdigest(),
        "csrf_exclude": ["^/signed"],  # what was signed names this session's application
        "middleware": [session.middleware],
    }
    signing_in = sign_on_pages(bank.sign_on, render, lambda sub: "/account" if bank.account(sub) else "/apply")
    return [start, apply, sign, from_reader, finish, account, check, *signing_in], options
