"""The scene in which people talk: both ways, with the gateway killed in between, and then everything is counted.

Rule: each side is counted where it arrives (the contact's own log, the instance's messages), so a message that was
lost, or came twice, cannot hide.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from api.demo.client import Json, Refused, Unreachable
from api.demo.journal import Seen
from api.demo.tour import Outcome, SceneFailed, Tour, check

MESSAGES = 20
PER_S = 10.0
KILL_AFTER_S = 0.8
ARRIVE_S = 60.0


async def converse(tour: Tour) -> Outcome:
    """A contact greets, the instance answers; then both write, and SIGKILL falls in the middle."""
    friend = (await tour.api.call("POST", "/v1/sandbox/contacts", {"name": "Grace"}))["number"]
    await _greet(tour, friend)
    begun_at = trio.current_time()
    tour.stage.remark(f"Now {MESSAGES} messages each way at {PER_S:g} a second, and SIGKILL to the gateway meanwhile.")
    burst = {"instance_id": tour.instance_id, "count": MESSAGES, "rate": PER_S, "text": "from Grace"}
    await _contact(tour, friend, "bursts", burst)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_write_all, tour, friend)
        await trio.sleep(KILL_AFTER_S)
        ready_s = await tour.kill_gateway()
    tour.stage.remark(f"It serves again after {ready_s:.1f} s.")
    await arrive(tour, "the instance", _texts("from Grace"), partial(_ingested, tour, friend))
    await arrive(tour, "Grace", _texts("to Grace"), partial(_read, tour, friend))
    return trio.current_time() - begun_at, f"{MESSAGES} each way: none lost, none twice, in order"


async def _greet(tour: Tour, friend: str) -> None:
    """One message each way, and what the event log says of them."""
    since = tour.journal.mark()
    hello = {"instance_id": tour.instance_id, "body": {"type": "text", "text": "hello?"}}
    await _contact(tour, friend, "messages", hello)
    with trio.move_on_after(ARRIVE_S), tour.stage.waiting("waiting for her message"):
        got = await tour.journal.first(lambda seen: seen.name == "message.received", since=since)
        tour.stage.remark(f"message.received from {got.data['from']}: {got.data['body']['text']}")
        check(got.data["from"] == friend, "the message is from somebody else")
        sent = await _write(tour, friend, "hello, Grace", reply_to=got.data["message_id"])
        for name in ("message.sent", "message.delivered"):
            await tour.journal.first(partial(_tells, name, sent["message_id"]), since=since)
            tour.stage.remark(f"{name} {sent['message_id']}")
        return
    raise SceneFailed("a greeting each way did not get through")


def _tells(name: str, message_id: str, seen: Seen) -> bool:
    return seen.name == name and seen.data["message_id"] == message_id


async def _contact(tour: Tour, friend: str, deed: str, body: Json) -> Json:
    return await tour.api.call("POST", f"/v1/sandbox/contacts/{friend}/{deed}", body)


async def _write(tour: Tour, friend: str, text: str, **more: str) -> Json:
    """Send a text once, however often the request has to be made: the key makes a retry harmless."""
    body = {"to": friend, "body": {"type": "text", "text": text, **more}}
    path, key = f"/v1/instances/{tour.instance_id}/messages", f"tour-{random.getrandbits(64):x}"
    with trio.move_on_after(ARRIVE_S):
        while True:
            try:
                return await tour.api.call("POST", path, body, idempotency_key=key)
            except Unreachable:
                await trio.sleep(0.1)
            except Refused as error:
                if error.status < 500 and error.code != "idempotency_in_progress":
                    raise
                await trio.sleep(0.1)
    raise SceneFailed(f"the gateway did not take a message within {ARRIVE_S:g} s")


async def _write_all(tour: Tour, friend: str) -> None:
    for number in range(1, MESSAGES + 1):
        await _write(tour, friend, f"to Grace {number}")
        await trio.sleep(1 / PER_S)


def _texts(text: str) -> list[str]:
    return [f"{text} {number}" for number in range(1, MESSAGES + 1)]


async def arrive(tour: Tour, who: str, wanted: list[str], look: Callable[[], Awaitable[list[str]]]) -> None:
    """Wait until everything is there; then nothing may be there twice, or out of order.

    Raises:
        SceneFailed: it is not so.
    """
    found: list[str] = []
    with trio.move_on_after(ARRIVE_S), tour.stage.waiting(f"waiting for what {who} is to get"):
        while not set(wanted) <= set(found := await look()):  # noqa: ASYNC110 - what counts is in other processes
            await trio.sleep(0.2)
    got = [text for text in found if text in wanted]
    times = Counter(got)
    missing, doubled = [text for text in wanted if not times[text]], [text for text in wanted if times[text] > 1]
    tour.stage.remark(f"{who}: {len(times)} of {len(wanted)}, {len(doubled)} twice")
    check(not missing, f"{who} misses {len(missing)} messages")
    check(not doubled, f"{who} got {len(doubled)} messages twice")
    check(got == wanted, f"{who} got them in another order")


async def _ingested(tour: Tour, friend: str) -> list[str]:
    """What the instance has from the contact, oldest first."""
    path = f"/v1/instances/{tour.instance_id}/messages?direction=in&chat={friend}&limit=100"
    rows = (await tour.api.call("GET", path))["data"]
    return [(row["body"] or {}).get("text", row["kind"]) for row in reversed(rows)]


async def _read(tour: Tour, friend: str) -> list[str]:
    """What the contact's phone decrypted, in order: a second ciphertext that can be read is a second message."""
    log = await tour.api.call("GET", f"/v1/sandbox/contacts/{friend}/received?limit=1000")
    return [row["text"] for row in log["data"] if row["verdict"] == "read"]
