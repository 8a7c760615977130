"""Webhook deliveries: what was sent where, each try of it, and once more on request.

Rule: a payload is rendered when it is looked at, from the event log; a key that may not read messages sees none of
theirs, and a bound key only what its own endpoints get.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import trio

from api.auth import Principal
from api.problems import Problem
from api.schemas.replies import EventEnvelope
from api.schemas.requests import NoQuery, Nothing
from api.schemas.webhooks import DeliveriesQuery, DeliveryBody, DeliveryPage, DeliveryWithAttempts
from api.serving.edge import Edge
from api.serving.endpoint import Answer, Endpoint, Exchange, checked_cursor
from api.serving.idempotency import write_once
from whatisup.store import Event, Tx, Vault, deliveries, events, instances, webhooks
from whatisup.store.webhook_records import Delivery, DeliveryAttempt
from whatisup.store.webhook_records import Endpoint as Row
from whatisup.webhooks.filters import matches

_NOT_FOUND: Final = "webhook_delivery_not_found"

TEST: Final = "webhook.test"

Plain = Exchange[Nothing, NoQuery]


def sees(who: Principal, endpoint: Row) -> bool:
    """Whether a key's binding allows an endpoint: a bound key sees those that hear of its instance alone."""
    return who.instance_id is None or endpoint.instance_ids == (who.instance_id,)


def payload_of(who: Principal, row: Delivery, event: Event | None, now: int) -> EventEnvelope | None:
    """Render what a delivery carries; None where it has expired, or where the key may not read it."""
    if event is None or event.data is None or not row.has_payload(now):
        return None
    return EventEnvelope.of(event) if _may_read(who, row) else None


def _may_read(who: Principal, row: Delivery) -> bool:
    return who.may_read_messages or not row.event.startswith("message.")


async def _rendered(
    edge: Edge, who: Principal, rows: Sequence[Delivery], found: Mapping[str, Event]
) -> list[EventEnvelope | None]:
    """Render the payloads of deliveries, away from the event loop where pictures are to be drawn."""
    now = edge.now()

    def render() -> list[EventEnvelope | None]:
        return [payload_of(who, row, found.get(row.event_id), now) for row in rows]

    return await edge.draw(render) if any(row.event == "qr.updated" for row in rows) else render()


# --- looking ---------------------------------------------------------------------------------------------------------


async def list_(exchange: Exchange[Nothing, DeliveriesQuery]) -> Answer:
    """Show a page of deliveries with their payloads."""
    edge, who = exchange.edge, exchange.principal
    rows, cursor, found = await edge.system.database.read(partial(_read_page, exchange))
    payloads = await _rendered(edge, who, rows, found)
    data = [DeliveryBody.of(row, payload) for row, payload in zip(rows, payloads, strict=True)]
    return Answer(DeliveryPage(data=data, next_cursor=cursor))


def _read_page(
    exchange: Exchange[Nothing, DeliveriesQuery], conn: Any, vault: Vault
) -> tuple[list[Delivery], str | None, Mapping[str, Event]]:
    who, query = exchange.principal, exchange.query
    if query.instance_id is not None and not _is_known(who, query.instance_id, conn, vault):
        raise Problem("instance_not_found")
    rows, cursor = deliveries.page(
        conn,
        vault,
        customer_id=who.customer_id,
        mode=who.mode,
        status=query.status,
        event=query.event,
        instance_id=query.instance_id,
        endpoint_id=query.endpoint_id,
        bound_to=who.instance_id,
        limit=query.limit,
        cursor=checked_cursor(query.cursor),
    )
    return rows, cursor, events.by_ids(conn, vault, [row.event_id for row in rows])


def _is_known(who: Principal, instance_id: str, conn: Any, vault: Vault) -> bool:
    """Whether the instance is, or before it was deleted was, the key's to see."""
    if not who.may_see(instance_id):
        return False
    return instances.get(conn, vault, instance_id, who.customer_id, who.mode, with_deleted=True) is not None


async def show(exchange: Plain) -> Answer:
    """Show one delivery and each try of it."""
    edge, who = exchange.edge, exchange.principal
    row, attempts, found = await edge.system.database.read(partial(_read_one, exchange))
    (payload,) = await _rendered(edge, who, [row], found)
    if not _may_read(who, row):  # a receiver may say what it was told
        attempts = [replace(one, response=None) for one in attempts]
    return Answer(DeliveryWithAttempts.after(row, payload, attempts))


