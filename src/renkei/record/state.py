"""Governance state: which log this is, who is enrolled, which keys and which law are in force.

A pure fold over governance leaves. Every institution folds the same leaves and so arrives at the same state; nobody is asked to
be believed. An act by someone not entitled to it is ``NotGenuine`` to whoever would record it; one that reached the record all the
same (two in one round may contradict each other) is void, for everyone alike.

No keeper alone decides who takes part: a body joins if the commission enrols it *and* the pack in force, which the hub puts in
force, names it with that role and these kinds.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import NamedTuple

from renkei.codes import Domain, PublicShare, verify_share
from renkei.codes.group import element
from renkei.errors import NotFound, NotGenuine, RenkeiError
from renkei.law import Pack
from renkei.ledger.notes import Verifier
from renkei.messages import signing
from renkei.messages.wire import (
    Act,
    Appoint,
    Assessment,
    Confirm,
    DomainKeys,
    DomainRef,
    Enrol,
    Enrolment,
    Envelope,
    ExceptionalPermit,
    Genesis,
    LawVersion,
    Lift,
    Measure,
    Order,
    Retire,
    Rotate,
    Trail,
    decode_as,
    decode_signed,
)
from renkei.record.entries import ActLeaf, GenesisLeaf
from renkei.record.oversight import Oversight

CONVERTERS = ("hub", "commission")
HOLDERS = ("authority", "gateway", "portal")
"""Roles that have a code domain."""
_GENESIS = b"renkei/v1/genesis"

FetchPack = Callable[[bytes], Pack]
"""Answers the pack with this hash; content-addressed, so its source need not be trusted."""


class Enrolled(NamedTuple):
    """An enrolled institution and its public keys."""

    body: str
    role: str
    kinds: frozenset[str]
    identity: bytes
    bus: str
    seal: bytes


class Trust(NamedTuple):
    """What is checked out of band: the genesis leaf's salt and entry. All other trust follows."""

    salt: bytes
    entry: bytes

    def genesis(self) -> Genesis:
        """The genesis, once both its signatures are found good."""
        leaf = decode_as(self.entry, GenesisLeaf)
        genesis = decode_as(leaf.genesis, Genesis)
        for enrolment, signature in (
            (genesis.hub, leaf.hub_signature),
            (genesis.commission, leaf.commission_signature),
        ):
            if not signing.is_signed(_GENESIS + leaf.genesis, signature, enrolment.identity):
                raise NotGenuine("The genesis is not signed by both keepers.", code="genesis-unsigned")
        return genesis


def genesis_signature(identity: signing.Identity, genesis: bytes) -> bytes:
    """A keeper's signature over the encoded genesis."""
    return identity.signature(_GENESIS + genesis)


