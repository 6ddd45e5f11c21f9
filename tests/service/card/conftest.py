"""Cards in a real PC/SC reader: pcscd and vpcd in a namespace of their own, for programs no one here wrote."""

import os
import shutil
import subprocess

import pytest

from renkei.card import virtual

TOOLS = [
    t for t in ("pcscd", "opensc-tool", "pkcs11-tool") if not shutil.which(t, path=os.environ["PATH"] + ":/usr/sbin")
]
NEEDS_READER = pytest.mark.skipif(bool(TOOLS), reason=f"not installed: {', '.join(TOOLS)}")


class Reader:
    """A reader with a card in it, and the programs that use it."""

    def __init__(self, socket):
        self.environment = {**os.environ, "PCSCLITE_CSOCK_NAME": str(socket), "LC_ALL": "C"}

    def run(self, *command, **more):
        """Exit code and what it said."""
        command = [str(c) for c in command]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, timeout=60, check=False, **{"text": True, **more}
        )
        return done.returncode, done.stdout if more.get("text") is False else done.stdout + done.stderr


@pytest.fixture
def insert(tmp_path):
    """``insert(path)``: that card lies in the reader within the block."""

    class Inserted:
        def __init__(self, path):
            self._room = virtual.room(tmp_path / "reader", path)

        def __enter__(self):
            return Reader(self._room.__enter__())

        def __exit__(self, *about):
            return self._room.__exit__(*about)

    return Inserted
