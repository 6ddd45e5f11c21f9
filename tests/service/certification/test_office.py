"""Certificates as programs no one here wrote see them: openssl verifies, asks by OCSP and reads the revocation list."""

import datetime as dt
import re
import subprocess

import msgspec
import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from renkei.certification import ceremony
from renkei.certification.office import Happening
from renkei.errors import Conflict, Malformed, NotFound, SetupError
from renkei.institution.relying import attributes_of
from renkei.ledger import store as log
from renkei.ledger.notes import Checkpoint, verify_note
from tests.oracle import log as oracle
from tests.service.certification.conftest import HANAKO, NEEDS_TOKEN, WITNESSES

pytestmark = NEEDS_TOKEN


def openssl(*arguments, given=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=given, capture_output=True, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def pem(bureau, certificate, name="leaf"):
    path = bureau.folder / f"{name}-{certificate.serial_number:x}.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    return path


def asked(bureau, certificate, *, nonce=True):
    """What ``openssl ocsp`` makes of our answer to its own question."""
    purpose = "signature" if "content_commitment=True" in str(certificate.extensions) else "authentication"
    ca = bureau.folder / f"{purpose}-ca.pem"
    leaf = pem(bureau, certificate)
    question, answer = leaf.with_suffix(".req"), leaf.with_suffix(".resp")
    options = ["-issuer", ca, "-cert", leaf] + ([] if nonce else ["-no_nonce"])
    assert openssl("ocsp", *options, "-reqout", question)[0] == 0
    answer.write_bytes(bureau.do(bureau.office.answer(question.read_bytes())))
    # by its own question openssl compares the nonce, and without one named it tells what is said of the certificate
    status, told = openssl("ocsp", "-reqin", question, "-respin", answer, "-CAfile", ca, "-no_nonce")
    assert (status, "no nonce" in told) == (0, False), told
    return openssl("ocsp", "-reqin", question, "-respin", answer, "-CAfile", ca, *options[:4], "-no_nonce")


def test_the_ceremony_is_witnessed_told_and_held_once(bureau, token, tmp_path):
    text = (bureau.folder / ceremony.TRANSCRIPT).read_text()
    assert text.splitlines() == bureau.said
    assert all(w in text for w in WITNESSES)
    for purpose, authority in bureau.authorities.items():
        assert authority.certificate.fingerprint(hashes.SHA256()).hex() in text
        assert openssl("verify", "-x509_strict", "-CAfile", *[bureau.folder / f"{purpose}-ca.pem"] * 2)[0] == 0
    with pytest.raises(SetupError):
        ceremony.hold(bureau.folder, token, bureau.pack, "Enishi", WITNESSES, bureau.clock.now, print)
    for alone in ((), ("Sato",), ("Sato", " Sato ")):
        with pytest.raises(Malformed):
            ceremony.hold(tmp_path, token, bureau.pack, "Enishi", alone, bureau.clock.now, print)


def test_an_authority_s_key_does_not_leave_its_token(bureau):
    key = bureau.authorities["authentication"].key
    with pytest.raises(UnsupportedAlgorithm):
        key.private_bytes(Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with pytest.raises(UnsupportedAlgorithm):
        key.private_numbers()
    with pytest.raises(UnsupportedAlgorithm):
        key.sign(b"x", padding.PKCS1v15(), hashes.SHA1())
    stored = b"".join(p.read_bytes() for p in bureau.folder.rglob("*") if p.is_file())
    assert b"PRIVATE KEY" not in stored


def test_openssl_verifies_both_kinds_and_neither_by_the_other_authority(bureau):
    for purpose, other in (("authentication", "signature"), ("signature", "authentication")):
        leaf = pem(bureau, bureau.issue(purpose))
        assert openssl("verify", "-x509_strict", "-CAfile", bureau.folder / f"{purpose}-ca.pem", leaf)[0] == 0
        assert openssl("verify", "-CAfile", bureau.folder / f"{other}-ca.pem", leaf)[0] != 0


def test_the_authentication_certificate_says_nothing_of_its_holder(bureau):
    """No attribute, and no name that two cards or two certificates share."""
    first, second = bureau.issue(), bureau.issue()
    text = openssl("x509", "-noout", "-text", "-nameopt", "utf8", "-in", pem(bureau, first))[1]
    for attribute in HANAKO:
        assert attribute not in text.replace(first.public_bytes(Encoding.DER).hex(), "") or len(attribute) < 2
    assert HANAKO.name.encode() not in first.public_bytes(Encoding.DER)
    assert first.subject != second.subject
    assert "TLS Web Client Authentication" in text
    with pytest.raises(Malformed):
        attributes_of(bureau.pack.header.cards, first)


def test_the_signature_certificate_carries_the_four_attributes(bureau):
    made = bureau.issue("signature")
    assert attributes_of(bureau.pack.header.cards, made) == HANAKO
    text = openssl("x509", "-noout", "-text", "-in", pem(bureau, made))[1]
    assert "Non Repudiation" in text
    assert "TLS Web Client" not in text


@pytest.mark.parametrize("nonce", [True, False])
def test_openssl_believes_what_the_responder_says_of_each_state(bureau, nonce):
    """Good, suspended, good again, revoked for good; the answer signed ahead is void the moment the state changes."""
    made = bureau.issue()
    serial = f"{made.serial_number:x}"
    for act, told in (
        (None, r": good"),
        (bureau.office.suspend(serial), r"(?s): revoked.*Reason: certificateHold"),
        (bureau.office.release(serial), r": good"),
        (bureau.office.revoke(serial, "lost"), r"(?s): revoked.*Reason: keyCompromise"),
    ):
        if act:
            bureau.do(act)
        for _ in range(2):
            status, text = asked(bureau, made, nonce=nonce)
            assert status == 0, text
            assert "Response verify OK" in text
            assert re.search(told, text), text
            assert "no nonce" not in text
    for again in (bureau.office.revoke(serial, "lost"), bureau.office.release(serial), bureau.office.suspend(serial)):
        with pytest.raises(Conflict):
            bureau.do(again)
    with pytest.raises(Malformed):
        bureau.do(bureau.office.revoke(serial, "because"))
    with pytest.raises(NotFound):
        bureau.do(bureau.office.revoke("1234", "lost"))


def test_an_answer_to_another_s_question_is_not_taken_for_one_s_own(bureau):
    """With a nonce, an old answer (from before the revocation) cannot be played again."""
    made = bureau.issue()
    ca, leaf = bureau.folder / "authentication-ca.pem", pem(bureau, made)
    first, second, old = (leaf.with_suffix(f".{n}") for n in ("first", "second", "old"))
    for question in (first, second):
        assert openssl("ocsp", "-issuer", ca, "-cert", leaf, "-reqout", question)[0] == 0
    old.write_bytes(bureau.do(bureau.office.answer(first.read_bytes())))
    told = openssl("ocsp", "-reqin", second, "-respin", old, "-CAfile", ca, "-no_nonce")[1]
    assert "Nonce Verify error" in told


def fake_of(certificate, authority):
    """A certificate of another authority's serial number, as if this one had issued it."""
    key, now = rsa.generate_private_key(65537, 2048), dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(certificate.subject).issuer_name(authority.subject)
    builder = builder.serial_number(certificate.serial_number).public_key(key.public_key())
    return builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1)).sign(key, hashes.SHA256())


