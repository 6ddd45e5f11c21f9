"""How the demo's other sites sign residents in: OpenID Connect at My Portal, by code with PKCE. A site learns a name that is made up for it
alone, and nothing else."""

from __future__ import annotations

import os
import secrets
import urllib.parse
from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry
from litestar import Request, Response, get, post
from litestar.response import Redirect

from renkei.errors import NotGenuine, RenkeiError
from renkei.institution.entry import Render
from renkei.institution.web import language
from renkei.nation.web import fetch

AnyRequest = Request[Any, Any, Any]


def session_key(folder: Path, site: str) -> bytes:
    """With which a site seals its sessions: its own, though sites share a folder."""
    path = folder / f"{site}.key"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(os.urandom(32))
    return path.read_bytes()


class SignOn:
    """A site at the portal: ``site`` is its id there, ``origin`` its own address."""

    def __init__(self, site: str, origin: str, portal: str, secret: str) -> None:
        self._site, self._origin, self.portal, self._secret = site, origin, portal, secret

    def address(self, state: str, nonce: str, verifier: str) -> str:
        """Where somebody signs in."""
        proof = urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self._site,
            "redirect_uri": f"{self._origin}/in",
            "scope": "openid",
            "state": state,
            "nonce": nonce,
            "code_challenge": proof,
            "code_challenge_method": "S256",
        }
        return f"{self.portal}/oidc/authorize?{urllib.parse.urlencode(asked)}"

    async def subject(self, code: str, nonce: str, verifier: str) -> str:
        """By which name the portal tells us of whoever came back with this code; ``NotGenuine`` otherwise."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": f"{self._origin}/in",
            "code_verifier": verifier,
            "client_id": self._site,
            "client_secret": self._secret,
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urllib.parse.urlencode(form).encode()
        status, _, raw = await fetch(f"{self.portal}/oidc/token", method="POST", body=body, headers=kind)
        _, _, keys = await fetch(f"{self.portal}/oidc/keys")
        rules = JWTClaimsRegistry(
            iss={"essential": True, "value": self.portal},
            aud={"essential": True, "value": self._site},
            nonce={"essential": True, "value": nonce},
            exp={"essential": True},
        )
        try:
            if status != 200:
                raise ValueError
            token = jwt.decode(
                msgspec.json.decode(raw)["id_token"], KeySet.import_key_set(msgspec.json.decode(keys)), ["ES256"]
            )
            rules.validate(token.claims)
            return str(token.claims["sub"])
        except (JoseError, ValueError, KeyError):
            raise _not_signed_in("sign-in") from None


def sign_on_pages(sign_on: SignOn, render: Render, home: Callable[[str], str]) -> list[Any]:
    """``/open``, ``/in``, ``/leave``. ``home``: where somebody of this name goes on."""

    def problem(request: AnyRequest, error: RenkeiError) -> Response[bytes]:
        return render(request, "problem.html", status=error.status, problem=error.problem(language(request, "ja")))

    @post("/open", include_in_schema=False)
    async def open_(request: AnyRequest) -> Response[bytes]:
        """A page, not a redirect: a form's answer must not lead to another site."""
        drawn = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        request.set_session(drawn)
        return render(request, "onward.html", address=sign_on.address(**drawn))

    @get("/in", include_in_schema=False)
    async def signed_in(request: AnyRequest) -> Response[Any]:
        drawn, query = request.session, request.query_params
        if "error" in query:
            return Redirect("/")
        if not drawn.get("state") or query.get("state") != drawn["state"] or query.get("iss") != sign_on.portal:
            return problem(request, _not_signed_in("state"))
        try:
            sub = await sign_on.subject(query.get("code", ""), drawn["nonce"], drawn["verifier"])
        except RenkeiError as error:
            return problem(request, error)
        request.set_session({"sub": sub})
        return Redirect(home(sub))

    @post("/leave", include_in_schema=False)
    async def leave(request: AnyRequest) -> Redirect:
        request.clear_session()
        return Redirect("/", status_code=303)

    return [open_, signed_in, leave]


def _not_signed_in(code: str) -> NotGenuine:
    return NotGenuine(
        "Your sign-in could not be confirmed.",
        ja="サインインを確認できません。",
        remedy="Go back to the start and sign in again.",
        remedy_ja="最初に戻り、もう一度サインインしてください。",
        code=code,
    )
