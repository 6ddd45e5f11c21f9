"""Laying out a nation: one home folder per body with settings and keys, one genesis signed by both keepers, one bus.

In life each body makes its own keys and the genesis is carried by hand; here one program writes all of them into one folder.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import secrets
import shutil
import socket
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from pathlib import Path
from typing import get_args

import msgspec
import nkeys

from renkei.commission.officers import Roster, enlist
from renkei.errors import SetupError
from renkei.institution.bus import BusServer, BusUser, Node
from renkei.institution.joining import keep_hints
from renkei.institution.keeper import keep_pack
from renkei.institution.keys import Keys
from renkei.institution.settings import Clerk, Duty, Home, Settings, occupy, system_clock
from renkei.law import Pack
from renkei.ledger.notes import COSIGNATURE, NOTE
from renkei.messages.wire import Assessment, Enrolment, Genesis, Officer, decode_as, encode
from renkei.nation import population, sources
from renkei.nation.population import Demography, Resident
from renkei.record.entries import GenesisLeaf
from renkei.record.state import Trust, genesis_signature

UNFINISHED = "unfinished"
"""Marks a folder whose lay-out was interrupted: nothing in it was ever used."""
CLERK = "職員A"
SYSTEM = "system"
Report = Callable[[str], None]


class Place(msgspec.Struct, frozen=True):
    """Where a body of the nation is."""

    body: str
    role: str
    url: str
    token: str = ""
    """A clerk's token, for the inquiry desk and ``renkei inquire``."""


class Face(msgspec.Struct, frozen=True):
    """A persona, how to sign in as it, and how each body knows it."""

    id: str
    name: str
    ja: str
    en: str
    secret: str
    local_ids: dict[str, str]


class Seat(msgspec.Struct, frozen=True):
    """An officer of the commission and how to sign in at its console."""

    name: str
    role: str
    ja: str
    en: str
    passphrase: str


class Plan(msgspec.Struct, frozen=True):
    """``nation.toml``: what was laid out. Holds the demo's tokens; a nation's own folder is private."""

    pack: str
    origin: str
    residents: int
    seed: int
    created: str
    bus: str
    bus_nodes: tuple[Node, ...]
    operator: str
    places: tuple[Place, ...]
    personas: tuple[Face, ...]
    officers: tuple[Seat, ...] = ()
    certification: str = ""
    """Where its certification authorities answer; nothing if it has no cards."""
    bank: str = ""
    """Where a private site answers, in a nation with cards."""
    hall: str = ""
    """Where a municipal site does."""

    @classmethod
    def read(cls, folder: Path) -> Plan:
        try:
            return msgspec.toml.decode((folder / "nation.toml").read_bytes(), type=cls)
        except FileNotFoundError:
            raise SetupError(
                f"There is no nation in {folder}.",
                ja=f"{folder} に国がありません。",
                code="no-nation",
                remedy="Start one with `make demo` or `renkei nation up`.",
                remedy_ja="`make demo` または `renkei nation up` で起動してください。",
            ) from None

    def card(self, folder: Path, persona: str) -> Path:
        """The file of a persona's emulated card, in a nation that has cards."""
        return folder / "cards" / f"{persona}.json"

    def port(self, body: str) -> int:
        """The port of a body's web server."""
        return int(self.place(body).url.rpartition(":")[2])

    def place(self, body: str) -> Place:
        for place in self.places:
            if place.body == body:
                return place
        raise SetupError(
            f"The nation has no body {body!r}.",
            ja=f"この国に機関 {body!r} はありません。",
            code="no-body",
            remedy="`renkei nation status` lists them.",
            remedy_ja="`renkei nation status` で一覧を確認してください。",
        )


