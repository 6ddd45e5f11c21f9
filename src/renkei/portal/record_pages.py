"""Who looked: the accesses to a resident's information, searched, taken along, and proven."""

from __future__ import annotations

import csv
import io
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import jinja2
import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, FromPath, QueryParameter
from litestar.response import Redirect, Stream

from renkei.errors import Malformed, NotFound, RenkeiError, Unavailable
from renkei.institution import wording
from renkei.institution.entry import Render
from renkei.institution.paper import pdf
from renkei.institution.web import language
from renkei.institution.wording import PackWords
from renkei.ledger import merkle
from renkei.ledger import store as log
from renkei.ledger.notes import Proof as Proven
from renkei.messages.wire import Permit
from renkei.portal import store
from renkei.portal.accesses import Access, Accesses, Wanted, said
from renkei.record.permit import to_file

if TYPE_CHECKING:
    from renkei.portal.service import Portal

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
Ask = Request[Any, Any, Any]
Position = Annotated[int | None, QueryParameter(ge=0, lt=2**53)]
PAGE = 30
PRINTED_MOST = 500
FILTERS = ("q", "from", "to", "refused")
REPORTS = ("unrecognised", "paper")
"""What a resident reports to the commission of an access: not recognised · asked for paper that it could have brought."""


class Proof(NamedTuple):
    """Whether a record's leaf was proven to be in the cosigned log, and the figures of the proof."""

    verified: bool
    leaf: int
    size: int
    root: str
    signers: tuple[str, ...]


def record_pages(portal: Portal, render: Render, inside: list[Any], alone: list[Any], codes_of: Any) -> list[Any]:
    """``/records``. ``codes_of`` answers the codes under which the resident's accesses are filed; ``alone`` lets in nobody who acts for
    another."""

    def here() -> Accesses:
        return Accesses(portal.database, portal.clock(), portal.member.pack)

    def words_of(request: Ask) -> PackWords:
        return PackWords(portal.member.pack, language(request, portal.settings.language))

    @get("/records", guards=inside, include_in_schema=False)
    async def records(request: Ask, below: Position = None) -> Response[bytes]:
        try:
            codes = await codes_of(request)
        except Unavailable:
            return render(request, "awaited.html", again="/records", leave="/signout")
        given = {name: request.query_params.get(name, "") for name in FILTERS}
        wanted, problem, rows = Wanted(), None, []
        try:
            wanted = Wanted.of(given)
            rows = await here().page(codes, wanted, words_of(request), below=below, limit=PAGE)
        except RenkeiError as error:
            problem = error.problem(language(request, portal.settings.language))
        return render(
            request,
            "records.html",
            records=rows,
            proven=portal.filing.head.size if portal.filing.head else 0,
            page_size=PAGE,
            below=below,
            marks=await portal.database.read(lambda c: store.marks_on(c, [r.position for r in rows])),
            ends=portal.ending(request.session),
            given=given,
            wanted=wanted,
            filters={k: v for k, v in given.items() if v},
            withheld=await here().withheld(codes),
            problem=problem,
            status=400 if problem else 200,
        )

    async def one(request: Ask, position: int) -> Access:
        access = await here().one(await codes_of(request), position)
        if access is None:
            raise _no_record()
        return access

    async def show(request: Ask, access: Access, problem: Any = None, status: int = 200) -> Response[bytes]:
        reported = await portal.database.read(lambda c: store.reports_on(c, access.position))
        marks = await portal.database.read(lambda c: store.marks_on(c, [access.position]))
        return render(
            request,
            "record.html",
            record=access,
            proof=prove(portal, access.position),
            keys="\n".join(v.to_text() for v in portal.member.state.verifiers),
            reported={r.kind: r.at for r in reported},
            marks=marks.get(access.position, []),
            problem=problem,
            status=status,
        )

    @get("/records/{position:int}", guards=inside, include_in_schema=False)
    async def record(request: Ask, position: FromPath[int]) -> Response[bytes]:
        return await show(request, await one(request, position))

    @get("/records/{position:int}/proof", guards=inside, media_type=MediaType.TEXT, include_in_schema=False)
    async def proof(request: Ask, position: FromPath[int]) -> Response[str]:
        """A ``c2sp.org/tlog-proof@v1``; without the entry if parts of it are not shown, then of its hash alone."""
        access = await one(request, position)
        found = permit(portal, position)
        leaf = merkle.leaf_hash(merkle.commitment(found.salt, found.entry))
        whole = to_file(found)
        bare = Proven(found.index, tuple(found.path), found.checkpoint).to_text()
        headers = {
            "Content-Disposition": f'attachment; filename="record-{position}.tlog-proof"',
            "Renkei-Leaf": b64encode(leaf).decode(),
        }
        return Response(whole if access.whole else bare, headers=headers)

    @post("/records/{position:int}/report", guards=alone, include_in_schema=False)
    async def report(request: Ask, position: FromPath[int], data: Form) -> Response[Any]:
        access = await one(request, position)
        kind, text = data.get("kind", ""), data.get("text", "").strip()
        if kind not in REPORTS or len(text) > 4000 or "\0" in text:
            error = Malformed(
                "Choose what to report, in 4,000 characters.", ja="申出の種類を選び、4,000文字以内で入力してください。"
            )
            told = error.problem(language(request, portal.settings.language))
            return await show(request, access, told, error.status)
        await portal.complain(position, kind, text)
        return Redirect(f"/records/{position}", status_code=303)

    # ------------------------------------------------------------------ to take along

    @get("/records.csv", guards=inside, include_in_schema=False)
    async def as_csv(request: Ask) -> Stream:
        found, words = await wanted_by(request), words_of(request)
        return Stream(_csv(found, words), media_type="text/csv; charset=utf-8", headers=_attached("csv"))

    @get("/records.json", guards=inside, include_in_schema=False)
    async def as_json(request: Ask) -> Stream:
        found, words = await wanted_by(request), words_of(request)
        return Stream(_json(found, words), media_type="application/json", headers=_attached("json"))

    @get("/records.pdf", guards=inside, include_in_schema=False)
    async def as_pdf(request: Ask) -> Response[bytes]:
        """The newest, as a paper that says when it was made and how many more there are."""
        words, more = words_of(request), False
        found: list[Access] = []
        async for access in await wanted_by(request):
            if len(found) == PRINTED_MOST:
                more = True
                break
            found.append(access)
        made = pdf(_paper(found, words, portal.clock(), more=more))
        return Response(made, media_type="application/pdf", headers=_attached("pdf"))

    async def wanted_by(request: Ask) -> AsyncIterator[Access]:
        wanted = Wanted.of({name: request.query_params.get(name, "") for name in FILTERS})
        return here().all(await codes_of(request), wanted, words_of(request))

    return [records, record, proof, report, as_csv, as_json, as_pdf]


