"""Local copies: files as Japan's systems write them, read whole or not at all, in constant memory, with what they changed."""

import csv
import io
import os
import signal
import subprocess
import sys
import tracemalloc
import zipfile

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renkei.errors import RenkeiError, SetupError
from renkei.gateway.adapter import Adapter, ItemMapping, Mapping, NotLoaded, SourceFault, Unreadable
from renkei.gateway.adapter.mapping import File, Written

ITEM = "child-allowance"
COLUMNS = ("宛名番号", "手当区分", "支給状況", "児童数", "開始年月", "月額")


@pytest.fixture(scope="module")
def fields(pack):
    def first(term):
        return next(iter(pack.codelists[pack.terms[term].codes]))

    codes = {
        f.name: {"1": first(f.term)} for f in pack.specifications[ITEM].fields if pack.terms[f.term].type == "code"
    }
    return {
        "kind": Written(column="手当区分", codes=codes["kind"]),
        "payment_status": Written(column="支給状況", codes=codes["payment_status"]),
        "eligible_children": "児童数",
        "entitled_from": "開始年月",
        "monthly_amount": "月額",
    }


@pytest.fixture
def make(tmp_path, pack, fields):
    def make(file=None, **more):
        mapping = ItemMapping("宛名番号", {**fields, **more.pop("fields", {})}, file=file or File("*.csv"), **more)
        return Adapter("", Mapping({ITEM: mapping}), lambda: pack, tmp_path / "copies")

    return make


def row(local_id, amount="10000", *, kind="1", since="R8.4", children="2"):
    return [local_id, kind, "1", children, since, amount]


def write(path, rows, *, encoding="cp932", header=COLUMNS, delimiter=","):
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([*([header] if header else []), *rows])
    return path


def amounts(adapter, *local_ids):
    found = adapter.look_up(ITEM, "", list(local_ids))
    return {i: [r["monthly_amount"] for r in found.get(i, [])] for i in local_ids}


def test_a_file_becomes_the_copy_and_the_next_one_tells_what_changed(make, tmp_path):
    adapter = make(removals_most=0.5)
    with pytest.raises(SourceFault) as none_yet:
        adapter.look_up(ITEM, "", ["1"])
    assert none_yet.value.reason == "source-unavailable"
    first = adapter.load(ITEM, write(tmp_path / "a.csv", [row("1"), row("2"), row("2", "5,000"), row("3")])).lineage
    assert (first.rows, first.records, first.persons, first.added, first.changed, first.removed) == (4, 4, 3, 3, 0, 0)
    assert amounts(adapter, "1", "2", "9") == {"1": [10000], "2": [10000, 5000], "9": []}
    assert adapter.look_up(ITEM, "", ["1"])["1"][0]["entitled_from"] == "2026-04"
    second = adapter.load(
        ITEM, write(tmp_path / "b.csv", [row("1"), row("2", "5,000"), row("2"), row("4"), row("3", "1")])
    ).lineage
    assert (second.added, second.changed, second.removed) == (1, 1, 0)
    third = adapter.load(ITEM, write(tmp_path / "c.csv", [row("1"), row("4"), row("3", "1")])).lineage
    assert (third.added, third.changed, third.removed, third.origin) == (0, 0, 1, "c.csv")
    assert adapter.copies.lineage(ITEM) == third
    assert amounts(adapter, "2") == {"2": []}
    assert len(third.digest) == 64


