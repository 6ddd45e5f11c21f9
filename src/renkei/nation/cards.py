"""Cards for an invented nation: its certification authorities, a card for each persona, and a portal that lets them in."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import msgspec

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.card.layout import Attributes
from renkei.card.virtual import CardFile
from renkei.certification import tokens
from renkei.certification.production import Pins
from renkei.certification.service import Certification, Settings, hold_ceremony
from renkei.institution.settings import Home
from renkei.nation.plan import Plan, free_ports
from renkei.nation.world import CERTIFICATION

PINS = Pins("1234", "ABC123", "9876")
"""Every persona's: for authentication, for signatures, for what is printed."""
SEX = {"M": "1", "F": "2"}


def possible() -> bool:
    """Whether this machine has a token for the authorities' keys."""
    return tokens.SOFTHSM.exists() and shutil.which("softhsm2-util") is not None


def issue(folder: Path) -> None:
    """Give a nation that does not run its authorities, and its personas their cards. Keys are made: some seconds."""
    plan = Plan.read(folder)
    for unfinished in (folder / CERTIFICATION, folder / "cards"):
        shutil.rmtree(unfinished, ignore_errors=True)
    (port,) = free_ports(1)
    home, base = folder / CERTIFICATION, f"http://127.0.0.1:{port}"
    home.mkdir()
    settings = Settings(title=plan.origin.split("/")[1], base=base, port=port, pack=plan.pack)
    hold_ceremony(home, settings, ("Sato", "Tanaka"), lambda _: None)
    (folder / "cards").mkdir(mode=0o700)
    here = Certification(home)
    try:
        given = asyncio.run(_cards(folder, plan, here))
    finally:
        here.close()
    authority = next(p.body for p in plan.places if p.role == "authority")
    path = folder / authority / "certificates.csv"
    path.touch(mode=0o600)
    path.write_text("number,certificate\n" + "".join(f"{n},{c.hex()}\n" for n, c in given), "utf-8")
    sites = {p.body: p.url for p in plan.places if p.role in ("portal", "gateway")}
    for body in sites:
        _set(folder, body, card_authority=str((home / "authentication-ca.pem").resolve()))
    _set(folder, authority, card_sites=sites)
    (folder / "nation.toml").write_bytes(msgspec.toml.encode(msgspec.structs.replace(plan, certification=base)))


def _set(folder: Path, body: str, **changed: Any) -> None:
    """Change settings of one body."""
    place = Home(folder / body)
    place.write_toml("settings.toml", msgspec.structs.replace(place.settings(), **changed))


async def _cards(folder: Path, plan: Plan, here: Certification) -> list[tuple[str, bytes]]:
    """Make the personas' cards and hand them over; each one's number and authentication certificate."""
    given = []
    with (folder / "roll.csv").open(encoding="utf-8", newline="") as roll:
        for face, person in zip(plan.personas, csv.DictReader(roll), strict=False):
            file = plan.card(folder, face.id)
            born = dt.date.fromisoformat(person["birth"])
            printed = Attributes(person["name"], person["address"], f"{born:%Y%m%d}", SEX[person["sex"]])
            await here.produce(file, born, printed, person["number"])
            card = CardClient(CardFile(file).chip().transmit)
            here.producer.hand_over(card, PINS)
            given.append((person["number"], card.certificate(AUTHENTICATION)))
    return given
