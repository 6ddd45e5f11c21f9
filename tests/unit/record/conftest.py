"""A small network in memory: a governance state with everyone enrolled, and the keys of all."""

from __future__ import annotations

import os

import nkeys
import pytest

from renkei.codes import Domain, combine_shares, encrypt, group, prove_share
from renkei.ledger.notes import COSIGNATURE, NOTE, Signer
from renkei.messages.signing import Identity, SealKey, approve
from renkei.messages.wire import Assessment, Changed, DomainKeys, Enrol, Enrolment, Genesis, Inquiry, Officer, encode
from renkei.record.entries import ActLeaf, GenesisLeaf
from renkei.record.state import State, Trust, genesis_signature, ref_of

NOW = 1_795_450_000_000
BODIES = ("ohashi-city", "tax-union", "pension-service", "national-tax", "portal", "numbering-authority")

OFFICERS = {
    "sato": "inspector",
    "suzuki": "inspector",
    "tanaka": "commissioner",
    "ito": "commissioner",
    "mori": "reader",
}


def bus_key() -> str:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    return nkeys.from_seed(bytearray(seed)).public_key.decode()


class Net:
    """Everyone's keys, the state they agree on, and shortcuts to make inquiries."""

    def __init__(self, pack, converters):
        self.pack = pack
        self.converters = dict(zip(("hub", "commission"), converters, strict=True))
        self.identities = {b: Identity(b, os.urandom(32)) for b in ("hub", "commission", *BODIES)}
        self.seals = {b: SealKey() for b in self.identities}
        self.signers = [Signer("log", NOTE, os.urandom(32)), Signer("log/commission", COSIGNATURE, os.urandom(32))]
        self.officers = {name: os.urandom(32) for name in OFFICERS}
        genesis = encode(
            Genesis(
                "log",
                self.enrolment("hub"),
                self.enrolment("commission"),
                *(s.verifier.to_text() for s in self.signers),
                pack.hash,
                NOW,
                [Officer(n, OFFICERS[n], Identity(n, seed).public) for n, seed in self.officers.items()],
            )
        )
        signatures = [genesis_signature(self.identities[b], genesis) for b in ("hub", "commission")]
        self.trust = Trust(bytes(16), encode(GenesisLeaf(NOW, genesis, *signatures)))
        self.state = State(self.trust, lambda _: pack)
        self.leaves = []
        for body in BODIES:
            self.act("commission", Enrol(self.identities[body].sign(self.enrolment(body))))
            for name in self.converters:
                self.act(name, self.domain_keys(name, Domain(body)))
            if body not in ("portal", "numbering-authority"):
                self.act("commission", Assessment(body, ["*"], ["*"], "full", "2026-04-01", "2027-04-01"))

    def enrolment(self, body):
        known = self.pack.bodies[body]
        return Enrolment(
            body, known.role, list(known.kinds), self.identities[body].public, bus_key(), self.seals[body].public
        )

    def domain_keys(self, name, domain):
        converter = self.converters[name]
        return DomainKeys(ref_of(domain), name, 1, *converter.public_share(domain), prove_share(converter, domain))

    def act(self, author, body, now=NOW):
        self.leaves.append((self.state.next_index, ActLeaf(now, self.identities[author].sign(body))))
        self.state.apply(*self.leaves[-1])

    def replay(self):
        """The state that someone else folds from the same leaves."""
        fresh = State(self.trust, lambda _: self.pack)
        for index, leaf in self.leaves:
            fresh.apply(index, leaf)
        return fresh

    @staticmethod
    def officer_key(seed):
        return Identity("", seed).public

    def decide(self, decision, *officers, now=NOW):
        """The commission's act with these officers' signatures, checked as a keeper does, then folded."""
        for name in officers:
            decision = approve(decision, name, self.officers[name])
        self.state.check(self.identities["commission"].sign(decision), now)
        self.act("commission", decision, now)
        return decision

    def key(self, body):
        return combine_shares(*(c.key_share(Domain(body)) for c in self.converters.values()))

    def code(self, body, person=b"p"):
        code = group.hash_to_element("test", person)
        for c in self.converters.values():
            code = group.multiply(c.rotation(Domain("numbering-authority"), Domain(body)), code)
        return code

    def inquiry(self, sender="ohashi-city", **changes):
        values = {
            "source": ref_of(Domain(sender)),
            "provider": "tax-union",
            "affair": "child-allowance",
            "item": "local-tax",
            "purpose": "assess-amount",
            "ciphertext": encrypt(self.code(sender), self.key(sender)).to_bytes(),
            "reply_key": SealKey().public,
            "context": bytes(32),
            "issued_at": NOW,
            "expires": NOW + 7 * 86_400_000,
        }
        return Inquiry(**{**values, **changes})

    def changed(self, sender="tax-union", **changes):
        values = {
            "source": ref_of(Domain(sender)),
            "requester": "ohashi-city",
            "affair": "child-allowance",
            "item": "local-tax",
            "purpose": "assess-amount",
            "ciphertext": encrypt(self.code(sender), self.key(sender)).to_bytes(),
            "issued_at": NOW,
        }
        return Changed(**{**values, **changes})

    def signed(self, sender="ohashi-city", **changes):
        return self.identities[sender].sign(self.inquiry(sender, **changes))


@pytest.fixture(scope="session")
def net(pack, converters):
    return Net(pack, converters)
