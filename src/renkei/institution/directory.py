"""Clerks from the body's own directory: they sign in where they sign in to everything else (OpenID Connect), and their groups say what
they may do here.

Authorization code with PKCE (RFC 7636), ``state``, ``nonce`` and, if the provider tells it, ``iss`` (RFC 9207). What the directory says is
believed for ``HOURS``: whoever was removed there is out at latest then; whose group is removed from ``settings.toml``, at once.
"""

from __future__ import annotations

import secrets
import urllib.parse
from base64 import urlsafe_b64encode
from collections.abc import Collection, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jwt import JWTClaimsRegistry

from renkei.errors import NotGenuine, Refused, Unavailable
from renkei.institution.settings import Clerk, DirectorySettings, Duty

HOURS = 1
ALGORITHMS = ["RS256", "ES256", "PS256", "EdDSA"]
ANSWER_MOST = 1 << 20
"""Bytes."""
WITHIN = 10.0


class Begun(NamedTuple):
    """A sign-in that was begun: what is kept in the visitor's session until they come back."""

    state: str
    nonce: str
    verifier: str


class Directory:
    """The directory of one body."""

    def __init__(self, settings: DirectorySettings, back: str) -> None:
        """``back``: the address the provider sends browsers back to, which it knows."""
        self._settings, self._back = settings, back
        self._about: dict[str, Any] = {}

    async def begin(self) -> tuple[str, Begun]:
        """Where to send the browser, and what to keep."""
        about = await self._discovered()
        begun = Begun(*(secrets.token_urlsafe(32) for _ in range(3)))
        asked = {
            "response_type": "code",
            "client_id": self._settings.client,
            "redirect_uri": self._back,
            "scope": self._settings.scope,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": urlsafe_b64encode(sha256(begun.verifier.encode()).digest()).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        address = str(about["authorization_endpoint"])
        return f"{address}{'&' if '?' in address else '?'}{urllib.parse.urlencode(asked)}", begun

    async def finish(self, query: Mapping[str, str], begun: Begun) -> Clerk:
        """Who came back; ``NotGenuine`` if it is not what was begun, ``Refused`` for somebody with nothing to do here."""
        about = await self._discovered()
        known = "iss" not in query or query["iss"] == self._settings.issuer
        if (
            not begun.state
            or not secrets.compare_digest(query.get("state", ""), begun.state)
            or not known
            or "code" not in query
        ):
            raise not_signed_in("state")
        secret = Path(self._settings.secret).read_text("utf-8").strip() if self._settings.secret else ""
        form = {
            "grant_type": "authorization_code",
            "code": query["code"],
            "redirect_uri": self._back,
            "code_verifier": begun.verifier,
            "client_id": self._settings.client,
            **({"client_secret": secret} if secret else {}),
        }
        told = await self._call(str(about["token_endpoint"]), form)
        keys = await self._call(str(about["jwks_uri"]))
        return self._clerk(self._claims(told, keys, begun.nonce))

    def _claims(self, told: dict[str, Any], keys: dict[str, Any], nonce: str) -> dict[str, Any]:
        rules = JWTClaimsRegistry(
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client},
            nonce={"essential": True, "value": nonce},
            exp={"essential": True},
            sub={"essential": True},
        )
        try:
            token = jwt.decode(told["id_token"], KeySet.import_key_set(keys), ALGORITHMS)  # type: ignore[arg-type]
            rules.validate(token.claims)
        except (JoseError, ValueError, KeyError, TypeError):
            raise not_signed_in("sign-in") from None
        return dict(token.claims)

    def _clerk(self, claims: Mapping[str, Any]) -> Clerk:
        """The clerk of these claims."""
        s = self._settings
        told = claims.get(s.groups_claim)
        groups = {g for g in (told if isinstance(told, list) else [told]) if isinstance(g, str)}
        return clerk_of_groups(claims.get(s.name_claim), groups, s.groups)

    async def _discovered(self) -> dict[str, Any]:
        """What the provider says of itself, once; ``Unavailable`` if it does not answer, or is another than it should be."""
        if not self._about:
            about = await self._call(f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
            wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if about.get("issuer") != self._settings.issuer or not all(isinstance(about.get(k), str) for k in wanted):
                raise away()
            self._about = about
        return self._about

    @staticmethod
    async def _call(address: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            async with httpx.AsyncClient(timeout=WITHIN) as client:
                answer = await (client.post(address, data=form) if form else client.get(address))
            if form and answer.status_code in (400, 401, 403):
                raise not_signed_in("sign-in")
            if answer.status_code != 200 or len(answer.content) > ANSWER_MOST:
                raise away()
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except (httpx.HTTPError, msgspec.DecodeError):
            raise away() from None


def clerk_of_groups(name: object, groups: Collection[str], duties_of: Mapping[str, tuple[Duty, ...]]) -> Clerk:
    """The clerk with the duties of all these groups; ``Refused`` if they have none, ``NotGenuine`` for what is no name."""
    duties: tuple[Duty, ...] = tuple(dict.fromkeys(d for g in duties_of if g in groups for d in duties_of[g]))
    if not isinstance(name, str) or not 0 < len(name) <= 64 or not name.isprintable():
        raise not_signed_in("name")
    if not duties:
        raise Refused(
            "Nothing here is among the duties of your groups.",
            ja="所属グループに、この窓口の権限がありません。",
            code="no-duties",
            remedy="Ask whoever administers your organisation's directory.",
            remedy_ja="組織の利用者管理の担当者にご相談ください。",
        )
    return Clerk(name, "", duties)


def away() -> Unavailable:
    return Unavailable(
        "Your organisation's directory does not answer as it should.",
        ja="組織の認証サーバーが正しく応答しません。",
        code="directory",
        remedy="Try again; if it stays so, tell whoever runs it.",
        remedy_ja="しばらくしてからもう一度お試しください。続く場合は管理者にお知らせください。",
    )


def not_signed_in(code: str) -> NotGenuine:
    return NotGenuine(
        "You were not signed in.",
        ja="サインインできませんでした。",
        code=code,
        remedy="Begin again, in one window.",
        remedy_ja="一つの画面で、最初からやり直してください。",
    )
