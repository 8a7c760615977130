"""What the store gives back of webhooks: endpoints, deliveries, attempts, as frozen values.

Rule: secrets and header values are in `Receiver` alone, which only the sender of deliveries reads, and in no repr.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from whatisup.store.records import DeliveryKind, DeliveryStatus, DisabledReason, Mode, Ordering
from whatisup.store.unit import KEEP, Keep


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a customer wants events: `events` are patterns (a name, `message.*`, `*`), no `instance_ids` means all.

    `ordering` None means as the settings say. `failing_since` is the first failure since something last arrived.
    """

    id: str
    customer_id: str
    mode: Mode
    url: str
    events: tuple[str, ...]
    instance_ids: tuple[str, ...]
    is_enabled: bool
    ordering: Ordering | None
    has_custom_secret: bool
    header_names: tuple[str, ...]
    failing_since: int | None
    disabled_reason: DisabledReason | None
    disabled_at: int | None
    previous_secret_until: int | None
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class EndpointChanges:
    """What to change of an endpoint; `KEEP` leaves a field as it is."""

    url: str | Keep = KEEP
    events: Sequence[str] | Keep = KEEP
    instance_ids: Sequence[str] | Keep = KEEP
    is_enabled: bool | Keep = KEEP
    ordering: Ordering | Keep | None = KEEP
    headers: Mapping[str, str] | Keep = field(default=KEEP, repr=False)


@dataclass(frozen=True, slots=True)
class Receiver:
    """What sending to an endpoint takes: `secrets` newest first, the previous one only while both sign."""

    endpoint_id: str
    customer_id: str
    mode: Mode
    url: str
    secrets: tuple[str, ...] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    ordering: Ordering | None
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """Deliveries that keep an order among themselves. Late ones (`is_late`) only wait for their time."""

    endpoint_id: str
    instance_id: str | None
    kind: DeliveryKind
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """An unsettled delivery. `position` is its place in the queue, and changes whenever it is put there again.

    `attempt_count` counts all attempts ever, `tries` those of the current run of the retry ladder.
    """

    position: int
    id: str
    lane: Lane
    event_id: str
    event: str
    attempt_count: int
    tries: int
    next_attempt_at: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one attempt, and what is to become of the delivery: `status` is never pending.

    `error` is a slug (None on success), `response` the first bytes of what the receiver said. With `status` retrying,
    `next_attempt_at` (unix ms) is set and `is_late` says whether others may pass from now on.
    """

    delivery: Due
    at: int
    duration_ms: int
    response_status: int | None
    error: str | None
    response: bytes = field(repr=False)
    status: DeliveryStatus
    next_attempt_at: int | None = None
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint, as it is shown.

    `payload_expires_at` is None until the delivery settles, and again once its payload was dropped; see `has_payload`.
    """

    position: int
    id: str
    endpoint_id: str
    customer_id: str
    mode: Mode
    instance_id: str | None
    event: str
    event_id: str
    kind: DeliveryKind
    status: DeliveryStatus
    is_late: bool
    attempt_count: int
    last_error: str | None
    last_response_status: int | None
    next_attempt_at: int | None
    delivered_at: int | None
    created_at: int
    updated_at: int
    payload_expires_at: int | None

    def has_payload(self, now: int) -> bool:
        """Whether the payload may be shown at `now` (unix ms), as far as its event is still there."""
        is_open = self.next_attempt_at is not None
        return is_open or (self.payload_expires_at is not None and self.payload_expires_at > now)


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One attempt, as it is shown; `response` is text, None where nothing came or it was dropped."""

    number: int
    at: int
    duration_ms: int
    response_status: int | None
    error: str | None
    response: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class SettleOutcome:
    """What settling did besides: which endpoints it disabled, and how many attempts came too late to count."""

    disabled: tuple[str, ...] = ()
    ignored: int = 0


@dataclass(frozen=True, slots=True)
class Replayed:
    """One portion of a replay: `count` deliveries were queued; go on after `last_position` if `has_more`."""

    count: int
    last_position: int
    has_more: bool


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """What waits: unsettled deliveries by status, and since when the oldest one that is due has waited (unix ms).

    Those of disabled endpoints wait for their customer, and are counted apart.
    """

    pending: int
    retrying: int
    held: int
    oldest_at: int | None
