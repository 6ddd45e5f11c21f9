"""An inspection: a body hands over its own records, and whatever it altered, left out or added does not fit the record."""

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from renkei.commission import inspection
from renkei.commission import store as commission_store
from renkei.errors import RenkeiError
from renkei.gateway import store
from renkei.ledger.notes import Verifier
from renkei.messages.wire import AskedRecord, Records
from renkei.record.permit import Notary
from tests.console import Browser, Console
from tests.service.commission.conftest import BOTH
from tests.world import until

pytestmark = BOTH
RENKEI = Path(sys.executable).with_name("renkei")


def today(nation):
    commission = nation.world.institutions["commission"]
    return commission.keeper.state.pack.day(commission.clock()).isoformat()


def announce(nation, inspector, body):
    """An inspection of all that the body asked and was asked today; its case, and the demand as the body has it."""
    assert inspector.form("/cases/new", title="Inspection", body=body)[0] == 200
    case = inspector.at.rpartition("/")[2]
    day = today(nation)
    status, page = inspector.form(
        f"/cases/{case}", kind="inspection", text="Your records of today.", days="14", first=day, last=day
    )
    assert status == 200, page
    gateway = nation.world.institutions[body]
    found = until(lambda: [d for d in nation.do(gateway.supervision.listed()) if d.case_number == case])
    return case, found[0]


def answer(nation, body, demand):
    nation.do(nation.world.institutions[body].supervision.answer(bytes(demand.document), "Here they are.", "職員A"))
    here = nation.world.institutions["commission"]
    return until(lambda: (case := nation.do(here.inspections.of(bytes(demand.document)))).answer and case)


def asked(nation, **changes):
    status, told = nation.ask(**changes)
    assert (status, told["state"]) == (200, "answered")
    return told


def found(case, what):
    return {f.line.position if f.line else f.id for f in case.findings if f.what == what}


def settled(nation, leaf):
    """The outcome of the inquiry at this leaf is in the record, as the commission has it."""
    here = nation.world.institutions["commission"]
    until(lambda: (row := here.database.read_now(lambda c: commission_store.watched_at(c, leaf))) and row.result)


@pytest.fixture
def notary(nation):
    lines = (nation.folder / "verifiers.txt").read_text().splitlines()
    return Notary([Verifier.from_text(line) for line in lines if line.strip()])


@pytest.fixture(scope="module")
def bundle(nation, tmp_path_factory):
    """The evidence of an inspection in which everything agrees: before any test has tampered with anything."""
    inspector = Console(nation, "kujo")
    settled(nation, asked(nation, case="A-1", reason="=1+1")["leaf"])
    case, demand = announce(nation, inspector, "ohashi-city")
    made = answer(nation, "ohashi-city", demand)
    assert set(made.tally.items()) >= {("missing", 0), ("altered", 0), ("clerk", 0), ("outcome", 0), ("unknown", 0)}
    path = f"/cases/{case}/inspections/{demand.document.hex()}"
    assert "Everything agrees" in inspector.get(path)[1]
    status, raw = inspector.form(path)
    assert status == 200
    file = tmp_path_factory.mktemp("evidence") / "evidence.zip"
    file.write_bytes(raw)
    return file


def test_what_was_never_touched_agrees_and_anyone_can_check_the_evidence(nation, inspector, bundle, notary):
    """With the two public keys alone; and the digest of what was taken out is in the officers' trail."""
    checked = inspection.check(bundle, notary)
    assert checked.measure.body == "ohashi-city"
    assert checked.tally["agrees"] > 0
    assert sum(checked.tally.values()) == checked.tally["agrees"]
    assert sha256(bundle.read_bytes()).hexdigest() in inspector.get("/trail")[1]
    rows = list(csv.DictReader(io.StringIO(zipfile.ZipFile(bundle).read("findings.csv").decode())))
    assert len(rows) == checked.tally["agrees"]
    assert not any(v.startswith(("=", "+", "-", "@")) for r in rows for v in r.values())


def test_what_was_altered_left_out_or_added_is_found(nation, inspector):
    """At the requester: another clerk's name, another reason, a deleted row, an inquiry nobody made."""
    leaves = [asked(nation, case=f"B-{n}", reason="An application.")["leaf"] for n in range(5)]
    settled(nation, leaves[-1])
    _, demand = announce(nation, inspector, "ohashi-city")
    city = nation.world.institutions["ohashi-city"]
    row = store.inquiries
    strange = os.urandom(32)

    def tamper(connection):
        connection.execute(row.update().where(row.c.leaf == leaves[0]).values(clerk="somebody else"))
        connection.execute(row.update().where(row.c.leaf == leaves[1]).values(reason_text="A better reason."))
        connection.execute(row.update().where(row.c.leaf == leaves[2]).values(salt=os.urandom(16)))
        kept = connection.execute(row.select().where(row.c.leaf == leaves[3])).mappings().one()
        connection.execute(row.delete().where(row.c.leaf == leaves[3]))
        connection.execute(row.insert(), [{**kept, "id": strange, "idempotency": None}])

    nation.do(city.database.write(tamper))
    case = answer(nation, "ohashi-city", demand)
    assert found(case, "altered") == set(leaves[:3])
    assert found(case, "missing") == {leaves[3]}
    assert found(case, "unknown") == {strange}
    assert leaves[4] in found(case, "agrees")


