"""Many small bodies in one process: each its own, none in another's way, and any of them out again while the others work on."""

import asyncio
import os
import shutil
import threading
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from renkei.errors import SetupError
from renkei.institution.settings import Home, Settings
from renkei.nation.hosting import LEAVE, MOVED, Host, demand_apart, move
from tests.console import Browser
from tests.world import Running, until

TOWNS = ("kiriyama-town", "namiura-village")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("hosting") / "nation", residents=60)
    yield running
    running.stop()


@pytest.fixture(scope="module")
def host(world, tmp_path_factory):
    """Two towns moved into one host, and what is no body's home beside them."""
    folder = tmp_path_factory.mktemp("hosted")
    for town in TOWNS:
        world.stop_body(town)
        move(world.folder / town, folder / town)
    (folder / "notes").mkdir()
    (folder / "broken").mkdir()
    (folder / "broken" / "settings.toml").write_text("body = 1", "utf-8")
    shutil.copytree(world.folder / "hub", folder / "keeper", ignore=shutil.ignore_patterns(".lock"))
    hosting, stop = Host(folder), asyncio.Event()
    task = asyncio.run_coroutine_threadsafe(hosting.run(stop), world.loop)
    until(lambda: len(hosting.running) == 2)
    for town in TOWNS:
        until(lambda town=town: health(world, town).get("linked") == "true")
    yield hosting
    world.loop.call_soon_threadsafe(stop.set)
    task.result(30)


def health(world, town):
    return world.do(world.world.health(world.plan.place(town)))


def asks(world, town):
    return world.ask(
        town, affair="child-welfare-costs", item="resident-record", provider="ohashi-city", purpose="assess-amount"
    )


def test_each_asks_and_answers_as_itself(world, host):
    assert {h.name for h in host.running} == set(
        TOWNS
    )  # neither the broken home, nor a keeper's, nor a folder of notes
    for town in TOWNS:
        assert asks(world, town)[1]["state"] == "answered"
    told = world.ask(
        "ohashi-city", affair="child-welfare-costs", item="resident-record", provider=TOWNS[0], purpose="assess-amount"
    )[1]
    assert told["state"] == "answered"


def test_none_can_reach_another_s(world, host):
    """A clerk's token, a session, an inquiry's address, an upload of one town are nothing at the other."""
    one, other = TOWNS
    token, told = world.plan.place(one).token, asks(world, one)[1]
    assert world.http(other, "/inquiries", token=token)[0] == 401
    assert world.http(other, told["status_url"])[0] == 404
    assert world.http(one, told["status_url"])[0] == 200
    browser = Browser(world.url(one))
    browser.form("/signin", token=token)
    assert browser.at == "/desk"
    browser.url = world.url(other)  # browsers send cookies to every port of a host
    assert browser.get("/desk")[0] == 401
    homes = {h.name: i for h, i in host.running.items()}
    assert homes[one].database is not homes[other].database
    assert homes[one].keys.identity.public != homes[other].keys.identity.public
    with homes[one].database.engine.connect() as connection:
        assert os.path.realpath(
            connection.connection.dbapi_connection.execute("PRAGMA database_list").fetchone()[2]
        ).startswith(os.path.realpath(host.folder / one))


def test_one_s_trouble_is_its_own(world, host):
    """A home whose mapping is broken is let go and tried again; the other never notices."""
    one, other = TOWNS
    mapping = host.folder / one / "mapping.toml"
    text = mapping.read_text("utf-8")
    mapping.write_text("[", "utf-8")
    (host.folder / one / LEAVE).touch()
    until(lambda: {h.name for h in host.running} == {other})
    (host.folder / one / LEAVE).unlink()
    assert asks(world, other)[1]["state"] == "answered"
    until(lambda: host._again, 20)
    assert {h.name for h in host.running} == {other}
    mapping.write_text(text, "utf-8")
    until(lambda: {h.name for h in host.running} == set(TOWNS), 30)
    until(lambda: health(world, one).get("linked") == "true")
    assert asks(world, one)[1]["state"] == "answered"


def test_one_moves_out_while_the_other_works_on(world, host, tmp_path):
    one, other = TOWNS
    before = asks(world, one)[1]
    states, over = [], threading.Event()

    def work():
        while not over.is_set():
            states.append(asks(world, other)[1]["state"])

    working = threading.Thread(target=work)
    working.start()
    try:
        move(host.folder / one, tmp_path / one)
    finally:
        over.set()
        working.join()
    assert set(states) == {"answered"}
    assert not (host.folder / one).exists()
    assert (host.folder / f"{one}{MOVED}").exists()
    settings = Home(tmp_path / one).settings()
    assert str(host.folder) not in f"{settings.database}{settings.mapping}{settings.source}"
    (world.folder / one).symlink_to(tmp_path / one)
    world.start_body(one)
    assert world.http(one, before["status_url"])[1]["state"] == "answered"  # all it had is there
    assert asks(world, one)[1]["state"] == "answered"
    assert {h.name for h in host.running} == {other}


