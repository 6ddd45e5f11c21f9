"""The pack: what a country decides, read from CSV a lawyer can open and TOML for prose.

``check`` finds every fault with file, line and remedy; ``Pack.load`` refuses a pack with any. A pack is identified by the
hash of its bytes, which is what the record cites.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from renkei.errors import RenkeiError
from renkei.law import tables
from renkei.law.tables import Fault, Sheet


class PackFaults(RenkeiError):
    """A pack cannot be used; ``faults`` lists every reason."""

    code = "pack-faults"
    remedy = "Mend each fault listed; `renkei law check PACK` shows them with file and line."
    remedy_ja = "一覧の誤りをすべて直してください。`renkei law check PACK` で場所を確認できます。"

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(f"The pack has {len(faults)} fault(s).", ja=f"パックに{len(faults)}件の誤りがあります。")
        self.faults = faults


class Title(NamedTuple):
    """A short title in both languages."""

    ja: str
    en: str

    def text(self, language: str) -> str:
        return self.ja if language == "ja" else self.en


class Kind(NamedTuple):
    """A kind of body; a class of kinds has ``members``."""

    code: str
    title: Title
    members: tuple[str, ...]


class Body(NamedTuple):
    """An institution of the demo nation: what it is called, what it is, and which service it runs."""

    code: str
    title: Title
    kinds: tuple[str, ...]
    role: str
    number: str
    """Its public number under ``format`` (e.g. a local-government code), empty if none."""


class Affair(NamedTuple):
    """An administrative affair (事務) for which something may be asked."""

    code: str
    title: Title
    act: str


class Item(NamedTuple):
    """An item of specific personal information (特定個人情報) that may be asked for."""

    code: str
    title: Title
    act: str
    row: str


class Linkage(NamedTuple):
    """One line of the linkage table: under ``row``, ``requester`` kinds may ask ``provider`` kinds for ``item``."""

    row: str
    line: int
    requester: tuple[str, ...]
    affair: str
    provider: tuple[str, ...]
    item: str
    start: dt.date
    end: dt.date | None

    def in_force(self, on: dt.date) -> bool:
        return self.start <= on and (self.end is None or on <= self.end)


class Term(NamedTuple):
    """A word of the vocabulary with its type and unit."""

    code: str
    type: str
    unit: str
    codes: str
    title: Title
    definition: Title
    example: str


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One field of a data specification."""

    name: str
    term: str
    ja: str
    en: str
    required: bool = False

    @property
    def title(self) -> Title:
        return Title(self.ja, self.en)


class Specification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A data specification (DRM): which fields an item consists of."""

    item: str
    version: int
    records: str
    ja: str
    en: str
    fields: tuple[Field, ...]


class Statute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How rows are cited: ``{row}`` in the templates is the row number."""

    ja: str
    en: str
    cite_ja: str
    cite_en: str


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers the pack decides."""

    expires_days: int = 7
    expires_days_max: int = 30
    retention_years: int = 7
    issued_within_seconds: int = 120


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``pack.toml``."""

    id: str
    version: str
    ja: str
    en: str
    person_number: str
    time_zone: str
    """IANA name: the law's days begin and end by it."""
    statute: Statute
    limits: Limits = Limits()
    assessment: dict[str, Any] = {}


