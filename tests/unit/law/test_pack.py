"""The pack loader: a good pack loads and has a stable hash; every fault is found with file, line and remedy."""

import pytest
from tests.conftest import PACK

from renkei.law import Pack, PackFaults, check, read_folder


@pytest.fixture
def files():
    return dict(read_folder(PACK))


def only_fault(files):
    pack, faults = check(files)
    assert pack is None
    assert faults
    return faults[0]


def with_line(files, name, old, new):
    text = files[name].decode()
    assert old in text
    return {**files, name: text.replace(old, new, 1).encode()}


def test_the_pack_s_hash_is_of_its_law_alone(files, pack):
    """Demo data does not change the law; a changed title does. The archive loads back to the same hash."""
    assert Pack.load(pack.archive).hash == pack.hash
    assert Pack.load({**files, "population/nation.toml": b"x"}).hash == pack.hash
    changed = with_line(files, "purposes.csv", "collect", "collection")
    assert Pack.load(changed).hash != pack.hash


@pytest.mark.parametrize(
    ("name", "old", "new", "word"),
    [
        ("linkages.csv", "health-insurance-state", "no-such-affair", "affairs.csv"),
        ("linkages.csv", ",2017-05-30,", ",30.5.2017,", "date"),
        ("linkages.csv", "1,1,", "1,one,", "number"),
        ("kinds.csv", "kind,ja,en", "Kind,ja,en", "header"),
        ("bodies.csv", ",gateway,", ",gatevvay,", "role"),
        ("terms.csv", ",integer,", ",number,", "type"),
        ("subscriptions.csv", ",400", ",801", "1 to 800"),
        ("subscriptions.csv", ",400", ",a year", "whole number"),
        ("subscriptions.csv", "child-allowance,pension-benefits", "child-allowance,local-tax", "above"),
        ("subscriptions.csv", "child-allowance,", "no-such-affair,", "linkages.csv"),
        ("withholding.csv", ",1095,", ",soon,", "number of days"),
        ("withholding.csv", "investigation,", "collect,", "withhold"),
        ("withholding.csv", ",1095,,", ",1095,perhaps,", "told"),
        ("redactions.csv", "affair item purpose", "affair everything", "parts"),
        ("redactions.csv", ",*,", ",no-item,", "items.csv"),
        ("pack.toml", "id =", "id ==", "TOML"),
        ("pack.toml", "cite_ja =", "cite_jp =", "cite_jp"),
    ],
)
def test_a_fault_names_its_file_and_a_remedy(files, name, old, new, word):
    fault = only_fault(with_line(files, name, old, new))
    assert fault.file == name
    assert word in fault.sentence + fault.remedy
    assert fault.remedy


def test_a_fault_names_its_line(files):
    """The line is the one a text editor shows."""
    text = files["linkages.csv"].decode().splitlines()
    text[41] = text[41].replace("2017-05-30", "tomorrow")
    fault = only_fault({**files, "linkages.csv": "\n".join(text).encode()})
    assert (fault.file, fault.line) == ("linkages.csv", 42)


def test_all_faults_are_reported_together(files):
    """Not just the first."""
    broken = with_line(with_line(files, "linkages.csv", "1,1,", "1,one,"), "bodies.csv", ",gateway,", ",x,")
    broken = {k: v for k, v in broken.items() if k != "purposes.csv"}
    _, faults = check(broken)
    assert {f.file for f in faults} >= {"linkages.csv", "bodies.csv", "purposes.csv"}
    with pytest.raises(PackFaults) as raised:
        Pack.load(broken)
    assert len(raised.value.faults) == len(faults)


def test_circles_of_classes_are_found(files):
    broken = with_line(files, "kinds.csv", "\n", "\na-one,い,A,a-two,\na-two,ろ,B,a-one,\n")
    assert any("holds itself" in f.sentence for f in check(broken)[1])


def line_of(files, name, text):
    return next(i for i, line in enumerate(files[name].decode().splitlines(), 1) if text in line)


