"""The counter: where municipalities' clerks see to cards, each municipality to its own; the telephone that answers at any hour; and the
page where a resident applies with the code on their form.

Clerks stand in ``clerks.toml`` of the authorities' home::

    [[clerk]]
    name = "Yamada"
    office = "ohashi-city"            # a body of the pack, for which the cards are made
    duties = ["counter", "production", "telephone"]
    token_sha256 = "…"
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hmac
import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.params import Body, FromPath
from litestar.response import Redirect

from renkei.certification import faces
from renkei.certification.applications import Application, Applications, Person
from renkei.certification.production import Pins
from renkei.errors import Malformed, NotFound, Refused, RenkeiError
from renkei.institution.settings import Clock, Home, Settings
from renkei.institution.web import Pages, cookie_session, language
from renkei.law import Pack

Duty = Literal["counter", "production", "telephone"]
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
AnyRequest = Request[Any, Any, Any]
SESSION_SECONDS = 4 * 3600
CARD = re.compile(r"EN[0-9]{10}")
"""The number on a card."""
STATES = ("invited", "applied", "making", "made", "announced", "handed", "suspended", "ended")


class CounterClerk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody at a municipality's counter, or whom it lets act for it."""

    name: str
    office: str
    duties: tuple[Duty, ...]
    token_sha256: str


class _Clerks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clerk: tuple[CounterClerk, ...] = ()


class Counter:
    """Who may do what with applications."""

    def __init__(
        self, home: Home, applications: Applications, pack: Pack, shell: Settings, secret: bytes, clock: Clock
    ) -> None:
        file = home.read_toml("clerks.toml", _Clerks) if (home / "clerks.toml").exists() else _Clerks()
        self.clerks, self.applications, self.pack, self.shell = file.clerk, applications, pack, shell
        self.secret, self.clock = secret, clock
        self.progress: tuple[int, int] | None = None
        """While cards are being made: how many are, of how many."""
        self._running: asyncio.Task[None] | None = None

    def clerk_of(self, digest: str) -> CounterClerk | None:
        """The clerk with this token's SHA-256 (hexadecimal)."""
        return next((c for c in self.clerks if hmac.compare_digest(c.token_sha256, digest)), None)

    def office(self, clerk: CounterClerk, lang: str) -> str:
        body = self.pack.bodies.get(clerk.office)
        return body.title.text(lang) if body else clerk.office

    def produce(self, by: str) -> None:
        """Begin to make every card that was applied for, if it is not being done."""
        if self.progress is not None:
            return
        self.progress = (0, 0)

        def told(done: int, total: int) -> None:
            self.progress = (done, total)

        async def work() -> None:
            try:
                await self.applications.produce(by, told)
            finally:
                self.progress = None

        self._running = asyncio.create_task(work())


