"""Cards for an invented nation: its certification authorities, a card for each persona, and a portal that lets them in."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import secrets
import shutil
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from renkei.card.client import AUTHENTICATION, CardClient
from renkei.card.layout import Attributes
from renkei.card.virtual import CardFile
from renkei.certification import tokens
from renkei.certification.counter_pages import Duty as CounterDuty
from renkei.certification.production import Pins
from renkei.certification.profiles import OFFICIAL
from renkei.certification.service import Certification, Secrets, Settings, hold_ceremony
from renkei.gateway.seal import new_key
from renkei.institution.settings import Home
from renkei.law import Pack
from renkei.nation.bank.service import Settings as Bank
from renkei.nation.hall.service import Settings as Hall
from renkei.nation.plan import Place, Plan, free_ports
from renkei.nation.world import CERTIFICATION, SITES

PINS = Pins("1234", "ABC123", "9876")
"""Every persona's: for authentication, for signatures, for what is printed."""
SEX = {"M": "1", "F": "2"}


def possible() -> bool:
    """Whether this machine has a token for the authorities' keys."""
    return tokens.SOFTHSM.exists() and shutil.which("softhsm2-util") is not None


def issue(folder: Path) -> None:
    """Give a nation that does not run its authorities, its personas their cards, its bodies their seals. Some seconds: keys are made."""
    plan = Plan.read(folder)
    for unfinished in (folder / CERTIFICATION, folder / SITES, folder / "cards", *folder.glob("*/seal")):
        shutil.rmtree(unfinished, ignore_errors=True)
    port, bank, hall = free_ports(3, {plan.port(p.body) for p in plan.places})
    home, base = folder / CERTIFICATION, f"http://127.0.0.1:{port}"
    home.mkdir()
    numbering = next(p for p in plan.places if p.role == "authority")
    title = plan.origin.split("/")[1]
    settings = Settings(title=title, base=base, port=port, pack=plan.pack, numbering=numbering.url)
    hold_ceremony(home, settings, ("Sato", "Tanaka"), lambda _: None)
    _appoint(Home(home), plan, numbering)
    (folder / "cards").mkdir(mode=0o700)
    here = Certification(home)
    try:
        given = asyncio.run(_make(folder, plan, here))
    finally:
        here.close()
    authority = next(p.body for p in plan.places if p.role == "authority")
    path = folder / authority / "certificates.csv"
    path.touch(mode=0o600)
    path.write_text("number,certificate\n" + "".join(f"{n},{c.hex()}\n" for n, c in given), "utf-8")
    portal = next(p for p in plan.places if p.role == "portal")
    sites = {p.body: p.url for p in plan.places if p.role in ("portal", "gateway")}
    for body in sites:
        if (folder / body / "seal").is_dir():
            _set(folder, body, dates=f"{base}/timestamps")
        _set(folder, body, portal=portal.url)
        _set(folder, body, card_authority=str((home / "authentication-ca.pem").resolve()))
        _set(folder, body, signature_authority=str((home / "signature-ca.pem").resolve()))
    _set(folder, authority, card_sites=sites)
    sites_ = _open_sites(folder, portal, (bank, hall), base, here.pack.header.time_zone)
    (folder / "nation.toml").write_bytes(
        msgspec.toml.encode(msgspec.structs.replace(plan, certification=base, **sites_))
    )


def _appoint(home: Home, plan: Plan, numbering: Place) -> None:
    """A clerk at each municipality's counter, with the token of its gateway's clerk; and our own access to the numbering authority."""
    keys = home.read_toml("secrets.toml", Secrets)
    home.write_toml("secrets.toml", msgspec.structs.replace(keys, numbering=numbering.token), private=True)
    pack = Pack.load(Path(plan.pack))
    municipal = {b.code for b in pack.bodies.values() if "municipality" in pack.standing(b.kinds)}
    clerks = [
        {
            "name": "窓口A",
            "office": p.body,
            "duties": list(get_args(CounterDuty)),
            "token_sha256": sha256(p.token.encode()).hexdigest(),
        }
        for p in plan.places
        if p.body in municipal
    ]
    home.write_toml("clerks.toml", {"clerk": clerks})


def _open_sites(folder: Path, portal: Place, ports: tuple[int, int], verifier: str, zone: str) -> dict[str, str]:
    """A private site, registered at the portal and at the authorities, and a municipal one, at the portal; their addresses."""
    token = secrets.token_urlsafe(24)
    bank = Bank(
        id="demo-bank",
        ja="えにし銀行",
        en="Enishi Bank",
        port=ports[0],
        portal=portal.url,
        client_secret=secrets.token_urlsafe(24),
        verifier=verifier,
        verifier_token=token,
        time_zone=zone,
    )
    hall = Hall(
        id="demo-hall",
        ja="大橋市民ホール",
        en="Ohashi City Hall Rooms",
        port=ports[1],
        portal=portal.url,
        client_secret=secrets.token_urlsafe(24),
        time_zone=zone,
    )
    home = Home(folder / SITES)
    home.write_toml("bank.toml", bank, private=True)
    home.write_toml("hall.toml", hall, private=True)
    clients = [
        {
            "id": s.id,
            "ja": s.ja,
            "en": s.en,
            "redirect_uris": [f"{s.origin}/in"],
            "logout_uris": [f"{s.origin}/"],
            "secret_sha256": sha256(s.client_secret.encode()).hexdigest(),
            "sector": f"{s.id}.example",  # the demo has them all on one host
        }
        for s in (bank, hall)
    ]
    Home(folder / portal.body).write_toml("clients.toml", {"client": clients})
    site = {"id": bank.id, "title": bank.en, "token_sha256": sha256(token.encode()).hexdigest()}
    Home(folder / CERTIFICATION).write_toml("sites.toml", {"site": [site]})
    return {"bank": bank.origin, "hall": hall.origin}


def _set(folder: Path, body: str, **changed: Any) -> None:
    """Change settings of one body."""
    place = Home(folder / body)
    place.write_toml("settings.toml", msgspec.structs.replace(place.settings(), **changed))


async def _make(folder: Path, plan: Plan, here: Certification) -> list[tuple[str, bytes]]:
    """Make the personas' cards and the bodies' seals; each persona's number and authentication certificate."""
    for place in plan.places:
        mapping = Path(Home(folder / place.body).settings().mapping or "none")
        items = tomllib.loads(mapping.read_text("utf-8")) if mapping.is_file() else {}
        sealed = {d.item for d in here.pack.documents.values()} | {here.pack.header.cards.insurance.item}
        if sealed & set(items):
            await _seal(folder / place.body / "seal", here, here.pack.bodies[place.body].title.ja)
    return await _cards(folder, plan, here)


async def _seal(to: Path, here: Certification, title: str) -> None:
    to.mkdir(mode=0o700)
    key = new_key()
    made = await here.office.issue_official(title, key.public_key())
    (to / "key.pem").touch(mode=0o600)
    (to / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (to / "certificate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (to / "authority.pem").write_bytes(here.office.authority(OFFICIAL).public_bytes(Encoding.PEM))


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
