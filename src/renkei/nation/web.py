"""A small HTTP client for loopback: what the demo, the smoke test and ``renkei inquire`` use to talk to the bodies as anyone would."""

from __future__ import annotations

import asyncio
import http.client
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from renkei.errors import RenkeiError, Unavailable

_clients = ThreadPoolExecutor(16, "client")
"""Threads of our own: in one process with the servers we call, sharing theirs would have both wait for the other."""


def _fetch(
    url: str, method: str, body: bytes | None, headers: dict[str, str], timeout: float
) -> tuple[int, dict[str, str], bytes]:
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        received: dict[str, str] = {}
        for name, value in response.getheaders():  # a header that comes twice (set-cookie) is kept line by line
            received[name.lower()] = f"{received[name.lower()]}\n{value}" if name.lower() in received else value
        return response.status, received, response.read()
    except (OSError, http.client.HTTPException):
        raise Unavailable(
            f"Nothing answers at {parts.netloc}.",
            ja=f"{parts.netloc} が応答しません。",
            remedy="Is the demo running? `make demo`.",
            remedy_ja="デモは起動していますか（`make demo`）。",
            code="no-web",
        ) from None
    finally:
        connection.close()


async def fetch(
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout: float = 40.0,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body; ``Unavailable`` if nothing answers."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_clients, _fetch, url, method, body, headers or {}, timeout)


async def call(url: str, token: str, data: Any = None, *, prefer: str = "", key: str = "", language: str = "en") -> Any:
    """A JSON call to a gateway; its problem details are raised as an error."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "Accept-Language": language}
    if prefer:
        headers["Prefer"] = prefer
    if key:
        headers["Idempotency-Key"] = key
    body = None
    if data is not None:
        headers["Content-Type"], body = "application/json", msgspec.json.encode(data)
    status, _, raw = await fetch(url, method="GET" if data is None else "POST", body=body, headers=headers)
    try:
        found = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        found = raw.decode("utf-8", "replace")
    if status >= 400 and isinstance(found, dict):
        said, remedy = found.get("detail", ""), found.get("remedy", "")
        family = Unavailable if status == 503 else RenkeiError
        raise family(said, ja=said, remedy=remedy, remedy_ja=remedy, code=found.get("title", "error"), status=status)
    return found
