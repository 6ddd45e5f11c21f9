"""An order from the console to the data path and back: proposed, signed by two, refused by it, lifted."""

import asyncio
import re

from renkei.commission import store
from renkei.commission.casework import Signed
from renkei.gateway.desk import Ask
from tests.console import Console
from tests.world import until


def order(inspector, commissioner, **scope):
    """An order proposed by one officer and signed by another; its number."""
    status, _ = inspector.form("/decisions/order", text="Stopped until explained.", **scope)
    assert status == 200
    number = inspector.at.rpartition("/")[2]
    status, page = commissioner.form(f"/decisions/{number}", act="sign")
    assert status == 200, page
    return number


def lift(nation, inspector, commissioner, number):
    inspector.form(f"/decisions/{number}", act="lift", text="Explained.")
    status, _ = commissioner.form(inspector.at, act="sign")
    assert status == 200
    until(lambda: nation.ask()[1]["state"] == "answered")


def standing(nation, number):
    return nation.world.institutions["commission"].keeper.state.oversight.decisions.get(number)


def test_an_order_stops_the_next_inquiry_and_lifting_it_lets_it_pass(nation, inspector, commissioner):
    assert nation.ask()[1]["state"] == "answered"
    number = order(inspector, commissioner, body="tax-union")
    until(lambda: standing(nation, number))
    status, told = nation.ask()
    assert (status, told["state"], told["reason"], told["rows"]) == (200, "refused", "order", [number])
    assert nation.ask(provider="pension-service", item="pension-benefits")[1]["reason"] != "order"
    lift(nation, inspector, commissioner, number)


def test_whoever_it_refuses_sees_it(nation, inspector, commissioner):
    """The requester's clerk reads the order's reasons where the inquiry was refused."""
    number = order(inspector, commissioner, requester="ohashi-city", item="local-tax")
    until(lambda: nation.ask()[1]["state"] == "refused")
    member = nation.world.institutions["ohashi-city"].member
    until(lambda: number in member.state.oversight.decisions)
    assert [s.decision.number for s in nation.world.institutions["ohashi-city"].supervision.orders()] == [number]
    assert nation.world.institutions["kiriyama-town"].supervision.orders() == []
    lift(nation, inspector, commissioner, number)


def test_one_officer_alone_stops_nothing(nation, inspector, commissioner):
    """Four eyes: the proposer cannot sign twice, two inspectors are not enough, a reader cannot at all."""
    inspector.form("/decisions/order", text="Stop.", body="tax-union")
    path = inspector.at
    assert inspector.form(path, act="sign")[0] == 409
    assert Console(nation, "shirase").form(path, act="sign")[0] == 403
    status, page = Console(nation, "asahina").form(path, act="sign")
    assert (status, "waits for a commissioner" in page) == (200, True)
    assert nation.ask()[1]["state"] == "answered"
    status, page = inspector.form(path, act="withdraw")
    assert (status, "withdrawn" in page) == (200, True)
    assert commissioner.form(path, act="sign")[0] == 404


def test_a_signature_needs_the_passphrase_each_time(nation, inspector):
    """A stolen session looks, and signs nothing."""
    inspector.passphrase = "guess"
    status, page = inspector.form("/decisions/order", text="Stop.", body="tax-union")
    assert status == 403
    assert "do not belong together" in page
    assert "Stop." in page  # nothing typed is lost


def test_a_clerk_is_stopped_and_the_colleague_goes_on(nation, inspector, commissioner):
    """By the pseudonym that only the commission can read."""
    city = nation.world.institutions["ohashi-city"]
    name = city.settings.clerks[0].name
    number = order(inspector, commissioner, requester="ohashi-city", clerk=city.keys.pseudonym(name).hex())
    until(lambda: standing(nation, number))
    status, told = nation.ask()
    assert (status, told["state"], told["reason"], told["refused_by"]) == (200, "refused", "order", "commission")
    made = {"local_id": nation.local_id("ohashi-city"), "provider": "tax-union", "affair": "child-allowance"}
    ask = nation.world.institutions["ohashi-city"].desk.ask
    other = nation.do(ask(Ask(**made, item="local-tax", purpose="assess-amount"), "colleague", wait=10))
    assert nation.http("ohashi-city", f"/inquiries/{other.hex()}")[1]["state"] == "answered"
    lift(nation, inspector, commissioner, number)


