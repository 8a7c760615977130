"""Login and what follows it, as dialogues."""

from __future__ import annotations

import pytest

from tests.unit.whatisup.sandbox.bench import NUMBER, Bench, Device, Raw, make_bench
from whatisup.jid import SERVER, Jid
from whatisup.lifecycle import Trigger
from whatisup.protocol.events import Connected, LoginSucceeded, NotificationReceived, OfflineCompleted, OfflinePreviewed
from whatisup.protocol.payloads import build_login
from whatisup.protocol.profile import ClientProfile, ClientVersion
from whatisup.protocol.stanzas.ack import build_ack
from whatisup.protocol.stanzas.query import build_active
from whatisup.sandbox.hub import Ending
from whatisup.sandbox.server import HANDSHAKE_S, IDLE_S
from whatisup.wire import Node


@pytest.fixture
def bench() -> Bench:
    return make_bench()


@pytest.fixture
def device(bench: Bench) -> Device:
    return bench.linked()


def a_notification(bench: Bench, stanza_id: str = "n1") -> Node:
    attrs: dict[str, str | Jid] = {
        "from": Jid(NUMBER, "s.whatsapp.net"),
        "type": "account_sync",
        "id": stanza_id,
        "t": str(int(bench.unix)),
    }
    return Node("notification", attrs)


def deliver(bench: Bench, stanza_id: str = "n1") -> None:
    companion = bench.hub.state.companion(NUMBER, 1)
    assert companion is not None
    bench.hub.deliver(companion, a_notification(bench, stanza_id))


def tags(nodes: list[Node]) -> list[str]:
    return [f"{node.tag} {node.children()[0].tag}" if node.tag == "ib" else node.tag for node in nodes]


def test_login_runs_to_connected(bench: Bench, device: Device) -> None:
    device.log_in()
    assert device.saw(Connected)
    assert device.account is not None
    success = device.last(LoginSucceeded)
    assert success.lid == device.account.lid
    assert success.server_unix == int(bench.unix)
    assert bench.hub.state.count_prekeys(1) == 812


def test_login_is_followed_by_one_child_per_ib_and_always_by_offline(device: Device) -> None:
    raw = Raw.logging_in(device)
    nodes = raw.received()
    assert tags(nodes) == ["success", "ib edge_routing", "ib offline_preview", "ib offline"]
    assert all(len(node.children()) == 1 for node in nodes[1:])
    assert all(node.attrs["from"] == SERVER for node in nodes[1:])


def test_login_success_carries_typed_values(bench: Bench, device: Device) -> None:
    success = Raw.logging_in(device).received()[0]
    assert device.account is not None
    assert success.attrs["lid"] == device.account.lid
    assert success.attrs["t"] == str(int(bench.unix))


def test_login_of_an_unknown_device_is_refused(bench: Bench, device: Device) -> None:
    companion = bench.hub.state.companion(NUMBER, 1)
    assert companion is not None
    bench.hub.unlink(companion)
    device.log_in()
    assert (device.closed.trigger, device.closed.code) == (Trigger.LOGGED_OUT, 401)


def test_login_with_another_noise_key_is_refused(bench: Bench, device: Device) -> None:
    stranger = bench.device("stranger")
    stranger.account = device.account
    stranger.log_in()
    assert stranger.closed.code == 401


def test_login_without_a_device_number_is_refused(bench: Bench, device: Device) -> None:
    # Baileys logs in like this after a linking code that came to nothing.
    raw = Raw(bench, device.credentials, build_login(Jid(NUMBER, "s.whatsapp.net"), ClientProfile()))
    (failure,) = raw.received()
    assert (failure.tag, failure.attrs["reason"]) == ("failure", "401")
    assert raw.client.ending is Ending.CLOSE


