"""Samples of what is sent and answered, made from the document's own schemas.

Rule: a sample fits its schema (a test checks each), so a new route has one without anybody writing it. The tables here
only make them pleasant to read: a value for a field's name, and whole bodies where several kinds are worth showing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from api.serving.endpoint import JSON

MAX_DEPTH: Final = 8
_ULID: Final = "01KAN3Z6E5Q8W1V4T7R0M2YB9C"
_TIME: Final = "2026-05-01T12:34:56.000Z"

# By "Schema.field", or by the field's name alone. A field that is not here gets what its schema suggests.
_FIELDS: Final[Mapping[str, Any]] = {
    "InstanceBody.id": f"inst_{_ULID}",
    "LoggedOutInstance.id": f"inst_{_ULID}",
    "BurstBody.id": 1,
    "FaultBody.id": "flt_1",
    "WebhookEndpointBody.id": f"wh_{_ULID}",
    "WebhookEndpointBody.instance_id": None,
    "WebhookEndpointBody.instance_ids": [],
    "WebhookEndpointBody.headers": [],
    "WebhookEndpointBody.ordering": None,
    "WebhookEndpointBody.has_custom_signing_secret": False,
    "DeliveryBody.id": f"dlv_{_ULID}",
    "DeliveryWithAttempts.id": f"dlv_{_ULID}",
    "DeliveryBody.status": "delivered",
    "DeliveryWithAttempts.status": "delivered",
    "ApiKeyBody.id": f"key_{_ULID}",
    "IssuedApiKey.id": f"key_{_ULID}",
    "ApiKeyBody.instance_id": None,
    "IssuedApiKey.instance_id": None,
    "IssuedApiKey.secret": "zpk_test_Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF",
    "prefix": "zpk_test_Zm9vY",
    "revoked_at": None,
    "disabled_reason": None,
    "disabled_at": None,
    "failing_since": None,
    "previous_secret_expires_at": None,
    "last_error": None,
    "last_response_status": 204,
    "response_status": 204,
    "response": None,
    "attempt_count": 1,
    "next_attempt_at": None,
    "duration_ms": 41,
    "is_late": False,
    "mode": "test",
    "DeliveryBody.kind": "live",
    "DeliveryWithAttempts.kind": "live",
    "presence": "typing",
    "StreamToken.token": "zst_…",
    "ReceiptBody.kind": "delivered",
    "ChatState.state": "composing",
    "state": "composing",
    "failure": None,
    "Index.name": "WhatIsUp",
    "version": "0.1.0",
    "docs": "/docs",
    "openapi": "/openapi.json",
    "health": "/readyz",
    "CustomerBody.id": f"cust_{_ULID}",
    "CustomerBody.name": "Acme",
    "CreateCustomer.name": "Acme",
    "AuditEvent.id": f"aud_{_ULID}",
    "burst": 60,
    "per_s": 1,
    "action": "instance.updated",
    "actor": "api_key",
    "target_type": "instance",
    "target_id": f"inst_{_ULID}",
    "before": {"name": "Help"},
    "after": {"name": "Support"},
    "instance_id": f"inst_{_ULID}",
    "customer_id": f"cust_{_ULID}",
    "key_id": f"key_{_ULID}",
    "api_key_id": f"key_{_ULID}",
    "endpoint_id": f"wh_{_ULID}",
    "webhook_endpoint_id": f"wh_{_ULID}",
    "delivery_id": f"dlv_{_ULID}",
    "message_id": f"msg_{_ULID}",
    "event_id": f"evt_{_ULID}",
    "request_id": f"req_{_ULID}",
    "correlation_id": f"req_{_ULID}",
    "wa_message_id": "3EB0C767D0A1B2C3D4E5F6",
    "wa_message_ids": ["3EB0C767D0A1B2C3D4E5F6"],
    "CreateInstance.name": "Support",
    "InstanceBody.name": "Support",
    "LoggedOutInstance.name": "Support",
    "CreateContact.name": "Ada",
    "SandboxContact.name": "Ada",
    "FaultBody.name": "drop",
    "CreateFault.name": "drop",
    "name": "Example",
    "metadata": {"team": "support"},
    "phone_number": "5511999999999",
    "phone": "5511999999999",
    "number": "999000000001",
    "to": "5511999999999",
    "from": "5511999999999",
    "lid": "123456789012345",
    "jid": "5511999999999@s.whatsapp.net",
    "chat": "5511999999999@s.whatsapp.net",
    "push_name": "Ada",
    "client_ref": "order-17",
    "status": "connected",
    "previous_status": "reconnecting",
    "PairCodeBody.status": "qr_required",
    "QrBody.status": "qr_required",
    "AcceptedMessage.status": "queued",
    "MessageBody.status": "delivered",
    "MessageWithHistory.status": "delivered",
    "HistoryEntry.status": "delivered",
    "MessageSentData.status": "sent",
    "MessageReceiptData.status": "delivered",
    "kind": "text",
    "text": "hello",
    "body": {"type": "text", "text": "hello"},
    "reason": None,
    "detail": None,
    "error": None,
    "expires_at": None,
    "QrBody.expires_at": _TIME,
    "QrUpdatedData.expires_at": _TIME,
    "PairCodeBody.expires_at": _TIME,
    "participant": None,
    "body_expired": False,
    "is_flagged": False,
    "is_backlog": False,
    "view_once": False,
    "ephemeral": False,
    "resent_by": "phone",
    "type": "user",
    "event": "message.received",
    "EventEnvelope.data": {"message_id": f"msg_{_ULID}"},
    "is_online": True,
    "is_connected": True,
    "source": "api",
    "direction": "out",
    "device": 1,
    "history": [{"status": "sent", "participant": None, "at": _TIME}],
    "timestamp": 1_777_638_896,
    "QrBody.code": "2@AbCdEf0123456789,…",
    "QrUpdatedData.code": "2@AbCdEf0123456789,…",
    "PairCodeBody.code": "ABCD-EFGH",
    "qr": "data:image/png;base64,iVBORw0KGgo…",
    "next_cursor": None,
    "api_version": "2026-04",
    "url": "https://example.com/whatsapp",
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw0d1Zc2VmYWM=",
    "events": ["message.*", "instance.disconnected"],
    "scopes": ["messages:read", "messages:send"],
    "ciphertext_sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "verdict": "read",
    "persona": "echo",
    "Check.detail": "child",
    "checks": {"database": {"ok": True}, "writer": {"ok": True, "lag_s": 0.0, "queued": 0}},
    "sessions": {"connected": 3},
}

# Bodies worth showing in several kinds, each with a sentence.
BODIES: Final[Mapping[str, Mapping[str, tuple[str, Any]]]] = {
    "SendMessage": {
        "text": ("Text.", {"to": "5511999999999", "body": {"type": "text", "text": "hello"}}),
        "reply": (
            "A reply that mentions somebody, with a reference of yours.",
            {
                "to": "5511999999999",
                "body": {
                    "type": "text",
                    "text": "as @5511888888888 said",
                    "reply_to": f"msg_{_ULID}",
                    "mentions": ["5511888888888"],
                },
                "client_ref": "order-17",
            },
        ),
        "reaction": (
            "A reaction; an empty emoji takes it back.",
            {"to": "5511999999999", "body": {"type": "reaction", "message_id": f"msg_{_ULID}", "emoji": "👍"}},
        ),
        "edit": (
            "A new text for a message of yours.",
            {"to": "5511999999999", "body": {"type": "edit", "message_id": f"msg_{_ULID}", "text": "hello!"}},
        ),
        "revoke": (
            "Delete for everyone.",
            {"to": "5511999999999", "body": {"type": "revoke", "message_id": f"msg_{_ULID}"}},
        ),
        "location": (
            "A place.",
            {"to": "5511999999999", "body": {"type": "location", "latitude": -23.55, "longitude": -46.63}},
        ),
        "contact": (
            "A contact card.",
            {
                "to": "5511999999999",
                "body": {"type": "contact", "contacts": [{"name": "Ada", "phone_number": "5511888888888"}]},
            },
        ),
        "poll": (
            "A poll with one choice.",
            {"to": "5511999999999", "body": {"type": "poll", "name": "When?", "options": ["today", "tomorrow"]}},
        ),
    },
    "PatchInstance": {"rename": ("Rename it.", {"name": "Support"})},
    "CreatePhone": {"any": ("A free number.", {})},
    "CreateFault": {
        "drop": ("Cut the connection once.", {"name": "drop", "instance_id": f"inst_{_ULID}"}),
        "slow": (
            "Slow it down for ten seconds.",
            {"name": "slow", "number": "999000000001", "seconds": 10, "params": {"latency_ms": 500}},
        ),
    },
    "CreateWebhookEndpoint": {
        "messages": (
            "Every event of messages, and instances that need a person.",
            {"url": "https://example.com/whatsapp", "events": ["message.*", "instance.disconnected"]},
        ),
        "one instance": (
            "What one instance hears, strictly in order, with a header of yours.",
            {
                "url": "https://example.com/whatsapp",
                "events": ["message.received"],
                "instance_id": f"inst_{_ULID}",
                "ordering": "strict",
                "headers": {"Authorization": "Bearer of-your-receiver"},
            },
        ),
    },
    "PatchWebhookEndpoint": {"enable": ("Enable it again.", {"enabled": True})},
    "RotateSecret": {"hour": ("Let the old one sign for another hour.", {"overlap_s": 3600})},
    "ReplayEvents": {"since": ("Everything since then.", {"after": "2026-05-01T00:00:00Z"})},
    "CreateApiKey": {
        "sender": (
            "A key that sends from one instance, and reads nothing.",
            {"name": "sender", "instance_id": f"inst_{_ULID}", "scopes": ["messages:send"]},
        )
    },
    "PatchCustomer": {
        "limits": ("Their own limit for live keys.", {"rate_limits": {"live": {"burst": 120, "per_s": 2}}})
    },
    "ContactSends": {
        "text": ("Write to an instance.", {"instance_id": f"inst_{_ULID}", "body": {"type": "text", "text": "hello"}})
    },
    "ContactVotes": {
        "vote": (
            "Vote in a poll of the instance's.",
            {"instance_id": f"inst_{_ULID}", "wa_message_id": "3EB0C767D0A1B2C3D4E5F6", "options": ["today"]},
        )
    },
    "ContactReads": {"all": ("Read everything unread.", {"instance_id": f"inst_{_ULID}"})},
    "ContactTypes": {"typing": ("Type.", {"instance_id": f"inst_{_ULID}", "presence": "typing"})},
    "ContactBurst": {"burst": ("Ten texts at once.", {"instance_id": f"inst_{_ULID}", "count": 10, "text": "burst"})},
}


def bring_samples(document: dict[str, Any]) -> None:
    """Put a sample beside the schema of every body and JSON answer that has none."""
    schemas = document["components"]["schemas"]
    for content, is_request in _contents(document):
        schema = content["schema"]
        if not schema or "examples" in content:
            continue
        named = BODIES.get(_name(schema)) if is_request else None
        if named is not None:
            content["examples"] = {name: {"summary": text, "value": value} for name, (text, value) in named.items()}
        else:
            content["example"] = _sample(schema, schemas, "", is_request=is_request)


def _contents(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    for section in ("paths", "webhooks"):
        for item in document[section].values():
            for operation in item.values():
                if "requestBody" in operation:
                    # What a webhook brings is made by us: shown whole, as an answer is.
                    yield operation["requestBody"]["content"][JSON], section == "paths"
                for response in operation["responses"].values():
                    if JSON in response.get("content", {}):
                        yield response["content"][JSON], False


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _sample(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], owner: str, *, is_request: bool, depth: int = 0
) -> Any:
    """Make a value that fits `schema`; of a request's fields only those that are required."""
    if depth > MAX_DEPTH:
        return None
    if name := _name(schema):
        return _sample(schemas[name], schemas, name, is_request=is_request, depth=depth + 1)
    if "allOf" in schema:
        return _merged(schema["allOf"], schemas, is_request=is_request, depth=depth)
    if "anyOf" in schema:
        named = [one for one in schema["anyOf"] if one != {"type": "null"}]
        return _sample(named[0], schemas, owner, is_request=is_request, depth=depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    return _by_type(schema, schemas, owner, is_request=is_request, depth=depth)


def _by_type(schema: Mapping[str, Any], schemas: Mapping[str, Any], owner: str, *, is_request: bool, depth: int) -> Any:
    match schema.get("type"):
        case "object":
            fields = schema.get("properties", {})
            shown = set(schema.get("required", ())) if is_request else set(fields)
            return {
                name: _field(name, inner, schemas, owner, is_request=is_request, depth=depth)
                for name, inner in fields.items()
                if name in shown
            }
        case "array":
            return [_sample(schema["items"], schemas, owner, is_request=is_request, depth=depth + 1)]
        case "string":
            return _TIME if schema.get("format") == "date-time" else "text"
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "boolean":
            return True
    return None


def _field(
    name: str, schema: Mapping[str, Any], schemas: Mapping[str, Any], owner: str, *, is_request: bool, depth: int
) -> Any:
    for key in (f"{owner}.{name}", name):
        if key in _FIELDS and _may_be(_FIELDS[key], schema, schemas):
            return _FIELDS[key]
    return _sample(schema, schemas, owner, is_request=is_request, depth=depth + 1)


_JSON_TYPES: Final[Mapping[type, tuple[str, ...]]] = {
    bool: ("boolean",),
    int: ("integer", "number"),
    float: ("number",),
    str: ("string",),
    list: ("array",),
    dict: ("object",),
    type(None): ("null",),
}


def _may_be(value: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    """Whether a field of that name is here of the type (or among the words) that the table's value is of."""
    if name := _name(schema):
        return _may_be(value, schemas[name], schemas)
    if "anyOf" in schema:
        return any(_may_be(value, one, schemas) for one in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return bool(value == schema["const"])
    kinds = schema.get("type")
    return kinds is None or kinds in _JSON_TYPES[type(value)]


def _merged(parts: list[Mapping[str, Any]], schemas: Mapping[str, Any], *, is_request: bool, depth: int) -> Any:
    """What several schemas say of one object: the later ones narrow the fields of the earlier."""
    fields: dict[str, tuple[str, Any]] = {}
    for part in parts:
        whole = schemas[_name(part)] if _name(part) else part
        fields |= {name: (_name(part), inner) for name, inner in whole.get("properties", {}).items()}
    return {
        name: _field(name, inner, schemas, owner, is_request=is_request, depth=depth)
        for name, (owner, inner) in fields.items()
    }
