"""The floor: what the cryptography of one whole inquiry costs on this machine, measured piece by piece in the same run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from renkei.codes import Ciphertext, Converter, Domain, combine_shares, decrypt, encrypt, group
from renkei.messages.signing import Identity, SealKey, is_signed, open_answer, seal_answer
from renkei.messages.wire import Content

ROUNDS = 7


def median_us(work: Callable[[], object], repeat: int = 150) -> float:
    """Median over ROUNDS of the mean microseconds of ``work``."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(repeat):
            work()
        found.append((time.perf_counter() - began) / repeat * 1e6)
    return statistics.median(found)


def measure() -> dict[str, float]:
    """Microseconds of each primitive."""
    hub, commission = Converter(os.urandom(64)), Converter(os.urandom(64))
    x, z = Domain("x"), Domain("z")
    key = combine_shares(hub.key_share(x), commission.key_share(x))
    code = group.multiply_base(group.random_scalar())
    ciphertext = encrypt(code, key)
    identity, seal = Identity("x", os.urandom(32)), SealKey()
    message = b"renkei/v1/sign" + bytes(500)
    signature = identity.signature(message)
    content = Content("local-tax", 1, [{"annual_tax": 1}])
    sealed = seal_answer(content, seal.public, b"id")
    raw = ciphertext.to_bytes()
    return {
        "sign": median_us(lambda: identity.signature(message)),
        "verify": median_us(lambda: is_signed(message, signature, identity.public)),
        "encrypt_code": median_us(lambda: encrypt(code, key)),
        "check_ciphertext": median_us(lambda: Ciphertext.from_bytes(raw)),
        "convert": median_us(lambda: hub.convert(x, z, ciphertext)),
        "decrypt_code": median_us(lambda: decrypt(ciphertext, key)),
        "hpke_key": median_us(SealKey),
        "hpke_seal": median_us(lambda: seal_answer(content, seal.public, b"id")),
        "hpke_open": median_us(lambda: open_answer(sealed, seal, b"id")),
    }


def measure_busy(cores: int) -> dict[str, float]:
    """The same with every core at it: what the primitives cost while the nation runs (cores may share what is below them)."""
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_measure, range(cores)))
    return {name: statistics.mean(f[name] for f in found) for name in found[0]}


def _measure(_: int) -> dict[str, float]:
    return measure()


def floor_us(p: dict[str, float]) -> float:
    """The sum over one whole inquiry, from the requester's key pair to the opened answer and the resident's file.

    Requester: sign, encrypt, key pair, open · hub and commission: verify and convert each, and convert each for the file ·
    provider: verify, decrypt, seal · portal: decrypt. Signatures of outcomes and frames are shared by many inquiries and count
    nothing here, nor do the checks of form.
    """
    return (
        p["sign"]
        + p["encrypt_code"]
        + p["hpke_key"]
        + p["hpke_open"]
        + 3 * p["verify"]
        + 4 * p["convert"]
        + 2 * p["decrypt_code"]
        + p["hpke_seal"]
    )
