"""Whoever relies on a card: a challenge, what the card made of it, and whether that is genuine, of now, for us, and of a certificate that
is good. A portal, a bank and a counter check the same, and are told the reason of what is refused.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from renkei.card.layout import Attributes
from renkei.codes.group import transcript
from renkei.errors import Malformed, NotGenuine, RenkeiError, Unavailable
from renkei.institution.outside import fetch_bytes
from renkei.institution.settings import Clock
from renkei.law.header import Cards

CHALLENGE_GOOD = 600_000
"""Milliseconds for which a challenge may be answered: whoever is slow with a PIN has time."""
OUTSTANDING_MOST = 100_000
SKEW = 300_000
"""Milliseconds by which a responder's clock may differ from ours."""
GOOD, SUSPENDED, REVOKED, UNKNOWN = "good", "suspended", "revoked", "unknown"
AGAIN = "Begin again with your card.", "カードを使って、もう一度やり直してください。"
RENEWED = (
    "Have the certificate made anew at your municipality's counter.",
    "お住まいの市区町村の窓口で、電子証明書の発行を受けてください。",
)
REMEDIES = {
    "certificate-expired": RENEWED,
    "certificate-revoked": RENEWED,
    "certificate-unknown": RENEWED,
    "certificate-suspended": (
        "If the card was found again, your municipality's counter takes it back into use.",
        "カードが見つかった場合は、市区町村の窓口で一時停止を解除できます。",
    ),
    "certificate-issuer": (
        "Use your Individual Number Card.",
        "ご自身のマイナンバーカードを使ってください。",
    ),
}
"""What to do about a card that is refused, where to begin again does not help."""

Status = Callable[[x509.Certificate, x509.Certificate], Awaitable[str]]
"""``status(certificate, issuer)``: one of the four above; ``Unavailable`` if nobody says."""


def authentication_message(audience: str, challenge: bytes) -> bytes:
    """What a card signs to sign in at ``audience`` (an origin): of no use at any other, and no document of anybody's."""
    return b"renkei/v1/card-sign-in" + transcript(audience.encode(), challenge)


def number_message(audience: str, challenge: bytes, number: str) -> bytes:
    """What a card signs when its number is read for ``audience``: that whoever signs in has this number, there and then."""
    return b"renkei/v1/card-number" + transcript(audience.encode(), challenge, number.encode())


def own_message(audience: str, digest: bytes) -> bytes:
    """What a card signs at ``audience`` to be shown its holder's own information; ``digest`` is of ``signing.own_document``. It is no
    sign-in, and a sign-in is none of this."""
    return b"renkei/v1/card-own" + transcript(audience.encode(), digest)


def is_near(day: str, today: dt.date) -> bool:
    """Whether what was signed on ``day`` (ISO) is of today: midnight may have passed since, and clocks differ."""
    try:
        return abs((dt.date.fromisoformat(day) - today).days) <= 1
    except ValueError:
        return False


def consent_purpose(clinic: str) -> str:
    """What a patient consents to, as the card signs it, below the insurer's address: that this clinic sees their history."""
    return f"/eligibility/history?clinic={quote(clinic)}"


class Challenges:
    """Challenges given out: each is ours, of the last ten minutes, and good once. They carry their own proof, so that nothing is kept
    of those nobody answers; which were used is kept for as long as they would be good. ``key`` is of one run: after a restart none given
    out before is good."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key, self._clock = key, clock
        self._used: dict[bytes, int] = {}

    def new(self) -> bytes:
        """48 bytes."""
        head = self._clock().to_bytes(8, "big") + os.urandom(24)
        return head + self._proof(head)

    def is_fresh(self, challenge: bytes) -> bool:
        """Whether it can still be answered, for half of its time at least."""
        given = int.from_bytes(challenge[:8], "big")
        ours = len(challenge) == 48 and hmac.compare_digest(self._proof(challenge[:32]), challenge[32:])
        return ours and challenge[:32] not in self._used and 0 <= self._clock() - given < CHALLENGE_GOOD // 2

    def redeem(self, challenge: bytes) -> None:
        """Take one in, once; ``NotGenuine`` with the reason otherwise."""
        now, head = self._clock(), challenge[:32]
        if len(challenge) != 48 or not hmac.compare_digest(self._proof(head), challenge[32:]):
            raise _refused("challenge-strange", "This challenge is not ours.", "この要求は当方のものではありません。")
        given = int.from_bytes(head[:8], "big")
        if not given <= now < given + CHALLENGE_GOOD:
            raise _refused("challenge-old", "The challenge is too old.", "要求の有効時間が過ぎました。")
        if self._used and now >= next(iter(self._used.values())) + CHALLENGE_GOOD:
            self._used = {c: at for c, at in self._used.items() if now < at + CHALLENGE_GOOD}
        if head in self._used:
            raise _refused("challenge-used", "The challenge was answered already.", "この要求には回答済みです。")
        if len(self._used) >= OUTSTANDING_MOST:
            raise Unavailable(
                "Too many sign in at once.",
                ja="サインインが集中しています。",
                remedy="Try again in some minutes.",
                remedy_ja="数分待ってから、もう一度お試しください。",
                code="crowded",
            )
        self._used[head] = given

    def _proof(self, head: bytes) -> bytes:
        return hmac.digest(self._key, b"renkei/v1/challenge" + head, "sha256")[:16]


class Presented(NamedTuple):
    """What somebody with a card sends."""

    certificate: bytes
    """DER."""
    signature: bytes


def signed(shown: Presented, message: bytes) -> x509.Certificate:
    """The certificate under whose key ``message`` was signed; ``NotGenuine`` otherwise. Not asked: who issued it, whether it is good."""
    certificate, public = _loaded(shown.certificate)
    if not isinstance(public, RSAPublicKey):
        raise _refused("certificate-usage", "The certificate is for something else.", "電子証明書の用途が異なります。")
    try:
        public.verify(shown.signature, message, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise _refused("signature-wrong", "The signature is wrong.", "署名が正しくありません。") from None
    return certificate


def _loaded(der: bytes) -> tuple[x509.Certificate, object]:
    """A certificate and its key; ``Malformed`` for what is none, or of a kind nobody here reads."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        return certificate, certificate.public_key()
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        raise Malformed(
            "This is no certificate.",
            ja="電子証明書ではありません。",
            remedy=AGAIN[0],
            remedy_ja=AGAIN[1],
            code="certificate",
        ) from None


