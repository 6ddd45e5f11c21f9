"""Cases: from a resident's report or an inspector to the body's answer and the end, with every step in the record."""

import asyncio
import re
import urllib.parse
import urllib.request

from renkei.commission import store
from renkei.commission.casework import Signed
from renkei.gateway import store as gateway_store
from renkei.ledger import store as log
from renkei.messages.wire import Explanation, Report
from renkei.portal import store as portal_store
from tests.console import Console
from tests.service.commission.conftest import BOTH
from tests.world import until

pytestmark = BOTH


def commission(nation):
    return nation.world.institutions["commission"]


def open_cases(nation):
    return commission(nation).database.read_now(lambda c: store.list_cases(c, closed=False))


def papers(nation, number):
    return commission(nation).database.read_now(lambda c: store.papers_of(c, number))


def report(nation, told, kind="unrecognised", text="I never applied."):
    """A resident reports an access, as the portal's page does; the case it led to."""
    portal = nation.world.institutions["portal"]
    until(lambda: portal.filing.tree.size > told["leaf"])
    assert nation.do(portal.complain(told["leaf"], kind, text))

    def found():
        commission_ = commission(nation)
        return commission_.database.read_now(lambda c: store.case_at(c, told["leaf"], kind))

    return until(found)


def test_a_resident_s_report_opens_a_case_against_the_body_that_asked(nation, inspector):
    """The commission learns which access, and what was written; not who. The resident sees that it is being examined."""
    told = nation.ask()[1]
    number = report(nation, told)
    case = commission(nation).database.read_now(lambda c: store.case(c, number))
    assert (case.body, case.origin) == ("ohashi-city", "unrecognised")
    status, page = inspector.get(f"/cases/{number}")
    assert status == 200
    assert "I never applied." in page
    assert "City of Ohashi" in page or "Ohashi" in page
    portal = nation.world.institutions["portal"]
    marks = until(lambda: portal.database.read_now(lambda c: portal_store.marks_on(c, [told["leaf"]])))
    assert [m.state for m in marks[told["leaf"]]] == ["examined"]
    assert not nation.do(portal.complain(told["leaf"], "unrecognised", "again"))


def test_two_residents_reports_of_one_access_are_one_case(nation):
    """And paper asked for all the same is a case of its own."""
    told = nation.ask()[1]
    first = report(nation, told)
    portal = nation.world.institutions["portal"]
    before = len(papers(nation, first))
    again = Report(bytes(16), told["leaf"], "unrecognised", "Nor do I.")
    nation.do(portal.post.send("commission", [again]))
    until(lambda: len(papers(nation, first)) == before + 1)
    assert report(nation, told, "paper") != first


def test_a_report_of_an_access_that_is_not_here_yet_waits_for_it(nation):
    """A commission that was restored gets the leaf back from the hub, and then the report's case; nothing is dropped."""
    told = nation.ask()[1]
    portal, here = nation.world.institutions["portal"], commission(nation)
    at = here.keeper.tree.size + 4
    nation.do(portal.post.send("commission", [Report(bytes(15) + b"w", at, "unrecognised", "Early.")]))
    while here.keeper.tree.size <= at:
        told = nation.ask()[1]
    assert told["state"] == "answered"
    number = until(lambda: here.database.read_now(lambda c: store.case_at(c, at, "unrecognised")))
    assert [p.text for p in papers(nation, number)] == ["Early."]


def test_a_body_is_asked_explains_and_the_case_is_closed(nation, inspector):
    """The words go to the body alone; the record has the step, signed by the officer, and the words' hash."""
    told = nation.ask()[1]
    number = report(nation, told)
    status, page = inspector.form(f"/cases/{number}", kind="explanation", text="Why was this asked?", days="14")
    assert status == 200, page
    city = nation.world.institutions["ohashi-city"]
    (demand,) = until(
        lambda: city.database.read_now(
            lambda c: c.execute(
                gateway_store.demands.select().where(gateway_store.demands.c.case_number == number)
            ).all()
        )
    )
    assert demand.text == "Why was this asked?"
    others = nation.world.institutions["tax-union"].database.read_now(
        lambda c: c.execute(gateway_store.demands.select()).all()
    )
    assert others == []
    measure = next(m for _, _, m in commission(nation).keeper.state.oversight.measures if m.case == number)
    assert (measure.kind, measure.body, measure.document) == ("explanation", "ohashi-city", bytes(demand.document))
    here = commission(nation)
    leaves = here.database.read_now(lambda c: log.read(c, 0, here.keeper.tree.size))
    assert not any(b"Why was this asked?" in (leaf.entry or b"") for leaf in leaves)
    nation.do(city.supervision.answer(bytes(demand.document), "An application of the same day.", "職員A"))
    until(lambda: [p for p in papers(nation, number) if p.kind == "answer"])
    assert "An application of the same day." in inspector.get(f"/cases/{number}")[1]
    assert inspector.form(f"/cases/{number}", kind="closing", text="Explained.")[0] == 200
    assert number not in [c.number for c in open_cases(nation)]
    assert inspector.form(f"/cases/{number}", kind="advice", text="x")[0] in (404, 409)
    portal = nation.world.institutions["portal"]
    until(
        lambda: (
            {
                m.state
                for m in portal.database.read_now(lambda c: portal_store.marks_on(c, [told["leaf"]]))[told["leaf"]]
                if m.case_number == number
            }
            == {"closed"}
        )
    )


