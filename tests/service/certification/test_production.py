"""Cards as they are made, handed over, unlocked and written anew at a counter."""

import os

import pytest
from cryptography import x509

from renkei.card.chip import Chip
from renkei.card.client import AUTHENTICATION, SIGNATURE, CardClient
from renkei.card.layout import AUTHENTICATION_AID, AUTHENTICATION_PIN
from renkei.certification import store
from renkei.certification.production import Pins, Producer
from renkei.errors import Malformed, RenkeiError
from renkei.institution.relying import attributes_of
from tests.service.certification.conftest import HANAKO, NEEDS_TOKEN

pytestmark = NEEDS_TOKEN
PINS = Pins("1234", "ABC123", "9876")
MOVED = HANAKO._replace(address="恵仁県霧山町2番地")


@pytest.fixture(scope="module")
def producer(bureau):
    return Producer(bureau.office, os.urandom(32))


@pytest.fixture
def made(bureau, producer):
    """A card that was handed over, and who holds it."""
    memory = producer.blank()
    client, holder = CardClient(Chip(memory).transmit), bureau.holder(card=memory.serial)
    bureau.do(producer.personalise(client, holder, "123456789018"))
    producer.hand_over(client, PINS)
    return client, holder


def states(bureau, card):
    rows = bureau.database.read_now(lambda c: store.of_card(c, card))
    return sorted((r.purpose, r.state, r.reason) for r in rows)


def test_a_card_that_was_handed_over_works_and_the_issuer_s_key_is_its_own(producer, made):
    client, holder = made
    assert len(client.sign(SIGNATURE, "ABC123", b"x")) == 256
    assert client.number("9876") == "123456789018"
    other = producer.blank()
    assert producer.admin_key(other.serial) != producer.admin_key(holder.card)
    stranger = Producer(producer._office, os.urandom(32))
    with pytest.raises(RenkeiError):
        stranger.hand_over(client, PINS)


def test_no_pin_is_set_if_one_cannot_be(bureau, producer):
    memory = producer.blank()
    client = CardClient(Chip(memory).transmit)
    for wrong in (PINS._replace(authentication="12345"), PINS._replace(signature="abc123"), PINS._replace(printed="")):
        with pytest.raises(Malformed):
            producer.hand_over(client, wrong)
    assert not any(pin.value for pin in memory.pins.values())


def test_a_locked_pin_is_set_anew_at_the_counter(producer, made):
    client, _ = made
    for _ in range(3):
        with pytest.raises(RenkeiError):
            client.sign(AUTHENTICATION, "0000", b"x")
    assert client.tries(AUTHENTICATION_AID, AUTHENTICATION_PIN) == 0
    producer.hand_over(client, PINS._replace(authentication="4321"))
    assert len(client.sign(AUTHENTICATION, "4321", b"x")) == 256


def test_after_a_move_the_signature_certificate_is_another_and_sign_in_goes_on(bureau, producer, made):
    """The old one is revoked, the new one says the new address; the key is new; what is printed says so too."""
    client, holder = made
    before = x509.load_der_x509_certificate(client.certificate(SIGNATURE, "ABC123"))
    signs_in = client.certificate(AUTHENTICATION)
    bureau.do(producer.rewrite(client, holder._replace(attributes=MOVED), "moved"))
    after = x509.load_der_x509_certificate(client.certificate(SIGNATURE, "ABC123"))
    rules = bureau.pack.header.cards
    assert (attributes_of(rules, before), attributes_of(rules, after)) == (HANAKO, MOVED)
    assert before.public_key() != after.public_key()
    assert client.attributes("9876") == MOVED
    assert client.certificate(AUTHENTICATION) == signs_in
    assert states(bureau, holder.card) == [
        ("authentication", "good", ""),
        ("signature", "good", ""),
        ("signature", "revoked", "moved"),
    ]
