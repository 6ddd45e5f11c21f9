"""The registry (全体レジストリ): which body answers which item, how fresh, how complete, how well; and who may ask for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from renkei.catalogue import store
from renkei.institution.database import Database
from renkei.law import Pack
from renkei.law.pack import Linkage
from renkei.law.vocabulary import Specification, Term
from renkei.messages.wire import Offer
from renkei.record.state import State

DAY = 86_400_000
KNOWN_FOR = 5_000
"""Milliseconds after which assessments are looked at again."""
STALE_AFTER = 3 * DAY
"""Milliseconds after which an offer that was not renewed is shown as silent."""


class Provider(NamedTuple):
    """A body that answers an item, as it says of itself, and since when we know."""

    body: str
    offer: Offer
    received: int
    assessed: bool
    """Whether a published impact assessment covers it: without one nothing may be asked of it."""

    @property
    def right(self) -> float | None:
        """The share of rows that fit the specification; ``None`` if nobody has measured."""
        return None if not self.offer.measured or not self.offer.rows else 1 - self.offer.wrong / self.offer.rows

    def silent(self, now: int) -> bool:
        """Whether nothing was heard for so long that this may not be so any more."""
        return now - self.received > STALE_AFTER


class Known(NamedTuple):
    """Everybody who answers anything, by item and by body."""

    of_item: dict[str, list[Provider]]
    of_body: dict[str, list[Provider]]


class Entry(NamedTuple):
    """An item of the catalogue."""

    item: str
    specification: Specification | None
    providers: tuple[Provider, ...]
    linkages: tuple[Linkage, ...]


class Registry:
    """What is known of items now."""

    def __init__(self, state: Callable[[], State], database: Database, clock: Callable[[], int]) -> None:
        self._state, self._database, self.clock = state, database, clock
        self._lock = threading.Lock()
        self._changes = 0
        self._known: tuple[object, Known] = (None, Known({}, {}))

    def changed(self) -> None:
        """Offers were written: what was read of them is old."""
        self._changes += 1

    @property
    def pack(self) -> Pack:
        """The law in force."""
        return self._state().pack

    def version(self) -> str:
        """Changes whenever something that is shown does: the law, an offer, an assessment."""
        opened = self._database.read_now(lambda c: [when for _, when, _, _ in store.changes(c, 1)])
        return f"{self.pack.hash.hex()} {self._changes} {opened} {len(self._state().bodies)}"

    def may_provide(self, body: str, item: str) -> bool:
        """Whether the law lets a body be asked for an item, or print it: only that is listed."""
        pack, enrolled = self.pack, self._state().bodies.get(body)
        if enrolled is None or item not in pack.specifications:
            return False
        kinds = pack.standing(enrolled.kinds)
        asked = any(r.item == item and kinds & {*r.provider} for r in pack.linkages)
        return asked or any(d.item == item for d in pack.documents.values())

    def believed(self, body: str, offer: Offer) -> Offer | None:
        """An offer as far as it can be so; ``None`` if the body may not answer the item, a day is to come, a part larger than the whole."""
        if not self.may_provide(body, offer.item):
            return None
        latest = self.clock() + DAY
        if (
            max(offer.made, offer.measured, offer.probed) > latest
            or max([offer.wrong, *offer.filled.values()]) > offer.rows
        ):
            return None
        specification = self.pack.specifications[offer.item]
        return msgspec.structs.replace(offer, filled={n: c for n, c in offer.filled.items() if specification.field(n)})

    def entries(self, query: str = "") -> list[Entry]:
        """The items that hold every word of ``query``, those with a specification first."""
        offered = self._providers().of_item
        words = query.casefold().split()
        rows: dict[str, list[Linkage]] = {}
        for row in self.pack.linkages:
            rows.setdefault(row.item, []).append(row)
        found = []
        for item in self.pack.items:
            specification = self.pack.specifications.get(item)
            if all(w in self._words(item, specification) for w in words):
                found.append(Entry(item, specification, tuple(offered.get(item, ())), tuple(rows.get(item, ()))))
        return sorted(found, key=lambda e: (e.specification is None, not e.providers, e.item))

    def entry(self, item: str) -> Entry | None:
        """One item; ``None`` if the law has none of that name."""
        return next((e for e in self.entries() if e.item == item), None)

    def of_body(self, body: str) -> list[Provider]:
        """What one body answers."""
        return self._providers().of_body.get(body, [])

    def _providers(self) -> Known:
        """Who answers what. All offers are read once after a change, not by each reader: anybody may read, as often as they like."""
        with self._lock:
            state = self._state()
            key = (self._changes, state.pack.hash, len(state.bodies), self.clock() // KNOWN_FOR)
            if self._known[0] != key:
                on, known = state.pack.day(self.clock()), Known({}, {})
                for body, offer, received in self._database.read_now(store.all_offers):
                    if self.may_provide(body, offer.item):
                        made = Provider(body, offer, received, state.oversight.assessed(body, "", offer.item, on))
                        known.of_item.setdefault(offer.item, []).append(made)
                        known.of_body.setdefault(body, []).append(made)
                self._known = (key, known)
            return self._known[1]

    def _words(self, item: str, specification: Specification | None) -> str:
        titles = [item, *self.pack.items[item].title, self.pack.items[item].act]
        if specification:
            titles += [*specification.title, specification.provenance.ja, specification.provenance.en]
            titles += [w for f in specification.fields for w in (f.name, f.ja, f.en, f.term)]
        return " ".join(titles).casefold()

    def terms(self, query: str = "") -> list[Term]:
        """The terms that hold every word of ``query``."""
        words = query.casefold().split()
        return [
            t
            for t in self.pack.terms.values()
            if all(w in " ".join((t.code, *t.title, *t.definition)).casefold() for w in words)
        ]

    def users(self, term: str) -> list[tuple[str, str]]:
        """Item and field of everything that is made of a term."""
        return [(s.item, f.name) for s in self.pack.specifications.values() for f in s.fields if f.term == term]
