"""The sandbox that `serve` runs as its child: what it is started with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import trio

import whatisup
from api.bootstrap.sandboxes import ChildSandbox, make_sandbox
from tests.integration.api.front import settings_for


async def test_child_takes_no_module_from_the_current_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway may be started anywhere, also where others can put a file."""
    theirs = tmp_path / "theirs"
    (theirs / "whatisup").mkdir(parents=True)
    for name in ("json.py", "whatisup/__init__.py"):
        (theirs / name).write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(theirs)
    monkeypatch.setattr(sys, "path", [*(one for one in sys.path if one), str(Path(whatisup.__file__).parents[1])])
    sandbox = make_sandbox(settings_for(folder), is_wanted=True)
    assert isinstance(sandbox, ChildSandbox)
    async with trio.open_nursery() as nursery:
        await nursery.start(sandbox.child.run)
        with trio.fail_after(30):
            await sandbox.child.ready.wait()
        nursery.cancel_scope.cancel()
    assert sandbox.child.restarts == 0
