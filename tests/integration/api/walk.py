"""How to knock at every route that wants an API key: with what in the path, which body, and what strangers are told.

Rule: a route that is not in `KNOCKS` fails the tests that walk the routes, so whoever adds one says here what holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from api.routes import ENDPOINTS
from api.serving.endpoint import Access, Endpoint
from tests.integration.api.front import Json

WALKED: Final = tuple(endpoint for endpoint in ENDPOINTS if endpoint.access.needs_key)

OWN: Final = "own"
"""Not refused: the asker gets what is its own, and not a word of anybody else's."""

_UNKNOWN: Final = {
    "instance_id": "instance_not_found",
    "number": "phone_not_found",
    "fault_id": "fault_not_found",
    "endpoint_id": "webhook_endpoint_not_found",
    "delivery_id": "webhook_delivery_not_found",
    "key_id": "api_key_not_found",
}

_HOLE = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Knock:
    """One request for what is the owner's. `body` and `query` may name things as `$instance_id`.

    `stranger` is the code for another customer, `bound` for a key of the owner's that is bound to another instance;
    where they are None it is that of the path's first hole.
    """

    body: Json | None = None
    query: str = ""
    stranger: str | None = None
    bound: str | None = None
    holes: Mapping[str, str] = field(default_factory=dict)

    def path(self, endpoint: Endpoint, things: Mapping[str, str]) -> str:
        """The path and query, with the owner's things in them, or with what `holes` puts there instead."""
        put = {**things, **{hole: things[thing] for hole, thing in self.holes.items()}}
        path = _HOLE.sub(lambda hole: put[hole[1]], endpoint.path)
        return path + (f"?{_filled(self.query, things)}" if self.query else "")

    def sent(self, things: Mapping[str, str]) -> Json | None:
        """The body, with the owner's things in it."""
        return None if self.body is None else {name: _filled(value, things) for name, value in self.body.items()}

    def for_stranger(self, endpoint: Endpoint) -> str:
        """What another customer is told: a code, or `OWN`."""
        return self.stranger or _UNKNOWN[_HOLE.findall(endpoint.path)[0]]

    def for_bound(self, endpoint: Endpoint) -> str:
        """What a key that is bound to another instance is told."""
        return "instance_scoped_key" if endpoint.is_customer_wide else self.bound or self.for_stranger(endpoint)


