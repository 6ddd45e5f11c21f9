"""Admission: the ruling on one inquiry, one notice of a change, or one letter. Hub and commission each reach it alone.

Order of reasons: form and time first, then standing, then the table or an exceptional permit, then the commission's orders, then
assessments. Decisions use governance as of the end of the previous round, and the round's time.
"""

from __future__ import annotations

import datetime as dt

from renkei.codes import Ciphertext, Domain
from renkei.errors import Malformed
from renkei.law import decide
from renkei.law.decision import REASONS as LAW_REASONS
from renkei.law.pack import LETTER, Pack
from renkei.messages import signing
from renkei.messages.wire import Changed, Inquiry, Letter, Personal
from renkei.record.entries import Ruling
from renkei.record.oversight import Linked, row_of
from renkei.record.state import State, domain_of

REASONS: dict[str, tuple[str, str]] = {
    "issued-at": ("The inquiry was not made just now.", "照会の作成時刻が現在の時刻と合いません。"),
    "expires": (
        "The inquiry's end is in the past or too far away.",
        "照会の期限が過ぎているか、長すぎます。",
    ),
    "source": ("The requester's domain or epoch is not in use (any more).", "照会者の符号の世代が使われていません。"),
    "provider": ("The provider is not enrolled as one that answers.", "提供者が登録されていません。"),
    "own-data": LAW_REASONS["own-data"],
    "purpose": ("The purpose is not one the law's pack knows.", "目的コードが正しくありません。"),
    "ciphertext": ("The encrypted code is not well formed.", "暗号化された符号の形式が正しくありません。"),
    "reply-key": ("The reply key is not well formed.", "返信用の鍵の形式が正しくありません。"),
    "withheld": (
        "The law does not let an inquiry for this purpose be withheld from the person.",
        "この目的の照会を本人への開示から除くことは、法律上認められていません。",
    ),
    "subscription": (
        "The law does not let changes of this item be told for this affair, or not until that day.",
        "この事務でこの情報の変更通知を受けること、またはその日まで受けることは、法律上認められていません。",
    ),
    "subscriber": ("Who is to be told is not enrolled as one that asks.", "通知先が照会者として登録されていません。"),
    "receiver": (
        "Nobody of that name takes in letters about residents.",
        "その宛先は、この種の通知・申請を受け付けていません。",
    ),
    "topic": (
        "The law does not let the one write this to the other.",
        "この通知・申請は、法律上認められていません。",
    ),
    "order": (
        "The commission has ordered that this be stopped.",
        "委員会の命令により停止されています。",
    ),
    "requester-assessment": (
        "The requester has no published impact assessment for this affair.",
        "照会者は、この事務の保護評価を公表していません。",
    ),
    "provider-assessment": (
        "The provider has no published impact assessment for this item.",
        "提供者は、この情報の保護評価を公表していません。",
    ),
}
"""What each refusal outside the linkage table means (the table's own are in ``law.decision``)."""

DAY = 86_400_000


def rule(state: State, sender: str, said: Personal, now: int, *, by: str) -> tuple[Ruling, Domain | None]:
    """The ruling on what ``sender``, whose signature is already verified, asks or tells; and the receiver's domain.

    A notice that an answer is another now is ruled as the inquiry would be whose answer it is. ``now`` is the round's time (ms), ``by``
    the keeper that rules. Orders against a clerk are the commission's to see (``rounds.fill``).
    """
    if isinstance(said, Letter):
        return _rule_letter(state, sender, said, now, by)
    pack, oversight = state.pack, state.oversight
    reason, target = _standing(state, sender, said, now)
    linked, on = Linked.by(sender, said), pack.day(now)
    asker, holder = (known.kinds if (known := state.bodies.get(b)) else () for b in (linked.requester, linked.provider))
    decision = decide(pack, asker, linked.affair, holder, linked.item, on)
    row, line, rows = decision.row, decision.line, list(decision.rows)
    if not decision.allowed and not reason and (number := oversight.excepting(pack, linked, now)):
        decision = decision._replace(allowed=True, reason="allowed")
        row, line, rows = row_of(number), 0, [row_of(number)]
    if decision.allowed and not reason:
        if number := oversight.against(linked, now):
            reason, rows = "order", [number]
        elif not oversight.assessed(linked.requester, linked.affair, "", on):
            reason = "requester-assessment"
        elif not oversight.assessed(linked.provider, "", linked.item, on):
            reason = "provider-assessment"
    allowed = decision.allowed and not reason
    ruling = Ruling(allowed, reason or decision.reason, by, row, line, rows, pack.hash)
    return ruling, target if allowed else None


