"""The REST interface of notices and applications: ``/letters`` and ``/applications``."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from litestar import Request, Router, get, post
from litestar.params import FromPath, FromQuery, JSONBody

from renkei.errors import NotFound
from renkei.gateway import notice_store as store
from renkei.gateway.api import IdempotencyKey
from renkei.gateway.applications import LISTED, Application
from renkei.institution.clerks import duty, token_guard
from renkei.institution.web import json_body

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

Shown = Literal["open", "closed"]


class NoticeAsk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A notice of the law's pack to one person."""

    notice: Annotated[str, msgspec.Meta(max_length=64)]
    local_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    values: Annotated[dict[str, str], msgspec.Meta(max_length=50)] = {}


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a clerk says of an application: asked (back), granted or refused, and the words for the applicant."""

    state: Literal["asked", "granted", "refused"]
    words: Annotated[str, msgspec.Meta(max_length=2000)] = ""


class Guardianship(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is whose guardian, by local ids; ``over``: is no more."""

    child: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    guardian: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    over: bool = False


class Appointment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who acts for a corporation, both by local id; until a day (ISO), one that is past to end it."""

    corporation: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    officer: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    number: Annotated[str, msgspec.Meta(max_length=20)]
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    until: Annotated[str, msgspec.Meta(max_length=10)]


class AttachedView(msgspec.Struct, frozen=True, kw_only=True):
    """A paper that came with an application; ``data`` is base64."""

    kind: str
    name: str
    type: str
    data: str


class ApplicationView(msgspec.Struct, frozen=True, kw_only=True):
    """An application. ``form``: answers by name of the question; ``local_id`` is empty if the applicant is not known here (yet).

    ``signed``: empty (none is needed), unchecked, good, proxy (a representative's), other (another's card) or bad.
    Times are milliseconds since 1970.
    """

    id: str
    procedure: str
    office: str
    state: str
    at: int
    changed: int
    local_id: str
    signed: str
    by: str
    """As what somebody else sent it for the applicant: attorney or guardian; empty: nobody did."""
    form: dict[str, str | int]
    attached: list[AttachedView]
    steps: list[dict[str, Any]]


class ApplicationLine(msgspec.Struct, frozen=True, kw_only=True):
    """An application in a list."""

    id: str
    procedure: str
    office: str
    state: str
    at: int
    changed: int
    signed: str


def letter_id(text: str) -> bytes:
    """The 32 bytes of a letter's id in hexadecimal; ``NotFound`` for anything else."""
    try:
        id_ = bytes.fromhex(text)
    except ValueError:
        id_ = b""
    if len(id_) != 32:
        raise NotFound("There is no such letter.", ja="この通知・申請はありません。")
    return id_


def line(row: Any) -> ApplicationLine:
    return ApplicationLine(
        id=bytes(row.letter).hex(),
        procedure=row.procedure,
        office=row.office,
        state=row.state,
        at=row.at,
        changed=row.changed,
        signed=row.signed,
    )


def _view(found: Application) -> ApplicationView:
    row = found.row
    shared = {n: getattr(row, n) for n in ("procedure", "office", "state", "at", "changed", "signed")}
    attached = [
        AttachedView(kind=a.kind, name=a.name, type=a.type, data=b64encode(a.data).decode())
        for a in found.said.attached
    ]
    steps = [
        {
            "at": letter.at or letter.made,
            "ours": letter.mine,
            "by": getattr(said, "by", ""),
            "state": getattr(said, "state", ""),
            "words": said.words,
        }
        for letter, said in found.steps
    ]
    return ApplicationView(
        id=bytes(row.letter).hex(),
        local_id=found.local_id,
        by=found.said.by,
        form=dict(found.said.form),
        attached=attached,
        steps=steps,
        **shared,
    )


def letter_api(gateway: Gateway) -> Router:
    """The routes; every call needs a bearer token."""

    @post("/letters", guards=[json_body, duty("notify")], status_code=202, summary="Tell a resident something")
    async def send(
        data: JSONBody[NoticeAsk], request: Request[Any, Any, Any], idempotency_key: IdempotencyKey = None
    ) -> dict[str, str]:
        """A notice of the law's pack, to the inbox of whoever has this local id. The same key tells it once."""
        clerk = request.state.clerk.name
        id_ = await gateway.notices.tell(clerk, data.notice, data.local_id, data.values, idempotency_key)
        return {"id": id_.hex()}

    @post("/letters/check", guards=[duty("notify")], status_code=200, summary="Look by all rules now")
    async def check() -> dict[str, Any]:
        """Whom the pack's rules speak of and nobody has told yet is told; how many persons were looked at, and told by each rule."""
        done = await gateway.notices.check()
        return {"people": done.people, "told": done.told}

    @post(
        "/letters/guardians",
        guards=[json_body, duty("register")],
        status_code=202,
        summary="Say who is a child's guardian",
    )
    async def guardian(data: JSONBody[Guardianship], request: Request[Any, Any, Any]) -> dict[str, str]:
        """They may act for the child on the portal until it comes of age; both are told. Not of who is protected here."""
        clerk = request.state.clerk.name
        return {"until": await gateway.representation.guard(clerk, data.child, data.guardian, over=data.over)}

    @post(
        "/letters/officers",
        guards=[json_body, duty("register")],
        status_code=202,
        summary="Say who acts for a corporation",
    )
    async def officer(data: JSONBody[Appointment], request: Request[Any, Any, Any]) -> dict[str, str]:
        """They may act for it on the portal, and let others act; both are told."""
        values = {"number": data.number, "name": data.name, "until": data.until}
        await gateway.representation.appoint(request.state.clerk.name, data.corporation, data.officer, values)
        return {"until": data.until}

    @get("/applications", guards=[duty("decide")], summary="What residents apply for")
    async def listed(status: FromQuery[Shown] = "open", office: FromQuery[str] = "") -> list[ApplicationLine]:
        """``open``: oldest first; ``closed``: last changed first."""
        states = store.OPEN if status == "open" else store.CLOSED
        newest = status == "closed"
        rows = await gateway.database.read(lambda c: store.listed(c, states, office, LISTED, newest))
        return [line(r) for r in rows]

    @get("/applications/{id:str}", guards=[duty("decide")], summary="One application, with all that was said of it")
    async def one(id: FromPath[str]) -> ApplicationView:
        return _view(await gateway.applications.get(letter_id(id)))

    @post(
        "/applications/{id:str}", guards=[json_body, duty("decide")], status_code=200, summary="Ask back, grant, refuse"
    )
    async def say(id: FromPath[str], data: JSONBody[Step], request: Request[Any, Any, Any]) -> dict[str, str]:
        """The applicant is told in their inbox, and the application goes on."""
        await gateway.applications.say(letter_id(id), data.state, data.words, request.state.clerk.name)
        return {"state": data.state}

    return Router(
        "/",
        route_handlers=[send, check, guardian, officer, listed, one, say],
        guards=[token_guard(gateway.settings.clerks)],
        security=[{"token": []}],
    )
