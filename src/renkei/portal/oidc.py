"""Single sign-on: the portal tells other sites that it is the same resident again, and nothing else (OpenID Connect Core 1.0; RFC 6749,
7636, 9207).

What always holds: each site (sector) has another name for a resident, drawn by chance, so that no two can compare their users; a code is
good once, for a minute, for who asked and where it asked it to; nobody is sent anywhere but to an address that was registered.

Registered sites stand in ``clients.toml`` of the portal's home::

    [[client]]
    id = "demo-bank"
    ja = "えにし銀行"
    en = "Enishi Bank"
    redirect_uris = ["https://bank.example/signed-in"]
    logout_uris = ["https://bank.example/"]
    secret_sha256 = "…"            # none for a program that can keep no secret
    sector = "bank.example"        # none: the first redirect's host
"""

from __future__ import annotations

import hmac
import re
import secrets
import urllib.parse
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import sqlalchemy as sa
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from renkei.errors import Malformed, SetupError
from renkei.institution.database import Database
from renkei.institution.settings import Clock, Home
from renkei.portal import store

CODE_SECONDS, TOKEN_SECONDS = 60, 600
PARAMETERS = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "prompt",
    "max_age",
)
LONGEST = 1000
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
"""A code challenge (RFC 7636 §4.2)."""


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A site that residents sign in to."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,64}\Z")]
    ja: str
    en: str
    redirect_uris: tuple[str, ...]
    logout_uris: tuple[str, ...] = ()
    secret_sha256: str = ""
    sector: str = ""

    @property
    def group(self) -> str:
        """Sites of one sector know a resident by one name."""
        return self.sector or urllib.parse.urlsplit(self.redirect_uris[0]).netloc

    def title(self, lang: str) -> str:
        return self.ja if lang == "ja" else self.en


