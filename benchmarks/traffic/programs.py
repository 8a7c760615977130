"""Programs of ours that run beside the gateway while it is measured, each a process of its own, and what they note.

Rule: such a program is as cheap as it can be, since it shares the cores; it listens or asks on loopback only, says in
one line of JSON that it is there, and is ended by its own id.

An event that reached one of them is noted as its id and the unix nanoseconds at which it had been read.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from benchmarks.probes.process import Process

READY_S = 30.0
_ROOT = str(Path(__file__).resolve().parents[2])
_NOTE = struct.Struct("<30sQ")
"""An event's id has 30 characters."""


@dataclass(slots=True)
class Program:
    """One of the modules of this package. `environment` is added to ours, `asked` is what it reads first."""

    name: str
    folder: Path
    words: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    asked: bytes = b""
    process: trio.Process | None = None

    async def start(self) -> None:
        """Start it."""
        self.process = await trio.lowlevel.open_process(
            [sys.executable, "-m", f"{__package__}.{self.name}", *self.words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": _ROOT, **self.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            start_new_session=True,
        )
        if self.process.stdin is None:
            raise RuntimeError(f"{self.name} has no input")
        await self.process.stdin.send_all(self.asked)
        await self.process.stdin.aclose()

    async def said(self, within_s: float = READY_S) -> dict[str, Any]:
        """The next line that it says.

        Raises:
            RuntimeError: it ended, or said nothing in time.
        """
        text = b""
        if self.process is None or self.process.stdout is None:
            raise RuntimeError(f"{self.name} was not started")
        with trio.move_on_after(within_s):
            while not text.endswith(b"\n"):
                chunk = await self.process.stdout.receive_some()
                if not chunk:
                    raise RuntimeError(f"{self.name} ended with code {await self.process.wait()}")
                text += chunk
            found: dict[str, Any] = json.loads(text)
            return found
        raise RuntimeError(f"{self.name} said nothing within {within_s:g} s")

    @property
    def cpu_s(self) -> float:
        """CPU seconds so far."""
        return 0.0 if self.process is None else Process(self.process.pid).cpu_s

    async def kill(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.process.kill()
            with trio.CancelScope(shield=True):
                await self.process.wait()


def say(words: Mapping[str, Any]) -> None:
    """For such a program: say something."""
    print(json.dumps(words), flush=True)


def packed(event_ids: Iterable[bytes], at_ns: int) -> bytes:
    """Notes of events that were read at the same time."""
    return b"".join(_NOTE.pack(event_id, at_ns) for event_id in event_ids)


@dataclass(frozen=True, slots=True)
class Notes:
    """The file that a program notes in."""

    path: Path

    def count(self) -> int:
        """How many notes there are."""
        return self.path.stat().st_size // _NOTE.size if self.path.exists() else 0

    def since(self, mark: int) -> list[tuple[str, float]]:
        """The notes behind the first `mark`: the event's id, and when it was read in unix milliseconds."""
        raw = self.path.read_bytes()[mark * _NOTE.size :]
        return [
            (event_id.decode(), at_ns / 1e6)
            for event_id, at_ns in _NOTE.iter_unpack(raw[: len(raw) // _NOTE.size * _NOTE.size])
        ]
