"""A municipality that nobody planned for joins a running nation, and answers from a legacy PostgreSQL database by declarations alone."""

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from renkei.cli import entry
from renkei.institution.joining import fingerprint
from renkei.institution.keys import Keys
from renkei.institution.settings import Home
from renkei.messages.wire import Enrolment, decode_as, encode
from tests.conftest import PACK
from tests.console import Browser
from tests.world import Running, free_port, until

TOWN = "minato-town"
ITEM = "child-allowance"
FIRST_MAPPING = """
[people]
table = "T_ATENA"
key = "ATENA_NO"
number = "KOJIN_NO"
keep = { SHOJO_FLG = ["0"] }

[child-allowance]
table = "T_JIDO_TEATE_SHIKYU"
key = "ATENA_NO"
keep = { SAKUJO_FLG = ["0"] }
order = "SHIKYU_KAISHI_YM"

[child-allowance.fields]
kind = { column = "TEATE_KBN", codes = { "1" = "child-allowance", "2" = "special-benefit" } }
payment_status = { column = "SHIKYU_JOTAI", codes = { "01" = "under-review", "02" = "paid", "09" = "ended" } }
eligible_children = "JIDO_NINZU"
entitled_from = { column = "SHIKYU_KAISHI_YM", date = "numbered" }
entitled_until = { column = "SHIKYU_SHURYO_YM", date = "numbered", empty = ["00000"] }
monthly_amount = { column = "GETSUGAKU_SEN", times = 1000 }
"""
LEGACY = """
CREATE TABLE "T_ATENA" ("ATENA_NO" char(15) PRIMARY KEY, "KOJIN_NO" char(12), "SHIMEI_KANJI" varchar(100), "SHIMEI_KANA" varchar(100),
  "SEINENGAPPI" numeric(7), "SEIBETSU" char(1), "SHOJO_FLG" char(1) NOT NULL);
CREATE TABLE "T_JIDO_TEATE_SHIKYU" ("ATENA_NO" char(15), "RENBAN" numeric(3), "TEATE_KBN" char(1), "SHIKYU_JOTAI" char(2),
  "JIDO_NINZU" numeric(2), "SHIKYU_KAISHI_YM" char(5), "SHIKYU_SHURYO_YM" char(5), "GETSUGAKU_SEN" numeric(9), "SAKUJO_FLG" char(1),
  "KOSHIN_NICHIJI" timestamp DEFAULT now());
"""


SECOND = "premature-infant-medical"
SPECIFICATION = """
item = "premature-infant-medical"
version = 1
records = "many"
ja = "養育医療の給付"
en = "Medical care for premature infants"
provenance = { ja = "養育医療給付台帳", en = "Ledger of medical care for premature infants" }

[[fields]]
name = "decided_on"
term = "decided-on"
required = true
ja = "決定日"
en = "Decided on"

[[fields]]
name = "birth_weight"
term = "birth-weight"
required = false
ja = "出生時の体重"
en = "Weight at birth"
"""
TERM = "birth-weight,integer,g,,出生体重,Weight at birth,生まれたときの体重。,What the child weighed at birth in grams.,1480,sensitive,\n"
SECOND_MAPPING = """
[premature-infant-medical]
key = "宛名番号"
file = { name = "養育医療*.csv" }

[premature-infant-medical.fields]
decided_on = "決定年月日"
birth_weight = "出生体重"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("joined") / "nation")
    yield running
    running.stop()


@pytest.fixture
def renkei(monkeypatch, capsys):
    """The command: exit code, and what it printed as JSON."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["renkei", *map(str, words), "--json"])
        with pytest.raises(SystemExit) as ended:
            entry()
        said = capsys.readouterr().out
        return ended.value.code or 0, json.loads(said) if said else None

    return call


@pytest.fixture(scope="module")
def legacy(postgres, world):
    """The town's own database: CHAR with blanks, eras as digits, thousands of yen, rows marked as deleted; nobody here designed it."""
    url = postgres("minato_legacy")
    engine = sa.create_engine(url)
    number = world.number(0)
    with engine.begin() as connection:
        for statement in LEGACY.split(";"):
            if statement.strip():
                connection.execute(sa.text(statement))
        for row in (
            f"('000000000012345', '{number}', '連携　花子', 'ﾚﾝｹｲ ﾊﾅｺ', 3580715, '2', '0')",
            "('000000000099999', NULL, '転出　済', 'ﾃﾝｼｭﾂ ｽﾞﾐ', 4010203, '1', '1')",
        ):
            connection.execute(sa.text(f'INSERT INTO "T_ATENA" VALUES {row}'))
        for row in (
            "('12345', 1, '1', '02', 2, '50704', '50803', 15, '0')",
            "('12345', 2, '1', '02', 3, '50804', '00000', 20, '0')",
            "('12345', 3, '1', '02', 9, '50804', '00000', 99, '1')",
        ):
            connection.execute(
                sa.text(
                    "INSERT INTO \"T_JIDO_TEATE_SHIKYU\" SELECT lpad(v.a, 15, '0'), v.b, v.c, v.d, v.e, v.f, v.g, v.h, v.i "
                    f"FROM (VALUES {row}) AS v(a, b, c, d, e, f, g, h, i)"
                )
            )
    engine.dispose()
    return url


