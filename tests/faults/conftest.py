"""One nation of processes for the suites that end processes: each leaves it whole, which is what they prove."""

import asyncio

import pytest

from tests.faults.processes import Processes


@pytest.fixture(scope="package")
def processes(tmp_path_factory):
    nation = Processes(tmp_path_factory.mktemp("processes") / "nation")
    try:
        asyncio.run(nation.start())
        yield nation
    finally:
        asyncio.run(nation.world.stop())
