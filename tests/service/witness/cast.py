"""Who plays in the witness tests: a log that may tell several stories, a witness in a process of its own, a peer that says anything."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from msgspec import structs

from renkei.institution.settings import Home
from renkei.ledger.merkle import Tree, leaf_hash
from renkei.ledger.notes import NOTE, Checkpoint, Signer
from renkei.nation.plan import free_ports
from renkei.witness.settings import LogSettings, PeerSettings, Settings, create


def until(true: Callable[[], bool], seconds: float = 40.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    return free_ports(1)[0]


class Story:
    """One history of a log, of up to 200 leaves, signed with the log's key."""

    def __init__(self, signer: Signer, shared: int, rest: str) -> None:
        self.signer, self.origin = signer, signer.verifier.name
        self.tree = Tree(lambda *_: pytest.fail("no tile is full"))
        self.tree.append(leaf_hash(b"shared %d" % i if i < shared else f"{rest} {i}".encode()) for i in range(200))

    def text(self, size: int, extensions: str = "") -> str:
        return Checkpoint(self.origin, size, self.tree.root(size)).to_text() + extensions

    def note(self, size: int, extensions: str = "") -> str:
        text = self.text(size, extensions)
        return f"{text}\n{self.signer.sign(text)}"

    def proof(self, old: int, new: int) -> list[str]:
        return [base64.b64encode(h).decode() for h in self.tree.consistency(old, new)] if 0 < old <= new else []

    def body(self, old: int, new: int, *, proof: list[str] | None = None, note: str | None = None) -> bytes:
        lines = self.proof(old, new) if proof is None else proof
        return "".join(f"{x}\n" for x in [f"old {old}", *lines, ""]).encode() + (note or self.note(new)).encode()


class Log:
    """A log's key and its stories: ``tell()`` is the true one; a lying log tells others from some size on."""

    def __init__(self, name: str = "") -> None:
        self.signer = Signer(name or f"log.example/{os.urandom(4).hex()}", NOTE, os.urandom(32))
        self.origin, self.key = self.signer.verifier.name, self.signer.verifier.to_text()

    def tell(self, shared: int = 200, rest: str = "") -> Story:
        return Story(self.signer, shared, rest)


class House:
    """A witness's home and, while it runs, its process."""

    def __init__(self, folder: Path, logs: list[Log], *, gossip: float = 0.1, proofs: str = "") -> None:
        self.folder, self.port = folder, free_port()
        self.name, self.url = f"{folder.name}.example", f"http://127.0.0.1:{self.port}"
        watched = tuple(LogSettings(log.origin, log.key, proofs) for log in logs)
        self.settings = Settings(name=self.name, port=self.port, gossip_seconds=gossip, logs=watched)
        self.verifier = create(folder, self.settings)
        self.key = self.verifier.to_text()
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def renkei(*words: object, language: str = "C.UTF-8") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "renkei.cli", "witness", *map(str, words)],
            capture_output=True, text=True, env={**os.environ, "LC_ALL": language, "COLUMNS": "300"},
        )  # fmt: skip

    def meet(self, *others: tuple[str, str]) -> None:
        """Know these peers, by key and address, from the next start on."""
        self.settings = structs.replace(
            self.settings, peers=(*self.settings.peers, *(PeerSettings(*card) for card in others))
        )
        Home(self.folder).write_toml("settings.toml", self.settings)

    @property
    def card(self) -> tuple[str, str]:
        """Key and address, for peers."""
        return self.key, self.url

    def start(self, *, dying: str = "") -> House:
        """Start it; ``dying`` is code run first in that process."""
        program = f"import sys; {dying}\nfrom renkei.cli import entry\nsys.argv[1:] = ['witness', 'run', {str(self.folder)!r}]\nentry()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stderr=(self.folder / "errors.jsonl").open("ab")
        )
        until(self.answers)
        return self

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "errors.jsonl").read_text()
        with contextlib.suppress(OSError):
            return self.get("/health")[0] in (200, 503)
        return False

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(
                method, path, body, headers, encode_chunked=headers.get("Transfer-Encoding") == "chunked"
            )  # type: ignore[arg-type]
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read().decode()
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        return self.ask("GET", path, **headers)

    def json(self, path: str) -> object:
        return json.loads(self.get(path)[2])

    def add(self, body: bytes) -> tuple[int, dict[str, str], str]:
        return self.ask("POST", "/add-checkpoint", body)

    def shown(self, origin: str) -> str:
        return self.get(f"/checkpoints?log={quote(origin, safe='')}")[2]

    def alarms(self) -> list[dict[str, object]]:
        return self.json("/alarms")  # type: ignore[return-value]


@contextlib.contextmanager
def running(*houses: House) -> Iterator[None]:
    """Start witnesses; stop whatever still runs."""
    try:
        for house in houses:
            house.start()
        yield
    finally:
        for house in houses:
            if house.process is not None and house.process.poll() is None:
                house.stop()


@contextlib.contextmanager
def saying(answer: Callable[[str, dict[str, list[str]]], tuple[int, str]]) -> Iterator[str]:
    """A server that answers GET with whatever ``answer(path, query)`` says; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, text = answer(parts.path, parse_qs(parts.query))
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
