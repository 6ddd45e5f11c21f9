"""Letters between bodies and residents: a notice, an application, what is said of one. Sent and received at the same desk.

A letter is an entry of the record, ruled on and converted like an inquiry, which says who wrote about what, and binds what was said by its
hash; what was said goes around the hub, sealed to the receiver. Neither half is believed without the other. The round's time is when it
counts as delivered.

What always holds: what a letter says is locked in the database; a letter is received once, whatever is repeated; what came without its
permit is forgotten after a while, and so is what was refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from renkei.codes import decrypt, encrypt
from renkei.errors import Malformed, NotGenuine, RenkeiError
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.institution.store import metadata
from renkei.institution.subjects import Coded
from renkei.messages.signing import open_letter, seal_letter
from renkei.messages.wire import (
    MAX_ENCLOSED,
    Applied,
    Enclosure,
    Letter,
    Message,
    Permit,
    Receipt,
    Remind,
    Said,
    Submit,
    Told,
    decode_as,
    document_hash,
    encode,
)
from renkei.record.permit import Delivered, authorise_letter
from renkei.record.state import ref_of

SENT, RECORDED, REFUSED, DELIVERED = "sent", "recorded", "refused", "delivered"
UNDER_WAY_MOST = 1_000
"""Letters without a receipt at which a sender of many waits."""
UNMATCHED_MOST = 10 * UNDER_WAY_MOST
"""Enclosures of one sender that wait for their permit: far more than an honest one has under way."""
UNMATCHED_KEPT = 30 * 86_400_000
"""Milliseconds for which one half of a letter waits for the other: as long as anything in the record may wait."""
MISSED_AFTER = 120_000
"""Milliseconds after which what a letter says is asked for again, each time twice as long."""
LATE = 30_000
AGAIN = ("issued-at", "source")
"""Reasons for which a refused letter is written anew: it came late, or the code it was about is of another epoch by now."""

letters = sa.Table(
    "letters",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("mine", sa.Boolean, nullable=False),
    sa.Column("peer", sa.String(64), nullable=False),
    sa.Column("code", sa.LargeBinary(32), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="1"),
    sa.Column("affair", sa.String(80), nullable=False),
    sa.Column("topic", sa.String(80), nullable=False),
    sa.Column("document", sa.LargeBinary(32), nullable=False),
    sa.Column("salt", sa.LargeBinary(16)),
    sa.Column("said", sa.LargeBinary),
    sa.Column("about", sa.LargeBinary(32)),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("reason", sa.String(40), nullable=False, server_default=""),
    sa.Column("leaf", sa.BigInteger),
    sa.Column("made", sa.BigInteger, nullable=False),
    sa.Column("at", sa.BigInteger),
    sa.Column("read_at", sa.BigInteger),
)
"""Letters sent (``mine``) and received: ``at`` is the time of their round, ``made`` that of being
written or, of those received, whole here; ``about``: the letter they follow; ``said`` is locked."""
sa.Index("letters_code", letters.c.code, letters.c.at)
sa.Index("letters_epoch", letters.c.epoch)
sa.Index("letters_about", letters.c.about)
enclosures = sa.Table(
    "letter_enclosures",
    metadata,
    sa.Column("letter", sa.LargeBinary(32), primary_key=True),
    sa.Column("sender", sa.String(64), primary_key=True),
    sa.Column("said", sa.LargeBinary, nullable=False),
    sa.Column("document", sa.LargeBinary(32), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""What came before its permit, by what it hashes to."""
sa.Index("letter_enclosures_at", enclosures.c.at)
sa.Index("letters_state", letters.c.state, letters.c.made)


class Written(NamedTuple):
    """A letter ready to be sent: its id, its row, and what goes to the hub and to the receiver."""

    id: bytes
    row: dict[str, Any]
    to_hub: Message
    to_receiver: Message


class Arrived(NamedTuple):
    """A letter received whole."""

    id: bytes
    sender: str
    affair: str
    topic: str
    code: Coded
    leaf: int
    at: int
    said: Said
    about: bytes
    """The letter it follows, if that was between the same two about the same person on the same topic; empty otherwise."""


