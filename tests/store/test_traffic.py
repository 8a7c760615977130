"""Many instances at once: who is busy, who is new, and who is wrong stay out of each other's way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from tests.store.conversation import Conversation, of, read, receipt
from tests.store.world import NOW, ORIGIN
from whatisup.errors import Fenced
from whatisup.store import (
    AckMessage,
    Call,
    Committed,
    Intent,
    MessageStatus,
    PutAuth,
    RememberCiphertexts,
    SealedMessage,
    SealMessages,
    Unit,
    instances,
    messages,
    outbox,
)
from whatisup.store.handlers import inbound, outbound, progress

INSTANCES = 16
ROUNDS = 12


def everybody(talk: Conversation) -> list[str]:
    ids = [talk.another(name=str(n)).id for n in range(INSTANCES)]
    for one in ids:
        talk.link(one)
    return ids


def test_traffic_both_ways_in_mixed_batches_is_counted_exactly(talk: Conversation) -> None:
    """Every round repeats what the round before did, as redeliveries do; one instance sends ten times as much."""
    ids = everybody(talk)
    batch: list[Any] = []
    for number in range(ROUNDS):
        before, batch = batch, []
        for index, one in enumerate(ids):
            count = 10 if index == 0 else 1
            reads = tuple(read(f"{number}.{n}", of(f"I{number}.{n}")) for n in range(count))
            hashes = RememberCiphertexts((bytes([number, index]) * 16,), NOW)
            batch.append(Unit(one, 0, (*reads, hashes, PutAuth("session", "1000.0", b"%d" % number))))
        accepts = [Call(talk.accepting(f"O{number}", instance_id=one)) for one in ids]
        results = talk.store.commit([*before, *accepts, *batch])
        accepted = results[len(before) : len(before) + len(ids)]
        assert [len(result.events) for result in results[: len(before)]] == [0] * len(before)
        seals = [
            Unit(m.instance_id, 0, (SealMessages((SealedMessage(m.id, b"stanza", b"message"),)),)) for m in accepted
        ]
        acks = [Unit(m.instance_id, 0, (AckMessage(m.wa_id, NOW), receipt(m.wa_id))) for m in accepted]
        assert all(isinstance(result, Committed) for result in talk.store.commit(seals + acks + acks))
    events = talk.events(limit=100_000)
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    names = [event.type for event in events]
    assert names.count("message.received") == ROUNDS * (INSTANCES - 1 + 10)
    assert names.count("message.sent") == names.count("message.delivered") == ROUNDS * INSTANCES
    assert talk.store.read(outbox.counts) == {}
    for one in ids:
        assert [event.seq for event in events if event.instance_id == one] == list(
            range(1, sum(event.instance_id == one for event in events) + 1)
        )


def test_ghost_among_busy_instances_writes_nothing(talk: Conversation) -> None:
    ids = everybody(talk)
    talk.bump(ids[3])
    results = talk.store.commit([Unit(one, 0, (read("hello"),)) for one in ids])
    assert [type(result) for result in results].count(Fenced) == 1
    assert isinstance(results[3], Fenced)
    assert len(talk.names()) == INSTANCES - 1
    assert talk.store.read(messages.by_wa_id, ids[3], "3EB0A") == []


def test_wipe_between_acceptance_and_sealing_leaves_no_message_behind(talk: Conversation) -> None:
    """The ghost of a logged-out instance seals what its successor has failed: it is fenced off."""
    message = talk.accept("S")
    late = talk.unit(SealMessages((SealedMessage(message.id, b"stanza", b"message"),)))
    wish = Call(instances.begin_wipe, (talk.id, 0, Intent.LOG_OUT, ORIGIN, NOW))
    results = talk.store.commit([wish, late])
    assert isinstance(results[1], Fenced)
    assert talk.status(message) is MessageStatus.FAILED
    assert talk.names() == ["failed"]


def test_long_queue_is_read_by_its_index(sqlite_store: Any) -> None:
    """What the next message is costs the same behind ten thousand others; nothing is sorted or scanned."""
    talk = Conversation(sqlite_store)
    talk.link()
    query = (
        "SELECT * FROM outbox JOIN messages ON messages.position = outbox.position WHERE outbox.instance_id = 'a'"
        " AND outbox.stage = 'queued' AND outbox.expires_at > 0 AND outbox.chat NOT IN ('x')"
        " ORDER BY outbox.position LIMIT 9"
    )
    steps = talk.store.read(lambda conn, _: [row[3] for row in conn.execute(text(f"EXPLAIN QUERY PLAN {query}"))])
    assert "outbox_next" in steps[0], steps
    assert not any("SCAN" in step or "TEMP" in step for step in steps), steps


def test_lists_are_gone_through_and_rows_looked_up(sqlite_store: Any) -> None:
    """Never the other way round: a table may have millions of rows."""
    statements = {
        "known": inbound._KNOWN, "by wa id": progress._BY_WA_ID, "by id": progress._BY_ID, "queued": outbound._QUEUED
    }  # fmt: skip
    for name, prepared in statements.items():
        query = str(prepared._make("sqlite").compile(sqlite_store._backend.writer))
        steps = sqlite_store.read(
            lambda conn, _, q=query: [
                row[3]
                for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {q}", ("[]",) * q.count("?"))
                if "json_each" not in row[3]
            ]
        )
        assert steps, name
        assert all(step.startswith("SEARCH") for step in steps), (name, steps)
