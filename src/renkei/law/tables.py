"""Reading a pack's files so that every fault keeps its file and line."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import tomllib
from base64 import b64decode
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

T = TypeVar("T")
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
PNG = b"\x89PNG\r\n\x1a\n"
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
TYPES = ("text", "integer", "date", "year-month", "boolean", "code", "image")
IMAGE_MOST = 100_000
"""Characters of an image: a PNG in base64."""


class Title(NamedTuple):
    """A short title in both languages."""

    ja: str
    en: str

    def text(self, language: str) -> str:
        return self.ja if language == "ja" else self.en


class Fault(NamedTuple):
    """One thing wrong with a pack: where, what, and how to mend it. ``line`` 0 means the file as a whole."""

    file: str
    line: int
    sentence: str
    remedy: str


class Sheet:
    """One line of a CSV sheet."""

    def __init__(self, file: str, number: int, values: Mapping[str, str], faults: list[Fault]) -> None:
        self.file, self.number, self._values, self._faults = file, number, values, faults

    def __getitem__(self, column: str) -> str:
        return self._values[column]

    def words(self, column: str) -> tuple[str, ...]:
        return tuple(self[column].split())

    def title(self) -> Title:
        for column in ("ja", "en"):
            if not self[column]:
                self.fault(f"`{column}` is empty.", "Give a short title in both languages.")
        return Title(self["ja"], self["en"])

    def fault(self, sentence: str, remedy: str) -> None:
        self._faults.append(Fault(self.file, self.number, sentence, remedy))

    def one(self, column: str, to: Container[str], where: str) -> None:
        """``column`` must be one code of ``where``."""
        if len(self.words(column)) > 1:
            self.fault(f"`{column}` names several codes.", "Write a line for each.")
        else:
            self.refers(column, to, where)

    def refers(self, column: str, to: Container[str], where: str, *, empty: bool = False) -> None:
        """Every word of ``column`` must be a code of ``where``, and there must be one unless it may be ``empty``."""
        words = self.words(column)
        if not words and not empty:
            self.fault(f"`{column}` is empty.", f"Name at least one code from {where}.")
        for word in words:
            if word not in to:
                self.fault(
                    f"`{column}` names {word!r}, which {where} does not have.",
                    f"Correct it, or add it to {where}.",
                )

    def one_of(self, column: str, allowed: Sequence[str]) -> None:
        if self[column] not in allowed:
            self.fault(f"`{column}` is {self[column]!r}.", f"Use one of: {', '.join(allowed)}.")

    def date(self, column: str, *, empty: bool = False) -> dt.date | None:
        if empty and not self[column]:
            return None
        try:
            return dt.date.fromisoformat(self[column])
        except ValueError:
            self.fault(f"`{column}` is not a date.", "Write it as YYYY-MM-DD.")
            return None


def rows(
    files: Mapping[str, bytes],
    name: str,
    columns: Sequence[str],
    faults: list[Fault],
    *,
    key: str | None = None,
) -> Iterator[Sheet]:
    """The lines of CSV file ``name``; a missing file, wrong header, short line or repeated key is a fault."""
    text = _text(files, name, faults)
    if text is None:
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    seen: dict[str, int] = {}
    empty = True
    try:
        header = next(reader, [])
        if header != list(columns):
            faults.append(Fault(name, 1, f"The header is {','.join(header)!r}.", f"Make it {','.join(columns)!r}."))
            return
        for cells in reader:
            line, empty = reader.line_num, False
            if len(cells) != len(columns):
                faults.append(
                    Fault(
                        name,
                        line,
                        f"There are {len(cells)} cells, not {len(columns)}.",
                        "Add or remove a comma, or quote the cell.",
                    )
                )
                continue
            row = Sheet(name, line, dict(zip(columns, (c.strip() for c in cells), strict=True)), faults)
            if key:
                if not CODE.fullmatch(row[key]):
                    row.fault(f"{row[key]!r} is not a code.", "Use lower-case letters, digits and single hyphens.")
                if row[key] in seen:
                    row.fault(
                        f"{row[key]!r} already stands on line {seen[row[key]]}.",
                        "Remove or rename one of the two.",
                    )
                    continue
                seen[row[key]] = line
            yield row
        if empty:
            faults.append(Fault(name, 1, "There is nothing below the header.", "Add its lines."))
    except csv.Error as error:
        faults.append(
            Fault(name, reader.line_num, f"The CSV cannot be read: {error}.", "Check the quotes on this line.")
        )


def toml(files: Mapping[str, bytes], name: str, type_: type[T], faults: list[Fault]) -> T | None:
    """TOML file ``name`` as ``type_``, or a fault."""
    text = _text(files, name, faults)
    if text is None:
        return None
    try:
        return msgspec.convert(tomllib.loads(text), type_)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        faults.append(Fault(name, int(at[1]) if at else 0, f"The TOML cannot be read: {error}.", "Correct the syntax."))
    except msgspec.ValidationError as error:
        line = _line_of(text, str(error))
        faults.append(Fault(name, line, f"{error}.", "Compare with another file of this kind; see docs/packs.md."))
    return None


def _line_of(text: str, said: str) -> int:
    """The line of the member a validation error is about: it names a path such as ``$.fields[2].term``."""
    lines = text.splitlines()
    path = re.search(r"`\$(.*?)`", said)
    keys = re.findall(r"\w+|\[\d+\]", path[1] if path else "")
    named = re.search(r"field `(\w+)`", said)
    if "unknown field" in said and named:
        keys.append(named[1])
    at, found = 0, 0
    for place, key in enumerate(keys):
        if key.startswith("["):
            heads = [i for i, line in enumerate(lines) if line.strip() == f"[[{keys[place - 1]}]]"]
            at = found = heads[int(key[1:-1])] + 1 if int(key[1:-1]) < len(heads) else found
            continue
        needle = re.compile(rf"\s*(\[{key}\]|\[\[{key}\]\]|{key}\s*=)")
        hit = next((i for i in range(at, len(lines)) if needle.match(lines[i])), None)
        if hit is not None:
            at = found = hit + 1
    return found


def line_finder(data: bytes) -> Callable[[str], int]:
    """A function from a needle to the number of the first line that begins with it."""
    lines = data.decode(errors="replace").splitlines()
    return lambda needle: next((i for i, line in enumerate(lines, 1) if line.strip().startswith(needle)), 0)


def value_fault(type_: str, text: str, codes: Container[str]) -> str | None:
    """What is wrong with ``text`` as a value of ``type_``, or ``None``."""
    try:
        match type_:
            case "integer":
                int(text)
            case "date":
                dt.date.fromisoformat(text)
            case "year-month":
                dt.date.fromisoformat(text + "-01")
            case "boolean" if text not in ("true", "false"):
                return "is neither true nor false"
            case "code" if text not in codes:
                return "is not in the code list"
            case "text" if not text:
                return "is empty"
            case "image" if len(text) > IMAGE_MOST or not b64decode(text, validate=True).startswith(PNG):
                return "is no PNG in base64"
    except ValueError:
        return f"is not of type {type_}"
    return None


def _text(files: Mapping[str, bytes], name: str, faults: list[Fault]) -> str | None:
    if name not in files:
        faults.append(Fault(name, 0, "The file is missing.", "Add it; see docs/packs.md for its columns."))
        return None
    try:
        text = files[name].decode("utf-8-sig")
        control = CONTROL.search(text)
        if control:
            line = text[: control.start()].count("\n") + 1
            faults.append(Fault(name, line, "There is a control character.", "Remove it; save the file as plain text."))
            return None
        return text
    except UnicodeDecodeError as error:
        line = files[name][: error.start].count(b"\n") + 1
        faults.append(Fault(name, line, "The file is not UTF-8.", "Save it as UTF-8."))
        return None
