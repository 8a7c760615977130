"""The queue after a login: windows, silence, the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.playbook import Playbook
from whatisup.jid import Jid
from whatisup.protocol.events import FrameDropped, OfflineCompleted, OfflinePreviewed, ReceiptReceived
from whatisup.protocol.stanzas.ib import OfflinePreview, build_offline, build_offline_preview
from whatisup.wire import Node, encode_node

FRIEND = Jid("15550002222", "s.whatsapp.net")


def receipt(number: int, *, is_queued: bool = True) -> Node:
    attrs: dict[str, str | Jid] = {"id": f"R{number}", "from": FRIEND}
    return Node("receipt", attrs | ({"offline": "0"} if is_queued else {}))


def message(number: int) -> Node:
    return Node("message", {"id": f"M{number}", "from": FRIEND, "offline": "1"})


def batches(book: Playbook) -> list[str]:
    found = [node.child("offline_batch") for node in book.tagged("ib")]
    return [str(batch.attrs["count"]) for batch in found if batch is not None]


def previewed(count: int) -> Playbook:
    return Playbook.login().let_in().serve(build_offline_preview(OfflinePreview(count)))


def test_preview_is_answered_with_the_first_window() -> None:
    book = previewed(3)
    assert book.one(OfflinePreviewed).count == 3
    assert batches(book) == ["200"]


@pytest.mark.parametrize("make", [receipt, message])
def test_each_window_is_followed_by_the_next(make: Callable[[int], Node]) -> None:
    book = previewed(450)
    for number in range(199):
        book.serve(make(number))
    assert batches(book) == ["200"]
    book.serve(make(199))
    assert batches(book) == ["200"] * 2
    book.serve(*(make(number) for number in range(200, 400)))
    assert batches(book) == ["200"] * 3


def test_the_next_window_waits_for_the_commit() -> None:
    book = previewed(201)
    book.serve(*(receipt(number) for number in range(199)))
    book.commits = False
    book.serve(receipt(199))
    assert batches(book) == ["200"]
    event = book.events[-1]
    assert isinstance(event, ReceiptReceived)
    book.connection.transmit(event, book.now)
    book.settle()
    assert [node.tag for node in book.heard[-2:]] == ["ack", "ib"]
    assert batches(book) == ["200"] * 2


@pytest.mark.parametrize("unreadable", [b"garbage", encode_node(Node("receipt", {"id": "1", "offline": "0"}))])
def test_what_cannot_be_read_counts_in_its_window(unreadable: bytes) -> None:
    book = previewed(201)
    book.serve(*(receipt(number) for number in range(199)))
    book.commits = False
    book.feed(book.server.encode_plaintext(unreadable))
    event = book.one(FrameDropped)
    assert batches(book) == ["200"]
    book.connection.transmit(event, book.now)
    book.settle()
    assert batches(book) == ["200"] * 2


def test_draining_lasts_from_the_login_to_the_end_of_the_queue() -> None:
    book = Playbook.login().open()
    assert not book.connection.is_draining
    book = previewed(1)
    assert book.connection.is_draining
    book.serve(receipt(1), build_offline(1))
    assert not book.connection.is_draining


def test_draining_ends_with_the_connection() -> None:
    book = previewed(1)
    book.connection.connection_lost(book.now)
    assert not book.connection.is_draining


def test_live_stanzas_do_not_count() -> None:
    book = previewed(0)
    book.serve(*(receipt(number, is_queued=False) for number in range(250)))
    assert batches(book) == ["200"]


def test_without_a_preview_nothing_is_asked_for() -> None:
    book = Playbook.login().let_in()
    book.serve(*(receipt(number) for number in range(250)))
    assert batches(book) == []


def test_offline_ends_the_queue_once() -> None:
    book = previewed(2).serve(receipt(1), receipt(2), build_offline(2))
    assert book.one(OfflineCompleted).count == 2
    book.serve(build_offline(2)).advance(100)
    assert len(book.of(OfflineCompleted)) == 1
    book.serve(*(receipt(number) for number in range(250)))
    assert batches(book) == ["200"]


def test_a_minute_of_silence_ends_the_queue() -> None:
    book = previewed(9)
    book.advance(30).serve(receipt(1))
    book.advance(59)
    assert book.of(OfflineCompleted) == []
    book.advance(1)
    assert book.one(OfflineCompleted).count == 1


def test_a_server_without_a_queue_ends_it_too() -> None:
    book = Playbook.login().let_in().advance(60)
    assert book.one(OfflineCompleted).count == 0


def test_before_the_login_there_is_no_queue() -> None:
    book = Playbook.login().open().serve(build_offline_preview(OfflinePreview(3)), build_offline(3))
    assert batches(book) == []
    assert book.of(OfflineCompleted) == []
