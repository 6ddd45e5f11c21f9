"""The network as it grows: a nation of n invented bodies, its governance folded, its inquiries ruled on, and all of them on one bus."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import random
import socket
import statistics
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nkeys
from rich.progress import Progress

from bench.grow import Measure, cpu_seconds, median_us, resident_mb, seconds
from renkei.codes import Ciphertext, Converter, Domain, combine_shares, encrypt, group, prove_share, verify_share
from renkei.codes.conversion import PublicShare
from renkei.institution.bus import Bus, BusServer, BusUser, Node, make_mailboxes
from renkei.law import Pack
from renkei.law.pack import read_folder
from renkei.ledger.notes import COSIGNATURE, NOTE, Signer
from renkei.messages import signing
from renkei.messages.signing import Identity, SealKey
from renkei.messages.wire import (
    Assessment,
    DomainKeys,
    Enrol,
    Enrolment,
    Envelope,
    Genesis,
    Inquiry,
    decode_as,
    decode_signed,
    encode,
)
from renkei.record import rounds
from renkei.record.entries import ActLeaf, GenesisLeaf, InquiryLeaf
from renkei.record.state import State, Trust, domain_of, genesis_signature, ref_of

PACK = Path("packs/japan")
NOW = 1_795_450_000_000
INQUIRIES = 400
KEEPERS = ("hub", "commission")
NEWCOMERS = 5
MEASURES = (
    Measure("fold_ms_each", "folding the governance, per body, ms", "flat: five signatures, two proofs"),
    Measure("verifying", "share of it that is verification", "near 1"),
    Measure("state_kb_each", "memory of the governance state, per body, kB", "flat"),
    Measure("acts_kb_each", "its acts in the record, per body, kB", "flat"),
    Measure(
        "draft_new_us", "ruling and half conversion, keys of no body derived yet, µs", "at most two derivations more"
    ),
    Measure("draft_pair_us", "the same, keys derived, pair new, µs", "flat"),
    Measure("draft_us", "the same, factors of the pair at hand, µs", "floor in the next line, flat"),
    Measure("floor_us", "floor of it: verify and convert, µs", ""),
    Measure("config_kb_each", "the bus's configuration, per body, kB", "flat"),
    Measure("start_ms", "the bus starts, ms", "O(n), small"),
    Measure("mailbox_ms_each", "making the mailboxes, per body, ms", "flat"),
    Measure("stop_ms", "the bus stops, ms", "O(n); killed after 10 s"),
    Measure("restart_ms", "the bus starts again with all mailboxes, ms", "O(n)"),
    Measure("bus_mb", "memory of the bus, MB", "O(n)"),
    Measure("connect_ms", "one body connects, ms", "flat"),
    Measure("newcomer_ms", "one more body: configured and connected, ms", "O(n); a second if it comes too soon"),
)


class Body(NamedTuple):
    """An invented institution with its keys."""

    code: str
    kinds: tuple[str, ...]
    identity: Identity
    seal: SealKey
    bus: bytes
    """Its nkey's seed."""

    @property
    def bus_public(self) -> str:
        return public_nkey(self.bus)


class Network(NamedTuple):
    """A governance history of n bodies and the secrets behind it."""

    pack: Pack
    trust: Trust
    bodies: list[Body]
    converters: dict[str, Converter]
    acts: list[ActLeaf]


def run(sizes: list[int], long: bool, progress: Progress) -> list[dict[str, Any]]:
    """The section's rows."""
    rows = []
    for size in sizes:
        task = progress.add_task(f"a network of {size:,} bodies", total=4)
        network = invent(size)
        progress.update(task, completed=1)
        state, folded = fold(network)
        progress.update(task, completed=2)
        ruled = rule(network, state)
        progress.update(task, completed=3)
        with tempfile.TemporaryDirectory(prefix="renkei-growth-") as folder:
            carried = asyncio.run(bus(Path(folder), network.bodies))
        progress.update(task, completed=4)
        rows.append({"n": size, **folded, **ruled, **carried})
    return rows


# ------------------------------------------------------------------ the network


def invent(size: int) -> Network:
    """A pack with ``size`` gateways, everyone's keys, and the acts that enrol and assess them all."""
    pack = Pack.load(pack_files(size))
    bodies = [Body(b.code, b.kinds, Identity(b.code, os.urandom(32)), SealKey(), nkey()) for b in pack.bodies.values()]
    by_code = {b.code: b for b in bodies}
    keepers = [by_code[k] for k in KEEPERS]
    signers = Signer("log", NOTE, os.urandom(32)), Signer("log/commission", COSIGNATURE, os.urandom(32))
    keys = signers[0].verifier.to_text(), signers[1].verifier.to_text()
    hub, commission = (enrolment(pack, k) for k in keepers)
    genesis = encode(Genesis("log", hub, commission, *keys, pack.hash, NOW))
    signatures = [genesis_signature(k.identity, genesis) for k in keepers]
    converters = {k: Converter(os.urandom(64)) for k in KEEPERS}
    acts = []
    for body in bodies:
        if body.code not in KEEPERS:
            acts += [
                ActLeaf(NOW, by_code[author].identity.sign(act)) for author, act in joining(pack, converters, body)
            ]
    return Network(pack, Trust(bytes(16), encode(GenesisLeaf(NOW, genesis, *signatures))), bodies, converters, acts)


