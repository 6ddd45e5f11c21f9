"""``python -m bench.visits``: what somebody with a card waits for, on a running nation: at the portal, at the kiosk, at the clinic.

Writes ``bench/results/visits.json``. Medians over turns in which each is done once; beside the whole stands what its signatures and its
OCSP answer take alone, measured in the same turns.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from tests.cards import Carded, Resident, fields_of
from tests.service.gateway.test_eligibility import INSURER, insure, nation_clerk

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.card.virtual import CardFile
from renkei.clinic.service import Settings, Terminal
from renkei.institution.relying import authentication_message, by_ocsp
from renkei.institution.settings import Home, system_clock

RESULT = Path("bench/results/visits.json")
TURNS = 15


def milliseconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


class Visits:
    """One resident with a card, everywhere."""

    def __init__(self, nation: Carded, folder: Path) -> None:
        self.nation = nation
        self.card = CardClient(CardFile(nation.card()).chip().transmit)
        settings = Settings(
            name=nation_clerk(nation),
            insurer=nation.url(INSURER),
            token=nation.plan.place(INSURER).token,
            authority=str(nation.folder / "certification" / "authentication-ca.pem"),
        )
        folder.mkdir()
        Home(folder).write_toml("clinic.toml", settings)
        self.terminal = Terminal(folder, self._there)
        der = self.card.certificate(AUTHENTICATION)
        self.certificate = x509.load_der_x509_certificate(der)
        self.issuer = x509.load_pem_x509_certificate(Path(settings.authority).read_bytes())

    @contextlib.contextmanager
    def _there(self) -> Iterator[CardClient]:
        yield self.card

    def signature(self) -> None:
        self.card.sign(AUTHENTICATION, "1234", b"x")

    def status(self) -> None:
        assert asyncio.run(by_ocsp(system_clock)(self.certificate, self.issuer)) == "good"

    def portal(self) -> None:
        """From the page with the challenge to the resident's records."""
        resident = Resident(self.nation)
        challenge = base64.b64decode(fields_of(resident.get("/signin")[1])["challenge"])
        signature = self.card.sign(AUTHENTICATION, "1234", authentication_message(resident.url, challenge))
        parts = {"certificate": self.card.certificate(AUTHENTICATION), "signature": signature}
        fields = {n: base64.b64encode(v).decode() for n, v in parts.items()}
        assert resident.post(f"{resident.url}/signin/card/finish", resident.url, **fields)[0] == 200

    def clinic(self) -> None:
        assert asyncio.run(self.terminal.visit("1234", consent=False)).insured

    def kiosk(self) -> None:
        city = self.nation.world.institutions["ohashi-city"]
        self.nation.do(city.documents.make("resident-record-copy", self.nation.local_id("ohashi-city")))


def measure() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="renkei-visits-") as name:
        nation = Carded(Path(name) / "nation")
        try:
            insure(nation, 0)
            visits = Visits(nation, Path(name) / "clinic")
            works = {
                "signature": visits.signature,
                "status": visits.status,
                "portal": visits.portal,
                "clinic": visits.clinic,
                "kiosk": visits.kiosk,
            }
            taken = defaultdict[str, list[float]](list)
            for turn in range(TURNS + 1):
                for what, work in works.items():
                    spent = milliseconds(work)
                    if turn:  # the first warms up
                        taken[what].append(spent)
            nation.stop_body(INSURER)
            taken["clinic_offline"] = [milliseconds(visits.clinic) for _ in range(TURNS)]
            found = {f"{what}_ms": round(statistics.median(times), 1) for what, times in taken.items()}
            return {"command": "python -m bench.visits", "date": f"{dt.date.today()}", **found}  # noqa: DTZ011 - this machine's day
        finally:
            nation.stop()


def main() -> None:
    found = measure()
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    for what, value in found.items():
        print(f"{what:20} {value}")


if __name__ == "__main__":
    main()
