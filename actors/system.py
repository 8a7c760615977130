"""The root of the running system: finds the actor of an instance, and keeps supervisor and heartbeat alive.

Rule: the API asks downward, by instance id, and never holds an actor. An instance that should not run has no actor
until somebody asks it something; the actor then lives for as long as there is something to run or to answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog
import trio

from actors.bus import Bus
from actors.fleet import Fleet
from actors.heartbeat import Heartbeat, Pulse
from actors.instance import ConnectGate, Counts, Endpoint, Limits, Services, run_instance
from actors.mailbox import Command
from actors.messages import OUTBOX_GREW, Wake
from actors.supervisor import LOOPING_BACKOFF_S, Slot, Supervisor
from actors.tracing import UNTRACED, Tracer
from actors.writer import Writer
from whatisup.errors import CommandRefused, StoreError, UnknownInstance
from whatisup.lifecycle import Trigger
from whatisup.protocol.profile import ClientProfile, ClientVersion
from whatisup.settings import Settings
from whatisup.store import Mode, Tx, instances, retention
from whatisup.store import settings as stored
from whatisup.store.database import Database

log = structlog.get_logger(__name__)

Reply = TypeVar("Reply")

# How long starting up waits for stored sessions to correct their status; a store that is slower is not waited for.
AWAKE_S = 10.0
# Key generation and PBKDF2 at once; two cores are common, and the writer needs one.
CRYPTO_THREADS = 2
# A live login waits for a far server most of the time, so many may be under way; its pace keeps them few.
LIVE_LOGINS_AT_ONCE = 64
__all__ = ["Health", "System"]


@dataclass(frozen=True, slots=True)
class Health:
    """What the operator sees at a glance; counts are of running actors by (mode, status)."""

    sessions: Counter[tuple[str, str]]
    slots: int
    crash_looping: int
    heartbeat_age_s: float | None
    loop_lag_s: float
    worst_loop_lag_s: float
    clock_jumps: int


class System:
    """The supervised fleet of one process over one store."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        writer: Writer,
        bus: Bus,
        endpoint: Callable[[Mode], Endpoint | None],
        unix_ms: Callable[[], int],
        entropy: Callable[[int], bytes],
        jitter: Callable[[], float],
        tracer: Tracer = UNTRACED,
    ) -> None:
        self.database = database
        self.writer = writer
        self.bus = bus
        self.counts = Counts()
        self.fleet = Fleet(settings.max_sessions)
        version = ClientVersion.parse(settings.client_version) if settings.client_version else None
        self.profile = ClientProfile() if version is None else ClientProfile(version=version)
        self._supervisor = Supervisor(jitter, on_looping=self._note_looping)
        self._nursery: trio.Nursery | None = None
        self._unix_ms = unix_ms
        self._services = Services(
            writer=writer,
            database=database,
            endpoint=endpoint,
            gates={
                Mode.LIVE: ConnectGate(settings.connects_per_s_live, LIVE_LOGINS_AT_ONCE),
                Mode.TEST: ConnectGate(settings.connects_per_s_test),
            },
            profile=self.profile,
            fleet=self.fleet,
            counts=self.counts,
            unix_ms=unix_ms,
            entropy=entropy,
            jitter=jitter,
            threads=trio.CapacityLimiter(CRYPTO_THREADS),
            limits={mode: Limits.of(settings, mode) for mode in Mode},
            tracer=tracer,
        )
        self._heartbeat = Heartbeat(
            interval_s=settings.heartbeat_interval_ms / 1000,
            database=database,
            writer=writer,
            supervisor=self._supervisor,
            fleet=self.fleet,
            ensure=self.ensure,
            wake=self._wake,
            unix_ms=unix_ms,
            client_version=str(self.profile.version),
            kept=retention.Kept(
                body_days=settings.message_body_retention_days,
                event_days=settings.event_retention_days,
                failed_payload_days=settings.webhook_failed_payload_days,
            ),
        )

    @property
    def pulse(self) -> Pulse:
        """The heartbeat's own figures."""
        return self._heartbeat.pulse

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Resume every instance that should run, and keep them until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await nursery.start(self._supervisor.run)
            await self.writer.call(stored.put, stored.CLIENT_VERSION, str(self.profile.version), self._unix_ms())
            slots = [self.ensure(row.id) for row in await self.database.read(instances.runnable)]
            # Nobody is answered before the rows stop saying what was true in the life before this process.
            with trio.move_on_after(AWAKE_S):
                for slot in slots:
                    await slot.awake.wait()
            await nursery.start(self._heartbeat.run)
            task_status.started()
            log.info("system.started", instances=len(self._supervisor))

    def ensure(self, instance_id: str) -> Slot:
        """The running slot of an instance, started if need be."""
        return self._supervisor.ensure(instance_id, partial(run_instance, services=self._services))

    async def ask(self, instance_id: str, command: Command[Reply]) -> Reply:
        """Hand `command` to the instance's actor and wait for its reply; cancelling does not withdraw the command.

        The caller has checked that the instance exists and is the asker's.

        Raises:
            CommandRefused: the actor's refusal, a full inbox, or an actor that ended first.
        """
        return await self.ensure(instance_id).mailbox.ask(command)

    def nudge(self, instance_id: str) -> None:
        """Let an instance know that its outbox has grown; one that cannot listen now finds out at its next login."""
        self.ensure(instance_id).mailbox.remind(OUTBOX_GREW)

    def health(self) -> Health:
        """Count what runs."""
        pulse = self.pulse
        return Health(
            sessions=Counter((str(m.row.mode), str(m.row.status)) for m in self.fleet.members.values()),
            slots=len(self._supervisor),
            crash_looping=sum(1 for slot in self._supervisor.slots() if slot.is_crash_looping),
            heartbeat_age_s=pulse.age_s(trio.current_time()),
            loop_lag_s=pulse.loop_lag_s,
            worst_loop_lag_s=pulse.worst_loop_lag_s,
            clock_jumps=pulse.clock_jumps,
        )

    def _wake(self, instance_id: str, trigger: Trigger) -> None:
        """Tell an instance that a timer has passed; one that cannot listen now is told at the next beat."""
        try:
            self.ensure(instance_id).mailbox.post(Wake(trigger))
        except CommandRefused:
            log.info("system.wake_refused", instance_id=instance_id, trigger=trigger)

    def _note_looping(self, instance_id: str) -> None:
        """Let the customer know that an instance cannot be kept alive; it goes on being tried, slowly."""
        if self._nursery is not None:
            self._nursery.start_soon(self._report_looping, instance_id)

    async def _report_looping(self, instance_id: str) -> None:
        def append(tx: Tx) -> None:
            tx.append_event(instance_id, "instance.crash_looping", {"next_try_in_s": LOOPING_BACKOFF_S})

        try:
            await self.writer.call(append, lane=instance_id)
        except (StoreError, UnknownInstance):
            log.warning("system.looping_not_reported", instance_id=instance_id)
