"""A card in a real PC/SC reader without hardware: Debian's ``vpcd`` is the reader, and this dials it.

``vpcd`` listens on every address of its machine, for whoever wants to be a card. So it runs in a network namespace of its own, of which
loopback is all there is (``room``), and ``serve`` refuses to be a card anywhere else. Programs outside reach the reader as they reach any,
by pcscd's socket, which lies in the room's folder: ``PCSCLITE_CSOCK_NAME=FOLDER/pcscd.comm``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from renkei.card.chip import Chip, Memory
from renkei.card.layout import ATR
from renkei.errors import Malformed, SetupError, Unavailable

PORT = 35963
OFF, ON, RESET, ASK_ATR = 0, 1, 2, 4
TOOLS = ("pcscd", "unshare", "mount")
READY_WITHIN = 20.0
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


class CardFile:
    """A chip's memory as a file. It is the chip: whoever has it has the keys, so it is its owner's alone."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Memory:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=Memory)
        except msgspec.DecodeError:
            raise Malformed(
                f"{self.path} is no card.", ja=f"{self.path} はカードのファイルではありません。", code="card-file"
            ) from None

    def keep(self, memory: Memory) -> None:
        """Durable when it returns, and never half written."""
        unfinished = self.path.with_name(self.path.name + ".part")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(msgspec.json.encode(memory))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def chip(self) -> Chip:
        """The card under power."""
        return Chip(self.load(), self.keep)


def demand_alone() -> None:
    """``SetupError`` where a stranger could reach the reader: anywhere with an interface besides loopback."""
    others = [name for _, name in socket.if_nameindex() if name != "lo"]
    if others:
        raise SetupError(
            f"A virtual reader must not be where others reach it, and here is {others[0]}.",
            ja="仮想リーダーは、外部から届くネットワーク上では使えません。",
            remedy="Use `renkei card emulate`, which makes a place of its own.",
            remedy_ja="`renkei card emulate` を使ってください。",
            code="card-network",
        )


def serve(chip: Chip, seen: Callable[[], None] = lambda: None, *, port: int = PORT) -> None:
    """Be the card in the reader at ``port`` until the reader goes away; ``seen`` is called once it has looked at the card."""
    demand_alone()
    with socket.create_connection(("127.0.0.1", port)) as reader:
        reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for frame in _frames(reader):
            answer = _answer(chip, frame)
            if frame == bytes([ON]):
                seen()
            if answer is not None:
                reader.sendall(struct.pack(">H", len(answer)) + answer)


def _answer(chip: Chip, frame: bytes) -> bytes | None:
    if len(frame) == 1:
        if frame[0] in (OFF, ON, RESET):
            chip.reset()
            return None
        return ATR if frame[0] == ASK_ATR else b""
    return chip.transmit(frame)


def _frames(reader: socket.socket) -> Iterator[bytes]:
    while len(head := _read(reader, 2)) == 2:
        (size,) = struct.unpack(">H", head)
        frame = _read(reader, size)
        if len(frame) < size:
            return
        yield frame


def _read(reader: socket.socket, size: int) -> bytes:
    """``size`` bytes, fewer at the end. Each is acknowledged at once: vpcd writes a length and its command apart, and the second write
    waits for our acknowledgement of the first, which would else be 40 ms late."""
    found = b""
    while len(found) < size:
        reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        part = reader.recv(size - len(found))
        if not part:
            break
        found += part
    return found


# ---------------------------------------------------------------------- the room


@contextlib.contextmanager
def room(folder: Path, card: Path) -> Iterator[Path]:
    """A reader with this card in it, for as long as the block lasts; pcscd's socket. The card is pulled out at the end."""
    missing = [tool for tool in TOOLS if not shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")]
    if missing:
        raise SetupError(
            f"{missing[0]} is missing.",
            ja=f"{missing[0]} がありません。",
            remedy="Install Debian's packages pcscd, vsmartcard-vpcd and opensc (`make card`).",
            remedy_ja="Debian の pcscd, vsmartcard-vpcd, opensc を入れてください（`make card`）。",
            code="card-tools",
        )
    folder.mkdir(parents=True, exist_ok=True)
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    spaces = ["unshare", *user, "--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    command = [*spaces, sys.executable, "-m", "renkei.card.virtual", str(folder), str(card)]
    with (
        (folder / "reader.log").open("ab") as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        ) as child,
    ):
        try:
            _until_ready(child, folder)
            yield folder / "pcscd.comm"
        finally:
            child.kill()  # it heeds nothing gentler while it has a child; all in its namespaces ends with it


def _until_ready(child: subprocess.Popen[bytes], folder: Path) -> None:
    assert child.stdout is not None
    if child.stdout.readline().strip() != b"ready":
        said = (folder / "reader.log").read_text("utf-8", "replace").strip().splitlines()
        raise Unavailable(
            f"The virtual reader did not start: {said[-1] if said else 'no reason given'}",
            ja="仮想リーダーを開始できません。",
            remedy=f"See {folder / 'reader.log'}.",
            remedy_ja=f"{folder / 'reader.log'} を確認してください。",
            code="card-reader",
        )


def _inside(folder: Path, card: Path) -> None:
    """What runs in the namespaces: pcscd with its socket in ``folder``, and the card. All of it ends with whoever began it."""
    threading.Thread(target=_until_left, daemon=True).start()
    _raise_loopback()
    demand_alone()
    Path("/run/pcscd").mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", str(folder), "/run/pcscd"], check=True)
    for left in ("pcscd.comm", "pcscd.pid"):
        (folder / left).unlink(missing_ok=True)
    pcscd = shutil.which("pcscd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "pcscd"
    with subprocess.Popen([pcscd, "--foreground"], stdout=sys.stderr) as daemon:
        try:
            _wait(lambda: (folder / "pcscd.comm").exists() and _listens())
            serve(CardFile(card).chip(), lambda: print("ready", flush=True))
        finally:
            daemon.terminate()


def _until_left() -> None:
    """Our standard input is a pipe of who began us, and ends with it, however that ends. We are the first process here: so does all."""
    sys.stdin.buffer.read()
    os._exit(0)


def _listens() -> bool:
    """Whether the reader waits for a card: looked up, not tried, for it would take the trial for a card."""
    rows = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    rows += Path("/proc/net/tcp6").read_text("ascii").splitlines()[1:] if Path("/proc/net/tcp6").exists() else []
    return any(row.split()[1].endswith(f":{PORT:04X}") and row.split()[3] == "0A" for row in rows)


def _wait(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not check():
        if time.monotonic() > deadline:
            raise Unavailable("pcscd does not start.", code="card-reader")
        time.sleep(0.02)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(any_, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _inside(Path(sys.argv[1]), Path(sys.argv[2]))
