"""The pack: what a country decides, read from CSV a lawyer can open and TOML for prose.

``check`` finds every fault with file, line and remedy; ``Pack.load`` refuses a pack with any. A pack is identified by the
hash of its bytes, which is what the record cites.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from renkei.errors import RenkeiError
from renkei.law import assessment, counter, disclosure, letters, tables, vocabulary
from renkei.law.assessment import Level, Threshold
from renkei.law.counter import Event, Procedure, Question
from renkei.law.disclosure import Disclosure
from renkei.law.header import Header
from renkei.law.header import check as check_header
from renkei.law.letters import Notice, Rule
from renkei.law.tables import Fault, Sheet, Title
from renkei.law.vocabulary import Specification, Term
from renkei.numbers import recognise


class PackFaults(RenkeiError):
    """A pack cannot be used; ``faults`` lists every reason."""

    code = "pack-faults"
    remedy = "Mend each fault listed; `renkei law check PACK` shows them with file and line."
    remedy_ja = "一覧の誤りをすべて直してください。`renkei law check PACK` で場所を確認できます。"

    def __init__(self, faults: list[Fault]) -> None:
        first = f"{faults[0].file}:{faults[0].line or ''}: {faults[0].sentence}" if faults else ""
        super().__init__(
            f"The pack has {len(faults)} fault(s). {first}".rstrip(),
            ja=f"パックに{len(faults)}件の誤りがあります。{first}",
        )
        self.faults = faults


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


class Document(NamedTuple):
    """A certificate that a body which holds ``item`` prints for whom it is about: which fields of it, in which order, for how much."""

    code: str
    title: Title
    item: str
    fields: tuple[str, ...]
    fee: int
    """In whole units of the country's currency."""


ALONE = ("authority", "hub", "commission", "portal", "catalogue")
"""Roles that one body of a nation has."""
NEEDED = ("authority", "hub", "commission", "portal", "gateway")
"""Roles without which there is no nation."""
SHEETS = (
    "pack.toml",
    "kinds.csv",
    "bodies.csv",
    "affairs.csv",
    "items.csv",
    "linkages.csv",
    "purposes.csv",
    "codelists.csv",
    "terms.csv",
    "assessment-levels.csv",
    "assessment-thresholds.csv",
)
DOCUMENTS = "documents.csv"
SUBSCRIPTIONS = "subscriptions.csv"
"""Sheets that a pack may be without."""
SUBSCRIBED_MOST = 800
"""Days for which changes of an item may be told after one inquiry, at most."""
ROW = re.compile(r"[0-9A-Za-z]+(-[0-9A-Za-z]+)*")
EXCEPTION = "exception-"
"""Begins what stands in a ruling in place of a row when an exceptional permit allows it; its number follows."""
OWN = "own"
"""Stands in a ruling in place of a row when a person asks for their own information."""
LETTER = "letter"
"""The same for a letter between a body and a resident."""
ROLES = (*NEEDED, "catalogue")
NOT_LAW = ("population/", "hints/")
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
        disclosed: Disclosure,
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
        self.levels: dict[str, Level] = parts["levels"]
        """Of impact assessments, lowest first."""
        self.thresholds: tuple[Threshold, ...] = tuple(parts["thresholds"].values())
        """Lowest first."""
        self.zone = zoneinfo.ZoneInfo(header.time_zone)
        self.specifications: dict[str, Specification] = parts["specifications"]
        self.documents: dict[str, Document] = parts["documents"]
        self.events: dict[str, Event] = parts["events"]
        self.procedures: dict[str, Procedure] = parts["procedures"]
        self.questions: dict[str, Question] = parts["questions"]
        self.notices: dict[str, Notice] = parts["notices"]
        self.rules: dict[str, Rule] = parts["rules"]
        self.disclosure: Disclosure = disclosed
        self.subscriptions: dict[str, dict[str, int]] = parts["subscriptions"]
        """By affair and item: whoever may ask may also be told of changes, for so many days after asking."""
        self.linkages = tuple(rows)
        self.by_affair_item: dict[tuple[str, str], list[Linkage]] = defaultdict(list)
        self.by_item: dict[str, list[Linkage]] = defaultdict(list)
        for row in rows:
            self.by_affair_item[row.affair, row.item].append(row)
            self.by_item[row.item].append(row)

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

    def midnight(self, day: dt.date) -> int:
        """The moment (milliseconds since 1970 UTC) at which the law's ``day`` begins."""
        return int(dt.datetime.combine(day, dt.time(), self.zone).timestamp() * 1000)

    def may_write(self, sender: frozenset[str], receiver: frozenset[str], topic: str, affair: str) -> bool:
        """Whether a body of these kinds may write to one of those about somebody, on this topic: a notice, or a procedure."""
        known = self.notices.get(topic) or self.procedures.get(topic)
        allowed = letters.allows(self.header.letters, known, self.standing(sender), self.standing(receiver))
        return allowed and known is not None and known.affair == affair

    def subscribed_days(self, affair: str, item: str) -> int:
        """Days for which who asks for ``item`` may also be told of changes; 0: it may not."""
        return self.subscriptions.get(affair, {}).get(item, 0)

    def cite(self, row: str, language: str) -> str:
        """The citation of ``row``."""
        if row in (OWN, LETTER):
            return (self.header.own if row == OWN else self.header.letters).cite.text(language)
        s = self.header.statute
        return (s.cite_ja if language == "ja" else s.cite_en).format(row=row)


