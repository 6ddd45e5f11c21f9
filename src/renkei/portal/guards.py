"""Who is let into which pages, and as whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

from renkei.errors import NotFound, Refused
from renkei.portal.proxies import STAFF

if TYPE_CHECKING:
    from renkei.portal.service import Portal

SELF = "self"


def signed_in(portal: Portal, scope: str = "") -> Any:
    """Lets in a resident with a session: until it is over, or the key it was begun with opens nothing any more.

    Whoever acts for somebody else is let into what the grant's ``scope`` says, as that person; into pages of oneself (``SELF``) as who they
    are; and into no others.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        account = await portal.resident(connection.session, connection.headers.get("user-agent", ""))
        if account is None:
            raise NotAuthorizedException
        connection.state.account = account
        grant = await portal.proxies.acting(connection.session, account) if "acting" in connection.session else None
        if grant is None or scope == SELF:
            if "acting" in connection.session and scope != SELF:  # it ended: nothing is done as oneself by mistake
                raise _acts_no_more()
            if scope == STAFF:
                raise _acting()
            return
        if scope not in grant.scopes:
            raise _acting()
        connection.state.account, connection.state.grant = grant.row.principal, grant
        await portal.proxies.note(grant, scope)

    return guard


def account_of(request: Request[Any, Any, Any]) -> str:
    """Whose pages these are; ``NotFound`` for a card of nobody's: all such have the same account, which is nobody's to look at."""
    account = str(request.state.account)
    if not account:
        raise NotFound(
            "The numbering authority knows nobody by this card.",
            ja="このカードの持ち主を、付番機関が確認できませんでした。",
            remedy="Ask at the counter where you were given the card.",
            remedy_ja="カードを受け取った窓口にお問い合わせください。",
            code="card-unknown",
        )
    return account


def _acting() -> Refused:
    return Refused(
        "This was not left to you, or is for whoever acts for a corporation.",
        ja="この機能は任されていないか、法人の代理中だけ使えます。",
        remedy="Choose for whom you act, or stop acting for somebody else.",
        remedy_ja="「代理人」の画面で、代理をはじめるか終了してください。",
        code="acting",
        back="/proxies",
    )


def _acts_no_more() -> Refused:
    return Refused(
        "You do not act for them any more.",
        ja="代理の期限が切れたか、終了しました。",
        remedy="Stop acting for them, to go on for yourself.",
        remedy_ja="「代理を終了」を押すと、自分の画面に戻ります。",
        code="acting-over",
        back="/proxies",
    )
