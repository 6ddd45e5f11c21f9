"""The web shell every institution wears: health, metrics, problem details, language, security headers, one server.

Pages are HTML first. ``Accept: application/json`` and API paths get problem details (RFC 9457) for every failure, browsers a page with
the same code, sentence and remedy. Nothing a visitor sends is ever answered with a traceback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import jinja2
from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, MediaType, Request, Response, get
from litestar.config.csrf import CSRFConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, MutableScopeHeaders
from litestar.exceptions import HTTPException, NotFoundException, PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.middleware.session.client_side import CookieBackendConfig
from litestar.openapi.config import OpenAPIConfig
from litestar.static_files import create_static_files_router
from litestar.types import ASGIApp, ControllerRouterHandler, Message, Receive, Scope, Send
from litestar.utils.empty import value_or_default
from litestar.utils.scope.state import ScopeState
from sqlalchemy.exc import DataError, OperationalError

from renkei import __version__
from renkei.errors import Malformed, NotFound, RenkeiError, Unavailable
from renkei.institution.observe import Observer
from renkei.institution.reference import Description, ReferencePage, YamlDescription
from renkei.institution.settings import Settings

HERE = Path(__file__).parent
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; script-src 'self'; connect-src 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MAX_BODY = 4_000_000
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
STOP_WITHIN = 5.0


class Health(NamedTuple):
    """Whether an institution works, and what an operator should know."""

    ok: bool
    details: dict[str, str]


def language(request: Request[Any, Any, Any], default: str = "ja") -> str:
    """The reader's language: what they chose, else what their browser asks for, else the default."""
    chosen = request.query_params.get("lang") or request.cookies.get("lang") or ""
    if chosen in ("ja", "en"):
        return chosen
    for part in request.headers.get("accept-language", "").split(","):
        tag = part.split(";")[0].strip().lower()
        if tag[:2] in ("ja", "en"):
            return tag[:2]
    return default


DEMONSTRATION = "Renkei demonstration. All persons are invented.", "Renkei デモ。登場人物はすべて架空です。"


class Pages:
    """Renders templates. ``t(en, ja)`` in a template says a thing in the reader's language. ``foot`` stands below every page, those
    that tell a failure too."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        title: Callable[[str], str],
        *,
        foot: tuple[str, str] = DEMONSTRATION,
    ) -> None:
        self._settings, self._title, self._foot = settings, title, foot
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader([folder, HERE / "templates"]),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )

    def render(
        self, request: Request[Any, Any, Any], template: str, *, status: int = 200, **values: Any
    ) -> Response[bytes]:
        """The page as a response; remembers an explicit choice of language."""
        lang = language(request, self._settings.language)

        def t(en: str, ja: str) -> str:
            return ja if lang == "ja" else en

        html = self._templates.get_template(template).render(
            lang=lang,
            t=t,
            site=self._title(lang),
            foot=t(*self._foot),
            path="/" + request.url.path.lstrip("/\\"),  # two slashes would lead to another site
            query=urlencode(sorted((k, v) for k, v in request.query_params.multi_items() if k != "lang")),
            csrf=value_or_default(ScopeState.from_scope(request.scope).csrf_token, ""),
            posted=request.method != "GET",  # the answer to a form has no address to read it at in another language
            signed_in=bool(request.scope.get("session")),
            **values,
        )
        response: Response[bytes] = Response(html.encode(), media_type=MediaType.HTML, status_code=status)
        if request.query_params.get("lang") in ("ja", "en"):
            response.set_cookie(Cookie("lang", value=lang, max_age=31_536_000, httponly=True, samesite="lax"))
        return response


def leading_to(origin: str, page: Response[bytes]) -> Response[bytes]:
    """The page with a form that may be sent to another origin, which is told from where it came."""
    policy = HEADERS["Content-Security-Policy"].replace("form-action 'self'", f"form-action 'self' {origin}")
    page.headers.update({"Content-Security-Policy": policy, "Referrer-Policy": "strict-origin"})
    return page


def cookie_session(
    settings: Settings, secret: bytes, seconds: int, *, exclude: Sequence[str] = ()
) -> CookieBackendConfig:
    """Sessions in a sealed cookie, named after the body because browsers share cookies between the ports of one host.

    Paths that match ``exclude`` have none.
    """
    return CookieBackendConfig(
        exclude=list(exclude) or None,
        secret=secret,
        max_age=seconds,
        httponly=True,
        samesite="lax",
        secure=not settings.on_loopback,
        key=f"session-{settings.body}",
    )


async def json_body(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
    """Guard of calls that take JSON: a form posted from a page elsewhere must not pass as one.

    Guards are coroutines, though none waits: the framework runs others on threads, which costs more than all they do.
    """
    kind = connection.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(status_code=415)


def here(port: int) -> Any:
    """Guard of a program that answers its own machine: lets in browsers that believe to be there. Another name that leads here is
    another's trick (DNS rebinding)."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if connection.headers.get("host", "") not in {f"{name}:{port}" for name in LOOPBACK}:
            raise NotFound("There is nothing here.", ja="ここには何もありません。")

    return guard


