"""An unmodified OpenSC, and what is built on it, with a resident's card in a real reader."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from renkei.card import layout, reader, virtual
from renkei.card.chip import Memory, admin_response
from renkei.card.client import AUTHENTICATION, PURPOSES, SIGNATURE, CardClient
from renkei.card.layout import AUTHENTICATION_AID, AUTHENTICATION_PIN
from renkei.errors import RenkeiError
from renkei.institution.relying import Challenges, Presented, Verifier, authentication_message, read_answer
from tests.service.card.conftest import NEEDS_READER
from tests.service.certification.conftest import HANAKO, NEEDS_TOKEN, Bureau
from tests.world import free_port, until

MODULES = [f"/usr/lib/{m}-linux-gnu/opensc-pkcs11.so" for m in ("x86_64", "aarch64")]
pytestmark = [NEEDS_READER, NEEDS_TOKEN]
MODULE = next((p for p in MODULES if os.path.exists(p)), "")
NUMBER = "123456789018"


@pytest.fixture(scope="module")
def issued(pack, token, tmp_path_factory):
    """A card as it is handed over, over the card's own commands."""
    folder = tmp_path_factory.mktemp("issued")
    bureau = Bureau(folder, pack, tokens_of(token))
    card = virtual.CardFile(folder / "card.json")
    memory = Memory("EN00000001", os.urandom(32))
    card.keep(memory)
    client = CardClient(card.chip().transmit)
    client.administer(lambda serial, challenge: admin_response(memory.admin, serial, challenge))
    for name, purpose in PURPOSES.items():
        public = rsa.RSAPublicNumbers(65537, client.generate(purpose)).public_key()
        made = bureau.do(bureau.office.issue(name, public, bureau.holder()))
        client.write(AUTHENTICATION_AID, purpose.certificate, made.public_bytes(Encoding.DER))
        client.write(AUTHENTICATION_AID, purpose.ca, bureau.office.authority(name).public_bytes(Encoding.DER))
    client.write(AUTHENTICATION_AID, layout.TOKEN_INFO, layout.TOKEN)
    client.write(layout.HELPER_AID, layout.NUMBER, layout.write_number(NUMBER))
    client.write(layout.HELPER_AID, layout.ATTRIBUTES, layout.write_attributes(HANAKO))
    client.set_pin(AUTHENTICATION_AID, AUTHENTICATION_PIN, "1234")
    client.set_pin(AUTHENTICATION_AID, layout.SIGNATURE_PIN, "ABC123")
    client.set_pin(layout.HELPER_AID, layout.HELPER_PIN, "9876")
    yield bureau, card.path
    bureau.database.close()


def tokens_of(token):
    """Other labels than the other modules': one token has them all."""

    class Labelled:
        description = token.description

        def generate(self, label, bits):
            return token.generate(f"card-{label}", bits)

        def key(self, label):
            return token.key(f"card-{label}")

        def has(self, label):
            return token.has(f"card-{label}")

    return Labelled()


@pytest.fixture
def card(issued, tmp_path):
    """A copy of it, for a test of its own."""
    path = tmp_path / "card.json"
    shutil.copy(issued[1], path)
    return path


def public_of(bureau_card, purpose=AUTHENTICATION, pin=""):
    client = CardClient(virtual.CardFile(bureau_card).chip().transmit)
    return x509.load_der_x509_certificate(client.certificate(purpose, pin))


def test_opensc_knows_the_card_and_its_certificates_verify(issued, card, insert, tmp_path):
    bureau, _ = issued
    with insert(card) as desk:
        assert desk.run("opensc-tool", "-n")[1].splitlines()[0] == "jpki"
        pin = ("--verify-pin", "--auth-id", "02", "--pin", "ABC123")
        for identifier, name, more in (("01", "authentication", ()), ("02", "signature", pin)):
            status, told = desk.run("pkcs15-tool", "--read-certificate", identifier, *more)
            assert status == 0, told
            leaf = tmp_path / f"{name}.pem"
            leaf.write_text(told[told.index("-----BEGIN") :].split("Using reader")[0])
            assert desk.run("openssl", "verify", "-CAfile", bureau.folder / f"{name}-ca.pem", leaf)[0] == 0
        status, told = desk.run("pkcs15-tool", "--read-certificate", "02")
        assert "-----BEGIN" not in told  # who the holder is needs the PIN


