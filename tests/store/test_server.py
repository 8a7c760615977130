"""The tests' own PostgreSQL: it must not outlive them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from tests.postgres import Postgres, running_postgres

START = """
import sys
from tests.postgres import running_postgres
with running_postgres() as server:
    print(server.folder, flush=True)
    sys.stdin.read()
"""

PATIENCE_S = 30


def is_alive(pid: int) -> bool:
    """Whether a process runs (a dead one that nobody has buried yet does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def postmaster(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux to end the server with its parent")
def test_server_ends_with_a_killed_session() -> None:
    process = subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        server = postmaster(folder)
        assert is_alive(server)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)
    for _ in range(PATIENCE_S * 20):
        if not is_alive(server):
            break
        Event().wait(0.05)
    assert not is_alive(server)
    shutil.rmtree(folder)


def test_server_ends_and_cleans_up_after_a_failure() -> None:
    servers: list[Postgres] = []

    def fail() -> None:
        with running_postgres() as server:
            servers.append(server)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not servers[0].folder.exists()


def test_server_is_not_root(postgres: Postgres) -> None:
    assert os.stat(postgres.folder / "data").st_uid != 0
