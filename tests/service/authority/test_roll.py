"""A resident roll is loaded whole, or not at all with every bad row named; numbers are assigned and never repeated."""

import csv
import datetime as dt

import pytest
import sqlalchemy as sa

from renkei.authority import roll, store
from renkei.authority.roll import COLUMNS, RollFaults
from renkei.errors import Malformed
from renkei.institution.database import Database
from renkei.numbers import IndividualNumber

TODAY = dt.date(2026, 11, 23)
GOOD = {
    "name": "大橋 花子",
    "kana": "オオハシ ハナコ",
    "birth": "1991-05-14",
    "sex": "F",
    "address": "縁県大橋市本町1-1",
    "municipality": "482013",
    "number": "",
}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    url = (
        f"sqlite:///{tmp_path}/a.db" if request.param == "sqlite" else request.getfixturevalue("postgres")("authority")
    )
    database = Database(url, packages=("institution", "authority"))
    yield database
    database.close()


def write(path, rows, header=COLUMNS):
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(header)
        out.writerows([[r.get(c, "") for c in COLUMNS] if isinstance(r, dict) else r for r in rows])
    return path


def load(database, path):
    return roll.load(database, path, IndividualNumber, today=TODAY)


def test_everyone_gets_a_number_of_their_own(database, tmp_path):
    given = {**GOOD, "number": "123456789018"}
    assert load(database, write(tmp_path / "r.csv", [GOOD, given, *[GOOD] * 50])) == 52
    numbers = database.read_now(store.issued)
    assert len(numbers) == 52
    assert "123456789018" in numbers
    assert all(IndividualNumber.is_valid(n) for n in numbers)


def test_every_bad_row_is_named_and_nothing_is_kept(database, tmp_path):
    rows = [
        GOOD,
        {**GOOD, "birth": "1991-02-30"},
        {**GOOD, "birth": "2030-01-01"},
        {**GOOD, "sex": "X"},
        {**GOOD, "municipality": "482014"},
        {**GOOD, "name": " "},
        {**GOOD, "number": "123456789019"},
        {**GOOD, "number": "123456789018"},
        {**GOOD, "number": "1234-5678-9018"},
        ["only", "two"],
        {**GOOD, "kana": "a\x07b"},
    ]
    with pytest.raises(RollFaults) as raised:
        load(database, write(tmp_path / "r.csv", rows))
    assert [f.line for f in raised.value.faults] == [3, 4, 5, 6, 7, 8, 10, 11, 12]
    assert "123456789019" not in str([f.sentence for f in raised.value.faults])
    assert database.read_now(store.count) == 0


def test_a_number_issued_before_is_refused(database, tmp_path):
    path = write(tmp_path / "r.csv", [{**GOOD, "number": "123456789018"}])
    load(database, path)
    with pytest.raises(RollFaults) as raised:
        load(database, path)
    assert raised.value.faults[0].sentence == "The number was issued before."
    assert database.read_now(store.count) == 1


def test_a_wrong_header_or_encoding_is_one_clear_error(database, tmp_path):
    with pytest.raises(Malformed, match="header"):
        load(database, write(tmp_path / "r.csv", [GOOD], header=("name",)))
    path = tmp_path / "sjis.csv"
    path.write_bytes(",".join(COLUMNS).encode() + "\n大橋,x\n".encode("cp932"))
    with pytest.raises(RollFaults):
        load(database, path)


def test_progress_is_told_and_ends_full(database, tmp_path):
    told = []
    path = write(tmp_path / "r.csv", [GOOD] * 5000)
    roll.load(database, path, IndividualNumber, today=TODAY, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == 2 * path.stat().st_size
    assert [d for d, _ in told] == sorted(d for d, _ in told)
    with database.engine.connect() as c:
        assert c.execute(sa.text("select count(*) from numbers")).scalar() == 5000
