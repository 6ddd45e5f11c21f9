"""Adversary: the network: whoever holds the bus, and whoever is let onto it.

Claims it tries to break: who records, drops, repeats, delays, reorders, changes or swaps what travels discloses nothing, loses nothing and
has nothing take effect twice; a body says nothing in another's name and touches nobody's mailbox, whatever it asks of the bus.
"""

import asyncio
import itertools
import json
import os
import random
import sqlite3

import nats
import nats.errors
import pytest

from renkei.messages.wire import Outcomes, decode_as
from tests.attacks.measures import entries, quiet
from tests.attacks.middle import Middle, honestly
from tests.world import until

RNG = random.Random(7)
BEHIND = ["hub", "commission", "tax-union", "ohashi-city", "portal"]


@pytest.fixture(scope="module")
def middle(nation):
    holder = Middle(nation, BEHIND)
    yield holder
    holder.leave()


def is_mail(message):
    return message.subject.startswith("mail.")


def losing(message):
    """Now and then a frame or a question never arrives."""
    return [] if is_mail(message) and RNG.random() < 0.15 else honestly(message)


def repeating(message):
    return [(0.0, message), (0.05, message), (0.4, message)]


def reordering(message):
    return [(RNG.random() * 0.4, message)]


def changing(message):
    """A bit of every third message is another, answers to questions included: wherever it is, the seal does not open."""
    if RNG.random() > 0.3 or not message.data:
        return honestly(message)
    at = RNG.randrange(len(message.data))
    data = message.data[:at] + bytes([message.data[at] ^ 1]) + message.data[at + 1 :]
    return [(0.0, message._replace(data=data))]


def naming_others(message):
    """Beside each frame the same one, as if another had sent it."""
    place = message.subject.split(".")
    if place[0] != "mail":
        return honestly(message)
    others = [".".join([*place[:2], body, *place[3:]]) for body in ("tax-union", "ohashi-city", "portal", "nobody")]
    others += ["mail", f"mail.{place[1]}", "x"]
    return [(0.0, message._replace(subject=s)) for s in others if s != message.subject] + [(0.0, message)]


def truncating(message):
    if RNG.random() > 0.3:
        return honestly(message)
    return [(0.0, message._replace(data=message.data[:-1])), (0.0, message._replace(data=b"")), (0.01, message)]


class Swapping:
    """Each receiver gets, before its own frame, the newest frames of others; now and then before the answer to a question, too."""

    def __init__(self):
        self.newest = {}

    def __call__(self, message):
        others = [d for to, d in self.newest.items() if to != message.subject.split(".")[1]]
        if is_mail(message):
            self.newest[message.subject.split(".")[1]] = message.data
        elif RNG.random() > 0.3:
            return honestly(message)
        return [*((0.0, message._replace(data=d)) for d in others), (0.0, message)]


WAYS = (losing, repeating, reordering, changing, naming_others, truncating, Swapping())


@pytest.mark.parametrize("way", WAYS, ids=lambda w: getattr(w, "__name__", type(w).__name__.lower()))
def test_who_holds_the_bus_loses_nothing_and_has_nothing_take_effect_twice(nation, middle, way):
    """Inquiries are answered once, about whom they name; what is in the record is there once."""
    before = quiet(nation)
    middle.meddle = way
    try:
        told = [nation.ask(persona=p, wait=0)[1] for p in (0, 1, 2)]
        ended = [until(lambda t=t: ends(nation, t), 60) for t in told]
    finally:
        middle.meddle = honestly
    assert {e["state"] for e in ended} == {"answered"}
    assert all(e["records"] for e in ended)
    assert [provided_to(nation, t) for t in told] == [[nation.local_id("tax-union", p)] for p in (0, 1, 2)]
    ids = sorted(t["id"] for t in told)
    assert sorted(e.inquiry.id.hex() for e in entries(nation, "inquiry", after=before)) == ids
    assert sorted(until(lambda: (o := outcomes(nation, before))[2:] and o)) == ids


def outcomes(nation, after):
    """Of which inquiries the record has an outcome since then."""
    leaves = entries(nation, "outcome", after=after)
    return [o.inquiry.hex() for e in leaves for o in decode_as(e.outcomes.payload, Outcomes).outcomes]


def ends(nation, told):
    found = nation.http("ohashi-city", told["status_url"])[1]
    return found if found["state"] == "answered" else None


