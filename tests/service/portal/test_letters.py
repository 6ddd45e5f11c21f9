"""Letters between bodies and residents on a running nation: told by hand and by rule, applied for, asked back, decided, taken back."""

import re

import pytest
import sqlalchemy as sa

from renkei.gateway import notice_store
from renkei.institution.letters import letters
from renkei.portal import apply_store
from tests.console import Browser
from tests.world import until

EVENTS = ("birth", "moving", "marriage", "death", "job-change", "retirement", "illness", "care", "disaster")
CITY, PENSION = "ohashi-city", "pension-service"


@pytest.fixture
def resident(nation):
    signed_in = Browser(nation.url("portal"))
    assert signed_in.form("/signin", secret=nation.plan.personas[0].secret)[0] == 200
    assert signed_in.get("/inbox?lang=en")[0] == 200
    return signed_in


def page(browser, path):
    status, text = browser.get(path + ("&" if "?" in path else "?") + "lang=en")
    assert status == 200, (path, text)
    return text


def letters_in(browser):
    return re.findall(r'href="/inbox/([0-9a-f]{64})"', page(browser, "/inbox"))


def applications(nation, body=CITY, status="open"):
    code, told = nation.http(body, f"/applications?status={status}")
    assert code == 200, told
    return told


def of(nation, procedure, body=CITY):
    """Ids of the applications for this at a body that are open."""
    return {a["id"] for a in applications(nation, body) if a["procedure"] == procedure}


def comes(nation, procedure, before, body=CITY):
    """The one that was not there before."""
    (found,) = until(lambda: of(nation, procedure, body) - before)
    return next(a for a in applications(nation, body) if a["id"] == found)


def arrives(condition, seconds=20):
    until(condition, seconds)


def tell(nation, notice="care-renewal", body=CITY, persona=0, **values):
    values = values or {"day": "2027-01-31"}
    return nation.http(
        body, "/letters", {"notice": notice, "local_id": nation.local_id(body, persona), "values": values}
    )


def begin(browser, event):
    status, text = browser.form("/apply", event=event)
    assert status == 200, text
    return re.fullmatch(r"/apply/([0-9a-f]{32})", browser.at)[1]


def answers(text):
    """Something fitting for every question of the page."""
    form = {}
    for name in re.findall(r'<(?:input|select) id="([a-z0-9-]+(?:@[a-z0-9-]+)?)" name="\1"', text):
        field = re.search(
            rf'<(?:input|select) id="{name}"[^>]*>(?:<option value="">[^<]*</option><option value="([^"]*)">)?', text
        )
        kind = (
            "code"
            if field[1]
            else "date"
            if 'type="date"' in field[0]
            else "number"
            if "numeric" in field[0]
            else "text"
        )
        form[name] = {"code": field[1], "date": "2026-11-01", "number": "3", "text": "見本 太郎"}[kind]
    return form


def fill(browser, case, **more):
    at = f"/apply/{case}?step=form&lang=en"
    return browser.form(at, f"/apply/{case}/form", act="check", **{**answers(page(browser, at)), **more})


def choose(browser, case, chosen, **more):
    return browser.form(f"/apply/{case}?step=choose", f"/apply/{case}/choose", chosen=chosen, **more)


def applied(browser, event, chosen, **more):
    """A case with these procedures, filled in and sent."""
    case = begin(browser, event)
    status, text = choose(browser, case, chosen, **more)
    assert status == 200, text
    status, text = fill(browser, case)
    assert status == 200, text
    status, text = browser.form(f"/apply/{case}?step=send", f"/apply/{case}/send")
    assert status == 200, text
    return case


def test_a_notice_is_told_by_hand_and_stands_in_the_inbox(nation, resident):
    status, told = tell(nation)
    assert status == 202, told
    arrives(lambda: told["id"] in letters_in(resident))
    text = page(resident, f"/inbox/{told['id']}")
    assert "31 January 2027" in text
    assert "Ohashi City" in text
    row = nation.world.institutions["portal"].database.read_now(
        lambda c: c.execute(sa.select(letters).where(letters.c.id == bytes.fromhex(told["id"]))).one()
    )
    assert row.at == row.at
    assert row.leaf > 0
    city = nation.world.institutions[CITY].database
    until(
        lambda: (
            city.read_now(lambda c: c.execute(sa.select(notice_store.notices.c.way)).scalars().all())[-1:] == ["shown"]
        )
    )


