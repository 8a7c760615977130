"""What a session and a message may cost: the one test of cost, against yardsticks that the same run measures.

Rule: nothing here is compared with an absolute figure. A session's memory is counted in bare TLS connections of a Trio
program, a message's CPU in rounds of a fixed piece of Python, both measured by this test on this machine; so a busy or
a slow machine moves both sides. The bars stand about half way to a doubling of what was measured when they were set:
a change that doubles a cost fails here (`benchmarks/README.md` has the figures themselves).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
import uuid
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median

import pytest
import trio

from api.demo.gateway import HOST
from benchmarks.probes.process import Process
from tests.e2e.world import Number, World, open_world
from tests.processes import UNLIMITED
from whatisup.control import BurstRequest
from whatisup.sandbox.certificate import TlsIdentity

FEW, MANY = 20, 120
TALKERS = 20
EACH_IN, EACH_OUT = 60, 10
SESSION_BAR = 6.5
"""Bare TLS connections that a further session may weigh."""
IN_BAR, OUT_BAR = 1.2, 6.0
"""Rounds of the yardstick that a message may cost, in and out."""
BEAT_MS = "30000"

# Opens connections on demand and says what it weighs; run as a process of its own, so that nothing else is weighed.
_BARE_CLIENT = """
import ssl, sys, psutil, trio
port, authority = int(sys.argv[1]), sys.argv[2]
async def main():
    context = ssl.create_default_context(cafile=authority)
    async def hold(task_status):
        stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", port), context, server_hostname="127.0.0.1")
        await stream.send_all(b"x")
        task_status.started()
        await stream.receive_some(1)
    async with trio.open_nursery() as nursery:
        weights = []
        for count in map(int, sys.argv[3:]):
            for _ in range(count):
                await nursery.start(hold)
            weights.append(psutil.Process().memory_full_info().uss)
        print(*weights)
        nursery.cancel_scope.cancel()
trio.run(main)
"""


async def _bare_connection_bytes(folder: Path) -> float:
    """What a further idle TLS connection with a task costs a Trio program."""
    identity = TlsIdentity.generate((HOST,), time.time(), os.urandom)
    authority = folder / "bare.pem"
    authority.write_bytes(identity.certificate)

    async def greet(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with suppress(trio.BrokenResourceError):
            async for _ in stream:
                pass

    serve = partial(trio.serve_ssl_over_tcp, greet, 0, identity.context(), host=HOST)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve)
        port = str(listener.transport_listener.socket.getsockname()[1])
        words = [sys.executable, "-c", _BARE_CLIENT, port, str(authority), str(FEW), str(MANY - FEW)]
        said = await trio.run_process(words, capture_stdout=True)
        nursery.cancel_scope.cancel()
    few, many = map(int, said.stdout.split())
    return (many - few) / (MANY - FEW)


def _yardstick() -> float:
    """CPU seconds of a hundred turns of a fixed piece of work, of the kinds a gateway does: objects, JSON, hashes."""
    rounds = 15000
    body = {"id": "3EB0", "to": ["1@s.whatsapp.net"] * 4, "text": "x" * 40, "at": 1_700_000_000}
    begun_s = time.thread_time()
    for number in range(rounds):
        raw = json.dumps({**body, "n": number}).encode()
        key = hmac.digest(raw, b"key", hashlib.sha256)
        found = json.loads(raw)
        _ = {name: (key, value) for name, value in sorted(found.items())}
    return 100 * (time.thread_time() - begun_s) / rounds


class _Costs:
    """CPU seconds of the gateway, in rounds of the yardstick as the machine is meanwhile."""

    def __init__(self, gateway: Process) -> None:
        self._gateway = gateway
        self._round_s = [_yardstick()]
        self._begun_s = gateway.cpu_s

    def each(self, messages: int) -> float:
        spent_s = self._gateway.cpu_s - self._begun_s
        self._round_s.append(_yardstick())
        return spent_s / messages / median(self._round_s)


async def _counted(world: World, what: str, count: int) -> None:
    """Wait until the gateway's database has that many messages of a kind."""
    with trio.fail_after(60):
        while world.query(f"SELECT count(*) FROM messages WHERE {what}")[0][0] < count:
            await trio.sleep(0.1)


async def _befriend(world: World, numbers: list[Number]) -> list[tuple[Number, str]]:
    """A contact for each, who has written to it and been written to, so that sessions are there."""
    pairs = []
    for number in numbers:
        contact = await world.api.call("POST", "/v1/sandbox/contacts", {"name": "budget"})
        pairs.append((number, str(contact["number"])))
        await world.control().burst(str(contact["number"]), BurstRequest(number.number, 2))
    await _counted(world, "direction = 'in'", 2 * len(pairs))
    await _post(world, pairs, 1)
    await _counted(world, "status = 'delivered'", len(pairs))
    return pairs


async def _post(world: World, pairs: list[tuple[Number, str]], each: int) -> None:
    async def in_turn(number: Number, contact: str) -> None:
        for _ in range(each):
            body = {"to": contact, "body": {"type": "text", "text": "hello"}}
            path = f"/v1/instances/{number.instance_id}/messages"
            await world.api.ask("POST", path, body, idempotency_key=uuid.uuid4().hex)

    async with trio.open_nursery() as nursery:
        for pair in pairs:
            nursery.start_soon(in_turn, *pair)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_session_and_a_message_cost_what_they_did(tmp_path: Path) -> None:
    bare = await _bare_connection_bytes(tmp_path)
    async with open_world(tmp_path, **UNLIMITED, HEARTBEAT_INTERVAL_MS=BEAT_MS) as world:
        assert world.gateway.process is not None
        gateway = Process(world.gateway.process.pid)
        numbers = await world.pair_many(FEW)
        few = await gateway.settle()
        numbers += await world.pair_many(MANY - FEW)
        session = (await gateway.settle() - few) / (MANY - FEW) / bare

        pairs = await _befriend(world, numbers[:TALKERS])
        have = world.query("SELECT count(*) FROM messages WHERE direction = 'in'")[0][0]
        costs = _Costs(gateway)
        for number, contact in pairs:
            await world.control().burst(contact, BurstRequest(number.number, EACH_IN))
        await _counted(world, "direction = 'in'", have + TALKERS * EACH_IN)
        message_in = costs.each(TALKERS * EACH_IN)

        have = world.query("SELECT count(*) FROM messages WHERE status = 'delivered'")[0][0]
        costs = _Costs(gateway)
        await _post(world, pairs, EACH_OUT)
        await _counted(world, "status = 'delivered'", have + TALKERS * EACH_OUT)
        message_out = costs.each(TALKERS * EACH_OUT)

    found = (
        f"session {session:.2f} bare connections of {bare / 1024:.0f} KiB, in {message_in:.1f}, out {message_out:.1f}"
    )
    assert session < SESSION_BAR, found
    assert message_in < IN_BAR, found
    assert message_out < OUT_BAR, found