class _Clients(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    client: tuple[Client, ...] = ()


class OAuthError(Exception):
    """What a site is told (RFC 6749 §4.1.2.1, §5.2)."""

    def __init__(self, code: str, said: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.code, self.said, self.status = code, said, status


class Asked(NamedTuple):
    """What a site asks of a resident's browser, found good."""

    client: Client
    redirect_uri: str
    scope: str
    state: str
    nonce: str
    challenge: str
    prompt: frozenset[str]
    max_age: int | None

    def back(self, issuer: str, **parameters: str) -> str:
        """The address that the browser goes back to."""
        told = {**parameters, **({"state": self.state} if self.state else {}), "iss": issuer}
        mark = "&" if urllib.parse.urlsplit(self.redirect_uri).query else "?"
        return f"{self.redirect_uri}{mark}{urllib.parse.urlencode(told)}"


class Provider:
    """The portal as OpenID provider. ``issuer`` is its address."""

    def __init__(self, home: Home, issuer: str, database: Database, clock: Clock) -> None:
        self.issuer, self._database, self._clock = issuer, database, clock
        file = home.read_toml("clients.toml", _Clients) if (home / "clients.toml").exists() else _Clients()
        self.clients = {c.id: c for c in file.client}
        for client in file.client:
            if not client.redirect_uris or any(
                not _is_address(u) for u in (*client.redirect_uris, *client.logout_uris)
            ):
                raise SetupError(
                    f"clients.toml: {client.id} has no usable address.",
                    ja=f"clients.toml: {client.id} の URI が正しくありません。",
                    remedy="Give https addresses (or loopback ones) without a fragment.",
                    remedy_ja="フラグメントのない https（またはループバック）の URI を指定してください。",
                    code="settings-wrong",
                )
        self._key = signing_key(home / "sign-on.pem")

    # ------------------------------------------------------------------ described

    def discovery(self) -> dict[str, Any]:
        """OpenID Connect Discovery 1.0 §3."""
        at = f"{self.issuer}/oidc"
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "userinfo_endpoint": f"{at}/userinfo",
            "jwks_uri": f"{at}/keys",
            "end_session_endpoint": f"{at}/logout",
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "scopes_supported": ["openid"],
            "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "amr"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "prompt_values_supported": ["none", "login", "consent"],
            "authorization_response_iss_parameter_supported": True,
            "ui_locales_supported": ["ja", "en"],
        }

    def keys(self) -> dict[str, Any]:
        """The keys that ID tokens verify under (RFC 7517)."""
        return {"keys": [self._key.as_dict(private=False)]}

    # ------------------------------------------------------------------ a browser is sent here

    def read(self, query: Mapping[str, str]) -> Asked:
        """What a site asks. ``Malformed`` if it cannot be told so, for who asks or where to is not known; ``OAuthError`` with the
        ``Asked`` beside it otherwise (``refusal``)."""
        client = self.clients.get(query.get("client_id", ""))
        redirect = query.get("redirect_uri", "")
        if client is None or redirect not in client.redirect_uris:
            raise Malformed(
                "The site that sent you here is not registered, or wants you sent to an address that is not its own.",
                ja="リンク元のサイトが登録されていないか、戻り先のアドレスが登録と異なります。",
                remedy="Go back and tell the site.",
                remedy_ja="サイトの運営者にお知らせください。",
                code="site-unknown",
            )
        return Asked(
            client,
            redirect,
            query.get("scope", ""),
            query.get("state", ""),
            query.get("nonce", ""),
            query.get("code_challenge", ""),
            frozenset(query.get("prompt", "").split()),
            int(query["max_age"]) if re.fullmatch(r"[0-9]{1,9}", query.get("max_age", "")) else None,
        )

    def check(self, asked: Asked, query: Mapping[str, str]) -> None:
        """``OAuthError`` for what the site is to be told."""
        if any(len(query.get(p, "")) > LONGEST for p in PARAMETERS) or ("max_age" in query and asked.max_age is None):
            raise OAuthError("invalid_request")
        if "request" in query or "request_uri" in query:
            raise OAuthError("request_not_supported")
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type")
        if "openid" not in asked.scope.split():
            raise OAuthError("invalid_scope", "openid is missing")
        if query.get("code_challenge_method") != "S256" or not CHALLENGE.fullmatch(asked.challenge):
            raise OAuthError("invalid_request", "a code_challenge with S256 is needed")
        if "none" in asked.prompt and len(asked.prompt) > 1:
            raise OAuthError("invalid_request", "prompt=none stands alone")

    async def agreed(self, account: str, client: Client) -> bool:
        """Whether the resident has let this site know them again."""
        return await self._database.read(lambda c: store.consent(c, account, client.id) is not None)

    async def allow(self, account: str, asked: Asked, since: int, how: str) -> str:
        """The code for this site, and the address that takes it there. The resident's agreement is kept."""
        code, now = secrets.token_urlsafe(32), self._clock()
        grant = {
            "digest": sha256(code.encode()).digest(),
            "kind": "code",
            "client": asked.client.id,
            "account": account,
            "redirect_uri": asked.redirect_uri,
            "nonce": asked.nonce,
            "challenge": asked.challenge,
            "auth_time": since,
            "amr": how,
            "expires": now + CODE_SECONDS * 1000,
            "used": False,
        }

        def commit(connection: sa.Connection) -> None:
            store.agree(connection, account, asked.client.id, now)
            store.add_grant(connection, grant, now)

        await self._database.write(commit)
        return asked.back(self.issuer, code=code)

    # ------------------------------------------------------------------ a site asks

    async def token(self, form: Mapping[str, str], authorization: str) -> dict[str, Any]:
        """The answer of the token endpoint; ``OAuthError`` otherwise."""
        client = self._authenticated(form, authorization)
        if form.get("grant_type") != "authorization_code":
            raise OAuthError("unsupported_grant_type")
        digest, now, access = sha256(form.get("code", "").encode()).digest(), self._clock(), secrets.token_urlsafe(32)
        proof = urlsafe_b64encode(sha256(form.get("code_verifier", "").encode()).digest()).rstrip(b"=").decode()

        def commit(connection: sa.Connection) -> Any:
            row = store.grant(connection, digest, "code")
            if row is None or row.client != client.id or now >= row.expires:
                return None
            if not store.use_grant(connection, digest):
                store.revoke_grants(connection, client.id, row.account)  # somebody has it twice (RFC 6749 §4.1.2)
                return None
            if row.redirect_uri != form.get("redirect_uri") or not hmac.compare_digest(row.challenge, proof):
                return None
            given = {**row._asdict(), "digest": sha256(access.encode()).digest(), "kind": "access"}
            store.add_grant(connection, {**given, "expires": now + TOKEN_SECONDS * 1000, "used": False}, now)
            return row, store.pairwise(connection, row.account, client.group)

        found = await self._database.write(commit)
        if found is None:
            raise OAuthError("invalid_grant")
        row, sub = found
        claims = {
            "iss": self.issuer,
            "sub": sub,
            "aud": client.id,
            "iat": now // 1000,
            "exp": now // 1000 + TOKEN_SECONDS,
            "auth_time": row.auth_time // 1000,
            "amr": [row.amr],
            **({"nonce": row.nonce} if row.nonce else {}),
        }
        id_token = jwt.encode({"alg": "ES256", "kid": self._key.kid or ""}, claims, self._key)
        return {
            "access_token": access,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "id_token": id_token,
            "scope": "openid",
        }

    async def userinfo(self, authorization: str) -> dict[str, str]:
        """What a site is told of a resident: the name it has for them, and nothing else."""
        scheme, _, token = authorization.partition(" ")
        digest, now = sha256(token.encode()).digest(), self._clock()

        def find(connection: sa.Connection) -> str | None:
            row = store.grant(connection, digest, "access")
            if row is None or now >= row.expires or row.used or row.client not in self.clients:
                return None
            return store.pairwise_of(connection, row.account, self.clients[row.client].group)

        sub = await self._database.read(find) if scheme.lower() == "bearer" else None
        if sub is None:
            raise OAuthError("invalid_token", status=401)
        return {"sub": sub}

    def leaving(self, query: Mapping[str, str]) -> str:
        """Where a browser goes after signing out, if its site may have it sent there (RP-Initiated Logout 1.0 §3); else nowhere."""
        to, named = query.get("post_logout_redirect_uri", ""), query.get("client_id", "")
        try:
            told = jwt.decode(query.get("id_token_hint", ""), self._key, algorithms=["ES256"]).claims
            named = str(told.get("aud", "")) if told.get("iss") == self.issuer else ""
        except (JoseError, ValueError, TypeError):  # none was sent, or it is not ours
            pass
        client = self.clients.get(named)
        if client is None or to not in client.logout_uris:
            return ""
        state = query.get("state", "")[:LONGEST]
        return f"{to}?{urllib.parse.urlencode({'state': state})}" if state else to

    def _authenticated(self, form: Mapping[str, str], authorization: str) -> Client:
        """The client that asks (RFC 6749 §2.3.1)."""
        named, secret = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, basic = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                pair = b64decode(basic, validate=True).decode().partition(":")
            except ValueError:
                raise OAuthError("invalid_client", status=401) from None
            named, secret = urllib.parse.unquote_plus(pair[0]), urllib.parse.unquote_plus(pair[2])
        client = self.clients.get(named)
        digest = sha256(secret.encode()).hexdigest() if secret else ""
        if client is None or not hmac.compare_digest(client.secret_sha256, digest):
            raise OAuthError("invalid_client", status=401)
        return client


def _is_address(text: str) -> bool:
    parts = urllib.parse.urlsplit(text)
    local = parts.hostname in ("127.0.0.1", "localhost", "::1")
    return bool(parts.netloc) and not parts.fragment and (parts.scheme == "https" or (parts.scheme == "http" and local))


def signing_key(path: Path) -> ECKey:
    """A P-256 key in a file of its own, made at the first start."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(ECKey.generate_key("P-256").as_pem(private=True))
    bare = ECKey.import_key(path.read_bytes())
    return ECKey.import_key(path.read_bytes(), {"kid": bare.thumbprint(), "use": "sig", "alg": "ES256"})
