"""Where residents are signed in, and by what: short sessions that are listed and can be ended, and passkeys for later visits.

A session is in a sealed cookie; that it was begun, and has not been ended, is in the database, under a hash of what only that cookie
holds. So a copy of a cookie is worth nothing once its session was ended, by whomever.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import os
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import webauthn
from webauthn.helpers import base64url_to_bytes
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from renkei.errors import Conflict, Malformed, NotFound, NotGenuine
from renkei.institution.database import Database
from renkei.institution.relying import Challenges
from renkei.institution.settings import Clock
from renkei.portal import store

SESSION_SECONDS = 1800
"""After which a resident signs in again."""
FRESH_SECONDS = 600
"""For so long after signing in, what opens the door for later may be changed."""
SEEN_EVERY = 60_000
LISTED_DAYS = 30
PASSKEYS_MOST = 10
NAME_MOST = 40
ANSWER_MOST = 20_000
BY_PASSKEY = "hwk"
"""How a session was begun, as sites are told (RFC 8176): ``sc`` by card, ``otp`` by code, ``hwk`` by passkey."""


class Signed(NamedTuple):
    """Who has come by a passkey: the key by which their session opens their account."""

    key: str


def mark_of(session: Mapping[str, Any]) -> bytes:
    """By what a session is known: a hash of what its cookie alone holds (32 bytes)."""
    return sha256(b"renkei/v1/session-of" + f"{session['key']}/{session['since']}".encode()).digest()


def browser_of(agent: str) -> str:
    """The kind of browser and machine, as its user knows them; no more is kept of what it says."""
    machine = next((m for m in ("iPhone", "iPad", "Android", "Windows", "Mac OS", "Linux") if m in agent), "")
    kinds = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
    kind = next((name for sign, name in kinds if sign in agent), "")
    return " · ".join(part for part in (kind, machine) if part)


class Sessions:
    """The sessions and passkeys of a portal."""

    def __init__(self, database: Database, origin: str, secret: bytes, clock: Clock) -> None:
        self._database, self._origin, self._secret, self._clock = database, origin, secret, clock
        self._challenges = Challenges(os.urandom(32), clock)
        self.host = urlsplit(origin).hostname or ""

    @property
    def has_passkeys(self) -> bool:
        """Whether browsers make passkeys for this address: for a name, and not for a number (WebAuthn §5.1.3)."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False

    # ------------------------------------------------------------------ sessions

    async def demand(self, session: Mapping[str, Any], account: str, agent: str) -> bool:
        """Whether this session stands; the first look at one begins it."""
        now, mark = self._clock(), mark_of(session)
        row = await self._database.read(lambda c: store.session(c, mark))
        if row is not None and row.ended is not None:
            return False
        if row is None or now - row.seen >= SEEN_EVERY:
            begun = {"account": account, "amr": session.get("amr", ""), "since": session["since"]}
            await self._database.write(lambda c: store.see(c, mark, {**begun, "agent": browser_of(agent)}, now))
        return True

    async def end(self, mark: bytes, account: str | None = None) -> None:
        """End a session (of this account)."""
        await self._database.write(lambda c: store.end_sessions(c, self._clock(), mark=mark, account=account))

    async def end_others(self, account: str, but: bytes) -> None:
        await self._database.write(lambda c: store.end_sessions(c, self._clock(), account=account, but=but))

    async def listed(self, account: str) -> list[Any]:
        """Of the last weeks, newest first; ``over`` says when it ended, or will have."""
        since = self._clock() - LISTED_DAYS * 86_400_000
        return await self._database.read(lambda c: store.sessions_of(c, account, since))

    def stands(self, row: Any) -> bool:
        """Whether a listed session is not over."""
        return row.ended is None and bool(self._clock() - row.since < SESSION_SECONDS * 1000)

    def is_fresh(self, session: Mapping[str, Any]) -> bool:
        """Whether somebody has just proven who they are, and not by what was left on a device: what opens the door may be changed."""
        recent = 0 <= self._clock() - session.get("since", 0) < FRESH_SECONDS * 1000
        return recent and session.get("amr") != BY_PASSKEY

    # ------------------------------------------------------------------ passkeys

    async def making(self, account: str, title: str) -> str:
        """What a browser is asked to make a passkey by (JSON)."""
        handle = hmac.digest(self._secret, b"handle" + account.encode(), "sha256")  # says nothing of whom
        known = await self._database.read(lambda c: store.passkeys_of(c, account))
        options = webauthn.generate_registration_options(
            rp_id=self.host,
            rp_name=title,
            user_id=handle,
            user_name=title,
            challenge=self._challenges.new(),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=bytes(k.credential)) for k in known],
        )
        return webauthn.options_to_json(options)

    async def keep(self, account: str, answer: str, name: str) -> None:
        """Keep the passkey a browser has made; ``NotGenuine`` if it is none for us, ``Conflict`` if there are enough."""
        name = " ".join(name.split())
        if not 0 < len(name) <= NAME_MOST or not name.isprintable():
            raise Malformed(
                f"Give it a name of {NAME_MOST} characters at most.",
                ja=f"{NAME_MOST}文字以内の名前を付けてください。",
                code="name",
                field="name",
            )
        said, challenge = self._read(answer)
        try:
            made = webauthn.verify_registration_response(
                credential=said,
                expected_challenge=challenge,
                expected_rp_id=self.host,
                expected_origin=self._origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            raise _not_ours() from None
        self._challenges.redeem(challenge)
        row = {
            "key": sha256(made.credential_id).hexdigest(),
            "account": account,
            "credential": made.credential_id,
            "public": made.credential_public_key,
            "signed": made.sign_count,
            "name": name,
            "made": self._clock(),
        }
        if not await self._database.write(lambda c: store.add_passkey(c, row, PASSKEYS_MOST)):
            raise Conflict(
                "There are too many passkeys, or this one is known.",
                ja="登録できる数を超えているか、すでに登録されています。",
                remedy="Remove one that you do not use.",
                remedy_ja="使わないものを削除してください。",
                code="passkeys",
            )

    def asking(self) -> str:
        """What a browser is asked to sign in with a passkey by (JSON)."""
        options = webauthn.generate_authentication_options(
            rp_id=self.host, challenge=self._challenges.new(), user_verification=UserVerificationRequirement.REQUIRED
        )
        return webauthn.options_to_json(options)

    async def by_passkey(self, answer: str) -> Signed:
        """Who has signed in; ``NotGenuine`` if it is nobody's passkey, or does not sign what we asked for."""
        said, challenge = self._read(answer)
        try:
            credential = base64url_to_bytes(said["rawId"])
        except (KeyError, TypeError, ValueError):
            raise _not_ours() from None
        key = sha256(credential).hexdigest()
        row = await self._database.read(lambda c: store.passkey(c, key))
        if row is None:
            raise _not_ours()
        try:
            proven = webauthn.verify_authentication_response(
                credential=said,
                expected_challenge=challenge,
                expected_rp_id=self.host,
                expected_origin=self._origin,
                credential_public_key=bytes(row.public),
                credential_current_sign_count=row.signed,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, KeyError, TypeError):
            raise _not_ours() from None
        self._challenges.redeem(challenge)
        await self._database.write(lambda c: store.use_passkey(c, key, proven.new_sign_count, self._clock()))
        return Signed(key)

    async def forget(self, account: str, key: str) -> None:
        """Remove a passkey; what it opened is closed with it."""
        if not await self._database.write(lambda c: store.remove_passkey(c, account, key)):
            raise NotFound("There is no such passkey.", ja="このパスキーはありません。")

    def _read(self, answer: str) -> tuple[dict[str, Any], bytes]:
        """A browser's answer, and the challenge it says it signed. It is taken in once the answer is found genuine, so that nobody uses up
        what others need."""
        try:
            if len(answer) > ANSWER_MOST:
                raise ValueError
            said = json.loads(answer)
            client = json.loads(base64url_to_bytes(said["response"]["clientDataJSON"]))
            challenge = base64url_to_bytes(client["challenge"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise _not_ours() from None
        return said, challenge


def _not_ours() -> NotGenuine:
    return NotGenuine(
        "This passkey is not known here, or it did not work.",
        ja="このパスキーは登録されていないか、確認できませんでした。",
        remedy="Try again, or sign in another way.",
        remedy_ja="もう一度試すか、別の方法でサインインしてください。",
        code="passkey",
    )
