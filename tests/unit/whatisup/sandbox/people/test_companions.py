"""A phone and what is linked to it: greeting, copies, retries both ways, and messages that only the phone can read."""

from __future__ import annotations

import pytest

from tests.unit.whatisup.sandbox.people.companion import Companion, link, together
from tests.unit.whatisup.sandbox.people.town import ADA, BOB, Town, make_town
from whatisup.control import SWITCHES
from whatisup.protocol.content import peer
from whatisup.protocol.messaging import sealing
from whatisup.protocol.messaging.opening import Verdict
from whatisup.protocol.prekeys import LOW
from whatisup.protocol.stanzas.receipt import build_receipt
from whatisup.sandbox.switches import parse_switches


@pytest.fixture
def town() -> Town:
    return make_town()


@pytest.fixture
def device(town: Town) -> Companion:
    """Ada's companion."""
    return link(town, ADA)


def test_new_companion_is_given_keys_and_an_empty_history_once(town: Town, device: Companion) -> None:
    assert device.kinds() == ["app_state_key_share", "history_sync"]
    share, history = (opened.content.message for opened in device.opened if opened.content is not None)
    (key,) = peer.read_app_state_keys(share)
    assert (len(key.key_id), len(key.data)) == (6, 32)
    notice = peer.read_history_notification(history)
    assert (notice.sync_type, notice.progress, notice.inline) == (0, 100, peer.empty_history())
    device.log_in()
    together(town, device)
    assert len(device.opened) == 2


def test_contact_reaches_phone_and_companion(town: Town, device: Companion) -> None:
    sent = town.say(BOB, ADA, "hello")
    together(town, device)
    assert device.texts() == ["hello"]
    assert town.texts(ADA) == ["hello"]
    assert town.receipts(BOB, sent) == {(ADA, 0, "delivered"), (ADA, 1, "delivered")}


def test_companions_message_is_copied_to_its_phone(town: Town, device: Companion) -> None:
    sent = device.say(town.turn(BOB), BOB, "from the desk")
    together(town, device)
    assert town.texts(BOB) == ["from the desk"]
    copy = town.received(ADA)[-1]
    assert (copy.id, copy.is_own, copy.chat, copy.device, copy.text) == (sent, True, BOB, 1, "from the desk")
    kinds = {(receipt.kind, str(receipt.source)) for receipt in device.receipts if sent in receipt.ids}
    bob, ada = (town.bench.server.pairing.account(number) for number in (BOB, ADA))
    assert kinds == {("", str(bob.lid_jid)), ("sender", str(ada.lid_jid))}


def test_what_a_companion_cannot_read_is_sent_again_until_it_can(town: Town, device: Companion) -> None:
    town.say(BOB, ADA, "one")
    together(town, device)
    for name in device.keys.names("session", ""):
        device.keys.delete("session", name)
    sent = town.say(BOB, ADA, "two")
    together(town, device)
    assert device.texts() == ["one", "two"]
    verdicts = [opened.verdict for opened in device.opened if opened.envelope.id == sent]
    # The second request carries keys, from which the phone makes a session that the companion knows.
    assert verdicts == [Verdict.FAILED, Verdict.FAILED, Verdict.READ]
    assert town.texts(ADA) == ["one", "two"]
    assert (ADA, 1, "retry") in town.receipts(BOB, sent)


def test_what_a_phone_cannot_read_it_asks_for_again(town: Town, device: Companion) -> None:
    device.say(town.turn(BOB), BOB, "one")
    together(town, device)
    town.arm("corrupt-mac", BOB)
    sent = device.say(town.turn(BOB), BOB, "two")
    together(town, device)
    row = town.received(BOB)[-1]
    assert (row.id, row.verdict, row.reason) == (sent, "undecryptable", "bad_mac")
    (asked,) = [receipt for receipt in device.receipts if receipt.kind == "retry"]
    assert asked.retry is not None
    assert (asked.retry.wa_id, asked.retry.count, asked.retry.keys) == (sent, 1, None)


def test_phone_hands_its_companion_what_that_could_not_read(town: Town, device: Companion) -> None:
    sent = town.say(BOB, ADA, "only for you")
    together(town, device)
    bob = town.bench.server.pairing.account(BOB)
    request = peer.placeholder_resend_request(str(bob.lid_jid), False, sent)
    node = sealing.seal_peer(
        request, device.keys, device.own, "REQUEST1", bundle=town.turn(BOB).bundle(device.own.lid.with_device(0)),
        entropy=device.stream,
    )  # fmt: skip
    assert device.connection is not None
    device.connection.send([node], town.bench.hands.now)
    together(town, device)
    answer = device.opened[-1].content
    assert answer is not None
    assert answer.kind == "placeholder_response"
    read = peer.read_placeholder_response(answer.message)
    assert read.request_id == "REQUEST1"
    (message,) = read.messages
    assert (message.name.wa_id, message.name.from_me) == (sent, False)
    assert message.message is not None
    assert b"only for you" in message.message
    assert town.received(ADA)[-1].kind == "peer_request"