def _read_one(
    exchange: Plain, conn: Any, vault: Vault
) -> tuple[Delivery, Sequence[DeliveryAttempt], Mapping[str, Event]]:
    row = find(exchange, conn, vault)
    attempts = deliveries.attempts(conn, vault, row.id, row.customer_id)
    return row, attempts, events.by_ids(conn, vault, [row.event_id])


def find(exchange: Plain, conn: Any, vault: Vault) -> Delivery:
    """Read the delivery in the path.

    Raises:
        Problem: `webhook_delivery_not_found`.
    """
    who, delivery_id = exchange.principal, exchange.row_id("delivery_id", _NOT_FOUND)
    row = deliveries.get(conn, vault, delivery_id, customer_id=who.customer_id, mode=who.mode)
    if row is None or not _is_visible(who, row, conn, vault):
        raise Problem(_NOT_FOUND)
    return row


def _is_visible(who: Principal, row: Delivery, conn: Any, vault: Vault) -> bool:
    """Whether a key's binding allows a delivery: a bound key sees what goes to the endpoints that it sees."""
    if who.instance_id is None:
        return True
    if row.event != TEST and row.instance_id != who.instance_id:
        return False
    endpoint = webhooks.get(conn, vault, row.endpoint_id, who.customer_id, who.mode)
    return endpoint is not None and sees(who, endpoint)


# --- once more -------------------------------------------------------------------------------------------------------


async def redeliver(exchange: Plain) -> Answer:
    """Put a delivery back into the queue, whatever became of it, and wake its endpoint after the commit."""
    edge = exchange.edge
    row, found = await edge.system.database.read(partial(_read_to_send, exchange))
    (payload,) = await _rendered(edge, exchange.principal, [row], found)
    with trio.CancelScope(shield=True):
        effect = partial(_redeliver, exchange, payload)
        answer = await write_once(exchange, effect, 202, kept=DeliveryBody.without_payload)
        edge.wake_webhooks(row.endpoint_id)
    return answer


def _read_to_send(exchange: Plain, conn: Any, vault: Vault) -> tuple[Delivery, Mapping[str, Event]]:
    row = find(exchange, conn, vault)
    return row, events.by_ids(conn, vault, [row.event_id])


def _redeliver(exchange: Plain, payload: EventEnvelope | None, tx: Tx) -> DeliveryBody:
    who, row = exchange.principal, find(exchange, tx.conn, tx.vault)
    endpoint = webhooks.get(tx.conn, tx.vault, row.endpoint_id, who.customer_id, who.mode)
    if endpoint is None:
        raise Problem("webhook_endpoint_not_found", "the endpoint was deleted; replay the events to another one")
    if not endpoint.is_enabled:
        raise Problem("webhook_disabled", reason=endpoint.disabled_reason)
    if not (_may_read(who, row) or matches(endpoint.events, row.event)):
        # Where an endpoint hears messages, somebody who may read them has said where to; this one may lead elsewhere.
        exchange.require_scope("messages:read")
    deliveries.redeliver(tx, row.id, customer_id=who.customer_id, mode=who.mode, origin=exchange.origin)
    return DeliveryBody.of(find(exchange, tx.conn, tx.vault), payload)


_ONE: Final = "/v1/webhook-deliveries/{delivery_id}"

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/webhook-deliveries",
        name="list_webhook_deliveries",
        summary="List webhook deliveries; those that entered the queue last come first.",
        handler=list_,
        scope="webhooks",
        query=DeliveriesQuery,
        reply=DeliveryPage,
        problems=("bad_cursor", "instance_not_found"),
    ),
    Endpoint(
        method="GET",
        path=_ONE,
        name="get_webhook_delivery",
        summary="Show a webhook delivery and each attempt.",
        handler=show,
        scope="webhooks",
        reply=DeliveryWithAttempts,
        problems=(_NOT_FOUND,),
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/redeliver",
        name="redeliver_webhook",
        summary="Deliver once more, whatever became of it, with the whole ladder of retries.",
        handler=redeliver,
        scope="webhooks",
        reply=DeliveryBody,
        status=202,
        takes_idempotency_key=True,
        problems=(_NOT_FOUND, "webhook_endpoint_not_found", "webhook_disabled", "event_expired"),
    ),
)
