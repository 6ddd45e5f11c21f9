"""Dropped files: what one of them does, holds up no other; what comes meanwhile is not lost; nothing leads out of the folder."""

import os
from types import SimpleNamespace

import msgspec
import pytest

from renkei.gateway.adapter import Adapter, ItemMapping, Mapping
from renkei.gateway.adapter.mapping import File, Written
from renkei.gateway.upkeep import Upkeep

ITEM = "child-allowance"


class Observe:
    def __init__(self):
        self.said = []
        self.log = SimpleNamespace(**dict.fromkeys(("info", "warning", "error"), self._note))

    def _note(self, what, **more):
        self.said.append((what, more))

    def count(self, *_):
        pass


@pytest.fixture
def upkeep(tmp_path, pack):
    specification = pack.specifications[ITEM]
    fields = {f.name: Written(value=pack.terms[f.term].example) for f in specification.fields if f.required}
    fields["monthly_amount"] = "m"
    mapping = ItemMapping("id", fields, file=File("*.csv"), removals_most=1.0)
    other = next(i for i, s in pack.specifications.items() if i != ITEM and s.records == "many")
    more = {f.name: Written(value=pack.terms[f.term].example) for f in pack.specifications[other].fields if f.required}
    books = ItemMapping("id", more, file=File("*.xlsx", format="excel"))
    adapter = Adapter("", Mapping({ITEM: mapping, other: books}), lambda: pack, tmp_path / "copies")
    drop = tmp_path / "drop"
    for folder in (drop, drop / "loaded", drop / "refused"):
        folder.mkdir()
    made = Upkeep(drop, adapter, "ja", None, None, None, Observe())
    made.adapter, made.drop = adapter, drop
    yield made
    adapter.close()


def look(upkeep, times=2):
    for _ in range(times):
        upkeep._look()


def names(folder):
    return sorted(p.name.partition("-")[2] for p in folder.iterdir())


def amounts(upkeep, *local_ids):
    found = upkeep.adapter.look_up(ITEM, "", list(local_ids))
    return [[r["monthly_amount"] for r in found.get(i, [])] for i in local_ids]


def test_a_link_is_not_followed(upkeep, tmp_path):
    (tmp_path / "neighbour.csv").write_text("id,m\n1,7\n", "utf-8")
    (upkeep.drop / "a.csv").symlink_to(tmp_path / "neighbour.csv")
    os.mkfifo(upkeep.drop / "b.csv")
    look(upkeep, 3)
    assert upkeep.adapter.copies.lineage(ITEM) is None
    assert names(upkeep.drop / "loaded") == []


def test_a_file_that_comes_under_the_name_of_one_that_is_loaded_is_loaded_too(upkeep, monkeypatch):
    path, load = upkeep.drop / "a.csv", upkeep.adapter.load
    path.write_text("id,m\n1,1\n", "utf-8")

    def slow(item, file, **more):
        made = load(item, file, **more)
        (upkeep.drop / "new.part").write_text("id,m\n1,2\n", "utf-8")
        (upkeep.drop / "new.part").replace(path)
        monkeypatch.setattr(upkeep.adapter, "load", load)
        return made

    monkeypatch.setattr(upkeep.adapter, "load", slow)
    look(upkeep, 2)
    assert amounts(upkeep, "1") == [[1]]
    assert path.exists()
    look(upkeep, 2)
    assert amounts(upkeep, "1") == [[2]]


def test_a_file_that_is_written_while_it_is_read_is_neither_loaded_nor_refused(upkeep, monkeypatch):
    path = upkeep.drop / "a.csv"
    path.write_text("id,m\n1,1\n", "utf-8")
    rows = upkeep.adapter.translator(ITEM).row

    def slow(row, number):
        if number == 2:
            with path.open("a", encoding="utf-8") as file:
                file.write("2,2\n")
        return rows(row, number)

    monkeypatch.setattr(upkeep.adapter.translator(ITEM), "row", slow)
    look(upkeep, 2)
    assert upkeep.adapter.copies.lineage(ITEM) is None
    assert names(upkeep.drop / "refused") == []
    monkeypatch.undo()
    look(upkeep, 2)
    assert amounts(upkeep, "1")[0] == [1]


