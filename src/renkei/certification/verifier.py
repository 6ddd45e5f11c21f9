"""What the authorities tell registered private sites: whether a signature is a resident's and good, and, if that resident has agreed,
whether what stands in the certificate has changed since. Never a number, never more than was asked.

Sites stand in ``sites.toml`` of the authorities' home::

    [[site]]
    id = "demo-bank"
    title = "Enishi Bank"
    token_sha256 = "…"
"""

from __future__ import annotations

import datetime as dt
import hmac
import re
from base64 import b64decode
from hashlib import sha256
from typing import Annotated, Any, NamedTuple

import msgspec
from cryptography import x509
from litestar import Request, post
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import JSONBody

from renkei.certification import store
from renkei.certification.office import Office
from renkei.certification.profiles import ATTRIBUTE_BOUND
from renkei.errors import Malformed, NotGenuine, Refused
from renkei.institution.database import Database
from renkei.institution.relying import GOOD, REVOKED, SUSPENDED, UNKNOWN, Presented, Verifier, attributes_of, readable
from renkei.institution.settings import Clock, Home
from renkei.institution.web import json_body
from renkei.law import Pack

CONSENT = re.compile(r"^renkei-consent/1 changes site=([a-z0-9-]{1,64}) until=(\d{4}-\d{2}-\d{2})$", re.MULTILINE)
DOCUMENT_MOST = 1_000_000
CONSENT_MOST = dt.timedelta(days=2 * 366)
"""Longest time ahead for which anybody agrees."""


class Site(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A private site that may ask."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,64}\Z")]
    title: str
    token_sha256: str


class _Sites(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    site: tuple[Site, ...] = ()


class Signed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document, a signature of it, and the signature certificate (base64 all; the certificate in DER)."""

    document: Annotated[str, msgspec.Meta(max_length=1_400_000)]
    signature: Annotated[str, msgspec.Meta(max_length=2_000)]
    certificate: Annotated[str, msgspec.Meta(max_length=8_000)]
    attributes: bool = False
    """Whether the four attributes are wanted, read from the certificate."""


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is found of a signature. ``reason`` says why it is not good, and is empty if it is."""

    good: bool
    reason: str = ""
    attributes: dict[str, str] | None = None


class Change(msgspec.Struct, frozen=True):
    """Whether what stands in the certificate has changed; nothing if the certificate ended for another cause, or by its time."""

    changed: bool | None


class Consent(NamedTuple):
    """What a resident agreed to, in a document they signed: that a site may ask for changes, until a day."""

    site: str
    until: dt.date

    def line(self) -> str:
        """How it stands in the document, on a line of its own."""
        return f"renkei-consent/1 changes site={self.site} until={self.until}"

    @classmethod
    def read(cls, document: bytes) -> list[Consent]:
        """What stands in a document, if its signer could see it."""
        try:
            return [cls(site, dt.date.fromisoformat(day)) for site, day in CONSENT.findall(readable(document))]
        except ValueError:
            return []


class Desk:
    """Answers registered sites."""

    def __init__(self, home: Home, office: Office, database: Database, pack: Pack, clock: Clock) -> None:
        self._office, self._database, self._pack, self._clock = office, database, pack, clock
        file = home.read_toml("sites.toml", _Sites) if (home / "sites.toml").exists() else _Sites()
        self.sites = file.site

    def site_of(self, token: str) -> Site | None:
        """The site with this token."""
        digest = sha256(token.encode()).hexdigest()
        return next((s for s in self.sites if hmac.compare_digest(s.token_sha256, digest)), None)

    async def verify(self, signed: Signed) -> Verdict:
        """Whether the signature is good now."""
        shown, document = _parts(signed)
        try:
            certificate = await self._verifier(self._status).checked(shown, "signature", document)
        except NotGenuine as error:
            return Verdict(False, error.code)
        told = attributes_of(self._pack.header.cards, certificate)._asdict() if signed.attributes else None
        return Verdict(True, "", told)

    async def changed(self, site: Site, signed: Signed) -> Change:
        """Whether the resident moved, or has another name, since they signed. ``Refused`` unless they agreed that this site may ask,
        in the document it shows."""
        shown, document = _parts(signed)
        today = self._pack.day(self._clock())
        last = today + CONSENT_MOST
        if not any(c.site == site.id and today <= c.until <= last for c in Consent.read(document)):
            raise Refused(
                "The resident has not agreed that you ask this now.",
                ja="本人の同意が確認できません。",
                remedy="Show a signed document with their consent, whose time is not over.",
                remedy_ja="期限内の同意を含む署名済み文書を示してください。",
                code="no-consent",
            )
        certificate = await self._verifier(_any).checked(shown, "signature", document, at=self._while_valid(shown))
        row = await self._database.read(lambda c: store.get(c, f"{certificate.serial_number:x}"))
        if row is None or row.last < self._clock():
            return Change(None)
        if row.state == store.GOOD:
            return Change(False)
        return Change(True if row.reason in ATTRIBUTE_BOUND else None)

    def _verifier(self, status: Any) -> Verifier:
        trusted = {"signature": self._office.authority("signature")}
        return Verifier(self._pack.header.cards, trusted, status, self._clock)

    def _while_valid(self, shown: Presented) -> int:
        """A moment at which the certificate was valid by its time, for a signature of then."""
        try:
            certificate = x509.load_der_x509_certificate(shown.certificate)
        except (ValueError, x509.InvalidVersion):
            raise Malformed("This is no certificate.", ja="電子証明書ではありません。", code="certificate") from None
        return min(self._clock(), int(certificate.not_valid_after_utc.timestamp() * 1000))

    async def _status(self, certificate: x509.Certificate, issuer: x509.Certificate) -> str:
        row = await self._database.read(lambda c: store.get(c, f"{certificate.serial_number:x}"))
        states = {store.GOOD: GOOD, store.SUSPENDED: SUSPENDED, store.REVOKED: REVOKED}
        return states[row.state] if row is not None else UNKNOWN


async def _any(certificate: x509.Certificate, issuer: x509.Certificate) -> str:
    return GOOD


def _parts(signed: Signed) -> tuple[Presented, bytes]:
    try:
        certificate, signature, document = (
            b64decode(text, validate=True) for text in (signed.certificate, signed.signature, signed.document)
        )
    except ValueError:
        raise Malformed("This is no base64.", ja="base64 ではありません。", code="base64") from None
    if len(document) > DOCUMENT_MOST:
        raise Malformed("The document is too long.", ja="文書が長すぎます。", code="document")
    return Presented(certificate, signature), document


def desk_handlers(desk: Desk) -> list[Any]:
    """The interface for sites with a token."""

    async def known(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scheme, _space, token = connection.headers.get("authorization", "").partition(" ")
        connection.state.site = desk.site_of(token) if scheme.lower() == "bearer" and token else None
        if connection.state.site is None:
            raise NotAuthorizedException

    guards = [known, json_body]

    @post("/verifier/signatures", guards=guards, status_code=200, tags=["verifier"], security=[{"token": []}])
    async def signatures(data: JSONBody[Signed]) -> Verdict:
        """Whether a signature is a resident's, and their certificate good now."""
        return await desk.verify(data)

    @post("/verifier/changes", guards=guards, status_code=200, tags=["verifier"], security=[{"token": []}])
    async def changes(request: Request[Any, Any, Any], data: JSONBody[Signed]) -> Change:
        """Whether what stands in the certificate has changed since a document was signed in which its holder agreed to the question."""
        return await desk.changed(request.state.site, data)

    return [signatures, changes]
