"""A card's chip: what it answers to each command (ISO 7816-4, -8), and what it remembers.

Everything that survives power-off is in ``Memory``, which is kept (``keep``) before the answer that depends on it is given; what does not,
the selected application and file and the PINs given, is in the ``Chip`` and gone with ``reset``. No command ends in an error of the
program's: what a chip cannot do it answers by a status word.

The issuer proves itself by a key of the card's own (``GET CHALLENGE``, ``EXTERNAL AUTHENTICATE`` with ``admin_response``); only then
are keys made, files written and locked PINs set anew. The real card's own way of this is not public; this is ours.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable
from typing import NamedTuple, NoReturn, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from renkei.card.layout import APPLICATIONS, FILE_MOST, File, Key, PinRule

S = TypeVar("S", File, Key, PinRule)
OK = 0x9000
WRONG_LENGTH, NOT_ALLOWED, LOCKED, UNUSABLE, NO_CONDITIONS, NO_FILE_SELECTED = (
    0x6700,
    0x6982,
    0x6983,
    0x6984,
    0x6985,
    0x6986,
)
WRONG_FILE, WRONG_DATA, NOT_FOUND, WRONG_PARAMETERS, BEYOND_END = 0x6981, 0x6A80, 0x6A82, 0x6A86, 0x6B00
UNKNOWN_INSTRUCTION, UNKNOWN_CLASS = 0x6D00, 0x6E00
ADMIN_TRIES = 10
"""Wrong proofs of the issuer after which nobody administers the card any more."""
SIGNED_MOST = 245
"""Bytes that fit into a block of PKCS#1 v1.5 with 2,048 bits (RFC 8017 §7.2.1)."""


class PinState(msgspec.Struct):
    """A PIN and how many wrong ones it still bears; no value before the card was handed over."""

    value: bytes = b""
    left: int = 0


class Memory(msgspec.Struct):
    """What the chip remembers without power. ``files``, ``keys`` (PKCS#8) and ``pins`` by application and number, both hexadecimal."""

    serial: str
    admin: bytes
    """32 bytes by which the issuer proves itself."""
    admin_left: int = ADMIN_TRIES
    files: dict[str, bytes] = {}
    keys: dict[str, bytes] = {}
    pins: dict[str, PinState] = {}


