"""The commission's work in a real browser without script: from sign-in to what the clerk, the resident and the public see of it."""

import xml.etree.ElementTree as ET
from typing import NamedTuple

import pytest

from renkei.commission import store
from renkei.commission.watch import Alarm
from renkei.gateway import store as gateway_store
from renkei.institution import member
from tests.browser import JOURNEY, VIEWS, sign_in, sound, violations
from tests.console import Console
from tests.world import Running, until

pytestmark = JOURNEY

BOTH = pytest.mark.parametrize("view", [("ja", 320), ("en", 1280)], ids=["ja-320", "en-1280"])
PHONE = pytest.mark.parametrize("view", [("ja", 320)], ids=["ja-320"])
DESK = pytest.mark.parametrize("view", [("en", 1280)], ids=["en-1280"])
"""Journeys that are taken once; every page they show is looked at in all views below."""
CASE = (
    "児童手当法による児童手当の支給に関する事務において、申請の受付件数を大きく上回る地方税関係情報の照会が行われた件"
)
DRAFT = "大橋市における住民基本台帳、児童手当及び介護保険に関する事務 全項目評価書（令和8年10月改定案）"
DAY = 86_400_000


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(member, "FOLLOW_EVERY", 1.0)  # that bodies see a lifted order soon
        running = Running(tmp_path_factory.mktemp("commission") / "nation", residents=60)
        yield running
        running.stop()


def say(page, en, ja):
    return ja if page.lang == "ja" else en


def commission(nation):
    return nation.world.institutions["commission"]


def standing(nation, number):
    return commission(nation).keeper.state.oversight.decisions.get(number)


def come(nation, page, name):
    """An officer signs in."""
    page.officer = next(o for o in nation.plan.officers if o.name == name)
    page.base = nation.url("commission")
    page.goto(f"{page.base}/signin?lang={page.lang}")
    sound(page)
    page.fill("#officer", name)
    page.fill("#passphrase", page.officer.passphrase)
    page.press("#passphrase", "Enter")
    sound(page)
    assert page.url == f"{page.base}/desk"
    return page


def press(page, button, field="#passphrase", **fields):
    """Fill in fields and the passphrase, press the button; what the page says then."""
    for name, value in fields.items():
        page.fill(f"#{name}", value)
    page.fill(field, page.officer.passphrase)
    page.locator(field).locator("xpath=ancestor::form").locator(button).click()
    sound(page)
    assert page.locator("[role=alert]").count() == 0, page.inner_text("main")
    return page.inner_text("main")


def last(page):
    return page.url.rpartition("/")[2]


def read(page, url):
    page.goto(url)
    sound(page)
    return page.inner_text("main")


def asked(nation, page):
    """The clerk asks at the window; what the page of the inquiry says."""
    city = nation.url("ohashi-city")
    page.goto(f"{city}/desk/new?affair=child-allowance")
    page.select_option("#what", "local-tax@tax-union")
    page.fill("#local_id", nation.local_id("ohashi-city"))
    page.locator('form[action="/desk/new"][method=post] button').click()
    sound(page)
    return page.inner_text("main")