@pytest.mark.parametrize(
    ("name", "old", "new", "at", "word"),
    [
        ("pack.toml", 'cite_ja = "', 'cite_ja = "{foo} ', "cite_ja", "braces"),
        ("pack.toml", "linkage table, row {row}", "linkage table", "cite_en", "does not name the row"),
        ("pack.toml", 'person_number = "jp-individual"', 'person_number = "x"', "person_number", "format"),
        ("pack.toml", "expires_days = 7", "expires_days = -7", "expires_days =", "from 1 to 30"),
        ("pack.toml", "expires_days = 7", "expires_days = 31", "expires_days =", "from 1 to 30"),
        ("pack.toml", "expires_days_max = 30", "expires_days_max = 9999", "expires_days_max =", "from 1 to 366"),
        ("pack.toml", "retention_years = 7", 'retention_years = "7"', "retention_years", "int"),
        ("pack.toml", "Asia/Tokyo", "Mars/Base", "time_zone", "IANA"),
        ("pack.toml", '"ipamjm.ttf"', '"../ipamjm.ttf"', "typefaces = [", "without a folder"),
        ("bodies.csv", "482013", "482014", "482014", "check digit"),
        ("bodies.csv", "portal,portal,", "portal,hub,", "portal,hub,", "the hub already"),
        ("linkages.csv", "\n119,1,", "\n,1,", ",1,prefecture,intractable", "row number"),
        ("linkages.csv", "\n119,2,", "\n119,4,", "119,4,", "does not follow"),
        (
            "linkages.csv",
            "\n119,1,prefecture,intractable",
            "\n118,1,prefecture,intractable",
            "118,1,prefecture,intractable",
            "118",
        ),
        (
            "linkages.csv",
            "local-tax,2017-05-30",
            "local-tax resident-record,2017-05-30",
            "local-tax resident",
            "several",
        ),
        ("items.csv", ",1\n", ",1000\n", ",1000", "defined_in"),
        ("items.csv", "\nlocal-tax,", "\nno-use,い,A,,1\nlocal-tax,", "no-use", "No linkage"),
        ("kinds.csv", "\n", "\na-one,い,A,a-none,\n", "a-one", "a-none"),
        ("kinds.csv", "\n", "\na-one,い,A,a-two,\na-two,ろ,B,a-one,\n", "a-one,い", "holds itself"),
        ("purposes.csv", "Collect", "Coll\0ect", "Coll\0", "control character"),
        ("specifications/disability.toml", "version = 1", "version = 0", "version", "Count versions"),
        ("specifications/disability.toml", "version = 1", 'version = "one"', "version", "int"),
        ("specifications/disability.toml", "required = true", "requird = true", "requird", "requird"),
    ],
)
def test_every_fault_has_its_line(files, name, old, new, at, word):
    broken = with_line(files, name, old, new)
    found = [f for f in check(broken)[1] if word in f.sentence + f.remedy]
    assert found
    assert (found[0].file, found[0].line) == (name, line_of(broken, name, at))


def test_what_is_missing_or_too_much_is_a_fault(files):
    header = files["linkages.csv"].split(b"\n", 1)[0] + b"\n"
    assert any("below the header" in f.sentence for f in check({**files, "linkages.csv": header})[1])
    stray = only_fault({**files, "linkage.csv": b"x"})
    assert (stray.file, stray.sentence) == ("linkage.csv", "This file is no part of a pack.")
    name = "specifications/disability.toml"
    head = files[name].split(b"\n[[fields]]")[0] + b"\nfields = []\n"
    assert "no fields" in only_fault({**files, name: head}).sentence
    crooked = files[name].replace(b'name = "', b'name = "No 1 ', 1)
    assert "field name" in only_fault({**files, name: crooked}).sentence
    lines = [x for x in files["bodies.csv"].splitlines() if b",hub," not in x]
    assert any("'hub'" in f.sentence for f in check({**files, "bodies.csv": b"\n".join(lines)})[1])


def test_repeated_and_crooked_lines_are_found(files):
    last = files["linkages.csv"].decode().rstrip().splitlines()[-1]
    twice = files["linkages.csv"] + f"{last}\n".encode()
    assert "same linkage" in only_fault({**files, "linkages.csv": twice}).sentence
    short = files["linkages.csv"] + b"1,2,3\n"
    assert "3 cells" in only_fault({**files, "linkages.csv": short}).sentence
    assert "UTF-8" in only_fault({**files, "items.csv": files["items.csv"] + b"\xff"}).sentence


def test_a_folder_without_a_pack_is_one_clear_fault(tmp_path):
    with pytest.raises(PackFaults) as raised:
        read_folder(tmp_path)
    assert "pack.toml" in raised.value.faults[0].sentence
