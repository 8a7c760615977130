"""Bodies: what customers may ask for, what is refused, and that they read back as they were written."""

from __future__ import annotations

import json

import pytest

from whatisup.errors import LocalProtocolError
from whatisup.protocol.content.bodies import (
    MAX_TEXT,
    ContactBody,
    ContactCard,
    EditBody,
    InvalidBody,
    LocationBody,
    PollBody,
    ReactionBody,
    RevokeBody,
    TextBody,
    body_json,
    body_object,
    parse_body,
    target_of,
)

BODIES = [
    TextBody("hello"),
    TextBody("hello @15550000001", reply_to="msg_1", mentions=("15550000001", "1000@lid"), link_preview=True),
    ReactionBody("3EB0", "\N{THUMBS UP SIGN}"),
    ReactionBody("3EB0", ""),
    EditBody("3EB0", "better"),
    RevokeBody("3EB0"),
    LocationBody(52.5, -13.4, "Berlin", "Pariser Platz"),
    ContactBody((ContactCard("Ann", "+15550000001"), ContactCard("Bob", vcard="BEGIN:VCARD"))),
    PollBody("Lunch?", ("Yes", "No")),
    PollBody("Which?", ("a", "b", "c"), 0),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_body_is_read_back_as_it_was_written(body):
    assert parse_body(body_json(body)) == body
    assert parse_body(body_object(body)) == body
    assert json.loads(body_json(body)) == body_object(body)


def test_defaults_are_left_out():
    assert body_object(TextBody("hi")) == {"type": "text", "text": "hi"}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_no_repr_shows_what_is_said(body):
    assert repr(body) == f"{type(body).__name__}()"


def test_a_contacts_repr_shows_nothing():
    assert repr(ContactCard("Ann", "15550000001")) == "ContactCard()"


@pytest.mark.parametrize(
    ("body", "target"),
    [
        (TextBody("x"), None),
        (TextBody("x", reply_to="A"), "A"),
        (EditBody("B", "x"), "B"),
        (RevokeBody("C"), "C"),
        (ReactionBody("D", ""), "D"),
        (PollBody("x", ("a", "b")), None),
    ],
)
def test_target_is_what_the_body_is_about(body, target):
    assert target_of(body) == target


REFUSED = [
    {},
    [],
    {"type": "image", "media_url": "https://example.com"},
    {"type": "text"},
    {"type": "text", "text": ""},
    {"type": "text", "text": "x", "surprise": 1},
    {"type": "text", "text": "x" * (MAX_TEXT + 1)},
    {"type": "text", "text": "ü" * (MAX_TEXT // 2 + 1)},
    {"type": "text", "text": "x", "reply_to": ""},
    {"type": "text", "text": "x", "mentions": ["bob"]},
    {"type": "text", "text": "x", "mentions": ["1@g.us"]},
    {"type": "text", "text": "x", "mentions": ["1555000000\n"]},
    {"type": "text", "text": "x", "mentions": ["15550000001"] * 1025},
    {"type": "edit", "message_id": "A", "text": "ü" * (MAX_TEXT // 2 + 1)},
    {"type": "edit", "message_id": "A", "text": ""},
    {"type": "reaction", "message_id": "A" * 129, "emoji": "x"},
    {"type": "reaction", "message_id": "A", "emoji": "x" * 65},
    {"type": "revoke"},
    {"type": "location", "latitude": 90.1, "longitude": 0},
    {"type": "location", "latitude": 0, "longitude": "0"},
    {"type": "contact", "contacts": []},
    {"type": "contact", "contacts": [{"name": "Ann"}]},
    {"type": "contact", "contacts": [{"name": "Ann", "phone_number": "15550000001", "vcard": "x"}]},
    {"type": "contact", "contacts": [{"name": "Ann", "phone_number": "call me"}]},
    {"type": "contact", "contacts": [{"name": "Ann", "phone_number": "15550000001\n"}]},
    {"type": "poll", "name": "x", "options": ["a"]},
    {"type": "poll", "name": "x", "options": ["a", "a"]},
    {"type": "poll", "name": "x", "options": ["a", "b" * 101]},
    {"type": "poll", "name": "x", "options": [str(number) for number in range(13)]},
    {"type": "poll", "name": "x", "options": ["a", "b"], "selectable_count": 3},
    {"type": "poll", "name": "x", "options": ["a", "b"], "selectable_count": -1},
]


@pytest.mark.parametrize("raw", REFUSED, ids=lambda raw: json.dumps(raw)[:60])
def test_what_is_no_body_is_refused(raw):
    for form in (raw, json.dumps(raw)):
        with pytest.raises(InvalidBody) as caught:
            parse_body(form)
        assert isinstance(caught.value, LocalProtocolError)
        assert "ü" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"{", b'{"type":"text","text":"\\ud800"}', b"\xff"])
def test_what_is_no_json_is_refused(raw):
    with pytest.raises(InvalidBody):
        parse_body(raw)


def test_the_longest_text_fits():
    assert parse_body(body_json(TextBody("ü" * (MAX_TEXT // 2)))) == TextBody("ü" * (MAX_TEXT // 2))
