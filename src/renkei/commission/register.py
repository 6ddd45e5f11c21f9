"""The register of impact assessments: from a body's draft, past what its level must pass, to the act that lets linkage begin.

draft → comment → review or approval → published; withdrawn at any point before. Which steps a draft takes is the pack's to say, by its
level and the body's kind. What is published is an act in the record with the hash of its text; a later one of the same name
supersedes it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from renkei.commission import store
from renkei.commission.casework import Casework, demand_inspector
from renkei.errors import Conflict, Malformed, NotFound
from renkei.institution.database import Database
from renkei.institution.keeper import Keeper
from renkei.institution.settings import Clock
from renkei.law import Pack
from renkei.law import assessment as law
from renkei.messages.wire import Assessment, Officer
from renkei.record.oversight import DAY, published

UNDER_WAY = ("draft", *law.STEPS)
MOST_TEXT = 100_000


class Draft(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a body says of its files: for which affairs and items, how many people, who handles them, and the text."""

    body: str
    name: str
    title: str
    affairs: tuple[str, ...]
    items: tuple[str, ...]
    people: int
    handlers: int
    incident: bool = False
    level: str = ""
    """Chosen by the body; at least what is due, which it is by default."""
    follows: bool = False
    text: str = ""


class Registered(NamedTuple):
    """A published assessment as the register shows it. ``lapsed`` and ``overdue`` by today."""

    assessment: Assessment
    title: str
    text: str
    lapsed: bool
    overdue: bool


