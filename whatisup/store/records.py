"""What the store gives back: frozen values, one per kind of row.

Rule: a time is an integer of unix milliseconds in a field that ends in `_at`; an absent one is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from whatisup.crypto import Secret
from whatisup.lifecycle import Reason, State


class Mode(StrEnum):
    """Which WhatsApp a row belongs to: the real one or the sandbox. Neither sees the other."""

    LIVE = "live"
    TEST = "test"


class KeyScope(StrEnum):
    """What an API key may be limited to; one without scopes may do everything."""

    INSTANCES_READ = "instances:read"
    INSTANCES_WRITE = "instances:write"
    MESSAGES_READ = "messages:read"
    MESSAGES_SEND = "messages:send"
    WEBHOOKS = "webhooks"
    EVENTS = "events"
    KEYS = "keys"
    AUDIT = "audit"


class Intent(StrEnum):
    """A wish that was committed before it was carried out, so that a crash cannot forget it."""

    LOG_OUT = "log_out"
    DELETE = "delete"


class Ordering(StrEnum):
    """What a failing webhook does to the ones behind it, of the same endpoint and instance."""

    STRICT = "strict"
    """They wait until it has arrived or was given up."""
    RELAXED = "relaxed"
    """They pass it after its third failure, and it is marked late."""


class DisabledReason(StrEnum):
    """Why a webhook endpoint gets nothing."""

    CUSTOMER = "customer"
    GONE = "gone"
    """It answered 410."""
    FAILING = "failing"
    """Nothing arrived there for days."""


class DeliveryKind(StrEnum):
    """Where a delivery comes from. Each kind has its own order, so that a long replay holds up nothing that is new."""

    LIVE = "live"
    REPLAY = "replay"
    TEST = "test"


class DeliveryStatus(StrEnum):
    """How far a delivery got."""

    PENDING = "pending"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who asked for a change: `actor` names the kind (`api_key`, `operator`, `system`), the rest says which."""

    actor: str
    api_key_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many API requests a customer may make: `burst` at once, then `per_s` a second; 0 a second is no limit."""

    burst: int
    per_s: float


@dataclass(frozen=True, slots=True)
class Customer:
    """The owner of keys and instances; isolation is by customer. `rate_limits` are as the settings say where absent."""

    id: str
    name: str
    created_at: int
    rate_limits: Mapping[Mode, RateLimit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Instance:
    """One phone number's row. `incarnation` is the fence: a change made under an older one is refused."""

    id: str
    customer_id: str
    mode: Mode
    name: str
    metadata: dict[str, Any]
    phone_number: str | None
    lid: str | None
    status: State
    has_account: bool
    reason: Reason | None
    detail: str | None
    expires_at: int | None
    intent: Intent | None
    incarnation: int
    last_seen_at: int | None
    created_at: int
    updated_at: int
    deleted_at: int | None


@dataclass(frozen=True, slots=True)
class Runnable:
    """What the reconcile needs of an instance that should run, or that has an unfinished intent."""

    id: str
    mode: Mode
    status: State
    has_account: bool
    intent: Intent | None
    incarnation: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret; `prefix` is the part that may be shown (`zpk_live_abcd`)."""

    id: str
    customer_id: str
    mode: Mode
    name: str
    prefix: str
    instance_id: str | None
    scopes: tuple[str, ...]
    created_at: int
    last_used_at: int | None
    expires_at: int | None
    revoked_at: int | None
    rate_limit: RateLimit | None = None
    """Its customer's own limit in its mode, as it was when the key was presented; None where the settings decide."""


class KeyRefusal(StrEnum):
    """Why a presented API key opens nothing."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    EXPIRED = "expired"
    """Past its expiry, or revoked."""


class Event(Secret, frozen=True):
    """One line of the event log.

    `position` orders the whole store in commit order, `seq` one instance without gaps; `id` is a name and orders
    nothing. `data` is None once it expired. `message_id` names the message whose body `data` shows, if it shows one.
    """

    position: int
    id: str
    customer_id: str
    mode: Mode
    instance_id: str | None
    seq: int | None
    type: str
    occurred_at: int
    data: dict[str, Any] | None
    expires_at: int | None
    message_id: str | None = None
    trace: str | None = None
    """The W3C traceparent of what caused it, where traces are kept."""

    def __repr__(self) -> str:
        return f"Event(position={self.position}, id={self.id!r}, type={self.type!r})"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what, kept longer than the thing itself."""

    id: str
    customer_id: str
    mode: Mode | None
    actor: str
    api_key_id: str | None
    request_id: str | None
    action: str
    target_type: str
    target_id: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    created_at: int


@dataclass(frozen=True, slots=True)
class Phone:
    """A sandbox number and the customer it exists for."""

    number: str
    customer_id: str
    created_at: int