class Follows(Protocol):
    """What follows from letters, in the transaction that takes them in."""

    def arrived(self, connection: sa.Connection, came: Sequence[Arrived]) -> None:
        """These were received."""

    def refused(self, connection: sa.Connection, row: Any) -> None:
        """The record did not take this one of ours: nothing that it said was said."""

    def replaced(self, connection: sa.Connection, old: bytes, new: bytes) -> None:
        """One of ours was written anew, and has another id."""


class Letters:
    """The letters of one institution."""

    def __init__(
        self,
        keys: Keys,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        clock: Clock,
        follows: Follows,
        *,
        prove: bool = False,
    ) -> None:
        self._keys, self._member, self._database, self._post = keys, member, database, post
        self._observe, self._clock, self._follows, self._prove = observe, clock, follows, prove
        self._ours: set[bytes] = set()
        """Letters of ours that had no receipt once: most receipts are inquiries', and cost nothing here."""
        self._loaded = False
        self._asked: dict[bytes, tuple[int, int]] = {}
        """Letters of which we asked for what they say: when last, and how often."""

    # ------------------------------------------------------------------ sending

    def write(self, receiver: str, affair: str, topic: str, code: Coded, said: Said) -> Written:
        """A letter about the person with this code of ours. Costs an encryption, a signature and a seal; not yet sent. ``Malformed`` for
        what is too large, or what its receiver would not read."""
        now, domain, salt, content = (
            self._clock(),
            self._member.domain_of_codes(code.epoch),
            os.urandom(16),
            encode(said),
        )
        decode_as(content, Said)  # type: ignore[arg-type]  # a union is a type to msgspec
        document = document_hash(salt, content)
        ciphertext = encrypt(code.code, self._member.key(domain)).to_bytes()
        envelope = self._keys.identity.sign(Letter(ref_of(domain), receiver, affair, topic, ciphertext, document, now))
        row = {
            "id": envelope.id,
            "mine": True,
            "peer": receiver,
            **code._asdict(),
            "affair": affair,
            "topic": topic,
            "document": document,
            "salt": salt,
            "said": self._keys.lock(content),
            "about": said.about or None,
            "state": SENT,
            "made": now,
        }
        sealed = self._seal(receiver, content, envelope.id)
        return Written(envelope.id, row, Submit(envelope), Enclosure(envelope.id, salt, sealed))

    def _seal(self, receiver: str, content: bytes, letter: bytes) -> bytes:
        sealed = seal_letter(content, self._member.state.body(receiver).seal, letter)
        if len(sealed) > MAX_ENCLOSED:
            raise Malformed("The letter is too large.", ja="内容が大きすぎます。", code="letter-size", status=413)
        return sealed

    def send(self, connection: sa.Connection, written: Sequence[Written], *, later: bool = False) -> None:
        """Send letters with the caller's transaction."""
        if not written:
            return
        connection.execute(letters.insert(), [w.row for w in written])
        self._ours.update(w.id for w in written)
        self._post.put(connection, "hub", [w.to_hub for w in written], later=later)
        by_receiver: dict[str, list[Message]] = {}
        for w in written:
            by_receiver.setdefault(w.row["peer"], []).append(w.to_receiver)
        for receiver, messages in by_receiver.items():
            self._post.put(connection, receiver, messages, later=later)

    # ------------------------------------------------------------------ receiving

    def take(
        self, permits: Sequence[Permit], came: Sequence[tuple[str, Enclosure]], receipts: Sequence[Receipt]
    ) -> Callable[[sa.Connection], None]:
        """Verify what came, on a thread; answers work for the writer."""
        found = [d for permit in permits if (d := self._open(permit)) is not None]
        halves = [half for sender, e in came if (half := self._unseal(sender, e)) is not None]
        now = self._clock()
        if not self._loaded:
            self._ours |= self._database.read_now(_under_way)
            self._loaded = True
        ours = [r for r in receipts if r.inquiry in self._ours]  # they stay: a transaction that fails is tried again

        def commit(connection: sa.Connection) -> None:
            self._keep_halves(connection, halves, now)
            self._keep_permits(connection, found, now)
            self._note(connection, ours)
            self._match(connection, [d.id for d, *_ in found] + [e.letter for _, e in came])

        return commit

    def _unseal(self, sender: str, enclosure: Enclosure) -> tuple[str, Enclosure, bytes, bytes] | None:
        """What came, with the hash it must have in the record, and locked; ``None`` if it is not for us."""
        try:
            content = open_letter(enclosure.sealed, self._keys.seal, enclosure.letter)
        except RenkeiError:
            self._observe.count("enclosures_dropped")
            return None
        return sender, enclosure, document_hash(enclosure.salt, content), self._keys.lock(content)

    def _open(self, permit: Permit) -> tuple[Delivered, Coded, int] | None:
        member = self._member
        try:
            found = authorise_letter(permit, member.notary, member.state, self._keys.body, prove=self._prove)
            code = Coded(decrypt(found.ciphertext, member.key(found.target)), found.target.code_epoch)
        except RenkeiError as error:
            if error.code in ("no-key", "not-enrolled"):
                raise
            self._observe.count("letters_refused")
            self._observe.log.warning("letter.refused", reason=error.code)
            return None
        return found, code, permit.index

    def _keep_halves(
        self, connection: sa.Connection, halves: Sequence[tuple[str, Enclosure, bytes, bytes]], now: int
    ) -> None:
        e = enclosures.c
        for sender in {h[0] for h in halves}:
            mine = {h[1].letter: h for h in halves if h[0] == sender}
            waiting = sa.select(sa.func.count()).select_from(enclosures).where(e.sender == sender)
            room = UNMATCHED_MOST - connection.execute(waiting).scalar_one()
            there = sa.select(e.letter).where(e.sender == sender, e.letter.in_(list(mine)))
            known = {bytes(i) for i in connection.execute(there).scalars()}
            fresh = [
                {"letter": i, "sender": sender, "said": locked, "document": document, "at": now}
                for i, (_, _, document, locked) in mine.items()
                if i not in known
            ]
            if len(fresh) > room:  # asked for again once its permit is there
                self._observe.count("enclosures_dropped", len(fresh) - max(0, room))
            if kept := fresh[: max(0, room)]:
                connection.execute(enclosures.insert(), kept)

    def _keep_permits(self, connection: sa.Connection, found: Sequence[tuple[Delivered, Coded, int]], now: int) -> None:
        by_id = {d.id: (d, code, leaf) for d, code, leaf in found}
        known = set(connection.execute(sa.select(letters.c.id).where(letters.c.id.in_(list(by_id)))).scalars())
        rows = [
            {
                "id": d.id,
                "mine": False,
                "peer": d.sender,
                **code._asdict(),
                "affair": d.letter.affair,
                "topic": d.letter.topic,
                "document": d.letter.document,
                "state": RECORDED,
                "leaf": leaf,
                "made": now,
                "at": d.time,
            }
            for d, code, leaf in by_id.values()
            if d.id not in {bytes(k) for k in known}
        ]
        if rows:
            connection.execute(letters.insert(), rows)

    def _note(self, connection: sa.Connection, receipts: Sequence[Receipt]) -> None:
        """What the record says of letters of ours. One that came too late is written anew; of another what it began is undone."""
        c = letters.c
        for r in receipts:
            told = {
                "leaf": r.index,
                "at": r.time,
                "state": RECORDED if r.allowed else REFUSED,
                "reason": r.reason if not r.allowed else "",
            }
            mine = c.id == r.inquiry, c.mine.is_(True), c.state == SENT
            if not connection.execute(letters.update().where(*mine).values(told)).rowcount or r.allowed:
                continue
            row = connection.execute(sa.select(letters).where(c.id == r.inquiry)).one()
            self._observe.count("letters_turned_away")
            late = (
                self._clock() - row.made > LATE or row.epoch < self._member.domain.code_epoch
            )  # else a clock is wrong
            if r.reason in AGAIN and late and (fresh := self._anew(row)) is not None:
                connection.execute(letters.delete().where(c.id == row.id))
                self.send(connection, [fresh])
                connection.execute(letters.update().where(c.about == row.id).values(about=fresh.id))
                self._follows.replaced(connection, bytes(row.id), fresh.id)
            else:
                self._follows.refused(connection, row)

    def _anew(self, row: Any) -> Written | None:
        """The same letter, of now; ``None`` if it cannot be written."""
        said, code = self._read(bytes(row.said)), Coded(bytes(row.code), row.epoch)
        newest = self._member.domain.code_epoch
        try:
            carried = Coded(self._member.carry(*code, newest), newest)
            return self.write(row.peer, row.affair, row.topic, carried, said) if said is not None else None
        except RenkeiError:
            return None

    def _match(self, connection: sa.Connection, ids: Iterable[bytes]) -> None:
        """Take in the letters among ``ids`` of which both halves are there."""
        c, e = letters.c, enclosures.c
        whole = sa.select(letters, e.said.label("content")).join(
            enclosures, sa.and_(e.letter == c.id, e.sender == c.peer, e.document == c.document)
        )
        arrived = []
        for row in connection.execute(whole.where(c.id.in_(list(ids)), c.mine.is_(False), c.state == RECORDED)).all():
            said = self._read(bytes(row.content))
            connection.execute(enclosures.delete().where(e.letter == row.id))
            if said is None:
                self._observe.count("letters_unreadable")
                continue
            about = self._followed(connection, row, said.about)
            connection.execute(
                letters.update()
                .where(c.id == row.id)
                .values(said=row.content, about=about, state=DELIVERED, made=self._clock())
            )
            code = Coded(bytes(row.code), row.epoch)
            arrived.append(
                Arrived(bytes(row.id), row.peer, row.affair, row.topic, code, row.leaf, row.at, said, about or b"")
            )
        if arrived:
            self._observe.count("letters_received", len(arrived))
            self._follows.arrived(connection, arrived)

    def _followed(self, connection: sa.Connection, row: Any, about: bytes) -> bytes | None:
        """``about``, if it may be followed by this letter: nobody writes into another's thread."""
        first = get(connection, about) if about else None
        if first is None:
            return None
        epoch = max(first.epoch, row.epoch)
        same_person = self._member.carry(bytes(first.code), first.epoch, epoch) == self._member.carry(
            bytes(row.code), row.epoch, epoch
        )
        if same_person and (first.peer, first.topic) == (row.peer, row.topic):
            return about
        self._observe.count("letters_stray")
        return None

    def _read(self, locked: bytes) -> Said | None:
        try:
            return decode_as(self._keys.unlock(locked), Said)  # type: ignore[arg-type]  # a union is a type to msgspec
        except RenkeiError:
            return None

    def said(self, row: Any) -> Told | Applied:
        """What a letter of ours, or one received whole, says. ``NotGenuine`` if that cannot be read any more."""
        found = self._read(bytes(row.said))
        if found is None:
            raise NotGenuine(
                "What this letter says cannot be read.", ja="内容を読み取れません。", code="letter-unreadable"
            )
        return found

    async def is_crowded(self) -> bool:
        """Whether so many of ours are under way that whoever sends many waits: single letters, and inquiries, go before."""
        c = letters.c
        waiting = sa.select(sa.func.count()).select_from(letters).where(c.mine.is_(True), c.state == SENT)
        return bool(await self._database.read(lambda o: o.execute(waiting).scalar_one()) > UNDER_WAY_MOST)

    async def pursue(self) -> None:
        """Ask for what letters say that are in the record for long without it: whoever sent it, or we, may have been restored."""
        now, c = self._clock(), letters.c
        alone = c.mine.is_(False), c.state == RECORDED, c.made < now - MISSED_AFTER
        rows = await self._database.read(
            lambda o: o.execute(sa.select(c.id, c.peer, c.made).where(*alone).limit(200)).all()
        )
        asked: dict[str, list[Message]] = {}
        for row in rows:
            last, times = self._asked.get(bytes(row.id), (row.made, 0))
            if now - last >= MISSED_AFTER << min(times, 10):
                self._asked[bytes(row.id)] = now, times + 1
                asked.setdefault(row.peer, []).append(Remind(bytes(row.id)))
        self._asked = {i: a for i, a in self._asked.items() if i in {bytes(r.id) for r in rows}}
        for peer, messages in asked.items():
            await self._post.send(peer, messages)

    def reminded(self, peer: str, letter: bytes) -> Callable[[sa.Connection], None] | None:
        """``peer`` has a letter of ours without what it says: send that again. ``None`` if it is none of ours to it."""
        row = self._database.read_now(lambda c: get(c, letter))
        if row is None or not row.mine or row.peer != peer or row.said is None:
            return None
        content = self._keys.unlock(bytes(row.said))
        message = Enclosure(letter, bytes(row.salt), self._seal(peer, content, letter))
        return lambda connection: self._post.put(connection, peer, [message])

    async def forget(self) -> None:
        """Forget halves whose other half never came."""
        before, c = self._clock() - UNMATCHED_KEPT, letters.c
        lost = c.mine.is_(False), c.state == RECORDED, c.made < before
        alone = sa.select(enclosures.c.at).where(enclosures.c.at < before).limit(1)
        if not await self._database.read(
            lambda o: o.execute(alone).first() or o.execute(sa.select(c.id).where(*lost).limit(1)).first()
        ):
            return

        def commit(connection: sa.Connection) -> None:
            connection.execute(enclosures.delete().where(enclosures.c.at < before))
            connection.execute(letters.delete().where(*lost))

        await self._database.write(commit)