def ask(world, **changes):
    """Ohashi asks the town."""
    return world.ask("enishi-prefecture", provider=TOWN, **changes)


def test_from_nothing_to_real_answers(world, renkei, legacy, tmp_path):
    # the law: a pack with the new body, published at both keepers
    pack = tmp_path / "pack"
    shutil.copytree(PACK, pack)
    bodies = pack / "bodies.csv"
    bodies.write_text(bodies.read_text("utf-8") + f"{TOWN},gateway,municipality,,湊町,Minato Town\n", "utf-8")
    assert renkei("law", "publish", pack, "--home", world.folder / "hub")[0] == 3  # another pack needs another version
    header = pack / "pack.toml"
    header.write_text(header.read_text("utf-8").replace('version = "2016-08.1"', 'version = "2016-08.2"'), "utf-8")
    assert renkei("law", "publish", pack, "--home", world.folder / "hub")[0] == 0
    time.sleep(1.5)
    hub = world.world.institutions["hub"]
    assert TOWN not in hub.keeper.state.pack.bodies  # the commission does not have it yet
    assert world.http("hub", "/health", token="")[1]["law_waits_for_commission"].startswith("japan 2016-08.2")
    assert renkei("law", "publish", pack, "--home", world.folder / "commission")[0] == 0
    until(lambda: TOWN in hub.keeper.state.pack.bodies)
    until(lambda: "law_waits_for_commission" not in world.http("hub", "/health", token="")[1])

    # the body: a home, a request, the commission's and the bus operator's consent
    home = world.folder / TOWN
    assert renkei("body", "invite", world.folder / "hub", tmp_path / "invitation")[0] == 0
    words = ("--invitation", tmp_path / "invitation", "--source", legacy, "--port", free_port())
    status, made = renkei("body", "new", home, TOWN, *words)
    assert status == 0
    assert (home / "hints" / "columns.csv").read_bytes() == (PACK / "hints" / "columns.csv").read_bytes()
    enrol, admit = ("commission", "enrol", made["request"]), ("nation", "admit", made["request"])
    for mark in ((), ("--mark", ""), ("--mark", "0000 " * 5)):  # nothing is an act before it was compared
        assert renkei(*enrol, "--home", world.folder / "commission", *mark)[0] == 1
        assert renkei(*admit, "--nation", world.folder, *mark)[0] == 1
    assert not (world.folder / "commission" / "enrolments" / f"{TOWN}.bin").exists()
    mark = ("--mark", made["fingerprint"])
    status, seen = renkei(*enrol, "--home", world.folder / "commission", *mark)
    assert (status, seen["fingerprint"]) == (0, made["fingerprint"])
    assert renkei(*admit, "--nation", world.folder, *mark)[0] == 0
    until(lambda: TOWN in hub.keeper.state.bodies)
    _assess(world)

    # the data: a proposal, corrected by an engineer, checked
    status, proposed = renkei("source", "propose", legacy, ITEM, "--pack", pack)
    assert (proposed["table"], proposed["key"]) == ("T_JIDO_TEATE_SHIKYU", "ATENA_NO")
    found = {g["field"]: g["column"] for g in proposed["guesses"]}
    assert found["entitled_from"] == "SHIKYU_KAISHI_YM"
    assert found["eligible_children"] == "JIDO_NINZU"
    (home / "mapping.toml").write_text(FIRST_MAPPING, "utf-8")
    status, said = renkei("source", "check", home, ITEM)
    assert (status, said["copy"]["rows"], said["copy"]["persons"]) == (0, 2, 1)
    status, shown = renkei("source", "preview", home, ITEM)
    assert [r["record"]["monthly_amount"] for r in shown] == [15000, 20000]

    # it runs, and answers
    _start(world, home, made["token"])
    until(lambda: _health(world).get("linked") == "true")
    until(lambda: (_health(world)["codes_awaited"], _health(world)["subjects"]) == ("0", "1"))
    status, said = renkei("source", "people", home, "--report", tmp_path / "people.csv")
    assert said["with_code"] == 1
    assert (status, said["persons"]) == (int(bool(said["without"])), 1 + sum(said["without"].values()))
    assert len((tmp_path / "people.csv").read_text("utf-8-sig").splitlines()) == said["persons"]
    affair = _affair(world)
    status, told = until(lambda: (got := ask(world, affair=affair, item=ITEM))[1].get("state") == "answered" and got)
    assert [(r["monthly_amount"], r["eligible_children"], r["entitled_from"]) for r in told["records"]] == [
        (15000, 2, "2025-04"),
        (20000, 3, "2026-04"),
    ]
    assert "entitled_until" not in told["records"][1]


