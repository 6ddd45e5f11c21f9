"""Opened datasets: their pages, the whole files, and rows by condition, for everybody and without asking who."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import File

from renkei.catalogue import store
from renkei.catalogue.opened import FORMS, Dataset
from renkei.catalogue.publication import PAGE_MOST, Publication
from renkei.errors import Malformed
from renkei.institution.settings import Settings
from renkei.institution.web import language
from renkei.law.tables import Title

if TYPE_CHECKING:
    from collections.abc import Callable

Ask = Request[Any, Any, Any]
Limit = Annotated[int, QueryParameter(ge=1, le=PAGE_MOST)]
Offset = Annotated[int, QueryParameter(ge=0, lt=2**40)]
PREVIEW = 10
BARS = 20
CHANGES = 100
FRESH = "public, max-age=60"


def open_pages(
    publication: Publication, settings: Settings, render: Callable[..., Response[bytes]], read: Callable[[Any], Any]
) -> list[Any]:
    """The handlers. ``render`` makes a page, ``read`` reads from the catalogue's database on a thread."""
    origin = settings.origin

    async def of(id_: str) -> Dataset:
        return await asyncio.to_thread(publication.get, id_)

    @get("/datasets", include_in_schema=False)
    async def listed(request: Ask, q: FromQuery[str] = "", page: Offset = 0) -> Response[bytes]:
        found, total = await asyncio.to_thread(lambda: publication.find(q, limit=30, offset=page * 30))
        return render(request, "datasets.html", found=found, total=total, q=q, page=page)

    @get("/datasets/{id:str}", include_in_schema=False)
    async def one(request: Ask, id: FromPath[str]) -> Response[bytes]:
        made = await of(id)
        rows, _ = await publication.apart(lambda: publication.rows(made, limit=PREVIEW))
        drawn = await publication.apart(lambda: _drawn(publication, made))
        return render(
            request,
            "dataset.html",
            d=made,
            rows=rows,
            drawn=drawn,
            applications=publication.gallery.using(id),
            forms=made.about.forms,
            sizes=_sizes(publication, made),
        )

    @get("/applications", include_in_schema=False)
    async def applications(request: Ask) -> Response[bytes]:
        found = await asyncio.to_thread(publication.gallery.all)
        used = {d for a in found for d in a.datasets}
        known = await read(lambda c: store.datasets_of(c, sorted(used)))
        lang = language(request, settings.language)
        titles = {id_: made.about.title.text(lang) for id_, made in known.items()}
        return render(request, "applications.html", applications=found, titles=titles)

    @get("/applications.json", summary="What was made with the opened data", tags=["open data"])
    async def listed_applications() -> Response[Any]:
        found = await asyncio.to_thread(publication.gallery.all)
        return Response([msgspec.to_builtins(a) for a in found], headers={"Cache-Control": FRESH})

    @get("/datasets.json", summary="Opened datasets that hold every word of q, newest first", tags=["open data"])
    async def search(q: FromQuery[str] = "", limit: Limit = 50, offset: Offset = 0) -> Response[Any]:
        """``next`` is the offset of the next page, or null."""
        found, total = await asyncio.to_thread(lambda: publication.find(q, limit=limit, offset=offset))
        further = offset + len(found) if offset + len(found) < total else None
        return Response(
            {"total": total, "next": further, "datasets": [said(d, origin) for d in found]},
            headers={"Cache-Control": FRESH},
        )

    @get("/datasets/{id:str}/about.json", summary="What a dataset is", tags=["open data"])
    async def about(id: FromPath[str]) -> Response[Any]:
        """Columns, licence, version, warnings it was published with, and its files."""
        return Response(said(await of(id), origin), headers={"Cache-Control": FRESH})

    @get("/datasets/{id:str}/rows", summary="Rows that meet conditions, a page at a time", tags=["open data"])
    async def rows(
        id: FromPath[str],
        where: FromQuery[list[str] | None] = None,
        order: FromQuery[str] = "",
        limit: Limit = 100,
        offset: Offset = 0,
    ) -> Response[Any]:
        """``where``: column,operator,value, repeated at will; operators eq ne lt le gt ge has. ``order``: a column; - before it: down."""
        made = await of(id)
        conditions = [_condition(w) for w in where or ()]
        found, total = await publication.apart(
            lambda: publication.rows(made, conditions, order, limit=limit, offset=offset)
        )
        further = offset + len(found) if offset + len(found) < total else None
        return Response(
            {"version": made.version, "total": total, "next": further, "rows": found}, headers={"Cache-Control": FRESH}
        )

    @get(
        [f"/datasets/{{id:str}}/data.{f}" for f in FORMS],
        summary="The whole dataset in one file",
        tags=["open data"],
        media_type="application/octet-stream",
    )
    async def whole(request: Ask, id: FromPath[str]) -> Response[Any] | File:
        """CSV, JSON, Parquet, or GeoJSON. ``ETag`` is the version: ask with ``If-None-Match``."""
        form = request.url.path.rpartition(".")[2]
        made = await of(id)
        path = await asyncio.to_thread(publication.file, made, form)
        tag = f'"{made.about.id}-{made.version}-{made.digest[:16]}"'
        headers = {"ETag": tag, "Cache-Control": FRESH, "Last-Modified": _http_date(made.modified)}
        if tag in request.headers.get("if-none-match", ""):
            return Response(b"", status_code=304, headers=headers)
        return File(path, filename=f"{made.about.id}.{form}", media_type=FORMS[form], headers=headers, etag=None)

    @get("/changes.atom", summary="What was published, renewed or withdrawn", tags=["open data"])
    async def changes(request: Ask) -> Response[bytes]:
        """Atom (RFC 4287), newest first."""
        found = await read(lambda c: store.changes(c, CHANGES))
        return Response(
            _atom(found, origin, language(request, settings.language)), media_type="application/atom+xml; charset=utf-8"
        )

    return [listed, one, search, about, rows, whole, changes, applications, listed_applications]


