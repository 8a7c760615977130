"""QR text and pairing stanzas, against golden values and over the wire."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.playbook import CREDENTIALS, KEYS, OWN, OWN_LID, UNIX, VECTORS, golden, scan, travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.protocol.adv import PairingRefused
from whatisup.protocol.pairing import (
    QrCode,
    build_pair_device,
    build_pair_device_sign,
    build_pairing_refusal,
    build_qr,
    is_pair_device,
    is_pair_success,
    parse_pair_device,
    parse_pair_device_sign,
    parse_pair_success,
    parse_qr,
)
from whatisup.protocol.stanzas.iq import Refusal, parse_refusal
from whatisup.wire import Node, decode_node, encode_node

QR = VECTORS["qr"]
CODE = QrCode(QR["ref"], golden("qr", "noise_pub"), golden("qr", "identity_pub"), golden("qr", "adv_secret"), "1")


def test_build_qr_is_the_golden_text() -> None:
    assert build_qr(CODE) == QR["qr"]


def test_parse_qr_reads_the_golden_text() -> None:
    assert parse_qr(QR["qr"]) == CODE


def test_parse_qr_reads_the_older_form() -> None:
    bare = QR["qr"].partition("#")[2].rpartition(",")[0]
    assert parse_qr(f" {bare}\n") == QrCode(CODE.ref, CODE.noise_public, CODE.identity_public, CODE.adv_secret, "")


@pytest.mark.parametrize("text", ["", "hello", "r,a,b", ",x,y,z", "r,%,AA==,AA==", "r,AA==,AA==,AA==", QR["qr"] + ",2"])
def test_parse_qr_refuses(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_qr(text)


@given(st.text(max_size=200))
def test_parse_qr_of_any_text_is_a_value_or_a_protocol_error(text: str) -> None:
    try:
        parse_qr(text)
    except RemoteProtocolError:
        return


def test_qr_code_repr_hides_the_secret() -> None:
    assert base64.b64encode(CODE.adv_secret).decode() not in repr(CODE)
    assert CODE.adv_secret.hex() not in repr(CODE)


def test_pair_device_travels() -> None:
    refs = tuple(f"2@ref{n}==" for n in range(6))
    node = travel(build_pair_device("1", refs))
    assert is_pair_device(node)
    assert not is_pair_success(node)
    assert parse_pair_device(node) == refs
    assert all(isinstance(ref.content, bytes) for ref in node.children()[0].children())


def test_pair_device_accepts_refs_that_travel_as_text() -> None:
    body = Node("pair-device", {}, (Node("ref", {}, "123"),))
    assert parse_pair_device(travel(Node("iq", {"from": SERVER, "xmlns": "md"}, (body,)))) == ("123",)


@pytest.mark.parametrize(
    "node",
    [
        build_pair_device("1", ()),
        build_pair_device("1", ("a",) * 33),
        build_pair_device("1", ("a,b",)),
        build_pair_device("1", ("",)),
        build_pair_device("1", ("a" * 513,)),
        Node("iq", {"from": OWN}, (Node("pair-device", {}, (Node("ref", {}, b"a"),)),)),
        Node("iq", {"from": SERVER}, (Node("pair-device", {}, (Node("ref", {}, b"a"),)), Node("x"))),
        Node("iq", {"from": SERVER}),
    ],
)
def test_parse_pair_device_refuses(node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_pair_device(node)


def test_golden_pair_success_is_read() -> None:
    node = decode_node(golden("adv", "pair_success_stanza"))
    assert is_pair_success(node)
    success = parse_pair_success(node)
    assert success.device_identity == golden("adv", "signed_device_identity_hmac")
    assert (success.jid, success.lid) == (OWN, OWN_LID)
    assert (success.platform, success.business_name, success.server_unix) == ("android", None, None)


def test_golden_reply_stanza_is_built() -> None:
    request = decode_node(golden("adv", "pair_success_stanza"))
    reply = build_pair_device_sign(request, golden("adv", "baileys_reply_device_identity"), 1)
    assert decode_node(encode_node(reply)) == decode_node(golden("adv", "baileys_reply_stanza"))
    assert parse_pair_device_sign(travel(reply)) == (golden("adv", "baileys_reply_device_identity"), 1)


def test_pair_success_travels() -> None:
    success = parse_pair_success(travel(scan(CREDENTIALS, CREDENTIALS.adv_secret)))
    assert (success.jid, success.lid, success.platform) == (OWN, OWN_LID, "smba")
    assert (success.business_name, success.server_unix) == ("Shop", UNIX)


def changed(tag: str, replacement: Node | None) -> Node:
    node = scan(CREDENTIALS, CREDENTIALS.adv_secret)
    body = node.children()[0]
    children = tuple(
        part for child in body.children() for part in ((replacement,) if child.tag == tag else (child,)) if part
    )
    return Node("iq", node.attrs, (Node(body.tag, {}, children),))


@pytest.mark.parametrize(
    "node",
    [
        changed("device-identity", None),
        changed("device", None),
        changed("device", Node("device", {"jid": OWN})),
        changed("device", Node("device", {"jid": str(OWN), "lid": OWN_LID})),
        changed("device", Node("device", {"jid": OWN.normalised, "lid": OWN_LID})),
        changed("device", Node("device", {"jid": OWN_LID, "lid": OWN_LID})),
        changed("device", Node("device", {"jid": OWN, "lid": OWN})),
        changed("device", Node("device", {"jid": Jid("1" * 20, OWN.server, 1), "lid": OWN_LID})),
        changed("device", Node("device", {"jid": Jid("abc", OWN.server, 1), "lid": OWN_LID})),
        Node("iq", {"from": OWN, "xmlns": "md"}, (Node("pair-success"),)),
    ],
)
def test_parse_pair_success_refuses_with_500(node: Node) -> None:
    with pytest.raises(PairingRefused) as caught:
        parse_pair_success(node)
    assert caught.value.code == 500


def test_parse_pair_success_survives_a_broken_clock_and_no_platform() -> None:
    node = changed("platform", None)
    success = parse_pair_success(Node("iq", {**node.attrs, "t": "yesterday"}, node.content))
    assert (success.server_unix, success.platform) == (None, "")


def test_pairing_refusal_travels() -> None:
    request = scan(CREDENTIALS, KEYS["prekey1"].private)
    answer = travel(build_pairing_refusal(request, PairingRefused(401, "hmac-mismatch")))
    assert (answer.attrs["to"], answer.attrs["id"], answer.attrs["type"]) == (SERVER, "99", "error")
    assert parse_refusal(answer) == Refusal(401, "hmac-mismatch")


@pytest.mark.parametrize(
    "children",
    [(), (Node("pair-device-sign"),), (Node("pair-device-sign", {}, (Node("device-identity", {}, b"x"),)),)],
)
def test_parse_pair_device_sign_refuses(children: tuple[Node, ...]) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_pair_device_sign(Node("iq", {"type": "result"}, children))
