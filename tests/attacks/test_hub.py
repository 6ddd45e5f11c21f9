"""Adversary: the hub itself, with all its keys.

Claims it tries to break: what is in the record stays as it is and where it is; there is one record, whoever asks; nothing is
disclosed that is not in it; the hub cannot date it, nor hide a leaf from the portal.
"""

import contextlib
import os
import re
import shutil
import time

import msgspec
import pytest

from renkei.codes import Domain, encrypt
from renkei.errors import NotGenuine, RenkeiError
from renkei.institution import workers
from renkei.institution.bus import Bus
from renkei.institution.database import Database
from renkei.institution.keys import Keys
from renkei.institution.member import Member
from renkei.institution.post import Post
from renkei.institution.settings import Home
from renkei.ledger import store as log
from renkei.ledger.merkle import Tree, commitment, leaf_hash
from renkei.ledger.notes import NOTE, Checkpoint
from renkei.messages import frames
from renkei.messages.frames import CallFrame
from renkei.messages.signing import SealKey
from renkei.messages.wire import (
    Acts,
    Blob,
    Cosigned,
    DomainRef,
    Envelope,
    Failed,
    Fill,
    GetActs,
    GetBlob,
    GetHead,
    GetPermit,
    GetTail,
    HeadIs,
    Inquiry,
    KeyShare,
    LawVersion,
    NotSigned,
    Permit,
    Permitted,
    Proposal,
    Receipt,
    Rounds,
    Tail,
    TailLeaf,
    Worked,
    encode,
    signed_bytes,
)
from renkei.record import rounds
from renkei.record.admission import DAY
from renkei.record.entries import ActLeaf, decode_entry
from renkei.record.state import ref_of
from tests.attacks.changes import changes, plain
from tests.attacks.liar import answering, is_caught
from tests.attacks.measures import entries
from tests.attacks.rogue import Rogue, some_code
from tests.unit.record.conftest import NOW, Net
from tests.world import until


@pytest.fixture
def net(pack, converters):
    return Net(pack, converters)


def nothing(_):
    return {}


def test_a_hub_cannot_refuse_what_is_lawful_nor_blame_the_commission(net):
    lawful = rounds.draft(net.state, net.converters["hub"], nothing, net.signed(), NOW).entry
    for ruling in (
        msgspec.structs.replace(lawful.ruling, allowed=False),
        msgspec.structs.replace(lawful.ruling, allowed=False, reason="no-row", by="commission", rows=[]),
        msgspec.structs.replace(lawful.ruling, reason="because"),
        msgspec.structs.replace(lawful.ruling, row="75"),
        msgspec.structs.replace(lawful.ruling, pack=bytes(32)),
    ):
        entry = msgspec.structs.replace(lawful, ruling=ruling, target=lawful.target if ruling.allowed else None)
        with pytest.raises(NotGenuine):
            rounds.fill(net.state, net.converters["commission"], nothing, entry, NOW)


def test_a_hub_cannot_dress_up_a_refusal(net):
    refused = rounds.draft(net.state, net.converters["hub"], nothing, net.signed(item="disability"), NOW).entry
    lawful = rounds.draft(net.state, net.converters["hub"], nothing, net.signed(), NOW).entry
    for other in (
        {"ruling": msgspec.structs.replace(refused.ruling, by="commission")},
        {"ruling": msgspec.structs.replace(refused.ruling, reason="no-row")},
        {"ruling": msgspec.structs.replace(refused.ruling, rows=["1"])},
        {"half": lawful.half},
        {"target": lawful.target},
        {"converted": lawful.half},
    ):
        with pytest.raises(NotGenuine):
            entry = msgspec.structs.replace(refused, **other)
            rounds.fill(net.state, net.converters["commission"], nothing, entry, NOW)