def test_the_responder_knows_only_its_own_and_says_so(bureau):
    stranger = rsa.generate_private_key(65537, 2048)
    other, authority = bureau.issue("signature"), bureau.office.authority("authentication")
    for builder, expected in (
        (x509.ocsp.OCSPRequestBuilder().add_certificate(bureau.issue(), authority, hashes.SHA256()), "GOOD"),
        (
            x509.ocsp.OCSPRequestBuilder().add_certificate(fake_of(other, authority), authority, hashes.SHA256()),
            "UNKNOWN",
        ),
    ):
        raw = bureau.do(bureau.office.answer(builder.build().public_bytes(Encoding.DER)))
        assert x509.ocsp.load_der_ocsp_response(raw).certificate_status.name == expected
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Nobody")])
    now = bureau.clock.now
    foreign = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(stranger.public_key())
        .serial_number(7).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1)).sign(stranger, hashes.SHA256())
    )  # fmt: skip
    question = x509.ocsp.OCSPRequestBuilder().add_certificate(foreign, foreign, hashes.SHA256()).build()
    answer = x509.ocsp.load_der_ocsp_response(bureau.do(bureau.office.answer(question.public_bytes(Encoding.DER))))
    assert answer.response_status is x509.ocsp.OCSPResponseStatus.UNAUTHORIZED
    for junk in (b"", b"0", bytes(500), b"\x30\x03\x02\x01\x01", bytes(20_000)):
        answer = x509.ocsp.load_der_ocsp_response(bureau.do(bureau.office.answer(junk)))
        assert answer.response_status is x509.ocsp.OCSPResponseStatus.MALFORMED_REQUEST


def test_an_answer_signed_ahead_is_signed_anew_before_its_time_is_over(bureau):
    made = bureau.issue()
    question = (
        x509.ocsp.OCSPRequestBuilder()
        .add_certificate(made, bureau.office.authority("authentication"), hashes.SHA1())
        .build()
        .public_bytes(Encoding.DER)
    )
    first, same = (bureau.do(bureau.office.answer(question)) for _ in range(2))
    assert first == same
    began = bureau.clock.now
    try:
        bureau.clock.now = began + dt.timedelta(hours=4)
        later = x509.ocsp.load_der_ocsp_response(bureau.do(bureau.office.answer(question)))
        assert later.next_update_utc > bureau.clock.now + dt.timedelta(hours=5)
    finally:
        bureau.clock.now = began