def test_what_cannot_be_moved_stays_where_it_is(world, host, tmp_path, monkeypatch):
    from renkei.nation import hosting

    other = TOWNS[1]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    with pytest.raises(SetupError):
        move(host.folder / other, tmp_path / "taken")
    monkeypatch.setattr(hosting, "LEAVE_WITHIN", 0.5)
    with pytest.raises(SetupError):  # a body of its own, which no host lets go
        move(world.folder / "tax-union", tmp_path / "new")
    assert not (world.folder / "tax-union" / LEAVE).exists()
    assert asks(world, other)[1]["state"] == "answered"


@pytest.fixture
def small(tmp_path):
    """A home that nobody runs; its source lies beside it, in a folder whose name begins like its own."""
    home = tmp_path / "hosted" / "kita"
    home.mkdir(parents=True)
    beside = f"sqlite:///{tmp_path}/hosted/kita-data/source.db"
    own = f"sqlite:///{home}/kita.db"
    Home(home).write_toml(
        "settings.toml", Settings(body="kita", role="gateway", kinds=(), database=own, bus="", source=beside)
    )
    return home


def test_only_what_is_in_the_home_is_said_to_have_moved(small, tmp_path):
    beside = Home(small).settings().source
    move(small, tmp_path / "new")
    moved = Home(tmp_path / "new").settings()
    assert (moved.database, moved.source) == (f"sqlite:///{tmp_path}/new/kita.db", beside)


def test_a_body_whose_move_fails_works_on_where_it_is(small, tmp_path, monkeypatch):
    def full(home, to, **_):
        (to / "keys.toml").touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    with pytest.raises(OSError, match="space"):
        move(small, tmp_path / "new")
    assert not (small / LEAVE).exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "where",
    ["source", "database", "mapping", "inside the mapping", "token", "url in a file", "file: in a url", "a link"],
)
def test_nobody_s_settings_lead_into_a_neighbour_s_home(small, tmp_path, where):
    """One process may read all of them, so whoever writes settings could have a neighbour's data answered as their own."""
    other = tmp_path / "other"
    (other / "data").mkdir(parents=True)
    (other / "settings.toml").write_text("", "utf-8")
    demand_apart(small, [other])
    settings = Home(small).settings()
    led = {
        "source": f"sqlite:///{other}/data/x.db",
        "database": f"sqlite:///{other}/data/x.db",
        "mapping": f"{small}/../../other/data/mapping.toml",
        "file: in a url": f"sqlite:///file:{other}/data/x.db?uri=true",
    }
    head = '[local-tax]\nkey = "k"\n'
    mapped = {
        "inside the mapping": f'{head}table = "t"\nsource = "{other}/data/url"\n',
        "url in a file": f'{head}table = "t"\nsource = "{small}/url"\n',
        "token": f'{head}[local-tax.rest]\nurl = "https://x.example/"\ntoken = "{other}/keys.toml"\n',
    }
    (small / "url").write_text(f"sqlite:///{other}/data/x.db\n", "utf-8")
    demand_apart(small, [other])
    if where in mapped:
        (small / "mapping.toml").write_text(mapped[where] + '[local-tax.fields]\ntax_year = "y"\n', "utf-8")
        Home(small).write_toml("settings.toml", replace(settings, mapping=str(small / "mapping.toml")))
    elif where == "a link":
        (small / "seal").symlink_to(other / "data")
    else:
        name = where if where in ("source", "database", "mapping") else "source"
        Home(small).write_toml("settings.toml", replace(settings, **{name: led[where]}))
    with pytest.raises(SetupError, match="another body"):
        demand_apart(small, [other])


def test_a_body_that_does_not_end_as_it_should_ends_no_other(tmp_path):
    class Stubborn:
        over = SimpleNamespace(is_set=lambda: True)

        async def drain(self):
            raise RuntimeError

        stop = drain

    hosting = Host(tmp_path)
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "settings.toml").mkdir()
    hosting.running = {tmp_path / n: Stubborn() for n in ("a", "b")}
    asyncio.run(hosting._look())
    assert not hosting.running
