"""Every way to change one place of a message and nothing else of it: what the adversaries put on the wire.

Messages are taken as plain MessagePack values, so whatever field a wire type has or gets is changed with the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

Change = tuple[str, Any]
"""Where and how it was changed (``.codes[0][1]:truncated``), and the message with that change."""


def plain(message: msgspec.Struct) -> Any:
    """A message as MessagePack has it."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(message))


def changes(value: Any, other: Any = None, where: str = "") -> Iterator[Change]:
    """``value`` changed in one place: altered, cut, emptied, of another kind, missing, repeated, or as in the genuine ``other``."""
    if where:
        for how, new in _instead(value):
            if new != value or type(new) is not type(value):
                yield f"{where}:{how}", new
        if other is not None and other != value:
            yield f"{where}:swapped", other
    if isinstance(value, dict):
        yield from _in_map(value, other if isinstance(other, dict) else {}, where)
    elif isinstance(value, list):
        yield from _in_list(value, other if isinstance(other, list) else [], where)


def _in_map(value: dict[str, Any], other: dict[str, Any], where: str) -> Iterator[Change]:
    yield f"{where}:more", {**value, "more": 1}
    for key, held in value.items():
        yield f"{where}.{key}:missing", {k: v for k, v in value.items() if k != key}
        for at, new in changes(held, other.get(key), f"{where}.{key}"):
            yield at, {**value, key: new}


def _in_list(value: list[Any], other: list[Any], where: str) -> Iterator[Change]:
    if value:
        yield f"{where}:repeated", [*value, value[-1]]
    if len(value) > 1:
        yield f"{where}:reordered", value[::-1]
    for i in sorted({0, len(value) // 2, len(value) - 1} & set(range(len(value)))):
        yield f"{where}[{i}]:missing", value[:i] + value[i + 1 :]
        for at, new in changes(value[i], other[i] if i < len(other) else None, f"{where}[{i}]"):
            yield at, [*value[:i], new, *value[i + 1 :]]


def _instead(value: Any) -> Iterator[Change]:
    """Values to put in its place."""
    yield "none", None
    match value:
        case bool():
            yield from (("altered", not value), ("number", int(value)), ("text", "true"))
        case int():
            yield from ((f"plus{by}", value + by) for by in (1, -1, 1000, 400 * 86_400_000) if value + by < 2**64)
            yield from (("zero", 0), ("negative", -1), ("long", 2**53), ("longest", 2**64 - 1))
            yield from (("fraction", value + 0.5), ("text", str(value)))
        case str():
            yield from (("altered", "x" + value[1:]), ("cut", value[:-1]), ("empty", ""), ("longer", value + "x"))
            yield from (("null", value + "\0"), ("line", value + "\n"), ("markup", "<b>"), ("wide", "山" + value))
            yield from (("long", "a" * 5_000), ("bytes", value.encode()))
        case bytes():
            yield from _of_bytes(value)
        case dict() | list():
            yield from (("empty", type(value)()), ("text", "x"), ("deep", _deep()))


def _of_bytes(value: bytes) -> Iterator[Change]:
    for i in sorted({0, len(value) // 2, len(value) - 1} & set(range(len(value)))):
        yield f"altered{i}", value[:i] + bytes([value[i] ^ 1]) + value[i + 1 :]
    yield from (("cut", value[:-1]), ("empty", b""), ("longer", value + b"\0"))
    yield from (("identity", bytes(len(value))), ("noncanonical", b"\xff" * len(value)), ("text", "x" * len(value)))


def _deep() -> Any:
    value: Any = []
    for _ in range(600):
        value = [value]
    return value


def parts(messages: Iterable[Any], size: int = 32) -> Iterator[list[Any]]:
    """The messages, some at a time."""
    part: list[Any] = []
    for message in messages:
        part.append(message)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
