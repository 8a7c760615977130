"""The customer's webhook endpoints in a run: made before anything happens, and in the end asked what became of them.

Rule: the event log and the queue of deliveries are read from the gateway's database, what arrived from the receiver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import trio

from api.demo.client import Client
from tests.chaos.databases import Database
from tests.chaos.receiver import Hit, Receiver

SETTINGS: Final[Mapping[str, str]] = {
    "WEBHOOK_ALLOW_HTTP": "true",
    "WEBHOOK_ALLOW_PRIVATE_CIDRS": "127.0.0.0/8",
    "WEBHOOK_TIMEOUT_S": "1.0",
    "WEBHOOK_RETRY_DELAYS_S": "0.05,0.1,0.1,0.2,0.2,0.3,0.3,0.5,0.5,0.5,1,1,1,1,1,1,1,1,1,1",
    "WEBHOOK_MAX_PER_HOST": "64",
}
"""A ladder that is short and has many steps: what fails is to be tried again within the run, and never given up."""
STILL_S: Final = 30.0
POLL_S: Final = 0.2
LATE_AFTER: Final = 3


@dataclass(frozen=True, slots=True)
class HookEndpoint:
    """An endpoint; its name is its path at the receiver. `since`: the log's position when it was made."""

    name: str
    patterns: tuple[str, ...]
    is_strict: bool
    id: str = ""
    since: int = 0

    def wants(self, event: str) -> bool:
        """Whether its filter lets that event through."""
        return any(
            pattern in ("*", event) or (pattern.endswith(".*") and event.startswith(pattern[:-1]))
            for pattern in self.patterns
        )


ENDPOINTS: Final = (
    HookEndpoint("relaxed", ("*",), is_strict=False),
    HookEndpoint("strict", ("message.*",), is_strict=True),
)


@dataclass(frozen=True, slots=True)
class Told:
    """A line of the event log."""

    position: int
    event_id: str
    event: str
    instance_id: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A row of the queue. `attempts` and `failures` are counted in the table of attempts."""

    endpoint_id: str
    event_id: str
    status: str
    is_late: bool
    is_unsettled: bool
    attempt_count: int
    attempts: int = 0
    failures: int = 0

    @property
    def is_settled(self) -> bool:
        return not self.is_unsettled


@dataclass(frozen=True, slots=True, kw_only=True)
class HookEvidence:
    """All that is known of the webhooks of a run. `digests`: of the envelopes that the API's log shows, by event id."""

    endpoints: Sequence[HookEndpoint]
    log: Sequence[Told]
    rows: Sequence[Delivery]
    hits: Sequence[Hit]
    strays: Sequence[str] = ()
    digests: Mapping[str, str] = field(default_factory=dict)


async def make_endpoints(api: Client, database: Database, receiver: Receiver) -> tuple[HookEndpoint, ...]:
    """Make them through the API; the receiver knows their secrets from now on."""
    made: list[HookEndpoint] = []
    for endpoint in ENDPOINTS:
        since = _last_position(database)
        body = {
            "url": receiver.url(endpoint.name),
            "events": list(endpoint.patterns),
            "ordering": "strict" if endpoint.is_strict else "relaxed",
        }
        answer = await api.call("POST", "/v1/webhook-endpoints", body)
        receiver.secrets[endpoint.name] = answer["secret"]
        made.append(replace(endpoint, id=answer["id"], since=since))
    return tuple(made)


def _last_position(database: Database) -> int:
    return int(database.query("SELECT coalesce(max(position), 0) FROM events")[0][0])


def unsettled(database: Database) -> int:
    """How many deliveries are still to be made. Raises `Unreadable`."""
    return int(database.query("SELECT count(*) FROM webhook_deliveries WHERE next_attempt_at IS NOT NULL")[0][0])


async def collect_hooks(endpoints: Sequence[HookEndpoint], database: Database, receiver: Receiver) -> HookEvidence:
    """Look at one moment at which nothing is under way, or, where there is none for long, at what there is."""
    with trio.move_on_after(STILL_S):
        while True:
            found = _look(endpoints, database, receiver)
            if not any(row.is_unsettled for row in found.rows) and len(found.log) == len(_log(database)):
                return found
            await trio.sleep(POLL_S)
    return _look(endpoints, database, receiver)


def _look(endpoints: Sequence[HookEndpoint], database: Database, receiver: Receiver) -> HookEvidence:
    log, rows = _log(database), _rows(database)
    return HookEvidence(
        endpoints=endpoints,
        log=log,
        rows=rows,
        hits=list(receiver.hits),
        strays=list(receiver.strays),
    )


def _log(database: Database) -> list[Told]:
    found = database.query("SELECT position, id, type, instance_id FROM events ORDER BY position")
    return [Told(position, event_id, event, instance_id) for position, event_id, event, instance_id in found]


def _rows(database: Database) -> list[Delivery]:
    tried = database.query("SELECT delivery_id, count(*), count(error) FROM webhook_attempts GROUP BY delivery_id")
    attempts = {delivery_id: (made, failures) for delivery_id, made, failures in tried}
    columns = "endpoint_id, event_id, status, is_late, next_attempt_at, attempt_count, id"
    return [
        Delivery(endpoint_id, event_id, status, bool(is_late), next_at is not None, count, *attempts.get(id_, (0, 0)))
        for endpoint_id, event_id, status, is_late, next_at, count, id_ in database.query(
            f"SELECT {columns} FROM webhook_deliveries ORDER BY position"
        )
    ]
