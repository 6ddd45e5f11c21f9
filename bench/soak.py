"""``make soak``: the long forms of the suites that attack and kill. ``--inquiries`` and ``--people`` say how long.

1. Faults: a nation of one process per role and three bus servers, asked without pause while random processes, bus servers included, are
   killed −9; then the checker of the whole world.
2. Linkability: the adversary of ``tests/attacks/linker.py`` on ten inquiries per person.

Writes ``bench/results/soak.json``; ``python -m bench.page`` makes the page of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tests.faults.checker import examine, mailboxes

from renkei.errors import RenkeiError
from renkei.law import Pack
from renkei.nation import day
from renkei.nation.plan import lay_out
from renkei.nation.population import Demography
from renkei.nation.web import call
from renkei.nation.world import World

PACK = Path("packs/japan")
RESULT = Path("bench/results/soak.json")
TOGETHER = 64
out = Console()


class Soak:
    """A nation under load while its processes die."""

    def __init__(self, folder: Path, inquiries: int, seed: int) -> None:
        self.rng = random.Random(seed)
        self.plan = lay_out(folder, PACK, residents=1_500, bus_nodes=3)
        self.folder, self.world = folder, World(folder, processes=True)
        self.count, self.accepted = inquiries, set[str]()
        self.killed: Counter[str] = Counter()
        self.tried_again = 0
        self.memory: dict[str, list[int]] = {}

    async def run(self, progress: Progress) -> dict[str, Any]:
        """Ask, kill, wait until all is settled; what was found."""
        await self.world.start()
        try:
            await self.world.until_linked()
            have, want = 0, 1
            linking = progress.add_task("linkage codes issued", total=None)
            while have < want:
                await asyncio.sleep(1)
                have, want = await self.world.codes()
                progress.update(linking, completed=have, total=want)
            began = time.monotonic()
            asking = progress.add_task("inquiries accepted", total=self.count)
            killing = asyncio.create_task(self._kill())
            await self._ask(lambda: progress.advance(asking))
            seconds = time.monotonic() - began
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            settling = progress.add_task("until nothing is under way", total=None)
            left = await self._settle()
            progress.update(settling, total=1, completed=1)
        finally:
            await self.world.stop()
        world = examine(self.folder, self.plan)
        states = Counter(world.inquiries.get(i, "lost") for i in self.accepted)
        return {
            "inquiries": len(self.accepted),
            "seconds": round(seconds),
            "ended": dict(states),
            "asked_again": self.tried_again,
            "killed": dict(self.killed),
            "leaves": world.leaves,
            "disclosed": world.disclosed,
            "wrong": world.wrong[:20],
            "mailboxes_left": left,
            "memory_mb": {body: [min(v), max(v)] for body, v in sorted(self.memory.items())},
        }

    async def _ask(self, advance: Any) -> None:
        on = dt.date.fromisoformat(self.plan.created)
        asked = day.sample(
            self.folder, self.plan, Pack.load(PACK), Demography.read(PACK), self.count, self.rng.randrange(2**32), on
        )
        work = iter(enumerate(asked))

        async def asker() -> None:
            for number, question in work:
                place = self.plan.place(question.requester)
                while True:
                    with contextlib.suppress(RenkeiError):
                        told = await call(f"{place.url}/inquiries", place.token, question.data, key=f"soak-{number}")
                        break
                    self.tried_again += 1
                    await asyncio.sleep(0.5)
                self.accepted.add(told["id"])
                advance()

        await asyncio.gather(*(asker() for _ in range(TOGETHER)))

    async def _kill(self) -> None:
        """Every few seconds one process dies and comes back: any body, or one bus server at a time."""
        while True:
            await asyncio.sleep(self.rng.uniform(3, 12))
            for body, child in self.world.children.items():
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.memory.setdefault(body, []).append(psutil.Process(child.pid).memory_info().rss >> 20)
            victim = self.rng.choice([*self.world.children, *self.world.buses])
            if isinstance(victim, str):
                self.world.kill(victim)
                await asyncio.sleep(self.rng.uniform(0.1, 2))
                self.world.spawn(victim)
                self.killed[victim] += 1
            else:
                victim.stop(kill=True)
                await asyncio.sleep(self.rng.uniform(0.1, 2))
                await victim.start()
                self.killed[victim.node.name] += 1

    async def _settle(self) -> dict[str, int]:
        for _ in range(120):
            left = await mailboxes(self.plan)
            if not left and not (await asyncio.to_thread(examine, self.folder, self.plan)).wrong:
                break
            await asyncio.sleep(2)
        return left


def linkability(people: int, folder: Path) -> dict[str, Any]:
    """The adversary's clues, for each stolen master; ``failed`` if one was better than chance."""
    report = folder / "link"
    environment = {**os.environ, "LINK_PEOPLE": str(people), "LINK_REPORT": str(report)}
    command = [sys.executable, "-m", "pytest", "-q", "tests/attacks/test_linkability.py"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    found = {k: json.loads(Path(f"{report}.{k}.json").read_text("utf-8")) for k in ("hub", "commission")}
    return {"failed": done.returncode != 0, **found}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inquiries", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory(prefix="renkei-soak-") as folder, Progress(*columns, console=out) as progress:
        report: dict[str, Any] = {
            "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
            "command": f"make soak INQUIRIES={options.inquiries}",
        }
        report["faults"] = asyncio.run(Soak(Path(folder) / "nation", options.inquiries, options.seed).run(progress))
        task = progress.add_task("linkability adversary", total=None)
        report["linkability"] = linkability(options.people, Path(folder))
        progress.update(task, total=1, completed=1)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    out.print_json(data=report["faults"])
    bad = report["faults"]["wrong"] or report["faults"]["mailboxes_left"] or report["linkability"]["failed"]
    out.print(f"written: {RESULT}" + ("; NOT whole" if bad else ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
