"""Witnesses that compare: a log that tells two histories is found out within a round; a peer that lies achieves nothing."""

import json
import time

from renkei.ledger.notes import COSIGNATURE, Signer
from tests.service.witness.cast import House, Log, running, saying, until


def kinds(house):
    return [a["kind"] for a in house.alarms()]


def pair(folder, log, **options):
    """Two witnesses of one log that know each other."""
    one, two = (House(folder / name, [log], **options) for name in ("w1", "w2"))
    one.meet(two.card)
    two.meet(one.card)
    return one, two


def test_two_witnesses_find_a_split_view_and_prove_it(tmp_path):
    """Each was shown a consistent history; together they are the proof, which anyone checks with the log's key alone."""
    log = Log()
    true, false = log.tell(), log.tell(4, "another")
    one, two = pair(tmp_path, log)
    with running(one, two):
        for house, story in ((one, true), (two, false)):
            assert house.add(story.body(0, 3))[0] == 200
            assert house.add(story.body(3, 8))[0] == 200
        until(lambda: kinds(one) == kinds(two) == ["split"])
        for house, story in ((one, true), (two, false)):
            assert house.add(story.body(8, 9))[0] == 403
            status, _, said = house.get("/health")
            assert (status, json.loads(said)["status"], json.loads(said)["split"]) == (503, "attention", log.origin)
            page = house.get("/?lang=en")[2]
            assert "Split view proven" in page
            assert "not signed any more" in page
            ended = house.renkei("status", house.folder, "--json")
            assert (ended.returncode, json.loads(ended.stdout)["alarms"][0]["size"]) == (1, 8)
            (file,) = (house.folder / "evidence").iterdir()
            text = file.read_text()
            assert text == house.alarms()[0]["evidence"]
            assert true.note(8) in text
            assert false.note(8) in text
            ended = house.renkei("verify-evidence", file, log.key, "--json")
            assert (ended.returncode, json.loads(ended.stdout)["size"]) == (0, 8)
            assert house.renkei("verify-evidence", file, log.key, language="ja_JP.UTF-8").stdout.startswith(
                "分裂の証明"
            )
            assert house.renkei("verify-evidence", file, Log(log.origin).key).returncode == 1
    file.unlink()
    with running(two):  # it remembers, and the file is written again
        assert kinds(two) == ["split"]
        assert file.read_text() == text
        assert two.add(false.body(8, 9))[0] == 403


def test_one_round_is_enough(tmp_path):
    """Whoever starts after the lie was told finds it in its first round; a second would come an hour later."""
    log = Log()
    one, two = pair(tmp_path, log, gossip=3600)
    with running(one):
        one.add(log.tell().body(0, 8))
        with running(two):
            two.add(log.tell(4, "another").body(0, 8))
            two.stop()
        with running(two):
            until(lambda: kinds(two) == ["split"])
        assert kinds(one) == []


def test_a_witness_that_saw_neither_finds_it_between_its_peers(tmp_path):
    log = Log()
    one, two, three = (House(tmp_path / name, [log]) for name in ("w1", "w2", "w3"))
    three.meet(one.card, two.card)
    with running(one, two, three):
        one.add(log.tell().body(0, 8))
        two.add(log.tell(4, "another").body(0, 8))
        until(lambda: kinds(three) == ["split"])
        assert three.add(log.tell().body(0, 8))[0] == 403


def test_honest_witnesses_agree_at_any_size(tmp_path):
    """Equal and different sizes of one history, with and without proofs: no alarm, however long."""
    log = Log()
    story = log.tell()
    asked = []

    def prove(path, query):
        old, new = int(query["old"][0]), int(query["new"][0])
        asked.append((old, new))
        return 200, "".join(f"{line}\n" for line in story.proof(old, new))

    with saying(prove) as proofs:
        one, two = pair(tmp_path, log, proofs=f"{proofs}/consistency")
        with running(one, two):
            one.add(story.body(0, 5))
            two.add(story.body(0, 8))
            until(lambda: asked.count((5, 8)) > 8)
            one.add(story.body(5, 9))
            until(lambda: (8, 9) in asked)
            assert kinds(one) == kinds(two) == []
            peers = one.json("/status")["peers"]
            assert (peers[0]["name"], peers[0]["trouble"]) == (two.name, "")
            assert one.get("/health")[0] == 200


