"""What every route works with: the running system, the settings, the clock, and the few facts of the edge itself.

Rule: the edge owns no state of an instance. It asks the system for effects and reads the store for truth.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import trio

from actors.mailbox import Command
from actors.sandbox import SandboxClient
from actors.system import System
from api.problems import Problem
from api.routes.metrics import Metrics
from api.routes.offers import Offers
from whatisup.settings import Settings
from whatisup.store import new_id
from whatisup.store.idempotency import Scope

KEEPALIVE_S: Final = 25.0
COMMAND_S: Final = 60.0
"""How long a command may take before its asker is told to look later; it is not withdrawn."""
DRAWING_THREADS: Final = 2

R = TypeVar("R")


def wall_clock_ms() -> int:
    """Unix milliseconds now."""
    return time.time_ns() // 1_000_000


class Sandbox(Protocol):
    """The sandbox as the edge sees it: a child of ours, or a server elsewhere."""

    kind: str

    @property
    def is_up(self) -> bool:
        """Whether it runs, as far as we know."""

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""

    @property
    def client(self) -> SandboxClient:
        """The client of its control API; raises `SandboxUnavailable` before it has ever been up."""


class UrlGuard(Protocol):
    """Whoever delivers webhooks, as the routes see it."""

    async def check(self, url: str, is_live: bool) -> None:
        """Resolve a URL now; raises `UrlRefused` if nothing would be delivered there."""


@dataclass(slots=True)
class Edge:
    """One per process; made by the composition root and handed to `create_app`."""

    system: System
    settings: Settings
    sandbox: Sandbox | None = None
    now: Callable[[], int] = wall_clock_ms
    entropy: Callable[[int], bytes] = os.urandom
    keepalive_s: float = KEEPALIVE_S
    metrics: Metrics = field(default_factory=Metrics)
    offers: Offers = field(default_factory=Offers)
    draining: trio.Event = field(default_factory=trio.Event)
    drawing: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(DRAWING_THREADS))
    claims: dict[tuple[Scope, str], trio.Event] = field(default_factory=dict)
    """Idempotency keys whose first request is under way in this process."""
    streams: Counter[str] = field(default_factory=Counter)
    """Open event streams by customer."""
    key_uses: dict[str, int] = field(default_factory=dict)
    """When keys were last used (unix milliseconds), since that was last written to the store."""
    webhooks: UrlGuard | None = None
    """Who delivers webhooks, and so knows which URLs it would refuse; without one they are judged by their text."""
    wake_webhooks: Callable[[str], None] = lambda _: None
    """Tell the deliveries of one endpoint that there is something to do: it was enabled, or is sent something again."""

    def new_id(self, prefix: str) -> str:
        """Name a new row or request."""
        return new_id(prefix, self.now(), self.entropy)

    async def ask(self, instance_id: str, command: Command[R]) -> R:
        """Hand a command to an instance's actor and wait for the reply.

        Raises:
            CommandRefused: see `System.ask`.
            Problem: `instance_restarting`, when there is no reply within `COMMAND_S`; the command stands.
        """
        with trio.move_on_after(COMMAND_S):
            return await self.system.ask(instance_id, command)
        raise Problem("instance_restarting", "no answer yet; the command stands, so look at the status before a retry")

    async def draw(self, picture: Callable[[], R]) -> R:
        """Render something with a QR in it in a thread, since that takes some 15 ms."""
        return await trio.to_thread.run_sync(picture, limiter=self.drawing)

    def drain(self) -> None:
        """Say that the process is going down: `/readyz` turns 503 and open streams end themselves."""
        self.draining.set()
        self.system.bus.ring_all()

    def require_sandbox(self) -> SandboxClient:
        """Give the client of the sandbox's control API.

        Raises:
            Problem: `sandbox_unavailable` when this gateway runs without a sandbox.
            SandboxUnavailable: it has never been up.
        """
        if self.sandbox is None:
            raise Problem("sandbox_unavailable", "this gateway runs without a sandbox (--no-sandbox)")
        return self.sandbox.client
