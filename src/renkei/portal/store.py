"""Accounts and access records.

Invariants: a record's leaf is in the tree kept beside it (``ledger`` tables); ``code`` is of the portal's own domain; sign-in secrets
are kept as hashes.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from renkei.errors import Unavailable
from renkei.institution import subjects
from renkei.institution.database import Database
from renkei.institution.subjects import Coded
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
    sa.Column("kind", sa.String(8), nullable=False, server_default="inquiry"),
    sa.Column("changes_until", sa.String(10), nullable=False, server_default=""),
    sa.Column("changes_ended", sa.BigInteger),
)
"""Of an inquiry, and (kind ``change``) of a notice that its answer is another now."""
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
names = sa.Table(
    "pairwise_names",
    metadata,
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("sector", sa.String(200), primary_key=True),
    sa.Column("sub", sa.String(64), nullable=False, unique=True),
)
"""By which name the sites of a sector know a resident."""
consents = sa.Table(
    "consents",
    metadata,
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("client", sa.String(64), primary_key=True),
    sa.Column("since", sa.BigInteger, nullable=False),
)
grants = sa.Table(
    "grants",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("client", sa.String(64), nullable=False),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("redirect_uri", sa.Text, nullable=False),
    sa.Column("nonce", sa.Text, nullable=False),
    sa.Column("challenge", sa.String(64), nullable=False),
    sa.Column("auth_time", sa.BigInteger, nullable=False),
    sa.Column("amr", sa.String(8), nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    sa.Column("used", sa.Boolean, nullable=False),
)
"""Codes and access tokens given to sites, by their SHA-256."""
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("mark", sa.LargeBinary(32), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("amr", sa.String(8), nullable=False),
    sa.Column("agent", sa.String(64), nullable=False),
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False),
    sa.Column("ended", sa.BigInteger),
)
"""Where residents are, or were, signed in; ``mark`` is a hash of what the session's cookie holds."""
sa.Index("sessions_account", sessions.c.account, sessions.c.since)
passkeys = sa.Table(
    "passkeys",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("credential", sa.LargeBinary(1023), nullable=False),
    sa.Column("public", sa.LargeBinary, nullable=False),
    sa.Column("signed", sa.BigInteger, nullable=False),
    sa.Column("name", sa.String(40), nullable=False),
    sa.Column("made", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger),
)
"""By which key (SHA-256 of the credential's id, hexadecimal) a session opens whose account; ``signed``: how often, by its own count."""
sa.Index("passkeys_account", passkeys.c.account)
sa.Index("grants_expires", grants.c.expires)
sa.Index("access_records_epoch", records.c.epoch)
sa.Index("access_records_code", records.c.code, records.c.position)

_ADD = Rows(records.insert())
_SETTLE = Rows(
    records.update()
    .where(records.c.id == sa.bindparam("inquiry"), records.c.outcome.is_(None))
    .values(outcome=sa.bindparam("result"), outcome_time=sa.bindparam("at"))
)