def test_one_bad_row_and_nothing_is_loaded(make, tmp_path):
    adapter = make()
    adapter.load(ITEM, write(tmp_path / "a.csv", [row("1"), row("2")]))
    before = (tmp_path / "copies" / f"{ITEM}.db").read_bytes()
    told = []
    bad = write(tmp_path / "b.csv", [row("1", "7"), row("2", kind="8"), row("3", since="H31.5"), ["x"], row("", "5")])
    with pytest.raises(NotLoaded) as refused:
        adapter.load(ITEM, bad, tell=told.append)
    assert [(f.row, f.field or f.column) for f in told] == [(3, "kind"), (4, "entitled_from"), (5, ""), (6, "宛名番号")]
    assert refused.value.loaded.wrong == 4
    assert (tmp_path / "copies" / f"{ITEM}.db").read_bytes() == before
    assert amounts(adapter, "1") == {"1": [10000]}
    assert sorted(os.listdir(tmp_path / "copies")) == [f"{ITEM}.db", f"{ITEM}.lock"]


def test_whoever_is_left_out_is_not_said_to_have_nothing(make, tmp_path):
    adapter = make()
    loaded = adapter.load(ITEM, write(tmp_path / "a.csv", [row("1"), row("2"), row("2", kind="8")]), leave_out=True)
    assert (loaded.wrong, loaded.lineage.held, loaded.lineage.persons) == (1, 1, 1)
    assert amounts(adapter, "1") == {"1": [10000]}
    with pytest.raises(SourceFault) as held:
        adapter.look_up(ITEM, "", ["2"])
    assert held.value.reason == "source-fault"


def test_a_file_that_was_cut_off_at_the_end_of_a_row_is_noticed(make, tmp_path):
    adapter = make()
    adapter.load(ITEM, write(tmp_path / "a.csv", [row(str(n)) for n in range(100)]))
    short = write(tmp_path / "b.csv", [row(str(n)) for n in range(80)])
    with pytest.raises(NotLoaded) as refused:
        adapter.load(ITEM, short)
    assert refused.value.code == "too-many-removed"
    assert amounts(adapter, "99") == {"99": [10000]}
    assert adapter.load(ITEM, short, accept_removals=True).lineage.removed == 20


def test_a_dry_run_says_what_would_become_of_it_and_changes_nothing(make, tmp_path):
    adapter = make()
    said = adapter.load(ITEM, write(tmp_path / "a.csv", [row("1")]), keep=False)
    assert said.lineage.added == 1
    assert adapter.copies.lineage(ITEM) is None


def test_files_of_changes(make, tmp_path):
    columns = (*COLUMNS, "異動区分")
    adapter = make(File("*.csv", changes=True), gone={"異動区分": ("9",)})
    adapter.load(ITEM, write(tmp_path / "a.csv", [[*row(str(n)), "1"] for n in range(10)], header=columns))
    changed = [[*row("3", "1"), "1"], [*row("4", ""), "9"], [*row("77"), "1"]]
    lineage = adapter.load(ITEM, write(tmp_path / "b.csv", changed, header=columns)).lineage
    assert (lineage.added, lineage.changed, lineage.removed, lineage.persons) == (1, 1, 1, 10)
    assert amounts(adapter, "2", "3", "4", "77") == {"2": [10000], "3": [1], "4": [], "77": [10000]}
    measured = adapter.measure(ITEM)  # of the whole copy, not of the last file
    assert (measured.rows, measured.persons, measured.filled["monthly_amount"]) == (10, 10, 10)
    loaded = adapter.load(ITEM, write(tmp_path / "c.csv", [[*row("3", "x"), "1"]], header=columns), leave_out=True)
    assert (loaded.lineage.held, loaded.lineage.filled["monthly_amount"]) == (1, 9)


