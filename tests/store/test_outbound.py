"""Messages that go out: accepted, sealed, acked; each step forward told once, and none that leads back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from msgspec import json

from tests.store.conversation import (
    DAY_MS,
    LID,
    LID_JID,
    OWN_LID,
    OWN_PHONE,
    PHONE,
    PN_JID,
    Conversation,
    know_pair,
    read,
    receipt,
)
from tests.store.world import CONNECTED, NOW, ORIGIN
from whatisup.errors import NotConnected, UnknownInstance
from whatisup.lifecycle import State
from whatisup.store import (
    AckMessage,
    CloseOutbox,
    FailMessage,
    FailQueued,
    Intent,
    MarkDeleted,
    Message,
    MessageStatus,
    Mode,
    Moment,
    NewAuth,
    RecordReceipt,
    SealedMessage,
    SealMessages,
    SetStatus,
    Tx,
    Unit,
    WipeAuth,
    auth,
    idempotency,
    instances,
    messages,
    outbox,
    retained,
    retention,
    tables,
)
from whatisup.store.idempotency import Fresh, Replay, Scope

FINAL = MessageStatus.FAILED


def queued(talk: Conversation, *args: Any, **more: Any) -> list[str]:
    found = talk.store.read(lambda conn, vault: outbox.next(conn, vault, talk.id, *args, **more))
    return [item.wa_id for item in found]


def sealed(talk: Conversation) -> list[tuple[str, str, bytes | None]]:
    return [(item.wa_id, item.stage, item.stanza) for item in talk.store.read(outbox.sealed, talk.id)]


# --- acceptance -----------------------------------------------------------------------------------------------------


def test_accepted_message_is_queued_and_no_event(talk: Conversation) -> None:
    message = talk.accept("3EB0S", text="hi")
    assert talk.message(message.id) == message
    assert (message.status, message.direction, message.source) == (MessageStatus.QUEUED, "out", "api")
    assert (message.author, message.author_phone, message.author_lid) == (OWN_LID, OWN_PHONE, "9000")
    assert (message.body, message.client_ref, message.request_id) == ({"type": "text", "text": "hi"}, "ref", "req_1")
    assert talk.told() == []
    (item,) = talk.store.read(outbox.next, talk.id)
    assert (item.message_id, item.wa_id, item.body, item.stage) == (message.id, "3EB0S", message.body, "queued")
    assert (item.target, item.stanza, item.expires_at) == (None, None, NOW + DAY_MS)


@pytest.mark.parametrize("state", [State.PENDING, State.QR_REQUIRED, State.DISCONNECTED])
def test_instance_without_a_session_takes_nothing(talk: Conversation, state: State) -> None:
    talk.write(SetStatus(state, has_account=False))
    with pytest.raises(NotConnected) as caught:
        talk.accept()
    assert caught.value.state == state
    assert talk.page() == []


def test_reconnecting_instance_takes_messages(talk: Conversation) -> None:
    talk.write(SetStatus(State.RECONNECTING, has_account=True))
    assert talk.accept().status is MessageStatus.QUEUED


def test_instance_that_is_being_logged_out_takes_nothing(talk: Conversation) -> None:
    talk.store.call(instances.begin_wipe, talk.id, 0, Intent.LOG_OUT, ORIGIN, NOW)
    with pytest.raises(NotConnected):
        talk.accept()


@pytest.mark.parametrize("other", [{"customer_id": "cust_x"}, {"mode": Mode.TEST}, {"instance_id": "inst_x"}])
def test_instance_of_somebody_else_does_not_exist(talk: Conversation, other: dict[str, Any]) -> None:
    with pytest.raises(UnknownInstance):
        talk.accept(**other)


def test_own_number_becomes_our_lid_as_in_notes_from_the_phone(talk: Conversation) -> None:
    message = talk.accept("S", to=f"{OWN_PHONE}@s.whatsapp.net")
    assert (message.chat, message.chat_phone, message.chat_lid) == (OWN_LID, OWN_PHONE, "9000")
    assert [one.id for one in talk.page(chat=f"{OWN_PHONE}@s.whatsapp.net")] == [message.id]


def test_number_becomes_the_lid_that_is_known(talk: Conversation) -> None:
    before = talk.accept("A", PN_JID)
    talk.write(*know_pair())
    after = talk.accept("B", PN_JID)
    by_lid = talk.accept("C", LID_JID)
    assert (before.chat, before.chat_phone, before.chat_lid) == (PN_JID, PHONE, None)
    for message in (after, by_lid):
        assert (message.chat, message.chat_phone, message.chat_lid) == (LID_JID, PHONE, LID)


@pytest.mark.parametrize(
    "to", [PN_JID, LID_JID, "123@g.us", f"{OWN_PHONE}@s.whatsapp.net", "15550000009@s.whatsapp.net"]
)
def test_sender_that_was_looked_at_before_makes_the_same_message(talk: Conversation, to: str) -> None:
    talk.write(*know_pair())

    def take(tx: Tx) -> Message:
        sender = messages.sender_of(tx, talk.id, talk.customer.id, talk.instance.mode, to)
        assert sender is not None
        assert sender.instance == talk.row()
        return talk.accepting("S2", to, sender=sender)(tx)  # type: ignore[no-any-return] # a short way to say it

    made, alone = talk.store.call(take), talk.accept("S1", to)
    assert replace(made, id=alone.id, position=alone.position, wa_id=alone.wa_id) == alone == talk.message(alone.id)


def test_sender_of_somebody_else_is_not_there(talk: Conversation) -> None:
    def look(tx: Tx) -> list[object]:
        mode = talk.instance.mode
        return [
            messages.sender_of(tx, talk.id, "cust_other", mode, PN_JID),
            messages.sender_of(tx, talk.id, talk.customer.id, Mode.TEST, PN_JID),
            messages.sender_of(tx, "inst_none", talk.customer.id, mode, PN_JID),
        ]

    assert talk.store.call(look) == [None] * 3


def test_target_survives_with_its_bytes(talk: Conversation) -> None:
    target = {"wa_id": "3EB0T", "from_me": False, "author": LID_JID, "message": b"\x00\xff"}
    talk.accept(target=target)
    (item,) = talk.store.read(outbox.next, talk.id)
    assert item.target == target


def test_outbox_keeps_the_order_of_acceptance(talk: Conversation) -> None:
    other = talk.another()
    talk.link(other.id)
    for n in range(6):
        talk.accept(f"W{n}", "1@lid" if n % 2 else "2@lid")
        talk.accept(f"X{n}", instance_id=other.id)
    assert queued(talk) == [f"W{n}" for n in range(6)]
    assert queued(talk, 2) == ["W0", "W1"]
    assert elsewhere(talk, 2, ["2@lid"]) == (["W1", "W3"], None)


def elsewhere(talk: Conversation, *args: Any, **more: Any) -> tuple[list[str], int | None]:
    found, passed = talk.store.read(lambda conn, vault: outbox.elsewhere(conn, vault, talk.id, *args, **more))
    return [item.wa_id for item in found], passed


def test_long_queue_of_chats_that_wait_is_looked_over_in_spans(talk: Conversation) -> None:
    waiting = [talk.accept(f"W{n}", "2@lid", expires_at=NOW + DAY_MS) for n in range(5)]
    talk.accept("OTHER", LID_JID)
    assert elsewhere(talk, 9, ["2@lid"], span=3) == ([], waiting[2].position)
    assert elsewhere(talk, 9, ["2@lid"], span=3, after=waiting[2].position) == (["OTHER"], waiting[4].position + 1)
    assert elsewhere(talk, 9, ["2@lid", LID_JID], span=3, after=waiting[2].position) == ([], waiting[4].position + 1)
    assert elsewhere(talk, 9, ["2@lid", LID_JID], span=3, after=waiting[4].position) == ([], None)
    assert talk.store.read(outbox.counts, talk.id) == {"queued": 6}


def test_rows_that_leave_while_a_span_is_looked_over_put_nothing_behind_it(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two statements others may commit, as PostgreSQL has it."""
    waiting = [talk.accept(f"W{n}", "2@lid", expires_at=NOW + DAY_MS) for n in range(3)]
    other = talk.accept("OTHER", LID_JID)
    talk.accept("LAST", "2@lid")
    read, end = outbox._read, outbox._END_OF_SPAN
    left: list[Message] = waiting[:1]

    class Leaving:
        """Lets a row leave the queue behind the first statement."""

        def scalar(self, conn: Any, **asked: Any) -> Any:
            found = end.scalar(conn, **asked)
            self.leave(conn)
            return found

        def read(self, conn: Any, *args: Any, **asked: Any) -> Any:
            found = read(conn, *args, **asked)
            self.leave(conn)
            return found

        def leave(self, conn: Any) -> None:
            while left:
                conn.execute(tables.outbox.delete().where(tables.outbox.c.position == left.pop().position))

    leaving = Leaving()
    monkeypatch.setattr(outbox, "_END_OF_SPAN", leaving)
    monkeypatch.setattr(outbox, "_read", leaving.read)
    found, passed = talk.store.call(
        lambda tx: outbox.elsewhere(tx.conn, tx.vault, talk.id, 9, ["2@lid"], span=3)  # who only reads deletes nothing
    )
    assert [item.wa_id for item in found] == ["OTHER"] or passed is None or passed < other.position


