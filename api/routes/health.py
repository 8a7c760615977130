"""Whether the process lives, whether work may be sent to it, its numbers, and what it offers.

Rule: nobody learns from here who is paired. Totals are for everybody; a process id and the numbers are for operators.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

from api.schemas.replies import Check, Liveness, Readiness
from api.schemas.requests import NoQuery, Nothing
from api.serving.edge import Edge
from api.serving.endpoint import Access, Answer, Endpoint, Exchange
from api.serving.metrics import MEDIA_TYPE
from whatisup.errors import StoreError
from whatisup.lifecycle import State
from whatisup.store import Mode, instances

Plain = Exchange[Nothing, NoQuery]

# A writer this far behind, or a heartbeat this many intervals old, is not merely busy.
MAX_LAG_S: Final = 10.0
MISSED_BEATS: Final = 3
MIN_BEAT_AGE_S: Final = 10.0
SHOWN_ONLY: Final = frozenset({"sandbox", "client"})


async def alive(_exchange: Plain) -> Answer:
    """Answer as long as the event loop turns."""
    return Answer(Liveness())


async def ready(exchange: Plain) -> Answer:
    """Judge every part; a sandbox that is down, or a client version that has aged, is shown and stops no traffic."""
    edge = exchange.edge
    sessions = await _sessions(edge)
    checks = {
        "database": Check(ok=sessions is not None and edge.system.writer.is_available),
        "writer": _writer(edge),
        "heartbeat": _heartbeat(edge),
        "sandbox": _sandbox(edge, shows_pid=exchange.is_operator),
        "client": _client(edge),
    }
    is_well = all(check.ok for name, check in checks.items() if name not in SHOWN_ONLY)
    status: Literal["ready", "draining", "unhealthy"] = "ready" if is_well else "unhealthy"
    if edge.draining.is_set():
        status = "draining"
    by_status = Counter[State]()
    for (_, state), count in (sessions or {}).items():
        by_status[state] += count
    body = Readiness(status=status, checks=checks, sessions={state: by_status[state] for state in State})
    return Answer(body, status=200 if status == "ready" else 503)


async def _sessions(edge: Edge) -> Mapping[tuple[Mode, State], int] | None:
    try:
        return await edge.system.database.read(instances.counts_by_status)
    except StoreError:
        return None


def _writer(edge: Edge) -> Check:
    stats = edge.system.writer.stats
    return Check(ok=stats.is_available and stats.lag_s < MAX_LAG_S, lag_s=round(stats.lag_s, 3), queued=stats.queued)


def _heartbeat(edge: Edge) -> Check:
    age_s = edge.system.health().heartbeat_age_s
    oldest_s = max(MIN_BEAT_AGE_S, MISSED_BEATS * edge.settings.heartbeat_interval_ms / 1000)
    return Check(ok=age_s is not None and age_s < oldest_s, age_s=None if age_s is None else round(age_s, 3))


def _sandbox(edge: Edge, *, shows_pid: bool) -> Check:
    sandbox = edge.sandbox
    if sandbox is None:
        return Check(ok=True, detail="off")
    return Check(ok=sandbox.is_up, detail=sandbox.kind, pid=sandbox.pid if shows_pid else None)


def _client(edge: Edge) -> Check:
    """The version we announce; WhatsApp says when it stops letting it in."""
    expires_at = edge.system.counts.client_expires_at
    is_current = expires_at is None or expires_at * 1000 > edge.now()
    return Check(ok=is_current, detail=str(edge.system.profile.version))


async def metrics(exchange: Plain) -> Answer:
    """Write the numbers for Prometheus."""
    edge = exchange.edge
    figures = await edge.census.count(edge.system.database)
    return Answer(edge.metrics.render(edge.system, figures, edge.delivery, edge.now()), media_type=MEDIA_TYPE)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/healthz",
        name="get_liveness",
        summary="Say that the process answers.",
        handler=alive,
        access=Access.ANYBODY,
        reply=Liveness,
    ),
    Endpoint(
        method="GET",
        path="/readyz",
        name="get_readiness",
        summary="Say whether work may be sent here; 503 while draining or unhealthy, with the same body.",
        handler=ready,
        access=Access.ANYBODY,
        reply=Readiness,
    ),
    Endpoint(
        method="GET",
        path="/metrics",
        name="get_metrics",
        summary="Show the numbers, for Prometheus.",
        handler=metrics,
        access=Access.OPERATOR,
        reply=None,
        media={"text/plain": "Prometheus text format."},
    ),
)
