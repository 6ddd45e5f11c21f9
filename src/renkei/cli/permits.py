"""``renkei verify`` and ``renkei evidence``: checked with nothing but two public keys."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from renkei.cli.shell import Json, fail, out, read, setup, show, t
from renkei.errors import Malformed, RenkeiError
from renkei.ledger.notes import Verifier
from renkei.record.entries import PersonalLeaf, envelope_of, kind_of, said
from renkei.record.oversight import Linked
from renkei.record.permit import Notary, from_file


def verify(
    permit: Annotated[Path, typer.Argument(help="A permit (tlog-proof file).")],
    keys: Annotated[Path, typer.Option(help="File with the two public keys, one vkey a line.")],
    json: Json = False,
) -> None:
    """Verify a permit with nothing but two public keys: no network, no database. Exit 0 if it is genuine."""
    verifiers, notary = _notary(keys)
    raw = permit.read_bytes()
    try:
        told = _told(notary, raw)
    except RenkeiError as error:
        fail(error, genuine=False)
    told["signed_by"] = [v.name for v in verifiers]
    if json:
        show(told)
        return
    out.print(t("Genuine.", "真正です。"), style="bold", end=" ")
    out.print(t("This entry is in the log, signed by both keepers.", "両機関が署名したログに記録されています。"))
    table = Table(box=None, show_header=False)
    for key, value in told.items():
        table.add_row(key, ", ".join(value) if isinstance(value, list) else str(value))
    out.print(table)


def evidence(
    file: Annotated[Path, typer.Argument(help="An inspection's evidence, as the commission's console gives it out.")],
    keys: Annotated[Path, typer.Option(help="File with the two public keys, one vkey a line.")],
    json: Json = False,
) -> None:
    """Check an inspection's evidence with nothing but two public keys: proofs, words and findings. Exit 0 if all of it holds."""
    from renkei.commission.inspection import check

    _, notary = _notary(keys)
    try:
        found = check(file, notary)
    except RenkeiError as error:
        fail(error, genuine=False)
    measure = found.measure
    told = {"genuine": True, "log": notary.origin, "case": measure.case, "body": measure.body}
    told |= {"first": measure.first, "end": measure.end, "leaves": found.leaves, "findings": found.tally}
    if json:
        show(told)
        return
    out.print(t("Genuine.", "真正です。"), style="bold", end=" ")
    out.print(
        t(
            "The findings follow from the log and from what the body handed over.",
            "検査結果は、ログと機関の提出物のとおりです。",
        )
    )
    table = Table(box=None, show_header=False)
    for key in ("log", "case", "body", "leaves"):
        table.add_row(key, str(told[key]))
    for what, count in found.tally.items():
        table.add_row(what, f"{count:,}")
    out.print(table)


def _notary(keys: Path) -> tuple[list[Verifier], Notary]:
    try:
        verifiers = [Verifier.from_text(line) for line in read(keys).splitlines() if line.strip()]
        return verifiers, Notary(verifiers)
    except Malformed as error:
        raise setup(
            f"{keys} does not hold the two public keys: {error.sentence}",
            f"{keys} に2つの公開鍵がありません。",
            code="keys",
            remedy="Use the file verifiers.txt of the nation.",
            remedy_ja="verifiers.txt を指定してください。",
        ) from None


def _told(notary: Notary, raw: bytes) -> dict[str, Any]:
    """What a genuine permit says."""
    try:
        found = from_file(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise Malformed(
            "This is not a permit: it is no text.", ja="許可証ではありません（テキストではありません）。"
        ) from None
    leaf = notary.open(found)
    told: dict[str, Any] = {"genuine": True, "log": notary.origin, "leaf": found.index, "kind": kind_of(leaf)}
    told["size"] = notary.checkpoint(found.checkpoint).size
    if isinstance(leaf, PersonalLeaf):
        linked = Linked.by(envelope_of(leaf).sender, said(leaf))
        told |= {
            "allowed": leaf.ruling.allowed,
            "reason": leaf.ruling.reason,
            "row": leaf.ruling.row,
            "rows": leaf.ruling.rows,
            **linked._asdict(),
            "time": dt.datetime.fromtimestamp(leaf.time / 1000, dt.UTC).isoformat(),
        }
    return told
