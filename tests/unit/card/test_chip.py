"""The chip by itself: PINs and their counters, what needs which, and that no sequence of commands gets round it."""

import copy
import hashlib
import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from renkei.card import layout
from renkei.card.chip import ADMIN_TRIES, Chip, Memory, PinState, admin_response
from renkei.card.client import AUTHENTICATION, SIGNATURE, CardClient
from renkei.card.layout import AUTHENTICATION_AID, AUTHENTICATION_PIN, HELPER_AID, HELPER_PIN, SIGNATURE_PIN
from renkei.errors import Malformed, RenkeiError
from tests.unit.card.conftest import HELD, NUMBER, PINS, personalise

VERIFY, SIGN, SELECT, READ = 0x20, 0x2A, 0xA4, 0xB0


def send(chip, cla, ins, p1, p2, data=b"", expected=None):
    tail = bytes([expected & 0xFF]) if expected is not None else b""
    answer = chip.transmit(bytes([cla, ins, p1, p2]) + (bytes([len(data)]) + data if data else b"") + tail)
    return int.from_bytes(answer[-2:], "big"), answer[:-2]


def choose(chip, aid, file=None):
    assert send(chip, 0, SELECT, 4, 0x0C, aid)[0] == 0x9000
    if file is not None:
        assert send(chip, 0, SELECT, 2, 0x0C, file.to_bytes(2, "big"))[0] == 0x9000


@pytest.fixture
def memory(issued):
    return copy.deepcopy(issued)


@pytest.fixture
def chip(memory):
    return Chip(memory)


@pytest.fixture
def client(chip):
    return CardClient(chip.transmit)


def test_what_is_on_it_is_read_with_its_pin(client):
    assert client.number("9876") == NUMBER
    assert client.attributes("9876") == HELD
    assert client.certificate(AUTHENTICATION)[:4] == b"\x30\x82\x01\x00"
    assert client.certificate(SIGNATURE, "ABC123") == client.certificate(AUTHENTICATION)
    with pytest.raises(RenkeiError) as caught:
        client.certificate(SIGNATURE, "ABC124")
    assert caught.value.code == "pin-wrong"


