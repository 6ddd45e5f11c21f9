"""A nation of this folder's own: what officers decide must not stop other tests."""

import pytest

from renkei.gateway import service
from renkei.institution import member
from tests.console import Console
from tests.world import Running

BOTH = pytest.mark.parametrize("nation", ["sqlite", "postgresql"], indirect=True, scope="module")
"""Marks a module whose tables and queries are tried on both engines."""


@pytest.fixture(scope="module")
def nation(request, tmp_path_factory):
    engine = getattr(request, "param", "sqlite")
    database = request.getfixturevalue("postgres") if engine == "postgresql" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member, "FOLLOW_EVERY", 1.0)  # that bodies see a lifted order soon
        patch.setattr(service, "SWEEP_EVERY", 0.5)  # and answer what it held
        running = Running(tmp_path_factory.mktemp("supervised") / "nation", residents=60, database=database)
        yield running
        running.stop()


@pytest.fixture
def inspector(nation):
    return Console(nation, "kujo")


@pytest.fixture
def commissioner(nation):
    return Console(nation, "mikami")


@pytest.fixture
def reader(nation):
    return Console(nation, "shirase")
