"""Scenario `storm`: the sandbox is killed and started with its state, so that n sessions connect again at once.

Rule: the clock runs from the moment when the sandbox listens again. Meanwhile, where there is an API, it is asked all
the time: that it goes on to answer is part of what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from benchmarks.live import Live
from benchmarks.probes.spread import Spread, unix_ms
from benchmarks.scenarios.connect import within_s
from benchmarks.subjects.whatisup import WhatIsUp
from benchmarks.traffic.line import Line

ASK_EVERY_S = 0.1


async def storm(live: Live) -> Mapping[str, float]:
    """Kill the sandbox by SIGKILL, start it, and wait until everyone is connected."""
    live.say(f"killing the sandbox under {live.size} sessions, and starting it with its state")
    answers: list[float] = []
    await live.subject.mark_stall()
    async with trio.open_nursery() as nursery:
        if isinstance(live.subject, WhatIsUp):
            nursery.start_soon(_ask, live.subject, answers)
        await live.sandbox.kill()
        live.subject.watch()
        await live.sandbox.start()
        begun_at, cpu_s = trio.current_time(), live.cpu_s()[0]
        connected = live.subject.connected
        await live.until(lambda: connected() >= live.size, within_s(live), f"{live.size} sessions are back")
        took_s, cpu_s = trio.current_time() - begun_at, live.cpu_s()[0] - cpu_s
        stall = await live.subject.stall()
        nursery.cancel_scope.cancel()
    figures = {
        "storm_s": took_s,
        "storm_cpu_s": cpu_s,
        "storm_stall_p99_ms": stall.p99_ms,
        "storm_stall_max_ms": stall.max_ms,
    }
    return figures | ({"storm_answer_p99_ms": Spread.of(answers).p99} if answers else {})


async def _ask(gateway: WhatIsUp, answers: list[float]) -> None:
    """A request every now and then, on a line of its own; an answer that is an error ends the run."""
    line = Line(gateway.api)
    while True:
        asked_at = unix_ms()
        status, _ = await line.get("/v1/instances?limit=20")
        if status != 200:
            raise RuntimeError(f"the API answered {status} during the storm")
        answers.append(unix_ms() - asked_at)
        await trio.sleep(ASK_EVERY_S)
