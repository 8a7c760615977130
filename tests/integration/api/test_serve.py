"""`whatisup serve` as a process: what it prints, logs and exits with."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import TEST_SECRETS
from whatisup.store import database_lock

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def serve(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"sqlite:///{folder / 'front.db'}",
        "SECRETS_KEY": TEST_SECRETS.key,
        "API_KEY_PEPPER": TEST_SECRETS.pepper,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "api.cli", "serve", "--no-sandbox", *words],
        env=environment,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def test_serve_says_where_it_is_and_ends_in_order(folder: Path) -> None:
    with serve(folder, "--port", "0") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert re.fullmatch(r"WhatIsUp listens on http://127\.0\.0\.1:\d+ \(Ctrl-C ends it\)\n", first)
        assert str(folder / "front.db.keys") in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in err.splitlines()]
    order = [name for name in events if name in ("front.stopped", "instances.stopped", "storage.stopped")]
    assert order == ["front.stopped", "instances.stopped", "storage.stopped"]
    secrets = re.findall(r"zpk_\w+", (folder / "front.db.keys").read_text())
    assert len(secrets) == 2
    assert [secret for secret in secrets if secret in out + err] == []


def test_serve_on_a_taken_port_ends_with_one_sentence(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serve(folder, "--port", port) as process:
            _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"whatisup: cannot listen on 127.0.0.1:{port}" in err
    assert "Traceback" not in err


def test_serve_that_is_ended_while_it_waits_for_the_database_ends_in_order(folder: Path) -> None:
    lock = database_lock(f"sqlite:///{folder / 'front.db'}")
    assert lock.try_acquire()
    try:
        with serve(folder, "--port", "0") as process:
            assert process.stderr is not None
            assert json.loads(process.stderr.readline())["event"] == "lock.waiting"
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=15)
    finally:
        lock.release()
    assert process.returncode == 0
    assert out == ""
    assert "Traceback" not in err
