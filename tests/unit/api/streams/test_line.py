"""The connection under a stream: what is done to it does no harm when it is gone already."""

from __future__ import annotations

from types import SimpleNamespace

import trio
from h2.config import H2Configuration
from h2.connection import H2Connection

from api.streams.line import Http1Line, Http2Line


async def test_line_whose_client_left_before_the_stream_began_is_let_be() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ours = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
    line = Http1Line(ours)
    await trio.aclose_forcefully(ours)
    line.keep_small()
    assert not line.drop()
    await listeners[0].aclose()


def test_http2_line_of_a_client_that_is_leaving_ends_its_request_all_the_same() -> None:
    server, client = H2Connection(H2Configuration(client_side=False)), H2Connection()
    client.initiate_connection()
    client.send_headers(1, [(":method", "GET"), (":path", "/"), (":scheme", "https"), (":authority", "x")])
    client.close_connection()
    server.initiate_connection()
    server.receive_data(client.data_to_send())
    done: list[str] = []
    protocol = SimpleNamespace(
        connection=server,
        stream_buffers={1: object()},
        priority=SimpleNamespace(unblock=lambda _: done.append("unblocked")),
        task_group=SimpleNamespace(spawn=lambda _: done.append("flushed")),
        _flush=None,
    )
    assert Http2Line(protocol, 1, lambda: done.append("cancelled")).drop()
    assert done[-1] == "cancelled"
