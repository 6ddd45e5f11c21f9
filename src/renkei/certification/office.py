"""The office of the authorities: issues, revokes, suspends, and answers for it (CRL: RFC 5280; OCSP: RFC 6960).

Each issue and each change of a certificate is a leaf of a transparency log of its own, appended in the transaction that makes it so:
which certificate (by hash), what, why, when; never whose.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

from renkei.card.layout import Attributes
from renkei.certification import profiles, store
from renkei.certification.profiles import OFFICIAL, REASONS, Addresses
from renkei.errors import Conflict, Malformed, NotFound
from renkei.institution.database import Database
from renkei.institution.settings import Clock
from renkei.law import Pack
from renkei.ledger import store as log
from renkei.ledger.notes import Checkpoint, Signer

ANSWER_GOOD = dt.timedelta(hours=6)
"""How long an OCSP answer is good; one signed ahead is signed anew after half of it."""
LIST_GOOD = dt.timedelta(days=1)
RESPONDER_DAYS = 30
NAMED_BY = (hashes.SHA1(), hashes.SHA256())  # noqa: S303 - names an issuer in a question (RFC 6960), protects nothing
ASKED_MOST = 10_000
"""Bytes of a question."""


class Authority(NamedTuple):
    """One hierarchy: its certificate, its key in the token, and who signs OCSP answers for it."""

    purpose: str
    certificate: x509.Certificate
    key: RSAPrivateKey
    responder: x509.Certificate
    responder_key: RSAPrivateKey


class Happening(msgspec.Struct, frozen=True, array_like=True, tag="certificate/1"):
    """A leaf of the log. ``what`` is issued, revoked, suspended, released or ceremony."""

    what: str
    purpose: str
    serial: str
    digest: bytes
    """SHA-256 of the certificate, or of the ceremony's transcript."""
    reason: str
    time: int


def key_digest(public: Any) -> bytes:
    """What a key is known by here: the SHA-256 of its SubjectPublicKeyInfo."""
    return sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


class Holder(NamedTuple):
    """Whom a certificate is for, as far as its profile needs it."""

    card: str
    """The card's number."""
    card_last: dt.date
    birth: dt.date
    attributes: Attributes


