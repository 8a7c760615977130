"""A connection from its first byte to its last: handshake, routing, liveness, every way to end."""

from __future__ import annotations

import pytest

from tests.playbook import (
    ACCOUNT,
    CREDENTIALS,
    ENTROPY,
    IDENTITY,
    INTERMEDIATE,
    OWN,
    OWN_LID,
    ROOT,
    STATIC,
    UNIX,
    Playbook,
    Server,
)
from whatisup.crypto import generate_keypair
from whatisup.errors import CertificateError, LocalProtocolError, RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.lifecycle import Trigger
from whatisup.protocol.connection import HEAVY
from whatisup.protocol.events import (
    Closed,
    Connected,
    FrameDropped,
    LoginSucceeded,
    NotificationReceived,
    ReceiptReceived,
    RoutingInfoReceived,
    Unlinked,
)
from whatisup.protocol.linking_code import LinkingSecret
from whatisup.protocol.outcomes import (
    Outcome,
    build_failure,
    build_stream_end,
    build_stream_error,
    build_success,
    parse_failure,
    parse_stream_error,
)
from whatisup.protocol.payloads import Login, Registration, parse_client_payload
from whatisup.protocol.prekeys import build_count
from whatisup.protocol.stanzas.ib import build_edge_routing
from whatisup.protocol.stanzas.iq import build_error, build_result, build_server_request
from whatisup.protocol.stanzas.keepalive import build_server_ping
from whatisup.protocol.stanzas.logout import parse_remove_companion_device
from whatisup.protocol.stanzas.receipt import parse_receipt
from whatisup.wire import Node, encode_frame, encode_node, mint_chain

FRIEND = Jid("15550002222", "s.whatsapp.net")
RECEIPT = Node("receipt", {"id": "R1", "from": FRIEND})


def closed_by(node: Node, book: Playbook) -> Closed:
    book.serve(node)
    closed = book.one(Closed)
    assert book.events[-1] is closed
    return closed


def assert_dead(book: Playbook) -> None:
    connection = book.connection
    assert connection.is_closed
    assert not connection.is_logged_in
    assert connection.next_deadline() is None
    connection.receive_data(b"\x00\x00\x01x", book.now)
    connection.handle_timer(book.now + 1000)
    assert connection.next_event() is None
    assert connection.data_to_send() == b""


# Large frames


def test_a_large_frame_is_announced_before_it_is_decoded() -> None:
    """Behind frames without an event too, so that the owner can always take it to a thread."""
    book = Playbook.login().let_in()
    connection = book.connection
    large = Node("notification", {"id": "N1", "from": SERVER, "type": "x"}, bytes(HEAVY))
    connection.receive_data(book.server.encode(build_server_ping("p1"), large), book.now)
    assert not connection.is_heavy
    assert connection.next_event() is None
    assert connection.is_heavy
    assert connection.next_deadline() == book.now
    event = connection.next_event()
    assert isinstance(event, NotificationReceived)
    assert not connection.is_heavy


# The handshake


def test_a_registration_introduces_a_new_device() -> None:
    book = Playbook.registration().open()
    payload = parse_client_payload(book.server.payload)
    assert isinstance(payload, Registration)
    assert payload.identity == IDENTITY


def test_a_login_introduces_a_linked_device() -> None:
    payload = parse_client_payload(Playbook.login().open().server.payload)
    assert isinstance(payload, Login)
    assert payload.jid == OWN


def test_the_first_bytes_are_due_at_once() -> None:
    book = Playbook.login()
    assert book.connection.data_to_send().startswith(b"WA\x06\x03")
    assert book.connection.next_deadline() == 20.0


def test_routing_info_comes_back_on_the_next_connection() -> None:
    first = Playbook.login().let_in().serve(build_edge_routing(b"\x08\x02\x08\x05"))
    routing_info = first.one(RoutingInfoReceived).routing_info
    second = Playbook.login(routing_info=routing_info).let_in()
    assert second.server.routing_info == b"\x08\x02\x08\x05"
    assert second.of(Connected) == [Connected()]
    assert first.server.routing_info is None


