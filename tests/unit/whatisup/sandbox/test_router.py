"""Messages between devices: who gets what, and what the sender is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.whatisup.sandbox.bench import Raw, make_bench
from tests.unit.whatisup.sandbox.town import ADA, BOB, Town, leave, make_town, messages
from whatisup.jid import STATUS_BROADCAST, Jid
from whatisup.protocol.stanzas.message import ChatKind, Enc, Outgoing, build_message, parse_envelope
from whatisup.protocol.stanzas.notification import DevicesChanged, read_notification
from whatisup.protocol.stanzas.usync import build_contact_query, build_device_query, parse_contacts, parse_devices
from whatisup.sandbox.accounts import device_hash
from whatisup.sandbox.state import State
from whatisup.wire import Node


@pytest.fixture
def town() -> Town:
    return make_town()


def test_message_reaches_each_device_with_its_own_ciphertext(town: Town) -> None:
    ack = town.route(ADA, 1, town.to_bob())
    assert ack is not None
    assert ack.attrs == {"class": "message", "id": "M1", "from": town.lid(BOB), "t": str(int(town.bench.unix))}
    (at_phone,) = town.phones.of(BOB)
    (at_companion,) = messages(Raw.active(town.bob).received())
    for node, device in ((at_phone, 0), (at_companion, 1)):
        envelope = parse_envelope(node, own_pn=town.pn(BOB, device), own_lid=town.lid(BOB, device))
        assert (envelope.id, envelope.kind, envelope.is_from_me) == ("M1", ChatKind.USER, False)
        assert (envelope.sender, envelope.sender_alt) == (town.lid(ADA, 1), town.pn(ADA, 1))
        assert envelope.push_name == "Ada L."
        assert [enc.ciphertext for enc in envelope.encs] == [b"hello" + str(town.lid(BOB, device)).encode()]


def test_own_devices_get_a_copy_that_names_the_chat(town: Town) -> None:
    town.route(ADA, 1, town.to_bob())
    (copy,) = messages(Raw.active(town.ada2).received())
    assert town.phones.of(ADA)[0].attrs == {key: value for key, value in copy.attrs.items() if key != "offline"}
    envelope = parse_envelope(copy, own_pn=town.pn(ADA, 2), own_lid=town.lid(ADA, 2))
    assert (envelope.is_from_me, envelope.recipient, envelope.chat) == (True, town.lid(BOB), town.lid(BOB))
    assert envelope.push_name == "Ada L.", "clients learn from it what they are called"
    assert (envelope.chat_alt, envelope.sender) == (town.pn(BOB), town.lid(ADA, 1))


def test_message_by_number_is_delivered_by_number(town: Town) -> None:
    town.route(ADA, 1, town.to_bob(as_lid=False))
    attrs = town.phones.of(BOB)[0].attrs
    assert (attrs["from"], attrs["sender_lid"]) == (town.pn(ADA, 1), town.lid(ADA))
    attrs = town.phones.of(ADA)[0].attrs
    assert (attrs["recipient"], attrs["peer_recipient_lid"]) == (town.pn(BOB), town.lid(BOB))


def test_message_carries_on_what_concerns_the_receiver_alone(town: Town) -> None:
    message = town.to_bob(
        edit="1",
        meta={"polltype": "creation"},
        device_identity=b"signed",
        reporting=b"r" * 16,
        tctoken=b"token",
        participants=((town.lid(BOB), Enc("pkmsg", b"x", mediatype="image", hide=True)),),
    )
    town.route(ADA, 1, message)
    (node,) = town.phones.of(BOB)
    assert node.attrs["edit"] == "1"
    assert [child.tag for child in node.children()] == ["enc", "device-identity", "meta"]
    enc = node.children()[0]
    assert (enc.attrs["mediatype"], enc.attrs["decrypt-fail"]) == ("image", "hide")


def test_sending_device_and_strangers_in_the_list_are_left_out(town: Town) -> None:
    town.bench.server.pairing.create_account("999000000003", None)
    devices = [town.lid(ADA, 1), town.lid("999000000003"), town.lid(BOB, 7), town.lid(BOB)]
    message = town.to_bob(participants=tuple((jid, Enc("msg", b"x")) for jid in devices))
    town.route(ADA, 1, message)
    assert [number for number, _ in town.phones.delivered] == [BOB]
    assert town.waiting(ADA, 1) == 0


def test_message_to_a_device_is_one_to_its_user(town: Town) -> None:
    ack = town.route(ADA, 1, town.to_bob(to=town.lid(BOB, 1)))
    assert ack is not None
    assert ack.attrs["from"] == town.lid(BOB, 1)
    assert len(town.phones.of(BOB)) == 1


def test_phash_is_told_where_devices_are_missing_and_those_get_it_later(town: Town) -> None:
    partly = town.to_bob(participants=((town.lid(BOB), Enc("msg", b"x")), (town.lid(ADA), Enc("msg", b"y"))))
    ack = town.route(ADA, 1, partly)
    everyone = [town.lid(BOB), town.lid(BOB, 1), town.lid(ADA), town.lid(ADA, 1), town.lid(ADA, 2)]
    assert ack is not None
    assert ack.attrs["phash"] == device_hash(everyone)
    town.bench.hands.now += 10
    rest = town.to_bob(participants=((town.lid(BOB, 1), Enc("msg", b"z")), (town.lid(ADA, 2), Enc("msg", b"w"))))
    second = town.route(ADA, 1, rest)
    assert second is not None
    assert "phash" not in second.attrs
    assert second.attrs["t"] == ack.attrs["t"], "the first time is the official one"
    assert (town.waiting(BOB), town.waiting(ADA, 2)) == (1, 1)
    assert len(town.phones.of(BOB)) == 1


def test_same_id_again_is_acknowledged_and_not_delivered(town: Town) -> None:
    first = town.route(ADA, 1, town.to_bob())
    town.bench.hands.now += 60
    assert town.route(ADA, 1, town.to_bob(body=b"encrypted anew")) == first
    assert len(town.phones.of(BOB)) == 1
    assert town.waiting(BOB) == 1


def test_same_id_of_another_device_is_another_message(town: Town) -> None:
    town.route(ADA, 1, town.to_bob())
    town.route(ADA, 2, town.to_bob())
    assert len(town.phones.of(BOB)) == 2


def test_time_of_messages_never_goes_back(town: Town) -> None:
    first = town.route(ADA, 1, town.to_bob("M1"))
    town.bench.hands.now -= 500
    second = town.route(ADA, 1, town.to_bob("M2"))
    assert first is not None
    assert second is not None
    assert second.attrs["t"] == first.attrs["t"]


def test_note_to_oneself_names_no_chat(town: Town) -> None:
    devices = (town.lid(ADA), town.lid(ADA, 2))
    note = town.to_bob(to=town.lid(ADA), participants=tuple((jid, Enc("msg", b"x")) for jid in devices))
    ack = town.route(ADA, 1, note)
    assert ack is not None
    assert "phash" not in ack.attrs
    (node,) = messages(Raw.active(town.ada2).received())
    assert "recipient" not in node.attrs
    envelope = parse_envelope(node, own_pn=town.pn(ADA, 2), own_lid=town.lid(ADA, 2))
    assert envelope.kind is ChatKind.OWN_NOTE


def test_blocked_sender_is_told_nothing_of_it(town: Town) -> None:
    town.bench.hub.ledger.block(BOB, ADA, is_blocked=True)
    ack = town.route(ADA, 1, town.to_bob())
    assert ack is not None
    assert "error" not in ack.attrs
    assert "phash" not in ack.attrs
    assert (town.phones.of(BOB), town.waiting(BOB)) == ([], 0)
    assert len(town.phones.of(ADA)) == 1


@pytest.mark.parametrize(
    ("to", "error"),
    [
        (Jid("999000000099", "s.whatsapp.net"), "400"),
        (Jid("123456789012345", "lid"), "400"),
        (Jid("120363000000000001", "g.us"), "403"),
    ],
)
def test_message_to_nobody_is_refused(town: Town, to: Jid, error: str) -> None:
    ack = town.route(ADA, 1, town.to_bob(to=to))
    assert ack is not None
    assert (ack.attrs["error"], ack.attrs["from"]) == (error, to)
    assert town.phones.delivered == []


def test_message_that_cannot_be_read_is_refused(town: Town) -> None:
    broken = Node("message", {"id": "M1", "to": town.lid(BOB)}, (Node("participants", {}, (Node("to"),)),))
    ack = town.route(ADA, 1, broken)
    assert ack is not None
    assert ack.attrs["error"] == "400"


@pytest.mark.parametrize("attrs", [{}, {"id": "M1"}, {"to": Jid("1", "lid")}, {"id": "x" * 256, "to": Jid("1", "lid")}])
def test_message_without_an_address_or_id_gets_no_ack(town: Town, attrs: dict[str, str | Jid]) -> None:
    assert town.route(ADA, 1, Node("message", attrs)) is None


def test_accounts_of_another_tenant_do_not_exist(town: Town) -> None:
    town.bench.server.pairing.create_account("999000000005", None, tenant="other")
    stranger = town.lid("999000000005")
    ack = town.route(ADA, 1, town.to_bob(to=stranger, participants=((stranger, Enc("msg", b"x")),)))
    assert ack is not None
    assert ack.attrs["error"] == "400"
    raw = Raw.active(town.ada)
    asked = build_device_query("1", [stranger])
    (found,) = parse_devices(raw.ask("get", "usync", *asked.children()))
    assert (found.is_known, found.devices) == (False, ())
    answer = raw.ask("get", "encrypt", Node("key", {}, (Node("user", {"jid": stranger}),)))
    assert [user.child("identity") for user in answer.children()[0].children()] in ([], [None])


# peer messages, other copies, lists


def test_peer_message_goes_to_the_own_phone_alone(town: Town) -> None:
    peer = build_message(
        Outgoing(id="P1", to=town.lid(ADA), type="text", category="peer", direct=Enc("msg", b"keys please"))
    )
    ack = town.route(ADA, 1, peer)
    assert ack is not None
    assert "error" not in ack.attrs
    (node,) = town.phones.of(ADA)
    envelope = parse_envelope(node, own_pn=town.pn(ADA), own_lid=town.lid(ADA))
    assert (envelope.kind, envelope.sender) == (ChatKind.PEER, town.lid(ADA, 1))
    assert town.waiting(ADA, 2) == 0


def test_peer_message_of_the_phone_goes_to_the_companion_it_names(town: Town) -> None:
    peer = build_message(
        Outgoing(id="P1", to=town.lid(ADA, 2), type="text", category="peer", direct=Enc("pkmsg", b"your keys"))
    )
    town.route(ADA, 0, peer)
    assert (town.waiting(ADA, 1), town.waiting(ADA, 2)) == (0, 1)
    (node,) = messages(Raw.active(town.ada2).received())
    envelope = parse_envelope(node, own_pn=town.pn(ADA, 2), own_lid=town.lid(ADA, 2))
    assert (envelope.kind, envelope.sender, envelope.is_from_me) == (ChatKind.PEER, town.lid(ADA), True)


@pytest.mark.parametrize(
    ("more", "error"),
    [({"tctoken": b"t"}, "479"), ({"to": Jid("999000000002", "s.whatsapp.net")}, "400"), ({"direct": None}, "400")],
)
def test_bad_peer_message_is_refused(town: Town, more: dict[str, object], error: str) -> None:
    fields: dict[str, object] = {"to": town.lid(ADA), "direct": Enc("msg", b"x"), **more}
    peer = build_message(Outgoing(id="P1", type="text", category="peer", **fields))  # type: ignore[arg-type]  # as the test says
    ack = town.route(ADA, 1, peer)
    assert ack is not None
    assert ack.attrs["error"] == error


def test_another_copy_reaches_only_the_device_that_asked(town: Town) -> None:
    first = town.route(ADA, 1, town.to_bob())
    town.phones.delivered.clear()
    town.bench.hands.now += 5
    again = build_message(
        Outgoing(id="M1", to=town.lid(BOB, 1), type="text", direct=Enc("pkmsg", b"once more", 1), device_fanout=False)
    )
    ack = town.route(ADA, 1, again)
    assert first is not None
    assert ack is not None
    assert ack.attrs["t"] == first.attrs["t"]
    assert town.phones.delivered == []
    _, copy = messages(Raw.active(town.bob).received())
    enc = copy.children()[0]
    assert (enc.attrs["count"], enc.content, copy.attrs["t"]) == ("1", b"once more", first.attrs["t"])


def test_another_copy_for_an_own_device_names_the_chat(town: Town) -> None:
    again = build_message(
        Outgoing(id="M1", to=town.lid(ADA), recipient=town.lid(BOB), type="text", direct=Enc("msg", b"x", 1))
    )
    town.route(ADA, 1, again)
    (node,) = town.phones.of(ADA)
    assert (node.attrs["recipient"], node.attrs["peer_recipient_pn"]) == (town.lid(BOB), town.pn(BOB))


def test_status_reaches_those_it_is_encrypted_for(town: Town) -> None:
    devices = ((town.lid(BOB), Enc("msg", b"key")), (town.lid(BOB, 1), Enc("msg", b"key")))
    status = build_message(
        Outgoing(id="S1", to=STATUS_BROADCAST, type="text", participants=devices, direct=Enc("skmsg", b"status"))
    )
    ack = town.route(ADA, 1, status)
    assert ack is not None
    assert "error" not in ack.attrs
    (node,) = town.phones.of(BOB)
    assert (node.attrs["from"], node.attrs["participant"]) == (STATUS_BROADCAST, town.lid(ADA, 1))
    assert [enc.attrs["type"] for enc in node.children()] == ["msg", "skmsg"]
    wrong = build_message(Outgoing(id="S2", to=STATUS_BROADCAST, type="text", addressing_mode="lid"))
    refused = town.route(ADA, 1, wrong)
    assert refused is not None
    assert refused.attrs["error"] == "479"


def test_newsletter_gets_a_number_and_no_readers(town: Town) -> None:
    post = build_message(Outgoing(id="N1", to=Jid("120363000000000001", "newsletter"), type="text", plaintext=b"x"))
    ack = town.route(ADA, 1, post)
    assert ack is not None
    assert ack.attrs["server_id"] == "1"
    assert town.phones.delivered == []


# what the server knows of people


def test_device_query_lists_phone_and_companions_in_the_form_asked(town: Town) -> None:
    raw = Raw.active(town.ada)
    query = build_device_query("1", [town.lid(ADA), town.pn(BOB), town.pn(BOB), Jid("999000000099", "s.whatsapp.net")])
    found = parse_devices(raw.ask("get", "usync", *query.children()))
    assert [user.user for user in found] == [town.lid(ADA), town.pn(BOB), Jid("999000000099", "s.whatsapp.net")]
    assert found[0].devices == ((0, None), (1, 1), (2, 2))
    assert found[1].devices == ((0, None), (1, 1))
    assert (found[1].lid, found[1].device_hash) == (town.lid(BOB), device_hash([town.pn(BOB), town.pn(BOB, 1)]))
    assert (found[2].is_known, found[2].devices) == (False, ())


def test_contact_query_says_who_is_there(town: Town) -> None:
    raw = Raw.active(town.ada)
    query = build_contact_query("1", [BOB, "999000000099"])
    bob, nobody = parse_contacts(raw.ask("get", "usync", *query.children()))
    assert (bob.number, bob.is_in, bob.lid) == (BOB, True, town.lid(BOB))
    assert (nobody.number, nobody.is_in) == ("999000000099", False)


def test_block_list_is_set_and_read(town: Town) -> None:
    raw = Raw.active(town.ada)
    item: dict[str, str | Jid] = {"action": "block", "jid": town.lid(BOB), "pn_jid": town.pn(BOB)}
    for answer in (raw.ask("set", "blocklist", Node("item", item)), raw.ask("get", "blocklist")):
        assert [entry.attrs["jid"] for entry in answer.children()[0].children()] == [town.lid(BOB)]
    assert town.bench.hub.ledger.has_blocked(ADA, BOB)
    raw.ask("set", "blocklist", Node("item", {"action": "unblock", "jid": town.lid(BOB)}))
    assert not town.bench.hub.ledger.has_blocked(ADA, BOB)


def test_token_is_handed_to_the_contact_and_opens_the_door() -> None:
    town = make_town(["token-rule"])
    refused = town.route(ADA, 1, town.to_bob())
    assert refused is not None
    assert refused.attrs["error"] == "463"
    token: dict[str, str | Jid] = {"jid": town.lid(ADA), "t": str(int(town.bench.unix)), "type": "trusted_contact"}
    Raw.active(town.bob).ask("set", "privacy", Node("tokens", {}, (Node("token", token),)))
    (handed,) = town.phones.of(ADA, "notification")
    issued = handed.children()[0].children()[0].bytes_content()
    false = town.route(ADA, 1, town.to_bob(tctoken=b"guessed"))
    assert false is not None
    assert false.attrs["error"] == "463"
    accepted = town.route(ADA, 1, town.to_bob(tctoken=issued))
    assert accepted is not None
    assert "error" not in accepted.attrs
    town.bench.hands.now += 4 * 7 * 24 * 3600
    late = town.route(ADA, 1, town.to_bob("M2", tctoken=issued))
    assert late is not None
    assert late.attrs["error"] == "463"


def test_who_has_been_written_to_may_answer_without_a_token() -> None:
    town = make_town(["token-rule"])
    town.bench.hub.ledger.note_written(BOB, ADA)
    ack = town.route(ADA, 1, town.to_bob())
    assert ack is not None
    assert "error" not in ack.attrs


def test_contacts_hear_of_devices_that_come_and_go(town: Town) -> None:
    town.route(ADA, 1, town.to_bob())
    ada = Raw.active(town.ada)
    ada.received()
    town.bench.linked(BOB, "bob2")
    (node,) = ada.received()
    added = read_notification(node)
    assert isinstance(added, DevicesChanged)
    assert (added.user, added.lid, added.action) == (town.pn(BOB), town.lid(BOB), "add")
    assert added.devices == ((2, 2),)
    assert added.device_hash == device_hash(town.pn(BOB, device) for device in range(3))
    assert added.lid_hash == device_hash(town.lid(BOB, device) for device in range(3))
    companion = town.bench.hub.state.companion(BOB, 2)
    assert companion is not None
    town.bench.hub.unlink(companion)
    (node,) = ada.received()
    removed = read_notification(node)
    assert isinstance(removed, DevicesChanged)
    assert (removed.action, removed.device_hash) == ("remove", device_hash([town.pn(BOB), town.pn(BOB, 1)]))


def test_strangers_hear_nothing_of_devices(town: Town) -> None:
    ada = Raw.active(town.ada)
    ada.received()
    town.bench.linked(BOB, "bob2")
    assert ada.received() == []


def test_queue_ids_and_acquaintances_survive_the_sandbox(town: Town, tmp_path: Path) -> None:
    path = str(tmp_path / "sandbox.db")
    town = make_town(state=State.open(path))
    town.route(ADA, 1, town.to_bob())
    town.bench.hub.state.close()
    again = make_bench(state=State.open(path))
    town.bob.bench = again
    (message,) = messages(Raw.active(town.bob).received())
    assert message.attrs["id"] == "M1"
    assert again.hub.ledger.sent(ADA, 1, "M1") is not None
    assert again.hub.ledger.acquaintances(BOB) == [ADA]


# through sockets


def test_message_between_two_sockets_is_live(town: Town) -> None:
    ada, bob = Raw.active(town.ada), Raw.active(town.bob)
    ada.received(), bob.received()
    ada.send(town.to_bob())
    (ack,) = ada.received()
    (message,) = bob.received()
    assert (ack.tag, ack.attrs["id"]) == ("ack", "M1")
    assert (message.tag, "offline" in message.attrs) == ("message", False)


def test_message_is_on_disk_before_the_sender_hears_of_it(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    ada, bob = Raw.active(town.ada), Raw.active(town.bob)
    ada.received(), bob.received()

    def fail(*_: object) -> None:
        raise RuntimeError("no room on the disk")

    monkeypatch.setattr(town.bench.hub.ledger, "note_written", fail)
    with pytest.raises(RuntimeError):
        ada.send(town.to_bob())
    assert (ada.received(), bob.received()) == ([], [])
    assert (town.waiting(BOB), town.bench.hub.ledger.sent(ADA, 1, "M1")) == (0, None)


def test_presence_is_told_to_those_who_watch_and_are_there(town: Town) -> None:
    ada, bob = Raw.active(town.ada), Raw.active(town.bob)
    ada.received(), bob.received()
    ada.send(Node("presence", {"type": "available", "name": "Ada"}))
    ada.send(Node("presence", {"type": "subscribe", "to": town.lid(BOB)}))
    (now,) = ada.received()
    assert (now.attrs["from"], now.attrs["type"]) == (town.lid(BOB), "unavailable")
    bob.send(Node("presence", {"type": "available", "name": "Bob"}))
    (here,) = ada.received()
    assert (here.attrs["from"], here.attrs.get("type")) == (town.lid(BOB), None)
    leave(bob)
    (gone,) = ada.received()
    assert gone.attrs["type"] == "unavailable"


def test_typing_is_told_to_those_who_are_there_and_ends_by_itself(town: Town) -> None:
    ada, bob = Raw.active(town.ada), Raw.active(town.bob)
    ada.received(), bob.received()
    typing = Node("chatstate", {"to": town.lid(BOB)}, (Node("composing"),))
    ada.send(typing)
    assert bob.received() == []
    assert [number for number, _ in town.phones.delivered] == [BOB]
    bob.send(Node("presence", {"type": "available", "name": "Bob"}))
    ada.send(typing)
    (state,) = bob.received()
    assert (state.attrs["from"], state.children()[0].tag) == (town.lid(ADA), "composing")
    town.bench.hands.now += 26
    town.bench.server.tick()
    (state,) = bob.received()
    assert state.children()[0].tag == "paused"
