"""The post's inbox: each sender's parcels in order, senders in turn, within the limits."""

import asyncio
from unittest.mock import sentinel

import pytest

from renkei.institution.post import MAX_FRESH, Parcel, Post, _In, _Out


@pytest.fixture
def post():
    post = Post(sentinel.keys, sentinel.bus, sentinel.database, sentinel.directory, sentinel.observer)
    post._in = {sender: _In(b"", 0) for sender in "abc"}
    return post


def parcels(sender, count, *, size=100, messages=1):
    return [Parcel(sender, b"", n, (sentinel.message,) * messages, size) for n in range(1, count + 1)]


def received(post, most, weight=10**9):
    taken = asyncio.run(post.receive(most, weigh=lambda parcel: parcel.size, weight=weight))
    return [(p.sender, p.number) for p in taken]


def test_nobody_waits_behind_another_s_backlog(post):
    post.retry([*parcels("a", 100), *parcels("b", 1), *parcels("c", 2)])
    first = received(post, 8)
    assert {("b", 1), ("c", 1), ("c", 2)} <= set(first)
    assert [n for s, n in first if s == "a"] == [1, 2, 3, 4, 5]
    assert received(post, 3) == [("a", 6), ("a", 7), ("a", 8)]


def test_heavy_parcels_do_not_fill_a_round(post):
    post.retry([*parcels("a", 10, size=30_000), *parcels("b", 10)])
    taken = received(post, 64, 65_536)
    assert len([1 for s, _ in taken if s == "a"]) == 2
    assert ("b", 1) in taken


def test_a_parcel_beyond_every_limit_still_comes_alone(post):
    post.retry([*parcels("a", 1, size=10**6, messages=200), *parcels("b", 1)])
    assert sorted([received(post, 8, 100), received(post, 8, 100)]) == [[("a", 1)], [("b", 1)]]


def test_what_is_put_back_comes_again_in_order(post):
    post.retry([*parcels("a", 4), *parcels("b", 4)])
    taken = asyncio.run(post.receive(5))
    post.retry(taken)
    again = received(post, 100)
    for sender in "ab":
        assert [n for s, n in again if s == sender] == [1, 2, 3, 4]
    assert post._waiting == 0


def test_what_is_owed_to_an_absent_peer_does_not_fill_the_memory():
    """Large parcels are kept in memory up to a number of bytes; they come from there in order, the rest from the database."""
    out, parcel = _Out(), bytes(1_000_000)
    for number in range(1, 2001):
        out.owe(number, parcel)
    assert sum(len(p) for _, p in out.fresh) == out.held <= MAX_FRESH
    while at_hand := out.at_hand():
        out.sent = at_hand[-1][0]
    assert out.newest == 2000
    assert out.sent == MAX_FRESH // len(parcel)
    assert not out.fresh
    assert out.held == 0
    out.sent = 2000
    out.owe(2001, parcel)
    assert out.at_hand() == [(2001, parcel)]