def test_outbox_leaves_out_what_has_expired(talk: Conversation) -> None:
    talk.accept("A", expires_at=NOW + 5)
    talk.accept("B", expires_at=NOW + 6)
    assert queued(talk, now=NOW + 5) == ["B"]


def test_equal_keys_make_one_message(talk: Conversation) -> None:
    """Fifty requests with one key, from several threads and within batches: one message, forty-nine replays."""
    scope = Scope(talk.customer.id, Mode.LIVE, "POST", f"/v1/instances/{talk.id}/messages")

    def send(number: int) -> Any:
        def attempt(tx: Tx) -> Any:
            found = idempotency.claim(tx, scope, "key", b"h" * 32, NOW)
            if not isinstance(found, Fresh):
                return found
            message: Message = talk.accepting(f"W{number}")(tx)
            idempotency.complete(tx, scope, "key", 202, json.encode({"message_id": message.id}))
            return message

        return attempt

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(talk.store.call, [send(number) for number in range(50)]))
    (message,) = talk.page()
    assert [type(answer) for answer in answers].count(Message) == 1
    replies = [json.decode(answer.body) for answer in answers if isinstance(answer, Replay)]
    assert replies == [{"message_id": message.id}] * 49
    assert len(queued(talk)) == 1


# --- sealed ---------------------------------------------------------------------------------------------------------


