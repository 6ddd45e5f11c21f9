"""What programs are told of a data specification: its JSON Schema (2020-12), which is also its OpenAPI 3.1 component. Pure."""

from __future__ import annotations

from typing import Any

from renkei.law.pack import Pack
from renkei.law.tables import IMAGE_MOST
from renkei.law.vocabulary import Field

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MONTH = r"^\d{4}-(0[1-9]|1[0-2])$"
PLAIN: dict[str, dict[str, Any]] = {
    "text": {"type": "string", "minLength": 1},
    "integer": {"type": "integer"},
    "date": {"type": "string", "format": "date"},
    "year-month": {"type": "string", "pattern": MONTH},
    "boolean": {"type": "boolean"},
    "image": {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/png", "maxLength": IMAGE_MOST},
}


def json_schema(pack: Pack, item: str, language: str = "en") -> dict[str, Any]:
    """The schema of one record of ``item``: what an answer holds, once or many times. ``KeyError`` if it has no specification."""
    specification = pack.specifications[item]
    return {
        "title": specification.title.text(language),
        "description": f"{item}, version {specification.version}; a person has {specification.records}.",
        "type": "object",
        "properties": {f.name: _field(pack, f, language) for f in specification.fields},
        "required": [f.name for f in specification.fields if f.required],
        "additionalProperties": False,
    }


def document(pack: Pack, item: str, address: str, language: str = "en") -> dict[str, Any]:
    """The schema as a document of its own, at ``address``."""
    return {"$schema": DIALECT, "$id": address, **json_schema(pack, item, language)}


def answer_schema(pack: Pack, item: str, language: str = "en") -> dict[str, Any]:
    """The schema of ``records`` in an answer about ``item``."""
    most = {"maxItems": 1} if pack.specifications[item].records == "one" else {}
    return {"type": "array", "items": json_schema(pack, item, language), **most}


def component(item: str) -> str:
    """The name of an item's OpenAPI component."""
    return "".join(word.capitalize() for word in item.split("-"))


def openapi(pack: Pack, address: str, language: str = "en") -> dict[str, Any]:
    """All specifications as components of one OpenAPI 3.1 document, for generators of clients."""
    return {
        "openapi": "3.1.0",
        "info": {"title": pack.header.ja if language == "ja" else pack.header.en, "version": pack.reference},
        "servers": [{"url": address}],
        "paths": {},
        "components": {"schemas": {component(i): json_schema(pack, i, language) for i in sorted(pack.specifications)}},
    }


def _field(pack: Pack, field: Field, language: str) -> dict[str, Any]:
    term = pack.terms[field.term]
    made: dict[str, Any] = {"title": field.title.text(language), "description": term.definition.text(language)}
    if term.type == "code":
        codes = pack.codelists[term.codes]
        made |= {"type": "string", "enum": list(codes)}
        made["x-enum-titles"] = {code: title.text(language) for code, title in codes.items()}
    else:
        made |= PLAIN[term.type]
    if term.unit:
        made["x-unit"] = term.unit
    if field.until:
        made |= {"deprecated": True, "x-until": field.until}
        if field.instead:
            made["x-instead"] = field.instead
    return {**made, "x-term": term.code, "examples": [example(term.type, term.example)]}


def example(type_: str, text: str) -> str | int | bool:
    """A term's example as JSON has it."""
    match type_:
        case "integer":
            return int(text)
        case "boolean":
            return text == "true"
    return text
