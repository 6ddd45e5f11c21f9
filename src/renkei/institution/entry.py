"""Coming in by card: to the reader program on the visitor's own machine, back with what the card signed, and in.

The challenge is in the visitor's session. So what a card signed lets in the browser that asked for it and no other, and what another site
sends here, it sends without the cookie.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

from renkei.errors import Malformed, NotFound, RenkeiError, SetupError
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.member import Member
from renkei.institution.post import Post
from renkei.institution.relying import AGAIN, Challenges, Presented, Verifier, authentication_message, by_ocsp
from renkei.institution.settings import Clock, Settings
from renkei.institution.web import language, leading_to
from renkei.messages.wire import CodeByCard, Message
from renkei.record.state import ref_of

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
AnyRequest = Request[Any, Any, Any]
Render = Callable[..., Response[bytes]]
"""``render(request, template, **values)``."""


Proof = Callable[[bytes, bytes], Message]
"""``proof(handle, local proof)``: what is sent to the authority."""


class Admitted(NamedTuple):
    """Who came by card: the key of ``subjects.holder_of``, and when (ms) the time of their certificate ends."""

    key: str
    until: int


class Entry:
    """Who comes in by card at one institution."""

    def __init__(self, settings: Settings, member: Member, database: Database, post: Post, clock: Clock) -> None:
        self._settings, self._member, self._database, self._post, self._clock = settings, member, database, post, clock
        self._challenges = Challenges(os.urandom(32), clock)
        self._authority = _authority(settings.card_authority) if settings.card_authority else None

    @property
    def open(self) -> bool:
        """Whether anybody can come in by card here."""
        return self._authority is not None

    def challenge(self) -> bytes:
        """What somebody's card is to sign next, for whoever keeps it meanwhile."""
        return self._challenges.new()

    async def proven(self, shown: Presented, challenge: bytes, purpose: str) -> None:
        """That the card signed this challenge for ``purpose`` (an address below ours); ``NotGenuine`` with the reason otherwise."""
        await self.verifier().signed_in(shown, self._challenges, f"{self._settings.origin}{purpose}", challenge)

    async def numbered(self, shown: Presented, challenge: bytes, number: str) -> Proof:
        """That the card signed this challenge together with a number; what asks the authority for the code of whose both are.
        ``NotGenuine`` with the reason otherwise. Whether the number is the holder's, only the authority can say."""
        origin, domain = self._settings.origin, ref_of(self._member.domain)
        found = await self.verifier().with_number(shown, self._challenges, origin, challenge, number)
        certificate = found.public_bytes(Encoding.DER)

        def proof(handle: bytes, local_proof: bytes) -> Message:
            return CodeByCard(domain, handle, local_proof, origin, challenge, certificate, shown.signature, number)

        return proof

    async def admit(self, shown: Presented, challenge: bytes) -> Admitted:
        """Who came, as the key by which they are known here (``subjects.holder_of``); ``NotGenuine`` with the reason if it proves nothing.

        At a card's first time the numbering authority is asked for the code of its holder: it knows whose the certificate is, and we
        are never told a number. A person's next card leads to the same person.
        """
        origin, verifier = self._settings.origin, self.verifier()
        found = await verifier.signed_in(shown, self._challenges, origin, challenge)
        certificate = found.public_bytes(Encoding.DER)
        key, domain = sha256(certificate).digest(), ref_of(self._member.domain)

        def proof(handle: bytes, local_proof: bytes) -> Message:
            return CodeByCard(domain, handle, local_proof, origin, challenge, certificate, shown.signature)

        await self._database.write(lambda c: subjects.request_by_card(c, self._post, self._member, key, proof))
        return Admitted(key.hex(), int(found.not_valid_after_utc.timestamp() * 1000))

    def signatures(self) -> Verifier | None:
        """Who checks what residents' cards signed for good, if their authority is known here."""
        if not self._settings.signature_authority:
            return None
        authority = _authority(self._settings.signature_authority)
        rules = self._member.pack.header.cards
        return Verifier(rules, {"signature": authority}, by_ocsp(self._clock), self._clock)

    def verifier(self) -> Verifier:
        """Who checks what residents' cards signed; ``NotFound`` if nobody comes in by card here."""
        if self._authority is None:
            raise NotFound(
                "Nobody comes in by card here.",
                ja="カードは使えません。",
                remedy="Come in another way, or ask at the counter.",
                remedy_ja="ほかの方法を使うか、窓口にお問い合わせください。",
                code="no-cards",
            )
        rules = self._member.pack.header.cards
        return Verifier(rules, {"authentication": self._authority}, by_ocsp(self._clock), self._clock)

    # ------------------------------------------------------------------ pages

    def form(self, request: AnyRequest) -> dict[str, str]:
        """What the form to the reader program needs: its address and the challenge."""
        return {"reader": self._settings.reader, "challenge": b64encode(self._challenge(request)).decode()}

    def leading(self, page: Response[bytes]) -> Response[bytes]:
        """A page with that form: the browser may send it there, and says from where."""
        return leading_to(self._settings.reader, page)

    def handlers(
        self, at: str, render: Render, refuse: Callable[[AnyRequest, RenkeiError], Response[bytes]], inside: str
    ) -> list[Any]:
        """The pages below ``at``, which nobody needs a session for; whoever is let in goes on to ``inside``."""

        @get(f"{at}/message", media_type="application/octet-stream", include_in_schema=False)
        async def message(request: AnyRequest) -> bytes:
            """The bytes a card is to sign for this browser, for whoever signs with another program than ours."""
            return authentication_message(self._settings.origin, self._challenge(request))

        @post(at, include_in_schema=False)
        async def from_reader(request: AnyRequest, data: Form) -> Response[Any]:
            """What the reader program sends a browser back with. It comes from another site, without cookies: our page sends it on."""
            if data.get("refused"):
                return Redirect(at.rpartition("/")[0] or "/", status_code=303)
            shown = {name: data.get(name, "")[:8000] for name in ("certificate", "signature")}
            if not all(shown.values()):
                raise no_answer()
            return render(request, "signed.html", finish=f"{at}/finish", **shown)

        @post(f"{at}/finish", include_in_schema=False)
        async def finish(request: AnyRequest, data: Form) -> Response[Any]:
            try:
                came = await self.admit(presented(data), self.challenge_of(request))
            except RenkeiError as error:
                return refuse(request, error)
            kept = {"for": request.session["for"]} if "for" in request.session else {}
            to = request.session.get("next", inside)  # the session is sealed: the address is ours
            request.set_session({"key": came.key, "since": self._clock(), "until": came.until, "amr": "sc", **kept})
            return Redirect(to, status_code=303)

        return [message, from_reader, finish]

    def challenge_of(self, request: AnyRequest) -> bytes:
        """What this browser was given to be signed."""
        return b64decode(request.session.get("challenge", ""))

    def _challenge(self, request: AnyRequest) -> bytes:
        """What this browser's card is to sign: one thing in all its windows, until it was answered or is old."""
        challenge = self.challenge_of(request)
        if not self._challenges.is_fresh(challenge):
            challenge = self._challenges.new()
            request.set_session({**request.session, "challenge": b64encode(challenge).decode()})
        return challenge

    def problem(self, request: AnyRequest, error: RenkeiError) -> dict[str, Any]:
        """The error for a page, in its reader's language."""
        return error.problem(language(request, self._settings.language))