def lay_out(
    folder: Path,
    pack_folder: Path,
    *,
    residents: int,
    seed: int = 2026,
    base_port: int = 0,
    database: str = "sqlite:///{home}/{body}.db",
    report: Report = lambda _: None,
    round_size: int = 256,
    bus_nodes: int = 1,
) -> Plan:
    """Create a nation under ``folder``; ``base_port`` 0 takes free ports. ``database`` is a URL template."""
    pack = Pack.load(pack_folder)
    demography = Demography.read(pack_folder)
    clear(folder)
    today = dt.datetime.fromtimestamp(system_clock() / 1000, dt.UTC).date()
    report("inventing residents")
    people = population.residents(pack, pack_folder, demography, residents, seed, today)
    population.write_roll(folder / "roll.csv", people, pack)
    corporations = [c.number for c in demography.corporation]
    count = len(pack.bodies) + 1 + 2 * (bus_nodes - 1) + (bus_nodes > 1)
    ports = [base_port + i for i in range(count)] if base_port else free_ports(count)
    servers = [ports[0], *ports[len(pack.bodies) + 1 :]]
    nodes = tuple(
        Node(f"bus-{n + 1}", servers[n], servers[bus_nodes + n] if bus_nodes > 1 else 0) for n in range(bus_nodes)
    )
    bus = ",".join(f"nats://127.0.0.1:{node.port}" for node in nodes)
    tokens = {b: secrets.token_urlsafe(18) for b in pack.bodies}
    known = _acquaintance(pack, demography, people, seed, today)
    places = []
    report("writing keys, settings and the bodies' databases")
    for body, port in zip(pack.bodies.values(), ports[1:], strict=False):
        home = Home(folder / body.code)
        Keys.create(home, keeper=body.role in ("hub", "commission"))
        keep_pack(home, pack)
        keep_hints(home, pack_folder)
        mapping = ""
        items = items_held(demography, body.code)
        if body.role == "gateway" and items:
            mapping = str(sources.build(home.folder, pack, items, known[body.code], seed=seed, today=today).resolve())
        home.write_toml(
            "settings.toml",
            Settings(
                body=body.code,
                role=body.role,
                kinds=body.kinds,
                database=database.format(home=home.folder.resolve(), body=body.code.replace("-", "_")),
                bus=bus,
                port=port,
                source=f"sqlite:///{home.folder.resolve()}/source.db" if mapping else "",
                mapping=mapping,
                queue=bool(pack.events) and body.role == "gateway",
                clerks=(Clerk(CLERK, sha256(tokens[body.code].encode()).hexdigest(), get_args(Duty)),)
                if body.role in ("gateway", "authority")
                else (),
                roll=str((folder / "roll.csv").resolve()) if body.role == "authority" else "",
                round_size=round_size,
            ),
        )
        url = f"http://127.0.0.1:{port}"
        places.append(
            Place(body.code, body.role, url, tokens[body.code] if body.role in ("gateway", "authority") else "")
        )
    if corporations:
        authority = next(b.code for b in pack.bodies.values() if b.role == "authority")
        (folder / authority / "corporations.csv").write_text("\n".join(["number", *corporations, ""]), "utf-8")
    origin = f"renkei.example/{pack.header.id}/{secrets.token_hex(4)}"
    officers = [Seat(o.name, o.role, o.ja, o.en, secrets.token_urlsafe(9)) for o in demography.officer]
    _genesis(folder, pack, origin, _enlist(folder, officers))
    _seed_commission(folder, pack)
    faces = _faces(folder, pack, demography, known, seed)
    operator = nkeys.encode_seed(secrets.token_bytes(32), nkeys.PREFIX_BYTE_USER).decode()
    plan = Plan(
        str(pack_folder.resolve()),
        origin,
        len(people),
        seed,
        today.isoformat(),
        bus,
        nodes,
        operator,
        tuple(places),
        faces,
        tuple(officers),
    )
    configure_bus(folder, plan)
    (folder / "nation.toml").touch(mode=0o600)
    (folder / "nation.toml").write_bytes(msgspec.toml.encode(plan))
    (folder / UNFINISHED).unlink()
    return plan


def clear(folder: Path) -> None:
    """Make ``folder`` an empty one of our own. An unfinished lay-out goes; anything else in it is a ``SetupError``."""
    folder.mkdir(parents=True, exist_ok=True)
    with occupy(folder / ".lock"):
        if (folder / UNFINISHED).exists():
            for inside in folder.iterdir():
                if inside.name != ".lock":
                    shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
        elif any(inside.name != ".lock" for inside in folder.iterdir()):
            raise SetupError(
                f"{folder} is not empty.",
                ja=f"{folder} は空ではありません。",
                code="not-empty",
                remedy="Name an empty or new folder with --nation.",
                remedy_ja="空の、または新しいフォルダーを --nation で指定してください。",
            )
        (folder / UNFINISHED).touch()
    folder.chmod(0o700)


