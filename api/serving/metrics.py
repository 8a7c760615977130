"""Numbers for Prometheus, in a registry of our own.

Rule: a label never holds a phone number, an id or anything else a customer chose, and the values of each are few and
known beforehand. What a scrape costs does not grow with what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Final, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from actors.histogram import Histogram as Measured
from actors.system import System
from api.serving.census import Figures
from whatisup.lifecycle import State
from whatisup.store import Mode
from whatisup.store.message_records import Stage

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS"})
REQUEST_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

# What each event says of the traffic; the words are the ones of the event log.
_TRAFFIC: Final = {
    "message.received": ("whatisup_messages_received", "Messages that came in and were read."),
    "message.sent": ("whatisup_messages_sent", "Messages that went out, those typed on the phone among them."),
    "message.failed": ("whatisup_messages_failed", "Messages that could not be sent."),
}

# What may become of an attempt, as a label; statuses are many, and their hundreds say enough here.
_OUTCOMES: Final = frozenset(
    {
        "ok", "redirect", "url_refused", "dns_failed", "address_refused", "connect_failed", "tls_failed", "timeout",
        "closed", "bad_response", "response_too_large", "request_refused", "internal_error",
    }
)  # fmt: skip


class DeliveryStats(Protocol):
    """What the delivery actor has done since the process started."""

    @property
    def attempts(self) -> Mapping[str, int]:
        """Attempts by outcome: `ok`, or the error's slug."""

    @property
    def in_flight(self) -> int:
        """Attempts under way."""

    @property
    def durations(self) -> Measured:
        """How long attempts took, in seconds."""

    @property
    def waits(self) -> Measured:
        """How long first attempts came after their events, in seconds."""


class Metrics:
    """The edge counts requests and streams; everything else is read from the system when somebody scrapes."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        labels = ("method", "route", "status")
        self._requests = Counter("whatisup_http_requests", "Requests answered.", labels, registry=registry)
        self._seconds = Histogram(
            "whatisup_http_request_seconds",
            "From a request's headers to those of its answer.",
            ("method", "route"),
            buckets=REQUEST_S,
            registry=registry,
        )
        self._problems = Counter(
            "whatisup_http_problems", "Requests refused, by error code; rate_limited among them.", ("code",),
            registry=registry,
        )  # fmt: skip
        for code in ("rate_limited", "internal_error"):
            # Alerts look at their increase, which Prometheus does not see in a series that begins at one.
            self._problems.labels(code)
        self.streams = Gauge("whatisup_event_streams", "Open event streams (SSE).", registry=registry)
        Gauge("whatisup_build_info", "1, with the release as a label.", ("version",), registry=registry).labels(
            version("whatisup")
        ).set(1)
        ProcessCollector(registry=registry)

    def count(
        self, method: str, route: str | None, status: int, *, seconds: float | None = None, problem: str | None = None
    ) -> None:
        """Count an answered request; methods that do not exist share one label, so that nobody can add more."""
        method, route = method if method in METHODS else "other", route or "none"
        known = self._known.get((method, route, status))
        if known is None:  # looking a series up costs more than counting
            known = self._requests.labels(method, route, str(status)), self._seconds.labels(method, route)
            self._known[method, route, status] = known
        requests, took = known
        requests.inc()
        if seconds is not None:
            took.observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()

    def render(self, system: System, figures: Figures | None, delivery: DeliveryStats | None, now_ms: int) -> bytes:
        """Write all numbers in the text format; what the store could not tell (None) is left out."""
        registry = CollectorRegistry()
        registry.register(_Snapshot(system, figures, delivery, now_ms))
        return generate_latest(self._registry) + generate_latest(registry)


class _Snapshot:
    """The system's numbers at one moment."""

    def __init__(self, system: System, figures: Figures | None, delivery: DeliveryStats | None, now_ms: int) -> None:
        self._system = system
        self._figures = figures
        self._delivery = delivery
        self._now_ms = now_ms

    def collect(self) -> Iterator[Metric]:
        """Give every metric family with its samples."""
        if self._figures is not None:
            yield from _stored(self._figures, self._now_ms)
        yield from self._events()
        yield from self._fleet()
        yield from self._writer()
        yield from self._loop()
        if self._delivery is not None:
            yield from _webhooks(self._delivery)

    def _events(self) -> Iterator[Metric]:
        told = self._system.bus.told
        family = CounterMetricFamily("whatisup_events", "Events committed, by mode and name.", labels=("mode", "event"))
        for (mode, name), count in told.items():
            family.add_metric((mode.value, name), count)
        yield family
        for name, (metric, meaning) in _TRAFFIC.items():
            yield _by_mode(metric, meaning, {mode: told[mode, name] for mode in Mode})
        unread = CounterMetricFamily(
            "whatisup_messages_undecryptable",
            "Messages that could not be read: others are asked for them (pending), or nobody any longer (ended).",
            labels=("mode", "state"),
        )
        for mode in Mode:
            for state in ("pending", "ended"):
                unread.add_metric((mode.value, state), self._system.bus.unread[mode, state])
        yield unread

    def _fleet(self) -> Iterator[Metric]:
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
        fleet = self._system.fleet
        yield GaugeMetricFamily("whatisup_running_sessions", "Instances with a socket or after one.", fleet.sessions())
        yield GaugeMetricFamily("whatisup_running_sessions_limit", "How many of them may be.", fleet.max_sessions)
        yield GaugeMetricFamily(
            "whatisup_crash_looping_actors", "Actors that crash again and again.", health.crash_looping
        )

    def _writer(self) -> Iterator[Metric]:
        stats, times = self._system.writer.stats, self._system.writer.times
        yield CounterMetricFamily("whatisup_commits", "Group commits.", stats.commits)
        yield CounterMetricFamily("whatisup_committed_units", "Units of instances committed.", stats.units)
        yield CounterMetricFamily("whatisup_committed_calls", "Other writes committed.", stats.calls)
        yield CounterMetricFamily("whatisup_refused_writes", "Writes that were refused or failed.", stats.failures)
        yield CounterMetricFamily("whatisup_store_outages", "Batches that the store could not take.", stats.outages)
        yield GaugeMetricFamily("whatisup_store_available", "1 while the store can be written.", stats.is_available)
        yield GaugeMetricFamily("whatisup_writer_queue", "Items without an answer yet.", stats.queued)
        yield GaugeMetricFamily("whatisup_writer_queue_bytes", "Their bytes.", stats.queued_bytes)
        yield GaugeMetricFamily("whatisup_writer_lag_seconds", "Age of the oldest of them.", stats.lag_s)
        yield _histogram("whatisup_commit_seconds", "One group commit.", times.commit_s)
        yield _histogram("whatisup_commit_wait_seconds", "An item, from the queue to its answer.", times.wait_s)
        yield _histogram("whatisup_commit_items", "Items in one group commit.", times.items)

    def _loop(self) -> Iterator[Metric]:
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


