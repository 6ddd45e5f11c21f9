"""Paper: HTML as a PDF, and whether every character of a text can be printed on it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from renkei.errors import SetupError

FONTS = Path("/usr/share/fonts")
SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
"""Code points that choose a variant of the character before them (Unicode: variation selectors)."""


def pdf(html: str) -> bytes:
    """``html`` as a PDF; nothing is fetched from anywhere. ``SetupError`` without Pango on the machine."""
    try:
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher
    except OSError:
        raise SetupError(
            "PDF needs the Pango library.",
            ja="PDF の作成には Pango が必要です。",
            code="no-pango",
            remedy="Install Debian's libpango-1.0-0, libpangoft2-1.0-0 and libharfbuzz-subset0.",
            remedy_ja="Debian の libpango-1.0-0、libpangoft2-1.0-0、libharfbuzz-subset0 を入れてください。",
        ) from None
    made: bytes = HTML(string=html, url_fetcher=URLFetcher(allowed_protocols=("data",))).write_pdf()
    return made


class Face(NamedTuple):
    """A typeface: its family, and what it has."""

    family: str
    characters: frozenset[int]
    variants: frozenset[tuple[int, int]]
    """Pairs of character and selector."""

    def lacks(self, text: str) -> list[str]:
        """What of ``text`` it cannot print, each once: a character, or a character with its selector."""
        found = {}
        for character, selector in _sequences(text):
            there = (ord(character), ord(selector)) in self.variants if selector else ord(character) in self.characters
            if not there and not character.isspace():
                found[character + selector] = True
        return list(found)


def _sequences(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        chosen = at + 1 < len(text) and any(ord(text[at + 1]) in r for r in SELECTORS)
        yield text[at], text[at + 1] if chosen else ""
        at += 2 if chosen else 1


@cache
def face(typefaces: tuple[tuple[str, str], ...]) -> Face:
    """The first of these (by family and file) that is on this machine; ``SetupError`` if there is none."""
    for family, name in typefaces:
        path = next(FONTS.rglob(name), None)
        if path is not None:
            return _read(family, path)
    families = ", ".join(family for family, _ in typefaces)
    raise SetupError(
        "No typeface that the pack names is on this machine.",
        ja="パックにある書体が、このコンピューターにありません。",
        code="no-typeface",
        remedy=f"Install one of: {families}." if families else "Name one in the pack, under [cards.printed].",
        remedy_ja=f"いずれかを入れてください: {families}"
        if families
        else "パックの [cards.printed] に書体を指定してください。",
    )


def _read(family: str, path: Path) -> Face:
    from fontTools.ttLib import TTFont

    with TTFont(path, lazy=True) as font:
        tables: list[Any] = font["cmap"].tables
        characters = frozenset(code for t in tables if t.isUnicode() and t.format != 14 for code in t.cmap)
        variants = frozenset(
            (code, selector)
            for t in tables
            if t.format == 14
            for selector, pairs in t.uvsDict.items()
            for code, _ in pairs
        )
    return Face(family, characters, variants)


def named(character: str) -> str:
    """A character and its code points, for whoever is to see which one it is."""
    return f"{character} ({' '.join(f'U+{ord(c):04X}' for c in character)})"