def test_a_handshake_without_an_answer_ends_after_20_seconds() -> None:
    book = Playbook.login()
    book.is_silent = True
    book.advance(19.9)
    assert book.events == []
    assert book.advance(0.1).events == [Closed(Trigger.CONNECTION_LOST)]
    assert_dead(book)


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (Server(chain=mint_chain(generate_keypair(ENTROPY), INTERMEDIATE, STATIC.public, not_before=0,
                                 not_after=UNIX * 2, entropy=ENTROPY)), "wrong_root"),
        (Server(chain=mint_chain(ROOT, INTERMEDIATE, STATIC.public, not_before=0, not_after=UNIX - 1,
                                 entropy=ENTROPY)), "expired"),
    ],
)  # fmt: skip
def test_a_refused_certificate_is_final(server: Server, reason: str) -> None:
    book = Playbook.login(server=server)
    with pytest.raises(CertificateError) as caught:
        book.open()
    assert caught.value.reason == reason
    assert_dead(book)


@pytest.mark.parametrize("frame", [b"", b"\xff", b"\x1a\x00", encode_node(Node("success"))])
def test_a_handshake_answered_with_garbage_is_final(frame: bytes) -> None:
    book = Playbook.login()
    book.connection.data_to_send()
    with pytest.raises(RemoteProtocolError):
        book.feed(encode_frame(frame))
    assert_dead(book)


def test_a_frame_that_does_not_decrypt_is_final() -> None:
    book = Playbook.login().let_in()
    with pytest.raises(RemoteProtocolError):
        book.feed(encode_frame(bytes(40)))
    assert_dead(book)


def test_events_before_a_broken_frame_still_come() -> None:
    book = Playbook.login().let_in()
    with pytest.raises(RemoteProtocolError):
        book.feed(book.server.encode(RECEIPT) + encode_frame(bytes(40)))
    assert book.events[-1] == ReceiptReceived(parse_receipt(RECEIPT), RECEIPT, replies=book.events[-1].replies)


def test_more_than_can_be_held_is_final() -> None:
    book = Playbook.login().let_in()
    piece = b"\xff\xff\xff" + bytes(2**24 - 4)
    for _ in range(4):
        book.connection.receive_data(piece, book.now)
    with pytest.raises(RemoteProtocolError):
        book.connection.receive_data(piece, book.now)
    assert_dead(book)


def test_frames_right_behind_the_handshake_are_kept() -> None:
    whole = Playbook.login().let_in()
    # The server says `success` before it has seen that we finished; bytes arrive in one piece.
    book = Playbook.login()
    reply, _ = book.server.receive(book.connection.data_to_send())
    book.feed(reply)
    book.server.receive(book.connection.data_to_send())
    book.serve(build_success(OWN_LID, UNIX))
    assert book.kinds() == whole.kinds()


# Time before the login


def test_a_login_answered_by_silence_ends_after_60_seconds() -> None:
    book = Playbook.login().open().advance(59.9)
    assert book.events == []
    assert len(book.requests("w:p")) >= 2  # pinged all the while
    assert book.advance(0.1).events == [Closed(Trigger.CONNECTION_LOST)]


def test_a_registration_answered_by_silence_ends_after_60_seconds() -> None:
    assert Playbook.registration().open().advance(60).events == [Closed(Trigger.CONNECTION_LOST)]


# Every end


@pytest.mark.parametrize("reason", [400, 401, 403, 405, 406, 409, 413, 414, 415, 418, 500, 501, 503, 777])
@pytest.mark.parametrize("is_login", [True, False])
def test_failure_closes(reason: int, is_login: bool) -> None:
    book = (Playbook.login() if is_login else Playbook.registration()).open()
    node = build_failure(reason)
    assert closed_by(node, book) == Closed(parse_failure(node).trigger, reason)
    assert_dead(book)


def test_failure_402_closes_with_the_length_of_the_ban() -> None:
    closed = closed_by(build_failure(402, ban_code=101, expires_in_s=3600), Playbook.login().open())
    assert closed == Closed(Trigger.TEMP_BANNED, 402, 3600.0, "sent_to_too_many_people")


