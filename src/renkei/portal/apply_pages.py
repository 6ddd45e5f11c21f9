"""One-stop applications on the portal: what happened, what follows, the form, sending, and what becomes of it."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get, post
from litestar.datastructures import UploadFile
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from renkei.errors import RenkeiError
from renkei.institution import applying, wording
from renkei.institution.entry import Form, Render, no_answer, presented
from renkei.institution.web import language
from renkei.portal.applications import OPEN, Case
from renkei.portal.guards import account_of
from renkei.portal.proxies import CORPORATION

if TYPE_CHECKING:
    from renkei.portal.service import Portal

Ask = Request[Any, Any, Any]
PERSONS, PLACE = "people-", "place-"


def apply_pages(portal: Portal, render: Render, inside: list[Any]) -> list[Any]:
    """``/apply``."""
    applications = portal.applications

    def lang_of(request: Ask) -> str:
        return language(request, portal.settings.language)

    def by(request: Ask) -> str:
        """As what somebody else acts here for the resident; empty: nobody does."""
        grant = request.state.get("grant")
        return str(grant.row.kind) if grant else ""

    def noting(request: Ask, what: str, code: str) -> Any:
        """Lists, in the transaction of what a representative does, that they have done it."""
        grant = request.state.get("grant")
        return (lambda c: portal.proxies.note_in(c, grant, what, code)) if grant else (lambda _: None)

    async def changed(request: Ask, case: Case) -> None:
        """The same of what is not sent yet."""
        if grant := request.state.get("grant"):
            await portal.proxies.note(grant, "changed", case.row.event)

    async def start_page(request: Ask, problem: Any = None, status: int = 200, begin: str = "") -> Response[bytes]:
        cases = await applications.listed(account_of(request))
        return render(
            request,
            "apply.html",
            events=applications.events(account_of(request)),
            cases=cases,
            begin=begin,
            problem=problem,
            status=status,
        )

    @get("/apply", guards=inside, include_in_schema=False)
    async def start(request: Ask, event: FromQuery[str] = "") -> Response[bytes]:
        return await start_page(request, begin=event)

    @post("/apply", guards=inside, include_in_schema=False)
    async def begin(request: Ask, data: Form) -> Response[Any]:
        try:
            account = account_of(request)
            given = {"company-number": account.removeprefix(CORPORATION)} if account.startswith(CORPORATION) else {}
            id_ = await applications.begin(account, data.get("event", ""), given)
        except RenkeiError as error:
            return await start_page(request, error.problem(lang_of(request)), error.status)
        return Redirect(f"/apply/{id_}", status_code=303)

    async def case_page(
        request: Ask, case: Case, step: str, *, problem: Any = None, told: bool = False, status: int = 200
    ) -> Response[bytes]:
        """One step of a case: ``choose``, ``form``, ``send``."""
        pack, lang = portal.member.pack, lang_of(request)
        offered = applying.online(pack, case.row.event)
        blanks = [
            applying.blank(pack, a, lang, case.draft.form.get(a.name, ""), case.faults.get(a.name) if told else None)
            for a in case.questions
        ]
        fills = applications.fills(case)
        known = portal.own.bodies() if portal.own.open and step == "form" and not by(request) else {}
        kinds = list(dict.fromkeys(k for p in case.unsent for k in p.procedure.attaches))
        return render(
            request,
            "apply_case.html",
            case=case,
            step=step,
            offered=offered,
            roles=applying.roles_asked(pack, offered),
            takers={p.place or p.code: applications.takers(p) for p in offered},
            blanks=blanks,
            kinds=kinds,
            sources=sorted((b for b, items in known.items() if not fills.keys().isdisjoint(items))),
            can_sign=portal.entry.signatures() is not None,
            lacks=lambda p: _lacks(case, p),
            value=lambda a: _value(pack, a, case, lang),
            problem=problem,
            told=told and bool(case.faults),
            status=status,
            open_states=OPEN,
            steps={p.procedure.code: await applications.steps(p) for p in case.parts if p.sent},
        )

    def _value(pack: Any, one: Any, case: Case, lang: str) -> str:
        value = case.draft.form.get(one.name, "")
        if one.question.type == "code":
            title = pack.codelists.get(one.question.codes, {}).get(value)
            return title.text(lang) if title else value
        if one.question.type == "date" and value and not applying.fault_of(pack, one.question, value):
            return wording.PackWords(pack, lang).day(value)
        return value

    @get("/apply/{id:str}", guards=inside, include_in_schema=False)
    async def one(request: Ask, id: FromPath[str], step: FromQuery[str] = "") -> Response[bytes]:
        case = await applications.get(account_of(request), id)
        if step not in ("choose", "form", "send"):
            step = "choose" if not case.draft.chosen else "form" if case.faults and case.unsent else "send"
        # what nobody has been at yet is not called wrong
        return await case_page(request, case, step, told=step == "form" and bool(case.draft.form))

    @post("/apply/{id:str}/choose", guards=inside, include_in_schema=False)
    async def choose(request: Ask, id: FromPath[str]) -> Response[Any]:
        data = await request.form()
        people = {k.removeprefix(PERSONS): str(v) for k, v in data.items() if k.startswith(PERSONS)}
        places = {k.removeprefix(PLACE): str(v) for k, v in data.items() if k.startswith(PLACE)}
        account = account_of(request)
        try:
            await applications.choose(account, id, [str(v) for v in data.getall("chosen", [])], people, places)
        except RenkeiError as error:
            case = await applications.get(account, id)
            return await case_page(
                request, case, "choose", problem=error.problem(lang_of(request)), status=error.status
            )
        return Redirect(f"/apply/{id}?step=form", status_code=303)

    @post("/apply/{id:str}/form", guards=inside, include_in_schema=False)
    async def fill(request: Ask, id: FromPath[str], data: Form) -> Response[Any]:
        case = await applications.fill(account_of(request), id, data)
        await changed(request, case)
        if data.get("act") == "save":
            return Redirect("/apply", status_code=303)
        if data.get("act") == "fill":  # with what the resident's own browser has opened, and they want to use
            return Redirect(f"/apply/{id}?step=form", status_code=303)
        if case.faults:
            return await case_page(request, case, "form", told=True, status=400)
        return Redirect(f"/apply/{id}?step=send", status_code=303)

    @post("/apply/{id:str}/attach", guards=inside, include_in_schema=False)
    async def attach(request: Ask, id: FromPath[str]) -> Response[Any]:
        data = await request.form()
        file, account = data.get("file"), account_of(request)
        content = await file.read() if isinstance(file, UploadFile) else b""
        name = file.filename if isinstance(file, UploadFile) else ""
        try:
            await applications.attach(account, id, str(data.get("kind", "")), name, content)
            await changed(request, await applications.get(account, id))
        except RenkeiError as error:
            case = await applications.get(account, id)
            return await case_page(request, case, "form", problem=error.problem(lang_of(request)), status=error.status)
        return Redirect(f"/apply/{id}?step=form#papers", status_code=303)

    @post("/apply/{id:str}/detach/{paper:str}", guards=inside, include_in_schema=False)
    async def detach(request: Ask, id: FromPath[str], paper: FromPath[str]) -> Redirect:
        await applications.detach(account_of(request), id, paper)
        await changed(request, await applications.get(account_of(request), id))
        return Redirect(f"/apply/{id}?step=form#papers", status_code=303)

    @post("/apply/{id:str}/discard", guards=inside, include_in_schema=False)
    async def discard(request: Ask, id: FromPath[str]) -> Redirect:
        case = await applications.get(account_of(request), id)
        await applications.discard(account_of(request), id)
        await changed(request, case)
        return Redirect("/apply", status_code=303)

    @post("/apply/{id:str}/send", guards=inside, include_in_schema=False)
    async def send(request: Ask, id: FromPath[str], data: Form) -> Response[Any]:
        """Everything that needs no signature, or one procedure."""
        account = account_of(request)
        case = await applications.get(account, id)
        wanted = [
            p
            for p in case.unsent
            if not p.procedure.signed and data.get("procedure", p.procedure.code) == p.procedure.code
        ]
        try:
            for part in wanted:
                code = part.procedure.code
                await applications.send(account, id, code, by=by(request), also=noting(request, "sent", code))
        except RenkeiError as error:
            case = await applications.get(account, id)
            return await case_page(request, case, "send", problem=error.problem(lang_of(request)), status=error.status)
        return Redirect(f"/apply/{id}?step=send", status_code=303)

    @get("/apply/{id:str}/sign/{code:str}", guards=inside, include_in_schema=False)
    async def sign(request: Ask, id: FromPath[str], code: FromPath[str]) -> Response[Any]:
        """What is to be signed, to be read before the card is used."""
        account = account_of(request)
        try:
            document = await applications.statement(account, id, code, by(request))
        except RenkeiError as error:
            case = await applications.get(account, id)
            return await case_page(request, case, "send", problem=error.problem(lang_of(request)), status=error.status)
        request.set_session({**request.session, "signing": [id, code]})
        procedure = portal.member.pack.procedures[code]
        page = render(
            request,
            "apply_sign.html",
            procedure=procedure,
            text=document.decode(),
            document=b64encode(document).decode(),
            reader=portal.settings.reader,
            back=f"/apply/{id}?step=send",
        )
        return portal.entry.leading(page)

    @post("/apply/signed", include_in_schema=False)
    async def signed(request: Ask, data: Form) -> Response[Any]:
        """From the reader program, another site, without cookies: our page sends it on."""
        if data.get("refused"):
            return Redirect("/apply", status_code=303)
        shown = {name: data.get(name, "")[:8000] for name in ("certificate", "signature")}
        if not all(shown.values()):
            raise no_answer()
        return render(request, "signed.html", finish="/apply/finish", **shown)

    @post("/apply/finish", guards=inside, include_in_schema=False)
    async def finish(request: Ask, data: Form) -> Response[Any]:
        id_, code = request.session.get("signing", ["", ""])
        account = account_of(request)
        try:
            also = noting(request, "sent", code)
            await applications.send(account, id_, code, presented(data), by=by(request), also=also)
        except RenkeiError as error:
            case = await applications.get(account, id_)
            return await case_page(request, case, "send", problem=error.problem(lang_of(request)), status=error.status)
        request.set_session({k: v for k, v in request.session.items() if k != "signing"})
        return Redirect(f"/apply/{id_}?step=send", status_code=303)

    @post("/apply/{id:str}/answer/{code:str}", guards=inside, include_in_schema=False)
    async def answer(request: Ask, id: FromPath[str], code: FromPath[str], data: Form) -> Response[Any]:
        account = account_of(request)
        try:
            also = noting(request, "answered", code)
            await applications.answer(account, id, code, data.get("words", ""), by(request), also)
        except RenkeiError as error:
            case = await applications.get(account, id)
            return await case_page(request, case, "send", problem=error.problem(lang_of(request)), status=error.status)
        return Redirect(f"/apply/{id}?step=send", status_code=303)

    @post("/apply/{id:str}/withdraw/{code:str}", guards=inside, include_in_schema=False)
    async def withdraw(request: Ask, id: FromPath[str], code: FromPath[str]) -> Redirect:
        also = noting(request, "withdrawn", code)
        await applications.withdraw(account_of(request), id, code, by(request), also)
        return Redirect(f"/apply/{id}?step=send", status_code=303)

    return [
        start, begin, one, choose, fill, attach, detach, discard, send, sign, signed, finish, answer, withdraw,
    ]  # fmt: skip


def _lacks(case: Case, part: Any) -> bool:
    return any(a.name in case.faults for a in part.asked)
