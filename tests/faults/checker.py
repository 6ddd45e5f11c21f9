"""The checker of the whole world: given a nation's folder, everything that must hold after whatever has happened to it.

It reads the databases themselves, and the logs with the independent verifier. Bodies may run meanwhile, but nothing may be under way.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import nats.errors

from renkei.institution.bus import Bus, mailbox
from renkei.messages.wire import Inquiry, Outcomes, Permit, decode_as
from renkei.nation.plan import Plan
from renkei.record.entries import InquiryLeaf, OutcomeLeaf, decode_entry
from tests.faults import oversight
from tests.oracle import log as oracle

OPEN = ("submitted", "permitted")


class World(NamedTuple):
    """What a nation holds, and what is wrong with it (nothing, if all is well)."""

    wrong: list[str]
    leaves: int
    inquiries: dict[str, str]
    """State by id (hex), of all requesters."""
    disclosed: int


def rows(folder: Path, body: str, query: str) -> list[Any]:
    """What ``body``'s database answers."""
    with sqlite3.connect(f"file:{folder}/{body}/{body.replace('-', '_')}.db?mode=ro", uri=True) as connection:
        return connection.execute(query).fetchall()


def examine(folder: Path, plan: Plan) -> World:
    """Everything that can be read from the files."""
    wrong: list[str] = []
    keys = oracle.read_keys((folder / "verifiers.txt").read_text("utf-8"))
    leaves = _logs(folder, keys, wrong)
    inquiries = {leaf.inquiry.id: (at, leaf) for at, leaf in leaves.items() if isinstance(leaf, InquiryLeaf)}
    if len(inquiries) != sum(isinstance(leaf, InquiryLeaf) for leaf in leaves.values()):
        wrong.append("an inquiry has two leaves")
    outcomes = Counter(
        o.inquiry
        for leaf in leaves.values()
        if isinstance(leaf, OutcomeLeaf)
        for o in decode_as(leaf.outcomes.payload, Outcomes).outcomes
    )
    wrong += [f"inquiry {i.hex()[:8]} has {n} outcomes" for i, n in outcomes.items() if n > 1]
    gateways = [p.body for p in plan.places if p.role == "gateway"]
    provided = _provisions(folder, gateways, inquiries, outcomes, keys, wrong)
    states = _inquiries(folder, gateways, inquiries, provided, wrong)
    wrong += oversight.examine(folder, plan, leaves, provided, partial(rows, folder))
    filed = [r[0] for r in rows(folder, "portal", "select position from access_records order by 1")]
    if filed != sorted(at for at, _ in inquiries.values()):
        wrong.append(f"the portal filed {len(filed)} records of {len(inquiries)} inquiries")
    for place in plan.places:
        for table, what in (("post_outbox", "is still owed"), ("post_aside", "was set aside")):
            for peer, number in rows(folder, place.body, f"select peer, count(*) from {table} group by peer"):
                wrong.append(f"{number} parcels at {place.body} {what} ({peer})")
    disclosed = sum(state == "answered" for _, state in provided.values())
    return World(wrong, len(leaves), {i.hex(): s for i, s in states.items()}, disclosed)


def _logs(folder: Path, keys: list[oracle.Key], wrong: list[str]) -> dict[int, Any]:
    """Both copies, each right in itself and equal to the other; the decoded entries."""
    heads = {}
    for keeper, signed in (("hub", keys), ("commission", [k for k in keys if k.algorithm == 4])):
        try:  # the commission signs before the hub does, and keeps what it signed
            heads[keeper] = oracle.keeper_log(folder / keeper, signed)[-1]
        except oracle.Wrong as error:
            wrong.append(f"the log at the {keeper}: {error}")
    if len(heads) == 2 and heads["hub"][:3] != heads["commission"][:3]:
        wrong.append(f"the copies end at {heads['hub'].size} and {heads['commission'].size}")
    query = "select position, hash, salt, entry from ledger_leaves order by position"
    found = rows(folder, "hub", query)
    if found != rows(folder, "commission", query):
        wrong.append("the copies hold different leaves")
    return {position: decode_entry(entry) for position, _, _, entry in found if entry is not None}


