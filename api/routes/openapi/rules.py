"""What the types of requests check in code and their schemas cannot say by themselves, said in the schemas.

Rule: each entry repeats a check that stands beside the type; the contract test sends what fits the schema and must be
accepted, and what does not and must be refused, so the two cannot part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from api.schemas.payloads import PAYLOADS

# `$` alone would let a line feed pass at the end, in Python and in no other reader of the schema.
END: Final = r"$(?!\n)"

_PLAIN: Final = r"[^\x00-\x1f\x7f-\x9f]"
_VISIBLE: Final = r"[^\s\x00-\x1f\x7f-\x9f]"

# `parse.check_text`: no controls, and not blank.
LABEL: Final = {"pattern": rf"^{_PLAIN}*{_VISIBLE}{_PLAIN}*{END}"}

# A name of an event, or a pattern of several.
_EVENT: Final = "|".join(
    re.escape(name) for name in ("*", *dict.fromkeys(f"{name.partition('.')[0]}.*" for name in PAYLOADS), *PAYLOADS)
)
TIME: Final = {"format": "date-time"}
URL: Final = {"format": "uri", "pattern": rf"^https?://[!-~]+{END}"}
EVENT: Final = {"pattern": rf"^({_EVENT}){END}"}
EVENTS: Final = {"pattern": rf"^ *({_EVENT}) *(, *({_EVENT}) *)*{END}"}


def either(one: str, other: str) -> dict[str, Any]:
    """Exactly one of two fields; null counts as left out."""

    def only(wanted: str, unwanted: str) -> dict[str, Any]:
        properties = {wanted: {"type": "string"}, unwanted: {"type": "null"}}
        return {"required": [wanted], "properties": properties}

    return {"oneOf": [only(one, other), only(other, one)]}


def neither_both(one: str, other: str) -> dict[str, Any]:
    """Not two fields at once."""
    return {"not": {"required": [one, other]}}


def at_most_one(one: str, other: str) -> dict[str, Any]:
    """One of two fields, or none; null counts as left out."""
    return {"anyOf": [{"properties": {name: {"type": "null"}}} for name in (one, other)]}


_ADDRESSED: Final = either("to", "instance_id")

# Of whole objects.
OBJECTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "PatchInstance": {"minProperties": 1},
    "ContactCard": either("phone_number", "vcard"),
    "CreateFault": {**either("number", "instance_id"), **at_most_one("times", "seconds")},
    "ContactSends": _ADDRESSED,
    "ContactVotes": _ADDRESSED,
    "ContactReads": _ADDRESSED,
    "ContactTypes": _ADDRESSED,
    "ContactBurst": _ADDRESSED,
    "PatchCustomer": {"minProperties": 1},
    "CreateWebhookEndpoint": neither_both("instance_id", "instance_ids"),
    "PatchWebhookEndpoint": {"minProperties": 1, **neither_both("instance_id", "instance_ids")},
}

# Of single fields.
FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "CreateInstance.name": LABEL,
    "PatchInstance.name": LABEL,
    "CreatePhone.name": LABEL,
    "CreateContact.name": LABEL,
    "SendMessage.client_ref": LABEL,
    "CreateApiKey.name": LABEL,
    "CreateCustomerKey.name": LABEL,
    "CreateCustomer.name": LABEL,
    "PatchCustomer.name": LABEL,
    "PollBody.options": {"uniqueItems": True},
    "CreateWebhookEndpoint.url": URL,
    "CreateWebhookEndpoint.events": {"items": {"type": "string", **EVENT}},
    "CreateWebhookEndpoint.instance_ids": {"uniqueItems": True},
    "PatchWebhookEndpoint.url": URL,
    "PatchWebhookEndpoint.events": {"items": {"type": "string", **EVENT}},
    "PatchWebhookEndpoint.instance_ids": {"uniqueItems": True},
}


# Of query parameters.
QUERY: Final[Mapping[str, Mapping[str, Any]]] = {
    "EventsQuery.events": EVENTS,
    "DeliveriesQuery.event": {"enum": list(PAYLOADS)},
    "AuditQuery.since": TIME,
    "AuditQuery.until": TIME,
}


def say_rules(schemas: Mapping[str, dict[str, Any]]) -> None:
    """Add the rules to those schemas that they are about."""
    for name in OBJECTS.keys() & schemas.keys():
        schemas[name] |= OBJECTS[name]
    for place, rule in FIELDS.items():
        name, _, field = place.partition(".")
        if name in schemas:
            _narrow(schemas[name]["properties"][field], rule)


def _narrow(schema: dict[str, Any], rule: Mapping[str, Any]) -> None:
    """Narrow a field, past the null that it may be."""
    named = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    (named[0] if named else schema).update(rule)
