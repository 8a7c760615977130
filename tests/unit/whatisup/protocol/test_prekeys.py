"""Prekey stanzas over the wire, the golden digest, and per-device trouble in bundles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.playbook import CREDENTIALS, ENTROPY, IDENTITY, KEYS, OWN, UNIX, VECTORS, golden, travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.credentials import SignedPrekey, is_signed_prekey
from whatisup.protocol.prekeys import (
    Bundle,
    PrekeyUpload,
    PublicIdentity,
    PublicSignedPrekey,
    build_bundle_query,
    build_bundles,
    build_count,
    build_count_query,
    build_digest,
    build_digest_query,
    build_low_notification,
    build_rotation,
    build_upload,
    digest_hash,
    is_low_notification,
    is_same_identity,
    is_upload,
    parse_bundle_query,
    parse_bundles,
    parse_count,
    parse_digest,
    parse_rotation,
    parse_upload,
    peer_bundle,
    verify_device_identity,
)
from whatisup.protocol.stanzas.iq import Refusal
from whatisup.wire import Node

GOLDEN = VECTORS["key_bundle_digest"]
PREKEYS = tuple((0x10000 + n, bytes.fromhex(text)) for n, text in enumerate(GOLDEN["prekeys_hex"]))
FRIEND = Jid("15550002222", "s.whatsapp.net", 2)
NEW_KEY = SignedPrekey.generate(CREDENTIALS.identity, 2, ENTROPY)


def test_digest_hash_is_golden() -> None:
    skey = PublicSignedPrekey(
        1, golden("key_bundle_digest", "skey_value"), golden("key_bundle_digest", "skey_signature")
    )
    identity = PublicIdentity(1, golden("key_bundle_digest", "identity"), skey)
    assert digest_hash(identity, (public for _, public in PREKEYS)).hex() == GOLDEN["sha1_hex"]
    assert is_signed_prekey(identity.identity, skey.public, skey.signature)
    assert golden("key_bundle_digest", "skey_signed_message") == b"\x05" + skey.public


def test_count_travels() -> None:
    answer = travel(build_count(build_count_query("1"), 812))
    assert (answer.attrs["from"], answer.attrs["id"], parse_count(answer)) == (SERVER, "1", 812)


def test_low_notification_travels() -> None:
    notification = travel(build_low_notification("n1", 3, server_unix=UNIX))
    assert is_low_notification(notification)
    assert parse_count(notification) == 3


def test_an_identity_change_is_no_low_notification() -> None:
    attrs = {"from": FRIEND, "type": "encrypt", "id": "1"}
    assert not is_low_notification(Node("notification", attrs, (Node("identity"),)))
    assert not is_low_notification(Node("notification", attrs, (Node("count", {"value": "3"}),)))


@pytest.mark.parametrize("children", [(), (Node("count"),), (Node("count", {"value": "many"}),)])
def test_parse_count_refuses(children: tuple[Node, ...]) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_count(Node("iq", {}, children))


def test_upload_travels() -> None:
    upload = PrekeyUpload(IDENTITY, PREKEYS)
    request = travel(build_upload("2", upload))
    assert is_upload(request)
    assert parse_upload(request) == upload


def test_first_upload_has_its_known_shape() -> None:
    request = build_upload("2", PrekeyUpload(IDENTITY, PREKEYS))
    assert [child.tag for child in request.children()] == ["registration", "type", "identity", "list", "skey"]
    assert request.children()[1].content == b"\x05"
    key = request.children("list")[0].children()[0]
    assert [(child.tag, child.content) for child in key.children()] == [
        ("id", b"\x01\x00\x00"),
        ("value", PREKEYS[0][1]),
    ]


@pytest.mark.parametrize(
    "upload",
    [
        PrekeyUpload(IDENTITY, ()),
        PrekeyUpload(IDENTITY, ((1, b"short"),)),
        PrekeyUpload(IDENTITY, ((1, bytes(32)),) * 2049),
        PrekeyUpload(replace(IDENTITY, identity=bytes(31)), PREKEYS),
        PrekeyUpload(replace(IDENTITY, identity=KEYS["prekey1"].public), PREKEYS),
    ],
)
def test_parse_upload_refuses(upload: PrekeyUpload) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_upload(travel(build_upload("2", upload)))


@pytest.mark.parametrize("missing", ["registration", "type", "identity", "skey", "list"])
def test_parse_upload_refuses_without(missing: str) -> None:
    request = build_upload("2", PrekeyUpload(IDENTITY, PREKEYS))
    rest = tuple(child for child in request.children() if child.tag != missing)
    with pytest.raises(RemoteProtocolError):
        parse_upload(Node("iq", request.attrs, rest))


def test_digest_travels() -> None:
    digest = parse_digest(travel(build_digest(build_digest_query("3"), IDENTITY, PREKEYS)))
    assert digest.identity == IDENTITY
    assert digest.key_ids == tuple(key_id for key_id, _ in PREKEYS)
    assert digest.hash == digest_hash(IDENTITY, (public for _, public in PREKEYS))


def test_is_same_identity_compares_all_that_we_hold() -> None:
    digest = parse_digest(build_digest(build_digest_query("3"), IDENTITY, PREKEYS))
    assert is_same_identity(digest, IDENTITY)
    assert not is_same_identity(digest, replace(IDENTITY, registration_id=9))
    assert not is_same_identity(digest, replace(IDENTITY, signed_prekey=PublicSignedPrekey.of(NEW_KEY)))
    empty = parse_digest(build_digest(build_digest_query("3"), IDENTITY, ()))
    assert is_same_identity(empty, IDENTITY)
    assert not is_same_identity(replace(empty, hash=bytes(20)), IDENTITY)


def test_parse_digest_refuses_an_empty_result() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_digest(Node("iq", {"type": "result"}))


def test_rotation_travels() -> None:
    key = PublicSignedPrekey.of(NEW_KEY)
    request = travel(build_rotation("4", key))
    assert not is_upload(request)
    assert parse_rotation(request, IDENTITY.identity) == key


def test_parse_rotation_refuses_another_signer() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_rotation(build_rotation("4", PublicSignedPrekey.of(NEW_KEY)), KEYS["prekey1"].public)
    with pytest.raises(RemoteProtocolError):
        parse_rotation(Node("iq"), IDENTITY.identity)


def test_bundle_query_travels() -> None:
    request = travel(build_bundle_query("5", [OWN, FRIEND], is_identity_change=True))
    assert parse_bundle_query(request) == (OWN, FRIEND)
    assert request.children()[0].children()[0].attrs["reason"] == "identity"


@pytest.mark.parametrize(
    "bundle",
    [
        Bundle(IDENTITY, PREKEYS[0], b"proof"),
        Bundle(IDENTITY, None),
        Refusal(404, "item-not-found"),
    ],
)
def test_bundles_travel(bundle: Bundle | Refusal) -> None:
    answer = travel(build_bundles(build_bundle_query("5", [FRIEND]), [(FRIEND, bundle)]))
    assert parse_bundles(answer) == ((FRIEND, bundle),)


def test_a_broken_bundle_is_that_devices_trouble_alone() -> None:
    forged = Bundle(replace(IDENTITY, identity=KEYS["prekey1"].public), None)
    good = Bundle(IDENTITY, PREKEYS[0])
    answer = travel(build_bundles(build_bundle_query("5", [FRIEND, OWN]), [(FRIEND, forged), (OWN, good)]))
    assert parse_bundles(answer) == ((FRIEND, Refusal(500, "malformed-bundle")), (OWN, good))


def test_parse_bundles_accepts_the_keys_wrapper() -> None:
    answer = build_bundles(build_bundle_query("5", [FRIEND]), [(FRIEND, Bundle(IDENTITY, PREKEYS[0]))])
    user = answer.children()[0].children()[0]
    wrapped = Node("user", user.attrs, (Node("keys", {}, user.content),))
    answer = travel(Node("iq", {}, (Node("list", {}, (wrapped,)),)))
    assert parse_bundles(answer) == ((FRIEND, Bundle(IDENTITY, PREKEYS[0])),)


@pytest.mark.parametrize("content", [None, (Node("list", {}, (Node("user"),)),)])
def test_parse_bundles_refuses(content: tuple[Node, ...] | None) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_bundles(Node("iq", {}, content))


def test_too_many_devices_in_a_bundle_answer_are_refused() -> None:
    user = Node("user", {"jid": FRIEND}, (Node("error", {"code": "404"}),))
    with pytest.raises(RemoteProtocolError):
        parse_bundles(Node("iq", {}, (Node("list", {}, (user,) * 8193),)))


@pytest.mark.parametrize("prekey", [None, PREKEYS[0]])
def test_a_bundle_is_what_a_session_is_started_from(prekey: tuple[int, bytes] | None) -> None:
    bundle, skey = peer_bundle(Bundle(IDENTITY, prekey)), IDENTITY.signed_prekey
    assert (bundle.registration_id, bundle.identity) == (IDENTITY.registration_id, IDENTITY.identity)
    assert (bundle.signed_prekey_id, bundle.signed_prekey, bundle.signature) == (
        skey.key_id,
        skey.public,
        skey.signature,
    )
    assert (bundle.prekey_id, bundle.prekey) == (prekey or (None, None))


def test_a_bundle_whose_proof_does_not_hold_is_not_trusted() -> None:
    proof = golden("adv", "account_with_signature_key")
    companion = replace(IDENTITY, identity=KEYS["companion_identity"].public)
    assert verify_device_identity(Bundle(IDENTITY, None))
    assert verify_device_identity(Bundle(companion, None, proof))
    assert verify_device_identity(Bundle(companion, None, proof), account_key=KEYS["account_identity"].public)
    assert not verify_device_identity(Bundle(companion, None, proof), account_key=IDENTITY.identity)
    assert not verify_device_identity(Bundle(IDENTITY, None, proof))
