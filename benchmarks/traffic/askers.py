"""`python -m benchmarks.traffic.askers HOST PORT CLIENTS SECONDS`: clients of the API, each with one request under way.

Rule: kept-alive connections, one for each client; an answer that is none, or an error's, is counted and not hidden. The
key comes in the environment, what to ask for (`Wish`, as JSON) on the standard input, the result goes out as a line.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import trio

from api.demo.client import Client
from benchmarks.probes.spread import Spread
from benchmarks.traffic.line import Line
from benchmarks.traffic.programs import say

KEY = "BENCH_KEY"


@dataclass(frozen=True, slots=True)
class Wish:
    """A kind of request: how often it is made for every ten, and the paths that are drawn from.

    With `bodies`, one for each path, it is a POST.
    """

    kind: str
    weight: int
    paths: Sequence[str]
    bodies: Sequence[Mapping[str, Any]] = ()


@dataclass(slots=True)
class Asked:
    """What the clients noted: times in milliseconds by kind, statuses, and lines that broke."""

    times_ms: dict[str, list[float]] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0

    def spreads(self) -> dict[str, Any]:
        """How the times of each kind are spread, and of all."""
        everything = [one for times in self.times_ms.values() for one in times]
        return {kind: asdict(Spread.of(times)) for kind, times in {"all": everything, **self.times_ms}.items()}


async def ask_on(client: Client, wishes: Sequence[Wish], dice: random.Random, until: float, asked: Asked) -> None:
    """One client: a request, its answer, the next, until the time is over."""
    line = Line(client)
    while trio.current_time() < until:
        wish = dice.choices(wishes, [wish.weight for wish in wishes])[0]
        index = dice.randrange(len(wish.paths))
        begun_at = time.perf_counter()
        try:
            if wish.bodies:
                status, _ = await line.post(wish.paths[index], dict(wish.bodies[index]), uuid.uuid4().hex)
            else:
                status, _ = await line.get(wish.paths[index])
        except (OSError, trio.BrokenResourceError, RuntimeError):
            asked.broken += 1
            line.cut()
            line = Line(client)
            continue
        asked.times_ms.setdefault(wish.kind, []).append((time.perf_counter() - begun_at) * 1000)
        asked.statuses[status] += 1
    line.cut()


async def _ask(client: Client, wishes: Sequence[Wish], clients: int, seconds: float) -> Asked:
    asked, until = Asked(), trio.current_time() + seconds
    async with trio.open_nursery() as nursery:
        for number in range(clients):
            nursery.start_soon(ask_on, client, wishes, random.Random(number), until, asked)
    return asked


def main() -> None:
    """Ask, and say how long it took."""
    host, port, clients, seconds = sys.argv[1:]
    wishes = [Wish(**words) for words in json.loads(sys.stdin.buffer.read())]
    client = Client(host, int(port), os.environ[KEY])
    begun_at, cpu_s = time.perf_counter(), time.process_time()
    asked = trio.run(_ask, client, wishes, int(clients), float(seconds))
    say({
        "wall_s": time.perf_counter() - begun_at,
        "cpu_s": time.process_time() - cpu_s,
        "spreads": asked.spreads(),
        "statuses": {str(status): count for status, count in sorted(asked.statuses.items())},
        "broken": asked.broken,
    })  # fmt: skip


if __name__ == "__main__":
    main()
