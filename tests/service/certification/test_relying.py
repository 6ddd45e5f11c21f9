"""Signing in with a card, as whoever relies on it checks it: what is not genuine, of now, for us and good is refused, and told why."""

import asyncio
import datetime as dt
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from renkei.errors import RenkeiError, Unavailable
from renkei.institution import relying
from renkei.institution.relying import CHALLENGE_GOOD, Challenges, Presented, Verifier, authentication_message
from tests.service.certification.conftest import NEEDS_TOKEN

pytestmark = NEEDS_TOKEN
PORTAL = "https://portal.example"


class Desk:
    """A portal, and somebody whose keys are at hand."""

    def __init__(self, bureau):
        self.bureau = bureau
        self.challenges = Challenges(os.urandom(32), bureau.clock)
        self.trusted = {p: a.certificate for p, a in bureau.authorities.items()}
        self.said = None
        self.verifier = Verifier(bureau.pack.header.cards, self.trusted, self.status, bureau.clock)

    async def status(self, certificate, issuer):
        """As over HTTP, without the HTTP: our responder's own answer to a question of the verifier's making."""
        if self.said:
            return self.said
        nonce = os.urandom(16)
        builder = x509.ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256())
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        raw = await self.bureau.office.answer(builder.build().public_bytes(Encoding.DER))
        return relying.read_answer(raw, certificate, issuer, nonce, self.bureau.clock())

    def holder(self, purpose="authentication"):
        key = rsa.generate_private_key(65537, 2048)
        return key, self.bureau.issue(purpose, key, card=f"EN{os.urandom(4).hex()}")

    def sign_in(self, key, certificate, *, challenge=None, audience=PORTAL, at=PORTAL):
        challenge = challenge or self.challenges.new()
        signature = key.sign(authentication_message(audience, challenge), padding.PKCS1v15(), hashes.SHA256())
        shown = Presented(certificate.public_bytes(Encoding.DER), signature)
        return asyncio.run(self.verifier.signed_in(shown, self.challenges, at, challenge))

    def refused(self, *of, **how):
        with pytest.raises(RenkeiError) as caught:
            self.sign_in(*of, **how)
        return caught.value.code


@pytest.fixture
def desk(bureau):
    return Desk(bureau)


def test_a_good_card_signs_in_and_is_known_by_its_certificate(desk):
    key, certificate = desk.holder()
    assert desk.sign_in(key, certificate) == certificate


def test_an_answer_is_good_once_for_two_minutes_and_for_one_site(desk):
    key, certificate = desk.holder()
    challenge = desk.challenges.new()
    desk.sign_in(key, certificate, challenge=challenge)
    assert desk.refused(key, certificate, challenge=challenge) == "challenge-used"
    assert desk.refused(key, certificate, audience="https://shop.example") == "signature-wrong"
    assert desk.refused(key, certificate, challenge=os.urandom(48)) == "challenge-strange"
    assert (
        desk.refused(key, certificate, challenge=Challenges(os.urandom(32), desk.bureau.clock).new())
        == "challenge-strange"
    )
    old, now = desk.challenges.new(), desk.bureau.clock.now
    try:
        desk.bureau.clock.now = now + dt.timedelta(milliseconds=CHALLENGE_GOOD)
        assert desk.refused(key, certificate, challenge=old) == "challenge-old"
        assert desk.sign_in(key, certificate) == certificate
        assert len(desk.challenges._used) == 1  # what could not be played again any more is forgotten
        desk.bureau.clock.now = now - dt.timedelta(seconds=1)
        assert desk.refused(key, certificate, challenge=old) == "challenge-old"
    finally:
        desk.bureau.clock.now = now


