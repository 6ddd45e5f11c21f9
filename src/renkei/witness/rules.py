"""What a witness may sign, and what proves that a log lies. Pure.

A cosignature (C2SP tlog-cosignature) says: of all I have seen of this log, this is the largest tree, and it contains every earlier one.
Two checkpoints of one size with different roots, both signed by the log, are a **split view**: no honest log can make them, and
anybody can check them with the log's public key alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from renkei.errors import Conflict, Malformed, NotGenuine
from renkei.ledger import merkle
from renkei.ledger.notes import Checkpoint, Verifier, from_base64, from_decimal, split_note, verify_note

PROOF_MOST = 63
"""Hashes of a consistency proof at most (C2SP tlog-witness)."""
TEXT_MOST = 1024
"""Bytes of a checkpoint's text at most: a log must not be able to fill the list that peers compare."""
EVIDENCE = "renkei/v1/split-view"


class Log(NamedTuple):
    """A log that is watched: its origin, the key it signs with, and where it answers consistency proofs (or nowhere)."""

    origin: str
    key: Verifier
    proofs: str = ""


class Submission(NamedTuple):
    """A request to cosign: the size the log believes the witness holds, the proof from there, the signed checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: str


class Seen(NamedTuple):
    """A checkpoint and the signed note it was read from. Whether the signatures are good is another question."""

    checkpoint: Checkpoint
    note: str


class Elsewhere(Conflict):
    """The witness holds another size than the log believes, or another root of this size (409 with the size, C2SP tlog-witness)."""

    code = "other-size"
    remedy = "Send a consistency proof from the size that the witness holds."
    remedy_ja = "立会人が持つサイズからの整合性証明を送ってください。"

    def __init__(self, size: int) -> None:
        super().__init__(f"The witness holds size {size}.", ja=f"立会人が持つサイズは {size} です。", size=size)
        self.size = size


def read_submission(body: bytes) -> Submission:
    """Read the body of ``add-checkpoint``: old size, proof lines, an empty line, the checkpoint; else ``Malformed``."""
    try:
        head, blank, note = body.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise Malformed("The request is not UTF-8 text.", ja="リクエストが UTF-8 ではありません。") from None
    first, *lines = head.split("\n")
    if not blank or not first.startswith("old "):
        raise Malformed(
            "A request begins with a line `old <size>` and has an empty line before the checkpoint.",
            ja="リクエストは `old <サイズ>` の行で始まり、チェックポイントの前に空行が要ります。",
            code="bad-submission",
        )
    return Submission(from_decimal(first[4:], "bad-submission"), read_proof(lines), note)


def read_proof(lines: Sequence[str]) -> tuple[bytes, ...]:
    """Read the lines of a consistency proof: at most 63 hashes in base64; else ``Malformed``."""
    hashes = tuple(from_base64(line, "bad-consistency") for line in lines[: PROOF_MOST + 1])
    if len(hashes) > PROOF_MOST or any(len(h) != merkle.HASH_SIZE for h in hashes):
        raise Malformed(
            f"A consistency proof is at most {PROOF_MOST} hashes of 32 bytes.",
            ja=f"整合性証明は 32 バイトのハッシュ {PROOF_MOST} 個までです。",
            code="bad-consistency",
        )
    return hashes


def read_seen(note: str) -> Seen:
    """Read a signed checkpoint without believing it; ``Malformed`` if it is none or its text is too long to be kept."""
    text, _ = split_note(note)
    if len(text.encode()) > TEXT_MOST:
        raise Malformed(
            f"The text of a checkpoint is longer than {TEXT_MOST} bytes.",
            ja=f"チェックポイントの本文が {TEXT_MOST} バイトを超えています。",
            code="bad-checkpoint",
        )
    return Seen(Checkpoint.from_text(text), note)


def genuine(seen: Seen, log: Log) -> Seen:
    """The same checkpoint with the log's signature alone, once that is found good; else ``NotGenuine``."""
    text = verify_note(seen.note, [log.key])
    if seen.checkpoint.origin != log.origin:
        raise NotGenuine("The checkpoint is of another log.", ja="別の台帳のチェックポイントです。", code="other-log")
    mine = f"— {log.key.name} "
    for line in split_note(seen.note)[1]:  # the name may have other keys: which line is it?
        note = f"{text}\n{line}\n"
        if line.startswith(mine) and from_base64(line[len(mine) :], "bad-note")[:4] == log.key.key_id:
            return Seen(seen.checkpoint, note)
    raise NotGenuine("The checkpoint carries no signature of the log.", code="signature-missing")  # pragma: no cover


