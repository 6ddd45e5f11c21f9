"""The commission's words: decisions, measures, levels and the trail, in the reader's language."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec

from renkei.commission.casework import trail_root
from renkei.commission.officers import Officers
from renkei.institution import wording
from renkei.institution.wording import PackWords
from renkei.law import Pack
from renkei.messages.wire import (
    Appoint,
    Confirm,
    Decision,
    ExceptionalPermit,
    Lift,
    Measure,
    Order,
    Trail,
)
from renkei.record.entries import PersonalLeaf, envelope_of, said
from renkei.record.oversight import DAY, Linked

KINDS: dict[str, tuple[str, str]] = {
    "note": ("Note", "メモ"),
    "report": ("What the resident wrote", "住民からの申出"),
    "answer": ("Answer of the body", "機関からの回答"),
    **wording.MEASURES,
}
ORIGINS: dict[str, tuple[str, str]] = {
    "inspector": ("Opened by an inspector", "職権による開始"),
    "alarm": ("Raised by an alarm", "警報による開始"),
    "unrecognised": ("A resident does not recognise an access", "住民からの申出（心当たりのない照会）"),
    "review": ("Review of an exceptional permit", "例外許可の事後点検"),
    "paper": ("A resident was asked for paper", "住民からの申出（書類の提出を求められた）"),
}
STEPS: dict[str, tuple[str, str]] = {
    "draft": ("Draft", "案"),
    "comment": ("Public comment", "意見募集"),
    "review": ("Third-party review", "第三者点検"),
    "approval": ("The commission's approval", "委員会の承認"),
    "published": ("Published", "公表"),
    "withdrawn": ("Withdrawn", "取下げ"),
}
FOUND: dict[str, tuple[str, str]] = {
    "agrees": ("Agrees with the record", "台帳と一致"),
    "missing": ("No record was handed over", "記録の提出なし"),
    "altered": ("Not what the body was bound to when it asked", "照会時の内容と不一致"),
    "clerk": ("The clerk's name and pseudonym do not go together", "職員名と仮名の不整合"),
    "outcome": ("Not the outcome the body put into the record", "台帳の提供結果と不一致"),
    "unknown": ("The record knows no such inquiry", "台帳にない照会"),
}
RESULTS: dict[str, tuple[str, str]] = {
    "provided": ("Information was provided", "情報を提供"),
    "nothing": ("There was nothing to provide", "提供する情報なし"),
    "expired": ("Ended without an answer", "回答なく終了"),
}
ROLES: dict[str, tuple[str, str]] = {
    "reader": ("Reader", "閲覧担当"),
    "inspector": ("Inspector", "検査官"),
    "commissioner": ("Commissioner", "委員"),
}
ACTS: dict[str, tuple[str, str]] = {
    "signin": ("signed in", "サインイン"),
    "open": ("opened a case", "事案を開始"),
    "look": ("looked at a case", "事案を閲覧"),
    "propose": ("proposed a decision", "決定案を作成"),
    "sign": ("signed a decision", "決定に署名"),
    "withdraw": ("withdrew a proposal", "決定案を取下げ"),
    "confirm": ("confirmed a permit", "許可を確認"),
    "note": ("wrote a note", "メモを作成"),
    "explanation": ("asked for an explanation", "説明を要求"),
    "inspection": ("announced an inspection", "立入検査を通知"),
    "advice": ("gave advice", "助言"),
    "guidance": ("gave guidance", "指導"),
    "recommendation": ("made a recommendation", "勧告"),
    "evidence": ("took out the evidence of an inspection", "立入検査の証拠を出力"),
    "closing": ("closed a case", "事案を終結"),
    "draft": ("took in an assessment", "評価書案を登録"),
    "comment": ("opened an assessment to comment", "評価書案の意見募集を開始"),
    "review": ("passed an assessment to third-party review", "評価書案を第三者点検へ"),
    "approval": ("passed an assessment to the commission", "評価書案を委員会の承認へ"),
    "published": ("published an assessment", "評価書を公表"),
    "withdrawn": ("withdrew an assessment", "評価書案を取下げ"),
}


class Words(PackWords):
    """The pack's and the commission's words, for templates."""

    def __init__(self, pack: Pack, lang: str, officers: Officers) -> None:
        super().__init__(pack, lang)
        self._officers = officers

    def t(self, pair: tuple[str, str]) -> str:
        return pair[1] if self.lang == "ja" else pair[0]

    def kind(self, code: str) -> str:
        return self.t(KINDS.get(code, (code, code)))

    def origin(self, code: str) -> str:
        return self.t(ORIGINS.get(code, (code, code)))

    def step(self, code: str) -> str:
        return self.t(STEPS.get(code, (code, code)))

    def role(self, code: str) -> str:
        return self.t(ROLES.get(code, (code, code)))

    def act(self, code: str) -> str:
        return self.t(ACTS.get(code, (code, code)))

    def reason(self, code: str) -> str:
        return wording.reason(code, self.lang)

    def found(self, code: str) -> str:
        return self.t(FOUND.get(code, (code, code)))

    def result(self, code: str) -> str:
        return self.t(RESULTS.get(code, (code, code)))

    def level(self, code: str) -> str:
        return self.pack.levels[code].title.text(self.lang) if code in self.pack.levels else code

    def officer(self, name: str) -> str:
        """An officer, or a body where one stands in an officer's place."""
        return self.body(name) if name in self.pack.bodies else self._officers.title(name, self.lang)

    def case(self, case: Any) -> str:
        """What a case is called: what a resident reports has no title of its own."""
        if case.origin == "review":
            return f"{self.origin('review')} {case.title}"
        return self.origin(case.title) if case.title in ORIGINS else str(case.title)

    def day(self, iso: str) -> str:
        """A day of the record (ISO) as people write it."""
        try:
            return self.on(dt.date.fromisoformat(iso))
        except ValueError:
            return iso

    def affairs(self) -> list[tuple[str, str]]:
        return sorted(((c, a.title.text(self.lang)) for c, a in self.pack.affairs.items()), key=lambda p: p[1])

    def items(self) -> list[tuple[str, str]]:
        return sorted(((c, i.title.text(self.lang)) for c, i in self.pack.items.items()), key=lambda p: p[1])

    def covered(self, codes: Sequence[str], what: str) -> str:
        """The affairs or items an assessment covers."""
        if "*" in codes:
            return self.t(("all", "すべて"))
        say = self.affair if what == "affairs" else self.item
        return self.t((", ", "、")).join(say(c) for c in codes) or "–"

    def decision(self, decision: Decision | Trail) -> str:
        """A decision in one line."""
        ja = self.lang == "ja"
        match decision:
            case Order():
                said = self.scope(decision.scope)
                return f"停止命令（{'、'.join(said)}）" if ja else f"Order to stop: {', '.join(said)}"
            case ExceptionalPermit():
                what = self.item(decision.item)
                return f"例外許可（{what}）" if ja else f"Exceptional permit: {what}"
            case Lift():
                return f"{decision.number} の解除" if ja else f"Lift {decision.number}"
            case Confirm():
                return f"{decision.number} の確認" if ja else f"Confirm {decision.number}"
            case Appoint():
                name, role = self.officer(decision.officer.name), self.role(decision.officer.role)
                return f"職員の任免: {name} {role}" if ja else f"Appointment: {name} {role}"
            case Measure():
                return f"{self.kind(decision.kind)}: {self.body(decision.body)}"
        return type(decision).__name__

    def facts(self, decision: Decision) -> list[tuple[str, str]]:
        """A decision's parts with their titles, for pages and paper."""
        t = self.t
        match decision:
            case Order():
                case = [(t(("Case", "事案")), decision.case)] if decision.case else []
                what = (t((", ", "、"))).join(self.scope(decision.scope))
                until = (t(("Until", "終期")), self.until(decision.until))
                return [(t(("Stops", "停止の対象")), what), until, *case, self._why(decision)]
            case ExceptionalPermit():
                sides = f"{self._any(decision.requester)} → {self._any(decision.provider)}"
                area = t((", ", "、")).join(self.body(b) for b in decision.area) or t(("everywhere", "全域"))
                return [
                    (t(("Between", "照会者と提供者")), sides),
                    (t(("Affair", "事務")), self.affair(decision.affair)),
                    (t(("Item", "情報")), self.item(decision.item)),
                    (t(("Area", "区域")), area),
                    (t(("From", "始期")), self.moment(decision.start)),
                    (t(("Until", "終期")), self.moment(decision.end)),
                    self._why(decision),
                ]
            case Lift():
                return [self._why(decision)]
        return []

    def addressees(self, decision: Order | ExceptionalPermit) -> list[str]:
        """The bodies a decision names, to whom its paper goes."""
        if isinstance(decision, Order):
            named = [decision.scope.body, decision.scope.requester, decision.scope.provider]
        else:
            named = [decision.requester, decision.provider]
        return [b for b in dict.fromkeys(named) if b != "*"]

    def _why(self, decision: Order | ExceptionalPermit | Lift) -> tuple[str, str]:
        return self.t(("Reasons", "理由")), decision.text

    def _any(self, body: str) -> str:
        return self.t(("any body", "すべての機関")) if body == "*" else self.body(body)

    def linked(self, leaf: PersonalLeaf) -> Linked:
        """Who asks, or is told, what of whom in a leaf."""
        return Linked.by(self.author(leaf), said(leaf))

    def author(self, leaf: PersonalLeaf) -> str:
        """Who signed what the leaf is about."""
        return envelope_of(leaf).sender


def trail_view(entries: Sequence[bytes], committed: Trail, most: int) -> dict[str, Any]:
    """The trail for its page: newest first, and whether it is what the record says it was."""
    shown = [msgspec.json.decode(e) for e in entries[-most:]][::-1]
    genuine = len(entries) >= committed.size and (
        not committed.size or trail_root(entries[: committed.size]) == committed.root
    )
    return {"entries": shown, "total": len(entries), "committed": committed, "genuine": genuine}


def days_left(due: int, now: int) -> int:
    """Whole days until ``due``; below 0 when it has passed."""
    return (due - now) // DAY