def _rule_letter(state: State, sender: str, letter: Letter, now: int, by: str) -> tuple[Ruling, Domain | None]:
    """The same of a letter: the pack says who may write what; the body, whichever side it is, needs its assessment of the affair."""
    pack, oversight = state.pack, state.oversight
    reason, target = _standing(state, sender, letter, now)
    rows, on = [LETTER], pack.day(now)
    if not reason:
        body = letter.receiver if state.bodies[sender].role == "portal" else sender
        if number := oversight.against(Linked.by(sender, letter), now):
            reason, rows = "order", [number]
        elif not oversight.assessed(body, letter.affair, "", on):
            reason = "requester-assessment"
    ruling = Ruling(not reason, reason or "allowed", by, "" if reason else LETTER, 0, rows, pack.hash)
    return ruling, target if not reason else None


def _standing(state: State, sender: str, said: Personal, now: int) -> tuple[str, Domain | None]:
    """The reason for which it is refused whatever the table says, or the domain its code is converted to."""
    limits = state.pack.header.limits
    to = _addressee(said)
    if abs(now - said.issued_at) > limits.issued_within_seconds * 1000:
        return "issued-at", None
    if isinstance(said, Inquiry) and not now < said.expires <= said.issued_at + limits.expires_days_max * DAY:
        return "expires", None
    if said.source.body != sender or not state.is_valid(domain_of(said.source)):
        return "source", None
    target, receiver = state.domain(to), state.bodies.get(to)
    if to == sender:
        return "own-data", None
    if receiver is None or target is None or receiver.role not in _RECEIVERS[type(said)]:
        return _NOBODY[type(said)], None
    if isinstance(said, Letter):
        may = state.pack.may_write(state.bodies[sender].kinds, receiver.kinds, said.topic, said.affair)
        reason = "" if may else "topic"
    elif said.purpose not in state.pack.purposes:
        reason = "purpose"
    else:
        reason = _asked(state, said, now) if isinstance(said, Inquiry) else _told(state, said)
    if reason:
        return reason, None
    try:
        Ciphertext.from_bytes(said.ciphertext)
    except Malformed:
        return "ciphertext", None
    return "", target


def _addressee(said: Personal) -> str:
    match said:
        case Inquiry():
            return said.provider
        case Changed():
            return said.requester
    return said.receiver


_NOBODY = {Inquiry: "provider", Changed: "subscriber", Letter: "receiver"}
_RECEIVERS = {Inquiry: ("gateway",), Changed: ("gateway",), Letter: ("gateway", "portal")}


def _asked(state: State, inquiry: Inquiry, now: int) -> str:
    pack = state.pack
    if not signing.sealable(inquiry.reply_key):
        return "reply-key"
    if inquiry.withheld and inquiry.purpose not in pack.withholding:
        return "withheld"
    if inquiry.changes_until and not _may_subscribe(pack, inquiry, now):
        return "subscription"
    return ""


def _told(state: State, changed: Changed) -> str:
    return "" if state.pack.subscribed_days(changed.affair, changed.item) else "subscription"


def _may_subscribe(pack: Pack, inquiry: Inquiry, now: int) -> bool:
    """Whether changes may be told until the day asked for. Of the past nothing changes, and who is not to know is not watched either."""
    days = pack.subscribed_days(inquiry.affair, inquiry.item)
    try:
        until = dt.date.fromisoformat(inquiry.changes_until)
    except ValueError:
        return False
    ahead = (until - pack.day(now)).days
    return not inquiry.as_of and not inquiry.withheld and 0 <= ahead <= days
