"""The gateway's REST interface: ``/schema`` describes it (OpenAPI). Every call needs a clerk's or system's bearer token."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import sqlalchemy as sa
from litestar import MediaType, Request, Response, Router, get, post
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, RequestBody, Schema
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter
from litestar.response import Stream

from renkei.errors import Malformed, NotFound
from renkei.gateway import store, subscription_store
from renkei.gateway.batches import FORMATS
from renkei.gateway.desk import Ask
from renkei.institution import subjects
from renkei.institution.clerks import duty, token_guard
from renkei.institution.web import json_body
from renkei.law import changes
from renkei.numbers import number_format
from renkei.record.permit import to_file

if TYPE_CHECKING:
    from renkei.gateway.service import Gateway

Position = Annotated[int | None, QueryParameter(ge=0, lt=2**53)]
IdempotencyKey = Annotated[str | None, HeaderParameter(name="Idempotency-Key", max_length=100)]
Prefer = Annotated[str | None, HeaderParameter(name="Prefer", max_length=100)]


State = Literal["submitted", "permitted", "answered", "refused", "expired"]
Settled = Literal["held", "answered", "expired"]


@dataclass
class Upload(Operation):
    """``POST /batches`` reads its body as a stream, so it says itself what that is."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            required=True,
            content={
                "text/csv": OpenAPIMediaType(
                    schema=Schema(
                        type=OpenAPIType.STRING,
                        description="Header: local_id,provider,affair,item,purpose[,case,reason,as_of,changes_until]",
                    )
                ),
                "application/x-ndjson": OpenAPIMediaType(
                    schema=Schema(type=OpenAPIType.STRING, description="One Ask a line")
                ),
            },
        )


class InquiryView(msgspec.Struct, frozen=True, kw_only=True):
    """An inquiry as its requester sees it. Times are milliseconds since 1970."""

    id: str
    state: str
    provider: str
    affair: str
    item: str
    purpose: str
    clerk: str
    issued_at: int
    expires: int
    leaf: int | None
    recorded_at: int | None
    finished_at: int | None
    reason: str
    rows: list[str]
    refused_by: str
    records: list[dict[str, str | int | bool]] | None
    status_url: str


class ProvisionView(msgspec.Struct, frozen=True, kw_only=True):
    """A request this institution was permitted to answer."""

    id: str
    requester: str
    affair: str
    item: str
    purpose: str
    row: str
    state: str
    reason: str
    leaf: int
    received_at: int
    finished_at: int | None


class SubscriptionView(msgspec.Struct, frozen=True, kw_only=True):
    """What this institution is told changes of; ``inquiry`` is the one that asked for it."""

    inquiry: str
    local_id: str
    provider: str
    affair: str
    item: str
    purpose: str
    case: str
    until: str


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    """A change notice: that the answer to ``inquiry`` would be another now. Times are milliseconds since 1970."""

    id: str
    inquiry: str
    local_id: str
    provider: str
    affair: str
    item: str
    purpose: str
    case: str
    leaf: int
    at: int


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person to register: the local id, and the number that is sent on to the authority and not kept."""

    local_id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    number: Annotated[str, msgspec.Meta(max_length=40)]


class People(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Persons to register, at most 1,000."""

    subjects: Annotated[list[Person], msgspec.Meta(min_length=1, max_length=1000)]