@pytest.mark.parametrize(
    "node",
    [
        build_stream_error(515),
        build_stream_error(516),
        build_stream_error(401),
        build_stream_error(503),
        build_stream_error(500),
        build_stream_error(401, conflict="device_removed"),
        build_stream_error(conflict="replaced"),
        build_stream_error(child=Node("xml-not-well-formed")),
        build_stream_error(child=Node("ack")),
    ],
)
def test_stream_error_closes(node: Node) -> None:
    book = Playbook.login().let_in()
    outcome: Outcome = parse_stream_error(node)
    assert closed_by(node, book) == Closed(outcome.trigger, outcome.code, detail=outcome.detail)
    assert_dead(book)


def test_stream_end_closes() -> None:
    assert closed_by(build_stream_end(), Playbook.login().let_in()) == Closed(Trigger.CONNECTION_LOST)


def test_nothing_is_read_past_the_end() -> None:
    book = Playbook.login().let_in()
    book.serve(build_stream_error(515), RECEIPT, build_stream_end())
    assert len(book.of(Closed)) == 1
    assert book.of(ReceiptReceived) == []


def test_a_lost_socket_closes_once() -> None:
    book = Playbook.login().let_in()
    for _ in range(2):
        book.connection.connection_lost(book.now)
        book.settle()
    assert book.one(Closed) == Closed(Trigger.CONNECTION_LOST)


def test_what_was_transmitted_before_the_end_may_still_be_sent() -> None:
    book = Playbook.login().let_in()
    book.serve(RECEIPT, build_stream_error(503))
    assert len(book.tagged("ack")) == 1


# Liveness


def test_pings_go_out_every_20_to_30_seconds() -> None:
    book = Playbook.login().let_in().advance(600)
    assert 20 <= len(book.requests("w:p")) <= 30
    assert all(node.first is not None and node.first.tag == "ping" for node in book.requests("w:p"))
    assert not book.connection.is_closed


def test_a_half_open_socket_shows_within_50_seconds() -> None:
    for seed in range(20):
        book = Playbook.login(seed=seed).let_in().advance(100)
        book.is_silent = True
        silent_from = book.now
        while not book.connection.is_closed:
            book.advance(0.25)
        assert book.one(Closed) == Closed(Trigger.CONNECTION_LOST)
        assert book.now - silent_from <= 50


def test_one_missed_reply_is_no_loss() -> None:
    book = Playbook.login().let_in()
    ping = book.answers.pop(("w:p", "ping"))
    while not book.requests("w:p"):
        book.advance(0.25)
    book.advance(9)
    assert len(book.requests("w:p")) == 1
    book.answers["w:p", "ping"] = ping
    book.advance(1.5)
    assert len(book.requests("w:p")) == 2
    book.advance(60)
    assert not book.connection.is_closed


def test_any_frame_is_a_sign_of_life() -> None:
    book = Playbook.login().let_in()
    del book.answers["w:p", "ping"]
    for _ in range(60):
        book.advance(5).serve(RECEIPT)
    assert not book.connection.is_closed


def test_bytes_without_a_frame_are_no_sign_of_life() -> None:
    book = Playbook.login().let_in()
    del book.answers["w:p", "ping"]
    for _ in range(60):
        book.advance(1).feed(b"\xff")
    assert book.one(Closed) == Closed(Trigger.CONNECTION_LOST)


def test_while_we_do_not_read_the_clock_stands_still() -> None:
    book = Playbook.login().let_in()
    del book.answers["abt", "props"]
    book.connection.hold(book.now)
    assert book.connection.next_deadline() is None
    book.advance(1000)
    book.connection.handle_timer(book.now)
    assert not book.connection.is_closed
    book.connection.resume(book.now)
    assert book.requests("w:p") == []
    deadline = book.connection.next_deadline()
    assert deadline is not None
    assert 1000 < deadline <= 1030
    book.advance(100)
    assert not book.connection.is_closed


def held(book: Playbook, seconds: float) -> Playbook:
    """Let time pass without reading."""
    book.connection.hold(book.now)
    book.advance(seconds)
    book.connection.resume(book.now)
    return book


def test_a_request_waits_longer_by_what_we_did_not_read() -> None:
    book = Playbook.login()
    del book.answers["passive", "active"]
    held(book.let_in(), 100).advance(59)
    assert book.of(Connected) == []
    (request,) = book.requests("passive")
    book.serve(build_result(request))
    assert book.of(Connected) == [Connected()]


