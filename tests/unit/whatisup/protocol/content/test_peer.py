"""What our own devices tell each other: written by one side, read by the other."""

from __future__ import annotations

import zlib

import pytest

from whatisup.errors import RemoteProtocolError
from whatisup.protocol.content import peer
from whatisup.protocol.content.normalise import normalise
from whatisup.protocol.content.peer import AppStateKey, HistoryNotice, MessageName, PlaceholderAnswer, ResentMessage
from whatisup.wire.message import (
    AppStateSyncKeyFingerprint,
    HistorySync,
    HistorySyncType,
    Message,
    MessageContextInfo,
    PeerDataOperationRequestMessage,
    PeerDataOperationRequestType,
    ProtocolMessage,
    WebMessageInfo,
    parse,
)

NAME = MessageName("120363@g.us", False, "3EB0AA", "2000@lid")
HELLO = Message(conversation="hello").SerializeToString()


def kind(message):
    return normalise(message, is_own=True, is_own_phone=True).kind


@pytest.mark.parametrize("name", [NAME, MessageName("2000@lid", True, "3EB0BB")])
def test_placeholder_request(name):
    message = peer.placeholder_resend_request(name.chat, name.from_me, name.wa_id, name.participant)
    assert kind(message) == "peer_request"
    assert peer.read_peer_request(message) == peer.PeerRequest("placeholder_resend", (name,))


def test_another_request_is_another():
    request = PeerDataOperationRequestMessage(
        peerDataOperationRequestType=PeerDataOperationRequestType.HISTORY_SYNC_ON_DEMAND
    )
    protocol = ProtocolMessage(
        type=ProtocolMessage.PEER_DATA_OPERATION_REQUEST_MESSAGE, peerDataOperationRequestMessage=request
    )
    message = Message(protocolMessage=protocol).SerializeToString()
    assert kind(message) == "peer_request"
    assert peer.read_peer_request(message) == peer.PeerRequest("other")


def test_placeholder_response():
    found = (
        ResentMessage(NAME, HELLO, 1_700_000_000, "Bob", b"s" * 32),
        ResentMessage(MessageName("2000@lid", False, "3EB0CC"), None),
    )
    message = peer.placeholder_resend_response("REQUEST", found)
    assert kind(message) == "placeholder_response"
    assert peer.read_placeholder_response(message) == PlaceholderAnswer("REQUEST", found)


def test_a_resent_message_always_writes_its_key():
    message = peer.placeholder_resend_response("R", [ResentMessage(MessageName("1@lid", False, "A"), None)])
    result = parse(Message, message).protocolMessage.peerDataOperationRequestResponseMessage.peerDataOperationResult[0]
    info = parse(WebMessageInfo, result.placeholderMessageResendResponse.webMessageInfoBytes)
    assert info.HasField("key")
    assert info.key.HasField("fromMe")


def test_a_resent_message_may_have_its_secret_and_author_elsewhere():
    inner = Message(conversation="x", messageContextInfo=MessageContextInfo(messageSecret=b"s" * 32))
    info = WebMessageInfo(message=inner, participant="3000@lid")
    info.key.id = "A"
    response = parse(Message, peer.placeholder_resend_response("R", [ResentMessage(NAME, HELLO)]))
    result = response.protocolMessage.peerDataOperationRequestResponseMessage.peerDataOperationResult[0]
    result.placeholderMessageResendResponse.webMessageInfoBytes = info.SerializeToString()
    (found,) = peer.read_placeholder_response(response.SerializeToString()).messages
    assert (found.secret, found.name.participant) == (b"s" * 32, "3000@lid")


def test_a_resent_message_without_a_name_is_left_out():
    nameless = ResentMessage(MessageName("2000@lid", False, ""), HELLO)
    message = peer.placeholder_resend_response("R", [nameless, ResentMessage(NAME, HELLO)])
    assert [item.name for item in peer.read_placeholder_response(message).messages] == [NAME]


def test_a_broken_resent_message_is_refused():
    response = parse(Message, peer.placeholder_resend_response("R", [ResentMessage(NAME, HELLO)]))
    result = response.protocolMessage.peerDataOperationRequestResponseMessage.peerDataOperationResult[0]
    result.placeholderMessageResendResponse.webMessageInfoBytes = b"\x0a\x05x"
    with pytest.raises(RemoteProtocolError):
        peer.read_placeholder_response(response.SerializeToString())


@pytest.mark.parametrize(
    "notice",
    [
        HistoryNotice(0, inline=b"zlib"),
        HistoryNotice(
            sync_type=3,
            chunk_order=2,
            progress=40,
            direct_path="/v/t62",
            media_key=b"k" * 32,
            file_sha256=b"a" * 32,
            file_enc_sha256=b"b" * 32,
            file_length=93,
            enc_handle="handle",
            original_message_id="A",
        ),
        HistoryNotice(99, progress=0),
    ],
    ids=["inline", "blob", "newer"],
)
def test_history_notification(notice):
    message = peer.history_notification(notice)
    assert kind(message) == "history_sync"
    assert peer.read_history_notification(message) == notice


def test_history_notice_shows_no_key():
    shown = repr(HistoryNotice(3, direct_path="/v/t62", media_key=b"k" * 32, inline=b"zlib"))
    assert not any(word in shown for word in ("kkkk", "t62", "zlib"))


def test_empty_history_is_a_history():
    history = parse(HistorySync, zlib.decompress(peer.empty_history()))
    assert history.HasField("syncType")
    assert history.syncType == HistorySyncType.INITIAL_BOOTSTRAP
    assert history.progress == 100
    assert not history.conversations


def test_app_state_keys():
    fingerprint = AppStateSyncKeyFingerprint(rawId=1, currentIndex=2, deviceIndexes=[0, 1]).SerializeToString()
    keys = (AppStateKey(b"id1", b"d" * 32, 1_700_000_000, fingerprint), AppStateKey(b"id2", b"e" * 32))
    message = peer.app_state_key_share(keys)
    assert kind(message) == "app_state_key_share"
    assert peer.read_app_state_keys(message) == keys
    assert "dddd" not in repr(keys)


def test_app_state_keys_without_data_are_left_out():
    message = peer.app_state_key_share([AppStateKey(b"id1", b""), AppStateKey(b"", b"d"), AppStateKey(b"id2", b"e")])
    assert [key.key_id for key in peer.read_app_state_keys(message)] == [b"id2"]


def test_app_state_key_request():
    message = peer.app_state_key_request([b"id1", b"id2"])
    assert kind(message) == "app_state_key_request"
    assert peer.read_key_request(message) == (b"id1", b"id2")


def test_lid_mapping():
    message = peer.lid_mapping_sync([("15550000001", "1000"), ("15550000002", "2000")])
    assert kind(message) == "lid_mapping"
    assert peer.read_lid_mapping(message) == (("15550000001", "1000"), ("15550000002", "2000"))


def test_lid_mapping_beyond_any_address_book_is_refused():
    message = peer.lid_mapping_sync([("15550000001", "1000")] * (peer.MAX_PAIRS + 1))
    with pytest.raises(RemoteProtocolError):
        peer.read_lid_mapping(message)


def test_lists_are_bounded():
    message = peer.app_state_key_request([b"id"] * (peer.MAX_ITEMS + 1))
    assert len(peer.read_key_request(message)) == peer.MAX_ITEMS
