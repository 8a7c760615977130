"""The one listener: a connection's head is read with h11, and decides what it becomes.

An upgrade to `/ws/chat` (any query) becomes a websocket of the wire protocol, everything else goes to the control API.

Rule: a connection's trouble, whatever it is, ends that connection and nothing else.
"""

from __future__ import annotations

import ssl
from typing import Final

import h11
import structlog
import trio
import wsproto
from wsproto.events import AcceptConnection, Request
from wsproto.handshake import H11Handshake
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from whatisup.sandbox.control_api import ControlApi
from whatisup.sandbox.http import HttpPeer, Reply
from whatisup.sandbox.server import Server
from whatisup.sandbox.websocket import Pulse, Socket

WS_PATH: Final = "/ws/chat"
_TLS_S: Final = 20.0

log: Final = structlog.get_logger(__name__)


class Listener:
    """Serves connections; pass `serve` to `trio.serve_listeners`, and `run` it beside that."""

    def __init__(self, server: Server, control: ControlApi, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._control = control
        self._tls = tls
        self._pulse = Pulse(server.hub.clock)

    async def run(self) -> None:
        """See to it that what is not pressing goes out; until cancelled."""
        await self._pulse.run()

    async def serve(self, plain: trio.SocketStream) -> None:
        """Serve one connection to its end."""
        try:
            await self._serve(plain)
        except* (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, h11.RemoteProtocolError):
            pass  # the peer is gone, too slow, or speaks no HTTP
        except* Exception:
            # A defect of ours must not reach the other connections through the nursery.
            log.exception("connection failed")
        finally:
            await trio.aclose_forcefully(plain)

    async def _serve(self, plain: trio.SocketStream) -> None:
        stream: trio.abc.Stream = plain
        if self._tls is not None:
            secured = trio.SSLStream(plain, self._tls, server_side=True, https_compatible=True)
            with trio.fail_after(_TLS_S):
                await secured.do_handshake()
            stream = secured
        peer = HttpPeer(stream, self._server.hub.state.settle)
        while (request := await self._next(peer)) is not None:
            if _is_upgrade(request):
                await self._upgrade(stream, peer, request)
                return
            if not await self._control.serve(peer, request):
                return

    async def _next(self, peer: HttpPeer) -> h11.Request | None:
        try:
            return await peer.request()
        except h11.RemoteProtocolError as error:
            await peer.answer(Reply(error.error_status_hint))
            return None

    async def _upgrade(self, stream: trio.abc.Stream, peer: HttpPeer, request: h11.Request) -> None:
        if request.target.partition(b"?")[0] != WS_PATH.encode():
            await peer.answer(Reply(404))
            return
        handshake = H11Handshake(wsproto.ConnectionType.SERVER)
        try:
            handshake.initiate_upgrade_connection(list(request.headers), request.target)
            offered = next(handshake.events(), None)
        except (RemoteProtocolError, LocalProtocolError, h11.LocalProtocolError, UnicodeError):
            offered = None
        if not isinstance(offered, Request):
            await peer.answer(Reply(400))
            return
        # No extensions: permessage-deflate is declined, as the protocol allows.
        await stream.send_all(handshake.send(AcceptConnection()))
        await Socket(stream, self._server, self._pulse).serve(peer.trailing())


def _is_upgrade(request: h11.Request) -> bool:
    return any(name == b"upgrade" and value.lower() == b"websocket" for name, value in request.headers)
