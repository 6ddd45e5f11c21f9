"""Numbers at the counter: in order, each once, no more than can be served; a visit keeps the number it was called by."""

import asyncio

import pytest

from renkei.errors import Malformed, Unavailable
from renkei.gateway import queue as rules
from renkei.gateway import visit_store
from renkei.gateway.queue import Queue

CITY = "kiriyama-town"


@pytest.fixture
def queue(nation):
    institution = nation.world.institutions[CITY]

    def empty(connection):
        connection.execute(visit_store.tickets.delete())

    nation.do(institution.database.write(empty))
    yield Queue(institution.member, institution.database, institution.clock)
    nation.do(institution.database.write(empty))


def test_numbers_are_called_in_order_and_each_once(nation, queue):
    async def take(count):
        return await asyncio.gather(*(queue.take("birth") for _ in range(count)))

    taken = nation.do(take(9))
    assert sorted(taken) == list(range(min(taken), min(taken) + 9))
    assert nation.do(queue.before(max(taken))) == 8

    async def call(count):
        return await asyncio.gather(*(queue.call(f"clerk {n}", f"window {n}") for n in range(count)))

    called = [row.number for row in nation.do(call(9))]
    assert sorted(called) == sorted(taken)
    assert nation.do(queue.call("clerk", "1")) is None
    standing = nation.do(queue.standing())
    assert (standing.waiting, len(standing.called), standing.minutes) == (0, rules.SHOWN, 0)


def test_a_visit_has_the_number_that_was_called_and_no_other(nation, queue):
    database = nation.world.institutions[CITY].database
    row = {"day": queue.today, "event": "birth", "confirmed": "card", "former": "", "clerk": "a", "opened": 1}

    def opened(number):
        id_ = nation.do(database.write(lambda c: visit_store.open_visit(c, row, [("1", "applicant")], number)))
        return database.read_now(lambda c: visit_store.get_visit(c, id_)).number

    first, second = nation.do(queue.take("birth")), nation.do(queue.take("birth"))
    nation.do(queue.call("a", "1"))
    assert opened(first) == first
    assert opened(first) == second + 1, "one number for two visits"
    assert opened(second) == second + 2, "a number that was not called"
    assert opened(9_999) == second + 3, "a number nobody took"
    assert nation.do(queue.take("birth")) == second + 4


def test_who_plays_with_the_machine_fills_no_table(nation, queue, monkeypatch):
    for _ in range(rules.A_MINUTE_MOST):
        nation.do(queue.take("birth"))
    with pytest.raises(Unavailable):
        nation.do(queue.take("birth"))
    monkeypatch.setattr(rules, "A_MINUTE_MOST", 10_000)
    monkeypatch.setattr(rules, "WAITING_MOST", rules.A_MINUTE_MOST and 30)
    with pytest.raises(Unavailable):
        nation.do(queue.take("birth"))
    with pytest.raises(Malformed):
        nation.do(queue.take("party"))
    for place in ("", " ", "x" * 21, "a\0"):
        with pytest.raises(Malformed):
            nation.do(queue.call("a", place))


def test_without_the_setting_there_is_no_queue(nation):
    assert nation.http("hub", "/queue", token="")[0] == 404
