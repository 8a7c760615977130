"""Hypercorn on Trio, set up for a control plane with long streams.

Rule: a peer can hold a connection, never the process. Three settings say so:

- `read_timeout` stays off, because hypercorn applies it to connections whose client has nothing to send, and would cut
  every event stream. A stalled body is cut by `BODY_TIMEOUT`, an idle connection or half a head by
  `keep_alive_timeout`.
- hypercorn sends under a shield and without a deadline, so a client that stops reading would outlive every shutdown.
  `TCP_USER_TIMEOUT` (Linux) lets the kernel reset such a connection.
- the access log is ours: hypercorn's would print query strings, and with them the keys of streams.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import partial
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config, Sockets
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import repr_socket_addr

from api.bootstrap.connections import Connection
from whatisup.errors import WhatIsUpError
from whatisup.settings import Settings

GRACE_S: Final = 3.0
UNREAD_S: Final = 15.0


class CannotListen(WhatIsUpError):
    """The address is in use, or is not this machine's."""


class ServerConfig(Config):
    """How we listen; `unread_s` is how long a client may leave what we sent unread."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._address = (settings.host, settings.port)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.bind = [f"{host}:{settings.port}"]
        self.accesslog = None
        self.errorlog = logging.getLogger("hypercorn.error")
        self.loglevel = "WARNING"
        self.read_timeout = None
        self.keep_alive_timeout = 15.0
        self.graceful_timeout = min(GRACE_S, settings.shutdown_s / 4)
        self.h2_max_concurrent_streams = 32
        self.include_server_header = False
        self.unread_s = min(UNREAD_S, settings.shutdown_s / 2)
        self.max_body_bytes = settings.max_body_bytes
        self._date = 0, b""

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """What every answer says: the date, written once a second."""
        now = int(time.time())
        if self._date[0] != now:
            self._date = now, formatdate(now, usegmt=True).encode("ascii")
        return [(b"date", self._date[1])]

    def create_sockets(self) -> Sockets:
        """Open the listening socket; what is set here, accepted connections inherit.

        Raises:
            CannotListen: the address is in use or not ours.
        """
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        try:
            listener = socket.create_server(self._address, family=family, backlog=self.backlog)
        except OSError as error:
            raise CannotListen(f"cannot listen on {self.bind[0]}: {str(error.strerror).partition(' (')[0]}") from None
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(self.unread_s * 1000))
        return Sockets(secure_sockets=[], insecure_sockets=[listener], quic_sockets=[])


async def serve(
    app: Any,
    config: ServerConfig,
    *,
    shutdown_trigger: Callable[[], Awaitable[object]],
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until the trigger returns, and give its URLs when it listens.

    Then nobody new is let in, silent clients are hung up on, and what is under way has `graceful_timeout` to end. The
    application is told nothing of start and end: it opens nothing.

    Raises:
        CannotListen: the address is in use or not ours.
    """
    context, idle = WorkerContext(None), set[Connection]()
    sockets = config.create_sockets().insecure_sockets
    listeners = [trio.SocketListener(trio.socket.from_stdlib_socket(one)) for one in sockets]
    front = app if hasattr(app, "answer_whole") else None
    handler = partial(Connection, front, ASGIWrapper(app), config, context, idle)
    async with trio.open_nursery() as connections:
        try:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(partial(trio.serve_listeners, handler, listeners, handler_nursery=connections))
                task_status.started([f"http://{repr_socket_addr(one.family, one.getsockname())}" for one in sockets])
                await shutdown_trigger()
                accepting.cancel_scope.cancel()
        finally:
            await context.terminated.set()
            for connection in tuple(idle):
                connection.hang_up()
            connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
