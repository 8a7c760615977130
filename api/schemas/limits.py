"""How many requests a customer may still make, as clients see it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from api.schemas.replies import Reply, Time


class Headroom(Reply, frozen=True):
    """A bucket: its size, what is left in it, and when it is full again."""

    limit: Annotated[int, Meta(description="Requests at once.")]
    remaining: int
    reset_at: Time


class LimitsBody(Reply, frozen=True):
    """The limits by what they count for; null where there is none."""

    per_customer: Annotated[Headroom, Meta(description="All keys of the customer in this mode together.")] | None
    per_channel: None = None
    per_key: None = None
