"""The protobuf messages: golden payloads read, field by field, and written back to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatisup.errors import RemoteProtocolError
from whatisup.wire import proto
from whatisup.wire.proto import ADVDeviceIdentity, ClientPayload, DeviceProps, HandshakeMessage, parse

VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "transport.json").read_text("utf-8"))
PAYLOADS = VECTORS["client_payload"]
INPUTS = PAYLOADS["inputs"]
MESSAGES = [
    getattr(proto, name)
    for name in proto.__all__
    if isinstance(getattr(proto, name), type) and name != "ADVEncryptionType"
]


def payload(name):
    return parse(ClientPayload, bytes.fromhex(PAYLOADS[f"{name}_hex"]))


@pytest.mark.parametrize("name", ["baileys_registration", "baileys_login", "whatsmeow_login"])
def test_payloads_are_written_back_to_the_byte(name):
    message = ClientPayload()
    message.MergeFrom(payload(name))  # a copy without the bytes it came from
    assert message.SerializeToString().hex() == PAYLOADS[f"{name}_hex"]
    agent = message.userAgent
    assert (agent.appVersion.primary, agent.appVersion.secondary) == (2, 3000)
    assert (agent.mcc, agent.mnc, agent.osVersion, agent.device, agent.osBuildNumber) == (
        *("000", "000", "0.1", "Desktop", "0.1"),
    )
    assert agent.platform == ClientPayload.UserAgent.WEB
    assert agent.HasField("releaseChannel")
    assert message.webInfo.HasField("webSubPlatform")
    assert (message.connectType, message.connectReason) == (ClientPayload.WIFI_UNKNOWN, ClientPayload.USER_ACTIVATED)


def test_registration_carries_the_device():
    message = payload("baileys_registration")
    pairing = message.devicePairingData
    assert message.HasField("passive")
    assert not message.passive
    assert message.HasField("pull")
    assert not message.pull
    assert not message.HasField("username")
    assert pairing.eRegid == INPUTS["registration_id"].to_bytes(4, "big")
    assert pairing.eKeytype == b"\5"
    assert pairing.eIdent.hex() == VECTORS["keys"]["companion_identity"]["pub"]
    assert pairing.eSkeyId == INPUTS["signed_prekey_id"].to_bytes(3, "big")
    assert pairing.eSkeyVal.hex() == VECTORS["keys"]["signed_prekey"]["pub"]
    assert pairing.eSkeySig.hex() == VECTORS["key_bundle_digest"]["skey_signature_hex"]
    assert pairing.buildHash.hex() == INPUTS["build_hash_md5_hex"]


def test_registration_carries_device_props_to_the_byte():
    data = payload("baileys_registration").devicePairingData.deviceProps
    props = DeviceProps()
    props.MergeFrom(parse(DeviceProps, data))
    assert props.SerializeToString() == data
    assert props.os == "Mac OS"
    assert (props.version.primary, props.version.secondary, props.version.tertiary) == (10, 15, 7)
    assert props.platformType == DeviceProps.CHROME
    assert props.requireFullSync
    config = props.historySyncConfig
    assert config.storageQuotaMb == 10240
    assert config.inlineInitialPayloadInE2EeMsg
    assert config.HasField("supportCallLogHistory")
    assert not config.supportCallLogHistory
    assert not config.HasField("supportGuestChat")


@pytest.mark.parametrize(("name", "lc", "migrated"), [("baileys_login", None, False), ("whatsmeow_login", 1, True)])
def test_login_carries_the_account(name, lc, migrated):
    message = payload(name)
    assert (message.username, message.device) == (15550001111, 7)
    assert message.passive
    assert message.pull
    assert not message.HasField("devicePairingData")
    assert (message.lc if message.HasField("lc") else None) == lc
    assert message.lidDbMigrated is migrated


def test_whatsmeow_writes_an_empty_manufacturer():
    assert payload("whatsmeow_login").userAgent.HasField("manufacturer")
    assert not payload("baileys_login").userAgent.HasField("manufacturer")


def test_a_zero_that_was_set_is_on_the_wire():
    assert ADVDeviceIdentity(accountType=proto.E2EE).SerializeToString() == b"\x20\x00"
    assert ADVDeviceIdentity().SerializeToString() == b""


def test_unknown_fields_are_skipped():
    hello = HandshakeMessage(clientHello=HandshakeMessage.ClientHello(ephemeral=b"e")).SerializeToString()
    assert parse(HandshakeMessage, hello + b"\xf8\x07\x01").clientHello.ephemeral == b"e"


@pytest.mark.parametrize("data", [b"\x0a", b"\x0a\x05x", b"\xff", b"\x0a\x01\xff", b"\x12\x01\xff"])
def test_parse_refuses_what_is_no_message_and_text_that_is_no_utf8(data):
    with pytest.raises(RemoteProtocolError):
        parse(DeviceProps, data)


def test_parse_checks_text_in_inner_messages():
    # UserAgent (5) with mcc (3) of one byte that is no UTF-8
    with pytest.raises(RemoteProtocolError, match="mcc"):
        parse(ClientPayload, b"\x2a\x03\x1a\x01\xff")


@given(st.sampled_from(MESSAGES), st.one_of(st.binary(max_size=80), st.just(b"\x0a").map(lambda b: b * 5000)))
@settings(max_examples=500, deadline=None)
def test_parse_of_anything_gives_a_message_or_a_remote_protocol_error(cls, data):
    try:
        message = parse(cls, data)
    except RemoteProtocolError:
        return
    assert isinstance(message, cls)


@given(st.integers(0, 400), st.binary(max_size=4))
@settings(max_examples=300, deadline=None)
def test_parse_of_a_mutated_payload_gives_a_message_or_a_remote_protocol_error(start, patch):
    data = bytes.fromhex(PAYLOADS["baileys_registration_hex"])
    data = data[:start] + patch + data[start + len(patch) :]
    try:
        message = parse(ClientPayload, data)
    except RemoteProtocolError:
        return
    assert isinstance(message.userAgent.mcc, str)
