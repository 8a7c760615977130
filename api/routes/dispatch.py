"""From a Quart request to a handler and back: authenticate, parse, ask, render.

Rule: a handler sees only checked values, and whatever it raises leaves as a problem in the envelope. A handler may be
cancelled at any await because its client left, so it hands work over whole (one command, one writer call) and waits.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import structlog
from msgspec import json
from quart import Request as HttpRequest
from quart import Response, g, request
from structlog.contextvars import bind_contextvars

from api import auth
from api.problems import Problem, problem_of
from api.routes.buckets import Standing
from api.routes.edge import Edge
from api.routes.endpoint import JSON, Access, Answer, Endpoint, Exchange, require_scopes
from api.schemas.parse import Invalid, parse_json, parse_query
from api.schemas.replies import ErrorBody, ErrorEnvelope
from api.schemas.requests import Request
from whatisup.store import KeyRefusal, Mode, keys, stream_keys

log = structlog.get_logger(__name__)

_REFUSALS = {
    KeyRefusal.MALFORMED: "auth_malformed",
    KeyRefusal.INVALID: "auth_invalid",
    KeyRefusal.EXPIRED: "auth_expired",
}


def view(edge: Edge, endpoint: Endpoint) -> Callable[..., Awaitable[Response]]:
    """Make the view function of an endpoint."""
    name = f"{endpoint.method} {endpoint.path}"

    async def answer(**params: str) -> Response:
        g.standing = None
        with edge.tracer.span(name, parent=request.headers.get("traceparent")) as span:
            g.trace = span.traceparent
            if g.trace is not None:
                bind_contextvars(trace_id=g.trace.split("-")[1])
            try:
                response = await _answer(edge, endpoint, params)
            except Invalid as error:
                response = refuse(invalid(error))
            except Exception as error:
                response = refuse(error)
            span.note(request_id=g.request_id, status=response.status_code)
        if g.standing is not None:
            response.headers.extend(_rate_headers(edge, g.standing))
        return response

    answer.__name__ = endpoint.name
    return answer


def refuse(error: Exception) -> Response:
    """Put an error in the envelope; one that nobody foresaw is logged and stays unnamed."""
    problem = problem_of(error)
    if problem.code == "internal_error":
        log.error("request.failed", request_id=g.request_id, exc_info=error)
    body = ErrorBody(code=problem.code, message=str(problem), details=problem.details)
    answer = Answer(ErrorEnvelope(error=body, request_id=g.request_id), status=problem.status, headers=problem.headers)
    g.problem = problem.code
    return render(answer)


def render(answer: Answer) -> Response:
    """Write an answer as a Quart response."""
    content = answer.content
    if content is None:
        response = Response(b"", status=answer.status)
        del response.headers["Content-Type"]
    else:
        body = content if isinstance(content, (str, bytes)) else json.encode(content)
        response = Response(body, status=answer.status, content_type=answer.media_type)
    for name, value in answer.headers.items():
        response.headers[name] = value
    return response


async def _answer(edge: Edge, endpoint: Endpoint, params: dict[str, str]) -> Response:
    token = edge.settings.operator_token
    operator = auth.is_operator(request.remote_addr, request.http_version, request.headers, token)
    if endpoint.access is Access.OPERATOR and not operator:
        raise Problem("operator_only")
    if endpoint.access is Access.ADMIN:
        _require_admin(edge, request)
    caller = await authenticate(edge, endpoint, request) if endpoint.access.needs_key else None
    query = parse_query(request.args.items(multi=True), endpoint.query)
    raw_body, body = await _read_body(endpoint, request)
    exchange = Exchange(
        edge=edge,
        request_id=g.request_id,
        method=request.method,
        path=request.path,
        params=params,
        headers=request.headers,
        body=body,
        query=query,
        is_operator=operator,
        caller=caller,
        accepts=_preference(request),
        raw_body=raw_body,
        trace=g.trace,
    )
    is_search = caller is not None and endpoint.is_search
    async with edge.streams.searches.one(exchange.principal.customer_id) if is_search else nullcontext():
        answer = await endpoint.handler(exchange)
    return render(answer) if isinstance(answer, Answer) else answer


def invalid(error: Invalid) -> Problem:
    """Tell a client what it sent wrong."""
    details = {} if error.field is None else {"field": error.field}
    return Problem(error.code, str(error), **details)


async def authenticate(edge: Edge, endpoint: Endpoint, http: HttpRequest) -> auth.Principal:
    """Find out who asks.

    Raises:
        Problem: `auth_…` without a valid key; `rate_limited`; 404 for a live key on a sandbox route;
            `insufficient_scope`, `instance_scoped_key`.
    """
    header = http.headers.get("Authorization")
    in_query = http.args.get("token") if "token" in endpoint.query.__struct_fields__ else None
    try:
        token = in_query if header is None and in_query is not None else auth.bearer_token(header)
        is_stream_token = token is in_query and token.startswith(stream_keys.TOKEN_PREFIX)
        token = token if is_stream_token else auth.api_key(token)
    except auth.AuthRefused as error:
        if header is None and in_query is not None:
            message = "`token` is no stream token: POST /v1/events/token makes one"
            raise Problem(error.code, message, field="token") from None
        raise Problem(error.code, error.message) from None
    find = stream_keys.authenticate if is_stream_token else keys.authenticate
    key = await edge.system.database.read(find, token, edge.now())
    if isinstance(key, KeyRefusal):
        raise Problem(_REFUSALS[key])
    principal = auth.Principal.of(key)
    g.customer_id, g.key_id = principal.customer_id, principal.key_id
    edge.key_uses[principal.key_id] = edge.now()
    _count(edge, endpoint, principal)
    if endpoint.access is Access.TEST_KEY and principal.mode is not Mode.TEST:
        raise Problem("not_found", "the sandbox is for zpk_test_ keys")
    require_scopes(principal, endpoint.scopes)
    if endpoint.is_customer_wide and principal.instance_id is not None:
        raise Problem("instance_scoped_key")
    return principal


def _count(edge: Edge, endpoint: Endpoint, who: auth.Principal) -> None:
    """Let the request cost a token of its customer's; to look at the limits costs none, and has a bucket of its own.

    Raises:
        Problem: `rate_limited`.
    """
    whose = who.customer_id, who.mode, who.rate_limit
    is_allowed, standing = (edge.buckets if endpoint.costs_token else edge.looks).take(*whose)
    g.standing = edge.buckets.look(*whose)
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


def _require_admin(edge: Edge, http: HttpRequest) -> None:
    """Let nobody pass without the admin key; where none is set there are no such routes.

    Raises:
        Problem: `not_found`, or `auth_…`.
    """
    admin_key = edge.settings.admin_key
    if admin_key is None:
        raise Problem("not_found")
    try:
        is_admin = auth.is_admin(http.headers.get("Authorization"), admin_key)
    except auth.AuthRefused as error:
        raise Problem(error.code, "send the admin key as `Authorization: Bearer …`") from None
    if not is_admin:
        raise Problem("auth_invalid", "this is not the admin key")


async def _read_body(endpoint: Endpoint, http: HttpRequest) -> tuple[bytes, Request]:
    raw = await http.get_data(cache=True, as_text=False, parse_form_data=False)
    if raw and http.mimetype != JSON:
        raise Problem(
            "unsupported_media_type", "send the body as JSON, with the header `Content-Type: application/json`"
        )
    return raw, parse_json(raw, endpoint.body)


def _preference(http: HttpRequest) -> Callable[[tuple[str, ...]], str]:
    def prefer(offers: tuple[str, ...]) -> str:
        return http.accept_mimetypes.best_match(offers, default=offers[0]) or offers[0]

    return prefer
