"""Webhook endpoints: made, changed, tested, and sent what they have missed.

Rule: a change is one writer call, and whoever delivers is told after its commit, even if the client has left. A key
that may not read messages sets up nothing that would send them, and a bound key nothing that hears of other instances.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import trio
from msgspec import UNSET, Struct, UnsetType

from api.auth import Principal
from api.problems import Problem
from api.routes.deliveries import payload_of, sees
from api.schemas.requests import NoQuery, Nothing, PageQuery
from api.schemas.times import unix_ms
from api.schemas.webhooks import (
    CreateWebhookEndpoint,
    DeliveryBody,
    PatchWebhookEndpoint,
    ReplayBody,
    ReplayEvents,
    RotateSecret,
    WebhookEndpointBody,
    WebhookEndpointPage,
)
from api.serving.endpoint import Answer, Endpoint, Exchange, checked_cursor
from api.serving.idempotency import earlier, unchanged, write_once
from whatisup.store import KEEP, Mode, Tx, Vault, deliveries, events, instances, webhooks
from whatisup.store.webhook_records import Endpoint as Row
from whatisup.store.webhook_records import EndpointChanges
from whatisup.webhooks.signing import mint_secret
from whatisup.webhooks.targets import Policy, parse_target

_CURSOR = re.compile(r"[A-Za-z0-9_]{1,64}\Z")
_PLACES = "it takes an `event_id`, or a time such as 2026-05-01T00:00:00Z"
_NOT_FOUND: Final = "webhook_endpoint_not_found"

T = TypeVar("T")

Creating = Exchange[CreateWebhookEndpoint, NoQuery]
Patching = Exchange[PatchWebhookEndpoint, NoQuery]
Plain = Exchange[Nothing, NoQuery]


# --- who may ---------------------------------------------------------------------------------------------------------


def find(exchange: Exchange[Any, Any], conn: Any, vault: Vault) -> Row:
    """Read the endpoint in the path.

    Raises:
        Problem: `webhook_endpoint_not_found`, for unknown, deleted and other people's alike.
    """
    who, endpoint_id = exchange.principal, exchange.row_id("endpoint_id", _NOT_FOUND)
    row = _existing(webhooks.get(conn, vault, endpoint_id, who.customer_id, who.mode))
    return _existing(row if sees(who, row) else None)


def find_enabled(exchange: Exchange[Any, Any], conn: Any, vault: Vault) -> Row:
    """Read the endpoint in the path, which something shall be sent to now.

    Raises:
        Problem: `webhook_endpoint_not_found`, `webhook_disabled`.
    """
    row = find(exchange, conn, vault)
    if not row.is_enabled:
        raise Problem("webhook_disabled", reason=row.disabled_reason)
    return row


def _existing(found: T | None) -> T:
    """What the store found of the endpoint in the path.

    Raises:
        Problem: `webhook_endpoint_not_found`.
    """
    if found is None:
        raise Problem(_NOT_FOUND)
    return found


def _require_reading(exchange: Exchange[Any, Any], patterns: Sequence[str]) -> None:
    """Keep a key that may not read messages from having them sent somewhere.

    Raises:
        Problem: `insufficient_scope`.
    """
    if any(pattern == "*" or pattern.startswith("message.") for pattern in patterns):
        exchange.require_scope("messages:read")


async def _require_deliverable(exchange: Exchange[Any, Any], url: str) -> None:
    """Refuse a URL that nothing would be delivered to.

    Raises:
        UrlRefused: with what to do.
    """
    edge, is_live = exchange.edge, exchange.principal.mode is Mode.LIVE
    if edge.webhooks is not None:
        async with edge.url_checks.one(exchange.principal.customer_id):  # DNS may hang, in one of few threads
            await edge.webhooks.check(url, is_live=is_live)
        return
    settings = edge.settings
    policy = Policy(settings.webhook_allow_http, settings.webhook_allow_private_cidrs)
    parse_target(url, is_live=is_live, policy=policy)


def _bound(who: Principal, asked: tuple[str, ...] | UnsetType) -> tuple[str, ...] | UnsetType:
    """What a key may make of the instances that it asked for; a bound one means its own.

    Raises:
        Problem: `instance_scoped_key` for all, `instance_not_found` for others.
    """
    if who.instance_id is None or asked is UNSET:
        return asked
    if not asked:
        raise Problem("instance_scoped_key")
    if asked != (who.instance_id,):
        raise Problem("instance_not_found")
    return asked


def _require_nothing_hidden_waits(exchange: Exchange[Any, Any], tx: Tx, endpoint_id: str) -> None:
    """Keep a key from having sent elsewhere what waits for an endpoint and is not for the key to see.

    Raises:
        Problem: `insufficient_scope`, `instance_scoped_key`.
    """
    who = exchange.principal
    if deliveries.hides(tx.conn, endpoint_id, messages=not who.may_read_messages, bound_to=None):
        exchange.require_scope("messages:read")
    if deliveries.hides(tx.conn, endpoint_id, messages=False, bound_to=who.instance_id):
        raise Problem("instance_scoped_key", "events of other instances wait for this endpoint")


def _require_instances(exchange: Exchange[Any, Any], tx: Tx, asked: Sequence[str]) -> None:
    """Refuse instances that are not the customer's.

    Raises:
        Problem: `instance_not_found`, with the id.
    """
    who = exchange.principal
    for instance_id in asked:
        if instances.get(tx.conn, tx.vault, instance_id, who.customer_id, who.mode) is None:
            raise Problem("instance_not_found", instance_id=instance_id)


# --- changes ---------------------------------------------------------------------------------------------------------


async def _change(
    exchange: Exchange[Any, Any],
    effect: Callable[[Tx], Struct],
    status: int = 200,
    kept: Callable[[Any], Struct] = unchanged,
) -> Answer:
    """Change something about the endpoint in the path, and wake its deliveries after the commit."""
    with trio.CancelScope(shield=True):
        answer = await write_once(exchange, effect, status, kept=kept)
        exchange.edge.wake_webhooks(exchange.params["endpoint_id"])
    return answer


async def create(exchange: Creating) -> Answer:
    """Make an endpoint, with a secret of its own."""
    if (first := await earlier(exchange)) is not None:
        return first
    _require_reading(exchange, exchange.body.events)
    await _require_deliverable(exchange, exchange.body.url)
    return await write_once(exchange, partial(_create, exchange), 201, kept=WebhookEndpointBody.without_secret)


def _create(exchange: Creating, tx: Tx) -> WebhookEndpointBody:
    asked, who = exchange.body, exchange.principal
    heard = _bound(who, asked.instances)
    if heard is UNSET:
        heard = () if who.instance_id is None else (who.instance_id,)
    _require_instances(exchange, tx, heard)
    secret = asked.signing_secret or mint_secret(tx.entropy)
    made = webhooks.create(
        tx,
        customer_id=who.customer_id,
        mode=who.mode,
        url=asked.url,
        events=tuple(dict.fromkeys(asked.events)),
        instance_ids=heard,
        is_enabled=asked.enabled,
        ordering=asked.ordering,
        headers=asked.headers,
        secret=secret,
        has_custom_secret=asked.signing_secret is not None,
        origin=exchange.origin,
    )
    return WebhookEndpointBody.of(made, secret)


async def patch(exchange: Patching) -> Answer:
    """Change what is named, and nothing else."""
    await exchange.edge.system.database.look(partial(find, exchange))
    if exchange.body.url is not UNSET:
        await _require_deliverable(exchange, exchange.body.url)
    with trio.CancelScope(shield=True):
        lane = exchange.principal.customer_id
        changed = await exchange.edge.system.writer.call(partial(_patch, exchange), lane=lane)
        exchange.edge.wake_webhooks(changed.id)
    return Answer(changed)


def _patch(exchange: Patching, tx: Tx) -> WebhookEndpointBody:
    asked, who = exchange.body, exchange.principal
    before = find(exchange, tx.conn, tx.vault)
    heard = _bound(who, asked.instances)
    if heard is not UNSET:
        _require_instances(exchange, tx, heard)
    if not (asked.url is UNSET and asked.events is UNSET and heard is UNSET):
        _require_reading(exchange, before.events if asked.events is UNSET else asked.events)
    if asked.url is not UNSET:
        _require_nothing_hidden_waits(exchange, tx, before.id)
    changes = EndpointChanges(
        url=KEEP if asked.url is UNSET else asked.url,
        events=KEEP if asked.events is UNSET else tuple(dict.fromkeys(asked.events)),
        instance_ids=KEEP if heard is UNSET else heard,
        is_enabled=KEEP if asked.enabled is UNSET else asked.enabled,
        headers=KEEP if asked.headers is UNSET else asked.headers,
        ordering=KEEP if asked.ordering is UNSET else asked.ordering,
    )
    after = webhooks.patch(
        tx, before.id, customer_id=who.customer_id, mode=who.mode, origin=exchange.origin, changes=changes
    )
    return WebhookEndpointBody.of(_existing(after))


async def delete(exchange: Plain) -> Answer:
    """End an endpoint, and with it what waits to be delivered there."""
    with trio.CancelScope(shield=True):
        lane = exchange.principal.customer_id
        await exchange.edge.system.writer.call(partial(_delete, exchange), lane=lane)
        exchange.edge.wake_webhooks(exchange.params["endpoint_id"])
    return Answer(status=204)


def _delete(exchange: Plain, tx: Tx) -> None:
    who, row = exchange.principal, find(exchange, tx.conn, tx.vault)
    webhooks.delete(tx, row.id, customer_id=who.customer_id, mode=who.mode, origin=exchange.origin)


async def rotate(exchange: Exchange[RotateSecret, NoQuery]) -> Answer:
    """Give an endpoint a new secret; the one before signs beside it for a while."""
    return await _change(exchange, partial(_rotate, exchange), kept=WebhookEndpointBody.without_secret)


def _rotate(exchange: Exchange[RotateSecret, NoQuery], tx: Tx) -> WebhookEndpointBody:
    asked, who, row = exchange.body, exchange.principal, find(exchange, tx.conn, tx.vault)
    secret = asked.signing_secret or mint_secret(tx.entropy)
    after = webhooks.rotate_secret(
        tx,
        row.id,
        customer_id=who.customer_id,
        mode=who.mode,
        origin=exchange.origin,
        secret=secret,
        has_custom_secret=asked.signing_secret is not None,
        overlap_ms=asked.overlap_s * 1000,
    )
    return WebhookEndpointBody.of(_existing(after), secret)


# --- sending ---------------------------------------------------------------------------------------------------------


async def test(exchange: Plain) -> Answer:
    """Send an endpoint an event that means nothing."""
    return await _change(exchange, partial(_test, exchange), 202)


def _test(exchange: Plain, tx: Tx) -> DeliveryBody:
    who, row = exchange.principal, find_enabled(exchange, tx.conn, tx.vault)
    tested = deliveries.make_test(tx, row.id, customer_id=who.customer_id, mode=who.mode, origin=exchange.origin)
    made = _existing(tested)
    event = events.by_ids(tx.conn, tx.vault, [made.event_id]).get(made.event_id)
    return DeliveryBody.of(made, payload_of(who, made, event, tx.now))


async def replay(exchange: Exchange[ReplayEvents, NoQuery]) -> Answer:
    """Deliver a part of the event log again, one portion a call."""
    if (first := await earlier(exchange)) is not None:
        return first
    after, until = await exchange.edge.system.database.read(partial(_range, exchange))
    return await _change(exchange, partial(_replay, exchange, after, until), 202)


def _range(exchange: Exchange[ReplayEvents, NoQuery], conn: Any, vault: Vault) -> tuple[int, int]:
    asked = exchange.body
    after = _position(exchange, conn, vault, "after", asked.after)
    if asked.until is None:
        return after, events.latest_position(conn, vault)
    return after, _position(exchange, conn, vault, "until", asked.until)


def _position(exchange: Exchange[Any, Any], conn: Any, vault: Vault, field: str, place: str) -> int:
    """Where in the log an event, a position or a time stands; of a time, after everything that had happened by then.

    Raises:
        Problem: `bad_cursor` or `cursor_expired` for an event, `validation_failed` for a time.
    """
    who = exchange.principal
    if _CURSOR.match(place):
        position = events.resolve(conn, vault, place, who.customer_id, who.mode)
        if position is None:
            raise Problem("bad_cursor", f"`{field}` names no event of yours; {_PLACES}", field=field)
        return position
    try:
        return events.position_at(conn, vault, customer_id=who.customer_id, mode=who.mode, at=unix_ms(place))
    except ValueError as error:
        raise Problem("validation_failed", f"`{field}` is no time: {error}", field=field) from None


def _replay(exchange: Exchange[ReplayEvents, NoQuery], after: int, until: int, tx: Tx) -> ReplayBody:
    who, row = exchange.principal, find_enabled(exchange, tx.conn, tx.vault)
    done = deliveries.replay(
        tx,
        row.id,
        customer_id=who.customer_id,
        mode=who.mode,
        origin=exchange.origin,
        after=after,
        until=until,
        limit=exchange.body.limit,
    )
    portion = _existing(done)
    return ReplayBody(count=portion.count, next_cursor=str(portion.last_position) if portion.has_more else None)


# --- looking ---------------------------------------------------------------------------------------------------------


async def list_(exchange: Exchange[Nothing, PageQuery]) -> Answer:
    """Show a page; a bound key sees the endpoints of its instance alone."""
    who, query = exchange.principal, exchange.query
    read = partial(
        webhooks.page,
        customer_id=who.customer_id,
        mode=who.mode,
        limit=query.limit,
        cursor=checked_cursor(query.cursor),
        instance_id=who.instance_id,
    )
    rows, cursor = await exchange.edge.system.database.read(read)
    return Answer(WebhookEndpointPage(data=[WebhookEndpointBody.of(row) for row in rows], next_cursor=cursor))


async def show(exchange: Plain) -> Answer:
    """Show one endpoint."""
    return Answer(WebhookEndpointBody.of(await exchange.edge.system.database.look(partial(find, exchange))))


_ONE: Final = "/v1/webhook-endpoints/{endpoint_id}"

ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path="/v1/webhook-endpoints",
        name="create_webhook_endpoint",
        summary="Have events delivered to a URL; the signing secret is shown in this reply alone.",
        handler=create,
        scope="webhooks",
        body=CreateWebhookEndpoint,
        reply=WebhookEndpointBody,
        status=201,
        takes_idempotency_key=True,
        problems=("url_not_allowed", "instance_not_found", "instance_scoped_key", "too_many_webhook_endpoints"),
    ),
    Endpoint(
        method="GET",
        path="/v1/webhook-endpoints",
        name="list_webhook_endpoints",
        summary="List webhook endpoints, newest first.",
        handler=list_,
        scope="webhooks",
        query=PageQuery,
        reply=WebhookEndpointPage,
        problems=("bad_cursor",),
    ),
    Endpoint(
        method="GET",
        path=_ONE,
        name="get_webhook_endpoint",
        summary="Show a webhook endpoint.",
        handler=show,
        scope="webhooks",
        reply=WebhookEndpointBody,
        problems=(_NOT_FOUND,),
    ),
    Endpoint(
        method="PATCH",
        path=_ONE,
        name="update_webhook_endpoint",
        summary="Change a webhook endpoint, or enable it again; what was missed can be replayed.",
        handler=patch,
        scope="webhooks",
        body=PatchWebhookEndpoint,
        reply=WebhookEndpointBody,
        problems=(_NOT_FOUND, "url_not_allowed", "instance_not_found", "instance_scoped_key"),
    ),
    Endpoint(
        method="DELETE",
        path=_ONE,
        name="delete_webhook_endpoint",
        summary="Delete a webhook endpoint; what waits to be delivered there fails.",
        handler=delete,
        scope="webhooks",
        reply=None,
        status=204,
        problems=(_NOT_FOUND,),
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/rotate-secret",
        name="rotate_webhook_secret",
        summary="Give a webhook endpoint a new signing secret; the old one signs too for a while.",
        handler=rotate,
        scope="webhooks",
        body=RotateSecret,
        reply=WebhookEndpointBody,
        takes_idempotency_key=True,
        problems=(_NOT_FOUND,),
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/test",
        name="test_webhook_endpoint",
        summary="Send `webhook.test` to a webhook endpoint, whatever its filter says.",
        handler=test,
        scope="webhooks",
        reply=DeliveryBody,
        status=202,
        takes_idempotency_key=True,
        problems=(_NOT_FOUND, "webhook_disabled"),
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/replay",
        name="replay_webhook_events",
        summary="Deliver a part of the event log to a webhook endpoint again, as its filter says.",
        handler=replay,
        scope="webhooks",
        body=ReplayEvents,
        reply=ReplayBody,
        status=202,
        takes_idempotency_key=True,
        problems=(_NOT_FOUND, "webhook_disabled", "bad_cursor", "cursor_expired"),
    ),
)
