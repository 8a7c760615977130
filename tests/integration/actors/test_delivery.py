"""The delivery actor: at least once, in order, nobody held up by somebody else's receiver, through restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from threading import Event as ThreadEvent
from typing import Any

import pytest
import trio
from sqlalchemy import text

from actors.delivery import dispatcher as dispatching
from actors.delivery.lanes import WINDOW
from tests.integration.actors.office import HANG, Office, office, until
from tests.store.world import ORIGIN
from whatisup.errors import StoreUnavailable
from whatisup.store import (
    Attempt,
    DeliveryKind,
    DeliveryStatus,
    DisabledReason,
    EndpointChanges,
    Event,
    Lane,
    Mode,
    Ordering,
    Receiver,
    SettleOutcome,
    Tx,
    deliveries,
    webhooks,
)
from whatisup.store.store import unix_ms


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as made:
        yield made


def texts(count: int, start: int = 1) -> list[str]:
    return [f"{number}" for number in range(start, start + count)]


async def enable(post: Office, endpoint_id: str, is_enabled: bool = True) -> None:
    await post.writer.call(
        partial(
            webhooks.patch,
            endpoint_id=endpoint_id,
            customer_id=post.customer.id,
            mode=Mode.TEST,
            origin=ORIGIN,
            changes=EndpointChanges(is_enabled=is_enabled),
        )
    )


# --- order ------------------------------------------------------------------------------------------------------------


async def test_events_arrive_once_and_in_order_of_each_instance(post: Office) -> None:
    hook = await post.hook()
    await post.endpoint(hook)
    async with post.open():
        for start in range(1, 60, 20):
            for name in ("a", "b", "c"):
                await post.tell(*(f"{name}{n}" for n in texts(20, start)), name=name)
        rows = await post.settled(180)
    for name in ("a", "b", "c"):
        assert [text for text in hook.taken if text[0] == name] == [f"{name}{n}" for n in texts(60)]
    assert {row.status for row in rows} == {DeliveryStatus.SUCCESS}
    assert {row.attempt_count for row in rows} == {1}
    assert len(hook.seen) == 180


async def test_instances_do_not_wait_for_each_other(post: Office) -> None:
    hook = await post.hook(lambda text, _: HANG if text.startswith("stuck") else 200)
    await post.endpoint(hook)
    async with post.open(timeout_s=30):
        await post.tell("stuck", "behind it", name="a")
        await post.tell("free", name="b")
        await until(lambda: "free" in hook.taken)
        assert "behind it" not in hook.taken


async def test_what_waits_at_the_start_is_delivered_in_order(post: Office) -> None:
    hook = await post.hook()
    await post.endpoint(hook)
    await post.tell(*texts(WINDOW * 3))
    async with post.open():
        await post.settled(WINDOW * 3)
    assert hook.taken == texts(WINDOW * 3)


async def test_strict_endpoint_gets_nothing_out_of_order(post: Office) -> None:
    hook = await post.hook(lambda text, before: 500 if text == "2" and before < 4 else 200)
    await post.endpoint(hook, ordering=Ordering.STRICT)
    async with post.open():
        await post.tell(*texts(5))
        rows = await post.settled(5)
    assert [text for text, _ in hook.seen] == ["1", "2", "2", "2", "2", "2", "3", "4", "5"]
    assert not any(row.is_late for row in rows)


async def test_relaxed_endpoint_lets_others_pass_after_the_third_failure_and_marks_the_late_one(post: Office) -> None:
    hook = await post.hook(lambda text, before: 500 if text == "2" and before < 4 else 200)
    await post.endpoint(hook, ordering=Ordering.RELAXED)
    async with post.open(delays_s=(0.05, 0.05, 0.5, 0.1, 0.1)):
        await post.tell(*texts(5))
        rows = await post.settled(5)
    assert [text for text, _ in hook.seen][:4] == ["1", "2", "2", "2"]
    assert hook.taken == ["1", "3", "4", "5", "2"]
    assert [row.is_late for row in rows] == [False, True, False, False, False]
    assert rows[1].attempt_count == 5


async def test_setting_decides_where_the_endpoint_does_not(post: Office) -> None:
    hook = await post.hook(lambda text, before: 500 if text == "1" and before < 4 else 200)
    await post.endpoint(hook)
    async with post.open(ordering=Ordering.STRICT):
        await post.tell(*texts(2))
        await post.settled(2)
    assert hook.taken == ["1", "2"]


async def test_delivery_that_never_arrives_is_given_up_and_the_next_ones_go_on(post: Office) -> None:
    hook = await post.hook(lambda text, _: 503 if text == "1" else 200)
    await post.endpoint(hook, ordering=Ordering.STRICT)
    async with post.open(delays_s=(0.02, 0.02)):
        await post.tell(*texts(3))
        first, *others = await post.settled(3)
    assert (first.status, first.attempt_count, first.last_response_status) == (DeliveryStatus.FAILED, 3, 503)
    assert {row.status for row in others} == {DeliveryStatus.SUCCESS}
    assert hook.taken == ["2", "3"]


async def test_late_ones_come_when_they_are_due(post: Office) -> None:
    hook = await post.hook(lambda text, before: 500 if text in ("1", "2") and before < 3 else 200)
    await post.endpoint(hook)
    async with post.open(delays_s=(0.01, 0.01, 0.3)):
        await post.tell(*texts(4))
        await post.settled(4)
    assert hook.taken == ["3", "4", "1", "2"]


# --- what is sent -----------------------------------------------------------------------------------------------------


async def test_request_carries_the_event_signatures_and_custom_headers(post: Office) -> None:
    hook = await post.hook(lambda _, before: 500 if before == 0 else 200)
    await post.endpoint(hook)
    async with post.open():
        (event,) = await post.tell("hello")
        await post.settled(1)
    first, second = hook.headers
    assert first["x-whatisup-event"] == "instance.status"
    assert first["x-whatisup-event-id"] == second["x-whatisup-event-id"] == event.id == first["webhook-id"]
    assert first["x-shop"] == "7"
    assert first["x-whatisup-signature"].startswith("t=")
    assert first["webhook-signature"].startswith("v1,")
    assert hook.bodies[0] == hook.bodies[1]


# --- somebody else's trouble ------------------------------------------------------------------------------------------


async def test_slow_hosts_never_delay_another(post: Office) -> None:
    hanging = [await post.hook(lambda *_: HANG, host=f"127.0.0.{number}") for number in range(2, 22)]
    quick = await post.hook()
    for hook in hanging:
        await post.endpoint(hook)
    async with post.open(timeout_s=30, in_all=16):
        await post.tell("to all of them")
        await until(lambda: sum(hook.at_once for hook in hanging) >= 8)
        await post.endpoint(quick)
        # Unknown yet, it stands in line with the slow ones; from its first success on it does not.
        assert quick.taken == []
    async with post.open(timeout_s=0.2, in_all=16, delays_s=(0.01,) * 5):
        await until(lambda: len(hanging[0].seen) > 1)
        began = trio.current_time()
        for number in range(5):
            await post.tell(f"news {number}")
        await until(lambda: len(quick.taken) == 5)
        assert trio.current_time() - began < 10
        first = trio.current_time()
        await post.tell("now it is known")
        await until(lambda: "now it is known" in quick.taken)
        assert trio.current_time() - first < 1


async def test_host_gets_no_more_requests_at_once_than_it_may(post: Office) -> None:
    release = trio.Event()
    hook = await post.hook()
    plain_answer = hook._answer

    async def slow(peer: object, stream: object) -> bool:
        answered = await plain_answer(peer, stream)  # type: ignore[arg-type]
        await release.wait()
        return answered

    hook._answer = slow  # type: ignore[method-assign]
    await post.endpoint(hook)
    async with post.open(per_host=2):
        for name in "abcdef":
            await post.tell(f"from {name}", name=name)
        await until(lambda: len(hook.seen) >= 2)
        release.set()
        await post.settled(6)
    assert hook.most_at_once <= 2


async def test_writers_of_events_never_wait_for_receivers(post: Office) -> None:
    hook = await post.hook(lambda *_: HANG)
    await post.endpoint(hook)
    async with post.open(timeout_s=30) as dispatcher:
        with trio.fail_after(10):
            for start in range(0, 2000, 100):
                await post.tell(*texts(100, start))
        assert max(len(window.queue) for window in dispatcher._windows.values()) <= WINDOW
        assert len(await post.rows()) == 2000


# --- endpoints come and go --------------------------------------------------------------------------------------------


async def test_410_disables_the_endpoint_and_what_waits_goes_on_once_it_is_enabled(post: Office) -> None:
    gone = True
    hook = await post.hook(lambda *_: 410 if gone else 200)
    endpoint = await post.endpoint(hook)
    async with post.open() as dispatcher:
        await post.tell(*texts(3))
        shown = partial(webhooks.get, endpoint_id=endpoint.id, customer_id=post.customer.id, mode=Mode.TEST)

        async def is_disabled() -> bool:
            row = await post.database.read(shown)
            return row is not None and row.disabled_reason is DisabledReason.GONE

        await until(is_disabled)
        assert [text for text, _ in hook.seen] == ["1"]
        await until(lambda: not dispatcher._windows)
        gone = False
        await post.tell("missed while disabled")
        await enable(post, endpoint.id)
        dispatcher.wake(endpoint.id)
        rows = await post.settled(3)
    assert hook.taken == ["1", "2", "3"]
    assert {row.status for row in rows} == {DeliveryStatus.SUCCESS}


async def test_endpoint_that_fails_for_too_long_is_disabled(post: Office) -> None:
    hook = await post.hook(lambda *_: 500)
    endpoint = await post.endpoint(hook)
    listening = await post.hook()
    await post.endpoint(listening, events=("webhook.disabled",))
    async with post.open(disable_after_s=0, delays_s=(0.01, 0.01, 0.01)):
        await post.tell("1")
        await until(lambda: listening.taken == ["webhook.disabled"])
    row = await post.database.read(
        partial(webhooks.get, endpoint_id=endpoint.id, customer_id=post.customer.id, mode=Mode.TEST)
    )
    assert row is not None
    assert row.disabled_reason is DisabledReason.FAILING
    assert listening.bodies[0]["data"]["endpoint_id"] == endpoint.id


async def test_deleted_endpoint_gets_nothing_more(post: Office) -> None:
    hook = await post.hook(lambda *_: 500)
    endpoint = await post.endpoint(hook)
    async with post.open(delays_s=(0.5, 0.5)) as dispatcher:
        await post.tell(*texts(3))
        await until(lambda: hook.seen)
        assert await post.writer.call(
            partial(
                webhooks.delete, endpoint_id=endpoint.id, customer_id=post.customer.id, mode=Mode.TEST, origin=ORIGIN
            )
        )
        dispatcher.wake(endpoint.id)
        await until(lambda: not dispatcher._windows)
        count = len(hook.seen)
        await post.tell("4")
        await trio.sleep(0.6)
    assert len(hook.seen) == count


async def test_redelivery_and_replay_go_their_own_way(post: Office) -> None:
    hook = await post.hook(lambda text, before: 500 if text == "2" and before < 2 else 200)
    endpoint = await post.endpoint(hook, ordering=Ordering.STRICT)
    async with post.open(delays_s=(0.01,)) as dispatcher:
        await post.tell(*texts(3))
        rows = await post.settled(3)
        assert hook.taken == ["1", "3"]
        again = await post.writer.call(
            partial(
                deliveries.redeliver,
                delivery_id=rows[1].id,
                customer_id=post.customer.id,
                mode=Mode.TEST,
                origin=ORIGIN,
            )
        )
        assert again is not None
        dispatcher.wake(endpoint.id)
        await until(lambda: hook.taken == ["1", "3", "2"])
        await post.settled(3)
        replayed = await post.writer.call(
            partial(
                deliveries.replay,
                endpoint_id=endpoint.id,
                customer_id=post.customer.id,
                mode=Mode.TEST,
                origin=ORIGIN,
                after=0,
                until=10**9,
                limit=100,
            )
        )
        assert replayed is not None
        dispatcher.wake(endpoint.id)
        await until(lambda: len(hook.taken) == 6)
        rows = await post.settled(3)
    assert hook.taken == ["1", "3", "2", "1", "2", "3"]
    assert {row.kind for row in rows} == {DeliveryKind.REPLAY}
    ids = [body["event_id"] for body in hook.bodies]
    assert len(set(ids)) == 3


# --- crashes ----------------------------------------------------------------------------------------------------------


async def test_attempt_that_a_crash_cut_short_is_made_again_with_the_same_id(post: Office) -> None:
    hanging = True
    hook = await post.hook(lambda *_: HANG if hanging else 200)
    await post.endpoint(hook)
    async with post.open(timeout_s=30):
        await post.tell(*texts(3))
        await until(lambda: hook.seen)
    hanging = False
    async with post.open():
        rows = await post.settled(3)
    assert [text for text, _ in hook.seen] == ["1", "1", "2", "3"]
    assert hook.bodies[0]["event_id"] == hook.bodies[1]["event_id"]
    assert {row.status for row in rows} == {DeliveryStatus.SUCCESS}


async def test_kill_at_any_time_loses_nothing_and_keeps_the_order_of_first_arrivals(post: Office) -> None:
    hook = await post.hook(lambda text, before: 500 if int(text) % 7 == 0 and before == 0 else 200)
    await post.endpoint(hook, ordering=Ordering.STRICT)
    told = 0
    for round_ in range(12):
        async with post.open():
            await post.tell(*texts(10, told + 1))
            told += 10
            await trio.sleep(0.003 * round_)
    async with post.open():
        await post.settled(told)
    assert list(dict.fromkeys(hook.taken)) == texts(told)


async def test_drain_lets_attempts_end_and_writes_them_down(post: Office) -> None:
    hook = await post.hook()
    await post.endpoint(hook)
    async with post.open() as dispatcher:
        await post.tell(*texts(WINDOW * 4))
        await until(lambda: len(hook.taken) > 3)
        with trio.fail_after(5):
            await dispatcher.drain()
        count = len(hook.taken)
        rows = await post.rows()
        assert [row.status for row in rows].count(DeliveryStatus.SUCCESS) == count
        assert count < WINDOW * 4
    assert len(hook.taken) == count


async def test_store_outage_delays_outcomes_and_loses_none(post: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = await post.hook()
    await post.endpoint(hook)
    write, is_down = post.store._write, False

    def fail_now(*batch: Any, **how: Any) -> Any:
        if is_down:
            raise StoreUnavailable("the disk is full")
        return write(*batch, **how)

    monkeypatch.setattr(post.store, "_write", fail_now)
    async with post.open():
        await post.tell(*texts(10))
        await until(lambda: hook.taken)
        is_down = True
        await trio.sleep(0.3)
        is_down = False
        rows = await post.settled(10)
    assert list(dict.fromkeys(hook.taken)) == texts(10)
    assert {row.status for row in rows} == {DeliveryStatus.SUCCESS}


async def test_a_bug_of_ours_stops_one_lane_for_a_while_and_no_other(
    post: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "CRASHED_S", 0.2)
    hook = await post.hook()
    await post.endpoint(hook)
    async with post.open() as dispatcher:
        look, bugs = dispatcher._receivers.get, 1

        async def buggy(endpoint_id: str) -> Receiver | None:
            nonlocal bugs
            if bugs:
                bugs -= 1
                raise ZeroDivisionError
            return await look(endpoint_id)

        monkeypatch.setattr(dispatcher._receivers, "get", buggy)
        await post.tell("broken", name="a")
        await until(lambda: not bugs)
        await post.tell("fine", name="b")
        await until(lambda: hook.taken == ["fine"])
        await until(lambda: hook.taken == ["fine", "broken"])


@pytest.mark.parametrize("where", ["_render", "_post"])
async def test_event_that_a_bug_keeps_from_being_sent_holds_up_nobody(
    post: Office, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    hook = await post.hook()
    await post.endpoint(hook, ordering=Ordering.STRICT)
    await post.tell("1", "broken", "2")
    async with post.open(delays_s=(0.01, 0.01)) as dispatcher:
        work = getattr(dispatcher._attempts, where)

        async def buggy(*args: Any) -> Any:
            events = args[0] if where == "_render" else [args[2]]
            if any(event.data == {"text": "broken"} for event in events):
                raise ZeroDivisionError
            return await work(*args)

        monkeypatch.setattr(dispatcher._attempts, where, buggy)
        rows = await post.settled(3)
    assert hook.taken == ["1", "2"]
    assert [row.status for row in rows] == ["success", "failed", "success"]
    assert (rows[1].attempt_count, rows[1].last_error) == (3, "internal_error")


async def test_event_that_was_tampered_with_is_given_up(post: Office) -> None:
    hook = await post.hook()
    await post.endpoint(hook)
    await post.tell(*texts(3))
    spoil = text("UPDATE events SET data = (SELECT data FROM events WHERE position = 1) WHERE position = 2")
    await post.writer.call(lambda tx: tx.conn.execute(spoil).rowcount)
    async with post.open():
        rows = await post.settled(3)
    assert hook.taken == ["1", "3"]
    assert [(row.status, row.last_error) for row in rows] == [
        ("success", None), ("failed", "internal_error"), ("success", None)
    ]  # fmt: skip


async def test_sweep_finds_what_nobody_told_of(post: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "SWEEP_S", 0.05)
    hook = await post.hook()
    await post.endpoint(hook)
    async with post.open():
        post.writer.on_deliveries = None
        await post.tell("silent")
        await until(lambda: hook.taken == ["silent"])


async def test_sweep_comes_in_its_time_however_often_endpoints_are_woken(
    post: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatching, "SWEEP_S", 0.1)
    hook = await post.hook()
    await post.endpoint(hook)
    async with post.open() as dispatcher:
        post.writer.on_deliveries = None
        await post.tell("silent")

        def is_taken_while_others_are_woken() -> bool:
            dispatcher.wake("wh_of_somebody_else")
            return hook.taken == ["silent"]

        await until(is_taken_while_others_are_woken, within_s=5)


async def test_start_during_an_outage_is_made_up_for_soon(post: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "SWEEP_AGAIN_S", 0.1)
    hook = await post.hook()
    await post.endpoint(hook)
    await post.tell("waits")
    read, failures = post.store.read, 0

    def fail_once(*args: object) -> object:
        nonlocal failures
        if not failures:
            failures += 1
            raise StoreUnavailable("the server restarts")
        return read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(post.store, "read", fail_once)
    async with post.open():
        await until(lambda: hook.taken == ["waits"], within_s=5)
    assert failures


async def test_commits_after_the_end_are_told_to_nobody(post: Office) -> None:
    hook = await post.hook()
    await post.endpoint(hook)
    async with post.open() as dispatcher:
        pass
    post.writer.on_deliveries = dispatcher.note
    await post.tell("after the end")
    async with post.open():
        await until(lambda: hook.taken == ["after the end"])


async def test_what_nobody_told_of_is_not_overtaken(post: Office) -> None:
    # As after a commit whose answer got lost: the rows are there, and the writer knows nothing of them.
    hook = await post.hook(lambda text, before: 500 if text == "2" and before < 1 else 200)
    await post.endpoint(hook)
    async with post.open(delays_s=(0.5,)) as dispatcher:
        await post.tell("1")
        await post.settled(1)
        await post.tell("2")
        await until(lambda: len(hook.seen) == 2)
        post.writer.on_deliveries = None
        await post.tell("3")
        await post.tell("3", name="another")
        post.writer.on_deliveries = dispatcher.note
        await post.tell("4")
        await until(lambda: len(hook.taken) == 5, within_s=5)
    assert [body["data"]["text"] for body in hook.bodies if body["instance_id"] == post.instance().id] == list("12234")


async def test_a_bug_in_settling_costs_one_outcome_and_no_other(post: Office) -> None:
    hook = await post.hook()
    await post.endpoint(hook)
    async with post.open() as dispatcher:
        settle = dispatcher._settler._settle

        def buggy(tx: Tx, attempts: Sequence[Attempt]) -> SettleOutcome:
            if any(attempt.delivery.position == 2 for attempt in attempts):
                raise ZeroDivisionError
            return settle(tx, attempts)

        dispatcher._settler._settle = buggy
        await post.tell(*texts(3))

        async def are_others_settled() -> bool:
            return [row.position for row in await post.rows() if row.next_attempt_at is None] == [1, 3]

        await until(are_others_settled, within_s=5)
    assert hook.taken == texts(3)


async def test_late_one_goes_its_way_though_all_was_read_anew_meanwhile(
    post: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await post.hook(lambda text, before: 500 if text == "1" and before < 3 else 200)
    endpoint = await post.endpoint(hook)
    async with post.open() as dispatcher:
        send = dispatcher._attempts._client.post

        async def woken_meanwhile(*args: Any, **how: Any) -> Any:
            outcome = await send(*args, **how)
            if len(hook.seen) == 3:
                dispatcher.wake(endpoint.id)
                await until(lambda: not any(window.queue for window in dispatcher._windows.values()))
            return outcome

        monkeypatch.setattr(dispatcher._attempts._client, "post", woken_meanwhile)
        await post.tell(*texts(2))
        await until(lambda: len(hook.taken) == 2, within_s=5)
    assert hook.taken == ["2", "1"]


async def test_endpoint_that_was_changed_while_it_was_read_is_read_again(
    post: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await post.hook()
    endpoint = await post.endpoint(hook)
    await enable(post, endpoint.id)
    await post.tell("held")
    await enable(post, endpoint.id, False)
    receivers, reading, enabled = webhooks.receivers, ThreadEvent(), ThreadEvent()

    def slowly(*args: Any) -> Any:
        found = receivers(*args)
        if not reading.is_set():
            reading.set()
            assert enabled.wait(10)
        return found

    monkeypatch.setattr(webhooks, "receivers", slowly)
    async with post.open() as dispatcher:
        dispatcher._window(Lane(endpoint.id, post.instance().id, DeliveryKind.LIVE))
        await until(reading.is_set)
        await enable(post, endpoint.id)
        dispatcher.wake(endpoint.id)
        await until(lambda: not dispatcher._to_wake)
        await trio.sleep(0.1)
        enabled.set()
        await until(lambda: hook.taken == ["held"], within_s=5)


async def test_who_waits_for_a_place_sends_nothing_to_an_endpoint_that_is_gone(post: Office) -> None:
    hook = await post.hook()
    plain_answer = hook._answer

    async def slowly(peer: object, stream: object) -> bool:
        await trio.sleep(0.3)
        return await plain_answer(peer, stream)  # type: ignore[arg-type]

    hook.judge = lambda *_: 410
    hook._answer = slowly  # type: ignore[method-assign]
    await post.endpoint(hook)
    async with post.open(per_host=1) as dispatcher:
        for name in "abcde":
            await post.tell(f"from {name}", name=name)
        await until(lambda: hook.seen)
        await until(lambda: not dispatcher._windows)
    assert len(hook.seen) == 1


async def test_store_that_reads_slowly_does_not_use_up_a_turn(post: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "TURN_S", 0.05)
    hook = await post.hook()
    await post.endpoint(hook)
    async with post.open() as dispatcher:
        render = dispatcher._attempts._render

        async def slowly(events: Sequence[Event]) -> list[bytes]:
            await trio.sleep(0.1)
            return await render(events)

        dispatcher._attempts._render = slowly
        await post.tell("1")
        await until(lambda: hook.taken == ["1"], within_s=5)


async def test_clock_that_is_set_back_stops_no_lane(post: Office) -> None:
    hook = await post.hook(lambda text, before: 500 if text == "1" and before == 0 else 200)
    await post.endpoint(hook)
    async with post.open(delays_s=(0.3, 0.3)) as dispatcher:
        await post.tell("1")

        async def has_failed() -> bool:
            return [row.status for row in await post.rows()] == [DeliveryStatus.RETRYING]

        await until(has_failed)
        dispatcher._unix_ms = lambda: unix_ms() - 3600_000
        await post.tell("2")
        await until(lambda: hook.taken == ["1", "2"], within_s=5)


async def test_lanes_leave_a_reader_of_the_store_to_others(post: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = await post.hook()
    await post.endpoint(hook)
    for number in range(20):
        await post.tell("1", name=f"n{number}")
    read, now, most = post.store.read, 0, 0

    def slowly(*args: Any) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        ThreadEvent().wait(0.01)
        try:
            return read(*args)
        finally:
            now -= 1

    monkeypatch.setattr(post.store, "read", slowly)
    async with post.open():
        await until(lambda: len(hook.taken) == 20)
    assert most == 1


async def test_lanes_do_not_besiege_a_store_that_cannot_be_read(post: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "UNREAD_S", 3.0)
    hook = await post.hook()
    await post.endpoint(hook)
    read, is_down, refused = post.store.read, True, 0

    def fail_now(*args: Any) -> Any:
        nonlocal refused
        if is_down:
            refused += 1
            raise StoreUnavailable("the server restarts")
        return read(*args)

    async with post.open():
        monkeypatch.setattr(post.store, "read", fail_now)
        for number in range(10):
            await post.tell("1", name=f"n{number}")
        await trio.sleep(0.3)
        assert 0 < refused <= 11, "a look for each lane, and the sweep"
        is_down = False
        await until(lambda: len(hook.taken) == 10)
