"""A resident's own information: asked of whoever holds it, sealed to a key of the resident's own browser, carried and not kept.

Nothing here is in the database but what is owed to the network. A wish is in memory until the resident's card has signed for it, and
its answers until they were fetched, a quarter of an hour at most.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from hashlib import sha256

import sqlalchemy as sa

from renkei.codes import encrypt
from renkei.errors import Malformed, NotFound, Unavailable
from renkei.institution.database import Database
from renkei.institution.entry import Entry
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.post import Post
from renkei.institution.relying import Presented, own_message
from renkei.institution.settings import Clock
from renkei.institution.subjects import Coded
from renkei.messages.signing import own_document, sealable
from renkei.messages.wire import Answer, Envelope, Inquiry, Message, OwnAsked, OwnProof, Receipt, Submit
from renkei.portal import store
from renkei.record.admission import DAY
from renkei.record.state import ref_of

ITEMS_MOST = 32
KEPT = 900_000
"""Milliseconds for which a wish, and its answers, are kept."""
WISHES_MOST = 20_000
OF_ONE_MOST = 5
BYTES_MOST = 200_000_000
"""Of answers kept for those who have not fetched them; who comes then asks again."""


class Wish:
    """What a resident wants to see of one body, and how far it is."""

    def __init__(self, account: str, body: str, keys: Mapping[str, bytes], at: int, day: str) -> None:
        self.account, self.body, self.keys, self.at, self.day = account, body, dict(keys), at, day
        """``keys``: for each item the key its answer is to be sealed to."""
        self.document = own_document(body, day, self.keys.items())
        """What the card is to sign."""
        self.asked: dict[bytes, str] = {}
        """The inquiries, once the card has signed: which item each is for."""
        self.answers: dict[bytes, bytes] = {}
        """Sealed to the browser's keys."""
        self.refused: dict[bytes, str] = {}
        """Reasons."""


