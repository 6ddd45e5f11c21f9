"""Both authorities over keys in SoftHSM2, with a clock that can be set; one token for all modules, for a process opens it once."""

import asyncio
import datetime as dt
import os
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from renkei.card.layout import Attributes
from renkei.certification import ceremony
from renkei.certification.office import Holder, Office
from renkei.certification.profiles import Addresses
from renkei.institution.database import Database
from renkei.ledger.notes import NOTE, Signer

NEEDS_TOKEN = pytest.mark.skipif(shutil.which("softhsm2-util") is None, reason="softhsm2 is not installed")
HANAKO = Attributes("連携 花子", "恵仁県大橋市本町一丁目2番3号", "19990401", "2")
WITNESSES = ("Sato", "Tanaka")


class Clock:
    def __init__(self):
        self.now = dt.datetime.now(dt.UTC)

    def __call__(self):
        return int(self.now.timestamp() * 1000)


class Bureau:
    """The office with its folder, its clock and somebody who wants certificates."""

    def __init__(self, folder, pack, token):
        self.folder, self.pack, self.clock = folder, pack, Clock()
        self.said = []
        now = self.clock.now.replace(microsecond=0)
        self.transcript = ceremony.hold(folder, token, pack, "Enishi", WITNESSES, now, self.said.append)
        self.database = Database(f"sqlite:///{folder}/ca.db", packages=("institution", "ledger", "certification"))
        self.signer = Signer("renkei.example/certificates", NOTE, os.urandom(32))
        self.authorities = ceremony.authorities(folder, token, now)
        self.office = Office(self.authorities, self.database, self.signer, lambda: pack, self.addresses, self.clock)
        self.office.begin(self.transcript)

    @staticmethod
    def addresses(purpose):
        base = f"http://ca.example/{purpose}"
        return Addresses(f"{base}/ocsp", f"{base}.crl", f"{base}.cer")

    def do(self, work):
        return asyncio.run(work)

    def holder(self, card="EN00000001", birth=dt.date(1999, 4, 1), last=dt.date(2099, 1, 1)):
        return Holder(card, last, birth, HANAKO)

    def issue(self, purpose="authentication", key=None, **of):
        key = key or rsa.generate_private_key(65537, 2048)
        return self.do(self.office.issue(purpose, key.public_key(), self.holder(**of)))


@pytest.fixture(scope="session")
def bureau(tmp_path_factory, pack, token):
    made = Bureau(tmp_path_factory.mktemp("ca"), pack, token)
    yield made
    made.database.close()
