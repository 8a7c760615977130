"""The `ib` notices over the wire, and the golden telemetry ids."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.playbook import UNIX, VECTORS, travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER
from whatisup.protocol.stanzas import ib
from whatisup.wire import Node


def child_of(node: Node) -> Node:
    """The one child an `ib` carries, after a journey."""
    (child,) = travel(node).children()
    return child


@pytest.mark.parametrize("case", VECTORS["unified_session"], ids=lambda case: case["id"])
def test_unified_session_id_is_golden(case: dict[str, str]) -> None:
    assert ib.unified_session_id(int(case["server_now_ms"])) == case["id"]


def test_server_notices_come_from_the_server() -> None:
    assert travel(ib.build_offline(0)).attrs == {"from": SERVER}


def test_offline_preview_travels() -> None:
    preview = ib.OfflinePreview(7, 4, 2, 1, 0)
    assert ib.parse_offline_preview(child_of(ib.build_offline_preview(preview))) == preview


def test_offline_preview_may_say_nothing() -> None:
    assert ib.parse_offline_preview(Node("offline_preview")) == ib.OfflinePreview(0)


def test_offline_batch_travels() -> None:
    assert ib.parse_offline_batch(child_of(ib.build_offline_batch())) == 200


def test_offline_travels() -> None:
    assert ib.parse_offline(child_of(ib.build_offline(12))) == 12


@pytest.mark.parametrize("info", [b"\x08\x02\x08\x05", b"123", b"x" * 1024])
def test_edge_routing_travels_as_bytes(info: bytes) -> None:
    assert ib.parse_edge_routing(child_of(ib.build_edge_routing(info))) == info


@pytest.mark.parametrize("kind", ["groups", "account_sync"])
@pytest.mark.parametrize("timestamp", [UNIX, None])
def test_dirty_travels(kind: str, timestamp: int | None) -> None:
    dirty = ib.Dirty(kind, timestamp)
    assert ib.parse_dirty(child_of(ib.build_dirty(dirty))) == dirty


def test_downgrade_travels() -> None:
    assert child_of(ib.build_downgrade()).tag == "downgrade_webclient"


def test_client_expiration_travels() -> None:
    assert ib.parse_client_expiration(child_of(ib.build_client_expiration(UNIX))) == UNIX


def test_unified_session_travels() -> None:
    assert ib.parse_unified_session(child_of(ib.build_unified_session("572800000"))) == "572800000"


@pytest.mark.parametrize(
    ("parse", "child"),
    [
        (ib.parse_offline_preview, Node("offline_preview", {"count": "many"})),
        (ib.parse_offline, Node("offline", {"count": "x"})),
        (ib.parse_offline_batch, Node("offline_batch")),
        (ib.parse_offline_batch, Node("offline_batch", {"count": "0"})),
        (ib.parse_edge_routing, Node("edge_routing")),
        (ib.parse_edge_routing, Node("edge_routing", {}, (Node("routing_info", {}, b""),))),
        (ib.parse_edge_routing, Node("edge_routing", {}, (Node("routing_info", {}, bytes(1025)),))),
        (ib.parse_dirty, Node("dirty")),
        (ib.parse_dirty, Node("dirty", {"type": "groups", "timestamp": "x"})),
        (ib.parse_client_expiration, Node("client_expiration")),
        (ib.parse_unified_session, Node("unified_session")),
    ],
)
def test_parse_refuses(parse: Callable[[Node], object], child: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(child)
