"""`python -m tests.chaos`: a long run on each database, a table for each, and exit code 1 where anything is wrong."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import trio

from api.demo.gateway import GatewayFailed
from tests.chaos.plan import Options, draw
from tests.chaos.run import heading, run, table
from tests.chaos.stage import Broken
from tests.chaos.verdict import Verdict

DATABASES = ("sqlite", "postgresql")


def main(arguments: list[str] | None = None) -> int:
    """Run chaos on the databases asked for; 0 if nothing was lost and nothing came twice."""
    asked = _parse(arguments)
    failed = False
    for database in asked.database or DATABASES:
        options = Options(
            database=database,
            messages=asked.messages,
            kills=asked.kills,
            instances=asked.instances,
            contacts=asked.contacts,
            seed=asked.seed,
        )
        _say(heading(draw(options)))
        folder = Path(tempfile.mkdtemp(prefix="wiu-chaos-"))
        verdict: Verdict | None = None
        broken: list[BaseException] = []
        try:
            verdict = trio.run(_run, options, folder, asked.within_s)
        except* (Broken, GatewayFailed) as group:
            broken += group.exceptions
        if broken:
            _say(f"chaos: BROKEN: {_leaf(broken[0])}; logs and databases are kept in {folder}\n")
            failed = True
            continue
        if verdict is None:
            shutil.rmtree(folder, ignore_errors=True)
            return 130
        _say(f"\n{table(verdict)}\n")
        failed = failed or bool(verdict.violations)
        if verdict.violations or asked.keep:
            _say(f"logs and databases are kept in {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return int(failed)


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--database", choices=DATABASES, action="append", help="may be given twice (default: both)")
    parser.add_argument("--messages", type=int, default=defaults.messages, help="each way (default: %(default)s)")
    parser.add_argument("--kills", type=int, default=defaults.kills, help="of the gateway (default: %(default)s)")
    parser.add_argument("--instances", type=int, default=defaults.instances, help="default: %(default)s")
    parser.add_argument("--contacts", type=int, default=defaults.contacts, help="per instance (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="fixes everything (default: %(default)s)")
    parser.add_argument("--within-s", type=float, default=1500.0, help="for each database (default: %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep logs and databases, also of a run without a fault")
    return parser.parse_args(arguments)


async def _run(options: Options, folder: Path, within_s: float) -> Verdict | None:
    """One run, or None when a signal ended it."""
    verdict: Verdict | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal, nursery.cancel_scope)
        verdict = await run(options, folder, within_s=within_s, say=lambda text: _say(f"  {text}"))
        nursery.cancel_scope.cancel()
    return verdict


async def _end_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


if __name__ == "__main__":
    sys.exit(main())
