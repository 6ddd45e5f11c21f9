"""Claim: neither converter, with both ledgers and everything on the bus, can tell which inquiries are about one person.

The long form (5,000 inquiries about 500 people) is part of ``make soak``; here a fifth of it. The same program with *both* masters
links everything: so it would find what there is to find.
"""

import asyncio
import json
import os
import random

import pytest

from renkei.codes import Ciphertext
from renkei.errors import RenkeiError
from renkei.institution.keys import Keys
from renkei.institution.settings import Home
from renkei.nation.plan import local_ids
from renkei.nation.web import call
from renkei.record.entries import decode_entry, said
from renkei.record.state import domain_of
from tests.attacks.linker import _elements, gather, judge
from tests.attacks.spy import watch
from tests.faults.checker import rows
from tests.unit.record.conftest import Net
from tests.unit.record.test_state_and_rounds import through
from tests.world import Running, until

PEOPLE = int(os.environ.get("LINK_PEOPLE", "100"))
INQUIRIES = 10 * PEOPLE
NOISE = 0.01
"""An advantage that may come from pairs sharing inquiries, which the interval takes to be independent."""
REQUESTER, PROVIDER = "ohashi-city", "tax-union"


@pytest.fixture(scope="module")
def captured(tmp_path_factory):
    """The leaves, what went over the bus, whom each inquiry was about, and the home folders to steal from."""
    running = Running(tmp_path_factory.mktemp("link") / "nation", residents=PEOPLE * 6)
    try:
        place = running.plan.place(REQUESTER)
        people = local_ids(running.folder, REQUESTER)[:PEOPLE]
        assert len(people) == PEOPLE
        until(lambda: int(running.http(REQUESTER, "/health", token="")[1]["subjects"]) >= len(people), 120)
        seen = watch(running)
        about = running.do(ask(place, people), 600)
    finally:
        running.stop()
    leaves = [
        (position, entry, decode_entry(entry))
        for position, entry in rows(
            running.folder, "hub", "select position, entry from ledger_leaves where kind = 'inquiry' order by 1"
        )
    ]
    return [leaf for leaf in leaves if leaf[2].inquiry.id in about], seen, about, running.folder


async def ask(place, people):
    """Ask about the people in any order, a few at a time; whom each inquiry is about, by id."""
    rng, gate, about = random.Random(5), asyncio.Semaphore(32), {}
    order = [rng.choice(people) for _ in range(INQUIRIES)]
    data = {"provider": PROVIDER, "affair": "child-allowance", "item": "local-tax", "purpose": "assess-amount"}

    async def one(person):
        async with gate:
            try:
                told = await call(f"{place.url}/inquiries", place.token, {**data, "local_id": person}, prefer="wait=20")
                about[bytes.fromhex(told["id"])] = person
            except RenkeiError as error:
                assert error.status in (404, 409), error

    await asyncio.gather(*(one(p) for p in order))
    return about


def converter(folder, keeper):
    return Keys.load(Home(folder / keeper), keeper).converter()


@pytest.mark.parametrize("thief", ["hub", "commission"])
def test_one_master_links_nobody(captured, thief):
    """No equation holds between two inquiries, and no other clue is surely better than chance by ``NOISE``."""
    leaves, seen, about, folder = captured
    assert len(leaves) >= INQUIRIES * 0.9
    assert len({m.subject for m in seen if m.subject.endswith((".live", ".session"))}) > 5
    scores = judge(gather(leaves, seen, [converter(folder, thief)]), about, pairs=2 * INQUIRIES, seed=11)
    if path := os.environ.get("LINK_REPORT"):
        with open(f"{path}.{thief}.json", "w") as file:
            json.dump({"inquiries": len(leaves), "people": PEOPLE, "clues": [s._asdict() for s in scores]}, file)
    assert next(s for s in scores if s.clue == "algebra").advantage == 0
    assert [s for s in scores if s.low > NOISE or s.high < -NOISE] == []


def test_both_masters_link_everything(captured):
    """Stated, not hidden: and the control that shows the program at work."""
    leaves, seen, about, folder = captured
    both = [converter(folder, "hub"), converter(folder, "commission")]
    scores = judge(gather(leaves[:300], seen, both), about, pairs=300, seed=11)
    assert next(s for s in scores if s.clue == "algebra").advantage == 0.5


def test_one_master_links_no_change_notice_to_the_inquiry_that_subscribed(pack, converters):
    """A notice goes the other way between the same two bodies, about the same person, and no equation holds; with both masters one does."""
    net = Net(pack, converters)
    asked = decode_entry(through(net, net.signed(changes_until="2027-03-31")))
    told = decode_entry(through(net, net.identities["tax-union"].sign(net.changed())))
    assert asked.ruling.allowed
    assert told.ruling.allowed

    def elements(leaf, stolen):
        ways = [Ciphertext.from_bytes(c) for c in (said(leaf).ciphertext, leaf.half, leaf.converted)]
        return set(_elements(ways, domain_of(said(leaf).source), domain_of(leaf.target), stolen))

    for thief in net.converters.values():
        assert elements(asked, [thief]).isdisjoint(elements(told, [thief]))
    both = list(net.converters.values())
    assert not elements(asked, both).isdisjoint(elements(told, both))


def test_a_telling_size_would_be_found(captured):
    """The control for the other clues: were some people's answers far larger, the program would say so."""
    leaves, seen, about, folder = captured
    traces = gather(leaves, seen, [converter(folder, "hub")])
    loud = sorted(set(about.values()))[: PEOPLE // 4]
    marked = [t._replace(answered_size=t.answered_size + 500_000 * (about[t.id] in loud)) for t in traces]
    found = {s.clue for s in judge(marked, about, pairs=2 * INQUIRIES, seed=11) if s.low > 0}
    assert "answer size" in found
