"""An institution's home folder: settings, keys and trust, read once at the composition root.

::

    settings.toml   the settings below
    keys.toml       private keys, readable by the owner alone
    genesis.bin     leaf 0 of the record, checked out of band
"""

from __future__ import annotations

import fcntl
import os
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal, TypeVar

import msgspec

from renkei.errors import SetupError
from renkei.messages.wire import Wire as _Wire
from renkei.messages.wire import decode_as, encode
from renkei.record.state import Trust

T = TypeVar("T")
Clock = Callable[[], int]
"""Answers milliseconds since 1970 UTC."""


def system_clock() -> int:
    """The machine's clock in milliseconds."""
    return time.time_ns() // 1_000_000


Duty = Literal[
    "ask", "register", "protect", "release", "explain", "certify", "renumber", "clinic", "adapt", "notify", "decide"
]
"""Make inquiries · register persons · set a person's protection flags · release held answers · answer the commission · (of the
authority) say whose a card's certificate is · give a person another number · (of an insurer) ask whether a patient is insured · change
what is answered from where · tell residents something · decide what they apply for."""


class Clerk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Someone or something that may use the gateway: a name for the record, the SHA-256 of its token (hex), its duties."""

    name: str
    token_sha256: str
    duties: tuple[Duty, ...] = ("ask",)


class DirectorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a body's clerks sign in to everything (OpenID Connect), and what its groups may do here."""

    issuer: str
    """The provider, as its tokens name it."""
    client: str
    """By which name it knows us."""
    groups: dict[str, tuple[Duty, ...]]
    """Duties of the members of a group."""
    secret: str = ""
    """Path of a file with our secret there; none for a public client."""
    scope: str = "openid profile"
    """What is asked of it; some providers tell groups only for a scope of their own."""
    groups_claim: str = "groups"
    """The claim that lists the groups."""
    name_claim: str = "preferred_username"
    """Becomes the clerk's name in our own record of inquiries."""


class LdapSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body's LDAP directory, for clerks who sign in with name and password, and what its groups may do here."""

    url: str
    """``ldaps://host``, or ``ldap://host`` (StartTLS)."""
    user: str
    """As whom a clerk signs in there: ``uid={name},ou=people,dc=city,dc=example``, or ``{name}@city.example``."""
    base: str
    """Under what entry people are."""
    groups: dict[str, tuple[Duty, ...]]
    """Duties of the members of a group, by its ``cn`` or whole name (DN)."""
    find: str = "(uid={name})"
    """How the clerk's own entry is found; Active Directory: ``(sAMAccountName={name})``."""
    name_attribute: str = "uid"
    """Becomes the clerk's name in our own record of inquiries; Active Directory: ``sAMAccountName``."""
    groups_base: str = ""
    """Under what entry groups are; empty: where people are."""
    groups_find: str = "(|(member={dn})(uniqueMember={dn})(memberUid={name}))"
    """How groups of a clerk are found, besides those their own entry names (``memberOf``)."""
    ca: str = ""
    """Certificate (PEM file) of the authority that made the server's; empty: those this machine trusts."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings every institution has. One frozen value, passed down; nothing else reads the environment or files."""

    body: str
    """Its code in the pack."""
    role: str
    """authority, hub, commission, portal, catalogue or gateway; worker in the home of a worker of hub or commission."""
    kinds: tuple[str, ...]
    """The kinds of body it is enrolled as."""
    database: str
    """SQLAlchemy URL: ``sqlite:///…`` or ``postgresql+psycopg://…``."""
    bus: str
    """Addresses of the message bus's servers, ``nats://host:port``, comma between."""
    host: str = "127.0.0.1"
    """Address the web server listens on."""
    port: int = 0
    """Port of the web server; 0 for none."""
    address: str = ""
    """Its address as residents' browsers know it, ``https://…``; ``http://host:port`` if empty."""
    contact: str = ""
    """Gateway: whom engineers of other bodies may ask about its data; the catalogue shows it."""
    language: str = "ja"
    """Language of pages when the reader has not chosen."""
    log_level: str = "warning"
    """Lowest level that is logged: debug, info, warning, error."""
    drain_seconds: float = 10.0
    """Longest time a process that is told to stop (SIGTERM) takes to finish what is under way."""
    source: str = ""
    """Gateway: SQLAlchemy URL of the body's own database, from which it answers."""
    mapping: str = ""
    """Gateway: path of the declared mapping from that database to data specifications."""
    dates: str = ""
    """Gateway: address of who dates the certificates it prints (RFC 3161); none, or no folder ``seal``: it prints none."""
    clerks: tuple[Clerk, ...] = ()
    """Gateway and authority: who may use it."""
    directory: DirectorySettings | None = None
    """Gateway: where its clerks sign in (OpenID Connect), besides those named under ``clerks``."""
    ldap: LdapSettings | None = None
    """Gateway: the LDAP directory of its clerks, besides those named under ``clerks``."""
    wait_seconds: float = 30.0
    """Gateway: longest time a request may wait for an answer (RFC 7240 ``Prefer: wait``)."""
    backlog_most: int = 5_000
    """Gateway: messages the hub may be owed before single inquiries are turned away for a while (503 with ``Retry-After``)."""
    queue: bool = False
    """Gateway: give numbers at ``/queue/ticket`` and show at ``/queue`` who is called; both are open to whoever reaches the address."""
    changes_minutes: int = 60
    """Gateway: how often it looks whether it would answer its subscribers otherwise now, and tells them so."""
    notices_minutes: int = 1440
    """Gateway: how often it looks by the pack's rules whom to tell something without being asked; the first time so long after a start."""
    max_upload_rows: int = 1_000_000
    """Gateway: rows accepted in one batch file."""
    card_authority: str = ""
    """Portal and gateway: certificate (PEM file) of the authority by whose certificates residents come in; none: nobody does by card."""
    signature_authority: str = ""
    """Portal and gateway: certificate (PEM file) of the authority by whose certificates residents sign applications; none: no signature is
    made or checked."""
    portal: str = ""
    """Gateway: address of My Portal as residents' browsers know it; what a card signs there opens the person's own information here."""
    card_sites: dict[str, str] = {}
    """Authority: at which address which institution has residents come in by card; only they are told the code of who signed there."""
    reader: str = "http://127.0.0.1:8491"
    """Portal and gateway: where the reader program answers on a resident's own machine."""
    mail: str = ""
    """Portal: the mail server by which residents who want it are told that something is new: ``smtp://host:port`` (with STARTTLS where it
    offers that) or ``smtps://host:port``; none: nobody is."""
    mail_from: str = ""
    """Portal: from which address."""
    push_services: tuple[str, ...] = ()
    """Portal: origins of the push services of residents' browsers that it may send to (``https://host``, ``https://*.host``), so that they
    are notified on their devices; none: nobody is."""
    roll: str = ""
    """Authority: a resident roll (CSV) to load at the first start."""
    round_size: int = 256
    """Hub: entries in one round at most."""
    witnesses: tuple[str, ...] = ()
    """Hub: addresses of witnesses that are shown every checkpoint."""
    workers: int = 0
    """Hub and commission: parts into which a round's work is divided for worker processes (role ``worker``); 0: it works alone."""
    audit_share: float = 0.02
    """Hub and commission: share of the other's conversions that it must prove; 1 for always."""
    proofs: Literal["audit", "always"] = "audit"
    """``always``: a converter proves every conversion in the leaf, and what comes unproven is refused (hub and commission alike; a
    gateway then answers nothing unproven). ``audit``: proofs are made when asked for."""
    file_rate: int = 2000
    """Commission: conversions per second it finishes for the portal."""

    @property
    def proves(self) -> bool:
        """Whether every conversion is proven, and not only on audit."""
        return self.proofs == "always"

    @property
    def origin(self) -> str:
        """The address as browsers write an origin."""
        return (self.address or f"http://{self.host}:{self.port}").rstrip("/")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the web server, so that cookies may travel without TLS."""
        return self.host in ("127.0.0.1", "::1", "localhost")


def occupy(path: Path) -> IO[bytes]:
    """Hold a lock file until it is closed or the process ends, however it ends; ``SetupError`` if another process does."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise SetupError(
            f"{path.parent} is already in use by a running program.",
            ja=f"{path.parent} は起動中のプログラムが使用しています。",
            code="already-running",
            remedy="Stop that program first.",
            remedy_ja="先にそのプログラムを止めてください。",
        ) from None
    return file


