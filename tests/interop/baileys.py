"""Baileys as a process: installed once from npm beside this file, driven by lines of JSON.

Rule: the client is unmodified. Where Node or npm is missing, the tests are skipped and say why.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.npm import Unavailable, require_node

HERE = Path(__file__).parent
PATIENCE_S = 20.0


def require_baileys() -> str:
    """Install Baileys if it is not there yet; return Node's path, or skip the test."""
    try:
        return require_node(HERE)
    except Unavailable as why:
        pytest.skip(f"interop: {why}")


@dataclass
class Baileys:
    """A running client."""

    process: trio.Process
    seen: list[dict[str, Any]] = field(default_factory=list)
    _begun: bytes = b""
    _unread: list[dict[str, Any]] = field(default_factory=list)

    async def do(self, what: str, **more: Any) -> None:
        """Give a command."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(json.dumps({"do": what, **more}).encode() + b"\n")

    async def until(self, event: str, **wanted: Any) -> dict[str, Any]:
        """Wait for the next event of that kind with these values; what comes before it is passed over."""
        with trio.move_on_after(PATIENCE_S):
            while True:
                found = await self.next()
                if found["event"] == event and wanted.items() <= found.items():
                    return found
        raise AssertionError(f"no {event} {wanted or ''} within {PATIENCE_S:g} s; there were {self.seen}")

    async def until_each(self, *wanted: dict[str, Any]) -> None:
        """Wait until each of these has come, in any order."""
        missing = list(wanted)
        with trio.move_on_after(PATIENCE_S):
            while missing:
                found = await self.next()
                missing = [one for one in missing if not one.items() <= found.items()]
        assert not missing, f"no {missing} within {PATIENCE_S:g} s; there were {self.seen}"

    async def next(self) -> dict[str, Any]:
        """Wait for the next event, whatever it is."""
        assert self.process.stdout is not None
        while not self._unread:
            chunk = bytes(await self.process.stdout.receive_some(65536))
            assert chunk, f"the client ended; there were {self.seen}"
            *lines, self._begun = (self._begun + chunk).split(b"\n")
            self._unread += [json.loads(line) for line in lines]
        event = self._unread.pop(0)
        self.seen.append(event)
        assert event["event"] != "error", event
        return event


@asynccontextmanager
async def open_baileys(node: str, url: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Baileys]:
    """Run a client that has not connected yet."""
    process = await trio.lowlevel.open_process(
        [node, str(HERE / "companion.mjs"), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield Baileys(process)
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()