def test_another_s_certificate_another_s_key_or_another_authority_is_refused(desk):
    key, certificate = desk.holder()
    other_key, other = desk.holder()
    assert desk.refused(other_key, certificate) == "signature-wrong"
    assert desk.refused(key, other) == "signature-wrong"
    signing_key, signing = desk.holder("signature")
    assert desk.refused(signing_key, signing) == "certificate-issuer"
    now = desk.bureau.clock.now
    builder = x509.CertificateBuilder().subject_name(certificate.subject).issuer_name(certificate.issuer)
    builder = (
        builder.serial_number(5)
        .public_key(key.public_key())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=9))
    )
    for extension in certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    assert (
        desk.refused(key, builder.sign(key, hashes.SHA256())) == "certificate-issuer"
    )  # everything but the authority's signature
    with pytest.raises(RenkeiError) as caught:
        asyncio.run(desk.verifier.checked(Presented(b"junk", bytes(256)), "authentication", b"x"))
    assert caught.value.code == "certificate"


def test_a_certificate_of_the_authority_for_something_else_is_refused(desk):
    """The responder's, which the same authority signed."""
    authority = desk.bureau.authorities["authentication"]
    message = authentication_message(PORTAL, b"x")
    shown = Presented(
        authority.responder.public_bytes(Encoding.DER),
        authority.responder_key.sign(message, padding.PKCS1v15(), hashes.SHA256()),
    )
    with pytest.raises(RenkeiError) as caught:
        asyncio.run(desk.verifier.checked(shown, "authentication", message))
    assert caught.value.code == "certificate-usage"


def test_suspended_revoked_and_unknown_are_refused_by_that_reason(desk):
    key, certificate = desk.holder()
    serial, office = f"{certificate.serial_number:x}", desk.bureau.office
    for act, code in (
        (office.suspend(serial), "certificate-suspended"),
        (office.release(serial), ""),
        (office.revoke(serial, "lost"), "certificate-revoked"),
    ):
        desk.bureau.do(act)
        if code:
            assert desk.refused(key, certificate) == code
        else:
            assert desk.sign_in(key, certificate) == certificate
    desk.said = "unknown"
    assert desk.refused(*desk.holder()) == "certificate-unknown"


def test_an_expired_certificate_is_refused_though_the_responder_calls_it_good(desk):
    key, certificate = desk.holder()
    now = desk.bureau.clock.now
    try:
        desk.bureau.clock.now = certificate.not_valid_after_utc + dt.timedelta(seconds=1)
        desk.said = "good"
        assert desk.refused(key, certificate) == "certificate-expired"
        desk.bureau.clock.now = certificate.not_valid_before_utc - dt.timedelta(minutes=10)
        assert desk.refused(key, certificate) == "certificate-expired"
    finally:
        desk.bureau.clock.now = now


def test_what_a_responder_says_must_be_its_own_of_now_and_to_this_question(desk):
    """Another nonce, another certificate, another signer, another time: not believed, whatever it says."""
    _, certificate = desk.holder()
    _, other = desk.holder()
    issuer, nonce, clock = desk.trusted["authentication"], os.urandom(16), desk.bureau.clock

    def answered(about, given=nonce, authority=issuer):
        builder = x509.ocsp.OCSPRequestBuilder().add_certificate(about, authority, hashes.SHA256())
        question = builder.add_extension(x509.OCSPNonce(given), critical=False).build().public_bytes(Encoding.DER)
        return desk.bureau.do(desk.bureau.office.answer(question))

    good = answered(certificate)
    assert relying.read_answer(good, certificate, issuer, nonce, clock()) == "good"
    later = clock() + 7 * 3_600_000
    for raw, at in (
        (answered(certificate, os.urandom(16)), clock()),
        (answered(other), clock()),
        (good[:-1] + bytes([good[-1] ^ 1]), clock()),
        (b"junk", clock()),
        (good, later),
        (good, clock() - 3_600_000),
    ):
        with pytest.raises(RenkeiError) as caught:
            relying.read_answer(raw, certificate, issuer, nonce, at)
        assert caught.value.code == "ocsp-wrong"
    with pytest.raises(RenkeiError):  # the other authority's responder answers of it
        relying.read_answer(good, certificate, desk.trusted["signature"], nonce, clock())
    with pytest.raises(Unavailable):
        relying.read_answer(desk.bureau.do(desk.bureau.office.answer(b"junk")), certificate, issuer, nonce, clock())
