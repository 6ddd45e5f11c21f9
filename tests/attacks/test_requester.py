"""Adversary: an enrolled institution with its own good keys.

Claims it tries to break: nobody enters what is not well formed into the record; nobody stops or slows another institution; one bad
inquiry harms nobody else's; nothing that another has signed has effect twice.
"""

import msgspec
import pytest

from renkei.messages.wire import (
    CodeRequest,
    DomainRef,
    GetActs,
    GetRounds,
    GetTail,
    KeyShare,
    Submit,
)
from renkei.record.entries import ActLeaf, decode_entry
from tests.attacks.measures import BIG, quiet, recorded, size
from tests.attacks.rogue import Rogue
from tests.world import until


@pytest.mark.parametrize(
    "changes",
    [
        {"ciphertext": b"\1" * 3_000},
        {"ciphertext": b""},
        {"reply_key": b"\1" * 400_000},
        {"context": "name: 山田花子".encode()},
        {"expires": BIG},
        {"issued_at": -1},
        {"as_of": "2026-13"},
        {"as_of": "山" * 10},
        {"provider": "x" * 65},
        {"provider": "tax-union\0"},
        {"affair": "a\nb"},
        {"item": ""},
        {"purpose": "p" * 100_000},
        {"source": ["kiriyama-town", BIG, 1]},
        {"source": ["kiriyama-town", 0, 1]},
        {"withheld": 1},
        {"extra": "field"},
        {"type": "inquiry/2"},
        {"provider": 7},
        {"ciphertext": "text"},
    ],
    ids=lambda c: "-".join(c),
)
def test_what_is_not_well_formed_is_not_recorded(nation, rogue, changes):
    rejected = nation.counter("hub", "submissions_rejected")
    envelope = rogue.submit(rogue.inquiry(**changes))
    until(lambda: nation.counter("hub", "submissions_rejected") == rejected + 1)
    assert not recorded(nation, envelope)


def test_after_all_that_everyone_works(unharmed):
    unharmed()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ciphertext": bytes(64)}, "ciphertext"),
        ({"ciphertext": b"\xff" * 64}, "ciphertext"),
        ({"reply_key": bytes(32)}, "reply-key"),
        ({"withheld": True}, "withheld"),
        ({"provider": "portal"}, "provider"),
        ({"source": ["ohashi-city", 1, 1]}, "source"),
        ({"source": ["kiriyama-town", 2, 1]}, "source"),
        ({"issued_at": 1_500_000_000_000}, "issued-at"),
    ],
)
def test_what_is_well_formed_and_wrong_is_recorded_as_refused(nation, rogue, unharmed, changes, reason):
    before = quiet(nation)
    envelope = rogue.submit(rogue.inquiry(**changes))
    until(lambda: recorded(nation, envelope))
    hub = nation.world.institutions["hub"]
    leaf = decode_entry(hub.keeper.rounds_after(before)[0].leaves[0][2])
    assert (leaf.ruling.allowed, leaf.ruling.reason, leaf.converted) == (False, reason, b"")
    if reason == "ciphertext":
        unharmed()


def test_an_inquiry_about_no_one_stops_neither_provider_nor_portal(nation, rogue, unharmed):
    """The identity, encrypted to oneself, passes every check of form: nobody's code, at the provider and at the portal."""
    before = nation.counter("tax-union", "codes_unreadable")
    for _ in range(3):
        rogue.submit(rogue.inquiry(ciphertext=rogue.nobody()))
    until(lambda: nation.counter("tax-union", "codes_unreadable") == before + 3)
    until(lambda: nation.counter("portal", "records_unreadable") >= 3)
    unharmed()


@pytest.mark.parametrize(
    "frame",
    [
        {"first": 2**63, "oldest": 2**63},
        {"first": BIG},
        {"oldest": 0},
        {"parcels": [[]] * 65},
        {"parcels": [[b""] * 1000]},
        {"parcels": [[b"x" * 700_000, b"x" * 700_000]]},
        {"stream": b"\xff" * 9},
        {"stream": b"\x7f" * 8},
        {"acknowledges": BIG},
        {"sender": "ohashi-city"},
        {"recipient": "ohashi-city"},
        {"parcels": [["not bytes"]]},
        {"nonsense": 1},
    ],
    ids=lambda f: "-".join(f),
)
@pytest.mark.parametrize("to", ["hub", "tax-union", "portal", "numbering-authority", "commission"])
def test_no_frame_harms_who_receives_it(nation, rogue, to, frame):
    good = {"type": "frame/1", "sender": "kiriyama-town", "recipient": to, "stream": rogue.stream.to_bytes(8, "big")}
    before = nation.counter(to, "frames_refused")
    rogue.raw(to, {**good, "first": rogue.numbers.get(to, 0) + 1, "parcels": [[b"\xc0"]], "oldest": 1, **frame})
    until(lambda: nation.counter(to, "frames_refused") > before)


