"""The counting itself: whatever is missing, twice, late or left over in made-up evidence is a violation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from api.demo.client import Json
from tests.chaos.evidence import Evidence, Row, Talk
from tests.chaos.plan import Harm, Options, draw
from tests.chaos.traffic import Accepted
from tests.chaos.verdict import judge
from whatisup.control import ReceivedMessage, SentMessage

PHONE, CONTACT, INSTANCE = "999000000001", "999000000002", "inst_1"


def received(wa_id: str, text: str, **more: Any) -> ReceivedMessage:
    """A ciphertext that reached a phone."""
    said = {"number": PHONE, "lid": "1", "device": 1, "kind": "text", "body": None, "ciphertext_sha256": "", "t": 0}
    rest = {"position": 1, "chat": PHONE, "is_own": False, "verdict": "read", "reason": None, "count": 0, "at": 0}
    return ReceivedMessage(id=wa_id, text=text, **{**said, **rest, **more})


def sent(wa_id: str, text: str) -> SentMessage:
    """A message that a contact sent and the server took."""
    rest: Any = {"position": 1, "to": PHONE, "kind": "text", "body": None, "queued_at": 0, "t": 0, "receipts": []}
    return SentMessage(id=wa_id, text=text, acked_at=1, error=None, failure=None, **rest)


def event(name: str, **data: Any) -> Json:
    return {"event": name, "data": data}


def flawless() -> Evidence:
    """Two messages each way, and nothing wrong."""
    out = [Accepted("out 1", "msg_1", "A1"), Accepted("out 2", "msg_2", "A2")]
    talk = Talk(
        name="c0",
        instance_id=INSTANCE,
        contact=CONTACT,
        phone=PHONE,
        accepted=out,
        told=["in 1", "in 2"],
        sent=[sent("B1", "in 1"), sent("B2", "in 2")],
        received=[received("A1", "out 1"), received("A2", "out 2")],
    )
    told = [event(f"message.{step}", message_id=one.message_id) for one in out for step in ("sent", "delivered")]
    told += [event("message.received", wa_message_id=f"B{n}", body={"text": f"in {n}"}) for n in (1, 2)]
    return Evidence(
        talks=[talk],
        copies={PHONE: [received("A1", "out 1", is_own=True), received("A2", "out 2", is_own=True)]},
        rows=[
            *(Row(one.wa_id, "out", "api", "delivered", is_flagged=False) for one in out),
            *(Row(wa_id, "in", "contact", "received", is_flagged=False) for wa_id in ("B1", "B2")),
        ],
        events={INSTANCE: told},
        ledger=frozenset({"A1", "A2"}),
    )


def with_talk(evidence: Evidence, **changes: Any) -> Evidence:
    return replace(evidence, talks=[replace(evidence.talks[0], **changes)])


def test_judge_finds_nothing_where_nothing_is_wrong() -> None:
    verdict = judge(flawless())
    assert verdict.violations == []
    assert {line.wanted for line in verdict.lines} == {2}
    assert all(line.found == 2 and not line.missing and not line.doubled for line in verdict.lines)


def _lost(evidence: Evidence) -> Evidence:
    return with_talk(evidence, received=evidence.talks[0].received[:1])


def _read_twice(evidence: Evidence) -> Evidence:
    return with_talk(evidence, received=[*evidence.talks[0].received, received("A1", "out 1")])


def _shown_twice_under_two_ids(evidence: Evidence) -> Evidence:
    return with_talk(evidence, received=[*evidence.talks[0].received, received("A9", "out 1")])


def _swapped(evidence: Evidence) -> Evidence:
    return with_talk(evidence, received=evidence.talks[0].received[::-1])


def _copied_twice(evidence: Evidence) -> Evidence:
    copies = evidence.copies[PHONE]
    return replace(evidence, copies={PHONE: [*copies, copies[0]]})


def _unreadable(evidence: Evidence) -> Evidence:
    seen = evidence.talks[0].received
    return with_talk(evidence, received=[seen[0], received("A2", "", verdict="undecryptable")])


def _never_taken(evidence: Evidence) -> Evidence:
    return replace(evidence, ledger=frozenset({"A1"}))


def _ingested_twice(evidence: Evidence) -> Evidence:
    return replace(evidence, rows=[*evidence.rows, evidence.rows[-1]])


def _not_told(evidence: Evidence) -> Evidence:
    return replace(evidence, events={INSTANCE: evidence.events[INSTANCE][:-1]})


def _told_twice(evidence: Evidence) -> Evidence:
    return replace(evidence, events={INSTANCE: [*evidence.events[INSTANCE], evidence.events[INSTANCE][0]]})


def _told_in_another_order(evidence: Evidence) -> Evidence:
    return replace(evidence, events={INSTANCE: evidence.events[INSTANCE][::-1]})


def _failed(evidence: Evidence) -> Evidence:
    failure = event("message.failed", wa_message_id="A1", error={"code": "expired"})
    return replace(evidence, events={INSTANCE: [*evidence.events[INSTANCE], failure]})


def _left_unread(evidence: Evidence) -> Evidence:
    row = Row("B9", "in", "contact", "undecryptable", is_flagged=False)
    return replace(evidence, rows=[*evidence.rows, row])


def _left_over(evidence: Evidence) -> Evidence:
    return replace(evidence, outbox=1)


@pytest.mark.parametrize(
    ("harm", "violation"),
    [
        (_lost, "messages shown to the contacts: missing: 1: out 2"),
        (_read_twice, "second readable ciphertext of one id: 1: 999000000002 A1"),
        (_shown_twice_under_two_ids, "messages shown to the contacts: doubled: 1: out 1"),
        (_swapped, "out of the order of acceptance: 1: A1"),
        (_copied_twice, "second readable ciphertext of one id: 1: own phone A1"),
        (_unreadable, "undecryptable by a phone and left so: 1: 999000000002 A2"),
        (_never_taken, "stanzas the server took: missing: 1: A2"),
        (_ingested_twice, "rows in the gateway: doubled: 1: B2"),
        (_not_told, "told as message.received: missing: 1: B2"),
        (_told_twice, "told as message.sent: doubled: 1: msg_1"),
        (_told_in_another_order, "received out of the contact's order: 1: B1"),
        (_failed, "told as message.failed: 1: A1"),
        (_left_unread, "undecryptable by us and left so: 1: B9"),
        (_left_over, "left over: 1 in the outbox"),
    ],
)
def test_judge_names_what_is_wrong(harm: Callable[[Evidence], Evidence], violation: str) -> None:
    found = judge(harm(flawless())).violations
    assert any(one.strip().startswith(violation) for one in found), found


def test_draw_gives_one_plan_for_one_seed_and_says_everything_that_was_asked_for() -> None:
    options = Options(database="postgresql", messages=101, kills=6, instances=2, contacts=2, seed=9)
    plan = draw(options)
    assert plan == draw(options)
    assert plan != draw(replace(options, seed=10))
    assert sum(len(chat.texts) for chat in plan.chats) == sum(len(chat.told) for chat in plan.chats) == 101
    assert [trouble.at for trouble in plan.troubles] == sorted(trouble.at for trouble in plan.troubles)
    harms = [trouble.harm for trouble in plan.troubles]
    assert harms.count(Harm.KILL) == 6
    assert set(harms) == set(Harm)
