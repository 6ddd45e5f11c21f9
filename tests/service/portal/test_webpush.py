"""Notifications on devices, through a push service (RFC 8030): who is told, with what proof (RFC 8292), never what; and misuse."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from authlib.jose import ECKey, jwt
from msgspec.structs import replace

from renkei.errors import SetupError
from renkei.institution.letters import letters
from renkei.institution.settings import Home
from renkei.portal import apply_store
from renkei.portal.webpush import AGAIN, DEVICES_MOST, EVERY, FAILURES_MOST, WebPush
from tests.service.portal.test_digest import signed_in, told
from tests.service.portal.test_letters import page
from tests.world import Running


class PushService:
    """A push service: what was posted to it; it answers what the last part of the address says, else 201."""

    def __init__(self):
        self.came, outer = [], self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                outer.came.append((self.path, dict(self.headers), body))
                last = self.path.rpartition("/")[2]
                if last == "slow":
                    time.sleep(3)
                self.send_response(int(last) if last.isdecimal() else 201)
                if last == "302":
                    self.send_header("Location", f"{outer.origin}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def paths(self):
        return [path for path, *_ in self.came]


@pytest.fixture(scope="module")
def service():
    running = PushService()
    yield running
    running.server.shutdown()


@pytest.fixture(scope="module")
def nation(tmp_path_factory, service):
    folder = tmp_path_factory.mktemp("push") / "nation"

    def prepare(_):
        home = Home(folder / "portal")
        origins = (service.origin, "https://*.push.example")
        settings = replace(home.settings(), push_services=origins, mail_from="portal@example.jp")
        home.write_toml("settings.toml", msgspec.to_builtins(settings))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("renkei.portal.webpush.LOOK_EVERY", 3600)  # the tests look themselves
        running = Running(folder, prepare=prepare)
        yield running
        running.stop()


@pytest.fixture(autouse=True)
def afresh(nation, service):
    portal = nation.world.institutions["portal"]
    nation.do(portal.database.write(lambda c: c.execute(apply_store.devices.delete())))
    nation.do(portal.database.write(lambda c: c.execute(letters.delete())))
    service.came.clear()


@pytest.fixture
def resident(nation):
    return signed_in(nation, 0)


def push(nation):
    return nation.world.institutions["portal"].webpush


def looks(nation):
    return nation.do(push(nation).check())


def add(browser, endpoint):
    return browser.form("/inbox", "/inbox/push", endpoint=endpoint)


def later(nation, monkeypatch, by):
    clock = push(nation)._clock
    monkeypatch.setattr(push(nation), "_clock", lambda: clock() + by)


def test_a_device_is_told_that_something_is_new_and_nothing_else(nation, service, resident):
    told(nation)
    assert add(resident, f"{service.origin}/send/abc")[0] == 200
    assert "on 1 of your devices" in page(resident, "/inbox")
    assert looks(nation) == 0  # what came before is no news
    told(nation)
    assert looks(nation) == 1
    ((path, headers, body),) = service.came
    assert (path, body) == ("/send/abc", b"")
    assert (headers["TTL"], headers["Urgency"], headers["Topic"]) == ("86400", "low", "inbox")
    scheme, token, key = headers["Authorization"].replace(",", "").split()
    assert scheme == "vapid"
    assert key == f"k={push(nation).key}"
    assert f'data-key="{key[2:]}"' in page(resident, "/inbox")
    public = ECKey.import_key(raw_key(key[2:]))
    claims = jwt.decode(token[2:], public)
    assert claims["aud"] == service.origin
    assert claims["sub"] == "mailto:portal@example.jp"
    assert 0 < claims["exp"] - time.time() <= 86_400


def raw_key(text):
    """As a JSON Web Key: a P-256 point, uncompressed."""
    from base64 import urlsafe_b64decode, urlsafe_b64encode

    point = urlsafe_b64decode(text + "=")
    assert len(point) == 65
    x, y = (urlsafe_b64encode(part).rstrip(b"=").decode() for part in (point[1:33], point[33:]))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def test_not_twice_in_an_hour_nor_for_what_was_read(nation, service, resident, monkeypatch):
    add(resident, f"{service.origin}/send/abc")
    told(nation)
    assert looks(nation) == 1
    told(nation)
    assert looks(nation) == 0
    later(nation, monkeypatch, EVERY + 60_000)
    assert looks(nation) == 1
    assert looks(nation) == 0


def test_a_device_that_is_gone_is_forgotten(nation, service, resident):
    for status in (404, 410):
        add(resident, f"{service.origin}/send/{status}")
    told(nation)
    assert looks(nation) == 0
    assert nation.do(push(nation).devices(nation.local_id("portal"))) == []


def test_a_service_that_is_away_keeps_nobody_waiting(nation, service, resident, monkeypatch):
    """Nor one that answers a byte at a time, nor one that knows the portal by another key."""
    for n in range(3):
        add(resident, f"{service.origin}/send/{n}/503")
    add(resident, f"{service.origin}/send/403")
    add(resident, f"{service.origin}/slow")
    other = signed_in(nation, 1)
    add(other, f"{service.origin}/send/there")
    told(nation, 0)
    told(nation, 1)
    monkeypatch.setattr("renkei.portal.webpush.WITHIN", 1.0)
    assert looks(nation) == 1
    assert "/send/there" in service.paths
    assert looks(nation) == 0
    tried = len(service.paths)
    assert tried == 6
    later(nation, monkeypatch, AGAIN + 60_000)
    assert looks(nation) == 0
    assert len(service.paths) == tried + 4


def test_a_service_that_takes_nothing_is_left_alone_for_this_look(nation, service, resident):
    for n in range(9):
        add(resident, f"{service.origin}/send/{n}/503")
    told(nation)
    assert looks(nation) == 0
    assert len(service.paths) == FAILURES_MOST
    assert looks(nation) == 0
    assert len(service.paths) == 9


def test_no_more_once_it_is_not_wanted(nation, service, resident):
    add(resident, f"{service.origin}/send/abc")
    (device,) = nation.do(push(nation).devices(nation.local_id("portal")))
    other = signed_in(nation, 1)
    assert other.form("/inbox", "/inbox/push", act="end", device=device.id.hex())[0] == 200
    assert len(nation.do(push(nation).devices(nation.local_id("portal")))) == 1  # another's is not theirs to end
    assert resident.form("/inbox", "/inbox/push", act="end", device=device.id.hex())[0] == 200
    told(nation)
    assert looks(nation) == 0
    assert service.came == []


# ------------------------------------------------------------------ misuse


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "x",
        "http://127.0.0.1:1/send",
        "http://localhost/admin",
        "https://push.example/send",
        "https://evil-push.example/send",
        "https://a.push.example.evil.com/send",
        "https://a.push.example@evil.com/send",
        "https://a.push.example:8443/send",
        "http://a.push.example/send",
        "file:///etc/passwd",
        "https://[::1/send",
        "https://a.push.example/\r\nX: y",
        "https://a.push.example/" + "x" * 2000,
        "https://あ.push.example/",
        " https://a.push.example/",
        "https://a.push.example:0/",
        "https://a;b.push.example/",
    ],
)
def test_the_portal_goes_to_no_address_but_a_push_service_s(nation, resident, endpoint):
    """Else anybody could have it knock at doors inside."""
    assert add(resident, endpoint)[0] == 400
    assert nation.do(push(nation).devices(nation.local_id("portal"))) == []


def test_a_push_service_leads_it_nowhere_else(nation, service, resident):
    add(resident, f"{service.origin}/send/302")
    told(nation)
    assert looks(nation) == 0
    assert service.paths == ["/send/302"]


def test_one_person_has_a_few_devices(nation, service, resident):
    """And nobody at their session pushes theirs out."""
    for n in range(DEVICES_MOST + 3):
        assert add(resident, f"{service.origin}/send/d{n}")[0] == (200 if n < DEVICES_MOST else 409)
    assert add(resident, f"{service.origin}/send/d0")[0] == 200  # it is there
    assert len(nation.do(push(nation).devices(nation.local_id("portal")))) == DEVICES_MOST


def test_who_is_at_an_old_session_adds_no_device(nation, service, resident, monkeypatch):
    sessions = nation.world.institutions["portal"].sessions
    clock = sessions._clock
    monkeypatch.setattr(sessions, "_clock", lambda: clock() + 700_000)
    assert add(resident, f"{service.origin}/send/thief")[0] == 403
    assert nation.do(push(nation).devices(nation.local_id("portal"))) == []


def test_a_device_is_whose_was_signed_in_last(nation, service, resident):
    """Two residents at one computer: who came first is not told there of the second's letters, nor the second of the first's."""
    other = signed_in(nation, 1)
    add(resident, f"{service.origin}/send/shared")
    add(other, f"{service.origin}/send/shared")
    told(nation, 0)
    assert looks(nation) == 0
    told(nation, 1)
    assert looks(nation) == 1


def test_no_address_is_in_the_database(nation, service, resident):
    add(resident, f"{service.origin}/send/secret-of-hanako")
    rows = nation.world.institutions["portal"].database.read_now(
        lambda c: c.execute(sa.select(apply_store.devices)).all()
    )
    assert len(rows) == 1
    whole = b"".join(p.read_bytes() for p in (nation.folder / "portal").rglob("*") if p.is_file())
    assert b"secret-of-hanako" not in whole


@pytest.mark.parametrize(
    "origin", ["push.example", "https://push.example/path", "https://*", "*", "ftp://push.example"]
)
def test_settings_that_cannot_be_are_told(origin):
    with pytest.raises(SetupError):
        WebPush(Home(Path()), (origin,), *[None] * 6)
