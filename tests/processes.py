"""A sandbox of its own, over wss with a state file, and a gateway that uses it, as processes: what tests and benchmarks
stand on.

Rule: loopback and a temporary folder only; each process is ended by its own id, whatever happens.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trio

from api.demo.gateway import HOST, Gateway, free_port
from whatisup.control import TOKEN_VARIABLE

READY_S = 30.0
# So that pacing, which protects a real server, is not what is measured.
UNPACED = "10000"
UNLIMITED: Mapping[str, str] = {
    "MAX_SESSIONS_PER_WORKER": "10000",
    "SEND_PACE_PER_S_TEST": "0",
    "CONTACT_CHECKS_PER_MINUTE": "0",
    "NEW_CHATS_PER_DAY": "0",
    "RETRY_RESENDS_PER_MINUTE": "0",
    "RATE_LIMIT_PER_S_TEST": "0",
}
"""Pacing of sends, budgets and rate limits off: what they hold back cannot be told from what is lost, or slow."""


@dataclass(slots=True)
class Sandbox:
    """`whatisup sandbox --tls --state`: the same port, authority, token and devices at each start.

    `options` are further words of its command line.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    options: Sequence[str] = ()
    token: str = field(default_factory=secrets.token_urlsafe, repr=False)
    process: trio.Process | None = None

    async def start(self) -> Mapping[str, str]:
        """Start it and read the line that says it listens (`whatisup.control.Ready`)."""
        state = str(self.folder / "sandbox.state")
        words = ["sandbox", "--host", HOST, "--port", str(self.port), "--tls", "--state", state, "--json"]
        words += self.options
        with (self.folder / "sandbox.log").open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "api.cli", *words],
                cwd=self.folder,
                env={**os.environ, TOKEN_VARIABLE: self.token},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        with trio.fail_after(READY_S):
            return await self._read_ready(self.process)

    async def _read_ready(self, process: trio.Process) -> Mapping[str, str]:
        text = b""
        if process.stdout is None:
            raise RuntimeError("the sandbox has no output")
        async for chunk in process.stdout:
            text += chunk
            try:
                ready: Mapping[str, str] = json.loads(text)
            except ValueError:
                continue
            return ready
        raise RuntimeError(f"the sandbox ended before it listened; see {self.folder / 'sandbox.log'}")

    async def kill(self) -> None:
        """End it by SIGKILL and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            with trio.CancelScope(shield=True):
                await self.process.wait()


def gateway_for(folder: Path, ready: Mapping[str, str]) -> Gateway:
    """A gateway whose test instances live on the sandbox that said `ready`; default store, default heartbeat."""
    certificate = folder / "sandbox.pem"
    certificate.write_text(ready["tls_certificate"])
    return Gateway(
        folder,
        settings={
            "WHATISUP_SANDBOX_URL": ready["url"],
            "WHATISUP_SANDBOX_ROOT_KEY": ready["root_public_key"],
            "WHATISUP_SANDBOX_TOKEN": ready["token"],
            "WHATISUP_SANDBOX_CA_FILE": str(certificate),
            "WHATISUP_PACE_TEST": UNPACED,
            "RATE_LIMIT_PER_S_TEST": "0",  # one customer drives a whole fleet here
        },
    )
