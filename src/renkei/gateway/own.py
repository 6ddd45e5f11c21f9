"""What is held about a person, shown to that person: answered only on a proof that it is they who ask.

The portal asks in a resident's name. Were its word enough, whoever stole it could read everything about everybody. So such an inquiry is
held until the person's card has signed for it: the signature names the inquiry, and so the key the answer is sealed to, which was made in
the resident's own browser. Whose the card is, the numbering authority says by a code of our own (ADR 29, 44).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from renkei.errors import RenkeiError
from renkei.gateway import store
from renkei.gateway.answering import Answering
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.entry import Entry
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.relying import Presented, is_near, own_message
from renkei.institution.settings import Clock, Settings
from renkei.messages.signing import own_document
from renkei.messages.wire import CodeByCard, Message, OwnAsked, OwnProof
from renkei.record.state import ref_of

AT_ONCE = 64
OF_ONE_AT_ONCE = 2
"""Proofs of one card."""
WITHIN = 20.0
"""Seconds in which permits, and the authority's word, must have come; then the resident begins again."""
LOOK_EVERY = 0.2


class Own:
    """The provider's side of one institution."""

    def __init__(
        self,
        settings: Settings,
        entry: Entry,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        answering: Answering,
        clock: Clock,
    ) -> None:
        self._settings, self._entry, self._member = settings, entry, member
        self._database, self._post, self._observe, self._answering, self._clock = (
            database,
            post,
            observe,
            answering,
            clock,
        )
        self._under_way: Counter[bytes] = Counter()

    async def take(self, sender: str, proof: OwnProof) -> None:
        """Answer what the proof is for; of whom it is not, nothing, as of somebody without data."""
        card = sha256(proof.certificate).digest()
        if sum(self._under_way.values()) >= AT_ONCE or self._under_way[card] >= OF_ONE_AT_ONCE:
            self._observe.count("own_proofs_turned_away")
            return
        self._under_way[card] += 1
        try:
            await self._take(sender, proof)
        except TimeoutError:
            self._observe.count("own_proofs_late")
        except (RenkeiError, sa.exc.SQLAlchemyError) as error:
            self._refuse(getattr(error, "code", "") or "database")
        finally:
            self._under_way[card] -= 1
            self._under_way += Counter()  # forgets who has nothing under way

    def _refuse(self, reason: str) -> None:
        self._observe.count("own_proofs_refused")
        self._observe.log.warning("own.refused", reason=reason)

    async def _take(self, sender: str, proof: OwnProof) -> None:
        known, portal = self._member.directory(sender), self._settings.portal
        if known is None or known.role != "portal" or not portal or proof.audience != portal:
            self._refuse("sender")
            return
        if not is_near(proof.day, self._member.pack.day(self._clock())):
            self._refuse("day")
            return
        message = own_message(proof.audience, sha256(self._document(proof)).digest())
        await self._entry.verifier().checked(Presented(proof.certificate, proof.signature), "authentication", message)
        async with asyncio.timeout(WITHIN):
            holder = await self._holder(proof)
        # each by itself: one that the law refuses never gets a permit, and the others do not wait for it
        await asyncio.gather(*(self._settle(sender, asked, holder) for asked in proof.asked))

    async def _settle(self, sender: str, asked: OwnAsked, holder: str) -> None:
        try:
            async with asyncio.timeout(WITHIN):
                row = await self._awaited(asked.inquiry, sender)
            if row is None:
                return
            inquiry = self._answering.inquiry_of(row)
            signed = (inquiry.item, inquiry.reply_key) == (asked.item, asked.reply_key)
            theirs = bool(holder) and row.local_id == holder
            if row.local_id is not None and not (signed and theirs):
                self._observe.count("own_of_others")
            await self._answering.settle_own(asked.inquiry, proven=signed and theirs)
        except TimeoutError:
            self._observe.count("own_proofs_late")
        except (RenkeiError, sa.exc.SQLAlchemyError) as error:
            self._refuse(getattr(error, "code", "") or "database")

    def _document(self, proof: OwnProof) -> bytes:
        return own_document(self._settings.body, proof.day, ((a.item, a.reply_key) for a in proof.asked))

    async def _holder(self, proof: OwnProof) -> str:
        """The local id of whose card it is; empty if nobody's here."""
        key, domain = sha256(proof.certificate).digest(), ref_of(self._member.domain)

        def code_by_card(handle: bytes, local_proof: bytes) -> Message:
            said = proof.audience, b"", proof.certificate, proof.signature
            return CodeByCard(domain, handle, local_proof, *said, document=self._document(proof))

        asked = False
        while True:
            holder = await self._database.read(lambda c: subjects.holder_of(c, key))
            if holder and not holder.startswith(subjects.BY_CARD):
                return holder
            if asked and holder == "":
                return ""
            if not asked:  # a card of nobody may be somebody's by now
                asked = True
                await self._database.write(
                    lambda c: subjects.request_by_card(c, self._post, self._member, key, code_by_card)
                )
            await asyncio.sleep(LOOK_EVERY)

    async def _awaited(self, inquiry: bytes, sender: str) -> Any:
        """The row of an inquiry, which its permit may yet bring; ``None`` if it is not this sender's, or settled."""
        while True:
            row = (await self._database.read(lambda c: store.provisions_of(c, [inquiry]))).get(inquiry)
            if row is not None:
                return row if row.requester == sender and row.state == "held" else None
            await asyncio.sleep(LOOK_EVERY)