_END = Rows(
    records.update()
    .where(records.c.id == sa.bindparam("inquiry"), records.c.changes_ended.is_(None))
    .values(changes_ended=sa.bindparam("at"))
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


def end_changes(connection: sa.Connection, ends: Sequence[tuple[bytes, int]]) -> None:
    """Note when requesters ended the subscriptions these inquiries made; the first end stands."""
    _END(connection, [{"inquiry": i, "at": at} for i, at in ends])


def records_of(
    connection: sa.Connection,
    codes: Sequence[bytes],
    *,
    below: int | None,
    limit: int,
    due: Mapping[str, int] = {},
    span: tuple[int, int] = (0, 2**53),
) -> list[sa.Row[Any]]:
    """A person's records that may be shown, newest first; ``below`` pages by position. ``codes``: the person's, of each epoch.

    ``due``: of a purpose, those withheld that were recorded before (ms) may be shown, too. ``span``: from and before when (ms).
    """
    r = records.c
    where = r.code.in_(codes), _may_be_shown(due), r.time >= span[0], r.time < span[1]
    query = sa.select(records).where(*where).order_by(r.position.desc()).limit(limit)
    return list(connection.execute(query if below is None else query.where(r.position < below)))


def record(
    connection: sa.Connection, codes: Sequence[bytes], position: int, *, due: Mapping[str, int] = {}
) -> sa.Row[Any] | None:
    """One record, if it is this person's and may be shown."""
    where = records.c.code.in_(codes), records.c.position == position, _may_be_shown(due)
    return connection.execute(sa.select(records).where(*where)).one_or_none()


def newest_withheld(connection: sa.Connection, codes: Sequence[bytes], purpose: str, after: int) -> int | None:
    """When (ms) the newest access was recorded that is withheld for ``purpose`` and not shown yet; ``None``: there is none."""
    r = records.c
    where = r.code.in_(codes), r.withheld.is_(True), r.purpose == purpose, r.time >= after
    return connection.execute(sa.select(sa.func.max(r.time)).where(*where)).scalar()


def _may_be_shown(due: Mapping[str, int]) -> sa.ColumnElement[bool]:
    late = [sa.and_(records.c.purpose == purpose, records.c.time < before) for purpose, before in due.items()]
    return sa.or_(records.c.withheld.is_(False), *late)


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


# ------------------------------------------------------------------ single sign-on


def pairwise(connection: sa.Connection, account: str, sector: str) -> str:
    """By which name a sector knows the resident: drawn at the first time, the same ever after."""
    found = pairwise_of(connection, account, sector)
    if found is None:
        found = secrets.token_urlsafe(24)
        connection.execute(names.insert(), [{"account": account, "sector": sector, "sub": found}])
    return found


def pairwise_of(connection: sa.Connection, account: str, sector: str) -> str | None:
    where = names.c.account == account, names.c.sector == sector
    return connection.execute(sa.select(names.c.sub).where(*where)).scalar()


def agree(connection: sa.Connection, account: str, client: str, now: int) -> None:
    if consent(connection, account, client) is None:
        connection.execute(consents.insert(), [{"account": account, "client": client, "since": now}])


def consent(connection: sa.Connection, account: str, client: str) -> int | None:
    """Since when the resident lets this site know them again."""
    where = consents.c.account == account, consents.c.client == client
    return connection.execute(sa.select(consents.c.since).where(*where)).scalar()


def consents_of(connection: sa.Connection, account: str) -> list[sa.Row[Any]]:
    return list(connection.execute(sa.select(consents).where(consents.c.account == account).order_by(consents.c.since)))


def withdraw(connection: sa.Connection, account: str, client: str) -> None:
    """The resident lets this site know them no longer: it is asked anew next time, and what it holds is void."""
    connection.execute(consents.delete().where(consents.c.account == account, consents.c.client == client))
    revoke_grants(connection, client, account)


def add_grant(connection: sa.Connection, row: dict[str, Any], now: int) -> None:
    """Keep a code or a token; what is over goes."""
    connection.execute(grants.delete().where(grants.c.expires < now - 3_600_000))
    connection.execute(grants.insert(), [row])


def grant(connection: sa.Connection, digest: bytes, kind: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(grants).where(grants.c.digest == digest, grants.c.kind == kind)).one_or_none()


def use_grant(connection: sa.Connection, digest: bytes) -> bool:
    """Whether it was unused until now."""
    changed = connection.execute(
        grants.update().where(grants.c.digest == digest, grants.c.used.is_(False)).values(used=True)
    )
    return bool(changed.rowcount)


def revoke_grants(connection: sa.Connection, client: str, account: str) -> None:
    connection.execute(grants.update().where(grants.c.client == client, grants.c.account == account).values(used=True))


# ------------------------------------------------------------------ sessions and passkeys


def session(connection: sa.Connection, mark: bytes) -> sa.Row[Any] | None:
    return connection.execute(sa.select(sessions).where(sessions.c.mark == mark)).one_or_none()


def see(connection: sa.Connection, mark: bytes, begun: dict[str, Any], now: int) -> None:
    """A session is in use; the first time it is noted what was ``begun``. One that was ended stays so."""
    seen = sessions.update().where(sessions.c.mark == mark).values(seen=now)
    if not connection.execute(seen).rowcount:
        connection.execute(sessions.insert(), [{"mark": mark, "seen": now, **begun}])


def end_sessions(
    connection: sa.Connection, at: int, *, mark: bytes | None = None, account: str | None = None, but: bytes = b""
) -> None:
    """End one session, or all of an account ``but`` one."""
    s = sessions.c
    where = [s.ended.is_(None), s.mark != but]
    where += [s.mark == mark] if mark is not None else []
    where += [s.account == account] if account is not None else []
    connection.execute(sessions.update().where(*where).values(ended=at))


def sessions_of(connection: sa.Connection, account: str, since: int) -> list[sa.Row[Any]]:
    """An account's sessions begun since (ms), newest first; older ones are forgotten."""
    s = sessions.c
    query = sa.select(sessions).where(s.account == account, s.since >= since).order_by(s.since.desc())
    return list(connection.execute(query.limit(100)))


def forget_sessions(connection: sa.Connection, before: int) -> None:
    connection.execute(sessions.delete().where(sessions.c.since < before))


def add_passkey(connection: sa.Connection, row: dict[str, Any], most: int) -> bool:
    """Keep one more; ``False`` if the account has ``most``, or somebody has this one."""
    if len(passkeys_of(connection, row["account"])) >= most or passkey(connection, row["key"]) is not None:
        return False
    connection.execute(passkeys.insert(), [row])
    return True


def passkeys_of(connection: sa.Connection, account: str) -> list[sa.Row[Any]]:
    return list(connection.execute(sa.select(passkeys).where(passkeys.c.account == account).order_by(passkeys.c.made)))


def passkey(connection: sa.Connection, key: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(passkeys).where(passkeys.c.key == key)).one_or_none()


def use_passkey(connection: sa.Connection, key: str, count: int, at: int) -> None:
    connection.execute(passkeys.update().where(passkeys.c.key == key).values(signed=count, used=at))


def remove_passkey(connection: sa.Connection, account: str, key: str) -> bool:
    ours = passkeys.c.account == account, passkeys.c.key == key
    return bool(connection.execute(passkeys.delete().where(*ours)).rowcount)


async def code_of(database: Database, account: str) -> Coded:
    """The portal's own code of whoever has this account; ``Unavailable`` while it is on its way."""
    known = (await database.read(lambda c: subjects.by_local_id(c, [account]))).get(account)
    if known is None or known.code is None:
        raise Unavailable(
            "Your file is still being set up.",
            ja="準備中です。",
            remedy="Look again in a moment.",
            remedy_ja="少ししてから、もう一度ご覧ください。",
            code="no-code",
        )
    return known.code