def test_what_comes_again_is_kept_once(nation, inspector):
    """A sender restarted before it was acknowledged sends again (ADR 9): a report and an answer, also when the case is closed by then."""
    told = nation.ask()[1]
    number = report(nation, told)
    inspector.form(f"/cases/{number}", kind="explanation", text="Why?", days="14")
    city, portal = nation.world.institutions["ohashi-city"], nation.world.institutions["portal"]
    document = bytes(next(p.document for p in papers(nation, number) if p.document))
    (sent,) = portal.database.read_now(lambda c: portal_store.reports_on(c, told["leaf"]))
    again = Report(bytes(sent.reference), told["leaf"], "unrecognised", "I never applied.")
    answer = Explanation(number, document, "An application of the same day.")

    def repeat():
        before = nation.counter("commission", "messages_repeated")
        nation.do(portal.post.send("commission", [again]))
        nation.do(city.post.send("commission", [answer]))
        until(lambda: nation.counter("commission", "messages_repeated") >= before + 2)
        return [p.kind for p in papers(nation, number)]

    nation.do(city.post.send("commission", [answer]))
    until(lambda: "answer" in [p.kind for p in papers(nation, number)])
    assert repeat() == ["report", "explanation", "answer"]
    assert inspector.form(f"/cases/{number}", kind="closing", text="Explained.")[0] == 200
    assert repeat() == ["report", "explanation", "answer", "closing"]
    assert commission(nation).database.read_now(lambda c: store.case_at(c, told["leaf"], "unrecognised")) is None


def test_a_case_is_closed_once_though_two_close_it(nation, inspector):
    """And whoever looked at it before asks nothing of a body in a case that was closed meanwhile."""
    assert inspector.form("/cases/new", title="Both", body="tax-union")[0] == 200
    number, here = inspector.at.rpartition("/")[2], commission(nation)

    async def both():
        oversight = here.casework.oversight
        seed = await here.officers.unlock(oversight, "kujo", inspector.passphrase)
        signed = Signed(oversight.officers["kujo"], seed)
        acts = [here.casework.measure(signed, number, "closing", f"Closed by {who}.", 0) for who in ("one", "another")]
        return await asyncio.gather(*acts, return_exceptions=True)

    outcomes = nation.do(both())
    assert sorted(getattr(e, "code", "") for e in outcomes) == ["", "closed"]
    assert [p.kind for p in papers(nation, number)] == ["closing"]


def test_a_leaf_named_twice_is_one(nation, inspector):
    leaf = nation.ask()[1]["leaf"]
    assert inspector.form("/cases/new", title="Twice", body="tax-union", leaves=f"{leaf} {leaf}")[0] == 200


def test_nobody_answers_for_another_body_and_no_stranger_reports(nation, inspector):
    """A body that is not asked, and a body that plays the portal, change nothing."""
    told = nation.ask()[1]
    number = report(nation, told)
    inspector.form(f"/cases/{number}", kind="explanation", text="Why?", days="14")
    document = next(p.document for p in papers(nation, number) if p.document)
    before = len(papers(nation, number)), len(open_cases(nation))
    stranger = nation.world.institutions["kiriyama-town"]
    nation.do(
        stranger.post.send(
            "commission",
            [Explanation(number, bytes(document), "Because."), Report(bytes(16), told["leaf"], "paper", "x")],
        )
    )
    count = commission(nation)
    until(lambda: nation.counter("commission", "messages_unexpected") >= 2)
    assert (len(papers(nation, number)), len(open_cases(nation))) == before
    assert count.database.read_now(lambda c: store.case_at(c, told["leaf"], "paper")) is None


def test_an_inspector_opens_a_case_and_a_script_in_it_stays_text(nation, inspector):
    leaf = nation.ask()[1]["leaf"]
    status, page = inspector.form("/cases/new", title="<script>alert(1)</script>", body="tax-union", leaves=str(leaf))
    assert status == 200
    assert "<script>" not in page
    number = inspector.at.rpartition("/")[2]
    assert number in inspector.get("/cases")[1]
    status, page = inspector.form(f"/cases/{number}", kind="note", text="<b>bold</b>")
    assert status == 200
    assert "<b>bold" not in page
    for fields in (
        {"title": ""},
        {"title": "x", "body": "nobody"},
        {"title": "x", "leaves": "999999"},
        {"title": "x", "leaves": "-1"},
    ):
        assert inspector.form("/cases/new", **fields)[0] in (400, 404)


def test_forms_without_their_token_change_nothing(nation, inspector):
    """CSRF: another site's form, sent with the officer's cookie."""
    before = len(open_cases(nation))
    data = urllib.parse.urlencode({"title": "x", "passphrase": inspector.passphrase}).encode()
    status, _ = inspector._do(urllib.request.Request(inspector.url + "/cases/new", data))
    assert status == 403
    assert len(open_cases(nation)) == before


def test_wrong_passphrases_are_slowed_down(nation):
    """Guessing ends after five tries; the page says to wait, whoever is right meanwhile."""
    thief = Console(nation)
    thief.passphrase = "guess"
    assert [thief.form("/signin", officer="asahina")[0] for _ in range(6)] == [403] * 5 + [429]
    assert thief.form("/signin", officer="nobody")[0] == 403
    assert re.search("Wait a minute", thief.form("/signin", officer="asahina")[1])
