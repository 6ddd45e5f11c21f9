"""The reference of an institution's REST interface: the OpenAPI description, completed with how calls fail, and a page to read it.

At ``/schema`` (page), ``/schema/openapi.json`` and ``/schema/openapi.yaml``. Nothing is fetched from elsewhere to show it.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from litestar import Request
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin, YamlRenderPlugin

PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457) with what to do about it, in the reader's language (Accept-Language).",
    "required": ["type", "title", "status", "detail", "remedy"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string", "description": "The code, for programs."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What went wrong."},
        "remedy": {"type": "string", "description": "What to do about it."},
        "field": {"type": "string", "description": "The member of the request it is about, if it is about one."},
    },
}
FAILURES = {
    "400": "A value is not of the form described",
    "401": "No token, or one that is not valid",
    "403": "Not among the clerk's duties, or refused",
    "404": "There is no such thing here",
    "409": "The identifier was used for something else, or it is settled already",
    "413": "More than is accepted at once",
    "415": "Another content type than described",
    "503": "A part that is needed does not answer now; see Retry-After",
}
METHODS = ("get", "post", "put", "patch", "delete")


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with the failures every call can meet, in our form of problem details."""
    parts = schema.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = PROBLEM
    parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                responses = operation["responses"]
                responses.pop("400", None)
                for status in _failures(path, method, operation):
                    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
                    responses[status] = {"description": FAILURES[status], "content": content}
    return schema


def _failures(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    found = ["400"] if operation.get("parameters") or method == "post" else []
    found += ["401"] if operation.get("security") else []
    found += ["403", "409"] if method == "post" else []
    found += ["404"] if "{" in path else []
    found += ["413", "415"] if operation.get("requestBody") else []
    return [*found, "503"] if operation.get("security") else found


class Description(JsonRenderPlugin):
    """The description as JSON."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, complete(openapi_schema))


class YamlDescription(YamlRenderPlugin):
    """The description as YAML."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        return super().render(request, complete(openapi_schema))


class ReferencePage(OpenAPIRenderPlugin):
    """The description as a page."""

    def __init__(self) -> None:
        super().__init__(path="/")

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        schema = complete(openapi_schema)
        operations = [
            (method.upper(), path, operation)
            for path, item in sorted(schema["paths"].items())
            for method, operation in item.items()
            if method in METHODS
        ]
        shapes = schema["components"]["schemas"]
        return _template().render(info=schema["info"], operations=operations, shapes=shapes, shape=_shape).encode()


@cache
def _template() -> jinja2.Template:
    """The page's template, read when somebody asks for the page: compiling it is a tenth of a body's start."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    return jinja2.Environment(
        loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.ChainableUndefined
    ).get_template("reference.html")


def _shape(schema: dict[str, Any]) -> str:
    """A schema in a few words: a named shape, a type, or a choice of them."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "oneOf" in schema:
        return " or ".join(_shape(s) for s in schema["oneOf"])
    if "enum" in schema:
        return " | ".join(str(v) for v in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_shape(schema.get('items', {}))}"
    return kind
