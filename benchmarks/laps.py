"""A lap: one subject with so many sessions, in one fresh folder, through the scenarios that are asked for.

Rule: everything is started once and ended whatever happens; a scenario's figures are kept as soon as they are there.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import trio

from actors.sandbox import SandboxClient
from benchmarks.live import Live, Options
from benchmarks.scenarios.api import api
from benchmarks.scenarios.connect import connect, grow
from benchmarks.scenarios.flow import inbound, outbound
from benchmarks.scenarios.resume import resume
from benchmarks.scenarios.soak import soak
from benchmarks.scenarios.storm import storm
from benchmarks.scenarios.webhook import webhook
from benchmarks.subjects.baileys import Baileys
from benchmarks.subjects.subject import Subject
from benchmarks.subjects.whatisup import WhatIsUp
from tests.npm import Unavailable
from tests.processes import Sandbox

__all__ = ["ORDER", "SCENARIOS", "SUBJECTS", "Live", "Options", "Unavailable", "lap"]

Figures: TypeAlias = Mapping[str, float]
Scenario: TypeAlias = Callable[[Live], Awaitable[Figures]]

SUBJECTS: Mapping[str, Callable[[Path, Options], Subject]] = {
    "whatisup": lambda folder, options: WhatIsUp(folder, server=options.database),
    "baileys": lambda folder, _: Baileys(folder),
}
ORDER = ("connect", "inbound", "outbound", "api", "webhook", "soak", "resume", "storm")
SCENARIOS: Mapping[str, Scenario] = {
    "connect": connect,
    "inbound": inbound,
    "outbound": outbound,
    "api": api,
    "webhook": webhook,
    "soak": soak,
    "resume": resume,
    "storm": storm,
}
"""By name; `api`, `webhook` and `soak` are about our own API and exist for WhatIsUp alone."""


async def lap(
    subject: str,
    size: int,
    scenarios: Sequence[str],
    folder: Path,
    *,
    say: Callable[[str], None],
    keep: Callable[[str, Figures], None],
    options: Options,
) -> None:
    """Start everything, connect `size` sessions, and run what is asked for, in the order of `ORDER`.

    Raises:
        Unavailable: the subject cannot run on this machine; the message says why.
    """
    async with open_live(subject, size, folder, say, options) as live:
        if "connect" in scenarios:
            keep("connect", await SCENARIOS["connect"](live))
        else:
            await grow(live, size)
        for name in ORDER[1:]:
            if name in scenarios:
                say(f"{name}: {subject}, {size}")
                keep(name, await SCENARIOS[name](live))


@asynccontextmanager
async def open_live(
    subject: str, size: int, folder: Path, say: Callable[[str], None], options: Options
) -> AsyncIterator[Live]:
    """Start a sandbox and a subject that has no session yet; end both whatever happens."""
    program = SUBJECTS[subject](folder, options)
    sandbox = Sandbox(folder)
    try:
        say("starting the sandbox")
        ready = await sandbox.start()
        say(f"starting {subject}")
        await program.start(ready)
        say(f"limits and pacing are off; {program.conditions}")
        tls = ssl.create_default_context(cadata=ready["tls_certificate"])
        people = SandboxClient(ready["control_url"], ready["token"], tls=tls)
        yield Live(program, sandbox, people, size, folder, say, options, ready=ready)
    finally:
        with trio.CancelScope(shield=True):
            await program.stop()
            await sandbox.kill()
