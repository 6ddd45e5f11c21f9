"""Dating documents (RFC 3161): whoever sends a digest gets it back with the time, signed. What is dated, nobody here sees."""

from __future__ import annotations

import datetime as dt
import secrets
from hashlib import sha256

from asn1crypto import algos, cms, core, tsp
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from renkei.institution.settings import Clock

ASKED_MOST = 10_000
DIGESTS = {"sha256": 32, "sha384": 48, "sha512": 64}


class _Refusal(core.Sequence):  # type: ignore[misc]  # untyped
    """A TimeStampResp without a token, which it may be without (RFC 3161 §2.4.2) and the library's may not."""

    _fields = [("status", tsp.PKIStatusInfo)]


class Timestamper:
    """Dates with one key and its certificate, under ``policy`` (an object identifier)."""

    def __init__(self, certificate: x509.Certificate, key: RSAPrivateKey, policy: str, clock: Clock) -> None:
        self._der = certificate.public_bytes(Encoding.DER)
        self._certificate, self._key = asn1.Certificate.load(self._der), key
        self._policy, self._clock = policy, clock

    def answer(self, question: bytes) -> bytes:
        """The answer to a question (DER both); what cannot be dated is told why (§2.4.2)."""
        try:
            if len(question) > ASKED_MOST:
                raise ValueError
            asked = tsp.TimeStampReq.load(question, strict=True)
            imprint, nonce, extra = asked["message_imprint"], asked["nonce"].native, asked["extensions"].native
            digest = imprint["hash_algorithm"]["algorithm"].native
            size = len(imprint["hashed_message"].native)
            policy, with_certificate = asked["req_policy"].native, bool(asked["cert_req"].native)
        except (ValueError, TypeError, KeyError):
            return _refused("bad_data_format")
        if DIGESTS.get(digest) != size:
            return _refused("bad_alg")
        if extra:
            return _refused("unaccepted_extensions")
        if policy not in (None, self._policy):
            return _refused("unaccepted_policy")
        now = dt.datetime.fromtimestamp(self._clock() / 1000, dt.UTC).replace(microsecond=0)
        told = {
            "version": "v1",
            "policy": self._policy,
            "message_imprint": imprint,
            "serial_number": secrets.randbits(120),
            "gen_time": now,
            "accuracy": {"seconds": 2},
            **({"nonce": nonce} if nonce is not None else {}),
        }
        content = tsp.TSTInfo(told).dump()
        token = self._signed(content, now, with_certificate=with_certificate)
        return bytes(tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token}).dump())

    def _signed(self, content: bytes, now: dt.datetime, *, with_certificate: bool) -> cms.ContentInfo:
        """CMS SignedData over the TSTInfo (RFC 5652 §5; the signing certificate named as RFC 5035 says)."""
        named = tsp.SigningCertificateV2({"certs": [{"cert_hash": sha256(self._der).digest()}]})
        attributes = cms.CMSAttributes(
            [
                cms.CMSAttribute({"type": "content_type", "values": ["tst_info"]}),
                cms.CMSAttribute({"type": "signing_time", "values": [cms.Time({"utc_time": core.UTCTime(now)})]}),
                cms.CMSAttribute({"type": "signing_certificate_v2", "values": [named]}),
                cms.CMSAttribute({"type": "message_digest", "values": [sha256(content).digest()]}),
            ]
        )
        signature = self._key.sign(attributes.dump(), padding.PKCS1v15(), hashes.SHA256())
        by = {"issuer": self._certificate.issuer, "serial_number": self._certificate.serial_number}
        signer = cms.SignerInfo(
            {
                "version": "v1",
                "sid": cms.SignerIdentifier({"issuer_and_serial_number": cms.IssuerAndSerialNumber(by)}),
                "digest_algorithm": algos.DigestAlgorithm({"algorithm": "sha256"}),
                "signed_attrs": attributes,
                "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": "sha256_rsa"}),
                "signature": signature,
            }
        )
        data = {
            "version": "v3",
            "digest_algorithms": [{"algorithm": "sha256"}],
            "encap_content_info": {"content_type": "tst_info", "content": cms.ParsableOctetString(content)},
            "signer_infos": [signer],
            **({"certificates": [self._certificate]} if with_certificate else {}),
        }
        return cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(data)})


def _refused(why: str) -> bytes:
    return bytes(_Refusal({"status": {"status": "rejection", "fail_info": {why}}}).dump())