CARE = ["care-certification", "care-leave-benefit"]


def test_an_application_goes_to_every_body_and_each_sees_its_own_part(nation, resident):
    before = of(nation, CARE[0]), of(nation, CARE[1], "employment-office")
    case = applied(resident, "care", CARE, **{"place-home": CITY})
    comes(nation, CARE[1], before[1], "employment-office")
    mine = comes(nation, CARE[0], before[0])
    _, told = nation.http(CITY, f"/applications/{mine['id']}")
    assert told["local_id"] == nation.local_id(CITY)
    assert told["form"]["care-kind"] == "first"
    assert "employer" not in told["form"]
    arrives(lambda: page(resident, f"/apply/{case}?step=send").count("Received") >= 2)

    # asked back, answered, granted
    assert (
        nation.http(
            CITY, f"/applications/{mine['id']}", {"state": "asked", "words": "どの介護サービスを希望しますか。"}
        )[0]
        == 200
    )
    arrives(lambda: "A question for you" in page(resident, f"/apply/{case}?step=send"))
    status, _ = resident.form(f"/apply/{case}?step=send", f"/apply/{case}/answer/{CARE[0]}", words="訪問介護です。")
    assert status == 200
    arrives(lambda: nation.http(CITY, f"/applications/{mine['id']}")[1]["state"] == "answered")
    steps = nation.http(CITY, f"/applications/{mine['id']}")[1]["steps"]
    assert [s["words"] for s in steps if s["words"]] == ["どの介護サービスを希望しますか。", "訪問介護です。"]
    assert nation.http(CITY, f"/applications/{mine['id']}", {"state": "granted", "words": ""})[0] == 200
    arrives(lambda: "Granted" in page(resident, f"/apply/{case}?step=send"))
    assert nation.http(CITY, f"/applications/{mine['id']}", {"state": "refused", "words": "no"})[0] == 409

    # the other one is taken back
    status, _ = resident.form(f"/apply/{case}?step=send", f"/apply/{case}/withdraw/{CARE[1]}")
    assert status == 200
    arrives(lambda: "Taken back" in page(resident, f"/apply/{case}?step=send"))
    assert [a for a in applications(nation, "employment-office", "closed") if a["state"] == "withdrawn"]


def test_rules_tell_once_and_only_whom_they_speak_of(nation):
    """Looked at over the body's own data: the second time nobody is told anything."""
    city = nation.world.institutions[CITY].database
    nation.do(city.write(lambda c: c.execute(notice_store.told.delete())))  # other tests may have told them
    portal = nation.world.institutions["portal"].database
    unclaimed = letters.c.topic == "child-allowance-unclaimed"
    here = sa.select(sa.func.count()).select_from(letters).where(unclaimed)
    before = portal.read_now(lambda c: c.execute(here).scalar())
    status, first = nation.http(CITY, "/letters/check", b"")
    assert status == 200, first
    assert first["people"] > 20
    assert first["told"]["allowance-unclaimed"] > 0, first
    assert "insurance-over" not in first["told"]  # the city insures nobody
    _, second = nation.http(CITY, "/letters/check", b"")
    assert second["people"] == first["people"]
    assert set(second["told"].values()) == {0}
    until(lambda: portal.read_now(lambda c: c.execute(here).scalar()) == before + first["told"]["allowance-unclaimed"])


