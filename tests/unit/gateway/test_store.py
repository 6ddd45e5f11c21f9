"""The gateway's SQL, where its cost matters."""

from __future__ import annotations

import os

import pytest

from renkei.gateway import store
from renkei.institution.database import Database

EMPTY = dict.fromkeys(
    ("local_id", "provider", "affair", "item", "purpose", "clerk", "case_number", "reason_text", "reason", "rows"), ""
)


def rows(batch, state, first, count):
    fixed = {"digest": bytes(32), "salt": bytes(16), "refused_by": "", "issued_at": 0, "expires": 0, "deadline": 0}
    return [
        {**EMPTY, **fixed, "id": os.urandom(32), "state": state, "batch": batch, "batch_line": first + i}
        for i in range(count)
    ]


@pytest.fixture
def database(tmp_path):
    opened = Database(f"sqlite:///{tmp_path}/gateway.db", packages=("institution", "gateway"))
    yield opened
    opened.close()


def steps(connection, work):
    """What ``work`` answers, and how many hundred steps SQLite's machine made for it."""
    raw, count = connection.connection.driver_connection, [0]

    def step():
        count[0] += 1

    raw.set_progress_handler(step, 100)
    answer = work(connection)
    raw.set_progress_handler(None, 100)
    return answer, count[0]


def test_room_for_more_rows_costs_the_same_however_many_have_ended(database):
    """Counting a file's open rows does not go through those that have ended: a long file does not slow down."""
    database.write_now(lambda c: store.add_inquiries(c, rows("f", "submitted", 0, 40) + rows("g", "permitted", 0, 7)))
    database.write_now(lambda c: store.add_inquiries(c, rows("f", "answered", 100, 100)))
    database.read_now(lambda c: store.open_rows(c, "f"))  # what a connection does once is done
    before = database.read_now(lambda c: steps(c, lambda c: store.open_rows(c, "f")))
    database.write_now(lambda c: store.add_inquiries(c, rows("f", "answered", 1000, 5000)))
    after = database.read_now(lambda c: steps(c, lambda c: store.open_rows(c, "f")))
    assert before[0] == after[0] == 40
    assert after[1] <= before[1] + 1