def bus_servers(folder: Path, plan: Plan) -> list[BusServer]:
    """The servers of the nation's bus, not started."""
    nodes = plan.bus_nodes
    return [BusServer(folder / "bus" / n.name, n, [o for o in nodes if o is not n]) for n in nodes]


def configure_bus(folder: Path, plan: Plan, *joined: BusUser) -> None:
    """Tell the servers of the bus who may use it: the nation's bodies, who joined before, and who joins now."""
    guests = tuple(g for g in _guests(folder) if g.body not in {j.body for j in joined}) + joined
    Home(folder / "bus").write_toml("guests.toml", Guests(guests))
    public = nkeys.from_seed(bytearray(plan.operator.encode())).public_key.decode()
    for server in bus_servers(folder, plan):
        server.configure(bus_users(folder, plan), public)


def bus_users(folder: Path, plan: Plan) -> list[BusUser]:
    """Who may use the bus."""
    own = [BusUser(p.body, Keys.load(Home(folder / p.body), p.body).bus_public) for p in plan.places]
    return [*own, *(g for g in _guests(folder) if g.body not in {o.body for o in own})]


def _guests(folder: Path) -> tuple[BusUser, ...]:
    there = (folder / "bus" / "guests.toml").exists()
    return Home(folder / "bus").read_toml("guests.toml", Guests).guests if there else ()


class Guests(msgspec.Struct, frozen=True):
    """``bus/guests.toml``: bodies that joined the nation after it was laid out."""

    guests: tuple[BusUser, ...]


def _enlist(folder: Path, seats: Sequence[Seat]) -> list[Officer]:
    """Give the commission its officers' locked keys; what the genesis says of them."""
    made = [enlist(o.name, o.role, o.ja, o.en, o.passphrase) for o in seats]
    roster = Roster(tuple(locked for locked, _ in made))
    Home(folder / "commission").write_toml("officers.toml", msgspec.to_builtins(roster), private=True)
    return [officer for _, officer in made]


def _genesis(folder: Path, pack: Pack, origin: str, officers: list[Officer]) -> None:
    """Leaf 0, signed by both keepers, given to every body; and the two public keys for ``renkei verify``."""
    homes = {b: Home(folder / b) for b in ("hub", "commission")}
    keys = {b: Keys.load(h, b) for b, h in homes.items()}
    enrolments = {b: decode_as(keys[b].enrolment(h.settings()).payload, Enrolment) for b, h in homes.items()}
    hub_log = keys["hub"].log_signer(origin, NOTE).verifier.to_text()
    commission_log = keys["commission"].log_signer(f"{origin}/commission", COSIGNATURE).verifier.to_text()
    genesis = encode(
        Genesis(
            origin,
            enrolments["hub"],
            enrolments["commission"],
            hub_log,
            commission_log,
            pack.hash,
            system_clock(),
            officers,
        )
    )
    signatures = [genesis_signature(keys[b].identity, genesis) for b in ("hub", "commission")]
    leaf = GenesisLeaf(system_clock(), genesis, *signatures)
    trust = Trust(os.urandom(16), encode(leaf))
    trust.genesis()
    for body in pack.bodies:
        Home(folder / body).put_trust(trust)
    (folder / "verifiers.txt").write_text(f"{hub_log}\n{commission_log}\n", "utf-8")


def _seed_commission(folder: Path, pack: Pack) -> None:
    """What the commission enrols and assesses on the first day."""
    home = Home(folder / "commission")
    (home / "enrolments").mkdir(exist_ok=True)
    assessments = []
    for body in pack.bodies.values():
        own = Home(folder / body.code)
        if body.role in ("hub", "commission"):
            continue
        envelope = Keys.load(own, body.code).enrolment(own.settings())
        (home / "enrolments" / f"{body.code}.bin").write_bytes(encode(envelope))
        if body.role in ("gateway", "portal"):
            seed = Assessment(body.code, ["*"], ["*"], "full", "2026-04-01", "2027-04-01")
            assessments.append({k: v for k, v in msgspec.to_builtins(seed).items() if k != "type"})
    home.write_toml("assessments.toml", {"assessments": assessments})