class Command(NamedTuple):
    """A command APDU in its short form (ISO 7816-3 §12.1.3)."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    expected: int
    """Bytes of answer asked for, at most 256; 0 for none."""

    @classmethod
    def parse(cls, apdu: bytes) -> Command | None:
        """``None`` for what is no command of the short form."""
        if len(apdu) < 4:
            return None
        (cla, ins, p1, p2), body = apdu[:4], apdu[4:]
        if not body:
            return cls(cla, ins, p1, p2, b"", 0)
        if len(body) == 1:
            return cls(cla, ins, p1, p2, b"", body[0] or 256)
        size = body[0]
        if not size or len(body) not in (size + 1, size + 2):
            return None
        expected = (body[-1] or 256) if len(body) == size + 2 else 0
        return cls(cla, ins, p1, p2, body[1 : size + 1], expected)


class _Refused(Exception):
    """A command ends in a status word."""

    def __init__(self, status: int) -> None:
        self.status = status


def _refuse(status: int) -> NoReturn:
    raise _Refused(status)


class Chip:
    """One card under power."""

    def __init__(self, memory: Memory, keep: Callable[[Memory], None] = lambda _: None) -> None:
        self._memory, self._keep = memory, keep
        self.reset()

    def reset(self) -> None:
        """Power is off, or the card was reset: nothing is selected, no PIN was given."""
        self._application = b""
        self._file = 0
        self._given: set[int] = set()
        self._challenge = b""
        self._administered = False

    def transmit(self, apdu: bytes) -> bytes:
        """The answer to a command: data and two bytes of status."""
        command = Command.parse(apdu)
        if command is None:
            return WRONG_LENGTH.to_bytes(2, "big")
        try:
            answer = self._obey(command)
        except _Refused as refused:
            return refused.status.to_bytes(2, "big")
        return answer + OK.to_bytes(2, "big")

    def _obey(self, c: Command) -> bytes:
        challenge = self._challenge
        self._challenge = b""  # good for the next command alone
        match c.cla, c.ins:
            case 0x00, 0xA4:
                return self._select(c)
            case 0x00, 0xB0:
                return self._read(c)
            case 0x00, 0xD6:
                return self._write(c)
            case 0x00, 0x20:
                return self._verify(c)
            case 0x00, 0x24:
                return self._change(c)
            case 0x00, 0x2C:
                return self._unlock(c)
            case 0x80, 0x2A:
                return self._sign(c)
            case 0x00, 0x47:
                return self._generate(c)
            case 0x00, 0x84:
                self._demand(c, p1=0, p2=0, data=False)
                self._challenge = os.urandom(16)
                return self._challenge
            case 0x00, 0x82:
                return self._authenticate(c, challenge)
            case 0x00, 0xCA:
                self._demand(c, p1=0, p2=0x5A, data=False)
                return self._memory.serial.encode("ascii")
            case 0x00 | 0x80, _:
                _refuse(UNKNOWN_INSTRUCTION)
        _refuse(UNKNOWN_CLASS)

    # ------------------------------------------------------------------ choosing and reading

    def _select(self, c: Command) -> bytes:
        if c.p1 == 0x04 and c.data not in APPLICATIONS:
            _refuse(NOT_FOUND)
        if c.p1 == 0x04 and c.p2 == 0x0C:
            self._application, self._file = c.data, 0
            self._given.clear()  # also of the same application: whoever selects it begins anew
            return b""
        if c.p1 == 0x02 and c.p2 == 0x0C:
            if len(c.data) != 2:
                _refuse(WRONG_LENGTH)
            number = int.from_bytes(c.data, "big")
            if number not in APPLICATIONS.get(self._application, {}):
                _refuse(NOT_FOUND)
            self._file = number
            return b""
        _refuse(WRONG_PARAMETERS)

    def _read(self, c: Command) -> bytes:
        file = self._selected(File)
        offset = c.p1 << 8 | c.p2
        if c.data or c.p1 & 0x80:
            _refuse(WRONG_PARAMETERS)
        if file.pin and file.pin not in self._given:
            _refuse(NOT_ALLOWED)
        content = self._memory.files.get(self._name(), b"")
        if offset >= len(content):
            _refuse(BEYOND_END)
        return content[offset : offset + c.expected]

    # ------------------------------------------------------------------ PINs

    def _verify(self, c: Command) -> bytes:
        """An empty one asks how many tries are left, and is always answered so, also when the PIN was given."""
        self._selected(PinRule)
        self._demand(c, p1=0, p2=0x80)
        pin = self._pin()
        if not c.data:
            _refuse(0x63C0 | pin.left)
        if not pin.value:
            _refuse(UNUSABLE)
        self._given.discard(self._file)
        if not pin.left:
            _refuse(LOCKED)
        pin.left -= 1
        self._keep(self._memory)  # before it is compared: power cut off now gives no free try
        if not hmac.compare_digest(pin.value, c.data):
            _refuse(0x63C0 | pin.left if pin.left else LOCKED)
        self._set(pin, pin.value)
        self._given.add(self._file)
        return b""

    def _change(self, c: Command) -> bytes:
        """By whoever has given the old one."""
        rule = self._selected(PinRule)
        self._demand(c, p1=0x01, p2=0x80)
        if self._file not in self._given:
            _refuse(NOT_ALLOWED)
        if not rule.form.match(c.data):
            _refuse(WRONG_DATA)
        self._set(self._pin(), c.data)
        return b""

    def _unlock(self, c: Command) -> bytes:
        """By the issuer: the first PIN, or another in place of one that was locked or forgotten."""
        rule = self._selected(PinRule)
        self._demand(c, p1=0x02, p2=0x80)
        if not self._administered:
            _refuse(NOT_ALLOWED)
        if not rule.form.match(c.data):
            _refuse(WRONG_DATA)
        self._given.discard(self._file)
        self._set(self._pin(), c.data)
        return b""

    def _pin(self) -> PinState:
        return self._memory.pins.setdefault(self._name(), PinState())

    def _set(self, pin: PinState, value: bytes) -> None:
        pin.value, pin.left = value, self._selected(PinRule).tries
        self._keep(self._memory)

    # ------------------------------------------------------------------ keys

    def _sign(self, c: Command) -> bytes:
        """256 bytes over a DigestInfo (PKCS#1 v1.5)."""
        key = self._selected(Key)
        self._demand(c, p1=0, p2=0x80)
        if key.pin not in self._given:
            _refuse(NOT_ALLOWED)
        if not 0 < len(c.data) <= SIGNED_MOST:
            _refuse(WRONG_DATA)
        stored = self._memory.keys.get(self._name())
        if stored is None:
            _refuse(NO_CONDITIONS)
        private = load_der_private_key(stored, None, unsafe_skip_rsa_key_validation=True)  # it was made here
        assert isinstance(private, rsa.RSAPrivateKey)
        return private.sign(c.data, padding.PKCS1v15(), NoDigestInfo())

    def _generate(self, c: Command) -> bytes:
        """A new key pair, which never leaves; the answer is its modulus (256 bytes; the exponent is 65,537)."""
        self._selected(Key)
        self._demand(c, p1=0, p2=0, data=False)
        if not self._administered:
            _refuse(NOT_ALLOWED)
        private = rsa.generate_private_key(65537, 2048)
        self._memory.keys[self._name()] = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self._keep(self._memory)
        return private.public_key().public_numbers().n.to_bytes(256, "big")

    # ------------------------------------------------------------------ the issuer

    def _authenticate(self, c: Command, challenge: bytes) -> bytes:
        self._demand(c, p1=0, p2=0)
        self._administered = False
        if not challenge:
            _refuse(NO_CONDITIONS)
        if not self._memory.admin_left:
            _refuse(LOCKED)
        self._memory.admin_left -= 1
        self._keep(self._memory)
        if not hmac.compare_digest(admin_response(self._memory.admin, self._memory.serial, challenge), c.data):
            _refuse(0x63C0 | min(self._memory.admin_left, 15))
        self._memory.admin_left = ADMIN_TRIES
        self._keep(self._memory)
        self._administered = True
        return b""

    def _write(self, c: Command) -> bytes:
        """At offset 0 the file begins anew."""
        self._selected(File)
        offset, name = c.p1 << 8 | c.p2, self._name()
        if not self._administered:
            _refuse(NOT_ALLOWED)
        content = self._memory.files.get(name, b"") if offset else b""
        if not c.data or offset != len(content) or offset + len(c.data) > FILE_MOST:
            _refuse(BEYOND_END)
        self._memory.files[name] = content + c.data
        self._keep(self._memory)
        return b""

    # ------------------------------------------------------------------ what is selected

    def _selected(self, kind: type[S]) -> S:
        found = APPLICATIONS.get(self._application, {}).get(self._file)
        if found is None:
            _refuse(NO_FILE_SELECTED)
        if not isinstance(found, kind):
            _refuse(WRONG_FILE)
        return found

    def _name(self) -> str:
        return f"{self._application.hex()}/{self._file:04x}"

    @staticmethod
    def _demand(c: Command, *, p1: int, p2: int, data: bool = True) -> None:
        if (c.p1, c.p2) != (p1, p2):
            _refuse(WRONG_PARAMETERS)
        if c.data and not data:
            _refuse(WRONG_LENGTH)


def admin_response(admin: bytes, serial: str, challenge: bytes) -> bytes:
    """What proves the issuer to the card: 16 bytes."""
    return hmac.digest(admin, b"renkei/v1/card" + serial.encode() + b"\0" + challenge, "sha256")[:16]
