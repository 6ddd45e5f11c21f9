"""Equal-exponent proofs (Chaum–Pedersen, made non-interactive with Fiat–Shamir over ``group.hash_to_scalar``).

A statement is a list of pairs ``(base, image)`` that share one secret exponent. A proof holds the challenge and one
response per exponent: 32 + 32·k bytes. Nonces are derived from the secret, the statement and fresh randomness, so neither a
broken generator nor a repeated statement reveals a secret.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from renkei.codes import group
from renkei.codes.conversion import Ciphertext, Converter, Domain, PublicShare
from renkei.errors import Malformed

Pair = tuple[bytes, bytes]
_GENERATOR = group.multiply_base((1).to_bytes(32, "little"))


def _prove(purpose: str, context: bytes, statements: Sequence[tuple[bytes, Sequence[Pair]]]) -> bytes:
    fields: list[bytes] = [context]
    nonces: list[bytes] = []
    fresh = secrets.token_bytes(32)
    for exponent, pairs in statements:
        flat = [e for pair in pairs for e in pair]
        nonce = group.keyed_scalar(exponent, purpose + "/nonce", fresh, len(nonces).to_bytes(1, "big"), context, *flat)
        nonces.append(nonce)
        for base, image in pairs:
            fields += [base, image, group.multiply(nonce, base)]
    challenge = group.hash_to_scalar(purpose, *fields)
    proof = challenge
    for (exponent, _), nonce in zip(statements, nonces, strict=True):
        proof += group.scalar_add(nonce, group.scalar_multiply(challenge, exponent))
    return proof


def _verify(purpose: str, context: bytes, statements: Sequence[Sequence[Pair]], proof: bytes) -> bool:
    if type(proof) is not bytes or len(proof) != 32 + 32 * len(statements):
        return False
    try:
        challenge = group.scalar(proof[:32])
        fields = [context]
        for i, pairs in enumerate(statements):
            response = group.scalar(proof[32 + 32 * i : 64 + 32 * i])
            for base, image in pairs:
                commitment = group.subtract(group.multiply(response, base), group.multiply(challenge, image))
                fields += [base, image, commitment]
        return group.hash_to_scalar(purpose, *fields) == challenge
    except Malformed:
        return False


def _place(*domains: Domain) -> bytes:
    return group.transcript(*(f"{d.body}/{d.code_epoch}/{d.key_epoch}".encode() for d in domains))


def prove_share(converter: Converter, domain: Domain) -> bytes:
    """64 bytes: the directory entry is consistent (G→X and U→S with one exponent x)."""
    share, x = converter.public_share(domain), converter.key_share(domain)
    return _prove("share", _place(domain), [(x, [(_GENERATOR, share.x), (share.u, share.s)])])


def verify_share(domain: Domain, share: PublicShare, proof: bytes) -> bool:
    """Whether ``prove_share`` made ``proof`` for this entry."""
    return _verify("share", _place(domain), [[(_GENERATOR, share.x), (share.u, share.s)]], proof)


def prove_conversion(
    converter: Converter, source: Domain, target: Domain, given: Ciphertext, made: Ciphertext
) -> bytes:
    """96 bytes: ``made`` is this converter's conversion of ``given`` (S_X→S_Z, C→C'; U_X→U_Z, B→B')."""
    s, t = converter.witness(source, target)
    a, z = converter.public_share(source), converter.public_share(target)
    statements = [(s, [(a.s, z.s), (given.c, made.c)]), (t, [(a.u, z.u), (given.b, made.b)])]
    return _prove("conversion", _place(source, target), statements)


def verify_conversion(
    source: Domain,
    target: Domain,
    shares: tuple[PublicShare, PublicShare],
    given: Ciphertext,
    made: Ciphertext,
    proof: bytes,
) -> bool:
    """Whether ``proof`` shows ``made`` to be the honest conversion; ``shares`` are the directory's for source, target."""
    a, z = shares
    statements = [[(a.s, z.s), (given.c, made.c)], [(a.u, z.u), (given.b, made.b)]]
    return _verify("conversion", _place(source, target), statements, proof)


def prove_rotation(converter: Converter, old: Domain, new: Domain) -> bytes:
    """64 bytes: the δ handed to X takes the directory's S to S'."""
    delta = converter.rotation(old, new)
    pair = (converter.public_share(old).s, converter.public_share(new).s)
    return _prove("rotation", _place(old, new), [(delta, [pair])])


def verify_rotation(old: Domain, new: Domain, shares: tuple[PublicShare, PublicShare], proof: bytes) -> bool:
    """Whether ``proof`` shows that one exponent takes the old S to the new one."""
    return _verify("rotation", _place(old, new), [[(shares[0].s, shares[1].s)]], proof)
