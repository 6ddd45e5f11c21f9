"""E-mails that something is new, through a real mail server (aiosmtpd): to whom they go, what they never say, who would misuse them."""

import email
import re
from email import policy

import msgspec
import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller
from msgspec.structs import replace

from renkei.errors import SetupError, Unavailable
from renkei.institution.letters import letters
from renkei.institution.settings import Home
from renkei.portal import apply_store
from renkei.portal.digest import AGAIN, EVERY, TRIES_MOST, Digest
from tests.console import Browser
from tests.service.portal.test_letters import page, tell
from tests.world import Running, free_port, until

HANAKO = "hanako@example.jp"


class Mailbox:
    """What a mail server was given; it takes no mail for ``away@``, and none at all while ``shut``."""

    def __init__(self):
        self.came, self.shut = [], False

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.shut:
            return "451 later"
        if address.startswith("away@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.came.append(email.message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def newest(self, to):
        return next(m for m in reversed(self.came) if m["To"] == to)


@pytest.fixture(scope="module")
def mailbox():
    box = Mailbox()
    server = Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    box.port = server.port
    yield box
    server.stop()


@pytest.fixture(scope="module")
def nation(tmp_path_factory, mailbox):
    folder = tmp_path_factory.mktemp("digest") / "nation"

    def prepare(_):
        home = Home(folder / "portal")
        settings = replace(home.settings(), mail=f"smtp://127.0.0.1:{mailbox.port}", mail_from="portal@example.jp")
        home.write_toml("settings.toml", msgspec.to_builtins(settings))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("renkei.portal.digest.LOOK_EVERY", 3600)  # the tests look themselves
        running = Running(folder, prepare=prepare)
        yield running
        running.stop()


@pytest.fixture
def resident(nation):
    return signed_in(nation, 0)


def signed_in(nation, persona):
    browser = Browser(nation.url("portal"))
    assert browser.form("/signin", secret=nation.plan.personas[persona].secret)[0] == 200
    until(lambda: nation.code("portal", persona))
    return browser


@pytest.fixture(autouse=True)
def afresh(nation, mailbox):
    """Nobody's address is known, and no letter is."""
    portal = nation.world.institutions["portal"]
    nation.do(portal.database.write(lambda c: c.execute(apply_store.mails.delete())))
    nation.do(portal.database.write(lambda c: c.execute(letters.delete())))
    mailbox.came.clear()
    mailbox.shut = False


def digest(nation):
    return nation.world.institutions["portal"].digest


def clocked(nation, monkeypatch, later):
    clock = digest(nation)._clock
    monkeypatch.setattr(digest(nation), "_clock", lambda: clock() + later)


def code_in(message):
    return re.search(r"\b\d{8}\b", message.get_content())[0]


def confirmed(nation, mailbox, browser, address=HANAKO):
    assert browser.form("/inbox", "/inbox/mail", address=address)[0] == 200
    assert browser.form("/inbox", "/inbox/mail", act="confirm", code=code_in(mailbox.newest(address)))[0] == 200
    assert "confirmed" in page(browser, "/inbox")


def told(nation, persona=0):
    """A letter that arrived."""
    id_ = bytes.fromhex(tell(nation, persona=persona)[1]["id"])
    here = sa.select(letters).where(letters.c.id == id_, letters.c.state == "delivered")
    until(lambda: nation.world.institutions["portal"].database.read_now(lambda c: c.execute(here).first()))


def test_an_address_is_written_to_when_its_owner_gave_the_code_back(nation, mailbox, resident):
    assert resident.form("/inbox", "/inbox/mail", address=HANAKO)[0] == 200
    assert HANAKO in page(resident, "/inbox")
    told(nation)
    assert nation.do(digest(nation).check()) == 0  # not confirmed
    wrong = f"{(int(code_in(mailbox.newest(HANAKO))) + 1) % 10**8:08d}"
    assert resident.form("/inbox", "/inbox/mail", act="confirm", code=wrong)[0] == 404
    assert resident.form("/inbox", "/inbox/mail", act="confirm", code=code_in(mailbox.newest(HANAKO)))[0] == 200
    assert nation.do(digest(nation).check()) == 0  # what came before is no news
    told(nation)
    assert nation.do(digest(nation).check()) == 1
    message = mailbox.newest(HANAKO)
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"]
    assert message["Message-ID"].endswith("@example.jp>")


def test_what_is_told_is_how_much_and_never_what(nation, mailbox, resident):
    confirmed(nation, mailbox, resident)
    for _ in range(3):
        told(nation)
    assert nation.do(digest(nation).check()) == 1
    text = mailbox.newest(HANAKO).as_string() + mailbox.newest(HANAKO).get_content()
    assert ": 3." in text
    assert f"{nation.url('portal')}/inbox" in text
    for secret in (
        "花子",
        "介護",
        "care",
        "Ohashi",
        "大橋",
        "2027",
        nation.local_id("portal"),
        nation.local_id("ohashi-city"),
    ):
        assert secret not in text, secret


def test_once_a_day_and_not_for_what_was_read(nation, mailbox, resident, monkeypatch):
    confirmed(nation, mailbox, resident)
    told(nation)
    assert nation.do(digest(nation).check()) == 1
    told(nation)
    assert nation.do(digest(nation).check()) == 0
    clocked(nation, monkeypatch, EVERY + 60_000)
    assert nation.do(digest(nation).check()) == 1
    assert nation.do(digest(nation).check()) == 0
    monkeypatch.undo()
    clocked(nation, monkeypatch, 2 * EVERY + 120_000)
    assert nation.do(digest(nation).check()) == 0  # nothing new since


def test_no_more_once_it_is_not_wanted(nation, mailbox, resident):
    confirmed(nation, mailbox, resident)
    assert resident.form("/inbox", "/inbox/mail", address="other@example.jp")[0] == 409  # not over its owner's head
    assert resident.form("/inbox", "/inbox/mail", act="end")[0] == 200
    assert HANAKO not in page(resident, "/inbox")
    assert mailbox.newest(HANAKO)["Subject"] == "No more e-mails from My Portal"
    told(nation)
    assert nation.do(digest(nation).check()) == 0
    assert resident.form("/inbox", "/inbox/mail", act="confirm", code="")[0] == 404


def test_a_mailbox_that_is_gone_keeps_nobody_waiting(nation, mailbox, resident, monkeypatch):
    """The first in order is refused by the server; then the server is away: nobody is forgotten."""
    other = signed_in(nation, 1)
    first, second = sorted((resident, other), key=lambda b: nation.local_id("portal", 0 if b is resident else 1))
    confirmed(nation, mailbox, first, "gone@example.jp")
    confirmed(nation, mailbox, second, "there@example.jp")
    change = apply_store.mails.update().where(
        apply_store.mails.c.account == min(nation.local_id("portal", n) for n in (0, 1))
    )
    locked = nation.world.institutions["portal"].keys.lock(b"away@example.jp")
    nation.do(nation.world.institutions["portal"].database.write(lambda c: c.execute(change.values(address=locked))))
    told(nation, 0)
    told(nation, 1)
    mailbox.shut = True
    mailbox.came.clear()
    monkeypatch.setattr("renkei.portal.digest.FAILURES_MOST", 2)
    with pytest.raises(Unavailable):  # the server is away: the look ends
        nation.do(digest(nation).check())
    mailbox.shut = False
    assert nation.do(digest(nation).check()) == 0
    clocked(nation, monkeypatch, AGAIN + 60_000)
    assert nation.do(digest(nation).check()) == 1
    assert [m["To"] for m in mailbox.came] == ["there@example.jp"]


# ------------------------------------------------------------------ misuse


def test_who_is_at_an_old_session_adds_no_address(nation, mailbox, resident, monkeypatch):
    sessions = nation.world.institutions["portal"].sessions
    clock = sessions._clock
    monkeypatch.setattr(sessions, "_clock", lambda: clock() + 700_000)
    assert resident.form("/inbox", "/inbox/mail", address="thief@example.jp")[0] == 403
    assert "Sign in again" in page(resident, "/inbox")
    assert mailbox.came == []


def test_what_went_out_is_not_told_after_it_was_ended(nation, mailbox, resident):
    """It was on the list of this look when its owner ended it."""
    confirmed(nation, mailbox, resident)
    told(nation)
    portal = nation.world.institutions["portal"].digest
    assert resident.form("/inbox", "/inbox/mail", act="end")[0] == 200
    mailbox.came.clear()
    assert nation.do(portal._look(nation.local_id("portal"))) is False
    assert mailbox.came == []


def test_codes_are_not_guessed(nation, mailbox, resident):
    resident.form("/inbox", "/inbox/mail", address=HANAKO)
    code = code_in(mailbox.newest(HANAKO))
    for n in range(TRIES_MOST):
        assert (
            resident.form("/inbox", "/inbox/mail", act="confirm", code=f"{(int(code) + 1 + n) % 10**8:08d}")[0] == 404
        )
    assert resident.form("/inbox", "/inbox/mail", act="confirm", code=code)[0] == 404


def test_a_code_of_yesterday_is_none(nation, mailbox, resident, monkeypatch):
    resident.form("/inbox", "/inbox/mail", address=HANAKO)
    clocked(nation, monkeypatch, 3_700_000)
    assert resident.form("/inbox", "/inbox/mail", act="confirm", code=code_in(mailbox.newest(HANAKO)))[0] == 404


def test_a_stranger_s_mailbox_is_not_filled(nation, mailbox, resident, monkeypatch):
    """Asked for again and again, ended in between: a few codes a day."""
    for n in range(20):
        with monkeypatch.context() as later:
            clocked(nation, later, n * 70_000)
            resident.form("/inbox", "/inbox/mail", address="stranger@example.jp")
            resident.form("/inbox", "/inbox/mail", act="end")
    assert len(mailbox.came) == TRIES_MOST


def test_an_address_adds_no_header_and_no_receiver(nation, mailbox, resident):
    for bad in (
        "a@b.jp\r\nBcc: c@d.jp",
        "a@b.jp, c@d.jp",
        "a@b.jp c@d.jp",
        "a b@c.jp",
        "<a@b.jp>",
        "@b.jp",
        "a@",
        "",
        "a@-",
        "root,me@b.jp",
        "root;me@b.jp",
        "a:b@c.jp",
        "(a)@b.jp",
        ".a@b.jp",
        "a..b@c.jp",
        '"a"@b.jp',
        "x" * 65 + "@b.jp",
        "あ@b.jp",
    ):
        assert resident.form("/inbox", "/inbox/mail", address=bad)[0] == 400, bad
    assert mailbox.came == []


def test_no_address_is_in_the_database_or_in_what_is_logged(nation, mailbox, resident, capfd):
    confirmed(nation, mailbox, resident)
    told(nation)
    nation.do(digest(nation).check())
    portal = nation.world.institutions["portal"]
    assert portal.database.read_now(lambda c: c.execute(sa.select(apply_store.mails)).all())
    whole = b"".join(p.read_bytes() for p in (nation.folder / "portal").rglob("*") if p.is_file())
    assert HANAKO.encode() not in whole
    assert HANAKO not in "".join(capfd.readouterr())


@pytest.mark.parametrize(("url", "sender"), [("http://x", HANAKO), ("smtp://x", "nobody"), ("smtp://x", "")])
def test_settings_that_cannot_be_are_told(nation, url, sender):
    with pytest.raises(SetupError):
        Digest(url, sender, *[None] * 6)