def test_login_below_the_smallest_version_is_refused() -> None:
    bench = make_bench(min_version=ClientVersion(2, 3000, 10))
    device = bench.device()
    device.plug(ClientProfile(version=ClientVersion(2, 3000, 9)))
    device.pump()
    assert (device.closed.trigger, device.closed.code) == (Trigger.CLIENT_OUTDATED, 405)
    device.plug(ClientProfile(version=ClientVersion(2, 3000, 10)))
    device.pump()
    assert device.client is not None
    assert device.client.ending is None


def test_payload_that_is_neither_is_refused(bench: Bench, device: Device) -> None:
    (failure,) = Raw(bench, device.credentials, b"").received()
    assert failure.attrs["reason"] == "400"


def test_second_login_replaces_the_first(bench: Bench, device: Device) -> None:
    first, second = Raw.logging_in(device), Raw.logging_in(device)
    last = first.received()[-1]
    assert last.tag == "stream:error"
    assert [(child.tag, child.attrs) for child in last.children()] == [("conflict", {"type": "replaced"})]
    assert first.client.ending is Ending.CLOSE
    assert bench.hub.online(NUMBER, 1) is second.client
    bench.server.disconnected(first.client)
    assert bench.hub.online(NUMBER, 1) is second.client


def test_routing_info_comes_back_on_the_next_connection(device: Device) -> None:
    device.log_in()
    assert device.routing_info
    device.log_in()
    assert device.client is not None
    assert device.client.session.prologue is not None
    assert device.client.session.prologue.routing_info == device.routing_info
    assert device.saw(Connected)


def test_ping_is_answered_before_and_after_login(bench: Bench, device: Device) -> None:
    for raw in (Raw.registering(bench), Raw.logging_in(device)):
        for children in ((), (Node("ping"),)):
            answer = raw.ask("get", "w:p", *children)
            assert (answer.attrs["type"], answer.attrs["t"]) == ("result", str(int(bench.unix)))


# the queue


def test_queue_is_announced_and_delivered_at_login(bench: Bench, device: Device) -> None:
    for stanza_id in ("a", "b"):
        deliver(bench, stanza_id)
    device.log_in()
    assert device.last(OfflinePreviewed).count == 2
    assert device.last(OfflineCompleted).count == 2
    nodes = [event.node for event in device.events if isinstance(event, NotificationReceived)]
    assert [(node.attrs["id"], "offline" in node.attrs) for node in nodes] == [("a", True), ("b", True)]
    assert bench.hub.waiting.count(1) == 0, "the device acknowledges them"


def test_queue_is_delivered_again_until_acknowledged(bench: Bench, device: Device) -> None:
    deliver(bench)
    raw = Raw.active(device)
    assert "notification" in tags(raw.received())
    bench.server.disconnected(raw.client)
    raw = Raw.active(device)
    (stanza,) = [node for node in raw.received() if node.tag == "notification"]
    raw.send(build_ack(stanza))
    bench.server.disconnected(raw.client)
    assert "notification" not in tags(Raw.active(device).received())


def test_stanza_is_held_back_until_active_and_comes_once(bench: Bench, device: Device) -> None:
    raw = Raw.logging_in(device)
    raw.received()
    deliver(bench)
    assert raw.received() == []
    raw.send(build_active("1.1-1"))
    assert tags(raw.received()) == ["iq", "notification"]
    deliver(bench, "n2")
    (live,) = raw.received()
    assert (live.attrs["id"], "offline" in live.attrs) == ("n2", False)


def test_stanza_for_a_passive_device_is_held_back_again(bench: Bench, device: Device) -> None:
    raw = Raw.logging_in(device)
    raw.send(build_active("1.1-1"), build_active("1.1-2", is_active=False))
    raw.received()
    deliver(bench)
    assert raw.received() == []


# what clients say


