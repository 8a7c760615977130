"""Every reader of stanzas, on either side, answers anything at all with a value or with `RemoteProtocolError`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.playbook import OWN, OWN_LID
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, STATUS_BROADCAST, Jid
from whatisup.protocol.prekeys import parse_bundle_query, parse_bundles
from whatisup.protocol.stanzas.ack import parse_message_ack
from whatisup.protocol.stanzas.message import parse_envelope, parse_message
from whatisup.protocol.stanzas.notification import read_notification
from whatisup.protocol.stanzas.presence import parse_chat_state, parse_presence_update, parse_sent_presence
from whatisup.protocol.stanzas.receipt import parse_receipt
from whatisup.protocol.stanzas.tokens import parse_token_issue, parse_tokens
from whatisup.protocol.stanzas.usync import parse_contacts, parse_devices, parse_query
from whatisup.wire import Node

FRIEND = Jid("15550002222", "s.whatsapp.net", 3)

# Which children mean something under which tag, so that invented trees get anywhere.
CHILDREN = {
    "message": ("enc", "participants", "meta", "unavailable", "plaintext", "device-identity", "reporting", "tctoken"),
    "receipt": ("list", "retry", "registration", "keys", "participants", "error"),
    "notification": ("add", "remove", "update", "devices", "identity", "count", "tokens"),
    "iq": ("usync", "list", "key", "tokens"),
    "usync": ("query", "list"),
    "query": ("devices", "contact", "lid"),
    "list": ("user", "item"),
    "participants": ("to", "user"),
    "to": ("enc",),
    "keys": ("type", "identity", "key", "skey", "device-identity"),
    "key": ("id", "value", "user"),
    "skey": ("id", "value", "signature"),
    "user": ("devices", "contact", "lid", "error", "registration", "type", "identity", "skey", "key"),
    "devices": ("device-list", "key-index-list", "error", "device"),
    "device-list": ("device",),
    "add": ("device",),
    "remove": ("device",),
    "tokens": ("token",),
    "reporting": ("reporting_token",),
    "chatstate": ("composing", "paused"),
}
ATTRS = {
    "notification": ("id", "from", "t", "type", "lid", "sender_lid"),
    "message": ("id", "from", "to", "t", "type", "participant", "recipient", "sender_lid", "category"),
    "receipt": ("id", "from", "to", "t", "type", "participant", "recipient"),
    "enc": ("v", "type", "count"),
    "update": ("op_name",),
}
OTHER = ("id", "jid", "type", "t", "value", "count", "code", "key-index", "val", "key", "error", "from", "to", "class")
TEXTS = ("1", "0", "-1", "9" * 20, "x", "", "retry", "encrypt", "devices", "account_sync", "privacy_token", "mex",
         "msg", "trusted_contact", "NotificationUserReachoutTimelockUpdate", "in", "300", "peer")  # fmt: skip
JIDS = (FRIEND, OWN, OWN_LID, SERVER, Jid("1", "g.us"), Jid("1", "newsletter"), Jid("1", "hosted", 99), Jid("", "lid"),
        STATUS_BROADCAST)  # fmt: skip
JID_KEYS = ("from", "to", "jid", "participant", "recipient", "lid", "sender_lid", "val")
BYTES = st.sampled_from([None, b"", b"\x05", bytes(3), bytes(4), bytes(32), bytes(64), b'{"data":{}}', b"{", b"+1555"])


@st.composite
def trees(draw: st.DrawFn, tag: str, depth: int = 4) -> Node:
    """Mostly what is there is what should be there: a number is drawn for what is missing, and for what is wrong."""
    attrs: dict[str, str | Jid] = {}
    for index, key in enumerate(ATTRS.get(tag, OTHER)):
        number = draw(st.integers(0, 60))
        is_jid = (key in JID_KEYS) is (number % 7 != 0)
        if number % 3 or index < 3:
            attrs[key] = JIDS[number % len(JIDS)] if is_jid else TEXTS[number % len(TEXTS)]
    tags = CHILDREN.get(tag, ())
    if not tags or depth == 0:
        return Node(tag, attrs, draw(BYTES))
    chosen = draw(st.lists(st.sampled_from(tags), max_size=4))
    return Node(tag, attrs, tuple(draw(trees(child, depth - 1)) for child in chosen))


READERS: tuple[tuple[str, Callable[[Node], object]], ...] = (
    ("message", lambda node: parse_envelope(node, own_pn=OWN, own_lid=OWN_LID)),
    ("message", parse_message),
    ("receipt", parse_receipt),
    ("notification", read_notification),
    ("notification", parse_tokens),
    ("iq", parse_devices),
    ("iq", parse_contacts),
    ("iq", parse_query),
    ("iq", parse_bundles),
    ("iq", parse_bundle_query),
    ("iq", parse_token_issue),
    ("ack", parse_message_ack),
    ("presence", parse_sent_presence),
    ("presence", parse_presence_update),
    ("chatstate", parse_chat_state),
)


@pytest.mark.parametrize(("tag", "read"), READERS)
def test_anything_is_read_or_refused(tag: str, read: Callable[[Node], object]) -> None:
    @given(trees(tag))
    @settings(max_examples=60, deadline=None)
    def check(node: Node) -> None:
        with suppress(RemoteProtocolError):
            read(node)

    check()
