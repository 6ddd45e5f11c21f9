"""What becomes of those who use an item when its specification, a term or a code list is altered. Pure.

What was published binds: a requester's systems read the fields it promised, a provider's fill them. ``compare`` holds a pack against
what was published before (its ``Surface``, ``released.json`` beside the pack) and says of each change what it does:

- **breaks**: somebody's system that was right would be wrong. Such a change is refused; the way is to add what is new, give the old
  field an ``until`` and an ``instead``, and take it away when that day has passed. Whoever asks for the item is told meanwhile.
- **notice**: whoever is concerned should look, and can do so after the change.
- **harmless**: nobody needs to do anything.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple

import msgspec

from renkei.law.pack import Pack
from renkei.law.tables import Fault, Title
from renkei.law.vocabulary import Field, Specification

Weight = Literal["breaks", "notice", "harmless"]
RELEASED = "released.json"
"""In the pack's folder: what was published last. It decides nothing, and is no part of the pack's hash."""


class Word(msgspec.Struct, frozen=True):
    """What programs rely on of a term."""

    type: str
    unit: str
    codes: str


class Surface(msgspec.Struct, frozen=True):
    """What a published pack promises to programs."""

    pack: str
    """The pack's reference."""
    specifications: dict[str, Specification]
    terms: dict[str, Word]
    codelists: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, pack: Pack) -> Surface:
        return cls(
            pack.reference,
            pack.specifications,
            {t.code: Word(t.type, t.unit, t.codes) for t in pack.terms.values()},
            {name: tuple(codes) for name, codes in pack.codelists.items()},
        )


class Change(NamedTuple):
    """One change, and what it does to whom."""

    weight: Weight
    code: str
    item: str
    field: str
    """Empty if the whole item is meant."""
    whom: Literal["requesters", "providers", "nobody"]
    said: Title
    remedy: Title


ADD_FIRST = Title(
    "新しい項目を加え、古い項目に until と instead を付け、その日が過ぎてから削除してください。",
    "Add what is new, give the old field `until` and `instead`, and remove it when that day has passed.",
)
LOOK = Title("関係する機関に確認してください。", "Have those concerned look at it.")
NOTHING = Title("対応は要りません。", "Nothing needs to be done.")


def compare(old: Surface, new: Surface, on: dt.date) -> list[Change]:
    """Every change from ``old`` to ``new`` that takes effect ``on`` a day, the gravest first."""
    found: list[Change] = []
    for item, before in old.specifications.items():
        after = new.specifications.get(item)
        if after is None:
            said = Title("データ仕様がなくなります。", "Its specification is gone.")
            found.append(Change("breaks", "specification-removed", item, "", "requesters", said, ADD_FIRST))
        else:
            found += _compare(old, new, before, after, on)
    for item in new.specifications.keys() - old.specifications.keys():
        said = Title("データ仕様が加わります。", "It has a specification now.")
        found.append(Change("harmless", "specification-added", item, "", "nobody", said, NOTHING))
    weights = ("breaks", "notice", "harmless")
    return sorted(found, key=lambda c: (weights.index(c.weight), c.item, c.field, c.code))


def _compare(old: Surface, new: Surface, before: Specification, after: Specification, on: dt.date) -> Iterator[Change]:
    item = before.item
    if (before.records, after.records) == ("one", "many"):
        said = Title(
            "一人に複数の記録がありうるようになります。", "A person may have many records, where there was one."
        )
        yield Change("breaks", "one-to-many", item, "", "requesters", said, ADD_FIRST)
    elif before.records != after.records:
        said = Title("一人に一つの記録になります。", "A person may have only one record, where there were many.")
        yield Change("breaks", "many-to-one", item, "", "providers", said, ADD_FIRST)
    for field in before.fields:
        same = after.field(field.name)
        if same is None:
            yield _removed(item, field, on)
            continue
        if field.required and not same.required:
            said = Title("必須でなくなり、値がないことがありえます。", "It may be missing, where it was always there.")
            yield Change("breaks", "required-to-optional", item, field.name, "requesters", said, ADD_FIRST)
        if same.required and not field.required:
            said = Title("必須になります。", "It must be filled, where it could be left out.")
            yield Change("breaks", "optional-to-required", item, field.name, "providers", said, ADD_FIRST)
        if same.until and same.until != field.until:
            yield _leaving(item, field, same, on)
        yield from _reworded(old, new, item, field, same)
    for field in after.fields:
        if before.field(field.name) is None:
            yield _added(item, field)