def test_receipt_and_call_are_acknowledged(device: Device) -> None:
    raw = Raw.logging_in(device)
    raw.received()
    to = Jid("999000000005", "s.whatsapp.net", 2)
    raw.send(
        Node("receipt", {"id": "r1", "to": to, "type": "read", "participant": to}), Node("call", {"id": "c1", "to": to})
    )
    receipt, call = raw.received()
    assert receipt == Node("ack", {"class": "receipt", "id": "r1", "from": to, "type": "read", "participant": to})
    assert call == Node("ack", {"class": "call", "id": "c1", "from": to})


@pytest.mark.parametrize(
    "node",
    [
        Node("presence", {"type": "available"}),
        Node("presence"),
        Node("presence", {"type": "subscribe", "to": Jid("999000000005", "s.whatsapp.net")}),
        Node("chatstate", {"to": Jid("999000000005", "s.whatsapp.net")}, (Node("composing"),)),
        Node("ib", {}, (Node("unified_session", {"id": "5"}),)),
        Node("ib", {}, (Node("offline_batch", {"count": "100"}),)),
        Node("ack", {"class": "notification", "id": "nothing", "to": SERVER}),
        Node("ack"),
        Node("receipt"),
        Node("anything", {"id": "1", "to": SERVER}),
    ],
)
def test_stanza_that_wants_no_answer_gets_none(device: Device, node: Node) -> None:
    raw = Raw.logging_in(device)
    raw.received()
    raw.send(node)
    assert raw.received() == []
    assert raw.client.ending is None


def test_presence_without_attributes_before_login_is_ignored(bench: Bench) -> None:
    raw = Raw.registering(bench)
    raw.received()
    raw.send(Node("presence"))
    assert raw.received() == []
    assert raw.client.ending is None


def test_presence_with_a_name_renames_the_account(bench: Bench, device: Device) -> None:
    Raw.logging_in(device).send(Node("presence", {"name": "Ada L."}))
    account = bench.hub.state.account(NUMBER)
    assert account is not None
    assert account.name == "Ada L."


# endings


def test_nothing_is_said_behind_the_last_word(bench: Bench, device: Device) -> None:
    raw = Raw.logging_in(device)
    bench.hub.end(raw.client, Node("xmlstreamend"))
    bench.hub.send(raw.client, Node("ib"))
    assert tags(raw.received())[-1] == "xmlstreamend"


def test_client_that_is_silent_in_the_handshake_is_dropped(bench: Bench) -> None:
    client = bench.server.connect(lambda: None)
    bench.hands.now += HANDSHAKE_S - 1
    bench.server.tick()
    assert client.ending is None
    bench.hands.now += 2
    bench.server.tick()
    assert client.ending is Ending.RESET


def test_client_that_is_silent_for_long_is_dropped(bench: Bench, device: Device) -> None:
    raw = Raw.logging_in(device)
    bench.hands.now += IDLE_S - 1
    raw.ask("get", "w:p")
    bench.hands.now += 2
    bench.server.tick()
    assert raw.client.ending is None
    bench.hands.now += IDLE_S
    bench.server.tick()
    assert raw.client.ending is Ending.RESET


def test_client_that_takes_nothing_is_dropped(bench: Bench, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whatisup.sandbox.hub.MAX_PENDING", 10_000)
    raw = Raw.logging_in(device)
    for _ in range(100):
        bench.hub.send(raw.client, Node("ib", {}, (Node("thread_metadata", {}, bench.hub.seed.stream("x")(900)),)))
    assert raw.client.ending is Ending.RESET


def test_trace_has_tags_and_attributes_and_no_contents(bench: Bench, device: Device) -> None:
    raw = Raw.logging_in(device)
    raw.send(Node("message", {"id": "m1", "to": SERVER, "odd": "x" * 500}, b"secret"))
    stanzas = bench.hub.record(NUMBER, 1).stanzas
    shown = next(stanza for stanza in stanzas if stanza.tag == "message")
    assert (shown.is_sent, shown.attrs["id"]) == (False, "m1")
    assert len(shown.attrs["odd"]) < 100
    assert "secret" not in repr(stanzas)
