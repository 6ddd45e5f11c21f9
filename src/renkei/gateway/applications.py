"""What residents apply for: taken in, looked at, asked back, decided; and told to them, step by step (ADR 49).

What always holds: an application is what its letter in the record brought, checked again here; it is answered only to the person who sent
it, by their code; who is not known here yet is not turned away; nobody's follow-up moves another's application.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import sqlalchemy as sa
from cryptography import x509

from renkei.card.layout import Attributes
from renkei.errors import Conflict, Malformed, NotFound, NotGenuine, RenkeiError
from renkei.gateway import notice_store as store
from renkei.gateway.adapter import SourceFault
from renkei.gateway.notices import LookUp
from renkei.institution import applying, letters, subjects
from renkei.institution.database import Database
from renkei.institution.letters import Arrived, Letters, Written
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.relying import Presented, Verifier, attributes_of, is_near
from renkei.institution.settings import Clock
from renkei.institution.subjects import Coded
from renkei.law import Pack
from renkei.law.counter import APPLICANT, Procedure
from renkei.messages.wire import Applied, Received, Told

UNCHECKED, GOOD, PROXY, OTHER, BAD = "unchecked", "good", "proxy", "other", "bad"
"""What became of a signature: to be looked at, the applicant's, a representative's, somebody else's, none."""
RECEIVED, ASKED, ANSWERED, GRANTED, REFUSED, WITHDRAWN = (
    "received",
    "asked",
    "answered",
    "granted",
    "refused",
    "withdrawn",
)
STEPS = (ASKED, GRANTED, REFUSED)
"""What a clerk may say of one."""
UNSIGNED = ""
LISTED = 100
CHECK_EVERY = 30.0
CHECKED_AT_ONCE = 20
WORDS_MOST = 2000


SIGNED_BEFORE = "この署名は使用済みです。 / What was signed was sent before."


class Application(NamedTuple):
    """One application as it stands."""

    row: Any
    letter: Any
    procedure: Procedure | None
    """Of today's pack; ``None`` if it has it no more."""
    said: Applied
    local_id: str
    """Empty: nobody of this code is known here (yet)."""
    holder: Attributes | None
    """Whose card signed it, once that was found good."""
    steps: list[tuple[Any, Any]]
    """What followed: letters and what they say."""


