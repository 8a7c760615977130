"""A fleet of test instances: made, paired and watched through the public API alone.

Rule: "connected" is what the event log says. A row may still say so for a moment after its gateway was killed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from api.demo.client import Client, Json
from api.demo.journal import Journal, Seen

# Enough to keep two cores busy, few enough that no QR expires while it waits its turn.
AT_ONCE = 16
CONNECT_S = 180.0
RESUME_S = 120.0


@dataclass(slots=True)
class Fleet:
    """The instances so far, and the event log they are watched by. `say` gets a word of progress now and then."""

    client: Client
    say: Callable[[str], None]
    journal: Journal = field(init=False)
    numbers: dict[str, str] = field(default_factory=dict)
    """The number of the phone behind each instance, by the instance's id."""
    _connected: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.journal = Journal(self.client, self._note, names="instance.connected")

    def _note(self, seen: Seen) -> None:
        self._connected.add(str(seen.event["instance_id"]))
        count = len(self._connected)
        if count % 25 == 0:
            self.say(f"{count} connected")

    async def grow(self, to: int) -> float:
        """Create and pair instances until there are `to`; the seconds from the first request to the last connected."""
        self._connected.clear()
        started_at = trio.current_time()
        missing = to - len(self.numbers)
        places = trio.CapacityLimiter(AT_ONCE)
        with trio.fail_after(CONNECT_S):
            async with trio.open_nursery() as nursery:
                for _ in range(missing):
                    nursery.start_soon(self._pair_one, places)
            await self._until(missing)
        return trio.current_time() - started_at

    async def _pair_one(self, places: trio.CapacityLimiter) -> None:
        async with places:
            row = await self.client.call("POST", "/v1/instances", {"name": "bench"})
            phone = await self.client.call("POST", "/v1/sandbox/phones", {})
            await self._qr(str(row["id"]))
            self.numbers[str(row["id"])] = str(phone["number"])
            body: Json = {"instance_id": row["id"]}
            await self.client.call("POST", f"/v1/sandbox/phones/{phone['number']}/scan", body)

    async def _qr(self, instance_id: str) -> None:
        """Ask for a QR until there is one: the route waits 10 s and then says 503 `no_qr`."""
        answers: list[str] = []
        while len(answers) < 3:
            reply = await self.client.ask("GET", f"/v1/instances/{instance_id}/qr", accept="text/plain")
            if reply.status == 200:
                return
            answers.append(f"{reply.status} {reply.text[:200]}")
        raise RuntimeError(f"no QR for {instance_id}: {answers}")

    def expect_resume(self) -> None:
        """From now on count who connects again."""
        self._connected.clear()

    async def resumed(self) -> None:
        """Wait until everyone has connected since `expect_resume`."""
        with trio.fail_after(RESUME_S):
            await self._until(len(self.numbers))

    async def _until(self, count: int) -> None:
        while len(self._connected) < count:
            await self.journal.first(lambda _: True, since=self.journal.mark())