def test_sealed_stanza_is_the_same_bytes_until_it_is_acked(talk: Conversation) -> None:
    message = talk.accept()
    talk.seal(message, stanza=b"\x00stanza")
    assert queued(talk) == []
    assert sealed(talk) == [("3EB0S", "sealed", b"\x00stanza")]
    assert talk.status(message) is MessageStatus.QUEUED
    assert talk.told() == []
    talk.write(AckMessage("3EB0S", NOW + 10))
    assert sealed(talk) == []


def test_message_that_left_the_outbox_is_refused_to_who_sealed_it(talk: Conversation) -> None:
    gone, stays = talk.accept("A", expires_at=NOW - 1), talk.accept("B")
    assert talk.store.call(retention.expire_queued, NOW) == 1
    foreign = talk.another()
    talk.link(foreign.id)
    strange = talk.accept("C", instance_id=foreign.id)
    items = tuple(SealedMessage(one.id, b"stanza", b"message") for one in (gone, stays, strange))
    committed = talk.write(SealMessages(items))
    assert committed.refused == (gone.id, strange.id)
    assert [wa_id for wa_id, *_ in sealed(talk)] == ["B"]
    assert talk.store.read(retained.get, talk.id, "A") is None


def test_what_retries_need_is_kept_beside(talk: Conversation) -> None:
    message = talk.accept("3EB0S")
    talk.write(SealMessages((SealedMessage(message.id, b"stanza", b"\x0amessage", "poll", "1", 1_700_000_000),)))
    kept = talk.store.read(retained.get, talk.id, "3EB0S")
    assert kept is not None
    assert (kept.message_id, kept.chat, kept.message) == (message.id, LID_JID, b"\x0amessage")
    assert (kept.stanza_type, kept.edit, kept.unix_t) == ("poll", "1", 1_700_000_000)
    talk.write(AckMessage("3EB0S", NOW))
    assert talk.store.read(retained.get, talk.id, "3EB0S") == kept


# --- acks, receipts, failures ---------------------------------------------------------------------------------------


def test_ack_is_told_once(talk: Conversation) -> None:
    message = talk.send("3EB0S")
    talk.write(AckMessage("3EB0S", NOW + 99))
    ((name, data),) = talk.told()
    assert (name, data) == (
        "sent",
        {
            "message_id": message.id,
            "wa_message_id": "3EB0S",
            "client_ref": "ref",
            "to": LID_JID,
            "chat": {"jid": LID_JID, "phone": None, "lid": LID, "type": "user"},
            "status": "sent",
            "source": "api",
            "request_id": "req_1",
            "timestamp": (NOW + 10) // 1000,
        },
    )
    assert (talk.message(message.id).server_at, talk.status(message)) == (NOW + 10, MessageStatus.SENT)


