"""Normalising: what each content reads as, what is taken off it, and whom it is believed from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from whatisup.crypto import AuthenticationFailed
from whatisup.errors import LocalProtocolError, RemoteProtocolError
from whatisup.jid import Jid
from whatisup.protocol.content import describe
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
from whatisup.protocol.content.compose import Target, add_skdm, compose, compose_vote, skdm_only, wrap_device_sent
from whatisup.protocol.content.normalise import Key, decrypt_vote, merge, normalise, reveal
from whatisup.protocol.content.peer import (
    HistoryNotice,
    app_state_key_share,
    history_notification,
    lid_mapping_sync,
    placeholder_resend_request,
    placeholder_resend_response,
)
from whatisup.protocol.content.secrets import UseCase, seal_addon
from whatisup.wire.message import (
    AlbumMessage,
    AudioMessage,
    ContactMessage,
    ContactsArrayMessage,
    ContextInfo,
    DocumentMessage,
    EncReactionMessage,
    ExtendedTextMessage,
    FutureProofMessage,
    ImageMessage,
    LiveLocationMessage,
    LocationMessage,
    Message,
    MessageAssociation,
    MessageContextInfo,
    MessageKey,
    Opaque,
    PinInChatMessage,
    PollCreationMessage,
    PollUpdateMessage,
    ProtocolMessage,
    ReactionMessage,
    SecretEncryptedMessage,
    StickerMessage,
    VideoMessage,
    parse,
)

VECTORS = json.loads((Path(__file__).parents[4] / "vectors" / "vectors-messaging.json").read_text("utf-8"))
OWN, CHAT, GROUP = Jid("1000", "lid"), Jid("2000", "lid"), Jid("120363", "g.us")
SECRET = b"s" * 32
KEY = MessageKey(remoteJid="2000@lid", fromMe=True, id="3EB0AA", participant="3000:4@lid")
TARGET = Key("3EB0AA", True, "3000@lid", "2000@lid")


def read(message, *, is_own=False, is_own_phone=False):
    raw = message if isinstance(message, bytes) else message.SerializeToString()
    content = normalise(raw, is_own=is_own, is_own_phone=is_own_phone)
    msgspec.json.encode(content.body)
    return content


def wrapped(message, name="ephemeralMessage"):
    return Message(**{name: FutureProofMessage(message=message)})


CONTEXT = ContextInfo(
    stanzaId="3EB0BB",
    participant="15550000002:7@s.whatsapp.net",
    quotedMessage=Message(conversation="older"),
    mentionedJid=["1000@lid", "nobody", "15550000001@c.us"],
    isForwarded=True,
    nonJidMentions=1,
)
CONTEXT_BODY = {
    "reply_to": {"wa_message_id": "3EB0BB", "from": "15550000002@s.whatsapp.net"},
    "mentions": ["1000@lid", "15550000001@s.whatsapp.net"],
    "mentions_everyone": True,
    "forwarded": True,
}
MEDIA = {"mediaKey": b"k" * 32, "directPath": "/v/t62", "url": "https://mmg", "fileSha256": b"h", "fileLength": 10}

CONTENTS = [
    (Message(conversation="hi"), {"type": "text", "text": "hi"}),
    (Message(conversation=""), {"type": "text", "text": ""}),
    (
        Message(extendedTextMessage=ExtendedTextMessage(text="hi", contextInfo=CONTEXT)),
        {"type": "text", "text": "hi", **CONTEXT_BODY},
    ),
    (
        Message(
            imageMessage=ImageMessage(
                caption="look", mimetype="image/jpeg", width=4, height=3, contextInfo=CONTEXT, **MEDIA
            )
        ),
        {
            "type": "image",
            "caption": "look",
            "mime_type": "image/jpeg",
            "size": 10,
            "width": 4,
            "height": 3,
            "downloadable": False,
            **CONTEXT_BODY,
        },
    ),
    (
        Message(videoMessage=VideoMessage(seconds=9, gifPlayback=True, **MEDIA)),
        {"type": "video", "seconds": 9, "gif": True, "size": 10, "downloadable": False},
    ),
    (
        Message(ptvMessage=VideoMessage(seconds=9)),
        {"type": "video", "seconds": 9, "video_note": True, "downloadable": False},
    ),
    (
        Message(audioMessage=AudioMessage(seconds=2, ptt=True, mimetype="audio/ogg; codecs=opus")),
        {
            "type": "audio",
            "seconds": 2,
            "voice_note": True,
            "mime_type": "audio/ogg; codecs=opus",
            "downloadable": False,
        },
    ),
    (
        Message(documentMessage=DocumentMessage(fileName="a.pdf", title="A", pageCount=2)),
        {"type": "document", "file_name": "a.pdf", "title": "A", "page_count": 2, "downloadable": False},
    ),
    (
        Message(stickerMessage=StickerMessage(isAnimated=True)),
        {"type": "sticker", "animated": True, "downloadable": False},
    ),
    (
        Message(locationMessage=LocationMessage(degreesLatitude=1.5, degreesLongitude=2, name="N", address="A")),
        {"type": "location", "latitude": 1.5, "longitude": 2.0, "name": "N", "address": "A"},
    ),
    (
        Message(locationMessage=LocationMessage(degreesLatitude=float("nan"), degreesLongitude=1e9, isLive=True)),
        {"type": "location", "latitude": None, "longitude": None, "live": True},
    ),
    (
        Message(liveLocationMessage=LiveLocationMessage(degreesLatitude=1, degreesLongitude=2, caption="c")),
        {"type": "location", "latitude": 1.0, "longitude": 2.0, "live": True, "caption": "c"},
    ),
    (
        Message(contactMessage=ContactMessage(displayName="Ann", vcard="TEL;waid=15550000001:+1")),
        {
            "type": "contact",
            "contacts": [{"name": "Ann", "vcard": "TEL;waid=15550000001:+1", "phone_number": "15550000001"}],
        },
    ),
    (
        Message(contactsArrayMessage=ContactsArrayMessage(contacts=[ContactMessage(displayName="Bob")])),
        {"type": "contact", "contacts": [{"name": "Bob", "vcard": ""}]},
    ),
    (
        Message(albumMessage=AlbumMessage(expectedImageCount=2)),
        {"type": "album", "images": 2, "videos": 0},
    ),
    (
        Message(templateMessage=Opaque()),
        {"type": "unknown", "kind": "templateMessage"},
    ),
    (
        Message(pinInChatMessage=PinInChatMessage(key=KEY)),
        {"type": "unknown", "kind": "pinInChatMessage"},
    ),
    (
        wrapped(None, "documentWithCaptionMessage"),
        {"type": "unknown", "kind": "documentWithCaptionMessage"},
    ),
]


@pytest.mark.parametrize(("message", "body"), CONTENTS, ids=lambda value: str(value)[:30].split("{")[0].strip())
def test_content_reads_as_a_body(message, body):
    content = read(message)
    assert content.body == body
    assert content.kind == body["type"]
    assert not content.is_self_only


def test_nothing_of_a_mediums_keys_gets_into_a_body():
    shown = repr(read(Message(imageMessage=ImageMessage(**MEDIA))).body)
    assert not any(word in shown for word in ("kkkk", "t62", "mmg"))


def test_a_field_that_is_newer_than_ours_is_unknown():
    assert read(b"\xf0\x3f\x05").body == {"type": "unknown", "kind": "field_1022"}


@pytest.mark.parametrize("message", [Message(), Message(messageContextInfo=MessageContextInfo(messageSecret=SECRET))])
def test_nothing_says_nothing(message):
    content = read(message)
    assert (content.kind, content.body) == ("", None)


# What we say ourselves


def composed(body, target=None, chat=CHAT):
    return compose(body, chat=chat, own=OWN, target=target, secret=SECRET, unix_ms=5).message


ROUND_TRIPS = [
    (TextBody("hi"), None, {"type": "text", "text": "hi"}),
    (ReactionBody("x", "y"), Target("A", False), {"type": "reaction", "message_id": "A", "emoji": "y"}),
    (ReactionBody("x", ""), Target("A", False), {"type": "reaction", "message_id": "A", "emoji": ""}),
    (EditBody("x", "y"), Target("A", True), {"type": "edit", "message_id": "A", "text": "y"}),
    (RevokeBody("x"), Target("A", True), {"type": "revoke", "message_id": "A"}),
    (LocationBody(1, 2, "N"), None, {"type": "location", "latitude": 1.0, "longitude": 2.0, "name": "N"}),
    (
        PollBody("Q", ("a", "b"), 2),
        None,
        {"type": "poll", "name": "Q", "options": ["a", "b"], "selectable_count": 2},
    ),
]


@pytest.mark.parametrize(("body", "target", "said"), ROUND_TRIPS, ids=lambda value: type(value).__name__)
def test_what_is_composed_reads_as_it_was_meant(body, target, said):
    content = read(composed(body, target))
    assert content.body == said
    assert (content.target is None) == (target is None)
    if target is not None:
        assert content.target == Key(target.wa_id, target.from_me, None, str(CHAT))


def test_composed_contacts_read_back():
    content = read(composed(ContactBody((ContactCard("Ann", "15550000001"), ContactCard("Bob", vcard="V")))))
    first, second = content.body["contacts"]
    assert (first["name"], first["phone_number"]) == ("Ann", "15550000001")
    assert second == {"name": "Bob", "vcard": "V"}


def test_the_secret_is_told_apart_from_the_body():
    content = read(composed(TextBody("hi")))
    assert content.secret == SECRET
    assert read(Message(messageContextInfo=MessageContextInfo(messageSecret=b"short"))).secret is None


def test_no_repr_shows_what_is_said():
    message = add_skdm(composed(PollBody("Quest", ("a", "b"))), "1@g.us", b"distributed")
    shown = repr(read(message))
    assert not any(word in shown for word in ("Quest", "distributed", "ssss"))


# Targets


def test_a_reaction_names_its_target():
    content = read(Message(reactionMessage=ReactionMessage(key=KEY, text="x")))
    assert (content.kind, content.target) == ("reaction", TARGET)


@pytest.mark.parametrize("wa_id", ["", "A" * 129])
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (lambda key: Message(reactionMessage=ReactionMessage(key=key)), "reactionMessage"),
        (lambda key: Message(encReactionMessage=EncReactionMessage(targetMessageKey=key)), "encReactionMessage"),
        (lambda key: Message(pollUpdateMessage=PollUpdateMessage(pollCreationMessageKey=key)), "pollUpdateMessage"),
    ],
)
def test_what_is_about_no_message_is_unknown(message, kind, wa_id):
    content = read(message(MessageKey(id=wa_id)))
    assert content.body == {"type": "unknown", "kind": kind}
    assert content.target is None


@pytest.mark.parametrize("protocol_type", [ProtocolMessage.REVOKE, ProtocolMessage.MESSAGE_EDIT])
def test_protocol_messages_about_no_message_say_nothing(protocol_type):
    content = read(Message(protocolMessage=ProtocolMessage(type=protocol_type)))
    assert (content.kind, content.body) == ("protocol", None)


def test_a_target_with_broken_addresses_keeps_its_id():
    key = MessageKey(id="A", remoteJid="x", participant="a:b@lid")
    assert read(Message(reactionMessage=ReactionMessage(key=key))).target == Key("A", False)


# Edits and revokes


def edit(message):
    return Message(protocolMessage=ProtocolMessage(type=ProtocolMessage.MESSAGE_EDIT, key=KEY, editedMessage=message))


@pytest.mark.parametrize("wrap", [lambda message: message, lambda message: wrapped(message, "editedMessage")])
@pytest.mark.parametrize(
    ("new", "text"),
    [
        (Message(conversation="better"), "better"),
        (Message(extendedTextMessage=ExtendedTextMessage(text="better")), "better"),
        (Message(imageMessage=ImageMessage(caption="better")), "better"),
        (
            wrapped(Message(documentMessage=DocumentMessage(caption="better")), "documentWithCaptionMessage"),
            "better",
        ),
        (Message(imageMessage=ImageMessage()), None),
        (Message(), None),
        (edit(Message(conversation="nested")), None),
    ],
)
def test_edits_of_both_forms(wrap, new, text):
    content = read(wrap(edit(new)))
    assert (content.kind, content.target) == ("edit", TARGET)
    assert content.body == {"type": "edit", "message_id": "3EB0AA", "text": text}


def test_an_edit_keeps_its_mentions():
    new = Message(extendedTextMessage=ExtendedTextMessage(text="x", contextInfo=ContextInfo(mentionedJid=["1@lid"])))
    assert read(edit(new)).body["mentions"] == ["1@lid"]


@pytest.mark.parametrize("fields", [{"type": ProtocolMessage.REVOKE}, {}])
def test_a_revoke_may_leave_its_type_out(fields):
    content = read(Message(protocolMessage=ProtocolMessage(key=KEY, **fields)))
    assert content.body == {"type": "revoke", "message_id": "3EB0AA"}
    assert content.target == TARGET


# Wrappers

WRAPPERS = {
    "ephemeralMessage": "ephemeral",
    "viewOnceMessage": "view_once",
    "viewOnceMessageV2": "view_once",
    "viewOnceMessageV2Extension": "view_once",
    "botInvokeMessage": "bot_invoke",
    "documentWithCaptionMessage": "document_with_caption",
    "lottieStickerMessage": "lottie_sticker",
    "editedMessage": "edited",
    "associatedChildMessage": "associated_child",
    "groupStatusMessage": "group_status",
    "groupStatusMessageV2": "group_status",
    "groupMentionedMessage": "group_mentioned",
}


@pytest.mark.parametrize(("field", "name"), WRAPPERS.items())
def test_wrappers_are_taken_off_and_remembered(field, name):
    content = read(wrapped(Message(conversation="hi"), field))
    assert content.kind == "text"
    assert content.wrappers == {name}
    assert content.body.get("view_once", False) is (name == "view_once")
    assert parse(Message, content.message) == Message(conversation="hi")


@pytest.mark.parametrize(("depth", "kind"), [(5, "text"), (6, "unknown")])
def test_five_wrappers_are_taken_off(depth, kind):
    message = Message(conversation="hi")
    for _ in range(depth):
        message = wrapped(message)
    assert read(message).kind == kind


def test_the_context_outside_serves_inside():
    outer = wrapped(Message(conversation="hi"))
    outer.messageContextInfo.messageSecret = SECRET
    content = read(outer)
    assert content.secret == SECRET
    assert parse(Message, content.message).messageContextInfo.messageSecret == SECRET


def test_the_context_inside_wins():
    inner = Message(conversation="hi", messageContextInfo=MessageContextInfo(messageSecret=SECRET))
    outer = wrapped(inner)
    outer.messageContextInfo.messageSecret = b"o" * 32
    assert read(outer).secret == SECRET


def test_an_album_names_its_parent():
    association = MessageAssociation(associationType=MessageAssociation.MEDIA_ALBUM, parentMessageKey=KEY)
    outer = wrapped(Message(imageMessage=ImageMessage()), "associatedChildMessage")
    outer.messageContextInfo.messageAssociation.CopyFrom(association)
    assert read(outer).body == {"type": "image", "downloadable": False, "album": "3EB0AA"}


# Device-sent copies

SAMPLE = VECTORS["device_sent_example"]


def test_the_golden_copy_of_our_own_is_unwrapped():
    content = read(bytes.fromhex(SAMPLE["dsm_for_own_devices"]), is_own=True)
    assert content.body == {"type": "text", "text": "hello"}
    assert content.destination == "15550000002@s.whatsapp.net"
    assert content.wrappers == {"device_sent"}
    assert content.message.hex() == SAMPLE["inner"]


def test_a_copy_of_somebody_else_is_malformed():
    with pytest.raises(RemoteProtocolError):
        read(bytes.fromhex(SAMPLE["dsm_for_own_devices"]))
    with pytest.raises(RemoteProtocolError):
        read(wrapped(parse(Message, bytes.fromhex(SAMPLE["dsm_for_own_devices"]))))


# Sender keys


def test_a_sender_key_alone_says_nothing():
    content = read(bytes.fromhex(SAMPLE["skdm_only_plaintext"]))
    assert (content.kind, content.body, content.message) == ("", None, b"")
    group, key = content.skdm
    assert skdm_only(group, key).hex() == SAMPLE["skdm_only_plaintext"]


def test_a_sender_key_beside_content_is_taken_out():
    content = read(add_skdm(composed(TextBody("hi"), chat=GROUP), str(GROUP), b"key"))
    assert content.body == {"type": "text", "text": "hi"}
    assert content.skdm == (str(GROUP), b"key")
    assert content.message == composed(TextBody("hi"), chat=GROUP)


def test_merging_makes_one_message_of_two_plaintexts():
    content = read(merge([skdm_only("1@g.us", b"key"), composed(TextBody("hi"))]))
    assert content.body == {"type": "text", "text": "hi"}
    assert content.skdm == ("1@g.us", b"key")
    assert merge([b"\x0a\x02hi"]) == b"\x0a\x02hi"


def test_merging_refuses_halves_that_are_only_whole_together():
    with pytest.raises(RemoteProtocolError):
        merge([b"\x0a\x02", b"hi"])


# What only our own account may say

SELF_ONLY = [
    (history_notification(HistoryNotice(0)), "history_sync", False),
    (app_state_key_share([]), "app_state_key_share", False),
    (lid_mapping_sync([]), "lid_mapping", False),
    (placeholder_resend_request("1@lid", True, "A"), "peer_request", False),
    (placeholder_resend_response("R", []), "placeholder_response", True),
]


@pytest.mark.parametrize(("message", "kind", "phone_only"), SELF_ONLY, ids=[kind for _, kind, _ in SELF_ONLY])
def test_self_only_messages_are_believed_from_our_own_account_alone(message, kind, phone_only):
    for is_own, is_own_phone in ((False, False), (True, False), (True, True)):
        content = read(message, is_own=is_own, is_own_phone=is_own_phone)
        believed = is_own and (is_own_phone or not phone_only)
        assert content.kind == (kind if believed else "")
        assert content.is_self_only
        assert content.body is None


@pytest.mark.parametrize(
    ("protocol_type", "kind"),
    [
        (ProtocolMessage.EPHEMERAL_SETTING, "ephemeral_setting"),
        (ProtocolMessage.LIMIT_SHARING, "protocol"),
        (99, "protocol"),
    ],
)
def test_other_protocol_messages_are_named_and_not_shown(protocol_type, kind):
    content = read(Message(protocolMessage=ProtocolMessage(type=protocol_type, key=KEY)))
    assert (content.kind, content.body, content.is_self_only) == (kind, None, False)


# Votes and other add-ons

POLL = Target("3EB0AA", False, "1000@lid")


def vote(chosen, own=CHAT):
    return compose_vote(
        POLL, chosen, chat=OWN, own=own, poll_secret=SECRET, unix_ms=5, entropy=lambda n: b"i" * n
    ).message


NAMES = {"senders": ["15550000001@s.whatsapp.net", "1000@lid"], "modifiers": ["2000@lid"]}


@pytest.mark.parametrize("chosen", [[], ["a"], ["a", "b"]])
def test_a_vote_is_closed_until_it_is_revealed(chosen):
    content = read(vote(chosen))
    assert content.body == {"type": "poll_vote", "poll": "3EB0AA", "options": None}
    opened = reveal(content, secret=SECRET, options=["b", "a"], **NAMES)
    assert opened.body == {"type": "poll_vote", "poll": "3EB0AA", "options": sorted(chosen, reverse=True)}
    assert opened.addon is None
    assert decrypt_vote(vote(chosen), secret=SECRET, options=["a", "b"], **NAMES) == chosen


def test_a_vote_for_options_that_we_do_not_know_counts_them():
    body = reveal(read(vote(["a", "z"])), secret=SECRET, options=["a", "b"], **NAMES).body
    assert (body["options"], body["unknown_options"]) == (["a"], 1)


def test_a_vote_by_somebody_else_stays_closed():
    with pytest.raises(AuthenticationFailed):
        reveal(read(vote(["a"], own=Jid("3000", "lid"))), secret=SECRET, options=["a"], **NAMES)


def test_there_is_nothing_to_reveal_in_a_text():
    with pytest.raises(LocalProtocolError):
        reveal(read(Message(conversation="x")), secret=SECRET, **NAMES)
    with pytest.raises(LocalProtocolError):
        decrypt_vote(b"\x0a\x01x", secret=SECRET, options=[], **NAMES)


def sealed(use_case, plaintext):
    return seal_addon(
        use_case,
        plaintext,
        secret=SECRET,
        wa_id="3EB0AA",
        sender="1000@lid",
        modifier="2000@lid",
        entropy=lambda n: b"i" * n,
    )


def test_an_encrypted_reaction():
    addon = sealed(UseCase.REACTION, ReactionMessage(text="y").SerializeToString())
    reaction = EncReactionMessage(targetMessageKey=KEY, encPayload=addon.payload, encIv=addon.iv)
    content = read(Message(encReactionMessage=reaction))
    assert content.body == {"type": "reaction", "message_id": "3EB0AA", "emoji": None}
    assert content.target == TARGET
    assert reveal(content, secret=SECRET, **NAMES).body == {"type": "reaction", "message_id": "3EB0AA", "emoji": "y"}


@pytest.mark.parametrize("inner", [Message(conversation="better"), edit(Message(conversation="better"))])
def test_an_encrypted_edit(inner):
    addon = sealed(UseCase.MESSAGE_EDIT, inner.SerializeToString())
    secret = SecretEncryptedMessage(
        targetMessageKey=KEY,
        encPayload=addon.payload,
        encIv=addon.iv,
        secretEncType=SecretEncryptedMessage.MESSAGE_EDIT,
    )
    content = read(Message(secretEncryptedMessage=secret))
    assert content.body == {"type": "edit", "message_id": "3EB0AA", "text": None}
    assert reveal(content, secret=SECRET, **NAMES).body["text"] == "better"


def test_garbage_in_an_add_on_is_refused():
    addon = sealed(UseCase.REACTION, b"\x0a\x05x")
    reaction = EncReactionMessage(targetMessageKey=KEY, encPayload=addon.payload, encIv=addon.iv)
    with pytest.raises(RemoteProtocolError):
        reveal(read(Message(encReactionMessage=reaction)), secret=SECRET, **NAMES)


def test_the_golden_vote():
    poll = VECTORS["poll"]
    update = PollUpdateMessage(pollCreationMessageKey=MessageKey(id=poll["poll_message_id"]))
    update.vote.encPayload, update.vote.encIv = bytes.fromhex(poll["enc_payload"]), bytes.fromhex(poll["iv"])
    chosen = decrypt_vote(
        Message(pollUpdateMessage=update).SerializeToString(),
        secret=bytes.fromhex(poll["message_secret"]),
        senders=[poll["poll_creator"]],
        modifiers=[poll["voter"]],
        options=poll["options"],
    )
    assert chosen == ["Option 2"]
    assert hashlib.sha256(b"Option 2").hexdigest() == poll["option_sha256"][1]


# Bounds


@pytest.mark.parametrize(
    ("message", "size"),
    [
        (Message(conversation="x" * 70_000), describe.MAX_LONG),
        (Message(documentMessage=DocumentMessage(fileName="x" * 2_000)), describe.MAX_SHORT),
        (Message(reactionMessage=ReactionMessage(key=KEY, text="x" * 2_000)), describe.MAX_ID),
    ],
)
def test_long_texts_are_cut_and_said_to_be(message, size):
    body = read(message).body
    assert body["truncated"] is True
    assert max(len(value) for value in body.values() if isinstance(value, str)) == size


@pytest.mark.parametrize(
    ("message", "key", "most"),
    [
        (
            Message(
                pollCreationMessage=PollCreationMessage(
                    options=[PollCreationMessage.Option(optionName=str(number)) for number in range(500)]
                )
            ),
            "options",
            describe.MAX_OPTIONS,
        ),
        (
            Message(contactsArrayMessage=ContactsArrayMessage(contacts=[ContactMessage()] * 500)),
            "contacts",
            describe.MAX_CONTACTS,
        ),
        (
            Message(extendedTextMessage=ExtendedTextMessage(contextInfo=ContextInfo(mentionedJid=["1@lid"] * 5_000))),
            "mentions",
            describe.MAX_MENTIONS,
        ),
    ],
)
def test_long_lists_are_cut_and_said_to_be(message, key, most):
    body = read(message).body
    assert len(body[key]) == most
    assert body["truncated"] is True


def test_a_body_is_bounded_as_a_whole():
    cards = [ContactMessage(vcard="x" * 60_000)] * describe.MAX_CONTACTS
    body = read(Message(contactsArrayMessage=ContactsArrayMessage(contacts=cards))).body
    assert sum(len(card["vcard"]) for card in body["contacts"]) == describe.MAX_BODY
    assert body["truncated"] is True


def test_a_message_in_bounds_is_not_called_truncated():
    assert "truncated" not in read(Message(conversation="x" * describe.MAX_LONG)).body


def test_copies_of_ours_read_as_what_was_sent():
    copy = wrap_device_sent(composed(TextBody("hi")), CHAT)
    content = read(copy, is_own=True, is_own_phone=True)
    assert (content.body, content.destination, content.secret) == ({"type": "text", "text": "hi"}, str(CHAT), SECRET)


@pytest.mark.parametrize("wa_id", ["", "a\0b", "a b", "\u00e9", "x" * (describe.MAX_ID + 1)])
def test_what_is_about_no_possible_message_is_unknown(wa_id: str) -> None:
    key = MessageKey(id=wa_id, fromMe=True)
    about = Message(protocolMessage=ProtocolMessage(type=ProtocolMessage.REVOKE, key=key))
    for message in (Message(reactionMessage=ReactionMessage(key=key, text="x")), about):
        content = normalise(message.SerializeToString(), is_own=False, is_own_phone=False)
        assert content.target is None
