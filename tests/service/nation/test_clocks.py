"""Clocks that are wrong: refused in so many words, named in /health, and harmless to everyone else."""

from __future__ import annotations

import time

import pytest

from renkei.institution.settings import system_clock
from tests.world import Running, until


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("clocks") / "nation", residents=60)
    yield running
    running.stop()


def turn(nation, body, milliseconds):
    """Restart a body whose clock is off by so much."""
    nation.stop_body(body)
    nation.start_body(body, lambda: system_clock() + milliseconds)


def health(nation, body):
    return nation.http(body, "/health", token="")


@pytest.mark.parametrize("seconds", [-300, 300])
def test_a_body_whose_clock_is_wrong_is_told_and_tells(nation, seconds):
    """Its inquiries are refused for their time, in the record; its health says by how much, before anyone asks."""
    turn(nation, "ohashi-city", seconds * 1000)
    status, found = until(lambda: (h := health(nation, "ohashi-city"))[1].get("clock_off_ms") and h)
    assert status == 503
    assert abs(int(found["clock_off_ms"]) - seconds * 1000) < 2000
    told = nation.ask(wait=20)[1]
    assert (told["state"], told["reason"]) == ("refused", "issued-at")
    assert health(nation, "tax-union")[0] == 200
    turn(nation, "ohashi-city", 0)
    assert until(lambda: nation.ask(wait=20)[1]["state"] == "answered")
    assert "clock_off_ms" not in health(nation, "ohashi-city")[1]


def test_a_small_difference_is_nobodys_trouble(nation):
    turn(nation, "tax-union", 20_000)
    assert nation.ask(wait=20)[1]["state"] == "answered"
    assert health(nation, "tax-union")[0] == 200
    turn(nation, "tax-union", 0)


def test_keepers_whose_clocks_differ_record_nothing_and_go_on_when_they_agree(nation):
    """The commission does not sign what is of another time. The hub says so, tries at leisure, and loses nothing."""
    turn(nation, "commission", 5000)
    waiting = nation.ask(wait=1)[1]
    assert waiting["state"] == "submitted"
    until(lambda: abs(int(health(nation, "hub")[1].get("clock_apart_ms", "0")) - 5000) < 1000)
    assert health(nation, "hub")[0] == 503
    late = nation.world.institutions["hub"].observe.registry.get_sample_value
    before = late("renkei_rounds_late_total") or 0
    time.sleep(3)
    assert late("renkei_rounds_late_total") - before < 30, "it does not spin"
    turn(nation, "commission", 0)
    until(lambda: nation.http("ohashi-city", waiting["status_url"])[1]["state"] == "answered", 30)
    until(lambda: health(nation, "hub")[0] == 200)


def test_time_in_the_record_never_goes_back(nation):
    """The hub's clock is put back by a second while it works: round times stay where they were until it has caught up."""
    nation.ask()
    turn(nation, "hub", -900)
    turn(nation, "commission", -900)
    assert nation.ask(wait=20)[1]["state"] == "answered"
    keeper = nation.world.institutions["hub"].keeper
    times = [copy.time for copy in keeper.rounds_after(1, limit=10_000, most=10**9)]
    assert len(times) > 3
    assert times == sorted(times)
    turn(nation, "hub", 0)
    turn(nation, "commission", 0)
