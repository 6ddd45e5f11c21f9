"""Which impact assessment is due (Act art. 28 and its guideline), at every boundary, and what a draft must pass."""

import datetime as dt

import pytest

from renkei.law import assessment

# Persons in all files, handlers, a serious incident within the year → level due.
SPEC = [
    (0, 0, False, "exempt"),
    (999, 499, False, "exempt"),
    (999, 500, True, "exempt"),
    (1_000, 0, False, "basic"),
    (1_000, 500, True, "basic"),
    (9_999, 500, True, "basic"),
    (10_000, 499, False, "basic"),
    (10_000, 500, False, "focused"),
    (10_000, 0, True, "focused"),
    (99_999, 499, False, "basic"),
    (99_999, 500, False, "focused"),
    (99_999, 499, True, "focused"),
    (100_000, 499, False, "focused"),
    (100_000, 500, False, "full"),
    (100_000, 0, True, "full"),
    (299_999, 499, False, "focused"),
    (299_999, 500, False, "full"),
    (299_999, 0, True, "full"),
    (300_000, 0, False, "full"),
    (10_000_000, 0, False, "full"),
]


@pytest.mark.parametrize(("people", "handlers", "incident", "level"), SPEC)
def test_the_level_due(pack, people, handlers, incident, level):
    found, why = assessment.due(pack.thresholds, pack.header.oversight, people, handlers, incident)
    assert found == level
    assert why in ("people", "handlers", "incident")


@pytest.mark.parametrize(
    ("people", "handlers", "incident", "why"),
    [(50_000, 0, False, "people"), (50_000, 500, False, "handlers"), (50_000, 500, True, "incident")],
)
def test_the_reason_says_what_decided(pack, people, handlers, incident, why):
    assert assessment.due(pack.thresholds, pack.header.oversight, people, handlers, incident)[1] == why


@pytest.mark.parametrize(
    ("level", "kind", "steps"),
    [
        ("basic", "pension-service", ()),
        ("focused", "municipality", ()),
        ("full", "pension-service", ("comment", "approval")),
        ("full", "municipality", ("comment", "review")),
        ("full", "prefecture", ("comment", "review")),
    ],
)
def test_a_draft_passes_the_steps_of_its_level(pack, level, kind, steps):
    """Full: State bodies take public comment and the commission's approval, local ones public comment and a third party's review."""
    assert assessment.steps(pack.levels[level], pack.header.oversight, pack.standing((kind,))) == steps


@pytest.mark.parametrize(
    ("published", "due"), [("2026-04-01", "2027-04-01"), ("2024-02-29", "2025-02-28"), ("2026-12-31", "2027-12-31")]
)
def test_it_is_reviewed_every_year(pack, published, due):
    assert assessment.review_day(pack.header.oversight, dt.date.fromisoformat(published)).isoformat() == due
