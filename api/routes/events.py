"""The event log as a stream (SSE) and as pages: both read the same rows by the same cursor.

Rule: a cursor is a place in the log and nothing else. Whoever goes on after the last id it saw leaves no gap and sees
no duplicate; whoever comes from below what is kept is told so, and never silently moved.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

import structlog
from quart import Response, request

from api.auth import Principal
from api.problems import Problem
from api.schemas.payloads import PAYLOADS
from api.schemas.replies import EventEnvelope, EventPage, StreamToken
from api.schemas.requests import EventsQuery, NoQuery, Nothing
from api.schemas.times import iso
from api.serving.edge import Edge
from api.serving.endpoint import JSON, NEAR_ROWS, SSE, Answer, Endpoint, Exchange
from api.streams import LINE, Stream, TooManyStreams, Wanted, envelopes
from whatisup.store import Event, events, instances, stream_keys

log = structlog.get_logger(__name__)

EVENT_TYPES: Final = tuple(PAYLOADS)
HARMLESS_TYPES: Final = tuple(name for name in EVENT_TYPES if not name.startswith("message."))
"""What a key without `messages:read` is shown."""

DEPRECATED: Final = {
    "Deprecation": "@1767225600",
    "Warning": '299 - "an API key in a URL ends up in logs: get a stream token by POST /v1/events/token"',
}
"""Answers those who put an API key into the URL, as RFC 9745 and RFC 7234 say it."""

WINDOW: Final = 1000
"""How many of a customer's next events are looked at on the loop for those that are wanted."""

_PATTERN = re.compile(r"(\*|[a-z_]+\.(\*|[a-z_]+))\Z")
_CURSOR = re.compile(r"[A-Za-z0-9_]{1,64}\Z")
_CURSORS = "`after` (or `cursor`, or Last-Event-ID)"


async def list_or_stream(exchange: Exchange[Nothing, EventsQuery]) -> Answer | Response:
    """Answer with a stream, or with a page where the client asks for JSON."""
    wanted = await _wanted(exchange)
    after = exchange.headers.get("Last-Event-ID") or exchange.query.after or exchange.query.cursor
    headers = _warn_of_key(exchange)
    if exchange.accepts((SSE, JSON)) == JSON:
        return Answer(await _page(exchange, wanted, after), headers=headers)
    return _stream(exchange, wanted, await _position(exchange.edge, exchange.principal, after), headers)


async def make_token(exchange: Exchange[Nothing, NoQuery]) -> Answer:
    """Give a token that opens the caller's streams for an hour."""
    edge, who = exchange.edge, exchange.principal
    ends_at = edge.now() + stream_keys.TOKEN_MS
    ends_at = min(ends_at, who.expires_at or ends_at)
    nonce = edge.entropy(stream_keys.NONCE_LENGTH)
    token = await edge.system.database.look(stream_keys.mint, who.key_id, ends_at, nonce)
    return Answer(StreamToken(token=token, expires_at=iso(ends_at)))


# --- whose events, and which ------------------------------------------------------------------------------------------


async def _wanted(exchange: Exchange[Nothing, EventsQuery]) -> Wanted:
    who, instance_id = exchange.principal, exchange.query.instance_id
    if instance_id is not None and not await _may_read(exchange, instance_id):
        raise Problem("instance_not_found")
    return Wanted(who.customer_id, who.mode, instance_id or who.instance_id, _types(exchange))


async def _may_read(exchange: Exchange[Nothing, EventsQuery], instance_id: str) -> bool:
    who = exchange.principal
    return who.may_see(instance_id) and await exchange.edge.system.database.look(_owns, instance_id, who)


def _owns(conn: Any, vault: Any, instance_id: str, who: Principal) -> bool:
    """Whether the instance is, or before it was deleted was, the customer's."""
    return instances.get(conn, vault, instance_id, who.customer_id, who.mode, with_deleted=True) is not None


def _types(exchange: Exchange[Nothing, EventsQuery]) -> tuple[str, ...]:
    """The names and patterns to filter by; none means all.

    A key without `messages:read` gets everything else, unless it names messages: then it is refused.
    """
    patterns = _patterns(exchange.query.events)
    if exchange.principal.may_read_messages:
        return patterns
    if any(pattern.startswith("message.") for pattern in patterns):
        exchange.require_scope("messages:read")
    return HARMLESS_TYPES if not patterns or "*" in patterns else patterns


