"""Certificates that a body prints for whom they are about: read from its own database, sealed, and verifiable on paper.

The QR code on a paper copy holds what is printed, signed. A verifier's browser checks it by itself: what follows the ``#`` of an address is
never sent, so nobody learns who was shown which paper.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import segno
import sqlalchemy as sa

from renkei.errors import Conflict, NotFound, Unavailable
from renkei.gateway import store
from renkei.gateway.adapter import Adapter, SourceFault
from renkei.gateway.seal import Seal
from renkei.institution import paper
from renkei.institution.database import Database
from renkei.institution.settings import Clock, Settings
from renkei.institution.signed_text import PAPER
from renkei.institution.wording import PackWords
from renkei.law import Pack
from renkei.law.pack import Document

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
QR_MOST = 2_900
"""Characters that a QR code still holds in bytes, at the least correction (ISO/IEC 18004, version 40-L: 2,953)."""


PICTURE = "data:image/png;base64,"


def _told(value: str) -> str:
    """What a QR code says of a value: of a picture, by what it is known again."""
    return f"SHA-256 {sha256(value.encode()).hexdigest()[:32]}" if value.startswith(PICTURE) else value


class Printed(NamedTuple):
    """A certificate that was made."""

    number: str
    pdf: bytes


class Documents:
    """What one body prints. ``pack`` answers the law in force."""

    def __init__(
        self,
        settings: Settings,
        pack: Callable[[], Pack],
        adapter: Adapter,
        database: Database,
        seal: Seal,
        clock: Clock,
    ) -> None:
        self._settings, self._pack, self._adapter = settings, pack, adapter
        self._database, self.seal, self._clock = database, seal, clock

    def offered(self) -> list[Document]:
        """The certificates whose data this body holds."""
        held = set(self._adapter.items)
        return [d for d in self._pack().documents.values() if d.item in held]

    async def make(self, code: str, local_id: str) -> Printed:
        """A certificate about a person.

        ``NotFound`` if there is none of that kind here, or nothing to certify; ``Conflict`` (``unprintable``) if a character cannot be
        printed, and which; ``Unavailable`` if the data, the seal or its date cannot be had. It is noted as issued only when it is made.
        """
        document = next((d for d in self.offered() if d.code == code), None)
        if document is None:
            raise NotFound(
                "There is no such certificate here.",
                ja="この証明書は取り扱っていません。",
                remedy="Choose one of those that are offered.",
                remedy_ja="一覧から選んでください。",
                code="no-document",
            )
        try:
            found = await asyncio.to_thread(self._adapter.look_up, document.item, "", [local_id])
        except SourceFault as error:
            raise Unavailable(
                "The register does not answer.", ja="台帳システムが応答しません。", code=error.reason
            ) from error
        records = found.get(local_id, [])
        if not records:
            raise NotFound(
                "There is nothing to certify about you here.",
                ja="証明できる記録がありません。",
                remedy="Ask at the counter.",
                remedy_ja="窓口にお問い合わせください。",
                code="no-record",
            )
        now = self._clock()
        day = self._pack().day(now)
        number = f"{day:%Y}-{secrets.token_hex(5)}"
        html = await asyncio.to_thread(self._html, document, records, number, day)
        made = await asyncio.to_thread(paper.pdf, html)
        sealed = await self.seal.pdf(made, document.title.ja)
        row = {"number": number, "document": document.code, "local_id": local_id, "at": now}
        await self._database.write(lambda c: c.execute(store.documents.insert(), [row]))
        return Printed(number, sealed)

    def _html(self, document: Document, records: list[dict[str, Any]], number: str, day: dt.date) -> str:
        words = {lang: PackWords(self._pack(), lang) for lang in ("ja", "en")}
        tables = [
            [
                (
                    words["ja"].field(document.item, f),
                    words["en"].field(document.item, f),
                    self._value(document, f, record[f]),
                )
                for f in document.fields
                if f in record
            ]
            for record in records
        ]
        printed = self._pack().header.cards.printed
        face = paper.face(printed.typefaces)
        lacking = face.lacks(
            "".join(value for table in tables for _, _, value in table if not value.startswith(PICTURE))
        )
        if lacking:
            which = ", ".join(paper.named(c) for c in lacking)
            raise Conflict(
                f"This cannot be printed here, for the typeface lacks {which}.",
                ja=f"印刷できない文字があります: {which}",
                remedy="The counter can write it by hand.",
                remedy_ja="窓口で交付を受けてください。",
                code="unprintable",
            )
        issuer, place = self._settings.body, self._settings.origin
        claims = {
            "iss": place,
            "no": number,
            "on": day.isoformat(),
            "doc": [document.title.ja, document.title.en],
            "by": [words["ja"].body(issuer), words["en"].body(issuer)],
            "v": [[[ja, _told(value)] for ja, _, value in table] for table in tables],
        }
        address = f"{place}/verify#{self.seal.text(PAPER, claims)}"
        code = segno.make(address, error="l", mode="byte", micro=False) if len(address) <= QR_MOST else None
        return _templates.get_template("document_paper.html").render(
            document=document,
            printed=printed,
            tables=tables,
            number=number,
            family=face.family,
            issued=(words["ja"].on(day), words["en"].on(day)),
            issuer=(words["ja"].body(issuer), words["en"].body(issuer)),
            qr=code.svg_data_uri(scale=1, border=2) if code else "",
            place=f"{place}/verify",
        )

    def _value(self, document: Document, field: str, value: Any) -> str:
        """As it is printed: in Japanese; a picture as its address."""
        words = PackWords(self._pack(), "ja")
        term = words.term(document.item, field)
        return f"{PICTURE}{value}" if term and term.type == "image" else words.value(document.item, field, value)


def count(connection: sa.Connection) -> int:
    """How many were issued."""
    return connection.execute(sa.select(sa.func.count()).select_from(store.documents)).scalar_one()