class RogueHub(Rogue):
    """Acts as the hub; what it proposes is about envelopes a town has really signed."""

    def __init__(self, nation):
        self.nation, self.body = nation, "hub"
        hub, town = (nation.world.institutions[b] for b in ("hub", "ohashi-city"))
        self.database = hub.database
        self.keeper, self.state, self.converter = hub.keeper, hub.keeper.state, hub.converter
        self.town_keys, self.town = town.keys, town.member.domain
        self.code, self.town_key = town.database.read_now(some_code), town.member.key(town.member.domain)
        nation.stop_body("hub")
        self.keys = Keys.load(Home(nation.folder / "hub"), "hub")
        self.signer = self.keys.log_signer(self.keeper.origin, NOTE)
        self.bus = Bus(nation.world.bus.url, "hub", self.keys.bus_seed)
        self.stream = time.time_ns() // 1_000_000 + 1
        self.numbers = {}
        nation.do(self.bus.connect())
        self.size, self.root = self.keeper.tree.size, self.keeper.tree.root()

    def envelope(self):
        now = time.time_ns() // 1_000_000
        ciphertext = encrypt(self.code, self.town_key).to_bytes()
        asked = ("tax-union", "child-allowance", "local-tax", "assess-amount")
        inquiry = Inquiry(ref_of(self.town), *asked, ciphertext, SealKey().public, bytes(32), now, now + 7 * DAY)
        return self.town_keys.identity.sign(inquiry)

    def draft(self, envelope=None):
        now = time.time_ns() // 1_000_000
        return rounds.draft(self.state, self.converter, lambda _: {}, envelope or self.envelope(), now).entry

    def propose(self, *entries, size=None, root=None, at=0, salts=None):
        raw = [e if isinstance(e, bytes) else encode(e) for e in entries]
        salts = [os.urandom(16) for _ in raw] if salts is None else salts
        now = getattr(entries[0], "time", time.time_ns() // 1_000_000) + at
        proposal = Proposal(self.size if size is None else size, root or self.root, now, raw, salts)
        return proposal, self.call("commission", proposal)

    def leaf(self, index):
        """Salt and entry of a leaf."""
        with self.database.engine.connect() as connection:
            found = log.read(connection, index, index + 1)[0]
        return found.salt, found.entry

    def head(self):
        return self.call("commission", GetHead()).size


@pytest.fixture(scope="module")
def hub(nation):
    """The hub gone bad; the honest one comes back for whoever asks for ``unharmed``."""
    assert nation.ask()[1]["state"] == "answered"
    time.sleep(1)  # its outcome is in the record, too
    bad = RogueHub(nation)
    yield bad
    if "hub" not in nation.world.institutions:
        bad.leave()


def refused(hub, reason, *entries, **how):
    """The commission does not sign, for this reason, and its record is what it was."""
    before = hub.head()
    _, reply = hub.propose(*entries, **how)
    assert isinstance(reply, NotSigned), reply
    assert reply.reason == reason
    assert hub.head() == before


NONSENSE = (
    Worked([]),
    Worked([b"x"]),
    Worked([b"\x80"] * 2),
    Worked([encode(GetHead())]),
    Worked([encode(Fill([bytes(64)]))]),
    Worked([encode(Fill([], "expires"))] * 3),
    HeadIs(1, bytes(32), ""),
)


def test_a_worker_that_answers_nonsense_holds_up_nothing(nation, unharmed):
    """Of either keeper: what does not fit, or is of another envelope, the keeper does itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "AT_LEAST", 1)
        for keeper in ("hub", "commission"):
            _with_workers(nation, keeper, 1)
            bad = _BadWorker(nation, keeper)
            for bad.reply in NONSENSE:
                asked = bad.asked
                assert nation.ask(wait=20)[1]["state"] == "answered", bad.reply
                assert bad.asked > asked
            nation.do(bad.bus.close())
            _with_workers(nation, keeper, 0)
    unharmed()


def _with_workers(nation, keeper, count):
    home = Home(nation.folder / keeper)
    nation.stop_body(keeper)
    home.write_toml("settings.toml", msgspec.to_builtins(msgspec.structs.replace(home.settings(), workers=count)))
    nation.start_body(keeper)


class _BadWorker:
    """Has the keeper's keys and its place in the queue, and answers the same to everything."""

    def __init__(self, nation, keeper):
        self.keys = Keys.load(Home(nation.folder / keeper), keeper)
        self.bus, self.reply, self.asked = Bus(nation.world.bus.url, keeper, self.keys.bus_seed), None, 0
        nation.do(self.bus.connect())
        nation.do(self.bus.subscribe(f"mail.{keeper}.{keeper}.work", self.answer, queue=workers.QUEUE))

    async def answer(self, message):
        self.asked += 1
        own, keys = self.keys.body, self.keys
        question = frames.open_frame(message.data, own, keys.identity.public, own, keys.seal)
        answer = CallFrame(own, own, question.nonce, encode(self.reply), reply=True)
        await self.bus.publish(message.reply, frames.close(answer, keys.identity, keys.seal.public))


def test_it_cannot_date_the_record(hub):
    """Not into the past, not into the future, not before the round before."""
    for at in (-3_600_000, -3_000, 3_000, 86_400_000):
        refused(hub, "clock", hub.draft(), at=at)


def test_it_cannot_begin_a_second_history(hub):
    """Neither from an earlier size, nor beside the head, nor ahead of it."""
    earlier = hub.size - 1
    refused(hub, "head", hub.draft(), size=earlier, root=hub.keeper.tree.root(earlier))
    refused(hub, "head", hub.draft(), root=os.urandom(32))
    refused(hub, "head", hub.draft(), size=hub.size + 1)
    refused(hub, "head", hub.draft(), size=0, root=os.urandom(32))


def test_it_cannot_enter_what_is_no_entry(hub):
    good = hub.draft()
    for bad in (b"", b"\xc1", b"x" * 100, encode(GetHead()), encode(msgspec.structs.replace(good, half=bytes(64)))):
        refused(hub, "entry:1", good, bad)
    refused(hub, "entry:0", good, salts=[b"short"])
    recorded = hub.nation.world.institutions["commission"].keeper
    leaf = next(
        raw
        for raw in recorded._database.read_now(
            lambda c: [bytes(r[0]) for r in c.exec_driver_sql("select entry from ledger_leaves where kind = 'inquiry'")]
        )
    )
    refused(hub, "entry:0", leaf)  # what is in the record already


OWN = ("salts[0]:altered", "salts[0]:identity", "salts[0]:noncanonical", "drafts[0]:altered")
"""What in a proposal is the hub's to choose, and its own conversion, which is the last of a draft's bytes."""


def test_no_changed_proposal_is_signed(hub):
    """Every field of a round and of the draft in it; then the round as it was is signed."""
    entry, other = hub.draft(), hub.draft()
    good = plain(Proposal(hub.size, hub.root, entry.time, [encode(entry)], [os.urandom(16)]))
    rounds_ = [(w, c) for w, c in changes(good) if not w[1:].startswith(OWN)]
    drafts = changes(plain(entry), {k: v for k, v in plain(other).items() if k != "half"})
    inside = [
        (f".drafts[0]{w}", {**good, "drafts": [msgspec.msgpack.encode(d)]})
        for w, d in drafts
        if not w.startswith((".half:altered", ".inquiry:swapped"))  # a wrong conversion is for the audit to find
    ]
    before = hub.head()
    for where, proposal in rounds_ + inside:
        reply = hub.call("commission", proposal)
        assert isinstance(reply, NotSigned | Failed), where
        assert getattr(reply, "code", "") != "internal", where
    assert hub.head() == before


def test_no_changed_act_of_its_own_is_recorded(hub):
    """Every field of a law in force and of an entry in the key directory, signed anew."""
    acts = [msgspec.msgpack.decode(e.act.payload) for e in entries(hub.nation, "act") if e.act.sender == "hub"]
    law = {"type": "law/1", "pack": "japan", "version": hub.state.pack.header.version, "hash": hub.state.pack.hash}
    keys = [a for a in acts if a["type"] == "keys/1"]
    # Of which generation its master is, it alone knows; how a pack is called is beside its hash.
    tried = [c for w, c in changes(keys[0], keys[1]) if not w.startswith(".generation:plus")]
    tried += [c for w, c in changes(law) if w.startswith((".hash", ".type"))]
    before, now = hub.head(), time.time_ns() // 1_000_000
    for act in tried:
        payload = msgspec.msgpack.encode(act)
        envelope = Envelope("hub", payload, hub.keys.identity.signature(signed_bytes("hub", payload)))
        assert isinstance(hub.propose(ActLeaf(now, envelope))[1], NotSigned), act
    assert hub.head() == before


def test_it_cannot_change_a_round_after_the_signature(hub):
    """The same place with anything else is refused; asked again byte for byte, the commission gives the same signature."""
    entry = hub.draft()
    proposal, reply = hub.propose(entry)
    assert isinstance(reply, Cosigned)
    assert hub.call("commission", proposal) == reply
    other = msgspec.structs.replace(proposal, drafts=[encode(hub.draft())])
    assert hub.call("commission", other).reason == "head"
    assert hub.call("commission", msgspec.structs.replace(proposal, salts=[os.urandom(16)])).reason == "head"
    hub.entry, hub.salt, hub.reply = encode(rounds.complete(entry, reply.fills[0])), proposal.salts[0], reply


def test_no_provider_answers_what_is_not_in_the_record(hub):
    """Under its own signature alone, under a real but older head, with a leaf exchanged or another person's code in it."""
    nation = hub.nation
    seen = nation.http("tax-union", "/provisions")[1]
    before = nation.counter("tax-union", "permits_refused")
    entry, salt = encode(hub.draft()), os.urandom(16)
    forged = Tree(lambda *_: b"")
    forged.append([leaf_hash(os.urandom(32)) for _ in range(7)])
    forged.append([leaf_hash(commitment(salt, entry))])
    text = Checkpoint(hub.keeper.origin, 8, forged.root()).to_text()
    real = hub.keeper.head.note
    line = next(s for s in real.split("\n\n")[1].split("\n") if "/commission" in s)
    path = forged.inclusion(7)
    shown = [
        Permit(7, salt, entry, path, f"{text}\n{hub.signer.sign(text)}"),
        Permit(7, salt, entry, path, f"{text}\n{hub.signer.sign(text)}{line}\n"),
        Permit(7, salt, entry, path, real),
        Permit(hub.size - 1, salt, entry, hub.keeper.tree.inclusion(hub.size - 1), real),
        Permit(hub.size, hub.salt, hub.entry, [], real),
        Permit(2**40, hub.salt, hub.entry, path, real),
        Permit(0, salt, b"", [], ""),
    ]
    for permit in shown:
        hub.send("tax-union", permit)
    until(lambda: nation.counter("tax-union", "permits_refused") >= before + len(shown) - 1)
    assert nation.http("tax-union", "/provisions")[1] == seen


def test_no_changed_permit_is_answered(hub):
    """Every field of a permit that is genuine and that the provider has not seen yet, and of the leaf in it."""
    seen = hub.nation.http("tax-union", "/provisions")[1]
    staged = hub.keeper.stage(decode_entry(hub.entry).time, [decode_entry(hub.entry)], [hub.salt])
    text = staged.checkpoint.to_text()
    note = f"{text}\n{hub.signer.sign(text)}{hub.reply.cosignature}"
    good = plain(Permit(hub.size, hub.salt, hub.entry, hub.keeper.tree.inclusion(hub.size), note))
    other = plain(Permit(1, *hub.leaf(1), hub.keeper.tree.inclusion(1), note))
    leaves = changes(msgspec.msgpack.decode(hub.entry))
    inside = [{**good, "entry": msgspec.msgpack.encode(leaf)} for _, leaf in leaves]
    assert hub.send_each("tax-union", [c for _, c in changes(good, other)] + inside) > 200
    hub.until_handled("tax-union")
    assert hub.nation.http("tax-union", "/provisions")[1] == seen
    hub.send("tax-union", good, good)
    hub.until_handled("tax-union")
    assert len(hub.nation.http("tax-union", "/provisions")[1]) == len(seen) + 1


def test_no_changed_receipt_reopens_what_has_ended(hub):
    """What was answered stays answered, whatever the hub says of it afterwards."""
    kept = ("id", "state", "reason", "records", "finished_at", "refused_by")
    told = hub.nation.http("ohashi-city", "/inquiries?status=answered")[1]
    ids = [bytes.fromhex(t["id"]) for t in told]
    good = plain(Receipt(ids[0], 5, False, told[0]["recorded_at"], "no-row", ["74"], "hub"))
    hub.send_each("ohashi-city", [good, *(c for _, c in changes(good, {**good, "inquiry": bytes(32)}))])
    hub.until_handled("ohashi-city")
    after = hub.nation.http("ohashi-city", "/inquiries?status=answered")[1]
    assert [{k: t[k] for k in kept} for t in after] == [{k: t[k] for k in kept} for t in told]


def test_its_word_alone_is_no_permit(hub):
    """It tells a requester that an inquiry is in the record, which it never entered: nobody answers, and no proof of it comes."""
    told = hub.nation.ask(wait=0)[1]
    hub.send("ohashi-city", Receipt(bytes.fromhex(told["id"]), 5, True, told["issued_at"], "", ["74"], "hub"))
    until(lambda: hub.nation.http("ohashi-city", told["status_url"])[1]["state"] == "permitted")
    assert hub.nation.http("ohashi-city", told["status_url"] + "/permit")[0] == 503
    assert told["id"] not in {p["id"] for p in hub.nation.http("tax-union", "/provisions")[1]}
    hub.unrecorded = told


def test_no_changed_key_share_is_taken(hub):
    """Every field of it: who holds it goes on with the key that the directory promises."""
    nation = hub.nation
    for body in ("ohashi-city", "portal"):
        member = nation.world.institutions[body].member
        before = member.key(member.domain)
        good = plain(KeyShare(ref_of(Domain(body)), "hub", hub.converter.key_share(Domain(body))))
        tried = changes(good, {**good, "share": os.urandom(31) + b"\0"})
        hub.send_each(body, [c for w, c in tried if not w.startswith((".domain[1]", ".domain[2]"))])
        hub.until_handled(body)
        assert member.key(member.domain) == before


def test_what_the_commission_has_signed_enters_the_record_after_all(hub, unharmed):
    """The honest hub comes back, takes over the round its bad self had not stored, and everyone goes on."""
    hub.leave()
    until(lambda: hub.nation.http("ohashi-city", hub.unrecorded["status_url"])[1]["state"] == "answered")
    keeper = hub.nation.world.institutions["hub"].keeper
    until(lambda: keeper.tree.size > hub.size)
    assert keeper.tree.root(hub.size + 1) == hub.reply.root
    unharmed()


def test_no_changed_reply_shows_a_member_other_acts(nation, tmp_path):
    """Every field of the acts it hands over, left out or in other order too: nobody is taken for another, no key for another's."""
    ohashi = nation.world.institutions["ohashi-city"]
    nation.do(ohashi.member.follow())  # so that the truth is all of it
    database = Database(f"sqlite:///{tmp_path}/member.db", packages=("institution",))
    member = Member(ohashi.home, ohashi.keys, database, ohashi.observe, ohashi.clock)
    member.post = ohashi.post
    truth, good = ohashi.member.state, plain(nation.world.institutions["hub"]._acts(1))
    tried = 0
    for _, changed in changes(good):
        with contextlib.suppress(msgspec.ValidationError):
            lie = msgspec.convert(changed, Acts)
            told = [lie]

            def tell(sender, question, reply, told=told):
                return (told or [Acts([])]).pop() if isinstance(question, GetActs) else reply

            with answering(nation, "hub", tell), contextlib.suppress(RenkeiError):
                nation.do(member.follow())
            tried += 1
        assert all(truth.bodies.get(b) == e for b, e in member.state.bodies.items())
        assert all(truth.shares.get(s) == v for s, v in member.state.shares.items())
    assert tried > 30
    database.close()


def test_no_other_pack_passes_for_the_law_in_the_record(nation):
    """A body that lacks a version of the law takes only what has its hash."""
    member, pack = nation.world.institutions["ohashi-city"].member, nation.world.institutions["hub"].keeper.state.pack
    for hash_ in (bytes(32), os.urandom(32), pack.hash[:-1] + b"\0"):
        act = Envelope("hub", encode(LawVersion("japan", "1", hash_)), bytes(64))
        for lie in (Blob(pack.archive), Blob(b""), Blob(pack.archive[:-1])):
            with (
                answering(nation, "hub", lambda s, q, r, lie=lie: lie if isinstance(q, GetBlob) else r),
                pytest.raises(RenkeiError),
            ):
                nation.do(member._fetch_law(ActLeaf(1, act)))
    assert member.pack.hash == pack.hash


def test_no_other_leaf_passes_for_the_proof_of_an_inquiry(nation):
    """A requester that asks for its proof is given that of its inquiry, or none: every field changed, and another's genuine leaf."""
    told, other = nation.ask()[1], nation.ask(persona=1)[1]
    hub = nation.world.institutions["hub"]
    good, swapped = (hub._proof("ohashi-city", bytes.fromhex(t["id"])) for t in (told, other))
    for where, changed in changes(plain(good), plain(swapped)):
        with contextlib.suppress(msgspec.ValidationError):
            lie = msgspec.convert(changed, Permitted)
            if lie == good:
                continue
            with answering(nation, "hub", lambda s, q, r, lie=lie: lie if isinstance(q, GetPermit) else r):
                assert nation.http("ohashi-city", told["status_url"] + "/permit")[0] != 200, where
    assert nation.http("ohashi-city", told["status_url"] + "/permit")[0] == 200


def test_who_acted_as_the_hub_for_a_moment_does_not_hold_it_up(nation, unharmed):
    """A key share of an epoch that nobody knows waits for its directory entry; the hub itself, once it is back, does not wait behind it."""
    thief = RogueHub(nation)
    for body in ("tax-union", "ohashi-city", "portal"):
        received = nation.counter(body, "frames_received")
        thief.send(body, KeyShare(DomainRef(body, 7, 7), "hub", b"\1" * 32))
        until(lambda body=body, received=received: nation.counter(body, "frames_received") > received)
    thief.leave()
    unharmed()


def test_it_cannot_change_what_it_hands_back_to_a_restored_commission(nation, tmp_path, unharmed):
    """The rounds are as the commission has signed them, their times included: by these it erases, and dates what follows."""
    home = nation.folder / "commission"
    nation.stop_body("commission")
    shutil.copytree(home, tmp_path / "earlier")
    nation.start_body("commission")
    assert nation.ask()[1]["state"] == "answered"
    bad = RogueHub(nation)
    nation.stop_body("commission")
    for path in home.glob("*.db*"):
        path.unlink()
    for path in (tmp_path / "earlier").glob("*.db*"):
        shutil.copy(path, home)
    nation.start_body("commission")
    size = bad.head()
    good = plain(Rounds(bad.keeper.rounds_after(size)))
    tried = [c for w, c in changes(good) if RETOLD.match(w)]
    assert len(tried) > 30
    for rounds_ in tried:
        assert isinstance(bad.call("commission", rounds_), Failed)
        assert bad.head() == size
    assert bad.call("commission", good).size == bad.size
    bad.leave()
    (home / "confirm").write_text(str(bad.size))
    unharmed()


RETOLD = re.compile(r"\.rounds\[0\](\[0\]|\[1\]\[\d\]\[[12]\]|\[1\]:(?!empty|reordered|text|deep|none))")
"""A round's time, and the salts and entries of its leaves."""


@pytest.mark.usefixtures("audited")
def test_where_the_audit_stands_survives_a_restart(nation):
    """No leaf escapes by a restart: the commission goes on where it stood, not where the log ends."""
    nation.stop_body("commission")
    nation.start_body("commission")
    before = nation.counter("commission", "audits")
    nation.ask()
    until(lambda: nation.counter("commission", "audits") > before)


@pytest.mark.usefixtures("audited")
def test_it_is_caught_converting_to_another_person(nation):
    """The requester gets another person's data and cannot know; the commission and the provider can."""
    is_caught(nation, "hub", "commission")


def test_the_portal_notices_another_record(nation):
    """Leaves that do not make up the head both have signed are not filed: the portal raises an alarm."""
    bad = RogueHub(nation)
    portal = nation.world.institutions["portal"]
    before = int(nation.http("portal", "/health", token="")[1]["records"])
    start = portal.filing.tree.size

    async def lie(sender, call):
        assert isinstance(call, GetTail)
        forged = Tree(lambda *_: b"")
        forged.append(os.urandom(32) for _ in range(call.index + 3))
        text = Checkpoint(bad.keeper.origin, call.index + 3, forged.root()).to_text()
        line = next(s for s in bad.keeper.head.note.split("\n\n")[1].split("\n") if "/commission" in s)
        return Tail([TailLeaf(os.urandom(32)) for _ in range(3)], f"{text}\n{bad.signer.sign(text)}{line}\n")

    post = Post(
        bad.keys, bad.bus, nation.world.institutions["commission"].database, bad.keeper.directory, portal.observe
    )
    nation.do(post.start(lie, receives=False))
    until(lambda: nation.http("portal", "/health", token="")[0] == 503)
    health = nation.http("portal", "/health", token="")[1]
    assert health["alarm"]
    assert (int(health["records"]), portal.filing.head.size) == (before, start)
    nation.do(post.close())
    nation.do(bad.bus.close())