def test_it_signs_with_the_key_that_was_made_on_it(memory):
    client = CardClient(Chip(memory).transmit)
    client.administer(lambda serial, challenge: admin_response(memory.admin, serial, challenge))
    public = rsa.RSAPublicNumbers(65537, client.generate(AUTHENTICATION)).public_key()
    signature = client.sign(AUTHENTICATION, "1234", b"a challenge")
    public.verify(signature, b"a challenge", padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize(
    ("aid", "pin", "tries"),
    [(AUTHENTICATION_AID, AUTHENTICATION_PIN, 3), (AUTHENTICATION_AID, SIGNATURE_PIN, 5), (HELPER_AID, HELPER_PIN, 3)],
)
def test_wrong_pins_lock_it_and_the_right_one_does_not_help_then(memory, aid, pin, tries):
    """Also with the power taken away after each try: each begins with a chip anew, from what was kept."""
    kept = []
    for left in reversed(range(tries)):
        chip = Chip(memory, lambda m: kept.append(copy.deepcopy(m)))
        choose(chip, aid, pin)
        status, _ = send(chip, 0, VERIFY, 0, 0x80, b"0000")
        assert status == (0x63C0 | left if left else 0x6983)
        memory = kept[-1]
    chip = Chip(memory)
    choose(chip, aid, pin)
    assert send(chip, 0, VERIFY, 0, 0x80, PINS[pin].encode())[0] == 0x6983
    assert send(chip, 0, VERIFY, 0, 0x80)[0] == 0x63C0


def test_power_cut_off_at_any_write_gives_no_free_try(memory):
    """Whatever moment the power goes: a wrong PIN has cost a try before it was compared."""

    class Cut(Exception):
        pass

    def cut(state):
        kept.append(copy.deepcopy(state))
        raise Cut

    for left in (2, 1, 0):
        kept = []
        chip = Chip(copy.deepcopy(memory), cut)
        choose(chip, AUTHENTICATION_AID, AUTHENTICATION_PIN)
        with pytest.raises(Cut):
            send(chip, 0, VERIFY, 0, 0x80, b"0000")
        memory = kept[-1]
        assert memory.pins[f"{AUTHENTICATION_AID.hex()}/0018"].left == left


def test_a_right_pin_sets_the_counter_back_and_an_empty_verify_always_tells_it(client, chip):
    with pytest.raises(RenkeiError):
        client.sign(AUTHENTICATION, "0000", b"x")
    assert client.tries(AUTHENTICATION_AID, AUTHENTICATION_PIN) == 2
    client.sign(AUTHENTICATION, "1234", b"x")
    choose(chip, AUTHENTICATION_AID, AUTHENTICATION_PIN)
    assert send(chip, 0, VERIFY, 0, 0x80, b"1234")[0] == 0x9000
    assert send(chip, 0, VERIFY, 0, 0x80)[0] == 0x63C3
    choose(chip, AUTHENTICATION_AID, layout.AUTHENTICATION_KEY)
    assert send(chip, 0x80, SIGN, 0, 0x80, hashlib.sha256(b"x").digest(), 256)[0] == 0x6982  # chosen anew: given anew


def test_a_pin_is_changed_by_who_has_the_old_one(client):
    client.change_pin(AUTHENTICATION_AID, AUTHENTICATION_PIN, "1234", "4321")
    assert len(client.sign(AUTHENTICATION, "4321", b"x")) == 256
    for new in ("12", "12345", "abcd", "１２３４", ""):
        with pytest.raises(Malformed):
            client.change_pin(AUTHENTICATION_AID, AUTHENTICATION_PIN, "4321", new)
    with pytest.raises(Malformed):
        client.change_pin(AUTHENTICATION_AID, SIGNATURE_PIN, "ABC123", "abc123")
    with pytest.raises(RenkeiError):
        client.change_pin(AUTHENTICATION_AID, AUTHENTICATION_PIN, "0000", "1111")
    assert client.tries(AUTHENTICATION_AID, AUTHENTICATION_PIN) == 2
    assert client.tries(HELPER_AID, HELPER_PIN) == 3


def test_only_the_issuer_sets_a_locked_pin_anew_and_for_this_card(memory, client):
    for _ in range(3):
        with pytest.raises(RenkeiError):
            client.sign(AUTHENTICATION, "0000", b"x")
    for wrong in (b"", bytes(16), os.urandom(16)):
        with pytest.raises(RenkeiError):
            client.administer(lambda _s, _c, wrong=wrong: wrong)
        with pytest.raises(RenkeiError):
            client.set_pin(AUTHENTICATION_AID, AUTHENTICATION_PIN, "1111")
    with pytest.raises(RenkeiError):  # an answer for another card, or to another challenge
        client.administer(lambda _s, c: admin_response(memory.admin, "EN00000002", c))
    seen = []
    client.administer(lambda s, c: seen.append(c) or admin_response(memory.admin, s, c))
    with pytest.raises(RenkeiError):
        client.administer(lambda s, _c: admin_response(memory.admin, s, seen[0]))
    client.administer(lambda s, c: admin_response(memory.admin, s, c))
    client.set_pin(AUTHENTICATION_AID, AUTHENTICATION_PIN, "1111")
    assert len(client.sign(AUTHENTICATION, "1111", b"x")) == 256


def test_whoever_guesses_at_the_issuer_s_key_is_locked_out_for_good(memory, client):
    for _ in range(ADMIN_TRIES):
        with pytest.raises(RenkeiError):
            client.administer(lambda _s, _c: bytes(16))
    with pytest.raises(RenkeiError) as caught:
        client.administer(lambda s, c: admin_response(memory.admin, s, c))
    assert caught.value.code == "pin-locked"


def test_a_card_that_was_not_handed_over_yet_does_nothing(issued):
    chip = Chip(Memory("EN00000009", bytes(32)))
    choose(chip, AUTHENTICATION_AID, AUTHENTICATION_PIN)
    assert send(chip, 0, VERIFY, 0, 0x80, b"1234")[0] == 0x6984
    assert send(chip, 0, VERIFY, 0, 0x80, b"")[0] == 0x63C0
    choose(chip, AUTHENTICATION_AID, layout.AUTHENTICATION_KEY)
    assert send(chip, 0x80, SIGN, 0, 0x80, b"x", 256)[0] == 0x6982


def test_reading_goes_on_to_the_end_and_not_beyond(chip):
    choose(chip, AUTHENTICATION_AID, layout.AUTHENTICATION_CERTIFICATE)
    assert send(chip, 0, READ, 0, 0, expected=4) == (0x9000, b"\x30\x82\x01\x00")
    assert len(send(chip, 0, READ, 0, 4, expected=256)[1]) == 256
    assert send(chip, 0, READ, 1, 2, expected=256) == (0x9000, bytes(2))
    assert send(chip, 0, READ, 1, 4, expected=1)[0] == 0x6B00
    assert send(chip, 0, READ, 0x8A, 0, expected=1)[0] == 0x6A86
    choose(chip, AUTHENTICATION_AID, layout.AUTHENTICATION_KEY)
    assert send(chip, 0, READ, 0, 0, expected=4)[0] == 0x6981


@given(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)] * 2))
def test_attributes_are_read_as_they_were_written(texts):
    held = layout.Attributes(*texts, "20000229", "1")
    assert layout.read_attributes(layout.write_attributes(held)) == held


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=300), max_size=12))
def test_no_bytes_crash_it(memory, apdus):
    """Whatever comes, an answer of two bytes at least goes back, and what it remembers stays a card."""
    chip = Chip(memory)
    for apdu in apdus:
        assert len(chip.transmit(apdu)) >= 2


