"""The clerk's inquiry desk: ask, look, release. HTML that works without script."""

from __future__ import annotations

import datetime as dt
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import Body, FromPath, FromQuery
from litestar.response import Redirect

from renkei.errors import Malformed, NotFound, RenkeiError
from renkei.gateway import store, subscription_store
from renkei.gateway.answering import OWN
from renkei.gateway.api import Position, inquiry_id, provision, view
from renkei.gateway.change_pages import change_pages
from renkei.gateway.counter_pages import counter_pages
from renkei.gateway.desk import Ask
from renkei.gateway.letter_pages import letter_pages
from renkei.gateway.queue import Queue
from renkei.gateway.queue_pages import queue_pages
from renkei.gateway.source_pages import source_pages
from renkei.gateway.visit_pages import visit_pages
from renkei.institution import subjects, wording
from renkei.institution.clerks import clerk_of, demand
from renkei.institution.directory import Begun
from renkei.institution.web import Pages, cookie_session, language
from renkei.institution.wording import PackWords
from renkei.law import changes, decide

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

SESSION_HOURS = 8
"""After which a clerk signs in again, however busy."""

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
API_PATHS = (
    "^/inquiries",
    "^/batches",
    "^/subjects",
    "^/flags",
    "^/letters",
    "^/applications",
    "^/provisions",
    "^/eligibility",
    "^/notices",
    "^/changes",
    "^/subscriptions",
)


