"""At the clinic: told at once about whoever's card is there, more only with consent, and something when the network is down."""

import asyncio
import contextlib
import datetime as dt
import re
import sqlite3
import time
from urllib.parse import quote

import pytest

from renkei.card.client import CardClient
from renkei.card.virtual import CardFile
from renkei.clinic.service import Settings, Terminal
from renkei.errors import RenkeiError, SetupError, Unavailable
from renkei.institution.settings import Home, system_clock
from tests.cards import Carded
from tests.service.certification.conftest import NEEDS_TOKEN
from tests.world import until

pytestmark = NEEDS_TOKEN
INSURER = "health-insurer"


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Carded(tmp_path_factory.mktemp("clinic") / "nation")
    for persona in range(3):
        insure(running, persona)
    yield running
    running.stop()


def insure(nation, persona, since="2020-04-01", until=None, copayment=30):
    """One cover in the insurer's own register."""
    with sqlite3.connect(nation.folder / INSURER / "source.db") as source:
        who = [nation.local_id(INSURER, persona)]
        source.execute(
            "update T_MEDICAL_BENEFITS set QUALIFIED_ON = ?, QUALIFICATION_LOST_ON = ?, COPAYMENT_PERCENT = ? where atena_no = ?",
            [since, until, copayment, *who],
        )
        assert source.execute("select count(*) from T_MEDICAL_BENEFITS where atena_no = ?", who).fetchone()[0]


class Clinic(Terminal):
    """A terminal with whichever card is put into it, and a clock that can be set."""

    def __init__(self, nation, folder, name="", **changed):
        settings = Settings(
            name=name or nation_clerk(nation),
            insurer=changed.pop("insurer", nation.url(INSURER)),
            token=changed.pop("token", nation.plan.place(INSURER).token),
            authority=str(nation.folder / "certification" / "authentication-ca.pem"),
            **changed,
        )
        folder.mkdir(exist_ok=True)
        Home(folder).write_toml("clinic.toml", settings)
        self.inside, self.now = nation.card(), None
        super().__init__(folder, self.there, clock=lambda: self.now or system_clock())

    @contextlib.contextmanager
    def there(self):
        yield CardClient(CardFile(self.inside).chip().transmit)

    def sees(self, pin="1234", *, consent=False, lang=""):
        return asyncio.run(self.visit(pin, consent=consent, lang=lang))


def nation_clerk(nation):
    return nation.world.institutions[INSURER].settings.clerks[0].name


@pytest.fixture
def clinic(nation, tmp_path):
    return Clinic(nation, tmp_path / "terminal")


def test_the_cover_is_told_within_a_second(nation, clinic):
    """From the second visit on; the first waits until it is known whose the card is."""
    first = clinic.sees()
    assert (first.insured, first.offline, first.history) == (True, False, None)
    assert "30" in " ".join(first.cover.values())
    times = []
    for _ in range(5):
        began = time.monotonic()
        assert clinic.sees().insured
        times.append(time.monotonic() - began)
    assert sorted(times)[2] < 1.0
    number, name = nation.number(), "花子"
    assert number not in str(first)
    assert name not in str(first)


def test_who_is_covered_no_longer_or_not_yet_is_not_insured(nation, clinic):
    today = dt.datetime.now(dt.UTC).date()
    try:
        for since, over in (("2020-04-01", str(today)), (str(today + dt.timedelta(days=2)), None)):
            insure(nation, 0, since, over)
            answer = clinic.sees()
            assert (answer.insured, answer.cover) == (False, {})
    finally:
        insure(nation, 0)


def test_history_is_told_with_consent_alone(nation, clinic):
    assert clinic.sees().history is None
    told = clinic.sees(consent=True).history
    assert told
    assert told.rows
    months = [tuple(map(int, re.fullmatch(r"(\d+)年(\d+)月", row[0]).groups())) for row in told.rows]
    assert months == sorted(months, reverse=True)
    assert [column.amount for column in told.columns] == [False] * (len(told.columns) - 1) + [True]
    assert all(re.fullmatch(r"[\d,]+ 円", row[-1]) for row in told.rows)
    english = clinic.sees(consent=True, lang="en").history
    assert all(re.fullmatch(r"[A-Z][a-z]+ \d{4}", row[0]) for row in english.rows)


def test_times_are_the_law_s_and_written_as_people_do(nation, tmp_path):
    clinic = Clinic(nation, tmp_path / "terminal", time_zone="Asia/Tokyo")
    at = int(dt.datetime(2026, 3, 31, 15, 30, tzinfo=dt.UTC).timestamp() * 1000)
    clinic._kept.execute("insert into visits (token, at) values ('', ?)", [at])
    assert [clinic.visits(lang)[0][0] for lang in ("ja", "en")] == ["2026年4月1日 00:30", "1 April 2026, 00:30"]
    with pytest.raises(SetupError) as refusal:
        Clinic(nation, tmp_path / "nowhere", time_zone="Mars/Base")
    assert refusal.value.code == "settings-wrong"


def test_consent_is_for_this_clinic_and_once(nation, tmp_path):
    """Another's name in what is signed, the plain sign-in in its place, and what was used before, are refused."""
    from renkei.card.client import AUTHENTICATION
    from renkei.clinic import service
    from renkei.institution.relying import Presented, authentication_message

    clinic, other = Clinic(nation, tmp_path / "a"), Clinic(nation, tmp_path / "b", name="Other clinic")
    clinic.sees()
    with pytest.raises(RenkeiError) as refusal:
        other.sees(consent=True)
    assert refusal.value.code == "signature-wrong"

    async def history(message, challenge):
        with clinic.there() as card:
            shown = Presented(card.certificate(AUTHENTICATION), card.sign(AUTHENTICATION, "1234", message))
        return service._card(shown, challenge)

    async def attempts():
        challenge = service.b64decode((await clinic._get("challenge"))["challenge"])
        plain = await history(authentication_message(clinic.settings.insurer, challenge), challenge)
        with pytest.raises(RenkeiError) as plainly:
            await clinic._post("/history", plain)
        challenge = service.b64decode((await clinic._get("challenge"))["challenge"])
        purpose = f"{clinic.settings.insurer}/eligibility/history?clinic={quote(clinic.settings.name)}"
        good = await history(authentication_message(purpose, challenge), challenge)
        assert await clinic._post("/history", good)
        with pytest.raises(RenkeiError) as again:
            await clinic._post("/history", good)
        return plainly.value.code, again.value.code

    assert asyncio.run(attempts()) == ("signature-wrong", "challenge-used")


def test_who_is_not_insured_here_is_told_so_and_nothing_is_kept(nation, clinic):
    from renkei.institution import subjects

    insurer = nation.world.institutions[INSURER]
    local_id, code = nation.local_id(INSURER, 1), nation.code(INSURER, 1)
    forget = subjects.subjects.delete().where(subjects.subjects.c.local_id == local_id)
    nation.do(insurer.database.write(lambda c: c.execute(forget)))
    clinic.inside = nation.card(1)
    with pytest.raises(RenkeiError) as refusal:
        clinic.sees()
    assert (refusal.value.code, refusal.value.status) == ("not-insured", 404)
    nation.register_anew(INSURER, 1)
    until(lambda: nation.code(INSURER, 1) == code)
    assert clinic.sees().insured


@pytest.mark.parametrize(("pin", "code"), [("0000", "pin-wrong"), ("", "pin-form")])
def test_a_wrong_pin_asks_nothing(nation, clinic, pin, code):
    clinic.inside = nation.card(2)
    with pytest.raises(RenkeiError) as refusal:
        clinic.sees(pin)
    assert refusal.value.code == code
    assert clinic.sees().insured  # so that no wrong one is left


def test_a_clinic_without_the_duty_asks_nothing(nation, tmp_path):
    for token in ("guess", ""):
        with pytest.raises(RenkeiError) as refusal:
            Clinic(nation, tmp_path / f"t{len(token)}", token=token).sees()
        assert refusal.value.status == 401
    city = Clinic(
        nation, tmp_path / "city", insurer=nation.url("ohashi-city"), token=nation.plan.place("ohashi-city").token
    )
    with pytest.raises(RenkeiError) as refusal:
        city.sees()
    assert refusal.value.status in (404, 405)


def away(nation):
    nation.stop_body(INSURER)


def test_without_network_a_visit_rests_on_the_insurer_s_word_and_is_looked_at_afterwards(nation, clinic):
    """Told in the reader's language as it was with the network. Confirmed if it was so; told to differ if the cover had ended; strange if
    the token is not the insurer's or was too old."""
    english, online = clinic.sees(lang="en"), clinic.sees()
    assert "Share to pay" in english.cover
    assert english.cover != online.cover
    away(nation)
    try:
        began = time.monotonic()
        answer = clinic.sees()
        assert time.monotonic() - began < 1.0
        assert (answer.insured, answer.offline, answer.cover) == (True, True, online.cover)
        assert clinic.sees(lang="en").cover == english.cover
        assert clinic.sees(consent=True).history is None
        with pytest.raises(RenkeiError):
            clinic.sees("0000")
        assert clinic.sees("1234").offline
        with pytest.raises(RenkeiError):
            asyncio.run(clinic.reconcile())
    finally:
        nation.start_body(INSURER)
    assert asyncio.run(clinic.reconcile()) == 4
    assert [found for _, found in clinic.visits()] == ["confirmed"] * 4
    assert asyncio.run(clinic.reconcile()) == 0
    away(nation)
    try:
        clinic.sees()
        insure(nation, 0, "2020-04-01", "2026-01-01")
    finally:
        nation.start_body(INSURER)
    asyncio.run(clinic.reconcile())
    assert clinic.visits()[0][1] == "differs"
    insure(nation, 0)


