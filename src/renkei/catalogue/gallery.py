"""The gallery: what people have made with the opened data. A file the catalogue's operator keeps, for what is in it was looked at first."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from renkei.errors import Malformed
from renkei.law.tables import Title

FILE = "applications.toml"
MOST = 1000
Line = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=1000)]


class Application(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[application]]``: something made with opened data."""

    ja: Line
    en: Line
    about_ja: Text
    about_en: Text
    url: Annotated[str, Meta(max_length=500)]
    by: Line
    """Who made it."""
    datasets: tuple[str, ...]
    """Ids of what it uses."""

    @property
    def title(self) -> Title:
        return Title(self.ja, self.en)

    @property
    def about(self) -> Title:
        return Title(self.about_ja, self.about_en)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    application: tuple[Application, ...] = ()


class Gallery:
    """The applications in a file, read anew when it changes."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._read: tuple[tuple[int, int], tuple[Application, ...]] = ((0, 0), ())

    def all(self) -> tuple[Application, ...]:
        """All of them, as the file has them; a file that became wrong changes nothing."""
        try:
            status = self._path.stat()
            now = status.st_mtime_ns, status.st_size
            if now != self._read[0]:
                self._read = now, read(self._path.read_bytes())
        except FileNotFoundError:
            self._read = (0, 0), ()
        except (Malformed, OSError):
            pass
        return self._read[1]

    def using(self, dataset: str) -> list[Application]:
        return [a for a in self.all() if dataset in a.datasets]

    def replace(self, data: bytes, known: Collection[str]) -> tuple[Application, ...]:
        """Make ``data`` the gallery, whole; ``Malformed`` if it is none, or uses a dataset that is not ``known``."""
        found = read(data)
        if strange := sorted({d for a in found for d in a.datasets} - set(known)):
            raise _wrong(f"There is no dataset {strange[0]!r}.", f"データセット {strange[0]} はありません。")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".part")
        unfinished.write_bytes(data)
        unfinished.replace(self._path)
        return found


def read(data: bytes) -> tuple[Application, ...]:
    """The applications in a TOML file; ``Malformed`` if one cannot be shown."""
    try:
        found = msgspec.convert(tomllib.loads(data.decode("utf-8")), _File).application
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise _wrong(f"The file cannot be read: {error}.", f"読み込めません: {error}") from None
    if len(found) > MOST:
        raise _wrong(f"There are more than {MOST}.", f"{MOST}件を超えています。")
    for one in found:
        try:
            parts = urlsplit(one.url)
        except ValueError:
            raise _wrong(f"`url` of {one.en!r} is no address.", f"{one.ja} の url が正しくありません。") from None
        if parts.scheme != "https" or not parts.hostname or parts.username:
            raise _wrong(f"`url` of {one.en!r} is no https address.", f"{one.ja} の url が https ではありません。")
    return found


def _wrong(sentence: str, ja: str) -> Malformed:
    remedy = "Correct applications.toml; docs/open-data.md shows one."
    return Malformed(
        sentence, ja=ja, code="gallery", remedy=remedy, remedy_ja="docs/open-data.md の例を参照してください。"
    )
