"""Each fault, and what a client sees of it."""

from __future__ import annotations

import pytest

from tests.unit.whatisup.sandbox.bench import NUMBER, Bench, Device, Raw, make_bench, refused_handshake
from whatisup.control import Fault, FaultParams, FaultRequest, Scope
from whatisup.errors import CertificateError, RemoteProtocolError
from whatisup.lifecycle import Trigger
from whatisup.protocol.events import Connected, FrameDropped, QrIssued, StanzaReceived
from whatisup.protocol.profile import ClientProfile, ClientVersion
from whatisup.sandbox.hub import UNKNOWN_TAG, Ending
from whatisup.sandbox.refusal import Refused
from whatisup.sandbox.strikes import arm
from whatisup.wire import Node

OWN = Scope(NUMBER, 1)


@pytest.fixture
def bench() -> Bench:
    return make_bench()


@pytest.fixture
def device(bench: Bench) -> Device:
    device = bench.linked()
    device.log_in()
    return device


def strike(bench: Bench, name: str, scope: Scope = OWN, **more: object) -> Fault:
    armed = arm(bench.hub, bench.server.pairing, FaultRequest(name, scope, **more))  # type: ignore[arg-type]  # times or params, as the test says
    return armed.view(bench.hands.now)


@pytest.mark.parametrize(
    ("name", "trigger", "code"),
    [
        ("stream-515", Trigger.RESTART_REQUIRED, 515),
        ("stream-503", Trigger.SERVER_UNAVAILABLE, 503),
        ("conflict-replaced", Trigger.REPLACED, None),
        ("device-removed", Trigger.DEVICE_REMOVED, 401),
    ],
)
def test_stream_fault_ends_a_live_connection_at_once(
    bench: Bench, device: Device, name: str, trigger: Trigger, code: int | None
) -> None:
    fault = strike(bench, name)
    assert (fault.hits, fault.times_left) == (1, 0)
    device.pump()
    assert (device.closed.trigger, device.closed.code) == (trigger, code)
    assert device.client is not None
    assert device.client.ending is Ending.CLOSE


def test_device_removed_forgets_the_device(bench: Bench, device: Device) -> None:
    strike(bench, "device-removed")
    assert bench.hub.state.companions(NUMBER) == []


@pytest.mark.parametrize(
    ("code", "trigger"),
    [
        (400, Trigger.CONNECT_FAILURE),
        (401, Trigger.LOGGED_OUT),
        (403, Trigger.ACCOUNT_LOCKED),
        (405, Trigger.CLIENT_OUTDATED),
        (406, Trigger.BANNED),
        (409, Trigger.BAD_USER_AGENT),
        (500, Trigger.SERVER_UNAVAILABLE),
        (503, Trigger.SERVER_UNAVAILABLE),
    ],
)
def test_failure_waits_for_the_next_login(bench: Bench, device: Device, code: int, trigger: Trigger) -> None:
    assert strike(bench, f"failure-{code}").hits == 0
    device.pump()
    assert device.client is not None
    assert device.client.ending is None
    device.log_in()
    assert (device.closed.trigger, device.closed.code) == (trigger, code)
    device.log_in()
    assert device.saw(Connected)


def test_failure_for_everyone_meets_registrations_too(bench: Bench) -> None:
    strike(bench, "failure-405", Scope())
    device = bench.device()
    device.log_in()
    assert device.closed.trigger is Trigger.CLIENT_OUTDATED


def test_failure_405_below_a_version_spares_newer_clients(bench: Bench) -> None:
    strike(bench, "failure-405", Scope(), seconds=60, params=FaultParams(below_version="2.3000.10"))
    device = bench.device()
    for revision, is_refused in ((9, True), (10, False)):
        device.plug(ClientProfile(version=ClientVersion(2, 3000, revision)))
        device.pump()
        assert device.saw(QrIssued) is not is_refused


def test_temp_ban_says_why_and_how_long(bench: Bench, device: Device) -> None:
    strike(bench, "temp-ban", params=FaultParams(code=106, expire_s=77))
    device.log_in()
    assert (device.closed.trigger, device.closed.expires_in_s) == (Trigger.TEMP_BANNED, 77)
    assert device.closed.detail == "broadcast_list"


def test_drop_resets_the_socket(bench: Bench, device: Device) -> None:
    strike(bench, "drop")
    assert device.client is not None
    assert device.client.ending is Ending.RESET


def test_half_open_says_nothing_more(bench: Bench, device: Device) -> None:
    strike(bench, "half-open")
    client = device.client
    assert client is not None
    bench.hub.send(client, Node("ib"))
    assert client.session.data_to_send() == b""
    assert client.ending is None
    assert bench.hub.online(NUMBER, 1) is client


def test_half_open_connection_gives_way_to_the_next_login(bench: Bench, device: Device) -> None:
    strike(bench, "half-open")
    silent = device.client
    device.log_in()
    assert device.saw(Connected)
    assert silent is not None
    assert silent.ending is Ending.RESET


def test_slow_sets_the_latency_and_its_end(bench: Bench, device: Device) -> None:
    strike(bench, "slow", seconds=30, params=FaultParams(latency_ms=1500))
    assert device.client is not None
    assert (device.client.latency_s, device.client.latency_until) == (1.5, bench.hands.now + 30)


