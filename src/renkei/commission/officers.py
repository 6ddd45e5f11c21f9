"""Officers: who may sign in at the console, and their own keys, which open with their passphrase and sign decisions.

An officer's key is kept locked under the passphrase (Argon2id, XSalsa20-Poly1305), so that the commission's server, its database and its
operators cannot sign in an officer's place. The passphrase is asked for at sign-in and again for every signature (step-up).
"""

from __future__ import annotations

import asyncio
import os
import time
from base64 import b64decode, b64encode

import msgspec
import nacl.pwhash
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from renkei.errors import NotGenuine, RenkeiError
from renkei.institution.settings import Home
from renkei.messages.signing import Identity
from renkei.messages.wire import Officer
from renkei.record.oversight import Oversight

FILE = "officers.toml"
FAILURES = 5
LOCKED_FOR = 60.0
_OPS, _MEMORY = nacl.pwhash.argon2id.OPSLIMIT_INTERACTIVE, nacl.pwhash.argon2id.MEMLIMIT_INTERACTIVE


class Locked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One officer in ``officers.toml``: name, title in both languages, and the locked key (salt ‖ box, base64)."""

    name: str
    ja: str
    en: str
    key: str


class Roster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``officers.toml``."""

    officers: tuple[Locked, ...] = ()


def enlist(name: str, role: str, ja: str, en: str, passphrase: str) -> tuple[Locked, Officer]:
    """A new officer: the locked key to keep, and what the record is to know."""
    seed, salt = os.urandom(32), os.urandom(nacl.pwhash.argon2id.SALTBYTES)
    box = bytes(SecretBox(_key(passphrase, salt)).encrypt(seed))
    return Locked(name, ja, en, b64encode(salt + box).decode()), Officer(name, role, Identity(name, seed).public)


class Officers:
    """The officers of one commission's home folder, as far as the record knows them."""

    def __init__(self, home: Home) -> None:
        listed = home.read_toml(FILE, Roster).officers if (home / FILE).exists() else ()
        self._locked = {o.name: o for o in listed}
        self._failed: dict[str, list[float]] = {}

    @classmethod
    def none(cls) -> Officers:
        """Nobody's: where officers go by the names the record has."""
        empty = cls.__new__(cls)
        empty._locked, empty._failed = {}, {}
        return empty

    def title(self, name: str, language: str) -> str:
        found = self._locked.get(name)
        return name if found is None else found.ja if language == "ja" else found.en

    async def unlock(self, oversight: Oversight, name: str, passphrase: str) -> bytes:
        """The officer's signing seed; ``NotGenuine`` for a wrong name or passphrase, which take as long. 0.1 s, on a thread."""
        recent = [t for t in self._failed.get(name, []) if t > time.monotonic() - LOCKED_FOR]
        if len(recent) >= FAILURES:
            raise RenkeiError(
                "Too many wrong passphrases.",
                ja="パスフレーズの誤りが続いたため、一時的に停止しています。",
                code="locked",
                status=429,
                remedy="Wait a minute.",
                remedy_ja="1分ほど待ってください。",
            )
        known = self._locked.get(name)
        locked = b64decode(known.key) if known else bytes(nacl.pwhash.argon2id.SALTBYTES + 72)
        seed = await asyncio.to_thread(_open, locked, passphrase)
        officer = oversight.officers.get(name)
        if seed is None or officer is None or Identity(name, seed).public != officer.key:
            if known:
                self._failed[name] = [*recent, time.monotonic()]
            raise NotGenuine(
                "This name and passphrase do not belong together.",
                ja="職員名またはパスフレーズが違います。",
                code="passphrase",
                remedy="Check both.",
                remedy_ja="どちらも確認してください。",
            )
        self._failed.pop(name, None)
        return seed


def _key(passphrase: str, salt: bytes) -> bytes:
    return nacl.pwhash.argon2id.kdf(SecretBox.KEY_SIZE, passphrase.encode(), salt, opslimit=_OPS, memlimit=_MEMORY)


def _open(locked: bytes, passphrase: str) -> bytes | None:
    at = nacl.pwhash.argon2id.SALTBYTES
    try:
        return bytes(SecretBox(_key(passphrase, locked[:at])).decrypt(locked[at:]))
    except (CryptoError, ValueError):
        return None
