"""Asking somebody over HTTP who is no institution of the network: a witness, or a witness's log. Bounded in time and size."""

from __future__ import annotations

import asyncio
import http.client
import io
import urllib.parse
from typing import Any

from renkei.errors import Unavailable

ANSWER_MOST = 16_000_000
ANSWER_WITHIN = 20.0


class _Received:
    """What was received, in the shape ``http.client`` reads from."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._raw)


async def fetch(
    url: str, body: bytes | None = None, *, most: int = ANSWER_MOST, within: float = ANSWER_WITHIN
) -> tuple[int, str]:
    """Status and text of a GET (with a ``body``: POST), as ``fetch_bytes``."""
    status, data = await fetch_bytes(url, body, most=most, within=within)
    try:
        return status, data.decode()
    except ValueError:
        raise _nothing(urllib.parse.urlsplit(url).netloc) from None


async def fetch_bytes(
    url: str,
    body: bytes | None = None,
    *,
    kind: str = "",
    token: str = "",
    lang: str = "",
    most: int = ANSWER_MOST,
    within: float = ANSWER_WITHIN,
) -> tuple[int, bytes]:
    """Status and content of a GET (with a ``body`` of a ``kind``: POST), all of it within a time and a size; ``Unavailable`` if it does
    not come so. ``token`` goes along as bearer's, ``lang`` as the language in
    which it is to be told. Follows no redirect."""
    parts = urllib.parse.urlsplit(url)
    tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    raw = bytearray()
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if tls else 80), ssl=tls or None
            )
            try:
                method, length = ("GET", "") if body is None else ("POST", f"Content-Length: {len(body)}\r\n")
                length += f"Content-Type: {kind}\r\n" if kind else ""
                length += f"Accept-Language: {lang}\r\n" if lang else ""
                length += f"Authorization: Bearer {token}\r\n" if token else ""
                head = f"{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{length}Connection: close\r\n\r\n"
                writer.write(head.encode("ascii") + (body or b""))
                while (chunk := await reader.read(65_536)) and len(raw) <= most:
                    raw += chunk
            finally:
                writer.close()
        response = http.client.HTTPResponse(_Received(bytes(raw[:most])))  # type: ignore[arg-type]  # it only reads
        response.begin()
        return response.status, response.read()
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ):  # TimeoutError is an OSError, IncompleteRead an HTTPException
        raise _nothing(parts.netloc) from None


def _nothing(where: str) -> Unavailable:
    return Unavailable(
        f"Nothing answers at {where}.",
        ja=f"{where} が応答しません。",
        code="no-answer",
        remedy="Check the address and that somebody answers there.",
        remedy_ja="アドレスと、相手が起動しているかを確認してください。",
    )