def refused(connection: sa.Connection, handles: list[bytes]) -> None:
    """The numbering authority knows nobody by these: so the cards among them are nobody's."""
    subjects.lead(connection, dict.fromkeys(subjects.refuse_codes(connection, handles), ""))


def presented(data: Mapping[str, str]) -> Presented:
    """What a form from the reader program holds."""
    return Presented(*(_bytes(data.get(name, "")) for name in ("certificate", "signature")))


def no_answer() -> Malformed:
    """What came back was not from a card."""
    return Malformed(
        "Nothing usable came from the card.",
        ja="カードの応答を読み取れません。",
        remedy=AGAIN[0],
        remedy_ja=AGAIN[1],
        code="card-answer",
    )


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise no_answer() from None


def _authority(path: str) -> x509.Certificate:
    """The authority whose authentication certificates are trusted."""
    try:
        return x509.load_pem_x509_certificate(Path(path).read_bytes())
    except (OSError, ValueError):
        raise SetupError(
            f"card_authority: {path} is no certificate.",
            ja=f"card_authority: {path} は電子証明書ではありません。",
            remedy="Name the PEM file of the authentication authority's certificate.",
            remedy_ja="利用者証明用認証局の証明書（PEM）を指定してください。",
            code="settings-wrong",
        ) from None