def test_a_stock_waits_longer_by_what_we_did_not_read() -> None:
    book = Playbook.login()
    book.answers["encrypt", "count"] = lambda request: build_count(request, 0)
    held(book.let_in(), 100).advance(29)
    assert book.of(Connected) == []
    assert book.advance(1).of(Connected) == [Connected()]


def test_a_login_waits_longer_by_what_we_did_not_read() -> None:
    book = held(Playbook.login().open(), 100).advance(59)
    assert book.of(Closed) == []
    assert book.advance(1).of(Closed) == [Closed(Trigger.CONNECTION_LOST)]


def test_resume_without_hold_changes_nothing() -> None:
    book = Playbook.login().let_in()
    before = book.connection.next_deadline()
    book.connection.resume(5.0)
    assert book.connection.next_deadline() == before


def test_frames_that_wait_to_be_read_are_signs_of_life() -> None:
    book = Playbook.login().let_in()
    del book.answers["w:p", "ping"]
    book.advance(30)
    book.connection.receive_data(book.server.encode(RECEIPT), book.now)
    for _ in range(10):
        book.now += 10
        book.connection.handle_timer(book.now)
    book.settle()
    assert book.of(Closed) == []
    assert book.one(ReceiptReceived).node == RECEIPT


# Requests from the server, and answers nobody awaits


def test_a_server_ping_is_answered() -> None:
    book = Playbook.login().let_in().serve(build_server_ping("p1"))
    assert book.heard[-1].attrs == {"to": SERVER, "type": "result", "id": "p1"}


def test_unsolicited_and_repeated_answers_are_ignored() -> None:
    book = Playbook.login().let_in()
    seen = len(book.events)
    (count,) = book.requests("encrypt", "count")
    book.serve(build_result(count), build_result(count, Node("count", {"value": "0"})), build_error(count, 500))
    book.serve(Node("iq", {"type": "result", "from": SERVER, "id": "x"}), Node("iq", {"type": "error"}))
    assert len(book.events) == seen


@pytest.mark.parametrize(
    "node", [build_server_request("1", "set", "new"), build_server_request("1", "get", "md"), Node("iq")]
)
def test_unknown_requests_are_dropped(node: Node) -> None:
    book = Playbook.login().let_in().serve(node)
    assert len(book.of(FrameDropped)) == 1


def test_success_without_an_account_is_dropped() -> None:
    book = Playbook.registration().open().serve(build_success(OWN_LID, UNIX))
    assert book.kinds() == ["FrameDropped"]
    assert not book.connection.is_logged_in


@pytest.mark.parametrize("plaintext", [b"", b"\x00", b"\x00\xf8\x01\x1f\x00", b"\x02garbage"])
def test_an_unreadable_node_is_dropped(plaintext: bytes) -> None:
    book = Playbook.login().let_in()
    book.feed(book.server.encode_plaintext(plaintext))
    book.serve(RECEIPT)
    assert book.kinds()[-2:] == ["FrameDropped", "ReceiptReceived"]


def test_a_reason_for_dropping_is_short() -> None:
    book = Playbook.login().open().serve(Node("x" * 10_000))
    assert len(book.one(FrameDropped).reason) < 100


def test_a_compressed_node_is_read() -> None:
    book = Playbook.login().let_in()
    book.feed(book.server.encode_plaintext(encode_node(RECEIPT, compress=True)))
    assert book.one(ReceiptReceived).node == RECEIPT


# The owner's pace


def test_frames_are_decoded_only_as_events_are_asked_for() -> None:
    book = Playbook.login().let_in()
    book.connection.receive_data(book.server.encode(*[RECEIPT] * 3) + encode_frame(bytes(40)), book.now)
    for _ in range(3):
        assert isinstance(book.connection.next_event(), ReceiptReceived)
    with pytest.raises(RemoteProtocolError):
        book.connection.next_event()


