"""How many requests the API answers: one client, then many, each with one request under way at a time.

Rule: the clients are a process of their own; every answer counts, and one that is an error fails the run, since an
error is quickly made.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from api.demo.gateway import HOST
from benchmarks.askers import KEY, Wish
from benchmarks.beside import Program
from benchmarks.busy import Busy
from benchmarks.latency import Spread

CLIENTS = (1, 50)
ASK_S = 6.0


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


def wishes(busy: Busy) -> list[Wish]:
    """What is asked for: of ten requests seven read, one pages through the log, two have a message sent."""
    paths = [f"/v1/instances/{pair.instance_id}" for pair in busy.pairs]
    bodies = [{"to": pair.contact, "body": {"type": "text", "text": "asked for"}} for pair in busy.pairs]
    return [
        Wish("one instance", 3, paths),
        Wish("instances", 2, ["/v1/instances?limit=20"]),
        Wish("messages", 2, [f"{path}/messages?limit=20" for path in paths]),
        Wish("events", 1, ["/v1/events?limit=20&events=message.*"]),
        Wish("send", 2, [f"{path}/messages" for path in paths], bodies),
    ]


async def measure_api(busy: Busy, say: Callable[[str], None]) -> list[Asking]:
    """Each number of clients for a few seconds."""
    return [await _ask(busy, clients, say) for clients in CLIENTS]


async def _ask(busy: Busy, clients: int, say: Callable[[str], None]) -> Asking:
    say(f"api: {clients} client{'s' if clients > 1 else ''} for {ASK_S:g} s")
    program = Program(
        "askers",
        busy.folder,
        (HOST, str(busy.gateway.port), str(clients), str(ASK_S)),
        {KEY: str(busy.api.key)},
        json.dumps([asdict(wish) for wish in wishes(busy)]).encode(),
    )
    mark, cpu_s = busy.rows.mark(), busy.cpu_s()[0]
    try:
        await program.start()
        said = await program.said()
        sent = said["spreads"].get("send", {}).get("count", 0)
        await busy.until(lambda: busy.rows.acked(mark) >= sent, ASK_S * 10, f"{sent} messages are sent")
        return asking(clients, busy.cpu_s()[0] - cpu_s, said)
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
