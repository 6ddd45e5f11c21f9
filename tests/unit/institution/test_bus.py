"""The bus server, where a nation may be large."""

from __future__ import annotations

import os

import nkeys
import pytest

from renkei.institution import bus
from renkei.institution.bus import BusServer, BusUser, Node, make_mailboxes
from tests.world import free_port

BODIES = 12


def nkey() -> bytes:
    return bytes(nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER))


def public(seed: bytes) -> str:
    return nkeys.from_seed(bytearray(seed)).public_key.decode()


@pytest.fixture
async def server(tmp_path):
    """A started server with its operator's key and the bodies it lets in."""
    operator, codes = nkey(), [f"body-{i}" for i in range(BODIES)]
    port = free_port()
    started = BusServer(tmp_path, Node("bus-1", port))
    started.configure([BusUser(code, public(nkey())) for code in codes], public(operator))
    await started.start()
    yield started, operator, codes
    started.stop()


async def test_more_mailboxes_than_the_disk_has_room_for(server, monkeypatch):
    """What bounds one mailbox is no promise of disk: a nation's mailboxes may be promised more than is free."""
    started, operator, codes = server
    free = os.statvfs(started.folder)
    monkeypatch.setattr(bus, "MAILBOX_BYTES", free.f_bavail * free.f_frsize // (BODIES // 2))
    await make_mailboxes(started.url, operator, codes)


async def test_a_server_that_does_not_stop_in_time_is_killed(server, monkeypatch):
    """It must not outlive its nation, however many mailboxes it would still close."""
    started, _, _ = server
    monkeypatch.setattr(bus, "STOP_WITHIN", 0.0)
    pid = started.pid
    started.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
