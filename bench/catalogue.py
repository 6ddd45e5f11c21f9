"""Searching the catalogue: datasets among 100,000, corporations among 5,000,000, beside the floor of one read by key.

``python -m bench.catalogue [--datasets N] [--corporations N]`` writes ``bench/results/catalogue.json``. Everything is invented.
"""

from __future__ import annotations

import csv
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from renkei.catalogue.corporations import COLUMNS, Corporations, Names
from renkei.catalogue.search import Index
from renkei.numbers import CorporateNumber

OUT = Path(__file__).parent / "results" / "catalogue.json"
WORDS = [
    "人口", "世帯", "避難所", "予算", "決算", "道路", "公園", "学校", "保育", "介護", "医療", "税",
    "統計", "気温", "雨量", "河川", "橋", "図書館", "施設", "事業所", "農業", "林業", "漁業", "観光",
    "交通", "事故", "水道", "ごみ",
]  # fmt: skip
PLACES = [
    f"{a}{b}" for a in "東西南北中上下大小新" for b in ("山市", "川市", "田町", "野村", "浜市", "島町", "橋市", "原町")
]
FAMILY = [
    "佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村", "小林", "加藤", "吉田", "山田",
    "斎藤", "松本", "井上", "木村", "清水", "林", "森", "池田", "橋本", "石川", "前田", "藤田",
    "岡田",
]  # fmt: skip
TRADES = [
    "建設", "工業", "商事", "電機", "運輸", "不動産", "食品", "製作所", "印刷", "設備", "企画", "技研",
    "物産", "工務店", "商店", "サービス", "興業", "産業", "開発", "システム",
]  # fmt: skip
FORMS = ("株式会社{}", "有限会社{}", "{}株式会社", "合同会社{}", "医療法人{}会")
QUERIES = 300


def described(chance: random.Random, count: int) -> Iterator[tuple[str, str]]:
    """Texts of datasets."""
    for n in range(count):
        said = " ".join(chance.sample(WORDS, 6))
        yield (
            f"set-{n}",
            f"{chance.choice(PLACES)}の{chance.choice(WORDS)}一覧 dataset {n} {said} {chance.choice(PLACES)}",
        )


def registered(chance: random.Random, count: int) -> Iterator[list[str]]:
    """Lines of a register."""
    for n in range(count):
        core = (
            chance.choice(FAMILY) + (chance.choice(PLACES)[:2] if chance.random() < 0.6 else "") + chance.choice(TRADES)
        )
        values = dict.fromkeys(COLUMNS, "")
        values |= {
            "sequenceNumber": str(n + 1), "corporateNumber": CorporateNumber.complete(f"{n:012d}"), "process": "01", "correct": "0",
            "updateDate": "2026-10-30", "changeDate": "2020-01-01", "name": chance.choice(FORMS).format(core), "kind": "301",
            "prefectureName": "縁県", "cityName": chance.choice(PLACES), "streetNumber": f"本町{n % 999}",
            "prefectureCode": f"{1 + n % 47:02d}", "cityCode": f"{100 + n % 200}",
            "assignmentDate": "2015-10-05", "latest": "1", "hihyoji": "0",
        }  # fmt: skip
        yield [values[c] for c in COLUMNS]


def timed(ask: Callable[[str], object], questions: list[str]) -> dict[str, float]:
    """Milliseconds of each question: median, 95th of a hundred, most."""
    spans = []
    for question in questions:
        began = time.perf_counter()
        ask(question)
        spans.append((time.perf_counter() - began) * 1000)
    spans.sort()
    return {
        "median_ms": round(statistics.median(spans), 2),
        "p95_ms": round(spans[int(len(spans) * 0.95)], 2),
        "most_ms": round(spans[-1], 2),
        "a_second": round(1000 * len(spans) / sum(spans)),
    }


def datasets(count: int, folder: Path) -> dict[str, Any]:
    """Filling the index, and three kinds of questions."""
    chance, index = random.Random(1), Index(folder / "search.db")
    began = time.perf_counter()
    index.put(described(chance, count))
    filled = time.perf_counter() - began
    kinds = {
        "one word": [chance.choice(WORDS) for _ in range(QUERIES)],
        "two words": [f"{chance.choice(WORDS)} {chance.choice(PLACES)}" for _ in range(QUERIES)],
        "a name": [f"dataset {chance.randrange(count)}" for _ in range(QUERIES)],
    }
    found = {kind: timed(lambda q: index.find(q, limit=20), questions) for kind, questions in kinds.items()}
    by_key = "SELECT key FROM keys WHERE key = ?"
    floor = timed(lambda q: index._connection.execute(by_key, [q]).fetchall(), [f"set-{n}" for n in range(QUERIES)])
    index.close()
    return {"count": count, "filled_a_second": round(count / filled), "questions": found, "floor": floor}


def corporations(count: int, folder: Path) -> dict[str, Any]:
    """Loading a register, and questions as people ask them."""
    chance = random.Random(2)
    with (folder / "register.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(registered(chance, count))
    register = Corporations(folder / "r.db", Names.read(Path("packs/japan")))
    began = time.perf_counter()
    register.load(folder / "register.csv")
    loaded = time.perf_counter() - began
    (folder / "register.csv").unlink()

    def core() -> str:
        return chance.choice(FAMILY) + chance.choice(PLACES)[:2] + chance.choice(TRADES)

    kinds = {
        "the whole name": [f"株式会社{core()}" for _ in range(QUERIES)],
        "its middle": [core()[1:-1] for _ in range(QUERIES)],
        "a common word": [chance.choice(TRADES) for _ in range(QUERIES)],
        "two characters": [chance.choice(FAMILY)[:2] for _ in range(QUERIES)],
        "no such name": ["鏡餅蒟蒻" + chance.choice(TRADES) for _ in range(QUERIES)],
    }
    found = {kind: timed(lambda q: register.by_name(q, limit=30), questions) for kind, questions in kinds.items()}
    everything = [q for questions in kinds.values() for q in questions]
    chance.shuffle(everything)
    numbers = [CorporateNumber.complete(f"{chance.randrange(count):012d}") for _ in range(QUERIES)]
    return {
        "count": count,
        "loaded_a_second": round(count / loaded),
        "megabytes": (folder / "r.db").stat().st_size >> 20,
        "questions": found,
        "all mixed": timed(lambda q: register.by_name(q, limit=30), everything),
        "floor: by number": timed(lambda n: register.by_number([n]), numbers),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main(
    dataset: Annotated[int, typer.Option("--datasets", help="How many.")] = 100_000,
    corporation: Annotated[int, typer.Option("--corporations", help="How many.")] = 5_000_000,
) -> None:
    """Both, one after the other."""
    with tempfile.TemporaryDirectory() as temporary:
        found = {
            "datasets": datasets(dataset, Path(temporary)),
            "corporations": corporations(corporation, Path(temporary)),
        }
    OUT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    print(OUT.read_text("utf-8"))


if __name__ == "__main__":
    typer.run(main)
