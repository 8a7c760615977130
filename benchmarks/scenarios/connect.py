"""Scenario `connect`: pair n sessions, look at what they hold, and at what they cost when nothing happens.

Rule: n sessions are paired the same way whatever the subject: an account is made, the subject shows a QR, the account's
phone scans it. "Connected" is what the subject itself says.
"""

from __future__ import annotations

from collections.abc import Mapping

import trio

from benchmarks.live import Live
from benchmarks.subjects.subject import Pair

AT_ONCE = 16
"""Enough to keep two cores busy, few enough that no QR expires while it waits its turn; more were not faster."""
CONNECT_S = 60.0
CONNECT_EACH_S = 4.0
"""A session of Baileys writes some 800 files when it is paired."""
BASE = 10
"""A further session's price is reckoned from so many on."""


def within_s(live: Live) -> float:
    """How long all sessions may take to connect."""
    return CONNECT_S + CONNECT_EACH_S * live.size


async def connect(live: Live) -> Mapping[str, float]:
    """See the module. What runs has no session before, and all of them afterwards."""
    figures = {"uss_before": float((await live.settled()).uss)}
    took_s = 0.0
    if live.size > BASE:
        took_s += await grow(live, BASE)
        figures["uss_at_10"] = (await live.settled()).uss
    figures["connect_s"] = took_s + await grow(live, live.size)
    memory = await live.settled()
    figures |= {"uss": memory.uss, "rss": memory.rss, "pss": memory.pss}
    if live.size > BASE:
        figures["session_uss"] = (memory.uss - figures["uss_at_10"]) / (live.size - BASE)
    return figures | await _idle(live)


async def grow(live: Live, to: int) -> float:
    """Pair sessions until there are `to`; the seconds from the first request until the last is connected."""
    live.say(f"connecting {to - len(live.pairs)}")
    live.subject.watch()
    begun_at, missing = trio.current_time(), to - len(live.pairs)
    places = trio.CapacityLimiter(AT_ONCE)
    with trio.fail_after(within_s(live)):
        async with trio.open_nursery() as nursery:
            for _ in range(missing):
                nursery.start_soon(_pair, live, places)
    await live.until(lambda: live.subject.connected() >= missing, within_s(live), f"{missing} sessions connected")
    return trio.current_time() - begun_at


async def _pair(live: Live, places: trio.CapacityLimiter) -> None:
    async with places:
        account = await live.people.create_account(None, "bench")
        session_id, qr = await live.subject.new_session()
        await live.people.scan(account.number, qr)
        contact = await live.people.create_account(None, "bench")
        live.pairs.append(Pair(session_id, account.number, contact.number))


async def _idle(live: Live) -> dict[str, float]:
    """What the subject uses while nothing happens but heartbeats."""
    window_s = live.options.idle_s
    live.say(f"idle for {window_s:g} s")
    before, cpu_s = sum(process.switches for process in live.subject.processes()), live.cpu_s()[0]
    begun_at = trio.current_time()
    await trio.sleep(window_s)
    took_s = trio.current_time() - begun_at
    share = (live.cpu_s()[0] - cpu_s) / took_s
    switches = sum(process.switches for process in live.subject.processes()) - before
    return {
        "idle_cpu_share": share,
        "idle_cpu_s_per_session_hour": 3600 * share / live.size,
        "idle_switches_per_s": switches / took_s,
    }
