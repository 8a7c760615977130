"""One attempt: an event is rendered, signed and posted, and what the receiver did is put in terms of the queue.

Rule: an attempt always has an outcome. A bug of ours that keeps an event from being rendered or sent is one as well
(`internal_error`): it climbs the ladder like any other, and keeps nothing else back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from structlog.contextvars import bound_contextvars

from actors.delivery.client import INTERNAL_ERROR, Outcome
from actors.histogram import Histogram
from actors.tracing import Tracer
from whatisup.store import Attempt, DeliveryStatus, Due, Event, Mode, Ordering, Receiver
from whatisup.webhooks import ladder, signing

log = structlog.get_logger(__name__)


class Client(Protocol):
    """Whoever makes HTTP requests; see `WebhookClient`."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, is_live: bool) -> Outcome:
        """Make one attempt; raises nothing that the receiver does."""


Render = Callable[[Sequence[Event]], Awaitable[list[bytes]]]
"""Events as the bodies that are sent."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say about delivery. Durations in seconds."""

    delays_s: tuple[float, ...]
    ordering: Ordering
    per_host: int
    in_all: int
    payload_days: int
    failed_payload_days: int
    disable_after_s: int


@dataclass(slots=True)
class DeliveryStats:
    """What was attempted since the start, by outcome (`ok` or the error's slug), and what is under way.

    `durations` are of attempts, `waits` from an event's row in the queue to the first attempt at it; both in seconds.
    """

    attempts: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    lanes: int = 0
    durations: Histogram = field(default_factory=Histogram)
    waits: Histogram = field(default_factory=Histogram)


class Attempts:
    """Makes attempts, and counts them in `stats`."""

    def __init__(
        self,
        *,
        client: Client,
        render: Render,
        rules: Rules,
        tracer: Tracer,
        unix_ms: Callable[[], int],
        jitter: Callable[[], float],
        version: str,
    ) -> None:
        self.stats = DeliveryStats()
        self._client = client
        self._render = render
        self._rules = rules
        self._tracer = tracer
        self._unix_ms = unix_ms
        self._jitter = jitter
        self._version = version

    async def make(self, receiver: Receiver, due: Due, event: Event, body: bytes | None) -> Attempt:
        """Post a delivery once; without a body it could not be rendered, and has failed."""
        at = self._unix_ms()
        return self._judge(receiver, due, at, await self._try_to_post(receiver, due, event, body, at))

    def give_up(self, due: Due) -> Attempt:
        """Say of a delivery that it will never be made: its event cannot be read any more."""
        return Attempt(due, self._unix_ms(), 0, None, INTERNAL_ERROR, b"", DeliveryStatus.FAILED)

    async def rendered(self, events: Sequence[Event]) -> dict[str, bytes]:
        """Bodies by the ids of events; one that a bug of ours keeps from being rendered is left out, and it alone."""
        try:
            return dict(zip((event.id for event in events), await self._render(events), strict=True))
        except Exception:
            if len(events) == 1:
                log.exception("webhook.not_rendered", event_id=events[0].id)
                return {}
        bodies: dict[str, bytes] = {}
        for event in events:
            bodies |= await self.rendered([event])
        return bodies

    async def _try_to_post(self, receiver: Receiver, due: Due, event: Event, body: bytes | None, at: int) -> Outcome:
        """Make an attempt; one that a bug of ours prevents has failed like any other, and does not block the lane."""
        if body is not None:
            try:
                return await self._post(receiver, due, event, body, at)
            except Exception:
                log.exception("webhook.attempt_broke", delivery_id=due.id, event_id=event.id)
        self.stats.attempts[INTERNAL_ERROR] += 1
        return Outcome(None, INTERNAL_ERROR, b"", 0)

    async def _post(self, receiver: Receiver, due: Due, event: Event, body: bytes, at: int) -> Outcome:
        headers = {
            **receiver.headers,
            **signing.sign(
                body,
                secrets=receiver.secrets,
                event=event.type,
                event_id=event.id,
                correlation_id=_correlation(event),
                at=at // 1000,
                version=self._version,
            ),
        }
        if not due.attempt_count:
            self.stats.waits.observe(max(0, at - due.created_at) / 1000)
        ids = {"event_id": event.id, "delivery_id": due.id}
        with self._tracer.span("webhook.attempt", parent=event.trace, **ids) as span, bound_contextvars(**ids):
            outcome = await self._client.post(receiver.url, headers, body, is_live=receiver.mode is Mode.LIVE)
            span.note(outcome=outcome.error or "ok", ms=outcome.duration_ms)
        self.stats.attempts[outcome.error or "ok"] += 1
        self.stats.durations.observe(outcome.duration_ms / 1000)
        return outcome

    def _judge(self, receiver: Receiver, due: Due, at: int, outcome: Outcome) -> Attempt:
        """What an outcome means for its delivery."""
        status, next_attempt_at, is_late = DeliveryStatus.SUCCESS, None, due.lane.is_late
        if outcome.error is not None:
            tries = due.tries + 1
            delay_s = ladder.delay_s(tries, self._rules.delays_s, self._jitter())
            status = DeliveryStatus.FAILED if delay_s is None else DeliveryStatus.RETRYING
            next_attempt_at = None if delay_s is None else self._unix_ms() + round(delay_s * 1000)
            ordering = receiver.ordering or self._rules.ordering
            is_late = is_late or (ordering is Ordering.RELAXED and tries >= ladder.LATE_AFTER)
        return Attempt(
            delivery=due,
            at=at,
            duration_ms=outcome.duration_ms,
            response_status=outcome.status,
            error=outcome.error,
            response=outcome.response,
            status=status,
            next_attempt_at=next_attempt_at,
            is_late=is_late,
        )


def _correlation(event: Event) -> str:
    """The request that caused an event, where one did; else the event itself."""
    request_id: Any = (event.data or {}).get("request_id")
    return request_id if isinstance(request_id, str) else event.id


def tell(attempt: Attempt, host: str) -> None:
    """Log an attempt; of its URL only the host."""
    write = log.debug if attempt.error is None else log.info
    write(
        "webhook.attempt",
        host=host,
        delivery_id=attempt.delivery.id,
        event_id=attempt.delivery.event_id,
        endpoint_id=attempt.delivery.lane.endpoint_id,
        instance_id=attempt.delivery.lane.instance_id,
        attempt=attempt.delivery.attempt_count + 1,
        status=attempt.response_status,
        error=attempt.error,
        ms=attempt.duration_ms,
    )
