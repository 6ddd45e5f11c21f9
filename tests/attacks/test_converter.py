"""Adversary: a converter that converts to another person.

Claim it tries to break: a wrong conversion is found, and by whom it was made: by audit of the other keeper, and by any provider that
challenges the request it answered.
"""

import msgspec
import pytest

from renkei.codes import Ciphertext, encrypt
from renkei.institution.settings import Home
from tests.attacks.rogue import _some_code
from tests.world import until


@pytest.fixture(scope="module", autouse=True)
def audited(nation):
    """Both keepers audit everything."""
    for keeper in ("hub", "commission"):
        home = Home(nation.folder / keeper)
        settings = msgspec.structs.replace(home.settings(), audit_share=1.0)
        nation.stop_body(keeper)
        home.write_toml("settings.toml", msgspec.to_builtins(settings))
        nation.start_body(keeper)


def audits(nation, keeper):
    for line in nation.http(keeper, "/metrics", token="")[1].splitlines():
        if line.startswith("renkei_audits_total "):
            return int(float(line.split()[1]))
    return 0


def challenge(nation, told):
    return nation.http("tax-union", f"/provisions/{told['id']}/challenge", b"")


def test_honest_converters_prove_everything(nation, unharmed):
    before = [audits(nation, k) for k in ("hub", "commission")]
    told = nation.ask()[1]
    assert told["state"] == "answered"
    until(lambda: all(audits(nation, k) > b for k, b in zip(("hub", "commission"), before, strict=True)))
    assert challenge(nation, told) == (200, {"hub": True, "commission": True})
    unharmed()


def test_a_challenge_is_for_who_was_asked(nation):
    told = nation.ask()[1]
    assert nation.http("pension-service", f"/provisions/{told['id']}/challenge", b"")[0] == 404
    assert nation.http("ohashi-city", f"/provisions/{told['id']}/challenge", b"")[0] == 404


def test_where_the_audit_stands_survives_a_restart(nation):
    """No leaf escapes by a restart: the commission goes on where it stood, not where the log ends."""
    nation.stop_body("commission")
    nation.start_body("commission")
    before = audits(nation, "commission")
    nation.ask()
    until(lambda: audits(nation, "commission") > before)


@pytest.mark.parametrize(("liar", "finder"), [("hub", "commission"), ("commission", "hub")])
def test_a_converter_that_converts_to_another_person_is_caught(nation, liar, finder):
    """The requester gets another person's data and cannot know; the other keeper and the provider can."""
    ohashi, keeper = nation.world.institutions["ohashi-city"], nation.world.institutions[liar]
    domain = ohashi.member.domain
    other = encrypt(ohashi.database.read_now(_some_code), ohashi.member.key(domain))
    honest = keeper.converter.convert

    def lie(source, target, given):
        if (source.body, target.body) != ("ohashi-city", "tax-union"):
            return honest(source, target, given)
        if liar == "hub":
            return honest(source, target, other)
        hub = nation.world.institutions["hub"].converter
        return honest(source, target, hub.convert(source, target, other))

    keeper.converter.convert = lie
    try:
        told = nation.ask(persona=1)[1]
    finally:
        keeper.converter.convert = honest
    assert told["state"] == "answered"
    status, health = until(lambda: (h := nation.http(finder, "/health", token=""))[1].get("audit_failed") and h)
    assert (status, health["audit_failed"], health["audit_first"]) == (503, "1", f"{liar} at leaf {told['leaf']}")
    assert challenge(nation, told) == (200, {"hub": liar != "hub", "commission": liar != "commission"})
    nation.stop_body(finder)
    nation.start_body(finder)
    assert nation.http(finder, "/health", token="")[1]["audit_failed"] == "1"


def test_ciphertexts_are_what_was_signed(nation):
    """A proof starts from the requester's signed ciphertext, not from whatever the hub says it was given."""
    from renkei.record import rounds
    from renkei.record.entries import decode_entry

    copies = nation.world.institutions["hub"].keeper.rounds_after(0, limit=10_000, most=10**9)
    entries = [decode_entry(leaf[2]) for copy in copies for leaf in copy.leaves if leaf[0] == "inquiry"]
    allowed = [e for e in entries if e.ruling.allowed]
    assert allowed
    for entry in allowed:
        (by_hub,), (by_commission,) = rounds.conversions(entry, "hub"), rounds.conversions(entry, "commission")
        signed = msgspec.msgpack.decode(entry.inquiry.payload)["ciphertext"]
        assert by_hub.given == Ciphertext.from_bytes(signed)
        assert by_hub.made == by_commission.given
