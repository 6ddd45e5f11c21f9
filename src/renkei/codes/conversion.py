"""The conversion scheme (docs/protocol.md §2).

Written additively in ristretto255 with generator G. For domain X, converter p holds a reshuffle scalar ``s_p(X)`` and a
key share ``x_p(X)``, both derived from its 64-byte master secret. ``s = s_h·s_c`` makes the codes of X, ``d = x_h·x_c``
is the key with which X alone reads ciphertexts addressed to it.
"""

from __future__ import annotations

import hmac
from functools import lru_cache
from typing import NamedTuple

from renkei.codes import group
from renkei.errors import Malformed, NotGenuine

CIPHERTEXT_SIZE = 64


class Domain(NamedTuple):
    """An institution's code space: its code, and the epochs of its codes and of its key (they rotate apart)."""

    body: str
    code_epoch: int = 1
    key_epoch: int = 1


class Ciphertext(NamedTuple):
    """An encrypted linkage code ``(B, C)``: two elements of 32 bytes."""

    b: bytes
    c: bytes

    def to_bytes(self) -> bytes:
        """B ‖ C, 64 bytes."""
        return self.b + self.c

    @classmethod
    def split(cls, data: bytes) -> Ciphertext:
        """The ciphertext in 64 bytes, to be converted or decrypted at once: that refuses what ``from_bytes`` would."""
        if type(data) is not bytes or len(data) != CIPHERTEXT_SIZE:
            raise Malformed("An encrypted code is 64 bytes.", code="bad-ciphertext")
        return cls(data[:32], data[32:])

    @classmethod
    def from_bytes(cls, data: bytes) -> Ciphertext:
        """The ciphertext in 64 bytes; both halves must be canonical elements and not the identity."""
        if type(data) is not bytes or len(data) != CIPHERTEXT_SIZE:
            raise Malformed("An encrypted code is 64 bytes.", code="bad-ciphertext")
        return cls(group.element(data[:32]), group.element(data[32:]))


class PublicShare(NamedTuple):
    """One converter's entry for one domain in the key directory: ``S = s·G``, ``U = (s/x)·G``, ``X = x·G``."""

    s: bytes
    u: bytes
    x: bytes


class _Secrets(NamedTuple):
    s: bytes
    u: bytes
    x: bytes
    per_s: bytes
    """1/s"""
    per_u: bytes
    """1/u"""


class Converter:
    """One of the two converting bodies. Holds one master secret and nothing else.

    ``generation`` names the master. After a theft of the master only a new generation helps: all its epochs follow from it.
    Cost: ``convert`` is two multiplications; bodies have more pairs than are remembered, so what is costly (inverting) is done once per
    domain. Thread-safe: state is the secret and caches of derived scalars.
    """

    def __init__(self, master: bytes, *, generation: int = 1) -> None:
        if type(master) is not bytes or len(master) != 64:
            raise Malformed("A converter's master secret is 64 bytes.", code="bad-master")
        self._master = master
        self.generation = generation
        self._domain = lru_cache(maxsize=8192)(self._derive)
        self._factors = lru_cache(maxsize=65536)(self._ratio)

    def __repr__(self) -> str:
        return f"Converter(generation={self.generation})"

    def _derive(self, domain: Domain) -> _Secrets:
        where = domain.body.encode(), self.generation.to_bytes(4, "big")
        s = group.keyed_scalar(self._master, "reshuffle", *where, domain.code_epoch.to_bytes(4, "big"))
        x = group.keyed_scalar(self._master, "key-share", *where, domain.key_epoch.to_bytes(4, "big"))
        u = group.scalar_divide(s, x)
        return _Secrets(s=s, u=u, x=x, per_s=group.scalar_invert(s), per_u=group.scalar_invert(u))

    def _ratio(self, source: Domain, target: Domain) -> tuple[bytes, bytes]:
        a, z = self._domain(source), self._domain(target)
        return group.scalar_multiply(z.u, a.per_u), group.scalar_multiply(z.s, a.per_s)

    def public_share(self, domain: Domain) -> PublicShare:
        """What the key directory says of this converter and ``domain``."""
        d = self._domain(domain)
        return PublicShare(*(group.multiply_base(v) for v in (d.s, d.u, d.x)))

    def key_share(self, domain: Domain) -> bytes:
        """``x_p(X)``: to be sealed to the enrolment key of X and shown to nobody else."""
        return self._domain(domain).x

    def convert(self, source: Domain, target: Domain, ciphertext: Ciphertext) -> Ciphertext:
        """``(B, C) ↦ (t·B, s·C)`` with ``t = u(Z)/u(X)``, ``s = s(Z)/s(X)``. Either converter may go first."""
        t, s = self._factors(source, target)
        return Ciphertext(group.multiply(t, ciphertext.b), group.multiply(s, ciphertext.c))

    def rotation(self, old: Domain, new: Domain) -> bytes:
        """``δ_p = s'_p/s_p``: what X multiplies its stored codes with when its code epoch changes."""
        return group.scalar_divide(self._domain(new).s, self._domain(old).s)

    def witness(self, source: Domain, target: Domain) -> tuple[bytes, bytes]:
        """The exponents ``(s, t)`` of a conversion, for ``proofs`` alone."""
        t, s = self._factors(source, target)
        return s, t


