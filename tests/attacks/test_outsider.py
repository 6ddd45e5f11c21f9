"""Adversary: someone without any key or token, who can reach the bus and the web servers.

Claims it tries to break: nobody is let onto the bus but who holds an enrolled body's key, and what is thrown at it stops nobody; no
address, header, method or body of a web request leads to a failure, a traceback, another site, or anything personal.
"""

import contextlib
import csv
import http.client
import json
import os
import re
import socket
import urllib.parse

import nats
import nats.errors
import nkeys
import pytest

from renkei.gateway.api import api
from renkei.gateway.pages import desk_pages
from renkei.institution.web import make_app
from renkei.portal.pages import portal_pages

BODIES = ("tax-union", "portal", "hub", "commission", "numbering-authority")


def routes(nation, body):
    """Every path with its methods that a running body serves, parameters filled in, from its own application."""
    institution = nation.world.institutions[body]
    handlers, options = [], {}
    if body == "tax-union":
        pages, options = desk_pages(institution)
        handlers = [api(institution), *pages]
    elif body == "portal":
        handlers, options = portal_pages(institution)
    app = make_app(institution.settings, institution.observe, handlers, institution.health, **options)
    found = []
    for route in app.routes:
        path = (
            route.path_format.replace("{id}", "0" * 64).replace("{position}", "1").replace("{file_path}", "renkei.css")
        )
        found.append((path, sorted(set(route.methods) - {"OPTIONS"})))
    return found


@pytest.fixture(scope="module")
def personal(nation):
    """What must never be shown to an outsider: names, numbers, local ids, tokens, sign-in codes."""
    with (nation.folder / "roll.csv").open(encoding="utf-8") as file:
        words = {word for row in csv.DictReader(file) for word in (row["name"], row["number"])}
    for persona in nation.plan.personas:
        words |= {persona.secret, *persona.local_ids.values()}
    return words | {p.token for p in nation.plan.places if p.token}


def ask(nation, body, raw):
    """Exactly these bytes to a web server; what it answers."""
    place = urllib.parse.urlsplit(nation.url(body))
    with socket.create_connection((place.hostname, place.port), timeout=10) as line:
        line.sendall(raw)
        answer = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            line.settimeout(5)
            while chunk := line.recv(65536):
                answer += chunk
    return answer


def head(method, path, *headers, body=b""):
    """A request of these parts, whatever they hold."""
    names = "\r\n".join(h.partition(":")[0].lower() for h in headers)
    own = [] if "host" in names else ["Host: localhost"]
    length = [f"Content-Length: {len(body)}"] if body and "content-length" not in names else []
    lines = [f"{method} {path} HTTP/1.1", *own, "Connection: close", *headers, *length]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def harmless(answer, personal, what):
    """No failure, no traceback, nothing personal, no way to another site, no script."""
    if not answer:
        return 0  # the server hung up: it is no request at all
    status = int(answer.split(b" ", 2)[1])
    start, _, text = answer.partition(b"\r\n\r\n")
    assert status < 500 or status in (501, 503, 505), (what, answer[:300])
    assert b"Traceback" not in text, what
    assert b"evil.example" not in start.lower(), what
    assert b'href="//' not in text, what
    assert b"<script" not in re.sub(rb'<script src="/static/[a-z]+\.js" defer></script>', b"", text.lower()), what
    found = [w for w in personal if w.encode() in answer]
    assert not found, (what, found)
    return status


HEADERS = (
    "Host: evil.example",
    "X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: host=evil.example",
    "X-Original-URL: /inquiries\r\nX-Rewrite-URL: /inquiries",
    "X-HTTP-Method-Override: DELETE\r\nX-Method-Override: PUT",
    "Authorization: Bearer \r\nAuthorization: Bearer x",
    "Authorization: Basic " + "A" * 8000,
    "Authorization: Bearer ' OR 1=1 --",
    "Accept: text/html\r\nAccept-Language: <script>alert(1)</script>",
    "Cookie: " + "; ".join(f"c{i}=x" for i in range(300)),
    "Cookie: session-tax-union=AAAA; session-portal=AAAA; csrf-portal=x; csrf-tax-union=x",
    "Origin: https://evil.example\r\nReferer: https://evil.example/",
    "X-Long: " + "a" * 60_000,
    "Range: bytes=0-,0-,0-",
    "Expect: 200-ok",
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13",
    "Content-Length: 5\r\nContent-Length: 6",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Prefer: wait=99999999999999999999",
    "Idempotency-Key: \xff\xfe",
)


@pytest.mark.parametrize("body", BODIES)
def test_no_header_on_any_route_opens_anything(nation, personal, body):
    """Every route the body serves, without a token, with each of the tricks."""
    private = 0
    for path, methods in routes(nation, body):
        for header in HEADERS:
            status = harmless(
                ask(nation, body, head(methods[0], path, *header.split("\r\n"))), personal, (path, header[:40])
            )
            private += status in (401, 403)
    assert private or body not in ("tax-union", "portal")