class Office:
    """The authorities at work. ``pack`` answers the law in force."""

    def __init__(
        self,
        authorities: Mapping[str, Authority],
        database: Database,
        signer: Signer,
        pack: Callable[[], Pack],
        addresses: Callable[[str], Addresses],
        clock: Clock,
    ) -> None:
        self._authorities, self._database, self._signer = dict(authorities), database, signer
        self._pack, self._addresses, self._clock = pack, addresses, clock
        self._named = {_named(a.certificate, name): a for a in authorities.values() for name in NAMED_BY}

    def begin(self, transcript: bytes) -> None:
        """The first entry of the log is the key ceremony, by its transcript's SHA-256. Does nothing if there is one."""
        happening = Happening("ceremony", "", "", transcript, "", self._clock())

        def commit(connection: sa.Connection) -> None:
            if log.newest(connection) is None:
                self._record(connection, happening)

        self._database.write_now(commit)

    # ------------------------------------------------------------------ issuing

    async def issue(
        self, purpose: str, public: RSAPublicKey, holder: Holder, *, renews: x509.Certificate | None = None
    ) -> x509.Certificate:
        """A certificate over a key that was made on the card; in the log when it is answered.

        A key is certified once: one that signs in and signs documents could be made to do the one by the other.
        """
        authority, rules, time = self._authorities[purpose], self._pack().header.cards, self._clock()
        now, today = _moment(time), self._pack().day(time)
        renewed = self._day(renews.not_valid_after_utc) if renews else None
        last = profiles.certificate_expires(rules, holder.birth, today, holder.card_last, renewed)
        if last < today:
            raise Conflict("The card's time is over.", ja="カードの有効期間が満了しています。", code="card-expired")
        end = dt.datetime.combine(last, dt.time(23, 59, 59), self._pack().zone).astimezone(dt.UTC)
        attributes = holder.attributes if purpose == "signature" else None
        builder = profiles.holder_certificate(
            rules, purpose, authority.certificate, public, now, end, self._addresses(purpose), attributes
        )
        return await self._sign_and_keep(authority, builder, holder.card, time)

    async def issue_official(self, title: str, public: profiles.PublicKey, *, dates: bool = False) -> x509.Certificate:
        """The certificate of a public body's seal, over a key that is the body's; with ``dates``, of who dates documents."""
        authority, time = self._authorities[OFFICIAL], self._clock()
        now = _moment(time)
        end = now.replace(year=now.year + profiles.OFFICIAL_YEARS, day=min(now.day, 28))
        builder = profiles.official_certificate(
            self._pack().header.cards,
            authority.certificate,
            title,
            public,
            now,
            end,
            self._addresses(OFFICIAL),
            dates=dates,
        )
        return await self._sign_and_keep(authority, builder, "", time)

    async def _sign_and_keep(
        self, authority: Authority, builder: x509.CertificateBuilder, card: str, time: int
    ) -> x509.Certificate:
        made = await asyncio.to_thread(lambda: builder.sign(authority.key, hashes.SHA256()))
        der, serial = made.public_bytes(Encoding.DER), _hex(made.serial_number)
        row: dict[str, Any] = {
            "serial": serial,
            "purpose": authority.purpose,
            "card": card,
            "key": key_digest(made.public_key()),
            "der": der,
            "last": int(made.not_valid_after_utc.timestamp() * 1000),
            "state": store.GOOD,
            "reason": "",
            "since": time,
        }
        happening = Happening("issued", authority.purpose, serial, sha256(der).digest(), "", time)

        def commit(connection: sa.Connection) -> None:
            if store.is_certified(connection, row["key"]):
                raise Conflict(
                    "This key has a certificate.", ja="この鍵には既に電子証明書があります。", code="key-certified"
                )
            store.add(connection, row)
            self._record(connection, happening)

        await self._database.write(commit)
        return made

    # ------------------------------------------------------------------ what becomes of it

    async def revoke(self, serial: str, reason: str) -> None:
        """For good. ``Conflict`` if it is revoked already."""
        if reason not in REASONS or reason == "suspended":
            raise Malformed(
                f"`{reason}` is no reason of the law's.", ja="失効の理由が正しくありません。", code="reason"
            )
        await self._move(serial, (store.GOOD, store.SUSPENDED), store.REVOKED, "revoked", reason)

    async def revoke_card(self, card: str, reason: str) -> list[str]:
        """Every certificate of a card that the reason ends (a move or another name: the signature's alone); their serial numbers."""
        rows = await self._database.read(lambda c: store.of_card(c, card))
        bound = reason in profiles.ATTRIBUTE_BOUND
        ended = [r.serial for r in rows if r.state != store.REVOKED and (not bound or r.purpose == "signature")]
        for serial in ended:
            await self.revoke(serial, reason)
        return ended

    async def suspend(self, serial: str) -> None:
        """For a while: the holder says the card is lost."""
        await self._move(serial, (store.GOOD,), store.SUSPENDED, "suspended", "suspended")

    async def release(self, serial: str) -> None:
        """The card was found: good again."""
        await self._move(serial, (store.SUSPENDED,), store.GOOD, "released", "")

    async def _move(self, serial: str, before: tuple[str, ...], after: str, what: str, reason: str) -> None:
        now = self._clock()

        def commit(connection: sa.Connection) -> None:
            row = store.get(connection, serial)
            if row is None:
                raise _unknown()
            if not store.move(connection, serial, before, after, reason, now):
                raise Conflict(
                    f"The certificate is {row.state}.",
                    ja="電子証明書の状態が異なります。",
                    code=f"certificate-{row.state}",
                )
            digest = sha256(bytes(row.der)).digest()
            self._record(connection, Happening(what, row.purpose, serial, digest, reason, now))

        await self._database.write(commit)

    def _record(self, connection: sa.Connection, happening: Happening) -> None:
        """Append to the log: one leaf and its checkpoint, in the caller's transaction."""
        tree, head = log.open_tree(connection, self._database.engine), log.newest(connection)
        entry = msgspec.msgpack.encode(happening)
        leaf = log.Leaf.of(happening.what, os.urandom(16), entry)
        first, filled = tree.size, tree.append([leaf.hash])
        text = Checkpoint(self._signer.verifier.name, tree.size, tree.root()).to_text()
        time = max(happening.time, head.time if head else 0)
        log.append(connection, first, [leaf], filled)
        log.put_checkpoint(connection, log.Head(tree.size, first, time, f"{text}\n{self._signer.sign(text)}"))

    # ------------------------------------------------------------------ answering

    async def answer(self, question: bytes) -> bytes:
        """The answer to an OCSP question (DER both). Without a nonce it was signed ahead; what is no question is told so."""
        try:
            if len(question) > ASKED_MOST:
                raise ValueError
            asked = ocsp.load_der_ocsp_request(question)
            authority = self._named.get((asked.hash_algorithm.name, asked.issuer_name_hash, asked.issuer_key_hash))
            nonce = next((e.value for e in asked.extensions if isinstance(e.value, x509.OCSPNonce)), None)
            if nonce is not None and not 1 <= len(nonce.nonce) <= 32:  # RFC 9654
                raise ValueError
        except (ValueError, NotImplementedError, UnsupportedAlgorithm):
            return _told(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        if authority is None:
            return _told(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        serial = _hex(asked.serial_number)
        row = await self._database.read(lambda c: store.get(c, serial))
        if row is None or row.purpose != authority.purpose:
            row = None
        ahead = row is not None and nonce is None and asked.hash_algorithm.name == "sha1"
        fresh = self._clock() - ANSWER_GOOD.total_seconds() * 500
        if ahead and row is not None and row.answer is not None and row.answered_at > fresh:
            return bytes(row.answer)
        made = await asyncio.to_thread(self._sign, authority, asked, row, nonce)
        if ahead and row is not None:
            state, now = row.state, self._clock()
            await self._database.write(lambda c: store.keep_answer(c, serial, state, made, now))
        return made

    def _sign(
        self,
        authority: Authority,
        asked: ocsp.OCSPRequest,
        row: sa.Row[tuple[object, ...]] | None,
        nonce: x509.OCSPNonce | None,
    ) -> bytes:
        now, status, since, why = self._now(), ocsp.OCSPCertStatus.UNKNOWN, None, None
        if row is not None:
            status = ocsp.OCSPCertStatus.GOOD
            if row.state != store.GOOD:
                status, since, why = ocsp.OCSPCertStatus.REVOKED, _moment(row.since), REASONS[row.reason]
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                asked.issuer_name_hash,
                asked.issuer_key_hash,
                asked.serial_number,
                asked.hash_algorithm,
                status,
                now,
                now + ANSWER_GOOD,
                since,
                why,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, authority.responder)
            .certificates([authority.responder])
        )
        if nonce is not None:
            builder = builder.add_extension(nonce, critical=False)
        return builder.sign(authority.responder_key, hashes.SHA256()).public_bytes(Encoding.DER)

    async def revocation_list(self, purpose: str) -> bytes:
        """The list of what is not good (DER)."""
        authority, now = self._authorities[purpose], self._now()
        rows = await self._database.read(lambda c: store.not_good(c, purpose, self._clock()))
        number = await self._database.read(lambda c: h.size if (h := log.newest(c)) else 0)

        def make() -> bytes:
            builder = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(authority.certificate.subject)
                .last_update(now)
                .next_update(now + LIST_GOOD)
                .add_extension(x509.CRLNumber(number), critical=False)
            )
            for row in rows:
                one = (
                    x509.RevokedCertificateBuilder()
                    .serial_number(int(row.serial, 16))
                    .revocation_date(_moment(row.since))
                )
                one = one.add_extension(x509.CRLReason(REASONS[row.reason]), critical=False)
                builder = builder.add_revoked_certificate(one.build())
            return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER)

        return await asyncio.to_thread(make)

    def authority(self, purpose: str) -> x509.Certificate:
        """The authority's own certificate."""
        return self._authorities[purpose].certificate

    def _now(self) -> dt.datetime:
        return _moment(self._clock())

    def _day(self, moment: dt.datetime) -> dt.date:
        return self._pack().day(int(moment.timestamp() * 1000))


def _named(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> tuple[str, bytes, bytes]:
    """By what an OCSP question names an issuer: the hashes of its name and of its key's bits (RFC 6960 §4.1.1)."""
    public = certificate.public_key()
    assert isinstance(public, RSAPublicKey)

    def digest(data: bytes) -> bytes:
        made = hashes.Hash(algorithm)
        made.update(data)
        return made.finalize()

    key = public.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    return algorithm.name, digest(certificate.subject.public_bytes()), digest(key)


def _told(status: ocsp.OCSPResponseStatus) -> bytes:
    return ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)


def _hex(serial: int) -> str:
    return f"{serial:x}"


def _moment(time: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time // 1000, dt.UTC)


def _unknown() -> NotFound:
    return NotFound("There is no such certificate.", ja="この電子証明書はありません。", code="no-certificate")
