"""What an opened dataset is: its declaration (``about.toml``), and a published version of it. Pure."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec

from renkei.catalogue.privacy import Column, Finding
from renkei.errors import Malformed
from renkei.law.tables import Title

FORMS = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "geojson": "application/geo+json",
}
"""The files of a dataset, and their media types. GeoJSON only with longitude and latitude."""
Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*\Z", max_length=80)]
Listed = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9_]*\Z", max_length=40)]
Short = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``about.toml``: what a dataset is."""

    id: Word
    ja: Short
    en: Short
    description_ja: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
    description_en: Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]
    publisher: str
    """The body whose data it is, by its code."""
    kind: Literal["reference", "microdata", "aggregate"]
    licence: Annotated[str, msgspec.Meta(pattern=r"""^https?://[^\x00-\x20"<>\\^`{|}\x7f-\U0010ffff]+\Z""")]
    """Address of its licence."""
    columns: Annotated[tuple[Column, ...], msgspec.Meta(min_length=1, max_length=500)]
    theme: Listed = ""
    """Of the EU's data-theme list, e.g. GOVE."""
    period: str = ""
    """What it covers, in words or as ISO 8601 has it."""
    every: Listed = ""
    """How often it is renewed, of the EU's frequency list, e.g. ANNUAL."""
    keywords: tuple[str, ...] = ()
    contact: str = ""

    @property
    def title(self) -> Title:
        return Title(self.ja, self.en)

    def role(self, role: str) -> Column | None:
        """The first column of a role."""
        return next((c for c in self.columns if c.role == role), None)

    @property
    def forms(self) -> list[str]:
        """The forms it is offered in."""
        located = self.role("longitude") and self.role("latitude")
        return [f for f in FORMS if f != "geojson" or located]


class Dataset(NamedTuple):
    """A published version."""

    about: About
    version: int
    rows: int
    digest: str
    """SHA-256 of its CSV file, in hexadecimal."""
    issued: int
    modified: int
    """Milliseconds since 1970 UTC: of the first version, and of this one."""
    findings: tuple[Finding, ...]
    """Warnings it is published with."""
    suppressed: int


def read_about(path: Path) -> About:
    """The declaration in a file; ``Malformed`` says what is wrong with it."""
    try:
        about = msgspec.convert(tomllib.loads(path.read_text("utf-8")), About)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Malformed(
            f"{path.name}: {error}.", ja=f"{path.name} に誤りがあります: {error}", code="about", remedy="See docs/open-data.md.",
            remedy_ja="docs/open-data.md を参照してください。",
        ) from None  # fmt: skip
    names = [c.name for c in about.columns]
    if len(set(names)) < len(names) or "" in names or any("\0" in n for n in names):
        raise Malformed(
            f"{path.name}: two columns have one name.", ja=f"{path.name}: 同じ名前の列があります。", code="about"
        )
    return about
