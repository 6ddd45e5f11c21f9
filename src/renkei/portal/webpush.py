"""Notifications on a resident's own devices: that something new is in the inbox, and nothing else (Web Push: RFC 8030, RFC 8292).

A message has no content at all, so there is nothing to seal: what is shown stands in the browser's worker (``static/push-worker.js``).
The browser's push service learns that this portal has something for one of its users, and when. Its address is the browser's to name; it
is only gone to if its origin is one that the settings list.
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import httpx
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.jwk import ECKey

from renkei.errors import Malformed, RenkeiError, SetupError, Unavailable
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.settings import Clock
from renkei.portal import apply_store as store
from renkei.portal.digest import new_since

ORIGIN = re.compile(r"https?://(?:\*\.)?[a-z0-9.-]+(?::\d+)?")
DEVICES_MOST = 10
"""Of one person."""
ENDPOINT_MOST = 1000
EVERY = 3_600_000
"""Milliseconds between two notifications on one device, at least."""
KEPT = 86_400
"""Seconds for which a push service keeps a message for a device that is off."""
LOOK_EVERY = 60.0
AT_ONCE = 200
WITHIN = 20.0
FAILURES_MOST = 5
"""Messages in a row that were not taken, after which a look ends: there is no way out."""
AGAIN = 900_000
"""Milliseconds after which what was not taken is tried again."""
GONE = (404, 410)
NOTHING = -1
"""There is nothing new."""


class WebPush:
    """The portal's notifications. ``origins``: of push services; none: there are no notifications. ``contact``: an address for them."""

    def __init__(
        self,
        origins: Sequence[str],
        contact: str,
        keys: Keys,
        member: Member,
        database: Database,
        observe: Observer,
        clock: Clock,
    ) -> None:
        if not all(ORIGIN.fullmatch(o) for o in origins):
            raise SetupError(
                "push_services are origins: https://host, https://*.host.",
                ja="push_services は https://host か https://*.host の形で指定してください。",
                code="settings-wrong",
            )
        self._origins, self._contact, self._keys = origins, contact, keys
        self._member, self._database, self._observe, self._clock = member, database, observe, clock

    @property
    def open(self) -> bool:
        return bool(self._origins)

    @property
    def _secret(self) -> ec.EllipticCurvePrivateKey:
        number = int.from_bytes(self._keys.derive("vapid") + self._keys.derive("vapid/2"))
        return ec.derive_private_key(number % (ORDER - 1) + 1, ec.SECP256R1())

    @property
    def key(self) -> str:
        """By which push services know this portal: P-256, uncompressed, base64url."""
        form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        return urlsafe_b64encode(self._secret.public_key().public_bytes(*form)).rstrip(b"=").decode()

    # ------------------------------------------------------------------ devices

    async def devices(self, account: str) -> int:
        return await self._database.read(lambda c: store.count_devices(c, account))

    async def add(self, account: str, endpoint: str) -> None:
        """Notify this device from now on. ``Malformed`` if its browser gave no address, or one of a push service that is not known here."""
        origin = self._origin(endpoint)
        if not endpoint or len(endpoint) > ENDPOINT_MOST or not any(_is_like(origin, o) for o in self._origins):
            raise Malformed(
                "This browser gives no notifications here, or they were not allowed.",
                ja="このブラウザーでは通知を受け取れないか、通知が許可されていません。",
                remedy="Allow them in the browser, or choose another way.",
                remedy_ja="ブラウザーの設定で通知を許可するか、ほかの方法を選んでください。",
                code="push-service",
            )
        row = {
            "id": sha256(endpoint.encode()).digest(),
            "account": account,
            "endpoint": self._keys.lock(endpoint.encode()),
            "since": self._clock(),
            "told": 0,
            "due": 0,
        }
        await self._database.write(lambda c: store.put_device(c, row, DEVICES_MOST))

    async def drop(self, account: str) -> None:
        """No notifications on any device any more."""
        await self._database.write(lambda c: store.drop_devices(c, account))

    def _origin(self, endpoint: str) -> str:
        try:
            parts = urllib.parse.urlsplit(endpoint)
            port = f":{parts.port}" if parts.port else ""
        except ValueError:
            return ""
        clean = parts.hostname and "@" not in parts.netloc and endpoint.isascii() and endpoint.isprintable()
        return f"{parts.scheme}://{parts.hostname}{port}" if clean else ""

    # ------------------------------------------------------------------ what is told

    async def run(self) -> None:
        """Notify whoever has something new, for ever."""
        await self._member.until_ready()
        while True:
            try:
                await self.check()
            except (RenkeiError, sa.exc.SQLAlchemyError) as error:
                self._observe.log.warning("push.retry", reason=getattr(error, "code", "") or "database")
            await asyncio.sleep(LOOK_EVERY)

    async def check(self) -> int:
        """Notify every device whose owner has letters that came since it was told last, and were not read; how many were."""
        last, told, failed, now = b"", 0, 0, self._clock()
        async with httpx.AsyncClient(timeout=WITHIN, follow_redirects=False, trust_env=False) as client:
            while rows := await self._database.read(lambda c: store.devices_due(c, now, last, AT_ONCE)):  # noqa: B023  # read at once
                last = bytes(rows[-1].id)
                for row in rows:
                    status = await self._look(client, row, now)
                    told += 200 <= status < 300
                    failed = failed + 1 if status not in (NOTHING, *GONE) and not 200 <= status < 300 else 0
                    if failed >= FAILURES_MOST:
                        raise Unavailable("The push services do not take messages now.", code="push")
        self._observe.count("pushes_sent", told)
        return told

    async def _look(self, client: httpx.AsyncClient, row: Any, now: int) -> int:
        """Notify a device if there is something new; how that went."""
        account, id_, since = row.account, bytes(row.id), max(row.told, row.since)
        if not await self._database.read(lambda c: new_since(c, self._member, account, since)):
            return NOTHING
        status = await self._tell(client, row)
        if status in GONE:
            await self._database.write(lambda c: store.drop_device(c, id_))
        elif 200 <= status < 300:
            await self._database.write(lambda c: store.put_off_device(c, id_, now + EVERY, now))
        else:
            self._observe.count("pushes_failed")
            await self._database.write(lambda c: store.put_off_device(c, id_, now + AGAIN))
        return status

    async def _tell(self, client: httpx.AsyncClient, row: Any) -> int:
        """What its push service says (HTTP status); 0: nothing."""
        endpoint = self._keys.unlock(bytes(row.endpoint)).decode()
        claims = {"aud": self._origin(endpoint), "exp": self._clock() // 1000 + KEPT // 2, "sub": self._contact}
        token = jwt.encode({"typ": "JWT", "alg": "ES256"}, claims, ECKey.import_key(_pem(self._secret)))
        headers = {
            "TTL": str(KEPT),
            "Urgency": "low",
            "Topic": "inbox",  # one that was not fetched yet is replaced (RFC 8030 section 5.4)
            "Authorization": f"vapid t={token}, k={self.key}",
        }
        try:
            return (await client.post(endpoint, headers=headers)).status_code
        except (httpx.HTTPError, httpx.InvalidURL):
            return 0


ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group P-256."""


def _pem(secret: ec.EllipticCurvePrivateKey) -> bytes:
    return secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _is_like(origin: str, known: str) -> bool:
    """Whether an origin is this one, or below it (``https://*.host``)."""
    scheme, _, host = known.partition("://*.")
    return origin == known or bool(host and origin.startswith(f"{scheme}://") and origin.endswith(f".{host}"))
