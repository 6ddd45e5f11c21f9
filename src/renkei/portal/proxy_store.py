"""Tables of who may act for whom, and of what was done in another's name.

Invariants: a grant is one person's to another; an invitation is kept as a hash and taken up once; what was done stays listed when the grant
has ended.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from renkei.institution.subjects import epochs
from renkei.portal.store import metadata

grants = sa.Table(
    "proxies",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("principal", sa.String(64), nullable=False),
    sa.Column("agent", sa.String(64)),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("named", sa.LargeBinary, nullable=False),
    sa.Column("scopes", sa.String(40), nullable=False),
    sa.Column("until", sa.String(10), nullable=False),
    sa.Column("invitation", sa.LargeBinary(32), unique=True),
    sa.Column("by", sa.String(64), nullable=False, server_default=""),
    sa.Column("through", sa.String(32), nullable=False, server_default=""),
    sa.Column("made", sa.BigInteger, nullable=False),
    sa.Column("since", sa.BigInteger),
    sa.Column("ended", sa.BigInteger),
)
"""``principal`` lets ``agent`` act for them; ``named`` (locked): what each calls the other; ``by``: the body that says so of a guardian;
``through``: the grant of the officer who has let somebody of the staff act, and with which that ends."""
sa.Index("proxies_principal", grants.c.principal)
sa.Index("proxies_agent", grants.c.agent)
sa.Index("proxies_through", grants.c.through)
acts = sa.Table(
    "proxy_acts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("grant_id", sa.String(32), nullable=False),
    sa.Column("what", sa.String(16), nullable=False),
    sa.Column("subject", sa.String(80), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
sa.Index("proxy_acts_grant", acts.c.grant_id, acts.c.at)
pairings = sa.Table(
    "proxy_pairings",
    metadata,
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("sender", sa.String(64), primary_key=True),
    sa.Column("side", sa.String(8), primary_key=True),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("account", sa.String(64), nullable=False),
    sa.Column("code", sa.LargeBinary(32), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="1"),
    sa.Column("until", sa.String(10), nullable=False),
    sa.Column("number", sa.String(20), nullable=False),
    sa.Column("named", sa.LargeBinary, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Of two letters by which a body says who acts for whom, those of which the other has not come; ``account`` is empty while we
know nobody by their code: theirs is on its way to us, or a corporation's is."""
sa.Index("proxy_pairings_code", pairings.c.code)
sa.Index("proxy_pairings_epoch", pairings.c.epoch)

