"""The commission and we: what it asks of this body, in words that come sealed, and what this body answers.

Only what the record bears out is taken in: a measure of the commission against this body, whose hash its words have.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from renkei.errors import Conflict, Malformed, NotFound, Unavailable
from renkei.gateway import store
from renkei.institution.database import Database
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.institution.settings import Clock
from renkei.messages.wire import (
    MAX_RECORDS,
    AskedRecord,
    Demand,
    Explanation,
    GivenRecord,
    Order,
    Records,
    document_hash,
)
from renkei.record.oversight import Standing

MOST = 8000
demands = store.demands


class Supervision:
    """One body under supervision."""

    def __init__(
        self, body: str, member: Member, database: Database, post: Post, observe: Observer, clock: Clock
    ) -> None:
        self._body, self._member, self._database = body, member, database
        self._post, self._observe, self._clock = post, observe, clock

    def take(self, demand: Demand) -> Any:
        """Work for the writer. ``Unavailable`` until the measure that bears the words out is in the record here."""
        document = document_hash(demand.salt, demand.text)
        measure = next(
            (
                m
                for _, _, m in reversed(self._member.state.oversight.measures)
                if (m.case, m.kind, m.body, m.document, m.due)
                == (demand.case, demand.kind, self._body, document, demand.due)
            ),
            None,
        )
        if measure is None:
            self._member.want()
            raise Unavailable("The record does not bear this measure out yet.", code="behind")
        row = {
            "document": document,
            "case_number": demand.case,
            "kind": demand.kind,
            "text": demand.text,
            "due": demand.due,
            "first": measure.first,
            "end": measure.end,
            "received_at": self._clock(),
        }

        def commit(connection: sa.Connection) -> None:
            if connection.execute(sa.select(demands.c.document).where(demands.c.document == document)).first() is None:
                connection.execute(demands.insert(), [row])

        return commit

    async def listed(self) -> list[Any]:
        """What the commission has asked or told, newest first."""
        query = sa.select(demands).order_by(demands.c.received_at.desc()).limit(200)
        return list(await self._database.read(lambda c: c.execute(query).all()))

    async def answer(self, document: bytes, text: str, clerk: str) -> None:
        """Answer what was asked; once. To an inspection, our own records of the inquiries it is about go with the answer.

        ``Unavailable`` (``unsettled``) while we do not know of every inquiry of ours where it is in the record.
        """
        text = text.strip()
        if not text or len(text) > MOST or "\0" in text:
            raise Malformed(
                f"An answer has 1 to {MOST:,} characters.", ja=f"回答は{MOST:,}文字以内です。", code="answer"
            )
        records = await self._database.read(lambda c: _records(c, document))
        values = {"answer": text, "answered_at": self._clock(), "answered_by": clerk}

        def commit(connection: sa.Connection) -> None:
            row = connection.execute(sa.select(demands).where(demands.c.document == document)).one_or_none()
            if row is None:
                raise NotFound("There is no such request.", ja="この要求はありません。")
            changed = connection.execute(
                demands.update().where(demands.c.document == document, demands.c.answer.is_(None)).values(values)
            )
            if not changed.rowcount:
                raise Conflict("This was answered already.", ja="回答済みです。", code="answered")
            self._post.put(connection, "commission", [*records, Explanation(row.case_number, document, text)])

        await self._database.write(commit)

    def orders(self) -> list[Standing]:
        """Standing orders that name this body, or nobody."""
        oversight, now = self._member.state.oversight, self._clock()
        found = []
        for standing in (oversight.decisions[n] for n in oversight.orders):
            order = standing.decision
            if isinstance(order, Order) and oversight.holds(standing, self._member.pack, now):
                named = {order.scope.body, order.scope.requester, order.scope.provider} - {"*"}
                if not named or self._body in named:
                    found.append(standing)
        return found


def _records(connection: sa.Connection, document: bytes) -> list[Records]:
    """What we hand over for the inspection of this document: nothing for any other measure."""
    row = connection.execute(sa.select(demands).where(demands.c.document == document)).one_or_none()
    if row is None or not row.end:
        return []
    if store.unsettled(connection, row.received_at):
        # without it an inquiry would be found missing that we have
        raise Unavailable(
            "The receipt of an inquiry is still on its way: what is handed over now would lack it.",
            ja="受付の確認がまだ届いていない照会があります。今提出すると、その照会が欠けます。",
            remedy="Try again in a moment.",
            remedy_ja="少し待ってから、もう一度提出してください。",
            code="unsettled",
        )
    asked = [
        AskedRecord(bytes(r.id), bytes(r.salt), r.clerk, r.case_number, r.reason_text)
        for r in store.asked_between(connection, row.first, row.end)
    ]
    given = [
        GivenRecord(bytes(r.id), r.state, r.settled_by or "", r.finished_at or 0)
        for r in store.given_between(connection, row.first, row.end)
    ]
    found = []
    for at in range(0, max(len(asked), len(given)), MAX_RECORDS):
        some = slice(at, at + MAX_RECORDS)
        found.append(Records(row.case_number, document, asked[some], given[some]))
    return found