def items_held(demography: Demography, body: str) -> list[str]:
    municipal = {m.body for m in demography.municipality}
    return [
        i
        for h in demography.holding
        if h.body == body or (h.body == "municipality" and body in municipal)
        for i in h.items
    ]


def _acquaintance(
    pack: Pack, demography: Demography, people: Sequence[Resident], seed: int, today: dt.date
) -> dict[str, list[tuple[str, Resident]]]:
    """Whom each gateway and the portal know, by local ids of their own; personas first."""
    known: dict[str, list[tuple[str, Resident]]] = {}
    municipal = {m.body for m in demography.municipality}
    personas = len(demography.persona)
    for body in pack.bodies.values():
        rng = random.Random(f"{seed}/{body.code}")
        holding = next(
            (
                h
                for h in demography.holding
                if h.body == body.code or (h.body == "municipality" and body.code in municipal)
            ),
            None,
        )
        ids = rng.sample(range(10**7, 10**8), len(people))
        chosen = []
        for at, (number, person) in enumerate(zip(ids, people, strict=True)):
            age, everyone = person.age(today), body.role == "portal"
            who = holding.who if holding else ""
            fits = everyone or (
                {
                    "residents": person.municipality == body.code,
                    "all": True,
                    "adults": age >= 20,
                    "workers": 18 <= age < 65,
                }.get(who, False)
                and holding is not None
                and rng.randrange(100) < holding.share
            )
            if fits or (at < personas and body.role == "gateway"):
                chosen.append((str(number), person))
        known[body.code] = chosen if body.role in ("gateway", "portal") else []
    return known


def known_to(folder: Path, body: str) -> Path:
    """The list of local ids a body of the invented nation knows, for whoever plays its clerks."""
    return folder / "people" / body


def local_ids(folder: Path, body: str) -> list[str]:
    """The local ids of everyone a body of the nation in ``folder`` knows."""
    path = known_to(folder, body)
    return path.read_text("utf-8").split() if path.exists() else []


def _faces(
    folder: Path, pack: Pack, demography: Demography, known: dict[str, list[tuple[str, Resident]]], seed: int
) -> tuple[Face, ...]:
    """Personas with their sign-in codes, and the list from which each body asks for codes."""
    personas = [secrets.token_urlsafe(9) for _ in demography.persona]
    for body, people in known.items():
        if people:
            lines = [f"{local_id},{p.number}" for local_id, p in people]
            path = folder / body / "people.csv"
            path.touch(mode=0o600)
            path.write_text("local_id,number\n" + "\n".join(lines) + "\n", "utf-8")
            path = known_to(folder, body)
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(local_id for local_id, _ in people), "utf-8")
    portal = next(b.code for b in pack.bodies.values() if b.role == "portal")
    accounts = [f"{known[portal][i][0]},{secret}" for i, secret in enumerate(personas)]
    (folder / portal / "accounts.csv").touch(mode=0o600)
    (folder / portal / "accounts.csv").write_text("local_id,secret\n" + "\n".join(accounts) + "\n", "utf-8")
    return tuple(
        Face(p.id, p.name, p.ja, p.en, personas[i], {b: people[i][0] for b, people in known.items() if people})
        for i, p in enumerate(demography.persona)
    )


PORTS = range(10_000, 32_000)
"""Below those that connections are given on their own: what is free here stays so until it is used."""


def free_ports(count: int, but: Collection[int] = ()) -> list[int]:
    """Ports of loopback that nothing listens on, ``but`` those: promised to somebody who does not listen yet."""
    held: list[socket.socket] = []
    try:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if port in but:
                continue
            one = socket.socket()
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                one.close()
                continue
            held.append(one)
            if len(held) == count:
                break
        return [s.getsockname()[1] for s in held]
    finally:
        for one in held:
            one.close()
