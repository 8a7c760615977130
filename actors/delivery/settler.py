"""What became of attempts, written down in batches.

Rule: an attempt is answered once its outcome is committed; until then its delivery is `settling`, and nobody takes it
from the store a second time. A store that cannot be written keeps outcomes waiting here, at most `MAX_WAITING` of
them: whoever comes then waits, and no more attempts are made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog
import trio

from actors.writer import Writer
from whatisup.errors import StoreUnavailable
from whatisup.store import Attempt, SettleOutcome, Tx

log = structlog.get_logger(__name__)

BATCH: Final = 64
MAX_WAITING: Final = 1024
TRY_AGAIN_S: Final = 1.0
LANE: Final = "webhooks"
"""The writer's lane for outcomes, so that they take turns with the instances."""


class Settle(Protocol):
    """The store's function, with the days and bounds of this process put in."""

    def __call__(self, tx: Tx, attempts: Sequence[Attempt]) -> SettleOutcome:
        """Write outcomes down."""


class Settler:
    """Takes outcomes from any task; `on_disabled` is told which endpoints an outcome has disabled."""

    def __init__(self, writer: Writer, settle: Settle, on_disabled: Callable[[str], None]) -> None:
        self._writer = writer
        self._settle = settle
        self._on_disabled = on_disabled
        self._waiting: deque[tuple[Attempt, trio.Event]] = deque()
        self._arrived = trio.Event()
        self._room = trio.Semaphore(MAX_WAITING)
        self._is_writing = False
        self._written = trio.Event()
        self.settling: set[int] = set()
        """Positions of deliveries whose outcome is not committed yet."""

    async def put(self, attempt: Attempt) -> trio.Event:
        """Hand an outcome over; the event is set once it is committed."""
        await self._room.acquire()
        done = trio.Event()
        self.settling.add(attempt.delivery.position)
        self._waiting.append((attempt, done))
        self._arrived.set()
        return done

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled."""
        task_status.started()
        while True:
            while not self._waiting:
                self._arrived = trio.Event()
                await self._arrived.wait()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            self._is_writing = True
            await self._commit(batch)
            self._is_writing = False
            self._written.set()
            self._written = trio.Event()

    async def drain(self) -> None:
        """Return once nothing waits."""
        while self._waiting or self._is_writing:
            await self._written.wait()

    async def _commit(self, batch: list[tuple[Attempt, trio.Event]]) -> None:
        try:
            outcome = await self._write([attempt for attempt, _ in batch])
        except Exception:  # the store's refusal, or a bug in settling one of them: not to be the end of all others
            if len(batch) > 1:
                for one in batch:
                    await self._commit([one])
                return
            # The row stays as it was and is left alone until the next start: it will be delivered once more then.
            log.exception("webhook.not_settled", delivery_id=batch[0][0].delivery.id)
            self._release(batch)
            return
        self.settling.difference_update(attempt.delivery.position for attempt, _ in batch)
        self._release(batch)
        for endpoint_id in outcome.disabled:
            self._on_disabled(endpoint_id)

    def _release(self, batch: list[tuple[Attempt, trio.Event]]) -> None:
        for _, done in batch:
            self._room.release()
            done.set()

    async def _write(self, attempts: Sequence[Attempt]) -> SettleOutcome:
        while True:
            try:
                return await self._writer.call(self._settle, attempts, lane=LANE)
            except StoreUnavailable:
                await trio.sleep(TRY_AGAIN_S)
                await self._writer.wait_available()
