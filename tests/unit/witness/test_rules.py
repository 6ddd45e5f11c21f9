"""What a witness may sign, and what is proof: for every pair of sizes, and for every change of an evidence file."""

import base64
import random
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import VerifyKey

from renkei.errors import Malformed, NotGenuine, RenkeiError
from renkei.ledger.notes import COSIGNATURE, Checkpoint, Signer
from renkei.witness import rules
from renkei.witness.rules import Elsewhere, Submission
from tests.service.witness.cast import Log

log = Log("log.example")
true, false = log.tell(), log.tell(5, "another")
watched = rules.Log(log.origin, log.signer.verifier)
SIZES = st.integers(0, 60)


def checkpoint(story, size):
    return Checkpoint(log.origin, size, story.tree.root(size))


def seen(story, size):
    return rules.read_seen(story.note(size))


@given(SIZES, SIZES)
def test_every_extension_of_what_is_held_may_be_signed(held, more):
    asked = rules.read_submission(true.body(held, held + more))
    rules.judge(checkpoint(true, held) if held else None, asked, checkpoint(true, held + more))


@given(SIZES, SIZES, SIZES)
def test_no_other_size_and_no_other_history_may_be(held, old, new):
    """Whatever is asked for: not from another size, not backwards, not across two histories."""
    asked = rules.read_submission(true.body(old, new))
    if old != held or new < old:
        with pytest.raises((Elsewhere, Malformed)):
            rules.judge(checkpoint(true, held), asked, checkpoint(true, new))
    if held > 5 and new >= held:
        for proof in (true.proof(held, new), false.proof(held, new)):
            with pytest.raises((Elsewhere, NotGenuine)):
                rules.judge(
                    checkpoint(false, held), Submission(held, tuple(rules.read_proof(proof)), ""), checkpoint(true, new)
                )


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(body):
    for bad in (body, b"old 0\n" + body, b"old 0\n\n" + body):
        with pytest.raises(RenkeiError):
            rules.read_seen(rules.read_submission(bad).note)


def test_the_published_example_of_a_request():
    """C2SP tlog-witness's example reads as it says."""
    body = (
        "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
        "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\n"
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n"
    )
    asked = rules.read_submission(body.encode())
    found = rules.read_seen(asked.note).checkpoint
    assert (asked.old, len(asked.proof), found.size) == (20852014, 4, 20852163)


def test_a_cosignature_s_message_is_the_published_one():
    """C2SP tlog-cosignature: the header line, the time line, the whole text; key id over the byte 0x04."""
    witness = Signer("witness.example.com/w1", COSIGNATURE, bytes(range(32)))
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    dash, name, data = witness.sign(text, time=1679315147).rstrip("\n").split(" ")
    raw = base64.b64decode(data)
    key = witness.verifier.key
    assert (dash, name) == ("—", "witness.example.com/w1")
    assert raw[:4] == sha256(b"witness.example.com/w1\n\x04" + key).digest()[:4]
    assert raw[4:12] == (1679315147).to_bytes(8, "big")
    VerifyKey(key).verify(f"cosignature/v1\ntime 1679315147\n{text}".encode(), raw[12:])


def test_genuine_keeps_the_log_s_line_alone():
    """Lines of others, even under the log's name, are not stored."""
    note = true.note(7)
    same_name = Log(log.origin).signer.sign(true.text(7))
    other = Log().signer.sign(true.text(7))
    text, mine = note.split("\n\n")
    crowded = rules.read_seen(f"{text}\n\n{same_name}{mine}{other}")
    assert rules.genuine(crowded, watched).note == note


def test_a_fork_needs_both_signatures_and_one_size():
    ours = {n: seen(true, n) for n in (4, 7, 9)}
    assert rules.fork(watched, ours, [seen(true, n) for n in (4, 7, 9)]) is None
    assert rules.fork(watched, ours, [seen(false, n) for n in (4, 8, 10)]) is None
    stranger = Log(log.origin).tell(5, "another")
    assert rules.fork(watched, ours, [seen(stranger, 9)]) is None
    assert rules.fork(watched, {9: seen(stranger, 9)}, [seen(true, 9)]) is None
    assert rules.fork(watched, ours, [seen(stranger, 7), seen(false, 9)]) == (seen(true, 9), seen(false, 9))


def test_notes_survive_writing_and_nonsense_between_them_is_left_out():
    notes = [true.note(n) for n in (3, 5, 8)]
    assert [s.note for s in rules.read_notes(rules.write_notes(notes))] == notes
    assert rules.read_notes("") == []
    assert [s.note for s in rules.read_notes(rules.write_notes([notes[0], "x\n\ny\n", notes[1]]))] == notes[:2]


EVIDENCE = rules.write_evidence((seen(true, 9), seen(false, 9)))


def test_evidence_proves_a_split_view_under_the_log_s_key_alone():
    one, other = rules.prove_split(EVIDENCE, log.signer.verifier)
    assert (one.size, other.size, one.root == other.root) == (9, 9, False)
    with pytest.raises(NotGenuine):
        rules.prove_split(EVIDENCE, Log(log.origin).signer.verifier)


@pytest.mark.parametrize(
    "pair", [(seen(true, 9), seen(true, 9)), (seen(true, 8), seen(false, 9)), (seen(true, 4), seen(false, 4))]
)
def test_what_an_honest_log_could_have_signed_proves_nothing(pair):
    with pytest.raises(NotGenuine):
        rules.prove_split(rules.write_evidence(pair), log.signer.verifier)


def test_every_character_of_evidence_matters():
    """Changed, cut or doubled: it is no proof, or it still proves the same."""
    same = rules.prove_split(EVIDENCE, log.signer.verifier)
    rng = random.Random(2)
    for at in range(len(EVIDENCE)):
        put = rng.choice([c for c in "A0/+=\n —" if c != EVIDENCE[at]])
        for bad in (EVIDENCE[:at] + put + EVIDENCE[at + 1 :], EVIDENCE[:at] + EVIDENCE[at + 1 :], EVIDENCE[:at]):
            try:
                proven = rules.prove_split(bad, log.signer.verifier)
            except RenkeiError:
                continue
            assert proven == same
            assert bad.rstrip("\n") == EVIDENCE.rstrip("\n")


def test_evidence_of_two_logs_with_one_key_is_none():
    """A key that signs for two origins is careless, which is not what this file claims."""
    text = Checkpoint("elsewhere.example", 9, bytes(32)).to_text()
    pair = (seen(true, 9), rules.read_seen(f"{text}\n{log.signer.sign(text)}"))
    with pytest.raises(NotGenuine):
        rules.prove_split(rules.write_evidence(pair), log.signer.verifier)
