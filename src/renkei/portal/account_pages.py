"""The resident's own account: where they are signed in, and passkeys for later visits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from renkei.errors import NotFound, RenkeiError
from renkei.institution.entry import Form, Render
from renkei.institution.web import language
from renkei.portal import store
from renkei.portal.guards import account_of
from renkei.portal.sessions import mark_of

if TYPE_CHECKING:
    from renkei.portal.service import Portal

Ask = Request[Any, Any, Any]


def account_pages(portal: Portal, render: Render, inside: list[Any], alone: list[Any]) -> list[Any]:
    """``/account``."""
    sessions = portal.sessions

    async def show(request: Ask, problem: Any = None, status: int = 200) -> Response[bytes]:
        account, fresh = account_of(request), sessions.is_fresh(request.session)
        title = "マイ・ポータル" if language(request, portal.settings.language) == "ja" else "My Portal"
        offers = sessions.has_passkeys and fresh
        return render(
            request,
            "account.html",
            sessions=await sessions.listed(account),
            stands=sessions.stands,
            current=mark_of(request.session),
            passkeys=await portal.database.read(lambda c: store.passkeys_of(c, account)),
            offered=sessions.has_passkeys,
            making=await sessions.making(account, title) if offers else "",
            fresh=fresh,
            problem=problem,
            status=status,
        )

    @get("/account", guards=inside, include_in_schema=False)
    async def account(request: Ask) -> Response[bytes]:
        return await show(request)

    @post("/account/sessions/{mark:str}/end", guards=inside, include_in_schema=False)
    async def end(request: Ask, mark: FromPath[str]) -> Redirect:
        known = {bytes(s.mark).hex(): bytes(s.mark) for s in await sessions.listed(account_of(request))}
        if mark not in known:
            raise NotFound("There is no such session.", ja="このサインインはありません。")
        await sessions.end(known[mark], account_of(request))
        return Redirect("/account", status_code=303)

    @post("/account/sessions/end", guards=inside, include_in_schema=False)
    async def end_others(request: Ask) -> Redirect:
        await sessions.end_others(account_of(request), mark_of(request.session))
        return Redirect("/account", status_code=303)

    @post("/account/again", guards=alone, include_in_schema=False)
    async def again(request: Ask, data: Form) -> Redirect:
        """Sign in anew, and come back: what opens the door for later wants a proof of now."""
        await sessions.end(mark_of(request.session))
        request.set_session({"next": f"/{data['next']}" if data.get("next") in ("proxies", "inbox") else "/account"})
        return Redirect("/signin", status_code=303)

    @post("/account/passkeys", guards=inside, include_in_schema=False)
    async def keep(request: Ask, data: Form) -> Response[Any]:
        if not sessions.is_fresh(request.session):
            return await show(request, status=403)
        try:
            await sessions.keep(account_of(request), data.get("credential", ""), data.get("name", ""))
        except RenkeiError as error:
            return await show(request, error.problem(language(request, portal.settings.language)), error.status)
        return Redirect("/account", status_code=303)

    @post("/account/passkeys/{key:str}/remove", guards=inside, include_in_schema=False)
    async def remove(request: Ask, key: FromPath[str]) -> Redirect:
        await sessions.forget(account_of(request), key)
        return Redirect("/account", status_code=303)

    return [account, end, end_others, again, keep, remove]