FILES = sorted({f for files in layout.APPLICATIONS.values() for f in files} | {0x7777})
SOON = st.sampled_from(FILES)
COMMANDS = st.one_of(
    st.tuples(st.just(SELECT), st.just(0x04), st.just(0x0C), st.sampled_from([AUTHENTICATION_AID, HELPER_AID, b"\xa0"])),
    st.tuples(st.just(SELECT), st.just(0x02), st.just(0x0C), SOON.map(lambda f: f.to_bytes(2, "big"))),
    st.tuples(st.just(VERIFY), st.just(0), st.just(0x80), st.sampled_from([b"", b"0000", *(p.encode() for p in PINS.values())])),
    st.tuples(st.just(0x24), st.just(1), st.just(0x80), st.sampled_from([p.encode() for p in PINS.values()])),
    st.tuples(st.just(0x2C), st.just(2), st.just(0x80), st.sampled_from([p.encode() for p in PINS.values()])),
    st.tuples(st.sampled_from([READ, 0xD6, 0x47, 0x84, 0x82, 0xCA]), st.just(0), st.just(0), st.sampled_from([b"", b"x"])),
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=20)),
)  # fmt: skip


class AnyOrder(RuleBasedStateMachine):
    """Beside the card a model that knows only this: which right PINs were given since the application was chosen."""

    template: Memory | None = None

    @initialize()
    def power(self):
        if AnyOrder.template is None:
            AnyOrder.template = personalise(Memory("EN00000002", bytes(32)))
        self.memory = copy.deepcopy(AnyOrder.template)
        self.chip = Chip(self.memory)
        self.aid, self.file, self.given = b"", 0, set()
        self.left = {pin: layout.APPLICATIONS[aid][pin].tries for aid, pin in self.pins()}
        self.values = {pin: PINS[pin].encode() for _, pin in self.pins()}

    @staticmethod
    def pins():
        return [(AUTHENTICATION_AID, AUTHENTICATION_PIN), (AUTHENTICATION_AID, SIGNATURE_PIN), (HELPER_AID, HELPER_PIN)]

    @rule()
    def reset(self):
        self.chip.reset()
        self.aid, self.file, self.given = b"", 0, set()

    @rule(aid=st.sampled_from([AUTHENTICATION_AID, HELPER_AID]))
    def begin(self, aid):
        self.command((SELECT, 4, 0x0C, aid))

    @rule(which=st.integers(0, 20))
    def pick(self, which):
        """One of the files there are here."""
        files = sorted(layout.APPLICATIONS.get(self.aid, {0x0018: None}))
        self.command((SELECT, 2, 0x0C, files[which % len(files)].to_bytes(2, "big")))

    @rule(
        aid_pin=st.sampled_from([(AUTHENTICATION_AID, AUTHENTICATION_PIN), (AUTHENTICATION_AID, SIGNATURE_PIN)]),
        again=st.booleans(),
    )
    def give(self, aid_pin, again):
        """The right PIN, perhaps after choosing its application."""
        aid, pin = aid_pin
        if again or self.aid != aid:
            self.begin(aid)
        self.command((SELECT, 2, 0x0C, pin.to_bytes(2, "big")))
        self.command((VERIFY, 0, 0x80, self.values[pin]))

    @rule(
        key=st.sampled_from([layout.AUTHENTICATION_KEY, layout.SIGNATURE_KEY]), data=st.binary(min_size=1, max_size=60)
    )
    def sign_with(self, key, data):
        self.command((SELECT, 2, 0x0C, key.to_bytes(2, "big")))
        self.sign(data)

    @rule(command=COMMANDS)
    def command(self, command):
        ins, p1, p2, data = command
        status, _ = send(self.chip, 0, ins, p1, p2, data, None if data else 0)
        if (ins, p1, p2) == (SELECT, 4, 0x0C) and status == 0x9000:
            self.aid, self.file, self.given = data, 0, set()
        if (ins, p1, p2) == (SELECT, 2, 0x0C) and status == 0x9000:
            self.file = int.from_bytes(data, "big")
        on_pin = (self.aid, self.file) in self.pins()
        if on_pin and (ins, p1, p2) == (VERIFY, 0, 0x80) and data:
            self.given.discard(self.file)
            right = data == self.values[self.file] and self.left[self.file] > 0
            assert (status == 0x9000) == right
            if right:
                self.given.add(self.file)
                self.left[self.file] = layout.APPLICATIONS[self.aid][self.file].tries
            else:
                self.left[self.file] = max(0, self.left[self.file] - 1)
        if status == 0x9000 and ins == 0x24:
            assert on_pin
            assert self.file in self.given
            self.values[self.file] = data
        assert not (status == 0x9000 and ins in (0x2C, 0x47, 0xD6)), "done without the issuer"

    @rule(data=st.binary(min_size=1, max_size=60))
    def sign(self, data):
        status, signature = send(self.chip, 0x80, SIGN, 0, 0x80, data, 256)
        key = layout.APPLICATIONS.get(self.aid, {}).get(self.file)
        allowed = isinstance(key, layout.Key) and key.pin in self.given
        assert (status == 0x9000) == allowed
        assert (len(signature) == 256) == allowed

    @rule()
    def read(self):
        status, content = send(self.chip, 0, READ, 0, 0, expected=16)
        file = layout.APPLICATIONS.get(self.aid, {}).get(self.file)
        if content:
            assert isinstance(file, layout.File)
            assert not file.pin or file.pin in self.given
        assert (status == 0x9000) == bool(content)

    @invariant()
    def counters_agree(self):
        if hasattr(self, "memory"):
            for aid, pin in self.pins():
                assert self.memory.pins.get(f"{aid.hex()}/{pin:04x}", PinState()).left == self.left[pin]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
