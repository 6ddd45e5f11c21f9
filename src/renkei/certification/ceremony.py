"""The key ceremony: the authorities' keys made in the token, before witnesses, with a transcript that anyone can hold against the log."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from renkei.certification import profiles
from renkei.certification.office import RESPONDER_DAYS, Authority
from renkei.certification.tokens import Token
from renkei.errors import Malformed, SetupError
from renkei.law import Pack

CA_BITS, RESPONDER_BITS = 3072, 2048
TRANSCRIPT = "transcript.txt"
WITNESSES_LEAST = 2


def hold(
    folder: Path,
    token: Token,
    pack: Pack,
    title: str,
    witnesses: Sequence[str],
    now: dt.datetime,
    say: Callable[[str], None],
) -> bytes:
    """Make the authorities' keys and certificates, once; the transcript's SHA-256. ``say`` is called with each step as it is done."""
    if len({w.strip() for w in witnesses if w.strip()}) < WITNESSES_LEAST:
        raise Malformed(
            "A key ceremony has two witnesses at least.", ja="鍵の生成には、立会人が2人以上必要です。", code="witnesses"
        )
    if (folder / TRANSCRIPT).exists():
        raise SetupError("The ceremony was held already.", ja="鍵の生成は実施済みです。", code="ceremony")
    steps: list[str] = []

    def step(text: str) -> None:
        steps.append(f"{len(steps) + 1}. {text}")
        say(steps[-1])

    step(f"{now.isoformat(timespec='seconds')}: key ceremony of {title}.")
    step(f"Witnesses: {', '.join(w.strip() for w in witnesses)}.")
    step(f"Token: {token.description}.")
    step(f"Law: {pack.reference}.")
    for purpose in profiles.AUTHORITIES:
        key = token.generate(f"{purpose}-ca", CA_BITS)
        step(
            f"{purpose}: a key of {key.key_size} bits was made in the token and cannot leave it. SHA-256 of its public key:"
        )
        step(sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest())
        builder = profiles.authority_certificate(pack.header.cards, purpose, title, key.public_key(), now)
        certificate = builder.sign(key, hashes.SHA256())
        (folder / f"{purpose}-ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        step(f"{purpose}: its certificate was signed by itself. SHA-256 of the certificate:")
        step(certificate.fingerprint(hashes.SHA256()).hex())
    text = "\n".join(steps) + "\n"
    (folder / TRANSCRIPT).write_text(text, "utf-8")  # last: without it the ceremony was not held
    return sha256(text.encode()).digest()


def authorities(folder: Path, token: Token, now: dt.datetime) -> dict[str, Authority]:
    """The authorities as the ceremony left them, each with a responder that is good for some time."""
    found = {}
    for purpose in profiles.AUTHORITIES:
        path = folder / f"{purpose}-ca.pem"
        if not path.exists():
            raise SetupError(
                "There was no key ceremony yet.",
                ja="鍵の生成がまだ行われていません。",
                remedy="Hold it with `renkei certification ceremony`.",
                remedy_ja="`renkei certification ceremony` を実施してください。",
                code="no-ceremony",
            )
        certificate, key = x509.load_pem_x509_certificate(path.read_bytes()), token.key(f"{purpose}-ca")
        if certificate.public_key() != key.public_key():
            raise SetupError("The token's key is not the certificate's.", code="token-key")
        signs = f"{purpose}-responder"
        responder_key = token.key(signs) if token.has(signs) else token.generate(signs, RESPONDER_BITS)
        builder = profiles.responder_certificate(certificate, responder_key.public_key(), now, RESPONDER_DAYS)
        found[purpose] = Authority(purpose, certificate, key, builder.sign(key, hashes.SHA256()), responder_key)
    return found
