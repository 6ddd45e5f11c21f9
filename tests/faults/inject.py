"""The injector: every external write may fail though it took effect, or fail and not take effect; messages may be lost or doubled.

The real code runs against the real database and the real bus. What is replaced is only the outermost call of each write.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import nats.errors
import sqlalchemy as sa

from renkei.institution import bus, database

PERSISTED, NOT_PERSISTED = "commit persisted", "commit not persisted"


class Faults:
    """Dice for a whole nation in this process. ``rate`` is the share of writes that meet each kind of fault; 0 is off."""

    def __init__(self, monkeypatch: Any, seed: int) -> None:
        self.rng, self.rate = random.Random(seed), 0.0
        self.met: Counter[str] = Counter()
        self.spared: set[str] = set()
        """Kinds that do not strike."""
        self.aimed: list[tuple[str, str, str]] = []
        """Body, beginning of a statement, kind: the next transaction there with such a statement meets this fault."""
        self._databases(monkeypatch)
        self._bus(monkeypatch)

    def strikes(self, kind: str) -> bool:
        """Whether this write meets a fault of ``kind``."""
        if kind in self.spared or self.rng.random() >= self.rate:
            return False
        self.met[kind] += 1
        return True

    def aims(self, body: str, statements: list[str], kind: str) -> bool:
        """Whether this transaction is one that a fault of ``kind`` was meant for; it is used up then."""
        for aim in self.aimed:
            if (aim[0], aim[2]) == (body, kind) and any(s.startswith(aim[1]) for s in statements):
                self.aimed.remove(aim)
                return True
        return False

    def _databases(self, monkeypatch: Any) -> None:
        faults, make = self, database.connectable

        class Connection(sqlite3.Connection):
            def __init__(self, path: str, *args: Any, **options: Any) -> None:
                super().__init__(path, *args, **options)
                self.body, self.statements = Path(path).parent.name, list[str]()

            def commit(self) -> None:
                statements, self.statements = self.statements, []
                if not self.in_transaction:
                    return super().commit()
                if faults.aims(self.body, statements, NOT_PERSISTED) or faults.strikes(NOT_PERSISTED):
                    raise sqlite3.OperationalError("disk I/O error")
                super().commit()
                if faults.aims(self.body, statements, PERSISTED) or faults.strikes(PERSISTED):
                    raise sqlite3.OperationalError("disk I/O error")
                return None

            def rollback(self) -> None:
                self.statements = []
                super().rollback()

        def engine(url: str) -> sa.Engine:
            made = make(url)
            sa.event.listen(made, "do_connect", lambda d, r, args, parameters: parameters.update(factory=Connection))
            if made.dialect.name == "sqlite":
                sa.event.listen(made, "before_cursor_execute", note)
            return made

        def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if faults.aimed:
                cursor.connection.statements.append(statement)

        monkeypatch.setattr(database, "connectable", engine)

    def _bus(self, monkeypatch: Any) -> None:
        faults, publish, request, leave = self, bus.Bus.publish, bus.Bus.request, bus.Bus.leave

        async def faulty_publish(self: bus.Bus, subject: str, data: bytes) -> None:
            if faults.strikes("message lost"):
                return
            await publish(self, subject, data)
            if faults.strikes("message doubled"):
                await publish(self, subject, data)

        async def faulty_request(self: bus.Bus, subject: str, data: bytes, timeout: float) -> bytes:
            if faults.strikes("question lost"):
                raise bus.Unavailable("The other institution does not answer now.", code="no-answer")
            reply = await request(self, subject, data, timeout)
            if faults.strikes("reply lost"):
                raise bus.Unavailable("The other institution does not answer now.", code="no-answer")
            return reply

        async def faulty_leave(self: bus.Bus, subject: str, data: bytes) -> bool:
            if faults.strikes("mailbox not persisted"):
                return False
            return await leave(self, subject, data) and not faults.strikes("mailbox persisted")

        async def faulty_ack(self: Any) -> None:
            if faults.strikes("mailbox receipt lost"):
                raise nats.errors.TimeoutError
            await ack(self)

        ack = bus.Msg.ack
        monkeypatch.setattr(bus.Bus, "publish", faulty_publish)
        monkeypatch.setattr(bus.Bus, "request", faulty_request)
        monkeypatch.setattr(bus.Bus, "leave", faulty_leave)
        monkeypatch.setattr(bus.Msg, "ack", faulty_ack)
