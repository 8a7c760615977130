"""What every route works with: the running system, the settings, the clock, and the few facts of the edge itself.

Rule: the edge owns no state of an instance. It asks the system for effects and reads the store for truth.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import trio

from actors.delivery.client import WebhookClient
from actors.mailbox import Command
from actors.sandbox import SandboxClient
from actors.system import System
from actors.tracing import UNTRACED, Tracer
from api.problems import Problem
from api.serving.buckets import Buckets, buckets_for
from api.serving.census import Census
from api.serving.keyring import Keyring
from api.serving.metrics import DeliveryStats, Metrics
from api.serving.offers import Offers
from api.serving.remembered import Lately, Remembered
from api.streams import STALL_S, Fanout, Searches
from whatisup.settings import Settings
from whatisup.store import new_id
from whatisup.store.idempotency import Scope

KEEPALIVE_S: Final = 25.0
COMMAND_S: Final = 60.0
"""How long a command may take before its asker is told to look later; it is not withdrawn."""
DRAWING_THREADS: Final = 2
SLOW_S: Final = 5.0
FAR_S: Final = 60.0
"""How long a list that took long is expected to take long again."""

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
    census: Census = field(default_factory=Census)
    delivery: DeliveryStats | None = None
    """What the delivery actor has done; None where there is none."""
    tracer: Tracer = UNTRACED
    offers: Offers = field(default_factory=Offers)
    draining: trio.Event = field(default_factory=trio.Event)
    drawing: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(DRAWING_THREADS))
    claims: dict[tuple[Scope, str], trio.Event] = field(default_factory=dict)
    """Idempotency keys whose first request is under way in this process."""
    stall_s: float = STALL_S
    """How long the reader of an event stream may leave unread what it is sent."""
    streams: Fanout = field(init=False)
    """Open event streams; revoking a key ends its streams here (`end_key`)."""
    owned: Remembered = field(default_factory=Remembered)
    """Instances that were found to be a customer's: (customer, mode, instance)."""
    slow: Lately = field(default_factory=lambda: Lately(time.monotonic, SLOW_S))
    """Customers one of whose lists took long to begin, which may also be the garbage collector's time."""
    far: Lately = field(default_factory=lambda: Lately(time.monotonic, FAR_S))
    """Customers two of whose lists did, and who therefore take turns."""
    key_uses: dict[str, int] = field(default_factory=dict)
    """When keys were last used (unix milliseconds), since that was last written to the store."""
    webhooks: WebhookClient | None = None
    """Who delivers webhooks, and so knows which URLs it would refuse; without one they are judged by their text."""
    url_checks: Searches = field(default_factory=Searches)
    """Each customer's turns to have a URL looked up."""
    wake_webhooks: Callable[[str], None] = lambda _: None
    """Tell the deliveries of one endpoint that there is something to do: it was enabled, or is sent something again."""

    keyring: Keyring = field(init=False)
    """Who holds the keys that were shown."""
    buckets: Buckets = field(init=False)
    """How many requests each customer may still make."""
    looks: Buckets = field(init=False)
    """How often each customer may still ask for that, which costs it none of them."""

    def __post_init__(self) -> None:
        self.streams = Fanout(
            self.system.database,
            self.system.bus,
            now=self.now,
            draw=self.draw,
            gauge=self.metrics.streams,
            max_streams=self.settings.event_streams_max,
            max_per_customer=self.settings.event_streams_per_customer,
            keepalive_s=self.keepalive_s,
            stall_s=self.stall_s,
        )
        self.keyring = Keyring(self.system.database, self.entropy)
        self.buckets = buckets_for(self.settings, time.monotonic)
        self.looks = buckets_for(self.settings, time.monotonic)

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
        self.streams.drain()

    def require_sandbox(self) -> SandboxClient:
        """Give the client of the sandbox's control API.

        Raises:
            Problem: `sandbox_unavailable` when this gateway runs without a sandbox.
            SandboxUnavailable: it has never been up.
        """
        if self.sandbox is None:
            raise Problem("sandbox_unavailable", "this gateway runs without a sandbox (--no-sandbox)")
        return self.sandbox.client
