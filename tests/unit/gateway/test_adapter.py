"""The adapter: a body's own tables as a data specification asks, and what it says when it cannot."""

import datetime as dt
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from renkei.errors import SetupError
from renkei.gateway.adapter import Adapter, ItemMapping, Mapping, SourceFault
from renkei.gateway.adapter.mapping import File, Written

ITEM = "local-tax"


def required(pack):
    return [f for f in pack.specifications[ITEM].fields if f.required]


def example(pack, field):
    term = pack.terms[field.term]
    return int(term.example) if term.type == "integer" else term.example


@pytest.fixture
def source(tmp_path, pack):
    """A table of tax assessments with validity, for two persons."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'source.db'}")
    fields = required(pack)
    columns = [
        sa.Column(f"c_{f.name}", sa.Integer if pack.terms[f.term].type == "integer" else sa.Text) for f in fields
    ]
    table = sa.Table(
        "t", sa.MetaData(), sa.Column("who", sa.Text), *columns, sa.Column("a", sa.Date), sa.Column("b", sa.Date)
    )
    table.create(engine)
    good = {f"c_{f.name}": example(pack, f) for f in fields}
    rows = [
        {"who": "1", "a": dt.date(2024, 1, 1), "b": dt.date(2024, 12, 31), **good},
        {"who": "1", "a": dt.date(2025, 1, 1), "b": None, **good},
        {"who": "2", "a": None, "b": None, **good},
    ]
    with engine.begin() as connection:
        connection.execute(table.insert(), rows)
    return engine


def adapter(source, pack, **more):
    fields = {f.name: f"c_{f.name}" for f in required(pack)}
    return opened(str(source.url), {ITEM: ItemMapping("who", fields, table="t", **more)}, pack)


def opened(url, items, pack):
    return Adapter(url, Mapping(items), lambda: pack, Path("/nonexistent"))


def test_as_of_a_day_only_what_held_then(source, pack):
    made = adapter(source, pack, since="a", until="b")
    assert len(made.look_up(ITEM, "", ["1", "2"])["1"]) == 2
    for day, count in (("2023-12-31", 0), ("2024-01-01", 1), ("2024-12-31", 1), ("2025-01-01", 1), ("2030-01-01", 1)):
        found = made.look_up(ITEM, day, ["1", "2"])
        assert (len(found.get("1", [])), len(found["2"])) == (count, 1)


def test_without_validity_an_earlier_day_cannot_be_answered(source, pack):
    with pytest.raises(SourceFault) as fault:
        adapter(source, pack).look_up(ITEM, "2024-01-01", ["1"])
    assert fault.value.reason == "as-of"


def test_a_source_that_is_away_is_told_apart_from_one_that_is_wrong(source, pack):
    made = adapter(source, pack)
    with source.begin() as connection:
        connection.execute(sa.text("ALTER TABLE t RENAME TO gone"))
    with pytest.raises(SourceFault) as fault:
        made.look_up(ITEM, "", ["1"])
    assert fault.value.reason == "source-unavailable"
    with source.begin() as connection:
        connection.execute(sa.text("ALTER TABLE gone RENAME TO t"))
        connection.execute(sa.text(f"UPDATE t SET c_{required(pack)[0].name} = NULL WHERE who = '2'"))
    assert made.look_up(ITEM, "", ["1"])["1"]
    with pytest.raises(SourceFault) as fault:
        made.look_up(ITEM, "", ["1", "2"])
    assert fault.value.reason == "source-fault"


def test_a_mapping_that_does_not_fit_is_refused_at_the_start(source, pack):
    fields = {f.name: f"c_{f.name}" for f in required(pack)}
    for wrong in (
        ItemMapping("who", fields, table="nowhere"),
        ItemMapping("nobody", fields, table="t"),
        ItemMapping("who", {}, table="t"),
        ItemMapping("who", {**fields, "no-such-field": "a"}, table="t"),
        ItemMapping("who", fields, table="t", since="a", until="c"),
        ItemMapping("who", fields, table="t", since="a"),
        ItemMapping("who", fields),
        ItemMapping("who", fields, table="t", file=File("x.csv")),
        ItemMapping(
            "who", {**fields, "tax_status": Written(column="c_tax_status", codes={"1": "no-such-code"})}, table="t"
        ),
        ItemMapping("who", {**fields, "tax_year": Written(column="c_tax_year", value="2026")}, table="t"),
        ItemMapping("who", fields, table="t", gaiji={"E000": "\ue001"}),
    ):
        with pytest.raises(SetupError):
            opened(str(source.url), {ITEM: wrong}, pack)
    later = opened(
        str(source.url), {"no-such-item": ItemMapping("who", fields, table="t")}, pack
    )  # its law may come yet
    with pytest.raises(SourceFault) as away:
        later.look_up("no-such-item", "", ["1"])
    assert away.value.reason == "source-unavailable"
    with pytest.raises(SetupError):
        opened("", {ITEM: ItemMapping("who", fields, table="t")}, pack)
    for url in ("nonsense", "nosuch+driver://x/y"):
        with pytest.raises(SetupError):
            opened(url, {ITEM: ItemMapping("who", fields, table="t")}, pack)


def test_a_source_that_is_away_at_the_start_is_waited_for(tmp_path, pack):
    """The gateway starts all the same, says that the source is away, and answers once it is there."""
    path = tmp_path / "later" / "source.db"
    fields = {f.name: f.name for f in pack.specifications[ITEM].fields}
    adapter = opened(f"sqlite:///{path}", {ITEM: ItemMapping("who", fields, table="t")}, pack)
    with pytest.raises(SourceFault) as away:
        adapter.look_up(ITEM, "", ["1"])
    assert away.value.reason == "source-unavailable"
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute(f"create table t (who text, {', '.join(f'{n} text' for n in fields)})")
    assert adapter.look_up(ITEM, "", ["1"]) == {}
    adapter.close()


@pytest.mark.parametrize(
    ("starts", "ends"),
    [
        (("20240101", "20250101", ""), ("20241231", "", "")),
        (("R6.1.1", "令和7年1月1日", None), ("令和6年12月31日", None, None)),
        (("5060101", "5070101", " "), ("5061231", "       ", "")),
    ],
)
def test_as_of_a_day_however_the_table_writes_its_days(tmp_path, pack, starts, ends):
    fields = required(pack)
    columns = [
        sa.Column(f"c_{f.name}", sa.Integer if pack.terms[f.term].type == "integer" else sa.Text) for f in fields
    ]
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'text.db'}")
    span = [sa.Column("a", sa.Text), sa.Column("b", sa.Text)]
    table = sa.Table("t", sa.MetaData(), sa.Column("who", sa.Numeric), *columns, *span)
    table.create(engine)
    good = {f"c_{f.name}": example(pack, f) for f in fields}
    with engine.begin() as connection:
        for who, start, end in zip((1, 1, 2), starts, ends, strict=True):
            connection.execute(table.insert(), {"who": who, "a": start, "b": end, **good})
    made = adapter(engine, pack, since="a", until="b", dates="numbered" if starts[0][0] == "5" else "")
    for day, count in (("2023-12-31", 0), ("2024-01-01", 1), ("2024-12-31", 1), ("2025-01-01", 1), ("2030-01-01", 1)):
        found = made.look_up(ITEM, day, ["1", "2"])
        assert (len(found.get("1", [])), len(found["2"])) == (count, 1), day


def test_more_records_than_there_is_room_for_are_no_answer(source, pack):
    made = adapter(source, pack)
    with source.begin() as connection:
        for _ in range(9):
            connection.execute(sa.text("INSERT INTO t SELECT * FROM t"))
    with pytest.raises(SourceFault) as fault:
        made.look_up(ITEM, "", ["1"])
    assert fault.value.reason == "source-fault"
