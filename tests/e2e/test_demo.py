"""The guided tour as a newcomer runs it, without the one scene that waits for the keepalive."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

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


@pytest.mark.slow
def test_demo_holds_every_scene_and_leaves_no_process(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "api.demo", "--skip", "half-open"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SLOWEST_S,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("\n  ok") + ran.stdout.count("  ok  ") >= 9
    assert "\x1b" not in ran.stdout
    assert processes_in(tmp_path) == []
    assert list(tmp_path.glob("whatisup-demo-*")) == []