def test_a_move_ends_the_signature_certificate_and_a_loss_both(bureau):
    mine = [bureau.issue(p, card="EN00000777") for p in ("authentication", "signature")]
    assert bureau.do(bureau.office.revoke_card("EN00000777", "moved")) == [f"{mine[1].serial_number:x}"]
    assert ": good" in asked(bureau, mine[0])[1]
    assert bureau.do(bureau.office.revoke_card("EN00000777", "lost")) == [f"{mine[0].serial_number:x}"]
    assert bureau.do(bureau.office.revoke_card("EN00000777", "died")) == []


def test_openssl_refuses_by_the_revocation_list(bureau):
    good, bad = bureau.issue(), bureau.issue()
    bureau.do(bureau.office.revoke(f"{bad.serial_number:x}", "died"))
    crl = bureau.folder / "list.pem"
    made = x509.load_der_x509_crl(bureau.do(bureau.office.revocation_list("authentication")))
    crl.write_bytes(made.public_bytes(Encoding.PEM))
    check = ["verify", "-crl_check", "-CAfile", bureau.folder / "authentication-ca.pem", "-CRLfile", crl]
    assert openssl(*check, pem(bureau, good))[0] == 0
    status, told = openssl(*check, pem(bureau, bad))
    assert (status != 0, "certificate revoked" in told) == (True, True)
    assert made.get_revoked_certificate_by_serial_number(good.serial_number) is None
    other = x509.load_der_x509_crl(bureau.do(bureau.office.revocation_list("signature")))
    assert other.get_revoked_certificate_by_serial_number(bad.serial_number) is None


def test_every_issue_and_end_is_in_the_log_and_the_log_names_nobody(bureau):
    """By a verifier that shares no code with ours; an entry has the certificate's hash, and no attribute."""
    made = bureau.issue("signature", card="EN00000888")
    bureau.do(bureau.office.revoke(f"{made.serial_number:x}", "renamed"))
    head = bureau.database.read_now(log.newest)
    leaves = bureau.database.read_now(lambda c: log.read(c, 0, head.size))
    checkpoint = Checkpoint.from_text(verify_note(head.note, [bureau.signer.verifier]))
    roots = oracle.Roots()
    for leaf in leaves:
        roots.push(oracle.leaf_of(leaf.salt, leaf.entry))
    assert (roots.size, roots.root()) == (head.size, checkpoint.root)
    entries = [msgspec.msgpack.decode(leaf.entry, type=Happening) for leaf in leaves]
    digest = made.fingerprint(hashes.SHA256())
    assert [(e.what, e.reason) for e in entries if e.digest == digest] == [("issued", ""), ("revoked", "renamed")]
    bureau.office.begin(b"another")
    assert [(e.what, e.digest) for e in entries[:1]] == [("ceremony", bureau.transcript)]
    assert bureau.database.read_now(log.newest) == head
    issued = [e.serial for e in entries if e.what == "issued"]
    assert len(issued) == len(set(issued))
    raw = b"".join(leaf.entry for leaf in leaves)
    assert HANAKO.name.encode() not in raw
    assert b"EN00000888" not in raw


def test_who_renews_in_time_has_the_certificate_a_year_longer(bureau):
    """By the day of the certificate it takes the place of; who comes without one has no more than anybody."""
    first, now = bureau.issue(), bureau.clock.now
    try:
        bureau.clock.now = first.not_valid_after_utc - dt.timedelta(days=20)
        key = rsa.generate_private_key(65537, 2048)
        renewed = bureau.do(bureau.office.issue("authentication", key.public_key(), bureau.holder(), renews=first))
        assert renewed.not_valid_after_utc.year == bureau.issue().not_valid_after_utc.year + 1
    finally:
        bureau.clock.now = now


def test_a_key_is_certified_once(bureau):
    """For no other purpose, card or holder: what signs in must not be what signs documents."""
    key = rsa.generate_private_key(65537, 2048)
    bureau.issue("authentication", key)
    for purpose in ("authentication", "signature"):
        with pytest.raises(Conflict):
            bureau.issue(purpose, key, card="EN00000999")


def test_a_key_of_another_kind_is_not_certified(bureau):
    for key in (rsa.generate_private_key(65537, 3072), rsa.generate_private_key(3, 2048)):
        with pytest.raises(Malformed):
            bureau.issue(key=key)
    with pytest.raises(Conflict):
        bureau.issue(last=bureau.clock.now.date() - dt.timedelta(days=2))