def _filled(value: object, things: Mapping[str, str]) -> object:
    if isinstance(value, list):
        return [_filled(one, things) for one in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\$(\w+)", lambda name: things[name[1]], value)


_HOLED: Final = (Knock(),)
_LISTED: Final = (Knock(stranger=OWN),)
_SAID: Final[Json] = {"type": "text", "text": "hello"}
_HOOK: Final[Json] = {"url": "https://hooks.example.com/whatisup", "events": ["instance.*"]}
_NO_INSTANCE: Final = "instance_not_found"


def _to(**body: object) -> tuple[Knock, ...]:
    """A person of the owner's is to act, or one of the asker's own upon the owner's."""
    mine = {"number": "own_number"}
    return (
        Knock({"to": "$number", **body}),
        Knock({"to": "$number", **body}, stranger="phone_not_found", holes=mine),
        Knock({"instance_id": "$instance_id", **body}, stranger=_NO_INSTANCE, holes=mine),
    )


KNOCKS: Final[Mapping[str, tuple[Knock, ...]]] = {
    "create_instance": (Knock({"name": "mine"}, stranger=OWN),),
    "list_instances": _LISTED,
    "get_instance": _HOLED,
    "update_instance": (Knock({"name": "stolen"}),),
    "delete_instance": _HOLED,
    "get_qr": (Knock(query="wait_s=0"),),
    "request_pair_code": (Knock({"phone_number": "$number"}),),
    "start_instance": _HOLED,
    "stop_instance": _HOLED,
    "log_out_instance": _HOLED,
    "send_message": (Knock({"to": "$number", "body": _SAID}),),
    "list_messages": _HOLED,
    "get_message": (Knock(), Knock(holes={"instance_id": "own_instance"}, stranger="message_not_found")),
    "read_message": (Knock(), Knock(holes={"instance_id": "own_instance"}, stranger="message_not_found")),
    "set_chat_presence": (Knock({"presence": "typing"}),),
    "check_contact": _HOLED,
    "stream_events": (
        Knock(stranger=OWN),
        Knock(query="instance_id=$instance_id", stranger=_NO_INSTANCE),
        Knock(query="after=$event_id", stranger="bad_cursor", bound=OWN),
    ),
    "create_stream_token": _LISTED,
    "create_webhook_endpoint": (
        Knock(_HOOK, stranger=OWN),
        Knock({**_HOOK, "instance_ids": ["$instance_id"]}, stranger=_NO_INSTANCE),
        Knock({**_HOOK, "instance_id": "$instance_id"}, stranger=_NO_INSTANCE),
    ),
    "list_webhook_endpoints": _LISTED,
    "get_webhook_endpoint": _HOLED,
    "update_webhook_endpoint": (Knock({"enabled": False}),),
    "delete_webhook_endpoint": _HOLED,
    "rotate_webhook_secret": (Knock({}),),
    "test_webhook_endpoint": _HOLED,
    "replay_webhook_events": (Knock({"after": "0"}),),
    "list_webhook_deliveries": (
        Knock(stranger=OWN),
        Knock(query="instance_id=$instance_id", stranger=_NO_INSTANCE),
        Knock(query="endpoint_id=$endpoint_id", stranger=OWN),
    ),
    "get_webhook_delivery": _HOLED,
    "redeliver_webhook": _HOLED,
    "create_api_key": (
        Knock({"name": "mine"}, stranger=OWN),
        Knock({"name": "mine", "instance_id": "$instance_id"}, stranger=_NO_INSTANCE),
    ),
    "list_api_keys": _LISTED,
    "revoke_api_key": _HOLED,
    "get_limits": _LISTED,
    "list_audit_events": (
        Knock(stranger=OWN),
        Knock(query="instance_id=$instance_id", stranger=_NO_INSTANCE),
        Knock(query="target_id=$instance_id", stranger=OWN),
        Knock(query="cursor=$audit_id", stranger="bad_cursor", bound=OWN),
    ),
    "create_sandbox_phone": (Knock({}, stranger=OWN), Knock({"number": "$number"}, stranger="phone_exists")),
    "list_sandbox_phones": _LISTED,
    "scan_with_sandbox_phone": (
        Knock({"instance_id": "$instance_id"}, bound=_NO_INSTANCE),
        Knock({"instance_id": "$instance_id"}, stranger=_NO_INSTANCE, holes={"number": "own_number"}),
    ),
    "unlink_on_sandbox_phone": (
        Knock({"instance_id": "$instance_id"}, bound=_NO_INSTANCE),
        Knock({"instance_id": "$instance_id"}, stranger=_NO_INSTANCE, holes={"number": "own_number"}),
    ),
    "create_sandbox_fault": (
        Knock({"name": "drop", "number": "$number"}, stranger="phone_not_found"),
        Knock({"name": "drop", "instance_id": "$instance_id"}, stranger=_NO_INSTANCE),
    ),
    "list_sandbox_faults": _LISTED,
    "delete_sandbox_faults": _LISTED,
    "delete_sandbox_fault": _HOLED,
    "create_sandbox_contact": (Knock({}, stranger=OWN), Knock({"number": "$number"}, stranger="phone_exists")),
    "list_sandbox_contacts": _LISTED,
    "get_sandbox_contact": _HOLED,
    "send_as_sandbox_contact": _to(body=_SAID),
    "vote_as_sandbox_contact": _to(wa_message_id="3EB0", options=[]),
    "read_as_sandbox_contact": _to(),
    "type_as_sandbox_contact": _to(),
    "set_sandbox_contact_online": (Knock({"online": False}),),
    "set_sandbox_contact_persona": (Knock({"persona": "echo"}),),
    "burst_as_sandbox_contact": _to(count=1),
    "list_sandbox_contact_bursts": _HOLED,
    "list_received_by_sandbox_contact": _HOLED,
    "list_sent_by_sandbox_contact": _HOLED,
    "list_seen_by_sandbox_contact": _HOLED,
    "change_identity_of_sandbox_contact": _HOLED,
}

# --- what leaves a trace ---------------------------------------------------------------------------------------------

AUDITED: Final[Mapping[str, str]] = {
    "create_instance": "instance.created",
    "update_instance": "instance.updated",
    "delete_instance": "instance.delete",
    "request_pair_code": "instance.pairing_started",
    "start_instance": "instance.started",
    "stop_instance": "instance.stopped",
    "log_out_instance": "instance.log_out",
    "create_webhook_endpoint": "webhook_endpoint.created",
    "update_webhook_endpoint": "webhook_endpoint.updated",
    "delete_webhook_endpoint": "webhook_endpoint.deleted",
    "rotate_webhook_secret": "webhook_endpoint.secret_rotated",
    "replay_webhook_events": "webhook_endpoint.replayed",
    "redeliver_webhook": "webhook_delivery.redelivered",
    "create_api_key": "api_key.created",
    "revoke_api_key": "api_key.revoked",
    "create_sandbox_phone": "sandbox_phone.created",
    "create_sandbox_contact": "sandbox_phone.created",
    "create_sandbox_fault": "sandbox_fault.armed",
    "delete_sandbox_fault": "sandbox_fault.disarmed",
    "delete_sandbox_faults": "sandbox_fault.disarmed",
    "set_sandbox_contact_online": "sandbox_contact.updated",
    "set_sandbox_contact_persona": "sandbox_contact.updated",
    "change_identity_of_sandbox_contact": "sandbox_contact.identity_changed",
    "create_customer": "customer.created",
    "update_customer": "customer.updated",
    "create_customer_api_key": "api_key.created",
    "revoke_customer_api_key": "api_key.revoked",
}
"""Routes that change what a customer has, and the entry that says so."""

_TRAFFIC: Final = "traffic: the message's row names its request, and its events tell the rest"
_PLAYED: Final = "what a simulated person says and does is traffic of the sandbox"

NOT_AUDITED: Final[Mapping[str, str]] = {
    "send_message": _TRAFFIC,
    "read_message": _TRAFFIC,
    "set_chat_presence": _TRAFFIC,
    "test_webhook_endpoint": "traffic: the delivery is its own record",
    "create_stream_token": "it opens nothing that its key does not open, and ends within the hour",
    "scan_with_sandbox_phone": _PLAYED,
    "unlink_on_sandbox_phone": _PLAYED,
    "send_as_sandbox_contact": _PLAYED,
    "vote_as_sandbox_contact": _PLAYED,
    "read_as_sandbox_contact": _PLAYED,
    "type_as_sandbox_contact": _PLAYED,
    "burst_as_sandbox_contact": _PLAYED,
}

# --- what may be repeated --------------------------------------------------------------------------------------------

_SETTLES: Final = "asked twice it leaves things as asked once"

NOT_ONCE: Final[Mapping[str, str]] = {
    "start_instance": _SETTLES,
    "stop_instance": _SETTLES,
    "log_out_instance": _SETTLES,
    "read_message": _SETTLES,
    "set_chat_presence": _SETTLES,
    "create_stream_token": "it makes nothing that stays, and a retry must get one that opens",
    "scan_with_sandbox_phone": _SETTLES,
    "unlink_on_sandbox_phone": _SETTLES,
    "read_as_sandbox_contact": _SETTLES,
    "type_as_sandbox_contact": _SETTLES,
    "set_sandbox_contact_online": _SETTLES,
    "set_sandbox_contact_persona": _SETTLES,
    "change_identity_of_sandbox_contact": "it makes nothing that could be there twice",
}
"""POSTs without an Idempotency-Key: they neither create nor send."""

CHANGING: Final = tuple(
    endpoint
    for endpoint in ENDPOINTS
    if endpoint.method not in ("GET", "HEAD") and endpoint.access is not Access.ANYBODY
)
