"""The counter's queue: a page that gives numbers, the screen above the counter, and the clerk's call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, get, post
from litestar.params import FromQuery, QueryParameter
from litestar.response import Redirect

from renkei.errors import RenkeiError
from renkei.gateway.queue import Queue
from renkei.institution.clerks import demand
from renkei.institution.entry import Form, Render
from renkei.institution.web import language

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

Ask = Request[Any, Any, Any]
Number = Annotated[int, QueryParameter(ge=0, lt=2**31)]


def queue_pages(gateway: Gateway, queue: Queue, render: Render, inside: list[Any]) -> list[Any]:
    """``/queue`` and ``/queue/ticket`` for whoever waits; ``/desk/counter/call`` for clerks."""

    @get("/queue", include_in_schema=False)
    async def screen(request: Ask) -> Response[bytes]:
        return render(request, "queue.html", standing=await queue.standing())

    @get("/queue/ticket", include_in_schema=False)
    async def kiosk(request: Ask, number: Number = 0, event: FromQuery[str] = "") -> Response[bytes]:
        before = await queue.before(number) if number else 0
        return render(request, "ticket.html", number=number, event=event, before=before, problem=None)

    @post("/queue/ticket", include_in_schema=False)
    async def take(request: Ask, data: Form) -> Response[Any]:
        event = data.get("event", "")
        try:
            number = await queue.take(event)
        except RenkeiError as error:
            told = error.problem(language(request, gateway.settings.language))
            return render(request, "ticket.html", number=0, event="", before=0, problem=told, status=error.status)
        return Redirect(f"/queue/ticket?number={number}&event={event}", status_code=303)

    @post("/desk/counter/call", guards=inside, include_in_schema=False)
    async def call(request: Ask, data: Form) -> Response[Any]:
        demand(request.state.clerk, "ask")
        place = data.get("place", "")
        row = await queue.call(request.state.clerk.name, place)
        kept = {k: v for k, v in request.session.items() if k != "counter_called"}
        called = {"counter_called": [row.number, row.event]} if row is not None else {}
        request.set_session({**kept, "counter_place": " ".join(place.split()), **called})
        return Redirect("/desk/counter", status_code=303)

    return [screen, kiosk, take, call]
