"""Comparing notes: what this witness was shown of a log, against what its peers were shown.

Each peer is heard by a task of its own, within a deadline and a bound on its answer, so one that is slow, dead or lying delays and hides
nothing but itself. Nobody is believed: a split view counts only under the log's own two signatures, so that a peer cannot make one up.
Checkpoints of sizes that both have are compared directly. Where sizes differ, and the log answers consistency proofs, it is asked for
one; a signed checkpoint that is not proven to fit within ``PATIENCE`` rounds is an alarm, though no proof, and is taken back once it is.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from renkei.errors import Malformed, NotGenuine, RenkeiError, Unavailable
from renkei.institution.observe import Observer
from renkei.institution.outside import fetch
from renkei.ledger import merkle
from renkei.ledger.notes import Verifier, verify_note
from renkei.witness import rules
from renkei.witness.cosigning import Cosigner
from renkei.witness.rules import Log, Seen
from renkei.witness.store import RECENT, UNPROVEN, Alarm, Store

PATIENCE = 5
"""Rounds in which a checkpoint may stay unproven before that is an alarm."""
SILENT_AFTER = 5
"""Rounds in which a peer may not be heard before the operator is told."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another witness: its key (which names it) and where it answers."""

    key: Verifier
    url: str


@dataclass(slots=True)
class Heard:
    """How it goes with one peer: when it was last heard (seconds since 1970, 0 for never), rounds without it, what is amiss."""

    last: int = 0
    missed: int = 0
    trouble: str = ""