def test_states_of_earlier_days(make, tmp_path):
    columns = (*COLUMNS, "から", "まで")
    adapter = make(since="から", until="まで")
    rows = [[*row("1", "1"), "R7.4.1", "令和8年3月31日"], [*row("1", "2"), "20260401", ""]]
    adapter.load(ITEM, write(tmp_path / "a.csv", rows, header=columns))
    for day, expected in (
        ("2025-03-31", []),
        ("2025-04-01", [1]),
        ("2026-03-31", [1]),
        ("2026-04-01", [2]),
        ("2030-01-01", [2]),
    ):
        assert [r["monthly_amount"] for r in adapter.look_up(ITEM, day, ["1"]).get("1", [])] == expected
    with pytest.raises(SourceFault):
        make(file=File("other")).look_up(ITEM, "2025-01-01", ["1"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16", "euc_jp"])
def test_encodings(make, tmp_path, encoding):
    adapter = make(File("*", encoding="euc_jp" if encoding == "euc_jp" else ""))
    adapter.load(ITEM, write(tmp_path / "a.csv", [row("1")], encoding=encoding))
    assert amounts(adapter, "1") == {"1": [10000]}


def test_tabs_a_title_above_the_header_and_the_mark_of_old_systems(make, tmp_path):
    path = write(tmp_path / "a.tsv", [row("1"), row("2")], delimiter="\t")
    path.write_bytes("児童手当一覧\r\n".encode("cp932") + path.read_bytes() + b"\x1a")
    adapter = make(File("*", format="tsv", skip=1))
    assert adapter.load(ITEM, path).lineage.persons == 2


@pytest.mark.parametrize("lines", [True, False])
def test_fixed_width_by_bytes(make, tmp_path, lines):
    widths = (8, 1, 1, 2, 7, 7)
    cells = ["00000001", "1", "1", " 2", "R08.04 ", "  10000"]
    record = "".join(cells).encode("cp932")
    path = tmp_path / "host.dat"
    path.write_bytes(
        b"".join(record + (b"\r\n" if lines else b"") for _ in range(3)).replace(b"00000001", b"00000002", 1)
    )
    adapter = make(File("*", format="fixed", columns=COLUMNS, widths=widths))
    assert adapter.load(ITEM, path).lineage.persons == 2
    assert amounts(adapter, "00000001") == {"00000001": [10000, 10000]}
    path.write_bytes(path.read_bytes() + b"0000")
    with pytest.raises(NotLoaded):
        adapter.load(ITEM, path)
    with pytest.raises(SetupError):
        make(File("*", format="fixed", columns=COLUMNS, widths=(8, 1))).load(ITEM, path)


def test_excel(make, tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "一覧"
    for cells in (
        ["令和8年度"],
        list(COLUMNS),
        ["1", 1, 1, 2, "R8.4", 10000],
        [2, "1", 1.0, 2, "令和8年4月", None],
        [None] * 6,
    ):
        sheet.append(cells)
    book.save(tmp_path / "a.xlsx")
    adapter = make(File("*.xlsx", format="excel", skip=1, sheet="一覧"))
    with pytest.raises(NotLoaded) as refused:
        adapter.load(ITEM, tmp_path / "a.xlsx")
    assert [(f.row, f.field) for f in refused.value.loaded.faults] == [(4, "monthly_amount")]
    sheet["F4"] = "5,000"
    book.save(tmp_path / "a.xlsx")
    adapter.load(ITEM, tmp_path / "a.xlsx")
    assert amounts(adapter, "1", "2") == {"1": [10000], "2": [5000]}
    raw = (tmp_path / "a.xlsx").read_bytes()
    for broken in (b"", b"PK\x03\x04", raw[: len(raw) // 2], b"\xd0\xcf\x11\xe0" + bytes(600)):
        (tmp_path / "b.xlsx").write_bytes(broken)
        with pytest.raises(Unreadable):
            adapter.load(ITEM, tmp_path / "b.xlsx")
    with pytest.raises(Unreadable):
        make(File("*.xlsx", format="excel", sheet="無い")).load(ITEM, tmp_path / "a.xlsx")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "unreadable"),
        ("宛名番号,手当区分\r\n1,1\r\n", "unreadable"),
        (",".join((*COLUMNS, "月額")) + "\r\n", "unreadable"),
        (",".join(COLUMNS) + '\r\n1,1,1,2,R8.4,"10', "unreadable"),
        (",".join(COLUMNS) + '\r\n1,1,1,2,R8.4,"1"0\r\n', "unreadable"),
        (",".join(COLUMNS) + "\r\n1,1,1,2,R8.4\r\n", "not-loaded"),
        (",".join(COLUMNS) + "\r\n1,1,1,2,R8.4,1,1\r\n", "not-loaded"),
    ],
)
def test_files_that_are_not_what_they_should_be(make, tmp_path, text, code):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode("cp932"))
    with pytest.raises(RenkeiError) as refused:
        make().load(ITEM, path)
    assert refused.value.code == code
    assert refused.value.problem("ja")["detail"] != refused.value.problem("en")["detail"]


def test_a_byte_that_is_no_character_is_told_with_its_row(make, tmp_path, fields):
    adapter = make(fields={"kind": fields["kind"]}, file=File("*", encoding="cp932"))
    path = write(tmp_path / "a.csv", [row("1"), row("2")])
    path.write_bytes(path.read_bytes().replace(b"\r\n2,1", b"\r\n2\xff,1"))
    with pytest.raises(NotLoaded) as refused:
        adapter.load(ITEM, path)
    (fault,) = refused.value.loaded.faults
    assert (fault.row, fault.column) == (3, "宛名番号")


def test_one_record_a_person_where_the_specification_says_so(tmp_path, pack):
    specification = pack.specifications["resident-record"]
    fields = {f.name: Written(value=pack.terms[f.term].example) for f in specification.fields}
    adapter = Adapter(
        "", Mapping({"resident-record": ItemMapping("id", fields, file=File("*"))}), lambda: pack, tmp_path / "c"
    )
    (tmp_path / "a.csv").write_text("id,x\n1,\n2,\n1,\n", "utf-8")
    with pytest.raises(NotLoaded) as refused:
        adapter.load("resident-record", tmp_path / "a.csv")
    assert [f.row for f in refused.value.loaded.faults] == [4]


@settings(max_examples=150)
@given(
    st.lists(
        st.lists(
            st.one_of(st.sampled_from(["1", "2", "R8.4", "10000", '"', "\r", "\n", ",", "\x00"]), st.text(max_size=4)),
            max_size=8,
        )
    ),
    st.binary(max_size=8),
)
def test_no_file_makes_a_half_copy(tmp_path_factory, pack, fields, rows, tail):
    """Whatever is in a file: it is loaded whole, or refused and the copy stays byte for byte."""
    folder = tmp_path_factory.mktemp("fuzz")
    adapter = Adapter(
        "", Mapping({ITEM: ItemMapping("宛名番号", fields, file=File("*"))}), lambda: pack, folder / "copies"
    )
    adapter.load(ITEM, write(folder / "good.csv", [row("1")]))
    before = (folder / "copies" / f"{ITEM}.db").read_bytes()
    text = ",".join(COLUMNS) + "\r\n" + "\r\n".join(",".join(cells) for cells in rows)
    (folder / "bad.csv").write_bytes(text.encode("utf-8", "surrogatepass") + tail)
    try:
        adapter.load(ITEM, folder / "bad.csv")
    except (NotLoaded, Unreadable):
        assert (folder / "copies" / f"{ITEM}.db").read_bytes() == before
    adapter.close()


def test_a_load_that_is_killed_leaves_the_copy_as_it_was(make, tmp_path):
    adapter = make()
    adapter.load(ITEM, write(tmp_path / "a.csv", [row("1")]))
    before = (tmp_path / "copies" / f"{ITEM}.db").read_bytes()
    write(tmp_path / "b.csv", [row(str(n), "1") for n in range(200_000)])
    code = f"""
import sys
sys.path.insert(0, {os.getcwd()!r})
from pathlib import Path
from renkei.gateway.adapter import Adapter, Mapping, ItemMapping
from renkei.gateway.adapter.mapping import File, Written
from renkei.law import Pack
pack = Pack.load(Path("packs/japan"))
fields = {{f.name: Written(value=pack.terms[f.term].example) for f in pack.specifications[{ITEM!r}].fields}}
mapping = Mapping({{{ITEM!r}: ItemMapping("宛名番号", fields, file=File("*"))}})
adapter = Adapter("", mapping, lambda: pack, Path({str(tmp_path / "copies")!r}))
adapter.load({ITEM!r}, Path({str(tmp_path / "b.csv")!r}), progress=lambda a, b: print("on the way", flush=True))
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"on the way\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert (tmp_path / "copies" / f"{ITEM}.db").read_bytes() == before
    assert amounts(adapter, "1", "2") == {"1": [10000], "2": []}
    assert adapter.load(ITEM, write(tmp_path / "c.csv", [row("1", "3")])).lineage.changed == 1


def test_memory_does_not_grow_with_the_file(make, tmp_path):
    adapter, peaks = make(), []
    for count in (5_000, 40_000):
        path = write(tmp_path / "a.csv", [row(str(n)) for n in range(count)])
        tracemalloc.start()
        adapter.load(ITEM, path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.6  # of eight times the rows


def test_whoever_is_not_kept_any_more_goes_by_a_file_of_changes(make, tmp_path):
    columns = (*COLUMNS, "削除")
    adapter = make(
        File("*.csv", changes=True), keep={"削除": ("0",)}, gone={"削除": ("1",)}, fields={"monthly_amount": "月額"}
    )
    adapter.load(ITEM, write(tmp_path / "a.csv", [[*row(str(n)), "0"] for n in range(20)], header=columns))
    said = [[*row("3"), "1"], [*row("4"), "9"], [*row("5", "5"), "0"], [*row("6", "6"), "0"], [*row("6"), "1"]]
    lineage = adapter.load(ITEM, write(tmp_path / "b.csv", said, header=columns), accept_removals=True).lineage
    assert lineage.removed == 3
    assert amounts(adapter, "2", "3", "4", "5", "6") == {"2": [10000], "3": [], "4": [], "5": [5], "6": []}


def test_a_row_of_nobody_is_not_left_out(make, tmp_path):
    adapter = make()
    for bad in (["2", "1"], row("", "5")):
        with pytest.raises(NotLoaded) as refused:
            adapter.load(ITEM, write(tmp_path / "a.csv", [row("1"), bad]), leave_out=True)
        assert refused.value.code == "nobodys-rows"


def test_whose_row_does_not_fit_is_held_however_their_number_is_written(make, tmp_path):
    book = openpyxl.Workbook()
    for cells in (list(COLUMNS), [1.0, 1, 1, 2, "R8.4", 1], [1.0, 9, 1, 2, "R8.4", 1], [1e5, 9, 1, 2, "R8.4", 1]):
        book.active.append(cells)
    book.save(tmp_path / "a.xlsx")
    raw = (tmp_path / "a.xlsx").read_bytes()
    assert raw
    adapter = make(File("*", format="excel"))
    assert adapter.load(ITEM, tmp_path / "a.xlsx", leave_out=True).lineage.held == 2
    for local_id in ("1", "100000"):
        with pytest.raises(SourceFault):
            adapter.look_up(ITEM, "", [local_id])


def test_records_are_in_the_order_of_numbers_that_a_file_has_as_text(make, tmp_path):
    columns = (*COLUMNS, "履歴番号")
    adapter = make(order="履歴番号")
    rows = [[*row("1", str(n)), str(n)] for n in (10, 9, 2, 11)]
    adapter.load(ITEM, write(tmp_path / "a.csv", rows, header=columns))
    assert amounts(adapter, "1") == {"1": [2, 9, 10, 11]}


def test_a_number_that_no_message_has_room_for_is_a_fault_of_its_row(make, tmp_path):
    adapter = make(fields={"monthly_amount": Written(column="月額", times=1000)})
    with pytest.raises(NotLoaded) as refused:
        adapter.load(ITEM, write(tmp_path / "a.csv", [row("1", "9" * 18)]))
    assert [f.field for f in refused.value.loaded.faults] == ["monthly_amount"]


def test_a_host_s_file_whose_first_line_is_short_is_not_read_askew(make, tmp_path):
    widths = (8, 1, 1, 2, 7, 7)
    record = b"0000000111 2R08.04   10000"
    (tmp_path / "a.dat").write_bytes(record[:-1] + b"\n" + (record + b"\n") * 40)
    adapter = make(File("*", format="fixed", columns=COLUMNS, widths=widths))
    with pytest.raises(NotLoaded) as refused:
        adapter.load(ITEM, tmp_path / "a.dat")
    assert refused.value.loaded.wrong == 41  # but two that stand where whole ones do
    (tmp_path / "b.dat").write_bytes((record + b"\n") * 2 + record + b"x" * 5000 + b"\n" + record + b"\n")
    with pytest.raises(NotLoaded) as refused:
        adapter.load(ITEM, tmp_path / "b.dat")
    (fault,) = refused.value.loaded.faults
    assert (fault.row, "5026" in fault.said.en) == (3, True)


def test_what_would_fill_the_memory_is_not_read(make, tmp_path):
    with (tmp_path / "a.csv").open("wb") as file:
        file.write(",".join(COLUMNS).encode() + b"\r\n")
        for _ in range(64):
            file.write(b"1" * (1 << 20))
    (tmp_path / "bomb.xlsx").write_bytes(_book({"xl/styles.xml": b"<x>" + b" " * (129 << 20)}))
    (tmp_path / "far.xlsx").write_bytes(_book({}, b'<row r="9999999999"><c r="A9999999999"><v>1</v></c></row>'))
    laughs = b'<!DOCTYPE x [<!ENTITY a "' + b"a" * 1000 + b'">'
    laughs += b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 50) for n in range(6)) + b"]>"
    (tmp_path / "laughs.xlsx").write_bytes(_book({}, b"<row><c><v>&g;</v></c></row>", laughs))
    tracemalloc.start()
    try:
        for name, kind in (("a.csv", "csv"), ("bomb.xlsx", "excel"), ("far.xlsx", "excel"), ("laughs.xlsx", "excel")):
            with pytest.raises(Unreadable):
                make(File("*", format=kind)).load(ITEM, tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def _book(parts, rows=b"", before=b""):
    """An Excel file with other parts and rows than it should have."""
    made, book = io.BytesIO(), openpyxl.Workbook()
    book.active.append(list(COLUMNS))
    book.save(made)
    out = io.BytesIO()
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = parts.get(name, old.read(name))
            if name.startswith("xl/worksheets/sheet"):
                data = before + data.replace(b"</sheetData>", rows + b"</sheetData>")
            new.writestr(name, data)
    return out.getvalue()


def test_a_file_without_rows_is_not_loaded_unless_that_is_right(make, tmp_path):
    nothing = write(tmp_path / "a.csv", [])
    with pytest.raises(NotLoaded) as refused:
        make().load(ITEM, nothing)
    assert refused.value.code == "empty"
    assert make().load(ITEM, nothing, accept_removals=True).lineage.persons == 0


def test_a_file_without_its_header_shows_nobody(make, tmp_path):
    with pytest.raises(Unreadable) as unreadable:
        make().load(ITEM, write(tmp_path / "a.csv", [row("0012345"), row("2")], header=None))
    assert "0012345" not in str(unreadable.value.problem("en")) + str(unreadable.value.problem("ja"))


def test_a_fault_is_found_again_by_whose_row_it_is(make, tmp_path):
    with pytest.raises(NotLoaded) as refused:
        make().load(ITEM, write(tmp_path / "a.csv", [row("1"), row("22", "much")]))
    assert [(f.row, f.local_id) for f in refused.value.loaded.faults] == [(3, "22")]
