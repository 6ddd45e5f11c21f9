"""Who may use an institution's interface: clerks and systems with bearer tokens, each with its duties."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.handlers import BaseRouteHandler

from renkei.errors import Refused
from renkei.institution.settings import Clerk, Duty


def clerk_of(clerks: Sequence[Clerk], token: str) -> Clerk | None:
    """The clerk or system with this token."""
    digest = sha256(token.encode()).hexdigest()
    return next((c for c in clerks if hmac.compare_digest(c.token_sha256, digest)), None)


def token_guard(clerks: Sequence[Clerk]) -> Any:
    """Lets in whoever has a clerk's token; puts the clerk on the connection."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        scheme, _space, token = connection.headers.get("authorization", "").partition(" ")
        clerk = clerk_of(clerks, token) if scheme.lower() == "bearer" and token else None
        if clerk is None:
            raise NotAuthorizedException
        connection.state.clerk = clerk

    return guard


def duty(name: Duty) -> Any:
    """Lets in clerks who have this duty."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        demand(connection.state.clerk, name)

    return guard


def demand(clerk: Clerk, name: Duty) -> None:
    """``Refused`` unless the clerk has this duty."""
    if name not in clerk.duties:
        raise Refused(
            f"This is not among your duties here ({name}).",
            ja=f"この操作の権限がありません（{name}）。",
            remedy="Ask whoever administers this institution's access.",
            remedy_ja="利用権限の管理者にご相談ください。",
            code="duty",
        )
