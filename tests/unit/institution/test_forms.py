"""Forms from data specifications: every specification has one, and what is filled in is a record that its own schema takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from renkei.institution import forms
from renkei.law import Pack, shapes
from tests.conftest import PACK

PACKED = Pack.load(PACK)


def example_of(specification):
    """A form filled in with the examples of its terms."""
    return {f.name: PACKED.terms[f.term].example for f in specification.fields if not f.until}


@pytest.mark.parametrize("item", sorted(PACKED.specifications))
def test_a_form_filled_in_is_a_record_of_the_specification(item):
    specification = PACKED.specifications[item]
    filled = forms.read(PACKED, specification, example_of(specification))
    assert filled.faults == {}
    Draft202012Validator(shapes.json_schema(PACKED, item)).validate(filled.record)
    assert set(filled.record) == {f.name for f in specification.fields if not f.until}


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("item", sorted(PACKED.specifications))
def test_every_question_is_asked_in_words(item, lang):
    for blank in forms.blanks(PACKED, PACKED.specifications[item], lang):
        assert blank.title
        assert blank.hint
        assert blank.kind in {*forms.KINDS.values(), "text"}
        assert (blank.kind in ("choice", "truth")) == bool(blank.choices)


def test_what_is_missing_or_wrong_is_said_and_is_not_in_the_record():
    specification = PACKED.specifications["local-tax"]
    wrong = {"tax_year": "two", "tax_status": "none-such", "income_total": "1,000", "dependants": "9" * 30}
    filled = forms.read(PACKED, specification, wrong)
    required = {f.name for f in specification.fields if f.required}
    assert set(filled.faults) == set(wrong) | (required - set(wrong))
    assert filled.record == {}
    shown = {b.name: b for b in forms.blanks(PACKED, specification, "ja", wrong, filled.faults)}
    assert (shown["tax_year"].value, shown["tax_year"].fault) == ("two", "整数で入力してください。")


@given(
    st.dictionaries(
        st.sampled_from([f.name for f in PACKED.specifications["resident-record"].fields]), st.text(max_size=40)
    )
)
def test_nothing_that_is_typed_makes_a_record_that_does_not_fit(data):
    specification = PACKED.specifications["resident-record"]
    filled = forms.read(PACKED, specification, data)
    if not filled.faults:
        Draft202012Validator(shapes.json_schema(PACKED, "resident-record")).validate(filled.record)
    assert set(filled.record).isdisjoint(filled.faults)