def test_after_all_those_frames_everyone_works(unharmed):
    unharmed()


def test_a_made_up_key_share_holds_up_only_its_sender(nation, rogue, unharmed):
    for to in ("tax-union", "ohashi-city", "portal", "numbering-authority"):
        rogue.send(to, KeyShare(DomainRef(to, 1, 1), rogue.body, b"\1" * 32))
        rogue.send(to, KeyShare(DomainRef(to, 7, 7), "hub", b"\1" * 32))
    until(lambda: nation.counter("tax-union", "shares_refused") >= 2)
    unharmed()


def test_what_others_signed_has_no_effect_twice(nation, rogue, unharmed):
    """Acts are public; inquiries of others may be seen by a thief of the record. Neither can be entered again, by anyone."""
    acts = rogue.call("hub", GetActs(1)).acts
    others = [decode_entry(p.entry) for p in acts]
    assert all(isinstance(leaf, ActLeaf) for leaf in others)
    assert len(others) > 20
    rounds = nation.world.institutions["hub"].keeper.rounds_after(0, limit=10_000, most=10**9)
    seen = [
        decode_entry(leaf[2])
        for copy in rounds
        for leaf in copy.leaves
        if leaf[0] in ("inquiry", "issuance", "outcome")
    ]
    envelopes = [leaf.act for leaf in others] + [
        getattr(s, "inquiry", None) or getattr(s, "batch", None) or s.outcomes for s in seen
    ]
    before, rejected = quiet(nation), nation.counter("hub", "submissions_rejected")
    foreign = [e for e in envelopes if e.sender != rogue.body]
    for envelope in foreign:
        rogue.send("hub", Submit(envelope))
    until(lambda: nation.counter("hub", "submissions_rejected") == rejected + len(foreign))
    assert size(nation) == before
    unharmed()


def test_one_s_own_inquiry_sent_again_is_one_leaf(nation, rogue):
    before, repeated = quiet(nation), nation.counter("hub", "inquiries_repeated")
    envelope = rogue.submit(rogue.inquiry())
    until(lambda: size(nation) >= before + 2)  # the inquiry and the provider's outcome
    after = size(nation)
    for _ in range(5):
        rogue.send("hub", Submit(envelope))
    rogue.send("hub", *[Submit(envelope)] * 20)
    until(lambda: nation.counter("hub", "inquiries_repeated") > repeated)
    assert size(nation) == after


def test_a_member_is_told_nothing_that_is_not_for_it(nation, rogue):
    for to, question in (("hub", GetRounds(0)), ("hub", GetTail(0)), ("commission", GetRounds(0))):
        assert rogue.call(to, question).code == "not-entitled"


def test_an_authority_is_not_overrun(nation, rogue, unharmed):
    wanted = [[b"\1" * 16, "1" * 12, b"\1" * 32]] * 5000
    rogue.send("numbering-authority", {"type": "code-request/1", "domain": ["kiriyama-town", 1, 1], "wanted": wanted})
    rogue.send("numbering-authority", CodeRequest(DomainRef("ohashi-city", 1, 1), []))
    until(lambda: nation.counter("numbering-authority", "messages_malformed") >= 2)
    unharmed()


def test_a_mailbox_subject_is_not_trusted(nation, rogue, unharmed):
    for last in ("²", "x", "-1", "9" * 40, "1"):
        rogue.nation.do(rogue.bus.leave(f"mail.tax-union.kiriyama-town.box.zz.{last}", b"garbage"))
    unharmed()


def test_a_busy_member_is_bounded_and_the_others_go_on(nation, rogue, unharmed):
    """Megabytes for a commission that takes no messages, and for a gateway that is not asked: refused or handled, never hoarded."""
    for _ in range(30):
        rogue.send("commission", b"\xc4" * 900_000)
        rogue.send("tax-union", b"\xc4" * 900_000)
    unharmed()
    assert nation.world.institutions["commission"].post._waiting == 0
    until(lambda: nation.world.institutions["tax-union"].post._waiting == 0)


def test_deep_and_broken_messages_are_counted(nation, rogue, unharmed):
    before = nation.counter("hub", "messages_malformed")
    rogue.send("hub", b"\x91" * 100_000, b"", b"\xc1", msgspec.msgpack.encode({"type": "submit/1"}))
    until(lambda: nation.counter("hub", "messages_malformed") == before + 4)
    unharmed()


def test_a_body_that_comes_back_is_not_taken_for_its_abuser(nation, unharmed):
    """A town whose operator was replaced: the town itself starts again and works, whatever numbers were used in its name."""
    bad = Rogue(nation, "namiura-village")
    for _ in range(5):
        bad.submit(bad.inquiry())
    bad.leave()
    until(lambda: nation.ask("namiura-village")[1].get("state") == "answered")
    unharmed()
