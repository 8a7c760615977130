"""A webhook endpoint that never fails: a process of its own (`benchmarks.traffic.sink`), and what has arrived there.

Rule: the gateway knows it as any customer's endpoint.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from api.demo.client import Json
from api.demo.gateway import HOST
from benchmarks.live import Live
from benchmarks.traffic.programs import Notes, Program
from benchmarks.traffic.sink import NOTES

DRAIN_S = 60.0
EVENTS = ("message.received",)


@dataclass(slots=True)
class Endpoint:
    """The endpoint, and what has arrived there."""

    live: Live
    notes: Notes
    path: str

    async def switch(self, *, on: bool) -> None:
        """Let events be delivered from now on, or not."""
        await self.live.whatisup.api.call("PATCH", self.path, {"enabled": on})

    async def settled(self, arrived: int, within_s: float = DRAIN_S) -> None:
        """Wait until so many deliveries have arrived in all, and none is left to be made or noted."""
        rows = self.live.whatisup.rows
        await self.live.until(lambda: self.notes.count() >= arrived, within_s, f"{arrived} webhooks arrived")
        await self.live.until(lambda: rows.undelivered() == 0, within_s, "no webhook is left")

    async def replay(self, least: int) -> int:
        """Have so many events of the log delivered again, or all that there are; how many deliveries that will be."""
        count, body = 0, {"after": "0"}
        while True:
            answer = await self.live.whatisup.api.call("POST", f"{self.path}/replay", body)
            count += int(answer["count"])
            if answer["next_cursor"] is None or count >= least:
                return count
            body = {"after": answer["next_cursor"]}


@asynccontextmanager
async def open_endpoint(live: Live, events: Sequence[str] = EVENTS) -> AsyncIterator[Endpoint]:
    """An endpoint for those events of all instances; it is gone afterwards."""
    sink = Program("sink", live.folder)
    try:
        await sink.start()
        port = (await sink.said())["port"]
        body: Json = {"url": f"http://{HOST}:{port}/", "events": list(events)}
        made = await live.whatisup.api.call("POST", "/v1/webhook-endpoints", body)
        path = f"/v1/webhook-endpoints/{made['id']}"
        yield Endpoint(live, Notes(live.folder / NOTES), path)
        await live.whatisup.api.call("DELETE", path)
    finally:
        await sink.kill()
