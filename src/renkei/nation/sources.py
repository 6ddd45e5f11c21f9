"""The bodies' own databases for the demo: one SQLite file per body, filled from the data specifications, and its declared mapping.

Values are drawn by the terms' types and kept plausible for the person's age; the tables have the legacy look of a resident system (key
``atena_no``), so that the mapping has something to do.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import random
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from renkei.law import Pack
from renkei.law.vocabulary import Specification, Term
from renkei.nation.population import Resident

KEY = "atena_no"
Value = str | int | bool
ELIGIBLE: dict[str, Callable[[int], bool]] = {
    "child-allowance": lambda age: 20 <= age < 55,
    "child-rearing-allowance": lambda age: 20 <= age < 55,
    "special-child-allowance": lambda age: 20 <= age < 60,
    "long-term-care": lambda age: age >= 65,
    "pension-benefits": lambda age: age >= 20,
    "employment-insurance": lambda age: 18 <= age < 70,
    "job-training-allowance": lambda age: 18 <= age < 65,
    "workers-accident": lambda age: 18 <= age < 75,
    "maternity": lambda age: 18 <= age < 45,
}
RARE = {
    "public-assistance": 2,
    "workers-accident": 3,
    "maternity": 8,
    "disability": 60,
    "returnee-support": 1,
}
"""Items only some have, percent; others are held about everyone eligible."""


def build(
    folder: Path,
    pack: Pack,
    items: Sequence[str],
    people: Sequence[tuple[str, Resident]],
    *,
    seed: int,
    today: dt.date,
) -> Path:
    """Write ``source.db`` and ``mapping.toml`` into ``folder``; answers the mapping's path. ``people``: (local id, resident)."""
    rng = random.Random(seed)
    mapping: dict[str, dict[str, Any]] = {}
    engine = sa.create_engine(f"sqlite:///{folder / 'source.db'}")
    metadata = sa.MetaData()
    tables = []
    for item in items:
        specification = pack.specifications[item]
        columns = [sa.Column(f.name.upper(), _type(pack.terms[f.term])) for f in specification.fields]
        table = sa.Table(
            f"T_{item.replace('-', '_').upper()}",
            metadata,
            sa.Column(KEY, sa.String(64), index=True),
            *columns,
        )
        tables.append((item, specification, table))
        mapping[item] = {
            "table": str(table.name),
            "key": KEY,
            "fields": {f.name: f.name.upper() for f in specification.fields},
        }
    metadata.create_all(engine)
    with engine.begin() as connection:
        for item, specification, table in tables:
            rows = list(_rows(rng, pack, item, specification, people, today))
            if rows:
                connection.execute(table.insert(), rows)
    engine.dispose()
    path = folder / "mapping.toml"
    path.write_bytes(msgspec.toml.encode(mapping))
    return path


def _rows(
    rng: random.Random,
    pack: Pack,
    item: str,
    specification: Specification,
    people: Iterable[tuple[str, Resident]],
    today: dt.date,
) -> Iterable[dict[str, Value | None]]:
    for local_id, person in people:
        age = person.age(today)
        if not _eligible(item, age) or rng.randrange(100) >= RARE.get(item, 100):
            continue
        count = 1 if specification.records == "one" else rng.choice((1, 1, 1, 2))
        for number in range(count):
            row: dict[str, Value | None] = {KEY: local_id}
            for field in specification.fields:
                skip = not field.required and rng.random() < 0.25
                row[field.name.upper()] = (
                    None if skip else _value(rng, pack, pack.terms[field.term], person, today, number)
                )
            yield row


def _eligible(item: str, age: int) -> bool:
    test = ELIGIBLE.get(item)
    return test is None or test(age)


def _value(rng: random.Random, pack: Pack, term: Term, person: Resident, today: dt.date, number: int) -> Value:
    known: dict[str, Value] = {
        "full-name": person.name,
        "name-kana": person.kana,
        "full-name-kana": person.kana,
        "date-of-birth": person.birth.isoformat(),
        "sex": "male" if person.sex == "M" else "female",
        "address": person.address,
        "household-number": f"H{person.household:08d}",
        "municipality-code": pack.bodies[person.municipality].number,
        "tax-year": today.year - number,
        "relationship-to-head": person.relation,
    }
    if term.code in known:
        value = known[term.code]
        if term.type != "code" or value in pack.codelists[term.codes]:
            return value
    past = today - dt.timedelta(days=rng.randrange(30, 2500))
    match term.type:
        case "image":
            return _impression(rng)
        case "code":
            return rng.choice(list(pack.codelists[term.codes]))
        case "boolean":
            return rng.random() < 0.3
        case "date":
            return past.isoformat()
        case "year-month":
            return past.isoformat()[:7]
        case "integer":
            return _integer(rng, term, today)
    return term.example


def _impression(rng: random.Random) -> str:
    """An invented seal, as a PNG in base64: a ring around strokes that no two have alike."""
    from PIL import Image, ImageDraw

    image = Image.new("1", (160, 160), 1)
    draw = ImageDraw.Draw(image)
    draw.ellipse((6, 6, 153, 153), outline=0, width=6)
    for row in range(4):
        y = 38 + row * 28
        start, end = sorted(rng.sample(range(38, 122, 6), 2))
        draw.line((start, y, end + 6, y), fill=0, width=7)
        x = rng.randrange(48, 112)
        draw.line((x, y, x + rng.randrange(-14, 15), y + 22), fill=0, width=6)
    out = io.BytesIO()
    image.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _integer(rng: random.Random, term: Term, today: dt.date) -> int:
    if "year" in term.code and not term.unit:
        return today.year - rng.randrange(3)
    match term.unit:
        case "JPY":
            return int(round(rng.lognormvariate(11.5, 1.2), -2))
        case "percent":
            return rng.choice((10, 20, 30))
        case "month" | "day":
            return rng.randrange(1, 25)
        case "person":
            return rng.randrange(0, 4)
    return rng.randrange(1, 40)


def _type(term: Term) -> sa.types.TypeEngine[Any]:
    types: dict[str, sa.types.TypeEngine[Any]] = {"integer": sa.BigInteger(), "boolean": sa.Boolean()}
    return types.get(term.type, sa.Text())
