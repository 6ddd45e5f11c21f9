"""What the demonstration opens to everybody: its population by age, and invented shelters."""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from renkei.catalogue.opened import About
from renkei.catalogue.privacy import Column
from renkei.catalogue.publication import Publication
from renkei.law import Pack

LICENCE = "https://creativecommons.org/publicdomain/zero/1.0/"
AGES = ((0, 14), (15, 24), (25, 34), (35, 44), (45, 54), (55, 64), (65, 74), (75, 84), (85, 150))
SHELTERS = 60


def publish(publication: Publication, pack: Pack, roll: Path, today: dt.date, folder: Path) -> None:
    """Publish both datasets. ``roll``: the invented residents; ``folder`` for the files on the way."""
    people = folder / "population.csv"
    _write(people, ("municipality", "age", "sex", "persons"), _population(pack, roll, today))
    publication.publish(_about_population(pack, today), people, suppress=True)
    shelters = folder / "shelters.csv"
    _write(shelters, ("name", "municipality", "longitude", "latitude", "places"), _shelters(pack))
    publication.publish(_about_shelters(pack), shelters)
    people.unlink()
    shelters.unlink()


def _write(path: Path, head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def _population(pack: Pack, roll: Path, today: dt.date) -> list[tuple[object, ...]]:
    """Persons by municipality, age and sex: every combination, also those of nobody."""
    counted: Counter[tuple[str, str, str]] = Counter()
    towns = {b.number: b.title.ja for b in pack.bodies.values() if b.number}
    with roll.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            born = dt.date.fromisoformat(row["birth"])
            age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
            town = towns.get(row["municipality"], "")
            counted[town, _class(age), "男" if row["sex"] == "M" else "女"] += 1
    places = sorted({town for town, _, _ in counted if town})
    return [(t, c, s, counted[t, c, s]) for t in places for c in map(_named, AGES) for s in ("男", "女")]


def _class(age: int) -> str:
    return _named(next(c for c in AGES if c[0] <= age <= c[1]))


def _named(ages: tuple[int, int]) -> str:
    return f"{ages[0]:02d}–{ages[1]}" if ages[1] < 150 else f"{ages[0]}–"


def _shelters(pack: Pack) -> Iterable[tuple[object, ...]]:
    chance = random.Random(pack.header.id)
    towns = [b.title.ja for b in pack.bodies.values() if b.number]
    found = []
    for n in range(1, SHELTERS + 1):
        east, north = round(138.2 + chance.gauss(0, 0.04), 5), round(36.6 + chance.gauss(0, 0.03), 5)
        found.append((f"第{n}避難所", chance.choice(towns), east, north, chance.randrange(40, 600, 20)))
    return found


def _about_population(pack: Pack, today: dt.date) -> About:
    publisher = next(b.code for b in pack.bodies.values() if "municipality" in b.kinds)
    return About(
        id="population-by-age",
        ja="市町村・年齢・性別の人口",
        en="Population by municipality, age and sex",
        description_ja="架空の住民の人数を、市町村と年齢の階級と性別で数えたもの。少ない人数は秘匿している。",
        description_en="Invented residents counted by municipality, age and sex. Small counts are left out.",
        publisher=publisher,
        kind="aggregate",
        licence=LICENCE,
        columns=(
            Column("municipality", "市町村", "Municipality", role="group"),
            Column("age", "年齢", "Age", role="group"),
            Column("sex", "性別", "Sex", role="group", term="sex"),
            Column("persons", "人数", "Persons", type="integer", role="count"),
        ),
        theme="SOCI",
        period=today.isoformat(),
        every="ANNUAL",
        keywords=("人口", "population"),
    )


def _about_shelters(pack: Pack) -> About:
    publisher = next(b.code for b in pack.bodies.values() if "municipality" in b.kinds)
    return About(
        id="shelters",
        ja="指定避難所",
        en="Designated shelters",
        description_ja="架空の避難所の場所と、受け入れられる人数。",
        description_en="Where invented shelters are, and how many persons they take in.",
        publisher=publisher,
        kind="reference",
        licence=LICENCE,
        columns=(
            Column("name", "名称", "Name"),
            Column("municipality", "市町村", "Municipality"),
            Column("longitude", "経度", "Longitude", type="number", role="longitude"),
            Column("latitude", "緯度", "Latitude", type="number", role="latitude"),
            Column("places", "定員", "Places", type="integer"),
        ),
        theme="GOVE",
        keywords=("避難所", "shelter", "防災"),
    )
