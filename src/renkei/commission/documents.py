"""What leaves the console as a file: a decision to print (PDF), and the register's feed (Atom, RFC 4287)."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import jinja2

from renkei.commission.register import Registered
from renkei.commission.wordings import Words
from renkei.institution.paper import pdf
from renkei.messages.wire import HeadIs
from renkei.record.oversight import Standing

ATOM = "http://www.w3.org/2005/Atom"
FEED_MOST = 200
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)


async def decision_pdf(standing: Standing, words: Words, head: HeadIs, origin: str) -> bytes:
    """A decision as its body receives it on paper: what, for whom, since when, who signed, and where it is in the record."""
    html = render(
        "decision_paper.html",
        standing=standing,
        decision=standing.decision,
        words=words,
        lang=words.lang,
        t=lambda en, ja: words.t((en, ja)),
        head=head,
        origin=origin,
    )
    return await asyncio.to_thread(pdf, html)


def render(template: str, **values: object) -> str:
    """A document of the commission as HTML, complete in itself."""
    return _templates.get_template(template).render(**values)


def atom(found: Sequence[Registered], words: Words, base: str, origin: str) -> bytes:
    """The newest published assessments as an Atom feed."""
    ET.register_namespace("", ATOM)
    feed = ET.Element(f"{{{ATOM}}}feed", {"{http://www.w3.org/XML/1998/namespace}lang": words.lang})

    def say(parent: ET.Element, name: str, text: str = "", **attributes: str) -> ET.Element:
        child = ET.SubElement(parent, f"{{{ATOM}}}{name}", attributes)
        child.text = text or None
        return child

    say(feed, "title", words.t(("Impact assessments", "特定個人情報保護評価書")))
    say(feed, "id", f"urn:renkei:register:{origin}")
    say(feed, "link", rel="self", href=f"{base}/register.atom")
    say(feed, "link", rel="alternate", href=f"{base}/register")
    say(feed, "updated", _noon(max((r.assessment.published for r in found), default="1970-01-01"), words))
    say(say(feed, "author"), "name", words.body("commission"))
    for r in found[:FEED_MOST]:
        a = r.assessment
        entry = say(feed, "entry")
        say(entry, "title", f"{words.body(a.body)}: {r.title or words.level(a.level)}")
        say(entry, "id", f"urn:renkei:assessment:{origin}:{a.body}:{a.name or '-'}:{a.published}")
        say(entry, "link", rel="alternate", href=f"{base}/register/{a.body}/{a.name or '-'}")
        say(entry, "updated", _noon(a.published, words))
        say(entry, "summary", words.level(a.level))
    text: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return text


def _noon(day: str, words: Words) -> str:
    return dt.datetime.combine(dt.date.fromisoformat(day), dt.time(12), words.pack.zone).isoformat()
