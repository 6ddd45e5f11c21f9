"""The seal of a public body on documents: a PDF that stays verifiable (PAdES B-LTA, ETSI EN 319 142-1), and a text for a QR code.

``seal/`` in the home folder::

    key.pem             the body's key (P-256); never leaves
    certificate.pem     its certificate, of the authority for official seals
    authority.pem       that authority's certificate
"""

from __future__ import annotations

import asyncio
import io
import json
import zlib
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

from asn1crypto import keys as asn1_keys
from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import tsp
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from renkei.errors import SetupError, Unavailable
from renkei.institution.outside import fetch_bytes
from renkei.institution.signed_text import opened

WITHIN = 10.0
NEW = ("key.pem", "certificate.pem", "authority.pem")


def new_key() -> ec.EllipticCurvePrivateKey:
    """A key for a seal."""
    return ec.generate_private_key(ec.SECP256R1())


class Seal:
    """A body's seal. ``dates`` is the address of who dates its documents (RFC 3161)."""

    def __init__(self, folder: Path, dates: str) -> None:
        try:
            key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
            self._certificate, self._authority = (
                x509.load_pem_x509_certificate((folder / name).read_bytes()) for name in NEW[1:]
            )
        except (OSError, ValueError) as error:
            raise _unusable(folder) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != self._certificate.public_key():
            raise _unusable(folder)
        self._key, self._dates = key, dates

    # ------------------------------------------------------------------ a text

    def jwk(self) -> dict[str, str]:
        """The public key, as a verifier's browser takes it (RFC 7517)."""
        numbers = self._key.public_key().public_numbers()
        coordinates = {c: _b64(n.to_bytes(32, "big")) for c, n in (("x", numbers.x), ("y", numbers.y))}
        return {"kty": "EC", "crv": "P-256", **coordinates, "alg": "ES256", "use": "sig", "kid": self._kid()}

    def text(self, typ: str, claims: dict[str, Any]) -> str:
        """``claims`` as a signed text of a kind, small enough for a QR code: a JWS (RFC 7515) over their deflated JSON."""
        squeezed = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode()
        payload = squeezed.compress(body) + squeezed.flush()
        header = json.dumps(
            {"alg": "ES256", "zip": "DEF", "kid": self._kid(), "typ": typ}, separators=(",", ":")
        ).encode()
        signed = f"{_b64(header)}.{_b64(payload)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def read(self, typ: str, text: str) -> dict[str, Any] | None:
        """The claims of a text of ours, of this kind; nothing if it is not."""
        return opened(text, [self.jwk()], typ)

    def _kid(self) -> str:
        return self._certificate.fingerprint(hashes.SHA256()).hex()[:16]

    # ------------------------------------------------------------------ a PDF

    async def pdf(self, document: bytes, reason: str) -> bytes:
        """The document sealed and dated, with all that is needed to verify it after the certificates' time.

        ``Unavailable`` if nobody dates it, or the authority does not say that the seal is good.
        """
        return await asyncio.to_thread(lambda: asyncio.run(self._pdf(document, reason)))

    async def _pdf(self, document: bytes, reason: str) -> bytes:
        from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
        from pyhanko.sign import signers
        from pyhanko.sign.fields import SigSeedSubFilter
        from pyhanko.sign.general import SigningError
        from pyhanko_certvalidator import ValidationContext
        from pyhanko_certvalidator.registry import SimpleCertificateStore

        dates = _Dates(self._dates)
        stamped = await dates.certificate()
        answers = [await self._status(c) for c in (self._certificate, stamped)]
        authority = _asn1(self._authority)
        known = SimpleCertificateStore()  # type: ignore[no-untyped-call]  # the library's
        known.register(authority)
        context = ValidationContext(
            trust_roots=[authority],
            other_certs=[_asn1(stamped)],
            ocsps=[asn1_ocsp.OCSPResponse.load(a) for a in answers],
            allow_fetching=False,
            revocation_mode="hard-fail",
        )
        der = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        signer = signers.SimpleSigner(_asn1(self._certificate), asn1_keys.PrivateKeyInfo.load(der), known)
        about = signers.PdfSignatureMetadata(
            field_name="Seal",
            md_algorithm="sha256",
            reason=reason,
            subfilter=SigSeedSubFilter.PADES,
            validation_context=context,
            embed_validation_info=True,
            use_pades_lta=True,
        )
        writer = IncrementalPdfFileWriter(io.BytesIO(document))
        try:
            made = await signers.async_sign_pdf(writer, about, signer=signer, timestamper=dates.stamper())
        except SigningError as error:
            raise Unavailable(
                "The seal is not good now.",
                ja="電子署名を付けられません。",
                code="seal",
                remedy="Tell the office that issued it.",
                remedy_ja="担当窓口にお知らせください。",
            ) from error
        return bytes(made.getvalue())

    async def _status(self, certificate: x509.Certificate) -> bytes:
        """What the authority says of a certificate now (OCSP)."""
        about = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        where = next(a.access_location.value for a in about if a.access_method == AuthorityInformationAccessOID.OCSP)
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, self._authority, hashes.SHA1())  # noqa: S303 - names an issuer
        question = builder.build().public_bytes(Encoding.DER)
        _, answer = await fetch_bytes(where, question, kind="application/ocsp-request", within=WITHIN)
        return answer


class _Dates:
    """Who dates documents, as pyHanko wants it: asked over HTTP, in a bounded time."""

    def __init__(self, url: str) -> None:
        from pyhanko.sign.timestamps import TimeStamper

        async def ask(question: tsp.TimeStampReq) -> tsp.TimeStampResp:
            _, raw = await fetch_bytes(url, question.dump(), kind="application/timestamp-query", within=WITHIN)
            return tsp.TimeStampResp.load(raw)

        class Asking(TimeStamper):
            async def async_request_tsa_response(self, req: tsp.TimeStampReq) -> tsp.TimeStampResp:
                return await ask(req)

        self._stamper = Asking()  # type: ignore[no-untyped-call]  # its parent's

    def stamper(self) -> Any:
        return self._stamper

    async def certificate(self) -> x509.Certificate:
        """Whose key dates."""
        try:
            token = await self._stamper.async_timestamp(sha256(b"").digest(), "sha256")
            return x509.load_der_x509_certificate(token["content"]["certificates"][0].chosen.dump())
        except (ValueError, TypeError, IndexError, KeyError):
            raise Unavailable("Nobody dates documents now.", ja="時刻認証を受けられません。", code="dates") from None


def _asn1(certificate: x509.Certificate) -> asn1.Certificate:
    return asn1.Certificate.load(certificate.public_bytes(Encoding.DER))


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _unusable(folder: Path) -> SetupError:
    return SetupError(
        f"{folder} holds no seal: {', '.join(NEW)}, of one key.",
        ja=f"{folder} に電子署名用の鍵と証明書がありません。",
        code="seal",
        remedy="Have the key certified with `renkei certification certify`.",
        remedy_ja="`renkei certification certify` で証明書の発行を受けてください。",
    )