def test_a_letter_is_nobody_else_s(nation, resident):
    status, told = tell(nation, persona=1)
    assert status == 202, told
    other = Browser(nation.url("portal"))
    assert other.form("/signin", secret=nation.plan.personas[1].secret)[0] == 200
    arrives(lambda: told["id"] in letters_in(other))
    assert told["id"] not in letters_in(resident)
    assert resident.get(f"/inbox/{told['id']}")[0] == 404
    assert resident.form("/inbox", f"/inbox/{told['id']}/unread")[0] == 404
    case = begin(other, "care")
    for path in ("", "?step=form", "/sign/survivor-pension"):
        assert resident.get(f"/apply/{case}{path}")[0] == 404
    for path in ("choose", "form", "send", "discard", "answer/care-certification", "withdraw/care-certification"):
        assert resident.form("/apply", f"/apply/{case}/{path}", chosen=CARE[0], words="x")[0] == 404, path


def test_read_and_unread(nation, resident):
    _, told = tell(nation)
    arrives(lambda: told["id"] in letters_in(resident))
    before = page(resident, "/inbox")
    page(resident, f"/inbox/{told['id']}")
    count = lambda text: int((re.search(r"(\d+) not read yet", text) or [0, 0])[1])  # noqa: E731
    assert count(page(resident, "/inbox")) == count(before) - 1
    assert resident.form(f"/inbox/{told['id']}", f"/inbox/{told['id']}/unread")[0] == 200
    assert count(page(resident, "/inbox")) == count(before)


def test_whoever_wants_paper_is_told_on_paper_and_whoever_never_came_too(nation, resident):
    city = nation.world.institutions[CITY]
    assert resident.form("/inbox", "/inbox/preference", way="paper")[0] == 200
    _, mine = tell(nation)
    _, theirs = tell(nation, persona=2)  # has never been at the portal
    ways = lambda: city.database.read_now(  # noqa: E731
        lambda c: {bytes(r.letter).hex(): r.way for r in c.execute(sa.select(notice_store.notices)).all()}
    )
    until(lambda: (ways()[mine["id"]], ways()[theirs["id"]]) == ("paper", "paper"))
    desk = Browser(nation.url(CITY))
    assert desk.form("/signin", token=nation.plan.place(CITY).token)[0] == 200
    text = desk.get("/desk/notices")[1]
    assert "for people who want paper" in text
    status, text = desk.form("/desk/notices", "/desk/notices/paper")
    at = re.search(r"/desk/notices/paper/[0-9a-f]{32}", text)[0]
    status, made = desk.get(at)
    assert status == 200
    assert made.startswith(b"%PDF")
    _, late = tell(nation)
    until(lambda: ways()[late["id"]] == "paper")
    assert desk.form("/desk/notices", f"{at}/printed")[0] == 200
    left = city.database.read_now(lambda c: {bytes(r.letter).hex() for r in notice_store.to_print(c, 100)})
    assert late["id"] in left  # it was not in the file
    assert not {mine["id"], theirs["id"]} & left
    assert resident.form("/inbox", "/inbox/preference", way="shown")[0] == 200
    _, again = tell(nation)
    until(lambda: ways()[again["id"]] == "shown")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"notice": "insurance-lost", "values": {"day": "2026-11-01"}}, "notice"),  # another body's to tell
        ({"notice": "nothing"}, "notice"),
        ({"values": {"day": "tomorrow"}}, "value"),
        ({"values": {}}, "value"),
        ({"local_id": "nobody"}, "no-subject"),
    ],
)
def test_what_cannot_be_told_is_said_and_nothing_is_sent(nation, change, code):
    asked = {"notice": "care-renewal", "local_id": nation.local_id(CITY), "values": {"day": "2027-01-31"}, **change}
    status, told = nation.http(CITY, "/letters", asked)
    assert 400 <= status < 500
    assert told["title"] == code


def test_a_draft_survives_and_what_is_wrong_is_told(nation, resident):
    case = begin(resident, "disaster")
    status, text = resident.form(f"/apply/{case}", f"/apply/{case}/choose", chosen=[])
    assert status == 400
    assert "Choose what you want to do" in text
    choose(resident, case, ["damage-certificate", "disaster-copayment"], **{"place-home": CITY})
    status, text = fill(resident, case, **{"happened-on": "soon", "full-name@applicant": "花子"})
    assert status == 400
    assert "Write a day." in text
    text = page(resident, f"/apply/{case}?step=form")
    assert 'value="花子"' in text
    assert 'value="soon"' in text
    status, text = resident.form(f"/apply/{case}?step=send", f"/apply/{case}/send")
    assert status == 400
    assert "Something is missing" in text
    assert resident.form(f"/apply/{case}?step=send", f"/apply/{case}/discard")[0] == 200
    assert resident.get(f"/apply/{case}")[0] == 404


