"""The decision: allowed only by a row in force for kinds, affair and item; refused with the rows it would have needed."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.errors import NotFound
from renkei.law import decide, explain

TODAY = dt.date(2026, 11, 23)
BEFORE = dt.date(2017, 5, 29)


@given(st.data())
def test_every_linkage_is_allowed_from_its_first_day_and_not_before(pack, data):
    row = data.draw(st.sampled_from(pack.linkages))
    asker, holder = data.draw(st.sampled_from(row.requester)), data.draw(st.sampled_from(row.provider))
    assert decide(pack, [asker], row.affair, [holder], row.item, row.start).allowed
    early = decide(pack, [asker], row.affair, [holder], row.item, row.start - dt.timedelta(days=1))
    assert not early.allowed
    assert early.reason == "not-in-force"
    assert row.row in early.rows


@given(st.data())
def test_nothing_is_allowed_without_a_row(pack, data):
    """Against a slow, independent reading of the table."""
    asker = data.draw(st.sampled_from(sorted(pack.kinds)))
    holder = data.draw(st.sampled_from(sorted(pack.kinds)))
    affair = data.draw(st.sampled_from(sorted(pack.affairs)))
    item = data.draw(st.sampled_from(sorted(pack.items)))

    def counts_as(kind, named):
        return kind == named or any(counts_as(kind, m) for m in pack.kinds[named].members)

    allowed = any(
        r.affair == affair
        and r.item == item
        and any(counts_as(asker, k) for k in r.requester)
        and any(counts_as(holder, k) for k in r.provider)
        for r in pack.linkages
    )
    assert decide(pack, [asker], affair, [holder], item, TODAY).allowed == allowed


@pytest.mark.parametrize(
    ("asker", "affair", "holder", "item", "reason", "row"),
    [
        ("ohashi-city", "child-allowance", "tax-union", "local-tax", "allowed", "74"),
        ("national-tax", "child-allowance", "tax-union", "local-tax", "wrong-requester", "74"),
        ("ohashi-city", "unemployment-benefits", "pension-service", "pension-benefits", "wrong-requester", "76"),
        ("ohashi-city", "child-allowance", "tax-union", "pension-benefits", "wrong-provider", "75"),
        ("ohashi-city", "child-allowance", "tax-union", "disability", "item-outside-row", "74"),
        ("employment-office", "child-allowance", "pension-service", "pension-benefits", "wrong-requester", "75"),
    ],
)
def test_a_refusal_cites_the_row_it_would_have_needed(pack, asker, affair, holder, item, reason, row):
    found = explain(pack, asker, affair, holder, item, TODAY)
    assert found.decision.reason == reason
    assert row in found.decision.rows
    assert row in found.citation
    assert found.decision.allowed == (reason == "allowed")


def test_a_class_of_bodies_is_resolved_by_kind(pack):
    """「医療保険者」 includes the national association; 「都道府県知事等」 a city with a welfare office, but not a village without."""
    insurer = ["health-insurance-association"]
    assert decide(pack, ["prefecture"], "public-assistance", insurer, "medical-benefits", TODAY).allowed
    city, village = pack.bodies["ohashi-city"].kinds, pack.bodies["namiura-village"].kinds
    ask = ("public-assistance", ["health-labour-minister"], "employment-insurance", TODAY)
    assert decide(pack, city, *ask).allowed
    assert not decide(pack, village, *ask).allowed


def test_explain_knows_bodies_and_kinds_and_says_what_it_does_not_know(pack):
    assert explain(pack, "municipality", "child-allowance", "municipality", "local-tax", TODAY, "ja").decision.allowed
    for wrong in (
        ("nobody", "child-allowance", "tax-union", "local-tax"),
        ("ohashi-city", "x", "tax-union", "local-tax"),
    ):
        with pytest.raises(NotFound):
            explain(pack, *wrong, TODAY)