def pack_files(size: int) -> dict[str, bytes]:
    """The pack of Japan with ``size`` bodies that ask and answer, of the kinds its own ones have in turn."""
    files = read_folder(PACK)
    rows = list(csv.DictReader(io.StringIO(files["bodies.csv"].decode())))
    gateways = [r for r in rows if r["role"] == "gateway"]
    invented = [
        {**gateways[i % len(gateways)], "body": f"body-{i}", "number": "", "ja": f"機関{i}", "en": f"Body {i}"}
        for i in range(size)
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([r for r in rows if r["role"] != "gateway"] + invented)
    return {**files, "bodies.csv": text.getvalue().encode()}


def enrolment(pack: Pack, body: Body) -> Enrolment:
    role = pack.bodies[body.code].role
    return Enrolment(body.code, role, list(body.kinds), body.identity.public, body.bus_public, body.seal.public)


def joining(pack: Pack, converters: dict[str, Converter], body: Body) -> list[tuple[str, Any]]:
    """The acts, each with its author, by which ``body`` joins: enrolment, keys by both converters, assessment."""
    domain = Domain(body.code)
    acts: list[tuple[str, Any]] = [("commission", Enrol(body.identity.sign(enrolment(pack, body))))]
    for name, converter in converters.items():
        share, proof = converter.public_share(domain), prove_share(converter, domain)
        acts.append((name, DomainKeys(ref_of(domain), name, 1, *share, proof)))
    if pack.bodies[body.code].role == "gateway":
        acts.append(("commission", Assessment(body.code, ["*"], ["*"], "full", "2026-04-01", "2027-04-01")))
    return acts


def nkey() -> bytes:
    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))


def public_nkey(seed: bytes) -> str:
    return str(nkeys.from_seed(bytearray(seed)).public_key.decode())


# ------------------------------------------------------------------ governance


def fold(network: Network) -> tuple[State, dict[str, float]]:
    """The state of the whole history: time, share of verification, memory."""
    count = len(network.bodies)

    def state() -> State:
        found = State(network.trust, lambda _: network.pack)
        for act in network.acts:
            found.apply(found.next_index, act)
        return found

    took = statistics.median(cpu_seconds(state) for _ in range(3))
    tracemalloc.start()
    found = state()
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(found.bodies) == count
    assert not found.void
    return found, {
        "fold_ms_each": took / count * 1e3,
        "verifying": statistics.median(cpu_seconds(lambda: verify_all(network)) for _ in range(3)) / took,
        "state_kb_each": memory / count / 1e3,
        "acts_kb_each": sum(len(encode(a)) for a in network.acts) / count / 1e3,
    }


def verify_all(network: Network) -> None:
    """Only the signatures and proofs of a history: what no fold can do without."""
    publics = {b.code: b.identity.public for b in network.bodies}
    for leaf in network.acts:
        signing.verify(leaf.act, publics[leaf.act.sender])
        match decode_signed(leaf.act.payload):
            case Enrol(enrolment=envelope):
                signing.verify(envelope, decode_as(envelope.payload, Enrolment).identity)
            case DomainKeys() as keys:
                verify_share(domain_of(keys.domain), PublicShare(keys.s, keys.u, keys.x), keys.proof)


# ------------------------------------------------------------------ inquiries


def rule(network: Network, state: State) -> dict[str, float]:
    """One inquiry's way through ``rounds.draft``, over pairs drawn from all there are."""
    envelopes = inquiries(network, state)
    domains = [Domain(b.code) for b in network.bodies]

    def drafting(converter: Converter) -> list[Callable[[], object]]:
        return [lambda e=e: draft(state, converter, e) for e in envelopes]  # type: ignore[misc]

    derived = Converter(os.urandom(64))
    for domain in domains:
        derived.key_share(domain)
    return {
        "draft_new_us": median_us(drafting(Converter(os.urandom(64)))),
        "draft_pair_us": median_us(drafting(derived)),
        "draft_us": median_us(drafting(derived)),
        "floor_us": floor_us(state, derived, envelopes),
    }