blocks = sa.Table(
    "proxy_blocks",
    metadata,
    sa.Column("account", sa.String(64), primary_key=True),
    sa.Column("body", sa.String(64), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""Who is protected by which bodies, since when each has said so last."""
INVITED = grants.c.agent.is_(None)
LISTED, ACTS_LISTED = 300, 50


def add(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(grants.insert(), [row])


def get(connection: sa.Connection, id_: str) -> sa.Row[Any] | None:
    return connection.execute(sa.select(grants).where(grants.c.id == id_)).one_or_none()


def of(connection: sa.Connection, account: str) -> list[sa.Row[Any]]:
    """All of a person's, as either: those that were not ended first, and each newest first."""
    stood = sa.or_(grants.c.ended.is_(None), grants.c.since.is_(None), grants.c.ended > grants.c.since)
    where = sa.and_(sa.or_(grants.c.principal == account, grants.c.agent == account), stood)
    order = sa.case((grants.c.ended.is_(None), 0), else_=1), grants.c.made.desc()
    return list(connection.execute(sa.select(grants).where(where).order_by(*order).limit(LISTED)))


def invited(connection: sa.Connection, digest: bytes) -> sa.Row[Any] | None:
    """The grant of an invitation nobody has taken up."""
    query = sa.select(grants).where(grants.c.invitation == digest, INVITED, grants.c.ended.is_(None))
    return connection.execute(query).one_or_none()


def accept(connection: sa.Connection, id_: str, agent: str, at: int) -> bool:
    where = grants.c.id == id_, INVITED, grants.c.ended.is_(None)
    values = {"agent": agent, "since": at, "invitation": None}
    return bool(connection.execute(grants.update().where(*where).values(values)).rowcount)


def end(connection: sa.Connection, id_: str, account: str, at: int) -> bool:
    """End a grant, by either of the two."""
    g = grants.c
    return _end(connection, at, g.id == id_, sa.or_(g.principal == account, g.agent == account))


def _end(connection: sa.Connection, at: int, *which: sa.ColumnElement[bool]) -> bool:
    """End those grants, and what staff has been let do through them; whether there were any."""
    g = grants.c
    ids = list(connection.execute(sa.select(g.id).where(*which, g.ended.is_(None))).scalars())
    ended = grants.update().where(sa.or_(g.id.in_(ids), g.through.in_(ids)), g.ended.is_(None))
    connection.execute(ended.values(ended=at, invitation=None))
    return bool(ids)


def note(connection: sa.Connection, grant: str, what: str, subject: str, at: int) -> None:
    connection.execute(acts.insert(), [{"grant_id": grant, "what": what, "subject": subject, "at": at}])


def acts_of(connection: sa.Connection, ids: list[str]) -> list[sa.Row[Any]]:
    """What was done by each of these grants, newest first; by none so much that another's is not seen."""
    a = acts.c
    order = sa.func.row_number().over(partition_by=a.grant_id, order_by=a.at.desc())
    ranked = sa.select(acts, order.label("place")).where(a.grant_id.in_(ids)).subquery()
    query = sa.select(ranked).where(ranked.c.place <= ACTS_LISTED).order_by(ranked.c.at.desc())
    return list(connection.execute(query))


def put_pairing(connection: sa.Connection, row: dict[str, Any]) -> None:
    p = pairings.c
    same = p.token == row["token"], p.sender == row["sender"], p.side == row["side"]
    connection.execute(pairings.delete().where(*same))
    connection.execute(pairings.insert(), [row])


def pairing(connection: sa.Connection, token: str, sender: str) -> dict[str, sa.Row[Any]]:
    """What came of a pair, by side."""
    p = pairings.c
    rows = connection.execute(sa.select(pairings).where(p.token == token, p.sender == sender))
    return {r.side: r for r in rows}


def epochs_waiting(connection: sa.Connection) -> range:
    """Those of the codes of whom letters wait for."""
    return epochs(connection, pairings.c.epoch)


def unresolved(connection: sa.Connection, codes: Collection[bytes] | None = None) -> list[sa.Row[Any]]:
    """Those about somebody who was not known here when they came, as they were said; of ``codes`` alone, if given."""
    p = pairings.c
    of = () if codes is None else (p.code.in_(list(codes)),)
    return list(connection.execute(sa.select(pairings).where(p.account == "", *of).order_by(p.at)))


def resolve(connection: sa.Connection, row: Any, account: str) -> None:
    p = pairings.c
    same = p.token == row.token, p.sender == row.sender, p.side == row.side
    connection.execute(pairings.update().where(*same).values(account=account))


def forget_pairing(connection: sa.Connection, token: str, sender: str) -> None:
    p = pairings.c
    connection.execute(pairings.delete().where(p.token == token, p.sender == sender))


def forget_old_pairings(connection: sa.Connection, half: int, unknown: int) -> None:
    """Those older than ``half`` that wait for the other letter and for nobody's code, and those older than ``unknown``."""
    p, other = pairings.c, pairings.alias()
    waits = sa.select(other.c.token).where(other.c.token == p.token, other.c.sender == p.sender, other.c.account == "")
    connection.execute(pairings.delete().where(sa.or_(sa.and_(p.at < half, ~waits.exists()), p.at < unknown)))


def last_said(connection: sa.Connection, principal: str, agent: str, kind: str) -> int:
    """When (ms) a body last said anything of these two; 0: never."""
    g = grants.c
    latest = sa.func.max(sa.func.coalesce(g.ended, g.since))
    where = g.principal == principal, g.agent == agent, g.kind == kind
    return connection.execute(sa.select(latest).where(*where)).scalar() or 0


def end_said(connection: sa.Connection, principal: str, agent: str, kind: str, at: int) -> None:
    """End what a body has said of these two."""
    g = grants.c
    _end(connection, at, g.principal == principal, g.agent == agent, g.kind == kind)


def end_until(connection: sa.Connection, principal: str, kind: str, at: int) -> None:
    """End what was said until then of whoever acts for this person."""
    g = grants.c
    _end(connection, at, g.principal == principal, g.kind == kind, g.since <= at)


def has_said_since(connection: sa.Connection, principal: str, kind: str, body: str, at: int) -> bool:
    """Whether a body has said after ``at`` that somebody acts for this person."""
    g = grants.c
    where = g.principal == principal, g.kind == kind, g.by == body, g.since > at, g.ended.is_(None)
    return connection.execute(sa.select(g.id).where(*where).limit(1)).first() is not None


def block(connection: sa.Connection, account: str, body: str, at: int) -> None:
    b = blocks.c
    newest = max(at, blocked_by(connection, account).get(body, 0))
    connection.execute(blocks.delete().where(b.account == account, b.body == body))
    connection.execute(blocks.insert(), [{"account": account, "body": body, "at": newest}])


def unblock(connection: sa.Connection, account: str, body: str) -> None:
    connection.execute(blocks.delete().where(blocks.c.account == account, blocks.c.body == body))


def blocked_by(connection: sa.Connection, account: str) -> dict[str, int]:
    """The bodies that protect them, each of which must say again who is their guardian before another may; since when."""
    b = blocks.c
    return {r.body: r.at for r in connection.execute(sa.select(b.body, b.at).where(b.account == account))}