def test_it_is_sent_once_and_does_not_change_any_more(nation, resident):
    before = of(nation, "cost-limit", "health-insurer")
    case = applied(resident, "illness", ["cost-limit"])
    status, _ = resident.form(f"/apply/{case}?step=send", f"/apply/{case}/send", procedure="cost-limit")
    assert status == 200
    assert resident.form(f"/apply/{case}?step=send", f"/apply/{case}/discard")[0] == 409
    resident.form(f"/apply/{case}?step=send", f"/apply/{case}/form", **{"full-name@applicant": "別人"})
    found = comes(nation, "cost-limit", before, "health-insurer")
    told = nation.http("health-insurer", f"/applications/{found['id']}")[1]
    assert told["form"]["full-name@applicant"] == "見本 太郎"


@pytest.mark.parametrize("event", EVENTS)
def test_every_procedure_of_every_life_event_reaches_a_body_that_takes_it(nation, resident, event):
    """Filled in with fitting answers; what must be signed is not sent (the journeys sign)."""
    portal = nation.world.institutions["portal"]
    if portal.settings.database.startswith("postgresql"):
        pytest.skip("what differs between procedures is data: one kind of database is enough")
    offered = [p for p in portal.member.pack.procedures.values() if p.event == event and p.to]
    assert len({taker for p in offered for taker in p.to}) >= 2
    case = begin(resident, event)
    text = page(resident, f"/apply/{case}?step=choose")
    places = dict.fromkeys(re.findall(r'<select[^>]* name="(place-[a-z]+)"', text), CITY)
    roles = dict.fromkeys(re.findall(r'name="(people-[a-z]+)"', text), "1")
    form = {"chosen": [p.code for p in offered], **places, **roles}
    status, told = resident.form(f"/apply/{case}?step=choose", f"/apply/{case}/choose", **form)
    assert status == 200, told
    status, told = fill(resident, case)
    assert status == 200, told
    parts = {p.procedure.code: p for p in nation.do(portal.applications.get(account_of(nation, case), case)).parts}
    assert set(parts) == {p.code for p in offered}
    before = {code: of(nation, code, part.body) for code, part in parts.items()}
    assert resident.form(f"/apply/{case}?step=send", f"/apply/{case}/send")[0] == 200
    for code, part in parts.items():
        if not part.procedure.signed:
            mine = comes(nation, code, before[code], part.body)
            view = nation.http(part.body, f"/applications/{mine['id']}")[1]
            assert set(view["form"]) <= {a.name for a in part.asked}, code
            assert mine["state"] == "received"
    left = nation.do(portal.applications.get(account_of(nation, case), case)).unsent
    assert {p.procedure.code for p in left} == {p.code for p in offered if p.signed}


def account_of(nation, case):
    query = sa.select(apply_store.cases.c.account).where(apply_store.cases.c.id == case)
    return nation.world.institutions["portal"].database.read_now(lambda c: c.execute(query).scalar_one())


def test_what_must_be_signed_is_not_sent_without(nation, resident):
    case = begin(resident, "retirement")
    choose(resident, case, ["old-age-pension"])
    assert fill(resident, case)[0] == 200
    resident.form(f"/apply/{case}?step=send", f"/apply/{case}/send", procedure="old-age-pension")
    assert "Not sent yet" in page(resident, f"/apply/{case}?step=send")


