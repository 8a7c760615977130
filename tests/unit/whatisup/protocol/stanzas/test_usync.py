"""Device and contact queries over the wire, from both ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.playbook import travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.stanzas.usync import (
    MAX_DEVICES,
    MAX_USERS,
    ContactFound,
    UserDevices,
    UsyncFound,
    UsyncUser,
    build_answer,
    build_contact_query,
    build_device_query,
    number_of,
    parse_contacts,
    parse_devices,
    parse_query,
)
from whatisup.wire import Node

PN, LID = Jid("15550002222", "s.whatsapp.net"), Jid("200000022222", "lid")
STRANGER = Jid("15550009999", "s.whatsapp.net")
DEVICES = UserDevices(PN, LID, ((0, None), (12, 3)), "2:hash", key_index_list=b"signed", listed_at=1_700_000_000)


def test_devices_travel() -> None:
    request = travel(build_device_query("1", [PN, STRANGER]))
    query = parse_query(request)
    assert (query.wants, query.users) == (frozenset({"devices", "lid"}), (UsyncUser(PN), UsyncUser(STRANGER)))
    assert (query.mode, query.context) == ("query", "message")
    nobody = UserDevices(STRANGER, None, (), is_known=False)
    found = [UsyncFound(query.users[0], PN, DEVICES, LID), UsyncFound(query.users[1], STRANGER, nobody)]
    answer = travel(build_answer(request, query, found))
    assert parse_devices(answer) == (DEVICES, nobody)
    assert parse_contacts(answer) == ()


def test_what_was_not_asked_for_is_not_told() -> None:
    request = build_device_query("1", [PN])
    query = parse_query(request)
    found = UsyncFound(query.users[0], PN, DEVICES, contact="in", extra=(Node("status"), Node("devices")))
    answer = build_answer(request, query, [found])
    usync = answer.children()[0]
    (user,) = usync.children()[1].children()
    assert "status" not in [child.tag for child in user.children()]
    assert user.child("contact") is None


def test_a_user_whom_the_server_cannot_tell_now_is_left_out() -> None:
    error = Node("devices", {}, (Node("error", {"code": "500"}),))
    assert parse_devices(answer_of(Node("user", {"jid": PN}, (error,)), Node("user", {"jid": PN}))) == ()


def test_a_user_without_an_account_has_no_devices() -> None:
    (found,) = parse_devices(answer_of(Node("user", {"jid": PN}, (Node("devices"),))))
    assert (found.is_known, found.devices) == (False, ())


def test_contacts_travel() -> None:
    request = travel(build_contact_query("1", ["15550002222", "15550009999"]))
    query = parse_query(request)
    assert [user.contact for user in query.users] == ["+15550002222", "+15550009999"]
    assert (query.wants, query.context) == (frozenset({"contact", "lid"}), "interactive")
    found = [
        UsyncFound(query.users[0], PN, lid=LID, contact="in"),
        UsyncFound(query.users[1], None, contact="out"),
    ]
    assert parse_contacts(travel(build_answer(request, query, found))) == (
        ContactFound("15550002222", True, PN, LID, PN),
        ContactFound("15550009999", False),
    )


def test_contacts_by_hidden_id() -> None:
    user = Node("user", {"jid": LID, "pn_jid": PN}, (Node("contact", {"type": "in"}, b"+15550002222"),))
    assert parse_contacts(answer_of(user)) == (ContactFound("15550002222", True, LID, LID, PN),)


@pytest.mark.parametrize(
    ("text", "number"),
    [("+1555", "1555"), ("1555", "1555"), ("+1555@c.us", "1555"), ("+1 555", ""), ("\u0665", ""), ("9" * 99, "")],
)
def test_numbers_of_contacts(text: str, number: str) -> None:
    assert number_of(text) == number


def answer_of(*users: Node) -> Node:
    return Node("iq", {"type": "result"}, (Node("usync", {}, (Node("list", {}, users),)),))


def devices_of(*children: Node) -> Node:
    return answer_of(Node("user", {"jid": PN}, (Node("devices", {}, children),)))


@pytest.mark.parametrize(
    ("parse", "node"),
    [
        (parse_devices, Node("iq")),
        (parse_devices, Node("iq", {}, (Node("usync"),))),
        (parse_devices, answer_of(Node("user"))),
        (parse_devices, answer_of(*[Node("user", {"jid": PN})] * (MAX_USERS + 1))),
        (parse_devices, devices_of(Node("device-list", {}, (Node("device", {"id": "x"}),)))),
        (parse_devices, devices_of(Node("device-list", {}, (Node("device", {"id": "256"}),)))),
        (parse_devices, devices_of(Node("device-list", {}, (Node("device", {"id": "1"}),) * (MAX_DEVICES + 1)))),
        (parse_devices, devices_of(Node("device-list"), Node("key-index-list", {}, bytes(9000)))),
        (parse_contacts, answer_of(Node("user", {"jid": "1"}, (Node("contact"),)))),
        (parse_query, Node("iq")),
        (parse_query, Node("iq", {}, (Node("usync", {}, (Node("query"),)),))),
        (parse_query, Node("iq", {}, (Node("usync", {}, (Node("query"), Node("list", {}, (Node("user"),)))),))),
    ],
)
def test_parse_refuses(parse: Callable[[Node], object], node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(node)