def test_statuses_move_forward_only(talk: Conversation) -> None:
    message = talk.send("S")
    for kind in ("delivered", "delivered", "read", "delivered", "sent", "played", "read", "played"):
        talk.write(receipt("S", kind))
    assert talk.names() == ["sent", "delivered", "read", "played"]
    assert talk.status(message) is MessageStatus.PLAYED


def test_receipts_of_one_unit_are_each_told(talk: Conversation) -> None:
    talk.send("S")
    talk.write(receipt("S", "delivered"), receipt("S", "read"), receipt("S", "read"))
    assert talk.names() == ["sent", "delivered", "read"]


def test_read_without_delivery_is_told_alone(talk: Conversation) -> None:
    message = talk.send("S")
    talk.write(receipt("S", "read", participant=LID_JID))
    assert talk.told()[1][1]["participant"] == LID_JID
    assert (talk.names(), talk.status(message)) == (["sent", "read"], MessageStatus.READ)


@pytest.mark.parametrize("kind", ["sent", "delivered", "read", "played"])
def test_receipt_counts_as_the_ack(talk: Conversation, kind: str) -> None:
    message = talk.accept("S")
    talk.seal(message)
    talk.write(receipt("S", kind))
    assert sealed(talk) == []
    talk.write(AckMessage("S", NOW + 99))
    assert talk.names() == list(dict.fromkeys(["sent", kind]))
    assert talk.message(message.id).settled_at is not None


def test_receipt_of_several_messages_moves_each(talk: Conversation) -> None:
    sent = [talk.send(f"S{n}") for n in range(3)]
    several = RecordReceipt(("S0", "S2", "none"), "delivered", NOW + 50)
    talk.write(AckMessage("unknown", NOW), receipt("unknown"), several)
    assert [talk.status(message) for message in sent] == ["delivered", "sent", "delivered"]


def test_receipt_of_another_chat_is_ignored(talk: Conversation) -> None:
    message = talk.send("S", to=PN_JID)
    talk.write(receipt("S", chat="2000@lid"))
    assert talk.status(message) is MessageStatus.SENT
    talk.write(receipt("S", chat=PN_JID))
    assert talk.status(message) is MessageStatus.DELIVERED


def test_receipt_of_what_was_never_sealed_is_ignored(talk: Conversation) -> None:
    message = talk.accept("S")
    talk.write(receipt("S"), AckMessage("S", NOW))
    assert (talk.status(message), queued(talk)) == (MessageStatus.QUEUED, ["S"])


def test_receipt_of_somebody_elses_message_is_ignored(talk: Conversation) -> None:
    talk.write(read())
    talk.write(receipt("3EB0A", "read"))
    assert talk.names() == ["received"]


def test_receipt_of_another_instance_is_ignored(talk: Conversation) -> None:
    message, waiting = talk.send("S"), talk.accept("T")
    other = talk.another()
    talk.write(receipt("S"), FailMessage(waiting.id, "x", "y", NOW), instance_id=other.id)
    assert (talk.status(message), talk.status(waiting)) == (MessageStatus.SENT, MessageStatus.QUEUED)


def test_history_tells_who_has_it_since_when(talk: Conversation) -> None:
    message = talk.send("S")
    for participant, at in (("1@lid", 20), ("2@lid", 30), ("1@lid", 40)):
        talk.write(receipt("S", "delivered", NOW + at, participant=participant))
    assert talk.store.read(messages.history, message.id) == [
        Moment("sent", "", NOW + 10), Moment("delivered", "1@lid", NOW + 20), Moment("delivered", "2@lid", NOW + 30)
    ]  # fmt: skip


def test_history_of_one_second_is_in_the_order_in_which_things_happen(talk: Conversation) -> None:
    message = talk.send("S")
    for kind in ("read", "delivered"):
        talk.write(receipt("S", kind, NOW + 10))
    steps = [moment.kind for moment in talk.store.read(messages.history, message.id)]
    assert steps == ["sent", "delivered", "read"]


def test_failure_is_told_with_its_reason(talk: Conversation) -> None:
    message = talk.accept("S")
    talk.write(FailMessage(message.id, "not_on_whatsapp", "this number is not on WhatsApp", NOW))
    talk.write(FailMessage("S", "other", "later", NOW))
    ((name, data),) = talk.told()
    assert (name, data["status"]) == ("failed", "failed")
    assert data["error"] == {"code": "not_on_whatsapp", "message": "this number is not on WhatsApp"}
    assert (talk.status(message), talk.message(message.id).reason) == (FINAL, "not_on_whatsapp")
    assert queued(talk) == []