def test_one_file_s_trouble_holds_up_no_other_item(upkeep, monkeypatch):
    (upkeep.drop / "a.xlsx").write_bytes(b"x")
    os.utime(upkeep.drop / "a.xlsx", (1, 1))
    long = "名" * 80 + ".csv"
    (upkeep.drop / long).write_text("id,m\n1,x\n", "utf-8")
    load = upkeep.adapter.load

    def full(item, file, **more):
        if file.suffix == ".xlsx":
            raise OSError(28, "No space left on device")
        return load(item, file, **more)

    monkeypatch.setattr(upkeep.adapter, "load", full)
    look(upkeep, 3)
    assert (upkeep.drop / "a.xlsx").exists()
    assert [more for what, more in upkeep._observe.said if what == "copy.failed"] == [
        {"item": upkeep._item_of(upkeep.drop / "a.xlsx"), "reason": "OSError"}
    ]
    assert len(list((upkeep.drop / "refused").iterdir())) == 2


def test_a_later_file_waits_for_an_earlier_one_that_is_not_whole_yet(upkeep):
    first, second = upkeep.drop / "1.csv", upkeep.drop / "2.csv"
    second.write_text("id,m\n1,2\n", "utf-8")
    look(upkeep, 1)
    first.write_text("id,m\n1,1\n", "utf-8")
    os.utime(first, (1, 1))
    look(upkeep, 1)
    assert second.exists()
    look(upkeep, 1)
    assert amounts(upkeep, "1") == [[2]]
    assert names(upkeep.drop / "loaded") == ["1.csv", "2.csv"]
    upkeep._clear()
    assert len(names(upkeep.drop / "loaded")) == 2, "a week counts from now, not from when it was written"


def test_what_was_refused_is_not_kept_for_ever_and_a_mark_is(upkeep):
    """It is full of what is somebody's; that later changes wait for it stays known."""
    for name in ("1-old.csv", "1-old.csv.report.csv", f"{ITEM}.awaited"):
        path = upkeep.drop / "refused" / name
        path.write_text("x", "utf-8")
        os.utime(path, (0, 0))
    (upkeep.drop / "refused" / "2-new.csv").write_text("x", "utf-8")
    upkeep._clear()
    assert {p.name for p in (upkeep.drop / "refused").iterdir()} == {"2-new.csv", f"{ITEM}.awaited"}


def test_later_changes_wait_for_a_refused_one_to_be_mended(upkeep):
    """Mended and loaded after them it would bring back what they had changed."""
    declared = upkeep.adapter.mapping.items[ITEM]
    changing = msgspec.structs.replace(declared, file=File("*.csv", changes=True))
    upkeep.adapter.mapping.items[ITEM] = changing

    def drop(name, text, age):
        (upkeep.drop / name).write_text(text, "utf-8")
        os.utime(upkeep.drop / name, (age, age))

    drop("1.csv", "id,m\n1,1\n2,1\n", 1)
    drop("2.csv", "id,m\n1,2\n2,x\n", 2)
    drop("3.csv", "id,m\n1,3\n", 3)
    look(upkeep, 5)
    assert amounts(upkeep, "1", "2") == [[1], [1]]
    (report,) = (upkeep.drop / "refused").glob("*.report.csv")
    assert "同じ名前" in report.read_text("utf-8-sig")
    assert upkeep.report()[f"awaited_{ITEM}"]
    drop("2.csv", "id,m\n1,2\n2,2\n", 4)
    look(upkeep, 5)
    assert amounts(upkeep, "1", "2") == [[3], [2]]
    assert f"awaited_{ITEM}" not in upkeep.report()
    drop("4.csv", "id,m\n1,x\n", 5)
    drop("5.csv", "id,m\n1,5\n", 6)
    look(upkeep, 5)
    upkeep.adapter.load(ITEM, _made(upkeep.drop.parent / "4.csv", "id,m\n1,4\n"))
    look(upkeep, 5)
    assert amounts(upkeep, "1") == [[5]], "what a clerk loaded by hand is loaded"


def _made(path, text):
    path.write_text(text, "utf-8")
    return path


def test_what_is_told_of_a_file_without_a_header_is_nothing_of_anybody(upkeep):
    (upkeep.drop / "a.csv").write_text("0001,山田太郎\n0002,花子\n", "utf-8")
    look(upkeep)
    (report,) = (upkeep.drop / "refused").glob("*.report.csv")
    assert "山田" not in report.read_text("utf-8-sig")
    assert "山田" not in str(upkeep._observe.said)
