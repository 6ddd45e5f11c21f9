"""The commission's web pages: the console of its officers, and the public register. HTML that works without script.

Who is signed in as an officer looks; each act asks for the passphrase anew, which alone opens the officer's signing key.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from litestar import Response, get, post
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.response import Redirect

from renkei.commission import store, wordings
from renkei.commission.case_pages import case_pages
from renkei.commission.casework import Signed, decision_of
from renkei.commission.decision_pages import decision_pages
from renkei.commission.figure_pages import figure_pages
from renkei.commission.register_pages import register_pages
from renkei.commission.web import SHOWN, Ask, Form, Web
from renkei.errors import RenkeiError
from renkei.institution import wording
from renkei.institution.web import Pages, cookie_session, language
from renkei.messages.wire import Officer

if TYPE_CHECKING:
    from renkei.commission.service import Commission

SESSION_SECONDS = 3600


def console_pages(commission: Commission) -> tuple[list[Any], dict[str, Any]]:
    """The pages, and the options of the web shell they need."""
    here = commission
    keeper, casework = here.keeper, here.casework
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
        given = {"words": words, "wording": wording, "officer": officer, "now": now, "days_left": wordings.days_left}
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
            return response  # type: ignore[no-any-return]  # a page, whichever ``again`` makes
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
        proposed = [(r.number, decision_of(r), r.proposed_by) for r in waiting]
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

    @get("/trail", guards=inside, include_in_schema=False)
    async def trail(request: Ask) -> Response[bytes]:
        entries = await here.database.read(store.trail_entries)
        committed = keeper.state.oversight.trail
        return render(request, "trail.html", **wordings.trail_view(entries, committed, SHOWN))

    web = Web(here, render, inside, stepped_up, tried)
    handlers = [start, signin_page, signin, signout, desk, trail]
    for made in (case_pages, decision_pages, register_pages, figure_pages):
        handlers += made(web)
    options = {"pages": pages, "csrf_secret": here.keys.derive("csrf").hex(), "middleware": [session.middleware]}
    return handlers, options
