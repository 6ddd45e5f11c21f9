"""``python -m bench.alarms``: how many alarms a year brings, how many of them for nothing, and which misuse is found.

A simulated year of 40 bodies with 6 clerks each (working days, each clerk at a rate of its own, busy seasons, ends of months, newcomers,
days of a colleague's work, some evenings, ordinary refusals and empty answers), with misuse planted into it: what a clerk does besides.
Nothing but the stream of inquiries goes in, as ``renkei.commission.watch`` gets it. Writes ``bench/results/alarms.json``.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from renkei.commission.watch import Alarm, Seen, Watch

RESULT = Path("bench/results/alarms.json")
FIRST = dt.date(2026, 4, 1)
MISUSE = {
    "browsing in an evening": ("evening", 20, 30),
    "browsing by day, all at once": ("burst", 60, 60),
    "browsing a little, ten days": ("slow", 8, 80),
    "fishing: mostly refused": ("refused", 25, 25),
    "fishing: mostly empty": ("empty", 40, 40),
    "a thief's script": ("script", 400, 400),
}
"""What is planted: how, how many a day, how many in all."""


class Clerk(NamedTuple):
    body: str
    name: bytes
    rate: float
    """Inquiries on an ordinary working day."""
    affairs: tuple[str, ...]
    first: int
    """Day of the year on which it begins."""


class Planted(NamedTuple):
    misuse: str
    clerk: Clerk
    day: int
    days: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=40)
    parser.add_argument("--each", type=int, default=20, help="planted cases of each misuse")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = measure(given.bodies, given.each, given.seed)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(found, indent=1))
    print(json.dumps(found, indent=1))


def measure(bodies: int, each: int, seed: int) -> dict[str, Any]:
    """The simulated year, judged: alarms on a clerk's or its body's planted days count as found, all others as false."""
    rng = random.Random(seed)
    clerks = [_clerk(rng, f"body-{b}", n) for b in range(bodies) for n in range(6)]
    planted = _plant(rng, clerks, each)
    watch, alarms, count, took = Watch(7, 20), list[Alarm](), 0, 0.0
    for day in range(365):
        seen = _day(rng, clerks, planted, day, count)
        count += len(seen)
        began = time.perf_counter()
        alarms += watch.see(seen)
        took += time.perf_counter() - began
    bad = {(p.clerk.body, p.day + d): p for p in planted for d in range(p.days)}
    hits: dict[int, Alarm] = {}
    false: Counter[str] = Counter()
    for alarm in alarms:
        day = (dt.datetime.fromtimestamp(alarm.at / 1000, dt.UTC).date() - FIRST).days
        case = bad.get((alarm.body, day))
        if case is not None and (not alarm.clerk or alarm.clerk == case.clerk.name):
            hits.setdefault(id(case), alarm)
        else:
            false[alarm.kind] += 1
    told = {
        name: {"planted": each, "found": sum(1 for p in planted if p.misuse == name and id(p) in hits)}
        for name in MISUSE
    }
    clerk_days = sum(365 - c.first for c in clerks)
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "command": f"python -m bench.alarms --bodies {bodies} --each {each} --seed {seed}",
        "inquiries": count,
        "bodies": bodies,
        "clerks": len(clerks),
        "alarms": len(alarms),
        "false_alarms": sum(false.values()),
        "false_by_kind": dict(false),
        "false_per_body_and_month": round(sum(false.values()) / bodies / 12, 2),
        "false_per_1000_clerk_days": round(1000 * sum(false.values()) / clerk_days, 2),
        "misuse": told,
        "us_per_inquiry": round(took / count * 1e6, 2),
    }


def _clerk(rng: random.Random, body: str, n: int) -> Clerk:
    affairs = tuple(f"affair-{rng.randrange(12)}" for _ in range(3))
    first = rng.randrange(300) if rng.random() < 0.15 else 0
    return Clerk(body, f"{body}/{n}".encode()[-8:].rjust(8, b"-"), rng.lognormvariate(2.3, 0.8), affairs, first)


def _plant(rng: random.Random, clerks: list[Clerk], each: int) -> list[Planted]:
    """Each on working days of a clerk who has been there for a while, no two at one body within a fortnight."""
    planted: list[Planted] = []
    taken: set[tuple[str, int]] = set()
    for misuse, (_, a_day, in_all) in MISUSE.items():
        while sum(p.misuse == misuse for p in planted) < each:
            clerk, day, days = rng.choice(clerks), rng.randrange(60, 345), -(-in_all // a_day)
            span = {(clerk.body, d) for d in range(day - 14, day + days + 14)}
            if clerk.first > day - 40 or not _works(day) or span & taken:
                continue
            taken |= span
            planted.append(Planted(misuse, clerk, day, days + days // 5 * 2))
    return planted


def _works(day: int) -> bool:
    return (FIRST + dt.timedelta(days=day)).weekday() < 5


def _season(day: int) -> float:
    """Busy in June (reviews) and February, March (taxes); busier towards the end of a month."""
    date = FIRST + dt.timedelta(days=day)
    return {6: 1.6, 2: 1.5, 3: 1.8}.get(date.month, 1.0) * (1.25 if date.day > 25 else 1.0)


def _day(rng: random.Random, clerks: list[Clerk], planted: list[Planted], day: int, position: int) -> list[Seen]:
    date = FIRST + dt.timedelta(days=day)
    made: list[tuple[float, Clerk, str, bool, bool]] = []
    for clerk in clerks:
        if day < clerk.first or not _works(day) or rng.random() < 0.1:  # away
            continue
        rate = clerk.rate * _season(day) * rng.lognormvariate(0, 0.35) * (2.2 if rng.random() < 0.03 else 1.0)
        evening = rng.random() < 0.04
        for _ in range(_poisson(rng, rate)):
            hour = rng.uniform(20, 22) if evening and rng.random() < 0.25 else rng.triangular(8.5, 18.0, 11.0)
            made.append((hour, clerk, rng.choice(clerk.affairs), rng.random() > 0.02, rng.random() < 0.1))
    for case in planted:
        if case.day <= day < case.day + case.days and _works(day):
            how, count, _ = MISUSE[case.misuse]
            for _ in range(count):
                hour = rng.uniform(20.2, 23.5) if how == "evening" else rng.uniform(9, 17)
                allowed, empty = not (how == "refused" and rng.random() < 0.9), how == "empty" and rng.random() < 0.8
                made.append((hour, case.clerk, rng.choice(case.clerk.affairs), allowed, empty))
    made.sort(key=lambda m: m[0])
    start = dt.datetime.combine(date, dt.time(), dt.UTC).timestamp() * 1000
    found = []
    for at, (hour, clerk, affair, allowed, empty) in enumerate(made, start=position):
        when = int(start + hour * 3_600_000)
        line = Seen("inquiry", at, when, date, int(hour), clerk.body, clerk.name, affair, allowed, 40)
        found.append(line)
        if empty and allowed:
            found.append(line._replace(what="nothing"))
    return found


def _poisson(rng: random.Random, rate: float) -> int:
    return max(0, round(rng.gauss(rate, rate**0.5))) if rate > 30 else _small(rng, rate)


def _small(rng: random.Random, rate: float) -> int:
    count, left = 0, rng.expovariate(1.0)
    while left < rate:
        count, left = count + 1, left + rng.expovariate(1.0)
    return count


if __name__ == "__main__":
    main()
