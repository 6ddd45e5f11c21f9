"""What is on the card: two applications with their files, PINs and keys, as software for the real card expects them.

The numbers are those by which OpenSC's ``jpki`` driver and other open programs address the card; who administers it, and how, is not
public, and is our own (``chip.Chip``).
"""

from __future__ import annotations

import re
from typing import NamedTuple

ATR = bytes.fromhex("3BE000FF8131FE4514")
AUTHENTICATION_AID = bytes.fromhex("D392F000260100000001")
"""Public personal authentication: certificates and keys."""
HELPER_AID = bytes.fromhex("D3921000310001010408")
"""What is printed on the card: number and four attributes."""

SIGNATURE_CERTIFICATE, SIGNATURE_CA = 0x0001, 0x0002
AUTHENTICATION_CERTIFICATE, AUTHENTICATION_CA = 0x000A, 0x000B
TOKEN_INFO = 0x0006
AUTHENTICATION_KEY, AUTHENTICATION_PIN = 0x0017, 0x0018
SIGNATURE_KEY, SIGNATURE_PIN = 0x001A, 0x001B
NUMBER, ATTRIBUTES, HELPER_PIN = 0x0001, 0x0002, 0x0011

TOKEN = b"JPKIAPICCTOKEN2".ljust(32)
FILE_MOST = 8192
"""Bytes of a file at most."""


class File(NamedTuple):
    """A transparent file; ``pin`` is needed to read it, 0 for none."""

    pin: int = 0


class Key(NamedTuple):
    """An RSA key of 2,048 bits that signs once ``pin`` was given."""

    pin: int


class PinRule(NamedTuple):
    """What a PIN may be, and how many wrong ones lock it."""

    form: re.Pattern[bytes]
    tries: int


FOUR_DIGITS = re.compile(rb"[0-9]{4}\Z")
SIGNING = re.compile(rb"[0-9A-Z]{6,16}\Z")

APPLICATIONS: dict[bytes, dict[int, File | Key | PinRule]] = {
    AUTHENTICATION_AID: {
        SIGNATURE_CERTIFICATE: File(pin=SIGNATURE_PIN),
        SIGNATURE_CA: File(),
        AUTHENTICATION_CERTIFICATE: File(),
        AUTHENTICATION_CA: File(),
        TOKEN_INFO: File(),
        AUTHENTICATION_KEY: Key(pin=AUTHENTICATION_PIN),
        AUTHENTICATION_PIN: PinRule(FOUR_DIGITS, 3),
        SIGNATURE_KEY: Key(pin=SIGNATURE_PIN),
        SIGNATURE_PIN: PinRule(SIGNING, 5),
    },
    HELPER_AID: {
        NUMBER: File(pin=HELPER_PIN),
        ATTRIBUTES: File(pin=HELPER_PIN),
        HELPER_PIN: PinRule(FOUR_DIGITS, 3),
    },
}


def tlv(tag: int, value: bytes) -> bytes:
    """BER-TLV (ISO 7816-4 annex E) of up to 65,535 bytes."""
    name = tag.to_bytes(2 if tag > 0xFF else 1, "big")
    size = len(value)
    if size < 0x80:
        return name + bytes([size]) + value
    return name + (b"\x81" + bytes([size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")) + value


class Attributes(NamedTuple):
    """The four attributes (Act art. 2): ``birth`` is YYYYMMDD, ``sex`` as JIS X 0303 (1 male, 2 female, 9 not applicable)."""

    name: str
    address: str
    birth: str
    sex: str


def write_number(number: str) -> bytes:
    """The content of the file ``NUMBER``."""
    return tlv(0xFF10, number.encode("ascii"))


def read_number(content: bytes) -> str:
    return parse(content)[0xFF10].decode("ascii")


def write_attributes(a: Attributes) -> bytes:
    """The content of the file ``ATTRIBUTES``: a table of where each one is, and these."""
    parts = [tlv(0xDF22, a.name.encode()), tlv(0xDF23, a.address.encode()), tlv(0xDF24, a.birth.encode("ascii"))]
    parts.append(tlv(0xDF25, a.sex.encode("ascii")))
    places, at = b"", 0
    for part in parts:
        places += at.to_bytes(2, "big")
        at += len(part)
    return tlv(0xFF20, tlv(0xDF21, places) + b"".join(parts))


def read_attributes(content: bytes) -> Attributes:
    inner = parse(parse(content)[0xFF20])
    return Attributes(*(inner[tag].decode() for tag in (0xDF22, 0xDF23, 0xDF24, 0xDF25)))


def parse(content: bytes) -> dict[int, bytes]:
    """The values of a run of BER-TLV with two-byte tags; ``ValueError`` for anything else. What follows the last (padding) is left."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 3 <= len(content) and content[at]:
        tag, size, at = int.from_bytes(content[at : at + 2], "big"), content[at + 2], at + 3
        if size & 0x80:
            width = size & 0x7F
            size, at = int.from_bytes(content[at : at + width], "big"), at + width
        if at + size > len(content):
            raise ValueError("a value goes beyond its file")
        found[tag], at = content[at : at + size], at + size
    return found