def test_companion_that_died_before_its_receipt_gets_the_same_ciphertext_again(town: Town, device: Companion) -> None:
    device.is_deaf = True
    sent = town.say(BOB, ADA, "still there?")
    together(town, device)
    assert town.receipts(BOB, sent) == {(ADA, 0, "delivered")}
    device.is_deaf = False
    device.log_in()
    together(town, device)
    assert device.texts() == ["still there?"]
    assert (ADA, 1, "delivered") in town.receipts(BOB, sent)


def test_new_keys_of_a_contact_reach_the_companion_and_both_go_on(town: Town, device: Companion) -> None:
    device.say(town.turn(BOB), BOB, "before")
    town.say(BOB, ADA, "before too")
    together(town, device)
    town.people.renew(BOB)
    together(town, device)
    town.say(BOB, ADA, "after")
    together(town, device)
    assert device.texts() == ["before too", "after"]
    assert device.opened[-1].identity_changed is not None
    device.say(town.turn(BOB), BOB, "welcome back")
    together(town, device)
    assert town.texts(BOB) == ["before", "welcome back"]


def test_people_who_use_up_prekeys_let_the_companion_make_more(town: Town, device: Companion) -> None:
    made = device.next_prekey_id
    town.bench.hands.now += 90  # right after an upload nobody believes that they are gone already
    for _ in range(LOW + 12):
        town.turn(BOB).bundle(device.own.lid)
    together(town, device)
    assert device.next_prekey_id > made


def test_companion_that_is_unlinked_is_no_longer_written_to(town: Town, device: Companion) -> None:
    town.say(BOB, ADA, "one")
    together(town, device)
    companion = town.bench.hub.state.companion(ADA, 1)
    assert companion is not None
    town.bench.hub.unlink(companion)
    sent = town.say(BOB, ADA, "two")
    assert town.receipts(BOB, sent) == {(ADA, 0, "delivered")}


def test_what_is_typed_on_the_phone_is_copied_to_the_companion(town: Town, device: Companion) -> None:
    sent = town.say(ADA, BOB, "typed on the phone")
    together(town, device)
    assert town.texts(BOB) == ["typed on the phone"]
    copy = device.opened[-1]
    assert (copy.envelope.id, copy.envelope.is_from_me, copy.envelope.sender.device) == (sent, True, 0)
    assert copy.envelope.chat == town.bench.server.pairing.account(BOB).lid_jid
    assert device.texts() == ["typed on the phone"]
    assert town.receipts(ADA, sent) == {(BOB, 0, "delivered"), (ADA, 1, "sender")}


def test_copy_that_the_companion_cannot_read_is_sent_again_as_a_copy(town: Town, device: Companion) -> None:
    for name in device.keys.names("session", ""):
        device.keys.delete("session", name)
    sent = town.say(ADA, BOB, "typed on the phone")
    together(town, device)
    last = device.opened[-1]
    assert (last.envelope.id, last.verdict, last.envelope.is_from_me) == (sent, Verdict.READ, True)
    assert last.content is not None
    assert "device_sent" in last.content.wrappers
    assert town.texts(BOB) == ["typed on the phone"]


def test_note_to_oneself_reaches_the_companion_alone(town: Town, device: Companion) -> None:
    town.say(ADA, ADA, "do not forget")
    together(town, device)
    assert device.texts() == ["do not forget"]
    assert town.received(BOB) == []


def test_chat_that_the_companion_read_is_read_on_the_phone(town: Town, device: Companion) -> None:
    sent = town.say(BOB, ADA, "seen?")
    together(town, device)
    bob = town.bench.server.pairing.account(BOB)
    assert device.connection is not None
    device.connection.send([build_receipt([sent], bob.lid_jid, kind="read", unix_t=1)], town.bench.hands.now)
    together(town, device)
    assert (ADA, 1, "read") in town.receipts(BOB, sent)
    town.people.read(ADA, BOB, [])
    town.settle()
    assert (ADA, 0, "read") not in town.receipts(BOB, sent), "the phone knows that it was read"


@pytest.mark.parametrize("switch", SWITCHES)
def test_people_live_with_every_switch(switch: str) -> None:
    town = make_town()
    town.bench.hub.switches = parse_switches([switch])
    device = link(town, ADA)
    town.bench.hands.now += 2
    town.bench.server.tick()
    town.say(BOB, ADA, "hello")
    together(town, device)
    device.say(town.turn(BOB), BOB, "hello yourself")
    together(town, device)
    assert device.texts() == ["hello"]
    assert town.texts(BOB) == ["hello yourself"]
    assert town.texts(ADA) == ["hello", "hello yourself"]
