"""Events as the document tells of them: what each one holds, and how a webhook brings it.

Rule: there is one table of events (`PAYLOADS`); pages, streams and deliveries carry the same envelope.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

from api.schemas.payloads import PAYLOADS
from api.serving.endpoint import JSON


def _header(name: str, meaning: str, example: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {
        "name": name,
        "in": "header",
        "required": True,
        "schema": schema,
        "description": meaning,
        "example": example,
    }


_EVENT_ID: Final = "evt_01KAN3Z6E5Q8W1V4T7R0M2YB9C"
_HEX: Final = "5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"

DELIVERY_HEADERS: Final[Mapping[str, Any]] = {
    "Signature": _header(
        "X-WhatIsUp-Signature",
        "`t` is unix seconds; each `v1` is the hex HMAC-SHA256 of `<t>.<raw body>` under the endpoint's secret as it "
        "was shown. Two of them while a secret is being rotated: one that fits is enough.",
        f"t=1700000000,v1={_HEX}",
    ),
    "Event": _header("X-WhatIsUp-Event", "The event's name, as in the body.", "message.received"),
    "EventId": _header("X-WhatIsUp-Event-Id", "The event's id, as in the body: drop what you have seen.", _EVENT_ID),
    "CorrelationId": _header(
        "X-WhatIsUp-Correlation-Id",
        "The id of the request that led to the event; of what came from WhatsApp, the event's own.",
        "req_01KAN3Z6E5Q8W1V4T7R0M2YB9C",
    ),
    "WebhookId": _header("webhook-id", "Standard Webhooks: the event's id.", _EVENT_ID),
    "WebhookTimestamp": _header("webhook-timestamp", "Standard Webhooks: unix seconds of this attempt.", "1700000000"),
    "WebhookSignature": _header(
        "webhook-signature",
        "Standard Webhooks: base64 HMAC-SHA256 of `<id>.<timestamp>.<raw body>` under the secret's decoded bytes.",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
}

_ANSWERS: Final = {
    "2XX": {"description": "Taken. Anything else, or no answer in time, is tried again, at growing intervals."},
    "410": {"description": "Not wanted any more: the endpoint is disabled."},
}


def payloads_by_event() -> dict[str, dict[str, str]]:
    """Point from each event to the schema of its `data`."""
    return {name: _payload(name) for name in PAYLOADS}


def names_of_events() -> dict[str, Any]:
    """The names as an enumeration."""
    return {
        "title": "EventName",
        "description": "What happened. More may come: ignore what you do not know.",
        "type": "string",
        "enum": list(PAYLOADS),
    }


def webhooks() -> dict[str, Any]:
    """Every event as a delivery."""
    return {name: {"post": _delivery(name)} for name in PAYLOADS}


def _payload(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{PAYLOADS[name].__name__}"}


def _delivery(name: str) -> dict[str, Any]:
    told = {"event": {"const": name}, "data": {"anyOf": [_payload(name), {"type": "null"}]}}
    schema = {"allOf": [{"$ref": "#/components/schemas/EventEnvelope"}, {"type": "object", "properties": told}]}
    return {
        "operationId": f"on_{name.replace('.', '_')}",
        "tags": ["Events"],
        "summary": inspect.cleandoc(PAYLOADS[name].__doc__ or name),
        "security": [],
        "parameters": [{"$ref": f"#/components/parameters/{header}"} for header in DELIVERY_HEADERS],
        "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
        "responses": _ANSWERS,
    }
