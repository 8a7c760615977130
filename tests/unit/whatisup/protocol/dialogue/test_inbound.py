"""Stanzas outside of a conversation: reported, and acknowledged only once they are committed."""

from __future__ import annotations

import pytest

from tests.playbook import UNIX, Playbook
from whatisup.jid import SERVER, Jid
from whatisup.protocol.dialogue.inbound import MAX_NOTICES
from whatisup.protocol.events import (
    ClientExpirationAnnounced,
    DirtyAnnounced,
    DowngradeWarned,
    FrameDropped,
    NotificationReceived,
    RoutingInfoReceived,
    StanzaReceived,
)
from whatisup.protocol.stanzas import ib
from whatisup.wire import Node

FRIEND = Jid("15550002222", "s.whatsapp.net")


def online() -> Playbook:
    book = Playbook.login().let_in()
    book.events.clear()
    return book


def stanza(tag: str, **attrs: str | Jid) -> Node:
    return Node(tag, {"id": "S1", "from": FRIEND, **attrs})


@pytest.mark.parametrize("tag", ["receipt", "call", "status", "brand-new"])
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


def test_messages_stay_on_the_servers_queue() -> None:
    book = online().serve(stanza("message", type="text"))
    assert book.one(StanzaReceived).node.tag == "message"
    assert book.tagged("ack") == []


@pytest.mark.parametrize("tag", ["presence", "chatstate"])
def test_passing_stanzas_are_never_acknowledged(tag: str) -> None:
    book = online().serve(stanza(tag))
    assert book.one(StanzaReceived).replies == ()
    assert book.tagged("ack") == []


def test_an_ack_is_nobodys_business() -> None:
    book = online().serve(stanza("ack", **{"class": "message"}))
    assert book.events == []
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