class Gossip:
    """Hears every peer every ``seconds``."""

    def __init__(
        self,
        peers: Iterable[Peer],
        logs: Mapping[str, Log],
        store: Store,
        cosigner: Cosigner,
        observe: Observer,
        clock: Callable[[], int],
    ) -> None:
        self._logs, self._store, self._cosigner, self._observe, self._clock = logs, store, cosigner, observe, clock
        self._peers = {peer.key.name: peer for peer in peers}
        self.heard = {name: Heard() for name in self._peers}
        self._shown: dict[tuple[str, str], dict[int, Seen]] = {}
        """By (origin, peer): what the peer showed last, unverified, by size."""
        self._open: dict[tuple[str, str], tuple[Seen, int]] = {}
        """By (origin, peer): its oldest checkpoint that is not proven to fit, and the rounds in which it was not."""
        with store.transaction() as kept:
            for alarm in kept.alarms():
                if alarm.kind == UNPROVEN and alarm.peer in self._peers:
                    self._open[alarm.origin, alarm.peer] = rules.read_seen(alarm.evidence), PATIENCE

    async def run(self, seconds: float) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name in self._peers:
                tasks.create_task(self._hear_always(name, seconds))

    async def _hear_always(self, name: str, seconds: float) -> None:
        heard = self.heard[name]
        while True:
            try:
                await self._hear(name)
                heard.last, heard.missed, heard.trouble = self._clock(), 0, ""
            except RenkeiError as error:
                heard.missed, heard.trouble = heard.missed + 1, error.code
                self._observe.count("gossip_failures")
            except Exception:
                heard.missed, heard.trouble = heard.missed + 1, self._observe.failure("gossip")
            await asyncio.sleep(seconds)

    async def _hear(self, name: str) -> None:
        """One round with one peer, about every log that is not found out yet. What was wrong with the peer is raised at the end."""
        trouble: RenkeiError | None = None
        for log in self._logs.values():
            recent = await asyncio.to_thread(self._recall, log)
            if recent is None:
                continue
            try:
                await self._ask(self._peers[name], log)
            except RenkeiError as error:
                trouble = error
            if not await asyncio.to_thread(self._split, name, log, recent):
                await self._fit(name, log, recent)
        if trouble is not None:
            raise trouble

    def _recall(self, log: Log) -> dict[int, Seen] | None:
        """What we cosigned of a log, by size, largest first; ``None`` once it is found out."""
        with self._store.transaction() as kept:
            return None if kept.split(log.origin) else {c.seen.checkpoint.size: c.seen for c in kept.recent(log.origin)}

    async def _ask(self, peer: Peer, log: Log) -> None:
        """Take up what the peer was shown of a log; then ``NotGenuine`` unless the newest of it carries the peer's own signature."""
        origin = urllib.parse.quote(log.origin, safe="")
        status, text = await fetch(f"{peer.url.rstrip('/')}/checkpoints?log={origin}")
        if status not in (200, 404):  # 404: it does not watch this log
            raise Unavailable(f"A peer answers {status}.", code="peer-failed")
        notes = rules.read_notes(text) if status == 200 else []
        shown = {seen.checkpoint.size: seen for seen in notes[:RECENT]}
        self._shown[log.origin, peer.key.name] = shown
        if shown:
            verify_note(shown[max(shown)].note, [peer.key])
        elif status == 200 and text.strip():
            raise Malformed("A peer shows what is no checkpoint.", code="peer-nonsense")

    def _split(self, name: str, log: Log, ours: Mapping[int, Seen]) -> bool:
        """Whether what the peer showed contradicts what we hold, or what another peer showed; the alarm is raised then."""
        of_this = {who: shown for (origin, who), shown in list(self._shown.items()) if origin == log.origin}
        theirs = list(of_this.pop(name, {}).values())
        if (log.origin, name) in self._open:
            theirs.append(self._open[log.origin, name][0])
        return any(self._cosigner.compare(log, known, theirs, peer=name) for known in (ours, *of_this.values()))

    async def _fit(self, name: str, log: Log, ours: Mapping[int, Seen]) -> None:
        """Have the log prove that a checkpoint the peer showed and our newest are of one tree; count the rounds in which it does not."""
        key = log.origin, name
        question, rounds = self._open.get(key, (None, 0))
        seen = question or await asyncio.to_thread(self._newest, key, log)
        held = next(iter(ours.values()), None)
        if seen is None or held is None or not log.proofs or 0 in (seen.checkpoint.size, held.checkpoint.size):
            return
        if seen.checkpoint.size not in ours:
            try:
                await prove(log, held, seen)
            except RenkeiError:
                self._open[key] = seen, rounds + 1
                if rounds + 1 >= PATIENCE:
                    await asyncio.to_thread(self._unproven, name, seen)
                return
        if self._open.pop(key, None):
            await asyncio.to_thread(self._settle, log, name)

    def _newest(self, key: tuple[str, str], log: Log) -> Seen | None:
        """The largest checkpoint the peer showed that the log signed."""
        for _, seen in sorted(self._shown.get(key, {}).items(), reverse=True):
            try:
                return rules.genuine(seen, log)
            except (Malformed, NotGenuine):
                continue
        return None

    def _unproven(self, name: str, seen: Seen) -> None:
        origin, size, _ = seen.checkpoint
        with self._store.transaction() as kept:
            new = kept.raise_alarm(Alarm(UNPROVEN, origin, name, size, self._clock(), seen.note))
        if new:
            self._observe.log.error("unproven", log=origin, size=size, peer=name)
            self._observe.count("alarms")

    def _settle(self, log: Log, name: str) -> None:
        with self._store.transaction() as kept:
            kept.settle(log.origin, name)


async def prove(log: Log, one: Seen, other: Seen) -> None:
    """Ask the log for the proof that these two are of one tree; an error if it does not answer or the answer proves nothing."""
    old, new = sorted((one.checkpoint, other.checkpoint), key=lambda c: c.size)
    status, text = await fetch(f"{log.proofs}?old={old.size}&new={new.size}", most=64 * 1024)
    if status != 200:
        raise Unavailable(f"The log answers {status}.", code="log-failed")
    merkle.verify_consistency(old.size, old.root, new.size, new.root, rules.read_proof(text.rstrip("\n").split("\n")))