def _stored(figures: Figures, now_ms: int) -> Iterator[Metric]:
    """What the database has counted."""
    sessions = GaugeMetricFamily("whatisup_sessions", "Instances by mode and status.", labels=("mode", "status"))
    for mode in Mode:
        for state in State:
            sessions.add_metric((mode.value, state.value), figures.sessions.get((mode, state), 0))
    yield sessions
    waiting = GaugeMetricFamily("whatisup_outbox_messages", "Accepted messages that wait, by stage.", labels=("stage",))
    for stage in get_args(Stage):
        waiting.add_metric((stage,), figures.outbox.get(stage, 0))
    yield waiting
    queue = figures.queue
    webhooks = GaugeMetricFamily(
        "whatisup_webhook_queue",
        "Deliveries that wait: pending, retrying after a failure, held while their endpoint is disabled.",
        labels=("status",),
    )
    for status in ("pending", "retrying", "held"):
        webhooks.add_metric((status,), getattr(queue, status))
    yield webhooks
    age_s = 0.0 if queue.oldest_at is None else max(0.0, (now_ms - queue.oldest_at) / 1000)
    yield GaugeMetricFamily("whatisup_webhook_oldest_seconds", "Age of the oldest one that is not held.", age_s)


def _webhooks(stats: DeliveryStats) -> Iterator[Metric]:
    """What was attempted."""
    attempts = CounterMetricFamily(
        "whatisup_webhook_attempts", "Attempts at webhooks: ok, or what went wrong.", labels=("outcome",)
    )
    by_outcome = {"ok": 0}
    for slug, count in stats.attempts.items():
        outcome = _outcome(slug)
        by_outcome[outcome] = by_outcome.get(outcome, 0) + count
    for outcome, count in by_outcome.items():
        attempts.add_metric((outcome,), count)
    yield attempts
    yield GaugeMetricFamily("whatisup_webhook_attempts_in_flight", "Attempts under way.", stats.in_flight)
    yield _histogram("whatisup_webhook_attempt_seconds", "One attempt.", stats.durations)
    yield _histogram("whatisup_webhook_wait_seconds", "From an event to the first attempt at it.", stats.waits)


def _outcome(slug: str) -> str:
    if slug.startswith("http_"):
        return f"http_{slug[5]}xx" if slug[5:6] in frozenset("12345") else "other"
    return slug if slug in _OUTCOMES else "other"


def _by_mode(name: str, meaning: str, counts: Mapping[Mode, int]) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=("mode",))
    for mode, count in counts.items():
        family.add_metric((mode.value,), count)
    return family


def _histogram(name: str, meaning: str, measured: Measured) -> Metric:
    family = HistogramMetricFamily(name, meaning)
    buckets = [("+Inf" if bound == float("inf") else str(bound), count) for bound, count in measured.cumulative()]
    family.add_metric((), buckets, measured.total)
    return family
