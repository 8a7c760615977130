"""JIDs: text forms, equality of users, and the rule that whatever exists prints and parses back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whatisup.jid import (
    HOSTED_LID_SERVER,
    HOSTED_SERVER,
    INTEROP_SERVER,
    LID_SERVER,
    MAX_TEXT,
    PN_SERVER,
    SERVER,
    STATUS_BROADCAST,
    Jid,
    JidError,
    from_domain,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "transport.json").read_text("utf-8"))["jid"]
SERVERS = [
    PN_SERVER,
    LID_SERVER,
    HOSTED_SERVER,
    HOSTED_LID_SERVER,
    "c.us",
    "g.us",
    "broadcast",
    "bot",
    "msgr",
    "interop",
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["jid"])
def test_parse_agrees_with_baileys(vector):
    jid, expected = Jid.parse(vector["jid"]), vector["decode"]
    # Baileys keeps domain 128 beside the phone number server; the domain *is* the hosted server, as whatsmeow reads it.
    server = HOSTED_SERVER if expected["domainType"] == 128 else expected["server"]
    assert (jid.user, jid.server, jid.device) == (expected["user"], server, expected.get("device", 0))
    assert jid.agent == 0


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["jid"])
def test_normalised_agrees_with_baileys(vector):
    jid = Jid.parse(vector["jid"])
    user, _, server = vector["normalised"].partition("@")
    assert jid.normalised == Jid(user, HOSTED_SERVER if jid.server == HOSTED_SERVER else server)


@pytest.mark.parametrize(
    ("text", "jid"),
    [
        ("15550001111@s.whatsapp.net", Jid("15550001111", PN_SERVER)),
        ("15550001111:0@s.whatsapp.net", Jid("15550001111", PN_SERVER)),
        ("15550001111:7@s.whatsapp.net", Jid("15550001111", PN_SERVER, 7)),
        ("15550001111.0:7@s.whatsapp.net", Jid("15550001111", PN_SERVER, 7)),
        ("15550001111_1:7@s.whatsapp.net", Jid("15550001111", LID_SERVER, 7)),
        ("15550001111.128:99@s.whatsapp.net", Jid("15550001111", HOSTED_SERVER, 99)),
        ("15550001111.2:3@s.whatsapp.net", Jid("15550001111", PN_SERVER, 3, agent=2)),
        ("15550001111_2@s.whatsapp.net", Jid("15550001111", PN_SERVER, 0, agent=2)),
        ("100000011111_1:7@lid", Jid("100000011111", LID_SERVER, 7)),
        ("15550001111-1600000000@g.us", Jid("15550001111-1600000000", "g.us")),
        ("a_b.c:d@g.us", Jid("a_b.c:d", "g.us")),
        ("1234:300@msgr", Jid("1234", "msgr", 300)),
        ("2-1234:5@interop", Jid("1234", INTEROP_SERVER, 5, agent=2)),
        ("@s.whatsapp.net", SERVER),
        ("@g.us", Jid("", "g.us")),
        ("status@broadcast", STATUS_BROADCAST),
    ],
)
def test_parse_reads_every_text_form(text, jid):
    assert Jid.parse(text) == jid


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "15550001111",
        "15550001111@",
        "1:@s.whatsapp.net",
        "1:x@s.whatsapp.net",
        "1:-1@s.whatsapp.net",
        "1:+1@s.whatsapp.net",
        "1: 1@s.whatsapp.net",
        "1:1_0@s.whatsapp.net",
        "1:٣@s.whatsapp.net",
        "1:256@s.whatsapp.net",
        "1:65536@msgr",
        "1:100000@msgr",
        "1:2:3@s.whatsapp.net",
        "1.256:3@s.whatsapp.net",
        "1.2.3:4@s.whatsapp.net",
        "1_2:4@lid",
        "1_1:4@c.us",
        ":5@s.whatsapp.net",
        "x-1@interop",
        "1" * MAX_TEXT + "@g.us",
        "1" * 600 + "@g.us",
    ],
)
def test_parse_refuses(text):
    with pytest.raises(JidError):
        Jid.parse(text)


@pytest.mark.parametrize(
    "parts",
    [
        ("1", ""),
        ("1", "a@b"),
        ("1:2", PN_SERVER),
        ("1.2", LID_SERVER),
        ("1_2", LID_SERVER),
        ("1-2", INTEROP_SERVER),
        ("1", PN_SERVER, 256),
        ("1", PN_SERVER, -1),
        ("1", PN_SERVER, 0, 128),
        ("1", PN_SERVER, 0, 256),
        ("1", LID_SERVER, 0, 2),
        ("1", "g.us", 1),
        ("1", "g.us", 0, 1),
        ("", PN_SERVER, 1),
    ],
)
def test_jid_refuses_parts_without_an_unambiguous_text(parts):
    with pytest.raises(JidError):
        Jid(*parts)


def test_jid_error_is_a_value_error():
    assert issubclass(JidError, ValueError)


def test_str_is_canonical():
    assert str(Jid.parse("15550001111:0@s.whatsapp.net")) == "15550001111@s.whatsapp.net"
    assert str(Jid.parse("15550001111_2:3@s.whatsapp.net")) == "15550001111.2:3@s.whatsapp.net"
    assert str(SERVER) == "@s.whatsapp.net"


def test_normalised_drops_device_and_agent_and_keeps_an_integrator():
    assert Jid("1", PN_SERVER, 3, agent=2).normalised == Jid("1", PN_SERVER)
    assert Jid("1", "c.us", 3).normalised == Jid("1", PN_SERVER)
    assert Jid("1", INTEROP_SERVER, 3, agent=2).normalised == Jid("1", INTEROP_SERVER, agent=2)
    assert Jid("1", "g.us").normalised == Jid("1", "g.us")


def test_is_lid_and_is_pn_know_users_only():
    assert Jid("1", LID_SERVER, 7).is_lid
    assert Jid("1", HOSTED_LID_SERVER, 99).is_lid
    assert not Jid("1", LID_SERVER).is_pn
    assert all(Jid("1", server).is_pn and not Jid("1", server).is_lid for server in (PN_SERVER, HOSTED_SERVER, "c.us"))
    assert not SERVER.is_pn
    assert not Jid("1", "g.us").is_pn


def test_with_device_keeps_the_rest():
    assert Jid("1", INTEROP_SERVER, 3, agent=2).with_device(4) == Jid("1", INTEROP_SERVER, 4, agent=2)
    assert Jid("1", "g.us").with_device(0) == Jid("1", "g.us")
    with pytest.raises(JidError):
        Jid("1", "g.us").with_device(1)


def test_from_domain_keeps_an_unknown_domain():
    assert from_domain("1", 1, 2) == Jid("1", LID_SERVER, 2)
    assert from_domain("1", 7, 2) == Jid("1", PN_SERVER, 2, agent=7)


@given(
    st.one_of(
        st.text(max_size=40),
        st.builds(
            "{}{}{}{}@{}".format,
            st.text("0123456789-._:@", max_size=12),
            st.sampled_from(["", ":", ".", "_", "-"]),
            st.integers(0, 300).map(str) | st.just(""),
            st.sampled_from(["", ":0", ":7", ":300"]),
            st.sampled_from(SERVERS) | st.text(max_size=5),
        ),
    )
)
@settings(max_examples=600, deadline=None)
def test_parse_of_anything_round_trips_or_raises_jid_error(text):
    try:
        jid = Jid.parse(text)
    except JidError:
        return
    assert Jid.parse(str(jid)) == jid
    assert jid.normalised.normalised == jid.normalised


@given(st.text(max_size=12), st.sampled_from(SERVERS), st.integers(-1, 300), st.integers(-1, 300))
@settings(max_examples=600, deadline=None)
def test_any_jid_that_exists_prints_and_parses_back(user, server, device, agent):
    try:
        jid = Jid(user, server, device, agent)
    except JidError:
        return
    assert Jid.parse(str(jid)) == jid
