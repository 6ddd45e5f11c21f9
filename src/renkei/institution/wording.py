"""Plain words that more than one service shows: states, reasons, times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from renkei.law import Pack
from renkei.law.decision import REASONS as LAW_REASONS
from renkei.law.letters import Notice
from renkei.law.pack import EXCEPTION
from renkei.law.tables import value_fault
from renkei.law.vocabulary import Term
from renkei.messages.wire import Scope
from renkei.record.admission import REASONS as ADMISSION_REASONS

LATEST = 253_370_764_800_000
"""Milliseconds: the year 9999 begins."""

STATES: dict[str, tuple[str, str]] = {
    "submitted": ("Being recorded", "記録中"),
    "permitted": ("Waiting for the answer", "回答待ち"),
    "answered": ("Answered", "回答済み"),
    "refused": ("Refused", "不許可"),
    "expired": ("Nobody answered in time", "期限切れ"),
    "held": ("Waiting for a clerk's release", "職員の確認待ち"),
}
EXTRA_REASONS: dict[str, tuple[str, str]] = {
    "no-answer": ("No answer came before the end.", "期限までに回答がありませんでした。"),
    "manual-release": (
        "This person's answers are released by a clerk.",
        "この方の回答は職員が確認して送ります。",
    ),
    "own-proof": ("It waits for the person's own card.", "本人のカードによる確認を待っています。"),
    "source-fault": ("The source data does not fit its specification.", "元データがデータ標準に合いません。"),
    "source-unavailable": (
        "The body's own database does not answer; it is tried again.",
        "自機関のデータベースが応答しません。自動で再試行します。",
    ),
    "as-of": ("The source does not keep data as of that day.", "元データは、その日時点の情報を持っていません。"),
    "answer-too-large": (
        "The answer is too large to be sent; decline it or correct the data.",
        "回答が大きすぎて送れません。データを直すか、提供しない旨を回答してください。",
    ),
}


MEASURES: dict[str, tuple[str, str]] = {
    "explanation": ("Request for explanation", "説明要求"),
    "inspection": ("Inspection", "立入検査"),
    "advice": ("Advice", "助言"),
    "guidance": ("Guidance", "指導"),
    "recommendation": ("Recommendation", "勧告"),
    "closing": ("Case closed", "終結"),
}
"""Steps of supervision (Act art. 33–35)."""


APPLICATION: dict[str, tuple[str, str]] = {
    "draft": ("Not sent yet", "下書き"),
    "sent": ("Sent", "送信済み"),
    "turned-away": ("The network did not take it", "送信できませんでした"),
    "received": ("Received", "受付済み"),
    "asked": ("A question for you", "質問が届いています"),
    "answered": ("Your answer is being looked at", "回答を確認中"),
    "withdrawing": ("Being taken back", "取下げ中"),
    "granted": ("Granted", "認められました"),
    "refused": ("Refused", "認められませんでした"),
    "withdrawn": ("Taken back", "取り下げました"),
}
"""Where a resident's application stands."""


DESK_APPLICATION: dict[str, tuple[str, str]] = {
    "received": ("To be looked at", "未処理"),
    "asked": ("Asked back", "質問中"),
    "answered": ("Answered", "回答あり"),
    "granted": ("Granted", "認定"),
    "refused": ("Refused", "不認定"),
    "withdrawn": ("Taken back", "取下げ"),
}


def measure(code: str, language: str) -> str:
    """A step of the commission's supervision."""
    return _say(MEASURES, code, language)


def state(code: str, language: str) -> str:
    """A state in plain words."""
    return _say(STATES, code, language)


def reason(code: str, language: str) -> str:
    """Why something was refused or is held."""
    return _say(EXTRA_REASONS | ADMISSION_REASONS | LAW_REASONS, code, language)


def application(code: str, language: str) -> str:
    """Where an application stands."""
    return _say(APPLICATION, code, language)


def desk_application(code: str, language: str) -> str:
    """Where an application stands, for who decides it."""
    return _say(DESK_APPLICATION, code, language)


def _say(words: dict[str, tuple[str, str]], code: str, language: str) -> str:
    english, japanese = words.get(code, (code, code))
    return japanese if language == "ja" else english


UNITS: dict[str, tuple[str, str]] = {
    "JPY": ("yen", "円"),
    "month": ("months", "か月"),
    "day": ("days", "日"),
    "hour": ("hours", "時間"),
    "percent": ("%", "%"),
    "person": ("persons", "人"),
}


def day_in_words(day: dt.date, lang: str) -> str:
    """A day as people write it."""
    return f"{day.year}年{day.month}月{day.day}日" if lang == "ja" else f"{day.day} {day:%B %Y}"


def month_in_words(first: dt.date, lang: str) -> str:
    """The month of a day as people write it."""
    return f"{first.year}年{first.month}月" if lang == "ja" else f"{first:%B} {first.year}"


def moment_in_words(at: dt.datetime, lang: str) -> str:
    """A time as people write it."""
    return f"{day_in_words(at.date(), lang)}{' ' if lang == 'ja' else ', '}{at:%H:%M}"


