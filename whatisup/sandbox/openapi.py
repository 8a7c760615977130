"""The control API's OpenAPI document, made from the very table that serves it.

Rule: what is not in `Route` is not in the document, and what is not in the document is not served.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec

from whatisup import control

_REF: Final = "#/components/schemas/{name}"
_PARAMETERS: Final = {
    "number": {"type": "string", "pattern": "^[0-9]{7,15}$", "description": "an account's number, digits only"},
    "device": {"type": "integer", "minimum": 1, "maximum": 98, "description": "a companion's device number"},
    "fault": {"type": "string", "description": "a fault's id"},
    "after": {"type": "integer", "minimum": 0, "description": "the position behind which the page begins; 0 at first"},
    "limit": {"type": "integer", "minimum": 1, "maximum": control.MAX_PAGE, "description": "most rows of the page"},
}
_STATUS: Final = {
    200: "done",
    201: "created",
    202: "taken; the log says what becomes of it",
    204: "done, nothing to say",
    400: "the request is not understood",
    401: "the bearer token is missing or wrong",
    404: "there is no such thing",
    409: "it cannot be done now",
    413: "the body is too large",
    429: "there is too much to do already",
    502: "the companion did not play along",
    504: "the companion did not answer in time",
}


@dataclass(frozen=True)
class Route:
    """One operation. `path` holds `{number}`, `{device}` or `{fault}`; `refusals` are the statuses beside 2xx."""

    method: str
    path: str
    summary: str
    handler: Callable[..., Any]
    request: type[msgspec.Struct] | None = None
    reply: type[msgspec.Struct] | None = None
    status: int = 200
    refusals: tuple[int, ...] = ()
    needs_token: bool = True
    query: tuple[str, ...] = ()

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What a request's path must match; the groups are the parameters."""
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path))


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of these routes."""
    types = sorted({t for route in routes for t in (route.request, route.reply) if t is not None}, key=str)
    refs, schemas = msgspec.json.schema_components([*types, control.Error], ref_template=_REF)
    by_type = dict(zip([*types, control.Error], refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WhatIsUp sandbox: control API",
            "version": version,
            "description": "Simulated phones, people and faults of a wire-compatible WhatsApp server on loopback.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, by_type: dict[Any, Any]) -> dict[str, Any]:
    responses = {str(route.status): _response(route.status, by_type.get(route.reply))}
    refusals = {*route.refusals, *((401,) if route.needs_token else ()), *((400, 413) if route.request else ())}
    for status in sorted(refusals):
        responses[str(status)] = _response(status, by_type[control.Error])
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__.strip("_"),
        "summary": route.summary,
        "responses": responses,
        "security": [{"token": []}] if route.needs_token else [],
    }
    names = re.findall(r"\{(\w+)\}", route.path)
    parameters = [_parameter(name, "path") for name in names] + [_parameter(name, "query") for name in route.query]
    if parameters:
        operation["parameters"] = parameters
    if route.request is not None:
        content = {"application/json": {"schema": by_type[route.request]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _parameter(name: str, place: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": _PARAMETERS[name]}


def _response(status: int, schema: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"description": _STATUS[status]}
    if schema is not None:
        response["content"] = {"application/json": {"schema": schema}}
    return response
