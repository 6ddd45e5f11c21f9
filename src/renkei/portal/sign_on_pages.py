"""Single sign-on in the browser: sign in, agree, be sent back; see which sites know you, and end it. And what sites ask by themselves."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from renkei.errors import Malformed
from renkei.institution.entry import Form, Render
from renkei.institution.web import leading_to
from renkei.portal import store
from renkei.portal.oidc import Asked, OAuthError
from renkei.portal.sessions import mark_of

if TYPE_CHECKING:
    from renkei.portal.service import Portal

AnyRequest = Request[Any, Any, Any]
HIDDEN = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def sign_on_pages(portal: Portal, render: Render, inside: list[Any]) -> list[Any]:
    """The pages and endpoints. ``inside`` guards what needs a session."""
    provider = portal.sign_on

    def once(request: AnyRequest) -> dict[str, str]:
        """The parameters of the address; ``Malformed`` if one stands twice (RFC 6749 §3.1)."""
        return _once(request.url.query)

    def origin(address: str) -> str:
        parts = urllib.parse.urlsplit(address)
        return f"{parts.scheme}://{parts.netloc}"

    @get("/.well-known/openid-configuration", include_in_schema=False)
    async def discovery() -> Response[dict[str, Any]]:
        return Response(provider.discovery(), headers={"Access-Control-Allow-Origin": "*"})

    @get("/oidc/keys", include_in_schema=False)
    async def keys() -> Response[dict[str, Any]]:
        return Response(provider.keys(), headers={"Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=600"})

    @get("/oidc/authorize", include_in_schema=False)
    async def authorize(request: AnyRequest) -> Response[Any]:
        query = once(request)
        asked = provider.read(query)
        try:
            provider.check(asked, query)
            return await answer(request, asked)
        except OAuthError as error:
            more = {"error_description": error.said} if error.said else {}
            return Redirect(asked.back(provider.issuer, error=error.code, **more))

    async def answer(request: AnyRequest, asked: Asked) -> Response[Any]:
        """Sent back at once, if all is known; else sign in, or agree."""
        session, here = request.session, f"/oidc/authorize?{request.url.query}"
        this, account = _mark(here), await portal.resident(session, request.headers.get("user-agent", ""))
        anew = must_prove(session, asked, this)
        if account is None or anew:
            if "none" in asked.prompt:
                raise OAuthError("login_required")
            request.set_session({"next": here, "for": this})
            return Redirect("/signin")
        if not account or await portal.is_awaited(account):
            return render(request, "awaited.html", again=here, leave="/signout") if account else await nobody()
        ready = "consent" not in asked.prompt and await provider.agreed(account, asked.client)
        if (
            ready and session.get("for") != this
        ):  # a form's answer must not lead elsewhere: who just signed in sees a page
            to = await provider.allow(account, asked, session["since"], session.get("amr", "pwd"))
            return Redirect(to)
        if "none" in asked.prompt:
            raise OAuthError("consent_required")
        site = origin(asked.redirect_uri)
        page = render(request, "agree.html", client=asked.client, at=site, asked=request.url.query, known=ready)
        return leading_to(site, page)

    def must_prove(session: Mapping[str, Any], asked: Asked, this: str) -> bool:
        """Whether this site wants its user to sign in for it, and they have not."""
        old = asked.max_age is not None and portal.clock() - session.get("since", 0) > asked.max_age * 1000
        return (old or "login" in asked.prompt) and session.get("for") != this

    async def nobody() -> Response[Any]:
        raise OAuthError("access_denied", "nobody is known by this card")

    @post("/oidc/agree", guards=inside, include_in_schema=False)
    async def agree(request: AnyRequest, data: Form) -> Response[Any]:
        query = _once(data.get("asked", ""))
        asked = provider.read(query)
        try:
            provider.check(asked, query)
            if data.get("act") != "agree" or not request.state.account:
                raise OAuthError("access_denied")
            if must_prove(request.session, asked, _mark(f"/oidc/authorize?{data.get('asked', '')}")):
                raise OAuthError("login_required")
            if await portal.is_awaited(request.state.account):
                raise OAuthError("temporarily_unavailable")
        except OAuthError as error:
            return Redirect(asked.back(provider.issuer, error=error.code), status_code=303)
        session = {k: v for k, v in request.session.items() if k != "for"}
        request.set_session(session)
        to = await provider.allow(request.state.account, asked, session["since"], session.get("amr", "pwd"))
        return Redirect(to, status_code=303)

    @post("/oidc/token", include_in_schema=False, status_code=200)
    async def token(request: AnyRequest) -> Response[dict[str, Any]]:
        return await _answered(lambda form: provider.token(form, request.headers.get("authorization", "")), request)

    @get("/oidc/userinfo", include_in_schema=False)
    async def userinfo(request: AnyRequest) -> Response[dict[str, Any]]:
        try:
            return Response(await provider.userinfo(request.headers.get("authorization", "")), headers=HIDDEN)
        except OAuthError as error:
            return _refusal(error)

    @get("/oidc/logout", include_in_schema=False)
    async def logout(request: AnyRequest) -> Response[Any]:
        to = provider.leaving(once(request))
        page = render(request, "leave.html", asked=request.url.query)
        return leading_to(origin(to), page) if to else page

    @post("/oidc/logout", include_in_schema=False)
    async def leave(request: AnyRequest, data: Form) -> Redirect:
        if "key" in request.session:
            await portal.sessions.end(mark_of(request.session))
        request.clear_session()
        return Redirect(provider.leaving(_once(data.get("asked", ""))) or "/signin", status_code=303)

    @get("/sites", guards=inside, include_in_schema=False)
    async def sites(request: AnyRequest) -> Response[bytes]:
        rows = await portal.database.read(lambda c: store.consents_of(c, request.state.account))
        known = [(provider.clients[r.client], r.since) for r in rows if r.client in provider.clients]
        ended = provider.clients.get(request.session.get("ended", ""))
        if ended:  # told once
            request.set_session({k: v for k, v in request.session.items() if k != "ended"})
        return render(request, "sites.html", sites=known, ended=ended)

    @post("/sites/{client:str}", guards=inside, include_in_schema=False)
    async def withdraw(request: AnyRequest, client: FromPath[str]) -> Redirect:
        await portal.database.write(lambda c: store.withdraw(c, request.state.account, client[:64]))
        request.set_session({**request.session, "ended": client[:64]})
        return Redirect("/sites", status_code=303)

    return [discovery, keys, authorize, agree, token, userinfo, logout, leave, sites, withdraw]


def _mark(here: str) -> str:
    """By what a sign-in that was made for one question is known."""
    return sha256(here.encode()).hexdigest()


def _once(query: str) -> dict[str, str]:
    pairs = urllib.parse.parse_qsl(query, keep_blank_values=True)
    if len({k for k, _ in pairs}) != len(pairs):
        raise Malformed(
            "A parameter stands twice.",
            ja="同じパラメーターが重複しています。",
            remedy="Go back to the site and begin again; if it repeats, tell the site.",
            remedy_ja="元のサイトに戻り、やり直してください。続く場合は、サイトの運営者にお知らせください。",
            code="twice",
        )
    return dict(pairs)


async def _answered(ask: Any, request: AnyRequest) -> Response[dict[str, Any]]:
    try:
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        body = await request.body()
        if kind != "application/x-www-form-urlencoded" or len(body) > 20_000:
            raise OAuthError("invalid_request")
        try:
            form = _once(body.decode())
        except (UnicodeDecodeError, Malformed):
            raise OAuthError("invalid_request") from None
        return Response(await ask(form), headers=HIDDEN, media_type=MediaType.JSON)
    except OAuthError as error:
        return _refusal(error)


def _refusal(error: OAuthError) -> Response[dict[str, Any]]:
    said: Mapping[str, str] = {"error_description": error.said} if error.said else {}
    scheme = "Bearer" if error.code == "invalid_token" else "Basic"
    headers = {**HIDDEN, **({"WWW-Authenticate": f'{scheme} error="{error.code}"'} if error.status == 401 else {})}
    return Response({"error": error.code, **said}, status_code=error.status, headers=headers)
