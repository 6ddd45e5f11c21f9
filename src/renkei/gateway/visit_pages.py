"""The pages of the integrated counter: a visit on one screen, the resident's view of it, the paper, and what back offices do."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from renkei.errors import NotFound, RenkeiError
from renkei.gateway import visit_store
from renkei.gateway.queue import Queue
from renkei.gateway.visits import BY_CARD, Person, Visit, Visits, spoken
from renkei.institution import subjects
from renkei.institution.clerks import demand
from renkei.institution.entry import Form, Render, no_answer, presented
from renkei.institution.paper import pdf
from renkei.institution.settings import Duty
from renkei.institution.web import language
from renkei.institution.wording import PackWords
from renkei.law.counter import APPLICANT

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

Ask = Request[Any, Any, Any]
DUTY: Duty = "ask"
WAITED = 25
"""Looks, a fifth of a second apart, for whose card it is."""
TEMPLATES = Path(__file__).parent / "templates"


def visit_pages(gateway: Gateway, visits: Visits, queue: Queue, render: Render, inside: list[Any]) -> list[Any]:
    """The pages. ``inside`` guards what needs a clerk's session."""

    def problem(request: Ask, error: RenkeiError) -> dict[str, Any]:
        return error.problem(language(request, gateway.settings.language))

    async def lobby(
        request: Ask, error: RenkeiError | None = None, given: dict[str, str] | None = None
    ) -> Response[bytes]:
        rows = await gateway.database.read(lambda c: visit_store.open_visits(c, visits.today))
        told = problem(request, error) if error else None
        card = request.session.get("counter_card", "")
        return render(
            request,
            "visits.html",
            status=error.status if error else 200,
            rows=rows,
            problem=told,
            given=given or {},
            card=card,
            standing=await queue.standing() if gateway.settings.queue else None,
            called=request.session.get("counter_called"),
            place=request.session.get("counter_place", ""),
        )

    @get("/desk/counter", guards=inside, include_in_schema=False)
    async def start(request: Ask) -> Response[bytes]:
        demand(request.state.clerk, DUTY)
        return await lobby(request)

    @post("/desk/counter", guards=inside, include_in_schema=False)
    async def opened(request: Ask, data: Form) -> Response[Any]:
        demand(request.state.clerk, DUTY)
        card = request.session.get("counter_card", "")
        applicant = card or data.get("local_id", "").strip()
        persons = [Person(applicant, APPLICANT), *_others(data)]
        confirmed = [BY_CARD] if card else [k.removeprefix("seen-") for k in data if k.startswith("seen-")]
        try:
            id_ = await visits.open(
                request.state.clerk.name,
                data.get("event", ""),
                persons,
                confirmed,
                data.get("former", ""),
                (request.session.get("counter_called") or [None])[0],
            )
        except RenkeiError as error:
            return await lobby(request, error, data)
        over = ("counter_card", "counter_called")
        request.set_session({k: v for k, v in request.session.items() if k not in over})
        return Redirect(f"/desk/counter/{id_}", status_code=303)

    # ------------------------------------------------------------------ who it is, by card

    @post("/desk/counter/card", guards=inside, include_in_schema=False, status_code=200)
    async def card(request: Ask) -> Response[bytes]:
        demand(request.state.clerk, DUTY)
        return gateway.entry.leading(render(request, "visit_card.html", card=gateway.entry.form(request)))

    @post("/desk/counter/card/signed", include_in_schema=False)
    async def from_reader(request: Ask, data: Form) -> Response[Any]:
        """From another site, without cookies: our page sends it on."""
        if data.get("refused"):
            return Redirect("/desk/counter", status_code=303)
        shown = {name: data.get(name, "")[:8000] for name in ("certificate", "signature")}
        if not all(shown.values()):
            raise no_answer()
        return render(request, "signed.html", finish="/desk/counter/card/finish", **shown)

    @post("/desk/counter/card/finish", guards=inside, include_in_schema=False)
    async def came(request: Ask, data: Form) -> Response[Any]:
        demand(request.state.clerk, DUTY)
        try:
            admitted = await gateway.entry.admit(presented(data), gateway.entry.challenge_of(request))
            holder = await _file_of(admitted.key)
            if not holder or holder.startswith(subjects.BY_CARD):
                raise NotFound(
                    "This person has no file here yet.",
                    ja="この方の宛名がまだありません。",
                    code="no-file",
                    remedy="If they came for the first time, try again in a moment; otherwise register them first.",
                    remedy_ja="初めての方は少し待ってもう一度試すか、先に登録してください。",
                )
        except RenkeiError as error:
            return await lobby(request, error)
        kept = {k: v for k, v in request.session.items() if k != "challenge"}
        request.set_session({**kept, "counter_card": holder})
        return Redirect("/desk/counter", status_code=303)

    async def _file_of(key: str) -> str | None:
        """Whose file a card leads to; at a card's first time the numbering authority's word is waited for."""
        for _ in range(WAITED):
            holder = await gateway.database.read(lambda c: subjects.holder_of(c, bytes.fromhex(key)))
            if holder is None or not holder.startswith(subjects.BY_CARD):
                return holder
            await asyncio.sleep(0.2)
        return holder

    # ------------------------------------------------------------------ one visit

    async def shown(request: Ask, id_: int, told: dict[str, Any] | None = None, **more: Any) -> Response[bytes]:
        visit = await visits.get(id_)
        choices = {f.item: f.providers for f in visit.fetches if len(f.providers) > 1}
        asked = {f.item: f.inquiry.provider for f in visit.fetches if f.inquiry is not None}
        values: dict[str, Any] = {"faults": {}, "trouble": [], "asked": asked, **more}
        return render(request, "visit.html", v=visit, choices=choices, spoken=spoken, problem=told, **values)

    @get("/desk/counter/{id:int}", guards=inside, include_in_schema=False)
    async def one(request: Ask, id: FromPath[int]) -> Response[bytes]:
        demand(request.state.clerk, DUTY)
        return await shown(request, id)

    @post("/desk/counter/{id:int}/people", guards=inside, include_in_schema=False)
    async def people(request: Ask, id: FromPath[int], data: Form) -> Response[Any]:
        demand(request.state.clerk, DUTY)
        visit = await visits.get(id)
        try:
            await visits.change_people(id, [visit.people[0], *_others(data)])
        except RenkeiError as error:
            return await shown(request, id, problem(request, error), status=error.status)
        return Redirect(f"/desk/counter/{id}", status_code=303)

    @post("/desk/counter/{id:int}/fetch", guards=inside, include_in_schema=False)
    async def fetch(request: Ask, id: FromPath[int], data: Form) -> Response[Any]:
        demand(request.state.clerk, DUTY)
        choices = {k.removeprefix("of-"): v for k, v in data.items() if k.startswith("of-")}
        trouble = await visits.fetch(id, request.state.clerk.name, choices)
        if trouble:
            return await shown(request, id, trouble=[problem(request, e) for e in trouble])
        return Redirect(f"/desk/counter/{id}#form", status_code=303)

    @post("/desk/counter/{id:int}/tell", guards=inside, include_in_schema=False)
    async def tell(request: Ask, id: FromPath[int], data: Form) -> Response[Any]:
        demand(request.state.clerk, DUTY)
        try:
            faults = await visits.tell(id, data)
            if faults:
                return await shown(request, id, faults=faults, given=data, status=400)
            if data.get("then") == "close":
                await visits.close(id)
        except RenkeiError as error:
            return await shown(request, id, problem(request, error), status=error.status)
        return Redirect(f"/desk/counter/{id}{'' if data.get('then') == 'close' else '#form'}", status_code=303)

    @get("/desk/counter/{id:int}/resident", guards=inside, include_in_schema=False)
    async def resident(request: Ask, id: FromPath[int]) -> Response[bytes]:
        """What the resident sees when the screen is turned, in their language: what will be done, what was fetched, what they said."""
        demand(request.state.clerk, DUTY)
        return render(request, "visit_resident.html", v=await visits.get(id))

    @get("/desk/counter/{id:int}/paper.pdf", guards=inside, include_in_schema=False)
    async def paper(request: Ask, id: FromPath[int], lang: FromQuery[str] = "") -> Response[bytes]:
        """What must be signed, and nothing else."""
        demand(request.state.clerk, DUTY)
        visit = await visits.get(id)
        made = pdf(_paper(gateway, visit, lang if lang in ("ja", "en") else "ja"))
        name = f'inline; filename="{visit.row.day}-{visit.row.number}.pdf"'
        return Response(made, media_type="application/pdf", headers={"Content-Disposition": name})

    # ------------------------------------------------------------------ back offices

    @get("/desk/tasks", guards=inside, include_in_schema=False)
    async def tasks(request: Ask, office: FromQuery[str] = "") -> Response[bytes]:
        demand(request.state.clerk, DUTY)
        return render(request, "tasks.html", rows=await visits.tasks(office), office=office)

    @get("/desk/tasks/{id:int}", guards=inside, include_in_schema=False)
    async def task(request: Ask, id: FromPath[int]) -> Response[bytes]:
        demand(request.state.clerk, DUTY)
        row, visit, procedure = await visits.task(id)
        return render(request, "task.html", row=row, v=visit, p=procedure, problem=None)

    @post("/desk/tasks/{id:int}", guards=inside, include_in_schema=False)
    async def done(request: Ask, id: FromPath[int], data: Form) -> Response[Any]:
        demand(request.state.clerk, DUTY)
        try:
            await visits.done(id, request.state.clerk.name)
        except RenkeiError as error:
            row, visit, procedure = await visits.task(id)
            return render(
                request,
                "task.html",
                row=row,
                v=visit,
                p=procedure,
                problem=problem(request, error),
                status=error.status,
            )
        return Redirect("/desk/tasks", status_code=303)

    return [start, opened, card, from_reader, came, one, people, fetch, tell, resident, paper, tasks, task, done]


def _others(data: dict[str, str]) -> list[Person]:
    """Who else is concerned: fields ``person-1``, ``role-1`` and so on."""
    found = []
    for name, value in data.items():
        if name.startswith("person-") and value.strip():
            found.append(Person(value.strip()[:64], data.get(f"role-{name.removeprefix('person-')}", "")))
    return found


def _paper(gateway: Gateway, visit: Visit, lang: str) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    words = PackWords(gateway.member.pack, lang)
    signed = [p for p, _ in visit.procedures if p.signed]
    t = (lambda en, ja: ja) if lang == "ja" else (lambda en, ja: en)
    body, pack = words.body(gateway.settings.body), gateway.member.pack
    template = environment.get_template("visit_paper.html")
    return template.render(v=visit, signed=signed, words=words, lang=lang, t=t, body=body, pack=pack)
