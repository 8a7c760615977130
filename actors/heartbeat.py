"""The supervisor's pulse: last-seen times, the two-way reconcile, and the timers that outlive a process.

Rule: the store says what should run, the supervisor what does, and every beat makes the second equal the first. A slot
in backoff counts as running; a slot that has committed since its row was read is judged at the next beat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog
import trio

from actors.fleet import Fleet
from actors.supervisor import Supervisor
from actors.writer import Writer
from whatisup.errors import ActorStopped, StoreError, StoreUnavailable
from whatisup.lifecycle import State, Trigger, should_run
from whatisup.store import Runnable, auth, events, idempotency, instances, retention
from whatisup.store.database import Database
from whatisup.store.transaction import Tx

log = structlog.get_logger(__name__)

CLOCK_JUMP_MS = 60_000
LAG_PROBE_S = 1.0
# Portions of one beat: a store that was not swept for long catches up over some beats.
MAX_SWEEPS = 20


@dataclass(slots=True)
class Pulse:
    """What the operator sees of the heartbeat. Times are monotonic seconds."""

    beat_at: float | None = None
    loop_lag_s: float = 0.0
    worst_loop_lag_s: float = 0.0
    clock_jumps: int = 0

    def age_s(self, now: float) -> float | None:
        """Seconds since the last complete beat; None before the first."""
        return None if self.beat_at is None else now - self.beat_at


class Heartbeat:
    """Beats every `interval_s`; `ensure` starts the slot of an instance, `wake` tells one that a timer has passed."""

    def __init__(
        self,
        *,
        interval_s: float,
        database: Database,
        writer: Writer,
        supervisor: Supervisor,
        fleet: Fleet,
        ensure: Callable[[str], object],
        wake: Callable[[str, Trigger], None],
        unix_ms: Callable[[], int],
        client_version: str,
        kept: retention.Kept | None = None,
    ) -> None:
        self.pulse = Pulse()
        self._interval_s = interval_s
        self._database = database
        self._writer = writer
        self._supervisor = supervisor
        self._fleet = fleet
        self._ensure = ensure
        self._wake = wake
        self._unix_ms = unix_ms
        self._client_version = client_version
        self._kept = kept or retention.Kept()
        self._clock_offset_ms: float | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Beat once, report ready, and go on until cancelled; a beat that the store does not carry is skipped."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_the_loop)
            await self._try_to_beat()
            task_status.started()
            while True:
                await trio.sleep(self._interval_s)
                await self._try_to_beat()

    async def _try_to_beat(self) -> None:
        try:
            await self.beat()
        except StoreUnavailable:
            log.warning("heartbeat.store_unavailable")
        except ActorStopped:
            log.info("heartbeat.shutting_down")
        except StoreError:
            # One bad row must not take a healthy fleet down; the pulse's age shows that beats are missing.
            log.exception("heartbeat.refused")

    async def beat(self) -> None:
        """Do everything that is due, once."""
        self._watch_the_clock()
        now_ms = self._unix_ms()
        await self._touch()
        await self._reconcile()
        for instance_id in await self._database.read(instances.expired_bans, now_ms):
            self._wake(instance_id, Trigger.BAN_EXPIRED)
        await self._follow_client_version()
        await self._in_portions(_expire, now_ms)
        await self._in_portions(retention.sweep, now_ms, self._kept)
        self.pulse.beat_at = trio.current_time()

    async def _in_portions(self, forget: Callable[..., bool], *about: object) -> None:
        """Forget what is past its time, in portions that hold nobody up; each says whether there is more."""
        for _ in range(MAX_SWEEPS):
            if not await self._writer.call(forget, *about):
                return

    async def _touch(self) -> None:
        """Write when each connected instance last heard from WhatsApp, all in one statement."""
        seen = {
            key: member.last_frame_at
            for key, member in self._fleet.members.items()
            if member.row.status is State.CONNECTED and member.last_frame_at is not None
        }
        if seen:
            await self._writer.call(instances.touch_connected, seen)

    async def _reconcile(self) -> None:
        # An odd revision is a commit under way: the row may be ahead of what its actor knows.
        revisions = {key: m.revision for key, m in self._fleet.members.items() if m.revision % 2 == 0}
        rows = {row.id: row for row in await self._database.read(instances.runnable)}
        for key in rows.keys() - {slot.key for slot in self._supervisor.slots()}:
            self._ensure(key)
        for key, revision in revisions.items():
            member = self._fleet.members.get(key)
            # A member that has moved on since the read is not judged by it.
            if member is None or member.revision != revision or not should_run(member.row.status):
                continue
            if self._is_orphan(rows.get(key), member.row.incarnation):
                log.warning("heartbeat.orphan_stopped", instance_id=key)
                await self._supervisor.stop(key)
        orphans = await self._database.read(auth.orphans)
        if orphans:
            log.warning("heartbeat.orphan_auth_wiped", instance_ids=orphans)
            await self._writer.call(auth.wipe_orphans, orphans)

    @staticmethod
    def _is_orphan(row: Runnable | None, incarnation: int) -> bool:
        return row is None or row.incarnation != incarnation

    async def _follow_client_version(self) -> None:
        """Let instances that were refused as outdated try again once the version they announce has changed."""
        outdated = await self._database.read(instances.outdated, self._client_version)
        for instance_id in outdated:
            self._wake(instance_id, Trigger.VERSION_CHANGED)

    def _watch_the_clock(self) -> None:
        """Notice a wall clock that was set: stored deadlines are judged by it."""
        offset_ms = self._unix_ms() - trio.current_time() * 1000
        if self._clock_offset_ms is not None and abs(offset_ms - self._clock_offset_ms) > CLOCK_JUMP_MS:
            self.pulse.clock_jumps += 1
            log.warning("heartbeat.clock_jumped", by_s=round((offset_ms - self._clock_offset_ms) / 1000))
        self._clock_offset_ms = offset_ms

    async def _watch_the_loop(self) -> None:
        while True:
            due = trio.current_time() + LAG_PROBE_S
            await trio.sleep_until(due)
            self.pulse.loop_lag_s = trio.current_time() - due
            self.pulse.worst_loop_lag_s = max(self.pulse.worst_loop_lag_s, self.pulse.loop_lag_s)


def _expire(tx: Tx, now_ms: int) -> bool:
    """Forget a portion of QR contents and idempotent replies; True if there may be more."""
    contents, claims = events.expire(tx, now_ms), idempotency.expire(tx, now_ms)
    return contents >= events.EXPIRED_AT_ONCE or claims >= idempotency.EXPIRED_AT_ONCE