def check(files: Mapping[str, bytes]) -> tuple[Pack | None, list[Fault]]:
    """Read a whole pack; answers it if faultless, and every fault found."""
    faults: list[Fault] = []
    header = tables.toml(files, "pack.toml", Header, faults)
    parts: dict[str, dict[str, Any]] = {}

    def sheet(name: str, columns: str, *, key: str | None = None) -> Iterator[Sheet]:
        return tables.rows(files, name, columns.split(), faults, key=key)

    lines: dict[tuple[str, str], Sheet] = {}
    """Where each kind, affair and item stands, for faults that show only when all is read."""
    parts["kinds"] = {}
    for r in sheet("kinds.csv", "kind ja en members note", key="kind"):
        lines["kind", r["kind"]] = r
        parts["kinds"][r["kind"]] = Kind(r["kind"], r.title(), r.words("members"))
    parts["affairs"] = {}
    for r in sheet("affairs.csv", "affair ja en act", key="affair"):
        lines["affair", r["affair"]] = r
        parts["affairs"][r["affair"]] = Affair(r["affair"], r.title(), r["act"])
    parts["items"] = {}
    for r in sheet("items.csv", "item ja en act defined_in", key="item"):
        lines["item", r["item"]] = r
        parts["items"][r["item"]] = Item(r["item"], r.title(), r["act"], r["defined_in"])
    parts["purposes"], parts["withholding"] = {}, {}
    for r in sheet("purposes.csv", "purpose withhold ja en", key="purpose"):
        parts["purposes"][r["purpose"]] = r.title()
        r.one_of("withhold", ("yes", ""))
        if r["withhold"]:
            parts["withholding"][r["purpose"]] = r.title()
    parts["bodies"] = {}
    alone: dict[str, str] = {}
    for r in sheet("bodies.csv", "body role kinds number ja en", key="body"):
        r.refers("kinds", parts["kinds"], "kinds.csv")
        r.one_of("role", ROLES)
        if r["role"] in ALONE and alone.setdefault(r["role"], r["body"]) != r["body"]:
            r.fault(f"{alone[r['role']]!r} is the {r['role']} already.", "A nation has one; correct the role.")
        if r["number"] and not recognise(r["number"]):
            r.fault("`number` is not a valid public number.", "Check its digits and check digit, or leave it empty.")
        parts["bodies"][r["body"]] = Body(r["body"], r.title(), r.words("kinds"), r["role"], r["number"])
    for role in NEEDED if parts["bodies"] else ():
        if not any(b.role == role for b in parts["bodies"].values()):
            faults.append(Fault("bodies.csv", 0, f"No body has the role {role!r}.", "Add one."))
    _check_classes(parts["kinds"], lines)

    parts["codelists"] = vocabulary.read_codelists(sheet)
    prefixes = header.vocabulary.prefixes if header else {}
    parts["terms"] = vocabulary.read_terms(sheet, parts["codelists"], prefixes)
    parts["specifications"] = vocabulary.read_specifications(files, parts["items"], parts["terms"], faults)
    parts |= counter.read(sheet, files, parts)
    parts |= letters.read(sheet, files, parts)
    parts["documents"] = _documents(sheet, parts) if DOCUMENTS in files else {}
    disclosed = disclosure.read(sheet, files, parts)
    parts["levels"], parts["thresholds"] = assessment.read(sheet)
    linkages = _linkages(sheet, parts)
    parts["subscriptions"] = _subscriptions(sheet, linkages) if SUBSCRIPTIONS in files else {}
    told = {header.own.affair} if header else set()
    told |= {w.affair for sheet_ in ("notices", "procedures") for w in parts[sheet_].values()}
    _check_use(linkages, lines, {d.item for d in parts["documents"].values()}, told)
    for name in files:
        known = (*SHEETS, DOCUMENTS, SUBSCRIPTIONS, *counter.SHEETS, *disclosure.SHEETS, *letters.SHEETS)
        if name not in known and not name.startswith(("specifications/", *NOT_LAW)):
            faults.append(Fault(name, 0, "This file is no part of a pack.", "Remove it, or correct its name."))
    if header:
        faults += _check_own(header, parts, tables.line_finder(files["pack.toml"]))
        if header.letters.kind and header.letters.kind not in parts["kinds"]:
            at = tables.line_finder(files["pack.toml"])("[letters]")
            faults.append(Fault("pack.toml", at, "`kind` of [letters] is none of kinds.csv.", "Correct the code."))
        for key in ("born", "household"):
            item, _, name = getattr(header.letters, key).partition(".")
            if item and not ((s := parts["specifications"].get(item)) and s.field(name)):
                at = tables.line_finder(files["pack.toml"])("[letters]")
                faults.append(
                    Fault("pack.toml", at, f"`{key}` names no field.", "Write item.field of a specification.")
                )
        law, needed = header.letters, {"pair", "until"}
        pairs = {law.guardian: needed, law.guarded: needed, law.officer: needed | {"number", "name"}}
        for code, fields in {**pairs, law.officered: needed | {"number", "name"}}.items():
            notice = parts["notices"].get(code)
            if code and (notice is None or not fields <= set(notice.fields)):
                at = tables.line_finder(files["pack.toml"])("[letters]")
                remedy = f"Name a notice of notices.csv with the fields {', '.join(sorted(fields))}."
                faults.append(Fault("pack.toml", at, f"{code!r} of [letters] is no such notice.", remedy))
        check_header(header, tables.line_finder(files["pack.toml"]), faults, parts["specifications"])
        faults += assessment.check(header.oversight, parts["kinds"], tables.line_finder(files["pack.toml"]))
    if faults or header is None:
        return None, faults
    return Pack(header, files, parts, linkages, disclosed), []