async def _csv(found: AsyncIterator[Access], words: PackWords) -> AsyncIterator[bytes]:
    out, writer = io.StringIO(), None
    yield "\ufeff".encode()  # for Excel
    async for access in found:
        row = said(access, words)
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\r\n")
            writer.writeheader()
        writer.writerow(row)
        if out.tell() > 60_000:
            yield _drained(out)
    yield _drained(out)


async def _json(found: AsyncIterator[Access], words: PackWords) -> AsyncIterator[bytes]:
    before = b"[\n"
    async for access in found:
        yield before + msgspec.json.encode(said(access, words))
        before = b",\n"
    yield b"\n]\n" if before == b",\n" else b"[]\n"


def _drained(out: io.StringIO) -> bytes:
    text = out.getvalue()
    out.seek(0)
    out.truncate()
    return text.encode()


def _paper(found: list[Access], words: PackWords, now: int, *, more: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    t = (lambda en, ja: ja) if words.lang == "ja" else (lambda en, ja: en)
    template = environment.get_template("records_paper.html")
    return template.render(records=found, words=words, wording=wording, lang=words.lang, t=t, now=now, more=more)


def _attached(form: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="records.{form}"'}


def _no_record() -> NotFound:
    return NotFound(
        "There is no such record of yours.",
        ja="この記録はありません。",
        remedy="Choose one from the list.",
        remedy_ja="一覧から選んでください。",
    )


def permit(portal: Portal, position: int) -> Permit:
    """The leaf with its proof to the newest checkpoint, from the portal's own tree."""
    head = portal.filing.head
    if head is None or position >= head.size:
        raise Unavailable(
            "This record's proof is being made. Look again in a moment.",
            ja="証明を作成中です。",
            code="no-proof",
        )
    leaf = portal.database.read_now(lambda c: log.read(c, position, position + 1))[0]
    path = portal.filing.tree.inclusion(position, head.size)
    return Permit(position, leaf.salt or b"", leaf.entry or b"", path, head.note)


def prove(portal: Portal, position: int) -> Proof:
    """Verify the record's proof afresh, as anyone could."""
    try:
        proven = permit(portal, position)
        portal.member.notary.open(proven)
        checkpoint = portal.member.notary.checkpoint(proven.checkpoint)
    except RenkeiError:
        return Proof(False, position, 0, "", ())
    signers = tuple(v.name for v in portal.member.state.verifiers)
    return Proof(True, position, checkpoint.size, checkpoint.root.hex(), signers)
