"""What is read out of the console's forms; ``Malformed`` in the reader's language for what cannot be."""

from __future__ import annotations

import datetime as dt

from renkei.errors import Malformed


def text(given: str, most: int) -> str:
    """A text of at most ``most`` characters, perhaps empty."""
    if len(given) > most or "\0" in given:
        raise Malformed(
            f"A text has at most {most:,} characters.", ja=f"文章は{most:,}文字以内で入力してください。", code="text"
        )
    return given.strip()


def prose(given: str, most: int) -> str:
    """A text that says something."""
    found = text(given, most)
    if not found:
        raise Malformed("Say it in words.", ja="文章を入力してください。", code="text")
    return found


def number(given: str, most: int) -> int:
    """A whole number from 0 to ``most``."""
    given = given.strip().replace(",", "")
    if not (given.isascii() and given.isdigit() and len(given) < 16 and int(given) <= most):
        raise Malformed(
            f"Give a whole number up to {most:,}.", ja=f"{most:,}以下の整数を入力してください。", code="number"
        )
    return int(given)


def leaf(given: str, size: int) -> int:
    """A place in a record of ``size`` entries."""
    at = number(given, 2**53 - 1)
    if at >= size:
        raise Malformed(f"The record has {size:,} entries.", ja=f"記録は{size:,}件です。", code="leaf")
    return at


def day(given: str) -> dt.date:
    """A day as browsers send it."""
    try:
        found = dt.date.fromisoformat(given)
        found + dt.timedelta(days=1)
    except (ValueError, OverflowError):
        raise Malformed(
            "Write the day as YYYY-MM-DD.", ja="日付は YYYY-MM-DD で入力してください。", code="day"
        ) from None
    return found


def pseudonym(given: str) -> bytes:
    """A clerk's pseudonym as pages show it; nothing for nothing."""
    try:
        found = bytes.fromhex(given.strip())
    except ValueError:
        found = b"?"
    if len(found) not in (0, 8):
        raise Malformed(
            "A clerk's pseudonym has 16 hexadecimal digits.", ja="職員の仮名は16桁の16進数です。", code="pseudonym"
        )
    return found


def hexadecimal(given: str) -> bytes:
    """Something named by its bytes; nothing has an empty name."""
    try:
        return bytes.fromhex(given)
    except ValueError:
        return b""


def attached(name: str) -> dict[str, str]:
    """Headers of a file to be kept under ``name``."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}
