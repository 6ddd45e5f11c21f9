"""What private sites are told of residents: whether a signature is good; on consent, whether something changed; never a number."""

import asyncio
import base64
import datetime as dt
import json
import sqlite3
import urllib.error
import urllib.request

import pytest

from renkei.card.client import SIGNATURE, CardClient
from renkei.card.virtual import CardFile
from renkei.certification.verifier import Consent
from renkei.errors import RenkeiError
from renkei.institution.settings import Home
from renkei.nation.bank.service import Bank, Settings
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = NEEDS_TOKEN
SOON = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=300)
LINE = Consent("demo-bank", SOON).line().encode()


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("verifier") / "nation")
    until(lambda: urllib.request.urlopen(running.plan.bank).status == 200)
    yield running
    running.stop()


def verifier(nation, what, data, token=None):
    settings = Home(nation.folder / "sites").read_toml("bank.toml", Settings)
    token = settings.verifier_token if token is None else token
    request = urllib.request.Request(
        f"{nation.plan.certification}/verifier/{what}",
        json.dumps(data).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {token}", "Accept": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def signed(nation, document, persona=1, **more):
    card = CardClient(CardFile(nation.card(persona)).chip().transmit)
    parts = (document, card.sign(SIGNATURE, "ABC123", document), card.certificate(SIGNATURE, "ABC123"))
    names = ("document", "signature", "certificate")
    return {n: base64.b64encode(p).decode() for n, p in zip(names, parts, strict=True)} | more


def test_the_verifier_answers_what_was_asked_and_no_more(nation):
    data = signed(nation, b"I owe you 5")
    assert verifier(nation, "signatures", data) == (200, {"good": True})
    status, told = verifier(nation, "signatures", {**data, "attributes": True})
    assert (status, set(told["attributes"])) == (200, {"name", "address", "birth", "sex"})
    assert nation.number(1) not in json.dumps(told)
    altered = {**data, "document": base64.b64encode(b"I owe you 500").decode()}
    assert verifier(nation, "signatures", altered) == (200, {"good": False, "reason": "signature-wrong"})
    for token in ("", "guess"):
        assert verifier(nation, "signatures", data, token)[0] == 401
    assert verifier(nation, "signatures", {**data, "certificate": "%"})[0] == 400
    assert verifier(nation, "signatures", {**data, "certificate": "AAAA"})[0] == 400
    assert verifier(nation, "signatures", {**data, "more": 1})[0] == 400


@pytest.mark.parametrize(
    "document",
    [
        b"I agree to nothing.",
        Consent("other-bank", SOON).line().encode(),
        b"renkei-consent/1 changes site=demo-bank until=2020-01-01",
        b"I never said: " + LINE,
        b"renkei-consent/1 changes site=demo-bank until=2027-13-01",
        b"renkei-consent/1 changes site=demo-bank until=9999-12-31",
        "\u200b".encode() + LINE,
        b"\r\n" + LINE,
        b"\xff",
    ],
)
def test_without_consent_in_what_was_signed_nothing_is_told(nation, document):
    """None, another's, an old one, one in the middle of a sentence, one without end; one that its signer could not be shown."""
    status, told = verifier(nation, "changes", signed(nation, document))
    assert (status, told["title"]) == (403, "no-consent")


def test_a_consent_that_was_not_signed_is_worth_nothing(nation):
    line = LINE
    data = {**signed(nation, b"nothing"), "document": base64.b64encode(line).decode()}
    status, told = verifier(nation, "changes", data)
    assert (status, told["title"]) == (403, "signature-wrong")


def test_who_moved_is_said_to_have_and_who_lost_the_card_is_not(nation):
    line = LINE
    data = {p: signed(nation, line, p) for p in (1, 2)}
    for persona in (1, 2):
        assert verifier(nation, "changes", data[persona]) == (200, {"changed": False})
    serials = {p: serial(nation, p) for p in (1, 2)}
    nation.certify("revoke", serials[1], "moved")
    nation.certify("revoke", serials[2], "lost")
    assert verifier(nation, "changes", data[1]) == (200, {"changed": True})
    assert verifier(nation, "changes", data[2]) == (200, {"changed": None})
    assert verifier(nation, "signatures", data[1]) == (200, {"good": False, "reason": "certificate-revoked"})


def serial(nation, persona):
    from cryptography import x509

    card = CardClient(CardFile(nation.card(persona)).chip().transmit)
    return f"{x509.load_der_x509_certificate(card.certificate(SIGNATURE, 'ABC123')).serial_number:x}"


def test_the_bank_opens_nothing_on_a_bad_signature(nation):
    """A certificate that was revoked; a signature of something else: it says why, and no account is there."""
    before, bank = accounts(nation), Bank(nation.folder / "sites")
    for persona, document, reason in ((1, "x", "certificate-revoked"), (0, "another", "signature-wrong")):
        data = signed(nation, b"x", persona)
        certificate, signature = (base64.b64decode(data[n]) for n in ("certificate", "signature"))
        with pytest.raises(RenkeiError) as refusal:
            asyncio.run(bank.open("somebody", document, certificate, signature))
        assert refusal.value.code == reason
    assert accounts(nation) == before
    assert bank.account("somebody") is None


def accounts(nation):
    with sqlite3.connect(nation.folder / "sites" / "accounts.db") as kept:
        return kept.execute("select count(*) from accounts").fetchone()[0]
