"""What a change of a data specification does to those who use it: each kind of change made to the pack's own files."""

import datetime as dt
import re

import pytest
from tests.conftest import PACK

from renkei.law import Pack, changes, read_folder
from renkei.law.changes import Surface

ON = dt.date(2026, 12, 1)
TAX = "specifications/local-tax.toml"


@pytest.fixture(scope="module")
def files():
    return read_folder(PACK)


def altered(files, *edits):
    """The pack with (file, old, new) replaced in it; each must be there once."""
    changed = dict(files)
    for name, old, new in edits:
        text = changed[name].decode()
        assert text.count(old) == 1, (name, old, text.count(old))
        changed[name] = text.replace(old, new).encode()
    return Pack.load(changed)


def found(files, *edits, before=()):
    old = altered(files, *before)
    new = altered(files, *before, *edits)
    return [(c.weight, c.code, c.item, c.field) for c in changes.compare(Surface.of(old), Surface.of(new), ON)], new


def field(files, name):
    """The text of a field of local-tax."""
    return next(b for b in re.split(r"(?=\[\[fields\]\])", files[TAX].decode()) if f'name = "{name}"' in b)


def test_a_pack_against_itself_changes_nothing(files):
    assert found(files)[0] == []


def test_one_record_or_many(files):
    one = found(files, (TAX, 'records = "many"', 'records = "one"'))[0]
    many = found(files, ("specifications/resident-record.toml", 'records = "one"', 'records = "many"'))[0]
    assert one == [("breaks", "many-to-one", "local-tax", "")]
    assert many == [("breaks", "one-to-many", "resident-record", "")]


def test_codes_that_come_and_codes_that_go(files):
    text = files["codelists.csv"].decode() + "local-tax-status,new-kind,新しい区分,New kind\n"
    old, new = Surface.of(Pack.load(files)), Surface.of(Pack.load({**files, "codelists.csv": text.encode()}))
    assert [(c.weight, c.code, c.field) for c in changes.compare(old, new, ON)] == [
        ("notice", "codes-added", "tax_status")
    ]
    assert [(c.weight, c.code, c.whom) for c in changes.compare(new, old, ON)] == [
        ("breaks", "codes-removed", "providers")
    ]


def test_a_field_goes_only_after_its_day(files):
    code = field(files, "municipality_code")
    told = lambda day: (TAX, code, code.replace("required", f'until = "{day}"\ninstead = "income_total"\nrequired'))  # noqa: E731
    assert found(files, (TAX, code, ""))[0] == [("breaks", "field-removed", "local-tax", "municipality_code")]
    assert found(files, told("2027-06-30"))[0] == [("notice", "field-leaving", "local-tax", "municipality_code")]
    assert found(files, told("2026-11-30"))[0] == [("breaks", "until-sooner", "local-tax", "municipality_code")]
    for day, weight in (("2026-11-30", "notice"), ("2026-12-01", "breaks")):
        old = altered(files, told(day))
        got = changes.compare(Surface.of(old), Surface.of(altered(files, (TAX, code, ""))), ON)
        assert [c.weight for c in got] == [weight]


def test_required_and_optional(files):
    salary, status = field(files, "salary_revenue"), field(files, "tax_status")
    need = (TAX, salary, salary.replace("required = false", "required = true"))
    leave = (TAX, status, status.replace("required = true", "required = false"))
    assert found(files, need)[0] == [("breaks", "optional-to-required", "local-tax", "salary_revenue")]
    assert found(files, leave)[0] == [("breaks", "required-to-optional", "local-tax", "tax_status")]
    new = '\n[[fields]]\nname = "note"\nterm = "address"\nrequired = {}\nja = "備考"\nen = "Note"\n'
    for required, weight in (("false", "harmless"), ("true", "breaks")):
        more = {**files, TAX: files[TAX] + new.format(required).encode()}
        got = changes.compare(Surface.of(Pack.load(files)), Surface.of(Pack.load(more)), ON)
        assert [(c.weight, c.code, c.field) for c in got] == [(weight, "field-added", "note")]


def test_a_term_that_means_something_else_breaks_every_item_that_uses_it(files):
    text = files["terms.csv"].decode().replace("monthly-amount,integer,JPY", "monthly-amount,integer,person")
    got = changes.compare(
        Surface.of(Pack.load(files)), Surface.of(Pack.load({**files, "terms.csv": text.encode()})), ON
    )
    users = {s.item for s in Pack.load(files).specifications.values() for f in s.fields if f.term == "monthly-amount"}
    assert {c.item for c in got} == users
    assert {(c.weight, c.code) for c in got} == {("breaks", "retyped")}


def test_who_is_concerned_follows_from_the_table(files):
    pack = altered(files)
    code = field(files, "municipality_code")
    new = altered(files, (TAX, code, ""))
    (change,) = changes.compare(Surface.of(pack), Surface.of(new), ON)
    met = changes.concerned(new, change)
    rows = [r for r in pack.linkages if r.item == "local-tax"]
    assert set(met.affairs) == {r.affair for r in rows}
    assert set(met.kinds) == {k for r in rows for k in r.requester}
    (fault,) = changes.faults(Surface.of(pack), new, ON)
    assert "municipality_code" in fault.sentence
    assert f"{len(met.affairs)} affair(s)" in fault.sentence


def test_a_surface_says_itself_again(files):
    import msgspec

    surface = Surface.of(Pack.load(files))
    assert msgspec.json.decode(msgspec.json.encode(surface), type=Surface) == surface


def test_fields_that_are_to_go_are_told_soonest_first(files):
    code = field(files, "municipality_code")
    pack = altered(files, (TAX, code, code.replace("required", 'until = "2027-06-30"\nrequired')))
    assert [(i, f.name, f.until) for i, f in changes.leaving(pack, ("prefecture",))] == [
        ("local-tax", "municipality_code", "2027-06-30")
    ]
    assert changes.leaving(pack, ("portal",)) == []
