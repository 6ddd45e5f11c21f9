"""What everybody sees of the catalogue: pages, and the same for programs. Nothing here asks who is reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery

from renkei.catalogue import rdf
from renkei.catalogue.corporation_pages import corporation_pages
from renkei.catalogue.open_pages import open_pages
from renkei.catalogue.registry import Entry, Provider
from renkei.errors import NotFound
from renkei.institution import forms, wording
from renkei.institution.entry import Form
from renkei.institution.web import Pages, language
from renkei.law import shapes

if TYPE_CHECKING:
    from renkei.catalogue.service import Catalogue

Ask = Request[Any, Any, Any]
CSV = "text/csv; charset=utf-8"
REST = 20
"""Times as long as it took to write a graph, it is not written again."""
FRESH = "public, max-age=60"


def catalogue_pages(here: Catalogue) -> tuple[list[Any], dict[str, Any]]:
    """The pages, and the options of the web shell they need."""
    pages = Pages(
        Path(__file__).parent / "templates",
        here.settings,
        lambda lang: "行政情報カタログ" if lang == "ja" else "Catalogue of public data",
    )
    registry, origin = here.registry, here.settings.origin

    def render(request: Ask, template: str, **values: Any) -> Response[bytes]:
        words = wording.PackWords(registry.pack, language(request, here.settings.language))
        return pages.render(request, template, words=words, pack=registry.pack, now=here.clock(), **values)

    async def one(item: str) -> Entry:
        entry = await asyncio.to_thread(registry.entry, item)
        if entry is None:
            raise NotFound("The catalogue has no such item.", ja="カタログにこの項目はありません。")
        return entry

    @get("/", include_in_schema=False)
    async def start(request: Ask, q: FromQuery[str] = "") -> Response[bytes]:
        entries = await asyncio.to_thread(registry.entries, q)
        terms = registry.terms(q) if q else []
        return render(request, "catalogue.html", entries=entries, terms=terms, q=q)

    @get("/items/{item:str}", include_in_schema=False)
    async def item_page(request: Ask, item: FromPath[str]) -> Response[bytes]:
        entry = await one(item)
        schema = shapes.json_schema(registry.pack, item, language(request)) if entry.specification else None
        return render(request, "item.html", e=entry, schema=schema, users=registry.users)

    def trying(request: Ask, item: str, given: dict[str, str] | None = None) -> Response[bytes]:
        """The form of an item's specification, and the record that what was ``given`` makes."""
        specification = registry.pack.specifications.get(item)
        if specification is None:
            raise NotFound("This item has no data specification.", ja="この項目にはデータ仕様がありません。")
        filled = forms.read(registry.pack, specification, given) if given is not None else None
        faults = filled.faults if filled else {}
        return render(
            request,
            "try.html",
            item=item,
            blanks=forms.blanks(registry.pack, specification, language(request), given or {}, faults),
            record=msgspec.json.format(msgspec.json.encode(filled.record)).decode() if filled else None,
            faults=faults,
            status=400 if faults else 200,
        )

    @get("/items/{item:str}/try", include_in_schema=False)
    async def try_page(request: Ask, item: FromPath[str]) -> Response[bytes]:
        return trying(request, item)

    @post("/items/{item:str}/try", include_in_schema=False)
    async def tried(request: Ask, item: FromPath[str], data: Form) -> Response[bytes]:
        return trying(request, item, data)

    @get("/terms", include_in_schema=False)
    async def terms_page(request: Ask, q: FromQuery[str] = "") -> Response[bytes]:
        return render(request, "terms.html", terms=registry.terms(q), q=q)

    @get("/terms/{code:str}", include_in_schema=False)
    async def term_page(request: Ask, code: FromPath[str]) -> Response[bytes]:
        if code not in registry.pack.terms:
            raise NotFound("The vocabulary has no such term.", ja="用語辞書にこの用語はありません。")
        return render(request, "term.html", term=registry.pack.terms[code], users=registry.users(code))

    @get("/bodies/{code:str}", include_in_schema=False)
    async def body_page(request: Ask, code: FromPath[str]) -> Response[bytes]:
        if code not in registry.pack.bodies:
            raise NotFound("The catalogue has no such body.", ja="カタログにこの機関はありません。")
        offered = await asyncio.to_thread(registry.of_body, code)
        return render(request, "body.html", body=registry.pack.bodies[code], offered=offered)

    # ------------------------------------------------------------------ for programs

    @get("/items.json", summary="Every item: who answers it, how well, who may ask", tags=["registry"])
    async def items(request: Ask, q: FromQuery[str] = "") -> Response[Any]:
        """Titles in both languages; ``providers`` with what each measured of itself."""
        entries = await asyncio.to_thread(registry.entries, q)
        return Response([_told(here, e) for e in entries], headers={"Cache-Control": FRESH})

    @get("/items/{item:str}/schema.json", summary="JSON Schema of one record of an item", tags=["specifications"])
    async def schema(request: Ask, item: FromPath[str]) -> Response[Any]:
        """Draft 2020-12; also a component of an OpenAPI 3.1 document."""
        if item not in registry.pack.specifications:
            raise NotFound("This item has no data specification.", ja="この項目にはデータ仕様がありません。")
        address = f"{origin}/items/{item}/schema.json"
        made = shapes.document(registry.pack, item, address, language(request, "en"))
        return Response(made, media_type="application/schema+json", headers={"Cache-Control": FRESH})

    @get("/openapi-items.json", summary="All specifications as OpenAPI components", tags=["specifications"])
    async def components(request: Ask) -> Response[Any]:
        """For generators of clients."""
        return Response(
            shapes.openapi(registry.pack, origin, language(request, "en")), headers={"Cache-Control": FRESH}
        )

    made: dict[str, tuple[str, bytes, float]] = {}
    making: dict[str, asyncio.Lock] = {}

    async def graph(request: Ask, name: str, suffix: str, make: Callable[[], Any]) -> Response[bytes]:
        """A graph as it was last written, unless the law or an offer has changed since; 304 if the reader has that."""
        key = await asyncio.to_thread(registry.version)
        at = f"{name}.{suffix}"
        async with making.setdefault(at, asyncio.Lock()):  # once, however many ask
            if at not in made or (made[at][0] != key and time.monotonic() >= made[at][2]):
                began = time.monotonic()
                text = await asyncio.to_thread(lambda: rdf.written(make(), suffix))
                now = time.monotonic()
                made[at] = (key, text, now + REST * (now - began))
        tag = '"' + sha256(made[at][1]).hexdigest()[:32] + '"'
        headers = {"ETag": tag, "Cache-Control": FRESH}
        if tag in request.headers.get("if-none-match", ""):
            return Response(b"", status_code=304, headers=headers)
        return Response(made[at][1], media_type=rdf.FORMATS[suffix][1], headers=headers)

    @get(
        [f"/vocabulary.{s}" for s in (*rdf.FORMATS, "csv", "json")],
        summary="The vocabulary: SKOS (ttl, jsonld, rdf), csv or json",
        tags=["vocabulary"],
    )
    async def vocabulary(request: Ask) -> Response[Any]:
        """Terms with labels, definitions, types, code lists, and what they are called in public vocabularies."""
        suffix = _suffix(request)
        if suffix == "csv":
            return Response(rdf.vocabulary_csv(registry.pack), media_type=CSV, headers={"Cache-Control": FRESH})
        if suffix == "json":
            return Response([t._asdict() for t in registry.pack.terms.values()], headers={"Cache-Control": FRESH})
        return await graph(request, "vocabulary", suffix, lambda: rdf.vocabulary(registry.pack))

    @get(
        [f"/catalog.{s}" for s in rdf.FORMATS], summary="The catalogue in DCAT 3: ttl, jsonld or rdf", tags=["registry"]
    )
    async def catalog(request: Ask) -> Response[Any]:
        """For harvesters."""
        return await graph(
            request,
            "catalog",
            _suffix(request),
            lambda: rdf.catalogue(registry, here.publication.every(), origin, here.settings.body),
        )

    handlers: list[Any] = [
        start,
        item_page,
        try_page,
        tried,
        terms_page,
        term_page,
        body_page,
        items,
        schema,
        components,
        vocabulary,
        catalog,
    ]
    handlers += corporation_pages(here.corporations, render)
    handlers += open_pages(here.publication, here.settings, render, here.database.read)
    return handlers, {"pages": pages}


