"""Baileys as a subject: many sessions in one Node process, driven by `benchmarks/baileys/driver.mjs`.

Rule: the client is unmodified and has what its own example has; what happens is read from files, so that telling costs
it next to nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from benchmarks.probes.process import Process
from benchmarks.subjects.subject import Arrival, Counts, Pair, Posted, Stall
from tests.npm import node_version, require_node

FOLDER = Path(__file__).resolve().parents[1] / "baileys"
READY_S = 60.0
QR_S = 300.0
"""With 190 sessions connected, a minute was not enough for the next one."""
ANSWER_S = 60.0
SEND_S = 90.0
SLOWEST_PER_S = 20.0
_POLL_S = 0.02


@dataclass(slots=True)
class Tail:
    """A file that grows: whole lines only, each once."""

    path: Path
    offset: int = 0

    def lines(self) -> list[str]:
        """What was added since the last time."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.decode().splitlines()


@dataclass(slots=True)
class Baileys:
    """The Node process. Its auth state is in `auth`, a folder for each session."""

    folder: Path
    name: str = "baileys"
    conditions: str = ""
    process: trio.Process | None = None
    _node: str = ""
    _events: Tail = field(init=False)
    _open: set[str] = field(default_factory=set)
    _qrs: dict[str, str] = field(default_factory=dict)
    _told: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last event of each kind that answers a command."""
    _counts: Counts = field(default=Counts(0, 0, 0))
    _marks: list[tuple[Counts, int]] = field(default_factory=list)
    _sessions: int = 0
    _runs: int = 0
    _turn: trio.Lock = field(default_factory=trio.Lock)

    def __post_init__(self) -> None:
        self._events = Tail(self.folder / "events")

    def processes(self) -> list[Process]:
        """See `Subject`."""
        return [] if self.process is None else [Process(self.process.pid)]

    # --- its life

    async def start(self, ready: Mapping[str, str]) -> None:
        """See `Subject`.

        Raises:
            Unavailable: Node, npm or the package is not there.
        """
        if not self._node:
            self._node = await trio.to_thread.run_sync(require_node, FOLDER)
            self.conditions = self._what_it_is()
        certificate = self.folder / "sandbox.pem"
        certificate.write_text(ready["tls_certificate"])
        self._told.clear()
        with (self.folder / "baileys.log").open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                [self._node, "--expose-gc", str(FOLDER / "driver.mjs"), ready["url"], str(self.folder)],
                env={**os.environ, "NODE_EXTRA_CA_CERTS": str(certificate)},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await self._told_of("ready", READY_S)

    def _what_it_is(self) -> str:
        package = json.loads((FOLDER / "node_modules" / "@whiskeysockets" / "baileys" / "package.json").read_text())
        return (
            f"Baileys {package['version']}, Node {node_version(self._node)}, useMultiFileAuthState behind its own"
            " cache of keys: written before a message counts, without a sync; messages are not kept"
        )

    async def kill(self) -> None:
        """See `Subject`."""
        if self.process is not None:
            self.process.kill()
            with trio.CancelScope(shield=True):
                await self.process.wait()
                if self.process.stdin is not None:
                    await self.process.stdin.aclose()

    async def stop(self) -> None:
        """See `Subject`: it has no other end."""
        await self.kill()

    async def settle(self) -> None:
        """See `Subject`: neither garbage nor keys that its cache drops within five minutes are counted as held."""
        await self._ask("collect", "collected", ANSWER_S)

    # --- sessions

    async def new_session(self) -> tuple[str, str]:
        """See `Subject`."""
        self._sessions += 1
        session_id = f"session-{self._sessions}"
        await self._do("new", id=session_id)
        await self._until(lambda: session_id in self._qrs, QR_S, "a QR")
        return session_id, self._qrs[session_id]

    def watch(self) -> None:
        """See `Subject`."""
        self._read()
        self._open.clear()

    def connected(self) -> int:
        """See `Subject`."""
        self._read()
        return len(self._open)

    # --- messages

    def mark(self) -> int:
        """See `Subject`."""
        self._read()
        path = self.folder / "received"
        self._marks.append((self._counts, path.stat().st_size if path.exists() else 0))
        return len(self._marks) - 1

    def counts(self, since: int) -> Counts:
        """See `Subject`."""
        self._read()
        then, so_far = self._marks[since][0], self._counts
        return Counts(so_far.received - then.received, so_far.acked - then.acked, so_far.delivered - then.delivered)

    async def arrivals(self, since: int) -> list[Arrival]:
        """See `Subject`: there for good is its event, once all auth state is saved that was being saved then."""
        lines = Tail(self.folder / "received", self._marks[since][1]).lines()
        return [Arrival(wa_id, owner, float(at)) for wa_id, owner, at in (line.split() for line in lines)]

    async def send(self, pairs: Sequence[Pair], each: int, rate: float | None) -> Posted:
        """See `Subject`: `sendMessage`, one after the other flat out, or at a rate whatever became of the last."""
        self._runs += 1
        path, run = self.folder / "sent", self._runs
        sent = Tail(path, path.stat().st_size if path.exists() else 0)
        to = {pair.instance_id: f"{pair.contact}@s.whatsapp.net" for pair in pairs}
        await self._do("send", run=run, to=to, each=each, rate=rate)
        within_s = SEND_S + len(pairs) * each / SLOWEST_PER_S
        await self._until(lambda: self._told.get("sent", {}).get("run") == run, within_s, "everything was sent")
        posted = Posted()
        for wa_id, owner, begun_at, accepted_at in (line.split() for line in sent.lines()):
            posted.begun_at[wa_id] = owner, float(begun_at)
            posted.accepted_ms.append(float(accepted_at) - float(begun_at))
        return posted

    # --- its event loop

    async def mark_stall(self) -> None:
        """See `Subject`."""
        await self._do("mark")

    async def stall(self) -> Stall:
        """See `Subject`: `perf_hooks.monitorEventLoopDelay`, less the 10 ms between two ticks."""
        said = await self._ask("loop", "loop", ANSWER_S)
        return Stall(said["p99_ms"], said["max_ms"])

    # --- talking to it

    async def _do(self, what: str, **more: Any) -> None:
        if self.process is None or self.process.stdin is None:
            raise RuntimeError("Baileys was not started")
        async with self._turn:
            await self.process.stdin.send_all(json.dumps({"do": what, **more}).encode() + b"\n")

    async def _ask(self, what: str, event: str, within_s: float) -> dict[str, Any]:
        self._told.pop(event, None)
        await self._do(what)
        return await self._told_of(event, within_s)

    async def _told_of(self, event: str, within_s: float) -> dict[str, Any]:
        await self._until(lambda: event in self._told, within_s, event)
        return self._told[event]

    async def _until(self, is_done: Callable[[], bool], within_s: float, what: str) -> None:
        with trio.move_on_after(within_s):
            while True:
                self._read()
                if is_done():
                    return
                if self.process is not None and self.process.poll() is not None:
                    raise RuntimeError(f"Baileys ended with code {self.process.returncode}")
                await trio.sleep(_POLL_S)
        raise RuntimeError(f"not from Baileys within {within_s:g} s: {what}")

    def _read(self) -> None:
        for line in self._events.lines():
            try:
                self._note(json.loads(line or "{}"))
            except ValueError:  # what a killed process had begun to write
                continue

    def _note(self, said: dict[str, Any]) -> None:
        event = said.get("event")
        if event == "open":
            self._open.add(said["id"])
        elif event == "close":
            self._open.discard(said["id"])
        elif event == "qr":
            self._qrs[said["id"]] = said["qr"]
        elif event == "tally":
            so_far = self._counts
            self._counts = Counts(
                so_far.received + said["received"],
                so_far.acked + said["acked"],
                so_far.delivered + said["delivered"],
            )
        elif event is not None:
            self._told[event] = said
