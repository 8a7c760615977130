"""Sending, asking and reporting, and silence after the end."""

from __future__ import annotations

from tests.playbook import seeded
from whatisup.errors import RemoteProtocolError
from whatisup.lifecycle import Trigger
from whatisup.protocol.dialogue.exchange import MALFORMED, Exchange, as_is
from whatisup.protocol.events import Connected, FrameDropped
from whatisup.protocol.stanzas.iq import Refusal, build_error, build_request, build_result
from whatisup.wire import FrameDecoder, Node, Transport, decode_node


def build(request_id: str) -> Node:
    return build_request(request_id, "get", "w:p")


class Ends:
    """An exchange and the other end of its transport."""

    def __init__(self) -> None:
        self.exchange = Exchange(seeded(1), 0.0)
        self.exchange.transport = Transport(bytes(32), b"\x01" * 32)
        self.peer = Transport(b"\x01" * 32, bytes(32))
        self.answers: list[object] = []

    def sent(self) -> list[Node]:
        decoder, nodes = FrameDecoder(), []
        decoder.receive_data(self.exchange.take_data())
        while (frame := decoder.next_frame()) is not None:
            nodes.append(decode_node(self.peer.decrypt(frame)))
        return nodes

    def ask(self) -> Node:
        self.exchange.ask(build, as_is, self.answers.append)
        (request,) = self.sent()
        return request


def test_frames_keep_their_order() -> None:
    ends = Ends()
    for tag in ("a", "b", "c"):
        ends.exchange.send(Node(tag))
    assert [node.tag for node in ends.sent()] == ["a", "b", "c"]
    assert ends.exchange.take_data() == b""


def test_a_result_is_read() -> None:
    ends = Ends()
    answer = build_result(ends.ask())
    assert ends.exchange.tracker.answer(answer)
    assert ends.answers == [answer]


def test_a_refusal_is_no_result() -> None:
    ends = Ends()
    ends.exchange.tracker.answer(build_error(ends.ask(), 404))
    assert ends.answers == [Refusal(404, "item-not-found")]


def test_a_malformed_result_is_a_refusal_and_reported() -> None:
    ends = Ends()

    def parse(_answer: Node) -> Node:
        raise RemoteProtocolError("x" * 1000)

    ends.exchange.ask(build, parse, ends.answers.append)
    (request,) = ends.sent()
    ends.exchange.tracker.answer(build_result(request))
    assert ends.answers == [MALFORMED]
    dropped = ends.exchange.next_event()
    assert isinstance(dropped, FrameDropped)
    assert len(dropped.reason) == 200


def test_silence_is_none() -> None:
    ends = Ends()
    ends.ask()
    ends.exchange.tracker.handle_timer(60)
    assert ends.answers == [None]


def test_a_prepared_request_is_not_sent_but_awaited() -> None:
    ends = Ends()
    request = ends.exchange.prepare(build, as_is, ends.answers.append)
    assert ends.sent() == []
    assert ends.exchange.tracker.answer(build_result(request))


def test_after_the_end_nothing_is_sent_and_nobody_asked() -> None:
    ends = Ends()
    lost: list[Trigger] = []
    ends.exchange.send(Node("last"))
    ends.exchange.ask(build, as_is, ends.answers.append, lost=lost.append)
    ends.exchange.close(Trigger.REPLACED)
    ends.exchange.send(Node("late"))
    ends.exchange.ask(build, as_is, ends.answers.append, lost=lost.append)
    assert [node.tag for node in ends.sent()] == ["last", "iq"]
    assert (ends.answers, lost) == ([], [Trigger.REPLACED])
    assert ends.exchange.tracker.next_deadline() is None


def test_events_come_in_order() -> None:
    exchange = Ends().exchange
    exchange.emit(Connected())
    exchange.drop("why")
    assert (exchange.next_event(), exchange.next_event()) == (Connected(), FrameDropped("why"))
    assert exchange.next_event() is None
