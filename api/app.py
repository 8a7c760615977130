"""The application: every endpoint of `ENDPOINTS`, and the two ways of a request to it.

A question over HTTP/1.1 that gets one whole answer, which is nearly every request, is read from its scope and answered
with two messages, in one task. Whatever else there is (streams, HTTP/2, paths and methods that nobody has) goes through
Quart, and from there to the same dispatcher.

Rule: nothing is opened or started here, and nothing runs in the app's own nursery: whoever calls `create_app` has
already built what it is given. A line is logged per request without its query string, headers or body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple, TypeAlias

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, WebsocketCloseEvent
from quart import Request, Response, g, request
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection, TrioASGIWebsocketConnection
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, RequestTimeout
from werkzeug.sansio.utils import get_content_length

from api.auth import Headers
from api.routes import ENDPOINTS
from api.serving.asked import Asked, ScopeFields
from api.serving.dispatch import farewell, refuse, require_one_length, respond, welcome, written
from api.serving.edge import Edge
from api.serving.endpoint import Answer, Endpoint
from api.serving.inbox import Inbox
from api.serving.paths import Paths
from api.streams import LINE, line_behind

BODY_TIMEOUT_S = 15

Found: TypeAlias = tuple[Endpoint, dict[str, str]]


class _App(QuartTrio):
    """The application and what its connections need of it."""

    edge: Edge
    plain: Paths
    """Endpoints that always answer whole."""

    async def answer_whole(self, found: Found, said: Said, inbox: Inbox) -> Whole | None:
        """Answer a request to such an endpoint; None if its client has left before that."""
        return await _answer(self.edge, found, said, inbox)


class _Connection(TrioASGIHTTPConnection):
    """A request on its way through Quart, whose last word to hypercorn is not cut short.

    While hypercorn finishes an answer it tells Quart that the request is over, and Quart cancels what is still going
    on: that very send. The connection was then neither closed nor timed, and idle ones stayed until the files ran out.
    """

    app: _App

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        found = self.app.plain.find(self.scope["method"], self.scope["path"])
        if found is None or self.scope["http_version"] not in ("1.0", "1.1"):
            await super().__call__(receive, send)
        elif isinstance(receive, Inbox):
            await _serve(self.app.edge, found, self.scope, receive, send)
        else:  # another server than ours
            inbox = Inbox(self.app.edge.settings.max_body_bytes)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_listen, receive, inbox)
                await _serve(self.app.edge, found, self.scope, inbox, send)
                nursery.cancel_scope.cancel()

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        made = super()._create_request_from_scope(send)
        made.headers["Host"] = (
            "localhost"  # no answer depends on the client's word for it, and some words break the router
        )
        made.query_string = made.query_string.decode(errors="replace").encode()  # HTTP/2 lets through what breaks it
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
    app = _App("whatisup", static_folder=None)
    app.edge, app.plain = edge, Paths(endpoint for endpoint in ENDPOINTS if not endpoint.may_stream)
    app.asgi_http_class = _Connection
    app.asgi_websocket_class = _NoWebsocket
    app.config.update(
        MAX_CONTENT_LENGTH=edge.settings.max_body_bytes,
        BODY_TIMEOUT=BODY_TIMEOUT_S,
        PROVIDE_AUTOMATIC_OPTIONS=False,
    )
    app.url_map.merge_slashes = False  # a doubled slash is another path, not a redirect
    for endpoint in ENDPOINTS:
        app.add_url_rule(endpoint.rule, endpoint.name, _view(edge, endpoint), methods=[endpoint.method])
    app.before_request(partial(_begin, edge))
    app.after_request(partial(_end, edge))
    app.register_error_handler(HTTPException, _refuse)
    app.register_error_handler(Exception, _refuse)
    return app


# --- the short way ----------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """What a request's head says, as in `Asked`."""

    method: str
    path: str
    query: bytes
    headers: Headers
    peer: str | None
    http_version: str