class Flags(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Protection of a person: ``manual`` release only, or ``withheld`` as if unknown."""

    local_id: Annotated[str, msgspec.Meta(max_length=64)]
    manual: bool
    withheld: bool


def inquiry_id(text: str) -> bytes:
    """The 32 bytes of an inquiry id in hexadecimal; ``NotFound`` for anything else."""
    try:
        id_ = bytes.fromhex(text)
    except ValueError:
        id_ = b""
    if len(id_) != 32:
        raise NotFound("There is no such inquiry.", ja="この照会はありません。")
    return id_


def view(gateway: Gateway, row: Any) -> InquiryView:
    """The row of an inquiry as its requester sees it."""
    content = gateway.desk.result(row)
    id_ = bytes(row.id).hex()
    return InquiryView(
        id=id_,
        state=row.state,
        provider=row.provider,
        affair=row.affair,
        item=row.item,
        purpose=row.purpose,
        clerk=row.clerk,
        issued_at=row.issued_at,
        expires=row.expires,
        leaf=row.leaf,
        recorded_at=row.recorded_at,
        finished_at=row.finished_at,
        reason=row.reason,
        rows=row.rows.split(),
        refused_by=row.refused_by,
        records=content.records if content else None,
        status_url=f"/inquiries/{id_}",
    )


def wait_seconds(prefer: str | None, most: float) -> float:
    """The seconds of ``Prefer: wait=n`` (RFC 7240 §4.3), at most ``most``; other preferences are ignored."""
    for part in (prefer or "").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "wait" and value.isascii() and value.isdigit():
            return min(float(value[:6]), most)
    return 0.0


def _number(person: str, corporation: str, text: str) -> str:
    """A number of a person, or a corporation's where these have one; ``Malformed`` with what is wrong with it as a person's."""
    if corporation and number_format(corporation).is_valid(text) and not number_format(person).is_valid(text):
        return number_format(corporation).parse(text)
    return number_format(person).parse(text)


def _subscription(row: Any) -> dict[str, Any]:
    shared = {name: getattr(row, name) for name in ("local_id", "provider", "affair", "item", "purpose")}
    return {"inquiry": bytes(row.inquiry).hex(), **shared, "case": row.case_number}


def api(gateway: Gateway) -> Router:
    """The routes under ``/inquiries``, ``/changes``, ``/subscriptions``, ``/batches``, ``/subjects``, ``/flags`` and ``/provisions``."""

    async def one(id_: bytes) -> Any:
        row = await gateway.database.read(lambda c: store.get_inquiry(c, id_))
        if row is None:
            raise NotFound("There is no such inquiry.", ja="この照会はありません。")
        return row

    @post(
        "/inquiries",
        guards=[json_body, duty("ask")],
        status_code=202,
        summary="Ask another institution about one person",
        responses={200: ResponseSpec(InquiryView, generate_examples=False, description="It has ended already")},
    )
    async def create_inquiry(
        data: JSONBody[Ask],
        request: Request[Any, Any, Any],
        idempotency_key: IdempotencyKey = None,
        prefer: Prefer = None,
    ) -> Response[InquiryView]:
        """200 with the answer if it ended within ``Prefer: wait=<seconds>``, else 202 and a ``status_url`` to look at."""
        seconds = wait_seconds(prefer, gateway.settings.wait_seconds)
        id_ = await gateway.desk.ask(data, request.state.clerk.name, idempotency_key, wait=seconds)
        shown = view(gateway, await one(id_))
        ended = shown.state in store.TERMINAL
        headers = {
            "Location": shown.status_url,
            **({"Preference-Applied": f"wait={int(seconds)}"} if seconds else {}),
        }
        return Response(shown, status_code=200 if ended else 202, headers=headers)

    @get("/inquiries/{id:str}", summary="One inquiry and its answer")
    async def read_inquiry(id: FromPath[str], prefer: Prefer = None) -> InquiryView:
        id_ = inquiry_id(id)
        row = await one(id_)
        if row.state not in store.TERMINAL and (seconds := wait_seconds(prefer, gateway.settings.wait_seconds)):
            await gateway.desk.wait(id_, seconds)
            row = await one(id_)
        return view(gateway, row)

    @get(
        "/inquiries/{id:str}/permit",
        summary="The proof that the inquiry is in the record",
        media_type=MediaType.TEXT,
    )
    async def read_permit(id: FromPath[str]) -> str:
        """A ``c2sp.org/tlog-proof@v1`` file; ``renkei verify`` checks it with two public keys."""
        id_ = inquiry_id(id)
        await one(id_)
        return to_file(await gateway.permit_of(id_))

    @get("/inquiries", summary="Inquiries, newest first")
    async def list_inquiries(
        status: FromQuery[State | None] = None,
        before: Position = None,
        limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50,
    ) -> list[InquiryView]:
        """``before`` (an ``issued_at``) turns the page."""
        rows = await gateway.database.read(lambda c: store.list_inquiries(c, state=status, limit=limit, before=before))
        return [view(gateway, r) for r in rows]

    @post(
        "/batches",
        guards=[duty("ask")],
        status_code=202,
        summary="Upload a file of inquiries",
        operation_class=Upload,
        request_max_body_size=2_000_000_000,
    )
    async def create_batch(request: Request[Any, Any, Any], name: FromQuery[str] = "batch") -> dict[str, Any]:
        """``text/csv`` (header: local_id,provider,affair,item,purpose[,case,reason,as_of,changes_until]) or ``application/x-ndjson``."""
        kind = request.headers.get("content-type", "").split(";")[0].strip()
        format_ = {"text/csv": "csv", "application/x-ndjson": "jsonl", "application/jsonl": "jsonl"}.get(kind, "")
        id_ = await gateway.batches.receive(
            request.stream(), name=name, format_=format_, clerk=request.state.clerk.name
        )
        return await gateway.batches.status(id_)

    @get("/batches", summary="Uploaded files")
    async def list_batches() -> list[dict[str, Any]]:
        rows = await gateway.database.read(store.list_batches)
        return [await gateway.batches.status(r.id) for r in rows]

    @get("/batches/{id:str}", summary="Progress of one file")
    async def read_batch(id: FromPath[str]) -> dict[str, Any]:
        return await gateway.batches.status(id)

    @get("/batches/{id:str}/result", summary="The result file")
    async def read_result(id: FromPath[str], format: FromQuery[str] = "csv") -> Stream:
        if format not in FORMATS:
            raise Malformed(
                "`format` is csv or jsonl.", ja="`format` は csv か jsonl です。", code="batch-format", field="format"
            )
        await gateway.batches.status(id)
        kind = "text/csv; charset=utf-8" if format == "csv" else "application/x-ndjson"
        return Stream(gateway.batches.result(id, format), media_type=kind)

    @post(
        "/subjects",
        guards=[json_body, duty("register")],
        status_code=202,
        summary="Register persons, or corporations, and ask for their codes",
    )
    async def create_subjects(data: JSONBody[People]) -> dict[str, int]:
        header = gateway.member.pack.header
        people = [(p.local_id, _number(header.person_number, header.corporate_number, p.number)) for p in data.subjects]
        return {"requested": await gateway.request_codes(people)}

    @get("/notices", summary="Fields of items this body may ask for that are to go")
    async def notices() -> list[dict[str, str]]:
        """Soonest first; ``instead`` is the field to be used then. It follows from the law in force: nobody needs to send it."""
        found = changes.leaving(gateway.member.pack, gateway.settings.kinds)
        return [{"item": item, "field": f.name, "until": f.until, "instead": f.instead} for item, f in found]

    @get("/subscriptions", summary="What this institution is told changes of")
    async def list_subscriptions() -> list[SubscriptionView]:
        """Newest first. ``changes_until`` of an inquiry subscribes, where the law's ``subscriptions.csv`` lets it."""
        today = gateway.subscriptions.today
        rows = await gateway.database.read(lambda c: subscription_store.standing(c, today))
        return [SubscriptionView(**_subscription(r), until=r.until) for r in rows]

    @post("/subscriptions/{id:str}/end", guards=[duty("ask")], status_code=200, summary="Be told of changes no more")
    async def end_subscription(id: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str]:
        """``id``: of the inquiry that subscribed. The end stands in the record, and in the person's."""
        await gateway.subscriptions.end(inquiry_id(id), request.state.clerk.name)
        return {"state": "ended"}

    @get("/changes", summary="Change notices nobody has dealt with")
    async def list_changes() -> list[ChangeView]:
        """Newest first; at most one for each subscription."""
        rows = await gateway.database.read(subscription_store.open_changes)
        return [ChangeView(id=bytes(r.id).hex(), **_subscription(r), leaf=r.leaf, at=r.at) for r in rows]

    @post("/changes/{id:str}/ask", guards=[duty("ask")], status_code=202, summary="Ask what it is now")
    async def ask_again(id: FromPath[str], request: Request[Any, Any, Any], prefer: Prefer = None) -> InquiryView:
        """The inquiry is made as it was made before, case and reason too. Twice gives the same one."""
        seconds = wait_seconds(prefer, gateway.settings.wait_seconds)
        found = await gateway.subscriptions.ask(inquiry_id(id), request.state.clerk.name, wait=seconds)
        return view(gateway, await one(found))

    @post("/changes/{id:str}/settle", guards=[duty("ask")], status_code=200, summary="Nothing needs to be asked")
    async def settle_change(id: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str]:
        await gateway.subscriptions.settle(inquiry_id(id), request.state.clerk.name)
        return {"state": "settled"}

    @get("/subjects", summary="How many persons have a code")
    async def count_subjects() -> dict[str, int]:
        have, want = await gateway.database.read(subjects.counts)
        return {"with_code": have, "awaited": want}

    @post(
        "/flags",
        guards=[json_body, duty("protect")],
        status_code=200,
        summary="Protect a person: manual release, or withheld",
    )
    async def set_flags(data: JSONBody[Flags], request: Request[Any, Any, Any]) -> dict[str, bool]:
        by = request.state.clerk.name
        known = (await gateway.database.read(lambda c: subjects.by_local_id(c, [data.local_id]))).get(data.local_id)
        shield = None
        if known is not None and (data.manual or data.withheld):
            shield = await asyncio.to_thread(gateway.representation.shield, known)

        def commit(connection: sa.Connection) -> bool:
            if shield is not None:
                gateway.letters.send(connection, [shield])
            return subjects.set_flags(connection, data.local_id, manual=data.manual, withheld=data.withheld, by=by)

        found = await gateway.database.write(commit)
        if not found:
            raise NotFound("There is no such local subject here.", ja="この宛名番号はありません。")
        return {"manual": data.manual, "withheld": data.withheld}

    @get("/provisions", summary="Requests this institution was permitted to answer")
    async def list_provisions(
        status: FromQuery[Settled | None] = None, limit: Annotated[int, QueryParameter(ge=1, le=200)] = 50
    ) -> list[ProvisionView]:
        rows = await gateway.database.read(lambda c: store.list_provisions(c, state=status, limit=limit))
        return [provision(r) for r in rows]

    @post("/provisions/{id:str}/release", guards=[duty("release")], status_code=200, summary="Release a held answer")
    async def release(id: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str]:
        await gateway.answering.release(inquiry_id(id), request.state.clerk.name)
        return {"state": "answered"}

    @post(
        "/provisions/{id:str}/decline",
        guards=[duty("release")],
        status_code=200,
        summary="Answer a held request as if there were no data",
    )
    async def decline(id: FromPath[str], request: Request[Any, Any, Any]) -> dict[str, str]:
        await gateway.answering.decline(inquiry_id(id), request.state.clerk.name)
        return {"state": "answered"}

    @post(
        "/provisions/{id:str}/challenge",
        guards=[duty("release")],
        status_code=200,
        summary="Make both converters prove that they converted rightly",
    )
    async def challenge(id: FromPath[str]) -> dict[str, bool]:
        """For each converter whether it has proven that the request was about the person it named."""
        return await gateway.challenge(inquiry_id(id))

    return Router(
        "/",
        route_handlers=[
            create_inquiry,
            read_inquiry,
            read_permit,
            list_inquiries,
            create_batch,
            list_batches,
            read_batch,
            read_result,
            create_subjects,
            count_subjects,
            list_subscriptions,
            end_subscription,
            list_changes,
            ask_again,
            settle_change,
            notices,
            set_flags,
            list_provisions,
            release,
            decline,
            challenge,
        ],
        guards=[token_guard(gateway.settings.clerks)],
        tags=["gateway"],
        security=[{"token": []}],
    )


def provision(row: Any) -> ProvisionView:
    """A row of ``provisions`` for the provider's clerks; the permit and the answer stay inside."""
    return ProvisionView(
        id=bytes(row.id).hex(),
        requester=row.requester,
        affair=row.affair,
        item=row.item,
        purpose=row.purpose,
        row=row.row,
        state=row.state,
        reason=row.reason,
        leaf=row.leaf,
        received_at=row.received_at,
        finished_at=row.finished_at,
    )
