"""One route as an OpenAPI operation: its parameters, its body, and its success beside the errors.

Rule: query parameters, bodies and answers are described by the very types that parse and render them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from api.routes.openapi.errors import RATE_HEADERS, error_responses
from api.routes.openapi.events import payloads_by_event
from api.routes.openapi.rules import QUERY
from api.routes.openapi.topics import topic_of
from api.schemas.addresses import ADDRESS_PATTERN, NUMBER_PATTERN
from api.schemas.replies import EventPage
from api.serving.endpoint import JSON, Access, Endpoint

SSE: Final = "text/event-stream"

_KEY: Final[list[dict[str, list[str]]]] = [{"apiKey": []}]
_SECURITY: Final[Mapping[Access, list[dict[str, list[str]]]]] = {
    Access.ANYBODY: [{}],
    Access.KEY: _KEY,
    Access.TEST_KEY: _KEY,
    Access.OPERATOR: [{}, {"operatorToken": []}],
    Access.ADMIN: [{"adminKey": []}],
}

SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: zpk_live_… or zpk_test_…"},
    "streamToken": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "For clients that cannot set headers, such as EventSource in a browser.",
    },
    "adminKey": {
        "type": "http",
        "scheme": "bearer",
        "description": "Needs the administrator's key, `WHATISUP_ADMIN_KEY`.",
    },
    "operatorToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "Needs `WHATISUP_OPERATOR_TOKEN`, except from this machine without a proxy in between.",
    },
}

HEADERS: Final[Mapping[str, Any]] = {
    "RequestId": {
        "description": "The request's id, as in the log; yours, if you sent a sane `X-Request-Id`.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,100}$"},
    },
    "RetryAfter": {
        "description": "Try again after this many seconds.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Challenge": {
        "description": "How to authenticate.",
        "required": True,
        "schema": {"type": "string", "const": "Bearer"},
    },
    "RateLimit": {
        "description": "Requests that the customer may make at once; no such header where there is no limit.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "RateRemaining": {
        "description": "Requests left before the next are refused.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateReset": {
        "description": "When there are as many as at first again, in unix seconds.",
        "schema": {"type": "integer"},
    },
    "Replayed": {
        "description": "The answer is the one that the first request with this Idempotency-Key got.",
        "schema": {"type": "string", "const": "true"},
    },
}

_ID: Final = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"}
_MESSAGE: Final = {"type": "string", "pattern": "^[!-.0-~]{1,128}$"}

# What stands in a path's holes: a schema, a sentence, an example.
PATH: Final[Mapping[str, tuple[Mapping[str, Any], str, str]]] = {
    "instance_id": (_ID, "An instance's id (`inst_…`).", "inst_01KAN3Z6E5Q8W1V4T7R0M2YB9C"),
    "number": (
        {"type": "string", "pattern": "^999[0-9]{9}$"},
        "A simulated phone's number: 999 and nine more digits.",
        "999000000001",
    ),
    "endpoint_id": (_ID, "A webhook endpoint's id (`wh_…`).", "wh_01KAN3Z6E5Q8W1V4T7R0M2YB9C"),
    "delivery_id": (_ID, "A webhook delivery's id (`dlv_…`).", "dlv_01KAN3Z6E5Q8W1V4T7R0M2YB9C"),
    "fault_id": (_ID, "A fault's id.", "flt_1"),
    "key_id": (_ID, "An API key's id (`key_…`).", "key_01KAN3Z6E5Q8W1V4T7R0M2YB9C"),
    "customer_id": (_ID, "A customer's id (`cust_…`).", "cust_01KAN3Z6E5Q8W1V4T7R0M2YB9C"),
    "message_id": (
        _MESSAGE,
        "A message's id (`msg_…`), or WhatsApp's together with `chat`.",
        "msg_01KAN3Z6E5Q8W1V4T7R0M2YB9C",
    ),
    "jid": (
        {"type": "string", "pattern": ADDRESS_PATTERN},
        "A person's number, or JID (…@s.whatsapp.net, …@lid).",
        "5511999999999",
    ),
    "phone": (
        {"type": "string", "pattern": NUMBER_PATTERN},
        "A number with its country code; `+`, spaces and dashes are forgiven.",
        "5511999999999",
    ),
}

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "A retry with the same key and body within 24 hours gets the first reply again.",
}

_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$"},
    "description": "The last `id:` seen on the stream; goes before `after` and `cursor`.",
}

_REQUEST_ID: Final = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}


def ref(name: str) -> dict[str, str]:
    """Point to a schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def operation(endpoint: Endpoint) -> dict[str, Any]:
    """Describe one route."""
    described: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [topic_of(endpoint)],
        "summary": endpoint.summary,
        "security": _security(endpoint),
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint), *_header_parameters(endpoint)],
        "responses": {str(endpoint.status): _success(endpoint), **error_responses(endpoint)},
    }
    if endpoint.scopes:
        described["x-scopes"] = list(endpoint.scopes)
    if endpoint.reply is EventPage:
        # What `data` holds depends on `event`, which stands beside it: more than a discriminator can say.
        described["x-events"] = payloads_by_event()
    if endpoint.takes_body:
        content = {JSON: {"schema": ref(endpoint.body.__name__)}}
        described["requestBody"] = {"required": not _may_be_empty(endpoint.body), "content": content}
    return described