def _linkages(sheet: Any, parts: Mapping[str, dict[str, Any]]) -> list[Linkage]:
    found: list[Linkage] = []
    seen: dict[tuple[Any, ...], int] = {}
    affairs: dict[str, tuple[str, int]] = {}
    highest: dict[str, int] = {}
    for r in sheet("linkages.csv", "row line requester affair provider item from to"):
        r.refers("requester", parts["kinds"], "kinds.csv")
        r.refers("provider", parts["kinds"], "kinds.csv")
        r.one("affair", parts["affairs"], "affairs.csv")
        r.one("item", parts["items"], "items.csv")
        start, end = r.date("from"), r.date("to", empty=True)
        if start and end and end < start:
            r.fault("The line ends before it begins.", "Put the later date into `to`.")
        key = (r["row"], r["line"], r["requester"], r["affair"], r["provider"], r["item"], r["from"])
        if key in seen:
            r.fault(f"The same linkage stands on line {seen[key]}.", "Remove one of the two lines.")
        seen[key] = r.number
        if not ROW.fullmatch(r["row"]) or r["row"].startswith(EXCEPTION) or r["row"] in (OWN, LETTER):
            r.fault("`row` is not a row number.", "Write the number of the statute's row, e.g. 56-2.")
        affair, where = affairs.setdefault(r["row"], (r["affair"], r.number))
        if affair != r["affair"]:
            r.fault(f"Row {r['row']} is for {affair!r} on line {where}.", "A row has one affair; correct one of them.")
        line = r["line"]
        if not (line.isascii() and line.isdigit() and 0 < len(line) < 5):
            r.fault("`line` is not a number.", "Count the provider lines of the row from 1.")
            continue
        before = highest.get(r["row"], 0)
        if not before <= int(line) <= before + 1 or int(line) == 0:
            r.fault(f"`line` {line} does not follow {before}.", "Count the provider lines of the row from 1, in order.")
        highest[r["row"]] = int(line)
        if start:
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


