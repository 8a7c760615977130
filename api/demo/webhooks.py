"""The scene in which events are pushed: to a receiver that refuses at first, with the gateway killed in between."""

from __future__ import annotations

from typing import Final

import trio

from api.demo.receiver import WebhookReceiver
from api.demo.tour import Outcome, Tour, check

MESSAGES: Final = 10
PER_S: Final = 10.0
ARRIVE_S: Final = 60.0


async def push(tour: Tour) -> Outcome:
    """A contact writes, the receiver refuses twice, SIGKILL falls; each event comes, signed and in order."""
    receiver = WebhookReceiver()
    async with trio.open_nursery() as nursery:
        await nursery.start(receiver.run)
        endpoint = await _create(tour, receiver)
        since, begun_at = tour.journal.mark(), trio.current_time()
        await _write(tour)
        await trio.sleep(MESSAGES / PER_S / 2)
        await tour.kill_gateway()
        logged = await _arrive(tour, receiver, since)
        took_s = trio.current_time() - begun_at
        await tour.api.call("DELETE", f"/v1/webhook-endpoints/{endpoint}")
        nursery.cancel_scope.cancel()
    tour.stage.remark(f"{receiver.refused} refused and tried again, {receiver.repeated} came twice with the same id")
    check(not receiver.forged, f"{receiver.forged} webhooks were signed wrongly")
    check(len(logged) == MESSAGES, f"the event log has {len(logged)} of {MESSAGES} messages")
    check(len(receiver.events) == MESSAGES, f"the receiver has {len(receiver.events)} of {MESSAGES} events")
    check([event["event_id"] for event in receiver.events] == logged, "they came in another order")
    return took_s, f"{MESSAGES} events: each at least once, signed, in order"


async def _create(tour: Tour, receiver: WebhookReceiver) -> str:
    wanted = {"url": receiver.url, "events": ["message.received"], "instance_id": tour.instance_id}
    endpoint = await tour.api.call("POST", "/v1/webhook-endpoints", wanted)
    receiver.secret = endpoint["secret"]
    tour.stage.remark(f"{endpoint['id']} gets message.received; its secret is shown this once")
    return str(endpoint["id"])


async def _write(tour: Tour) -> None:
    friend = (await tour.api.call("POST", "/v1/sandbox/contacts", {"name": "Edsger"}))["number"]
    burst = {"instance_id": tour.instance_id, "count": MESSAGES, "rate": PER_S, "text": "from Edsger"}
    await tour.api.call("POST", f"/v1/sandbox/contacts/{friend}/bursts", burst)


async def _arrive(tour: Tour, receiver: WebhookReceiver, since: int) -> list[str]:
    """Wait until the receiver has what the event log has, or long enough; the ids of the log's events."""
    logged: list[str] = []
    with trio.move_on_after(ARRIVE_S), tour.stage.waiting("waiting for the webhooks"):
        while len(logged) < MESSAGES or len(receiver.events) < MESSAGES:
            logged = [s.event["event_id"] for s in tour.journal.entries[since:] if s.name == "message.received"]
            await trio.sleep(0.1)
    return logged
