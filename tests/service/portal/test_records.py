"""What a resident sees of who looked: searched, taken along, late and in part where the law says so, and never more than they see."""

import csv
import datetime as dt
import io
import json
import re
import shutil
import subprocess

import pytest

from renkei.institution.wording import PackWords
from renkei.portal.accesses import DAY, Accesses, Wanted
from tests.conftest import PACK
from tests.console import Browser
from tests.world import Running, until

HIDDEN = "child-allowance"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A country that hides item and affair of one affair's accesses, shows investigations after 30 days, and tells of them."""
    pack = tmp_path_factory.mktemp("pack") / "pack"
    shutil.copytree(PACK, pack)
    (pack / "redactions.csv").write_text(
        f"affair,item,hides,ja,en\n{HIDDEN},local-tax,item affair purpose,ほかの方のため,It would tell of somebody else.\n",
        "utf-8",
    )
    (pack / "withholding.csv").write_text(
        "purpose,days,told,ja,en\ninvestigation,30,yes,調査のため,Something is withheld for an investigation.\n",
        "utf-8",
    )
    running = Running(tmp_path_factory.mktemp("records") / "nation", residents=60, pack=pack)
    asked = {
        "hidden": running.ask(),
        "open": running.ask(provider="pension-service", item="pension-benefits"),
        "refused": running.ask(item="disability", affair="long-term-care-benefits-and-premiums"),
        "late": running.ask(purpose="investigation", withheld=True, affair="long-term-care-benefits-and-premiums"),
    }
    running.asked = {name: told[1] for name, told in asked.items()}
    leaves = [told["leaf"] for told in running.asked.values()]
    until(lambda: running.world.institutions["portal"].filing.tree.size > max(leaves))
    yield running
    running.stop()


@pytest.fixture
def browser(world):
    signed_in = Browser(world.url("portal"))
    assert signed_in.form("/signin", secret=world.plan.personas[0].secret)[0] == 200
    return signed_in


def seen(text):
    return {int(n) for n in re.findall(r'href="/records/(\d+)"', text)}


def test_what_would_tell_of_somebody_else_is_nowhere(world, browser):
    """Not on the page, in a file, in the proof; nor is it found by searching for it."""
    leaf = world.asked["hidden"]["leaf"]
    pages = [browser.get("/records")[1], browser.get(f"/records/{leaf}")[1]]
    assert all("It would tell of somebody else." in page for page in pages)
    assert "Child allowance" not in pages[1]
    assert "Local tax" not in pages[1]
    proof = browser.get(f"/records/{leaf}/proof")[1].decode()
    assert "extra" not in proof
    assert "extra" in browser.get(f"/records/{world.asked['open']['leaf']}/proof")[1].decode()
    for word in ("Child+allowance", "amounts", "row+74"):
        assert leaf not in seen(browser.get(f"/records?q={word}")[1]), word
    assert leaf in seen(browser.get("/records?q=ohashi")[1])
    for form in ("csv", "json"):
        text = browser.get(f"/records.{form}")[1].decode()
        row = next(line for line in text.splitlines() if re.search(rf'(^|"entry":|^){leaf}[,"]', line.lstrip("\ufeff")))
        assert "local-tax" not in row
        assert "allowance" not in row
        assert "row 74" not in row


def test_what_is_withheld_is_told_of_and_shown_when_its_time_has_come(world, browser):
    portal, leaf = world.world.institutions["portal"], world.asked["late"]["leaf"]
    page = browser.get("/records")[1]
    assert leaf not in seen(page)
    assert browser.get(f"/records/{leaf}")[0] == browser.get(f"/records/{leaf}/proof")[0] == 404
    assert browser.form("/records", f"/records/{leaf}/report", kind="unrecognised")[0] == 404
    assert page.count("Something is withheld for an investigation.") == 1
    code = world.code("portal").code

    def at(days):
        pack, now = portal.member.pack, portal.clock() + days * DAY
        accesses, words = Accesses(portal.database, now, pack), PackWords(pack, "en")
        found = world.do(accesses.page([code], Wanted(), words, below=None, limit=50))
        return {a.position for a in found}, world.do(accesses.one([code], leaf)), world.do(accesses.withheld([code]))

    shown, one, withheld = at(29)
    assert (leaf in shown, one) == (False, None)
    assert withheld[0].until.day > 27, "the day on which it happened could be worked out"
    shown, one, withheld = at(31)
    assert (leaf in shown, withheld) == (True, [])
    assert one.late.en == "Something is withheld for an investigation."


def test_one_finds_what_one_looks_for(world, browser):
    leaves = {name: told["leaf"] for name, told in world.asked.items()}
    assert seen(browser.get("/records?refused=yes")[1]) == {leaves["refused"]}
    assert seen(browser.get("/records?q=PENSION+ohashi")[1]) == {leaves["open"]}
    assert seen(browser.get("/records?q=none-such")[1]) == set()
    today = dt.datetime.now(world.world.institutions["portal"].member.pack.zone).date()
    ago = today - dt.timedelta(days=1)
    assert len(seen(browser.get(f"/records?from={today}&to={today}")[1])) == 3
    assert seen(browser.get(f"/records?to={ago}")[1]) == set()
    for wrong in ("from=yesterday", f"from={today}&to={ago}", "to=2026-02-30", "to=9999-12-31", "from=0001-01-01"):
        status, page = browser.get(f"/records?{wrong}")
        assert (status, 'role="alert"' in page) == (400, True), wrong
    assert browser.get("/records.csv?from=x")[0] == 400


def test_the_list_is_taken_along_as_it_is_seen(world, browser):
    rows = json.loads(browser.get("/records.json?refused=yes")[1])
    assert [(r["entry"], r["allowed"], r["requester_title"]) for r in rows] == [
        (world.asked["refused"]["leaf"], False, "Ohashi City")
    ]
    read = list(csv.DictReader(io.StringIO(browser.get("/records.csv")[1].decode("utf-8-sig"))))
    assert [int(r["entry"]) for r in read] == sorted((int(r["entry"]) for r in read), reverse=True)
    assert len(read) == 3
    assert json.loads(browser.get("/records.json?q=none-such")[1]) == []
    paper = browser.get("/records.pdf")[1]
    assert paper[:5] == b"%PDF-"
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", "-", "-"], input=paper, capture_output=True, check=True).stdout.decode()
        assert "Ohashi City" in text
        assert "Local tax" not in text
        assert "It would tell of somebody else." in " ".join(text.split())


def test_nobody_takes_another_s_list_along(world):
    stranger = Browser(world.url("portal"))
    for path in ("/records", "/records.csv", "/records.json", "/records.pdf"):
        status, _ = stranger.get(path)
        assert status == 401 or stranger.at.startswith("/signin"), path
    other = Browser(world.url("portal"))
    other.form("/signin", secret=world.plan.personas[-1].secret)
    assert json.loads(other.get("/records.json")[1]) == []
    assert other.get(f"/records/{world.asked['open']['leaf']}/proof")[0] == 404
