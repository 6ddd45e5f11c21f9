"""The command line: exit codes, one form of failure, JSON of one shape, the reader's language; nothing ends in a traceback."""

import json
import shutil
import sys

import pytest

from renkei.cli import entry
from renkei.institution.settings import Home, Settings
from renkei.witness.settings import load_settings


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["renkei", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            entry()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    return call


@pytest.fixture
def hub_home(tmp_path):
    home = Home(tmp_path / "hub")
    home.write_toml("settings.toml", Settings(body="hub", role="hub", kinds=(), database="sqlite://", bus=""))
    return home.folder


VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXPLAIN = ("law", "explain", "--requester", "ohashi-city", "--affair", "child-allowance", "--item", "local-tax")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("number", "check", "123456789018"), 0),
        (("number", "check", "123456789019"), 1),
        (("number", "check", "x"), 1),
        (("number", "check", "1", "--format", "zz-none"), 2),
        (("law", "check", "packs/japan"), 0),
        (("law", "check", "/nonexistent"), 1),
        ((*EXPLAIN, "--provider", "tax-union"), 0),
        ((*EXPLAIN, "--provider", "national-tax"), 1),
        ((*EXPLAIN, "--provider", "[/bold]"), 1),
        ((*EXPLAIN, "--provider", "tax-union", "--on", "tomorrow"), 2),
        (("law", "list", "souls"), 2),
        (("run", "/nonexistent"), 3),
        (("verify", "/nonexistent", "--keys", "/nonexistent"), 3),
        (("authority", "load", "/nonexistent", "--home", "/nonexistent"), 3),
        (("authority", "load", "README.md", "--home", "/nonexistent"), 3),
        (("commission", "confirm", "5", "--home", "/nonexistent"), 3),
        (("commission", "confirm", "-5", "--home", "/nonexistent"), 2),
        (("witness", "init", "/proc/x", "--name", "w.example", "--port", "9000"), 3),
        (("witness", "init", "/nonexistent", "--name", "a b", "--port", "9000"), 2),
        (("witness", "init", "/nonexistent", "--name", "w.example", "--port", "0"), 2),
        (("witness", "log", "/nonexistent", "no-key"), 2),
        (("witness", "log", "/nonexistent", VKEY), 3),
        (("witness", "peer", "/nonexistent", "http://127.0.0.1:1", VKEY), 2),
        (("witness", "run", "/nonexistent"), 3),
        (("witness", "status", "/nonexistent"), 3),
        (("witness", "verify-evidence", "/nonexistent", VKEY), 3),
        (("witness", "verify-evidence", "README.md", VKEY), 1),
        (("nation", "status", "--nation", "/nonexistent"), 3),
        (("nation", "up", "--nation", "/proc/x"), 3),
        (("nation", "up", "--residents", "-5"), 2),
        (("nation", "smoke", "--residents", "0"), 2),
        (("inquire", "--nation", "/nonexistent"), 3),
        (("inquire", "--issued-at", "garbage"), 2),
        (("inquire", "--wait", "nan"), 2),
        (("inquire", "--wait", "-1"), 2),
        (("inquire", "--wait", "1e400"), 2),
        (("inquire", "--save", "/nonexistent/x"), 3),
        (("no-such-command",), 2),
    ],
)
def test_every_use_ends_in_its_exit_code_and_a_sentence(run, words, code):
    got, out, err = run(*words)
    assert got == code, (out, err)
    assert out + err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "words",
    [
        ("number", "check", "1"),
        ("number", "check", "1", "--format", "zz-none"),
        (*EXPLAIN, "--provider", "nobody"),
        ("run", "/nonexistent", "--json"),
        ("nation", "status", "--nation", "/nonexistent"),
        ("inquire", "--wait", "nan"),
        ("verify", "README.md", "--keys", "README.md"),
        ("no-such-command",),
    ],
)
def test_failures_are_one_line_of_json_for_programs(run, words):
    code, out, _ = run(*words, *(() if "--json" in words else ("--json",)))
    assert code
    told = json.loads(out)
    assert {"title", "status", "detail", "remedy"} <= set(told)


def test_number_check_has_one_shape(run):
    """Programs look at ``valid``, whatever is wrong."""
    assert json.loads(run("number", "check", "123456789018", "--json")[1])["valid"] is True
    for words in (("1",), ("x" * 100,), ("123456789019",), ("123456789019", "--format", "jp-individual")):
        told = json.loads(run("number", "check", *words, "--json")[1])
        assert (told["valid"], told["formats"]) == (False, [])


def test_a_number_is_never_repeated_in_full(run):
    for words in (("123456789018",), ("123456789019",), ("123456789018", "--json")):
        _, out, err = run("number", "check", *words)
        assert words[0] not in out + err