class Applications:
    """The applications at one body."""

    def __init__(
        self,
        member: Member,
        database: Database,
        post: Post,
        observe: Observer,
        clock: Clock,
        verifier: Callable[[], Verifier | None],
        look_up: LookUp,
    ) -> None:
        self._member, self._database, self._post = member, database, post
        self._observe, self._clock = observe, clock
        self._verifier, self._look_up = verifier, look_up
        self.letters: Letters
        """Set by who makes both."""
        self._to_check = asyncio.Event()
        self._signed_came = False

    @property
    def _pack(self) -> Pack:
        return self._member.pack

    # ------------------------------------------------------------------ taking in

    def arrived(self, connection: sa.Connection, came: Sequence[Arrived]) -> None:
        """Letters that were received: applications, and what follows them."""
        for one in came:
            if not isinstance(one.said, Applied):
                self._observe.count("letters_unexpected")
            elif one.about:
                self._follow(connection, one, one.said)
            else:
                self._begin(connection, one, one.said)

    def _begin(self, connection: sa.Connection, one: Arrived, said: Applied) -> None:
        procedure = self._pack.procedures.get(one.topic)
        if procedure is None or said.withdrawn or said.about:
            self._observe.count("letters_unexpected")
            return
        digest = sha256(said.statement).digest() if procedure.signed else None
        repeated = digest is not None and store.signed_before(connection, digest)
        row = {
            "letter": one.id,
            "procedure": one.topic,
            "office": procedure.office,
            "at": one.at,
            "signed": UNCHECKED if procedure.signed else UNSIGNED,
            "statement": None if repeated else digest,
            "state": RECEIVED,
            "changed": one.at,
        }
        store.add_application(connection, row)
        self._observe.count("applications_received")
        # the portal checks as we do: what comes here all the same is turned back at once
        if wrong := SIGNED_BEFORE if repeated else self._wrong(procedure, said):
            store.move(connection, one.id, REFUSED, one.at)
            self._reply(connection, one, REFUSED, wrong)
            return
        self._post.put(connection, one.sender, [Received([one.id])], later=True)
        self._signed_came = self._signed_came or procedure.signed

    def _wrong(self, procedure: Procedure, said: Applied) -> str:
        if applying.faults(self._pack, procedure, said.form) or applying.attachment_fault(procedure, said.attached):
            return "記入内容に不備があります。 / The form is not filled in as this procedure asks."
        return ""

    def _is_stated(self, procedure: Procedure, said: Applied, at: int) -> bool:
        """Whether what was signed is what was sent, that day, by whom it says."""
        mark, body = applying.Mark.of(said.statement), self._member.domain.body
        if mark is None or mark.by != said.by or not is_near(mark.day, self._pack.day(at)):
            return False
        return said.statement == applying.statement(self._pack, procedure, body, said.form, said.attached, mark)

    def _follow(self, connection: sa.Connection, one: Arrived, said: Applied) -> None:
        if said.withdrawn:
            if store.move(connection, one.about, WITHDRAWN, one.at):
                self._post.put(connection, one.sender, [Received([one.id])], later=True)
        else:
            store.move(connection, one.about, ANSWERED, one.at, of=(ASKED,))

    def _reply(self, connection: sa.Connection, one: Arrived, state: str, words: str) -> None:
        said = Told(about=one.id, state=state, words=words)
        written = self.letters.write(one.sender, one.affair, one.topic, one.code, said)
        known = subjects.by_code(connection, self._member, [one.code]).get(one.code)
        self._send(connection, written, known.local_id if known else "", "")

    def _send(self, connection: sa.Connection, written: Written, local_id: str, by: str) -> None:
        """Whoever wants paper is told on paper of this, too."""
        self.letters.send(connection, [written])
        row = {"letter": written.id, "local_id": local_id, "by": by, "made": written.row["made"]}
        store.add_notices(connection, [row])

    def refused(self, connection: sa.Connection, row: Any) -> None:
        """The record has not taken a letter of ours: what it would have decided is open, whom it would have told by rule was not."""
        if row.about is not None:
            store.move(connection, bytes(row.about), RECEIVED, self._clock(), of=STEPS)
        else:
            store.untell(connection, bytes(row.id))

    def replaced(self, connection: sa.Connection, old: bytes, new: bytes) -> None:
        store.rename(connection, old, new)

    # ------------------------------------------------------------------ signatures

    async def run(self) -> None:
        """Check signatures as they come, for ever; what could not be asked today is asked again."""
        await self._member.until_ready()
        while True:
            self._to_check.clear()
            try:
                await self.check()
            except (RenkeiError, sa.exc.SQLAlchemyError) as error:
                self._observe.log.warning("applications.retry", reason=getattr(error, "code", "") or "database")
            try:
                async with asyncio.timeout(CHECK_EVERY):
                    await self._to_check.wait()
            except TimeoutError:
                pass

    def committed(self) -> None:
        """What was taken in is in the database: its signatures are looked at soon."""
        if self._signed_came:
            self._signed_came = False
            self._to_check.set()

    async def check(self) -> None:
        """Look at the signatures that were not looked at yet."""
        rows = await self._database.read(lambda c: store.unchecked(c, CHECKED_AT_ONCE))
        verifier = self._verifier() if rows else None
        if verifier is None:
            return
        for row in rows:
            try:
                await self._check(verifier, row)
            except RenkeiError as error:  # the authority does not answer now
                self._observe.log.info("applications.unchecked", reason=error.code)
                return

    async def _check(self, verifier: Verifier, row: Any) -> None:
        letter = await self._database.read(lambda c: letters.get(c, bytes(row.letter)))
        said, procedure = self.letters.said(letter), self._pack.procedures.get(row.procedure)
        assert isinstance(said, Applied)
        try:
            if procedure is None or not self._is_stated(procedure, said, row.at):
                raise NotGenuine("What was signed is not what was sent.", code="statement")
            shown = Presented(said.certificate, said.signature)
            certificate = await verifier.checked(shown, "signature", said.statement, at=row.at)
            holder = attributes_of(self._pack.header.cards, certificate)
            found = PROXY if said.by else GOOD if await self._is_applicant(holder, said, letter) else OTHER
        except RenkeiError as error:
            if error.status >= 500:
                raise
            found = BAD
        await self._database.write(lambda c: store.set_signed(c, bytes(row.letter), found))

    async def _is_applicant(self, holder: Attributes, said: Applied, letter: Any) -> bool:
        """Whether who signed is who the form says, by name and, where it is asked, date of birth; and who the code says, as far as our own
        data know when they were born."""
        name, born = said.form.get(f"full-name@{APPLICANT}"), said.form.get(f"date-of-birth@{APPLICANT}")
        if name is not None and "".join(str(name).split()) != "".join(holder.name.split()):
            return False
        local_id = (await self._whose([letter])).get(bytes(letter.id), "")
        days = {str(born)} if born is not None else set()
        days |= await asyncio.to_thread(self._born, local_id) if local_id else set()
        return all(day.replace("-", "") == holder.birth for day in days)

    def _born(self, local_id: str) -> set[str]:
        """By our own data, when somebody was born."""
        item, _, name = self._pack.header.letters.born.partition(".")
        records = self._look_up(item, [local_id]).get(local_id, ()) if item else ()
        return set() if isinstance(records, SourceFault) else {str(r[name]) for r in records if name in r}

    # ------------------------------------------------------------------ the clerk's side

    async def get(self, letter: bytes) -> Application:
        """``NotFound`` if there is no such application."""
        row = await self._database.read(lambda c: store.application(c, letter))
        if row is None:
            raise NotFound("There is no such application.", ja="この申請はありません。")
        first = await self._database.read(lambda c: letters.get(c, letter))
        steps = await self._database.read(lambda c: letters.followed(c, letter))
        said = self.letters.said(first)
        assert isinstance(said, Applied)
        holder = None
        if row.signed in (GOOD, PROXY, OTHER):
            holder = attributes_of(self._pack.header.cards, x509.load_der_x509_certificate(said.certificate))
        found = await self._whose([first])
        followed = [(s, self.letters.said(s)) for s in steps]
        return Application(
            row, first, self._pack.procedures.get(row.procedure), said, found.get(letter, ""), holder, followed
        )

    async def _whose(self, rows: Sequence[Any]) -> dict[bytes, str]:
        """Local ids of those who are known here, by the letter."""
        codes = {bytes(r.id): Coded(bytes(r.code), r.epoch) for r in rows}
        known = await self._database.read(lambda c: subjects.by_code(c, self._member, list(codes.values())))
        return {i: known[code].local_id for i, code in codes.items() if code in known}

    async def say(self, letter: bytes, state: str, words: str, clerk: str) -> None:
        """Ask something back, grant or refuse: the applicant is told, and the application goes on with it."""
        words = words.strip()
        if state not in STEPS or len(words) > WORDS_MOST or (not words and state != GRANTED):
            raise Malformed(
                "Say what you ask, or why it is refused.",
                ja="質問又は理由を入力してください。",
                code="words",
                field="words",
            )
        application = await self.get(letter)
        if state == GRANTED and application.row.signed not in (UNSIGNED, GOOD, PROXY):
            raise Conflict(
                "Its signature is not good, or was not looked at yet.",
                ja="署名が確認できていません。",
                remedy="Wait until it was, ask back, or refuse.",
                remedy_ja="確認を待つか、質問又は不認定としてください。",
                code="unsigned",
            )
        first = application.letter
        code, said = Coded(bytes(first.code), first.epoch), Told(about=letter, state=state, words=words)
        written = await asyncio.to_thread(lambda: self.letters.write(first.peer, first.affair, first.topic, code, said))

        def commit(connection: sa.Connection) -> None:
            if not store.move(connection, letter, state, self._clock(), clerk=clerk):
                raise Conflict("This application is closed.", ja="この申請は処理済みです。", code="moved-on")
            self._send(connection, written, application.local_id, clerk)

        await self._database.write(commit)
        self._observe.count(f"applications_{state}")
