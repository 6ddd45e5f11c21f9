"""An inspection (Act art. 35): what a body has of its own, against what the record says of it; and both as one file that can be checked.

The record binds a body to what it wrote down about each inquiry (``context_hash``) and to a pseudonym for its clerk, without showing
either. Once the body hands its records over, whatever was altered, left out or added since no longer fits.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import msgspec
import sqlalchemy as sa

from renkei.commission import store
from renkei.errors import Conflict, Malformed, NotFound, NotGenuine, Unavailable
from renkei.institution.database import Database
from renkei.institution.keeper import Keeper
from renkei.institution.keys import Keys
from renkei.institution.post import Post
from renkei.ledger import store as log
from renkei.ledger.notes import Verifier
from renkei.messages.wire import (
    AskedRecord,
    GetHead,
    GivenRecord,
    HeadIs,
    Inquiry,
    Measure,
    Outcomes,
    Permit,
    context_hash,
    decode_as,
    decode_signed,
    document_hash,
)
from renkei.record import rounds
from renkei.record import store as index
from renkei.record.entries import ActLeaf, Entry, InquiryLeaf, OutcomeLeaf, decode_entry
from renkei.record.permit import Notary, from_file, to_file

CONCERNED_MOST = 20_000
"""Inquiries of one body that one inspection is about."""
AT_ONCE = 500
FINDINGS = ("agrees", "missing", "altered", "clerk", "outcome", "unknown")
"""What is found of one inquiry: all agrees · the body handed no record over · its record is not what it was bound to when it asked · the
clerk's name does not go with one pseudonym · its state is not the outcome it put into the record · the record knows no such inquiry."""
ENDED = {"provided": "answered", "nothing": "answered", "expired": "expired", "": "held"}
"""In which state a provision is, by its outcome in the record."""


class Line(NamedTuple):
    """An inquiry of the record that the body asked or was asked, as far as an inspection goes by it."""

    position: int
    id: bytes
    time: int
    requester: str
    provider: str
    affair: str
    item: str
    allowed: bool
    context: bytes
    clerk: bytes
    """The clerk's pseudonym."""
    result: str
    """Its outcome; empty while there is none."""


class Finding(NamedTuple):
    """What is found of one inquiry, on the side that asked (``asked``) or was asked (``given``)."""

    side: str
    id: bytes
    what: str
    line: Line | None


T = TypeVar("T")
Asked = dict[bytes, AskedRecord]
Given = dict[bytes, GivenRecord]


def compare(body: str, lines: Sequence[Line], asked: Asked, given: Given) -> list[Finding]:
    """Everything that the body's records and the record say of each other, by place in the record. O(n)."""
    ours = [line for line in lines if line.requester == body]
    theirs = [line for line in lines if line.provider == body and line.allowed]
    fit = {line.id: asked[line.id] for line in ours if line.id in asked and _fits(asked[line.id], line)}
    strange = _strange_clerks((fit[line.id].clerk, line.clerk) for line in ours if line.id in fit)
    found = []
    for line in ours:
        if line.id in fit:
            what = "clerk" if (fit[line.id].clerk, line.clerk) in strange else "agrees"
        else:
            what = "altered" if line.id in asked else "missing"
        found.append(Finding("asked", line.id, what, line))
    for line in theirs:
        state = given[line.id].state if line.id in given else ""
        what = "missing" if not state else "agrees" if state == ENDED.get(line.result) else "outcome"
        found.append(Finding("given", line.id, what, line))
    for side, records, known in (("asked", asked, ours), ("given", given, theirs)):
        have = {line.id for line in known}
        found += [Finding(side, id_, "unknown", None) for id_ in sorted(records) if id_ not in have]
    return sorted(found, key=lambda f: (f.line is None, f.line.position if f.line else 0, f.side))


def _fits(record: AskedRecord, line: Line) -> bool:
    """Whether the record is what the body was bound to when it asked."""
    return context_hash(record.salt, record.clerk, record.case, record.reason) == line.context


def _strange_clerks(pairs: Iterable[tuple[str, bytes]]) -> set[tuple[str, bytes]]:
    """Pairs of name and pseudonym that are not each other's only ones: a name has one pseudonym, and a pseudonym one name."""
    names, pseudonyms = defaultdict(set), defaultdict(set)
    every = set(pairs)
    for name, pseudonym in every:
        names[pseudonym].add(name)
        pseudonyms[name].add(pseudonym)
    return {(n, p) for n, p in every if len(names[p]) > 1 or len(pseudonyms[n]) > 1}