def _provisions(
    folder: Path,
    gateways: list[str],
    inquiries: dict[bytes, tuple[int, InquiryLeaf]],
    outcomes: Counter[bytes],
    keys: list[oracle.Key],
    wrong: list[str],
) -> dict[bytes, tuple[str, str]]:
    """Every disclosure stands on an earlier leaf for this very provider, under a head both have signed, and has its outcome."""
    found: dict[bytes, tuple[str, str]] = {}
    for body in gateways:
        for id_, state, at, permit, finished in rows(
            folder, body, "select id, state, leaf, permit, finished_at from provisions"
        ):
            found[id_] = (body, state)
            who = f"provision {id_.hex()[:8]} at {body}"
            if id_ not in inquiries:
                wrong.append(f"{who} has no leaf")
                continue
            position, leaf = inquiries[id_]
            shown = msgspec.msgpack.decode(permit, type=Permit)
            head = oracle.read_note(shown.checkpoint, keys)
            root = oracle.inclusion_root(
                oracle.leaf_of(shown.salt, shown.entry), shown.index, head.size, list(shown.path)
            )
            if (root, position, shown.index) != (head.root, at, at) or not leaf.ruling.allowed:
                wrong.append(f"{who} stands on another leaf")
            if decode_as(leaf.inquiry.payload, Inquiry).provider != body:
                wrong.append(f"{who} was meant for another provider")
            if state == "answered" and not leaf.time <= finished:
                wrong.append(f"{who} was made before its leaf")
            if state != "held" and outcomes[id_] != 1:
                wrong.append(f"{who} ({state}) has {outcomes[id_]} outcomes")
    return found


def _inquiries(
    folder: Path,
    gateways: list[str],
    inquiries: dict[bytes, tuple[int, InquiryLeaf]],
    provided: dict[bytes, tuple[str, str]],
    wrong: list[str],
) -> dict[bytes, str]:
    """Every inquiry a requester accepted has ended, as the record and the provider say."""
    states: dict[bytes, str] = {}
    for body in gateways:
        for id_, state, reply_key in rows(folder, body, "select id, state, reply_key from inquiries"):
            states[id_] = state
            who = f"inquiry {id_.hex()[:8]} of {body} ({state})"
            if state in OPEN:
                if provided.get(id_, ("", ""))[1] != "held":
                    wrong.append(f"{who} has not ended")
                continue
            if reply_key is not None:
                wrong.append(f"{who} kept its reply key")
            recorded = inquiries.get(id_)
            if recorded is None:
                wrong.append(f"{who} has no leaf")
            elif state == "answered" and provided.get(id_, ("", ""))[1] != "answered":
                wrong.append(f"{who} was answered by nobody")
            elif state == "refused" and recorded[1].ruling.allowed:
                wrong.append(f"{who} was allowed in the record")
    wrong += [
        f"inquiry {i.hex()[:8]} is in the record and was asked by nobody" for i in inquiries.keys() - states.keys()
    ]
    return states


async def mailboxes(plan: Plan) -> dict[str, int]:
    """Messages left over in mailboxes, by body."""
    bus = Bus(plan.bus, "operator", plan.operator.encode())
    await bus.connect(15)
    try:
        found = {place.body: await _messages(bus, place.body) for place in plan.places}
        return {body: count for body, count in found.items() if count}
    finally:
        await bus.close()


async def _messages(bus: Bus, body: str) -> int:
    for _ in range(10):
        try:
            return (await bus._client.jetstream().stream_info(mailbox(body))).state.messages
        except nats.errors.Error:  # servers that lost one of theirs do not answer for a moment
            await asyncio.sleep(0.5)
    raise AssertionError(f"nobody knows the mailbox of {body}")
