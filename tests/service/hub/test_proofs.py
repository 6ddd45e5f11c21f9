"""With ``proofs = "always"`` every conversion is proven in its leaf; what is unproven or wrongly proven reaches nobody."""

from __future__ import annotations

import msgspec
import pytest

from renkei.codes import Ciphertext, encrypt
from renkei.institution.settings import Home
from renkei.ledger import store as log
from renkei.messages.wire import decode_as
from renkei.record import rounds
from renkei.record.entries import InquiryLeaf, IssuanceLeaf
from tests.attacks.rogue import some_code
from tests.world import Running, until


def configure(nation, body, **changes):
    """Restart a body with other settings."""
    home = Home(nation.folder / body)
    nation.stop_body(body)
    home.write_toml("settings.toml", msgspec.to_builtins(msgspec.structs.replace(home.settings(), **changes)))
    nation.start_body(body)


@pytest.fixture(scope="module")
def nation(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("proven") / "nation", residents=60)
    for body in ("hub", "commission", "tax-union"):
        configure(running, body, proofs="always")
    yield running
    running.stop()


def leaf_of(nation, told):
    hub = nation.world.institutions["hub"]
    permit = hub._proof("ohashi-city", bytes.fromhex(told["id"])).permit
    return decode_as(permit.entry, InquiryLeaf)


def test_a_leaf_proves_itself(nation):
    """Two proofs of 96 bytes in the leaf, against the key directory; anyone who has both can check it, without asking a converter."""
    status, told = nation.ask(wait=20)
    assert (status, told["state"]) == (200, "answered")
    leaf, state = leaf_of(nation, told), nation.world.institutions["hub"].keeper.state
    assert [len(p) for p in (*leaf.half_proofs, *leaf.proofs)] == [96, 96]
    for keeper, proofs in (("hub", leaf.half_proofs), ("commission", leaf.proofs)):
        assert rounds.are_honest(state, keeper, rounds.conversions(leaf, keeper), proofs)
    swapped = msgspec.structs.replace(leaf, half_proofs=leaf.proofs, proofs=leaf.half_proofs)
    assert not rounds.are_honest(state, "hub", rounds.conversions(swapped, "hub"), swapped.half_proofs)


def test_codes_are_issued_with_proofs_too(nation):
    """A person registered anew gets the very code back, through a batch whose every conversion is proven."""
    had, hub = nation.code("tax-union"), nation.world.institutions["hub"]
    nation.register_anew("tax-union")
    until(lambda: nation.code("tax-union") == had)
    leaf = hub.database.read_now(lambda c: list(log.replay(c, "issuance")))[-1][1]
    entry = decode_as(leaf.entry, IssuanceLeaf)
    assert rounds.are_honest(hub.keeper.state, "hub", rounds.conversions(entry, "hub"), entry.half_proofs)
    assert rounds.are_honest(hub.keeper.state, "commission", rounds.conversions(entry, "commission"), entry.proofs)
    assert entry.proofs


def lie(nation, keeper):
    """From now on ``keeper`` leads every inquiry to another person; answers how to stop it."""
    ohashi = nation.world.institutions["ohashi-city"]
    other = encrypt(ohashi.database.read_now(some_code), ohashi.member.key(ohashi.member.domain))
    converter = nation.world.institutions[keeper].converter
    honest = converter.convert

    def convert(source, target, ciphertext):
        return honest(source, target, other if source.body == "ohashi-city" else ciphertext)

    converter.convert = convert
    return lambda: setattr(converter, "convert", honest)


def test_a_hub_that_lies_gets_no_signature(nation):
    """The commission sees it before it signs: nothing is recorded, nothing is disclosed, and the honest hub goes on."""
    stop = lie(nation, "hub")
    size = nation.world.institutions["commission"].keeper.tree.size
    status, told = nation.ask(wait=3)
    assert (status, told["state"]) == (202, "submitted")
    assert nation.world.institutions["commission"].keeper.tree.size == size
    stop()
    until(lambda: nation.http("ohashi-city", told["status_url"])[1]["state"] == "answered", 30)


def test_a_commission_that_lies_stops_the_hub_before_anything_is_delivered(nation):
    """It has signed: the hub halts with an alarm, also after a restart; the provider hears of nothing."""
    stop = lie(nation, "commission")
    status, told = nation.ask(wait=5)
    stop()
    assert (status, told["state"]) == (202, "submitted")
    until(lambda: nation.http("hub", "/health", token="")[1]["halted"] == "unproven")
    nation.stop_body("hub")
    nation.start_body("hub")
    until(lambda: nation.http("hub", "/health", token="")[1]["halted"] == "unproven")
    assert all(p["id"] != told["id"] for p in nation.http("tax-union", "/provisions")[1])


def test_ciphertexts_that_are_no_codes_prove_nothing(nation):
    """The proof is about these very bytes: another ciphertext under it is refused."""
    state, hub = nation.world.institutions["hub"].keeper.state, nation.world.institutions["hub"]
    town = nation.world.institutions["ohashi-city"]
    code = town.database.read_now(some_code)
    given, other = (encrypt(code, town.member.key(town.member.domain)) for _ in range(2))
    target = state.domain("tax-union")
    made = hub.converter.convert(town.member.domain, target, given)
    conversion = rounds.Conversion(town.member.domain, target, given, made)
    proofs = rounds.prove_all(hub.converter, [conversion])
    assert rounds.are_honest(state, "hub", [conversion], proofs)
    for wrong in (conversion._replace(given=other), conversion._replace(made=Ciphertext(made.c, made.b))):
        assert not rounds.are_honest(state, "hub", [wrong], proofs)
