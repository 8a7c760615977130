"""Numbers for Prometheus, in a registry of our own.

Rule: a label never holds a phone number, an id or anything else a customer chose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from actors.system import System
from whatisup.lifecycle import State
from whatisup.store import Mode
from whatisup.store.message_records import Stage

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})

Sessions = Mapping[tuple[Mode, State], int]
Outbox = Mapping[str, int]


class Metrics:
    """The edge counts requests and streams; everything else is read from the system when somebody scrapes."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("whatisup_http_requests", "Requests answered.", labels, registry=self._registry)
        self.streams = Gauge("whatisup_event_streams", "Open event streams.", registry=self._registry)

    def count(self, method: str, route: str | None, status: int) -> None:
        """Count an answered request; methods that do not exist share one label, so that nobody can add more."""
        self._requests.labels(method if method in METHODS else "other", route or "none", str(status)).inc()

    def render(self, system: System, sessions: Sessions | None, outbox: Outbox | None) -> bytes:
        """Write all numbers in the text format; what the store could not tell (None) is left out."""
        registry = CollectorRegistry()
        registry.register(_Snapshot(system, sessions, outbox))
        return generate_latest(self._registry) + generate_latest(registry)


class _Snapshot:
    """The system's numbers at one moment."""

    def __init__(self, system: System, sessions: Sessions | None, outbox: Outbox | None) -> None:
        self._system = system
        self._sessions = sessions
        self._outbox = outbox

    def collect(self) -> Iterable[Metric]:
        """Give every metric family with its samples."""
        if self._sessions is not None:
            yield _by_mode_and_status(self._sessions)
        if self._outbox is not None:
            yield _by_stage(self._outbox)
        yield self._events()
        yield from self._fleet()
        yield from self._writer()
        yield from self._loop()

    def _events(self) -> Metric:
        family = CounterMetricFamily("whatisup_events", "Events committed, by mode and name.", labels=("mode", "event"))
        for (mode, name), count in self._system.bus.told.items():
            family.add_metric((mode.value, name), count)
        return family

    def _fleet(self) -> Iterable[Metric]:
        counts, health = self._system.counts, self._system.health()
        moves = CounterMetricFamily("whatisup_transitions", "Status changes.", labels=("before", "after"))
        for (before, after), count in counts.transitions.items():
            moves.add_metric((str(before), str(after)), count)
        yield moves
        reconnects = CounterMetricFamily("whatisup_reconnects", "Connections lost, by cause.", labels=("cause",))
        for cause, count in counts.reconnects.items():
            reconnects.add_metric((cause,), count)
        yield reconnects
        yield CounterMetricFamily("whatisup_dropped_frames", "Frames that could not be read.", counts.dropped_frames)
        yield GaugeMetricFamily("whatisup_actors", "Instance actors that exist.", health.slots)
        yield GaugeMetricFamily(
            "whatisup_crash_looping_actors", "Actors that crash again and again.", health.crash_looping
        )

    def _writer(self) -> Iterable[Metric]:
        stats = self._system.writer.stats
        yield CounterMetricFamily("whatisup_commits", "Group commits.", stats.commits)
        yield CounterMetricFamily("whatisup_committed_units", "Units of instances committed.", stats.units)
        yield CounterMetricFamily("whatisup_store_outages", "Batches that the store could not take.", stats.outages)
        yield GaugeMetricFamily("whatisup_writer_queue", "Items without an answer yet.", stats.queued)
        yield GaugeMetricFamily("whatisup_writer_queue_bytes", "Their bytes.", stats.queued_bytes)
        yield GaugeMetricFamily("whatisup_writer_lag_seconds", "Age of the oldest of them.", stats.lag_s)

    def _loop(self) -> Iterable[Metric]:
        health = self._system.health()
        yield GaugeMetricFamily(
            "whatisup_event_loop_lag_seconds", "How late the loop woke a sleeper.", health.loop_lag_s
        )
        yield GaugeMetricFamily(
            "whatisup_event_loop_lag_worst_seconds", "The worst since the start.", health.worst_loop_lag_s
        )
        if health.heartbeat_age_s is not None:
            yield GaugeMetricFamily(
                "whatisup_heartbeat_age_seconds", "Since the last complete heartbeat.", health.heartbeat_age_s
            )
        yield CounterMetricFamily("whatisup_clock_jumps", "Times the wall clock was set.", health.clock_jumps)


def _by_mode_and_status(sessions: Sessions) -> Metric:
    family = GaugeMetricFamily("whatisup_sessions", "Instances by mode and status.", labels=("mode", "status"))
    for mode in Mode:
        for state in State:
            family.add_metric((mode.value, state.value), sessions.get((mode, state), 0))
    return family


def _by_stage(outbox: Outbox) -> Metric:
    family = GaugeMetricFamily("whatisup_outbox_messages", "Accepted messages that wait, by stage.", labels=("stage",))
    for stage in get_args(Stage):
        family.add_metric((stage,), outbox.get(stage, 0))
    return family
