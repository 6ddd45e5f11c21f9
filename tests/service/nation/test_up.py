"""`renkei nation up` as people meet it: stopped at any moment, started twice, ports taken, killed; it goes on where it was."""

import json
import signal
import socket
import subprocess
import sys
import time

import pytest

from renkei.nation.plan import Plan
from tests.world import until

RENKEI = [sys.executable, "-m", "renkei.cli"]
UP = [*RENKEI, "nation", "up", "--residents", "30", "--port", "0", "--inquiries", "12", "--no-cards"]


def _heed_interrupts():
    """What a shell starts in the background ignores Ctrl-C, and so would whatever the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Started:
    """A started `nation up`."""

    def __init__(self, folder):
        self.output = folder.parent / f"{folder.name}.{time.monotonic_ns()}.out"
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [*UP, "--nation", str(folder)], stdout=file, stderr=file, preexec_fn=_heed_interrupts
            )

    def said(self, text):
        assert self.process.poll() is None, self.output.read_text()
        return text in self.output.read_text()

    def end(self, number=signal.SIGINT):
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(30)
        return code, time.monotonic() - began, self.output.read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A nation that was raised once and stopped."""
    folder = tmp_path_factory.mktemp("up") / "nation"
    started = Started(folder)
    until(lambda: started.said("A day's inquiries"), 60)
    code, _, said = started.end()
    assert code == 0, said
    return folder


def status(folder):
    done = subprocess.run(
        [*RENKEI, "nation", "status", "--nation", str(folder), "--json"], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("after", [0.8, 1.6, 2.4, 4.0])
def test_it_stops_at_once_whenever_it_is_told(tmp_path, after):
    """Also while it lays out, starts or asks; and the next start goes on."""
    started = Started(tmp_path / "nation")
    time.sleep(after)
    code, seconds, said = started.end()
    assert code in (0, 130, -2)  # -2: while Python itself was still loading
    assert seconds < 8, said
    assert "Traceback" not in said
    assert "InvalidState" not in said


def test_an_interrupted_first_day_is_asked_to_its_end_and_nothing_twice(tmp_path):
    folder = tmp_path / "nation"
    started = Started(folder)
    until(lambda: started.said("Ready after"), 60)
    started.end()
    again = Started(folder)
    until(lambda: again.said("A day's inquiries"), 60)
    bodies = status(folder)[1]
    asked = sum(int(n) for b in bodies.values() for k, n in b.items() if k.startswith("inquiries_"))
    visits = int(subprocess.check_output(["grep", "-c", r"^\[\[visit\]\]", "packs/japan/population/nation.toml"]))
    assert asked == visits + 12
    again.end()
    third = Started(folder)
    until(lambda: third.said("Ctrl-C stops"), 60)
    assert "A day's inquiries" not in third.output.read_text()
    third.end()


def test_a_second_start_in_the_same_folder_is_refused_and_harms_nothing(folder):
    first = Started(folder)
    until(lambda: first.said("Ctrl-C stops"), 60)
    code, bodies = status(folder)
    assert code == 0, bodies
    second = Started(folder)
    assert second.process.wait(20) == 3
    assert "already" in second.output.read_text()
    code, bodies = status(folder)
    assert (code, {b["status"] for b in bodies.values()}) == (0, {"ok"}), [
        b for b in bodies.values() if b["status"] != "ok"
    ]
    body = subprocess.run([*RENKEI, "run", str(folder / "hub")], capture_output=True, text=True, check=False)
    assert (body.returncode, "already" in body.stderr) == (3, True)
    assert first.end()[0] == 0
    assert status(folder)[0] == 3


@pytest.mark.parametrize("place", ["bus", "portal"])
def test_a_taken_port_is_named_at_once(folder, place):
    plan = Plan.read(folder)
    port = plan.bus_nodes[0].port if place == "bus" else plan.port(place)
    with socket.create_server(("127.0.0.1", port)):
        started = Started(folder)
        assert started.process.wait(20) == 3
    assert f"port {port}" in started.output.read_text()


def test_after_a_kill_it_starts_again(folder):
    """Also though the bus it had started lives on."""
    started = Started(folder)
    until(lambda: started.said("Ctrl-C stops"), 60)
    started.end(signal.SIGKILL)
    again = Started(folder)
    until(lambda: again.said("Ctrl-C stops"), 60)
    code, bodies = status(folder)
    assert code == 0, bodies
    again.end()