def mint(prf_key: bytes, internal_id: bytes) -> bytes:
    """A person's code at the numbering authority: the internal id under a PRF with the authority's key, hashed to the group.

    Never of the number: a number can be reissued, the code must survive that. ``prf_key`` is 32 bytes or more.
    """
    if len(prf_key) < 32:
        raise Malformed("The authority's PRF key is at least 32 bytes.", code="bad-master")
    return group.hash_to_element("mint", hmac.digest(prf_key, group.transcript(internal_id), "sha512"))


def combine_shares(*shares: bytes) -> bytes:
    """``d_X``, the decryption key of X, from the converters' key shares."""
    key = shares[0]
    for share in shares[1:]:
        key = group.scalar_multiply(key, share)
    return key


def open_key(share: bytes, published: PublicShare) -> bytes:
    """``share`` if it is the one the directory promises (``x·G = X`` and ``x·U = S``); else ``NotGenuine``."""
    if group.multiply_base(share) != published.x or group.multiply(share, published.u) != published.s:
        raise NotGenuine("A key share does not match the key directory.", code="share-mismatch")
    return share


def open_rotation(delta: bytes, old: PublicShare, new: PublicShare) -> bytes:
    """``delta`` if it is the step the directory promises (``δ·S = S'``); else ``NotGenuine``."""
    if group.multiply(delta, old.s) != new.s:
        raise NotGenuine("A rotation does not match the key directory.", code="rotation-mismatch")
    return delta


def encrypt(code: bytes, key: bytes) -> Ciphertext:
    """X's encryption of its own ``code`` under its own ``key``: ``(b·G, P + (b·d)·G)`` with fresh b.

    Two fixed-base multiplications. Two encryptions of one code cannot be told from encryptions of two.
    """
    b = group.random_scalar()
    return Ciphertext(group.multiply_base(b), group.add(code, group.multiply_base(group.scalar_multiply(b, key))))


def decrypt(ciphertext: Ciphertext, key: bytes) -> bytes:
    """``P = C − d·B``, 32 bytes. Any other key yields an unrelated element: there is no error to learn from."""
    return group.subtract(ciphertext.c, group.multiply(key, ciphertext.b))


def rotate_code(code: bytes, *deltas: bytes) -> bytes:
    """A stored code in the next code epoch: multiplied by every converter's δ."""
    return group.multiply(combine_shares(*deltas), code)


def unrotate_code(code: bytes, *deltas: bytes) -> bytes:
    """A code of the next epoch as it was in the one before."""
    return group.multiply(group.scalar_invert(combine_shares(*deltas)), code)