class Case(NamedTuple):
    """One inspection: the measure and its words, what the body said, and what was found."""

    measure: Measure
    leaf: int
    """Where the measure is in the record."""
    salt: bytes
    text: str
    answer: str | None
    """What the body wrote with its records; nothing until it has handed them over."""
    lines: list[Line]
    asked: Asked
    given: Given

    @property
    def findings(self) -> list[Finding]:
        """``compare`` of it all; nothing before the body has answered."""
        if self.answer is None:
            return []
        return compare(self.measure.body, self.lines, self.asked, self.given)

    @property
    def tally(self) -> dict[str, int]:
        """How many of each of ``FINDINGS``."""
        counts = Counter(f.what for f in self.findings)
        return {what: counts[what] for what in FINDINGS}


class Inspections:
    """The commission's inspections."""

    def __init__(self, keys: Keys, keeper: Keeper, database: Database, post: Post) -> None:
        self._keys, self._keeper, self._database, self._post = keys, keeper, database, post

    async def leaves(self, body: str, first: dt.date, last: dt.date) -> tuple[int, int]:
        """The leaves ``first`` … ``end`` (exclusive) of these days; ``Malformed`` if there are none, or too many of the body."""
        pack = self._keeper.state.pack

        def find(connection: sa.Connection) -> tuple[int, int]:
            start = log.size_at(connection, pack.midnight(first) - 1)
            end = log.size_at(connection, pack.midnight(last + dt.timedelta(days=1)) - 1)
            if start >= end:
                raise Malformed("The record has nothing of these days.", ja="この期間の記録はありません。", code="days")
            if start < int(index.flag(connection, "erased") or 0):
                raise Malformed(
                    "The record of these days has been erased: its time was over.",
                    ja="この期間の記録は、保存期間が満了し消去されています。",
                    code="days",
                )
            concerned = index.count_of(connection, body, start, end)
            if not 0 < concerned <= CONCERNED_MOST:
                raise Malformed(
                    f"The body asked or was asked {concerned:,} times in these days; an inspection is of 1 to {CONCERNED_MOST:,}.",
                    ja=f"この期間の照会・提供は{concerned:,}件です。1件から{CONCERNED_MOST:,}件までを対象にできます。",
                    remedy="Choose other days.",
                    remedy_ja="期間を変えてください。",
                    code="days",
                )
            return start, end

        return await self._database.read(find)

    async def of(self, document: bytes) -> Case:
        """An inspection by the hash of its words; ``NotFound`` if the record has none that is about leaves."""
        return await self._database.read(lambda c: self._read(c, document))

    def _read(self, connection: sa.Connection, document: bytes) -> Case:
        measures = self._keeper.state.oversight.measures
        found = next(((leaf, m) for _, leaf, m in measures if m.document == document and m.end), None)
        if found is None:
            raise NotFound("There is no such inspection.", ja="この立入検査はありません。")
        leaf, measure = found
        papers = store.papers_of(connection, measure.case)
        paper = next((p for p in papers if p.document == document), None)
        if paper is None:
            raise NotFound("The words of this inspection are not here.", ja="この立入検査の文書がありません。")
        answer = next((p.text for p in papers if p.answers == document), None)
        asked, given = store.handed(connection, document)
        lines = list(self._lines(connection, measure))
        return Case(measure, leaf, bytes(paper.salt), paper.text, answer, lines, asked, given)

    def _lines(self, connection: sa.Connection, measure: Measure) -> Iterator[Line]:
        if measure.first < int(index.flag(connection, "erased") or 0):
            raise Conflict(
                "The record of that time has been erased.",
                ja="対象の記録は、保存期間が満了し消去されています。",
                code="erased",
            )
        unveil = rounds.unveil_with(self._keys.hide, self._keeper.state)
        for some in _some(index.of_body(connection, measure.body, measure.first, measure.end)):
            leaves = log.at(connection, [k.position for k in some] + [k.outcome for k in some if k.outcome is not None])
            for known in some:
                told = leaves.get(known.outcome) if known.outcome is not None else None
                line = _line(known.position, _entry(leaves[known.position]), _entry(told) if told else None)
                inquiry = decode_as(_inquiry(leaves[known.position]).inquiry.payload, Inquiry)
                yield line._replace(clerk=unveil(line.requester, inquiry.clerk, inquiry.reply_key))

    async def bundle(self, case: Case, file: IO[bytes]) -> None:
        """Write the evidence: the record's leaves with their proofs, the body's records, and what was found. A zip file.

        Under the hub's signature as well as ours, which only the hub has; ``Unavailable`` while it gives none that covers it all.
        """
        if case.answer is None:
            raise Conflict(
                "The body has handed nothing over yet.", ja="機関からの提出がまだありません。", code="awaited"
            )
        reply = await self._post.call("hub", GetHead())
        note = reply.checkpoint if isinstance(reply, HeadIs) else ""
        await self._database.read(lambda c: self._write(c, case, note, file))

    def _write(self, connection: sa.Connection, case: Case, note: str, file: IO[bytes]) -> None:
        tree, outcomes = self._keeper.tree, set(index.outcomes(connection, [line.id for line in case.lines]))
        positions = sorted({case.leaf, *(line.position for line in case.lines), *outcomes})
        size = self._signed_size(note)
        if size <= positions[-1]:
            raise Unavailable("The hub has not signed the newest of this yet.", code="behind", remedy="Try again.")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:

            def put(name: str, data: str | bytes) -> None:
                """Without a time of its own, so that the same evidence is the same bytes."""
                bundle.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)

            put("README.txt", README)
            put("inspection.json", msgspec.json.format(msgspec.json.encode(_told(case))))
            put("findings.csv", _findings_csv(case.findings))
            put("records.jsonl", b"\n".join(_record_lines(case.asked, case.given)))
            for some in _some(positions):
                leaves = log.at(connection, some)
                for position in some:
                    leaf = leaves[position]
                    path = tree.inclusion(position, size)
                    permit = Permit(position, leaf.salt or b"", leaf.entry or b"", path, note)
                    put(f"record/{position}.tlog-proof", to_file(permit))

    def _signed_size(self, note: str) -> int:
        """The size of the record a note of the hub is of, once both have signed it and it is our record too."""
        state = self._keeper.state
        checkpoint = Notary([Verifier.from_text(state.genesis.hub_log), state.commission_key]).checkpoint(note)
        if checkpoint.size > self._keeper.tree.size or checkpoint.root != self._keeper.tree.root(checkpoint.size):
            raise NotGenuine("The hub has signed another record than ours.", code="root-differs")
        return checkpoint.size


