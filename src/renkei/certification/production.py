"""Production of a card: keys made on it, certificates over them, what is printed on it, and PINs set when it is handed over."""

from __future__ import annotations

import hmac
import secrets
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from renkei.card import layout
from renkei.card.chip import Memory, admin_response
from renkei.card.client import PURPOSES, SIGNATURE, CardClient, pin_form
from renkei.card.layout import AUTHENTICATION_AID, HELPER_AID
from renkei.certification.office import Holder, Office


class Pins(NamedTuple):
    """What the holder chose at the counter."""

    authentication: str
    signature: str
    printed: str


class Producer:
    """Makes and administers cards. ``master`` (32 bytes) is what all cards' own issuer keys come from."""

    def __init__(self, office: Office, master: bytes) -> None:
        self._office, self._master = office, master

    def admin_key(self, serial: str) -> bytes:
        """The key by which we prove ourselves to this card."""
        return hmac.digest(self._master, b"renkei/v1/card-admin" + serial.encode(), "sha256")

    def blank(self) -> Memory:
        """A chip as it comes from the factory."""
        serial = f"EN{secrets.randbelow(10**10):010d}"
        return Memory(serial, self.admin_key(serial))

    def respond(self, serial: str, challenge: bytes) -> bytes:
        """What a counter passes on to a card that is to be administered."""
        return admin_response(self.admin_key(serial), serial, challenge)

    async def personalise(self, card: CardClient, holder: Holder, number: str) -> None:
        """Fill a blank card: it holds no PIN yet, so that nobody can use it before it is handed over."""
        card.administer(self.respond)
        for name, purpose in PURPOSES.items():
            public = rsa.RSAPublicNumbers(65537, card.generate(purpose)).public_key()
            made = await self._office.issue(name, public, holder)
            card.write(AUTHENTICATION_AID, purpose.certificate, made.public_bytes(Encoding.DER))
            card.write(AUTHENTICATION_AID, purpose.ca, self._office.authority(name).public_bytes(Encoding.DER))
        card.write(AUTHENTICATION_AID, layout.TOKEN_INFO, layout.TOKEN)
        card.write(HELPER_AID, layout.NUMBER, layout.write_number(number))
        card.write(HELPER_AID, layout.ATTRIBUTES, layout.write_attributes(holder.attributes))

    def demand_fit(self, pins: Pins) -> None:
        """``Malformed`` if one of them can be no PIN."""
        for aid, pin, value in _places(pins):
            rule = layout.APPLICATIONS[aid][pin]
            assert isinstance(rule, layout.PinRule)
            if not rule.form.match(value.encode()):
                raise pin_form(rule)

    def hand_over(self, card: CardClient, pins: Pins) -> None:
        """Set the PINs that the holder has chosen; ``Malformed`` before any is set if one cannot be."""
        self.demand_fit(pins)
        card.administer(self.respond)
        for aid, pin, value in _places(pins):
            card.set_pin(aid, pin, value)

    async def rewrite(self, card: CardClient, holder: Holder, reason: str) -> None:
        """After a move or another name, at the counter: what is printed, and the signature certificate, anew; the old one is revoked."""
        await self._office.revoke_card(holder.card, reason)
        card.administer(self.respond)
        public = rsa.RSAPublicNumbers(65537, card.generate(SIGNATURE)).public_key()
        made = await self._office.issue(SIGNATURE.name, public, holder)
        card.write(AUTHENTICATION_AID, SIGNATURE.certificate, made.public_bytes(Encoding.DER))
        card.write(HELPER_AID, layout.ATTRIBUTES, layout.write_attributes(holder.attributes))


def _places(pins: Pins) -> tuple[tuple[bytes, int, str], ...]:
    """Where on the card each PIN is."""
    return (
        (AUTHENTICATION_AID, layout.AUTHENTICATION_PIN, pins.authentication),
        (AUTHENTICATION_AID, layout.SIGNATURE_PIN, pins.signature),
        (HELPER_AID, layout.HELPER_PIN, pins.printed),
    )
