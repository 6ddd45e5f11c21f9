"""What they hold: a resident chooses, proves with the card who they are, and reads in their browser what nobody on the way could."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect

from renkei.errors import NotFound, RenkeiError
from renkei.institution import wording
from renkei.institution.entry import Form, Render, no_answer, presented
from renkei.institution.web import language
from renkei.institution.wording import UNITS, PackWords

if TYPE_CHECKING:
    from renkei.portal.service import Portal

Ask = Request[Any, Any, Any]
KEY = "key-"


def own_pages(portal: Portal, render: Render, inside: list[Any]) -> list[Any]:
    """``/own``."""
    own = portal.own

    def words_of(request: Ask) -> PackWords:
        return PackWords(portal.member.pack, language(request, portal.settings.language))

    async def fills_of(request: Ask, case: str) -> dict[str, dict[str, list[Any]]]:
        """What an application of the resident's could be filled in with; nothing without one."""
        try:
            return portal.applications.fills(await portal.applications.get(request.state.account, case)) if case else {}
        except NotFound:  # thrown away meanwhile
            return {}

    async def choose(request: Ask, body: str, problem: Any = None, status: int = 200) -> Response[bytes]:
        bodies, case = own.bodies(), request.query_params.get("for", "")
        if fills := await fills_of(request, case):
            useful = ((b, [i for i in items if i in fills]) for b, items in bodies.items())
            bodies = {b: items for b, items in useful if items}
        page = render(
            request,
            "own.html",
            bodies=sorted(bodies, key=words_of(request).body),
            chosen=body if body in bodies else "",
            items=bodies.get(body, []),
            reader=portal.settings.reader,
            open=own.open,
            case=case if fills else "",
            problem=problem,
            status=status,
        )
        return portal.entry.leading(page)

    @get("/own", guards=inside, include_in_schema=False)
    async def start(request: Ask, of: FromQuery[str] = "") -> Response[bytes]:
        return await choose(request, of)

    @post("/own/begin", guards=inside, include_in_schema=False, status_code=200)
    async def begin(request: Ask, data: Form) -> Response[Any]:
        """From our script: the keys it has made. What comes back is for the card to sign."""
        try:
            keys = {k.removeprefix(KEY): _key(v) for k, v in data.items() if k.startswith(KEY)}
            name, wish = await own.begin(request.state.account, data.get("body", ""), keys)
        except RenkeiError as error:
            return Response(error.problem(language(request, portal.settings.language)), status_code=error.status)
        request.set_session({**request.session, "own": name, "own_for": data.get("for", "")[:32]})
        return Response({"wish": name, "document": b64encode(wish.document).decode()})

    @post("/own/back", include_in_schema=False)
    async def back(request: Ask, data: Form) -> Response[Any]:
        """From the reader program, another site, without cookies: our page sends it on."""
        if data.get("refused"):
            return Redirect("/own", status_code=303)
        shown = {name: data.get(name, "")[:8000] for name in ("certificate", "signature")}
        if not all(shown.values()):
            raise no_answer()
        return render(request, "signed.html", finish="/own/finish", **shown)

    @post("/own/finish", guards=inside, include_in_schema=False)
    async def finish(request: Ask, data: Form) -> Response[Any]:
        name = request.session.get("own", "")
        try:
            await own.prove(request.state.account, name, presented(data))
        except RenkeiError as error:
            return await choose(request, "", error.problem(language(request, portal.settings.language)), error.status)
        return Redirect(f"/own/{name}", status_code=303)

    @get("/own/{wish:str}", guards=inside, include_in_schema=False)
    async def shown(request: Ask, wish: FromPath[str]) -> Response[bytes]:
        try:
            found = own.wish(request.state.account, wish)
        except RenkeiError as error:
            return await choose(request, "", error.problem(language(request, portal.settings.language)), error.status)
        words, case = words_of(request), request.session.get("own_for", "")
        named = {
            item: {field: [[a.name, a.title(words.pack, words.lang)] for a in asked] for field, asked in fields.items()}
            for item, fields in (await fills_of(request, case)).items()
            if item in found.keys
        }
        return render(
            request,
            "own_answers.html",
            wish=found,
            words_in=_dictionary(words, sorted(found.keys)),
            fills=named,
            case=case if named else "",
        )

    @get("/own/{wish:str}/answers", guards=inside, include_in_schema=False)
    async def answers(request: Ask, wish: FromPath[str]) -> Response[Any]:
        found, lang = own.wish(request.state.account, wish), language(request, portal.settings.language)

        def one(id_: bytes, item: str) -> dict[str, str]:
            told = {"id": id_.hex(), "item": item}
            if id_ in found.answers:
                return {**told, "state": "answered", "sealed": b64encode(found.answers[id_]).decode()}
            if id_ in found.refused:
                return {**told, "state": "refused", "said": wording.reason(found.refused[id_], lang)}
            return {**told, "state": "waiting"}

        told = [one(id_, item) for id_, item in found.asked.items()]
        return Response({"answers": told}, headers={"Cache-Control": "no-store"})

    return [start, begin, back, finish, shown, answers]


def _key(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""


def _dictionary(words: PackWords, items: list[str]) -> dict[str, Any]:
    """By what a browser puts answers into words: of each item its fields, with titles, units and codes."""
    pack, ja = words.pack, words.lang == "ja"
    found: dict[str, Any] = {}
    for item in items:
        fields = {}
        for field in pack.specifications[item].fields:
            term = pack.terms[field.term]
            told: dict[str, Any] = {"title": field.title.text(words.lang)}
            if term.type == "code":
                told["codes"] = {c: t.text(words.lang) for c, t in pack.codelists.get(term.codes, {}).items()}
            if term.type == "image":
                told["image"] = True
            if term.unit == "year":
                told["year"] = True
            if term.unit:
                unit = (
                    "年"
                    if term.unit == "year" and ja
                    else ""
                    if term.unit == "year"
                    else UNITS.get(term.unit, (term.unit,) * 2)[ja]
                )
                told["unit"] = unit if ja or not unit else f" {unit}"
            fields[field.name] = told
        found[item] = {"fields": fields, "truth": ["いいえ", "はい"] if ja else ["no", "yes"]}
    return {
        "items": found,
        "nothing": "登録されている情報はありません。" if ja else "Nothing is held about you.",
        "gone": "このブラウザーの鍵がありません。もう一度やり直してください。"
        if ja
        else "This browser has no key for it any more. Begin again.",
        "broken": "回答を開けませんでした。もう一度やり直してください。"
        if ja
        else "The answer could not be opened. Begin again.",
    }
