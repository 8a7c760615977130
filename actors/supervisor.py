"""One nursery, a slot per instance, and the rule that nobody's trouble is anybody else's.

Rule: an exception of an instance never leaves `Slot.run`. A crash closes nothing but that actor; its slot waits (full
jitter, longer when crashes come often) and runs it again from the store. Network loss is not a crash: the actor's own
backoff handles it without ending.

The slot owns the mailbox, so that commands which wait while an actor is rebuilt are served by its successor. The
supervisor's own failure ends the process, because then nobody watches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextvars import Context
from dataclasses import dataclass
from functools import partial

import structlog
import trio

from actors.mailbox import Mailbox
from whatisup.errors import ActorStopped, Fenced, StoreUnavailable

log = structlog.get_logger(__name__)

CRASH_BASE_S = 0.5
CRASH_CAP_S = 60.0
# More than this many crashes within the window is a loop: back off long and say so.
INTENSITY = 5
WINDOW_S = 60.0
LOOPING_BACKOFF_S = 300.0
STORE_PROBE_S = 1.0
# A store that takes small writes and refuses large ones would let us log in and die again at every try.
MAX_STORE_DOUBLINGS = 4

Body = Callable[["Slot"], Awaitable[None]]


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Flatten an exception group into the errors it is made of."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How long a slot waits after a crash, as a pure function of its recent crashes."""

    base_s: float = CRASH_BASE_S
    cap_s: float = CRASH_CAP_S

    def delay_s(self, recent_crashes: int, jitter: float) -> float:
        """Seconds to wait after the `recent_crashes`-th crash within the window; `jitter` is from 0 to 1."""
        if recent_crashes > INTENSITY:
            return LOOPING_BACKOFF_S * (0.5 + jitter / 2)
        return jitter * min(self.cap_s, self.base_s * 2.0**recent_crashes)


class Slot:
    """The place of one instance: its mailbox, and the loop that keeps its actor alive."""

    __slots__ = (
        "_body",
        "_crashes",
        "_jitter",
        "_on_looping",
        "_outages",
        "_policy",
        "_scope",
        "_stopping",
        "awake",
        "done",
        "has_crashed",
        "key",
        "mailbox",
        "restarts",
    )

    def __init__(
        self,
        key: str,
        body: Body,
        jitter: Callable[[], float],
        policy: RestartPolicy,
        on_looping: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.key = key
        self.mailbox = Mailbox()
        self.awake = trio.Event()
        self.done = trio.Event()
        self.restarts = 0
        self.has_crashed = False
        """Whether a bug ended the last actor; a store that was away, or a fence, is none."""
        self._body = body
        self._jitter = jitter
        self._policy = policy
        self._on_looping = on_looping
        self._crashes: tuple[float, ...] = ()  # the last few; an empty deque costs a hundred times as much
        self._outages = 0
        self._scope = trio.CancelScope()
        self._stopping = False

    @property
    def is_crash_looping(self) -> bool:
        """Whether the last crashes came faster than the intensity allows."""
        return len(self._crashes) > INTENSITY and trio.current_time() - self._crashes[0] < WINDOW_S

    def stop(self) -> None:
        """End the actor and do not run it again."""
        self._stopping = True
        self._scope.cancel(reason="slot stopped")

    async def run(self) -> None:
        """Run the actor until it ends by itself with an empty inbox, or the slot is stopped."""
        try:
            while not self._stopping:
                delay_s = await self._run_once()
                if delay_s is None and self.mailbox.is_empty:
                    break
                self.mailbox.drop_notices()
                if delay_s and not self._stopping:
                    with trio.CancelScope() as self._scope, trio.move_on_after(delay_s):
                        await self.mailbox.wait_for_more()  # who asks now does not wait for the backoff
        finally:
            self.mailbox.close()
            self.done.set()

    async def _run_once(self) -> float | None:
        """Run the body once; None when it ended well, else the seconds to wait before it runs again.

        `awake` is set by the body once its row tells the truth, and here if it never comes to that.
        """
        failures: list[BaseException] = []
        begun_at = trio.current_time()
        with trio.CancelScope() as self._scope:
            if self._stopping:
                return None
            try:
                await self._body(self)
            except* Exception as group:  # Cancelled is a BaseException and passes through
                failures = list(leaves(group))
            finally:
                self.awake.set()
        if trio.current_time() - begun_at > WINDOW_S:
            self._outages = 0
        return self._note(failures) if failures else None

    def _note(self, failures: list[BaseException]) -> float:
        """Log a failure and choose the wait that follows from what it was."""
        self.restarts += 1
        self.has_crashed = not all(isinstance(failure, StoreUnavailable | Fenced) for failure in failures)
        if all(isinstance(failure, StoreUnavailable) for failure in failures):
            log.warning("instance.store_unavailable", instance_id=self.key)
            self._outages += 1
            return STORE_PROBE_S * (1 + self._jitter()) * 2.0 ** min(self._outages - 1, MAX_STORE_DOUBLINGS)
        if all(isinstance(failure, Fenced) for failure in failures):
            # Somebody else runs this instance: two owners that fence each other off at once would only log in in turn.
            log.info("instance.fenced", instance_id=self.key)
            return STORE_PROBE_S * (1 + self._jitter())
        now = trio.current_time()
        self._crashes = (*self._crashes, now)[-INTENSITY - 1 :]
        recent = sum(1 for at in self._crashes if now - at < WINDOW_S)
        delay_s = self._policy.delay_s(recent, self._jitter())
        log.error(
            "instance.crashed",
            instance_id=self.key,
            errors=[type(failure).__name__ for failure in failures],
            restart_in_s=round(delay_s, 2),
            is_looping=recent > INTENSITY,
            exc_info=failures[0],
        )
        if recent > INTENSITY:
            self._on_looping(self.key)
        return delay_s


class Supervisor:
    """Owns the slots; `run` is the nursery they live in. `on_looping` is told which one crashes again and again."""

    def __init__(
        self,
        jitter: Callable[[], float],
        policy: RestartPolicy | None = None,
        *,
        on_looping: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._jitter = jitter
        self._on_looping = on_looping
        self._policy = policy or RestartPolicy()
        self._slots: dict[str, Slot] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the nursery open until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, key: str) -> Slot | None:
        """The running slot of `key`, if there is one."""
        return self._slots.get(key)

    def slots(self) -> tuple[Slot, ...]:
        """All slots as of now."""
        return tuple(self._slots.values())

    def ensure(self, key: str, body: Body) -> Slot:
        """The slot of `key`, started with `body` unless it already runs.

        Raises:
            ActorStopped: the supervisor does not run any more, or not yet.
        """
        slot = self._slots.get(key)
        if slot is None:
            if self._nursery is None:
                raise ActorStopped("the system is shutting down; try again in a moment")
            slot = self._slots[key] = Slot(key, body, self._jitter, self._policy, self._on_looping)
            # It outlives whoever asked first, so it keeps nothing of that request, and logs nothing of it.
            Context().run(partial(self._nursery.start_soon, self._occupy, slot, name=f"instance:{key}"))
        return slot

    async def stop(self, key: str) -> None:
        """Stop the slot of `key`, if it runs, and wait until it is gone."""
        slot = self._slots.get(key)
        if slot is not None:
            slot.stop()
            await slot.done.wait()

    async def _occupy(self, slot: Slot) -> None:
        try:
            await slot.run()
        finally:
            if self._slots.get(slot.key) is slot:
                del self._slots[slot.key]
