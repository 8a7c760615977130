"""Unlinking stanzas over the wire."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.playbook import OWN, UNIX, travel
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.stanzas.logout import (
    DeviceList,
    DeviceListed,
    build_devices_notification,
    build_remove_companion_device,
    parse_devices_notification,
    parse_remove_companion_device,
)
from whatisup.wire import Node


def test_remove_companion_device_travels() -> None:
    request = travel(build_remove_companion_device("1", OWN))
    assert parse_remove_companion_device(request) == OWN
    assert request.children()[0].attrs["reason"] == "user_initiated"


def test_devices_notification_travels() -> None:
    listed = DeviceList((DeviceListed(OWN.normalised), DeviceListed(OWN, 3)), "2:hash")
    node = travel(build_devices_notification("9", OWN.normalised, listed, server_unix=UNIX))
    assert parse_devices_notification(node) == listed
    assert (node.attrs["type"], node.attrs["from"]) == ("account_sync", OWN.normalised)


@pytest.mark.parametrize(
    ("parse", "node"),
    [
        (parse_remove_companion_device, Node("iq")),
        (parse_remove_companion_device, Node("iq", {}, (Node("remove-companion-device", {"jid": "1"}),))),
        (parse_devices_notification, Node("notification")),
        (parse_devices_notification, Node("notification", {}, (Node("devices", {}, (Node("device"),)),))),
    ],
)
def test_parse_refuses(parse: Callable[[Node], object], node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(node)
