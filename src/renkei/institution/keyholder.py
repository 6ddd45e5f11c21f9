"""A converter's duty to the key directory: publish an entry for every enrolled body, and hand the body its share."""

from __future__ import annotations

import time
from collections.abc import Callable

from renkei.codes import Converter, Domain, prove_share
from renkei.institution.keeper import Keeper
from renkei.institution.post import Post
from renkei.messages.signing import Identity
from renkei.messages.wire import DomainKeys, Envelope, KeyShare
from renkei.record.state import ref_of

AGAIN_AFTER = 3.0
"""Seconds after which an act that is not in the record yet is submitted again."""
HOLDERS = ("authority", "gateway", "portal")
"""Roles that have a code domain."""


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
        """Publish an entry for each enrolled body that has none from us; once it is in the record, send the share.

        Idempotent; called again and again. After a restart every share is sent once more, which changes nothing.
        """
        for body in list(self._keeper.state.bodies.values()):
            domain, now = Domain(body.body), time.monotonic()
            if body.role not in HOLDERS or domain in self._handed:
                continue
            if (self._name, domain) in self._keeper.state.shares:
                self._handed.add(domain)
                share = KeyShare(ref_of(domain), self._name, self._converter.key_share(domain))
                await self._post.send(body.body, [share])
                continue
            if now - self._submitted.get(domain, -AGAIN_AFTER) < AGAIN_AFTER:
                continue
            self._submitted[domain] = now
            public, proof = self._converter.public_share(domain), prove_share(self._converter, domain)
            generation = self._converter.generation
            submit(self._identity.sign(DomainKeys(ref_of(domain), self._name, generation, *public, proof)))
