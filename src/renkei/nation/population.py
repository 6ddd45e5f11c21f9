"""Invented residents whose ages, sexes and households follow the pack's published distribution. Seeded: the same every time."""

from __future__ import annotations

import csv
import datetime as dt
import random
import tomllib
from bisect import bisect_left
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import msgspec

from renkei.law import Pack
from renkei.numbers import number_format


class Share(msgspec.Struct, frozen=True):
    """A municipality and its share of the residents in percent."""

    body: str
    share: int


class Holding(msgspec.Struct, frozen=True):
    """Which items a body (or every municipality) holds, about whom."""

    body: str
    who: str
    share: int
    items: tuple[str, ...]


class Persona(msgspec.Struct, frozen=True):
    """A resident the demo points at."""

    id: str
    name: str
    kana: str
    birth: str
    sex: str
    municipality: str
    ja: str
    en: str


class Visit(msgspec.Struct, frozen=True):
    """An inquiry about a persona on the first day."""

    persona: str
    requester: str
    affair: str
    provider: str
    item: str
    purpose: str


class LetterOf(msgspec.Struct, frozen=True):
    """A notice to a persona on the first day."""

    persona: str
    body: str
    notice: str
    values: dict[str, str] = {}
    in_days: int = 0
    """Days ahead of the first day (negative: ago) at which its ``day`` is; 0 if it says none."""


class CorporationOf(msgspec.Struct, frozen=True):
    """An invented corporation, and which persona acts for it, as which body says."""

    number: str
    name: str
    persona: str
    body: str


class OfficerOf(msgspec.Struct, frozen=True):
    """An officer of the invented nation's commission."""

    name: str
    role: str
    ja: str
    en: str


class Demography(msgspec.Struct, frozen=True):
    """``population/nation.toml``."""

    municipality: tuple[Share, ...]
    holding: tuple[Holding, ...]
    persona: tuple[Persona, ...]
    visit: tuple[Visit, ...]
    officer: tuple[OfficerOf, ...]
    letter: tuple[LetterOf, ...] = ()
    corporation: tuple[CorporationOf, ...] = ()

    @classmethod
    def read(cls, pack_folder: Path) -> Demography:
        path = pack_folder / "population" / "nation.toml"
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), cls)


class Resident(NamedTuple):
    """One invented person."""

    number: str
    name: str
    kana: str
    birth: dt.date
    sex: str
    address: str
    municipality: str
    household: int
    relation: str

    def age(self, on: dt.date) -> int:
        return on.year - self.birth.year - ((on.month, on.day) < (self.birth.month, self.birth.day))


class _Names:
    def __init__(self, folder: Path) -> None:
        surnames = _read(folder / "surnames.csv")
        self._surnames = [(r["kanji"], r["kana"]) for r in surnames]
        self._weights = [int(r["weight"]) for r in surnames]
        self._given: dict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
        for row in _read(folder / "given-names.csv"):
            for year in range(int(row["from"]), int(row["to"]) + 1):
                self._given["M" if row["sex"] == "male" else "F", year].append((row["kanji"], row["kana"]))

    def surname(self, rng: random.Random) -> tuple[str, str]:
        return rng.choices(self._surnames, self._weights)[0]

    def given(self, rng: random.Random, sex: str, year: int) -> tuple[str, str]:
        return rng.choice(self._given[sex, min(max(year, 1915), 2026)])


class _Pool:
    """People by sex, sorted by age, from whom households are formed."""

    def __init__(self, ages: list[tuple[int, str]]) -> None:
        self._by_sex: dict[str, list[int]] = {"M": [], "F": []}
        for age, sex in sorted(ages):
            self._by_sex[sex].append(age)

    def __len__(self) -> int:
        return sum(len(v) for v in self._by_sex.values())

    def near(self, sex: str, age: int, low: int, high: int) -> tuple[int, str] | None:
        """Take the person of ``sex`` nearest to ``age`` between ``low`` and ``high``."""
        for chosen in (sex, "F" if sex == "M" else "M"):
            people = self._by_sex[chosen]
            at = bisect_left(people, age)
            best = min(
                (i for i in (at - 1, at) if 0 <= i < len(people)),
                key=lambda i: abs(people[i] - age),
                default=None,
            )
            if best is not None and low <= people[best] <= high:
                return people.pop(best), chosen
        return None

    def any(self, rng: random.Random, low: int) -> tuple[int, str] | None:
        """Take anyone of at least ``low``."""
        spans = [(s, bisect_left(p, low), len(p)) for s, p in self._by_sex.items()]
        total = sum(end - begin for _, begin, end in spans)
        if not total:
            return None
        pick = rng.randrange(total)
        for sex, begin, end in spans:
            if pick < end - begin:
                return self._by_sex[sex].pop(begin + pick), sex
            pick -= end - begin
        return None


