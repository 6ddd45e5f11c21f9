"""Checkpoints, signed notes, cosignatures and inclusion-proof files, in the C2SP formats. Pure.

A log is signed by its operator (Ed25519 note signature, type 0x01) and cosigned by witnesses (cosignature/v1, type 0x04).
Signing keys are 32-byte Ed25519 seeds; they sign nothing but checkpoints.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from renkei.errors import Malformed, NotGenuine
from renkei.ledger import merkle

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
NOTE = 0x01
COSIGNATURE = 0x04


class Verifier(NamedTuple):
    """A public key of the log or a witness: its name, kind (``NOTE`` or ``COSIGNATURE``) and 32 bytes."""

    name: str
    kind: int
    key: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name ‖ 0x0A ‖ kind ‖ key)[:4] (C2SP signed-note)."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.key).digest()[:4]

    def to_text(self) -> str:
        """``name+hex(key id)+base64(kind ‖ key)``."""
        return f"{self.name}+{self.key_id.hex()}+{_b64(bytes([self.kind]) + self.key)}"

    @classmethod
    def from_text(cls, text: str) -> Verifier:
        """Read a vkey line; ``Malformed`` if it is not one or its id does not match."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise Malformed("A verifier key has the form name+id+key.", code="bad-vkey")
        if parts[0].split() != [parts[0]]:
            raise Malformed("A key's name is not empty and has no spaces.", code="bad-vkey")
        data = from_base64(parts[2], "bad-vkey")
        if len(data) != 33 or data[0] not in (NOTE, COSIGNATURE):
            raise Malformed("A verifier key holds one kind byte and 32 key bytes.", code="bad-vkey")
        key = cls(parts[0], data[0], data[1:])
        if key.key_id.hex() != parts[1]:
            raise Malformed("The verifier key's id does not belong to its name and key.", code="bad-vkey")
        return key


class Signer:
    """Signs notes (operator) or checkpoints (witness) with one Ed25519 seed."""

    def __init__(self, name: str, kind: int, seed: bytes) -> None:
        self._key = SigningKey(seed)
        self.verifier = Verifier(name, kind, bytes(self._key.verify_key))

    def sign(self, text: str, *, time: int = 0) -> str:
        """The signature line for ``text``; ``time`` (seconds since 1970) enters a cosignature only."""
        if self.verifier.kind == NOTE:
            signature = self._key.sign(text.encode()).signature
        else:
            signature = time.to_bytes(8, "big") + self._key.sign(_cosigned(text, time)).signature
        return f"— {self.verifier.name} {_b64(self.verifier.key_id + signature)}\n"


class Checkpoint(NamedTuple):
    """The head of a log: where it is (``origin``), how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Read the body of a checkpoint note; extension lines are ignored, but not empty (C2SP tlog-checkpoint)."""
        *lines, end = text.split("\n")
        if len(lines) < 3 or not all(lines) or end:
            raise Malformed("A checkpoint has an origin, a size and a root line.", code="bad-checkpoint")
        root = from_base64(lines[2], "bad-checkpoint")
        if len(root) != merkle.HASH_SIZE:
            raise Malformed("A checkpoint's root is 32 bytes.", code="bad-checkpoint")
        return cls(lines[0], from_decimal(lines[1], "bad-checkpoint"), root)


def split_note(note: str) -> tuple[str, list[str]]:
    """The text of a signed note and its signature lines. A note holds no control character but line ends (C2SP signed-note)."""
    text, found, signatures = note.rpartition("\n\n")
    if not found or not signatures.endswith("\n") or _CONTROL.search(note):
        raise Malformed("A signed note has a text, an empty line and signature lines.", code="bad-note")
    return text + "\n", signatures[:-1].split("\n")


