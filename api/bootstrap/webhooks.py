"""Webhooks, put together: who may be reached, how long to try, and what an event looks like when it is sent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.metadata import version

from msgspec import json

from actors.delivery.attempts import Render, Rules
from actors.delivery.client import WebhookClient
from actors.delivery.dispatcher import Dispatcher
from actors.tracing import Tracer
from actors.writer import Writer
from api.schemas.replies import EventEnvelope
from api.serving.edge import Edge, wall_clock_ms
from whatisup.settings import Settings
from whatisup.store import Database, Event, Ordering
from whatisup.webhooks.targets import Policy


def make_client(settings: Settings) -> WebhookClient:
    """Make the one HTTP client of the process; it is opened by whoever runs it."""
    return WebhookClient(
        Policy(allow_http=settings.webhook_allow_http, private=settings.webhook_allow_private_cidrs),
        timeout_s=settings.webhook_timeout_s,
        max_connections=settings.webhook_max_in_flight,
        ca_file=settings.webhook_ca_file,
    )


def make_dispatcher(
    settings: Settings, database: Database, writer: Writer, client: WebhookClient, edge: Edge, tracer: Tracer
) -> Dispatcher:
    """Make the delivery actor and have the writer tell it what it commits."""
    dispatcher = Dispatcher(
        database=database,
        writer=writer,
        client=client,
        render=rendering(edge),
        rules=Rules(
            delays_s=settings.webhook_retry_delays_s,
            ordering=Ordering(settings.webhook_ordering),
            per_host=settings.webhook_max_per_host,
            in_all=settings.webhook_max_in_flight,
            payload_days=settings.webhook_payload_days,
            failed_payload_days=settings.webhook_failed_payload_days,
            disable_after_s=settings.webhook_disable_after_s,
        ),
        tracer=tracer,
        unix_ms=wall_clock_ms,
        jitter=random.SystemRandom().random,
        version=version("whatisup"),
    )
    writer.on_deliveries = dispatcher.note
    return dispatcher


def rendering(edge: Edge) -> Render:
    """Render events as they are shown everywhere, away from the event loop where a picture is to be drawn."""

    def write(events: Sequence[Event]) -> list[bytes]:
        return [json.encode(EventEnvelope.of(event)) for event in events]

    async def render(events: Sequence[Event]) -> list[bytes]:
        if any(event.type == "qr.updated" for event in events):
            return await edge.draw(lambda: write(events))
        return write(events)

    return render
