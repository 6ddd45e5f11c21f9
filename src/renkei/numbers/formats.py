"""The four Japanese numbers. ``python-stdnum`` computes where it has the number; the rest is here."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Container
from secrets import randbelow
from typing import ClassVar

from stdnum.jp import cn as stdnum_cn
from stdnum.jp import in_ as stdnum_in

from renkei.errors import Malformed, NotFound

Below = Callable[[int], int]
"""Draws an integer in [0, n): ``secrets.randbelow`` by default, a seeded generator for a reproducible demo."""

MAX_DRAWS = 1000


class NumberFormat:
    """A decimal number of fixed length with one check digit.

    ``key`` is the name packs use, ``length`` counts all digits, ``groups`` says how people write it.
    """

    key: ClassVar[str]
    name: ClassVar[str]
    name_ja: ClassVar[str]
    length: ClassVar[int]
    groups: ClassVar[tuple[int, ...]]
    check_first: ClassVar[bool] = False
    secret: ClassVar[bool] = True
    """A secret number may not appear in logs, URLs or error texts, and is masked on screens."""

    @classmethod
    def check_digit(cls, body: str) -> str:
        """The check digit of ``body`` (the number without it, ASCII digits)."""
        raise AssertionError(f"{cls.__name__} defines no check digit")

    @classmethod
    def parse(cls, text: str) -> str:
        """The number as bare ASCII digits, from what a person typed (spaces, hyphens, full-width digits).

        Raises ``Malformed`` (code ``number-…``) without repeating the digits.
        """
        # NFKC turns full-width digits and hyphens into ASCII; the remaining dashes are typed by Japanese keyboards.
        digits = unicodedata.normalize("NFKC", text).translate({ord(c): None for c in " \t-‐‑‒–—―−ー"})
        if not (digits.isascii() and digits.isdigit()):
            raise cls._bad("number-characters", "may hold only digits", "数字以外の文字が含まれています")
        if len(digits) != cls.length:
            raise cls._bad(
                "number-length",
                f"has {cls.length} digits, not {len(digits)}",
                f"{cls.length}桁ではありません",
            )
        body, check = (digits[1:], digits[0]) if cls.check_first else (digits[:-1], digits[-1])
        if cls.check_digit(body) != check:
            raise cls._bad("number-check-digit", "does not have the right check digit", "検査用数字が一致しません")
        return digits

    @classmethod
    def is_valid(cls, text: str) -> bool:
        """Whether ``parse`` would accept ``text``."""
        try:
            cls.parse(text)
        except Malformed:
            return False
        return True

    @classmethod
    def complete(cls, body: str) -> str:
        """``body`` (digits without the check digit) with its check digit."""
        check = cls.check_digit(body)
        return check + body if cls.check_first else body + check

    @classmethod
    def issue(cls, taken: Container[str] = (), *, below: Below = randbelow) -> str:
        """A new random number not in ``taken``. The draw depends on nothing else, so it reveals nothing else.

        Pass every number ever issued as ``taken``, also those no longer in use: the law forbids giving an Individual Number twice, and
        forbids deriving one from the resident-record code.
        """
        for _ in range(MAX_DRAWS):
            number = cls.complete(str(below(10 ** (cls.length - 1))).zfill(cls.length - 1))
            if number not in taken:
                return number
        raise Malformed(
            f"No free {cls.name} was found in {MAX_DRAWS} draws.",
            ja=f"空いている{cls.name_ja}が見つかりません。",
            code="number-space-exhausted",
        )

    @classmethod
    def format(cls, number: str) -> str:
        """``number`` in the groups people read."""
        digits, parts, at = cls.parse(number), [], 0
        for size in cls.groups:
            parts.append(digits[at : at + size])
            at += size
        return " ".join(parts)

    @classmethod
    def mask(cls, number: str) -> str:
        """For screens: all but the last three digits hidden, grouped as in ``format``."""
        if not cls.secret:
            return cls.format(number)
        shown = cls.format(number)
        return "".join(c if c == " " or i >= len(shown) - 3 else "•" for i, c in enumerate(shown))

    @classmethod
    def _bad(cls, code: str, why: str, ja: str) -> Malformed:
        return Malformed(f"This {cls.name} {why}.", ja=f"この{cls.name_ja}は正しくありません: {ja}。", code=code)


class IndividualNumber(NumberFormat):
    """個人番号, 12 digits, check digit last (Individual Number ordinance art. 5)."""

    key, name, name_ja = "jp-individual", "Individual Number", "個人番号"
    length, groups = 12, (4, 4, 4)

    @classmethod
    def check_digit(cls, body: str) -> str:
        return str(stdnum_in.calc_check_digit(body))


class CorporateNumber(NumberFormat):
    """法人番号, 13 digits, check digit first. Public."""

    key, name, name_ja = "jp-corporate", "Corporate Number", "法人番号"
    length, groups, check_first, secret = 13, (1, 4, 4, 4), True, False

    @classmethod
    def check_digit(cls, body: str) -> str:
        return str(stdnum_cn.calc_check_digit(body))

    @classmethod
    def of_local_government(cls, code: str) -> str:
        """The Corporate Number of the local government with the 6-digit ``code``: base 000020 + code."""
        return cls.complete("000020" + LocalGovernmentCode.parse(code))


class ResidentRecordCode(NumberFormat):
    """住民票コード, 11 digits: ten random and one check digit.

    The rule is not in the sources; the Individual Number's is used, as one known implementation does
    (docs/adr/0003). Nothing in Renkei depends on it but this class.
    """

    key, name, name_ja = "jp-resident-record", "resident-record code", "住民票コード"
    length, groups = 11, (5, 6)

    @classmethod
    def check_digit(cls, body: str) -> str:
        total = sum(int(d) * (n + 1 if n <= 6 else n - 5) for n, d in enumerate(reversed(body), start=1))
        rest = total % 11
        return "0" if rest <= 1 else str(11 - rest)


class LocalGovernmentCode(NumberFormat):
    """全国地方公共団体コード, 6 digits, weights 6 5 4 3 2, check digit last. Public."""

    key, name, name_ja = "jp-local-government", "local-government code", "全国地方公共団体コード"
    length, groups, secret = 6, (6,), False

    @classmethod
    def check_digit(cls, body: str) -> str:
        total = sum(int(d) * w for d, w in zip(body, (6, 5, 4, 3, 2), strict=True))
        return str((11 - total % 11) % 10)


FORMATS: dict[str, type[NumberFormat]] = {
    f.key: f for f in (IndividualNumber, CorporateNumber, ResidentRecordCode, LocalGovernmentCode)
}
"""Every format by the key packs use."""


def number_format(key: str) -> type[NumberFormat]:
    """The format called ``key``; ``NotFound`` lists the ones there are."""
    try:
        return FORMATS[key]
    except KeyError:
        raise NotFound(
            f"There is no number format called {key!r}.",
            remedy=f"Use one of: {', '.join(FORMATS)}.",
            code="number-format",
        ) from None


def recognise(text: str) -> list[type[NumberFormat]]:
    """The formats under which ``text`` is a valid number (for ``renkei number check`` without a kind)."""
    return [f for f in FORMATS.values() if f.is_valid(text)]


__all__ = [
    "FORMATS",
    "CorporateNumber",
    "IndividualNumber",
    "LocalGovernmentCode",
    "NumberFormat",
    "ResidentRecordCode",
    "number_format",
    "recognise",
]
