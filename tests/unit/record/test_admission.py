"""Admission: the ruling on an inquiry, for every reason there is."""

import pytest

from renkei.codes import Domain
from renkei.messages.wire import DomainRef
from renkei.record.admission import DAY, rule
from tests.unit.record.conftest import NOW, Net

DAYS = 86_400_000


def ruling(net, sender="ohashi-city", now=NOW, **changes):
    return rule(net.state, sender, net.inquiry(sender, **changes), now, by="hub")


def test_a_lawful_inquiry_is_allowed_and_says_under_which_row(net):
    found, target = ruling(net)
    assert found.allowed
    assert (found.row, found.by, found.pack) == ("74", "hub", net.pack.hash)
    assert target == Domain("tax-union")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"issued_at": NOW - 121_000}, "issued-at"),
        ({"issued_at": NOW + 121_000}, "issued-at"),
        ({"expires": NOW}, "expires"),
        ({"expires": NOW + 31 * DAY}, "expires"),
        ({"source": DomainRef("tax-union", 1, 1)}, "source"),
        ({"source": DomainRef("ohashi-city", 2, 1)}, "source"),
        ({"provider": "nobody"}, "provider"),
        ({"provider": "ohashi-city"}, "own-data"),
        ({"provider": "portal"}, "provider"),
        ({"purpose": "curiosity"}, "purpose"),
        ({"ciphertext": bytes(64)}, "ciphertext"),
        ({"ciphertext": b"\1" * 63}, "ciphertext"),
        ({"reply_key": b"short"}, "reply-key"),
        ({"reply_key": bytes(32)}, "reply-key"),
        ({"reply_key": bytes(31) + b"\x80"}, "reply-key"),
        ({"withheld": True}, "withheld"),
        ({"item": "disability"}, "item-outside-row"),
        ({"affair": "no-such-affair"}, "wrong-affair"),
    ],
)
def test_each_refusal_has_its_reason(net, changes, reason):
    found, target = ruling(net, **changes)
    assert not found.allowed
    assert found.reason == reason
    assert target is None


def test_a_refusal_for_form_or_time_still_cites_the_row(net):
    """The clerk learns that the law would allow it and only the time is wrong."""
    found, _ = ruling(net, issued_at=NOW - DAYS)
    assert (found.reason, found.rows) == ("issued-at", ["74"])


def test_the_wrong_body_is_refused_with_the_row(net):
    found, _ = ruling(net, sender="national-tax")
    assert (found.reason, found.rows) == ("wrong-requester", ["74"])


def test_without_an_assessment_nothing_is_asked_and_nothing_is_provided(pack, converters):
    """Act art. 28(6)."""
    net = Net(pack, converters)
    assessments = net.state.oversight.assessments
    saved = assessments.pop("ohashi-city")
    assert ruling(net)[0].reason == "requester-assessment"
    assessments["ohashi-city"] = saved
    assessments.pop("tax-union")
    assert ruling(net)[0].reason == "provider-assessment"
