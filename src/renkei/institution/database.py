"""An institution's database: one writer thread with group commit, readers beside it.

``write`` takes a function of a connection and answers its result once it is **durable**. Functions that wait together share one
transaction; if one of them fails, each is run again alone, so a function must be safe to run twice until it succeeds. What they
``gather`` is stored once per transaction and takes effect only if it commits. A commit that failed may have taken effect all the
same: every transaction leaves a mark, and the mark is looked up before anyone is told. SQLite runs in WAL mode with ``synchronous=FULL``;
PostgreSQL as it comes. Transactions are opened here only.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import sqlalchemy as sa

from renkei.errors import SetupError, Unavailable
from renkei.institution import migrate, store

T = TypeVar("T")
Work = Callable[[sa.Connection], T]
GROUP = 128
"""Functions in one transaction at most."""
BUSY_WITHIN = 30_000
PURGE_WITHIN = 1_000
"""Milliseconds to wait for SQLite's locks; to purge, for its readers, fewer: writers wait meanwhile."""
ASK_AGAIN_AFTER = 0.2
"""Seconds between questions to a database that is away."""


class Gathered(Protocol):
    """What the functions of one transaction gather for someone, to be stored together."""

    def store(self, connection: sa.Connection) -> None:
        """Write it, just before the commit."""

    def stored(self) -> None:
        """It is durable now. Called on the writer thread; never called if the transaction fails."""


G = TypeVar("G", bound=Gathered)


def gathered(connection: sa.Connection, owner: object, begin: Callable[[], G]) -> G:
    """What ``owner`` gathers in the transaction of ``connection``; begun on the first call."""
    found = connection.info["gathered"]
    if owner not in found:
        found[owner] = begin()
    return cast(G, found[owner])


class Database:
    """One database, opened and migrated. Close it to let waiting writes finish."""

    def __init__(self, url: str, *, packages: tuple[str, ...]) -> None:
        self.engine = connectable(url)
        try:
            migrate.upgrade(self.engine, packages)
        except sa.exc.OperationalError as error:
            raise SetupError(
                f"The database cannot be opened: {type(error.orig).__name__}.",
                code="database",
                remedy="Check the `database` setting and that the server runs.",
            ) from error
        self._queue: queue.SimpleQueue[tuple[Work[Any], Callable[[Any, BaseException | None], None]] | None]
        self._queue = queue.SimpleQueue()
        self._closed = False
        self._marks = (os.urandom(8) + n.to_bytes(8, "big") for n in itertools.count())
        self._thread = threading.Thread(target=self._write_loop, name=f"writer {self.engine.url.database}", daemon=True)
        self._thread.start()

    async def write(self, work: Work[T]) -> T:
        """``work``'s result, once its effects are durable."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            if future.done():  # the caller was cancelled; the write stands
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def done(result: Any, error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone
                loop.call_soon_threadsafe(settle, result, error)

        self._submit(work, done)
        return await future

    def write_now(self, work: Work[T]) -> T:
        """The same for code outside the event loop: waits on the calling thread."""
        settled = threading.Event()
        outcome: list[Any] = [None, None]

        def done(result: Any, error: BaseException | None) -> None:
            outcome[:] = [result, error]
            settled.set()

        self._submit(work, done)
        settled.wait()
        if outcome[1] is not None:
            raise outcome[1]
        return outcome[0]  # type: ignore[no-any-return]

    def read_now(self, work: Work[T]) -> T:
        """``work``'s result in a read-only view."""
        with self.engine.connect() as connection:
            return work(connection)

    async def read(self, work: Work[T]) -> T:
        """``work``'s result in a read-only view, off the event loop."""
        return await asyncio.to_thread(self.read_now, work)

    def purge(self) -> bool:
        """Empty SQLite's journal; whether it is empty. It goes on holding what was erased, for as long as nothing overwrites it.

        Readers hold this up, and while it waits for them it holds up the writer: it gives up soon and is to be tried again.
        PostgreSQL's journal and vacuum are its operator's.
        """
        if self.engine.dialect.name != "sqlite":
            return True
        with contextlib.closing(self.engine.raw_connection()) as connection:  # not in a transaction
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout={PURGE_WITHIN}")
            try:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                return bool(cursor.fetchall()[0][0] == 0)
            finally:
                cursor.execute(f"PRAGMA busy_timeout={BUSY_WITHIN}")

    def close(self) -> None:
        """Finish what was submitted, then close."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()
            self.engine.dispose()

    def _submit(self, work: Work[Any], done: Callable[[Any, BaseException | None], None]) -> None:
        if self._closed:
            raise Unavailable("The institution is shutting down.", code="closing")
        self._queue.put((work, done))

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            first = self._queue.get()
            if first is None:
                return
            group = [first]
            with contextlib.suppress(queue.Empty):
                while len(group) < GROUP:
                    more = self._queue.get_nowait()
                    if more is None:
                        stopping = True
                        break
                    group.append(more)
            self._run(group)

    def _run(self, group: list[tuple[Work[Any], Callable[[Any, BaseException | None], None]]]) -> None:
        together: dict[object, Gathered] = {}
        try:
            results = self._transact([work for work, _ in group], together)
        except BaseException as error:  # answered to whoever waits; the writer goes on
            if len(group) == 1:
                group[0][1](None, error)
                return
            for alone in group:
                self._run([alone])
            return
        for one in together.values():
            one.stored()
        for (_, done), result in zip(group, results, strict=True):
            done(result, None)

    def _transact(self, works: Sequence[Work[Any]], together: dict[object, Gathered]) -> list[Any]:
        """The results of ``works`` in one transaction, which is durable; or the error, and it is not."""
        mark = next(self._marks)
        with self.engine.connect() as connection:
            with connection.begin() as transaction:
                connection.info["gathered"] = together
                results = [work(connection) for work in works]
                for one in together.values():
                    one.store(connection)
                store.put_mark(connection, mark)
                try:
                    transaction.commit()
                except sa.exc.DBAPIError:
                    connection.invalidate()
                    if not self._stands(mark):
                        raise
            return results

    def _stands(self, mark: bytes) -> bool:
        """Whether the transaction of ``mark`` took effect though its commit failed. Asks until the database answers."""
        while not self._closed:
            try:
                with self.engine.begin() as connection:
                    return store.newest_mark(connection) == mark
            except sa.exc.DBAPIError:
                time.sleep(ASK_AGAIN_AFTER)
        return False  # whoever waits is stopping, and finds at the next start what is there


def connectable(url: str) -> sa.Engine:
    """An engine for this URL, set up as every institution's is."""
    try:
        made = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # what it says would quote part of a password
        raise SetupError(
            "`database` in settings.toml is no database's URL.",
            ja="settings.toml の `database` はデータベースのURLではありません。",
            code="database-url",
            remedy="sqlite:///… or postgresql+psycopg://user:password@host/name; characters such as @ : / in a password as %40 %3A %2F.",
            remedy_ja="sqlite:///… か postgresql+psycopg://利用者:パスワード@ホスト/名前。パスワードの @ : / は %40 %3A %2F と書きます。",
        ) from None
    if made.get_backend_name() != "sqlite":
        return sa.create_engine(made, pool_size=8, max_overflow=16, pool_pre_ping=True)
    if made.database and made.database != ":memory:":
        Path(made.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(made, pool_size=8, max_overflow=64, connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves, so that reads are transactions too
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY_WITHIN}",
            "cache_size=-16000",
            "secure_delete=ON",  # what was dropped (a number on its way to the authority) is gone from the file too
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine
