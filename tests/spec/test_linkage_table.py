"""The linkage table as a specification: its coverage, and rows a lawyer can check one by one."""

import datetime as dt
from collections import defaultdict

import pytest

from renkei.law import decide

ON = dt.date(2026, 11, 23)
LIVE_ROWS = {str(n) for n in range(1, 120)} - {"36"} | {"56-2"}

# Provider lines of some rows, as counted in the statute's table.
LINES = {"1": 3, "2": 4, "26": 13, "27": 6, "57": 4, "74": 1, "75": 1, "76": 1, "106": 6, "119": 3}

# (row, requester, affair, provider, item): one lawful linkage each, by kinds of body.
SPEC = [
    ("1", "health-labour-minister", "health-insurance-state", "municipality", "local-tax"),
    ("2", "health-insurance-association", "health-insurance-benefits", "pension-service", "pension-benefits"),
    ("3", "health-insurance-society", "health-insurance-benefits", "municipality", "long-term-care"),
    ("26", "prefecture", "public-assistance", "health-labour-minister", "employment-insurance"),
    ("26", "welfare-office-municipality", "public-assistance", "health-insurance-association", "medical-benefits"),
    ("27", "municipality", "local-tax", "prefecture", "disability"),
    (
        "42",
        "national-health-insurance-society",
        "national-health-insurance-benefits-and-premiums",
        "municipality",
        "local-tax",
    ),
    ("74", "municipality", "child-allowance", "municipality", "local-tax"),
    ("75", "municipality", "child-allowance", "pension-service", "pension-benefits"),
    ("76", "health-labour-minister", "unemployment-benefits", "pension-service", "pension-benefits"),
    ("80", "late-elderly-medical-union", "late-elderly-benefits-and-premiums", "municipality", "resident-record"),
    ("93", "municipality", "long-term-care-benefits", "health-insurance-association", "medical-benefits"),
    ("94", "municipality", "long-term-care-benefits-and-premiums", "prefecture", "public-assistance"),
    ("106", "student-support-organization", "student-loans", "municipality", "local-tax"),
    ("119", "prefecture", "intractable-disease-medical", "municipality", "resident-record"),
]

# What the table does not say, however plausible.
NOT_LAW = [
    ("national-tax-agency", "local-tax", "municipality", "local-tax"),
    ("municipality", "child-allowance", "prefecture", "disability"),
    ("pension-service", "local-tax", "municipality", "local-tax"),
    ("health-insurance-association", "health-insurance-benefits", "prefecture", "public-assistance"),
    ("municipality", "unemployment-benefits", "health-labour-minister", "employment-insurance"),
    ("portal", "child-allowance", "municipality", "local-tax"),
]


def test_every_live_row_of_the_table_is_there(pack):
    """119 live rows: 1 to 119 without the deleted 36, and 56-2."""
    assert {r.row for r in pack.linkages} == LIVE_ROWS
    assert len(LIVE_ROWS) == 119


def test_every_provider_line_is_there(pack):
    """259 provider lines (260 less the deleted row), numbered from 1 in each row without a gap."""
    lines = defaultdict(set)
    for r in pack.linkages:
        lines[r.row].add(r.line)
    assert all(found == set(range(1, len(found) + 1)) for found in lines.values())
    assert sum(len(found) for found in lines.values()) == 259
    assert {row: len(lines[row]) for row in LINES} == LINES


def test_a_row_has_one_requester_and_one_affair(pack):
    """As in the statute, where row and requester are one cell."""
    rows = defaultdict(set)
    for r in pack.linkages:
        rows[r.row].add((r.requester, r.affair))
    assert all(len(found) == 1 for found in rows.values())


@pytest.mark.parametrize(("row", "requester", "affair", "provider", "item"), SPEC)
def test_the_law_allows(pack, row, requester, affair, provider, item):
    decision = decide(pack, [requester], affair, [provider], item, ON)
    assert decision.allowed
    assert decision.row == row


@pytest.mark.parametrize(("requester", "affair", "provider", "item"), NOT_LAW)
def test_the_law_does_not_allow(pack, requester, affair, provider, item):
    assert not decide(pack, [requester], affair, [provider], item, ON).allowed


def test_common_items_have_a_data_specification(pack):
    """At least twelve, every field with a term that has a type; every code list used exists."""
    assert len(pack.specifications) >= 12
    wanted = "resident-record local-tax pension-benefits medical-benefits long-term-care child-allowance disability"
    assert set(wanted.split()) <= set(pack.specifications)
    for specification in pack.specifications.values():
        assert specification.fields
        for field in specification.fields:
            term = pack.terms[field.term]
            assert term.type
            assert term.type != "code" or pack.codelists[term.codes]


def test_titles_are_in_both_languages_and_codes_are_used(pack):
    printed = {d.item for d in pack.documents.values()}
    used = {r.item for r in pack.linkages} | printed, {r.affair for r in pack.linkages}
    used[1].update(
        {pack.header.own.affair}, (t.affair for t in (*pack.notices.values(), *pack.procedures.values()) if t.affair)
    )
    assert used == (set(pack.items), set(pack.affairs))
    for table in (pack.items, pack.affairs, pack.kinds, pack.bodies):
        for entry in table.values():
            assert entry.title.ja
            assert entry.title.en.isascii() or "’" in entry.title.en
