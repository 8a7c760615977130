"""From a request to a handler and back: authenticate, parse, ask, render.

Rule: a handler sees only checked values, and whatever it raises leaves as a problem in the envelope. A handler may be
cancelled at any await because its client left, so it hands work over whole (one command, one writer call) and waits.
"""

from __future__ import annotations

import math
import re
import time
from typing import Final

import structlog
from msgspec import json
from quart import Response
from structlog.contextvars import bind_contextvars

from api import auth
from api.problems import Problem, problem_of
from api.schemas.parse import Invalid, parse_json, parse_query
from api.schemas.replies import ErrorBody, ErrorEnvelope
from api.schemas.requests import Request
from api.serving.asked import Asked, Visit
from api.serving.buckets import Standing
from api.serving.edge import Edge
from api.serving.endpoint import JSON, Access, Answer, Endpoint, Exchange, is_operator, require_scopes
from whatisup.store import KeyRefusal, Mode, stream_keys

log = structlog.get_logger(__name__)
access_log = structlog.get_logger("api.access")

# A request id of the client's that is safe to log and to send back.
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}\Z")

# Asked all day by machines: told only where debugging is asked for, or where the answer is a bad one.
_PROBED: Final = frozenset({"/healthz", "/readyz", "/metrics"})

_REFUSALS = {
    KeyRefusal.MALFORMED: "auth_malformed",
    KeyRefusal.INVALID: "auth_invalid",
    KeyRefusal.EXPIRED: "auth_expired",
}


def welcome(edge: Edge, asked: auth.Headers) -> Visit:
    """Begin a request: name it, and note when it came. All that it logs says its name."""
    said = asked.get("X-Request-Id") or ""
    visit = Visit(said if _SANE_REQUEST_ID.match(said) else edge.new_id("req"), time.perf_counter())
    # Each request is a task of its own, and so is what it logs.
    bind_contextvars(request_id=visit.request_id)
    return visit


def require_one_length(asked: auth.Headers) -> None:
    """Refuse a body of two lengths.

    Raises:
        Problem: `bad_request`.
    """
    if "Content-Length" in asked and "Transfer-Encoding" in asked:
        # Where it ends, we and a proxy in front may see differently: what follows would be somebody else's request.
        ambiguous = Problem("bad_request", "send Content-Length or Transfer-Encoding, and not both")
        ambiguous.headers["Connection"] = "close"
        raise ambiguous


async def respond(
    edge: Edge, endpoint: Endpoint, params: dict[str, str], asked: Asked, visit: Visit
) -> Answer | Response:
    """Answer a request to an endpoint, whatever happens."""
    with edge.tracer.span(endpoint.title, parent=asked.headers.get("traceparent")) as span:
        visit.trace = span.traceparent
        if visit.trace is not None:
            bind_contextvars(trace_id=visit.trace.split("-")[1])
        try:
            answer = await _answer(edge, endpoint, params, asked, visit)
        except Invalid as error:
            answer = refuse(invalid(error), visit)
        except Exception as error:
            answer = refuse(error, visit)
        status = answer.status if isinstance(answer, Answer) else answer.status_code
        span.note(request_id=visit.request_id, status=status)
    return answer


def refuse(error: Exception, visit: Visit) -> Answer:
    """Put an error in the envelope; one that nobody foresaw is logged and stays unnamed."""
    problem = problem_of(error)
    if problem.code == "internal_error":
        log.error("request.failed", request_id=visit.request_id, exc_info=error)
    body = ErrorBody(code=problem.code, message=str(problem), details=problem.details)
    visit.problem = problem.code
    envelope = ErrorEnvelope(error=body, request_id=visit.request_id)
    return Answer(envelope, status=problem.status, headers=problem.headers)


def written(answer: Answer) -> bytes:
    """The bytes of an answer's body."""
    content = answer.content
    if content is None or isinstance(content, bytes):
        return content or b""
    return content.encode() if isinstance(content, str) else json.encode(content)


def farewell(edge: Edge, visit: Visit, method: str, route: str | None, status: int) -> dict[str, str]:
    """Count and log an answered request, and give the headers that every answer has."""
    seconds = time.perf_counter() - visit.started_at
    edge.metrics.count(method, route, status, seconds=seconds, problem=visit.problem)
    who = {"customer_id": visit.customer_id, "key_id": visit.key_id, "problem": visit.problem}
    write = access_log.debug if route in _PROBED and status < 400 else access_log.info
    write(
        "request",
        method=method[:10],
        route=route,
        status=status,
        ms=round(seconds * 1000, 1),
        **{name: value for name, value in who.items() if value is not None},
    )
    return {"X-Request-Id": visit.request_id, "X-Content-Type-Options": "nosniff", **visit.rate}


