"""Stanzas outside of a conversation: reported, and acknowledged only once they are committed."""

from __future__ import annotations

import pytest

from tests.playbook import OWN, OWN_LID, UNIX, Playbook
from whatisup.jid import SERVER, Jid
from whatisup.protocol.dialogue.inbound import MAX_NOTICES
from whatisup.protocol.events import (
    ClientExpirationAnnounced,
    DirtyAnnounced,
    DowngradeWarned,
    FrameDropped,
    MessageAcked,
    MessageReceived,
    NotificationReceived,
    ReceiptReceived,
    RoutingInfoReceived,
    StanzaReceived,
)
from whatisup.protocol.stanzas import ib
from whatisup.protocol.stanzas.ack import MessageAck, build_ack, build_server_ack
from whatisup.protocol.stanzas.message import parse_envelope
from whatisup.protocol.stanzas.receipt import build_receipt, parse_receipt
from whatisup.wire import Node

FRIEND = Jid("15550002222", "s.whatsapp.net")


def online() -> Playbook:
    book = Playbook.login().let_in()
    book.events.clear()
    return book


def stanza(tag: str, **attrs: str | Jid) -> Node:
    return Node(tag, {"id": "S1", "from": FRIEND, **attrs})


def message(wa_id: str, **attrs: str | Jid) -> Node:
    enc = Node("enc", {"v": "2", "type": "msg"}, b"ciphertext")
    return Node("message", {"id": wa_id, "from": FRIEND, "t": str(UNIX), "type": "text", **attrs}, (enc,))


@pytest.mark.parametrize("tag", ["call", "status", "brand-new"])
def test_stanzas_are_acknowledged_after_the_commit(tag: str) -> None:
    book = online()
    book.commits = False
    book.serve(stanza(tag, type="t", participant=FRIEND))
    event = book.one(StanzaReceived)
    assert event.node.tag == tag
    assert book.tagged("ack") == []
    book.connection.transmit(event, book.now)
    book.settle()
    (ack,) = book.tagged("ack")
    assert ack.attrs == {"id": "S1", "to": FRIEND, "class": tag, "type": "t", "participant": FRIEND}


def test_notifications_are_acknowledged_after_the_commit() -> None:
    book = online()
    book.commits = False
    book.serve(stanza("notification", type="devices"))
    event = book.one(NotificationReceived)
    assert book.tagged("ack") == []
    book.connection.transmit(event, book.now)
    book.settle()
    assert [node.attrs["class"] for node in book.tagged("ack")] == ["notification"]


# Messages and receipts


def test_a_message_is_read_and_left_to_its_owner_to_answer() -> None:
    node = message("M1")
    event = online().serve(node).one(MessageReceived)
    assert event.envelope == parse_envelope(node, own_pn=OWN, own_lid=OWN_LID)
    assert (event.node, event.replies) == (node, ())
    assert event.size > 100


def test_transmitting_a_message_acknowledges_nothing() -> None:
    book = online().serve(message("M1"))
    assert book.tagged("ack") == book.tagged("receipt") == []


def test_what_the_owner_sends_goes_out_in_its_order() -> None:
    book = online().serve(message("M1"))
    answers = [build_receipt(["M1"], FRIEND), build_ack(message("M1"))]
    book.connection.send(answers, book.now)
    book.settle()
    assert book.heard[-2:] == answers


def test_our_own_messages_are_known_by_the_hidden_id_of_the_login() -> None:
    own_lid = Jid("777", "lid", 9)
    book = Playbook.login().let_in(own_lid).serve(message("M1", **{"from": own_lid.with_device(0)}))
    envelope = book.one(MessageReceived).envelope
    assert envelope is not None
    assert envelope.is_from_me


def test_a_message_that_cannot_be_read_is_handed_over_as_it_is() -> None:
    poison = Node("message", {"id": "M1", "from": FRIEND}, (Node("enc", {}, b"x"),))
    book = online().serve(poison)
    assert book.kinds() == ["FrameDropped", "MessageReceived"]
    event = book.one(MessageReceived)
    assert (event.node, event.envelope) == (poison, None)


def test_a_message_that_could_not_even_be_acknowledged_is_dropped() -> None:
    assert online().serve(Node("message", {"from": FRIEND})).kinds() == ["FrameDropped"]


def test_a_receipt_is_read_and_acknowledged_after_the_commit() -> None:
    book = online()
    book.commits = False
    node = stanza("receipt", type="read", participant=FRIEND)
    event = book.serve(node).one(ReceiptReceived)
    assert (event.receipt, event.node) == (parse_receipt(node), node)
    assert book.tagged("ack") == []
    book.connection.transmit(event, book.now)
    book.settle()
    (ack,) = book.tagged("ack")
    assert ack.attrs == {"id": "S1", "to": FRIEND, "class": "receipt", "type": "read", "participant": FRIEND}


