"""What an instance remembers beside its messages, how keys are read by many, and that a wipe leaves none of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select, update

from tests.store.conversation import DAY_MS, LID_JID, PN_JID, Conversation, of, read
from tests.store.world import NOW
from whatisup.errors import BadCursor, SealBroken
from whatisup.store import (
    AddJob,
    DeleteAuth,
    FinishJob,
    ForgetPrekeys,
    KeepPoison,
    Mode,
    NewAuth,
    NoteResend,
    PutAuth,
    PutPrekeys,
    RememberCiphertexts,
    SealedMessage,
    SealMessages,
    WipeAuth,
    auth,
    jobs,
    messages,
    outbox,
    poison,
    resends,
    retained,
    tables,
)
from whatisup.store.handlers.auth import SEALED


def test_resends_are_counted_for_each_device(talk: Conversation) -> None:
    for requester in ("1000:1@lid", "1000:2@lid", "1000:1@lid"):
        talk.write(NoteResend("S", requester, NOW + DAY_MS))
    talk.write(NoteResend("S", "1000:1@lid", NOW + DAY_MS), NoteResend("S", "1000:1@lid", NOW + DAY_MS))
    count = talk.store.read
    assert count(resends.count, talk.id, "S", "1000:1@lid") == 4
    assert count(resends.count, talk.id, "S", "1000:2@lid") == 1
    assert count(resends.count, talk.id, "T", "1000:1@lid") == 0


def _answer(talk: Conversation, asked: int, registration_id: int = 7, requester: str = "1@lid") -> bytes | None:
    ask = partial(resends.answer, asked=asked, registration_id=registration_id)
    return talk.store.read(ask, talk.id, "S", requester)


def test_an_answer_is_kept_for_the_receipt_that_it_answers(talk: Conversation) -> None:
    talk.write(NoteResend("S", "1@lid", NOW + DAY_MS, asked=1, registration_id=7, stanza=b"first"))
    assert [_answer(talk, 1), _answer(talk, 2), _answer(talk, 1, 8), _answer(talk, 1, requester="2@lid")] == [
        b"first",
        None,
        None,
        None,
    ]
    talk.write(NoteResend("S", "1@lid", NOW + DAY_MS, asked=2, registration_id=7, stanza=b"second"))
    assert [_answer(talk, 1), _answer(talk, 2), _answer(talk, 3)] == [b"second", b"second", None]


def test_poison_is_kept_as_it_came(talk: Conversation) -> None:
    talk.write(KeepPoison(b"\x00first", "parse", NOW), KeepPoison(b"second", "bug", NOW + 1))
    talk.write(KeepPoison(b"third", "bug", NOW + 2), instance_id=linked(talk))
    found = talk.store.read(poison.newest, talk.id)
    assert [(one.raw, one.reason, one.at) for one in found] == [
        (b"second", "bug", NOW + 1), (b"\x00first", "parse", NOW)
    ]  # fmt: skip


def linked(talk: Conversation) -> str:
    """Another linked instance."""
    other = talk.another().id
    talk.link(other)
    return other


def test_job_is_there_once_until_it_is_done(talk: Conversation) -> None:
    talk.write(AddJob("history", "a", b"first"), AddJob("history", "a", b"again"), AddJob("other", "a", b"x"))
    talk.write(AddJob("history", "a", b"again"), AddJob("history", "b", b"second"))
    payloads = [job.payload for job in talk.store.read(jobs.pending, talk.id, "history")]
    assert payloads == [b"first", b"second"]
    assert len(talk.store.read(jobs.pending, talk.id)) == 3
    talk.write(FinishJob("history", "a"), FinishJob("history", "never was"))
    assert [job.key for job in talk.store.read(jobs.pending, talk.id, "history")] == ["b"]


def test_used_prekeys_are_gone_and_their_ids_stay_used(talk: Conversation) -> None:
    talk.write(PutPrekeys(((1, b"\x01" * 32), (2, b"\x02" * 32))))
    talk.write(ForgetPrekeys((2, 9)), ForgetPrekeys(()))
    assert talk.store.read(auth.prekey, talk.id, 2) is None
    assert talk.store.read(auth.prekey, talk.id, 1) == b"\x01" * 32
    assert talk.store.read(auth.next_prekey_id, talk.id) == 3


# --- many keys at once ----------------------------------------------------------------------------------------------


def test_keys_are_loaded_by_name_by_beginning_and_from_the_prekeys(talk: Conversation) -> None:
    names = ("100.0", "100.12", "1000.0", "10", "100", "100.é")
    talk.write(*(PutAuth("session", name, name.encode()) for name in names), PutAuth("identity", "100.0", b"key"))
    talk.write(PutPrekeys(((7, b"\x07" * 32),)), PutAuth("session", "100.0", b"theirs"), instance_id=linked(talk))
    talk.write(PutPrekeys(((7, b"\x01" * 32),)))
    wanted = [("session", "10"), ("session", "none"), ("identity", "100.0"), ("prekey", "7"), ("prekey", "8")]
    assert talk.store.read(auth.load, talk.id, wanted, [("session", "100."), ("identity", "none")]) == {
        ("session", "10"): b"10",
        ("session", "none"): None,
        ("identity", "100.0"): b"key",
        ("prekey", "7"): b"\x01" * 32,
        ("prekey", "8"): None,
        ("session", "100.0"): b"100.0",
        ("session", "100.12"): b"100.12",
        ("session", "100.é"): "100.é".encode(),
    }
    assert talk.store.read(auth.load, talk.id, []) == {}


def test_thousands_of_keys_are_loaded_in_one_go(talk: Conversation) -> None:
    names = [f"{number}.0" for number in range(3000)]
    talk.write(*(PutAuth("session", name, b"x") for name in names))
    talk.write(*(DeleteAuth("session", name) for name in names[:10]))
    found = talk.store.read(auth.load, talk.id, [("session", name) for name in names])
    assert sum(value is not None for value in found.values()) == 2990


def test_loaded_keys_open_only_in_their_place(talk: Conversation) -> None:
    talk.write(PutAuth("session", "a", b"1"))
    talk.store.call(lambda tx: tx.conn.execute(update(tables.auth_state).values(name="b")))
    with pytest.raises(SealBroken):
        talk.store.read(auth.load, talk.id, [("session", "b")])


# --- reading messages -----------------------------------------------------------------------------------------------


def test_pages_go_from_new_to_old(talk: Conversation) -> None:
    talk.write(*(read(str(n), of(f"W{n}"), received_at=NOW + n // 2) for n in range(7)))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        found, cursor = page(talk, limit=3, cursor=cursor)
        seen += [message.wa_id for message in found]
        if cursor is None:
            break
    assert seen == [f"W{n}" for n in reversed(range(7))]
    with pytest.raises(BadCursor):
        page(talk, cursor="x")


def page(talk: Conversation, **filters: Any) -> Any:
    return talk.store.read(
        lambda conn, vault: messages.page(
            conn, vault, **{"customer_id": talk.customer.id, "mode": Mode.LIVE, "instance_id": talk.id} | filters
        )
    )


def test_pages_filter_by_chat_direction_and_time(talk: Conversation) -> None:
    talk.write(read("a", of("A")), read("b", of("B", "5@g.us"), received_at=NOW + 9))
    talk.accept("C", "2000@lid", now=NOW + 5)
    assert [message.wa_id for message in talk.page()] == ["B", "C", "A"]
    assert [message.wa_id for message in talk.page(direction="in")] == ["B", "A"]
    assert [message.wa_id for message in talk.page(chat=LID_JID)] == ["A"]
    assert [message.wa_id for message in talk.page(since=NOW + 5)] == ["B", "C"]
    for stranger in ({"customer_id": "cust_x"}, {"mode": Mode.TEST}, {"instance_id": "inst_x"}):
        assert page(talk, **stranger) == ([], None)


def test_message_of_somebody_else_does_not_exist(talk: Conversation) -> None:
    message = talk.accept()
    for stranger in ({"customer_id": "cust_x"}, {"mode": Mode.TEST}, {"instance_id": "inst_x"}):
        given = {"customer_id": talk.customer.id, "mode": Mode.LIVE} | stranger
        assert talk.store.read(lambda conn, vault, g=given: messages.get(conn, vault, message.id, **g)) is None


def test_target_is_found_by_either_id_in_its_chat(talk: Conversation) -> None:
    talk.write(read("quoted", original=b"\x0aquoted"), read("elsewhere", of("3EB0A", "5@g.us")))
    sent = talk.send("S")
    (mine,) = talk.page(chat=LID_JID, direction="in")
    for reference in ("3EB0A", mine.id):
        target = talk.store.read(messages.find_target, talk.id, LID_JID, reference)
        assert target is not None
        assert (target.message_id, target.from_me, target.author) == (mine.id, False, LID_JID)
        assert (target.original, target.body) == (b"\x0aquoted", {"type": "text", "text": "quoted"})
    own = talk.store.read(messages.find_target, talk.id, LID_JID, sent.id)
    assert own is not None
    assert (own.from_me, own.original, own.wa_id) == (True, b"message", "S")
    assert talk.store.read(messages.find_target, talk.id, "2000@lid", mine.id) is None
    assert talk.store.read(messages.find_target, talk.id, PN_JID, "none") is None


# --- at rest --------------------------------------------------------------------------------------------------------


def everything(talk: Conversation, instance_id: str, mark: str) -> None:
    """A row in every table that an instance's key seals, full of `mark`."""
    needle = mark.encode()
    accepted = [
        talk.accept(f"{instance_id}{n}", text=mark, target={"message": needle}, instance_id=instance_id)
        for n in range(3)
    ]
    talk.write(
        PutAuth("session", "a", needle),
        PutPrekeys(((1, needle[:16] * 2),)),
        SealMessages(tuple(SealedMessage(one.id, needle, needle) for one in accepted[:2])),
        RememberCiphertexts((b"h" * 32,), NOW),
        NoteResend("S", "1000:3@lid", NOW, stanza=needle),
        KeepPoison(needle, "parse", NOW),
        AddJob("history", "a", needle),
        read(mark, original=needle),
        instance_id=instance_id,
    )


