"""The connection under a stream: what is done to it does no harm when it is gone already."""

from __future__ import annotations

import trio

from api.streams.line import Http1Line


async def test_line_whose_client_left_before_the_stream_began_is_let_be() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    ours = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
    line = Http1Line(ours)
    await trio.aclose_forcefully(ours)
    line.keep_small()
    assert not line.drop()
    await listeners[0].aclose()
