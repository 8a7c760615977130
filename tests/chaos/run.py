"""One run: start, let them talk while things break, wait until it is quiet, and count.

Rule: bounded in time, and it stops by itself; a run that cannot finish is counted all the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import trio

from tests.chaos import evidence
from tests.chaos.hook_verdict import judge_hooks
from tests.chaos.hooks import collect_hooks
from tests.chaos.mayhem import Mayhem
from tests.chaos.plan import Options, Plan, draw
from tests.chaos.receiver import digest_of
from tests.chaos.stage import Stage, open_stage
from tests.chaos.traffic import Traffic
from tests.chaos.verdict import Verdict, judge

QUIET_S = 240.0
SAID_EVERY_S = 10.0


async def run(
    options: Options,
    folder: Path,
    *,
    within_s: float,
    quiet_s: float = QUIET_S,
    say: Callable[[str], None] | None = None,
) -> Verdict:
    """Run chaos; what must not be is in the verdict's `violations`."""
    plan, begun = draw(options), time.monotonic()
    async with open_stage(plan, folder) as stage:
        traffic = Traffic(stage)
        mayhem = Mayhem(stage, traffic)
        has_finished = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(traffic.watch)
            if say is not None:
                nursery.start_soon(_tell, traffic, stage, say)
            with trio.move_on_after(within_s):
                async with trio.open_nursery() as busy:
                    busy.start_soon(traffic.run)
                    busy.start_soon(mayhem.run)
                has_finished = True
            if not has_finished:
                await stage.make_whole()
            is_quiet = await evidence.quiesce(traffic, quiet_s)
            nursery.cancel_scope.cancel()
        hooks = await collect_hooks(stage.hooks, stage.database, stage.receiver)
        found = await evidence.collect(traffic)
        verdict = judge(found)
        judge_hooks(verdict, replace(hooks, digests=_digests(found)))
        _add_the_run(verdict, stage, traffic, mayhem)
    if not has_finished:
        verdict.violations.append(f"the traffic was not through after {within_s:g} s")
    if not is_quiet:
        verdict.violations.append(f"it was not quiet {quiet_s:g} s after the traffic")
    verdict.facts["time"] = f"{time.monotonic() - begun:.0f} s"
    return verdict


def _digests(found: evidence.Evidence) -> Mapping[str, str]:
    """What the API's log says of each event, to be compared with its webhooks."""
    return {event["event_id"]: digest_of(event) for events in found.events.values() for event in events}


async def _tell(traffic: Traffic, stage: Stage, say: Callable[[str], None]) -> None:
    while True:
        await trio.sleep(SAID_EVERY_S)
        say(f"{traffic.through} messages through each way, {stage.kills} kills")


def _add_the_run(verdict: Verdict, stage: Stage, traffic: Traffic, mayhem: Mayhem) -> None:
    """What was done, and what the run itself saw."""
    plan = stage.plan
    verdict.facts["switches drawn"] = ", ".join((*plan.switches, *(switch for switch, _ in plan.slow))) or "none"
    verdict.facts["harm done"] = f"{stage.kills} kills of the gateway; " + ", ".join(
        f"{count} x {harm}" for harm, count in sorted(mayhem.done.items())
    )
    verdict.facts["asked again by the API's client"] = str(traffic.retried)
    verdict.facts["mishaps"] = ", ".join(t.fault for t in plan.troubles if t.fault is not None)
    durability = stage.durability()
    verdict.facts["durability"] = f"{' | '.join(sorted(set(durability)))} (said {len(durability)} times)"
    if set(durability) != {stage.database.durable}:
        verdict.violations.append(f"not durable: {sorted(set(durability))} instead of {stage.database.durable}")
    verdict.violations += stage.deaths
    verdict.forbid("refused by the API", traffic.refused)
    if sum(mayhem.done.values()) != len(plan.troubles):
        verdict.violations.append(f"only {sum(mayhem.done.values())} of {len(plan.troubles)} harms were done")


def heading(plan: Plan) -> str:
    """What a run is going to be, for people."""
    options = plan.options
    slow = [f"{switch} (from harm {place + 1} on, for two)" for switch, place in plan.slow]
    return (
        f"{options.database}, seed {options.seed}: {options.messages} messages each way, {options.kills} kills, "
        f"{options.instances} instances with {options.contacts} contacts each; "
        "pacing and limits are off, retries of webhooks are quick\n"
        f"switches drawn: {', '.join((*plan.switches, *slow)) or 'none'}"
    )


def table(verdict: Verdict) -> str:
    """The counts, for people."""
    lines = [f"{'':44}{'wanted':>8}{'found':>8}{'missing':>9}{'doubled':>9}"]
    lines += [
        f"{line.what:44}{line.wanted:>8}{line.found:>8}{len(line.missing):>9}{len(line.doubled):>9}"
        for line in verdict.lines
    ]
    lines += [""] + [f"{name:32}{fact}" for name, fact in verdict.facts.items()]
    lines += [""] + [f"VIOLATION  {violation}" for violation in verdict.violations]
    lines.append(
        "chaos: nothing lost, nothing twice but webhooks, every webhook there in order"
        if not verdict.violations
        else "chaos: FAILED"
    )
    return "\n".join(lines)
