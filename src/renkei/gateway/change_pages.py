"""The desk's page of change notices: what has changed, and what this institution is told changes of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath
from litestar.response import Redirect

from renkei.errors import Malformed
from renkei.gateway import subscription_store as store
from renkei.gateway.api import inquiry_id
from renkei.institution.clerks import demand

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


def change_pages(gateway: Gateway, render: Any, inside: list[Any]) -> list[Any]:
    """``/desk/changes``."""
    subscriptions = gateway.subscriptions

    @get("/desk/changes", guards=inside, include_in_schema=False)
    async def changes(request: Request[Any, Any, Any]) -> Response[bytes]:
        today = subscriptions.today
        return render(  # type: ignore[no-any-return]
            request,
            "changes.html",
            changes=await gateway.database.read(store.open_changes),
            standing=await gateway.database.read(lambda c: store.standing(c, today)),
            total=await gateway.database.read(lambda c: store.count_standing(c, today)),
        )

    @post("/desk/changes/{id:str}", guards=inside, include_in_schema=False)
    async def act(request: Request[Any, Any, Any], id: FromPath[str], data: Form) -> Redirect:
        clerk, at = request.state.clerk, inquiry_id(id)
        demand(clerk, "ask")
        match data.get("act"):
            case "ask":
                inquiry = await subscriptions.ask(at, clerk.name, wait=2.0)
                return Redirect(f"/desk/inquiries/{inquiry.hex()}", status_code=303)
            case "settle":
                await subscriptions.settle(at, clerk.name)
            case "end":
                await subscriptions.end(at, clerk.name)
            case _:
                raise Malformed("The form is incomplete.", ja="フォームに不足があります。", code="form")
        return Redirect("/desk/changes", status_code=303)

    return [changes, act]
