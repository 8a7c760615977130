"""The event log as a stream (SSE) and as pages: both read the same rows by the same cursor.

Rule: nothing is pushed. A stream reads the log after its own position whenever the bus rings, so a slow reader costs a
cursor and not a queue, and resuming after the last id it saw leaves no gap and no duplicate.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import trio
from msgspec import json
from quart import Response

from actors.bus import Subscription
from api.auth import Principal
from api.problems import Problem
from api.routes.edge import Edge
from api.routes.endpoint import JSON, Answer, Endpoint, Exchange
from api.schemas.payloads import PAYLOADS
from api.schemas.replies import EventEnvelope, EventPage
from api.schemas.requests import EventsQuery, Nothing
from whatisup.store import Event, events, instances, keys

SSE: Final = "text/event-stream"
EVENT_TYPES: Final = tuple(PAYLOADS)
MAX_STREAMS_PER_CUSTOMER: Final = 64
PAGE: Final = 100

# What a browser waits before it comes back, milliseconds: the first line of a stream, and the last one when we drain.
RETRY: Final = b"retry: 2000\n\n"
KEEPALIVE: Final = b": keepalive\n\n"

_PATTERN = re.compile(r"(\*|[a-z_]+\.(\*|[a-z_]+))\Z")
_CURSOR = re.compile(r"[A-Za-z0-9_]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Reader:
    """Whose events, and which of them."""

    principal: Principal
    instance_id: str | None
    types: tuple[str, ...]


async def list_or_stream(exchange: Exchange[Nothing, EventsQuery]) -> Answer | Response:
    """Answer with a stream, or with a page where the client asks for JSON."""
    reader = await _reader(exchange)
    after = exchange.query.after or exchange.query.cursor
    if exchange.accepts((SSE, JSON)) == JSON:
        return Answer(await _page(exchange.edge, reader, after, exchange.query.limit))
    position = await _position(exchange.edge, reader, exchange.headers.get("Last-Event-ID") or after)
    return _stream_response(exchange, reader, position)


async def _reader(exchange: Exchange[Nothing, EventsQuery]) -> Reader:
    principal, wanted = exchange.principal, exchange.query.instance_id
    if wanted is not None and not await _may_read(exchange, wanted):
        raise Problem("instance_not_found")
    return Reader(principal, wanted or principal.instance_id, _types(exchange.query.events))


async def _may_read(exchange: Exchange[Nothing, EventsQuery], instance_id: str) -> bool:
    who = exchange.principal
    return who.may_see(instance_id) and await exchange.edge.system.database.read(_owns, instance_id, who)


def _owns(conn: Any, vault: Any, instance_id: str, who: Principal) -> bool:
    """Whether the instance is, or before it was deleted was, the customer's."""
    return instances.get(conn, vault, instance_id, who.customer_id, who.mode, with_deleted=True) is not None


def _types(filter_: str | None) -> tuple[str, ...]:
    if filter_ is None:
        return ()
    patterns = tuple(part.strip() for part in filter_.split(","))
    for pattern in patterns:
        prefix = pattern.removesuffix("*")
        is_known = pattern in EVENT_TYPES or (
            prefix != pattern and any(name.startswith(prefix) for name in EVENT_TYPES)
        )
        if _PATTERN.match(pattern) is None or not is_known:
            known = ", ".join(EVENT_TYPES)
            message = f"`events` names an event that there is not; there are {known}, and patterns such as instance.*"
            raise Problem("validation_failed", message, field="events")
    return patterns


async def _position(edge: Edge, reader: Reader, cursor: str | None) -> int:
    """Turn a client's cursor into a position; without one, the end of the log.

    Raises:
        Problem: `bad_cursor`.
    """
    database = edge.system.database
    if cursor is None:
        return await database.read(events.latest_position)
    who = reader.principal
    position = None
    if _CURSOR.match(cursor) is not None:
        position = await database.read(events.resolve, cursor, who.customer_id, who.mode)
    if position is None:
        raise Problem("bad_cursor", "go on after the `event_id` of an event you have seen")
    return position


