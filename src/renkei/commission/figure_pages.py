"""The pages of figures: alarms for officers, use of the linkages for everyone, with charts and open data."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
from litestar import MediaType, Response, get, post
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect
from markupsafe import Markup

from renkei.commission import statistics, store
from renkei.commission.watch import KINDS
from renkei.commission.web import SHOWN, Ask, Form, Web
from renkei.errors import Malformed, NotFound, RenkeiError
from renkei.institution.web import language

LONGEST = 3660
"""Days."""


def figure_pages(web: Web) -> list[Any]:
    """The pages of alarms and statistics."""
    here, render, inside, stepped_up, _ = web

    async def alarms_view(request: Ask, problem: Any = None) -> Response[bytes]:
        fresh = await here.database.read(lambda c: store.list_alarms(c, dealt_with=False))
        done = await here.database.read(lambda c: store.list_alarms(c, dealt_with=True, limit=50))
        return render(request, "alarms.html", fresh=fresh, done=done, kinds=KINDS, problem=problem)

    @get("/alarms", guards=inside, include_in_schema=False)
    async def alarms(request: Ask) -> Response[bytes]:
        return await alarms_view(request)

    @post("/alarms/{id:int}", guards=inside, include_in_schema=False)
    async def deal(request: Ask, id: FromPath[int], data: Form) -> Response[Any]:
        try:
            signed = await stepped_up(request, data)
            if not 0 < id < 2**31:
                raise NotFound("There is no such alarm.", ja="この警報はありません。")
            if data.get("act") == "dismiss":
                await here.monitor.dismiss(signed.officer, id)
                return Redirect("/alarms", status_code=303)
            alarm = await here.database.read(lambda c: store.alarm(c, id))
            title = KINDS[alarm.kind] if alarm else ("", "")
            ja = here.settings.language == "ja"
            number = await here.monitor.open_case(signed.officer, id, title[1] if ja else title[0])
            return Redirect(f"/cases/{number}", status_code=303)
        except RenkeiError as error:
            response = await alarms_view(request, error.problem(language(request, here.settings.language)))
            response.status_code = error.status
            return response

    async def found(first: str, last: str) -> tuple[list[statistics.Line], str, str]:
        today = here.keeper.state.pack.day(here.clock())
        end, start = _day(last, today), _day(first, today - dt.timedelta(days=364))
        if not 0 <= (end - start).days <= LONGEST:
            raise Malformed("Choose a time of at most ten years.", ja="期間は10年以内で指定してください。", code="time")
        used = await here.database.read(lambda c: store.used(c, start.isoformat(), end.isoformat()))
        paper = await here.database.read(store.paper_reports)
        lines = statistics.lines(statistics.lawful(here.keeper.state, end), used, paper)
        return lines, start.isoformat(), end.isoformat()

    @get("/statistics", include_in_schema=False)
    async def use(request: Ask, first: FromQuery[str] = "", last: FromQuery[str] = "") -> Response[bytes]:
        lines, start, end = await found(first, last)
        small = here.keeper.state.pack.header.oversight.small_count
        days = await here.database.read(lambda c: store.used_by_day(c, start, end))
        shown = [(day, n if n >= small else 0) for day, n in days]
        title = f"{sum(n for _, n in shown):,}"
        return render(
            request,
            "statistics.html",
            lines=statistics.suppressed(lines, small),
            summary=statistics.summary(lines),
            why=statistics.WHY,
            small=small,
            first=start,
            last=end,
            days=shown,
            chart=Markup(statistics.bars(statistics.every_day(shown, start, end), title)),  # noqa: S704 - drawn here from figures and escaped days
            shown=SHOWN,
        )

    @get("/statistics.csv", include_in_schema=False)
    async def as_csv(first: FromQuery[str] = "", last: FromQuery[str] = "") -> Response[str]:
        lines, start, end = await found(first, last)
        small = here.keeper.state.pack.header.oversight.small_count
        text = statistics.to_csv(statistics.suppressed(lines, small))
        name = f'attachment; filename="linkages-{start}-{end}.csv"'
        return Response(text, media_type="text/csv; charset=utf-8", headers={"Content-Disposition": name})

    @get("/statistics.json", include_in_schema=False)
    async def as_json(first: FromQuery[str] = "", last: FromQuery[str] = "") -> Response[bytes]:
        lines, start, end = await found(first, last)
        small = here.keeper.state.pack.header.oversight.small_count
        told = {
            "first": start,
            "last": end,
            "suppressed_below": small,
            "law": here.keeper.state.pack.reference,
            "linkages": statistics.suppressed(lines, small),
        }
        return Response(msgspec.json.encode(told), media_type=MediaType.JSON)

    return [alarms, deal, use, as_csv, as_json]


def _day(text: str, otherwise: dt.date) -> dt.date:
    try:
        return dt.date.fromisoformat(text) if text else otherwise
    except ValueError:
        raise Malformed(
            "Write the day as YYYY-MM-DD.", ja="日付は YYYY-MM-DD で入力してください。", code="day"
        ) from None
