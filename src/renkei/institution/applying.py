"""What an application asks and how what was filled in is checked: alike where it is written and where it is taken in. Pure.

The questions are the pack's (``questions.csv``); each stands once, whichever procedures of a life event ask it. Of the applicant and of
each person of a role it is ``code@who``, of the case as a whole ``code``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from renkei.institution.forms import FAULTS, KINDS, Blank
from renkei.institution.wording import UNITS
from renkei.law import Pack
from renkei.law.counter import APPLICANT, EVERYONE, Procedure, Question
from renkei.law.tables import Title, value_fault
from renkei.messages.wire import MAX_ATTACHED, Attached

ANSWER_MOST = 500
"""Characters."""
OF_ROLE_MOST = 9
ATTACHED_MOST = 10
MEDIA = {
    "application/pdf": (b"%PDF-",),
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
}
"""What may be attached, by how it begins: what a file is called proves nothing."""
Form = Mapping[str, str | int]


class Asked(NamedTuple):
    """A question, and of whom: the applicant, ``child-1``; of the case as a whole, nobody."""

    question: Question
    who: str

    @property
    def name(self) -> str:
        """Of its field in a form."""
        return f"{self.question.code}@{self.who}" if self.who else self.question.code

    def title(self, pack: Pack, language: str) -> str:
        """The question in words, and of whom it is asked where that is not the applicant."""
        title = self.question.title.text(language)
        if self.who in ("", APPLICANT):
            return title
        role, _, number = self.who.rpartition("-")
        known = pack.codelists.get("role", {}).get(role)
        return f"{title} – {known.text(language) if known else role} {number}"


def online(pack: Pack, event: str) -> list[Procedure]:
    """The procedures of a life event that can be sent through the portal."""
    return [p for p in pack.procedures.values() if p.event == event and p.to]


def roles_asked(pack: Pack, procedures: Sequence[Procedure]) -> list[str]:
    """Roles of which these procedures ask something: how many there are of each must be known."""
    roles = pack.codelists.get("role", {})
    asked = {pack.questions[code].each for p in procedures for code in p.asks}
    return [r for r in roles if r in asked and r != APPLICANT]


def asked(pack: Pack, procedures: Sequence[Procedure], people: Mapping[str, int]) -> list[Asked]:
    """Every question once, in the order in which procedures ask. ``people``: how many of each role."""
    found: dict[str, Asked] = {}
    for procedure in procedures:
        for code in procedure.asks:
            question = pack.questions[code]
            for who in _whom(question.each, people):
                one = Asked(question, who)
                found.setdefault(one.name, one)
    return list(found.values())


def _whom(each: str, people: Mapping[str, int]) -> list[str]:
    if not each:
        return [""]
    if each in (EVERYONE, APPLICANT):
        return [APPLICANT]
    return [f"{each}-{n + 1}" for n in range(min(people.get(each, 0), OF_ROLE_MOST))]


def people_in(form: Form) -> dict[str, int]:
    """How many of each role a form is about."""
    found: dict[str, int] = {}
    for name in form:
        role, _, number = name.partition("@")[2].rpartition("-")
        if role and number.isdigit() and number.isascii() and len(number) < 3:
            found[role] = max(found.get(role, 0), int(number))
    return found


def blank(pack: Pack, one: Asked, language: str, value: str = "", fault: Title | None = None) -> Blank:
    """The question for a page's form."""
    question, ja = one.question, language == "ja"
    choices: tuple[tuple[str, str], ...] = ()
    if question.type == "code":
        choices = tuple((code, title.text(language)) for code, title in pack.codelists[question.codes].items())
    if question.type == "boolean":
        choices = (("true", "はい" if ja else "yes"), ("false", "いいえ" if ja else "no"))
    return Blank(
        one.name,
        KINDS.get(question.type, "text"),
        one.title(pack, language),
        question.hint.text(language),
        UNITS.get("", ("", ""))[ja],
        question.required,
        choices,
        value,
        fault.text(language) if fault else "",
    )


def fault_of(pack: Pack, question: Question, text: str) -> Title | None:
    """What is wrong with an answer, or nothing."""
    if not text:
        return FAULTS["missing"] if question.required else None
    if len(text) > ANSWER_MOST or not all(c.isprintable() or c == "\u3000" for c in text):
        return FAULTS["text"]
    if question.type == "integer" and (not text.isascii() or len(text) > 15):
        return FAULTS["integer"]
    wrong = value_fault(question.type, text, pack.codelists.get(question.codes, {}))
    return FAULTS[question.type] if wrong is not None else None