class Checked(NamedTuple):
    """What a bundle is found to say, by whoever checks it."""

    measure: Measure
    leaves: int
    tally: dict[str, int]


def check(path: Path, notary: Notary) -> Checked:
    """Check a bundle with two public keys: every leaf is in the record, the words are the measure's, and the findings follow.

    That a pseudonym is the clerk's, only the commission can tell: it is taken as the bundle has it. ``NotGenuine`` or ``Malformed``.
    """
    try:
        with zipfile.ZipFile(path) as bundle:
            return _check(bundle, notary)
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError, msgspec.DecodeError, ValueError, OSError):
        raise Malformed("This is no evidence bundle.", ja="証拠ファイルではありません。", code="evidence") from None


def _check(bundle: zipfile.ZipFile, notary: Notary) -> Checked:
    entries: dict[int, Entry] = {}
    for name in bundle.namelist():
        if name.startswith("record/"):
            permit = from_file(bundle.read(name).decode())
            entries[permit.index] = notary.open(permit)
    told = msgspec.json.decode(bundle.read("inspection.json"), type=_Told)
    act = entries.get(told.leaf)
    measure = decode_signed(act.act.payload) if isinstance(act, ActLeaf) else None
    document = document_hash(bytes.fromhex(told.salt), told.text)
    if not isinstance(measure, Measure) or measure.document != document:
        raise NotGenuine(
            "The measure in the record is not the one told of.", code="measure", ja="措置の記録と一致しません。"
        )
    asked, given = _records(bundle.read("records.jsonl").splitlines())
    written = list(csv.DictReader(io.StringIO(bundle.read("findings.csv").decode())))
    clerks = {int(r["entry"]): bytes.fromhex(r["clerk"]) for r in written if r["entry"]}
    outcomes = {o.inquiry: leaf for leaf in entries.values() if isinstance(leaf, OutcomeLeaf) for o in _outcomes(leaf)}
    lines = []
    for position, entry in sorted(entries.items()):
        if isinstance(entry, InquiryLeaf) and measure.first <= position < measure.end:
            line = _line(position, entry, outcomes.get(entry.inquiry.id))
            lines.append(line._replace(clerk=clerks.get(position, b"")))
    found = compare(measure.body, lines, asked, given)
    if _findings_csv(found).splitlines() != bundle.read("findings.csv").decode().splitlines():
        raise NotGenuine(
            "The findings do not follow from the records.", code="findings", ja="検査結果が記録と一致しません。"
        )
    counts = Counter(f.what for f in found)
    return Checked(measure, len(entries), {what: counts[what] for what in FINDINGS})


