"""How many requests the caller's customer may still make; to ask costs none of them."""

from __future__ import annotations

from typing import Final

from api.schemas.limits import Headroom, LimitsBody
from api.schemas.requests import NoQuery, Nothing
from api.schemas.times import iso
from api.serving.endpoint import Answer, Endpoint, Exchange


async def show(exchange: Exchange[Nothing, NoQuery]) -> Answer:
    """Say how the customer's bucket stands."""
    who, edge = exchange.principal, exchange.edge
    standing = edge.buckets.look(who.customer_id, who.mode, who.rate_limit)
    if standing is None:
        return Answer(LimitsBody(per_customer=None))
    reset_at = iso(edge.now() + round(standing.full_in_s * 1000))
    return Answer(
        LimitsBody(per_customer=Headroom(limit=standing.limit, remaining=standing.remaining, reset_at=reset_at))
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/limits",
        name="get_limits",
        summary="Show how many requests may still be made; asking costs none.",
        handler=show,
        reply=LimitsBody,
        costs_token=False,
    ),
)
