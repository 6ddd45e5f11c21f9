"""Signed notes, cosignatures and proof files: the published vector, round trips, and no bit that does not matter."""

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renkei.errors import Malformed, NotGenuine, RenkeiError
from renkei.ledger.notes import COSIGNATURE, NOTE, Checkpoint, Proof, Signer, Verifier, split_note, verify_note

VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SIGNATURE = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
NOTE_TEXT = f"This is an example message.\n\n— example.com/foo {SIGNATURE}\n"

hub = Signer("log.example", NOTE, os.urandom(32))
commission = Signer("log.example/commission", COSIGNATURE, os.urandom(32))
KEYS = [hub.verifier, commission.verifier]


def checkpoint_note(size=5, root=bytes(range(32))):
    text = Checkpoint("log.example", size, root).to_text()
    return f"{text}\n{hub.sign(text)}{commission.sign(text, time=1_700_000_000)}"


def test_the_published_signed_note():
    """C2SP signed-note's example verifies, and its key survives writing."""
    key = Verifier.from_text(VKEY)
    assert key.to_text() == VKEY
    assert verify_note(NOTE_TEXT, [key]) == "This is an example message.\n"
    with pytest.raises(NotGenuine):
        verify_note(NOTE_TEXT.replace("example m", "Example m"), [key])


def test_both_signatures_are_needed():
    note = checkpoint_note()
    assert Checkpoint.from_text(verify_note(note, KEYS)) == Checkpoint("log.example", 5, bytes(range(32)))
    for signer in (hub, commission):
        lines = note.splitlines(keepends=True)
        without = "".join(x for x in lines if not x.startswith(f"— {signer.verifier.name} "))
        with pytest.raises(NotGenuine):
            verify_note(without, KEYS)


def test_a_cosignature_is_not_a_note_signature():
    """One key's signature of one kind is worth nothing as the other kind."""
    text = Checkpoint("log.example", 5, bytes(32)).to_text()
    seed = os.urandom(32)
    as_note, as_cosigner = Signer("k", NOTE, seed), Signer("k", COSIGNATURE, seed)
    assert as_note.verifier.key_id != as_cosigner.verifier.key_id
    with pytest.raises(NotGenuine):
        verify_note(f"{text}\n{as_note.sign(text)}", [as_cosigner.verifier])


@given(st.data())
def test_every_character_of_a_checkpoint_matters(data):
    note = checkpoint_note()
    at = data.draw(st.integers(0, len(note) - 1))
    other = data.draw(st.sampled_from("Az09+/=\n —x").filter(lambda c: c != note[at]))
    with pytest.raises(RenkeiError):
        verify_note(note[:at] + other + note[at + 1 :], KEYS)


@given(
    st.integers(0, 10**15),
    st.lists(st.binary(min_size=32, max_size=32), max_size=12),
    st.binary(min_size=1, max_size=99),
)
def test_proof_files_survive_writing_and_reading(index, path, extra):
    proof = Proof(index, tuple(path), checkpoint_note(), extra)
    assert Proof.from_text(proof.to_text()) == proof


@given(st.text(max_size=200))
def test_no_text_crashes_the_readers(text):
    for reader in (Proof.from_text, Checkpoint.from_text, Verifier.from_text, lambda t: verify_note(t, KEYS)):
        with pytest.raises(RenkeiError):
            reader(text)


@pytest.mark.parametrize("size", ["05", "-1", "1e3", "٣", "", "9" * 19])
def test_sizes_are_plain_decimals(size):
    with pytest.raises(Malformed):
        Checkpoint.from_text(f"log.example\n{size}\n{'A' * 43}=\n")


@pytest.mark.parametrize("name", ["", "a b", "a\u3000b", " "])
def test_a_key_s_name_has_no_spaces(name):
    """C2SP signed-note: not empty, no Unicode spaces; such a name would not survive on a signature line."""
    with pytest.raises(Malformed):
        Verifier.from_text(Verifier(name, NOTE, bytes(32)).to_text())


@pytest.mark.parametrize("bad", ["\r", "\t", "\x00", "\x1b"])
def test_a_note_holds_no_control_characters(bad):
    text = f"log.example\n5\n{'A' * 43}=\nextension{bad}\n"
    with pytest.raises(Malformed):
        verify_note(f"{text}\n{hub.sign(text)}", [hub.verifier])


def test_an_extension_line_is_not_empty():
    with pytest.raises(Malformed):
        Checkpoint.from_text(f"log.example\n5\n{'A' * 43}=\n\nextension\n")


def test_the_shape_of_the_published_cosigned_checkpoint():
    """C2SP tlog-cosignature's example reads: a log's and a witness's line, the witness's with its time (1679315147)."""
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 "
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    )
    assert Checkpoint.from_text(verify_note(note, [])).size == 20852163
    _, (_, line) = split_note(note)
    raw = base64.b64decode(line.split(" ")[2])
    assert (len(raw), int.from_bytes(raw[4:12], "big")) == (4 + 8 + 64, 1679315147)
