"""A text index that finds any part of a word, in Japanese as in English: pairs of neighbouring characters in SQLite's FTS5.

Derived from what it indexes and made again at any time; one file, read by many threads, written by one.
"""

from __future__ import annotations

import sqlite3
import threading
import unicodedata
from collections.abc import Iterable
from pathlib import Path

TOGETHER = 5_000


class Index:
    """Keys, each with a text. Searching costs what the rarest pair of the query occurs, not what there is."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.Lock()
        self._connection.executescript(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "CREATE TABLE IF NOT EXISTS keys(id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL);"
            "CREATE VIRTUAL TABLE IF NOT EXISTS texts USING fts5(pairs);"
        )

    def put(self, texts: Iterable[tuple[str, str]]) -> None:
        """Index these (key, text), in place of what stood there under the same key. All or nothing."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                for key, text in texts:
                    self._remove(key)
                    row = self._connection.execute("INSERT INTO keys(key) VALUES (?)", [key]).lastrowid
                    self._connection.execute("INSERT INTO texts(rowid, pairs) VALUES (?, ?)", [row, pairs(text)])
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    def remove(self, key: str) -> None:
        with self._lock:
            self._remove(key)

    def _remove(self, key: str) -> None:
        for (row,) in self._connection.execute("DELETE FROM keys WHERE key = ? RETURNING id", [key]).fetchall():
            self._connection.execute("DELETE FROM texts WHERE rowid = ?", [row])

    def find(self, query: str, *, limit: int = 50, offset: int = 0) -> tuple[list[str], int]:
        """The keys of texts that hold every word of ``query``, newest first, and how many there are."""
        match_ = match(query)
        with self._lock:
            if not match_:
                (total,) = self._connection.execute("SELECT count(*) FROM keys").fetchone()
                rows = self._connection.execute(
                    "SELECT key FROM keys ORDER BY id DESC LIMIT ? OFFSET ?", [limit, offset]
                )
                return [key for (key,) in rows], total
            (total,) = self._connection.execute("SELECT count(*) FROM texts WHERE texts MATCH ?", [match_]).fetchone()
            rows = self._connection.execute(
                "SELECT key FROM texts JOIN keys ON keys.id = texts.rowid WHERE texts MATCH ? ORDER BY texts.rowid DESC LIMIT ? OFFSET ?",
                [match_, limit, offset],
            )
            return [key for (key,) in rows], total

    def close(self) -> None:
        self._connection.close()


def plain(text: str) -> list[str]:
    """The words of a text: letters and digits, whatever their width and case."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c if c.isalnum() else " " for c in folded).split()


def pairs(text: str) -> str:
    """The text as neighbouring pairs, and behind each word its last character, so that every character begins something."""
    return " ".join(" ".join([*_of(w), w[-1]]) if len(w) > 1 else w for w in plain(text))


def match(query: str) -> str:
    """FTS5's expression for texts that hold every word of ``query`` anywhere; empty if it has none."""
    return " AND ".join(f'"{" ".join(_of(w))}"' if len(w) > 1 else f'"{w}"*' for w in plain(query))


def _of(word: str) -> list[str]:
    return [word[n : n + 2] for n in range(len(word) - 1)]