def test_what_is_sent_twice_under_one_key_is_told_once(nation):
    ask = {"notice": "care-renewal", "local_id": nation.local_id(CITY), "values": {"day": "2027-02-01"}}
    first = nation.http(CITY, "/letters", ask, Idempotency_Key="once")
    assert first[0] == 202
    assert nation.http(CITY, "/letters", ask, Idempotency_Key="once") == first
    assert nation.http(CITY, "/letters", ask)[1] != first[1]
    assert nation.http(CITY, "/letters", ask | {"values": {"day": "2027-02-02"}}, Idempotency_Key="once")[0] == 409
    desk = Browser(nation.url(CITY))
    assert desk.form("/signin", token=nation.plan.place(CITY).token)[0] == 200
    rows = sa.select(sa.func.count()).select_from(notice_store.notices)
    wrote = lambda: nation.world.institutions[CITY].database.read_now(lambda c: c.execute(rows).scalar())  # noqa: E731
    at, before = "/desk/notices?notice=care-renewal", wrote()
    assert 'name="once"' in page(desk, at)
    form = {"notice": "care-renewal", "local_id": nation.local_id(CITY), "day": "2027-02-03", "once": "a" * 16}
    for _ in range(2):
        assert desk.form(at, "/desk/notices", **form)[0] == 200
    assert wrote() == before + 1


def test_what_is_attached_is_what_it_says(nation, resident):
    """By its bytes, and not by its name; and no more than may be."""
    portal = nation.world.institutions["portal"]
    case = begin(resident, "disaster")
    choose(resident, case, ["damage-certificate"], **{"place-home": CITY})
    account = portal.database.read_now(
        lambda c: c.execute(sa.select(apply_store.cases.c.account).where(apply_store.cases.c.id == case)).scalar()
    )
    png = b"\x89PNG\r\n\x1a\n" + bytes(50)
    nation.do(portal.applications.attach(account, case, "photograph", "..\\..\\evil<\u202e>.png", png))
    for kind, data, code in (
        ("photograph", b"<script>alert(1)</script>", "attachment"),
        ("photograph", b"MZ" + bytes(60), "attachment"),
        ("medical-certificate", png, "attachment"),
        ("photograph", png + bytes(2_000_000), "attachment-size"),
    ):
        with pytest.raises(Exception) as raised:
            nation.do(portal.applications.attach(account, case, kind, "a.png", data))
        assert raised.value.code == code
    nation.do(portal.applications.attach(account, case, "photograph", "all.pdf", b"%PDF-1.7\n" + bytes(1_900_000)))
    text = page(resident, f"/apply/{case}?step=form")
    assert "evil" in text
    assert "\u202e" not in text
    assert fill(resident, case)[0] == 200
    before = of(nation, "damage-certificate")
    assert resident.form(f"/apply/{case}?step=send", f"/apply/{case}/send")[0] == 200
    found = comes(nation, "damage-certificate", before)
    told = nation.http(CITY, f"/applications/{found['id']}")[1]
    assert sorted((a["kind"], a["type"]) for a in told["attached"]) == [
        ("photograph", "application/pdf"),
        ("photograph", "image/png"),
    ]


def test_letters_are_locked_in_every_database_and_unseen_by_the_hub(nation, resident):
    """A thief of a disk, and the keepers: who was told what is in no file of theirs."""
    secret = "訪問看護を希望しますか"
    name = "極秘 名前子"
    case = begin(resident, "care")
    choose(resident, case, CARE[:1], **{"place-home": CITY})
    assert fill(resident, case, **{"full-name@applicant": name})[0] == 200
    before = of(nation, CARE[0])
    nation.stop_body(CITY)  # while it is away, the portal owes it the letter
    assert resident.form(f"/apply/{case}?step=send", f"/apply/{case}/send")[0] == 200
    kept = b"".join(p.read_bytes() for p in (nation.folder / "portal").rglob("*") if p.is_file())
    assert name.encode() not in kept
    nation.start_body(CITY)
    mine = comes(nation, CARE[0], before)
    assert nation.http(CITY, f"/applications/{mine['id']}", {"state": "asked", "words": secret})[0] == 200
    arrives(lambda: secret in page(resident, f"/apply/{case}?step=send"))
    for body in ("hub", "commission", "portal", CITY):
        kept = b"".join(p.read_bytes() for p in (nation.folder / body).rglob("*") if p.is_file())
        assert secret.encode() not in kept, body
        assert name.encode() not in kept, body
