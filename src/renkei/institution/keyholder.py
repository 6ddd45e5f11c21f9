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
        self._name, self._converter, self._identity, self._keeper, self._post = name, converter, identity, keeper, post
        self._submitted: dict[Domain, float] = {}

    async def publish(self, submit: Callable[[Envelope], object]) -> None:
        """Publish an entry for each enrolled body that has none from us, and send it its share. Idempotent."""
        for body in list(self._keeper.state.bodies.values()):
            domain, now = Domain(body.body), time.monotonic()
            if body.role not in HOLDERS or (self._name, domain) in self._keeper.state.shares:
                continue
            if now - self._submitted.get(domain, -AGAIN_AFTER) < AGAIN_AFTER:
                continue
            self._submitted[domain] = now
            share = self._converter.public_share(domain)
            proof = prove_share(self._converter, domain)
            submit(
                self._identity.sign(
                    DomainKeys(ref_of(domain), self._name, self._converter.generation, share.s, share.u, share.x, proof)
                )
            )
            await self._post.send(body.body, [KeyShare(ref_of(domain), self._name, self._converter.key_share(domain))])