class OwnInformation:
    """The portal's part."""

    def __init__(
        self, origin: str, keys: Keys, member: Member, database: Database, post: Post, entry: Entry, clock: Clock
    ) -> None:
        self._origin, self._keys, self._member, self._database = origin, keys, member, database
        self._post, self._entry, self._clock = post, entry, clock
        self._wishes: dict[str, Wish] = {}
        self._of: dict[bytes, Wish] = {}
        self._bytes = 0
        """Of all answers that are kept."""
        self._lock = threading.Lock()

    @property
    def open(self) -> bool:
        """Whether there is a law for it, and cards to prove who asks."""
        return bool(self._member.pack.header.own.affair) and self._entry.open

    def bodies(self) -> dict[str, list[str]]:
        """The items that each enrolled body may be asked for, by body."""
        pack, on = self._member.pack, self._member.pack.day(self._clock())
        found = {}
        for body in self._member.state.bodies.values():
            if body.role != "gateway":
                continue
            standing = pack.standing(frozenset(body.kinds))
            items = {
                r.item
                for r in pack.linkages
                if r.item in pack.specifications and r.in_force(on) and not standing.isdisjoint(r.provider)
            }
            if items:
                found[body.body] = sorted(items)
        return found

    async def begin(self, account: str, body: str, wanted: Mapping[str, bytes]) -> tuple[str, Wish]:
        """A wish: these items of ``body``, each answer to be sealed to this key (X25519, 32 bytes). Nothing is asked before the card has
        signed. ``Malformed`` for what cannot be asked."""
        may = self.bodies().get(body, [])
        if not 0 < len(wanted) <= ITEMS_MOST or not set(wanted) <= set(may) or not all(map(sealable, wanted.values())):
            raise Malformed(
                "Choose what you want to see.", ja="表示する情報を選んでください。", code="items", field="item"
            )
        await store.code_of(self._database, account)  # told before the card is asked for
        now = self._clock()
        wish, name = Wish(account, body, wanted, now, self._member.pack.day(now).isoformat()), os.urandom(16).hex()
        with self._lock:
            self._forget(now)
            mine = [n for n, w in self._wishes.items() if w.account == account]
            for old in mine[: max(0, len(mine) - OF_ONE_MOST + 1)]:
                self._drop(old)
            if len(self._wishes) >= WISHES_MOST:
                raise Unavailable("Too many ask at once.", ja="アクセスが集中しています。", code="crowded")
            self._wishes[name] = wish
        return name, wish

    async def prove(self, account: str, name: str, shown: Presented) -> None:
        """The card has signed: ask, and show the provider the signature. ``NotGenuine`` with the reason if it proves nothing."""
        wish = self.wish(account, name)
        message = own_message(self._origin, sha256(wish.document).digest())
        await self._entry.verifier().checked(shown, "authentication", message)
        code = await store.code_of(self._database, account)
        signed = [(item, self._inquiry(wish, item, code)) for item in wish.keys]
        with self._lock:
            if self._wishes.get(name) is not wish:
                raise _over()
            if wish.asked:  # a form that was sent twice
                return
            wish.asked = {envelope.id: item for item, envelope in signed}
            self._of.update(dict.fromkeys(wish.asked, wish))
        asked = [OwnAsked(envelope.id, item, wish.keys[item]) for item, envelope in signed]
        proof: Message = OwnProof(asked, wish.day, self._origin, shown.certificate, shown.signature)

        def commit(connection: sa.Connection) -> None:
            self._post.put(connection, "hub", [Submit(envelope) for _, envelope in signed])
            self._post.put(connection, wish.body, [proof])

        try:
            await self._database.write(commit)
        except BaseException:
            with self._lock:
                self._unask(wish)
            raise

    def _inquiry(self, wish: Wish, item: str, code: Coded) -> Envelope:
        now, own, limits = self._clock(), self._member.pack.header.own, self._member.pack.header.limits
        domain = self._member.domain_of_codes(code.epoch)
        inquiry = Inquiry(
            source=ref_of(domain),
            provider=wish.body,
            affair=own.affair,
            item=item,
            purpose=own.purpose,
            ciphertext=encrypt(code.code, self._member.key(domain)).to_bytes(),
            reply_key=wish.keys[item],
            context=os.urandom(32),
            issued_at=now,
            expires=now + limits.expires_days * DAY,
        )
        return self._keys.identity.sign(inquiry)

    def wish(self, account: str, name: str) -> Wish:
        """``NotFound`` if there is no such wish of this resident, or it is over."""
        with self._lock:
            self._forget(self._clock())
            found = self._wishes.get(name)
        if found is None or found.account != account:
            raise _over()
        return found

    def take(self, sender: str, message: Answer | Receipt) -> None:
        """An answer, or a refusal, of something that is waited for; anything else is dropped."""
        with self._lock:
            wish = self._of.get(message.inquiry)
            if wish is None:
                return
            if isinstance(message, Answer) and sender == wish.body:
                if message.inquiry not in wish.answers and self._bytes + len(message.sealed) <= BYTES_MOST:
                    wish.answers[message.inquiry] = message.sealed
                    self._bytes += len(message.sealed)
            elif isinstance(message, Receipt) and sender == "hub" and not message.allowed:
                wish.refused[message.inquiry] = message.reason

    def _forget(self, now: int) -> None:
        over = [n for n, w in self._wishes.items() if now - w.at >= KEPT]
        for name in over:
            self._drop(name)

    def _drop(self, name: str) -> None:
        wish = self._wishes.pop(name, None)
        if wish is not None:
            self._unask(wish)

    def _unask(self, wish: Wish) -> None:
        for id_ in wish.asked:
            self._of.pop(id_, None)
            self._bytes -= len(wish.answers.pop(id_, b""))
        wish.asked = {}


def _over() -> NotFound:
    return NotFound(
        "This is over. Begin again.",
        ja="表示の期限が過ぎました。もう一度やり直してください。",
        code="over",
    )