def provided_to(nation, told):
    """Whom the provider has answered about for this inquiry."""
    with sqlite3.connect(nation.folder / "tax-union" / "tax_union.db") as database:
        rows = database.execute("SELECT local_id FROM provisions WHERE id = ?", [bytes.fromhex(told["id"])])
        return [r[0] for r in rows]


def test_frames_of_an_earlier_stream_have_no_effect(nation, middle, unharmed):
    """All that was ever sent to a body, put before it again after it and its senders have been restarted."""
    recorded = [m for m in middle.seen if m.subject.startswith(("mail.hub.", "mail.tax-union."))]
    assert len(recorded) > 50
    for body in BEHIND:
        nation.stop_body(body)
        nation.start_body(body)
    unharmed()
    before, provisions = quiet(nation), nation.http("tax-union", "/provisions?limit=200")[1]

    def replaying(message):
        place = message.subject.split(".")
        if place[0] != "mail" or not recorded:
            return honestly(message)
        mine = [m for m in recorded if m.subject.split(".")[1::2] == place[1::2]]
        for m in mine:
            recorded.remove(m)
        return [(0.0, m._replace(subscription=message.subscription, reply=message.reply)) for m in mine] + [
            (0.1, message)
        ]

    middle.meddle = replaying
    try:
        told = nation.ask()[1]
        assert until(lambda: ends(nation, told), 40)
    finally:
        middle.meddle = honestly
    assert [e.inquiry.id.hex() for e in entries(nation, "inquiry", after=before)] == [told["id"]]
    assert len(nation.http("tax-union", "/provisions?limit=200")[1]) == min(200, len(provisions) + 1)
    unharmed()


def test_what_was_recorded_says_nothing_without_a_receiver_s_key(nation, middle):
    """No code, no number, no word of an inquiry or an answer, and no two frames alike."""
    with (nation.folder / "roll.csv").open(encoding="utf-8") as file:
        names = [line.split(",")[0].encode() for line in file][1:]
    words = [b"child-allowance", b"local-tax", b"inquiry/1", b"permit/1", b"tax_year", *names]
    frames = [m.data for m in middle.seen if is_mail(m) and m.data]
    assert not [w for w in words if any(w in f for f in frames)]
    assert len({f[:32] for f in frames}) > len(frames) * 0.5  # each is sealed to a fresh key; resends are sealed anew


# ------------------------------------------------------------------ on the bus, as a body or as nobody


@pytest.fixture
def line(nation, rogue):
    """The town's own connection, below everything of ours."""
    return rogue.bus._client


def asked(nation, client, *questions, reply=""):
    """Publish each subject and its data, and what the bus says to oneself within a moment."""

    async def go():
        said = []

        async def keep(message):
            said.append(message.subject)

        inbox = f"_INBOX_kiriyama-town.{os.urandom(4).hex()}"
        subscription = await client.subscribe(inbox, cb=keep)
        for subject, data in questions:
            await client.publish(subject, data, reply=reply or inbox)
        await client.flush()
        await asyncio.sleep(0.1)
        await subscription.unsubscribe()
        return said

    return nation.do(go())


def mailbox_of(nation, body):
    """What the operator sees of a mailbox: messages, first and last number."""

    async def go():
        client = await nats.connect(
            nation.world.bus.url, nkeys_seed_str=nation.plan.operator, inbox_prefix=b"_INBOX_operator"
        )
        try:
            raw = await client.request(f"$JS.API.STREAM.INFO.MAIL_{body}", b"", timeout=3)
            state = json.loads(raw.data)["state"]
            return state["messages"], state["first_seq"], state["last_seq"]
        finally:
            await client.close()

    return nation.do(go())


def test_a_body_says_nothing_in_another_s_name(nation, rogue, line, unharmed):
    """The bus does not carry it: neither frames nor questions nor into a mailbox, whatever the subject is made of."""
    before = {b: nation.counter(b, "frames_refused") for b in ("hub", "tax-union")}
    for subject in (
        "mail.tax-union.hub.live",
        "mail.hub.tax-union.call",
        "mail.tax-union.hub.box.0000000000000000.1",
        "mail.hub.ohashi-city.live",
        "_INBOX_hub.x",
        "_INBOX_tax-union.x",
        "mail.tax-union.kiriyama-town",
        "mail.hub",
        "$SYS.REQ.SERVER.PING",
    ):
        asked(nation, line, (subject, b"x"))
    assert {b: nation.counter(b, "frames_refused") for b in before} == before
    unharmed()


