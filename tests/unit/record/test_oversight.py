"""The commission's decisions in the data path: what each needs, from when it counts, and what it refuses or allows."""

import msgspec
import pytest

from renkei.errors import NotGenuine
from renkei.messages.signing import SealKey, approve, hide
from renkei.messages.wire import (
    Appoint,
    Assessment,
    Confirm,
    ExceptionalPermit,
    Lift,
    Measure,
    Officer,
    Order,
    Scope,
    Trail,
)
from renkei.record import rounds
from renkei.record.admission import rule
from renkei.record.oversight import DAY, HOUR
from tests.unit.record.conftest import NOW, OFFICERS, Net

LATER = NOW + 100 * DAY


@pytest.fixture
def net(pack, converters):
    return Net(pack, converters)


def reason(net, sender="ohashi-city", now=NOW, **changes):
    inquiry = net.inquiry(sender, issued_at=now, expires=now + DAY, **changes)
    found, _ = rule(net.state, sender, inquiry, now, by="hub")
    return found.reason if not found.allowed else ""


def order(number="o-1", until=0, **scope):
    return Order(number, Scope(**scope), "Stopped until explained.", until)


@pytest.mark.parametrize(
    ("scope", "other"),
    [
        ({"body": "tax-union"}, {"provider": "pension-service", "item": "pension-benefits"}),
        ({"body": "ohashi-city"}, None),
        ({"requester": "ohashi-city"}, None),
        ({"provider": "tax-union"}, {"provider": "pension-service"}),
        ({"affair": "child-allowance"}, {"affair": "local-tax"}),
        ({"item": "local-tax"}, {"item": "disability"}),
        (
            {"requester": "ohashi-city", "provider": "tax-union", "affair": "child-allowance", "item": "local-tax"},
            {"item": "disability"},
        ),
    ],
)
def test_an_order_stops_what_it_says_and_nothing_else(net, scope, other):
    """A body, a side, an affair, an item or one linkage; the refusal names the order; lifting it lets it pass again."""
    assert reason(net) == ""
    net.decide(order(**scope), "sato", "tanaka")
    found, target = rule(net.state, "ohashi-city", net.inquiry(), NOW, by="hub")
    assert (found.reason, found.rows, target) == ("order", ["o-1"], None)
    if other:
        assert reason(net, **other) != "order"
    net.decide(Lift("o-1", "Explained."), "suzuki", "tanaka")
    assert reason(net) == ""
    assert net.state.oversight.decisions["o-1"].lifted == NOW


def test_an_order_ends_at_its_hour(net):
    net.decide(order(body="tax-union", until=NOW + HOUR), "sato", "tanaka")
    assert reason(net, now=NOW + HOUR - 1) == "order"
    assert reason(net, now=NOW + HOUR) == ""


@pytest.mark.parametrize(
    "officers", [(), ("tanaka",), ("sato", "suzuki"), ("sato", "mori"), ("mori", "tanaka"), ("tanaka", "tanaka")]
)
def test_no_order_without_four_eyes(net, officers):
    """Two officers, one of them a commissioner; a reader's signature counts for nothing, and nobody's twice."""
    with pytest.raises(NotGenuine):
        net.decide(order(body="tax-union"), *officers)
    assert reason(net) == ""


def test_whoever_holds_the_commission_s_server_but_no_officer_s_key_decides_nothing(net):
    """The claim it tries to break: a stolen commission key stops and permits at will. Also what is in the record anyway is void."""
    forged = approve(order(body="tax-union"), "tanaka", bytes(32))
    moved = approve(
        approve(order("o-2", body="portal"), "sato", net.officers["sato"]), "tanaka", net.officers["tanaka"]
    )
    moved = msgspec.structs.replace(moved, scope=Scope(body="tax-union"))
    for act in (forged, moved, order(body="tax-union")):
        with pytest.raises(NotGenuine):
            net.state.check(net.identities["commission"].sign(act), NOW)
        net.act("commission", act)
    assert net.state.void == 3
    assert reason(net) == ""


def test_officers_signatures_are_nobody_else_s_to_submit(net):
    act = order(body="tax-union")
    for officer in ("sato", "tanaka"):
        act = approve(act, officer, net.officers[officer])
    with pytest.raises(NotGenuine) as refused:
        net.state.check(net.identities["hub"].sign(act), NOW)
    assert refused.value.code == "not-entitled"


@pytest.mark.parametrize("scope", [{}, {"clerk": b"12345678"}])
def test_an_order_names_what_it_stops(net, scope):
    with pytest.raises(NotGenuine):
        net.decide(order(**scope), "sato", "tanaka")


def test_a_number_is_used_once_and_lifted_once(net):
    net.decide(order(body="tax-union"), "sato", "tanaka")
    with pytest.raises(NotGenuine):
        net.decide(order(body="portal"), "sato", "tanaka")
    net.decide(Lift("o-1", ""), "sato", "tanaka")
    with pytest.raises(NotGenuine):
        net.decide(Lift("o-1", "again"), "sato", "tanaka")