def said(made: Dataset, origin: str) -> dict[str, Any]:
    """A dataset for programs."""
    about = made.about
    return {
        "id": about.id,
        "title": about.title._asdict(),
        "description": {"ja": about.description_ja, "en": about.description_en},
        "publisher": about.publisher,
        "kind": about.kind,
        "licence": about.licence,
        "period": about.period,
        "every": about.every,
        "columns": about.columns,
        "version": made.version,
        "rows": made.rows,
        "sha256": made.digest,
        "issued": made.issued,
        "modified": made.modified,
        "suppressed": made.suppressed,
        "warnings": [
            {"code": f.code, "column": f.column, "cases": f.cases, "said": f.said._asdict()} for f in made.findings
        ],
        "page": f"{origin}/datasets/{about.id}",
        "files": {f: f"{origin}/datasets/{about.id}/data.{f}" for f in about.forms},
        "query": f"{origin}/datasets/{about.id}/rows",
    }


def _condition(text: str) -> tuple[str, str, str]:
    column, _, rest = text.partition(",")
    operator, comma, value = rest.partition(",")
    if not comma:
        raise Malformed("A condition is column,operator,value.", ja="条件は 列,演算子,値 の形です。", code="condition")
    return column, operator, value


def _sizes(publication: Publication, made: Dataset) -> dict[str, int]:
    return {f: publication.file(made, f).stat().st_size for f in made.about.forms}


def _drawn(publication: Publication, made: Dataset) -> dict[str, Any]:
    """What the page draws: bars of the first count by the first group, and the places on a map."""
    about = made.about
    group, count = about.role("group"), about.role("count")
    bars: Sequence[tuple[str, int]] = publication.bars(made, group.name, count.name, BARS) if group and count else ()
    east, north = about.role("longitude"), about.role("latitude")
    places = publication.places(made, east.name, north.name) if east and north else ()
    return {"bars": bars, "by": group, "of": count, "places": places}


def _http_date(moment: int) -> str:
    return dt.datetime.fromtimestamp(moment / 1000, dt.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")


def _atom(found: Sequence[tuple[str, int, bool, Dataset]], origin: str, lang: str) -> bytes:
    def t(title: Title) -> str:
        return escape(title.text(lang))

    heading = t(Title("公開データの更新", "Changes of open data"))
    newest = _iso(found[0][1]) if found else "1970-01-01T00:00:00Z"
    entries = []
    for id_, when, gone, made in found:
        what = Title("公開終了", "withdrawn") if gone else Title(f"第{made.version}版", f"version {made.version}")
        mark = f"{origin}/datasets/{id_}#{made.version}{'-gone' if gone else ''}"
        link = f'<link href="{origin}/datasets/{id_}"/>' if not gone else ""
        entries.append(
            f"<entry><id>{mark}</id><title>{t(made.about.title)} – {t(what)}</title><updated>{_iso(when)}</updated>"
            f"{link}<author><name>{escape(made.about.publisher)}</name></author></entry>"
        )
    head = f'<feed xmlns="http://www.w3.org/2005/Atom"><id>{origin}/changes.atom</id><title>{heading}</title><updated>{newest}</updated>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head}{"".join(entries)}</feed>\n'.encode()


def _iso(moment: int) -> str:
    return dt.datetime.fromtimestamp(moment / 1000, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
