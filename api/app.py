"""The Quart application: every endpoint of `ENDPOINTS`, and what holds for each request.

Rule: nothing is opened or started here, and nothing runs in the app's own nursery: whoever calls `create_app` has
already built what it is given. A line is logged per request without its query string, headers or body.
"""

from __future__ import annotations

import re
import time
from functools import partial

import structlog
from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from api.routes import ENDPOINTS
from api.routes.dispatch import refuse, view
from api.routes.edge import Edge

log = structlog.get_logger("api.access")

# A request id of the client's that is safe to log and to send back.
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}\Z")

BODY_TIMEOUT_S = 15


def create_app(edge: Edge) -> QuartTrio:
    """Make the application around a running system."""
    app = QuartTrio("whatisup", static_folder=None)
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
    g.started_at = time.perf_counter()
    g.customer_id = g.key_id = g.problem = None


async def _end(edge: Edge, response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    route = request.url_rule.rule if request.url_rule is not None else None
    edge.metrics.count(request.method, route, response.status_code)
    log.info(
        "request",
        method=request.method[:10],
        route=route,
        status=response.status_code,
        ms=round((time.perf_counter() - g.started_at) * 1000, 1),
        request_id=g.request_id,
        customer_id=g.customer_id,
        key_id=g.key_id,
        problem=g.problem,
    )
    return response
