"""A witness over HTTP, in a process of its own: every answer of C2SP tlog-witness, and that nothing makes it sign two histories."""

import base64
import random
import re
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest

from renkei.ledger.notes import COSIGNATURE, Checkpoint, Signer, verify_note
from tests.service.witness.cast import House, Log, running


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One witness of many logs, of which each test takes fresh ones."""
    logs = [Log() for _ in range(60)]
    house = House(tmp_path_factory.mktemp("witness") / "w", logs)
    house.fresh = iter(logs)
    with running(house):
        yield house


@pytest.fixture
def log(house):
    return next(house.fresh)


@pytest.fixture
def story(log):
    return log.tell()


def test_a_cosignature_is_the_witness_s_own_and_says_when(house, story):
    """200 with signature lines that, behind the note, verify under the printed key (cosignature/v1)."""
    status, headers, line = house.add(story.body(0, 5))
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/plain")
    text = verify_note(story.note(5) + line, [story.signer.verifier, house.verifier])
    assert Checkpoint.from_text(text).size == 5
    raw = base64.b64decode(line.split(" ")[2])
    assert abs(int.from_bytes(raw[4:12], "big") - time.time()) < 30
    status, _, line = house.add(story.body(5, 9))
    assert status == 200
    verify_note(story.note(9) + line, [house.verifier])
    newest = house.get("/checkpoints")[2]
    assert story.note(9) + line in newest
    assert story.note(5) not in newest
    assert [c.count(story.origin + "\n") for c in [house.shown(story.origin)]] == [2]


def test_asking_again_gets_the_same_cosignature(house, story):
    """Whoever lost the answer asks with ``old`` equal to the size, and nothing new is signed."""
    _, _, line = house.add(story.body(0, 7))
    assert house.add(story.body(7, 7))[::2] == (200, line)
    assert house.add(story.body(0, 7))[::2] == (409, "7\n")
    assert house.add(story.body(7, 7, proof=story.proof(3, 7)))[0] == 422


def test_a_log_that_is_not_watched(house):
    other = Log()
    assert house.add(other.tell().body(0, 5))[0] == 404
    assert house.get(f"/checkpoints?log={quote(other.origin, safe='')}")[0] == 404


def test_no_good_signature(house, log, story):
    """403: none, another key under the log's name, another log's, a cosignature instead of a signature, a wrong one."""
    text = story.text(5)
    impostor, other = Log(log.origin), Log()
    for lines in (
        impostor.signer.sign(text),
        other.signer.sign(text),
        Signer(log.origin, COSIGNATURE, bytes(log.signer._key)).sign(text, time=1),
        log.signer.sign(story.text(6)),
        log.signer.sign(text + "x\n"),
    ):
        assert house.add(story.body(0, 5, note=f"{text}\n{lines}"))[0] == 403
    assert house.add(story.body(0, 5, note=f"{text}\n{other.signer.sign(text)}{log.signer.sign(text)}"))[0] == 200


def test_a_watched_log_s_key_signs_for_no_other_origin(house):
    """Two logs are watched; the first one's key does not speak for the second."""
    one, two = next(house.fresh), next(house.fresh)
    text = two.tell().text(5)
    assert house.add(two.tell().body(0, 5, note=f"{text}\n{one.signer.sign(text)}"))[0] == 403


