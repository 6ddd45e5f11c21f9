"""A witness's life: open what it remembers, serve and gossip, stop."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

from renkei.errors import Malformed, SetupError
from renkei.institution.observe import Observer
from renkei.institution.settings import Home
from renkei.institution.settings import Settings as Shell
from renkei.institution.tasks import end, told_to_stop
from renkei.institution.web import Health, serve
from renkei.ledger.notes import COSIGNATURE, NOTE
from renkei.witness.cosigning import Cosigner
from renkei.witness.gossip import SILENT_AFTER, Gossip, Peer
from renkei.witness.pages import witness_pages
from renkei.witness.rules import Log
from renkei.witness.settings import load_settings, load_signer, read_address, read_key
from renkei.witness.store import Store


class Witness:
    """One witness, from its home folder, which it holds until it is closed."""

    def __init__(self, folder: Path) -> None:
        home = Home(folder)
        self.settings = load_settings(home)
        signer = load_signer(home, self.settings)
        self.key = signer.verifier
        try:
            self.logs = {s.origin: Log(s.origin, read_key(s.key, NOTE), s.proofs) for s in self.settings.logs}
            self.peers = [Peer(read_key(s.key, COSIGNATURE), read_address(s.url)) for s in self.settings.peers]
        except Malformed as error:
            raise SetupError(
                f"{home / 'settings.toml'}: {error.sentence}",
                ja=f"{home / 'settings.toml'}: {error.sentence_ja}",
                code="settings-wrong",
                remedy="Give it anew with `renkei witness log` or `renkei witness peer`.",
                remedy_ja="`renkei witness log` か `renkei witness peer` で登録し直してください。",
            ) from None
        self.observe = Observer(self.settings.name, "witness", self.settings.log_level)
        self.store = Store(home / "witness.db")
        self._held = home.occupy()

        def clock() -> int:
            return int(time.time())

        self.cosigner = Cosigner(signer, self.logs, self.store, home / "evidence", self.observe, clock)
        self.gossip = Gossip(self.peers, self.logs, self.store, self.cosigner, self.observe, clock)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve and gossip until ``stop``."""
        s = self.settings
        _demand_free(s.host, s.port)
        self.cosigner.write_files()
        shell = Shell(
            body=s.name,
            role="witness",
            kinds=(),
            database="",
            bus="",
            host=s.host,
            port=s.port,
            language=s.language,
            log_level=s.log_level,
        )
        handlers, options = witness_pages(self, shell)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(serve(shell, self.observe, handlers, self.health, **options))
            gossiping = tasks.create_task(self.gossip.run(s.gossip_seconds))
            await stop.wait()
            await end([serving, gossiping])

    def health(self) -> Health:
        """Not well if an alarm stands, or a peer has not been heard for some rounds."""
        with self.store.transaction() as kept:
            alarms = kept.alarms()
        amiss = {
            kind: ", ".join(sorted({a.origin for a in alarms if a.kind == kind})) for kind in ("split", "unproven")
        }
        amiss["silent"] = ", ".join(name for name, h in self.gossip.heard.items() if h.missed >= SILENT_AFTER)
        return Health(not any(amiss.values()), {"logs": str(len(self.logs)), **{k: v for k, v in amiss.items() if v}})

    def close(self) -> None:
        """Let go of the folder."""
        self.store.close()
        self._held.close()


async def run(folder: Path) -> None:
    """Run the witness of a home folder until a signal says stop."""
    stop = told_to_stop()
    witness = Witness(folder)
    try:
        await witness.run(stop)
    finally:
        witness.close()


def _demand_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SetupError(
                f"The witness cannot listen on {host}, port {port}: {error.strerror}.",
                ja=f"{host} のポート {port} で待ち受けできません。",
                code="port-taken",
                remedy="Stop what listens there, or change `port` in settings.toml.",
                remedy_ja="そのプログラムを止めるか、settings.toml の port を変えてください。",
            ) from None
