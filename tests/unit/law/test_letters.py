"""Notices and the rules by which a body looks for whom to tell: what they may say, and whom they speak of."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import PACK

from renkei.law import Pack
from renkei.law import pack as packs
from renkei.law.letters import Condition, Notice, Rule, meets, placeholders
from renkei.law.tables import Title

TODAY = dt.date(2026, 11, 26)
TITLE = Title("題", "Title")


def rule(*conditions, once="person"):
    return Rule("r", "n", "i", tuple(Condition(f, v, tuple(w.split())) for f, v, w in conditions), "", once)


def told(record, *conditions, fields=None, once="person", today=TODAY):
    notice = Notice("n", ("k",), "a", TITLE, TITLE, fields or {}, "", 0)
    return meets(rule(*conditions, once=once), notice, record, today)


@pytest.mark.parametrize(
    ("condition", "record", "met"),
    [
        (("born", "turns", "6 30"), {"born": "2020-12-20"}, True),
        (("born", "turns", "6 30"), {"born": "2020-12-27"}, False),  # in 31 days
        (("born", "turns", "6 30"), {"born": "2020-11-26"}, True),  # today
        (("born", "turns", "6 30"), {"born": "2020-11-25"}, False),  # yesterday
        (("born", "turns", "6 30"), {}, False),
        (("born", "turns", "6 30"), {"born": "unknown"}, False),
        (("born", "turns", "9000 30"), {"born": "2020-11-26"}, False),
        (("born", "younger", "15"), {"born": "2011-11-27"}, True),
        (("born", "younger", "15"), {"born": "2011-11-26"}, False),
        (("born", "older", "15"), {"born": "2011-11-26"}, True),
        (("born", "older", "15"), {}, False),
        (("until", "within", "60"), {"until": "2027-01-25"}, True),
        (("until", "within", "60"), {"until": "2027-01-26"}, False),
        (("until", "within", "60"), {"until": "2026-11-25"}, False),
        (("lost", "since", "14"), {"lost": "2026-11-12"}, True),
        (("lost", "since", "14"), {"lost": "2026-11-11"}, False),
        (("lost", "since", "14"), {"lost": "2026-11-27"}, False),
        (("kind", "is", "a b"), {"kind": "b"}, True),
        (("kind", "is", "a b"), {"kind": "c"}, False),
        (("kind", "not", "a b"), {"kind": "c"}, True),
        (("kind", "not", "a b"), {}, True),
        (("sum", "at-least", "10"), {"sum": 10}, True),
        (("sum", "at-least", "10"), {"sum": 9}, False),
        (("sum", "at-least", "10"), {}, False),
        (("sum", "at-most", "10"), {"sum": 11}, False),
        (("kind", "missing", ""), {}, True),
        (("kind", "missing", ""), {"kind": ""}, False),
        (("kind", "present", ""), {"kind": "x"}, True),
    ],
)
def test_a_condition_is_met_by_what_it_says(condition, record, met):
    assert bool(told(record, condition)) is met


def test_somebody_of_29_february_turns_a_year_older_on_1_march():
    found = told({"born": "2020-02-29"}, ("born", "turns", "6 400"), fields={"day": "date"}, today=dt.date(2025, 3, 2))
    assert found.values == {"day": "2026-03-01"}


def test_all_conditions_must_be_met_and_the_first_day_is_told():
    conditions = ("kind", "is", "a"), ("until", "within", "60"), ("born", "older", "18")
    record = {"kind": "a", "until": "2027-01-01", "born": "1990-01-01", "sum": 3}
    found = told(record, *conditions, fields={"day": "date", "sum": "integer"})
    assert found.values == {"day": "2027-01-01", "sum": 3}
    assert told({**record, "kind": "b"}, *conditions) is None


def test_once_for_each_value_or_once_for_all():
    a, b = ({"until": d} for d in ("2027-01-01", "2027-01-02"))
    each = [told(r, ("until", "within", "60"), once="value").occasion for r in (a, b)]
    assert each == ["2027-01-01", "2027-01-02"]
    assert {told(r, ("until", "within", "60")).occasion for r in (a, b)} == {"person"}


@given(st.dates(), st.integers(0, 130), st.integers(0, 800), st.dates())
def test_who_turns_that_old_within_those_days_is_so_old_by_then(born, years, days, today):
    found = told({"born": born.isoformat()}, ("born", "turns", f"{years} {days}"), fields={"day": "date"}, today=today)
    if found:
        on = dt.date.fromisoformat(found.values["day"])
        assert 0 <= (on - today).days <= days
        assert on.year - born.year == years
        assert (on.month, on.day) == (born.month, born.day) or (born.month, born.day) == (2, 29)


@given(st.text())
def test_a_text_s_placeholders_are_plain_names_or_the_text_is_at_fault(text):
    for name in placeholders(text):
        assert name == text or "{" + name + "}" in text


@pytest.mark.parametrize("text", ["{a.b}", "{a!r}", "{a:>9}", "{0}", "{}", "{", "}", "{a[0]}", "{A}"])
def test_what_would_do_more_than_fill_in_is_a_fault(text):
    assert placeholders(text) == {text}


def faults(changed):
    found = packs.check({**packs.read_folder(PACK), **{k: v.encode() for k, v in changed.items()}})[1]
    return [f"{f.file}:{f.line} {f.sentence}" for f in found]


NOTICES = (PACK / "notices.csv").read_text("utf-8")
PUSH = (PACK / "push.csv").read_text("utf-8")
PROCEDURES = (PACK / "procedures.csv").read_text("utf-8")


@pytest.mark.parametrize(
    ("sheet", "old", "new", "said"),
    [
        ("notices.csv", "day:date", "day:moment", "`fields` has 'day:moment'"),
        ("notices.csv", "{day}に6歳", "{days}に6歳", "{days}, which is no field"),
        ("notices.csv", "{day}に6歳", "{day!r}に6歳", "which is no field"),
        ("notices.csv", "school-entry,municipal-board-of-education", "school-entry,schools", "'schools'"),
        ("notices.csv", ",care,60", ",caring,60", "'caring'"),
        ("notices.csv", ",care,60", ",care,soon", "`days` is no number of days"),
        ("notices.csv", "care-renewal,", "care-certification,", "A procedure has this code"),
        ("push.csv", "turns 6 180", "turns 6", "is followed by 1 words"),
        ("push.csv", "turns 6 180", "becomes 6 180", "the verb 'becomes'"),
        ("push.csv", "turns 6 180", "turns six 180", "is followed by numbers"),
        ("push.csv", "date_of_birth turns 6", "born turns 6", "names 'born'"),
        ("push.csv", "date_of_birth turns 6", "sex turns 6", "is of type code"),
        ("push.csv", "status is valid", "status is valued", "'valued' is no code"),
        ("push.csv", "child-allowance,person", "child-benefit,person", "'child-benefit'"),
        ("push.csv", ",person", ",always", "`once` is 'always'"),
        ("push.csv", "date_of_birth turns 65 30; ", "", "The notice says {day}"),
        ("procedures.csv", "municipality,home,14", "municipality,house,14", "'house'"),
        ("procedures.csv", "municipality,home,14", "municipality,home,two weeks", "`days` is no number of days"),
        ("procedures.csv", ",national-pension-exemption,", ",,", "needs its affair"),
        ("procedures.csv", "medical-certificate", "doctor-note", "'doctor-note'"),
    ],
)
def test_a_fault_is_told_with_its_place(sheet, old, new, said):
    text = {"notices.csv": NOTICES, "push.csv": PUSH, "procedures.csv": PROCEDURES}[sheet]
    assert old in text
    found = faults({sheet: text.replace(old, new)})
    assert any(said in f and f.startswith(sheet) for f in found), found


def test_a_pack_without_letters_lets_nobody_write():
    files = packs.read_folder(PACK)
    text = files["pack.toml"].decode()
    at = text.index("[letters]")
    files["pack.toml"] = (text[:at] + text[text.index("[calendar]") :]).encode()
    pack = Pack.load(files)
    kinds = frozenset(["municipality"])
    assert not pack.may_write(kinds, frozenset(["portal"]), "care-renewal", "long-term-care-benefits-and-premiums")


def test_who_may_write_what_to_whom(pack):
    town, portal, insurer = (frozenset([k]) for k in ("municipality", "portal", "health-insurance-association"))
    care = "long-term-care-benefits-and-premiums"
    assert pack.may_write(town, portal, "care-renewal", care)
    assert not pack.may_write(portal, town, "care-renewal", care)
    assert not pack.may_write(insurer, portal, "care-renewal", care)
    assert not pack.may_write(town, town, "care-renewal", care)
    assert not pack.may_write(town, portal, "care-renewal", "child-allowance")
    for way in ((portal, town), (town, portal)):
        assert pack.may_write(*way, "care-certification", care)
    assert not pack.may_write(portal, insurer, "care-certification", care)
    assert not pack.may_write(portal, town, "move-in-notice", "child-welfare-costs")  # at the counter alone
