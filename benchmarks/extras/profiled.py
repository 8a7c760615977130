"""`python -m benchmarks.extras.profiled serve`: the gateway with tracemalloc on; SIGPROF asks for a snapshot.

Rule: only for `make bench ARGS=--profile`; it costs time and memory, so its other figures are not to be quoted.
tracemalloc sees what Python allocates. What OpenSSL and SQLite take is the rest of the USS.
"""

from __future__ import annotations

import os
import signal
import tracemalloc
from collections import defaultdict
from pathlib import Path
from types import FrameType

import trio

_REQUEST = "snapshot-name"
_WAIT_S = 60.0
_PROJECT = Path(__file__).resolve().parents[2]


def _dump(_signal: int, _frame: FrameType | None) -> None:
    name = Path(_REQUEST).read_text()
    snapshot = tracemalloc.take_snapshot()
    snapshot.dump(f"{name}.part")
    os.replace(f"{name}.part", name)


async def request_snapshot(pid: int, folder: Path, name: str) -> Path:
    """Ask the profiled gateway `pid`, which runs in `folder`, for a snapshot, and wait until it is written."""
    target = folder / f"{name}.snapshot"
    (folder / _REQUEST).write_text(str(target))
    os.kill(pid, signal.SIGPROF)
    with trio.fail_after(_WAIT_S):
        while not target.exists():
            await trio.sleep(0.1)
    return target


def growth(before: Path, after: Path, further: int) -> dict[str, float]:
    """Bytes per further instance between two snapshots, by the component that allocated them, largest first."""
    sums: dict[str, float] = defaultdict(float)
    old, new = tracemalloc.Snapshot.load(str(before)), tracemalloc.Snapshot.load(str(after))
    for difference in new.compare_to(old, "filename"):
        sums[component(difference.traceback[0].filename)] += difference.size_diff / further
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def component(filename: str) -> str:
    """A package of ours to its second level, or the library that a file belongs to."""
    path = Path(filename)
    if "site-packages" in path.parts:
        return path.parts[path.parts.index("site-packages") + 1].removesuffix(".py")
    if path.is_relative_to(_PROJECT):
        return ".".join(path.relative_to(_PROJECT).with_suffix("").parts[:2])
    return f"python: {path.stem}" if path.suffix == ".py" else "python"


def main() -> None:
    """Run the command line, watched, with tracemalloc on."""
    tracemalloc.start()
    signal.signal(signal.SIGPROF, _dump)
    from benchmarks.probes.watched import main as watched

    watched()


if __name__ == "__main__":
    main()
