"""Witnesses of a real nation: two of three must cosign before a permit leaves; a hub that tells two stories is found out by any two."""

import os
import shutil
import time

import msgspec
import pytest

from renkei.errors import NotGenuine
from renkei.institution.settings import Home
from renkei.ledger.merkle import Tree, leaf_hash
from renkei.ledger.notes import NOTE, Checkpoint, Verifier, cosigners
from renkei.record.permit import Notary, from_file
from tests.conftest import PACK
from tests.service.witness.cast import House
from tests.world import Running, until

RULE = "\n[witnesses]\nneed = 2\nkeys = [{}]\n"


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("witnesses")
    made = [House(folder / name, []) for name in ("university", "newspaper", "union")]
    yield made
    for house in made:
        if house.process is not None and house.process.poll() is None:
            house.stop()


@pytest.fixture(scope="module")
def nation(houses, tmp_path_factory):
    """Its law needs two of three witnesses."""
    folder = tmp_path_factory.mktemp("witnessed")
    shutil.copytree(PACK, folder / "pack")
    keys = ", ".join(f'"{house.key}"' for house in houses)
    with (folder / "pack/pack.toml").open("a", encoding="utf-8") as file:
        file.write(RULE.format(keys))

    def prepare(plan):
        hub = Home(folder / "nation/hub")
        settings = msgspec.structs.replace(hub.settings(), witnesses=tuple(house.url for house in houses))
        hub.write_toml("settings.toml", msgspec.to_builtins(settings))
        log = (folder / "nation/verifiers.txt").read_text().splitlines()[0]
        for house in houses:
            said = House.renkei("log", house.folder, log, "--proofs", f"{plan.place('hub').url}/consistency")
            assert said.returncode == 0, said.stderr
            house.settings = None
            house.start()

    running = Running(folder / "nation", residents=60, pack=folder / "pack", prepare=prepare)
    yield running
    running.stop()


def permit(nation):
    told = nation.ask(wait=20)[1]
    assert told["state"] == "answered", told
    return nation.http("ohashi-city", f"/inquiries/{told['id']}/permit")[1]


def verifiers(nation):
    return [Verifier.from_text(k) for k in (nation.folder / "verifiers.txt").read_text().split()]


def test_a_permit_carries_the_cosignatures_its_law_needs(nation, houses):
    found = from_file(permit(nation))
    keys = [Verifier.from_text(house.key) for house in houses]
    assert len(cosigners(found.checkpoint, keys)) >= 2
    Notary(verifiers(nation), witnessed=lambda: (2, keys)).open(found)
    bare = "".join(line for line in found.checkpoint.splitlines(keepends=True) if not any(k.name in line for k in keys))
    Notary(verifiers(nation)).open(msgspec.structs.replace(found, checkpoint=bare))
    with pytest.raises(NotGenuine) as refused:
        Notary(verifiers(nation), witnessed=lambda: (2, keys)).open(msgspec.structs.replace(found, checkpoint=bare))
    assert refused.value.code == "witnesses"


def test_with_one_witness_gone_it_goes_on_and_with_two_gone_nothing_is_disclosed(nation, houses):
    """k of n: no proof, no data; what waited is answered when they are back, once."""
    houses[0].stop()
    assert nation.ask(wait=20)[1]["state"] == "answered"
    houses[1].stop()
    before = nation.http("tax-union", "/health", token="")[1]
    status, told = nation.ask(wait=3)
    assert (status, told["state"]) == (202, "submitted")
    assert nation.http("tax-union", "/health", token="")[1].get("provisions") == before.get("provisions")
    houses[1].start()
    until(lambda: nation.http("ohashi-city", f"/inquiries/{told['id']}")[1]["state"] == "answered", 40)
    houses[0].start()
    assert nation.ask(wait=20)[1]["state"] == "answered"
    until(lambda: len(set(sizes(houses, nation))) == 1)


def sizes(houses, nation):
    """Which size each witness has cosigned."""
    nation.ask(wait=20)
    return [int(house.shown(verifiers(nation)[0].name).split("\n")[1] or 0) for house in houses]


def test_a_restarted_hub_goes_on_with_its_witnesses(nation):
    nation.stop_body("hub")
    nation.start_body("hub")
    until(lambda: nation.ask(wait=20)[1]["state"] == "answered", 60)


def test_a_hub_that_tells_a_second_story_is_found_by_any_two(nation, houses):
    """It signs another history of a size it has shown, and shows that to one witness alone: comparing notes finds it out."""
    hub = nation.world.institutions["hub"]
    for house in houses:
        others = [h.card for h in houses if h is not house]
        for card in others:
            assert House.renkei("peer", house.folder, *reversed(card)).returncode == 0
    signer = hub.keys.log_signer(hub.keeper.origin, NOTE)
    size = hub.keeper.head.size
    houses[0].stop()
    nation.ask(wait=20)  # the others go on without it
    grown = until(lambda: hub.keeper.head.size > size and hub.keeper.head.size)
    fork = Tree(lambda level, index: hub.keeper.tree._tile(level, index).to_bytes())
    fork.append(
        [*(hub.keeper.tree.leaf(i) for i in range(size)), *(leaf_hash(os.urandom(8)) for _ in range(grown - size))]
    )
    text = Checkpoint(hub.keeper.origin, grown, fork.root()).to_text()
    houses[0].start()
    shown = hub.witnesses.show(houses[0].url, f"{text}\n{signer.sign(text)}", fork)
    assert nation.do(shown)
    for house in houses[1:]:
        house.stop()
        house.start()
    began = time.monotonic()
    until(lambda: any(a["kind"] == "split" for house in houses for a in house.alarms()), 30)
    assert time.monotonic() - began < 30
    found = next(h for h in houses if any(a["kind"] == "split" for a in h.alarms()))
    evidence = next(found.folder.glob("**/*split*"))
    log = verifiers(nation)[0].to_text()
    assert House.renkei("verify-evidence", evidence, log).returncode == 0
