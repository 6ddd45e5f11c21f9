"""Frames under a session: readable by the two who share it, in the direction they were sent, and unchanged."""

from __future__ import annotations

import os

import pytest

from renkei.errors import NotGenuine
from renkei.messages.frames import Frame, Session


@pytest.fixture
def session():
    return Session()


@pytest.fixture
def frame():
    return Frame("ohashi-city", "tax-union", bytes(8), 7, [[b"one"], [b"two", b"three"]], oldest=3)


def test_the_other_side_reads_what_was_closed(session, frame):
    assert Session(session.key).open(session.close(frame), "ohashi-city", "tax-union") == frame
    assert session.close(frame)[:8] == session.id


def test_two_closings_share_nothing_but_the_session(session, frame):
    first, second = session.close(frame), session.close(frame)
    assert first[:8] == second[:8]
    assert first[8:] != second[8:]


def test_it_is_bound_to_sender_receiver_and_session(session, frame):
    """Nobody is handed its own frames, or another's."""
    data = session.close(frame)
    for sender, own in (("tax-union", "ohashi-city"), ("hub", "tax-union"), ("ohashi-city", "hub")):
        with pytest.raises(NotGenuine):
            session.open(data, sender, own)
    with pytest.raises(NotGenuine):
        Session().open(data, "ohashi-city", "tax-union")


def test_every_changed_or_missing_byte_is_noticed(session, frame):
    data = session.close(frame)
    for at in range(8, len(data)):
        with pytest.raises(NotGenuine):
            session.open(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :], "ohashi-city", "tax-union")
    for size in range(len(data)):
        with pytest.raises(NotGenuine):
            session.open(data[:size], "ohashi-city", "tax-union")


def test_a_key_of_another_size_is_refused():
    with pytest.raises(NotGenuine):
        Session(os.urandom(31))