def _suffix(request: Ask) -> str:
    return request.url.path.rpartition(".")[2]


def _told(here: Catalogue, entry: Entry) -> dict[str, Any]:
    pack = here.registry.pack
    item = pack.items[entry.item]
    specification = entry.specification
    return {
        "item": entry.item,
        "title": item.title._asdict(),
        "act": item.act,
        "specification": specification and {"version": specification.version, "records": specification.records},
        "provenance": specification and {"ja": specification.provenance.ja, "en": specification.provenance.en},
        "providers": [_provider(p, here.clock()) for p in entry.providers],
        "rows": sorted({r.row for r in entry.linkages}),
        "requesters": sorted({k for r in entry.linkages for k in r.requester}),
    }


def _provider(provider: Provider, now: int) -> dict[str, Any]:
    offer = provider.offer
    return {
        "body": provider.body,
        "specification": offer.specification,
        "copy": offer.copy,
        "earlier_states": offer.earlier,
        "made": offer.made or None,
        "measured": offer.measured or None,
        "persons": offer.persons,
        "rows": offer.rows,
        "wrong": offer.wrong,
        "filled": offer.filled,
        "probe": {"at": offer.probed, "milliseconds": offer.probe_ms, "fault": offer.probe_fault}
        if offer.probed
        else None,
        "assessed": provider.assessed,
        "silent": provider.silent(now),
    }
