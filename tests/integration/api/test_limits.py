"""Rate limits as a client sees them: headers, 429, and a look that costs nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from api.serving.buckets import buckets_for
from tests.integration.api.front import ORIGIN, Front, Holder, open_front
from whatisup.store import Mode, RateLimit, Tx, customers, instances

NOW_MS = 1_700_000_000_500


class Clock:
    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def narrow(folder: Path, clock: Clock) -> AsyncIterator[Front]:
    """A front that lets live keys ask three times, then every two seconds; its clocks stand still."""
    async with open_front(folder, RATE_LIMIT_BURST="3", RATE_LIMIT_PER_S="0.5") as front:
        front.edge.buckets = buckets_for(front.edge.settings, clock)
        front.edge.looks = buckets_for(front.edge.settings, clock)
        front.edge.now = lambda: NOW_MS
        yield front


async def remaining(holder: Holder) -> int:
    answer = await holder.ask("GET", "/v1/instances")
    return int(answer.headers["X-RateLimit-Remaining"])


async def test_headers_count_down_and_the_last_request_is_refused(narrow: Front, clock: Clock) -> None:
    live = await narrow.holder(mode=Mode.LIVE)
    assert [await remaining(live) for _ in range(3)] == [2, 1, 0]
    answer = await live.ask("GET", "/v1/instances")
    assert answer.status_code == 429
    assert (await answer.get_json())["error"]["code"] == "rate_limited"
    assert answer.headers["Retry-After"] == "2"
    shown = {name: answer.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")}
    assert shown == {"Limit": "3", "Remaining": "0", "Reset": "1700000007"}
    clock.at += 2
    assert await remaining(live) == 0


async def test_errors_carry_the_headers_and_cost_a_token(narrow: Front) -> None:
    live = await narrow.holder(mode=Mode.LIVE)
    answer = await live.ask("GET", "/v1/instances/inst_none")
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (404, "2")
    answer = await live.ask("POST", "/v1/instances", {"wild": 1})
    assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (422, "1")


async def test_what_opens_nothing_costs_nothing_and_shows_no_limit(narrow: Front) -> None:
    answer = await Holder(narrow.client, "", "zpk_live_" + "a" * 43).ask("GET", "/v1/instances")
    assert answer.status_code == 401
    assert "X-RateLimit-Limit" not in answer.headers
    assert len(narrow.edge.buckets) == 0


async def test_a_customers_keys_share_a_bucket_and_others_do_not(narrow: Front) -> None:
    live = await narrow.holder(mode=Mode.LIVE)
    another = await narrow.holder(mode=Mode.LIVE, scopes=["instances:read"])
    bob = await narrow.holder("bob", Mode.LIVE)
    assert [await remaining(live), await remaining(another), await remaining(bob)] == [2, 1, 2]


async def test_looking_at_the_limits_costs_nothing_and_is_bounded(narrow: Front) -> None:
    live = await narrow.holder(mode=Mode.LIVE)
    await remaining(live)
    body = await live.call("GET", "/v1/limits")
    assert body == {
        "per_customer": {"limit": 3, "remaining": 2, "reset_at": "2023-11-14T22:13:22.500Z"},
        "per_channel": None,
        "per_key": None,
    }
    answer = await live.ask("GET", "/v1/limits")
    assert answer.headers["X-RateLimit-Remaining"] == "2"
    await live.call("GET", "/v1/limits")
    assert await live.refused("GET", "/v1/limits") == (429, "rate_limited")
    assert await remaining(live) == 1


async def test_no_limit_shows_null_and_no_headers(narrow: Front) -> None:
    test = await narrow.holder()
    answer = await test.ask("GET", "/v1/limits")
    assert await answer.get_json() == {"per_customer": None, "per_channel": None, "per_key": None}
    assert "X-RateLimit-Limit" not in answer.headers


async def test_a_customers_own_limit_counts_from_the_next_request_on(narrow: Front) -> None:
    live, test = await narrow.holder(mode=Mode.LIVE), await narrow.holder()

    def widen(tx: Tx) -> None:
        limits = {Mode.LIVE: RateLimit(100, 10), Mode.TEST: RateLimit(5, 1)}
        customers.patch(tx, live.customer_id, origin=ORIGIN, rate_limits=limits)

    assert await remaining(live) == 2
    await narrow.write(widen)
    assert await remaining(live) > 70
    assert await remaining(test) == 4


async def test_a_customer_that_searches_leaves_readers_to_others(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = await front.holder(), await front.holder("bob")
    released, begun = threading.Event(), 0

    def search(*_: object, **__: object) -> tuple[list[object], None]:
        nonlocal begun
        begun += 1
        released.wait(10)
        return [], None

    monkeypatch.setattr("whatisup.store.deliveries.page", search)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(alice.call, "GET", "/v1/webhook-deliveries")
        with trio.fail_after(5):
            while not begun:
                await trio.sleep(0.01)
            assert (await bob.call("GET", "/v1/instances"))["data"] == []
            await alice.call("GET", "/v1/limits")
        assert begun == 1
        released.set()
    assert begun == 5
    assert len(front.edge.streams.searches) == 0


@pytest.mark.parametrize(
    ("query", "is_gated"),
    [("", False), ("?limit=50", False), ("?limit=51", True), ("?chat=15550001111", True), ("?direction=in", True)],
)
async def test_first_rows_of_a_list_wait_for_no_search(front: Front, query: str, is_gated: bool) -> None:
    alice = await front.holder()
    path, waited = f"/v1/instances/{await alice.create()}/messages{query}", True
    async with front.edge.streams.searches.one(alice.customer_id):
        with trio.move_on_after(0.3 if is_gated else 10):
            await alice.call("GET", path)
            waited = False
    assert waited is is_gated


@pytest.mark.parametrize(
    ("query", "is_gated"),
    [
        ("", False), ("?limit=50&events=instance.*", False), ("?limit=1&events=message.*", True),
        ("?limit=51&events=instance.*", True), ("?after={last}&events=message.*", False), ("?instance_id={id}", False),
    ],
)  # fmt: skip
async def test_page_of_the_log_is_looked_for_nearby_before_it_waits(
    front: Front, monkeypatch: pytest.MonkeyPatch, query: str, is_gated: bool
) -> None:
    monkeypatch.setattr("api.routes.events.WINDOW", 60)
    alice, waited = await front.holder(), True
    instance_id = await alice.create()

    def append(tx: Tx) -> str:
        return [tx.append_event(instance_id, "instance.status", {"n": n}).id for n in range(100)][-1]

    path = f"/v1/events{query.format(last=await front.write(append), id=instance_id)}"
    async with front.edge.streams.searches.one(alice.customer_id):
        with trio.move_on_after(0.3 if is_gated else 10):
            await alice.call("GET", path, Accept="application/json")
            waited = False
    assert waited is is_gated
    assert not front.edge.slow


async def test_lists_whose_first_rows_took_long_twice_wait_for_their_turn_from_then_on(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind many deleted instances, say: each look at them would keep the loop, and then a reader, from all others."""
    alice, bob = await front.holder(), await front.holder("bob")
    on_loop, list_page = 0, instances.list_page

    def scan(conn: Any, vault: Any, customer_id: str, *rest: Any) -> Any:
        nonlocal on_loop
        if threading.current_thread() is threading.main_thread():
            on_loop += customer_id == alice.customer_id
            until = time.thread_time() + (0.02 if customer_id == alice.customer_id else 0)
            while time.thread_time() < until:
                pass
        return list_page(conn, vault, customer_id, *rest)

    monkeypatch.setattr("whatisup.store.instances.list_page", scan)
    for _ in range(5):
        await alice.call("GET", "/v1/instances")
    assert on_loop == 2  # once may have been the collector
    waited = True
    async with front.edge.streams.searches.one(alice.customer_id):
        await bob.call("GET", "/v1/instances")
        with trio.move_on_after(0.3):
            await alice.call("GET", "/v1/instances")
            waited = False
    assert waited


async def test_messages_for_made_up_instances_never_reach_the_writer(front: Front) -> None:
    alice = await front.holder()
    instance_id, calls = await alice.create(), front.edge.system.writer.stats.calls
    message = {"to": "15550001111", "body": {"type": "text", "text": "x"}}
    for name in ("inst_none", "inst_none2"):
        assert await alice.refused("POST", f"/v1/instances/{name}/messages", message) == (404, "instance_not_found")
    assert front.edge.system.writer.stats.calls == calls
    bob = await front.holder("bob")
    for _ in range(2):
        assert (await alice.refused("POST", f"/v1/instances/{instance_id}/messages", message))[1] == "not_connected"
        assert (await bob.refused("POST", f"/v1/instances/{instance_id}/messages", message))[0] == 404
