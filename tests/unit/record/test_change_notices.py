"""Change notices in the record: ruled on as the inquiry would be whose answer they are about, converted from provider to subscriber."""

import datetime as dt
import os

import pytest

from renkei.codes import Ciphertext, Domain, decrypt
from renkei.errors import NotGenuine, Refused, RenkeiError
from renkei.messages.wire import Assessment, EndChanges, Order, Scope
from renkei.record.entries import ChangeLeaf, EndLeaf, InquiryLeaf, decode_entry, receipt_of, receiver_of
from renkei.record.permit import Notary, authorise, authorise_change
from renkei.record.state import ref_of
from tests.unit.record.conftest import NOW, Net
from tests.unit.record.test_state_and_rounds import nothing, permit_for, through

TODAY = dt.date(2026, 11, 24)


def days(count):
    return (TODAY + dt.timedelta(days=count)).isoformat()


def told(net, sender="tax-union", now=NOW, **changes):
    """The leaf of a notice, by both keepers."""
    return decode_entry(through(net, net.identities[sender].sign(net.changed(sender, **changes)), now))


def test_today_is_the_law_s_day(pack):
    assert pack.day(NOW) == TODAY


def test_the_subscriber_alone_can_read_whom_it_is_about(net):
    leaf = told(net)
    assert isinstance(leaf, ChangeLeaf)
    assert (leaf.ruling.allowed, leaf.ruling.row, leaf.target) == (True, "74", ref_of(Domain("ohashi-city")))
    assert receiver_of(leaf) == "ohashi-city"
    assert decrypt(Ciphertext.from_bytes(leaf.converted), net.key("ohashi-city")) == net.code("ohashi-city")


def test_it_names_no_inquiry_and_looks_like_no_other(net):
    """Two notices about one person have nothing in common but who tells whom of what."""
    one, other = told(net), told(net)
    assert {one.half, one.converted}.isdisjoint({other.half, other.converted})
    assert receipt_of(7, one).inquiry == one.change.id != other.change.id


@pytest.mark.parametrize(
    ("sender", "changes", "reason"),
    [
        ("tax-union", {"affair": "long-term-care-benefits-and-premiums"}, "subscription"),
        ("tax-union", {"requester": "national-tax"}, "wrong-requester"),
        ("tax-union", {"requester": "portal"}, "subscriber"),
        ("tax-union", {"requester": "nobody"}, "subscriber"),
        ("tax-union", {"requester": "tax-union"}, "own-data"),
        ("pension-service", {}, "wrong-provider"),
        ("tax-union", {"purpose": "curiosity"}, "purpose"),
        ("tax-union", {"source": ref_of(Domain("pension-service"))}, "source"),
        ("tax-union", {"issued_at": NOW - 200_000}, "issued-at"),
        ("tax-union", {"ciphertext": bytes(64)}, "ciphertext"),
    ],
)
def test_nobody_is_told_what_it_could_not_ask(net, sender, changes, reason):
    leaf = told(net, sender, **changes)
    assert (leaf.ruling.allowed, leaf.ruling.reason) == (False, reason)
    assert (leaf.half, leaf.converted, leaf.target, receiver_of(leaf)) == (b"", b"", None, "")


def test_orders_and_assessments_hold_for_notices_too(pack, converters):
    net = Net(pack, converters)
    order = Order("o-1", Scope(requester="ohashi-city", item="local-tax"), "Stopped.")
    net.decide(order, "ito", "sato")
    assert (told(net).ruling.reason, told(net).ruling.rows) == ("order", ["o-1"])
    net = Net(pack, converters)
    net.act("commission", Assessment("ohashi-city", ["pensions-any"], [], "full", "2026-05-01", "2027-05-01"))
    assert told(net).ruling.reason == "requester-assessment"


@pytest.mark.parametrize(
    ("changes", "allowed"),
    [
        ({"changes_until": days(0)}, True),
        ({"changes_until": days(400)}, True),
        ({"changes_until": days(401)}, False),
        ({"changes_until": days(-1)}, False),
        ({"changes_until": "2026-02-30"}, False),
        ({"changes_until": days(9), "as_of": "2026-04-01"}, False),
        ({"changes_until": days(9), "withheld": True, "purpose": "investigation"}, False),
        ({"changes_until": days(9), "affair": "long-term-care-benefits-and-premiums"}, False),
    ],
)
def test_an_inquiry_subscribes_where_and_as_long_as_the_law_lets_it(net, changes, allowed):
    leaf = decode_entry(through(net, net.signed(**changes)))
    assert (leaf.ruling.allowed, leaf.ruling.reason) == (allowed, "allowed" if allowed else "subscription")


def test_a_subscription_is_ended_by_who_made_it(net):
    inquiry = os.urandom(32)
    end = net.identities["ohashi-city"].sign(EndChanges(inquiry, "tax-union"))
    leaf = decode_entry(through(net, end, permitted=lambda _: {inquiry: ("ohashi-city", "tax-union")}))
    assert (type(leaf), receiver_of(leaf)) == (EndLeaf, "tax-union")
    for parties in ({}, {inquiry: ("tax-union", "ohashi-city")}, {inquiry: ("ohashi-city", "pension-service")}):
        with pytest.raises(NotGenuine):
            through(net, end, permitted=lambda _, parties=parties: parties)


def test_a_subscriber_believes_only_a_notice_to_itself_that_is_in_the_record(net):
    notary = Notary([s.verifier for s in net.signers])
    entry = through(net, net.identities["tax-union"].sign(net.changed()))
    found = authorise_change(permit_for(net, entry), notary, net.state, "ohashi-city")
    assert (found.provider, found.changed.item, found.time) == ("tax-union", "local-tax", NOW)
    assert decrypt(found.ciphertext, net.key("ohashi-city")) == net.code("ohashi-city")
    with pytest.raises(Refused):
        authorise_change(permit_for(net, entry), notary, net.state, "pension-service")
    for other in (
        through(net, net.signed()),  # an inquiry is no notice
        through(net, net.identities["tax-union"].sign(net.changed(requester="national-tax"))),  # refused
    ):
        for own in ("ohashi-city", "tax-union", "national-tax"):
            with pytest.raises(RenkeiError):
                authorise_change(permit_for(net, other), notary, net.state, own)
    with pytest.raises(Refused):  # nor is a notice a permit to disclose anything
        authorise(permit_for(net, entry), notary, net.state, "ohashi-city", NOW)


def test_a_crooked_draft_of_a_notice_is_not_signed(net):
    """A hub that dresses an inquiry as a notice, or the other way round, finds no second signature."""
    from renkei.record import rounds

    good = rounds.draft(net.state, net.converters["hub"], nothing, net.identities["tax-union"].sign(net.changed()), NOW)
    leaf = good.entry
    crooked = [
        InquiryLeaf(NOW, leaf.change, leaf.ruling, leaf.target, leaf.half),
        ChangeLeaf(NOW, leaf.change, leaf.ruling, ref_of(Domain("pension-service")), leaf.half),
        ChangeLeaf(NOW, leaf.change, leaf.ruling, leaf.target, bytes(64)),
        ChangeLeaf(NOW, net.signed(), leaf.ruling, leaf.target, leaf.half),
        EndLeaf(NOW, leaf.change),
    ]
    for entry in crooked:
        with pytest.raises(RenkeiError):
            rounds.fill(net.state, net.converters["commission"], nothing, entry, NOW)
