"""Clerks from a body's LDAP directory, where there is no sign-in by web: name and password are tried there, and its groups say what
they may do here.

Nothing is kept of the password. The connection is TLS, always (``ldaps``, or StartTLS on ``ldap``), to a server whose certificate was
checked: whoever answers learns the password. An empty password, which a directory takes for nobody's and answers with success
(RFC 4513 §5.1.2), is refused before anybody is asked.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import unicodedata
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ldap3
from ldap3.core.exceptions import LDAPException
from ldap3.utils.conv import escape_filter_chars
from ldap3.utils.dn import escape_rdn

from renkei.errors import RenkeiError, Unavailable
from renkei.institution.directory import away, clerk_of_groups, not_signed_in
from renkei.institution.settings import Clerk, Clock, LdapSettings

FAILURES_MOST = 5
FORGOTTEN_AFTER = 300_000
"""Milliseconds for which a name is not tried again after so many failures."""
NAMES_MOST = 10_000
AT_ONCE = 3
WITHIN = 8


class Ldap:
    """The LDAP directory of one body."""

    def __init__(self, settings: LdapSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._tried: dict[str, list[int]] = {}
        self._lock = threading.Lock()
        self._few = asyncio.Semaphore(AT_ONCE)
        # its own: a directory that is slow must not hold up those who read the database
        self._threads = ThreadPoolExecutor(AT_ONCE, "ldap")

    async def sign_in(self, name: str, password: str) -> Clerk:
        """The clerk of this name and password.

        ``NotGenuine`` if they are not theirs, ``Refused`` for somebody with nothing to do here, ``Unavailable`` (429) after too many
        failures, or if the directory does not answer.
        """
        if not (0 < len(name) <= 64 and name.isprintable() and 0 < len(password) <= 256):
            raise not_signed_in("sign-in")
        tried = " ".join(unicodedata.normalize("NFKC", name).casefold().split())  # as directories compare names
        self._count(tried)
        try:
            async with self._few:
                clerk = await asyncio.get_running_loop().run_in_executor(self._threads, self._sign_in, name, password)
        except RenkeiError as error:
            if error.code != "sign-in":
                self._uncount(tried)
            raise
        with self._lock:
            self._tried.pop(tried, None)
        return clerk

    def _sign_in(self, name: str, password: str) -> Clerk:
        s = self._settings
        tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=s.ca or None, version=ssl.PROTOCOL_TLS_CLIENT)
        server = ldap3.Server(s.url, tls=tls, connect_timeout=WITHIN, get_info=ldap3.NONE)
        secure = s.url.lower().startswith("ldaps://")
        how = ldap3.AUTO_BIND_NO_TLS if secure else ldap3.AUTO_BIND_TLS_BEFORE_BIND
        try:
            with ldap3.Connection(
                server,
                s.user.format(name=escape_rdn(name)),
                password,
                auto_bind=how,
                auto_referrals=False,
                receive_timeout=WITHIN,
                read_only=True,
            ) as connection:
                return self._clerk(connection, name)
        except ldap3.core.exceptions.LDAPBindError:
            raise not_signed_in("sign-in") from None
        except (LDAPException, OSError):
            raise away() from None

    def _clerk(self, connection: ldap3.Connection, name: str) -> Clerk:
        """Whoever has signed in finds their own entry, and the groups it is in."""
        s = self._settings
        wanted = s.find.format(name=escape_filter_chars(name))
        found = self._search(connection, s.base, wanted, [s.name_attribute, "memberOf"])
        if len(found) != 1:
            raise not_signed_in("name")
        dn, values = found[0]
        groups = set(_texts(values.get("memberOf")))
        here = s.groups_find.format(dn=escape_filter_chars(dn), name=escape_filter_chars(name))
        for group, of in self._search(connection, s.groups_base or s.base, here, ["cn"]):
            groups |= {group, *_texts(of.get("cn"))}
        # the name as the directory writes it: otherwise `Sato` and `sato` would be two clerks in our record
        official = next(iter(_texts(values.get(s.name_attribute))), "")
        return clerk_of_groups(official, groups, s.groups)

    @staticmethod
    def _search(connection: ldap3.Connection, base: str, wanted: str, attributes: list[str]) -> list[tuple[str, Any]]:
        connection.search(base, wanted, attributes=attributes, size_limit=1000)
        return [(e["dn"], e["attributes"]) for e in connection.response or () if e.get("type") == "searchResEntry"]

    # ------------------------------------------------------------------ who guesses

    def _count(self, name: str) -> None:
        """Count an attempt before it is made: those that come together are no fewer. ``Unavailable`` if there were too many."""
        now = self._clock()
        with self._lock:
            recent = [at for at in self._tried.get(name, ()) if at > now - FORGOTTEN_AFTER]
            if len(recent) < FAILURES_MOST:
                if len(self._tried) >= NAMES_MOST:  # the one that was tried longest ago goes
                    self._tried.pop(next(iter(self._tried)))
                self._tried[name] = [*recent, now]
                return
        raise Unavailable(
            "Too many attempts under this name.",
            ja="この利用者名での試行が多すぎます。",
            code="too-many",
            status=429,
            remedy="Try again in five minutes.",
            remedy_ja="5分ほどしてからもう一度お試しください。",
        )

    def _uncount(self, name: str) -> None:
        """The directory did not say that it was wrong."""
        with self._lock:
            if tried := self._tried.get(name):
                tried.pop()


def _texts(values: Any) -> Iterable[str]:
    """The texts of an attribute, which has one value, several, or none."""
    several = values if isinstance(values, list) else [] if values is None else [values]
    return [v for v in several if isinstance(v, str)]
