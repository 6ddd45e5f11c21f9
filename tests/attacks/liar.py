"""A keeper gone bad in one thing it does, while everything else of it goes on as before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from renkei.codes import encrypt
from tests.attacks.rogue import some_code
from tests.world import Running, until


@contextlib.contextmanager
def answering(nation: Running, keeper: str, change: Callable[[str, Any, Any], Any]) -> Iterator[None]:
    """Meanwhile ``keeper`` answers every question with ``change(sender, question, its honest reply)``."""
    institution = nation.world.institutions[keeper]
    honest = institution.answer  # type: ignore[attr-defined]

    async def lie(sender: str, question: Any) -> Any:
        return change(sender, question, await honest(sender, question))

    institution.post._handler = lie
    try:
        yield
    finally:
        institution.post._handler = honest


@contextlib.contextmanager
def converting_to_another(nation: Running, liar: str) -> Iterator[None]:
    """Meanwhile ``liar`` makes another person of whoever Ohashi asks the tax union about."""
    ohashi, keeper = nation.world.institutions["ohashi-city"], nation.world.institutions[liar]
    other = encrypt(ohashi.database.read_now(some_code), ohashi.member.key(ohashi.member.domain))
    honest = keeper.converter.convert

    def lie(source: Any, target: Any, given: Any) -> Any:
        if (source.body, target.body) != ("ohashi-city", "tax-union"):
            return honest(source, target, given)
        if liar == "hub":
            return honest(source, target, other)
        hub = nation.world.institutions["hub"].converter
        return honest(source, target, hub.convert(source, target, other))

    keeper.converter.convert = lie
    try:
        yield
    finally:
        keeper.converter.convert = honest


def challenge(nation: Running, told: Any, *, by: str = "tax-union") -> tuple[int, Any]:
    """``by`` makes both converters prove what led to its answer."""
    return nation.http(by, f"/provisions/{told['id']}/challenge", b"")


def is_caught(nation: Running, liar: str, finder: str) -> None:
    """Another person's data came; the other keeper and the provider find out, and still know after a restart."""
    with converting_to_another(nation, liar):
        told = nation.ask(persona=1)[1]
    assert told["state"] == "answered"
    status, health = until(lambda: (h := nation.http(finder, "/health", token=""))[1].get("audit_failed") and h)
    assert (status, health["audit_failed"], health["audit_first"]) == (503, "1", f"{liar} at leaf {told['leaf']}")
    assert challenge(nation, told) == (200, {"hub": liar != "hub", "commission": liar != "commission"})
    nation.stop_body(finder)
    nation.start_body(finder)
    assert nation.http(finder, "/health", token="")[1]["audit_failed"] == "1"
