"""The OpenAPI 3.1 document, written from the same table that the router reads.

Rule: nothing about a route is said here that the route's own description does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any, Final

import msgspec

from api.problems import CODES
from api.routes.endpoint import JSON, Access, Endpoint
from api.schemas.payloads import PAYLOADS
from api.schemas.replies import ErrorEnvelope, EventPage

_REF: Final = "#/components/schemas/{name}"

_SECURITY: Final[Mapping[Access, list[dict[str, list[str]]]]] = {
    Access.ANYBODY: [{}],
    Access.KEY: [{"apiKey": []}],
    Access.TEST_KEY: [{"apiKey": []}],
    Access.OPERATOR: [{}, {"operatorToken": []}],
}

_SHARED: Final[Mapping[Access, tuple[str, ...]]] = {
    Access.ANYBODY: (),
    Access.KEY: ("auth_missing", "auth_malformed", "auth_invalid", "auth_expired", "store_unavailable"),
    Access.TEST_KEY: (
        "auth_missing",
        "auth_malformed",
        "auth_invalid",
        "auth_expired",
        "not_found",
        "store_unavailable",
        "sandbox_unavailable",
    ),
    Access.OPERATOR: ("operator_only",),
}

_PARAMETERS: Final[Mapping[str, str]] = {
    "instance_id": "An instance's id (`inst_…`).",
    "number": "A simulated phone's number: 999 and nine more digits.",
    "fault_id": "A fault's id.",
    "message_id": "A message's id (`msg_…`), or WhatsApp's together with `chat`.",
    "jid": "A person's number, or JID (…@s.whatsapp.net, …@lid).",
    "phone": "A number with its country code; `+`, spaces and dashes are forgiven.",
}

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "A retry with the same key and body within 24 hours gets the first reply again.",
}

_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "The last `id:` seen on the stream; goes before `after`.",
}


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Write the document for these endpoints."""
    endpoints = tuple(endpoints)
    structs: set[type[msgspec.Struct]] = {ErrorEnvelope}
    structs |= set(PAYLOADS.values())
    structs |= {e.reply for e in endpoints if e.reply is not None}
    structs |= {e.body for e in endpoints if e.takes_body}
    ordered = sorted(structs, key=lambda struct: struct.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "WhatIsUp",
            "version": version("whatisup"),
            "summary": "A self-hosted WhatsApp gateway.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "zpk_live_… or zpk_test_…"},
                "operatorToken": {"type": "http", "scheme": "bearer", "description": "WHATISUP_OPERATOR_TOKEN"},
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "security": _SECURITY[endpoint.access],
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint), *_header_parameters(endpoint)],
        "responses": {str(endpoint.status): _success(endpoint), **_problems(endpoint)},
    }
    if endpoint.reply is EventPage:
        # What `data` holds depends on `event`, which stands beside it: more than a discriminator can say.
        operation["x-events"] = {name: {"$ref": _REF.format(name=kind.__name__)} for name, kind in PAYLOADS.items()}
    if endpoint.takes_body:
        schema = {"$ref": _REF.format(name=endpoint.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return operation


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": meaning}
        for name, meaning in _PARAMETERS.items()
        if f"{{{name}}}" in endpoint.path
    ]


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    fields = msgspec.json.schema(endpoint.query)["$defs"][endpoint.query.__name__]["properties"]
    return [{"name": name, "in": "query", "required": False, "schema": schema} for name, schema in fields.items()]


def _header_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    headers = [_IDEMPOTENCY_KEY] if endpoint.takes_idempotency_key else []
    return [*headers, _LAST_EVENT_ID] if "text/event-stream" in endpoint.media else headers


def _success(endpoint: Endpoint) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if endpoint.reply is not None:
        content[JSON] = {"schema": {"$ref": _REF.format(name=endpoint.reply.__name__)}}
    for media_type, meaning in endpoint.media.items():
        content[media_type] = {"schema": {"type": "string", "description": meaning}}
    reply: dict[str, Any] = {"description": endpoint.summary}
    return reply | {"content": content} if content else reply


def _problems(endpoint: Endpoint) -> dict[str, Any]:
    """Group the codes a route may answer with by their status."""
    codes = {*_SHARED[endpoint.access], *endpoint.problems, "validation_failed", "internal_error"}
    if endpoint.scopes:
        codes.add("insufficient_scope")
    if endpoint.is_customer_wide:
        codes.add("instance_scoped_key")
    if endpoint.takes_body:
        codes |= {"invalid_json", "body_too_large", "unsupported_media_type"}
    if endpoint.takes_idempotency_key:
        codes |= {"idempotency_in_progress", "idempotency_mismatch"}
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    schema = {"schema": {"$ref": _REF.format(name=ErrorEnvelope.__name__)}}
    return {
        str(status): {
            "description": "\n".join(f"- `{code}`: {CODES[code].meaning}" for code in names),
            "content": {JSON: schema},
        }
        for status, names in sorted(by_status.items())
    }
