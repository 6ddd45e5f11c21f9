"""``python -m bench.cards``: what the certification authorities and a card manage, beside what their token and RSA alone would allow.

Writes ``bench/results/cards.json``. Each figure is the median of rounds that took turns, so that a noisy moment strikes all alike.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.card.layout import Attributes
from renkei.card.virtual import CardFile
from renkei.certification.office import Holder
from renkei.certification.production import Pins
from renkei.certification.service import Certification, Settings, hold_ceremony
from renkei.institution.relying import Challenges, Presented, Verifier, authentication_message, read_answer

RESULT = Path("bench/results/cards.json")
ROUNDS = 5
HOLDER = Attributes("連携 花子", "恵仁県大橋市本町一丁目2番3号", "19990401", "2")


def rate(work: Callable[[], Any], seconds: float = 0.5) -> float:
    """How often a second."""
    began, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        work()
        count += 1
    return count / spent


def another_key() -> rsa.RSAPublicKey:
    """A public key nobody has the private one of: making real ones would be most of what is measured."""
    return rsa.RSAPublicNumbers(65537, secrets.randbits(2048) | 1 << 2047 | 1).public_key()


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="renkei-cards-") as name:
        folder = Path(name)
        settings = Settings(title="Bench", base="http://127.0.0.1:1", pack=str(Path("packs/japan").absolute()))
        hold_ceremony(folder / "ca", settings, ("A", "B"), lambda _: None)
        here = Certification(folder / "ca")
        try:
            return _measure(here, folder)
        finally:
            here.close()


def _measure(here: Certification, folder: Path) -> dict[str, Any]:
    with asyncio.Runner() as runner:
        office, do = here.office, runner.run
        key = rsa.generate_private_key(65537, 2048)
        holder = Holder("EN0000000000", dt.date(2099, 1, 1), dt.date(1999, 4, 1), HOLDER)
        made = do(office.issue("authentication", key.public_key(), holder))
        issuer = office.authority("authentication")

        def question(nonce: bool) -> bytes:
            builder = ocsp.OCSPRequestBuilder().add_certificate(made, issuer, hashes.SHA1())
            if nonce:
                builder = builder.add_extension(x509.OCSPNonce(os.urandom(16)), critical=False)
            return builder.build().public_bytes(Encoding.DER)

        plain = question(False)
        file = CardFile(folder / "card.json")
        file.keep(here.producer.blank())
        client = CardClient(file.chip().transmit)
        do(here.producer.personalise(client, holder, "123456789018"))
        here.producer.hand_over(client, Pins("1234", "ABC123", "9876"))
        challenges = Challenges(os.urandom(32), here.clock)
        trusted = {p: office.authority(p) for p in ("authentication", "signature")}

        async def status(certificate: x509.Certificate, by: x509.Certificate) -> str:
            raw = await office.answer(question(True))
            nonce = ocsp.load_der_ocsp_response(raw).extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
            return read_answer(raw, certificate, by, nonce, here.clock())

        verifier = Verifier(here.pack.header.cards, trusted, status, here.clock)

        def sign_in() -> None:
            challenge = challenges.new()
            message = authentication_message("https://portal.example", challenge)
            shown = Presented(made.public_bytes(Encoding.DER), key.sign(message, padding.PKCS1v15(), hashes.SHA256()))
            do(verifier.signed_in(shown, challenges, "https://portal.example", challenge))

        by_token = here.office._authorities["authentication"].responder_key
        works: dict[str, Callable[[], Any]] = {
            "token_signatures": lambda: by_token.sign(b"x", padding.PKCS1v15(), hashes.SHA256()),
            "rsa_signatures": lambda: key.sign(b"x", padding.PKCS1v15(), hashes.SHA256()),
            "ocsp_ahead": lambda: do(office.answer(plain)),
            "ocsp_nonce": lambda: do(office.answer(question(True))),
            "sign_ins": sign_in,
            "issued": lambda: do(office.issue("authentication", another_key(), holder)),
            "card_signatures": lambda: client.sign(AUTHENTICATION, "1234", os.urandom(32)),
        }
        seen: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(ROUNDS):
            for name, work in works.items():
                seen[name].append(rate(work))
        return {f"{name}_per_second": round(statistics.median(v)) for name, v in seen.items()}


if __name__ == "__main__":
    found = {"command": "python -m bench.cards", "date": dt.datetime.now(dt.UTC).date().isoformat(), **measure()}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found))