@BOTH
def test_an_order_is_proposed_signed_obeyed_read_and_lifted(nation, opened, view):
    """Two officers stop a body's inquiries; its clerk sees it and why, at the inquiry and on the page of the commission's letters."""
    inspector, commissioner = (come(nation, opened(*view), n) for n in ("kujo", "mikami"))
    why = say(inspector, "Until it is explained who asked.", "照会の経緯について説明があるまで停止する。")
    inspector.locator('main a[href="/decisions/order"]').click()
    sound(inspector)
    inspector.select_option("#requester", "ohashi-city")
    inspector.select_option("#item", "local-tax")
    told = press(inspector, "button", text=why, until="2099-03-31")
    assert say(inspector, "waits for a second signature", "二人目の署名待ち") in told
    assert say(inspector, "the end of 31 March 2099", "2099年3月31日まで") in told
    assert inspector.locator("button[value=sign]").count() == 0  # nobody is offered to sign twice
    number = last(inspector)
    commissioner.reload()
    commissioner.locator(f'main a[href="/decisions/{number}"]').click()
    press(commissioner, "button[value=sign]")
    until(lambda: standing(nation, number))
    assert say(commissioner, "in force", "有効") in read(commissioner, commissioner.url)

    clerk = opened(*view)
    sign_in(clerk, nation.url("ohashi-city"), "#token", nation.plan.place("ohashi-city").token)
    assert number in asked(nation, clerk)
    until(lambda: why in read(clerk, clerk.url))
    clerk.locator('nav a[href="/desk/commission"]').click()
    sound(clerk)
    letter = clerk.inner_text("main")
    assert number in letter
    assert why in letter
    assert say(clerk, "requester Ohashi City", "照会者 大橋市") in letter

    inspector.reload()
    told = press(inspector, "button[value=lift]", text=say(inspector, "Explained.", "説明を受けた。"))
    assert number in told
    commissioner.goto(inspector.url)
    press(commissioner, "button[value=sign]")
    until(lambda: standing(nation, number).lifted)
    assert say(commissioner, "done", "実施済み") in read(commissioner, commissioner.url)
    assert say(commissioner, "lifted", "解除済み") in read(commissioner, f"{commissioner.base}/decisions/{number}")
    city = nation.world.institutions["ohashi-city"]
    until(lambda: not city.supervision.orders())
    asked(nation, clerk)
    until(lambda: say(clerk, "Answered", "回答済み") in read(clerk, clerk.url))
    assert number not in read(clerk, nation.url("ohashi-city") + "/desk/commission")


@PHONE
def test_an_emergency_permit_is_issued_used_and_confirmed_by_another(nation, opened, view):
    """One commissioner suffices for the first hours; whoever issued it is not offered to confirm it; every use is listed."""
    commissioner, inspector = (come(nation, opened(*view), n) for n in ("mikami", "kujo"))
    provider, item = [("health-insurer", "medical-benefits"), ("employment-office", "employment-insurance")][
        view[0] == "en"
    ]
    asks = {"requester": "kiriyama-town", "provider": provider, "item": item}
    assert nation.ask(**asks)[1]["state"] == "refused"
    commissioner.goto(f"{commissioner.base}/decisions")
    commissioner.locator('main a[href="/decisions/exception"]').click()
    sound(commissioner)
    for name, value in {**asks, "affair": "child-allowance"}.items():
        commissioner.select_option(f"#{name}", value)
    commissioner.locator("summary").press("Enter")  # the codes to choose from, by keyboard
    assert "namiura-village" in commissioner.inner_text("details")
    sound(commissioner)
    commissioner.check("#emergency")
    press(commissioner, "button", text="Heavy rain.", days="14", area="kiriyama-town namiura-village")
    number = last(commissioner)
    until(lambda: standing(nation, number))
    told = read(commissioner, commissioner.url)
    assert say(commissioner, "It has not been used.", "まだ使用されていません。") in told
    assert commissioner.locator("button[value=confirm]").count() == 0
    assert nation.ask(**asks)[1]["state"] == "answered"

    inspector.goto(f"{inspector.base}/decisions/{number}")
    press(inspector, "button[value=confirm]", "#passphrase-confirm")
    until(lambda: standing(nation, number).confirmed)
    until(lambda: nation.do(commission(nation).database.read(lambda c: store.uses(c, f"exception-{number}", 9))))
    read(inspector, inspector.url)
    assert say(inspector, "Kiriyama Town → ", "霧山町 → ") in inspector.inner_text("main ul")
    assert inspector.locator("button[value=confirm]").count() == 0
    with inspector.expect_download() as paper:
        inspector.locator('a[href$="/pdf"]').click()
    assert paper.value.suggested_filename == f"{number}.pdf"


