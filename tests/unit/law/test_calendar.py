"""Days as registers write them, by the eras of the pack."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.law.calendar import Calendar, Era, day, year


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("昭和58年7月15日", "1983-07-15"),
        ("S58.07.15", "1983-07-15"),
        ("ｓ５８．７．１５", "1983-07-15"),
        ("S580715", "1983-07-15"),
        ("昭58/7/15", "1983-07-15"),
        ("令和元年5月1日", "2019-05-01"),
        ("R01.05.01", "2019-05-01"),
        ("平成31年4月30日", "2019-04-30"),
        ("H31.4", "2019-04"),
        ("令和8年11月", "2026-11"),
        ("大正15年12月24日", "1926-12-24"),
        ("昭和元年12月25日", "1926-12-25"),
        ("明治45年7月29日", "1912-07-29"),
        ("2026-11-26", "2026-11-26"),
        ("2026/1/2", "2026-01-02"),
        ("2026年1月2日", "2026-01-02"),
        ("20260102", "2026-01-02"),
        ("２０２６０１", "2026-01"),
        ("2026-01-02 00:00:00", "2026-01-02"),
        ("2024-02-29", "2024-02-29"),
    ],
)
def test_written_in_many_ways(pack, text, iso):
    assert day(text, pack.header.calendar) == iso


@pytest.mark.parametrize(("text", "iso"), [("3580715", "1983-07-15"), ("5080401", "2026-04-01"), ("50804", "2026-04")])
def test_the_era_as_a_digit(pack, text, iso):
    assert day(text, pack.header.calendar, numbered=True) == iso


@pytest.mark.parametrize(
    "text",
    ["", "0", "昭和64年1月8日", "平成元年1月7日", "平成31年5月1日", "令和元年4月30日", "S0.1.1", "R元年2月30日", "X12.1.1",
     "2026-13-01", "2023-02-29", "99999999", "00000000", "昭和", "5", "2026-01-02 13:00", "H31.5", "昭和64年2月"],
)  # fmt: skip
def test_what_is_no_day(pack, text):
    with pytest.raises(ValueError):
        day(text, pack.header.calendar)


@pytest.mark.parametrize("text", ["9580715", "0580715", "3650101", "5000101"])
def test_what_is_no_day_of_a_numbered_era(pack, text):
    with pytest.raises(ValueError):
        day(text, pack.header.calendar, numbered=True)


@given(st.dates(dt.date(1873, 1, 1), dt.date(2080, 12, 31)))
def test_every_day_has_one_name_and_the_name_leads_back(pack, date):
    calendar = pack.header.calendar
    era = [e for e in calendar.eras if e.start <= date.isoformat()][-1]
    year = date.year - int(era.start[:4]) + 1
    for sign in era.signs:
        assert day(f"{sign}{year}.{date.month}.{date.day}", calendar) == date.isoformat()
    assert day(f"{era.number}{year:02d}{date:%m%d}", calendar, numbered=True) == date.isoformat()


def test_eras_that_cannot_be_told_apart():
    one, two = Era("2019-05-01", ("R",), 5), Era("1989-01-08", ("R",), 4)
    assert list(Calendar((one, two)).faults())
    assert list(Calendar((Era("heute", ("R",)),)).faults())
    assert not list(Calendar((two,)).faults())


@pytest.mark.parametrize(
    ("text", "numbered", "common"),
    [
        ("2026", False, 2026),
        ("２０２６年度", False, 2026),
        ("R8", False, 2026),
        ("令和 8 年度", False, 2026),
        ("令和元年", False, 2019),
        ("平成31年度", False, 2019),
        ("r08", False, 2026),
        ("508", True, 2026),
        ("2026", True, 2026),
    ],
)
def test_a_year_written_in_many_ways(pack, text, numbered, common):
    assert year(text, pack.header.calendar, numbered=numbered) == common


@pytest.mark.parametrize(
    ("text", "numbered"),
    [
        ("8", False),
        ("08", False),
        ("平成32", False),
        ("R0", False),
        ("0008", False),
        ("", False),
        ("08", True),
        ("90", True),
    ],
)
def test_what_is_no_year(pack, text, numbered):
    with pytest.raises(ValueError):
        year(text, pack.header.calendar, numbered=numbered)