async def _answer(
    edge: Edge, endpoint: Endpoint, params: dict[str, str], asked: Asked, visit: Visit
) -> Answer | Response:
    if endpoint.access is Access.OPERATOR and not is_operator(edge, asked):
        raise Problem("operator_only")
    if endpoint.access is Access.ADMIN:
        _require_admin(edge, asked)
    parameters = asked.parameters
    caller = await authenticate(edge, endpoint, asked, visit) if endpoint.access.needs_key else None
    query = parse_query(parameters, endpoint.query)
    raw_body, body = await _read_body(endpoint, asked)
    exchange = Exchange(
        edge=edge,
        request_id=visit.request_id,
        asked=asked,
        params=params,
        body=body,
        query=query,
        caller=caller,
        raw_body=raw_body,
        trace=visit.trace,
        is_near=caller is not None and endpoint.near is not None and endpoint.near(query, caller),
    )
    if caller is None or exchange.is_near or not endpoint.is_search:
        return await endpoint.handler(exchange)
    async with edge.streams.searches.one(caller.customer_id):
        return await endpoint.handler(exchange)


def invalid(error: Invalid) -> Problem:
    """Tell a client what it sent wrong."""
    details = {} if error.field is None else {"field": error.field}
    return Problem(error.code, str(error), **details)


async def authenticate(edge: Edge, endpoint: Endpoint, asked: Asked, visit: Visit) -> auth.Principal:
    """Find out who asks.

    Raises:
        Problem: `auth_…` without a valid key; `rate_limited`; 404 for a live key on a sandbox route;
            `insufficient_scope`, `instance_scoped_key`.
    """
    header = asked.headers.get("Authorization")
    in_query = dict(reversed(asked.parameters)).get("token") if endpoint.takes_token else None
    try:
        token = in_query if header is None and in_query is not None else auth.bearer_token(header)
        is_stream_token = token is in_query and token.startswith(stream_keys.TOKEN_PREFIX)
        token = token if is_stream_token else auth.api_key(token)
    except auth.AuthRefused as error:
        if header is None and in_query is not None:
            message = "`token` is no stream token: POST /v1/events/token makes one"
            raise Problem(error.code, message, field="token") from None
        raise Problem(error.code, error.message) from None
    found = await (_open_stream(edge, token) if is_stream_token else edge.keyring.authenticate(token, edge.now()))
    if isinstance(found, KeyRefusal):
        raise Problem(_REFUSALS[found])
    principal = found
    visit.customer_id, visit.key_id = principal.customer_id, principal.key_id
    edge.key_uses[principal.key_id] = edge.now()
    _count(edge, endpoint, principal, visit)
    if endpoint.access is Access.TEST_KEY and principal.mode is not Mode.TEST:
        raise Problem("not_found", "the sandbox is for zpk_test_ keys")
    require_scopes(principal, endpoint.scopes)
    if endpoint.is_customer_wide and principal.instance_id is not None:
        raise Problem("instance_scoped_key")
    return principal


async def _open_stream(edge: Edge, token: str) -> auth.Principal | KeyRefusal:
    key = await edge.system.database.look(stream_keys.authenticate, token, edge.now())
    return key if isinstance(key, KeyRefusal) else auth.Principal.of(key)


def _count(edge: Edge, endpoint: Endpoint, who: auth.Principal, visit: Visit) -> None:
    """Let the request cost a token of its customer's; to look at the limits costs none, and has a bucket of its own.

    Raises:
        Problem: `rate_limited`.
    """
    whose = who.customer_id, who.mode, who.rate_limit
    is_allowed, standing = (edge.buckets if endpoint.costs_token else edge.looks).take(*whose)
    shown = standing if endpoint.costs_token else edge.buckets.look(*whose)
    if shown is not None:
        visit.rate = _rate_headers(edge, shown)
    if not is_allowed and standing is not None:
        problem = Problem("rate_limited")
        problem.headers["Retry-After"] = str(standing.retry_after_s)
        raise problem


def _rate_headers(edge: Edge, standing: Standing) -> dict[str, str]:
    full_at = edge.now() / 1000 + standing.full_in_s
    return {
        "X-RateLimit-Limit": str(standing.limit),
        "X-RateLimit-Remaining": str(standing.remaining),
        "X-RateLimit-Reset": str(math.ceil(full_at)),
    }


def _require_admin(edge: Edge, asked: Asked) -> None:
    """Let nobody pass without the admin key; where none is set there are no such routes.

    Raises:
        Problem: `not_found`, or `auth_…`.
    """
    admin_key = edge.settings.admin_key
    if admin_key is None:
        raise Problem("not_found")
    try:
        is_admin = auth.is_admin(asked.headers.get("Authorization"), admin_key)
    except auth.AuthRefused as error:
        raise Problem(error.code, "send the admin key as `Authorization: Bearer …`") from None
    if not is_admin:
        raise Problem("auth_invalid", "this is not the admin key")


async def _read_body(endpoint: Endpoint, asked: Asked) -> tuple[bytes, Request]:
    raw = await asked.read()
    if raw and asked.media_type != JSON:
        raise Problem(
            "unsupported_media_type", "send the body as JSON, with the header `Content-Type: application/json`"
        )
    return raw, parse_json(raw, endpoint.body)