def test_a_clerk_is_stopped_by_the_commission_alone_and_the_hub_never_learns_who(net, converters):
    """The hub lets it pass; the commission reads the pseudonym, which looks different in each inquiry, and refuses."""
    clerk, other = b"clerk--1", b"clerk--2"
    shared = net.seals["ohashi-city"].agree(net.seals["commission"].public)

    def unveil(requester, hidden, nonce):
        return hide(hidden, net.seals["commission"].agree(net.seals[requester].public), nonce)

    def ask(who):
        reply = SealKey().public
        envelope = net.signed(reply_key=reply, clerk=hide(who, shared, reply))
        entry = rounds.draft(net.state, converters[0], lambda _: {}, envelope, NOW).entry
        assert entry.ruling.allowed
        return rounds.fill(net.state, converters[1], lambda _: {}, entry, NOW, unveil=unveil), entry

    assert ask(clerk)[0].converted
    net.decide(order(requester="ohashi-city", clerk=clerk), "sato", "tanaka")
    filled, entry = ask(clerk)
    assert (filled.refusal, filled.rows, filled.converted) == ("order", ["o-1"], [])
    assert not rounds.complete(entry, filled).ruling.allowed
    assert ask(other)[0].converted
    assert ask(clerk)[1].inquiry.payload != ask(clerk)[1].inquiry.payload


# ------------------------------------------------------------------ exceptional permits


def exception(number="x-1", *, start=NOW, end=NOW + DAY, area=(), emergency=False, **changes):
    values = {"requester": "ohashi-city", "provider": "tax-union", "affair": "child-allowance", "item": "disability"}
    values |= changes
    return ExceptionalPermit(number, *values.values(), list(area), start, end, "Flood.", emergency)


def test_an_exceptional_permit_links_what_the_table_does_not_for_its_time_and_every_use_is_marked(net):
    assert reason(net, item="disability") == "item-outside-row"
    net.decide(exception(), "sato", "tanaka")
    found, target = rule(net.state, "ohashi-city", net.inquiry(item="disability"), NOW, by="hub")
    assert (found.allowed, found.row, found.line, found.rows) == (True, "exception-x-1", 0, ["exception-x-1"])
    assert target is not None
    assert reason(net, item="disability", now=NOW + DAY - 1) == ""
    assert reason(net, item="disability", now=NOW + DAY) == "item-outside-row"
    assert reason(net, "pension-service", item="disability") != ""


def test_an_exceptional_permit_is_for_its_area(net):
    net.decide(exception(requester="*", area=["ohashi-city"]), "sato", "tanaka")
    assert reason(net, item="disability") == ""
    assert reason(net, "national-tax", item="disability") != ""


def test_what_was_issued_in_an_emergency_ends_unless_another_confirms(net):
    hours = net.pack.header.oversight.confirm_hours * HOUR
    net.decide(exception(emergency=True, end=NOW + 10 * DAY), "tanaka")
    assert reason(net, item="disability", now=NOW + hours - 1) == ""
    assert reason(net, item="disability", now=NOW + hours) == "item-outside-row"
    with pytest.raises(NotGenuine):  # not the one who issued it
        net.decide(Confirm("x-1"), "tanaka", now=NOW + HOUR)
    with pytest.raises(NotGenuine):  # too late
        net.decide(Confirm("x-1"), "sato", now=NOW + hours)
    net.decide(Confirm("x-1"), "sato", now=NOW + HOUR)
    assert reason(net, item="disability", now=NOW + hours) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"end": NOW + 181 * DAY},
        {"end": NOW},
        {"start": NOW - 2 * DAY},
        {"affair": "no-such-affair"},
        {"item": "no-such-item"},
        {"requester": "*", "provider": "*"},
    ],
)
def test_an_exceptional_permit_is_bounded(net, wrong):
    with pytest.raises(NotGenuine):
        net.decide(exception(**wrong), "sato", "tanaka")


def test_an_order_stops_an_exceptional_permit_too(net):
    net.decide(exception(), "sato", "tanaka")
    net.decide(order(body="ohashi-city"), "sato", "tanaka")
    assert reason(net, item="disability") == "order"
    net.decide(Lift("o-1", ""), "sato", "tanaka")
    net.decide(Lift("x-1", ""), "sato", "tanaka")
    assert reason(net, item="disability") == "item-outside-row"


# ------------------------------------------------------------------ assessments


def assessment(body="tax-union", **changes):
    values = {"level": "full", "published": "2026-04-01", "review_due": "2027-04-01", "name": "tax"} | changes
    return Assessment(body, ["*"], ["*"], **values)


