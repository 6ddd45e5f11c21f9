"""The register of corporations: pages, and an interface that answers as the national one does (Web-API version 4).

``/4/num`` by numbers, ``/4/name`` by name, ``/4/diff`` by day; ``type`` 01 is CSV in Shift_JIS, 02 CSV in UTF-8, 12 XML. The application
id that the national interface asks for may be sent and is not looked at: nobody needs to say who asks.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable
from typing import Annotated, Any, Literal
from xml.etree import ElementTree as ET

from litestar import Request, Response, get
from litestar.params import FromPath, FromQuery, QueryParameter

from renkei.catalogue.corporations import COLUMNS, PAGE_MOST, Corporations, Found
from renkei.errors import Malformed, NotFound
from renkei.numbers import CorporateNumber

Ask = Request[Any, Any, Any]
Form = Literal["01", "02", "12"]
Flag = Literal["0", "1"]
Divide = Annotated[int, QueryParameter(ge=1, le=99_999)]
NUMBERS_MOST = 10
SHOWN = 30
KINDS = {"01": ("101",), "02": ("201",), "03": ("301", "302", "303", "304", "305", "399"), "04": ("401", "499")}
"""Of the interface's ``kind``: bodies of state, local governments, corporations by registration, others."""


def corporation_pages(register: Corporations, render: Callable[..., Response[bytes]]) -> list[Any]:
    """The handlers. ``render`` makes a page."""

    @get("/corporations", include_in_schema=False)
    async def search(
        request: Ask, q: FromQuery[str] = "", page: Annotated[int, QueryParameter(ge=0, le=400)] = 0
    ) -> Response[bytes]:
        digits = "".join(c for c in q if c.isdigit())
        if q and CorporateNumber.is_valid(digits) and not any(c.isalpha() for c in q):
            found = await asyncio.to_thread(register.by_number, [digits])
        else:
            found = await asyncio.to_thread(lambda: register.by_name(q, limit=SHOWN, offset=page * SHOWN))
        size = await asyncio.to_thread(register.size)
        return render(request, "corporations.html", found=found, q=q, page=page, shown=SHOWN, held=size)

    @get("/corporations/{number:str}", include_in_schema=False)
    async def one(request: Ask, number: FromPath[str]) -> Response[bytes]:
        found = await asyncio.to_thread(lambda: register.by_number([number], history=True))
        if not found.entries:
            raise NotFound("No corporation has this number.", ja="この法人番号の法人はありません。")
        return render(request, "corporation.html", entries=found.entries)

    @get("/4/num", summary="Corporations by number, as the national interface has it", tags=["corporations"])
    async def num(
        number: FromQuery[str], type: FromQuery[Form] = "12", history: FromQuery[Flag] = "0", id: FromQuery[str] = ""
    ) -> Response[bytes]:
        """``number``: up to ten, commas between; ``history`` 1: with earlier states."""
        numbers = number.split(",")
        if len(numbers) > NUMBERS_MOST:
            raise Malformed(
                f"At most {NUMBERS_MOST} numbers.", ja=f"法人番号は{NUMBERS_MOST}件までです。", code="too-many"
            )
        return _told(await asyncio.to_thread(lambda: register.by_number(numbers, history=history == "1")), type, 1)

    @get("/4/name", summary="Corporations by name, as the national interface has it", tags=["corporations"])
    async def name(
        name: FromQuery[str],
        type: FromQuery[Form] = "12",
        mode: FromQuery[Literal["1", "2"]] = "1",
        target: FromQuery[Literal["1", "2", "3"]] = "1",
        address: FromQuery[str] = "",
        kind: FromQuery[str] = "",
        close: FromQuery[Flag] = "1",
        divide: Divide = 1,
        id: FromQuery[str] = "",
    ) -> Response[bytes]:
        """``mode`` 1: begins with, 2: holds; ``target`` 3: the name in Latin letters; ``address``: code of prefecture or city."""
        if any(k not in KINDS for k in kind.split(":") if k) or (address and not address.isdigit()):
            raise Malformed(
                "`kind` is 01 to 04 with : between, `address` a code.",
                ja="kind か address が正しくありません。",
                code="condition",
            )
        kinds = [k for given in kind.split(":") if given for k in KINDS[given]]

        def find() -> Found:
            return register.by_name(
                name, part=mode == "2", english=target == "3", place=address, kinds=kinds, closed=close == "1",
                limit=PAGE_MOST, offset=(divide - 1) * PAGE_MOST,
            )  # fmt: skip

        return _told(await asyncio.to_thread(find), type, divide)

    @get("/4/diff", summary="Corporations that changed from one day to another", tags=["corporations"])
    async def diff(
        since: Annotated[str, QueryParameter(name="from", pattern=r"^\d{4}-\d{2}-\d{2}$")],
        to: Annotated[str, QueryParameter(pattern=r"^\d{4}-\d{2}-\d{2}$")],
        type: FromQuery[Form] = "12",
        divide: Divide = 1,
        id: FromQuery[str] = "",
    ) -> Response[bytes]:
        """By the day the register was brought up to date, both included."""
        return _told(
            await asyncio.to_thread(lambda: register.changed(since, to, PAGE_MOST, (divide - 1) * PAGE_MOST)),
            type,
            divide,
        )

    return [search, one, num, name, diff]


def _told(found: Found, form: Form, divide: int) -> Response[bytes]:
    """A page in the interface's own forms."""
    pages = max(1, -(-found.total // PAGE_MOST))
    if form == "12":
        root = ET.Element("corporations")
        for tag, value in (
            ("lastUpdateDate", found.updated),
            ("count", found.total),
            ("divideNumber", divide),
            ("divideSize", pages),
        ):
            ET.SubElement(root, tag).text = str(value)
        for entry in found.entries:
            one = ET.SubElement(root, "corporation")
            for tag, value in zip(COLUMNS, entry.values, strict=True):
                ET.SubElement(one, tag).text = value
        return Response(ET.tostring(root, "utf-8", xml_declaration=True), media_type="application/xml; charset=utf-8")
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow([found.updated, found.total, divide, pages])
    csv.writer(out, lineterminator="\r\n", quoting=csv.QUOTE_ALL).writerows(e.values for e in found.entries)
    encoding = "cp932" if form == "01" else "utf-8"
    charset = "Shift_JIS" if form == "01" else "utf-8"
    return Response(out.getvalue().encode(encoding, "replace"), media_type=f"text/csv; charset={charset}")
