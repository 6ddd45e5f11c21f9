"""How long a provider looks for changes among its subscribers, beside the floor of looking their answers up; on a running nation.

``python -m bench.changes [--subscribers N]`` writes ``bench/results/changes.json``.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
import typer
from tests.world import Running, until

from renkei.codes import group
from renkei.gateway import subscription_store as store
from renkei.gateway.subscriptions import AT_ONCE, digest
from renkei.institution import subjects

PROVIDER, ITEM, TABLE = "tax-union", "local-tax", "T_LOCAL_TAX"
CHANGED = 100
"""One of so many has changed."""


def grow(nation: Running, count: int) -> None:
    """``count`` more persons with codes and data at the provider, and a subscriber for each."""
    institution = nation.world.institutions[PROVIDER]
    source = sa.create_engine(f"sqlite:///{nation.folder / PROVIDER / 'source.db'}")
    with source.begin() as connection:
        table = sa.Table(TABLE, sa.MetaData(), autoload_with=connection)
        like = dict(connection.execute(sa.select(table).limit(1)).one()._mapping)
        connection.execute(table.insert(), [{**like, "atena_no": f"b{n}"} for n in range(count)])
    source.dispose()
    until_ = (dt.datetime.now(dt.UTC).date() + dt.timedelta(days=300)).isoformat()
    version = institution.member.pack.specifications[ITEM].version
    for first in range(0, count, 5_000):
        ids = [f"b{n}" for n in range(first, min(first + 5_000, count))]
        people = [
            {"local_id": i, "code": group.hash_to_element("bench", i.encode()), "manual": False, "withheld": False}
            for i in ids
        ]
        now = institution.answering.current(ITEM, ids)
        said = [
            {
                "inquiry": (key := os.urandom(32)),
                "requester": "ohashi-city",
                "local_id": i,
                "affair": "child-allowance",
                "item": ITEM,
                "purpose": "assess-amount",
                "until": until_,
                "specification": version,
                "digest": digest(key, now[i]),
            }
            for i in ids
        ]

        def write(connection: sa.Connection, people: Any = people, said: Any = said) -> None:
            connection.execute(subjects.subjects.insert(), people)
            connection.execute(store.subscribers.insert(), said)

        nation.do(institution.database.write(write), 120)


def floor(nation: Running, count: int) -> float:
    """Seconds to look the same answers up, as many at once."""
    look_up = nation.world.institutions[PROVIDER].answering.current
    began = time.perf_counter()
    for first in range(0, count, AT_ONCE):
        look_up(ITEM, [f"b{n}" for n in range(first, min(first + AT_ONCE, count))])
    return time.perf_counter() - began


def main(subscribers: Annotated[int, typer.Option()] = 100_000) -> None:
    with tempfile.TemporaryDirectory() as folder:
        nation = Running(Path(folder) / "nation", residents=60)
        try:
            grow(nation, subscribers)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            least = floor(nation, subscribers)
            provider = nation.world.institutions[PROVIDER].subscribers

            def look() -> tuple[int, float]:
                began = time.perf_counter()
                return nation.do(provider.check(), 600), time.perf_counter() - began

            same, still = look()
            assert same == 0, same
            engine = sa.create_engine(f"sqlite:///{nation.folder / PROVIDER / 'source.db'}")
            with engine.begin() as connection:
                some = f"UPDATE {TABLE} SET INCOME_TOTAL = INCOME_TOTAL + 1 WHERE ATENA_NO LIKE 'b%' AND CAST(substr(ATENA_NO, 2) AS INTEGER) % {CHANGED} = 0"  # noqa: E501 - constants
                connection.execute(sa.text(some))
            told, moved = look()
            began = time.perf_counter()
            until(lambda: not nation.world.institutions[PROVIDER].database.read_now(store.under_way), 300)
            recorded = time.perf_counter() - began
        finally:
            nation.stop()
    found = {
        "subscribers": subscribers,
        "floor_seconds": round(least, 2),
        "nothing_changed_seconds": round(still, 2),
        "times_floor": round(still / least, 2),
        "subscribers_per_second": round(subscribers / still),
        "told": told,
        "told_seconds": round(moved, 2),
        "until_recorded_seconds": round(recorded, 2),
        "more_memory_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024,
    }
    Path("bench/results/changes.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    typer.run(main)
