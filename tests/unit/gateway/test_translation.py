"""Values as legacy systems write them, made into what their terms say; what does not fit is said, by place and never by value."""

import datetime as dt
import decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.gateway.adapter import ItemMapping
from renkei.gateway.adapter.mapping import Written
from renkei.gateway.adapter.translation import Translator

ITEM = "resident-record"
SEX = {"1": "male", "2": "female", "9": ""}
HEAD = {"00": "head", "01": "wife", "02": "child"}


@pytest.fixture(scope="module")
def translator(pack):
    names = {f.name for f in pack.specifications[ITEM].fields}
    declared = {
        "name": Written(column="氏名", width="full"),
        "date_of_birth": Written(column="生年月日", date="numbered", empty=("0000000",)),
        "sex": Written(column="性別", codes=SEX),
        "address": Written(columns=("住所", "方書"), join="\u3000"),
        "household_number": "世帯番号",
        "relationship_to_head": Written(column="続柄", codes=HEAD),
        "resident_since": "住定日",
        "status": Written(value="resident"),
        "residency_status": Written(value="resident"),
        "municipality_code": Written(value="482013"),
    }
    required = {f.name for f in pack.specifications[ITEM].fields if f.required}
    fields = {n: w for n, w in declared.items() if n in names}
    assert required <= set(fields), required - set(fields)
    return Translator(
        pack, ITEM, ItemMapping("宛名番号", fields, table="t", gaiji={"E000": "𠮷", "E001": "葛\U000e0100"})
    )


GOOD = {
    "宛名番号": "0001234567",
    "氏名": "\ue000田　ﾊﾅｺ ",
    "生年月日": "3580715",
    "性別": "2",
    "住所": "縁県大橋市本町1-2",
    "方書": "",
    "世帯番号": decimal.Decimal(1234),
    "続柄": "01",
    "住定日": dt.datetime(2019, 4, 1),  # noqa: DTZ001 - databases have no zone
}


def test_a_row_of_a_legacy_register(translator):
    record, faults = translator.record(GOOD)
    assert faults == []
    assert record["name"] == "𠮷田　ハナコ"
    assert record["date_of_birth"] == "1983-07-15"
    assert (record["sex"], record["relationship_to_head"]) == ("female", "wife")
    assert record["address"] == "縁県大橋市本町1-2"
    assert record["household_number"] == "1234"
    assert record["resident_since"] == "2019-04-01"


@pytest.mark.parametrize(
    ("column", "value", "field", "said"),
    [
        ("氏名", "", "name", "required"),
        ("氏名", "\u3000", "name", "required"),
        ("氏名", "山\ue123", "name", "U+E123"),
        ("氏名", "山\ufffd", "name", "lost before"),
        ("氏名", "山\x00", "name", "control"),
        ("氏名", "山\udc87", "name", "Byte 87"),
        ("生年月日", "3651301", "date_of_birth", "day"),
        ("生年月日", "19830715x", "date_of_birth", "day"),
        ("生年月日", "0000000", "date_of_birth", "required"),
        ("性別", "7", "sex", "code 7"),
        ("性別", "ハナコ", "sex", "code …"),
        ("続柄", "1", "relationship_to_head", "code 1"),
    ],
)
def test_what_does_not_fit_is_told_by_its_place(translator, column, value, field, said):
    record, faults = translator.record({**GOOD, column: value}, 12)
    (fault,) = faults
    assert (fault.row, fault.field, fault.column) == (12, field, column)
    assert said in fault.said.en
    assert fault.remedy.en
    assert fault.remedy.ja
    assert field not in record


def test_an_image_of_a_row_never_stands_in_what_is_told(translator):
    for column in ("氏名", "生年月日", "性別", "続柄"):
        _, faults = translator.record({**GOOD, column: "\ue999ひみつ12345"})
        assert faults
        assert not any("ひみつ" in str(f) or "12345" in str(f) for f in faults)


def test_a_row_without_a_person_and_one_without_a_day(pack, translator):
    made, faults = translator.row({**GOOD, "宛名番号": " "}, 3)
    assert made is None
    assert faults[0].column == "宛名番号"
    spans = Translator(pack, ITEM, msgspec.structs.replace(translator._mapping, since="a", until="b", dates="numbered"))
    row, faults = spans.row({**GOOD, "a": "4010108", "b": ""}, 3)
    assert (faults, row.since, row.until) == ([], "1989-01-08", "")
    _, faults = spans.row({**GOOD, "a": "x", "b": ""}, 3)
    assert faults[0].column == "a"


@pytest.mark.parametrize(
    ("raw", "times", "value"),
    [
        (12, 1, 12), ("1,234", 1, 1234), ("１２３４", 1, 1234), ("△5", 1, -5), ("-5", 1000, -5000), (decimal.Decimal("3.00"), 1, 3),
        (3.0, 1, 3), ("000123", 1, 123), ("12.0", 1, 12), ("", 1, None), (None, 1, None), ("-", 1, None),
    ],
)  # fmt: skip
def test_numbers(pack, raw, times, value):
    made = _number(pack, times)
    assert made.record({"n": raw, "y": 2026})[0].get("income_total") == value


@pytest.mark.parametrize("raw", ["12a", "1,23", "3.5", decimal.Decimal("3.5"), "十二", "1e3", "9" * 40, True])
def test_what_is_no_number(pack, raw):
    _, faults = _number(pack, 1).record({"n": raw, "y": 2026})
    assert [f.field for f in faults] == ["income_total"]


def _number(pack, times):
    fields = {f.name: Written(value=pack.terms[f.term].example) for f in pack.specifications["local-tax"].fields}
    fields["income_total"] = Written(column="n", times=times, empty=("-",))
    if not pack.specifications["local-tax"].field("income_total").required:
        return Translator(pack, "local-tax", ItemMapping("y", fields, table="t"))
    raise AssertionError("income_total must be optional for this test")


@given(
    st.dictionaries(
        st.sampled_from(sorted(GOOD)),
        st.one_of(st.text(max_size=20), st.integers(), st.none(), st.floats(), st.binary()),
    )
)
def test_no_value_makes_it_fail_otherwise_than_by_a_fault(translator, values):
    """Whatever a column holds: either the record fits its specification, or a fault says where not."""
    from renkei.gateway.adapter import content_fault

    record, faults = translator.record({**GOOD, **values})
    if not faults:
        assert content_fault(translator._pack, ITEM, [record]) is None


def test_two_digits_are_no_year_unless_their_era_is_said(pack):
    """``08`` used to go out as the year 8."""
    item = "local-tax"
    names = [f.name for f in pack.specifications[item].fields if f.required and f.name != "tax_year"]
    fields = {n: Written(value=pack.terms[pack.specifications[item].field(n).term].example) for n in names}
    for written, value, expected in (
        ("year", "08", None),
        ("year", 8, None),
        ("year", 2026, 2026),
        (Written(column="year", date="R"), "08", 2026),
        (Written(column="year", date="R"), "2026", None),
        (Written(column="year", date="numbered"), "508", 2026),
    ):
        made = Translator(pack, item, ItemMapping("id", {**fields, "tax_year": written}, table="t"))
        record, faults = made.record({"year": value})
        assert (record.get("tax_year"), len(faults)) == (expected, expected is None)
