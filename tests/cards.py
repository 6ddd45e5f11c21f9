"""A nation with cards, and the reader program as its residents run it."""

from __future__ import annotations

import asyncio
import atexit
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from renkei.cli.card import opener
from renkei.institution.settings import Home
from renkei.nation.bank.service import Settings as Bank
from renkei.nation.plan import Plan, free_ports
from renkei.reader.service import ReaderProgram
from tests.console import Browser
from tests.world import Running, until

RENKEI = Path(sys.executable).with_name("renkei")
ISSUE = """
import shutil, sys
from pathlib import Path
import msgspec
from renkei.nation import cards

folder, kept = map(Path, sys.argv[1:])
held = cards.hold_ceremony

def once(home, settings, witnesses, say):
    if not kept.exists():
        held(home, settings, witnesses, say)
        shutil.copytree(home, kept)
        return
    shutil.copytree(kept, home, dirs_exist_ok=True)
    conf = home / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {(home / 'tokens').absolute()}\\nobjectstore.backend = file\\nlog.level = ERROR\\n")
    cards.Home(home).write_toml("settings.toml", msgspec.structs.replace(settings, softhsm=str(conf.absolute())))

cards.hold_ceremony = once
cards.issue(folder)
"""
"""Issues a nation's cards; the authorities' keys are of the ceremony that the first of this process's nations held, for making them takes
longer than all else."""
KEPT = Path(tempfile.gettempdir()) / f"renkei-ceremony-{os.getpid()}"
atexit.register(shutil.rmtree, KEPT, ignore_errors=True)


class Carded(Running):
    """A nation whose personas have cards. Keys are made in a process of its own: one opens a token's library once."""

    def __init__(self, folder: Path, **more: object) -> None:
        self.reader = f"http://127.0.0.1:{free_ports(1)[0]}"

        def prepare(plan: Plan) -> None:
            subprocess.run([sys.executable, "-c", ISSUE, str(folder), str(KEPT)], check=True)
            for place in plan.places:
                home = Home(folder / place.body)
                home.write_toml("settings.toml", msgspec.structs.replace(home.settings(), reader=self.reader))
            bank = Home(folder / "sites")
            settings = bank.read_toml("bank.toml", Bank)
            bank.write_toml("bank.toml", msgspec.structs.replace(settings, reader=self.reader), private=True)

        super().__init__(folder, residents=60, prepare=prepare, **more)  # type: ignore[arg-type]
        until(lambda: self.authorities("/checkpoint"))

    def authorities(self, path: str) -> bytes:
        """What the certification authorities answer at ``path``; nothing if they do not."""
        try:
            with urllib.request.urlopen(self.plan.certification + path, timeout=5) as response:
                return bytes(response.read())
        except OSError:
            return b""

    def card(self, persona: int = 0) -> Path:
        return self.plan.card(self.folder, self.plan.personas[persona].id)

    def certify(self, *command: str) -> None:
        """``renkei certification …``: nobody answers meanwhile, for one program at a time holds the authorities' home."""
        body = "certification"
        self.world.children.pop(body).kill()
        home = self.folder / body
        until(lambda: not self.authorities("/checkpoint"))
        subprocess.run(
            [RENKEI, "certification", command[0], str(home), *command[1:]], check=True, stdout=subprocess.PIPE
        )
        self.world.spawn(body, "certification", "run")
        until(lambda: self.authorities("/checkpoint"))

    @contextmanager
    def reading(self, card: Path, *sites: str, elsewhere: bool = False) -> Iterator[str]:
        """The reader program with this card, where the portal's pages look for it or ``elsewhere``; its address. On the nation's loop, for
        a process of its own takes two seconds to begin; ``test_with_the_command`` runs the command."""
        address = f"http://127.0.0.1:{free_ports(1)[0]}" if elsewhere else self.reader
        program = ReaderProgram(opener(card, ""), port=int(address.rpartition(":")[2]), sites=sites, lang="en")
        serving = asyncio.run_coroutine_threadsafe(program.serve(), self.loop)
        try:
            until(lambda: _answers(address))
            yield address
        finally:
            serving.cancel()
            until(lambda: not _answers(address))


class Resident(Browser):
    """A browser without script that goes to the reader program and back."""

    def __init__(self, nation: Running, body: str = "portal") -> None:
        super().__init__(nation.url(body))
        self.origin = self.url

    def post(self, url: str, origin: str = "", **fields: str) -> tuple[int, str]:
        """A form sent to any address, as a page of ``origin`` would."""
        request = urllib.request.Request(url, urllib.parse.urlencode(fields).encode())
        if origin:
            request.add_header("Origin", origin)
        status, page = self._do(request)
        return status, page if isinstance(page, str) else page.decode()

    def asks(self, reader: str) -> tuple[int, str]:
        """From the portal's page to the reader's."""
        _, page = self.get("/signin")
        return self.post(f"{reader}/ask", self.origin, **fields_of(page))

    def signs_in(self, reader: str, pin: str = "1234") -> tuple[int, str]:
        """All of it: the portal's page, the reader's, and back."""
        _, page = self.asks(reader)
        status, page = self.post(f"{reader}/answer", reader, token=fields_of(page)["token"], pin=pin, act="confirm")
        if "certificate" not in fields_of(page):
            return status, page
        return self.returns(page)

    def returns(self, page: str) -> tuple[int, str]:
        """From the reader's page to the portal, and on."""
        _, page = self.post(f"{self.url}/signin/card", "", **fields_of(page))
        return self.post(f"{self.url}/signin/card/finish", self.origin, **fields_of(page))


def fields_of(page: str) -> dict[str, str]:
    """The hidden fields of a page's first form."""
    form = page.partition("<form")[2].partition("</form>")[0]
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', form)
    return {name: html.unescape(value) for name, value in found}


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False
