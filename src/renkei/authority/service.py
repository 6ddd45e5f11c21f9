"""The authority's life: load the roll at the first start, then answer requests for codes; note whose cards' certificates are; replace
numbers that leaked."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import random
import secrets
from collections import defaultdict
from collections.abc import Sequence
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from cryptography import x509

from renkei.authority import roll, store
from renkei.authority.api import authority_api
from renkei.codes import encrypt, mint
from renkei.errors import Conflict, Malformed, NotFound, RenkeiError
from renkei.institution.member import Member
from renkei.institution.post import Parcel, Post
from renkei.institution.relying import Presented, authentication_message, is_near, number_message, own_message, signed
from renkei.institution.rotation import Rotation
from renkei.institution.runtime import Institution
from renkei.institution.settings import Clock, system_clock
from renkei.institution.web import Health, serve
from renkei.messages.signing import own_of
from renkei.messages.wire import (
    MAX_BATCH,
    CodeByCard,
    CodeRefused,
    CodeRequest,
    IssuanceBatch,
    Issued,
    KeyShare,
    Message,
    Permit,
    Submit,
)
from renkei.numbers import number_format
from renkei.record.state import domain_of, ref_of

REQUESTS_AT_ONCE = 512
_shuffle = random.SystemRandom().shuffle


class _Wanted(NamedTuple):
    """Codes that a body wants: the handles of whom we know, with their ids, and of whom we do not."""

    known: list[tuple[bytes, bytes]]
    unknown: list[bytes]


class _Numbers:
    """Every number ever issued, as something to look a number up in."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def __contains__(self, number: object) -> bool:
        return bool(store.issued(self._connection, [str(number)]))