def test_what_was_permitted_before_an_order_is_not_answered_while_it_stands(nation, inspector, commissioner):
    """An institution suspended mid-flight: its provider was away, comes back, and holds the answer until the order is lifted."""
    nation.stop_body("tax-union")
    _, told = nation.ask(wait=1)
    until(lambda: nation.http("ohashi-city", f"/inquiries/{told['id']}")[1]["state"] == "permitted")
    number = order(inspector, commissioner, requester="ohashi-city")
    until(lambda: standing(nation, number))
    nation.start_body("tax-union")
    until(lambda: nation.http("tax-union", "/provisions?status=held")[1])
    held = nation.http("tax-union", "/provisions?status=held")[1]
    assert [p["reason"] for p in held] == ["order"]
    assert nation.http("tax-union", f"/provisions/{held[0]['id']}/release", {})[0] == 409
    inspector.form(f"/decisions/{number}", act="lift", text="Explained.")
    commissioner.form(inspector.at, act="sign")
    until(lambda: nation.http("ohashi-city", f"/inquiries/{told['id']}")[1]["state"] == "answered", 30)


def test_an_order_is_lifted_once_though_two_proposed_it(nation, inspector, commissioner):
    """While the first lift is on its way into the record (here: the hub is away), a second one is not signed into nothing."""
    number = order(inspector, commissioner, provider="pension-service")
    until(lambda: standing(nation, number))
    paths = []
    for text in ("Explained.", "Mended."):
        assert inspector.form(f"/decisions/{number}", act="lift", text=text)[0] == 200
        paths.append(inspector.at)
    nation.stop_body("hub")
    assert commissioner.form(paths[0], act="sign")[0] == 200
    status, page = commissioner.form(paths[1], act="sign")
    assert (status, "It is being lifted already" in page) == (409, True)
    nation.start_body("hub")
    until(lambda: standing(nation, number).lifted)
    assert inspector.form(paths[1], act="withdraw")[0] == 200
    assert nation.world.institutions["commission"].keeper.state.void == 0


def test_a_decision_prints(nation, inspector, commissioner):
    number = order(inspector, commissioner, item="resident-record")
    until(lambda: standing(nation, number))
    status, data = inspector.get(f"/decisions/{number}/pdf")
    assert (status, data[:5]) == (200, b"%PDF-")
    assert inspector.get("/decisions/o-1-1/pdf")[0] == 404


def test_bad_input_is_told_and_nothing_half_done(nation, inspector):
    for fields, code in (
        ({"text": "x"}, "order-scope"),
        ({"text": "", "body": "tax-union"}, "text"),
        ({"text": "x", "body": "nobody"}, "unknown-body"),
        ({"text": "x", "body": "tax-union", "until": "tomorrow"}, "day"),
        ({"text": "x", "body": "tax-union", "until": "2020-01-01"}, "order-time"),
        ({"text": "x", "requester": "tax-union", "clerk": "zz"}, "pseudonym"),
        ({"text": "x" * 2001, "body": "tax-union"}, "text"),
    ):
        status, page = inspector.form("/decisions/order", **fields)
        assert status in (400, 403), code
        assert re.search(r'class="notice bad" role="alert"', page), code


