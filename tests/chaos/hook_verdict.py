"""What became of every event at every webhook endpoint: that it arrived, unchanged and signed, and in which order.

Rule: pure. Delivery is at least once, so what came twice is counted and shown; whatever else is not as it must be is a
violation that names the events.

The rule of order, for each endpoint and instance: no event is even tried while one before it in the log has not been
taken. At a `relaxed` endpoint that holds but for the rows marked late, and late is only what failed three times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tests.chaos.hooks import LATE_AFTER, Delivery, HookEndpoint, HookEvidence, Told
from tests.chaos.receiver import Hit
from tests.chaos.verdict import Verdict

SETTLED = "success"


def judge_hooks(verdict: Verdict, evidence: HookEvidence) -> None:
    """Count everything about webhooks, into a verdict."""
    for endpoint in evidence.endpoints:
        hits = [hit for hit in evidence.hits if hit.endpoint == endpoint.name]
        rows = [row for row in evidence.rows if row.endpoint_id == endpoint.id]
        log = [told for told in evidence.log if told.position > endpoint.since and endpoint.wants(told.event)]
        _count(verdict, endpoint, log, hits, rows)
        _check_rows(verdict, endpoint, rows)
        _check_order(verdict, endpoint, log, hits, rows)
    _check_content(verdict, evidence)
    ids = {endpoint.id for endpoint in evidence.endpoints}
    verdict.forbid(
        "webhook rows of no endpoint of ours", [row.event_id for row in evidence.rows if row.endpoint_id not in ids]
    )
    verdict.forbid("requests that nobody asked for", evidence.strays)


def _count(
    verdict: Verdict, endpoint: HookEndpoint, log: Sequence[Told], hits: Sequence[Hit], rows: Sequence[Delivery]
) -> None:
    wanted = [told.event_id for told in log]
    taken = Counter(hit.event_id for hit in hits if hit.is_taken)
    what = f"webhooks, {endpoint.name} {','.join(endpoint.patterns)}"
    verdict.count(f"{what}: rows", wanted, (row.event_id for row in rows))
    verdict.count(f"  events taken at {endpoint.name}", wanted, list(taken))
    verdict.forbid(f"{what}: tried, though filtered out", sorted({hit.event_id for hit in hits} - set(wanted)))
    again = sum(taken.values()) - len(taken)
    replies = ", ".join(f"{count} x {reply}" for reply, count in Counter(hit.reply for hit in hits).most_common())
    late = sum(row.is_late for row in rows)
    verdict.facts[f"webhooks, {endpoint.name}"] = f"{len(hits)} requests, {again} duplicates taken, {late} late"
    verdict.facts[f"  answered at {endpoint.name}"] = replies or "none"


def _check_rows(verdict: Verdict, endpoint: HookEndpoint, rows: Sequence[Delivery]) -> None:
    name = f"webhooks, {endpoint.name}"
    verdict.forbid(f"{name}: left unsettled", [row.event_id for row in rows if row.is_unsettled])
    given_up = [row.event_id for row in rows if not row.is_unsettled and row.status != SETTLED]
    verdict.forbid(f"{name}: settled without success", given_up)
    odd = [row.event_id for row in rows if row.attempts != row.attempt_count or (row.attempts == 0 and row.is_settled)]
    verdict.forbid(f"{name}: attempts that are not in the log of attempts", odd)
    late = [row for row in rows if row.is_late]
    if endpoint.is_strict:
        verdict.forbid(f"{name}: late, though strict", [row.event_id for row in late])
    early = [row.event_id for row in late if row.failures < LATE_AFTER]
    verdict.forbid(f"{name}: late after fewer than {LATE_AFTER} failures", early)


def _check_order(
    verdict: Verdict, endpoint: HookEndpoint, log: Sequence[Told], hits: Sequence[Hit], rows: Sequence[Delivery]
) -> None:
    late = {row.event_id for row in rows if row.is_late}
    lane = {told.event_id: told.instance_id for told in log}
    order: dict[str | None, list[str]] = {}
    arrived: dict[str | None, list[Hit]] = {}
    for told in log:
        order.setdefault(told.instance_id, []).append(told.event_id)
    for hit in hits:
        if hit.event_id in lane:
            arrived.setdefault(lane[hit.event_id], []).append(hit)
    overtakers = [one for key, ids in order.items() for one in overtakers_of(ids, arrived.get(key, ()), late)]
    verdict.forbid(f"webhooks, {endpoint.name}: tried before what came before it was taken", overtakers)


def overtakers_of(order: Sequence[str], hits: Iterable[Hit], late: set[str]) -> list[str]:
    """The events that were tried while one before them was neither taken nor late, in the order of their first try.

    Nobody waits for what was never taken at all: that is another fault.
    """
    hits = list(hits)
    place = {one: index for index, one in enumerate(order)}
    taken = late | (set(order) - {hit.event_id for hit in hits if hit.is_taken})
    first = 0
    """The place of the first event that has not been taken yet."""
    found: dict[str, None] = {}
    for hit in hits:
        while first < len(order) and order[first] in taken:
            first += 1
        if hit.event_id not in late and place[hit.event_id] > first:
            found.setdefault(hit.event_id)
        if hit.is_taken:
            taken.add(hit.event_id)
    return list(found)


def _check_content(verdict: Verdict, evidence: HookEvidence) -> None:
    """Every request of one event says the same, is signed, and says what the log says."""
    verdict.forbid("webhooks with a fault", [f"{hit.event_id} {one}" for hit in evidence.hits for one in hit.problems])
    heads: dict[str, tuple[object, ...]] = {}
    unlike = [hit.event_id for hit in evidence.hits if heads.setdefault(hit.event_id, hit.head) != hit.head]
    verdict.forbid("webhooks whose event changed from one attempt to the next", list(dict.fromkeys(unlike)))
    verdict.forbid("webhooks that do not say what the log says", _other_than(evidence.digests, evidence.hits))


def _other_than(digests: Mapping[str, str], hits: Sequence[Hit]) -> list[str]:
    wrong = [hit.event_id for hit in hits if digests.get(hit.event_id, hit.digest) != hit.digest]
    return list(dict.fromkeys(wrong))
