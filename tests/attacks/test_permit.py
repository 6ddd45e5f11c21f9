"""Claim: a permit is genuine as a whole or not at all. Tried by: every byte of the file, flipped; and the command line."""

import random
import subprocess
import sys

import pytest

from renkei.cli import app  # noqa: F401 - the command under test
from renkei.errors import RenkeiError
from renkei.ledger.notes import Verifier
from renkei.record.permit import Notary, from_file, to_file
from tests.unit.record.conftest import Net
from tests.unit.record.test_state_and_rounds import permit_for, through


@pytest.fixture(scope="module")
def permit(pack, converters):
    net = Net(pack, converters)
    text = to_file(permit_for(net, through(net, net.signed())))
    return text, [s.verifier for s in net.signers]


def test_any_flipped_bit_is_noticed(permit):
    """Every byte, one random bit of it each."""
    text, keys = permit
    raw, rng = text.encode(), random.Random(1)
    for at in range(len(raw)):
        flipped = bytearray(raw)
        flipped[at] ^= 1 << rng.randrange(8)
        with pytest.raises((RenkeiError, UnicodeDecodeError)):
            Notary(keys).open(from_file(bytes(flipped).decode()))


def test_any_removed_or_doubled_line_is_noticed(permit):
    text, keys = permit
    lines = text.splitlines(keepends=True)
    for at in range(len(lines)):
        for changed in (lines[:at] + lines[at + 1 :], lines[:at] + [lines[at]] + lines[at:]):
            with pytest.raises(RenkeiError):
                Notary(keys).open(from_file("".join(changed)))


def test_the_command_needs_only_two_keys(permit, tmp_path):
    """`renkei verify` in an empty folder: exit 0 for the permit, 1 for a changed one, and never a traceback."""
    text, keys = permit
    (tmp_path / "keys").write_text("".join(Verifier.to_text(k) + "\n" for k in keys))
    (tmp_path / "good").write_text(text)
    (tmp_path / "bad").write_text(text.replace("index 3", "index 2"))
    (tmp_path / "junk").write_bytes(b"\xff\0")

    def run(name):
        command = [sys.executable, "-m", "renkei.cli", "verify", name, "--keys", "keys"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run("good")
    assert good.returncode == 0, good.stderr
    assert "ohashi-city" in good.stdout
    for name, code in (("bad", 1), ("junk", 1), ("none", 3)):
        done = run(name)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert done.stderr.strip()