def test_a_flood_without_events_lets_the_driver_breathe() -> None:
    book = Playbook.login().let_in()
    book.connection.receive_data(book.server.encode(*[build_server_ping("p")] * 300, RECEIPT), book.now)
    assert book.connection.next_event() is None
    assert book.connection.next_deadline() == book.now
    calls = 1
    while (event := book.connection.next_event()) is None:
        calls += 1
    assert isinstance(event, ReceiptReceived)
    assert calls == 2
    assert book.connection.next_event() is None
    deadline = book.connection.next_deadline()
    assert deadline is not None
    assert deadline > book.now


def test_byte_by_byte_equals_whole() -> None:
    nodes = (RECEIPT, build_edge_routing(b"x"), build_server_ping("p1"), build_stream_error(515))
    said = []
    for size in (10**6, 1):
        book = Playbook.login(seed=3).let_in()
        data = book.server.encode(*nodes)
        for start in range(0, len(data), size):
            book.feed(data[start : start + size])
        book.settle()
        said.append((book.events, book.heard))
    assert said[0] == said[1]
    assert [type(event) for event in said[0][0]][-3:] == [ReceiptReceived, RoutingInfoReceived, Closed]


def test_a_handshake_in_single_bytes_is_a_handshake() -> None:
    book = Playbook.login()
    reply, _ = book.server.receive(book.connection.data_to_send())
    for byte in reply:
        book.feed(bytes((byte,)))
    book.settle()
    book.serve(build_success(OWN_LID, UNIX))
    assert book.of(LoginSucceeded)


# The owner's wishes


def test_unlink_is_confirmed() -> None:
    book = Playbook.login().let_in()
    book.connection.unlink(book.now)
    book.settle()
    (request,) = book.requests("md")
    assert parse_remove_companion_device(request) == OWN
    assert book.one(Unlinked).accepted


def test_unlink_may_be_refused() -> None:
    book = Playbook.login().let_in()
    book.answers["md", "remove-companion-device"] = lambda request: build_error(request, 500)
    book.connection.unlink(book.now)
    book.settle()
    assert not book.one(Unlinked).accepted


def test_unlink_waits_5_seconds() -> None:
    book = Playbook.login().let_in()
    del book.answers["md", "remove-companion-device"]
    book.connection.unlink(book.now)
    book.settle()
    book.advance(4.9)
    assert book.of(Unlinked) == []
    assert not book.advance(0.1).one(Unlinked).accepted


@pytest.mark.parametrize(
    ("end", "accepted"),
    [(build_stream_error(401, conflict="device_removed"), True), (build_stream_error(503), False)],
)
def test_unlink_is_settled_by_the_end(end: Node, accepted: bool) -> None:
    book = Playbook.login().let_in()
    del book.answers["md", "remove-companion-device"]
    book.connection.unlink(book.now)
    book.settle()
    book.serve(end)
    assert book.one(Unlinked).accepted is accepted
    assert book.kinds()[-2:] == ["Unlinked", "Closed"]


def test_wishes_before_the_login_are_our_bug() -> None:
    connection = Playbook.login().open().connection
    for wish in (
        lambda: connection.unlink(0.0),
        lambda: connection.upload_prekeys([(1, bytes(32))], 0.0),
        lambda: connection.rotate_signed_prekey(CREDENTIALS.signed_prekey, 0.0),
        lambda: connection.clean_dirty("groups", None, 0.0),
    ):
        with pytest.raises(LocalProtocolError):
            wish()


def test_wishes_after_the_end_do_nothing() -> None:
    book = Playbook.login().let_in().serve(RECEIPT, build_stream_error(503))
    connection = book.connection
    connection.unlink(book.now)
    connection.upload_prekeys([(1, bytes(32))], book.now)
    connection.rotate_signed_prekey(CREDENTIALS.signed_prekey, book.now)
    connection.request_linking_code("15550001111", LinkingSecret("", b"", b"", b"", ROOT), book.now)
    connection.finish_linking(bytes(32), book.now)
    connection.transmit(book.one(ReceiptReceived), book.now)
    connection.hold(book.now)
    connection.resume(book.now)
    assert_dead(book)


def test_a_connected_connection_keeps_no_secret_of_the_handshake() -> None:
    connection = Playbook.login().let_in().connection
    held = {name: getattr(connection, name) for name in ("_handshake", "_pairing", "_payload")}
    assert held == {"_handshake": None, "_pairing": None, "_payload": b""}
    assert ACCOUNT.jid == OWN
