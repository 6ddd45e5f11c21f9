"""An institution's private keys: one per use, and a check that none has two uses."""

from __future__ import annotations

import hmac
import secrets
from base64 import b64decode, b64encode

import msgspec
import nkeys
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from renkei.codes import Converter
from renkei.errors import NotGenuine, SetupError
from renkei.institution.settings import Home, Settings
from renkei.ledger.notes import Signer
from renkei.messages.signing import PSEUDONYM_SIZE, Identity, SealKey, hide
from renkei.messages.wire import Enrolment, Envelope


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``keys.toml``: base64 seeds. ``log`` and ``master`` only at hub and commission."""

    identity: str
    bus: str
    seal: str
    vault: str
    log: str = ""
    master: str = ""


class Keys:
    """Everything secret an institution holds outside its database."""

    def __init__(self, body: str, file: KeyFile) -> None:
        seeds = [file.identity, file.bus, file.seal, file.vault, file.log, file.master]
        used = [s for s in seeds if s]
        if len(set(used)) != len(used):
            raise SetupError("One key is used for two purposes.", code="key-reuse", remedy="Create new keys.")
        self.body = body
        self.identity = Identity(body, b64decode(file.identity))
        self.bus_seed = b64decode(file.bus)
        self.seal = SealKey(b64decode(file.seal))
        self._vault = SecretBox(b64decode(file.vault))
        self._agreed: dict[bytes, bytes] = {}
        self._log = file.log
        self._master = file.master

    @classmethod
    def create(cls, home: Home, *, keeper: bool) -> None:
        """Write a new ``keys.toml``; refuses to overwrite one."""
        if (home / "keys.toml").exists():
            raise SetupError(
                f"{home / 'keys.toml'} exists.", code="keys-exist", remedy="Keep it: it cannot be made again."
            )

        def seed(size: int = 32) -> str:
            return b64encode(secrets.token_bytes(size)).decode()

        bus = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER)
        home.write_toml(
            "keys.toml",
            KeyFile(seed(), b64encode(bus).decode(), seed(), seed(), *((seed(), seed(64)) if keeper else ())),
            private=True,
        )

    @classmethod
    def load(cls, home: Home, body: str) -> Keys:
        return cls(body, home.read_toml("keys.toml", KeyFile))

    @property
    def bus_public(self) -> str:
        """The public nkey by which the bus knows this institution."""
        return nkeys.from_seed(bytearray(self.bus_seed)).public_key.decode()  # type: ignore[no-any-return]

    def log_signer(self, name: str, kind: int) -> Signer:
        """The checkpoint signer of a keeper."""
        if not self._log:
            raise SetupError("This institution has no log key.", code="no-log-key")
        return Signer(name, kind, b64decode(self._log))

    def converter(self) -> Converter:
        """The converter of a keeper."""
        if not self._master:
            raise SetupError("This institution holds no converter's master secret.", code="no-master")
        return Converter(b64decode(self._master))

    def derive(self, purpose: str) -> bytes:
        """A 32-byte secret for one purpose, from the vault key."""
        return hmac.digest(bytes(self._vault), b"renkei/v1/derive/" + purpose.encode(), "sha256")

    def pseudonym(self, clerk: str) -> bytes:
        """What the record calls a clerk of ours: 8 bytes, the same each time, which nobody else can make out."""
        return hmac.digest(self.derive("clerk"), clerk.encode(), "sha256")[:PSEUDONYM_SIZE]

    def hide(self, pseudonym: bytes, peer: bytes, nonce: bytes) -> bytes:
        """A pseudonym for whoever has the sealing key ``peer``, or (the same operation) what such a peer hid for us."""
        if peer not in self._agreed:
            self._agreed[peer] = self.seal.agree(peer)
        return hide(pseudonym, self._agreed[peer], nonce)

    def lock(self, data: bytes) -> bytes:
        """``data`` encrypted for this institution's own database."""
        return bytes(self._vault.encrypt(data))

    def unlock(self, data: bytes) -> bytes:
        """What ``lock`` locked."""
        try:
            return bytes(self._vault.decrypt(data))
        except (CryptoError, ValueError):
            raise NotGenuine("A stored secret does not open with this key.", code="vault") from None

    def enrolment(self, settings: Settings) -> Envelope:
        """This institution's signed request to be enrolled."""
        return self.identity.sign(
            Enrolment(
                settings.body,
                settings.role,
                list(settings.kinds),
                self.identity.public,
                self.bus_public,
                self.seal.public,
            )
        )
