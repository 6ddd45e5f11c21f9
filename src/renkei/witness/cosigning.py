"""The way of one checkpoint: read, check the log's signature, decide and keep in one transaction, then answer.

Nothing is answered that is not on the disk. If the answer is lost, or the process dies before it, the log is told the new size (409), or
gets the very same cosignature when it asks for the same checkpoint with ``old`` equal to its size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from renkei.errors import NotFound, Refused
from renkei.institution.observe import Observer
from renkei.ledger.notes import Signer, split_note
from renkei.witness import rules
from renkei.witness.rules import Log, Seen
from renkei.witness.store import SPLIT, Alarm, Cosigned, Store


class Cosigner:
    """Cosigns checkpoints of ``logs`` and raises alarms. Thread-safe."""

    def __init__(
        self,
        signer: Signer,
        logs: Mapping[str, Log],
        store: Store,
        evidence: Path,
        observe: Observer,
        clock: Callable[[], int],
    ) -> None:
        self._signer, self._logs, self._store = signer, logs, store
        self._evidence, self._observe, self._clock = evidence, observe, clock

    def log(self, origin: str) -> Log:
        """The log of that origin; ``NotFound`` if it is not watched."""
        if origin not in self._logs:
            raise NotFound(
                "This witness does not watch that log.",
                ja="この立会人は、その台帳を見ていません。",
                code="unknown-log",
                remedy="Ask its operator to add the log's key.",
                remedy_ja="台帳の鍵の登録を、立会人の運営者に依頼してください。",
            )
        return self._logs[origin]

    def add(self, body: bytes) -> str:
        """Answer one ``add-checkpoint`` request: the cosignature line, once it is durable; else the error that says why not."""
        asked = rules.read_submission(body)
        seen = rules.read_seen(asked.note)
        log = self.log(seen.checkpoint.origin)
        seen = rules.genuine(seen, log)
        with self._store.transaction() as kept:
            if kept.split(log.origin):
                raise Refused(
                    "This log has shown a split view; nothing of it is cosigned any more.",
                    ja="この台帳は分裂した記録を示したため、もう署名しません。",
                    code="split-view",
                    remedy="See /alarms for the evidence.",
                    remedy_ja="証拠は /alarms にあります。",
                )
            held, same = kept.newest(log.origin), kept.at(log.origin, seen.checkpoint.size)
            ours = {same.seen.checkpoint.size: same.seen} if same else {}
            alarm = self._proof(log, rules.fork(log, ours, [seen]), peer="")
            if alarm is None:
                rules.judge(held.seen.checkpoint if held else None, asked, seen.checkpoint)
                text, _ = split_note(seen.note)
                if same is not None and split_note(same.seen.note)[0] == text:
                    return same.cosignature
                now = self._clock()
                cosignature = self._signer.sign(text, time=now)
                kept.keep(Cosigned(seen, now, cosignature))
            else:
                kept.raise_alarm(alarm)
        if alarm is not None:
            self._tell(alarm)
            raise rules.Elsewhere(held.seen.checkpoint.size if held else 0)
        self._observe.count("cosigned")
        return cosignature

    def compare(self, log: Log, ours: Mapping[int, Seen], theirs: Iterable[Seen], *, peer: str) -> bool:
        """Whether ``theirs``, which ``peer`` showed, and ``ours`` are a split view; if so, raise the alarm."""
        alarm = self._proof(log, rules.fork(log, ours, theirs), peer=peer)
        if alarm is None:
            return False
        with self._store.transaction() as kept:
            new = kept.raise_alarm(alarm)
        if new:
            self._tell(alarm)
        return True

    def _proof(self, log: Log, pair: tuple[Seen, Seen] | None, *, peer: str) -> Alarm | None:
        if pair is None:
            return None
        return Alarm(SPLIT, log.origin, peer, pair[0].checkpoint.size, self._clock(), rules.write_evidence(pair))

    def _tell(self, alarm: Alarm) -> None:
        self._observe.log.error("split-view", log=alarm.origin, size=alarm.size, peer=alarm.peer)
        self._observe.count("alarms")
        self.write_files()

    def write_files(self) -> None:
        """Write the evidence of every split view that has no file yet."""
        with self._store.transaction() as kept:
            alarms = kept.alarms()
        for alarm in alarms:
            path = self._evidence / f"split-{sha256(alarm.origin.encode()).hexdigest()[:12]}-{alarm.size}.txt"
            if alarm.kind == SPLIT and not path.exists():
                self._evidence.mkdir(exist_ok=True)
                with path.with_suffix(".new").open("w", encoding="utf-8") as file:
                    file.write(alarm.evidence)
                    file.flush()
                    os.fsync(file.fileno())
                path.with_suffix(".new").rename(path)
