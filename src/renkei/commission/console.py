"""The commission's web pages: the console of its officers, and the public register. HTML that works without script.

Who is signed in as an officer looks; each act asks for the passphrase anew, which alone opens the officer's signing key.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import Body, FromPath, FromQuery
from litestar.response import Redirect

from renkei.commission import store, wordings
from renkei.commission.casework import Signed, days_left, midnight
from renkei.commission.documents import atom, decision_pdf
from renkei.commission.figures import figure_pages
from renkei.commission.register import UNDER_WAY, Draft
from renkei.errors import Malformed, NotFound, RenkeiError
from renkei.institution import wording
from renkei.institution.web import Pages, cookie_session, language
from renkei.ledger import store as log
from renkei.messages.wire import Decision, ExceptionalPermit, Lift, Officer, Order, Scope, decode_as
from renkei.record.entries import InquiryLeaf, decode_entry
from renkei.record.oversight import DAY, HOUR, MEASURES, row_of

if TYPE_CHECKING:
    from renkei.commission.service import Commission

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
Ask = Request[Any, Any, Any]
SESSION_SECONDS = 3600
SHOWN = 200


def console_pages(commission: Commission) -> tuple[list[Any], dict[str, Any]]:
    """The pages, and the options of the web shell they need."""
    here = commission
    keeper, casework, register = here.keeper, here.casework, here.register
    pages = Pages(
        Path(__file__).parent / "templates",
        here.settings,
        lambda lang: "番号保護委員会" if lang == "ja" else "Number Protection Commission",
    )
    session = cookie_session(here.settings, here.keys.derive("session"), SESSION_SECONDS)

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        held = connection.session
        officer = keeper.state.oversight.officers.get(held.get("officer", ""))
        if officer is None or not 0 <= here.clock() - held.get("since", 0) < SESSION_SECONDS * 1000:
            raise NotAuthorizedException
        if held.get("key") != officer.key.hex():  # appointed anew since
            raise NotAuthorizedException
        connection.state.officer = officer

    inside = [guard]

    def render(request: Ask, template: str, *, status: int = 200, **values: Any) -> Response[bytes]:
        lang = language(request, here.settings.language)
        words = wordings.Words(keeper.state.pack, lang, here.officers)
        officer = getattr(request.state, "officer", None)
        now = here.clock()
        given = {"words": words, "wording": wording, "officer": officer, "now": now, "days_left": days_left}
        return pages.render(request, template, status=status, **{**given, **values})

    async def stepped_up(request: Ask, data: dict[str, str]) -> Signed:
        """The signed-in officer with the key that the passphrase opens: asked for with every act."""
        officer: Officer = request.state.officer
        seed = await here.officers.unlock(keeper.state.oversight, officer.name, data.get("passphrase", ""))
        return Signed(officer, seed)

    async def tried(request: Ask, act: Any, then: str, again: Callable[[dict[str, Any]], Any]) -> Response[Any]:
        """The outcome of a form: on to ``then``, or the form ``again`` with what is wrong and what was typed."""
        try:
            found = await act
        except RenkeiError as error:
            response = await again(error.problem(language(request, here.settings.language)))
            response.status_code = error.status
            return response  # type: ignore[no-any-return]
        return Redirect(then.format(found), status_code=303)

    # ------------------------------------------------------------------ signing in

    @get("/", include_in_schema=False)
    async def start(request: Ask) -> Redirect:
        return Redirect("/desk" if request.session.get("officer") else "/register")

    @get("/signin", include_in_schema=False)
    async def signin_page(request: Ask) -> Response[bytes]:
        return render(request, "signin.html", problem=None, given="")

    @post("/signin", include_in_schema=False)
    async def signin(request: Ask, data: Form) -> Response[Any]:
        name = data.get("officer", "").strip()
        try:
            await here.officers.unlock(keeper.state.oversight, name, data.get("passphrase", ""))
        except RenkeiError as error:
            problem = error.problem(language(request, here.settings.language))
            return render(request, "signin.html", status=error.status, problem=problem, given=name)
        officer = keeper.state.oversight.officers[name]
        request.set_session({"officer": name, "since": here.clock(), "key": officer.key.hex()})
        await casework.look(officer, "signin", "")
        return Redirect("/desk", status_code=303)

    @post("/signout", include_in_schema=False)
    async def signout(request: Ask) -> Redirect:
        request.clear_session()
        return Redirect("/register", status_code=303)

    # ------------------------------------------------------------------ the desk

    @get("/desk", guards=inside, include_in_schema=False)
    async def desk(request: Ask) -> Response[bytes]:
        oversight = keeper.state.oversight
        cases = await here.database.read(lambda c: store.list_cases(c, closed=False))
        waiting = await here.database.read(store.list_proposals)
        due = await here.database.read(store.unanswered)
        now, pack = here.clock(), keeper.state.pack
        standing = [s for s in oversight.decisions.values() if oversight.holds(s, pack, now)]
        proposed = [(r.number, _decision(r.decision), r.proposed_by) for r in waiting]
        fresh = await here.database.read(lambda c: store.list_alarms(c, dealt_with=False))
        reviews = await here.database.read(lambda c: casework.due_for_review(c, now))
        given: dict[str, Any] = {
            "proposed": proposed,
            "standing": standing,
            "due": due,
            "alarms": fresh,
            "reviews": reviews,
        }
        return render(request, "desk.html", cases=cases, **given)

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
            title = _prose(data.get("title", ""), 300)
            leaves = [_leaf(t, keeper.tree.size) for t in data.get("leaves", "").replace(",", " ").split()]
            return await casework.open(request.state.officer, title, data.get("body", ""), leaves[:SHOWN])

        return await tried(request, act(), "/cases/{0}", lambda problem: new_case(request, problem, data))

    async def case_view(request: Ask, number: str, problem: Any = None, given: Any = None) -> Response[bytes]:
        row = await here.database.read(lambda c: store.case(c, number))
        if row is None:
            raise NotFound("There is no such case.", ja="この事案はありません。")
        papers = await here.database.read(lambda c: store.papers_of(c, number))
        leaves = await here.database.read(lambda c: store.leaves_of(c, number))
        shown = await here.database.read(lambda c: log.at(c, [r.position for r in leaves[:SHOWN]]))
        seen = [(at, _inquiry(leaf)) for at, leaf in sorted(shown.items())]
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

    @get("/cases/{number:str}", guards=inside, include_in_schema=False)
    async def case(request: Ask, number: FromPath[str]) -> Response[bytes]:
        return await case_view(request, number)

    @post("/cases/{number:str}", guards=inside, include_in_schema=False)
    async def measure(request: Ask, number: FromPath[str], data: Form) -> Response[Any]:
        async def act() -> None:
            signed, text = await stepped_up(request, data), _prose(data.get("text", ""), 8000)
            if data.get("kind") == "note":
                await casework.note_down(signed.officer, number, text)
                return
            days = _number(data.get("days", "0") or "0", 366)
            await casework.measure(signed, number, data.get("kind", ""), text, days)

        return await tried(
            request, act(), f"/cases/{number}", lambda problem: case_view(request, number, problem, data)
        )

    # ------------------------------------------------------------------ decisions

    @get("/decisions", guards=inside, include_in_schema=False)
    async def decisions(request: Ask) -> Response[bytes]:
        oversight, now, pack = keeper.state.oversight, here.clock(), keeper.state.pack
        waiting = await here.database.read(store.list_proposals)
        proposed = [(r.number, _decision(r.decision), r.proposed_by) for r in waiting]
        every = sorted(oversight.decisions.values(), key=lambda s: s.leaf, reverse=True)
        shown = [(s, oversight.holds(s, pack, now)) for s in every[:SHOWN]]
        return render(request, "decisions.html", proposed=proposed, decisions=shown)

    async def new_decision(request: Ask, kind: str, problem: Any, given: dict[str, str]) -> Response[bytes]:
        bodies = [b.body for b in keeper.state.bodies.values() if b.role == "gateway"]
        return render(request, f"{kind}_new.html", problem=problem, given=given, bodies=bodies)

    @get("/decisions/order", guards=inside, include_in_schema=False)
    async def order_page(
        request: Ask, case: FromQuery[str] = "", of: FromQuery[str] = "", clerk: FromQuery[str] = ""
    ) -> Response[bytes]:
        given = {"case": case, "requester" if clerk else "body": of, "clerk": clerk}
        return await new_decision(request, "order", None, given)

    @post("/decisions/order", guards=inside, include_in_schema=False)
    async def propose_order(request: Ask, data: Form) -> Response[Any]:
        async def act() -> str:
            parts = {k: data.get(k) or "*" for k in ("body", "requester", "provider", "affair", "item")}
            scope = Scope(**parts, clerk=_pseudonym(data.get("clerk", "")))
            text, until = _prose(data.get("text", ""), 2000), _day_end(here, data.get("until", ""))
            _known(keeper.state.pack, parts)
            return await casework.propose(
                await stepped_up(request, data), lambda number: Order(number, scope, text, until, data.get("case", ""))
            )

        return await tried(request, act(), "/decisions/{0}", lambda p: new_decision(request, "order", p, data))

    @get("/decisions/exception", guards=inside, include_in_schema=False)
    async def exception_page(request: Ask) -> Response[bytes]:
        return await new_decision(request, "exception", None, {})

    @post("/decisions/exception", guards=inside, include_in_schema=False)
    async def propose_exception(request: Ask, data: Form) -> Response[Any]:
        async def act() -> str:
            parts = {k: data.get(k) or "*" for k in ("requester", "provider", "affair", "item")}
            text, days = _prose(data.get("text", ""), 2000), _number(data.get("days", ""), 3660)
            _known(keeper.state.pack, parts)
            start = here.clock()
            return await casework.propose(
                await stepped_up(request, data),
                lambda number: ExceptionalPermit(
                    number=number,
                    requester=parts["requester"],
                    provider=parts["provider"],
                    affair=parts["affair"],
                    item=parts["item"],
                    area=data.get("area", "").split(),
                    start=start,
                    end=start + days * DAY,
                    text=text,
                    emergency=data.get("emergency") == "yes",
                ),
            )

        return await tried(request, act(), "/decisions/{0}", lambda p: new_decision(request, "exception", p, data))

    async def decision_view(request: Ask, number: str, problem: Any = None, given: Any = None) -> Response[bytes]:
        oversight, now, pack = keeper.state.oversight, here.clock(), keeper.state.pack
        standing = oversight.decisions.get(number)
        row = await here.database.read(lambda c: store.proposal(c, number))
        if standing is None and row is None:
            raise NotFound("There is no such decision.", ja="この決定はありません。")
        decision = standing.decision if standing else _decision(row.decision)  # type: ignore[union-attr]
        emergency = isinstance(decision, ExceptionalPermit) and decision.emergency
        meant = oversight.decisions.get(decision.number) if isinstance(decision, Lift) else None
        return render(
            request,
            "decision.html",
            number=number,
            decision=decision,
            standing=standing,
            state=row.state if row else "submitted",
            holds=standing is not None and oversight.holds(standing, pack, now),
            confirm_by=standing.since + pack.header.oversight.confirm_hours * HOUR if standing and emergency else 0,
            review=standing in await here.database.read(lambda c: casework.due_for_review(c, now)),
            uses=await here.database.read(lambda c: store.uses(c, row_of(number), SHOWN)) if standing else [],
            done=meant.lifted if meant else 0,
            problem=problem,
            given=given or {},
        )

    @get("/decisions/{number:str}", guards=inside, include_in_schema=False)
    async def decision(request: Ask, number: FromPath[str]) -> Response[bytes]:
        return await decision_view(request, number)

    @post("/decisions/{number:str}", guards=inside, include_in_schema=False)
    async def decide(request: Ask, number: FromPath[str], data: Form) -> Response[Any]:
        async def act() -> str:
            match data.get("act"):
                case "sign":
                    await casework.sign(await stepped_up(request, data), number)
                case "withdraw":
                    await casework.withdraw((await stepped_up(request, data)).officer, number)
                case "confirm":
                    await casework.confirm(await stepped_up(request, data), number)
                case "lift":
                    text = _prose(data.get("text", ""), 2000)
                    lift = await casework.propose(await stepped_up(request, data), lambda _: Lift(number, text))
                    return f"/decisions/{lift}"
                case "review":
                    return f"/cases/{await casework.review((await stepped_up(request, data)).officer, number)}"
                case _:
                    raise Malformed("The form is incomplete.", ja="フォームに不足があります。", code="form")
            return f"/decisions/{number}"

        return await tried(request, act(), "{0}", lambda p: decision_view(request, number, p, data))

    @get("/decisions/{number:str}/pdf", guards=inside, include_in_schema=False)
    async def pdf(request: Ask, number: FromPath[str]) -> Response[bytes]:
        standing = keeper.state.oversight.decisions.get(number)
        if standing is None:
            raise NotFound("There is no such decision in the record.", ja="記録にこの決定はありません。")
        lang = language(request, here.settings.language)
        head = keeper.head_is(here.clock())
        data = await decision_pdf(standing, wordings.Words(keeper.state.pack, lang, here.officers), head, keeper.origin)
        return Response(data, media_type="application/pdf", headers=_attached(f"{number}.pdf"))

    @get("/trail", guards=inside, include_in_schema=False)
    async def trail(request: Ask) -> Response[bytes]:
        entries = await here.database.read(store.trail_entries)
        committed = keeper.state.oversight.trail
        return render(request, "trail.html", **wordings.trail_view(entries, committed, SHOWN))

    # ------------------------------------------------------------------ assessments

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
                people=_number(data.get("people", ""), 2**40),
                handlers=_number(data.get("handlers", ""), 2**40),
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
                await register.advance(request.state.officer, _id(id), _text(data.get("note", ""), 4000))

        return await tried(request, act(), f"/assessments/{id}", lambda p: draft_view(request, _id(id), p, data))

    handlers = [
        start,
        signin_page,
        signin,
        signout,
        desk,
        cases,
        new_case_page,
        open_case,
        case,
        measure,
        decisions,
        order_page,
        propose_order,
        exception_page,
        propose_exception,
        decision,
        decide,
        pdf,
        trail,
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
        *figure_pages(here, render, inside, stepped_up),
    ]
    options = {"pages": pages, "csrf_secret": here.keys.derive("csrf").hex(), "middleware": [session.middleware]}
    return handlers, options


def _decision(encoded: bytes) -> Decision:
    return decode_as(bytes(encoded), Decision)  # type: ignore[arg-type]  # a union is a type to msgspec


def _inquiry(leaf: log.Leaf) -> InquiryLeaf | None:
    entry = decode_entry(leaf.entry) if leaf.entry else None
    return entry if isinstance(entry, InquiryLeaf) else None


def _text(text: str, most: int) -> str:
    if len(text) > most or "\0" in text:
        raise Malformed(
            f"A text has at most {most:,} characters.", ja=f"文章は{most:,}文字以内で入力してください。", code="text"
        )
    return text.strip()


def _prose(text: str, most: int) -> str:
    text = _text(text, most)
    if not text:
        raise Malformed("Say it in words.", ja="文章を入力してください。", code="text")
    return text


def _number(text: str, most: int) -> int:
    text = text.strip().replace(",", "")
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) <= most):
        raise Malformed(
            f"Give a whole number up to {most:,}.", ja=f"{most:,}以下の整数を入力してください。", code="number"
        )
    return int(text)


def _leaf(text: str, size: int) -> int:
    at = _number(text, 2**53 - 1)
    if at >= size:
        raise Malformed(f"The record has {size:,} entries.", ja=f"記録は{size:,}件です。", code="leaf")
    return at


def _id(id_: int) -> int:
    if not 0 < id_ < 2**31:
        raise NotFound("There is no such assessment.", ja="この評価書はありません。")
    return id_


def _pseudonym(text: str) -> bytes:
    try:
        found = bytes.fromhex(text.strip())
    except ValueError:
        found = b"?"
    if len(found) not in (0, 8):
        raise Malformed(
            "A clerk's pseudonym has 16 hexadecimal digits.", ja="職員の仮名は16桁の16進数です。", code="pseudonym"
        )
    return found


def _known(pack: Any, parts: dict[str, str]) -> None:
    tables = {"affair": pack.affairs, "item": pack.items}
    for name, code in parts.items():
        if code != "*" and code not in tables.get(name, pack.bodies):
            raise Malformed(f"`{name}` is not known.", ja=f"{name} のコードがありません。", code=f"unknown-{name}")


def _day_end(commission: Commission, text: str) -> int:
    """The end of a day someone typed (ms); 0 for none."""
    if not text:
        return 0
    try:
        day = dt.date.fromisoformat(text) + dt.timedelta(days=1)
    except (ValueError, OverflowError):
        raise Malformed(
            "Write the day as YYYY-MM-DD.", ja="日付は YYYY-MM-DD で入力してください。", code="day"
        ) from None
    return midnight(day, commission.keeper.state.pack.zone)


def _attached(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
