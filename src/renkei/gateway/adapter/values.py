"""One value as a legacy system writes it, made into what its term says, or what is wrong with it. Pure."""

from __future__ import annotations

import base64
import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from renkei.gateway.adapter.mapping import Written, plain
from renkei.law import Pack, calendar
from renkei.law.tables import Title, value_fault
from renkei.law.vocabulary import Term

Value = str | int | bool
Make = Callable[[Any], Value | None]
"""Makes a value of what a column holds; nothing if that stands for none. Raises ``Unfit``."""
STRANGE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ue000-\uf8ff\ufffd\udc80-\udcff\U000f0000-\U0010ffff]")
NUMBER = re.compile(r"([-−△▲]?)(\d{1,3}(?:,\d{3})+|\d{1,18})(?:\.0*)?")
LARGEST = 10**18
KANA = re.compile("[ｦ-ﾟ｡-･]+")
YEAR = "year"
"""The unit of terms that are a year, and not a number of years."""
NUMBERED = "numbered"
TRUTHS = {"1": True, "true": True, "0": False, "false": False}
HALF = {0x3000: 0x20, **{full: full - 0xFEE0 for full in range(0xFF01, 0xFF5F)}}
FULL = {half: full for full, half in HALF.items()}


class Unfit(Exception):
    """A value does not fit its term. Says why and what to do, and never the value, which is somebody's."""

    def __init__(self, said: Title, remedy: Title) -> None:
        super().__init__(said.en)
        self.said, self.remedy = said, remedy


class Values:
    """Makes the values of a body, which may have characters of its own (``gaiji``: each, and what it is in Unicode)."""

    def __init__(self, pack: Pack, gaiji: Mapping[str, str]) -> None:
        self._pack, self._gaiji = pack, gaiji

    def of(self, term: Term, written: Written) -> Make:
        """How values of ``term`` are made of a column that is written like this."""
        codes = self._pack.codelists.get(term.codes, {})
        match term.type:
            case "integer":
                if term.unit == YEAR:
                    return self._year(written)
                return self._sum(written) if written.add else self._number(written)
            case "date":
                return self.day(written, month=False)
            case "year-month":
                return self.day(written, month=True)
            case "boolean":
                return self._boolean(written)
            case "image":
                return self._image(written)
            case "code":
                return self._code(written, codes)
        return self._words(written)

    def _plain(self, written: Written, raw: Any) -> str:
        """The value as text; nothing if it stands for none."""
        text = plain(raw)
        return "" if text in written.empty else text

    def _words(self, written: Written) -> Make:
        def words(raw: Any) -> Value | None:
            text = self._plain(written, raw)
            if not text:
                return None
            if STRANGE.search(text):
                text = self._known(text)
            if written.width:
                text = KANA.sub(lambda k: unicodedata.normalize("NFKC", k[0]), text)
                text = text.translate(HALF if written.width == "half" else FULL)
            return text

        return words

    def _known(self, text: str) -> str:
        """``text`` with the body's own characters put into Unicode. What cannot be is ``Unfit``, by code point: it is not dropped."""
        text = "".join(self._gaiji.get(sign, sign) for sign in text)
        if not (strange := STRANGE.search(text)):
            return text
        code = ord(strange[0])
        if 0xDC80 <= code <= 0xDCFF:
            byte = f"{code - 0xDC00:02X}"
            said = Title(
                f"バイト {byte} はこの文字コードにありません。", f"Byte {byte} is no character of this encoding."
            )
            raise Unfit(said, Title("`encoding` を確かめてください。", "Check `encoding`."))
        if code < 0x80 or code == 0xFFFD:
            raise Unfit(
                Title(
                    "制御文字か、壊れた文字があります。", "There is a control character, or one that was lost before."
                ),
                Title("元のデータを直してください。", "Correct the source."),
            )
        raise Unfit(
            Title(
                f"外字 U+{code:04X} の対応が決まっていません。", f"The body's own character U+{code:04X} is not known."
            ),
            Title(f"`gaiji` に {code:04X} を加えてください。", f"Say under `gaiji` what {code:04X} is."),
        )

    def _number(self, written: Written) -> Make:
        def number(raw: Any) -> Value | None:
            if isinstance(raw, int) and not isinstance(raw, bool):
                return None if str(raw) in written.empty else _bounded(raw * written.times)
            text = self._plain(written, raw)
            if not text:
                return None
            found = NUMBER.fullmatch(unicodedata.normalize("NFKC", text))
            if not found:
                raise Unfit(NOT_WHOLE, CORRECT)
            size = int(found[2].replace(",", "")) * written.times
            return _bounded(-size if found[1] else size)

        return number

    def _sum(self, written: Written) -> Make:
        number = self._number(written)

        def total(raw: Any) -> Value | None:
            sizes = [size for size in map(number, raw) if isinstance(size, int)]
            return sum(sizes) if sizes else None

        return total

    def _year(self, written: Written) -> Make:
        numbered, at = written.date == NUMBERED, self._pack.header.calendar

        def year(raw: Any) -> Value | None:
            text = self._plain(written, raw)
            if not text:
                return None
            try:
                return calendar.year(_with_era(text, written), at, numbered=numbered)
            except ValueError:
                raise Unfit(NO_YEAR, CORRECT_YEAR) from None

        return year

    def day(self, written: Written, *, month: bool) -> Callable[[Any], str | None]:
        numbered, at = written.date == NUMBERED, self._pack.header.calendar

        def date(raw: Any) -> str | None:
            if isinstance(raw, dt.date):  # also a datetime: the day it falls on
                return raw.isoformat()[: 7 if month else 10]
            text = self._plain(written, raw)
            if not text:
                return None
            try:
                found = calendar.day(_with_era(text, written), at, numbered=numbered)
            except ValueError:
                raise Unfit(NO_DAY, CORRECT_DAY) from None
            if len(found) == 7 and not month:
                raise Unfit(NO_DAY, CORRECT_DAY)
            return found[:7] if month else found

        return date

    def _boolean(self, written: Written) -> Make:
        known = {k: TRUTHS.get(v) for k, v in written.codes.items()} or TRUTHS

        def boolean(raw: Any) -> Value | None:
            if isinstance(raw, bool):
                return raw
            text = self._plain(written, raw)
            if not text:
                return None
            if (found := text if text in known else text.lower()) not in known:
                raise _unmapped(text)
            return known[found]

        return boolean

    def _code(self, written: Written, codes: Mapping[str, Title]) -> Make:
        known: dict[str, str | None] = {k: v or None for k, v in written.codes.items()} or {c: c for c in codes}

        def code(raw: Any) -> Value | None:
            text = self._plain(written, raw)
            if not text:
                return None
            if text not in known:
                raise _unmapped(text)
            return known[text]

        return code

    def _image(self, written: Written) -> Make:
        def image(raw: Any) -> Value | None:
            if isinstance(raw, bytes | memoryview):
                raw = base64.b64encode(bytes(raw)).decode()
            text = self._plain(written, raw)
            if text and value_fault("image", text, ()):
                raise Unfit(NO_IMAGE, CORRECT)
            return text or None

        return image