@BOTH
def test_a_resident_reports_an_access_and_sees_the_end_of_it(nation, opened, view):
    """Portal, console, the body's desk and back; the commission never learns who it was."""
    leaf = nation.ask()[1]["leaf"]
    portal, city = nation.url("portal"), nation.url("ohashi-city")
    until(lambda: nation.world.institutions["portal"].filing.tree.size > leaf)
    resident = opened(*view)
    sign_in(resident, portal, "#secret", nation.plan.personas[0].secret)
    record = f"{portal}/records/{leaf}"
    until(lambda: resident.goto(record).status == 200)
    wrote = say(resident, "I never applied for this.", "この手当を申請した覚えがありません。")
    resident.check("#unrecognised")
    resident.fill("#text", wrote)
    resident.locator('form[action$="/report"] button').click()
    sound(resident)
    assert say(resident, "You have told the commission", "委員会に申し出ました") in resident.inner_text("main")
    number = until(
        lambda: nation.do(commission(nation).database.read(lambda c: store.case_at(c, leaf, "unrecognised")))
    )

    inspector = come(nation, opened(*view), "kujo")
    inspector.locator(f'main a[href="/cases/{number}"]').first.click()
    sound(inspector)
    assert wrote in inspector.inner_text("main")
    until(lambda: number in read(resident, record))
    assert say(resident, "is examining", "調査中") in resident.inner_text("main")
    inspector.select_option("#kind", "explanation")
    why = say(inspector, "On whose application was this asked?", "どの申請に基づく照会か、説明してください。")
    press(inspector, "button", text=why, days="14")

    clerk = opened(*view)
    sign_in(clerk, city, "#token", nation.plan.place("ohashi-city").token)
    until(lambda: why in read(clerk, f"{city}/desk/commission"))
    answer = say(clerk, "On an application of the same day.", "同日付けの申請に基づくものです。")
    letter = clerk.locator(".card", has_text=number)
    letter.locator("textarea").fill(answer)
    letter.locator("button").click()
    sound(clerk)
    assert answer in clerk.inner_text("main")

    until(lambda: answer in read(inspector, f"{inspector.base}/cases/{number}"))
    inspector.select_option("#kind", "closing")
    press(inspector, "button", text=say(inspector, "Explained.", "説明により確認した。"))
    assert inspector.locator("form[action^='/cases/']").count() == 0
    until(lambda: say(resident, "has examined", "調査が終わりました") in read(resident, record))


@DESK
def test_an_assessment_goes_from_draft_past_the_public_to_the_register_and_its_feed(nation, opened, view):
    """Everyone reads and comments while it is open; what is published is found by its words, and in the feed."""
    name, inspector, public = f"all-{view[0]}", come(nation, opened(*view), "kujo"), opened(*view)
    title = say(public, "Child allowance and local tax", DRAFT)
    inspector.locator('nav a[href="/assessments"]').click()
    inspector.locator('main a[href="/assessments/new"]').click()
    sound(inspector)
    inspector.select_option("#body", "ohashi-city")
    for field, value in {"name": name, "title": title, "affairs": "child-allowance", "items": "*"}.items():
        inspector.fill(f"#{field}", value)
    for field, value in {"people": "300,000", "handlers": "80", "text": f"Risks of {name}, and measures."}.items():
        inspector.fill(f"#{field}", value)
    inspector.locator("main form button").click()
    sound(inspector)
    id_ = last(inspector)
    press(inspector, "button[value=advance]")
    assert inspector.locator("button[value=advance]").count() == 0  # not before the public has had its time

    assert title in read(public, f"{inspector.base}/register?lang={public.lang}")
    public.locator(f'a[href="/comment/{id_}"]').click()
    sound(public)
    public.fill("#text", "Why so many?")
    public.locator("main form button").click()
    sound(public)
    assert public.locator("[role=status]").count() == 1
    ended = store.assessments.update().where(store.assessments.c.id == int(id_))
    here = commission(nation)
    nation.do(here.database.write(lambda c: c.execute(ended.values(since=here.clock() - 31 * DAY))))
    assert "Why so many?" in read(inspector, inspector.url)
    press(inspector, "button[value=advance]")
    told = press(inspector, "button[value=advance]", note="Sound.")
    assert say(inspector, "Published", "公表") in told
    until(lambda: name in here.keeper.state.oversight.assessments["ohashi-city"])

    read(public, f"{inspector.base}/register")
    public.fill("#q", f"{name} measures")
    public.press("#q", "Enter")
    sound(public)
    public.locator(f'a[href="/register/ohashi-city/{name}"]').click()
    sound(public)
    assert title in public.inner_text("h1")
    nothing = read(public, f"{inspector.base}/register?q=zebra")
    assert say(public, "Nothing found.", "該当する評価書はありません。") in nothing
    status, text = nation.http("commission", "/register.atom", token="")
    assert status == 200
    assert title in "".join(ET.fromstring(text).itertext())