def rows_of(talk: Conversation, instance_id: str) -> dict[str, int]:
    return {
        table.name: talk.store.read(
            lambda conn, _, t=table: conn.execute(
                select(func.count()).select_from(t).where(t.c.instance_id == instance_id)
            ).scalar_one()
        )
        for table in SEALED
    }


@pytest.mark.parametrize("op", [WipeAuth(), NewAuth()], ids=["wipe", "pair anew"])
def test_wipe_leaves_nothing_that_the_key_sealed(talk: Conversation, op: Any) -> None:
    other = linked(talk)
    everything(talk, talk.id, "needle-of-mine-0123")
    everything(talk, other, "needle-of-others-12")
    assert 0 not in rows_of(talk, talk.id).values()
    before = rows_of(talk, other)
    talk.write(op)
    assert set(rows_of(talk, talk.id).values()) == {0}
    assert rows_of(talk, other) == before
    assert len(talk.page()) == 4, "messages are the customer's, and stay"


def test_every_table_of_sealed_rows_of_an_instance_is_wiped() -> None:
    named = {table.name for table in tables.metadata.sorted_tables if "instance_id" in table.c}
    kept = {"messages", "events", "api_keys", "webhook_deliveries"}
    assert named - kept == {table.name for table in SEALED}


def test_nothing_said_is_in_the_files(sqlite_store: Any, sqlite_path: Any) -> None:
    talk = Conversation(sqlite_store)
    talk.link()
    everything(talk, talk.id, "needle-0123456789ab")
    stored = b"".join(file.read_bytes() for file in sqlite_path.parent.iterdir())
    assert b"3EB0A" in stored, "ids are not secret, so this is the right file"
    assert b"needle" not in stored