def _with_era(text: str, written: Written) -> str:
    """``text`` with the sign of the era that its column leaves out."""
    return text if written.date in ("", NUMBERED) else written.date + text


NOT_WHOLE = Title("整数ではありません。", "It is no whole number.")
TOO_LARGE = Title("数が大きすぎます。", "The number is too large.")
NO_DAY = Title("日付として読めません。", "It cannot be read as a day.")
NO_YEAR = Title(
    "年として読めません（西暦4桁か元号の年）。", "It cannot be read as a year: four digits, or an era and its year."
)
CORRECT_YEAR = Title(
    '元のデータを直してください。元号のない2桁なら `date = "令和"`、元号が数字なら `date = "numbered"` とします。',
    'Correct the source. Two digits without their era: `date` = the era\'s sign; an era that is a digit: `date = "numbered"`.',
)
NO_IMAGE = Title("PNG画像ではありません。", "It is no PNG image.")
CORRECT = Title(
    "元のデータを直すか、`empty` に加えてください。", "Correct the source, or name the value under `empty`."
)
CORRECT_DAY = Title(
    '元のデータを直すか、値がないことを表すなら `empty` に加え、元号が数字なら `date = "numbered"` としてください。',
    'Correct the source; name it under `empty` if it stands for none; write `date = "numbered"` if its first digit is the era.',
)


def _bounded(number: int) -> int:
    """``number``, if the messages have room for it."""
    if abs(number) > LARGEST:
        raise Unfit(TOO_LARGE, CORRECT)
    return number


def _unmapped(text: str) -> Unfit:
    shown = text if len(text) <= 4 and text.isascii() and text.isalnum() else "…"
    return Unfit(
        Title(f"コード {shown} の対応が決まっていません。", f"Nobody said what code {shown} means."),
        Title("`codes` に加えてください。", "Add it under `codes`."),
    )