# ------------------------------------------------------------------ reading


def _under_way(connection: sa.Connection) -> set[bytes]:
    where = letters.c.mine.is_(True), letters.c.state == SENT
    return {bytes(i) for i in connection.execute(sa.select(letters.c.id).where(*where)).scalars()}


def get(connection: sa.Connection, id_: bytes) -> sa.Row[Any] | None:
    return connection.execute(sa.select(letters).where(letters.c.id == id_)).one_or_none()


def thread(connection: sa.Connection, id_: bytes) -> list[sa.Row[Any]]:
    """A letter and all that followed it, in the order of the record."""
    c = letters.c
    query = sa.select(letters).where(sa.or_(c.id == id_, c.about == id_), c.said.is_not(None))
    return list(connection.execute(query.order_by(sa.func.coalesce(c.leaf, 2**53), c.made)))


def followed(connection: sa.Connection, id_: bytes) -> list[sa.Row[Any]]:
    """What followed a letter, in the order of the record."""
    c = letters.c
    query = sa.select(letters).where(c.about == id_, c.said.is_not(None))
    return list(connection.execute(query.order_by(sa.func.coalesce(c.leaf, 2**53), c.made)))


def refused(connection: sa.Connection, ids: Sequence[bytes]) -> dict[bytes, str]:
    """Those of these letters of ours that the record refused, with the reason."""
    c = letters.c
    rows = connection.execute(sa.select(c.id, c.reason).where(c.id.in_(list(ids)), c.state == REFUSED))
    return {bytes(r.id): r.reason for r in rows}


def received(
    connection: sa.Connection, codes: Sequence[bytes], *, below: int | None = None, limit: int = 50
) -> list[sa.Row[Any]]:
    """Letters received about a person, newest first; ``below`` pages by leaf. ``codes``: the person's, of each epoch."""
    c = letters.c
    where = [c.code.in_(codes), c.mine.is_(False), c.state == DELIVERED]
    where += [c.leaf < below] if below is not None else []
    return list(connection.execute(sa.select(letters).where(*where).order_by(c.leaf.desc()).limit(limit)))


def unread(connection: sa.Connection, codes: Sequence[bytes], *, since: int = 0) -> int:
    """How many a person has not read, of those that came here, both halves of them, since (ms)."""
    c = letters.c
    where = c.code.in_(codes), c.mine.is_(False), c.state == DELIVERED, c.read_at.is_(None), c.made >= since
    return connection.execute(sa.select(sa.func.count()).select_from(letters).where(*where)).scalar_one()


def read(connection: sa.Connection, id_: bytes, at: int | None) -> None:
    """Note when a letter was read first; ``None``: it counts as unread again."""
    c = letters.c
    connection.execute(letters.update().where(c.id == id_, c.read_at.is_(None) if at else sa.true()).values(read_at=at))
