"""The adapter: a body's own tables as a data specification asks, and what it says when it cannot."""

import datetime as dt
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from renkei.errors import SetupError
from renkei.gateway.adapter import Adapter, ItemMapping, Mapping, NotLoaded, SourceFault
from renkei.gateway.adapter.mapping import File, PeopleMapping, Written

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
        ItemMapping("who", fields, table="t", since="a", until="b", dates="Q"),
        ItemMapping("who", {**fields, "tax_status": Written(add=("c_tax_status", "c_tax_year"))}, table="t"),
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


@pytest.fixture
def register(tmp_path, pack):
    """A resident register of the nineties: history in text columns, nines for no end. ``make(rows, **mapping)`` answers its adapter."""

    def make(rows, **more):
        url = f"sqlite:///{tmp_path / 'register.db'}"
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE IF EXISTS r"))
            connection.execute(sa.text("CREATE TABLE r (id TEXT, town TEXT, a TEXT, b TEXT)"))
            connection.execute(
                sa.text("INSERT INTO r VALUES (:i, :t, :a, :b)"),
                [dict(zip("itab", row, strict=True)) for row in rows],
            )
        engine.dispose()
        specification = pack.specifications["resident-record"]
        fields = {f.name: Written(value=pack.terms[f.term].example) for f in specification.fields if f.required} | {
            "address": "town"
        }
        declared = ItemMapping("id", fields, table="r", since="a", until="b", **more)
        today = int(dt.datetime(2026, 11, 26, tzinfo=dt.UTC).timestamp() * 1000)
        return Adapter(
            url, Mapping({"resident-record": declared}), lambda: pack, tmp_path / "copies", clock=lambda: today
        )

    return make


MOVED = [("7", "浜通", "20010220", "20260204"), ("7", "塩見", "20260205", "99999999")]


@pytest.mark.parametrize("copy", [False, True])
@pytest.mark.parametrize(
    ("rows", "more"),
    [
        (MOVED, {}),
        ([("7", "浜通", "4130220", "5080204"), ("7", "塩見", "5080205", "9999999")], {"dates": "numbered"}),
        ([("7", "浜通", "0000-00-00", "2026-02-04"), ("7", "塩見", "2026-02-05", "0000-00-00")], {}),
        ([("7", "浜通", "H13.02.20", "R08.02.04"), ("7", "塩見", "R08.02.05", "")], {}),
    ],
)
def test_validity_written_as_systems_write_days(register, copy, rows, more):
    made = register(rows, copy=copy, **more)
    if copy:
        made.load("resident-record")

    def towns(day):
        return [r["address"] for r in made.look_up("resident-record", day, ["7"]).get("7", [])]

    assert towns("2026-02-04") == ["浜通"]  # the same year: 20260205 is after 2026-02-04 only as a day, not as text
    assert towns("2026-12-31") == ["塩見"]
    assert towns("") == ["塩見"]  # one record a person: never what held once


@pytest.mark.parametrize("copy", [False, True])
def test_of_one_record_a_person_two_are_never_sent(register, copy):
    made = register([*MOVED, ("7", "元町", "20260205", "99999999"), ("8", "浜通", "20200101", "99999999")], copy=copy)
    if copy:
        with pytest.raises(NotLoaded):
            made.load("resident-record")
        assert made.load("resident-record", leave_out=True).lineage.held == 1
    with pytest.raises(SourceFault, match="do not fit" if copy else "several rows"):
        made.look_up("resident-record", "", ["7"])
    assert made.look_up("resident-record", "", ["8"])["8"]


def test_validity_that_cannot_be_read_is_a_fault_and_not_an_empty_answer(register):
    made = register([("7", "浜通", "20269999", "99999999")])
    with pytest.raises(SourceFault, match="cannot be read as a day"):
        made.look_up("resident-record", "", ["7"])


def test_local_ids_that_lost_their_zeros(tmp_path, pack):
    url = f"sqlite:///{tmp_path / 'tax.db'}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER, year TEXT, a INTEGER, b TEXT)"))
        connection.execute(
            sa.text("INSERT INTO t VALUES (12, '08', 1000, '5,000'), (120, '08', NULL, ''), (0, '08', 0, '')")
        )
        connection.execute(sa.text("CREATE TABLE p (id TEXT, n TEXT)"))
        connection.execute(sa.text("INSERT INTO p VALUES ('12 ', '123456789018')"))
    engine.dispose()
    terms = {f.name: pack.terms[f.term] for f in required(pack)}
    fields = {n: Written(value=t.example) for n, t in terms.items()} | {
        "tax_year": Written(column="year", date="令和"),
        "annual_tax": Written(add=("a", "b")),
    }
    for copy in (False, True):
        item = ItemMapping("id", fields, table="t", digits=10, copy=copy)
        made = Adapter(
            url, Mapping({ITEM: item}, PeopleMapping("p", "id", "n", digits=10)), lambda: pack, tmp_path / "copies"
        )
        if copy:
            with pytest.raises(NotLoaded):  # no annual tax
                made.load(ITEM)
            made.load(ITEM, leave_out=True)
        (record,) = made.look_up(ITEM, "", ["0000000012"])["0000000012"]
        assert (record["tax_year"], record["annual_tax"]) == (2026, 6000)
        assert made.look_up(ITEM, "", ["12", "0000000099"]) == {}
        with pytest.raises(SourceFault):
            made.look_up(ITEM, "", ["0000000120"])
        assert list(made.people()) == [("0000000012", "123456789018")]


def test_an_item_from_another_database(source, tmp_path, pack):
    """A town has its taxes in one system and its persons in another."""
    with sqlite3.connect(tmp_path / "persons.db") as connection:
        connection.execute("create table p (id text, n text)")
        connection.execute("insert into p values ('1', '123456789018')")
    (tmp_path / "url").write_text(f"{source.url}\n", "utf-8")
    fields = {f.name: f"c_{f.name}" for f in required(pack)}
    people = PeopleMapping("p", "id", "n")
    for url, item_source, fails in (
        (f"sqlite:///{tmp_path / 'persons.db'}", str(tmp_path / "url"), False),
        (f"sqlite:///{tmp_path / 'persons.db'}", str(tmp_path / "nowhere"), True),
        ("", str(tmp_path / "url"), True),  # the persons' table has no database
    ):
        item = ItemMapping("who", fields, table="t", source=item_source)
        if fails:
            with pytest.raises(SetupError):
                Adapter(url, Mapping({ITEM: item}, people), lambda: pack, tmp_path)
            continue
        made = Adapter(url, Mapping({ITEM: item}, people), lambda: pack, tmp_path)
        assert len(made.look_up(ITEM, "", ["1"])["1"]) == 2
        assert list(made.people()) == [("1", "123456789018")]
        made.close()


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
