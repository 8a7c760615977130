"""Why something that a customer gave for a webhook endpoint is refused.

Rule: the message says what to do, and never repeats what was given: URLs and headers hold secrets.
"""

from __future__ import annotations

from typing import ClassVar

from whatisup.errors import CommandRefused


class WebhookRefused(CommandRefused):
    """A field of a webhook endpoint cannot be taken as it is. `field` is the field of the request."""

    field: ClassVar[str] = "body"


class UrlRefused(WebhookRefused):
    """The URL is malformed, or leads where webhooks may not go."""

    field = "url"


class HeadersRefused(WebhookRefused):
    """The custom headers are malformed, too many, or would replace what we must set."""

    field = "headers"


class EventsRefused(WebhookRefused):
    """The event filter is empty, too long, or names no event."""

    field = "events"


class SecretRefused(WebhookRefused):
    """The custom signing secret is too short, too long, or not what its prefix says."""

    field = "signing_secret"
