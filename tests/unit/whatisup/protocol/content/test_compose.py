"""Composing: which field says it, what the stanza is told, and what cannot be said."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content.bodies import (
    ContactBody,
    ContactCard,
    EditBody,
    LocationBody,
    PollBody,
    ReactionBody,
    RevokeBody,
    TextBody,
)
from whatisup.protocol.content.compose import (
    CannotCompose,
    Target,
    add_skdm,
    compose,
    compose_vote,
    skdm_only,
    wrap_device_sent,
)
from whatisup.protocol.content.quote import MAX_QUOTE, quotable
from whatisup.protocol.content.secrets import reporting_token
from whatisup.wire.message import (
    ContactMessage,
    ContactsArrayMessage,
    ContextInfo,
    EventMessage,
    ExtendedTextMessage,
    FutureProofMessage,
    ImageMessage,
    LocationMessage,
    Message,
    MessageKey,
    ProtocolMessage,
    parse,
)

VECTORS = json.loads((Path(__file__).parents[4] / "vectors" / "vectors-messaging.json").read_text("utf-8"))
SAMPLE = VECTORS["device_sent_example"]
OWN, CHAT, GROUP = Jid("1000", "lid"), Jid("2000", "lid"), Jid("120363", "g.us")
SECRET = b"s" * 32
MS = 1_700_000_000_123


def say(body, target=None, chat=CHAT):
    composed = compose(body, chat=chat, own=OWN, target=target, secret=SECRET, unix_ms=MS)
    return composed, parse(Message, composed.message)


def names(message):
    return [descriptor.name for descriptor, _ in message.ListFields() if descriptor.name != "messageContextInfo"]


OURS, THEIRS = Target("3EB0AA", True), Target("3EB0BB", False)


def test_plain_text_is_a_conversation():
    composed, message = say(TextBody("hello"))
    assert names(message) == ["conversation"]
    assert message.conversation == "hello"
    assert (composed.stanza_type, composed.edit, composed.mediatype, composed.hide, composed.meta) == (
        *("text", None, None, False),
        {},
    )


def test_the_same_arguments_give_the_same_bytes():
    assert say(TextBody("hello"))[0].message == say(TextBody("hello"))[0].message


def test_a_reply_quotes_the_original_without_what_it_replied_to():
    original = Message(extendedTextMessage=ExtendedTextMessage(text="first", contextInfo=ContextInfo(stanzaId="older")))
    original.messageContextInfo.messageSecret = SECRET
    target = Target("3EB0BB", False, None, original.SerializeToString())
    _, message = say(TextBody("second", reply_to="3EB0BB"), target)
    assert names(message) == ["extendedTextMessage"]
    assert message.extendedTextMessage.text == "second"
    context = message.extendedTextMessage.contextInfo
    assert (context.stanzaId, context.participant, context.HasField("remoteJid")) == ("3EB0BB", str(CHAT), False)
    assert context.quotedMessage == Message(extendedTextMessage=ExtendedTextMessage(text="first"))


@pytest.mark.parametrize(
    ("target", "chat", "author"),
    [(OURS, CHAT, OWN), (THEIRS, CHAT, CHAT), (Target("A", False, "3000@lid"), GROUP, "3000@lid"), (OURS, GROUP, OWN)],
)
def test_a_reply_names_the_author(target, chat, author):
    _, message = say(TextBody("x", reply_to="A"), target, chat)
    assert message.extendedTextMessage.contextInfo.participant == str(author)


def test_mentions_are_jids():
    _, message = say(TextBody("hi @15550000001", mentions=("15550000001", "+15550000002", "7@lid")))
    context = message.extendedTextMessage.contextInfo
    assert list(context.mentionedJid) == ["15550000001@s.whatsapp.net", "15550000002@s.whatsapp.net", "7@lid"]
    assert not context.HasField("quotedMessage")


@pytest.mark.parametrize(("wanted", "matched"), [(True, "https://example.com/a?b=c"), (False, None)])
def test_link_preview_marks_the_first_link_and_nothing_else(wanted, matched):
    body = TextBody("see https://example.com/a?b=c and http://other.example", link_preview=wanted)
    _, message = say(body)
    if matched is None:
        assert names(message) == ["conversation"]
    else:
        assert message.extendedTextMessage == ExtendedTextMessage(text=body.text, matchedText=matched)


def test_link_preview_without_a_link_is_plain_text():
    assert names(say(TextBody("no link", link_preview=True))[1]) == ["conversation"]


def test_reaction():
    composed, message = say(ReactionBody("A", "\N{THUMBS UP SIGN}"), THEIRS)
    assert (composed.stanza_type, composed.hide, composed.edit, composed.secret) == ("reaction", True, None, None)
    reaction = message.reactionMessage
    assert reaction.key == MessageKey(remoteJid=str(CHAT), fromMe=False, id="3EB0BB")
    assert (reaction.text, reaction.senderTimestampMs) == ("\N{THUMBS UP SIGN}", MS)
    assert not message.HasField("messageContextInfo")


def test_taking_a_reaction_back_is_marked():
    composed, message = say(ReactionBody("A", ""), OURS)
    assert composed.edit == "7"
    assert message.reactionMessage.HasField("text")
    assert message.reactionMessage.key.fromMe


def test_a_reaction_in_a_group_names_the_author():
    _, message = say(ReactionBody("A", "x"), Target("A", False, "3000@lid"), GROUP)
    assert message.reactionMessage.key.participant == "3000@lid"
    _, message = say(ReactionBody("A", "x"), OURS, GROUP)
    assert not message.reactionMessage.key.HasField("participant")


def test_edit():
    composed, message = say(EditBody("A", "better"), OURS)
    assert (composed.stanza_type, composed.hide, composed.edit) == ("text", True, "1")
    protocol = message.protocolMessage
    assert protocol.type == ProtocolMessage.MESSAGE_EDIT
    assert protocol.key == MessageKey(remoteJid=str(CHAT), fromMe=True, id="3EB0AA")
    assert protocol.editedMessage == Message(conversation="better")
    assert protocol.timestampMs == MS


def test_revoke_of_our_own():
    composed, message = say(RevokeBody("A"), OURS)
    assert (composed.hide, composed.edit) == (True, "7")
    assert message.protocolMessage.HasField("type")
    assert message.protocolMessage.type == ProtocolMessage.REVOKE
    assert message.protocolMessage.key == MessageKey(remoteJid=str(CHAT), fromMe=True, id="3EB0AA")


def test_revoke_by_an_admin():
    composed, message = say(RevokeBody("A"), Target("A", False, "3000@lid"), GROUP)
    assert composed.edit == "8"
    key = message.protocolMessage.key
    assert (key.fromMe, key.participant) == (False, "3000@lid")


@pytest.mark.parametrize(
    ("body", "target", "chat", "field"),
    [
        (EditBody("A", "x"), THEIRS, CHAT, "message_id"),
        (RevokeBody("A"), THEIRS, CHAT, "message_id"),
        (EditBody("A", "x"), None, CHAT, "message_id"),
        (RevokeBody("A"), None, CHAT, "message_id"),
        (ReactionBody("A", "x"), None, CHAT, "message_id"),
        (TextBody("x", reply_to="A"), None, CHAT, "reply_to"),
        (TextBody("x", reply_to="A"), THEIRS, GROUP, "reply_to"),
        (ReactionBody("A", "x"), THEIRS, GROUP, "message_id"),
    ],
)
def test_what_cannot_be_said_names_the_field(body, target, chat, field):
    with pytest.raises(CannotCompose) as caught:
        say(body, target, chat)
    assert caught.value.field == field
    assert isinstance(caught.value, LocalProtocolError)


def test_location():
    composed, message = say(LocationBody(52.5, 13.4, "Berlin", "Mitte"))
    place = LocationMessage(degreesLatitude=52.5, degreesLongitude=13.4, name="Berlin", address="Mitte")
    assert message.locationMessage == place
    assert (composed.stanza_type, composed.mediatype) == ("text", None)


def test_a_contact_by_number_becomes_a_vcard():
    composed, message = say(ContactBody((ContactCard("Ann;\nSmith", "+15550000001"),)))
    assert (composed.stanza_type, composed.mediatype) == ("media", "vcard")
    assert message.contactMessage.displayName == "Ann;\nSmith"
    assert message.contactMessage.vcard.split("\n") == [
        "BEGIN:VCARD",
        "VERSION:3.0",
        "FN:Ann\\; Smith",
        "N:;Ann\\; Smith;;;",
        "TEL;type=CELL;type=VOICE;waid=15550000001:+15550000001",
        "END:VCARD",
    ]


def test_several_contacts():
    composed, message = say(ContactBody((ContactCard("Ann", vcard="V1"), ContactCard("Bob", "15550000002"))))
    assert (composed.stanza_type, composed.mediatype) == ("media", "contact_array")
    assert [contact.displayName for contact in message.contactsArrayMessage.contacts] == ["Ann", "Bob"]
    assert message.contactsArrayMessage.contacts[0].vcard == "V1"


@pytest.mark.parametrize(
    ("count", "field"), [(1, "pollCreationMessageV3"), (2, "pollCreationMessage"), (0, "pollCreationMessage")]
)
def test_poll(count, field):
    composed, message = say(PollBody("Lunch?", ("Yes", "No"), count))
    assert (composed.stanza_type, composed.meta, composed.hide) == ("poll", {"polltype": "creation"}, False)
    assert names(message) == [field]
    poll = getattr(message, field)
    assert (poll.name, [option.optionName for option in poll.options]) == ("Lunch?", ["Yes", "No"])
    assert poll.HasField("selectableOptionsCount")
    assert poll.selectableOptionsCount == count


@pytest.mark.parametrize(
    ("body", "target"),
    [(TextBody("x"), None), (PollBody("x", ("a", "b")), None), (EditBody("A", "x"), OURS), (RevokeBody("A"), OURS)],
)
def test_where_a_secret_is_due_the_message_can_be_reported(body, target):
    composed, message = say(body, target)
    assert composed.secret == message.messageContextInfo.messageSecret == SECRET
    assert reporting_token(composed.message, SECRET, "ID", str(OWN), str(CHAT)) is not None


def test_vote():
    composed = compose_vote(
        Target("POLL", False, "2000@lid"),
        ["Yes"],
        chat=GROUP,
        own=OWN,
        poll_secret=SECRET,
        unix_ms=MS,
        entropy=lambda n: b"i" * n,
    )
    assert (composed.stanza_type, composed.meta, composed.hide) == ("poll", {"polltype": "vote"}, True)
    update = parse(Message, composed.message).pollUpdateMessage
    key = MessageKey(remoteJid=str(GROUP), fromMe=False, id="POLL", participant="2000@lid")
    assert update.pollCreationMessageKey == key
    assert update.vote.encIv == b"i" * 12
    assert len(update.vote.encPayload) == 2 + len(hashlib.sha256(b"Yes").digest()) + 16


def test_a_device_sent_copy_is_the_golden_one():
    copy = wrap_device_sent(bytes.fromhex(SAMPLE["inner"]), Jid.parse("15550000002@s.whatsapp.net"))
    assert copy.hex() == SAMPLE["dsm_for_own_devices"]


def test_a_device_sent_copy_carries_the_context_outside_too():
    composed, message = say(TextBody("x"))
    copy = parse(Message, wrap_device_sent(composed.message, CHAT))
    assert copy.messageContextInfo == message.messageContextInfo
    assert copy.deviceSentMessage.message == message


def test_sender_keys_are_handed_over_as_the_golden_message():
    golden = parse(Message, bytes.fromhex(SAMPLE["skdm_only_plaintext"])).senderKeyDistributionMessage
    made = skdm_only(golden.groupId, golden.axolotlSenderKeyDistributionMessage)
    assert made.hex() == SAMPLE["skdm_only_plaintext"]


def test_a_sender_key_is_added_and_everything_else_kept():
    raw = bytes.fromhex(SAMPLE["inner"]) + b"\xf0\x3f\x05"
    added = parse(Message, add_skdm(raw, "1@g.us", b"key"))
    assert added.senderKeyDistributionMessage.groupId == "1@g.us"
    added.ClearField("senderKeyDistributionMessage")
    assert added.SerializeToString() == raw


@pytest.mark.parametrize("change", [lambda raw: wrap_device_sent(raw, CHAT), lambda raw: add_skdm(raw, "g", b"k")])
def test_what_is_no_message_is_not_wrapped(change):
    with pytest.raises(RemoteProtocolError):
        change(b"\x0a\x05x")


QUOTED_CONTEXT = ContextInfo(stanzaId="older", quotedMessage=Message(conversation="older"))


@pytest.mark.parametrize(
    "original",
    [
        Message(imageMessage=ImageMessage(caption="x", jpegThumbnail=b"t", contextInfo=QUOTED_CONTEXT)),
        Message(
            contactsArrayMessage=ContactsArrayMessage(
                displayName="x", contacts=[ContactMessage(displayName="Ann", contextInfo=QUOTED_CONTEXT)]
            )
        ),
        Message(eventMessage=EventMessage(name="x", location=LocationMessage(contextInfo=QUOTED_CONTEXT))),
    ],
    ids=["image", "contacts", "event"],
)
def test_no_quote_holds_a_quote(original):
    raw = original.SerializeToString()
    quote = quotable(raw).SerializeToString()
    assert b"older" in raw
    assert b"older" not in quote
    assert b"x" in quote


@pytest.mark.parametrize(
    "original",
    [
        None,
        b"",
        Message(conversation="x" * MAX_QUOTE).SerializeToString(),
        Message(protocolMessage=ProtocolMessage(editedMessage=Message(conversation="x"))).SerializeToString(),
        Message(viewOnceMessage=FutureProofMessage(message=Message(conversation="x"))).SerializeToString(),
    ],
    ids=["none", "empty", "huge", "protocol", "wrapped"],
)
def test_what_cannot_be_quoted_quotes_an_empty_text(original):
    assert quotable(original) == Message(conversation="")


def test_a_quoted_conversation_comes_without_its_secret():
    original = parse(Message, say(TextBody("x"))[0].message)
    assert original.HasField("messageContextInfo")
    assert quotable(original.SerializeToString()) == Message(conversation="x")


def test_no_repr_shows_text_or_secret():
    composed, _ = say(TextBody("hello"))
    target = Target("A", True, None, b"hello")
    for shown in (repr(composed), repr(target)):
        assert "hello" not in shown
        assert "ss" not in shown