def signed_in(gateway: Gateway) -> Any:
    """Lets in a clerk with a session; puts the clerk on the connection."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        connection.state.clerk = gateway.clerk_in(connection.session)
        if connection.state.clerk is None:
            raise NotAuthorizedException

    return guard


def desk_pages(gateway: Gateway) -> tuple[list[Any], dict[str, Any]]:
    """The pages, and the options of the web shell they need."""

    def title(lang: str) -> str:
        body = gateway.member.pack.bodies.get(gateway.settings.body)
        name = body.title.text(lang) if body else gateway.settings.body
        return f"{name} 照会窓口" if lang == "ja" else f"{name}, inquiry desk"

    pages = Pages(Path(__file__).parent / "templates", gateway.settings, title)
    session = cookie_session(gateway.settings, gateway.keys.derive("session"), SESSION_HOURS * 3600, exclude=API_PATHS)
    inside = [signed_in(gateway)]

    def render(request: Request[Any, Any, Any], template: str, **values: Any) -> Response[bytes]:
        lang = language(request, gateway.settings.language)
        return pages.render(
            request,
            template,
            words=Words(gateway, lang),
            clerk=request.session.get("clerk", ""),
            by_card=gateway.entry.open,
            pack=gateway.member.pack,
            events=gateway.visits.events(),
            adapts=gateway.adapter is not None,
            wording=wording,
            **values,
        )

    @get("/", include_in_schema=False)
    async def start(request: Request[Any, Any, Any]) -> Redirect:
        return Redirect("/desk" if gateway.clerk_in(request.session) else "/signin")

    @get("/signin", include_in_schema=False)
    async def signin_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return signin_form(request)

    def signin_form(
        request: Request[Any, Any, Any], *, failed: bool = False, error: RenkeiError | None = None
    ) -> Response[bytes]:
        told = error.problem(language(request, gateway.settings.language)) if error else None
        status = error.status if error else 403 if failed else 200
        return render(
            request,
            "signin.html",
            failed=failed,
            problem=told,
            directory=gateway.directory is not None,
            ldap=gateway.ldap is not None,
            status=status,
        )

    @get("/signin/directory", include_in_schema=False)
    async def to_directory(request: Request[Any, Any, Any]) -> Response[Any]:
        """On to where this body's clerks sign in."""
        if gateway.directory is None:
            raise NotFound("There is no directory here.", ja="この窓口では利用できません。")
        try:
            address, begun = await gateway.directory.begin()
        except RenkeiError as error:
            return signin_form(request, error=error)
        request.set_session({"begun": [*begun], "since": gateway.clock()})
        return Redirect(address, status_code=303)

    @get("/signin/directory/back", include_in_schema=False)
    async def from_directory(request: Request[Any, Any, Any]) -> Response[Any]:
        """Back from there: the session says what was begun, so that nobody is signed in as somebody else by a link."""
        begun = Begun(*request.session.get("begun", ["", "", ""]))
        request.set_session({})
        if gateway.directory is None:
            raise NotFound("There is no directory here.", ja="この窓口では利用できません。")
        try:
            clerk = await gateway.directory.finish(dict(request.query_params), begun)
        except RenkeiError as error:
            return signin_form(request, error=error)
        request.set_session({"clerk": clerk.name, "duties": [*clerk.duties], "since": gateway.clock()})
        return leading_on(request)

    def leading_on(request: Request[Any, Any, Any]) -> Response[bytes]:
        """A page of ours that leads on: the cookie is not sent along a redirect that another site began (SameSite)."""
        return render(request, "signed_in.html")

    @post("/signin", include_in_schema=False)
    async def signin(request: Request[Any, Any, Any], data: Form) -> Response[Any]:
        if gateway.ldap is not None and "name" in data:
            try:
                known = await gateway.ldap.sign_in(data["name"].strip(), data.get("password", ""))
            except RenkeiError as error:
                return signin_form(request, error=error)
            request.set_session({"clerk": known.name, "duties": [*known.duties], "since": gateway.clock()})
            return Redirect("/desk", status_code=303)
        clerk = clerk_of(gateway.settings.clerks, data.get("token", "").strip())
        if clerk is None:
            return signin_form(request, failed=True)
        request.set_session({"clerk": clerk.name, "token": clerk.token_sha256, "since": gateway.clock()})
        return Redirect("/desk", status_code=303)

    @post("/signout", include_in_schema=False)
    async def signout(request: Request[Any, Any, Any]) -> Redirect:
        request.clear_session()
        return Redirect("/signin", status_code=303)

    @get("/desk", guards=inside, include_in_schema=False)
    async def desk(request: Request[Any, Any, Any], before: Position = None) -> Response[bytes]:
        rows = await gateway.database.read(lambda c: store.list_inquiries(c, state=None, limit=25, before=before))
        held = await gateway.database.read(lambda c: store.list_provisions(c, state="held", limit=200, but=OWN))
        tally = await gateway.database.read(store.tally)
        have, want = await gateway.database.read(subjects.counts)
        shown = [view(gateway, r) for r in rows]
        return render(
            request,
            "desk.html",
            inquiries=shown,
            held=len(held),
            changed=await gateway.database.read(subscription_store.count_open),
            tally=tally,
            have=have,
            want=want,
            before=before,
            leaving=changes.leaving(gateway.member.pack, gateway.settings.kinds),
        )

    def longest(affair: str, item: str) -> str:
        """The last day until which changes may be told to who asks today; ``Malformed`` if they may not."""
        pack = gateway.member.pack
        if not (days := pack.subscribed_days(affair, item)):
            raise Malformed(
                "The law does not let changes of this item be told for this affair; nothing was asked.",
                ja="この事務では、この情報の変更通知を受けられません（照会はしていません）。",
                remedy="Ask without it.",
                remedy_ja="変更通知なしで照会してください。",
                code="subscription",
                field="changes",
            )
        return (pack.day(gateway.clock()) + dt.timedelta(days=days)).isoformat()

    @get("/desk/new", guards=inside, include_in_schema=False)
    async def new_page(request: Request[Any, Any, Any], affair: FromQuery[str] = "") -> Response[bytes]:
        return render(request, "new.html", chosen=affair, problem=None, given={"once": secrets.token_urlsafe(12)})

    @post("/desk/new", guards=inside, include_in_schema=False)
    async def new(request: Request[Any, Any, Any], data: Form) -> Response[Any]:
        demand(request.state.clerk, "ask")
        item, _, provider = data.get("what", "").partition("@")
        affair = data.get("affair", "")
        try:
            ask = Ask(
                local_id=data.get("local_id", "").strip(),
                provider=provider,
                affair=affair,
                item=item,
                purpose=data.get("purpose", ""),
                case=data.get("case", ""),
                reason=data.get("reason", ""),
                withheld=data.get("withheld") == "yes",
                changes_until=longest(affair, item) if data.get("changes") == "yes" else "",
            )
            id_ = await gateway.desk.ask(ask, request.state.clerk.name, data.get("once") or None, wait=2.0)
        except RenkeiError as error:
            problem = error.problem(language(request, gateway.settings.language))
            return render(request, "new.html", chosen=affair, problem=problem, given=data, status=error.status)
        return Redirect(f"/desk/inquiries/{id_.hex()}", status_code=303)

    @get("/desk/inquiries/{id:str}", guards=inside, include_in_schema=False)
    async def inquiry(request: Request[Any, Any, Any], id: FromPath[str]) -> Response[bytes]:
        id_ = inquiry_id(id)
        row = await gateway.database.read(lambda c: store.get_inquiry(c, id_))
        if row is None:
            raise NotFound("There is no such inquiry.", ja="この照会はありません。")
        standing = gateway.member.state.oversight.decisions.get(row.rows) if row.reason == "order" else None
        return render(
            request,
            "inquiry.html",
            inquiry=view(gateway, row),
            row=row,
            order=standing.decision if standing else None,
            subscription=await gateway.database.read(lambda c: subscription_store.subscription(c, id_)),
            today=gateway.subscriptions.today,
        )

    @get("/desk/held", guards=inside, include_in_schema=False)
    async def held_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        rows = await gateway.database.read(lambda c: store.list_provisions(c, state="held", limit=200, but=OWN))
        return render(request, "held.html", provisions=[(provision(r), r.local_id) for r in rows])

    @post("/desk/held/{id:str}", guards=inside, include_in_schema=False)
    async def settle(request: Request[Any, Any, Any], id: FromPath[str], data: Form) -> Redirect:
        clerk = request.state.clerk
        demand(clerk, "release")
        match data.get("act"):
            case "release":
                await gateway.answering.release(inquiry_id(id), clerk.name)
            case "decline":
                await gateway.answering.decline(inquiry_id(id), clerk.name)
            case _:
                raise Malformed("The form is incomplete.", ja="フォームに不足があります。", code="form")
        return Redirect("/desk/held", status_code=303)

    async def commission_view(
        request: Request[Any, Any, Any], problem: Any = None, document: str = "", text: str = "", status: int = 200
    ) -> Response[bytes]:
        given: dict[str, Any] = {
            "demands": await gateway.supervision.listed(),
            "orders": gateway.supervision.orders(),
            "may_explain": "explain" in request.state.clerk.duties,
        }
        return render(
            request,
            "commission.html",
            now=gateway.clock(),
            problem=problem,
            document=document,
            text=text,
            status=status,
            **given,
        )

    @get("/desk/commission", guards=inside, include_in_schema=False)
    async def commission_page(request: Request[Any, Any, Any]) -> Response[bytes]:
        return await commission_view(request)

    @post("/desk/commission/{document:str}", guards=inside, include_in_schema=False)
    async def explain(request: Request[Any, Any, Any], document: FromPath[str], data: Form) -> Response[Any]:
        clerk, text = request.state.clerk, data.get("text", "")
        demand(clerk, "explain")
        try:
            await gateway.supervision.answer(inquiry_id(document), text, clerk.name)
        except RenkeiError as error:
            problem = error.problem(language(request, gateway.settings.language))
            return await commission_view(request, problem, document, text, error.status)
        return Redirect("/desk/commission", status_code=303)

    handlers = [
        start,
        signin_page,
        to_directory,
        from_directory,
        signin,
        signout,
        desk,
        new_page,
        new,
        inquiry,
        held_page,
        settle,
    ]
    handlers += [commission_page, explain]
    if gateway.entry.open:
        handlers += counter_pages(gateway, render, inside)
    handlers += change_pages(gateway, render, inside)
    handlers += letter_pages(gateway, render, inside)
    queue = Queue(gateway.member, gateway.database, gateway.clock)
    handlers += visit_pages(gateway, gateway.visits, queue, render, inside)
    if gateway.settings.queue:
        handlers += queue_pages(gateway, queue, render, inside)
    handlers += source_pages(gateway, render, inside)
    options = {
        "pages": pages,
        "csrf_secret": gateway.keys.derive("csrf").hex(),
        # what comes from the reader program: the challenge in the session is its proof
        "csrf_exclude": (
            *API_PATHS,
            "^/documents/card",
            "^/desk/register/(card|finish)$",
            "^/desk/counter/card/(signed|finish)$",
        ),
        "middleware": [session.middleware],
    }
    return handlers, options