class Authority(Institution):
    """The numbering authority."""

    packages = ("institution", "authority")

    def __init__(self, folder: Path, *, clock: Clock = system_clock) -> None:
        super().__init__(folder, clock=clock)
        self.member = Member(self.home, self.keys, self.database, self.observe, clock)
        self.post = Post(self.keys, self.bus, self.database, self.member.directory, self.observe)
        self.member.post = self.post
        self.post.unknown_sender = self.member.want
        self.rotation = Rotation(self.home, self.keys, self.member, self.database, self.post, self.observe, [])
        self._prf = self.keys.derive("mint")

    async def start(self) -> None:
        if self.settings.roll and not await self.database.read(store.count):
            await asyncio.to_thread(self.load_roll, Path(self.settings.roll))
        await self._certify_those_given()
        await self._take_in_corporations()
        await self.join()
        await self.post.start()
        self.keep(self.member.follow_always, "follow")
        self.keep(lambda: self.post.consume(self._handle, REQUESTS_AT_ONCE), "worker")
        self.keep(self.rotation.run, "rotation")
        self.run(serve(self.settings, self.observe, [authority_api(self)], self.health), "web")

    async def stop(self) -> None:
        await self.post.close()
        await super().stop()

    def load_roll(self, path: Path, *, progress: roll.Progress = lambda done, total: None) -> int:
        """Load a resident roll (``roll.load``) under the pack's number format."""
        number = number_format(self.member.pack.header.person_number)
        today = dt.datetime.fromtimestamp(self.clock() / 1000, dt.UTC).date()
        return roll.load(self.database, path, number, today=today, below=secrets.randbelow, progress=progress)

    def report(self) -> Health:
        return Health(self.member.ready, {"persons": str(self.database.read_now(store.count))})

    # ------------------------------------------------------------------ persons

    async def certify(self, number: str, certificate: bytes) -> None:
        """Note whose a card's authentication certificate (DER) is, by the number; ``NotFound``, or ``Conflict`` if it is another's."""
        try:
            x509.load_der_x509_certificate(certificate)
        except ValueError:
            raise Malformed("This is no certificate.", ja="電子証明書ではありません。", code="certificate") from None
        given = number_format(self.member.pack.header.person_number).parse(number)
        digest = sha256(certificate).digest()
        if not await self.database.write(lambda c: store.certify(c, digest, _holder(c, given))):
            raise Conflict(
                "The certificate is another person's.", ja="この電子証明書は別の人のものです。", code="certified"
            )

    async def renumber(self, number: str, reason: str) -> str:
        """Give whoever has ``number`` another one, for one of ``REPLACED``: the new number. Everybody's linkage codes stay as they are.

        ``NotFound`` if nobody has it; ``Conflict`` if it was replaced already.
        """
        if reason not in store.REPLACED:
            raise Malformed(
                f"A number is replaced because it was {' or '.join(store.REPLACED)}.",
                ja="番号の変更は、漏えいし、または不正に用いられた場合に限ります。",
                code="reason",
            )
        format_, now = number_format(self.member.pack.header.person_number), self.clock()
        old = format_.parse(number)

        def commit(connection: sa.Connection) -> str:
            person, new = _holder(connection, old), format_.issue(_Numbers(connection))
            if not store.replace(connection, person, old, new, reason, now):
                raise Conflict("The number was replaced already.", ja="この番号は変更済みです。", code="replaced")
            return new

        new = await self.database.write(commit)
        self.observe.count("numbers_replaced")
        return new

    async def _certify_those_given(self) -> None:
        """Take in ``certificates.csv`` (``number,certificate``: hexadecimal DER), which the operator put there, and remove it."""
        path = self.home / "certificates.csv"
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    await self.certify(row["number"], bytes.fromhex(row["certificate"]))
            path.unlink()

    async def _take_in_corporations(self) -> None:
        """Take in ``corporations.csv`` (``number``), which the operator put there, and remove it. ``Malformed`` for a wrong number."""
        path = self.home / "corporations.csv"
        if not path.exists():
            return
        format_ = number_format(self.member.pack.header.corporate_number)
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            while given := [format_.parse(row["number"]) for row in islice(rows, MAX_BATCH)]:
                await self.database.write(lambda c, given=given: store.add_corporations(c, given))  # type: ignore[misc]
        path.unlink()

    # ------------------------------------------------------------------ codes

    async def _handle(self, parcels: list[Parcel]) -> None:
        requests: list[tuple[str, CodeRequest | CodeByCard]] = []
        for parcel in parcels:
            for message in parcel.messages:
                if isinstance(message, KeyShare):
                    await self.member.accept_share(parcel.sender, message)
                elif isinstance(message, CodeRequest | CodeByCard):
                    requests.append((parcel.sender, message))
                elif not isinstance(message, Permit):
                    self.observe.count("messages_unexpected")
        if any(self._is_behind(body, request) for body, request in requests):
            await self.member.follow()
        outgoing = await asyncio.to_thread(self._issue, requests) if requests else {}

        def commit(connection: sa.Connection) -> None:
            for recipient, messages in outgoing.items():
                for message in messages:
                    self.post.put(connection, recipient, [message])
            self.post.committed(connection, parcels)

        await self.database.write(commit)

    def _is_behind(self, body: str, request: CodeRequest | CodeByCard) -> bool:
        """Whether the body speaks of a domain of its own that we have not heard of: then we must follow the record first."""
        known = self.member.state.domain(body)
        return known is None or known < domain_of(request.domain)

    def _code(self, internal_id: bytes, code_epoch: int) -> bytes:
        return self.member.carry(mint(self._prf, internal_id), 1, code_epoch)

    def _wanted(self, connection: sa.Connection, body: str, request: CodeRequest | CodeByCard) -> _Wanted:
        """Whom a body asks for."""
        if isinstance(request, CodeByCard):
            person = self._by_card(connection, body, request)
            known = [(request.handle, person)] if person else []
            return _Wanted(known, [] if person else [request.handle])
        found = store.ids_of(connection, [w.number for w in request.wanted])
        known = [(w.handle, found[w.number]) for w in request.wanted if w.number in found]
        return _Wanted(known, [w.handle for w in request.wanted if w.number not in found])

    def _by_card(self, connection: sa.Connection, body: str, request: CodeByCard) -> bytes | None:
        """Whose card signed; nobody if it did not, or if the number that goes with it is another's."""
        if not self._proven(body, request):
            return None
        person = store.holder_of(connection, sha256(request.certificate).digest())
        if request.number and store.ids_of(connection, [request.number]).get(request.number) != person:
            return None
        return person

    def _proven(self, body: str, request: CodeByCard) -> bool:
        """Whether the holder of the certificate signed in, and at the body that asks: nobody else may name a person by a card."""
        audience, challenge, number = request.audience, request.challenge, request.number
        message, at = authentication_message(audience, challenge), body
        if request.document:  # who asks for their own, asks at the portal; and this body, today, and no other
            message, at = own_message(audience, sha256(request.document).digest()), self.member.state.of_role("portal")
        elif number:
            message = number_message(audience, challenge, number)
        try:
            signed(Presented(request.certificate, request.signature), message)
            if request.document:
                named, day = own_of(request.document)
                if named != body or not is_near(day, self.member.pack.day(self.clock())):
                    return False
        except RenkeiError:
            return False
        return self.settings.card_sites.get(at) == request.audience

    def _issue(self, requests: Sequence[tuple[str, CodeRequest | CodeByCard]]) -> dict[str, list[Message]]:
        """Encrypted codes for everyone asked for, shuffled, in batches per institution; refusals for whom we do not know."""
        source, state = self.member.domain, self.member.state
        key = self.member.key(source)
        outgoing: dict[str, list[Message]] = defaultdict(list)
        for body, request in requests:
            target = state.domain(body)
            if domain_of(request.domain).body != body:
                self.observe.count("requests_refused")
                continue
            if target is None:
                self.observe.count("requests_refused")
                continue
            with self.database.engine.connect() as connection:
                wanted = self._wanted(connection, body, request)
            codes = [
                Issued(handle, encrypt(self._code(person, source.code_epoch), key).to_bytes())
                for handle, person in wanted.known
            ]
            _shuffle(codes)
            for at in range(0, len(codes), MAX_BATCH):
                batch = IssuanceBatch(ref_of(source), ref_of(target), codes[at : at + MAX_BATCH], self.clock())
                outgoing["hub"].append(Submit(self.keys.identity.sign(batch)))
            if wanted.unknown:
                outgoing[body].append(CodeRefused(wanted.unknown))
            self.observe.count("codes_issued", len(codes))
        return outgoing


def _holder(connection: sa.Connection, number: str) -> bytes:
    """Who has this number, or had it."""
    found = store.ids_of(connection, [number])
    if number not in found:
        raise NotFound("Nobody has this number.", ja="この番号の人はいません。", code="no-person")
    return found[number]