def residents(pack: Pack, folder: Path, demography: Demography, size: int, seed: int, today: dt.date) -> list[Resident]:
    """``size`` residents in households, personas first."""
    rng = random.Random(seed)
    number, taken = number_format(pack.header.person_number), set[str]()

    names = _Names(folder / "population")
    streets: dict[str, list[str]] = defaultdict(list)
    for row in _read(folder / "population" / "streets.csv"):
        streets[row["municipality"]].append(row["district_ja"])
    people: list[Resident] = []

    def address(body: str) -> str:
        place = pack.bodies[body].title.ja
        return (
            f"縁県{place}{rng.choice(streets[body])}{rng.randint(1, 9)}丁目{rng.randint(1, 20)}番{rng.randint(1, 30)}号"
        )

    def draw() -> str:
        fresh = number.issue(taken, below=rng.randrange)
        taken.add(fresh)
        return fresh

    for count, p in enumerate(demography.persona):
        born = dt.date.fromisoformat(p.birth)
        people.append(
            Resident(draw(), p.name, p.kana, born, p.sex, address(p.municipality), p.municipality, count, "head")
        )
    pool = _Pool(_ages(folder, size - len(people), rng))
    household = len(people)
    bodies, weights = [m.body for m in demography.municipality], [m.share for m in demography.municipality]
    kinds = [(r["kind"], int(r["share_per_mille"])) for r in _read(folder / "population" / "households.csv")]
    children = [(int(r["children"]), int(r["share_per_mille"])) for r in _read(folder / "population" / "children.csv")]
    while len(pool):
        members = _household(rng, pool, kinds, children)
        body, surname = rng.choices(bodies, weights)[0], names.surname(rng)
        home = address(body)
        for age, sex, relation in members:
            born = _birth(rng, today, age)
            given = names.given(rng, sex, born.year)
            people.append(
                Resident(
                    draw(),
                    f"{surname[0]} {given[0]}",
                    f"{surname[1]} {given[1]}",
                    born,
                    sex,
                    home,
                    body,
                    household,
                    relation,
                )
            )
        household += 1
    return people


def write_roll(path: Path, people: list[Resident], pack: Pack) -> None:
    """The residents as a roll the authority loads. Their numbers are given: the bodies' databases hold them already."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(["name", "kana", "birth", "sex", "address", "municipality", "number"])
        for p in people:
            place = pack.bodies[p.municipality].number
            out.writerow([p.name, p.kana, p.birth.isoformat(), p.sex, p.address, place, p.number])


def _household(
    rng: random.Random, pool: _Pool, kinds: list[tuple[str, int]], children: list[tuple[int, int]]
) -> list[tuple[int, str, str]]:
    """Ages, sexes and relations of one household taken from the pool; falls back to whoever is left."""
    kind = rng.choices([k for k, _ in kinds], [w for _, w in kinds])[0]
    head = pool.any(rng, 18) or pool.any(rng, 0)
    assert head is not None
    members = [(*head, "head")]
    if kind in ("couple", "couple-children", "three-generation"):
        other = "F" if head[1] == "M" else "M"
        spouse = pool.near(other, head[0] + rng.randint(-5, 3), max(18, head[0] - 15), head[0] + 15)
        if spouse:
            members.append((*spouse, "spouse"))
    if kind in ("couple-children", "single-parent-children", "three-generation"):
        for _ in range(rng.choices([c for c, _ in children], [w for _, w in children])[0]):
            age = max(0, head[0] - rng.randint(24, 38))
            child = pool.near(rng.choice("MF"), age, 0, max(head[0] - 18, 0))
            if child:
                members.append((*child, "child"))
    if kind == "three-generation":
        parent = pool.near(rng.choice("FFM"), head[0] + rng.randint(22, 32), head[0] + 18, 110)
        if parent:
            members.append((*parent, "parent"))
    if kind == "other":
        more = pool.any(rng, 18)
        if more:
            members.append((*more, "other"))
    return members


def _ages(folder: Path, size: int, rng: random.Random) -> list[tuple[int, str]]:
    groups = []
    for row in _read(folder / "population" / "ages.csv"):
        for sex, column in (("M", "male"), ("F", "female")):
            groups.append((int(row["from"]), int(row["to"]), sex, int(row[column])))
    total = sum(g[3] for g in groups)
    quotas = [(size * g[3] / total, g) for g in groups]
    counts = [int(q) for q, _ in quotas]
    by_rest = sorted(range(len(quotas)), key=lambda i: quotas[i][0] - counts[i], reverse=True)
    for i in by_rest[: size - sum(counts)]:
        counts[i] += 1
    return [
        (rng.randint(low, high), sex)
        for count, (_, (low, high, sex, _)) in zip(counts, quotas, strict=True)
        for _ in range(count)
    ]


def _birth(rng: random.Random, today: dt.date, age: int) -> dt.date:
    last = dt.date(today.year - age, today.month, min(today.day, 28))
    return last - dt.timedelta(days=rng.randint(0, 363))


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
