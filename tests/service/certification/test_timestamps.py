"""Dating documents: openssl asks and is satisfied; what cannot be dated is told why; nothing but the digest's date is said."""

import os
import subprocess

import pytest
from asn1crypto import core, tsp
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from renkei.certification.timestamps import Timestamper
from tests.service.certification.conftest import NEEDS_TOKEN

pytestmark = NEEDS_TOKEN


@pytest.fixture(scope="module")
def dated(bureau, pack):
    key = rsa.generate_private_key(65537, 2048)
    certificate = bureau.do(bureau.office.issue_official("Enishi", key.public_key(), dates=True))
    return bureau, Timestamper(certificate, key, pack.header.cards.policies["official"], bureau.clock)


def openssl(*command):
    done = subprocess.run(["openssl", *map(str, command)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_openssl_asks_and_verifies(dated, tmp_path, digest):
    """With the certificate in the answer, as asked, and a nonce; not for another document."""
    bureau, timestamper = dated
    document, other, question, answer = (tmp_path / n for n in ("document", "other", "question", "answer"))
    document.write_bytes(os.urandom(1000))
    other.write_bytes(os.urandom(1000))
    assert openssl("ts", "-query", "-data", document, f"-{digest}", "-cert", "-out", question)[0] == 0
    answer.write_bytes(timestamper.answer(question.read_bytes()))
    trusted = ["-CAfile", bureau.folder / "official-ca.pem"]
    status, told = openssl("ts", "-verify", "-queryfile", question, "-in", answer, *trusted)
    assert (status, "Verification: OK" in told) == (0, True), told
    assert openssl("ts", "-verify", "-data", other, "-in", answer, *trusted)[0] != 0
    wrong = ["-CAfile", bureau.folder / "signature-ca.pem"]
    assert openssl("ts", "-verify", "-queryfile", question, "-in", answer, *wrong)[0] != 0
    _, told = openssl("ts", "-reply", "-in", answer, "-text")
    assert bureau.clock.now.strftime("%H:%M:%S %Y GMT") in told


def status_of(answer):
    """The status and the reason; read apart, for the library demands a token where the RFC does not."""
    found = tsp.PKIStatusInfo.load(core.Sequence.load(answer, strict=True)[0].dump())
    return found["status"].native, found["fail_info"].native


def question(algorithm="sha256", size=32, **more):
    imprint = {"hash_algorithm": {"algorithm": algorithm}, "hashed_message": bytes(size)}
    return tsp.TimeStampReq({"version": "v1", "message_imprint": imprint, **more}).dump()


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (b"", "bad_data_format"),
        (b"junk", "bad_data_format"),
        (bytes(20_000), "bad_data_format"),
        (question("md5", 16), "bad_alg"),
        (question("sha1", 20), "bad_alg"),
        (question("sha256", 31), "bad_alg"),
        (question(req_policy="1.2.3"), "unaccepted_policy"),
    ],
)
def test_what_cannot_be_dated_is_told_why(dated, asked, why):
    assert status_of(dated[1].answer(asked)) == ("rejection", {why})


def test_a_certificate_is_in_the_answer_when_it_is_asked_for(dated):
    bare, full = (dated[1].answer(question(cert_req=wanted)) for wanted in (False, True))
    der = dated[1]._der
    assert (der in bare, der in full) == (False, True)


@given(st.binary(max_size=200), st.integers(0, 60), st.binary(max_size=3))
def test_bytes_of_any_kind_are_answered(dated, junk, at, change):
    good = question()
    for asked in (junk, good[:at] + change + good[at + len(change) :]):
        assert status_of(dated[1].answer(asked))[0] in ("granted", "rejection")


def test_the_certificate_dates_and_does_nothing_else(dated):
    bureau, _ = dated
    made = rsa.generate_private_key(65537, 2048)
    seal = bureau.do(bureau.office.issue_official("Ohashi City", made.public_key()))
    path = bureau.folder / "seal.pem"
    path.write_bytes(seal.public_bytes(Encoding.PEM))
    purpose = ["-purpose", "timestampsign", "-CAfile", bureau.folder / "official-ca.pem"]
    assert openssl("verify", *purpose, path)[0] != 0
    assert openssl("verify", "-CAfile", bureau.folder / "official-ca.pem", path)[0] == 0