def counter_pages(counter: Counter) -> tuple[list[Any], dict[str, Any]]:
    """The pages, and the options of the web shell they need."""
    pages = Pages(
        Path(__file__).parent / "templates",
        counter.shell,
        lambda lang: "個人番号カード" if lang == "ja" else "Individual Number Cards",
    )
    session = cookie_session(
        counter.shell, counter.secret, SESSION_SECONDS, exclude=("^/ocsp", "^/timestamps", "^/verifier")
    )
    all_ = counter.applications

    def render(request: AnyRequest, template: str, *, status: int = 200, **values: Any) -> Response[bytes]:
        lang = language(request, counter.shell.language)
        clerk = counter.clerk_of(request.session.get("token", ""))
        office = counter.office(clerk, lang) if clerk else ""
        return pages.render(
            request,
            template,
            status=status,
            clerk=clerk,
            office=office,
            rules=counter.pack.header.cards.proofing,
            **values,
        )

    def problem(request: AnyRequest, error: RenkeiError) -> dict[str, Any]:
        return error.problem(language(request, counter.shell.language))

    async def signed_in(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        since = connection.session.get("since", 0)
        fresh = 0 <= counter.clock() - since < SESSION_SECONDS * 1000
        connection.state.clerk = counter.clerk_of(connection.session.get("token", "")) if fresh else None
        if connection.state.clerk is None:
            raise NotAuthorizedException

    inside = [signed_in]

    def clerk(request: AnyRequest, *duties: Duty) -> CounterClerk:
        found: CounterClerk = request.state.clerk
        if duties and not set(duties) & set(found.duties):
            raise Refused(
                "This is not among your duties here.",
                ja="この操作の権限がありません。",
                remedy="Ask whoever administers this counter's access.",
                remedy_ja="利用権限の管理者にご相談ください。",
                code="duty",
            )
        return found

    async def show(request: AnyRequest, application: Application, error: RenkeiError | None = None) -> Response[bytes]:
        told = problem(request, error) if error else None
        status = error.status if error else 200
        history = [(counter.pack.day(a.at), a.what, a.about, a.by) for a in application.acts]
        return render(request, "card.html", status=status, a=application, history=history, problem=told)

    async def act(request: AnyRequest, code: str, do: Callable[[CounterClerk], Awaitable[object]]) -> Response[Any]:
        """One act; what went wrong stands on the application's page."""
        who = request.state.clerk
        try:
            await do(who)
        except RenkeiError as error:
            return await show(request, await all_.get(code, who.office), error)
        return Redirect(f"/counter/{code}", status_code=303)

    # ------------------------------------------------------------------ clerks

    @get("/counter/signin", include_in_schema=False)
    async def signin_page(request: AnyRequest) -> Response[bytes]:
        return render(request, "counter_signin.html", failed=False)

    @post("/counter/signin", include_in_schema=False)
    async def signin(request: AnyRequest, data: Form) -> Response[Any]:
        digest = sha256(data.get("token", "").strip().encode()).hexdigest()
        if counter.clerk_of(digest) is None:
            return render(request, "counter_signin.html", failed=True, status=403)
        request.set_session({"token": digest, "since": counter.clock()})
        return Redirect("/counter", status_code=303)

    @post("/counter/signout", include_in_schema=False)
    async def signout(request: AnyRequest) -> Redirect:
        request.clear_session()
        return Redirect("/counter/signin", status_code=303)

    @get("/counter", guards=inside, include_in_schema=False)
    async def home(request: AnyRequest) -> Response[bytes]:
        who, state = clerk(request), request.query_params.get("state", "")
        rows = await all_.listed(who.office, state if state in STATES else "")
        tally = await all_.tally(who.office)
        ending = [r for r in await all_.ending() if r.office == who.office]
        return render(
            request,
            "counter.html",
            rows=rows,
            tally=tally,
            channels=await all_.channels(who.office),
            state=state,
            states=STATES,
            progress=counter.progress,
            ending=[(r.code, r.card, counter.pack.day(r.last)) for r in ending],
        )

    @post("/counter/find", guards=inside, include_in_schema=False)
    async def find(request: AnyRequest, data: Form) -> Redirect:
        who, wanted = clerk(request), data.get("wanted", "").strip().upper()[:32]
        found = await (all_.by_card if CARD.fullmatch(wanted) else all_.get)(wanted, who.office)
        return Redirect(f"/counter/{found.code}", status_code=303)

    @get("/counter/new", guards=inside, include_in_schema=False)
    async def new(request: AnyRequest) -> Response[bytes]:
        clerk(request, "counter")
        return render(request, "card_new.html", problem=None, kept={})

    @post("/counter/new", guards=inside, include_in_schema=False)
    async def invite(request: AnyRequest, data: Form) -> Response[Any]:
        who = clerk(request, "counter")
        try:
            code = await all_.invite(who.office, _person(data), who.name, data.get("cause", "first"))
        except RenkeiError as error:
            kept = {k: data.get(k, "") for k in ("name", "address", "birth", "sex", "cause")}
            return render(request, "card_new.html", status=error.status, problem=problem(request, error), kept=kept)
        return Redirect(f"/counter/{code}", status_code=303)

    @post("/counter/produce", guards=inside, include_in_schema=False)
    async def produce(request: AnyRequest) -> Redirect:
        counter.produce(clerk(request, "production").name)
        return Redirect("/counter", status_code=303)

    @get("/counter/{code:str}", guards=inside, include_in_schema=False)
    async def one(request: AnyRequest, code: FromPath[str]) -> Response[bytes]:
        return await show(request, await all_.get(code, clerk(request).office))

    @post("/counter/{code:str}/photo", guards=inside, include_in_schema=False)
    async def photo(request: AnyRequest, code: FromPath[str]) -> Response[Any]:
        clerk(request, "counter")
        data = await request.form()
        content, channel = await _content(data), "post" if data.get("channel") == "post" else "counter"
        return await act(
            request, code, lambda who: _own(all_, code, who, lambda: all_.apply(code, content, channel, who.name))
        )

    @get("/counter/{code:str}/photo.jpg", guards=inside, include_in_schema=False)
    async def picture(request: AnyRequest, code: FromPath[str]) -> Response[bytes]:
        application = await all_.get(code, clerk(request).office)
        if application.photo is None:
            raise NotFound(
                "There is no photograph.",
                ja="写真がありません。",
                remedy="Take one in.",
                remedy_ja="写真を登録してください。",
                code="no-photo",
            )
        return Response(application.photo, media_type="image/jpeg")

    @get("/counter/{code:str}/{name:str}", guards=inside, include_in_schema=False)
    async def paper(request: AnyRequest, code: FromPath[str], name: FromPath[str]) -> Response[Any]:
        who = clerk(request, "counter", "production")
        application = await all_.get(code, who.office)
        title, typefaces = counter.office(who, "ja"), counter.pack.header.cards.printed.typefaces
        if name == "faces.pdf":
            made = await asyncio.to_thread(lambda: faces.faces_pdf(faces.faces(application, title, typefaces)))
        elif name in ("front.svg", "back.svg"):
            sides = await asyncio.to_thread(faces.faces, application, title, typefaces)
            return Response((sides.front if name == "front.svg" else sides.back).encode(), media_type="image/svg+xml")
        elif name == "letter.pdf":
            made = await asyncio.to_thread(
                faces.letter_pdf, application, title, title, application.announced, typefaces
            )
        else:
            raise NotFound("There is nothing here.", ja="ここには何もありません。")
        return Response(made, media_type="application/pdf")

    @post("/counter/{code:str}/announce", guards=inside, include_in_schema=False)
    async def announce(request: AnyRequest, code: FromPath[str]) -> Response[Any]:
        clerk(request, "counter", "production")
        return await act(request, code, lambda who: all_.announce(code, who.office, who.name))

    @post("/counter/{code:str}/hand-over", guards=inside, include_in_schema=False)
    async def hand_over(request: AnyRequest, code: FromPath[str]) -> Response[Any]:
        clerk(request, "counter")
        form = await request.form()
        shown = [str(v) for v in form.getall("shown", [])]
        pins = Pins(*(str(form.get(name, "")) for name in Pins._fields))
        return await act(request, code, lambda who: all_.hand_over(code, who.office, shown, pins, who.name))

    @post("/counter/{code:str}/suspend", guards=inside, include_in_schema=False)
    async def suspend(request: AnyRequest, code: FromPath[str]) -> Response[Any]:
        clerk(request, "telephone", "counter")
        return await act(request, code, lambda who: all_.suspend(code, who.office, who.name))

    @post("/counter/{code:str}/release", guards=inside, include_in_schema=False)
    async def release(request: AnyRequest, code: FromPath[str]) -> Response[Any]:
        clerk(request, "counter")
        return await act(request, code, lambda who: all_.release(code, who.office, who.name))

    @post("/counter/{code:str}/end", guards=inside, include_in_schema=False)
    async def end(request: AnyRequest, code: FromPath[str], data: Form) -> Response[Any]:
        clerk(request, "counter")
        return await act(request, code, lambda who: all_.end(code, who.office, data.get("reason", ""), who.name))

    @post("/counter/{code:str}/rewrite", guards=inside, include_in_schema=False)
    async def rewrite(request: AnyRequest, code: FromPath[str], data: Form) -> Response[Any]:
        clerk(request, "counter")
        changed = {k: data.get(k, "").strip() for k in ("name", "address", "pin")}
        reason = data.get("reason", "")
        return await act(request, code, lambda who: all_.rewrite(code, who.office, changed, reason, who.name))

    # ------------------------------------------------------------------ residents

    @get("/apply", include_in_schema=False)
    async def apply_page(request: AnyRequest) -> Response[bytes]:
        return render(request, "apply.html", problem=None, done=False, code=request.query_params.get("code", "")[:24])

    @post("/apply", include_in_schema=False)
    async def apply(request: AnyRequest) -> Response[bytes]:
        data = await request.form()
        code = str(data.get("code", "")).strip().upper().replace("-", "").replace(" ", "")[:24]
        try:
            await all_.apply(code, await _content(data), "web", "")
        except RenkeiError as error:
            return render(
                request, "apply.html", status=error.status, problem=problem(request, error), done=False, code=code
            )
        return render(request, "apply.html", problem=None, done=True, code=code)

    handlers = [
        signin_page,
        signin,
        signout,
        home,
        find,
        new,
        invite,
        produce,
        one,
        photo,
        picture,
        paper,
        announce,
        hand_over,
        suspend,
        release,
        end,
        rewrite,
        apply_page,
        apply,
    ]
    options = {
        "pages": pages,
        "csrf_secret": sha256(b"csrf" + counter.secret).hexdigest(),
        "csrf_exclude": ["^/ocsp", "^/timestamps", "^/verifier"],
        "middleware": [session.middleware],
    }
    return handlers, options


async def _own(all_: Applications, code: str, who: CounterClerk, do: Callable[[], Awaitable[object]]) -> None:
    """Do it, if the application is the clerk's office's."""
    await all_.get(code, who.office)
    await do()


async def _content(data: Any) -> bytes:
    """The photograph in a form; nothing if none came."""
    file = data.get("photo")
    return await file.read() if isinstance(file, UploadFile) else b""


def _person(data: dict[str, str]) -> Person:
    try:
        birth = dt.date.fromisoformat(data.get("birth", ""))
        fields = {k: data.get(k, "").strip() for k in ("number", "name", "address", "sex")}
        return msgspec.convert({**fields, "birth": birth}, Person)
    except (ValueError, msgspec.ValidationError):
        raise Malformed(
            "Name, address, date of birth (YYYY-MM-DD), sex and number are needed.",
            ja="氏名・住所・生年月日・性別・個人番号をすべて入力してください。",
            code="person",
        ) from None