class _TrustFile(_Wire, frozen=True, tag="trust/1"):
    salt: bytes
    entry: bytes


class Home:
    """A home folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def occupy(self) -> IO[bytes]:
        """Hold the folder for one running program until the file answered is closed; ``SetupError`` if another holds it."""
        return occupy(self.folder / ".lock")

    def settings(self) -> Settings:
        """The settings; ``SetupError`` names what is missing or wrong."""
        return self.read_toml("settings.toml", Settings)

    def read_toml(self, name: str, type_: type[T]) -> T:
        path = self / name
        try:
            return msgspec.convert(tomllib.loads(path.read_text("utf-8")), type_)
        except FileNotFoundError:
            raise SetupError(
                f"{path} is missing.",
                ja=f"{path} がありません。",
                code="settings-missing",
                remedy="Name the home folder of an institution; `renkei nation up` makes those of a nation.",
                remedy_ja="機関のフォルダーを指定してください。`renkei nation up` が国一式を作ります。",
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
            raise SetupError(
                f"{path}: {error}.",
                ja=f"{path} の内容が正しくありません: {error}",
                code="settings-wrong",
                remedy="See docs/settings.md.",
                remedy_ja="docs/settings.md を参照してください。",
            ) from None

    def write_toml(self, name: str, value: msgspec.Struct | dict[str, object], *, private: bool = False) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self / name
        path.touch(mode=0o600 if private else 0o644)
        said = msgspec.to_builtins(value)
        path.write_bytes(msgspec.toml.encode({k: v for k, v in said.items() if v is not None}))

    def trust(self) -> Trust:
        """The genesis this institution was given."""
        try:
            found = decode_as((self / "genesis.bin").read_bytes(), _TrustFile)
        except FileNotFoundError:
            raise SetupError(
                f"{self / 'genesis.bin'} is missing.",
                ja=f"{self / 'genesis.bin'} がありません。",
                code="genesis-missing",
                remedy="Copy it from the keepers, and compare its hash with theirs out of band.",
                remedy_ja="記録の保管者から受け取り、ハッシュを別の経路で確認してください。",
            ) from None
        return Trust(found.salt, found.entry)

    def put_trust(self, trust: Trust) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self / "genesis.bin").write_bytes(encode(_TrustFile(trust.salt, trust.entry)))


def sync(path: Path) -> None:
    """Make a file, or what names a folder has, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