def test_every_act_is_in_the_trail_and_the_record_vouches_for_it(nation, inspector):
    commission = nation.world.institutions["commission"]
    nation.do(commission.casework.publish_trail())
    until(lambda: commission.keeper.state.oversight.trail.size)
    status, page = inspector.get("/trail")
    assert status == 200
    assert "signed a decision" in page
    assert "not the one the record vouches for" not in page
    change = (
        store.trail.update()
        .where(store.trail.c.position == 0)
        .values(entry=b'{"at":1,"officer":"x","act":"look","about":""}')
    )
    before = nation.do(commission.database.read(store.trail_entries))
    nation.do(commission.database.write(lambda c: c.execute(change)))
    assert "not the one the record vouches for" in inspector.get("/trail")[1]
    back = store.trail.update().where(store.trail.c.position == 0).values(entry=before[0])
    nation.do(commission.database.write(lambda c: c.execute(back)))


def test_readers_look_and_nobody_enters_unasked(nation, reader):
    for path in ("/desk", "/cases", "/decisions", "/assessments", "/trail"):
        assert reader.get(path)[0] == 200
        assert Console(nation).get(path)[0] == 401
    assert reader.form("/decisions/order", text="x", body="tax-union")[0] == 403


def test_an_exceptional_permit_is_used_ends_and_its_uses_are_reviewed(nation, inspector, commissioner):
    """What the table does not link is linked for the time, each use is marked and listed, and a review is due at the end, once."""
    linkage = {"requester": "ohashi-city", "provider": "tax-union", "affair": "child-allowance", "item": "disability"}
    assert nation.ask(item="disability")[1]["reason"] == "item-outside-row"
    status, page = inspector.form("/decisions/exception", **linkage, days="2", text="Flood.")
    assert status == 200, page
    number = inspector.at.rpartition("/")[2]
    assert commissioner.form(f"/decisions/{number}", act="sign")[0] == 200
    until(lambda: standing(nation, number))
    told = nation.ask(item="disability")[1]
    assert (told["state"], told["rows"]) == ("answered", [f"exception-{number}"])
    until(lambda: f" {told['leaf']}</span>" in inspector.get(f"/decisions/{number}")[1])
    assert inspector.form(f"/decisions/{number}", act="review")[0] == 409  # it has not ended
    inspector.form(f"/decisions/{number}", act="lift", text="The water has gone.")
    assert commissioner.form(inspector.at, act="sign")[0] == 200
    until(lambda: standing(nation, number).lifted)
    assert nation.ask(item="disability")[1]["reason"] == "item-outside-row"
    assert f"/decisions/{number}" in inspector.get("/desk")[1].partition("Reviews due")[2]
    status, page = inspector.form(f"/decisions/{number}", act="review")
    assert (status, inspector.at.startswith("/cases/"), str(told["leaf"]) in page) == (200, True, True)
    assert "Reviews due" not in inspector.get("/desk")[1]
    assert inspector.form(f"/decisions/{number}", act="review")[0] == 409


def test_two_officers_who_confirm_at_once_are_not_both_told_that_they_did(nation, commissioner):
    """One confirmation counts; the other officer is told so."""
    here = nation.world.institutions["commission"]
    status, _ = commissioner.form(
        "/decisions/exception",
        requester="ohashi-city",
        affair="child-allowance",
        item="disability",
        days="1",
        text="Flood.",
        emergency="yes",
    )
    assert status == 200
    number = commissioner.at.rpartition("/")[2]
    until(lambda: standing(nation, number))

    async def both():
        signed = []
        for name in ("kujo", "asahina"):
            oversight = here.casework.oversight
            passphrase = next(o.passphrase for o in nation.plan.officers if o.name == name)
            signed.append(Signed(oversight.officers[name], await here.officers.unlock(oversight, name, passphrase)))
        return await asyncio.gather(*(here.casework.confirm(s, number) for s in signed), return_exceptions=True)

    outcomes = nation.do(both())
    assert sorted(getattr(e, "code", "") for e in outcomes) == ["", "moved-on"]
    until(lambda: standing(nation, number).confirmed)
    assert here.keeper.state.void == 0
