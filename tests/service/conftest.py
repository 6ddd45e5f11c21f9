"""One running nation per database engine for all service tests."""

from __future__ import annotations

import pytest

from tests.world import Running


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def nation(request, tmp_path_factory):
    """The whole nation, on SQLite and on PostgreSQL."""
    database = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    running = Running(tmp_path_factory.mktemp(request.param) / "nation", database=database)
    yield running
    running.stop()
