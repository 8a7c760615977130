"""Which topic a route belongs to, by its path: the headings under which people find it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from api.serving.endpoint import Endpoint

# The first that fits counts, so the longer come first. In the order in which the topics are shown.
_TOPICS: Final = {
    "Instances": "Phone numbers, and the life of their sessions.",
    "Messages": "What is said, both ways.",
    "Events": "The event log: as a stream, or as pages. Webhooks push the same events.",
    "Webhooks": "Where events are pushed to, and what became of each delivery.",
    "Keys and limits": "API keys, and how much they may ask.",
    "Audit": "Who changed what.",
    "Sandbox": "Simulated phones and faults, for test keys.",
    "Sandbox people": "The people behind the simulated phones, for test keys.",
    "Administration": "Customers of this gateway, for whoever operates it.",
    "Operation": "Health, numbers, and this document.",
}

_PREFIXES: Final = (
    ("/v1/instances/{instance_id}/messages", "Messages"),
    ("/v1/instances/{instance_id}/chats", "Messages"),
    ("/v1/instances/{instance_id}/contacts", "Messages"),
    ("/v1/instances", "Instances"),
    ("/v1/events", "Events"),
    ("/v1/webhook-", "Webhooks"),
    ("/v1/api-keys", "Keys and limits"),
    ("/v1/limits", "Keys and limits"),
    ("/v1/audit-events", "Audit"),
    ("/v1/sandbox/contacts", "Sandbox people"),
    ("/v1/sandbox", "Sandbox"),
    ("/v1/", "Instances"),
    ("/admin/", "Administration"),
    ("/", "Operation"),
)


def topic_of(endpoint: Endpoint) -> str:
    """The topic of a route."""
    return next(topic for prefix, topic in _PREFIXES if endpoint.path.startswith(prefix))


def topics_of(endpoints: Iterable[Endpoint]) -> list[dict[str, str]]:
    """The document's `tags`: those topics that have a route, in the order in which they are shown."""
    used = {topic_of(endpoint) for endpoint in endpoints}
    return [{"name": name, "description": meaning} for name, meaning in _TOPICS.items() if name in used]