def test_garbage_cannot_be_decrypted(bench: Bench, device: Device) -> None:
    strike(bench, "garbage")
    with pytest.raises(RemoteProtocolError):
        device.pump()


def test_malformed_node_costs_a_frame_and_not_the_connection(bench: Bench, device: Device) -> None:
    strike(bench, "malformed-node")
    device.pump()
    assert device.saw(FrameDropped)
    assert device.connection is not None
    assert device.connection.is_logged_in


def test_unknown_tag_is_a_stanza_that_gets_an_ack(bench: Bench, device: Device) -> None:
    strike(bench, "unknown-tag")
    device.pump()
    assert device.last(StanzaReceived).node.tag == UNKNOWN_TAG
    acks = [stanza for stanza in bench.hub.record(NUMBER, 1).stanzas if stanza.tag == "ack"]
    assert acks[-1].attrs["class"] == UNKNOWN_TAG


def test_no_answer_leaves_the_chosen_request_alone(bench: Bench) -> None:
    raw = Raw.logging_in(bench.linked())
    raw.received()
    strike(bench, "no-answer", params=FaultParams(iq="w:p"))
    raw.send(Node("iq", {"id": "1.1-1", "type": "get", "xmlns": "w:p"}))
    assert raw.received() == []
    assert raw.ask("get", "w:p").attrs["type"] == "result"


@pytest.mark.parametrize(
    ("variant", "reason"),
    [("expired", "expired"), ("wrong-leaf-key", "wrong_leaf_key"), ("wrong-root", "wrong_root")],
)
def test_bad_certificate_is_refused_by_the_client(bench: Bench, device: Device, variant: str, reason: str) -> None:
    strike(bench, "bad-certificate", params=FaultParams(variant=variant))  # type: ignore[arg-type]  # one of the three
    error = refused_handshake(device)
    assert isinstance(error, CertificateError)
    assert error.reason == reason
    device.log_in()
    assert device.saw(Connected)


def test_bad_certificate_knows_its_device_by_the_routing_info(bench: Bench, device: Device) -> None:
    other = bench.linked("999000000002", "other")
    other.log_in()
    strike(bench, "bad-certificate", Scope("999000000002"))
    device.log_in()
    assert device.saw(Connected)
    assert isinstance(refused_handshake(other), CertificateError)


def test_refs_expired_ends_a_pairing_connection_and_the_qr(bench: Bench) -> None:
    bench.server.pairing.create_account(NUMBER, None)
    device = bench.device()
    device.log_in()
    qr = device.last(QrIssued).code
    assert strike(bench, "refs-expired", Scope()).hits == 1
    device.pump()
    assert device.closed.trigger is Trigger.CONNECTION_LOST
    with pytest.raises(Refused):
        bench.server.pairing.scan(bench.server.pairing.account(NUMBER), qr)


def test_refs_expired_three_times_ends_the_next_rounds_too(bench: Bench) -> None:
    strike(bench, "refs-expired", Scope(), times=3)
    for _ in range(3):
        device = bench.device()
        device.log_in()
        assert device.client is not None
        assert device.client.ending is Ending.CLOSE
    device = bench.device()
    device.log_in()
    assert device.client is not None
    assert device.client.ending is None


# who, when, how often


def test_one_round_hits_every_live_connection_in_scope(bench: Bench, device: Device) -> None:
    others = [bench.linked(f"99900000000{index}", f"other{index}") for index in (2, 3)]
    for other in others:
        other.log_in()
    assert strike(bench, "drop", Scope()).hits == 3
    assert {d.client.ending for d in (device, *others) if d.client is not None} == {Ending.RESET}


def test_fault_spares_everybody_out_of_its_scope(bench: Bench, device: Device) -> None:
    other = bench.linked("999000000002", "other")
    other.log_in()
    assert strike(bench, "drop", Scope("999000000002")).hits == 1
    assert device.client is not None
    assert device.client.ending is None


def test_live_fault_without_a_live_connection_waits_for_the_next_one(bench: Bench, device: Device) -> None:
    assert device.client is not None
    bench.server.disconnected(device.client)
    assert strike(bench, "stream-503").hits == 0
    device.log_in()
    assert device.saw(Connected)
    assert device.closed.trigger is Trigger.SERVER_UNAVAILABLE
    device.log_in()
    assert device.connection is not None
    assert device.connection.is_logged_in


def test_live_fault_for_a_time_meets_every_new_connection(bench: Bench, device: Device) -> None:
    strike(bench, "stream-503", seconds=60)
    for _ in range(2):
        device.log_in()
        assert device.closed.trigger is Trigger.SERVER_UNAVAILABLE
    bench.hands.now += 61
    device.log_in()
    assert device.connection is not None
    assert device.connection.is_logged_in


def test_too_many_faults_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whatisup.sandbox.faults.MAX_ARMED", 1)
    strike(bench, "failure-403")
    with pytest.raises(Refused) as caught:
        strike(bench, "failure-403")
    assert caught.value.status == 409
