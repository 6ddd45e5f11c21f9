"""The pages of cases: what is looked into, what was written, the next step."""

from __future__ import annotations

import asyncio
from collections import Counter
from hashlib import sha256
from tempfile import TemporaryFile
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from renkei.commission import forms, store
from renkei.commission.casework import demand_inspector
from renkei.commission.inspection import FINDINGS, Case
from renkei.commission.web import SHOWN, Ask, Form, Web
from renkei.errors import NotFound, RenkeiError
from renkei.institution.web import language
from renkei.ledger import store as log
from renkei.record.entries import PersonalLeaf, decode_entry
from renkei.record.oversight import MEASURES


def case_pages(web: Web) -> list[Any]:
    """For officers."""
    here, render, inside, stepped_up, tried = web
    keeper, casework = here.keeper, here.casework

    @get("/cases", guards=inside, include_in_schema=False)
    async def cases(request: Ask) -> Response[bytes]:
        opened = await here.database.read(lambda c: store.list_cases(c, closed=False))
        closed = await here.database.read(lambda c: store.list_cases(c, closed=True))
        return render(request, "cases.html", opened=opened, closed=closed)

    async def new_case(request: Ask, problem: Any, given: dict[str, str]) -> Response[bytes]:
        bodies = [b.body for b in keeper.state.bodies.values() if b.role == "gateway"]
        return render(request, "case_new.html", problem=problem, given=given, bodies=bodies)

    @get("/cases/new", guards=inside, include_in_schema=False)
    async def new_case_page(request: Ask, of: FromQuery[str] = "", leaf: FromQuery[str] = "") -> Response[bytes]:
        return await new_case(request, None, {"body": of, "leaves": leaf})

    @post("/cases/new", guards=inside, include_in_schema=False)
    async def open_case(request: Ask, data: Form) -> Response[Any]:
        async def act() -> str:
            await stepped_up(request, data)
            title = forms.prose(data.get("title", ""), 300)
            leaves = [forms.leaf(t, keeper.tree.size) for t in data.get("leaves", "").replace(",", " ").split()]
            return await casework.open(request.state.officer, title, data.get("body", ""), leaves[:SHOWN])

        return await tried(request, act(), "/cases/{0}", lambda problem: new_case(request, problem, data))

    async def case_view(request: Ask, number: str, problem: Any = None, given: Any = None) -> Response[bytes]:
        row = await here.database.read(lambda c: store.case(c, number))
        if row is None:
            raise NotFound("There is no such case.", ja="この事案はありません。")
        papers = await here.database.read(lambda c: store.papers_of(c, number))
        leaves = await here.database.read(lambda c: store.leaves_of(c, number))
        shown = await here.database.read(lambda c: log.at(c, [r.position for r in leaves[:SHOWN]]))
        seen = [(at, _personal(leaf)) for at, leaf in sorted(shown.items())]
        answered = {bytes(p.answers) for p in papers if p.answers is not None}
        acts = [(at, leaf, m) for at, leaf, m in keeper.state.oversight.measures if m.case == number]
        await casework.look(request.state.officer, "look", number)
        return render(
            request,
            "case.html",
            case=row,
            papers=papers,
            leaves=seen,
            answered=answered,
            acts=acts,
            kinds=MEASURES,
            problem=problem,
            given=given or {},
            explain_days=keeper.state.pack.header.oversight.explain_days,
        )

    @get("/entries/{at:str}", guards=inside, include_in_schema=False)
    async def entry(request: Ask, at: FromPath[str]) -> Response[bytes]:
        """One inquiry or notice of the record, for whoever comes from an alarm or a case."""
        position = forms.leaf(at, keeper.tree.size)
        leaves = await here.database.read(lambda c: log.at(c, [position]))
        about = await here.database.read(lambda c: store.cases_about(c, position))
        line = await here.database.read(lambda c: store.watched_at(c, position))
        await casework.look(request.state.officer, "look", f"{position}")
        leaf = _personal(leaves[position]) if position in leaves else None
        clerk = bytes(line.clerk).hex() if line else ""
        return render(request, "entry.html", at=position, leaf=leaf, cases=about, clerk=clerk)

    @get("/cases/{number:str}", guards=inside, include_in_schema=False)
    async def case(request: Ask, number: FromPath[str]) -> Response[bytes]:
        return await case_view(request, number)

    async def range_of(number: str, data: dict[str, str]) -> tuple[int, int]:
        """The leaves of the days an inspection is about; none if it is announced without."""
        first, last = data.get("first", ""), data.get("last", "")
        row = await here.database.read(lambda c: store.case(c, number))
        if row is None or not (first or last):
            return 0, 0
        return await here.inspections.leaves(row.body, forms.day(first or last), forms.day(last or first))

    @post("/cases/{number:str}", guards=inside, include_in_schema=False)
    async def measure(request: Ask, number: FromPath[str], data: Form) -> Response[Any]:
        async def act() -> None:
            signed, text = await stepped_up(request, data), forms.prose(data.get("text", ""), 8000)
            if data.get("kind") == "note":
                await casework.note_down(signed.officer, number, text)
                return
            days, kind = forms.number(data.get("days", "0") or "0", 366), data.get("kind", "")
            leaves = await range_of(number, data) if kind == "inspection" else (0, 0)
            await casework.measure(signed, number, kind, text, days, leaves)

        return await tried(
            request, act(), f"/cases/{number}", lambda problem: case_view(request, number, problem, data)
        )

    async def inspection_view(request: Ask, number: str, document: str, problem: Any = None) -> Response[bytes]:
        found = await inspection_of(number, document)
        findings = await asyncio.to_thread(lambda: found.findings)
        shown = [f for f in findings if f.what != "agrees"]
        await casework.look(request.state.officer, "look", number)
        return render(
            request,
            "inspection.html",
            number=number,
            document=document,
            found=found,
            tally=Counter(f.what for f in findings),
            kinds=FINDINGS,
            shown=shown[:SHOWN],
            more=len(shown) - SHOWN,
            problem=problem,
        )

    async def inspection_of(number: str, document: str) -> Case:
        found = await here.inspections.of(forms.hexadecimal(document))
        if found.measure.case != number:
            raise NotFound("There is no such inspection.", ja="この立入検査はありません。")
        return found

    @get("/cases/{number:str}/inspections/{document:str}", guards=inside, include_in_schema=False)
    async def inspection(request: Ask, number: FromPath[str], document: FromPath[str]) -> Response[bytes]:
        return await inspection_view(request, number, document)

    @post("/cases/{number:str}/inspections/{document:str}", guards=inside, include_in_schema=False)
    async def evidence(request: Ask, number: FromPath[str], document: FromPath[str], data: Form) -> Response[Any]:
        """The bundle as a file; its digest goes into the trail, and with the trail's root into the record: that seals it."""
        found = await inspection_of(number, document)
        with TemporaryFile() as file:
            try:
                officer = (await stepped_up(request, data)).officer
                demand_inspector(officer)
                await here.inspections.bundle(found, file)
            except RenkeiError as error:
                problem = error.problem(language(request, here.settings.language))
                response = await inspection_view(request, number, document, problem)
                response.status_code = error.status
                return response
            file.seek(0)
            made = await asyncio.to_thread(file.read)
        await casework.look(officer, "evidence", f"{number} {sha256(made).hexdigest()}")
        name = f"{number}-{document[:8]}.zip"
        return Response(made, media_type="application/zip", headers=forms.attached(name), status_code=200)

    return [entry, inspection, evidence, cases, new_case_page, open_case, case, measure]


def _personal(leaf: log.Leaf) -> PersonalLeaf | None:
    entry = decode_entry(leaf.entry) if leaf.entry else None
    return entry if isinstance(entry, PersonalLeaf) else None
