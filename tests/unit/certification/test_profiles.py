"""Until when cards and certificates are good: at the boundaries of the rules."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.certification import profiles
from renkei.certification.profiles import card_expires, certificate_expires, nth_birthday

DAY = dt.timedelta(days=1)
BIRTH = dt.date(1990, 6, 15)


@pytest.fixture
def rules(pack):
    return pack.header.cards


@pytest.mark.parametrize(
    ("on", "last"),
    [
        (dt.date(2026, 6, 14), dt.date(2035, 6, 15)),
        (dt.date(2026, 6, 15), dt.date(2036, 6, 15)),  # today's birthday is not one after it
        (dt.date(2026, 6, 16), dt.date(2036, 6, 15)),
    ],
)
def test_a_card_is_good_until_the_tenth_birthday_after_its_issue(rules, on, last):
    assert card_expires(rules, BIRTH, on) == last


def test_a_minor_s_until_the_fifth_and_who_turns_eighteen_is_none(rules):
    born = dt.date(2008, 11, 24)
    assert card_expires(rules, born, dt.date(2026, 11, 23)) == dt.date(2030, 11, 24)
    assert card_expires(rules, born, dt.date(2026, 11, 24)) == dt.date(2036, 11, 24)


def test_a_certificate_until_the_fifth_birthday_and_never_longer_than_the_card(rules):
    on = dt.date(2026, 11, 24)
    assert certificate_expires(rules, BIRTH, on, dt.date(2036, 6, 15)) == dt.date(2031, 6, 15)
    assert certificate_expires(rules, BIRTH, on, dt.date(2028, 6, 15)) == dt.date(2028, 6, 15)


def test_who_renews_within_three_months_has_it_a_year_longer(rules):
    renewed, card = dt.date(2027, 6, 15), dt.date(2036, 6, 15)
    for on, last in (
        (dt.date(2027, 3, 14), dt.date(2031, 6, 15)),  # too early: an issue like any
        (dt.date(2027, 3, 15), dt.date(2032, 6, 15)),
        (dt.date(2027, 6, 14), dt.date(2032, 6, 15)),
        (dt.date(2027, 6, 15), dt.date(2033, 6, 15)),
        (dt.date(2027, 6, 16), dt.date(2032, 6, 15)),  # it was over
    ):
        assert certificate_expires(rules, BIRTH, on, card, renewed) == last, on


def test_who_was_born_on_29_february_has_a_birthday_every_year():
    born = dt.date(2004, 2, 29)
    assert nth_birthday(born, dt.date(2026, 2, 27), 1) == dt.date(2026, 2, 28)
    assert nth_birthday(born, dt.date(2026, 2, 28), 1) == dt.date(2027, 2, 28)
    assert nth_birthday(born, dt.date(2026, 2, 28), 2) == dt.date(2028, 2, 29)


@given(st.dates(dt.date(1900, 1, 1), dt.date(2026, 1, 1)), st.dates(dt.date(2026, 1, 2), dt.date(2090, 1, 1)))
def test_it_is_good_for_four_to_five_years_from_any_day(birth, on):
    last = nth_birthday(birth, on, 5)
    assert on + 4 * 365 * DAY <= last <= on + (5 * 365 + 2) * DAY
    assert (last.month, last.day) == (birth.month, birth.day) or (birth.month, birth.day, last.day) == (2, 29, 28)


def test_every_reason_of_the_law_has_one_of_the_standard_s():
    assert set(profiles.ATTRIBUTE_BOUND) < set(profiles.REASONS)
    assert [r for r, flag in profiles.REASONS.items() if flag.value == "certificateHold"] == ["suspended"]
