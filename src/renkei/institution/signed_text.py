"""Small signed texts, as QR codes and tokens hold them: a JWS (RFC 7515), ES256 over deflated JSON."""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

PAPER, COVER = "renkei-paper", "renkei-cover"
"""Kinds of texts, as ``typ`` in the header: what stands on a printed certificate; what an insurer said. One is never taken for another."""
TEXT_MOST = 100_000
"""Bytes of a text's content."""


def opened(text: str, keys: Sequence[Mapping[str, str]], typ: str) -> dict[str, Any] | None:
    """The claims of a text of kind ``typ`` that one of these keys (RFC 7517) signed; nothing if none did, or it is of another kind."""
    try:
        header, payload, signature = text.split(".")
        told = json.loads(_unb64(header))
        if told["typ"] != typ:
            return None
        jwk = next(k for k in keys if k["kid"] == told["kid"] and told["alg"] == "ES256" and told["zip"] == "DEF")
        x, y = (int.from_bytes(_unb64(jwk[c]), "big") for c in ("x", "y"))
        raw = _unb64(signature)
        if len(raw) != 64:
            return None
        der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        key.verify(der, f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA256()))
        inflate = zlib.decompressobj(-15)
        body = inflate.decompress(_unb64(payload), TEXT_MOST)
        claims = json.loads(body)
    except (ValueError, KeyError, TypeError, StopIteration, InvalidSignature, zlib.error):
        return None
    return claims if isinstance(claims, dict) else None


def _unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
