"""The catalogue's tables: what each body offers; what was published to everybody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from renkei.catalogue.opened import Dataset
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
datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("said", sa.LargeBinary, nullable=False),
    sa.Column("issued", sa.BigInteger, nullable=False),
    sa.Column("modified", sa.BigInteger, nullable=False),
    sa.Column("withdrawn", sa.Boolean, nullable=False),
    sa.Index("datasets_modified", "modified"),
)
"""The version in force of each. ``said`` is the whole ``Dataset``."""


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


def put_dataset(connection: sa.Connection, made: Dataset) -> None:
    """The version that is in force from now on."""
    connection.execute(datasets.delete().where(datasets.c.id == made.about.id))
    connection.execute(
        datasets.insert().values(
            id=made.about.id,
            version=made.version,
            said=msgspec.msgpack.encode(made),
            issued=made.issued,
            modified=made.modified,
            withdrawn=False,
        )
    )


def dataset(connection: sa.Connection, id_: str) -> Dataset | None:
    """The version of a dataset in force; ``None`` if there is none."""
    return datasets_of(connection, [id_]).get(id_)


def datasets_of(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Dataset]:
    """Those of these that are in force."""
    query = sa.select(datasets.c.id, datasets.c.said).where(datasets.c.id.in_(list(ids)), ~datasets.c.withdrawn)
    return {r.id: msgspec.msgpack.decode(bytes(r.said), type=Dataset) for r in connection.execute(query)}


def last_version(connection: sa.Connection, id_: str) -> int:
    """The number of the newest version there was, withdrawn or not; 0 if there was none."""
    return connection.execute(sa.select(datasets.c.version).where(datasets.c.id == id_)).scalar() or 0


def withdraw_dataset(connection: sa.Connection, id_: str, now: int) -> bool:
    """Take it away; whether it was there."""
    query = datasets.update().where(datasets.c.id == id_, ~datasets.c.withdrawn).values(withdrawn=True, modified=now)
    return connection.execute(query).rowcount > 0


def changes(connection: sa.Connection, limit: int) -> list[tuple[str, int, bool, Dataset]]:
    """What was published or withdrawn last: id, when (ms), whether it is gone, and what it was."""
    query = sa.select(datasets).order_by(datasets.c.modified.desc(), datasets.c.id).limit(limit)
    decode = msgspec.msgpack.Decoder(Dataset).decode
    return [(r.id, r.modified, r.withdrawn, decode(bytes(r.said))) for r in connection.execute(query)]


def every_dataset(connection: sa.Connection) -> Iterator[Dataset]:
    """All that are in force, by id."""
    query = sa.select(datasets.c.said).where(~datasets.c.withdrawn).order_by(datasets.c.id)
    decode = msgspec.msgpack.Decoder(Dataset).decode
    for row in connection.execute(query):
        yield decode(bytes(row.said))
