"""What clients may send, and how times, QR pictures and replies are written."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.schemas import qr
from api.schemas.messages import MessagesQuery, SendMessage, SetPresenceRequest
from api.schemas.parse import Invalid, parse_json, parse_query
from api.schemas.people import ContactBurst, ContactReads, ContactSends, CreateContact
from api.schemas.replies import EventEnvelope, InstanceBody, PairCodeBody
from api.schemas.requests import (
    CreateFault,
    CreateInstance,
    CreatePhone,
    EventsQuery,
    PageQuery,
    PairCodeRequest,
    PatchInstance,
    PhoneAction,
    QrQuery,
    Request,
)
from api.schemas.times import iso, unix_ms
from whatisup.lifecycle import State
from whatisup.store import Event, Instance, Mode

BODIES: tuple[type[Request], ...] = (
    CreateInstance,
    PatchInstance,
    PairCodeRequest,
    CreatePhone,
    PhoneAction,
    CreateFault,
    SendMessage,
    SetPresenceRequest,
    CreateContact,
    ContactSends,
    ContactBurst,
)
SAID = b'"body":{"type":"text","text":"hello"}'


def deep(levels: int) -> bytes:
    return b'{"name":"a","metadata":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


@pytest.mark.parametrize(
    ("raw", "kind", "code", "field"),
    [
        (b"{", CreateInstance, "invalid_json", None),
        (b'{"name":"\xff"}', CreateInstance, "invalid_json", None),
        (b'{"name":"\\ud800"}', CreateInstance, "invalid_json", None),
        (b'{"name":"a"} {}', CreateInstance, "invalid_json", None),
        (b'{"metadata":{"a":' + b"[" * 100_000, CreateInstance, "invalid_json", None),
        (b"[]", CreateInstance, "validation_failed", None),
        (b"null", CreateInstance, "validation_failed", None),
        (b"", CreateInstance, "validation_failed", "name"),
        (b'{"name":1}', CreateInstance, "validation_failed", "name"),
        (b'{"name":""}', CreateInstance, "validation_failed", "name"),
        (b'{"name":"  "}', CreateInstance, "validation_failed", "name"),
        (b'{"name":"a\\u0000"}', CreateInstance, "validation_failed", "name"),
        (b'{"name":"%s"}' % (b"a" * 201), CreateInstance, "validation_failed", "name"),
        (b'{"name":"a","label":1}', CreateInstance, "validation_failed", "label"),
        (b'{"name":"a","metadata":[]}', CreateInstance, "validation_failed", "metadata"),
        (b'{"name":"a","metadata":{"x":"\\u0000"}}', CreateInstance, "validation_failed", "metadata"),
        (b'{"name":"a","metadata":{"\\u0000":1}}', CreateInstance, "validation_failed", "metadata"),
        (b'{"name":"a","metadata":{"x":%s}}' % (b"9" * 20), CreateInstance, "validation_failed", "metadata"),
        (b'{"name":"a","metadata":{"x":"%s"}}' % (b"a" * 17_000), CreateInstance, "validation_failed", "metadata"),
        (deep(17), CreateInstance, "validation_failed", "metadata"),
        (b"{}", PatchInstance, "validation_failed", None),
        (b'{"name":null}', PatchInstance, "validation_failed", "name"),
        (b'{"phone_number":"12"}', PairCodeRequest, "validation_failed", "phone_number"),
        (b'{"phone_number":"5511abc9999"}', PairCodeRequest, "validation_failed", "phone_number"),
        (b'{"phone_number":"5511999999999\\n"}', PairCodeRequest, "validation_failed", "phone_number"),
        (b'{"number":"999000000001\\n"}', CreatePhone, "validation_failed", "number"),
        (b'{"instance_id":"inst_\\u0000"}', PhoneAction, "validation_failed", "instance_id"),
        (b'{"number":"5511999999999"}', CreatePhone, "validation_failed", "number"),
        (b'{"name":"drop"}', CreateFault, "validation_failed", "number"),
        (b'{"name":"explode","number":"999000000001"}', CreateFault, "validation_failed", "name"),
        (b'{"name":"slow","number":"999000000001","params":{"x":1}}', CreateFault, "validation_failed", "params.x"),
        (b'{"to":"5511999999999"}', SendMessage, "validation_failed", "body"),
        (b'{"to":"55",%s}' % SAID, SendMessage, "validation_failed", "to"),
        (b'{"to":"1203630@g.us",%s}' % SAID, SendMessage, "chat_not_supported_yet", "to"),
        (b'{"to":"5511999999999","body":{"text":"x"}}', SendMessage, "validation_failed", "body.type"),
        (b'{"to":"5511999999999","body":{"type":"song"}}', SendMessage, "validation_failed", "body.type"),
        (b'{"to":"5511999999999","body":{"type":"text","text":""}}', SendMessage, "validation_failed", "body.text"),
        (b'{"to":"5511999999999","body":{"type":"text","text":"x","y":1}}', SendMessage, "validation_failed", "body.y"),
        (b'{"to":"5511999999999","client_ref":"\\u0000",%s}' % SAID, SendMessage, "validation_failed", "client_ref"),
        (b'{"to":"5511999999999","expires_in":0,%s}' % SAID, SendMessage, "validation_failed", "expires_in"),
        (b'{"presence":"available"}', SetPresenceRequest, "validation_failed", "presence"),
        (b"{%s}" % SAID, ContactSends, "validation_failed", "to"),
        (b'{"to":"999000000001","count":0}', ContactBurst, "validation_failed", "count"),
    ],
)
def test_parse_json_refuses_with_code_and_field(raw: bytes, kind: type[Request], code: str, field: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        parse_json(raw, kind)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize("kind", ["image", "audio", "video", "document", "sticker"])
def test_parse_json_says_of_media_that_it_is_to_come(kind: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_json(b'{"to":"5511999999999","body":{"type":"%s","media_url":"x"}}' % kind.encode(), SendMessage)
    assert (refused.value.code, refused.value.field) == ("media_not_supported_yet", "body.type")


@pytest.mark.parametrize(
    ("raw", "kind", "hint"),
    [
        (b'{"to":"5511999999999","body":{"type":"txt"}}', SendMessage, "there are text, reaction, edit, revoke, "),
        (
            b'{"to":"1","body":{"type":"edit","message_id":"a","txt":1}}',
            SendMessage,
            "known are type, message_id, text",
        ),
        (
            b'{"to":"1","body":{"type":"contact","contacts":[{"name":"a","vcard":"b"},{"tel":1}]}}',
            SendMessage,
            "known are name, phone_number, vcard",
        ),
        (b'{"to":"1","body":{"type":"text","text":"a","mentions":["a"]}}', SendMessage, "it takes digits, or the JID"),
        (b'{"presence":"flying"}', SetPresenceRequest, "there are paused, recording, typing"),
        (b'{"persona":"robot"}', CreateContact, "there are silent, echo"),
        (b'{"number":"12"}', CreatePhone, "it takes a sandbox number: 999 and nine more digits"),
        (b'{"phone_number":"12"}', PairCodeRequest, "it takes an international number in digits"),
        (b'{"presence":"flying" and no JSON', SetPresenceRequest, "there are paused, recording, typing"),
        (b'{"to":"1","body":{"type":"text","txt":1} and no JSON', SendMessage, "is not known here"),
    ],
)
def test_parse_json_says_what_would_have_been_right(raw: bytes, kind: type[Request], hint: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_json(raw, kind)
    assert hint in str(refused.value)


@pytest.mark.parametrize("since", ["yesterday", "2026-05-01"])
def test_parse_query_shows_how_a_time_is_written(since: str) -> None:
    with pytest.raises(Invalid, match="2026-05-01T12:34:56Z"):
        parse_query([("since", since)], MessagesQuery)


def test_parse_json_keeps_metadata_as_it_came() -> None:
    metadata: dict[str, Any] = {"a": [1, 2.5, None, True, {"é": "😀\n"}], "big": 2**63 - 1}
    body = parse_json(json.dumps({"name": "a", "metadata": metadata}).encode(), CreateInstance)
    assert body.metadata == metadata


def test_parse_json_takes_metadata_of_sixteen_levels() -> None:
    parse_json(deep(15), CreateInstance)


def test_parse_json_names_the_known_fields() -> None:
    with pytest.raises(Invalid, match="known are name, metadata"):
        parse_json(b'{"title":"a"}', CreateInstance)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["name", "metadata", "number", "params", "phone_number", "to", "body", "type", "text"]
                    )
                    | st.text(),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.sampled_from(BODIES),
)
def test_parse_json_gives_a_value_or_invalid_whatever_comes(raw: bytes, kind: type[Request]) -> None:
    outcome: Request | Invalid
    try:
        outcome = parse_json(raw, kind)
    except Invalid as error:
        outcome = error
    assert isinstance(outcome, kind) or getattr(outcome, "code", None) in {
        "invalid_json",
        "validation_failed",
        "chat_not_supported_yet",
    }


@pytest.mark.parametrize(
    ("pairs", "kind", "field"),
    [
        ([("limit", "0")], PageQuery, "limit"),
        ([("limit", "101")], PageQuery, "limit"),
        ([("limit", "9" * 400)], PageQuery, "limit"),
        ([("limit", "")], PageQuery, "limit"),
        ([("limit", "1"), ("limit", "2")], PageQuery, "limit"),
        ([("page", "1")], PageQuery, "page"),
        ([("wait_s", "nan")], QrQuery, "wait_s"),
        ([("wait_s", "11")], QrQuery, "wait_s"),
        ([("after", "a"), ("cursor", "b")], EventsQuery, "cursor"),
        ([("chat", "x")], MessagesQuery, "chat"),
        ([("direction", "up")], MessagesQuery, "direction"),
        ([("since", "yesterday")], MessagesQuery, "since"),
        ([("since", "2026-05-01T12:34:56")], MessagesQuery, "since"),
        ([("since", "1969-05-01T12:34:56Z")], MessagesQuery, "since"),
    ],
)
def test_parse_query_names_the_parameter(pairs: list[tuple[str, str]], kind: type[Request], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_query(pairs, kind)
    assert refused.value.field == field


def test_parse_query_reads_numbers() -> None:
    assert parse_query([("wait_s", "0.5")], QrQuery).wait_s == 0.5


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_777_638_896_000, "2026-05-01T12:34:56.000Z"),
        (1_777_638_896_007, "2026-05-01T12:34:56.007Z"),
    ],
)
def test_iso_writes_milliseconds_and_z(at: int, text: str) -> None:
    assert iso(at) == text


def test_unix_ms_reads_what_iso_writes() -> None:
    assert unix_ms(iso(1_777_638_896_007)) == 1_777_638_896_007
    assert unix_ms("2026-05-01T14:34:56.007+02:00") == 1_777_638_896_007


QR_TEXT = "2@" + "A" * 60 + ",b,c,d"


def test_qr_pictures_have_their_formats() -> None:
    assert qr.png(QR_TEXT).startswith(b"\x89PNG\r\n")
    assert qr.svg(QR_TEXT).startswith(b"<?xml")
    assert qr.data_url(QR_TEXT).startswith("data:image/png;base64,")


def test_qr_terminal_art_is_the_picture() -> None:
    """Half blocks and PNG pixels show the same modules."""
    lines = qr.terminal_art(QR_TEXT).splitlines()
    halves = {"█": (1, 1), "▀": (1, 0), "▄": (0, 1), " ": (0, 0)}
    rows = [[halves[c][half] for c in line] for line in lines for half in (0, 1)]
    assert len({len(line) for line in lines}) == 1
    assert rows[2][2:9] == [0] * 7  # the finder pattern behind the quiet zone
    assert _png_rows(qr.png(QR_TEXT))[4 * 6][4 * 6 : 11 * 6] == [0] * 42


def _png_rows(picture: bytes) -> list[list[int]]:
    """Read a one-bit greyscale PNG without filters."""
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(picture):
        size = int.from_bytes(picture[at : at + 4])
        chunks[picture[at + 4 : at + 8]] = picture[at + 8 : at + 8 + size]
        at += size + 12
    width = int.from_bytes(chunks[b"IHDR"][:4])
    raw, stride = zlib.decompress(chunks[b"IDAT"]), (width + 7) // 8 + 1
    lines = [raw[row + 1 : row + stride] for row in range(0, len(raw), stride)]
    return [[line[x // 8] >> (7 - x % 8) & 1 for x in range(width)] for line in lines]


def an_instance(**changes: Any) -> Instance:
    fields: dict[str, Any] = {
        "id": "inst_1", "customer_id": "cust_1", "mode": Mode.TEST, "name": "a", "metadata": {}, "phone_number": None,
        "lid": None, "status": State.PENDING, "has_account": False, "reason": None, "detail": None, "expires_at": None,
        "intent": None, "incarnation": 3, "last_seen_at": None, "created_at": 0, "updated_at": 1, "deleted_at": None,
    }  # fmt: skip
    return Instance(**{**fields, **changes})


def test_instance_body_has_every_public_field_and_no_other() -> None:
    assert list(InstanceBody.of(an_instance()).__struct_fields__) == [
        "id", "customer_id", "name", "phone_number", "status", "last_seen_at", "metadata", "created_at", "updated_at",
        "mode", "reason", "detail", "expires_at",
    ]  # fmt: skip


def test_pair_code_body_puts_the_dash_in() -> None:
    assert PairCodeBody.of("ABCDEFGH", 0).code == "ABCD-EFGH"


def an_event(type_: str, data: dict[str, Any] | None) -> Event:
    return Event(7, "evt_1", "cust_1", Mode.TEST, "inst_1", 1, type_, 0, data, None)


def test_event_envelope_draws_the_qr() -> None:
    envelope = EventEnvelope.of(an_event("qr.updated", {"code": QR_TEXT, "expires_at": iso(1000)}))
    assert envelope.data is not None
    assert envelope.data["qr"].startswith("data:image/png;base64,")
    assert envelope.data["code"] == QR_TEXT
    assert envelope.data["expires_at"] == "1970-01-01T00:00:01.000Z"


def test_event_envelope_of_expired_content_is_null() -> None:
    assert EventEnvelope.of(an_event("qr.updated", None)).data is None


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (PairCodeRequest, {"phone_number": "5511999999999\n"}),
        (PhoneAction, {"instance_id": "inst_1\n"}),
        (ContactReads, {"to": "999000000001", "wa_message_ids": ["3EB0\n"]}),
    ],
)
def test_a_line_feed_does_not_pass_at_the_end_of_a_pattern(kind, raw):
    with pytest.raises(Invalid):
        parse_json(json.dumps(raw).encode(), kind)