def _added(item: str, field: Field) -> Change:
    if not field.required:
        said = Title("項目が加わります。", "The field is new.")
        return Change("harmless", "field-added", item, field.name, "nobody", said, NOTHING)
    said = Title("必須の項目が加わります。", "It is new and required: providers would have to fill it at once.")
    remedy = Title("まず任意の項目として加えてください。", "Add it as optional first.")
    return Change("breaks", "field-added", item, field.name, "providers", said, remedy)


def _removed(item: str, field: Field, on: dt.date) -> Change:
    day = field.until
    if day and day < on.isoformat():
        said = Title(f"{day}までと予告された項目がなくなります。", f"It is gone, as was told: it stayed until {day}.")
        return Change("notice", "field-ended", item, field.name, "requesters", said, LOOK)
    said = Title("予告なしに項目がなくなります。", "It is gone, and nobody was told.")
    if day:
        said = Title(
            f"予告された{day}より前に項目がなくなります。", f"It is gone before {day}, until when it was to stay."
        )
    return Change("breaks", "field-removed", item, field.name, "requesters", said, ADD_FIRST)


def _leaving(item: str, before: Field, after: Field, on: dt.date) -> Change:
    if after.until < (before.until or on.isoformat()):
        said = Title("予告された日より早くなります。", "It goes sooner than was told, or than today.")
        return Change("breaks", "until-sooner", item, after.name, "requesters", said, ADD_FIRST)
    said = Title(f"{after.until}までの項目になります。", f"It will go after {after.until}.")
    if after.instead:
        said = Title(f"{said.ja}代わりは{after.instead}です。", f"{said.en} Use {after.instead}.")
    return Change("notice", "field-leaving", item, after.name, "requesters", said, LOOK)


def _reworded(old: Surface, new: Surface, item: str, before: Field, after: Field) -> Iterator[Change]:
    """What the field's term means to programs."""
    was, now = old.terms[before.term], new.terms[after.term]
    if (was.type, was.unit) != (now.type, now.unit):
        told = f"{was.type} {was.unit}".strip(), f"{now.type} {now.unit}".strip()
        said = Title(f"型や単位が{told[0]}から{told[1]}に変わります。", f"Type or unit was {told[0]} and is {told[1]}.")
        yield Change("breaks", "retyped", item, after.name, "requesters", said, ADD_FIRST)
        return
    if before.term != after.term:
        said = Title(
            f"用語が{before.term}から{after.term}に変わります。", f"Its term was {before.term} and is {after.term}."
        )
        yield Change("notice", "term-changed", item, after.name, "requesters", said, LOOK)
    if was.type != "code":
        return
    had, has = set(old.codelists[was.codes]), set(new.codelists[now.codes])
    if gone := sorted(had - has):
        said = Title(
            f"コード {'、'.join(gone)} を提供できなくなります。",
            f"Providers may not answer {', '.join(gone)} any more.",
        )
        yield Change("breaks", "codes-removed", item, after.name, "providers", said, ADD_FIRST)
    if more := sorted(has - had):
        said = Title(f"コード {'、'.join(more)} が加わります。", f"Answers may hold new codes: {', '.join(more)}.")
        yield Change("notice", "codes-added", item, after.name, "requesters", said, LOOK)


class Concerned(NamedTuple):
    """Who would have to act: the kinds of bodies, and for which affairs they use the item."""

    kinds: tuple[str, ...]
    affairs: tuple[str, ...]


def concerned(pack: Pack, change: Change) -> Concerned:
    """Whom a change meets, by the linkage table."""
    rows = [r for r in pack.linkages if r.item == change.item] if change.whom != "nobody" else []
    kinds = {k for r in rows for k in (r.requester if change.whom == "requesters" else r.provider)}
    return Concerned(tuple(sorted(kinds)), tuple(sorted({r.affair for r in rows})))


def faults(old: Surface, pack: Pack, on: dt.date) -> list[Fault]:
    """The changes that break, as faults of the pack."""
    found = []
    for change in compare(old, Surface.of(pack), on):
        if change.weight == "breaks":
            met = concerned(pack, change)
            field = f".{change.field}" if change.field else ""
            whom = f" This breaks the {change.whom} in {len(met.affairs)} affair(s)." if met.affairs else ""
            sentence = f"{change.item}{field}: {change.said.en}{whom}"
            found.append(Fault(f"specifications/{change.item}.toml", 0, sentence, change.remedy.en))
    return found


def leaving(pack: Pack, kinds: Collection[str]) -> list[tuple[str, Field]]:
    """The fields that are to go of items a body of these kinds may ask for, soonest first: what it is told."""
    standing = pack.standing(frozenset(kinds))
    items = {r.item for r in pack.linkages if standing & {*r.requester}}
    found = [(i, f) for i in items if i in pack.specifications for f in pack.specifications[i].fields if f.until]
    return sorted(found, key=lambda one: (one[1].until, one[0], one[1].name))
