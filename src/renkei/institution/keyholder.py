"""A converter's duty to the key directory: publish an entry for every domain that is wanted, and hand its body the share."""

from __future__ import annotations

import time
from collections.abc import Callable

from renkei.codes import Converter, Domain, prove_share
from renkei.errors import NotFound
from renkei.institution.keeper import Keeper
from renkei.institution.post import Post
from renkei.messages.signing import Identity
from renkei.messages.wire import DomainKeys, Envelope, KeyShare
from renkei.record.state import HOLDERS, ref_of

AGAIN_AFTER = 3.0
"""Seconds after which an act that is not in the record yet is submitted again."""


class Keyholder:
    """Publishes and hands out one converter's keys."""

    def __init__(self, name: str, converter: Converter, identity: Identity, keeper: Keeper, post: Post) -> None:
        self._name, self._converter, self._identity, self._keeper, self._post = (
            name,
            converter,
            identity,
            keeper,
            post,
        )
        self._submitted: dict[Domain, float] = {}
        self._handed: set[Domain] = set()

    async def publish(self, submit: Callable[[Envelope], object]) -> None:
        """Publish an entry for each domain that is wanted and has none from us; once it is in the record, send the share.

        Idempotent; called again and again. After a restart every share is sent once more, which changes nothing.
        """
        state = self._keeper.state
        for body in list(state.bodies.values()):
            if body.role not in HOLDERS:
                continue
            wanted, now = state.wanted(body.body), time.monotonic()
            for domain in dict.fromkeys([*state.published.get(body.body, ()), wanted]):
                if domain not in self._handed and (self._name, domain) in state.shares:
                    await self._post.send(body.body, [self._share(domain)])
                    self._handed.add(domain)
            if (self._name, wanted) not in state.shares and now - self._submitted.get(wanted, -1e9) >= AGAIN_AFTER:
                self._submitted[wanted] = now
                public, proof = self._converter.public_share(wanted), prove_share(self._converter, wanted)
                generation = self._converter.generation
                submit(self._identity.sign(DomainKeys(ref_of(wanted), self._name, generation, *public, proof)))

    def share_for(self, body: str, domain: Domain) -> KeyShare:
        """The share of a published domain, for its body alone: it may have lost what we sent. ``NotFound`` for anyone else."""
        if domain.body != body or (self._name, domain) not in self._keeper.state.shares:
            raise NotFound("There is no such domain of yours.", code="no-domain")
        return self._share(domain)

    def _share(self, domain: Domain) -> KeyShare:
        before = domain._replace(code_epoch=domain.code_epoch - 1)
        delta = self._converter.rotation(before, domain) if before.code_epoch else b""
        return KeyShare(ref_of(domain), self._name, self._converter.key_share(domain), delta)