def tidy(question: Question, text: str) -> str:
    """An answer as it is kept: trimmed, and numbers and days in plain digits, however they were typed."""
    text = text.strip()
    if question.type in ("integer", "date", "year-month"):
        text = unicodedata.normalize("NFKC", text).replace(",", "").replace("/", "-").strip()
    return text


def faults(pack: Pack, procedure: Procedure, form: Form) -> dict[str, Title]:
    """By name of the field, what is wrong with a form for this procedure; a field it does not ask is wrong, too."""
    known = {a.name: a for a in asked(pack, [procedure], people_in(form))}
    found = {name: FAULTS["text"] for name in form if name not in known}
    for name, one in known.items():
        if fault := fault_of(pack, one.question, str(form.get(name, ""))):
            found[name] = fault
    return found


def media_type(data: bytes) -> str:
    """What an attachment is, by its bytes; empty if it may not be attached."""
    return next((kind for kind, heads in MEDIA.items() if data.startswith(heads)), "")


def attachment_fault(procedure: Procedure, attached: Sequence[Attached]) -> Title | None:
    """What is wrong with what was attached, or nothing."""
    if len(attached) > ATTACHED_MOST or sum(len(a.data) for a in attached) > MAX_ATTACHED:
        return Title(
            "添付ファイルが多すぎるか、大きすぎます（合計2MBまで）。", "Too much is attached: 2 MB together at most."
        )
    for a in attached:
        if a.kind not in procedure.attaches or not a.data or media_type(a.data) != a.type:
            return Title("添付できるのはPDF・PNG・JPEGです。", "Attach PDF, PNG or JPEG.")
        if not a.name.isprintable() or any(c in a.name for c in '/\\"<>'):
            return Title(
                "添付ファイルの名前に使えない文字があります。", "An attachment's name has a character it may not have."
            )
    return None


class Mark(NamedTuple):
    """What makes a signed application one: the day, the case it is part of, and as what somebody else signs it."""

    day: str
    case: str
    by: str = ""

    @classmethod
    def of(cls, statement: bytes) -> Mark | None:
        """That of a statement, if it ends as one does."""
        found = MARK.search(statement.decode("utf-8", "replace"))
        return cls(*found.groups()) if found else None


MARK = re.compile(r"\n(\d{4}-\d\d-\d\d) ([0-9a-f]{32}) ([a-z]*)\n[^\n]*\n\Z")


def statement(
    pack: Pack, procedure: Procedure, body: str, form: Form, attached: Sequence[Attached], mark: Mark
) -> bytes:
    """What an applicant's card, or a representative's, signs (UTF-8): readable, in both languages, and of use for this one alone."""
    known = pack.bodies.get(body)
    lines = [
        _both(procedure.title),
        f"{_both(known.title) if known else body}（{body}）",
        f"手続 / Procedure: {procedure.code}",
    ]
    lines += [f"代理人による申請 / By a representative: {mark.by}", ""] if mark.by else [""]
    for one in asked(pack, [procedure], people_in(form)):
        if one.name in form:
            question = _both(Title(one.title(pack, "ja"), one.title(pack, "en")))
            lines.append(f"{question}: {_said(pack, one.question, str(form[one.name]))}")
    for a in attached:
        size = f"{len(a.data)} バイト / bytes"
        lines.append(f"添付 / Attached: {a.kind} {a.name} {size} SHA-256 {sha256(a.data).hexdigest()}")
    exact = msgspec.json.encode([procedure.code, body, dict(form)], order="deterministic")
    lines += ["", f"{mark.day} {mark.case} {mark.by}", f"SHA-256 {sha256(exact).hexdigest()}", ""]
    return "\n".join(lines).encode()


def _said(pack: Pack, question: Question, value: str) -> str:
    if question.type == "code":
        title = pack.codelists.get(question.codes, {}).get(value)
        return f"{_both(title)}（{value}）" if title else value
    return value


def _both(title: Title) -> str:
    return title.ja if title.ja == title.en else f"{title.ja} / {title.en}"
