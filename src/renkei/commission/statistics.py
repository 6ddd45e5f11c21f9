"""How the linkages are used, by whom, how quickly, and which never are and why. Counts alone: nobody is in them.

What leaves the commission has small counts suppressed: below the pack's ``small_count`` a figure is not told, nor one from which it
could be worked out.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from renkei.law import decide
from renkei.record.state import State

COLUMNS = (
    "requester",
    "provider",
    "affair",
    "item",
    "row",
    "asked",
    "refused",
    "provided",
    "empty",
    "seconds",
    "told",
    "paper",
    "why",
)
WHY: dict[str, tuple[str, str]] = {
    "used": ("Used", "利用あり"),
    "no-inquiry": ("Nobody has asked", "照会なし"),
    "always-refused": ("Always refused", "すべて不許可"),
    "always-empty": ("Always empty", "すべてデータなし"),
    "unanswered": ("Never answered", "回答なし"),
    "paper": ("Paper is asked for all the same", "書類を求めている"),
    "few": ("Too few to tell", "少数のため非表示"),
}


class Line(NamedTuple):
    """One linkage between two bodies, with what was made of it. ``why`` is ``used``, or why it was of no use."""

    requester: str
    provider: str
    affair: str
    item: str
    row: str
    asked: int
    refused: int
    provided: int
    empty: int
    seconds: float | None
    """Mean time until the answer."""
    told: int
    """Change notices."""
    paper: int
    """Times residents reported that paper was asked for."""
    why: str


def lawful(state: State, on: Any) -> list[tuple[str, str, str, str, str]]:
    """Every linkage that the law in force lets the enrolled bodies make: requester, provider, affair, item, row."""
    pack = state.pack
    bodies = [b for b in state.bodies.values() if b.role == "gateway"]
    standing = {b.body: pack.standing(b.kinds) for b in bodies}
    pairs = list(dict.fromkeys((r.affair, r.item) for r in pack.linkages))
    found = []
    for affair, item in pairs:
        rows = pack.by_affair_item[affair, item]
        askers = [b for b in bodies if any(not standing[b.body].isdisjoint(r.requester) for r in rows)]
        holders = [b for b in bodies if any(not standing[b.body].isdisjoint(r.provider) for r in rows)]
        for asker in askers:
            for holder in holders:
                if asker.body != holder.body:
                    decision = decide(pack, asker.kinds, affair, holder.kinds, item, on)
                    if decision.allowed:
                        found.append((asker.body, holder.body, affair, item, decision.row))
    return found


def lines(
    linkages: Iterable[tuple[str, str, str, str, str]], used: Sequence[Any], paper: dict[tuple[str, str, str, str], int]
) -> list[Line]:
    """Every lawful linkage and every one that was tried, most used first."""
    counts = {(u.requester, u.provider, u.affair, u.item): u for u in used}
    rows = {linkage[:4]: linkage[4] for linkage in linkages}
    found = [_line(key, rows.get(key, ""), counts.get(key), paper.get(key, 0)) for key in rows | counts]
    return sorted(found, key=lambda line: (-line.asked, line[:5]))


def _line(key: tuple[str, str, str, str], row: str, use: Any, paper: int) -> Line:
    if use is None:
        return Line(*key, row, 0, 0, 0, 0, None, 0, paper, "paper" if paper else "no-inquiry")
    asked, refused, provided, empty = int(use.asked), int(use.refused), int(use.provided), int(use.empty)
    answered = provided + empty
    seconds = round(int(use.waited) / answered / 1000, 1) if answered else None
    if not asked:
        why = "used" if use.told else "no-inquiry"
    elif refused == asked:
        why = "always-refused"
    elif not answered:
        why = "unanswered"
    elif not provided:
        why = "always-empty"
    else:
        why = "paper" if paper else "used"
    return Line(*key, row, asked, refused, provided, empty, seconds, int(use.told), paper, why)


class Summary(NamedTuple):
    """Of the lawful linkages how many were of use, and why the others were not."""

    linkages: int
    used: int
    why: dict[str, int]

    @property
    def unused_share(self) -> float:
        return 1 - self.used / self.linkages if self.linkages else 0.0


def summary(found: Sequence[Line]) -> Summary:
    why: dict[str, int] = {}
    lawful_ones = [line for line in found if line.row]
    for line in lawful_ones:
        why[line.why] = why.get(line.why, 0) + 1
    useful = sum(1 for line in lawful_ones if line.provided)
    return Summary(len(lawful_ones), useful, why)


def suppressed(found: Sequence[Line], small: int) -> list[dict[str, Any]]:
    """The lines as open data. A line with a count from 1 to below ``small`` tells none of its counts, for they add up; if that is one line
    alone, the next smallest tells none either, for the lines add up to what is told of all."""
    hidden = {at for at, line in enumerate(found) if any(0 < n < small for n in _parts(line))}
    if len(hidden) == 1:
        others = [at for at, line in enumerate(found) if line.asked and at not in hidden]
        hidden |= set(sorted(others, key=lambda at: found[at].asked)[:1])
    nothing = dict.fromkeys(("asked", "refused", "provided", "empty", "seconds", "told", "paper"), None)
    return [line._asdict() | (nothing | {"why": "few"} if at in hidden else {}) for at, line in enumerate(found)]


def _parts(line: Line) -> tuple[int, ...]:
    """What a line's counts are made of, those that are still unanswered among them."""
    open_ = line.asked - line.refused - line.provided - line.empty
    return line.asked, line.refused, line.provided, line.empty, line.told, line.paper, open_


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Open data as CSV (RFC 4180, UTF-8); an empty cell is a small or unknown figure."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in rows)
    return out.getvalue()


def every_day(days: Sequence[tuple[str, int]], first: str, last: str) -> list[tuple[str, int]]:
    """The counts of all days from ``first`` to ``last``, those without any among them."""
    counts, start = dict(days), dt.date.fromisoformat(first)
    span = (dt.date.fromisoformat(last) - start).days + 1
    return [(day, counts.get(day, 0)) for day in ((start + dt.timedelta(days=n)).isoformat() for n in range(span))]


def bars(days: Sequence[tuple[str, int]], title: str) -> str:
    """Inquiries by day as a picture (SVG), drawn here; its figures are in its title and in the table beside it."""
    width, height, high = 720, 160, max((n for _, n in days), default=0) or 1
    step = width / max(1, len(days))
    drawn = "".join(
        f'<rect x="{i * step:.1f}" y="{height - n * height / high:.1f}" width="{max(1.0, step - 1):.1f}" '
        f'height="{n * height / high:.1f}"><title>{escape(day)}: {n:,}</title></rect>'
        for i, (day, n) in enumerate(days)
    )
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" '
        f'preserveAspectRatio="none" xmlns="http://www.w3.org/2000/svg">{drawn}</svg>'
    )
