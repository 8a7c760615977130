"""Whom a message is for, as people write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas.addresses import read_address, read_chat, read_number, require_possible
from api.schemas.parse import Invalid
from whatisup.jid import Jid

PN = "5511999999999@s.whatsapp.net"


@pytest.mark.parametrize(
    "text",
    ["5511999999999", "+5511999999999", "+55 11 99999-9999", PN, "5511999999999@c.us", f" {PN} "],
)
def test_read_address_forgives_how_a_number_is_written(text: str) -> None:
    assert str(read_address(text, "to")) == PN


def test_read_address_takes_a_hidden_id() -> None:
    assert read_address("100000000000001@lid", "to") == Jid("100000000000001", "lid")


@pytest.mark.parametrize(
    "text",
    [
        "", "12", "0511999999999", "1" * 16, "+", "++5511999999999", "5511x99999999", "٥٥١١٩٩٩٩٩٩٩٩٩",
        "5511999999999\n", "5511999999999:3@s.whatsapp.net", "abc@s.whatsapp.net", "@s.whatsapp.net", "0@lid", "1@bot",
        "1@nowhere", "a@b@c", "\0@g.us", "x@newsletter", "5511999999999.5:0@s.whatsapp.net",
    ],
)  # fmt: skip
def test_read_address_refuses_what_names_no_user(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_address(text, "to")
    assert (refused.value.code, refused.value.field) == ("validation_failed", "to")


@pytest.mark.parametrize(
    "text", ["120363000000000001@g.us", "551199999999-1500000000@g.us", "status@broadcast", "1200@newsletter"]
)
def test_read_address_says_of_other_chats_that_they_are_to_come(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_address(text, "to")
    assert refused.value.code == "chat_not_supported_yet"
    assert str(read_chat(text, "chat")) == text


@given(
    st.text(max_size=30) | st.from_regex(r"[0-9+ -]{0,20}(@(s.whatsapp.net|lid|g.us|broadcast|c.us))?", fullmatch=True)
)
def test_read_chat_gives_a_jid_without_device_or_invalid(text: str) -> None:
    try:
        jid = read_chat(text, "chat")
    except Invalid:
        return
    assert (jid.device, jid.agent) == (0, 0)
    assert Jid.parse(str(jid)) == jid
    assert jid.user.isascii()
    assert jid.user.isprintable()


def test_read_number_gives_digits() -> None:
    assert read_number("+55 11 99999-9999", "phone") == "5511999999999"
    with pytest.raises(Invalid):
        read_number(PN, "phone")


@pytest.mark.parametrize("number", ["5511999999999", "14155550123", "4915112345678"])
def test_require_possible_takes_numbers_of_a_plan(number: str) -> None:
    require_possible(read_address(number, "to"), "to")


@pytest.mark.parametrize("number", ["999000000001", "1415555", "551199999999999"])
def test_require_possible_refuses_numbers_of_no_plan(number: str) -> None:
    with pytest.raises(Invalid) as refused:
        require_possible(read_address(number, "to"), "to")
    assert refused.value.field == "to"
