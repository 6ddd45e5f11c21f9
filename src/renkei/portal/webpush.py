"""Notifications on a resident's own devices: that something new is in the inbox, and nothing else (Web Push: RFC 8030, RFC 8292).

A message has no content at all, so there is nothing to seal: what is shown stands in the browser's worker (``static/push-worker.js``).
The browser's push service learns that this portal has something for one of its users, and when. Its address is the browser's to name; it
is only gone to if its origin is one that the settings list.
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import httpx
import sqlalchemy as sa
from joserfc import jwt

from renkei.errors import Conflict, Malformed, RenkeiError, SetupError
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.settings import Clock, Home
from renkei.portal import apply_store as store
from renkei.portal.digest import new_since
from renkei.portal.oidc import signing_key

HOST = re.compile(r"[a-z0-9.-]+")
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
"""Messages that a push service did not take, after which it is left alone until the next look."""
AGAIN = 900_000
"""Milliseconds after which what was not taken is tried again."""
GONE = (404, 410)


class WebPush:
    """The portal's notifications. ``origins``: of push services; none: there are no notifications. ``contact``: an address for them."""

    def __init__(
        self,
        home: Home,
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
        if origins:
            self._key = signing_key(home / "push.pem")
        self._origins, self._contact, self._keys = origins, contact, keys
        self._member, self._database, self._observe, self._clock = member, database, observe, clock

    @property
    def open(self) -> bool:
        return bool(self._origins)

    @property
    def key(self) -> str:
        """By which push services know this portal: its public key as a point, uncompressed, base64url (RFC 8292 section 3.2)."""
        point = (urlsafe_b64decode(str(self._key.as_dict(private=False)[c]) + "=") for c in ("x", "y"))
        return urlsafe_b64encode(b"\x04" + b"".join(point)).rstrip(b"=").decode()

    # ------------------------------------------------------------------ devices

    async def devices(self, account: str) -> list[Any]:
        """A person's devices, newest first."""
        return await self._database.read(lambda c: store.devices_of(c, account))

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

        def commit(connection: sa.Connection) -> None:
            others = [d for d in store.devices_of(connection, account) if bytes(d.id) != row["id"]]
            if len(others) >= DEVICES_MOST:
                raise Conflict(
                    "You are notified on too many devices already.",
                    ja="通知を受け取る端末の数が上限に達しています。",
                    remedy="End it on one of them first.",
                    remedy_ja="先に、不要な端末の通知をやめてください。",
                    code="devices-most",
                )
            store.put_device(connection, row)

        await self._database.write(commit)

    async def drop(self, account: str, id_: bytes) -> None:
        """No notifications on this device any more."""
        await self._database.write(lambda c: store.drop_device(c, account, id_))

    def _origin(self, endpoint: str) -> str:
        """That of an address; empty for one that could be understood in two ways."""
        try:
            parts, url = urllib.parse.urlsplit(endpoint), httpx.URL(endpoint)
            named = parts.scheme, parts.netloc
        except (ValueError, httpx.InvalidURL):
            return ""
        port = f":{url.port}" if url.port else ""
        alike = named == (url.scheme, f"{url.host}{port}") and HOST.fullmatch(url.host)
        return f"{url.scheme}://{url.host}{port}" if alike and endpoint.isascii() and endpoint.isprintable() else ""

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
        last, told, began = b"", 0, self._clock()
        failed: Counter[str] = Counter()
        async with httpx.AsyncClient(timeout=WITHIN, follow_redirects=False, trust_env=False) as client:
            while rows := await self._database.read(lambda c: store.devices_due(c, began, last, AT_ONCE)):  # noqa: B023  # read at once
                last = bytes(rows[-1].id)
                for row in rows:
                    told += await self._look(client, bytes(row.id), failed)
        return told

    async def _look(self, client: httpx.AsyncClient, id_: bytes, failed: Counter[str]) -> bool:
        """Whether this device was notified. As it stands now: since the look began it may have been ended, or be another's. ``failed``
        counts what each push service did not take; with too many it has its turn at the next look."""
        now, row = self._clock(), await self._database.read(lambda c: store.device(c, id_))
        if row is None or row.due > now:
            return False
        account, since, endpoint = (
            row.account,
            max(row.told, row.since),
            self._keys.unlock(bytes(row.endpoint)).decode(),
        )
        service = self._origin(endpoint)
        if failed[service] >= FAILURES_MOST:
            return False
        if not await self._database.read(lambda c: new_since(c, self._member, account, since)):
            return False
        status = await self._tell(client, service, endpoint)
        if status in GONE:
            await self._database.write(lambda c: store.drop_device(c, account, id_))
        elif status in (401, 403):  # it knows this portal by another key: the resident asks anew
            self._observe.count("pushes_failed")
            await self._database.write(lambda c: store.put_off_device(c, row, now + 24 * EVERY))
        elif 200 <= status < 300:
            self._observe.count("pushes_sent")
            await self._database.write(lambda c: store.put_off_device(c, row, now + EVERY, now))
            return True
        else:
            self._observe.count("pushes_failed")
            failed[service] += 1
            await self._database.write(lambda c: store.put_off_device(c, row, now + AGAIN))
        return False

    async def _tell(self, client: httpx.AsyncClient, service: str, endpoint: str) -> int:
        """What its push service says (HTTP status); 0: nothing, in time."""
        claims = {"aud": service, "exp": self._clock() // 1000 + KEPT // 2, "sub": self._contact}
        token = jwt.encode({"typ": "JWT", "alg": "ES256"}, claims, self._key)
        headers = {
            "TTL": str(KEPT),
            "Urgency": "low",
            "Topic": "inbox",  # one that was not fetched yet is replaced (RFC 8030 section 5.4)
            "Authorization": f"vapid t={token}, k={self.key}",
        }
        try:
            async with asyncio.timeout(WITHIN), client.stream("POST", endpoint, headers=headers) as answer:
                return answer.status_code  # what it has to say besides is not read
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return 0


def _is_like(origin: str, known: str) -> bool:
    """Whether an origin is this one, or below it (``https://*.host``)."""
    scheme, _, host = known.partition("://*.")
    return origin == known or bool(host and origin.startswith(f"{scheme}://") and origin.endswith(f".{host}"))
