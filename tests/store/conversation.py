"""Short ways to say what happens to messages, for the store's tests."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.store.world import CONNECTED, NOW, World
from whatisup.store import (
    AckMessage,
    Event,
    Identity,
    IngestMessage,
    Message,
    MessageStatus,
    NewAuth,
    NoteUndecryptable,
    PutAuth,
    RecordReceipt,
    SealedMessage,
    SealMessages,
    SetStatus,
    Tx,
    messages,
)

PHONE, LID = "15550000001", "1000"
PN_JID, LID_JID = f"{PHONE}@s.whatsapp.net", f"{LID}@lid"
OWN_PHONE, OWN_LID = "15559999999", "9000@lid"
DAY_MS = 24 * 3600 * 1000

LINKED = SetStatus(CONNECTED.status, has_account=True, phone_number=OWN_PHONE, lid=OWN_LID)


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def of(wa_id: str = "3EB0A", chat: str = LID_JID, author: str = LID_JID, **names: str | None) -> Identity:
    names = {"chat_phone": PHONE, "chat_lid": LID, "author_phone": PHONE, "author_lid": LID} | names
    return Identity(wa_id, chat, author, **names)


def under_number(wa_id: str = "3EB0A") -> Identity:
    """The identity while the LID is unknown."""
    return of(wa_id, PN_JID, PN_JID, chat_lid=None, author_lid=None)


def read(text: str = "hello", identity: Identity | None = None, **more: Any) -> IngestMessage:
    """A message that says `text` was read."""
    more = {"server_at": NOW - 5_000, "received_at": NOW} | more
    return IngestMessage(identity or of(), "text", {"type": "text", "text": text}, digest(text), **more)


def unread(identity: Identity | None = None, reason: str = "no_session", count: int = 1, **more: Any) -> Any:
    """A message could not be read."""
    return NoteUndecryptable(identity or of(), reason, count, server_at=NOW - 5_000, received_at=NOW, **more)


def receipt(wa_id: str, kind: Any = "delivered", at: int = NOW + 50, **more: Any) -> RecordReceipt:
    return RecordReceipt((wa_id,), kind, at, **more)


class Conversation(World):
    """A world whose instance is linked and connected."""

    def link(self, instance_id: str | None = None) -> None:
        self.write(NewAuth(), LINKED, instance_id=instance_id)

    def accept(self, wa_id: str = "3EB0S", to: str = LID_JID, text: str = "hi", **more: Any) -> Message:
        """Have the API take a message."""
        return self.store.call(self.accepting(wa_id, to, text, **more))

    def accepting(self, wa_id: str = "3EB0S", to: str = LID_JID, text: str = "hi", **more: Any) -> Any:
        """What a request does to send a message, for a batch."""
        given = {
            "instance_id": self.id, "customer_id": self.customer.id, "mode": self.instance.mode, "to": to,
            "body": {"type": "text", "text": text}, "kind": "text", "target": None, "client_ref": "ref", "wa_id": wa_id,
            "expires_at": NOW + DAY_MS, "request_id": "req_1", "now": NOW,
        } | more  # fmt: skip

        def take(tx: Tx) -> Message:
            return messages.accept(tx, **given)

        return take

    def seal(self, *accepted: Message, stanza: bytes = b"stanza") -> None:
        self.write(SealMessages(tuple(SealedMessage(one.id, stanza, b"message") for one in accepted)))

    def send(self, wa_id: str = "3EB0S", **more: Any) -> Message:
        """Accept, seal and ack."""
        message = self.accept(wa_id, **more)
        self.seal(message)
        self.write(AckMessage(wa_id, NOW + 10))
        return message

    def message(self, message_id: str) -> Message:
        found = self.find(message_id)
        assert found is not None
        return found

    def find(self, message_id: str) -> Message | None:
        return self.store.read(
            lambda conn, vault: messages.get(
                conn, vault, message_id, customer_id=self.customer.id, mode=self.instance.mode
            )
        )

    def status(self, message: Message) -> MessageStatus:
        return self.message(message.id).status

    def page(self, **filters: Any) -> list[Message]:
        return self.store.read(
            lambda conn, vault: messages.page(
                conn,
                vault,
                customer_id=self.customer.id,
                mode=self.instance.mode,
                instance_id=self.id,
                **{"limit": 100} | filters,
            )
        )[0]

    def told(self, *kinds: str, **filters: Any) -> list[tuple[str, dict[str, Any]]]:
        """The events about messages, by name without `message.`."""
        return [
            (event.type.removeprefix("message."), event.data or {})
            for event in self.events(**filters)
            if event.type.startswith("message.") and (not kinds or event.type.removeprefix("message.") in kinds)
        ]

    def names(self) -> list[str]:
        return [name for name, _ in self.told()]


def data_of(event: Event) -> dict[str, Any]:
    assert event.data is not None
    return event.data


def know_pair(phone: str = PHONE, lid: str = LID) -> tuple[PutAuth, PutAuth]:
    """What an instance stores when it learns a pair."""
    return PutAuth("lid", phone, lid.encode()), PutAuth("pn", lid, phone.encode())