def _check_use(
    linkages: Sequence[Linkage], lines: Mapping[tuple[str, str], Sheet], printed: Container[str], told: Container[str]
) -> None:
    """Every affair and item is linked by some row, and items say truly where they are defined. One that is only printed is in none, nor
    is an affair that is only ``told``: of whoever asks for their own, of a letter."""
    if not linkages:
        return
    rows = {r.row for r in linkages}
    used = {("affair", r.affair) for r in linkages} | {("item", r.item) for r in linkages}
    for (what, code), line in lines.items():
        if what == "item" and not line["defined_in"] and code in printed and (what, code) not in used:
            continue
        if what != "kind" and (what, code) not in used and not (what == "affair" and code in told):
            line.fault(f"No linkage names the {what} {code!r}.", "Add its row to linkages.csv, or remove the line.")
        if what == "item" and line["defined_in"] not in rows:
            line.fault("`defined_in` is no row of linkages.csv.", "Name the row that defines the item first.")


def _check_classes(kinds: Mapping[str, Kind], lines: Mapping[tuple[str, str], Sheet]) -> None:
    for kind in kinds.values():
        lines["kind", kind.code].refers("members", kinds, "kinds.csv", empty=True)
    for start in kinds:
        path, todo = set[str](), list(kinds[start].members)
        while todo:
            at = todo.pop()
            if at == start:
                lines["kind", start].fault(f"The class {start!r} holds itself.", "Break the circle.")
                break
            if at in kinds and at not in path:
                path.add(at)
                todo += kinds[at].members


def _documents(sheet: Any, parts: Mapping[str, dict[str, Any]]) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for r in sheet(DOCUMENTS, "document ja en item fields fee", key="document"):
        r.one("item", parts["specifications"], "specifications/")
        known = parts["specifications"].get(r["item"])
        r.refers(
            "fields", {f.name for f in known.fields} if known else r.words("fields"), f"{r['item']}'s specification"
        )
        if not (r["fee"].isascii() and r["fee"].isdigit() and len(r["fee"]) < 7):
            r.fault("`fee` is no amount.", "Write a whole number, 0 for none.")
            continue
        found[r["document"]] = Document(r["document"], r.title(), r["item"], r.words("fields"), int(r["fee"]))
    return found


def _subscriptions(sheet: Any, linkages: Sequence[Linkage]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    linked = {(r.affair, r.item) for r in linkages}
    for r in sheet(SUBSCRIPTIONS, "affair item days"):
        affair, item, days = r["affair"], r["item"], r["days"]
        if (affair, item) not in linked:
            r.fault(
                "No linkage lets this item be asked for this affair.",
                "Add its row to linkages.csv, or remove the line.",
            )
        if item in found[affair]:
            r.fault("The same affair and item stand above.", "Remove one of the two lines.")
        if not (days.isascii() and days.isdigit() and 0 < int(days) <= SUBSCRIBED_MOST):
            r.fault("`days` is no number of days.", f"Write a whole number from 1 to {SUBSCRIBED_MOST}.")
            continue
        found[affair][item] = int(days)
    return dict(found)


def _check_own(header: Header, parts: Mapping[str, dict[str, Any]], line: Callable[[str], int]) -> Iterator[Fault]:
    own = header.own
    if own.affair:
        for key, table in (("affair", "affairs"), ("purpose", "purposes"), ("kind", "kinds")):
            if getattr(own, key) not in parts[table]:
                yield Fault(
                    "pack.toml", line("[own]"), f"`{key}` of [own] is none of {table}.csv.", "Correct the code."
                )