def judge(held: Checkpoint | None, asked: Submission, checkpoint: Checkpoint) -> None:
    """Raise unless a witness that holds ``held`` may cosign ``checkpoint``: 400, 409 or 422 of C2SP tlog-witness, in this order."""
    size, root = (held.size, held.root) if held else (0, merkle.EMPTY_ROOT)
    if asked.old > checkpoint.size:
        raise Malformed(
            "The old size is larger than the checkpoint's.",
            ja="old のサイズがチェックポイントより大きくなっています。",
            code="bad-submission",
        )
    if asked.old != size or (checkpoint.size == size and checkpoint.root != root):
        raise Elsewhere(size)
    if not (size == 0 < checkpoint.size and not asked.proof):  # any tree contains the empty one; that needs no proof
        try:
            merkle.verify_consistency(size, root, checkpoint.size, checkpoint.root, asked.proof)
        except NotGenuine as error:
            raise NotGenuine(
                error.sentence,
                ja="整合性証明が2つのチェックポイントをつないでいません。",
                code=error.code,
                remedy="Make the proof from the size that the witness holds to the checkpoint's (RFC 6962 §2.1.2).",
                remedy_ja="立会人が持つサイズからチェックポイントのサイズまでの証明を作ってください。",
                status=422,
            ) from None


def fork(log: Log, ours: Mapping[int, Seen], theirs: Iterable[Seen]) -> tuple[Seen, Seen] | None:
    """A split view of ``log`` between two lists of checkpoints, by size and in any order: both genuine; or ``None``.

    Signatures are looked at only where roots differ, so that an honest list costs nothing and a false one no more than its length.
    """
    for one in theirs:
        other = ours.get(one.checkpoint.size)
        if other is not None and other.checkpoint.root != one.checkpoint.root:
            try:
                return genuine(other, log), genuine(one, log)
            except (Malformed, NotGenuine):
                continue
    return None


def write_notes(notes: Iterable[str]) -> str:
    """Signed checkpoints with an empty line between them: neither their texts nor their signatures have one."""
    return "\n".join(notes)


def read_notes(text: str) -> list[Seen]:
    """What ``write_notes`` wrote. What is no checkpoint is left out: it proves nothing."""
    parts = text.rstrip("\n").split("\n\n") if text.strip("\n") else []
    found = []
    for body, signatures in zip(parts[::2], parts[1::2], strict=False):
        with contextlib.suppress(Malformed):
            found.append(read_seen(f"{body}\n\n{signatures}\n"))
    return found


def write_evidence(pair: tuple[Seen, Seen]) -> str:
    """The file that proves a split view: a heading, then both signed notes."""
    return f"{EVIDENCE}\n\n{write_notes(seen.note for seen in pair)}"


def prove_split(evidence: str, key: Verifier) -> tuple[Checkpoint, Checkpoint]:
    """The two checkpoints of a split view, once ``evidence`` is found to prove one by the log with ``key``; else ``NotGenuine``."""
    heading, _, rest = evidence.partition("\n\n")
    notes = read_notes(rest)
    if heading != EVIDENCE or len(notes) != 2:
        raise Malformed(
            "This is not an evidence file of a witness.", ja="立会人の証拠ファイルではありません。", code="bad-evidence"
        )
    log = Log(notes[0].checkpoint.origin, key)
    one, other = (genuine(seen, log).checkpoint for seen in notes)
    if one.size != other.size or one.root == other.root:
        raise NotGenuine(
            "The two checkpoints do not contradict each other.",
            ja="2つのチェックポイントは矛盾していません。",
            code="no-split",
            remedy="Nothing is proven. Different sizes alone, or equal roots, are no fault of the log.",
            remedy_ja="何も証明されません。サイズの違いや同じルートは、台帳の誤りではありません。",
        )
    return one, other
