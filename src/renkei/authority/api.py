"""What the authority is asked over HTTP, by clerks with a token: whose a card's certificate is, and a new number for one that leaked."""

from __future__ import annotations

import datetime as dt
from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Router, get, post
from litestar.params import JSONBody

from renkei.authority import store
from renkei.errors import Malformed
from renkei.institution.clerks import duty, token_guard
from renkei.institution.web import json_body

if TYPE_CHECKING:
    from renkei.authority.service import Authority

Number = Annotated[str, msgspec.Meta(max_length=40)]


class Certified(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A card's authentication certificate (DER, base64) and the number of its holder."""

    number: Number
    certificate: Annotated[str, msgspec.Meta(max_length=6000)]


class Replacement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A number that cannot stay in use, and why: leaked or misused."""

    number: Number
    reason: Annotated[str, msgspec.Meta(max_length=16)]


class Statistics(msgspec.Struct, frozen=True):
    """How many persons there are, and numbers replaced, by month and by reason."""

    persons: int
    replaced: dict[str, dict[str, int]]


def authority_api(authority: Authority) -> Router:
    """The interface."""

    @post("/certificates", guards=[json_body, duty("certify")], status_code=204)
    async def certify(data: JSONBody[Certified]) -> None:
        """Say whose a certificate is, so that its holder can sign in at the portal without a number."""
        try:
            certificate = b64decode(data.certificate, validate=True)
        except ValueError:
            raise Malformed("This is no base64.", ja="base64 ではありません。", code="certificate") from None
        await authority.certify(data.number, certificate)

    @post("/numbers/replace", guards=[json_body, duty("renumber")])
    async def replace(data: JSONBody[Replacement]) -> dict[str, str]:
        """Replace a number. Every body goes on knowing its holder by the code it has."""
        return {"number": await authority.renumber(data.number, data.reason)}

    @get("/numbers/statistics", guards=[duty("renumber")])
    async def statistics() -> Statistics:
        """How many numbers were replaced. No number, and nobody's."""
        persons = await authority.database.read(store.count)
        zone, months = authority.member.pack.zone, dict[str, Counter[str]]()
        for reason, at in await authority.database.read(store.replacements):
            months.setdefault(f"{dt.datetime.fromtimestamp(at / 1000, zone):%Y-%m}", Counter())[reason] += 1
        return Statistics(persons, {month: dict(counts) for month, counts in months.items()})

    handlers: list[Any] = [certify, replace, statistics]
    return Router(
        "/",
        route_handlers=handlers,
        guards=[token_guard(authority.settings.clerks)],
        tags=["authority"],
        security=[{"token": []}],
    )