class Words(PackWords):
    """The pack's words, and what this body may ask, for templates."""

    def __init__(self, gateway: Gateway, lang: str) -> None:
        super().__init__(gateway.member.pack, lang)
        self._gateway = gateway

    def purposes(self) -> list[tuple[str, str]]:
        own = self.pack.header.own.purpose
        return [(code, title.text(self.lang)) for code, title in self.pack.purposes.items() if code != own]

    def affairs(self) -> list[tuple[str, str]]:
        """Affairs for which this body may ask anything."""
        own = self.pack.standing(frozenset(self._gateway.settings.kinds))
        codes = dict.fromkeys(r.affair for r in self.pack.linkages if not own.isdisjoint(r.requester))
        return sorted(((c, self.affair(c)) for c in codes), key=lambda pair: pair[1])

    def told(self, affair: str) -> list[str]:
        """What changes may be told of to who asks for ``affair``."""
        return sorted(self.item(i) for i in self.pack.subscriptions.get(affair, {}))

    def choices(self, affair: str) -> list[tuple[str, str]]:
        """What may be asked of whom for ``affair`` today, as (item@provider, words)."""
        on = self.pack.day(self._gateway.clock())
        own = frozenset(self._gateway.settings.kinds)
        found = []
        for body in self._gateway.member.state.bodies.values():
            if body.role != "gateway" or body.body == self._gateway.settings.body:
                continue
            for item in dict.fromkeys(r.item for r in self.pack.linkages if r.affair == affair):
                if decide(self.pack, own, affair, body.kinds, item, on).allowed:
                    found.append((f"{item}@{body.body}", f"{self.item(item)} – {self.body(body.body)}"))
        return found
