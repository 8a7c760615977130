"""What notifications mean, as the server writes them and as it should not."""

from __future__ import annotations

import pytest

from tests.playbook import OWN, OWN_LID, UNIX, travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.prekeys import build_low_notification
from whatisup.protocol.stanzas.logout import DeviceList, DeviceListed, build_devices_notification
from whatisup.protocol.stanzas.mex import MAX_JSON
from whatisup.protocol.stanzas.notification import (
    AccountRestricted,
    DevicesChanged,
    IdentityChanged,
    Other,
    OwnDevicesChanged,
    PrekeysLow,
    TokensReceived,
    build_devices_change,
    build_identity_change,
    build_restriction,
    build_server_sync,
    read_notification,
)
from whatisup.protocol.stanzas.tokens import Token, build_tokens_notification
from whatisup.protocol.stanzas.usync import MAX_DEVICES
from whatisup.wire import Node

FRIEND, FRIEND_LID = Jid("15550002222", "s.whatsapp.net"), Jid("200000022222", "lid")


@pytest.mark.parametrize(
    "change",
    [
        DevicesChanged(FRIEND, FRIEND_LID, "add", ((3, 2),), "2:pn", "2:lid"),
        DevicesChanged(FRIEND_LID, None, "remove", ((3, None), (0, None)), "2:lid"),
        DevicesChanged(FRIEND, None, "update"),
    ],
)
def test_changed_devices_travel(change: DevicesChanged) -> None:
    assert read_notification(travel(build_devices_change("1", change, unix_t=UNIX))) == change


@pytest.mark.parametrize("lid", [None, FRIEND_LID])
def test_a_changed_identity_travels(lid: Jid | None) -> None:
    node = build_identity_change("1", FRIEND, unix_t=UNIX, lid=lid)
    assert read_notification(travel(node)) == IdentityChanged(FRIEND, lid)


def test_a_low_stock_is_no_changed_identity() -> None:
    assert read_notification(travel(build_low_notification("1", 3, server_unix=UNIX))) == PrekeysLow(3)


def test_tokens_travel() -> None:
    tokens = (Token(b"token", UNIX),)
    node = build_tokens_notification("1", FRIEND, FRIEND_LID, OWN.normalised, tokens, unix_t=UNIX)
    assert read_notification(travel(node)) == TokensReceived(FRIEND, FRIEND_LID, tokens)
    node = build_tokens_notification("1", FRIEND_LID, None, OWN.normalised, tokens, unix_t=UNIX)
    assert read_notification(node) == TokensReceived(FRIEND_LID, FRIEND_LID, tokens)


def test_our_own_devices_travel() -> None:
    listed = DeviceList((DeviceListed(OWN.normalised), DeviceListed(OWN, 3)), "2:hash")
    node = build_devices_notification("1", OWN.normalised, listed, server_unix=UNIX)
    assert read_notification(travel(node)) == OwnDevicesChanged(OWN.normalised, ((0, None), (OWN.device, 3)), "2:hash")


@pytest.mark.parametrize(
    "restriction",
    [
        AccountRestricted("reachout_timelock", True, "RESTRICT_ALL_COMPANIONS", 1_786_218_427),
        AccountRestricted("reachout_timelock", False),
        AccountRestricted("message_capping", True, None, 1_786_218_427, 50, 40, "FIRST_WARNING"),
        AccountRestricted("message_capping", False, None, None, 50, 0, "NONE"),
    ],
)
def test_a_restriction_travels(restriction: AccountRestricted) -> None:
    assert read_notification(travel(build_restriction("1", restriction, unix_t=UNIX))) == restriction


def test_a_restriction_as_the_field_reports_it() -> None:
    json = (
        b'{"data":{"xwa2_notify_account_reachout_timelock":{"enforcement_type":"WEB_COMPANION_ONLY","is_active":true,'
        b'"time_enforcement_ends":"1786218427","future":[{}]}},"extensions":{"more":null}}'
    )
    found = read_notification(mex(json))
    assert found == AccountRestricted("reachout_timelock", True, "WEB_COMPANION_ONLY", 1_786_218_427)


@pytest.mark.parametrize("ends", [b"-1", b'"soon"', b'"' + b"9" * 17 + b'"', b"9" * 40, b"null"])
def test_an_impossible_end_of_a_restriction_is_none(ends: bytes) -> None:
    json = (
        b'{"data":{"xwa2_notify_account_reachout_timelock":{"is_active":true,"time_enforcement_ends":' + ends + b"}}}"
    )
    assert read_notification(mex(json)) == AccountRestricted("reachout_timelock", True)


def mex(json: bytes, operation: str = "NotificationUserReachoutTimelockUpdate") -> Node:
    update = Node("update", {"op_name": operation}, json)
    return Node("notification", {"id": "1", "from": SERVER, "type": "mex"}, (update,))


def notification(kind: str, *children: Node, source: Jid = FRIEND) -> Node:
    return Node("notification", {"id": "1", "from": source, "type": kind}, children)


@pytest.mark.parametrize(
    "node",
    [
        build_server_sync("1", OWN_LID.normalised, [("regular", 4)], unix_t=UNIX),
        notification("picture", Node("set")),
        notification("encrypt", Node("news")),
        notification("encrypt", Node("identity"), source=SERVER),
        notification("account_sync", Node("blocklist")),
        mex(b"not even JSON", "NotificationNewsletterUpdate"),
        Node("notification", {"id": "1", "from": SERVER, "type": "mex"}),
        Node("notification"),
    ],
)
def test_what_messaging_does_not_need_is_passed_over(node: Node) -> None:
    assert isinstance(read_notification(node), Other)


TOO_MANY = (Node("device", {"jid": FRIEND}),) * (MAX_DEVICES + 1)


@pytest.mark.parametrize(
    "node",
    [
        Node("notification", {"type": "devices"}),
        notification("devices"),
        notification("devices", Node("add", {}, (Node("device"),))),
        notification("devices", Node("add", {}, (Node("device", {"jid": FRIEND, "key-index": "x"}),))),
        notification("devices", Node("remove", {}, TOO_MANY)),
        notification("account_sync", Node("devices", {}, TOO_MANY)),
        notification("encrypt", Node("count", {"value": "few"}), source=SERVER),
        notification("privacy_token"),
        mex(b""),
        mex(b"[]"),
        mex(b'{"data":{}}'),
        mex(b'{"data":{"xwa2_notify_account_reachout_timelock":7}}'),
        mex(b'{"data":{"xwa2_notify_account_reachout_timelock":{"is_active":"yes"}}}'),
        mex(b'{"data":' + b"[" * 8000),
        mex(b'{"more":' + b"[" * 8000 + b"]" * 7999 + b"}"),
        mex(b'{"data":{"xwa2_notify_account_reachout_timelock":{}}}' + b" " * MAX_JSON),
        mex(b"\xff\xfe{}"),
        mex(b'{"data":{"xwa2_notify_account_reachout_timelock":{}}}', "MessageCappingInfoNotification"),
    ],
)
def test_a_broken_notification_is_refused(node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        read_notification(node)
