"""What is told of use: why linkages lie idle, and empty from which a small count could be worked out."""

import csv
import io
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.commission import statistics
from renkei.commission.statistics import COLUMNS, WHY, bars, every_day, lines, summary, suppressed, to_csv
from tests.unit.record.conftest import NOW, Net


def use(requester="a", *, asked=0, refused=0, provided=0, empty=0, waited=0, told=0):
    key = {"requester": requester, "provider": "p", "affair": "f", "item": "i"}
    return SimpleNamespace(
        **key, asked=asked, refused=refused, provided=provided, empty=empty, waited=waited, told=told
    )


@pytest.mark.parametrize(
    ("found", "paper", "why"),
    [
        (None, 0, "no-inquiry"),
        (None, 2, "paper"),
        (use(asked=20, refused=20), 0, "always-refused"),
        (use(asked=20, empty=20), 0, "always-empty"),
        (use(asked=20), 0, "unanswered"),
        (use(asked=20, provided=20), 0, "used"),
        (use(asked=20, provided=20), 3, "paper"),
        (use(told=20), 0, "used"),
    ],
)
def test_every_linkage_says_whether_it_is_of_use_or_why_not(found, paper, why):
    key = ("a", "p", "f", "i")
    (line,) = lines([(*key, "74")], [found] if found else [], {key: paper} if paper else {})
    assert line.why == why
    assert why in WHY


def test_answers_times_are_means():
    (line,) = lines([], [use(asked=4, provided=3, empty=1, waited=8_000)], {})
    assert line.seconds == 2.0


def test_the_unused_are_counted_among_what_the_law_allows():
    key = [("a", "p", "f", "i", "1"), ("b", "p", "f", "i", "2"), ("c", "p", "f", "i", "3")]
    told = summary(lines(key, [use("a", asked=9, provided=9), use("x", asked=5, refused=5)], {}))
    assert (told.linkages, told.used, told.why) == (3, 1, {"used": 1, "no-inquiry": 2})
    assert told.unused_share == pytest.approx(2 / 3)


def test_lawful_linkages_are_those_the_law_in_force_allows(pack, converters):
    net = Net(pack, converters)
    found = statistics.lawful(net.state, pack.day(NOW))
    assert ("ohashi-city", "tax-union", "child-allowance", "local-tax", "74") in found
    assert all(requester != provider for requester, provider, *_ in found)
    assert len(found) == len({f[:4] for f in found})


counts = st.integers(0, 40)


@given(st.lists(st.tuples(counts, counts, counts, counts), max_size=8), st.integers(2, 12))
def test_no_small_count_is_told_nor_can_one_be_worked_out(made, small):
    """Not of a line, nor of what is left of the whole by taking away what is told."""
    used = [use(str(n), asked=r + p + e + o, refused=r, provided=p, empty=e) for n, (r, p, e, o) in enumerate(made)]
    found = lines([], used, {})
    told = suppressed(found, small)
    hidden = [line for line, row in zip(found, told, strict=True) if row["asked"] is None]
    for line, row in zip(found, told, strict=True):
        if row["asked"] is None:
            assert all(row[c] is None for c in ("refused", "provided", "empty", "seconds", "paper"))
            assert row["why"] == "few"
        else:
            parts = (
                line.asked,
                line.refused,
                line.provided,
                line.empty,
                line.asked - line.refused - line.provided - line.empty,
            )
            assert not any(0 < part < small for part in parts)
    assert len(hidden) != 1 or sum(1 for line in found if line.asked) == 1


def test_open_data_is_csv_that_reads_back():
    rows = suppressed(lines([("a", "p", "f", "i", "1")], [use(asked=30, provided=30, waited=1)], {}), 10)
    (read,) = csv.DictReader(io.StringIO(to_csv(rows)))
    assert tuple(read) == COLUMNS
    assert (read["asked"], read["why"], read["row"]) == ("30", "used", "1")


def test_a_chart_shows_each_day_and_holds_no_markup_of_others():
    drawn = bars([("2026-04-01", 5), ("<script>", 0)], 'a "title" & more')
    assert drawn.count("<rect") == 2
    assert "<script>" not in drawn
    assert bars([], "nothing").count("<rect") == 0


def test_the_chart_has_a_place_for_every_day():
    days = every_day([("2028-02-29", 7)], "2028-02-27", "2028-03-01")
    assert days == [("2028-02-27", 0), ("2028-02-28", 0), ("2028-02-29", 7), ("2028-03-01", 0)]
