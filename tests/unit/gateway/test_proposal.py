"""First mappings: what a vendor's names and samples suggest, said with its doubts, and nothing about a person."""

import tomllib
from pathlib import Path

import openpyxl
import pytest

from renkei.errors import RenkeiError
from renkei.gateway.adapter import Unreadable, reading
from renkei.gateway.adapter.mapping import File
from renkei.gateway.adapter.proposal import Hints, as_toml, propose

REGISTER = {
    "ATENA_NO": "0000000001     ",
    "KOJIN_BNG": "123456789018",
    "SIMEI_KJ": "縁　花子",
    "SEINEN_YMD": "4030514",
    "SEIBETU_K": "2",
    "ZOKU_CD": "01",
    "SETAI_BNG": "00000001",
    "JUSYO": "浜通1番地",
    "JUMIN_YMD": "H03.05.14",
    "IDO_JIYU": "20",
}


@pytest.fixture(scope="module")
def hints():
    return Hints.read(Path("packs/japan"))


def proposed(pack, item, rows, hints):
    made = propose(pack, item, list(rows[0]), rows, hints)
    return made, {g.field: g for g in made.guesses}


def test_romaji_of_the_other_school_is_read_as_well(pack, hints):
    _, found = proposed(pack, "resident-record", [REGISTER] * 30, hints)
    assert {f: g.column for f, g in found.items() if g.column} == {
        "household_number": "SETAI_BNG",
        "relationship_to_head": "ZOKU_CD",
        "name": "SIMEI_KJ",
        "date_of_birth": "SEINEN_YMD",
        "sex": "SEIBETU_K",
        "address": "JUSYO",
        "resident_since": "JUMIN_YMD",
        "last_event": "IDO_JIYU",
    }


def test_a_column_no_sample_of_which_fits_is_not_proposed(pack, hints):
    """A personal number as the kind of an allowance, a sex as the end of one: such was proposed once, for want of others."""
    rows = [{**REGISTER, "KOJIN_BNG": f"{n:012}"} for n in range(200)]
    _, found = proposed(pack, "child-allowance", rows, hints)
    assert "KOJIN_BNG" not in {g.column for g in found.values()}
    assert "SEIBETU_K" not in {found["entitled_until"].column, found["entitled_from"].column}


def test_what_else_may_hold_the_local_ids_is_said(pack, hints):
    rows = [{"受給者宛名": "1", "児童宛名": "2", "手当額": 1000}]
    made, _ = proposed(pack, "child-allowance", rows, hints)
    assert {made.key, *made.keys} == {"受給者宛名", "児童宛名"}
    assert "  # or: " in as_toml(pack, made, 'table = "t"')


def test_two_digits_are_proposed_as_years_of_the_era(pack, hints):
    _, found = proposed(pack, "local-tax", [{"宛名番号": "1", "課税年度": "08"}], hints)
    assert found["tax_year"].written.date == "令和"


def test_a_proposal_is_toml_whatever_a_column_is_called(pack, hints):
    rows = [{"宛名番号": "1", '合計\n"所得"金額': "1", "備考\n欄": ""}]
    made, _ = proposed(pack, "local-tax", rows, hints)
    assert (
        tomllib.loads(as_toml(pack, made, 'table = "t"'))["local-tax"]["fields"]["income_total"] == '合計\n"所得"金額'
    )


def test_a_header_is_found_below_titles(tmp_path):
    book = openpyxl.Workbook()
    for row in (["令和8年度 課税状況"], [], ["宛名番号", "年度", "年税額", ""], [1, "R8", 100]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert reading.header(File("*", format="excel"), tmp_path / "a.xlsx") == (2, ["宛名番号", "年度", "年税額"])


@pytest.mark.parametrize(
    "text", ["0000000001     5080500000000000150001港　町 \r\n" * 3, "0012345,縁 花子,4030514\r\n", ""]
)
def test_a_file_without_a_header_shows_nobody(tmp_path, text):
    path = tmp_path / "a.dat"
    path.write_bytes(text.encode("cp932"))
    with pytest.raises(Unreadable) as unreadable:
        reading.header(File("*"), path)
    assert "0012345" not in str(unreadable.value)


def test_why_a_database_was_not_opened_is_said(tmp_path):
    with pytest.raises(RenkeiError, match="unable to open database file"):
        list(reading.tables_of(reading.open_database(f"sqlite:///{tmp_path / 'no' / 'such.db'}")))