TRICKS = (
    "{}/../../keys.toml", "{}/%2e%2e/%2e%2e/keys.toml", "{}/%252e%252e%252fkeys.toml", "{}/..%5c..%5ckeys.toml", "{}%00", "{}/%00.css",
    "{}?x=%00&x=%ff&x[]=1", "{};x=1", "//evil.example{}", "/\\evil.example{}", "http://evil.example{}", "{}#<script>", "{}/",
    "{}?" + "a=1&" * 2000, "{}%0d%0aLocation:%20https://evil.example", "/.{}", "{}/" + "a/" * 500,
    "{}?lang=%3Cscript%3E&next=https://evil.example&before=-1&limit=999999999999999999999&below=1e9",
)  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_no_way_of_writing_an_address_opens_anything(nation, personal, body):
    """Traversal, double encoding, null bytes, other sites, endless queries, on every route."""
    for path, methods in routes(nation, body):
        for trick in TRICKS:
            for accept in ("text/html", "application/json"):
                raw = head(methods[0], trick.format(path), f"Accept: {accept}")
                harmless(ask(nation, body, raw), personal, (path, trick[:40]))


KINDS = (
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/csv",
    "application/x-msgpack",
)
RAW = (
    b"",
    b"{",
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b"\xff\xfe\x00",
    b"a=%ff&b=%00&_csrf_token=x",
    b"--x\r\n\r\n",
    b"null",
    b"1e999",
)


@pytest.mark.parametrize("body", ["tax-union", "portal"])
def test_no_body_of_any_kind_is_taken_without_a_token(nation, personal, body):
    """Malformed, deep, of another kind than it says, to every route and by every method: refused before anything is done."""
    for path, methods in routes(nation, body):
        for method in {*methods, "PUT", "DELETE", "TRACE"} - {"HEAD"}:
            for kind, raw in zip(KINDS * 2, RAW, strict=False):
                answer = ask(nation, body, head(method, path, f"Content-Type: {kind}", body=raw))
                status = harmless(answer, personal, (method, path, kind, raw[:10]))
                assert method in ("GET", "HEAD") or status in (0, 400, 401, 403, 404, 405, 413, 415, 501), (
                    method,
                    path,
                    status,
                )


def test_what_is_too_large_is_turned_away(nation, personal):
    """Megabytes where a few kilobytes are expected, announced or not."""
    for announced in (5_000_000, 10**18):
        raw = head(
            "POST", "/inquiries", "Content-Type: application/json", f"Content-Length: {announced}", body=b"x" * 1000
        )
        harmless(ask(nation, "tax-union", raw), personal, announced)
    token = nation.plan.place("tax-union").token
    for path in ("/inquiries", "/flags", "/subjects"):
        parts = (f"Authorization: Bearer {token}", "Content-Type: application/json", "Content-Length: 5000000")
        assert b" 413 " in ask(nation, "tax-union", head("POST", path, *parts, body=b"x" * 1000)).split(b"\r\n")[0]


# ------------------------------------------------------------------ the bus


def connect(nation, **options):
    """Whether the bus lets one in so."""

    async def go():
        async def quiet(_):
            pass

        client = await nats.connect(
            nation.world.bus.url, allow_reconnect=False, connect_timeout=3, error_cb=quiet, **options
        )
        await client.close()

    try:
        nation.do(go())
    except (nats.errors.Error, TimeoutError, OSError):
        return False
    return True


def test_nobody_is_let_in_without_an_enrolled_key(nation):
    """No key, an unknown key, a name and password, a token; a good key is the control."""
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()
    assert connect(nation, nkeys_seed_str=nation.plan.operator)
    for options in ({}, {"nkeys_seed_str": seed}, {"user": "hub", "password": "hub"}, {"token": "hub"}):
        assert not connect(nation, **options), options


def throw(nation, *pieces, read=True):
    """Bytes at the bus; what it says."""
    with socket.create_connection(("127.0.0.1", nation.world.bus.node.port), timeout=5) as line:
        line.settimeout(2)
        said = line.recv(65536) if read else b""
        with contextlib.suppress(OSError):
            for piece in pieces:
                line.sendall(piece)
            while chunk := line.recv(65536):
                said += chunk
    return said


def test_what_is_thrown_at_the_bus_stops_nobody(nation, unharmed):
    """Garbage, another's public key with no signature or a wrong one, huge frames, many connections that say nothing."""
    info = json.loads(throw(nation, b"PING\r\n").split(b"\r\n")[0].removeprefix(b"INFO "))
    assert info["auth_required"]
    hub = nation.world.institutions["hub"].keys.bus_public
    for words in (
        {"nkey": hub, "sig": ""},
        {"nkey": hub, "sig": "A" * 86},
        {"nkey": "U" + "A" * 55, "sig": "A" * 86},
        {"user": "operator", "pass": "operator"},
        {"jwt": "e30.e30.e30"},
    ):
        said = throw(nation, b"CONNECT " + json.dumps({"verbose": True, **words}).encode() + b"\r\nSUB > 1\r\nPING\r\n")
        assert b"Authorization Violation" in said, words
        assert b"MSG" not in said
    for garbage in (
        os.urandom(100_000),
        b"PUB mail.hub.hub.live 8000000\r\n" + bytes(200_000),
        b"CONNECT " + b"{" * 100_000,
        b"\0" * 5000,
    ):
        throw(nation, garbage)
    idle = [socket.create_connection(("127.0.0.1", nation.world.bus.node.port), timeout=5) for _ in range(200)]
    try:
        unharmed()
    finally:
        for line in idle:
            line.close()


def test_many_slow_and_silent_visitors_of_the_web_stop_nobody(nation, unharmed):
    """Connections that never finish a request."""
    place = urllib.parse.urlsplit(nation.url("tax-union"))
    idle = [http.client.HTTPConnection(place.hostname, place.port, timeout=5) for _ in range(100)]
    try:
        for line in idle:
            line.connect()
            line.sock.sendall(b"POST /inquiries HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        unharmed()
    finally:
        for line in idle:
            line.close()
