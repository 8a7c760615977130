"""The OpenAPI 3.1 document, written from the same table that the router reads.

Rule: nothing about a route is said here that the route's own description, its types and the table of codes do not say;
what this folder adds is words for people (what a path's hole is, which topic a route belongs to) and samples.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

import msgspec

from api.routes.openapi.errors import codes_of, error_code_schema, examples_of_errors, share_responses
from api.routes.openapi.events import DELIVERY_HEADERS, names_of_events, webhooks
from api.routes.openapi.operations import HEADERS, SECURITY_SCHEMES, operation, ref
from api.routes.openapi.rules import say_rules
from api.routes.openapi.samples import bring_samples
from api.routes.openapi.topics import topics_of
from api.schemas.payloads import PAYLOADS
from api.schemas.replies import ErrorEnvelope, EventEnvelope
from api.serving.endpoint import Endpoint

__all__ = ["codes_of", "document"]

_DESCRIPTION = """\
Send `Authorization: Bearer zpk_…` with each request. Times are ISO 8601 in UTC; ids are opaque.
Lists are `{"data": […], "next_cursor": …}`: pass `next_cursor` as `cursor` until it is null.
What fails is `{"error": {"code", "message", "details"}, "request_id"}`: decide by `code`, show `message`, and give us
`request_id`. Every answer carries it as `X-Request-Id` too. `POST`s that create or send take an `Idempotency-Key`.
"""


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Write the document for these endpoints."""
    endpoints = tuple(endpoints)
    schemas = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation(endpoint)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "WhatIsUp",
            "version": version("whatisup"),
            "summary": "A self-hosted WhatsApp gateway.",
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": topics_of(endpoints),
        "paths": paths,
        "webhooks": webhooks(),
        "components": {
            "schemas": schemas,
            "headers": HEADERS,
            "parameters": DELIVERY_HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
            "examples": examples_of_errors(endpoints),
        },
    }
    bring_samples(described)
    described["components"]["responses"] = share_responses(paths)
    return described


def _schemas(endpoints: tuple[Endpoint, ...]) -> dict[str, Any]:
    structs: set[type[msgspec.Struct]] = {ErrorEnvelope, EventEnvelope}
    structs |= set(PAYLOADS.values())
    structs |= {e.reply for e in endpoints if e.reply is not None}
    structs |= {e.body for e in endpoints if e.takes_body}
    ordered = sorted(structs, key=lambda struct: struct.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=ref("{name}")["$ref"])
    schemas["ErrorBody"]["properties"]["code"] = ref("ErrorCode")
    schemas["EventEnvelope"]["properties"]["event"] = ref("EventName")
    say_rules(schemas)
    return {**schemas, "EventName": names_of_events(), "ErrorCode": error_code_schema()}
