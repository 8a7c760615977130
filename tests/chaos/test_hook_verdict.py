"""The counting of webhooks itself: whatever is missing, unsigned, changed or too early in made-up evidence is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.hook_verdict import judge_hooks, overtakers_of
from tests.chaos.hooks import Delivery, HookEndpoint, HookEvidence, Told
from tests.chaos.receiver import Hit, Reply
from tests.chaos.verdict import Verdict

RELAXED = HookEndpoint("relaxed", ("*",), is_strict=False, id="wh_r", since=1)
STRICT = HookEndpoint("strict", ("message.*",), is_strict=True, id="wh_s", since=1)
LOG = (
    Told(1, "evt_0", "instance.status", "inst_1"),  # from before there were endpoints
    Told(2, "evt_1", "message.sent", "inst_1"),
    Told(3, "evt_2", "instance.status", "inst_1"),
    Told(4, "evt_3", "message.read", "inst_1"),
    Told(5, "evt_4", "message.sent", "inst_2"),
    Told(6, "evt_5", "webhook.disabled", None),
)


def hit(endpoint: str, number: int, reply: Reply = Reply.OK, **more: Any) -> Hit:
    rest = {"digest": f"d{number}", "head": (number,), "number": 1, "is_taken": reply is Reply.OK}
    return Hit(endpoint=endpoint, event_id=f"evt_{number}", reply=reply, **{**rest, **more})


def row(endpoint_id: str, number: int, **more: Any) -> Delivery:
    rest = {"status": "success", "is_late": False, "is_unsettled": False, "attempt_count": 1, "attempts": 1}
    return Delivery(endpoint_id, f"evt_{number}", **{**rest, **more})


def flawless() -> HookEvidence:
    """Everything arrived; one event failed once at the strict endpoint, and one came twice there."""
    hits = [
        hit("strict", 1, Reply.TORN),
        hit("relaxed", 1),
        hit("relaxed", 2),
        hit("strict", 4),
        hit("strict", 1),
        hit("relaxed", 5),
        hit("strict", 3),
        hit("relaxed", 3),
        hit("relaxed", 4),
        hit("strict", 4),
    ]
    rows = [*(row("wh_r", number) for number in (1, 2, 3, 4, 5)), row("wh_s", 3), row("wh_s", 4)]
    rows.append(row("wh_s", 1, attempt_count=2, attempts=2, failures=1))
    digests = {f"evt_{number}": f"d{number}" for number in (1, 3, 4)}
    return HookEvidence(endpoints=(RELAXED, STRICT), log=LOG, rows=rows, hits=hits, digests=digests)


def judged(evidence: HookEvidence) -> Verdict:
    verdict = Verdict()
    judge_hooks(verdict, evidence)
    return verdict


def test_judge_finds_nothing_where_nothing_is_wrong_and_counts_what_came_twice() -> None:
    verdict = judged(flawless())
    assert verdict.violations == []
    assert [(line.wanted, line.found) for line in verdict.lines] == [(5, 5), (5, 5), (3, 3), (3, 3)]
    assert verdict.facts["webhooks, relaxed"] == "5 requests, 0 duplicates taken, 0 late"
    assert verdict.facts["webhooks, strict"] == "5 requests, 1 duplicates taken, 0 late"
    assert verdict.facts["  answered at strict"] == "4 x 200, 1 x torn"


def with_hits(change: Callable[[list[Hit]], list[Hit]]) -> Callable[[HookEvidence], HookEvidence]:
    return lambda evidence: replace(evidence, hits=change(list(evidence.hits)))


def with_row(endpoint_id: str, number: int, **more: Any) -> Callable[[HookEvidence], HookEvidence]:
    def changed(evidence: HookEvidence) -> HookEvidence:
        others = [one for one in evidence.rows if (one.endpoint_id, one.event_id) != (endpoint_id, f"evt_{number}")]
        return replace(evidence, rows=[*others, row(endpoint_id, number, **more)])

    return changed


def without(endpoint: str, number: int) -> Callable[[list[Hit]], list[Hit]]:
    return lambda hits: [one for one in hits if (one.endpoint, one.event_id) != (endpoint, f"evt_{number}")]


LATE = {"is_late": True, "attempt_count": 4, "attempts": 4, "failures": 3}


@pytest.mark.parametrize(
    ("harm", "violation"),
    [
        (with_hits(without("relaxed", 4)), "events taken at relaxed: missing: 1: evt_4"),
        (
            with_hits(lambda hits: [*without("relaxed", 4)(hits), hit("relaxed", 4, Reply.HANG)]),
            "taken at relaxed: missing: 1: evt_4",
        ),
        (with_hits(lambda hits: [*hits, hit("relaxed", 9)]), "events taken at relaxed: never sent by anybody: 1"),
        (with_hits(lambda hits: [*hits, hit("strict", 2)]), "tried, though filtered out: 1: evt_2"),
        (with_hits(lambda hits: [*hits, hit("relaxed", 0)]), "tried, though filtered out: 1: evt_0"),
        (
            with_hits(lambda hits: [hit("strict", 3, Reply.ERROR), *hits]),
            "webhooks, strict: tried before what came before it was taken: 1: evt_3",
        ),
        (
            with_hits(lambda hits: [hit("relaxed", 3), *hits]),
            "webhooks, relaxed: tried before what came before it was taken: 1: evt_3",
        ),
        (
            with_hits(lambda hits: [*hits, hit("strict", 4, problems=("webhook-id: x",))]),
            "webhooks with a fault: 1: evt_4",
        ),
        (
            with_hits(lambda hits: [*hits, hit("strict", 4, head=("?",))]),
            "changed from one attempt to the next: 1: evt_4",
        ),
        (with_hits(lambda hits: [*hits, hit("strict", 4, digest="?")]), "do not say what the log says: 1: evt_4"),
        (lambda found: replace(found, strays=["POST /trap"]), "requests that nobody asked for: 1: POST /trap"),
        (lambda found: replace(found, rows=found.rows[1:]), "webhooks, relaxed *: rows: missing: 1: evt_1"),
        (lambda found: replace(found, rows=[*found.rows, row("wh_r", 1)]), "relaxed *: rows: doubled: 1: evt_1"),
        (lambda found: replace(found, rows=[*found.rows, row("wh_r", 9)]), "rows: never sent by anybody: 1: evt_9"),
        (lambda found: replace(found, rows=[*found.rows, row("wh_x", 1)]), "rows of no endpoint of ours: 1: evt_1"),
        (with_row("wh_s", 3, is_unsettled=True, status="retrying"), "strict: left unsettled: 1: evt_3"),
        (with_row("wh_s", 3, status="failed"), "strict: settled without success: 1: evt_3"),
        (with_row("wh_s", 3, attempts=0), "attempts that are not in the log of attempts: 1: evt_3"),
        (with_row("wh_s", 3, attempts=0, attempt_count=0), "attempts that are not in the log of attempts: 1: evt_3"),
        (with_row("wh_s", 3, **LATE), "strict: late, though strict: 1: evt_3"),
        (with_row("wh_r", 3, **{**LATE, "failures": 2}), "relaxed: late after fewer than 3 failures: 1: evt_3"),
    ],
)
def test_judge_names_what_is_wrong(harm: Callable[[HookEvidence], HookEvidence], violation: str) -> None:
    found = judged(harm(flawless())).violations
    assert any(violation in one for one in found), found


def test_judge_lets_others_pass_what_is_late_at_a_relaxed_endpoint() -> None:
    early = with_hits(lambda hits: [hit("relaxed", 3), *hits])
    late = with_row("wh_r", 1, **LATE)
    assert judged(early(flawless())).violations
    found = judged(late(with_row("wh_r", 2, **LATE)(early(flawless()))))
    assert found.violations == []
    assert found.facts["webhooks, relaxed"] == "6 requests, 1 duplicates taken, 2 late"


def test_overtakers_of_sees_a_try_that_was_too_early_and_no_repetition() -> None:
    def seen(*tries: tuple[int, bool], late: str = "") -> list[str]:
        hits = [hit("strict", number, Reply.OK if is_taken else Reply.ERROR) for number, is_taken in tries]
        return overtakers_of(["evt_1", "evt_2", "evt_3"], hits, set(late.split()))

    assert seen((1, True), (2, False), (2, True), (3, True)) == []
    assert seen((1, True), (1, True), (2, True), (1, True), (3, True)) == []
    assert seen((1, False), (2, True), (1, True), (3, True)) == ["evt_2"]
    assert seen((2, True), (1, True), (2, True), (3, True)) == ["evt_2"]
    assert seen((1, True), (3, False), (2, True), (3, True)) == ["evt_3"]
    assert seen((1, False), (2, True), (3, True), (1, True), late="evt_1") == []
    assert seen((1, False), (3, True), (2, True)) == ["evt_3"]
    assert seen((1, False), (3, True), (2, True), (1, True), late="evt_1") == ["evt_3"]


@pytest.mark.parametrize(
    ("patterns", "event", "is_wanted"),
    [
        (("*",), "instance.status", True),
        (("message.*",), "message.sent", True),
        (("message.*",), "instance.status", False),
        (("message.*",), "messages.sent", False),
        (("message.sent",), "message.sent", True),
        (("message.sent",), "message.sent_twice", False),
        (("instance.*", "qr.updated"), "qr.updated", True),
    ],
)
def test_wants_is_what_the_filters_say(patterns: tuple[str, ...], event: str, is_wanted: bool) -> None:
    assert replace(RELAXED, patterns=patterns).wants(event) is is_wanted
