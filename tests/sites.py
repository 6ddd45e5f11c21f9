"""Other sites that residents sign in to, for tests: registered at the portal, driven by Authlib, which no one here wrote."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import tomli_w
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.jwk import KeySet

SECRET = "a secret of the bank's"
SITES: dict[str, dict[str, Any]] = {
    "bank": {"secret": SECRET, "at": "https://bank.example"},
    "shop": {"secret": "", "at": "https://shop.example"},
    "shop-app": {"secret": "", "at": "https://app.shop.example", "sector": "shop.example"},
}


def register(portal: Path, sites: dict[str, dict[str, Any]] = SITES) -> None:
    """Write the portal's ``clients.toml``."""
    clients = [
        {
            "id": name,
            "ja": f"{name}（テスト）",
            "en": f"The {name}",
            "redirect_uris": [site["at"] + "/in"],
            "logout_uris": [site["at"] + "/"],
            "secret_sha256": sha256(site["secret"].encode()).hexdigest() if site["secret"] else "",
            "sector": site.get("sector", ""),
        }
        for name, site in sites.items()
    ]
    (portal / "clients.toml").write_text(tomli_w.dumps({"client": clients}), "utf-8")


class Site:
    """One site at work."""

    def __init__(self, issuer: str, name: str, sites: dict[str, dict[str, Any]] = SITES) -> None:
        self.about = httpx.get(f"{issuer}/.well-known/openid-configuration").json()
        self.keys = KeySet.import_key_set(httpx.get(self.about["jwks_uri"]).json())
        site = sites[name]
        self.name, self.redirect = name, site["at"] + "/in"
        self.client = OAuth2Client(
            name,
            site["secret"] or None,
            token_endpoint_auth_method="client_secret_basic" if site["secret"] else "none",
            scope="openid",
            redirect_uri=self.redirect,
            code_challenge_method="S256",
        )

    def ask(self, *, verifier: str = "v" * 60, **more: str) -> tuple[str, str]:
        """The address to send a browser to, and the state."""
        made = self.client.create_authorization_url(
            self.about["authorization_endpoint"], code_verifier=verifier, nonce="n-1", **more
        )
        return made

    def redeem(self, address: str, state: str, *, verifier: str = "v" * 60) -> dict[str, Any]:
        """The tokens for what the browser came back with."""
        return dict(
            self.client.fetch_token(
                self.about["token_endpoint"], authorization_response=address, state=state, code_verifier=verifier
            )
        )

    def claims(self, tokens: dict[str, Any], nonce: str = "n-1") -> dict[str, Any]:
        """What the ID token says, validated as OpenID Connect Core §3.1.3.7 demands."""
        decoded = jwt.decode(tokens["id_token"], self.keys, algorithms=["ES256"])
        wanted = {
            "iss": {"essential": True, "value": self.about["issuer"]},
            "aud": {"essential": True, "value": self.name},
        }
        found = CodeIDToken(
            decoded.claims, decoded.header, options=wanted, params={"nonce": nonce, "client_id": self.name}
        )
        found.validate()
        return dict(found)

    def userinfo(self, token: str) -> httpx.Response:
        return httpx.get(self.about["userinfo_endpoint"], headers={"Authorization": f"Bearer {token}"})