def test_a_receipt_that_cannot_be_read_is_acknowledged_all_the_same() -> None:
    book = online().serve(stanza("receipt", type="retry"))
    assert book.kinds() == ["FrameDropped", "StanzaReceived"]
    assert [node.attrs["class"] for node in book.tagged("ack")] == ["receipt"]


def test_the_ack_of_a_message_is_reported() -> None:
    node = build_server_ack(Node("message", {"id": "M1", "to": FRIEND}), server_unix=UNIX, error=463, phash="2:x")
    assert online().serve(node).one(MessageAcked).ack == MessageAck("M1", FRIEND, UNIX, 463, "2:x")


def test_an_ack_of_anything_else_is_nobodys_business() -> None:
    book = online().serve(stanza("ack", **{"class": "receipt"}))
    assert book.events == []
    assert book.tagged("ack") == []


# Other stanzas


@pytest.mark.parametrize("tag", ["presence", "chatstate"])
def test_passing_stanzas_are_never_acknowledged(tag: str) -> None:
    book = online().serve(stanza(tag))
    assert book.one(StanzaReceived).replies == ()
    assert book.tagged("ack") == []


def test_an_unknown_tag_without_id_is_reported_and_not_acknowledged() -> None:
    book = online().serve(Node("brand-new", {"from": FRIEND}))
    assert book.one(StanzaReceived).replies == ()


@pytest.mark.parametrize("tag", ["receipt", "call", "notification"])
@pytest.mark.parametrize("attrs", [{}, {"id": "1"}, {"from": FRIEND}, {"id": "1", "from": "15550002222"}])
def test_what_cannot_be_acknowledged_is_dropped(tag: str, attrs: dict[str, str | Jid]) -> None:
    book = online().serve(Node(tag, attrs), stanza("receipt"))
    assert book.one(FrameDropped).reason.startswith(f"<{tag}>")
    assert len(book.tagged("ack")) == 1


@pytest.mark.parametrize("tag", ["message", "receipt", "presence", "brand-new"])
def test_stanzas_before_the_login_are_dropped(tag: str) -> None:
    book = Playbook.login().open().serve(stanza(tag))
    assert book.one(FrameDropped).reason == f"<{tag}> while opening"


def test_notifications_before_the_login_are_acknowledged() -> None:
    book = Playbook.registration().open().serve(stanza("notification", type="new"))
    assert len(book.of(NotificationReceived)) == 1
    assert len(book.tagged("ack")) == 1


# Notices


def test_routing_info_is_reported() -> None:
    assert online().serve(ib.build_edge_routing(b"\x08\x02")).one(RoutingInfoReceived).routing_info == b"\x08\x02"


def test_dirty_is_reported_and_cleaned_on_request() -> None:
    book = online().serve(ib.build_dirty(ib.Dirty("account_sync", UNIX)))
    assert book.one(DirtyAnnounced) == DirtyAnnounced("account_sync", UNIX)
    book.connection.clean_dirty("account_sync", UNIX, book.now)
    book.settle()
    (request,) = book.requests("urn:xmpp:whatsapp:dirty")
    assert request.children()[0].attrs == {"type": "account_sync", "timestamp": str(UNIX)}


def test_warnings_are_reported() -> None:
    book = online().serve(ib.build_downgrade(), ib.build_client_expiration(UNIX))
    assert book.events == [DowngradeWarned(), ClientExpirationAnnounced(UNIX)]


def test_several_notices_in_one_ib_are_all_heard() -> None:
    children = (Node("priming"), Node("downgrade_webclient"), Node("client_expiration", {"t": "5"}))
    book = online().serve(Node("ib", {"from": SERVER}, children))
    assert book.events == [DowngradeWarned(), ClientExpirationAnnounced(5)]


@pytest.mark.parametrize("child", [Node("edge_routing"), Node("dirty"), Node("offline_preview", {"count": "x"})])
def test_a_malformed_notice_is_dropped(child: Node) -> None:
    book = online().serve(Node("ib", {"from": SERVER}, (child,)))
    assert len(book.of(FrameDropped)) == 1
    assert not book.connection.is_closed


def test_one_ib_cannot_say_the_same_thing_ten_thousand_times() -> None:
    book = online().serve(Node("ib", {"from": SERVER}, (Node("downgrade_webclient"),) * 10_000))
    assert len(book.of(DowngradeWarned)) == MAX_NOTICES