def test_without_network_and_without_a_word_nothing_is_said(nation, clinic):
    """No token of this card; one of another card; one past its time; one that was altered; a card of another authority's making."""
    clinic.sees()
    away(nation)
    try:
        clinic.inside = nation.card(1)
        assert refused_offline(clinic) == "no-token"
        token = clinic._kept.execute("select token from tokens").fetchone()[0]
        mine = clinic._kept.execute("select certificate from tokens").fetchone()[0]
        from hashlib import sha256

        from renkei.card.client import AUTHENTICATION

        with clinic.there() as card:
            theirs = sha256(card.certificate(AUTHENTICATION)).hexdigest()
        clinic._kept.execute("insert into tokens values (?, ?)", [theirs, token])
        assert refused_offline(clinic) == "no-token"
        clinic.inside = nation.card()
        clinic.now = system_clock() + 40 * 86_400_000
        assert refused_offline(clinic) == "no-token"
        clinic.now = None
        head, body, signature = token.split(".")
        for altered in (
            f"{head}.{body[:-4]}AAAA.{signature}",
            f"{head}.{body}",
            "",
            f"{head}.{body}.{signature[:-4]}AAAA",
        ):
            clinic._kept.execute("update tokens set token = ? where certificate = ?", [altered, mine])
            assert refused_offline(clinic) == "no-token"
        clinic._kept.execute("update tokens set token = ? where certificate = ?", [token, mine])
        assert clinic.sees().offline
    finally:
        nation.start_body(INSURER)


def refused_offline(clinic):
    with pytest.raises(Unavailable) as refusal:
        clinic.sees()
    return refusal.value.code


def test_a_visit_that_rests_on_nothing_of_the_insurer_s_is_told_to_be_strange(nation, clinic):
    clinic.sees()
    token = clinic._kept.execute("select token from tokens").fetchone()[0]
    for text, at in (("x.y.z", system_clock()), (token, 0), (token, system_clock() + 60 * 86_400_000), ("", 1)):
        clinic._kept.execute("insert into visits (token, at) values (?, ?)", [text, at])
    asyncio.run(clinic.reconcile())
    assert {found for _, found in clinic.visits()} == {"strange"}


def test_a_text_of_another_kind_is_no_word_of_cover(nation, clinic):
    """What the same key signed for paper; and a cover's is nothing for the page that verifies paper."""
    from renkei.gateway.seal import Seal
    from renkei.institution.signed_text import COVER, PAPER

    seal = Seal(nation.folder / INSURER / "seal", "")
    claims = {"sub": "00" * 32, "iat": 0, "exp": 2**40, "cover": {}}
    clinic._kept.execute("insert into visits (token, at) values (?, 1)", [seal.text(PAPER, claims)])
    asyncio.run(clinic.reconcile())
    assert clinic.visits()[0][1] == "strange"
    clinic.sees()
    token = clinic._kept.execute("select token from tokens").fetchone()[0]
    assert seal.read(PAPER, token) is None
    assert seal.read(COVER, token)


def test_what_the_insurer_said_before_is_void_once_it_says_otherwise(nation, clinic):
    """Seen online that the cover ended, the terminal has nothing to go by when the network is down."""
    assert clinic.sees().insured
    insure(nation, 0, "2020-04-01", "2026-01-01")
    try:
        assert not clinic.sees().insured
        away(nation)
        try:
            assert refused_offline(clinic) == "no-token"
        finally:
            nation.start_body(INSURER)
    finally:
        insure(nation, 0)


def test_history_of_whoever_is_under_protection_stays_with_them(nation, clinic):
    local_id = nation.local_id(INSURER)
    for flags in ({"manual": True, "withheld": False}, {"manual": False, "withheld": True}):
        assert nation.http(INSURER, "/flags", {"local_id": local_id, **flags})[0] < 300
        try:
            with pytest.raises(RenkeiError) as refusal:
                clinic.sees(consent=True)
            assert refusal.value.code == "protected"
            assert clinic.sees().insured
        finally:
            nation.http(INSURER, "/flags", {"local_id": local_id, "manual": False, "withheld": False})


def test_a_terminal_forgets_what_is_past(nation, tmp_path):
    """Tokens past their time, and visits settled long ago; not those that wait."""
    clinic = Clinic(nation, tmp_path / "terminal")
    clinic.sees()
    old = system_clock() - 100 * 86_400_000
    clinic._kept.executemany(
        "insert into visits (token, at, found) values ('x', ?, ?)", [(old, "confirmed"), (old, None)]
    )
    clinic.now = system_clock() + 40 * 86_400_000
    clinic._forget()
    assert clinic._kept.execute("select count(*) from tokens").fetchone()[0] == 0
    assert [found for _, found in clinic.visits()] == [""]