class State:
    """The fold. Read it freely; change it only by ``apply``."""

    def __init__(self, trust: Trust, fetch_pack: FetchPack) -> None:
        self.genesis = trust.genesis()
        self.hub_key = Verifier.from_text(self.genesis.hub_log)
        self.commission_key = Verifier.from_text(self.genesis.commission_log)
        self._fetch_pack = fetch_pack
        self.pack = fetch_pack(self.genesis.pack)
        self.bodies: dict[str, Enrolled] = {}
        self._identities: dict[bytes, str] = {}
        """Whose each identity key is, so that enrolling costs the same however many are enrolled."""
        self.shares: dict[tuple[str, Domain], PublicShare] = {}
        self.published: dict[str, list[Domain]] = {}
        """Of each body the domains for which both converters have published, oldest first."""
        self.ordered: dict[str, Domain] = {}
        self.retired: dict[str, Domain] = {}
        self.oversight = Oversight(self.genesis.officers)
        """What the commission has decided."""
        self.void = 0
        """Acts in the record that could not take effect."""
        self.next_index = 1
        """Acts below this index are in; the genesis is."""
        self._enrol(self.genesis.hub)
        self._enrol(self.genesis.commission)

    @property
    def verifiers(self) -> tuple[Verifier, Verifier]:
        """The two keys a checkpoint must be signed with."""
        return self.hub_key, self.commission_key

    @property
    def witnesses(self) -> tuple[int, tuple[Verifier, ...]]:
        """Of how many witnesses a permit's checkpoint must carry a cosignature, and their keys: by the law in force."""
        rule = self.pack.header.witnesses
        return rule.need, tuple(Verifier.from_text(key) for key in rule.keys) if rule.need else ()

    def of_role(self, role: str) -> str:
        """The body that alone has ``role``; ``NotFound`` if none is enrolled as that."""
        for enrolled in self.bodies.values():
            if enrolled.role == role:
                return enrolled.body
        raise NotFound(f"Nobody is enrolled as {role!r}.", code="not-enrolled")

    def body(self, code: str) -> Enrolled:
        """The enrolled body; ``NotFound`` otherwise."""
        try:
            return self.bodies[code]
        except KeyError:
            raise NotFound(f"No institution {code!r} is enrolled.", code="not-enrolled") from None

    def domain(self, body: str) -> Domain | None:
        """The domain in use at ``body``: the newest for which *both* converters have published."""
        published = self.published.get(body)
        return published[-1] if published else None

    def wanted(self, body: str) -> Domain:
        """The domain the converters are to publish for ``body``, unless they have."""
        return self.ordered.get(body, Domain(body))

    def has_domain(self, domain: Domain) -> bool:
        """Whether both converters published keys for ``domain``."""
        return all((c, domain) in self.shares for c in CONVERTERS)

    def is_valid(self, domain: Domain) -> bool:
        """Whether something new may come from ``domain`` or lead to it: published, and not retired by its body."""
        oldest = self.retired.get(domain.body, Domain(domain.body))
        not_older = domain.code_epoch >= oldest.code_epoch and domain.key_epoch >= oldest.key_epoch
        return not_older and self.has_domain(domain)

    def check(self, act: Envelope, now: int) -> Act:
        """The act in ``act`` if its author may make it at ``now`` (its round's time, ms); ``NotGenuine`` otherwise. Changes nothing."""
        author = self.body(act.sender)
        signing.verify(act, author.identity)
        body = decode_signed(act.payload)
        match body:
            case Enrol():
                entitled = act.sender == "commission"
                self._check_enrolment(body.enrolment)
            case Assessment() if body.body not in self.bodies:
                entitled = False
            case Assessment() | Appoint() | Order() | Lift() | ExceptionalPermit() | Confirm() | Measure() | Trail():
                entitled = act.sender == "commission"
                self.oversight.check(body, self.pack, self.bodies, now)
            case LawVersion():
                entitled = act.sender == "hub" and self._fetch_pack(body.hash).hash == body.hash
            case DomainKeys():
                entitled = act.sender == body.converter and body.domain.body in self.bodies
                share = PublicShare(body.s, body.u, body.x)
                if self.shares.get((body.converter, domain_of(body.domain)), share) != share:
                    raise NotGenuine("This domain has other keys already; a new epoch replaces them.", code="key-reuse")
                if domain_of(body.domain) != self.wanted(body.domain.body):
                    raise NotGenuine("Nobody has ordered keys for this domain.", code="domain")
                if not verify_share(domain_of(body.domain), share, body.proof):
                    raise NotGenuine("A key directory entry's proof is wrong.", code="share-proof")
            case Rotate():
                entitled = act.sender == body.domain.body and author.role in HOLDERS
                self._check_rotation(domain_of(body.domain))
            case Retire():
                entitled = act.sender == body.domain.body
                if self.retired.get(act.sender) == domain_of(body.domain):
                    raise NotGenuine("That is done already.", code="repeated")
                if domain_of(body.domain) != self.domain(act.sender):
                    raise NotGenuine("A body retires what is older than its domain in use.", code="domain")
            case _:
                raise NotGenuine("This is not a governance act.", code="not-an-act")
        if not entitled:
            raise NotGenuine(f"{act.sender!r} may not make this act.", code="not-entitled")
        return body

    def apply(self, index: int, leaf: ActLeaf) -> None:
        """Fold the governance leaf at ``index``. Idempotent; order matters. Raises only if a pack is not at hand here."""
        if index < self.next_index:
            return
        try:
            body = self.check(leaf.act, leaf.time)
        except RenkeiError as error:
            if error.code == "no-pack":
                raise
            self.void += 1
            self.next_index = index + 1
            return
        match body:
            case Enrol():
                self._enrol(decode_as(body.enrolment.payload, Enrolment))
            case LawVersion():
                self.pack = self._fetch_pack(body.hash)
            case DomainKeys():
                domain = domain_of(body.domain)
                self.shares[body.converter, domain] = PublicShare(*(element(e) for e in (body.s, body.u, body.x)))
                if self.has_domain(domain) and domain not in self.published.get(domain.body, ()):
                    self.published.setdefault(domain.body, []).append(domain)
            case Assessment() | Appoint() | Order() | Lift() | ExceptionalPermit() | Confirm() | Measure() | Trail():
                self.oversight.apply(body, index, leaf.time)
            case Rotate():
                self.ordered[leaf.act.sender] = domain_of(body.domain)
            case Retire():
                self.retired[leaf.act.sender] = domain_of(body.domain)
        self.next_index = index + 1

    def _check_rotation(self, domain: Domain) -> None:
        now = self.domain(domain.body)
        settled = now == Domain(domain.body) or self.retired.get(domain.body) == now
        if now is None or now != self.wanted(domain.body) or not settled:
            raise NotGenuine("An earlier rotation is not over.", code="domain")
        steps = domain.code_epoch - now.code_epoch, domain.key_epoch - now.key_epoch
        if steps not in ((1, 0), (0, 1), (1, 1)):
            raise NotGenuine("A rotation leads to the next epoch of codes, key, or both.", code="domain")

    def _check_enrolment(self, envelope: Envelope) -> None:
        enrolment = decode_as(envelope.payload, Enrolment)
        if envelope.sender != enrolment.body:
            raise NotGenuine("An enrolment is signed by the body itself.", code="enrolment")
        signing.verify(envelope, enrolment.identity)  # possession of the key it brings
        known = self.pack.bodies.get(enrolment.body)
        if known is None or known.role != enrolment.role or set(known.kinds) != set(enrolment.kinds):
            raise NotGenuine("The law's pack does not know a body of this role and these kinds.", code="enrolment")
        earlier = self.bodies.get(enrolment.body)
        if earlier is not None and (earlier.identity != enrolment.identity or enrolment.body in CONVERTERS):
            raise NotGenuine("An enrolled body's identity is not replaced by enrolling it again.", code="key-reuse")
        if self._identities.get(enrolment.identity, enrolment.body) != enrolment.body:
            raise NotGenuine("This identity key is already another body's.", code="key-reuse")
        keys = {enrolment.identity, enrolment.seal}
        if not signing.sealable(enrolment.seal):
            raise NotGenuine("Nothing can be sealed to this sealing key.", code="bad-key")
        if len(keys) != 2 or nkey_public(enrolment.bus) in keys:
            raise NotGenuine("Identity, bus and sealing keys must be three keys.", code="key-reuse")

    def _enrol(self, e: Enrolment) -> None:
        self._identities[e.identity] = e.body
        self.bodies[e.body] = Enrolled(e.body, e.role, frozenset(e.kinds), e.identity, e.bus, e.seal)


def ref_of(domain: Domain) -> DomainRef:
    """The wire form of a domain."""
    return DomainRef(*domain)


def domain_of(ref: DomainRef) -> Domain:
    """The domain of a wire reference."""
    return Domain(ref.body, ref.code_epoch, ref.key_epoch)


def nkey_public(nkey: str) -> bytes:
    """The 32 Ed25519 bytes inside a public nkey, or nothing if it is none."""
    try:
        raw = base64.b32decode(nkey + "=" * (-len(nkey) % 8))
    except (binascii.Error, ValueError):
        return b""
    return raw[1:33] if len(raw) == 35 else b""
