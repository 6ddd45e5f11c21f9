"""What this body tells the catalogue of itself: which items it answers, how fresh and how complete they are, and how its probes went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from renkei.errors import RenkeiError
from renkei.gateway.adapter import Adapter
from renkei.institution.member import Member
from renkei.institution.observe import Observer
from renkei.institution.post import Post
from renkei.messages.wire import Offer, Offers

LOOK_EVERY = 10.0
MEASURE_EVERY = 24 * 3600.0
FIRST_MEASURE = 60.0
"""Seconds after a start before anything is measured: what a body is there for comes first."""
SAY_AGAIN = 24 * 3600.0


class Offering:
    """Measures, and tells the catalogue when something changed and once a day."""

    def __init__(
        self, adapter: Adapter, contact: str, member: Member, post: Post, observe: Observer, clock: Callable[[], int]
    ) -> None:
        self._adapter, self._contact = adapter, contact
        self._member, self._post, self._observe, self._clock = member, post, observe, clock
        self._measured: dict[str, Offer] = {}
        self._due: dict[str, float] = {}
        self._said: tuple[Offer, ...] = ()
        self._said_at = -SAY_AGAIN

    async def run(self) -> None:
        await self._member.until_ready()
        began = time.monotonic()
        while True:
            due = next(
                (i for i in self._adapter.items if time.monotonic() >= self._due.get(i, began + FIRST_MEASURE)), None
            )
            if due is not None:
                await asyncio.to_thread(self.measure, due)
            await self.tell()
            await asyncio.sleep(LOOK_EVERY)

    def measure(self, item: str) -> None:
        """Count all rows of an item and look up its synthetic persons."""
        self._due[item] = time.monotonic() + MEASURE_EVERY
        try:
            found = self._adapter.measure(item)
        except RenkeiError as error:
            self._observe.log.warning("item.unmeasured", item=item, reason=error.code)
            return
        probed, took, fault = 0, 0, ""
        if self._adapter.mapping.items[item].probes:
            began = time.perf_counter()
            fault = self._adapter.probe(item)
            probed, took = self._clock(), round((time.perf_counter() - began) * 1000)
            if fault:
                self._observe.log.warning("item.probe-failed", item=item, reason=fault)
                self._observe.count("probes_failed")
        self._measured[item] = Offer(
            item, 0, False, False, probed=probed, probe_ms=took, probe_fault=fault, **_counted(*found)
        )

    def offers(self) -> tuple[Offer, ...]:
        """What is to be told now."""
        found = []
        for item, mapping in self._adapter.mapping.items.items():
            specification = self._adapter.pack.specifications.get(item)
            if specification is None:
                continue
            lineage = self._adapter.copies.lineage(item) if mapping.copied else None
            known = self._measured.get(item, Offer(item, 0, False, False))
            offer = replace(
                known, specification=specification.version, copy=mapping.copied, earlier=bool(mapping.since)
            )
            if lineage is not None:
                counts = _counted(
                    lineage.loaded_at, lineage.records + lineage.wrong, lineage.wrong, lineage.persons, lineage.filled
                )
                offer = replace(offer, made=lineage.loaded_at, **counts)
            found.append(_coarse(offer, self._adapter.pack.header.oversight.small_count))
        return tuple(found)

    async def tell(self) -> None:
        """Tell the catalogue, if there is one and it does not know."""
        now = await asyncio.to_thread(self.offers)
        if now == self._said and time.monotonic() - self._said_at < SAY_AGAIN:
            return
        try:
            catalogue = self._member.state.of_role("catalogue")
        except RenkeiError:
            return
        await self._post.send(catalogue, [Offers(list(now), self._contact)])
        self._said, self._said_at = now, time.monotonic()


def _coarse(offer: Offer, k: int) -> Offer:
    """What everybody may read of an offer: counts in steps of ``k``. Of one whom an item says something of, or who came since yesterday,
    exact ones would tell; a field that nearly all or hardly any have, too. How many rows do not fit says nothing of anybody's affairs."""
    rows = offer.rows // k * k
    filled = {name: min(rows, (count + k // 2) // k * k) for name, count in offer.filled.items()} if rows else {}
    wrong = min(offer.wrong, rows)
    return replace(offer, rows=rows, wrong=wrong, persons=offer.persons // k * k, filled=filled)


def _counted(at: int, rows: int, wrong: int, persons: int, filled: dict[str, int]) -> dict[str, Any]:
    return {"measured": at, "rows": rows, "wrong": wrong, "persons": persons, "filled": filled}
