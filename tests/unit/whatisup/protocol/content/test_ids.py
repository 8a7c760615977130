"""Ids and hashes: golden values, and what a hash of content must not see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content.compose import add_skdm, wrap_device_sent
from whatisup.protocol.content.ids import new_message_id, phash, plaintext_hash
from whatisup.wire.message import Message, MessageContextInfo

VECTORS = json.loads((Path(__file__).parents[4] / "vectors" / "vectors-messaging.json").read_text("utf-8"))


def test_message_id_is_the_golden_one():
    vector = VECTORS["message_id"]
    made = new_message_id(vector["unix_seconds"], vector["own_user"], lambda n: bytes.fromhex(vector["random16"])[:n])
    assert made == vector["id_whatsmeow"]


@pytest.mark.parametrize("example", VECTORS["phash"]["examples"], ids=lambda example: example["phash"])
def test_phash_is_the_golden_one_in_any_order(example):
    devices = [Jid.parse(text.replace(".0:", ":")) for text in example["inputs"]]
    assert phash(devices) == phash(reversed(devices)) == example["phash"]


def test_phash_knows_a_missing_device():
    devices = [Jid("1", "lid"), Jid("1", "lid", 3), Jid("2", "lid")]
    assert phash(devices) != phash(devices[:2])


HELLO = Message(conversation="hello").SerializeToString()


def test_plaintext_hash_sees_the_content_alone():
    with_context = Message(conversation="hello", messageContextInfo=MessageContextInfo(messageSecret=b"s" * 32))
    expected = plaintext_hash(HELLO)
    assert len(expected) == 32
    assert plaintext_hash(with_context.SerializeToString()) == expected
    assert plaintext_hash(add_skdm(HELLO, "1@g.us", b"key")) == expected
    assert plaintext_hash(wrap_device_sent(with_context.SerializeToString(), Jid("2", "lid"))) == expected


def test_plaintext_hash_tells_contents_apart():
    assert plaintext_hash(Message(conversation="hello!").SerializeToString()) != plaintext_hash(HELLO)
    # a field that we do not know
    assert plaintext_hash(HELLO + b"\xf0\x3f\x05") != plaintext_hash(HELLO)


def test_plaintext_hash_refuses_garbage():
    with pytest.raises(RemoteProtocolError):
        plaintext_hash(b"\x0a\x05x")
