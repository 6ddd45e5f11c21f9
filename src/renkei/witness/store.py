"""What a witness remembers, in one SQLite file: the checkpoints it cosigned, the newest 4,096 of each log, and its alarms.

Invariants: one root for each size (the primary key, and an update that does not touch the root); the newest checkpoint of a log is never
removed; one transaction at a time, begun with the write lock, so what was read still holds when it commits. A commit returns once
it is on the disk (WAL, ``synchronous=FULL``). What a crash leaves: all of a transaction or none of it. A file that is missing is not
made anew by ``open``: a witness that has forgotten must not sign.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from renkei.errors import SetupError, Unavailable
from renkei.ledger.notes import Checkpoint
from renkei.witness.rules import Seen

RECENT = 4096
"""Checkpoints kept of each log."""
SPLIT = "split"
UNPROVEN = "unproven"

_SCHEMA = """
CREATE TABLE logs (origin TEXT PRIMARY KEY, since INTEGER NOT NULL);
CREATE TABLE cosigned (
  origin TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, time INTEGER NOT NULL, note TEXT NOT NULL,
  cosignature TEXT NOT NULL, PRIMARY KEY (origin, size)
);
CREATE TABLE alarms (
  kind TEXT NOT NULL, origin TEXT NOT NULL, peer TEXT NOT NULL, size INTEGER NOT NULL, time INTEGER NOT NULL,
  evidence TEXT NOT NULL, PRIMARY KEY (kind, origin, peer)
);
"""


class Cosigned(NamedTuple):
    """A checkpoint this witness cosigned: when (seconds since 1970), the log's signed note, the witness's own line."""

    seen: Seen
    time: int
    cosignature: str

    @property
    def note(self) -> str:
        """The note under both signatures."""
        return self.seen.note + self.cosignature


class Alarm(NamedTuple):
    """Of kind ``split``: proven, ``evidence`` is the file. Of kind ``unproven``: a signed note nobody could prove to fit so far.

    ``peer`` is who showed it; empty if the log itself did, by asking for a cosignature.
    """

    kind: str
    origin: str
    peer: str
    size: int
    time: int
    evidence: str


class Store:
    """The memory of one witness. Its methods work inside ``transaction``."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise SetupError(
                f"{path} is missing: this witness has forgotten what it signed.",
                ja=f"{path} がありません。この立会人は署名の記録を失っています。",
                code="witness-forgot",
                remedy="Never restore it from a backup: make a new witness with a new key (`renkei witness init`).",
                remedy_ja="バックアップから戻さず、新しい鍵の立会人を作ってください（`renkei witness init`）。",
            )
        self._lock = threading.Lock()
        self._connection = _connect(path)

    @staticmethod
    def create(path: Path) -> None:
        """Make the file of a witness that has signed nothing yet."""
        connection = _connect(path)
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction: durable when this returns, and without effect if anything is raised before its commit."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield Transaction(self._connection)
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError:  # the disk is full or away: whether it was kept, the next transaction sees
                raise Unavailable(
                    "The witness cannot keep this now.", ja="立会人は今これを記録できません。", code="database"
                ) from None
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


class Transaction:
    """What can be read and kept while the write lock is held."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._run = connection.execute

    def newest(self, origin: str) -> Cosigned | None:
        """The checkpoint this witness stands by."""
        return next(iter(self.recent(origin, 1)), None)

    def at(self, origin: str, size: int) -> Cosigned | None:
        """What was cosigned at this size, if it is still kept."""
        rows = self._run("SELECT * FROM cosigned WHERE origin = ? AND size = ?", (origin, size))
        return next(map(_cosigned, rows), None)

    def recent(self, origin: str, most: int = RECENT) -> list[Cosigned]:
        """The newest checkpoints, largest first."""
        rows = self._run("SELECT * FROM cosigned WHERE origin = ? ORDER BY size DESC LIMIT ?", (origin, most))
        return [_cosigned(row) for row in rows]

    def since(self, origin: str) -> int | None:
        """When the first checkpoint of this log was cosigned."""
        row = self._run("SELECT since FROM logs WHERE origin = ?", (origin,)).fetchone()
        return int(row[0]) if row else None

    def keep(self, new: Cosigned) -> None:
        """Keep what is about to be shown; a size that is kept already can change its note, never its root."""
        (origin, size, root), note = new.seen
        kept = self._run(
            "INSERT INTO cosigned VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " time = excluded.time, note = excluded.note, cosignature = excluded.cosignature WHERE root = excluded.root",
            (origin, size, root, new.time, note, new.cosignature),
        ).rowcount
        assert kept == 1, "another root of this size is cosigned"
        self._run("INSERT OR IGNORE INTO logs VALUES (?, ?)", (origin, new.time))
        self._run(
            "DELETE FROM cosigned WHERE origin = ? AND size <="
            " (SELECT size FROM cosigned WHERE origin = ? ORDER BY size DESC LIMIT 1 OFFSET ?)",
            (origin, origin, RECENT),
        )

    def alarms(self) -> list[Alarm]:
        """All alarms, oldest first."""
        return [Alarm(*row) for row in self._run("SELECT * FROM alarms ORDER BY time, kind, origin, peer")]

    def split(self, origin: str) -> Alarm | None:
        """The proof that this log shows a split view, if there is one."""
        return next((a for a in self.alarms() if (a.kind, a.origin) == (SPLIT, origin)), None)

    def raise_alarm(self, alarm: Alarm) -> bool:
        """Keep an alarm; whether it is new. Of a log that is found out the first proof is enough, and nothing is unproven any more."""
        if self.split(alarm.origin):
            return False
        if alarm.kind == SPLIT:
            self._run("DELETE FROM alarms WHERE origin = ?", (alarm.origin,))
        return self._run("INSERT OR IGNORE INTO alarms VALUES (?, ?, ?, ?, ?, ?)", alarm).rowcount == 1

    def settle(self, origin: str, peer: str) -> None:
        """What was unproven is proven: take its alarm back."""
        self._run("DELETE FROM alarms WHERE kind = ? AND origin = ? AND peer = ?", (UNPROVEN, origin, peer))


def _cosigned(row: tuple[str, int, bytes, int, str, str]) -> Cosigned:
    origin, size, root, time, note, cosignature = row
    return Cosigned(Seen(Checkpoint(origin, size, root), note), time, cosignature)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=2000"):
        connection.execute(f"PRAGMA {pragma}")
    return connection
