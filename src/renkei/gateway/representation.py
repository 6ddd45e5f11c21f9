"""Who acts for whom, told to the portal by the body that keeps the register: two letters, one to either (ADR 49).

The portal knows neither; both letters carry a random pair by which it ties the two accounts. The keepers see two letters and no pair.

What always holds: a guardian only for who is under age by this body's own data, and until they are not; never of a child or guardian who
is protected here: whoever a child hides from gains no way to look at it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from renkei.errors import NotFound, Refused
from renkei.gateway import notice_store as store
from renkei.gateway.adapter import SourceFault
from renkei.gateway.notices import filled
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.letters import Letters, Written
from renkei.institution.member import Member
from renkei.institution.settings import Clock
from renkei.institution.subjects import Subject
from renkei.messages.wire import Told
from renkei.numbers import number_format


class Representation:
    """What this body says of who acts for whom."""

    def __init__(
        self,
        body: str,
        letters: Letters,
        member: Member,
        database: Database,
        clock: Clock,
        look_up: Callable[[str, Sequence[str]], Mapping[str, Any]],
    ) -> None:
        self._body, self._letters, self._member, self._database = body, letters, member, database
        self._clock, self._look_up = clock, look_up

    async def guard(self, clerk: str, child: str, guardian: str, *, over: bool = False) -> str:
        """``guardian`` may act for ``child`` until it comes of age, or (``over``) may no more; the last day (ISO).

        ``NotFound`` for who has no code here; ``Refused`` if the law knows no such letters, the child is of age by our data or unknown in
        them, the guardian is not, or either is protected.
        """
        law, pack = self._member.pack.header.letters, self._member.pack
        if not (law.guardian and law.guarded and law.born and self._may_tell(law.guardian)):
            raise Refused(
                "The law's pack has no guardians.", ja="保護者の登録の定めがありません。", code="no-guardians"
            )
        known = await self._database.read(lambda c: subjects.by_local_id(c, [child, guardian]))
        if child == guardian or any(i not in known or known[i].code is None for i in (child, guardian)):
            raise NotFound("One of them has no linkage code here.", ja="符号のない方がいます。", code="no-subject")
        today = pack.day(self._clock())
        if not over and any(known[i].withheld or known[i].manual for i in (child, guardian)):
            raise Refused(
                "One of them is protected here.",
                ja="保護の対象となっている方がいます。",
                remedy="Somebody who may protect persons decides this, at the counter.",
                remedy_ja="保護の担当者が窓口で判断してください。",
                code="protected",
            )
        of_age = await asyncio.to_thread(self._of_age, [child, guardian])
        if of_age.get(child, today) <= today or of_age.get(guardian, dt.date.max) > today:
            raise Refused("By our data this is no child and its guardian.", ja="年齢が確認できません。", code="of-age")
        if law.household and not over and not await asyncio.to_thread(self._live_together, [child, guardian]):
            raise Refused(
                "By our data they do not live together.",
                ja="同じ世帯であることを確認できません。",
                remedy="At the counter, by the family register, until that is in the data.",
                remedy_ja="戸籍などにより窓口で確認してください。",
                code="household",
            )
        until = (today if over else of_age[child]) - dt.timedelta(days=1)
        values = {"until": until.isoformat()}
        await self._tell(clerk, [(known[child], law.guarded), (known[guardian], law.guardian)], values)
        return until.isoformat()

    async def appoint(self, clerk: str, corporation: str, officer: str, values: Mapping[str, str]) -> None:
        """``officer`` may act for a corporation, both known here by local id, until a day (ISO). ``values``: number, name, until.

        Whether the number is the corporation's, the portal sees by its code.
        """
        law = self._member.pack.header.letters
        if not (law.officer and law.officered) or not self._may_tell(law.officer):
            raise Refused(
                "This body appoints nobody.", ja="この機関は法人の担当者を登録できません。", code="no-officers"
            )
        known = await self._database.read(lambda c: subjects.by_local_id(c, [corporation, officer]))
        if corporation == officer or any(i not in known or known[i].code is None for i in (corporation, officer)):
            raise NotFound("One of them has no linkage code here.", ja="符号のない方がいます。", code="no-subject")
        format_ = number_format(self._member.pack.header.corporate_number)
        said = filled(self._member.pack.notices[law.officer], {**values, "pair": "-"})
        told = {k: str(v) for k, v in said.items() if k != "pair"} | {"number": format_.parse(str(said["number"]))}
        await self._tell(clerk, [(known[corporation], law.officered), (known[officer], law.officer)], told)

    def _may_tell(self, topic: str) -> bool:
        ours = self._member.state.bodies.get(self._body)
        notice = self._member.pack.notices.get(topic)
        return bool(ours and notice and not self._member.pack.standing(ours.kinds).isdisjoint(notice.sender))

    async def _tell(self, clerk: str, told: Sequence[tuple[Subject, str]], values: Mapping[str, str]) -> None:
        said = Told(values={**values, "pair": secrets.token_hex(16)})
        written = [(p.local_id, await asyncio.to_thread(self._write, p, topic, said)) for p, topic in told]

        def commit(connection: sa.Connection) -> None:
            self._letters.send(connection, [w for _, w in written])
            rows = [{"letter": w.id, "local_id": i, "by": clerk, "made": w.row["made"]} for i, w in written]
            store.add_notices(connection, rows)

        await self._database.write(commit)

    def _write(self, person: Subject, topic: str, said: Told) -> Written:
        assert person.code is not None
        affair = self._member.pack.notices[topic].affair
        return self._letters.write(self._member.state.of_role("portal"), affair, topic, person.code, said)

    def shield(self, person: Subject) -> Written | None:
        """Nobody is a guardian, on the portal, of whom this body protects: the letter that says so; ``None`` where there are none."""
        law = self._member.pack.header.letters
        if not law.guarded or not self._may_tell(law.guarded) or person.code is None:
            return None
        yesterday = self._member.pack.day(self._clock()) - dt.timedelta(days=1)
        return self._write(person, law.guarded, Told(values={"until": yesterday.isoformat()}))

    def _live_together(self, local_ids: Sequence[str]) -> bool:
        item, _, name = self._member.pack.header.letters.household.partition(".")
        found = self._look_up(item, local_ids)
        homes = [
            set()
            if isinstance(records := found.get(i, ()), SourceFault)
            else {str(r[name]) for r in records if name in r}
            for i in local_ids
        ]
        return len(homes[0]) == 1 and homes[0] == homes[1]

    def _of_age(self, local_ids: Sequence[str]) -> dict[str, dt.date]:
        """On which day each comes, or came, of age, by our own data; nobody of whom it does not say so for sure."""
        item, _, name = self._member.pack.header.letters.born.partition(".")
        years, found = self._member.pack.header.cards.adult_from, {}
        for local_id, records in self._look_up(item, local_ids).items():
            days = set() if isinstance(records, SourceFault) else {str(r.get(name, "")) for r in records}
            try:
                (text,) = days
                born = dt.date.fromisoformat(text)
                found[local_id] = born.replace(year=born.year + years)
            except ValueError:  # not known, or 29 February
                if len(days) == 1 and text.endswith("-02-29"):
                    found[local_id] = dt.date(int(text[:4]) + years, 3, 1)
        return found
