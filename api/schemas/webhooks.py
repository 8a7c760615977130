"""Webhook endpoints and their deliveries: what clients may send, and what they get.

Rule: a secret goes out once, in the reply that made it; header values never do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias

from msgspec import UNSET, Meta, UnsetType, field, structs

from api.schemas.parse import Invalid
from api.schemas.payloads import PAYLOADS
from api.schemas.replies import EventEnvelope, Reply, Time
from api.schemas.requests import Cursor, InstanceId, Limit, Request
from api.schemas.times import iso, iso_or_none
from whatisup.store import DeliveryKind, DeliveryStatus, DisabledReason, Mode, Ordering
from whatisup.store.webhook_records import Delivery, DeliveryAttempt, Endpoint
from whatisup.webhooks.filters import MAX_PATTERNS, check_patterns
from whatisup.webhooks.headers import MAX_HEADERS, check_headers
from whatisup.webhooks.refusals import EventsRefused
from whatisup.webhooks.signing import MAX_SECRET_CHARS, check_secret
from whatisup.webhooks.targets import MAX_URL_CHARS

MAX_INSTANCES: Final = 100
MAX_REPLAYED: Final = 500
DAY_S: Final = 86_400

Url: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=MAX_URL_CHARS, description="Where to POST to: a public https:// URL.")
]
Patterns: TypeAlias = Annotated[
    list[Annotated[str, Meta(max_length=64)]],
    Meta(min_length=1, max_length=MAX_PATTERNS, description="Names of events; `message.*` and `*` are patterns."),
]
InstanceIds: TypeAlias = Annotated[
    list[InstanceId], Meta(max_length=MAX_INSTANCES, description="The instances to hear of; none means all.")
]
OneInstance: TypeAlias = Annotated[
    InstanceId | None, Meta(description="The one instance to hear of; null means all. Excludes `instance_ids`.")
]
Headers: TypeAlias = Annotated[
    dict[str, str],
    Meta(max_length=MAX_HEADERS, description="Further headers of each delivery; their values are never shown again."),
]
SigningSecret: TypeAlias = Annotated[
    str,
    Meta(
        max_length=MAX_SECRET_CHARS,
        description="Your own: `whsec_` and base64 of 24 to 64 bytes, or 16 to 256 printable characters.",
    ),
]
EndpointOrdering: TypeAlias = Annotated[
    Ordering | None,
    Meta(description="`strict`: nothing passes a failing delivery. null: as the server's WEBHOOK_ORDERING says."),
]
EndpointId: TypeAlias = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_]+$(?!\n)", max_length=64, description="An endpoint's id (`wh_…`).")
]
Place: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=200, description="An `event_id`, a time (ISO 8601), or a `next_cursor`.")
]


# --- requests -------------------------------------------------------------------------------------------------------


def _check_events(patterns: Sequence[str]) -> None:
    try:
        check_patterns(patterns, tuple(PAYLOADS))
    except EventsRefused as error:
        raise Invalid(f"`events` is refused: {error}; there are {', '.join(PAYLOADS)}", field="events") from None


def _check_instances(one: str | UnsetType | None, several: Sequence[str] | UnsetType) -> None:
    if one is not UNSET and several is not UNSET:
        raise Invalid("send `instance_id` or `instance_ids`, and not both", field="instance_ids")
    if several is not UNSET and len(set(several)) != len(several):
        raise Invalid("`instance_ids` names an instance twice", field="instance_ids")


def _instances(one: str | UnsetType | None, several: Sequence[str] | UnsetType) -> tuple[str, ...] | UnsetType:
    """What was said of instances in either field; none means all."""
    if several is not UNSET:
        return tuple(several)
    if one is UNSET:
        return UNSET
    return () if one is None else (one,)


class CreateWebhookEndpoint(Request, frozen=True):
    """A new endpoint; without `signing_secret` one is made, and shown this once."""

    url: Url
    events: Patterns
    instance_id: OneInstance | UnsetType = UNSET
    instance_ids: InstanceIds | UnsetType = UNSET
    signing_secret: SigningSecret | None = None
    enabled: bool = True
    headers: Headers = field(default_factory=dict)
    ordering: EndpointOrdering = None

    def __post_init__(self) -> None:
        _check_events(self.events)
        _check_instances(self.instance_id, self.instance_ids)
        check_headers(self.headers)
        if self.signing_secret is not None:
            check_secret(self.signing_secret)

    @property
    def instances(self) -> tuple[str, ...] | UnsetType:
        """The instances that were asked for; none means all, and UNSET that nothing was said."""
        return _instances(self.instance_id, self.instance_ids)


class PatchWebhookEndpoint(Request, frozen=True):
    """The fields to change; lists and `headers` are replaced as a whole."""

    url: Url | UnsetType = UNSET
    events: Patterns | UnsetType = UNSET
    instance_id: OneInstance | UnsetType = UNSET
    instance_ids: InstanceIds | UnsetType = UNSET
    enabled: Annotated[bool, Meta(description="true also ends a disablement by us.")] | UnsetType = UNSET
    headers: Headers | UnsetType = UNSET
    ordering: EndpointOrdering | UnsetType = UNSET

    def __post_init__(self) -> None:
        if all(value is UNSET for value in structs.astuple(self)):
            raise Invalid(f"nothing to change: send one of {', '.join(self.__struct_fields__)}")
        _check_instances(self.instance_id, self.instance_ids)
        if self.events is not UNSET:
            _check_events(self.events)
        if self.headers is not UNSET:
            check_headers(self.headers)

    @property
    def instances(self) -> tuple[str, ...] | UnsetType:
        """The instances that were asked for; none means all, and UNSET that nothing was said."""
        return _instances(self.instance_id, self.instance_ids)


class RotateSecret(Request, frozen=True):
    """A new signing secret; the one before signs beside it for `overlap_s` more seconds."""

    signing_secret: SigningSecret | None = None
    overlap_s: Annotated[int, Meta(ge=0, le=7 * DAY_S, description="0 ends the old one at once.")] = DAY_S

    def __post_init__(self) -> None:
        if self.signing_secret is not None:
            check_secret(self.signing_secret)


class ReplayEvents(Request, frozen=True):
    """Which part of the event log to deliver again: what comes after `after`, up to and with `until` (or the end).

    A time long ago means everything that the log still has.
    """

    after: Place
    until: Place | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_REPLAYED, description="Look at no more events a call.")] = MAX_REPLAYED


class DeliveriesQuery(Request, frozen=True):
    """Which deliveries, and where in the list to go on."""

    status: Annotated[DeliveryStatus, Meta(description="Only those that stand so.")] | None = None
    event: Annotated[str, Meta(max_length=64, description="The name of an event.")] | None = None
    instance_id: InstanceId | None = None
    endpoint_id: EndpointId | None = None
    limit: Limit = 50
    cursor: Cursor | None = None

    def __post_init__(self) -> None:
        if self.event is not None and self.event not in PAYLOADS:
            raise Invalid(f"`event` names an event that there is not; there are {', '.join(PAYLOADS)}", field="event")


# --- replies --------------------------------------------------------------------------------------------------------


class WebhookEndpointBody(Reply, frozen=True):
    """Where events are delivered to."""

    id: str
    customer_id: str
    instance_id: Annotated[str, Meta(description="The one instance it hears of; null for several and for all.")] | None
    url: str
    events: list[str]
    enabled: bool
    has_custom_signing_secret: bool
    created_at: Time
    updated_at: Time
    mode: Mode
    instance_ids: Annotated[list[str], Meta(description="The instances it hears of; none means all.")]
    headers: Annotated[list[str], Meta(description="The names of its custom headers.")]
    ordering: EndpointOrdering
    disabled_reason: DisabledReason | None
    disabled_at: Time | None
    failing_since: Annotated[Time, Meta(description="Since when no attempt has succeeded.")] | None
    previous_secret_expires_at: Annotated[Time, Meta(description="Until then the secret before signs too.")] | None
    secret: Annotated[str, Meta(description="Shown once, in the reply that made it; null ever after.")] | None

    @classmethod
    def of(cls, row: Endpoint, secret: str | None = None) -> WebhookEndpointBody:
        """Render a stored endpoint; `secret` only in the reply that made it."""
        return cls(
            id=row.id,
            customer_id=row.customer_id,
            instance_id=row.instance_ids[0] if len(row.instance_ids) == 1 else None,
            url=row.url,
            events=list(row.events),
            enabled=row.is_enabled,
            has_custom_signing_secret=row.has_custom_secret,
            created_at=iso(row.created_at),
            updated_at=iso(row.updated_at),
            mode=row.mode,
            instance_ids=list(row.instance_ids),
            headers=list(row.header_names),
            ordering=row.ordering,
            disabled_reason=row.disabled_reason,
            disabled_at=iso_or_none(row.disabled_at),
            failing_since=iso_or_none(row.failing_since),
            previous_secret_expires_at=iso_or_none(row.previous_secret_until),
            secret=secret,
        )

    def without_secret(self) -> WebhookEndpointBody:
        """What every later look at it shows."""
        return structs.replace(self, secret=None)


class WebhookEndpointPage(Reply, frozen=True):
    """Webhook endpoints, newest first."""

    data: list[WebhookEndpointBody]
    next_cursor: str | None


class DeliveryBody(Reply, frozen=True):
    """One event on its way to one endpoint."""

    id: str
    endpoint_id: str
    customer_id: str
    instance_id: str | None
    event: str
    event_id: str
    payload: (
        Annotated[EventEnvelope, Meta(description="What is sent; null once expired, or without `messages:read`.")]
        | None
    )
    status: DeliveryStatus
    attempt_count: int
    last_error: Annotated[str, Meta(description="A slug, such as `timeout` or `http_500`.")] | None
    last_response_status: int | None
    next_attempt_at: Time | None
    delivered_at: Time | None
    created_at: Time
    updated_at: Time
    mode: Mode
    kind: Annotated[DeliveryKind, Meta(description="`replay`: sent again on request.")]
    is_late: Annotated[bool, Meta(description="It failed thrice, and later ones were let past.")]

    @classmethod
    def of(cls, row: Delivery, payload: EventEnvelope | None) -> DeliveryBody:
        """Render a stored delivery."""
        return cls(**_delivery_fields(row, payload))

    def without_payload(self) -> DeliveryBody:
        """What retries of the request get: an Idempotency-Key keeps no message longer than it is kept anyway."""
        return structs.replace(self, payload=None)


class AttemptBody(Reply, frozen=True):
    """One try to deliver."""

    number: int
    at: Time
    duration_ms: int
    response_status: int | None
    error: Annotated[str, Meta(description="A slug; null for a success.")] | None
    response: Annotated[str, Meta(description="How the receiver's answer begins.")] | None

    @classmethod
    def of(cls, row: DeliveryAttempt) -> AttemptBody:
        """Render a stored attempt."""
        return cls(
            number=row.number,
            at=iso(row.at),
            duration_ms=row.duration_ms,
            response_status=row.response_status,
            error=row.error,
            response=row.response,
        )


class DeliveryWithAttempts(DeliveryBody, frozen=True):
    """A delivery, and each try of it, oldest first."""

    attempts: list[AttemptBody]

    @classmethod
    def after(
        cls, row: Delivery, payload: EventEnvelope | None, attempts: Sequence[DeliveryAttempt]
    ) -> DeliveryWithAttempts:
        """Render a stored delivery and its attempts."""
        return cls(**_delivery_fields(row, payload), attempts=[AttemptBody.of(one) for one in attempts])


def _delivery_fields(row: Delivery, payload: EventEnvelope | None) -> Mapping[str, Any]:
    return {
        "id": row.id,
        "endpoint_id": row.endpoint_id,
        "customer_id": row.customer_id,
        "instance_id": row.instance_id,
        "event": row.event,
        "event_id": row.event_id,
        "payload": payload,
        "status": row.status,
        "attempt_count": row.attempt_count,
        "last_error": row.last_error,
        "last_response_status": row.last_response_status,
        "next_attempt_at": iso_or_none(row.next_attempt_at),
        "delivered_at": iso_or_none(row.delivered_at),
        "created_at": iso(row.created_at),
        "updated_at": iso(row.updated_at),
        "mode": row.mode,
        "kind": row.kind,
        "is_late": row.is_late,
    }


class DeliveryPage(Reply, frozen=True):
    """Webhook deliveries, newest first."""

    data: list[DeliveryBody]
    next_cursor: str | None


class ReplayBody(Reply, frozen=True):
    """How many events are delivered again; go on with `next_cursor` as `after` until it is null."""

    count: int
    next_cursor: str | None
