"""Certificates at a kiosk or at home: come by card, touch what is wanted, take the sealed PDF; and the page that verifies a paper copy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from renkei.errors import RenkeiError
from renkei.gateway.documents import Documents, Printed
from renkei.institution import subjects
from renkei.institution.web import Pages, language
from renkei.law.pack import Document

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

STAY = 300
"""Seconds after which whoever came by card comes again: a kiosk stands in a shop."""
KEPT_MOST = 100
"""Certificates of as many visitors that wait to be taken; the oldest goes first."""
AnyRequest = Request[Any, Any, Any]


class Made(NamedTuple):
    """A certificate that its holder may take, again too, until they leave."""

    document: Document
    printed: Printed
    taken: bool


class Shelf:
    """What was made last in each visit: in memory alone, and for no longer than they may stay."""

    def __init__(self) -> None:
        self._made: dict[str, Made] = {}

    def put(self, visit: str, document: Document, printed: Printed) -> None:
        """In place of what they had."""
        self._made.pop(visit, None)
        while len(self._made) >= KEPT_MOST:
            del self._made[next(iter(self._made))]
        self._made[visit] = Made(document, printed, taken=False)
        asyncio.get_running_loop().call_later(STAY, self._forget, visit, printed)

    def of(self, visit: str) -> Made | None:
        return self._made.get(visit)

    def take(self, visit: str) -> Made | None:
        """It stays, and is known to be taken."""
        made = self._made.get(visit)
        if made is not None:
            self._made[visit] = made._replace(taken=True)
        return made

    def drop(self, visit: str) -> None:
        """They left."""
        self._made.pop(visit, None)

    def _forget(self, visit: str, printed: Printed) -> None:
        made = self._made.get(visit)
        if made is not None and made.printed is printed:
            del self._made[visit]


def document_pages(gateway: Gateway, documents: Documents) -> list[Any]:
    """The pages."""

    def title(lang: str) -> str:
        body = gateway.member.pack.bodies[gateway.settings.body].title.text(lang)
        return f"{body} 証明書交付" if lang == "ja" else f"{body}, certificates"

    pages, shelf = Pages(Path(__file__).parent / "templates", gateway.settings, title), Shelf()

    def render(request: AnyRequest, template: str, *, status: int = 200, **values: Any) -> Response[bytes]:
        return pages.render(
            request, template, status=status, currency=gateway.member.pack.header.cards.currency, **values
        )

    async def holder(request: AnyRequest) -> str | None:
        """Who is here: a local id; empty if nobody we know; ``None`` if nobody came by card lately."""
        key, since = request.session.get("key", ""), request.session.get("since", 0)
        if not key or not 0 <= gateway.clock() - since < STAY * 1000:
            return None
        return await gateway.database.read(lambda c: subjects.holder_of(c, bytes.fromhex(key)))

    def visit(request: AnyRequest) -> str:
        """Which visit this is: of which card, since when."""
        return f"{request.session.get('key', '')} {request.session.get('since', '')}"

    async def protected(who: str) -> bool:
        """Whether the body has this person under protection: nothing about them leaves it but at the counter."""
        found = (await gateway.database.read(lambda c: subjects.by_local_id(c, [who]))).get(who)
        return found is None or found.manual or found.withheld

    async def served(request: AnyRequest) -> str:
        """Who is here and may have certificates at once: a local id, or nothing."""
        who = await holder(request)
        return who if who and not who.startswith(subjects.BY_CARD) and not await protected(who) else ""

    async def show(request: AnyRequest, problem: RenkeiError | None = None) -> Response[bytes]:
        who, status = await holder(request), problem.status if problem else 200
        told = gateway.entry.problem(request, problem) if problem else None
        if who is None:
            card = gateway.entry.form(request)
            page = render(request, "documents_start.html", status=status, card=card, problem=told)
            return gateway.entry.leading(page)
        if who.startswith(subjects.BY_CARD):
            return render(request, "awaited.html", again="/documents", leave="/documents/leave")
        guarded = bool(who) and await protected(who)
        offered = documents.offered() if who and not guarded else []
        return render(
            request,
            "documents.html",
            status=status,
            offered=offered,
            fees=any(d.fee for d in offered),
            known=bool(who),
            protected=guarded,
            problem=told,
        )

    def refuse(request: AnyRequest, error: RenkeiError) -> Response[bytes]:
        card = gateway.entry.form(request)
        told = gateway.entry.problem(request, error)
        return gateway.entry.leading(
            render(request, "documents_start.html", status=error.status, card=card, problem=told)
        )

    @get("/documents", include_in_schema=False)
    async def start(request: AnyRequest) -> Response[bytes]:
        return await show(request)

    @post("/documents/leave", include_in_schema=False)
    async def leave(request: AnyRequest) -> Redirect:
        shelf.drop(visit(request))
        request.clear_session()
        return Redirect("/documents", status_code=303)

    @post("/documents/print/{code:str}", include_in_schema=False)
    async def print_(request: AnyRequest, code: FromPath[str]) -> Response[Any]:
        who = await served(request)
        if not who:
            return Redirect("/documents", status_code=303)
        try:
            printed = await documents.make(code, who)
        except RenkeiError as error:
            return await show(request, error)
        gateway.observe.count("documents_issued")
        shelf.put(visit(request), gateway.member.pack.documents[code], printed)
        return Redirect("/documents/made", status_code=303)  # so that the page read anew makes no other one

    @get("/documents/made", include_in_schema=False)
    async def made(request: AnyRequest) -> Response[Any]:
        found = shelf.of(visit(request)) if await served(request) else None
        return render(request, "documents_made.html", made=found) if found else Redirect("/documents")

    @get("/documents/made.pdf", include_in_schema=False)
    async def take(request: AnyRequest) -> Response[Any]:
        found = shelf.take(visit(request)) if await served(request) else None
        if found is None:
            return Redirect("/documents")
        name = f'attachment; filename="{found.document.code}-{found.printed.number}.pdf"'
        return Response(found.printed.pdf, media_type="application/pdf", headers={"Content-Disposition": name})

    @get("/verify", include_in_schema=False)
    async def verify(request: AnyRequest) -> Response[bytes]:
        return render(request, "verify.html", said=_said(language(request, gateway.settings.language)))

    @get("/verify/keys", include_in_schema=False)
    async def keys() -> Response[dict[str, Any]]:
        """The seal's key (RFC 7517), for anybody's verifier."""
        headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=3600"}
        return Response({"keys": [documents.seal.jwk()]}, media_type=MediaType.JSON, headers=headers)

    entry = gateway.entry.handlers("/documents/card", render, refuse, "/documents")
    return [start, leave, print_, made, take, verify, keys, *entry]


def _said(lang: str) -> dict[str, str]:
    """What the verifying page says, for its script."""
    said = {
        "genuine": (
            "Genuine. Compare it with the paper, word for word.",
            "真正です。紙の記載と1つずつ見比べてください。",
        ),
        "false": ("Not genuine: this was not certified here.", "真正ではありません。この内容は証明されていません。"),
        "nothing": (
            "Read the code on the paper with a camera: it leads here with what is printed.",
            "紙にあるコードをカメラで読み取ると、印刷内容とともにこの画面が開きます。",
        ),
        "old": (
            "This browser cannot verify. Use a current one.",
            "このブラウザでは確認できません。新しいものをお使いください。",
        ),
        "number": ("Number", "番号"),
        "issued": ("Issued on", "交付日"),
        "by": ("Issued by", "発行者"),
    }
    return {key: ja if lang == "ja" else en for key, (en, ja) in said.items()}
