"""The decision: may this kind of body ask that kind of body for this item, for this affair, on this day?

Pure values in, a reasoned answer out. Cost: one dictionary look-up and a few set intersections.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

from renkei.errors import NotFound
from renkei.law.pack import OWN, Linkage, Pack

MAX_ROWS_CITED = 12


class Decision(NamedTuple):
    """``allowed`` with its ``row`` and provider ``line``; else ``reason`` and the ``rows`` that would have been needed."""

    allowed: bool
    reason: str
    row: str = ""
    line: int = 0
    rows: tuple[str, ...] = ()


class Explanation(NamedTuple):
    """A decision with what a person needs to understand it."""

    decision: Decision
    on: dt.date
    citation: str
    sentence: str
    alternatives: tuple[Linkage, ...]


REASONS: dict[str, tuple[str, str]] = {
    "allowed": ("The law allows it.", "法律上認められています。"),
    "not-in-force": (
        "The row that would allow it is not in force on that day.",
        "根拠となる項は、その日には効力がありません。",
    ),
    "wrong-requester": (
        "Another kind of body may ask this, not this one.",
        "この照会ができるのは別の種類の機関です。",
    ),
    "wrong-affair": (
        "This body may ask this only for another affair.",
        "この機関がこの情報を照会できるのは、別の事務の場合だけです。",
    ),
    "wrong-provider": (
        "This item may be asked of another kind of body.",
        "この情報の提供元は別の種類の機関です。",
    ),
    "item-outside-row": (
        "The row for this affair does not name this item.",
        "この事務の項には、この情報が定められていません。",
    ),
    "own-data": (
        "A body uses what it holds itself without a linkage.",
        "自らが保有する情報の利用に、情報連携は要りません。",
    ),
    "no-row": ("No row of the table links these.", "該当する項がありません。"),
}


def decide(
    pack: Pack, requester: Iterable[str], affair: str, provider: Iterable[str], item: str, on: dt.date
) -> Decision:
    """Decide by the linkage table. ``requester`` and ``provider`` are the kinds the two bodies are enrolled as."""
    asker, holder = pack.standing(frozenset(requester)), pack.standing(frozenset(provider))
    if (own := pack.header.own).affair == affair and own.kind in asker:
        return _own(pack, holder, item, on)
    full = [
        r
        for r in pack.by_affair_item.get((affair, item), ())
        if not asker.isdisjoint(r.requester) and not holder.isdisjoint(r.provider)
    ]
    for row in full:
        if row.in_force(on):
            return Decision(True, "allowed", row.row, row.line, (row.row,))
    if full:
        return Decision(False, "not-in-force", rows=_numbers(full))
    return _nearest(pack, asker, affair, holder, item)


def _own(pack: Pack, holder: frozenset[str], item: str, on: dt.date) -> Decision:
    """May a person be shown this? Whatever a body may be asked for by others, it may be asked for by them."""
    rows = [r for r in pack.by_item.get(item, ()) if not holder.isdisjoint(r.provider)]
    if any(r.in_force(on) for r in rows):
        return Decision(True, "allowed", OWN, 1, (OWN,))
    return Decision(False, "not-in-force" if rows else "wrong-provider")


def _nearest(pack: Pack, asker: frozenset[str], affair: str, holder: frozenset[str], item: str) -> Decision:
    """Which rows agree in all but one respect; the respect a clerk is likeliest to have wrong comes first."""
    near: dict[str, list[Linkage]] = {
        "wrong-affair": [],
        "item-outside-row": [],
        "wrong-provider": [],
        "wrong-requester": [],
    }
    for row in pack.linkages:
        r, a = not asker.isdisjoint(row.requester), row.affair == affair
        p, i = not holder.isdisjoint(row.provider), row.item == item
        if r and a and i:
            near["wrong-provider"].append(row)
        elif r and p and i:
            near["wrong-affair"].append(row)
        elif a and p and i:
            near["wrong-requester"].append(row)
        elif r and a and p:
            near["item-outside-row"].append(row)
    for reason in ("wrong-provider", "wrong-requester", "item-outside-row", "wrong-affair"):
        rows = near[reason]
        # An item outside the row is best cured by the rows that do name it for this pair, if there are any.
        if rows and not (reason == "item-outside-row" and near["wrong-affair"]):
            return Decision(False, reason, rows=_numbers(rows))
        if rows:
            return Decision(False, reason, rows=_numbers(near["wrong-affair"]))
    return Decision(False, "no-row")


def _numbers(rows: Iterable[Linkage]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(r.row for r in rows))[:MAX_ROWS_CITED]


def explain(
    pack: Pack, requester: str, affair: str, provider: str, item: str, on: dt.date, language: str = "en"
) -> Explanation:
    """The decision in words. ``requester`` and ``provider`` may be bodies or kinds; ``NotFound`` for unknown codes."""
    asker, holder = kinds_of(pack, requester), kinds_of(pack, provider)
    if affair not in pack.affairs:
        raise _unknown(f"There is no affair {affair!r}.", f"事務 {affair!r} はありません。", "affair", "affairs")
    if item not in pack.items:
        raise _unknown(f"There is no item {item!r}.", f"特定個人情報 {item!r} はありません。", "item", "items")
    if requester == provider and requester in pack.bodies:
        decision = Decision(False, "own-data")
    else:
        decision = decide(pack, asker, affair, holder, item, on)
    cited = decision.row or ", ".join(decision.rows)
    alternatives = tuple(
        row
        for row in pack.linkages
        if row.row in decision.rows and (row.item == item or decision.reason == "item-outside-row")
    )
    english, japanese = REASONS[decision.reason]
    return Explanation(
        decision,
        on,
        pack.cite(cited, language) if cited else "",
        japanese if language == "ja" else english,
        () if decision.allowed else alternatives,
    )


def kinds_of(pack: Pack, name: str) -> tuple[str, ...]:
    """The kinds of the body called ``name``, or the kind of that name."""
    if name in pack.bodies:
        return pack.bodies[name].kinds
    if name in pack.kinds:
        return (name,)
    raise _unknown(
        f"There is neither a body nor a kind {name!r}.", f"機関も種別も {name!r} はありません。", "body", "bodies"
    )


def _unknown(sentence: str, ja: str, code: str, table: str) -> NotFound:
    how = f"`renkei law list {table}`"
    return NotFound(
        sentence, ja=ja, remedy=f"{how} shows them.", remedy_ja=f"{how} で一覧を確認してください。", code=code
    )
