"""Each request of a logged-in client, and its answer."""

from __future__ import annotations

import pytest

from tests.unit.whatisup.sandbox.bench import NUMBER, Bench, Device, Raw, make_bench
from whatisup.jid import Jid
from whatisup.lifecycle import Trigger
from whatisup.protocol import prekeys
from whatisup.protocol.credentials import SignedPrekey, is_signed_prekey
from whatisup.protocol.events import NotificationReceived, Unlinked
from whatisup.protocol.prekeys import PublicIdentity, PublicSignedPrekey
from whatisup.protocol.stanzas.logout import build_remove_companion_device, parse_devices_notification
from whatisup.sandbox.entropy import Seed
from whatisup.wire import Node


@pytest.fixture
def bench() -> Bench:
    return make_bench()


@pytest.fixture
def device(bench: Bench) -> Device:
    return bench.linked()


@pytest.fixture
def raw(device: Device) -> Raw:
    return Raw.logging_in(device)


def error_of(answer: Node) -> str | None:
    error = answer.child("error")
    assert (error is None) == (answer.attrs["type"] == "result"), "both say whether it is an error"
    return None if error is None else str(error.attrs["code"])


def upload(raw: Raw, device: Device, ids: range, identity: PublicIdentity | None = None) -> Node:
    own = identity or PublicIdentity.of(device.credentials)
    keys = tuple((key_id, key_id.to_bytes(32, "big")) for key_id in ids)
    stanza = prekeys.build_upload("7.7-1", prekeys.PrekeyUpload(own, keys))
    return raw.ask("set", "encrypt", *stanza.children())


def bundles(raw: Raw, *jids: Jid) -> dict[Jid, prekeys.Bundle]:
    answer = raw.ask("get", "encrypt", Node("key", {}, tuple(Node("user", {"jid": jid}) for jid in jids)))
    found = {}
    for jid, bundle in prekeys.parse_bundles(answer):
        assert isinstance(bundle, prekeys.Bundle)
        found[jid] = bundle
    return found


# prekeys


def test_count_follows_uploads(raw: Raw, device: Device) -> None:
    assert prekeys.parse_count(raw.ask("get", "encrypt", Node("count"))) == 0
    assert error_of(upload(raw, device, range(1, 813))) is None
    assert prekeys.parse_count(raw.ask("get", "encrypt", Node("count"))) == 812


def test_upload_of_another_identity_is_refused(bench: Bench, raw: Raw, device: Device) -> None:
    stranger = PublicIdentity.of(bench.device("stranger").credentials)
    assert error_of(upload(raw, device, range(1, 3), stranger)) == "406"


def test_upload_with_a_bad_signature_is_refused(raw: Raw, device: Device) -> None:
    own = PublicIdentity.of(device.credentials)
    forged = PublicIdentity(own.registration_id, own.identity, PublicSignedPrekey(2, b"k" * 32, b"s" * 64))
    assert error_of(upload(raw, device, range(1, 3), forged)) == "400"


