"""A browser without script, with cookies and CSRF fields; and the commission's console as its officers use it."""

from __future__ import annotations

import html
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from tests.world import Running


class Browser:
    """Somebody at one body's pages."""

    passphrase = ""

    def __init__(self, url: str, lang: str = "en") -> None:
        self.url, self.lang = url, lang
        self._open = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), urllib.request.HTTPErrorProcessor()
        )
        self.at = ""

    def get(self, path: str) -> tuple[int, Any]:
        return self._do(urllib.request.Request(self.url + path))

    def form(self, path: str, to: str = "", /, **fields: str | list[str]) -> tuple[int, Any]:
        """Open the page at ``path``, fill in its form, send it (``to``); follow on."""
        _, page = self.get(path)
        token = re.search(r'name="_csrf_token" value="([^"]*)"', page) if isinstance(page, str) else None
        data = {"_csrf_token": html.unescape(token[1]) if token else "", "passphrase": self.passphrase, **fields}
        return self._do(
            urllib.request.Request(self.url + (to or path), urllib.parse.urlencode(data, doseq=True).encode())
        )

    def _do(self, request: urllib.request.Request) -> tuple[int, Any]:
        request.add_header("Accept", "text/html")
        request.add_header("Accept-Language", self.lang)
        try:
            with self._open.open(request, timeout=30) as response:
                self.at = response.url.removeprefix(self.url)
                status, raw, kind = response.status, response.read(), response.headers["content-type"]
        except urllib.error.HTTPError as error:
            status, raw, kind = error.code, error.read(), error.headers.get("content-type", "")
        return status, raw.decode() if "text/html" in kind or "xml" in kind else raw


class Console(Browser):
    """One officer (or nobody) at the console. ``form`` fills in the passphrase by itself."""

    def __init__(self, nation: Running, officer: str = "", lang: str = "en") -> None:
        super().__init__(nation.url("commission"), lang)
        self.passphrase = next((o.passphrase for o in nation.plan.officers if o.name == officer), "")
        if officer:
            status, text = self.form("/signin", officer=officer)
            assert status == 200, text