def test_a_clerk_s_name_goes_with_one_pseudonym(nation, inspector):
    """A gateway that gives one clerk many pseudonyms, to hide from the alarms, is found when it must name the clerk."""
    city = nation.world.institutions["ohashi-city"]
    plain = city.keys.pseudonym
    first = asked(nation)["leaf"]
    try:
        city.keys.pseudonym = lambda clerk: os.urandom(8)
        second = asked(nation)["leaf"]
    finally:
        city.keys.pseudonym = plain
    _, demand = announce(nation, inspector, "ohashi-city")
    case = answer(nation, "ohashi-city", demand)
    assert {first, second} <= found(case, "clerk")


def test_a_provider_s_records_are_compared_with_the_outcomes_it_recorded(nation, inspector):
    leaves = [asked(nation)["leaf"] for _ in range(3)]
    for leaf in leaves:
        settled(nation, leaf)
    _, demand = announce(nation, inspector, "tax-union")
    union = nation.world.institutions["tax-union"]
    row = store.provisions

    def tamper(connection):
        connection.execute(row.update().where(row.c.leaf == leaves[0]).values(state="expired"))
        connection.execute(row.delete().where(row.c.leaf == leaves[1]))

    nation.do(union.database.write(tamper))
    case = answer(nation, "tax-union", demand)
    assert found(case, "outcome") == {leaves[0]}
    assert found(case, "missing") == {leaves[1]}
    assert leaves[2] in found(case, "agrees")


def test_nobody_learns_who_the_residents_are(nation, inspector, bundle):
    """What a body hands over names clerks, not residents: no local id, no number, no answer."""
    gateway = nation.world.institutions["ohashi-city"]
    raw = b"".join(zipfile.ZipFile(bundle).read(n) for n in zipfile.ZipFile(bundle).namelist())
    for persona in range(10):
        assert nation.number(persona).encode() not in raw
    ids = gateway.database.read_now(lambda c: c.execute(store.inquiries.select()).all())
    assert ids
    records = zipfile.ZipFile(bundle).read("records.jsonl")
    assert not any(f'"{r.local_id}"'.encode() in records for r in ids)


def test_the_command_says_so_too(nation, bundle, tmp_path):
    keys = str(nation.folder / "verifiers.txt")

    def run(file):
        told = subprocess.run([RENKEI, "evidence", file, "--keys", keys, "--json"], capture_output=True, text=True)
        return told.returncode, json.loads(told.stdout)

    status, told = run(bundle)
    assert (status, told["genuine"], told["body"]) == (0, True, "ohashi-city")
    assert told["findings"]["agrees"] > 0
    broken = tmp_path / "broken.zip"
    broken.write_bytes(bundle.read_bytes()[:-40])
    status, told = run(broken)
    assert (status, told["genuine"]) == (1, False)