def _may_be_empty(body: type[msgspec.Struct]) -> bool:
    """Whether `{}` will do, and so no body at all."""
    try:
        msgspec.convert({}, body)
    except msgspec.ValidationError:
        return False
    return True


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    by_header = _SECURITY[endpoint.access]
    return [*by_header, {"streamToken": []}] if _takes_token(endpoint) else by_header


def _takes_token(endpoint: Endpoint) -> bool:
    return "token" in endpoint.query.__struct_fields__


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    names = [segment[1:-1] for segment in endpoint.path.split("/") if segment.startswith("{")]
    return [_path_parameter(name) for name in names]


def _path_parameter(name: str) -> dict[str, Any]:
    schema, meaning, example = PATH[name]
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": dict(schema),
        "description": meaning,
        "example": example,
    }


def _query_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    described = msgspec.json.schema(endpoint.query, ref_template=ref("{name}")["$ref"])
    fields = described["$defs"][endpoint.query.__name__]["properties"]
    owner = endpoint.query.__name__
    return [
        _query_parameter(name, schema, QUERY.get(f"{owner}.{name}", {}))
        for name, schema in fields.items()
        if name != "token"
    ]


def _query_parameter(name: str, schema: dict[str, Any], rule: Mapping[str, Any]) -> dict[str, Any]:
    """What a query cannot say (null) is no part of its schema: a parameter that is left out has no value."""
    named = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    plain = {**(named[0] if named else schema), **rule}
    if schema.get("default") is not None:
        plain["default"] = schema["default"]
    meaning = plain.pop("description", None)
    parameter = {"name": name, "in": "query", "required": False, "schema": plain}
    return parameter | ({"description": meaning} if meaning else {})


def _header_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    headers = [_IDEMPOTENCY_KEY] if endpoint.takes_idempotency_key else []
    return [*headers, _LAST_EVENT_ID] if SSE in endpoint.media else headers


def _success(endpoint: Endpoint) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if endpoint.reply is not None:
        content[JSON] = {"schema": ref(endpoint.reply.__name__)}
    for media_type, meaning in endpoint.media.items():
        content.setdefault(
            media_type, {"schema": {} if media_type == JSON else {"type": "string", "description": meaning}}
        )
    headers = _REQUEST_ID | (RATE_HEADERS if endpoint.access.needs_key else {})
    if endpoint.takes_idempotency_key:
        headers = headers | {"Idempotent-Replayed": {"$ref": "#/components/headers/Replayed"}}
    reply: dict[str, Any] = {"description": endpoint.summary, "headers": headers}
    return reply | {"content": content} if content else reply
