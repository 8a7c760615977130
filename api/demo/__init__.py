"""The guided tour (`make demo`): a gateway of its own, and one number's life in about two minutes.

Rule: by HTTP only, on loopback, in a temporary folder; the exit code is 0 only if every scene held, and whatever
happens the processes it started are ended.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import trio

from api.demo.gateway import Gateway, GatewayFailed
from api.demo.scenes import SCENES
from api.demo.stage import Result, Stage
from api.demo.tour import Scene, Tour, play

__all__ = ["main"]

INTERRUPTED = 130
_LOG_TAIL = 30


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the tour; 0 if every scene held, 1 if one did not, `INTERRUPTED` if a signal ended it."""
    options = _parse(arguments)
    stage = Stage(sys.stdout, is_tty=sys.stdout.isatty())
    scenes = [scene for scene in SCENES if scene.slug not in options.skip]
    with tempfile.TemporaryDirectory(prefix="whatisup-demo-", ignore_cleanup_errors=True) as folder:
        return trio.run(_run, Path(folder), stage, scenes)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="One number's life, in about two minutes.")
    optional = [scene.slug for scene in SCENES if scene.title.startswith("Fault")]
    parser.add_argument(
        "--skip", action="append", default=[], choices=optional, metavar="FAULT", help=f"of {', '.join(optional)}"
    )
    return parser.parse_args(arguments)


async def _run(folder: Path, stage: Stage, scenes: Sequence[Scene]) -> int:
    stage.line(
        stage.colour("WhatIsUp, the guided tour.", "bold") + " Everything happens on this machine, in " + str(folder)
    )
    gateway = Gateway(folder)
    results: list[Result] = []
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
            nursery.start_soon(stage.tick)
            tour = Tour(gateway, stage)
            try:
                await tour.open(nursery)
                results = await play(tour, scenes)
            except GatewayFailed as error:
                results = [Result("Start the gateway", "failed", None, str(error))]
            with stage.waiting("ending the gateway"):
                await gateway.stop()
            nursery.cancel_scope.cancel()
    finally:
        await gateway.stop()
    if not results:
        stage.line("interrupted")
        return INTERRUPTED
    stage.table(results)
    if all(result.verdict == "ok" for result in results):
        return 0
    _show_log(gateway, stage)
    return 1


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    """Ctrl-C, SIGTERM and SIGHUP cancel the tour, so that it ends its children on the way out."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            scope.cancel()


def _show_log(gateway: Gateway, stage: Stage) -> None:
    stage.heading(f"The last lines of the gateway's log ({gateway.log})")
    for line in gateway.log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]:
        stage.remark(line)
