"""Accounts and access records.

Invariants: a record's leaf is in the tree kept beside it (``ledger`` tables); ``code`` is of the portal's own domain; sign-in secrets
are kept as hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from renkei.rows import Rows

metadata = sa.MetaData()

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("local_id", sa.String(64), primary_key=True),
    sa.Column("secret_sha256", sa.String(64), nullable=False, unique=True),
)
records = sa.Table(
    "access_records",
    metadata,
    sa.Column("id", sa.LargeBinary(32), primary_key=True),
    sa.Column("code", sa.LargeBinary(32), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="1"),
    sa.Column("position", sa.BigInteger, nullable=False, unique=True),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("requester", sa.String(64), nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("affair", sa.String(200), nullable=False),
    sa.Column("item", sa.String(200), nullable=False),
    sa.Column("purpose", sa.String(200), nullable=False),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(40), nullable=False),
    sa.Column("rows", sa.Text, nullable=False),
    sa.Column("withheld", sa.Boolean, nullable=False),
    sa.Column("outcome", sa.String(16)),
    sa.Column("outcome_time", sa.BigInteger),
)
reports = sa.Table(
    "reports",
    metadata,
    sa.Column("reference", sa.LargeBinary(16), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("position", "kind"),
)
"""What residents have reported to the commission; their words are kept there alone."""
marks = sa.Table(
    "marks",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("case_number", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(64), nullable=False),
)
"""Accesses the commission is examining, or has."""
watermarks = sa.Table(
    "watermarks",
    metadata,
    sa.Column("name", sa.String(16), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)
sa.Index("access_records_epoch", records.c.epoch)
sa.Index("access_records_code", records.c.code, records.c.position)

_ADD = Rows(records.insert())
_SETTLE = Rows(
    records.update()
    .where(records.c.id == sa.bindparam("inquiry"), records.c.outcome.is_(None))
    .values(outcome=sa.bindparam("result"), outcome_time=sa.bindparam("at"))
)


def put_account(connection: sa.Connection, local_id: str, secret_sha256: str) -> None:
    connection.execute(accounts.delete().where(accounts.c.local_id == local_id))
    connection.execute(accounts.insert(), [{"local_id": local_id, "secret_sha256": secret_sha256}])


def account_of(connection: sa.Connection, secret_sha256: str) -> str | None:
    """Whose secret has this SHA-256 (hexadecimal)."""
    return connection.execute(sa.select(accounts.c.local_id).where(accounts.c.secret_sha256 == secret_sha256)).scalar()


def add_records(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    _ADD(connection, rows)


def settle(connection: sa.Connection, outcomes: Sequence[tuple[bytes, str, int]]) -> None:
    """Note what came of inquiries; the first outcome stands."""
    _SETTLE(connection, [{"inquiry": i, "result": result, "at": at} for i, result, at in outcomes])


def records_of(
    connection: sa.Connection, codes: Sequence[bytes], *, below: int | None, limit: int
) -> list[sa.Row[Any]]:
    """A person's records that may be shown, newest first; ``below`` pages by position. ``codes``: the person's, of each epoch."""
    query = (
        sa.select(records)
        .where(records.c.code.in_(codes), records.c.withheld.is_(False))
        .order_by(records.c.position.desc())
        .limit(limit)
    )
    return list(connection.execute(query if below is None else query.where(records.c.position < below)))


def record(connection: sa.Connection, codes: Sequence[bytes], position: int) -> sa.Row[Any] | None:
    """One record, if it is this person's and may be shown."""
    where = records.c.code.in_(codes), records.c.position == position, records.c.withheld.is_(False)
    return connection.execute(sa.select(records).where(*where)).one_or_none()


def add_report(connection: sa.Connection, reference: bytes, position: int, kind: str, at: int) -> bool:
    """Note a report; ``False`` if this access was reported as that before."""
    same = reports.c.position == position, reports.c.kind == kind
    if connection.execute(sa.select(reports.c.at).where(*same)).first() is not None:
        return False
    connection.execute(reports.insert(), [{"reference": reference, "position": position, "kind": kind, "at": at}])
    return True


def reports_on(connection: sa.Connection, position: int) -> list[sa.Row[Any]]:
    return list(connection.execute(sa.select(reports).where(reports.c.position == position)))


def put_mark(connection: sa.Connection, position: int, case: str, state: str) -> None:
    same = marks.c.position == position, marks.c.case_number == case
    if connection.execute(sa.select(marks.c.state).where(*same)).first() is None:
        connection.execute(marks.insert(), [{"position": position, "case_number": case, "state": state}])
    else:
        connection.execute(marks.update().where(*same).values(state=state))


def marks_on(connection: sa.Connection, positions: Sequence[int]) -> dict[int, list[sa.Row[Any]]]:
    """The commission's cases about these accesses."""
    found: dict[int, list[sa.Row[Any]]] = {}
    for row in connection.execute(sa.select(marks).where(marks.c.position.in_(list(positions)))):
        found.setdefault(row.position, []).append(row)
    return found


def unchecked(connection: sa.Connection, before: int, limit: int) -> list[sa.Row[Any]]:
    """Records filed by ``before`` (ms) of which it was not yet checked whether somebody here is meant."""
    at = connection.execute(sa.select(watermarks.c.position).where(watermarks.c.name == "checked")).scalar()
    query = sa.select(records).where(records.c.position > (-1 if at is None else at), records.c.time < before)
    return list(connection.execute(query.order_by(records.c.position).limit(limit)))


def checked(connection: sa.Connection, position: int) -> None:
    """Everything up to ``position`` was checked."""
    connection.execute(watermarks.delete().where(watermarks.c.name == "checked"))
    connection.execute(watermarks.insert(), [{"name": "checked", "position": position}])


def count(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(records)).scalar_one()
