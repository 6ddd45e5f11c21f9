"""Certificates at a kiosk or at home: come by card, touch what is wanted, take the sealed PDF; and the page that verifies a paper copy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from litestar import MediaType, Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from renkei.errors import RenkeiError
from renkei.gateway.documents import Documents
from renkei.institution import subjects
from renkei.institution.web import Pages, language

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

STAY = 300
"""Seconds after which whoever came by card comes again: a kiosk stands in a shop."""
AnyRequest = Request[Any, Any, Any]


def document_pages(gateway: Gateway, documents: Documents) -> list[Any]:
    """The pages."""

    def title(lang: str) -> str:
        body = gateway.member.pack.bodies[gateway.settings.body].title.text(lang)
        return f"{body} 証明書交付" if lang == "ja" else f"{body}, certificates"

    pages = Pages(Path(__file__).parent / "templates", gateway.settings, title)

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

    async def protected(who: str) -> bool:
        """Whether the body has this person under protection: nothing about them leaves it but at the counter."""
        found = (await gateway.database.read(lambda c: subjects.by_local_id(c, [who]))).get(who)
        return found is None or found.manual or found.withheld

    async def show(request: AnyRequest, problem: RenkeiError | None = None) -> Response[bytes]:
        who, status = await holder(request), problem.status if problem else 200
        told = gateway.entry.problem(request, problem) if problem else None
        if who is None:
            card = gateway.entry.form(request)
            page = render(request, "documents_start.html", status=status, card=card, problem=told)
            return gateway.entry.leading(page)
        if who.startswith(subjects.BY_CARD):
            return render(request, "awaited.html", again="/documents")
        if who and await protected(who):
            return render(
                request, "documents.html", status=status, offered=[], known=True, protected=True, problem=told
            )
        offered = documents.offered() if who else []
        return render(
            request, "documents.html", status=status, offered=offered, known=bool(who), protected=False, problem=told
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
        request.clear_session()
        return Redirect("/documents", status_code=303)

    @post("/documents/print/{code:str}", include_in_schema=False, status_code=200)
    async def print_(request: AnyRequest, code: FromPath[str]) -> Response[Any]:
        who = await holder(request)
        if not who or who.startswith(subjects.BY_CARD) or await protected(who):
            return Redirect("/documents", status_code=303)
        try:
            made = await documents.make(code, who)
        except RenkeiError as error:
            return await show(request, error)
        gateway.observe.count("documents_issued")
        name = f'attachment; filename="{code}-{made.number}.pdf"'
        return Response(made.pdf, media_type="application/pdf", headers={"Content-Disposition": name})

    @get("/verify", include_in_schema=False)
    async def verify(request: AnyRequest) -> Response[bytes]:
        return render(request, "verify.html", said=_said(language(request, gateway.settings.language)))

    @get("/verify/keys", include_in_schema=False)
    async def keys() -> Response[dict[str, Any]]:
        """The seal's key (RFC 7517), for anybody's verifier."""
        headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "max-age=3600"}
        return Response({"keys": [documents.seal.jwk()]}, media_type=MediaType.JSON, headers=headers)

    entry = gateway.entry.handlers("/documents/card", render, refuse, "/documents")
    return [start, leave, print_, verify, keys, *entry]


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