@pytest.mark.parametrize(
    "change",
    ["a record", "a finding", "a leaf", "the words", "the measure", "no records"],
)
def test_evidence_that_was_changed_is_not_genuine(bundle, notary, tmp_path, change):
    """Whoever changes what a body said, what was found, or what the record says, changes what can be checked."""
    files = {n: zipfile.ZipFile(bundle).read(n) for n in zipfile.ZipFile(bundle).namelist()}
    match change:
        case "a record":
            files["records.jsonl"] = files["records.jsonl"].replace(b'"reason":"', b'"reason":"not ', 1)
        case "a finding":
            files["findings.csv"] = files["findings.csv"].replace(b"agrees", b"altered", 1)
        case "a leaf":
            name = next(n for n in files if n.startswith("record/"))
            lines = files[name].splitlines(keepends=True)
            at = next(i for i, line in enumerate(lines) if line.startswith(b"extra "))
            flipped = b"A" if lines[at][-9:-8] != b"A" else b"B"
            lines[at] = lines[at][:-9] + flipped + lines[at][-8:]
            files[name] = b"".join(lines)
        case "the words":
            files["inspection.json"] = files["inspection.json"].replace(b"Your records", b"Their records")
        case "the measure":
            files["inspection.json"] = files["inspection.json"].replace(b'"leaf": ', b'"leaf": 1')
        case "no records":
            files["records.jsonl"] = b""
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(changed, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    with pytest.raises(RenkeiError):
        inspection.check(changed, notary)


def test_only_the_inspected_body_hands_records_over_and_once(nation, inspector):
    """Not another body for it; and what comes after its answer changes nothing."""
    asked(nation)
    case, demand = announce(nation, inspector, "ohashi-city")
    document = bytes(demand.document)
    forged = Records(case, document, [AskedRecord(bytes(32), bytes(16), "x", "x", "x")])
    stranger, city = nation.world.institutions["kiriyama-town"], nation.world.institutions["ohashi-city"]
    before = nation.counter("commission", "messages_unexpected")
    nation.do(stranger.post.send("commission", [forged]))
    until(lambda: nation.counter("commission", "messages_unexpected") > before)
    made = answer(nation, "ohashi-city", demand)
    assert bytes(32) not in made.asked
    repeated = nation.counter("commission", "messages_repeated")
    nation.do(city.post.send("commission", [forged]))
    until(lambda: nation.counter("commission", "messages_repeated") > repeated)
    here = nation.world.institutions["commission"]
    assert nation.do(here.inspections.of(document)).asked == made.asked


def test_nothing_is_handed_over_while_a_receipt_is_on_its_way(nation, inspector):
    """What was handed over without it would have the body accused of hiding an inquiry that it has."""
    told = asked(nation)
    city = nation.world.institutions["ohashi-city"]
    mine = store.inquiries.c.id == bytes.fromhex(told["id"])
    before = city.database.read_now(lambda c: c.execute(store.inquiries.select().where(mine)).one())
    demand = announce(nation, inspector, "ohashi-city")[1]
    unheard = store.inquiries.update().where(mine).values(leaf=None)
    nation.do(city.database.write(lambda c: c.execute(unheard)))
    with pytest.raises(RenkeiError) as refusal:
        answer(nation, "ohashi-city", demand)
    assert refusal.value.code == "unsettled"
    heard = store.inquiries.update().where(mine).values(leaf=before.leaf)
    nation.do(city.database.write(lambda c: c.execute(heard)))
    made = answer(nation, "ohashi-city", demand)
    assert bytes.fromhex(told["id"]) in made.asked
    assert before.leaf not in found(made, "missing")


def test_the_evidence_is_for_officers_who_prove_themselves_anew(nation, inspector, bundle):
    path = next(iter(nation.world.institutions["commission"].keeper.state.oversight.measures[-1:]))[2]
    page = f"/cases/{path.case}/inspections/{path.document.hex()}"
    assert Console(nation).get(page)[0] in (401, 403, 404) or "signin" in Console(nation).at
    wrong = Console(nation, "kujo")
    wrong.passphrase = "guess"
    assert wrong.form(page)[0] == 403
    assert inspector.get(f"/cases/c-1-1/inspections/{path.document.hex()}")[0] == 404
    assert inspector.get(f"/cases/{path.case}/inspections/00")[0] == 404


def test_days_without_anything_or_no_days_are_refused_with_what_was_typed(nation, inspector):
    assert inspector.form("/cases/new", title="Days", body="kiriyama-town")[0] == 200
    case, day = inspector.at.rpartition("/")[2], today(nation)
    for first, last in (("2001-01-01", "2001-01-02"), (day, "2001-01-01"), ("yesterday", ""), (day, "9999-12-31")):
        status, page = inspector.form(
            f"/cases/{case}", kind="inspection", text="Your records.", days="14", first=first, last=last
        )
        assert status == 400
        assert "Your records." in page


def test_the_words_go_out_once_the_record_has_the_measure(nation, inspector):
    """A body is asked nothing that the record does not bear out, so that nothing waits before its other letters."""
    assert inspector.form("/cases/new", title="Later", body="ohashi-city")[0] == 200
    case = inspector.at.rpartition("/")[2]
    city, here = nation.world.institutions["ohashi-city"], nation.world.institutions["commission"]
    until(lambda: here.post.backlog("ohashi-city") == 0)
    nation.stop_body("hub")
    try:
        assert inspector.form(f"/cases/{case}", kind="advice", text="Ask less.")[0] == 200
        assert here.post.backlog("ohashi-city") == 0
    finally:
        nation.start_body("hub")
    until(lambda: [d for d in nation.do(city.supervision.listed()) if d.case_number == case])


def test_a_clerk_answers_in_the_browser_and_keeps_what_was_typed(nation, inspector):
    """The body's page says what will be handed over; a clerk without the duty is shown no form."""
    asked(nation)
    case, demand = announce(nation, inspector, "ohashi-city")
    clerk = Browser(nation.url("ohashi-city"))
    status, _ = clerk.form("/signin", token=nation.plan.place("ohashi-city").token)
    assert status == 200
    page = clerk.get("/desk/commission")[1]
    assert "hand the records over" in page
    status, page = clerk.form("/desk/commission", f"/desk/commission/{demand.document.hex()}", text="x" * 8001)
    assert (status, "x" * 8001 in page) == (400, True)
    status, page = clerk.form("/desk/commission", f"/desk/commission/{demand.document.hex()}", text="Here.")
    assert status == 200
    here = nation.world.institutions["commission"]
    until(lambda: nation.do(here.inspections.of(bytes(demand.document))).answer == "Here.")
    assert case in page
