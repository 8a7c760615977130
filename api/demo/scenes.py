"""The guided tour: one number's life, scene by scene, by HTTP only."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable

import trio

from api.demo.client import Refused
from api.demo.conversation import converse
from api.demo.tour import QUICK_S, Outcome, Scene, SceneFailed, Tour, check
from api.demo.webhooks import push

# A silent socket is found by the keepalive: a ping at most each 30 s, 10 s for its answer, one more ping, 10 s again.
HALF_OPEN_S = 75.0


async def create(tour: Tour) -> Outcome:
    """Make an instance; it is pending and costs no socket."""
    row = await tour.api.call("POST", "/v1/instances", {"name": "the tour's number"})
    tour.instance_id = row["id"]
    check(row["status"] == "pending", f"a new instance is {row['status']}")
    tour.stage.remark(f"{row['id']} is {row['status']}")
    return None, ""


async def pair_by_qr(tour: Tour) -> Outcome:
    """Draw the QR, let the sandbox's phone scan it."""
    tour.number = (await tour.api.call("POST", "/v1/sandbox/phones", {"name": "Ada"}))["number"]
    since = tour.journal.mark()
    with tour.stage.waiting("waiting for a QR"):
        picture = await tour.api.ask("GET", f"/v1/instances/{tour.instance_id}/qr", accept="text/plain")
    check(picture.status == 200, f"no QR: {picture.status} {picture.text[:200]}")
    for line in picture.text.splitlines():
        tour.stage.remark(line)
    tour.stage.remark(f"The sandbox's phone {tour.number} scans it.")
    scanned_at = trio.current_time()
    await tour.phone("scan")
    connected = await tour.expect_status("connected", since=since)
    await tour.check_connected()
    return connected.at - scanned_at, "from the scan to connected"


def fault(name: str, notice_s: float = QUICK_S) -> Callable[[Tour], Awaitable[Outcome]]:
    """A scene that arms a fault of the sandbox once and waits for the way back."""

    async def play(tour: Tour) -> Outcome:
        since = tour.journal.mark()
        await tour.api.call("POST", "/v1/sandbox/faults", {"name": name, "instance_id": tour.instance_id})
        return await tour.resumed(since, notice_s=notice_s)

    return play


async def restart_sandbox(tour: Tour) -> Outcome:
    """SIGKILL to the sandbox child; the gateway starts it again from its state file."""
    since = tour.journal.mark()
    before = await tour.gateway.sandbox_pid()
    tour.stage.remark(f"SIGKILL to the sandbox, process {before}.")
    os.kill(before, signal.SIGKILL)
    outcome = await tour.resumed(since)
    check(await tour.gateway.sandbox_pid() != before, "the sandbox has the same process id as before")
    return outcome


async def restart_gateway(tour: Tour) -> Outcome:
    """SIGKILL to the gateway, and a new one on the same store: connected again without a scan."""
    since = tour.journal.mark()
    killed_at = trio.current_time()
    tour.stage.remark("SIGKILL to the gateway; then it is started again.")
    ready_s = await tour.kill_gateway()
    connected = await tour.expect_status("connected", since=since)
    await tour.check_connected()
    check(tour.journal.reopened > 0, "the event stream never broke")
    return connected.at - killed_at, f"serving after {ready_s:.1f} s; the event stream resumed without a gap"


async def unlink(tour: Tour) -> Outcome:
    """The phone removes the device: disconnected, nothing left to resume."""
    since = tour.journal.mark()
    unlinked_at = trio.current_time()
    await tour.phone("unlink")
    seen = await tour.expect_status("disconnected", since=since)
    check(seen.data["reason"] == "logout", f"the reason is {seen.data['reason']}")
    row = await tour.instance()
    check(row["status"] == "disconnected", f"the API says {row['status']}")
    check(row["phone_number"] is None, "the instance still has a phone number")
    try:
        await tour.act("start")
    except Refused as error:
        tour.stage.remark(f"POST …/start is refused: {error}")
        check(error.status == 409, "start is refused with another status than 409")
    else:
        raise SceneFailed("start was accepted though there is nothing to resume")
    return seen.at - unlinked_at, "auth state gone"


async def pair_by_code(tour: Tour) -> Outcome:
    """The same instance again, by typing eight characters into the phone."""
    since = tour.journal.mark()
    with tour.stage.waiting("waiting for a linking code"):
        code = (await tour.act("pair-code", {"phone_number": tour.number}))["code"]
    tour.stage.remark(f"The linking code is {tour.stage.colour(code, 'bold')}; phone {tour.number} types it in.")
    typed_at = trio.current_time()
    linked = await tour.phone("scan")
    check(linked["method"] == "linking_code", f"the phone linked by {linked['method']}")
    connected = await tour.expect_status("connected", since=since)
    await tour.check_connected()
    return connected.at - typed_at, "from the code to connected"


SCENES: tuple[Scene, ...] = (
    Scene("Create an instance", "One instance is one phone number. It costs no socket yet.", create, "create"),
    Scene("Pair by QR", "This is what a real phone would scan under Linked devices.", pair_by_qr, "qr"),
    Scene(
        "A conversation",
        "A contact of the sandbox writes, the instance answers, and the gateway is killed in the middle.",
        converse,
        "conversation",
    ),
    Scene(
        "Webhooks",
        "Events are pushed to a receiver that refuses at first; the gateway is killed in the middle.",
        push,
        "webhooks",
    ),
    Scene("Fault: drop", "The TCP connection is reset.", fault("drop"), "drop"),
    Scene(
        "Fault: half-open",
        "The socket stays open and nothing comes any more; the keepalive finds out within 50 s.",
        fault("half-open", HALF_OPEN_S),
        "half-open",
    ),
    Scene("Fault: stream-503", "The server says that it is unavailable.", fault("stream-503"), "stream-503"),
    Scene(
        "Fault: stream-515",
        "The server asks for a restart: back at once, unless it asked only just now.",
        fault("stream-515"),
        "stream-515",
    ),
    Scene(
        "Sandbox restart", "The sandbox is killed; what it remembers is in its state file.", restart_sandbox, "sandbox"
    ),
    Scene("Gateway restart", "The gateway itself is killed.", restart_gateway, "gateway"),
    Scene("Unlink on the phone", "The phone removes the linked device.", unlink, "unlink"),
    Scene("Pair by linking code", "Unlinked is not deleted: the same instance pairs again.", pair_by_code, "code"),
)