ROLES = ("authority", "hub", "commission", "portal", "gateway")
NOT_LAW = ("population/",)
"""Folders that travel with a pack but decide nothing: no part of its hash."""


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every CSV and TOML file under ``folder`` by its relative path."""
    if not (folder / "pack.toml").is_file():
        raise PackFaults(
            [
                Fault(
                    str(folder),
                    0,
                    "There is no pack.toml here.",
                    "Name the folder of a pack, e.g. packs/japan.",
                )
            ]
        )
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.suffix in (".csv", ".toml") and p.is_file()
    }


def archive(files: Mapping[str, bytes]) -> bytes:
    """The pack as one canonical byte string: what is hashed, stored content-addressed and sent."""
    return msgspec.msgpack.encode([[n, files[n]] for n in sorted(files) if not n.startswith(NOT_LAW)])


def unarchive(data: bytes) -> dict[str, bytes]:
    return dict(msgspec.msgpack.decode(data, type=list[tuple[str, bytes]]))


class Pack:
    """A jurisdiction pack without faults. Immutable."""

    def __init__(
        self,
        header: Header,
        files: Mapping[str, bytes],
        parts: Mapping[str, dict[str, Any]],
        rows: list[Linkage],
    ):
        self.header = header
        self.archive = archive(files)
        self.hash = sha256(self.archive).digest()
        self.kinds: dict[str, Kind] = parts["kinds"]
        self.bodies: dict[str, Body] = parts["bodies"]
        self.affairs: dict[str, Affair] = parts["affairs"]
        self.items: dict[str, Item] = parts["items"]
        self.terms: dict[str, Term] = parts["terms"]
        self.codelists: dict[str, dict[str, Title]] = parts["codelists"]
        self.purposes: dict[str, Title] = parts["purposes"]
        self.withholding: frozenset[str] = frozenset(parts["withholding"])
        """Purposes for which the fact of an inquiry may be withheld from the person (art. 23(2))."""
        self.zone = zoneinfo.ZoneInfo(header.time_zone)
        self.specifications: dict[str, Specification] = parts["specifications"]
        self.linkages = tuple(rows)
        self.by_affair_item: dict[tuple[str, str], list[Linkage]] = defaultdict(list)
        for row in rows:
            self.by_affair_item[row.affair, row.item].append(row)

    @classmethod
    def load(cls, source: Path | Mapping[str, bytes] | bytes) -> Pack:
        """The pack in a folder, a mapping of files or an archive; ``PackFaults`` lists all that is wrong with it."""
        if isinstance(source, Path):
            source = read_folder(source)
        elif isinstance(source, bytes):
            source = unarchive(source)
        pack, faults = check(source)
        if faults or pack is None:
            raise PackFaults(faults)
        return pack

    @cached_property
    def reference(self) -> str:
        """``id version hash8``: how entries and pages name this pack."""
        return f"{self.header.id} {self.header.version} {self.hash.hex()[:8]}"

    @cached_property
    def classes(self) -> dict[str, frozenset[str]]:
        """For every kind the kinds it *counts as*: itself and each class that holds it, at any depth."""
        counts: dict[str, set[str]] = {k: {k} for k in self.kinds}
        grew = True
        while grew:
            grew = False
            for kind in self.kinds.values():
                for member in kind.members:
                    for known in counts.values():
                        if member in known and kind.code not in known:
                            known.add(kind.code)
                            grew = True
        return {k: frozenset(v) for k, v in counts.items()}

    def standing(self, kinds: tuple[str, ...] | frozenset[str]) -> frozenset[str]:
        """All kinds a body of ``kinds`` counts as."""
        return frozenset().union(*(self.classes.get(k, frozenset()) for k in kinds))

    def day(self, moment: int) -> dt.date:
        """The law's day at ``moment`` (milliseconds since 1970 UTC)."""
        return dt.datetime.fromtimestamp(moment / 1000, self.zone).date()

    def cite(self, row: str, language: str) -> str:
        """The citation of ``row``."""
        s = self.header.statute
        return (s.cite_ja if language == "ja" else s.cite_en).format(row=row)


def check(files: Mapping[str, bytes]) -> tuple[Pack | None, list[Fault]]:
    """Read a whole pack; answers it if faultless, and every fault found."""
    faults: list[Fault] = []
    header = tables.toml(files, "pack.toml", Header, faults)
    parts: dict[str, dict[str, Any]] = {}

    def sheet(name: str, columns: str, *, key: str | None = None) -> Iterator[Sheet]:
        return tables.rows(files, name, columns.split(), faults, key=key)

    parts["kinds"] = {
        r["kind"]: Kind(r["kind"], r.title(), r.words("members"))
        for r in sheet("kinds.csv", "kind ja en members note", key="kind")
    }
    parts["affairs"] = {
        r["affair"]: Affair(r["affair"], r.title(), r["act"])
        for r in sheet("affairs.csv", "affair ja en act", key="affair")
    }
    parts["items"] = {
        r["item"]: Item(r["item"], r.title(), r["act"], r["defined_in"])
        for r in sheet("items.csv", "item ja en act defined_in", key="item")
    }
    parts["purposes"], parts["withholding"] = {}, {}
    for r in sheet("purposes.csv", "purpose withhold ja en", key="purpose"):
        parts["purposes"][r["purpose"]] = r.title()
        r.one_of("withhold", ("yes", ""))
        if r["withhold"]:
            parts["withholding"][r["purpose"]] = r.title()
    parts["bodies"] = {}
    for r in sheet("bodies.csv", "body role kinds number ja en", key="body"):
        r.refers("kinds", parts["kinds"], "kinds.csv")
        r.one_of("role", ROLES)
        parts["bodies"][r["body"]] = Body(r["body"], r.title(), r.words("kinds"), r["role"], r["number"])
    _check_classes(parts["kinds"], faults)

    codelists: dict[str, dict[str, Title]] = defaultdict(dict)
    for r in sheet("codelists.csv", "list code ja en"):
        if r["code"] in codelists[r["list"]]:
            r.fault(f"Code {r['code']!r} stands twice in list {r['list']!r}.", "Remove one of the two lines.")
        codelists[r["list"]][r["code"]] = r.title()
    parts["codelists"] = dict(codelists)
    parts["terms"] = {}
    for r in sheet("terms.csv", "term type unit codes ja en definition_ja definition_en example", key="term"):
        r.one_of("type", tables.TYPES)
        if r["type"] == "code":
            r.refers("codes", codelists, "codelists.csv")
        wrong = tables.value_fault(r["type"], r["example"], codelists.get(r["codes"], {}))
        if wrong:
            r.fault(f"The example {wrong}.", "Give an example that a real record could hold.")
        parts["terms"][r["term"]] = Term(
            r["term"],
            r["type"],
            r["unit"],
            r["codes"],
            r.title(),
            Title(r["definition_ja"], r["definition_en"]),
            r["example"],
        )
    parts["specifications"] = _specifications(files, parts, faults)
    linkages = _linkages(sheet, parts, faults)
    if header and header.time_zone not in zoneinfo.available_timezones():
        faults.append(Fault("pack.toml", 0, "`time_zone` is not known.", "Give an IANA name, e.g. Asia/Tokyo."))
    if header and "{row}" not in header.statute.cite_ja + header.statute.cite_en:
        faults.append(
            Fault("pack.toml", 0, "The citation does not name the row.", "Put {row} into cite_ja and cite_en.")
        )
    if faults or header is None:
        return None, faults
    return Pack(header, files, parts, linkages), []