def test_what_is_not_a_submission(house, story):
    """400, and nothing is signed."""
    good = story.body(0, 5).decode()
    note = story.note(5)
    bad = [
        "", "old 0", "old 0\n", "old 0\n\n", "\n" + good, good.replace("old 0", "old -0"), good.replace("old 0", "old 00"),
        good.replace("old 0", "old  0"), good.replace("old 0", "old"), good.replace("old 0", "Old 0"), good.replace("old 0", "old 0 "),
        good.replace("old 0", "old 1e3"), good.replace("old 0", "old ٠"), good.replace("\n\n", "\n"), good.replace("\n", "\r\n"),
        good[:-1], good + "x", good + "\n", f"old 0\nAAAA\n\n{note}", f"old 0\n{'A' * 43}\n\n{note}", f"old 0\n!\n\n{note}",
        story.body(6, 5).decode(), story.body(10**17, 5).decode(), f"old {'9' * 40}\n\n{note}",
        good.replace(f"{story.origin}\n5", f"{story.origin}\n05"), "old 0\n\n" + story.text(5), "old 0\n\n\n" + note,
    ]  # fmt: skip
    for body in bad:
        status, headers, _ = house.add(body.encode())
        assert (status, headers["content-type"]) == (400, "application/problem+json"), body
    assert house.add(b"\xff" + good.encode())[0] == 400
    assert house.add(good.encode("utf-16"))[0] == 400
    assert house.shown(story.origin) == ""


def test_at_most_63_hashes(house, story):
    lines = ["A" * 43 + "="]
    assert house.add(story.body(0, 5, proof=lines * 63))[0] == 422
    assert house.add(story.body(0, 5, proof=lines * 64))[0] == 400


def test_bodies_are_bounded(house, story):
    """413 above 128 KiB, announced or not; sixteen signatures of 5 kB fit; a text over 1 KiB does not."""
    note = story.note(5)
    line = f"— other.example/{{}} {base64.b64encode(bytes(4900)).decode()}\n"
    many = note + "".join(line.format(i) for i in range(15))
    padding = "".join(line.format(f"p{i}") for i in range(30))
    assert house.add(story.body(0, 5, note=note + padding))[0] == 413
    chunks = iter([story.body(0, 5, note=note + padding)])
    assert house.ask("POST", "/add-checkpoint", chunks, **{"Transfer-Encoding": "chunked"})[0] == 413
    assert house.add(story.body(0, 5, note=story.note(5, f"{'x' * 1024}\n")))[0] == 400
    assert house.add(story.body(0, 5, note=many))[0] == 200
    assert "other.example" not in house.shown(story.origin)


def test_another_size_than_the_witness_holds(house, story):
    """409 with that size alone and the exact content type."""
    assert house.add(story.body(3, 5))[::2] == (409, "0\n")
    house.add(story.body(0, 5))
    for old, new in ((0, 8), (3, 8), (4, 5), (6, 8), (3, 4)):
        status, headers, body = house.add(story.body(old, new))
        assert (status, headers["content-type"], body) == (409, "text/x.tlog.size", "5\n")


def test_a_proof_that_proves_nothing(house, log, story):
    """422: none, of other sizes, cut, extended, of another history."""
    house.add(story.body(0, 5))
    right = story.proof(5, 9)
    for proof in ([], right[:-1], right[1:], right[::-1], right + right[:1], story.proof(4, 9), story.proof(5, 8)):
        assert house.add(story.body(5, 9, proof=proof))[0] == 422
    other = log.tell(4, "another")
    assert house.add(other.body(5, 9))[0] == 422
    assert house.add(story.body(5, 9))[0] == 200


def test_the_empty_log(house, log):
    story = log.tell()
    assert house.add(story.body(0, 0))[0] == 200
    assert house.add(story.body(0, 0))[0] == 200
    text = Checkpoint(log.origin, 0, bytes(32)).to_text()
    assert house.add(story.body(0, 0, note=f"{text}\n{log.signer.sign(text)}"))[0] == 409
    assert log.origin in house.shown(log.origin)


def test_every_character_matters(house, story):
    """Whatever is changed in, cut from or put into a request, it is refused and the witness stays where it was."""
    house.add(story.body(0, 5))
    good = story.body(5, 9).decode()
    rng = random.Random(1)
    for at in range(len(good)):
        changed = rng.choice([c for c in "A0z/+=\n —" if c != good[at]])
        for bad in (good[:at] + changed + good[at + 1 :], good[:at] + good[at + 1 :], good[:at]):
            if bad != good:
                status, _, said = house.add(bad.encode())
                assert status in (400, 403, 404, 409, 422), (bad, said)
    assert re.findall(r"\n(\d+)\n", house.shown(story.origin)) == ["5"]
    assert house.add(good.encode())[0] == 200