def test_failure_after_the_ack_changes_nothing(talk: Conversation) -> None:
    message = talk.send("S")
    talk.write(FailMessage("S", "late", "too late", NOW))
    assert (talk.names(), talk.status(message)) == (["sent"], MessageStatus.SENT)


def test_failed_message_that_did_arrive_says_so(talk: Conversation) -> None:
    message = talk.accept("S")
    talk.seal(message)
    talk.write(FailMessage("S", "nack_500", "refused", NOW))
    talk.write(AckMessage("S", NOW + 1))
    assert talk.status(message) is FINAL
    talk.write(receipt("S", "delivered"))
    assert talk.names() == ["failed", "sent", "delivered"]
    assert (talk.status(message), talk.message(message.id).reason) == (MessageStatus.DELIVERED, None)


def test_receipts_of_what_was_typed_on_the_phone_are_told(talk: Conversation) -> None:
    talk.write(read("typed", source="phone"))
    talk.write(receipt("3EB0A", "read"))
    assert [(name, data["source"]) for name, data in talk.told()] == [("sent", "phone"), ("read", "phone")]


# --- devices that were missed ---------------------------------------------------------------------------------------


def test_mismatch_keeps_the_message_until_the_devices_are_served(talk: Conversation) -> None:
    message = talk.accept("S")
    talk.seal(message, stanza=b"first")
    talk.write(AckMessage("S", NOW + 10, resync_devices=("1000:3@lid",)))
    assert (talk.names(), sealed(talk)) == (["sent"], [])
    (item,) = talk.store.read(outbox.resyncs, talk.id)
    assert (item.message_id, item.resync_devices, item.stanza) == (message.id, ("1000:3@lid",), None)
    talk.write(AckMessage("S", NOW + 11), receipt("S"))
    assert len(talk.store.read(outbox.resyncs, talk.id)) == 1, "the first stanza's ack again says nothing of the second"
    talk.write(SealMessages((SealedMessage(message.id, b"second"),)))
    assert sealed(talk) == [("S", "resync", b"second")]
    kept = talk.store.read(retained.get, talk.id, "S")
    assert kept is not None
    assert kept.message == b"message"
    talk.write(AckMessage("S", NOW + 12, resync_devices=("1000:4@lid",)))
    assert (sealed(talk), talk.store.read(outbox.resyncs, talk.id)) == ([], []), "once, or it might go on for ever"
    assert talk.names() == ["sent", "delivered"]


def test_mismatch_with_devices_that_are_not_known_yet_outlives_receipts(talk: Conversation) -> None:
    message = talk.accept("S")
    talk.seal(message, stanza=b"first")
    talk.write(AckMessage("S", NOW + 10, resync_devices=()), receipt("S"))
    assert talk.names() == ["sent", "delivered"]
    (item,) = talk.store.read(outbox.sealed, talk.id)
    assert (item.stanza, item.resync_devices) == (b"first", ())
    talk.write(AckMessage("S", NOW + 11, resync_devices=("1000:3@lid",)))
    assert [item.resync_devices for item in talk.store.read(outbox.resyncs, talk.id)] == [("1000:3@lid",)]


def test_mismatch_that_turns_out_to_be_none_is_over_with_the_second_ack(talk: Conversation) -> None:
    message = talk.accept("S")
    talk.seal(message)
    talk.write(AckMessage("S", NOW + 10, resync_devices=()))
    talk.write(AckMessage("S", NOW + 11))
    assert talk.store.read(outbox.counts, talk.id) == {}
    assert talk.names() == ["sent"]


def test_mismatch_without_missing_devices_is_closed(talk: Conversation) -> None:
    message, waiting = talk.accept("S"), talk.accept("T")
    talk.seal(message)
    talk.write(AckMessage("S", NOW + 10, resync_devices=()))
    talk.write(CloseOutbox((message.id, waiting.id)))
    assert talk.store.read(outbox.counts, talk.id) == {"queued": 1}, "what was never sent is not dropped in silence"
    assert talk.status(message) is MessageStatus.SENT


def test_sealing_again_after_a_refusal_replaces_the_stanza(talk: Conversation) -> None:
    message = talk.accept("S")
    talk.seal(message, stanza=b"refused with 421")
    talk.seal(message, stanza=b"second try")
    assert sealed(talk) == [("S", "sealed", b"second try")]


