"""An institution that is not a keeper: it follows governance from the record and holds its own decryption key.

Every act it believes was proven to be in the log under both signatures; every key share was checked against the directory.
"""

from __future__ import annotations

import asyncio
import contextlib

from renkei.codes import Domain, combine_shares, open_key, open_rotation, rotate_code, unrotate_code
from renkei.errors import NotGenuine, RenkeiError, Unavailable
from renkei.institution import store
from renkei.institution.database import Database
from renkei.institution.keeper import keep_pack, law_library
from renkei.institution.keys import Keys
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock, Home
from renkei.law import Pack
from renkei.messages.wire import Acts, Blob, GetActs, GetBlob, GetShare, KeyShare, LawVersion, decode_as, decode_signed
from renkei.record.entries import ActLeaf
from renkei.record.permit import Notary
from renkei.record.state import CONVERTERS, Enrolled, State, domain_of, ref_of

FOLLOW_EVERY = 10.0
FOLLOW_AT_FIRST = 0.3
ANSWER_AT_FIRST = 0.2
"""Seconds to wait for the hub's answer at first, twice as long each time it was silent, up to a second: the hub cannot answer a body it
does not know yet, and a busy one must have the time to answer one it does."""


class Member:
    """What a body knows of the network, and its key in it."""

    def __init__(self, home: Home, keys: Keys, database: Database, observer: Observer, clock: Clock) -> None:
        self._home, self._keys, self._database, self._observe = home, keys, database, observer
        self._clock = clock
        self._clock_off = 0
        """Milliseconds by which our clock was behind the hub's when we last asked."""
        self.state = State(home.trust(), law_library(home))
        self.notary = Notary(self.state.verifiers, witnessed=lambda: self.state.witnesses)
        self.post: Post | None = None
        self._shares: dict[tuple[str, int, int], bytes] = {}
        """A converter's key share, and behind it (from the second code epoch on) its δ; by code and key epoch."""
        self._key: dict[Domain, bytes] = {}
        self._wanted = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following = asyncio.Lock()
        self._patience = ANSWER_AT_FIRST
        self._changed = asyncio.Condition()
        for position, entry in database.read_now(store.load_acts):
            self.state.apply(position, decode_as(entry, ActLeaf))
        for converter, code_epoch, key_epoch, locked in database.read_now(store.load_shares):
            self._shares[converter, code_epoch, key_epoch] = keys.unlock(locked)

    @property
    def pack(self) -> Pack:
        """The law in force."""
        return self.state.pack

    def directory(self, body: str) -> Enrolled | None:
        return self.state.bodies.get(body)

    @property
    def domain(self) -> Domain:
        """The newest own domain that both converters have published and handed over their shares of; ``Unavailable`` if none."""
        for domain in reversed(self.state.published.get(self._keys.body, ())):
            if self._load_key(domain) is not None:
                return domain
        raise Unavailable("This institution has no linkage key yet.", code="no-key", remedy="Wait for both converters.")

    def domain_of_codes(self, code_epoch: int) -> Domain:
        """The newest own domain with codes of that epoch, to encrypt them in; ``Unavailable`` if there is none."""
        for domain in reversed(self.state.published.get(self._keys.body, ())):
            if domain.code_epoch == code_epoch and self._load_key(domain) is not None:
                return domain
        raise Unavailable("This institution has no key for codes of that epoch.", code="no-key")

    def carry(self, code: bytes, have: int, want: int) -> bytes:
        """A code of our own of code epoch ``have`` as it is in epoch ``want``; ``Unavailable`` if a step is not here yet."""
        while have < want:
            have += 1
            code = rotate_code(code, *self._deltas(have))
        while have > want:
            code = unrotate_code(code, *self._deltas(have))
            have -= 1
        return code

    def _deltas(self, code_epoch: int) -> list[bytes]:
        """Both converters' δ into ``code_epoch``."""
        for domain in self.state.published.get(self._keys.body, ()):
            if domain.code_epoch == code_epoch and self._load_key(domain) is not None:
                return [self._shares[c, *domain[1:]][32:] for c in CONVERTERS]
        raise Unavailable("The step into that epoch of codes is not here yet.", code="no-key")

    def clock_trouble(self) -> dict[str, str]:
        """For ``/health``: by how many ms our clock is wrong, when that is half of what the law lets an inquiry be out of time."""
        wrong = abs(self._clock_off) > self.pack.header.limits.issued_within_seconds * 500
        return {"clock_off_ms": str(-self._clock_off)} if wrong else {}

    def demand_ready(self) -> None:
        """``Unavailable`` until inquiries can be made and answered."""
        _ = self.domain

    @property
    def ready(self) -> bool:
        """Whether inquiries can be made and answered."""
        try:
            return self.domain is not None
        except Unavailable:
            return False

    def key(self, domain: Domain) -> bytes:
        """The own decryption key for ``domain``."""
        key = self._load_key(domain)
        if key is None:
            raise Unavailable("This institution has no key of that epoch.", code="no-key")
        return key

    async def until_ready(self) -> None:
        """Wait until ``ready``."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.ready)

    def _load_key(self, domain: Domain) -> bytes | None:
        if domain not in self._key:
            parts = [self._shares.get((c, domain.code_epoch, domain.key_epoch)) for c in CONVERTERS]
            if any(p is None for p in parts) or not self.state.has_domain(domain):
                return None
            checked = [
                self._open(p[:32], p[32:], c, domain) for c, p in zip(CONVERTERS, parts, strict=True) if p is not None
            ]
            self._key[domain] = combine_shares(*checked)
        return self._key[domain]

    def _open(self, share: bytes, delta: bytes, converter: str, domain: Domain) -> bytes:
        """A converter's share, once it and the δ beside it are what the key directory promises."""
        published = self.state.shares[converter, domain]
        if domain.code_epoch > 1:
            before = next(d for d in self.state.published[domain.body] if d.code_epoch == domain.code_epoch - 1)
            open_rotation(delta, self.state.shares[converter, before], published)
        return open_key(share, published)

    async def accept_share(self, sender: str, share: KeyShare) -> None:
        """Keep a converter's key share, once the directory confirms it."""
        domain = domain_of(share.domain)
        if sender not in CONVERTERS or sender != share.converter or domain.body != self._keys.body:
            raise NotGenuine("A key share came from someone else than it says.", code="misaddressed")
        if (sender, domain) not in self.state.shares:
            await self.follow()
        if (sender, domain) not in self.state.shares:
            raise Unavailable("The key directory does not have this domain yet.", code="no-domain")
        self._open(share.share, share.delta, sender, domain)
        locked = self._keys.lock(share.share + share.delta)
        await self._database.write(lambda c: store.put_share(c, sender, domain.code_epoch, domain.key_epoch, locked))
        self._shares[sender, domain.code_epoch, domain.key_epoch] = share.share + share.delta
        await self._announce()

    async def follow(self) -> None:
        """Fetch governance acts not seen yet, verify and keep them."""
        async with self._following:
            await self._follow()

    async def _follow(self) -> None:
        assert self.post is not None
        while True:
            before, patience = self._clock(), self._patience
            self._patience = min(2 * patience, 1.0)
            reply = await self.post.call("hub", GetActs(self.state.next_index), timeout=5.0 if self.ready else patience)
            if isinstance(reply, Acts) and reply.time:
                self._clock_off = reply.time - (before + self._clock()) // 2
                self._observe.set("hub_clock_seconds", self._clock_off / 1000)
            if not isinstance(reply, Acts) or not reply.acts:
                break
            kept: list[tuple[int, bytes]] = []
            for permit in reply.acts:
                leaf = self.notary.open(permit)
                if not isinstance(leaf, ActLeaf):
                    raise NotGenuine("The hub sent another leaf as a governance act.", code="not-an-act")
                kept.append((permit.index, permit.entry))
                await self._fetch_law(leaf)
            await self._database.write(lambda c, kept=kept: store.add_acts(c, kept))  # type: ignore[misc]
            for index, entry in kept:
                self.state.apply(index, decode_as(entry, ActLeaf))
        await self._announce()

    async def _ask_for_shares(self) -> None:
        """Ask the converters for what a restored database has lost: shares of a domain that is in the record and has no key here."""
        assert self.post is not None
        published = self.state.published.get(self._keys.body, [])
        for domain in published:
            for converter in CONVERTERS if self._load_key(domain) is None else ():
                if (converter, *domain[1:]) not in self._shares:
                    reply = await self.post.call(converter, GetShare(ref_of(domain)))
                    if isinstance(reply, KeyShare):
                        await self.accept_share(converter, reply)

    async def _fetch_law(self, leaf: ActLeaf) -> None:
        act = decode_signed(leaf.act.payload)
        if isinstance(act, LawVersion) and not (self._home / "law" / f"{act.hash.hex()}.pack").exists():
            assert self.post is not None
            blob = await self.post.call("hub", GetBlob(act.hash))
            pack = Pack.load(blob.data) if isinstance(blob, Blob) else None
            if pack is None or pack.hash != act.hash:
                raise NotGenuine("The hub sent another pack than the record names.", code="no-pack")
            keep_pack(self._home, pack)

    def want(self, _: str = "") -> None:
        """Follow soon: something refers to an act not seen yet. From any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is gone
                self._loop.call_soon_threadsafe(self._wanted.set)

    async def follow_always(self) -> None:
        """Follow for ever; often until ready, then now and then and whenever wanted."""
        self._loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(Unavailable):
                try:
                    await self.follow()
                    await self._ask_for_shares()
                except RenkeiError as error:
                    if isinstance(error, Unavailable):
                        raise
                    self._observe.log.error("follow.refused", reason=error.code)
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(FOLLOW_EVERY if self.ready else FOLLOW_AT_FIRST):
                    await self._wanted.wait()
                await asyncio.sleep(0.1)
            self._wanted.clear()

    async def _announce(self) -> None:
        async with self._changed:
            self._changed.notify_all()
