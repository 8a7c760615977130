"""The Quart application: every endpoint of `ENDPOINTS`, and what holds for each request.

Rule: nothing is opened or started here, and nothing runs in the app's own nursery: whoever calls `create_app` has
already built what it is given. A line is logged per request without its query string, headers or body.
"""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Any

import structlog
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, WebsocketCloseEvent
from quart import Request, Response, g, request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection, TrioASGIWebsocketConnection
from werkzeug.exceptions import HTTPException

from api.problems import Problem
from api.routes import ENDPOINTS
from api.routes.dispatch import refuse, view
from api.routes.edge import Edge
from api.streams import LINE, line_behind

log = structlog.get_logger("api.access")

# A request id of the client's that is safe to log and to send back.
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}\Z")

BODY_TIMEOUT_S = 15

# Asked all day by machines: told only where debugging is asked for, or where the answer is a bad one.
_PROBED = frozenset({"/healthz", "/readyz", "/metrics"})


class _Connection(TrioASGIHTTPConnection):
    """A request on its way through Quart, whose last word to hypercorn is not cut short.

    While hypercorn finishes an answer it tells Quart that the request is over, and Quart cancels what is still going
    on: that very send. The connection was then neither closed nor timed, and idle ones stayed until the files ran out.
    """

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        made = super()._create_request_from_scope(send)
        made.headers["Host"] = (
            "localhost"  # no answer depends on the client's word for it, and some words break the router
        )
        return made

    async def handle_request(  # type: ignore[override]  # as the library's own, which adds the nursery
        self, nursery: trio.Nursery, request: Request, send: ASGISendCallable
    ) -> None:
        async def send_whole(message: ASGISendEvent) -> None:
            # HTTP/2 waits in here for the client's window; HTTP/1 for the socket alone, which hypercorn shields itself.
            with trio.CancelScope(shield=request.http_version != "2"):
                await send(message)

        extensions: dict[str, Any] = request.scope["extensions"]
        extensions[LINE] = line_behind(send, request.http_version, nursery.cancel_scope.cancel)
        await super().handle_request(nursery, request, send_whole)


class _NoWebsocket(TrioASGIWebsocketConnection):
    """A websocket that somebody asks for: there is none here, which hypercorn answers with 403."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await send(WebsocketCloseEvent(type="websocket.close", code=1000, reason=None))


def create_app(edge: Edge) -> QuartTrio:
    """Make the application around a running system."""
    app = QuartTrio("whatisup", static_folder=None)
    app.asgi_http_class = _Connection
    app.asgi_websocket_class = _NoWebsocket
    app.config.update(
        MAX_CONTENT_LENGTH=edge.settings.max_body_bytes,
        BODY_TIMEOUT=BODY_TIMEOUT_S,
        PROVIDE_AUTOMATIC_OPTIONS=False,
    )
    app.url_map.merge_slashes = False  # a doubled slash is another path, not a redirect
    for endpoint in ENDPOINTS:
        app.add_url_rule(endpoint.rule, endpoint.name, view(edge, endpoint), methods=[endpoint.method])
    app.before_request(partial(_begin, edge))
    app.after_request(partial(_end, edge))
    app.register_error_handler(HTTPException, _refuse)
    app.register_error_handler(Exception, _refuse)
    return app


# All three are coroutine functions because Quart sends plain ones to a thread each time.
async def _refuse(error: Exception) -> Response:
    return refuse(error)


async def _begin(edge: Edge) -> None:
    asked = request.headers.get("X-Request-Id", "")
    g.request_id = asked if _SANE_REQUEST_ID.match(asked) else edge.new_id("req")
    # Each request is a task of its own, and so is what it logs.
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    g.started_at = time.perf_counter()
    g.customer_id = g.key_id = g.problem = None
    if "Content-Length" in request.headers and "Transfer-Encoding" in request.headers:
        # Where it ends, we and a proxy in front may see differently: what follows would be somebody else's request.
        ambiguous = Problem("bad_request", "send Content-Length or Transfer-Encoding, and not both")
        ambiguous.headers["Connection"] = "close"
        raise ambiguous


async def _end(edge: Edge, response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    route = request.url_rule.rule if request.url_rule is not None else None
    seconds = time.perf_counter() - g.started_at
    edge.metrics.count(request.method, route, response.status_code, seconds=seconds, problem=g.problem)
    write = log.debug if route in _PROBED and response.status_code < 400 else log.info
    who = {"customer_id": g.customer_id, "key_id": g.key_id, "problem": g.problem}
    write(
        "request",
        method=request.method[:10],
        route=route,
        status=response.status_code,
        ms=round(seconds * 1000, 1),
        **{name: value for name, value in who.items() if value is not None},
    )
    return response