def test_opensc_signs_a_challenge_and_openssl_verifies_it(card, insert, tmp_path):
    challenge, signature, key = (tmp_path / n for n in ("challenge", "signature", "key.pem"))
    challenge.write_bytes(os.urandom(32))
    for slot, pin, purpose, given in (("0", "1234", AUTHENTICATION, ""), ("1", "ABC123", SIGNATURE, "ABC123")):
        public = public_of(card, purpose, given).public_key()
        key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        with insert(card) as desk:
            status, told = desk.run(
                "pkcs11-tool", "--module", MODULE, "--slot-index", slot, "--pin", pin, "--sign", "-m", "SHA256-RSA-PKCS",
                "-i", challenge, "-o", signature,
            )  # fmt: skip
            assert status == 0, told
            assert desk.run("openssl", "dgst", "-sha256", "-verify", key, "-signature", signature, challenge)[0] == 0


def test_opensc_signs_a_portal_s_challenge_and_the_holder_is_signed_in(issued, card, insert, tmp_path):
    """A program no one here wrote makes the signature; the portal's own check takes it, at this portal and once."""
    bureau, _ = issued
    challenges = Challenges(os.urandom(32), bureau.clock)
    trusted = {p: a.certificate for p, a in bureau.authorities.items()}

    async def status(certificate, issuer):
        question = x509.ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256())
        question = question.add_extension(x509.OCSPNonce(bytes(16)), critical=False).build().public_bytes(Encoding.DER)
        return read_answer(await bureau.office.answer(question), certificate, issuer, bytes(16), bureau.clock())

    verifier = Verifier(bureau.pack.header.cards, trusted, status, bureau.clock)
    challenge, message, signature = challenges.new(), tmp_path / "message", tmp_path / "signature"
    message.write_bytes(authentication_message("https://portal.example", challenge))
    with insert(card) as desk:
        status_, told = desk.run(
            "pkcs11-tool", "--module", MODULE, "--slot-index", "0", "--pin", "1234", "--sign", "-m", "SHA256-RSA-PKCS",
            "-i", message, "-o", signature,
        )  # fmt: skip
        assert status_ == 0, told
    shown = Presented(public_of(card).public_bytes(Encoding.DER), signature.read_bytes())
    work = verifier.signed_in(shown, challenges, "https://portal.example", challenge)
    assert bureau.do(work) == public_of(card)
    with pytest.raises(RenkeiError):
        bureau.do(verifier.signed_in(shown, challenges, "https://portal.example", challenge))


def test_three_wrong_pins_lock_it_across_power_cuts(card, insert, tmp_path):
    """The reader dies between the tries; a right PIN does not help afterwards, in another reader either."""
    data = tmp_path / "data"
    data.write_bytes(b"x")

    def sign(desk, pin):
        command = (
            "pkcs11-tool",
            "--module",
            MODULE,
            "--slot-index",
            "0",
            "--pin",
            pin,
            "--sign",
            "-m",
            "SHA256-RSA-PKCS",
        )
        return desk.run(*command, "-i", data, "-o", tmp_path / "out")

    for _ in range(3):
        with insert(card) as desk:
            assert sign(desk, "0000")[0] != 0
    with insert(card) as desk:
        status, told = sign(desk, "1234")
        assert status != 0
        assert "CKR_PIN_LOCKED" in told


def test_ssh_signs_with_the_card(card, insert, tmp_path):
    """OpenSSH's agent holds the card's key by OpenSC; what it signs, OpenSSH verifies."""
    if shutil.which("ssh-agent") is None:
        pytest.skip("openssh-client is not installed")
    ask, public, data = tmp_path / "ask.sh", tmp_path / "key.pub", tmp_path / "data"
    ask.write_text("#!/bin/sh\necho 1234\n")
    ask.chmod(0o700)
    data.write_bytes(b"let me in")
    key = public_of(card).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    public.write_text(key + "\n")
    with insert(card) as desk, tempfile.TemporaryDirectory() as short:  # a socket's path is short
        agent = {"SSH_AUTH_SOCK": f"{short}/agent", "SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"}
        desk.environment.update(agent)
        running = subprocess.Popen(["ssh-agent", "-D", "-a", f"{short}/agent", "-P", "*"], env=desk.environment)
        try:
            until(lambda: os.path.exists(f"{short}/agent"))
            status, told = desk.run("ssh-add", "-s", MODULE)
            assert status == 0, told
            assert key in desk.run("ssh-add", "-L")[1]
            status, told = desk.run("ssh-keygen", "-Y", "sign", "-n", "file", "-f", public, data)
            assert status == 0, told
            check = ("ssh-keygen", "-Y", "check-novalidate", "-n", "file", "-s", f"{data}.sig")
            assert desk.run(*check, input="let me in")[0] == 0
            assert desk.run(*check, input="let me out")[0] != 0
        finally:
            running.kill()
            running.wait()


