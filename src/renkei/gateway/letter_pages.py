"""The desk's pages of what residents apply for, and of what they are told."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from renkei.errors import NotFound, RenkeiError
from renkei.gateway import notice_store as store
from renkei.gateway.applications import LISTED
from renkei.gateway.letter_api import letter_id
from renkei.institution import applying, letters
from renkei.institution.clerks import demand
from renkei.institution.entry import Form, Render
from renkei.institution.paper import pdf
from renkei.institution.web import language
from renkei.institution.wording import PackWords, application, notice_text
from renkei.messages.wire import Told

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

TEMPLATES = Path(__file__).parent / "templates"
PRINTED_MOST = 200
Ask = Request[Any, Any, Any]


def letter_pages(gateway: Gateway, render: Render, inside: list[Any]) -> list[Any]:
    """``/desk/applications`` and ``/desk/notices``."""
    applications, notices = gateway.applications, gateway.notices

    def lang_of(request: Ask) -> str:
        return language(request, gateway.settings.language)

    @get("/desk/applications", guards=inside, include_in_schema=False)
    async def listed(request: Ask, office: FromQuery[str] = "", closed: FromQuery[str] = "") -> Response[bytes]:
        demand(request.state.clerk, "decide")
        states, newest = (store.CLOSED, True) if closed else (store.OPEN, False)
        rows = await gateway.database.read(lambda c: store.listed(c, states, office, LISTED, newest))
        return render(request, "applications.html", rows=rows, office=office, closed=bool(closed))

    async def show(
        request: Ask, id_: bytes, problem: Any = None, words: str = "", status: int = 200
    ) -> Response[bytes]:
        found = await applications.get(id_)
        pack = gateway.member.pack
        asked = applying.asked(pack, [found.procedure], applying.people_in(found.said.form)) if found.procedure else []
        return render(
            request,
            "application.html",
            a=found,
            asked=asked,
            problem=problem,
            given=words,
            open=store.OPEN,
            status=status,
        )

    @get("/desk/applications/{id:str}", guards=inside, include_in_schema=False)
    async def one(request: Ask, id: FromPath[str]) -> Response[bytes]:
        demand(request.state.clerk, "decide")
        return await show(request, letter_id(id))

    @post("/desk/applications/{id:str}", guards=inside, include_in_schema=False)
    async def say(request: Ask, id: FromPath[str], data: Form) -> Response[Any]:
        clerk, words = request.state.clerk, data.get("words", "")
        demand(clerk, "decide")
        try:
            await applications.say(letter_id(id), data.get("state", ""), words, clerk.name)
        except RenkeiError as error:
            return await show(request, letter_id(id), error.problem(lang_of(request)), words, error.status)
        return Redirect(f"/desk/applications/{id}", status_code=303)

    @get("/desk/applications/{id:str}/papers/{number:int}", guards=inside, include_in_schema=False)
    async def paper(request: Ask, id: FromPath[str], number: FromPath[int]) -> Response[bytes]:
        """A paper that came with it, to be kept as a file: what strangers send is not opened in the desk's own pages."""
        demand(request.state.clerk, "decide")
        attached = (await applications.get(letter_id(id))).said.attached
        if not 0 <= number < len(attached):
            raise NotFound("There is no such paper.", ja="この書類はありません。")
        media = applying.media_type(attached[number].data) or "application/octet-stream"  # whatever the letter says
        suffix = media.rpartition("/")[2]
        headers = {
            "Content-Disposition": f'attachment; filename="paper-{number + 1}.{suffix}"',
            "X-Content-Type-Options": "nosniff",
        }
        return Response(attached[number].data, media_type=media, headers=headers)

    async def notice_page(
        request: Ask, problem: Any = None, given: dict[str, str] | None = None, done: Any = None, status: int = 200
    ) -> Response[bytes]:
        known, given = notices.ours(), given or {}
        chosen = next((n for n in known if n.code == given.get("notice", request.query_params.get("notice", ""))), None)
        return render(
            request,
            "notices.html",
            notices=known,
            chosen=chosen,
            given=given,
            rules=notices.rules(),
            to_print=await gateway.database.read(store.count_to_print),
            batches=await gateway.database.read(store.batches),
            recent=await gateway.database.read(lambda c: store.recent(c, 30)),
            done=done,
            once=given.get("once") or secrets.token_hex(8),  # a form that is sent twice tells once
            problem=problem,
            status=status,
        )

    @get("/desk/notices", guards=inside, include_in_schema=False)
    async def notice_start(request: Ask) -> Response[bytes]:
        demand(request.state.clerk, "notify")
        return await notice_page(request)

    @post("/desk/notices", guards=inside, include_in_schema=False)
    async def tell(request: Ask, data: Form) -> Response[Any]:
        clerk = request.state.clerk
        demand(clerk, "notify")
        try:
            local_id, once = data.get("local_id", "").strip(), data.get("once", "")[:40]
            await notices.tell(clerk.name, data.get("notice", ""), local_id, data, once)
        except RenkeiError as error:
            return await notice_page(request, error.problem(lang_of(request)), data, status=error.status)
        return Redirect("/desk/notices", status_code=303)

    @post("/desk/notices/check", guards=inside, include_in_schema=False)
    async def check(request: Ask) -> Response[bytes]:
        demand(request.state.clerk, "notify")
        return await notice_page(request, done=await notices.check())

    @post("/desk/notices/paper", guards=inside, include_in_schema=False)
    async def put_together(request: Ask) -> Response[Any]:
        """A file of the letters of whoever wants paper. What cannot be printed stays, and is said."""
        demand(request.state.clerk, "notify")
        rows = await gateway.database.read(lambda c: store.to_print(c, PRINTED_MOST))
        ids = [bytes(r.letter) for r in rows if await _sheet(r) is not None]
        batch = secrets.token_hex(16)
        await gateway.database.write(lambda c: store.put_together(c, ids, batch))
        return Redirect("/desk/notices", status_code=303)

    @get("/desk/notices/paper/{batch:str}", guards=inside, include_in_schema=False)
    async def printed(request: Ask, batch: FromPath[str]) -> Response[bytes]:
        """The file, a sheet for each letter; the same however often it is taken."""
        demand(request.state.clerk, "notify")
        rows = await gateway.database.read(lambda c: store.in_batch(c, batch))
        sheets = [(r, s) for r in rows if (s := await _sheet(r)) is not None]
        if not sheets:
            raise NotFound("There is no such file.", ja="このファイルはありません。")
        lang = gateway.settings.language  # the reader of the paper is not the clerk
        words = PackWords(gateway.member.pack, lang)
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
        )
        text = environment.get_template("notices_paper.html").render(
            sheets=sheets, words=words, lang=lang, body=words.body(gateway.settings.body)
        )
        return Response(await asyncio.to_thread(pdf, text), media_type="application/pdf")

    async def _sheet(row: Any) -> tuple[str, str, int] | None:
        """Title, text and time of a letter of ours."""
        letter = await gateway.database.read(lambda c: letters.get(c, bytes(row.letter)))
        said = gateway.letters.said(letter) if letter is not None else None
        if letter is None or not isinstance(said, Told):
            return None
        lang = gateway.settings.language
        if said.about:
            title = PackWords(gateway.member.pack, lang).procedure(letter.topic)
            return title, "\n".join(filter(None, (application(said.state, lang), said.words))), letter.made
        notice = gateway.member.pack.notices.get(letter.topic)
        if notice is None:
            return None
        return notice.title.text(lang), notice_text(gateway.member.pack, notice, said.values, lang), letter.made

    @post("/desk/notices/paper/{batch:str}/printed", guards=inside, include_in_schema=False)
    async def was_printed(request: Ask, batch: FromPath[str]) -> Redirect:
        """What is in this file was printed and sent."""
        demand(request.state.clerk, "notify")
        await gateway.database.write(lambda c: store.printed(c, batch, gateway.clock()))
        return Redirect("/desk/notices", status_code=303)

    return [listed, one, say, paper, notice_start, tell, check, put_together, printed, was_printed]