def test_extension_lines_are_signed_but_change_no_root(house, story):
    """C2SP tlog-cosignature: they are part of the message; one size keeps one root."""
    assert house.add(story.body(0, 5))[0] == 200
    note = story.note(5, "an extension\n")
    status, _, line = house.add(story.body(5, 5, note=note))
    assert status == 200
    verify_note(note + line, [house.verifier])
    assert house.shown(story.origin) == note + line


def test_two_roots_for_one_size_are_found_at_once(house, log):
    """409, an alarm with evidence, and from then on nothing of that log is signed, not even its true history."""
    true, false = log.tell(), log.tell(4, "another")
    house.add(true.body(0, 5))
    assert house.add(false.body(5, 5))[::2] == (409, "5\n")
    alarm = next(a for a in house.alarms() if a["log"] == log.origin)
    assert (alarm["kind"], alarm["size"], alarm["peer"]) == ("split", 5, "")
    assert true.note(5) in alarm["evidence"]
    assert false.note(5) in alarm["evidence"]
    assert house.add(true.body(5, 9))[0] == 403
    assert house.add(true.body(5, 5))[0] == 403
    assert true.note(5) in house.shown(log.origin)
    status, _, said = house.get("/health")
    assert (status, log.origin in said) == (503, True)


def test_an_old_size_of_another_history_is_found_too(house, log):
    """A log that shows another past of itself, smaller than what is held."""
    true, false = log.tell(), log.tell(3, "another")
    for old, new in ((0, 5), (5, 9)):
        house.add(true.body(old, new))
    assert house.add(false.body(0, 5))[::2] == (409, "9\n")
    assert [a["size"] for a in house.alarms() if a["log"] == log.origin] == [5]


def test_what_another_key_signed_raises_no_alarm(house, log):
    """Without the log's own signature nobody can silence its witness."""
    true, impostor = log.tell(), Log(log.origin).tell(3, "another")
    house.add(true.body(0, 5))
    assert house.add(impostor.body(5, 5))[0] == 403
    assert house.add(true.body(5, 9))[0] == 200


@pytest.mark.parametrize("sizes", [(9, 9), (9, 12), (12, 9)])
def test_racing_requests_advance_from_one_state_once(house, sizes):
    """Many threads, one old size, two histories: per size one root is ever cosigned, and of two histories one."""
    for _ in range(3):
        log = next(house.fresh)
        stories = log.tell(), log.tell(5, "another")
        house.add(stories[0].body(0, 5))
        asked = [(s, n) for s, n in zip(stories, sizes, strict=True) for _ in range(12)]
        random.shuffle(asked)
        with ThreadPoolExecutor(24) as threads:
            answers = list(threads.map(lambda x: house.add(x[0].body(5, x[1])), asked))
        signed = {(story, size) for (story, size), (status, _, _) in zip(asked, answers, strict=True) if status == 200}
        assert len(signed) == 1
        assert {status for status, _, _ in answers} <= {200, 403, 409}
        ((story, size),) = signed
        assert re.findall(r"\n(\d+)\n", house.shown(log.origin)) == [str(size), "5"]
        assert story.note(size) in house.shown(log.origin)
        roots = [line for status, _, line in answers if status == 200]
        assert len(set(roots)) == 1


DIE = "import os, signal; die = lambda: os.kill(os.getpid(), signal.SIGKILL);"
AFTER = DIE + (
    "from renkei.witness.cosigning import Cosigner; real = Cosigner.add; "
    "Cosigner.add = lambda self, body: (real(self, body), die())"
)
BEFORE = DIE + (
    "from renkei.witness.store import Transaction; real = Transaction.keep; "
    "Transaction.keep = lambda self, new: (real(self, new), die())"
)


