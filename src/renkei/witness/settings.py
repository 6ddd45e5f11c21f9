"""A witness's home folder: settings, key and memory, read once at start.

::

    settings.toml   the settings below
    key.toml        the private key, readable by the owner alone
    witness.db      what it signed (``store``): never restored from a backup
    evidence/       one file for each log that was found to show a split view
"""

from __future__ import annotations

import secrets
import stat
import urllib.parse
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Annotated

import msgspec

from renkei.errors import Malformed, SetupError
from renkei.institution.settings import Home
from renkei.ledger.notes import COSIGNATURE, NOTE, Signer, Verifier
from renkei.witness.store import Store


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A log: its origin, its key as a vkey, and the address that answers ``?old=<n>&new=<m>`` with the lines of a proof, if any."""

    origin: str
    key: str
    proofs: str = ""


class PeerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another witness: its key as a vkey, which has its name, and its address."""

    key: str
    url: str


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``settings.toml`` of a witness, read once at start."""

    name: str
    """The name its cosignatures carry; an address without scheme, by custom."""
    host: str = "127.0.0.1"
    """Address it listens on."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)]
    """Port it listens on."""
    language: str = "ja"
    """Language of the page when the reader has not chosen."""
    log_level: str = "warning"
    """Lowest level that is logged: debug, info, warning, error."""
    gossip_seconds: Annotated[float, msgspec.Meta(ge=0.1)] = 60.0
    """Time between two rounds of gossip with each peer."""
    logs: tuple[LogSettings, ...] = ()
    """The logs it watches."""
    peers: tuple[PeerSettings, ...] = ()
    """The witnesses it compares with."""


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``key.toml``: the Ed25519 seed in base64."""

    seed: str


def create(folder: Path, settings: Settings) -> Verifier:
    """Make the home of a new witness, with a new key; refuses a folder that has one."""
    home = Home(folder)
    if any((home / name).exists() for name in ("settings.toml", "key.toml", "witness.db")):
        raise SetupError(
            f"{folder} is a witness already.",
            ja=f"{folder} には既に立会人があります。",
            code="witness-exists",
            remedy="Name a new folder: a key cannot be made again.",
            remedy_ja="新しいフォルダーを指定してください。鍵は作り直せません。",
        )
    home.write_toml("key.toml", KeyFile(b64encode(secrets.token_bytes(32)).decode()), private=True)
    Store.create(home / "witness.db")
    home.write_toml("settings.toml", settings)
    return load_signer(home, settings).verifier


def load_settings(home: Home) -> Settings:
    """The settings; ``SetupError`` says what is missing or wrong."""
    if not (home / "settings.toml").is_file():
        raise SetupError(
            f"{home / 'settings.toml'} is missing.",
            ja=f"{home / 'settings.toml'} がありません。",
            code="settings-missing",
            remedy="Name the home folder of a witness; `renkei witness init` makes one.",
            remedy_ja="立会人のフォルダーを指定してください。`renkei witness init` で作れます。",
        )
    return home.read_toml("settings.toml", Settings)


def load_signer(home: Home, settings: Settings) -> Signer:
    """The witness's signer; refuses a key that others on the machine can read."""
    file = home.read_toml("key.toml", KeyFile)
    if stat.S_IMODE((home / "key.toml").stat().st_mode) & 0o077:
        raise SetupError(
            f"{home / 'key.toml'} can be read by others.",
            ja=f"{home / 'key.toml'} を他の利用者が読めます。",
            code="key-open",
            remedy=f"chmod 600 {home / 'key.toml'}; if others use this machine, make a new witness.",
            remedy_ja="chmod 600 を実行してください。他の利用者がいる機械なら、新しい立会人を作ってください。",
        )
    return Signer(settings.name, COSIGNATURE, b64decode(file.seed))


def read_key(text: str, kind: int) -> Verifier:
    """A vkey of that kind: ``NOTE`` for a log, ``COSIGNATURE`` for a witness."""
    key = Verifier.from_text(text)
    if key.kind != kind:
        en, ja = ("a log", "台帳") if kind == NOTE else ("a witness", "立会人")
        raise Malformed(f"This is not the key of {en}.", ja=f"{ja}の鍵ではありません。", code="bad-vkey")
    return key


def read_address(text: str) -> str:
    """An http(s) address with a host; else ``Malformed``."""
    parts = urllib.parse.urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isascii() or parts.query:
        raise Malformed(
            "This is not an http or https address.", ja="http(s) のアドレスではありません。", code="bad-url"
        )
    return text
