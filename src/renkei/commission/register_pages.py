"""The pages of impact assessments: the public register, comments, and drafts on their way."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from renkei.commission import forms, store, wordings
from renkei.commission.documents import atom
from renkei.commission.register import UNDER_WAY, Draft
from renkei.commission.web import Ask, Form, Web
from renkei.errors import NotFound
from renkei.institution.web import language


def register_pages(web: Web) -> list[Any]:
    """For everyone, and for officers."""
    here, render, inside, stepped_up, tried = web
    keeper, register = here.keeper, here.register

    @get("/register", include_in_schema=False)
    async def register_page(request: Ask, q: FromQuery[str] = "") -> Response[bytes]:
        found = await register.listed(q)
        open_ = await here.database.read(lambda c: store.list_assessments(c, states=["comment"]))
        return render(request, "register.html", found=found, q=q, open=open_, ends=register.comment_ends)

    @get("/register.atom", include_in_schema=False)
    async def feed(request: Ask) -> Response[bytes]:
        lang = language(request, here.settings.language)
        found = await register.listed()
        words = wordings.Words(keeper.state.pack, lang, here.officers)
        base = str(request.base_url).rstrip("/")
        return Response(atom(found, words, base, keeper.origin), media_type="application/atom+xml; charset=utf-8")

    @get("/register/{owner:str}/{name:str}", include_in_schema=False)
    async def registered(request: Ask, owner: FromPath[str], name: FromPath[str]) -> Response[bytes]:
        found, before = await register.one(owner, "" if name == "-" else name)
        return render(request, "assessment.html", r=found, before=before)

    async def comment_view(
        request: Ask, id_: int, problem: Any = None, said: str = "", given: Any = None
    ) -> Response[bytes]:
        row = await register.get(id_)
        if row.state != "comment":
            raise NotFound("This is not open to comment.", ja="意見の募集は行っていません。")
        ends = register.comment_ends(row)
        return render(request, "comment.html", row=row, ends=ends, problem=problem, said=said, given=given or {})

    @get("/comment/{id:int}", include_in_schema=False)
    async def comment_page(request: Ask, id: FromPath[int], thanks: FromQuery[str] = "") -> Response[bytes]:
        return await comment_view(request, _id(id), said="thanks" if thanks else "")

    @post("/comment/{id:int}", include_in_schema=False)
    async def comment(request: Ask, id: FromPath[int], data: Form) -> Response[Any]:
        return await tried(
            request,
            register.comment(_id(id), data.get("text", "")),
            f"/comment/{id}?thanks=yes",
            lambda p: comment_view(request, _id(id), p, given=data),
        )

    @get("/assessments", guards=inside, include_in_schema=False)
    async def assessments(request: Ask) -> Response[bytes]:
        rows = await here.database.read(store.list_assessments)
        overdue = [r for r in await register.listed() if r.overdue or r.lapsed]
        return render(request, "assessments.html", rows=rows, overdue=overdue, under_way=UNDER_WAY)

    async def new_draft(request: Ask, problem: Any, given: dict[str, str]) -> Response[bytes]:
        bodies = [b.body for b in keeper.state.bodies.values() if b.role == "gateway"]
        return render(request, "assessment_new.html", problem=problem, given=given, bodies=bodies)

    @get("/assessments/new", guards=inside, include_in_schema=False)
    async def new_draft_page(request: Ask) -> Response[bytes]:
        return await new_draft(request, None, {"affairs": "*", "items": "*"})

    @post("/assessments/new", guards=inside, include_in_schema=False)
    async def draft(request: Ask, data: Form) -> Response[Any]:
        async def act() -> int:
            made = Draft(
                body=data.get("body", ""),
                name=data.get("name", "").strip(),
                title=data.get("title", "").strip(),
                affairs=tuple(data.get("affairs", "").split()),
                items=tuple(data.get("items", "").split()),
                people=forms.number(data.get("people", ""), 2**40),
                handlers=forms.number(data.get("handlers", ""), 2**40),
                incident=data.get("incident") == "yes",
                level=data.get("level", ""),
                follows=data.get("follows") == "yes",
                text=data.get("text", ""),
            )
            return await register.draft(request.state.officer, made)

        return await tried(request, act(), "/assessments/{0}", lambda p: new_draft(request, p, data))

    async def draft_view(request: Ask, id_: int, problem: Any = None, given: Any = None) -> Response[bytes]:
        row = await register.get(id_)
        steps = ("draft", *register.steps(row.body, row.level), "published")
        said = await here.database.read(lambda c: store.comments_on(c, id_))
        under_way = row.state in UNDER_WAY
        return render(
            request,
            "draft.html",
            row=row,
            steps=steps,
            comments=said,
            under_way=under_way,
            next=register.next_step(row) if under_way else "",
            ends=register.comment_ends(row),
            problem=problem,
            given=given or {},
        )

    @get("/assessments/{id:int}", guards=inside, include_in_schema=False)
    async def draft_page(request: Ask, id: FromPath[int]) -> Response[bytes]:
        return await draft_view(request, _id(id))

    @post("/assessments/{id:int}", guards=inside, include_in_schema=False)
    async def advance(request: Ask, id: FromPath[int], data: Form) -> Response[Any]:
        async def act() -> None:
            await stepped_up(request, data)
            if data.get("act") == "withdraw":
                await register.withdraw(request.state.officer, _id(id))
            else:
                await register.advance(request.state.officer, _id(id), forms.text(data.get("note", ""), 4000))

        return await tried(request, act(), f"/assessments/{id}", lambda p: draft_view(request, _id(id), p, data))

    return [
        register_page,
        feed,
        registered,
        comment_page,
        comment,
        assessments,
        new_draft_page,
        draft,
        draft_page,
        advance,
    ]


def _id(id_: int) -> int:
    if not 0 < id_ < 2**31:
        raise NotFound("There is no such assessment.", ja="この評価書はありません。")
    return id_