def verify_note(note: str, verifiers: Sequence[Verifier]) -> str:
    """The text of ``note``, once **every** verifier's signature on it is found good; else ``NotGenuine``."""
    text, lines = split_note(note)
    signatures: dict[tuple[str, bytes], bytes] = {}
    for line in lines:
        dash, _, rest = line.partition(" ")
        name, _, data = rest.partition(" ")
        if dash != "—" or not name:
            raise Malformed("A signature line has the form — name base64.", code="bad-note")
        raw = from_base64(data, "bad-note")
        if len(raw) < 5 or (name, raw[:4]) in signatures:
            raise Malformed("A signature line is too short or repeated.", code="bad-note")
        signatures[name, raw[:4]] = raw[4:]
    for verifier in verifiers:
        _verify_one(text, verifier, signatures.get((verifier.name, verifier.key_id)))
    return text


def cosigners(note: str, verifiers: Sequence[Verifier]) -> list[Verifier]:
    """Those of ``verifiers`` whose good signature ``note`` carries."""
    found = []
    for verifier in verifiers:
        try:
            verify_note(note, [verifier])
        except NotGenuine:
            continue
        found.append(verifier)
    return found


def _verify_one(text: str, verifier: Verifier, signature: bytes | None) -> None:
    if signature is None:
        raise NotGenuine(f"The checkpoint carries no signature of {verifier.name}.", code="signature-missing")
    message = text.encode()
    if verifier.kind == COSIGNATURE:
        time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        message = _cosigned(text, time)
    try:
        VerifyKey(verifier.key).verify(message, signature)
    except (BadSignatureError, ValueError):
        raise NotGenuine(
            f"The signature of {verifier.name} on the checkpoint is wrong.", code="signature-wrong"
        ) from None


@dataclass(frozen=True, slots=True)
class Proof:
    """That one leaf is in the log: its index, the path, the signed checkpoint, and what the file carries along."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    def to_text(self) -> str:
        """The ``c2sp.org/tlog-proof@v1`` form."""
        extra = f"extra {_b64(self.extra)}\n" if self.extra else ""
        hashes = "".join(_b64(h) + "\n" for h in self.path)
        return f"c2sp.org/tlog-proof@v1\n{extra}index {self.index}\n{hashes}\n{self.checkpoint}"

    @classmethod
    def from_text(cls, text: str) -> Proof:
        """Read a proof file. Strict: unknown lines, spare bytes and non-canonical base64 are ``Malformed``."""
        head, blank, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != "c2sp.org/tlog-proof@v1":
            raise Malformed("This is not a c2sp.org/tlog-proof@v1 file.", code="bad-proof")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = from_base64(lines.pop(0)[6:], "bad-proof")
        index = lines.pop(0) if lines else ""
        if not index.startswith("index "):
            raise Malformed("A proof names its leaf on a line `index <n>`.", code="bad-proof")
        position = from_decimal(index[6:], "bad-proof")
        return cls(position, tuple(from_base64(h, "bad-proof") for h in lines), checkpoint, extra)

    def verify(self, leaf: bytes, origin: str | None, check: Callable[[str], str]) -> Checkpoint:
        """Verify that leaf hash ``leaf`` is in the log. ``check`` answers a note's text once its signatures are good."""
        checkpoint = Checkpoint.from_text(check(self.checkpoint))
        if origin is not None and checkpoint.origin != origin:
            raise NotGenuine("The checkpoint is of another log.", code="other-log")
        merkle.verify_inclusion(leaf, self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def from_decimal(text: str, code: str) -> int:
    """A number as these formats write it: ASCII digits without leading zeros, at most 18; else ``Malformed``."""
    if not (text.isascii() and text.isdigit()) or (text != "0" and text[0] == "0") or len(text) > 18:
        raise Malformed("A size or index is a decimal number without leading zeros.", code=code)
    return int(text)


def from_base64(text: str, code: str) -> bytes:
    """Bytes from canonical base64, at least one; else ``Malformed``."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or _b64(data) != text:  # refuse spare bits too: every byte of a file is under the proof or refused
        raise Malformed("A value that should be base64 is not.", code=code)
    return data
