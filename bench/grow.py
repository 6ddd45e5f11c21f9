"""What the sections of ``bench.growth`` share: what a measure is, how it grew, and clean memory figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

T = TypeVar("T")


class Measure(NamedTuple):
    """One line of a table: the figure's key, what it is, and its floor or how it is meant to grow."""

    key: str
    title: str
    claim: str


def grew(rows: Sequence[dict[str, Any]], key: str) -> str:
    """By how much a figure rose (or fell) from the smallest size that has it to the largest: × 1.1 of × 1,000."""
    have = [r for r in rows if r.get(key)]
    if len(have) < 2:
        return ""
    return f"× {have[-1][key] / have[0][key]:.3g} of × {have[-1]['n'] / have[0]['n']:,.0f}"


def figure(value: float | None) -> str:
    """Three digits that mean something."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def apart(work: Callable[..., T], *args: Any) -> T:
    """``work`` in a fresh process of its own, so that memory figures are its alone."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


def median_us(works: Iterable[Callable[[], object]]) -> float:
    """The median of ``works``, each run once, in microseconds of processor time: others' load does not count."""
    return statistics.median(cpu_seconds(work) for work in works) * 1e6


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of this thread in ``work``."""
    began = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - began) / 1e9


def seconds(work: Callable[[], object]) -> float:
    """Time that passes in ``work``."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def resident_mb(pid: int | None = None) -> float:
    """Memory of a process now (this one by default)."""
    return float(psutil.Process(pid).memory_info().rss) / 1e6


def forget_peak(pid: int) -> None:
    """Count the peak of a process's memory from now on (``man proc_pid_clear_refs``)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")


def peak_mb(pid: int) -> float:
    """The most memory a process had since ``forget_peak``."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
