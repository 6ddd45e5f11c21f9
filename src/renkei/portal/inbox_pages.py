"""The resident's inbox, and how they want to be written to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect

from renkei.errors import NotFound, RenkeiError
from renkei.institution.entry import Form, Render
from renkei.institution.web import language
from renkei.institution.wording import notice_text
from renkei.portal import apply_store as store
from renkei.portal.inbox import PAGE
from renkei.portal.proxies import CORPORATION
from renkei.portal.record_pages import Position

if TYPE_CHECKING:
    from renkei.portal.service import Portal

Ask = Request[Any, Any, Any]


def id_of(text: str) -> bytes:
    """The 32 bytes of the id of a letter, or a device, in hexadecimal; ``NotFound`` for anything else."""
    try:
        id_ = bytes.fromhex(text)
    except ValueError:
        id_ = b""
    if len(id_) != 32:
        raise NotFound("There is nothing of that id.", ja="該当するものはありません。")
    return id_


def inbox_pages(
    portal: Portal,
    render: Render,
    inside: list[Any],
    alone: list[Any],
    codes_of: Callable[[Ask], Awaitable[list[bytes]]],
) -> list[Any]:
    """``/inbox``. ``alone`` lets in nobody who acts for another."""
    inbox = portal.inbox

    async def show(request: Ask, below: int | None, problem: Any = None, status: int = 200) -> Response[bytes]:
        codes = await codes_of(request)
        if "grant" not in request.state or request.state.account.startswith(CORPORATION):
            await inbox.came(request.state.account)
        shown = await inbox.listed(codes, below)
        return render(
            request,
            "inbox.html",
            letters=shown,
            unread=await inbox.unread(codes),
            page_size=PAGE,
            below=below,
            paper=await inbox.prefers_paper(request.state.account),
            mails=portal.digest.open and "grant" not in request.state,
            mail=await portal.digest.address(request.state.account) if portal.digest.open else ("", False),
            push=portal.webpush if portal.webpush.open and "grant" not in request.state else None,
            devices=await portal.webpush.devices(request.state.account) if portal.webpush.open else [],
            fresh=portal.sessions.is_fresh(request.session),
            problem=problem,
            status=status,
        )

    @get("/inbox", guards=inside, include_in_schema=False)
    async def listed(request: Ask, below: Position = None) -> Response[bytes]:
        return await show(request, below)

    @post("/inbox/mail", guards=alone, include_in_schema=False)
    async def mail(request: Ask, data: Form) -> Response[Any]:
        """Where to write that something is new: an address, the code that was sent there, or no more."""
        await codes_of(request)
        account, lang = request.state.account, language(request, portal.settings.language)
        if not portal.digest.open:
            raise NotFound("No e-mails are sent here.", ja="メール通知は利用できません。")
        try:
            match data.get("act"):
                case "confirm":
                    await portal.digest.confirm(account, data.get("code", ""))
                case "end":
                    await portal.digest.drop(account)
                case _ if not portal.sessions.is_fresh(request.session):
                    return await show(request, None, status=403)
                case _:
                    await portal.digest.ask(account, data.get("address", ""), lang)
        except RenkeiError as error:
            return await show(request, None, error.problem(lang), error.status)
        return Redirect("/inbox#mail", status_code=303)

    @post("/inbox/push", guards=alone, include_in_schema=False)
    async def push(request: Ask, data: Form) -> Response[Any]:
        """Notify the device with this address of its push service, which only script can ask for; or a device no
        more."""
        await codes_of(request)
        if not portal.webpush.open:
            raise NotFound("No notifications are sent here.", ja="端末への通知は利用できません。")
        try:
            if data.get("act") == "end":
                await portal.webpush.drop(request.state.account, id_of(data.get("device", "")))
            elif not portal.sessions.is_fresh(request.session):
                return await show(request, None, status=403)
            else:
                await portal.webpush.add(request.state.account, data.get("endpoint", ""))
        except RenkeiError as error:
            return await show(request, None, error.problem(language(request, portal.settings.language)), error.status)
        return Redirect("/inbox#push", status_code=303)

    @get("/inbox/{id:str}", guards=inside, include_in_schema=False)
    async def one(request: Ask, id: FromPath[str]) -> Response[bytes]:
        mine = "grant" not in request.state  # read by somebody else, it stays new to whom it is for
        letter = await inbox.open(await codes_of(request), id_of(id), mine=mine)
        lang, pack = language(request, portal.settings.language), portal.member.pack
        case = None
        if letter.row.about is not None:  # as it was made sure of, and not as the letter says
            found = await portal.database.read(lambda c: store.part(c, bytes(letter.row.about)))
            case = found.case_id if found else None
        due = None
        if letter.notice and letter.notice.days:
            due = pack.day(letter.row.at) + dt.timedelta(days=letter.notice.days)
        return render(
            request,
            "letter.html",
            letter=letter,
            text=notice_text(pack, letter.notice, letter.said.values, lang) if letter.notice else "",
            due=due,
            over=due is not None and due < pack.day(portal.clock()),
            case=case,
        )

    @post("/inbox/{id:str}/unread", guards=alone, include_in_schema=False)
    async def unread(request: Ask, id: FromPath[str]) -> Redirect:
        await inbox.unopen(await codes_of(request), id_of(id))
        return Redirect("/inbox", status_code=303)

    @post("/inbox/preference", guards=alone, include_in_schema=False)
    async def prefer(request: Ask, data: Form) -> Redirect:
        await codes_of(request)  # nobody's cards all have the same account, which is nobody's to set
        await inbox.prefer(request.state.account, data.get("way") == "paper")
        return Redirect("/inbox", status_code=303)

    return [listed, mail, push, one, unread, prefer]
