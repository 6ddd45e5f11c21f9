"""``make growth``: how the cost of one thing grows with the number of things. ``python -m bench.growth [--long] [--only NAME]``.

1. ``leaves``: the log and the keepers' index. 2. ``institutions``: governance, rulings and the bus. 3. ``rows``: batch files.
4. ``workers``: the hub's worker processes.

Each measure says beside its figures how it is meant to grow, and how it grew. Writes ``bench/results/growth.json``: with ``--only`` that
section alone is measured anew and the others stay as they are.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import grow_institutions, grow_leaves, grow_rows, grow_workers
from bench.grow import Measure, figure, grew
from bench.run import machine

RESULT = Path("bench/results/growth.json")
out = Console(width=None if sys.stdout.isatty() else 160)


class Section(NamedTuple):
    """One thing there may be more and more of."""

    title: str
    of: str
    """What is counted."""
    measures: Sequence[Measure]
    sizes: Callable[[bool], list[int]]
    """The sizes of the short and of the long form."""
    run: Callable[[list[int], bool, Progress], list[dict[str, Any]]]


SECTIONS = {
    "leaves": Section(
        "The record",
        "leaves",
        grow_leaves.MEASURES,
        lambda long: [10**4, 10**5, 10**6] + [10**7] * long,
        grow_leaves.run,
    ),
    "institutions": Section(
        "The network",
        "institutions",
        grow_institutions.MEASURES,
        lambda long: [10, 100, 500] + [2000] * long,
        grow_institutions.run,
    ),
    "rows": Section(
        "A batch file", "rows", grow_rows.MEASURES, lambda long: [10**4, 10**5] + [10**6] * long, grow_rows.run
    ),
    "workers": Section("The hub's workers", "workers", grow_workers.MEASURES, lambda _: [1, 2, 4], grow_workers.run),
}


def measure(name: str, long: bool) -> dict[str, Any]:
    """One section's rows, one per size, with when and how they were measured."""
    section, began = SECTIONS[name], time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        rows = section.run(section.sizes(long), long, progress)
    return {
        "title": section.title,
        "of": section.of,
        "form": "long" if long else "short",
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began),
        "measures": [m._asdict() for m in section.measures],
        "rows": rows,
    }


def show(section: dict[str, Any]) -> None:
    """Print one section: a line per measure, a column per size."""
    rows = section["rows"]
    table = Table(title=f"{section['title']}, by {section['of']}", title_justify="left", box=None)
    table.add_column("measure")
    for row in rows:
        table.add_column(f"{row['n']:,}", justify="right")
    table.add_column("grew", justify="right")
    table.add_column("meant to be")
    for m in section["measures"]:
        table.add_row(m["title"], *(figure(r.get(m["key"])) for r in rows), grew(rows, m["key"]), m["claim"])
    out.print(table, "")


def keep(name: str, section: dict[str, Any]) -> None:
    """Put a section into the report, beside those that are there."""
    report = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {"sections": {}}
    report |= {"machine": machine(), "date": section["date"]}
    sections = report["sections"] | {name: section}
    report["sections"] = {n: sections[n] for n in SECTIONS if n in sections}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--long", action="store_true", help="ten million leaves, a million rows")
    parser.add_argument("--only", choices=SECTIONS, help="one section; the others keep their last figures")
    options = parser.parse_args()
    for name in [options.only] if options.only else SECTIONS:
        found = measure(name, options.long)
        keep(name, found)
        show(found)
    out.print(f"written: {RESULT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