@BOTH
def test_a_body_is_inspected_hands_its_records_over_and_what_it_altered_is_found(nation, opened, view):
    """The clerk reads what goes with the answer; the inspector sees what does not fit the record, and takes out the evidence."""
    assert nation.ask(case="A-7", reason="Application of 2 March.")[1]["state"] == "answered"
    inspector, clerk = come(nation, opened(*view), "kujo"), opened(*view)
    inspector.goto(f"{inspector.base}/cases/new")
    inspector.select_option("#body", "ohashi-city")
    press(inspector, "button", title=CASE)
    number, case = last(inspector), inspector.url
    day = commission(nation).keeper.state.pack.day(commission(nation).clock()).isoformat()
    inspector.select_option("#kind", "inspection")
    told = press(
        inspector,
        "button",
        "#passphrase",
        text=say(inspector, "Your records of today.", "本日分の記録。"),
        first=day,
        last=day,
    )
    assert say(inspector, "Inspection", "立入検査") in told
    city = nation.world.institutions["ohashi-city"]
    until(lambda: [d for d in nation.do(city.supervision.listed()) if d.case_number == number])
    row = gateway_store.inquiries
    altered = row.update().where(row.c.case_number == "A-7").values(reason_text="Application of 1 March.")
    nation.do(city.database.write(lambda c: c.execute(altered)))

    sign_in(clerk, nation.url("ohashi-city"), "#token", nation.plan.place("ohashi-city").token)
    clerk.goto(f"{nation.url('ohashi-city')}/desk/commission")
    sound(clerk)
    assert say(clerk, "clerk, case number, reason, state", "職員名・事案番号・理由・処理状況") in clerk.inner_text(
        "main"
    )
    clerk.locator(f"li.card:has-text('{number}') textarea").fill(say(clerk, "Here they are.", "提出します。"))
    clerk.locator(f"li.card:has-text('{number}') button").click()
    sound(clerk)
    until(lambda: say(inspector, "Here they are.", "提出します。") in read(inspector, case))
    inspector.locator('main a[href*="/inspections/"]').click()
    sound(inspector)
    told = inspector.inner_text("main")
    assert say(inspector, "Not what the body was bound to when it asked", "照会時の内容と不一致") in told
    assert "Application of 1 March." in told
    inspector.fill("#passphrase", inspector.officer.passphrase)
    with inspector.expect_download() as evidence:
        inspector.locator("main form button").click()
    assert evidence.value.suggested_filename.startswith(number)


@DESK
def test_the_trail_tells_who_looked_and_the_record_vouches_for_it(nation, opened, view):
    inspector = come(nation, opened(*view), "kujo")
    nation.do(commission(nation).casework.publish_trail())
    until(lambda: commission(nation).keeper.state.oversight.trail.size)
    told = read(inspector, f"{inspector.base}/trail")
    assert say(inspector, "signed in", "サインイン") in told
    assert inspector.locator("[role=alert]").count() == 0