async def _read(edge: Edge, reader: Reader, after: int, limit: int) -> list[Event]:
    read = partial(
        events.page,
        customer_id=reader.principal.customer_id,
        mode=reader.principal.mode,
        after=after,
        limit=limit,
        instance_id=reader.instance_id,
        types=reader.types,
    )
    return await edge.system.database.read(read)


async def _page(edge: Edge, reader: Reader, cursor: str | None, limit: int) -> EventPage:
    after = 0 if cursor is None else await _position(edge, reader, cursor)
    rows = await _read(edge, reader, after, limit + 1)
    shown, has_more = rows[:limit], len(rows) > limit
    return EventPage(data=await _envelopes(edge, shown), next_cursor=shown[-1].id if has_more else None)


async def _envelopes(edge: Edge, rows: list[Event]) -> list[EventEnvelope]:
    """Render events, away from the event loop where pictures are to be drawn."""
    if any(row.type == "qr.updated" for row in rows):
        return await edge.draw(lambda: [EventEnvelope.of(row) for row in rows])
    return [EventEnvelope.of(row) for row in rows]


def _stream_response(exchange: Exchange[Nothing, EventsQuery], reader: Reader, position: int) -> Response:
    edge, customer_id = exchange.edge, reader.principal.customer_id
    if edge.draining.is_set():
        raise Problem("draining")
    if edge.streams[customer_id] >= MAX_STREAMS_PER_CUSTOMER:
        raise Problem("too_many_streams", f"at most {MAX_STREAMS_PER_CUSTOMER} streams may be open at once")
    body = b"" if exchange.method == "HEAD" else _stream(edge, reader, position)
    response = Response(body, content_type=SSE, headers={"X-Accel-Buffering": "no"})
    response.timeout = None
    return response


async def _stream(edge: Edge, reader: Reader, position: int) -> AsyncIterator[bytes]:
    """Yield the events after `position`, and go on until the key ends, the process drains or the client leaves."""
    who = reader.principal
    with _counted(edge, who.customer_id), edge.system.bus.subscribe(who.customer_id, who.mode) as bell:
        yield RETRY
        spoke_at = checked_at = trio.current_time()
        while not edge.draining.is_set():
            rows = await _read(edge, reader, position, PAGE)
            for row, envelope in zip(rows, await _envelopes(edge, rows), strict=True):
                yield b"id: %b\ndata: %b\n\n" % (row.id.encode(), json.encode(envelope))
                position, spoke_at = row.position, trio.current_time()
            if len(rows) == PAGE:
                continue
            await _next_ring(bell, spoke_at + edge.keepalive_s)
            now = trio.current_time()
            if now >= checked_at + edge.keepalive_s:
                if not await _is_welcome(edge, who):
                    return
                checked_at = now
            if now >= spoke_at + edge.keepalive_s:
                yield KEEPALIVE
                spoke_at = now
        yield RETRY


async def _next_ring(bell: Subscription, deadline: float) -> None:
    with trio.move_on_at(deadline):
        await bell.wait()


async def _is_welcome(edge: Edge, who: Principal) -> bool:
    """Whether the key that opened a stream still opens one."""
    key = await edge.system.database.read(keys.get, who.key_id)
    return key is not None and key.revoked_at is None and (key.expires_at is None or key.expires_at > edge.now())


@contextmanager
def _counted(edge: Edge, customer_id: str) -> Iterator[None]:
    edge.streams[customer_id] += 1
    edge.metrics.streams.inc()
    try:
        yield
    finally:
        edge.metrics.streams.dec()
        edge.streams[customer_id] -= 1
        if not edge.streams[customer_id]:
            del edge.streams[customer_id]


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/events",
        name="stream_events",
        summary="Stream the event log (SSE), or page through it where JSON is asked for.",
        handler=list_or_stream,
        scope="events",
        query=EventsQuery,
        reply=EventPage,
        media={SSE: "A frame an event: `id:` is its event_id, `data:` its envelope as JSON."},
        problems=("bad_cursor", "instance_not_found", "too_many_streams", "draining"),
    ),
)
