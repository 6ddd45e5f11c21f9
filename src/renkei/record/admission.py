"""Admission: the ruling on one inquiry. Hub and commission each reach it alone, from the same leaves.

Order of reasons: form and time first, then standing, then the table or an exceptional permit, then the commission's orders, then
assessments. Decisions use governance as of the end of the previous round, and the round's time.
"""

from __future__ import annotations

from renkei.codes import Ciphertext, Domain
from renkei.errors import Malformed
from renkei.law import decide
from renkei.law.decision import REASONS as LAW_REASONS
from renkei.messages import signing
from renkei.messages.wire import Inquiry
from renkei.record.entries import Ruling
from renkei.record.oversight import row_of
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


def rule(state: State, sender: str, inquiry: Inquiry, now: int, *, by: str) -> tuple[Ruling, Domain | None]:
    """The ruling on ``inquiry``, whose signature by ``sender`` is already verified; and the provider's domain.

    ``now`` is the round's time (ms), ``by`` the keeper that rules. Orders against a clerk are the commission's to see (``rounds.fill``).
    """
    pack, oversight = state.pack, state.oversight
    reason, target = _standing(state, sender, inquiry, now)
    provider = state.bodies.get(inquiry.provider)
    on = pack.day(now)
    decision = decide(
        pack, state.bodies[sender].kinds, inquiry.affair, provider.kinds if provider else (), inquiry.item, on
    )
    row, line, rows = decision.row, decision.line, list(decision.rows)
    if not decision.allowed and not reason and (number := oversight.excepting(pack, sender, inquiry, now)):
        decision = decision._replace(allowed=True, reason="allowed")
        row, line, rows = row_of(number), 0, [row_of(number)]
    if decision.allowed and not reason:
        if number := oversight.against(sender, inquiry, now):
            reason, rows = "order", [number]
        elif not oversight.assessed(sender, inquiry.affair, "", on):
            reason = "requester-assessment"
        elif not oversight.assessed(inquiry.provider, "", inquiry.item, on):
            reason = "provider-assessment"
    allowed = decision.allowed and not reason
    ruling = Ruling(allowed, reason or decision.reason, by, row, line, rows, pack.hash)
    return ruling, target if allowed else None


def _standing(state: State, sender: str, inquiry: Inquiry, now: int) -> tuple[str, Domain | None]:
    limits = state.pack.header.limits
    if abs(now - inquiry.issued_at) > limits.issued_within_seconds * 1000:
        return "issued-at", None
    if not now < inquiry.expires <= inquiry.issued_at + limits.expires_days_max * DAY:
        return "expires", None
    if inquiry.source.body != sender or not state.is_valid(domain_of(inquiry.source)):
        return "source", None
    target = state.domain(inquiry.provider)
    provider = state.bodies.get(inquiry.provider)
    if inquiry.provider == sender:
        return "own-data", None
    if provider is None or target is None or provider.role != "gateway":
        return "provider", None
    if inquiry.purpose not in state.pack.purposes:
        return "purpose", None
    if not signing.sealable(inquiry.reply_key):
        return "reply-key", None
    if inquiry.withheld and inquiry.purpose not in state.pack.withholding:
        return "withheld", None
    try:
        Ciphertext.from_bytes(inquiry.ciphertext)
    except Malformed:
        return "ciphertext", None
    return "", target
