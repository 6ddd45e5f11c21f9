"""At the counter: a person is registered with their card, number and identity in one step, for an affair that lets this body have numbers.

The number goes on to the numbering authority, which alone can say whether it is the card holder's, and is kept nowhere here; who read it,
of whom (by local id) and for which affair, is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get, post
from litestar.response import Redirect

from renkei.errors import Conflict, Malformed, Refused, RenkeiError
from renkei.gateway import store
from renkei.institution import subjects
from renkei.institution.clerks import demand
from renkei.institution.entry import Form, Render, no_answer, presented
from renkei.law import Pack
from renkei.numbers import number_format

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

AnyRequest = Request[Any, Any, Any]


def affairs_of(pack: Pack, body: str) -> list[str]:
    """The affairs for which a body may have numbers: those for which the table lets it ask."""
    standing = pack.standing(pack.bodies[body].kinds)
    return sorted({row.affair for row in pack.linkages if standing & set(row.requester)})


def counter_pages(gateway: Gateway, render: Render, inside: list[Any]) -> list[Any]:
    """The pages. ``inside`` guards what needs a clerk's session."""

    def allowed(affair: str) -> str:
        if affair not in affairs_of(gateway.member.pack, gateway.settings.body):
            raise Refused(
                "For this affair the law gives you no number.",
                ja="この事務では個人番号を利用できません。",
                remedy="Confirm who they are by other means.",
                remedy_ja="ほかの方法で本人確認をしてください。",
                code="affair",
            )
        return affair

    def form(request: AnyRequest, error: RenkeiError | None = None, **kept: str) -> Response[bytes]:
        told = gateway.entry.problem(request, error) if error else None
        affairs = affairs_of(gateway.member.pack, gateway.settings.body)
        status = error.status if error else 200
        return render(request, "register.html", status=status, affairs=affairs, problem=told, kept=kept, done="")

    @get("/desk/register", guards=inside, include_in_schema=False)
    async def register(request: AnyRequest) -> Response[bytes]:
        demand(request.state.clerk, "register")
        return form(request)

    @post("/desk/register", guards=inside, include_in_schema=False, status_code=200)
    async def ask(request: AnyRequest, data: Form) -> Response[bytes]:
        demand(request.state.clerk, "register")
        affair, local_id = data.get("affair", ""), data.get("local_id", "").strip()
        try:
            allowed(affair)
            if not 0 < len(local_id) <= 64 or not local_id.isprintable():
                raise Malformed(
                    "Give the number of their file here.",
                    ja="宛名番号を入力してください。",
                    remedy="It has 64 characters at most.",
                    remedy_ja="64文字以内です。",
                    code="local-id",
                )
            subjects.demand_ours([local_id])
            if await gateway.database.read(lambda c: subjects.by_local_id(c, [local_id])):
                raise _taken()  # before anybody gives a PIN
        except RenkeiError as error:
            return form(request, error, local_id=local_id[:64], affair=affair)
        asked = {"affair": affair, "local_id": local_id}
        card = gateway.entry.form(request)
        request.set_session({**request.session, "register": asked})
        return gateway.entry.leading(render(request, "register_card.html", card=card, **asked))

    @post("/desk/register/card", include_in_schema=False)
    async def from_reader(request: AnyRequest, data: Form) -> Response[Any]:
        """From another site, without cookies: our page sends it on."""
        if data.get("refused"):
            return Redirect("/desk/register", status_code=303)
        fields = {name: data.get(name, "")[:8000] for name in ("certificate", "signature", "number")}
        if not all(fields.values()):
            raise no_answer()
        return render(request, "signed.html", finish="/desk/register/finish", **fields)

    @post("/desk/register/finish", guards=inside, include_in_schema=False)
    async def finish(request: AnyRequest, data: Form) -> Response[Any]:
        clerk = request.state.clerk
        demand(clerk, "register")
        asked = request.session.get("register") or {}
        local_id, affair = asked.get("local_id", ""), asked.get("affair", "")
        try:
            allowed(affair)
            number = number_format(gateway.member.pack.header.person_number).parse(data.get("number", ""))
            proof = await gateway.entry.numbered(presented(data), gateway.entry.challenge_of(request), number)
            row = {"local_id": local_id, "affair": affair, "clerk": clerk.name, "at": gateway.clock()}

            def commit(connection: Any) -> None:
                if not subjects.request_proven(connection, gateway.post, gateway.member, local_id, proof):
                    raise _taken()
                store.note_reading(connection, row)

            await gateway.database.write(commit)
        except RenkeiError as error:
            return form(request, error, local_id=local_id, affair=affair)
        request.set_session({k: v for k, v in request.session.items() if k not in ("register", "challenge")})
        affairs = affairs_of(gateway.member.pack, gateway.settings.body)
        return render(request, "register.html", affairs=affairs, problem=None, kept={}, done=local_id)

    return [register, ask, from_reader, finish]


def _taken() -> Conflict:
    return Conflict(
        "This file has somebody already.",
        ja="この宛名番号は登録済みです。",
        remedy="Look up the number of their file again.",
        remedy_ja="宛名番号をもう一度確認してください。",
        code="registered",
    )