def test_a_body_hears_nothing_that_is_not_for_it(nation, line):
    """Subscriptions to others' mail, to everything, to the bus's own subjects: nothing comes while others work."""

    async def listen(subjects):
        heard = []

        async def keep(message):
            heard.append(message.subject)

        subscriptions = [await line.subscribe(s, cb=keep) for s in subjects]
        await line.flush()
        return heard, subscriptions

    wanted = (
        ">",
        "mail.>",
        "mail.tax-union.>",
        "mail.*.hub.live",
        "_INBOX_hub.>",
        "_INBOX_operator.>",
        "$JS.>",
        "$SYS.>",
    )
    heard, subscriptions = nation.do(listen(wanted))
    assert nation.ask()[1]["state"] == "answered"
    for subscription in subscriptions:
        nation.do(subscription.unsubscribe())
    assert [s for s in heard if not s.startswith(("mail.kiriyama-town.", "_INBOX_kiriyama-town."))] == []


def test_nobody_empties_reads_or_acknowledges_another_s_mailbox(nation, rogue, line, unharmed):
    """Directly, as the reply of a mailbox's receipt, and with a message of one's own delivered to the bus's interface."""
    nation.stop_body("pension-service")
    try:
        for i in range(4):
            asked(nation, line, (f"mail.pension-service.kiriyama-town.box.0000000000000001.{i}", b"x"))
        before = until(lambda: (m := mailbox_of(nation, "pension-service"))[0] >= 4 and m)
        box, own = "MAIL_pension-service", "MAIL_kiriyama-town"
        interface = [
            f"$JS.API.STREAM.{act}.{box}"
            for act in ("PURGE", "DELETE", "INFO", "UPDATE", "MSG.GET", "MSG.DELETE", "SNAPSHOT")
        ]
        interface += [f"$JS.API.CONSUMER.DELETE.{box}.pension-service", f"$JS.API.CONSUMER.CREATE.{box}.mine"]
        interface += [
            f"$JS.API.CONSUMER.MSG.NEXT.{box}.pension-service",
            f"$JS.API.DIRECT.GET.{box}",
            "$JS.API.STREAM.CREATE.X",
        ]
        acks = [f"$JS.ACK.{box}.pension-service.1.{n}.{n}.1.0" for n in range(before[1], before[2] + 1)]
        data = (b"", b"+ACK", b"+TERM", b'{"seq": 9999}', b'{"name": "X", "subjects": ["mail.>"]}')
        assert asked(nation, line, *itertools.product(interface + acks, data)) == []
        for at, subject in enumerate(interface + acks):  # the bus itself would say it there, with all its rights
            into = (f"mail.pension-service.kiriyama-town.box.0000000000000002.{at}", b"x")
            mine = (f"mail.kiriyama-town.kiriyama-town.box.0000000000000002.{at}", b"+ACK")
            asked(nation, line, into, reply=subject)
            asked(nation, line, mine, (f"$JS.API.CONSUMER.MSG.NEXT.{own}.kiriyama-town", b"1"), reply=subject)
        after = mailbox_of(nation, "pension-service")
        assert after[1] == before[1]
        assert after[0] >= before[0] + 2
    finally:
        nation.start_body("pension-service")
    unharmed()


def test_a_reply_led_astray_says_nothing_to_anyone(nation, rogue, line, unharmed):
    """A question whose reply goes to a third body: that body gets what is sealed to the asker, and refuses it."""
    before = nation.counter("commission", "frames_refused"), mailbox_of(nation, "hub")[1]
    provisions = nation.http("tax-union", "/provisions?limit=200")[1]
    frame = {
        "type": "call/1",
        "sender": rogue.body,
        "recipient": "hub",
        "nonce": bytes(16),
        "body": b"\x81\xa4type\xaaget-head/1",
    }
    for subject in (
        "mail.tax-union.hub.live",
        "mail.commission.hub.call",
        "mail.hub.hub.live",
        "$JS.API.STREAM.PURGE.MAIL_hub",
    ):
        rogue.raw("hub", {**frame, "reply": False}, subject="mail.hub.kiriyama-town.call", reply=subject)
    until(
        lambda: nation.counter("commission", "frames_refused") > before[0]
    )  # the hub is let say it, and nobody can open it
    assert nation.http("tax-union", "/provisions?limit=200")[1] == provisions
    assert mailbox_of(nation, "hub")[1] >= before[1]
    unharmed()
