"""Scenario `api`: requests that customers make, by 50 clients at once and by one alone.

Rule: the clients are a process of their own, each with one request under way; every answer counts, and one that is an
error fails the scenario, since an error is quickly made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from api.demo.gateway import HOST
from benchmarks.live import Live
from benchmarks.probes.spread import Spread
from benchmarks.scenarios.flow import befriend
from benchmarks.subjects.subject import Pair
from benchmarks.traffic.askers import KEY, Wish
from benchmarks.traffic.programs import Program

CLIENTS = 50
ASK_S = 5.0
READ_S = 3.0
"""How long a single client only reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a number of clients got. `kinds` are the times of each kind of request, from writing it to its answer.

    `cpu_s` is the gateway's, with all that the requests caused, `clients_cpu_s` the clients' own.
    """

    clients: int
    wall_s: float
    cpu_s: float
    clients_cpu_s: float
    times: Spread
    kinds: Mapping[str, Spread]

    @property
    def per_s(self) -> float:
        """Requests a second."""
        return self.times.count / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        """Requests for each CPU second of the gateway."""
        return self.times.count / self.cpu_s if self.cpu_s > 0 else 0.0


async def api(live: Live) -> Mapping[str, float]:
    """See the module: 50 clients with mixed requests, one with the same, and one that only reads an instance."""
    await befriend(live)
    mixed = wishes(live.pairs)
    reads = [wish for wish in mixed if wish.kind == "one instance"]
    many = await ask(live, mixed, CLIENTS, ASK_S)
    one = await ask(live, mixed, 1, ASK_S)
    reader = await ask(live, reads, 1, READ_S)
    return {
        "api_per_s": many.per_s,
        "api_per_cpu_s": many.per_cpu_s,
        "api_p50_ms": many.times.p50,
        "api_p99_ms": many.times.p99,
        "api_one_p50_ms": one.times.p50,
        "api_one_p99_ms": one.times.p99,
        "api_read_cpu_ms": 1000 * reader.cpu_s / reader.times.count,
        "api_read_p50_ms": reader.times.p50,
    }


def wishes(pairs: Sequence[Pair]) -> list[Wish]:
    """What is asked for: of ten requests seven read, one pages through the log, two have a message sent."""
    paths = [f"/v1/instances/{pair.instance_id}" for pair in pairs]
    bodies = [{"to": pair.contact, "body": {"type": "text", "text": "asked for"}} for pair in pairs]
    return [
        Wish("one instance", 3, paths),
        Wish("instances", 2, ["/v1/instances?limit=20"]),
        Wish("messages", 2, [f"{path}/messages?limit=20" for path in paths]),
        Wish("events", 1, ["/v1/events?limit=20&events=message.*"]),
        Wish("send", 2, [f"{path}/messages" for path in paths], bodies),
    ]


async def ask(live: Live, wanted: Sequence[Wish], clients: int, seconds: float) -> Asking:
    """So many clients for a few seconds."""
    gateway = live.whatisup
    live.say(f"api: {clients} client{'s' if clients > 1 else ''} for {seconds:g} s")
    program = Program(
        "askers",
        live.folder,
        (HOST, str(gateway.api.port), str(clients), str(seconds)),
        {KEY: str(gateway.api.key)},
        json.dumps([asdict(wish) for wish in wanted]).encode(),
    )
    mark, cpu_s = gateway.rows.mark(), live.cpu_s()[0]
    try:
        await program.start()
        said = await program.said(30.0 + 2 * seconds)
        sent = said["spreads"].get("send", {}).get("count", 0)
        await live.until(lambda: gateway.rows.acked(mark) >= sent, 30.0 + seconds * 10, f"{sent} messages are sent")
        return asking(clients, live.cpu_s()[0] - cpu_s, said)
    finally:
        await program.kill()


def asking(clients: int, cpu_s: float, said: Mapping[str, Any]) -> Asking:
    """What the clients said, as figures.

    Raises:
        RuntimeError: an answer was an error, or none.
    """
    statuses: Sequence[str] = list(said["statuses"])
    if said["broken"] or any(not status.startswith("2") for status in statuses):
        raise RuntimeError(f"not every request was answered well: {said['statuses']}, {said['broken']} broken")
    spreads = {kind: Spread(**values) for kind, values in said["spreads"].items()}
    return Asking(
        clients=clients,
        wall_s=said["wall_s"],
        cpu_s=cpu_s,
        clients_cpu_s=said["cpu_s"],
        times=spreads.pop("all"),
        kinds=spreads,
    )
