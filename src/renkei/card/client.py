"""What a program wants of a card, in APDUs: certificates, signatures, PINs, what is printed on it; and what only the issuer may.

It speaks to any card of this kind through ``transmit``: one in a reader (``reader.Reader``), or a ``chip.Chip`` itself.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

from renkei.card import layout
from renkei.card.layout import Attributes
from renkei.errors import Conflict, Malformed, NotFound, Refused, RenkeiError

Transmit = Callable[[bytes], bytes]
READ_AT_ONCE = 0xE0
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""DigestInfo of SHA-256 before the digest (RFC 8017 §9.2, note 1)."""


class Purpose(NamedTuple):
    """One of the card's two certificates with its key and PIN."""

    name: str
    certificate: int
    ca: int
    key: int
    pin: int


AUTHENTICATION = Purpose(
    "authentication",
    layout.AUTHENTICATION_CERTIFICATE,
    layout.AUTHENTICATION_CA,
    layout.AUTHENTICATION_KEY,
    layout.AUTHENTICATION_PIN,
)
SIGNATURE = Purpose(
    "signature", layout.SIGNATURE_CERTIFICATE, layout.SIGNATURE_CA, layout.SIGNATURE_KEY, layout.SIGNATURE_PIN
)
PURPOSES = {p.name: p for p in (AUTHENTICATION, SIGNATURE)}


class CardClient:
    """A card that is spoken to. Not for several threads at once."""

    def __init__(self, transmit: Transmit) -> None:
        self._transmit = transmit

    # ------------------------------------------------------------------ certificates and signatures

    def certificate(self, purpose: Purpose, pin: str = "") -> bytes:
        """A certificate (DER). That for signatures needs its PIN, for it says who the holder is."""
        self._choose(layout.AUTHENTICATION_AID)
        if purpose is SIGNATURE:
            self._give(purpose.pin, pin)
        return self._certificate(purpose.certificate)

    def ca(self, purpose: Purpose) -> bytes:
        """The certificate of who issued it (DER)."""
        self._choose(layout.AUTHENTICATION_AID)
        return self._certificate(purpose.ca)

    def sign(self, purpose: Purpose, pin: str, message: bytes) -> bytes:
        """256 bytes: RSASSA-PKCS1-v1_5 with SHA-256 over ``message``."""
        self._choose(layout.AUTHENTICATION_AID)
        self._give(purpose.pin, pin)
        self._pick(purpose.key)
        return self._ask(0x80, 0x2A, 0x00, 0x80, SHA256_INFO + sha256(message).digest(), expected=256)

    # ------------------------------------------------------------------ what is printed on it

    def number(self, pin: str) -> str:
        """The individual number, for which the helper application's PIN is needed."""
        self._choose(layout.HELPER_AID)
        self._give(layout.HELPER_PIN, pin)
        self._pick(layout.NUMBER)
        return layout.read_number(self._content())

    def attributes(self, pin: str) -> Attributes:
        """Name, address, date of birth and sex."""
        self._choose(layout.HELPER_AID)
        self._give(layout.HELPER_PIN, pin)
        self._pick(layout.ATTRIBUTES)
        return layout.read_attributes(self._content())

    # ------------------------------------------------------------------ PINs

    def tries(self, aid: bytes, pin: int) -> int:
        """How many wrong PINs are borne still; 0 if it is locked."""
        self._choose(aid)
        self._pick(pin)
        status = int.from_bytes(self._transmit(bytes((0x00, 0x20, 0x00, 0x80)))[-2:], "big")
        if status & 0xFFF0 != 0x63C0:
            raise _strange(status)
        return status & 0x0F

    def change_pin(self, aid: bytes, pin: int, old: str, new: str) -> None:
        """Another PIN, by whoever has the old one."""
        rule = layout.APPLICATIONS[aid][pin]
        assert isinstance(rule, layout.PinRule)
        if not rule.form.match(new.encode()):
            raise pin_form(rule)
        self._choose(aid)
        self._give(pin, old)
        self._ask(0x00, 0x24, 0x01, 0x80, new.encode())

    # ------------------------------------------------------------------ the issuer's

    def serial(self) -> str:
        """The card's number, by which the issuer knows it."""
        return self._ask(0x00, 0xCA, 0x00, 0x5A, expected=256).decode("ascii", "replace")

    def administer(self, respond: Callable[[str, bytes], bytes]) -> None:
        """Prove the issuer to the card: ``respond(serial, challenge)`` is asked of whoever holds the issuer's keys."""
        serial = self.serial()
        challenge = self._ask(0x00, 0x84, 0x00, 0x00, expected=16)
        self._ask(0x00, 0x82, 0x00, 0x00, respond(serial, challenge))

    def generate(self, purpose: Purpose) -> int:
        """A new key pair on the card; its modulus."""
        self._choose(layout.AUTHENTICATION_AID)
        self._pick(purpose.key)
        return int.from_bytes(self._ask(0x00, 0x47, 0x00, 0x00, expected=256), "big")

    def write(self, aid: bytes, file: int, content: bytes) -> None:
        """A file's content anew."""
        self._choose(aid)
        self._pick(file)
        for at in range(0, len(content), READ_AT_ONCE):
            self._ask(0x00, 0xD6, at >> 8, at & 0xFF, content[at : at + READ_AT_ONCE])

    def set_pin(self, aid: bytes, pin: int, new: str) -> None:
        """The first PIN, or another for one that is locked or forgotten."""
        self._choose(aid)
        self._pick(pin)
        self._ask(0x00, 0x2C, 0x02, 0x80, new.encode())

    # ------------------------------------------------------------------ APDUs

    def _choose(self, aid: bytes) -> None:
        self._ask(0x00, 0xA4, 0x04, 0x0C, aid)

    def _pick(self, file: int) -> None:
        self._ask(0x00, 0xA4, 0x02, 0x0C, file.to_bytes(2, "big"))

    def _give(self, pin: int, value: str) -> None:
        self._pick(pin)
        if not value.isascii() or not 0 < len(value) <= 16:  # an empty one would only ask for the tries left
            raise Malformed(
                "A PIN has 4 digits, or 6 to 16 letters and digits.",
                ja="暗証番号の形式が違います。",
                remedy=CHOSEN[0],
                remedy_ja=CHOSEN[1],
                code="pin-form",
            )
        self._ask(0x00, 0x20, 0x00, 0x80, value.encode())

    def _certificate(self, file: int) -> bytes:
        self._pick(file)
        content = self._content()
        if content[:2] != b"\x30\x82":
            raise NotFound(
                "The card has no such certificate.",
                ja="カードに電子証明書がありません。",
                remedy="Have it made at your municipality's counter.",
                remedy_ja="市区町村の窓口で発行を受けてください。",
                code="no-certificate",
            )
        return content[: int.from_bytes(content[2:4], "big") + 4]

    def _content(self) -> bytes:
        """The selected file, to its end."""
        content = b""
        while True:
            at = len(content)
            answer = self._transmit(bytes((0x00, 0xB0, at >> 8, at & 0xFF, READ_AT_ONCE)))
            status, part = int.from_bytes(answer[-2:], "big"), answer[:-2]
            content += part
            if status == 0x6B00 or (status in (0x9000, 0x6282) and len(part) < READ_AT_ONCE):
                return content
            if status != 0x9000:
                raise _strange(status)

    def _ask(self, cla: int, ins: int, p1: int, p2: int, data: bytes = b"", *, expected: int = 0) -> bytes:
        """The answer's data; an error of ours for any status but success."""
        body = bytes([len(data)]) + data if data else b""
        answer = self._transmit(bytes((cla, ins, p1, p2)) + body + (bytes([expected & 0xFF]) if expected else b""))
        status = int.from_bytes(answer[-2:], "big")
        if status != 0x9000:
            raise _strange(status)
        return answer[:-2]