def test_a_wrong_passphrase_loses_nothing_that_was_typed(nation, opened):
    """Neither at sign-in nor in a form; whoever is not signed in is led to where they can."""
    page = opened("ja", 320)
    base = nation.url("commission")
    page.goto(f"{base}/desk?lang=ja")
    sound(page)
    page.locator('a[href="/signin"]').click()
    page.fill("#officer", "asahina")
    page.fill("#passphrase", "wrong")
    page.press("#passphrase", "Enter")
    sound(page)
    assert page.locator("[role=alert]").count() == 1
    assert page.input_value("#officer") == "asahina"
    page = come(nation, opened("ja", 320), "kujo")
    page.goto(f"{base}/cases/new")
    page.fill("#title", CASE)
    page.fill("#passphrase", "wrong")
    page.press("#passphrase", "Enter")
    sound(page)
    assert page.locator("[role=alert]").count() == 1
    assert page.input_value("#title") == CASE


class Filled(NamedTuple):
    """Addresses of pages with something on them, and whose they are."""

    desk: list[str]
    public: list[str]
    resident: list[str]
    clerk: list[str]


@pytest.fixture(scope="module")
def filled(nation):
    """One of everything: cases open and closed, decisions in each state, drafts in each step."""
    inspector, commissioner = Console(nation, "kujo"), Console(nation, "mikami")
    made = []

    def do(officer, path, **fields):
        status, page = officer.form(path, **fields)
        assert status == 200, page
        if path.endswith(("/new", "/order", "/exception")):
            made.append(officer.at)
        return officer.at

    told = nation.ask()[1]
    portal = nation.world.institutions["portal"]
    until(lambda: portal.filing.tree.size > told["leaf"])
    nation.do(portal.complain(told["leaf"], "paper", "窓口で課税証明書の提出を求められました。"))
    find = commission(nation).database.read_now
    case = until(lambda: find(lambda c: store.case_at(c, told["leaf"], "paper")))
    made.append(do(inspector, f"/cases/{case}", kind="explanation", text="経緯を説明してください。", days="14"))
    do(inspector, f"/cases/{case}", kind="note", text="窓口の記録と照合する。")
    do(inspector, "/cases/new", title=CASE, leaves=f"0 {told['leaf']}")
    do(inspector, "/cases/new", title="Refused inquiries", body="tax-union")
    do(inspector, inspector.at, kind="closing", text="問題なし。")
    do(inspector, "/cases/new", title=CASE, body="ohashi-city")
    day = commission(nation).keeper.state.pack.day(commission(nation).clock()).isoformat()
    inspected = do(inspector, inspector.at, kind="inspection", text="本日の記録。", days="14", first=day, last=day)
    city, number = nation.world.institutions["ohashi-city"], inspected.rpartition("/")[2]
    demand = until(lambda: [d for d in nation.do(city.supervision.listed()) if d.case_number == number])[0]
    row = gateway_store.inquiries
    altered = (
        row.update().where(row.c.leaf.is_not(None)).values(reason_text="児童手当の認定請求について、所得を確認するため")
    )
    nation.do(city.database.write(lambda c: c.execute(altered)))
    nation.do(city.supervision.answer(bytes(demand.document), "提出します。", "職員A"))
    made.append(f"{inspected}/inspections/{demand.document.hex()}")
    alarm = Alarm("volume", "ohashi-city", bytes(8), "child-allowance", told["leaf"], DAY, 41, 3.5, (told["leaf"],))
    nation.do(commission(nation).database.write(lambda c: store.add_alarm(c, alarm)))
    do(inspector, "/decisions/order", text="Stop.", body="health-insurer")
    do(inspector, "/decisions/order", text="Stop.", body="health-insurer")
    do(inspector, inspector.at, act="withdraw")
    order = do(
        inspector, "/decisions/order", text="照会の経緯が不明なため。", requester="ohashi-city", item="disability"
    )
    do(commissioner, order, act="sign")
    until(lambda: standing(nation, order.rpartition("/")[2]))
    do(inspector, order, act="lift", text="解消した。")
    made.append(inspector.at)
    permit = {"requester": "namiura-village", "affair": "child-allowance", "item": "medical-benefits", "days": "30"}
    do(commissioner, "/decisions/exception", **permit, emergency="yes", text="豪雨災害のため。")
    draft = {"body": "ohashi-city", "affairs": "child-allowance", "people": "300000", "handlers": "80", "text": "本文"}
    do(inspector, "/assessments/new", **draft, name="first", title="児童手当事務 全項目評価書")
    comment = do(inspector, "/assessments/new", **draft, name="second", title=DRAFT)
    do(inspector, comment, act="advance", note="")
    do(inspector, "/assessments/new", **{**draft, "people": "12000"}, name="third", title="Local tax")
    do(inspector, inspector.at, act="advance", note="")
    until(lambda: "third" in commission(nation).keeper.state.oversight.assessments["ohashi-city"])
    lists = ["/desk", "/alarms", "/cases", "/decisions", "/assessments", "/statistics", "/trail"]
    forms = ["/cases/new", "/decisions/order", "/decisions/exception", "/assessments/new"]
    base = nation.url("commission")
    public = ["/signin", "/register", "/register?q=zebra", "/register/ohashi-city/third", "/statistics"]
    lists.append(f"/entries/{told['leaf']}")
    public += [f"/comment/{comment.rpartition('/')[2]}", "/cases", "/register/ohashi-city/-"]
    return Filled(
        [base + p for p in [*lists, *forms, *dict.fromkeys(made)]],
        [base + p for p in public],
        [f"{nation.url('portal')}/records", f"{nation.url('portal')}/records/{told['leaf']}"],
        [f"{nation.url('ohashi-city')}/desk/commission", f"{nation.url('tax-union')}/desk/commission"],
    )


