"""``pack.toml``: what a country decides in words and numbers, and whether it can be used."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from renkei.law.assessment import Oversight
from renkei.law.calendar import Calendar
from renkei.law.counter import Rules
from renkei.law.letters import Letters
from renkei.law.tables import Fault, Title
from renkei.law.vocabulary import PREFIX, Meaning, Specification
from renkei.numbers import FORMATS

IRI = re.compile(r"(https?://|urn:)[!-~]+[/#:]")
TYPEFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,60}")
VKEY = re.compile(r"[!-*,-~]{1,200}\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44}")


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


class Witnesses(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[witnesses]``: whose cosignatures permits carry besides the two keepers'."""

    need: int = 0
    """How many of them; 0 for none."""
    keys: tuple[str, ...] = ()
    """Their verifier keys (vkey text of kind cosignature/v1)."""


class Paper(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A document by which somebody shows who they are; ``kind`` says how much it proves."""

    code: str
    kind: str
    ja: str
    en: str


class Proofing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[cards.proofing]``: which documents are enough, together."""

    enough: tuple[str, ...] = ()
    """Kinds that are enough together, a letter for each document: ``A``, ``BB``."""
    documents: tuple[Paper, ...] = ()

    def satisfied(self, shown: Sequence[str]) -> bool:
        """Whether these documents (by code, each once) are enough. A better one stands for a lesser: ``A`` before ``B``."""
        kinds = sorted(d.kind for d in self.documents if d.code in set(shown))
        return any(
            len(kinds) >= len(e) and all(k <= w for k, w in zip(kinds, sorted(e), strict=False)) for e in self.enough
        )


class Insurance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[cards.insurance]``: how an insurer's item says whether somebody is insured, and what a clinic is told."""

    item: str = ""
    since: str = ""
    """Field with the first day of the cover."""
    until: str = ""
    """Field with the day on which it is over; empty: it is not."""
    shown: tuple[str, ...] = ()
    """Fields a clinic sees of whoever is insured."""
    history: tuple[str, ...] = ()
    """Fields it sees with the patient's consent."""
    history_order: str = ""
    """The field by which those are put in order, newest first."""


class Printed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[cards.printed]``: what stands on every certificate printed for a resident."""

    certified: Title = Title("", "")
    """That it is what the register holds."""
    copy: Title = Title("", "")
    """What the code on it is for; its address follows."""
    typefaces: tuple[tuple[str, str], ...] = ()
    """For names, the richest first, by family and file."""


class Cards(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[cards]``: the card and its certificates."""

    country: str = "XX"
    """ISO 3166 code, as it stands in certificates."""
    adult_from: int = 18
    """Years."""
    birthdays: int = 10
    """The card is good until this birthday after its issue."""
    birthdays_minor: int = 5
    """The same for who is not of age."""
    certificate_birthdays: int = 5
    """A certificate is good until this birthday after its issue, and never longer than the card."""
    renewed_within_months: int = 3
    """Who renews it within so many months before its end has it a year longer."""
    collect_days: int = 90
    """Days for which a card that was made waits to be collected."""
    remind_days: int = 90
    """Days before a certificate's end at which its holder is reminded."""
    printed: Printed = Printed()
    proofing: Proofing = Proofing()
    insurance: Insurance = Insurance()
    currency: Title = Title("", "")
    """In which fees of printed certificates are told."""
    policies: dict[str, str] = {}
    """Object identifiers of the certificates' policies: authentication, signature, official."""
    attributes: dict[str, str] = {}
    """Object identifiers of the four attributes, as the signature certificate carries them."""


class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[own]``: by which law a person is shown what is held about them, through the portal."""

    affair: str = ""
    """The affair such inquiries are for, of affairs.csv; empty: there is no such law."""
    purpose: str = ""
    kind: str = ""
    """The kind of body that asks in a person's name."""
    cite: Title = Title("", "")


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
    oversight: Oversight
    vocabulary: Meaning = Meaning()
    calendar: Calendar = Calendar()
    counter: Rules = Rules()
    limits: Limits = Limits()
    witnesses: Witnesses = Witnesses()
    cards: Cards = Cards()
    own: Own = Own()
    letters: Letters = Letters()
    corporate_number: str = ""
    """The format of corporations' numbers; empty: they have none."""


def _strange_fields(insurance: Insurance, specifications: Mapping[str, Specification]) -> Iterator[tuple[str, str]]:
    """Fields that insurance speaks of and its item has not, by the key that names them."""
    if not insurance.item:
        return
    known = specifications.get(insurance.item)
    names = {f.name for f in known.fields} if known else set()
    named = {
        "since": (insurance.since,),
        "until": (insurance.until,),
        "shown": insurance.shown,
        "history": insurance.history,
    }
    for cause, fields in {**named, "history_order": (insurance.history_order,)}.items():
        yield from ((cause, field) for field in fields if field and field not in names)


def check(
    header: Header, line: Callable[[str], int], faults: list[Fault], specifications: Mapping[str, Specification]
) -> None:
    """What ``pack.toml`` says must be usable."""

    def fault(key: str, sentence: str, remedy: str) -> None:
        faults.append(Fault("pack.toml", line(key), sentence, remedy))

    for key in ("id", "version"):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,63}", getattr(header, key)):
            fault(f"{key} =", f"`{key}` is not a short name.", "Use letters, digits, full stops and hyphens.")
    if header.time_zone not in zoneinfo.available_timezones():
        fault("time_zone", "`time_zone` is not known.", "Give an IANA name, e.g. Asia/Tokyo.")
    if header.person_number not in FORMATS:
        fault("person_number", "`person_number` is no known format.", f"Use one of: {', '.join(FORMATS)}.")
    if header.corporate_number and header.corporate_number not in FORMATS:
        fault("corporate_number", "`corporate_number` is no known format.", f"Use one of: {', '.join(FORMATS)}.")
    for key in ("cite_ja", "cite_en"):
        try:
            named = getattr(header.statute, key).format(row="\0")
        except (KeyError, IndexError, ValueError, AttributeError):
            fault(key, f"`{key}` has something in braces besides {{row}}.", "Only {row} is filled in.")
            continue
        if "\0" not in named:
            fault(key, f"`{key}` does not name the row: the citation needs it.", f"Put {{row}} into {key}.")
    if not 0 <= header.witnesses.need <= len(set(header.witnesses.keys)):
        fault("need", "`need` asks for more witnesses than there are keys.", "Name their keys, or need fewer.")
    for key in header.witnesses.keys:
        if not VKEY.fullmatch(key):
            fault("keys", "A witness's key is no vkey.", "Use what `renkei witness init` printed.")
    for cause, field in _strange_fields(header.cards.insurance, specifications):
        fault(cause, f"`{field}` is no field of its item.", "Use names of the item's specification.")
    for family, file in header.cards.printed.typefaces:
        if not TYPEFACE.fullmatch(family) or not TYPEFACE.fullmatch(file):
            fault(
                "typefaces", "A typeface has no usable name.", "Write its family and its file's name, without a folder."
            )
    for prefix, iri in {**header.vocabulary.prefixes, "iri": header.vocabulary.iri}.items():
        if not PREFIX.fullmatch(prefix) or not IRI.fullmatch(iri):
            fault(
                f"{prefix} =",
                f"`{prefix}` stands for no vocabulary.",
                "Write a short name and an address, e.g. https://schema.org/.",
            )
    for sentence in header.calendar.faults():
        fault("[calendar]", sentence, "List the eras from the oldest on, with signs that no other has.")
    limits = header.limits
    for key, value, least, most in (
        ("expires_days", limits.expires_days, 1, limits.expires_days_max),
        ("expires_days_max", limits.expires_days_max, 1, 366),
        ("retention_years", limits.retention_years, 1, 100),
        ("issued_within_seconds", limits.issued_within_seconds, 1, 3600),
    ):
        if not least <= value <= most:
            fault(f"{key} =", f"`{key}` is {value}.", f"Choose a number from {least} to {most}.")