def test_failures_speak_the_reader_s_language(run, monkeypatch):
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert "国がありません" in run("nation", "status", "--nation", "/nonexistent")[2]
    assert "できません" in run(*EXPLAIN, "--provider", "national-tax")[1]


def test_a_body_asks_itself_nothing(run):
    code, out, _ = run(*EXPLAIN[:3], "tax-union", *EXPLAIN[4:], "--provider", "tax-union", "--json")
    assert (code, json.loads(out)["reason"]) == (1, "own-data")


def test_cut_lists_say_so(run):
    """Whoever asks the wrong way sees how many rows there are, and how to see them all."""
    words = ("law", "explain", "--requester", "prefecture", "--affair", "maritime", "--provider", "municipality")
    _, out, _ = run("law", "list", "affairs", "--json")
    for affair in json.loads(out):
        words = ("law", "explain", "--requester", "municipality", "--affair", affair)
        words += ("--provider", "municipality", "--item", "resident-record")
        _, told, _ = run(*words, "--json")
        alternatives = len(json.loads(told)["alternatives"])
        if alternatives > 12:
            assert f"and {alternatives - 12} more" in run(*words)[1]
            return
    pytest.fail("no such long list")


def test_a_command_for_one_role_refuses_another_s_folder(run, hub_home):
    code, _, err = run("commission", "confirm", "5", "--home", hub_home)
    assert (code, "role" in err) == (3, True)
    assert not (hub_home / "confirm").exists()
    assert run("authority", "load", "README.md", "--home", hub_home)[0] == 3


def test_a_folder_with_something_else_in_it_is_left_alone(run, tmp_path):
    (tmp_path / "precious").write_text("x")
    code, _, err = run("nation", "up", "--nation", tmp_path, "--residents", "20")
    assert (code, "not-empty" in err) == (3, True)
    assert (tmp_path / "precious").read_text() == "x"


def test_a_witness_is_made_once_and_told_of_logs_and_peers(run, tmp_path):
    """Its key is printed and does not change; a log or peer given again is replaced; nothing but a key for that use is taken."""
    home = tmp_path / "w"
    code, out, _ = run("witness", "init", home, "--name", "w.example/1", "--port", "9000")
    key = out.strip()
    assert (code, key.startswith("w.example/1+")) == (0, True)
    assert run("witness", "init", home, "--name", "w.example/1", "--port", "9000")[0] == 3
    assert run("witness", "log", home, key)[0] == 2
    assert run("witness", "log", home, VKEY)[0] == 0
    assert run("witness", "log", home, VKEY, "--proofs", "ftp://x")[0] == 2
    assert json.loads(run("witness", "log", home, VKEY, "--proofs", "http://log.example/proof", "--json")[1]) == {
        "log": "example.com/foo"
    }
    assert run("witness", "peer", home, "not an address", key)[0] == 2
    for address in ("http://a.example", "https://b.example"):
        assert run("witness", "peer", home, address, key)[0] == 0
    settings = load_settings(Home(home))
    assert [(x.origin, x.proofs) for x in settings.logs] == [("example.com/foo", "http://log.example/proof")]
    assert [x.url for x in settings.peers] == ["https://b.example"]
    assert run("witness", "status", home)[0] == 3


def test_a_pack_is_held_against_what_was_released(run, tmp_path):
    pack = tmp_path / "pack"
    shutil.copytree("packs/japan", pack)
    tax = pack / "specifications/local-tax.toml"
    text = tax.read_text("utf-8")
    code = next(b for b in text.split("\n\n") if 'name = "municipality_code"' in b)

    def write(new):
        tax.write_text(text.replace(code, new), "utf-8")

    assert run("law", "diff", "packs/japan", pack)[0] == 0
    write("")
    status, said, _ = run("law", "check", pack)
    assert (status, "municipality_code" in said, "requesters" in said) == (1, True, True)
    assert run("law", "release", pack)[0] == 1
    status, said, _ = run("law", "diff", "packs/japan", pack, "--json")
    (change,) = json.loads(said)["changes"]
    assert (status, change["weight"], change["whom"]) == (1, "breaks", "requesters")
    assert change["affairs"]
    write(code + '\nuntil = "2099-12-31"')
    assert run("law", "check", pack)[0] == 0
    assert run("law", "release", pack)[0] == 0
    write("")
    assert run("law", "check", pack)[0] == 1
    assert run("law", "diff", pack / "released.json", pack, "--on", "2100-01-01")[0] == 0
    (pack / "released.json").write_text("{", "utf-8")
    assert run("law", "check", pack)[0] == 3
