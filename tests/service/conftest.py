"""One running nation per database engine for all service tests."""

from __future__ import annotations

import os

import pytest

from tests.world import Running


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def nation(request, tmp_path_factory):
    """The whole nation, on SQLite and on PostgreSQL."""
    database = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    running = Running(tmp_path_factory.mktemp(request.param) / "nation", database=database)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def token(tmp_path_factory):
    """A token of SoftHSM2 that is logged in to: one for all, for a process opens its library once."""
    from renkei.certification import tokens

    folder = tmp_path_factory.mktemp("token")
    os.environ["SOFTHSM2_CONF"] = str(tokens.new_softhsm(folder, "renkei-ca", "5678", "8765"))
    found = tokens.Token(tokens.SOFTHSM, "renkei-ca", "5678")
    yield found
    found.close()