def enter(nation, page, filled):
    """Signs in everyone whose pages are looked at: their cookies do not meet."""
    for body in ("ohashi-city", "tax-union"):
        sign_in(page, nation.url(body), "#token", nation.plan.place(body).token)
    sign_in(page, nation.url("portal"), "#secret", nation.plan.personas[0].secret)
    come(nation, page, "kujo")


EVERY_VIEW = [pytest.param(v, marks=[pytest.mark.long] if v in VIEWS[1:3] else []) for v in VIEWS]


@pytest.mark.parametrize("page", EVERY_VIEW, indirect=True, ids=lambda v: f"{v[0]}-{v[1]}")
def test_every_page_fits_in_every_view(nation, filled, opened, page):
    """With little on it and with much, for officers, the public, residents and clerks."""
    other = opened(page.lang, page.viewport_size["width"])
    other.goto(f"{nation.url('commission')}/register?lang={page.lang}")
    for address in filled.public:
        read(other, address)
    enter(nation, page, filled)
    for address in [*filled.desk, *filled.resident, *filled.clerk]:
        assert "http-" not in read(page, address), address


def test_a_reader_is_offered_no_act(nation, filled, opened):
    reader = come(nation, opened("ja", 320), "shirase")
    for address in filled.desk:
        if not address.endswith(("/new", "/order", "/exception")):
            read(reader, address)
            assert reader.locator("main form[method=post], main .button").count() == 0, address


def test_axe_finds_nothing_on_any_page(nation, filled, browser):
    """All its rules in light, its contrasts in dark too; the page's own policy is set aside for the checker alone."""
    for scheme, lang, rules in (("light", "ja", ()), ("dark", "en", ("color-contrast",))):
        contexts = [browser.new_context(locale=lang, bypass_csp=True, color_scheme=scheme) for _ in range(2)]
        everyone, signed_in = (c.new_page() for c in contexts)
        signed_in.lang = lang
        enter(nation, signed_in, filled)
        looks = [(everyone, a) for a in filled.public]
        looks += [(signed_in, a) for a in (*filled.desk, *filled.resident, *filled.clerk)]
        for page, address in looks:
            page.goto(address)
            assert violations(page, *rules) == [], (scheme, address)
        for context in contexts:
            context.close()
