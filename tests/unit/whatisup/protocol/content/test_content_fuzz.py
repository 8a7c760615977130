"""Whatever a peer sends gives a content or a `RemoteProtocolError`; a body is JSON, bounded and safe to use."""

from __future__ import annotations

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content import peer
from whatisup.protocol.content.bodies import PollBody, TextBody
from whatisup.protocol.content.compose import Target, compose, wrap_device_sent
from whatisup.protocol.content.ids import plaintext_hash
from whatisup.protocol.content.normalise import merge, normalise, reveal
from whatisup.protocol.content.quote import quotable
from whatisup.protocol.content.secrets import content_for_report
from whatisup.wire.message import Message, MessageKey, ProtocolMessage, ReactionMessage

CHAT = Jid("2000", "lid")
SEEDS = [
    wrap_device_sent(
        compose(
            TextBody("hi https://example.com", reply_to="A", mentions=("15550000001",), link_preview=True),
            chat=CHAT,
            own=Jid("1000", "lid"),
            target=Target("A", False, None, Message(conversation="first").SerializeToString()),
            secret=b"s" * 32,
            unix_ms=5,
        ).message,
        CHAT,
    ),
    compose(
        PollBody("Q", ("a", "b")), chat=CHAT, own=Jid("1000", "lid"), target=None, secret=b"s" * 32, unix_ms=5
    ).message,
    Message(
        reactionMessage=ReactionMessage(key=MessageKey(id="A", participant="1:2@lid"), text="x")
    ).SerializeToString(),
    Message(
        protocolMessage=ProtocolMessage(
            type=ProtocolMessage.MESSAGE_EDIT, key=MessageKey(id="A"), editedMessage=Message(conversation="x")
        )
    ).SerializeToString(),
    peer.placeholder_resend_response("R", [peer.ResentMessage(peer.MessageName("1@lid", True, "A"), b"\x0a\x01x")]),
    peer.history_notification(peer.HistoryNotice(0, inline=b"x")),
    peer.app_state_key_share([peer.AppStateKey(b"i", b"d")]),
    peer.lid_mapping_sync([("1", "2")]),
]
READERS = {
    "history_sync": peer.read_history_notification,
    "app_state_key_share": peer.read_app_state_keys,
    "app_state_key_request": peer.read_key_request,
    "placeholder_response": peer.read_placeholder_response,
    "peer_request": peer.read_peer_request,
    "lid_mapping": peer.read_lid_mapping,
}


def check(data):
    for act in (plaintext_hash, content_for_report, quotable):
        try:
            act(data)
        except RemoteProtocolError:
            continue
    try:
        merge([data, data])
        content = normalise(data, is_own=True, is_own_phone=True)
    except RemoteProtocolError:
        return
    if content.body is not None:
        assert content.body["type"] == content.kind
    assert len(msgspec.json.encode(content.body)) < 1_000_000
    for jid in (content.body or {}).get("mentions", []):
        Jid.parse(jid)
    again = normalise(content.message, is_own=True, is_own_phone=True)
    assert again.kind == content.kind or content.wrappers
    try:
        if content.kind in READERS:
            READERS[content.kind](content.message)
        if content.addon is not None:
            reveal(content, secret=b"s" * 32, senders=["1@lid"], modifiers=["2@lid"])
    except RemoteProtocolError:
        pass


@given(st.binary(max_size=120))
@example(b"")
@example(b"\x0a" * 5_000)
@settings(max_examples=400, deadline=None)
def test_anything_gives_a_content_or_a_remote_protocol_error(data):
    check(data)


@given(st.sampled_from(SEEDS), st.integers(0, 200), st.binary(max_size=6), st.integers(0, 6))
@settings(max_examples=1_000, deadline=None)
def test_a_mutated_message_gives_a_content_or_a_remote_protocol_error(seed, at, patch, skipped):
    check(seed[:at] + patch + seed[at + skipped :])


FIELDS = [field for field in Message.DESCRIPTOR.fields if field.message_type is not None]


@given(st.sampled_from(FIELDS), st.binary(max_size=60))
@settings(max_examples=1_500, deadline=None)
def test_every_field_of_a_message_with_anything_inside(field, inside):
    tag = field.number << 3 | 2
    varint = bytes((tag,)) if tag < 128 else bytes((tag & 127 | 128, tag >> 7))
    check(varint + bytes((len(inside),)) + inside)
