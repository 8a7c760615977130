"""What is forgotten, when, and in steps that hold up nobody."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, text

from tests.store.conversation import DAY_MS, Conversation, of, read, unread
from tests.store.world import NOW
from whatisup.store import (
    KeepPoison,
    MessageStatus,
    NoteResend,
    RememberCiphertexts,
    ciphertexts,
    messages,
    outbox,
    resends,
    retained,
    retention,
    tables,
)

MONTH_MS = 30 * DAY_MS
KEPT = retention.Kept(event_days=99)


def expire(talk: Conversation, name: str, *args: Any) -> Any:
    return talk.store.call(getattr(retention, name), *args)


def test_bodies_go_after_their_days_and_events_say_so(talk: Conversation) -> None:
    talk.write(read("old", original=b"original"), read("new", of("3EB0B"), received_at=NOW + 1))
    assert expire(talk, "expire_bodies", NOW + MONTH_MS - 1) == 0
    assert expire(talk, "expire_bodies", NOW + MONTH_MS) == 1
    assert expire(talk, "expire_bodies", NOW + MONTH_MS) == 0
    new, old = talk.page()
    assert (old.body, old.is_body_expired) == (None, True)
    assert (new.body, new.is_body_expired) == ({"type": "text", "text": "new"}, False)
    (_, first), (_, second) = talk.told()
    assert (first["body"], first["body_expired"], first["from"]) == (None, True, old.author_phone)
    assert second["body"] == {"type": "text", "text": "new"}
    assert "body_expired" not in second


def test_body_that_is_still_to_be_sent_stays(talk: Conversation) -> None:
    waiting, sent = talk.accept("W", expires_at=NOW + 2 * MONTH_MS), talk.send("S")
    assert expire(talk, "expire_bodies", NOW + MONTH_MS) == 1
    assert talk.message(waiting.id).body == {"type": "text", "text": "hi"}
    assert talk.message(sent.id).is_body_expired
    (item,) = talk.store.read(outbox.next, talk.id)
    assert item.body == {"type": "text", "text": "hi"}


def test_kept_for_no_days_goes_when_it_settled(talk: Conversation) -> None:
    waiting, sent = talk.accept("W"), talk.send("S")
    talk.write(read())
    settled = [talk.message(message.id).settled_at for message in (sent, waiting)]
    assert settled[0] is not None
    assert settled[1] is None
    assert expire(talk, "expire_bodies", NOW + retention.SETTLE_MS - 1, 0) == 0
    assert expire(talk, "expire_bodies", NOW + retention.SETTLE_MS + 10_000, 0) == 2
    assert talk.message(waiting.id).body is not None


def test_what_retries_need_outlives_the_body(talk: Conversation) -> None:
    talk.send("S")
    expire(talk, "expire_bodies", NOW + retention.SETTLE_MS + 10_000, 0)
    kept = talk.store.read(retained.get, talk.id, "S")
    assert kept is not None
    assert kept.message == b"message"


def test_expired_body_can_be_the_target_of_a_reaction(talk: Conversation) -> None:
    talk.write(read("old", original=b"original"))
    chat = of().chat
    before = talk.store.read(messages.find_target, talk.id, chat, "3EB0A")
    expire(talk, "expire_bodies", NOW + MONTH_MS)
    after = talk.store.read(messages.find_target, talk.id, chat, "3EB0A")
    assert before is not None
    assert after is not None
    assert (before.original, after.original, after.message_id) == (b"original", None, before.message_id)


def test_bounded_sweep_gets_through(talk: Conversation) -> None:
    talk.write(*(read(str(n), of(f"W{n}"), received_at=NOW + n) for n in range(5)))
    counts = [expire(talk, "expire_bodies", NOW + MONTH_MS + 9, 30, 2) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


def fill(talk: Conversation) -> None:
    """A little of everything that is forgotten by itself."""
    talk.send("S")
    talk.write(
        RememberCiphertexts((b"a" * 32, b"b" * 32, b"c" * 32), NOW + 14 * DAY_MS),
        NoteResend("S", "1000:3@lid", NOW + 14 * DAY_MS),
        NoteResend("S", "1000:4@lid", NOW + 14 * DAY_MS),
        KeepPoison(b"raw", "parse", NOW),
    )


@pytest.mark.parametrize(
    ("name", "table", "after", "rows"),
    [
        ("expire_ciphertexts", tables.ciphertexts, 14, 3),
        ("expire_resends", tables.resends, 14, 2),
        ("expire_retained", tables.retained, 14, 1),
        ("expire_poison", tables.poison, 30, 1),
    ],
)
def test_what_expires_is_deleted_in_steps(talk: Conversation, name: str, table: Any, after: int, rows: int) -> None:
    fill(talk)
    assert expire(talk, name, NOW + (after - 1) * DAY_MS) == 0
    assert [expire(talk, name, NOW + (after + 1) * DAY_MS, 2) for _ in range(3)] == [min(rows, 2), max(rows - 2, 0), 0]
    left = talk.store.read(lambda conn, _: conn.execute(select(func.count()).select_from(table)).scalar_one())
    assert left == 0


def test_sweep_does_everything_and_says_when_there_is_more(talk: Conversation) -> None:
    fill(talk)
    waiting = talk.accept("W", expires_at=NOW)
    assert expire(talk, "sweep", NOW, KEPT, 500) is False
    assert talk.status(waiting) is MessageStatus.FAILED
    assert expire(talk, "sweep", NOW + 31 * DAY_MS, KEPT, 2) is True
    assert expire(talk, "sweep", NOW + 31 * DAY_MS, KEPT, 2) is False
    assert talk.store.read(ciphertexts.known, talk.id, [b"a" * 32]) == frozenset()
    assert talk.store.read(resends.count, talk.id, "S", "1000:3@lid") == 0


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT * FROM outbox WHERE instance_id='a' AND stage='queued' ORDER BY position LIMIT 9", "outbox_next"),
        (
            "SELECT position FROM messages WHERE settled_at IS NOT NULL AND data_key_id IS NOT NULL"
            " AND created_at <= 9 ORDER BY created_at LIMIT 9",
            "messages_with_body",
        ),
        ("SELECT * FROM messages WHERE instance_id='a' AND created_at > 9 ORDER BY created_at DESC", "messages_newest"),
        (
            "SELECT * FROM messages WHERE instance_id='a' AND chat='b' ORDER BY created_at DESC, position DESC",
            "messages_by_chat",
        ),
        (
            "SELECT * FROM messages WHERE instance_id='a' AND status='undecryptable' ORDER BY position",
            "messages_unread",
        ),
        (
            "SELECT position FROM outbox WHERE stage='queued' AND expires_at <= 9 ORDER BY expires_at",
            "outbox_to_expire",
        ),
    ],
)
def test_reads_use_their_index_and_sort_nothing(sqlite_store: Any, query: str, index: str) -> None:
    plan = sqlite_store.read(lambda conn, _: [row[3] for row in conn.execute(text(f"EXPLAIN QUERY PLAN {query}"))])
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan


def test_unread_message_has_no_body_to_drop(talk: Conversation) -> None:
    talk.write(unread())
    assert expire(talk, "expire_bodies", NOW + 2 * MONTH_MS) == 0
    assert not talk.page()[0].is_body_expired
