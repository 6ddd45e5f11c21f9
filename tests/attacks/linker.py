"""The linkability adversary: a program that is given all it could steal and tries to tell which inquiries are about one person.

It holds one converter's master secret (or, as a control, both), the ledger with every entry and salt, the key directory, and everything
that went over the bus. It does not hold what answers the question by itself: the databases of requester and provider, which
know their own people, and of the portal, which keeps residents' records.

Each *clue* is a number for a pair of inquiries, larger if they look more alike. How good it is, is the chance that it ranks a pair about
one person above a pair about two (the area under the curve); its *advantage* is how far that lies from one half.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from renkei.codes import Ciphertext, Converter, Domain, combine_shares, group
from renkei.messages.wire import Inquiry, decode_as
from renkei.record.entries import InquiryLeaf
from renkei.record.state import domain_of
from tests.attacks.spy import Seen

SURE = 3.29
"""Standard errors on each side of a confidence interval: 99.9 %, since a dozen clues are tried together."""


class Trace(NamedTuple):
    """What is visible of one inquiry."""

    id: bytes
    elements: frozenset[bytes]
    """Everything that can be computed from its ciphertexts with what was stolen."""
    bits: int
    index: int
    issued: int
    recorded: int
    validity: int
    entry_size: int
    asked_size: int
    answered_size: int
    latency: float


class Score(NamedTuple):
    """A clue's advantage, and the interval it lies in with 99.9 % confidence."""

    clue: str
    advantage: float
    low: float
    high: float


def gather(
    leaves: Iterable[tuple[int, bytes, InquiryLeaf]], seen: Sequence[Seen], stolen: Sequence[Converter]
) -> list[Trace]:
    """One trace per inquiry leaf: position, encoded entry, entry."""
    answers: dict[str, list[Seen]] = {}
    for message in seen:
        parts = message.subject.split(".")
        if parts[0] == "mail" and parts[-1] in ("live", "session"):
            answers.setdefault(f"{parts[2]}>{parts[1]}", []).append(message)
    times = {way: [m.at for m in messages] for way, messages in answers.items()}

    def next_on(way: str, after: float) -> Seen | None:
        at = bisect.bisect_left(times.get(way, []), after)
        return answers[way][at] if at < len(times.get(way, [])) else None

    found = []
    for position, raw, leaf in leaves:
        inquiry = decode_as(leaf.inquiry.payload, Inquiry)
        assert leaf.target is not None
        asked = next_on(f"{leaf.inquiry.sender}>hub", inquiry.issued_at)
        answer = next_on(f"{inquiry.provider}>{leaf.inquiry.sender}", leaf.time)
        source, target = domain_of(inquiry.source), domain_of(leaf.target)
        ways = [Ciphertext.from_bytes(c) for c in (inquiry.ciphertext, leaf.half, leaf.converted)]
        found.append(
            Trace(
                leaf.inquiry.id,
                frozenset(_elements(ways, source, target, stolen)),
                int.from_bytes(leaf.converted, "big"),
                position,
                inquiry.issued_at,
                leaf.time,
                inquiry.expires - inquiry.issued_at,
                len(raw),
                len(asked.data) if asked else 0,
                len(answer.data) if answer else 0,
                answer.at - leaf.time if answer else 0.0,
            )
        )
    return found


def _elements(
    ways: Sequence[Ciphertext], source: Domain, target: Domain, stolen: Sequence[Converter]
) -> Iterable[bytes]:
    """Every element that known scalars lead to: unmasked with each known key, unshuffled with each known factor, and the like."""
    keys: list[bytes] = [(1).to_bytes(32, "little")]
    for domain in (source, target):
        shares = [c.key_share(domain) for c in stolen]
        keys += shares + ([combine_shares(*shares)] if len(shares) > 1 else [])
    factors = [c.rotation(target, source) for c in stolen]
    for way in ways:
        yield way.b
        yield way.c
        unmasked = [group.subtract(way.c, group.multiply(key, way.b)) for key in keys]
        yield from unmasked
        for factor in factors:
            yield group.multiply(factor, way.c)
            yield group.multiply(factor, way.b)
    for one, other in itertools.combinations(ways, 2):
        yield group.subtract(one.c, other.c)
        yield group.subtract(one.b, other.b)


CLUES: dict[str, Callable[[Trace, Trace], float]] = {
    "algebra": lambda a, b: float(not a.elements.isdisjoint(b.elements)),
    "bits": lambda a, b: -float((a.bits ^ b.bits).bit_count()),
    "order": lambda a, b: -float(abs(a.index - b.index)),
    "asked together": lambda a, b: -float(abs(a.issued - b.issued)),
    "one round": lambda a, b: float(a.recorded == b.recorded),
    "validity": lambda a, b: float(a.validity == b.validity),
    "entry size": lambda a, b: -float(abs(a.entry_size - b.entry_size)),
    "question size": lambda a, b: -float(abs(a.asked_size - b.asked_size)),
    "answer size": lambda a, b: -float(abs(a.answered_size - b.answered_size)),
    "answer size, exactly": lambda a, b: float(a.answered_size == b.answered_size),
    "time to answer": lambda a, b: -abs(a.latency - b.latency),
    "rhythm": lambda a, b: -float(abs(a.issued % 1000 - b.issued % 1000)),
}


def judge(traces: Sequence[Trace], person: dict[bytes, str], *, pairs: int, seed: int) -> list[Score]:
    """How well each clue tells pairs about one person from pairs about two; ``person`` is the truth, by inquiry id."""
    rng = random.Random(seed)
    by_person: dict[str, list[Trace]] = {}
    for trace in traces:
        by_person.setdefault(person[trace.id], []).append(trace)
    several = [group_ for group_ in by_person.values() if len(group_) > 1]
    same, different = [], []
    while len(same) < pairs:
        same.append(tuple(rng.sample(rng.choice(several), 2)))
    while len(different) < pairs:
        a, b = rng.sample(traces, 2)
        if person[a.id] != person[b.id]:
            different.append((a, b))
    return [_score(name, [clue(*p) for p in same], [clue(*p) for p in different]) for name, clue in CLUES.items()]


def _score(name: str, same: list[float], different: list[float]) -> Score:
    """The area under the curve by ranks (Mann and Whitney), ties shared; its error by Hanley and McNeil 1982."""
    counts, total, area = Counter(different), len(same) * len(different), 0.0
    values = sorted(counts)
    below = list(itertools.accumulate((counts[v] for v in values), initial=0))
    for value in same:
        at = bisect.bisect_left(values, value)
        area += below[at] + 0.5 * counts.get(value, 0)
    a = area / total
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    n, m = len(same), len(different)
    error = math.sqrt(max(a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a), 0.0) / (n * m))
    return Score(name, a - 0.5, a - 0.5 - SURE * error, a - 0.5 + SURE * error)
