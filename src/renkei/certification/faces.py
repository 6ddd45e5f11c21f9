"""What is printed on a card: the front with the photograph, the back with the number; and the letter that says it is there."""

from __future__ import annotations

import datetime as dt
from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

import jinja2

from renkei.certification.applications import Application, moved_on
from renkei.errors import Conflict
from renkei.institution import paper

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
SEX = {"1": ("男", "M"), "2": ("女", "F"), "9": ("－", "X")}


class Faces(NamedTuple):
    """Both faces as SVG, 85.6 × 54 mm (ISO/IEC 7810 ID-1)."""

    front: str
    back: str


Typefaces = tuple[tuple[str, str], ...]
"""As the pack names them (``[cards.printed]``)."""


def faces(application: Application, title: str, typefaces: Typefaces) -> Faces:
    """A card's faces; ``Conflict`` before it is made, after it was handed over, or if a character of it cannot be printed."""
    person, photo = application.person, application.photo
    if person is None or photo is None or application.card is None or not application.until:
        raise moved_on("There is no card to print now.", "印刷するカードがありません。")
    face = paper.face(typefaces)
    lacking = face.lacks(person.name + person.address)
    if lacking:
        raise Conflict(
            f"This cannot be printed, for the typeface lacks {', '.join(paper.named(c) for c in lacking)}.",
            ja=f"印刷できない文字があります: {', '.join(paper.named(c) for c in lacking)}",
            remedy="Install a typeface that has it, or write it by hand.",
            remedy_ja="その文字を含む書体を入れるか、手書きで補ってください。",
            code="unprintable",
        )
    values = {
        "title": title,
        "family": face.family,
        "person": person,
        "address": [person.address[at : at + 24] for at in range(0, len(person.address), 24)][:3],
        "birth": _day(person.birth),
        "sex": SEX[person.sex][0],
        "until": _day(dt.date.fromisoformat(application.until)),
        "card": application.card,
        "number": f"{person.number[:4]} {person.number[4:8]} {person.number[8:]}",
        "photo": f"data:image/jpeg;base64,{b64encode(photo).decode()}",
    }
    return Faces(*(_templates.get_template(f"{side}.svg").render(**values) for side in ("front", "back")))


def faces_pdf(made: Faces) -> bytes:
    """Both faces, a page each."""
    pages = [f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}" for svg in made]
    return paper.pdf(_templates.get_template("faces_paper.html").render(pages=pages))


def letter_pdf(application: Application, title: str, office: str, last: dt.date | None, typefaces: Typefaces) -> bytes:
    """The letter to who may collect a card: where, until when, and what to bring. It does not hold the number."""
    person = application.person
    if person is None or last is None:
        raise moved_on("There is nobody to tell now.", "通知する相手がありません。")
    family = paper.face(typefaces).family
    values = {"title": title, "office": office, "family": family, "name": person.name, "address": person.address}
    html = _templates.get_template("letter_paper.html").render(**values, code=application.code, last=_day(last))
    return paper.pdf(html)


def _day(day: dt.date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"
