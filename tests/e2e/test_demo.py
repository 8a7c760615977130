"""The guided tour as a newcomer runs it, without the one scene that waits for the keepalive."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from api.demo import INTERRUPTED

ROOT = Path(__file__).resolve().parents[2]
SLOWEST_S = 150


def processes_in(folder: Path) -> list[int]:
    """Who still works below `folder`: the tour's gateway and its sandbox run there."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(str(folder)):
                found.append(process.pid)
    return found


def environment(folder: Path) -> dict[str, str]:
    """An empty home, and everything temporary below `folder`."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)}


@pytest.mark.slow
def test_demo_holds_every_scene_and_leaves_no_process(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "api.demo", "--skip", "half-open"],
        cwd=ROOT,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=SLOWEST_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("\n  ok") + ran.stdout.count("  ok  ") >= 10
    assert "\x1b" not in ran.stdout
    assert processes_in(tmp_path) == []
    assert list(tmp_path.glob("whatisup-demo-*")) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_ends_its_children_when_it_is_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "api.demo"], cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        try:
            while "Fault: half-open" not in demo.stdout.readline():
                assert demo.poll() is None
            assert len(processes_in(tmp_path)) == 2
            demo.send_signal(number)
            assert demo.wait(timeout=40) == INTERRUPTED
        finally:
            demo.kill()
    assert processes_in(tmp_path) == []
