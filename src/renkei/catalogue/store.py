"""The catalogue's tables: what each body offers."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from renkei.messages.wire import Offer

metadata = sa.MetaData()
offers = sa.Table(
    "offers",
    metadata,
    sa.Column("body", sa.String(64), primary_key=True),
    sa.Column("item", sa.String(200), primary_key=True),
    sa.Column("said", sa.LargeBinary, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
)


def put_offers(connection: sa.Connection, body: str, said: list[Offer], received: int) -> None:
    """What a body offers now, in place of what it offered before."""
    connection.execute(offers.delete().where(offers.c.body == body))
    rows = [{"body": body, "item": o.item, "said": msgspec.msgpack.encode(o), "received": received} for o in said]
    if rows:
        connection.execute(offers.insert(), rows)


def all_offers(connection: sa.Connection) -> list[tuple[str, Offer, int]]:
    """Every offer: body, what it says, when (ms)."""
    rows: list[Any] = list(connection.execute(sa.select(offers).order_by(offers.c.item, offers.c.body)))
    return [(r.body, msgspec.msgpack.decode(bytes(r.said), type=Offer), r.received) for r in rows]
