"""The gateway (and its sandbox child) as a process of the tour's own: started, killed, started again, always ended.

Rule: it lives in a folder of its own and on loopback, and takes no setting from the caller's environment.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from api.demo.client import Client, Unreachable
from whatisup.settings import SETTINGS

HOST = "127.0.0.1"
READY_S = 60.0
KEY_S = 10.0
STOP_S = 30.0
_POLL_S = 0.05
_TEST_KEY = re.compile(r"zpk_test_[A-Za-z0-9_-]{43,44}")


class GatewayFailed(Exception):
    """The process ended, or did not become ready in time; its log says why."""


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _fresh_secrets() -> Mapping[str, str]:
    return {name: secrets.token_urlsafe(32) for name in ("SECRETS_KEY", "API_KEY_PEPPER")}


@dataclass(slots=True)
class Gateway:
    """`whatisup serve` with everything under `folder`; the same port and store at each start.

    `settings` go beyond the few that the tour needs; `command` is what Python is told to run.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    settings: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] = ("-m", "api.cli", "serve")
    process: trio.Process | None = None
    _secrets: Mapping[str, str] = field(default_factory=_fresh_secrets, repr=False)

    @property
    def client(self) -> Client:
        """A client without a key, for health."""
        return Client(HOST, self.port)

    @property
    def log(self) -> Path:
        """Where the process writes."""
        return self.folder / "gateway.log"

    async def start(self) -> None:
        """Start the process; `wait_ready` says when it serves."""
        with self.log.open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                [sys.executable, *self.command],
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tour, which ends its children in order
            )

    def _environment(self) -> dict[str, str]:
        ours = {setting.name for setting in SETTINGS}
        inherited = {name: value for name, value in os.environ.items() if name not in ours}
        return inherited | {
            "WHATISUP_HOST": HOST,
            "WHATISUP_PORT": str(self.port),
            "DATABASE_URL": f"sqlite:///{self.folder / 'demo.db'}",
            # The tour's own receiver is on loopback, and nobody wants to wait for a ladder of hours.
            "WEBHOOK_ALLOW_PRIVATE_CIDRS": "127.0.0.0/8",
            "WEBHOOK_RETRY_DELAYS_S": "1,1,1,1,1",
            **self._secrets,
            **self.settings,
        }

    async def wait_ready(self) -> None:
        """Wait until `/readyz` says 200.

        Raises:
            GatewayFailed: the process ended first, or took longer than `READY_S`.
        """
        with trio.move_on_after(READY_S):
            while True:
                if self.process is None or self.process.poll() is not None:
                    raise GatewayFailed("the gateway ended before it was ready")
                try:
                    if (await self.client.ask("GET", "/readyz")).status == 200:
                        return
                except Unreachable:
                    pass
                await trio.sleep(_POLL_S)
        raise GatewayFailed(f"the gateway was not ready within {READY_S:g} s")

    async def sandbox_pid(self) -> int:
        """The process id of the sandbox child, as `/readyz` shows it."""
        return int((await self.client.call("GET", "/readyz"))["checks"]["sandbox"]["pid"])

    async def test_key(self) -> str:
        """The test key of the first run, from the 0600 file the gateway writes a moment after it first listens.

        Raises:
            GatewayFailed: it wrote none within `KEY_S`.
        """
        with trio.move_on_after(KEY_S):
            while True:
                found = self._find_key()
                if found is not None:
                    return found
                await trio.sleep(_POLL_S)
        raise GatewayFailed("the first start left no file with a test key")

    def _find_key(self) -> str | None:
        for path in self.folder.rglob("*.keys"):
            if path.stat().st_mode & 0o077 == 0 and (found := _TEST_KEY.search(path.read_text())):
                return found[0]
        return None

    async def kill(self) -> None:
        """End the process by SIGKILL: no goodbye, nothing flushed."""
        if self.process is not None:
            self.process.kill()
            await self._gone(5.0)

    async def stop(self) -> None:
        """End the process in order, by force if that takes too long; also when we are being cancelled."""
        with trio.CancelScope(shield=True):
            if self.process is None:
                return
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGTERM)
            if not await self._gone(STOP_S):
                await self.kill()

    async def _gone(self, within_s: float) -> bool:
        with trio.move_on_after(within_s):
            if self.process is not None:
                await self.process.wait()
            return True
        return False
