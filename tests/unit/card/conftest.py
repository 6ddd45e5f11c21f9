"""A card as it is handed over, without certificates: keys, PINs, and what is printed on it."""

import os

import pytest

from renkei.card import layout
from renkei.card.chip import Chip, Memory, admin_response
from renkei.card.client import AUTHENTICATION, SIGNATURE, CardClient
from renkei.card.layout import AUTHENTICATION_AID, HELPER_AID, Attributes

HELD = Attributes("連携 花子", "恵仁県大橋市本町一丁目2番3号", "19990401", "2")
NUMBER = "123456789018"
PINS = {layout.AUTHENTICATION_PIN: "1234", layout.SIGNATURE_PIN: "ABC123", layout.HELPER_PIN: "9876"}


def personalise(memory):
    """As the issuer does it, over the card's own commands."""
    client = CardClient(Chip(memory).transmit)
    client.administer(lambda serial, challenge: admin_response(memory.admin, serial, challenge))
    for purpose in (AUTHENTICATION, SIGNATURE):
        client.generate(purpose)
        client.set_pin(AUTHENTICATION_AID, purpose.pin, PINS[purpose.pin])
        client.write(AUTHENTICATION_AID, purpose.certificate, b"\x30\x82\x01\x00" + bytes(256))
    client.write(HELPER_AID, layout.NUMBER, layout.write_number(NUMBER))
    client.write(HELPER_AID, layout.ATTRIBUTES, layout.write_attributes(HELD))
    client.set_pin(HELPER_AID, layout.HELPER_PIN, PINS[layout.HELPER_PIN])
    return memory


@pytest.fixture(scope="session")
def issued():
    return personalise(Memory("EN00000001", os.urandom(32)))