class Register:
    """The commission's register."""

    def __init__(self, keeper: Keeper, database: Database, casework: Casework, clock: Clock) -> None:
        self._keeper, self._database, self._casework, self._clock = keeper, database, casework, clock

    @property
    def _pack(self) -> Pack:
        return self._keeper.state.pack

    def _today(self) -> dt.date:
        return self._pack.day(self._clock())

    def judge(self, draft: Draft) -> tuple[str, str]:
        """The level that is due for ``draft``, and what decided it."""
        return law.due(self._pack.thresholds, self._pack.header.oversight, draft.people, draft.handlers, draft.incident)

    def steps(self, body: str, level: str) -> tuple[str, ...]:
        """What a draft of ``level`` by ``body`` passes before it is published."""
        kinds = self._pack.standing(self._keeper.state.body(body).kinds)
        return law.steps(self._pack.levels[level], self._pack.header.oversight, kinds)

    async def draft(self, officer: Officer, draft: Draft) -> int:
        """Take in a draft; its id."""
        demand_inspector(officer)
        self._check(draft)
        due, _ = self.judge(draft)
        level = draft.level or due
        levels = self._pack.levels
        if level not in levels or levels[level].rank < levels[due].rank:
            raise Malformed(
                f"These files need at least: {levels[due].title.en}.",
                ja=f"この規模では、{levels[due].title.ja}以上が必要です。",
                code="assessment-level",
            )
        row = {
            **msgspec.structs.asdict(draft),
            "affairs": " ".join(draft.affairs),
            "items": " ".join(draft.items),
            "level": level,
            "state": "draft",
            "since": self._clock(),
            "note": "",
        }

        def commit(connection: sa.Connection) -> int:
            id_ = store.put_assessment(connection, row)
            self._casework.note(connection, officer.name, "draft", f"{draft.body}/{draft.name}")
            return id_

        return await self._database.write(commit)

    def _check(self, draft: Draft) -> None:
        pack = self._pack
        wrong = [
            field
            for field, sound in (
                ("body", draft.body in self._keeper.state.bodies),
                ("name", 0 < len(draft.name) <= 40 and all("!" <= c <= "~" and c != "/" for c in draft.name)),
                ("title", 0 < len(draft.title) <= 200),
                ("affairs", set(draft.affairs) <= {"*", *pack.affairs}),
                ("items", set(draft.items) <= {"*", *pack.items} and bool(draft.affairs or draft.items)),
                ("people", 0 <= draft.people < 2**40),
                ("handlers", 0 <= draft.handlers < 2**40),
                ("text", len(draft.text) <= MOST_TEXT and "\0" not in draft.text + draft.title),
            )
            if not sound
        ]
        if wrong:
            raise Malformed(
                f"Not usable: {', '.join(wrong)}.", ja=f"入力を確認してください: {', '.join(wrong)}。", code="draft"
            )

    def next_step(self, row: Any) -> str:
        """What comes after the step a draft is in: a step, or ``published``."""
        steps = self.steps(row.body, row.level)
        at = steps.index(row.state) + 1 if row.state in steps else 0
        return steps[at] if at < len(steps) and not row.follows else "published"

    async def advance(self, officer: Officer, id_: int, note: str) -> str:
        """Take a draft to its next step, which is answered; ``Conflict`` while its public comment is open."""
        demand_inspector(officer)
        row = await self.get(id_)
        if row.state not in UNDER_WAY:
            raise Conflict("This is not under way any more.", ja="この評価書は手続中ではありません。", code="moved-on")
        now, after = self._clock(), self.next_step(row)
        ends = self.comment_ends(row)
        if ends and now < ends:
            raise Conflict(
                "The public may still comment.",
                ja="意見募集の期間中です。",
                code="comment-open",
                remedy="Wait for its end.",
                remedy_ja="終了をお待ちください。",
            )
        if after != "comment" and row.state in ("review", "approval") and not note.strip():
            raise Malformed("Say what the review found.", ja="審査の結果を記入してください。", code="note")
        act = self._act(row) if after == "published" else None

        def commit(connection: sa.Connection) -> None:
            if not store.move_assessment(connection, id_, row.state, after, now, note):
                raise Conflict("Somebody was quicker.", ja="ほかの職員が先に処理しました。", code="moved-on")
            if act is not None:
                store.put_document(connection, act.document, row.title, row.text)
                self._casework.submit(connection, act)
            self._casework.note(connection, officer.name, after, f"{row.body}/{row.name}")

        await self._database.write(commit)
        return after

    async def withdraw(self, officer: Officer, id_: int) -> None:
        """A draft that goes no further."""
        demand_inspector(officer)
        row, now = await self.get(id_), self._clock()

        def commit(connection: sa.Connection) -> None:
            if row.state not in UNDER_WAY or not store.move_assessment(
                connection, id_, row.state, "withdrawn", now, row.note
            ):
                raise Conflict(
                    "This is not under way any more.", ja="この評価書は手続中ではありません。", code="moved-on"
                )
            self._casework.note(connection, officer.name, "withdrawn", f"{row.body}/{row.name}")

        await self._database.write(commit)

    def _act(self, row: Any) -> Assessment:
        today, rules = self._today(), self._pack.header.oversight
        lapses = (today + dt.timedelta(days=rules.follow_days)).isoformat() if row.follows else ""
        return Assessment(
            row.body,
            row.affairs.split(),
            row.items.split(),
            row.level,
            today.isoformat(),
            law.review_day(rules, today).isoformat(),
            row.name,
            row.people,
            row.handlers,
            row.incident,
            sha256(f"{row.title}\n{row.text}".encode()).digest(),
            lapses,
            row.follows,
            self._clock(),
        )

    def comment_ends(self, row: Any) -> int:
        """When public comment on a draft is over (ms); 0 if it is not open to comment."""
        return row.since + self._pack.header.oversight.comment_days * DAY if row.state == "comment" else 0

    async def comment(self, id_: int, text: str) -> None:
        """Somebody comments on a draft, without saying who."""
        row = await self.get(id_)
        if row.state != "comment" or self._clock() >= self.comment_ends(row):
            raise Conflict("This is not open to comment.", ja="意見の募集は行っていません。", code="comment-closed")
        text = text.strip()
        if not text or len(text) > 4000 or "\0" in text:
            raise Malformed(
                "A comment has 1 to 4,000 characters.", ja="意見は4,000文字以内で入力してください。", code="comment"
            )
        now = self._clock()
        await self._database.write(lambda c: store.add_comment(c, id_, now, text))

    async def get(self, id_: int) -> Any:
        row = await self._database.read(lambda c: store.assessment(c, id_))
        if row is None:
            raise NotFound("There is no such assessment.", ja="この評価書はありません。")
        return row

    # ------------------------------------------------------------------ the public side

    async def listed(self, search: str = "", body: str = "") -> list[Registered]:
        """Published assessments that hold every word of ``search``, newest first."""
        found = [r async for r in self._read(published(self._keeper.state.oversight.assessments))]
        words = search.lower().split()
        shown = [
            r for r in found if (not body or r.assessment.body == body) and all(w in self._words(r) for w in words)
        ]
        return sorted(shown, key=lambda r: (r.assessment.published, r.assessment.body), reverse=True)

    async def one(self, body: str, name: str) -> tuple[Registered, list[Assessment]]:
        """A published assessment and those it has superseded, newest first."""
        oversight = self._keeper.state.oversight
        assessment = oversight.assessments.get(body, {}).get(name)
        if assessment is None:
            raise NotFound("There is no such assessment.", ja="この評価書はありません。")
        before = [a for a in oversight.superseded if (a.body, a.name) == (body, name)]
        return await anext(self._read([assessment])), before[::-1]

    async def _read(self, assessments: Iterable[Assessment]) -> Any:
        today = self._today().isoformat()
        for a in assessments:
            text = await self._database.read(lambda c, a=a: store.document(c, a.document))  # type: ignore[misc]
            lapsed, overdue = bool(a.lapses) and a.lapses < today, a.review_due < today
            yield Registered(a, text.title if text else a.name, text.text if text else "", lapsed, overdue)

    def _words(self, r: Registered) -> str:
        return " ".join(self._said(r)).lower()

    def _said(self, r: Registered) -> Iterator[str]:
        pack, a = self._pack, r.assessment
        yield from (r.title, r.text, a.body, a.name, *a.affairs, *a.items)
        for table, codes in ((pack.affairs, a.affairs), (pack.items, a.items), (pack.bodies, [a.body])):
            yield from (w for c in codes if c in table for w in table[c].title)
