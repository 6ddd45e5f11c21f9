"""By the command line, from the ceremony to a card in a reader: as an operator, a counter and a holder do it; OCSP over HTTP by openssl."""

import asyncio
import json
import os
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from renkei.card import virtual
from renkei.card.chip import Memory
from renkei.institution.relying import by_ocsp
from renkei.institution.settings import system_clock
from tests.conftest import PACK
from tests.service.card.conftest import NEEDS_READER, insert
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import free_port, until

__all__ = ["insert"]
pytestmark = NEEDS_TOKEN
RENKEI = Path(sys.executable).with_name("renkei")
HOLDER = ["--name", "連携 花子", "--address", "恵仁県大橋市本町1", "--birth", "1999-04-01", "--sex", "2"]


def run(*command, given="", environment=None):
    done = subprocess.run(
        [str(c) for c in (RENKEI, *command)], input=given, capture_output=True, text=True, timeout=90, check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """After the ceremony."""
    folder, port = tmp_path_factory.mktemp("authorities"), free_port()
    status, told = run(
        "certification", "ceremony", folder / "ca", "--title", "Enishi", "--present", "Sato", "--present", "Tanaka",
        "--pack", PACK, "--base", f"http://127.0.0.1:{port}", "--port", port,
    )  # fmt: skip
    assert status == 0, told
    assert "Witnesses: Sato, Tanaka." in told
    (folder / "number").write_text("1234 5678 9018\n")
    (folder / "pins").write_text("1234\nABC123\n9876\n")
    return folder


@pytest.fixture(scope="module")
def card(home):
    status, told = run(
        "certification", "produce", home / "ca", home / "card.json", *HOLDER, "--number", home / "number", "--json"
    )
    assert status == 0, told
    return json.loads(told)


def test_a_ceremony_is_held_once_and_by_two(home):
    again = (
        "certification",
        "ceremony",
        home / "ca",
        "--title",
        "E",
        "--present",
        "A",
        "--present",
        "B",
        "--pack",
        PACK,
    )
    assert run(*again)[0] == 3
    assert run("certification", "ceremony", home / "other", "--title", "E", "--present", "A", "--pack", PACK)[0] == 1
    assert run("certification", "run", home / "nothing")[0] == 3


def test_secrets_are_their_owner_s_alone(home, card):
    for path in (home / "ca" / "secrets.toml", home / "card.json"):
        assert path.stat().st_mode & 0o077 == 0, path
    secrets = tomllib.loads((home / "ca" / "secrets.toml").read_text())
    others = b"".join(p.read_bytes() for p in (home / "ca").glob("*.*") if p.name != "secrets.toml" and p.is_file())
    assert not any(v.encode() in others for v in secrets.values() if v)


def test_nobody_uses_a_card_before_it_is_handed_over(home, card):
    memory: Memory = virtual.CardFile(home / "card.json").load()
    assert not any(pin.value for pin in memory.pins.values())
    assert memory.serial == card["card"]
    (home / "bad").write_text("1234\nabc\n9876\n")
    assert run("certification", "hand-over", home / "ca", home / "card.json", "--pins", home / "bad")[0] == 1
    memory = virtual.CardFile(home / "card.json").load()
    assert not any(pin.value for pin in memory.pins.values())  # none of the three
    wrong = ("certification", "produce", home / "ca", home / "second.json", *HOLDER)
    (home / "wrong").write_text("123456789012")
    status, told = run(*wrong, "--number", home / "wrong")
    assert (status, "123456789012" in told) == (1, False)


@NEEDS_READER
def test_a_holder_uses_the_card_at_the_terminal(home, card, insert, tmp_path):
    """Shows, signs, verifies, changes a PIN; a wrong one is told with the tries left, and none is on a command line."""
    pytest.importorskip("smartcard")
    assert run("certification", "hand-over", home / "ca", home / "card.json", "--pins", home / "pins")[0] == 0
    document, signature, mine = (tmp_path / n for n in ("document", "signature", "mine.pem"))
    document.write_bytes("届出".encode())
    with insert(home / "card.json") as desk:

        def use(*command, pin=""):
            return run(
                "card",
                *command,
                given=pin,
                environment={"PCSCLITE_CSOCK_NAME": desk.environment["PCSCLITE_CSOCK_NAME"]},
            )

        status, told = use("show", "--json")
        assert (status, json.loads(told)["tries"]) == (0, {"authentication": 3, "signature": 5, "printed": 3})
        assert use("sign", document, "--to", signature, "--pin", "-", pin="ABC123\n")[0] == 0
        assert use("certificate", mine, "--with", "signature", "--pin", "-", pin="ABC123\n")[0] == 0
        check = ("verify", document, "--signature", signature, "--certificate", mine, "--ca")
        assert use(*check, home / "ca" / "signature-ca.pem")[0] == 0
        assert use(*check, home / "ca" / "authentication-ca.pem")[0] == 1
        document.write_bytes("別の届出".encode())
        assert use(*check, home / "ca" / "signature-ca.pem")[0] == 1
        status, told = use("printed", "--number", "--pin", "-", "--json", pin="9876\n")
        assert json.loads(told)["number"] == "123456789018"
        status, told = use("printed", "--pin", "-", pin="0000\n")
        assert (status, "2 tries are left" in told) == (1, True)
        (tmp_path / "new").write_text("4321")
        assert use("pin", "printed", "--pin", "-", "--new", tmp_path / "new", pin="9876\n")[0] == 0
        assert use("printed", "--pin", "-", pin="4321\n")[0] == 0
    status, told = run("card", "show", environment={"PCSCLITE_CSOCK_NAME": str(tmp_path / "nothing")})
    assert (status, "Traceback" in told) == (3, False)


def test_openssl_asks_over_http_and_is_told_of_each_change(home, card, tmp_path):
    settings = tomllib.loads((home / "ca" / "settings.toml").read_text())
    memory = virtual.CardFile(home / "card.json").load()
    der = next(content for name, content in memory.files.items() if name.endswith("/000a"))
    leaf, made = tmp_path / "leaf.pem", x509.load_der_x509_certificate(der)
    leaf.write_bytes(made.public_bytes(Encoding.PEM))
    serial = f"{made.serial_number:x}"
    ca = home / "ca" / "authentication-ca.pem"
    issuer = x509.load_pem_x509_certificate(ca.read_bytes())

    def told():
        service = subprocess.Popen([RENKEI, "certification", "run", home / "ca"])
        try:
            until(lambda: answers(settings["base"] + "/health"))
            command = [
                "openssl",
                "ocsp",
                "-url",
                settings["base"] + "/ocsp",
                "-issuer",
                ca,
                "-cert",
                leaf,
                "-CAfile",
                ca,
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            said = asyncio.run(by_ocsp(system_clock, settings["base"] + "/ocsp")(made, issuer))
            crl = urllib.request.urlopen(settings["base"] + "/authentication.crl").read()
            assert run("certification", "suspend", home / "ca", serial)[0] == 3  # one program at a time
            return done.stdout + done.stderr, crl, said
        finally:
            service.terminate()
            assert service.wait(20) == 0

    text, crl, said = told()
    assert said == "good"
    assert "Response verify OK" in text
    assert ": good" in text
    assert run("certification", "suspend", home / "ca", serial)[0] == 0
    assert run("certification", "suspend", home / "ca", serial)[0] == 1
    text, _, said = told()
    assert ("certificateHold" in text, said) == (True, "suspended")
    assert run("certification", "release", home / "ca", serial)[0] == 0
    assert run("certification", "revoke", home / "ca", serial, "because")[0] == 1
    assert run("certification", "revoke", home / "ca", serial, "died")[0] == 0
    text, later, said = told()
    assert said == "revoked"
    assert "cessationOfOperation" in text
    assert later != crl


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False
