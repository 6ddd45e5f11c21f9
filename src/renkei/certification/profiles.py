"""What stands in a certificate, and until when it is good.

The authentication certificate says nothing of its holder but a name made up for it; the signature certificate carries the four attributes
(Act on Certification Business of the Japan Agency for Local Authority Information Systems, art. 3, 22), and is revoked when one changes.
"""

from __future__ import annotations

import datetime as dt
import secrets
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from renkei.card.layout import Attributes
from renkei.errors import Malformed
from renkei.law.header import Cards

PURPOSES = ("authentication", "signature")
"""Of the two certificates on a card."""
OFFICIAL = "official"
"""The third authority certifies the seals of public bodies, and who dates documents."""
AUTHORITIES = (*PURPOSES, OFFICIAL)
REASONS: dict[str, x509.ReasonFlags] = {
    "moved": x509.ReasonFlags.affiliation_changed,
    "renamed": x509.ReasonFlags.affiliation_changed,
    "died": x509.ReasonFlags.cessation_of_operation,
    "left": x509.ReasonFlags.cessation_of_operation,
    "lost": x509.ReasonFlags.key_compromise,
    "reissued": x509.ReasonFlags.superseded,
    "returned": x509.ReasonFlags.cessation_of_operation,
    "suspended": x509.ReasonFlags.certificate_hold,
}
"""Why a certificate is no longer good, in the law's words, and as RFC 5280 (§5.3.1) says it. ``suspended`` alone can be undone."""
ATTRIBUTE_BOUND = ("moved", "renamed")
"""Reasons for which the signature certificate alone goes: it is the one that carries the attributes."""
CA_YEARS = 10
OFFICIAL_YEARS = 5


PublicKey = RSAPublicKey | EllipticCurvePublicKey


class Addresses(NamedTuple):
    """Where an authority's answers are found; they stand in every certificate."""

    ocsp: str
    crl: str
    ca: str


def birthday(birth: dt.date, year: int) -> dt.date:
    """The birthday in ``year``; who was born on 29 February has it on the 28th in other years."""
    try:
        return birth.replace(year=year)
    except ValueError:
        return dt.date(year, 2, 28)


def nth_birthday(birth: dt.date, after: dt.date, n: int) -> dt.date:
    """The ``n``-th birthday after the day ``after``."""
    first = after.year if birthday(birth, after.year) > after else after.year + 1
    return birthday(birth, first + n - 1)


def card_expires(rules: Cards, birth: dt.date, on: dt.date) -> dt.date:
    """The last day of a card issued on ``on``: the tenth birthday after, of a minor the fifth."""
    adult = birthday(birth, birth.year + rules.adult_from) <= on
    return nth_birthday(birth, on, rules.birthdays if adult else rules.birthdays_minor)


def certificate_expires(
    rules: Cards, birth: dt.date, on: dt.date, card: dt.date, renewed: dt.date | None = None
) -> dt.date:
    """The last day of a certificate issued on ``on``: the fifth birthday after, or the card's last day if that is earlier.

    ``renewed`` is the last day of the certificate it takes the place of: within three months before that, it is the sixth.
    """
    early = renewed is not None and _months_before(renewed, rules.renewed_within_months) <= on <= renewed
    return min(nth_birthday(birth, on, rules.certificate_birthdays + early), card)


def _months_before(day: dt.date, months: int) -> dt.date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    for at in range(day.day, 0, -1):
        try:
            return dt.date(year, month + 1, at)
        except ValueError:
            continue
    raise AssertionError("a month has a first day")