@pytest.mark.parametrize(
    ("table", "column", "look"),
    [
        ("messages", "body", lambda talk: talk.page()),
        ("messages", "original", lambda talk: talk.store.read(messages.find_target, talk.id, LID_JID, "W0")),
        ("outbox", "stanza", lambda talk: talk.store.read(outbox.sealed, talk.id)),
        ("outbox", "target", lambda talk: talk.store.read(outbox.next, talk.id)),
        ("retained", "message", lambda talk: talk.store.read(retained.get, talk.id, "S0")),
        ("jobs", "sealed", lambda talk: talk.store.read(jobs.pending, talk.id)),
        ("poison", "sealed", lambda talk: talk.store.read(poison.newest, talk.id)),
        ("resends", "stanza", lambda talk: [_answer(talk, 1, requester=f"{n}@lid") for n in range(2)]),
    ],
)
def test_two_rows_swapped_do_not_open(talk: Conversation, table: str, column: str, look: Any) -> None:
    talk.write(read("0", of("W0"), original=b"0"), read("1", of("W1"), original=b"1"))
    for n in range(4):
        one = talk.accept(f"S{n}", target={"n": n})
        if n < 2:
            talk.write(SealMessages((SealedMessage(one.id, b"%d" % n, b"%d" % n),)))
    talk.write(*(NoteResend("S", f"{n}@lid", NOW, registration_id=7, stanza=b"%d" % n) for n in range(2)))
    talk.write(AddJob("a", "a", b"0"), AddJob("a", "b", b"1"))
    talk.write(KeepPoison(b"0", "x", NOW), KeepPoison(b"1", "x", NOW))
    look(talk)
    swap(talk, table, column)
    with pytest.raises(SealBroken):
        look(talk)


def swap(talk: Conversation, name: str, column: str) -> None:
    """Exchange a column of the two first rows that have it."""
    table = tables.metadata.tables[name]
    key = {"retained": "wa_id", "resends": "requester"}.get(name)
    key = next(iter(table.primary_key.columns)) if key is None else table.c[key]

    def exchange(tx: Any) -> None:
        query = select(key, table.c[column]).where(table.c[column].is_not(None)).order_by(key).limit(2)
        (first, one), (second, other) = tx.conn.execute(query).all()
        tx.conn.execute(update(table).where(key == first).values({column: other}))
        tx.conn.execute(update(table).where(key == second).values({column: one}))

    talk.store.call(exchange)