class Whole(NamedTuple):
    """An answer: its status, its header fields without the body's length, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


async def _serve(edge: Edge, found: Found, scope: Any, inbox: Inbox, send: Callable[[Any], Awaitable[None]]) -> None:
    """Answer one request from its ASGI scope."""
    peer = (scope.get("client") or ("<local>",))[0]
    fields = ScopeFields.of(scope["headers"])
    said = Said(scope["method"], scope["path"], scope["query_string"], fields, peer, scope["http_version"])
    whole = await _answer(edge, found, said, inbox)
    if whole is not None:
        headers = [(name.lower().encode(), value.encode()) for name, value in whole.headers.items()]
        if whole.status != HTTPStatus.NO_CONTENT:  # which must not name a length, says RFC 9110 §8.6
            headers.append((b"content-length", b"%d" % len(whole.body)))
        await send({"type": "http.response.start", "status": whole.status, "headers": headers})
        await send({"type": "http.response.body", "body": whole.body})


async def _answer(edge: Edge, found: Found, said: Said, inbox: Inbox) -> Whole | None:
    """Answer one request, unless its client leaves before that."""
    endpoint, params = found
    visit = welcome(edge, said.headers)
    asked = Asked(*said, partial(_read, edge.settings.max_body_bytes, said.headers, inbox))
    with trio.CancelScope() as leaving:
        inbox.on_leave(leaving.cancel)
        try:
            require_one_length(asked.headers)
            answer = await respond(edge, endpoint, params, asked, visit)
        except Exception as error:
            answer = refuse(error, visit)
        inbox.on_leave(None)  # from here on the connection says so when all is sent
        assert isinstance(answer, Answer)  # noqa: S101 - what streams goes the other way
        common = farewell(edge, visit, asked.method, endpoint.rule, answer.status)
        headers = {"Cache-Control": "no-store", **answer.headers, **common}
        if answer.content is not None:
            headers["Content-Type"] = answer.media_type
        body = written(answer)
        if not inbox.has_left:
            return Whole(answer.status, headers, body)
    return None


async def _read(limit: int, fields: Headers, inbox: Inbox) -> bytes:
    """Wait for the body.

    Raises:
        RequestEntityTooLarge: it is, or is said to be, longer than `limit` bytes.
        RequestTimeout: it has not come in time.
    """
    length = fields.get("Content-Length")
    if length is not None and (get_content_length(length, fields.get("Transfer-Encoding")) or 0) > limit:
        raise RequestEntityTooLarge
    if not inbox.is_complete:
        with trio.move_on_after(BODY_TIMEOUT_S) as patience:
            await inbox.whole()
        if patience.cancelled_caught:
            raise RequestTimeout
    if inbox.is_too_large:
        raise RequestEntityTooLarge
    return await inbox.whole()


async def _listen(receive: ASGIReceiveCallable, inbox: Inbox) -> None:
    while not inbox.has_left:
        await inbox.put(await receive())


# --- through Quart ----------------------------------------------------------------------------------------------------


def _view(edge: Edge, endpoint: Endpoint) -> Callable[..., Awaitable[Response]]:
    """Make the view function of an endpoint."""

    async def answer(**params: str) -> Response:
        read = partial(request.get_data, cache=True, as_text=False, parse_form_data=False)
        about = request.method, request.path, request.query_string, request.headers, request.remote_addr
        asked = Asked(*about, request.http_version, read)
        found = await respond(edge, endpoint, params, asked, g.visit)
        return _rendered(found) if isinstance(found, Answer) else found

    answer.__name__ = endpoint.name
    return answer


def _rendered(answer: Answer) -> Response:
    """Write an answer as Quart does."""
    response = Response(written(answer), status=answer.status, content_type=answer.media_type)
    if answer.content is None:
        del response.headers["Content-Type"]
    for name, value in answer.headers.items():
        response.headers[name] = value
    return response


# All three are coroutine functions because Quart sends plain ones to a thread each time.
async def _refuse(error: Exception) -> Response:
    return _rendered(refuse(error, g.visit))


async def _begin(edge: Edge) -> None:
    g.visit = welcome(edge, request.headers)
    require_one_length(request.headers)


async def _end(edge: Edge, response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule is not None else None
    response.headers.setdefault("Cache-Control", "no-store")
    for name, value in farewell(edge, g.visit, request.method, route, response.status_code).items():
        response.headers[name] = value
    return response