# ------------------------------------------------------------------ the bundle's files


class _Told(msgspec.Struct, frozen=True):
    case: str
    body: str
    first: int
    end: int
    leaf: int
    salt: str
    text: str
    answer: str | None


def _told(case: Case) -> _Told:
    m = case.measure
    return _Told(m.case, m.body, m.first, m.end, case.leaf, case.salt.hex(), case.text, case.answer)


def _findings_csv(findings: Sequence[Finding]) -> str:
    """No word of anybody's is in it, so that a spreadsheet has nothing to take for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(
        ["entry", "time", "side", "finding", "inquiry", "requester", "provider", "affair", "item", "outcome", "clerk"]
    )
    for f in findings:
        if f.line is None:
            writer.writerow(["", "", f.side, f.what, f.id.hex(), "", "", "", "", "", ""])
            continue
        at = dt.datetime.fromtimestamp(f.line.time / 1000, dt.UTC).isoformat(timespec="milliseconds")
        row = [f.line.position, at, f.side, f.what, f.id.hex(), f.line.requester, f.line.provider, f.line.affair]
        writer.writerow([*row, f.line.item, f.line.result, f.line.clerk.hex()])
    return out.getvalue()


def _record_lines(asked: Asked, given: Given) -> Iterator[bytes]:
    for a in asked.values():
        told = {"inquiry": a.inquiry.hex(), "salt": a.salt.hex(), "clerk": a.clerk, "case": a.case, "reason": a.reason}
        yield msgspec.json.encode({"side": "asked", **told})
    for g in given.values():
        yield msgspec.json.encode(
            {"side": "given", "inquiry": g.inquiry.hex(), "state": g.state, "by": g.by, "at": g.at}
        )


def _records(lines: Iterable[bytes]) -> tuple[Asked, Given]:
    asked, given = {}, {}
    for line in lines:
        told = msgspec.json.decode(line)
        id_ = bytes.fromhex(told["inquiry"])
        if told["side"] == "asked":
            asked[id_] = AskedRecord(id_, bytes.fromhex(told["salt"]), told["clerk"], told["case"], told["reason"])
        else:
            given[id_] = GivenRecord(id_, told["state"], told["by"], told["at"])
    return asked, given


README = """\
Evidence of an inspection / 立入検査の証拠

inspection.json   the measure: case, body, range of the record, its words and salt, the body's answer
                  措置: 事案、対象機関、台帳の範囲、本文とソルト、機関の回答
record/           every entry of the record that concerns the body, with its proof (c2sp.org/tlog-proof)
                  対象機関に関する台帳の記録と包含証明
records.jsonl     what the body handed over of its own
                  機関が提出した自らの記録
findings.csv      what both say of each other
                  突合の結果

Check it:  renkei evidence FILE --keys verifiers.txt
検証方法:  renkei evidence ファイル --keys verifiers.txt
"""


# ------------------------------------------------------------------ entries


def _entry(leaf: log.Leaf) -> Entry:
    return decode_entry(leaf.entry or b"")


def _inquiry(leaf: log.Leaf) -> InquiryLeaf:
    entry = _entry(leaf)
    assert isinstance(entry, InquiryLeaf)  # the index knows no other
    return entry


def _outcomes(leaf: OutcomeLeaf) -> Sequence[Any]:
    return decode_as(leaf.outcomes.payload, Outcomes).outcomes


def _line(position: int, entry: Entry, told: Entry | None) -> Line:
    assert isinstance(entry, InquiryLeaf)
    inquiry, id_ = decode_as(entry.inquiry.payload, Inquiry), entry.inquiry.id
    outcomes = _outcomes(told) if isinstance(told, OutcomeLeaf) else ()
    result = next((o.result for o in outcomes if o.inquiry == id_), "")
    parts = entry.inquiry.sender, inquiry.provider, inquiry.affair, inquiry.item
    return Line(position, id_, entry.time, *parts, entry.ruling.allowed, inquiry.context, b"", result)


def _some(of: Sequence[T]) -> Iterator[Sequence[T]]:
    return (of[at : at + AT_ONCE] for at in range(0, len(of), AT_ONCE))
