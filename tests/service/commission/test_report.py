"""The annual report: from the record alone, the same bytes for everyone who has it."""

import os
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from renkei.cli import app
from renkei.commission.annual import report
from renkei.commission.archive import Archive
from renkei.errors import RenkeiError
from tests.attacks.measures import quiet
from tests.conftest import ROOT
from tests.world import until


@pytest.fixture(scope="module")
def record(nation, tmp_path_factory):
    """The record of a nation in which something has happened, as its commission hands it out while it runs."""
    for _ in range(12):
        nation.ask()
    nation.ask(item="disability")
    hub, here = (nation.world.institutions[b] for b in ("hub", "commission"))
    until(lambda: hub.keeper.head.size == here.keeper.head.size)
    path = tmp_path_factory.mktemp("record") / "record.log"
    found = CliRunner().invoke(app, ["commission", "export", str(path), "--home", str(nation.folder / "commission")])
    assert found.exit_code == 0, found.output
    return path


def year(nation):
    here = nation.world.institutions["commission"]
    return here.keeper.state.pack.day(here.clock()).year


def test_another_process_with_another_clock_and_place_makes_the_same_bytes(nation, record, tmp_path):
    """HTML and PDF, in both languages."""
    made = []
    for name, zone in (("one", "Asia/Tokyo"), ("two", "America/Lima")):
        (tmp_path / name).mkdir()
        copy = tmp_path / name / "other.log"
        shutil.copy(record, copy)
        command = [ROOT / ".venv/bin/renkei", "report", str(year(nation)), "--log", copy, "--to", tmp_path / name]
        environment = {**os.environ, "TZ": zone, "LC_ALL": "ja_JP.UTF-8" if name == "two" else "C.UTF-8"}
        subprocess.run(command, check=True, env=environment, capture_output=True)
        made.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).glob("report-*"))})
    assert len(made[0]) == 4
    assert made[0] == made[1]


def test_the_hub_s_copy_gives_the_same_report(nation, record, tmp_path):
    quiet(nation)
    told = []
    for keeper in ("hub", "commission"):
        path = tmp_path / f"{keeper}.log"
        found = CliRunner().invoke(app, ["commission", "export", str(path), "--home", str(nation.folder / keeper)])
        assert found.exit_code == 0, found.output
        told.append(report(Archive(path), year(nation), "en"))
    assert told[0] == told[1]


def test_it_tells_what_happened_and_no_small_counts(nation, record):
    text = report(Archive(record), year(nation), "en")
    assert "12" in text
    assert "fewer than 10" in text  # the one refusal
    assert "The row for this affair does not name this item." in text
    assert "年次報告" in report(Archive(record), year(nation), "ja")


def test_a_changed_cut_or_foreign_record_is_no_record(record, tmp_path):
    """Every kind of damage is found before a word is written."""
    good = record.read_bytes()
    for at in (0, 20, 200, len(good) // 2, len(good) - 200):
        bad = bytearray(good)
        bad[at] ^= 1
        (tmp_path / "bad.log").write_bytes(bytes(bad))
        with pytest.raises(RenkeiError):
            Archive(tmp_path / "bad.log")
    for cut in (0, 10, len(good) // 3, len(good) - 5):
        (tmp_path / "bad.log").write_bytes(good[:cut])
        with pytest.raises(RenkeiError):
            Archive(tmp_path / "bad.log")


def test_a_year_without_anything_and_wrong_paths_are_told(nation, record, tmp_path):
    run = CliRunner().invoke
    assert "year" in str(run(app, ["report", "1999", "--log", str(record), "--to", str(tmp_path)]).exception.code)
    assert run(app, ["report", "2026", "--log", str(tmp_path / "no"), "--to", str(tmp_path)]).exception.code == "file"
    assert run(app, ["report", "2026", "--log", str(record), "--to", str(tmp_path / "no")]).exception.code == "file"
    assert run(app, ["commission", "export", str(tmp_path / "x"), "--home", str(nation.folder / "portal")]).exit_code
