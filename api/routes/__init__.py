"""The routes: what each one is (`ENDPOINTS`), and how it answers. The way to them is `api.serving`."""

from __future__ import annotations

from functools import cache
from typing import Final

from msgspec import json

from api.routes import (
    admin,
    api_keys,
    audit,
    deliveries,
    docs,
    events,
    health,
    instances,
    limits,
    messages,
    people,
    sandbox,
    webhooks,
)
from api.routes.openapi import document
from api.schemas.requests import NoQuery, Nothing
from api.serving.endpoint import Access, Answer, Endpoint, Exchange

_DESCRIBED: Final = (
    *instances.ENDPOINTS,
    *messages.ENDPOINTS,
    *events.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *deliveries.ENDPOINTS,
    *api_keys.ENDPOINTS,
    *limits.ENDPOINTS,
    *audit.ENDPOINTS,
    *sandbox.ENDPOINTS,
    *people.ENDPOINTS,
    *admin.ENDPOINTS,
    *health.ENDPOINTS,
    *docs.ENDPOINTS,
)


@cache
def _described() -> bytes:
    return json.encode(document(ENDPOINTS))


async def describe(_exchange: Exchange[Nothing, NoQuery]) -> Answer:
    """Give the OpenAPI document."""
    return Answer(_described())


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *_DESCRIBED,
    Endpoint(
        method="GET",
        path="/openapi.json",
        name="get_openapi",
        summary="Describe every route, as OpenAPI 3.1.",
        handler=describe,
        access=Access.ANYBODY,
        reply=None,
        media={"application/json": "This document."},
    ),
)

__all__ = ["ENDPOINTS"]
