"""Customers and their limits, as whoever holds the admin key sees them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from api.schemas.parse import Invalid, check_text
from api.schemas.replies import Reply, Time
from api.schemas.requests import Name, Request
from api.schemas.times import iso
from whatisup.store import Customer, Mode, RateLimit


class LimitWish(Request, frozen=True):
    """A customer's own limit."""

    burst: Annotated[int, Meta(ge=1, le=1_000_000, description="Requests at once.")]
    per_s: Annotated[float, Meta(ge=0, le=100_000, description="Requests a second after that; 0 = no limit.")]

    @property
    def value(self) -> RateLimit:
        """The limit as the store keeps it."""
        return RateLimit(self.burst, self.per_s)


class LimitsWish(Request, frozen=True):
    """The limits to change, by mode; null = as the settings say."""

    live: LimitWish | UnsetType | None = UNSET
    test: LimitWish | UnsetType | None = UNSET

    @property
    def by_mode(self) -> dict[Mode, RateLimit | None]:
        """What was named, as the store takes it."""
        named = {Mode.LIVE: self.live, Mode.TEST: self.test}
        return {
            mode: None if wish is None else wish.value
            for mode, wish in named.items()
            if not isinstance(wish, UnsetType)
        }


NO_LIMITS = LimitsWish()


class CreateCustomer(Request, frozen=True):
    """A new customer."""

    name: Name
    rate_limits: LimitsWish = NO_LIMITS

    def __post_init__(self) -> None:
        check_text("name", self.name)


class PatchCustomer(Request, frozen=True):
    """The fields to change."""

    name: Name | UnsetType = UNSET
    rate_limits: LimitsWish = NO_LIMITS

    def __post_init__(self) -> None:
        if self.name is UNSET and not self.rate_limits.by_mode:
            raise Invalid("nothing to change: send `name`, `rate_limits` or both")
        if self.name is not UNSET:
            check_text("name", self.name)


class LimitBody(Reply, frozen=True):
    """A customer's own limit."""

    burst: int
    per_s: float


class LimitsByMode(Reply, frozen=True):
    """A customer's own limits; null where the settings decide."""

    live: LimitBody | None
    test: LimitBody | None

    @classmethod
    def of(cls, limits: Mapping[Mode, RateLimit]) -> LimitsByMode:
        """Render stored limits."""
        shown = {mode: LimitBody(burst=limit.burst, per_s=limit.per_s) for mode, limit in limits.items()}
        return cls(live=shown.get(Mode.LIVE), test=shown.get(Mode.TEST))


class CustomerBody(Reply, frozen=True):
    """Whom keys and instances belong to."""

    id: str
    name: str
    created_at: Time
    rate_limits: LimitsByMode

    @classmethod
    def of(cls, customer: Customer) -> CustomerBody:
        """Render a stored customer."""
        return cls(
            id=customer.id,
            name=customer.name,
            created_at=iso(customer.created_at),
            rate_limits=LimitsByMode.of(customer.rate_limits),
        )


class CustomerPage(Reply, frozen=True):
    """Customers, newest first."""

    data: list[CustomerBody]
    next_cursor: str | None