def _patterns(filter_: str | None) -> tuple[str, ...]:
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


def _warn_of_key(exchange: Exchange[Nothing, EventsQuery]) -> dict[str, str]:
    """Say that a key in a URL is no good idea, to the client and to the operator."""
    token = exchange.query.token
    if token is None or "Authorization" in exchange.headers or token.startswith(stream_keys.TOKEN_PREFIX):
        return {}
    log.warning("events.key_in_url", key_id=exchange.principal.key_id, request_id=exchange.request_id)
    return DEPRECATED


def _is_near(query: EventsQuery, _who: Principal) -> bool:
    """Whether a page may be found among the next rows of the customer's log; what is rare there, is not."""
    return query.limit <= NEAR_ROWS


# --- pages and streams ------------------------------------------------------------------------------------------------


async def _position(edge: Edge, who: Principal, cursor: str | None) -> int:
    """Turn a client's cursor into a position; without one, the end of the log.

    Raises:
        Problem: `bad_cursor`.
        CursorExpired: what came after it has been deleted.
    """
    database = edge.system.database
    if cursor is None:
        return await database.look(events.latest_position)
    position = None
    if _CURSOR.match(cursor) is not None:
        position = await database.look(events.resolve, cursor, who.customer_id, who.mode)
    if position is None:
        raise Problem("bad_cursor", f"{_CURSORS} names no event of yours: it takes the `event_id` of one you have seen")
    return position


async def _page(exchange: Exchange[Nothing, EventsQuery], wanted: Wanted, cursor: str | None) -> EventPage:
    edge, limit = exchange.edge, exchange.query.limit
    after = None if cursor is None else await _position(edge, exchange.principal, cursor)
    read = partial(events.follow, after=after, limit=limit + 1, **wanted.filters)
    near = partial(events.follow_near, after=after, limit=limit + 1, window=WINDOW, **wanted.filters)
    is_all = not wanted.types and wanted.instance_id is None
    rows: list[Event] = (await exchange.read(read, first=None if is_all else near)).events
    shown, has_more = rows[:limit], len(rows) > limit
    data: list[EventEnvelope] = await envelopes(shown, edge.draw)
    return EventPage(data=data, next_cursor=shown[-1].id if has_more else None)


def _stream(
    exchange: Exchange[Nothing, EventsQuery], wanted: Wanted, position: int, headers: dict[str, str]
) -> Response:
    edge, who = exchange.edge, exchange.principal
    if edge.draining.is_set():
        raise Problem("draining")
    try:
        edge.streams.check_room(who.customer_id)
    except TooManyStreams as error:
        raise Problem("too_many_streams", str(error)) from None
    body: Any = b""
    if exchange.method != "HEAD":
        line: Any = request.scope["extensions"].get(LINE)
        stream = Stream(wanted, position, key_id=who.key_id, expires_at=who.expires_at, line=line)
        body = edge.streams.follow(stream)
    response = Response(body, content_type=SSE, headers={"X-Accel-Buffering": "no", **headers})
    response.timeout = None
    return response


_FRAMES: Final = (
    "A frame an event: `id:` is its event_id, `data:` its envelope as JSON. When we end the stream, the last frame is"
    " `event: cut` with a `reason` (slow_reader, key_ended, cursor_expired, too_many_streams, internal_error)."
)

ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/v1/events",
        name="stream_events",
        summary="Stream the event log (SSE), or page through it where JSON is asked for.",
        handler=list_or_stream,
        near=_is_near,
        scope="events",
        query=EventsQuery,
        reply=EventPage,
        media={SSE: _FRAMES},
        problems=("bad_cursor", "cursor_expired", "instance_not_found", "too_many_streams", "draining"),
    ),
    Endpoint(
        method="POST",
        path="/v1/events/token",
        name="create_stream_token",
        summary="Make a token that opens the event stream for an hour, as `?token=` where no header can be set.",
        handler=make_token,
        scope="events",
        reply=StreamToken,
    ),
)