def test_a_second_item_is_a_specification_and_a_mapping(world, renkei, tmp_path_factory, tmp_path):
    """No line of Python: a new law with the item's fields, three lines of mapping, and a file put into a folder."""
    town = world.world.institutions[TOWN]
    pack = tmp_path / "pack"
    shutil.copytree(PACK, pack)
    for name, old, new in (
        ("pack.toml", 'version = "2016-08.1"', 'version = "2016-08.3"'),
        ("bodies.csv", "national-tax,", f"{TOWN},gateway,municipality,,湊町,Minato Town\nnational-tax,"),
        ("terms.csv", "full-name,", TERM + "full-name,"),
        (
            "specifications/local-tax.toml",
            'term = "dependants"',
            'term = "dependants"\nuntil = "2099-03-31"\ninstead = "income_total"',
        ),
    ):
        text = (pack / name).read_text("utf-8")
        assert text.count("\n" + old) == 1
        (pack / name).write_text(text.replace("\n" + old, "\n" + new), "utf-8")
    (pack / "specifications" / f"{SECOND}.toml").write_text(SPECIFICATION, "utf-8")
    homes = ("--home", world.folder / "hub", "--home", world.folder / "commission")
    assert renkei("law", "publish", pack, *homes)[0] == 0
    until(lambda: SECOND in town.member.pack.specifications)
    _everybody_concerned_is_told(world)

    home = town.home.folder
    (home / "mapping.toml").write_text(FIRST_MAPPING + SECOND_MAPPING, "utf-8")
    world.stop_body(TOWN)
    world.start_body(TOWN)
    rows = "宛名番号,決定年月日,出生体重\r\n{},令和8年4月1日,{}\r\n"
    (home / "drop" / "養育医療0.csv").write_bytes(rows.format("000000000012345", "不明").encode("cp932"))
    report = until(lambda: next((home / "drop" / "refused").glob("*.report.csv"), None))
    assert "birth_weight" in report.read_text("utf-8-sig")
    assert "不明" not in report.read_text("utf-8-sig")
    assert _health(world)[f"copy_{SECOND}"] == "none"
    (home / "drop" / "医療養育1.csv").write_bytes(b"x")  # a slip, of which somebody must hear
    until(lambda: _health(world).get("files_of_nobody") == "1")
    (home / "drop" / "養育医療1.CSV").write_bytes(rows.format("000000000012345", "１４８０").encode("cp932"))
    until(lambda: _health(world)[f"copy_{SECOND}"] != "none")
    assert [p.name.partition("-")[2] for p in (home / "drop" / "loaded").iterdir()] == ["養育医療1.CSV"]
    _, told = until(
        lambda: (got := ask(world, affair=_affair(world, SECOND), item=SECOND))[1].get("state") == "answered" and got
    )
    assert told["records"] == [{"decided_on": "2026-04-01", "birth_weight": 1480}]


def test_a_change_that_would_break_who_asks_does_not_become_law(world, renkei, tmp_path):
    pack = tmp_path / "pack"
    shutil.copytree(PACK, pack)
    header = pack / "pack.toml"
    header.write_text(header.read_text("utf-8").replace('version = "2016-08.1"', 'version = "2016-08.4"'), "utf-8")
    hub = world.world.institutions["hub"]
    before = hub.keeper.state.pack.hash
    status, said = renkei(
        "law", "publish", pack, "--home", world.folder / "hub"
    )  # it lacks the second item's specification
    assert (status, said["code"] if "code" in said else said["type"].rpartition(":")[2]) == (1, "pack-faults")
    assert not (world.folder / "hub" / "next-law").exists()
    assert hub.keeper.state.pack.hash == before


