"""Schema migrations with Alembic: each package with tables has ``migrations/`` of its own, an independent branch.

``python -m renkei.institution.migrate PACKAGE NAME`` writes the next migration of a package from its tables.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

TABLES = {
    "ledger": "renkei.ledger.store",
    "record": "renkei.record.store",
    "institution": "renkei.institution.subjects renkei.institution.letters",
    "authority": "renkei.authority.store",
    "catalogue": "renkei.catalogue.store",
    "certification": "renkei.certification.store",
    "commission": "renkei.commission.store",
    "gateway": "renkei.gateway.visit_store renkei.gateway.subscription_store renkei.gateway.notice_store",
    "portal": "renkei.portal.store renkei.portal.apply_store renkei.portal.proxy_store",
}
"""Modules in which a package declares the tables of its ``metadata``. The hub keeps only what ledger, record and institution declare."""

_ROOT = Path(__file__).parent.parent


def upgrade(engine: sa.Engine, packages: tuple[str, ...]) -> None:
    """Bring the schema of ``packages`` up to date; does nothing when it is."""
    script = ScriptDirectory(str(_ROOT), version_locations=[str(_ROOT / p / "migrations") for p in packages])

    def steps(current: Any, _: Any) -> Any:
        return script._upgrade_revs("heads", current)

    with engine.begin() as connection:
        context = MigrationContext.configure(connection, opts={"fn": steps})
        with Operations.context(context):
            context.run_migrations()


def metadata(packages: tuple[str, ...]) -> sa.MetaData:
    """The declared tables of ``packages`` together."""
    together = sa.MetaData()
    for package in packages:
        for declares in [importlib.import_module(name) for name in TABLES[package].split()][:1]:
            for table in declares.metadata.tables.values():
                table.to_metadata(together)
    return together


def differences(engine: sa.Engine, packages: tuple[str, ...]) -> list[Any]:
    """What the migrated schema and the declared tables disagree on; empty when all is well."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": lambda n, t, p: n != "alembic_version"})
        return list(compare_metadata(context, metadata(packages)))


def generate(package: str, name: str) -> Path:
    """Write the next migration of ``package``."""
    folder = _ROOT / package / "migrations"
    folder.mkdir(exist_ok=True)
    engine = sa.create_engine("sqlite://")
    upgrade(engine, (package,))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": lambda n, t, p: n != "alembic_version"})
        script = produce_migrations(context, metadata((package,)))
        assert script.upgrade_ops is not None
        body = render_python_code(script.upgrade_ops)
    number = len(list(folder.glob("[0-9]*.py"))) + 1
    previous = f'"{package}_{number - 1:04d}"' if number > 1 else "None"
    path = folder / f"{number:04d}_{name}.py"
    label = f'("{package}",)' if number == 1 else "None"
    path.write_text(
        f'"""{name.replace("_", " ").capitalize()}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        f'revision = "{package}_{number:04d}"\ndown_revision = {previous}\nbranch_labels = {label}\n\n\n'
        f"def upgrade() -> None:\n{_indent(body)}\n",
        "utf-8",
    )
    return path


def _indent(body: str) -> str:
    return "\n".join(line if line.startswith("    ") or not line else "    " + line for line in body.splitlines())


if __name__ == "__main__":
    print(generate(sys.argv[1], sys.argv[2]))