def test_upload_beyond_all_measure_is_refused(raw: Raw, device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whatisup.sandbox.state.MAX_PREKEYS", 10)
    assert error_of(upload(raw, device, range(1, 20))) == "419"


def test_digest_is_404_without_prekeys_and_names_them_with(raw: Raw, device: Device) -> None:
    assert error_of(raw.ask("get", "encrypt", Node("digest"))) == "404"
    upload(raw, device, range(1, 4))
    digest = prekeys.parse_digest(raw.ask("get", "encrypt", Node("digest")))
    own = PublicIdentity.of(device.credentials)
    assert digest.identity == own
    assert digest.key_ids == (1, 2, 3)
    assert digest.hash == prekeys.digest_hash(own, (key_id.to_bytes(32, "big") for key_id in (1, 2, 3)))


def test_rotation_replaces_the_signed_prekey(bench: Bench, raw: Raw, device: Device) -> None:
    new = SignedPrekey.generate(device.credentials.identity, 2, Seed.of(3).stream("x"))
    rotation = prekeys.build_rotation("7.7-1", PublicSignedPrekey.of(new))
    assert error_of(raw.ask("set", "encrypt", *rotation.children())) is None
    companion = bench.hub.state.companion(NUMBER, 1)
    assert companion is not None
    assert companion.public.signed_prekey == PublicSignedPrekey.of(new)


def test_rotation_with_a_bad_signature_is_refused(raw: Raw) -> None:
    rotation = prekeys.build_rotation("7.7-1", PublicSignedPrekey(2, b"k" * 32, b"s" * 64))
    assert error_of(raw.ask("set", "encrypt", *rotation.children())) == "400"


def test_bundle_pops_each_prekey_once(raw: Raw, device: Device) -> None:
    upload(raw, device, range(1, 4))
    assert device.account is not None
    own = device.account.lid
    popped = [bundles(raw, own)[own].prekey for _ in range(4)]
    assert popped == [*((key_id, key_id.to_bytes(32, "big")) for key_id in (1, 2, 3)), None]


def test_bundle_of_a_companion_carries_its_proof(raw: Raw, device: Device) -> None:
    assert device.account is not None
    bundle = bundles(raw, device.account.jid)[device.account.jid]
    assert bundle.identity == PublicIdentity.of(device.credentials)
    assert bundle.device_identity == device.account.signed_identity


def test_bundle_of_the_phone_never_runs_out(bench: Bench, raw: Raw) -> None:
    account = bench.server.pairing.account(NUMBER)
    first, second = bundles(raw, account.pn_jid)[account.pn_jid], bundles(raw, account.lid_jid)[account.lid_jid]
    assert first.prekey is not None
    assert second.prekey is not None
    assert (first.prekey[0], second.prekey[0]) == (1, 2)
    assert first.prekey[1] != second.prekey[1]
    assert first.identity.identity == account.identity.public
    skey = first.identity.signed_prekey
    assert is_signed_prekey(account.identity.public, skey.public, skey.signature)


def test_bundle_of_nobody_is_left_out(raw: Raw, device: Device) -> None:
    assert device.account is not None
    unknown = [Jid("999000000099", "s.whatsapp.net"), Jid("5", "lid"), device.account.jid.with_device(9)]
    assert list(bundles(raw, *unknown, device.account.jid)) == [device.account.jid]


def test_low_prekeys_are_announced_once_to_their_owner(raw: Raw, device: Device) -> None:
    upload(raw, device, range(1, 7))
    raw.ask("set", "passive", Node("active"))
    assert device.account is not None
    for _ in range(4):
        stanza = prekeys.build_bundle_query("8.8-1", [device.account.jid])
        raw.send(stanza)
    low = [node for node in raw.received() if prekeys.is_low_notification(node)]
    assert [prekeys.parse_count(node) for node in low] == [4]


# the session


def test_active_and_passive_are_answered(raw: Raw) -> None:
    assert error_of(raw.ask("set", "passive", Node("active"))) is None
    assert raw.client.is_active
    assert error_of(raw.ask("set", "passive", Node("passive"))) is None
    assert not raw.client.is_active
    assert error_of(raw.ask("set", "passive", Node("sideways"))) == "400"


def test_logout_is_answered_then_told_and_the_device_forgotten(bench: Bench, device: Device) -> None:
    device.log_in()
    assert device.connection is not None
    device.connection.unlink(bench.hands.now)
    device.pump()
    assert device.last(Unlinked).accepted
    assert (device.closed.trigger, device.closed.code) == (Trigger.DEVICE_REMOVED, 401)
    assert bench.hub.state.companions(NUMBER) == []
    device.log_in()
    assert device.closed.trigger is Trigger.LOGGED_OUT


def test_logout_of_another_device_is_refused(bench: Bench, device: Device, raw: Raw) -> None:
    bench.linked(name="second")
    assert device.account is not None
    stanza = build_remove_companion_device("7.7-1", device.account.jid.with_device(2))
    assert error_of(raw.ask("set", "md", *stanza.children())) == "403"
    assert len(bench.hub.state.companions(NUMBER)) == 2


def test_removal_is_announced_to_the_devices_that_remain(bench: Bench, device: Device) -> None:
    device.log_in()
    bench.linked(name="second")
    device.pump()
    removed = bench.hub.state.companion(NUMBER, 2)
    assert removed is not None
    bench.hub.unlink(removed)
    device.pump()
    listed = parse_devices_notification(device.last(NotificationReceived).node)
    assert [entry.jid.device for entry in listed.devices] == [0, 1]


# settings and the rest


@pytest.mark.parametrize(
    ("kind", "xmlns", "child", "expected"),
    [
        ("get", "abt", Node("props", {"protocol": "1"}), "props"),
        ("get", "blocklist", None, "list"),
        ("get", "privacy", Node("privacy"), "privacy"),
        ("set", "urn:xmpp:whatsapp:dirty", Node("clean", {"type": "account_sync"}), None),
        ("set", "urn:xmpp:whatsapp:push", Node("config"), None),
        ("set", "w:unheard-of", None, None),
    ],
)
def test_setting_is_answered_with_its_element_first(
    raw: Raw, kind: str, xmlns: str, child: Node | None, expected: str | None
) -> None:
    answer = raw.ask(kind, xmlns, *(() if child is None else (child,)))
    assert error_of(answer) is None
    assert (answer.first.tag if answer.first else None) == expected


def test_groups_are_none(raw: Raw) -> None:
    groups = Jid("", "g.us")
    answer = raw.ask("get", "w:g2", Node("participating", {}, (Node("participants"),)), to=groups)
    assert [child.tag for child in answer.children()] == ["groups"]


@pytest.mark.parametrize("xmlns", ["w:unheard-of", "w:g2", "encrypt"])
def test_unknown_get_is_refused_and_never_silent(raw: Raw, xmlns: str) -> None:
    assert error_of(raw.ask("get", xmlns, Node("something"))) == "501"


def test_request_without_a_type_is_answered(raw: Raw) -> None:
    raw.received()
    raw.send(Node("iq", {"id": "1.1-1", "xmlns": "w:stats", "to": Jid("", "s.whatsapp.net")}, (Node("add"),)))
    (answer,) = raw.received()
    assert (answer.attrs["type"], answer.attrs["id"]) == ("result", "1.1-1")