CHOSEN = "Give the one you chose when you got the card.", "カードの受取時に決めた番号を入力してください。"


def pin_form(rule: layout.PinRule) -> RenkeiError:
    """What a PIN may be, as an error."""
    if rule.form is layout.FOUR_DIGITS:
        return Malformed(
            "This PIN has four digits.",
            ja="暗証番号は数字4桁です。",
            remedy=CHOSEN[0],
            remedy_ja=CHOSEN[1],
            code="pin-form",
        )
    return Malformed(
        "This PIN has 6 to 16 capital letters and digits.",
        ja="暗証番号は英大文字と数字の6〜16文字です。",
        remedy=CHOSEN[0],
        remedy_ja=CHOSEN[1],
        code="pin-form",
    )


def _strange(status: int) -> RenkeiError:
    """What a card answered, as an error."""
    if status & 0xFFF0 == 0x63C0:
        left = status & 0x0F
        return Refused(
            f"The PIN is wrong; {left} {'try is' if left == 1 else 'tries are'} left.",
            ja=f"暗証番号が違います。残り{left}回で使えなくなります。",
            remedy="Be sure of it before you try again.",
            remedy_ja="番号を確かめてから入力してください。",
            code="pin-wrong",
        )
    match status:
        case 0x6983:
            return Refused(
                "The PIN is locked.",
                ja="暗証番号が使えなくなっています。",
                remedy="Have it set anew at a municipal counter.",
                remedy_ja="市区町村の窓口で再設定してください。",
                code="pin-locked",
            )
        case 0x6984:
            return Conflict(
                "No PIN has been set on this card yet.",
                ja="暗証番号が設定されていません。",
                remedy="Have it set at a municipal counter.",
                remedy_ja="市区町村の窓口で設定してください。",
                code="pin-unset",
            )
        case 0x6982:
            return Refused(
                "The card does not allow this.",
                ja="カードがこの操作を許可していません。",
                remedy="Give the PIN that this needs.",
                remedy_ja="必要な暗証番号を入力してください。",
                code="card-security",
            )
        case 0x6A82:
            return NotFound(
                "This is no Individual Number Card.",
                ja="個人番号カードではありません。",
                remedy="Put your Individual Number Card onto the reader.",
                remedy_ja="個人番号カードをリーダーに置いてください。",
                code="other-card",
            )
    return Conflict(
        f"The card answered {status:04X}.",
        ja=f"カードの応答: {status:04X}",
        remedy="Take the card off the reader, put it back, and try again.",
        remedy_ja="カードをリーダーに置き直して、もう一度お試しください。",
        code="card-status",
    )
