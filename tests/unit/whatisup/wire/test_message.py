"""The protobuf messages between devices: what we do not know survives, and garbage is refused in one way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatisup.errors import RemoteProtocolError
from whatisup.wire import message as wire
from whatisup.wire.message import HistorySync, HistorySyncType, Message, ProtocolMessage, WebMessageInfo, parse

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "vectors-messaging.json").read_text("utf-8"))
CLASSES = [Message, WebMessageInfo, HistorySync, wire.PollVoteMessage, wire.LIDMigrationMappingSyncPayload]


def test_unknown_fields_survive_at_every_level():
    # Message.1022 = 5; ImageMessage.1000 = 7 inside imageMessage (3); Opaque content of templateMessage (25)
    raw = b"\x1a\x03\xc0\x3e\x07" + b"\xca\x01\x02\x08\x01" + b"\xf0\x3f\x05"
    message = parse(Message, raw)
    copy = Message()
    copy.MergeFrom(message)
    assert copy.SerializeToString() == raw


def test_an_enumeration_keeps_a_value_that_is_newer_than_ours():
    message = parse(Message, b"\x62\x02\x10\x63")
    assert message.protocolMessage.type == 99
    assert message.SerializeToString() == b"\x62\x02\x10\x63"


def test_a_zero_that_was_set_is_on_the_wire():
    assert ProtocolMessage(type=ProtocolMessage.REVOKE).SerializeToString() == b"\x10\x00"
    assert HistorySync(syncType=HistorySyncType.INITIAL_BOOTSTRAP).SerializeToString() == b"\x08\x00"
    assert not ProtocolMessage().HasField("type")


def test_history_is_read_and_written_back_to_the_byte():
    raw = bytes.fromhex(VECTORS["history_sync"]["history_sync_protobuf"])
    history = parse(HistorySync, raw)
    assert history.HasField("syncType")
    chat = history.conversations[0]
    assert chat.id == "15550000002@s.whatsapp.net"
    assert chat.name == "Bob"
    info = chat.messages[0].message
    assert (info.key.id, info.key.fromMe, info.message.conversation) == ("3EB0HIST", False, "old")
    assert history.pushnames[0].pushname == "Bob"
    assert history.SerializeToString() == raw


@pytest.mark.parametrize("raw", [b"\x0a", b"\x0a\x05x", b"\xff", b"\x0a\x01\xff", b"\x1a\x03\x1a\x01\xff"])
def test_parse_refuses_what_is_no_message_and_text_that_is_no_utf8(raw):
    with pytest.raises(RemoteProtocolError):
        parse(Message, raw)


def test_parse_refuses_endless_nesting():
    raw = Message(conversation="x").SerializeToString()
    for _ in range(60):
        raw = _field(40, _field(1, raw))
    with pytest.raises(RemoteProtocolError):
        parse(Message, raw)


def _field(number, data):
    def varint(value):
        out = bytearray()
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes((*out, value))

    return varint(number << 3 | 2) + varint(len(data)) + data


@given(st.sampled_from(CLASSES), st.binary(max_size=100))
@settings(max_examples=300, deadline=None)
def test_parse_of_anything_gives_a_message_or_a_remote_protocol_error(cls, data):
    try:
        message = parse(cls, data)
    except RemoteProtocolError:
        return
    assert parse(cls, message.SerializeToString()) == message
