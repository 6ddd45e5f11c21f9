"""The pages of decisions: orders and exceptional permits, proposed, signed, confirmed and lifted."""

from __future__ import annotations

import datetime as dt
from typing import Any

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery

from renkei.commission import forms, store, wordings
from renkei.commission.casework import decision_of
from renkei.commission.documents import decision_pdf
from renkei.commission.web import SHOWN, Ask, Form, Web
from renkei.errors import Malformed, NotFound
from renkei.institution.web import language
from renkei.messages.wire import Decision, ExceptionalPermit, Lift, Order, Scope
from renkei.record.oversight import DAY, HOUR, row_of


def decision_pages(web: Web) -> list[Any]:
    """For officers."""
    here, render, inside, stepped_up, tried = web
    keeper, casework = here.keeper, here.casework

    def day_end(text: str) -> int:
        """The end of a day someone typed (ms); 0 for none."""
        return keeper.state.pack.midnight(forms.day(text) + dt.timedelta(days=1)) if text else 0

    @get("/decisions", guards=inside, include_in_schema=False)
    async def decisions(request: Ask) -> Response[bytes]:
        oversight, now, pack = keeper.state.oversight, here.clock(), keeper.state.pack
        waiting = await here.database.read(store.list_proposals)
        proposed = [(r.number, decision_of(r), r.proposed_by) for r in waiting]
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
            scope = Scope(**parts, clerk=forms.pseudonym(data.get("clerk", "")))
            text, until = forms.prose(data.get("text", ""), 2000), day_end(data.get("until", ""))
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
            text, days = forms.prose(data.get("text", ""), 2000), forms.number(data.get("days", ""), 3660)
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
        decision = standing.decision if standing else decision_of(row)
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
            lifts=[r for r in await here.database.read(store.list_proposals) if _lifts(decision_of(r), number)],
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
                    text = forms.prose(data.get("text", ""), 2000)
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
        return Response(data, media_type="application/pdf", headers=forms.attached(f"{number}.pdf"))

    return [decisions, order_page, propose_order, exception_page, propose_exception, decision, decide, pdf]


def _lifts(proposal: Decision, number: str) -> bool:
    return isinstance(proposal, Lift) and proposal.number == number


def _known(pack: Any, parts: dict[str, str]) -> None:
    tables = {"affair": pack.affairs, "item": pack.items}
    for name, code in parts.items():
        if code != "*" and code not in tables.get(name, pack.bodies):
            raise Malformed(f"`{name}` is not known.", ja=f"{name} のコードがありません。", code=f"unknown-{name}")
