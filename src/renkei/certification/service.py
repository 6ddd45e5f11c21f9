"""The authorities' home folder and life: after the ceremony, answer OCSP, date documents and hand out revocation lists over HTTP.

::

    settings.toml       the settings below
    secrets.toml        the token's PIN, the log's key, what cards' issuer keys come from; readable by the owner alone
    transcript.txt      of the key ceremony
    *-ca.pem            the authorities' certificates
    clerks.toml         who sees to cards (``counter_pages``)
    cards/              emulated cards
    sites.toml          private sites that may ask (``verifier``)
    certificates.db     what was issued and what became of it, and its log
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import os
import secrets
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from litestar import Request, Response, get, post
from litestar.params import FromPath

from renkei.card.client import CardClient
from renkei.card.layout import Attributes
from renkei.card.virtual import CardFile
from renkei.certification import ceremony, profiles, store, tokens
from renkei.certification.applications import Applications, as_register
from renkei.certification.counter_pages import Counter, counter_pages
from renkei.certification.office import Holder, Office, key_digest
from renkei.certification.production import Producer
from renkei.certification.profiles import AUTHORITIES, OFFICIAL, Addresses
from renkei.certification.timestamps import Timestamper
from renkei.certification.verifier import Desk, desk_handlers
from renkei.errors import NotFound, SetupError
from renkei.institution.database import Database
from renkei.institution.observe import Observer
from renkei.institution.settings import Clock, Home, system_clock
from renkei.institution.settings import Settings as Shell
from renkei.institution.tasks import end, told_to_stop
from renkei.institution.web import Health, serve
from renkei.law import Pack
from renkei.ledger import store as log
from renkei.ledger.notes import NOTE, Signer

OCSP_ANSWER, CRL, CERTIFICATE = "application/ocsp-response", "application/pkix-crl", "application/pkix-cert"
TIMESTAMP = "application/timestamp-reply"
DATES = "timestamps"
"""The token's key that dates documents."""
PACKAGES = ("institution", "ledger", "certification")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``settings.toml`` of the authorities."""

    title: str
    """Who they are, as it stands in certificates."""
    base: str
    """Where their answers are found; it stands in every certificate."""
    pack: str
    """Folder of the jurisdiction pack."""
    module: str = str(tokens.SOFTHSM)
    """PKCS#11 module."""
    token: str = "renkei-ca"  # noqa: S105 - its name
    """The token's label."""
    softhsm: str = ""
    """Configuration of SoftHSM2; empty for another module."""
    numbering: str = ""
    """Address of the numbering authority, which is told whose certificates are when cards are handed over; none: nobody is."""
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8490
    language: str = "ja"
    log_level: str = "warning"


class Secrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``secrets.toml``."""

    pin: str
    log: str
    cards: str
    numbering: str = ""
    """Our token at the numbering authority."""


def hold_ceremony(
    folder: Path, settings: Settings, witnesses: Sequence[str], say: Callable[[str], None], *, pin: str = ""
) -> bytes:
    """Make the home of both authorities, and hold the ceremony in it; the transcript's SHA-256.

    Without ``pin`` a token of SoftHSM2 is made in the folder; with it, the module's token is used.
    """
    home = Home(folder)
    if (home / "settings.toml").exists():
        raise SetupError("The ceremony was held here already.", ja="鍵の生成は実施済みです。", code="ceremony")
    pack = Pack.load(Path(settings.pack))
    if not pin:
        pin = secrets.token_urlsafe(12)
        made = tokens.new_softhsm(folder, settings.token, pin, secrets.token_urlsafe(12))
        settings = msgspec.structs.replace(settings, softhsm=str(made.absolute()))
    keys = Secrets(pin, b64encode(secrets.token_bytes(32)).decode(), b64encode(secrets.token_bytes(32)).decode())
    home.write_toml("secrets.toml", keys, private=True)
    token = _open(settings, keys)
    try:
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        digest = ceremony.hold(folder, token, pack, settings.title, witnesses, now, say)
    finally:
        token.close()
    home.write_toml("settings.toml", settings)
    return digest


def _open(settings: Settings, keys: Secrets) -> tokens.Token:
    if settings.softhsm:
        os.environ["SOFTHSM2_CONF"] = settings.softhsm
    return tokens.Token(Path(settings.module), settings.token, keys.pin)


class Certification:
    """Both authorities, from their home folder, which is held until ``close``."""

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        home = Home(folder)
        if not (home / "settings.toml").is_file():
            raise SetupError(
                f"{folder} is no home of certification authorities.",
                ja=f"{folder} は認証局のフォルダーではありません。",
                remedy="Hold the ceremony with `renkei certification ceremony`.",
                remedy_ja="`renkei certification ceremony` を実施してください。",
                code="settings-missing",
            )
        self.settings = home.read_toml("settings.toml", Settings)
        keys = home.read_toml("secrets.toml", Secrets)
        self._held = home.occupy()
        self.clock = clock
        self.pack = Pack.load(Path(self.settings.pack))
        self.observe = Observer("certification", "certification", self.settings.log_level)
        self._token = _open(self.settings, keys)
        self.database = Database(f"sqlite:///{home / 'certificates.db'}", packages=PACKAGES)
        signer = Signer(self.settings.base.split("://")[-1] + "/log", NOTE, b64decode(keys.log))
        made = ceremony.authorities(folder, self._token, dt.datetime.now(dt.UTC))
        self.office = Office(made, self.database, signer, lambda: self.pack, self._addresses, clock)
        self.office.begin(sha256((home / ceremony.TRANSCRIPT).read_bytes()).digest())
        self.desk = Desk(home, self.office, self.database, self.pack, clock)
        self.producer = Producer(self.office, b64decode(keys.cards))
        self.log_key = signer.verifier
        s = self.settings
        self.shell = Shell(
            body="certification",
            role="certification",
            kinds=(),
            database="",
            bus="",
            host=s.host,
            port=s.port,
            language=s.language,
            log_level=s.log_level,
        )
        master = b64decode(keys.cards)
        register = as_register(s.numbering, keys.numbering) if s.numbering else None
        self.applications = Applications(
            self.office, self.producer, self.database, master, folder / "cards", self.pack, register, clock
        )
        pages = hmac.digest(master, b"renkei/v1/counter-pages", "sha256")
        self.counter = Counter(home, self.applications, self.pack, self.shell, pages, clock)

    def _addresses(self, purpose: str) -> Addresses:
        base = self.settings.base.rstrip("/")
        return Addresses(f"{base}/ocsp", f"{base}/{purpose}.crl", f"{base}/{purpose}.cer")

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until ``stop``."""
        pages, options = counter_pages(self.counter)
        handlers = [*pages, *answers(self.office, self.database, await self.timestamper()), *desk_handlers(self.desk)]
        serving = asyncio.create_task(serve(self.shell, self.observe, handlers, self.health, **options))
        await stop.wait()
        await end([serving])

    async def produce(self, card: Path, born: dt.date, attributes: Attributes, number: str) -> Holder:
        """Make an emulated card, without PINs, as a new file; for whom and until when."""
        memory = self.producer.blank()
        last = profiles.card_expires(self.pack.header.cards, born, self.pack.day(self.clock()))
        holder = Holder(memory.serial, last, born, attributes)
        file = CardFile(card)
        file.keep(memory)
        await self.producer.personalise(CardClient(file.chip().transmit), holder, number)
        return holder

    async def timestamper(self) -> Timestamper:
        """Who dates documents; certified at the first time."""
        key = self._token.key(DATES) if self._token.has(DATES) else self._token.generate(DATES, 2048)
        row = await self.database.read(lambda c: store.by_key(c, key_digest(key.public_key())))
        made = x509.load_der_x509_certificate(bytes(row.der)) if row is not None else None
        if made is None:
            made = await self.office.issue_official(self.settings.title, key.public_key(), dates=True)
        return Timestamper(made, key, self.pack.header.cards.policies[OFFICIAL], self.clock)

    def health(self) -> Health:
        """How much is in the log."""
        head = self.database.read_now(log.newest)
        return Health(True, {"log_size": str(head.size if head else 0)})

    def close(self) -> None:
        """Let go of the token, the database and the folder."""
        self.database.close()
        self._token.close()
        self._held.close()


async def run(folder: Path) -> None:
    """Run the authorities of a home folder until a signal says stop."""
    stop = told_to_stop()
    service = Certification(folder)
    try:
        await service.run(stop)
    finally:
        service.close()


def answers(office: Office, database: Database, timestamper: Timestamper) -> list[Any]:
    """What is answered over HTTP: OCSP (RFC 6960 appendix A), time stamps (RFC 3161 §3.4), lists, certificates, the log's newest
    checkpoint."""

    @post("/ocsp", media_type=OCSP_ANSWER, include_in_schema=False, status_code=200)
    async def ask(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(await office.answer(await request.body()), media_type=OCSP_ANSWER)

    @get("/ocsp/{question:path}", include_in_schema=False)
    async def ask_by_address(question: FromPath[str]) -> Response[bytes]:
        try:
            der = urlsafe_b64decode(question.strip("/").replace("+", "-").replace("/", "_"))
        except ValueError:
            der = b""
        return Response(await office.answer(der), media_type=OCSP_ANSWER)

    @post("/timestamps", media_type=TIMESTAMP, include_in_schema=False, status_code=200)
    async def date(request: Request[Any, Any, Any]) -> Response[bytes]:
        question = await request.body()
        return Response(await asyncio.to_thread(timestamper.answer, question), media_type=TIMESTAMP)

    @get("/{name:str}", include_in_schema=False)
    async def file(name: FromPath[str]) -> Response[bytes]:
        purpose, _, kind = name.partition(".")
        if purpose in AUTHORITIES and kind == "crl":
            return Response(await office.revocation_list(purpose), media_type=CRL)
        if purpose in AUTHORITIES and kind == "cer":
            return Response(office.authority(purpose).public_bytes(Encoding.DER), media_type=CERTIFICATE)
        head = await database.read(log.newest)
        if name == "checkpoint" and head is not None:
            return Response(head.note.encode(), media_type="text/plain; charset=utf-8")
        raise NotFound("There is nothing here.", ja="ここには何もありません。")

    return [ask, ask_by_address, date, file]
