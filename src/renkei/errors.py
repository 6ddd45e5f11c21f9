"""One family of errors: a stable code, a sentence, and what to do next.

Every refusal a person or program meets is one of these. ``problem()`` is its RFC 9457 form; the web shell and the
command line each have exactly one place that prints it. Text never holds personal data: callers pass positions,
field names and codes, not values taken from a person's record.
"""

from __future__ import annotations

from typing import Any


class RenkeiError(Exception):
    """Base of all expected failures.

    ``code``    stable kebab-case identifier, for programs.
    ``status``  HTTP status the web shell answers with.
    ``sentence``/``sentence_ja``  what went wrong; ``remedy``/``remedy_ja``  what to do about it.
    """

    code = "error"
    status = 400
    remedy = "Read the sentence above and try again."
    remedy_ja = "内容を確認して、もう一度お試しください。"

    def __init__(
        self,
        sentence: str,
        *,
        ja: str | None = None,
        remedy: str | None = None,
        remedy_ja: str | None = None,
        code: str | None = None,
        status: int | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.sentence_ja = ja or sentence
        self.code = code or type(self).code
        self.status = status or type(self).status
        self.remedy = remedy or type(self).remedy
        self.remedy_ja = remedy_ja or (type(self).remedy_ja if remedy is None else remedy)
        self.extra = extra

    def problem(self, language: str = "en") -> dict[str, Any]:
        """The error as problem details (RFC 9457), in ``language`` ("ja" or "en")."""
        ja = language == "ja"
        return {
            "type": f"urn:renkei:problem:{self.code}",
            "title": self.code,
            "status": self.status,
            "detail": self.sentence_ja if ja else self.sentence,
            "remedy": self.remedy_ja if ja else self.remedy,
            **self.extra,
        }


class Malformed(RenkeiError):
    """Bytes or text that do not have the form they should."""

    code = "malformed"
    remedy = "Correct the value named above and send it again."
    remedy_ja = "上記の値を直して、もう一度送ってください。"


class NotGenuine(RenkeiError):
    """A signature, proof or seal that does not verify."""

    code = "not-genuine"
    status = 403
    remedy = "Do not use the data. Ask the sender for it again; if it repeats, tell the commission."
    remedy_ja = "このデータは使わず、送り手に再送を求めてください。続く場合は委員会へ連絡してください。"


class Refused(RenkeiError):
    """The law, an assessment or an order does not allow it."""

    code = "refused"
    status = 403
    remedy = "Run `renkei law explain` to see which row would allow this, if any."
    remedy_ja = "`renkei law explain` で、根拠となる項を確認してください。"


class Conflict(RenkeiError):
    """The same identifier was already used with other content."""

    code = "conflict"
    status = 409
    remedy = "Use a new identifier, or send exactly what was sent before."
    remedy_ja = "新しい識別子を使うか、前回と同じ内容を送ってください。"


class NotFound(RenkeiError):
    """There is no such thing, or none that the caller may see."""

    code = "not-found"
    status = 404
    remedy = "Check the number, code or address that you gave."
    remedy_ja = "指定した番号・コード・アドレスを確認してください。"


class Unavailable(RenkeiError):
    """A part that is needed does not answer now."""

    code = "unavailable"
    status = 503
    remedy = "Wait a moment and try again; nothing was lost."
    remedy_ja = "しばらく待ってから、もう一度お試しください。失われたデータはありません。"


class SetupError(RenkeiError):
    """The machine or the settings lack something."""

    code = "setup"
    status = 500
    remedy = "Correct the settings or the installation named above."
    remedy_ja = "上記の設定またはインストールを直してください。"
