"""What residents see. HTML that works without script; the proof is checked on the server and can be taken along."""

from __future__ import annotations

import urllib.parse
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

from renkei.errors import Refused, RenkeiError
from renkei.institution import subjects, wording
from renkei.institution.letters import letters
from renkei.institution.web import Pages, cookie_session, language
from renkei.portal import store
from renkei.portal.account_pages import account_pages
from renkei.portal.apply_pages import apply_pages
from renkei.portal.guards import SELF, account_of, signed_in
from renkei.portal.inbox_pages import inbox_pages
from renkei.portal.own_pages import own_pages
from renkei.portal.proxies import APPLY, READ, STAFF
from renkei.portal.proxy_pages import proxy_pages
from renkei.portal.record_pages import record_pages
from renkei.portal.sessions import BY_PASSKEY, SESSION_SECONDS, mark_of
from renkei.portal.sign_on_pages import sign_on_pages

if TYPE_CHECKING:
    from renkei.portal.service import Portal

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


def portal_pages(portal: Portal) -> tuple[list[Any], dict[str, Any]]:
    """The pages, and the options of the web shell they need."""
    pages = Pages(
        Path(__file__).parent / "templates",
        portal.settings,
        lambda lang: "マイ・ポータル" if lang == "ja" else "My Portal",
    )
    session = cookie_session(portal.settings, portal.keys.derive("session"), SESSION_SECONDS)
    inside = [signed_in(portal)]

    def render(request: Request[Any, Any, Any], template: str, **values: Any) -> Response[bytes]:
        lang = language(request, portal.settings.language)
        words = wording.PackWords(portal.member.pack, lang)
        grant = request.state.get("grant")
        return pages.render(request, template, words=words, wording=wording, grant=grant, **values)

    async def codes_of(request: Request[Any, Any, Any]) -> list[bytes]:
        """The codes under which the resident's records are filed: one, but while they go over to a new epoch."""
        code = await store.code_of(portal.database, account_of(request))
        held = await portal.database.read(
            lambda c: {e for column in (store.records.c.epoch, letters.c.epoch) for e in subjects.epochs(c, column)}
        )
        return [portal.member.carry(*code, epoch) for epoch in sorted(held)]

    @get("/", include_in_schema=False)
    async def start(request: Request[Any, Any, Any]) -> Redirect:
        return Redirect("/records" if request.session.get("key") else "/signin")

    def sent_by(request: Request[Any, Any, Any]) -> Any:
        """The site that sent this browser here to sign in, if one did."""
        asked = urllib.parse.urlsplit(request.session.get("next", "")).query
        return portal.sign_on.clients.get(urllib.parse.parse_qs(asked).get("client_id", [""])[0])

    def signin_form(request: Request[Any, Any, Any], problem: Any = None, status: int = 200) -> Response[bytes]:
        card = portal.entry.form(request) if portal.entry.open else None
        asking = portal.sessions.asking() if portal.sessions.has_passkeys else ""
        page = render(
            request, "signin.html", problem=problem, status=status, card=card, client=sent_by(request), asking=asking
        )
        return portal.entry.leading(page) if card else page

    def refuse_card(request: Request[Any, Any, Any], error: RenkeiError) -> Response[bytes]:
        return signin_form(request, portal.entry.problem(request, error), error.status)

    @get("/signin", include_in_schema=False)
    async def signin_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return signin_form(request)

    @post("/signin", include_in_schema=False)
    async def signin(request: Request[Any, Any, Any], data: Form) -> Response[Any]:
        digest = sha256(data.get("secret", "").strip().encode()).hexdigest()
        if await portal.database.read(lambda c: store.account_of(c, digest)) is None:
            return signin_form(request, _secret().problem(language(request, portal.settings.language)), 403)
        kept = {"for": request.session["for"]} if "for" in request.session else {}
        to = request.session.get("next", "/records")
        request.set_session({"key": digest, "since": portal.clock(), "amr": "otp", **kept})
        return Redirect(to, status_code=303)

    @post("/signin/passkey", include_in_schema=False)
    async def by_passkey(request: Request[Any, Any, Any], data: Form) -> Response[Any]:
        try:
            came = await portal.sessions.by_passkey(data.get("credential", ""))
        except RenkeiError as error:
            return signin_form(request, error.problem(language(request, portal.settings.language)), error.status)
        kept = {"for": request.session["for"]} if "for" in request.session else {}
        to = request.session.get("next", "/records")
        request.set_session({"key": came.key, "since": portal.clock(), "amr": BY_PASSKEY, **kept})
        return Redirect(to, status_code=303)

    @post("/signout", include_in_schema=False)
    async def signout(request: Request[Any, Any, Any]) -> Redirect:
        if "key" in request.session:
            await portal.sessions.end(mark_of(request.session))
        request.clear_session()
        return Redirect("/signin", status_code=303)

    handlers = [
        start,
        signin_page,
        signin,
        *sign_on_pages(portal, render, inside),
        *portal.entry.handlers("/signin/card", render, refuse_card, "/records"),
        by_passkey,
        signout,
        *own_pages(portal, render, inside),
        *account_pages(portal, render, inside, [signed_in(portal, SELF)]),
        *record_pages(portal, render, [signed_in(portal, READ)], inside, codes_of),
        *inbox_pages(portal, render, [signed_in(portal, READ)], inside, codes_of),
        *apply_pages(portal, render, [signed_in(portal, APPLY)]),
        *proxy_pages(portal, render, [signed_in(portal, SELF)], [signed_in(portal, STAFF)]),
    ]
    options = {
        "pages": pages,
        "csrf_secret": portal.keys.derive("csrf").hex(),
        # what comes from the reader program: the challenge in the session's cookie, which other sites' forms come without, is its proof
        "csrf_exclude": ["^/signin/card", "^/own/(back|finish)$", "^/apply/(signed|finish)$", "^/oidc/token$"],
        "middleware": [session.middleware],
    }
    return handlers, options


def _secret() -> Refused:
    return Refused(
        "This sign-in code is not known.",
        ja="サインイン用コードが正しくありません。",
        remedy="Check it and try again.",
        remedy_ja="確認して、もう一度お試しください。",
        code="secret",
    )
