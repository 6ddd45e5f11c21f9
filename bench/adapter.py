"""Rows a second through the adapter into a local copy, beside the floor of reading the file and writing SQLite; memory as the file grows.

``python -m bench.adapter [--rows N]`` writes ``bench/results/adapter.json``.
"""

from __future__ import annotations

import csv
import json
import resource
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from renkei.gateway.adapter import Adapter, ItemMapping, Mapping
from renkei.gateway.adapter.mapping import File, Written
from renkei.law import Pack

ITEM = "resident-record"
HEAD = ["宛名番号", "氏名", "生年月日", "性別", "住所", "方書", "世帯番号", "続柄", "住定日"]
FIELDS: dict[str, str | Written] = {
    "name": Written(column="氏名", width="full"),
    "date_of_birth": Written(column="生年月日", date="numbered"),
    "sex": Written(column="性別", codes={"1": "male", "2": "female"}),
    "address": Written(columns=("住所", "方書"), join="\u3000"),
    "household_number": "世帯番号",
    "relationship_to_head": Written(column="続柄", codes={"00": "head"}),
    "resident_since": "住定日",
    "residency_status": Written(value="resident"),
}


def write(path: Path, rows: int) -> None:
    """A register as a legacy system writes it: cp932, eras as digits, half-width kana."""
    with path.open("w", encoding="cp932", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEAD)
        for n in range(rows):
            birth = f"3{2 + n % 62:02d}0715"
            out.writerow(
                [f"{n:010d}", "連携　ﾊﾅｺ", birth, "12"[n % 2], f"縁県大橋市本町{n % 99}", "", n // 3, "00", "H31.4.1"]
            )


def floor(path: Path, folder: Path) -> float:
    """Seconds to decode and parse the file and put its lines into SQLite, with nothing done to them."""
    began = time.perf_counter()
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN; CREATE TABLE t(a, b)")
    with path.open(encoding="cp932", newline="") as file:
        connection.executemany("INSERT INTO t VALUES (?, ?)", ((row[0], ",".join(row)) for row in csv.reader(file)))
    connection.execute("CREATE INDEX i ON t(a)")
    connection.execute("COMMIT")
    connection.close()
    return time.perf_counter() - began


def measure(rows: int, pack: Pack) -> dict[str, Any]:
    """First load, the same file again, look-ups."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write(folder / "register.csv", rows)
        least = floor(folder / "register.csv", folder)
        adapter = Adapter(
            "", Mapping({ITEM: ItemMapping(HEAD[0], FIELDS, file=File("*"))}), lambda: pack, folder / "copies"
        )
        spans = []
        for _ in range(2):
            began = time.perf_counter()
            adapter.load(ITEM, folder / "register.csv")
            spans.append(time.perf_counter() - began)
        began = time.perf_counter()
        for n in range(0, rows, max(1, rows // 2000)):
            adapter.look_up(ITEM, "", [f"{n:010d}"])
        looked = (time.perf_counter() - began) / len(range(0, rows, max(1, rows // 2000)))
        adapter.close()
        return {
            "rows": rows,
            "first_rows_per_second": round(rows / spans[0]),
            "again_rows_per_second": round(rows / spans[1]),
            "floor_rows_per_second": round(rows / least),
            "times_the_floor": round(spans[0] / least, 2),
            "look_up_us": round(looked * 1e6),
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def main(rows: Annotated[int, typer.Option(help="Rows of the largest file.")] = 1_000_000) -> None:
    """Two sizes, so that growth shows."""
    pack = Pack.load(Path("packs/japan"))
    found = [measure(n, pack) for n in (rows // 10, rows)]
    out = Path(__file__).parent / "results" / "adapter.json"
    out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
