"""How long a body looks by the pack's rules whom to tell something, beside the floor of looking the data up; on a running nation.

``python -m bench.notices [--residents N]`` writes ``bench/results/notices.json``.
"""

from __future__ import annotations

import datetime as dt
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from tests.world import Running, until

from renkei.codes import group
from renkei.gateway.notices import AT_ONCE
from renkei.institution import letters, subjects

CITY = "ohashi-city"
TABLES = {"resident-record": "T_RESIDENT_RECORD", "long-term-care": "T_LONG_TERM_CARE"}
BORN = dt.date(1926, 1, 1)


def grow(nation: Running, count: int) -> None:
    """``count`` more residents of the city with codes and data, of every age; to none a child allowance was paid."""
    institution = nation.world.institutions[CITY]
    source = sa.create_engine(f"sqlite:///{nation.folder / CITY / 'source.db'}")
    with source.begin() as connection:
        for item, name in TABLES.items():
            table = sa.Table(name, sa.MetaData(), autoload_with=connection)
            like = dict(connection.execute(sa.select(table).limit(1)).one()._mapping)
            rows = [{**like, "atena_no": f"b{n}"} for n in range(count)]
            if item == "resident-record":
                born = next(k for k, v in like.items() if "birth" in k.lower())
                shape = str(like[born])
                for n, row in enumerate(rows):
                    day = BORN + dt.timedelta(days=n % 36_500)
                    row[next(k for k in like if "status" in k.lower())] = "resident"
                    row[born] = day.strftime("%Y%m%d") if shape.isdigit() else day.isoformat()
            connection.execute(table.insert(), rows)
    source.dispose()
    for first in range(0, count, 5_000):
        people = [
            {"local_id": i, "code": group.hash_to_element("bench", i.encode()), "manual": False, "withheld": False}
            for i in (f"b{n}" for n in range(first, min(first + 5_000, count)))
        ]
        nation.do(institution.database.write(lambda c, p=people: c.execute(subjects.subjects.insert(), p)), 120)  # type: ignore[misc]


def floor(nation: Running, count: int) -> float:
    """Seconds to look the same data up, as many at once: of each item that a rule asks for."""
    institution = nation.world.institutions[CITY]
    rules = institution.notices.rules()
    items = {r.item for r in rules} | {r.lacks for r in rules if r.lacks}
    began = time.perf_counter()
    for first in range(0, count, AT_ONCE):
        ids = [f"b{n}" for n in range(first, min(first + AT_ONCE, count))]
        for item in items:
            institution.answering.current(item, ids)
    return time.perf_counter() - began


def main(residents: Annotated[int, typer.Option()] = 100_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        nation = Running(Path(folder) / "nation", residents=60)
        try:
            grow(nation, residents)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            least = floor(nation, residents)
            city = nation.world.institutions[CITY]

            def look() -> tuple[Any, float]:
                began = time.perf_counter()
                return nation.do(city.notices.check(), 1200), time.perf_counter() - began

            first, told_in = look()
            began = time.perf_counter()
            sent = sum(first.told.values())
            ours = letters.letters.c.mine.is_(True), letters.letters.c.state == letters.SENT
            waiting = sa.select(sa.func.count()).select_from(letters.letters).where(*ours)
            until(lambda: not city.database.read_now(lambda c: c.execute(waiting).scalar()), 900)
            recorded = time.perf_counter() - began
            again, still = look()
            assert sum(again.told.values()) == 0, again
        finally:
            nation.stop()
    found = {
        "residents": residents,
        "rules": len(first.told),
        "floor_seconds": round(least, 2),
        "nobody_new_seconds": round(still, 2),
        "times_floor": round(still / least, 2),
        "residents_per_second": round(residents / still),
        "told": sent,
        "told_seconds": round(told_in, 2),
        "until_recorded_seconds": round(recorded, 2),
        "more_memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
    }
    Path("bench/results/notices.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
