"""The demo's booking of rooms in the city's hall. Each resident books a few, and is known by a name that is made up for this site alone.

``hall.toml`` in its folder says where everybody is; ``rooms.db`` holds the bookings.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
from litestar import Request, Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body
from litestar.response import Redirect

from renkei.errors import Conflict, Malformed, RenkeiError
from renkei.institution.observe import Observer
from renkei.institution.settings import Home
from renkei.institution.settings import Settings as Shell
from renkei.institution.web import Health, Pages, cookie_session, language, serve
from renkei.institution.wording import day_in_words
from renkei.nation.sign_on import SignOn, session_key, sign_on_pages

Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
AnyRequest = Request[Any, Any, Any]
SESSION_SECONDS = 1800
DAYS, BOOKED_MOST = 14, 3
ROOMS = {
    "meeting": ("会議室", "Meeting room"),
    "music": ("音楽室", "Music room"),
    "kitchen": ("調理室", "Kitchen"),
}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``hall.toml``."""

    id: str
    """By which the portal knows it."""
    ja: str
    en: str
    port: int
    portal: str
    """The OpenID provider."""
    client_secret: str
    time_zone: str = "UTC"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Hall:
    """The hall's rooms, from its folder."""

    def __init__(self, folder: Path) -> None:
        self.settings = s = Home(folder).read_toml("hall.toml", Settings)
        self._rooms = sqlite3.connect(folder / "rooms.db", isolation_level=None, check_same_thread=False)
        self._rooms.execute(
            "CREATE TABLE IF NOT EXISTS bookings (room TEXT, day TEXT, sub TEXT NOT NULL, PRIMARY KEY (room, day))"
        )
        self.key = session_key(folder, self.settings.id)
        self.sign_on = SignOn(s.id, s.origin, s.portal, s.client_secret)
        self.shell = Shell(body=s.id, role="hall", kinds=(), database="", bus="", port=s.port, language="ja")

    async def serve(self) -> None:
        """Answer until cancelled."""
        handlers, options = hall_pages(self)
        await serve(self.shell, Observer("hall", "hall", "warning"), handlers, lambda: Health(True, {}), **options)

    def today(self) -> dt.date:
        return dt.datetime.now(ZoneInfo(self.settings.time_zone)).date()

    def days(self) -> list[dt.date]:
        """Those that can be booked."""
        return [self.today() + dt.timedelta(days=n) for n in range(1, DAYS + 1)]

    def taken(self) -> set[tuple[str, str]]:
        rows = self._rooms.execute("SELECT room, day FROM bookings WHERE day > ?", [self.today().isoformat()])
        return set(rows.fetchall())

    def of(self, sub: str) -> list[tuple[str, str]]:
        """What somebody has booked from today on: room and day."""
        rows = self._rooms.execute(
            "SELECT room, day FROM bookings WHERE sub = ? AND day >= ? ORDER BY day, room",
            [sub, self.today().isoformat()],
        )
        return rows.fetchall()

    def book(self, sub: str, room: str, day: str) -> None:
        """``Malformed`` for no such room or day; ``Conflict`` if it is taken, or this is one too many."""
        if room not in ROOMS or day not in {d.isoformat() for d in self.days()}:
            raise Malformed(
                "Choose a room and a day.",
                ja="部屋と日を選んでください。",
                remedy="One of those listed.",
                remedy_ja="表示されている中から選んでください。",
                code="booking",
            )
        if len(self.of(sub)) >= BOOKED_MOST:
            raise Conflict(
                f"You have {BOOKED_MOST} bookings already.",
                ja=f"予約は{BOOKED_MOST}件までです。",
                remedy="Give one back first.",
                remedy_ja="先に予約を取り消してください。",
                code="bookings-most",
            )
        if not self._rooms.execute("INSERT OR IGNORE INTO bookings VALUES (?, ?, ?)", [room, day, sub]).rowcount:
            raise Conflict(
                "Somebody has booked this room for that day.",
                ja="この部屋は、その日はすでに予約されています。",
                remedy="Choose another room or day.",
                remedy_ja="別の部屋か日を選んでください。",
                code="booked",
            )

    def give_back(self, sub: str, room: str, day: str) -> None:
        self._rooms.execute("DELETE FROM bookings WHERE sub = ? AND room = ? AND day = ?", [sub, room, day])


def hall_pages(hall: Hall) -> tuple[list[Any], dict[str, Any]]:
    """The hall's pages, and the options of the web shell they need."""
    s = hall.settings
    pages = Pages(Path(__file__).parent / "templates", hall.shell, lambda lang: s.ja if lang == "ja" else s.en)
    session = cookie_session(hall.shell, hall.key, SESSION_SECONDS)

    def render(request: AnyRequest, template: str, **values: Any) -> Response[bytes]:
        return pages.render(request, template, **values)

    def rooms_page(request: AnyRequest, sub: str, problem: Any = None, status: int = 200) -> Response[bytes]:
        lang = language(request, "ja")
        return render(
            request,
            "rooms.html",
            rooms={code: names[lang == "en"] for code, names in ROOMS.items()},
            days=[(d.isoformat(), day_in_words(d, lang)) for d in hall.days()],
            mine=[(room, day, day_in_words(dt.date.fromisoformat(day), lang)) for room, day in hall.of(sub)],
            taken=hall.taken(),
            most=BOOKED_MOST,
            problem=problem,
            status=status,
        )

    @get("/", include_in_schema=False)
    async def start(request: AnyRequest) -> Response[bytes]:
        return render(request, "start.html")

    @get("/rooms", include_in_schema=False)
    async def rooms(request: AnyRequest) -> Response[Any]:
        sub = request.session.get("sub")
        return rooms_page(request, sub) if sub else Redirect("/")

    @post("/rooms", include_in_schema=False)
    async def book(request: AnyRequest, data: Form) -> Response[Any]:
        sub = request.session.get("sub")
        if not sub:
            return Redirect("/", status_code=303)
        try:
            hall.book(sub, data.get("room", ""), data.get("day", ""))
        except RenkeiError as error:
            return rooms_page(request, sub, error.problem(language(request, "ja")), error.status)
        return Redirect("/rooms", status_code=303)

    @post("/rooms/back", include_in_schema=False)
    async def back(request: AnyRequest, data: Form) -> Redirect:
        if sub := request.session.get("sub"):
            hall.give_back(sub, data.get("room", ""), data.get("day", ""))
        return Redirect("/rooms", status_code=303)

    options = {
        "pages": pages,
        "csrf_secret": sha256(b"csrf" + hall.key).hexdigest(),
        "middleware": [session.middleware],
    }
    return [start, rooms, book, back, *sign_on_pages(hall.sign_on, render, lambda _: "/rooms")], options
