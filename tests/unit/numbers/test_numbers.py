"""Number formats: the published examples, and what holds for every number."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.errors import Malformed
from renkei.numbers import (
    FORMATS,
    CorporateNumber,
    IndividualNumber,
    LocalGovernmentCode,
    ResidentRecordCode,
    recognise,
)

PUBLISHED = [
    (IndividualNumber, "621498320257"),
    (IndividualNumber, "123456789018"),
    (CorporateNumber, "8700110005901"),
    (CorporateNumber, "5835678256246"),
    (CorporateNumber, "8000020130001"),
    (LocalGovernmentCode, "131016"),
    (LocalGovernmentCode, "011002"),
    (LocalGovernmentCode, "472018"),
    (ResidentRecordCode, "12345678903"),
]
formats = st.sampled_from(list(FORMATS.values()))
seeds = st.integers(0, 2**32)


@pytest.mark.parametrize(("kind", "number"), PUBLISHED)
def test_published_examples_are_valid(kind, number):
    """Numbers published by the authorities, or computed by hand, are accepted as they are."""
    assert kind.parse(number) == number
    assert kind in recognise(number)


def test_corporate_number_of_a_prefecture():
    """A local government's Corporate Number is 000020 + its code, with the check digit in front."""
    assert CorporateNumber.of_local_government("130001") == "8000020130001"


@given(formats, seeds)
def test_issued_numbers_are_valid_and_survive_formatting(kind, seed):
    """Whatever is issued parses, and parses again from the form people read."""
    number = kind.issue(below=random.Random(seed).randrange)
    assert kind.parse(number) == number
    assert kind.parse(kind.format(number)) == number


@given(formats, seeds, st.integers(0, 12), st.integers(1, 9))
def test_a_changed_digit_is_noticed_unless_the_rule_cannot(kind, seed, place, by):
    """A single wrong digit gives another check digit, or the same one by the rule's own gaps (mod 11 folds 0 and 1)."""
    number = kind.issue(below=random.Random(seed).randrange)
    place %= kind.length
    wrong = number[:place] + str((int(number[place]) + by) % 10) + number[place + 1 :]
    body = wrong[1:] if kind.check_first else wrong[:-1]
    assert kind.is_valid(wrong) == (kind.complete(body) == wrong)
    if place == (0 if kind.check_first else kind.length - 1):
        assert not kind.is_valid(wrong)


@given(st.text(max_size=30))
def test_any_text_is_answered_with_an_error_that_does_not_repeat_it(text):
    """No input crashes; an error never quotes the digits."""
    for kind in FORMATS.values():
        try:
            kind.parse(text)
        except Malformed as error:
            digits = "".join(c for c in text if c.isdigit())
            assert len(digits) < 4 or digits not in error.sentence


def test_full_width_digits_and_hyphens_are_read():
    """What a Japanese keyboard produces is normalised."""
    assert IndividualNumber.parse("１２３４－５６７８－９０１８") == "123456789018"


def test_mask_shows_three_digits_of_a_secret_number_and_all_of_a_public_one():
    assert IndividualNumber.mask("123456789018") == "•••• •••• •018"
    assert CorporateNumber.mask("8700110005901") == "8 7001 1000 5901"


def test_numbers_are_never_issued_twice():
    """`taken` is honoured even when almost everything is taken."""
    taken = {IndividualNumber.complete(f"{i:011d}") for i in range(50)}
    draws = iter([*range(50), 50])
    assert IndividualNumber.issue(taken, below=lambda n: next(draws)) == IndividualNumber.complete(f"{50:011d}")
    with pytest.raises(Malformed, match="No free"):
        IndividualNumber.issue(taken, below=lambda n: 7)