def test_an_assessment_carries_linkage_from_its_day_until_it_lapses_and_a_newer_one_supersedes_it(pack, converters):
    net = Net(pack, converters)
    net.state.oversight.assessments.pop("tax-union")
    today = pack.day(NOW).isoformat()
    tomorrow = pack.day(NOW + DAY).isoformat()
    net.decide(assessment(published=tomorrow))
    assert reason(net) == "provider-assessment"
    net.decide(assessment(published=today, lapses=today))
    assert reason(net) == ""
    assert reason(net, now=NOW + DAY) == "provider-assessment"
    net.decide(assessment(published=today))
    assert reason(net, now=LATER) == ""
    assert len(net.state.oversight.superseded) == 2


def test_in_a_disaster_the_assessment_may_follow(net):
    """It has a day by which it must, or linkage ends."""
    net.state.oversight.assessments.pop("tax-union")
    with pytest.raises(NotGenuine):
        net.decide(assessment(published="2026-04-01", follows=True))
    net.decide(assessment(published="2026-04-01", follows=True, lapses=net.pack.day(NOW).isoformat()))
    assert reason(net) == ""
    assert reason(net, now=NOW + DAY) == "provider-assessment"


@pytest.mark.parametrize(
    ("people", "handlers", "incident", "level", "enough"),
    [
        (999, 900, True, "exempt", True),
        (1_000, 0, False, "exempt", False),
        (10_000, 500, False, "basic", False),
        (10_000, 500, False, "focused", True),
        (300_000, 0, False, "focused", False),
        (300_000, 0, False, "full", True),
        (5_000, 0, False, "full", True),
        (5_000, 0, False, "thorough", False),
    ],
)
def test_an_assessment_of_too_low_a_level_is_no_assessment(net, people, handlers, incident, level, enough):
    """By what it says of its own files, whoever publishes it."""
    act = assessment(level=level, people=people, handlers=handlers, incident=incident)
    if enough:
        net.decide(act)
    else:
        with pytest.raises(NotGenuine):
            net.decide(act)


# ------------------------------------------------------------------ officers, measures, trail


def test_officers_are_appointed_and_dismissed_by_officers(net):
    seed = bytes([7]) * 32
    new = Officer("kato", "commissioner", Net.officer_key(seed))
    with pytest.raises(NotGenuine):
        net.decide(Appoint(new), "sato", "suzuki")
    net.decide(Appoint(new), "sato", "tanaka")
    net.officers["kato"] = seed
    net.decide(order(body="tax-union"), "sato", "kato")
    net.decide(Appoint(Officer("kato", "", new.key)), "sato", "tanaka")
    with pytest.raises(NotGenuine):
        net.decide(Lift("o-1", ""), "sato", "kato")
    with pytest.raises(NotGenuine):  # another's key
        net.decide(Appoint(Officer("kato", "inspector", net.state.oversight.officers["sato"].key)), "sato", "tanaka")


def test_the_commission_cannot_lose_everyone_who_can_decide(net):
    for name in ("sato", "suzuki"):
        key = net.state.oversight.officers[name].key
        net.decide(Appoint(Officer(name, "", key)), "tanaka", "ito")
    with pytest.raises(NotGenuine):
        net.decide(Appoint(Officer("ito", "", net.state.oversight.officers["ito"].key)), "tanaka", "ito")


def test_measures_and_the_trail(net):
    measure = Measure("2026-1", "explanation", "ohashi-city", bytes(32), NOW + DAY)
    for officers, wrong in (((), measure), (("mori",), measure)):
        with pytest.raises(NotGenuine):
            net.decide(wrong, *officers)
    with pytest.raises(NotGenuine):
        net.decide(msgspec.structs.replace(measure, kind="raid"), "sato")
    with pytest.raises(NotGenuine):
        net.decide(msgspec.structs.replace(measure, body="nobody"), "sato")
    for strange in ({"first": 1, "end": 9}, {"kind": "inspection", "first": 9, "end": 9}, {"end": 9}):
        with pytest.raises(NotGenuine):
            net.decide(msgspec.structs.replace(measure, **strange), "sato")
    net.decide(measure, "sato")
    assert net.state.oversight.measures[0][2].case == "2026-1"
    net.act("commission", Trail(3, bytes(32)))
    net.act("commission", Trail(2, bytes(32)))
    assert net.state.oversight.trail.size == 3
    assert net.state.void == 1


def test_the_fold_is_the_same_for_everyone(net):
    """Replaying the leaves gives the same officers, orders and permits."""
    for decision, officers in (
        (order(body="tax-union"), ("sato", "tanaka")),
        (exception(), ("ito", "suzuki")),
        (Lift("o-1", ""), ("sato", "ito")),
    ):
        net.decide(decision, *officers)
    fresh = net.replay()
    assert fresh.oversight.decisions == net.state.oversight.decisions
    assert fresh.oversight.orders == net.state.oversight.orders == []
    assert set(OFFICERS) == set(fresh.oversight.officers)
