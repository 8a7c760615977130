"""Traceparents in rows: what is told of a message carries the trace of what caused it."""

from __future__ import annotations

from tests.store.conversation import Conversation, of, read, receipt, unread
from tests.store.world import NOW
from whatisup.store import AckMessage, FailMessage, outbox

FIRST = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECOND = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def traces(talk: Conversation) -> list[tuple[str, str | None]]:
    return [(event.type, event.trace) for event in talk.events() if event.type.startswith("message.")]


def test_incoming_message_tells_of_its_stanza(talk: Conversation) -> None:
    talk.write(unread(trace=FIRST))
    talk.write(read(trace=SECOND), read(identity=of("3EB0B")))
    assert traces(talk) == [
        ("message.undecryptable", FIRST),
        ("message.received", SECOND),
        ("message.received", None),
    ]


def test_outgoing_message_tells_of_its_request_to_the_end(talk: Conversation) -> None:
    message = talk.accept(trace=FIRST)
    (item,) = talk.store.read(lambda conn, vault: outbox.next(conn, vault, talk.id))
    assert item.trace == FIRST
    talk.seal(message)
    talk.write(AckMessage(message.wa_id, NOW + 10))
    talk.write(receipt(message.wa_id), receipt(message.wa_id, "read"))
    failing = talk.accept("3EB0F", trace=SECOND)
    talk.write(FailMessage(failing.id, "no_devices", "none", NOW))
    talk.send("3EB0N")
    assert traces(talk) == [
        ("message.sent", FIRST),
        ("message.delivered", FIRST),
        ("message.read", FIRST),
        ("message.failed", SECOND),
        ("message.sent", None),
    ]
