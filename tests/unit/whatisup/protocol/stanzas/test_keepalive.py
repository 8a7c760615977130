"""Pings of both sides."""

from __future__ import annotations

from tests.playbook import UNIX, VECTORS, travel
from whatisup.jid import SERVER
from whatisup.protocol.stanzas.iq import build_result
from whatisup.protocol.stanzas.keepalive import build_ping, build_server_ping, is_ping, is_server_ping
from whatisup.wire import Node, decode_node


def test_ping_is_golden() -> None:
    golden = next(case for case in VECTORS["node_encode"] if "ping" in case["name"])
    node = decode_node(bytes.fromhex(golden["hex"]))
    assert build_ping(str(node.attrs["id"])) == node
    assert is_ping(node)


def test_ping_without_child_is_a_ping() -> None:
    assert is_ping(Node("iq", {"xmlns": "w:p", "type": "get", "id": "1", "to": SERVER}))


def test_server_ping_travels_and_is_answered() -> None:
    ping = travel(build_server_ping("5", server_unix=UNIX))
    assert is_server_ping(ping)
    assert not is_ping(ping)
    assert build_result(ping).attrs == {"to": SERVER, "type": "result", "id": "5"}


def test_a_result_is_no_ping() -> None:
    assert not is_ping(Node("iq", {"xmlns": "w:p", "type": "result"}))
    assert not is_server_ping(build_ping("1"))
