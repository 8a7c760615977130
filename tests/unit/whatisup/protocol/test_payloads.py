"""Registration and login: Baileys' bytes exactly, whatsmeow's read, every lie refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.playbook import CREDENTIALS, IDENTITY, KEYS, OWN, VECTORS, golden
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.credentials import Credentials, SignedPrekey
from whatisup.protocol.payloads import (
    Login,
    Registration,
    build_login,
    build_registration,
    parse_client_payload,
)
from whatisup.protocol.prekeys import PublicIdentity
from whatisup.protocol.profile import ClientProfile, ClientVersion
from whatisup.wire import proto

INPUTS = VECTORS["client_payload"]["inputs"]
GOLDEN_CREDENTIALS = Credentials(
    noise=KEYS["client_static_noise"],
    identity=KEYS["companion_identity"],
    signed_prekey=SignedPrekey(
        INPUTS["signed_prekey_id"], KEYS["signed_prekey"], golden("key_bundle_digest", "skey_signature")
    ),
    registration_id=INPUTS["registration_id"],
    adv_secret=bytes(32),
    root_public=bytes(32),
)
# Baileys leaves the login counter out and claims whatever system it is told.
BAILEYS = ClientProfile(
    version=ClientVersion.parse(INPUTS["version"]),
    os=INPUTS["browser"][0],
    browser=INPUTS["browser"][1],
    country=INPUTS["country"],
    require_full_sync=INPUTS["full_history_sync"],
    login_counter=None,
)


def test_build_hash_is_the_md5_of_the_version() -> None:
    assert BAILEYS.version.build_hash.hex() == INPUTS["build_hash_md5_hex"]


def test_build_registration_is_what_baileys_sends() -> None:
    assert build_registration(GOLDEN_CREDENTIALS, BAILEYS) == golden("client_payload", "baileys_registration")


def test_build_login_is_what_baileys_sends() -> None:
    assert build_login(Jid.parse(INPUTS["jid"]), BAILEYS) == golden("client_payload", "baileys_login")


def test_parse_reads_baileys_registration() -> None:
    parsed = parse_client_payload(golden("client_payload", "baileys_registration"))
    assert parsed == Registration(
        version=BAILEYS.version,
        identity=PublicIdentity.of(GOLDEN_CREDENTIALS),
        build_hash=BAILEYS.version.build_hash,
        os="Mac OS",
        platform_type=1,
        require_full_sync=True,
    )


def test_parse_reads_baileys_login() -> None:
    parsed = parse_client_payload(golden("client_payload", "baileys_login"))
    assert parsed == Login(BAILEYS.version, "15550001111", 7, True, None, False)


def test_parse_reads_whatsmeow_login() -> None:
    parsed = parse_client_payload(golden("client_payload", "whatsmeow_login"))
    assert isinstance(parsed, Login)
    assert parsed.jid == Jid.parse(INPUTS["jid"])
    assert (parsed.login_counter, parsed.is_lid_migrated, parsed.is_passive) == (1, True, True)


def test_our_login_counts_and_promises_nothing() -> None:
    parsed = parse_client_payload(build_login(OWN, ClientProfile()))
    assert isinstance(parsed, Login)
    assert (parsed.jid, parsed.login_counter, parsed.is_lid_migrated) == (OWN, 1, False)


def test_our_registration_is_read_back() -> None:
    parsed = parse_client_payload(build_registration(CREDENTIALS, ClientProfile(os="Windows", browser="Firefox")))
    assert isinstance(parsed, Registration)
    assert (parsed.identity, parsed.os, parsed.platform_type) == (IDENTITY, "Windows", 2)


def test_parse_accepts_a_login_without_device_and_fields_in_any_order() -> None:
    payload = proto.ClientPayload(username=15550001111).SerializeToString()
    parsed = parse_client_payload(b"\x60\x01" + payload + b"\xf8\x7f\x01")
    assert isinstance(parsed, Login)
    assert parsed.device == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("eRegid", bytes(3)),
        ("eKeytype", b"\x06"),
        ("eKeytype", b""),
        ("eIdent", bytes(31)),
        ("eSkeyId", bytes(4)),
        ("eSkeyVal", bytes(33)),
        ("eSkeySig", bytes(63)),
        ("eSkeySig", bytes(64)),
        ("deviceProps", b"\xff"),
    ],
)
def test_parse_refuses_a_registration_with(field: str, value: bytes) -> None:
    payload = proto.ClientPayload.FromString(build_registration(CREDENTIALS, ClientProfile()))
    setattr(payload.devicePairingData, field, value)
    with pytest.raises(RemoteProtocolError):
        parse_client_payload(payload.SerializeToString())


@pytest.mark.parametrize("payload", [proto.ClientPayload(), proto.ClientPayload(username=1, device=256)])
def test_parse_refuses_neither_shape(payload: proto.ClientPayload) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_client_payload(payload.SerializeToString())


@given(st.binary(max_size=300))
def test_parse_of_garbage_is_a_value_or_a_protocol_error(data: bytes) -> None:
    try:
        parse_client_payload(data)
    except RemoteProtocolError:
        return