def test_nobody_else_s_keys_are_enrolled_and_no_other_file_passes(world, renkei, tmp_path):
    """A file changed on its way shows by its mark or is refused; one that is no request, or no invitation, too."""
    request = (world.world.institutions[TOWN].home / "enrolment.bin").read_bytes()
    for changed in (
        b"",
        b"x",
        request[:-1],
        request[:-1] + bytes([request[-1] ^ 1]),
        request[:60] + b"\0" + request[61:],
    ):
        (tmp_path / "request").write_bytes(changed)
        assert renkei("commission", "enrol", tmp_path / "request", "--home", world.folder / "commission")[0] == 1
        assert renkei("nation", "admit", tmp_path / "request", "--nation", world.folder)[0] == 1
        assert renkei("body", "new", tmp_path / "home", TOWN, "--invitation", tmp_path / "request")[0] == 1
        assert not (tmp_path / "home").exists()
    assert (
        renkei(
            "commission", "enrol", world.world.institutions[TOWN].home / "enrolment.bin", "--home", world.folder / "hub"
        )[0]
        == 3
    )
    renkei("body", "invite", world.folder / "hub", tmp_path / "invitation")
    assert renkei("body", "new", tmp_path / "home", "nobody", "--invitation", tmp_path / "invitation")[0] == 3
    assert renkei("body", "new", world.folder / "hub", TOWN, "--invitation", tmp_path / "invitation")[0] == 3


def test_nobody_takes_another_s_place_at_the_bus(world, renkei, tmp_path):
    """A request that says it is the hub, or a body that joined, with a stranger's keys."""
    for body in ("hub", TOWN):
        settings = Home(world.folder / body).settings()
        home = Home(tmp_path / body)
        home.folder.mkdir()
        Keys.create(home, keeper=False)
        enrolment = Keys.load(home, body).enrolment(settings)
        (tmp_path / "request").write_bytes(encode(enrolment))
        mark = fingerprint(decode_as(enrolment.payload, Enrolment))
        status, said = renkei("nation", "admit", tmp_path / "request", "--nation", world.folder, "--mark", mark)
        assert status == 1
        assert "key-reuse" in str(said)


def _everybody_concerned_is_told(world):
    """A field that is to go: whoever may ask for its item sees it, in the API, at the desk, in the catalogue; nobody sent anything."""
    told = {"item": "local-tax", "field": "dependants", "until": "2099-03-31", "instead": "income_total"}
    until(lambda: world.http("ohashi-city", "/notices")[1] == [told])
    assert world.http("national-tax", "/notices")[1] == []
    assert world.http("ohashi-city", "/notices", token="")[0] == 401
    catalogue = world.world.institutions["catalogue"]
    until(lambda: SECOND in catalogue.member.pack.specifications)
    page = world.http("catalogue", "/items/local-tax?lang=en", token="", Accept="text/html")[1]
    assert "until 31 March 2099" in page
    schema = world.http("catalogue", "/items/local-tax/schema.json", token="")[1]["properties"]["dependants"]
    assert (schema["deprecated"], schema["x-until"], schema["x-instead"]) == (True, "2099-03-31", "income_total")
    desk = Browser(world.url("ohashi-city"))
    assert "2099" in desk.form("/signin", token=world.plan.place("ohashi-city").token)[1]


def _health(world):
    return world.do(world.world.health(world.plan.place(TOWN)))


def _affair(world, item=ITEM):
    """An affair for which a prefecture may ask a municipality about an item."""
    pack = world.world.institutions["hub"].keeper.state.pack
    asker, holder = (pack.standing(pack.bodies[b].kinds) for b in ("enishi-prefecture", TOWN))
    return next(r.affair for r in pack.linkages if r.item == item and asker & {*r.requester} and holder & {*r.provider})


def _assess(world):
    seeds = Home(world.folder / "commission").read_toml("assessments.toml", dict)
    seeds["assessments"].append({**seeds["assessments"][0], "body": TOWN})
    Home(world.folder / "commission").write_toml("assessments.toml", seeds)


def _start(world, home, token):
    from renkei.gateway.service import Gateway
    from renkei.nation.plan import Place

    port = Home(home).settings().port
    place = Place(TOWN, "gateway", f"http://127.0.0.1:{port}", token)
    world.plan = world.plan.__class__(
        **{f: getattr(world.plan, f) for f in world.plan.__struct_fields__} | {"places": (*world.plan.places, place)}
    )

    async def start():
        gateway = Gateway(Path(home))
        world.world.institutions[TOWN] = gateway
        await gateway.start()

    world.do(start())