@pytest.mark.parametrize(("dying", "held"), [(AFTER, 9), (BEFORE, 5)], ids=["after the commit", "before the commit"])
def test_killed_between_keeping_and_answering(tmp_path, dying, held):
    """kill −9 leaves all or nothing: afterwards the other history is refused, and the first can be asked for again."""
    log = Log()
    true, false = log.tell(), log.tell(5, "another")
    house = House(tmp_path / "w", [log])
    with running(house):
        assert house.add(true.body(0, 5))[0] == 200
    house.start(dying=dying)
    with pytest.raises((OSError, EOFError)):
        house.add(true.body(5, 9))
    assert house.process.wait(20) == -signal.SIGKILL
    with running(house):
        status, headers, body = house.add(true.body(5, 9))
        if held == 9:
            assert (status, headers["content-type"], body) == (409, "text/x.tlog.size", "9\n")
            status, _, body = house.add(true.body(9, 9))
        assert status == 200
        verify_note(true.note(9) + body, [house.verifier])
        assert house.add(false.body(5, 9))[0] == 409
        assert re.findall(r"\n(\d+)\n", house.shown(log.origin)) == ["9", "5"]
    assert house.process.returncode == 0


def test_a_database_that_does_not_take_it_signs_nothing(tmp_path):
    """While something holds the database the answer is 503; the retry then finds it where it was."""
    log = Log()
    house = House(tmp_path / "w", [log])
    with running(house):
        other = sqlite3.connect(house.folder / "witness.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert house.add(log.tell().body(0, 5))[0] == 503
        other.execute("ROLLBACK")
        other.close()
        assert house.add(log.tell().body(0, 5))[0] == 200


def test_a_witness_that_has_forgotten_does_not_start(tmp_path):
    """Its database is gone: signing again from nothing could contradict what it signed."""
    house = House(tmp_path / "w", [Log()])
    (house.folder / "witness.db").unlink()
    ended = house.renkei("run", house.folder)
    assert (ended.returncode, "witness-forgot" in ended.stderr) == (3, True)
    assert not (house.folder / "witness.db").exists()


def test_a_key_that_others_can_read_is_refused(tmp_path):
    house = House(tmp_path / "w", [])
    assert (house.folder / "key.toml").stat().st_mode & 0o777 == 0o600
    (house.folder / "key.toml").chmod(0o640)
    ended = house.renkei("run", house.folder)
    assert (ended.returncode, "key-open" in ended.stderr) == (3, True)


def test_the_page_speaks_both_languages_and_says_when_there_is_nothing(tmp_path):
    log = Log()
    house = House(tmp_path / "w", [])
    with running(house):
        english, japanese = (house.get(f"/?lang={lang}", Accept="text/html")[2] for lang in ("en", "ja"))
        for said in ("No log is watched yet", "No alarms", "compares with no other witness", house.key):
            assert said in english
        for said in ("まだ台帳が登録されていません", "警報はありません", "照らし合わせる相手がいない"):
            assert said in japanese
        assert (house.json("/alarms"), house.get("/checkpoints")[2]) == ([], "")
    assert house.renkei("log", house.folder, log.key).returncode == 0
    with running(house):
        assert "Nothing seen yet" in house.get("/?lang=en")[2]
        house.add(log.tell().body(0, 5))
        page = house.get("/?lang=en")[2]
        for said in (log.origin, "Up to size", ">5<", "Watched since", "Consistent so far"):
            assert said in page
        ended = house.renkei("status", house.folder, "--json")
        assert (ended.returncode, '"size":5' in ended.stdout) == (0, True)
        assert log.origin in house.renkei("status", house.folder).stdout
    ended = house.renkei("status", house.folder, language="ja_JP.UTF-8")
    assert (ended.returncode, "応答しません" in ended.stderr) == (3, True)
