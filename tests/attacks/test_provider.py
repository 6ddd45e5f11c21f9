"""Adversary: whoever provides: a gateway that answers, the authority that issues codes; each with its own good keys.

Claims it tries to break: an outcome is told only of what one was permitted to answer; only who was asked may challenge, and a challenge
is about what was signed.
"""

import msgspec
import pytest

from renkei.codes import Ciphertext
from renkei.messages.wire import Outcome, Outcomes
from renkei.record import rounds
from renkei.record.entries import decode_entry
from tests.attacks.liar import challenge
from tests.attacks.measures import BIG, quiet, size
from tests.world import until


@pytest.mark.usefixtures("audited")
def test_honest_converters_prove_everything(nation, unharmed):
    before = [nation.counter(k, "audits") for k in ("hub", "commission")]
    told = nation.ask()[1]
    assert told["state"] == "answered"
    until(lambda: all(nation.counter(k, "audits") > b for k, b in zip(("hub", "commission"), before, strict=True)))
    assert challenge(nation, told) == (200, {"hub": True, "commission": True})
    unharmed()


def test_a_challenge_is_for_who_was_asked(nation):
    told = nation.ask()[1]
    assert challenge(nation, told, by="pension-service")[0] == 404
    assert challenge(nation, told, by="ohashi-city")[0] == 404


def test_ciphertexts_are_what_was_signed(nation):
    """A proof starts from the requester's signed ciphertext, not from whatever the hub says it was given."""
    copies = nation.world.institutions["hub"].keeper.rounds_after(0, limit=10_000, most=10**9)
    entries = [decode_entry(leaf[2]) for copy in copies for leaf in copy.leaves if leaf[0] == "inquiry"]
    allowed = [e for e in entries if e.ruling.allowed]
    assert allowed
    for entry in allowed:
        (by_hub,), (by_commission,) = rounds.conversions(entry, "hub"), rounds.conversions(entry, "commission")
        signed = msgspec.msgpack.decode(entry.inquiry.payload)["ciphertext"]
        assert by_hub.given == Ciphertext.from_bytes(signed)
        assert by_hub.made == by_commission.given


def test_outcomes_of_others_inquiries_are_not_recorded(nation, rogue):
    leaf = next(
        decode_entry(leaf[2])
        for copy in nation.world.institutions["hub"].keeper.rounds_after(0, limit=10_000, most=10**9)
        for leaf in copy.leaves
        if leaf[0] == "inquiry" and decode_entry(leaf[2]).ruling.allowed
    )
    rejected, before = nation.counter("hub", "submissions_rejected"), quiet(nation)
    bad = [
        [Outcome(leaf.inquiry.id, "provided", 1)],
        [Outcome(b"\1" * 32, "nothing", 1)],
        [],
        [Outcome(b"\1" * 31, "nothing", 1)],
        [Outcome(leaf.inquiry.id, "provided", BIG)],
        [Outcome(bytes([i % 256, i // 256]) + bytes(30), "nothing", 1) for i in range(1000)],
    ]
    for outcomes in bad:
        rogue.submit(Outcomes(outcomes))
    until(lambda: nation.counter("hub", "submissions_rejected") == rejected + len(bad))
    assert size(nation) == before