def secure_headers(app: ASGIApp) -> ASGIApp:
    """Around the whole application, so that refusals of its router have the security headers too."""

    async def with_headers(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await app(scope, receive, send_on)

    return with_headers


def make_app(
    settings: Settings,
    observe: Observer,
    handlers: Sequence[ControllerRouterHandler],
    health: Callable[[], Health],
    *,
    pages: Pages | None = None,
    csrf_secret: str = "",
    csrf_exclude: Sequence[str] = (),
    middleware: Sequence[Any] = (),
) -> Litestar:
    """The ASGI application of one institution."""

    @get("/health", summary="Whether this institution works", tags=["operation"])
    async def health_route() -> Response[dict[str, str]]:
        state = await asyncio.to_thread(health)
        body = {
            "status": "ok" if state.ok else "attention",
            "body": settings.body,
            "role": settings.role,
            **state.details,
        }
        return Response(body, status_code=200 if state.ok else 503)

    @get("/metrics", media_type=MediaType.TEXT, summary="Prometheus metrics", tags=["operation"])
    async def metrics_route() -> bytes:
        return observe.metrics()

    def wants_page(request: Request[Any, Any, Any]) -> bool:
        accept = request.headers.get("accept", "")
        return pages is not None and "text/html" in accept and "json" not in accept

    def answer(request: Request[Any, Any, Any], error: RenkeiError) -> Response[Any]:
        problem = error.problem(language(request, settings.language))
        if pages is not None and wants_page(request):
            return pages.render(request, "problem.html", status=error.status, problem=problem)
        return Response(problem, status_code=error.status, media_type="application/problem+json", headers=_retry(error))

    def ours(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        assert isinstance(error, RenkeiError)
        return answer(request, error)

    def http(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        assert isinstance(error, HTTPException)
        return answer(request, _of_http(error))

    def nested(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        return answer(
            request, Malformed("The request is nested too deeply.", ja="入れ子が深すぎます。", code="http-400")
        )

    def unstorable(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        return answer(
            request, Malformed("A value holds characters that cannot be kept.", ja="使えない文字があります。")
        )

    def away(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        observe.failure("database")
        return answer(
            request,
            Unavailable(
                "The database does not take this now.",
                ja="データベースが一時的に応答しません。",
                code="database",
                remedy="Try again; an idempotency key keeps it from being done twice.",
                remedy_ja="もう一度お試しください。冪等キーを付ければ二重になりません。",
            ),
        )

    def no_text(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        return answer(
            request,
            Malformed("The request is not UTF-8 text.", ja="リクエストが UTF-8 ではありません。", code="http-400"),
        )

    def unknown(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        reference = observe.failure("web")
        return answer(
            request,
            RenkeiError(
                f"Something failed here. Reference {reference}.",
                ja=f"内部でエラーが起きました。受付番号 {reference}。",
                code="internal",
                status=500,
                remedy="Try again; if it repeats, tell the operator the reference.",
                remedy_ja="もう一度お試しください。続く場合は受付番号を運用担当にお知らせください。",
                reference=reference,
            ),
        )

    def nowhere(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        """No such file, or a name that no file can have: the framework fails on some of these."""
        return answer(request, _of_http(NotFoundException()))

    static = create_static_files_router(
        path="/static",
        directories=[HERE / "static"],
        include_in_schema=False,
        exception_handlers={HTTPException: nowhere, Exception: nowhere},
    )
    return Litestar(
        [health_route, metrics_route, static, *handlers],
        exception_handlers={
            RenkeiError: ours,
            HTTPException: http,
            RecursionError: nested,
            DataError: unstorable,
            OperationalError: away,
            UnicodeDecodeError: no_text,
            Exception: unknown,
        },
        csrf_config=CSRFConfig(
            secret=csrf_secret,
            cookie_name=f"csrf-{settings.body}",  # browsers share cookies between the ports of one host
            cookie_samesite="strict",
            cookie_httponly=True,
            cookie_secure=not settings.on_loopback,
            exclude=list(csrf_exclude) or None,
        )
        if csrf_secret
        else None,
        middleware=list(middleware),
        request_max_body_size=MAX_BODY,
        openapi_config=OpenAPIConfig(
            title=f"Renkei {settings.role}",
            version=__version__,
            path="/schema",
            use_handler_docstrings=True,
            render_plugins=[ReferencePage(), Description(), YamlDescription(path=["/openapi.yaml", "/openapi.yml"])],
        ),
        logging_config=None,
        debug=False,
    )


def _retry(error: RenkeiError) -> dict[str, str]:
    return {"Retry-After": "1"} if error.status in (429, 503) else {}


def _of_http(error: HTTPException) -> RenkeiError:
    """The framework's own refusals, in our form: no value of the request is repeated."""
    fields = [
        str(e.get("key", "")) for e in (error.extra if isinstance(error.extra, list) else []) if isinstance(e, dict)
    ]
    sentences = {
        400: ("The request is not well formed", "リクエストの形式が正しくありません"),
        401: ("You are not signed in", "サインインしていません"),
        403: ("This is not allowed", "許可されていません"),
        404: ("There is nothing at this address", "このアドレスには何もありません"),
        405: ("This address does not accept that method", "この操作はできません"),
        413: ("The request is too large", "リクエストが大きすぎます"),
        415: ("This kind of content is not accepted", "この種類の内容は受け付けられません"),
    }
    remedies = {
        400: (
            "Compare it with /schema and send it again.",
            "/schema と照らし合わせて、もう一度送ってください。",
        ),
        413: (
            "Send less at once; many inquiries go into a file for /batches.",
            "一度に送る量を減らしてください。多数の照会は /batches にファイルで送れます。",
        ),
        415: (
            "Name the content type that /schema describes, and send that.",
            "/schema にある Content-Type で送ってください。",
        ),
        401: ("Sign in, or send a token.", "サインインするか、トークンを付けてください。"),
        403: ("Reload the page and try again.", "ページを読み直して、もう一度お試しください。"),
    }
    en, ja = sentences.get(error.status_code, ("The request cannot be answered", "リクエストに応えられません"))
    named = f": {', '.join(f for f in fields if f)}" if any(fields) else ""
    fallback = (
        "Check the address, or go back to the start. For programs, /schema lists what there is.",
        "アドレスを確認するか、最初に戻ってください。プログラム向けの一覧は /schema にあります。",
    )
    remedy, remedy_ja = remedies.get(error.status_code, fallback)
    code = "csrf" if isinstance(error, PermissionDeniedException) else f"http-{error.status_code}"
    return RenkeiError(
        f"{en}{named}.",
        ja=f"{ja}{named}。",
        remedy=remedy,
        remedy_ja=remedy_ja,
        code=code,
        status=error.status_code,
    )


async def serve(
    settings: Settings,
    observe: Observer,
    handlers: Sequence[ControllerRouterHandler],
    health: Callable[[], Health],
    **options: Any,
) -> None:
    """Serve until cancelled. Does nothing if the institution has no port."""
    if not settings.port:
        return
    app = secure_headers(make_app(settings, observe, handlers, health, **options))
    server = Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGI,
        websockets=False,
        log_enabled=False,
    )
    serving = asyncio.ensure_future(server.serve())
    try:
        await asyncio.shield(serving)
    finally:  # cancelling `serve` would leave its listener open: tell it to stop, then wait until it has
        server.stop()  # type: ignore[no-untyped-call]  # granian is untyped here
        await asyncio.wait({serving}, timeout=STOP_WITHIN)  # without cancelling: its threads still report to it