class PackWords:
    """The pack's words in one language, for templates. An unknown code is shown as it is."""

    def __init__(self, pack: Pack, lang: str) -> None:
        self.pack, self.lang = pack, lang

    def moment(self, milliseconds: int | None) -> str:
        """A time in the pack's country as people write it; a dash for none."""
        if milliseconds is None or not 0 <= milliseconds < LATEST:
            return "–"
        return moment_in_words(dt.datetime.fromtimestamp(milliseconds / 1000, self.pack.zone), self.lang)

    def on(self, day: dt.date) -> str:
        """A day as people write it."""
        return day_in_words(day, self.lang)

    def day(self, iso: str) -> str:
        """A day of the law, given as ISO 8601 has it."""
        return self.on(dt.date.fromisoformat(iso))

    def until(self, milliseconds: int) -> str:
        """When an order is over: the end of a day, unless it waits to be lifted (0)."""
        ja = self.lang == "ja"
        if not milliseconds:
            return "解除まで" if ja else "until it is lifted"
        if not 0 < milliseconds < LATEST:
            return "–"
        at = dt.datetime.fromtimestamp(milliseconds / 1000, self.pack.zone)
        if at.time() != dt.time():
            return self.moment(milliseconds)
        last = self.on(at.date() - dt.timedelta(days=1))
        return f"{last}まで" if ja else f"the end of {last}"

    def scope(self, scope: Scope) -> list[str]:
        """What an order stops, part by part."""
        ja = self.lang == "ja"
        parts = [
            ("body", "機関", scope.body, self.body),
            ("requester", "照会者", scope.requester, self.body),
            ("provider", "提供者", scope.provider, self.body),
            ("affair", "事務", scope.affair, self.affair),
            ("item", "情報", scope.item, self.item),
        ]
        said = [f"{title if ja else en} {say(code)}" for en, title, code, say in parts if code != "*"]
        return [*said, f"{'職員' if ja else 'clerk'} {scope.clerk.hex()}"] if scope.clerk else said

    def affair(self, code: str) -> str:
        return self.pack.affairs[code].title.text(self.lang) if code in self.pack.affairs else code

    def item(self, code: str) -> str:
        return self.pack.items[code].title.text(self.lang) if code in self.pack.items else code

    def procedure(self, code: str) -> str:
        return self.pack.procedures[code].title.text(self.lang) if code in self.pack.procedures else code

    def topic(self, code: str) -> str:
        """Of a letter: a notice or a procedure."""
        known = self.pack.notices.get(code)
        return known.title.text(self.lang) if known else self.procedure(code)

    def subject(self, code: str) -> str:
        """Of what a representative has done: a procedure, an event, or what it is called."""
        return self.event(code) if code in self.pack.events else self.procedure(code)

    def event(self, code: str) -> str:
        return self.pack.events[code].title.text(self.lang) if code in self.pack.events else code

    def listed(self, codelist: str, code: str) -> str:
        """A code of one of the pack's lists; empty if it is none."""
        title = self.pack.codelists.get(codelist, {}).get(code)
        return title.text(self.lang) if title else ""

    def body(self, code: str) -> str:
        return self.pack.bodies[code].title.text(self.lang) if code in self.pack.bodies else code

    def purpose(self, code: str) -> str:
        return self.pack.purposes[code].text(self.lang) if code in self.pack.purposes else code

    def field(self, item: str, name: str) -> str:
        specification = self.pack.specifications.get(item)
        titles = {f.name: f.title.text(self.lang) for f in specification.fields} if specification else {}
        return titles.get(name, name)

    def term(self, item: str, name: str) -> Term | None:
        """What a field of an item means, if the pack says."""
        specification = self.pack.specifications.get(item)
        fields = specification.fields if specification else ()
        return next((self.pack.terms[f.term] for f in fields if f.name == name), None)

    def value(self, item: str, name: str, value: Any) -> str:
        """A value in words: codes by their title, amounts with their unit, days and months as people write them."""
        term = self.term(item, name)
        if isinstance(value, bool):
            return ("はい" if value else "いいえ") if self.lang == "ja" else ("yes" if value else "no")
        if term and term.type == "code":
            title = self.pack.codelists.get(term.codes, {}).get(str(value))
            return title.text(self.lang) if title else str(value)
        if isinstance(value, int) and term and term.unit == "year":  # which year, not how many
            return f"{value}年" if self.lang == "ja" else str(value)
        if isinstance(value, int) and term and term.unit:
            return f"{value:,} {UNITS.get(term.unit, (term.unit, term.unit))[self.lang == 'ja']}"
        if term and term.type == "date" and value_fault("date", str(value), ()) is None:
            return self.on(dt.date.fromisoformat(str(value)))
        if term and term.type == "year-month" and value_fault("year-month", str(value), ()) is None:
            return month_in_words(dt.date.fromisoformat(f"{value}-01"), self.lang)
        return str(value)

    def cite(self, row: str) -> str:
        """A row of the table (or several, joined), or the exceptional permit in its place."""
        if row.startswith(EXCEPTION):
            number = row.removeprefix(EXCEPTION)
            return (
                f"委員会の例外許可 {number}" if self.lang == "ja" else f"the commission's exceptional permit {number}"
            )
        return self.pack.cite(row, self.lang)

    def needed(self, reason: str, rows: Sequence[str]) -> str:
        """What a refusal cites: the order that stops it, or the rows that would allow it."""
        if not rows:
            return ""
        ja = self.lang == "ja"
        if reason == "order":
            return f"命令 {rows[0]}" if ja else f"Order {rows[0]}."
        cited = self.cite(", ".join(rows))
        return f"根拠となりうる項: {cited}" if ja else f"It would have needed: {cited}"


def notice_text(pack: Pack, notice: Notice, values: Mapping[str, Any], lang: str) -> str:
    """What a notice says: its text with the values of whom it is for, days and amounts as people write them."""
    said = {}
    for name, kind in notice.fields.items():
        value = str(values.get(name, "–"))
        try:
            if kind == "date":
                value = day_in_words(dt.date.fromisoformat(value), lang)
            elif kind == "integer":
                value = f"{int(value):,}"
        except ValueError:  # its sender says something else than the pack lets it
            value = "–"
        said[name] = value
    return notice.text.text(lang).format(**said)