# --- the end of an instance -----------------------------------------------------------------------------------------


def fill(talk: Conversation) -> tuple[Message, Message, Message]:
    """One queued, one sealed, one acked with devices missing."""
    first, second, third = (talk.accept(f"S{n}") for n in range(3))
    talk.seal(second, third)
    talk.write(AckMessage("S2", NOW, resync_devices=()))
    return first, second, third


def test_wish_to_wipe_fails_what_is_queued_in_its_own_commit(talk: Conversation) -> None:
    other = talk.another()
    talk.link(other.id)
    theirs = talk.accept("other", instance_id=other.id)
    first, second, third = fill(talk)
    talk.store.call(instances.begin_wipe, talk.id, 0, Intent.LOG_OUT, ORIGIN, NOW)
    failed = [(data["message_id"], data["error"]["code"]) for _, data in talk.told("failed")]
    assert failed == [(first.id, "instance_logged_out"), (second.id, "instance_logged_out")]
    assert [talk.status(m) for m in (first, second, third, theirs)] == ["failed", "failed", "sent", "queued"]
    assert talk.store.read(outbox.counts) == {"queued": 1}
    assert (talk.row().intent, talk.row().incarnation) == (Intent.LOG_OUT, 1)
    assert [event.seq for event in talk.events(instance_id=talk.id)] == [1, 2, 3]


def test_wish_that_is_refused_fails_nothing(talk: Conversation) -> None:
    fill(talk)
    with pytest.raises(Exception, match="no longer the current"):
        talk.store.call(instances.begin_wipe, talk.id, 7, Intent.LOG_OUT, ORIGIN, NOW)
    assert talk.told("failed") == []


@pytest.mark.parametrize(
    "op", [WipeAuth(), NewAuth(), FailQueued("instance_logged_out")], ids=lambda op: type(op).__name__
)
def test_nothing_stays_queued_without_keys(talk: Conversation, op: Any) -> None:
    first, second, third = fill(talk)
    committed = talk.write(CONNECTED, op)
    assert [event.type for event in committed.events] == ["message.failed", "message.failed"]
    assert [talk.status(m) for m in (first, second, third)] == ["failed", "failed", "sent"]
    assert talk.store.read(outbox.counts) == {}


def test_orphans_fail_what_they_were_to_send(talk: Conversation) -> None:
    message = talk.accept("S")
    talk.write(MarkDeleted(NOW))
    talk.store.call(auth.wipe_orphans, [talk.id])
    assert talk.status(message) is FINAL
    assert talk.names() == ["failed"]


def test_queued_messages_expire_in_bounded_steps(talk: Conversation) -> None:
    other = talk.another()
    talk.link(other.id)
    for n in range(5):
        talk.accept(f"S{n}", expires_at=NOW + n, instance_id=(talk.id, other.id)[n % 2])
    late = talk.accept("sealed", expires_at=NOW)
    talk.seal(late)
    assert talk.store.call(retention.expire_queued, NOW - 1) == 0
    assert talk.store.call(retention.expire_queued, NOW + 3) == 4
    assert talk.store.call(retention.expire_queued, NOW + 3) == 0
    codes = [(data["wa_message_id"], data["error"]["code"]) for _, data in talk.told()]
    assert sorted(codes) == [(f"S{n}", "expired") for n in range(4)]
    assert talk.status(late) is MessageStatus.QUEUED, "it may have been sent: only the server can tell"
    assert [event.position for event in talk.events()] == [1, 2, 3, 4]


def test_acks_of_many_instances_cost_as_many_statements_as_one(talk: Conversation, count_statements: Any) -> None:
    others = [talk.another(name=str(n)).id for n in range(12)]
    for n, one in enumerate(others):
        talk.link(one)
        message = talk.accept(f"S{n}", instance_id=one)
        talk.write(SealMessages((SealedMessage(message.id, b"stanza", b"message"),)), instance_id=one)

    def unit(n: int) -> Unit:
        return Unit(others[n], 0, (AckMessage(f"S{n}", NOW), receipt(f"S{n}")))

    talk.send("S")  # from now on it is known that nobody listens
    with count_statements(talk.store) as alone:
        talk.store.commit([unit(0)])
    with count_statements(talk.store) as together:
        talk.store.commit([unit(n) for n in range(1, 12)])
    assert len(together) == len(alone)
    assert talk.names().count("delivered") == 12