def visible(text: str, besides: str = "") -> bool:
    """Whether a person can see all of it, or it is among ``besides``; the wide space of Japanese names counts as seen."""
    return all(c.isprintable() or c == "\u3000" or c in besides for c in text)


def readable(document: bytes) -> str:
    """A document as text, if it is all text that a person can see; nothing otherwise. What is signed unseen binds nobody to its words."""
    try:
        text = document.decode()
    except UnicodeDecodeError:
        return ""
    return text if visible(text, "\n\t") else ""


class Verifier:
    """Checks what a card signed. ``authorities`` are those trusted, by purpose."""

    def __init__(self, rules: Cards, authorities: Mapping[str, x509.Certificate], status: Status, clock: Clock) -> None:
        self._rules, self._authorities, self._status, self._clock = rules, dict(authorities), status, clock

    async def signed_in(
        self, shown: Presented, challenges: Challenges, audience: str, challenge: bytes
    ) -> x509.Certificate:
        """The authentication certificate of whoever answered this challenge of ours; ``NotGenuine`` with the reason otherwise."""
        message = authentication_message(audience, challenge)
        return await self.checked(shown, "authentication", message, answers=lambda: challenges.redeem(challenge))

    async def with_number(
        self, shown: Presented, challenges: Challenges, audience: str, challenge: bytes, number: str
    ) -> x509.Certificate:
        """The same of whoever answered with the card's number: identity and number in one step (Number Act art. 16)."""
        message = number_message(audience, challenge, number)
        return await self.checked(shown, "authentication", message, answers=lambda: challenges.redeem(challenge))

    async def checked(
        self,
        shown: Presented,
        purpose: str,
        message: bytes,
        *,
        at: int | None = None,
        answers: Callable[[], None] = lambda: None,
    ) -> x509.Certificate:
        """The certificate of ``purpose`` under which ``message`` was signed, valid now (or ``at``) and good; ``NotGenuine`` with the
        reason otherwise. ``answers`` is called once the signature is found genuine, before anybody is asked: so that who has no card
        uses up no challenge, and who has one uses it once."""
        certificate, _ = _loaded(shown.certificate)
        issuer = self._authorities[purpose]
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise _refused(
                "certificate-issuer",
                "The certificate is not of the authority for this.",
                "この用途の認証局が発行した電子証明書ではありません。",
            ) from None
        if not self._is_for(certificate, purpose):
            raise _refused(
                "certificate-usage", "The certificate is for something else.", "電子証明書の用途が異なります。"
            )
        signed(shown, message)
        now = self._clock() if at is None else at
        first, last = (
            int(m.timestamp() * 1000) for m in (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        )
        if not first - SKEW <= now <= last:
            raise _refused("certificate-expired", "The certificate is not valid now.", "電子証明書の有効期間外です。")
        answers()
        status = await self._status(certificate, issuer)
        if status != GOOD:
            raise _refused(
                f"certificate-{status}",
                f"The certificate is {status}.",
                STATUS_JA.get(status, "電子証明書が有効ではありません。"),
            )
        return certificate

    def _is_for(self, certificate: x509.Certificate, purpose: str) -> bool:
        try:
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
            policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
            named = {p.policy_identifier.dotted_string for p in policies}
            if self._rules.policies[purpose] not in named or not usage.digital_signature:
                return False
            if purpose == "signature":
                return usage.content_commitment
            extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            return ExtendedKeyUsageOID.CLIENT_AUTH in extended and not usage.content_commitment
        except x509.ExtensionNotFound:
            return False


STATUS_JA = {
    SUSPENDED: "電子証明書は一時停止されています。",
    REVOKED: "電子証明書は失効しています。",
    UNKNOWN: "認証局がこの電子証明書を知りません。",
}


def by_ocsp(clock: Clock, url: str = "") -> Status:
    """``Status`` by asking a responder over HTTP (RFC 6960), with a nonce: an old answer does not pass for a new one.

    Without ``url`` the responder is the one that the certificate names, which its issuer has signed.
    """

    async def status(certificate: x509.Certificate, issuer: x509.Certificate) -> str:
        nonce = os.urandom(16)
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256())
        question = builder.add_extension(x509.OCSPNonce(nonce), critical=False).build().public_bytes(Encoding.DER)
        _, raw = await fetch_bytes(
            url or _responder(certificate), question, kind="application/ocsp-request", most=100_000, within=5.0
        )
        return await asyncio.to_thread(read_answer, raw, certificate, issuer, nonce, clock())

    return status