def authority_certificate(
    rules: Cards, purpose: str, title: str, public: RSAPublicKey, now: dt.datetime
) -> x509.CertificateBuilder:
    """An authority's own certificate, to be signed by itself."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, rules.country),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, title),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, f"Renkei {purpose} CA"),
        ]
    )
    key_id = x509.SubjectKeyIdentifier.from_public_key(public)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now.replace(year=now.year + CA_YEARS, day=min(now.day, 28)))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(key_id, critical=False)
    )


def holder_certificate(
    rules: Cards,
    purpose: str,
    issuer: x509.Certificate,
    public: RSAPublicKey,
    first: dt.datetime,
    last: dt.datetime,
    addresses: Addresses,
    attributes: Attributes | None,
) -> x509.CertificateBuilder:
    """A resident's certificate; ``attributes`` stand in that for signatures, and in no other. ``Malformed`` for another key."""
    if public.key_size != 2048 or public.public_numbers().e != 65537:
        raise Malformed("A card's key has 2,048 bits.", ja="カードの鍵は2048ビットです。", code="card-key")
    if (attributes is not None) != (purpose == "signature"):
        raise Malformed("Attributes stand in the signature certificate alone.", code="card-attributes")
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, rules.country),
            x509.NameAttribute(NameOID.COMMON_NAME, secrets.token_hex(12)),  # says nothing, of any two cards
        ]
    )
    usage = _usage(digital_signature=True, content_commitment=purpose == "signature")
    builder = (
        _certificate(name, issuer, public, first, last, addresses)
        .add_extension(usage, critical=True)
        .add_extension(x509.CertificatePolicies([_policy(rules.policies[purpose])]), critical=True)
    )
    if attributes is None:
        return builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    named = [
        x509.OtherName(x509.ObjectIdentifier(rules.attributes[k]), _utf8(v)) for k, v in attributes._asdict().items()
    ]
    return builder.add_extension(x509.SubjectAlternativeName(named), critical=False)


def official_certificate(
    rules: Cards,
    issuer: x509.Certificate,
    title: str,
    public: PublicKey,
    first: dt.datetime,
    last: dt.datetime,
    addresses: Addresses,
    *,
    dates: bool = False,
) -> x509.CertificateBuilder:
    """The certificate of a public body's seal on documents, in the body's name; with ``dates``, of who dates them (RFC 3161 §2.3)."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, rules.country),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, title),
            x509.NameAttribute(NameOID.COMMON_NAME, "Time stamps" if dates else "Official seal"),
        ]
    )
    builder = (
        _certificate(name, issuer, public, first, last, addresses)
        .add_extension(_usage(digital_signature=True, content_commitment=not dates), critical=True)
        .add_extension(x509.CertificatePolicies([_policy(rules.policies[OFFICIAL])]), critical=False)
    )
    if dates:
        return builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    return builder


def _certificate(
    name: x509.Name,
    issuer: x509.Certificate,
    public: PublicKey,
    first: dt.datetime,
    last: dt.datetime,
    addresses: Addresses,
) -> x509.CertificateBuilder:
    """What every certificate that is asked about has: who, by whom, from when to when, and where to ask."""
    about = [
        _access(AuthorityInformationAccessOID.OCSP, addresses.ocsp),
        _access(AuthorityInformationAccessOID.CA_ISSUERS, addresses.ca),
    ]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(_authority_key(issuer), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(_crl_at(addresses.crl), critical=False)
        .add_extension(x509.AuthorityInformationAccess(about), critical=False)
    )


def responder_certificate(
    issuer: x509.Certificate, public: RSAPublicKey, now: dt.datetime, days: int
) -> x509.CertificateBuilder:
    """Who signs OCSP answers for an authority (RFC 6960 §4.2.2.2); short-lived, and itself not asked about."""
    name = x509.Name([*issuer.subject, x509.NameAttribute(NameOID.COMMON_NAME, "OCSP responder")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), critical=True)
        .add_extension(x509.OCSPNoCheck(), critical=False)
        .add_extension(_authority_key(issuer), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(**used: bool) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: used.get(name, False) for name in every})


def _policy(oid: str) -> x509.PolicyInformation:
    return x509.PolicyInformation(x509.ObjectIdentifier(oid), None)


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    key_id = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(key_id)


def _crl_at(address: str) -> x509.CRLDistributionPoints:
    where = [x509.UniformResourceIdentifier(address)]
    return x509.CRLDistributionPoints([x509.DistributionPoint(where, None, None, None)])


def _access(method: x509.ObjectIdentifier, address: str) -> x509.AccessDescription:
    return x509.AccessDescription(method, x509.UniformResourceIdentifier(address))


def _utf8(text: str) -> bytes:
    """A UTF8String in DER (X.690 §8.23)."""
    data = text.encode()
    size = len(data)
    head = (
        bytes([size])
        if size < 0x80
        else bytes([0x82]) + size.to_bytes(2, "big")
        if size > 0xFF
        else bytes([0x81, size])
    )
    return b"\x0c" + head + data
