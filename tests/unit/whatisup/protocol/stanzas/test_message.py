"""Message stanzas: what one side writes the other reads, and what a delivered one tells of its sender."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.playbook import OWN, OWN_LID, UNIX, travel
from whatisup.errors import RemoteProtocolError
from whatisup.jid import SERVER, STATUS_BROADCAST, Jid
from whatisup.protocol.stanzas.message import (
    MAX_ENCS,
    MAX_PARTICIPANTS,
    PLAIN_UNAVAILABLE,
    ChatKind,
    Enc,
    Envelope,
    Outgoing,
    build_delivery,
    build_message,
    mark_offline,
    parse_envelope,
    parse_message,
    weigh,
)
from whatisup.protocol.stanzas.receipt import parse_receipt
from whatisup.wire import Node

FRIEND = Jid("15550002222", "s.whatsapp.net", 3)
FRIEND_LID = Jid("200000022222", "lid", 3)
GROUP = Jid("123-456", "g.us")
MSG = Enc("msg", b"ciphertext")
PKMSG = Enc("pkmsg", b"first", mediatype="image", hide=True)
TEXT = Outgoing(id="M1", to=OWN_LID, type="text")


def read(node: Node) -> Envelope:
    return parse_envelope(travel(node), own_pn=OWN, own_lid=OWN_LID)


def delivered(source: Jid, message: Outgoing = TEXT, **options: Jid | str | int | None) -> Envelope:
    return read(build_delivery(message, source=source, unix_t=UNIX, encs=(MSG,), **options))  # type: ignore[arg-type]  # options by name


# What a client sends


FANNED_OUT = Outgoing(
    id="3EB0AA",
    to=FRIEND_LID.normalised,
    type="media",
    edit="1",
    peer_recipient_pn=FRIEND.normalised,
    participants=((FRIEND_LID, MSG), (FRIEND_LID.with_device(0), PKMSG)),
    device_identity=b"identity",
    meta={"polltype": "creation"},
    reporting=b"sixteen bytes ok",
    tctoken=b"token",
    phash="2:abcdefgh",
)
RETRY_ANSWER = Outgoing(
    id="3EB0BB",
    to=GROUP,
    type="text",
    direct=Enc("pkmsg", b"again", count=2),
    device_identity=b"identity",
    addressing_mode="lid",
    participant=FRIEND_LID,
    recipient=FRIEND,
    unix_t=UNIX,
    device_fanout=False,
)
PEER = Outgoing(
    id="3EB0CC",
    to=OWN.normalised,
    type="text",
    direct=MSG,
    meta={"appdata": "default"},
    category="peer",
    push_priority="high",
)
CHANNEL = Outgoing(
    id="1", to=Jid("9", "newsletter"), type="text", plaintext=b"\x0a\x02hi", cstoken=b"c", biz=Node("biz")
)


@pytest.mark.parametrize("message", [FANNED_OUT, RETRY_ANSWER, PEER, CHANNEL, TEXT])
def test_a_sent_message_travels(message: Outgoing) -> None:
    assert parse_message(travel(build_message(message))) == message


def test_a_sent_message_is_written_as_the_field_expects_it() -> None:
    node = build_message(FANNED_OUT)
    assert [child.tag for child in node.children()] == [
        "participants",
        "device-identity",
        "meta",
        "reporting",
        "tctoken",
    ]
    participants = node.child("participants")
    assert participants is not None
    first, second = participants.children("to")
    assert first.children()[0].attrs == {"v": "2", "type": "msg"}
    assert second.children()[0].attrs == {"v": "2", "type": "pkmsg", "mediatype": "image", "decrypt-fail": "hide"}


@pytest.mark.parametrize(
    "node",
    [
        Node("receipt", {"id": "1", "to": FRIEND}),
        Node("message", {"to": FRIEND}),
        Node("message", {"id": "1", "to": "15550002222"}),
        Node("message", {"id": "1", "to": FRIEND}, (Node("enc", {}, b"x"),)),
        Node("message", {"id": "1", "to": FRIEND}, (Node("enc", {"type": "msg", "count": "-1"}, b"x"),)),
        Node("message", {"id": "1", "to": FRIEND}, (Node("enc", {"type": "msg"}, b"x"),) * 2),
        Node("message", {"id": "1", "to": FRIEND}, (Node("participants", {}, (Node("to", {"jid": FRIEND}),)),)),
        Node("message", {"id": "1", "to": FRIEND}, (Node("meta", {str(n): "x" for n in range(33)}),)),
        Node("message", {"id": "1", "to": FRIEND}, (Node("device-identity", {}, bytes(5000)),)),
    ],
)
def test_a_broken_sent_message_is_refused(node: Node) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_message(node)


def test_a_message_for_too_many_devices_is_refused() -> None:
    entry = Node("to", {"jid": FRIEND}, (Node("enc", {"type": "msg"}, b"x"),))
    node = Node("message", {"id": "1", "to": GROUP}, (Node("participants", {}, (entry,) * (MAX_PARTICIPANTS + 1)),))
    with pytest.raises(RemoteProtocolError):
        parse_message(node)


# What a client receives


def test_a_friends_message() -> None:
    envelope = delivered(FRIEND, sender_alt=FRIEND_LID.normalised, push_name="Friend")
    assert envelope == Envelope(
        id="M1",
        chat=FRIEND.normalised,
        sender=FRIEND,
        source=FRIEND,
        participant=None,
        recipient=None,
        sender_alt=FRIEND_LID,
        chat_alt=FRIEND_LID.normalised,
        kind=ChatKind.USER,
        is_from_me=False,
        unix_t=UNIX,
        type="text",
        push_name="Friend",
        is_offline=False,
        edit=None,
        category=None,
        encs=(MSG,),
        plaintext=None,
        unavailable=None,
        device_identity=None,
        addressing_mode="pn",
        pairs=((FRIEND.normalised, FRIEND_LID.normalised),),
        meta={},
    )


def test_a_friends_message_by_hidden_id() -> None:
    envelope = delivered(FRIEND_LID, sender_alt=FRIEND.normalised)
    assert (envelope.chat, envelope.chat_alt) == (FRIEND_LID.normalised, FRIEND.normalised)
    assert (envelope.sender, envelope.sender_alt, envelope.addressing_mode) == (FRIEND_LID, FRIEND, "lid")
    assert envelope.pairs == ((FRIEND.normalised, FRIEND_LID.normalised),)


@pytest.mark.parametrize(("own", "chat", "chat_alt"), [(OWN, FRIEND, FRIEND_LID), (OWN_LID, FRIEND_LID, FRIEND)])
def test_our_own_message_from_elsewhere(own: Jid, chat: Jid, chat_alt: Jid) -> None:
    phone = own.with_device(0)
    envelope = delivered(phone, recipient=chat.normalised, chat_alt=chat_alt.normalised)
    assert (envelope.kind, envelope.is_from_me, envelope.source) == (ChatKind.USER, True, phone)
    assert (envelope.chat, envelope.chat_alt) == (chat.normalised, chat_alt.normalised)
    assert envelope.sender_alt == (OWN if own.is_lid else OWN_LID).with_device(0)
    assert envelope.pairs == ((FRIEND.normalised, FRIEND_LID.normalised),)


@pytest.mark.parametrize("recipient", [None, OWN.normalised])
def test_a_note_to_ourselves(recipient: Jid | None) -> None:
    envelope = delivered(OWN.with_device(0), recipient=recipient)
    assert (envelope.kind, envelope.is_from_me) == (ChatKind.OWN_NOTE, True)
    assert (envelope.chat, envelope.chat_alt) == (OWN.normalised, OWN_LID.normalised)


def test_a_peer_message() -> None:
    assert delivered(OWN.with_device(0), replace(PEER, direct=None)).kind is ChatKind.PEER
    assert delivered(OWN.with_device(0), replace(TEXT, type="peer_msg")).kind is ChatKind.PEER


def test_a_strangers_peer_message_is_none() -> None:
    envelope = delivered(FRIEND, replace(PEER, direct=None))
    assert (envelope.kind, envelope.is_from_me) == (ChatKind.USER, False)


@pytest.mark.parametrize(
    ("chat", "kind"),
    [(GROUP, ChatKind.GROUP), (STATUS_BROADCAST, ChatKind.STATUS), (Jid("77", "broadcast"), ChatKind.BROADCAST)],
)
def test_messages_to_many(chat: Jid, kind: ChatKind) -> None:
    envelope = delivered(chat, participant=FRIEND_LID, sender_alt=FRIEND.normalised)
    assert (envelope.kind, envelope.chat, envelope.sender, envelope.sender_alt) == (kind, chat, FRIEND_LID, FRIEND)
    assert (envelope.participant, envelope.is_from_me) == (FRIEND_LID, False)
    assert envelope.pairs == ((FRIEND.normalised, FRIEND_LID.normalised),)
    own = delivered(chat, participant=OWN_LID.with_device(0))
    assert (own.is_from_me, own.sender_alt) == (True, OWN.with_device(0))


def test_a_newsletters_message() -> None:
    envelope = read(build_delivery(CHANNEL, source=CHANNEL.to, unix_t=UNIX, server_id=17))
    assert (envelope.kind, envelope.plaintext, envelope.server_id) == (ChatKind.NEWSLETTER, b"\x0a\x02hi", 17)
    assert envelope.encs == ()


def test_a_hosted_device_stays_one_under_both_names() -> None:
    hosted = Jid("15550002222", "hosted", 99)
    envelope = delivered(hosted, sender_alt=FRIEND_LID.normalised)
    assert (envelope.chat, envelope.sender) == (FRIEND.normalised, hosted)
    assert envelope.sender_alt == Jid(FRIEND_LID.user, "hosted.lid", 99)
    assert envelope.pairs == ((FRIEND.normalised, FRIEND_LID.normalised),)


def test_an_address_of_the_wrong_family_counts_as_absent() -> None:
    node = Node("message", {"id": "1", "from": FRIEND, "t": "1", "sender_lid": FRIEND, "sender_pn": FRIEND_LID})
    assert read(node).pairs == ()


def test_what_stands_beside_a_ciphertext() -> None:
    message = replace(FANNED_OUT, tctoken=None)
    node = mark_offline(build_delivery(message, source=FRIEND, unix_t=UNIX, encs=(PKMSG, MSG)), 4)
    envelope = read(node)
    assert envelope.encs == (PKMSG, MSG)
    assert (envelope.is_offline, envelope.edit, envelope.device_identity) == (True, "1", b"identity")
    assert envelope.meta == {"polltype": "creation"}


def test_a_device_identity_reaches_only_who_needs_it() -> None:
    assert read(build_delivery(FANNED_OUT, source=FRIEND, unix_t=UNIX, encs=(MSG,))).device_identity is None


def test_what_the_sender_tells_the_server_reaches_nobody() -> None:
    node = build_delivery(FANNED_OUT, source=FRIEND, unix_t=UNIX, encs=(PKMSG,))
    assert [child.tag for child in node.children()] == ["enc", "device-identity", "meta"]
    assert not {"to", "phash", "peer_recipient_pn"} & set(node.attrs)


@pytest.mark.parametrize("kind", [PLAIN_UNAVAILABLE, "view_once"])
def test_a_message_without_ciphertext_says_why(kind: str) -> None:
    node = build_delivery(TEXT, source=FRIEND, unix_t=UNIX, unavailable=kind)
    assert read(node).unavailable == kind


@pytest.mark.parametrize(
    "attrs",
    [
        {"from": FRIEND, "t": "1"},
        {"id": "1", "t": "1"},
        {"id": "1", "from": "15550002222", "t": "1"},
        {"id": "1", "from": FRIEND},
        {"id": "1", "from": FRIEND, "t": "-5"},
        {"id": "1", "from": SERVER, "t": "1"},
        {"id": "1", "from": Jid("1", "call"), "t": "1"},
        {"id": "1", "from": GROUP, "t": "1"},
        {"id": "1", "from": GROUP, "t": "1", "participant": SERVER},
        {"id": "1", "from": FRIEND, "t": "1", "sender_lid": "200000022222"},
        {"id": "1", "from": FRIEND, "t": "1", "recipient": "x"},
    ],
)
def test_an_envelope_that_says_too_little_is_refused(attrs: dict[str, str | Jid]) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_envelope(Node("message", attrs), own_pn=OWN, own_lid=OWN_LID)


def test_too_many_ciphertexts_are_refused() -> None:
    enough = build_delivery(TEXT, source=FRIEND, unix_t=UNIX, encs=(MSG,) * MAX_ENCS)
    assert len(read(enough).encs) == MAX_ENCS
    with pytest.raises(RemoteProtocolError):
        read(build_delivery(TEXT, source=FRIEND, unix_t=UNIX, encs=(MSG,) * (MAX_ENCS + 1)))


def test_weight_grows_with_what_is_held() -> None:
    assert weigh(Node("a", {}, bytes(1000))) - weigh(Node("a", {}, b"")) == 1000
    assert weigh(Node("a", {}, (Node("b"),) * 10)) > 10 * weigh(Node("b"))


def test_no_representation_shows_a_ciphertext() -> None:
    secret = b"0123456789"
    message = Outgoing(
        id="M1",
        to=OWN_LID,
        type="text",
        participants=((FRIEND, Enc("pkmsg", secret)),),
        device_identity=secret,
        reporting=secret,
        tctoken=secret,
        cstoken=secret,
        plaintext=secret,
    )
    assert parse_message(travel(build_message(message))) == message
    envelope = read(build_delivery(message, source=FRIEND, unix_t=UNIX, encs=(Enc("pkmsg", secret),)))
    assert (envelope.plaintext, envelope.device_identity) == (secret, secret)
    assert secret.decode() not in repr(message) + repr(envelope)


jids = st.sampled_from([FRIEND, FRIEND_LID, GROUP, OWN, OWN_LID, SERVER, STATUS_BROADCAST, Jid("1", "newsletter"),
                        Jid("1", "hosted", 99), Jid("5", "bot"), Jid("", "lid")])  # fmt: skip
garbage = st.dictionaries(
    st.sampled_from(["id", "from", "to", "t", "participant", "recipient", "sender_lid", "sender_pn", "participant_lid",
                     "category", "type", "peer_recipient_pn", "device_fanout", "server_id", "notify"]),
    jids | st.sampled_from(["1", "", "peer", "x"]),
)  # fmt: skip


@given(garbage)
@settings(deadline=None)
def test_garbage_is_a_protocol_error_or_a_message(attrs: dict[str, str | Jid]) -> None:
    node = Node("message", attrs, (Node("enc", {"type": "msg"}, b"x"),))
    for own_lid in (OWN_LID, None):
        try:
            envelope = parse_envelope(node, own_pn=OWN, own_lid=own_lid)
        except RemoteProtocolError:
            continue
        assert envelope.chat == envelope.chat.normalised
        assert all(pn.is_pn and lid.is_lid for pn, lid in envelope.pairs)
    try:
        message = parse_message(node)
    except RemoteProtocolError:
        return
    assert parse_message(travel(build_message(message))) == message


@pytest.mark.parametrize("bad", ["a\0b", "a b", "a\n", "\u00e9", "x" * 129])
def test_ids_that_no_device_makes_are_refused(bad: str) -> None:
    node = Node("message", {"id": bad, "from": FRIEND, "t": str(UNIX)}, None)
    with pytest.raises(RemoteProtocolError):
        read(node)
    for attrs, content in (
        ({"id": bad}, None),
        ({"id": "M1"}, (Node("list", {}, (Node("item", {"id": bad}),)),)),
        ({"id": "M1"}, (Node("participants", {"key": bad}, (Node("user", {"jid": FRIEND, "t": "1"}),)),)),
    ):
        with pytest.raises(RemoteProtocolError):
            parse_receipt(Node("receipt", {"from": FRIEND, "t": str(UNIX), **attrs}, content))


def test_push_names_hold_no_control_characters() -> None:
    names = {
        "A\0n\nn\x9b": "Ann",
        "\0": None,
        "x" * 600: "x" * 512,
        "\U0001f468\u200d\U0001f469": "\U0001f468\u200d\U0001f469",
    }
    for name, shown in names.items():
        node = Node("message", {"id": "M1", "from": FRIEND, "t": str(UNIX), "notify": name}, None)
        assert read(node).push_name == shown
