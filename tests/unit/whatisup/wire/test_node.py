"""The tree and its attribute reader."""

from __future__ import annotations

import pytest

from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, Jid
from whatisup.wire import Node

USER = Jid("15550001111", "s.whatsapp.net", 7)


def test_node_finds_its_children():
    ref, other, last = Node("ref", {}, b"1"), Node("other"), Node("ref", {}, b"2")
    node = Node("pair-device", {}, (ref, other, last))
    assert node.first is ref
    assert node.child("ref") is ref
    assert node.child("none") is None
    assert node.children() == (ref, other, last)
    assert node.children("ref") == (ref, last)


@pytest.mark.parametrize("content", [None, "text", b"bytes", ()])
def test_node_without_children_has_none(content):
    node = Node("x", {}, content)
    assert (node.first, node.child("y"), node.children(), node.children("y")) == (None, None, (), ())


@pytest.mark.parametrize(
    ("content", "as_bytes", "as_text"),
    [
        (None, b"", ""),
        ((Node("y"),), b"", ""),
        (b"1", b"1", "1"),
        ("1", b"1", "1"),
        ("ë", b"\xc3\xab", "ë"),
        (b"\xff", b"\xff", "�"),
    ],
)
def test_node_content_reads_as_bytes_and_as_text(content, as_bytes, as_text):
    node = Node("x", {}, content)
    assert (node.bytes_content(), node.text_content()) == (as_bytes, as_text)


def test_node_default_attributes_are_not_shared():
    assert Node("x").attrs is not Node("x").attrs


def test_node_repr_hides_content():
    node = Node("iq", {"to": SERVER, "id": "1"}, (Node("key", {}, b"secret"), Node("text", {}, "secret"), Node("ping")))
    assert repr(node) == "<iq to='@s.whatsapp.net' id='1'><key>6 bytes</key><text>6 characters</text><ping/></iq>"


def test_node_repr_is_short():
    assert repr(Node("list", {}, (Node("item"),) * 1000)) == "<list>" + "<item/>" * 8 + "<!-- 992 more --></list>"


def test_reader_reads_every_type():
    reader = Node("iq", {"id": "1.2-3", "from": USER, "t": "1700000000", "offset": "-5", "notify": USER}).reader()
    assert reader.string("id") == reader.optional_string("id") == "1.2-3"
    assert reader.jid("from") == reader.optional_jid("from") == USER
    assert reader.integer("t") == reader.optional_integer("t") == 1_700_000_000
    assert reader.integer("offset") == -5
    assert reader.string("notify") == str(USER)  # Baileys makes a JID of any text with an @
    reader.check()


@pytest.mark.parametrize("attrs", [{}, {"a": ""}])
def test_reader_takes_empty_for_absent(attrs):
    reader = Node("iq", attrs).reader()
    assert reader.optional_string("a") is None
    assert reader.optional_jid("a") is None
    assert reader.optional_integer("a") is None
    reader.check()


def test_reader_collects_all_problems_without_values():
    reader = Node("iq", {"from": "1234@s.whatsapp.net", "t": "soon", "u": "later"}).reader()
    assert reader.string("id") == ""
    assert reader.jid("from") == SERVER
    assert reader.jid("to") == SERVER
    assert reader.integer("t") == 0
    assert reader.integer("count") == 0
    assert reader.optional_jid("from") is None
    assert reader.optional_integer("u") is None
    with pytest.raises(RemoteProtocolError) as caught:
        reader.check()
    problems = [
        "id is missing",
        "from is not a JID",
        "to is missing",
        "t is not a number",
        "count is missing",
        "from is not a JID",
        "u is not a number",
    ]
    assert str(caught.value) == f"<iq>: {', '.join(problems)}"


@pytest.mark.parametrize("text", ["1.5", "0x10", "1_000", " 1", "+1", "--1", "-", "٣", "1" * 21, "e"])
def test_reader_takes_plain_decimal_integers_only(text):
    reader = Node("iq", {"t": text}).reader()
    assert reader.optional_integer("t") is None
    with pytest.raises(RemoteProtocolError, match="t is not a number"):
        reader.check()


def test_reader_takes_64_bits():
    assert Node("iq", {"t": str(2**64 - 1)}).reader().integer("t") == 2**64 - 1
