"""Adversary: whoever has another's card, or what it signed or holds, and no PIN.

Claims it tries to break: a card without its PIN lets nobody in, and locks; one reported lost or revoked lets nobody in; what was signed
once is of no use again, nor to a body of the network; nobody gets the code of a person by a certificate but the portal, of its own domain.
"""

import base64
import copy

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.card.virtual import CardFile
from renkei.institution import subjects
from renkei.institution.relying import authentication_message
from renkei.messages.wire import CodeByCard, DomainRef
from renkei.record.state import ref_of
from tests.attacks.changes import changes, plain
from tests.attacks.measures import entries, quiet
from tests.attacks.rogue import Rogue
from tests.cards import Carded, Resident, fields_of
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = NEEDS_TOKEN


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("robbed") / "nation")
    yield running
    running.stop()


def card_of(nation, persona):
    return CardClient(CardFile(nation.card(persona)).chip().transmit)


def serial_of(nation, persona):
    from cryptography import x509

    der = card_of(nation, persona).certificate(AUTHENTICATION)
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"


def is_in(resident):
    return resident.get("/records")[0] == 200


def test_guessing_locks_the_card_over_every_restart(nation):
    thief = Resident(nation)
    for left in (2, 1, 0):
        with nation.reading(
            nation.card(2), elsewhere=True
        ) as reader:  # the card is taken out and put in again each time
            _, page = thief.asks(reader)
            token = fields_of(page)["token"]
            status, page = thief.post(f"{reader}/answer", reader, token=token, pin="0000", act="confirm")
            assert (status, f"{left} tr" in page or left == 0) == (403, True)
    with nation.reading(nation.card(2), elsewhere=True) as reader:
        status, page = thief.signs_in(reader)
        assert (status, "locked" in page) == (403, True)
    assert not is_in(thief)


def signed_by(nation, persona, challenge, origin):
    card = card_of(nation, persona)
    signature = card.sign(AUTHENTICATION, "1234", authentication_message(origin, challenge))
    return card.certificate(AUTHENTICATION), signature


def finish(resident, certificate, signature):
    fields = {n: base64.b64encode(v).decode() for n, v in (("certificate", certificate), ("signature", signature))}
    return resident.post(f"{resident.url}/signin/card/finish", resident.url, **fields)


def challenge_of(resident):
    return base64.b64decode(fields_of(resident.get("/signin")[1])["challenge"])


def test_what_was_signed_once_lets_nobody_in_again(nation):
    """In the same browser or another."""
    owner, thief = Resident(nation), Resident(nation)
    shown = signed_by(nation, 0, challenge_of(owner), owner.url)
    assert finish(owner, *shown)[0] == 200
    assert is_in(owner)
    for who in (owner, thief):
        who.get("/signin")
        assert finish(who, *shown)[0] == 403
    assert not is_in(thief)


def test_another_s_certificate_with_one_s_own_key_lets_nobody_in(nation):
    thief, own = Resident(nation), rsa.generate_private_key(65537, 2048)
    message = authentication_message(thief.url, challenge_of(thief))
    certificate = card_of(nation, 0).certificate(AUTHENTICATION)
    signature = own.sign(message, padding.PKCS1v15(), hashes.SHA256())
    status, page = finish(thief, certificate, signature)
    assert (status, "signature is wrong" in page) == (403, True)
    other = signed_by(nation, 1, challenge_of(thief), thief.url)
    assert finish(thief, certificate, other[1])[0] == 403
    assert not is_in(thief)


def test_bytes_that_are_no_answer_are_refused(nation):
    thief = Resident(nation)
    thief.get("/signin")
    for fields in (
        {},
        {"certificate": "%", "signature": "x"},
        {"certificate": "AAAA", "signature": "AAAA"},
        {"certificate": "A" * 9000},
    ):
        assert thief.post(f"{thief.url}/signin/card/finish", thief.url, **fields)[0] in (400, 403)


def test_a_card_reported_lost_lets_nobody_in_until_it_is_found(nation):
    serial = serial_of(nation, 1)
    nation.certify("suspend", serial)
    resident = Resident(nation)
    shown = signed_by(nation, 1, challenge_of(resident), resident.url)
    status, page = finish(resident, *shown)
    assert (status, "suspended" in page) == (403, True)
    nation.certify("release", serial)
    shown = signed_by(nation, 1, challenge_of(resident), resident.url)
    assert finish(resident, *shown)[0] == 200
    nation.certify("revoke", serial, "lost")
    again = Resident(nation)
    status, page = finish(again, *signed_by(nation, 1, challenge_of(again), again.url))
    assert (status, "revoked" in page) == (403, True)


def test_nobody_but_the_portal_gets_a_code_by_a_card(nation):
    """A town has what the resident signed for the portal, and for the town itself, and asks in its own domain and in the portal's."""
    town = Rogue(nation, "kiriyama-town")
    try:
        asked = [
            CodeByCard(domain, bytes([n]) * 16, bytes(32), origin, bytes(48), *signed_by(nation, 0, bytes(48), origin))
            for n, (origin, domain) in enumerate(
                (o, d)
                for o in (nation.url("portal"), nation.url("ohashi-city"), "https://town.example")
                for d in (ref_of(town.domain), DomainRef("portal", 1, 1))
            )
        ]
        before = quiet(nation)
        town.send("numbering-authority", *asked)
        town.until_handled("numbering-authority")
        quiet(nation)
        assert entries(nation, "issuance", after=before) == []
    finally:
        town.leave()


def test_no_changed_request_by_card_gives_the_portal_another_s_code(nation):
    """Every field of it: what comes is the code of whoever's card signed, or nothing."""
    institution = nation.world.institutions["portal"]
    code = nation.code("portal").code
    handle, domain = b"\5" * 16, ref_of(institution.member.domain)
    ours, other = (
        CodeByCard(
            domain,
            handle,
            bytes(32),
            nation.url("portal"),
            bytes(48),
            *signed_by(nation, p, bytes(48), nation.url("portal")),
        )
        for p in (0, 1)
    )
    member = copy.copy(institution.member)
    portal = Rogue(nation, "portal")
    try:
        before = quiet(nation)
        portal.send("numbering-authority", ours)
        portal.send_each("numbering-authority", (m for _, m in changes(plain(ours), plain(other))))
        portal.until_handled("numbering-authority")
        until(lambda: entries(nation, "issuance", after=before))
        quiet(nation)
        got = {
            c.code
            for leaf in entries(nation, "issuance", after=before)
            for _, c in subjects.opened(leaf, member, "portal")
        }
        assert got == {code}
        assert nation.counter("numbering-authority", "messages_malformed") > 0
    finally:
        portal.leave()