def test_what_is_not_proven_is_an_alarm_but_no_proof(tmp_path):
    """Different sizes of two histories: the log cannot prove they are one. It is still cosigned, and forgiven if it proves it."""
    log = Log()
    true, false = log.tell(), log.tell(4, "another")
    answers = true

    def prove(path, query):
        return 200, "".join(f"{x}\n" for x in answers.proof(int(query["old"][0]), int(query["new"][0])))

    with saying(prove) as proofs:
        one, two = pair(tmp_path, log, proofs=proofs)
        with running(one, two):
            one.add(true.body(0, 6))
            two.add(false.body(0, 8))
            until(lambda: kinds(one) == kinds(two) == ["unproven"])
            assert (one.alarms()[0]["size"], one.alarms()[0]["evidence"]) == (8, false.note(8))
            status, _, said = one.get("/health")
            assert (status, json.loads(said)["unproven"]) == (503, log.origin)
            assert one.renkei("status", one.folder).returncode == 0
            assert "Not proven to fit" in one.get("/?lang=en")[2]
            assert one.add(true.body(6, 7))[0] == 200
            assert not (one.folder / "evidence").exists()
            one.stop()
            one.start()
            assert kinds(one) == ["unproven"]
            assert one.add(true.body(7, 8))[0] == 200  # now both have size 8, and there is a proof
            until(lambda: "split" in kinds(one))


def test_a_log_that_was_away_is_forgiven(tmp_path):
    log = Log()
    story = log.tell()
    away = True

    def prove(path, query):
        return (500, "") if away else (200, "\n".join(story.proof(int(query["old"][0]), int(query["new"][0]))))

    with saying(prove) as proofs:
        one, two = pair(tmp_path, log, proofs=proofs)
        with running(one, two):
            one.add(story.body(0, 6))
            two.add(story.body(0, 8))
            until(lambda: kinds(one) == kinds(two) == ["unproven"])
            away = False
            until(lambda: kinds(one) == kinds(two) == [])
            assert one.get("/health")[0] == 200


def drip():
    time.sleep(60)


def lies(log, true):
    """What a lying peer may show: by name, its answer."""
    other, stranger = Log(log.origin).tell(4, "another"), Log().tell(4, "another")
    unsigned = log.tell(4, "another").text(8)
    stolen = true.note(8).split("\n\n")[1]
    cosigned = Signer(log.origin, COSIGNATURE, bytes(log.signer._key)).sign(unsigned, time=1)
    return {
        "unsigned": (200, f"{unsigned}\n"),
        "unsigned, with a line": (200, f"{unsigned}\n— x AAAAAAAA\n"),
        "another key under the name": (200, other.note(8)),
        "a stranger's": (200, stranger.note(8)),
        "the true signature under another text": (200, f"{unsigned}\n{stolen}"),
        "a signature of another kind": (200, f"{unsigned}\n{cosigned}"),
        "the truth, but not its own": (200, true.note(8)),
        "no text": (200, "\x00\x01\n\n\n\n\n"),
        "an error": (500, "no"),
        "too much": (200, "x" * 17_000_000),
        "half": (200, true.note(8)[:-20]),
        "many": (200, "\n".join(other.note(n) for n in range(1, 200)) * 5),
    }


def test_a_lying_peer_raises_no_alarm_and_silences_nobody(tmp_path):
    """Whatever it shows: no false alarm, cosigning goes on, and a real split view at an honest peer is found all the same."""
    log = Log()
    true = log.tell()
    answer, asked = (200, ""), 0

    def lie(path, query):
        nonlocal asked
        asked += 1
        return answer() if callable(answer) else answer

    with saying(lie) as address:
        one, honest = pair(tmp_path, log)
        one.meet((Signer("liar.example", COSIGNATURE, bytes(32)).verifier.to_text(), address))
        with running(one, honest):

            def trouble(name):
                return next(p["trouble"] for p in one.json("/status")["peers"] if p["name"] == name)

            one.add(true.body(0, 8))
            for size, (name, answer) in enumerate(lies(log, true).items(), 8):  # noqa: B007
                before = asked
                until(lambda: asked > before + 2)  # noqa: B023
                assert kinds(one) == [], name
                assert trouble("liar.example"), name
                assert trouble(honest.name) == "", name
                assert one.add(true.body(size, size + 1))[0] == 200
            until(lambda: one.get("/health")[0] == 503)
            assert json.loads(one.get("/health")[2])["silent"] == "liar.example"
            answer = 200, ""
            until(lambda: one.get("/health")[0] == 200)
            answer, before = drip, asked
            until(lambda: asked > before)
            honest.add(log.tell(4, "another").body(0, 8))
            until(lambda: kinds(one) == ["split"])
            assert one.alarms()[0]["peer"] == honest.name
        assert one.process.returncode == 0