def test_a_tls_server_lets_in_whoever_has_the_card(issued, card, insert, tmp_path):
    """OpenSSL's own server asks for a certificate of our authority, and its client proves the card's key through OpenSC."""
    bureau, _ = issued
    engine = subprocess.run(["openssl", "engine", "pkcs11"], capture_output=True, check=False)
    if engine.returncode:
        pytest.skip("libengine-pkcs11-openssl is not installed")
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(public_of(card).public_bytes(Encoding.PEM))
    key, cert = tmp_path / "server.key", tmp_path / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    ca = bureau.folder / "authentication-ca.pem"
    port = free_port()
    with insert(card) as desk:
        server = subprocess.Popen(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", cert, "-key", key, "-CAfile", ca, "-Verify", "1",
             "-verify_return_error", "-tls1_2", "-www"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            client = [
                "openssl",
                "s_client",
                "-connect",
                f"127.0.0.1:{port}",
                "-CAfile",
                cert,
                "-tls1_2",
                "-ign_eof",
                "-sigalgs",
                "RSA+SHA256",
            ]
            mine = [
                "-cert",
                leaf,
                "-engine",
                "pkcs11",
                "-keyform",
                "engine",
                "-key",
                "pkcs11:token=JPKI%20%28User%20Authentication%20PIN%29;id=%01;type=private;pin-value=1234",
            ]
            environment = {"PKCS11_MODULE_PATH": MODULE, **desk.environment}
            until(lambda: b"ACCEPT" in server.stdout.readline())
            done = subprocess.run(
                [*client, *mine],
                input=b"GET / HTTP/1.0\r\n\r\n",
                env=environment,
                capture_output=True,
                timeout=30,
                check=False,
            )
            assert b"HTTP/1.0 200 ok" in done.stdout, done.stdout + done.stderr
            without = subprocess.run(
                client, input=b"GET / HTTP/1.0\r\n\r\n", capture_output=True, timeout=30, check=False
            )
            assert b"HTTP/1.0 200 ok" not in without.stdout
        finally:
            server.kill()


def test_our_own_client_finds_in_the_reader_what_it_finds_in_the_chip(card, insert, monkeypatch):
    """Over PC/SC: certificates, a signature, the number, a PIN changed; the card knows it after it was pulled out."""
    pytest.importorskip("smartcard")
    with insert(card) as desk:
        monkeypatch.setenv("PCSCLITE_CSOCK_NAME", desk.environment["PCSCLITE_CSOCK_NAME"])
        with reader.inserted() as client:
            assert client.number("9876") == NUMBER
            assert client.attributes("9876") == HANAKO
            made = x509.load_der_x509_certificate(client.certificate(AUTHENTICATION))
            signature = client.sign(AUTHENTICATION, "1234", b"a challenge")
            made.public_key().verify(signature, b"a challenge", padding.PKCS1v15(), hashes.SHA256())
            client.change_pin(AUTHENTICATION_AID, AUTHENTICATION_PIN, "1234", "4321")
            with pytest.raises(RenkeiError) as caught:
                client.sign(AUTHENTICATION, "1234", b"x")
            assert caught.value.code == "pin-wrong"
        with pytest.raises(RenkeiError), reader.inserted("no such reader"):
            pass
    again = CardClient(virtual.CardFile(card).chip().transmit)
    assert again.tries(AUTHENTICATION_AID, AUTHENTICATION_PIN) == 2
    assert len(again.sign(AUTHENTICATION, "4321", b"x")) == 256


def test_a_virtual_reader_is_not_where_others_reach_it(card, monkeypatch):
    monkeypatch.setattr(virtual.socket, "if_nameindex", lambda: [(1, "lo"), (2, "eth0")])
    with pytest.raises(RenkeiError) as caught:
        virtual.serve(virtual.CardFile(card).chip())
    assert caught.value.code == "card-network"


def test_the_reader_s_port_is_not_reachable_from_outside_its_room(card, insert):
    """vpcd listens on every address, of its own namespace alone."""
    with insert(card), pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", virtual.PORT), timeout=2).close()


def test_the_reader_ends_with_who_began_it(card, tmp_path):
    """Killed without a chance to tidy up, it leaves no pcscd behind that has the card."""
    folder = tmp_path / "room"
    began = subprocess.Popen(
        [sys.executable, "-m", "renkei.cli", "card", "emulate", card, "--room", folder], stdout=subprocess.PIPE
    )
    assert began.stdout.readline()
    listed = {**os.environ, "PCSCLITE_CSOCK_NAME": str(folder / "pcscd.comm")}

    def seen():
        return (
            b"Virtual PCD" in subprocess.run(["opensc-tool", "-l"], env=listed, capture_output=True, check=False).stdout
        )

    assert seen()
    began.kill()
    began.wait()
    until(lambda: not seen())
