"""Keys from message secrets and the reporting token: every golden value, and the forms of JIDs that are tried."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from whatisup.crypto import AuthenticationFailed, hkdf_sha256
from whatisup.errors import RemoteProtocolError
from whatisup.protocol.content.report import reportable
from whatisup.protocol.content.secrets import (
    Addon,
    UseCase,
    content_for_report,
    derive,
    open_addon,
    reporting_token,
    seal_addon,
)
from whatisup.wire.message import (
    EventResponseMessage,
    FutureProofMessage,
    Message,
    PollVoteMessage,
    ReactionMessage,
)

VECTORS = json.loads((Path(__file__).parents[4] / "vectors" / "vectors-messaging.json").read_text("utf-8"))
DERIVED = VECTORS["message_secret_derivations"]
SECRET = bytes.fromhex(DERIVED["message_secret"])
SENDER, MODIFIER = DERIVED["original_sender"], DERIVED["modifier"]


@pytest.mark.parametrize("use_case", DERIVED["keys"])
def test_derived_key_is_the_golden_one(use_case):
    key = derive(SECRET, DERIVED["original_message_id"], SENDER, MODIFIER, use_case)
    assert key.hex() == DERIVED["keys"][use_case]


def test_every_use_case_has_a_golden_key():
    assert {str(use_case) for use_case in UseCase} <= set(DERIVED["keys"])


def test_bot_secret_is_a_plain_derivation():
    assert hkdf_sha256(SECRET, info=b"Bot Message", length=32).hex() == DERIVED["bot_secret"]


ADDONS = [
    (UseCase.POLL_VOTE, "poll", "poll_message_id", "poll_creator", "voter", "vote_plaintext"),
    (UseCase.EVENT_RESPONSE, "event_response", "event_message_id", "creator", "responder", "plaintext"),
    (UseCase.REACTION, "enc_reaction", "target_message_id", "target_sender", "reactor", "plaintext"),
]


@pytest.mark.parametrize(("use_case", "group", "id_", "sender", "modifier", "plaintext"), ADDONS)
def test_add_on_is_sealed_and_opened_as_the_golden_one(use_case, group, id_, sender, modifier, plaintext):
    vector = VECTORS[group]
    wa_id, payload, iv = vector[id_], bytes.fromhex(vector["enc_payload"]), bytes.fromhex(vector["iv"])
    assert derive(SECRET, wa_id, vector[sender], vector[modifier], use_case).hex() == vector["key"]
    sealed = seal_addon(
        use_case,
        bytes.fromhex(vector[plaintext]),
        secret=SECRET,
        wa_id=wa_id,
        sender=vector[sender],
        modifier=vector[modifier],
        entropy=lambda n: iv[:n],
    )
    assert sealed == Addon(use_case, wa_id, payload, iv)
    opened = open_addon(sealed, secret=SECRET, senders=[vector[sender]], modifiers=[vector[modifier]])
    assert opened.hex() == vector[plaintext]


def test_golden_plaintexts_say_what_they_should():
    poll = VECTORS["poll"]
    vote = PollVoteMessage.FromString(bytes.fromhex(poll["vote_plaintext"]))
    assert vote.selectedOptions == [hashlib.sha256(poll["options"][1].encode()).digest()]
    reaction = ReactionMessage.FromString(bytes.fromhex(VECTORS["enc_reaction"]["plaintext"]))
    assert reaction.text == "\N{THUMBS UP SIGN}"
    response = EventResponseMessage.FromString(bytes.fromhex(VECTORS["event_response"]["plaintext"]))
    assert response.response == EventResponseMessage.GOING


def sealed_vote():
    return seal_addon(
        UseCase.POLL_VOTE,
        b"",
        secret=SECRET,
        wa_id="ID",
        sender="1@lid",
        modifier="2@lid",
        entropy=lambda n: b"i" * n,
    )


def test_every_form_of_both_names_is_tried():
    senders, modifiers = ["1@s.whatsapp.net", "1@lid"], ["2@s.whatsapp.net", "2@lid"]
    assert open_addon(sealed_vote(), secret=SECRET, senders=senders, modifiers=modifiers) == b""


@pytest.mark.parametrize(
    "wrong",
    [
        {"senders": ["3@lid"]},
        {"modifiers": ["3@lid"]},
        {"modifiers": []},
        {"secret": b"x" * 32},
    ],
)
def test_what_nobody_named_has_made_stays_closed(wrong):
    arguments = {"secret": SECRET, "senders": ["1@lid"], "modifiers": ["2@lid"]} | wrong
    with pytest.raises(AuthenticationFailed):
        open_addon(sealed_vote(), **arguments)


@pytest.mark.parametrize(
    ("payload", "iv"), [(b"", b"i" * 12), (b"p" * 15, b"i" * 12), (b"p" * 40, b""), (b"p" * 40, b"i" * 16)]
)
def test_add_ons_of_impossible_lengths_stay_closed(payload, iv):
    with pytest.raises(AuthenticationFailed):
        open_addon(Addon(UseCase.POLL_VOTE, "ID", payload, iv), secret=SECRET, senders=["a"], modifiers=["b"])


def test_an_add_on_shows_neither_payload_nor_iv():
    assert "payload" not in repr(sealed_vote())


REPORT = VECTORS["reporting_token"]
REPORTED = bytes.fromhex(REPORT["message_protobuf"])


def test_reporting_token_is_the_golden_one():
    assert content_for_report(REPORTED).hex() == REPORT["extracted_content"]
    token = reporting_token(REPORTED, SECRET, REPORT["message_id"], REPORT["own_jid"], REPORT["remote_jid"])
    assert token is not None
    assert token.hex() == REPORT["token16"]


def test_reporting_token_is_bound_to_both_names():
    token = reporting_token(REPORTED, SECRET, REPORT["message_id"], REPORT["remote_jid"], REPORT["remote_jid"])
    assert token is not None
    assert token.hex() != REPORT["token16"]


def test_a_wrapped_message_gets_no_token():
    # Both clients reduce wrapped messages to nothing.
    wrapped = Message(viewOnceMessage=FutureProofMessage(message=Message(conversation="x"))).SerializeToString()
    assert content_for_report(wrapped) == b""
    assert reporting_token(wrapped, SECRET, "ID", "1@lid", "2@lid") is None


def test_reported_fields_are_in_ascending_order_and_keep_their_bytes():
    conversation, text = b"\x0a\x01a", b"\x32\x03\x0a\x01b"
    # an unreported field between, and a length written in two bytes where one would do
    assert reportable(text + b"\xfa\x01\x00" + conversation) == conversation + text
    assert reportable(b"\x0a\x81\x00a") == b"\x0a\x81\x00a"


@pytest.mark.parametrize(
    "raw",
    [b"\x0a", b"\x0a\x05x", b"\x0b\x0c", b"\x09\x01", b"\x0d\x01", b"\xff" * 11, b"\x30\x01", b"\x32\x02\x0a\x09"],
)
def test_report_of_garbage_is_refused(raw):
    with pytest.raises(RemoteProtocolError):
        content_for_report(raw)