def _linkages(sheet: Any, parts: Mapping[str, dict[str, Any]], faults: list[Fault]) -> list[Linkage]:
    found: list[Linkage] = []
    seen: dict[tuple[Any, ...], int] = {}
    for r in sheet("linkages.csv", "row line requester affair provider item from to"):
        r.refers("requester", parts["kinds"], "kinds.csv")
        r.refers("provider", parts["kinds"], "kinds.csv")
        r.refers("affair", parts["affairs"], "affairs.csv")
        r.refers("item", parts["items"], "items.csv")
        start, end = r.date("from"), r.date("to", empty=True)
        if start and end and end < start:
            r.fault("The line ends before it begins.", "Put the later date into `to`.")
        key = (r["row"], r["line"], r["requester"], r["affair"], r["provider"], r["item"], r["from"])
        if key in seen:
            r.fault(f"The same linkage stands on line {seen[key]}.", "Remove one of the two lines.")
        seen[key] = r.number
        line = r["line"]
        if not (line.isascii() and line.isdigit()):
            r.fault("`line` is not a number.", "Count the provider lines of the row from 1.")
        elif start:
            found.append(
                Linkage(
                    r["row"],
                    int(line),
                    r.words("requester"),
                    r["affair"],
                    r.words("provider"),
                    r["item"],
                    start,
                    end,
                )
            )
    return found


def _check_classes(kinds: Mapping[str, Kind], faults: list[Fault]) -> None:
    for kind in kinds.values():
        for member in kind.members:
            if member not in kinds:
                faults.append(
                    Fault(
                        "kinds.csv",
                        0,
                        f"{kind.code!r} holds {member!r}, which is no kind.",
                        "Add the kind or correct it.",
                    )
                )
    for start in kinds:
        path, todo = set[str](), list(kinds[start].members)
        while todo:
            at = todo.pop()
            if at == start:
                faults.append(Fault("kinds.csv", 0, f"The class {start!r} holds itself.", "Break the circle."))
                break
            if at in kinds and at not in path:
                path.add(at)
                todo += kinds[at].members


def _specifications(
    files: Mapping[str, bytes], parts: Mapping[str, dict[str, Any]], faults: list[Fault]
) -> dict[str, Specification]:
    found: dict[str, Specification] = {}
    for name in sorted(n for n in files if n.startswith("specifications/")):
        spec = tables.toml(files, name, Specification, faults)
        if spec is None:
            continue
        line = tables.line_finder(files[name])
        if spec.item not in parts["items"]:
            faults.append(Fault(name, line("item"), f"There is no item {spec.item!r}.", "Use a code from items.csv."))
        if spec.records not in ("one", "many"):
            faults.append(Fault(name, line("records"), "`records` is neither one nor many.", 'Write "one" or "many".'))
        if spec.item in found:
            faults.append(Fault(name, line("item"), f"{spec.item!r} has two specifications.", "Keep the newer."))
        names: set[str] = set()
        for field in spec.fields:
            at = line(f'name = "{field.name}"')
            if field.term not in parts["terms"]:
                faults.append(
                    Fault(name, at, f"There is no term {field.term!r}.", "Use a term from terms.csv or add it.")
                )
            if field.name in names:
                faults.append(Fault(name, at, f"The field {field.name!r} stands twice.", "Rename one."))
            names.add(field.name)
        found[spec.item] = spec
    return found