def inquiries(network: Network, state: State) -> list[Envelope]:
    """Lawful signed inquiries of distinct pairs, as many as there are up to INQUIRIES."""
    rng = random.Random(1)
    gateways = [b for b in network.bodies if state.bodies[b.code].role == "gateway"]
    found: dict[tuple[str, str], Envelope] = {}
    for _ in range(50 * INQUIRIES):
        asker, holder = rng.sample(gateways, 2)
        linkage = between(network.pack, asker, holder, rng)
        if linkage and (asker.code, holder.code) not in found:
            found[asker.code, holder.code] = asker.identity.sign(inquiry(network, asker, holder, *linkage))
        if len(found) == INQUIRIES:
            break
    return list(found.values())


def between(pack: Pack, asker: Body, holder: Body, rng: random.Random) -> tuple[str, str] | None:
    """An affair and item for which the law lets ``asker`` ask ``holder``."""
    kinds = pack.standing(asker.kinds), pack.standing(holder.kinds)
    rows = [
        (r.affair, r.item)
        for r in pack.linkages
        if not kinds[0].isdisjoint(r.requester) and not kinds[1].isdisjoint(r.provider) and r.in_force(pack.day(NOW))
    ]
    return rng.choice(rows) if rows else None


def inquiry(network: Network, asker: Body, holder: Body, affair: str, item: str) -> Inquiry:
    domain = Domain(asker.code)
    key = combine_shares(*(c.key_share(domain) for c in network.converters.values()))
    code = group.multiply_base(group.random_scalar())
    return Inquiry(
        source=ref_of(domain),
        provider=holder.code,
        affair=affair,
        item=item,
        purpose=next(iter(network.pack.purposes)),
        ciphertext=encrypt(code, key).to_bytes(),
        reply_key=SealKey().public,
        context=bytes(32),
        issued_at=NOW,
        expires=NOW + 86_400_000,
    )


def draft(state: State, converter: Converter, envelope: Envelope) -> None:
    entry = rounds.draft(state, converter, lambda _: {}, envelope, NOW).entry
    assert isinstance(entry, InquiryLeaf)
    assert entry.half, entry.ruling


def floor_us(state: State, converter: Converter, envelopes: Sequence[Envelope]) -> float:
    """The cryptography of a draft alone: a signature verified, two elements checked, two multiplications."""
    works: list[Callable[[], object]] = []
    for envelope in envelopes:
        body = decode_as(envelope.payload, Inquiry)
        pair = domain_of(body.source), Domain(body.provider)

        def work(envelope: Envelope = envelope, body: Inquiry = body, pair: tuple[Domain, Domain] = pair) -> None:
            signing.verify(envelope, state.bodies[envelope.sender].identity)
            converter.convert(*pair, Ciphertext.from_bytes(body.ciphertext))

        works.append(work)
    return median_us(works)


# ------------------------------------------------------------------ the bus


async def bus(folder: Path, bodies: Sequence[Body]) -> dict[str, float]:
    """A real server that lets all of them in: start, mailboxes, memory, and what one more body costs."""
    operator = nkey()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = BusServer(folder, Node("bus-1", port))
    users = [BusUser(b.code, b.bus_public) for b in bodies]
    server.configure(users, public_nkey(operator))
    found = {"config_kb_each": (folder / "server.json").stat().st_size / len(bodies) / 1e3}
    try:
        found["start_ms"] = await timed_ms(server.start())
        making = await timed_ms(make_mailboxes(server.url, operator, [b.code for b in bodies]))
        found["mailbox_ms_each"] = making / len(bodies)
        found["stop_ms"] = seconds(server.stop) * 1e3
        found["restart_ms"] = await timed_ms(server.start())
        found["bus_mb"] = resident_mb(server.pid)
        found["connect_ms"] = statistics.median([await connected_ms(server, b.code, b.bus) for b in bodies[:NEWCOMERS]])
        newcomers = []
        for i in range(NEWCOMERS):
            seed = nkey()
            users.append(BusUser(f"newcomer-{i}", public_nkey(seed)))
            reload = seconds(lambda: server.configure(users, public_nkey(operator))) * 1e3
            newcomers.append(reload + await connected_ms(server, f"newcomer-{i}", seed))
        found["newcomer_ms"] = statistics.median(newcomers)
    finally:
        server.stop(kill=True)
    return found


async def timed_ms(work: Any) -> float:
    began = asyncio.get_running_loop().time()
    await work
    return (asyncio.get_running_loop().time() - began) * 1e3


async def connected_ms(server: BusServer, code: str, seed: bytes) -> float:
    """How long it takes ``code`` to be connected."""
    line = Bus(server.url, code, seed)
    took = await timed_ms(line.connect())
    await line.close()
    return took