def read_answer(raw: bytes, certificate: x509.Certificate, issuer: x509.Certificate, nonce: bytes, now: int) -> str:
    """What an OCSP answer says of a certificate; ``NotGenuine`` unless it is the issuer's responder's, to this question, and of now."""
    try:
        answer = ocsp.load_der_ocsp_response(raw)
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise Unavailable(
                "Whether your card is still good cannot be asked now.",
                ja="カードが有効かどうかを確認できません。",
                remedy="Nothing was done. Try again in some minutes.",
                remedy_ja="何も行っていません。数分待ってから、もう一度お試しください。",
                code="no-answer",
            )
        responder = answer.certificates[0]
        responder.verify_directly_issued_by(issuer)
        extended = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        public, algorithm = responder.public_key(), answer.signature_hash_algorithm
        if (
            ExtendedKeyUsageOID.OCSP_SIGNING not in extended
            or not isinstance(public, RSAPublicKey)
            or algorithm is None
        ):
            raise ValueError
        public.verify(answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), algorithm)
        given = next((e.value.nonce for e in answer.extensions if isinstance(e.value, x509.OCSPNonce)), b"")
        until = answer.next_update_utc
        of_now = (
            answer.this_update_utc.timestamp() * 1000 - SKEW <= now
            and until is not None
            and now <= until.timestamp() * 1000
            and responder.not_valid_before_utc.timestamp() * 1000 - SKEW
            <= now
            <= responder.not_valid_after_utc.timestamp() * 1000
        )
        if given != nonce or answer.serial_number != certificate.serial_number or not of_now:
            raise ValueError
    except (ValueError, TypeError, IndexError, InvalidSignature, x509.ExtensionNotFound):
        raise NotGenuine(
            "Whether your card is still good could not be made sure.",
            ja="カードが有効かどうかを確認できませんでした。",
            remedy="Nothing was done. Try again in some minutes; if it repeats, tell whoever runs this page.",
            remedy_ja="何も行っていません。数分待ってからお試しください。続く場合は、このページの運営者にお知らせください。",
            code="ocsp-wrong",
        ) from None
    if answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        held = answer.revocation_reason is x509.ReasonFlags.certificate_hold
        return SUSPENDED if held else REVOKED
    return GOOD if answer.certificate_status is ocsp.OCSPCertStatus.GOOD else UNKNOWN


def _responder(certificate: x509.Certificate) -> str:
    try:
        about = list(certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value)
    except x509.ExtensionNotFound:
        about = []
    found = [a.access_location.value for a in about if a.access_method == AuthorityInformationAccessOID.OCSP]
    if not found:
        raise _refused("certificate-silent", "The certificate names nobody to ask.", "失効情報の確認先がありません。")
    return str(found[0])


def _refused(code: str, sentence: str, ja: str) -> RenkeiError:
    remedy, remedy_ja = REMEDIES.get(code, AGAIN)
    return NotGenuine(sentence, ja=ja, code=code, remedy=remedy, remedy_ja=remedy_ja)


def attributes_of(rules: Cards, certificate: x509.Certificate) -> Attributes:
    """The four attributes of a signature certificate; ``Malformed`` if it has not these."""
    names = {oid: field for field, oid in rules.attributes.items()}
    try:
        others = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = {names[o.type_id.dotted_string]: _from_utf8(o.value) for o in others if isinstance(o, x509.OtherName)}
        return Attributes(**found)
    except (x509.ExtensionNotFound, KeyError, TypeError, ValueError):
        raise Malformed(
            "This is no signature certificate.", ja="署名用電子証明書ではありません。", code="card-attributes"
        ) from None


def _from_utf8(der: bytes) -> str:
    if der[:1] != b"\x0c":
        raise ValueError("no UTF8String")
    skip = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[skip:].decode()
