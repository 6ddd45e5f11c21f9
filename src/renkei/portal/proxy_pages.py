"""Who may act for the resident, for whom they may act, and what was done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from renkei.errors import NotFound, RenkeiError
from renkei.institution.entry import Form, Render
from renkei.institution.web import language
from renkei.portal.guards import account_of
from renkei.portal.proxies import DAYS_MOST, NAME_MOST, READ, SCOPES, STAFF

if TYPE_CHECKING:
    from renkei.portal.service import Portal

Ask = Request[Any, Any, Any]


def proxy_pages(portal: Portal, render: Render, alone: list[Any], staffing: list[Any]) -> list[Any]:
    """``/proxies``: pages of oneself; ``/company``: whom the officer of a corporation lets act for it."""
    proxies = portal.proxies

    async def show(
        request: Ask, *, code: str = "", given: Any = None, problem: Any = None, status: int = 200
    ) -> Response[bytes]:
        account = account_of(request)
        grants = await proxies.listed(account)
        return render(
            request,
            "proxies.html",
            mine=[g for g in grants if g.row.principal == account],
            theirs=[g for g in grants if g.row.agent == account],
            acts=await proxies.acts(grants),
            stands=proxies.stands,
            acting=request.session.get("acting", ""),
            fresh=portal.sessions.is_fresh(request.session),
            scopes=SCOPES,
            days=DAYS_MOST,
            code=code,
            given=given or {},
            problem=problem,
            status=status,
        )

    @get("/proxies", guards=alone, include_in_schema=False)
    async def start(request: Ask) -> Response[bytes]:
        return await show(request)

    @post("/proxies/invite", guards=alone, include_in_schema=False)
    async def invite(request: Ask, data: Form) -> Response[bytes]:
        """Opens the door to somebody: wants a proof of now, as a passkey does."""
        account = account_of(request)
        if not portal.sessions.is_fresh(request.session):
            return await show(request, given=data, status=403)
        chosen = [s for s in SCOPES if data.get(f"scope-{s}") == "yes"]
        try:
            code = await proxies.invite(
                account, data.get("mine", ""), data.get("theirs", ""), chosen, data.get("until", "")
            )
        except RenkeiError as error:
            problem = error.problem(language(request, portal.settings.language))
            return await show(request, given=data, problem=problem, status=error.status)
        return await show(request, code=code)

    @post("/proxies/accept", guards=alone, include_in_schema=False)
    async def accept(request: Ask, data: Form) -> Response[Any]:
        try:
            await proxies.accept(account_of(request), data.get("code", ""))
        except RenkeiError as error:
            problem = error.problem(language(request, portal.settings.language))
            return await show(request, problem=problem, status=error.status)
        return Redirect("/proxies", status_code=303)

    @post("/proxies/{id:str}/end", guards=alone, include_in_schema=False)
    async def end(request: Ask, id: FromPath[str]) -> Redirect:
        await proxies.end(account_of(request), id)
        return Redirect("/proxies", status_code=303)

    @post("/proxies/{id:str}/act", guards=alone, include_in_schema=False)
    async def act(request: Ask, id: FromPath[str]) -> Redirect:
        grant = await proxies.get(id)
        if grant.row.agent != account_of(request) or not proxies.stands(grant):
            raise NotFound("There is no such representation.", ja="この代理は登録されていません。")
        request.set_session({**request.session, "acting": id})
        return Redirect("/inbox" if READ in grant.scopes else "/apply", status_code=303)

    @post("/proxies/stop", guards=alone, include_in_schema=False)
    async def stop(request: Ask) -> Redirect:
        request.set_session({k: v for k, v in request.session.items() if k != "acting"})
        return Redirect("/proxies", status_code=303)

    async def company_page(
        request: Ask, *, code: str = "", given: Any = None, problem: Any = None, status: int = 200
    ) -> Response[bytes]:
        grants = await proxies.listed(request.state.account)
        return render(
            request,
            "company.html",
            staff=[g for g in grants if g.row.principal == request.state.account],
            acts=await proxies.acts(grants),
            stands=proxies.stands,
            fresh=portal.sessions.is_fresh(request.session),
            scopes=SCOPES,
            code=code,
            given=given or {},
            problem=problem,
            status=status,
        )

    @get("/company", guards=staffing, include_in_schema=False)
    async def company(request: Ask) -> Response[bytes]:
        return await company_page(request)

    @post("/company/invite", guards=staffing, include_in_schema=False)
    async def employ(request: Ask, data: Form) -> Response[bytes]:
        if not portal.sessions.is_fresh(request.session):
            return await company_page(request, given=data, status=403)
        chosen = [s for s in SCOPES if data.get(f"scope-{s}") == "yes"]
        mine = request.state.grant.named.principal[:NAME_MOST]
        try:
            code = await proxies.invite(
                request.state.account, mine, data.get("theirs", ""), chosen, data.get("until", ""), request.state.grant
            )
        except RenkeiError as error:
            problem = error.problem(language(request, portal.settings.language))
            return await company_page(request, given=data, problem=problem, status=error.status)
        await proxies.note(request.state.grant, "invited", data.get("theirs", "")[:NAME_MOST])
        return await company_page(request, code=code)

    @post("/company/{id:str}/end", guards=staffing, include_in_schema=False)
    async def dismiss(request: Ask, id: FromPath[str]) -> Redirect:
        """Staff, at once; an officer is ended by the body that has said so, or gives it up."""
        if (await proxies.get(id)).row.kind != STAFF:
            raise NotFound("There is no such representation.", ja="この代理は登録されていません。")
        await proxies.end(request.state.account, id)
        return Redirect("/company", status_code=303)

    return [start, invite, accept, end, act, stop, company, employ, dismiss]
