"""Tables every institution has: the mark of its last transaction, the post's outbox and peers, followed acts, key shares.

Invariants: a parcel is in the outbox until its receiver committed it; ``received`` moves in the transaction that commits what was
received; a followed act was proven to be in the log before it came here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from renkei.rows import Rows

metadata = sa.MetaData()

outbox = sa.Table(
    "post_outbox",
    metadata,
    sa.Column("peer", sa.String(64), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("parcel", sa.LargeBinary, nullable=False),
)
peers = sa.Table(
    "post_peers",
    metadata,
    sa.Column("peer", sa.String(64), primary_key=True),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("stream", sa.LargeBinary(8)),
    sa.Column("received", sa.BigInteger, nullable=False),
)
aside = sa.Table(
    "post_aside",
    metadata,
    sa.Column("peer", sa.String(64), primary_key=True),
    sa.Column("stream", sa.LargeBinary(8), primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("reference", sa.String(16), nullable=False),
    sa.Column("locked", sa.LargeBinary, nullable=False),
)
own = sa.Table(
    "post_own",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stream", sa.LargeBinary(8), nullable=False),
)
transaction = sa.Table(
    "last_transaction",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("mark", sa.LargeBinary(16), nullable=False),
)
acts = sa.Table(
    "followed_acts",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("entry", sa.LargeBinary, nullable=False),
)
shares = sa.Table(
    "domain_shares",
    metadata,
    sa.Column("converter", sa.String(16), primary_key=True),
    sa.Column("code_epoch", sa.Integer, primary_key=True),
    sa.Column("key_epoch", sa.Integer, primary_key=True),
    sa.Column("locked", sa.LargeBinary, nullable=False),
)


class Peer(NamedTuple):
    """What is known of the exchange with one peer: our parcels up to ``sent`` are numbered, those below ``oldest`` are settled."""

    peer: str
    sent: int
    oldest: int
    stream: bytes | None
    received: int


def next_stream(connection: sa.Connection, now: int) -> bytes:
    """The name of this process's outgoing stream, 8 bytes, larger than any before it: the time in ms, or one more than the last."""
    last = connection.execute(sa.select(own.c.stream)).scalar()
    fresh = max(now, int.from_bytes(bytes(last), "big") + 1 if last else 0).to_bytes(8, "big")
    connection.execute(own.delete())
    connection.execute(own.insert(), [{"id": 1, "stream": fresh}])
    return fresh


_MARK = transaction.update().values(mark=sa.bindparam("this"))


def put_mark(connection: sa.Connection, mark: bytes) -> None:
    """Name the transaction of ``connection``, so that it can be told afterwards whether it took effect."""
    if connection.execute(_MARK, {"this": mark}).rowcount == 0:
        connection.execute(transaction.insert(), [{"id": 1, "mark": mark}])


def newest_mark(connection: sa.Connection) -> bytes:
    """The mark of the newest transaction that took effect. Waits for one that the server has not ended yet."""
    return bytes(connection.execute(sa.select(transaction.c.mark).with_for_update()).scalar() or b"")


def load_peers(connection: sa.Connection) -> list[Peer]:
    owed = sa.select(outbox.c.peer, sa.func.min(outbox.c.number), sa.func.max(outbox.c.number)).group_by(outbox.c.peer)
    span = {r[0]: (r[1], r[2]) for r in connection.execute(owed)}
    found = []
    for r in connection.execute(sa.select(peers)):
        oldest, newest = span.get(r.peer, (r.sent + 1, r.sent))
        found.append(Peer(r.peer, max(r.sent, newest), oldest, r.stream and bytes(r.stream), r.received))
    return found


def meet(connection: sa.Connection, names: Iterable[str]) -> None:
    """Begin to keep account of these peers, of whom nothing is known yet."""
    connection.execute(peers.insert(), [{"peer": n, "sent": 0, "received": 0} for n in names])


_OWE = Rows(outbox.insert())


def put(connection: sa.Connection, parcels: Iterable[tuple[str, int, bytes]]) -> None:
    """Owe parcels (peer, number, bytes)."""
    _OWE(connection, [{"peer": p, "number": n, "parcel": b} for p, n, b in parcels])


def pending(connection: sa.Connection, peer: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Parcels for ``peer`` numbered above ``after``, in order."""
    rows = connection.execute(
        sa.select(outbox.c.number, outbox.c.parcel)
        .where(outbox.c.peer == peer, outbox.c.number > after)
        .order_by(outbox.c.number)
        .limit(limit)
    )
    return [(r.number, bytes(r.parcel)) for r in rows]


_SETTLE = Rows(peers.update().where(peers.c.peer == sa.bindparam("of")).values(sent=sa.bindparam("upto")))
_DROP = Rows(outbox.delete().where(outbox.c.peer == sa.bindparam("of"), outbox.c.number <= sa.bindparam("upto")))
_RECEIVE = Rows(
    peers.update()
    .where(peers.c.peer == sa.bindparam("of"))
    .values(stream=sa.bindparam("of_stream"), received=sa.bindparam("upto"))
)


def drop(connection: sa.Connection, acknowledged: Iterable[tuple[str, int]]) -> None:
    """Forget parcels their receivers have committed. Their numbers stay used: ``sent`` keeps account when no parcel does."""
    rows = [{"of": peer, "upto": number} for peer, number in acknowledged]
    _DROP(connection, rows)
    _SETTLE(connection, rows)


def received(connection: sa.Connection, upto: Iterable[tuple[str, bytes, int]]) -> None:
    """Parcels (peer, stream, number) and all before them take effect in this transaction."""
    _RECEIVE(connection, [{"of": p, "of_stream": s, "upto": n} for p, s, n in upto])


def set_aside(connection: sa.Connection, row: dict[str, object]) -> None:
    """Keep a parcel that could not be handled, for an operator (columns of ``aside``)."""
    connection.execute(aside.insert(), [row])


def add_acts(connection: sa.Connection, new: Iterable[tuple[int, bytes]]) -> None:
    """Keep proven governance entries by position."""
    held = set(connection.execute(sa.select(acts.c.position)).scalars())
    rows = [{"position": p, "entry": e} for p, e in new if p not in held]
    if rows:
        connection.execute(acts.insert(), rows)


def load_acts(connection: sa.Connection) -> list[tuple[int, bytes]]:
    rows = connection.execute(sa.select(acts).order_by(acts.c.position))
    return [(r.position, bytes(r.entry)) for r in rows]


def put_share(connection: sa.Connection, converter: str, code_epoch: int, key_epoch: int, locked: bytes) -> None:
    """Keep a key share; the first one for an epoch stands."""
    where = (
        shares.c.converter == converter,
        shares.c.code_epoch == code_epoch,
        shares.c.key_epoch == key_epoch,
    )
    if connection.execute(sa.select(shares.c.converter).where(*where)).first() is None:
        row = {"converter": converter, "code_epoch": code_epoch, "key_epoch": key_epoch, "locked": locked}
        connection.execute(shares.insert(), [row])


def load_shares(connection: sa.Connection) -> list[tuple[str, int, int, bytes]]:
    return [(r.converter, r.code_epoch, r.key_epoch, bytes(r.locked)) for r in connection.execute(sa.select(shares))]
