"""The delivery actor: takes the rows of the webhook queue to their endpoints.

Rule: the rows are the queue. A delivery exists before its first attempt, is gone from the queue only when its outcome
is committed, and may therefore be made twice around a crash and never not at all. Nothing here is waited for by
whoever writes events: `note` only remembers that there is something to do.

Order: a lane (endpoint, instance, kind) has one attempt under way at a time, in log order. The next one starts when the
one before has arrived; its outcome is committed meanwhile. Behind a failing delivery the lane waits for its retries:
`strict` until it has arrived or is given up, `relaxed` until its third failure, when it becomes late and goes its own
way (a lane of late ones, by the time that each is due).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import structlog
import trio

from actors.delivery.attempts import Attempts, Client, DeliveryStats, Render, Rules, tell
from actors.delivery.lanes import WINDOW, LaneWindow
from actors.delivery.receivers import Receivers
from actors.delivery.settler import Settler
from actors.delivery.slots import Slots
from actors.tracing import Tracer
from actors.writer import Writer
from whatisup.errors import StoreError, StoreUnavailable
from whatisup.store import Attempt, Database, DeliveryStatus, Due, Event, Lane, Receiver, deliveries, webhooks
from whatisup.store import events as log_rows
from whatisup.webhooks import ladder
from whatisup.webhooks.targets import host_of

T = TypeVar("T")

log = structlog.get_logger(__name__)

SWEEP_S: Final = 60.0
"""How often the queue is searched for lanes that nobody works on, as after an outage of the store."""
SWEEP_AGAIN_S: Final = 5.0
"""When a search that failed is made again."""
LOOK_S: Final = 30.0
"""How long a lane sleeps at most before it compares a due time with the wall clock again."""
TURN_S: Final = 5.0
"""How long a lane keeps its place while everything arrives."""
CRASHED_S: Final = 5.0
UNREAD_S: Final = 1.0
"""How long a lane leaves a store alone that could not be read; whether it can be written is known to the writer."""
_BREATH_S: Final = 0.05


class Dispatcher:
    """One per process."""

    def __init__(
        self,
        *,
        database: Database,
        writer: Writer,
        client: Client,
        render: Render,
        rules: Rules,
        tracer: Tracer,
        unix_ms: Callable[[], int],
        jitter: Callable[[], float],
        version: str,
    ) -> None:
        self._database = database
        self._writer = writer
        self._rules = rules
        self._unix_ms = unix_ms
        self._attempts = Attempts(
            client=client,
            render=render,
            rules=rules,
            tracer=tracer,
            unix_ms=unix_ms,
            jitter=jitter,
            version=version,
        )
        self._receivers = Receivers(self._look_up)
        self._reading = trio.CapacityLimiter(1)
        self._slots = Slots(per_host=rules.per_host, in_all=rules.in_all)
        settle = partial(
            deliveries.settle,
            payload_days=rules.payload_days,
            failed_payload_days=rules.failed_payload_days,
            disable_after_ms=rules.disable_after_s * 1000,
        )
        self._settler = Settler(writer, settle, self._receivers.forget)
        self._windows: dict[Lane, LaneWindow] = {}
        self._noted: int | None = None
        self._has_missed = False
        self._to_wake: set[str] = set()
        self._woken = trio.Event()
        self._is_closing = False
        self._quiet = trio.Event()
        self._nursery: trio.Nursery | None = None

    @property
    def stats(self) -> DeliveryStats:
        """What was done since the start, and what is under way."""
        return self._attempts.stats

    # --- for others -------------------------------------------------------------------------------------------------

    def note(self, dues: Sequence[Due]) -> None:
        """Learn of deliveries that were just committed; never blocks, never raises.

        What comes before `run` is found by it in the store.
        """
        if self._nursery is None or self._is_closing:
            return
        # Places are given out without a gap: what is missing is a commit whose answer got lost on its way to us.
        if self._noted is not None and dues[0].position > self._noted + 1:
            self._catch_up()
        self._noted = dues[-1].position
        for due in dues:
            self._window(due.lane).note(due)

    def _catch_up(self) -> None:
        """Read everything anew."""
        log.warning("webhook.catching_up")
        for window in self._windows.values():
            window.look_again()
        self._has_missed = True
        self._woken.set()

    def wake(self, endpoint_id: str) -> None:
        """Look at an endpoint anew: its row was changed, or old deliveries of it are to be made again."""
        self._to_wake.add(endpoint_id)
        self._woken.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Deliver until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await nursery.start(self._settler.run)
                task_status.started()
                await self._sweep_on()
            finally:
                # The writer outlives us, and must not fail because there is nobody left to tell.
                self._nursery = None

    async def drain(self) -> None:
        """Begin no more attempts, and return once those under way have ended and are committed."""
        self._is_closing = True
        if self.stats.in_flight:
            await self._quiet.wait()
        await self._settler.drain()

    # --- lanes ------------------------------------------------------------------------------------------------------

    async def _sweep_on(self) -> None:
        """Sweep endpoints when they are woken, and everything in its time, however often that is."""
        sweep_at = trio.current_time()
        while True:
            woken, self._to_wake, self._woken = self._to_wake, set(), trio.Event()
            swept = [await self._try_to_sweep(endpoint_id) for endpoint_id in woken]
            if self._has_missed or trio.current_time() >= sweep_at:
                self._has_missed = False
                swept.append(await self._try_to_sweep(None))
                sweep_at = trio.current_time() + SWEEP_S
            if not all(swept):
                sweep_at = trio.current_time() + SWEEP_AGAIN_S
            with trio.move_on_at(sweep_at):
                await self._woken.wait()

    async def _try_to_sweep(self, endpoint_id: str | None) -> bool:
        """Find lanes with something in them: of one endpoint, all of which look again; or all that nobody works on.

        False if the store could not be asked.
        """
        try:
            found = await self._ask(partial(deliveries.lanes, endpoint_id=endpoint_id))
        except StoreError as error:
            log.warning("webhook.sweep_failed", error=str(error))
            if endpoint_id is not None:
                self._to_wake.add(endpoint_id)  # with the next sweep
            return False
        if endpoint_id is not None:
            self._receivers.forget(endpoint_id)
            for lane in [lane for lane in self._windows if lane.endpoint_id == endpoint_id]:
                self._windows[lane].look_again()
        for lane in found:
            self._window(lane)
        return True

    def _window(self, lane: Lane) -> LaneWindow:
        """The window of a lane, with somebody to work on it."""
        window = self._windows.get(lane)
        if window is None:
            window = self._windows[lane] = LaneWindow(lane)
            self.stats.lanes = len(self._windows)
            if self._nursery is not None:
                self._nursery.start_soon(self._work, window, name=f"webhooks:{lane.endpoint_id}")
        return window

    async def _work(self, window: LaneWindow) -> None:
        """Work on a lane until nothing is in it; a failure of ours is this lane's alone."""
        while True:
            try:
                await self._empty(window)
                break
            except StoreUnavailable:
                await trio.sleep(UNREAD_S)
                await self._writer.wait_available()
            except Exception:
                log.exception("webhook.lane_failed", endpoint_id=window.lane.endpoint_id)
                await trio.sleep(CRASHED_S)
            window.look_again()
        # No await between the last look and this: a delivery noted now makes a new window.
        del self._windows[window.lane]
        self.stats.lanes = len(self._windows)

    async def _empty(self, window: LaneWindow) -> None:
        """Deliver what is in a lane, and return when nothing is, or when its endpoint takes nothing now."""
        while not self._is_closing:
            if window.is_behind and (window.lane.is_late or not window.queue):
                await self._read(window)
            if not window.queue:
                if not window.is_behind:
                    return
                await trio.sleep(_BREATH_S)
                continue
            due_in_s = self._due_in_s(window.queue[0])
            if due_in_s > 0:
                await window.wait(min(due_in_s, LOOK_S))
            elif not await self._turn(window):
                return

    def _due_in_s(self, due: Due) -> float:
        """Seconds until a delivery is due; one that would wait longer than its rung was dated by another clock."""
        left_s = (due.next_attempt_at - self._unix_ms()) / 1000
        rung_s = ladder.delay_s(due.tries, self._rules.delays_s, 1.0) if due.tries else None
        return 0.0 if rung_s is None or left_s > rung_s + LOOK_S else left_s

    async def _read(self, window: LaneWindow) -> None:
        token, settling = window.begin_reading(), frozenset(self._settler.settling)
        page = await self._ask(deliveries.due, window.lane, window.after, WINDOW)
        window.fill(token, page, is_last=len(page) < WINDOW, without=settling)

    async def _ask(self, fn: Callable[..., T], *args: Any) -> T:
        """Read from the store, one lane after the other: however many there are, others find a reader that is free."""
        async with self._reading:
            return await self._database.read(fn, *args)

    # --- attempts ---------------------------------------------------------------------------------------------------

    async def _turn(self, window: LaneWindow) -> bool:
        """Deliver what the window holds, one after the other, as long as all of it arrives.

        False if the endpoint is gone or disabled: its rows wait for a `wake`.
        """
        receiver = await self._receivers.get(window.lane.endpoint_id)
        if receiver is None or not receiver.is_enabled:
            return False
        host = host_of(receiver.url)
        async with self._slots.one(receiver.customer_id, host):
            if await self._receivers.get(window.lane.endpoint_id) != receiver:
                return True  # it was changed while we waited for the place
            dues = tuple(window.queue)
            rows = await self._ask(log_rows.by_ids, [due.event_id for due in dues])
            shown = [rows[due.event_id] for due in dues if due.event_id in rows]
            bodies = await self._attempts.rendered(shown)
            ends_at = trio.current_time() + TURN_S
            for due in dues:
                # The window may have been emptied meanwhile, or the next in it may have to wait.
                if self._is_closing or not window.queue or window.queue[0] is not due:
                    break
                if due.event_id not in rows:
                    await self._give_up(window, due)
                    continue
                if self._due_in_s(due) > 0 or trio.current_time() > ends_at:
                    break
                if not await self._attempt(window, receiver, host, due, rows[due.event_id], bodies.get(due.event_id)):
                    break
        return True

    async def _give_up(self, window: LaneWindow, due: Due) -> None:
        """Put down that an event cannot be read any more; of those it deleted, retention has put it down before us."""
        done = await self._settler.put(self._attempts.give_up(due))
        await done.wait()
        if window.is_next(due):
            window.queue.popleft()

    async def _look_up(self, endpoint_id: str) -> Receiver | None:
        return (await self._ask(webhooks.receivers, [endpoint_id], self._unix_ms())).get(endpoint_id)

    async def _attempt(
        self, window: LaneWindow, receiver: Receiver, host: str, due: Due, event: Event, body: bytes | None
    ) -> bool:
        """Make one attempt and put its outcome down; False if the lane has to stop and look."""
        with self._under_way():
            attempt = await self._attempts.make(receiver, due, event, body)
            is_well = attempt.status is DeliveryStatus.SUCCESS
            self._slots.learn(host, attempt.duration_ms / 1000, is_well=is_well)
            tell(attempt, host)
            done = await self._settler.put(attempt)
        if is_well and not due.lane.is_late:
            if window.is_next(due):
                window.queue.popleft()
            return True
        # What comes next is read from the rows, so they have to say it first.
        await done.wait()
        is_next = window.is_next(due)
        if is_next:
            window.queue.popleft()
        self._go_on(window, attempt, is_next=is_next)
        return False

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        self.stats.in_flight += 1
        try:
            yield
        finally:
            self.stats.in_flight -= 1
            if self._is_closing and not self.stats.in_flight:
                self._quiet.set()

    def _go_on(self, window: LaneWindow, attempt: Attempt, *, is_next: bool) -> None:
        """Put a failed delivery back where it belongs; its own lane, read anew meanwhile, has it already."""
        if attempt.next_attempt_at is None:
            return
        due = attempt.delivery
        if window.lane.is_late:
            window.look_again()
        elif attempt.is_late:
            self._window(replace(due.lane, is_late=True)).look_again()
        elif is_next:
            window.queue.appendleft(
                replace(
                    due,
                    tries=due.tries + 1,
                    attempt_count=due.attempt_count + 1,
                    next_attempt_at=attempt.next_attempt_at,
                )
            )
